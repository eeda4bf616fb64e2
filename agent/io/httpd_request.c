/* SPDX-License-Identifier: GPL-2.0-only */
/* One request: who may ask, how much it may send, what the answer looks like on the wire. */
#include "httpd_request.h"

#include <arpa/inet.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>

#define MAX_BUFFERED ((size_t)32 << 20) /* of all requests together */
#define MAX_DISCARD  ((size_t)64 << 20) /* read and thrown away to be able to answer */
#define METHODS      "GET, POST, PUT, PATCH, DELETE, HEAD"

struct request {
	struct http_service *service;
	struct MHD_Connection *connection;
	bool over_socket;
	bool begun;
	bool answered;
	int refusal; /* HTTP status to answer with once the body is through; 0: none */
	char *body;
	size_t len, room, discarded;
	char path[];
};

/* What is answered before the handler sees a request. */
static const struct refusal {
	int status;
	const char *code, *message;
} refusals[] = {
	{ 400, "bad_request", "the request is not HTTP/1.1 as zddlbd speaks it" },
	{ 403, "forbidden_origin",
	  "the Host must be an IP address or localhost, and the Origin must be the same" },
	{ 405, "method_not_allowed", "use one of " METHODS },
	{ 413, "too_large", "a body may have 4 MiB at most" },
	{ 500, "no_memory", "zddlbd is out of memory; nothing was changed" },
	{ 501, "not_implemented", "no such method; use one of " METHODS },
	{ 503, "busy", "too many large requests at a time; try again" },
};

struct request *request_new(struct http_service *s, const char *uri,
			    struct MHD_Connection *connection, bool over_socket)
{
	size_t len = strcspn(uri, "?#");
	struct request *r;

	r = calloc(1, sizeof(*r) + len + 1);
	if (!r)
		return NULL;
	r->service = s;
	r->connection = connection;
	r->over_socket = over_socket;
	memcpy(r->path, uri, len);
	return r;
}

void request_free(struct request *r)
{
	if (!r)
		return;
	r->service->buffered -= r->room;
	free(r->body);
	free(r);
}

static int send_reply(struct request *r, const struct http_reply *rep)
{
	const char *type = rep->content_type ? rep->content_type : "application/json";
	struct MHD_Response *response;
	enum MHD_Result sent;
	size_t len = rep->body_len;

	if (!len && rep->body)
		len = strlen(rep->body);
	response = MHD_create_response_from_buffer(len, rep->body, MHD_RESPMEM_MUST_FREE);
	if (!response) {
		free(rep->body);
		return -ENOMEM;
	}
	MHD_add_response_header(response, MHD_HTTP_HEADER_CONTENT_TYPE, type);
	MHD_add_response_header(response, MHD_HTTP_HEADER_CACHE_CONTROL, "no-store");
	MHD_add_response_header(response, "X-Content-Type-Options", "nosniff");
	if (rep->allow)
		MHD_add_response_header(response, MHD_HTTP_HEADER_ALLOW, rep->allow);
	sent = MHD_queue_response(r->connection, (unsigned)(rep->status ? rep->status : 200),
				  response);
	MHD_destroy_response(response);
	r->answered = true;
	return sent == MHD_YES ? 0 : -EPIPE;
}

static int refuse(struct request *r, int status)
{
	struct http_reply rep = { .status = status, .allow = status == 405 ? METHODS : NULL };
	const struct refusal *why = &refusals[0];

	for (size_t i = 0; i < sizeof(refusals) / sizeof(refusals[0]); i++) {
		if (refusals[i].status == status)
			why = &refusals[i];
	}
	if (asprintf(&rep.body, "{\"error\":{\"code\":\"%s\",\"message\":\"%s\",\"pointer\":\"\"}}",
		     why->code, why->message) < 0)
		return -ENOMEM;
	return send_reply(r, &rep);
}

static int check_method(const char *method)
{
	static const struct {
		const char *name;
		int status;
	} known[] = {
		{ "GET", 0 },       { "POST", 0 },    { "PUT", 0 },
		{ "PATCH", 0 },     { "DELETE", 0 },  { "HEAD", 0 },
		{ "OPTIONS", 405 }, { "TRACE", 405 }, { "CONNECT", 405 },
	};

	for (size_t i = 0; i < sizeof(known) / sizeof(known[0]); i++) {
		if (!strcmp(known[i].name, method))
			return known[i].status;
	}
	return 501;
}

struct seen {
	const char *value;
	unsigned count;
	const char *name;
};

static enum MHD_Result count_header(void *cls, enum MHD_ValueKind kind, const char *key,
				    const char *value)
{
	struct seen *s = cls;

	(void)kind;
	if (!strcasecmp(key, s->name)) {
		s->value = value ? value : "";
		s->count++;
	}
	return MHD_YES;
}

static struct seen find_header(struct request *r, const char *name)
{
	struct seen s = { NULL, 0, name };

	MHD_get_connection_values(r->connection, MHD_HEADER_KIND, count_header, &s);
	return s;
}

