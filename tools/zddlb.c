/* SPDX-License-Identifier: GPL-2.0-only */
/* zddlb, the command line: one table of commands that also is the help. */
#include "cli.h"

#include <errno.h>
#include <locale.h>
#include <signal.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <curl/curl.h>
#include <json-c/json.h>

#include <zddlb/version.h>

#include "cli_field.h"
#include "cli_http.h"

#define DEFAULT_SOCKET    "/run/zddlb/zddlb.sock"
#define DEFAULT_ANSWER_MS 10000
#define LONGEST_ANSWER_MS 60000
#define WATCH_MS          1000

#define READ  OPT_BIT(OPT_WATCH)
#define WRITE OPT_BIT(OPT_REASON)
#define WAIT  OPT_BIT(OPT_WAIT)

static const struct command commands[] = {
	{ "status", "[SERVICE]", READ, cmd_status, "Services, versions and backends at a glance",
	  "Shares are percent of a service's new connections: wanted (asked for), programmed (held in\n"
	  "the ring that packets see) and measured (counted since the shares last changed)." },
	{ "top", "", 0, cmd_top, "A live screen of everything; q quits", NULL },
	{ "service list", "", READ, cmd_service_list, "List services", NULL },
	{ "service show", "SERVICE", READ, cmd_service_show, "One service with all it has", NULL },
	{ "version list", "[SERVICE]", READ, cmd_version_list, "List versions", NULL },
	{ "version show", "SERVICE VERSION", READ, cmd_version_show,
	  "One version with its backends", NULL },
	{ "version add", "SERVICE VERSION",
	  WRITE | OPT_BIT(OPT_BACKEND) | OPT_BIT(OPT_URL) | OPT_BIT(OPT_STATUS), cmd_version_add,
	  "Register a version at run time; it starts with weight 0",
	  "  zddlb version add auth v1.1 --backend 10.0.0.21:7200 --backend 10.0.0.22:7200,2" },
	{ "version set", "SERVICE VERSION", WRITE | OPT_BIT(OPT_STATUS), cmd_version_set,
	  "Change a version's status", NULL },
	{ "version rm", "SERVICE VERSION", WRITE, cmd_version_rm,
	  "Take a version out; its connections are drained", NULL },
	{ "backend list", "", READ | OPT_BIT(OPT_SERVICE), cmd_backend_list, "List backends",
	  NULL },
	{ "backend show", "BACKEND", READ, cmd_backend_show,
	  "One backend with its checks and counters",
	  "BACKEND is ADDR:PORT, SERVICE/ADDR:PORT or the number that -o wide shows." },
	{ "backend drain", "BACKEND", WRITE | WAIT, cmd_backend_drain,
	  "No new connections; those it has may end",
	  "With --wait: prints what remains, and ends with 0 once none does, with 3 if some remain after\n"
	  "--timeout (default: the drain timeout of the config)." },
	{ "backend undrain", "BACKEND", WRITE, cmd_backend_undrain, "Back to work", NULL },
	{ "backend maint", "BACKEND", WRITE | WAIT, cmd_backend_maint,
	  "Drain, and stay out until undrain", NULL },
	{ "weight get", "SERVICE", READ, cmd_weight_get, "Shares of a service's versions", NULL },
	{ "weight set", "SERVICE VERSION=PERCENT...", WRITE, cmd_weight_set,
	  "Set shares; versions not named keep their proportions",
	  "  zddlb weight set auth v1.1=2.5" },
	{ "weight reset", "SERVICE", WRITE, cmd_weight_reset, "Back to the weights of the config",
	  NULL },
	{ "switch", "SERVICE VERSION", WRITE, cmd_switch,
	  "All new connections to one version, at once", NULL },
	{ "deploy start", "SERVICE",
	  WRITE | WAIT | OPT_BIT(OPT_TO) | OPT_BIT(OPT_FROM) | OPT_BIT(OPT_STRATEGY) |
		  OPT_BIT(OPT_STEPS) | OPT_BIT(OPT_PAUSE) | OPT_BIT(OPT_DRY_RUN),
	  cmd_deploy_start, "Ship a version step by step, judged on the way",
	  "  zddlb deploy start auth --to v1.1 --steps 1,10,50,100 --pause 5m --wait\n"
	  "With --wait it ends with 0 when completed, 4 when rolled back, 3 after --timeout." },
	{ "deploy show", "DEPLOYMENT", READ, cmd_deploy_show, "One deployment with its verdict",
	  "DEPLOYMENT is its number, or a service: its running deployment, else its last." },
	{ "deploy list", "[SERVICE]", READ | OPT_BIT(OPT_LIMIT), cmd_deploy_list,
	  "Deployments, newest first", NULL },
	{ "deploy watch", "DEPLOYMENT", 0, cmd_deploy_watch, "Follow a deployment to its end",
	  "Exit codes are those of `deploy start --wait`." },
	{ "pause", "DEPLOYMENT", WRITE, cmd_pause, "Stay on the step; shares stay as they are",
	  NULL },
	{ "resume", "DEPLOYMENT", WRITE, cmd_resume, "Go on after a pause", NULL },
	{ "promote", "DEPLOYMENT", WRITE | OPT_BIT(OPT_FULL), cmd_promote, "Next step now", NULL },
	{ "abort", "DEPLOYMENT", WRITE, cmd_abort, "Stop a running deployment and take it back",
	  NULL },
	{ "rollback", "DEPLOYMENT", WRITE | OPT_BIT(OPT_TO), cmd_rollback,
	  "Take a deployment back at once, running or finished", NULL },
	{ "config check", "FILE", 0, cmd_config_check, "Would this config be accepted?",
	  "The agent reads it, so nothing is changed. Without an agent: zddlbd check --config FILE." },
	{ "config show", "", 0, cmd_config_show, "The config in force, defaults filled in", NULL },
	{ "config diff", "", 0, cmd_config_diff, "What reload would change", NULL },
	{ "config reload", "", WRITE | OPT_BIT(OPT_DRY_RUN), cmd_config_reload,
	  "Read the config file again: whole, or not at all", NULL },
	{ "metrics", "", READ, cmd_metrics,
	  "Counters of packets, connections, probes and the agent", NULL },
	{ "events", "", OPT_BIT(OPT_FOLLOW) | OPT_BIT(OPT_SINCE) | OPT_BIT(OPT_LIMIT), cmd_events,
	  "What happened", NULL },
	{ "version", "", 0, cmd_version, "Release of this command and of the agent", NULL },
	{ "help", "[COMMAND]...", 0, cmd_help, "This", NULL },
};
#define NCOMMANDS (sizeof(commands) / sizeof(*commands))

