/* SPDX-License-Identifier: GPL-2.0-only */
#include <errno.h>
#include <json-c/json.h>
#include <math.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "../core/diag.h"
#include "json.h"

#define NUMBER_LEN 64

struct parser {
	const char *text;
	size_t len, pos;
	const char *name;
	unsigned flags, depth;
	char *scratch; /* the string that was read last; as large as the text */
	struct json_path path;
	struct diag *d;
	const char *want;   /* json_locate: the pointer looked for */
	size_t want_offset; /* the best match so far */
};

static int parse_value(struct parser *p, struct json_object **ret);

static int complain(struct parser *p, size_t offset, const char *code, const char *pointer,
		    const char *fmt, ...) __attribute__((format(printf, 5, 6)));
static int complain(struct parser *p, size_t offset, const char *code, const char *pointer,
		    const char *fmt, ...)
{
	struct json_place at = json_place(p->text, offset);
	char what[320];
	va_list ap;

	va_start(ap, fmt);
	vsnprintf(what, sizeof(what), fmt, ap);
	va_end(ap);
	return diag_set(p->d, EINVAL, code, pointer, "%s line %u, column %u: %s", p->name, at.line,
			at.column, what);
}

static int syntax(struct parser *p, size_t offset, const char *what)
{
	return complain(p, offset, "syntax", "", "%s", what);
}

/* What stands at the place where something else was due. */
static int unexpected(struct parser *p, const char *due)
{
	char c;

	if (p->pos >= p->len)
		return complain(p, p->pos, "syntax", "", "the text ends where %s is due", due);
	c = p->text[p->pos];
	if (c == '\'')
		return syntax(p, p->pos, "found ', but strings stand in double quotes");
	if ((unsigned char)c < 0x20 || (unsigned char)c >= 0x7f)
		return complain(p, p->pos, "syntax", "", "found the byte 0x%02x where %s is due",
				(unsigned)(unsigned char)c, due);
	return complain(p, p->pos, "syntax", "", "found %c where %s is due", c, due);
}

static int check_bytes(struct parser *p)
{
	const unsigned char *s = (const unsigned char *)p->text;
	size_t n;

	for (size_t i = 0; i < p->len; i += n) {
		if (s[i] == '\0')
			return syntax(p, i, "found a NUL byte, which no JSON text contains");
		n = json_utf8_len(s + i, p->len - i);
		if (n == 0)
			return complain(p, i, "syntax", "",
					"the byte 0x%02x is not UTF-8; save the text as UTF-8",
					(unsigned)s[i]);
	}
	return 0;
}

/* Past one comment. */
static int skip_comment(struct parser *p)
{
	const char *rest = p->text + p->pos + 2;
	size_t left = p->len - p->pos - 2;
	const char *end;

	if (p->text[p->pos + 1] == '/') {
		end = memchr(rest, '\n', left);
		p->pos = end ? (size_t)(end - p->text) : p->len;
		return 0;
	}
	end = memmem(rest, left, "*/", 2);
	if (!end)
		return syntax(p, p->pos, "this comment has no end");
	p->pos = (size_t)(end - p->text) + 2;
	return 0;
}

static int skip_space(struct parser *p)
{
	int err;

	while (p->pos < p->len) {
		const char *c = p->text + p->pos;

		if (*c == ' ' || *c == '\t' || *c == '\n' || *c == '\r') {
			p->pos++;
			continue;
		}
		if (*c != '/' || p->len - p->pos < 2 || (c[1] != '/' && c[1] != '*'))
			return 0;
		if (!(p->flags & JSON_COMMENTS))
			return syntax(p, p->pos, "comments are allowed in files only");
		err = skip_comment(p);
		if (err)
			return err;
	}
	return 0;
}

static bool next_is(const struct parser *p, char c)
{
	return p->pos < p->len && p->text[p->pos] == c;
}

