/* SPDX-License-Identifier: GPL-2.0-only */
/* Routes, neighbours and addresses of a network namespace of this test's own. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <sched.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>
#include <arpa/inet.h>
#include <linux/if_ether.h>
#include <linux/if_packet.h>
#include <net/if.h>

#include "../../agent/io/netlink.h"
#include "../../agent/io/probe.h"

/*
 * Here: va 10.9.0.1/24, 2001:db8:9::1/64. Behind the other end, vb, in a namespace of its own:
 * 10.9.0.2, 2001:db8:9::2. The descriptors keep both alive.
 */
static int here, there;
static struct netlink *nl;
static struct {
	int links, downs, routes, neighs, addrs;
	int lost; /* CHANGED_LINK of every link */
	bool up;  /* the watched one, lately */
} seen;
static const char *watched = "";

static void run(const char *fmt, ...) __attribute__((format(printf, 1, 2)));
static void run(const char *fmt, ...)
{
	char cmd[512];
	va_list ap;

	va_start(ap, fmt);
	vsnprintf(cmd, sizeof(cmd), fmt, ap);
	va_end(ap);
	if (system(cmd))
		fail_msg("%s", cmd);
}

static void enter(int ns)
{
	assert_int_equal(setns(ns, CLONE_NEWNET), 0);
}

static void run_there(const char *cmd)
{
	enter(there);
	run("%s", cmd);
	enter(here);
}

static void on_change(void *arg, enum netlink_change change, const char *ifname, bool up)
{
	(void)arg;
	switch (change) {
	case CHANGED_LINK:
		seen.lost += !ifname[0];
		if (strcmp(ifname, watched))
			break;
		seen.links++;
		seen.downs += !up;
		seen.up = up;
		break;
	case CHANGED_ROUTE:
		seen.routes++;
		break;
	case CHANGED_NEIGH:
		seen.neighs++;
		break;
	case CHANGED_ADDR:
		seen.addrs++;
		break;
	}
}

static uint64_t now_ms(void)
{
	struct timespec ts;

	clock_gettime(CLOCK_MONOTONIC, &ts);
	return (uint64_t)ts.tv_sec * 1000 + (uint64_t)ts.tv_nsec / 1000000;
}

/* The kernel's messages come at once, but not on an emulated machine: vmtest asks for more time. */
static uint64_t slowness(void)
{
	const char *factor = getenv("ZDDLB_TEST_SLOWNESS");

	return factor ? strtoul(factor, NULL, 10) : 1;
}

static void dispatch_for(uint64_t ms)
{
	uint64_t end = now_ms() + ms * slowness();
	struct pollfd p = { .fd = netlink_fd(nl), .events = POLLIN };

	while (now_ms() < end) {
		if (poll(&p, 1, (int)(end - now_ms())) > 0)
			assert_int_equal(netlink_dispatch(nl), 0);
	}
}

static void forget(void)
{
	dispatch_for(20);
	memset(&seen, 0, sizeof(seen));
}

static struct endpoint at(const char *addr)
{
	struct endpoint e = { 0 };

	assert_true(endpoint_parse_addr(&e, addr));
	e.port = 80;
	return e;
}

static int hop_to(const char *addr, struct next_hop *ret)
{
	struct endpoint e = at(addr);

	memset(ret, 0xee, sizeof(*ret));
	return netlink_next_hop(nl, &e, ret);
}

static void assert_gateway(const struct next_hop *hop, const char *addr)
{
	struct endpoint e = at(addr);

	e.port = 0;
	assert_true(endpoint_equal(&hop->gateway, &e));
}

/* Ask, let the kernel look, ask again: what control does. */
static struct next_hop resolve(const char *addr)
{
	struct next_hop hop;

	for (int i = 0; i < 100; i++) {
		assert_int_equal(hop_to(addr, &hop), 0);
		if (hop.resolved)
			break;
		dispatch_for(20);
	}
	return hop;
}

static const uint8_t mac_a[6] = { 2, 0, 0, 0, 0, 0xa }, mac_b[6] = { 2, 0, 0, 0, 0, 0xb };

