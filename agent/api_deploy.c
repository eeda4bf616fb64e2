/* SPDX-License-Identifier: GPL-2.0-only */
/* Handlers: releases and deployments. */
#include "api_call.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <json-c/json.h>

#include "control.h"
#include "io/config.h"
#include "io/httpd.h"
#include "io/store.h"
#include "view.h"

int api_release_add(struct api_call *call)
{
	struct version v = { 0 };
	const char *service = NULL;
	char name[MODEL_NAME_LEN];
	struct service_rt *s;
	int err;

	err = api_name(call->body, "serviceName", true, &service, &call->diag);
	if (err)
		return err;
	snprintf(name, sizeof(name), "%s", service);
	err = api_find_service(call, name, &s);
	if (err)
		return err;

	/* What remains is a version as the config has it. */
	json_object_object_del(call->body, "serviceName");
	json_object_object_del(call->body, "reason");
	err = config_parse_version(&v, call->body, "", &call->diag);
	if (err)
		return err;
	err = control_version_add(call->control, name, &v, &call->diag);
	if (!err)
		err = api_answer(call, view_release(s, control_version(s, v.name)));
	call->status = 201;
	version_fini(&v);
	return err;
}

int api_releases(struct api_call *call)
{
	struct json_object *list;
	struct service_rt *s;
	int err = api_find_service(call, call->params.value[0], &s);

	if (err)
		return err;
	list = json_object_new_array();
	for (size_t i = 0; i < s->nversions; i++)
		json_object_array_add(list, view_release(s, &s->versions[i]));
	call->out = json_object_new_object();
	json_object_object_add(call->out, "versions", list);
	return 0;
}

/* The strategies that need no config: what the bare word means. */
static const struct {
	const char *type, *steps;
} plain_strategies[] = {
	{ "canary", "{\"steps\":[1,10,50,100],\"stepInterval\":300000}" },
	{ "immediate", "{\"steps\":[100],\"stepInterval\":0}" },
	{ "blue-green", "{\"steps\":[100],\"stepInterval\":0}" },
};

static int parse_plain(struct api_call *call, const char *name, struct strategy *ret)
{
	for (size_t i = 0; i < sizeof(plain_strategies) / sizeof(*plain_strategies); i++) {
		struct json_object *j;
		int err;

		if (strcmp(plain_strategies[i].type, name) != 0)
			continue;
		j = json_tokener_parse(plain_strategies[i].steps);
		err = j ? config_parse_strategy(ret, name, j, "/strategy", &call->diag)
			: api_oom(call);
		json_object_put(j);
		return err;
	}
	return diag_set(&call->diag, ENOENT, "no_such_strategy", "/strategy",
			"There is no strategy \"%.64s\" in the config. Besides those, canary, "
			"immediate and blue-green are known.",
			name);
}

/*
 * By name: one of the config, or a plain one. With "config", or "steps" beside it: as given here,
 * under that name.
 */
static int find_strategy(struct api_call *call, struct strategy *ret)
{
	static const char *const moved[] = { "steps", "stepInterval", "errorThreshold",
					     "autoPause" };
	struct json_object *config = NULL, *value;
	const char *name = NULL, *place = "/config";
	const struct strategy *known;
	int err;

	err = api_name(call->body, "strategy", false, &name, &call->diag);
	if (err)
		return err;
	if (json_object_object_get_ex(call->body, "config", &config)) {
		json_object_get(config);
	} else {
		place = "";
		for (size_t i = 0; i < sizeof(moved) / sizeof(*moved); i++) {
			if (!json_object_object_get_ex(call->body, moved[i], &value))
				continue;
			if (!config)
				config = json_object_new_object();
			json_object_object_add(config, moved[i], json_object_get(value));
		}
	}
	if (config) {
		err = config_parse_strategy(ret, name ? name : "canary", config, place,
					    &call->diag);
		json_object_put(config);
		return err;
	}

	known = model_strategy(call->control->model, name ? name : "canary-default");
	if (!known)
		return parse_plain(call, name ? name : "canary", ret);
	*ret = *known;
	return 0;
}

struct search {
	uint64_t id;         /* 0: any */
	const char *service; /* NULL: any */
	struct stored_deploy found;
	bool is_found;
};

static int find_stored(void *arg, const struct stored_deploy *v)
{
	struct search *s = arg;

	if (s->id && v->deploy.id != s->id)
		return 0;
	if (s->service && strcmp(v->deploy.service, s->service) != 0)
		return 0;
	s->found = *v;
	s->found.snapshot = NULL;
	s->is_found = true;
	return 0;
}

