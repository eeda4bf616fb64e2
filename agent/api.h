/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * The HTTP API: one table of routes; each handler turns a request into a verb of control and the
 * result into JSON. Errors are {"error":{"code","message","pointer"}}.
 */
#ifndef ZDDLB_API_H
#define ZDDLB_API_H

#include <stdbool.h>
#include <stddef.h>

struct http_reply;
struct http_request;

/* The httpd_handler; `control` is the agent's struct control. */
void api_handle(void *control, const struct http_request *req, struct http_reply *rep);

#define API_MAX_PARAMS 3
#define API_PARAM_LEN  256

struct api_params {
	size_t n;
	char value[API_MAX_PARAMS][API_PARAM_LEN]; /* decoded, in the order of the path */
};

/*
 * Does `path` (not decoded) fit `pattern`, whose ":name" parts stand for one non-empty part each?
 * A part that is too long, badly encoded or decodes to control characters fits nothing.
 */
bool api_path_match(const char *pattern, const char *path, struct api_params *ret);

struct api_call;
struct route {
	const char *method, *path;
	int (*run)(struct api_call *call);
	unsigned flags;
};
/* The table: literal parts stand before parameters, so the first match is the right one. */
extern const struct route api_routes[];
extern const size_t api_nroutes;

#endif
