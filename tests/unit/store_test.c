/* SPDX-License-Identifier: GPL-2.0-only */
/* The store on real files: what goes in comes out, also after kill -9 and on a full disk. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include <errno.h>
#include <fcntl.h>
#include <math.h>
#include <sched.h>
#include <signal.h>
#include <sqlite3.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mount.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include "../../agent/io/store.h"

static char dir[64], db_path[96];

static int make_state_dir(void **state)
{
	const char *tmp = getenv("TMPDIR");

	(void)state;
	snprintf(dir, sizeof(dir), "%.40s/store-test-XXXXXX", tmp ? tmp : "/tmp");
	if (!mkdtemp(dir))
		return -1;
	strcat(dir, "/s");
	snprintf(db_path, sizeof(db_path), "%s/state.db", dir);
	return 0;
}

static int remove_state_dir(void **state)
{
	static const char *const names[] = { "state.db", "state.db-wal", "state.db-shm", "lock" };
	char path[128];

	(void)state;
	for (size_t i = 0; i < sizeof(names) / sizeof(names[0]); i++) {
		snprintf(path, sizeof(path), "%s/%s", dir, names[i]);
		unlink(path);
	}
	rmdir(dir);
	dir[strlen(dir) - 2] = '\0';
	return rmdir(dir);
}

static struct store *must_open(void)
{
	struct diag d = { .text = "" };
	struct store *s = NULL;

	if (store_open(&s, dir, &d))
		fail_msg("%s", d.text);
	return s;
}

static struct store *reopen(struct store *s)
{
	store_close(s);
	return must_open();
}

/* Another program's hand on the file. */
static void raw_sql(const char *sql)
{
	sqlite3 *db;

	assert_int_equal(sqlite3_open(db_path, &db), SQLITE_OK);
	assert_int_equal(sqlite3_exec(db, sql, NULL, NULL, NULL), SQLITE_OK);
	sqlite3_close(db);
}

static size_t read_db(char **ret)
{
	FILE *f = fopen(db_path, "r");
	struct stat st;
	char *bytes;

	assert_non_null(f);
	assert_int_equal(fstat(fileno(f), &st), 0);
	bytes = malloc((size_t)st.st_size + 1);
	assert_non_null(bytes);
	assert_int_equal(fread(bytes, 1, (size_t)st.st_size, f), st.st_size);
	fclose(f);
	*ret = bytes;
	return (size_t)st.st_size;
}

static void open_refuses(int expected, const char *words)
{
	struct diag d = { .text = "" };
	char *before, *after;
	struct store *s;
	size_t len;

	len = read_db(&before);
	assert_int_equal(store_open(&s, dir, &d), expected);
	if (!strstr(d.text, words))
		fail_msg("\"%s\" does not say \"%s\"", d.text, words);
	assert_string_equal(d.pointer, "/state/dir");
	assert_int_equal(read_db(&after), len);
	assert_memory_equal(before, after, len);
	free(before);
	free(after);
}

static void small_values_come_back(void **state)
{
	struct store *s = must_open();
	char got[8] = "";
	size_t len = sizeof(got);

	(void)state;
	assert_int_equal(store_get_blob(s, "hash_seed", got, &len), -ENOENT);
	assert_int_equal(store_set_blob(s, "hash_seed", "one", 3), 0);
	assert_int_equal(store_set_blob(s, "hash_seed", "tw\0", 3), 0);
	s = reopen(s);
	assert_int_equal(store_get_blob(s, "hash_seed", got, &len), 0);
	assert_int_equal(len, 3);
	assert_memory_equal(got, "tw\0", 3);
	len = 2;
	assert_int_equal(store_get_blob(s, "hash_seed", got, &len), -ERANGE);
	assert_int_equal(len, 2);
	assert_int_equal(store_set_blob(s, "empty", NULL, 0), 0);
	assert_int_equal(store_get_blob(s, "empty", got, &len), 0);
	assert_int_equal(len, 0);
	store_close(s);
}

static int take_service(void *arg, const struct stored_service *v)
{
	struct stored_service **at = arg;

	*(*at)++ = *v;
	return 0;
}