/* Four hex digits. Negative: they are not there. */
static int32_t hex4(const struct parser *p, size_t pos)
{
	int32_t value = 0;

	if (p->len - pos < 4)
		return -1;
	for (size_t i = 0; i < 4; i++) {
		static const char digits[] = "0123456789abcdef0123456789ABCDEF";
		const char *digit = memchr(digits, p->text[pos + i], sizeof(digits) - 1);

		if (!digit)
			return -1;
		value = value * 16 + (int32_t)((digit - digits) % 16);
	}
	return value;
}

/* Behind "\u". Six bytes of text make at most three of UTF-8, twelve make four. */
static int parse_unicode(struct parser *p, size_t *n)
{
	size_t start = p->pos - 2;
	int32_t c = hex4(p, p->pos);
	int32_t low;

	if (c < 0)
		return syntax(p, start, "\\u wants four hexadecimal digits");
	if (c == 0)
		return syntax(p, start, "\\u0000 is not allowed in any string here");
	p->pos += 4;
	if (c >= 0xd800 && c <= 0xdfff) {
		low = p->len - p->pos >= 6 && !memcmp(p->text + p->pos, "\\u", 2)
			      ? hex4(p, p->pos + 2)
			      : -1;
		if (c >= 0xdc00 || low < 0xdc00 || low > 0xdfff)
			return syntax(p, start, "half a surrogate pair is not a character");
		p->pos += 6;
		c = 0x10000 + ((c - 0xd800) << 10) + (low - 0xdc00);
	}
	*n += json_utf8_put(p->scratch + *n, (uint32_t)c);
	return 0;
}

static int parse_escape(struct parser *p, size_t *n)
{
	static const char from[] = "\"\\/bfnrt";
	static const char to[] = "\"\\/\b\f\n\r\t";
	const char *known;
	char c;

	p->pos++;
	if (p->pos >= p->len)
		return unexpected(p, "the rest of an escape");
	c = p->text[p->pos];
	if (c == 'u') {
		p->pos++;
		return parse_unicode(p, n);
	}
	known = memchr(from, c, sizeof(from) - 1);
	if (!known)
		return syntax(p, p->pos - 1, "no such escape; write \\\\ for a backslash");
	p->scratch[(*n)++] = to[known - from];
	p->pos++;
	return 0;
}

/* Into p->scratch, with a NUL behind. */
static int parse_string(struct parser *p)
{
	size_t start = p->pos, n = 0;
	int err;

	p->pos++;
	while (!next_is(p, '"')) {
		if (p->pos >= p->len)
			return syntax(p, start, "this string has no closing quote");
		if ((unsigned char)p->text[p->pos] < 0x20)
			return syntax(p, p->pos,
				      "a line break or control character inside a string; is the "
				      "closing quote missing?");
		if (p->text[p->pos] != '\\') {
			p->scratch[n++] = p->text[p->pos++];
			continue;
		}
		err = parse_escape(p, &n);
		if (err)
			return err;
	}
	p->pos++;
	p->scratch[n] = '\0';
	return 0;
}

static size_t digits_at(const char *s)
{
	return strspn(s, "0123456789");
}

/* Length of the JSON number that `s` begins with; 0: none. */
static size_t number_len(const char *s)
{
	size_t n = s[0] == '-', d;

	d = s[n] == '0' ? 1 : digits_at(s + n);
	if (d == 0)
		return 0;
	n += d;
	if (s[n] == '.') {
		d = digits_at(s + n + 1);
		if (d == 0)
			return 0;
		n += 1 + d;
	}
	if (s[n] == 'e' || s[n] == 'E') {
		size_t sign = s[n + 1] == '+' || s[n + 1] == '-';

		d = digits_at(s + n + 1 + sign);
		if (d == 0)
			return 0;
		n += 1 + sign + d;
	}
	return n;
}