static int open_namespaces(void **state)
{
	(void)state;
	assert_int_equal(unshare(CLONE_NEWNET), 0);
	there = open("/proc/self/ns/net", O_RDONLY | O_CLOEXEC);
	run("ip link set lo up");
	assert_int_equal(unshare(CLONE_NEWNET), 0);
	here = open("/proc/self/ns/net", O_RDONLY | O_CLOEXEC);
	assert_true(here >= 0 && there >= 0);
	run("ip link set lo up");
	run("ip link add va address 02:00:00:00:00:0a mtu 1400 type veth peer name vb "
	    "address 02:00:00:00:00:0b netns /proc/%d/fd/%d",
	    (int)getpid(), there);
	run("ip addr add 10.9.0.1/24 dev va && ip addr add 2001:db8:9::1/64 nodad dev va");
	run("ip link set va up");
	run_there("ip addr add 10.9.0.2/24 dev vb && ip addr add 2001:db8:9::2/64 nodad dev vb && "
		  "ip link set vb up");
	assert_int_equal(netlink_open(&nl, on_change, NULL), 0);
	dispatch_for(50);
	return 0;
}

static int close_namespaces(void **state)
{
	(void)state;
	netlink_close(nl);
	netlink_close(NULL);
	close(here);
	close(there);
	return 0;
}

/* --- links --- */

static void a_link_is_known_by_name(void **state)
{
	struct link_info link;

	(void)state;
	assert_int_equal(netlink_link(nl, "va", &link), 0);
	assert_int_equal(link.ifindex, if_nametoindex("va"));
	assert_memory_equal(link.mac, mac_a, 6);
	assert_int_equal(link.mtu, 1400);
	assert_true(link.up);
	assert_int_equal(netlink_link(nl, "nosuch", &link), -ENODEV);
	assert_int_equal(netlink_link(nl, "", &link), -ENODEV);
	assert_int_equal(netlink_link(nl, "a-name-that-is-too-long", &link), -ENODEV);
}

static void links_that_come_change_and_go_are_told(void **state)
{
	struct link_info link;

	(void)state;
	forget();
	watched = "d0";
	run("ip link add d0 type veth peer name p0 && ip link set p0 up");
	dispatch_for(20);
	assert_true(seen.links > 0);
	assert_false(seen.up);
	assert_int_equal(netlink_link(nl, "d0", &link), 0);
	assert_false(link.up);
	run("ip link set d0 up");
	dispatch_for(50);
	assert_true(seen.up);
	run("ip link del d0");
	dispatch_for(50);
	assert_false(seen.up);
	assert_int_equal(seen.lost, 0);
}

static void a_lost_carrier_is_down(void **state)
{
	struct link_info link;

	(void)state;
	run_there("ip link set vb down");
	assert_int_equal(netlink_link(nl, "va", &link), 0);
	assert_false(link.up);
	run_there("ip link set vb up && ip addr add 2001:db8:9::2/64 nodad dev vb");
	dispatch_for(50);
	assert_int_equal(netlink_link(nl, "va", &link), 0);
	assert_true(link.up);
}

/* A bridge that lets a port go tells so with RTM_DELLINK; the port's link is still there. */
static void leaving_a_bridge_is_not_the_end_of_a_link(void **state)
{
	(void)state;
	run("ip link add br0 type bridge && ip link add d1 type veth peer name p1 && ip link set p1 up && ip link set d1 up && "
	    "ip link set d1 master br0");
	forget();
	watched = "d1";
	run("ip link set d1 nomaster");
	dispatch_for(20);
	assert_true(seen.links > 0);
	assert_int_equal(seen.downs, 0);
	run("ip link del d1 && ip link del br0");
}

/* --- next hops --- */

