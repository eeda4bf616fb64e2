/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * libmicrohttpd on the event loop: listens on the Unix socket and on loopback, collects a request
 * whole (bounded), hands it to the handler, sends the answer. Knows HTTP, not the API.
 */
#ifndef ZDDLB_IO_HTTPD_H
#define ZDDLB_IO_HTTPD_H

#include <stdbool.h>
#include <stddef.h>
#include <uv.h>

#include "../core/model.h"

struct httpd;

#define HTTPD_MAX_BODY (4u << 20)

struct http_request {
	const char *method, *path; /* path without the query, not decoded */
	const char *body;          /* NUL-terminated; "" without one */
	size_t body_len;
	bool over_socket; /* came over the Unix socket */
	void *connection;
};
/* Query argument, decoded; NULL if not given. Valid while the handler runs. */
const char *http_query(const struct http_request *r, const char *name);
const char *http_header(const struct http_request *r, const char *name);

struct http_reply {
	int status;               /* 200 unless set */
	const char *content_type; /* static text; "application/json" unless set */
	char *body;               /* malloc'd by the handler, freed by httpd; NULL: empty */
	size_t body_len;          /* 0: strlen(body) */
	const char *allow;        /* static text for 405, or NULL */
};

typedef void (*httpd_handler)(void *arg, const struct http_request *req, struct http_reply *rep);

/*
 * Listen on `socket_path` (mode 0660; a stale socket is replaced, a living one is -EADDRINUSE) and,
 * if `tcp`, on it. -EADDRINUSE and others with `d` filled in.
 */
int httpd_open(struct httpd **ret, uv_loop_t *loop, const char *socket_path,
	       const struct endpoint *tcp, httpd_handler fn, void *arg, struct diag *d);
/* Finishes nothing: stops listening, drops connections, removes the socket. The loop must run once
 * more to close handles. NULL is fine. */
void httpd_close(struct httpd *h);

#endif
