/* SPDX-License-Identifier: GPL-2.0-only */
#include <ctype.h>
#include <errno.h>
#include <json-c/json.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "../core/diag.h"
#include "config_schema.h"

#define KEY_LEN     32 /* longer keys have no near match */
#define POINTER_LEN 96

void schema_start_at(struct reader *r, const char *pointer)
{
	snprintf(r->path.text, sizeof(r->path.text), "%s", pointer);
	r->path.len = strlen(r->path.text);
}

static int complain_va(struct reader *r, const char *code, const char *fmt, va_list ap)
{
	char text[400];

	vsnprintf(text, sizeof(text), fmt, ap);
	return diag_set(r->d, EINVAL, code, r->path.text, "%s", text);
}

int schema_complain(struct reader *r, const char *code, const char *fmt, ...)
{
	va_list ap;
	int err;

	va_start(ap, fmt);
	err = complain_va(r, code, fmt, ap);
	va_end(ap);
	return err;
}

int schema_complain_at(struct reader *r, const char *key, const char *code, const char *fmt, ...)
{
	size_t before = json_path_key(&r->path, key);
	va_list ap;
	int err;

	va_start(ap, fmt);
	err = complain_va(r, code, fmt, ap);
	va_end(ap);
	json_path_pop(&r->path, before);
	return err;
}

/* What `j` is, in words. */
static void describe(struct json_object *j, char *buf, size_t len)
{
	char quoted[JSON_QUOTE_LEN];

	switch (json_object_get_type(j)) {
	case json_type_null:
		snprintf(buf, len, "null");
		break;
	case json_type_object:
		snprintf(buf, len, "an object");
		break;
	case json_type_array:
		snprintf(buf, len, "a list");
		break;
	case json_type_string:
		snprintf(buf, len, "the string %s", json_quote(json_object_get_string(j), quoted));
		break;
	case json_type_boolean:
	case json_type_double:
	case json_type_int:
		snprintf(buf, len, "%s", json_object_to_json_string(j));
		break;
	}
}

int schema_wrong(struct reader *r, struct json_object *j, const char *fmt, ...)
{
	char found[JSON_QUOTE_LEN + 32], allowed[256];
	va_list ap;

	va_start(ap, fmt);
	vsnprintf(allowed, sizeof(allowed), fmt, ap);
	va_end(ap);
	describe(j, found, sizeof(found));
	return schema_complain(r, "invalid_value", "found %s; allowed is %s", found, allowed);
}

static unsigned min3(unsigned a, unsigned b, unsigned c)
{
	unsigned least = a < b ? a : b;

	return least < c ? least : c;
}

/* Edit distance (Levenshtein), letters of either case alike. Both shorter than KEY_LEN. */
static unsigned distance(const char *a, const char *b)
{
	unsigned row[KEY_LEN + 1];
	size_t nb = strlen(b);

	for (unsigned k = 0; k <= nb; k++)
		row[k] = k;
	for (unsigned i = 1; *a; a++, i++) {
		unsigned diagonal = row[0];

		row[0] = i;
		for (size_t k = 1; k <= nb; k++) {
			bool same = tolower((unsigned char)*a) == tolower((unsigned char)b[k - 1]);
			unsigned cost = min3(row[k] + 1, row[k - 1] + 1, diagonal + !same);

			diagonal = row[k];
			row[k] = cost;
		}
	}
	return row[nb];
}

/* NULL: none is near enough to be what was meant. */
static const char *nearest_key(const struct object *o, const char *key)
{
	size_t len = strlen(key);
	unsigned best = (unsigned)(len < 3 ? 1 : len / 3 + 1);
	const char *nearest = NULL;

	if (len >= KEY_LEN)
		return NULL;
	for (const struct field *f = o->fields; f->key; f++) {
		unsigned d = distance(key, f->key);

		if (d < best && d < strlen(f->key)) {
			best = d;
			nearest = f->key;
		}
	}
	return nearest;
}

static int unknown_key(struct reader *r, const struct object *o, const char *key)
{
	const char *nearest = nearest_key(o, key);
	char quoted[JSON_QUOTE_LEN], known[256] = "";
	size_t n = 0;

	json_quote(key, quoted);
	if (nearest)
		return schema_complain_at(r, key, "unknown_key",
					  "unknown key %s: did you mean \"%s\"?", quoted, nearest);
	for (const struct field *f = o->fields; f->key && n < sizeof(known); f++) {
		if (f->kind)
			n += (size_t)snprintf(known + n, sizeof(known) - n, "%s%s", n ? ", " : "",
					      f->key);
	}
	return schema_complain_at(r, key, "unknown_key", "unknown key %s; known here: %s", quoted,
				  known);
}

