/* SPDX-License-Identifier: GPL-2.0-only */
/* Services, versions and backends as the API shows them. See view.h. */
#include "view.h"

#include <net/if.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#include <json-c/json.h>

#include <zddlb/version.h>

#include "control.h"
#include "io/maps.h"
#include "io/store.h"
#include "view_internal.h"

void view_add_text(struct json_object *o, const char *key, const char *text)
{
	json_object_object_add(o, key, text && *text ? json_object_new_string(text) : NULL);
}

void view_add_word(struct json_object *o, const char *key, const char *text)
{
	json_object_object_add(o, key, json_object_new_string(text));
}

void view_add_count(struct json_object *o, const char *key, uint64_t n)
{
	json_object_object_add(o, key, json_object_new_uint64(n));
}

void view_add_bool(struct json_object *o, const char *key, bool value)
{
	json_object_object_add(o, key, json_object_new_boolean(value));
}

struct json_object *view_percent(uint64_t part, uint64_t whole)
{
	char text[32];
	double value;

	if (!whole)
		return NULL;
	value = 100.0 * (double)part / (double)whole;
	snprintf(text, sizeof(text), "%.2f", value);
	return json_object_new_double_s(value, text);
}

struct json_object *view_weight(uint32_t weight_bp)
{
	return view_percent(weight_bp, WEIGHT_FULL_BP);
}

struct json_object *view_time(uint64_t unix_ms)
{
	time_t seconds = (time_t)(unix_ms / 1000);
	char day[32], text[48];
	struct tm tm;

	if (!unix_ms || !gmtime_r(&seconds, &tm))
		return NULL;
	strftime(day, sizeof(day), "%Y-%m-%dT%H:%M:%S", &tm);
	snprintf(text, sizeof(text), "%s.%03uZ", day, (unsigned)(unix_ms % 1000));
	return json_object_new_string(text);
}

uint64_t view_now_ms(void)
{
	struct timespec ts;

	clock_gettime(CLOCK_MONOTONIC, &ts);
	return (uint64_t)ts.tv_sec * 1000 + (uint64_t)ts.tv_nsec / 1000000;
}

static uint64_t ago_ms(uint64_t then_ms)
{
	uint64_t now_ms = view_now_ms();

	return now_ms > then_ms ? now_ms - then_ms : 0;
}

int view_counts_read(struct view_counts *ret, const struct service_rt *s)
{
	const struct control *c = s->control;

	*ret = (struct view_counts){ 0 };
	ret->of = calloc(s->nbackends + 1, sizeof(*ret->of));
	if (!ret->of)
		return -1;

	for (size_t i = 0; i < s->nbackends; i++) {
		const struct backend_rt *b = s->backends[i];
		uint64_t *n = ret->of[i];

		if (!c || !c->maps || maps_backend_stats(c->maps, b->id, n))
			memcpy(n, b->count, sizeof(ret->of[i]));
		ret->since_change += view_since_change(b, n);
	}
	return 0;
}

void view_counts_fini(struct view_counts *n)
{
	free(n->of);
}

uint64_t view_since_change(const struct backend_rt *b, const uint64_t n[ZD_BC_MAX])
{
	uint64_t total = n[ZD_BC_CONNECTIONS];

	return total > b->connections_at_change ? total - b->connections_at_change : 0;
}

static struct json_object *last_check(const struct health *h)
{
	struct json_object *o;

	if (!h->checks)
		return NULL;
	o = json_object_new_object();
	view_add_word(o, "outcome", check_outcome_name(h->last.outcome));
	if (h->last.status)
		view_add_count(o, "status", h->last.status);
	view_add_count(o, "durationMicroseconds", h->last.duration_us);
	view_add_count(o, "agoMilliseconds", ago_ms(h->last.at_ms));
	view_add_count(o, "checks", h->checks);
	view_add_count(o, "failures", h->failures);
	return o;
}

static struct json_object *next_hop(const struct backend_rt *b)
{
	struct json_object *o = json_object_new_object();
	const uint8_t *m = b->hop.dmac;
	char ifname[IF_NAMESIZE];
	char mac[18];

