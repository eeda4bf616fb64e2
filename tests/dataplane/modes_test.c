/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * How packets reach a backend: every mode, inner and outer family, protocol and hook, byte by byte.
 * Expected frames are built from descriptions with full checksums.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <arpa/inet.h>
#include <cmocka.h>

#include "world.h"

static struct world world;

/* A way to a backend. */
struct path {
	enum zd_mode mode;
	bool inner6, outer6;
};

/* clang-format off */
static const struct path paths[] = {
	{ ZD_MODE_NAT, false, false }, { ZD_MODE_NAT, true, true },
	{ ZD_MODE_DSR, false, false }, { ZD_MODE_DSR, true, true },
	{ ZD_MODE_IPIP, false, false }, { ZD_MODE_IPIP, false, true },
	{ ZD_MODE_IPIP, true, false }, { ZD_MODE_IPIP, true, true },
	{ ZD_MODE_GUE, false, false }, { ZD_MODE_GUE, false, true },
	{ ZD_MODE_GUE, true, false }, { ZD_MODE_GUE, true, true },
};

/* A packet; what is not said is as usual. */
static const struct shape {
	const char *name;
	struct frame f;
	bool v4_only, v6_only;
} shapes[] = {
	{ .name = "TCP ACK", .f = { .flags = FRAME_ACK } },
	{ .name = "TCP SYN with options", .f = { .flags = FRAME_SYN, .tcp_options = 20 } },
	{ .name = "TCP data", .f = { .flags = FRAME_ACK | FRAME_PSH, .tcp_options = 12, .payload = 1376 } },
	{ .name = "TCP, padded", .f = { .flags = FRAME_ACK, .padding = 6 } },
	{ .name = "TCP, DSCP EF, ECT(0)", .f = { .flags = FRAME_ACK, .tos = 0xba, .payload = 3 } },
	{ .name = "TCP, CE", .f = { .flags = FRAME_ACK, .tos = 0x03 } },
	{ .name = "TCP, TTL 2", .f = { .flags = FRAME_ACK, .ttl = 2 } },
	{ .name = "TCP, TTL 255", .f = { .flags = FRAME_ACK, .ttl = 255 } },
	{ .name = "TCP, may not be fragmented", .f = { .flags = FRAME_ACK, .frag_off = 0x4000 }, .v4_only = true },
	{ .name = "TCP, IP options", .f = { .flags = FRAME_ACK, .ip_options = 12, .payload = 20 }, .v4_only = true },
	{ .name = "TCP, extension headers", .f = { .flags = FRAME_ACK, .ext = { 0, 60 }, .next = 2, .payload = 20 }, .v6_only = true },
	{ .name = "UDP, empty", .f = { .proto = 17 } },
	{ .name = "UDP", .f = { .proto = 17, .payload = 1201, .tos = 0x01 } },
	{ .name = "UDP, padded", .f = { .proto = 17, .payload = 1, .padding = 17 } },
	{ .name = "UDP without a checksum", .f = { .proto = 17, .payload = 99, .no_check = true } },
};
/* clang-format on */

#define NPATHS  (sizeof(paths) / sizeof(paths[0]))
#define NSHAPES (sizeof(shapes) / sizeof(shapes[0]))

struct run {
	const struct path *path;
	const struct shape *shape;
	enum world_hook hook;
	bool unresolved;
};

static bool tunnels(const struct path *p)
{
	return p->mode >= ZD_MODE_IPIP;
}

static size_t overhead(const struct path *p)
{
	return tunnels(p) ? (p->outer6 ? 40u : 20u) + (p->mode == ZD_MODE_GUE ? 12u : 0) : 0;
}

/* `shape` with the addresses and ports of the standard request. */
static struct frame request(const struct path *p, const struct frame *shape)
{
	struct frame f = *shape, std = world_request(p->inner6, 0);

	f.src = std.src;
	f.dst = std.dst;
	f.sport = std.sport;
	f.dport = std.dport;
	f.smac = std.smac;
	f.dmac = std.dmac;
	return f;
}

