/* SPDX-License-Identifier: GPL-2.0-only */
/* The rules of the pinned ring, slot by slot, and what a rebalance moves. */
#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include <zddlb/abi.h>

#include "../../agent/core/ring.h"
#include "random.h"

#define NSLOTS 1024
#define IDLE   1000
#define START  (100 * IDLE)
#define MOVING ZD_SLOT_MOVING
#define LEASED ZD_SLOT_LEASED
#define LOOK   ZD_SLOT_CONSULT
#define DEAD   9 /* backends 1..8 live */

static bool alive[ZD_MAX_BACKEND_IDS] = { [1] = true, [2] = true, [3] = true, [4] = true,
					  [5] = true, [6] = true, [7] = true, [8] = true };
static struct ring_world world = { .alive = alive, .now_ms = START };

static int make_ring(void **state)
{
	static struct ring r;

	world.now_ms = START;
	*state = &r;
	return ring_init(&r, NSLOTS);
}

static int free_ring(void **state)
{
	ring_fini(*state);
	return 0;
}

static void rings_have_a_power_of_two_of_slots(void **state)
{
	static const uint32_t bad[] = { 0, 3, 1000, 16383, 1u << 21, UINT32_MAX };
	struct ring r = { .nslots = 77 };

	(void)state;
	for (size_t i = 0; i < 6; i++)
		assert_int_equal(ring_init(&r, bad[i]), -EINVAL);
	assert_int_equal(r.nslots, 77);
}

static void assigning_follows_the_rule(void **state)
{
	static const struct {
		uint64_t before;
		uint16_t backend;
		bool leased;
		uint64_t after;
		bool restamped;
	} cases[] = {
		/* a slot that was never used has no pins */
		{ ZD_SLOT(0, 0, 0), 1, false, ZD_SLOT(1, 1, 0), true },
		{ ZD_SLOT(0, 0, 0), 1, true, ZD_SLOT(1, 1, 0), true },
		/* nothing if it is current */
		{ ZD_SLOT(1, 1, 0), 1, false, ZD_SLOT(1, 1, 0), false },
		{ ZD_SLOT(1, 2, MOVING), 1, false, ZD_SLOT(1, 2, MOVING), false },
		/* settled: base is the former current */
		{ ZD_SLOT(1, 1, 0), 2, false, ZD_SLOT(2, 1, MOVING), true },
		{ ZD_SLOT(1, 1, LOOK), 2, false, ZD_SLOT(2, 1, MOVING), true },
		/* moving: base stays */
		{ ZD_SLOT(2, 1, MOVING), 3, false, ZD_SLOT(3, 1, MOVING), true },
		/* home again: look only */
		{ ZD_SLOT(2, 1, MOVING), 1, false, ZD_SLOT(1, 1, LOOK), true },
		{ ZD_SLOT(2, 1, MOVING | LEASED), 1, false, ZD_SLOT(1, 1, LOOK), true },
		/* the former current is dead */
		{ ZD_SLOT(DEAD, DEAD, 0), 2, false, ZD_SLOT(2, 2, 0), true },
		{ ZD_SLOT(DEAD, DEAD, LOOK), 2, false, ZD_SLOT(2, 2, LOOK), true },
		{ ZD_SLOT(DEAD, 1, MOVING), 2, false, ZD_SLOT(2, 1, MOVING), true },
		/* base is dead: unpinned connections are lost, those of the current one are not */
		{ ZD_SLOT(1, DEAD, MOVING), 2, false, ZD_SLOT(2, 1, MOVING), true },
		{ ZD_SLOT(DEAD, DEAD, MOVING), 2, true, ZD_SLOT(2, 2, LOOK), true },
		/* a lease keeps the stable side as base */
		{ ZD_SLOT(1, 1, 0), 2, true, ZD_SLOT(2, 1, MOVING | LEASED), true },
		{ ZD_SLOT(3, 1, MOVING), 2, true, ZD_SLOT(2, 1, MOVING | LEASED), true },
		{ ZD_SLOT(1, DEAD, MOVING), 2, true, ZD_SLOT(2, 1, MOVING | LEASED), true },
		{ ZD_SLOT(DEAD, DEAD, LOOK), 2, true, ZD_SLOT(2, 2, LOOK), true },
		{ ZD_SLOT(3, 2, MOVING), 2, true, ZD_SLOT(2, 2, LOOK), true },
		/* a slot that stays gets a lease only with a base to fall back to */
		{ ZD_SLOT(2, 1, MOVING), 2, true, ZD_SLOT(2, 1, MOVING | LEASED), false },
		{ ZD_SLOT(2, 2, 0), 2, true, ZD_SLOT(2, 2, 0), false },
		{ ZD_SLOT(2, DEAD, MOVING), 2, true, ZD_SLOT(2, DEAD, MOVING), false },
		/* promotion: the lease goes, the rest stays until it settles */
		{ ZD_SLOT(2, 1, MOVING | LEASED), 2, false, ZD_SLOT(2, 1, MOVING), true },
	};
	struct ring *r = *state;

	for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
		r->slots[0] = cases[i].before;
		r->changed_ms[0] = 1;
		assert_int_equal(ring_assign(r, 0, cases[i].backend, cases[i].leased, &world),
				 cases[i].before != cases[i].after);
		assert_int_equal(r->slots[0], cases[i].after);
		assert_int_equal(r->changed_ms[0], cases[i].restamped ? world.now_ms : 1);
	}
}

