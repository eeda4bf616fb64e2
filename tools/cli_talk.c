/* SPDX-License-Identifier: GPL-2.0-only */
/* How commands talk: to the agent, and to the person in front of the terminal. See cli.h. */
#include "cli.h"

#include <ctype.h>
#include <errno.h>
#include <signal.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#include <json-c/json.h>

#include "cli_field.h"
#include "cli_http.h"

static volatile sig_atomic_t interrupted;

static void on_signal(int signo)
{
	(void)signo;
	interrupted = 1;
}

bool cli_interrupted(void)
{
	static bool watched;
	struct sigaction sa = { .sa_handler = on_signal };

	/* Only commands that ask are responsible for ending themselves. */
	if (!watched) {
		sigaction(SIGINT, &sa, NULL);
		sigaction(SIGTERM, &sa, NULL);
		watched = true;
	}
	return interrupted;
}

bool cli_sleep(uint64_t ms)
{
	struct timespec ts = { (time_t)(ms / 1000), (long)(ms % 1000) * 1000000 };

	if (!cli_interrupted())
		nanosleep(&ts, NULL);
	return !cli_interrupted();
}

uint64_t cli_now_ms(void)
{
	struct timespec ts;

	clock_gettime(CLOCK_MONOTONIC, &ts);
	return (uint64_t)ts.tv_sec * 1000 + (uint64_t)ts.tv_nsec / 1000000;
}

int cli_fail(const struct cli *cli, enum cli_exit code, const char *fmt, ...)
{
	char text[1024];
	va_list ap;

	va_start(ap, fmt);
	vsnprintf(text, sizeof(text), fmt, ap);
	va_end(ap);
	fflush(cli->out.file);
	cli_put(&cli->err, STYLE_BAD, "zddlb: ");
	cli_put(&cli->err, STYLE_PLAIN, "%s\n", text);
	return code;
}

int cli_usage(const struct cli *cli, const char *fmt, ...)
{
	const struct command *c = cli->command;
	char text[512];
	va_list ap;

	va_start(ap, fmt);
	vsnprintf(text, sizeof(text), fmt, ap);
	va_end(ap);
	cli_fail(cli, CLI_USAGE, "%s", text);
	if (c)
		cli_put(&cli->err, STYLE_PLAIN, "Usage: zddlb %s %s\nMore: zddlb %s --help\n",
			c->path, c->args, c->path);
	return CLI_USAGE;
}

bool cli_confirm(const struct cli *cli, const char *fmt, ...)
{
	char text[512], answer[16] = "";
	va_list ap;

	if (cli_flag(cli, OPT_YES) || !isatty(STDIN_FILENO))
		return true;
	va_start(ap, fmt);
	vsnprintf(text, sizeof(text), fmt, ap);
	va_end(ap);
	cli_put(&cli->err, STYLE_BOLD, "%s [y/N] ", text);
	fflush(cli->err.file);
	if (fgets(answer, sizeof(answer), stdin) && tolower((unsigned char)answer[0]) == 'y')
		return true;
	cli_put(&cli->err, STYLE_PLAIN, "Nothing was changed.\n");
	return false;
}

/* The agent's own words: message, place, code. */
static int report_error(const struct cli *cli, const struct cli_reply *r)
{
	const char *message = field_text(r->json, "error.message");
	const char *pointer = field_text(r->json, "error.pointer");

	if (!*message)
		return cli_fail(cli, CLI_ERROR, "the agent answered %ld without a reason",
				r->status);
	if (cli->json) {
		cli_print_json(cli, r->json);
		return CLI_ERROR;
	}
	cli_fail(cli, CLI_ERROR, "%s", message);
	if (*pointer)
		cli_put(&cli->err, STYLE_DIM, "  at %s\n", pointer);
	return CLI_ERROR;
}

static int send_request(const struct cli *cli, const char *method, const char *path,
			const char *text, size_t len, bool quiet, struct json_object **ret)
{
	char problem[CLI_PROBLEM_LEN];
	struct cli_reply r;
	int err, code = CLI_OK;

	err = cli_http_send(cli->http, method, path, text, len, &r, problem);
	if (err) {
		code = err == -ECONNREFUSED ? CLI_UNREACHABLE : CLI_ERROR;
		return quiet ? code : cli_fail(cli, code, "%s", problem);
	}
	if (r.status < 200 || r.status > 299)
		code = report_error(cli, &r);
	else if (!r.json)
		code = cli_fail(cli, CLI_ERROR,
				"the answer is not JSON: is that an agent of zddlb?");
	if (!code) {
		*ret = r.json;
		r.json = NULL;
	}
	cli_reply_fini(&r);
	return code;
}

