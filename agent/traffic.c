/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * From the states of backends to the words that packets see: select, round to slots, move the
 * surplus, store. Leaves before roots: a backend is alive in the maps before a slot names it, and
 * loses its life there before its slots have moved, so that packets bypass it at once.
 */
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include <arpa/inet.h>

#include "control_internal.h"
#include "io/log.h"
#include "io/maps.h"
#include "io/store.h"

/* When these words last changed is not known: a whole idle timeout from now on is safe. */
static void take_over_words(struct service_rt *s, const uint64_t *words)
{
	uint64_t now = control_now_ms();

	for (uint32_t i = 0; i < s->ring.nslots; i++) {
		s->ring.slots[i] = words[i];
		s->ring.changed_ms[i] = now;
	}
}

int traffic_open(struct service_rt *s, bool adopted, struct diag *d)
{
	uint32_t n = s->cfg->ring_slots;
	uint64_t *stored;
	int err = ring_init(&s->ring, n);

	if (!err)
		err = maps_map_ring(s->control->maps, s->ring_offset, n, &s->mapped);
	if (err)
		return diag_set(d, -err, "ring", s->cfg->pointer,
				"Cannot set up the ring of service %s: %s.", s->cfg->name,
				strerror(-err));
	if (adopted) {
		take_over_words(s, s->mapped);
		return 0;
	}
	stored = calloc(n, sizeof(*stored));
	if (!stored)
		return -ENOMEM;
	if (store_get_ring(s->control->store, s->cfg->name, stored, n) == 0)
		take_over_words(s, stored);
	free(stored);
	traffic_store_words(s);
	return 0;
}

void traffic_close(struct service_rt *s)
{
	if (s->mapped)
		maps_unmap_ring(s->control->maps, s->mapped, s->ring.nslots);
	s->mapped = NULL;
	ring_fini(&s->ring);
}

void traffic_store_words(struct service_rt *s)
{
	for (uint32_t i = 0; i < s->ring.nslots; i++) {
		if (s->mapped[i] == s->ring.slots[i])
			continue;
		__atomic_store_n(&s->mapped[i], s->ring.slots[i], __ATOMIC_RELEASE);
		/* To be written to disk, from its start. */
		s->ring_dirty = true;
		s->saved_slots = 0;
	}
}

/* Results of checks that come closer together than that wait for the next tick. */
#define REFRESH_PAUSE_MS 40

/* 64 KiB: a commit of that size takes no longer than any other. */
#define SAVE_SLOTS 8192

bool traffic_save_ring(struct service_rt *s)
{
	struct control *c = s->control;
	uint32_t n = s->ring.nslots - s->saved_slots;

	if (c->store_problem[0])
		return true; /* tried again when the store is well */
	if (n > SAVE_SLOTS)
		n = SAVE_SLOTS;
	if (store_put_ring_part(c->store, s->cfg->name, s->saved_slots,
				s->ring.slots + s->saved_slots, n) < 0) {
		control_store_failed(c, -EIO, "a ring", NULL);
		return true;
	}
	s->saved_slots += n;
	if (s->saved_slots < s->ring.nslots)
		return false;
	s->saved_slots = 0;
	s->ring_dirty = false;
	return true;
}

static void fill_candidate(struct candidate *k, const struct backend_rt *b)
{
	const struct version_rt *v = control_version(b->service, b->version);

	k->admin = b->removed ? ADMIN_DRAINING : b->admin;
	k->health = b->health.state;
	k->proven = b->health.proven;
	k->absent = b->health.absent;
	k->version_bp = v ? v->weight_bp : 0;
	k->weight = b->problem ? 0 : b->weight;
}

static void set_alive(struct backend_rt *b, bool alive)
{
	struct control *c = b->service->control;

	if (b->alive == alive)
		return;
	b->alive = alive;
	c->alive[b->id] = alive;
	maps_set_alive(c->maps, b->id, alive);
}

static void select_all(struct service_rt *s)
{
	struct candidate *k = calloc(s->nbackends ? s->nbackends : 1, sizeof(*k));
	bool panic;

	if (!k)
		return;
	for (size_t i = 0; i < s->nbackends; i++)
		fill_candidate(&k[i], s->backends[i]);
	panic = select_candidates(k, s->nbackends, s->cfg->policy.panic_threshold_pct);
	for (size_t i = 0; i < s->nbackends; i++) {
		s->backends[i]->effective = k[i].effective;
		s->backends[i]->why = s->backends[i]->problem ? s->backends[i]->problem : k[i].why;
		set_alive(s->backends[i], k[i].alive && !s->backends[i]->problem);
	}
	free(k);
	if (panic != s->panic) {
		s->panic = panic;
		control_event(s->control, "health", s->cfg->name, "",
			      panic ? "panic: too few healthy backends, health is ignored"
				    : "panic is over: enough backends are healthy again");
	}
}

/* A canary is no help here: it has to prove itself beside a stable version, not in its place. */
bool traffic_is_last(const struct backend_rt *b)
{
	const struct service_rt *s = b->service;
	const struct version_rt *canary = rollout_canary(s);

	if (!b->effective || (canary && !strcmp(b->version, canary->name)))
		return false;
	for (size_t i = 0; i < s->nbackends; i++) {
		const struct backend_rt *o = s->backends[i];

		if (o != b && o->effective && !(canary && !strcmp(o->version, canary->name)))
			return false;
	}
	return true;
}

