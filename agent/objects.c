/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * Run-time objects from the model and the store, at start and at a reload. Objects keep their
 * identity (index, ring place, backend id) by name: what is new in the model is made, what is gone
 * drains, what stays keeps its state.
 */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "control_internal.h"
#include "io/config.h"
#include "io/log.h"
#include "io/maps.h"
#include "io/store.h"

#include <json-c/json.h>

struct backend_rt *objects_backend(const struct service_rt *s, const char *version,
				   const struct endpoint *ep)
{
	for (size_t i = 0; i < s->nbackends; i++) {
		struct backend_rt *b = s->backends[i];

		if (!strcmp(b->version, version) && endpoint_equal(&b->ep, ep))
			return b;
	}
	return NULL;
}

int objects_put_backend(struct control *c, const struct backend_rt *b)
{
	struct stored_backend v = {
		.id = b->id,
		.ep = b->ep,
		.admin = b->admin,
		.drain_started_unix_ms = b->drain_started_unix_ms,
		.removed = b->removed,
	};

	snprintf(v.service, sizeof(v.service), "%s", b->service->cfg->name);
	snprintf(v.version, sizeof(v.version), "%s", b->version);
	return store_put_backend(c->store, &v);
}

/* The definition of a version registered at run time is stored with it; the file has the others. */
static char *definition_json(const struct service_rt *s, const struct version_rt *v)
{
	const struct version *def = service_version(s->cfg, v->name);
	struct json_object *j, *list;
	char *text;

	if (!v->by_api || !def)
		return NULL;
	j = json_object_new_object();
	list = json_object_new_array();
	json_object_object_add(j, "version", json_object_new_string(def->name));
	for (size_t i = 0; i < def->nbackends; i++) {
		struct json_object *b = json_object_new_object();
		struct endpoint host = def->backends[i].ep;
		char addr[ENDPOINT_TEXT_LEN];

		host.port = 0;
		json_object_object_add(b, "address",
				       json_object_new_string(endpoint_text(&host, addr)));
		json_object_object_add(b, "port", json_object_new_int(def->backends[i].ep.port));
		json_object_object_add(b, "weight",
				       json_object_new_int((int)def->backends[i].weight));
		json_object_array_add(list, b);
	}
	json_object_object_add(j, "backends", list);
	text = strdup(json_object_to_json_string(j));
	json_object_put(j);
	return text;
}

int objects_put_version(struct control *c, const struct service_rt *s, const struct version_rt *v)
{
	char *definition = definition_json(s, v);
	struct stored_version sv = {
		.has_weight = v->overridden,
		.weight_bp = v->weight_bp,
		.has_status = true,
		.status = v->status,
		.definition = definition,
	};
	int err;

	snprintf(sv.service, sizeof(sv.service), "%s", s->cfg->name);
	snprintf(sv.name, sizeof(sv.name), "%s", v->name);
	err = store_put_version(c->store, &sv);
	free(definition);
	return err;
}

static uint16_t free_backend_id(const struct control *c)
{
	for (uint32_t id = 1; id < c->model->dataplane.max_backends; id++) {
		if (!c->by_id[id])
			return (uint16_t)id;
	}
	return ZD_NO_BACKEND;
}

static struct backend_rt *new_backend(struct service_rt *s, uint16_t id, const char *version,
				      const struct endpoint *ep)
{
	/* NOLINTNEXTLINE(bugprone-sizeof-expression): a list of pointers */
	struct backend_rt **list = realloc(s->backends, (s->nbackends + 1) * sizeof(*list));
	struct backend_rt *b = calloc(1, sizeof(*b));

	if (list)
		s->backends = list;
	if (!list || !b) {
		free(b);
		return NULL;
	}
	b->id = id;
	b->service = s;
	b->ep = *ep;
	b->alive = true;
	b->why = "not checked yet";
	snprintf(b->version, sizeof(b->version), "%s", version);
	s->backends[s->nbackends++] = b;
	s->control->by_id[id] = b;
	s->control->alive[id] = true;
	return b;
}

static void free_backend(struct backend_rt *b)
{
	checks_stop(b);
	b->service->control->by_id[b->id] = NULL;
	b->service->control->alive[b->id] = false;
	free(b);
}

static void free_service(struct service_rt *s)
{
	for (size_t i = 0; i < s->nbackends; i++)
		free_backend(s->backends[i]);
	traffic_close(s);
	rollout_free(s->deploy);
	rollout_free(s->previous);
	free(s->backends);
	free(s->versions);
	free(s);
}

void objects_free(struct control *c)
{
	for (size_t i = 0; i < c->nservices; i++)
		free_service(c->services[i]);
	free(c->services);
	c->services = NULL;
	c->nservices = 0;
}

