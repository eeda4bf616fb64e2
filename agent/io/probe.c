/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * Health checks through libcurl's multi interface: curl says which sockets and which time it waits
 * for, the loop tells it when they come. Easy handles are kept and used again, connections never.
 */
#include "probe.h"

#include <errno.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/queue.h>
#include <sys/socket.h>
#include <curl/curl.h>

#include <zddlb/version.h>

/* What is read of an answer. */
#define BODY_LIMIT    ((size_t)64 * 1024)
#define HEADER_LIMIT  ((size_t)64 * 1024)
#define RECEIVE_BYTES 4096L /* of buffer a probe; bodies are thrown away */
#define POOL_LIMIT    64    /* idle probes kept */
#define URL_LEN       (sizeof("http:///") + ENDPOINT_TEXT_LEN + MODEL_PATH_LEN)

enum probe_state { PROBE_IDLE, PROBE_RUNNING, PROBE_REPORTING };

struct probe {
	LIST_ENTRY(probe) link;
	struct prober *prober;
	CURL *easy;
	struct curl_slist *headers;
	probe_fn fn;
	void *arg;
	enum probe_state state;
	bool tcp;
	uint16_t status_min, status_max;
	uint64_t deadline_us;
	uint32_t retries; /* left */
	bool failed;      /* a try before this one, with `last` */
	struct check_result last;

	/* Of the present try. */
	int socket_errno;
	size_t header_bytes, body_bytes;
	bool answered; /* status line and headers are whole */
	bool cut;      /* enough of the body was read */
};

struct watch {
	LIST_ENTRY(watch) link;
	uv_poll_t poll;
	struct prober *prober;
	curl_socket_t fd;
	int events; /* UV_READABLE, UV_WRITABLE */
};

LIST_HEAD(probe_list, probe);
LIST_HEAD(watch_list, watch);

struct prober {
	uv_loop_t *loop;
	uv_timer_t timer;
	CURLM *multi; /* NULL: closed */
	struct probe_list running, idle;
	struct watch_list watches;
	unsigned nidle;
	unsigned nhandles; /* not yet closed by the loop: the timer and the watches */
};

static uint64_t now_us(void)
{
	return uv_hrtime() / 1000;
}

static void prober_put(struct prober *p)
{
	if (--p->nhandles)
		return;
	free(p);
	curl_global_cleanup();
}

/* --- what curl asks of the loop --- */

static void reap(struct prober *p);

static void watch_closed(uv_handle_t *h)
{
	struct watch *w = h->data;

	prober_put(w->prober);
	free(w);
}

static void watch_close(struct watch *w)
{
	LIST_REMOVE(w, link);
	uv_close((uv_handle_t *)&w->poll, watch_closed);
}

static void on_ready(uv_poll_t *poll, int status, int events)
{
	struct watch *w = poll->data;
	struct prober *p = w->prober;
	int running, what = 0;

	/*
	 * The loop stops watching a socket that has an error pending. There may be an answer before
	 * the error: let curl read both.
	 */
	if (status < 0) {
		uv_poll_start(&w->poll, w->events, on_ready);
		events = UV_READABLE | UV_WRITABLE;
	}
	if (events & UV_READABLE)
		what |= CURL_CSELECT_IN;
	if (events & UV_WRITABLE)
		what |= CURL_CSELECT_OUT;
	/* May close w. */
	curl_multi_socket_action(p->multi, w->fd, what, &running);
	reap(p);
}

static void on_timer(uv_timer_t *timer)
{
	struct prober *p = timer->data;
	int running;

	curl_multi_socket_action(p->multi, CURL_SOCKET_TIMEOUT, 0, &running);
	reap(p);
}

static struct watch *watch_open(struct prober *p, curl_socket_t fd)
{
	struct watch *w = calloc(1, sizeof(*w));

	if (!w)
		return NULL;
	if (uv_poll_init(p->loop, &w->poll, fd)) {
		free(w);
		return NULL;
	}
	w->poll.data = w;
	w->prober = p;
	w->fd = fd;
	p->nhandles++;
	LIST_INSERT_HEAD(&p->watches, w, link);
	curl_multi_assign(p->multi, fd, w);
	return w;
}

