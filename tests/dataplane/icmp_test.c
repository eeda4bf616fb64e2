/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * ICMP: errors about our flows reach whom they concern, with the quote translated; nonsense reaches
 * nobody; echo is answered and too-big is told, within a rate. Expected frames are built whole, with
 * every checksum computed in full.
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

#define ETH    14
#define QUOTED 256 /* of a packet that is too big */

static struct world world;
static const char *const hooks[] = { "xdp", "tc" };

struct message {
	const char *src, *dst;
	uint8_t type, code, ttl, smac, dmac, ip_options;
	uint32_t rest;         /* of the ICMP header */
	const uint8_t *inside; /* what follows it */
	size_t len;
	bool dont_fragment;
	uint16_t id;
};

static void put16(uint8_t *at, size_t v)
{
	at[0] = (uint8_t)(v >> 8);
	at[1] = (uint8_t)v;
}

static uint16_t check(const uint8_t *at, size_t len, uint32_t sum)
{
	for (size_t i = 0; i < len; i++)
		sum += (uint32_t)at[i] << (i % 2 ? 0 : 8);
	while (sum >> 16)
		sum = (sum & 0xffff) + (sum >> 16);
	return (uint16_t)~sum;
}

static void put_icmp(const struct message *m, uint8_t *at, uint32_t pseudo)
{
	at[0] = m->type;
	at[1] = m->code;
	put16(at + 4, m->rest >> 16);
	put16(at + 6, m->rest & 0xffff);
	memcpy(at + 8, m->inside, m->len);
	put16(at + 2, check(at, 8 + m->len, pseudo));
}

static void put_v4(const struct message *m, uint8_t *ip)
{
	size_t header = 20u + m->ip_options;
	uint8_t addr[16];

	ip[0] = (uint8_t)(0x40 | header / 4);
	put16(ip + 2, header + 8 + m->len);
	put16(ip + 4, m->id);
	put16(ip + 6, m->dont_fragment ? 0x4000 : 0);
	ip[8] = m->ttl;
	ip[9] = 1;
	frame_addr(m->src, addr);
	memcpy(ip + 12, addr + 12, 4);
	frame_addr(m->dst, addr);
	memcpy(ip + 16, addr + 12, 4);
	memset(ip + 20, 1, m->ip_options);
	put16(ip + 10, check(ip, header, 0));
	put_icmp(m, ip + header, 0);
}

static void put_v6(const struct message *m, uint8_t *ip)
{
	uint32_t pseudo;

	ip[0] = 0x60;
	put16(ip + 4, 8 + m->len);
	ip[6] = 58;
	ip[7] = m->ttl;
	frame_addr(m->src, ip + 8);
	frame_addr(m->dst, ip + 24);
	pseudo = (uint16_t)~check(ip + 8, 32, 58 + 8 + (uint32_t)m->len);
	put_icmp(m, ip + 40, pseudo);
}

static void build(const struct message *m, struct world_frame *ret)
{
	const uint8_t mac[12] = { 2, 0, 0, 0, 0, m->dmac, 2, 0, 0, 0, 0, m->smac };
	bool v6 = strchr(m->dst, ':') != NULL;

	memset(ret->bytes, 0, sizeof(ret->bytes));
	memcpy(ret->bytes, mac, sizeof(mac));
	put16(ret->bytes + 12, v6 ? 0x86dd : 0x0800);
	(v6 ? put_v6 : put_v4)(m, ret->bytes + ETH);
	ret->len = ETH + (v6 ? 40u : 20u + m->ip_options) + 8 + m->len;
}

static void reset(bool v6)
{
	world_reset(&world);
	for (unsigned i = 1; i <= 9; i++)
		world_backend(&world, i, v6, ZD_BACKEND_ALIVE | ZD_BACKEND_RESOLVED);
}

static void only_event(enum zd_event expected)
{
	for (int e = 0; e < ZD_EV_MAX; e++)
		assert_int_equal(world_event(&world, (enum zd_event)e), e == (int)expected);
}

static void assert_same(const struct world_frame *got, const struct world_frame *want)
{
	assert_int_equal(got->len, want->len);
	assert_memory_equal(got->bytes, want->bytes, want->len);
}

/* An error as it comes in and as it goes out. */
struct error {
	const char *name;
	bool v6;
	bool to_client;    /* it quotes a request and comes from the backends' side */
	bool from_backend; /* the backend itself, not a router before it */
	uint8_t type, code;
	uint32_t rest;
	uint8_t proto, ip_options;
	bool no_check;
	size_t quoted; /* bytes of the transport header and what follows; 0: all */
	uint8_t quoted_options, ext[2], next;
	uint16_t quoted_frag;
};

