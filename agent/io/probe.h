/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * Carries out health checks: TCP connects and HTTP requests, many at a time, through libcurl's
 * multi interface on the event loop. Knows nothing of rise and fall: one check in, one result out.
 */
#ifndef ZDDLB_IO_PROBE_H
#define ZDDLB_IO_PROBE_H

#include <stdint.h>
#include <uv.h>

#include "../core/health.h"
#include "../core/model.h"

struct prober;
struct probe;

typedef void (*probe_fn)(void *arg, const struct check_result *result);

int prober_open(struct prober **ret, uv_loop_t *loop);
/* Cancels what runs; callbacks are not called. The loop must run once more to close handles. */
void prober_close(struct prober *p);

/*
 * Start one check of `ep`. `fn` is called exactly once, from the loop, at the latest timeout_ms
 * (plus scheduling) later, unless the probe is cancelled. An answer is read up to 64 KiB, then cut.
 * NULL: out of memory or descriptors (nothing will be called).
 */
struct probe *probe_start(struct prober *p, const struct endpoint *ep,
			  const struct health_check *check, probe_fn fn, void *arg);
void probe_cancel(struct probe *probe); /* `fn` will not be called */

#endif
