/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * The rules of the pinned ring. Nothing here allocates once a ring exists: a rollback must not be
 * able to fail for want of memory, so scratch space is on the stack, at most 400 KiB of it.
 */
#include <assert.h>
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include <zddlb/abi.h>

#include "ring.h"

int ring_init(struct ring *r, uint32_t nslots)
{
	struct ring ring = { .nslots = nslots };

	if (nslots == 0 || nslots > ZD_MAX_RING_SLOTS || (nslots & (nslots - 1)))
		return -EINVAL;

	ring.slots = calloc(nslots, sizeof(*ring.slots));
	ring.changed_ms = calloc(nslots, sizeof(*ring.changed_ms));
	if (!ring.slots || !ring.changed_ms) {
		ring_fini(&ring);
		return -ENOMEM;
	}
	*r = ring;
	return 0;
}

void ring_fini(struct ring *r)
{
	free(r->slots);
	free(r->changed_ms);
	memset(r, 0, sizeof(*r));
}

static bool is_alive(const struct ring_world *w, uint16_t backend)
{
	return backend != ZD_NO_BACKEND && w->alive[backend];
}

/* The flags of a slot that has nothing to wait for: pins may be there, or cannot. */
static uint32_t calm_flags(const struct ring *r, uint32_t flags)
{
	if (r->full)
		return ZD_SLOT_MOVING;
	return flags ? ZD_SLOT_CONSULT : 0;
}

static bool slot_set(struct ring *r, uint32_t slot, uint64_t word)
{
	if (r->slots[slot] == word)
		return false;
	r->slots[slot] = word;
	return true;
}

/* The slot stays with its backend; only its lease is at stake. */
static bool slot_lease(struct ring *r, uint32_t slot, bool leased, const struct ring_world *w)
{
	uint16_t current = ZD_SLOT_CURRENT(r->slots[slot]);
	uint16_t base = ZD_SLOT_BASE(r->slots[slot]);
	uint32_t flags = ZD_SLOT_FLAGS(r->slots[slot]);

	/* A lease needs somewhere to fall back to. */
	if (leased && base != current && is_alive(w, base))
		return slot_set(r, slot, ZD_SLOT(current, base, flags | ZD_SLOT_LEASED));
	if (leased || !(flags & ZD_SLOT_LEASED))
		return false;

	/* New connections went to base whenever the lease was out: their idle timeout starts now. */
	r->changed_ms[slot] = w->now_ms;
	return slot_set(r, slot, ZD_SLOT(current, base, flags & ~ZD_SLOT_LEASED));
}

uint32_t ring_track(struct ring *r, bool full, const struct ring_world *w)
{
	uint32_t changed = 0;

	r->full = full;
	for (uint32_t i = 0; i < r->nslots && full; i++) {
		uint64_t word = r->slots[i];
		uint32_t flags = ZD_SLOT_FLAGS(word) | ZD_SLOT_MOVING;

		if (ZD_SLOT_CURRENT(word) == ZD_NO_BACKEND ||
		    !slot_set(r, i, ZD_SLOT(ZD_SLOT_CURRENT(word), ZD_SLOT_BASE(word), flags)))
			continue;
		r->changed_ms[i] = w->now_ms;
		changed++;
	}
	for (uint32_t i = 0; i < r->nslots && !full; i++) {
		if (ZD_SLOT_FLAGS(r->slots[i]) & ZD_SLOT_ADOPT)
			r->changed_ms[i] = w->now_ms;
	}
	return changed;
}

bool ring_assign(struct ring *r, uint32_t slot, uint16_t backend, bool leased,
		 const struct ring_world *w)
{
	uint16_t current = ZD_SLOT_CURRENT(r->slots[slot]);
	uint16_t base = ZD_SLOT_BASE(r->slots[slot]);
	uint32_t flags = ZD_SLOT_FLAGS(r->slots[slot]);

	if (backend == current)
		return slot_lease(r, slot, leased, w);

	/*
	 * While ADOPT is set, connections without a pin belong to base, and those of the current
	 * backend have one. Otherwise the current backend is what they belong to.
	 */
	if (!(flags & ZD_SLOT_ADOPT) || !is_alive(w, base))
		base = is_alive(w, current) ? current : backend;

	if (base != backend)
		flags = ZD_SLOT_MOVING | (leased ? ZD_SLOT_LEASED : 0);
	else
		flags = calm_flags(r, flags);

	r->changed_ms[slot] = w->now_ms;
	return slot_set(r, slot, ZD_SLOT(backend, base, flags));
}

