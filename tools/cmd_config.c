/* SPDX-License-Identifier: GPL-2.0-only */
/* zddlb config: would it be accepted, what is in force, what would change, take it. */
#include "cli.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include <json-c/json.h>

#include "cli_field.h"

#define MAX_CONFIG (4u << 20) /* what the agent takes as a body */

static int read_file(struct cli *cli, const char *path, char **ret, size_t *ret_len)
{
	FILE *f = strcmp(path, "-") ? fopen(path, "re") : stdin;
	char *text = NULL;
	size_t len;
	int code = CLI_OK;

	if (!f)
		return cli_fail(cli, CLI_ERROR, "cannot read %.200s: %s", path, strerror(errno));
	text = malloc(MAX_CONFIG + 1);
	len = text ? fread(text, 1, MAX_CONFIG + 1, f) : 0;
	if (!text)
		code = cli_fail(cli, CLI_ERROR, "out of memory");
	else if (ferror(f))
		code = cli_fail(cli, CLI_ERROR, "cannot read %.200s: %s", path, strerror(errno));
	else if (len > MAX_CONFIG)
		code = cli_fail(cli, CLI_ERROR, "%.200s is larger than 4 MiB", path);
	else if (!len)
		code = cli_fail(cli, CLI_ERROR, "%.200s is empty", path);
	if (f != stdin)
		fclose(f);
	if (code) {
		free(text);
		return code;
	}
	*ret = text;
	*ret_len = len;
	return CLI_OK;
}

int cmd_config_check(struct cli *cli)
{
	struct json_object *reply = NULL;
	char *text = NULL;
	size_t len = 0;
	int code;

	code = read_file(cli, cli->words[0], &text, &len);
	if (code)
		return code;
	code = cli_request_text(cli, "POST", "/api/v1/config/validate", text, len, &reply);
	free(text);
	if (code)
		return code;
	if (cli->json)
		cli_print_json(cli, reply);
	else
		cli_put(&cli->out, STYLE_GOOD,
			"%s would be accepted: %llu services, %llu interfaces\n", cli->words[0],
			(unsigned long long)field_count(reply, "services"),
			(unsigned long long)field_count(reply, "interfaces"));
	json_object_put(reply);
	return CLI_OK;
}

int cmd_config_show(struct cli *cli)
{
	struct json_object *config = NULL;
	int code = cli_get(cli, &config, "/api/v1/config");

	if (code)
		return code;
	cli_print_json(cli, config);
	json_object_put(config);
	return CLI_OK;
}

static int reload(struct cli *cli, bool dry_run)
{
	struct json_object *reply = NULL, *changes;
	int code;

	code = cli_request(cli, "POST",
			   dry_run ? "/api/v1/config/reload?dryRun=true" : "/api/v1/config/reload",
			   cli_body(cli), &reply);
	if (code)
		return code;
	if (cli->json) {
		cli_print_json(cli, reply);
	} else {
		changes = field_at(reply, "changes");
		for (size_t i = 0; i < field_len(changes); i++)
			cli_put(&cli->out, STYLE_PLAIN, "  %s\n",
				json_object_get_string(field_item(changes, i)));
		if (!field_len(changes))
			cli_put(&cli->out, STYLE_PLAIN,
				"The file says what is in force already.\n");
		else if (dry_run)
			cli_put(&cli->out, STYLE_WARN,
				"Nothing was changed yet: zddlb config reload\n");
		else
			cli_put(&cli->out, STYLE_GOOD, "In force as revision %llu.\n",
				(unsigned long long)field_count(reply, "revision"));
	}
	json_object_put(reply);
	return CLI_OK;
}

int cmd_config_diff(struct cli *cli)
{
	return reload(cli, true);
}

int cmd_config_reload(struct cli *cli)
{
	return reload(cli, cli->dry_run);
}
