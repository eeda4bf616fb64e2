/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * The agent's verbs. Control asks core what to do and has io do it, in that order; a decision is
 * committed to the store before the maps change, except a rollback, which holds first.
 *
 * Every verb returns 0, or a negative errno with place, cause and cure in `d`; then nothing has
 * changed. -ENOENT: no such object. -EINVAL: wrong value. -EBUSY, -EEXIST: in the way of something
 * that is there (HTTP 409). -EIO, -ENOSPC: state could not be written (HTTP 503).
 */
#ifndef ZDDLB_CONTROL_H
#define ZDDLB_CONTROL_H

#include "state.h"

/* Takes over what is pinned and stored, or starts anew. `path`: the config file. */
int control_start(struct control **ret, uv_loop_t *loop, const char *path, struct diag *d);
/* Stops probing and closes; the data plane stays. */
void control_stop(struct control *c);

struct service_rt *control_service(struct control *c, const char *name); /* NULL: none */
struct version_rt *control_version(struct service_rt *s, const char *name);
/* `key`: "address:port" (must be unique), "SERVICE/address:port" or a numeric id. */
struct backend_rt *control_backend(struct control *c, const char *key, struct diag *d);

/* Read the file again: validate, diff, apply as one revision or refuse whole. `dry_run`: only say.
 * `ret_changes` (NULL is fine): one line of text a change, malloc'd. */
int control_reload(struct control *c, bool dry_run, char **ret_changes, struct diag *d);

struct weight_change {
	const char *version;
	uint32_t weight_bp;
};
/*
 * Set the weights of the named versions; the versions not named are rescaled in proportion, so that
 * the sum is 100.00. -EINVAL where that cannot be: all others are 0, or the named ones exceed 100.
 * -EBUSY while a deployment of the service runs.
 */
int control_set_weights(struct control *c, const char *service, const struct weight_change *w,
			size_t n, struct diag *d);
/* Back to the file's weights. */
int control_reset_weights(struct control *c, const char *service, struct diag *d);

int control_backend_admin(struct control *c, struct backend_rt *b, enum admin_state to,
			  struct diag *d);

/* Register a version at run time (it is kept in the store), or replace one that has no weight. */
int control_version_add(struct control *c, const char *service, const struct version *v,
			struct diag *d);
int control_version_remove(struct control *c, const char *service, const char *version,
			   struct diag *d);
int control_version_status(struct control *c, const char *service, const char *version,
			   enum version_status status, struct diag *d);

/* `from` NULL: the heaviest version. */
int control_deploy_start(struct control *c, const char *service, const char *from, const char *to,
			 const struct strategy *s, uint64_t *ret_id, struct diag *d);

/* What control_deploy_start would start: every check of it, and nothing done. */
int control_deploy_plan(struct control *c, const char *service, const char *from, const char *to,
			const struct strategy *s, struct deploy *ret, struct diag *d);

enum deploy_verb {
	DEPLOY_VERB_PAUSE,
	DEPLOY_VERB_RESUME,
	DEPLOY_VERB_PROMOTE,
	DEPLOY_VERB_PROMOTE_FULL,
	DEPLOY_VERB_ABORT, /* and rollback, while it runs */
};
/* `reason` NULL is fine. `ret_us` (NULL is fine): microseconds a rollback took until no new
 * connection could reach the bad version. */
int control_deploy_verb(struct control *c, uint64_t id, enum deploy_verb verb, const char *reason,
			uint32_t *ret_us, struct diag *d);
/* Undo a finished deployment at once: all weight back to its `from` (or `to_version`), by the
 * ring of before where it is still known. A running one is aborted. */
int control_rollback(struct control *c, uint64_t id, const char *to_version, const char *reason,
		     uint32_t *ret_us, struct diag *d);
int control_deploy_weight(struct control *c, uint64_t id, uint32_t weight_bp, struct diag *d);

/* Ready: program attached on every present interface, one full round of checks done. */
bool control_is_ready(const struct control *c);

/* Record and log an event; `fmt` says what happened in words for people. */
void control_event(struct control *c, const char *kind, const char *service, const char *subject,
		   const char *fmt, ...) __attribute__((format(printf, 5, 6)));

#endif