/* What a rebalance has still to do. */
struct plan {
	const struct share *shares;
	size_t n, next;                      /* next: the first share that may be in want */
	uint64_t left;                       /* slots still wanted */
	uint32_t flags;                      /* of all slots, and LEASED if any share is */
	int32_t balance[ZD_MAX_BACKEND_IDS]; /* slots held less slots wanted */
	bool leased[ZD_MAX_BACKEND_IDS];
};

static void plan_init(struct plan *p, const struct ring *r, const struct share *shares, size_t n)
{
	memset(p, 0, sizeof(*p));
	p->shares = shares;
	p->n = n;

	for (uint32_t i = 0; i < r->nslots; i++) {
		p->balance[ZD_SLOT_CURRENT(r->slots[i])]++;
		p->flags |= ZD_SLOT_FLAGS(r->slots[i]);
	}
	for (size_t i = 0; i < n; i++) {
		p->balance[shares[i].backend] -= (int32_t)shares[i].slots;
		p->leased[shares[i].backend] = shares[i].leased;
		p->flags |= shares[i].leased ? ZD_SLOT_LEASED : 0;
	}
	for (size_t i = 0; i < n; i++)
		if (p->balance[shares[i].backend] < 0)
			p->left += (uint64_t)-p->balance[shares[i].backend];
}

static uint16_t plan_receiver(struct plan *p)
{
	while (p->balance[p->shares[p->next].backend] >= 0) {
		p->next++;
		assert(p->next < p->n);
	}
	return p->shares[p->next].backend;
}

/*
 * The order in which surplus slots are given away. A slot that goes home needs no pins. One that
 * is in transition already needs no more of them than it has. The others follow by index: slots
 * are chosen by a hash, so neighbours have nothing in common.
 */
enum stage { STAGE_HOME, STAGE_MOVING, STAGE_SETTLED, STAGE_ANY, STAGE_MAX };

/* The backend that gets the slot at this stage; ZD_NO_BACKEND: not yet. */
static uint16_t plan_pick(struct plan *p, enum stage stage, uint64_t word)
{
	uint16_t base = ZD_SLOT_BASE(word), to;

	if (stage == STAGE_HOME)
		/* At home there is no lease: the fallback would be the backend itself. */
		return p->balance[base] < 0 && !p->leased[base] ? base : ZD_NO_BACKEND;
	if (stage == STAGE_MOVING && !(ZD_SLOT_FLAGS(word) & ZD_SLOT_ADOPT))
		return ZD_NO_BACKEND;

	to = plan_receiver(p);
	if (stage != STAGE_ANY && to == base && p->leased[to])
		return ZD_NO_BACKEND;
	return to;
}

uint32_t ring_rebalance(struct ring *r, const struct share *shares, size_t n,
			const struct ring_world *w)
{
	enum stage first;
	uint32_t moved = 0;
	struct plan p;

	plan_init(&p, r, shares, n);
	/* Only a slot in transition has a home elsewhere. */
	first = p.flags & ZD_SLOT_ADOPT ? STAGE_HOME : STAGE_SETTLED;

	for (enum stage stage = first; stage < STAGE_MAX; stage++) {
		for (uint32_t i = 0; i < r->nslots && p.left; i++) {
			uint16_t from = ZD_SLOT_CURRENT(r->slots[i]), to;

			if (p.balance[from] <= 0)
				continue;
			to = plan_pick(&p, stage, r->slots[i]);
			if (to == ZD_NO_BACKEND)
				continue;
			ring_assign(r, i, to, p.leased[to], w);
			p.balance[from]--;
			p.balance[to]++;
			p.left--;
			moved++;
		}
	}

	for (uint32_t i = 0; i < r->nslots && p.flags & ZD_SLOT_LEASED; i++)
		slot_lease(r, i, p.leased[ZD_SLOT_CURRENT(r->slots[i])], w);
	return moved;
}