static void a_neighbour_is_looked_for_and_found(void **state)
{
	static const char *const addrs[] = { "10.9.0.2", "2001:db8:9::2" };
	struct next_hop hop;

	(void)state;
	for (size_t i = 0; i < 2; i++) {
		run("ip neigh flush dev va");
		forget();
		assert_int_equal(hop_to(addrs[i], &hop), 0);
		assert_false(hop.resolved);
		/* A link that has just come up may lose the first question. */
		for (int tries = 0; tries < 60 && !seen.neighs; tries++)
			dispatch_for(50);
		assert_true(seen.neighs > 0);
		assert_int_equal(hop_to(addrs[i], &hop), 0);
		assert_true(hop.resolved);
		assert_false(hop.local);
		assert_int_equal(hop.ifindex, if_nametoindex("va"));
		assert_int_equal(hop.mtu, 1400);
		assert_memory_equal(hop.smac, mac_a, 6);
		assert_memory_equal(hop.dmac, mac_b, 6);
		assert_gateway(&hop, addrs[i]);
	}
}

static void a_gateway_is_the_neighbour_that_counts(void **state)
{
	static const struct {
		const char *route, *to, *gateway;
	} cases[] = {
		{ "198.51.100.0/24 via 10.9.0.2", "198.51.100.7", "10.9.0.2" },
		{ "2001:db8:77::/64 via 2001:db8:9::2", "2001:db8:77::7", "2001:db8:9::2" },
		{ "203.0.113.0/24 via inet6 2001:db8:9::2 dev va", "203.0.113.7", "2001:db8:9::2" },
	};
	struct next_hop hop;

	(void)state;
	for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
		forget();
		run("ip route add %s", cases[i].route);
		dispatch_for(20);
		assert_true(seen.routes > 0);
		hop = resolve(cases[i].to);
		assert_true(hop.resolved);
		assert_gateway(&hop, cases[i].gateway);
		assert_false(hop.direct);
		assert_memory_equal(hop.dmac, mac_b, 6);
		run("ip route del %s", cases[i].route);
	}
}

static void a_route_says_what_to_send_from(void **state)
{
	static const struct {
		const char *route, *to, *source;
		bool direct;
	} cases[] = {
		{ "198.51.100.0/24 dev va", "198.51.100.7", "10.9.0.1", true },
		{ "198.51.100.0/24 via 10.9.0.2 src 10.9.0.77", "198.51.100.7", "10.9.0.77",
		  false },
		{ "2001:db8:77::/64 dev va", "2001:db8:77::7", "2001:db8:9::1", true },
		{ "2001:db8:77::/64 via 2001:db8:9::2 src 2001:db8:9::77", "2001:db8:77::7",
		  "2001:db8:9::77", false },
	};
	struct endpoint want;
	struct next_hop hop;

	(void)state;
	run("ip addr add 10.9.0.77/32 dev va");
	run("ip addr add 2001:db8:9::77/128 dev va nodad preferred_lft 0");
	for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
		run("ip route add %s", cases[i].route);
		assert_int_equal(hop_to(cases[i].to, &hop), 0);
		want = at(cases[i].source);
		want.port = 0;
		assert_true(endpoint_equal(&hop.source, &want));
		assert_int_equal(hop.direct, cases[i].direct);
		run("ip route del %s", cases[i].route);
	}
	run("ip addr del 10.9.0.77/32 dev va");
	run("ip addr del 2001:db8:9::77/128 dev va");
}

static void without_a_route_the_network_is_unreachable(void **state)
{
	static const char *const kinds[] = { "blackhole", "unreachable", "prohibit", "throw" };
	struct next_hop hop;

	(void)state;
	assert_int_equal(hop_to("192.0.2.1", &hop), -ENETUNREACH);
	assert_int_equal(hop_to("2001:db8:ffff::1", &hop), -ENETUNREACH);
	for (size_t i = 0; i < 4; i++) {
		run("ip route add %s 192.0.2.0/24 && ip route add %s 2001:db8:ffff::/64", kinds[i],
		    kinds[i]);
		assert_int_equal(hop_to("192.0.2.1", &hop), -ENETUNREACH);
		assert_int_equal(hop_to("2001:db8:ffff::1", &hop), -ENETUNREACH);
		run("ip route del %s 192.0.2.0/24 && ip route del %s 2001:db8:ffff::/64", kinds[i],
		    kinds[i]);
	}
	assert_int_equal(hop_to("224.0.0.1", &hop), -ENETUNREACH);
	assert_int_equal(hop_to("10.9.0.255", &hop), -ENETUNREACH);
}

