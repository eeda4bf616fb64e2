/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * UDP, both ends. The server answers every datagram with its name and the datagram, from the address
 * it was sent to. The client keeps flows that ask now and then, and tells which server each has, how
 * many came to another one, and what was lost or changed on the way.
 */
#include <poll.h>
#include <signal.h>
#include <sys/epoll.h>
#include <unistd.h>

#include "util.h"

#define DATAGRAM_MAX 2048

static volatile sig_atomic_t stopping;

static void on_stop(int sig)
{
	(void)sig;
	stopping = 1;
}

/* ---- server ---- */

/* The control data of what came says where it was sent to: exactly that goes back with the answer. */
static void answer_one(int fd, const char *name)
{
	_Alignas(struct cmsghdr) char control[CMSG_SPACE(sizeof(struct in6_pktinfo))];
	char buf[DATAGRAM_MAX + NAME_LEN + 1];
	size_t head = (size_t)snprintf(buf, NAME_LEN + 1, "%s ", name);
	struct sockaddr_in6 from;
	struct iovec iov = { buf + head, DATAGRAM_MAX };
	struct msghdr msg = { .msg_name = &from,
			      .msg_namelen = sizeof(from),
			      .msg_iov = &iov,
			      .msg_iovlen = 1,
			      .msg_control = control,
			      .msg_controllen = sizeof(control) };
	ssize_t n = recvmsg(fd, &msg, 0);
	struct cmsghdr *c;

	if (n < 0)
		return;
	c = CMSG_FIRSTHDR(&msg);
	/* The way back is for the routes to say. */
	if (c && c->cmsg_level == IPPROTO_IPV6 && c->cmsg_type == IPV6_PKTINFO) {
		struct in6_pktinfo info;

		memcpy(&info, CMSG_DATA(c), sizeof(info));
		info.ipi6_ifindex = 0;
		memcpy(CMSG_DATA(c), &info, sizeof(info));
	}
	iov = (struct iovec){ buf, head + (size_t)n };
	sendmsg(fd, &msg, 0);
}

static void serve(const struct address *at, const char *name)
{
	int fd = socket(AF_INET6, SOCK_DGRAM | SOCK_CLOEXEC, 0), one = 1, zero = 0;
	int room = 16 << 20; /* nothing may be lost for want of a time slice */

	setsockopt(fd, SOL_SOCKET, SO_RCVBUFFORCE, &room, sizeof(room));
	setsockopt(fd, IPPROTO_IPV6, IPV6_V6ONLY, &zero, sizeof(zero));
	setsockopt(fd, IPPROTO_IPV6, IPV6_RECVPKTINFO, &one, sizeof(one));
	if (fd < 0 || bind(fd, (const struct sockaddr *)&at->sa, at->len))
		die("cannot listen", name);
	while (!stopping)
		answer_one(fd, name);
}

/* ---- client ---- */

struct flow {
	int fd;
	int server; /* in the tally; -1: none yet */
	uint32_t asked, answered;
	uint64_t due_ns;
};

struct client {
	struct address target;
	struct sources sources;
	unsigned nflows, rounds;
	uint64_t interval_ns;
	const char *status_path;
	struct flow *flow;
	struct tally servers; /* flows they have now */
	uint64_t asked, answered, moved, changed, errors;
};

/* The same for a flow and its question, another for every other one. */
static size_t question(char *buf, unsigned flow, uint32_t number)
{
	uint64_t x = (uint64_t)flow << 32 | number;
	int head = snprintf(buf, DATAGRAM_MAX, "%u %u ", flow, number);
	size_t len = (size_t)head + 16 + (number * 37 + flow) % 1000;

	for (size_t i = (size_t)head; i < len; i++) {
		x = x * 6364136223846793005ULL + 1442695040888963407ULL;
		buf[i] = (char)(x >> 56);
	}
	return len;
}

static void ask(struct client *c, unsigned i, uint64_t now)
{
	struct flow *f = &c->flow[i];
	char buf[DATAGRAM_MAX];
	size_t len = question(buf, i, ++f->asked);

	f->due_ns = now + c->interval_ns;
	c->asked++;
	if (send(f->fd, buf, len, 0) < 0)
		c->errors++;
}

static void note_server(struct client *c, struct flow *f, const char *name)
{
	int server = tally_index(&c->servers, name);

	if (server < 0 || server == f->server)
		return;
	if (f->server >= 0) {
		c->moved++;
		c->servers.count[f->server]--;
	}
	f->server = server;
	c->servers.count[server]++;
}

static void take_answer(struct client *c, unsigned i)
{
	struct flow *f = &c->flow[i];
	char buf[DATAGRAM_MAX + NAME_LEN + 1], want[DATAGRAM_MAX], name[NAME_LEN];
	ssize_t n = recv(f->fd, buf, sizeof(buf) - 1, MSG_DONTWAIT);
	unsigned flow, number;
	char *rest;
	size_t len;

	if (n < 0) {
		c->errors += errno != EAGAIN;
		return;
	}
	buf[n] = '\0';
	rest = memchr(buf, ' ', (size_t)n);
	if (!rest || rest - buf >= NAME_LEN || sscanf(rest, " %u %u ", &flow, &number) != 2 ||
	    flow != i) {
		c->changed++;
		return;
	}
	*rest++ = '\0';
	snprintf(name, sizeof(name), "%.*s", NAME_LEN - 1, buf);
	len = question(want, flow, number);
	if ((size_t)(buf + n - rest) != len || memcmp(rest, want, len) != 0) {
		c->changed++;
		return;
	}
	c->answered++;
	f->answered++;
	note_server(c, f, name);
}

