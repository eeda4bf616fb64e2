/* SPDX-License-Identifier: GPL-2.0-only */
/* Words, options and what stands in them. See cli_args.h. */
#include "cli_args.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

const struct cli_option_spec cli_options[OPT_MAX] = {
	[OPT_OUTPUT] = { "output", 'o', "table|json|wide", "how to print (default: table)" },
	[OPT_SOCKET] = { "socket", 0, "PATH",
			 "the agent's socket (default: /run/zddlb/zddlb.sock or $ZDDLB_SOCKET)" },
	[OPT_SERVER] = { "server", 0, "URL", "ask an agent over HTTP, e.g. http://127.0.0.1:9090" },
	[OPT_TIMEOUT] = { "timeout", 0, "DURATION", "how long to wait, e.g. 30s" },
	[OPT_YES] = { "yes", 'y', NULL, "do not ask back" },
	[OPT_HELP] = { "help", 'h', NULL, "show this help" },
	[OPT_WATCH] = { "watch", 'w', NULL, "show it again every second until ^C" },
	[OPT_DRY_RUN] = { "dry-run", 0, NULL, "only say what would happen" },
	[OPT_REASON] = { "reason", 0, "TEXT", "kept with the event, for those who ask later" },
	[OPT_WAIT] = { "wait", 0, NULL, "stay until it is done" },
	[OPT_TO] = { "to", 0, "VERSION", "the version to go to" },
	[OPT_FROM] = { "from", 0, "VERSION", "the version to come from (default: the heaviest)" },
	[OPT_STRATEGY] = { "strategy", 0, "NAME",
			   "one of the config, or canary, immediate, blue-green" },
	[OPT_STEPS] = { "steps", 0, "LIST", "percentages that end at 100, e.g. 1,10,50,100" },
	[OPT_PAUSE] = { "pause", 0, "DURATION", "time on each step (default: 5m)" },
	[OPT_FULL] = { "full", 0, NULL, "all the way to 100 %, not just one step" },
	[OPT_BACKEND] = { "backend", 0, "ADDR:PORT[,WEIGHT]", "may be given several times" },
	[OPT_URL] = { "url", 0, "URL", "http://ADDR:PORT of its only backend" },
	[OPT_STATUS] = { "status", 0, "STATUS", "testing, staging, production or deprecated" },
	[OPT_SERVICE] = { "service", 0, "SERVICE", "only of this service" },
	[OPT_FOLLOW] = { "follow", 'f', NULL, "go on as new ones come, until ^C" },
	[OPT_SINCE] = { "since", 0, "ID", "only those after this event" },
	[OPT_LIMIT] = { "limit", 0, "N", "at most so many" },
};

static int find_option(const char *name, size_t len)
{
	for (int o = 0; o < OPT_MAX; o++)
		if (strlen(cli_options[o].name) == len && !strncmp(cli_options[o].name, name, len))
			return o;
	return -1;
}

static int find_letter(char letter)
{
	for (int o = 0; o < OPT_MAX; o++)
		if (cli_options[o].letter && cli_options[o].letter == letter)
			return o;
	return -1;
}

static int unknown_option(struct cli_args *a, const char *word)
{
	const char *names[OPT_MAX], *near;
	char name[64];

	for (int o = 0; o < OPT_MAX; o++)
		names[o] = cli_options[o].name;
	snprintf(name, sizeof(name), "%.*s", (int)strcspn(word, "="), word);
	near = cli_nearest(name + strspn(name, "-"), names, OPT_MAX);
	snprintf(a->problem, sizeof(a->problem), "unknown option %.60s%s%s%s", name,
		 near ? "; did you mean --" : "", near ? near : "", near ? "?" : "");
	return -EINVAL;
}