int cli_request_text(const struct cli *cli, const char *method, const char *path, const char *text,
		     size_t len, struct json_object **ret)
{
	return send_request(cli, method, path, text, len, false, ret);
}

int cli_request(const struct cli *cli, const char *method, const char *path,
		struct json_object *body, struct json_object **ret)
{
	const char *text =
		body ? json_object_to_json_string_ext(body, JSON_C_TO_STRING_PLAIN) : NULL;
	int code = send_request(cli, method, path, text, text ? strlen(text) : 0, false, ret);

	json_object_put(body);
	return code;
}

int cli_get(const struct cli *cli, struct json_object **ret, const char *path)
{
	return cli_request(cli, "GET", path, NULL, ret);
}

int cli_get_quietly(const struct cli *cli, struct json_object **ret, const char *path)
{
	return send_request(cli, "GET", path, NULL, 0, true, ret);
}

int cli_get_patiently(const struct cli *cli, struct json_object **ret, const char *path,
		      uint64_t patience_ms)
{
	uint64_t until_ms = cli_now_ms() + patience_ms;
	bool told = false;

	for (;;) {
		int code = cli_get_quietly(cli, ret, path);

		if (code != CLI_UNREACHABLE)
			return code;
		if (cli_now_ms() >= until_ms)
			return cli_get(cli, ret, path);
		if (!told)
			cli_put(&cli->err, STYLE_WARN,
				"The agent does not answer; traffic flows on. Asking again...\n");
		told = true;
		if (!cli_sleep(500))
			return CLI_UNREACHABLE;
	}
}

const char *cli_option(const struct cli *cli, enum cli_option option)
{
	return cli->args->value[option];
}

bool cli_flag(const struct cli *cli, enum cli_option option)
{
	return cli->args->value[option] != NULL;
}

struct json_object *cli_body(const struct cli *cli)
{
	struct json_object *body = json_object_new_object();
	const char *reason = cli_option(cli, OPT_REASON);

	if (reason)
		json_object_object_add(body, "reason", json_object_new_string(reason));
	return body;
}

void cli_print_json(const struct cli *cli, struct json_object *o)
{
	const char *text = json_object_to_json_string_ext(
		o,
		JSON_C_TO_STRING_PRETTY | JSON_C_TO_STRING_SPACED | JSON_C_TO_STRING_NOSLASHESCAPE);

	/* json-c escapes C0 controls, but not DEL and C1, which steer some terminals too. */
	for (const unsigned char *s = (const unsigned char *)text; s && *s; s++) {
		if (*s == 0x7f || (*s == 0xc2 && s[1] >= 0x80 && s[1] < 0xa0)) {
			fprintf(cli->out.file, "\\u%04x", *s == 0x7f ? *s : s[1]);
			s += *s != 0x7f;
		} else {
			fputc(*s, cli->out.file);
		}
	}
	fputc('\n', cli->out.file);
}

static const struct {
	const char *word;
	enum cli_style style;
} state_styles[] = {
	{ "active", STYLE_GOOD },     { "healthy", STYLE_GOOD },     { "production", STYLE_GOOD },
	{ "completed", STYLE_GOOD },  { "pass", STYLE_GOOD },        { "ready", STYLE_GOOD },
	{ "rolling", STYLE_WARN },    { "testing", STYLE_WARN },     { "paused", STYLE_WARN },
	{ "draining", STYLE_WARN },   { "maintenance", STYLE_WARN }, { "unknown", STYLE_WARN },
	{ "running", STYLE_WARN },    { "unhealthy", STYLE_BAD },    { "failed", STYLE_BAD },
	{ "rolled_back", STYLE_BAD }, { "fail", STYLE_BAD },         { "timeout", STYLE_BAD },
};

enum cli_style cli_state_style(const char *word)
{
	for (size_t i = 0; i < sizeof(state_styles) / sizeof(*state_styles); i++)
		if (!strcmp(state_styles[i].word, word))
			return state_styles[i].style;
	return STYLE_PLAIN;
}
