/* SPDX-License-Identifier: GPL-2.0-only */
/* libcurl over the agent's socket. See cli_http.h. */
#include "cli_http.h"

#include <errno.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include <curl/curl.h>
#include <json-c/json.h>

#define MAX_ANSWER         (64u << 20)
#define CONNECT_TIMEOUT_MS 3000L

struct cli_http {
	CURL *curl;
	struct curl_slist *headers;
	char socket[256]; /* "": by URL */
	char base[512];
	uint64_t timeout_ms;
	char *data;
	size_t len, room;
};

static size_t take_data(char *ptr, size_t size, size_t n, void *arg)
{
	struct cli_http *h = arg;
	size_t len = size * n;

	if (h->len + len + 1 > h->room) {
		size_t room = (h->len + len + 1) * 2;
		char *data = room <= MAX_ANSWER ? realloc(h->data, room) : NULL;

		if (!data)
			return 0;
		h->data = data;
		h->room = room;
	}
	memcpy(h->data + h->len, ptr, len);
	h->len += len;
	h->data[h->len] = '\0';
	return len;
}

static int set_target(struct cli_http *h, const char *socket, const char *server, char *problem)
{
	size_t len;

	if (!server) {
		if (strlen(socket) >= 108) {
			snprintf(problem, CLI_PROBLEM_LEN,
				 "the path of the socket is too long: %.120s", socket);
			return -EINVAL;
		}
		snprintf(h->socket, sizeof(h->socket), "%s", socket);
		snprintf(h->base, sizeof(h->base), "http://zddlb");
		return 0;
	}
	if (strncmp(server, "http://", 7) != 0 && strncmp(server, "https://", 8) != 0) {
		snprintf(problem, CLI_PROBLEM_LEN,
			 "--server %.200s is no URL; give one like http://127.0.0.1:9090", server);
		return -EINVAL;
	}
	snprintf(h->base, sizeof(h->base), "%s", server);
	len = strlen(h->base);
	while (len && h->base[len - 1] == '/')
		h->base[--len] = '\0';
	return 0;
}

int cli_http_open(struct cli_http **ret, const char *socket, const char *server,
		  uint64_t timeout_ms, char problem[CLI_PROBLEM_LEN])
{
	struct cli_http *h = calloc(1, sizeof(*h));
	int err = -ENOMEM;

	snprintf(problem, CLI_PROBLEM_LEN, "out of memory");
	if (!h)
		goto out;
	h->timeout_ms = timeout_ms;
	h->curl = curl_easy_init();
	h->headers = curl_slist_append(NULL, "Content-Type: application/json");
	if (h->headers)
		/* A body must not wait for "100 Continue". */
		h->headers = curl_slist_append(h->headers, "Expect:");
	if (!h->curl || !h->headers)
		goto out;
	err = set_target(h, socket, server, problem);
	if (err)
		goto out;
	*ret = h;
	h = NULL;
out:
	cli_http_close(h);
	return err;
}

void cli_http_close(struct cli_http *h)
{
	if (!h)
		return;
	curl_slist_free_all(h->headers);
	curl_easy_cleanup(h->curl);
	free(h->data);
	free(h);
}

static void explain_socket(const struct cli_http *h, const char *cause, char *problem)
{
	const char *cure = "Start the agent (systemctl start zddlbd), or name another socket with "
			   "--socket or ZDDLB_SOCKET.";
	struct stat st;

	if (stat(h->socket, &st)) {
		cause = errno == ENOENT ? "there is no such socket" : strerror(errno);
		if (errno == EACCES)
			cure = "Run it as root, or as a member of the socket's group.";
	} else if (!S_ISSOCK(st.st_mode)) {
		cause = "that is not a socket";
	} else if (access(h->socket, W_OK)) {
		cause = "permission denied";
		cure = "Run it as root, or as a member of the socket's group.";
	}
	snprintf(problem, CLI_PROBLEM_LEN, "no agent answers at %.108s: %.100s.\n%s", h->socket,
		 cause, cure);
}

