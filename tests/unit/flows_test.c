/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * No established connection moves: the ring's rules and a model of the packet rules (docs/design.md,
 * "The pinned ring") against random histories of weight changes, canaries, rollbacks, holds, deaths
 * and recoveries. Pins are ideal here, one of its own for every flow; time is the only enemy. Each
 * part of the rules is then left out once, and must be missed. Then all of it with full tracking, on
 * all the time or now and then, and for UDP, where a packet without a pin opens a flow.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include <cmocka.h>

#include <zddlb/abi.h>

#include "../../agent/core/ring.h"
#include "random.h"

#define NSLOTS    1024 /* few flows a slot, so that none hides behind another's pin */
#define NFLOWS    1500
#define NBACKENDS 8
#define CANARY    8 /* its slots are leased now and then */
#define IDLE      1600
#define TICK      100
#define HISTORIES 200
#define TICKS     160
#define CALM      40

enum flaw {
	FLAWLESS,
	NO_CONSULT,
	NO_PIN,
	NO_ADOPT,
	SETTLES_AT_ONCE,
	SETTLES_TOO_EARLY,
	FORGETS_PINS,  /* CONSULT goes although pins remain */
	BASE_NOT_KEPT, /* a rollback writes {old, old} without looking for pins */
};

/* What is sent, and how the ring tracks it. */
enum kind {
	TCP,
	TCP_FULL,
	TCP_TOGGLED, /* tracking is turned on and off on the way */
	UDP,         /* always tracked in full */
};

struct flow {
	uint16_t backend; /* where it was born; ZD_NO_BACKEND: closed */
	uint16_t pin;
	uint64_t pin_until_ms; /* outlives the flow: stale pins are part of the game */
	uint64_t last_ms;
};

struct sim {
	enum flaw flaw;
	enum kind kind;
	uint64_t seed;
	struct ring ring;
	struct ring_world world;
	bool alive[ZD_MAX_BACKEND_IDS];
	struct share shares[NBACKENDS];
	uint16_t snapshot[NSLOTS];
	uint64_t pinned[NSLOTS / 64]; /* of a sweep that began right after the last settling */
	uint64_t sweep_ms;
	bool hold;
	struct flow flows[NFLOWS];
	uint32_t packets, moved, born_on_dead;
};

static uint32_t slot_of(size_t flow)
{
	return (uint32_t)(flow % NSLOTS);
}

static uint32_t flags_of(const struct sim *s, uint64_t word)
{
	uint32_t flags = ZD_SLOT_FLAGS(word);

	if (s->flaw == NO_CONSULT)
		flags &= ~ZD_SLOT_CONSULT;
	if (s->flaw == NO_PIN)
		flags &= ~ZD_SLOT_PIN;
	if (s->flaw == NO_ADOPT)
		flags &= ~ZD_SLOT_ADOPT;
	return flags;
}

static void pin(struct sim *s, struct flow *f, uint16_t backend)
{
	f->pin = backend;
	f->pin_until_ms = s->world.now_ms + IDLE + TICK;
}

static bool is_pinned(const struct sim *s, const struct flow *f)
{
	return f->pin != ZD_NO_BACKEND && s->world.now_ms < f->pin_until_ms;
}

/* The rules of the data plane, without a table too small and without a race. */
static uint16_t forward_syn(struct sim *s, size_t i)
{
	uint64_t word = s->ring.slots[slot_of(i)];
	uint32_t flags = flags_of(s, word);
	uint16_t backend = ZD_SLOT_CURRENT(word);

	if ((flags & ZD_SLOT_LEASED) && s->hold)
		backend = ZD_SLOT_BASE(word);
	if (flags & ZD_SLOT_PIN)
		pin(s, &s->flows[i], backend);
	else if (flags & ZD_SLOT_CONSULT)
		s->flows[i].pin = ZD_NO_BACKEND;
	return backend;
}

static uint16_t forward_data(struct sim *s, size_t i)
{
	uint64_t word = s->ring.slots[slot_of(i)];
	uint32_t flags = flags_of(s, word);
	struct flow *f = &s->flows[i];
	uint16_t backend = ZD_SLOT_BASE(word);

	if (flags == 0)
		return ZD_SLOT_CURRENT(word);
	if ((flags & ZD_SLOT_CONSULT) && is_pinned(s, f) && s->alive[f->pin]) {
		pin(s, f, f->pin);
		return f->pin;
	}
	if (s->kind == UDP && !is_pinned(s, f))
		return forward_syn(s, i);
	if (!s->alive[backend])
		backend = ZD_SLOT_CURRENT(word);
	if (flags & ZD_SLOT_ADOPT)
		pin(s, f, backend);
	return backend;
}

