/* SPDX-License-Identifier: GPL-2.0-only */
#include <errno.h>
#include <stdio.h>
#include <string.h>

#include "deploy.h"

static const char *const status_names[] = {
	[DEPLOY_PENDING] = "pending", [DEPLOY_TESTING] = "testing",
	[DEPLOY_ROLLING] = "rolling", [DEPLOY_COMPLETED] = "completed",
	[DEPLOY_FAILED] = "failed",   [DEPLOY_ROLLED_BACK] = "rolled_back",
};

const char *deploy_status_name(enum deploy_status status)
{
	return status_names[status];
}

bool deploy_status_parse(enum deploy_status *ret, const char *text)
{
	for (unsigned i = 0; i < sizeof(status_names) / sizeof(status_names[0]); i++) {
		if (!strcmp(status_names[i], text)) {
			*ret = (enum deploy_status)i;
			return true;
		}
	}
	return false;
}

bool deploy_is_over(enum deploy_status status)
{
	return status >= DEPLOY_COMPLETED;
}

static int check_strategy(const struct strategy *s, struct diag *diag)
{
	if (!s->nsteps || s->nsteps > STRATEGY_MAX_STEPS)
		return diag_set(diag, EINVAL, "bad_strategy", "/steps",
				"A strategy needs 1 to %d steps, strategy %s has %zu.",
				STRATEGY_MAX_STEPS, s->name, s->nsteps);
	for (size_t i = 0; i < s->nsteps; i++) {
		uint32_t before = i ? s->steps[i - 1].weight_bp : 0;

		if (s->steps[i].weight_bp <= before || s->steps[i].weight_bp > WEIGHT_FULL_BP)
			return diag_set(
				diag, EINVAL, "bad_strategy", "/steps",
				"The weights of strategy %s must rise from step to step, up "
				"to 100: step %zu does not.",
				s->name, i + 1);
	}
	if (s->steps[s->nsteps - 1].weight_bp != WEIGHT_FULL_BP)
		return diag_set(diag, EINVAL, "bad_strategy", "/steps",
				"The last step of strategy %s must be 100.", s->name);
	return 0;
}

int deploy_init(struct deploy *d, uint64_t id, const char *service, const char *from,
		const char *to, const struct strategy *s, uint64_t now_ms, struct diag *diag)
{
	int err;

	if (!strcmp(from, to))
		return diag_set(diag, EINVAL, "same_version", "/toVersion",
				"A deployment leads from one version to another, and both are %s. "
				"Name the version to leave with fromVersion.",
				to);
	err = check_strategy(s, diag);
	if (err)
		return err;

	memset(d, 0, sizeof(*d));
	d->id = id;
	snprintf(d->service, sizeof(d->service), "%s", service);
	snprintf(d->from, sizeof(d->from), "%s", from);
	snprintf(d->to, sizeof(d->to), "%s", to);
	d->strategy = *s;
	d->status = DEPLOY_TESTING;
	d->last_ms = now_ms;
	verdict_init(&d->verdict, s->analysis.alpha, s->analysis.max_increase,
		     s->analysis.min_samples);
	snprintf(d->reason, sizeof(d->reason), "waiting until %s is healthy", to);
	return 0;
}

void deploy_tell_blind(struct deploy *d, const char *blind)
{
	size_t len = strlen(d->reason);

	if (blind)
		snprintf(d->reason + len, sizeof(d->reason) - len,
			 "; no step is judged, since %s: promote each by hand", blind);
}

void deploy_resume_after_restart(struct deploy *d, uint64_t now_ms)
{
	d->last_ms = now_ms;
}

static struct deploy_decision decide(struct deploy *d, enum deploy_action action, const char *why)
{
	struct deploy_decision dec = { .action = action, .weight_bp = d->weight_bp };

	snprintf(dec.reason, sizeof(dec.reason), "%s", why);
	if (action != DEPLOY_NOTHING)
		snprintf(d->reason, sizeof(d->reason), "%s", why);
	return dec;
}

static struct deploy_decision nothing(struct deploy *d)
{
	return decide(d, DEPLOY_NOTHING, "");
}

static struct deploy_decision roll_back(struct deploy *d, const char *why)
{
	d->status = DEPLOY_ROLLED_BACK;
	d->paused = false;
	d->weight_bp = 0;
	return decide(d, DEPLOY_ROLL_BACK, why);
}

static struct deploy_decision finish(struct deploy *d, const char *why)
{
	d->status = DEPLOY_COMPLETED;
	d->paused = false;
	d->weight_bp = WEIGHT_FULL_BP;
	return decide(d, DEPLOY_FINISH, why);
}

