/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * One deployment: a strategy's steps from one version of a service to another, judged on the way.
 * A pure machine: facts and time in, a decision with its reason out. The caller carries the
 * decision out and persists the struct; nothing here remembers anything else.
 */
#ifndef ZDDLB_CORE_DEPLOY_H
#define ZDDLB_CORE_DEPLOY_H

#include <stdbool.h>
#include <stdint.h>

#include "model.h"
#include "verdict.h"

/* Status as the API names it. */
enum deploy_status {
	DEPLOY_PENDING,
	DEPLOY_TESTING, /* waits until the new version is healthy */
	DEPLOY_ROLLING,
	DEPLOY_COMPLETED,
	DEPLOY_FAILED,
	DEPLOY_ROLLED_BACK,
};
const char *deploy_status_name(enum deploy_status status);
bool deploy_status_parse(enum deploy_status *ret, const char *text);
bool deploy_is_over(enum deploy_status status);

#define DEPLOY_REASON_LEN 256

struct deploy {
	uint64_t id;
	char service[MODEL_NAME_LEN];
	char from[MODEL_NAME_LEN], to[MODEL_NAME_LEN];
	struct strategy strategy;
	enum deploy_status status;
	bool paused;
	uint32_t step;        /* index of the step in force, valid while rolling */
	uint32_t weight_bp;   /* of `to` */
	uint64_t elapsed_ms;  /* in this step, pauses not counted */
	uint64_t total_ms;    /* since the start, pauses not counted */
	uint64_t last_ms;     /* when elapsed_ms was last brought forward */
	uint64_t look_ms;     /* elapsed_ms at the last look for moving on; 0: none in this step */
	uint64_t step_base_n; /* canary connections seen before this step */
	struct verdict verdict;
	char reason[DEPLOY_REASON_LEN]; /* of the last decision */
};

struct deploy_facts {
	uint64_t now_ms;            /* monotonic */
	uint32_t healthy, backends; /* of the new version */
	uint32_t unknown;           /* of them: not checked yet, as after a restart */
	struct verdict_look look;   /* since the last deploy_step */
	const char *blind;          /* NULL, or why no handshake is ever seen: static text */
};

enum deploy_action {
	DEPLOY_NOTHING,
	DEPLOY_SET_WEIGHT, /* weight_bp for `to`, the rest for `from` */
	DEPLOY_FINISH,     /* all for `to`, leases off */
	DEPLOY_ROLL_BACK,  /* the ring of before, now */
	DEPLOY_HOLD,       /* paused by the machine itself */
};

struct deploy_decision {
	enum deploy_action action;
	uint32_t weight_bp;
	char reason[DEPLOY_REASON_LEN];
};

/* -EINVAL with a reason: from equal to `to`, steps that do not rise or do not end at 100 %. */
int deploy_init(struct deploy *d, uint64_t id, const char *service, const char *from,
		const char *to, const struct strategy *s, uint64_t now_ms, struct diag *diag);

/* Say so in the reason: no step will be judged, each waits for the operator. NULL is fine. */
void deploy_tell_blind(struct deploy *d, const char *blind);

/* After a restart: time spent while the agent was away does not count. */
void deploy_resume_after_restart(struct deploy *d, uint64_t now_ms);

struct deploy_decision deploy_step(struct deploy *d, const struct deploy_facts *f);

/* The operator's words. -EINVAL with a reason where they make no sense in this state. */
int deploy_pause(struct deploy *d, const char *reason, struct diag *diag);
int deploy_resume(struct deploy *d, uint64_t now_ms, struct diag *diag);
/* On to the next step now, or (full) to the end. */
struct deploy_decision deploy_promote(struct deploy *d, bool full, uint64_t now_ms,
				      struct diag *diag);
struct deploy_decision deploy_abort(struct deploy *d, const char *reason, struct diag *diag);
/* A weight set by hand inside the deployment; keeps the step, restarts its pause. */
int deploy_set_weight(struct deploy *d, uint32_t weight_bp, uint64_t now_ms, struct diag *diag);

#endif
