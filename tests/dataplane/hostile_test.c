/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * Frames that end early, lie about their lengths or are noise: passed untouched or dropped and
 * counted, never sent on in part. A frame that is sent on has the right checksums for what it says.
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

struct kind {
	const char *name;
	bool v6, reply;
	uint8_t ip_options, tcp_options, ext[8], next, ext_units;
	uint16_t payload;
};

/* clang-format off */
static const struct kind kinds[] = {
	{ .name = "request" },
	{ .name = "request with data", .tcp_options = 12, .payload = 40 },
	{ .name = "request with IP options", .ip_options = 40, .tcp_options = 8 },
	{ .name = "reply", .reply = true, .tcp_options = 12, .payload = 10 },
	{ .name = "IPv6 request", .v6 = true },
	{ .name = "IPv6 request with data", .v6 = true, .tcp_options = 12, .payload = 40 },
	{ .name = "IPv6 request with extension headers", .v6 = true, .ext = { 0, 60, 43 }, .next = 3, .ext_units = 1, .tcp_options = 4 },
	{ .name = "IPv6 reply", .v6 = true, .reply = true, .tcp_options = 12, .payload = 10 },
	{ .name = "IPv6 reply with options", .v6 = true, .reply = true, .ext = { 60 }, .next = 1 },
};
/* clang-format on */
#define NKINDS (sizeof(kinds) / sizeof(kinds[0]))

struct run {
	const struct kind *kind;
	enum world_hook hook;
};

static struct frame describe(const struct kind *k)
{
	struct frame f =
		k->reply ? world_reply(k->v6, FRAME_ACK, 1) : world_request(k->v6, FRAME_ACK);

	f.ip_options = k->ip_options;
	f.tcp_options = k->tcp_options;
	memcpy(f.ext, k->ext, sizeof(f.ext));
	f.next = k->next;
	f.ext_units = k->ext_units;
	f.payload = k->payload;
	return f;
}

static void reset(bool v6)
{
	world_reset(&world);
	for (unsigned i = 1; i <= 9; i++)
		world_backend(&world, i, v6, ZD_BACKEND_ALIVE | ZD_BACKEND_RESOLVED);
}

static enum world_verdict send_in(const struct run *run, const struct world_frame *in,
				  struct world_frame *out)
{
	enum world_verdict v =
		world_run(&world, run->hook, run->kind->reply ? world.back : world.front, in, out);

	/* The kernel itself makes no skb out of less than an IP header. */
	if (v == WORLD_ERROR && run->hook == WORLD_TC && in->len < 14 + 40)
		return WORLD_PASS;
	assert_int_not_equal(v, WORLD_ERROR);
	if (v == WORLD_PASS) {
		assert_int_equal(out->len, in->len);
		assert_memory_equal(out->bytes, in->bytes, in->len);
	}
	return v;
}

/* Whole addresses of a VIP, and not a whole packet: dropped and counted. */
static void truncated_at_every_byte(void **state)
{
	const struct run *run = *state;
	const struct kind *k = run->kind;
	struct frame f = describe(k);
	struct world_frame in, out = { .len = 0 };
	size_t whole = frame_build(&f, in.bytes), known = 14u + (k->v6 ? 40 : 20);
	uint64_t dropped = 0;

	reset(k->v6);
	for (in.len = 14; in.len < whole; in.len++) {
		enum world_verdict v = send_in(run, &in, &out);

		dropped += v == WORLD_DROP;
		assert_int_equal(v, in.len < known || k->reply ? WORLD_PASS : WORLD_DROP);
		assert_int_equal(world_event(&world, ZD_EV_DROP_TRUNCATED), dropped);
	}
	assert_int_equal(send_in(run, &in, &out), WORLD_REDIRECT);
}

/* Any value of the byte at `at` but the right one. */
static void every_other_value_is_dropped(const struct run *run, size_t at, uint8_t mask)
{
	struct frame f = describe(run->kind);
	struct world_frame in, out = { .len = 0 };
	uint8_t right;

	in.len = frame_build(&f, in.bytes);
	right = in.bytes[at];
	for (unsigned v = 0; v < 256; v++) {
		in.bytes[at] = (uint8_t)((right & ~mask) | (v & mask));
		if ((v & mask) > (right & mask))
			assert_int_equal(send_in(run, &in, &out), WORLD_DROP);
		else
			send_in(run, &in, &out);
	}
}

static void longer_than_the_frame_says_who(void **state)
{
	const struct run *run = *state;
	struct frame f = describe(run->kind);
	size_t l4 = frame_l4_offset(&f);

	reset(run->kind->v6);
	every_other_value_is_dropped(run, run->kind->v6 ? 19 : 17, 0xff); /* IP length, low */
	every_other_value_is_dropped(run, run->kind->v6 ? 18 : 16, 0xff); /* and high */
	every_other_value_is_dropped(run, l4 + 12, 0xf0);                 /* TCP header length */
	assert_true(world_event(&world, ZD_EV_DROP_TRUNCATED) > 256);
}

