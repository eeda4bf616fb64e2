/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * Real sockets through the programs: a client, this balancer and a backend in namespaces of their
 * own. The backend takes tunnels off with zd_decap. In TC the client's packets come as it merged them
 * (TCP's and UDP's segmentation offload), and the kernel has to segment them inside their tunnel;
 * checksums are computed on the way out and checked by the backend's kernel.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <net/if.h>
#include <netinet/udp.h>
#include <pthread.h>
#include <sched.h>
#include <sys/socket.h>
#include <sys/time.h>
#include <unistd.h>
#include <cmocka.h>

#include <bpf/bpf.h>
#include <bpf/libbpf.h>

#include "decap.skel.h"
#include "world.h"
#include "zddlb.skel.h"

#define BYTES     (3u << 20)
#define DATAGRAMS 200
#define SEGMENT   1000 /* bytes of UDP payload a datagram; ten in one send */

static struct world world;
static struct decap *decap;
static int balancer_ns = -1, client_ns = -1, server_ns = -1;
static int server = -1, client = -1; /* sockets of the test that runs */

static int new_ns(void)
{
	if (unshare(CLONE_NEWNET))
		return -1;
	return open("/proc/self/ns/net", O_RDONLY | O_CLOEXEC);
}

static int enter(int ns)
{
	return setns(ns, CLONE_NEWNET);
}

static int move(const char *link, int ns)
{
	return world_shell("ip link set %s netns /proc/%d/fd/%d", link, (int)getpid(), ns);
}

static int end_up(const char *link, const char *mac, const char *v4, const char *v6,
		  const char *gate4, const char *gate6)
{
	return world_shell("set -e; ip link set lo up; ip link set %s address %s\n"
			   "ip link set %s up; ip addr add %s dev %s; ip addr add %s dev %s nodad\n"
			   "ip route add default via %s; ip -6 route add default via %s",
			   link, mac, link, v4, link, v6, link, gate4, gate6);
}

static int server_up(void)
{
	uint8_t addr[2][16];
	uint32_t one = 1;
	int fd;

	decap = decap__open_and_load();
	if (!decap)
		return -1;
	fd = bpf_map__fd(decap->maps.decap_locals);
	frame_addr(world_backend_addr(1, false), addr[0]);
	frame_addr(world_backend_addr(1, true), addr[1]);
	if (bpf_map_update_elem(fd, addr[0], &one, 0) || bpf_map_update_elem(fd, addr[1], &one, 0))
		return -1;
	return end_up("server", "02:00:00:00:00:21", "10.9.2.101/24", "2001:db8:2::101/64",
		      "10.9.2.1", "2001:db8:2::1") ?:
	       world_shell("ip addr add " WORLD_VIP4 "/32 dev lo; ip addr add " WORLD_VIP6
			   "/128 dev lo nodad; ip link set server mtu 1600") ?:
	       bpf_xdp_attach((int)if_nametoindex("server"), bpf_program__fd(decap->progs.zd_decap),
			      0, NULL);
}

/* Links keep what the world gave them; ends get the addresses that it has neighbours for. */
static int build(void)
{
	if (world_enter() || world_open(&world, WORLD_SLOTS, WORLD_BUCKETS))
		return -1;
	balancer_ns = open("/proc/self/ns/net", O_RDONLY | O_CLOEXEC);
	client_ns = new_ns();
	server_ns = new_ns();
	if (balancer_ns < 0 || client_ns < 0 || server_ns < 0 || enter(balancer_ns) ||
	    move("client", client_ns) || move("server", server_ns) ||
	    world_shell("ip link set back mtu 1600; ethtool -K back tx off >/dev/null"))
		return -1;
	if (enter(client_ns) ||
	    end_up("client", "02:00:00:00:00:12", "10.9.1.2/24", "2001:db8:1::2/64", "10.9.1.1",
		   "2001:db8:1::1") ||
	    world_shell("ethtool -K client gro on"))
		return -1; /* without it XDP_REDIRECT into the other end loses frames */
	return enter(server_ns) || server_up() || enter(balancer_ns) ? -1 : 0;
}

static int attach_tc(unsigned ifindex)
{
	LIBBPF_OPTS(bpf_tc_hook, hook, .ifindex = (int)ifindex, .attach_point = BPF_TC_INGRESS);
	LIBBPF_OPTS(bpf_tc_opts, opts, .prog_fd = bpf_program__fd(world.skel->progs.zd_tc),
		    .handle = 1, .priority = 1, .flags = BPF_TC_F_REPLACE);
	int err = bpf_tc_hook_create(&hook);

	return err && err != -EEXIST ? err : bpf_tc_attach(&hook, &opts);
}

