/* SPDX-License-Identifier: GPL-2.0-only */
/* The deployment machine: steps in order, verdicts obeyed, words of the operator understood. */
#include <errno.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <setjmp.h>
#include <cmocka.h>
#include <string.h>

#include "../../agent/core/deploy.h"

static struct strategy canary(void)
{
	struct strategy s = {
		.name = "test",
		.steps = { { 100, 1000 }, { 1000, 1000 }, { 5000, 2000 }, { 10000, 3000 } },
		.nsteps = 4,
		.analysis = { .interval_ms = 100,
			      .alpha = 0.05,
			      .min_samples = 10,
			      .max_increase = 0.01,
			      .on_failure = ON_FAILURE_ROLLBACK },
		.lease_ms = 15000,
		.progress_deadline_ms = 60000,
	};

	return s;
}

static struct deploy started(const struct strategy *s)
{
	struct deploy d;

	assert_int_equal(deploy_init(&d, 7, "auth", "v1", "v2", s, 0, NULL), 0);
	return d;
}

/* All backends healthy, `n` connections a side of which `failed` of the canary's failed. */
static struct deploy_decision at(struct deploy *d, uint64_t now_ms, uint64_t n, uint64_t failed)
{
	struct deploy_facts f = {
		.now_ms = now_ms,
		.healthy = 2,
		.backends = 2,
		.look = { .canary_n = n, .canary_failed = failed, .stable_n = 10 * n },
	};

	return deploy_step(d, &f);
}

static struct deploy rolling(const struct strategy *s)
{
	struct deploy d = started(s);

	assert_int_equal(at(&d, 0, 0, 0).action, DEPLOY_SET_WEIGHT);
	return d;
}

/* No handshake is seen in UDP, nor where replies do not come back this way. */
static void without_eyes_every_step_waits_for_the_operator(void **state)
{
	struct deploy_facts f = {
		.healthy = 2, .backends = 2, .blind = "it is dark", .look = { .stable_n = 1000 }
	};
	struct strategy s = canary();
	struct deploy d = started(&s);

	(void)state;
	assert_int_equal(deploy_step(&d, &f).action, DEPLOY_SET_WEIGHT);
	assert_non_null(strstr(d.reason, "healthy; no step is judged, since it is dark"));
	for (uint32_t step = 0; step < s.nsteps; step++) {
		struct deploy_decision dec;

		assert_int_equal(d.step, step);
		f.now_ms += s.steps[step].pause_ms;
		assert_int_equal(deploy_step(&d, &f).action, DEPLOY_HOLD);
		assert_true(d.paused);
		assert_non_null(strstr(d.reason, "cannot be judged, since it is dark"));
		f.now_ms += 100000;
		assert_int_equal(deploy_step(&d, &f).action, DEPLOY_NOTHING);
		dec = deploy_promote(&d, false, f.now_ms, NULL);
		assert_int_equal(dec.action,
				 step + 1 < s.nsteps ? DEPLOY_SET_WEIGHT : DEPLOY_FINISH);
	}

	/* Health still counts. */
	d = started(&s);
	deploy_step(&d, &f);
	f.healthy = 0;
	assert_int_equal(deploy_step(&d, &f).action, DEPLOY_ROLL_BACK);
}

static void a_healthy_canary_climbs_every_step_and_finishes(void **state)
{
	static const struct {
		uint64_t at_ms;
		enum deploy_action action;
		uint32_t weight_bp;
	} path[] = {
		{ 999, DEPLOY_NOTHING, 100 },    { 1000, DEPLOY_SET_WEIGHT, 1000 },
		{ 1999, DEPLOY_NOTHING, 1000 },  { 2000, DEPLOY_SET_WEIGHT, 5000 },
		{ 3999, DEPLOY_NOTHING, 5000 },  { 4000, DEPLOY_SET_WEIGHT, 10000 },
		{ 6999, DEPLOY_NOTHING, 10000 }, { 7000, DEPLOY_FINISH, 10000 },
		{ 9000, DEPLOY_NOTHING, 10000 },
	};
	struct strategy s = canary();
	struct deploy d = rolling(&s);

	(void)state;
	assert_int_equal(d.weight_bp, 100);
	for (size_t i = 0; i < sizeof(path) / sizeof(path[0]); i++) {
		struct deploy_decision dec = at(&d, path[i].at_ms, 50, 0);

		assert_int_equal(dec.action, path[i].action);
		assert_int_equal(d.weight_bp, path[i].weight_bp);
	}
	assert_int_equal(d.status, DEPLOY_COMPLETED);
}