/* The same as the first backend gets it, but for a tunnel's headers. */
static struct frame request_out(const struct path *p, const struct frame *shape)
{
	struct frame f = request(p, shape), std = world_request_out(p->outer6, 0, 1);

	if (p->mode == ZD_MODE_NAT) {
		f.dst = std.dst;
		f.dport = std.dport;
	}
	if (p->mode != ZD_MODE_DSR)
		f.ttl = (uint8_t)((f.ttl ? f.ttl : 64) - 1);
	f.smac = std.smac;
	f.dmac = std.dmac;
	return f;
}

static uint32_t get16(const uint8_t *at)
{
	return (uint32_t)at[0] << 8 | at[1];
}

/* What varies with the flow is taken from the frame that came. */
static size_t expected(const struct path *p, const struct frame *shape,
		       const struct world_frame *got, uint8_t *want)
{
	struct frame inner = request_out(p, shape);
	struct frame_outer o = {
		.src = p->outer6 ? WORLD_SOURCE6 : WORLD_SOURCE4,
		.dst = world_backend_addr(1, p->outer6),
		.gue = p->mode == ZD_MODE_GUE,
		.dport = ZD_GUE_PORT,
	};

	if (!tunnels(p))
		return frame_build(&inner, want);
	if (o.gue) {
		o.sport = (uint16_t)get16(got->bytes + 14 + (p->outer6 ? 40 : 20));
		assert_true(o.sport >= 49152);
	}
	o.label = (got->bytes[15] & 15u) << 16 | get16(got->bytes + 16);
	return frame_encap(&inner, &o, want);
}

static void prepare(const struct path *p, unsigned flags)
{
	world_reset(&world);
	world_backend(&world, 1, p->outer6, flags);
	world_mode(&world, 1, p->mode);
}

static enum world_verdict send_shape(const struct path *p, const struct frame *shape,
				     enum world_hook hook, struct world_frame *out)
{
	struct frame f = request(p, shape);

	return world_send(&world, hook, world.front, &f, out);
}

static void assert_sent(const struct path *p, const struct frame *shape, enum world_hook hook)
{
	struct world_frame out = { .len = 0 };
	uint8_t want[FRAME_MAX];

	assert_int_equal(send_shape(p, shape, hook, &out), WORLD_REDIRECT);
	assert_int_equal(out.len, expected(p, shape, &out, want));
	assert_memory_equal(out.bytes, want, out.len);
}

static void reaches_its_backend(void **state)
{
	const struct run *r = *state;
	bool syn = r->shape->f.flags & FRAME_SYN;

	prepare(r->path, ZD_BACKEND_ALIVE | (r->unresolved ? 0 : ZD_BACKEND_RESOLVED));
	assert_sent(r->path, &r->shape->f, r->hook);
	assert_int_equal(world_event(&world, ZD_EV_REQUEST_FORWARDED), 1);
	assert_int_equal(world_stat(&world, 1, ZD_BC_REQUEST_PACKETS), 1);
	assert_int_equal(world_stat(&world, 1, ZD_BC_CONNECTIONS), syn);
}

/* RFC 6040, normal mode: the outer header says what the inner one says. */
static void every_traffic_class_is_copied(void **state)
{
	const struct run *r = *state;

	prepare(r->path, ZD_BACKEND_ALIVE | ZD_BACKEND_RESOLVED);
	for (unsigned tos = 0; tos < 256; tos++) {
		struct frame f = { .flags = FRAME_ACK, .tos = (uint8_t)tos };

		assert_sent(r->path, &f, r->hook);
	}
}

static void every_length_is_right(void **state)
{
	const struct run *r = *state;

	prepare(r->path, ZD_BACKEND_ALIVE | ZD_BACKEND_RESOLVED);
	for (unsigned n = 0; n < 1460; n += 7) {
		struct frame f = { .flags = FRAME_ACK, .payload = (uint16_t)n };

		assert_sent(r->path, &f, r->hook);
	}
}