static size_t first_word(const char *path)
{
	return strcspn(path, " ");
}

static bool has_noun(const struct command *c, const char *noun)
{
	return strlen(noun) == first_word(c->path) && !strncmp(c->path, noun, strlen(noun));
}

/* "version" is a command and a noun: two words win over one. */
static const struct command *find_command(const char *const *words, size_t n, size_t *ret_used)
{
	const struct command *one = NULL;

	for (const struct command *c = commands; n && c < commands + NCOMMANDS; c++) {
		const char *verb = strchr(c->path, ' ');

		if (!has_noun(c, words[0]))
			continue;
		if (verb && n > 1 && !strcmp(verb + 1, words[1])) {
			*ret_used = 2;
			return c;
		}
		if (!verb)
			one = c;
	}
	*ret_used = 1;
	return one;
}

static void print_options(const struct cli_out *o, unsigned mask)
{
	static const struct cli_column columns[] = { { "", false }, { "", false } };
	struct cli_table *t = cli_table_new(columns, 2);

	for (int i = 0; i < OPT_MAX; i++) {
		const struct cli_option_spec *spec = &cli_options[i];
		char letter[8] = "";

		if (!(mask & OPT_BIT(i)))
			continue;
		if (spec->letter)
			snprintf(letter, sizeof(letter), "-%c, ", spec->letter);
		cli_table_cell(t, STYLE_PLAIN, "%s--%s%s%s", letter, spec->name,
			       spec->value ? " " : "", spec->value ? spec->value : "");
		cli_table_cell(t, STYLE_PLAIN, "%s", spec->help);
	}
	cli_table_print(t, o, 2);
	cli_table_free(t);
}

static void print_commands(const struct cli_out *o, const char *noun)
{
	static const struct cli_column columns[] = { { "", false }, { "", false } };
	struct cli_table *t = cli_table_new(columns, 2);

	for (const struct command *c = commands; c < commands + NCOMMANDS; c++) {
		if (noun && !has_noun(c, noun))
			continue;
		cli_table_cell(t, STYLE_BOLD, "%s %s", c->path, c->args);
		cli_table_cell(t, STYLE_PLAIN, "%s", c->help);
	}
	cli_table_print(t, o, 2);
	cli_table_free(t);
}

static void help_command(const struct cli_out *o, const struct command *c)
{
	cli_put(o, STYLE_PLAIN, "%s.\n\nUsage: zddlb %s %s [OPTIONS]\n", c->help, c->path, c->args);
	if (c->details)
		cli_put(o, STYLE_PLAIN, "\n%s\n", c->details);
	if (c->options) {
		cli_put(o, STYLE_PLAIN, "\nOptions:");
		print_options(o, c->options);
	}
	cli_put(o, STYLE_PLAIN, "\nOptions of every command:");
	print_options(o, OPTS_GLOBAL);
}

