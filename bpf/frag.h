/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/*
 * Fragments follow their first one, which alone has the ports: it is placed like any packet, and its
 * backend is remembered for a few seconds under addresses and identification. Requests are known by
 * the VIP they are sent to, replies by the backend that was remembered.
 *
 * Nothing can be held back here, so what comes before its first fragment is dropped where it is sent
 * to a VIP, and counted; a reply's is not known to be one, and passes. What overlaps is the
 * receiver's business. The table has a fixed size, and what is oldest makes room: a flood of
 * fragments costs fragments, never connections.
 */
#ifndef ZDDLB_BPF_FRAG_H
#define ZDDLB_BPF_FRAG_H

#include "maps.h"
#include "select.h"

/* 0.54 s; a circle of 65535, in which 0 is not: an empty word is never living. */
#define ZD_FRAG_TICK_SHIFT 29
#define ZD_FRAG_TICKS      65535
#define ZD_FRAG_LIFE_TICKS 8
#define ZD_FRAG_SIG_SHIFT  32

static __always_inline __u32 zd_frag_tick(void)
{
	return (__u32)((bpf_ktime_get_coarse_ns() >> ZD_FRAG_TICK_SHIFT) % ZD_FRAG_TICKS) + 1;
}

/* How old a word is. Free words are older than any. */
static __always_inline __u32 zd_frag_age(__u64 word, __u32 tick)
{
	__u32 born = (__u16)(word >> 16);

	return born ? (tick + ZD_FRAG_TICKS - born) % ZD_FRAG_TICKS : ZD_FRAG_TICKS;
}

static __always_inline bool zd_frag_is_of(__u64 word, __u64 hash)
{
	return !((word ^ hash) >> ZD_FRAG_SIG_SHIFT);
}

/* What fragments of one packet have in common. IPv6 leaves the protocol out (RFC 8200, 4.5). */
__noinline __u64 zd_frag_hash_of(const struct zd_endpoint *src, const struct zd_endpoint *dst,
				 __u32 id, bool v6)
{
	struct zd_endpoint from, to;

	if (!src || !dst)
		return 0;
	from = *src;
	to = *dst;
	from.port = (__be16)id;
	to.port = (__be16)(id >> 16);
	if (v6)
		from.proto = 0;
	return zd_flow_hash(&from, &to, v6);
}

static __always_inline __u64 zd_frag_hash(const struct zd_pkt *p)
{
	return zd_frag_hash_of(&p->from, &p->to, p->frag_id, p->v6);
}

static __always_inline struct zd_frag_bucket *zd_frag_bucket(__u64 hash)
{
	__u32 key = (__u32)hash % ZD_FRAG_BUCKETS;

	return bpf_map_lookup_elem(&fragments, &key);
}

/* The backend of the first fragment, or ZD_NO_BACKEND. */
__noinline __u32 zd_frag_find(__u64 hash)
{
	struct zd_frag_bucket *b = zd_frag_bucket(hash);
	__u32 tick = zd_frag_tick();

	if (!b)
		return ZD_NO_BACKEND;
	for (int i = 0; i < ZD_FRAG_WORDS; i++) {
		__u64 word = *(volatile __u64 *)&b->word[i];

		if (zd_frag_is_of(word, hash) && zd_frag_age(word, tick) <= ZD_FRAG_LIFE_TICKS)
			return (__u16)word;
	}
	return ZD_NO_BACKEND;
}

/*
 * In the place of the former packet with this identification, else of the oldest word. Two CPUs may
 * choose the same place: one packet is lost then.
 */
__noinline int zd_frag_put(__u64 hash, __u32 backend)
{
	struct zd_frag_bucket *b = zd_frag_bucket(hash);
	__u32 tick = zd_frag_tick(), best = 0;

	if (!b)
		return 0;
	for (int i = 0; i < ZD_FRAG_WORDS; i++) {
		__u64 word = *(volatile __u64 *)&b->word[i];
		__u32 age = zd_frag_is_of(word, hash) ? ZD_FRAG_TICKS + 1 : zd_frag_age(word, tick);
		__u32 rank = age << 8 | i;

		if (rank > best)
			best = rank;
	}
	*(volatile __u64 *)&b->word[best % ZD_FRAG_WORDS] =
		hash >> ZD_FRAG_SIG_SHIFT << ZD_FRAG_SIG_SHIFT | tick << 16 | (__u16)backend;
	return 1;
}

/* A first fragment has been placed. */
static __always_inline void zd_frag_remember(const struct zd_pkt *p, __u32 backend)
{
	if (zd_unlikely(p->kind == ZD_FIRST_FRAGMENT))
		zd_frag_put(zd_frag_hash(p), backend);
}

/* A later fragment of a request goes where the first one went. */
static __always_inline void zd_follow(struct zd_choice *ch, struct zd_pkt *p)
{
	p->hash = zd_frag_hash(p);
	ch->id = zd_frag_find(p->hash);
	ch->backend = zd_usable(ch->id, p->v6);
}

/*
 * Whose is a later fragment? What is sent to a VIP is known by the address alone; where `from` is the
 * backend that sent the first one, it gets its port.
 */
static __always_inline void zd_follow_source(struct zd_pkt *p)
{
	__u32 id = zd_frag_find(zd_frag_hash(p));
	const struct zd_backend *b = bpf_map_lookup_elem(&backends, &id);
	const __u32 *have = (const __u32 *)p->from.addr, *want;

	p->to.port = 0;
	p->to.proto = 0;
	if (id == ZD_NO_BACKEND || !b)
		return;
	want = (const __u32 *)b->addr;
	if (have[0] == want[0] && have[1] == want[1] && have[2] == want[2] && have[3] == want[3])
		p->from.port = b->port;
}

#endif
