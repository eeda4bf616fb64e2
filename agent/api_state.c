/* SPDX-License-Identifier: GPL-2.0-only */
/* Handlers: the state of the whole, metrics, events, configuration. */
#include "api_call.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include <json-c/json.h>

#include <zddlb/abi.h>
#include <zddlb/version.h>

#include "control.h"
#include "io/config.h"
#include "io/httpd.h"
#include "io/store.h"
#include "view.h"

int api_status(struct api_call *call)
{
	return api_answer(call, view_status(call->control));
}

int api_metrics(struct api_call *call)
{
	return api_answer(call, view_metrics(call->control));
}

static int mark_found(void *arg, const struct stored_event *e)
{
	*(uint64_t *)arg = e->id;
	return 0;
}

/* Ids rise, so the newest is found in some forty look-ups, however long the journal is. */
static uint64_t newest_event(struct store *s)
{
	uint64_t low = 0, high = 1ULL << 40;

	while (low < high) {
		uint64_t middle = low + (high - low) / 2;
		uint64_t found = 0;

		if (store_each_event(s, middle, 1, mark_found, &found) || !found)
			high = middle;
		else
			low = found;
	}
	return low;
}

static int add_event(void *arg, const struct stored_event *e)
{
	struct json_object *o = view_event(e);

	return o && !json_object_array_add(arg, o) ? 0 : -ENOMEM;
}

/* Without `since`: the newest `limit` events. */
int api_events(struct api_call *call)
{
	struct store *store = call->control->store;
	uint64_t since = UINT64_MAX, limit = 100;
	struct json_object *list;
	int err;

	err = api_query_number(call, "since", 1ULL << 60, &since);
	if (!err)
		err = api_query_number(call, "limit", 10000, &limit);
	if (err)
		return err;
	if (since == UINT64_MAX) {
		since = newest_event(store);
		since = since > limit ? since - limit : 0;
	}

	list = json_object_new_array();
	err = limit ? store_each_event(store, since, (size_t)limit, add_event, list) : 0;
	if (err) {
		json_object_put(list);
		return diag_set(&call->diag, EIO, "state_unreadable", "",
				"The events could not be read: %s.", store_error(store));
	}
	call->out = json_object_new_object();
	json_object_object_add(call->out, "events", list);
	return 0;
}

int api_config_get(struct api_call *call)
{
	return api_answer(call, config_to_json(call->control->model));
}

int api_config_validate(struct api_call *call)
{
	struct model *m = NULL;
	int err;

	if (!call->req->body_len)
		return diag_set(&call->diag, EINVAL, "missing_body", "",
				"The body is empty: send the config to check.");
	err = config_parse(&m, call->req->body, call->req->body_len, "body", &call->diag);
	if (err)
		return err;

	call->out = json_object_new_object();
	json_object_object_add(call->out, "valid", json_object_new_boolean(true));
	json_object_object_add(call->out, "services", json_object_new_uint64(m->nservices));
	json_object_object_add(call->out, "interfaces", json_object_new_uint64(m->ninterfaces));
	json_object_object_add(call->out, "strategies", json_object_new_uint64(m->nstrategies));
	model_free(m);
	return 0;
}

/* control says one change a line. */
static struct json_object *lines(const char *text)
{
	struct json_object *list = json_object_new_array();

	while (text && *text) {
		size_t len = strcspn(text, "\n");

		if (len)
			json_object_array_add(list, json_object_new_string_len(text, (int)len));
		text += len + (text[len] == '\n');
	}
	return list;
}

int api_config_reload(struct api_call *call)
{
	struct control *c = call->control;
	const char *reason = api_reason(call);
	char *changes = NULL;
	int err;

	err = control_reload(c, call->dry_run, &changes, &call->diag);
	if (err)
		goto out;
	if (reason && !call->dry_run)
		control_event(c, "config", "", "", "reason given for the reload: %s", reason);

	call->out = json_object_new_object();
	json_object_object_add(call->out, "success", json_object_new_boolean(true));
	json_object_object_add(call->out, "dryRun", json_object_new_boolean(call->dry_run));
	json_object_object_add(call->out, "revision", json_object_new_uint64(c->revision));
	json_object_object_add(call->out, "changes", lines(changes));
out:
	free(changes);
	return err;
}

int api_healthz(struct api_call *call)
{
	call->out = json_object_new_object();
	json_object_object_add(call->out, "status", json_object_new_string("ok"));
	return 0;
}

int api_readyz(struct api_call *call)
{
	bool ready = control_is_ready(call->control);

	call->status = ready ? 200 : 503;
	call->out = json_object_new_object();
	json_object_object_add(call->out, "ready", json_object_new_boolean(ready));
	if (!ready)
		json_object_object_add(
			call->out, "message",
			json_object_new_string(
				"Waiting for the program on every interface and one "
				"full round of checks; `zddlb status` shows which."));
	return 0;
}

int api_version(struct api_call *call)
{
	call->out = json_object_new_object();
	json_object_object_add(call->out, "version", json_object_new_string(ZDDLB_VERSION));
	json_object_object_add(call->out, "abi", json_object_new_int(ZD_ABI_VERSION));
	json_object_object_add(call->out, "api", json_object_new_string("v1"));
	return 0;
}
