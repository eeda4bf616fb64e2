/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/*
 * Flow -> slot -> backend: the pinned ring (docs/design.md). Choosing reads only; what is to become
 * of the flow's pin is written down in struct zd_choice and done once the packet is sure to leave.
 */
#ifndef ZDDLB_BPF_SELECT_H
#define ZDDLB_BPF_SELECT_H

#include "maps.h"
#include "parse.h"
#include "pin.h"

enum zd_pin_op {
	ZD_PIN_KEEP,
	ZD_PIN_PUT,    /* a new connection's */
	ZD_PIN_ADOPT,  /* of a connection that has been there: established */
	ZD_PIN_TOUCH,  /* refresh */
	ZD_PIN_DELETE, /* a former connection's */
};

struct zd_choice {
	struct zd_backend *backend; /* NULL: nobody can serve this packet */
	__u32 id;
	enum zd_pin_op op;
	__u32 tick;    /* now, if the slot has flags */
	__u64 seen;    /* the flow's pin, 0: none */
	bool fallback; /* the slot's lease ran out */
};

static __always_inline __u64 zd_mix(__u64 h, __u64 multiplier)
{
	h *= multiplier;
	return h ^ h >> 32;
}

/*
 * Keyed hash of client, VIP and ports; requests and replies of a connection agree on it. Two lanes,
 * so that the multiplications overlap, then a finalizer after which all 64 bits are of use: the low
 * ones choose pin bucket and birth cell, those from ZD_PIN_SIG_SHIFT on are slot and signature.
 */
static __always_inline __u64 zd_flow_hash(const struct zd_endpoint *client,
					  const struct zd_endpoint *vip, bool v6)
{
	const __u32 *c = (const __u32 *)client->addr, *v = (const __u32 *)vip->addr;
	__u64 x = zd_cfg.hash_key[0], y = zd_cfg.hash_key[1];

	if (v6) {
		x = zd_mix(x ^ c[0] ^ (__u64)c[1] << 32, 0x9fb21c651e98df25);
		y = zd_mix(y ^ v[0] ^ (__u64)v[1] << 32, 0xa0761d6478bd642f);
		x = zd_mix(x ^ c[2] ^ (__u64)c[3] << 32, 0xd6e8feb86659fd93);
		y = zd_mix(y ^ v[2] ^ (__u64)v[3] << 32, 0xe7037ed1a0b428db);
		x ^= y << 29 | y >> 35;
		y = zd_cfg.hash_key[1];
	} else {
		x = zd_mix(x ^ c[3] ^ (__u64)v[3] << 32, 0x9fb21c651e98df25);
	}
	y ^= client->port | (__u64)vip->port << 16 | (__u64)client->proto << 32 | (__u64)v6 << 40;
	y = zd_mix(y, 0xd1342543de82ef95);
	x ^= y << 23 | y >> 41;
	x = zd_mix(x, 0xbf58476d1ce4e5b9);
	x = (x ^ x >> 29) * 0x94d049bb133111eb;
	return x ^ x >> 31;
}

/* nat and dsr keep the family of a packet; tunnels do not care. */
static __always_inline bool zd_serves(const struct zd_backend *b, bool v6)
{
	__u16 flags = b->flags & (ZD_BACKEND_ALIVE | ZD_BACKEND_V6);

	if (zd_likely(flags == (ZD_BACKEND_ALIVE | (v6 ? ZD_BACKEND_V6 : 0))))
		return true;
	return flags & ZD_BACKEND_ALIVE && b->mode >= ZD_MODE_IPIP;
}

/* A backend that may be sent to, or NULL. Ids come from mapped memory: any value may be there. */
static __always_inline struct zd_backend *zd_usable(__u32 id, bool v6)
{
	struct zd_backend *b;

	if (id == ZD_NO_BACKEND)
		return NULL;
	b = bpf_map_lookup_elem(&backends, &id);
	return b && zd_serves(b, v6) ? b : NULL;
}

static __always_inline void zd_take(struct zd_choice *ch, const struct zd_pkt *p, __u32 first,
				    __u32 second)
{
	ch->id = first;
	ch->backend = zd_usable(first, p->v6);
	if (zd_likely(ch->backend) || first == second)
		return;
	ch->id = second;
	ch->backend = zd_usable(second, p->v6);
}

static __always_inline bool zd_lease_ran_out(const struct zd_service *svc)
{
	__u64 lease_ns = *(volatile __u64 *)&svc->lease_ns;

	return *(volatile __u32 *)&svc->flags & ZD_SERVICE_HOLD ||
	       (lease_ns && bpf_ktime_get_coarse_ns() >= lease_ns);
}

