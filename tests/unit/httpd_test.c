/* SPDX-License-Identifier: GPL-2.0-only */
/* The HTTP server on a real loop, talked to by plain sockets from another thread. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include <errno.h>
#include <fcntl.h>
#include <netinet/in.h>
#include <poll.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <time.h>
#include <unistd.h>
#include <uv.h>

#include "../../agent/io/httpd.h"

#define BIG_REPLY (8u << 20)
#define ANSWER_MS 5000

struct server {
	uv_loop_t loop;
	uv_async_t stop;
	struct httpd *httpd;
	pthread_t thread;
	char dir[64], path[80];
	struct endpoint tcp;
	unsigned handled; /* by the loop's thread; read when it rests */
};

/* ---- the server ---- */

static void echo(const struct http_request *req, struct http_reply *rep)
{
	const char *arg = http_query(req, "a"), *token = http_header(req, "X-Token");

	if (asprintf(&rep->body, "{\"%s\":\"%s\",\"a\":\"%s\",\"token\":\"%s\",\"unix\":%d}",
		     req->method, req->path, arg ? arg : "", token ? token : "",
		     req->over_socket) < 0)
		rep->body = NULL;
}

static void on_request(void *arg, const struct http_request *req, struct http_reply *rep)
{
	struct server *sv = arg;

	sv->handled++;
	if (!strcmp(req->path, "/big")) {
		rep->body = malloc(BIG_REPLY);
		if (rep->body)
			memset(rep->body, 'b', BIG_REPLY);
		rep->body_len = rep->body ? BIG_REPLY : 0;
	} else if (!strcmp(req->path, "/body")) {
		if (asprintf(&rep->body, "%zu", req->body_len) < 0)
			rep->body = NULL;
		rep->status = req->body[req->body_len] ? 500 : 201;
	} else if (!strcmp(req->path, "/metrics")) {
		rep->body = strdup("zddlb_up 1\n");
		rep->content_type = "text/plain; version=0.0.4";
	} else if (!strcmp(req->path, "/empty")) {
		rep->status = 405;
		rep->allow = "POST";
	} else {
		echo(req, rep);
	}
}

static void on_stop(uv_async_t *async)
{
	struct server *sv = async->data;

	httpd_close(sv->httpd);
	uv_close((uv_handle_t *)async, NULL);
}

static void *run_loop(void *arg)
{
	struct server *sv = arg;

	uv_run(&sv->loop, UV_RUN_DEFAULT);
	return NULL;
}

/* A port that was free a moment ago. */
static uint16_t free_port(void)
{
	struct sockaddr_in sa = { .sin_family = AF_INET,
				  .sin_addr.s_addr = htonl(INADDR_LOOPBACK) };
	socklen_t len = sizeof(sa);
	int fd = socket(AF_INET, SOCK_STREAM, 0);

	assert_int_equal(bind(fd, (struct sockaddr *)&sa, len), 0);
	assert_int_equal(getsockname(fd, (struct sockaddr *)&sa, &len), 0);
	close(fd);
	return ntohs(sa.sin_port);
}

static int start(void **state)
{
	struct server *sv = calloc(1, sizeof(*sv));
	const char *tmp = getenv("TMPDIR");
	struct diag d = { .text = "" };

	assert_non_null(sv);
	snprintf(sv->dir, sizeof(sv->dir), "%.40s/httpd-test-XXXXXX", tmp ? tmp : "/tmp");
	assert_non_null(mkdtemp(sv->dir));
	snprintf(sv->path, sizeof(sv->path), "%s/run/s", sv->dir);
	assert_true(endpoint_parse_addr(&sv->tcp, "127.0.0.1"));
	sv->tcp.port = free_port();
	uv_loop_init(&sv->loop);
	uv_async_init(&sv->loop, &sv->stop, on_stop);
	sv->stop.data = sv;
	if (httpd_open(&sv->httpd, &sv->loop, sv->path, &sv->tcp, on_request, sv, &d))
		fail_msg("%s", d.text);
	assert_int_equal(pthread_create(&sv->thread, NULL, run_loop, sv), 0);
	*state = sv;
	return 0;
}