void objects_forget_backend(struct backend_rt *b)
{
	static const struct zd_backend nobody;
	struct service_rt *s = b->service;
	struct control *c = s->control;

	if (store_del_backend(c->store, b->id) < 0) {
		control_store_failed(c, -EIO, "a removed backend", NULL);
		return;
	}
	maps_del_reverse(c->maps, &b->ep, IPPROTO_TCP);
	maps_set_backend(c->maps, b->id, &nobody);
	for (size_t i = 0; i < s->nbackends; i++) {
		if (s->backends[i] == b) {
			s->backends[i] = s->backends[--s->nbackends];
			break;
		}
	}
	free_backend(b);
}

/* ---- a service from the model ---- */

static bool range_is_free(const struct control *c, uint32_t offset, uint32_t n)
{
	for (size_t i = 0; i < c->nservices; i++) {
		const struct service_rt *o = c->services[i];

		if (offset < o->ring_offset + o->cfg->ring_slots && o->ring_offset < offset + n)
			return false;
	}
	return true;
}

/* Rings lie at multiples of their own size: first fit, no ring is ever split or moved. */
static int place_ring(struct service_rt *s)
{
	const struct control *c = s->control;
	uint32_t n = s->cfg->ring_slots;

	for (uint32_t o = 0; o + n <= c->model->dataplane.max_slots; o += n) {
		if (range_is_free(c, o, n)) {
			s->ring_offset = o;
			return 0;
		}
	}
	return -ENOSPC;
}

static int place_index(struct service_rt *s)
{
	const struct control *c = s->control;

	for (uint32_t i = 0; i < c->model->dataplane.max_services; i++) {
		bool taken = false;

		for (size_t k = 0; k < c->nservices; k++)
			taken |= c->services[k]->index == i;
		if (!taken) {
			s->index = i;
			return 0;
		}
	}
	return -ENOSPC;
}

static int sync_versions(struct service_rt *s)
{
	struct version_rt *list = calloc(s->cfg->nversions ? s->cfg->nversions : 1, sizeof(*list));

	if (!list)
		return -ENOMEM;
	for (size_t i = 0; i < s->cfg->nversions; i++) {
		const struct version *def = &s->cfg->versions[i];
		const struct version_rt *old = control_version(s, def->name);

		if (old) {
			list[i] = *old;
		} else {
			snprintf(list[i].name, sizeof(list[i].name), "%s", def->name);
			list[i].status = def->status;
		}
		list[i].configured_bp = def->weight_bp;
		if (!list[i].overridden)
			list[i].weight_bp = def->weight_bp;
	}
	free(s->versions);
	s->versions = list;
	s->nversions = s->cfg->nversions;
	return 0;
}

/* After versions came or went the weights in force may not sum to 100 any more: rescale. */
static void normalise_weights(struct service_rt *s)
{
	uint32_t sum = 0, given = 0;
	size_t heaviest = 0;

	for (size_t i = 0; i < s->nversions; i++) {
		sum += s->versions[i].weight_bp;
		if (s->versions[i].weight_bp > s->versions[heaviest].weight_bp)
			heaviest = i;
	}
	if (sum == WEIGHT_FULL_BP || !s->nversions)
		return;
	for (size_t i = 0; i < s->nversions; i++) {
		struct version_rt *v = &s->versions[i];

		v->weight_bp = sum ? (uint32_t)((uint64_t)v->weight_bp * WEIGHT_FULL_BP / sum) : 0;
		v->overridden = true;
		given += v->weight_bp;
	}
	s->versions[heaviest].weight_bp += WEIGHT_FULL_BP - given;
	control_event(s->control, "weight", s->cfg->name, "",
		      "weights rescaled to 100 %%, because versions came or went");
}

static bool holds_slots(const struct service_rt *s, uint16_t id)
{
	for (uint32_t i = 0; i < s->ring.nslots; i++) {
		if (ZD_SLOT_CURRENT(s->ring.slots[i]) == id)
			return true;
	}
	return false;
}

static int add_backend(struct service_rt *s, const struct version *v, const struct backend *def)
{
	struct control *c = s->control;
	struct backend_rt *b = objects_backend(s, v->name, &def->ep);
	uint16_t id;
	int err;

	if (!b) {
		id = free_backend_id(c);
		if (id == ZD_NO_BACKEND)
			return -ENOSPC;
		b = new_backend(s, id, v->name, &def->ep);
		if (!b)
			return -ENOMEM;
		checks_init(b, false);
	} else if (b->removed) {
		b->removed = false;
		b->admin = ADMIN_ACTIVE;
		drain_cancel(&b->drain, control_now_ms());
		checks_init(b, false);
	}
	b->weight = def->weight;
	err = objects_put_backend(c, b);
	if (err)
		return err;
	links_resolve(b);
	return traffic_publish_backend(b);
}

