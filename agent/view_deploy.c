/* SPDX-License-Identifier: GPL-2.0-only */
/* Deployments, releases, events and metrics as the API shows them. See view.h. */
#include "view.h"

#include <math.h>
#include <stdio.h>
#include <string.h>
#include <sys/resource.h>
#include <unistd.h>

#include <json-c/json.h>

#include "io/maps.h"
#include "io/store.h"
#include "view_internal.h"

/* JSON knows no infinity; a likelihood ratio does. */
static struct json_object *number(double value)
{
	char text[32];

	if (!isfinite(value))
		value = 1e300;
	snprintf(text, sizeof(text), "%.6g", value);
	return json_object_new_double_s(value, text);
}

static struct json_object *side(uint64_t connections, uint64_t failures)
{
	struct json_object *o = json_object_new_object();

	view_add_count(o, "connections", connections);
	view_add_count(o, "failures", failures);
	json_object_object_add(o, "failurePercent", view_percent(failures, connections));
	return o;
}

static struct json_object *verdict_of(const struct verdict *v)
{
	struct json_object *o = json_object_new_object();

	view_add_word(o, "result", verdict_result_name(verdict_result(v)));
	json_object_object_add(o, "evidence", number(verdict_evidence(v)));
	json_object_object_add(o, "threshold", v->alpha > 0 ? number(1 / v->alpha) : NULL);
	view_add_count(o, "minSamples", v->min_samples);
	json_object_object_add(o, "canary", side(v->canary_n, v->canary_failed));
	json_object_object_add(o, "stable", side(v->stable_n, v->stable_failed));
	return o;
}

static struct json_object *steps_of(const struct strategy *s)
{
	struct json_object *list = json_object_new_array();

	for (size_t i = 0; i < s->nsteps; i++) {
		struct json_object *o = json_object_new_object();

		json_object_object_add(o, "setWeight", view_weight(s->steps[i].weight_bp));
		view_add_count(o, "pause", s->steps[i].pause_ms);
		json_object_array_add(list, o);
	}
	return list;
}

/* Steps count from 1 for people; 0 means that none is in force yet. */
static uint32_t step_number(const struct deploy *d)
{
	switch (d->status) {
	case DEPLOY_PENDING:
	case DEPLOY_TESTING:
		return 0;
	case DEPLOY_ROLLING:
	case DEPLOY_COMPLETED:
	case DEPLOY_FAILED:
	case DEPLOY_ROLLED_BACK:
		break;
	}
	return d->step + 1;
}

struct json_object *view_deploy(const struct stored_deploy *v)
{
	const struct deploy *d = &v->deploy;
	struct json_object *o = json_object_new_object();
	bool paused = d->paused && !deploy_is_over(d->status);

	view_add_count(o, "id", d->id);
	view_add_word(o, "serviceName", d->service);
	view_add_word(o, "fromVersion", d->from);
	view_add_word(o, "toVersion", d->to);
	view_add_word(o, "strategy", d->strategy.name);
	view_add_word(o, "status", deploy_status_name(d->status));
	view_add_word(o, "phase", paused ? "paused" : deploy_status_name(d->status));
	view_add_count(o, "step", step_number(d));
	json_object_object_add(o, "steps", steps_of(&d->strategy));
	json_object_object_add(o, "weight", view_weight(d->weight_bp));
	json_object_object_add(o, "percent", view_weight(d->weight_bp));
	view_add_count(o, "stepElapsedMilliseconds", d->elapsed_ms);
	view_add_count(o, "elapsedMilliseconds", d->total_ms);
	json_object_object_add(o, "startedAt", view_time(v->started_unix_ms));
	json_object_object_add(o, "endedAt", view_time(v->ended_unix_ms));
	view_add_text(o, "reason", d->reason);
	json_object_object_add(o, "verdict", verdict_of(&d->verdict));
	json_object_object_add(o, "rollbackMicroseconds",
			       v->rollback_us ? json_object_new_uint64(v->rollback_us) : NULL);
	return o;
}

