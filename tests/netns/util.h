/* SPDX-License-Identifier: GPL-2.0-only */
/* What the helper programs of the netns suites share: clocks, addresses, complaints. */
#ifndef ZDDLB_TESTS_NETNS_UTIL_H
#define ZDDLB_TESTS_NETNS_UTIL_H

#include <arpa/inet.h>
#include <errno.h>
#include <netinet/in.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <time.h>

#define NS_PER_MS 1000000ULL
#define NS_PER_S  1000000000ULL

struct address {
	struct sockaddr_storage sa;
	socklen_t len;
};

static inline uint64_t now_ns(void)
{
	struct timespec ts;

	clock_gettime(CLOCK_MONOTONIC, &ts);
	return (uint64_t)ts.tv_sec * NS_PER_S + (uint64_t)ts.tv_nsec;
}

static inline _Noreturn void die(const char *what, const char *detail)
{
	fprintf(stderr, "%s: %s%s%s\n", what, detail ? detail : "", detail && errno ? ": " : "",
		errno ? strerror(errno) : "");
	exit(2);
}

/* "10.0.0.1:80", "[2001:db8::1]:80", or without a port. */
static inline struct address parse_address(const char *text)
{
	struct address a = { 0 };
	struct sockaddr_in *v4 = (struct sockaddr_in *)&a.sa;
	struct sockaddr_in6 *v6 = (struct sockaddr_in6 *)&a.sa;
	char host[64];
	const char *port = NULL, *end;

	errno = 0;
	if (*text == '[') {
		end = strchr(++text, ']');
		if (end && end[1] == ':')
			port = end + 2;
	} else {
		end = strchr(text, ':');
		if (end && strchr(end + 1, ':'))
			end = NULL;
		if (end)
			port = end + 1;
	}
	snprintf(host, sizeof(host), "%.*s", (int)(end ? end - text : (long)strlen(text)), text);

	if (inet_pton(AF_INET, host, &v4->sin_addr) == 1) {
		a.sa.ss_family = AF_INET;
		a.len = sizeof(*v4);
		v4->sin_port = htons((uint16_t)(port ? atoi(port) : 0));
	} else if (inet_pton(AF_INET6, host, &v6->sin6_addr) == 1) {
		a.sa.ss_family = AF_INET6;
		a.len = sizeof(*v6);
		v6->sin6_port = htons((uint16_t)(port ? atoi(port) : 0));
	} else {
		die("not an address", text);
	}
	return a;
}

/* Addresses to connect from, used in turn within a family. */
#define MAX_SOURCES 64
struct sources {
	struct address list[MAX_SOURCES];
	unsigned n, next;
};

static inline void sources_add(struct sources *s, const char *text)
{
	if (s->n == MAX_SOURCES)
		die("too many sources", text);
	s->list[s->n++] = parse_address(text);
}

/* Bind `fd` to the next source of the target's family, if there is one. */
static inline int sources_bind(struct sources *s, int fd, const struct address *target)
{
	int one = 1;

	for (unsigned i = 0; i < s->n; i++) {
		const struct address *a = &s->list[s->next++ % s->n];

		if (a->sa.ss_family != target->sa.ss_family)
			continue;
		setsockopt(fd, IPPROTO_IP, IP_BIND_ADDRESS_NO_PORT, &one, sizeof(one));
		return bind(fd, (const struct sockaddr *)&a->sa, a->len);
	}
	return 0;
}

static inline void raise_descriptor_limit(void)
{
	struct rlimit lim;

	getrlimit(RLIMIT_NOFILE, &lim);
	lim.rlim_cur = lim.rlim_max;
	setrlimit(RLIMIT_NOFILE, &lim);
}

/* How often each name was seen. */
#define MAX_NAMES 64
#define NAME_LEN  32
struct tally {
	char name[MAX_NAMES][NAME_LEN];
	uint64_t count[MAX_NAMES];
	int n;
};

/* Index of `name`, added if new; -1: no room. */
static inline int tally_index(struct tally *t, const char *name)
{
	for (int i = 0; i < t->n; i++)
		if (!strcmp(t->name[i], name))
			return i;
	if (t->n == MAX_NAMES)
		return -1;
	snprintf(t->name[t->n], NAME_LEN, "%s", name);
	return t->n++;
}

static inline void tally_print(FILE *f, const struct tally *t)
{
	fputc('{', f);
	for (int i = 0; i < t->n; i++)
		fprintf(f, "%s\"%s\":%lu", i ? "," : "", t->name[i], (unsigned long)t->count[i]);
	fputc('}', f);
}

/*
 * One HTTP answer in `buf`: true when it is whole. The body is "NAME COUNT\n"; `name` and `count`
 * are its parts, `len` how many bytes of buf it takes.
 */
struct answer {
	int status;
	char name[NAME_LEN];
	uint64_t count;
	size_t len;
};

static inline bool parse_answer(struct answer *a, const char *buf, size_t len)
{
	const char *head = memmem(buf, len, "\r\n\r\n", 4);
	const char *field;
	size_t head_len, body_len;
	unsigned long count = 0;

	if (!head || sscanf(buf, "HTTP/1.%*c %d", &a->status) != 1)
		return false;
	head_len = (size_t)(head - buf) + 4;
	field = strcasestr(buf, "\r\nContent-Length:");
	body_len = field && field < head ? strtoul(field + 17, NULL, 10) : 0;
	if (len < head_len + body_len)
		return false;

	a->len = head_len + body_len;
	a->name[0] = '\0';
	if (sscanf(buf + head_len, "%31s %lu", a->name, &count) < 1)
		snprintf(a->name, sizeof(a->name), "status-%d", a->status);
	a->count = count;
	return true;
}

#endif