/* clang-format off */
static const struct error errors[] = {
	{ "port unreachable", .type = 3, .code = 3 },
	{ "frag needed", .type = 3, .code = 4, .rest = 1400 },
	{ "frag needed, 28 bytes quoted", .type = 3, .code = 4, .rest = 1400, .quoted = 8 },
	{ "frag needed, checksum just not quoted", .type = 3, .code = 4, .rest = 1400, .quoted = 16 },
	{ "frag needed, checksum just quoted", .type = 3, .code = 4, .rest = 1400, .quoted = 18 },
	{ "frag needed, odd quote", .type = 3, .code = 4, .rest = 1400, .quoted = 33 },
	{ "time exceeded", .type = 11, .quoted = 8 },
	{ "parameter problem", .type = 12, .rest = 0x01000000, .quoted = 8 },
	{ "frag needed, quoted IP options", .type = 3, .code = 4, .rest = 1400, .quoted_options = 40 },
	{ "frag needed, IP options outside", .type = 3, .code = 4, .rest = 1400, .ip_options = 8 },
	{ "frag needed, a first fragment quoted", .type = 3, .code = 4, .rest = 1400, .quoted_frag = 0x2000 },
	{ "UDP: port unreachable", .type = 3, .code = 3, .proto = 17 },
	{ "UDP: port unreachable, 28 bytes quoted", .type = 3, .code = 3, .proto = 17, .quoted = 8 },
	{ "UDP without checksum", .type = 3, .code = 3, .proto = 17, .no_check = true },
	{ "too big", .v6 = true, .type = 2, .rest = 1280 },
	{ "too big, 48 bytes quoted", .v6 = true, .type = 2, .rest = 1280, .quoted = 8 },
	{ "too big, checksum just quoted", .v6 = true, .type = 2, .rest = 1280, .quoted = 18 },
	{ "unreachable", .v6 = true, .type = 1, .code = 4 },
	{ "time exceeded", .v6 = true, .type = 3, .quoted = 8 },
	{ "parameter problem", .v6 = true, .type = 4, .rest = 6, .quoted = 31 },
	{ "too big, extension headers quoted", .v6 = true, .type = 2, .rest = 1280, .ext = { 60, 43 }, .next = 2 },
	{ "UDP: unreachable", .v6 = true, .type = 1, .code = 4, .proto = 17 },
	{ "from a router: host unreachable", .to_client = true, .type = 3, .code = 1 },
	{ "from a router: frag needed", .to_client = true, .type = 3, .code = 4, .rest = 1300, .quoted = 8 },
	{ "from a router: time exceeded", .to_client = true, .type = 11, .quoted = 20 },
	{ "from a router: UDP", .to_client = true, .type = 11, .proto = 17, .quoted = 8 },
	{ "from the backend: port unreachable", .to_client = true, .from_backend = true, .type = 3, .code = 3 },
	{ "from the backend: UDP port unreachable", .to_client = true, .from_backend = true, .type = 3, .code = 3, .proto = 17 },
	{ "from a router: too big", .v6 = true, .to_client = true, .type = 2, .rest = 1300 },
	{ "from a router: time exceeded", .v6 = true, .to_client = true, .type = 3, .quoted = 8 },
	{ "from the backend: UDP port unreachable", .v6 = true, .to_client = true, .from_backend = true, .type = 1, .code = 4, .proto = 17 },
};
/* clang-format on */
#define NERRORS (sizeof(errors) / sizeof(errors[0]))

struct run {
	const struct error *error;
	enum world_hook hook;
};

/* The packet that is quoted: as the router saw it, or as its sender knows it. */
static size_t quote(const struct error *e, bool translated, uint8_t *packet)
{
	uint8_t bytes[FRAME_MAX], flags = FRAME_ACK | FRAME_PSH;
	struct frame f;
	size_t len, l4;

	if (e->to_client)
		f = translated ? world_request(e->v6, flags) : world_request_out(e->v6, flags, 1);
	else
		f = translated ? world_reply(e->v6, flags, 1) : world_reply_out(e->v6, flags);
	f.ttl = 57;
	f.proto = e->proto;
	f.no_check = e->no_check;
	f.payload = 40;
	f.ip_options = e->quoted_options;
	memcpy(f.ext, e->ext, sizeof(e->ext));
	f.next = e->next;
	f.frag_off = e->quoted_frag;
	len = frame_build(&f, bytes);
	l4 = frame_l4_offset(&f);
	if (e->quoted)
		len = l4 + e->quoted;
	memcpy(packet, bytes + ETH, len - ETH);
	return len - ETH;
}