static int finish(void **state)
{
	struct server *sv = *state;
	char run[80];

	uv_async_send(&sv->stop);
	pthread_join(sv->thread, NULL);
	assert_int_equal(uv_loop_close(&sv->loop), 0);
	assert_int_equal(access(sv->path, F_OK), -1);
	snprintf(run, sizeof(run), "%s/run", sv->dir);
	assert_int_equal(rmdir(run), 0);
	assert_int_equal(rmdir(sv->dir), 0);
	free(sv);
	return 0;
}

/* ---- the client ---- */

static uint64_t now_us(void)
{
	struct timespec ts;

	clock_gettime(CLOCK_MONOTONIC, &ts);
	return (uint64_t)ts.tv_sec * 1000000 + (uint64_t)ts.tv_nsec / 1000;
}

static int dial_unix(const struct server *sv)
{
	struct sockaddr_un sa = { .sun_family = AF_UNIX };
	int fd = socket(AF_UNIX, SOCK_STREAM, 0);

	snprintf(sa.sun_path, sizeof(sa.sun_path), "%s", sv->path);
	assert_int_equal(connect(fd, (struct sockaddr *)&sa, sizeof(sa)), 0);
	return fd;
}

static int dial_tcp(const struct server *sv)
{
	struct sockaddr_in sa = { .sin_family = AF_INET,
				  .sin_port = htons(sv->tcp.port),
				  .sin_addr.s_addr = htonl(INADDR_LOOPBACK) };
	int fd = socket(AF_INET, SOCK_STREAM, 0);

	assert_int_equal(connect(fd, (struct sockaddr *)&sa, sizeof(sa)), 0);
	return fd;
}

/* False: the other side has closed. */
static bool put(int fd, const void *data, size_t len)
{
	const char *at = data;

	while (len) {
		ssize_t n = send(fd, at, len, MSG_NOSIGNAL);

		if (n <= 0)
			return false;
		at += n;
		len -= (size_t)n;
	}
	return true;
}

static void say(int fd, const char *text)
{
	assert_true(put(fd, text, strlen(text)));
}

struct answer {
	int status; /* 0: the connection ended without one */
	char head[2048];
	char *body;
	size_t len;
};

static void answer_free(struct answer *a)
{
	free(a->body);
	*a = (struct answer){ .status = 0 };
}

static ssize_t get(int fd, void *buf, size_t len)
{
	struct pollfd p = { .fd = fd, .events = POLLIN };

	if (poll(&p, 1, ANSWER_MS) != 1)
		fail_msg("no answer within %d ms", ANSWER_MS);
	return recv(fd, buf, len, 0);
}

/* One byte at a time up to the empty line: what follows belongs to the next answer. */
static struct answer hear(int fd, bool head_only)
{
	struct answer a = { .status = 0 };
	const char *length;
	size_t n = 0;

	while (n < sizeof(a.head) - 1 && !strstr(a.head, "\r\n\r\n")) {
		if (get(fd, a.head + n, 1) <= 0)
			return a;
		n++;
	}
	assert_int_equal(sscanf(a.head, "HTTP/1.%*d %d", &a.status), 1);
	length = strstr(a.head, "Content-Length: ");
	a.len = length ? strtoul(length + 16, NULL, 10) : 0;
	a.body = calloc(1, a.len + 1);
	assert_non_null(a.body);
	for (n = 0; !head_only && n < a.len;) {
		ssize_t got = get(fd, a.body + n, a.len - n);

		assert_true(got > 0);
		n += (size_t)got;
	}
	return a;
}

static struct answer ask(int fd, const char *text)
{
	say(fd, text);
	return hear(fd, false);
}

static void expect(int fd, const char *request, int status, const char *body)
{
	struct answer a = ask(fd, request);

	assert_int_equal(a.status, status);
	if (!strstr(a.body, body))
		fail_msg("\"%s\" does not hold \"%s\"", a.body, body);
	answer_free(&a);
}

static bool is_closed(int fd)
{
	char c;

	return get(fd, &c, 1) <= 0;
}

#define HOST "Host: localhost\r\n"

/* ---- what is true ---- */