static void services_come_back_in_order_of_their_index(void **state)
{
	struct stored_service a = { "web", 1, 1024, 2048 }, b = { "auth", 0, 0, 1024 };
	struct stored_service got[4], *end = got;
	struct store *s = must_open();

	(void)state;
	assert_int_equal(store_put_service(s, &a), 0);
	assert_int_equal(store_put_service(s, &b), 0);
	a.ring_offset = 4096;
	assert_int_equal(store_put_service(s, &a), 0);
	s = reopen(s);
	assert_int_equal(store_each_service(s, take_service, &end), 0);
	assert_int_equal(end - got, 2);
	assert_string_equal(got[0].name, "auth");
	assert_string_equal(got[1].name, "web");
	assert_int_equal(got[1].index, 1);
	assert_int_equal(got[1].ring_offset, 4096);
	assert_int_equal(got[1].ring_slots, 2048);

	assert_int_equal(store_del_service(s, "auth"), 0);
	end = got;
	assert_int_equal(store_each_service(s, take_service, &end), 0);
	assert_int_equal(end - got, 1);
	store_close(s);
}

static void two_services_with_one_index_are_refused(void **state)
{
	struct stored_service a = { "web", 1, 0, 1024 }, b = { "auth", 1, 1024, 1024 };
	struct store *s = must_open();

	(void)state;
	assert_int_equal(store_put_service(s, &a), 0);
	assert_int_equal(store_put_service(s, &b), -EINVAL);
	assert_non_null(strstr(store_error(s), "service.idx"));
	store_close(s);
}

static int take_backend(void *arg, const struct stored_backend *v)
{
	struct stored_backend **at = arg;

	*(*at)++ = *v;
	return 0;
}

static void backends_come_back(void **state)
{
	struct stored_backend a = { .id = 65535,
				    .service = "web",
				    .version = "v1",
				    .admin = ADMIN_DRAINING,
				    .drain_started_unix_ms = 1700000000123,
				    .removed = true };
	struct stored_backend b = { .id = 1, .service = "web", .version = "v2" };
	struct stored_backend got[4], *end = got;
	struct store *s = must_open();

	(void)state;
	assert_true(endpoint_parse(&a.ep, "[2001:db8::1]:7200"));
	assert_true(endpoint_parse(&b.ep, "10.0.0.1:7200"));
	assert_int_equal(store_put_backend(s, &a), 0);
	assert_int_equal(store_put_backend(s, &b), 0);
	s = reopen(s);
	assert_int_equal(store_each_backend(s, take_backend, &end), 0);
	assert_int_equal(end - got, 2);
	assert_int_equal(got[0].id, 1);
	assert_true(endpoint_equal(&got[0].ep, &b.ep));
	assert_int_equal(got[0].admin, ADMIN_ACTIVE);
	assert_false(got[0].removed);
	assert_int_equal(got[1].id, 65535);
	assert_true(endpoint_equal(&got[1].ep, &a.ep));
	assert_int_equal(got[1].admin, ADMIN_DRAINING);
	assert_int_equal(got[1].drain_started_unix_ms, 1700000000123);
	assert_true(got[1].removed);
	assert_string_equal(got[1].version, "v1");

	assert_int_equal(store_del_backend(s, 1), 0);
	end = got;
	assert_int_equal(store_each_backend(s, take_backend, &end), 0);
	assert_int_equal(end - got, 1);
	store_close(s);
}

static int take_version(void *arg, const struct stored_version *v)
{
	struct stored_version **at = arg;

	**at = *v;
	(*at)->definition = v->definition ? strdup(v->definition) : NULL;
	(*at)++;
	return 0;
}

static void versions_come_back_with_what_they_override_and_nothing_else(void **state)
{
	struct stored_version a = { .service = "web", .name = "v1", .has_weight = true };
	struct stored_version b = { .service = "web",
				    .name = "v2",
				    .has_status = true,
				    .status = VERSION_STAGING,
				    .definition = "{\"version\":\"v2\"}" };
	struct stored_service web = { "web", 0, 0, 1024 };
	struct stored_version got[4] = { 0 }, *end = got;
	struct store *s = must_open();

	(void)state;
	assert_int_equal(store_put_service(s, &web), 0);
	assert_int_equal(store_put_version(s, &a), 0);
	assert_int_equal(store_put_version(s, &b), 0);
	a.weight_bp = 10001;
	assert_int_equal(store_put_version(s, &a), -EINVAL);
	a.weight_bp = 250;
	assert_int_equal(store_put_version(s, &a), 0);
	s = reopen(s);
	assert_int_equal(store_each_version(s, take_version, &end), 0);
	assert_int_equal(end - got, 2);
	assert_true(got[0].has_weight);
	assert_int_equal(got[0].weight_bp, 250);
	assert_false(got[0].has_status);
	assert_null(got[0].definition);
	assert_false(got[1].has_weight);
	assert_true(got[1].has_status);
	assert_int_equal(got[1].status, VERSION_STAGING);
	assert_string_equal(got[1].definition, b.definition);
	free((void *)(uintptr_t)got[1].definition);

	assert_int_equal(store_del_version(s, "web", "v2"), 0);
	end = got;
	assert_int_equal(store_each_version(s, take_version, &end), 0);
	assert_int_equal(end - got, 1);
	store_close(s);
}

