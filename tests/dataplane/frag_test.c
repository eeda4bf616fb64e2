/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * Fragments follow their first one, both ways. Whole packets are built as they come and as they are
 * to leave, cut at the same places, and compared piece by piece: so the transport checksum is right
 * if and only if the pieces make the whole again.
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

#define ETH 14

static struct world world;
static const char *const hooks[] = { "xdp", "tc" };

struct shape {
	const char *name;
	bool v6, reply;
	uint8_t proto;
	bool no_check;
	uint8_t ip_options;
	uint8_t ext[3], next; /* the last one is the fragment header */
};

/* clang-format off */
static const struct shape shapes[] = {
	{ .name = "TCP request" },
	{ .name = "UDP request", .proto = 17 },
	{ .name = "UDP request without checksum", .proto = 17, .no_check = true },
	{ .name = "UDP request, IP options", .proto = 17, .ip_options = 12 },
	{ .name = "TCP reply", .reply = true },
	{ .name = "UDP reply", .proto = 17, .reply = true },
	{ .name = "IPv6 TCP request", .v6 = true, .ext = { 44 }, .next = 1 },
	{ .name = "IPv6 UDP request", .v6 = true, .proto = 17, .ext = { 44 }, .next = 1 },
	{ .name = "IPv6 UDP request, more headers", .v6 = true, .proto = 17, .ext = { 0, 60, 44 }, .next = 3 },
	{ .name = "IPv6 UDP reply", .v6 = true, .proto = 17, .reply = true, .ext = { 44 }, .next = 1 },
};
/* clang-format on */
#define NSHAPES (sizeof(shapes) / sizeof(shapes[0]))

struct run {
	const struct shape *shape;
	enum world_hook hook;
};

static void put16(uint8_t *at, size_t v)
{
	at[0] = (uint8_t)(v >> 8);
	at[1] = (uint8_t)v;
}

static uint16_t check(const uint8_t *at, size_t len)
{
	uint32_t sum = 0;

	for (size_t i = 0; i < len; i++)
		sum += (uint32_t)at[i] << (i % 2 ? 0 : 8);
	while (sum >> 16)
		sum = (sum & 0xffff) + (sum >> 16);
	return (uint16_t)~sum;
}

static void apply(struct frame *f, const struct shape *s)
{
	f->proto = s->proto;
	f->no_check = s->no_check;
	f->ip_options = s->ip_options;
	memcpy(f->ext, s->ext, sizeof(s->ext));
	f->next = s->next;
	f->payload = 600;
}

static struct frame whole_in(const struct shape *s)
{
	uint8_t flags = FRAME_ACK | FRAME_PSH;
	struct frame f = s->reply ? world_reply(s->v6, flags, 1) : world_request(s->v6, flags);

	apply(&f, s);
	return f;
}

static struct frame whole_out(const struct shape *s, unsigned backend)
{
	uint8_t flags = FRAME_ACK | FRAME_PSH;
	struct frame f =
		s->reply ? world_reply_out(s->v6, flags) : world_request_out(s->v6, flags, backend);

	apply(&f, s);
	return f;
}

/* The piece of `f` whose data are bytes from..to of what follows its IP headers. */
static void cut(const struct frame *f, uint16_t id, size_t from, size_t to, struct world_frame *ret)
{
	uint8_t bytes[FRAME_MAX];
	size_t whole = frame_build(f, bytes), l4 = frame_l4_offset(f);
	bool more = true;

	if (to >= whole - l4) {
		to = whole - l4;
		more = false;
	}
	memset(ret->bytes, 0, sizeof(ret->bytes));
	memcpy(ret->bytes, bytes, l4);
	memcpy(ret->bytes + l4, bytes + l4 + from, to - from);
	ret->len = l4 + to - from;
	if (frame_is_v6(f)) {
		put16(ret->bytes + ETH + 4, ret->len - ETH - 40);
		put16(ret->bytes + l4 - 6, from | more);
		put16(ret->bytes + l4 - 2, id);
		return;
	}
	put16(ret->bytes + ETH + 2, ret->len - ETH);
	put16(ret->bytes + ETH + 4, id);
	put16(ret->bytes + ETH + 6, from / 8 | (more ? 0x2000 : 0));
	put16(ret->bytes + ETH + 10, 0);
	put16(ret->bytes + ETH + 10, check(ret->bytes + ETH, l4 - ETH));
}

static void reset(bool v6)
{
	world_reset(&world);
	for (unsigned i = 1; i <= 9; i++)
		world_backend(&world, i, v6, ZD_BACKEND_ALIVE | ZD_BACKEND_RESOLVED);
}

