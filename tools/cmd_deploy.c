/* SPDX-License-Identifier: GPL-2.0-only */
/* zddlb deploy, pause, resume, promote, abort, rollback: shipping a version, and taking it back. */
#include "cli.h"

#include <stdlib.h>
#include <string.h>

#include <json-c/json.h>

#include "cli_field.h"
#include "cli_http.h"

#define BASE        "/api/v1/admin/deployment"
#define LOOK_MS     500
#define PATIENCE_MS 30000
#define QUIET_MS    10000 /* without news a watched deployment says so again */

static const char *evidence(char buf[64], struct json_object *d)
{
	snprintf(buf, 64, "%.3g of %.3g", field_number(d, "verdict.evidence"),
		 field_number(d, "verdict.threshold"));
	return buf;
}

static const char *step_of(char buf[64], struct json_object *d)
{
	uint64_t step = field_count(d, "step");
	size_t all = field_len(field_at(d, "steps"));

	if (step)
		snprintf(buf, 64, "step %llu of %zu", (unsigned long long)step, all);
	else
		snprintf(buf, 64, "before its first step");
	return buf;
}

void deploy_print_brief(const struct cli *cli, struct json_object *d, int indent)
{
	char step[64], proof[64], percent[FIELD_TEXT_LEN];
	const char *phase = field_text(d, "phase");

	cli_put(&cli->out, STYLE_PLAIN, "%*sdeployment %llu: %s -> %s, ", indent, "",
		(unsigned long long)field_count(d, "id"), field_text(d, "fromVersion"),
		field_text(d, "toVersion"));
	cli_put(&cli->out, cli_state_style(phase), "%s", phase);
	cli_put(&cli->out, STYLE_PLAIN, ", %s at %s, %s, evidence against it %s\n",
		step_of(step, d), field_percent(percent, d, "weight"),
		field_text(d, "verdict.result"), evidence(proof, d));
}

static void print_side(const struct cli *cli, struct json_object *d, const char *side)
{
	char path[64], percent[FIELD_TEXT_LEN];
	uint64_t n, failed;

	snprintf(path, sizeof(path), "verdict.%s.connections", side);
	n = field_count(d, path);
	snprintf(path, sizeof(path), "verdict.%s.failures", side);
	failed = field_count(d, path);
	snprintf(path, sizeof(path), "verdict.%s.failurePercent", side);
	cli_put(&cli->out, STYLE_PLAIN, "            %-6s  %llu connections, %llu failed (%s)\n",
		side, (unsigned long long)n, (unsigned long long)failed,
		field_percent(percent, d, path));
}

static void print_steps(const struct cli *cli, struct json_object *d)
{
	struct json_object *steps = field_at(d, "steps");
	char percent[FIELD_TEXT_LEN], span[FIELD_TEXT_LEN];

	cli_put(&cli->out, STYLE_DIM, "  steps   ");
	for (size_t i = 0; i < field_len(steps); i++) {
		bool now = i + 1 == field_count(d, "step");

		cli_put(&cli->out, now ? STYLE_BOLD : STYLE_PLAIN, "%s%s %s%s", now ? "  [" : "  ",
			field_percent(percent, field_item(steps, i), "setWeight"),
			field_span(span, field_count(field_item(steps, i), "pause")),
			now ? "]" : "");
	}
	cli_put(&cli->out, STYLE_PLAIN, "\n");
}

