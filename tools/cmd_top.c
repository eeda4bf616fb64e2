/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * zddlb top: a live screen. The terminal is put back on every way out, signals included. Where the
 * output is no terminal it prints two looks a second apart as one, and ends.
 */
#include "cli.h"

#include <poll.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <termios.h>
#include <unistd.h>

#include <json-c/json.h>

#include "cli_field.h"

#define REFRESH_MS 1000
#define BAR_LEN    24
#define NEWS       5

struct look {
	struct json_object *status, *events;
	uint64_t at_ms;
};

static void look_fini(struct look *l)
{
	json_object_put(l->status);
	json_object_put(l->events);
	*l = (struct look){ 0 };
}

static int look_at(struct cli *cli, struct look *ret)
{
	struct look l = { 0 };
	int code = cli_get_quietly(cli, &l.status, "/api/v1/status");

	if (!code)
		code = cli_get_quietly(cli, &l.events, "/api/v1/events?limit=5");
	l.at_ms = cli_now_ms();
	if (code)
		look_fini(&l);
	else
		*ret = l;
	return code;
}

static struct json_object *find(struct json_object *list, const char *key, const char *word)
{
	for (size_t i = 0; i < field_len(list); i++)
		if (!strcmp(field_text(field_item(list, i), key), word))
			return field_item(list, i);
	return NULL;
}

/* "123.4/s", or "" without an earlier look to compare with. */
static const char *rate(char buf[FIELD_TEXT_LEN], struct json_object *now,
			struct json_object *before, const char *path, uint64_t ms)
{
	uint64_t n = field_count(now, path), was = field_count(before, path);

	buf[0] = '\0';
	if (before && ms && n >= was)
		snprintf(buf, FIELD_TEXT_LEN, "%.1f/s", (double)(n - was) * 1000 / (double)ms);
	return buf;
}

static const char *bar(char buf[BAR_LEN + 1], double percent)
{
	int full = (int)(percent * BAR_LEN / 100 + 0.5);

	for (int i = 0; i < BAR_LEN; i++)
		buf[i] = i < full ? '#' : '.';
	/* A canary of 1 % must not look like nothing. */
	if (percent > 0 && !full)
		buf[0] = '|';
	buf[BAR_LEN] = '\0';
	return buf;
}

static void top_versions(const struct cli *cli, struct json_object *s, struct json_object *before,
			 uint64_t ms)
{
	static const struct cli_column columns[] = {
		{ "VERSION", false },   { "NEW CONNECTIONS", false }, { "WANTED", true },
		{ "PROGRAMMED", true }, { "MEASURED", true },         { "RATE", true },
		{ "HEALTHY", true },
	};
	struct json_object *versions = field_at(s, "versions");
	struct cli_table *t = cli_table_new(columns, sizeof(columns) / sizeof(*columns));
	char text[FIELD_TEXT_LEN], gauge[BAR_LEN + 1];

	for (size_t i = 0; i < field_len(versions); i++) {
		struct json_object *v = field_item(versions, i);
		struct json_object *was =
			find(field_at(before, "versions"), "version", field_text(v, "version"));
		uint64_t healthy = field_count(v, "healthy"), all = field_count(v, "backends");

		cli_table_cell(t, STYLE_BOLD, "%s", field_text(v, "version"));
		cli_table_cell(t, STYLE_GOOD, "%s", bar(gauge, field_number(v, "programmed")));
		cli_table_cell(t, STYLE_PLAIN, "%s", field_percent(text, v, "wanted"));
		cli_table_cell(t, STYLE_PLAIN, "%s", field_percent(text, v, "programmed"));
		cli_table_cell(t, STYLE_PLAIN, "%s", field_percent(text, v, "measured"));
		cli_table_cell(t, STYLE_PLAIN, "%s", rate(text, v, was, "connections", ms));
		cli_table_cell(t, healthy == all ? STYLE_GOOD : STYLE_BAD, "%llu of %llu",
			       (unsigned long long)healthy, (unsigned long long)all);
	}
	cli_table_print(t, &cli->out, 2);
	cli_table_free(t);
}