static void detach_tc(unsigned ifindex)
{
	LIBBPF_OPTS(bpf_tc_hook, hook, .ifindex = (int)ifindex,
		    .attach_point = BPF_TC_INGRESS | BPF_TC_EGRESS);

	bpf_tc_hook_destroy(&hook);
}

/* For XDP the ends must not leave checksums or segments to a device that is not there. */
static int attach(enum world_hook hook)
{
	int fd = bpf_program__fd(world.skel->progs.zd_xdp), err;

	if (hook == WORLD_TC)
		return attach_tc(world.front) ?: attach_tc(world.back);
	err = bpf_xdp_attach((int)world.front, fd, 0, NULL)
		      ?: bpf_xdp_attach((int)world.back, fd, 0, NULL);
	return err;
}

static void detach(enum world_hook hook)
{
	const unsigned ends[] = { world.front, world.back };

	for (int i = 0; i < 2; i++) {
		if (hook == WORLD_TC)
			detach_tc(ends[i]);
		else
			bpf_xdp_detach((int)ends[i], 0, NULL);
	}
}

static int offloads(const char *on)
{
	int err = enter(client_ns)
			  ?: world_shell("ethtool -K client tx %s tso %s >/dev/null", on, on);

	err = err ?: enter(server_ns);
	err = err ?: world_shell("ethtool -K server tx %s >/dev/null", on);
	return enter(balancer_ns) ?: err;
}

static int socket_in(int ns, int type)
{
	struct timeval patience = { .tv_sec = 5 };
	int fd;

	assert_int_equal(enter(ns), 0);
	fd = socket(AF_INET6, type, 0);
	assert_int_equal(enter(balancer_ns), 0);
	assert_true(fd >= 0);
	setsockopt(fd, SOL_SOCKET, SO_RCVTIMEO, &patience, sizeof(patience));
	setsockopt(fd, SOL_SOCKET, SO_SNDTIMEO, &patience, sizeof(patience));
	setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &(int){ 1 }, sizeof(int));
	return fd;
}

static struct sockaddr_in6 address(const uint8_t addr[16], uint16_t port)
{
	struct sockaddr_in6 sa = { .sin6_family = AF_INET6, .sin6_port = htons(port) };

	memcpy(&sa.sin6_addr, addr, 16);
	return sa;
}

static int listener(int type, uint16_t port)
{
	static const uint8_t any[16];
	struct sockaddr_in6 sa = address(any, port);
	int fd = socket_in(server_ns, type), size = 8 << 20;

	setsockopt(fd, SOL_SOCKET, SO_RCVBUFFORCE, &size, sizeof(size));
	assert_int_equal(bind(fd, (struct sockaddr *)&sa, sizeof(sa)), 0);
	if (type == SOCK_STREAM)
		assert_int_equal(listen(fd, 8), 0);
	return fd;
}

static int connected(int type, bool v6)
{
	struct sockaddr_in6 sa;
	uint8_t vip[16];
	int fd = socket_in(client_ns, type);

	frame_addr(v6 ? WORLD_VIP6 : WORLD_VIP4, vip);
	sa = address(vip, WORLD_PORT);
	assert_int_equal(connect(fd, (struct sockaddr *)&sa, sizeof(sa)), 0);
	return fd;
}

static uint64_t mix(uint64_t sum, const uint8_t *at, size_t len)
{
	for (size_t i = 0; i < len; i++)
		sum = (sum ^ at[i]) * 0x100000001b3ULL;
	return sum;
}

/* The server's side of one connection: everything read, its sum sent back. */
static void *serve(void *arg)
{
	static uint8_t buf[1 << 16];
	int fd = accept(*(int *)arg, NULL, NULL);
	uint64_t sum = 1;
	ssize_t n;

	if (fd < 0)
		return NULL;
	while ((n = read(fd, buf, sizeof(buf))) > 0)
		sum = mix(sum, buf, (size_t)n);
	if (n == 0)
		n = write(fd, &sum, sizeof(sum));
	close(fd);
	return NULL;
}

static void send_all(int fd, const uint8_t *at, size_t len)
{
	while (len) {
		ssize_t n = write(fd, at, len);

		assert_true(n > 0);
		at += n;
		len -= (size_t)n;
	}
}

struct run {
	enum zd_mode mode;
	bool inner6, outer6;
	enum world_hook hook;
};

static void prepare(const struct run *r)
{
	world_reset(&world);
	world_backend(&world, 1, r->outer6, ZD_BACKEND_ALIVE | ZD_BACKEND_RESOLVED);
	world_mode(&world, 1, r->mode);
	world.backends[1].mtu = 1600;
	assert_int_equal(offloads(r->hook == WORLD_TC ? "on" : "off"), 0);
	assert_int_equal(attach(r->hook), 0);
}