static enum world_verdict send_piece(const struct run *r, const struct frame *f, uint16_t id,
				     size_t from, size_t to, struct world_frame *out)
{
	struct world_frame in;

	cut(f, id, from, to, &in);
	return world_run(&world, r->hook, r->shape->reply ? world.back : world.front, &in, out);
}

static void assert_piece(const struct run *r, uint16_t id, size_t from, size_t to, unsigned backend)
{
	struct frame in = whole_in(r->shape), expected = whole_out(r->shape, backend);
	struct world_frame want, out = { .len = 0 };

	cut(&expected, id, from, to, &want);
	assert_int_equal(send_piece(r, &in, id, from, to, &out), WORLD_REDIRECT);
	assert_int_equal(out.len, want.len);
	assert_memory_equal(out.bytes, want.bytes, want.len);
}

static void all_pieces_arrive(void **state)
{
	const struct run *r = *state;

	reset(r->shape->v6);
	assert_piece(r, 7, 0, 200, 1);
	assert_piece(r, 7, 200, 400, 1);
	assert_piece(r, 7, 400, 9999, 1);
	assert_int_equal(world_event(&world, r->shape->reply ? ZD_EV_REPLY_FORWARDED
							     : ZD_EV_REQUEST_FORWARDED),
			 3);
}

static void order_does_not_matter_behind_the_first(void **state)
{
	const struct run *r = *state;

	reset(r->shape->v6);
	assert_piece(r, 7, 0, 64, 1);
	assert_piece(r, 7, 400, 9999, 1);
	assert_piece(r, 7, 64, 65, 1);
	assert_piece(r, 7, 200, 400, 1);
	assert_piece(r, 7, 64, 400, 1); /* what overlaps is the receiver's business */
}

/* A request's cannot be held, a reply's is not known to be one. */
static void what_comes_before_the_first_is_lost(void **state)
{
	const struct run *r = *state;
	struct frame f = whole_in(r->shape);
	struct world_frame in, out = { .len = 0 };

	reset(r->shape->v6);
	assert_piece(r, 8, 0, 200, 1); /* of another packet */
	cut(&f, 7, 200, 400, &in);
	assert_int_equal(send_piece(r, &f, 7, 200, 400, &out),
			 r->shape->reply ? WORLD_PASS : WORLD_DROP);
	assert_int_equal(world_event(&world, ZD_EV_DROP_FRAGMENT), r->shape->reply ? 0 : 1);
	if (r->shape->reply) {
		assert_int_equal(out.len, in.len);
		assert_memory_equal(out.bytes, in.bytes, in.len);
	}
	assert_piece(r, 7, 0, 200, 1);
	assert_piece(r, 7, 200, 400, 1);
}

/* The ring changes between the pieces. */
static void pieces_stay_together(void **state)
{
	const struct run *r = *state;

	if (r->shape->reply)
		return;
	reset(r->shape->v6);
	assert_piece(r, 7, 0, 200, 1);
	world_slots(&world, ZD_SLOT(2, 2, 0));
	assert_piece(r, 7, 200, 400, 1);
	assert_piece(r, 9, 0, 200, 2);
	assert_piece(r, 9, 200, 400, 2);
	assert_piece(r, 7, 400, 9999, 1);
	assert_piece(r, 7, 0, 200, 2); /* the identification again: another packet */
	assert_piece(r, 7, 200, 400, 2);
}

static void a_dead_backend_gets_no_pieces(void **state)
{
	const struct run *r = *state;
	struct frame f = whole_in(r->shape);
	struct world_frame out = { .len = 0 };

	if (r->shape->reply)
		return;
	reset(r->shape->v6);
	assert_piece(r, 7, 0, 200, 1);
	world_backend(&world, 1, r->shape->v6, ZD_BACKEND_RESOLVED);
	assert_int_equal(send_piece(r, &f, 7, 200, 400, &out), WORLD_DROP);
	assert_int_equal(world_event(&world, ZD_EV_DROP_FRAGMENT), 1);
}

/* Every word of the table is as old as can be, then a tick older. */
static void what_was_remembered_is_forgotten(void **state)
{
	const struct run *r = *state;
	struct frame f = whole_in(r->shape);
	struct world_frame out = { .len = 0 };

	for (int age = 7; age < 12; age++) {
		enum world_verdict v;

		reset(r->shape->v6);
		assert_piece(r, 7, 0, 200, 1);
		for (size_t i = 0; i < WORLD_FRAGMENTS_SIZE / sizeof(uint64_t); i++) {
			uint64_t word = world.fragments[i], born = word >> 16 & 0xffff;

			born = (born + 65535 - 1 - (uint64_t)age) % 65535 + 1;
			if (word)
				world.fragments[i] = (word & ~0xffff0000ULL) | born << 16;
		}
		v = send_piece(r, &f, 7, 200, 400, &out);
		/* A tick may end between the two. */
		if (age < 8)
			assert_int_equal(v, WORLD_REDIRECT);
		else if (age > 8)
			assert_int_equal(v, r->shape->reply ? WORLD_PASS : WORLD_DROP);
	}
}