static void own_addresses_are_local(void **state)
{
	static const char *const addrs[] = { "10.9.0.1", "127.0.0.1", "2001:db8:9::1", "::1" };
	struct next_hop hop;

	(void)state;
	for (size_t i = 0; i < 4; i++) {
		assert_int_equal(hop_to(addrs[i], &hop), 0);
		assert_true(hop.local);
		assert_false(hop.resolved);
	}
}

static void a_device_without_arp_needs_no_neighbour(void **state)
{
	static const uint8_t none[6];
	struct next_hop hop;

	(void)state;
	run("ip link add d2 arp off type veth && ip link set d2 up && "
	    "ip addr add 10.8.0.1/24 dev d2");
	assert_int_equal(hop_to("10.8.0.2", &hop), 0);
	assert_true(hop.resolved);
	assert_memory_equal(hop.dmac, none, 6);
	run("ip link del d2");
}

/* The kernel sees no packet that XDP forwards: only our asking makes it check a stale entry. */
static void a_stale_neighbour_is_used_and_checked(void **state)
{
	struct next_hop hop;

	(void)state;
	run("sysctl -qw net.ipv4.neigh.va.delay_first_probe_time=1");
	run("ip neigh replace 10.9.0.2 lladdr 02:00:00:00:00:0b nud stale dev va");
	assert_int_equal(hop_to("10.9.0.2", &hop), 0);
	assert_true(hop.resolved);
	assert_memory_equal(hop.dmac, mac_b, 6);
	run("ip neigh show 10.9.0.2 dev va | grep -q DELAY");

	/* The other end comes back with another MAC: the probe of the old one finds nobody. */
	run_there("ip link set vb address 02:00:00:00:00:0c");
	for (int i = 0; i < 80 && (!hop.resolved || hop.dmac[5] != 0xc); i++) {
		dispatch_for(100);
		assert_int_equal(hop_to("10.9.0.2", &hop), 0);
	}
	assert_true(hop.resolved);
	assert_int_equal(hop.dmac[5], 0xc);
	run_there("ip link set vb address 02:00:00:00:00:0b");
	run("ip neigh flush dev va");
}

static void a_dead_neighbour_is_never_resolved(void **state)
{
	struct next_hop hop;

	(void)state;
	for (int i = 0; i < 10; i++) {
		assert_int_equal(hop_to("10.9.0.99", &hop), 0);
		assert_false(hop.resolved);
		dispatch_for(20);
	}
}

/* --- addresses --- */

static void an_address_is_added_once_and_removed_once(void **state)
{
	static const char *const addrs[] = { "10.7.7.7", "2001:db8:7::7" };
	unsigned ifindex = if_nametoindex("va");
	bool added = false;

	(void)state;
	for (size_t i = 0; i < 2; i++) {
		struct endpoint vip = at(addrs[i]);

		forget();
		assert_int_equal(netlink_add_addr(nl, ifindex, &vip, &added), 0);
		assert_true(added);
		assert_int_equal(netlink_add_addr(nl, ifindex, &vip, &added), 0);
		assert_false(added);
		dispatch_for(20);
		assert_true(seen.addrs > 0);
		/* Usable at once: not tentative. */
		run("ip addr show dev va | grep -F '%s/' | grep -qv tentative", addrs[i]);
		assert_int_equal(netlink_del_addr(nl, ifindex, &vip), 0);
		assert_int_equal(netlink_del_addr(nl, ifindex, &vip), 0);
		run("! ip addr show dev va | grep -F '%s/'", addrs[i]);
		assert_int_equal(netlink_add_addr(nl, 9999, &vip, NULL), -ENODEV);
		assert_int_equal(netlink_del_addr(nl, 9999, &vip), 0);
	}
	/* A wider prefix of the same address is somebody else's. */
	struct endpoint own = at("10.9.0.1");

	assert_int_equal(netlink_del_addr(nl, ifindex, &own), 0);
	run("ip addr show dev va | grep -qF 10.9.0.1/24");
}