/* dsr is no routing hop; the others are. */
static void a_ttl_of_1_ends_where_it_is_routed(void **state)
{
	const struct run *r = *state;
	const struct frame f = { .flags = FRAME_ACK, .ttl = 1 };
	struct world_frame out = { .len = 0 };

	prepare(r->path, ZD_BACKEND_ALIVE | ZD_BACKEND_RESOLVED);
	if (r->path->mode == ZD_MODE_DSR) {
		assert_sent(r->path, &f, r->hook);
		return;
	}
	assert_int_equal(send_shape(r->path, &f, r->hook, &out), WORLD_DROP);
	assert_int_equal(world_event(&world, ZD_EV_DROP_TTL), 1);
}

static void what_fits_is_sent_and_a_byte_more_is_too_big(void **state)
{
	const struct run *r = *state;
	const struct frame f = { .flags = FRAME_ACK, .payload = 600, .padding = 9 };
	struct world_frame out = { .len = 0 };
	size_t len = (r->path->inner6 ? 40u : 20u) + 20 + 600 + overhead(r->path);

	prepare(r->path, ZD_BACKEND_ALIVE | ZD_BACKEND_RESOLVED);
	world.backends[1].mtu = (uint16_t)len;
	assert_sent(r->path, &f, r->hook);
	assert_int_equal(world_event(&world, ZD_EV_DROP_TOO_BIG), 0);
	world.backends[1].mtu = (uint16_t)(len - 1);
	assert_int_not_equal(send_shape(r->path, &f, r->hook, &out), WORLD_PASS);
	assert_int_equal(world_event(&world, ZD_EV_DROP_TOO_BIG), 1);
	assert_int_equal(world_event(&world, ZD_EV_REQUEST_FORWARDED), 1);
}

static void the_route_knows_the_mtu_too(void **state)
{
	const struct run *r = *state;
	const char *dst = world_backend_addr(1, r->path->outer6);
	const struct frame f = { .flags = FRAME_ACK, .payload = 1300 };
	size_t len = (r->path->inner6 ? 40u : 20u) + 20 + 1300 + overhead(r->path);
	struct world_frame out = { .len = 0 };
	enum world_verdict v;

	prepare(r->path, ZD_BACKEND_ALIVE);
	assert_int_equal(world_shell("ip route add %s dev back mtu lock %zu", dst, len), 0);
	v = send_shape(r->path, &f, r->hook, &out);
	assert_int_equal(world_shell("ip route del %s dev back", dst), 0);
	assert_int_equal(v, WORLD_REDIRECT);
	assert_int_equal(world_shell("ip route add %s dev back mtu lock %zu", dst, len - 1), 0);
	v = send_shape(r->path, &f, r->hook, &out);
	assert_int_equal(world_shell("ip route del %s dev back", dst), 0);
	assert_int_not_equal(v, WORLD_PASS);
	assert_int_equal(world_event(&world, ZD_EV_DROP_TOO_BIG), 1);
}

/* XDP leaves the frame as it came; TC sends it, with a MAC address that the kernel will find. */
static void an_unknown_neighbour_is_left_to_tc(void **state)
{
	const struct run *r = *state;
	const struct frame f = { .flags = FRAME_ACK, .payload = 40 };
	const char *dst = world_backend_addr(1, r->path->outer6);
	struct frame in = request(r->path, &f);
	struct world_frame out = { .len = 0 };
	uint8_t want[FRAME_MAX];
	enum world_verdict v;
	size_t len;

	prepare(r->path, ZD_BACKEND_ALIVE);
	assert_int_equal(world_shell("ip neigh del %s dev back", dst), 0);
	v = send_shape(r->path, &f, r->hook, &out);
	assert_int_equal(
		world_shell("ip neigh replace %s lladdr 02:00:00:00:00:21 dev back nud permanent",
			    dst),
		0);
	assert_int_equal(v, r->hook == WORLD_XDP ? WORLD_PASS : WORLD_REDIRECT);
	len = r->hook == WORLD_XDP ? frame_build(&in, want) : expected(r->path, &f, &out, want);
	assert_int_equal(out.len, len);
	assert_memory_equal(out.bytes + 12, want + 12, len - 12);
	assert_int_equal(world_event(&world, ZD_EV_PUNTED), r->hook == WORLD_XDP);
}

