/* SPDX-License-Identifier: GPL-2.0-only */
/* zddlb weight, switch: shares of new connections by hand. */
#include "cli.h"

#include <string.h>

#include <json-c/json.h>

#include "cli_field.h"
#include "cli_http.h"

static void print_weights(const struct cli *cli, struct json_object *reply)
{
	struct json_object *weights = field_at(reply, "weights");
	const char *comma = ":";

	cli_put(&cli->out, STYLE_BOLD, "%s", cli->words[0]);
	if (json_object_is_type(weights, json_type_object)) {
		json_object_object_foreach (weights, name, value) {
			cli_put(&cli->out, STYLE_PLAIN, "%s %s %.2f %%", comma, name,
				json_object_get_double(value));
			comma = ",";
		}
	}
	cli_put(&cli->out, STYLE_PLAIN, "\n");
}

static int finish(struct cli *cli, int code, struct json_object *reply)
{
	if (code)
		return code;
	if (cli->json)
		cli_print_json(cli, reply);
	else
		print_weights(cli, reply);
	json_object_put(reply);
	return CLI_OK;
}

int cmd_weight_get(struct cli *cli)
{
	struct json_object *reply = NULL;
	char path[512];
	int code;

	cli_http_path(path, sizeof(path), "/api/v1/services/%s/versions", cli->words[0]);
	code = cli_get(cli, &reply, path);
	if (code)
		return code;
	if (cli->json)
		cli_print_json(cli, reply);
	else
		status_print_versions(cli, field_at(reply, "versions"), 0);
	json_object_put(reply);
	return CLI_OK;
}

/* "v1.1=2.5" */
static int add_pair(struct cli *cli, struct json_object *weights, const char *word)
{
	const char *sign = strchr(word, '=');
	char name[128], number[16];
	uint32_t bp;

	if (!sign || sign == word || (size_t)(sign - word) >= sizeof(name))
		return cli_usage(cli, "\"%.60s\" is not VERSION=PERCENT", word);
	if (cli_parse_percent(&bp, sign + 1))
		return cli_usage(cli,
				 "\"%.40s\" is no share; give 0 to 100 with at most two decimals",
				 sign + 1);
	snprintf(name, sizeof(name), "%.*s", (int)(sign - word), word);
	if (json_object_object_get_ex(weights, name, NULL))
		return cli_usage(cli, "%s is given twice", name);
	snprintf(number, sizeof(number), "%u.%02u", bp / 100, bp % 100);
	json_object_object_add(weights, name, json_object_new_double_s(bp / 100.0, number));
	return CLI_OK;
}

int cmd_weight_set(struct cli *cli)
{
	struct json_object *body = cli_body(cli), *weights = json_object_new_object();
	struct json_object *reply = NULL;
	char path[512];
	int code;

	json_object_object_add(body, "weights", weights);
	for (size_t i = 1; i < cli->nwords; i++) {
		code = add_pair(cli, weights, cli->words[i]);
		if (code) {
			json_object_put(body);
			return code;
		}
	}
	cli_http_path(path, sizeof(path), "/api/v1/services/%s/weights", cli->words[0]);
	code = cli_request(cli, "PUT", path, body, &reply);
	return finish(cli, code, reply);
}

int cmd_weight_reset(struct cli *cli)
{
	struct json_object *reply = NULL;
	char path[512];
	int code;

	cli_http_path(path, sizeof(path), "/api/v1/services/%s/weights", cli->words[0]);
	code = cli_request(cli, "DELETE", path, cli_body(cli), &reply);
	return finish(cli, code, reply);
}

int cmd_switch(struct cli *cli)
{
	struct json_object *reply = NULL;
	char path[512];
	int code;

	if (!cli_confirm(cli, "Send all new connections of %s to %s at once?", cli->words[0],
			 cli->words[1]))
		return CLI_ERROR;
	cli_http_path(path, sizeof(path), "/api/v1/admin/deployment/services/%s/versions/%s/switch",
		      cli->words[0], cli->words[1]);
	code = cli_request(cli, "POST", path, cli_body(cli), &reply);
	return finish(cli, code, reply);
}
