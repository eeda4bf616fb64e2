/* SPDX-License-Identifier: GPL-2.0-only */
/* Values into statements and out of rows; what SQLite's failures mean here. */
#include "store_sql.h"

#include <errno.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>

static const struct {
	int rc, err;
	const char *cure;
} failures[] = {
	{ SQLITE_FULL, ENOSPC, "free space on the file system of the state directory" },
	{ SQLITE_READONLY, EROFS, "make the state directory writable" },
	{ SQLITE_PERM, EACCES, "make the state directory accessible to zddlbd" },
	{ SQLITE_CANTOPEN, EIO, "check the state directory's owner, space and inodes" },
	{ SQLITE_IOERR, EIO, "check the disk and the kernel's log" },
	{ SQLITE_BUSY, EIO, "another program holds the database: end it" },
	{ SQLITE_LOCKED, EIO, "another program holds the database: end it" },
	{ SQLITE_CORRUPT, EUCLEAN, "stop zddlbd and move state.db aside" },
	{ SQLITE_NOTADB, EUCLEAN, "stop zddlbd and move state.db aside" },
	{ SQLITE_NOMEM, ENOMEM, "free memory" },
	{ SQLITE_TOOBIG, E2BIG, "the value is too large to be stored" },
	{ SQLITE_CONSTRAINT, EINVAL, "the value breaks a rule of the schema" },
	{ SQLITE_MISMATCH, EINVAL, "the value breaks a rule of the schema" },
};

/* SQLite says "I/O error" for these too; the system knows better. */
static int system_cause(int err, int os)
{
	if (err != EIO)
		return err;
	switch (os) {
	case ENOSPC:
	case EDQUOT:
	case EFBIG:
		return ENOSPC;
	case EROFS:
	case EACCES:
	case EPERM:
		return EROFS;
	}
	return err;
}

int store_fail(struct store *s, int rc)
{
	const char *cure = "check the disk and the kernel's log";
	int os = errno, err = EIO;

	/* SQLite does not note the cause of a commit that fails; then errno still has it. */
	if (sqlite3_system_errno(s->db))
		os = sqlite3_system_errno(s->db);

	for (size_t i = 0; i < sizeof(failures) / sizeof(failures[0]); i++) {
		if (failures[i].rc == (rc & 0xff)) {
			err = failures[i].err;
			cure = failures[i].cure;
		}
	}
	if (err == EIO && system_cause(err, os) != EIO) {
		err = system_cause(err, os);
		cure = err == ENOSPC ? failures[0].cure : failures[1].cure;
	}
	snprintf(s->error, sizeof(s->error), "%s (%s): %s", sqlite3_errmsg(s->db), strerror(err),
		 cure);
	return -err;
}

/* The kept statement, or while a walk over its rows goes on another one like it. */
static int prepare(struct store *s, enum store_stmt id, sqlite3_stmt **ret)
{
	bool in_use = s->stmt[id] && sqlite3_stmt_busy(s->stmt[id]);
	sqlite3_stmt *st = NULL;
	int rc;

	if (s->stmt[id] && !in_use) {
		*ret = s->stmt[id];
		return 0;
	}
	rc = sqlite3_prepare_v3(s->db, store_stmt_text(id), -1,
				in_use ? 0 : SQLITE_PREPARE_PERSISTENT, &st, NULL);
	if (rc != SQLITE_OK)
		return store_fail(s, rc);
	if (!in_use)
		s->stmt[id] = st;
	*ret = st;
	return 0;
}

void store_done(struct store *s, enum store_stmt id, sqlite3_stmt *st)
{
	if (st != s->stmt[id]) {
		sqlite3_finalize(st);
		return;
	}
	sqlite3_reset(st);
	sqlite3_clear_bindings(st);
}

/* Bound values are borrowed: every statement is stepped before the caller's memory can go. */
static int bind(sqlite3_stmt *st, const char *fmt, va_list ap)
{
	const void *blob;
	int rc = SQLITE_OK;
	size_t len;

	for (int i = 1; *fmt && rc == SQLITE_OK; i++, fmt++) {
		switch (*fmt) {
		case 't':
			rc = sqlite3_bind_text(st, i, va_arg(ap, const char *), -1, SQLITE_STATIC);
			break;
		case 'i':
			rc = sqlite3_bind_int(st, i, va_arg(ap, int));
			break;
		case 'u':
			rc = sqlite3_bind_int64(st, i, va_arg(ap, uint32_t));
			break;
		case 'q':
			rc = sqlite3_bind_int64(st, i, (sqlite3_int64)va_arg(ap, uint64_t));
			break;
		case 'd':
			rc = sqlite3_bind_double(st, i, va_arg(ap, double));
			break;
		case 'b':
			/* An empty blob is a value; SQLite takes a NULL pointer for none. */
			blob = va_arg(ap, const void *);
			len = va_arg(ap, size_t);
			rc = sqlite3_bind_blob64(st, i, len ? blob : "", len, SQLITE_STATIC);
			break;
		}
	}
	return rc;
}

