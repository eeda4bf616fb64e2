/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * The program that takes tunnels off at a backend: what is ours comes out byte by byte as it went in,
 * congestion marks follow RFC 6040, what lies is dropped and all else passes as it came.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <cmocka.h>

#include <bpf/bpf.h>
#include <bpf/libbpf.h>
#include <linux/bpf.h>

#include <zddlb/abi.h>

#include "decap.skel.h"
#include "frame.h"

#define LOCAL4  "10.9.2.101"
#define LOCAL6  "2001:db8:2::101"
#define SOURCE4 "10.9.2.1"
#define SOURCE6 "2001:db8:2::1"

static struct decap *open_to_all, *with_sources;
static uint64_t base[ZD_DC_MAX];

static void put_addr(struct bpf_map *m, const char *text)
{
	uint8_t addr[16];
	uint32_t one = 1;

	frame_addr(text, addr);
	assert_int_equal(bpf_map_update_elem(bpf_map__fd(m), addr, &one, BPF_ANY), 0);
}

static int open_one(struct decap **ret, bool check_source)
{
	struct decap *d = decap__open();

	if (!d)
		return -1;
	d->rodata->zd_decap_cfg.check_source = check_source;
	if (decap__load(d))
		return -1;
	put_addr(d->maps.decap_locals, LOCAL4);
	put_addr(d->maps.decap_locals, LOCAL6);
	*ret = d;
	return 0;
}

static uint64_t read_counter(enum zd_decap_counter c)
{
	uint64_t v[256] = { 0 }, n = 0;
	uint32_t key = c;

	bpf_map_lookup_elem(bpf_map__fd(open_to_all->maps.decap_counters), &key, v);
	for (int i = 0; i < libbpf_num_possible_cpus(); i++)
		n += v[i];
	return n;
}

static uint64_t counted(enum zd_decap_counter c)
{
	return read_counter(c) - base[c];
}

static void reset(void)
{
	for (int c = 0; c < ZD_DC_MAX; c++)
		base[c] = read_counter((enum zd_decap_counter)c);
}

static uint32_t run(struct decap *d, const uint8_t *in, size_t len, uint8_t *out, size_t *out_len)
{
	struct bpf_test_run_opts o = {
		.sz = sizeof(o),
		.data_in = in,
		.data_size_in = (uint32_t)len,
		.data_out = out,
		.data_size_out = FRAME_MAX,
		.repeat = 1,
	};

	if (bpf_prog_test_run_opts(bpf_program__fd(d->progs.zd_decap), &o))
		return XDP_ABORTED;
	*out_len = o.data_size_out;
	return o.retval;
}

struct kind {
	bool inner6, outer6, gue;
};

static struct frame_outer outer_of(const struct kind *k)
{
	return (struct frame_outer){
		.src = k->outer6 ? SOURCE6 : SOURCE4,
		.dst = k->outer6 ? LOCAL6 : LOCAL4,
		.gue = k->gue,
		.sport = 50000,
		.dport = ZD_GUE_PORT,
		.label = 0x12345,
	};
}

static struct frame inner_of(const struct kind *k)
{
	return (struct frame){
		.src = k->inner6 ? "2001:db8:1::2" : "10.9.1.2",
		.dst = k->inner6 ? "2001:db8:9::9" : "10.9.9.9",
		.sport = 40000,
		.dport = 80,
		.flags = FRAME_ACK,
		.ttl = 63,
		.smac = 0xb1,
		.dmac = 0x21,
	};
}

static size_t inner_at(const struct kind *k)
{
	return 14u + (k->outer6 ? 40 : 20) + (k->gue ? 12 : 0);
}

static void assert_out(const struct frame *inner, const uint8_t *in, size_t len)
{
	uint8_t out[FRAME_MAX], want[FRAME_MAX];
	size_t out_len = 0;

	assert_int_equal(run(open_to_all, in, len, out, &out_len), XDP_PASS);
	assert_int_equal(out_len, frame_build(inner, want));
	assert_memory_equal(out, want, out_len);
}

static void comes_out_as_it_went_in(void **state)
{
	const struct kind *k = *state;
	const struct frame_outer o = outer_of(k);
	uint8_t in[FRAME_MAX];
	uint64_t packets = 0, bytes = 0;

	reset();
	for (unsigned i = 0; i < 300; i++) {
		struct frame f = inner_of(k);

		f.payload = (uint16_t)(i * 4 + i % 3);
		f.proto = i % 2 ? 17 : 0;
		f.tcp_options = i % 2 ? 0 : (uint8_t)(i % 10 * 4);
		f.padding = (uint16_t)(i % 5);
		f.salt = (uint8_t)i;
		assert_out(&f, in, frame_encap(&f, &o, in));
		packets++;
		bytes += frame_encap(&f, &o, in) - inner_at(k) - f.padding;
	}
	assert_int_equal(counted(k->gue ? ZD_DC_GUE : ZD_DC_IPIP), packets);
	assert_int_equal(counted(ZD_DC_BYTES), bytes);
	assert_int_equal(counted(ZD_DC_PASSED) + counted(ZD_DC_DROP_BAD), 0);
}

