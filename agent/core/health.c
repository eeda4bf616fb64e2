/* SPDX-License-Identifier: GPL-2.0-only */
/* Rise and fall: counts in, a state and the time of the next check out. */
#include "health.h"
#include "model.h"

const char *health_state_name(enum health_state state)
{
	switch (state) {
	case HEALTH_UNKNOWN:
		return "unknown";
	case HEALTH_HEALTHY:
		return "healthy";
	case HEALTH_UNHEALTHY:
		return "unhealthy";
	}
	return "?";
}

const char *check_outcome_name(enum check_outcome outcome)
{
	switch (outcome) {
	case CHECK_OK:
		return "ok";
	case CHECK_CONNECT_REFUSED:
		return "connect_refused";
	case CHECK_CONNECT_TIMEOUT:
		return "connect_timeout";
	case CHECK_UNREACHABLE:
		return "unreachable";
	case CHECK_TIMEOUT:
		return "timeout";
	case CHECK_RESET:
		return "reset";
	case CHECK_STATUS:
		return "status";
	case CHECK_PROTOCOL:
		return "protocol";
	case CHECK_INTERNAL:
		return "internal";
	}
	return "?";
}

bool check_outcome_is_absent(enum check_outcome outcome)
{
	switch (outcome) {
	case CHECK_CONNECT_REFUSED:
	case CHECK_CONNECT_TIMEOUT:
	case CHECK_UNREACHABLE:
		return true;
	case CHECK_OK:
	case CHECK_TIMEOUT:
	case CHECK_RESET:
	case CHECK_STATUS:
	case CHECK_PROTOCOL:
	case CHECK_INTERNAL:
		return false;
	}
	return false;
}

void health_init(struct health *h, const struct health_check *c, uint64_t now_ms, uint32_t random)
{
	*h = (struct health){ .since_ms = now_ms };

	if (c->type == CHECK_NONE) {
		h->state = HEALTH_HEALTHY;
		h->proven = true;
		h->next_ms = UINT64_MAX;
		return;
	}
	h->next_ms = now_ms + random % ((uint64_t)c->fast_interval_ms + 1);
}

/* A count has begun that may end in a change. */
static bool is_changing(const struct health *h, const struct health_check *c)
{
	switch (h->state) {
	case HEALTH_UNKNOWN:
		return true;
	case HEALTH_HEALTHY:
		return h->fall > 0;
	case HEALTH_UNHEALTHY:
		return h->rise > 0 || (h->gone > 0 && h->gone < c->unhealthy_threshold);
	}
	return false;
}

static uint64_t next_interval(const struct health *h, const struct health_check *c, uint32_t random)
{
	uint32_t interval = c->interval_ms, jitter;

	if (is_changing(h, c))
		interval = c->fast_interval_ms;
	else if (h->state == HEALTH_UNHEALTHY)
		interval = c->down_interval_ms;

	jitter = interval / 10;
	return interval - jitter + random % (2 * (uint64_t)jitter + 1);
}

static void count(struct health *h, enum check_outcome outcome)
{
	if (outcome == CHECK_OK) {
		h->rise++;
		h->fall = 0;
	} else {
		h->fall++;
		h->rise = 0;
		h->failures++;
	}
	h->gone = check_outcome_is_absent(outcome) ? h->gone + 1 : 0;
}

static enum health_state next_state(const struct health *h, const struct health_check *c)
{
	switch (h->state) {
	case HEALTH_UNKNOWN:
		return h->rise ? HEALTH_HEALTHY : HEALTH_UNHEALTHY;
	case HEALTH_HEALTHY:
		return h->fall < c->unhealthy_threshold ? HEALTH_HEALTHY : HEALTH_UNHEALTHY;
	case HEALTH_UNHEALTHY:
		return h->rise < c->healthy_threshold ? HEALTH_UNHEALTHY : HEALTH_HEALTHY;
	}
	return h->state;
}

bool health_record(struct health *h, const struct health_check *c, const struct check_result *r,
		   uint32_t random)
{
	enum health_state state = h->state;
	bool absent = h->absent;

	h->last = *r;
	h->checks++;
	if (r->outcome != CHECK_INTERNAL) {
		count(h, r->outcome);
		h->state = next_state(h, c);
		h->proven |= h->state == HEALTH_HEALTHY;
		/* A single SYN that was lost must not cost a living backend its connections. */
		h->absent = h->state == HEALTH_UNHEALTHY && h->gone >= c->unhealthy_threshold;
	}
	if (h->state != state)
		h->since_ms = r->at_ms;
	h->next_ms = r->at_ms + next_interval(h, c, random);
	return h->state != state || h->absent != absent;
}