static const char *router(const struct error *e)
{
	if (e->to_client)
		return e->from_backend ? world_backend_addr(1, e->v6)
		       : e->v6         ? "2001:db8:2::5"
				       : "10.9.2.5";
	return e->v6 ? "2001:db8:77::1" : "192.0.2.1";
}

static struct message message_in(const struct error *e, uint8_t *inside)
{
	const char *client = e->v6 ? WORLD_CLIENT6 : WORLD_CLIENT4;
	const char *vip = e->v6 ? WORLD_VIP6 : WORLD_VIP4;

	return (struct message){
		.src = router(e),
		.dst = e->to_client ? client : vip,
		.type = e->type,
		.code = e->code,
		.rest = e->rest,
		.ttl = 61,
		.id = 0x4321,
		.smac = e->to_client ? WORLD_MAC_SERVER + 1 : WORLD_MAC_CLIENT,
		.dmac = e->to_client ? WORLD_MAC_BACK : WORLD_MAC_FRONT,
		.ip_options = e->ip_options,
		.inside = inside,
		.len = quote(e, false, inside),
	};
}

static struct message message_out(const struct error *e, uint8_t *inside)
{
	struct message m = message_in(e, inside);

	m.len = quote(e, true, inside);
	m.ttl = 60;
	if (e->to_client) {
		if (e->from_backend)
			m.src = e->v6 ? WORLD_VIP6 : WORLD_VIP4;
		m.smac = WORLD_MAC_FRONT;
		m.dmac = WORLD_MAC_CLIENT;
	} else {
		m.dst = world_backend_addr(1, e->v6);
		m.smac = WORLD_MAC_BACK;
		m.dmac = WORLD_MAC_SERVER + 1;
	}
	return m;
}

static void error_reaches_whom_it_concerns(void **state)
{
	const struct run *run = *state;
	const struct error *e = run->error;
	uint8_t inside[FRAME_MAX];
	struct message m = message_in(e, inside);
	struct world_frame in, want, out = { .len = 0 };

	reset(e->v6);
	build(&m, &in);
	m = message_out(e, inside);
	build(&m, &want);
	assert_int_equal(
		world_run(&world, run->hook, e->to_client ? world.back : world.front, &in, &out),
		WORLD_REDIRECT);
	assert_same(&out, &want);
	only_event(ZD_EV_ICMP_FORWARDED);
	for (int c = 0; c < ZD_BC_MAX; c++)
		assert_int_equal(world_stat(&world, 1, (enum zd_backend_counter)c), 0);
}

/* The message shortened to every length, its IP header telling the truth about it. */
static void a_quote_too_short_is_dropped(void **state)
{
	const struct run *run = *state;
	const struct error *e = run->error;
	uint8_t inside[FRAME_MAX], translated[FRAME_MAX];
	struct message m = message_in(e, inside), n = message_out(e, translated);
	size_t whole = m.len, l4 = (e->v6 ? 40u : 20u) + e->quoted_options + 8u * e->next;
	struct world_frame in, want, out = { .len = 0 };

	for (m.len = 0; m.len <= whole; m.len++) {
		/* A checksum that is not whole in the quote is not touched. */
		bool enough = m.len >= l4 + 8;
		enum world_verdict v;

		n.len = m.len;
		memcpy(translated + m.len, inside + m.len, whole - m.len);
		reset(e->v6);
		quote(e, false, inside);
		quote(e, true, translated);
		if (m.len == l4 + 17 && e->proto != 17)
			translated[l4 + 16] = inside[l4 + 16];
		build(&m, &in);
		build(&n, &want);
		v = world_run(&world, run->hook, e->to_client ? world.back : world.front, &in,
			      &out);
		if (enough) {
			assert_int_equal(v, WORLD_REDIRECT);
			assert_same(&out, &want);
		} else if (e->to_client) {
			assert_int_equal(v, WORLD_PASS);
			assert_same(&out, &in);
		} else {
			assert_int_equal(v, WORLD_DROP);
			only_event(ZD_EV_DROP_ICMP);
		}
	}
}

