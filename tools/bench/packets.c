/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * What a packet costs: BPF_PROG_RUN of the real program with many distinct flows, net of the driver
 * (driver.bpf.c). Rounds of all cases are interleaved, so that drift of the machine hits all alike.
 */
#include <arpa/inet.h>
#include <errno.h>
#include <linux/if_ether.h>
#include <linux/ip.h>
#include <linux/ipv6.h>
#include <linux/tcp.h>
#include <linux/udp.h>
#include <net/if.h>
#include <sched.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include <bpf/bpf.h>
#include <bpf/libbpf.h>
#include <zddlb/abi.h>

#include "bench.h"
#include "driver.skel.h"
#include "zddlb.skel.h"

#define RUNS     400000u
#define ROUNDS   9
#define NSLOTS   16384u
#define BACKENDS 8
#define PINS     (8u << 20)
#define FRAME    128

enum direction { REQUEST, REPLY };

static const struct bench_case {
	const char *name;
	uint32_t flows;
	bool v6, pinned, syn;
	enum direction direction;
	enum zd_mode mode;
	bool udp;
} cases[] = {
	{ .name = "xdp.tcp4.steady.1", .flows = 1 },
	{ .name = "xdp.tcp4.steady.100k", .flows = 100000 },
	{ .name = "xdp.tcp4.steady.1M", .flows = 1000000 },
	{ .name = "xdp.tcp4.steady.4M", .flows = 4000000 },
	{ .name = "xdp.tcp6.steady.1", .flows = 1, .v6 = true },
	{ .name = "xdp.tcp6.steady.1M", .flows = 1000000, .v6 = true },
	{ .name = "xdp.tcp4.syn.1M", .flows = 1000000, .syn = true },
	{ .name = "xdp.tcp4.pinned.1", .flows = 1, .pinned = true },
	{ .name = "xdp.tcp4.pinned.100k", .flows = 100000, .pinned = true },
	{ .name = "xdp.tcp4.pinned.1M", .flows = 1000000, .pinned = true },
	{ .name = "xdp.tcp4.pinned.4M", .flows = 4000000, .pinned = true },
	{ .name = "xdp.tcp4.pinned.syn.1M", .flows = 1000000, .pinned = true, .syn = true },
	{ .name = "xdp.tcp4.reply.1", .flows = 1, .direction = REPLY },
	{ .name = "xdp.tcp4.reply.1M", .flows = 1000000, .direction = REPLY },
	{ .name = "xdp.tcp4.dsr.1M", .flows = 1000000, .mode = ZD_MODE_DSR },
	{ .name = "xdp.tcp4.ipip.1", .flows = 1, .mode = ZD_MODE_IPIP },
	{ .name = "xdp.tcp4.ipip.1M", .flows = 1000000, .mode = ZD_MODE_IPIP },
	{ .name = "xdp.tcp4.gue.1M", .flows = 1000000, .mode = ZD_MODE_GUE },
	{ .name = "xdp.udp4.steady.1M", .flows = 1000000, .udp = true },
	{ .name = "xdp.udp4.tracked.1", .flows = 1, .pinned = true, .udp = true },
	{ .name = "xdp.udp4.tracked.100k", .flows = 100000, .pinned = true, .udp = true },
	{ .name = "xdp.udp4.tracked.1M", .flows = 1000000, .pinned = true, .udp = true },
};
#define NCASES (sizeof(cases) / sizeof(cases[0]))

struct driver_value {
	uint64_t run, runs, start_ns, end_ns;
	uint32_t flows, frame_len, addr_off, port_off;
	uint8_t header[80];
};

struct rig {
	struct zddlb *zd;
	struct driver *drv;
	int null_fd;
	uint32_t ifindex;
};

static void mapped4(uint8_t out[16], uint32_t host_order)
{
	uint32_t be = htonl(host_order);

	memset(out, 0, 10);
	memset(out + 10, 0xff, 2);
	memcpy(out + 12, &be, 4);
}

static void v6_addr(uint8_t out[16], const char *text)
{
	inet_pton(AF_INET6, text, out);
}

/* 198.51.100.10:80 and [2001:db8::10]:80 -> backends 192.0.2.1.. and 2001:db8:1::1.., port 8080 */
static int fill_backends(const struct rig *r, enum zd_mode mode)
{
	for (uint32_t i = 1; i <= 2 * BACKENDS; i++) {
		bool v6 = i > BACKENDS;
		struct zd_backend b = {
			.port = htons(8080),
			.flags = ZD_BACKEND_ALIVE | ZD_BACKEND_RESOLVED,
			.service = v6,
			.ifindex = r->ifindex,
			.dmac = { 2, 0, 0, 0, 0, 2 },
			.smac = { 2, 0, 0, 0, 0, 1 },
			.mode = (uint8_t)mode,
			.mtu = 1500,
		};
		struct zd_reverse rev = { .port = htons(80),
					  .backend = (uint16_t)i,
					  .service = v6 };
		struct zd_endpoint ep = { .port = htons(8080), .proto = IPPROTO_TCP };

		if (v6) {
			v6_addr(b.addr, "2001:db8:1::");
			b.addr[15] = (uint8_t)i;
			b.flags |= ZD_BACKEND_V6;
			v6_addr(rev.vip, "2001:db8::10");
		} else {
			mapped4(b.addr, 0xc0000200u + i);
			mapped4(rev.vip, 0xc633640au);
			mapped4(b.source, 0xc00002feu);
		}
		memcpy(ep.addr, b.addr, 16);
		if (bpf_map_update_elem(bpf_map__fd(r->zd->maps.backends), &i, &b, 0) ||
		    bpf_map_update_elem(bpf_map__fd(r->zd->maps.reverse), &ep, &rev, 0))
			return -errno;
	}
	return 0;
}

