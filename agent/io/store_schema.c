/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * Tables of the state and every statement on them. Enumerations are stored by the names the API
 * uses, so that the file explains itself and their numbers may change.
 */
#include "store_sql.h"

#include <errno.h>

#include "../core/diag.h"

#define APPLICATION_ID 0x7a64646c /* "zddl" */

/* Step i leads from user_version i to i + 1. A published step is never changed. */
static const char *const migrations[] = {
	"CREATE TABLE meta ("
	" key TEXT PRIMARY KEY,"
	" value BLOB NOT NULL"
	") STRICT, WITHOUT ROWID;"

	"CREATE TABLE service ("
	" name TEXT PRIMARY KEY,"
	" idx INTEGER NOT NULL UNIQUE,"
	" ring_offset INTEGER NOT NULL,"
	" ring_slots INTEGER NOT NULL CHECK (ring_slots > 0),"
	" created INTEGER NOT NULL DEFAULT (unixepoch()),"
	" updated INTEGER NOT NULL DEFAULT (unixepoch())"
	") STRICT, WITHOUT ROWID;"

	/* No reference to service: a draining backend may outlive its service. */
	"CREATE TABLE backend ("
	" id INTEGER PRIMARY KEY CHECK (id BETWEEN 1 AND 65535),"
	" service TEXT NOT NULL,"
	" version TEXT NOT NULL,"
	" endpoint TEXT NOT NULL,"
	" admin TEXT NOT NULL,"
	" drain_started_ms INTEGER NOT NULL,"
	" removed INTEGER NOT NULL CHECK (removed IN (0, 1)),"
	" created INTEGER NOT NULL DEFAULT (unixepoch()),"
	" updated INTEGER NOT NULL DEFAULT (unixepoch())"
	") STRICT;"

	"CREATE TABLE service_version ("
	" service TEXT NOT NULL REFERENCES service (name)"
	"  ON DELETE CASCADE DEFERRABLE INITIALLY DEFERRED,"
	" version TEXT NOT NULL,"
	" weight_bp INTEGER CHECK (weight_bp BETWEEN 0 AND 10000),"
	" status TEXT,"
	" definition TEXT,"
	" created INTEGER NOT NULL DEFAULT (unixepoch()),"
	" updated INTEGER NOT NULL DEFAULT (unixepoch()),"
	" PRIMARY KEY (service, version)"
	") STRICT, WITHOUT ROWID;"

	"CREATE TABLE deployment ("
	" id INTEGER PRIMARY KEY,"
	" service TEXT NOT NULL,"
	" from_version TEXT NOT NULL,"
	" to_version TEXT NOT NULL,"
	" status TEXT NOT NULL,"
	" paused INTEGER NOT NULL CHECK (paused IN (0, 1)),"
	" step INTEGER NOT NULL,"
	" weight_bp INTEGER NOT NULL CHECK (weight_bp BETWEEN 0 AND 10000),"
	" elapsed_ms INTEGER NOT NULL,"
	" total_ms INTEGER NOT NULL,"
	" last_ms INTEGER NOT NULL,"
	" look_ms INTEGER NOT NULL,"
	" step_base_n INTEGER NOT NULL,"
	" reason TEXT NOT NULL,"
	" strategy TEXT NOT NULL,"
	" steps TEXT NOT NULL," /* [[weight_bp, pause_ms], ...] */
	" analysis_interval_ms INTEGER NOT NULL,"
	" analysis_alpha REAL NOT NULL,"
	" analysis_min_samples INTEGER NOT NULL,"
	" analysis_max_increase REAL NOT NULL,"
	" analysis_on_failure TEXT NOT NULL,"
	" lease_ms INTEGER NOT NULL,"
	" progress_deadline_ms INTEGER NOT NULL,"
	" verdict_alpha REAL NOT NULL,"
	" verdict_max_increase REAL NOT NULL,"
	" verdict_min_samples INTEGER NOT NULL,"
	" verdict_log_arm BLOB NOT NULL," /* doubles of this host */
	" canary_n INTEGER NOT NULL,"
	" canary_failed INTEGER NOT NULL,"
	" stable_n INTEGER NOT NULL,"
	" stable_failed INTEGER NOT NULL,"
	" started_ms INTEGER NOT NULL,"
	" ended_ms INTEGER NOT NULL,"
	" rollback_us INTEGER NOT NULL,"
	" updated INTEGER NOT NULL DEFAULT (unixepoch())"
	") STRICT;"
	"CREATE INDEX deployment_by_service ON deployment (service, id);"

	/* Apart from deployment, whose row is written at every look and is small. */
	"CREATE TABLE deployment_snapshot ("
	" deployment INTEGER PRIMARY KEY REFERENCES deployment (id) ON DELETE CASCADE,"
	" backends BLOB NOT NULL" /* one 16-bit id a slot, of this host's byte order */
	") STRICT;"

	"CREATE TABLE ring ("
	" service TEXT NOT NULL REFERENCES service (name)"
	"  ON DELETE CASCADE DEFERRABLE INITIALLY DEFERRED,"
	" first INTEGER NOT NULL," /* index of the part's first slot */
	" slots BLOB NOT NULL,"    /* slot words of include/zddlb/abi.h */
	" updated INTEGER NOT NULL DEFAULT (unixepoch()),"
	" PRIMARY KEY (service, first)"
	") STRICT;"

	/* AUTOINCREMENT: a reader's place in the stream stays right after a prune. */
	"CREATE TABLE event ("
	" id INTEGER PRIMARY KEY AUTOINCREMENT,"
	" unix_ms INTEGER NOT NULL,"
	" kind TEXT NOT NULL,"
	" service TEXT NOT NULL,"
	" subject TEXT NOT NULL,"
	" text TEXT NOT NULL"
	") STRICT;"
	"CREATE INDEX event_by_time ON event (unix_ms);",
};
#define SCHEMA_VERSION ((int)(sizeof(migrations) / sizeof(migrations[0])))

