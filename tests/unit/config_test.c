/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * The corpus of tests/config: every file of bad/ is refused at the pointer and for the reason that
 * its .expect names; every file of good/ is read, and what is written from it reads the same.
 */
#include <dirent.h>
#include <errno.h>
#include <json-c/json.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>
#include <cmocka.h>

#include "../../agent/core/diag.h"
#include "../../agent/core/model.h"
#include "../../agent/io/config.h"

#define UNTOUCHED ((struct model *)(uintptr_t)0x5a5a)

static char corpus[512];
static char tmp[64];

/* The binary is BUILD/tests/unit/config_test. */
static int find_corpus(void **state)
{
	char self[256];
	ssize_t n = readlink("/proc/self/exe", self, sizeof(self) - 1);

	(void)state;
	if (n < 0)
		return -1;
	self[n] = '\0';
	*strrchr(self, '/') = '\0';
	snprintf(corpus, sizeof(corpus), "%s/../../../tests/config", self);
	snprintf(tmp, sizeof(tmp), "/tmp/zddlb-config-XXXXXX");
	return mkdtemp(tmp) ? 0 : -1;
}

static void remove_files(const char *dir)
{
	struct dirent **entries = NULL;
	int n = scandir(dir, &entries, NULL, alphasort);
	char path[600];

	for (int i = 0; i < n; i++) {
		snprintf(path, sizeof(path), "%s/%s", dir, entries[i]->d_name);
		unlink(path);
		free(entries[i]);
	}
	free(entries);
	rmdir(dir);
}

static int clean_up(void **state)
{
	char dir[80];

	(void)state;
	snprintf(dir, sizeof(dir), "%s/conf.d", tmp);
	remove_files(dir);
	remove_files(tmp);
	return 0;
}

static char *slurp(const char *path, size_t *len)
{
	FILE *f = fopen(path, "rb");
	char *text;
	long size;

	if (!f)
		fail_msg("cannot open %s", path);
	fseek(f, 0, SEEK_END);
	size = ftell(f);
	rewind(f);
	/* An exact heap block, so that the sanitizer sees a read beyond the end. */
	text = malloc(size ? (size_t)size : 1);
	assert_non_null(text);
	*len = fread(text, 1, (size_t)size, f);
	assert_int_equal(*len, size);
	fclose(f);
	return text;
}

/* "key: value" of an .expect file. */
static void expectation(const char *path, const char *key, char *ret, size_t size)
{
	FILE *f = fopen(path, "r");
	char line[1024];

	if (!f)
		fail_msg("cannot open %s", path);
	while (fgets(line, sizeof(line), f)) {
		line[strcspn(line, "\n")] = '\0';
		if (!strncmp(line, key, strlen(key)) && !strncmp(line + strlen(key), ": ", 2)) {
			snprintf(ret, size, "%s", line + strlen(key) + 2);
			fclose(f);
			return;
		}
	}
	fclose(f);
	fail_msg("%s has no %s", path, key);
}

static int is_json(const struct dirent *entry)
{
	size_t len = strlen(entry->d_name);

	return len > 5 && !strcmp(entry->d_name + len - 5, ".json");
}

/* Returns how many files there were. */
static int for_each_file(const char *dir, void (*check)(const char *path))
{
	struct dirent **entries;
	char path[1024];
	int n;

	snprintf(path, sizeof(path), "%s/%s", corpus, dir);
	n = scandir(path, &entries, is_json, alphasort);
	for (int i = 0; i < n; i++) {
		snprintf(path, sizeof(path), "%s/%s/%s", corpus, dir, entries[i]->d_name);
		check(path);
		free(entries[i]);
	}
	if (n >= 0)
		free(entries);
	return n;
}

static unsigned complaints;

/* Go on to the next file, so that one run tells of all. */
static void __attribute__((format(printf, 1, 2))) complain(const char *fmt, ...)
{
	va_list ap;

	va_start(ap, fmt);
	vprint_error(fmt, ap);
	va_end(ap);
	print_error("\n");
	complaints++;
}

