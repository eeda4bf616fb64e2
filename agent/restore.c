/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * The agent's memory across its lives: what it finds at its start in the store and in the maps that
 * packets see, and what it writes anew after a time in which nothing could be written. The store
 * knows most; where it knows nothing of a service that packets are sent by, the maps are believed.
 */
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include <arpa/inet.h>
#include <json-c/json.h>

#include "control_internal.h"
#include "io/config.h"
#include "io/log.h"
#include "io/maps.h"
#include "io/store.h"

/* ---- what could not be stored when it came into force ---- */

static int del_unknown_service(void *arg, const struct stored_service *v)
{
	struct control *c = arg;
	const struct service_rt *s = control_service(c, v->name);

	return s && s->index == v->index ? 0 : store_del_service(c->store, v->name);
}

static int del_unknown_version(void *arg, const struct stored_version *v)
{
	struct control *c = arg;
	struct service_rt *s = control_service(c, v->service);

	return s && control_version(s, v->name) ? 0
						: store_del_version(c->store, v->service, v->name);
}

static int del_unknown_backend(void *arg, const struct stored_backend *v)
{
	struct control *c = arg;

	return c->by_id[v->id] ? 0 : store_del_backend(c->store, v->id);
}

static int save_service(struct service_rt *s)
{
	int err = objects_put_service(s);

	if (!err)
		err = versions_put_all(s);
	for (size_t i = 0; !err && i < s->nbackends; i++)
		err = objects_put_backend(s->control, s->backends[i]);
	/* Its rows went with it if its place was another's. */
	s->ring_dirty = true;
	s->saved_slots = 0;
	return err;
}

int objects_save(struct control *c)
{
	int err = store_begin(c->store);

	if (!err)
		err = store_each_service(c->store, del_unknown_service, c);
	if (!err)
		err = store_each_version(c->store, del_unknown_version, c);
	if (!err)
		err = store_each_backend(c->store, del_unknown_backend, c);
	for (size_t i = 0; !err && i < c->nservices; i++)
		err = save_service(c->services[i]);
	if (!err)
		err = store_commit(c->store);
	return err ? control_store_failed(c, err, "what is in force", NULL) : 0;
}

/* ---- at start ---- */

static int load_service(void *arg, const struct stored_service *v)
{
	struct control *c = arg;
	struct service *cfg = model_service(c->model, v->name);
	struct service_rt *s;

	/* Gone from the file, or without a place: nothing of it is taken over. */
	if (!cfg || v->index >= c->model->dataplane.max_services)
		return store_del_service(c->store, v->name);
	s = objects_new_service(c, cfg);
	if (!s)
		return -ENOMEM;
	s->index = v->index;
	s->ring_offset = v->ring_offset;
	c->services[c->nservices++] = s;
	if (v->ring_slots == cfg->ring_slots &&
	    s->ring_offset + cfg->ring_slots <= c->model->dataplane.max_slots)
		return traffic_open(s, maps_adopted(c->maps), NULL);
	log_warn("ring of service %s is made anew: its size in the config has changed", v->name);
	return 0;
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
	def.by_api = true;
	service_complete_version(cfg, &def);
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
	struct control *c = arg;
	struct service_rt *s = control_service(c, v->service);
	struct version_rt *rt = s ? control_version(s, v->name) : NULL;

	/* Of a version that is gone from the file: not for the next one of that name. */
	if (!rt)
		return v->definition ? 0 : store_del_version(c->store, v->service, v->name);
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
	b = objects_new_backend(s, v->id, v->version, &v->ep);
	if (!b)
		return -ENOMEM;
	b->admin = v->admin;
	b->removed = v->removed;
	b->drain_started_unix_ms = v->drain_started_unix_ms;
	/* Who holds slots was proven before the agent went; everybody else has to prove itself. */
	checks_init(b, maps_adopted(c->maps) && objects_holds_slots(s, b->id));
	if (b->admin != ADMIN_ACTIVE)
		drain_begin(&b->drain, control_now_ms(), s->cfg->policy.drain.timeout_ms,
			    service_unpinned_ms(s->cfg, &c->model->dataplane));
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
		err = objects_sync_versions(c->services[i]);
	if (!err)
		err = store_each_version(c->store, load_override, c);
	return err;
}

/* ---- services that only the maps know ---- */

struct vip_search {
	const struct service *cfg;
	uint32_t index;
	bool found;
};

static bool match_vip(void *arg, const struct endpoint *e, uint8_t proto, const struct zd_vip *v)
{
	struct vip_search *q = arg;

	for (size_t i = 0; proto && i < q->cfg->nvips; i++) {
		if (endpoint_equal(e, &q->cfg->vips[i].ep)) {
			q->index = v->service;
			q->found = true;
		}
	}
	return !q->found;
}

