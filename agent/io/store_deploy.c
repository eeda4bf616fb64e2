/* SPDX-License-Identifier: GPL-2.0-only */
/* Deployments: every field of the machine has its column, so that a restart goes on with it. */
#include "store.h"

#include <assert.h>
#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "store_sql.h"

#define STEPS_LEN (STRATEGY_MAX_STEPS * 36 + 3)

static const char *const on_failure_names[] = {
	[ON_FAILURE_ROLLBACK] = "rollback",
	[ON_FAILURE_PAUSE] = "pause",
};

static bool on_failure_parse(enum on_failure *ret, const char *text)
{
	for (unsigned i = 0; i < sizeof(on_failure_names) / sizeof(on_failure_names[0]); i++) {
		if (!strcmp(on_failure_names[i], text)) {
			*ret = (enum on_failure)i;
			return true;
		}
	}
	return false;
}

static void write_steps(char text[STEPS_LEN], const struct strategy *s)
{
	size_t len = 0;

	text[len++] = '[';
	for (size_t i = 0; i < s->nsteps; i++)
		len += (size_t)snprintf(text + len, STEPS_LEN - len, "%s[%" PRIu32 ",%" PRIu64 "]",
					i ? "," : "", s->steps[i].weight_bp, s->steps[i].pause_ms);
	snprintf(text + len, STEPS_LEN - len, "]");
}

static bool take(const char **at, char c)
{
	if (**at != c)
		return false;
	(*at)++;
	return true;
}

static bool take_number(const char **at, uint64_t max, uint64_t *ret)
{
	char *end;

	if (**at < '0' || **at > '9')
		return false;
	errno = 0;
	*ret = strtoull(*at, &end, 10);
	*at = end;
	return !errno && *ret <= max;
}

static bool read_steps(struct strategy *s, const char *text)
{
	uint64_t weight_bp, pause_ms;

	s->nsteps = 0;
	if (!take(&text, '['))
		return false;
	while (*text != ']') {
		if (s->nsteps == STRATEGY_MAX_STEPS || (s->nsteps && !take(&text, ',')))
			return false;
		if (!take(&text, '[') || !take_number(&text, WEIGHT_FULL_BP, &weight_bp) ||
		    !take(&text, ',') || !take_number(&text, UINT64_MAX, &pause_ms) ||
		    !take(&text, ']'))
			return false;
		s->steps[s->nsteps++] = (struct strategy_step){ (uint32_t)weight_bp, pause_ms };
	}
	return !strcmp(text, "]");
}

static int put_row(struct store *s, const struct stored_deploy *v)
{
	const struct deploy *d = &v->deploy;
	const struct strategy *p = &d->strategy;
	const struct analysis_policy *a = &p->analysis;
	const struct verdict *e = &d->verdict;
	char steps[STEPS_LEN];

	assert(p->nsteps <= STRATEGY_MAX_STEPS);
	write_steps(steps, p);
	return store_run(s, STMT_PUT_DEPLOY,
			 "qttttiuuqqqqqttt" /* deployment */
			 "ududtqq"          /* strategy */
			 "ddubqqqq"         /* verdict */
			 "qqu",
			 d->id, d->service, d->from, d->to, deploy_status_name(d->status),
			 (int)d->paused, d->step, d->weight_bp, d->elapsed_ms, d->total_ms,
			 d->last_ms, d->look_ms, d->step_base_n, d->reason, p->name, steps,
			 a->interval_ms, a->alpha, a->min_samples, a->max_increase,
			 on_failure_names[a->on_failure], p->lease_ms, p->progress_deadline_ms,
			 e->alpha, e->max_increase, e->min_samples, e->log_arm, sizeof(e->log_arm),
			 e->canary_n, e->canary_failed, e->stable_n, e->stable_failed,
			 v->started_unix_ms, v->ended_unix_ms, v->rollback_us);
}