static void check_bad(const char *path)
{
	char expect[1100], pointer[300], reason[700], name[256];
	struct model *m = UNTOUCHED;
	struct diag d = { .code = "" };
	size_t len;
	char *text = slurp(path, &len);
	int err;

	snprintf(expect, sizeof(expect), "%.*s.expect", (int)(strlen(path) - strlen(".json")),
		 path);
	expectation(expect, "pointer", pointer, sizeof(pointer));
	expectation(expect, "reason", reason, sizeof(reason));
	snprintf(name, sizeof(name), "%s", strrchr(path, '/') + 1);

	err = config_parse(&m, text, len, name, &d);
	free(text);
	assert_true(err == -EINVAL || err == 0);
	if (err == 0) {
		model_free(m);
		complain("%s was accepted", name);
		return;
	}
	assert_ptr_equal(m, UNTOUCHED);
	assert_true(d.code[0]);
	if (strcmp(d.pointer, pointer))
		complain("%s: pointer \"%s\", expected \"%s\" (%s)", name, d.pointer, pointer,
			 d.text);
	if (!strstr(d.text, reason))
		complain("%s: reason \"%s\", expected \"%s\"", name, d.text, reason);
	if (strncmp(d.text, name, strlen(name)) || !strstr(d.text, " line "))
		complain("%s: \"%s\" names no file and line", name, d.text);
}

static void every_bad_file_is_refused_at_its_place_for_its_reason(void **state)
{
	(void)state;
	complaints = 0;
	assert_true(for_each_file("bad", check_bad) >= 60);
	assert_int_equal(complaints, 0);
}

static void assert_same_strategy(const struct strategy *a, const struct strategy *b)
{
	assert_string_equal(a->name, b->name);
	assert_int_equal(a->nsteps, b->nsteps);
	for (size_t i = 0; i < a->nsteps; i++) {
		assert_int_equal(a->steps[i].weight_bp, b->steps[i].weight_bp);
		assert_int_equal(a->steps[i].pause_ms, b->steps[i].pause_ms);
	}
	assert_int_equal(a->analysis.interval_ms, b->analysis.interval_ms);
	assert_memory_equal(&a->analysis.alpha, &b->analysis.alpha, sizeof(double));
	assert_memory_equal(&a->analysis.max_increase, &b->analysis.max_increase, sizeof(double));
	assert_int_equal(a->analysis.min_samples, b->analysis.min_samples);
	assert_int_equal(a->analysis.on_failure, b->analysis.on_failure);
	assert_int_equal(a->lease_ms, b->lease_ms);
	assert_int_equal(a->progress_deadline_ms, b->progress_deadline_ms);
}

static void assert_same_policy(const struct policy *a, const struct policy *b)
{
	assert_int_equal(a->check.type, b->check.type);
	assert_string_equal(a->check.path, b->check.path);
	assert_string_equal(a->check.host, b->check.host);
	assert_int_equal(a->check.port, b->check.port);
	assert_int_equal(a->check.status_min, b->check.status_min);
	assert_int_equal(a->check.status_max, b->check.status_max);
	assert_int_equal(a->check.interval_ms, b->check.interval_ms);
	assert_int_equal(a->check.fast_interval_ms, b->check.fast_interval_ms);
	assert_int_equal(a->check.down_interval_ms, b->check.down_interval_ms);
	assert_int_equal(a->check.timeout_ms, b->check.timeout_ms);
	assert_int_equal(a->check.healthy_threshold, b->check.healthy_threshold);
	assert_int_equal(a->check.unhealthy_threshold, b->check.unhealthy_threshold);
	assert_int_equal(a->check.retries, b->check.retries);
	assert_int_equal(a->drain.timeout_ms, b->drain.timeout_ms);
	assert_int_equal(a->drain.on_timeout, b->drain.on_timeout);
	assert_int_equal(a->panic_threshold_pct, b->panic_threshold_pct);
}