static uint64_t taken_off(void)
{
	uint64_t sum = 0, v[256];

	for (uint32_t c = ZD_DC_IPIP; c <= ZD_DC_GUE; c++) {
		bpf_map_lookup_elem(bpf_map__fd(decap->maps.decap_counters), &c, v);
		for (int i = 0; i < libbpf_num_possible_cpus(); i++)
			sum += v[i];
	}
	return sum;
}

static uint16_t server_port(const struct run *r)
{
	return r->mode == ZD_MODE_NAT ? WORLD_BE_PORT : WORLD_PORT;
}

static void a_transfer_arrives_whole(void **state)
{
	const struct run *r = *state;
	static uint8_t data[BYTES];
	uint64_t before = taken_off(), echoed = 0;
	pthread_t thread;

	for (size_t i = 0; i < BYTES; i++)
		data[i] = (uint8_t)(i * 2654435761u >> 24);
	server = listener(SOCK_STREAM, server_port(r));
	prepare(r);
	assert_int_equal(pthread_create(&thread, NULL, serve, &server), 0);
	client = connected(SOCK_STREAM, r->inner6);
	send_all(client, data, BYTES);
	shutdown(client, SHUT_WR);
	assert_int_equal(read(client, &echoed, sizeof(echoed)), sizeof(echoed));
	pthread_join(thread, NULL);

	assert_true(echoed == mix(1, data, BYTES));
	assert_true(world_stat(&world, 1, ZD_BC_REQUEST_PACKETS) > BYTES / 1500);
	assert_int_equal(world_event(&world, ZD_EV_DROP_REWRITE), 0);
	assert_int_equal(world_event(&world, ZD_EV_DROP_TOO_BIG), 0);
	assert_true(r->mode < ZD_MODE_IPIP || taken_off() - before > BYTES / 1500);
}

static void send_datagrams(int fd)
{
	static uint8_t ten[10 * SEGMENT];

	assert_int_equal(setsockopt(fd, SOL_UDP, UDP_SEGMENT, &(int){ SEGMENT }, sizeof(int)), 0);
	for (unsigned i = 0; i < DATAGRAMS; i += 10) {
		for (unsigned k = 0; k < sizeof(ten); k++)
			ten[k] = (uint8_t)(i + k / SEGMENT);
		assert_int_equal(send(fd, ten, sizeof(ten), 0), sizeof(ten));
	}
}

static void datagrams_arrive_each_for_itself(void **state)
{
	const struct run *r = *state;
	unsigned seen[DATAGRAMS] = { 0 };
	uint8_t got[2 * SEGMENT];

	server = listener(SOCK_DGRAM, server_port(r));
	prepare(r);
	client = connected(SOCK_DGRAM, r->inner6);
	send_datagrams(client);
	for (unsigned i = 0; i < DATAGRAMS; i++) {
		assert_int_equal(recv(server, got, sizeof(got), 0), SEGMENT);
		for (unsigned k = 1; k < SEGMENT; k++)
			assert_int_equal(got[k], got[0]);
		seen[got[0] % DATAGRAMS]++;
	}
	for (unsigned i = 0; i < DATAGRAMS; i++)
		assert_int_equal(seen[i], 1);
	assert_int_equal(world_event(&world, ZD_EV_DROP_REWRITE), 0);
}

static int let_go(void **state)
{
	const struct run *r = *state;

	detach(r->hook);
	close(client);
	close(server);
	client = server = -1;
	return 0;
}

int main(void)
{
	static const char *const modes[] = { "nat", "dsr", "ipip", "gue" };
	static struct run runs[64];
	static struct CMUnitTest tests[64];
	static char names[64][64];
	size_t n = 0;

	for (unsigned i = 0; i < 64; i++) {
		struct run r = { i / 2 % 4, i / 8 % 2, i / 16 % 2, i / 32 ? WORLD_TC : WORLD_XDP };

		if (r.mode < ZD_MODE_IPIP && r.inner6 != r.outer6)
			continue;
		runs[n] = r;
		snprintf(names[n], sizeof(names[n]), "%s (%s, %d in %d, %s)",
			 i % 2 ? "datagrams" : "a transfer", modes[r.mode], r.inner6 ? 6 : 4,
			 r.outer6 ? 6 : 4, r.hook == WORLD_TC ? "tc" : "xdp");
		tests[n] = (struct CMUnitTest){ names[n],
						i % 2 ? datagrams_arrive_each_for_itself
						      : a_transfer_arrives_whole,
						NULL, let_go, &runs[n] };
		n++;
	}
	if (build())
		return 1;
	return _cmocka_run_group_tests("live", tests, n, NULL, NULL);
}