static int listen_there(void)
{
	const struct timeval second = { .tv_sec = 1 };
	struct sockaddr_ll sa = { .sll_family = AF_PACKET, .sll_protocol = htons(ETH_P_ALL) };
	int fd;

	enter(there);
	fd = socket(AF_PACKET, SOCK_RAW | SOCK_CLOEXEC, htons(ETH_P_ALL));
	sa.sll_ifindex = (int)if_nametoindex("vb");
	assert_int_equal(bind(fd, (struct sockaddr *)&sa, sizeof(sa)), 0);
	setsockopt(fd, SOL_SOCKET, SO_RCVTIMEO, &second, sizeof(second));
	enter(here);
	return fd;
}

static void receive_frame(int fd, uint16_t ethertype, size_t at_byte, uint8_t value, uint8_t *frame,
			  size_t room)
{
	for (;;) {
		ssize_t n = recv(fd, frame, room, 0);

		assert_true(n > 0);
		if (frame[12] << 8 == (ethertype & 0xff00) && frame[13] == (ethertype & 0xff) &&
		    (size_t)n > at_byte && frame[at_byte] == value)
			return;
	}
}

static void an_ipv4_address_is_announced_as_request_and_reply(void **state)
{
	static const uint8_t everyone[6] = { 255, 255, 255, 255, 255, 255 };
	static const uint8_t vip_bytes[4] = { 10, 7, 7, 7 };
	struct endpoint vip = at("10.7.7.7");
	uint8_t frame[256];
	int fd = listen_there();

	(void)state;
	run_there("sysctl -qw net.ipv4.conf.vb.arp_accept=1 net.ipv4.conf.all.arp_accept=1");
	assert_int_equal(netlink_announce(if_nametoindex("va"), mac_a, &vip), 0);
	for (uint8_t op = 1; op <= 2; op++) {
		receive_frame(fd, ETH_P_ARP, 21, op, frame, sizeof(frame));
		assert_memory_equal(frame, everyone, 6);
		assert_memory_equal(frame + 6, mac_a, 6);
		assert_memory_equal(frame + 22, mac_a, 6);
		assert_memory_equal(frame + 28, vip_bytes, 4);
		assert_memory_equal(frame + 38, vip_bytes, 4);
	}
	close(fd);
	run_there("ip route add 10.7.7.0/24 dev vb");
	assert_int_equal(netlink_announce(if_nametoindex("va"), mac_a, &vip), 0);
	run_there("ip neigh show 10.7.7.7 dev vb | grep -q 02:00:00:00:00:0a");
}

/* The other side's kernel is the judge: it takes the advertisement only if checksum, hop limit
 * and option are right, and a changed address only with the override flag. */
static void an_ipv6_address_is_announced_so_that_kernels_take_it(void **state)
{
	struct endpoint vip = at("2001:db8:9::77");

	(void)state;
	run_there("ip neigh replace 2001:db8:9::77 lladdr 02:00:00:00:00:ee nud reachable dev vb");
	assert_int_equal(netlink_announce(if_nametoindex("va"), mac_a, &vip), 0);
	dispatch_for(20);
	run_there("ip neigh show 2001:db8:9::77 dev vb | grep -q 02:00:00:00:00:0a");
	assert_int_equal(netlink_announce(9999, mac_a, &vip), -ENXIO);
}

/* --- listening --- */

static void lost_events_count_as_a_change_of_everything(void **state)
{
	int small = 1;

	(void)state;
	forget();
	assert_int_equal(setsockopt(netlink_fd(nl), SOL_SOCKET, SO_RCVBUF, &small, sizeof(small)),
			 0);
	run("for i in $(seq 60); do echo link add x$i type veth peer name y$i; done | ip -batch -");
	dispatch_for(50);
	assert_true(seen.lost > 0);
	assert_true(seen.routes && seen.neighs && seen.addrs);
	run("for i in $(seq 60); do echo link del x$i; done | ip -batch -");
	small = 1 << 20;
	setsockopt(netlink_fd(nl), SOL_SOCKET, SO_RCVBUFFORCE, &small, sizeof(small));
	dispatch_for(300);
	forget();
	watched = "d3";
	run("ip link add d3 type bridge && ip link del d3");
	dispatch_for(20);
	assert_true(seen.links > 0);
	assert_int_equal(seen.lost, 0);
}

/* --- probes that need a network of their own --- */

