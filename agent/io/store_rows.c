/* SPDX-License-Identifier: GPL-2.0-only */
/* Services, backends, versions, rings and events: struct in, row out, and back. */
#include "store.h"

#include <errno.h>

#include "store_sql.h"

int store_put_service(struct store *s, const struct stored_service *v)
{
	return store_run(s, STMT_PUT_SERVICE, "tuuu", v->name, v->index, v->ring_offset,
			 v->ring_slots);
}

int store_del_service(struct store *s, const char *name)
{
	return store_run(s, STMT_DEL_SERVICE, "t", name);
}

int store_each_service(struct store *s, int (*fn)(void *arg, const struct stored_service *v),
		       void *arg)
{
	struct stored_service v;
	sqlite3_stmt *st;
	int err;

	err = store_query(s, &st, STMT_EACH_SERVICE, "");
	if (err)
		return err;
	while (!err && (err = store_next(s, st)) > 0) {
		err = store_read(s, st, "tuuu", v.name, sizeof(v.name), &v.index, &v.ring_offset,
				 &v.ring_slots);
		if (!err)
			err = fn(arg, &v);
	}
	store_done(s, STMT_EACH_SERVICE, st);
	return err;
}

int store_put_backend(struct store *s, const struct stored_backend *v)
{
	char ep[ENDPOINT_TEXT_LEN];

	return store_run(s, STMT_PUT_BACKEND, "ittttqi", (int)v->id, v->service, v->version,
			 endpoint_text(&v->ep, ep), admin_state_name(v->admin),
			 v->drain_started_unix_ms, (int)v->removed);
}

int store_del_backend(struct store *s, uint16_t id)
{
	return store_run(s, STMT_DEL_BACKEND, "i", (int)id);
}

static int read_backend(struct store *s, sqlite3_stmt *st, struct stored_backend *v)
{
	char ep[ENDPOINT_TEXT_LEN], admin[16];
	int err;

	err = store_read(s, st, "httttqo", &v->id, v->service, sizeof(v->service), v->version,
			 sizeof(v->version), ep, sizeof(ep), admin, sizeof(admin),
			 &v->drain_started_unix_ms, &v->removed);
	if (err)
		return err;
	if (!endpoint_parse(&v->ep, ep))
		return store_bad_row(s, "endpoint");
	if (!admin_state_parse(&v->admin, admin))
		return store_bad_row(s, "admin");
	return 0;
}

int store_each_backend(struct store *s, int (*fn)(void *arg, const struct stored_backend *v),
		       void *arg)
{
	struct stored_backend v;
	sqlite3_stmt *st;
	int err;

	err = store_query(s, &st, STMT_EACH_BACKEND, "");
	if (err)
		return err;
	while (!err && (err = store_next(s, st)) > 0) {
		err = read_backend(s, st, &v);
		if (!err)
			err = fn(arg, &v);
	}
	store_done(s, STMT_EACH_BACKEND, st);
	return err;
}

int store_put_version(struct store *s, const struct stored_version *v)
{
	return store_run(s, STMT_PUT_VERSION, "ttiutt", v->service, v->name, (int)v->has_weight,
			 v->weight_bp, v->has_status ? version_status_name(v->status) : NULL,
			 v->definition);
}

int store_del_version(struct store *s, const char *service, const char *name)
{
	return store_run(s, STMT_DEL_VERSION, "tt", service, name);
}

static int read_version(struct store *s, sqlite3_stmt *st, struct stored_version *v)
{
	const char *status;
	int err;

	err = store_read(s, st, "ttouss", v->service, sizeof(v->service), v->name, sizeof(v->name),
			 &v->has_weight, &v->weight_bp, &status, &v->definition);
	if (err)
		return err;
	v->has_status = status;
	v->status = VERSION_TESTING;
	if (status && !version_status_parse(&v->status, status))
		return store_bad_row(s, "status");
	return 0;
}