static const uint16_t snapshot[] = { 1, 2, 3, 65535, 7 };

static struct stored_deploy sample_deploy(uint64_t id)
{
	struct stored_deploy v = {
		.deploy = {
			.id = id, .service = "web", .from = "v1", .to = "v2",
			.strategy = {
				.name = "canary-default",
				.steps = { { 100, 300000 }, { 1000, UINT64_MAX }, { 10000, 0 } },
				.nsteps = 3,
				.analysis = { .interval_ms = 11, .alpha = 0.05, .min_samples = 12,
					      .max_increase = 0.01,
					      .on_failure = ON_FAILURE_PAUSE },
				.lease_ms = 13, .progress_deadline_ms = 14,
			},
			.status = DEPLOY_ROLLING, .paused = true, .step = 1, .weight_bp = 1000,
			.elapsed_ms = 21, .total_ms = 22, .last_ms = 23, .look_ms = 24,
			.step_base_n = 25,
			.verdict = { .alpha = 0.06, .max_increase = 0.02, .min_samples = 31,
				     .log_arm = { -INFINITY, 0.1, -0.2, 1e300, 5, 6, 7, 8 },
				     .canary_n = 32, .canary_failed = 33, .stable_n = 34,
				     .stable_failed = UINT64_MAX },
			.reason = "waits for \"evidence\"",
		},
		.started_unix_ms = 1700000000001, .ended_unix_ms = 0, .rollback_us = 41,
		.snapshot = snapshot, .nsnapshot = 5,
	};

	return v;
}

struct taken_deploys {
	struct stored_deploy v[64];
	size_t n;
};

static int take_deploy(void *arg, const struct stored_deploy *v)
{
	struct taken_deploys *t = arg;

	t->v[t->n] = *v;
	if (v->snapshot) {
		assert_int_equal(v->nsnapshot, 5);
		assert_memory_equal(v->snapshot, snapshot, sizeof(snapshot));
	}
	t->n++;
	return 0;
}

/* A field that somebody adds to the machine must be added to the store as well. */
_Static_assert(sizeof(struct strategy) == 640, "struct strategy has changed: store it");
_Static_assert(sizeof(struct verdict) == 120, "struct verdict has changed: store it");
_Static_assert(sizeof(struct deploy) == 1272, "struct deploy has changed: store it");

static void a_deployment_comes_back_bit_for_bit(void **state)
{
	struct stored_deploy in = sample_deploy(1);
	static struct taken_deploys t;
	struct store *s = must_open();

	(void)state;
	t.n = 0;
	assert_int_equal(store_next_deploy_id(s), 1);
	assert_int_equal(store_put_deploy(s, &in), 0);
	in.deploy.step = 2;
	in.snapshot = NULL;
	assert_int_equal(store_put_deploy(s, &in), 0);
	assert_int_equal(store_next_deploy_id(s), 2);
	s = reopen(s);
	assert_int_equal(store_each_deploy(s, NULL, take_deploy, &t), 0);
	assert_int_equal(t.n, 1);
	assert_non_null(t.v[0].snapshot);
	assert_int_equal(t.v[0].started_unix_ms, in.started_unix_ms);
	assert_int_equal(t.v[0].ended_unix_ms, 0);
	assert_int_equal(t.v[0].rollback_us, 41);
	assert_memory_equal(&t.v[0].deploy, &in.deploy, sizeof(in.deploy));
	store_close(s);
}

