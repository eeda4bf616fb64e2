/* SPDX-License-Identifier: GPL-2.0-only */
/* Rise, fall, absence and the choice of interval, at every boundary. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include <cmocka.h>

#include "../../agent/core/health.h"
#include "../../agent/core/model.h"

#define FAST 500
#define NORM 2000
#define DOWN 5000

static const struct health_check check = {
	.type = CHECK_HTTP,
	.interval_ms = NORM,
	.fast_interval_ms = FAST,
	.down_interval_ms = DOWN,
	.healthy_threshold = 2,
	.unhealthy_threshold = 3,
};

/* One letter an outcome. */
static enum check_outcome outcome_of(char letter)
{
	switch (letter) {
	case '+':
		return CHECK_OK;
	case 'r':
		return CHECK_CONNECT_REFUSED;
	case 't':
		return CHECK_CONNECT_TIMEOUT;
	case 'u':
		return CHECK_UNREACHABLE;
	case 's':
		return CHECK_STATUS;
	case 'x':
		return CHECK_RESET;
	case 'i':
		return CHECK_INTERNAL;
	default:
		fail_msg("no outcome: %c", letter);
		return CHECK_OK;
	}
}

/* random 200 is the middle of the jitter of NORM, 50 of FAST, 500 of DOWN. */
static uint32_t middle_of(uint32_t interval)
{
	return interval / 10;
}

static bool record(struct health *h, char letter, uint64_t at_ms, uint32_t random)
{
	struct check_result r = { .outcome = outcome_of(letter), .at_ms = at_ms };

	return health_record(h, &check, &r, random);
}

struct history {
	const char *outcomes;
	enum health_state state;
	bool absent;
	bool last_changed;
	uint32_t interval;
};

static void run(const struct history *c)
{
	size_t n = strlen(c->outcomes);
	bool changed = false;
	struct health h;

	health_init(&h, &check, 0, 0);
	for (size_t i = 0; i < n; i++)
		changed = record(&h, c->outcomes[i], 1000 * (i + 1), middle_of(c->interval));

	if (h.state != c->state || h.absent != c->absent || changed != c->last_changed ||
	    h.next_ms != 1000 * n + c->interval)
		fail_msg("after \"%s\": %s, absent %d, changed %d, next in %d", c->outcomes,
			 health_state_name(h.state), h.absent, changed,
			 (int)(h.next_ms - 1000 * n));
}

static void the_first_answer_decides_at_the_start(void **state)
{
	static const struct history cases[] = {
		{ "+", HEALTH_HEALTHY, false, true, NORM },
		{ "s", HEALTH_UNHEALTHY, false, true, DOWN },
		{ "r", HEALTH_UNHEALTHY, false, true, FAST },
		{ "i", HEALTH_UNKNOWN, false, false, FAST },
		{ "ii+", HEALTH_HEALTHY, false, true, NORM },
	};

	(void)state;
	for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++)
		run(&cases[i]);
}

static void only_consecutive_failures_make_it_fall(void **state)
{
	static const struct history cases[] = {
		{ "+s", HEALTH_HEALTHY, false, false, FAST },
		{ "+ss", HEALTH_HEALTHY, false, false, FAST },
		{ "+sss", HEALTH_UNHEALTHY, false, true, DOWN },
		{ "+ss+", HEALTH_HEALTHY, false, false, NORM },
		{ "+ss+ss", HEALTH_HEALTHY, false, false, FAST },
		{ "+ss+sss", HEALTH_UNHEALTHY, false, true, DOWN },
		{ "+ssss", HEALTH_UNHEALTHY, false, false, DOWN },
		{ "+sxr", HEALTH_UNHEALTHY, false, true, FAST },
	};

	(void)state;
	for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++)
		run(&cases[i]);
}

static void only_consecutive_successes_make_it_rise(void **state)
{
	static const struct history cases[] = {
		{ "s+", HEALTH_UNHEALTHY, false, false, FAST },
		{ "s++", HEALTH_HEALTHY, false, true, NORM },
		{ "s+s", HEALTH_UNHEALTHY, false, false, DOWN },
		{ "s+s+", HEALTH_UNHEALTHY, false, false, FAST },
		{ "s+s++", HEALTH_HEALTHY, false, true, NORM },
		{ "+sss+", HEALTH_UNHEALTHY, false, false, FAST },
		{ "+sss++", HEALTH_HEALTHY, false, true, NORM },
	};

	(void)state;
	for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++)
		run(&cases[i]);
}