static void nothing_moves_before_the_new_version_is_healthy(void **state)
{
	struct strategy s = canary();
	struct deploy d = started(&s);
	struct deploy_facts f = { .now_ms = 59999, .healthy = 1, .backends = 2 };
	struct deploy_decision dec;

	(void)state;
	assert_int_equal(deploy_step(&d, &f).action, DEPLOY_NOTHING);
	f.now_ms = 60000;
	dec = deploy_step(&d, &f);
	assert_int_equal(dec.action, DEPLOY_ROLL_BACK);
	assert_int_equal(d.status, DEPLOY_FAILED);
	assert_non_null(strstr(dec.reason, "1 of 2"));
}

static void failing_connections_roll_back_at_once(void **state)
{
	struct strategy s = canary();
	struct deploy d = rolling(&s);

	(void)state;
	at(&d, 100, 20, 0);
	assert_int_equal(at(&d, 200, 5, 5).action, DEPLOY_ROLL_BACK);
	assert_int_equal(d.status, DEPLOY_ROLLED_BACK);
	assert_int_equal(d.weight_bp, 0);
	assert_int_equal(at(&d, 300, 5, 5).action, DEPLOY_NOTHING);
}

static void a_canary_without_healthy_backends_rolls_back(void **state)
{
	struct strategy s = canary();
	struct deploy d = rolling(&s);
	struct deploy_facts f = { .now_ms = 10, .healthy = 0, .backends = 2 };

	(void)state;
	assert_int_equal(deploy_step(&d, &f).action, DEPLOY_ROLL_BACK);
}

/* As after a restart on a host that was rebooted: no check has answered yet. */
static void a_canary_whose_health_is_not_known_yet_stays(void **state)
{
	struct strategy s = canary();
	struct deploy d = rolling(&s);
	struct deploy_facts f = { .now_ms = 10, .unknown = 1, .backends = 2 };

	(void)state;
	assert_int_equal(deploy_step(&d, &f).action, DEPLOY_NOTHING);
	f.unknown = 0;
	assert_int_equal(deploy_step(&d, &f).action, DEPLOY_ROLL_BACK);
}

static void a_paused_canary_is_still_judged_but_does_not_advance(void **state)
{
	struct strategy s = canary();
	struct deploy d = rolling(&s);

	(void)state;
	assert_int_equal(deploy_pause(&d, "lunch", NULL), 0);
	assert_int_equal(at(&d, 100000, 100, 0).action, DEPLOY_NOTHING);
	assert_int_equal(d.elapsed_ms, 0);
	assert_int_equal(at(&d, 100001, 50, 50).action, DEPLOY_ROLL_BACK);
}

static void on_failure_pause_holds_once_and_never_advances(void **state)
{
	struct strategy s = canary();
	struct deploy d;

	(void)state;
	s.analysis.on_failure = ON_FAILURE_PAUSE;
	d = rolling(&s);
	assert_int_equal(at(&d, 100, 20, 20).action, DEPLOY_HOLD);
	assert_true(d.paused);
	assert_int_equal(at(&d, 200, 20, 20).action, DEPLOY_NOTHING);
	assert_int_equal(d.status, DEPLOY_ROLLING);
	assert_int_equal(d.weight_bp, 100);
}

static void no_data_holds_and_pauses_at_the_progress_deadline(void **state)
{
	struct strategy s = canary();
	struct deploy d = rolling(&s);
	struct deploy_decision dec;

	(void)state;
	assert_int_equal(at(&d, 1000, 0, 0).action, DEPLOY_NOTHING);
	assert_int_equal(at(&d, 60999, 0, 0).action, DEPLOY_NOTHING);
	dec = at(&d, 61100, 0, 0);
	assert_int_equal(dec.action, DEPLOY_HOLD);
	assert_int_equal(dec.weight_bp, 100);
	assert_true(d.paused);
	assert_int_equal(deploy_resume(&d, 70000, NULL), 0);
	at(&d, 70000, 0, 0);
	assert_int_equal(at(&d, 71000, 100, 0).action, DEPLOY_SET_WEIGHT);
}

static void time_while_the_agent_was_away_does_not_count(void **state)
{
	struct strategy s = canary();
	struct deploy d = rolling(&s);

	(void)state;
	at(&d, 500, 100, 0);
	deploy_resume_after_restart(&d, 900000);
	assert_int_equal(at(&d, 900499, 100, 0).action, DEPLOY_NOTHING);
	assert_int_equal(at(&d, 900500, 100, 0).action, DEPLOY_SET_WEIGHT);
}

static void a_clock_that_steps_back_costs_nothing(void **state)
{
	struct strategy s = canary();
	struct deploy d = rolling(&s);

	(void)state;
	at(&d, 500, 100, 0);
	at(&d, 100, 100, 0);
	assert_int_equal(d.elapsed_ms, 500);
}