/* Steps that a weight set by hand has already passed are skipped: weights never fall on their own. */
static struct deploy_decision enter_step(struct deploy *d, uint32_t step, const char *why)
{
	while (step + 1 < d->strategy.nsteps && d->strategy.steps[step].weight_bp < d->weight_bp)
		step++;
	d->status = DEPLOY_ROLLING;
	d->step = step;
	d->weight_bp = d->strategy.steps[step].weight_bp;
	d->elapsed_ms = 0;
	d->look_ms = 0;
	d->step_base_n = d->verdict.canary_n;
	return decide(d, DEPLOY_SET_WEIGHT, why);
}

static struct deploy_decision next_step(struct deploy *d, const char *why)
{
	if (d->step + 1 >= d->strategy.nsteps)
		return finish(d, why);
	return enter_step(d, d->step + 1, why);
}

static struct deploy_decision hold(struct deploy *d, const char *why)
{
	d->paused = true;
	return decide(d, DEPLOY_HOLD, why);
}

static struct deploy_decision step_testing(struct deploy *d, const struct deploy_facts *f)
{
	char why[DEPLOY_REASON_LEN];

	if (d->paused)
		return nothing(d);
	if (f->backends && f->healthy == f->backends) {
		struct deploy_decision dec;

		snprintf(why, sizeof(why), "all %u backends of %s are healthy", f->backends, d->to);
		dec = enter_step(d, 0, why);
		deploy_tell_blind(d, f->blind);
		return dec;
	}
	if (d->total_ms < d->strategy.progress_deadline_ms)
		return nothing(d);

	d->status = DEPLOY_FAILED;
	snprintf(why, sizeof(why),
		 "%u of %u backends of %s are healthy after the progress deadline of %llu s",
		 f->healthy, f->backends, d->to,
		 (unsigned long long)d->strategy.progress_deadline_ms / 1000);
	/* Nothing was moved; the caller only has to take note. */
	return decide(d, DEPLOY_ROLL_BACK, why);
}

/* What ends a rollout at any moment, paused or not. Returns true with the decision made. */
static bool judge_failure(struct deploy *d, const struct deploy_facts *f,
			  struct deploy_decision *ret)
{
	char why[DEPLOY_REASON_LEN];

	if (!f->healthy && !f->unknown) {
		snprintf(why, sizeof(why), "no backend of %s is healthy", d->to);
	} else if (verdict_result(&d->verdict) == VERDICT_FAIL) {
		snprintf(why, sizeof(why),
			 "%llu of %llu connections to %s failed, %llu of %llu to %s: evidence "
			 "%.3g, limit %.3g",
			 (unsigned long long)d->verdict.canary_failed,
			 (unsigned long long)d->verdict.canary_n, d->to,
			 (unsigned long long)d->verdict.stable_failed,
			 (unsigned long long)d->verdict.stable_n, d->from,
			 verdict_evidence(&d->verdict), 1 / d->verdict.alpha);
	} else {
		return false;
	}

	if (d->strategy.analysis.on_failure == ON_FAILURE_ROLLBACK)
		*ret = roll_back(d, why);
	else if (!d->paused)
		*ret = hold(d, why);
	else
		return false;
	return true;
}

static struct deploy_decision step_rolling(struct deploy *d, const struct deploy_facts *f)
{
	const struct strategy_step *step = &d->strategy.steps[d->step];
	uint64_t seen = d->verdict.canary_n - d->step_base_n;
	struct deploy_decision dec;
	char why[DEPLOY_REASON_LEN];

	if (judge_failure(d, f, &dec))
		return dec;
	if (d->paused || d->elapsed_ms < step->pause_ms)
		return nothing(d);
	/* The first look comes with the end of the pause, the others at the analysis interval. */
	if (d->look_ms && d->elapsed_ms - d->look_ms < d->strategy.analysis.interval_ms)
		return nothing(d);
	d->look_ms = d->elapsed_ms;

	/* Time would not help. */
	if (f->blind) {
		snprintf(why, sizeof(why),
			 "step %u cannot be judged, since %s: promote or abort it by hand",
			 d->step + 1, f->blind);
		return hold(d, why);
	}
	if (verdict_result(&d->verdict) == VERDICT_PASS &&
	    seen >= d->strategy.analysis.min_samples && f->healthy == f->backends) {
		snprintf(why, sizeof(why), "step %u passed: %llu of %llu connections to %s failed",
			 d->step + 1, (unsigned long long)d->verdict.canary_failed,
			 (unsigned long long)d->verdict.canary_n, d->to);
		return next_step(d, why);
	}
	if (d->elapsed_ms - step->pause_ms < d->strategy.progress_deadline_ms)
		return nothing(d);