static void every_method_reaches_the_handler(void **state)
{
	static const char *const methods[] = { "GET", "POST", "PUT", "PATCH", "DELETE" };
	const struct server *sv = *state;
	char request[128], body[64];
	int fd = dial_unix(sv);

	for (size_t i = 0; i < 5; i++) {
		snprintf(request, sizeof(request),
			 "%s /a%%2Fb?a=x%%20y HTTP/1.1\r\n" HOST "X-Token: t\r\n\r\n", methods[i]);
		snprintf(body, sizeof(body),
			 "{\"%s\":\"/a%%2Fb\",\"a\":\"x y\",\"token\":\"t\",\"unix\":1}",
			 methods[i]);
		expect(fd, request, 200, body);
	}
	close(fd);
	fd = dial_tcp(sv);
	expect(fd, "GET / HTTP/1.1\r\n" HOST "\r\n", 200, "\"unix\":0");
	close(fd);
}

static void answers_carry_their_headers(void **state)
{
	int fd = dial_unix(*state);
	struct answer a = ask(fd, "GET / HTTP/1.1\r\n" HOST "\r\n");

	assert_non_null(strstr(a.head, "Content-Type: application/json\r\n"));
	assert_non_null(strstr(a.head, "Cache-Control: no-store\r\n"));
	assert_non_null(strstr(a.head, "X-Content-Type-Options: nosniff\r\n"));
	answer_free(&a);
	a = ask(fd, "GET /metrics HTTP/1.1\r\n" HOST "\r\n");
	assert_non_null(strstr(a.head, "Content-Type: text/plain; version=0.0.4\r\n"));
	answer_free(&a);
	a = ask(fd, "GET /empty HTTP/1.1\r\n" HOST "\r\n");
	assert_int_equal(a.status, 405);
	assert_non_null(strstr(a.head, "Allow: POST\r\n"));
	assert_int_equal(a.len, 0);
	answer_free(&a);
	close(fd);
}

static void head_is_get_without_a_body(void **state)
{
	int fd = dial_unix(*state);
	struct answer a;

	say(fd, "HEAD /body HTTP/1.1\r\n" HOST "\r\n");
	a = hear(fd, true);
	assert_int_equal(a.status, 201);
	assert_int_equal(a.len, 1);
	answer_free(&a);
	expect(fd, "GET / HTTP/1.1\r\n" HOST "\r\n", 200, "\"GET\"");
	close(fd);
}

static void other_methods_are_refused(void **state)
{
	int fd = dial_unix(*state);
	struct answer a = ask(fd, "OPTIONS / HTTP/1.1\r\n" HOST "\r\n");

	assert_int_equal(a.status, 405);
	assert_non_null(strstr(a.head, "Allow: GET, POST, PUT, PATCH, DELETE, HEAD\r\n"));
	answer_free(&a);
	close(fd);
	fd = dial_unix(*state);
	expect(fd, "BREW / HTTP/1.1\r\n" HOST "\r\n", 501, "\"not_implemented\"");
	close(fd);
}

static void pipelined_requests_are_answered_in_order(void **state)
{
	char request[64], many[4096] = "", body[32];
	int fd = dial_unix(*state);

	for (int i = 0; i < 40; i++) {
		snprintf(request, sizeof(request), "GET /%d HTTP/1.1\r\n" HOST "\r\n", i);
		strcat(many, request);
	}
	say(fd, many);
	for (int i = 0; i < 40; i++) {
		struct answer a = hear(fd, false);

		snprintf(body, sizeof(body), "{\"GET\":\"/%d\"", i);
		assert_non_null(strstr(a.body, body));
		answer_free(&a);
	}
	close(fd);
}

static struct answer post(int fd, size_t len, bool chunked)
{
	char *data = malloc(len), head[128];
	bool sent;

	assert_non_null(data);
	memset(data, 'x', len);
	if (chunked)
		snprintf(head, sizeof(head),
			 "POST /body HTTP/1.1\r\n" HOST "Transfer-Encoding: chunked\r\n\r\n%zx\r\n",
			 len);
	else
		snprintf(head, sizeof(head),
			 "POST /body HTTP/1.1\r\n" HOST "Content-Length: %zu\r\n\r\n", len);
	say(fd, head);
	/* A server that refuses by the announced length does not read on. */
	sent = put(fd, data, len) && (!chunked || put(fd, "\r\n0\r\n\r\n", 7));
	assert_true(sent || (!chunked && len > HTTPD_MAX_BODY));
	free(data);
	return hear(fd, false);
}

