/* SPDX-License-Identifier: GPL-2.0-only */
/* Handlers: services, versions and their weights, backends. */
#include "api_call.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>

#include <json-c/json.h>

#include "control.h"
#include "io/config.h"
#include "view.h"

/* A list under one name, so that answers can grow fields. */
static int answer_list(struct api_call *call, const char *name, struct json_object *list)
{
	if (!list)
		return api_oom(call);
	call->out = json_object_new_object();
	json_object_object_add(call->out, name, list);
	return 0;
}

static void record_reason(struct api_call *call, const char *kind, const char *service,
			  const char *subject)
{
	const char *reason = api_reason(call);

	if (reason)
		control_event(call->control, kind, service, subject, "reason given: %s", reason);
}

int api_services(struct api_call *call)
{
	struct control *c = call->control;
	struct json_object *list = json_object_new_array();

	for (size_t i = 0; i < c->nservices; i++)
		json_object_array_add(list, view_service(c->services[i]));
	return answer_list(call, "services", list);
}

int api_service(struct api_call *call)
{
	struct service_rt *s;
	int err = api_find_service(call, call->params.value[0], &s);

	return err ? err : api_answer(call, view_service(s));
}

int api_versions(struct api_call *call)
{
	struct service_rt *s;
	int err = api_find_service(call, call->params.value[0], &s);

	return err ? err : answer_list(call, "versions", view_versions(s));
}

static int answer_version(struct api_call *call, const char *service, const char *version)
{
	struct service_rt *s;
	struct version_rt *v;
	int err;

	err = api_find_service(call, service, &s);
	if (!err)
		err = api_find_version(call, s, version, &v);
	return err ? err : api_answer(call, view_release(s, v));
}

int api_version_show(struct api_call *call)
{
	return answer_version(call, call->params.value[0], call->params.value[1]);
}

int api_version_add(struct api_call *call)
{
	const char *service = call->params.value[0];
	struct version v = { 0 };
	int err;

	json_object_object_del(call->body, "reason");
	err = config_parse_version(&v, call->body, "", &call->diag);
	if (err)
		return err;
	err = control_version_add(call->control, service, &v, &call->diag);
	if (!err)
		err = answer_version(call, service, v.name);
	call->status = 201;
	version_fini(&v);
	return err;
}

int api_version_patch(struct api_call *call)
{
	static const char *const keys[] = { "status", "reason", NULL };
	const char *service = call->params.value[0], *version = call->params.value[1];
	enum version_status status;
	const char *word = NULL;
	int err;

	err = api_known_keys(call->body, "", keys, &call->diag);
	if (!err)
		err = api_text(call->body, "status", true, &word, &call->diag);
	if (err)
		return err;
	if (!version_status_parse(&status, word))
		return diag_set(&call->diag, EINVAL, "invalid_value", "/status",
				"\"%.40s\" is no status: give testing, staging, production or "
				"deprecated.",
				word);
	err = control_version_status(call->control, service, version, status, &call->diag);
	if (err)
		return err;
	record_reason(call, "version", service, version);
	return answer_version(call, service, version);
}

int api_version_remove(struct api_call *call)
{
	const char *service = call->params.value[0], *version = call->params.value[1];
	int err;

	err = control_version_remove(call->control, service, version, &call->diag);
	if (err)
		return err;
	record_reason(call, "version", service, version);
	call->out = json_object_new_object();
	json_object_object_add(call->out, "success", json_object_new_boolean(true));
	return 0;
}

static int set_weights(struct api_call *call, const struct weight_change *w, size_t n)
{
	const char *service = call->params.value[0];
	int err = control_set_weights(call->control, service, w, n, &call->diag);

	if (err)
		return err;
	record_reason(call, "weight", service, n == 1 ? w->version : "");
	call->out = json_object_new_object();
	json_object_object_add(call->out, "success", json_object_new_boolean(true));
	if (n == 1)
		json_object_object_add(call->out, "weight", view_weight(w->weight_bp));
	json_object_object_add(call->out, "weights",
			       view_weights(control_service(call->control, service)));
	json_object_object_add(call->out, "revision",
			       json_object_new_uint64(call->control->revision));
	return 0;
}

static int missing(struct api_call *call, const char *pointer, const char *what)
{
	return diag_set(&call->diag, EINVAL, "missing_key", pointer, "\"%s\" is missing.", what);
}

int api_weight_put(struct api_call *call)
{
	static const char *const keys[] = { "weight", "reason", NULL };
	struct weight_change w = { .version = call->params.value[1] };
	struct json_object *value = NULL;
	unsigned bp;
	int err;

	err = api_known_keys(call->body, "", keys, &call->diag);
	if (err)
		return err;
	if (!json_object_object_get_ex(call->body, "weight", &value))
		return missing(call, "/weight", "weight");
	err = config_parse_weight(&bp, value, "/weight", &call->diag);
	if (err)
		return err;
	w.weight_bp = bp;
	return set_weights(call, &w, 1);
}

