/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * Bytes in, bytes out: every kind of header that may stand before the ports, both directions, both
 * hooks; and every answer of the routing table. Expected frames are built from a description with
 * full checksums, never from the program's own arithmetic.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <cmocka.h>

#include "world.h"

static struct world world;

struct shape {
	const char *name;
	bool v6;
	uint8_t ip_options, tcp_options;
	uint8_t ext[8], next, ext_units;
	uint16_t payload, padding;
	uint8_t proto, tos;
	bool no_check;
};

/* clang-format off */
static const struct shape shapes[] = {
	{ .name = "bare" },
	{ .name = "odd payload", .payload = 1 },
	{ .name = "full segment", .tcp_options = 12, .payload = 1448 },
	{ .name = "all TCP options", .tcp_options = 40, .payload = 7 },
	{ .name = "4 bytes of IP options", .ip_options = 4, .payload = 33 },
	{ .name = "40 bytes of IP options", .ip_options = 40, .tcp_options = 40, .payload = 5 },
	{ .name = "Ethernet padding", .padding = 6 },
	{ .name = "bare", .v6 = true },
	{ .name = "odd payload", .v6 = true, .payload = 1 },
	{ .name = "full segment", .v6 = true, .tcp_options = 12, .payload = 1428 },
	{ .name = "Ethernet padding", .v6 = true, .padding = 9 },
	{ .name = "hop-by-hop options", .v6 = true, .ext = { 0 }, .next = 1, .payload = 9 },
	{ .name = "routing header, nothing left", .v6 = true, .ext = { 43 }, .next = 1 },
	{ .name = "destination options", .v6 = true, .ext = { 60 }, .next = 1, .payload = 100 },
	{ .name = "four extension headers", .v6 = true, .ext = { 0, 60, 43, 60 }, .next = 4, .payload = 3 },
	{ .name = "DSCP and ECN", .tos = 0xb9 },
	{ .name = "traffic class", .v6 = true, .tos = 0x2f },
	{ .name = "UDP, empty", .proto = 17 },
	{ .name = "UDP, odd payload", .proto = 17, .payload = 333, .tos = 0x02 },
	{ .name = "UDP, padded", .proto = 17, .payload = 5, .padding = 13 },
	{ .name = "UDP, IP options", .proto = 17, .payload = 1400, .ip_options = 40 },
	{ .name = "UDP without a checksum", .proto = 17, .payload = 77, .no_check = true },
	{ .name = "UDP, empty", .v6 = true, .proto = 17 },
	{ .name = "UDP, odd payload", .v6 = true, .proto = 17, .payload = 1451, .tos = 0x01 },
	{ .name = "UDP without a checksum", .v6 = true, .proto = 17, .payload = 6, .no_check = true },
	{ .name = "UDP behind extension headers", .v6 = true, .proto = 17, .ext = { 0, 60 }, .next = 2, .payload = 9 },
	{ .name = "six long extension headers", .v6 = true, .ext = { 0, 60, 43, 60, 60, 60 }, .next = 6, .ext_units = 7 },
};
/* clang-format on */
#define NSHAPES (sizeof(shapes) / sizeof(shapes[0]))

struct run {
	const struct shape *shape;
	enum world_hook hook;
	bool reply;
};

static void apply(struct frame *f, const struct shape *s)
{
	f->ip_options = s->ip_options;
	f->tcp_options = s->tcp_options;
	memcpy(f->ext, s->ext, sizeof(f->ext));
	f->next = s->next;
	f->ext_units = s->ext_units;
	f->payload = s->payload;
	f->padding = s->padding;
	f->proto = s->proto;
	f->tos = s->tos;
	f->no_check = s->no_check;
}

static void assert_frame(const struct world_frame *got, const struct frame *f)
{
	struct world_frame want;

	want.len = frame_build(f, want.bytes);
	assert_int_equal(got->len, want.len);
	assert_memory_equal(got->bytes, want.bytes, want.len);
}

static void reset(bool v6)
{
	world_reset(&world);
	for (unsigned i = 1; i <= 9; i++)
		world_backend(&world, i, v6, ZD_BACKEND_ALIVE | ZD_BACKEND_RESOLVED);
}

