/* SPDX-License-Identifier: GPL-2.0-only */
/* Numbers, durations, words and names. Addresses and compound values are in config_compound.c. */
#include <errno.h>
#include <json-c/json.h>
#include <math.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "../core/model.h"
#include "config.h"
#include "config_values.h"

static void store_uint(const struct field *f, void *at, uint64_t value)
{
	uint16_t u16 = (uint16_t)value;
	uint32_t u32 = (uint32_t)value;

	if (f->size == sizeof(u16))
		memcpy(at, &u16, sizeof(u16));
	else if (f->size == sizeof(u32))
		memcpy(at, &u32, sizeof(u32));
	else
		memcpy(at, &value, sizeof(value));
}

static uint64_t fetch_uint(const struct field *f, const void *at)
{
	uint16_t u16;
	uint32_t u32;
	uint64_t u64;

	if (f->size == sizeof(u16)) {
		memcpy(&u16, at, sizeof(u16));
		return u16;
	}
	if (f->size == sizeof(u32)) {
		memcpy(&u32, at, sizeof(u32));
		return u32;
	}
	memcpy(&u64, at, sizeof(u64));
	return u64;
}

static bool in_range(const struct field *f, struct json_object *j)
{
	return json_object_is_type(j, json_type_int) && json_object_get_int64(j) >= f->min &&
	       json_object_get_int64(j) <= f->max;
}

static int read_uint(struct reader *r, const struct field *f, struct json_object *j, void *at)
{
	if (!in_range(f, j))
		return schema_wrong(r, j, "a whole number from %lld to %lld", (long long)f->min,
				    (long long)f->max);
	store_uint(f, at, (uint64_t)json_object_get_int64(j));
	return 0;
}

static struct json_object *write_uint(const struct field *f, const void *at)
{
	return json_object_new_int64((int64_t)fetch_uint(f, at));
}

const struct kind kind_uint = { read_uint, write_uint };

static int read_power_of_two(struct reader *r, const struct field *f, struct json_object *j,
			     void *at)
{
	int64_t value = json_object_get_int64(j);

	if (!in_range(f, j) || (value & (value - 1)))
		return schema_wrong(r, j, "a power of two from %lld to %lld", (long long)f->min,
				    (long long)f->max);
	store_uint(f, at, (uint64_t)value);
	return 0;
}

const struct kind kind_power_of_two = { read_power_of_two, write_uint };

static const struct {
	const char *suffix;
	int64_t ms;
} units[] = { { "h", 3600000 }, { "m", 60000 }, { "s", 1000 }, { "ms", 1 } };

/* Milliseconds of "5s"; negative if it is not a duration. */
static int64_t duration_ms(const char *text)
{
	size_t digits = strspn(text, "0123456789");

	if (digits == 0 || digits > 12)
		return -1;
	for (size_t i = 0; i < sizeof(units) / sizeof(units[0]); i++) {
		if (!strcmp(text + digits, units[i].suffix))
			return strtoll(text, NULL, 10) * units[i].ms;
	}
	return -1;
}

static const char *duration_text(int64_t ms, char buf[32])
{
	size_t i = 0;

	while (ms == 0 ? units[i].ms != 1000 : ms % units[i].ms != 0)
		i++;
	snprintf(buf, 32, "%lld%s", (long long)(ms / units[i].ms), units[i].suffix);
	return buf;
}

static int read_duration(struct reader *r, const struct field *f, struct json_object *j, void *at)
{
	int64_t ms = -1;
	char least[32], most[32];

	if (json_object_is_type(j, json_type_string))
		ms = duration_ms(json_object_get_string(j));
	else if (json_object_is_type(j, json_type_int))
		ms = json_object_get_int64(j);
	if (ms < 0 || ms < f->min || ms > f->max)
		return schema_wrong(
			r, j,
			"a duration from %s to %s: digits and ms, s, m or h, as \"5s\", or "
			"a number of milliseconds",
			duration_text(f->min, least), duration_text(f->max, most));
	store_uint(f, at, (uint64_t)ms);
	return 0;
}

static struct json_object *write_duration(const struct field *f, const void *at)
{
	char text[32];

	return json_object_new_string(duration_text((int64_t)fetch_uint(f, at), text));
}

const struct kind kind_duration = { read_duration, write_duration };

static bool is_number(struct json_object *j)
{
	return json_object_is_type(j, json_type_int) || json_object_is_type(j, json_type_double);
}