static void the_snapshot_goes_when_a_deployment_is_over(void **state)
{
	struct stored_deploy in = sample_deploy(1);
	static struct taken_deploys t;
	struct store *s = must_open();

	(void)state;
	t.n = 0;
	assert_int_equal(store_put_deploy(s, &in), 0);
	in.deploy.status = DEPLOY_ROLLED_BACK;
	in.ended_unix_ms = 1700000000002;
	assert_int_equal(store_put_deploy(s, &in), 0);
	assert_int_equal(store_each_deploy(s, "web", take_deploy, &t), 0);
	assert_int_equal(t.n, 1);
	assert_null(t.v[0].snapshot);
	assert_int_equal(t.v[0].deploy.status, DEPLOY_ROLLED_BACK);
	assert_int_equal(store_each_deploy(s, "other", take_deploy, &t), 0);
	assert_int_equal(t.n, 1);
	store_close(s);
}

static void a_deleted_file_is_told_and_not_written_to(void **state)
{
	struct stored_service web = { "web", 0, 0, 1024 };
	struct store *s = must_open();
	char path[512], aside[520];

	(void)state;
	snprintf(path, sizeof(path), "%s/state.db", dir);
	snprintf(aside, sizeof(aside), "%s/aside.db", dir);
	assert_int_equal(rename(path, aside), 0);
	assert_int_equal(store_put_service(s, &web), -EIO);
	assert_int_equal(store_begin(s), -EIO);
	assert_non_null(strstr(store_error(s), "put it back"));
	assert_int_equal(rename(aside, path), 0);
	assert_int_equal(store_put_service(s, &web), 0);
	store_close(s);
}

static void a_ring_comes_back_and_goes_with_its_service(void **state)
{
	struct stored_service web = { "web", 0, 0, 16384 };
	uint64_t slots[1024], got[1024];
	struct store *s = must_open();

	(void)state;
	for (size_t i = 0; i < 1024; i++)
		slots[i] = i * 0x9e3779b97f4a7c15;
	assert_int_equal(store_put_ring_part(s, "web", 0, slots, 1024), -EINVAL);
	assert_int_equal(store_put_service(s, &web), 0);
	assert_int_equal(store_get_ring(s, "web", got, 1024), -ENOENT);
	assert_int_equal(store_put_ring_part(s, "web", 512, slots + 512, 512), 0);
	assert_int_equal(store_get_ring(s, "web", got, 1024), -ERANGE);
	assert_int_equal(store_put_ring_part(s, "web", 0, slots, 512), 0);
	s = reopen(s);
	assert_int_equal(store_get_ring(s, "web", got, 1024), 0);
	assert_memory_equal(got, slots, sizeof(slots));
	assert_int_equal(store_get_ring(s, "web", got, 512), -ERANGE);
	assert_int_equal(store_del_service(s, "web"), 0);
	assert_int_equal(store_get_ring(s, "web", got, 1024), -ENOENT);
	store_close(s);
}

struct taken_events {
	uint64_t id[64];
	size_t n;
	size_t stop_at;
};

static int take_event(void *arg, const struct stored_event *e)
{
	struct taken_events *t = arg;
	char text[32];

	snprintf(text, sizeof(text), "event %llu", (unsigned long long)e->unix_ms);
	assert_string_equal(e->text, text);
	assert_string_equal(e->kind, "deploy");
	assert_string_equal(e->service, "web");
	assert_string_equal(e->subject, "");
	t->id[t->n++] = e->id;
	return t->stop_at && t->n == t->stop_at ? -ECANCELED : 0;
}

static uint64_t put_event(struct store *s, uint64_t unix_ms)
{
	char text[32];
	struct stored_event e = { 0, unix_ms, "deploy", "web", "", text };

	snprintf(text, sizeof(text), "event %llu", (unsigned long long)unix_ms);
	return store_put_event(s, &e) ? 0 : e.id;
}

static void events_are_read_on_from_where_a_reader_was(void **state)
{
	struct taken_events t = { .n = 0 };
	struct store *s = must_open();

	(void)state;
	for (uint64_t i = 1; i <= 10; i++)
		assert_int_equal(put_event(s, i), i);
	assert_int_equal(store_each_event(s, 4, 3, take_event, &t), 0);
	assert_int_equal(t.n, 3);
	assert_int_equal(t.id[0], 5);
	assert_int_equal(t.id[2], 7);
	t = (struct taken_events){ .stop_at = 2 };
	assert_int_equal(store_each_event(s, 0, SIZE_MAX, take_event, &t), -ECANCELED);
	assert_int_equal(t.n, 2);
	t = (struct taken_events){ .n = 0 };
	assert_int_equal(store_each_event(s, UINT64_MAX, 9, take_event, &t), 0);
	assert_int_equal(t.n, 0);
	store_close(s);
}

