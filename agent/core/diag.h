/* SPDX-License-Identifier: GPL-2.0-only */
/* What is wrong, where, and what cures it: the one form in which complaints reach people. */
#ifndef ZDDLB_CORE_DIAG_H
#define ZDDLB_CORE_DIAG_H

#include <stdarg.h>

struct diag {
	char code[32];     /* machine-readable word: "unknown_key", "not_found", "conflict" */
	char pointer[256]; /* JSON pointer (RFC 6901), or "" */
	char text[512];    /* cause and cure, one sentence each */
};

/* Fill `d` (NULL is fine) and return -err, so that callers can write `return diag_set(...)`. */
int diag_set(struct diag *d, int err, const char *code, const char *pointer, const char *fmt, ...)
	__attribute__((format(printf, 5, 6)));

#endif