struct stored_deploy view_deploy_record(const struct deploy_rt *d)
{
	return (struct stored_deploy){
		.deploy = d->deploy,
		.started_unix_ms = d->started_unix_ms,
		.ended_unix_ms = d->ended_unix_ms,
		.rollback_us = d->rollback_us,
	};
}

struct release_health {
	unsigned backends, known, healthy;
	const struct backend_rt *first;
};

static struct release_health release_health(const struct service_rt *s, const struct version_rt *v)
{
	struct release_health r = { 0 };

	for (size_t i = 0; i < s->nbackends; i++) {
		const struct backend_rt *b = s->backends[i];

		if (b->removed || strcmp(b->version, v->name) != 0)
			continue;
		if (!r.first)
			r.first = b;
		r.backends++;
		r.known += b->health.state != HEALTH_UNKNOWN;
		r.healthy += b->health.state == HEALTH_HEALTHY;
	}
	return r;
}

static const char *health_word(const struct release_health *r)
{
	if (r->backends && r->healthy == r->backends)
		return "healthy";
	if (r->known < r->backends || !r->backends)
		return r->healthy ? "degraded" : "unknown";
	return r->healthy ? "degraded" : "unhealthy";
}

struct json_object *view_release(const struct service_rt *s, const struct version_rt *v)
{
	struct release_health r = release_health(s, v);
	struct json_object *o = json_object_new_object();
	char text[ENDPOINT_TEXT_LEN], url[ENDPOINT_TEXT_LEN + 8], id[2 * MODEL_NAME_LEN + 1];

	/* Names hold no colon, so the id is unique and needs no escaping in a path. */
	snprintf(id, sizeof(id), "%s:%s", s->cfg->name, v->name);
	view_add_word(o, "id", id);
	view_add_word(o, "serviceName", s->cfg->name);
	view_add_word(o, "version", v->name);
	if (r.first)
		snprintf(url, sizeof(url), "http://%s", endpoint_text(&r.first->ep, text));
	json_object_object_add(o, "url", r.first ? json_object_new_string(url) : NULL);
	json_object_object_add(o, "weight", view_weight(v->weight_bp));
	view_add_word(o, "status", version_status_name(v->status));
	view_add_bool(o, "isActive", v->weight_bp > 0);
	view_add_word(o, "healthStatus", health_word(&r));
	view_add_word(o, "circuitState", "closed");
	view_add_count(o, "backends", r.backends);
	view_add_count(o, "healthyBackends", r.healthy);
	return o;
}

struct json_object *view_event(const struct stored_event *e)
{
	struct json_object *o = json_object_new_object();

	view_add_count(o, "id", e->id);
	json_object_object_add(o, "time", view_time(e->unix_ms));
	view_add_word(o, "kind", e->kind ? e->kind : "");
	view_add_text(o, "service", e->service);
	view_add_text(o, "subject", e->subject);
	view_add_word(o, "text", e->text ? e->text : "");
	return o;
}

static struct json_object *counters(const uint64_t n[ZD_BC_MAX])
{
	struct json_object *o = json_object_new_object();

	for (int i = 0; i < ZD_BC_MAX; i++)
		view_add_count(o, maps_backend_counter_name((enum zd_backend_counter)i), n[i]);
	return o;
}

static struct json_object *backend_metrics(const struct backend_rt *b, const uint64_t n[ZD_BC_MAX])
{
	struct json_object *o = json_object_new_object();
	struct json_object *probes = json_object_new_object();
	char text[ENDPOINT_TEXT_LEN];

	view_add_count(o, "id", b->id);
	view_add_word(o, "address", endpoint_text(&b->ep, text));
	view_add_word(o, "version", b->version);
	json_object_object_add(o, "counters", counters(n));
	view_add_count(o, "pins", b->pins);
	view_add_count(probes, "checks", b->health.checks);
	view_add_count(probes, "failures", b->health.failures);
	view_add_count(probes, "lastDurationMicroseconds", b->health.last.duration_us);
	json_object_object_add(o, "probes", probes);
	return o;
}

