/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * What was typed, taken apart: words, options, and the small languages inside them (durations,
 * percentages, backends). Pure: no output, no environment.
 */
#ifndef ZDDLB_CLI_ARGS_H
#define ZDDLB_CLI_ARGS_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

enum cli_option {
	OPT_OUTPUT,
	OPT_SOCKET,
	OPT_SERVER,
	OPT_TIMEOUT,
	OPT_YES,
	OPT_HELP,
	OPT_WATCH,
	OPT_DRY_RUN,
	OPT_REASON,
	OPT_WAIT,
	OPT_TO,
	OPT_FROM,
	OPT_STRATEGY,
	OPT_STEPS,
	OPT_PAUSE,
	OPT_FULL,
	OPT_BACKEND,
	OPT_URL,
	OPT_STATUS,
	OPT_SERVICE,
	OPT_FOLLOW,
	OPT_SINCE,
	OPT_LIMIT,
	OPT_MAX
};
#define OPT_BIT(o)  (1u << (o))
#define OPTS_GLOBAL (OPT_BIT(OPT_WATCH) - 1) /* those before OPT_WATCH fit every command */

struct cli_option_spec {
	const char *name;
	char letter;       /* or 0 */
	const char *value; /* what the help calls its value; NULL: a flag */
	const char *help;
};
extern const struct cli_option_spec cli_options[OPT_MAX];

#define CLI_MAX_WORDS    64
#define CLI_MAX_BACKENDS 32

struct cli_args {
	const char *words[CLI_MAX_WORDS];
	size_t nwords;
	const char *value[OPT_MAX]; /* NULL: not given; "" for a flag */
	const char *backends[CLI_MAX_BACKENDS];
	size_t nbackends;
	unsigned given;    /* OPT_BITs */
	char problem[200]; /* of a failed parse */
};

/* Options may stand anywhere; "--" ends them. 0, or -EINVAL with `problem`. */
int cli_args_parse(struct cli_args *ret, int argc, char *const *argv);

/* Edits (insert, remove, replace, swap neighbours) between two words. */
unsigned cli_distance(const char *a, const char *b);
/* The one of `list` that was probably meant; NULL: none is near. */
const char *cli_nearest(const char *word, const char *const *list, size_t n);

/* How many words an argument text such as "SERVICE [VERSION] PAIR..." asks for; SIZE_MAX: any. */
void cli_arity(const char *args, size_t *ret_min, size_t *ret_max);

/* "1h30m", "5s", "250ms", "0". A bare number is refused: seconds or milliseconds? */
int cli_parse_duration(uint64_t *ret_ms, const char *text);
/* "2.5", "2.5%", "100": at most two decimals. Whether it is too much is for the agent to say. */
int cli_parse_percent(uint32_t *ret_bp, const char *text);

struct cli_backend {
	char address[64];
	uint16_t port;
	uint32_t weight;
};
/* "ADDR:PORT[,WEIGHT]", IPv6 in brackets. */
int cli_parse_backend(struct cli_backend *ret, const char *text);

#endif
