/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * Walks the pins while anything is in transition: counts living connections per backend (for
 * drains), learns which slots still have pins, settles what has been quiet for an idle timeout.
 * In small pieces, so that the loop never waits; not at all while every ring is settled.
 */
#include <stdlib.h>
#include <string.h>

#include "control_internal.h"
#include "io/log.h"
#include "io/maps.h"

/* One piece of a sweep: 8192 buckets are 512 KiB of memory to read. */
#define PIECE_BUCKETS 8192
/* From the end of one sweep to the start of the next. */
#define SWEEP_PAUSE_MS  1000
#define BIRTHS_EVERY_MS 250

static bool draining(const struct service_rt *s)
{
	for (size_t i = 0; i < s->nbackends; i++) {
		if (s->backends[i]->admin != ADMIN_ACTIVE || s->backends[i]->removed)
			return true;
	}
	return false;
}

static void free_bitmaps(struct control *c)
{
	for (size_t i = 0; i < c->nservices; i++) {
		free(c->services[i]->pinned);
		c->services[i]->pinned = NULL;
	}
}

static bool begin(struct control *c, uint64_t now_ms)
{
	bool needed = false;

	for (size_t i = 0; i < c->nservices; i++) {
		struct service_rt *s = c->services[i];

		/* Where every flow has a pin, pins come and end all the time. */
		if (!s->ring.full && !ring_unsettled(&s->ring) && !draining(s))
			continue;
		needed = true;
		s->pinned = calloc((s->ring.nslots + 63) / 64, sizeof(*s->pinned));
	}
	if (!needed && !c->pins_total)
		return false;
	memset(c->sweep_pins, 0, ZD_MAX_BACKEND_IDS * sizeof(*c->sweep_pins));
	c->sweep_started_ms = now_ms;
	c->sweep_cursor = 0;
	c->sweeping = true;
	return true;
}

/* A UDP flow has nothing to lose at its backend: with the next packet it gets another one. */
static bool selects_anew(const struct backend_rt *b, uint64_t pin)
{
	return b && ZD_PIN_STATE(pin) == ZD_PIN_UDP && (b->removed || b->admin != ADMIN_ACTIVE);
}

static bool on_pin(void *arg, uint64_t pin)
{
	struct control *c = arg;
	uint16_t id = ZD_PIN_BACKEND(pin);
	const struct backend_rt *b = c->by_id[id];
	uint32_t slot;

	if (selects_anew(b, pin))
		return false;
	c->sweep_pins[id]++;
	if (!b || !b->service->pinned)
		return true;
	slot = ZD_SLOT_INDEX(pin, b->service->ring.nslots - 1);
	b->service->pinned[slot / 64] |= 1ULL << (slot % 64);
	return true;
}

static void settle(struct service_rt *s)
{
	struct control *c = s->control;
	/* As of the sweep's start: a slot that changed since may have pins that it did not see. */
	struct ring_world w = { .alive = c->alive, .now_ms = c->sweep_started_ms };
	uint32_t idle_ms = service_idle_ms(s->cfg, &c->model->dataplane);

	if (!s->pinned)
		return;
	if (ring_settle(&s->ring, idle_ms, s->pinned, &w))
		traffic_store_words(s);
}

static bool in_ring(const struct service_rt *s, uint16_t id)
{
	for (uint32_t i = 0; i < s->ring.nslots; i++) {
		if (ZD_SLOT_CURRENT(s->ring.slots[i]) == id || ZD_SLOT_BASE(s->ring.slots[i]) == id)
			return true;
	}
	return false;
}

/* A count says how it was when its sweep began: what a packet pins behind its back it does not see. */
static void count_drain(struct backend_rt *b)
{
	struct control *c = b->service->control;
	char text[ENDPOINT_TEXT_LEN];

	if (b->drain.state == DRAIN_NONE || b->drain.state == DRAIN_CANCELLED ||
	    b->drain.started_ms > c->sweep_started_ms)
		return;
	if (drain_count(&b->drain, c->sweep_started_ms, b->pins))
		control_event(c, "drain", b->service->cfg->name, endpoint_text(&b->ep, text),
			      "drain of backend %s: %s, %llu connections remain", text,
			      drain_state_name(b->drain.state), (unsigned long long)b->pins);
}

static void finish_backends(struct service_rt *s)
{
	for (size_t i = s->nbackends; i-- > 0;) {
		struct backend_rt *b = s->backends[i];

		b->pins = s->control->sweep_pins[b->id];
		count_drain(b);
		if (b->removed && !b->pins && b->drain.started_ms < s->control->sweep_started_ms &&
		    !in_ring(s, b->id))
			objects_forget_backend(b);
	}
}

static void finish(struct control *c, uint64_t now_ms)
{
	c->sweeping = false;
	c->sweep_ended_ms = now_ms;
	c->pins_total = 0;
	for (uint32_t id = 0; id < ZD_MAX_BACKEND_IDS; id++)
		c->pins_total += c->sweep_pins[id];
	for (size_t i = 0; i < c->nservices; i++) {
		settle(c->services[i]);
		finish_backends(c->services[i]);
	}
	free_bitmaps(c);
}

static void on_unanswered(void *arg, uint16_t backend)
{
	struct control *c = arg;

	if (c->by_id[backend])
		c->by_id[backend]->unanswered_swept++;
}

void sweep_births(struct control *c, uint64_t now_ns)
{
	maps_sweep_births(c->maps, now_ns, on_unanswered, c);
}

/* Handshakes are open only where connections come in: while nothing does, nothing is looked at. */
static bool births_due(struct control *c, uint64_t now_ms)
{
	uint64_t attempts = 0;

	if (now_ms - c->births_swept_ms < BIRTHS_EVERY_MS)
		return false;
	for (size_t i = 0; i < c->nservices; i++) {
		for (size_t k = 0; k < c->services[i]->nbackends; k++)
			attempts += c->services[i]->backends[k]->count[ZD_BC_ATTEMPTS];
	}
	if (attempts != c->births_seen) {
		c->births_seen = attempts;
		c->births_quiet_ms = now_ms + 2 * ZD_BIRTH_TIMEOUT_NS / 1000000;
	}
	return now_ms < c->births_quiet_ms;
}

void sweep_tick(struct control *c, uint64_t now_ms)
{
	uint64_t now_ns = control_now_ns();
	int done;

	if (births_due(c, now_ms)) {
		c->births_swept_ms = now_ms;
		sweep_births(c, now_ns);
	}
	if (!c->sweeping && (now_ms - c->sweep_ended_ms < SWEEP_PAUSE_MS || !begin(c, now_ms)))
		return;
	done = maps_sweep_pins(c->maps, &c->sweep_cursor, PIECE_BUCKETS, now_ns, on_pin, c);
	if (done < 0) {
		log_error("pins cannot be read error=%d", done);
		c->sweeping = false;
		c->sweep_ended_ms = now_ms;
		free_bitmaps(c);
	} else if (done) {
		finish(c, now_ms);
	}
}