static int parse_number(struct parser *p, struct json_object **ret)
{
	char text[NUMBER_LEN];
	size_t n = 0, start = p->pos;
	long long whole;
	double value;

	while (p->pos + n < p->len && n < sizeof(text) - 1 &&
	       strchr("+-.0123456789eE", p->text[p->pos + n]))
		n++;
	memcpy(text, p->text + p->pos, n);
	text[n] = '\0';
	if (n == sizeof(text) - 1)
		return syntax(p, start, "this number is too long");
	if (number_len(text) != n)
		return complain(p, start, "syntax", "", "%s is not a JSON number", text);
	p->pos += n;

	errno = 0;
	whole = strtoll(text, NULL, 10);
	if (errno == 0 && !strpbrk(text, ".eE")) {
		*ret = json_object_new_int64(whole);
		return *ret ? 0 : -ENOMEM;
	}
	value = strtod(text, NULL);
	if (!isfinite(value))
		return complain(p, start, "syntax", "", "the number %s is too large", text);
	*ret = json_object_new_double_s(value, text);
	return *ret ? 0 : -ENOMEM;
}

static int parse_word(struct parser *p, struct json_object **ret)
{
	static const struct {
		const char *word;
		int value; /* negative: null */
	} words[] = { { "true", 1 }, { "false", 0 }, { "null", -1 } };
	char found[24];
	size_t n = 0;

	while (p->pos + n < p->len && n < sizeof(found) - 1 &&
	       strchr("abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ_0123456789",
		      p->text[p->pos + n]))
		n++;
	if (n == 0)
		return unexpected(p, "a value");
	memcpy(found, p->text + p->pos, n);
	found[n] = '\0';
	for (size_t i = 0; i < sizeof(words) / sizeof(words[0]); i++) {
		if (strcmp(found, words[i].word) != 0)
			continue;
		p->pos += n;
		if (words[i].value < 0)
			return 0;
		*ret = json_object_new_boolean(words[i].value);
		return *ret ? 0 : -ENOMEM;
	}
	return complain(p, p->pos, "syntax", "",
			"%s is not a JSON value; strings stand in double quotes", found);
}

/* json_locate: the pointer's own place, or the deepest that leads to it. */
static void note_place(struct parser *p, size_t offset)
{
	size_t n = p->path.len;

	if (p->want && !strncmp(p->want, p->path.text, n) &&
	    (p->want[n] == '\0' || p->want[n] == '/'))
		p->want_offset = offset;
}

/* After a value in an array or object: 1 and past the comma, 0 and past the end, or an error. */
static int parse_separator(struct parser *p, char end, const char *due)
{
	int err = skip_space(p);

	if (err)
		return err;
	if (next_is(p, end)) {
		p->pos++;
		return 0;
	}
	if (!next_is(p, ','))
		return unexpected(p, due);
	p->pos++;
	err = skip_space(p);
	if (err)
		return err;
	if (next_is(p, end))
		return syntax(p, p->pos, "nothing follows the last comma; take the comma away");
	return 1;
}

static int parse_array(struct parser *p, struct json_object *array)
{
	int err;

	p->pos++;
	err = skip_space(p);
	if (err)
		return err;
	if (next_is(p, ']')) {
		p->pos++;
		return 0;
	}
	do {
		size_t before = json_path_index(&p->path, json_object_array_length(array));
		struct json_object *item = NULL;

		note_place(p, p->pos);
		err = parse_value(p, &item);
		json_path_pop(&p->path, before);
		if (err)
			return err;
		if (json_object_array_add(array, item)) {
			json_object_put(item);
			return -ENOMEM;
		}
		err = parse_separator(p, ']', "a comma or ]");
	} while (err > 0);
	return err;
}

/* One key and its value; the key is in p->scratch. */
static int parse_member(struct parser *p, struct json_object *object, size_t key_offset)
{
	char *key = strdup(p->scratch);
	struct json_object *item = NULL;
	size_t before;
	int err;

	if (!key)
		return -ENOMEM;
	before = json_path_key(&p->path, key);
	note_place(p, key_offset);
	if (json_object_object_get_ex(object, key, NULL)) {
		err = complain(p, key_offset, "duplicate_key", p->path.text,
			       "this key is there twice; keep one of them");
		goto out;
	}
	err = skip_space(p);
	if (err)
		goto out;
	if (!next_is(p, ':')) {
		err = unexpected(p, "a colon");
		goto out;
	}
	p->pos++;
	err = parse_value(p, &item);
	if (err)
		goto out;
	if (json_object_object_add(object, key, item)) {
		json_object_put(item);
		err = -ENOMEM;
	}
out:
	json_path_pop(&p->path, before);
	free(key);
	return err;
}

