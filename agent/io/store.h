/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * Durable state in SQLite (WAL, synchronous=FULL). One writer: the agent, which holds a lock on the
 * state directory. Every call is one transaction unless it stands between store_begin and
 * store_commit. What is stored are run-time facts: ids, weights, administrative states,
 * deployments, rings, events. The config file is not stored.
 */
#ifndef ZDDLB_IO_STORE_H
#define ZDDLB_IO_STORE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "../core/deploy.h"
#include "../core/model.h"
#include "../core/select.h"

struct store;

/*
 * Open or make `dir`/state.db (and the directory), migrate older schemas, check integrity.
 * -EBUSY: another agent holds it. -EPROTONOSUPPORT: written by a newer version. -EUCLEAN: corrupt.
 * Each with cause and cure in `d`; the file is left as it is.
 */
int store_open(struct store **ret, const char *dir, struct diag *d);
void store_close(struct store *s);

int store_begin(struct store *s);
int store_commit(struct store *s); /* on failure everything since store_begin is undone */
void store_rollback(struct store *s);
const char *store_error(const struct store *s); /* words for the last failure */

/* Small values by key: "hash_seed". -ENOENT. */
int store_set_blob(struct store *s, const char *key, const void *data, size_t len);
int store_get_blob(struct store *s, const char *key, void *data, size_t *len /* in: room */);

/* Services keep their index and ring place. */
struct stored_service {
	char name[MODEL_NAME_LEN];
	uint32_t index, ring_offset, ring_slots;
};
int store_put_service(struct store *s, const struct stored_service *v);
int store_del_service(struct store *s, const char *name);
int store_each_service(struct store *s, int (*fn)(void *arg, const struct stored_service *v),
		       void *arg);

/* Backends keep their id as long as their record lives. */
struct stored_backend {
	uint16_t id;
	char service[MODEL_NAME_LEN], version[MODEL_NAME_LEN];
	struct endpoint ep;
	enum admin_state admin;
	uint64_t drain_started_unix_ms; /* 0: not draining */
	bool removed;                   /* gone from config and API, kept until drained */
};
int store_put_backend(struct store *s, const struct stored_backend *v);
int store_del_backend(struct store *s, uint16_t id);
int store_each_backend(struct store *s, int (*fn)(void *arg, const struct stored_backend *v),
		       void *arg);

/* Run-time overrides of a version; versions registered by API carry their definition as JSON. */
struct stored_version {
	char service[MODEL_NAME_LEN], name[MODEL_NAME_LEN];
	bool has_weight;
	uint32_t weight_bp;
	bool has_status;
	enum version_status status;
	const char *definition; /* JSON, or NULL: it stands in the config file */
};
int store_put_version(struct store *s, const struct stored_version *v);
int store_del_version(struct store *s, const char *service, const char *name);
int store_each_version(struct store *s, int (*fn)(void *arg, const struct stored_version *v),
		       void *arg);

/* Deployments: the machine's whole struct, field by field. */
struct stored_deploy {
	struct deploy deploy;
	uint64_t started_unix_ms, ended_unix_ms; /* 0: not ended */
	uint32_t rollback_us;                    /* measured; 0: none */
	const uint16_t *snapshot;                /* ring of before; NULL: leave what is stored */
	size_t nsnapshot;
};
int store_put_deploy(struct store *s, const struct stored_deploy *v);
/* Oldest first. `service` NULL: all. `snapshot` is given only for deployments that are not over. */
int store_each_deploy(struct store *s, const char *service,
		      int (*fn)(void *arg, const struct stored_deploy *v), void *arg);
uint64_t store_next_deploy_id(struct store *s); /* 0: cannot be read */

/*
 * A ring: its slot words, for a host that lost its maps (a reboot). Written in parts, so that a large
 * ring holds nobody up; read whole: -ENOENT if there is none, -ERANGE if the parts do not make one of
 * nslots (then `slots` holds nothing of use).
 */
int store_put_ring_part(struct store *s, const char *service, uint32_t first, const uint64_t *slots,
			uint32_t n);
int store_get_ring(struct store *s, const char *service, uint64_t *slots, uint32_t nslots);

/* Events: what happened, in words, for people and for `zddlb events`. */
struct stored_event {
	uint64_t id; /* out for put */
	uint64_t unix_ms;
	const char *kind; /* "health", "weight", "deploy", "drain", "config", "agent" */
	const char *service, *subject; /* "" where it does not apply */
	const char *text;
};
int store_put_event(struct store *s, struct stored_event *e);
/* Those with an id above `since`, oldest first, at most `limit`. */
int store_each_event(struct store *s, uint64_t since, size_t limit,
		     int (*fn)(void *arg, const struct stored_event *e), void *arg);
/* Drop events and ended deployments older than that, except the last 10 of each service. */
int store_prune(struct store *s, uint64_t before_unix_ms);

#endif
