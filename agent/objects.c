/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * Run-time objects from the model, at start and at a reload. Objects keep their
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

struct backend_rt *objects_new_backend(struct service_rt *s, uint16_t id, const char *version,
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
	free(s->pinned);
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
	struct service_rt *s = b->service;
	struct control *c = s->control;

	if (store_del_backend(c->store, b->id) < 0) {
		control_store_failed(c, -EIO, "a removed backend", NULL);
		return;
	}
	for (size_t i = 0; i < s->nbackends; i++) {
		if (s->backends[i] == b) {
			s->backends[i] = s->backends[--s->nbackends];
			break;
		}
	}
	publish_nothing_of(b);
	free_backend(b);
}

/* ---- a service from the model ---- */

struct range {
	uint32_t at, n;
};

static bool is_free(const struct range *taken, size_t ntaken, struct range want)
{
	for (size_t i = 0; i < ntaken; i++) {
		if (want.at < taken[i].at + taken[i].n && taken[i].at < want.at + want.n)
			return false;
	}
	return true;
}

/* Rings lie at multiples of their own size: first fit, no ring is ever split or moved. */
static int first_fit(const struct range *taken, size_t ntaken, uint32_t max, struct range *want)
{
	for (want->at = 0; want->at + want->n <= max; want->at += want->n) {
		if (is_free(taken, ntaken, *want))
			return 0;
	}
	return -ENOSPC;
}

/* Rings of the services that stay in `m`; room for `more`. NULL: out of memory. */
static struct range *rings_taken(const struct control *c, const struct model *m, size_t more,
				 size_t *ret_n)
{
	struct range *taken = calloc(c->nservices + more + 1, sizeof(*taken));
	size_t n = 0;

	for (size_t i = 0; taken && i < c->nservices; i++) {
		const struct service_rt *s = c->services[i];

		if (s->mapped && model_service(m, s->cfg->name))
			taken[n++] = (struct range){ s->ring_offset, s->ring.nslots };
	}
	*ret_n = n;
	return taken;
}

int objects_place_ring(struct service_rt *s)
{
	const struct model *m = s->control->model;
	struct range want = { .n = s->cfg->ring_slots };
	struct range *taken;
	size_t n;
	int err;

	taken = rings_taken(s->control, m, 0, &n);
	err = taken ? first_fit(taken, n, m->dataplane.max_slots, &want) : -ENOMEM;
	s->ring_offset = want.at;
	free(taken);
	return err;
}

static int check_rings(const struct control *c, const struct model *next, struct diag *d)
{
	size_t n;
	struct range *taken = rings_taken(c, next, next->nservices, &n);
	int err = taken ? 0 : -ENOMEM;

	for (size_t i = 0; !err && i < next->nservices; i++) {
		const struct service *s = &next->services[i];
		struct range want = { .n = s->ring_slots };

		if (model_service(c->model, s->name))
			continue;
		err = first_fit(taken, n, next->dataplane.max_slots, &want);
		taken[n++] = want;
		if (err)
			err = diag_set(d, EBUSY, "no_room", s->pointer,
				       "There is no room for the ring of service %s between those "
				       "that are there: raise dataplane.maxSlots (it takes a "
				       "restart).",
				       s->name);
	}
	free(taken);
	return err;
}

static size_t count_new(const struct service_rt *s, const struct service *next)
{
	size_t n = 0;

	for (size_t i = 0; i < next->nversions; i++) {
		const struct version *v = &next->versions[i];

		for (size_t k = 0; k < v->nbackends; k++)
			n += !s || !objects_backend(s, v->name, &v->backends[k].ep);
	}
	return n;
}