	view_add_bool(o, "resolved", b->hop.resolved);
	view_add_bool(o, "local", b->hop.local);
	if (b->hop.ifindex && if_indextoname(b->hop.ifindex, ifname))
		view_add_word(o, "interface", ifname);
	if (b->hop.resolved && !b->hop.local) {
		snprintf(mac, sizeof(mac), "%02x:%02x:%02x:%02x:%02x:%02x", m[0], m[1], m[2], m[3],
			 m[4], m[5]);
		view_add_word(o, "mac", mac);
	}
	view_add_text(o, "problem", b->hop_err ? strerror(abs(b->hop_err)) : b->problem);
	return o;
}

struct json_object *view_drain(const struct backend_rt *b)
{
	struct json_object *o = json_object_new_object();
	const struct drain *d = &b->drain;
	uint64_t now_ms = view_now_ms();
	char text[ENDPOINT_TEXT_LEN];
	uint64_t eta_ms;

	view_add_count(o, "id", b->id);
	view_add_word(o, "address", endpoint_text(&b->ep, text));
	view_add_word(o, "service", b->service->cfg->name);
	view_add_word(o, "version", b->version);
	view_add_word(o, "admin", admin_state_name(b->admin));
	view_add_word(o, "state", drain_state_name(d->state));
	json_object_object_add(o, "remaining",
			       d->counted_ms ? json_object_new_uint64(d->remaining) : NULL);
	if (d->state == DRAIN_NONE)
		return o;

	eta_ms = drain_eta_ms(d, now_ms);
	json_object_object_add(o, "etaMilliseconds",
			       eta_ms == UINT64_MAX ? NULL : json_object_new_uint64(eta_ms));
	json_object_object_add(o, "startedAt", view_time(b->drain_started_unix_ms));
	view_add_count(o, "deadlineInMilliseconds",
		       d->deadline_ms > now_ms ? d->deadline_ms - now_ms : 0);
	return o;
}

/* The wire's counters that people ask for first; all of them are in the metrics. */
static void add_traffic(struct json_object *o, const struct backend_rt *b,
			const uint64_t n[ZD_BC_MAX], uint64_t whole)
{
	uint64_t since = view_since_change(b, n);

	json_object_object_add(o, "measured", view_percent(since, whole));
	view_add_count(o, "connections", n[ZD_BC_CONNECTIONS]);
	view_add_count(o, "connectionsSinceChange", since);
	view_add_count(o, "failedHandshakes", n[ZD_BC_REFUSED] + n[ZD_BC_UNANSWERED]);
	view_add_count(o, "earlyResets", n[ZD_BC_EARLY_RESETS]);
	view_add_count(o, "pinned", b->pins);
}

static struct json_object *one_backend(const struct backend_rt *b, const uint64_t n[ZD_BC_MAX],
				       uint64_t whole)
{
	struct json_object *o = json_object_new_object();
	uint32_t nslots = b->service->ring.nslots;
	char text[ENDPOINT_TEXT_LEN];

	view_add_count(o, "id", b->id);
	view_add_word(o, "address", endpoint_text(&b->ep, text));
	view_add_word(o, "service", b->service->cfg->name);
	view_add_word(o, "version", b->version);
	view_add_count(o, "weight", b->weight);
	view_add_word(o, "admin", admin_state_name(b->admin));
	view_add_word(o, "health", health_state_name(b->health.state));
	view_add_bool(o, "absent", b->health.absent);
	view_add_bool(o, "alive", b->alive);
	view_add_bool(o, "removed", b->removed);
	view_add_count(o, "effectiveWeight", b->effective);
	view_add_text(o, "why", b->why);
	json_object_object_add(o, "wanted", view_percent(b->wanted_slots, nslots));
	json_object_object_add(o, "programmed", view_percent(b->programmed_slots, nslots));
	view_add_count(o, "wantedSlots", b->wanted_slots);
	view_add_count(o, "programmedSlots", b->programmed_slots);
	add_traffic(o, b, n, whole);
	json_object_object_add(o, "lastCheck", last_check(&b->health));
	json_object_object_add(o, "nextHop", next_hop(b));
	json_object_object_add(o, "drain", b->drain.state == DRAIN_NONE ? NULL : view_drain(b));
	return o;
}

