/* SPDX-License-Identifier: GPL-2.0-only */
/* Who may take new connections, and whose connections stay. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "../../agent/core/select.h"

#define UNKNOWN   HEALTH_UNKNOWN
#define HEALTHY   HEALTH_HEALTHY
#define UNHEALTHY HEALTH_UNHEALTHY
#define PANIC     50

static struct candidate make(enum admin_state admin, enum health_state health, bool absent)
{
	return (struct candidate){
		.admin = admin,
		.health = health,
		.proven = health != HEALTH_UNKNOWN,
		.absent = absent,
		.version_bp = 10000,
		.weight = 7,
	};
}

static struct candidate active(enum health_state health, bool absent)
{
	return make(ADMIN_ACTIVE, health, absent);
}

static void each_state_has_its_say(void **state)
{
	static const struct {
		enum admin_state admin;
		enum health_state health;
		bool absent, selected, alive;
	} cases[] = {
		{ ADMIN_ACTIVE, HEALTHY, false, true, true },
		{ ADMIN_ACTIVE, UNHEALTHY, false, false, true },
		{ ADMIN_ACTIVE, UNHEALTHY, true, false, false },
		{ ADMIN_ACTIVE, UNKNOWN, false, false, true },
		{ ADMIN_DRAINING, HEALTHY, false, false, true },
		{ ADMIN_DRAINING, UNHEALTHY, false, false, true },
		{ ADMIN_DRAINING, UNHEALTHY, true, false, false },
		{ ADMIN_DRAINING, UNKNOWN, false, false, true },
		{ ADMIN_MAINTENANCE, HEALTHY, false, false, true },
		{ ADMIN_MAINTENANCE, UNHEALTHY, false, false, true },
		{ ADMIN_MAINTENANCE, UNHEALTHY, true, false, false },
	};

	(void)state;
	for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
		/* healthy neighbours keep panic away */
		struct candidate c[] = {
			make(cases[i].admin, cases[i].health, cases[i].absent),
			active(HEALTHY, false),
			active(HEALTHY, false),
		};

		assert_false(select_candidates(c, 3, PANIC));
		assert_int_equal(c[0].effective, cases[i].selected ? 7 : 0);
		assert_int_equal(c[0].alive, cases[i].alive);
		assert_non_null(c[0].why);
		assert_int_equal(c[1].effective, 7);
	}
}

static void without_weight_nothing_is_selected_but_connections_stay(void **state)
{
	struct candidate c[] = { active(HEALTHY, false), active(HEALTHY, false) };

	(void)state;
	c[0].weight = 0;
	c[1].version_bp = 0;
	assert_false(select_candidates(c, 2, PANIC));
	for (size_t i = 0; i < 2; i++) {
		assert_int_equal(c[i].effective, 0);
		assert_true(c[i].alive);
	}
	assert_string_equal(c[0].why, "weight 0");
	assert_string_equal(c[1].why, "its version has weight 0");
}

/* `healthy` of `known` backends, and whether that is panic. */
static void panic_begins_below_the_threshold_and_not_at_it(void **state)
{
	static const struct {
		uint32_t healthy, known, pct;
		bool panic;
	} cases[] = {
		{ 5, 10, 50, false }, { 4, 10, 50, true },    { 0, 10, 50, true },
		{ 1, 2, 50, false },  { 0, 1, 50, true },     { 0, 10, 0, false },
		{ 9, 10, 100, true }, { 10, 10, 100, false }, { 0, 0, 50, false },
		{ 1, 3, 33, false },  { 1, 3, 34, true },
	};

	(void)state;
	for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
		struct candidate c[10];

		for (uint32_t j = 0; j < cases[i].known; j++)
			c[j] = active(j < cases[i].healthy ? HEALTHY : UNHEALTHY, false);
		assert_int_equal(select_candidates(c, cases[i].known, cases[i].pct),
				 cases[i].panic);
		for (uint32_t j = 0; j < cases[i].known; j++)
			assert_int_equal(c[j].effective,
					 j < cases[i].healthy || cases[i].panic ? 7 : 0);
	}
}

