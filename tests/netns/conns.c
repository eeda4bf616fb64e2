/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * New connections at a given rate, one request each: which backend answered, how long it took, what
 * failed. With --log one line a connection, so that a test can tell when the last one reached a
 * version.
 */
#include <netinet/tcp.h>
#include <signal.h>
#include <sys/epoll.h>
#include <unistd.h>

#include "util.h"

#define ANSWER_MAX 1024

enum outcome { OUT_ANSWERED, OUT_REFUSED, OUT_RESET, OUT_CLOSED, OUT_TIMEOUT, OUT_ERROR, OUT_MAX };
static const char *const outcome_names[OUT_MAX] = { "answered", "refused", "reset",
						    "closed",   "timeout", "error" };

struct conn {
	int fd; /* -1: free */
	bool connected;
	uint64_t start_ns;
	size_t len;
	char buf[ANSWER_MAX];
	struct conn *next_free;
};

struct client {
	struct address target;
	struct sources sources;
	uint64_t rate, count, seconds, timeout_ns, start_ns;
	unsigned concurrency;
	const char *path, *status_path;
	FILE *log;
	int epoll;
	struct conn *conn, *free_list;
	unsigned open;

	struct tally backends;
	uint64_t attempted, not_200, outcome[OUT_MAX];
	uint32_t *latency_us; /* of the answered ones */
	size_t nlatency, latency_room;
};

static volatile sig_atomic_t stopping;

static void on_stop(int sig)
{
	(void)sig;
	stopping = 1;
}

static void remember_latency(struct client *c, uint64_t ns)
{
	if (c->nlatency == c->latency_room) {
		c->latency_room = c->latency_room ? 2 * c->latency_room : 4096;
		c->latency_us = realloc(c->latency_us, c->latency_room * sizeof(*c->latency_us));
		if (!c->latency_us)
			die("out of memory", NULL);
	}
	c->latency_us[c->nlatency++] = (uint32_t)(ns / 1000);
}

static void conn_end(struct client *c, struct conn *k, enum outcome outcome, const struct answer *a)
{
	uint64_t now = now_ns();

	close(k->fd);
	k->fd = -1;
	k->next_free = c->free_list;
	c->free_list = k;
	c->open--;
	c->outcome[outcome]++;
	if (a) {
		int i = tally_index(&c->backends, a->name);

		if (i >= 0)
			c->backends.count[i]++;
		if (a->status != 200)
			c->not_200++;
		remember_latency(c, now - k->start_ns);
	}
	if (c->log)
		fprintf(c->log, "%lu %lu %s %s\n", (unsigned long)k->start_ns, (unsigned long)now,
			outcome_names[outcome], a ? a->name : "-");
}

static enum outcome outcome_of(int error, bool connected)
{
	switch (error) {
	case ECONNREFUSED:
		return OUT_REFUSED;
	case ECONNRESET:
	case EPIPE:
		return connected ? OUT_RESET : OUT_REFUSED;
	case ETIMEDOUT:
		return OUT_TIMEOUT;
	}
	return OUT_ERROR;
}

