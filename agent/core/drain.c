/* SPDX-License-Identifier: GPL-2.0-only */
/* Counts of pins in, the end of a drain out. */
#include "drain.h"

const char *drain_state_name(enum drain_state state)
{
	switch (state) {
	case DRAIN_NONE:
		return "none";
	case DRAIN_RUNNING:
		return "running";
	case DRAIN_COMPLETED:
		return "completed";
	case DRAIN_TIMEOUT:
		return "timeout";
	case DRAIN_CANCELLED:
		return "cancelled";
	}
	return "?";
}

static bool is_counting(const struct drain *d)
{
	return d->state == DRAIN_RUNNING || d->state == DRAIN_TIMEOUT;
}

/* From here on a count of 0 is the end. */
static uint64_t believable_ms(const struct drain *d)
{
	return d->settle_ms < d->deadline_ms ? d->settle_ms : d->deadline_ms;
}

void drain_begin(struct drain *d, uint64_t now_ms, uint32_t timeout_ms, uint64_t idle_ms)
{
	*d = (struct drain){
		.state = DRAIN_RUNNING,
		.started_ms = now_ms,
		.deadline_ms = now_ms + timeout_ms,
		.settle_ms = now_ms + idle_ms,
	};
}

void drain_cancel(struct drain *d, uint64_t now_ms)
{
	(void)now_ms;
	if (is_counting(d))
		d->state = DRAIN_CANCELLED;
}

bool drain_count(struct drain *d, uint64_t now_ms, uint64_t remaining)
{
	enum drain_state state = d->state;

	if (!is_counting(d))
		return false;

	/* While connections are still becoming pins, the count says nothing about the rate. */
	if (d->counted_ms == 0 || remaining >= d->first) {
		d->first = remaining;
		d->first_ms = now_ms;
	}
	d->counted_ms = now_ms;
	d->remaining = remaining;

	if (remaining == 0 && now_ms >= believable_ms(d))
		d->state = DRAIN_COMPLETED;
	else if (remaining > 0 && now_ms >= d->deadline_ms)
		d->state = DRAIN_TIMEOUT;
	return d->state != state;
}

uint64_t drain_eta_ms(const struct drain *d, uint64_t now_ms)
{
	uint64_t end = believable_ms(d);

	if (d->state == DRAIN_COMPLETED)
		return 0;
	if (!is_counting(d) || d->counted_ms == 0)
		return UINT64_MAX;

	if (d->remaining > 0) {
		uint64_t gone = d->first - d->remaining;
		uint64_t end_by_rate;

		if (gone == 0)
			return UINT64_MAX;
		end_by_rate = d->counted_ms + d->remaining * (d->counted_ms - d->first_ms) / gone;
		if (end_by_rate > end)
			end = end_by_rate;
	}
	return end > now_ms ? end - now_ms : 0;
}
