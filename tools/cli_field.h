/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * Fields of the agent's answers by dotted path ("verdict.canary.failures"). An answer is untrusted:
 * a field that is absent, null or of another type reads as nothing, never as a crash.
 */
#ifndef ZDDLB_CLI_FIELD_H
#define ZDDLB_CLI_FIELD_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct json_object;

struct json_object *field_at(const struct json_object *o, const char *path); /* or NULL */
const char *field_text(const struct json_object *o, const char *path);       /* or "" */
uint64_t field_count(const struct json_object *o, const char *path);         /* or 0 */
double field_number(const struct json_object *o, const char *path);          /* or 0 */
bool field_flag(const struct json_object *o, const char *path);              /* or false */

/* Items of an array; 0 and NULL for anything else. */
size_t field_len(const struct json_object *array);
struct json_object *field_item(const struct json_object *array, size_t i);

#define FIELD_TEXT_LEN 32
/* "12.50 %", or "-" where there is no number. Returns buf. */
const char *field_percent(char buf[FIELD_TEXT_LEN], const struct json_object *o, const char *path);
/* "1m 12s", "350ms" */
const char *field_span(char buf[FIELD_TEXT_LEN], uint64_t ms);

#endif
