/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * Rise and fall of one backend: strictly consecutive results, HAProxy's choice of interval. Unknown
 * is not healthy; at start-up the first answer decides.
 */
#ifndef ZDDLB_CORE_HEALTH_H
#define ZDDLB_CORE_HEALTH_H

#include <stdbool.h>
#include <stdint.h>

struct health_check;

enum health_state { HEALTH_UNKNOWN, HEALTH_HEALTHY, HEALTH_UNHEALTHY };
const char *health_state_name(enum health_state state);

/* Outcome of one check. */
enum check_outcome {
	CHECK_OK,
	CHECK_CONNECT_REFUSED,
	CHECK_CONNECT_TIMEOUT,
	CHECK_UNREACHABLE, /* no route, host or network unreachable */
	CHECK_TIMEOUT,     /* connected, but no whole answer in time */
	CHECK_RESET,       /* connection ended before the answer did */
	CHECK_STATUS,      /* an HTTP status outside the expected range */
	CHECK_PROTOCOL,    /* not an answer of the protocol asked for */
	CHECK_INTERNAL,    /* the check could not be made here; says nothing about the backend */
};
const char *check_outcome_name(enum check_outcome outcome);
/* True for outcomes that mean that nobody is there to hold a connection. */
bool check_outcome_is_absent(enum check_outcome outcome);

struct check_result {
	enum check_outcome outcome;
	uint16_t status;      /* HTTP status or 0 */
	uint32_t duration_us; /* from start to outcome */
	uint64_t at_ms;       /* monotonic */
};

struct health {
	enum health_state state;
	bool absent; /* unhealthy, and unhealthy_threshold times in a row nobody was there */
	uint32_t rise, fall; /* consecutive successes, failures */
	uint32_t gone;       /* consecutive outcomes that mean that nobody is there */
	bool proven;         /* was healthy at least once */
	uint64_t since_ms;   /* of the present state */
	uint64_t next_ms;    /* when the next check is due */
	uint64_t checks, failures;
	struct check_result last;
};

/*
 * A new backend: unknown, first check due between now_ms and now_ms + fast interval, spread by
 * `random` (any 32 random bits), so that checks of many backends do not come in herds. With
 * CHECK_NONE it is healthy at once and for good.
 */
void health_init(struct health *h, const struct health_check *c, uint64_t now_ms, uint32_t random);

/*
 * Take one result and set next_ms (fast interval while changing or unknown, down interval while
 * fully down, else interval; +-10 % jitter from `random`). True if state or absent changed.
 * CHECK_INTERNAL counts for neither side.
 */
bool health_record(struct health *h, const struct health_check *c, const struct check_result *r,
		   uint32_t random);

#endif