static int fill_services(const struct rig *r, const struct bench_case *c)
{
	for (uint32_t i = 0; i < 2; i++) {
		struct zd_service s = { .ring_offset = i * NSLOTS, .ring_mask = NSLOTS - 1 };
		struct zd_endpoint ep = { .port = htons(80) };
		struct zd_vip v = { .service = i };

		s.flags = c->udp && c->pinned ? ZD_SERVICE_TRACK_FULL : 0;
		ep.proto = c->udp ? IPPROTO_UDP : IPPROTO_TCP;
		if (i)
			v6_addr(ep.addr, "2001:db8::10");
		else
			mapped4(ep.addr, 0xc633640au);
		if (bpf_map_update_elem(bpf_map__fd(r->zd->maps.services), &i, &s, 0) ||
		    bpf_map_update_elem(bpf_map__fd(r->zd->maps.vips), &ep, &v, 0))
			return -errno;
	}
	return 0;
}

static int fill_ring(const struct rig *r, bool pinned)
{
	for (uint32_t i = 0; i < 2 * NSLOTS; i++) {
		uint32_t first = i >= NSLOTS ? BACKENDS + 1 : 1;
		uint16_t cur = (uint16_t)(first + i % BACKENDS);
		uint16_t base = (uint16_t)(first + (i + 1) % BACKENDS);
		uint64_t word = pinned ? ZD_SLOT(cur, base, ZD_SLOT_MOVING) : ZD_SLOT(cur, cur, 0);

		if (bpf_map_update_elem(bpf_map__fd(r->zd->maps.ring), &i, &word, 0))
			return -errno;
	}
	return 0;
}

/* A namespace with one interface, so that replies find a route and a neighbour. */
static int make_network(struct rig *r)
{
	if (unshare(CLONE_NEWNET) < 0)
		return -errno;
	if (system("ip link add bench0 type veth peer name bench1 && ip link set bench0 up && "
		   "ip link set bench1 up && ip addr add 172.31.255.254/30 dev bench0 && "
		   "sysctl -qw net.ipv4.ip_forward=1 net.ipv4.conf.bench0.forwarding=1 && "
		   "ip neigh add 172.31.255.253 lladdr 02:00:00:00:00:02 dev bench0 && "
		   "ip route add default via 172.31.255.253") != 0)
		return -EIO;
	r->ifindex = if_nametoindex("bench0");
	return r->ifindex ? 0 : -ENODEV;
}

static int load(struct rig *r)
{
	struct zd_settings cfg = {
		.abi = ZD_ABI_VERSION,
		.pin_bucket_mask = PINS / ZD_PINS_PER_BUCKET - 1,
		.birth_mask = 65535,
		.idle_ticks = 211,
		.syn_ticks = 8,
		.fin_ticks = 4,
		.udp_ticks = 29,
		.longest_ticks = 211,
		.hash_key = { 0x0123456789abcdefULL, 0xfedcba9876543210ULL },
	};
	int err;

	r->zd = zddlb__open();
	if (!r->zd)
		return -errno;
	bpf_map__set_max_entries(r->zd->maps.vips, 64);
	bpf_map__set_max_entries(r->zd->maps.services, 64);
	bpf_map__set_max_entries(r->zd->maps.ring, 2 * NSLOTS);
	bpf_map__set_max_entries(r->zd->maps.backends, 4096);
	bpf_map__set_max_entries(r->zd->maps.backend_stats, 4096);
	bpf_map__set_max_entries(r->zd->maps.reverse, 4096);
	bpf_map__set_max_entries(r->zd->maps.pins, PINS / ZD_PINS_PER_BUCKET);
	bpf_map__set_max_entries(r->zd->maps.births, 65536);
	memcpy((void *)(uintptr_t)&r->zd->rodata->zd_cfg, &cfg, sizeof(cfg));
	err = zddlb__load(r->zd);
	if (err)
		return err;
	r->drv = driver__open_and_load();
	if (!r->drv)
		return -errno;
	r->null_fd = bpf_program__fd(r->drv->progs.driver_null);
	return 0;
}

