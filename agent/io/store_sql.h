/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * Inside of the store: the statements it knows and how values get into them and out of rows. Not
 * for other modules.
 */
#ifndef ZDDLB_IO_STORE_SQL_H
#define ZDDLB_IO_STORE_SQL_H

#include <sqlite3.h>
#include <stdbool.h>
#include <stddef.h>

struct diag;

enum store_stmt {
	STMT_BEGIN,
	STMT_COMMIT,
	STMT_ROLLBACK,
	STMT_SET_META,
	STMT_GET_META,
	STMT_PUT_SERVICE,
	STMT_DEL_SERVICE,
	STMT_EACH_SERVICE,
	STMT_PUT_BACKEND,
	STMT_DEL_BACKEND,
	STMT_EACH_BACKEND,
	STMT_PUT_VERSION,
	STMT_DEL_VERSION,
	STMT_EACH_VERSION,
	STMT_PUT_DEPLOY,
	STMT_EACH_DEPLOY,
	STMT_NEXT_DEPLOY,
	STMT_PUT_SNAPSHOT,
	STMT_DEL_SNAPSHOT,
	STMT_PUT_RING,
	STMT_GET_RING,
	STMT_PUT_EVENT,
	STMT_EACH_EVENT,
	STMT_PRUNE_EVENTS,
	STMT_PRUNE_DEPLOYS,
	STMT_MAX
};

struct store {
	sqlite3 *db;
	sqlite3_stmt *stmt[STMT_MAX]; /* prepared at first use, kept */
	int lock_fd;
	bool in_tx;
	int tx_err; /* the first failed write since store_begin: nothing of it will be committed */
	char error[512];
};

/* Bring a database to the newest schema. -EPROTONOSUPPORT: it is newer than this binary. */
int store_migrate(struct store *s, const char *dir, struct diag *d);
const char *store_stmt_text(enum store_stmt id);

/* Keep SQLite's words with a cure, return its result code as a negative errno. */
int store_fail(struct store *s, int rc);

/*
 * Bind by format, one letter a value: t const char * (NULL: NULL), i int, u uint32_t, q uint64_t,
 * d double, b const void * and size_t.
 */
int store_run(struct store *s, enum store_stmt id, const char *fmt, ...);
int store_query(struct store *s, sqlite3_stmt **ret, enum store_stmt id, const char *fmt, ...);
int store_next(struct store *s, sqlite3_stmt *st); /* 1: a row, 0: no more, or an error */
/*
 * Columns into variables: t char * and size_t of room, s const char ** (valid until the next row),
 * u uint32_t *, h uint16_t *, q uint64_t *, o bool *, d double *, b void * and size_t (exactly that
 * many bytes). -EUCLEAN: a value does not fit.
 */
int store_read(struct store *s, sqlite3_stmt *st, const char *fmt, ...);
/* A row that holds what this program does not write. */
int store_bad_row(struct store *s, const char *what);
void store_done(struct store *s, enum store_stmt id, sqlite3_stmt *st);

/* A transaction of its own, or part of the one that is open. */
int store_enter(struct store *s, bool *ret_own);
int store_leave(struct store *s, bool own, int err);

#endif