static void assert_same_version(const struct version *a, const struct version *b)
{
	assert_string_equal(a->name, b->name);
	assert_int_equal(a->status, b->status);
	assert_int_equal(a->weight_bp, b->weight_bp);
	assert_int_equal(a->nbackends, b->nbackends);
	for (size_t i = 0; i < a->nbackends; i++) {
		assert_true(endpoint_equal(&a->backends[i].ep, &b->backends[i].ep));
		assert_int_equal(a->backends[i].weight, b->backends[i].weight);
	}
}

static void assert_same_service(const struct service *a, const struct service *b)
{
	assert_string_equal(a->name, b->name);
	assert_string_equal(a->pointer, b->pointer);
	assert_int_equal(a->mode, b->mode);
	assert_int_equal(a->tracking, b->tracking);
	assert_int_equal(a->ring_slots, b->ring_slots);
	assert_same_policy(&a->policy, &b->policy);
	assert_int_equal(a->nvips, b->nvips);
	for (size_t i = 0; i < a->nvips; i++) {
		assert_true(endpoint_equal(&a->vips[i].ep, &b->vips[i].ep));
		assert_int_equal(a->vips[i].proto, b->vips[i].proto);
	}
	assert_int_equal(a->nversions, b->nversions);
	for (size_t i = 0; i < a->nversions; i++)
		assert_same_version(&a->versions[i], &b->versions[i]);
}

static void assert_same_dataplane(const struct dataplane_config *a,
				  const struct dataplane_config *b)
{
	assert_int_equal(a->max_services, b->max_services);
	assert_int_equal(a->max_backends, b->max_backends);
	assert_int_equal(a->max_flows, b->max_flows);
	assert_int_equal(a->max_slots, b->max_slots);
	assert_int_equal(a->ring_slots, b->ring_slots);
	assert_int_equal(a->has_hash_seed, b->has_hash_seed);
	assert_memory_equal(a->hash_seed, b->hash_seed, sizeof(a->hash_seed));
	assert_int_equal(a->tcp_established_ms, b->tcp_established_ms);
	assert_int_equal(a->tcp_syn_ms, b->tcp_syn_ms);
	assert_int_equal(a->tcp_fin_ms, b->tcp_fin_ms);
	assert_int_equal(a->udp_ms, b->udp_ms);
}

static void assert_same_model(const struct model *a, const struct model *b)
{
	assert_int_equal(a->ninterfaces, b->ninterfaces);
	for (size_t i = 0; i < a->ninterfaces; i++) {
		assert_string_equal(a->interfaces[i].name, b->interfaces[i].name);
		assert_int_equal(a->interfaces[i].mode, b->interfaces[i].mode);
		assert_int_equal(a->interfaces[i].manage_vips, b->interfaces[i].manage_vips);
	}
	assert_int_equal(a->admin.tcp, b->admin.tcp);
	assert_true(endpoint_equal(&a->admin.listen, &b->admin.listen));
	assert_string_equal(a->admin.socket, b->admin.socket);
	assert_string_equal(a->state.dir, b->state.dir);
	assert_string_equal(a->state.pin_dir, b->state.pin_dir);
	assert_int_equal(a->state.journal_days, b->state.journal_days);
	assert_same_dataplane(&a->dataplane, &b->dataplane);
	assert_same_policy(&a->defaults, &b->defaults);
	assert_int_equal(a->nservices, b->nservices);
	for (size_t i = 0; i < a->nservices; i++)
		assert_same_service(&a->services[i], &b->services[i]);
	assert_int_equal(a->nstrategies, b->nstrategies);
	for (size_t i = 0; i < a->nstrategies; i++)
		assert_same_strategy(&a->strategies[i], &b->strategies[i]);
}

static struct model *parse(const char *text, size_t len)
{
	struct model *m = NULL;
	struct diag d = { .code = "" };

	if (config_parse(&m, text, len, "test", &d))
		fail_msg("refused: %s: %s\n%.*s", d.pointer, d.text, (int)len, text);
	assert_non_null(m);
	return m;
}