static int set_option(struct cli_args *a, int o, const char *value)
{
	if (o == OPT_BACKEND) {
		if (a->nbackends == CLI_MAX_BACKENDS) {
			snprintf(a->problem, sizeof(a->problem), "more than %d --backend",
				 CLI_MAX_BACKENDS);
			return -EINVAL;
		}
		a->backends[a->nbackends++] = value;
	} else if (a->given & OPT_BIT(o) && cli_options[o].value) {
		snprintf(a->problem, sizeof(a->problem), "--%s is given twice",
			 cli_options[o].name);
		return -EINVAL;
	}
	a->given |= OPT_BIT(o);
	a->value[o] = value;
	return 0;
}

/* One option at argv[*i], with its value in the same word or the next. */
static int take_option(struct cli_args *a, int argc, char *const *argv, int *i)
{
	const char *word = argv[*i], *inline_value = NULL;
	int o;

	if (word[1] == '-') {
		size_t len = strcspn(word + 2, "=");

		o = find_option(word + 2, len);
		if (word[2 + len] == '=')
			inline_value = word + 3 + len;
	} else {
		o = find_letter(word[1]);
		if (word[2])
			inline_value = word + 2 + (word[2] == '=');
	}
	if (o < 0)
		return unknown_option(a, word);

	if (!cli_options[o].value) {
		if (!inline_value)
			return set_option(a, o, "");
		snprintf(a->problem, sizeof(a->problem), "--%s takes no value",
			 cli_options[o].name);
		return -EINVAL;
	}
	if (inline_value)
		return set_option(a, o, inline_value);
	if (*i + 1 < argc)
		return set_option(a, o, argv[++*i]);
	snprintf(a->problem, sizeof(a->problem), "--%s needs a value: %s", cli_options[o].name,
		 cli_options[o].value);
	return -EINVAL;
}

int cli_args_parse(struct cli_args *ret, int argc, char *const *argv)
{
	bool options = true;

	*ret = (struct cli_args){ 0 };
	for (int i = 1; i < argc; i++) {
		const char *word = argv[i];

		if (options && !strcmp(word, "--")) {
			options = false;
		} else if (options && word[0] == '-' && word[1]) {
			int err = take_option(ret, argc, argv, &i);

			if (err)
				return err;
		} else if (ret->nwords == CLI_MAX_WORDS) {
			snprintf(ret->problem, sizeof(ret->problem), "more than %d words",
				 CLI_MAX_WORDS);
			return -EINVAL;
		} else {
			ret->words[ret->nwords++] = word;
		}
	}
	return 0;
}

#define MAX_WORD 32

static unsigned min3(unsigned a, unsigned b, unsigned c)
{
	unsigned least = a < b ? a : b;

	return least < c ? least : c;
}

unsigned cli_distance(const char *a, const char *b)
{
	unsigned row[3][MAX_WORD + 1];
	size_t na = strlen(a), nb = strlen(b);

	if (na > MAX_WORD || nb > MAX_WORD)
		return MAX_WORD;
	for (unsigned j = 0; j <= nb; j++)
		row[0][j] = j;
	for (unsigned i = 1; i <= na; i++) {
		unsigned *now = row[i % 3], *prev = row[(i + 2) % 3], *prev2 = row[(i + 1) % 3];

		now[0] = i;
		for (unsigned j = 1; j <= nb; j++) {
			now[j] = min3(now[j - 1] + 1, prev[j] + 1,
				      prev[j - 1] + (a[i - 1] != b[j - 1]));
			if (i > 1 && j > 1 && a[i - 1] == b[j - 2] && a[i - 2] == b[j - 1] &&
			    prev2[j - 2] + 1 < now[j])
				now[j] = prev2[j - 2] + 1;
		}
	}
	return row[na % 3][nb];
}

const char *cli_nearest(const char *word, const char *const *list, size_t n)
{
	/* A third of the letters may be wrong, and always one. */
	unsigned limit = (unsigned)strlen(word) / 3 + 1, best = limit + 1;
	const char *near = NULL;

	for (size_t i = 0; i < n; i++) {
		unsigned distance = cli_distance(word, list[i]);

		if (distance < best && distance < strlen(list[i])) {
			best = distance;
			near = list[i];
		}
	}
	return near;
}

