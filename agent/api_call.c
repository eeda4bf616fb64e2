/* SPDX-License-Identifier: GPL-2.0-only */
/* Checks on bodies and look-ups that the handlers share. See api_call.h. */
#include "api_call.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <json-c/json.h>

#include "control.h"
#include "io/httpd.h"

/* RFC 6901: '~' and '/' inside a key are escaped. */
static void append_key(char *pointer, size_t room, const char *key)
{
	size_t n = strlen(pointer);

	if (n + 1 < room)
		pointer[n++] = '/';
	for (; *key && n + 3 < room; key++) {
		if (*key == '~' || *key == '/') {
			pointer[n++] = '~';
			pointer[n++] = *key == '~' ? '0' : '1';
		} else {
			pointer[n++] = *key;
		}
	}
	pointer[n] = '\0';
}

static bool is_one_of(const char *key, const char *const *keys)
{
	for (; *keys; keys++)
		if (!strcmp(key, *keys))
			return true;
	return false;
}

static void join(char *buf, size_t room, const char *const *keys)
{
	size_t n = 0;

	buf[0] = '\0';
	for (const char *const *k = keys; *k && n < room; k++)
		n += (size_t)snprintf(buf + n, room - n, "%s%s", k == keys ? "" : ", ", *k);
}

int api_known_keys(const struct json_object *j, const char *pointer, const char *const *keys,
		   struct diag *d)
{
	/* json-c's iterators take a pointer they do not write through. */
	union {
		const struct json_object *in;
		struct json_object *out;
	} o = { .in = j };
	struct json_object_iterator it = json_object_iter_begin(o.out);
	struct json_object_iterator end = json_object_iter_end(o.out);

	for (; !json_object_iter_equal(&it, &end); json_object_iter_next(&it)) {
		const char *key = json_object_iter_peek_name(&it);
		char place[sizeof(d->pointer)], list[256];

		if (is_one_of(key, keys))
			continue;
		snprintf(place, sizeof(place), "%s", pointer);
		append_key(place, sizeof(place), key);
		join(list, sizeof(list), keys);
		return diag_set(d, EINVAL, "unknown_key", place,
				"\"%.60s\" is not known here. Known are: %s.", key, list);
	}
	return 0;
}

int api_text(const struct json_object *j, const char *key, bool required, const char **ret,
	     struct diag *d)
{
	struct json_object *value = NULL;
	char place[API_PARAM_LEN] = "";

	append_key(place, sizeof(place), key);
	if (!j || !json_object_object_get_ex(j, key, &value)) {
		if (!required)
			return 0;
		return diag_set(d, EINVAL, "missing_key", place, "\"%s\" is missing.", key);
	}
	if (!json_object_is_type(value, json_type_string))
		return diag_set(d, EINVAL, "wrong_type", place, "\"%s\" must be a string.", key);
	*ret = json_object_get_string(value);
	return 0;
}

int api_name(const struct json_object *j, const char *key, bool required, const char **ret,
	     struct diag *d)
{
	char place[API_PARAM_LEN] = "";
	const char *name = NULL;
	int err = api_text(j, key, required, &name, d);

	if (err || !name)
		return err;
	if (!name_is_valid(name)) {
		append_key(place, sizeof(place), key);
		return diag_set(d, EINVAL, "invalid_name", place,
				"\"%.64s\" is not a name: use letters, digits, '.', '_' and '-'.",
				name);
	}
	*ret = name;
	return 0;
}

const char *api_reason(const struct api_call *call)
{
	const char *reason = NULL;

	if (api_text(call->body, "reason", false, &reason, NULL) || !reason || !*reason)
		return NULL;
	return reason;
}

int api_query_number(struct api_call *call, const char *name, uint64_t max, uint64_t *ret)
{
	const char *text = http_query(call->req, name);

	if (!text)
		return 0;
	/* 18 digits fit 64 bits, so strtoull needs no further check. */
	if (!*text || strspn(text, "0123456789") != strlen(text) || strlen(text) > 18 ||
	    strtoull(text, NULL, 10) > max)
		return diag_set(&call->diag, EINVAL, "invalid_query", "",
				"%s is \"%.20s\": give a number from 0 to %llu.", name, text,
				(unsigned long long)max);
	*ret = strtoull(text, NULL, 10);
	return 0;
}

int api_find_service(struct api_call *call, const char *name, struct service_rt **ret)
{
	struct service_rt *s = control_service(call->control, name);

	if (!s)
		return diag_set(&call->diag, ENOENT, "no_such_service", "",
				"There is no service \"%.64s\": `zddlb service list` names them.",
				name);
	*ret = s;
	return 0;
}

int api_find_version(struct api_call *call, struct service_rt *s, const char *name,
		     struct version_rt **ret)
{
	struct version_rt *v = control_version(s, name);

	if (!v)
		return diag_set(
			&call->diag, ENOENT, "no_such_version", "",
			"Service %s has no version \"%.64s\": `zddlb version list %s` names "
			"them.",
			s->cfg->name, name, s->cfg->name);
	*ret = v;
	return 0;
}

int api_oom(struct api_call *call)
{
	return diag_set(&call->diag, ENOMEM, "out_of_memory", "",
			"Out of memory. Nothing was changed.");
}

int api_answer(struct api_call *call, struct json_object *out)
{
	if (!out)
		return api_oom(call);
	call->out = out;
	return 0;
}
