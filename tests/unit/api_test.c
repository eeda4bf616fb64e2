/* SPDX-License-Identifier: GPL-2.0-only */
/* The table of routes, and what becomes of requests before any verb of control runs. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>
#include <json-c/json.h>

#include "../../agent/api.h"
#include "../../agent/control.h"
#include "../../agent/io/httpd.h"
#include "../../agent/view.h"

#define N(a) (sizeof(a) / sizeof(*(a)))

static void a_pattern_matches_whole_paths_only(void **state)
{
	static const struct {
		const char *pattern, *path;
		bool fits;
	} cases[] = {
		{ "/api/v1/status", "/api/v1/status", true },
		{ "/api/v1/status", "/api/v1/status/", false },
		{ "/api/v1/status", "/api/v1/statu", false },
		{ "/api/v1/status", "/api/v1/statusx", false },
		{ "/api/v1/status", "api/v1/status", false },
		{ "/api/v1/status", "", false },
		{ "/a/:x", "/a/b", true },
		{ "/a/:x", "/a/", false },
		{ "/a/:x", "/a", false },
		{ "/a/:x", "/a/b/c", false },
		{ "/a/:x/c", "/a/b/c", true },
		{ "/a/:x/c", "/a//c", false },
		{ "/a/:x/c", "/a/b/d", false },
	};
	struct api_params params;

	(void)state;
	for (size_t i = 0; i < N(cases); i++)
		assert_int_equal(api_path_match(cases[i].pattern, cases[i].path, &params),
				 cases[i].fits);
}

static void parameters_are_decoded(void **state)
{
	struct api_params p;

	(void)state;
	assert_true(api_path_match("/b/:x/v/:y", "/b/web%2F10.0.0.1%3a80/v/%5B::1%5D:80", &p));
	assert_int_equal(p.n, 2);
	assert_string_equal(p.value[0], "web/10.0.0.1:80");
	assert_string_equal(p.value[1], "[::1]:80");
}

static void hostile_parameters_match_nothing(void **state)
{
	static const char *const paths[] = { "/b/%",     "/b/%2",       "/b/%zz",
					     "/b/a%00b", "/b/%0a",      "/b/\033",
					     "/b/%7f",   "/b/\xc3\xbc", "/b/%c3%bc" };
	char longer[400] = "/b/";
	struct api_params p;

	(void)state;
	for (size_t i = 0; i < N(paths); i++)
		assert_false(api_path_match("/b/:x", paths[i], &p));
	memset(longer + 3, 'a', API_PARAM_LEN);
	assert_false(api_path_match("/b/:x", longer, &p));
	longer[3 + API_PARAM_LEN - 1] = '\0';
	assert_true(api_path_match("/b/:x", longer, &p));
}

static void every_route_is_complete(void **state)
{
	static const char *const methods[] = { "GET", "POST", "PUT", "PATCH", "DELETE" };

	(void)state;
	assert_true(api_nroutes > 0);
	for (size_t i = 0; i < api_nroutes; i++) {
		const struct route *r = &api_routes[i];
		size_t params = 0, m = 0;

		assert_non_null(r->run);
		assert_int_equal(r->path[0], '/');
		assert_int_not_equal(r->path[strlen(r->path) - 1], '/');
		while (m < N(methods) && strcmp(methods[m], r->method))
			m++;
		assert_true(m < N(methods));
		for (const char *s = r->path; *s; s++)
			params += *s == ':';
		assert_true(params <= API_MAX_PARAMS);
	}
}

static void no_route_is_there_twice(void **state)
{
	(void)state;
	for (size_t i = 0; i < api_nroutes; i++)
		for (size_t k = 0; k < i; k++)
			assert_false(!strcmp(api_routes[i].method, api_routes[k].method) &&
				     !strcmp(api_routes[i].path, api_routes[k].path));
}

/* Compare part by part: can one path fit both, and which of the two is literal first? */
static bool overlap(const char *a, const char *b, int *ret_first_literal)
{
	*ret_first_literal = 0;
	while (*a && *b) {
		size_t na = strcspn(a + 1, "/") + 1, nb = strcspn(b + 1, "/") + 1;
		bool pa = a[1] == ':', pb = b[1] == ':';

		if (!pa && !pb && (na != nb || strncmp(a, b, na)))
			return false;
		if (pa != pb && !*ret_first_literal)
			*ret_first_literal = pa ? 2 : 1;
		a += na;
		b += nb;
	}
	return !*a && !*b;
}

static void literal_parts_stand_before_parameters(void **state)
{
	(void)state;
	for (size_t i = 0; i < api_nroutes; i++) {
		for (size_t k = i + 1; k < api_nroutes; k++) {
			int first;

			if (!strcmp(api_routes[i].path, api_routes[k].path) ||
			    !overlap(api_routes[i].path, api_routes[k].path, &first))
				continue;
			/* 0: they differ in the names of their parameters alone. */
			if (first != 1)
				fail_msg("%s hides %s", api_routes[i].path, api_routes[k].path);
		}
	}
}