/* The frame ends early. */
static void truncated_at_every_byte(void **state)
{
	const struct run *run = *state;
	const struct error *e = run->error;
	uint8_t inside[FRAME_MAX];
	struct message m = message_in(e, inside);
	struct world_frame in, out = { .len = 0 };
	size_t whole, known = ETH + (e->v6 ? 40u : 20u);

	build(&m, &in);
	whole = in.len;
	reset(e->v6);
	for (in.len = known; in.len < whole; in.len++) {
		enum world_verdict v = world_run(
			&world, run->hook, e->to_client ? world.back : world.front, &in, &out);

		assert_int_equal(v, e->to_client ? WORLD_PASS : WORLD_DROP);
		if (v == WORLD_PASS)
			assert_same(&out, &in);
	}
	assert_int_equal(world_event(&world, ZD_EV_DROP_TRUNCATED),
			 e->to_client ? 0 : whole - known);
}

static void noise_in_the_quote_is_survived(void **state)
{
	const struct run *run = *state;
	const struct error *e = run->error;
	uint8_t inside[FRAME_MAX];
	struct message m = message_in(e, inside);
	struct world_frame in, out = { .len = 0 };
	uint64_t seed = 5 + (uint64_t)(e - errors);

	reset(e->v6);
	for (int i = 0; i < 1000; i++) {
		quote(e, false, inside);
		for (int hits = 1 + i % 4; hits; hits--) {
			seed = seed * 6364136223846793005ULL + 1442695040888963407ULL;
			inside[(seed >> 33) % m.len] = (uint8_t)(seed >> 56);
		}
		build(&m, &in);
		switch (world_run(&world, run->hook, e->to_client ? world.back : world.front, &in,
				  &out)) {
		case WORLD_PASS:
			assert_same(&out, &in);
			break;
		case WORLD_REDIRECT:
			assert_int_equal(out.len, in.len);
			break;
		case WORLD_DROP:
			break;
		default:
			fail();
		}
	}
}

/* One byte of the standard error is another one. */
static const struct nonsense {
	const char *name;
	bool v6;
	size_t at; /* in the quoted packet */
	uint8_t value;
	bool dropped; /* else it passes */
} nonsense[] = {
	{ "quotes IP of another version", false, 0, 0x65, true },
	{ "quotes a header too short", false, 0, 0x44, true },
	{ "quotes a header longer than the quote", false, 0, 0x4f, false },
	{ "quotes a later fragment", false, 7, 8, true },
	{ "quotes ICMP", false, 9, 1, false },
	{ "quotes GRE", false, 9, 47, false },
	{ "quotes a packet that the VIP did not send", false, 15, 8, true },
	{ "quotes another port of the VIP", false, 21, 81, false },
	{ "quotes IP of another version", true, 0, 0x40, true },
	{ "quotes ICMPv6", true, 6, 58, false },
	{ "quotes extension headers longer than the quote", true, 6, 60, true },
	{ "quotes a packet that the VIP did not send", true, 23, 8, true },
	{ "quotes another port of the VIP", true, 41, 81, false },
};
#define NNONSENSE (sizeof(nonsense) / sizeof(nonsense[0]))

struct nonsense_run {
	const struct nonsense *n;
	enum world_hook hook;
};

static void nonsense_goes_nowhere(void **state)
{
	const struct nonsense_run *run = *state;
	const struct nonsense *n = run->n;
	const struct error e = { .v6 = n->v6, .type = n->v6 ? 1 : 3, .code = n->v6 ? 4 : 3 };
	uint8_t inside[FRAME_MAX];
	struct message m = message_in(&e, inside);
	struct world_frame in, out = { .len = 0 };

	reset(n->v6);
	inside[n->at] = n->value;
	build(&m, &in);
	assert_int_equal(world_run(&world, run->hook, world.front, &in, &out),
			 n->dropped ? WORLD_DROP : WORLD_PASS);
	if (n->dropped) {
		only_event(ZD_EV_DROP_ICMP);
		return;
	}
	assert_same(&out, &in);
	only_event(run->hook == WORLD_TC ? ZD_EV_PASSED_NOT_OURS : ZD_EV_MAX);
}

/* Whatever is no error, and no echo, is the kernel's. */
static void other_types_pass(void **state)
{
	(void)state;
	for (int v6 = 0; v6 < 2; v6++) {
		reset(v6);
		for (unsigned type = 0; type < 256; type++) {
			const struct error e = { .v6 = v6, .type = (uint8_t)type };
			bool error =
				v6 ? type >= 1 && type <= 4 : type == 3 || type == 11 || type == 12;
			uint8_t inside[FRAME_MAX];
			struct message m = message_in(&e, inside);
			struct world_frame in, out = { .len = 0 };

			build(&m, &in);
			assert_int_equal(world_run(&world, WORLD_TC, world.front, &in, &out),
					 error ? WORLD_REDIRECT : WORLD_PASS);
		}
	}
}