static const char *const statements[STMT_MAX] = {
	[STMT_BEGIN] = "BEGIN IMMEDIATE",
	[STMT_COMMIT] = "COMMIT",
	[STMT_ROLLBACK] = "ROLLBACK",
	[STMT_SET_META] = "INSERT OR REPLACE INTO meta (key, value) VALUES (?, ?)",
	[STMT_GET_META] = "SELECT value FROM meta WHERE key = ?",

	[STMT_PUT_SERVICE] =
		"INSERT INTO service (name, idx, ring_offset, ring_slots) VALUES (?, ?, ?, ?)"
		" ON CONFLICT (name) DO UPDATE SET idx = excluded.idx,"
		" ring_offset = excluded.ring_offset, ring_slots = excluded.ring_slots,"
		" updated = unixepoch()",
	[STMT_DEL_SERVICE] = "DELETE FROM service WHERE name = ?",
	[STMT_EACH_SERVICE] = "SELECT name, idx, ring_offset, ring_slots FROM service ORDER BY idx",

	[STMT_PUT_BACKEND] =
		"INSERT INTO backend (id, service, version, endpoint, admin, drain_started_ms,"
		" removed) VALUES (?, ?, ?, ?, ?, ?, ?)"
		" ON CONFLICT (id) DO UPDATE SET service = excluded.service,"
		" version = excluded.version, endpoint = excluded.endpoint,"
		" admin = excluded.admin, drain_started_ms = excluded.drain_started_ms,"
		" removed = excluded.removed, updated = unixepoch()",
	[STMT_DEL_BACKEND] = "DELETE FROM backend WHERE id = ?",
	[STMT_EACH_BACKEND] = "SELECT id, service, version, endpoint, admin, drain_started_ms,"
			      " removed FROM backend ORDER BY id",

	[STMT_PUT_VERSION] =
		"INSERT INTO service_version (service, version, weight_bp, status, definition)"
		" VALUES (?, ?, CASE WHEN ? THEN ? END, ?, ?)"
		" ON CONFLICT (service, version) DO UPDATE SET weight_bp = excluded.weight_bp,"
		" status = excluded.status, definition = excluded.definition,"
		" updated = unixepoch()",
	[STMT_DEL_VERSION] = "DELETE FROM service_version WHERE service = ? AND version = ?",
	[STMT_EACH_VERSION] = "SELECT service, version, weight_bp IS NOT NULL,"
			      " ifnull(weight_bp, 0), status, definition"
			      " FROM service_version ORDER BY service, created, version",

	[STMT_PUT_DEPLOY] =
		"INSERT INTO deployment (id, service, from_version, to_version, status, paused,"
		" step, weight_bp, elapsed_ms, total_ms, last_ms, look_ms, step_base_n, reason,"
		" strategy, steps, analysis_interval_ms, analysis_alpha, analysis_min_samples,"
		" analysis_max_increase, analysis_on_failure, lease_ms, progress_deadline_ms,"
		" verdict_alpha, verdict_max_increase, verdict_min_samples, verdict_log_arm,"
		" canary_n, canary_failed, stable_n, stable_failed, started_ms, ended_ms,"
		" rollback_us) VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?,"
		" ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)"
		" ON CONFLICT (id) DO UPDATE SET service = excluded.service,"
		" from_version = excluded.from_version, to_version = excluded.to_version,"
		" status = excluded.status, paused = excluded.paused, step = excluded.step,"
		" weight_bp = excluded.weight_bp, elapsed_ms = excluded.elapsed_ms,"
		" total_ms = excluded.total_ms, last_ms = excluded.last_ms,"
		" look_ms = excluded.look_ms, step_base_n = excluded.step_base_n,"
		" reason = excluded.reason, strategy = excluded.strategy,"
		" steps = excluded.steps, analysis_interval_ms = excluded.analysis_interval_ms,"
		" analysis_alpha = excluded.analysis_alpha,"
		" analysis_min_samples = excluded.analysis_min_samples,"
		" analysis_max_increase = excluded.analysis_max_increase,"
		" analysis_on_failure = excluded.analysis_on_failure,"
		" lease_ms = excluded.lease_ms,"
		" progress_deadline_ms = excluded.progress_deadline_ms,"
		" verdict_alpha = excluded.verdict_alpha,"
		" verdict_max_increase = excluded.verdict_max_increase,"
		" verdict_min_samples = excluded.verdict_min_samples,"
		" verdict_log_arm = excluded.verdict_log_arm, canary_n = excluded.canary_n,"
		" canary_failed = excluded.canary_failed, stable_n = excluded.stable_n,"
		" stable_failed = excluded.stable_failed, started_ms = excluded.started_ms,"
		" ended_ms = excluded.ended_ms, rollback_us = excluded.rollback_us,"
		" updated = unixepoch()",
	[STMT_EACH_DEPLOY] =
		"SELECT id, service, from_version, to_version, paused, step, weight_bp,"
		" elapsed_ms, total_ms, last_ms, look_ms, step_base_n, reason,"
		" strategy, analysis_interval_ms, analysis_alpha, analysis_min_samples,"
		" analysis_max_increase, lease_ms, progress_deadline_ms,"
		" verdict_alpha, verdict_max_increase, verdict_min_samples, verdict_log_arm,"
		" canary_n, canary_failed, stable_n, stable_failed, started_ms, ended_ms,"
		" rollback_us, status, steps, analysis_on_failure, backends"
		" FROM deployment LEFT JOIN deployment_snapshot ON deployment = id"
		" WHERE ?1 IS NULL OR service = ?1 ORDER BY id",
	[STMT_NEXT_DEPLOY] = "SELECT ifnull(max(id), 0) + 1 FROM deployment",
	[STMT_PUT_SNAPSHOT] =
		"INSERT OR REPLACE INTO deployment_snapshot (deployment, backends) VALUES (?, ?)",
	[STMT_DEL_SNAPSHOT] = "DELETE FROM deployment_snapshot WHERE deployment = ?",

	[STMT_PUT_RING] =
		"INSERT INTO ring (service, first, slots) VALUES (?, ?, ?) ON CONFLICT (service, first)"
		" DO UPDATE SET slots = excluded.slots, updated = unixepoch()",
	[STMT_GET_RING] = "SELECT first, slots FROM ring WHERE service = ? ORDER BY first",

	[STMT_PUT_EVENT] = "INSERT INTO event (unix_ms, kind, service, subject, text)"
			   " VALUES (?, ?, ?, ?, ?)",
	[STMT_EACH_EVENT] = "SELECT id, unix_ms, kind, service, subject, text FROM event"
			    " WHERE id > ? ORDER BY id LIMIT ?",
	[STMT_PRUNE_EVENTS] = "DELETE FROM event WHERE unix_ms < ?",
	[STMT_PRUNE_DEPLOYS] =
		"DELETE FROM deployment AS old WHERE ended_ms > 0 AND ended_ms < ? AND id NOT IN"
		" (SELECT id FROM deployment AS kept WHERE kept.service = old.service"
		" AND kept.ended_ms > 0 ORDER BY kept.id DESC LIMIT 10)",
};