	snprintf(
		why, sizeof(why),
		"step %u is inconclusive after the progress deadline: %llu connections to %s seen in "
		"it (%u needed), %u of %u backends healthy",
		d->step + 1, (unsigned long long)seen, d->to, d->strategy.analysis.min_samples,
		f->healthy, f->backends);
	return hold(d, why);
}

struct deploy_decision deploy_step(struct deploy *d, const struct deploy_facts *f)
{
	uint64_t passed = f->now_ms > d->last_ms ? f->now_ms - d->last_ms : 0;

	d->last_ms = f->now_ms;
	if (!d->paused) {
		d->elapsed_ms += passed;
		d->total_ms += passed;
	}

	switch (d->status) {
	case DEPLOY_PENDING:
	case DEPLOY_TESTING:
		return step_testing(d, f);
	case DEPLOY_ROLLING:
		verdict_look(&d->verdict, &f->look);
		return step_rolling(d, f);
	case DEPLOY_COMPLETED:
	case DEPLOY_FAILED:
	case DEPLOY_ROLLED_BACK:
		break;
	}
	return nothing(d);
}

static int refuse_over(const struct deploy *d, const char *verb, struct diag *diag)
{
	if (!deploy_is_over(d->status))
		return 0;
	return diag_set(diag, EINVAL, "deployment_over", "",
			"Deployment %llu is %s and cannot be %s. Start another one.",
			(unsigned long long)d->id, deploy_status_name(d->status), verb);
}

int deploy_pause(struct deploy *d, const char *reason, struct diag *diag)
{
	int err = refuse_over(d, "paused", diag);

	if (err)
		return err;
	if (d->paused)
		return diag_set(diag, EINVAL, "already_paused", "",
				"Deployment %llu is paused already: %s.", (unsigned long long)d->id,
				d->reason);
	d->paused = true;
	snprintf(d->reason, sizeof(d->reason), "%s", reason);
	return 0;
}

int deploy_resume(struct deploy *d, uint64_t now_ms, struct diag *diag)
{
	int err = refuse_over(d, "resumed", diag);

	if (err)
		return err;
	if (!d->paused)
		return diag_set(diag, EINVAL, "not_paused", "", "Deployment %llu is not paused.",
				(unsigned long long)d->id);
	d->paused = false;
	d->last_ms = now_ms;
	/* A step that was held as inconclusive gets its whole time again. */
	d->elapsed_ms = 0;
	d->look_ms = 0;
	snprintf(d->reason, sizeof(d->reason), "resumed");
	return 0;
}

struct deploy_decision deploy_promote(struct deploy *d, bool full, uint64_t now_ms,
				      struct diag *diag)
{
	if (refuse_over(d, "promoted", diag))
		return nothing(d);
	if (d->status != DEPLOY_ROLLING && full) {
		diag_set(
			diag, EINVAL, "not_rolling", "",
			"Deployment %llu still tests whether %s is healthy; promote it once it rolls, "
			"or switch the service if you are sure.",
			(unsigned long long)d->id, d->to);
		return nothing(d);
	}
	d->paused = false;
	d->last_ms = now_ms;
	if (full)
		return finish(d, "promoted to the end by hand");
	if (d->status != DEPLOY_ROLLING)
		return enter_step(d, 0, "promoted by hand before all backends were healthy");
	return next_step(d, "promoted by hand");
}

struct deploy_decision deploy_abort(struct deploy *d, const char *reason, struct diag *diag)
{
	if (refuse_over(d, "aborted", diag))
		return nothing(d);
	return roll_back(d, reason);
}

int deploy_set_weight(struct deploy *d, uint32_t weight_bp, uint64_t now_ms, struct diag *diag)
{
	int err = refuse_over(d, "weighted", diag);

	if (err)
		return err;
	if (d->status != DEPLOY_ROLLING)
		return diag_set(diag, EBUSY, "not_rolling", "",
				"Deployment %llu is %s: it takes a weight only while it rolls.",
				(unsigned long long)d->id, deploy_status_name(d->status));
	if (weight_bp > WEIGHT_FULL_BP)
		return diag_set(diag, EINVAL, "bad_weight", "/percent",
				"A weight is 0 to 100 percent.");
	d->weight_bp = weight_bp;
	d->elapsed_ms = 0;
	d->look_ms = 0;
	d->last_ms = now_ms;
	snprintf(d->reason, sizeof(d->reason), "weight set by hand");
	return 0;
}
