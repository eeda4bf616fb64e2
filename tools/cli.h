/* SPDX-License-Identifier: GPL-2.0-only */
/* What the commands of zddlb share: the words they got, the agent they ask, how they answer. */
#ifndef ZDDLB_CLI_H
#define ZDDLB_CLI_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "cli_args.h"
#include "cli_table.h"

struct cli_http;
struct json_object;

/* Exit codes; CI branches on them. */
enum cli_exit {
	CLI_OK = 0,
	CLI_ERROR = 1,
	CLI_USAGE = 2,
	CLI_NOT_CONVERGED = 3,
	CLI_ROLLED_BACK = 4,
	CLI_UNREACHABLE = 5,
};

struct cli {
	const struct cli_args *args;
	const struct command *command;
	const char *const *words; /* behind the command's own */
	size_t nwords;
	struct cli_http *http;
	struct cli_out out, err;
	bool json, wide, dry_run;
	bool tty; /* a person looks at the output */
	uint64_t timeout_ms;
	bool has_timeout;
};

struct command {
	const char *path; /* one or two words */
	const char *args; /* what stands behind them */
	unsigned options; /* besides the global ones */
	int (*run)(struct cli *cli);
	const char *help;    /* one line */
	const char *details; /* more, or NULL */
};

/* Set by SIGINT and SIGTERM where a command goes on until then. */
bool cli_interrupted(void);
/* Wait; false if interrupted. */
bool cli_sleep(uint64_t ms);
uint64_t cli_now_ms(void);

/* An error, as "zddlb: ..." on stderr. Returns `code`. */
int cli_fail(const struct cli *cli, enum cli_exit code, const char *fmt, ...)
	__attribute__((format(printf, 3, 4)));
/* A wrong word or option: as above, with the command's usage. */
int cli_usage(const struct cli *cli, const char *fmt, ...) __attribute__((format(printf, 2, 3)));

/* Ask on a terminal, unless --yes. Where nobody can answer it is a yes. */
bool cli_confirm(const struct cli *cli, const char *fmt, ...) __attribute__((format(printf, 2, 3)));

/*
 * Ask the agent. CLI_OK and the answer (the caller puts it), or an exit code after the reason was
 * printed. `body` is taken; NULL: none.
 */
int cli_request(const struct cli *cli, const char *method, const char *path,
		struct json_object *body, struct json_object **ret);
int cli_get(const struct cli *cli, struct json_object **ret, const char *path);
/* The same without a word about an agent that does not answer. */
int cli_get_quietly(const struct cli *cli, struct json_object **ret, const char *path);
/* The same for bodies that are no JSON of ours. */
int cli_request_text(const struct cli *cli, const char *method, const char *path, const char *text,
		     size_t len, struct json_object **ret);
/*
 * For those who wait: an agent that is away for a moment (a restart, an upgrade) is asked again.
 * CLI_UNREACHABLE only after `patience_ms`.
 */
int cli_get_patiently(const struct cli *cli, struct json_object **ret, const char *path,
		      uint64_t patience_ms);

/* A new body: {} with "reason" if one was given. */
struct json_object *cli_body(const struct cli *cli);
const char *cli_option(const struct cli *cli, enum cli_option option); /* NULL: not given */
bool cli_flag(const struct cli *cli, enum cli_option option);

void cli_print_json(const struct cli *cli, struct json_object *o);

/* The colour that suits a state's word. */
enum cli_style cli_state_style(const char *word);

/* cmd_status.c */
int cmd_status(struct cli *cli);
void status_print_header(const struct cli *cli, struct json_object *status);
void status_print_service(const struct cli *cli, struct json_object *service);
void status_print_versions(const struct cli *cli, struct json_object *versions, int indent);
void status_print_backends(const struct cli *cli, struct json_object *backends, int indent);

/* cmd_objects.c */
int cmd_service_list(struct cli *cli);
int cmd_service_show(struct cli *cli);
int cmd_version_list(struct cli *cli);
int cmd_version_show(struct cli *cli);
int cmd_version_add(struct cli *cli);
int cmd_version_set(struct cli *cli);
int cmd_version_rm(struct cli *cli);
int cmd_backend_list(struct cli *cli);
int cmd_backend_show(struct cli *cli);

/* cmd_drain.c */
int cmd_backend_drain(struct cli *cli);
int cmd_backend_undrain(struct cli *cli);
int cmd_backend_maint(struct cli *cli);

/* cmd_weight.c */
int cmd_weight_get(struct cli *cli);
int cmd_weight_set(struct cli *cli);
int cmd_weight_reset(struct cli *cli);
int cmd_switch(struct cli *cli);

/* cmd_deploy.c */
int cmd_deploy_start(struct cli *cli);
int cmd_deploy_show(struct cli *cli);
int cmd_deploy_list(struct cli *cli);
int cmd_deploy_watch(struct cli *cli);
int cmd_pause(struct cli *cli);
int cmd_resume(struct cli *cli);
int cmd_promote(struct cli *cli);
int cmd_abort(struct cli *cli);
int cmd_rollback(struct cli *cli);
void deploy_print_brief(const struct cli *cli, struct json_object *d, int indent);

/* cmd_config.c */
int cmd_config_check(struct cli *cli);
int cmd_config_show(struct cli *cli);
int cmd_config_diff(struct cli *cli);
int cmd_config_reload(struct cli *cli);

/* cmd_metrics.c, cmd_top.c, cmd_events.c */
int cmd_metrics(struct cli *cli);
int cmd_top(struct cli *cli);
int cmd_events(struct cli *cli);

/* zddlb.c */
int cmd_version(struct cli *cli);
int cmd_help(struct cli *cli);

#endif