/* Where answers do not come this way there is nothing to observe, and nothing to wait for. */
static void handshakes_are_counted_and_only_nat_observes_them(void **state)
{
	const struct run *r = *state;
	const struct frame syn = { .flags = FRAME_SYN };
	bool nat = r->path->mode == ZD_MODE_NAT;

	prepare(r->path, ZD_BACKEND_ALIVE | ZD_BACKEND_RESOLVED);
	assert_sent(r->path, &syn, r->hook);
	assert_sent(r->path, &syn, r->hook);
	assert_int_equal(world_stat(&world, 1, ZD_BC_CONNECTIONS), 1);
	assert_int_equal(world_stat(&world, 1, ZD_BC_SYN_RETRANSMITS), 1);
	assert_int_equal(world_stat(&world, 1, ZD_BC_ATTEMPTS), nat);
	assert_int_equal(world_birth(&world)->state, nat ? ZD_BIRTH_SYN : ZD_BIRTH_ANSWERED);
}

static void the_tunnel_port_is_the_backends(void **state)
{
	const struct run *r = *state;
	const struct frame f = { .flags = FRAME_ACK };
	struct world_frame out = { .len = 0 };

	prepare(r->path, ZD_BACKEND_ALIVE | ZD_BACKEND_RESOLVED);
	world.backends[1].gue_port = htons(5555);
	assert_int_equal(send_shape(r->path, &f, r->hook, &out), WORLD_REDIRECT);
	assert_int_equal(get16(out.bytes + 14 + (r->path->outer6 ? 40 : 20) + 2), 5555);
}

/* Receivers spread by what varies; a flow stays where it is. */
static void flows_spread_and_stay(void **state)
{
	enum { FLOWS = 512 };
	const struct run *r = *state;
	static uint32_t seen[FLOWS];
	unsigned distinct = 0;

	prepare(r->path, ZD_BACKEND_ALIVE | ZD_BACKEND_RESOLVED);
	for (unsigned i = 0; i < 2 * FLOWS; i++) {
		struct frame f = world_request(r->path->inner6, FRAME_ACK);
		struct world_frame out = { .len = 0 };
		uint32_t v, k;

		f.sport = (uint16_t)(10000 + i % FLOWS);
		f.payload = i < FLOWS ? 0 : 50;
		world_send(&world, r->hook, world.front, &f, &out);
		v = r->path->mode == ZD_MODE_GUE
			    ? get16(out.bytes + 14 + (r->path->outer6 ? 40 : 20))
			    : get16(out.bytes + 16);
		if (i >= FLOWS) {
			assert_int_equal(v, seen[i - FLOWS]);
			continue;
		}
		seen[i] = v;
		for (k = 0; k < i && seen[k] != v; k++)
			;
		distinct += k == i;
	}
	assert_true(distinct > FLOWS * 9 / 10);
}

/* nat and dsr keep the family, so a VIP's packet has no use for a backend of the other one. */
static void the_other_family_is_nobody(void **state)
{
	const struct run *r = *state;
	struct frame f = world_request(!r->path->inner6, FRAME_SYN);
	struct world_frame out = { .len = 0 };

	prepare(r->path, ZD_BACKEND_ALIVE | ZD_BACKEND_RESOLVED);
	assert_int_equal(world_send(&world, r->hook, world.front, &f, &out), WORLD_DROP);
	assert_int_equal(world_event(&world, ZD_EV_DROP_NO_BACKEND), 1);
}

static void the_dead_are_nobody(void **state)
{
	const struct run *r = *state;
	const struct frame f = { .flags = FRAME_SYN };
	struct world_frame out = { .len = 0 };

	prepare(r->path, ZD_BACKEND_RESOLVED);
	assert_int_equal(send_shape(r->path, &f, r->hook, &out), WORLD_DROP);
	assert_int_equal(world_event(&world, ZD_EV_DROP_NO_BACKEND), 1);
}