static void set_outer_tos(const struct kind *k, uint8_t *in, unsigned tos)
{
	uint32_t sum = 0;

	if (k->outer6) {
		in[14] = (uint8_t)(0x60 | tos >> 4);
		in[15] = (uint8_t)(tos << 4);
		return;
	}
	in[15] = (uint8_t)tos;
	in[24] = in[25] = 0;
	for (int i = 14; i < 34; i += 2)
		sum += (uint32_t)in[i] << 8 | in[i + 1];
	sum = (sum & 0xffff) + (sum >> 16);
	sum = ~((sum & 0xffff) + (sum >> 16));
	in[24] = (uint8_t)(sum >> 8);
	in[25] = (uint8_t)sum;
}

/* RFC 6040, figure 4: rows are the inner field (not ECT, ECT(1), ECT(0), CE), columns the outer. */
static void congestion_is_told(void **state)
{
	static const int out[4][4] = {
		{ 0, 0, 0, -1 },
		{ 1, 1, 1, 3 },
		{ 2, 1, 2, 3 },
		{ 3, 3, 3, 3 },
	};
	const struct kind *k = *state;
	const struct frame_outer o = outer_of(k);

	reset();
	for (unsigned i = 0; i < 16; i++) {
		struct frame f = inner_of(k);
		uint8_t in[FRAME_MAX], got[FRAME_MAX];
		size_t len;

		f.tos = (uint8_t)(0xb8 | i / 4);
		len = frame_encap(&f, &o, in);
		set_outer_tos(k, in, 0x48 | i % 4);
		if (out[i / 4][i % 4] < 0) {
			assert_int_equal(run(open_to_all, in, len, got, &len), XDP_DROP);
			continue;
		}
		f.tos = (uint8_t)(0xb8 | out[i / 4][i % 4]);
		assert_out(&f, in, len);
	}
	assert_int_equal(counted(ZD_DC_DROP_ECN), 1);
}

/* A frame cut anywhere before its inner packet ends. */
static void no_truncation_comes_out(void **state)
{
	const struct kind *k = *state;
	const struct frame_outer o = outer_of(k);
	struct frame f = inner_of(k);
	uint8_t in[FRAME_MAX], out[FRAME_MAX];
	size_t len, out_len = 0;

	f.payload = 30;
	len = frame_encap(&f, &o, in);
	reset();
	for (size_t cut = 14; cut < len; cut++) {
		uint32_t verdict = run(open_to_all, in, cut, out, &out_len);

		if (verdict == XDP_DROP)
			continue;
		assert_int_equal(verdict, XDP_PASS);
		assert_int_equal(out_len, cut);
		assert_memory_equal(in, out, cut);
	}
	assert_int_equal(counted(ZD_DC_GUE) + counted(ZD_DC_IPIP), 0);
	assert_true(counted(ZD_DC_DROP_BAD) > 0);
}

static void sources_are_checked_where_asked_for(void **state)
{
	const struct kind *k = *state;
	const struct frame_outer o = outer_of(k);
	struct frame f = inner_of(k);
	uint8_t in[FRAME_MAX], out[FRAME_MAX], addr[16];
	size_t len = frame_encap(&f, &o, in), out_len;

	frame_addr(o.src, addr);
	assert_int_equal(run(with_sources, in, len, out, &out_len), XDP_DROP);
	put_addr(with_sources->maps.decap_sources, o.src);
	assert_int_equal(run(with_sources, in, len, out, &out_len), XDP_PASS);
	assert_int_equal(out_len, frame_build(&f, in));
	bpf_map_delete_elem(bpf_map__fd(with_sources->maps.decap_sources), addr);
}

/* One byte of a good frame changed. Offsets are of the network layer of a tunnel 4 in 4. */
static const struct change {
	const char *name;
	bool gue, mend; /* the outer header's checksum is made right again */
	unsigned at;
	uint8_t to;
	uint32_t verdict; /* XDP_PASS: and untouched */
} changes[] = {
	{ "another destination passes", true, true, 19, 7, XDP_PASS },
	{ "a broken outer checksum passes", true, false, 19, 7, XDP_PASS },
	{ "another protocol passes", false, true, 9, 47, XDP_PASS },
	{ "IPv5 passes", true, true, 0, 0x55, XDP_PASS },
	{ "IP options pass", true, true, 0, 0x46, XDP_PASS },
	{ "a first fragment passes", true, true, 6, 0x20, XDP_PASS },
	{ "a later fragment passes", true, true, 7, 9, XDP_PASS },
	{ "a length behind the frame", true, true, 2, 7, XDP_DROP },
	{ "a length within the outer header", true, true, 3, 19, XDP_DROP },
	{ "a length within the inner packet", false, true, 3, 59, XDP_DROP },
	{ "another UDP port passes", true, false, 23, 9, XDP_PASS },
	{ "a UDP length that lies", true, false, 25, 9, XDP_DROP },
	{ "a UDP checksum passes", true, false, 27, 1, XDP_PASS },
	{ "gue variant 1 passes", true, false, 28, 0x40, XDP_PASS },
	{ "gue control passes", true, false, 28, 0x20, XDP_PASS },
	{ "gue options pass", true, false, 28, 1, XDP_PASS },
	{ "gue flags pass", true, false, 30, 0x80, XDP_PASS },
	{ "gue carrying something else passes", true, false, 29, 17, XDP_PASS },
	{ "an inner packet of the other family", true, false, 29, 41, XDP_DROP },
	{ "an inner packet of the other family", false, true, 9, 41, XDP_DROP },
	{ "an inner length that lies", true, false, 34, 1, XDP_DROP },
	{ "an inner length that lies", false, false, 22, 1, XDP_DROP },
	{ "an inner header too short", true, false, 32, 0x44, XDP_DROP },
};
#define NCHANGES (sizeof(changes) / sizeof(changes[0]))