/* One tick's packets of one flow. It never keeps silent for as long as the idle timeout. */
static void flow_step(struct sim *s, size_t i)
{
	struct flow *f = &s->flows[i];
	uint32_t chance = random_below(&s->seed, 100);

	if (f->backend == ZD_NO_BACKEND) {
		if (chance < 20) {
			f->backend = forward_syn(s, i);
			f->last_ms = s->world.now_ms;
			s->packets++;
			s->born_on_dead += !s->alive[f->backend];
		}
		return;
	}
	if (chance < 12 || s->world.now_ms + TICK >= f->last_ms + IDLE) {
		f->last_ms = s->world.now_ms;
		s->packets++;
		if (forward_data(s, i) != f->backend) {
			s->moved++;
			f->backend = ZD_NO_BACKEND;
		}
	} else if (chance < 14) {
		f->backend = ZD_NO_BACKEND; /* closed; its pin stays until it ends */
	}
}

static void sweep(struct sim *s)
{
	s->sweep_ms = s->world.now_ms;
	memset(s->pinned, 0, sizeof(s->pinned));
	for (size_t i = 0; i < NFLOWS; i++)
		if (is_pinned(s, &s->flows[i]) && s->flaw != FORGETS_PINS)
			s->pinned[slot_of(i) / 64] |= 1ULL << slot_of(i) % 64;
}

static void settle(struct sim *s)
{
	struct ring_world w = { .alive = s->alive, .now_ms = s->sweep_ms };
	uint64_t idle = IDLE;

	if (s->flaw == SETTLES_AT_ONCE)
		idle = 0;
	if (s->flaw == SETTLES_TOO_EARLY)
		idle = IDLE / 2;
	ring_settle(&s->ring, idle, s->pinned, &w);
	sweep(s);
}

static uint16_t any_alive(struct sim *s)
{
	uint16_t b;

	do
		b = (uint16_t)(1 + random_below(&s->seed, NBACKENDS - 1));
	while (!s->alive[b]);
	return b;
}

static void rebalance(struct sim *s)
{
	for (uint16_t i = 0; i < NBACKENDS; i++)
		s->shares[i].weight = s->alive[i + 1] ? random_below(&s->seed, 4) : 0;
	s->shares[any_alive(s) - 1].weight = 5;
	s->shares[CANARY - 1].leased = random_below(&s->seed, 2);
	ring_quota(s->shares, NBACKENDS, NSLOTS);
	ring_rebalance(&s->ring, s->shares, NBACKENDS, &s->world);
}

static void roll_back(struct sim *s)
{
	s->hold = true;
	ring_restore(&s->ring, s->snapshot, &s->world);
	for (uint32_t i = 0; i < NSLOTS && s->flaw == BASE_NOT_KEPT; i++)
		s->ring.slots[i] = ZD_SLOT(s->snapshot[i], s->snapshot[i], 0);
}

static void die(struct sim *s)
{
	uint16_t dead = (uint16_t)(1 + random_below(&s->seed, NBACKENDS));
	uint32_t living = 0;

	for (uint16_t b = 1; b < CANARY; b++)
		living += s->alive[b];
	if (!s->alive[dead] || living < 3)
		return;

	s->alive[dead] = false;
	for (size_t i = 0; i < NFLOWS; i++)
		if (s->flows[i].backend == dead)
			s->flows[i].backend = ZD_NO_BACKEND;
	rebalance(s);
	ring_bury(&s->ring, dead, any_alive(s), &s->world);
}

/* What befalls the service in one tick. In calm stretches everything has time to settle. */
static void event(struct sim *s, bool calm)
{
	uint32_t dice = random_below(&s->seed, 100);

	if (s->kind == TCP_TOGGLED && dice % 10 == 0)
		ring_track(&s->ring, !s->ring.full, &s->world);
	if (calm || dice >= 36) {
		if (dice % 3 == 0)
			settle(s);
	} else if (dice < 12) {
		rebalance(s);
	} else if (dice < 18) {
		ring_snapshot(&s->ring, s->snapshot);
		s->hold = false;
		rebalance(s);
	} else if (dice < 24) {
		roll_back(s);
		if (random_below(&s->seed, 2))
			rebalance(s);
	} else if (dice < 27) {
		die(s);
	} else if (dice < 31) {
		s->alive[1 + random_below(&s->seed, NBACKENDS)] = true;
	} else {
		s->hold = !s->hold;
	}
}