int store_each_version(struct store *s, int (*fn)(void *arg, const struct stored_version *v),
		       void *arg)
{
	struct stored_version v;
	sqlite3_stmt *st;
	int err;

	err = store_query(s, &st, STMT_EACH_VERSION, "");
	if (err)
		return err;
	while (!err && (err = store_next(s, st)) > 0) {
		err = read_version(s, st, &v);
		if (!err)
			err = fn(arg, &v);
	}
	store_done(s, STMT_EACH_VERSION, st);
	return err;
}

int store_put_ring_part(struct store *s, const char *service, uint32_t first, const uint64_t *slots,
			uint32_t n)
{
	return store_run(s, STMT_PUT_RING, "tub", service, first, slots, n * sizeof(*slots));
}

/* Parts lie end to end from slot 0 on; anything else is another ring's, or cut short. */
static int take_part(struct store *s, sqlite3_stmt *st, uint64_t *slots, uint32_t nslots,
		     uint32_t *have)
{
	size_t len = (size_t)sqlite3_column_bytes(st, 1);
	uint32_t first;

	if (len % sizeof(*slots) || len / sizeof(*slots) > nslots - *have ||
	    sqlite3_column_int64(st, 0) != *have)
		return -ERANGE;
	*have += (uint32_t)(len / sizeof(*slots));
	return store_read(s, st, "ub", &first, slots + *have - len / sizeof(*slots), len);
}

int store_get_ring(struct store *s, const char *service, uint64_t *slots, uint32_t nslots)
{
	uint32_t have = 0;
	sqlite3_stmt *st;
	int err;

	err = store_query(s, &st, STMT_GET_RING, "t", service);
	if (err)
		return err;
	while ((err = store_next(s, st)) > 0) {
		err = take_part(s, st, slots, nslots, &have);
		if (err)
			break;
	}
	store_done(s, STMT_GET_RING, st);
	if (!err && have != nslots)
		err = have ? -ERANGE : -ENOENT;
	return err;
}

int store_put_event(struct store *s, struct stored_event *e)
{
	int err;

	/* A crowd of events must not wait for the disk one by one: the next decision's commit takes
	 * them along, and only a host that dies first loses them. */
	if (!s->in_tx)
		sqlite3_exec(s->db, "PRAGMA synchronous = NORMAL", NULL, NULL, NULL);
	err = store_run(s, STMT_PUT_EVENT, "qtttt", e->unix_ms, e->kind, e->service, e->subject,
			e->text);
	if (!s->in_tx)
		sqlite3_exec(s->db, "PRAGMA synchronous = FULL", NULL, NULL, NULL);
	if (!err)
		e->id = (uint64_t)sqlite3_last_insert_rowid(s->db);
	return err;
}

int store_each_event(struct store *s, uint64_t since, size_t limit,
		     int (*fn)(void *arg, const struct stored_event *e), void *arg)
{
	struct stored_event e;
	sqlite3_stmt *st;
	int err;

	/* SQLite's integers are signed, and it takes a negative LIMIT for none. */
	since = since > INT64_MAX ? INT64_MAX : since;
	limit = limit > INT32_MAX ? INT32_MAX : limit;
	err = store_query(s, &st, STMT_EACH_EVENT, "qq", since, (uint64_t)limit);
	if (err)
		return err;
	while (!err && (err = store_next(s, st)) > 0) {
		err = store_read(s, st, "qqssss", &e.id, &e.unix_ms, &e.kind, &e.service,
				 &e.subject, &e.text);
		if (!err)
			err = fn(arg, &e);
	}
	store_done(s, STMT_EACH_EVENT, st);
	return err;
}

int store_prune(struct store *s, uint64_t before_unix_ms)
{
	bool own;
	int err;

	err = store_enter(s, &own);
	if (err)
		return err;
	err = store_run(s, STMT_PRUNE_EVENTS, "q", before_unix_ms);
	if (!err)
		err = store_run(s, STMT_PRUNE_DEPLOYS, "q", before_unix_ms);
	return store_leave(s, own, err);
}