static void an_error_follows_its_flow_s_pin_and_leaves_it_alone(void **state)
{
	const struct error e = { .type = 3, .code = 4, .rest = 1400 };
	struct frame syn = world_request(false, FRAME_SYN);
	uint8_t inside[FRAME_MAX];
	struct message m = message_in(&e, inside);
	struct world_frame in, out = { .len = 0 };
	uint64_t pin;

	(void)state;
	reset(false);
	world_slots(&world, ZD_SLOT(2, 1, ZD_SLOT_MOVING));
	assert_int_equal(world_send(&world, WORLD_XDP, world.front, &syn, &out), WORLD_REDIRECT);
	pin = world_pin(&world);
	assert_int_equal(ZD_PIN_BACKEND(pin), 2);
	build(&m, &in);
	for (int hook = WORLD_XDP; hook <= WORLD_TC; hook++) {
		assert_int_equal(world_run(&world, (enum world_hook)hook, world.front, &in, &out),
				 WORLD_REDIRECT);
		assert_int_equal(out.bytes[5], WORLD_MAC_SERVER + 2);
		assert_int_equal(out.bytes[ETH + 19], 102);
		assert_int_equal(world_pin(&world), pin);
	}
	/* Without a pin the flow is base's; an error adopts nothing. */
	reset(false);
	world_slots(&world, ZD_SLOT(2, 1, ZD_SLOT_MOVING));
	assert_int_equal(world_run(&world, WORLD_XDP, world.front, &in, &out), WORLD_REDIRECT);
	assert_int_equal(out.bytes[5], WORLD_MAC_SERVER + 1);
	assert_null(world_pin_word(&world));
}

static void dsr_gets_the_error_whole(void **state)
{
	const struct error e = { .type = 3, .code = 4, .rest = 1400 };
	uint8_t inside[FRAME_MAX];
	struct message m = message_in(&e, inside);
	struct world_frame in, want, out = { .len = 0 };

	(void)state;
	build(&m, &in);
	m.smac = WORLD_MAC_BACK;
	m.dmac = WORLD_MAC_SERVER + 1;
	build(&m, &want);
	for (int hook = WORLD_XDP; hook <= WORLD_TC; hook++) {
		reset(false);
		world.backends[1].mode = ZD_MODE_DSR;
		assert_int_equal(world_run(&world, (enum world_hook)hook, world.front, &in, &out),
				 WORLD_REDIRECT);
		assert_same(&out, &want);
	}
}

static void an_error_s_ttl_ends_here(void **state)
{
	const struct error e = { .type = 3, .code = 3 };
	uint8_t inside[FRAME_MAX];
	struct message m = message_in(&e, inside);
	struct world_frame in, out = { .len = 0 };

	(void)state;
	m.ttl = 1;
	build(&m, &in);
	for (int hook = WORLD_XDP; hook <= WORLD_TC; hook++) {
		reset(false);
		assert_int_equal(world_run(&world, (enum world_hook)hook, world.front, &in, &out),
				 WORLD_DROP);
		only_event(ZD_EV_DROP_TTL);
	}
}

static struct message echo(bool v6, const uint8_t *inside)
{
	return (struct message){
		.src = v6 ? WORLD_CLIENT6 : WORLD_CLIENT4,
		.dst = v6 ? WORLD_VIP6 : WORLD_VIP4,
		.type = v6 ? 128 : 8,
		.rest = 0x12340007,
		.ttl = 33,
		.smac = WORLD_MAC_CLIENT,
		.dmac = WORLD_MAC_FRONT,
		.inside = inside,
		.len = 57,
		.id = 99,
	};
}

static void echo_is_answered_by_xdp_alone(void **state)
{
	uint8_t inside[57];
	struct world_frame in, want, out = { .len = 0 };

	(void)state;
	for (size_t i = 0; i < sizeof(inside); i++)
		inside[i] = (uint8_t)(i * 5);
	for (int v6 = 0; v6 < 2; v6++) {
		struct message m = echo(v6, inside), answer = m;

		answer.src = m.dst;
		answer.dst = m.src;
		answer.type = v6 ? 129 : 0;
		answer.ttl = 64;
		answer.smac = m.dmac;
		answer.dmac = m.smac;
		build(&m, &in);
		build(&answer, &want);
		reset(v6);
		assert_int_equal(world_run(&world, WORLD_XDP, world.front, &in, &out), WORLD_TX);
		assert_same(&out, &want);
		only_event(ZD_EV_ECHO_ANSWERED);
		assert_int_equal(world_run(&world, WORLD_TC, world.front, &in, &out), WORLD_PASS);
		assert_same(&out, &in);
	}
}

