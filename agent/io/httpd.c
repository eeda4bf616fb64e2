/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * One libmicrohttpd daemon a listener, without a thread of its own: its epoll descriptor is watched
 * by the loop, and its own deadline (MHD_get_timeout) by a timer. MHD must run after each of the
 * two, or a request that lies already in its buffers waits for the next packet.
 */
#include "httpd.h"

#include <errno.h>
#include <microhttpd.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "httpd_listen.h"
#include "httpd_request.h"
#include "log.h"

#define MAX_CONNECTIONS     256
#define MAX_PER_ADDRESS     128
#define IDLE_TIMEOUT_S      10
#define EXCHANGE_TIMEOUT_MS 30000
#define SWEEP_MS            1000
#define CONNECTION_MEMORY   ((size_t)64 << 10)

struct listener {
	struct httpd *httpd;
	struct MHD_Daemon *daemon;
	uv_poll_t poll;
	uv_timer_t deadline; /* MHD's own */
	uv_timer_t sweep;
	struct conn *conns;
	bool over_socket;
};

/* A connection, known from accept to close. */
struct conn {
	struct listener *listener;
	struct conn *next, **link;
	int fd;
	uint64_t since_ms; /* accept, or the end of the last exchange */
};

struct httpd {
	uv_loop_t *loop;
	struct http_service service;
	struct socket_file file;
	struct listener listeners[2];
	unsigned nlisteners, nhandles;
};

static void on_closed(uv_handle_t *handle)
{
	struct listener *l = handle->data;

	if (!--l->httpd->nhandles)
		free(l->httpd);
}

static void arm(struct listener *l);

static void run(struct listener *l)
{
	MHD_run(l->daemon);
	arm(l);
}

static void on_readable(uv_poll_t *poll, int status, int events)
{
	(void)status;
	(void)events;
	run(poll->data);
}

static void on_deadline(uv_timer_t *timer)
{
	run(timer->data);
}

static void arm(struct listener *l)
{
	MHD_UNSIGNED_LONG_LONG ms;

	if (MHD_get_timeout(l->daemon, &ms) == MHD_YES)
		uv_timer_start(&l->deadline, on_deadline, ms, 0);
	else
		uv_timer_stop(&l->deadline);
}

/*
 * MHD's timeout counts from the last byte, so a byte a second would hold a connection for ever.
 * Shutting the socket down makes MHD see its end and close it in its own time.
 *
 * At its limit of connections MHD looks away from the listening socket, and looks at it again only
 * in the run after one has ended. If all have ended nothing else would cause that run.
 */
static void on_sweep(uv_timer_t *timer)
{
	struct listener *l = timer->data;
	uint64_t now = uv_now(timer->loop);

	for (struct conn *c = l->conns; c; c = c->next) {
		if (now - c->since_ms >= EXCHANGE_TIMEOUT_MS)
			shutdown(c->fd, SHUT_RDWR);
	}
	if (!l->conns)
		uv_timer_stop(timer);
	run(l);
}

static void on_connection(void *cls, struct MHD_Connection *connection, void **conn_cls,
			  enum MHD_ConnectionNotificationCode code)
{
	const union MHD_ConnectionInfo *info;
	struct listener *l = cls;
	struct conn *c = *conn_cls;

	if (code == MHD_CONNECTION_NOTIFY_CLOSED) {
		if (!c)
			return;
		*c->link = c->next;
		if (c->next)
			c->next->link = c->link;
		free(c);
		*conn_cls = NULL;
		return;
	}

	info = MHD_get_connection_info(connection, MHD_CONNECTION_INFO_CONNECTION_FD);
	c = info ? calloc(1, sizeof(*c)) : NULL;
	if (!c)
		return;
	*c = (struct conn){ l, l->conns, &l->conns, info->connect_fd, uv_now(l->httpd->loop) };
	if (c->next)
		c->next->link = &c->next;
	l->conns = c;
	*conn_cls = c;
	if (!uv_is_active((uv_handle_t *)&l->sweep))
		uv_timer_start(&l->sweep, on_sweep, SWEEP_MS, SWEEP_MS);
}

static void on_completed(void *cls, struct MHD_Connection *connection, void **req_cls,
			 enum MHD_RequestTerminationCode code)
{
	const union MHD_ConnectionInfo *info;
	struct listener *l = cls;
	struct conn *c;

	(void)code;
	request_free(*req_cls);
	*req_cls = NULL;
	info = MHD_get_connection_info(connection, MHD_CONNECTION_INFO_SOCKET_CONTEXT);
	c = info ? info->socket_context : NULL;
	if (c)
		c->since_ms = uv_now(l->httpd->loop);
}

static void *on_uri(void *cls, const char *uri, struct MHD_Connection *connection)
{
	struct listener *l = cls;

	return request_new(&l->httpd->service, uri, connection, l->over_socket);
}

static enum MHD_Result on_request(void *cls, struct MHD_Connection *connection, const char *url,
				  const char *method, const char *version, const char *data,
				  size_t *len, void **req_cls)
{
	(void)cls;
	(void)connection;
	(void)url;
	(void)version;
	return request_feed(*req_cls, method, data, len) ? MHD_NO : MHD_YES;
}

