/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/*
 * The way out of a request, by its backend's mode, and of a reply; and the redirect. Everything that
 * could leave the packet to others has been asked before anything is rewritten.
 */
#ifndef ZDDLB_BPF_FORWARD_H
#define ZDDLB_BPF_FORWARD_H

#include "encap.h"
#include "hop.h"
#include "nat.h"
#include "quote.h"

static __always_inline enum zd_verdict zd_hop_by_route(const struct zd_ctx *c,
						       const struct zd_pkt *p, struct zd_hop *hop,
						       const struct zd_backend *b,
						       const struct zd_way *way)
{
	struct zd_route r = { .dst = b->addr, .v6 = way->v6, .overhead = way->overhead };

	if (way->mode < ZD_MODE_IPIP) {
		r.src = p->from.addr;
		r.sport = p->from.port;
		r.dport = b->port;
		r.proto = p->to.proto;
		return zd_hop_find(c, p, hop, &r);
	}
	r.src = b->source;
	r.proto = zd_outer_proto(p, way);
	if (way->mode == ZD_MODE_GUE) {
		r.sport = zd_gue_source(p);
		r.dport = zd_gue_dest(b);
	}
	return zd_hop_find(c, p, hop, &r);
}

/* The agent has resolved most backends' next hops already. */
static __always_inline enum zd_verdict zd_hop_to_backend(const struct zd_ctx *c,
							 const struct zd_pkt *p, struct zd_hop *hop,
							 const struct zd_backend *b,
							 struct zd_way *way)
{
	__u16 flags = b->flags;

	way->mode = b->mode;
	way->v6 = flags & ZD_BACKEND_V6;
	way->overhead = zd_overhead(way->mode, way->v6);
	/* dsr is no hop of the network layer. */
	if (zd_unlikely(p->ttl <= 1) && way->mode != ZD_MODE_DSR)
		return zd_drop(ZD_EV_DROP_TTL);
	if (zd_unlikely(!(flags & ZD_BACKEND_RESOLVED)))
		return zd_hop_by_route(c, p, hop, b, way);
	if (zd_unlikely(b->mtu && zd_wire_len(c, p) + way->overhead > b->mtu))
		return zd_too_big(c, p, b->mtu - way->overhead);
	hop->ifindex = b->ifindex;
	__builtin_memcpy(hop->macs, b->dmac, ETH_ALEN);
	__builtin_memcpy(hop->macs + ETH_ALEN, b->smac, ETH_ALEN);
	return ZD_NEXT;
}

static __always_inline enum zd_verdict zd_hop_to_client(const struct zd_ctx *c,
							const struct zd_pkt *p, struct zd_hop *hop,
							const struct zd_endpoint *vip)
{
	struct zd_route r = {
		.src = vip->addr,
		.dst = p->to.addr,
		.sport = vip->port,
		.dport = p->to.port,
		.proto = p->to.proto,
		.v6 = p->v6,
		.reply = true,
	};

	return zd_hop_find(c, p, hop, &r);
}

/* By offset: what an ICMP error went through may have moved the packet. */
static __always_inline long zd_write_macs(const struct zd_ctx *c, const struct zd_hop *hop)
{
	if (c->hook == ZD_HOOK_TC && hop->by_neigh)
		return 0;
	return zd_store(c, 0, hop->macs, sizeof(hop->macs));
}

static __always_inline long zd_nat(const struct zd_ctx *c, const struct zd_pkt *p,
				   const struct zd_rewrite *rw, const struct zd_hop *hop)
{
	if (zd_unlikely(p->kind == ZD_ICMP_ERROR))
		return zd_nat_quote(c, rw->addr, rw->port, rw->source) ?: zd_write_macs(c, hop);
	return c->hook == ZD_HOOK_XDP ? zd_write_xdp(c, p, rw, hop)
				      : zd_write_tc(c->skb, p, rw, hop);
}

static __always_inline long zd_encap(const struct zd_ctx *c, const struct zd_pkt *p,
				     const struct zd_backend *b, const struct zd_way *way,
				     const struct zd_hop *hop)
{
	return c->hook == ZD_HOOK_XDP ? zd_encap_xdp(c, p, b, way, hop)
				      : zd_encap_tc(c->skb, p, b, way, hop);
}

static __always_inline long zd_dsr(const struct zd_ctx *c, const struct zd_pkt *p,
				   const struct zd_hop *hop)
{
	struct ethhdr *eth = p->eth;

	if (c->hook == ZD_HOOK_TC)
		return hop->by_neigh
			       ? 0
			       : bpf_skb_store_bytes(c->skb, 0, hop->macs, sizeof(hop->macs), 0);
	if ((void *)(eth + 1) > zd_data_end(c))
		return -1;
	__builtin_memcpy(eth, hop->macs, sizeof(hop->macs));
	return 0;
}

static __always_inline enum zd_verdict zd_leave(const struct zd_ctx *c, struct zd_hop *hop)
{
	if (c->hook == ZD_HOOK_XDP && hop->ifindex == zd_ifindex(c))
		return ZD_TX;
	if (c->hook == ZD_HOOK_TC && hop->by_neigh)
		bpf_redirect_neigh(hop->ifindex, &hop->neigh, sizeof(hop->neigh), 0);
	else
		bpf_redirect(hop->ifindex, 0);
	return ZD_REDIRECT;
}

static __always_inline enum zd_verdict zd_send_request(const struct zd_ctx *c,
						       const struct zd_pkt *p,
						       const struct zd_backend *b,
						       const struct zd_way *way, struct zd_hop *hop)
{
	struct zd_rewrite rw = { .addr = b->addr, .port = b->port };
	long err;

	if (zd_likely(way->mode == ZD_MODE_NAT))
		err = zd_nat(c, p, &rw, hop);
	else if (way->mode == ZD_MODE_DSR)
		err = zd_dsr(c, p, hop);
	else
		err = zd_encap(c, p, b, way, hop);
	return err ? zd_drop(ZD_EV_DROP_REWRITE) : zd_leave(c, hop);
}

static __always_inline enum zd_verdict zd_send_reply(const struct zd_ctx *c, const struct zd_pkt *p,
						     const struct zd_endpoint *vip,
						     struct zd_hop *hop)
{
	struct zd_rewrite rw = { .addr = vip->addr, .port = vip->port, .source = true };

	return zd_nat(c, p, &rw, hop) ? zd_drop(ZD_EV_DROP_REWRITE) : zd_leave(c, hop);
}

#endif