static bool in_model(const struct service_rt *s, const struct backend_rt *b)
{
	const struct version *v = service_version(s->cfg, b->version);

	for (size_t i = 0; v && i < v->nbackends; i++) {
		if (endpoint_equal(&v->backends[i].ep, &b->ep))
			return true;
	}
	return false;
}

static int remove_backend(struct backend_rt *b)
{
	struct control *c = b->service->control;
	const struct drain_policy *p = &b->service->cfg->policy.drain;

	b->removed = true;
	b->admin = ADMIN_DRAINING;
	b->drain_started_unix_ms = control_unix_ms();
	drain_begin(&b->drain, control_now_ms(), p->timeout_ms,
		    c->model->dataplane.tcp_established_ms);
	return objects_put_backend(c, b);
}

/* Bring the service's versions and backends in line with s->cfg. */
int objects_sync_service(struct service_rt *s)
{
	int err = sync_versions(s);

	if (err)
		return err;
	normalise_weights(s);
	for (size_t i = 0; i < s->cfg->nversions; i++) {
		const struct version *v = &s->cfg->versions[i];

		for (size_t k = 0; k < v->nbackends; k++) {
			err = add_backend(s, v, &v->backends[k]);
			if (err)
				return err;
		}
		err = objects_put_version(s->control, s, &s->versions[i]);
		if (err)
			return err;
	}
	for (size_t i = 0; i < s->nbackends; i++) {
		if (!s->backends[i]->removed && !in_model(s, s->backends[i])) {
			err = remove_backend(s->backends[i]);
			if (err)
				return err;
		}
	}
	return 0;
}

static struct service_rt *new_service(struct control *c, struct service *cfg)
{
	/* NOLINTNEXTLINE(bugprone-sizeof-expression): a list of pointers */
	struct service_rt **list = realloc(c->services, (c->nservices + 1) * sizeof(*list));
	struct service_rt *s = calloc(1, sizeof(*s));

	if (list)
		c->services = list;
	if (!list || !s) {
		free(s);
		return NULL;
	}
	s->control = c;
	s->cfg = cfg;
	s->changed_unix_ms = control_unix_ms();
	return s;
}

static int put_service(struct control *c, const struct service_rt *s)
{
	struct stored_service v = {
		.index = s->index,
		.ring_offset = s->ring_offset,
		.ring_slots = s->cfg->ring_slots,
	};

	snprintf(v.name, sizeof(v.name), "%s", s->cfg->name);
	return store_put_service(c->store, &v);
}

/* A service that neither the store nor the maps know. */
int objects_add_service(struct control *c, struct service *cfg, struct diag *d)
{
	struct service_rt *s = new_service(c, cfg);
	int err = s ? place_index(s) : -ENOMEM;

	if (!err)
		err = place_ring(s);
	if (!err)
		err = traffic_open(s, false, d);
	if (err) {
		free(s);
		return diag_set(d, -err, "no_room", cfg->pointer,
				"There is no room for service %s (%s): raise dataplane.maxSlots or "
				"maxServices.",
				cfg->name, strerror(-err));
	}
	c->services[c->nservices++] = s;
	err = put_service(c, s);
	if (!err)
		err = objects_sync_service(s);
	return err;
}

void objects_drop_service(struct control *c, struct service_rt *s)
{
	static const struct zd_backend nobody;

	for (size_t i = 0; i < s->nbackends; i++) {
		maps_del_reverse(c->maps, &s->backends[i]->ep, IPPROTO_TCP);
		maps_set_backend(c->maps, s->backends[i]->id, &nobody);
		store_del_backend(c->store, s->backends[i]->id);
	}
	store_del_service(c->store, s->cfg->name);
	for (size_t i = 0; i < c->nservices; i++) {
		if (c->services[i] == s) {
			c->services[i] = c->services[--c->nservices];
			break;
		}
	}
	free_service(s);
}

/* ---- at start ---- */

static int load_service(void *arg, const struct stored_service *v)
{
	struct control *c = arg;
	struct service *cfg = model_service(c->model, v->name);
	struct service_rt *s;

	if (!cfg)
		return 0; /* gone from the file: nothing of it is taken over */
	if (v->ring_slots != cfg->ring_slots) {
		log_warn("ring of service %s is made anew: its size in the config has changed",
			 v->name);
		return 0;
	}
	s = new_service(c, cfg);
	if (!s)
		return -ENOMEM;
	s->index = v->index;
	s->ring_offset = v->ring_offset;
	if (!range_is_free(c, s->ring_offset, cfg->ring_slots) ||
	    s->ring_offset + cfg->ring_slots > c->model->dataplane.max_slots ||
	    s->index >= c->model->dataplane.max_services) {
		free(s);
		return 0;
	}
	c->services[c->nservices++] = s;
	return traffic_open(s, maps_adopted(c->maps), NULL);
}