/* Full tracking: every flow has its pin, so that base is the way back and no more. */
static void fully_tracked_slots_keep_all_three_flags(void **state)
{
	static const struct {
		uint64_t before;
		uint16_t backend;
		bool leased;
		uint64_t after;
	} cases[] = {
		{ ZD_SLOT(0, 0, 0), 1, false, ZD_SLOT(1, 1, MOVING) },
		{ ZD_SLOT(1, 1, MOVING), 2, false, ZD_SLOT(2, 1, MOVING) },
		{ ZD_SLOT(1, 1, MOVING), 2, true, ZD_SLOT(2, 1, MOVING | LEASED) },
		{ ZD_SLOT(2, 1, MOVING | LEASED), 1, false, ZD_SLOT(1, 1, MOVING) },
		{ ZD_SLOT(2, 1, MOVING | LEASED), 2, false, ZD_SLOT(2, 1, MOVING) },
		{ ZD_SLOT(DEAD, DEAD, MOVING), 2, true, ZD_SLOT(2, 2, MOVING) },
	};
	struct ring *r = *state;

	ring_track(r, true, &world);
	for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
		r->slots[0] = cases[i].before;
		assert_true(ring_assign(r, 0, cases[i].backend, cases[i].leased, &world));
		assert_int_equal(r->slots[0], cases[i].after);
	}
	r->slots[0] = ZD_SLOT(1, DEAD, MOVING);
	assert_int_equal(ring_bury(r, DEAD, 0, &world), 1);
	assert_int_equal(r->slots[0], ZD_SLOT(1, 1, MOVING));
}

static void settling_a_fully_tracked_slot_concerns_its_base_alone(void **state)
{
	static const uint64_t no_pins[NSLOTS / 64];
	struct ring *r = *state;

	ring_track(r, true, &world);
	ring_assign(r, 0, 1, false, &world);
	assert_int_equal(ring_unsettled(r), 0);
	ring_assign(r, 0, 2, false, &world);
	assert_int_equal(ring_unsettled(r), 1);
	world.now_ms += IDLE - 1;
	assert_int_equal(ring_settle(r, IDLE, no_pins, &world), 0);
	world.now_ms += 1;
	assert_int_equal(ring_settle(r, IDLE, no_pins, &world), 1);
	assert_int_equal(r->slots[0], ZD_SLOT(2, 2, MOVING));
	assert_int_equal(ring_unsettled(r), 0);
	world.now_ms += 10 * IDLE;
	assert_int_equal(ring_settle(r, IDLE, no_pins, &world), 0);
	assert_int_equal(r->slots[0], ZD_SLOT(2, 2, MOVING));
}

