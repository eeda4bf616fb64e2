/* SPDX-License-Identifier: GPL-2.0-only */
/* Health checks: when one is due, start it; what it found, let rise and fall decide on. */
#include <string.h>

#include "control_internal.h"
#include "io/log.h"
#include "io/maps.h"
#include "io/probe.h"

static const struct health_check *check_of(const struct backend_rt *b)
{
	return &b->service->cfg->policy.check;
}

void checks_init(struct backend_rt *b, bool presumed_healthy)
{
	checks_stop(b);
	health_init(&b->health, check_of(b), control_now_ms(), control_random());
	if (presumed_healthy) {
		b->health.state = HEALTH_HEALTHY;
		b->health.proven = true;
	}
}

void checks_stop(struct backend_rt *b)
{
	if (b->probe)
		probe_cancel(b->probe);
	b->probe = NULL;
}

/* Ready once every backend had its first answer. */
static void update_ready(struct service_rt *s)
{
	for (size_t i = 0; i < s->nbackends; i++) {
		if (!s->backends[i]->removed && s->backends[i]->health.state == HEALTH_UNKNOWN)
			return;
	}
	s->ready = true;
	log_info("service ready service=%s", s->cfg->name);
}

static uint64_t replies_of(const struct backend_rt *b)
{
	uint64_t count[ZD_BC_MAX] = { 0 };

	maps_backend_stats(b->service->control->maps, b->id, count);
	return count[ZD_BC_REPLY_PACKETS];
}

/*
 * A SYN without an answer may have met a full queue or a flood. Who talked to clients in the
 * meantime is there: it is in trouble, but its connections stay with it.
 */
static enum check_outcome weigh(const struct backend_rt *b, enum check_outcome outcome)
{
	if (outcome != CHECK_CONNECT_TIMEOUT && outcome != CHECK_UNREACHABLE)
		return outcome;
	return replies_of(b) != b->replies_at_check ? CHECK_TIMEOUT : outcome;
}

static void on_result(void *arg, const struct check_result *found)
{
	struct backend_rt *b = arg;
	struct service_rt *s = b->service;
	struct check_result r = *found;
	char text[ENDPOINT_TEXT_LEN];

	b->probe = NULL;
	r.outcome = weigh(b, r.outcome);
	if (!health_record(&b->health, check_of(b), &r, control_random()))
		return;
	control_event(s->control, "health", s->cfg->name, endpoint_text(&b->ep, text),
		      "backend %s of version %s is %s (%s after %u us)", text, b->version,
		      health_state_name(b->health.state), check_outcome_name(r.outcome),
		      r.duration_us);
	if (!s->ready)
		update_ready(s);
	traffic_refresh_soon(s);
}

static void start_due(struct backend_rt *b, uint64_t now_ms)
{
	const struct health_check *c = check_of(b);

	if (b->probe || c->type == CHECK_NONE || now_ms < b->health.next_ms)
		return;
	b->replies_at_check = replies_of(b);
	b->probe = probe_start(b->service->control->prober, &b->ep, c, on_result, b);
	/* Without descriptors or memory the check is made up for after a whole interval. */
	b->health.next_ms = now_ms + c->interval_ms;
	if (!b->probe)
		log_warn("health check not started backend=%u: out of memory or descriptors",
			 b->id);
}

/* A backend that never answers must not keep the others waiting for longer than its time. */
static void first_round(struct service_rt *s, uint64_t now_ms)
{
	const struct health_check *c = &s->cfg->policy.check;

	update_ready(s);
	if (!s->first_round_ms)
		s->first_round_ms = now_ms + c->fast_interval_ms + c->timeout_ms;
	if (!s->first_round_over && (s->ready || now_ms >= s->first_round_ms)) {
		s->first_round_over = true;
		traffic_refresh(s);
	}
}

void checks_tick(struct control *c, uint64_t now_ms)
{
	for (size_t i = 0; i < c->nservices; i++) {
		struct service_rt *s = c->services[i];

		if (s->refresh_due)
			traffic_refresh(s);
		for (size_t k = 0; k < s->nbackends; k++)
			start_due(s->backends[k], now_ms);
		if (!s->ready)
			first_round(s, now_ms);
	}
}