struct json_object *view_backend(const struct backend_rt *b)
{
	const struct service_rt *s = b->service;
	struct json_object *o = NULL;
	struct view_counts counts;

	if (view_counts_read(&counts, s))
		return NULL;
	for (size_t i = 0; i < s->nbackends; i++)
		if (s->backends[i] == b)
			o = one_backend(b, counts.of[i], counts.since_change);
	view_counts_fini(&counts);
	return o;
}

static struct json_object *backends_of(const struct service_rt *s, const struct view_counts *n)
{
	struct json_object *list = json_object_new_array();

	for (size_t i = 0; i < s->nbackends; i++)
		json_object_array_add(list, one_backend(s->backends[i], n->of[i], n->since_change));
	return list;
}

/* A version's sums over its backends. */
struct version_sum {
	uint32_t backends, healthy, selected, programmed_slots;
	uint64_t connections, since_change, pins;
};

static struct version_sum sum_version(const struct service_rt *s, const struct version_rt *v,
				      const struct view_counts *n)
{
	struct version_sum sum = { 0 };

	for (size_t i = 0; i < s->nbackends; i++) {
		const struct backend_rt *b = s->backends[i];

		if (strcmp(b->version, v->name) != 0)
			continue;
		/* What is on its way out still carries traffic, but is no part of the version. */
		sum.backends += !b->removed;
		sum.healthy += !b->removed && b->health.state == HEALTH_HEALTHY;
		sum.selected += b->effective > 0;
		sum.programmed_slots += b->programmed_slots;
		sum.connections += n->of[i][ZD_BC_CONNECTIONS];
		sum.since_change += view_since_change(b, n->of[i]);
		sum.pins += b->pins;
	}
	return sum;
}

static struct json_object *one_version(const struct service_rt *s, const struct version_rt *v,
				       const struct view_counts *n)
{
	struct version_sum sum = sum_version(s, v, n);
	struct json_object *o = json_object_new_object();

	view_add_word(o, "version", v->name);
	view_add_word(o, "status", version_status_name(v->status));
	json_object_object_add(o, "wanted", view_weight(v->weight_bp));
	json_object_object_add(o, "programmed", view_percent(sum.programmed_slots, s->ring.nslots));
	json_object_object_add(o, "measured", view_percent(sum.since_change, n->since_change));
	json_object_object_add(o, "configured", v->by_api ? NULL : view_weight(v->configured_bp));
	view_add_bool(o, "overridden", v->overridden);
	view_add_word(o, "origin", v->by_api ? "api" : "file");
	view_add_count(o, "backends", sum.backends);
	view_add_count(o, "healthy", sum.healthy);
	view_add_count(o, "selected", sum.selected);
	view_add_count(o, "connections", sum.connections);
	view_add_count(o, "connectionsSinceChange", sum.since_change);
	view_add_count(o, "pinned", sum.pins);
	return o;
}

static struct json_object *versions_of(const struct service_rt *s, const struct view_counts *n)
{
	struct json_object *list = json_object_new_array();

	for (size_t i = 0; i < s->nversions; i++)
		json_object_array_add(list, one_version(s, &s->versions[i], n));
	return list;
}

struct json_object *view_versions(struct service_rt *s)
{
	struct view_counts counts;
	struct json_object *list;

	if (view_counts_read(&counts, s))
		return NULL;
	list = versions_of(s, &counts);
	view_counts_fini(&counts);
	return list;
}

struct json_object *view_backends(struct service_rt *s)
{
	struct view_counts counts;
	struct json_object *list;

	if (view_counts_read(&counts, s))
		return NULL;
	list = backends_of(s, &counts);
	view_counts_fini(&counts);
	return list;
}

struct json_object *view_weights(const struct service_rt *s)
{
	struct json_object *o = json_object_new_object();

	for (size_t i = 0; i < s->nversions; i++)
		json_object_object_add(o, s->versions[i].name,
				       view_weight(s->versions[i].weight_bp));
	return o;
}

static struct json_object *vips_of(const struct service *cfg)
{
	struct json_object *list = json_object_new_array();

