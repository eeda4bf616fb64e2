/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * The connection checker: opens many long-lived connections, sends a request on each every so
 * often, and checks that the same backend answers with an unbroken count for a connection's whole
 * life. Whatever is not so is counted as moved, reset, closed or timed out; nothing is reopened.
 */
#include <netinet/tcp.h>
#include <signal.h>
#include <sys/epoll.h>
#include <unistd.h>

#include "util.h"

#define ANSWER_MAX  1024
#define MAX_TARGETS 8

enum state { FLOW_NEW, FLOW_CONNECTING, FLOW_IDLE, FLOW_WAITING, FLOW_DEAD };

struct flow {
	int fd;
	enum state state;
	int backend; /* in tally `backends`, -1: not known yet */
	uint64_t count;
	uint64_t due_ns;  /* FLOW_IDLE: next request; else when to give up */
	uint64_t sent_ns; /* of the request under way */
	size_t len;
	char buf[ANSWER_MAX];
};

struct checker {
	struct address target[MAX_TARGETS];
	unsigned ntargets;
	struct sources sources;
	unsigned nflows, opened, ramp;
	uint64_t interval_ns, timeout_ns, start_ns;
	const char *status_path;
	int epoll;
	struct flow *flow;

	struct tally backends; /* flows per backend, living and dead */
	uint64_t alive, answered, moved, reset, closed, timeouts, refused, errors, max_gap_ns;
};

static volatile sig_atomic_t stopping, print_now;

static void on_stop(int sig)
{
	(void)sig;
	stopping = 1;
}

static void on_print(int sig)
{
	(void)sig;
	print_now = 1;
}

static void flow_end(struct checker *c, struct flow *f, uint64_t *why)
{
	if (f->state == FLOW_IDLE || f->state == FLOW_WAITING)
		c->alive--;
	if (f->fd >= 0)
		close(f->fd);
	f->fd = -1;
	f->state = FLOW_DEAD;
	++*why;
}

/* What an error on the socket means. */
static uint64_t *blame(struct checker *c, const struct flow *f, int error)
{
	if (error == ETIMEDOUT)
		return &c->timeouts;
	if (f->state == FLOW_CONNECTING)
		return error == ECONNREFUSED || error == ECONNRESET ? &c->refused : &c->errors;
	return error == ECONNRESET || error == EPIPE ? &c->reset : &c->errors;
}