static void shorter_than_a_header_is_dropped(void **state)
{
	const struct run *run = *state;
	struct frame f = describe(run->kind);
	struct world_frame in, out = { .len = 0 };
	size_t l4 = frame_l4_offset(&f);

	reset(run->kind->v6);
	for (uint8_t doff = 0; doff < 5; doff++) {
		in.len = frame_build(&f, in.bytes);
		in.bytes[l4 + 12] = (uint8_t)(doff << 4);
		assert_int_equal(send_in(run, &in, &out), WORLD_DROP);
	}
	for (uint8_t ihl = 0; ihl < 5 && !run->kind->v6; ihl++) {
		in.len = frame_build(&f, in.bytes);
		in.bytes[14] = (uint8_t)(0x40 | ihl);
		assert_int_equal(send_in(run, &in, &out), WORLD_DROP);
	}
}

static uint32_t next_random(uint64_t *seed)
{
	*seed = *seed * 6364136223846793005ULL + 1442695040888963407ULL;
	return (uint32_t)(*seed >> 33);
}

static uint32_t sum16(const uint8_t *at, size_t len)
{
	uint32_t s = 0;

	for (size_t i = 0; i < len; i++)
		s += (uint32_t)at[i] << (i % 2 ? 0 : 8);
	while (s >> 16)
		s = (s & 0xffff) + (s >> 16);
	return s;
}

/*
 * The sum over everything that both checksums of a frame cover, one way: what an incremental
 * update must leave as it was, right or wrong. Addresses count for the pseudo header.
 */
static uint32_t balance(const struct kind *k, const uint8_t *b, size_t len, size_t l4)
{
	size_t addr = 14u + (k->v6 ? 8 : 12), n = k->v6 ? 32 : 8;
	uint32_t s = sum16(b + addr, n) + sum16(b + l4, len - l4);

	return sum16((uint8_t[]){ (uint8_t)(s >> 24), (uint8_t)(s >> 16), (uint8_t)(s >> 8),
				  (uint8_t)s },
		     4) %
	       0xffff;
}

/* Payloads and checksums may be anything: wrong stays wrong by the same amount. */
static void noise_in_the_packet_keeps_its_balance(void **state)
{
	const struct run *run = *state;
	struct frame f = describe(run->kind);
	size_t l4 = frame_l4_offset(&f);
	struct world_frame in, out = { .len = 0 };
	uint64_t seed = 7;

	reset(run->kind->v6);
	for (int i = 0; i < 2000; i++) {
		in.len = frame_build(&f, in.bytes);
		for (size_t at = l4 + 14; at < in.len; at++)
			in.bytes[at] = (uint8_t)next_random(&seed);
		assert_int_equal(send_in(run, &in, &out), WORLD_REDIRECT);
		assert_int_equal(balance(run->kind, in.bytes, in.len, l4),
				 balance(run->kind, out.bytes, out.len, l4));
	}
}

static void noise_anywhere_is_survived(void **state)
{
	const struct run *run = *state;
	struct frame f = describe(run->kind);
	struct world_frame in, out = { .len = 0 };
	uint64_t seed = 11 + (uint64_t)(run->kind - kinds);
	size_t whole;

	reset(run->kind->v6);
	for (int i = 0; i < 4000; i++) {
		uint32_t hits = 1 + next_random(&seed) % 4;

		in.len = whole = frame_build(&f, in.bytes);
		while (hits--)
			in.bytes[12 + next_random(&seed) % (whole - 12)] =
				(uint8_t)next_random(&seed);
		if (next_random(&seed) % 4 == 0)
			in.len = 14 + next_random(&seed) % (whole - 13);
		send_in(run, &in, &out);
	}
}

int main(void)
{
	static const struct {
		const char *name;
		CMUnitTestFunction fn;
		bool bare_requests; /* replies pass, and a header may reach into a payload */
	} fns[] = {
		{ "ends at every byte", truncated_at_every_byte, false },
		{ "claims to be longer than it is", longer_than_the_frame_says_who, true },
		{ "claims headers shorter than any", shorter_than_a_header_is_dropped, true },
		{ "carries noise", noise_in_the_packet_keeps_its_balance, false },
		{ "is noise", noise_anywhere_is_survived, false },
	};
	enum { NFNS = sizeof(fns) / sizeof(fns[0]), N = NKINDS * NFNS * 2 };
	static struct run runs[N];
	static struct CMUnitTest tests[N];
	static char names[N][128];
	size_t n = 0;

	for (size_t i = 0; i < N; i++) {
		const struct kind *k = &kinds[i / 2 % NKINDS];
		enum world_hook hook = i % 2 ? WORLD_TC : WORLD_XDP;

		if (fns[i / 2 / NKINDS].bare_requests && (k->reply || k->payload))
			continue;
		runs[n] = (struct run){ k, hook };
		snprintf(names[n], sizeof(names[n]), "%s: %s (%s)", k->name,
			 fns[i / 2 / NKINDS].name, hook == WORLD_TC ? "tc" : "xdp");
		tests[n] = (struct CMUnitTest){ names[n], fns[i / 2 / NKINDS].fn, NULL, NULL,
						&runs[n] };
		n++;
	}
	if (world_enter() || world_open(&world, WORLD_SLOTS, WORLD_BUCKETS))
		return 1;
	return _cmocka_run_group_tests("hostile frames", tests, n, NULL, NULL);
}