static void print_deploy(const struct cli *cli, struct json_object *d)
{
	const char *phase = field_text(d, "phase"), *result = field_text(d, "verdict.result");
	uint64_t us = field_count(d, "rollbackMicroseconds");
	char step[64], proof[64], percent[FIELD_TEXT_LEN], span[FIELD_TEXT_LEN];

	cli_put(&cli->out, STYLE_BOLD, "deployment %llu of %s",
		(unsigned long long)field_count(d, "id"), field_text(d, "serviceName"));
	cli_put(&cli->out, STYLE_PLAIN, "  %s -> %s  (%s)\n", field_text(d, "fromVersion"),
		field_text(d, "toVersion"), field_text(d, "strategy"));
	cli_put(&cli->out, STYLE_DIM, "  phase     ");
	cli_put(&cli->out, cli_state_style(phase), "%s", phase);
	cli_put(&cli->out, STYLE_PLAIN, ", %s, %s at %s\n", step_of(step, d),
		field_text(d, "toVersion"), field_percent(percent, d, "weight"));
	print_steps(cli, d);
	cli_put(&cli->out, STYLE_DIM, "  verdict   ");
	cli_put(&cli->out, cli_state_style(result), "%s", result);
	cli_put(&cli->out, STYLE_PLAIN, ", evidence against it %s\n", evidence(proof, d));
	print_side(cli, d, "canary");
	print_side(cli, d, "stable");
	if (*field_text(d, "reason")) {
		cli_put(&cli->out, STYLE_DIM, "  because   ");
		cli_put(&cli->out, STYLE_PLAIN, "%s\n", field_text(d, "reason"));
	}
	if (*field_text(d, "startedAt")) {
		cli_put(&cli->out, STYLE_DIM, "  time      ");
		cli_put(&cli->out, STYLE_PLAIN, "started %s%s%s, %s without pauses\n",
			field_text(d, "startedAt"), *field_text(d, "endedAt") ? ", ended " : "",
			field_text(d, "endedAt"),
			field_span(span, field_count(d, "elapsedMilliseconds")));
	}
	if (us) {
		cli_put(&cli->out, STYLE_DIM, "  rollback  ");
		cli_put(&cli->out, STYLE_PLAIN,
			"%llu microseconds until no new connection could reach it\n",
			(unsigned long long)us);
	}
}

static int answer(const struct cli *cli, struct json_object *d)
{
	if (cli->json)
		cli_print_json(cli, d);
	else
		print_deploy(cli, d);
	json_object_put(d);
	return CLI_OK;
}

int cmd_deploy_show(struct cli *cli)
{
	struct json_object *d = NULL;
	char path[512];
	int code;

	cli_http_path(path, sizeof(path), BASE "/%s", cli->words[0]);
	code = cli_get(cli, &d, path);
	return code ? code : answer(cli, d);
}

static const struct {
	const char *status;
	int code;
} endings[] = {
	{ "completed", CLI_OK },
	{ "rolled_back", CLI_ROLLED_BACK },
	{ "failed", CLI_ERROR },
};

/* -1: it goes on. */
static int ending(struct json_object *d)
{
	for (size_t i = 0; i < sizeof(endings) / sizeof(*endings); i++)
		if (!strcmp(field_text(d, "status"), endings[i].status))
			return endings[i].code;
	return -1;
}

/* What makes one line differ from the next. */
struct seen {
	char phase[24], reason[256];
	uint64_t step;
	double weight;
	uint64_t at_ms;
};

static void print_news(const struct cli *cli, struct json_object *d, struct seen *seen)
{
	struct seen now = { .step = field_count(d, "step"),
			    .weight = field_number(d, "weight"),
			    .at_ms = cli_now_ms() };
	char step[64], proof[64], percent[FIELD_TEXT_LEN];

	snprintf(now.phase, sizeof(now.phase), "%s", field_text(d, "phase"));
	snprintf(now.reason, sizeof(now.reason), "%s", field_text(d, "reason"));
	if (!strcmp(now.phase, seen->phase) && !strcmp(now.reason, seen->reason) &&
	    now.step == seen->step && now.weight <= seen->weight && now.weight >= seen->weight &&
	    now.at_ms < seen->at_ms + QUIET_MS)
		return;
	*seen = now;
	if (cli->json)
		return;
	cli_put(&cli->out, cli_state_style(now.phase), "%-11s", now.phase);
	cli_put(&cli->out, STYLE_PLAIN, "  %s, %s at %s, evidence %s, canary %llu of %llu failed",
		step_of(step, d), field_text(d, "toVersion"), field_percent(percent, d, "weight"),
		evidence(proof, d), (unsigned long long)field_count(d, "verdict.canary.failures"),
		(unsigned long long)field_count(d, "verdict.canary.connections"));
	cli_put(&cli->out, STYLE_DIM, "%s%s\n", now.reason[0] ? "  " : "", now.reason);
	fflush(cli->out.file);
}

static int watch(struct cli *cli, const char *key)
{
	uint64_t end_ms = cli_now_ms() + cli->timeout_ms;
	struct seen seen = { .phase = "" };
	struct json_object *d = NULL;
	char path[512];
	int code;

	cli_http_path(path, sizeof(path), BASE "/%s", key);
	for (;;) {
		code = cli_get_patiently(cli, &d, path, PATIENCE_MS);
		if (code)
			return code;
		print_news(cli, d, &seen);
		code = ending(d);
		if (code < 0 && cli->has_timeout && cli_now_ms() >= end_ms)
			code = CLI_NOT_CONVERGED;
		if (code < 0 && !cli_sleep(LOOK_MS))
			code = CLI_NOT_CONVERGED;
		if (code >= 0)
			break;
		json_object_put(d);
		d = NULL;
	}
	if (code == CLI_NOT_CONVERGED && !cli->json)
		cli_put(&cli->err, STYLE_WARN, "It goes on without this command watching.\n");
	answer(cli, d);
	return code;
}