/* -1 makes curl end every transfer with CURLE_ABORTED_BY_CALLBACK: CHECK_INTERNAL, as it should. */
static int watch_socket(CURL *easy, curl_socket_t fd, int what, void *arg, void *known)
{
	struct prober *p = arg;
	struct watch *w = known;

	(void)easy;
	if (what == CURL_POLL_REMOVE) {
		if (w)
			watch_close(w);
		return 0;
	}
	if (!w)
		w = watch_open(p, fd);
	if (!w)
		return -1;

	w->events =
		(what & CURL_POLL_IN ? UV_READABLE : 0) | (what & CURL_POLL_OUT ? UV_WRITABLE : 0);
	return uv_poll_start(&w->poll, w->events, on_ready) ? -1 : 0;
}

static int set_timer(CURLM *multi, long timeout_ms, void *arg)
{
	struct prober *p = arg;

	(void)multi;
	if (timeout_ms < 0)
		uv_timer_stop(&p->timer);
	else
		uv_timer_start(&p->timer, on_timer, (uint64_t)timeout_ms, 0);
	return 0;
}

/* --- what curl tells of one transfer --- */

static curl_socket_t open_socket(void *arg, curlsocktype purpose, struct curl_sockaddr *addr)
{
	struct probe *probe = arg;
	int fd;

	(void)purpose;
	fd = socket(addr->family, addr->socktype | SOCK_CLOEXEC, addr->protocol);
	if (fd < 0) {
		probe->socket_errno = errno;
		return CURL_SOCKET_BAD;
	}
	return fd;
}

static bool status_fits(const struct probe *probe, long status)
{
	return status >= probe->status_min && status <= probe->status_max;
}

/* 0 ends the transfer. */
/* NOLINTNEXTLINE(readability-non-const-parameter): libcurl's prototype */
static size_t take_header(char *line, size_t size, size_t n, void *arg)
{
	struct probe *probe = arg;
	long status = 0;

	n *= size;
	probe->header_bytes += n;
	if (probe->header_bytes > HEADER_LIMIT)
		return 0;
	if (n <= 2 && (line[0] == '\r' || line[0] == '\n')) {
		curl_easy_getinfo(probe->easy, CURLINFO_RESPONSE_CODE, &status);
		probe->answered = status >= 200;
	}
	return probe->answered && !status_fits(probe, status) ? 0 : n;
}

/* NOLINTNEXTLINE(readability-non-const-parameter): libcurl's prototype */
static size_t take_body(char *data, size_t size, size_t n, void *arg)
{
	struct probe *probe = arg;

	(void)data;
	n *= size;
	probe->body_bytes += n;
	probe->cut = probe->body_bytes >= BODY_LIMIT;
	return probe->cut ? 0 : n;
}

static enum check_outcome errno_outcome(int err)
{
	static const struct {
		int err;
		enum check_outcome outcome;
	} table[] = {
		{ ECONNREFUSED, CHECK_CONNECT_REFUSED },
		{ ETIMEDOUT, CHECK_CONNECT_TIMEOUT },
		{ ECONNRESET, CHECK_RESET },
		{ EPIPE, CHECK_RESET },
		{ EHOSTUNREACH, CHECK_UNREACHABLE },
		{ ENETUNREACH, CHECK_UNREACHABLE },
		{ EHOSTDOWN, CHECK_UNREACHABLE },
		{ ENETDOWN, CHECK_UNREACHABLE },
		{ ENONET, CHECK_UNREACHABLE },
		{ EPROTO, CHECK_UNREACHABLE },      /* ICMP parameter problem */
		{ ENOPROTOOPT, CHECK_UNREACHABLE }, /* ICMP protocol unreachable */
		{ EACCES, CHECK_UNREACHABLE },      /* a prohibit route */
		{ EINVAL, CHECK_UNREACHABLE },      /* a blackhole route */
	};

	for (size_t i = 0; i < sizeof(table) / sizeof(table[0]); i++) {
		if (table[i].err == err)
			return table[i].outcome;
	}
	return CHECK_INTERNAL;
}

/*
 * A connect to a free local port can meet itself, when the kernel happens to choose that very port
 * as the source. Nobody listens there.
 */
static bool met_itself(CURL *easy)
{
	const char *local = NULL, *remote = NULL;
	long local_port = 0, remote_port = -1;

	curl_easy_getinfo(easy, CURLINFO_LOCAL_PORT, &local_port);
	curl_easy_getinfo(easy, CURLINFO_PRIMARY_PORT, &remote_port);
	if (local_port != remote_port)
		return false;
	curl_easy_getinfo(easy, CURLINFO_LOCAL_IP, &local);
	curl_easy_getinfo(easy, CURLINFO_PRIMARY_IP, &remote);
	return local && remote && !strcmp(local, remote);
}

