/* SPDX-License-Identifier: GPL-2.0-only */
/* Inside of httpd: one request from its first line to its answer. Not for other modules. */
#ifndef ZDDLB_IO_HTTPD_REQUEST_H
#define ZDDLB_IO_HTTPD_REQUEST_H

#include <microhttpd.h>
#include <stdbool.h>
#include <stddef.h>

#include "httpd.h"

struct http_service {
	httpd_handler fn;
	void *arg;
	size_t buffered; /* bytes of bodies that are being collected */
};

struct request;

/* `uri` as it came, with the query. NULL: out of memory. */
struct request *request_new(struct http_service *s, const char *uri,
			    struct MHD_Connection *connection, bool over_socket);
/*
 * The headers have come (first call), a piece of the body (*len > 0), its end (*len == 0 again).
 * 0, or negative: the connection must be closed without an answer.
 */
int request_feed(struct request *r, const char *method, const char *data, size_t *len);
void request_free(struct request *r); /* NULL is fine */

#endif
