/* SPDX-License-Identifier: GPL-2.0-only */
/* Checks against real servers on loopback, from polite to hostile. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>
#include <arpa/inet.h>
#include <netinet/in.h>

#include "../../agent/io/probe.h"

#define COUNT(array) (sizeof(array) / sizeof((array)[0]))

struct server;
typedef void (*serve_fn)(struct server *s, int fd);

struct server {
	struct endpoint ep;
	int fd;
	pthread_t thread;
	serve_fn serve;
	const char *text;
	atomic_int accepted;
	atomic_size_t sent;
	atomic_bool saw_eof; /* the probe closed in order */
	char request[2048];  /* of the last connection; read it when the server has stopped */
};

/* --- ways to behave --- */

static bool send_all(struct server *s, int fd, const char *data, size_t len)
{
	while (len) {
		ssize_t n = send(fd, data, len, MSG_NOSIGNAL);

		if (n <= 0)
			return false;
		atomic_fetch_add(&s->sent, (size_t)n);
		data += n;
		len -= (size_t)n;
	}
	return true;
}

static void read_request(struct server *s, int fd)
{
	size_t len = 0;
	ssize_t n;

	memset(s->request, 0, sizeof(s->request));
	while (len < sizeof(s->request) - 1 && !strstr(s->request, "\r\n\r\n")) {
		n = recv(fd, s->request + len, sizeof(s->request) - 1 - len, 0);
		if (n <= 0)
			return;
		len += (size_t)n;
	}
}

static void say(struct server *s, int fd)
{
	read_request(s, fd);
	send_all(s, fd, s->text, strlen(s->text));
}

/* Ends when the probe does. */
static void say_nothing(struct server *s, int fd)
{
	char buf[1024];
	ssize_t n;

	do
		n = recv(fd, buf, sizeof(buf), 0);
	while (n > 0);
	atomic_store(&s->saw_eof, n == 0);
}

static void say_and_stay(struct server *s, int fd)
{
	say(s, fd);
	say_nothing(s, fd);
}

static void leave(struct server *s, int fd)
{
	(void)s;
	(void)fd;
}

static void reset(struct server *s, int fd)
{
	const struct linger now = { .l_onoff = 1, .l_linger = 0 };

	(void)s;
	setsockopt(fd, SOL_SOCKET, SO_LINGER, &now, sizeof(now));
}

static void say_then_reset(struct server *s, int fd)
{
	say(s, fd);
	reset(s, fd);
}

static void drip(struct server *s, int fd)
{
	const struct timespec pause = { .tv_nsec = 1000 * 1000 };

	read_request(s, fd);
	for (const char *c = s->text; *c && send_all(s, fd, c, 1); c++)
		nanosleep(&pause, NULL);
}

static void endless_headers(struct server *s, int fd)
{
	static const char line[] = "X-More: and more and more\r\n";

	say(s, fd);
	while (send_all(s, fd, line, sizeof(line) - 1))
		;
}

static void endless_line(struct server *s, int fd)
{
	char block[4096];

	memset(block, 'x', sizeof(block));
	say(s, fd);
	while (send_all(s, fd, block, sizeof(block)))
		;
}

static void large_body(struct server *s, int fd)
{
	char block[4096] = { 0 };

	say(s, fd);
	for (int i = 0; i < 10 * 1024 * 1024 / 4096 && send_all(s, fd, block, sizeof(block)); i++)
		;
}

static void fail_twice(struct server *s, int fd)
{
	static const char sorry[] = "HTTP/1.1 503 Sorry\r\nContent-Length: 0\r\n\r\n";

	read_request(s, fd);
	if (atomic_load(&s->accepted) <= 2)
		send_all(s, fd, sorry, sizeof(sorry) - 1);
	else
		send_all(s, fd, s->text, strlen(s->text));
}

static void reset_then_hang(struct server *s, int fd)
{
	if (atomic_load(&s->accepted) == 1)
		reset(s, fd);
	else
		say_nothing(s, fd);
}