/* The agent's own copy is newer than the stored one. */
static bool find_running(struct control *c, struct search *s)
{
	for (size_t i = 0; i < c->nservices; i++) {
		const struct deploy_rt *d = c->services[i]->deploy;

		if (!d || (s->id && d->deploy.id != s->id) ||
		    (s->service && strcmp(d->deploy.service, s->service) != 0))
			continue;
		s->found = view_deploy_record(d);
		s->is_found = true;
		return true;
	}
	return false;
}

static int unreadable(struct api_call *call)
{
	return diag_set(&call->diag, EIO, "state_unreadable", "",
			"The deployments could not be read: %s.",
			store_error(call->control->store));
}

/* `key`: an id, or a service: its running deployment, else its last. */
static int find_deploy(struct api_call *call, const char *key, struct stored_deploy *ret)
{
	bool is_id = strspn(key, "0123456789") == strlen(key) && strlen(key) < 20;
	struct search s = { .id = is_id ? strtoull(key, NULL, 10) : 0,
			    .service = is_id ? NULL : key };

	if (!is_id && !control_service(call->control, key))
		return diag_set(
			&call->diag, ENOENT, "no_such_deployment", "",
			"\"%.64s\" is neither a deployment's id nor a service: `zddlb deploy "
			"list` names them.",
			key);
	if ((!is_id || s.id) && !find_running(call->control, &s) &&
	    store_each_deploy(call->control->store, s.service, find_stored, &s))
		return unreadable(call);
	if (!s.is_found)
		return is_id ? diag_set(
				       &call->diag, ENOENT, "no_such_deployment", "",
				       "There is no deployment %.20s: `zddlb deploy list` names them.",
				       key)
			     : diag_set(&call->diag, ENOENT, "no_such_deployment", "",
					"Service %.64s has had no deployment: `zddlb deploy start` "
					"begins one.",
					key);
	*ret = s.found;
	return 0;
}

static int answer_deploy(struct api_call *call, uint64_t id)
{
	struct stored_deploy found;
	char key[24];
	int err;

	snprintf(key, sizeof(key), "%llu", (unsigned long long)id);
	err = find_deploy(call, key, &found);
	return err ? err : api_answer(call, view_deploy(&found));
}

/* What start would do, without doing it: the same checks on a machine that is thrown away. */
static int plan_start(struct api_call *call, struct service_rt *s, const char *from, const char *to,
		      const struct strategy *strategy)
{
	struct stored_deploy plan = { 0 };
	int err = control_deploy_plan(call->control, s->cfg->name, from, to, strategy, &plan.deploy,
				      &call->diag);

	if (err)
		return err;
	err = api_answer(call, view_deploy(&plan));
	if (!err)
		json_object_object_add(call->out, "dryRun", json_object_new_boolean(true));
	return err;
}

int api_deploy_start(struct api_call *call)
{
	static const char *const keys[] = {
		"serviceName",  "fromVersion",    "toVersion", "strategy", "config", "steps",
		"stepInterval", "errorThreshold", "autoPause", "reason",   NULL
	};
	const char *service = NULL, *from = NULL, *to = NULL;
	const char *reason = api_reason(call);
	struct strategy *strategy;
	struct service_rt *s;
	uint64_t id = 0;
	int err;

	err = api_known_keys(call->body, "", keys, &call->diag);
	if (!err)
		err = api_name(call->body, "serviceName", true, &service, &call->diag);
	if (!err)
		err = api_name(call->body, "fromVersion", false, &from, &call->diag);
	if (!err)
		err = api_name(call->body, "toVersion", true, &to, &call->diag);
	if (!err)
		err = api_find_service(call, service, &s);
	if (err)
		return err;

	strategy = calloc(1, sizeof(*strategy));
	if (!strategy)
		return api_oom(call);
	err = find_strategy(call, strategy);
	if (!err && call->dry_run) {
		err = plan_start(call, s, from, to, strategy);
	} else if (!err) {
		err = control_deploy_start(call->control, service, from, to, strategy, &id,
					   &call->diag);
		if (!err && reason)
			control_event(call->control, "deploy", service, to, "reason given: %s",
				      reason);
		if (!err)
			err = answer_deploy(call, id);
		call->status = 201;
	}
	free(strategy);
	return err;
}

/* The list, newest first, cut to `limit` and filtered. */
struct listing {
	struct control *control;
	enum deploy_status status;
	bool by_status;
	uint64_t before;
	struct json_object *all;
};

static int add_deploy(void *arg, const struct stored_deploy *v)
{
	struct listing *l = arg;
	struct search running = { .id = v->deploy.id };
	const struct stored_deploy *newest = v;

	if (find_running(l->control, &running))
		newest = &running.found;
	if (l->before && v->deploy.id >= l->before)
		return 0;
	if (l->by_status && newest->deploy.status != l->status)
		return 0;
	return json_object_array_add(l->all, view_deploy(newest)) ? -ENOMEM : 0;
}