static void tracking_is_turned_on_at_once_and_off_by_settling(void **state)
{
	static const uint64_t no_pins[NSLOTS / 64];
	struct ring *r = *state;

	r->slots[0] = ZD_SLOT(1, 1, 0);
	r->slots[1] = ZD_SLOT(1, 1, LOOK);
	r->slots[2] = ZD_SLOT(2, 1, MOVING | LEASED);
	assert_int_equal(ring_track(r, true, &world), 2);
	assert_int_equal(r->slots[0], ZD_SLOT(1, 1, MOVING));
	assert_int_equal(r->slots[1], ZD_SLOT(1, 1, MOVING));
	assert_int_equal(r->slots[2], ZD_SLOT(2, 1, MOVING | LEASED));
	assert_int_equal(r->slots[3], ZD_SLOT(0, 0, 0));
	assert_int_equal(ring_track(r, true, &world), 0);

	r->slots[2] = ZD_SLOT(2, 1, MOVING);
	world.now_ms += 10 * IDLE;
	assert_int_equal(ring_track(r, false, &world), 0);
	assert_int_equal(ring_unsettled(r), 3);
	assert_int_equal(ring_settle(r, IDLE, no_pins, &world), 0);
	world.now_ms += IDLE;
	assert_int_equal(ring_settle(r, IDLE, no_pins, &world), 3);
	assert_int_equal(r->slots[2], ZD_SLOT(2, 2, LOOK));
	world.now_ms += IDLE;
	assert_int_equal(ring_settle(r, IDLE, no_pins, &world), 3);
	assert_int_equal(ring_unsettled(r), 0);
}

static void burying_follows_the_rule(void **state)
{
	static const struct {
		uint64_t before;
		uint16_t fallback;
		uint64_t after;
	} cases[] = {
		{ ZD_SLOT(1, DEAD, MOVING), 0, ZD_SLOT(1, 1, LOOK) },
		{ ZD_SLOT(1, 2, MOVING), 0, ZD_SLOT(1, 2, MOVING) },
		{ ZD_SLOT(1, 1, 0), 0, ZD_SLOT(1, 1, 0) },
		/* nobody could take its slots: they wait */
		{ ZD_SLOT(DEAD, DEAD, 0), 1, ZD_SLOT(DEAD, DEAD, 0) },
		/* a lease falls back to somebody alive, or ends */
		{ ZD_SLOT(1, DEAD, MOVING | LEASED), 2, ZD_SLOT(1, 2, MOVING | LEASED) },
		{ ZD_SLOT(1, DEAD, MOVING | LEASED), 1, ZD_SLOT(1, 1, LOOK) },
		{ ZD_SLOT(1, DEAD, MOVING | LEASED), 0, ZD_SLOT(1, 1, LOOK) },
		{ ZD_SLOT(1, DEAD, MOVING | LEASED), DEAD, ZD_SLOT(1, 1, LOOK) },
	};
	struct ring *r = *state;

	for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
		r->slots[0] = cases[i].before;
		r->changed_ms[0] = 1;
		assert_int_equal(ring_bury(r, DEAD, cases[i].fallback, &world),
				 cases[i].before != cases[i].after);
		assert_int_equal(r->slots[0], cases[i].after);
		assert_int_equal(r->changed_ms[0] == world.now_ms,
				 ZD_SLOT_BASE(cases[i].before) == DEAD && i != 3);
	}
}

static uint64_t settle_once(struct ring *r, uint64_t word, uint64_t age_ms, const uint64_t *pinned)
{
	uint32_t changed;

	r->slots[70] = word;
	r->changed_ms[70] = world.now_ms - age_ms;
	changed = ring_settle(r, IDLE, pinned, &world);
	assert_int_equal(changed, r->slots[70] != word);
	return r->slots[70];
}

static void a_slot_settles_exactly_one_idle_timeout_after_its_change(void **state)
{
	static const uint64_t none[NSLOTS / 64];
	uint64_t moving = ZD_SLOT(2, 1, MOVING);
	struct ring *r = *state;

	assert_int_equal(settle_once(r, moving, IDLE - 1, none), moving);
	assert_int_equal(settle_once(r, moving, IDLE, none), ZD_SLOT(2, 2, LOOK));
	assert_int_equal(r->changed_ms[70], world.now_ms);
}