static void check_good(const char *path)
{
	struct json_object *j, *again;
	struct model *m, *n;
	const char *written;
	size_t len;
	char *text = slurp(path, &len);

	m = parse(text, len);
	j = config_to_json(m);
	assert_non_null(j);
	written = json_object_to_json_string_ext(j, JSON_C_TO_STRING_PRETTY);
	n = parse(written, strlen(written));
	assert_same_model(m, n);

	again = config_to_json(n);
	assert_string_equal(json_object_to_json_string_ext(again, JSON_C_TO_STRING_PRETTY),
			    written);
	json_object_put(again);
	json_object_put(j);
	model_free(n);
	model_free(m);
	free(text);
}

static void every_good_file_reads_the_same_after_it_was_written(void **state)
{
	(void)state;
	assert_true(for_each_file("good", check_good) >= 10);
}

static void the_starter_config_parses(void **state)
{
	char path[600];
	struct model *m = NULL;
	struct diag d;

	(void)state;
	snprintf(path, sizeof(path), "%s/../../packaging/zddlb.json.example", corpus);
	if (config_load(&m, path, &d))
		fail_msg("%s: %s", d.pointer, d.text);
	assert_int_equal(m->nservices, 1);
	assert_int_equal(service_version(&m->services[0], "v1.0")->nbackends, 2);
	model_free(m);
}

/* The parser sees exactly `len` bytes on the heap; a refusal leaves *ret as it was. */
static bool try_text(const char *text, size_t len)
{
	struct model *m = UNTOUCHED;
	struct diag d = { .code = "" };
	char *copy = malloc(len ? len : 1);
	int err;

	assert_non_null(copy);
	memcpy(copy, text, len);
	err = config_parse(&m, copy, len, "fuzz", &d);
	free(copy);
	if (err == 0) {
		model_free(m);
		return true;
	}
	assert_int_equal(err, -EINVAL);
	assert_ptr_equal(m, UNTOUCHED);
	assert_true(d.code[0] && d.text[0]);
	return false;
}

static void check_truncated(const char *path)
{
	size_t len, whole;
	char *text = slurp(path, &len);

	/* What may be cut away without loss: white space and comments behind the last brace. */
	for (whole = len; text[whole - 1] != '}'; whole--)
		;
	for (size_t n = 0; n < whole; n++) {
		if (try_text(text, n))
			fail_msg("%s: its first %zu bytes were accepted", path, n);
	}
	free(text);
}

static void a_good_file_cut_short_anywhere_is_refused(void **state)
{
	(void)state;
	for_each_file("good", check_truncated);
}

/* xorshift: the same bytes in every run. */
static uint32_t next_random(void)
{
	static uint32_t x = 2463534242;

	x ^= x << 13;
	x ^= x >> 17;
	x ^= x << 5;
	return x;
}

/* Replace a few bytes, half the time by bytes that mean something in JSON. */
static void check_flipped(const char *path)
{
	static const char telling[] = "{}[]\",:\\/*0123456789.-eE \n\0\x80\xff";
	size_t len;
	char *text = slurp(path, &len);
	char *flipped = malloc(len + 1);

	assert_non_null(flipped);
	for (int round = 0; len > 0 && round < 100; round++) {
		memcpy(flipped, text, len);
		for (uint32_t k = next_random() % 4 + 1; k > 0; k--) {
			uint32_t r = next_random();

			char byte = (char)(r >> 8);

			if (r & 1)
				byte = telling[(r >> 1) % (sizeof(telling) - 1)];
			flipped[next_random() % len] = byte;
		}
		try_text(flipped, len);
	}
	free(flipped);
	free(text);
}

static void random_bytes_in_a_file_never_crash(void **state)
{
	(void)state;
	for_each_file("good", check_flipped);
	for_each_file("bad", check_flipped);
}

static void write_file(const char *name, const char *text)
{
	char path[256];
	FILE *f;

	snprintf(path, sizeof(path), "%s/%s", tmp, name);
	f = fopen(path, "w");
	assert_non_null(f);
	assert_true(fputs(text, f) >= 0);
	assert_int_equal(fclose(f), 0);
}