static void meets_its_fate(void **state)
{
	const struct change *c = *state;
	const struct kind k = { .gue = c->gue };
	const struct frame_outer o = outer_of(&k);
	struct frame f = inner_of(&k);
	uint8_t in[FRAME_MAX], out[FRAME_MAX];
	size_t len = frame_encap(&f, &o, in), out_len = 0;

	assert_int_not_equal(in[14 + c->at], c->to);
	in[14 + c->at] = c->to;
	if (c->mend)
		set_outer_tos(&k, in, 0);
	reset();
	assert_int_equal(run(open_to_all, in, len, out, &out_len), c->verdict);
	assert_int_equal(counted(ZD_DC_PASSED), c->verdict == XDP_PASS);
	assert_int_equal(counted(ZD_DC_DROP_BAD), c->verdict == XDP_DROP);
	assert_int_equal(counted(ZD_DC_BYTES), 0);
	if (c->verdict == XDP_PASS) {
		assert_int_equal(out_len, len);
		assert_memory_equal(in, out, len);
	}
}

static void what_is_no_tunnel_passes(void **state)
{
	const struct frame frames[] = {
		{ .src = SOURCE4, .dst = LOCAL4, .sport = 1, .dport = 22, .flags = FRAME_SYN },
		{ .src = SOURCE6, .dst = LOCAL6, .sport = 1, .dport = 22, .flags = FRAME_SYN },
		{ .src = SOURCE4, .dst = LOCAL4, .sport = 1, .dport = 53, .proto = 17 },
		{ .src = SOURCE6, .dst = LOCAL6, .sport = 1, .dport = 53, .proto = 17 },
		{ .src = SOURCE4, .dst = LOCAL4, .ethertype = 0x0806 },
	};
	const size_t n = sizeof(frames) / sizeof(frames[0]);

	(void)state;
	reset();
	for (size_t i = 0; i < n; i++) {
		uint8_t in[FRAME_MAX], out[FRAME_MAX];
		size_t len = frame_build(&frames[i], in), out_len = 0;

		assert_int_equal(run(open_to_all, in, len, out, &out_len), XDP_PASS);
		assert_int_equal(out_len, len);
		assert_memory_equal(in, out, len);
	}
	assert_int_equal(counted(ZD_DC_PASSED), n);
}

static const struct {
	CMUnitTestFunction fn;
	const char *name;
} checks[] = {
	{ comes_out_as_it_went_in, "comes out as it went in" },
	{ congestion_is_told, "congestion is told" },
	{ no_truncation_comes_out, "no truncation comes out" },
	{ sources_are_checked_where_asked_for, "sources are checked where asked for" },
};
#define NCHECKS (sizeof(checks) / sizeof(checks[0]))

int main(void)
{
	static struct kind kinds[8];
	static struct CMUnitTest tests[8 * NCHECKS + NCHANGES + 1];
	static char names[8 * NCHECKS][64];
	size_t n = 0;
	int failed;

	for (size_t i = 0; i < 8; i++) {
		kinds[i] = (struct kind){ i & 1, i & 2, i & 4 };
		for (size_t c = 0; c < NCHECKS; c++, n++) {
			snprintf(names[n], sizeof(names[n]), "%s (%s, %d in %d)", checks[c].name,
				 i & 4 ? "gue" : "ipip", i & 1 ? 6 : 4, i & 2 ? 6 : 4);
			tests[n] = (struct CMUnitTest){ names[n], checks[c].fn, NULL, NULL,
							&kinds[i] };
		}
	}
	for (size_t i = 0; i < NCHANGES; i++)
		tests[n++] = (struct CMUnitTest){ changes[i].name, meets_its_fate, NULL, NULL,
						  (void *)(uintptr_t)&changes[i] };
	tests[n] = (struct CMUnitTest)cmocka_unit_test(what_is_no_tunnel_passes);
	if (open_one(&open_to_all, false) || open_one(&with_sources, true))
		return 1;
	failed = cmocka_run_group_tests_name("decap", tests, NULL, NULL);
	decap__destroy(open_to_all);
	decap__destroy(with_sources);
	return failed;
}
