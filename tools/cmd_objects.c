/* SPDX-License-Identifier: GPL-2.0-only */
/* zddlb service, version, backend: list, show, add, set, rm. */
#include "cli.h"

#include <string.h>

#include <json-c/json.h>

#include "cli_field.h"
#include "cli_http.h"

static int list_services(const struct cli *cli, struct json_object *all)
{
	static const struct cli_column columns[] = {
		{ "SERVICE", false }, { "VIPS", false },       { "MODE", false },
		{ "VERSIONS", true }, { "BACKENDS", true },    { "RING", true },
		{ "REVISION", true }, { "DEPLOYMENT", false },
	};
	struct json_object *services = field_at(all, "services");
	struct cli_table *t = cli_table_new(columns, sizeof(columns) / sizeof(*columns));

	for (size_t i = 0; i < field_len(services); i++) {
		struct json_object *s = field_item(services, i), *vips = field_at(s, "vips");
		char text[256] = "";

		for (size_t k = 0; k < field_len(vips) && strlen(text) < 180; k++)
			snprintf(text + strlen(text), sizeof(text) - strlen(text), "%s%.64s/%.8s",
				 k ? " " : "", field_text(field_item(vips, k), "endpoint"),
				 field_text(field_item(vips, k), "protocol"));
		cli_table_cell(t, STYLE_BOLD, "%s", field_text(s, "name"));
		cli_table_cell(t, STYLE_PLAIN, "%s", text);
		cli_table_cell(t, STYLE_PLAIN, "%s", field_text(s, "mode"));
		cli_table_cell(t, STYLE_PLAIN, "%zu", field_len(field_at(s, "versions")));
		cli_table_cell(t, STYLE_PLAIN, "%zu", field_len(field_at(s, "backends")));
		cli_table_cell(t, STYLE_PLAIN, "%llu",
			       (unsigned long long)field_count(s, "ringSlots"));
		cli_table_cell(t, STYLE_PLAIN, "%llu",
			       (unsigned long long)field_count(s, "revision"));
		cli_table_cell(t, cli_state_style(field_text(s, "deployment.phase")), "%s",
			       field_text(s, "deployment.phase"));
	}
	cli_table_print(t, &cli->out, 0);
	cli_table_free(t);
	return CLI_OK;
}

/* Ask, then print as JSON or by `print`. */
static int show(struct cli *cli, const char *path,
		int (*print)(const struct cli *cli, struct json_object *o))
{
	struct json_object *o = NULL;
	int code = cli_get(cli, &o, path);

	if (code)
		return code;
	if (cli->json)
		cli_print_json(cli, o);
	else
		code = print(cli, o);
	json_object_put(o);
	return code;
}

int cmd_service_list(struct cli *cli)
{
	return show(cli, "/api/v1/services", list_services);
}

static int print_service(const struct cli *cli, struct json_object *s)
{
	status_print_service(cli, s);
	return CLI_OK;
}

int cmd_service_show(struct cli *cli)
{
	char path[512];

	cli_http_path(path, sizeof(path), "/api/v1/services/%s", cli->words[0]);
	return show(cli, path, print_service);
}

static int list_all_versions(const struct cli *cli, struct json_object *all)
{
	struct json_object *services = field_at(all, "services");

	for (size_t i = 0; i < field_len(services); i++) {
		struct json_object *s = field_item(services, i);

		cli_put(&cli->out, STYLE_BOLD, "%s%s\n", i ? "\n" : "", field_text(s, "name"));
		status_print_versions(cli, field_at(s, "versions"), 2);
	}
	return CLI_OK;
}

static int list_versions(const struct cli *cli, struct json_object *o)
{
	status_print_versions(cli, field_at(o, "versions"), 0);
	return CLI_OK;
}

int cmd_version_list(struct cli *cli)
{
	char path[512];

	if (!cli->nwords)
		return show(cli, "/api/v1/services", list_all_versions);
	cli_http_path(path, sizeof(path), "/api/v1/services/%s/versions", cli->words[0]);
	return show(cli, path, list_versions);
}

