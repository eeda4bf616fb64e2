/* SPDX-License-Identifier: GPL-2.0-only */
/* zddlb events: what happened, in words. */
#include "cli.h"

#include <stdlib.h>
#include <string.h>

#include <json-c/json.h>

#include "cli_field.h"
#include "cli_http.h"

#define LOOK_MS     1000
#define PATIENCE_MS 3600000

static void print_event(const struct cli *cli, struct json_object *e)
{
	const char *service = field_text(e, "service");

	cli_put(&cli->out, STYLE_DIM, "%6llu  %.19sZ  ", (unsigned long long)field_count(e, "id"),
		field_text(e, "time"));
	cli_put(&cli->out, STYLE_BOLD, "%-8s", field_text(e, "kind"));
	cli_put(&cli->out, STYLE_PLAIN, "  %-10s", *service ? service : "-");
	if (cli->wide)
		cli_put(&cli->out, STYLE_PLAIN, "  %-20s", field_text(e, "subject"));
	cli_put(&cli->out, STYLE_PLAIN, "  %s\n", field_text(e, "text"));
}

/* One JSON object a line when following, so that a pipe can read it as it comes. */
static void print_line(const struct cli *cli, struct json_object *e)
{
	if (cli->json)
		fprintf(cli->out.file, "%s\n",
			json_object_to_json_string_ext(e, JSON_C_TO_STRING_PLAIN));
	else
		print_event(cli, e);
}

static uint64_t print_lines(const struct cli *cli, struct json_object *events, uint64_t last)
{
	for (size_t i = 0; i < field_len(events); i++) {
		print_line(cli, field_item(events, i));
		if (field_count(field_item(events, i), "id") > last)
			last = field_count(field_item(events, i), "id");
	}
	fflush(cli->out.file);
	return last;
}

static int follow(struct cli *cli, uint64_t last)
{
	struct json_object *reply = NULL;
	char path[128];

	while (cli_sleep(LOOK_MS)) {
		int code;

		snprintf(path, sizeof(path), "/api/v1/events?since=%llu&limit=1000",
			 (unsigned long long)last);
		code = cli_get_patiently(cli, &reply, path, PATIENCE_MS);
		if (code)
			return cli_interrupted() ? CLI_OK : code;
		last = print_lines(cli, field_at(reply, "events"), last);
		json_object_put(reply);
		reply = NULL;
	}
	return CLI_OK;
}

int cmd_events(struct cli *cli)
{
	const char *since = cli_option(cli, OPT_SINCE), *limit = cli_option(cli, OPT_LIMIT);
	struct json_object *reply = NULL;
	uint64_t last = since ? strtoull(since, NULL, 10) : 0;
	char path[256];
	int code;

	if (since)
		cli_http_path(path, sizeof(path), "/api/v1/events?limit=%s&since=%s",
			      limit ? limit : "1000", since);
	else
		cli_http_path(path, sizeof(path), "/api/v1/events?limit=%s", limit ? limit : "30");
	code = cli_get(cli, &reply, path);
	if (code)
		return code;
	if (cli->json && !cli_flag(cli, OPT_FOLLOW))
		cli_print_json(cli, reply);
	else
		last = print_lines(cli, field_at(reply, "events"), last);
	json_object_put(reply);
	return cli_flag(cli, OPT_FOLLOW) ? follow(cli, last) : CLI_OK;
}
