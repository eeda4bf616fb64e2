/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * JSON objects <-> structs by const tables: one line a key says what it holds, where it goes and
 * what is allowed. The same tables read, write, and suggest the key that was meant.
 */
#ifndef ZDDLB_IO_CONFIG_SCHEMA_H
#define ZDDLB_IO_CONFIG_SCHEMA_H

#include <stddef.h>
#include <stdint.h>

#include "json.h"

struct diag;
struct json_object;
struct model;

/* What is being read, and where we are in it. */
struct reader {
	struct json_path path;
	const struct model *model; /* what was read so far; NULL for a part alone */
	uint64_t step_pause_ms;    /* of a strategy's steps that name none */
	struct diag *d;
};

struct field;

/* How one kind of value is read and written. `at` is the struct's base plus the field's offset. */
struct kind {
	int (*read)(struct reader *r, const struct field *f, struct json_object *j, void *at);
	struct json_object *(*write)(const struct field *f, const void *at); /* NULL: input only */
};

/* A word for a value; negative: a word this release does not support. */
struct word {
	const char *text;
	int value;
};

#define FIELD_REQUIRED  (1u << 0)
#define FIELD_OMIT_ZERO (1u << 1) /* not written while it is all zero */

struct object;

struct field {
	const char *key;         /* NULL ends a table */
	const struct kind *kind; /* NULL: a key that this release does not support */
	size_t offset, size;
	size_t count; /* lists: offset of the number of elements */
	unsigned flags;
	int64_t min, max;           /* numbers: bounds; lists: how many */
	const struct word *words;   /* ends with text NULL */
	const struct object *inner; /* objects and lists */
	const char *hint;           /* unsupported: what to do instead */
};

/* Keys are read in the order of the table, whatever their order in the text. */
struct object {
	const struct field *fields;
	size_t size;
	size_t pointer; /* offset of a char[96] that remembers the place; 0: none */
	void (*begin)(struct reader *r, void *at);
	int (*end)(struct reader *r, struct json_object *j, void *at);
};

#define FIELD_AT(type, member)                                                                     \
	.offset = offsetof(type, member), .size = sizeof(((type *)NULL)->member)

/* A list's pointer and the number of its elements. */
#define FIELD_LIST(type, list, n) .offset = offsetof(type, list), .count = offsetof(type, n)

int schema_read(struct reader *r, const struct object *o, struct json_object *j, void *at);
struct json_object *schema_write(const struct object *o, const void *at);

/* Every key of `j` is in the table and supported. */
int schema_check_keys(struct reader *r, const struct object *o, struct json_object *j);

/* Begin in the middle of a document. */
void schema_start_at(struct reader *r, const char *pointer);

/* -EINVAL with a complaint about the present place, or about `key` in it. */
int schema_complain(struct reader *r, const char *code, const char *fmt, ...)
	__attribute__((format(printf, 3, 4)));
int schema_complain_at(struct reader *r, const char *key, const char *code, const char *fmt, ...)
	__attribute__((format(printf, 4, 5)));
/* -EINVAL: what was found, and what is allowed. */
int schema_wrong(struct reader *r, struct json_object *j, const char *fmt, ...)
	__attribute__((format(printf, 3, 4)));

extern const struct kind kind_object, kind_list;

#endif