static void frame_is_rewritten_exactly(void **state)
{
	const struct run *run = *state;
	bool v6 = run->shape->v6;
	uint8_t flags = FRAME_ACK | FRAME_PSH;
	struct frame in = run->reply ? world_reply(v6, flags, 1) : world_request(v6, flags);
	struct frame want =
		run->reply ? world_reply_out(v6, flags) : world_request_out(v6, flags, 1);
	struct world_frame out = { .len = 0 };

	reset(v6);
	apply(&in, run->shape);
	apply(&want, run->shape);
	assert_int_equal(
		world_send(&world, run->hook, run->reply ? world.back : world.front, &in, &out),
		WORLD_REDIRECT);
	assert_frame(&out, &want);
	assert_int_equal(
		world_stat(&world, 1, run->reply ? ZD_BC_REPLY_PACKETS : ZD_BC_REQUEST_PACKETS), 1);
	assert_int_equal(
		world_stat(&world, 1, run->reply ? ZD_BC_REPLY_BYTES : ZD_BC_REQUEST_BYTES),
		out.len);
	assert_int_equal(
		world_event(&world, run->reply ? ZD_EV_REPLY_FORWARDED : ZD_EV_REQUEST_FORWARDED),
		1);
}

static void checksums_survive_every_port_and_address(void **state)
{
	const struct run *run = *state;
	struct world_frame out = { .len = 0 };

	reset(run->shape->v6);
	for (uint32_t i = 0; i < 3000; i++) {
		struct frame f = world_request(run->shape->v6, FRAME_ACK);
		struct frame want = world_request_out(run->shape->v6, FRAME_ACK, 1);

		f.sport = want.sport = (uint16_t)(i * 21);
		f.seq = want.seq = i * 2654435761u;
		f.ack = want.ack = ~i;
		f.ttl = (uint8_t)(2 + i % 254);
		want.ttl = (uint8_t)(f.ttl - 1);
		assert_int_equal(world_send(&world, run->hook, world.front, &f, &out),
				 WORLD_REDIRECT);
		assert_frame(&out, &want);
	}
}

/* Every checksum there is, so also the one that comes out as 0. */
static void udp_checksums_never_become_none(void **state)
{
	const struct run *run = *state;
	struct world_frame out = { .len = 0 };

	reset(run->shape->v6);
	for (uint32_t i = 0; i < 65536; i++) {
		struct frame f = run->reply ? world_reply(run->shape->v6, 0, 1)
					    : world_request(run->shape->v6, 0);
		struct frame want = run->reply ? world_reply_out(run->shape->v6, 0)
					       : world_request_out(run->shape->v6, 0, 1);

		*(run->reply ? &f.dport : &f.sport) = (uint16_t)i;
		*(run->reply ? &want.dport : &want.sport) = (uint16_t)i;
		f.proto = want.proto = 17;
		assert_int_equal(world_send(&world, run->hook,
					    run->reply ? world.back : world.front, &f, &out),
				 WORLD_REDIRECT);
		assert_frame(&out, &want);
	}
}

/* What else can become of a packet. */
enum side { FRONT, BACK };

struct fate {
	const char *name;
	struct frame frame; /* src NULL: the standard request, or reply where `reply` */
	bool v6, reply;
	unsigned unresolved; /* backend flags without RESOLVED: the route decides */
	enum side side;
	enum world_verdict xdp, tc;
	enum zd_event xdp_event, tc_event; /* ZD_EV_MAX: none */
	const char *before, *after;        /* shell */
};

#define NONE ZD_EV_MAX
#define SAME(verdict, event)                                                                       \
	.xdp = (verdict), .tc = (verdict), .xdp_event = (event), .tc_event = (event)
#define PASSED                                                                                     \
	.xdp = WORLD_PASS, .tc = WORLD_PASS, .xdp_event = NONE, .tc_event = ZD_EV_PASSED_NOT_OURS