/* Who is not answered. */
/* clang-format off */
static const struct silence {
	const char *name;
	const char *src, *dst;
	uint8_t dmac, code, ip_options;
	bool back;
} silences[] = {
	{ .name = "another address", .src = WORLD_CLIENT4, .dst = "10.9.9.8", .dmac = WORLD_MAC_FRONT },
	{ .name = "another address, v6", .src = WORLD_CLIENT6, .dst = "2001:db8:9::8", .dmac = WORLD_MAC_FRONT },
	{ .name = "a frame to another station", .src = WORLD_CLIENT4, .dst = WORLD_VIP4, .dmac = 0x99 },
	{ .name = "a frame to another station, v6", .src = WORLD_CLIENT6, .dst = WORLD_VIP6, .dmac = 0x99 },
	{ .name = "a VIP asks", .src = WORLD_VIP4, .dst = WORLD_VIP4, .dmac = WORLD_MAC_FRONT },
	{ .name = "a VIP asks, v6", .src = WORLD_VIP6, .dst = WORLD_VIP6, .dmac = WORLD_MAC_FRONT },
	{ .name = "multicast asks", .src = "224.0.0.1", .dst = WORLD_VIP4, .dmac = WORLD_MAC_FRONT },
	{ .name = "multicast asks, v6", .src = "ff02::1", .dst = WORLD_VIP6, .dmac = WORLD_MAC_FRONT },
	{ .name = "broadcast asks", .src = "255.255.255.255", .dst = WORLD_VIP4, .dmac = WORLD_MAC_FRONT },
	{ .name = "the network's broadcast asks", .src = "10.9.1.255", .dst = WORLD_VIP4, .dmac = WORLD_MAC_FRONT },
	{ .name = "loopback asks", .src = "127.0.0.1", .dst = WORLD_VIP4, .dmac = WORLD_MAC_FRONT },
	{ .name = "loopback asks, v6", .src = "::1", .dst = WORLD_VIP6, .dmac = WORLD_MAC_FRONT },
	{ .name = "nobody asks", .src = "0.0.0.0", .dst = WORLD_VIP4, .dmac = WORLD_MAC_FRONT },
	{ .name = "nobody asks, v6", .src = "::", .dst = WORLD_VIP6, .dmac = WORLD_MAC_FRONT },
	{ .name = "we ask ourselves", .src = "10.9.1.1", .dst = WORLD_VIP4, .dmac = WORLD_MAC_FRONT },
	{ .name = "somebody without a route asks", .src = "198.51.100.1", .dst = WORLD_VIP4, .dmac = WORLD_MAC_FRONT },
	{ .name = "somebody asks by another way", .src = WORLD_CLIENT4, .dst = WORLD_VIP4, .dmac = WORLD_MAC_BACK, .back = true },
	{ .name = "a code asks", .src = WORLD_CLIENT4, .dst = WORLD_VIP4, .dmac = WORLD_MAC_FRONT, .code = 1 },
	{ .name = "options ask", .src = WORLD_CLIENT4, .dst = WORLD_VIP4, .dmac = WORLD_MAC_FRONT, .ip_options = 8 },
};
/* clang-format on */
#define NSILENCES (sizeof(silences) / sizeof(silences[0]))

static void echo_is_left_to_the_kernel(void **state)
{
	const struct silence *s = *state;
	const uint8_t inside[57] = { 1, 2, 3 };
	struct message m = echo(strchr(s->dst, ':') != NULL, inside);
	struct world_frame in, out = { .len = 0 };

	m.src = s->src;
	m.dst = s->dst;
	m.dmac = s->dmac;
	m.code = s->code;
	m.ip_options = s->ip_options;
	build(&m, &in);
	reset(strchr(s->dst, ':') != NULL);
	assert_int_equal(
		world_run(&world, WORLD_XDP, s->back ? world.back : world.front, &in, &out),
		WORLD_PASS);
	assert_same(&out, &in);
	only_event(ZD_EV_MAX);
}