static void print_report(const struct client *c, FILE *f)
{
	fprintf(f,
		"{\"flows\":%u,\"asked\":%lu,\"answered\":%lu,\"moved\":%lu,\"changed\":%lu,"
		"\"errors\":%lu,\"servers\":",
		c->nflows, (unsigned long)c->asked, (unsigned long)c->answered,
		(unsigned long)c->moved, (unsigned long)c->changed, (unsigned long)c->errors);
	tally_print(f, &c->servers);
	fputs("}\n", f);
}

static void write_status(const struct client *c)
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

static void open_flows(struct client *c, int epoll)
{
	uint64_t now = now_ns();

	for (unsigned i = 0; i < c->nflows; i++) {
		struct epoll_event ev = { .events = EPOLLIN, .data.u32 = i };
		struct flow *f = &c->flow[i];

		f->fd = socket(c->target.sa.ss_family, SOCK_DGRAM | SOCK_CLOEXEC, 0);
		f->server = -1;
		f->due_ns = now + c->interval_ns * i / c->nflows;
		if (f->fd < 0 || sources_bind(&c->sources, f->fd, &c->target) ||
		    connect(f->fd, (const struct sockaddr *)&c->target.sa, c->target.len) ||
		    epoll_ctl(epoll, EPOLL_CTL_ADD, f->fd, &ev))
			die("cannot open a flow", "udp");
	}
}

/* Once all has been asked, answers have a second. */
static bool is_over(const struct client *c, uint64_t *last_ns, uint64_t now)
{
	if (!c->rounds || c->asked < (uint64_t)c->rounds * c->nflows)
		return false;
	if (!*last_ns)
		*last_ns = now;
	return c->answered == c->asked || now - *last_ns > NS_PER_S;
}

static void run(struct client *c)
{
	int epoll = epoll_create1(EPOLL_CLOEXEC);
	uint64_t now = now_ns(), next_status = now, last = 0;
	struct epoll_event ev[256];

	open_flows(c, epoll);
	while (!stopping && !is_over(c, &last, now)) {
		int n = epoll_wait(epoll, ev, 256, 2);

		for (int i = 0; i < n; i++)
			take_answer(c, ev[i].data.u32);
		now = now_ns();
		for (unsigned i = 0; i < c->nflows; i++) {
			if (now >= c->flow[i].due_ns &&
			    (!c->rounds || c->flow[i].asked < c->rounds))
				ask(c, i, now);
		}
		if (c->status_path && now >= next_status) {
			write_status(c);
			next_status = now + 100 * NS_PER_MS;
		}
	}
	if (c->status_path)
		write_status(c);
	print_report(c, stdout);
}

static void usage(void)
{
	fputs("usage: udp --listen [::]:PORT --name NAME\n"
	      "       udp --target ADDR:PORT [--source ADDR]... [--flows N] [--interval MS]\n"
	      "           [--rounds N] [--status FILE]\n"
	      "A client reports on SIGTERM, or when every flow has asked --rounds times; FILE is\n"
	      "rewritten every 100 ms.\n",
	      stderr);
	exit(2);
}

int main(int argc, char **argv)
{
	struct client c = { .nflows = 100, .interval_ns = 200 * NS_PER_MS };
	struct sigaction on_term = { .sa_handler = on_stop }; /* no SA_RESTART: recvmsg returns */
	struct address listen = { .len = 0 };
	const char *name = NULL;

	for (int i = 1; i + 1 < argc; i += 2) {
		const char *value = argv[i + 1];

		if (!strcmp(argv[i], "--listen"))
			listen = parse_address(value);
		else if (!strcmp(argv[i], "--name"))
			name = value;
		else if (!strcmp(argv[i], "--target"))
			c.target = parse_address(value);
		else if (!strcmp(argv[i], "--source"))
			sources_add(&c.sources, value);
		else if (!strcmp(argv[i], "--flows"))
			c.nflows = (unsigned)strtoul(value, NULL, 10);
		else if (!strcmp(argv[i], "--interval"))
			c.interval_ns = strtoul(value, NULL, 10) * NS_PER_MS;
		else if (!strcmp(argv[i], "--rounds"))
			c.rounds = (unsigned)strtoul(value, NULL, 10);
		else if (!strcmp(argv[i], "--status"))
			c.status_path = value;
		else
			usage();
	}
	if (argc % 2 == 0 || (!c.target.len && !(listen.len && name)) || !c.nflows)
		usage();

	raise_descriptor_limit();
	sigaction(SIGTERM, &on_term, NULL);
	sigaction(SIGINT, &on_term, NULL);
	if (listen.len) {
		serve(&listen, name);
		return 0;
	}
	c.flow = calloc(c.nflows, sizeof(*c.flow));
	if (!c.flow)
		die("out of memory", "udp");
	run(&c);
	free(c.flow);
	return 0;
}