#define PUNTED          .xdp = WORLD_PASS, .tc = WORLD_REDIRECT, .xdp_event = ZD_EV_PUNTED
#define TO(address, p4) .dst = (address), .dport = (p4), .sport = 4000, .flags = FRAME_ACK
#define FROM_BACKEND    .src = "10.9.2.101", .sport = WORLD_BE_PORT, .dport = 4000, .flags = FRAME_ACK
#define FROM_BACKEND6                                                                              \
	.src = "2001:db8:2::101", .sport = WORLD_BE_PORT, .dport = 4000, .flags = FRAME_ACK
#define FORWARDING  "/proc/sys/net/ipv4/ip_forward"
#define FORWARDING6 "/proc/sys/net/ipv6/conf/all/forwarding"

/* clang-format off */
static const struct fate fates[] = {
/* Not ours. */
{ "another port of the VIP passes", { .src = WORLD_CLIENT4, TO(WORLD_VIP4, 81) }, PASSED },
{ "another address passes", { .src = WORLD_CLIENT4, TO("10.9.9.8", 80) }, PASSED },
{ "another port of a backend passes", { .src = "10.9.2.101", .dst = WORLD_CLIENT4, .sport = 22, .dport = 4000 }, .side = BACK, PASSED },
{ "UDP to another port of the VIP passes", { .src = WORLD_CLIENT4, TO(WORLD_VIP4, 81), .proto = 17 }, PASSED },
{ "SCTP to the VIP passes", { .src = WORLD_CLIENT4, TO(WORLD_VIP4, 80), .proto = 132 }, PASSED },
{ "ICMP to the VIP passes", { .src = WORLD_CLIENT4, TO(WORLD_VIP4, 80), .proto = 1 }, PASSED },
{ "ICMPv6 to the VIP passes", { .src = WORLD_CLIENT6, TO(WORLD_VIP6, 80), .proto = 58 }, .v6 = true, PASSED },
{ "ARP passes", { .src = WORLD_CLIENT4, TO(WORLD_VIP4, 80), .ethertype = 0x0806 }, PASSED },
{ "a VLAN tag passes", { .src = WORLD_CLIENT4, TO(WORLD_VIP4, 80), .ethertype = 0x8100 }, .xdp = WORLD_PASS, .tc = WORLD_PASS, .xdp_event = NONE, .tc_event = NONE },
{ "an unknown extension header passes", { .src = WORLD_CLIENT6, TO(WORLD_VIP6, 80), .ext = { 51 }, .next = 1 }, .v6 = true, PASSED },
/* Fragments: the ports are in the first one. frag_test.c has the rest. */
{ "a first fragment to the VIP is forwarded", { .src = WORLD_CLIENT4, TO(WORLD_VIP4, 80), .frag_off = 0x2000, .payload = 24 }, SAME(WORLD_REDIRECT, ZD_EV_REQUEST_FORWARDED) },
{ "a later fragment without the first is dropped", { .src = WORLD_CLIENT4, TO(WORLD_VIP4, 80), .frag_off = 100, .payload = 24 }, SAME(WORLD_DROP, ZD_EV_DROP_FRAGMENT) },
{ "a middle fragment without the first is dropped", { .src = WORLD_CLIENT4, TO(WORLD_VIP4, 80), .frag_off = 0x2064 }, SAME(WORLD_DROP, ZD_EV_DROP_FRAGMENT) },
{ "don't-fragment is no fragment", { .src = WORLD_CLIENT4, TO(WORLD_VIP4, 80), .frag_off = 0x4000, .smac = WORLD_MAC_CLIENT }, SAME(WORLD_REDIRECT, ZD_EV_REQUEST_FORWARDED) },
{ "a fragment to another address passes", { .src = WORLD_CLIENT4, TO("10.9.9.8", 80), .frag_off = 100 }, PASSED },
{ "a first IPv6 fragment to the VIP is forwarded", { .src = WORLD_CLIENT6, TO(WORLD_VIP6, 80), .ext = { 44 }, .next = 1 }, .v6 = true, SAME(WORLD_REDIRECT, ZD_EV_REQUEST_FORWARDED) },
{ "a first IPv6 fragment behind options is forwarded", { .src = WORLD_CLIENT6, TO(WORLD_VIP6, 80), .ext = { 0, 44 }, .next = 2 }, .v6 = true, SAME(WORLD_REDIRECT, ZD_EV_REQUEST_FORWARDED) },
{ "an IPv6 fragment to another address passes", { .src = WORLD_CLIENT6, TO("2001:db8:9::8", 80), .ext = { 44 }, .next = 1 }, .v6 = true, PASSED },
{ "a first UDP fragment to the VIP is forwarded", { .src = WORLD_CLIENT6, TO(WORLD_VIP6, 80), .ext = { 44 }, .next = 1, .proto = 17 }, .v6 = true, SAME(WORLD_REDIRECT, ZD_EV_REQUEST_FORWARDED) },
/* Chains longer than anybody's. */
{ "seven extension headers are dropped", { .src = WORLD_CLIENT6, TO(WORLD_VIP6, 80), .ext = { 0, 60, 60, 60, 60, 60, 60 }, .next = 7 }, .v6 = true, SAME(WORLD_DROP, ZD_EV_DROP_TRUNCATED) },
{ "512 bytes of extension headers are dropped", { .src = WORLD_CLIENT6, TO(WORLD_VIP6, 80), .ext = { 0, 60 }, .next = 2, .ext_units = 31 }, .v6 = true, SAME(WORLD_DROP, ZD_EV_DROP_TRUNCATED) },
{ "2 KiB in one extension header are dropped", { .src = WORLD_CLIENT6, TO(WORLD_VIP6, 80), .ext = { 60 }, .next = 1, .ext_units = 200 }, .v6 = true, SAME(WORLD_DROP, ZD_EV_DROP_TRUNCATED) },
/* TTL. */
{ "TTL 1 ends here", { .src = WORLD_CLIENT4, TO(WORLD_VIP4, 80), .ttl = 1 }, SAME(WORLD_DROP, ZD_EV_DROP_TTL) },
{ "hop limit 1 ends here", { .src = WORLD_CLIENT6, TO(WORLD_VIP6, 80), .ttl = 1 }, .v6 = true, SAME(WORLD_DROP, ZD_EV_DROP_TTL) },
{ "a reply's TTL 1 ends here", { FROM_BACKEND, .dst = WORLD_CLIENT4, .ttl = 1 }, .side = BACK, SAME(WORLD_DROP, ZD_EV_DROP_TTL) },
/* Replies, by the route to the client. */
{ "a probe's answer passes", { FROM_BACKEND, .dst = "10.9.2.1" }, .side = BACK, PASSED },
{ "a probe's answer passes, v6", { FROM_BACKEND6, .dst = "2001:db8:2::1" }, .v6 = true, .side = BACK, PASSED },
{ "a probe's answer passes even with TTL 1", { FROM_BACKEND, .dst = "10.9.2.1", .ttl = 1 }, .side = BACK, PASSED },
{ "a client without a neighbour entry", { FROM_BACKEND, .dst = "10.9.1.77" }, .side = BACK, PUNTED, .tc_event = ZD_EV_REPLY_FORWARDED },
{ "a client without a neighbour entry, v6", { FROM_BACKEND6, .dst = "2001:db8:1::77" }, .v6 = true, .side = BACK, PUNTED, .tc_event = ZD_EV_REPLY_FORWARDED },
{ "a client in a black hole", { FROM_BACKEND, .dst = "10.9.3.3" }, .side = BACK, SAME(WORLD_DROP, ZD_EV_DROP_NO_ROUTE) },
{ "an unreachable client", { FROM_BACKEND, .dst = "10.9.4.3" }, .side = BACK, SAME(WORLD_DROP, ZD_EV_DROP_NO_ROUTE) },
{ "a prohibited client", { FROM_BACKEND, .dst = "10.9.5.3" }, .side = BACK, SAME(WORLD_DROP, ZD_EV_DROP_NO_ROUTE) },
{ "no route to the client: the kernel says so", { FROM_BACKEND, .dst = "172.16.1.1" }, .side = BACK, PASSED },
{ "forwarding off: the kernel keeps its own", { FROM_BACKEND, .dst = WORLD_CLIENT4 }, .side = BACK, .xdp = WORLD_PASS, .tc = WORLD_PASS, .xdp_event = NONE, .tc_event = ZD_EV_DROP_FORWARDING_OFF, .before = "echo 0 > " FORWARDING, .after = "echo 1 > " FORWARDING },
{ "forwarding off: the kernel keeps its own, v6", { FROM_BACKEND6, .dst = WORLD_CLIENT6 }, .v6 = true, .side = BACK, .xdp = WORLD_PASS, .tc = WORLD_PASS, .xdp_event = NONE, .tc_event = ZD_EV_DROP_FORWARDING_OFF, .before = "echo 0 > " FORWARDING6, .after = "echo 1 > " FORWARDING6 },
{ "a reply that fits its route", { FROM_BACKEND, .dst = "10.9.6.2", .payload = 560 }, .side = BACK, SAME(WORLD_REDIRECT, ZD_EV_REPLY_FORWARDED) },
/* Requests whose backend's next hop the agent has not resolved. */
{ "an unresolved backend is looked up", { .src = WORLD_CLIENT4, TO(WORLD_VIP4, 80) }, .unresolved = 1, SAME(WORLD_REDIRECT, ZD_EV_REQUEST_FORWARDED) },
{ "an unresolved backend is looked up, v6", { .src = WORLD_CLIENT6, TO(WORLD_VIP6, 80) }, .v6 = true, .unresolved = 1, SAME(WORLD_REDIRECT, ZD_EV_REQUEST_FORWARDED) },
{ "an unresolved backend without a neighbour", { .src = WORLD_CLIENT4, TO(WORLD_VIP4, 80) }, .unresolved = 1, PUNTED, .tc_event = ZD_EV_REQUEST_FORWARDED, .before = "ip neigh del 10.9.2.101 dev back", .after = "ip neigh replace 10.9.2.101 lladdr 02:00:00:00:00:21 dev back nud permanent" },
{ "an unresolved backend without a neighbour, v6", { .src = WORLD_CLIENT6, TO(WORLD_VIP6, 80) }, .v6 = true, .unresolved = 1, PUNTED, .tc_event = ZD_EV_REQUEST_FORWARDED, .before = "ip neigh del 2001:db8:2::101 dev back", .after = "ip neigh replace 2001:db8:2::101 lladdr 02:00:00:00:00:21 dev back nud permanent" },
{ "an unresolved backend without a route", { .src = WORLD_CLIENT4, TO(WORLD_VIP4, 80) }, .unresolved = 1, SAME(WORLD_DROP, ZD_EV_DROP_NO_ROUTE), .before = "ip route add blackhole 10.9.2.101", .after = "ip route del blackhole 10.9.2.101" },
{ "an unresolved backend with forwarding off", { .src = WORLD_CLIENT4, TO(WORLD_VIP4, 80) }, .unresolved = 1, SAME(WORLD_DROP, ZD_EV_DROP_FORWARDING_OFF), .before = "echo 0 > " FORWARDING, .after = "echo 1 > " FORWARDING },
{ "a resolved backend needs no forwarding", { .src = WORLD_CLIENT4, TO(WORLD_VIP4, 80) }, SAME(WORLD_REDIRECT, ZD_EV_REQUEST_FORWARDED), .before = "echo 0 > " FORWARDING, .after = "echo 1 > " FORWARDING },
};
/* clang-format on */
#define NFATES (sizeof(fates) / sizeof(fates[0]))