static void only_a_sweep_begun_after_the_change_takes_consult_off(void **state)
{
	static const uint64_t none[NSLOTS / 64];
	struct ring *r = *state;

	settle_once(r, ZD_SLOT(2, 1, MOVING), IDLE, none);
	assert_int_equal(ring_settle(r, IDLE, none, &world), 0); /* by the same sweep */
	world.now_ms += 100;
	assert_int_equal(ring_settle(r, IDLE, none, &world), 1);
	assert_int_equal(r->slots[70], ZD_SLOT(2, 2, 0));
}

static void a_slot_is_consulted_while_it_has_pins(void **state)
{
	uint64_t pinned[NSLOTS / 64] = { 0 }, look = ZD_SLOT(2, 2, LOOK);

	pinned[1] = 1ULL << 6; /* slot 70 */
	assert_int_equal(settle_once(*state, look, IDLE, pinned), look);
	assert_int_equal(settle_once(*state, look, IDLE, NULL), look);
	pinned[1] = ~pinned[1];
	assert_int_equal(settle_once(*state, look, IDLE, pinned), ZD_SLOT(2, 2, 0));
}

static void leased_and_trial_slots_do_not_settle(void **state)
{
	static const uint64_t none[NSLOTS / 64];
	uint64_t leased = ZD_SLOT(2, 1, MOVING | LEASED);
	uint64_t trial = ZD_SLOT(2, 1, MOVING | ZD_SLOT_TRIAL);

	assert_int_equal(settle_once(*state, leased, 10 * IDLE, none), leased);
	assert_int_equal(settle_once(*state, trial, 10 * IDLE, none), trial);
}

static void a_slot_changed_during_the_sweep_waits_for_the_next(void **state)
{
	static const uint64_t none[NSLOTS / 64];
	struct ring *r = *state;

	r->slots[0] = ZD_SLOT(2, 1, MOVING);
	r->slots[1] = ZD_SLOT(2, 2, LOOK);
	r->changed_ms[0] = r->changed_ms[1] = world.now_ms + 1;
	assert_int_equal(ring_settle(r, IDLE, none, &world), 0);
	assert_int_equal(r->changed_ms[0], world.now_ms + 1);
}

static void unsettled_slots_are_counted(void **state)
{
	struct ring *r = *state;

	assert_int_equal(ring_unsettled(r), 0);
	r->slots[0] = ZD_SLOT(1, 1, LOOK);
	r->slots[NSLOTS - 1] = ZD_SLOT(1, 2, MOVING);
	assert_int_equal(ring_unsettled(r), 2);
}

static void fill(struct ring *r, uint16_t backend, uint32_t from, uint32_t to)
{
	for (uint32_t i = from; i < to; i++)
		r->slots[i] = ZD_SLOT(backend, backend, 0);
}

static void surplus_slots_go_home_first_then_those_in_transition(void **state)
{
	const struct share s[] = { { .backend = 1, .slots = NSLOTS - 24 },
				   { .backend = 3, .slots = 20 },
				   { .backend = 2, .slots = 4 } };
	struct ring *r = *state;

	fill(r, 1, 0, NSLOTS);
	for (uint32_t i = 1000; i < 1004; i++)
		r->slots[i] = ZD_SLOT(1, 2, MOVING);
	for (uint32_t i = 1010; i < 1020; i++)
		r->slots[i] = ZD_SLOT(1, 4, MOVING);

	assert_int_equal(ring_rebalance(r, s, 3, &world), 24);
	for (uint32_t i = 1000; i < 1004; i++)
		assert_int_equal(r->slots[i], ZD_SLOT(2, 2, LOOK));
	for (uint32_t i = 1010; i < 1020; i++)
		assert_int_equal(r->slots[i], ZD_SLOT(3, 4, MOVING));
	for (uint32_t i = 0; i < 10; i++)
		assert_int_equal(r->slots[i], ZD_SLOT(3, 1, MOVING));
}

static void a_canary_gets_slots_it_can_hold_by_lease(void **state)
{
	const struct share s[] = { { .backend = 1, .slots = NSLOTS - 100 },
				   { .backend = 2, .slots = 100, .leased = true } };
	struct ring *r = *state;

	fill(r, 1, 0, NSLOTS);
	for (uint32_t i = 0; i < 50; i++)
		r->slots[i] = ZD_SLOT(1, 2, MOVING); /* its own home: no fallback there */

	assert_int_equal(ring_rebalance(r, s, 2, &world), 100);
	for (uint32_t i = 0; i < NSLOTS; i++)
		if (ZD_SLOT_CURRENT(r->slots[i]) == 2)
			assert_int_equal(r->slots[i], ZD_SLOT(2, 1, MOVING | LEASED));
}

