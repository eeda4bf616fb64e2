/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * A small, real HTTP server for tests. It answers every request with "NAME COUNT\n", COUNT being
 * the number of requests on this connection, so that a client can tell that one and the same server
 * holds its connection. A fifo tells it to misbehave while it runs: "mode reset", "health 500".
 */
#include <fcntl.h>
#include <netinet/tcp.h>
#include <signal.h>
#include <sys/epoll.h>
#include <sys/stat.h>
#include <sys/timerfd.h>
#include <unistd.h>

#include "util.h"

#define REQUEST_MAX 4096

enum mode { MODE_OK, MODE_500, MODE_RESET, MODE_RESET_ACCEPT, MODE_HANG, MODE_REFUSE, MODE_SLOW };
static const char *const mode_names[] = { "ok",   "500",    "reset", "reset-accept",
					  "hang", "refuse", "slow",  NULL };

struct conn {
	int fd;
	uint64_t requests;
	size_t len;
	char buf[REQUEST_MAX];
	uint64_t due_ns; /* an answer waits until then (mode slow) */
	struct conn *next_slow;
};

struct server {
	const char *name, *health_path;
	struct address listen;
	int epoll, listener, control, timer;
	uint64_t slow_ns;
	enum mode mode, health;
	struct conn *slow_first, **slow_last;
	uint64_t accepted, answered, resets;
};

static volatile sig_atomic_t stopping;

static void on_signal(int sig)
{
	(void)sig;
	stopping = 1;
}

static void watch(const struct server *s, int fd, void *tag)
{
	struct epoll_event ev = { .events = EPOLLIN, .data.ptr = tag };

	if (epoll_ctl(s->epoll, EPOLL_CTL_ADD, fd, &ev))
		die("epoll_ctl", NULL);
}

static void start_listening(struct server *s)
{
	int one = 1, zero = 0;

	if (s->listener >= 0)
		return;
	s->listener = socket(s->listen.sa.ss_family, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
	setsockopt(s->listener, SOL_SOCKET, SO_REUSEADDR, &one, sizeof(one));
	if (s->listen.sa.ss_family == AF_INET6)
		setsockopt(s->listener, IPPROTO_IPV6, IPV6_V6ONLY, &zero, sizeof(zero));
	if (bind(s->listener, (struct sockaddr *)&s->listen.sa, s->listen.len) ||
	    listen(s->listener, 4096))
		die("listen", s->name);
	watch(s, s->listener, &s->listener);
}

static void stop_listening(struct server *s)
{
	if (s->listener >= 0)
		close(s->listener);
	s->listener = -1;
}

static void reset_socket(struct server *s, int fd)
{
	struct linger abort_it = { .l_onoff = 1, .l_linger = 0 };

	setsockopt(fd, SOL_SOCKET, SO_LINGER, &abort_it, sizeof(abort_it));
	close(fd);
	s->resets++;
}

static void unlink_slow(struct server *s, const struct conn *c)
{
	struct conn **p;

	for (p = &s->slow_first; *p && *p != c; p = &(*p)->next_slow)
		;
	if (*p)
		*p = c->next_slow;
	if (s->slow_last == &c->next_slow)
		s->slow_last = p;
}

static void conn_close(struct server *s, struct conn *c, bool with_reset)
{
	if (c->due_ns)
		unlink_slow(s, c);
	if (with_reset)
		reset_socket(s, c->fd);
	else
		close(c->fd);
	free(c);
}

static bool send_answer(struct server *s, struct conn *c, int status)
{
	char body[64], text[256];
	int body_len, len;

	body_len = snprintf(body, sizeof(body), "%s %lu\n", s->name, (unsigned long)c->requests);
	len = snprintf(text, sizeof(text),
		       "HTTP/1.1 %d %s\r\nX-Backend: %s\r\nContent-Length: %d\r\n\r\n%s", status,
		       status == 200 ? "OK" : "Internal Server Error", s->name, body_len, body);
	s->answered++;
	return send(c->fd, text, (size_t)len, MSG_NOSIGNAL) == len;
}

static void arm_timer(const struct server *s)
{
	struct itimerspec when = { 0 };

	if (s->slow_first) {
		when.it_value.tv_sec = (time_t)(s->slow_first->due_ns / NS_PER_S);
		when.it_value.tv_nsec = (long)(s->slow_first->due_ns % NS_PER_S);
	}
	timerfd_settime(s->timer, TFD_TIMER_ABSTIME, &when, NULL);
}

static void answer_later(struct server *s, struct conn *c)
{
	if (c->due_ns)
		return;
	c->due_ns = now_ns() + s->slow_ns;
	c->next_slow = NULL;
	*s->slow_last = c;
	s->slow_last = &c->next_slow;
	arm_timer(s);
}

static void answer_slow_ones(struct server *s)
{
	uint64_t now = now_ns(), expirations;
	struct conn *c;

	if (read(s->timer, &expirations, sizeof(expirations)) < 0 && errno != EAGAIN)
		die("timer", NULL);
	while ((c = s->slow_first) && c->due_ns <= now) {
		unlink_slow(s, c);
		c->due_ns = 0;
		if (!send_answer(s, c, 200))
			conn_close(s, c, false);
	}
	arm_timer(s);
}

/* False: the connection is gone. */
static bool serve_request(struct server *s, struct conn *c)
{
	size_t path_len = strlen(s->health_path);
	const char *path = strchr(c->buf, ' ');
	bool is_health =
		path && !strncmp(path + 1, s->health_path, path_len) && path[1 + path_len] == ' ';

	c->requests++;
	switch (is_health ? s->health : s->mode) {
	case MODE_OK:
	case MODE_REFUSE:
		return send_answer(s, c, 200);
	case MODE_500:
		return send_answer(s, c, 500);
	case MODE_RESET:
	case MODE_RESET_ACCEPT:
		return false;
	case MODE_HANG:
		return true;
	case MODE_SLOW:
		answer_later(s, c);
		return true;
	}
	return false;
}

static void conn_read(struct server *s, struct conn *c)
{
	ssize_t n = recv(c->fd, c->buf + c->len, sizeof(c->buf) - 1 - c->len, 0);
	char *end;

	if (n <= 0) {
		if (n < 0 && errno == EAGAIN)
			return;
		conn_close(s, c, false);
		return;
	}
	c->len += (size_t)n;
	c->buf[c->len] = '\0';
	while ((end = strstr(c->buf, "\r\n\r\n"))) {
		size_t used = (size_t)(end - c->buf) + 4;

		if (!serve_request(s, c)) {
			conn_close(s, c, true);
			return;
		}
		c->len -= used;
		memmove(c->buf, c->buf + used, c->len + 1);
	}
	if (c->len == sizeof(c->buf) - 1)
		conn_close(s, c, true);
}

static void accept_all(struct server *s)
{
	int fd, one = 1;

	while ((fd = accept4(s->listener, NULL, NULL, SOCK_NONBLOCK | SOCK_CLOEXEC)) >= 0) {
		struct conn *c;

		s->accepted++;
		if (s->mode == MODE_RESET_ACCEPT) {
			reset_socket(s, fd);
			continue;
		}
		c = calloc(1, sizeof(*c));
		if (!c)
			die("out of memory", s->name);
		c->fd = fd;
		setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &one, sizeof(one));
		watch(s, fd, c);
	}
}

