/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * The promise itself, against the real program and the agent's real rules: random histories of
 * weights, leases, holds, rollbacks, deaths, recoveries and settling, with many flows, and no packet
 * of a flow whose backend lives ever reaches another one. Ring time is made up: an idle timeout
 * passes by saying so, after every flow has sent a packet.
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

#include "../../agent/core/ring.h"
#include "world.h"

#define NFLOWS    400
#define NBACKENDS 6
#define NBUCKETS  4096
#define STEPS     60
#define IDLE_MS   10000

struct flow {
	struct world_frame syn, data, fin;
	unsigned backend; /* 0: not open */
};

struct history {
	struct world *w;
	enum world_hook hook;
	uint64_t seed, now_ms, packets, opened, moved;
	struct ring ring;
	bool alive[ZD_MAX_BACKEND_IDS];
	struct share shares[NBACKENDS];
	uint16_t snapshot[WORLD_SLOTS];
	struct flow flows[NFLOWS];
	bool swept; /* a sweep since the last settling may be believed */
};

static struct world world;

static uint32_t draw(struct history *h, uint32_t below)
{
	h->seed = h->seed * 6364136223846793005ULL + 1442695040888963407ULL;
	return (uint32_t)(h->seed >> 33) % below;
}

static void publish(struct history *h)
{
	for (uint32_t i = 0; i < h->ring.nslots; i++) {
		if (h->w->ring[i] != h->ring.slots[i])
			h->w->ring[i] = h->ring.slots[i];
	}
}

static unsigned sent_to(struct history *h, const struct world_frame *in)
{
	struct world_frame out = { .len = 0 };
	enum world_verdict v = world_run(h->w, h->hook, h->w->front, in, &out);

	h->packets++;
	if (v == WORLD_DROP)
		return 0;
	assert_int_equal(v, WORLD_REDIRECT);
	assert_memory_equal(out.bytes + 30, ((uint8_t[]){ 10, 9, 2 }), 3);
	return out.bytes[33] - 100u;
}

static void flow_open(struct history *h, struct flow *f)
{
	f->backend = sent_to(h, &f->syn);
	h->opened += f->backend != 0;
	if (f->backend)
		assert_true(h->alive[f->backend]);
}

static void flow_send(struct history *h, struct flow *f, const struct world_frame *frame)
{
	unsigned to;

	if (f->backend && !h->alive[f->backend])
		f->backend = 0; /* its backend died: the connection is lost, not moved */
	if (!f->backend)
		return;
	to = sent_to(h, frame);
	h->moved += to != f->backend;
}

static void traffic(struct history *h)
{
	for (int i = 0; i < NFLOWS / 2; i++) {
		struct flow *f = &h->flows[draw(h, NFLOWS)];

		if (!f->backend) {
			flow_open(h, f);
			if (draw(h, 4) == 0)
				flow_send(h, f, &f->syn); /* sent again */
		} else if (draw(h, 20) == 0) {
			flow_send(h, f, &f->fin);
			f->backend = 0;
		}
		flow_send(h, f, &f->data);
	}
}

static const struct ring_world *ring_now(struct history *h)
{
	static struct ring_world w;

	w = (struct ring_world){ .alive = h->alive, .now_ms = h->now_ms };
	return &w;
}

static void rebalance(struct history *h)
{
	struct share shares[NBACKENDS];

	memcpy(shares, h->shares, sizeof(shares));
	for (int i = 0; i < NBACKENDS; i++) {
		if (!h->alive[shares[i].backend])
			shares[i].weight = 0;
	}
	ring_quota(shares, NBACKENDS, h->ring.nslots);
	ring_rebalance(&h->ring, shares, NBACKENDS, ring_now(h));
}

static void new_weights(struct history *h)
{
	uint32_t left = 10000;

	for (int i = 0; i < NBACKENDS; i++) {
		uint32_t bp = i == NBACKENDS - 1 ? left : draw(h, 3) ? draw(h, left + 1) : 0;

		h->shares[i].version_bp = bp;
		h->shares[i].leased = draw(h, 8) == 0;
		left -= bp;
	}
	rebalance(h);
}

static void death(struct history *h)
{
	uint16_t dead = (uint16_t)(1 + draw(h, NBACKENDS)), fallback = 0;
	unsigned living = 0;

	for (uint16_t i = 1; i <= NBACKENDS; i++)
		living += h->alive[i];
	if (!h->alive[dead] || living < 3)
		return;
	h->alive[dead] = false;
	for (uint16_t i = 1; i <= NBACKENDS; i++) {
		if (h->alive[i] && !h->shares[i - 1].leased)
			fallback = i;
	}
	world_backend(h->w, dead, false, ZD_BACKEND_RESOLVED);
	for (int i = 0; i < NFLOWS; i++) {
		if (h->flows[i].backend == dead)
			h->flows[i].backend = 0;
	}
	if (draw(h, 2)) {
		publish(h);
		traffic(h); /* packets come between the death and the new ring */
	}
	rebalance(h);
	ring_bury(&h->ring, dead, fallback, ring_now(h));
}

static void recovery(struct history *h)
{
	for (uint16_t i = 1; i <= NBACKENDS; i++) {
		if (h->alive[i] || draw(h, 2))
			continue;
		h->alive[i] = true;
		world_backend(h->w, i, false, ZD_BACKEND_ALIVE | ZD_BACKEND_RESOLVED);
	}
	rebalance(h);
}