struct fate_run {
	const struct fate *fate;
	enum world_hook hook;
};

static void no_other_event(enum zd_event expected)
{
	for (int e = 0; e < ZD_EV_MAX; e++)
		assert_int_equal(world_event(&world, (enum zd_event)e), e == (int)expected);
}

static void packet_meets_its_fate(void **state)
{
	const struct fate_run *run = *state;
	const struct fate *fate = run->fate;
	bool xdp = run->hook == WORLD_XDP;
	struct frame f = fate->frame;
	struct world_frame in, out = { .len = 0 };
	enum world_verdict v, want = xdp ? fate->xdp : fate->tc;

	reset(fate->v6);
	if (fate->unresolved)
		world_backend(&world, 1, fate->v6, ZD_BACKEND_ALIVE);
	if (fate->before)
		assert_int_equal(world_shell("%s", fate->before), 0);
	in.len = frame_build(&f, in.bytes);
	v = world_run(&world, run->hook, fate->side == BACK ? world.back : world.front, &in, &out);
	if (fate->after)
		assert_int_equal(world_shell("%s", fate->after), 0);

	assert_int_equal(v, want);
	if (fate->frame.ethertype != 0x8100) /* the kernel takes a tag off before TC sees it */
		no_other_event(xdp ? fate->xdp_event : fate->tc_event);
	if (want == WORLD_PASS && fate->frame.ethertype != 0x8100) {
		assert_int_equal(out.len, in.len);
		assert_memory_equal(out.bytes, in.bytes, in.len);
	}
}