static enum check_outcome failed_transfer(const struct probe *probe, CURLcode code)
{
	curl_off_t connect_us = 0;
	long err = 0;

	curl_easy_getinfo(probe->easy, CURLINFO_CONNECT_TIME_T, &connect_us);
	curl_easy_getinfo(probe->easy, CURLINFO_OS_ERRNO, &err);
	switch ((int)code) {
	case CURLE_OPERATION_TIMEDOUT:
		return connect_us ? CHECK_TIMEOUT : CHECK_CONNECT_TIMEOUT;
	case CURLE_COULDNT_CONNECT:
		return probe->socket_errno ? CHECK_INTERNAL : errno_outcome((int)err);
	case CURLE_GOT_NOTHING:
	case CURLE_PARTIAL_FILE:
	case CURLE_SEND_ERROR:
		return CHECK_RESET;
	case CURLE_RECV_ERROR:
		return err ? CHECK_RESET : CHECK_PROTOCOL; /* the latter: malformed chunks */
	case CURLE_WEIRD_SERVER_REPLY:
	case CURLE_UNSUPPORTED_PROTOCOL: /* HTTP/0.9, or no HTTP at all */
	case CURLE_HTTP_RETURNED_ERROR:
	case CURLE_BAD_CONTENT_ENCODING:
	case CURLE_WRITE_ERROR: /* we refused endless headers */
		return CHECK_PROTOCOL;
	case CURLE_OUT_OF_MEMORY: /* what curl says of an endless header line */
		return connect_us ? CHECK_PROTOCOL : CHECK_INTERNAL;
	}
	return CHECK_INTERNAL;
}

static enum check_outcome outcome_of(const struct probe *probe, CURLcode code, long status)
{
	if (probe->tcp && code == CURLE_OK)
		return met_itself(probe->easy) ? CHECK_CONNECT_REFUSED : CHECK_OK;
	if (probe->answered && !status_fits(probe, status))
		return CHECK_STATUS;
	if (code == CURLE_OK)
		return probe->answered ? CHECK_OK : CHECK_RESET;
	if (probe->answered && probe->cut)
		return CHECK_OK;
	return failed_transfer(probe, code);
}

static struct check_result result_of(const struct probe *probe, CURLcode code)
{
	struct check_result r = { 0 };
	curl_off_t total_us = 0;
	long status = 0;

	curl_easy_getinfo(probe->easy, CURLINFO_RESPONSE_CODE, &status);
	curl_easy_getinfo(probe->easy, CURLINFO_TOTAL_TIME_T, &total_us);
	r.outcome = outcome_of(probe, code, status);
	r.status = probe->answered ? (uint16_t)status : 0;
	r.duration_us = (uint32_t)total_us;
	r.at_ms = now_us() / 1000;
	return r;
}

/* --- a probe's life --- */

static void probe_free(struct probe *probe)
{
	if (!probe)
		return;
	curl_easy_cleanup(probe->easy);
	curl_slist_free_all(probe->headers);
	free(probe);
}

/* Options that hold for every check. Strings "": this much and nothing from the environment. */
static int probe_set_options(struct probe *probe)
{
	CURL *e = probe->easy;
	unsigned failed = 0;

	failed |= curl_easy_setopt(e, CURLOPT_PRIVATE, probe);
	failed |= curl_easy_setopt(e, CURLOPT_PROTOCOLS_STR, "http");
	failed |= curl_easy_setopt(e, CURLOPT_HTTP_VERSION, (long)CURL_HTTP_VERSION_1_1);
	failed |= curl_easy_setopt(e, CURLOPT_USERAGENT, "zddlb-check/" ZDDLB_VERSION);
	failed |= curl_easy_setopt(e, CURLOPT_PATH_AS_IS, 1L);
	failed |= curl_easy_setopt(e, CURLOPT_PROXY, "");
	failed |= curl_easy_setopt(e, CURLOPT_NOPROXY, "*");
	failed |= curl_easy_setopt(e, CURLOPT_NOSIGNAL, 1L);
	failed |= curl_easy_setopt(e, CURLOPT_TCP_NODELAY, 0L); /* one write: one call less */
	failed |= curl_easy_setopt(e, CURLOPT_FRESH_CONNECT, 1L);
	failed |= curl_easy_setopt(e, CURLOPT_FORBID_REUSE, 1L);
	failed |= curl_easy_setopt(e, CURLOPT_BUFFERSIZE, RECEIVE_BYTES);
	failed |= curl_easy_setopt(e, CURLOPT_OPENSOCKETFUNCTION, open_socket);
	failed |= curl_easy_setopt(e, CURLOPT_OPENSOCKETDATA, probe);
	failed |= curl_easy_setopt(e, CURLOPT_HEADERFUNCTION, take_header);
	failed |= curl_easy_setopt(e, CURLOPT_HEADERDATA, probe);
	failed |= curl_easy_setopt(e, CURLOPT_WRITEFUNCTION, take_body);
	failed |= curl_easy_setopt(e, CURLOPT_WRITEDATA, probe);
	return failed ? -ENOMEM : 0;
}

