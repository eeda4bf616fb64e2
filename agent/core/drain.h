/* SPDX-License-Identifier: GPL-2.0-only */
/* When a draining backend may be forgotten: no connections left, or the deadline. */
#ifndef ZDDLB_CORE_DRAIN_H
#define ZDDLB_CORE_DRAIN_H

#include <stdbool.h>
#include <stdint.h>

enum drain_state { DRAIN_NONE, DRAIN_RUNNING, DRAIN_COMPLETED, DRAIN_TIMEOUT, DRAIN_CANCELLED };
const char *drain_state_name(enum drain_state state);

struct drain {
	enum drain_state state;
	uint64_t started_ms, deadline_ms;
	uint64_t counted_ms; /* when `remaining` was counted; 0: not yet */
	uint64_t first_ms;   /* when `first` was counted */
	uint64_t remaining;  /* pinned connections */
	uint64_t first;      /* remaining at the highest full count, for the rate */
	uint64_t settle_ms;  /* connections without a pin may still show up until then */
};

/*
 * Begin. Connections that were never pinned become pins with their next packet; those that are
 * idle are known only `idle_ms` after the start.
 */
void drain_begin(struct drain *d, uint64_t now_ms, uint32_t timeout_ms, uint64_t idle_ms);
/* Cancelled if it was still counting (running, timeout). */
void drain_cancel(struct drain *d, uint64_t now_ms);
/*
 * A full count of pins. True if the state changed. Completed: a count of 0 taken after settle_ms or
 * after the deadline, whichever is first. Timeout: the deadline has passed and some remain; it goes
 * on counting and may still become completed.
 */
bool drain_count(struct drain *d, uint64_t now_ms, uint64_t remaining);
/* Estimated milliseconds until no connection remains; UINT64_MAX: cannot tell. */
uint64_t drain_eta_ms(const struct drain *d, uint64_t now_ms);

#endif