static void a_punted_syn_leaves_nothing_behind(void **state)
{
	struct frame f = world_request(false, FRAME_SYN);
	struct world_frame out = { .len = 0 };

	(void)state;
	reset(false);
	world_backend(&world, 2, false, ZD_BACKEND_ALIVE);
	world_slots(&world, ZD_SLOT(2, 1, ZD_SLOT_MOVING));
	assert_int_equal(world_shell("ip neigh del 10.9.2.102 dev back"), 0);
	assert_int_equal(world_send(&world, WORLD_XDP, world.front, &f, &out), WORLD_PASS);
	assert_null(world_pin_word(&world));
	assert_null(world_birth(&world));
	no_other_event(ZD_EV_PUNTED);
	for (int c = 0; c < ZD_BC_MAX; c++)
		assert_int_equal(world_stat(&world, 2, (enum zd_backend_counter)c), 0);

	/* And TC, behind it, does all of it. */
	assert_int_equal(world_send(&world, WORLD_TC, world.front, &f, &out), WORLD_REDIRECT);
	assert_int_equal(ZD_PIN_BACKEND(world_pin(&world)), 2);
	assert_int_equal(world_stat(&world, 2, ZD_BC_CONNECTIONS), 1);
	assert_int_equal(
		world_shell(
			"ip neigh replace 10.9.2.102 lladdr 02:00:00:00:00:22 dev back nud permanent"),
		0);
}