	for (size_t i = 0; i < cfg->nvips; i++) {
		const struct vip *v = &cfg->vips[i];
		struct endpoint addr = v->ep;
		char text[ENDPOINT_TEXT_LEN];
		struct json_object *o = json_object_new_object();

		view_add_word(o, "endpoint", endpoint_text(&v->ep, text));
		addr.port = 0;
		view_add_word(o, "address", endpoint_text(&addr, text));
		view_add_count(o, "port", v->ep.port);
		view_add_word(o, "protocol", protocol_name(v->proto));
		json_object_array_add(list, o);
	}
	return list;
}

static struct json_object *deployment_of(const struct service_rt *s)
{
	struct stored_deploy record;

	if (!s->deploy)
		return NULL;
	record = view_deploy_record(s->deploy);
	return view_deploy(&record);
}

struct json_object *view_service(struct service_rt *s)
{
	struct view_counts counts;
	struct json_object *o;
	uint64_t now_ms = view_now_ms();

	if (view_counts_read(&counts, s))
		return NULL;
	o = json_object_new_object();
	view_add_word(o, "name", s->cfg->name);
	view_add_word(o, "mode", forward_mode_name(s->cfg->mode));
	view_add_word(o, "tracking", tracking_mode_name(s->cfg->tracking));
	json_object_object_add(o, "vips", vips_of(s->cfg));
	view_add_count(o, "ringSlots", s->ring.nslots);
	view_add_count(o, "unsettledSlots", s->ring.slots ? ring_unsettled(&s->ring) : 0);
	view_add_count(o, "movedSlots", s->moved_slots);
	view_add_count(o, "revision", s->revision);
	json_object_object_add(o, "changedAt", view_time(s->changed_unix_ms));
	view_add_bool(o, "ready", s->ready);
	view_add_bool(o, "panic", s->panic);
	view_add_bool(o, "hold", s->hold);
	json_object_object_add(o, "leaseMilliseconds",
			       s->lease_until_ms > now_ms
				       ? json_object_new_uint64(s->lease_until_ms - now_ms)
				       : NULL);
	view_add_count(o, "connectionsSinceChange", counts.since_change);
	json_object_object_add(o, "versions", versions_of(s, &counts));
	json_object_object_add(o, "backends", backends_of(s, &counts));
	json_object_object_add(o, "deployment", deployment_of(s));
	view_counts_fini(&counts);
	return o;
}

static struct json_object *interfaces_of(const struct control *c)
{
	struct json_object *list = json_object_new_array();

	for (size_t i = 0; i < c->ninterfaces; i++) {
		const struct interface_rt *f = &c->interfaces[i];
		struct json_object *o = json_object_new_object();

		view_add_word(o, "name", f->name);
		view_add_word(o, "wantedMode", xdp_mode_name(f->wanted));
		json_object_object_add(o, "mode",
				       f->attached ? json_object_new_string(xdp_mode_name(f->mode))
						   : NULL);
		view_add_bool(o, "present", f->present);
		view_add_bool(o, "attached", f->attached);
		view_add_bool(o, "manageVips", f->manage_vips);
		view_add_text(o, "problem", f->problem);
		json_object_array_add(list, o);
	}
	return list;
}

struct json_object *view_status(struct control *c)
{
	struct json_object *o = json_object_new_object();
	struct json_object *services = json_object_new_array();

	view_add_word(o, "release", ZDDLB_VERSION);
	view_add_count(o, "pid", (uint64_t)getpid());
	view_add_count(o, "uptimeMilliseconds", ago_ms(c->started_ms));
	view_add_count(o, "revision", c->revision);
	view_add_bool(o, "ready", control_is_ready(c));
	view_add_text(o, "config", c->config_path);
	view_add_text(o, "storeProblem", c->store_problem);
	view_add_text(o, "mapsProblem", c->maps_problem);
	json_object_object_add(o, "interfaces", interfaces_of(c));
	view_add_count(o, "pins", c->pins_total);
	json_object_object_add(o, "services", services);
	for (size_t i = 0; i < c->nservices; i++)
		json_object_array_add(services, view_service(c->services[i]));
	return o;
}