/* A new connection, in a slot with flags. */
static __always_inline void zd_choose_new(struct zd_choice *ch, const struct zd_pkt *p,
					  const struct zd_service *svc, __u64 slot)
{
	__u32 current = ZD_SLOT_CURRENT(slot), base = ZD_SLOT_BASE(slot);
	__u32 flags = ZD_SLOT_FLAGS(slot);

	ch->fallback = flags & ZD_SLOT_LEASED && zd_lease_ran_out(svc) && zd_usable(base, p->v6);
	/* A SYN sent again: its answer may be on the way already, so it keeps its backend. */
	if (ch->seen && !ch->fallback && ZD_PIN_STATE(ch->seen) == ZD_PIN_EMBRYONIC) {
		ch->id = ZD_PIN_BACKEND(ch->seen);
		ch->backend = zd_usable(ch->id, p->v6);
		if (ch->backend)
			return;
	}
	if (ch->fallback)
		zd_take(ch, p, base, current);
	else
		zd_take(ch, p, current, base);
	if (flags & ZD_SLOT_PIN)
		ch->op = ZD_PIN_PUT;
	else if (ch->seen)
		ch->op = ZD_PIN_DELETE;
}

/* A packet of a connection that is there, in a slot with flags; its pin, if any, is of no use. */
static __always_inline void zd_choose_unpinned(struct zd_choice *ch, const struct zd_pkt *p,
					       __u64 slot)
{
	zd_take(ch, p, ZD_SLOT_BASE(slot), ZD_SLOT_CURRENT(slot));
	/*
	 * A pin to a dead backend stays: should the backend come back, so do its connections. What
	 * ends with this packet needs no pin.
	 */
	if (ZD_SLOT_FLAGS(slot) & ZD_SLOT_ADOPT && !ch->seen &&
	    !(p->tcp_flags & (ZD_TCP_FIN | ZD_TCP_RST)))
		ch->op = ZD_PIN_ADOPT;
}

static __always_inline bool zd_choose_pinned(struct zd_choice *ch, const struct zd_pkt *p)
{
	if (!ch->seen)
		return false;
	ch->id = ZD_PIN_BACKEND(ch->seen);
	ch->backend = zd_usable(ch->id, p->v6);
	if (zd_unlikely(!ch->backend))
		return false;
	ch->op = ZD_PIN_TOUCH;
	return true;
}

static __always_inline bool zd_tracks_fully(const struct zd_service *svc)
{
	return *(volatile __u32 *)&svc->flags & ZD_SERVICE_TRACK_FULL;
}

static __always_inline void zd_choose(struct zd_choice *ch, const struct zd_pkt *p,
				      const struct zd_service *svc)
{
	__u32 key = svc->ring_offset + ZD_SLOT_INDEX(p->hash, svc->ring_mask);
	__u64 *word = bpf_map_lookup_elem(&ring, &key);
	__u64 slot;

	if (!word)
		return;
	/* Once: the agent may store another word between two reads. */
	slot = *(volatile __u64 *)word;
	if (zd_likely(!ZD_SLOT_FLAGS(slot))) {
		zd_take(ch, p, ZD_SLOT_CURRENT(slot), ZD_SLOT_BASE(slot));
		return;
	}
	ch->tick = zd_tick();
	ch->seen = ZD_SLOT_FLAGS(slot) & ZD_SLOT_MOVING ? zd_pin_find(p->hash, ch->tick) : 0;
	if (zd_is_syn(p)) {
		zd_choose_new(ch, p, svc, slot);
		return;
	}
	if (zd_likely(zd_choose_pinned(ch, p)))
		return;
	/* UDP has no first packet but the one that no pin knows. */
	if (zd_is_udp(p) && zd_tracks_fully(svc))
		zd_choose_new(ch, p, svc, slot);
	else
		zd_choose_unpinned(ch, p, slot);
}

/* Do what zd_choose decided about the pin. */
static __always_inline void zd_pin_commit(const struct zd_choice *ch, const struct zd_pkt *p)
{
	switch (ch->op) {
	case ZD_PIN_KEEP:
		break;
	case ZD_PIN_PUT:
		if (!zd_is_udp(p))
			zd_pin_put(p->hash, ch->id, ZD_PIN_EMBRYONIC);
		else if (zd_pin_put(p->hash, ch->id, ZD_PIN_UDP))
			zd_count_backend(ch->id, ZD_BC_CONNECTIONS);
		break;
	case ZD_PIN_ADOPT:
		zd_pin_put(p->hash, ch->id, zd_is_udp(p) ? ZD_PIN_UDP : ZD_PIN_ESTABLISHED);
		break;
	case ZD_PIN_TOUCH:
		zd_pin_touch(p->hash, ch->seen, ch->tick, p->tcp_flags & (ZD_TCP_FIN | ZD_TCP_RST));
		break;
	case ZD_PIN_DELETE:
		zd_pin_delete(p->hash);
		break;
	}
	if (ch->fallback)
		zd_count(ZD_EV_LEASE_FALLBACK);
}

/* A tracked UDP flow lives as long as either side sends. Called for replies. */
static __always_inline void zd_keep_flow(const struct zd_pkt *p, const struct zd_reverse *r,
					 const struct zd_endpoint *vip)
{
	__u32 index = r->service, tick;
	const struct zd_service *svc = bpf_map_lookup_elem(&services, &index);
	__u64 hash, seen;

	if (!svc || !zd_tracks_fully(svc))
		return;
	hash = zd_flow_hash(&p->to, vip, p->v6);
	tick = zd_tick();
	seen = zd_pin_find(hash, tick);
	if (seen && ZD_PIN_BACKEND(seen) == r->backend)
		zd_pin_touch(hash, seen, tick, false);
}

#endif