static void the_way_in_is_the_way_out(void **state)
{
	struct frame f = world_request(false, FRAME_ACK),
		     want = world_request_out(false, FRAME_ACK, 1);
	struct world_frame out = { .len = 0 };

	(void)state;
	reset(false);
	assert_int_equal(world_send(&world, WORLD_XDP, world.back, &f, &out), WORLD_TX);
	assert_frame(&out, &want);
	assert_int_equal(world_send(&world, WORLD_TC, world.back, &f, &out), WORLD_REDIRECT);
	assert_frame(&out, &want);
}

static void a_multicast_frame_is_not_forwarded(void **state)
{
	struct frame f = world_request(false, FRAME_ACK);
	struct world_frame in, out = { .len = 0 };

	(void)state;
	reset(false);
	in.len = frame_build(&f, in.bytes);
	in.bytes[0] |= 1;
	for (int hook = WORLD_XDP; hook <= WORLD_TC; hook++) {
		assert_int_equal(world_run(&world, (enum world_hook)hook, world.front, &in, &out),
				 WORLD_PASS);
		assert_memory_equal(in.bytes, out.bytes, in.len);
	}
}

static void a_routing_header_with_segments_left_passes(void **state)
{
	struct frame f = world_request(true, FRAME_ACK);
	struct world_frame in, out = { .len = 0 };

	(void)state;
	reset(true);
	f.ext[0] = 43;
	f.next = 1;
	in.len = frame_build(&f, in.bytes);
	in.bytes[14 + 40 + 3] = 1;
	for (int hook = WORLD_XDP; hook <= WORLD_TC; hook++)
		assert_int_equal(world_run(&world, (enum world_hook)hook, world.front, &in, &out),
				 WORLD_PASS);
}

