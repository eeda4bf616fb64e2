/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/*
 * Handshakes as seen from here: answered, refused, unanswered, reset before a byte. Only SYN,
 * SYN-ACK and RST come here. A cell is claimed by swapping its state, written, and opened by storing
 * the next state last, so no half-written cell is ever believed.
 */
#ifndef ZDDLB_BPF_BIRTH_H
#define ZDDLB_BPF_BIRTH_H

#include "maps.h"
#include "select.h"
#include "stats.h"

static __always_inline struct zd_birth *zd_birth_cell(__u64 hash)
{
	__u32 key = (__u32)hash & zd_cfg.birth_mask;

	return bpf_map_lookup_elem(&births, &key);
}

static __always_inline bool zd_birth_swap(struct zd_birth *cell, __u32 from, __u32 to)
{
	return __sync_val_compare_and_swap(&cell->state, from, to) == from;
}

/*
 * A SYN goes to `backend`. Where its answer does not come this way nothing is observed; the cell
 * only tells that the SYN has been counted.
 */
__noinline int zd_birth_syn(__u64 hash, __u32 backend, bool observed, __u32 seq)
{
	struct zd_birth *cell = zd_birth_cell(hash);
	__u64 now = bpf_ktime_get_coarse_ns();
	bool young, again;
	__u32 state, former;

	if (!cell)
		return 0;
	state = *(volatile __u32 *)&cell->state;
	former = cell->backend;
	young = now - cell->born_ns < ZD_BIRTH_TIMEOUT_NS;
	again = state != ZD_BIRTH_FREE && cell->flow == hash && former == backend &&
		cell->client_isn == seq;
	if (again && (young || state == ZD_BIRTH_SYN)) {
		zd_count_backend(backend, ZD_BC_SYN_RETRANSMITS);
		return 0;
	}
	zd_count_backend(backend, ZD_BC_CONNECTIONS);
	/* An open handshake keeps its cell, unless its flow has gone to another backend since. */
	if (state == ZD_BIRTH_CLAIMED || (state == ZD_BIRTH_SYN && young && cell->flow != hash) ||
	    !zd_birth_swap(cell, state, ZD_BIRTH_CLAIMED)) {
		zd_count(ZD_EV_BIRTH_SKIPPED);
		return 0;
	}
	if (state == ZD_BIRTH_SYN)
		zd_count_backend(former, ZD_BC_UNANSWERED);
	cell->flow = hash;
	cell->born_ns = now;
	cell->backend = (__u16)backend;
	cell->isn = 0;
	cell->client_isn = seq;
	zd_birth_swap(cell, ZD_BIRTH_CLAIMED, observed ? ZD_BIRTH_SYN : ZD_BIRTH_ANSWERED);
	if (observed)
		zd_count_backend(backend, ZD_BC_ATTEMPTS);
	return 1;
}

__noinline int zd_birth_answer(__u64 hash, __u32 backend, __u32 isn)
{
	struct zd_birth *cell = zd_birth_cell(hash);

	if (!cell || cell->flow != hash || cell->backend != backend)
		return 0;
	if (*(volatile __u32 *)&cell->state != ZD_BIRTH_SYN)
		return 0;
	cell->isn = isn;
	if (!zd_birth_swap(cell, ZD_BIRTH_SYN, ZD_BIRTH_ANSWERED))
		return 0;
	zd_count_backend(backend, ZD_BC_ANSWERED);
	return 1;
}

__noinline int zd_birth_reset(__u64 hash, __u32 backend, __u32 seq)
{
	struct zd_birth *cell = zd_birth_cell(hash);

	zd_count_backend(backend, ZD_BC_SERVER_RESETS);
	if (!cell || cell->flow != hash || cell->backend != backend)
		return 0;
	if (zd_birth_swap(cell, ZD_BIRTH_SYN, ZD_BIRTH_FREE)) {
		zd_count_backend(backend, ZD_BC_REFUSED);
		return 1;
	}
	if (seq == cell->isn + 1 && zd_birth_swap(cell, ZD_BIRTH_ANSWERED, ZD_BIRTH_FREE)) {
		zd_count_backend(backend, ZD_BC_EARLY_RESETS);
		return 1;
	}
	return 0;
}

static __always_inline void zd_count_request(const struct zd_ctx *c, const struct zd_pkt *p,
					     __u32 backend, bool observed)
{
	struct zd_backend_stats *s = zd_stats(backend);

	if (s) {
		s->count[ZD_BC_REQUEST_PACKETS] += zd_wire_packets(c);
		s->count[ZD_BC_REQUEST_BYTES] += p->len;
		if (zd_unlikely(p->tcp_flags & ZD_TCP_RST))
			s->count[ZD_BC_CLIENT_RESETS]++;
	}
	zd_count(ZD_EV_REQUEST_FORWARDED);
	if (zd_unlikely(zd_is_syn(p)))
		zd_birth_syn(p->hash, backend, observed, p->seq);
}

static __always_inline void zd_count_reply(const struct zd_ctx *c, const struct zd_pkt *p,
					   __u32 backend, const struct zd_endpoint *vip)
{
	struct zd_backend_stats *s = zd_stats(backend);
	__u8 flags = p->tcp_flags & (ZD_TCP_SYN | ZD_TCP_RST | ZD_TCP_ACK);

	if (s) {
		s->count[ZD_BC_REPLY_PACKETS] += zd_wire_packets(c);
		s->count[ZD_BC_REPLY_BYTES] += p->len;
	}
	zd_count(ZD_EV_REPLY_FORWARDED);
	if (zd_unlikely(flags & ZD_TCP_RST))
		zd_birth_reset(zd_flow_hash(&p->to, vip, p->v6), backend, p->seq);
	else if (zd_unlikely(flags == (ZD_TCP_SYN | ZD_TCP_ACK)))
		zd_birth_answer(zd_flow_hash(&p->to, vip, p->v6), backend, p->seq);
}

#endif