static void reset_then_say(struct server *s, int fd)
{
	if (atomic_load(&s->accepted) == 1)
		reset(s, fd);
	else
		say(s, fd);
}

/* --- the server --- */

static void *serve_all(void *arg)
{
	struct server *s = arg;
	int fd;

	while ((fd = accept4(s->fd, NULL, NULL, SOCK_CLOEXEC)) >= 0) {
		atomic_fetch_add(&s->accepted, 1);
		s->serve(s, fd);
		close(fd);
	}
	return NULL;
}

static int listen_on(struct endpoint *ep, const char *addr, int backlog)
{
	struct sockaddr_in6 sa = { .sin6_family = AF_INET6 };
	socklen_t len = sizeof(sa);
	int fd, off = 0;

	assert_true(endpoint_parse_addr(ep, addr));
	fd = socket(AF_INET6, SOCK_STREAM | SOCK_CLOEXEC, 0);
	assert_true(fd >= 0);
	setsockopt(fd, IPPROTO_IPV6, IPV6_V6ONLY, &off, sizeof(off));
	memcpy(&sa.sin6_addr, ep->addr, 16);
	assert_int_equal(bind(fd, (struct sockaddr *)&sa, sizeof(sa)), 0);
	assert_int_equal(getsockname(fd, (struct sockaddr *)&sa, &len), 0);
	ep->port = ntohs(sa.sin6_port);
	if (backlog >= 0)
		assert_int_equal(listen(fd, backlog), 0);
	return fd;
}

static void server_start_at(struct server *s, const char *addr, serve_fn serve, const char *text)
{
	memset(s, 0, sizeof(*s));
	s->fd = listen_on(&s->ep, addr, 512);
	s->serve = serve;
	s->text = text;
	assert_int_equal(pthread_create(&s->thread, NULL, serve_all, s), 0);
}

static void server_start(struct server *s, serve_fn serve, const char *text)
{
	server_start_at(s, "127.0.0.1", serve, text);
}

static void wait_accepted(struct server *s)
{
	const struct timespec pause = { .tv_nsec = 1000 * 1000 };

	for (int i = 0; i < 2000 && !atomic_load(&s->accepted); i++)
		nanosleep(&pause, NULL);
}

static void server_stop(struct server *s)
{
	shutdown(s->fd, SHUT_RDWR);
	pthread_join(s->thread, NULL);
	close(s->fd);
}

/* --- the one who asks --- */

struct asker {
	uv_loop_t loop;
	struct prober *prober;
};

struct answer {
	int calls;
	struct check_result result;
};

static const struct health_check http_check = {
	.type = CHECK_HTTP,
	.path = "/health",
	.status_min = 200,
	.status_max = 299,
	.timeout_ms = 1000,
};

static void take_answer(void *arg, const struct check_result *r)
{
	struct answer *a = arg;

	a->calls++;
	a->result = *r;
}

static void asker_open(struct asker *a)
{
	assert_int_equal(uv_loop_init(&a->loop), 0);
	assert_int_equal(prober_open(&a->prober, &a->loop), 0);
}

/* The loop can be closed only if no handle was left behind. */
static void asker_close(struct asker *a)
{
	prober_close(a->prober);
	assert_int_equal(uv_run(&a->loop, UV_RUN_DEFAULT), 0);
	assert_int_equal(uv_loop_close(&a->loop), 0);
}

static void run_until_answered(struct asker *a, const struct answer *answer)
{
	while (!answer->calls)
		assert_true(uv_run(&a->loop, UV_RUN_ONCE) || answer->calls);
}

static void run_for(struct asker *a, uint64_t ms)
{
	uint64_t end = uv_hrtime() + ms * 1000 * 1000;
	const struct timespec pause = { .tv_nsec = 1000 * 1000 };

	while (uv_hrtime() < end) {
		uv_run(&a->loop, UV_RUN_NOWAIT);
		nanosleep(&pause, NULL);
	}
}