static void promotion_takes_the_lease_off_without_moving_a_slot(void **state)
{
	struct share s[] = { { .backend = 1, .slots = NSLOTS - 100 },
			     { .backend = 2, .slots = 100, .leased = true } };
	struct ring *r = *state;

	fill(r, 1, 0, NSLOTS);
	ring_rebalance(r, s, 2, &world);
	s[1].leased = false;
	world.now_ms += 7;
	assert_int_equal(ring_rebalance(r, s, 2, &world), 0);
	for (uint32_t i = 0; i < 100; i++) {
		assert_int_equal(r->slots[i], ZD_SLOT(2, 1, MOVING));
		assert_int_equal(r->changed_ms[i], world.now_ms);
	}
}

static void without_takers_every_slot_stays(void **state)
{
	const struct share s[] = { { .backend = 1 }, { .backend = 2 } };
	struct ring *r = *state;

	fill(r, 1, 0, NSLOTS);
	assert_int_equal(ring_rebalance(r, s, 2, &world), 0);
	assert_int_equal(r->slots[5], ZD_SLOT(1, 1, 0));
}

#define NBACKENDS 8

/* Random weights over three versions; backend 8 is a canary now and then. */
static size_t random_shares(struct share *s, uint64_t *seed)
{
	bool leased = random_below(seed, 2);
	uint32_t bp[3];

	for (int v = 0; v < 3; v++)
		bp[v] = random_below(seed, 4) ? random_below(seed, 10001) : 0;
	bp[0] += bp[0] + bp[1] + bp[2] == 0;
	for (uint16_t i = 0; i < NBACKENDS; i++)
		s[i] = (struct share){
			.backend = (uint16_t)(i + 1),
			.version = i % 3,
			.version_bp = bp[i % 3],
			.weight = random_below(seed, 5) ? 1 + random_below(seed, 10) : 0,
			.leased = leased && i == NBACKENDS - 1,
		};
	s[0].weight += bp[0] > 0;
	return NBACKENDS;
}

/* What the words of a ring must look like, whatever happened to it. */
static void assert_words_are_sound(const struct ring *r)
{
	for (uint32_t i = 0; i < r->nslots; i++) {
		uint16_t current = ZD_SLOT_CURRENT(r->slots[i]), base = ZD_SLOT_BASE(r->slots[i]);
		uint32_t flags = ZD_SLOT_FLAGS(r->slots[i]);

		assert_int_equal(r->slots[i] >> 48, 0);
		if (base != current)
			assert_int_equal(flags & ~(uint32_t)LEASED, MOVING);
		else
			assert_int_equal(flags & ~(uint32_t)LOOK, 0);
	}
}

static uint32_t least_movement(const struct ring *r, const struct share *s, size_t n)
{
	static uint32_t have[ZD_MAX_BACKEND_IDS];
	uint32_t moves = 0;

	memset(have, 0, sizeof(have));
	ring_count(r, have);
	for (size_t i = 0; i < n; i++)
		if (s[i].slots > have[s[i].backend])
			moves += s[i].slots - have[s[i].backend];
	return moves;
}

static uint32_t differences(const struct ring *r, const uint16_t *before)
{
	uint32_t n = 0;

	for (uint32_t i = 0; i < r->nslots; i++)
		n += ZD_SLOT_CURRENT(r->slots[i]) != before[i];
	return n;
}

static void rebalance_and_check(struct ring *r, uint64_t *seed)
{
	struct share s[NBACKENDS];
	uint16_t before[NSLOTS];
	size_t n = random_shares(s, seed);
	uint32_t least;

	world.now_ms += random_below(seed, IDLE);
	if (ring_quota(s, n, NSLOTS) == 0)
		return;
	least = least_movement(r, s, n);
	ring_snapshot(r, before);

	assert_int_equal(ring_rebalance(r, s, n, &world), least);
	assert_int_equal(differences(r, before), least);
	assert_int_equal(least_movement(r, s, n), 0);
	assert_words_are_sound(r);
	for (uint32_t i = 0; i < NSLOTS; i++)
		if (ZD_SLOT_CURRENT(r->slots[i]) != before[i])
			assert_int_equal(r->changed_ms[i], world.now_ms);
	if (random_below(seed, 3) == 0)
		ring_settle(r, IDLE, NULL, &world);
}

