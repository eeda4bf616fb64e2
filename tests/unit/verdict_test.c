/* SPDX-License-Identifier: GPL-2.0-only */
/* The sequential test on failed connections: fast on the bad, patient with the good. */
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <setjmp.h>
#include <cmocka.h>

#include "../../agent/core/verdict.h"

/* xorshift64*: the runs are the same on every machine. */
static uint64_t seed = 88172645463325252ULL;

static double uniform(void)
{
	seed ^= seed >> 12;
	seed ^= seed << 25;
	seed ^= seed >> 27;
	return (double)((seed * 2685821657736338717ULL) >> 11) / 9007199254740992.0;
}

static uint64_t failures(uint64_t n, double rate)
{
	uint64_t k = 0;

	for (uint64_t i = 0; i < n; i++)
		k += uniform() < rate;
	return k;
}

static void look(struct verdict *v, uint64_t cn, uint64_t cf, uint64_t sn, uint64_t sf)
{
	struct verdict_look l = { cn, cf, sn, sf };

	verdict_look(v, &l);
}

static void nothing_seen_is_inconclusive(void **state)
{
	struct verdict v;

	(void)state;
	verdict_init(&v, 0.05, 0.01, 100);
	assert_int_equal(verdict_result(&v), VERDICT_INCONCLUSIVE);
	for (int i = 0; i < 1000; i++)
		look(&v, 0, 0, 200, 2);
	assert_int_equal(verdict_result(&v), VERDICT_INCONCLUSIVE);
}

static void two_failures_of_two_condemn_when_stable_is_known_to_be_good(void **state)
{
	struct verdict v;

	(void)state;
	verdict_init(&v, 0.05, 0.01, 100);
	look(&v, 0, 0, 500, 0);
	look(&v, 1, 1, 20, 0);
	assert_int_equal(verdict_result(&v), VERDICT_INCONCLUSIVE);
	look(&v, 1, 1, 20, 0);
	assert_int_equal(verdict_result(&v), VERDICT_FAIL);
}

static void a_failing_stable_version_excuses_the_canary(void **state)
{
	struct verdict v;

	(void)state;
	verdict_init(&v, 0.05, 0.01, 100);
	for (int i = 0; i < 20; i++)
		look(&v, 10, 5, 100, 50);
	assert_int_not_equal(verdict_result(&v), VERDICT_FAIL);
}

static void without_a_control_arm_a_lone_failure_proves_nothing(void **state)
{
	struct verdict v;

	(void)state;
	verdict_init(&v, 0.05, 0.01, 100);
	look(&v, 3, 3, 0, 0);
	assert_int_equal(verdict_result(&v), VERDICT_INCONCLUSIVE);
}

static void a_healthy_canary_passes_after_min_samples(void **state)
{
	struct verdict v;

	(void)state;
	verdict_init(&v, 0.05, 0.01, 100);
	look(&v, 99, 0, 900, 0);
	assert_int_equal(verdict_result(&v), VERDICT_INCONCLUSIVE);
	look(&v, 1, 0, 10, 0);
	assert_int_equal(verdict_result(&v), VERDICT_PASS);
}

static void failures_seen_later_than_their_connections_do_not_break_the_sum(void **state)
{
	struct verdict v;

	(void)state;
	verdict_init(&v, 0.05, 0.01, 100);
	look(&v, 0, 5, 10, 20);
	assert_true(v.canary_failed <= v.canary_n);
	assert_true(v.stable_failed <= v.stable_n);
}

/* Ville's bound: looked at after every connection, over 2000 rollouts. */
static void a_healthy_canary_is_condemned_in_fewer_than_alpha_of_rollouts(void **state)
{
	int false_alarms = 0;

	(void)state;
	for (int run = 0; run < 2000; run++) {
		struct verdict v;

		verdict_init(&v, 0.05, 0.01, 100);
		for (int i = 0; i < 300; i++)
			look(&v, 2, failures(2, 0.01), 18, failures(18, 0.01));
		false_alarms += verdict_result(&v) == VERDICT_FAIL;
	}
	assert_true(false_alarms <= 100);
}

static void a_regression_from_1_to_10_percent_is_found(void **state)
{
	int found = 0;

	(void)state;
	for (int run = 0; run < 500; run++) {
		struct verdict v;

		verdict_init(&v, 0.05, 0.01, 100);
		for (int i = 0; i < 100 && verdict_result(&v) != VERDICT_FAIL; i++)
			look(&v, 10, failures(10, 0.10), 90, failures(90, 0.01));
		found += verdict_result(&v) == VERDICT_FAIL;
	}
	assert_true(found >= 495);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(nothing_seen_is_inconclusive),
		cmocka_unit_test(two_failures_of_two_condemn_when_stable_is_known_to_be_good),
		cmocka_unit_test(a_failing_stable_version_excuses_the_canary),
		cmocka_unit_test(without_a_control_arm_a_lone_failure_proves_nothing),
		cmocka_unit_test(a_healthy_canary_passes_after_min_samples),
		cmocka_unit_test(failures_seen_later_than_their_connections_do_not_break_the_sum),
		cmocka_unit_test(a_healthy_canary_is_condemned_in_fewer_than_alpha_of_rollouts),
		cmocka_unit_test(a_regression_from_1_to_10_percent_is_found),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