static struct check_result ask(struct asker *a, const struct endpoint *ep,
			       const struct health_check *check)
{
	struct answer answer = { 0 };

	assert_non_null(probe_start(a->prober, ep, check, take_answer, &answer));
	assert_int_equal(answer.calls, 0);
	run_until_answered(a, &answer);
	assert_int_equal(answer.calls, 1);
	return answer.result;
}

static struct check_result ask_once(const struct endpoint *ep, const struct health_check *check)
{
	struct check_result r;
	struct asker a;

	asker_open(&a);
	r = ask(&a, ep, check);
	asker_close(&a);
	return r;
}

#define OK_EMPTY "HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n"

static const struct script {
	const char *name;
	serve_fn serve;
	const char *text;
	enum check_outcome outcome;
	uint16_t status;
} scripts[] = {
	{ "200, empty", say, OK_EMPTY, CHECK_OK, 200 },
	{ "200, HTTP/1.0", say, "HTTP/1.0 200 OK\r\n\r\nfine", CHECK_OK, 200 },
	{ "200, chunked", say,
	  "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nok\r\n0\r\n\r\n", CHECK_OK,
	  200 },
	{ "204", say, "HTTP/1.1 204 No Content\r\n\r\n", CHECK_OK, 204 },
	{ "100 before 200", say, "HTTP/1.1 100 Continue\r\n\r\n" OK_EMPTY, CHECK_OK, 200 },
	{ "200, a byte at a time", drip, OK_EMPTY, CHECK_OK, 200 },
	{ "200, 10 MB", large_body, "HTTP/1.1 200 OK\r\nContent-Length: 10485760\r\n\r\n", CHECK_OK,
	  200 },
	{ "404", say, "HTTP/1.1 404 Not Found\r\nContent-Length: 4\r\n\r\ngone", CHECK_STATUS,
	  404 },
	{ "404, body never comes", say_and_stay,
	  "HTTP/1.1 404 Not Found\r\nContent-Length: 4\r\n\r\n", CHECK_STATUS, 404 },
	{ "503, then a reset", say_then_reset, "HTTP/1.1 503 No\r\nContent-Length: 4\r\n\r\n",
	  CHECK_STATUS, 503 },
	{ "a redirect is not followed", say,
	  "HTTP/1.1 302 Found\r\nLocation: /else\r\nContent-Length: 0\r\n\r\n", CHECK_STATUS, 302 },
	{ "nothing", say_nothing, NULL, CHECK_TIMEOUT, 0 },
	{ "body never comes", say_and_stay, "HTTP/1.1 200 OK\r\nContent-Length: 4\r\n\r\n",
	  CHECK_TIMEOUT, 200 },
	{ "close at once", leave, NULL, CHECK_RESET, 0 },
	{ "close after the request", say, "", CHECK_RESET, 0 },
	{ "reset at once", reset, NULL, CHECK_RESET, 0 },
	{ "reset after the request", say_then_reset, "", CHECK_RESET, 0 },
	{ "reset in the headers", say_then_reset, "HTTP/1.1 200 OK\r\nServ", CHECK_RESET, 0 },
	{ "close in the status line", say, "HTTP/1.", CHECK_RESET, 0 },
	{ "close in the headers", say, "HTTP/1.1 200 OK\r\nServ", CHECK_RESET, 0 },
	{ "close before the empty line", say, "HTTP/1.1 200 OK\r\nServer: x\r\n", CHECK_RESET, 0 },
	{ "close in the body", say, "HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\nhalf", CHECK_RESET,
	  200 },
	{ "no HTTP", say, "220 mail.example ESMTP\r\n", CHECK_PROTOCOL, 0 },
	{ "bytes", say, "\x15\x03\x01\x02\x02\x16\x80\xff\r\n\r\n", CHECK_PROTOCOL, 0 },
	{ "a strange version", say, "HTTP/9.9 200 OK\r\n\r\n", CHECK_PROTOCOL, 0 },
	{ "a bad chunk", say, "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\nzz\r\n",
	  CHECK_PROTOCOL, 200 },
	{ "endless headers", endless_headers, "HTTP/1.1 200 OK\r\n", CHECK_PROTOCOL, 0 },
	{ "an endless header", endless_line, "HTTP/1.1 200 OK\r\nX-Long: ", CHECK_PROTOCOL, 0 },
	{ "an endless status line", endless_line, "HTTP/1.1 200 ", CHECK_PROTOCOL, 0 },
};