static void obey(struct server *s, const char *line)
{
	char what[16], name[16];

	if (sscanf(line, "%15s %15s", what, name) != 2)
		return;
	for (int i = 0; mode_names[i]; i++) {
		if (strcmp(name, mode_names[i]) != 0)
			continue;
		if (!strcmp(what, "health"))
			s->health = (enum mode)i;
		else if (!strcmp(what, "mode"))
			s->mode = (enum mode)i;
	}
	if (s->mode == MODE_REFUSE)
		stop_listening(s);
	else
		start_listening(s);
}

static void read_control(struct server *s)
{
	char text[512], *save = NULL;
	ssize_t n = read(s->control, text, sizeof(text) - 1);

	if (n <= 0)
		return;
	text[n] = '\0';
	for (char *line = strtok_r(text, "\n", &save); line; line = strtok_r(NULL, "\n", &save))
		obey(s, line);
}

static void run(struct server *s)
{
	struct epoll_event ev[64];

	while (!stopping) {
		int n = epoll_wait(s->epoll, ev, 64, -1);

		for (int i = 0; i < n; i++) {
			if (ev[i].data.ptr == &s->listener) {
				if (s->listener >= 0)
					accept_all(s);
			} else if (ev[i].data.ptr == &s->control) {
				read_control(s);
			} else if (ev[i].data.ptr == &s->timer) {
				answer_slow_ones(s);
				break; /* it may have freed a connection in ev */
			} else {
				conn_read(s, ev[i].data.ptr);
			}
		}
	}
}

static void open_control(struct server *s, const char *path)
{
	unlink(path);
	if (mkfifo(path, 0600))
		die("mkfifo", path);
	/* Both ends, so that it never reads as closed. */
	s->control = open(path, O_RDWR | O_NONBLOCK | O_CLOEXEC);
	if (s->control < 0)
		die("open", path);
	watch(s, s->control, &s->control);
}

static void usage(void)
{
	fputs("usage: backend --name NAME --listen ADDR:PORT [--control FIFO] [--health-path PATH]\n"
	      "               [--slow-ms MS]\n"
	      "FIFO takes lines: mode|health ok|500|reset|reset-accept|hang|refuse|slow\n",
	      stderr);
	exit(2);
}

int main(int argc, char **argv)
{
	struct server s = { .health_path = "/health",
			    .listener = -1,
			    .slow_ns = 300 * NS_PER_MS,
			    .slow_last = &s.slow_first };
	const char *control = NULL;

	for (int i = 1; i + 1 < argc; i += 2) {
		if (!strcmp(argv[i], "--name"))
			s.name = argv[i + 1];
		else if (!strcmp(argv[i], "--listen"))
			s.listen = parse_address(argv[i + 1]);
		else if (!strcmp(argv[i], "--control"))
			control = argv[i + 1];
		else if (!strcmp(argv[i], "--health-path"))
			s.health_path = argv[i + 1];
		else if (!strcmp(argv[i], "--slow-ms"))
			s.slow_ns = strtoul(argv[i + 1], NULL, 10) * NS_PER_MS;
		else
			usage();
	}
	if (!s.name || !s.listen.len || argc % 2 == 0)
		usage();

	raise_descriptor_limit();
	signal(SIGTERM, on_signal);
	signal(SIGINT, on_signal);
	signal(SIGPIPE, SIG_IGN);
	s.epoll = epoll_create1(EPOLL_CLOEXEC);
	s.timer = timerfd_create(CLOCK_MONOTONIC, TFD_NONBLOCK | TFD_CLOEXEC);
	watch(&s, s.timer, &s.timer);
	start_listening(&s);
	if (control)
		open_control(&s, control);
	run(&s);
	printf("{\"name\":\"%s\",\"accepted\":%lu,\"answered\":%lu,\"resets\":%lu}\n", s.name,
	       (unsigned long)s.accepted, (unsigned long)s.answered, (unsigned long)s.resets);
	return 0;
}
