/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * A strict JSON reader for untrusted text. It builds json-c values, and knows what json-c's own
 * tokener does not: duplicate keys, and the line and column of every value.
 */
#ifndef ZDDLB_IO_JSON_H
#define ZDDLB_IO_JSON_H

#include <stddef.h>
#include <stdint.h>

struct diag;
struct json_object;

#define JSON_MAX_DEPTH 32
#define JSON_MAX_SIZE  (16u << 20)

/* A JSON pointer (RFC 6901) that grows and shrinks with the place that is being read. */
struct json_path {
	char text[256]; /* cut at a character's border where it would not fit */
	size_t len;
};

/* Both return the length of before, for json_path_pop. */
size_t json_path_key(struct json_path *p, const char *key);
size_t json_path_index(struct json_path *p, size_t index);
void json_path_pop(struct json_path *p, size_t len);

#define JSON_COMMENTS (1u << 0) /* slash-slash and slash-star comments are white space */

/*
 * One value and nothing behind it: RFC 8259, valid UTF-8, no NUL, no key twice in one object, no
 * deeper than JSON_MAX_DEPTH. A number keeps its text. `name` is what the complaint calls the text.
 * A JSON null is a NULL in *ret.
 */
int json_parse(struct json_object **ret, const char *text, size_t len, const char *name,
	       unsigned flags, struct diag *d);

struct json_place {
	unsigned line, column; /* from 1, the column in characters */
};

/* Where the value that `pointer` names stands in a text that json_parse took; if it is not there,
 * the nearest that would hold it. */
struct json_place json_locate(const char *text, size_t len, unsigned flags, const char *pointer);

struct json_place json_place(const char *text, size_t offset);

/* Length of the UTF-8 character at s, 0 if it is none (RFC 3629: shortest form, no surrogates). */
size_t json_utf8_len(const unsigned char *s, size_t left);
/* Write one character, at most four bytes; returns how many. */
size_t json_utf8_put(char *at, uint32_t c);

#define JSON_QUOTE_LEN 64
/* `text` in double quotes, shortened, with control characters made visible. Returns buf. */
const char *json_quote(const char *text, char buf[JSON_QUOTE_LEN]);

#endif
