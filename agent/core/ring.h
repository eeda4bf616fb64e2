/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * The pinned ring (docs/design.md, "The pinned ring"): which slot belongs to which backend, and how
 * slots change so that no living connection moves. Quotas are exact to within one slot, a change
 * touches as few slots as the quotas differ by, and a rollback restores the ring of before.
 *
 * A ring is an array of slot words (include/zddlb/abi.h). The agent works on its own copy and then
 * stores the words that differ into the map. Time is an argument, in milliseconds, monotonic.
 */
#ifndef ZDDLB_CORE_RING_H
#define ZDDLB_CORE_RING_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/* One backend's part of the ring, as asked for and as rounded. */
struct share {
	uint16_t backend;
	uint32_t version;    /* any number that is equal for backends of one version */
	uint32_t version_bp; /* weight of its version, 0..10000; the same on all its backends */
	uint32_t weight;     /* inside its version, 0..10000; 0: takes no slots */
	bool leased;         /* its slots carry LEASED, and keep their base */
	uint32_t slots;      /* out, by ring_quota */
};

/*
 * Round the shares of a ring of `nslots` to whole slots: every backend and every version gets its
 * exact part rounded down or up (controlled rounding; largest remainder, ties by position), and
 * the sum is nslots. Versions without a backend of weight > 0 give their part to the others in
 * proportion. If nothing has weight, all slots are 0. Returns the number of slots handed out:
 * nslots or 0. At most 65535 shares, one a backend.
 */
uint32_t ring_quota(struct share *shares, size_t n, uint32_t nslots);

struct ring {
	uint64_t *slots;      /* nslots words */
	uint64_t *changed_ms; /* when each slot last changed; for settling */
	uint32_t nslots;      /* a power of two */
	bool full;            /* every flow has a pin: all slots are MOVING, always */
};

int ring_init(struct ring *r, uint32_t nslots); /* 0, -EINVAL, -ENOMEM; all slots empty */
void ring_fini(struct ring *r);

/*
 * The agent's rules, one slot at a time. `alive` is indexed by backend id (ZD_MAX_BACKEND_IDS bits
 * or bools as below); a backend that is not alive cannot be a base.
 */
struct ring_world {
	const bool *alive; /* [ZD_MAX_BACKEND_IDS] */
	uint64_t now_ms;
};

/*
 * Track every flow from now on, or only those of slots in transition again. A slot that was settled
 * gets all three flags: connections that are there become pins with their next packet. The way back
 * is a transition of all slots, which settles like any other. Returns the number of words changed.
 */
uint32_t ring_track(struct ring *r, bool full, const struct ring_world *w);

/* Make `backend` the current one of `slot`. True if the word changed. */
bool ring_assign(struct ring *r, uint32_t slot, uint16_t backend, bool leased,
		 const struct ring_world *w);

/*
 * Make the ring hold shares[].slots of each backend, reassigning exactly the surplus; a backend may
 * be named once. Slots whose base is in want of slots go back to it first (they need no pins).
 * Backends not named in `shares` hold 0, except that without anybody in want a surplus stays where
 * it is. Also brings the LEASED flag of slots that stay in line with shares[].leased.
 * Returns the number of slots whose current backend changed.
 */
uint32_t ring_rebalance(struct ring *r, const struct share *shares, size_t n,
			const struct ring_world *w);

/*
 * Put back the current backends of `snapshot` (nslots backend ids), slot by slot; slots whose
 * former backend is not alive stay as they are, for ring_rebalance to mend.
 * Returns the number of slots whose current backend changed.
 */
uint32_t ring_restore(struct ring *r, const uint16_t *snapshot, const struct ring_world *w);
void ring_snapshot(const struct ring *r, uint16_t *ret /* [nslots] */);

/*
 * Backend `dead` is gone: where it is base, base becomes current (for a LEASED slot: `fallback`,
 * if that is alive). Call after ring_rebalance has moved its current slots away, with w->alive
 * saying that it is dead. Returns the number of words changed.
 */
uint32_t ring_bury(struct ring *r, uint16_t dead, uint16_t fallback, const struct ring_world *w);

/*
 * One idle timeout after a slot's last change its unpinned connections are either adopted or
 * gone: base = current, flags = CONSULT. CONSULT goes when a sweep that began later finds no pin of
 * the slot. LEASED and TRIAL slots do not settle. `pinned`: one bit a slot, set where the sweep saw
 * pins; NULL: unknown, keep CONSULT. w->now_ms is when that sweep began, and the sweep must have
 * begun after the last call returned. Fully tracked slots keep all three flags; settling concerns
 * their base alone. Returns the number of words changed.
 */
uint32_t ring_settle(struct ring *r, uint64_t idle_ms, const uint64_t *pinned,
		     const struct ring_world *w);

/* How many slots are not settled; 0: no pin is needed anywhere, but for those of full tracking. */
uint32_t ring_unsettled(const struct ring *r);

/* Slots held as current by each backend: counts[backend]++ for all slots. */
void ring_count(const struct ring *r, uint32_t *counts /* [ZD_MAX_BACKEND_IDS] */);

#endif