const char *store_stmt_text(enum store_stmt id)
{
	return statements[id];
}

/* The first column of the first row, as a number. */
static int read_number(struct store *s, const char *sql, int *ret)
{
	sqlite3_stmt *st = NULL;
	int rc;

	rc = sqlite3_prepare_v2(s->db, sql, -1, &st, NULL);
	if (rc == SQLITE_OK)
		rc = sqlite3_step(st);
	if (rc == SQLITE_ROW)
		*ret = sqlite3_column_int(st, 0);
	sqlite3_finalize(st);
	return rc == SQLITE_ROW ? 0 : store_fail(s, rc);
}

static int check_origin(struct store *s, const char *dir, int *ret_version, struct diag *d)
{
	int id = 0, tables = 0, err;

	err = read_number(s, "PRAGMA application_id", &id);
	if (!err)
		err = read_number(s, "PRAGMA user_version", ret_version);
	if (!err)
		err = read_number(s, "SELECT count(*) FROM sqlite_schema", &tables);
	if (err)
		return err;

	if (id != APPLICATION_ID && (id || tables || *ret_version))
		return diag_set(d, EUCLEAN, "state_foreign", "/state/dir",
				"%s/state.db is a database of another program. Move it away, or "
				"set state.dir to a directory of zddlb's own.",
				dir);
	if (*ret_version > SCHEMA_VERSION || *ret_version < 0)
		return diag_set(d, EPROTONOSUPPORT, "state_newer", "/state/dir",
				"%s/state.db has schema version %d, this zddlbd knows up to %d. "
				"Start the newer zddlbd that wrote it, or set another state.dir.",
				dir, *ret_version, SCHEMA_VERSION);
	return 0;
}

static int run_step(struct store *s, int from)
{
	char *sql;
	int rc;

	sql = sqlite3_mprintf("BEGIN IMMEDIATE; %s PRAGMA application_id = %d;"
			      "PRAGMA user_version = %d; COMMIT",
			      migrations[from], APPLICATION_ID, from + 1);
	if (!sql)
		return -ENOMEM;
	rc = sqlite3_exec(s->db, sql, NULL, NULL, NULL);
	sqlite3_free(sql);
	return rc == SQLITE_OK ? 0 : store_fail(s, rc);
}

int store_migrate(struct store *s, const char *dir, struct diag *d)
{
	int version = 0, err;

	err = check_origin(s, dir, &version, d);
	for (; !err && version < SCHEMA_VERSION; version++)
		err = run_step(s, version);
	if (err && !sqlite3_get_autocommit(s->db))
		sqlite3_exec(s->db, "ROLLBACK", NULL, NULL, NULL);
	return err;
}
