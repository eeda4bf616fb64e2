/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/* Incremental checksums, RFC 1624 equation 3: HC' = ~(~HC + ~m + m'). */
#ifndef ZDDLB_BPF_CSUM_H
#define ZDDLB_BPF_CSUM_H

#include "ctx.h"

/* What replacing `from` by `to` adds to an unfolded sum. Words as they lie in memory. */
static __always_inline __u64 zd_csum_diff32(__u32 from, __u32 to)
{
	return (__u64)(__u32)~from + to;
}

static __always_inline __u64 zd_csum_diff16(__u16 from, __u16 to)
{
	return (__u64)(__u16)~from + to;
}

static __always_inline __u64 zd_csum_diff128(const __u32 *from, const __u32 *to)
{
	return zd_csum_diff32(from[0], to[0]) + zd_csum_diff32(from[1], to[1]) +
	       zd_csum_diff32(from[2], to[2]) + zd_csum_diff32(from[3], to[3]);
}

static __always_inline __u16 zd_csum_fold(__u64 sum)
{
	sum = (sum & 0xffffffff) + (sum >> 32);
	sum = (sum & 0xffff) + (sum >> 16);
	sum = (sum & 0xffff) + (sum >> 16);
	sum = (sum & 0xffff) + (sum >> 16);
	return (__u16)~sum;
}

static __always_inline __u16 zd_csum_apply(__u16 check, __u64 diff)
{
	return zd_csum_fold((__u64)(__u16)~check + diff);
}

#endif