static void pruning_keeps_ten_deployments_and_never_repeats_an_id(void **state)
{
	struct taken_events t = { .n = 0 };
	static struct taken_deploys deploys;
	struct store *s = must_open();

	(void)state;
	deploys.n = 0;
	for (uint64_t i = 1; i <= 13; i++) {
		struct stored_deploy v = sample_deploy(i);

		assert_int_equal(put_event(s, i), i);
		if (i > 1)
			v.deploy.status = DEPLOY_COMPLETED;
		v.ended_unix_ms = i > 1 ? i : 0;
		assert_int_equal(store_put_deploy(s, &v), 0);
	}
	assert_int_equal(store_prune(s, 100), 0);
	assert_int_equal(store_each_event(s, 0, 64, take_event, &t), 0);
	assert_int_equal(t.n, 0);
	assert_int_equal(put_event(s, 200), 14);

	/* The running one, the oldest, stays as well. */
	assert_int_equal(store_each_deploy(s, NULL, take_deploy, &deploys), 0);
	assert_int_equal(deploys.n, 11);
	assert_int_equal(deploys.v[0].deploy.id, 1);
	assert_int_equal(deploys.v[1].deploy.id, 4);
	assert_int_equal(deploys.v[10].deploy.id, 13);
	store_close(s);
}

static size_t count_events(struct store *s)
{
	struct taken_events t = { .n = 0 };

	assert_int_equal(store_each_event(s, 0, 64, take_event, &t), 0);
	return t.n;
}

static void a_transaction_is_whole_or_not_at_all(void **state)
{
	struct stored_service bad = { "web", 0, 0, 0 };
	struct store *s = must_open();

	(void)state;
	assert_int_equal(store_begin(s), 0);
	assert_int_equal(store_begin(s), -EALREADY);
	assert_int_equal(put_event(s, 1), 1);
	store_rollback(s);
	assert_int_equal(count_events(s), 0);

	assert_int_equal(store_begin(s), 0);
	put_event(s, 1);
	assert_int_equal(store_commit(s), 0);
	assert_int_equal(store_commit(s), -EINVAL);
	assert_int_equal(count_events(s), 1);

	/* One failed write, and nothing around it is committed. */
	assert_int_equal(store_begin(s), 0);
	put_event(s, 2);
	assert_int_equal(store_put_service(s, &bad), -EINVAL);
	assert_int_equal(put_event(s, 3), 0);
	assert_int_equal(store_commit(s), -EINVAL);
	assert_int_equal(count_events(s), 1);
	assert_true(put_event(s, 4) > 0);
	store_close(s);
}

static int write_while_reading(void *arg, const struct stored_event *e)
{
	struct store *s = arg;
	struct taken_events t = { .n = 0 };

	assert_int_equal(store_each_event(s, 0, 64, take_event, &t), 0);
	return e->unix_ms < 4 && !put_event(s, e->unix_ms + 3) ? -EIO : 0;
}

static void a_walk_may_walk_and_write(void **state)
{
	struct store *s = must_open();

	(void)state;
	for (uint64_t i = 1; i <= 3; i++)
		put_event(s, i);
	assert_int_equal(store_each_event(s, 0, 3, write_while_reading, s), 0);
	s = reopen(s);
	assert_int_equal(count_events(s), 6);
	store_close(s);
}

static void a_second_agent_is_refused_and_told_who_is_there(void **state)
{
	struct store *s = must_open(), *second;
	struct diag d;
	char words[128];

	(void)state;
	assert_int_equal(store_open(&second, dir, &d), -EBUSY);
	snprintf(words, sizeof(words), "another zddlbd (pid %d) uses %s", (int)getpid(), dir);
	assert_ptr_equal(strstr(d.text, words), d.text);
	store_close(s);
	store_close(must_open());
}

static void an_empty_database_of_version_0_is_migrated(void **state)
{
	struct store *s;

	(void)state;
	store_close(must_open());
	unlink(db_path);
	raw_sql("PRAGMA application_id = 0x7a64646c; PRAGMA user_version = 0; VACUUM");
	s = must_open();
	assert_int_equal(put_event(s, 1), 1);
	store_close(s);
}