static struct probe *probe_get(struct prober *p)
{
	struct probe *probe = LIST_FIRST(&p->idle);

	if (probe) {
		LIST_REMOVE(probe, link);
		p->nidle--;
		return probe;
	}
	probe = calloc(1, sizeof(*probe));
	if (!probe)
		return NULL;
	probe->prober = p;
	probe->easy = curl_easy_init();
	if (!probe->easy || probe_set_options(probe)) {
		probe_free(probe);
		return NULL;
	}
	return probe;
}

/* A handle keeps its last errno for good; the next failure may have none of its own. */
static long last_errno(const struct probe *probe)
{
	long err = 0;

	curl_easy_getinfo(probe->easy, CURLINFO_OS_ERRNO, &err);
	return err;
}

static void probe_put(struct probe *probe)
{
	struct prober *p = probe->prober;

	if (!p->multi || p->nidle == POOL_LIMIT || last_errno(probe)) {
		probe_free(probe);
		return;
	}
	probe->state = PROBE_IDLE;
	LIST_INSERT_HEAD(&p->idle, probe, link);
	p->nidle++;
}

static int add_header(struct probe *probe, const char *line)
{
	struct curl_slist *list = curl_slist_append(probe->headers, line);

	if (!list)
		return -ENOMEM;
	probe->headers = list;
	return 0;
}

static int set_headers(struct probe *probe, const struct health_check *check)
{
	char host[sizeof("Host: ") + MODEL_PATH_LEN];
	int err;

	curl_slist_free_all(probe->headers);
	probe->headers = NULL;
	/* The one who closes first keeps the TIME_WAIT: let it be the server. */
	err = add_header(probe, "Connection: close");
	if (!err && check->host[0]) {
		snprintf(host, sizeof(host), "Host: %s", check->host);
		err = add_header(probe, host);
	}
	if (!err && curl_easy_setopt(probe->easy, CURLOPT_HTTPHEADER, probe->headers))
		err = -ENOMEM;
	return err;
}

static int set_target(struct probe *probe, const struct endpoint *ep,
		      const struct health_check *check)
{
	struct endpoint to = *ep;
	char addr[ENDPOINT_TEXT_LEN], url[URL_LEN];

	if (check->port)
		to.port = check->port;
	/* The slash keeps a path from being read as part of the host. */
	snprintf(url, sizeof(url), "http://%s%s%s", endpoint_text(&to, addr),
		 check->path[0] == '/' ? "" : "/", check->path);
	if (curl_easy_setopt(probe->easy, CURLOPT_URL, url) ||
	    curl_easy_setopt(probe->easy, CURLOPT_CONNECT_ONLY, probe->tcp ? 1L : 0L))
		return -ENOMEM;
	return set_headers(probe, check);
}

/* One try, with the time that is left. */
static int probe_try(struct probe *probe)
{
	uint64_t now = now_us();
	long left_ms = now < probe->deadline_us ? (long)((probe->deadline_us - now) / 1000) : 0;

	probe->socket_errno = 0;
	probe->header_bytes = 0;
	probe->body_bytes = 0;
	probe->answered = false;
	probe->cut = false;
	/* 0 would mean no limit. */
	if (curl_easy_setopt(probe->easy, CURLOPT_TIMEOUT_MS, left_ms ? left_ms : 1L))
		return -ENOMEM;
	return curl_multi_add_handle(probe->prober->multi, probe->easy) ? -ENOMEM : 0;
}

static int probe_try_again(struct probe *probe)
{
	CURL *fresh;

	if (last_errno(probe)) {
		fresh = curl_easy_duphandle(probe->easy);
		if (!fresh)
			return -ENOMEM;
		curl_easy_cleanup(probe->easy);
		probe->easy = fresh;
	}
	return probe_try(probe);
}