/* With one prober, so that every probe but the first runs on a used handle, after a refusal. */
static void every_answer_has_its_outcome(void **state)
{
	struct health_check check = http_check;
	struct endpoint nobody;
	int fd = listen_on(&nobody, "127.0.0.1", -1);
	struct server s;
	struct asker a;

	(void)state;
	check.timeout_ms = 250;
	asker_open(&a);
	for (size_t i = 0; i < COUNT(scripts); i++) {
		const struct script *t = &scripts[i];
		struct check_result r;

		assert_int_equal(ask(&a, &nobody, &check).outcome, CHECK_CONNECT_REFUSED);
		server_start(&s, t->serve, t->text);
		r = ask(&a, &s.ep, &check);
		server_stop(&s);
		if (r.outcome != t->outcome || r.status != t->status)
			fail_msg("%s: outcome %d status %u, not %d and %u", t->name, r.outcome,
				 r.status, t->outcome, t->status);
	}
	asker_close(&a);
	close(fd);
}

static void a_request_is_plain_and_says_who_asks(void **state)
{
	struct health_check check = http_check;
	char line[128], addr[ENDPOINT_TEXT_LEN];
	struct server s;

	(void)state;
	setenv("http_proxy", "http://127.0.0.1:1", 1);
	setenv("ALL_PROXY", "http://127.0.0.1:1", 1);
	server_start(&s, say, OK_EMPTY);
	assert_int_equal(ask_once(&s.ep, &check).outcome, CHECK_OK);
	server_stop(&s);
	assert_ptr_equal(strstr(s.request, "GET /health HTTP/1.1\r\n"), s.request);
	snprintf(line, sizeof(line), "\r\nHost: %s\r\n", endpoint_text(&s.ep, addr));
	assert_non_null(strstr(s.request, line));
	assert_non_null(strstr(s.request, "\r\nUser-Agent: zddlb-check/"));

	snprintf(check.host, sizeof(check.host), "auth.example");
	snprintf(check.path, sizeof(check.path), "@else/../x?y=1");
	server_start(&s, say, OK_EMPTY);
	assert_int_equal(ask_once(&s.ep, &check).outcome, CHECK_OK);
	server_stop(&s);
	assert_ptr_equal(strstr(s.request, "GET /@else/../x?y=1 HTTP/1.1\r\n"), s.request);
	assert_non_null(strstr(s.request, "\r\nHost: auth.example\r\n"));
	unsetenv("http_proxy");
	unsetenv("ALL_PROXY");
}

static void the_expected_status_is_a_range(void **state)
{
	struct health_check check = http_check;
	struct server s;

	(void)state;
	check.status_min = 404;
	check.status_max = 404;
	server_start(&s, say, "HTTP/1.1 404 Not Found\r\nContent-Length: 0\r\n\r\n");
	assert_int_equal(ask_once(&s.ep, &check).outcome, CHECK_OK);
	check.status_min = 405;
	check.status_max = 499;
	assert_int_equal(ask_once(&s.ep, &check).outcome, CHECK_STATUS);
	server_stop(&s);
}

static void a_large_body_is_cut(void **state)
{
	struct server s;

	(void)state;
	server_start(&s, large_body, "HTTP/1.1 200 OK\r\nContent-Length: 10485760\r\n\r\n");
	assert_int_equal(ask_once(&s.ep, &http_check).outcome, CHECK_OK);
	server_stop(&s);
	assert_true(atomic_load(&s.sent) < 10 * 1024 * 1024);
}

