/* SPDX-License-Identifier: GPL-2.0-only */
/* zddlb status: services, versions and backends at a glance. */
#include "cli.h"

#include <string.h>

#include <json-c/json.h>

#include "cli_field.h"
#include "cli_http.h"

static void problem(const struct cli *cli, const char *what, const char *text)
{
	if (*text)
		cli_put(&cli->out, STYLE_BAD, "  ! %s%s%s\n", what, *what ? ": " : "", text);
}

static void print_interfaces(const struct cli *cli, struct json_object *interfaces)
{
	for (size_t i = 0; i < field_len(interfaces); i++) {
		struct json_object *f = field_item(interfaces, i);
		const char *name = field_text(f, "name"), *trouble = field_text(f, "problem");
		bool attached = field_flag(f, "attached");

		cli_put(&cli->out, STYLE_PLAIN, "  %s ", name);
		cli_put(&cli->out, attached ? STYLE_GOOD : STYLE_BAD, "%s",
			attached ? field_text(f, "mode") : "not attached");
		if (field_flag(f, "manageVips"))
			cli_put(&cli->out, STYLE_DIM, " holds the VIPs");
		cli_put(&cli->out, STYLE_PLAIN, "\n");
		problem(cli, name, trouble);
	}
}

void status_print_header(const struct cli *cli, struct json_object *status)
{
	bool ready = field_flag(status, "ready");
	char span[FIELD_TEXT_LEN];

	cli_put(&cli->out, STYLE_BOLD, "zddlb %s", field_text(status, "release"));
	cli_put(&cli->out, STYLE_PLAIN, "  up %s  revision %llu  ",
		field_span(span, field_count(status, "uptimeMilliseconds")),
		(unsigned long long)field_count(status, "revision"));
	cli_put(&cli->out, ready ? STYLE_GOOD : STYLE_WARN, "%s\n", ready ? "ready" : "not ready");
	print_interfaces(cli, field_at(status, "interfaces"));
	problem(cli, "state", field_text(status, "storeProblem"));
	problem(cli, "data plane", field_text(status, "mapsProblem"));
}

void status_print_versions(const struct cli *cli, struct json_object *versions, int indent)
{
	static const struct cli_column columns[] = {
		{ "VERSION", false },    { "STATUS", false },      { "WANTED", true },
		{ "PROGRAMMED", true },  { "MEASURED", true },     { "HEALTHY", true },
		{ "CONNECTIONS", true }, { "SINCE CHANGE", true }, { "", false },
	};
	struct cli_table *t = cli_table_new(columns, sizeof(columns) / sizeof(*columns));
	char text[FIELD_TEXT_LEN];

	for (size_t i = 0; i < field_len(versions); i++) {
		struct json_object *v = field_item(versions, i);
		uint64_t healthy = field_count(v, "healthy"), all = field_count(v, "backends");
		enum cli_style style = healthy == all ? STYLE_GOOD : STYLE_BAD;
		bool idle = field_number(v, "wanted") <= 0;

		cli_table_cell(t, idle ? STYLE_PLAIN : STYLE_BOLD, "%s", field_text(v, "version"));
		cli_table_cell(t, STYLE_PLAIN, "%s", field_text(v, "status"));
		cli_table_cell(t, STYLE_PLAIN, "%s", field_percent(text, v, "wanted"));
		cli_table_cell(t, STYLE_PLAIN, "%s", field_percent(text, v, "programmed"));
		cli_table_cell(t, STYLE_PLAIN, "%s", field_percent(text, v, "measured"));
		cli_table_cell(t, style, "%llu of %llu", (unsigned long long)healthy,
			       (unsigned long long)all);
		cli_table_cell(t, STYLE_PLAIN, "%llu",
			       (unsigned long long)field_count(v, "connections"));
		cli_table_cell(t, STYLE_PLAIN, "%llu",
			       (unsigned long long)field_count(v, "connectionsSinceChange"));
		cli_table_cell(t, STYLE_DIM, "%s",
			       field_flag(v, "overridden") ? "weight overridden" : "");
	}
	cli_table_print(t, &cli->out, indent);
	cli_table_free(t);
}

/* A short word for why a backend is not simply at work. */
static void note(char *buf, size_t room, const struct cli *cli, struct json_object *b)
{
	struct json_object *drain = field_at(b, "drain");
	const char *hop = field_text(b, "nextHop.problem");

	buf[0] = '\0';
	if (*hop)
		snprintf(buf, room, "no way to it: %s", hop);
	else if (drain && !strcmp(field_text(b, "admin"), "active") && !field_flag(b, "removed"))
		buf[0] = '\0';
	else if (drain)
		snprintf(buf, room, "drain %s, %llu remain", field_text(drain, "state"),
			 (unsigned long long)field_count(drain, "remaining"));
	else if (strcmp(field_text(b, "health"), "healthy") != 0)
		snprintf(buf, room, "%s", field_text(b, "lastCheck.outcome"));
	if (field_flag(b, "removed"))
		snprintf(buf + strlen(buf), room - strlen(buf), "%sremoved", *buf ? ", " : "");
	if (cli->wide)
		snprintf(buf + strlen(buf), room - strlen(buf), "%s%s", *buf ? "; " : "",
			 field_text(b, "why"));
}