void cli_arity(const char *args, size_t *ret_min, size_t *ret_max)
{
	*ret_min = *ret_max = 0;
	while (*args) {
		size_t len = strcspn(args, " ");
		bool many = len > 3 && !strncmp(args + len - 3, "...", 3);

		*ret_min += *args != '[';
		if (*ret_max != SIZE_MAX)
			*ret_max += 1;
		if (many)
			*ret_max = SIZE_MAX;
		args += len;
		args += strspn(args, " ");
	}
}

static const struct {
	const char *name;
	uint64_t ms;
} units[] = { { "ms", 1 }, { "s", 1000 }, { "m", 60000 }, { "h", 3600000 }, { "d", 86400000 } };

int cli_parse_duration(uint64_t *ret_ms, const char *text)
{
	uint64_t total = 0;

	if (!strcmp(text, "0")) {
		*ret_ms = 0;
		return 0;
	}
	do {
		size_t digits = strspn(text, "0123456789");
		size_t letters = strspn(text + digits, "dhms");
		uint64_t unit = 0;

		if (!digits || digits > 9)
			return -EINVAL;
		for (size_t i = 0; i < sizeof(units) / sizeof(*units); i++)
			if (strlen(units[i].name) == letters &&
			    !strncmp(units[i].name, text + digits, letters))
				unit = units[i].ms;
		if (!unit)
			return -EINVAL;
		total += strtoull(text, NULL, 10) * unit;
		text += digits + letters;
	} while (*text);
	*ret_ms = total;
	return 0;
}

int cli_parse_percent(uint32_t *ret_bp, const char *text)
{
	size_t whole = strspn(text, "0123456789"), fraction = 0;
	uint32_t bp;

	if (!whole || whole > 3)
		return -EINVAL;
	bp = (uint32_t)strtoul(text, NULL, 10) * 100;
	text += whole;
	if (*text == '.') {
		fraction = strspn(++text, "0123456789");
		if (!fraction || fraction > 2)
			return -EINVAL;
		bp += (uint32_t)(text[0] - '0') * 10;
		bp += fraction == 2 ? (uint32_t)(text[1] - '0') : 0;
		text += fraction;
	}
	if (*text == '%')
		text++;
	if (*text)
		return -EINVAL;
	*ret_bp = bp;
	return 0;
}

static int parse_number(const char *text, size_t len, unsigned long max, unsigned long *ret)
{
	if (!len || len > 6 || strspn(text, "0123456789") < len)
		return -EINVAL;
	*ret = strtoul(text, NULL, 10);
	return *ret > max ? -EINVAL : 0;
}

int cli_parse_backend(struct cli_backend *ret, const char *text)
{
	size_t len = strcspn(text, ",");
	const char *port, *address = text;
	unsigned long number, weight = 1;
	size_t naddress;

	if (text[len] && parse_number(text + len + 1, strlen(text + len + 1), 10000, &weight))
		return -EINVAL;
	port = memrchr(text, ':', len);
	if (!port)
		return -EINVAL;
	naddress = (size_t)(port - text);
	if (*address == '[') {
		if (naddress < 3 || port[-1] != ']')
			return -EINVAL;
		address++;
		naddress -= 2;
	} else if (memchr(address, ':', naddress)) {
		return -EINVAL;
	}
	if (!naddress || naddress >= sizeof(ret->address) ||
	    parse_number(port + 1, len - (size_t)(port + 1 - text), 65535, &number) || !number)
		return -EINVAL;

	*ret = (struct cli_backend){ .port = (uint16_t)number, .weight = (uint32_t)weight };
	memcpy(ret->address, address, naddress);
	return 0;
}
