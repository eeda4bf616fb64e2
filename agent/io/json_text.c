/* SPDX-License-Identifier: GPL-2.0-only */
/* JSON pointers, quoted words, places and UTF-8: what the JSON reader needs to know about text. */
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>

#include "json.h"

static bool is_continuation(char c)
{
	return ((unsigned char)c & 0xc0) == 0x80;
}

/* Append what fits, whole characters only. */
static void path_append(struct json_path *p, const char *s, size_t n)
{
	size_t room = sizeof(p->text) - 1 - p->len;

	if (n > room) {
		n = room;
		while (n > 0 && is_continuation(s[n]))
			n--;
	}
	memcpy(p->text + p->len, s, n);
	p->len += n;
	p->text[p->len] = '\0';
}

size_t json_path_key(struct json_path *p, const char *key)
{
	size_t before = p->len;

	path_append(p, "/", 1);
	for (; *key; key += strcspn(key, "~/")) {
		if (*key == '~' || *key == '/') {
			path_append(p, *key == '~' ? "~0" : "~1", 2);
			key++;
		}
		path_append(p, key, strcspn(key, "~/"));
	}
	return before;
}

size_t json_path_index(struct json_path *p, size_t index)
{
	char text[24];
	int n = snprintf(text, sizeof(text), "/%zu", index);
	size_t before = p->len;

	path_append(p, text, (size_t)n);
	return before;
}

void json_path_pop(struct json_path *p, size_t len)
{
	p->len = len;
	p->text[len] = '\0';
}

const char *json_quote(const char *text, char buf[JSON_QUOTE_LEN])
{
	const size_t room = JSON_QUOTE_LEN - sizeof("\\u0000...\"");
	size_t n = 0;

	buf[n++] = '"';
	for (; *text && (n < room || is_continuation(*text)); text++) {
		if ((unsigned char)*text < 0x20 || *text == 0x7f)
			n += (size_t)sprintf(buf + n, "\\u%04x", (unsigned)*text);
		else
			buf[n++] = *text;
	}
	snprintf(buf + n, JSON_QUOTE_LEN - n, "%s\"", *text ? "..." : "");
	return buf;
}

struct json_place json_place(const char *text, size_t offset)
{
	struct json_place at = { 1, 1 };

	for (size_t i = 0; i < offset; i++) {
		if (text[i] == '\n') {
			at.line++;
			at.column = 1;
		} else if (!is_continuation(text[i])) {
			at.column++;
		}
	}
	return at;
}

size_t json_utf8_len(const unsigned char *s, size_t left)
{
	static const struct {
		unsigned char first, last, low, high; /* first byte; bounds of the second */
		size_t len;
	} forms[] = {
		{ 0x00, 0x7f, 0, 0, 1 },       { 0xc2, 0xdf, 0x80, 0xbf, 2 },
		{ 0xe0, 0xe0, 0xa0, 0xbf, 3 }, { 0xe1, 0xec, 0x80, 0xbf, 3 },
		{ 0xed, 0xed, 0x80, 0x9f, 3 }, { 0xee, 0xef, 0x80, 0xbf, 3 },
		{ 0xf0, 0xf0, 0x90, 0xbf, 4 }, { 0xf1, 0xf3, 0x80, 0xbf, 4 },
		{ 0xf4, 0xf4, 0x80, 0x8f, 4 },
	};

	for (size_t i = 0; i < sizeof(forms) / sizeof(forms[0]); i++) {
		if (s[0] < forms[i].first || s[0] > forms[i].last)
			continue;
		if (forms[i].len > left)
			return 0;
		if (forms[i].len > 1 && (s[1] < forms[i].low || s[1] > forms[i].high))
			return 0;
		for (size_t k = 2; k < forms[i].len; k++) {
			if ((s[k] & 0xc0) != 0x80)
				return 0;
		}
		return forms[i].len;
	}
	return 0;
}

size_t json_utf8_put(char *at, uint32_t c)
{
	if (c < 0x80) {
		at[0] = (char)c;
		return 1;
	}
	if (c < 0x800) {
		at[0] = (char)(0xc0 | c >> 6);
		at[1] = (char)(0x80 | (c & 0x3f));
		return 2;
	}
	if (c < 0x10000) {
		at[0] = (char)(0xe0 | c >> 12);
		at[1] = (char)(0x80 | (c >> 6 & 0x3f));
		at[2] = (char)(0x80 | (c & 0x3f));
		return 3;
	}
	at[0] = (char)(0xf0 | c >> 18);
	at[1] = (char)(0x80 | (c >> 12 & 0x3f));
	at[2] = (char)(0x80 | (c >> 6 & 0x3f));
	at[3] = (char)(0x80 | (c & 0x3f));
	return 4;
}
