/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/* Per-CPU counters: what became of packets, and what each backend got. */
#ifndef ZDDLB_BPF_STATS_H
#define ZDDLB_BPF_STATS_H

#include "ctx.h"
#include "maps.h"

static __always_inline void zd_count(enum zd_event event)
{
	__u32 key = event;
	__u64 *n = bpf_map_lookup_elem(&events, &key);

	if (n)
		(*n)++;
}

static __always_inline enum zd_verdict zd_drop(enum zd_event reason)
{
	zd_count(reason);
	return ZD_DROP;
}

/* XDP leaves this to the TC program behind it, which sees the same packet again. */
static __always_inline enum zd_verdict zd_pass(const struct zd_ctx *c)
{
	if (c->hook == ZD_HOOK_TC)
		zd_count(ZD_EV_PASSED_NOT_OURS);
	return ZD_PASS;
}

static __always_inline struct zd_backend_stats *zd_stats(__u32 backend)
{
	return bpf_map_lookup_elem(&backend_stats, &backend);
}

static __always_inline void zd_count_backend(__u32 backend, enum zd_backend_counter counter)
{
	struct zd_backend_stats *s = zd_stats(backend);

	if (s)
		s->count[counter]++;
}

#endif