static void a_change_moves_as_many_slots_as_the_quotas_differ_by(void **state)
{
	struct ring *r = *state;
	uint64_t seed = 3;

	for (int round = 0; round < 3000; round++)
		rebalance_and_check(r, &seed);
}

static void a_rollback_restores_the_ring_bit_for_bit(void **state)
{
	struct ring *r = *state;
	uint16_t before[NSLOTS];
	uint64_t seed = 4;

	rebalance_and_check(r, &seed);
	for (int round = 0; round < 500; round++) {
		uint32_t moved, steps = 1 + random_below(&seed, 5);

		ring_snapshot(r, before);
		for (uint32_t i = 0; i < steps; i++)
			rebalance_and_check(r, &seed);
		moved = differences(r, before);
		assert_int_equal(ring_restore(r, before, &world), moved);
		assert_int_equal(differences(r, before), 0);
		assert_words_are_sound(r);
		for (uint32_t i = 0; i < NSLOTS; i++)
			assert_false(ZD_SLOT_FLAGS(r->slots[i]) & LEASED);
	}
}

static void a_rollback_leaves_slots_of_the_dead_to_the_rebalance(void **state)
{
	struct ring *r = *state;
	uint16_t before[NSLOTS];

	fill(r, 1, 0, NSLOTS);
	ring_snapshot(r, before);
	before[0] = DEAD;
	before[1] = ZD_NO_BACKEND;
	before[2] = 2;
	assert_int_equal(ring_restore(r, before, &world), 1);
	assert_int_equal(r->slots[0], ZD_SLOT(1, 1, 0));
	assert_int_equal(r->slots[1], ZD_SLOT(1, 1, 0));
	assert_int_equal(r->slots[2], ZD_SLOT(2, 1, MOVING));
}

static void the_same_input_makes_the_same_ring(void **state)
{
	struct ring *r = *state, twin;
	uint64_t seed = 5, twin_seed = 5;

	assert_int_equal(ring_init(&twin, NSLOTS), 0);
	for (int round = 0; round < 50; round++)
		rebalance_and_check(r, &seed);
	world.now_ms = START;
	for (int round = 0; round < 50; round++)
		rebalance_and_check(&twin, &twin_seed);
	assert_memory_equal(r->slots, twin.slots, NSLOTS * sizeof(*twin.slots));
	ring_fini(&twin);
}

#define ring_test(f) cmocka_unit_test_setup_teardown(f, make_ring, free_ring)

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(rings_have_a_power_of_two_of_slots),
		ring_test(assigning_follows_the_rule),
		ring_test(fully_tracked_slots_keep_all_three_flags),
		ring_test(settling_a_fully_tracked_slot_concerns_its_base_alone),
		ring_test(tracking_is_turned_on_at_once_and_off_by_settling),
		ring_test(burying_follows_the_rule),
		ring_test(a_slot_settles_exactly_one_idle_timeout_after_its_change),
		ring_test(only_a_sweep_begun_after_the_change_takes_consult_off),
		ring_test(a_slot_is_consulted_while_it_has_pins),
		ring_test(leased_and_trial_slots_do_not_settle),
		ring_test(a_slot_changed_during_the_sweep_waits_for_the_next),
		ring_test(unsettled_slots_are_counted),
		ring_test(surplus_slots_go_home_first_then_those_in_transition),
		ring_test(a_canary_gets_slots_it_can_hold_by_lease),
		ring_test(promotion_takes_the_lease_off_without_moving_a_slot),
		ring_test(without_takers_every_slot_stays),
		ring_test(a_change_moves_as_many_slots_as_the_quotas_differ_by),
		ring_test(a_rollback_restores_the_ring_bit_for_bit),
		ring_test(a_rollback_leaves_slots_of_the_dead_to_the_rebalance),
		ring_test(the_same_input_makes_the_same_ring),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