static void a_check_ends_with_its_timeout(void **state)
{
	struct health_check check = http_check;
	struct check_result r;
	struct server s;

	(void)state;
	check.timeout_ms = 150;
	server_start(&s, say_nothing, NULL);
	r = ask_once(&s.ep, &check);
	server_stop(&s);
	assert_int_equal(r.outcome, CHECK_TIMEOUT);
	assert_in_range(r.duration_us, 145 * 1000, 400 * 1000);
	assert_in_range(r.at_ms, uv_hrtime() / 1000000 - 1000, uv_hrtime() / 1000000);
}

static void a_full_backlog_is_a_connect_timeout(void **state)
{
	struct health_check check = http_check;
	struct sockaddr_in to = { .sin_family = AF_INET };
	struct endpoint ep;
	int fds[8], fd;

	(void)state;
	fd = listen_on(&ep, "127.0.0.1", 0);
	to.sin_port = htons(ep.port);
	to.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
	for (size_t i = 0; i < COUNT(fds); i++) {
		fds[i] = socket(AF_INET, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
		connect(fds[i], (struct sockaddr *)&to, sizeof(to));
	}
	check.timeout_ms = 150;
	assert_int_equal(ask_once(&ep, &check).outcome, CHECK_CONNECT_TIMEOUT);
	check.type = CHECK_TCP;
	assert_int_equal(ask_once(&ep, &check).outcome, CHECK_CONNECT_TIMEOUT);
	for (size_t i = 0; i < COUNT(fds); i++)
		close(fds[i]);
	close(fd);
}

static void a_tcp_check_connects_and_closes_in_order(void **state)
{
	struct health_check check = { .type = CHECK_TCP, .timeout_ms = 1000 };
	struct check_result r;
	struct endpoint ep;
	struct server s;
	int fd;

	(void)state;
	server_start(&s, say_nothing, NULL);
	r = ask_once(&s.ep, &check);
	wait_accepted(&s);
	server_stop(&s);
	assert_int_equal(r.outcome, CHECK_OK);
	assert_int_equal(r.status, 0);
	assert_in_range(r.duration_us, 1, 500 * 1000);
	assert_int_equal(atomic_load(&s.accepted), 1);
	assert_true(atomic_load(&s.saw_eof));

	fd = listen_on(&ep, "127.0.0.1", -1);
	assert_int_equal(ask_once(&ep, &check).outcome, CHECK_CONNECT_REFUSED);
	close(fd);
}

static void ipv6_and_another_port_are_asked_as_well(void **state)
{
	struct health_check check = http_check;
	struct server s;

	(void)state;
	if (access("/proc/net/if_inet6", F_OK))
		skip();
	server_start_at(&s, "::1", say, OK_EMPTY);
	assert_int_equal(ask_once(&s.ep, &http_check).outcome, CHECK_OK);
	check.port = s.ep.port;
	s.ep.port = 1;
	assert_int_equal(ask_once(&s.ep, &check).outcome, CHECK_OK);
	server_stop(&s);
	check.type = CHECK_TCP;
	assert_int_equal(ask_once(&s.ep, &check).outcome, CHECK_CONNECT_REFUSED);
}

static void a_retry_is_judged_by_itself(void **state)
{
	struct health_check check = http_check;
	struct server s;

	(void)state;
	check.retries = 1;
	server_start(&s, reset_then_say,
		     "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\nzz\r\n");
	assert_int_equal(ask_once(&s.ep, &check).outcome, CHECK_PROTOCOL);
	server_stop(&s);
	assert_int_equal(atomic_load(&s.accepted), 2);
}

static void retries_are_made_inside_one_check(void **state)
{
	struct health_check check = http_check;
	struct server s;

	(void)state;
	check.retries = 2;
	server_start(&s, fail_twice, OK_EMPTY);
	assert_int_equal(ask_once(&s.ep, &check).outcome, CHECK_OK);
	server_stop(&s);
	assert_int_equal(atomic_load(&s.accepted), 3);

	check.retries = 1;
	server_start(&s, fail_twice, OK_EMPTY);
	assert_int_equal(ask_once(&s.ep, &check).outcome, CHECK_STATUS);
	server_stop(&s);
	assert_int_equal(atomic_load(&s.accepted), 2);
}

static void a_retry_without_time_does_not_hide_the_failure(void **state)
{
	struct health_check check = http_check;
	struct server s;

	(void)state;
	check.retries = 3;
	check.timeout_ms = 150;
	server_start(&s, reset_then_hang, NULL);
	assert_int_equal(ask_once(&s.ep, &check).outcome, CHECK_RESET);
	server_stop(&s);
	assert_int_equal(atomic_load(&s.accepted), 2);
}

static void two_hundred_checks_run_at_once(void **state)
{
	static struct answer answers[200];
	struct health_check check = http_check;
	struct server s;
	struct asker a;

	(void)state;
	memset(answers, 0, sizeof(answers));
	check.timeout_ms = 5000;
	server_start(&s, say, OK_EMPTY);
	asker_open(&a);
	for (size_t i = 0; i < COUNT(answers); i++)
		assert_non_null(probe_start(a.prober, &s.ep, &check, take_answer, &answers[i]));
	for (size_t i = 0; i < COUNT(answers); i++)
		run_until_answered(&a, &answers[i]);
	asker_close(&a);
	server_stop(&s);
	for (size_t i = 0; i < COUNT(answers); i++) {
		assert_int_equal(answers[i].calls, 1);
		assert_int_equal(answers[i].result.outcome, CHECK_OK);
	}
	assert_int_equal(atomic_load(&s.accepted), COUNT(answers));
}

static void without_descriptors_the_backend_is_not_blamed(void **state)
{
	struct rlimit old, none;
	struct check_result r;
	struct server s;
	struct asker a;
	int fd;

	(void)state;
	server_start(&s, say, OK_EMPTY);
	asker_open(&a);
	assert_int_equal(ask(&a, &s.ep, &http_check).outcome, CHECK_OK);
	fd = open("/dev/null", O_RDONLY | O_CLOEXEC);
	close(fd);
	assert_int_equal(getrlimit(RLIMIT_NOFILE, &old), 0);
	none = old;
	none.rlim_cur = (rlim_t)fd;
	assert_int_equal(setrlimit(RLIMIT_NOFILE, &none), 0);
	r = ask(&a, &s.ep, &http_check);
	assert_int_equal(setrlimit(RLIMIT_NOFILE, &old), 0);
	assert_int_equal(r.outcome, CHECK_INTERNAL);
	assert_int_equal(ask(&a, &s.ep, &http_check).outcome, CHECK_OK);
	asker_close(&a);
	server_stop(&s);
}

static void a_cancelled_check_is_not_heard_of_again(void **state)
{
	struct answer never = { 0 }, cancelled = { 0 };
	struct probe *probe;
	struct server s;
	struct asker a;

	(void)state;
	server_start(&s, say_nothing, NULL);
	asker_open(&a);
	probe_cancel(probe_start(a.prober, &s.ep, &http_check, take_answer, &never));
	assert_int_equal(atomic_load(&s.accepted), 0);
	probe = probe_start(a.prober, &s.ep, &http_check, take_answer, &cancelled);
	while (!atomic_load(&s.accepted))
		run_for(&a, 1);
	probe_cancel(probe);
	run_for(&a, 50);
	asker_close(&a);
	server_stop(&s);
	assert_true(atomic_load(&s.saw_eof));
	assert_int_equal(never.calls + cancelled.calls, 0);
}

/* --- what a callback may do --- */

struct meddler {
	struct asker *a;
	const struct endpoint *ep;
	struct probe *own, *others[8];
	struct answer other_answers[8], second;
	int calls;
};

static void cancel_all_and_start_anew(void *arg, const struct check_result *r)
{
	struct meddler *m = arg;

	(void)r;
	m->calls++;
	probe_cancel(m->own);
	for (size_t i = 0; i < COUNT(m->others); i++)
		probe_cancel(m->others[i]);
	assert_non_null(probe_start(m->a->prober, m->ep, &http_check, take_answer, &m->second));
}

static void a_callback_may_cancel_and_start(void **state)
{
	struct meddler m = { 0 };
	struct server fast, slow;
	struct asker a;

	(void)state;
	server_start(&fast, say, OK_EMPTY);
	server_start(&slow, say_nothing, NULL);
	asker_open(&a);
	m.a = &a;
	m.ep = &fast.ep;
	for (size_t i = 0; i < COUNT(m.others); i++)
		m.others[i] = probe_start(a.prober, &slow.ep, &http_check, take_answer,
					  &m.other_answers[i]);
	m.own = probe_start(a.prober, &fast.ep, &http_check, cancel_all_and_start_anew, &m);
	run_until_answered(&a, &m.second);
	asker_close(&a);
	server_stop(&fast);
	server_stop(&slow);
	assert_int_equal(m.calls, 1);
	assert_int_equal(m.second.calls, 1);
	for (size_t i = 0; i < COUNT(m.others); i++)
		assert_int_equal(m.other_answers[i].calls, 0);
}

static void close_prober(void *arg, const struct check_result *r)
{
	struct meddler *m = arg;

	(void)r;
	m->calls++;
	prober_close(m->a->prober);
	m->a->prober = NULL;
}

/* Several may be done in the same turn of the loop: the first closes, the others stay unheard. */
static void a_callback_may_close_the_prober(void **state)
{
	struct meddler m = { 0 };
	struct endpoint nobody;
	struct asker a;
	int fd;

	(void)state;
	fd = listen_on(&nobody, "127.0.0.1", -1);
	asker_open(&a);
	m.a = &a;
	for (int i = 0; i < 8; i++)
		assert_non_null(probe_start(a.prober, &nobody, &http_check, close_prober, &m));
	assert_int_equal(uv_run(&a.loop, UV_RUN_DEFAULT), 0);
	assert_int_equal(uv_loop_close(&a.loop), 0);
	close(fd);
	assert_int_equal(m.calls, 1);
}

static void closing_cancels_what_runs(void **state)
{
	struct answer answers[16] = { 0 };
	struct server s;
	struct asker a;

	(void)state;
	server_start(&s, say_nothing, NULL);
	asker_open(&a);
	for (size_t i = 0; i < COUNT(answers); i++)
		assert_non_null(
			probe_start(a.prober, &s.ep, &http_check, take_answer, &answers[i]));
	while (!atomic_load(&s.accepted))
		run_for(&a, 1);
	asker_close(&a);
	server_stop(&s);
	for (size_t i = 0; i < COUNT(answers); i++)
		assert_int_equal(answers[i].calls, 0);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(every_answer_has_its_outcome),
		cmocka_unit_test(a_request_is_plain_and_says_who_asks),
		cmocka_unit_test(the_expected_status_is_a_range),
		cmocka_unit_test(a_large_body_is_cut),
		cmocka_unit_test(a_check_ends_with_its_timeout),
		cmocka_unit_test(a_full_backlog_is_a_connect_timeout),
		cmocka_unit_test(a_tcp_check_connects_and_closes_in_order),
		cmocka_unit_test(ipv6_and_another_port_are_asked_as_well),
		cmocka_unit_test(a_retry_is_judged_by_itself),
		cmocka_unit_test(retries_are_made_inside_one_check),
		cmocka_unit_test(a_retry_without_time_does_not_hide_the_failure),
		cmocka_unit_test(two_hundred_checks_run_at_once),
		cmocka_unit_test(without_descriptors_the_backend_is_not_blamed),
		cmocka_unit_test(a_cancelled_check_is_not_heard_of_again),
		cmocka_unit_test(a_callback_may_cancel_and_start),
		cmocka_unit_test(a_callback_may_close_the_prober),
		cmocka_unit_test(closing_cancels_what_runs),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