static bool place_taken(const struct control *c, uint32_t index, uint32_t offset, uint32_t n)
{
	for (size_t i = 0; i < c->nservices; i++) {
		const struct service_rt *o = c->services[i];

		if (o->index == index ||
		    (offset < o->ring_offset + o->ring.nslots && o->ring_offset < offset + n))
			return true;
	}
	return false;
}

static const struct version *version_at(const struct service *cfg, const struct zd_backend *b)
{
	struct endpoint ep = { .port = ntohs(b->port) };

	memcpy(ep.addr, b->addr, sizeof(ep.addr));
	for (size_t i = 0; i < cfg->nversions; i++) {
		for (size_t k = 0; k < cfg->versions[i].nbackends; k++) {
			if (endpoint_equal(&cfg->versions[i].backends[k].ep, &ep))
				return &cfg->versions[i];
		}
	}
	return NULL;
}

static int adopt_backends(struct service_rt *s)
{
	struct control *c = s->control;

	for (uint32_t id = 1; id < c->model->dataplane.max_backends; id++) {
		struct zd_backend v;
		const struct version *in;
		struct backend_rt *b;
		struct endpoint ep = { 0 };

		if (c->by_id[id] || maps_get_backend(c->maps, (uint16_t)id, &v) < 0 ||
		    v.service != s->index || !(in = version_at(s->cfg, &v)))
			continue;
		memcpy(ep.addr, v.addr, sizeof(ep.addr));
		ep.port = ntohs(v.port);
		if (objects_backend(s, in->name, &ep))
			continue;
		b = objects_new_backend(s, (uint16_t)id, in->name, &ep);
		if (!b)
			return -ENOMEM;
		checks_init(b, objects_holds_slots(s, b->id));
	}
	return 0;
}

/* The state was lost, or the service has another name now: its VIP leads to its ring and its ids. */
static int adopt_service(struct control *c, struct service *cfg)
{
	struct vip_search q = { .cfg = cfg };
	struct zd_service v;
	struct service_rt *s;
	int err;

	if (!maps_adopted(c->maps))
		return 0;
	maps_each_vip(c->maps, match_vip, &q);
	if (!q.found || maps_get_service(c->maps, q.index, &v) < 0 ||
	    v.ring_mask + 1 != cfg->ring_slots ||
	    place_taken(c, q.index, v.ring_offset, cfg->ring_slots))
		return 0;
	s = objects_new_service(c, cfg);
	if (!s)
		return -ENOMEM;
	s->index = q.index;
	s->ring_offset = v.ring_offset;
	c->services[c->nservices++] = s;
	err = traffic_open(s, true, NULL);
	if (!err)
		err = objects_put_service(s);
	if (!err)
		err = adopt_backends(s);
	log_warn("service %s is not in the state: its ring is taken over from the maps", cfg->name);
	return err;
}

/* A backend that is not known here, because its row is lost, may be another service's by now. */
static void drop_strangers(struct service_rt *s)
{
	const struct control *c = s->control;

	for (uint32_t i = 0; i < s->ring.nslots; i++) {
		uint64_t word = s->ring.slots[i];
		uint16_t current = ZD_SLOT_CURRENT(word), base = ZD_SLOT_BASE(word);
		bool own_current = c->by_id[current] && c->by_id[current]->service == s;
		bool own_base = c->by_id[base] && c->by_id[base]->service == s;

		if (own_current && own_base)
			continue;
		if (!own_current)
			current = own_base ? base : ZD_NO_BACKEND;
		base = current;
		s->ring.slots[i] =
			ZD_SLOT(current, base, ZD_SLOT_FLAGS(word) ? ZD_SLOT_CONSULT : 0);
	}
}

/* A service whose ring has another size now keeps its index, ids and weights. */
static int renew_ring(struct service_rt *s, struct diag *d)
{
	int err = objects_place_ring(s);

	if (!err)
		err = store_del_service(s->control->store, s->cfg->name); /* its old ring too */
	if (!err)
		err = traffic_open(s, false, d);
	return err ? err : objects_put_service(s);
}

static int complete_services(struct control *c, struct diag *d)
{
	int err = 0;

	for (size_t i = 0; !err && i < c->model->nservices; i++) {
		if (!control_service(c, c->model->services[i].name))
			err = adopt_service(c, &c->model->services[i]);
	}
	for (size_t i = 0; !err && i < c->nservices; i++) {
		drop_strangers(c->services[i]);
		if (!c->services[i]->mapped)
			err = renew_ring(c->services[i], d);
		if (!err)
			err = objects_sync_service(c->services[i]);
	}
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
			publish_backend(s->backends[k]);
		}
		publish_service(s);
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
	publish_drop_stale(c);
	return 0;
}