static void sim_run(struct sim *s, enum flaw flaw, enum kind kind, uint64_t seed)
{
	memset(s, 0, sizeof(*s));
	s->flaw = flaw;
	s->kind = kind;
	s->seed = seed;
	s->world = (struct ring_world){ .alive = s->alive, .now_ms = 1000000 };
	assert_int_equal(ring_init(&s->ring, NSLOTS), 0);
	ring_track(&s->ring, kind == TCP_FULL || kind == UDP, &s->world);
	for (uint16_t i = 0; i < NBACKENDS; i++) {
		s->alive[i + 1] = true;
		s->shares[i] = (struct share){ .backend = (uint16_t)(i + 1), .version_bp = 10000 };
	}
	rebalance(s);
	ring_snapshot(&s->ring, s->snapshot);

	for (uint32_t tick = 0; tick < TICKS; tick++) {
		s->world.now_ms += TICK;
		event(s, tick / CALM % 2);
		for (size_t i = 0; i < NFLOWS; i++)
			flow_step(s, i);
	}
	ring_fini(&s->ring);
}

static struct sim sim;

static void no_connection_moves_over_random_histories(void **state)
{
	uint64_t packets = 0;

	(void)state;
	for (uint64_t seed = 1; seed <= HISTORIES; seed++) {
		sim_run(&sim, FLAWLESS, TCP, seed);
		packets += sim.packets;
		if (sim.moved)
			fail_msg("%u of %u packets moved, seed %d", sim.moved, sim.packets,
				 (int)seed);
		assert_int_equal(sim.born_on_dead, 0);
	}
	print_message("             %u histories, %u packets\n", HISTORIES, (unsigned)packets);
	assert_true(packets > 1000000);
}

static void full_tracking_moves_no_flow_either(void **state)
{
	(void)state;
	for (enum kind kind = TCP_FULL; kind <= UDP; kind++) {
		for (uint64_t seed = 1; seed <= HISTORIES / 4; seed++) {
			sim_run(&sim, FLAWLESS, kind, seed);
			if (sim.moved || sim.born_on_dead)
				fail_msg("kind %d: %u of %u packets moved, seed %d", kind,
					 sim.moved, sim.packets, (int)seed);
			assert_true(sim.packets > 5000);
		}
	}
}

static void a_udp_flow_without_full_tracking_would_move(void **state)
{
	uint32_t moved = 0;

	(void)state;
	for (uint64_t seed = 1; seed <= 5; seed++) {
		sim_run(&sim, NO_PIN, UDP, seed);
		moved += sim.moved;
	}
	assert_true(moved > 0);
}

static void leaving_out_any_part_of_the_rules_moves_connections(void **state)
{
	static const struct {
		enum flaw flaw;
		const char *name;
	} flaws[] = {
		{ NO_CONSULT, "CONSULT" },
		{ NO_PIN, "PIN" },
		{ NO_ADOPT, "ADOPT" },
		{ SETTLES_AT_ONCE, "the wait before settling" },
		{ SETTLES_TOO_EARLY, "half the wait before settling" },
		{ FORGETS_PINS, "CONSULT while pins remain" },
		{ BASE_NOT_KEPT, "CONSULT after a rollback" },
	};

	(void)state;
	for (size_t i = 0; i < sizeof(flaws) / sizeof(flaws[0]); i++) {
		uint32_t moved = 0;

		for (uint64_t seed = 1; seed <= 5; seed++) {
			sim_run(&sim, flaws[i].flaw, TCP, seed);
			moved += sim.moved;
		}
		print_message("             without %s: %u moved\n", flaws[i].name, moved);
		if (moved == 0)
			fail_msg("not missed: %s", flaws[i].name);
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(no_connection_moves_over_random_histories),
		cmocka_unit_test(full_tracking_moves_no_flow_either),
		cmocka_unit_test(a_udp_flow_without_full_tracking_would_move),
		cmocka_unit_test(leaving_out_any_part_of_the_rules_moves_connections),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