static void a_reply_too_big_for_its_route_is_not_sent_on(void **state)
{
	struct frame f = world_reply(false, FRAME_ACK, 1);
	struct world_frame out = { .len = 0 };

	(void)state;
	reset(false);
	f.dst = "10.9.6.2";
	f.payload = 561;
	assert_int_equal(world_send(&world, WORLD_XDP, world.back, &f, &out), WORLD_TX);
	assert_int_equal(world_event(&world, ZD_EV_DROP_TOO_BIG), 1);
	assert_int_equal(world_event(&world, ZD_EV_TOO_BIG_SENT), 1);
	assert_int_equal(world_event(&world, ZD_EV_REPLY_FORWARDED), 0);
}

static void a_backend_of_the_other_family_is_nobody(void **state)
{
	struct frame f = world_request(true, FRAME_SYN);
	struct world_frame out = { .len = 0 };

	(void)state;
	reset(false);
	for (int hook = WORLD_XDP; hook <= WORLD_TC; hook++)
		assert_int_equal(world_send(&world, (enum world_hook)hook, world.front, &f, &out),
				 WORLD_DROP);
	assert_int_equal(world_event(&world, ZD_EV_DROP_NO_BACKEND), 2);
}

#define MAX_TESTS (NSHAPES * 4 + NFATES * 2 + 24)
static struct CMUnitTest tests[MAX_TESTS];
static size_t ntests;

static void add(CMUnitTestFunction fn, const void *arg, size_t size, const char *fmt, ...)
{
	struct CMUnitTest *t = &tests[ntests++];
	char *name = malloc(160), *copy = size ? malloc(size) : NULL;
	va_list ap;

	va_start(ap, fmt);
	vsnprintf(name, 160, fmt, ap);
	va_end(ap);
	if (size)
		memcpy(copy, arg, size);
	t->name = name;
	t->test_func = fn;
	t->initial_state = copy;
}

#define ADD(fn) add(fn, NULL, 0, #fn)

static void add_all(void)
{
	static const char *const hooks[] = { "xdp", "tc" };

	for (size_t i = 0; i < NSHAPES * 4; i++) {
		struct run r = { &shapes[i / 4], i % 2 ? WORLD_TC : WORLD_XDP, i / 2 % 2 };

		add(frame_is_rewritten_exactly, &r, sizeof(r), "%s, %s (%s, %s)", r.shape->name,
		    r.reply ? "reply" : "request", hooks[r.hook], r.shape->v6 ? "v6" : "v4");
	}
	for (size_t i = 0; i < 4; i++) {
		struct run r = { &shapes[i / 2 ? 7 : 0], i % 2 ? WORLD_TC : WORLD_XDP, false };

		add(checksums_survive_every_port_and_address, &r, sizeof(r),
		    "checksums hold over ports, numbers and TTLs (%s, %s)", hooks[r.hook],
		    r.shape->v6 ? "v6" : "v4");
	}
	for (size_t i = 0; i < 8; i++) {
		struct run r = { &shapes[i / 4 ? 7 : 0], i % 2 ? WORLD_TC : WORLD_XDP, i / 2 % 2 };

		add(udp_checksums_never_become_none, &r, sizeof(r),
		    "no UDP checksum becomes 0, %s (%s, %s)", r.reply ? "reply" : "request",
		    hooks[r.hook], r.shape->v6 ? "v6" : "v4");
	}
	for (size_t i = 0; i < NFATES * 2; i++) {
		struct fate_run r = { &fates[i / 2], i % 2 ? WORLD_TC : WORLD_XDP };

		add(packet_meets_its_fate, &r, sizeof(r), "%s (%s)", r.fate->name, hooks[r.hook]);
	}
	ADD(a_punted_syn_leaves_nothing_behind);
	ADD(the_way_in_is_the_way_out);
	ADD(a_multicast_frame_is_not_forwarded);
	ADD(a_routing_header_with_segments_left_passes);
	ADD(a_reply_too_big_for_its_route_is_not_sent_on);
	ADD(a_backend_of_the_other_family_is_nobody);
}

int main(void)
{
	int failed;

	if (world_enter() || world_open(&world, WORLD_SLOTS, WORLD_BUCKETS))
		return 1;
	add_all();
	failed = _cmocka_run_group_tests("forward", tests, ntests, NULL, NULL);
	for (size_t i = 0; i < ntests; i++) {
		free((void *)(uintptr_t)tests[i].name);
		free(tests[i].initial_state);
	}
	return failed;
}