#define SERVICE(name, vip, backend)                                                                \
	"{ \"name\": \"" name "\", \"vips\": [ { \"address\": \"" vip                              \
	"\", \"port\": 80 } ], \"versions\": [ { \"version\": \"v1\", \"url\": \"http://" backend  \
	"\" } ] }"
#define MAIN                                                                                       \
	"{ \"apiVersion\": \"zddlb/v1\", \"defaults\": { \"panicThreshold\": 33 },\n"              \
	"  \"services\": [ " SERVICE("one", "192.0.2.1", "10.0.0.1") " ] }"

static int load(struct model **ret, struct diag *d)
{
	char path[128];

	snprintf(path, sizeof(path), "%s/zddlb.json", tmp);
	return config_load(ret, path, d);
}

static void write_main(const char *fragment)
{
	char dir[128];

	snprintf(dir, sizeof(dir), "%s/conf.d", tmp);
	remove_files(dir);
	mkdir(dir, 0755);
	write_file("zddlb.json", MAIN);
	if (fragment)
		write_file("conf.d/10-more.json", fragment);
}

static void files_in_conf_d_add_and_replace_by_name(void **state)
{
	struct model *m = NULL;
	struct diag d = { .code = "" };

	(void)state;
	write_main("{ \"interfaces\": [ { \"name\": \"eth7\" } ], \"services\": [ " SERVICE(
		"two", "192.0.2.2", "10.0.0.2") " ] }");
	write_file("conf.d/20-last.json",
		   "{ \"apiVersion\": \"zddlb/v1\", \"services\": [ " SERVICE(
			   "one", "192.0.2.1", "10.0.0.9") " ],\n  \"strategies\": { \"quick\": { "
							   "\"steps\": [ 100 ] } } }");
	write_file("conf.d/.hidden.json", "not JSON");
	write_file("conf.d/backup.json~", "not JSON");
	if (load(&m, &d))
		fail_msg("%s: %s", d.pointer, d.text);
	assert_int_equal(m->ninterfaces, 1);
	assert_int_equal(m->nservices, 2);
	assert_int_equal(model_service(m, "one")->versions[0].backends[0].ep.addr[15], 9);
	assert_int_equal(model_service(m, "two")->policy.panic_threshold_pct, 33);
	assert_non_null(model_strategy(m, "quick"));
	assert_non_null(model_strategy(m, "canary-default"));
	model_free(m);
}

static void a_complaint_about_a_file_in_conf_d_names_it_and_its_place(void **state)
{
	static const struct {
		const char *fragment, *pointer, *reason;
	} cases[] = {
		{ "{ \"services\": [\n " SERVICE("two", "192.0.2.1", "10.0.0.2") " ] }",
		  "/services/0/vips/0", "line 2, column 29: VIP 192.0.2.1:80 is in use" },
		{ "{ \"services\": [ " SERVICE("two", "192.0.2.2", "10.0.0.2") ", " SERVICE(
			  "two", "192.0.2.3", "10.0.0.3") " ] }",
		  "/services/1", "two services \"two\"" },
		{ "{ \"services\": [ { \"nam\": 1 } ] }", "/services/0/nam",
		  "line 1, column 19: unknown key \"nam\"" },
		{ "{ \"services\": { } }", "/services", "found an object; allowed is a list" },
		{ "{ \"service\": [ ] }", "/service", "did you mean \"services\"?" },
		{ "{ \"admin\": { } }", "/admin", "for the main file, not for conf.d" },
		{ "{ \"apiVersion\": 2 }", "/apiVersion", "found 2" },
		{ "{ \"strategies\": { \"s\": { \"steps\": [ 5 ] } } }", "/strategies/s/steps",
		  "line 1, column 26: the last step" },
		{ "[]", "", "found a list; allowed is an object" },
		{ "{ \"services\": [ }", "", "line 1, column 17: found }" },
	};

	(void)state;
	for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
		struct model *m = UNTOUCHED;
		struct diag d = { .code = "" };

		write_main(cases[i].fragment);
		assert_int_equal(load(&m, &d), -EINVAL);
		assert_ptr_equal(m, UNTOUCHED);
		assert_string_equal(d.pointer, cases[i].pointer);
		if (!strstr(d.text, cases[i].reason) || !strstr(d.text, "conf.d/10-more.json line"))
			fail_msg("\"%s\" should say: %s", d.text, cases[i].reason);
	}
}