static const struct field *find_field(const struct object *o, const char *key)
{
	for (const struct field *f = o->fields; f->key; f++) {
		if (!strcmp(f->key, key))
			return f;
	}
	return NULL;
}

int schema_check_keys(struct reader *r, const struct object *o, struct json_object *j)
{
	if (!json_object_is_type(j, json_type_object))
		return schema_wrong(r, j, "an object");
	json_object_object_foreach (j, key, value) {
		const struct field *f = find_field(o, key);

		(void)value;
		if (!f)
			return unknown_key(r, o, key);
		if (!f->kind)
			return schema_complain_at(r, key, "unsupported", "\"%s\" is %s", key,
						  f->hint ? f->hint
							  : "not supported by this release");
	}
	return 0;
}

static int read_field(struct reader *r, const struct field *f, struct json_object *j, void *base)
{
	struct json_object *value;
	size_t before;
	int err;

	if (!json_object_object_get_ex(j, f->key, &value)) {
		if (f->flags & FIELD_REQUIRED)
			return schema_complain(r, "missing_key", "\"%s\" is missing here", f->key);
		return 0;
	}
	before = json_path_key(&r->path, f->key);
	err = f->kind->read(r, f, value, (char *)base + f->offset);
	json_path_pop(&r->path, before);
	return err;
}

int schema_read(struct reader *r, const struct object *o, struct json_object *j, void *at)
{
	int err = schema_check_keys(r, o, j);

	if (err)
		return err;
	if (o->pointer)
		snprintf((char *)at + o->pointer, POINTER_LEN, "%.*s", POINTER_LEN - 1,
			 r->path.text);
	if (o->begin)
		o->begin(r, at);
	for (const struct field *f = o->fields; f->key; f++) {
		err = f->kind ? read_field(r, f, j, at) : 0;
		if (err)
			return err;
	}
	return o->end ? o->end(r, j, at) : 0;
}

static bool is_zero(const void *at, size_t len)
{
	const unsigned char *c = at;

	while (len > 0 && *c == 0) {
		c++;
		len--;
	}
	return len == 0;
}

struct json_object *schema_write(const struct object *o, const void *at)
{
	struct json_object *j = json_object_new_object();

	for (const struct field *f = o->fields; j && f->key; f++) {
		const char *from = (const char *)at + f->offset;
		struct json_object *value;

		if (!f->kind || !f->kind->write)
			continue;
		if ((f->flags & FIELD_OMIT_ZERO) && is_zero(from, f->size))
			continue;
		value = f->kind->write(f, from);
		if (!value || json_object_object_add(j, f->key, value)) {
			json_object_put(value);
			json_object_put(j);
			return NULL;
		}
	}
	return j;
}

static int read_object(struct reader *r, const struct field *f, struct json_object *j, void *at)
{
	return schema_read(r, f->inner, j, at);
}

static struct json_object *write_object(const struct field *f, const void *at)
{
	return schema_write(f->inner, at);
}

const struct kind kind_object = { read_object, write_object };

/* A list's elements are counted as they are read, so that a half-read list can be freed. */
static int read_list(struct reader *r, const struct field *f, struct json_object *j, void *at)
{
	size_t *count = (size_t *)(void *)((char *)at - f->offset + f->count);
	size_t n, before;
	char *list;
	int err;

	if (!json_object_is_type(j, json_type_array))
		return schema_wrong(r, j, "a list");
	n = json_object_array_length(j);
	if (n < (size_t)f->min || n > (size_t)f->max)
		return schema_complain(r, "invalid_value",
				       "found a list of %zu; allowed is a list of %lld to %lld", n,
				       (long long)f->min, (long long)f->max);
	if (n == 0)
		return 0;
	list = calloc(n, f->inner->size);
	if (!list)
		return -ENOMEM;
	memcpy(at, &list, sizeof(list));
	for (size_t i = 0; i < n; i++) {
		*count = i + 1;
		before = json_path_index(&r->path, i);
		err = schema_read(r, f->inner, json_object_array_get_idx(j, i),
				  list + i * f->inner->size);
		json_path_pop(&r->path, before);
		if (err)
			return err;
	}
	return 0;
}

static struct json_object *write_list(const struct field *f, const void *at)
{
	const char *base = (const char *)at - f->offset;
	struct json_object *array = json_object_new_array();
	const char *list;
	size_t count;

	memcpy(&list, at, sizeof(list));
	memcpy(&count, base + f->count, sizeof(count));
	for (size_t i = 0; array && i < count; i++) {
		struct json_object *item = schema_write(f->inner, list + i * f->inner->size);

		if (!item || json_object_array_add(array, item)) {
			json_object_put(item);
			json_object_put(array);
			return NULL;
		}
	}
	return array;
}

const struct kind kind_list = { read_list, write_list };