static struct json_object *service_metrics(const struct service_rt *s)
{
	struct json_object *o = json_object_new_object();
	struct json_object *list = json_object_new_array();
	uint64_t total[ZD_BC_MAX] = { 0 };
	struct view_counts counts;

	view_add_word(o, "name", s->cfg->name);
	view_add_count(o, "revision", s->revision);
	view_add_count(o, "ringSlots", s->ring.nslots);
	view_add_count(o, "unsettledSlots", s->ring.slots ? ring_unsettled(&s->ring) : 0);
	if (!view_counts_read(&counts, s)) {
		for (size_t i = 0; i < s->nbackends; i++) {
			for (int k = 0; k < ZD_BC_MAX; k++)
				total[k] += counts.of[i][k];
			json_object_array_add(list, backend_metrics(s->backends[i], counts.of[i]));
		}
		view_counts_fini(&counts);
	}
	json_object_object_add(o, "counters", counters(total));
	json_object_object_add(o, "backends", list);
	return o;
}

static uint64_t resident_bytes(void)
{
	FILE *f = fopen("/proc/self/statm", "re");
	char line[128], *resident;
	unsigned long pages = 0;

	if (!f)
		return 0;
	/* The second number: resident pages, proc(5). */
	if (fgets(line, sizeof(line), f) && (resident = strchr(line, ' ')))
		pages = strtoul(resident, NULL, 10);
	fclose(f);
	return (uint64_t)pages * (uint64_t)sysconf(_SC_PAGESIZE);
}

static double seconds(const struct timeval *t)
{
	return (double)t->tv_sec + (double)t->tv_usec / 1e6;
}

static struct json_object *agent_metrics(const struct control *c)
{
	struct json_object *o = json_object_new_object();
	uint64_t now_ms = view_now_ms();
	struct rusage usage = { 0 };

	getrusage(RUSAGE_SELF, &usage);
	view_add_count(o, "pid", (uint64_t)getpid());
	view_add_count(o, "uptimeMilliseconds",
		       now_ms > c->started_ms ? now_ms - c->started_ms : 0);
	view_add_count(o, "residentBytes", resident_bytes());
	json_object_object_add(o, "cpuUserSeconds", number(seconds(&usage.ru_utime)));
	json_object_object_add(o, "cpuSystemSeconds", number(seconds(&usage.ru_stime)));
	view_add_count(o, "revision", c->revision);
	return o;
}

static struct json_object *pin_metrics(const struct control *c)
{
	struct json_object *o = json_object_new_object();

	view_add_count(o, "living", c->pins_total);
	view_add_count(o, "capacity",
		       c->maps ? (uint64_t)maps_pin_buckets(c->maps) * ZD_PINS_PER_BUCKET : 0);
	view_add_count(o, "lastSweepMilliseconds",
		       c->sweep_ended_ms > c->sweep_started_ms
			       ? c->sweep_ended_ms - c->sweep_started_ms
			       : 0);
	return o;
}

struct json_object *view_metrics(struct control *c)
{
	struct json_object *o = json_object_new_object();
	struct json_object *events = json_object_new_object();
	struct json_object *services = json_object_new_array();
	uint64_t n[ZD_EV_MAX] = { 0 };

	json_object_object_add(o, "agent", agent_metrics(c));
	if (c->maps && !maps_events(c->maps, n))
		for (int i = 0; i < ZD_EV_MAX; i++)
			view_add_count(events, maps_event_name((enum zd_event)i), n[i]);
	json_object_object_add(o, "events", events);
	json_object_object_add(o, "pins", pin_metrics(c));
	for (size_t i = 0; i < c->nservices; i++)
		json_object_array_add(services, service_metrics(c->services[i]));
	json_object_object_add(o, "services", services);
	return o;
}