static int read_fraction(struct reader *r, const struct field *f, struct json_object *j, void *at)
{
	double value = json_object_get_double(j);
	double least = (double)f->min / 1e6, most = (double)f->max / 1e6;

	if (!is_number(j) || !(value >= least && value <= most))
		return schema_wrong(r, j, "a number from %g to %g", least, most);
	memcpy(at, &value, sizeof(value));
	return 0;
}

/* The shortest text that reads back as the same number. */
static struct json_object *write_fraction(const struct field *f, const void *at)
{
	char text[40];
	double value;

	(void)f;
	memcpy(&value, at, sizeof(value));
	for (int digits = 6; digits <= 17; digits++) {
		snprintf(text, sizeof(text), "%.*g", digits, value);
		if (fabs(strtod(text, NULL) - value) <= 0)
			break;
	}
	return json_object_new_double_s(value, text);
}

const struct kind kind_fraction = { read_fraction, write_fraction };

static int read_error_pct(struct reader *r, const struct field *f, struct json_object *j, void *at)
{
	double value = json_object_get_double(j) / 100;

	(void)f;
	if (!is_number(j) || !(value >= 0 && value <= 1))
		return schema_wrong(r, j, "a percentage from 0 to 100");
	memcpy(at, &value, sizeof(value));
	return 0;
}

const struct kind kind_error_pct = { read_error_pct, NULL };

/*
 * A hundredth of a percent has no exact binary form: the product is off by its rounding (some
 * 1e-12 here), which a third decimal exceeds by far.
 */
static int read_weight(struct reader *r, const struct field *f, struct json_object *j, void *at)
{
	double scaled = json_object_get_double(j) * 100, bp;

	if (!is_number(j) || !(scaled >= (double)f->min && scaled <= WEIGHT_FULL_BP))
		return schema_wrong(r, j, "a percentage from %g to 100", (double)f->min / 100);
	bp = round(scaled);
	if (fabs(scaled - bp) > 1e-9)
		return schema_wrong(r, j, "a percentage with at most two decimals");
	store_uint(f, at, (uint64_t)bp);
	return 0;
}

static struct json_object *write_weight(const struct field *f, const void *at)
{
	unsigned bp = (unsigned)fetch_uint(f, at);
	char text[16];

	if (bp % 100 == 0)
		return json_object_new_int64(bp / 100);
	snprintf(text, sizeof(text), bp % 10 ? "%u.%02u" : "%u.%u", bp / 100,
		 bp % 10 ? bp % 100 : bp % 100 / 10);
	return json_object_new_double_s(bp / 100.0, text);
}

const struct kind kind_weight = { read_weight, write_weight };

int config_parse_weight(unsigned *ret_bp, struct json_object *j, const char *pointer,
			struct diag *d)
{
	struct reader r = { .d = d };
	const struct field f = { .size = sizeof(*ret_bp) };

	schema_start_at(&r, pointer);
	return read_weight(&r, &f, j, ret_bp);
}

static int read_bool(struct reader *r, const struct field *f, struct json_object *j, void *at)
{
	bool value = json_object_get_boolean(j);

	(void)f;
	if (!json_object_is_type(j, json_type_boolean))
		return schema_wrong(r, j, "true or false");
	memcpy(at, &value, sizeof(value));
	return 0;
}

static struct json_object *write_bool(const struct field *f, const void *at)
{
	(void)f;
	return json_object_new_boolean(*(const bool *)at);
}

const struct kind kind_bool = { read_bool, write_bool };

static int read_off(struct reader *r, const struct field *f, struct json_object *j, void *at)
{
	(void)at;
	if (!json_object_is_type(j, json_type_boolean))
		return schema_wrong(r, j, "true or false");
	if (json_object_get_boolean(j))
		return schema_complain(r, "unsupported",
				       "\"%s\": true is not supported by this release", f->key);
	return 0;
}

const struct kind kind_off = { read_off, NULL };

/* NULL and a complaint if it is not one of the words. */
static const struct word *find_word(struct reader *r, const struct field *f, struct json_object *j)
{
	char known[128] = "";
	size_t n = 0;

	for (const struct word *w = f->words; w->text; w++) {
		if (json_object_is_type(j, json_type_string) &&
		    !strcmp(json_object_get_string(j), w->text)) {
			if (w->value >= 0)
				return w;
			schema_complain(r, "unsupported", "\"%s\" is not supported by this release",
					w->text);
			return NULL;
		}
		if (w->value >= 0 && n < sizeof(known))
			n += (size_t)snprintf(known + n, sizeof(known) - n, "%s\"%s\"",
					      n ? " or " : "", w->text);
	}
	schema_wrong(r, j, "%s", known);
	return NULL;
}