static void bodies_up_to_4_MiB_arrive_and_larger_ones_are_413(void **state)
{
	static const struct {
		size_t len;
		bool chunked;
		int status;
		const char *body;
	} cases[] = {
		{ 1, false, 201, "1" },
		{ HTTPD_MAX_BODY, false, 201, "4194304" },
		{ HTTPD_MAX_BODY, true, 201, "4194304" },
		{ HTTPD_MAX_BODY + 1, false, 413, "too_large" },
		{ HTTPD_MAX_BODY + 1, true, 413, "too_large" },
		{ 5u << 20, false, 413, "too_large" },
		{ 5u << 20, true, 413, "too_large" },
	};

	for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
		int fd = i % 2 ? dial_tcp(*state) : dial_unix(*state);
		struct answer a = post(fd, cases[i].len, cases[i].chunked);

		assert_int_equal(a.status, cases[i].status);
		assert_non_null(strstr(a.body, cases[i].body));
		answer_free(&a);
		close(fd);
	}
}

static void an_announced_giant_is_refused_before_it_is_sent(void **state)
{
	int fd = dial_unix(*state);

	expect(fd,
	       "POST /body HTTP/1.1\r\n" HOST
	       "Expect: 100-continue\r\nContent-Length: 99999999\r\n\r\n",
	       413, "too_large");
	close(fd);
}

static void a_large_answer_arrives_whole(void **state)
{
	int fd = dial_tcp(*state);
	struct answer a = ask(fd, "GET /big HTTP/1.1\r\n" HOST "\r\n");

	assert_int_equal(a.len, BIG_REPLY);
	for (size_t i = 0; i < a.len; i += 4096)
		assert_int_equal(a.body[i], 'b');
	answer_free(&a);
	close(fd);
}

static void pages_of_other_sites_are_refused_on_tcp(void **state)
{
	static const struct {
		const char *headers;
		int status;
	} cases[] = {
		{ "Host: localhost\r\n", 200 },
		{ "Host: LocalHost:9090\r\n", 200 },
		{ "Host: 127.0.0.1:9090\r\n", 200 },
		{ "Host: [::1]:9090\r\n", 200 },
		{ "Host: [::1]\r\n", 200 },
		{ "Host: evil.example:9090\r\n", 403 },
		{ "Host: localhost.evil.example\r\n", 403 },
		{ "Host: 127.0.0.1.evil.example\r\n", 403 },
		{ "Host: 127.0.0.1:9090@evil.example\r\n", 403 },
		{ "Host: [::1\r\n", 403 },
		{ "Host: \r\n", 403 },
		{ "Host: localhost\r\nHost: evil.example\r\n", 400 },
		{ "Host: localhost:1\r\nOrigin: http://localhost:1\r\n", 200 },
		{ "Host: localhost:1\r\nOrigin: http://localhost:2\r\n", 403 },
		{ "Host: localhost\r\nOrigin: http://evil.example\r\n", 403 },
		{ "Host: localhost\r\nOrigin: null\r\n", 403 },
	};
	char request[256];

	for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
		int fd = dial_tcp(*state);
		struct answer a;

		snprintf(request, sizeof(request), "GET / HTTP/1.1\r\n%s\r\n", cases[i].headers);
		a = ask(fd, request);
		if (a.status != cases[i].status)
			fail_msg("%s: %d, not %d", cases[i].headers, a.status, cases[i].status);
		answer_free(&a);
		close(fd);
	}
	int fd = dial_unix(*state);

	expect(fd, "GET / HTTP/1.1\r\nHost: any.name\r\n\r\n", 200, "\"unix\":1");
	close(fd);
}