static void backend_row(const struct cli *cli, struct cli_table *t, struct json_object *b)
{
	const char *admin = field_text(b, "admin"), *health = field_text(b, "health");
	char text[FIELD_TEXT_LEN], words[256];

	cli_table_cell(t, STYLE_PLAIN, "%s", cli->wide ? field_text(b, "service") : "");
	cli_table_cell(t, STYLE_PLAIN, "%s", field_text(b, "address"));
	if (cli->wide)
		cli_table_cell(t, STYLE_DIM, "%llu", (unsigned long long)field_count(b, "id"));
	else
		cli_table_cell(t, STYLE_PLAIN, "%s", "");
	cli_table_cell(t, STYLE_PLAIN, "%s", field_text(b, "version"));
	cli_table_cell(t, cli_state_style(admin), "%s", admin);
	cli_table_cell(t, cli_state_style(health), "%s", health);
	cli_table_cell(t, STYLE_PLAIN, "%s", field_percent(text, b, "wanted"));
	cli_table_cell(t, STYLE_PLAIN, "%s", field_percent(text, b, "programmed"));
	cli_table_cell(t, STYLE_PLAIN, "%s", field_percent(text, b, "measured"));
	cli_table_cell(t, STYLE_PLAIN, "%llu", (unsigned long long)field_count(b, "connections"));
	cli_table_cell(t, field_count(b, "failedHandshakes") ? STYLE_WARN : STYLE_PLAIN, "%llu",
		       (unsigned long long)field_count(b, "failedHandshakes") +
			       (unsigned long long)field_count(b, "earlyResets"));
	cli_table_cell(t, STYLE_PLAIN, "%llu", (unsigned long long)field_count(b, "pinned"));
	note(words, sizeof(words), cli, b);
	cli_table_cell(t, STYLE_WARN, "%s", words);
}

void status_print_backends(const struct cli *cli, struct json_object *backends, int indent)
{
	static const struct cli_column columns[] = {
		{ "SERVICE", false },    { "BACKEND", false },   { "ID", true },
		{ "VERSION", false },    { "ADMIN", false },     { "HEALTH", false },
		{ "WANTED", true },      { "PROGRAMMED", true }, { "MEASURED", true },
		{ "CONNECTIONS", true }, { "FAILED", true },     { "PINNED", true },
		{ "NOTE", false },
	};
	struct cli_table *t = cli_table_new(columns, sizeof(columns) / sizeof(*columns));

	for (size_t i = 0; i < field_len(backends); i++)
		backend_row(cli, t, field_item(backends, i));
	cli_table_print(t, &cli->out, indent);
	cli_table_free(t);
}

static void print_flags(const struct cli *cli, struct json_object *s)
{
	if (field_flag(s, "panic"))
		problem(cli, "panic",
			"too few backends are healthy, so health is ignored until more are");
	if (field_flag(s, "hold"))
		problem(cli, "hold", "a rollback is under way; the canary gets no new connections");
	if (!field_flag(s, "ready"))
		cli_put(&cli->out, STYLE_WARN, "  waiting for the first checks of its backends\n");
}

void status_print_service(const struct cli *cli, struct json_object *s)
{
	struct json_object *vips = field_at(s, "vips");
	struct json_object *deployment = field_at(s, "deployment");
	uint64_t unsettled = field_count(s, "unsettledSlots");

	cli_put(&cli->out, STYLE_BOLD, "%s", field_text(s, "name"));
	for (size_t i = 0; i < field_len(vips); i++)
		cli_put(&cli->out, STYLE_PLAIN, "  %s/%s",
			field_text(field_item(vips, i), "endpoint"),
			field_text(field_item(vips, i), "protocol"));
	cli_put(&cli->out, STYLE_DIM, "  %s, ring of %llu slots, revision %llu",
		field_text(s, "mode"), (unsigned long long)field_count(s, "ringSlots"),
		(unsigned long long)field_count(s, "revision"));
	if (!strcmp(field_text(s, "tracking"), "full"))
		cli_put(&cli->out, STYLE_DIM, ", all flows tracked");
	if (unsettled)
		cli_put(&cli->out, STYLE_DIM, ", %llu slots in transition",
			(unsigned long long)unsettled);
	cli_put(&cli->out, STYLE_PLAIN, "\n");
	print_flags(cli, s);
	if (deployment)
		deploy_print_brief(cli, deployment, 2);
	cli_put(&cli->out, STYLE_PLAIN, "\n");
	status_print_versions(cli, field_at(s, "versions"), 2);
	cli_put(&cli->out, STYLE_PLAIN, "\n");
	status_print_backends(cli, field_at(s, "backends"), 2);
}

static int one_service(struct cli *cli)
{
	struct json_object *s = NULL;
	char path[512];
	int code;

	cli_http_path(path, sizeof(path), "/api/v1/services/%s", cli->words[0]);
	code = cli_get(cli, &s, path);
	if (code)
		return code;
	if (cli->json)
		cli_print_json(cli, s);
	else
		status_print_service(cli, s);
	json_object_put(s);
	return CLI_OK;
}

int cmd_status(struct cli *cli)
{
	struct json_object *status = NULL, *services;
	int code;

	if (cli->nwords)
		return one_service(cli);
	code = cli_get(cli, &status, "/api/v1/status");
	if (code)
		return code;
	if (cli->json) {
		cli_print_json(cli, status);
	} else {
		status_print_header(cli, status);
		services = field_at(status, "services");
		for (size_t i = 0; i < field_len(services); i++) {
			cli_put(&cli->out, STYLE_PLAIN, "\n");
			status_print_service(cli, field_item(services, i));
		}
		if (!field_len(services))
			cli_put(&cli->out, STYLE_DIM,
				"\nNo services yet: name some under \"services\" in the config, then "
				"`zddlb config reload`.\n");
	}
	json_object_put(status);
	return CLI_OK;
}