int store_put_deploy(struct store *s, const struct stored_deploy *v)
{
	bool own;
	int err;

	err = store_enter(s, &own);
	if (err)
		return err;
	err = put_row(s, v);
	if (!err && deploy_is_over(v->deploy.status))
		err = store_run(s, STMT_DEL_SNAPSHOT, "q", v->deploy.id);
	else if (!err && v->snapshot)
		err = store_run(s, STMT_PUT_SNAPSHOT, "qb", v->deploy.id, v->snapshot,
				v->nsnapshot * sizeof(*v->snapshot));
	return store_leave(s, own, err);
}

static int read_names(struct store *s, struct deploy *d, const char *status, const char *steps,
		      const char *on_failure)
{
	if (!status || !deploy_status_parse(&d->status, status))
		return store_bad_row(s, "status");
	if (!steps || !read_steps(&d->strategy, steps))
		return store_bad_row(s, "steps");
	if (!on_failure || !on_failure_parse(&d->strategy.analysis.on_failure, on_failure))
		return store_bad_row(s, "analysis_on_failure");
	return 0;
}

static int read_row(struct store *s, sqlite3_stmt *st, struct stored_deploy *v)
{
	const char *status, *steps, *on_failure;
	struct deploy *d = &v->deploy;
	struct strategy *p = &d->strategy;
	struct analysis_policy *a = &p->analysis;
	struct verdict *e = &d->verdict;
	int err;

	memset(v, 0, sizeof(*v));
	err = store_read(s, st,
			 "qtttouuqqqqqt" /* deployment */
			 "tududqq"       /* strategy */
			 "ddubqqqq"      /* verdict */
			 "qqusss",
			 &d->id, d->service, sizeof(d->service), d->from, sizeof(d->from), d->to,
			 sizeof(d->to), &d->paused, &d->step, &d->weight_bp, &d->elapsed_ms,
			 &d->total_ms, &d->last_ms, &d->look_ms, &d->step_base_n, d->reason,
			 sizeof(d->reason), p->name, sizeof(p->name), &a->interval_ms, &a->alpha,
			 &a->min_samples, &a->max_increase, &p->lease_ms, &p->progress_deadline_ms,
			 &e->alpha, &e->max_increase, &e->min_samples, e->log_arm,
			 sizeof(e->log_arm), &e->canary_n, &e->canary_failed, &e->stable_n,
			 &e->stable_failed, &v->started_unix_ms, &v->ended_unix_ms, &v->rollback_us,
			 &status, &steps, &on_failure);
	return err ? err : read_names(s, d, status, steps, on_failure);
}

/* A copy: a small blob lies unaligned inside of SQLite's page. */
static int read_snapshot(sqlite3_stmt *st, struct stored_deploy *v, uint16_t **ret)
{
	int col = sqlite3_column_count(st) - 1;
	const void *blob = sqlite3_column_blob(st, col);
	size_t len = (size_t)sqlite3_column_bytes(st, col);
	uint16_t *copy;

	*ret = NULL;
	if (!blob)
		return 0;
	copy = malloc(len);
	if (!copy)
		return -ENOMEM;
	memcpy(copy, blob, len);
	v->snapshot = *ret = copy;
	v->nsnapshot = len / sizeof(*copy);
	return 0;
}

int store_each_deploy(struct store *s, const char *service,
		      int (*fn)(void *arg, const struct stored_deploy *v), void *arg)
{
	struct stored_deploy v;
	uint16_t *snapshot;
	sqlite3_stmt *st;
	int err;

	err = store_query(s, &st, STMT_EACH_DEPLOY, "t", service);
	if (err)
		return err;
	while (!err && (err = store_next(s, st)) > 0) {
		err = read_row(s, st, &v);
		if (!err)
			err = read_snapshot(st, &v, &snapshot);
		if (err)
			break;
		err = fn(arg, &v);
		free(snapshot);
	}
	store_done(s, STMT_EACH_DEPLOY, st);
	return err;
}

/* Ids are never given twice: store_prune keeps the youngest deployments. */
uint64_t store_next_deploy_id(struct store *s)
{
	sqlite3_stmt *st;
	uint64_t id = 0;

	if (store_query(s, &st, STMT_NEXT_DEPLOY, ""))
		return 0;
	if (store_next(s, st) > 0 && store_read(s, st, "q", &id))
		id = 0;
	store_done(s, STMT_NEXT_DEPLOY, st);
	return id;
}