static void it_is_absent_when_nobody_was_there_as_often_as_it_takes_to_fall(void **state)
{
	static const struct history cases[] = {
		{ "+rr", HEALTH_HEALTHY, false, false, FAST },
		{ "+rrr", HEALTH_UNHEALTHY, true, true, DOWN },
		{ "+rtu", HEALTH_UNHEALTHY, true, true, DOWN },
		{ "rrr", HEALTH_UNHEALTHY, true, true, DOWN },
		/* a lost SYN costs no connections */
		{ "+sst", HEALTH_UNHEALTHY, false, true, FAST },
		{ "+ssstt", HEALTH_UNHEALTHY, false, false, FAST },
		{ "+sssttt", HEALTH_UNHEALTHY, true, true, DOWN },
		{ "+ssstst", HEALTH_UNHEALTHY, false, false, FAST },
		/* somebody is there again */
		{ "+rrrs", HEALTH_UNHEALTHY, false, true, DOWN },
		{ "+rrr+", HEALTH_UNHEALTHY, false, true, FAST },
		{ "+rrr++", HEALTH_HEALTHY, false, true, NORM },
	};

	(void)state;
	for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++)
		run(&cases[i]);
}

static void an_internal_error_counts_for_neither_side(void **state)
{
	static const struct history cases[] = {
		{ "+ssi", HEALTH_HEALTHY, false, false, FAST },
		{ "+ssis", HEALTH_UNHEALTHY, false, true, DOWN },
		{ "s+i+", HEALTH_HEALTHY, false, true, NORM },
		{ "+rrir", HEALTH_UNHEALTHY, true, true, DOWN },
		{ "+rrri", HEALTH_UNHEALTHY, true, false, DOWN },
		{ "+iiii", HEALTH_HEALTHY, false, false, NORM },
	};

	(void)state;
	for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++)
		run(&cases[i]);
}

static void the_first_check_is_spread_over_the_fast_interval(void **state)
{
	struct health h;

	(void)state;
	for (uint32_t random = 0; random < 3 * FAST; random++) {
		health_init(&h, &check, 7000, random);
		assert_in_range(h.next_ms, 7000, 7000 + FAST);
		assert_int_equal(h.state, HEALTH_UNKNOWN);
		assert_int_equal(h.since_ms, 7000);
	}
}

static void intervals_jitter_by_a_tenth_both_ways(void **state)
{
	uint64_t least = UINT64_MAX, most = 0;
	struct health h;

	(void)state;
	health_init(&h, &check, 0, 0);
	for (uint32_t random = 0; random < NORM; random++) {
		record(&h, '+', 1000, random);
		least = h.next_ms < least ? h.next_ms : least;
		most = h.next_ms > most ? h.next_ms : most;
	}
	assert_int_equal(least, 1000 + NORM - NORM / 10);
	assert_int_equal(most, 1000 + NORM + NORM / 10);
}

static void a_state_is_dated_from_the_check_that_made_it(void **state)
{
	struct health h;

	(void)state;
	health_init(&h, &check, 50, 0);
	record(&h, '+', 100, 0);
	record(&h, '+', 200, 0);
	assert_int_equal(h.since_ms, 100);
	for (uint64_t at_ms = 300; at_ms <= 600; at_ms += 100)
		record(&h, 'r', at_ms, 0);
	assert_int_equal(h.since_ms, 500);
	assert_int_equal(h.checks, 6);
	assert_int_equal(h.failures, 4);
	assert_int_equal(h.last.outcome, CHECK_CONNECT_REFUSED);
	assert_int_equal(h.last.at_ms, 600);
}

static void without_a_check_it_is_healthy_at_once(void **state)
{
	const struct health_check none = { .type = CHECK_NONE };
	struct health h;

	(void)state;
	health_init(&h, &none, 50, 12345);
	assert_int_equal(h.state, HEALTH_HEALTHY);
	assert_true(h.next_ms == UINT64_MAX);
}

static void every_outcome_and_state_has_a_name(void **state)
{
	(void)state;
	for (enum check_outcome o = CHECK_OK; o <= CHECK_INTERNAL; o++)
		assert_string_not_equal(check_outcome_name(o), "?");
	for (enum health_state s = HEALTH_UNKNOWN; s <= HEALTH_UNHEALTHY; s++)
		assert_string_not_equal(health_state_name(s), "?");
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(the_first_answer_decides_at_the_start),
		cmocka_unit_test(only_consecutive_failures_make_it_fall),
		cmocka_unit_test(only_consecutive_successes_make_it_rise),
		cmocka_unit_test(it_is_absent_when_nobody_was_there_as_often_as_it_takes_to_fall),
		cmocka_unit_test(an_internal_error_counts_for_neither_side),
		cmocka_unit_test(the_first_check_is_spread_over_the_fast_interval),
		cmocka_unit_test(intervals_jitter_by_a_tenth_both_ways),
		cmocka_unit_test(a_state_is_dated_from_the_check_that_made_it),
		cmocka_unit_test(without_a_check_it_is_healthy_at_once),
		cmocka_unit_test(every_outcome_and_state_has_a_name),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