/* Far more packets than there are words: the last ones are known, nothing else suffers. */
static void a_flood_displaces_itself(void **state)
{
	const struct run *r = *state;

	reset(r->shape->v6);
	for (unsigned id = 0; id < 30000; id++) {
		struct frame f = whole_in(r->shape);
		struct world_frame out = { .len = 0 };

		f.payload = 40;
		assert_int_equal(send_piece(r, &f, (uint16_t)id, 0, 40, &out), WORLD_REDIRECT);
	}
	for (unsigned id = 29990; id < 30000; id++)
		assert_piece(r, (uint16_t)id, 200, 400, 1);
}

/* A first piece without the whole transport header has no ports one could trust (RFC 1858). */
static void a_tiny_first_piece_is_dropped(void **state)
{
	const struct run *r = *state;
	struct frame f = whole_in(r->shape);
	struct world_frame out = { .len = 0 };
	size_t header = r->shape->proto == 17 ? 8 : 20;

	reset(r->shape->v6);
	for (size_t len = 0; len < header; len++) {
		struct world_frame in;
		enum world_verdict v;

		cut(&f, 7, 0, len, &in);
		v = world_run(&world, r->hook, r->shape->reply ? world.back : world.front, &in,
			      &out);
		if (v == WORLD_ERROR) /* the kernel makes no skb out of so little */
			continue;
		assert_int_equal(v, r->shape->reply ? WORLD_PASS : WORLD_DROP);
	}
	assert_piece(r, 7, 0, 24, 1);
}

static void truncated_pieces_go_nowhere(void **state)
{
	const struct run *r = *state;
	struct frame f = whole_in(r->shape);
	struct world_frame in, out = { .len = 0 };
	size_t whole, known = ETH + (r->shape->v6 ? 40u : 20u);

	reset(r->shape->v6);
	assert_piece(r, 7, 0, 200, 1);
	cut(&f, 7, 200, 240, &in);
	whole = in.len;
	for (in.len = known; in.len < whole; in.len++) {
		enum world_verdict v = world_run(
			&world, r->hook, r->shape->reply ? world.back : world.front, &in, &out);

		if (v != WORLD_ERROR)
			assert_int_equal(v, r->shape->reply ? WORLD_PASS : WORLD_DROP);
	}
}

int main(void)
{
	static const struct {
		CMUnitTestFunction fn;
		const char *name;
	} checks[] = {
		{ all_pieces_arrive, "all pieces arrive" },
		{ order_does_not_matter_behind_the_first, "in any order behind the first" },
		{ what_comes_before_the_first_is_lost, "what comes before the first is lost" },
		{ pieces_stay_together, "pieces stay together" },
		{ a_dead_backend_gets_no_pieces, "a dead backend gets no pieces" },
		{ what_was_remembered_is_forgotten, "what was remembered is forgotten" },
		{ a_flood_displaces_itself, "a flood displaces itself" },
		{ a_tiny_first_piece_is_dropped, "a tiny first piece is dropped" },
		{ truncated_pieces_go_nowhere, "truncated pieces go nowhere" },
	};
	enum { NCHECKS = sizeof(checks) / sizeof(checks[0]), N = NCHECKS * NSHAPES * 2 };
	static struct run runs[NSHAPES * 2];
	static struct CMUnitTest tests[N];
	static char names[N][160];

	for (size_t i = 0; i < N; i++) {
		struct run *r = &runs[i / NCHECKS];

		*r = (struct run){ &shapes[i / NCHECKS / 2],
				   i / NCHECKS % 2 ? WORLD_TC : WORLD_XDP };
		snprintf(names[i], sizeof(names[i]), "%s: %s (%s)", r->shape->name,
			 checks[i % NCHECKS].name, hooks[r->hook]);
		tests[i] = (struct CMUnitTest){ names[i], checks[i % NCHECKS].fn, NULL, NULL, r };
	}
	if (world_enter() || world_open(&world, WORLD_SLOTS, WORLD_BUCKETS))
		return 1;
	return _cmocka_run_group_tests("fragments", tests, N, NULL, NULL);
}