static void a_file_that_cannot_be_read_is_named(void **state)
{
	struct model *m = UNTOUCHED;
	struct diag d = { .code = "" };
	char path[128];

	(void)state;
	snprintf(path, sizeof(path), "%s/absent.json", tmp);
	assert_int_equal(config_load(&m, path, &d), -ENOENT);
	assert_non_null(strstr(d.text, "absent.json: No such file"));
	assert_int_equal(config_load(&m, tmp, &d), -EISDIR);

	snprintf(path, sizeof(path), "%s/fifo", tmp);
	assert_int_equal(mkfifo(path, 0600), 0);
	assert_int_equal(config_load(&m, path, &d), -ENODEV);
	assert_non_null(strstr(d.text, "not a regular file"));

	write_file("large.json", "{}");
	snprintf(path, sizeof(path), "%s/large.json", tmp);
	assert_int_equal(truncate(path, (16 << 20) + 1), 0);
	assert_int_equal(config_load(&m, path, &d), -EFBIG);
	assert_ptr_equal(m, UNTOUCHED);
}

static void defaults_are_those_of_the_documentation(void **state)
{
	static const char text[] = "{ \"apiVersion\": \"zddlb/v1\", \"services\": [ " SERVICE(
		"s", "192.0.2.1", "10.0.0.1") " ] }";
	struct model *m = parse(text, strlen(text));
	const struct service *s = &m->services[0];
	const struct strategy *c = model_strategy(m, "canary-default");

	(void)state;
	assert_int_equal(s->ring_slots, 16384);
	assert_int_equal(s->policy.check.interval_ms, 2000);
	assert_int_equal(s->policy.panic_threshold_pct, 50);
	assert_int_equal(s->versions[0].weight_bp, 10000);
	assert_int_equal(s->versions[0].status, VERSION_PRODUCTION);
	assert_int_equal(s->versions[0].backends[0].ep.port, 80);
	assert_int_equal(s->versions[0].backends[0].weight, 1);
	assert_string_equal(s->versions[0].backends[0].pointer, "/services/0/versions/0/url");
	assert_non_null(c);
	assert_int_equal(c->nsteps, 4);
	assert_int_equal(c->steps[2].weight_bp, 5000);
	assert_int_equal(c->steps[2].pause_ms, 600000);
	assert_int_equal(c->lease_ms, 15000);
	model_free(m);
}

static struct json_object *json(const char *text)
{
	struct json_object *j = NULL;
	struct diag d = { .code = "" };

	if (config_json(&j, text, strlen(text), "test", &d))
		fail_msg("%s", d.text);
	return j;
}

static void weights_are_exact_to_the_hundredth(void **state)
{
	char text[32];
	unsigned bp;

	(void)state;
	for (unsigned i = 0; i <= 10000; i++) {
		struct json_object *j;

		snprintf(text, sizeof(text), "%u.%02u", i / 100, i % 100);
		j = json(text);
		assert_int_equal(config_parse_weight(&bp, j, "/weight", NULL), 0);
		assert_int_equal(bp, i);
		json_object_put(j);

		snprintf(text, sizeof(text), "%u.%02u1", i / 100, i % 100);
		j = json(text);
		assert_int_equal(config_parse_weight(&bp, j, "/weight", NULL), -EINVAL);
		json_object_put(j);
	}
}