static void echo_to_an_address_of_this_host_is_left_to_the_kernel(void **state)
{
	const uint8_t inside[57] = { 0 };
	struct world_frame in, out = { .len = 0 };

	(void)state;
	assert_int_equal(system("ip addr add " WORLD_VIP4 "/32 dev front; "
				"ip addr add " WORLD_VIP6 "/128 dev front nodad"),
			 0);
	for (int v6 = 0; v6 < 2; v6++) {
		struct message m = echo(v6, inside);

		build(&m, &in);
		reset(v6);
		assert_int_equal(world_run(&world, WORLD_XDP, world.front, &in, &out), WORLD_PASS);
		assert_same(&out, &in);
		only_event(ZD_EV_MAX);
	}
	assert_int_equal(system("ip addr del " WORLD_VIP4 "/32 dev front; "
				"ip addr del " WORLD_VIP6 "/128 dev front"),
			 0);
}

/* 100 at once, one more every millisecond; the clock of the bucket ticks in steps of at most 10 ms. */
static void echo_has_a_rate(void **state)
{
	const uint8_t inside[57] = { 0 };
	struct message m = echo(false, inside);
	struct world_frame in, out = { .len = 0 };
	uint64_t start, ms, answered;
	enum { ASKED = 3000 };

	(void)state;
	build(&m, &in);
	reset(false);
	start = world_now_ns();
	for (int i = 0; i < ASKED; i++)
		world_run(&world, WORLD_XDP, world.front, &in, &out);
	ms = (world_now_ns() - start) / 1000000 + 10;
	answered = world_event(&world, ZD_EV_ECHO_ANSWERED);
	assert_int_equal(answered + world_event(&world, ZD_EV_DROP_ICMP_RATE), ASKED);
	assert_in_range(answered, 100, 2 * (100 + ms)); /* the test may move to the other CPU */
	assert_true(answered < ASKED);
}

/* What does not fit: its sender is told, by the VIP. */
static void too_big_is_told(void **state)
{
	const struct run *run = *state;
	bool v6 = run->error->v6, udp = run->error->proto == 17;
	struct frame f = world_request(v6, FRAME_ACK);
	struct world_frame in, want, out = { .len = 0 };
	struct message m = {
		.src = v6 ? WORLD_VIP6 : WORLD_VIP4,
		.dst = v6 ? WORLD_CLIENT6 : WORLD_CLIENT4,
		.type = v6 ? 2 : 3,
		.code = v6 ? 0 : 4,
		.rest = 1399,
		.ttl = 64,
		.smac = WORLD_MAC_FRONT,
		.dmac = WORLD_MAC_CLIENT,
		.inside = in.bytes + ETH,
		.len = QUOTED,
		.dont_fragment = true,
	};

	reset(v6);
	f.proto = udp ? 17 : 0;
	f.frag_off = v6 ? 0 : 0x4000;
	f.payload = (uint16_t)(1400 - (v6 ? 40 : 20) - (udp ? 8 : 20));
	world.backends[1].mtu = 1399;
	in.len = frame_build(&f, in.bytes);
	build(&m, &want);
	assert_int_equal(world_run(&world, run->hook, world.front, &in, &out),
			 run->hook == WORLD_XDP ? WORLD_TX : WORLD_REDIRECT);
	assert_same(&out, &want);
	assert_int_equal(world_event(&world, ZD_EV_TOO_BIG_SENT), 1);
	assert_int_equal(world_event(&world, ZD_EV_DROP_TOO_BIG), 1);
	assert_int_equal(world_event(&world, ZD_EV_REQUEST_FORWARDED), 0);
}

static void too_big_shares_the_rate_and_is_told_to_nobody_else(void **state)
{
	struct frame f = world_request(false, FRAME_ACK);
	const struct error e = { .type = 3, .code = 3 };
	uint8_t inside[FRAME_MAX];
	struct message m = message_in(&e, inside);
	struct world_frame in, out = { .len = 0 };
	uint64_t told;

	(void)state;
	f.payload = 1400;
	reset(false);
	world.backends[1].mtu = 1300;
	for (int i = 0; i < 3000; i++)
		world_send(&world, WORLD_XDP, world.front, &f, &out);
	told = world_event(&world, ZD_EV_TOO_BIG_SENT);
	assert_true(told >= 100 && told < 3000);
	assert_int_equal(world_event(&world, ZD_EV_DROP_TOO_BIG), 3000);

	/* No error about an error; nobody who cannot have sent it. */
	reset(false);
	world.backends[1].mtu = 60;
	build(&m, &in);
	assert_int_equal(world_run(&world, WORLD_XDP, world.front, &in, &out), WORLD_DROP);
	world.backends[1].mtu = 1300;
	f.src = "224.0.0.1";
	assert_int_equal(world_send(&world, WORLD_XDP, world.front, &f, &out), WORLD_DROP);
	assert_int_equal(world_event(&world, ZD_EV_TOO_BIG_SENT), 0);
	assert_int_equal(world_event(&world, ZD_EV_DROP_TOO_BIG), 2);
}