static int load_version(void *arg, const struct stored_version *v)
{
	struct control *c = arg;
	struct service *cfg = model_service(c->model, v->service);
	struct version *list, def;
	struct json_object *j = NULL;
	struct diag d;
	int err;

	if (!cfg || !v->definition || service_version(cfg, v->name))
		return 0;
	err = config_json(&j, v->definition, strlen(v->definition), "state", &d);
	if (!err)
		err = config_parse_version(&def, j, "", &d);
	json_object_put(j);
	if (err) {
		log_warn("stored version %s of %s is not taken over: %s", v->name, v->service,
			 d.text);
		return 0;
	}
	def.weight_bp = 0;
	list = realloc(cfg->versions, (cfg->nversions + 1) * sizeof(*list));
	if (!list) {
		version_fini(&def);
		return -ENOMEM;
	}
	cfg->versions = list;
	cfg->versions[cfg->nversions++] = def;
	return 0;
}

/* Weights and statuses set at run time, once the versions are there. */
static int load_override(void *arg, const struct stored_version *v)
{
	struct service_rt *s = control_service(arg, v->service);
	struct version_rt *rt = s ? control_version(s, v->name) : NULL;

	if (!rt)
		return 0;
	rt->by_api = v->definition != NULL;
	if (v->has_status)
		rt->status = v->status;
	if (v->has_weight) {
		rt->overridden = true;
		rt->weight_bp = v->weight_bp;
	}
	return 0;
}

static int load_backend(void *arg, const struct stored_backend *v)
{
	struct control *c = arg;
	struct service_rt *s = control_service(c, v->service);
	struct backend_rt *b;

	if (!s || !v->id || v->id >= c->model->dataplane.max_backends || c->by_id[v->id])
		return store_del_backend(c->store, v->id);
	b = new_backend(s, v->id, v->version, &v->ep);
	if (!b)
		return -ENOMEM;
	b->admin = v->admin;
	b->removed = v->removed;
	b->drain_started_unix_ms = v->drain_started_unix_ms;
	/* Who holds slots was proven before the agent went; everybody else has to prove itself. */
	checks_init(b, maps_adopted(c->maps) && holds_slots(s, b->id));
	if (b->admin == ADMIN_DRAINING)
		drain_begin(&b->drain, control_now_ms(), s->cfg->policy.drain.timeout_ms,
			    c->model->dataplane.tcp_established_ms);
	return 0;
}

/* Collects what a walk over the store must not delete under itself. */
static int build_from_store(struct control *c)
{
	int err = store_each_version(c->store, load_version, c);

	if (!err)
		err = store_each_service(c->store, load_service, c);
	if (!err)
		err = store_each_backend(c->store, load_backend, c);
	for (size_t i = 0; !err && i < c->nservices; i++)
		err = sync_versions(c->services[i]);
	if (!err)
		err = store_each_version(c->store, load_override, c);
	return err;
}

static bool drop_stale_reverse(void *arg, const struct endpoint *e, uint8_t proto,
			       const struct zd_reverse *r)
{
	struct control *c = arg;
	struct backend_rt *b = c->by_id[r->backend];

	if (!b || !endpoint_equal(&b->ep, e))
		maps_del_reverse(c->maps, e, proto);
	return true;
}

static int complete_services(struct control *c, struct diag *d)
{
	int err = 0;

	for (size_t i = 0; !err && i < c->nservices; i++)
		err = objects_sync_service(c->services[i]);
	for (size_t i = 0; !err && i < c->model->nservices; i++) {
		if (!control_service(c, c->model->services[i].name))
			err = objects_add_service(c, &c->model->services[i], d);
	}
	return err;
}

static void finish_services(struct control *c)
{
	for (size_t i = 0; i < c->nservices; i++) {
		struct service_rt *s = c->services[i];

		for (size_t k = 0; k < s->nbackends; k++) {
			links_resolve(s->backends[k]);
			traffic_publish_backend(s->backends[k]);
		}
		traffic_publish_service(s);
		traffic_read_counters(s);
	}
}

int objects_build(struct control *c, struct diag *d)
{
	int err = build_from_store(c);

	if (err)
		return diag_set(d, -err, "state_not_read", "",
				"The stored state cannot be taken over: %s.",
				store_error(c->store));
	err = store_begin(c->store);
	if (!err)
		err = complete_services(c, d);
	if (!err)
		err = store_commit(c->store);
	if (err) {
		store_rollback(c->store);
		if (d && !d->text[0])
			diag_set(d, -err, "state_not_written", "",
				 "The state cannot be written to %s: %s.", c->model->state.dir,
				 store_error(c->store));
		return err;
	}
	finish_services(c);
	maps_each_reverse(c->maps, drop_stale_reverse, c);
	return 0;
}
