/* SPDX-License-Identifier: GPL-2.0-only */
/* One line an event on stderr: a syslog priority for the journal, else the level in words. */
#include "log.h"

#include <errno.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#define MESSAGE_LEN 2048
#define PREFIX_LEN  16

static const struct {
	const char *name;
	char priority; /* sd-daemon(3) */
} levels[] = {
	[LOG_ERROR_LEVEL] = { "error", '3' },
	[LOG_WARN_LEVEL] = { "warn", '4' },
	[LOG_INFO_LEVEL] = { "info", '6' },
	[LOG_DEBUG_LEVEL] = { "debug", '7' },
};

static enum log_level threshold = LOG_INFO_LEVEL;

void log_set_level(enum log_level level)
{
	threshold = level;
}

/* JOURNAL_STREAM is inherited by children whose stderr may be something else: compare. */
static bool stderr_is_journal(void)
{
	const char *env = getenv("JOURNAL_STREAM");
	unsigned long long dev, ino;
	struct stat st;
	char *end;

	if (!env)
		return false;
	dev = strtoull(env, &end, 10);
	if (*end != ':')
		return false;
	ino = strtoull(end + 1, &end, 10);
	return !*end && !fstat(STDERR_FILENO, &st) && st.st_dev == dev && st.st_ino == ino;
}

static size_t hex_escape(char *dst, unsigned char c)
{
	static const char hex[] = "0123456789abcdef";

	dst[0] = '\\';
	dst[1] = 'x';
	dst[2] = hex[c >> 4];
	dst[3] = hex[c & 15];
	return 4;
}

/* C0, DEL, and C1 as UTF-8 writes it: what could begin a line or drive a terminal. */
static size_t escape(char *dst, const char *src)
{
	const unsigned char *c = (const unsigned char *)src;
	size_t n = 0;

	for (; *c; c++) {
		if (c[0] == 0xc2 && c[1] >= 0x80 && c[1] < 0xa0) {
			n += hex_escape(dst + n, *c++);
			n += hex_escape(dst + n, *c);
		} else if (*c < 0x20 || *c == 0x7f) {
			n += hex_escape(dst + n, *c);
		} else {
			dst[n++] = (char)*c;
		}
	}
	return n;
}

void log_write(enum log_level level, const char *fmt, ...)
{
	char line[PREFIX_LEN + 4 * MESSAGE_LEN + 1];
	char message[MESSAGE_LEN];
	static int journal = -1;
	int saved = errno;
	size_t len;
	va_list ap;

	if (level > threshold)
		return;
	if (journal < 0)
		journal = stderr_is_journal();

	va_start(ap, fmt);
	if (vsnprintf(message, sizeof(message), fmt, ap) < 0)
		message[0] = '\0';
	va_end(ap);

	if (journal)
		len = (size_t)snprintf(line, PREFIX_LEN, "<%c>", levels[level].priority);
	else
		len = (size_t)snprintf(line, PREFIX_LEN, "level=%s ", levels[level].name);
	len += escape(line + len, message);
	line[len++] = '\n';

	/* One write a line, so that lines of two processes do not mix. Nobody to tell if it fails. */
	if (write(STDERR_FILENO, line, len) < 0)
		errno = 0;
	errno = saved;
}