static bool wants_retry(struct probe *probe, const struct check_result *r)
{
	if (r->outcome == CHECK_OK || !probe->retries || now_us() + 1000 >= probe->deadline_us)
		return false;
	probe->retries--;
	probe->failed = true;
	probe->last = *r;
	return true;
}

static void probe_done(struct probe *probe, CURLcode code)
{
	struct check_result r = result_of(probe, code);

	/* A repeated try had less than the full time: that it ran out of it says nothing new. */
	if (probe->failed && code == CURLE_OPERATION_TIMEDOUT)
		r = probe->last;

	curl_multi_remove_handle(probe->prober->multi, probe->easy);
	if (wants_retry(probe, &r) && !probe_try_again(probe))
		return;

	LIST_REMOVE(probe, link);
	probe->state = PROBE_REPORTING;
	probe->fn(probe->arg, &r);
	probe_put(probe);
}

/* Callbacks may start, cancel or close anything: take one message at a time. */
static void reap(struct prober *p)
{
	struct probe *probe;
	CURLMsg *msg;
	int left;

	while (p->multi && (msg = curl_multi_info_read(p->multi, &left))) {
		if (msg->msg != CURLMSG_DONE)
			continue;
		curl_easy_getinfo(msg->easy_handle, CURLINFO_PRIVATE, &probe);
		probe_done(probe, msg->data.result);
	}
}

struct probe *probe_start(struct prober *p, const struct endpoint *ep,
			  const struct health_check *check, probe_fn fn, void *arg)
{
	struct probe *probe = probe_get(p);

	if (!probe)
		return NULL;
	probe->fn = fn;
	probe->arg = arg;
	probe->tcp = check->type == CHECK_TCP;
	probe->status_min = check->status_min;
	probe->status_max = check->status_max;
	probe->deadline_us = now_us() + (uint64_t)check->timeout_ms * 1000;
	probe->retries = check->retries;
	probe->failed = false;
	if (set_target(probe, ep, check) || probe_try(probe)) {
		probe_free(probe);
		return NULL;
	}
	probe->state = PROBE_RUNNING;
	LIST_INSERT_HEAD(&p->running, probe, link);
	return probe;
}

void probe_cancel(struct probe *probe)
{
	if (!probe || probe->state != PROBE_RUNNING)
		return;
	curl_multi_remove_handle(probe->prober->multi, probe->easy);
	LIST_REMOVE(probe, link);
	probe_put(probe);
}

static void timer_closed(uv_handle_t *h)
{
	prober_put(h->data);
}

int prober_open(struct prober **ret, uv_loop_t *loop)
{
	struct prober *p = NULL;
	int err = -ENOMEM;

	if (curl_global_init(CURL_GLOBAL_NOTHING))
		return -ENOMEM;
	p = calloc(1, sizeof(*p));
	if (!p)
		goto out;
	LIST_INIT(&p->running);
	LIST_INIT(&p->idle);
	LIST_INIT(&p->watches);
	p->loop = loop;
	p->multi = curl_multi_init();
	if (!p->multi)
		goto out;
	if (curl_multi_setopt(p->multi, CURLMOPT_SOCKETFUNCTION, watch_socket) ||
	    curl_multi_setopt(p->multi, CURLMOPT_SOCKETDATA, p) ||
	    curl_multi_setopt(p->multi, CURLMOPT_TIMERFUNCTION, set_timer) ||
	    curl_multi_setopt(p->multi, CURLMOPT_TIMERDATA, p))
		goto out;
	err = uv_timer_init(loop, &p->timer);
	if (err)
		goto out;

	p->timer.data = p;
	p->nhandles = 1;
	*ret = p;
	p = NULL;
out:
	if (p)
		curl_multi_cleanup(p->multi);
	free(p);
	if (err)
		curl_global_cleanup();
	return err;
}

static void free_probes(struct probe_list *list)
{
	struct probe *probe;

	while ((probe = LIST_FIRST(list))) {
		LIST_REMOVE(probe, link);
		probe_free(probe);
	}
}

void prober_close(struct prober *p)
{
	struct probe *probe;

	if (!p)
		return;
	for (probe = LIST_FIRST(&p->running); probe; probe = LIST_NEXT(probe, link))
		curl_multi_remove_handle(p->multi, probe->easy);
	curl_multi_cleanup(p->multi);
	p->multi = NULL;
	free_probes(&p->running);
	free_probes(&p->idle);
	while (!LIST_EMPTY(&p->watches))
		watch_close(LIST_FIRST(&p->watches));
	uv_close((uv_handle_t *)&p->timer, timer_closed);
}