static void garbage_is_answered_or_cut_and_harms_nobody(void **state)
{
	static const char *const garbage[] = {
		"\x16\x03\x01\x02\x01\xfc\x03\x03\r\n\r\n",
		"GET\r\n\r\n",
		"\r\n\r\n\r\n\r\n\r\n",
		"GET / HTTP/1.1\r\nno colon here\r\n\r\n",
		"GET / HTTP/9.9\r\n" HOST "\r\n",
		"GET http://x/ HTTP/1.1\r\n" HOST "\r\n",
		"GET  HTTP/1.1\r\n" HOST "\r\n",
		"POST /body HTTP/1.1\r\n" HOST "Content-Length: -1\r\n\r\n",
		"POST /body HTTP/1.1\r\n" HOST "Transfer-Encoding: chunked\r\n\r\nzz\r\n",
	};
	struct server *sv = *state;
	char sink[256];

	for (size_t i = 0; i < sizeof(garbage) / sizeof(garbage[0]); i++) {
		int fd = dial_unix(sv), healthy;
		struct pollfd p = { .fd = fd, .events = POLLIN };

		say(fd, garbage[i]);
		/*
		 * Not until its end: libmicrohttpd 0.9.75 waits for its timeout where half a
		 * request and the client's FIN come in one wake-up.
		 */
		shutdown(fd, SHUT_WR);
		while (poll(&p, 1, 50) == 1 && recv(fd, sink, sizeof(sink), 0) > 0)
			;
		close(fd);
		healthy = dial_unix(sv);
		expect(healthy, "GET / HTTP/1.1\r\n" HOST "\r\n", 200, "GET");
		close(healthy);
	}
	assert_int_equal(sv->handled, sizeof(garbage) / sizeof(garbage[0]));
}

static void endless_headers_are_cut(void **state)
{
	int fd = dial_unix(*state);
	struct answer a;

	say(fd, "GET / HTTP/1.1\r\n" HOST);
	for (int i = 0; i < 100000 && put(fd, "X-Filler: 0123456789abcdef\r\n", 28); i++)
		;
	a = hear(fd, false);
	assert_true(a.status == 0 || a.status == 431 || a.status == 413);
	answer_free(&a);
	close(fd);
}

static void clients_that_leave_early_harm_nobody(void **state)
{
	static const char *const parts[] = {
		"",
		"GE",
		"GET / HTTP/1.1\r\n",
		"GET /big HTTP/1.1\r\n" HOST "\r\n",
		"POST /body HTTP/1.1\r\n" HOST "Content-Length: 100000\r\n\r\nxx",
		"GET / HTTP/1.1\r\n" HOST "\r\nGET / HTTP/1.1\r\n",
	};
	int fd;

	for (int round = 0; round < 60; round++) {
		struct linger hard = { 1, 0 };

		fd = round % 2 ? dial_tcp(*state) : dial_unix(*state);
		say(fd, parts[(size_t)(round / 2) % (sizeof(parts) / sizeof(parts[0]))]);
		if (round % 4 == 1)
			setsockopt(fd, SOL_SOCKET, SO_LINGER, &hard, sizeof(hard));
		close(fd);
	}
	fd = dial_unix(*state);
	expect(fd, "GET / HTTP/1.1\r\n" HOST "\r\n", 200, "GET");
	close(fd);
}

static void slow_clients_do_not_hold_others_up(void **state)
{
	const char request[] = "GET / HTTP/1.1\r\n" HOST "\r\n";
	int drip[20], deaf[5], fd = dial_unix(*state);
	uint64_t worst = 0;

	for (int i = 0; i < 20; i++)
		drip[i] = i % 2 ? dial_tcp(*state) : dial_unix(*state);
	for (int i = 0; i < 5; i++) {
		deaf[i] = dial_unix(*state);
		say(deaf[i], "GET /big HTTP/1.1\r\n" HOST "\r\n");
	}
	for (size_t at = 0; at < sizeof(request) - 2; at++) {
		uint64_t from;

		for (int i = 0; i < 20; i++)
			assert_true(put(drip[i], request + at, 1));
		from = now_us();
		expect(fd, request, 200, "GET");
		worst = now_us() - from > worst ? now_us() - from : worst;
	}
	assert_in_range(worst, 0, 200000);
	for (int i = 0; i < 20; i++) {
		expect(drip[i], "\n", 200, "GET");
		close(drip[i]);
	}
	for (int i = 0; i < 5; i++)
		close(deaf[i]);
	close(fd);
}