static void help_all(const struct cli_out *o, const char *noun)
{
	cli_put(o, STYLE_PLAIN,
		"zddlb %s: balance connections, and ship new versions without a client noticing.\n\n"
		"Usage: zddlb COMMAND [ARGUMENTS] [OPTIONS]\n\nCommands:",
		ZDDLB_VERSION);
	print_commands(o, noun);
	if (noun)
		return;
	cli_put(o, STYLE_PLAIN, "\nOptions of every command:");
	print_options(o, OPTS_GLOBAL);
	cli_put(o, STYLE_PLAIN,
		"\nMore about one: zddlb COMMAND --help\n"
		"Exit codes: 0 done, 1 error, 2 wrong usage, 3 not done in time, 4 rolled back, 5 no "
		"agent\n");
}

static bool is_noun(const char *word)
{
	for (const struct command *c = commands; c < commands + NCOMMANDS; c++)
		if (has_noun(c, word))
			return true;
	return false;
}

static bool has_verbs(const char *noun)
{
	for (const struct command *c = commands; c < commands + NCOMMANDS; c++)
		if (has_noun(c, noun) && strchr(c->path, ' '))
			return true;
	return false;
}

static int unknown_command(const struct cli *cli, const char *const *words, size_t n)
{
	char nouns[NCOMMANDS][16];
	const char *list[NCOMMANDS], *near;
	bool noun = is_noun(words[0]);
	size_t nlist = 0;

	for (const struct command *c = commands; c < commands + NCOMMANDS; c++) {
		const char *verb = strchr(c->path, ' ');

		snprintf(nouns[nlist], sizeof(nouns[nlist]), "%.*s", (int)first_word(c->path),
			 c->path);
		if (noun && (!verb || !has_noun(c, words[0])))
			continue;
		list[nlist] = noun ? verb + 1 : nouns[nlist];
		nlist++;
	}
	if (noun && n < 2) {
		cli_fail(cli, CLI_USAGE, "%s what?", words[0]);
		cli_put(&cli->err, STYLE_PLAIN, "Commands:");
		print_commands(&cli->err, words[0]);
		return CLI_USAGE;
	}
	near = cli_nearest(words[noun], list, nlist);
	cli_fail(cli, CLI_USAGE, "unknown command \"%s%s%.60s\"%s%s%s%s%s", noun ? words[0] : "",
		 noun ? " " : "", words[noun], near ? "; did you mean \"" : "",
		 near && noun ? words[0] : "", near && noun ? " " : "", near ? near : "",
		 near ? "\"?" : "");
	cli_put(&cli->err, STYLE_PLAIN, "All commands: zddlb --help\n");
	return CLI_USAGE;
}

static int help_for(const struct cli *cli, const char *const *words, size_t n)
{
	const struct command *c;
	size_t used;

	if (!n) {
		help_all(&cli->out, NULL);
		return CLI_OK;
	}
	c = find_command(words, n, &used);
	if (c && (used == n || used == 2 || strchr(c->args, '['))) {
		help_command(&cli->out, c);
		return CLI_OK;
	}
	if (n == 1 && is_noun(words[0])) {
		help_all(&cli->out, words[0]);
		return CLI_OK;
	}
	if (c) {
		help_command(&cli->out, c);
		return CLI_OK;
	}
	return unknown_command(cli, words, n);
}

int cmd_help(struct cli *cli)
{
	return help_for(cli, cli->words, cli->nwords);
}

int cmd_version(struct cli *cli)
{
	struct json_object *agent = NULL;
	int code = cli_get(cli, &agent, "/version");

	if (cli->json) {
		struct json_object *o = json_object_new_object();

		json_object_object_add(o, "client", json_object_new_string(ZDDLB_VERSION));
		json_object_object_add(o, "agent", json_object_get(agent));
		cli_print_json(cli, o);
		json_object_put(o);
	} else {
		cli_put(&cli->out, STYLE_PLAIN, "zddlb %s\n", ZDDLB_VERSION);
		if (!code)
			cli_put(&cli->out, STYLE_PLAIN, "agent %s, ABI %llu\n",
				field_text(agent, "version"),
				(unsigned long long)field_count(agent, "abi"));
	}
	json_object_put(agent);
	return code;
}

static int check_usage(struct cli *cli)
{
	unsigned allowed = OPTS_GLOBAL | cli->command->options;
	size_t min, max;

	for (int o = 0; o < OPT_MAX; o++)
		if (cli->args->given & OPT_BIT(o) & ~allowed)
			return cli_usage(cli, "`%s` has no option --%s", cli->command->path,
					 cli_options[o].name);
	cli_arity(cli->command->args, &min, &max);
	if (cli->nwords < min)
		return cli_usage(cli, "`%s` needs more: %s", cli->command->path,
				 cli->command->args);
	if (cli->nwords > max)
		return cli_usage(cli, "\"%.60s\" is one word too many", cli->words[max]);
	for (size_t i = 0; i < cli->nwords; i++)
		if (!*cli->words[i])
			return cli_usage(cli, "an empty word is no name");
	return CLI_OK;
}

