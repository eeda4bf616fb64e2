/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * The store as a whole: the lock, opening and checking the file, transactions, small values. What
 * is in the tables is the business of store_rows.c and store_deploy.c.
 */
#include "store.h"

#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <unistd.h>

#include "store_sql.h"

#define BUSY_TIMEOUT_MS 50 /* the loop stands still meanwhile */

/* Only the last part is made: a missing parent is a mount that is missing or a typing error. */
static int make_dir(const char *dir, struct diag *d)
{
	if (!mkdir(dir, 0750) || errno == EEXIST)
		return 0;
	return diag_set(d, errno, "state_dir", "/state/dir",
			"%s cannot be made: %s. Make it, or set state.dir to a directory that "
			"zddlbd may write.",
			dir, strerror(errno));
}

static int refuse_locked(int fd, const char *dir, struct diag *d)
{
	char pid[16] = "";
	ssize_t n;

	n = pread(fd, pid, sizeof(pid) - 1, 0);
	pid[n > 0 ? strspn(pid, "0123456789") : 0] = '\0';
	return diag_set(d, EBUSY, "state_locked", "/state/dir",
			"another zddlbd (pid %s) uses %s. Stop it, or set another state.dir.",
			pid[0] ? pid : "unknown", dir);
}

/* The lock lives as long as the descriptor: a killed agent leaves nothing to clean up. */
static int lock_dir(int *ret, const char *dir, struct diag *d)
{
	char path[PATH_MAX], pid[16];
	int fd, len, err;

	snprintf(path, sizeof(path), "%s/lock", dir);
	fd = open(path, O_RDWR | O_CREAT | O_CLOEXEC | O_NOFOLLOW, 0640);
	if (fd < 0)
		return diag_set(d, errno, "state_dir", "/state/dir",
				"%s cannot be opened for writing: %s. Check that state.dir is a "
				"directory that zddlbd may write.",
				path, strerror(errno));
	if (flock(fd, LOCK_EX | LOCK_NB)) {
		err = errno == EWOULDBLOCK
			      ? refuse_locked(fd, dir, d)
			      : diag_set(d, errno, "state_dir", "/state/dir",
					 "%s cannot be locked: %s. Use a file system with locks.",
					 path, strerror(errno));
		close(fd);
		return err;
	}

	/* For people only: on a full disk the lock holds without it. */
	len = snprintf(pid, sizeof(pid), "%d\n", (int)getpid());
	if (ftruncate(fd, 0) || pwrite(fd, pid, (size_t)len, 0) != len)
		errno = 0;
	*ret = fd;
	return 0;
}

static int explain_open(const struct store *s, const char *dir, int err, struct diag *d)
{
	if (err == -EUCLEAN)
		return diag_set(d, EUCLEAN, "state_corrupt", "/state/dir",
				"%s/state.db is damaged (%s). Move it aside with its -wal file (mv "
				"%s/state.db %s/state.db.bad) and start again: traffic goes on, "
				"weights and deployments made at run time are lost.",
				dir, s->error, dir, dir);
	return diag_set(d, -err, "state_unusable", "/state/dir", "%s/state.db: %s", dir, s->error);
}

static int check_pages(struct store *s)
{
	const char *words = "no answer";
	sqlite3_stmt *st = NULL;
	int rc, err = 0;

	rc = sqlite3_prepare_v2(s->db, "PRAGMA quick_check(1)", -1, &st, NULL);
	if (rc == SQLITE_OK)
		rc = sqlite3_step(st);
	if (rc != SQLITE_ROW) {
		err = store_fail(s, rc);
		goto out;
	}
	if (sqlite3_column_text(st, 0))
		words = (const char *)sqlite3_column_text(st, 0);
	if (strcmp(words, "ok") != 0) {
		snprintf(s->error, sizeof(s->error), "%s", words);
		err = -EUCLEAN;
	}
out:
	sqlite3_finalize(st);
	return err;
}

static int open_file(struct store *s, const char *dir)
{
	char path[PATH_MAX];
	int fd, rc;

	/* Made here for its mode; SQLite gives the files beside it the same. */
	snprintf(path, sizeof(path), "%s/state.db", dir);
	fd = open(path, O_RDWR | O_CREAT | O_CLOEXEC, 0640);
	if (fd < 0) {
		rc = errno;
		snprintf(s->error, sizeof(s->error), "%s. Check its owner and file system.",
			 strerror(rc));
		return -rc;
	}
	close(fd);

	rc = sqlite3_open_v2(path, &s->db, SQLITE_OPEN_READWRITE | SQLITE_OPEN_NOMUTEX, NULL);
	if (rc != SQLITE_OK)
		return s->db ? store_fail(s, rc) : -ENOMEM;
	sqlite3_extended_result_codes(s->db, 1);
	sqlite3_busy_timeout(s->db, BUSY_TIMEOUT_MS);
	sqlite3_db_config(s->db, SQLITE_DBCONFIG_DEFENSIVE, 1, NULL);
	sqlite3_db_config(s->db, SQLITE_DBCONFIG_TRUSTED_SCHEMA, 0, NULL);
	/* A file that is refused stays as it is, its log included. */
	sqlite3_db_config(s->db, SQLITE_DBCONFIG_NO_CKPT_ON_CLOSE, 1, NULL);
	return 0;
}