static void frame_v4(struct driver_value *v, const struct bench_case *c)
{
	struct ethhdr *eth = (void *)v->header;
	struct iphdr *ip = (void *)(eth + 1);
	struct tcphdr *tcp = (void *)(ip + 1);
	struct udphdr *udp = (void *)(ip + 1);
	bool reply = c->direction == REPLY;

	eth->h_proto = htons(ETH_P_IP);
	ip->version = 4;
	ip->ihl = 5;
	ip->ttl = 64;
	ip->protocol = c->udp ? IPPROTO_UDP : IPPROTO_TCP;
	ip->tot_len = htons(FRAME - sizeof(*eth));
	ip->saddr = htonl(reply ? 0xc0000201u : 0);
	ip->daddr = htonl(reply ? 0 : 0xc633640au);
	tcp->source = htons(reply ? 8080 : 0);
	tcp->dest = htons(reply ? 0 : 80);
	if (c->udp) {
		udp->len = htons(FRAME - sizeof(*eth) - sizeof(*ip));
		udp->check = 1;
	} else {
		tcp->doff = 5;
		tcp->syn = c->syn;
		tcp->ack = !c->syn;
	}
	v->addr_off = (uint32_t)(sizeof(*eth) + (reply ? 16 : 12));
	v->port_off = (uint32_t)(sizeof(*eth) + sizeof(*ip) + (reply ? 2 : 0));
}

static void frame_v6(struct driver_value *v, const struct bench_case *c)
{
	struct ethhdr *eth = (void *)v->header;
	struct ipv6hdr *ip = (void *)(eth + 1);
	struct tcphdr *tcp = (void *)(ip + 1);

	eth->h_proto = htons(ETH_P_IPV6);
	ip->version = 6;
	ip->hop_limit = 64;
	ip->nexthdr = IPPROTO_TCP;
	ip->payload_len = htons(FRAME - sizeof(*eth) - sizeof(*ip));
	v6_addr(ip->saddr.s6_addr, "2001:db8:ffff::");
	v6_addr(ip->daddr.s6_addr, "2001:db8::10");
	tcp->dest = htons(80);
	tcp->doff = 5;
	tcp->syn = c->syn;
	tcp->ack = !c->syn;
	v->addr_off = sizeof(*eth) + 8 + 12;
	v->port_off = sizeof(*eth) + sizeof(*ip);
}

/* One round: nanoseconds a run, driver included. Negative: an error. */
static double run(struct rig *r, const struct bench_case *c, int target, uint32_t runs)
{
	struct driver_value v = { .runs = runs, .flows = c->flows, .frame_len = FRAME };
	uint8_t frame[FRAME] = { 0 };
	struct xdp_md ctx = { .data_end = FRAME, .ingress_ifindex = r->ifindex };
	uint32_t key = 0;
	int state = bpf_map__fd(r->drv->maps.driver_state);
	LIBBPF_OPTS(bpf_test_run_opts, o, .data_in = frame, .data_size_in = FRAME, .ctx_in = &ctx,
		    .ctx_size_in = sizeof(ctx), .repeat = (int)runs);

	(c->v6 ? frame_v6 : frame_v4)(&v, c);
	if (bpf_map_update_elem(state, &key, &v, 0) ||
	    bpf_map_update_elem(bpf_map__fd(r->drv->maps.driver_target), &key, &target, 0) ||
	    bpf_prog_test_run_opts(bpf_program__fd(r->drv->progs.driver), &o) ||
	    bpf_map_lookup_elem(state, &key, &v))
		return -1;
	if (o.retval != XDP_TX && o.retval != XDP_REDIRECT) {
		fprintf(stderr, "bench packets: %s ended with verdict %u\n", c->name, o.retval);
		return -1;
	}
	return (double)(v.end_ns - v.start_ns) / (runs - 1);
}

static int measure(struct rig *r, double ns[NCASES][ROUNDS])
{
	int target = bpf_program__fd(r->zd->progs.zd_xdp);

	for (int round = 0; round < ROUNDS; round++) {
		for (size_t i = 0; i < NCASES; i++) {
			double whole, driver;

			if (fill_ring(r, cases[i].pinned) || fill_services(r, &cases[i]) ||
			    fill_backends(r, cases[i].mode))
				return -errno;
			/* Pins of all flows must be there before their use is measured. */
			run(r, &cases[i], target,
			    cases[i].pinned ? cases[i].flows * 2 + RUNS : RUNS / 4);
			driver = run(r, &cases[i], r->null_fd, RUNS);
			whole = run(r, &cases[i], target, RUNS);
			if (whole < 0 || driver < 0)
				return -EIO;
			ns[i][round] = whole - driver;
		}
	}
	return 0;
}

int bench_packets(int argc, char **argv)
{
	static double ns[NCASES][ROUNDS];
	struct rig r = { 0 };
	int err;

	(void)argc;
	(void)argv;
	err = make_network(&r);
	if (!err)
		err = load(&r);
	if (!err)
		err = measure(&r, ns);
	for (size_t i = 0; !err && i < NCASES; i++)
		bench_report(cases[i].name, "ns/packet", ns[i], ROUNDS);
	driver__destroy(r.drv);
	zddlb__destroy(r.zd);
	if (err)
		fprintf(stderr, "bench packets: %s\n", strerror(-err));
	return err ? 1 : 0;
}