static void a_migration_that_fails_changes_nothing(void **state)
{
	(void)state;
	store_close(must_open());
	unlink(db_path);
	/* The fifth table of the step is in the way: the four before it must not stay. */
	raw_sql("PRAGMA application_id = 0x7a64646c; CREATE TABLE deployment (x)");
	open_refuses(-EIO, "already exists");
}

static void a_newer_schema_is_refused_with_the_cure(void **state)
{
	(void)state;
	store_close(must_open());
	raw_sql("PRAGMA user_version = 99");
	open_refuses(-EPROTONOSUPPORT, "Start the newer zddlbd");
}

static void a_database_of_another_program_is_refused(void **state)
{
	(void)state;
	store_close(must_open());
	raw_sql("PRAGMA application_id = 4711");
	open_refuses(-EUCLEAN, "another program");
}

static void overwrite(off_t at, size_t len)
{
	int fd = open(db_path, O_WRONLY);
	char junk[4096];

	memset(junk, 0xa5, sizeof(junk));
	assert_true(fd >= 0);
	assert_int_equal(pwrite(fd, junk, len, at), len);
	close(fd);
}

static void a_damaged_page_is_found_at_open(void **state)
{
	struct store *s = must_open();

	(void)state;
	for (uint64_t i = 0; i < 60; i++)
		put_event(s, i);
	store_close(s);
	overwrite(4096 * 3, 4096);
	open_refuses(-EUCLEAN, "Move it aside");
}

static void garbage_in_place_of_a_database_is_refused(void **state)
{
	(void)state;
	store_close(must_open());
	overwrite(0, 4096);
	open_refuses(-EUCLEAN, "Move it aside");
}

static void files_are_not_for_everybody(void **state)
{
	mode_t old = umask(0);
	struct store *s = must_open();
	char wal[128];
	struct stat st;

	(void)state;
	umask(old);
	put_event(s, 1);
	assert_int_equal(stat(dir, &st), 0);
	assert_int_equal(st.st_mode & 07777, 0750);
	assert_int_equal(stat(db_path, &st), 0);
	assert_int_equal(st.st_mode & 07777, 0640);
	snprintf(wal, sizeof(wal), "%s-wal", db_path);
	assert_int_equal(stat(wal, &st), 0);
	assert_int_equal(st.st_mode & 07777, 0640);
	store_close(s);
}

static void a_missing_parent_is_named(void **state)
{
	struct diag d = { .text = "" };
	struct store *s;

	(void)state;
	assert_int_equal(store_open(&s, "/nonexistent-zddlb/state", &d), -ENOENT);
	assert_non_null(strstr(d.text, "/nonexistent-zddlb/state cannot be made"));
	store_close(must_open());
}

static void commit_until_killed(int fd)
{
	struct store *s = must_open();

	for (uint64_t i = 1;; i++) {
		if (store_begin(s) || put_event(s, i) != i ||
		    store_set_blob(s, "last", &i, sizeof(i)) || store_commit(s) ||
		    write(fd, &i, sizeof(i)) != sizeof(i))
			_exit(1);
	}
}

static void every_acknowledged_commit_outlives_kill_9(void **state)
{
	uint64_t acked = 0, got, last = 0;
	size_t len = sizeof(last);
	int fds[2], status;
	struct store *s;
	pid_t pid;

	(void)state;
	for (int round = 0; round < 5; round++) {
		assert_int_equal(pipe(fds), 0);
		unlink(db_path);
		pid = fork();
		assert_true(pid >= 0);
		if (!pid)
			commit_until_killed(fds[1]);
		close(fds[1]);
		while (acked < 20 + 13 * (uint64_t)round && read(fds[0], &got, sizeof(got)) > 0)
			acked = got;
		kill(pid, SIGKILL);
		while (read(fds[0], &got, sizeof(got)) == sizeof(got))
			acked = got;
		close(fds[0]);
		waitpid(pid, &status, 0);
		assert_true(WIFSIGNALED(status));

		s = must_open();
		assert_int_equal(store_get_blob(s, "last", &last, &len), 0);
		assert_in_range(last, acked, acked + 1);
		assert_int_equal(put_event(s, 1), last + 1);
		store_close(s);
		acked = 0;
	}
}

