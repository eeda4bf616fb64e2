/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/*
 * Pins: which backend a connection is tied to while its slot changes. A lookup reads one cache
 * line. Every change is a compare-and-swap of one word; a swap that fails is tried a few times and
 * then given up, which costs one packet's refresh, never a wrong word.
 *
 * When a word is living: ZD_PIN_IS_LIVING in abi.h. An ended word looks living again once the circle
 * of ticks has come round to it, so the agent's sweep frees ended words long before.
 */
#ifndef ZDDLB_BPF_PIN_H
#define ZDDLB_BPF_PIN_H

#include "maps.h"
#include "stats.h"

#define ZD_PIN_TRIES 3

static __always_inline __u32 zd_tick(void)
{
	return ZD_PIN_TICK(bpf_ktime_get_coarse_ns());
}

static __always_inline __u32 zd_pin_ticks(enum zd_pin_state state)
{
	switch (state) {
	case ZD_PIN_EMBRYONIC:
		return zd_cfg.syn_ticks;
	case ZD_PIN_CLOSING:
		return zd_cfg.fin_ticks;
	case ZD_PIN_UDP:
		return zd_cfg.udp_ticks;
	case ZD_PIN_ESTABLISHED:
		break;
	}
	return zd_cfg.idle_ticks;
}

static __always_inline __u64 zd_pin_make(__u64 hash, __u32 backend, enum zd_pin_state state,
					 __u32 tick)
{
	__u32 expiry = (tick - 1 + zd_pin_ticks(state)) % ZD_PIN_TICKS + 1;

	return (hash & ZD_PIN_SIG_MASK) | (__u64)state << ZD_PIN_STATE_SHIFT |
	       (__u64)(__u16)backend << ZD_PIN_BACKEND_SHIFT | expiry;
}

static __always_inline bool zd_pin_is_of(__u64 word, __u64 hash)
{
	return !((word ^ hash) & ZD_PIN_SIG_MASK);
}

static __always_inline struct zd_pin_bucket *zd_pin_bucket(__u64 hash)
{
	__u32 key = (__u32)hash & zd_cfg.pin_bucket_mask;

	return bpf_map_lookup_elem(&pins, &key);
}

/*
 * What the living pin of a flow says; 0: not pinned. A global function, like the others here: the
 * verifier looks at it once, not once for every way a packet can come.
 */
__noinline __u64 zd_pin_find(__u64 hash, __u32 tick)
{
	struct zd_pin_bucket *b = zd_pin_bucket(hash);

	if (!b)
		return 0;
#pragma unroll
	for (int i = 0; i < ZD_PINS_PER_BUCKET; i++) {
		__u64 word = *(volatile __u64 *)&b->word[i];

		if (zd_unlikely(zd_pin_is_of(word, hash)) &&
		    ZD_PIN_IS_LIVING(word, tick, zd_cfg.longest_ticks))
			return word;
	}
	return 0;
}

/*
 * How well a word would do as the place of a new pin, lowest best: the flow's own word, else a free
 * or ended one, else the one that ends first.
 */
static __always_inline __u32 zd_pin_rank(__u64 word, __u64 hash, __u32 tick)
{
	if (ZD_PIN_EXPIRY(word) && zd_pin_is_of(word, hash))
		return 0;
	return ZD_PIN_IS_LIVING(word, tick, zd_cfg.longest_ticks) ? 1 + ZD_PIN_LEFT(word, tick) : 1;
}

/* Index in the bucket. Index and rank go through the loop as one number, to spare the verifier. */
static __always_inline __u32 zd_pin_place(const struct zd_pin_bucket *b, __u64 hash, __u32 tick)
{
	__u32 best = ~0u;

	for (int i = 0; i < ZD_PINS_PER_BUCKET; i++) {
		__u64 word = *(volatile const __u64 *)&b->word[i];
		__u32 rank = zd_pin_rank(word, hash, tick) << 8 | i;

		if (rank < best)
			best = rank;
	}
	return best % ZD_PINS_PER_BUCKET;
}

/* Insert or overwrite. */
__noinline int zd_pin_put(__u64 hash, __u32 backend, __u32 state)
{
	struct zd_pin_bucket *b = zd_pin_bucket(hash);
	__u32 tick = zd_tick();
	__u64 want = zd_pin_make(hash, backend, state, tick);

	if (!b)
		return 0;
	for (int i = 0; i < ZD_PIN_TRIES; i++) {
		__u64 *place = &b->word[zd_pin_place(b, hash, tick)];
		__u64 seen = *(volatile __u64 *)place;

		if (__sync_val_compare_and_swap(place, seen, want) != seen)
			continue;
		zd_count(ZD_EV_PIN_INSERTED);
		if (zd_pin_rank(seen, hash, tick) > 1)
			zd_count(ZD_EV_PIN_EVICTED);
		return 1;
	}
	return 0;
}

__noinline int zd_pin_delete(__u64 hash)
{
	struct zd_pin_bucket *b = zd_pin_bucket(hash);

	if (!b)
		return 0;
	for (int i = 0; i < ZD_PINS_PER_BUCKET; i++) {
		__u64 word = *(volatile __u64 *)&b->word[i];

		if (ZD_PIN_EXPIRY(word) && zd_pin_is_of(word, hash))
			__sync_val_compare_and_swap(&b->word[i], word, 0);
	}
	return 1;
}

/*
 * What a packet that is no SYN makes of its pin. A closing one stays closing, but every packet gives
 * it fin_ticks anew: a half-closed connection may still carry a long answer.
 */
static __always_inline __u64 zd_pin_touched(__u64 word, bool closes, __u32 tick)
{
	enum zd_pin_state was = ZD_PIN_STATE(word);
	enum zd_pin_state state = was == ZD_PIN_UDP                 ? ZD_PIN_UDP
				  : closes || was == ZD_PIN_CLOSING ? ZD_PIN_CLOSING
								    : ZD_PIN_ESTABLISHED;

	return zd_pin_make(word, ZD_PIN_BACKEND(word), state, tick);
}

/* Replace what a flow's pin said. If it says something else by now, a faster packet was right. */
__noinline int zd_pin_swap(__u64 seen, __u64 want, __u64 hash)
{
	struct zd_pin_bucket *b = zd_pin_bucket(hash);

	if (!b)
		return 0;
	for (int i = 0; i < ZD_PINS_PER_BUCKET; i++) {
		if (*(volatile __u64 *)&b->word[i] == seen)
			return __sync_val_compare_and_swap(&b->word[i], seen, want) == seen;
	}
	return 0;
}

__noinline int zd_pin_renew(__u64 hash, __u64 seen, __u32 tick, bool closes)
{
	__u64 want = zd_pin_touched(seen, closes, tick);

	for (int i = 0; want != seen && i < ZD_PIN_TRIES; i++) {
		if (zd_pin_swap(seen, want, hash))
			break;
		seen = zd_pin_find(hash, tick);
		if (!seen || ZD_PIN_BACKEND(seen) != ZD_PIN_BACKEND(want))
			break;
		want = zd_pin_touched(seen, closes, tick);
	}
	return 0;
}

/* Refresh a pin that was found; mostly it says the right thing already and nothing is written. */
static __always_inline void zd_pin_touch(__u64 hash, __u64 seen, __u32 tick, bool closes)
{
	if (zd_unlikely(zd_pin_touched(seen, closes, tick) != seen))
		zd_pin_renew(hash, seen, tick, closes);
}

#endif