static void panic_ignores_health_but_never_the_admin_state_or_the_unknown(void **state)
{
	struct candidate c[] = {
		active(UNHEALTHY, true),
		active(UNHEALTHY, false),
		make(ADMIN_DRAINING, HEALTHY, false),
		make(ADMIN_MAINTENANCE, UNHEALTHY, true),
		active(UNKNOWN, false),
	};

	(void)state;
	assert_true(select_candidates(c, 5, PANIC));
	assert_int_equal(c[0].effective, 7);
	assert_int_equal(c[1].effective, 7);
	for (size_t i = 2; i < 5; i++)
		assert_int_equal(c[i].effective, 0);
	for (size_t i = 0; i < 5; i++)
		assert_true(c[i].alive);
}

static void who_was_never_healthy_is_neither_counted_nor_selected_in_panic(void **state)
{
	struct candidate c[12];

	(void)state;
	for (size_t i = 0; i < 12; i++) {
		c[i] = active(i < 2 ? HEALTHY : UNHEALTHY, i >= 2);
		c[i].proven = i < 2;
	}
	assert_false(select_candidates(c, 12, PANIC));
	c[0].health = c[1].health = UNHEALTHY;
	assert_true(select_candidates(c, 12, PANIC));
	for (size_t i = 0; i < 12; i++) {
		assert_int_equal(c[i].effective, i < 2 ? 7 : 0);
		assert_int_equal(c[i].alive, i < 2);
	}
}

static void backends_that_could_not_be_selected_do_not_count_towards_panic(void **state)
{
	struct candidate c[] = {
		active(HEALTHY, false),
		active(UNKNOWN, false),
		active(UNKNOWN, false),
		make(ADMIN_DRAINING, UNHEALTHY, false),
		make(ADMIN_MAINTENANCE, UNHEALTHY, true),
		active(UNHEALTHY, false),
		active(UNHEALTHY, true),
	};

	(void)state;
	c[5].weight = 0;
	c[6].version_bp = 0;
	assert_false(select_candidates(c, 7, PANIC));
	assert_int_equal(c[0].effective, 7);
	assert_false(c[6].alive);
}

static void at_the_start_nothing_is_known_and_nothing_is_selected(void **state)
{
	struct candidate c[] = { active(UNKNOWN, false), active(UNKNOWN, false) };

	(void)state;
	assert_false(select_candidates(c, 2, PANIC));
	assert_int_equal(c[0].effective + c[1].effective, 0);
	assert_true(c[0].alive && c[1].alive);
}

static void admin_states_are_read_as_they_are_written(void **state)
{
	enum admin_state read = ADMIN_MAINTENANCE;

	(void)state;
	for (enum admin_state s = ADMIN_ACTIVE; s <= ADMIN_MAINTENANCE; s++) {
		assert_true(admin_state_parse(&read, admin_state_name(s)));
		assert_int_equal(read, s);
	}
	assert_false(admin_state_parse(&read, "Active"));
	assert_int_equal(read, ADMIN_MAINTENANCE);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(each_state_has_its_say),
		cmocka_unit_test(without_weight_nothing_is_selected_but_connections_stay),
		cmocka_unit_test(panic_begins_below_the_threshold_and_not_at_it),
		cmocka_unit_test(panic_ignores_health_but_never_the_admin_state_or_the_unknown),
		cmocka_unit_test(who_was_never_healthy_is_neither_counted_nor_selected_in_panic),
		cmocka_unit_test(backends_that_could_not_be_selected_do_not_count_towards_panic),
		cmocka_unit_test(at_the_start_nothing_is_known_and_nothing_is_selected),
		cmocka_unit_test(admin_states_are_read_as_they_are_written),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