static void top_backends(const struct cli *cli, struct json_object *s, struct json_object *before,
			 uint64_t ms)
{
	static const struct cli_column columns[] = {
		{ "BACKEND", false }, { "VERSION", false }, { "ADMIN", false }, { "HEALTH", false },
		{ "SHARE", true },    { "RATE", true },     { "FAILED", true }, { "PINNED", true },
	};
	struct json_object *backends = field_at(s, "backends");
	struct cli_table *t = cli_table_new(columns, sizeof(columns) / sizeof(*columns));
	char text[FIELD_TEXT_LEN];

	for (size_t i = 0; i < field_len(backends); i++) {
		struct json_object *b = field_item(backends, i);
		struct json_object *was =
			find(field_at(before, "backends"), "address", field_text(b, "address"));
		const char *admin = field_text(b, "admin"), *health = field_text(b, "health");

		cli_table_cell(t, STYLE_PLAIN, "%s", field_text(b, "address"));
		cli_table_cell(t, STYLE_PLAIN, "%s", field_text(b, "version"));
		cli_table_cell(t, cli_state_style(admin), "%s", admin);
		cli_table_cell(t, cli_state_style(health), "%s", health);
		cli_table_cell(t, STYLE_PLAIN, "%s", field_percent(text, b, "programmed"));
		cli_table_cell(t, STYLE_PLAIN, "%s", rate(text, b, was, "connections", ms));
		cli_table_cell(t, field_count(b, "failedHandshakes") ? STYLE_WARN : STYLE_PLAIN,
			       "%s", rate(text, b, was, "failedHandshakes", ms));
		cli_table_cell(t, STYLE_PLAIN, "%llu",
			       (unsigned long long)field_count(b, "pinned"));
	}
	cli_table_print(t, &cli->out, 2);
	cli_table_free(t);
}

static void top_service(const struct cli *cli, struct json_object *s, struct json_object *before,
			uint64_t ms)
{
	struct json_object *deployment = field_at(s, "deployment");

	cli_put(&cli->out, STYLE_BOLD, "\n%s", field_text(s, "name"));
	cli_put(&cli->out, STYLE_DIM, "  revision %llu, %llu slots in transition%s%s\n",
		(unsigned long long)field_count(s, "revision"),
		(unsigned long long)field_count(s, "unsettledSlots"),
		field_flag(s, "panic") ? ", PANIC: health is ignored" : "",
		field_flag(s, "hold") ? ", HOLD: a rollback is under way" : "");
	if (deployment)
		deploy_print_brief(cli, deployment, 2);
	top_versions(cli, s, before, ms);
	top_backends(cli, s, before, ms);
}

static void draw(const struct cli *cli, const struct look *now, const struct look *before)
{
	struct json_object *services = field_at(now->status, "services");
	struct json_object *events = field_at(now->events, "events");
	uint64_t ms = before->status ? now->at_ms - before->at_ms : 0;

	status_print_header(cli, now->status);
	for (size_t i = 0; i < field_len(services); i++) {
		struct json_object *s = field_item(services, i);

		top_service(
			cli, s,
			find(field_at(before->status, "services"), "name", field_text(s, "name")),
			ms);
	}
	if (field_len(events))
		cli_put(&cli->out, STYLE_DIM, "\nLATEST EVENTS\n");
	for (size_t i = 0; i < field_len(events) && i < NEWS; i++) {
		struct json_object *e = field_item(events, i);

		cli_put(&cli->out, STYLE_PLAIN, "  %.8s  %-8s %s\n",
			strlen(field_text(e, "time")) > 11 ? field_text(e, "time") + 11 : "",
			field_text(e, "kind"), field_text(e, "text"));
	}
}