struct answer {
	int status;
	struct json_object *json;
	char allow[64];
};

static struct control *agent(void)
{
	static struct control c;

	if (!c.model)
		c.model = model_new();
	c.revision = 7;
	return &c;
}

static struct answer ask(const char *method, const char *path, const char *body)
{
	struct http_request req = {
		.method = method, .path = path, .body = body, .body_len = strlen(body)
	};
	struct http_reply rep = { .status = 200 };
	struct answer a;

	api_handle(agent(), &req, &rep);
	assert_non_null(rep.body);
	a.status = rep.status;
	a.json = json_tokener_parse(rep.body);
	assert_non_null(a.json);
	snprintf(a.allow, sizeof(a.allow), "%s", rep.allow ? rep.allow : "");
	free(rep.body);
	return a;
}

static const char *error_text(const struct answer *a, const char *key)
{
	struct json_object *e = NULL, *v = NULL;

	assert_true(json_object_object_get_ex(a->json, "error", &e));
	assert_true(json_object_object_get_ex(e, key, &v));
	return json_object_get_string(v);
}

static void an_unknown_path_is_404(void **state)
{
	static const char *const paths[] = { "/",
					     "/api",
					     "/api/v1/nothing",
					     "/api/v2/status",
					     "/healthz/",
					     "//healthz",
					     "/api/v1/services/a/b/c/d/e/f",
					     "" };

	(void)state;
	for (size_t i = 0; i < N(paths); i++) {
		struct answer a = ask("GET", paths[i], "");

		assert_int_equal(a.status, 404);
		assert_string_equal(error_text(&a, "code"), "no_such_path");
		json_object_put(a.json);
	}
}

static void a_known_path_with_another_method_is_405_and_says_which(void **state)
{
	static const struct {
		const char *method, *path, *allow;
	} cases[] = {
		{ "DELETE", "/healthz", "GET" },
		{ "POST", "/api/v1/services/web/weights", "GET, PUT, DELETE" },
		{ "PUT", "/api/v1/services/web/versions/v1", "GET, PATCH, DELETE" },
		/* A word of the API is never taken for an id. */
		{ "GET", "/api/v1/admin/deployment/start", "POST" },
		{ "GET", "/api/v1/admin/deployment/versions", "POST" },
		{ "GET", "/api/v1/admin/deployment/1/rollback", "POST" },
		{ "GET", "/api/v1/config/reload", "POST" },
		{ "BREW", "/version", "GET" },
	};

	(void)state;
	for (size_t i = 0; i < N(cases); i++) {
		struct answer a = ask(cases[i].method, cases[i].path, "");

		assert_int_equal(a.status, 405);
		assert_string_equal(a.allow, cases[i].allow);
		json_object_put(a.json);
	}
}

static void head_asks_what_get_does(void **state)
{
	struct answer a = ask("HEAD", "/healthz", "");

	(void)state;
	assert_int_equal(a.status, 200);
	json_object_put(a.json);
}

static void a_bad_body_is_400_with_its_place(void **state)
{
	static const struct {
		const char *method, *path, *body, *pointer;
	} cases[] = {
		{ "PUT", "/api/v1/services/web/weights", "", "" },
		{ "PUT", "/api/v1/services/web/weights", "{", "" },
		{ "PUT", "/api/v1/services/web/weights", "[]", "" },
		{ "PUT", "/api/v1/services/web/weights", "{} {}", "" },
		{ "PUT", "/api/v1/services/web/weights", "{}", "/weights" },
		{ "PUT", "/api/v1/services/web/weights", "{\"weights\":{}}", "/weights" },
		{ "PUT", "/api/v1/services/web/weights", "{\"weights\":[1]}", "/weights" },
		{ "PUT", "/api/v1/services/web/weights", "{\"weights\":{\"v1\":-1}}",
		  "/weights/v1" },
		{ "PUT", "/api/v1/services/web/weights", "{\"weights\":{\"v1\":101}}",
		  "/weights/v1" },
		{ "PUT", "/api/v1/services/web/weights", "{\"weights\":{\"v1\":0.001}}",
		  "/weights/v1" },
		{ "PUT", "/api/v1/services/web/weights", "{\"weights\":{\"v1\":\"5\"}}",
		  "/weights/v1" },
		{ "PUT", "/api/v1/services/web/weights", "{\"weihgts\":{}}", "/weihgts" },
		{ "PUT", "/api/v1/services/web/weights", "{\"a/b~c\":1}", "/a~1b~0c" },
		{ "PUT", "/api/v1/services/web/weights", "{\"reason\":5,\"weights\":{}}",
		  "/reason" },
		{ "PUT", "/api/v1/services/web/versions/v1/weight", "{\"weight\":null}",
		  "/weight" },
		{ "PUT", "/api/v1/services/web/versions/v1/weight", "{}", "/weight" },
		{ "POST", "/api/v1/backends/1/drain", "{\"force\":true}", "/force" },
		{ "POST", "/api/v1/backends/1/drain", "{\"reason\":[]}", "/reason" },
		{ "GET", "/api/v1/status", "{}", "" },
		{ "POST", "/api/v1/admin/deployment/start", "{}", "/serviceName" },
		{ "POST", "/api/v1/admin/deployment/start", "{\"serviceName\":\"a b\"}",
		  "/serviceName" },
		{ "POST", "/api/v1/admin/deployment/start", "{\"serviceName\":\"web\"}",
		  "/toVersion" },
		{ "POST", "/api/v1/admin/deployment/start",
		  "{\"serviceName\":\"web\",\"stratgy\":\"x\"}", "/stratgy" },
		{ "PUT", "/api/v1/admin/deployment/1/traffic", "{\"percent\":true}", "/percent" },
		{ "POST", "/api/v1/admin/deployment/1/rollback", "{\"toVersion\":7}",
		  "/toVersion" },
		{ "PATCH", "/api/v1/services/web/versions/v1", "{\"status\":\"gold\"}", "/status" },
		{ "POST", "/api/v1/config/validate", "", "" },
	};

	(void)state;
	for (size_t i = 0; i < N(cases); i++) {
		struct answer a = ask(cases[i].method, cases[i].path, cases[i].body);

		if (a.status != 400 || strcmp(error_text(&a, "pointer"), cases[i].pointer))
			fail_msg("%s %s: %d %s", cases[i].path, cases[i].body, a.status,
				 json_object_to_json_string(a.json));
		assert_true(strlen(error_text(&a, "message")) > 10);
		json_object_put(a.json);
	}
}