static void take_result(void *arg, const struct check_result *r)
{
	*(struct check_result *)arg = *r;
}

static struct check_result check_tcp(const char *addr, uint16_t port, uint32_t timeout_ms)
{
	const struct health_check check = { .type = CHECK_TCP, .timeout_ms = timeout_ms };
	struct check_result r = { 0 };
	struct endpoint ep = at(addr);
	struct prober *p;
	uv_loop_t loop;

	ep.port = port;
	assert_int_equal(uv_loop_init(&loop), 0);
	assert_int_equal(prober_open(&p, &loop), 0);
	assert_non_null(probe_start(p, &ep, &check, take_result, &r));
	while (!r.at_ms)
		uv_run(&loop, UV_RUN_ONCE);
	prober_close(p);
	uv_run(&loop, UV_RUN_DEFAULT);
	assert_int_equal(uv_loop_close(&loop), 0);
	return r;
}

static void probes_tell_unreachable_from_silent(void **state)
{
	(void)state;
	assert_int_equal(check_tcp("192.0.2.1", 80, 200).outcome, CHECK_UNREACHABLE);
	assert_int_equal(check_tcp("2001:db8:ffff::1", 80, 200).outcome, CHECK_UNREACHABLE);
	run("ip route replace prohibit 192.0.2.0/24 && "
	    "ip route replace blackhole 198.51.100.0/24");
	assert_int_equal(check_tcp("192.0.2.1", 80, 200).outcome, CHECK_UNREACHABLE);
	assert_int_equal(check_tcp("198.51.100.1", 80, 200).outcome, CHECK_UNREACHABLE);
	run("ip route del prohibit 192.0.2.0/24 && ip route del blackhole 198.51.100.0/24");
	assert_int_equal(check_tcp("10.9.0.2", 80, 500).outcome, CHECK_CONNECT_REFUSED);
	assert_int_equal(check_tcp("2001:db8:9::2", 80, 500).outcome, CHECK_CONNECT_REFUSED);
	/* Nobody answers ARP: the kernel gives up only after three seconds. */
	assert_int_equal(check_tcp("10.9.0.98", 80, 200).outcome, CHECK_CONNECT_TIMEOUT);
	assert_int_equal(check_tcp("10.9.0.98", 80, 5000).outcome, CHECK_UNREACHABLE);
}

/* With two ports to choose from, every other connect finds itself. */
static void a_probe_that_meets_itself_found_nobody(void **state)
{
	(void)state;
	run("sysctl -qw net.ipv4.ip_local_port_range='40000 40001'");
	for (int i = 0; i < 8; i++)
		assert_int_equal(check_tcp("127.0.0.1", (uint16_t)(40000 + i % 2), 500).outcome,
				 CHECK_CONNECT_REFUSED);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(a_link_is_known_by_name),
		cmocka_unit_test(links_that_come_change_and_go_are_told),
		cmocka_unit_test(a_lost_carrier_is_down),
		cmocka_unit_test(leaving_a_bridge_is_not_the_end_of_a_link),
		cmocka_unit_test(a_neighbour_is_looked_for_and_found),
		cmocka_unit_test(a_gateway_is_the_neighbour_that_counts),
		cmocka_unit_test(a_route_says_what_to_send_from),
		cmocka_unit_test(without_a_route_the_network_is_unreachable),
		cmocka_unit_test(own_addresses_are_local),
		cmocka_unit_test(a_device_without_arp_needs_no_neighbour),
		cmocka_unit_test(a_stale_neighbour_is_used_and_checked),
		cmocka_unit_test(a_dead_neighbour_is_never_resolved),
		cmocka_unit_test(an_address_is_added_once_and_removed_once),
		cmocka_unit_test(an_ipv4_address_is_announced_as_request_and_reply),
		cmocka_unit_test(an_ipv6_address_is_announced_so_that_kernels_take_it),
		cmocka_unit_test(lost_events_count_as_a_change_of_everything),
		cmocka_unit_test(probes_tell_unreachable_from_silent),
		cmocka_unit_test(a_probe_that_meets_itself_found_nobody),
	};

	return cmocka_run_group_tests(tests, open_namespaces, close_namespaces);
}