static void a_version_of_the_rest_api_has_no_weight_until_told(void **state)
{
	struct json_object *j = json("{ \"version\": \"v2\", \"url\": \"http://10.0.0.5:7201\" }");
	struct version v;
	struct diag d = { .code = "" };

	(void)state;
	assert_int_equal(config_parse_version(&v, j, "", &d), 0);
	assert_int_equal(v.weight_bp, 0);
	assert_int_equal(v.status, VERSION_TESTING);
	assert_int_equal(v.nbackends, 1);
	assert_int_equal(v.backends[0].ep.port, 7201);
	version_fini(&v);
	json_object_put(j);

	j = json("{ \"version\": \"v2\", \"url\": \"http://localhost:7201\" }");
	memset(&v, 0x5a, sizeof(v));
	assert_int_equal(config_parse_version(&v, j, "/body", &d), -EINVAL);
	assert_string_equal(d.pointer, "/body/url");
	assert_int_equal(v.nbackends, (size_t)0x5a5a5a5a5a5a5a5a);
	json_object_put(j);

	assert_int_equal(config_parse_version(&v, NULL, "", &d), -EINVAL);
	assert_non_null(strstr(d.text, "found null; allowed is an object"));
}

static void a_strategy_of_the_rest_api_has_steps_in_percent(void **state)
{
	struct json_object *j = json("{ \"steps\": [10, 50.5, 100], \"stepInterval\": 300000, "
				     "\"errorThreshold\": 5, \"autoPause\": false }");
	struct strategy s;
	struct diag d = { .code = "" };

	(void)state;
	assert_int_equal(config_parse_strategy(&s, "rest", j, "/config", &d), 0);
	assert_string_equal(s.name, "rest");
	assert_int_equal(s.nsteps, 3);
	assert_int_equal(s.steps[1].weight_bp, 5050);
	assert_int_equal(s.steps[1].pause_ms, 300000);
	assert_float_equal(s.analysis.max_increase, 0.05, 1e-12);
	json_object_put(j);

	j = json("{ \"steps\": [10, 5, 100] }");
	assert_int_equal(config_parse_strategy(&s, "rest", j, "/config", &d), -EINVAL);
	assert_string_equal(d.pointer, "/config/steps/1");
	assert_int_equal(s.nsteps, 3);
	assert_int_equal(config_parse_strategy(&s, "no name", j, "", &d), -EINVAL);
	json_object_put(j);
}

static void a_body_holds_one_value_without_comments(void **state)
{
	static const char *const bad[] = { "", "{} {}", "// x\n{}", "{} /* x */",
					   "{\"a\":1,\"a\":2}" };
	struct json_object *j = (struct json_object *)UNTOUCHED;
	struct diag d;

	(void)state;
	for (size_t i = 0; i < sizeof(bad) / sizeof(bad[0]); i++) {
		assert_int_equal(config_json(&j, bad[i], strlen(bad[i]), "body", &d), -EINVAL);
		assert_ptr_equal(j, UNTOUCHED);
		assert_memory_equal(d.text, "body line ", 10);
	}
	j = json(" { \"text\": \"\\u00e4\\ud83d\\ude00\\n\" } ");
	assert_string_equal(json_object_get_string(json_object_object_get(j, "text")),
			    "\xc3\xa4\xf0\x9f\x98\x80\n");
	json_object_put(j);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(every_bad_file_is_refused_at_its_place_for_its_reason),
		cmocka_unit_test(every_good_file_reads_the_same_after_it_was_written),
		cmocka_unit_test(the_starter_config_parses),
		cmocka_unit_test(a_good_file_cut_short_anywhere_is_refused),
		cmocka_unit_test(random_bytes_in_a_file_never_crash),
		cmocka_unit_test(files_in_conf_d_add_and_replace_by_name),
		cmocka_unit_test(a_complaint_about_a_file_in_conf_d_names_it_and_its_place),
		cmocka_unit_test(a_file_that_cannot_be_read_is_named),
		cmocka_unit_test(defaults_are_those_of_the_documentation),
		cmocka_unit_test(weights_are_exact_to_the_hundredth),
		cmocka_unit_test(a_version_of_the_rest_api_has_no_weight_until_told),
		cmocka_unit_test(a_strategy_of_the_rest_api_has_steps_in_percent),
		cmocka_unit_test(a_body_holds_one_value_without_comments),
	};

	return cmocka_run_group_tests(tests, find_corpus, clean_up);
}