static void what_is_not_there_is_404(void **state)
{
	static const struct {
		const char *method, *path, *body;
	} cases[] = {
		{ "GET", "/api/v1/services/nosuch", "" },
		{ "GET", "/api/v1/services/nosuch/versions/v1", "" },
		{ "PUT", "/api/v1/services/nosuch/weights", "{\"weights\":{\"v1\":5}}" },
		{ "DELETE", "/api/v1/services/nosuch/weights", "" },
		{ "POST", "/api/v1/backends/10.0.0.1:80/drain", "" },
		{ "GET", "/api/v1/backends/7", "" },
		{ "GET", "/api/v1/admin/deployment/nosuch", "" },
		{ "POST", "/api/v1/admin/deployment/0/pause", "" },
		{ "POST", "/api/v1/admin/deployment/start",
		  "{\"serviceName\":\"nosuch\",\"toVersion\":\"v2\"}" },
	};

	(void)state;
	for (size_t i = 0; i < N(cases); i++) {
		struct answer a = ask(cases[i].method, cases[i].path, cases[i].body);

		if (a.status != 404)
			fail_msg("%s: %d %s", cases[i].path, a.status,
				 json_object_to_json_string(a.json));
		json_object_put(a.json);
	}
}

static void shares_are_percent_with_two_decimals(void **state)
{
	static const struct {
		uint64_t part, whole;
		const char *text;
	} cases[] = { { 0, 5, "0.00" },     { 1, 3, "33.33" },
		      { 2, 3, "66.67" },    { 16384, 16384, "100.00" },
		      { 1, 10000, "0.01" }, { 1ULL << 60, 1ULL << 61, "50.00" } };

	(void)state;
	for (size_t i = 0; i < N(cases); i++) {
		struct json_object *v = view_percent(cases[i].part, cases[i].whole);

		assert_string_equal(json_object_to_json_string(v), cases[i].text);
		json_object_put(v);
	}
	assert_null(view_percent(3, 0));
}

static void times_are_iso_8601_in_utc(void **state)
{
	struct json_object *v = view_time(1700000000042);

	(void)state;
	assert_string_equal(json_object_get_string(v), "2023-11-14T22:13:20.042Z");
	json_object_put(v);
	assert_null(view_time(0));
}

static int forget_agent(void **state)
{
	(void)state;
	model_free(agent()->model);
	agent()->model = NULL;
	return 0;
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(a_pattern_matches_whole_paths_only),
		cmocka_unit_test(parameters_are_decoded),
		cmocka_unit_test(hostile_parameters_match_nothing),
		cmocka_unit_test(every_route_is_complete),
		cmocka_unit_test(no_route_is_there_twice),
		cmocka_unit_test(literal_parts_stand_before_parameters),
		cmocka_unit_test(an_unknown_path_is_404),
		cmocka_unit_test(a_known_path_with_another_method_is_405_and_says_which),
		cmocka_unit_test(head_asks_what_get_does),
		cmocka_unit_test(a_bad_body_is_400_with_its_place),
		cmocka_unit_test(what_is_not_there_is_404),
		cmocka_unit_test(shares_are_percent_with_two_decimals),
		cmocka_unit_test(times_are_iso_8601_in_utc),
	};

	return cmocka_run_group_tests(tests, NULL, forget_agent);
}