/* "localhost", "127.0.0.1" or "[::1]", each with or without a port. */
static bool host_is_plain(const char *host)
{
	unsigned char addr[16];
	const char *rest;
	char name[64];
	bool is_v6 = host[0] == '[';
	size_t len;

	host += is_v6;
	len = strcspn(host, is_v6 ? "]" : ":");
	if (!len || len >= sizeof(name) || (is_v6 && host[len] != ']'))
		return false;
	memcpy(name, host, len);
	name[len] = '\0';
	rest = host + len + is_v6;
	if (rest[0] && (rest[0] != ':' || rest[1 + strspn(rest + 1, "0123456789")]))
		return false;
	if (is_v6)
		return inet_pton(AF_INET6, name, addr) == 1;
	return !strcasecmp(name, "localhost") || inet_pton(AF_INET, name, addr) == 1;
}

static bool origin_is_host(const char *origin, const char *host)
{
	if (!strncasecmp(origin, "http://", 7))
		origin += 7;
	else if (!strncasecmp(origin, "https://", 8))
		origin += 8;
	else
		return false;
	return !strcasecmp(origin, host);
}

/*
 * A browser on this host reaches loopback for any page it shows. A page may have the name it came
 * from resolve to 127.0.0.1 (DNS rebinding): then Host carries that name, which is none of ours. Or
 * it may send to 127.0.0.1 across origins (CSRF): then Origin tells. No browser reaches the Unix
 * socket.
 */
static int check_origin(struct request *r)
{
	struct seen host, origin;

	if (r->over_socket)
		return 0;
	host = find_header(r, MHD_HTTP_HEADER_HOST);
	origin = find_header(r, MHD_HTTP_HEADER_ORIGIN);
	if (host.count > 1 || origin.count > 1)
		return 400;
	/* HTTP/1.0 without a Host: no browser sends that. */
	if (host.count && !host_is_plain(host.value))
		return 403;
	if (origin.count && (!host.count || !origin_is_host(origin.value, host.value)))
		return 403;
	return 0;
}

static int check_length(struct request *r)
{
	struct seen s = find_header(r, MHD_HTTP_HEADER_CONTENT_LENGTH);
	unsigned long long len;

	if (!s.count)
		return 0;
	errno = 0;
	len = strtoull(s.value, NULL, 10);
	return errno || len > HTTPD_MAX_BODY ? 413 : 0;
}

static int begin(struct request *r, const char *method)
{
	int status;

	r->begun = true;
	status = check_method(method);
	if (!status && r->path[0] != '/')
		status = 400;
	if (!status)
		status = check_origin(r);
	if (!status)
		status = check_length(r);
	return status ? refuse(r, status) : 0;
}

static void discard(struct request *r, int status)
{
	r->refusal = status;
	r->service->buffered -= r->room;
	free(r->body);
	r->body = NULL;
	r->room = r->len = 0;
}

/* Grows with what came, not with what was announced: a claim costs nothing. */
static int grow(struct request *r, size_t need)
{
	size_t room = r->room ? r->room : 4096;
	char *body;

	while (room < need)
		room *= 2;
	if (r->service->buffered - r->room + room > MAX_BUFFERED)
		return 503;
	body = realloc(r->body, room);
	if (!body)
		return 500;
	r->service->buffered += room - r->room;
	r->body = body;
	r->room = room;
	return 0;
}

static int collect(struct request *r, const char *data, size_t len)
{
	int status = 0;

	if (!r->refusal) {
		if (len > HTTPD_MAX_BODY - r->len)
			status = 413;
		else if (r->len + len + 1 > r->room)
			status = grow(r, r->len + len + 1);
		if (status)
			discard(r, status);
	}
	if (r->refusal) {
		/* MHD cannot answer before the end of a body it has begun to read. */
		r->discarded += len;
		return r->discarded > MAX_DISCARD ? -EMSGSIZE : 0;
	}
	memcpy(r->body + r->len, data, len);
	r->len += len;
	return 0;
}

static int handle(struct request *r, const char *method)
{
	char empty[1] = "";
	struct http_reply rep = { .status = 200 };
	struct http_request req = {
		.method = strcmp(method, "HEAD") ? method : "GET",
		.path = r->path,
		.body = r->body ? r->body : empty,
		.body_len = r->len,
		.over_socket = r->over_socket,
		.connection = r->connection,
	};

	if (r->body)
		r->body[r->len] = '\0';
	r->service->fn(r->service->arg, &req, &rep);
	return send_reply(r, &rep);
}

int request_feed(struct request *r, const char *method, const char *data, size_t *len)
{
	size_t n = *len;

	if (!r)
		return -ENOMEM;
	if (!r->begun)
		return begin(r, method);
	if (r->answered)
		return 0;
	if (n) {
		*len = 0;
		return collect(r, data, n);
	}
	return r->refusal ? refuse(r, r->refusal) : handle(r, method);
}

const char *http_query(const struct http_request *r, const char *name)
{
	return MHD_lookup_connection_value(r->connection, MHD_GET_ARGUMENT_KIND, name);
}

const char *http_header(const struct http_request *r, const char *name)
{
	return MHD_lookup_connection_value(r->connection, MHD_HEADER_KIND, name);
}
