/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * From the request at the socket to the last new connection that can reach the bad version. Told by
 * connections, not by the agent: while the request is made, a thread sends SYNs of new connections
 * through the pinned program as fast as it can and notes when one last went to a bad backend.
 */
#include <arpa/inet.h>
#include <errno.h>
#include <linux/if_ether.h>
#include <linux/ip.h>
#include <linux/tcp.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

#include <bpf/bpf.h>
#include <json-c/json.h>

#include "bench.h"

#define FRAME        64
#define SETTLE_US    3000 /* SYNs go on this long after the answer */
#define WAIT_STEP_US 2000
/* Requests come at no special moment of the agent's day: at random after the step. */
#define ASK_AFTER_US  20000
#define ASK_WITHIN_US 100000
#define WAIT_STEPS    2500

struct target {
	const char *socket, *service, *to;
	struct in_addr vip, bad;
	uint16_t port;
	int prog;
};

struct spam {
	const struct target *t;
	atomic_bool stop;
	_Atomic uint64_t last_bad_ns; /* when a SYN last went to a bad backend */
	_Atomic uint64_t bad, sent;
};

static void syn_frame(uint8_t frame[FRAME], const struct target *t, uint32_t n)
{
	struct ethhdr *eth = (void *)frame;
	struct iphdr *ip = (void *)(eth + 1);
	struct tcphdr *tcp = (void *)(ip + 1);

	memset(frame, 0, FRAME);
	eth->h_proto = htons(ETH_P_IP);
	ip->version = 4;
	ip->ihl = 5;
	ip->ttl = 64;
	ip->protocol = IPPROTO_TCP;
	ip->tot_len = htons(FRAME - sizeof(*eth));
	ip->saddr = htonl(0x0b000000u + n / 60000);
	ip->daddr = t->vip.s_addr;
	tcp->source = htons((uint16_t)(1024 + n % 60000));
	tcp->dest = htons(t->port);
	tcp->doff = 5;
	tcp->syn = 1;
}

static void *spam(void *arg)
{
	struct spam *s = arg;
	uint8_t in[FRAME], out[FRAME];
	const struct iphdr *ip = (const void *)(out + sizeof(struct ethhdr));
	static uint32_t n;

	while (!atomic_load(&s->stop)) {
		LIBBPF_OPTS(bpf_test_run_opts, o, .data_in = in, .data_size_in = FRAME,
			    .data_out = out, .data_size_out = FRAME, .repeat = 1);

		syn_frame(in, s->t, n++);
		if (bpf_prog_test_run_opts(s->t->prog, &o))
			break;
		atomic_fetch_add(&s->sent, 1);
		if (ip->daddr == s->t->bad.s_addr) {
			atomic_store(&s->last_bad_ns, bench_now_ns());
			atomic_fetch_add(&s->bad, 1);
		}
	}
	return NULL;
}

/* One request on a connection of its own; the body of the answer, or NULL. */
static struct json_object *request(const struct target *t, const char *method, const char *path,
				   const char *body)
{
	struct sockaddr_un to = { .sun_family = AF_UNIX };
	char buf[65536];
	size_t len = 0;
	ssize_t n;
	int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
	const char *answer;

	snprintf(to.sun_path, sizeof(to.sun_path), "%s", t->socket);
	if (fd < 0 || connect(fd, (struct sockaddr *)&to, sizeof(to)) < 0)
		return NULL;
	n = snprintf(buf, sizeof(buf),
		     "%s %s HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n"
		     "Content-Type: application/json\r\nContent-Length: %zu\r\n\r\n%s",
		     method, path, strlen(body), body);
	if (write(fd, buf, (size_t)n) != n)
		n = -1;
	while (n >= 0 && len < sizeof(buf) - 1 &&
	       (n = read(fd, buf + len, sizeof(buf) - 1 - len)) > 0)
		len += (size_t)n;
	close(fd);
	buf[len] = '\0';
	answer = strstr(buf, "\r\n\r\n");
	return answer && strstr(buf, " 20") ? json_tokener_parse(answer + 4) : NULL;
}

static int64_t start_deployment(const struct target *t)
{
	struct json_object *r, *id = NULL;
	char body[512];
	int64_t ret = -1;

	snprintf(body, sizeof(body),
		 "{\"serviceName\":\"%s\",\"toVersion\":\"%s\",\"strategy\":\"canary\","
		 "\"config\":{\"steps\":[50,100],\"stepInterval\":3600000}}",
		 t->service, t->to);
	r = request(t, "POST", "/api/v1/admin/deployment/start", body);
	if (r && (json_object_object_get_ex(r, "id", &id) ||
		  json_object_object_get_ex(r, "deploymentId", &id)))
		ret = json_object_get_int64(id);
	json_object_put(r);
	return ret;
}

/* -1: the rollback failed, or nothing reached the bad version before it. */
static double one(const struct target *t)
{
	struct spam s = { .t = t };
	struct json_object *r;
	uint64_t asked, last;
	char path[128];
	pthread_t thread;
	int64_t id = start_deployment(t);

	if (id < 0 || pthread_create(&thread, NULL, spam, &s))
		return -1;
	for (int i = 0; i < WAIT_STEPS && atomic_load(&s.bad) < 10; i++)
		usleep(WAIT_STEP_US);

	usleep((useconds_t)(ASK_AFTER_US + rand() % ASK_WITHIN_US));
	snprintf(path, sizeof(path), "/api/v1/admin/deployment/%lld/rollback", (long long)id);
	asked = bench_now_ns();
	r = request(t, "POST", path, "{}");
	usleep(SETTLE_US);
	atomic_store(&s.stop, true);
	pthread_join(thread, NULL);
	last = atomic_load(&s.last_bad_ns);
	json_object_put(r);
	if (!r || atomic_load(&s.bad) < 10)
		return -1;
	return last > asked ? (double)(last - asked) / 1000 : 0;
}

int bench_rollback(int argc, char **argv)
{
	struct target t = { 0 };
	size_t count, done = 0;
	double *us;

	if (argc != 10)
		return 2;
	t.socket = argv[1];
	t.prog = bpf_obj_get(argv[2]);
	t.service = argv[3];
	t.to = argv[4];
	t.port = (uint16_t)strtoul(argv[6], NULL, 10);
	if (t.prog < 0 || inet_pton(AF_INET, argv[5], &t.vip) != 1 ||
	    inet_pton(AF_INET, argv[7], &t.bad) != 1) {
		fprintf(stderr, "bench rollback: no program at %s, or bad addresses\n", argv[2]);
		return 1;
	}
	count = strtoul(argv[8], NULL, 10);
	us = calloc(count, sizeof(*us));
	for (size_t i = 0; us && i < count; i++) {
		double d = one(&t);

		if (d < 0) {
			fprintf(stderr, "bench rollback: round %zu failed\n", i);
			break;
		}
		us[done++] = d;
	}
	if (done)
		bench_report(argv[9], "us", us, done);
	free(us);
	return done && done == count ? 0 : 1;
}