static void promote_goes_one_step_and_full_goes_to_the_end(void **state)
{
	struct strategy s = canary();
	struct deploy d = rolling(&s);

	(void)state;
	assert_int_equal(deploy_promote(&d, false, 1, NULL).weight_bp, 1000);
	assert_int_equal(d.step, 1);
	assert_int_equal(deploy_promote(&d, true, 2, NULL).action, DEPLOY_FINISH);
	assert_int_equal(deploy_promote(&d, true, 3, NULL).action, DEPLOY_NOTHING);
}

static void an_unhealthy_version_cannot_be_promoted_to_the_end(void **state)
{
	struct strategy s = canary();
	struct deploy d = started(&s);
	struct diag diag = { 0 };

	(void)state;
	assert_int_equal(deploy_promote(&d, true, 1, &diag).action, DEPLOY_NOTHING);
	assert_string_equal(diag.code, "not_rolling");
}

static void abort_rolls_back_once(void **state)
{
	struct strategy s = canary();
	struct deploy d = rolling(&s);
	struct diag diag = { 0 };

	(void)state;
	assert_int_equal(deploy_abort(&d, "why not", &diag).action, DEPLOY_ROLL_BACK);
	assert_string_equal(d.reason, "why not");
	assert_int_equal(deploy_abort(&d, "again", &diag).action, DEPLOY_NOTHING);
	assert_string_equal(diag.code, "deployment_over");
}

static void a_weight_by_hand_is_never_lowered_by_the_next_step(void **state)
{
	struct strategy s = canary();
	struct deploy d = rolling(&s);

	(void)state;
	assert_int_equal(deploy_set_weight(&d, 3000, 10, NULL), 0);
	assert_int_equal(at(&d, 1009, 100, 0).action, DEPLOY_NOTHING);
	assert_int_equal(at(&d, 1010, 100, 0).weight_bp, 5000);
	assert_int_equal(deploy_set_weight(&d, 10001, 10, NULL), -EINVAL);
}

static void senseless_strategies_are_refused(void **state)
{
	static const struct {
		struct strategy_step steps[3];
		size_t n;
	} bad[] = {
		{ { { 0, 0 } }, 0 },
		{ { { 5000, 0 } }, 1 },
		{ { { 5000, 0 }, { 5000, 0 }, { 10000, 0 } }, 3 },
		{ { { 5000, 0 }, { 1000, 0 }, { 10000, 0 } }, 3 },
		{ { { 0, 0 }, { 10000, 0 } }, 2 },
		{ { { 100, 0 }, { 10001, 0 } }, 2 },
	};
	struct diag diag;
	struct deploy d;

	(void)state;
	for (size_t i = 0; i < sizeof(bad) / sizeof(bad[0]); i++) {
		struct strategy s = canary();

		memcpy(s.steps, bad[i].steps, sizeof(bad[i].steps));
		s.nsteps = bad[i].n;
		assert_int_equal(deploy_init(&d, 1, "a", "v1", "v2", &s, 0, &diag), -EINVAL);
	}
	struct strategy s = canary();

	assert_int_equal(deploy_init(&d, 1, "a", "v1", "v1", &s, 0, &diag), -EINVAL);
}

static void names_of_states_can_be_read_back(void **state)
{
	enum deploy_status got;

	(void)state;
	for (enum deploy_status st = DEPLOY_PENDING; st <= DEPLOY_ROLLED_BACK; st++) {
		assert_true(deploy_status_parse(&got, deploy_status_name(st)));
		assert_int_equal(got, st);
	}
	assert_false(deploy_status_parse(&got, "nonsense"));
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(without_eyes_every_step_waits_for_the_operator),
		cmocka_unit_test(a_healthy_canary_climbs_every_step_and_finishes),
		cmocka_unit_test(nothing_moves_before_the_new_version_is_healthy),
		cmocka_unit_test(failing_connections_roll_back_at_once),
		cmocka_unit_test(a_canary_without_healthy_backends_rolls_back),
		cmocka_unit_test(a_canary_whose_health_is_not_known_yet_stays),
		cmocka_unit_test(a_paused_canary_is_still_judged_but_does_not_advance),
		cmocka_unit_test(on_failure_pause_holds_once_and_never_advances),
		cmocka_unit_test(no_data_holds_and_pauses_at_the_progress_deadline),
		cmocka_unit_test(time_while_the_agent_was_away_does_not_count),
		cmocka_unit_test(a_clock_that_steps_back_costs_nothing),
		cmocka_unit_test(promote_goes_one_step_and_full_goes_to_the_end),
		cmocka_unit_test(an_unhealthy_version_cannot_be_promoted_to_the_end),
		cmocka_unit_test(abort_rolls_back_once),
		cmocka_unit_test(a_weight_by_hand_is_never_lowered_by_the_next_step),
		cmocka_unit_test(senseless_strategies_are_refused),
		cmocka_unit_test(names_of_states_can_be_read_back),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
