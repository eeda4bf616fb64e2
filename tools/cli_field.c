/* SPDX-License-Identifier: GPL-2.0-only */
/* Reading the agent's answers. See cli_field.h. */
#include "cli_field.h"

#include <stdio.h>
#include <string.h>

#include <json-c/json.h>

struct json_object *field_at(const struct json_object *o, const char *path)
{
	/* json-c's getters take a pointer they do not write through. */
	union {
		const struct json_object *in;
		struct json_object *out;
	} from = { .in = o };
	struct json_object *at = from.out;

	while (*path) {
		size_t len = strcspn(path, ".");
		char key[64];

		snprintf(key, sizeof(key), "%.*s", (int)len, path);
		if (!json_object_is_type(at, json_type_object) ||
		    !json_object_object_get_ex(at, key, &at))
			return NULL;
		path += len + (path[len] == '.');
	}
	return at;
}

const char *field_text(const struct json_object *o, const char *path)
{
	struct json_object *v = field_at(o, path);

	return json_object_is_type(v, json_type_string) ? json_object_get_string(v) : "";
}

static bool is_number(const struct json_object *v)
{
	return json_object_is_type(v, json_type_int) || json_object_is_type(v, json_type_double);
}

uint64_t field_count(const struct json_object *o, const char *path)
{
	struct json_object *v = field_at(o, path);

	return is_number(v) ? json_object_get_uint64(v) : 0;
}

double field_number(const struct json_object *o, const char *path)
{
	struct json_object *v = field_at(o, path);

	return is_number(v) ? json_object_get_double(v) : 0;
}

bool field_flag(const struct json_object *o, const char *path)
{
	struct json_object *v = field_at(o, path);

	return json_object_is_type(v, json_type_boolean) && json_object_get_boolean(v);
}

size_t field_len(const struct json_object *array)
{
	return json_object_is_type(array, json_type_array) ? json_object_array_length(array) : 0;
}

struct json_object *field_item(const struct json_object *array, size_t i)
{
	return i < field_len(array) ? json_object_array_get_idx(array, i) : NULL;
}

const char *field_percent(char buf[FIELD_TEXT_LEN], const struct json_object *o, const char *path)
{
	if (is_number(field_at(o, path)))
		snprintf(buf, FIELD_TEXT_LEN, "%.2f %%", field_number(o, path));
	else
		snprintf(buf, FIELD_TEXT_LEN, "-");
	return buf;
}

const char *field_span(char buf[FIELD_TEXT_LEN], uint64_t ms)
{
	unsigned long long s = ms / 1000;

	if (ms && ms < 1000)
		snprintf(buf, FIELD_TEXT_LEN, "%llums", (unsigned long long)ms);
	else if (s < 60)
		snprintf(buf, FIELD_TEXT_LEN, "%llus", s);
	else if (s < 3600)
		snprintf(buf, FIELD_TEXT_LEN, "%llum %llus", s / 60, s % 60);
	else if (s < 86400)
		snprintf(buf, FIELD_TEXT_LEN, "%lluh %llum", s / 3600, s / 60 % 60);
	else
		snprintf(buf, FIELD_TEXT_LEN, "%llud %lluh", s / 86400, s / 3600 % 24);
	return buf;
}