/* Only the entries of `list` whose `key` is `word`. New reference. */
static struct json_object *only(struct json_object *list, const char *key, const char *word)
{
	struct json_object *few = json_object_new_array();

	for (size_t i = 0; i < field_len(list); i++)
		if (!strcmp(field_text(field_item(list, i), key), word))
			json_object_array_add(few, json_object_get(field_item(list, i)));
	return few;
}

static int print_version(const struct cli *cli, struct json_object *service)
{
	const char *name = cli->words[1];
	struct json_object *versions = only(field_at(service, "versions"), "version", name);
	struct json_object *backends = only(field_at(service, "backends"), "version", name);

	status_print_versions(cli, versions, 0);
	cli_put(&cli->out, STYLE_PLAIN, "\n");
	status_print_backends(cli, backends, 0);
	json_object_put(versions);
	json_object_put(backends);
	return CLI_OK;
}

int cmd_version_show(struct cli *cli)
{
	struct json_object *release = NULL;
	char path[512];
	int code;

	/* Asked first, so that a wrong name is the agent's 404 and not an empty table. */
	cli_http_path(path, sizeof(path), "/api/v1/services/%s/versions/%s", cli->words[0],
		      cli->words[1]);
	code = cli_get(cli, &release, path);
	if (code)
		return code;
	if (cli->json) {
		cli_print_json(cli, release);
	} else {
		cli_http_path(path, sizeof(path), "/api/v1/services/%s", cli->words[0]);
		code = show(cli, path, print_version);
	}
	json_object_put(release);
	return code;
}

static struct json_object *backend_body(const struct cli_backend *b)
{
	struct json_object *o = json_object_new_object();

	json_object_object_add(o, "address", json_object_new_string(b->address));
	json_object_object_add(o, "port", json_object_new_int(b->port));
	json_object_object_add(o, "weight", json_object_new_int((int)b->weight));
	return o;
}

static int add_backends(struct cli *cli, struct json_object *body)
{
	struct json_object *list = json_object_new_array();

	json_object_object_add(body, "backends", list);
	for (size_t i = 0; i < cli->args->nbackends; i++) {
		struct cli_backend b;

		if (cli_parse_backend(&b, cli->args->backends[i]))
			return cli_usage(cli,
					 "--backend %.80s is not ADDR:PORT[,WEIGHT]; IPv6 goes in "
					 "brackets: [2001:db8::1]:80,2",
					 cli->args->backends[i]);
		json_object_array_add(list, backend_body(&b));
	}
	return CLI_OK;
}

static int done(struct cli *cli, struct json_object *reply, const char *what)
{
	if (cli->json)
		cli_print_json(cli, reply);
	else
		cli_put(&cli->out, STYLE_PLAIN, "%s: version %s %s\n", cli->words[0], cli->words[1],
			what);
	json_object_put(reply);
	return CLI_OK;
}

int cmd_version_add(struct cli *cli)
{
	const char *url = cli_option(cli, OPT_URL), *status = cli_option(cli, OPT_STATUS);
	struct json_object *body, *reply = NULL;
	char path[512];
	int code;

	if (!url == !cli->args->nbackends)
		return cli_usage(cli, "give either --backend (once or more) or --url");
	body = cli_body(cli);
	json_object_object_add(body, "version", json_object_new_string(cli->words[1]));
	if (url)
		json_object_object_add(body, "url", json_object_new_string(url));
	if (status)
		json_object_object_add(body, "status", json_object_new_string(status));
	if (!url && add_backends(cli, body)) {
		json_object_put(body);
		return CLI_USAGE;
	}
	cli_http_path(path, sizeof(path), "/api/v1/services/%s/versions", cli->words[0]);
	code = cli_request(cli, "POST", path, body, &reply);
	return code ? code : done(cli, reply, "is registered; ship it with `zddlb deploy start`");
}