static int query(struct store *s, sqlite3_stmt **ret, enum store_stmt id, const char *fmt,
		 va_list ap)
{
	sqlite3_stmt *st = NULL;
	int err, rc;

	err = prepare(s, id, &st);
	if (err)
		return err;
	rc = bind(st, fmt, ap);
	if (rc != SQLITE_OK) {
		err = store_fail(s, rc);
		store_done(s, id, st);
		return err;
	}
	*ret = st;
	return 0;
}

int store_query(struct store *s, sqlite3_stmt **ret, enum store_stmt id, const char *fmt, ...)
{
	va_list ap;
	int err;

	va_start(ap, fmt);
	err = query(s, ret, id, fmt, ap);
	va_end(ap);
	return err;
}

int store_next(struct store *s, sqlite3_stmt *st)
{
	int rc;

	errno = 0;
	rc = sqlite3_step(st);
	if (rc == SQLITE_ROW)
		return 1;
	return rc == SQLITE_DONE ? 0 : store_fail(s, rc);
}

/* SQLite would go on writing into a file that no name leads to, and a restart would find nothing. */
static bool is_moved(struct store *s)
{
	int moved = 0;

	if (sqlite3_file_control(s->db, "main", SQLITE_FCNTL_HAS_MOVED, &moved) != SQLITE_OK ||
	    !moved)
		return false;
	snprintf(
		s->error, sizeof(s->error),
		"state.db was deleted or moved away: put it back, or restart zddlbd to begin anew");
	return true;
}

int store_run(struct store *s, enum store_stmt id, const char *fmt, ...)
{
	sqlite3_stmt *st = NULL;
	va_list ap;
	int err;

	/* SQLite may have left the transaction by itself: what follows must not commit alone. */
	if (s->tx_err)
		return s->tx_err;
	if (!s->in_tx && is_moved(s))
		return -EIO;

	va_start(ap, fmt);
	err = query(s, &st, id, fmt, ap);
	va_end(ap);
	if (!err) {
		err = store_next(s, st);
		store_done(s, id, st);
	}
	if (err && s->in_tx)
		s->tx_err = err;
	return err;
}

int store_bad_row(struct store *s, const char *what)
{
	snprintf(s->error, sizeof(s->error),
		 "a row holds what zddlbd does not write (%s): stop zddlbd and move state.db aside",
		 what);
	return -EUCLEAN;
}

static bool read_bytes(sqlite3_stmt *st, int col, void *dst, size_t len, bool is_text)
{
	const void *src =
		is_text ? (const void *)sqlite3_column_text(st, col) : sqlite3_column_blob(st, col);
	size_t have = (size_t)sqlite3_column_bytes(st, col);

	if (is_text ? !src || have >= len : have != len)
		return false;
	if (have)
		memcpy(dst, src, have);
	if (is_text)
		((char *)dst)[have] = '\0';
	return true;
}

static bool read_column(sqlite3_stmt *st, int col, char kind, va_list *ap)
{
	sqlite3_int64 n = sqlite3_column_int64(st, col);
	void *dst = va_arg(*ap, void *);
	bool fits = true;

	switch (kind) {
	case 't':
	case 'b':
		return read_bytes(st, col, dst, va_arg(*ap, size_t), kind == 't');
	case 's':
		*(const char **)dst = (const char *)sqlite3_column_text(st, col);
		break;
	case 'u':
		fits = n >= 0 && n <= UINT32_MAX;
		*(uint32_t *)dst = (uint32_t)n;
		break;
	case 'h':
		fits = n >= 0 && n <= UINT16_MAX;
		*(uint16_t *)dst = (uint16_t)n;
		break;
	case 'q':
		*(uint64_t *)dst = (uint64_t)n;
		break;
	case 'o':
		*(bool *)dst = n != 0;
		break;
	case 'd':
		*(double *)dst = sqlite3_column_double(st, col);
		break;
	}
	return fits;
}

int store_read(struct store *s, sqlite3_stmt *st, const char *fmt, ...)
{
	bool fits = true;
	va_list ap;

	va_start(ap, fmt);
	for (int col = 0; fmt[col] && fits; col++) {
		fits = read_column(st, col, fmt[col], &ap);
		if (!fits)
			store_bad_row(s, sqlite3_column_name(st, col));
	}
	va_end(ap);
	return fits ? 0 : -EUCLEAN;
}