uint32_t ring_restore(struct ring *r, const uint16_t *snapshot, const struct ring_world *w)
{
	uint32_t moved = 0;

	for (uint32_t i = 0; i < r->nslots; i++) {
		if (!is_alive(w, snapshot[i]))
			continue;
		moved += snapshot[i] != ZD_SLOT_CURRENT(r->slots[i]);
		ring_assign(r, i, snapshot[i], false, w);
	}
	return moved;
}

void ring_snapshot(const struct ring *r, uint16_t *ret)
{
	for (uint32_t i = 0; i < r->nslots; i++)
		ret[i] = ZD_SLOT_CURRENT(r->slots[i]);
}

uint32_t ring_bury(struct ring *r, uint16_t dead, uint16_t fallback, const struct ring_world *w)
{
	uint32_t changed = 0;

	for (uint32_t i = 0; i < r->nslots; i++) {
		uint16_t current = ZD_SLOT_CURRENT(r->slots[i]);
		uint32_t flags = ZD_SLOT_FLAGS(r->slots[i]);

		if (ZD_SLOT_BASE(r->slots[i]) != dead || current == dead)
			continue;
		changed++;
		r->changed_ms[i] = w->now_ms;
		if ((flags & ZD_SLOT_LEASED) && fallback != current && is_alive(w, fallback))
			r->slots[i] = ZD_SLOT(current, fallback, flags);
		else
			r->slots[i] = ZD_SLOT(current, current, calm_flags(r, flags));
	}
	return changed;
}

/* A packet that read a slot's word before it changed is through after that long. */
#define GRACE_MS 100

static bool slot_settle(struct ring *r, uint32_t slot, uint64_t idle_ms, const uint64_t *pinned,
			const struct ring_world *w)
{
	uint16_t current = ZD_SLOT_CURRENT(r->slots[slot]);
	uint32_t flags = ZD_SLOT_FLAGS(r->slots[slot]);
	uint64_t age_ms = 0;

	if (w->now_ms > r->changed_ms[slot])
		age_ms = w->now_ms - r->changed_ms[slot];

	/* Only looked at: no pin is added any more, so the sweep has seen all there are. */
	if (flags == ZD_SLOT_CONSULT) {
		if (age_ms < GRACE_MS || !pinned || pinned[slot / 64] >> slot % 64 & 1)
			return false;
		return slot_set(r, slot, ZD_SLOT(current, current, 0));
	}

	if (flags & (ZD_SLOT_LEASED | ZD_SLOT_TRIAL) || age_ms < idle_ms)
		return false;
	/* Pins were added until now, behind the sweep's back: only the next one can vouch. */
	r->changed_ms[slot] = w->now_ms;
	return slot_set(r, slot, ZD_SLOT(current, current, calm_flags(r, ZD_SLOT_CONSULT)));
}

uint32_t ring_settle(struct ring *r, uint64_t idle_ms, const uint64_t *pinned,
		     const struct ring_world *w)
{
	uint32_t changed = 0;

	for (uint32_t i = 0; i < r->nslots; i++)
		if (ZD_SLOT_FLAGS(r->slots[i]))
			changed += slot_settle(r, i, idle_ms, pinned, w);
	return changed;
}

uint32_t ring_unsettled(const struct ring *r)
{
	uint32_t n = 0;

	for (uint32_t i = 0; i < r->nslots; i++) {
		uint16_t current = ZD_SLOT_CURRENT(r->slots[i]);

		if (r->full)
			n += current && r->slots[i] != ZD_SLOT(current, current, ZD_SLOT_MOVING);
		else
			n += ZD_SLOT_FLAGS(r->slots[i]) != 0;
	}
	return n;
}

void ring_count(const struct ring *r, uint32_t *counts)
{
	for (uint32_t i = 0; i < r->nslots; i++)
		counts[ZD_SLOT_CURRENT(r->slots[i])]++;
}