static int parse_object(struct parser *p, struct json_object *object)
{
	int err;

	p->pos++;
	err = skip_space(p);
	if (err)
		return err;
	if (next_is(p, '}')) {
		p->pos++;
		return 0;
	}
	do {
		size_t start = p->pos;

		if (!next_is(p, '"'))
			return unexpected(p, "a key in double quotes");
		err = parse_string(p);
		if (err)
			return err;
		err = parse_member(p, object, start);
		if (err)
			return err;
		err = parse_separator(p, '}', "a comma or }");
	} while (err > 0);
	return err;
}

static int parse_nested(struct parser *p, struct json_object **ret)
{
	bool is_object = next_is(p, '{');
	struct json_object *j;
	int err;

	if (++p->depth > JSON_MAX_DEPTH)
		return complain(p, p->pos, "syntax", "", "nested deeper than %d levels",
				JSON_MAX_DEPTH);
	j = is_object ? json_object_new_object() : json_object_new_array();
	if (!j)
		return -ENOMEM;
	err = is_object ? parse_object(p, j) : parse_array(p, j);
	p->depth--;
	if (err) {
		json_object_put(j);
		return err;
	}
	*ret = j;
	return 0;
}

/* The value behind any white space. *ret must be NULL. */
static int parse_value(struct parser *p, struct json_object **ret)
{
	int err = skip_space(p);

	if (err)
		return err;
	if (next_is(p, '{') || next_is(p, '['))
		return parse_nested(p, ret);
	if (next_is(p, '"')) {
		err = parse_string(p);
		if (err)
			return err;
		*ret = json_object_new_string(p->scratch);
		return *ret ? 0 : -ENOMEM;
	}
	if (p->pos < p->len && strchr("+-.0123456789", p->text[p->pos]))
		return parse_number(p, ret);
	return parse_word(p, ret);
}

static int parse_text(struct parser *p, struct json_object **ret)
{
	struct json_object *j = NULL;
	int err;

	err = check_bytes(p);
	if (!err)
		err = parse_value(p, &j);
	if (!err)
		err = skip_space(p);
	if (!err && p->pos < p->len)
		err = unexpected(p, "the end of the text");
	if (err) {
		json_object_put(j);
		return err;
	}
	*ret = j;
	return 0;
}

int json_parse(struct json_object **ret, const char *text, size_t len, const char *name,
	       unsigned flags, struct diag *d)
{
	struct parser p = { .text = text, .len = len, .name = name, .flags = flags, .d = d };
	int err;

	if (len > JSON_MAX_SIZE)
		return diag_set(d, EFBIG, "too_large", "", "%s is larger than %u MiB", name,
				JSON_MAX_SIZE >> 20);
	p.scratch = malloc(len + 1);
	err = p.scratch ? parse_text(&p, ret) : -ENOMEM;
	if (err == -ENOMEM)
		diag_set(d, ENOMEM, "no_memory", "", "%s: out of memory", name);
	free(p.scratch);
	return err;
}

struct json_place json_locate(const char *text, size_t len, unsigned flags, const char *pointer)
{
	struct parser p = { .text = text, .len = len, .name = "", .flags = flags, .want = pointer };
	struct json_object *j = NULL;

	p.scratch = malloc(len + 1);
	if (p.scratch && !skip_space(&p)) {
		p.want_offset = p.pos;
		parse_text(&p, &j);
	}
	json_object_put(j);
	free(p.scratch);
	return json_place(text, p.want_offset);
}
