/* SPDX-License-Identifier: GPL-2.0-only */
/* zddlb backend drain, undrain, maint: out of the way of new connections, and back. */
#include "cli.h"

#include <string.h>

#include <json-c/json.h>

#include "cli_field.h"
#include "cli_http.h"

#define LOOK_MS     500
#define PATIENCE_MS 30000

static void print_progress(const struct cli *cli, struct json_object *d)
{
	char span[FIELD_TEXT_LEN];

	if (cli->json)
		return;
	cli_put(&cli->out, STYLE_PLAIN, "%s: drain %s", field_text(d, "address"),
		field_text(d, "state"));
	if (field_at(d, "remaining"))
		cli_put(&cli->out, STYLE_PLAIN, ", %llu connections remain",
			(unsigned long long)field_count(d, "remaining"));
	else
		cli_put(&cli->out, STYLE_PLAIN, ", not counted yet");
	if (field_count(d, "remaining") && field_at(d, "etaMilliseconds"))
		cli_put(&cli->out, STYLE_PLAIN, ", done in about %s",
			field_span(span, field_count(d, "etaMilliseconds")));
	cli_put(&cli->out, STYLE_PLAIN, "\n");
	fflush(cli->out.file);
}

/* CLI_OK: no connection remains. -1: look again. */
static int outcome(const char *state, bool has_timeout)
{
	if (!strcmp(state, "completed"))
		return CLI_OK;
	if (!strcmp(state, "cancelled") || !strcmp(state, "none"))
		return CLI_ERROR;
	/* Past the config's deadline the agent goes on counting: a longer --timeout may still win. */
	if (!strcmp(state, "timeout") && !has_timeout)
		return CLI_NOT_CONVERGED;
	return -1;
}

static int wait_drained(struct cli *cli, struct json_object *first)
{
	struct json_object *d = json_object_get(first);
	uint64_t end_ms = cli_now_ms() + cli->timeout_ms;
	uint64_t shown = UINT64_MAX;
	char path[512], id[24];
	int code;

	snprintf(id, sizeof(id), "%llu", (unsigned long long)field_count(first, "id"));
	cli_http_path(path, sizeof(path), "/api/v1/backends/%s/drain", id);
	for (;;) {
		code = outcome(field_text(d, "state"), cli->has_timeout);
		if (shown != field_count(d, "remaining") || code >= 0)
			print_progress(cli, d);
		shown = field_count(d, "remaining");
		if (code < 0 && cli->has_timeout && cli_now_ms() >= end_ms)
			code = CLI_NOT_CONVERGED;
		if (code >= 0)
			break;
		if (!cli_sleep(LOOK_MS)) {
			code = CLI_NOT_CONVERGED;
			break;
		}
		json_object_put(d);
		d = NULL;
		code = cli_get_patiently(cli, &d, path, PATIENCE_MS);
		if (code)
			return code;
	}
	if (cli->json)
		cli_print_json(cli, d);
	json_object_put(d);
	return code;
}

static int set_admin(struct cli *cli, const char *verb, const char *said)
{
	struct json_object *d = NULL;
	char path[512];
	int code;

	cli_http_path(path, sizeof(path), "/api/v1/backends/%s/%s", cli->words[0], verb);
	code = cli_request(cli, "POST", path, cli_body(cli), &d);
	if (code)
		return code;
	if (cli_flag(cli, OPT_WAIT))
		code = wait_drained(cli, d);
	else if (cli->json)
		cli_print_json(cli, d);
	else
		cli_put(&cli->out, STYLE_PLAIN, "%s of %s: %s\n", field_text(d, "address"),
			field_text(d, "service"), said);
	json_object_put(d);
	return code;
}

int cmd_backend_drain(struct cli *cli)
{
	return set_admin(cli, "drain", "draining; --wait shows how far it is");
}

int cmd_backend_undrain(struct cli *cli)
{
	return set_admin(cli, "undrain", "takes new connections again, once healthy");
}

int cmd_backend_maint(struct cli *cli)
{
	if (!cli_confirm(cli, "Put %s into maintenance?", cli->words[0]))
		return CLI_ERROR;
	return set_admin(cli, "maintenance", "in maintenance until `zddlb backend undrain`");
}