/* Only as many lines as the screen has, each ended by "erase the rest": no flicker, no scrolling. */
static void put_screen(char *text, int rows)
{
	int row = 0;

	fputs("\033[H", stdout);
	for (char *line = text; *line && row < rows - 1; row++) {
		size_t len = strcspn(line, "\n");

		printf("%.*s\033[K\r\n", (int)len, line);
		line += len + (line[len] == '\n');
	}
	fputs("\033[J\033[2mq quits\033[0m", stdout);
	fflush(stdout);
}

static void draw_screen(struct cli *cli, const struct look *now, const struct look *before,
			bool gone)
{
	struct winsize size = { .ws_row = 24 };
	struct cli drawn = *cli;
	char *text = NULL;
	size_t len = 0;

	drawn.out.file = open_memstream(&text, &len);
	if (!drawn.out.file)
		return;
	if (gone)
		cli_put(&drawn.out, STYLE_BAD,
			"The agent does not answer; traffic flows on. This is what it said last:\n");
	draw(&drawn, now, before);
	fclose(drawn.out.file);
	ioctl(STDOUT_FILENO, TIOCGWINSZ, &size);
	put_screen(text, size.ws_row ? size.ws_row : 24);
	free(text);
}

/* True once q was pressed or a signal came. */
static bool wants_to_quit(void)
{
	struct pollfd p = { .fd = STDIN_FILENO, .events = POLLIN };
	char key;

	if (cli_interrupted())
		return true;
	if (poll(&p, 1, REFRESH_MS) <= 0)
		return cli_interrupted();
	return read(STDIN_FILENO, &key, 1) != 1 || key == 'q' || key == 'Q' || key == 3;
}

/* Draws until somebody quits, through restarts of the agent. */
static int refresh(struct cli *cli, struct look *now)
{
	struct look before = { 0 };
	int code = CLI_OK;

	for (;;) {
		struct look next = { 0 };

		draw_screen(cli, now, &before, code == CLI_UNREACHABLE);
		if (wants_to_quit())
			break;
		code = look_at(cli, &next);
		if (code && code != CLI_UNREACHABLE)
			break;
		if (code)
			continue;
		look_fini(&before);
		before = *now;
		*now = next;
	}
	look_fini(&before);
	return code == CLI_UNREACHABLE ? CLI_OK : code;
}

/* Another screen, no cursor, no wrapping of long lines. */
#define ENTER_SCREEN "\033[?1049h\033[?25l\033[?7l"
#define LEAVE_SCREEN "\033[?7h\033[?25h\033[?1049l"

static int live(struct cli *cli)
{
	struct termios saved, quiet;
	struct look now = { 0 };
	bool keys;
	int code;

	/* Asked aloud first: without an agent there is nothing to draw. */
	code = cli_get(cli, &now.status, "/version");
	json_object_put(now.status);
	if (!code)
		code = look_at(cli, &now);
	if (code)
		return code;
	cli_interrupted();
	keys = !tcgetattr(STDIN_FILENO, &saved);
	if (keys) {
		quiet = saved;
		quiet.c_lflag &= ~(tcflag_t)(ICANON | ECHO);
		tcsetattr(STDIN_FILENO, TCSANOW, &quiet);
	}
	fputs(ENTER_SCREEN, stdout);
	code = refresh(cli, &now);
	fputs(LEAVE_SCREEN, stdout);
	fflush(stdout);
	if (keys)
		tcsetattr(STDIN_FILENO, TCSANOW, &saved);
	look_fini(&now);
	return code;
}

static int once(struct cli *cli)
{
	struct look now = { 0 }, before = { 0 };
	int code = cli_get(cli, &now.status, "/version");

	look_fini(&now);
	if (!code)
		code = look_at(cli, &before);
	if (!code && cli_sleep(REFRESH_MS))
		code = look_at(cli, &now);
	if (!code && now.status && cli->json)
		cli_print_json(cli, now.status);
	else if (!code && now.status)
		draw(cli, &now, &before);
	look_fini(&before);
	look_fini(&now);
	return code;
}

int cmd_top(struct cli *cli)
{
	return cli->tty && !cli->json ? live(cli) : once(cli);
}