static void __attribute__((format(printf, 2, 0))) on_log(void *cls, const char *fmt, va_list ap)
{
	char text[512];
	int len;

	(void)cls;
	len = vsnprintf(text, sizeof(text), fmt, ap);
	if (len > 0)
		text[strcspn(text, "\n")] = '\0';
	log_debug("http: %s", len > 0 ? text : "?");
}

static int start_daemon(struct listener *l, int fd)
{
	const union MHD_DaemonInfo *info;
	struct MHD_OptionItem per_address[] = {
		{ MHD_OPTION_PER_IP_CONNECTION_LIMIT, MAX_PER_ADDRESS, NULL },
		{ MHD_OPTION_END, 0, NULL },
	};

	/* Of a Unix socket all peers look the same. */
	if (l->over_socket)
		per_address[0].option = MHD_OPTION_END;
	l->daemon = MHD_start_daemon(
		MHD_USE_EPOLL | MHD_USE_ERROR_LOG, 0, NULL, NULL, on_request, l,
		MHD_OPTION_EXTERNAL_LOGGER, on_log, l, MHD_OPTION_LISTEN_SOCKET, fd,
		MHD_OPTION_CONNECTION_LIMIT, (unsigned)MAX_CONNECTIONS,
		MHD_OPTION_CONNECTION_TIMEOUT, (unsigned)IDLE_TIMEOUT_S,
		MHD_OPTION_CONNECTION_MEMORY_LIMIT, CONNECTION_MEMORY, MHD_OPTION_STRICT_FOR_CLIENT,
		1, MHD_OPTION_URI_LOG_CALLBACK, on_uri, l, MHD_OPTION_NOTIFY_COMPLETED,
		on_completed, l, MHD_OPTION_NOTIFY_CONNECTION, on_connection, l, MHD_OPTION_ARRAY,
		per_address, MHD_OPTION_END);
	if (!l->daemon)
		return -ENOMEM;
	info = MHD_get_daemon_info(l->daemon, MHD_DAEMON_INFO_EPOLL_FD);
	return info ? info->epoll_fd : -EIO;
}

/* `fd` belongs to the daemon once there is one. */
static int add_listener(struct httpd *h, int fd, bool over_socket)
{
	struct listener *l = &h->listeners[h->nlisteners];
	int epoll_fd, err;

	l->httpd = h;
	l->over_socket = over_socket;
	epoll_fd = start_daemon(l, fd);
	if (!l->daemon)
		close(fd);
	else
		h->nlisteners++;
	if (epoll_fd < 0)
		return epoll_fd;

	uv_timer_init(h->loop, &l->deadline);
	uv_timer_init(h->loop, &l->sweep);
	l->deadline.data = l->sweep.data = l;
	h->nhandles += 2;
	err = uv_poll_init(h->loop, &l->poll, epoll_fd);
	if (err)
		return err;
	l->poll.data = l;
	h->nhandles++;
	err = uv_poll_start(&l->poll, UV_READABLE, on_readable);
	if (!err)
		arm(l);
	return err;
}

int httpd_open(struct httpd **ret, uv_loop_t *loop, const char *socket_path,
	       const struct endpoint *tcp, httpd_handler fn, void *arg, struct diag *d)
{
	struct httpd *h;
	int fd, err;

	h = calloc(1, sizeof(*h));
	if (!h)
		return diag_set(d, ENOMEM, "no_memory", "", "out of memory");
	h->loop = loop;
	h->service = (struct http_service){ .fn = fn, .arg = arg };

	err = listen_unix(&fd, socket_path, &h->file, d);
	if (!err) {
		err = add_listener(h, fd, true);
		if (err)
			diag_set(d, -err, "listen", "/admin/socket", "HTTP server: %s",
				 strerror(-err));
	}
	if (!err && tcp) {
		err = listen_tcp(&fd, tcp, d);
		if (!err) {
			err = add_listener(h, fd, false);
			if (err)
				diag_set(d, -err, "listen", "/admin/listen", "HTTP server: %s",
					 strerror(-err));
		}
	}
	if (err) {
		httpd_close(h);
		return err;
	}
	*ret = h;
	return 0;
}

static void stop(struct listener *l)
{
	uv_handle_t *handles[] = { (uv_handle_t *)&l->poll, (uv_handle_t *)&l->deadline,
				   (uv_handle_t *)&l->sweep };

	/* The loop must let go of MHD's descriptor before MHD closes it. */
	if (handles[0]->data)
		uv_poll_stop(&l->poll);
	MHD_stop_daemon(l->daemon);
	for (size_t i = 0; i < sizeof(handles) / sizeof(handles[0]); i++) {
		if (handles[i]->data)
			uv_close(handles[i], on_closed);
	}
}

void httpd_close(struct httpd *h)
{
	if (!h)
		return;
	for (unsigned i = 0; i < h->nlisteners; i++)
		stop(&h->listeners[i]);
	listen_remove(&h->file);
	if (!h->nhandles)
		free(h);
}