static int read_word(struct reader *r, const struct field *f, struct json_object *j, void *at)
{
	const struct word *w = find_word(r, f, j);

	if (!w)
		return -EINVAL;
	if (f->size == 1)
		*(uint8_t *)at = (uint8_t)w->value;
	else if (f->size)
		store_uint(f, at, (uint64_t)w->value);
	return 0;
}

static struct json_object *write_word(const struct field *f, const void *at)
{
	uint64_t value = f->size == 1 ? *(const uint8_t *)at : f->size ? fetch_uint(f, at) : 0;

	for (const struct word *w = f->words; w->text; w++) {
		if (w->value >= 0 && (uint64_t)w->value == value)
			return json_object_new_string(w->text);
	}
	return NULL;
}

const struct kind kind_word = { read_word, write_word };

/* Copy a string that was found to be allowed. */
static int store_text(struct reader *r, const struct field *f, struct json_object *j, void *at,
		      bool allowed, const char *what)
{
	if (!allowed || (size_t)json_object_get_string_len(j) >= f->size)
		return schema_wrong(r, j, "%s of at most %zu bytes", what, f->size - 1);
	memset(at, 0, f->size);
	memcpy(at, json_object_get_string(j), (size_t)json_object_get_string_len(j));
	return 0;
}

static const char *text_of(struct json_object *j)
{
	return json_object_is_type(j, json_type_string) ? json_object_get_string(j) : "";
}

static struct json_object *write_text(const struct field *f, const void *at)
{
	(void)f;
	return json_object_new_string(at);
}

static int read_name(struct reader *r, const struct field *f, struct json_object *j, void *at)
{
	return store_text(r, f, j, at, name_is_valid(text_of(j)),
			  "a name of letters, digits, '.', '_' and '-' that begins with a letter "
			  "or digit,");
}

const struct kind kind_name = { read_name, write_text };

/* All bytes printable ASCII and none of `not`. */
static bool is_plain(const char *s, const char * not )
{
	for (; *s; s++) {
		if (*s <= ' ' || *s >= 0x7f || strchr(not, *s))
			return false;
	}
	return true;
}

static int read_ifname(struct reader *r, const struct field *f, struct json_object *j, void *at)
{
	const char *s = text_of(j);

	return store_text(r, f, j, at,
			  *s && is_plain(s, "/:\"\\") && strcmp(s, ".") != 0 &&
				  strcmp(s, "..") != 0,
			  "the name of a network interface");
}

const struct kind kind_ifname = { read_ifname, write_text };

static int read_abs_path(struct reader *r, const struct field *f, struct json_object *j, void *at)
{
	const char *s = text_of(j);

	return store_text(r, f, j, at, s[0] == '/' && s[1], "a path that begins with \"/\"");
}

const struct kind kind_abs_path = { read_abs_path, write_text };

static int read_http_path(struct reader *r, const struct field *f, struct json_object *j, void *at)
{
	const char *s = text_of(j);

	return store_text(r, f, j, at, s[0] == '/' && is_plain(s, "#"),
			  "a path that begins with \"/\", without spaces, control characters or "
			  "\"#\",");
}

const struct kind kind_http_path = { read_http_path, write_text };

static int read_http_host(struct reader *r, const struct field *f, struct json_object *j, void *at)
{
	const char *s = text_of(j);

	return store_text(r, f, j, at, *s && is_plain(s, "/\\\"@?#"),
			  "a host name for the Host header");
}

const struct kind kind_http_host = { read_http_host, write_text };

#define API_VERSION "zddlb/v1"

static int read_api_version(struct reader *r, const struct field *f, struct json_object *j,
			    void *at)
{
	(void)f;
	(void)at;
	if (strcmp(text_of(j), API_VERSION) != 0)
		return schema_wrong(r, j, "\"" API_VERSION "\"");
	return 0;
}

static struct json_object *write_api_version(const struct field *f, const void *at)
{
	(void)f;
	(void)at;
	return json_object_new_string(API_VERSION);
}

const struct kind kind_api_version = { read_api_version, write_api_version };
