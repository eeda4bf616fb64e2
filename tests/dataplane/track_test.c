/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * UDP with full tracking, against a model: random histories of packets, idle time, slots that
 * change, deaths and recoveries. A living flow never moves; a flow that was idle, or whose backend
 * died, is new and goes where its slot says now. Idle time is made by taking ticks off the pins.
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

#define NFLOWS    300
#define NBACKENDS 5
#define NBUCKETS  1024
#define STEPS     6000

struct flow {
	struct world_frame packet;
	unsigned backend; /* as of its last packet */
	unsigned left;    /* ticks that its pin has, at least */
};

struct history {
	enum world_hook hook;
	uint64_t seed;
	bool alive[NBACKENDS + 1];
	unsigned current, base;
	struct flow flows[NFLOWS];
	unsigned stayed, opened, reopened, lost;
};

static struct world world;

static uint32_t draw(struct history *h, uint32_t below)
{
	h->seed = h->seed * 6364136223846793005ULL + 1442695040888963407ULL;
	return (uint32_t)(h->seed >> 33) % below;
}

/* Time passes: so many ticks less for every pin, in the program's eyes and in the model's. */
static void idle(struct history *h)
{
	unsigned ticks = 1 + draw(h, WORLD_UDP_TICKS);
	uint32_t now = world_tick();

	for (int i = 0; i < NBUCKETS * ZD_PINS_PER_BUCKET; i++) {
		volatile uint64_t *word = (volatile uint64_t *)&world.pins[i / ZD_PINS_PER_BUCKET]
						  .word[i % ZD_PINS_PER_BUCKET];
		uint32_t left = ZD_PIN_LEFT(*word, now);

		if (!ZD_PIN_IS_LIVING(*word, now, WORLD_IDLE_TICKS) || left <= ticks)
			*word = 0;
		else
			*word = (*word & ~0xffULL) | ((now - 1 + left - ticks) % ZD_PIN_TICKS + 1);
	}
	for (int i = 0; i < NFLOWS; i++)
		h->flows[i].left -= h->flows[i].left < ticks ? h->flows[i].left : ticks;
}

static void change(struct history *h)
{
	h->base = h->current;
	h->current = 1 + draw(h, NBACKENDS);
	world_slots(&world, ZD_SLOT(h->current, h->base, ZD_SLOT_MOVING));
}

static void death_or_recovery(struct history *h)
{
	unsigned id = 1 + draw(h, NBACKENDS);

	h->alive[id] = !h->alive[id];
	world_backend(&world, id, false,
		      ZD_BACKEND_RESOLVED | (h->alive[id] ? ZD_BACKEND_ALIVE : 0));
}

static unsigned sent_to(struct history *h, const struct world_frame *in)
{
	struct world_frame out = { .len = 0 };

	if (world_run(&world, h->hook, world.front, in, &out) == WORLD_DROP)
		return 0;
	return out.bytes[33] - 100u;
}

static unsigned expected(const struct history *h, const struct flow *f)
{
	if (f->left && h->alive[f->backend])
		return f->backend;
	if (h->alive[h->current])
		return h->current;
	return h->alive[h->base] ? h->base : 0;
}

static void packet(struct history *h)
{
	struct flow *f = &h->flows[draw(h, NFLOWS)];
	bool living = f->left && h->alive[f->backend];
	unsigned want = expected(h, f), to = sent_to(h, &f->packet);

	assert_int_equal(to, want);
	h->stayed += living;
	h->reopened += !living && f->left && to;
	h->opened += !living && to;
	h->lost += !to;
	if (!to)
		return; /* the pin of the dead, if any, is as it was */
	f->backend = to;
	f->left = WORLD_UDP_TICKS;
}

static void step(struct history *h)
{
	uint32_t what = draw(h, 400);

	if (what < 2)
		idle(h);
	else if (what < 6)
		change(h);
	else if (what < 9)
		death_or_recovery(h);
	else
		packet(h);
}

static void start(struct history *h, enum world_hook hook, uint64_t seed)
{
	memset(h, 0, sizeof(*h));
	h->hook = hook;
	h->seed = seed;
	h->current = h->base = 1;
	world_reset(&world);
	world.services[0].flags = ZD_SERVICE_TRACK_FULL;
	for (unsigned i = 1; i <= NBACKENDS; i++)
		h->alive[i] = true;
	for (unsigned i = 0; i < NFLOWS; i++) {
		struct frame f = world_request(false, 0);

		f.proto = 17;
		f.sport = (uint16_t)(2000 + i);
		h->flows[i].packet.len = frame_build(&f, h->flows[i].packet.bytes);
	}
	change(h);
}

