/* SPDX-License-Identifier: GPL-2.0-only */
/* Requests to the agent: over its Unix socket, or to a URL. */
#ifndef ZDDLB_CLI_HTTP_H
#define ZDDLB_CLI_HTTP_H

#include <stddef.h>
#include <stdint.h>

struct cli_http;
struct json_object;

#define CLI_PROBLEM_LEN 512

/* `server` NULL: the socket. 0, -EINVAL for a URL that is none, -ENOMEM; `problem` says which. */
int cli_http_open(struct cli_http **ret, const char *socket, const char *server,
		  uint64_t timeout_ms, char problem[CLI_PROBLEM_LEN]);
void cli_http_close(struct cli_http *h); /* NULL is fine */

struct cli_reply {
	long status;
	struct json_object *json; /* NULL: the answer was not JSON */
};
/*
 * 0 and the answer, whatever its status; -ECONNREFUSED where no agent answers, -EPROTO for an answer
 * that cannot be read; `problem` says where it looked, and the cure.
 */
int cli_http_send(struct cli_http *h, const char *method, const char *path, const char *body,
		  size_t len, struct cli_reply *ret, char problem[CLI_PROBLEM_LEN]);
void cli_reply_fini(struct cli_reply *r);

/* Fill in a path: every %s takes one argument and is percent-encoded. Truncated paths are -EINVAL. */
int cli_http_path(char *buf, size_t room, const char *fmt, ...);

#endif