int cmd_deploy_watch(struct cli *cli)
{
	struct json_object *d = NULL;
	char path[512], id[24];
	int code;

	/* A service's name may mean another deployment later: watch by number. */
	cli_http_path(path, sizeof(path), BASE "/%s", cli->words[0]);
	code = cli_get(cli, &d, path);
	if (code)
		return code;
	snprintf(id, sizeof(id), "%llu", (unsigned long long)field_count(d, "id"));
	json_object_put(d);
	return watch(cli, id);
}

static void add_text(struct json_object *body, const char *key, const char *text)
{
	if (text)
		json_object_object_add(body, key, json_object_new_string(text));
}

/* "1,10,50,100" */
static struct json_object *parse_steps(const char *text)
{
	struct json_object *list = json_object_new_array();

	for (;;) {
		size_t len = strcspn(text, ",");
		char part[16], number[16];
		uint32_t bp;

		snprintf(part, sizeof(part), "%.*s", (int)(len < sizeof(part) ? len : 0), text);
		if (cli_parse_percent(&bp, part)) {
			json_object_put(list);
			return NULL;
		}
		snprintf(number, sizeof(number), "%u.%02u", bp / 100, bp % 100);
		json_object_array_add(list, json_object_new_double_s(bp / 100.0, number));
		if (!text[len])
			return list;
		text += len + 1;
	}
}

static int add_steps(struct cli *cli, struct json_object *body)
{
	const char *text = cli_option(cli, OPT_STEPS), *pause = cli_option(cli, OPT_PAUSE);
	struct json_object *config, *steps;
	uint64_t pause_ms = 300000;

	if (!text)
		return pause ? cli_usage(cli, "--pause goes with --steps") : CLI_OK;
	if (cli_option(cli, OPT_STRATEGY))
		return cli_usage(cli, "--steps and --strategy exclude each other");
	if (pause && cli_parse_duration(&pause_ms, pause))
		return cli_usage(cli, "--pause %.40s is no duration; give one like 30s or 5m",
				 pause);
	steps = parse_steps(text);
	if (!steps)
		return cli_usage(cli, "--steps %.60s is no list of percentages like 1,10,50,100",
				 text);
	config = json_object_new_object();
	json_object_object_add(config, "steps", steps);
	json_object_object_add(config, "stepInterval", json_object_new_uint64(pause_ms));
	json_object_object_add(body, "config", config);
	return CLI_OK;
}

int cmd_deploy_start(struct cli *cli)
{
	struct json_object *body, *d = NULL;
	char id[24];
	int code;

	if (!cli_option(cli, OPT_TO))
		return cli_usage(cli, "give the version to ship: --to VERSION");
	body = cli_body(cli);
	add_text(body, "serviceName", cli->words[0]);
	add_text(body, "toVersion", cli_option(cli, OPT_TO));
	add_text(body, "fromVersion", cli_option(cli, OPT_FROM));
	add_text(body, "strategy", cli_option(cli, OPT_STRATEGY));
	code = add_steps(cli, body);
	if (code) {
		json_object_put(body);
		return code;
	}
	code = cli_request(cli, "POST", cli->dry_run ? BASE "/start?dryRun=true" : BASE "/start",
			   body, &d);
	if (code)
		return code;
	if (cli->dry_run && !cli->json)
		cli_put(&cli->out, STYLE_WARN, "Dry run: nothing was started. It would be:\n");
	if (cli->dry_run || !cli_flag(cli, OPT_WAIT))
		return answer(cli, d);

	snprintf(id, sizeof(id), "%llu", (unsigned long long)field_count(d, "id"));
	json_object_put(d);
	return watch(cli, id);
}