static void many_connections_are_served_and_more_wait_their_turn(void **state)
{
	int fd[300];

	for (int i = 0; i < 100; i++)
		fd[i] = dial_unix(*state);
	for (int i = 0; i < 100; i++)
		expect(fd[i], "GET / HTTP/1.1\r\n" HOST "\r\n", 200, "GET");
	for (int i = 100; i < 300; i++)
		fd[i] = dial_unix(*state);
	for (int i = 0; i < 256; i++)
		expect(fd[i], "GET / HTTP/1.1\r\n" HOST "\r\n", 200, "GET");
	for (int i = 0; i < 256; i++)
		close(fd[i]);
	for (int i = 256; i < 300; i++) {
		expect(fd[i], "GET / HTTP/1.1\r\n" HOST "\r\n", 200, "GET");
		close(fd[i]);
	}
}

static void one_address_cannot_take_every_connection(void **state)
{
	int fd[129];

	for (int i = 0; i < 129; i++)
		fd[i] = dial_tcp(*state);
	assert_true(is_closed(fd[128]));
	expect(fd[127], "GET / HTTP/1.1\r\n" HOST "\r\n", 200, "GET");
	for (int i = 0; i < 129; i++)
		close(fd[i]);
}

/* As many as there may be, so that whoever comes meanwhile waits for them to be closed. */
static void silent_connections_are_closed_after_10_seconds_and_make_room(void **state)
{
	struct pollfd p = { .events = POLLIN };
	uint64_t from = now_us();
	int fd[256];
	char c;

	for (int i = 0; i < 256; i++)
		fd[i] = dial_unix(*state);
	p.fd = fd[255];
	assert_int_equal(poll(&p, 1, 14000), 1);
	assert_int_equal(recv(p.fd, &c, 1, 0), 0);
	assert_in_range(now_us() - from, 9000000, 13000000);

	p.fd = dial_unix(*state);
	say(p.fd, "GET / HTTP/1.1\r\n" HOST "\r\n");
	assert_int_equal(poll(&p, 1, 4000), 1);
	assert_int_equal(recv(p.fd, &c, 1, 0), 1);
	close(p.fd);
	for (int i = 0; i < 256; i++)
		close(fd[i]);
}

static int compare_us(const void *a, const void *b)
{
	const uint64_t *x = a, *y = b;

	return (*x > *y) - (*x < *y);
}

/* The bound is loose, for busy machines and sanitizers; a stall shows as milliseconds. */
static void requests_are_answered_without_a_stall(void **state)
{
	const char request[] = "GET / HTTP/1.1\r\n" HOST "\r\n";
	static uint64_t us[1000];

	for (int fresh = 0; fresh < 2; fresh++) {
		int fd = dial_unix(*state);

		for (int i = 0; i < 1000; i++) {
			uint64_t from = now_us();
			struct answer a;
			char buf[1024];

			if (fresh) {
				close(fd);
				fd = dial_unix(*state);
			}
			say(fd, request);
			assert_true(get(fd, buf, sizeof(buf)) > 100);
			us[i] = now_us() - from;
			a = (struct answer){ .status = 0 };
			answer_free(&a);
		}
		close(fd);
		qsort(us, 1000, sizeof(us[0]), compare_us);
		print_message("%s: median %llu us, p99 %llu us\n",
			      fresh ? "new connections" : "keep-alive", (unsigned long long)us[500],
			      (unsigned long long)us[990]);
		assert_in_range(us[500], 0, 2000);
	}
}

/* ---- the socket file ---- */

static int try_open(struct server *sv, const char *path, const struct endpoint *tcp, struct diag *d)
{
	struct httpd *h;
	uv_loop_t loop;
	int err;

	uv_loop_init(&loop);
	err = httpd_open(&h, &loop, path, tcp, on_request, sv, d);
	if (!err)
		httpd_close(h);
	uv_run(&loop, UV_RUN_DEFAULT);
	assert_int_equal(uv_loop_close(&loop), 0);
	return err;
}

static void the_socket_is_for_owner_and_group(void **state)
{
	const struct server *sv = *state;
	struct stat st;

	assert_int_equal(stat(sv->path, &st), 0);
	assert_int_equal(st.st_mode & 07777, 0660);
}

static void a_second_agent_is_refused_and_the_first_lives_on(void **state)
{
	struct server *sv = *state;
	struct diag d = { .text = "" };
	int fd;

	assert_int_equal(try_open(sv, sv->path, NULL, &d), -EADDRINUSE);
	assert_string_equal(d.pointer, "/admin/socket");
	fd = dial_unix(sv);
	expect(fd, "GET / HTTP/1.1\r\n" HOST "\r\n", 200, "GET");
	close(fd);
}