static struct share *make_shares(const struct service_rt *s)
{
	struct share *sh = calloc(s->nbackends ? s->nbackends : 1, sizeof(*sh));
	const struct version_rt *canary = rollout_canary(s);

	for (size_t i = 0; sh && i < s->nbackends; i++) {
		const struct backend_rt *b = s->backends[i];
		const struct version_rt *v = NULL;

		for (size_t k = 0; k < s->nversions; k++) {
			if (!strcmp(s->versions[k].name, b->version)) {
				v = &s->versions[k];
				sh[i].version = (uint32_t)k;
			}
		}
		sh[i].backend = b->id;
		sh[i].version_bp = v ? v->weight_bp : 0;
		sh[i].weight = v ? b->effective : 0;
		sh[i].leased = canary && v == canary;
		if (!v)
			sh[i].version = (uint32_t)s->nversions;
	}
	return sh;
}

/* A stable backend for LEASED slots whose base has died. */
static uint16_t stable_fallback(const struct service_rt *s, const struct share *sh)
{
	for (size_t i = 0; i < s->nbackends; i++) {
		if (sh[i].slots && !sh[i].leased && s->backends[i]->alive)
			return s->backends[i]->id;
	}
	return ZD_NO_BACKEND;
}

static uint32_t bury_dead(struct service_rt *s, const struct share *sh, const struct ring_world *w)
{
	bool is_base[ZD_MAX_BACKEND_IDS] = { false };
	uint16_t fallback = stable_fallback(s, sh);
	uint32_t changed = 0;

	/* Most of the dead have been buried before, and each burial walks the ring. */
	for (uint32_t i = 0; i < s->ring.nslots; i++)
		is_base[ZD_SLOT_BASE(s->ring.slots[i])] = true;
	for (size_t i = 0; i < s->nbackends; i++) {
		if (!s->backends[i]->alive && is_base[s->backends[i]->id])
			changed += ring_bury(&s->ring, s->backends[i]->id, fallback, w);
	}
	return changed;
}

static void take_note_of_change(struct service_rt *s, uint32_t moved)
{
	s->moved_slots = moved;
	s->revision++;
	control_changed(s->control);
	s->changed_unix_ms = control_unix_ms();
	traffic_read_counters(s);
	for (size_t i = 0; i < s->nbackends; i++)
		s->backends[i]->connections_at_change = s->backends[i]->count[ZD_BC_CONNECTIONS];
}

static void keep_shares(struct service_rt *s, const struct share *sh)
{
	uint32_t *held = calloc(ZD_MAX_BACKEND_IDS, sizeof(*held));

	if (!held)
		return;
	ring_count(&s->ring, held);
	for (size_t i = 0; i < s->nbackends; i++) {
		s->backends[i]->wanted_slots = sh[i].slots;
		s->backends[i]->programmed_slots = held[s->backends[i]->id];
	}
	free(held);
}

static void refresh(struct service_rt *s, uint32_t moved)
{
	struct ring_world w = { .alive = s->control->alive, .now_ms = control_now_ms() };
	struct share *sh;

	s->refresh_due = false;
	s->refreshed_ms = w.now_ms;
	select_all(s);
	sh = make_shares(s);
	if (!sh)
		return;
	/* With nobody to take connections the ring stays as it is: it may still be right. */
	if (ring_quota(sh, s->nbackends, s->ring.nslots)) {
		moved += ring_rebalance(&s->ring, sh, s->nbackends, &w);
		bury_dead(s, sh, &w);
	}
	traffic_store_words(s);
	keep_shares(s, sh);
	free(sh);
	if (moved)
		take_note_of_change(s, moved);
}

static bool is_empty(const struct ring *r)
{
	for (uint32_t i = 0; i < r->nslots; i++) {
		if (ZD_SLOT_CURRENT(r->slots[i]) != ZD_NO_BACKEND)
			return false;
	}
	return true;
}

/*
 * A new ring is built once, when every backend has had its first answer or the time for it, and so
 * starts settled; built backend by backend it would be in transition for an idle timeout.
 */
static bool waits_for_first_round(const struct service_rt *s)
{
	return !s->ready && !s->first_round_over && is_empty(&s->ring);
}

void traffic_refresh(struct service_rt *s)
{
	if (!waits_for_first_round(s))
		refresh(s, 0);
}

/* A rack that fails is hundreds of results at once; one ring answers them all. */
void traffic_refresh_soon(struct service_rt *s)
{
	if (control_now_ms() - s->refreshed_ms < REFRESH_PAUSE_MS)
		s->refresh_due = true;
	else
		traffic_refresh(s);
}

void traffic_restore(struct service_rt *s, const uint16_t *snapshot)
{
	bool own[ZD_MAX_BACKEND_IDS] = { false };
	struct ring_world w;

	/* An id of the ring of before may be another service's by now. */
	for (size_t i = 0; i < s->nbackends; i++)
		own[s->backends[i]->id] = s->backends[i]->alive;
	w = (struct ring_world){ .alive = own, .now_ms = control_now_ms() };
	refresh(s, ring_restore(&s->ring, snapshot, &w));
}

void traffic_read_counters(struct service_rt *s)
{
	for (size_t i = 0; i < s->nbackends; i++) {
		struct backend_rt *b = s->backends[i];

		if (maps_backend_stats(s->control->maps, b->id, b->count) < 0)
			continue;
		b->count[ZD_BC_UNANSWERED] += b->unanswered_swept;
	}
}