static uint64_t connections(void)
{
	uint64_t n = 0;

	for (unsigned i = 1; i <= NBACKENDS; i++)
		n += world_stat(&world, i, ZD_BC_CONNECTIONS);
	return n;
}

/*
 * The program's ticks go on while the test runs, the model's do not: a history is short (a tick is
 * 4.29 s), and one that a tick ended meanwhile is told again.
 */
static void living_flows_stay_and_idle_ones_are_new(void **state)
{
	uint64_t n = (uint64_t)(uintptr_t)*state;
	static struct history h;
	uint32_t tick;

	start(&h, n % 2 ? WORLD_TC : WORLD_XDP, n * 104729 + 7);
	for (int i = 0; i < STEPS; i++) {
		tick = world_tick();
		step(&h);
		if (tick != world_tick()) {
			start(&h, h.hook, n * 104729 + 7);
			i = -1;
		}
	}
	assert_int_equal(connections(), h.opened);
	assert_int_equal(world_event(&world, ZD_EV_PIN_EVICTED), 0);
	assert_true(h.stayed > STEPS / 4);
	assert_true(h.reopened > 10);
	assert_true(h.opened > NFLOWS);
}

static unsigned left_after_a_reply(unsigned backend, bool tracked)
{
	struct frame f = world_request(false, 0), reply = world_reply(false, 0, backend);
	struct world_frame out;
	uint32_t now;

	f.proto = reply.proto = 17;
	world_reset(&world);
	world_slots(&world, ZD_SLOT(1, 1, ZD_SLOT_MOVING));
	world.services[0].flags = tracked ? ZD_SERVICE_TRACK_FULL : 0;
	world_send(&world, WORLD_XDP, world.front, &f, &out);
	assert_int_equal(ZD_PIN_STATE(world_pin(&world)), ZD_PIN_UDP);
	do {
		now = world_tick();
		*world_pin_word(&world) = (world_pin(&world) & ~0xffULL) | (now % ZD_PIN_TICKS + 1);
		assert_int_equal(world_send(&world, WORLD_XDP, world.back, &reply, &out),
				 WORLD_REDIRECT);
	} while (now != world_tick());
	return ZD_PIN_LEFT(world_pin(&world), now);
}

static void an_answer_keeps_its_flow_alive(void **state)
{
	(void)state;
	assert_int_equal(left_after_a_reply(1, true), WORLD_UDP_TICKS);
	assert_int_equal(left_after_a_reply(2, true), 1);
	assert_int_equal(left_after_a_reply(1, false), 1);
}

/* A flood of flows of one packet each, all of them new: the table is bounded, what made room is counted. */
static void a_flood_is_bounded_and_counted(void **state)
{
	enum { FLOOD = 4 * NBUCKETS * ZD_PINS_PER_BUCKET };
	static struct history h;
	uint64_t inserted, evicted;

	(void)state;
	start(&h, WORLD_XDP, 1);
	for (unsigned i = 0; i < FLOOD; i++) {
		struct frame f = world_request(false, 0);
		struct world_frame out;

		f.proto = 17;
		f.sport = (uint16_t)i;
		f.src = i % 2 ? "10.9.1.3" : "10.9.1.4";
		f.no_check = true;
		assert_int_equal(world_send(&world, WORLD_XDP, world.front, &f, &out),
				 WORLD_REDIRECT);
	}
	inserted = world_event(&world, ZD_EV_PIN_INSERTED);
	evicted = world_event(&world, ZD_EV_PIN_EVICTED);
	assert_true(inserted >= FLOOD / 2);
	assert_true(evicted >= inserted - NBUCKETS * ZD_PINS_PER_BUCKET);
}

int main(void)
{
	enum { N = 24 };
	static struct CMUnitTest tests[N + 2];
	static char names[N][64];

	for (uintptr_t i = 0; i < N; i++) {
		snprintf(names[i], sizeof(names[i]), "living flows stay, history %zu (%s)",
			 (size_t)i, i % 2 ? "tc" : "xdp");
		tests[i] = (struct CMUnitTest){ names[i], living_flows_stay_and_idle_ones_are_new,
						NULL, NULL, (void *)i };
	}
	tests[N] = (struct CMUnitTest)cmocka_unit_test(a_flood_is_bounded_and_counted);
	tests[N + 1] = (struct CMUnitTest)cmocka_unit_test(an_answer_keeps_its_flow_alive);
	if (world_enter() || world_open(&world, WORLD_SLOTS, NBUCKETS))
		return 1;
	return cmocka_run_group_tests_name("tracking", tests, NULL, NULL);
}