static void conn_open(struct client *c)
{
	struct conn *k = c->free_list;
	struct epoll_event ev = { .events = EPOLLOUT, .data.ptr = k };
	int one = 1;

	c->free_list = k->next_free;
	c->open++;
	c->attempted++;
	k->len = 0;
	k->connected = false;
	k->start_ns = now_ns();
	k->fd = socket(c->target.sa.ss_family, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
	if (k->fd < 0 || sources_bind(&c->sources, k->fd, &c->target))
		die("socket or source address", NULL);
	setsockopt(k->fd, IPPROTO_TCP, TCP_NODELAY, &one, sizeof(one));
	if (connect(k->fd, (const struct sockaddr *)&c->target.sa, c->target.len) &&
	    errno != EINPROGRESS) {
		conn_end(c, k, outcome_of(errno, false), NULL);
		return;
	}
	epoll_ctl(c->epoll, EPOLL_CTL_ADD, k->fd, &ev);
}

static void conn_connected(struct client *c, struct conn *k)
{
	struct epoll_event ev = { .events = EPOLLIN, .data.ptr = k };
	char request[512];
	int error = 0, n;
	socklen_t len = sizeof(error);

	getsockopt(k->fd, SOL_SOCKET, SO_ERROR, &error, &len);
	if (!error) {
		n = snprintf(request, sizeof(request), "GET %s HTTP/1.1\r\nHost: vip\r\n\r\n",
			     c->path);
		if (send(k->fd, request, (size_t)n, MSG_NOSIGNAL) < 0)
			error = errno;
	}
	if (error) {
		conn_end(c, k, outcome_of(error, false), NULL);
		return;
	}
	k->connected = true;
	epoll_ctl(c->epoll, EPOLL_CTL_MOD, k->fd, &ev);
}

static void conn_read(struct client *c, struct conn *k)
{
	ssize_t n = recv(k->fd, k->buf + k->len, sizeof(k->buf) - 1 - k->len, 0);
	struct answer a;

	if (n < 0) {
		if (errno != EAGAIN)
			conn_end(c, k, outcome_of(errno, true), NULL);
		return;
	}
	if (n == 0) {
		conn_end(c, k, OUT_CLOSED, NULL);
		return;
	}
	k->len += (size_t)n;
	k->buf[k->len] = '\0';
	if (parse_answer(&a, k->buf, k->len))
		conn_end(c, k, OUT_ANSWERED, &a);
}

static void end_late_ones(struct client *c, uint64_t now)
{
	for (unsigned i = 0; i < c->concurrency; i++) {
		struct conn *k = &c->conn[i];

		if (k->fd >= 0 && now - k->start_ns > c->timeout_ns)
			conn_end(c, k, OUT_TIMEOUT, NULL);
	}
}

static int by_value(const void *a, const void *b)
{
	uint32_t x = *(const uint32_t *)a, y = *(const uint32_t *)b;

	return (x > y) - (x < y);
}

static void print_report(struct client *c, FILE *f, bool final)
{
	fprintf(f, "{\"attempted\":%lu", (unsigned long)c->attempted);
	for (int i = 0; i < OUT_MAX; i++)
		fprintf(f, ",\"%s\":%lu", outcome_names[i], (unsigned long)c->outcome[i]);
	fprintf(f, ",\"not_200\":%lu,\"failed\":%lu,\"seconds\":%.3f", (unsigned long)c->not_200,
		(unsigned long)(c->attempted - c->open - c->outcome[OUT_ANSWERED] + c->not_200),
		(double)(now_ns() - c->start_ns) / (double)NS_PER_S);
	if (final && c->nlatency) {
		qsort(c->latency_us, c->nlatency, sizeof(*c->latency_us), by_value);
		fprintf(f, ",\"latency_us\":{\"p50\":%u,\"p99\":%u,\"max\":%u}",
			c->latency_us[c->nlatency / 2], c->latency_us[c->nlatency * 99 / 100],
			c->latency_us[c->nlatency - 1]);
	}
	fputs(",\"backends\":", f);
	tally_print(f, &c->backends);
	fputs("}\n", f);
}

static void write_status(struct client *c)
{
	char path[4096];
	FILE *f;

	snprintf(path, sizeof(path), "%s.new", c->status_path);
	f = fopen(path, "w");
	if (!f)
		return;
	print_report(c, f, false);
	fclose(f);
	rename(path, c->status_path);
	if (c->log)
		fflush(c->log);
}

/* How many connections may have been started by now. */
static uint64_t budget(const struct client *c, uint64_t now)
{
	uint64_t due = c->rate ? (now - c->start_ns) * c->rate / NS_PER_S + 1 : UINT64_MAX;

	return c->count && due > c->count ? c->count : due;
}

static bool is_over(const struct client *c, uint64_t now)
{
	return stopping || (c->count && c->attempted >= c->count) ||
	       (c->seconds && now - c->start_ns >= c->seconds * NS_PER_S);
}

static void run(struct client *c)
{
	struct epoll_event ev[256];
	uint64_t now = now_ns(), next_look = now;

	c->start_ns = now;
	while (!is_over(c, now) || c->open) {
		uint64_t due = is_over(c, now) ? 0 : budget(c, now);
		int n;

		while (c->free_list && c->attempted < due)
			conn_open(c);
		n = epoll_wait(c->epoll, ev, 256, 1);
		for (int i = 0; i < n; i++) {
			struct conn *k = ev[i].data.ptr;

			if (k->connected)
				conn_read(c, k);
			else
				conn_connected(c, k);
		}
		now = now_ns();
		if (now >= next_look) {
			end_late_ones(c, now);
			if (c->status_path)
				write_status(c);
			next_look = now + 50 * NS_PER_MS;
		}
	}
}

static void usage(void)
{
	fputs("usage: conns --target ADDR:PORT [--source ADDR]... [--rate PER_SECOND] [--count N]\n"
	      "             [--seconds S] [--concurrency N] [--timeout MS] [--path PATH]\n"
	      "             [--log FILE] [--status FILE]\n"
	      "Reports on SIGTERM, SIGINT, after --count or after --seconds. Log lines are\n"
	      "START_NS END_NS OUTCOME BACKEND; STATUS is rewritten every 50 ms.\n",
	      stderr);
	exit(2);
}

static void parse_options(struct client *c, int argc, char **argv)
{
	for (int i = 1; i < argc; i += 2) {
		const char *name = argv[i], *value = argv[i + 1];
		uint64_t number;

		if (!value)
			usage();
		number = strtoul(value, NULL, 10);
		if (!strcmp(name, "--target"))
			c->target = parse_address(value);
		else if (!strcmp(name, "--source"))
			sources_add(&c->sources, value);
		else if (!strcmp(name, "--rate"))
			c->rate = number;
		else if (!strcmp(name, "--count"))
			c->count = number;
		else if (!strcmp(name, "--seconds"))
			c->seconds = number;
		else if (!strcmp(name, "--concurrency"))
			c->concurrency = (unsigned)number;
		else if (!strcmp(name, "--timeout"))
			c->timeout_ns = number * NS_PER_MS;
		else if (!strcmp(name, "--path"))
			c->path = value;
		else if (!strcmp(name, "--status"))
			c->status_path = value;
		else if (!strcmp(name, "--log") && (c->log = fopen(value, "w")))
			continue;
		else
			usage();
	}
	if (!c->target.len || !c->concurrency)
		usage();
}

int main(int argc, char **argv)
{
	struct client c = { .concurrency = 64, .timeout_ns = 5000 * NS_PER_MS, .path = "/" };

	parse_options(&c, argc, argv);
	c.conn = calloc(c.concurrency, sizeof(*c.conn));
	if (!c.conn)
		die("out of memory", NULL);
	for (unsigned i = c.concurrency; i-- > 0;) {
		c.conn[i].fd = -1;
		c.conn[i].next_free = c.free_list;
		c.free_list = &c.conn[i];
	}

	raise_descriptor_limit();
	signal(SIGTERM, on_stop);
	signal(SIGINT, on_stop);
	c.epoll = epoll_create1(EPOLL_CLOEXEC);
	run(&c);
	if (c.status_path)
		write_status(&c);
	print_report(&c, stdout, true);
	if (c.log)
		fclose(c.log);
	free(c.latency_us);
	free(c.conn);
	return 0;
}