static void newest_first(struct json_object *out, struct json_object *all, uint64_t limit)
{
	struct json_object *list = json_object_new_array();
	struct json_object *next = NULL;
	size_t n = json_object_array_length(all);

	for (size_t i = n; i > 0 && n - i < limit; i--) {
		struct json_object *one = json_object_array_get_idx(all, i - 1);

		json_object_array_add(list, json_object_get(one));
		if (i > 1 && n - i + 1 == limit)
			json_object_object_get_ex(one, "id", &next);
	}
	json_object_object_add(out, "deployments", list);
	json_object_object_add(out, "cursor", json_object_get(next));
}

int api_deploys(struct api_call *call)
{
	const char *service = http_query(call->req, "service");
	const char *status = http_query(call->req, "status");
	struct listing l = { .control = call->control, .by_status = status != NULL };
	uint64_t limit = 50;
	struct service_rt *s;
	int err;

	err = api_query_number(call, "limit", 1000, &limit);
	if (!err)
		err = api_query_number(call, "cursor", 1ULL << 60, &l.before);
	if (!err && service)
		err = api_find_service(call, service, &s);
	if (!err && status && !deploy_status_parse(&l.status, status))
		err = diag_set(&call->diag, EINVAL, "invalid_query", "",
			       "status is \"%.20s\": give pending, testing, rolling, completed, "
			       "failed or rolled_back.",
			       status);
	if (err)
		return err;

	l.all = json_object_new_array();
	if (store_each_deploy(call->control->store, service, add_deploy, &l)) {
		err = unreadable(call);
	} else {
		call->out = json_object_new_object();
		newest_first(call->out, l.all, limit);
	}
	json_object_put(l.all);
	return err;
}

int api_deploy(struct api_call *call)
{
	struct stored_deploy found;
	int err = find_deploy(call, call->params.value[0], &found);

	return err ? err : api_answer(call, view_deploy(&found));
}

/* The deployment afterwards, with the time that a rollback took. */
static int answer_verb(struct api_call *call, uint64_t id, uint32_t us)
{
	int err = answer_deploy(call, id);

	if (err)
		return err;
	json_object_object_add(call->out, "success", json_object_new_boolean(true));
	if (us)
		json_object_object_add(call->out, "rollbackMicroseconds",
				       json_object_new_uint64(us));
	return 0;
}

static int run_verb(struct api_call *call, enum deploy_verb verb)
{
	struct stored_deploy found = { 0 };
	uint32_t us = 0;
	int err;

	err = find_deploy(call, call->params.value[0], &found);
	if (!err)
		err = control_deploy_verb(call->control, found.deploy.id, verb, api_reason(call),
					  &us, &call->diag);
	return err ? err : answer_verb(call, found.deploy.id, us);
}

int api_deploy_traffic(struct api_call *call)
{
	static const char *const keys[] = { "percent", "reason", NULL };
	struct json_object *value = NULL;
	struct stored_deploy found;
	unsigned bp;
	int err;

	err = api_known_keys(call->body, "", keys, &call->diag);
	if (err)
		return err;
	if (!json_object_object_get_ex(call->body, "percent", &value))
		return diag_set(&call->diag, EINVAL, "missing_key", "/percent",
				"\"percent\" is missing.");
	err = config_parse_weight(&bp, value, "/percent", &call->diag);
	if (!err)
		err = find_deploy(call, call->params.value[0], &found);
	if (!err)
		err = control_deploy_weight(call->control, found.deploy.id, bp, &call->diag);
	return err ? err : answer_verb(call, found.deploy.id, 0);
}

int api_deploy_rollback(struct api_call *call)
{
	static const char *const keys[] = { "reason", "toVersion", NULL };
	struct stored_deploy found = { 0 };
	const char *to = NULL;
	uint32_t us = 0;
	int err = 0;

	if (call->body)
		err = api_known_keys(call->body, "", keys, &call->diag);
	if (!err)
		err = api_name(call->body, "toVersion", false, &to, &call->diag);
	if (!err)
		err = find_deploy(call, call->params.value[0], &found);
	if (!err)
		err = control_rollback(call->control, found.deploy.id, to, api_reason(call), &us,
				       &call->diag);
	return err ? err : answer_verb(call, found.deploy.id, us);
}

int api_deploy_complete(struct api_call *call)
{
	return run_verb(call, DEPLOY_VERB_PROMOTE_FULL);
}

int api_deploy_promote(struct api_call *call)
{
	return run_verb(call, DEPLOY_VERB_PROMOTE);
}

int api_deploy_pause(struct api_call *call)
{
	return run_verb(call, DEPLOY_VERB_PAUSE);
}

int api_deploy_resume(struct api_call *call)
{
	return run_verb(call, DEPLOY_VERB_RESUME);
}

int api_deploy_abort(struct api_call *call)
{
	return run_verb(call, DEPLOY_VERB_ABORT);
}
