/* SPDX-License-Identifier: GPL-2.0-only */
/* When a drain ends, and when it is thought to. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "../../agent/core/drain.h"

#define START   1000
#define TIMEOUT 30000
#define IDLE    10000
#define SETTLED (START + IDLE)
#define LATE    (START + TIMEOUT)

static struct drain begin(uint32_t timeout_ms, uint64_t idle_ms)
{
	struct drain d;

	drain_begin(&d, START, timeout_ms, idle_ms);
	return d;
}

static void a_count_of_zero_is_believed_once_idle_connections_had_to_show(void **state)
{
	struct drain d = begin(TIMEOUT, IDLE);

	(void)state;
	assert_int_equal(d.state, DRAIN_RUNNING);
	assert_false(drain_count(&d, SETTLED - 1, 0));
	assert_int_equal(d.state, DRAIN_RUNNING);
	assert_true(drain_count(&d, SETTLED, 0));
	assert_int_equal(d.state, DRAIN_COMPLETED);
	assert_false(drain_count(&d, SETTLED + 1, 5));
	assert_int_equal(d.state, DRAIN_COMPLETED);
}

static void the_deadline_ends_the_wait_for_idle_connections(void **state)
{
	struct drain d = begin(TIMEOUT, 900000);

	(void)state;
	assert_false(drain_count(&d, LATE - 1, 0));
	assert_true(drain_count(&d, LATE, 0));
	assert_int_equal(d.state, DRAIN_COMPLETED);
}

static void what_remains_at_the_deadline_is_a_timeout_that_may_still_complete(void **state)
{
	struct drain d = begin(TIMEOUT, IDLE);

	(void)state;
	assert_false(drain_count(&d, LATE - 1, 3));
	assert_true(drain_count(&d, LATE, 3));
	assert_int_equal(d.state, DRAIN_TIMEOUT);
	assert_false(drain_count(&d, LATE + 1, 2));
	assert_int_equal(d.remaining, 2);
	assert_true(drain_count(&d, LATE + 2, 0));
	assert_int_equal(d.state, DRAIN_COMPLETED);
}

static void only_a_drain_that_still_counts_can_be_cancelled(void **state)
{
	struct drain none = { 0 }, running = begin(TIMEOUT, IDLE), late = running, done = running;

	(void)state;
	drain_count(&late, LATE, 1);
	drain_count(&done, LATE, 0);
	drain_cancel(&none, LATE);
	drain_cancel(&running, LATE);
	drain_cancel(&late, LATE);
	drain_cancel(&done, LATE);
	assert_int_equal(none.state, DRAIN_NONE);
	assert_int_equal(running.state, DRAIN_CANCELLED);
	assert_int_equal(late.state, DRAIN_CANCELLED);
	assert_int_equal(done.state, DRAIN_COMPLETED);
	assert_false(drain_count(&running, LATE, 0));
	assert_int_equal(running.state, DRAIN_CANCELLED);
}

static void beginning_again_forgets_the_drain_before(void **state)
{
	struct drain d = begin(TIMEOUT, IDLE);

	(void)state;
	drain_count(&d, LATE, 5);
	drain_begin(&d, LATE, TIMEOUT, IDLE);
	assert_int_equal(d.state, DRAIN_RUNNING);
	assert_int_equal(d.counted_ms, 0);
	assert_int_equal(d.deadline_ms, LATE + TIMEOUT);
}

static void the_end_is_estimated_from_the_rate_since_the_peak(void **state)
{
	struct drain d = begin(600000, 1000);

	(void)state;
	assert_true(drain_eta_ms(&d, START) == UINT64_MAX);
	drain_count(&d, 10000, 50); /* still becoming pins */
	assert_true(drain_eta_ms(&d, 10000) == UINT64_MAX);
	drain_count(&d, 20000, 100);
	assert_true(drain_eta_ms(&d, 20000) == UINT64_MAX);
	drain_count(&d, 30000, 75); /* 25 in 10 s: 30 s more */
	assert_int_equal(drain_eta_ms(&d, 30000), 30000);
	assert_int_equal(drain_eta_ms(&d, 35000), 25000);
	assert_int_equal(drain_eta_ms(&d, 99000), 0);
}

static void the_end_is_not_before_a_zero_can_be_believed(void **state)
{
	struct drain d = begin(TIMEOUT, IDLE);

	(void)state;
	drain_count(&d, START + 1000, 100);
	drain_count(&d, START + 2000, 1);
	assert_int_equal(drain_eta_ms(&d, START + 2000), SETTLED - START - 2000);
	drain_count(&d, START + 3000, 0);
	assert_int_equal(drain_eta_ms(&d, START + 3000), SETTLED - START - 3000);
	drain_count(&d, SETTLED, 0);
	assert_int_equal(drain_eta_ms(&d, SETTLED), 0);
}

static void every_state_has_a_name(void **state)
{
	(void)state;
	for (enum drain_state s = DRAIN_NONE; s <= DRAIN_CANCELLED; s++)
		assert_string_not_equal(drain_state_name(s), "?");
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(a_count_of_zero_is_believed_once_idle_connections_had_to_show),
		cmocka_unit_test(the_deadline_ends_the_wait_for_idle_connections),
		cmocka_unit_test(what_remains_at_the_deadline_is_a_timeout_that_may_still_complete),
		cmocka_unit_test(only_a_drain_that_still_counts_can_be_cancelled),
		cmocka_unit_test(beginning_again_forgets_the_drain_before),
		cmocka_unit_test(the_end_is_estimated_from_the_rate_since_the_peak),
		cmocka_unit_test(the_end_is_not_before_a_zero_can_be_believed),
		cmocka_unit_test(every_state_has_a_name),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