static void a_port_in_use_is_refused_and_leaves_no_socket(void **state)
{
	struct server *sv = *state;
	struct diag d = { .text = "" };
	char path[96];

	snprintf(path, sizeof(path), "%s2", sv->path);
	assert_int_equal(try_open(sv, path, &sv->tcp, &d), -EADDRINUSE);
	assert_string_equal(d.pointer, "/admin/listen");
	assert_non_null(strstr(d.text, "127.0.0.1:"));
	assert_int_equal(access(path, F_OK), -1);
}

static void a_stale_socket_is_replaced(void **state)
{
	struct sockaddr_un sa = { .sun_family = AF_UNIX };
	struct server *sv = *state;
	struct diag d = { .text = "" };
	int fd = socket(AF_UNIX, SOCK_STREAM, 0);

	snprintf(sa.sun_path, sizeof(sa.sun_path), "%s2", sv->path);
	assert_int_equal(bind(fd, (struct sockaddr *)&sa, sizeof(sa)), 0);
	close(fd);
	assert_int_equal(access(sa.sun_path, F_OK), 0);
	if (try_open(sv, sa.sun_path, NULL, &d))
		fail_msg("%s", d.text);
	assert_int_equal(access(sa.sun_path, F_OK), -1);
}

static void another_file_in_its_place_is_never_removed(void **state)
{
	struct server *sv = *state;
	struct diag d = { .text = "" };
	char path[96];
	int fd;

	snprintf(path, sizeof(path), "%s2", sv->path);
	fd = open(path, O_CREAT | O_WRONLY, 0600);
	assert_true(fd >= 0);
	close(fd);
	assert_int_equal(try_open(sv, path, NULL, &d), -EEXIST);
	assert_non_null(strstr(d.text, "is not a socket"));
	assert_int_equal(unlink(path), 0);
}

static void a_socket_that_is_another_agents_by_now_is_left_to_it(void **state)
{
	struct server *sv = *state;
	struct diag d = { .text = "" };
	char path[96];
	struct httpd *h;
	uv_loop_t loop;
	int fd;

	snprintf(path, sizeof(path), "%s2", sv->path);
	uv_loop_init(&loop);
	assert_int_equal(httpd_open(&h, &loop, path, NULL, on_request, sv, &d), 0);
	assert_int_equal(unlink(path), 0);
	fd = open(path, O_CREAT | O_WRONLY, 0600);
	close(fd);
	httpd_close(h);
	uv_run(&loop, UV_RUN_DEFAULT);
	assert_int_equal(uv_loop_close(&loop), 0);
	assert_int_equal(unlink(path), 0);
}

#define SERVED(name) cmocka_unit_test_setup_teardown(name, start, finish)

int main(void)
{
	const struct CMUnitTest tests[] = {
		SERVED(every_method_reaches_the_handler),
		SERVED(answers_carry_their_headers),
		SERVED(head_is_get_without_a_body),
		SERVED(other_methods_are_refused),
		SERVED(pipelined_requests_are_answered_in_order),
		SERVED(bodies_up_to_4_MiB_arrive_and_larger_ones_are_413),
		SERVED(an_announced_giant_is_refused_before_it_is_sent),
		SERVED(a_large_answer_arrives_whole),
		SERVED(pages_of_other_sites_are_refused_on_tcp),
		SERVED(garbage_is_answered_or_cut_and_harms_nobody),
		SERVED(endless_headers_are_cut),
		SERVED(clients_that_leave_early_harm_nobody),
		SERVED(slow_clients_do_not_hold_others_up),
		SERVED(many_connections_are_served_and_more_wait_their_turn),
		SERVED(one_address_cannot_take_every_connection),
		SERVED(silent_connections_are_closed_after_10_seconds_and_make_room),
		SERVED(requests_are_answered_without_a_stall),
		SERVED(the_socket_is_for_owner_and_group),
		SERVED(a_second_agent_is_refused_and_the_first_lives_on),
		SERVED(a_port_in_use_is_refused_and_leaves_no_socket),
		SERVED(a_stale_socket_is_replaced),
		SERVED(another_file_in_its_place_is_never_removed),
		SERVED(a_socket_that_is_another_agents_by_now_is_left_to_it),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