/* A frame of GRO is many packets: none of them may be too long, the whole may. */
static void segments_are_measured_not_the_frame(void **state)
{
	const struct run *r = *state;
	struct frame f = { .flags = FRAME_ACK, .tcp_options = 12, .payload = 1600 };
	size_t segment = (r->path->inner6 ? 40u : 20u) + 32 + 500;

	f = request(r->path, &f);
	prepare(r->path, ZD_BACKEND_ALIVE | ZD_BACKEND_RESOLVED);
	world.backends[1].mtu = (uint16_t)segment;
	assert_int_equal(world_send_merged(&world, world.front, &f, 500), WORLD_REDIRECT);
	assert_int_equal(world_stat(&world, 1, ZD_BC_REQUEST_PACKETS), 4);
	world.backends[1].mtu = (uint16_t)(segment - 1);
	assert_int_not_equal(world_send_merged(&world, world.front, &f, 500), WORLD_PASS);
	assert_int_equal(world_event(&world, ZD_EV_DROP_TOO_BIG), 1);
}

/* An outer header, then the packet as it came, one hop older. */
static void assert_carried(const struct path *p, const struct world_frame *in,
			   const struct world_frame *out)
{
	size_t at = 14 + overhead(p);

	assert_int_equal(out->len, in->len + overhead(p));
	assert_memory_equal(out->bytes + at, in->bytes + 14, 8);
	assert_int_equal(out->bytes[at + 8], in->bytes[14 + 8] - 1);
	assert_memory_equal(out->bytes + at + 12, in->bytes + 14 + 12, in->len - 14 - 12);
}

static void fragments_are_carried_whole(void **state)
{
	static const uint16_t offsets[] = { 0x2000, 0x2020, 0x0040 };
	const struct run *r = *state;

	prepare(r->path, ZD_BACKEND_ALIVE | ZD_BACKEND_RESOLVED);
	for (int i = 0; i < 3; i++) {
		struct frame f = world_request(false, FRAME_ACK);
		struct world_frame in, out = { .len = 0 };

		f.frag_off = offsets[i];
		f.payload = 236;
		in.len = frame_build(&f, in.bytes);
		assert_int_equal(world_run(&world, r->hook, world.front, &in, &out),
				 WORLD_REDIRECT);
		assert_carried(r->path, &in, &out);
	}
}

/* "Too big", about an answer that a backend has sent straight to its client. */
static void errors_are_carried_whole(void **state)
{
	const struct run *r = *state;
	struct frame quoted = { .src = WORLD_VIP4,
				.dst = WORLD_CLIENT4,
				.sport = WORLD_PORT,
				.dport = 40000,
				.payload = 8 };
	struct frame f = { .src = "10.9.1.9", .dst = WORLD_VIP4, .proto = 1, .payload = 16 };
	struct world_frame in, out = { .len = 0 };
	uint8_t about[FRAME_MAX];
	uint32_t sum = 0;

	prepare(r->path, ZD_BACKEND_ALIVE | ZD_BACKEND_RESOLVED);
	in.len = frame_build(&f, in.bytes);
	frame_build(&quoted, about);
	memset(in.bytes + 34, 0, 8);
	in.bytes[34] = 3;
	in.bytes[35] = 4;
	in.bytes[40] = 5; /* MTU 1280 */
	memcpy(in.bytes + 42, about + 14, 28);
	for (int i = 34; i < 70; i += 2)
		sum += get16(in.bytes + i);
	sum = ~((sum & 0xffff) + (sum >> 16));
	in.bytes[36] = (uint8_t)(sum >> 8);
	in.bytes[37] = (uint8_t)sum;
	assert_int_equal(world_run(&world, r->hook, world.front, &in, &out), WORLD_REDIRECT);
	assert_carried(r->path, &in, &out);
}

enum which { CARRIED_V4, ALL, GUE, ENTROPY, NO_TUNNELS, TC_NO_TUNNELS };