/* Which slots hold pins, as the agent's sweep sees it. */
static void sweep(struct history *h, uint64_t *pinned)
{
	uint32_t tick = world_tick();

	memset(pinned, 0, WORLD_SLOTS / 8);
	for (int b = 0; b < NBUCKETS; b++) {
		for (int i = 0; i < ZD_PINS_PER_BUCKET; i++) {
			uint64_t word = h->w->pins[b].word[i];
			uint32_t slot = ZD_SLOT_INDEX(word, WORLD_SLOTS - 1);

			if (ZD_PIN_IS_LIVING(word, tick, WORLD_IDLE_TICKS))
				pinned[slot / 64] |= 1ULL << slot % 64;
		}
	}
}

/* An idle timeout passes; every living flow sends its one packet in it. */
static void settle(struct history *h)
{
	uint64_t pinned[WORLD_SLOTS / 64];

	for (int i = 0; i < NFLOWS; i++)
		flow_send(h, &h->flows[i], &h->flows[i].data);
	sweep(h, pinned);
	h->now_ms += IDLE_MS;
	ring_settle(&h->ring, IDLE_MS, h->swept ? pinned : NULL, ring_now(h));
	h->swept = true;
}

static void rollback(struct history *h)
{
	ring_restore(&h->ring, h->snapshot, ring_now(h));
	rebalance(h);
}

static void hold(struct history *h)
{
	h->w->services[0].flags ^= ZD_SERVICE_HOLD;
}

static void remember(struct history *h)
{
	ring_snapshot(&h->ring, h->snapshot);
}

static void (*const changes[])(struct history *) = {
	new_weights, new_weights, death, recovery, settle, settle, rollback, hold, remember,
};

static void start(struct history *h, enum world_hook hook, uint64_t seed)
{
	memset(h, 0, sizeof(*h));
	h->w = &world;
	h->hook = hook;
	h->seed = seed;
	h->now_ms = 1000000;
	world_reset(h->w);
	assert_int_equal(ring_init(&h->ring, WORLD_SLOTS), 0);
	for (uint16_t i = 1; i <= NBACKENDS; i++) {
		h->alive[i] = true;
		h->shares[i - 1] = (struct share){ .backend = i, .version = i, .weight = 1 };
	}
	for (int i = 0; i < NFLOWS; i++) {
		struct frame f = world_request(false, FRAME_SYN);

		f.sport = (uint16_t)(1024 + i);
		h->flows[i].syn.len = frame_build(&f, h->flows[i].syn.bytes);
		f.flags = FRAME_ACK;
		h->flows[i].data.len = frame_build(&f, h->flows[i].data.bytes);
		f.flags = FRAME_FIN | FRAME_ACK;
		h->flows[i].fin.len = frame_build(&f, h->flows[i].fin.bytes);
	}
	new_weights(h);
	remember(h);
	publish(h);
}

static void no_packet_moves(void **state)
{
	uint64_t n = (uint64_t)(uintptr_t)*state;
	struct history *h = malloc(sizeof(*h));

	assert_non_null(h);
	start(h, n % 2 ? WORLD_TC : WORLD_XDP, n * 7919 + 1);
	for (int i = 0; i < STEPS; i++) {
		traffic(h);
		changes[draw(h, sizeof(changes) / sizeof(changes[0]))](h);
		h->now_ms++;
		publish(h);
		traffic(h);
	}
	assert_int_equal(h->moved, 0);
	assert_int_equal(world_event(&world, ZD_EV_PIN_EVICTED), 0);
	assert_true(h->opened > NFLOWS);
	assert_true(h->packets > 4 * h->opened);
	ring_fini(&h->ring);
	free(h);
}

/* The same without the rule that adopts: it must fail, or the test above proves nothing. */
static void without_adoption_packets_do_move(void **state)
{
	struct history *h = malloc(sizeof(*h));

	(void)state;
	assert_non_null(h);
	start(h, WORLD_XDP, 4711);
	for (int i = 0; i < STEPS; i++) {
		traffic(h);
		changes[draw(h, 6)](h);
		for (uint32_t s = 0; s < h->ring.nslots; s++)
			h->w->ring[s] = h->ring.slots[s] & ~((uint64_t)ZD_SLOT_ADOPT << 32);
		traffic(h);
	}
	assert_true(h->moved > 100);
	ring_fini(&h->ring);
	free(h);
}

int main(void)
{
	enum { N = 40 };
	static struct CMUnitTest tests[N + 1];
	static char names[N][64];

	for (uintptr_t i = 0; i < N; i++) {
		snprintf(names[i], sizeof(names[i]), "no packet moves, history %zu (%s)", (size_t)i,
			 i % 2 ? "tc" : "xdp");
		tests[i] = (struct CMUnitTest){ names[i], no_packet_moves, NULL, NULL, (void *)i };
	}
	tests[N] = (struct CMUnitTest)cmocka_unit_test(without_adoption_packets_do_move);
	if (world_enter() || world_open(&world, WORLD_SLOTS, NBUCKETS))
		return 1;
	return cmocka_run_group_tests_name("histories", tests, NULL, NULL);
}