int objects_check_room(const struct control *c, const struct model *next, struct diag *d)
{
	size_t used = 0, more = 0;

	for (size_t i = 0; i < c->nservices; i++) {
		const struct service_rt *s = c->services[i];
		const struct service *cfg = model_service(next, s->cfg->name);

		used += cfg ? s->nbackends : 0;
		more += cfg ? count_new(s, cfg) : 0;
	}
	for (size_t i = 0; i < next->nservices; i++) {
		if (!model_service(c->model, next->services[i].name))
			more += count_new(NULL, &next->services[i]);
	}
	if (used + more >= next->dataplane.max_backends)
		return diag_set(d, EBUSY, "no_room", "/dataplane/maxBackends",
				"%zu backends are there, those that drain among them, and %zu more "
				"do not fit below maxBackends %u. Wait until the drains are over, "
				"or raise it (it takes a restart).",
				used, more, next->dataplane.max_backends);
	return check_rings(c, next, d);
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

static bool is_deployed(const struct service_rt *s, const char *version)
{
	const struct deploy *d = s->deploy ? &s->deploy->deploy : NULL;

	return d && (!strcmp(d->from, version) || !strcmp(d->to, version));
}

int objects_sync_versions(struct service_rt *s)
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
		list[i].by_api = def->by_api;
		list[i].configured_bp = def->weight_bp;
		/* A deployment owns the weights of its versions. */
		if (is_deployed(s, def->name))
			list[i].overridden = list[i].weight_bp != def->weight_bp;
		else if (!list[i].overridden)
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

		/* Those that had it all are gone: the file knows who is next. */
		v->weight_bp = sum ? (uint32_t)((uint64_t)v->weight_bp * WEIGHT_FULL_BP / sum)
				   : v->configured_bp;
		v->overridden = v->weight_bp != v->configured_bp;
		given += v->weight_bp;
	}
	s->versions[heaviest].weight_bp += WEIGHT_FULL_BP - given;
	control_event(s->control, "weight", s->cfg->name, "",
		      "weights rescaled to 100 %%, because versions came or went");
}

bool objects_holds_slots(const struct service_rt *s, uint16_t id)
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
		b = objects_new_backend(s, id, v->name, &def->ep);
		if (!b)
			return -ENOMEM;
		checks_init(b, false);
	} else if (b->removed) {
		b->removed = false;
		b->admin = ADMIN_ACTIVE;
		b->drain_started_unix_ms = 0;
		drain_cancel(&b->drain, control_now_ms());
		checks_init(b, false);
	}
	b->weight = def->weight;
	err = objects_put_backend(c, b);
	if (err)
		return err;
	links_resolve(b);
	return publish_backend(b);
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
		    service_unpinned_ms(b->service->cfg, &c->model->dataplane));
	return objects_put_backend(c, b);
}

/* What is stored of versions that are gone would come back with the next ones of their names. */
static int del_gone_versions(const struct service_rt *s)
{
	int err = 0;

	for (size_t i = 0; !err && i < s->nversions; i++) {
		if (!service_version(s->cfg, s->versions[i].name))
			err = store_del_version(s->control->store, s->cfg->name,
						s->versions[i].name);
	}
	return err;
}

/* Bring the service's versions and backends in line with s->cfg. */
int objects_sync_service(struct service_rt *s)
{
	int err = del_gone_versions(s);

	if (!err)
		err = objects_sync_versions(s);
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

struct service_rt *objects_new_service(struct control *c, struct service *cfg)
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

int objects_put_service(const struct service_rt *s)
{
	struct stored_service v = {
		.index = s->index,
		.ring_offset = s->ring_offset,
		.ring_slots = s->cfg->ring_slots,
	};

	snprintf(v.name, sizeof(v.name), "%s", s->cfg->name);
	return store_put_service(s->control->store, &v);
}

/* A service that neither the store nor the maps know. */
int objects_add_service(struct control *c, struct service *cfg, struct diag *d)
{
	struct service_rt *s = objects_new_service(c, cfg);
	int err = s ? place_index(s) : -ENOMEM;

	if (!err)
		err = objects_place_ring(s);
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
	err = objects_put_service(s);
	if (!err)
		err = objects_sync_service(s);
	return err;
}

void objects_drop_service(struct control *c, struct service_rt *s)
{
	static const struct zd_service nothing;

	for (size_t i = 0; i < c->nservices; i++) {
		if (c->services[i] == s) {
			c->services[i] = c->services[--c->nservices];
			break;
		}
	}
	for (size_t i = 0; i < s->nbackends; i++) {
		publish_nothing_of(s->backends[i]);
		store_del_backend(c->store, s->backends[i]->id);
	}
	/* No hold and no lease for whoever gets this place next. */
	maps_set_service(c->maps, s->index, &nothing);
	store_del_service(c->store, s->cfg->name);
	free_service(s);
}