static const struct check {
	CMUnitTestFunction fn;
	const char *name;
	enum which which;
} checks[] = {
	{ every_traffic_class_is_copied, "every traffic class is copied", ALL },
	{ every_length_is_right, "every length is right", ALL },
	{ a_ttl_of_1_ends_where_it_is_routed, "a TTL of 1 ends where it is routed", ALL },
	{ what_fits_is_sent_and_a_byte_more_is_too_big, "one byte too big", ALL },
	{ the_route_knows_the_mtu_too, "one byte too big for the route", ALL },
	{ an_unknown_neighbour_is_left_to_tc, "an unknown neighbour is left to TC", ALL },
	{ handshakes_are_counted_and_only_nat_observes_them, "handshakes are counted", ALL },
	{ the_dead_are_nobody, "the dead are nobody", ALL },
	{ fragments_are_carried_whole, "fragments are carried whole", CARRIED_V4 },
	{ errors_are_carried_whole, "ICMP errors are carried whole", CARRIED_V4 },
	{ the_tunnel_port_is_the_backends, "another tunnel port", GUE },
	{ flows_spread_and_stay, "flows spread and stay", ENTROPY },
	{ the_other_family_is_nobody, "the other family is nobody", NO_TUNNELS },
	{ segments_are_measured_not_the_frame, "segments are measured", TC_NO_TUNNELS },
};
#define NCHECKS (sizeof(checks) / sizeof(checks[0]))

static bool applies(enum which which, const struct path *p, enum world_hook hook)
{
	switch (which) {
	case ALL:
		return true;
	case CARRIED_V4:
		return tunnels(p) && !p->inner6;
	case GUE:
		return p->mode == ZD_MODE_GUE;
	case ENTROPY:
		return p->mode == ZD_MODE_GUE || (tunnels(p) && p->outer6);
	case NO_TUNNELS:
		return !tunnels(p);
	case TC_NO_TUNNELS:
		return !tunnels(p) && hook == WORLD_TC;
	}
	return false;
}

static struct CMUnitTest tests[NPATHS * 2 * (2 * NSHAPES + NCHECKS)];
static struct run runs[NPATHS * 2 * (2 * NSHAPES + NCHECKS)];
static char names[NPATHS * 2 * (2 * NSHAPES + NCHECKS)][96];
static size_t ntests;

static void add(CMUnitTestFunction fn, const char *name, struct run r)
{
	static const char *const modes[] = { "nat", "dsr", "ipip", "gue" };

	snprintf(names[ntests], sizeof(names[0]), "%s%s (%s, %d in %d, %s)", name,
		 r.unresolved ? ", by route" : "", modes[r.path->mode], r.path->inner6 ? 6 : 4,
		 r.path->outer6 ? 6 : 4, r.hook == WORLD_TC ? "tc" : "xdp");
	runs[ntests] = r;
	tests[ntests] = (struct CMUnitTest){ names[ntests], fn, NULL, NULL, &runs[ntests] };
	ntests++;
}

static void add_all(const struct path *p, enum world_hook hook)
{
	for (size_t i = 0; i < 2 * NSHAPES; i++) {
		const struct shape *s = &shapes[i / 2];

		if (!(p->inner6 ? s->v4_only : s->v6_only))
			add(reaches_its_backend, s->name, (struct run){ p, s, hook, i % 2 });
	}
	for (size_t i = 0; i < NCHECKS; i++) {
		if (applies(checks[i].which, p, hook))
			add(checks[i].fn, checks[i].name, (struct run){ p, NULL, hook, false });
	}
}

int main(void)
{
	for (size_t i = 0; i < NPATHS; i++) {
		add_all(&paths[i], WORLD_XDP);
		add_all(&paths[i], WORLD_TC);
	}
	if (world_enter() || world_open(&world, WORLD_SLOTS, WORLD_BUCKETS))
		return 1;
	return _cmocka_run_group_tests("modes", tests, ntests, NULL, NULL);
}