static int read_options(struct cli *cli)
{
	const char *output = cli_option(cli, OPT_OUTPUT);
	const char *timeout = cli_option(cli, OPT_TIMEOUT);

	if (output && strcmp(output, "table") != 0 && strcmp(output, "json") != 0 &&
	    strcmp(output, "wide") != 0)
		return cli_usage(cli, "-o %.40s is not known; give table, json or wide", output);
	cli->json = output && !strcmp(output, "json");
	cli->wide = output && !strcmp(output, "wide");
	cli->dry_run = cli_flag(cli, OPT_DRY_RUN);
	cli->has_timeout = timeout != NULL;
	cli->timeout_ms = DEFAULT_ANSWER_MS;
	if (timeout && (cli_parse_duration(&cli->timeout_ms, timeout) || !cli->timeout_ms ||
			cli->timeout_ms > INT32_MAX))
		return cli_usage(cli, "--timeout %.40s is no duration; give one like 30s or 5m",
				 timeout);
	return CLI_OK;
}

static int connect_agent(struct cli *cli)
{
	const char *socket = cli_option(cli, OPT_SOCKET);
	const char *server = cli_option(cli, OPT_SERVER);
	char problem[CLI_PROBLEM_LEN];
	uint64_t answer_ms = cli->timeout_ms;

	if (socket && server)
		return cli_usage(cli, "--socket and --server exclude each other");
	if (!socket)
		socket = getenv("ZDDLB_SOCKET");
	if (!socket || !*socket)
		socket = DEFAULT_SOCKET;
	/* With --wait the timeout is for the whole; one answer must not take longer than usual. */
	if (cli_flag(cli, OPT_WAIT) || answer_ms > LONGEST_ANSWER_MS)
		answer_ms = DEFAULT_ANSWER_MS;
	if (cli_http_open(&cli->http, socket, server, answer_ms, problem))
		return cli_fail(cli, CLI_USAGE, "%s", problem);
	return CLI_OK;
}

/* --watch: the same again every second, on a clean screen if there is one. */
static int run(struct cli *cli)
{
	int code;

	if (!cli_flag(cli, OPT_WATCH))
		return cli->command->run(cli);
	do {
		if (cli->tty && !cli->json)
			fputs("\033[H\033[2J", stdout);
		code = cli->command->run(cli);
		if (!cli->tty && !cli->json)
			fputc('\n', stdout);
		fflush(stdout);
	} while (code == CLI_OK && cli_sleep(WATCH_MS));
	return code;
}

static bool wants_colour(int fd)
{
	const char *none = getenv("NO_COLOR"), *term = getenv("TERM");

	return isatty(fd) && !(none && *none) && term && strcmp(term, "dumb") != 0;
}

int main(int argc, char **argv)
{
	struct cli_args args;
	struct cli cli = {
		.args = &args,
		.out = { stdout, wants_colour(STDOUT_FILENO) },
		.err = { stderr, wants_colour(STDERR_FILENO) },
		.tty = isatty(STDOUT_FILENO),
	};
	size_t used;
	int code;

	/* A reader that goes away (head) must not look like a crash of ours. */
	signal(SIGPIPE, SIG_DFL);
	if (cli_args_parse(&args, argc, argv)) {
		cli_fail(&cli, CLI_USAGE, "%s", args.problem);
		cli_put(&cli.err, STYLE_PLAIN, "Options: zddlb --help\n");
		return CLI_USAGE;
	}
	if (!args.nwords || cli_flag(&cli, OPT_HELP)) {
		code = help_for(&cli, args.words, args.nwords);
		return args.nwords || cli_flag(&cli, OPT_HELP) ? code : CLI_USAGE;
	}

	cli.command = find_command(args.words, args.nwords, &used);
	if (!cli.command)
		return unknown_command(&cli, args.words, args.nwords);
	/* "version lst": a verb that is wrong, not an argument of `version`. */
	if (has_verbs(args.words[0]) && args.nwords > 1 && used == 1)
		return unknown_command(&cli, args.words, args.nwords);
	cli.words = args.words + used;
	cli.nwords = args.nwords - used;

	curl_global_init(CURL_GLOBAL_DEFAULT);
	code = read_options(&cli);
	if (!code)
		code = check_usage(&cli);
	if (!code)
		code = connect_agent(&cli);
	if (!code)
		code = run(&cli);
	cli_http_close(cli.http);
	if (fflush(stdout) && !code)
		code = CLI_ERROR;
	return code;
}