static int check_and_migrate(struct store *s, const char *dir, struct diag *d)
{
	int rc, err;

	err = check_pages(s);
	if (err)
		return err;
	rc = sqlite3_exec(s->db, "PRAGMA foreign_keys = ON", NULL, NULL, NULL);
	if (rc != SQLITE_OK)
		return store_fail(s, rc);
	err = store_migrate(s, dir, d);
	if (err)
		return err;
	rc = sqlite3_exec(s->db,
			  "PRAGMA journal_mode = WAL; PRAGMA synchronous = FULL;"
			  "PRAGMA journal_size_limit = 4194304",
			  NULL, NULL, NULL);
	if (rc != SQLITE_OK)
		return store_fail(s, rc);
	sqlite3_db_config(s->db, SQLITE_DBCONFIG_NO_CKPT_ON_CLOSE, 0, NULL);
	return 0;
}

int store_open(struct store **ret, const char *dir, struct diag *d)
{
	struct diag found = { .code = "" };
	struct store *s;
	int err;

	s = calloc(1, sizeof(*s));
	if (!s)
		return diag_set(d, ENOMEM, "no_memory", "", "out of memory");
	s->lock_fd = -1;

	err = make_dir(dir, d);
	if (!err)
		err = lock_dir(&s->lock_fd, dir, d);
	if (err)
		goto fail;

	err = open_file(s, dir);
	if (!err)
		err = check_and_migrate(s, dir, &found);
	if (err && found.code[0] && d)
		*d = found;
	else if (err)
		explain_open(s, dir, err, d);
	if (err)
		goto fail;

	*ret = s;
	return 0;
fail:
	store_close(s);
	return err;
}

void store_close(struct store *s)
{
	if (!s)
		return;
	for (int i = 0; i < STMT_MAX; i++)
		sqlite3_finalize(s->stmt[i]);
	sqlite3_close(s->db);
	if (s->lock_fd >= 0)
		close(s->lock_fd);
	free(s);
}

const char *store_error(const struct store *s)
{
	return s->error;
}

int store_begin(struct store *s)
{
	int err;

	if (s->in_tx) {
		snprintf(s->error, sizeof(s->error), "a transaction is open already");
		return -EALREADY;
	}
	err = store_run(s, STMT_BEGIN, "");
	if (!err)
		s->in_tx = true;
	return err;
}

void store_rollback(struct store *s)
{
	char words[sizeof(s->error)];

	if (!s->in_tx)
		return;
	s->in_tx = false;
	s->tx_err = 0;
	/* SQLite undoes it by itself after some failures; their words are worth more than ours. */
	memcpy(words, s->error, sizeof(words));
	if (!sqlite3_get_autocommit(s->db))
		store_run(s, STMT_ROLLBACK, "");
	memcpy(s->error, words, sizeof(words));
}

int store_commit(struct store *s)
{
	int err;

	if (!s->in_tx) {
		snprintf(s->error, sizeof(s->error), "no transaction is open");
		return -EINVAL;
	}
	err = s->tx_err ? s->tx_err : store_run(s, STMT_COMMIT, "");
	if (err)
		store_rollback(s);
	s->in_tx = false;
	return err;
}

int store_enter(struct store *s, bool *ret_own)
{
	*ret_own = !s->in_tx;
	return s->in_tx ? 0 : store_begin(s);
}

int store_leave(struct store *s, bool own, int err)
{
	if (own && err)
		store_rollback(s);
	return own && !err ? store_commit(s) : err;
}

int store_set_blob(struct store *s, const char *key, const void *data, size_t len)
{
	return store_run(s, STMT_SET_META, "tb", key, data, len);
}

int store_get_blob(struct store *s, const char *key, void *data, size_t *len)
{
	sqlite3_stmt *st = NULL;
	size_t have;
	int err;

	err = store_query(s, &st, STMT_GET_META, "t", key);
	if (err)
		return err;
	err = store_next(s, st);
	if (err <= 0) {
		err = err ? err : -ENOENT;
		goto out;
	}
	have = (size_t)sqlite3_column_bytes(st, 0);
	if (have > *len) {
		err = -ERANGE;
		goto out;
	}
	err = store_read(s, st, "b", data, have);
	if (!err)
		*len = have;
out:
	store_done(s, STMT_GET_META, st);
	return err;
}