static int explain(const struct cli_http *h, CURLcode code, const char *detail, char *problem)
{
	const char *cause = *detail ? detail : curl_easy_strerror(code);

	if (code == CURLE_OPERATION_TIMEDOUT) {
		snprintf(
			problem, CLI_PROBLEM_LEN,
			"the agent at %.200s did not answer in time: %.100s.\n"
			"Look at its log (journalctl -u zddlbd), or give it longer with --timeout.",
			h->socket[0] ? h->socket : h->base, cause);
		return -ECONNREFUSED;
	}
	if (code == CURLE_WRITE_ERROR) {
		snprintf(problem, CLI_PROBLEM_LEN, "the answer is too large");
		return -EPROTO;
	}
	if (h->socket[0])
		explain_socket(h, cause, problem);
	else
		snprintf(problem, CLI_PROBLEM_LEN,
			 "no agent answers at %.200s: %.100s.\n"
			 "Is that the \"listen\" address of its config?",
			 h->base, cause);
	return -ECONNREFUSED;
}

static CURLcode perform(struct cli_http *h, const char *method, const char *url, const char *body,
			size_t len, char *detail)
{
	curl_easy_reset(h->curl);
	detail[0] = '\0';
	curl_easy_setopt(h->curl, CURLOPT_URL, url);
	curl_easy_setopt(h->curl, CURLOPT_CUSTOMREQUEST, method);
	curl_easy_setopt(h->curl, CURLOPT_HTTPHEADER, h->headers);
	curl_easy_setopt(h->curl, CURLOPT_WRITEFUNCTION, take_data);
	curl_easy_setopt(h->curl, CURLOPT_WRITEDATA, h);
	curl_easy_setopt(h->curl, CURLOPT_ERRORBUFFER, detail);
	curl_easy_setopt(h->curl, CURLOPT_NOSIGNAL, 1L);
	curl_easy_setopt(h->curl, CURLOPT_PATH_AS_IS, 1L);
	curl_easy_setopt(h->curl, CURLOPT_NOPROXY, "*");
	curl_easy_setopt(h->curl, CURLOPT_PROTOCOLS_STR, "http,https");
	curl_easy_setopt(h->curl, CURLOPT_CONNECTTIMEOUT_MS, CONNECT_TIMEOUT_MS);
	curl_easy_setopt(h->curl, CURLOPT_TIMEOUT_MS, (long)h->timeout_ms);
	if (h->socket[0])
		curl_easy_setopt(h->curl, CURLOPT_UNIX_SOCKET_PATH, h->socket);
	if (body) {
		curl_easy_setopt(h->curl, CURLOPT_POSTFIELDSIZE_LARGE, (curl_off_t)len);
		curl_easy_setopt(h->curl, CURLOPT_POSTFIELDS, body);
	}
	return curl_easy_perform(h->curl);
}

int cli_http_send(struct cli_http *h, const char *method, const char *path, const char *body,
		  size_t len, struct cli_reply *ret, char problem[CLI_PROBLEM_LEN])
{
	struct cli_reply r = { 0 };
	char detail[CURL_ERROR_SIZE], url[2048];
	CURLcode code;

	h->len = 0;
	snprintf(url, sizeof(url), "%s%s", h->base, path);
	code = perform(h, method, url, body, len, detail);
	if (code != CURLE_OK)
		return explain(h, code, detail, problem);

	curl_easy_getinfo(h->curl, CURLINFO_RESPONSE_CODE, &r.status);
	if (h->len)
		r.json = json_tokener_parse(h->data);
	*ret = r;
	return 0;
}

void cli_reply_fini(struct cli_reply *r)
{
	json_object_put(r->json);
	r->json = NULL;
}

static bool is_plain(char c)
{
	return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9') ||
	       (c && strchr("-._~:[]", c));
}

int cli_http_path(char *buf, size_t room, const char *fmt, ...)
{
	size_t n = 0;
	va_list ap;

	va_start(ap, fmt);
	for (; *fmt && n + 4 < room; fmt++) {
		if (fmt[0] != '%' || fmt[1] != 's') {
			buf[n++] = *fmt;
			continue;
		}
		fmt++;
		for (const char *arg = va_arg(ap, const char *); *arg && n + 4 < room; arg++) {
			if (is_plain(*arg))
				buf[n++] = *arg;
			else
				n += (size_t)snprintf(buf + n, room - n, "%%%02X",
						      (unsigned char)*arg);
		}
	}
	va_end(ap);
	buf[n] = '\0';
	return n + 4 < room ? 0 : -EINVAL;
}