static void flow_open(struct checker *c, struct flow *f, unsigned i, uint64_t now)
{
	const struct address *to = &c->target[i % c->ntargets];
	struct epoll_event ev = { .events = EPOLLIN | EPOLLOUT | EPOLLET, .data.ptr = f };
	int one = 1;

	f->fd = socket(to->sa.ss_family, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
	if (f->fd < 0 || sources_bind(&c->sources, f->fd, to))
		die("socket or source address", NULL);
	setsockopt(f->fd, IPPROTO_TCP, TCP_NODELAY, &one, sizeof(one));
	f->state = FLOW_CONNECTING;
	f->due_ns = now + c->timeout_ns;
	if (connect(f->fd, (const struct sockaddr *)&to->sa, to->len) && errno != EINPROGRESS) {
		flow_end(c, f, blame(c, f, errno));
		return;
	}
	epoll_ctl(c->epoll, EPOLL_CTL_ADD, f->fd, &ev);
}

static void flow_send(struct checker *c, struct flow *f, uint64_t now)
{
	static const char request[] = "GET / HTTP/1.1\r\nHost: vip\r\n\r\n";

	f->state = FLOW_WAITING;
	f->sent_ns = now;
	f->due_ns = now + c->timeout_ns;
	if (send(f->fd, request, sizeof(request) - 1, MSG_NOSIGNAL) < 0)
		flow_end(c, f, blame(c, f, errno));
}

static void flow_connected(struct checker *c, struct flow *f, uint64_t now)
{
	int error = 0;
	socklen_t len = sizeof(error);

	getsockopt(f->fd, SOL_SOCKET, SO_ERROR, &error, &len);
	if (error) {
		flow_end(c, f, blame(c, f, error));
		return;
	}
	f->state = FLOW_IDLE;
	c->alive++;
	flow_send(c, f, now);
}

/* An answer is whole: is it the one this connection must get? */
static void flow_check(struct checker *c, struct flow *f, const struct answer *a, uint64_t now)
{
	int backend = tally_index(&c->backends, a->name);
	uint64_t gap = now - f->sent_ns;

	if (f->backend < 0) {
		f->backend = backend;
		if (backend >= 0)
			c->backends.count[backend]++;
	}
	if (backend != f->backend || a->count != f->count + 1) {
		flow_end(c, f, &c->moved);
		return;
	}
	if (a->status != 200)
		c->errors++;
	f->count = a->count;
	c->answered++;
	if (gap > c->max_gap_ns)
		c->max_gap_ns = gap;
	f->state = FLOW_IDLE;
	f->due_ns = f->sent_ns + c->interval_ns;
}

static void flow_read(struct checker *c, struct flow *f, uint64_t now)
{
	struct answer a;
	ssize_t n;

	while (f->state == FLOW_WAITING || f->state == FLOW_IDLE) {
		n = recv(f->fd, f->buf + f->len, sizeof(f->buf) - 1 - f->len, 0);
		if (n < 0 && errno == EAGAIN)
			return;
		if (n <= 0) {
			flow_end(c, f, n == 0 ? &c->closed : blame(c, f, errno));
			return;
		}
		f->len += (size_t)n;
		f->buf[f->len] = '\0';
		if (!parse_answer(&a, f->buf, f->len))
			continue;
		f->len -= a.len;
		memmove(f->buf, f->buf + a.len, f->len);
		flow_check(c, f, &a, now);
	}
}

static void look_at_clocks(struct checker *c, uint64_t now)
{
	uint64_t due = c->ramp ? (now - c->start_ns) * c->ramp / NS_PER_S + 1 : c->nflows;

	for (; c->opened < c->nflows && c->opened < due; c->opened++)
		flow_open(c, &c->flow[c->opened], c->opened, now);

	for (unsigned i = 0; i < c->opened; i++) {
		struct flow *f = &c->flow[i];

		if (f->state == FLOW_DEAD || f->due_ns > now)
			continue;
		if (f->state == FLOW_IDLE)
			flow_send(c, f, now);
		else
			flow_end(c, f, &c->timeouts);
	}
}

static void print_report(const struct checker *c, FILE *f)
{
	fprintf(f,
		"{\"opened\":%u,\"alive\":%lu,\"answered\":%lu,\"moved\":%lu,\"reset\":%lu,"
		"\"closed\":%lu,\"timeouts\":%lu,\"refused\":%lu,\"errors\":%lu,"
		"\"max_gap_ms\":%lu,\"broken\":%lu,\"backends\":",
		c->opened, (unsigned long)c->alive, (unsigned long)c->answered,
		(unsigned long)c->moved, (unsigned long)c->reset, (unsigned long)c->closed,
		(unsigned long)c->timeouts, (unsigned long)c->refused, (unsigned long)c->errors,
		(unsigned long)(c->max_gap_ns / NS_PER_MS),
		(unsigned long)(c->moved + c->reset + c->closed + c->timeouts + c->refused +
				c->errors));
	tally_print(f, &c->backends);
	fputs("}\n", f);
	fflush(f);
}

static void write_status(const struct checker *c)
{
	char path[4096];
	FILE *f;

	snprintf(path, sizeof(path), "%s.new", c->status_path);
	f = fopen(path, "w");
	if (!f)
		return;
	print_report(c, f);
	fclose(f);
	rename(path, c->status_path);
}

static void run(struct checker *c, uint64_t seconds)
{
	struct epoll_event ev[256];
	uint64_t now = now_ns(), next_look = now, next_status = now;

	c->start_ns = now;
	while (!stopping && (!seconds || now - c->start_ns < seconds * NS_PER_S)) {
		int n = epoll_wait(c->epoll, ev, 256, 5);

		now = now_ns();
		for (int i = 0; i < n; i++) {
			struct flow *f = ev[i].data.ptr;

			if (f->state == FLOW_CONNECTING)
				flow_connected(c, f, now);
			flow_read(c, f, now);
		}
		if (now >= next_look) {
			look_at_clocks(c, now);
			next_look = now + 5 * NS_PER_MS;
		}
		if (c->status_path && now >= next_status) {
			write_status(c);
			next_status = now + 100 * NS_PER_MS;
		}
		if (print_now) {
			print_now = 0;
			print_report(c, stdout);
		}
	}
}

static void usage(void)
{
	fputs("usage: flows --target ADDR:PORT... [--source ADDR]... [--connections N]\n"
	      "             [--interval MS] [--timeout MS] [--ramp PER_SECOND] [--seconds S]\n"
	      "             [--status FILE]\n"
	      "Reports on SIGTERM, SIGINT or after --seconds; SIGUSR1 prints a report and goes on;\n"
	      "FILE is rewritten every 100 ms. Exit 1 if a connection was moved or broken.\n",
	      stderr);
	exit(2);
}

static void parse_options(struct checker *c, uint64_t *seconds, int argc, char **argv)
{
	for (int i = 1; i < argc; i += 2) {
		const char *name = argv[i], *value = argv[i + 1];
		uint64_t number;

		if (!value)
			usage();
		number = strtoul(value, NULL, 10);
		if (!strcmp(name, "--target") && c->ntargets < MAX_TARGETS)
			c->target[c->ntargets++] = parse_address(value);
		else if (!strcmp(name, "--source"))
			sources_add(&c->sources, value);
		else if (!strcmp(name, "--connections"))
			c->nflows = (unsigned)number;
		else if (!strcmp(name, "--interval"))
			c->interval_ns = number * NS_PER_MS;
		else if (!strcmp(name, "--timeout"))
			c->timeout_ns = number * NS_PER_MS;
		else if (!strcmp(name, "--ramp"))
			c->ramp = (unsigned)number;
		else if (!strcmp(name, "--seconds"))
			*seconds = number;
		else if (!strcmp(name, "--status"))
			c->status_path = value;
		else
			usage();
	}
	if (!c->ntargets || !c->nflows)
		usage();
}

int main(int argc, char **argv)
{
	struct checker c = { .nflows = 100,
			     .interval_ns = 1000 * NS_PER_MS,
			     .timeout_ns = 5000 * NS_PER_MS };
	uint64_t seconds = 0;

	parse_options(&c, &seconds, argc, argv);
	c.flow = calloc(c.nflows, sizeof(*c.flow));
	if (!c.flow)
		die("out of memory", NULL);
	for (unsigned i = 0; i < c.nflows; i++)
		c.flow[i] = (struct flow){ .fd = -1, .backend = -1 };

	raise_descriptor_limit();
	signal(SIGTERM, on_stop);
	signal(SIGINT, on_stop);
	signal(SIGUSR1, on_print);
	c.epoll = epoll_create1(EPOLL_CLOEXEC);
	run(&c, seconds);
	if (c.status_path)
		write_status(&c);
	print_report(&c, stdout);
	free(c.flow);
	return c.moved || c.alive < c.opened ? 1 : 0;
}