int api_weights_get(struct api_call *call)
{
	struct service_rt *s;
	int err = api_find_service(call, call->params.value[0], &s);

	return err ? err : answer_list(call, "weights", view_weights(s));
}

#define MAX_CHANGES 64

static int parse_changes(struct api_call *call, struct json_object *weights,
			 struct weight_change *w, size_t *ret_n)
{
	size_t n = 0;

	json_object_object_foreach (weights, name, value) {
		char pointer[API_PARAM_LEN];
		unsigned bp;
		int err;

		snprintf(pointer, sizeof(pointer), "/weights/%.64s", name);
		if (n == MAX_CHANGES)
			return diag_set(&call->diag, EINVAL, "too_many", "/weights",
					"At most %d versions in one request.", MAX_CHANGES);
		err = config_parse_weight(&bp, value, pointer, &call->diag);
		if (err)
			return err;
		w[n++] = (struct weight_change){ .version = name, .weight_bp = bp };
	}
	if (!n)
		return missing(call, "/weights", "a version");
	*ret_n = n;
	return 0;
}

int api_weights_put(struct api_call *call)
{
	static const char *const keys[] = { "weights", "reason", NULL };
	struct weight_change w[MAX_CHANGES];
	struct json_object *weights = NULL;
	size_t n = 0;
	int err;

	err = api_known_keys(call->body, "", keys, &call->diag);
	if (err)
		return err;
	if (!json_object_object_get_ex(call->body, "weights", &weights))
		return missing(call, "/weights", "weights");
	if (!json_object_is_type(weights, json_type_object))
		return diag_set(&call->diag, EINVAL, "wrong_type", "/weights",
				"\"weights\" must be an object: version to percent.");
	err = parse_changes(call, weights, w, &n);
	return err ? err : set_weights(call, w, n);
}

int api_weights_reset(struct api_call *call)
{
	const char *service = call->params.value[0];
	int err = control_reset_weights(call->control, service, &call->diag);

	if (err)
		return err;
	record_reason(call, "weight", service, "");
	call->out = json_object_new_object();
	json_object_object_add(call->out, "success", json_object_new_boolean(true));
	json_object_object_add(call->out, "weights",
			       view_weights(control_service(call->control, service)));
	return 0;
}

int api_switch(struct api_call *call)
{
	const struct weight_change all = { call->params.value[1], WEIGHT_FULL_BP };
	int err = set_weights(call, &all, 1);

	if (!err)
		json_object_object_add(call->out, "switchedTo",
				       json_object_new_string(all.version));
	return err;
}

int api_service_backends(struct api_call *call)
{
	struct service_rt *s;
	int err = api_find_service(call, call->params.value[0], &s);

	return err ? err : answer_list(call, "backends", view_backends(s));
}

int api_backends(struct api_call *call)
{
	struct control *c = call->control;
	struct json_object *all = json_object_new_array();

	for (size_t i = 0; i < c->nservices; i++) {
		struct json_object *list = view_backends(c->services[i]);

		for (size_t k = 0; list && k < json_object_array_length(list); k++)
			json_object_array_add(all,
					      json_object_get(json_object_array_get_idx(list, k)));
		json_object_put(list);
	}
	return answer_list(call, "backends", all);
}

static int find_backend(struct api_call *call, struct backend_rt **ret)
{
	struct backend_rt *b;

	b = control_backend(call->control, call->params.value[0], &call->diag);
	if (!b) {
		/* An address that several services use is a conflict, not an absence. */
		bool several = !strcmp(call->diag.code, "ambiguous");

		return several ? -EEXIST : -ENOENT;
	}
	*ret = b;
	return 0;
}

int api_backend(struct api_call *call)
{
	struct backend_rt *b;
	int err = find_backend(call, &b);

	return err ? err : api_answer(call, view_backend(b));
}

int api_drain_get(struct api_call *call)
{
	struct backend_rt *b;
	int err = find_backend(call, &b);

	return err ? err : api_answer(call, view_drain(b));
}

static int set_admin(struct api_call *call, enum admin_state to)
{
	char text[ENDPOINT_TEXT_LEN];
	struct backend_rt *b;
	int err = find_backend(call, &b);

	if (!err)
		err = control_backend_admin(call->control, b, to, &call->diag);
	if (err)
		return err;
	record_reason(call, "drain", b->service->cfg->name, endpoint_text(&b->ep, text));
	return api_answer(call, view_drain(b));
}

int api_drain(struct api_call *call)
{
	return set_admin(call, ADMIN_DRAINING);
}

int api_undrain(struct api_call *call)
{
	return set_admin(call, ADMIN_ACTIVE);
}

int api_maintenance(struct api_call *call)
{
	return set_admin(call, ADMIN_MAINTENANCE);
}