static void print_list(const struct cli *cli, struct json_object *all)
{
	static const struct cli_column columns[] = {
		{ "ID", true },     { "SERVICE", false }, { "FROM", false },
		{ "TO", false },    { "PHASE", false },   { "STEP", true },
		{ "WEIGHT", true }, { "VERDICT", false }, { "STARTED", false },
		{ "ENDED", false }, { "REASON", false },
	};
	struct json_object *list = field_at(all, "deployments");
	struct cli_table *t = cli_table_new(columns, sizeof(columns) / sizeof(*columns));
	char percent[FIELD_TEXT_LEN];

	for (size_t i = 0; i < field_len(list); i++) {
		struct json_object *d = field_item(list, i);
		const char *phase = field_text(d, "phase"), *reason = field_text(d, "reason");

		cli_table_cell(t, STYLE_BOLD, "%llu", (unsigned long long)field_count(d, "id"));
		cli_table_cell(t, STYLE_PLAIN, "%s", field_text(d, "serviceName"));
		cli_table_cell(t, STYLE_PLAIN, "%s", field_text(d, "fromVersion"));
		cli_table_cell(t, STYLE_PLAIN, "%s", field_text(d, "toVersion"));
		cli_table_cell(t, cli_state_style(phase), "%s", phase);
		cli_table_cell(t, STYLE_PLAIN, "%llu/%zu",
			       (unsigned long long)field_count(d, "step"),
			       field_len(field_at(d, "steps")));
		cli_table_cell(t, STYLE_PLAIN, "%s", field_percent(percent, d, "weight"));
		cli_table_cell(t, STYLE_PLAIN, "%s", field_text(d, "verdict.result"));
		cli_table_cell(t, STYLE_PLAIN, "%.19s", field_text(d, "startedAt"));
		cli_table_cell(t, STYLE_PLAIN, "%.19s", field_text(d, "endedAt"));
		cli_table_cell(t, STYLE_PLAIN, "%.*s", cli->wide ? 256 : 48, reason);
	}
	cli_table_print(t, &cli->out, 0);
	cli_table_free(t);
	if (!field_len(list))
		cli_put(&cli->out, STYLE_DIM,
			"No deployments yet; `zddlb deploy start` begins one.\n");
}

int cmd_deploy_list(struct cli *cli)
{
	const char *limit = cli_option(cli, OPT_LIMIT);
	struct json_object *all = NULL;
	char path[512];
	int code;

	if (cli->nwords)
		cli_http_path(path, sizeof(path), BASE "?limit=%s&service=%s", limit ? limit : "20",
			      cli->words[0]);
	else
		cli_http_path(path, sizeof(path), BASE "?limit=%s", limit ? limit : "20");
	code = cli_get(cli, &all, path);
	if (code)
		return code;
	if (cli->json)
		cli_print_json(cli, all);
	else
		print_list(cli, all);
	json_object_put(all);
	return CLI_OK;
}

static int verb(struct cli *cli, const char *name, struct json_object *body)
{
	struct json_object *d = NULL;
	char path[512];
	int code;

	cli_http_path(path, sizeof(path), BASE "/%s/%s", cli->words[0], name);
	code = cli_request(cli, "POST", path, body, &d);
	return code ? code : answer(cli, d);
}

int cmd_pause(struct cli *cli)
{
	return verb(cli, "pause", cli_body(cli));
}

int cmd_resume(struct cli *cli)
{
	return verb(cli, "resume", cli_body(cli));
}

int cmd_promote(struct cli *cli)
{
	return verb(cli, cli_flag(cli, OPT_FULL) ? "complete" : "promote", cli_body(cli));
}

int cmd_abort(struct cli *cli)
{
	return verb(cli, "abort", cli_body(cli));
}

/* A running one must come back at once; a finished one carries all traffic, so ask. */
static int confirm_undo(struct cli *cli)
{
	struct json_object *d = NULL;
	char path[512];
	bool yes = true;
	int code;

	if (cli_flag(cli, OPT_YES))
		return CLI_OK;
	cli_http_path(path, sizeof(path), BASE "/%s", cli->words[0]);
	code = cli_get(cli, &d, path);
	if (code)
		return code;
	if (ending(d) == CLI_OK)
		yes = cli_confirm(cli,
				  "Deployment %llu is completed. Send all new connections back?",
				  (unsigned long long)field_count(d, "id"));
	json_object_put(d);
	return yes ? CLI_OK : CLI_ERROR;
}

int cmd_rollback(struct cli *cli)
{
	struct json_object *body;
	int code = confirm_undo(cli);

	if (code)
		return code;
	body = cli_body(cli);
	add_text(body, "toVersion", cli_option(cli, OPT_TO));
	return verb(cli, "rollback", body);
}