/* Fill until it fails, make room, go on. Runs in a child: 0 if all was well, else the line. */
static int fill_up(struct store *s, void (*make_room)(void))
{
	static const char block[65536] = "x";
	char key[16];
	size_t len = sizeof(key);
	int err = 0;

	for (int i = 0; !err && i < 1000; i++) {
		snprintf(key, sizeof(key), "%d", i);
		err = store_set_blob(s, key, block, sizeof(block));
	}
	if (err != -ENOSPC || !strstr(store_error(s), "free space"))
		return __LINE__;
	if (store_get_blob(s, "none", key, &len) != -ENOENT)
		return __LINE__;
	make_room();
	if (store_begin(s) || store_set_blob(s, "after", block, sizeof(block)) || store_commit(s))
		return __LINE__;
	store_close(s);
	if (store_open(&s, dir, NULL))
		return __LINE__;
	len = 1;
	if (store_get_blob(s, "after", key, &len) != -ERANGE)
		return __LINE__;
	store_close(s);
	return 0;
}

static void lift_limit(void)
{
	struct rlimit lim = { RLIM_INFINITY, RLIM_INFINITY };

	setrlimit(RLIMIT_FSIZE, &lim);
}

static int under_a_file_size_limit(void)
{
	struct rlimit lim = { 2 << 20, RLIM_INFINITY };
	struct store *s = must_open();

	signal(SIGXFSZ, SIG_IGN);
	if (setrlimit(RLIMIT_FSIZE, &lim))
		return __LINE__;
	return fill_up(s, lift_limit);
}

static void grow_tmpfs(void)
{
	mount("none", dir, NULL, MS_REMOUNT, "size=16m");
}

static int on_a_full_tmpfs(void)
{
	if (mkdir(dir, 0750) || unshare(CLONE_NEWNS) ||
	    mount("none", "/", NULL, MS_REC | MS_PRIVATE, NULL) ||
	    mount("none", dir, "tmpfs", 0, "size=2m"))
		return 255;
	return fill_up(must_open(), grow_tmpfs);
}

static int run_in_child(int (*fn)(void))
{
	pid_t pid = fork();
	int status;

	assert_true(pid >= 0);
	if (!pid) {
		int line = fn();

		if (line && line != 255)
			fprintf(stderr, "child failed at line %d\n", line);
		_exit(line == 255 ? 77 : !!line);
	}
	assert_int_equal(waitpid(pid, &status, 0), pid);
	assert_true(WIFEXITED(status));
	return WEXITSTATUS(status);
}

static void a_file_that_may_not_grow_is_survived(void **state)
{
	(void)state;
	assert_int_equal(run_in_child(under_a_file_size_limit), 0);
}

static void a_full_disk_is_survived(void **state)
{
	int code = run_in_child(on_a_full_tmpfs);

	(void)state;
	if (code == 77)
		skip();
	assert_int_equal(code, 0);
}

#define FILES(name) cmocka_unit_test_setup_teardown(name, make_state_dir, remove_state_dir)

int main(void)
{
	const struct CMUnitTest tests[] = {
		FILES(small_values_come_back),
		FILES(services_come_back_in_order_of_their_index),
		FILES(two_services_with_one_index_are_refused),
		FILES(backends_come_back),
		FILES(versions_come_back_with_what_they_override_and_nothing_else),
		FILES(a_deployment_comes_back_bit_for_bit),
		FILES(the_snapshot_goes_when_a_deployment_is_over),
		FILES(a_deleted_file_is_told_and_not_written_to),
		FILES(a_ring_comes_back_and_goes_with_its_service),
		FILES(events_are_read_on_from_where_a_reader_was),
		FILES(pruning_keeps_ten_deployments_and_never_repeats_an_id),
		FILES(a_transaction_is_whole_or_not_at_all),
		FILES(a_walk_may_walk_and_write),
		FILES(a_second_agent_is_refused_and_told_who_is_there),
		FILES(an_empty_database_of_version_0_is_migrated),
		FILES(a_migration_that_fails_changes_nothing),
		FILES(a_newer_schema_is_refused_with_the_cure),
		FILES(a_database_of_another_program_is_refused),
		FILES(a_damaged_page_is_found_at_open),
		FILES(garbage_in_place_of_a_database_is_refused),
		FILES(files_are_not_for_everybody),
		FILES(a_missing_parent_is_named),
		FILES(every_acknowledged_commit_outlives_kill_9),
		FILES(a_file_that_may_not_grow_is_survived),
		FILES(a_full_disk_is_survived),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