int cmd_version_set(struct cli *cli)
{
	const char *status = cli_option(cli, OPT_STATUS);
	struct json_object *body, *reply = NULL;
	char path[512];
	int code;

	if (!status)
		return cli_usage(cli, "give --status");
	body = cli_body(cli);
	json_object_object_add(body, "status", json_object_new_string(status));
	cli_http_path(path, sizeof(path), "/api/v1/services/%s/versions/%s", cli->words[0],
		      cli->words[1]);
	code = cli_request(cli, "PATCH", path, body, &reply);
	return code ? code : done(cli, reply, "is changed");
}

int cmd_version_rm(struct cli *cli)
{
	struct json_object *reply = NULL;
	char path[512];
	int code;

	cli_http_path(path, sizeof(path), "/api/v1/services/%s/versions/%s", cli->words[0],
		      cli->words[1]);
	code = cli_request(cli, "DELETE", path, cli_body(cli), &reply);
	return code ? code : done(cli, reply, "is out; its connections are drained");
}

static int list_backends(const struct cli *cli, struct json_object *o)
{
	status_print_backends(cli, field_at(o, "backends"), 0);
	return CLI_OK;
}

int cmd_backend_list(struct cli *cli)
{
	const char *service = cli_option(cli, OPT_SERVICE);
	char path[512];

	if (!service)
		return show(cli, "/api/v1/backends", list_backends);
	cli_http_path(path, sizeof(path), "/api/v1/services/%s/backends", service);
	return show(cli, path, list_backends);
}

static void pair(struct cli_table *t, const char *name, const char *text)
{
	if (!*text)
		return;
	cli_table_cell(t, STYLE_DIM, "%s", name);
	cli_table_cell(t, cli_state_style(text), "%s", text);
}

static int print_backend(const struct cli *cli, struct json_object *b)
{
	static const struct cli_column columns[] = { { "", false }, { "", false } };
	struct cli_table *t = cli_table_new(columns, 2);
	char text[128], percent[FIELD_TEXT_LEN];

	cli_put(&cli->out, STYLE_BOLD, "%s", field_text(b, "address"));
	cli_put(&cli->out, STYLE_PLAIN, "  %s %s", field_text(b, "service"),
		field_text(b, "version"));
	pair(t, "admin", field_text(b, "admin"));
	pair(t, "health", field_text(b, "health"));
	snprintf(text, sizeof(text), "%llu (%s)",
		 (unsigned long long)field_count(b, "effectiveWeight"), field_text(b, "why"));
	pair(t, "effective weight", text);
	pair(t, "wanted", field_percent(percent, b, "wanted"));
	pair(t, "programmed", field_percent(percent, b, "programmed"));
	pair(t, "measured", field_percent(percent, b, "measured"));
	snprintf(text, sizeof(text), "%llu, %llu failed handshakes, %llu early resets",
		 (unsigned long long)field_count(b, "connections"),
		 (unsigned long long)field_count(b, "failedHandshakes"),
		 (unsigned long long)field_count(b, "earlyResets"));
	pair(t, "connections", text);
	snprintf(text, sizeof(text), "%s in %llu us; %llu checks, %llu failed",
		 field_text(b, "lastCheck.outcome"),
		 (unsigned long long)field_count(b, "lastCheck.durationMicroseconds"),
		 (unsigned long long)field_count(b, "lastCheck.checks"),
		 (unsigned long long)field_count(b, "lastCheck.failures"));
	pair(t, "last check", field_at(b, "lastCheck") ? text : "none yet");
	snprintf(text, sizeof(text), "%s %s%s", field_text(b, "nextHop.interface"),
		 field_text(b, "nextHop.mac"), field_text(b, "nextHop.problem"));
	pair(t, "next hop", text);
	pair(t, "drain", field_text(b, "drain.state"));
	cli_table_print(t, &cli->out, 2);
	cli_table_free(t);
	return CLI_OK;
}

int cmd_backend_show(struct cli *cli)
{
	char path[512];

	cli_http_path(path, sizeof(path), "/api/v1/backends/%s", cli->words[0]);
	return show(cli, path, print_backend);
}