#define MAX_TESTS (NERRORS * 8 + NNONSENSE * 2 + NSILENCES + 32)
static struct CMUnitTest tests[MAX_TESTS];
static char names[MAX_TESTS][160];
static size_t ntests;

__attribute__((format(printf, 3, 4))) static void add(CMUnitTestFunction fn, const void *arg,
						      const char *fmt, ...)
{
	va_list ap;

	va_start(ap, fmt);
	vsnprintf(names[ntests], sizeof(names[0]), fmt, ap);
	va_end(ap);
	tests[ntests] = (struct CMUnitTest){
		.name = names[ntests],
		.test_func = fn,
		.initial_state = (void *)(uintptr_t)arg,
	};
	ntests++;
}

#define ADD(fn) add(fn, NULL, #fn)

static void add_errors(void)
{
	static const struct {
		CMUnitTestFunction fn;
		const char *name;
	} checks[] = {
		{ error_reaches_whom_it_concerns, "reaches whom it concerns" },
		{ a_quote_too_short_is_dropped, "quotes too little" },
		{ truncated_at_every_byte, "ends at every byte" },
		{ noise_in_the_quote_is_survived, "quotes noise" },
	};
	static struct run runs[NERRORS * 2];

	for (size_t i = 0; i < NERRORS * 2; i++) {
		struct run *r = &runs[i];

		*r = (struct run){ &errors[i / 2], i % 2 ? WORLD_TC : WORLD_XDP };
		for (size_t k = 0; k < sizeof(checks) / sizeof(checks[0]); k++) {
			/* Shorter than what it quotes by its own account: other lengths are. */
			if (checks[k].fn == a_quote_too_short_is_dropped && r->error->quoted)
				continue;
			add(checks[k].fn, r, "%s, %s: %s (%s)", r->error->name,
			    r->error->v6 ? "v6" : "v4", checks[k].name, hooks[r->hook]);
		}
	}
}

static void add_all(void)
{
	static const struct error shapes[] = {
		{ .name = "v4, TCP" },
		{ "v4, UDP", .proto = 17 },
		{ "v6, TCP", .v6 = true },
		{ "v6, UDP", .v6 = true, .proto = 17 },
	};
	static struct nonsense_run wrong[NNONSENSE * 2];
	static struct run big[8];

	add_errors();
	for (size_t i = 0; i < NNONSENSE * 2; i++) {
		wrong[i] = (struct nonsense_run){ &nonsense[i / 2], i % 2 ? WORLD_TC : WORLD_XDP };
		add(nonsense_goes_nowhere, &wrong[i], "%s, %s (%s)", wrong[i].n->name,
		    wrong[i].n->v6 ? "v6" : "v4", hooks[wrong[i].hook]);
	}
	for (size_t i = 0; i < NSILENCES; i++)
		add(echo_is_left_to_the_kernel, &silences[i], "echo is not answered: %s",
		    silences[i].name);
	for (size_t i = 0; i < 8; i++) {
		big[i] = (struct run){ &shapes[i / 2], i % 2 ? WORLD_TC : WORLD_XDP };
		add(too_big_is_told, &big[i], "too big is told (%s, %s)", big[i].error->name,
		    hooks[big[i].hook]);
	}
	ADD(other_types_pass);
	ADD(an_error_follows_its_flow_s_pin_and_leaves_it_alone);
	ADD(dsr_gets_the_error_whole);
	ADD(an_error_s_ttl_ends_here);
	ADD(echo_is_answered_by_xdp_alone);
	ADD(echo_to_an_address_of_this_host_is_left_to_the_kernel);
	ADD(echo_has_a_rate);
	ADD(too_big_shares_the_rate_and_is_told_to_nobody_else);
}

int main(void)
{
	if (world_enter() || world_open(&world, WORLD_SLOTS, WORLD_BUCKETS))
		return 1;
	add_all();
	return _cmocka_run_group_tests("icmp", tests, ntests, NULL, NULL);
}
