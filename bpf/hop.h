/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/*
 * The next hop. Where it is not known yet XDP must leave the frame as it came, to the TC program
 * behind it, which may leave the neighbour to the kernel; so the next hop comes before any rewrite.
 */
#ifndef ZDDLB_BPF_HOP_H
#define ZDDLB_BPF_HOP_H

#include "icmp.h"
#include "parse.h"
#include "stats.h"

struct zd_hop {
	__u32 ifindex;
	bool by_neigh;           /* TC: the kernel shall find the neighbour */
	__u8 macs[2 * ETH_ALEN]; /* destination, source */
	struct bpf_redir_neigh neigh;
};

/* A packet as the routing table is to see it: the outermost one. */
struct zd_route {
	const __u8 *src, *dst; /* v4-mapped */
	__be16 sport, dport;
	__u8 proto;
	bool v6;
	bool reply;
	__u32 overhead; /* bytes that a tunnel adds */
};

/* How a request reaches its backend. Read once: the agent may change the entry meanwhile. */
struct zd_way {
	__u8 mode; /* enum zd_mode */
	bool v6;   /* family of the backend's address */
	__u32 overhead;
};

/* Network layer's length of the largest packet on the wire: GRO merges them before TC. */
static __always_inline __u32 zd_wire_len(const struct zd_ctx *c, const struct zd_pkt *p)
{
	__u32 segment = c->hook == ZD_HOOK_TC ? c->skb->gso_size : 0;

	return zd_unlikely(segment) ? p->l4 - ETH_HLEN + p->l4_header + segment : p->l3_len;
}

static __always_inline long zd_fib_lookup(const struct zd_ctx *c, const struct zd_pkt *p,
					  struct bpf_fib_lookup *fib, const struct zd_route *r)
{
	__u32 len = zd_wire_len(c, p) + r->overhead;

	fib->family = r->v6 ? ZD_AF_INET6 : ZD_AF_INET;
	fib->l4_protocol = r->proto;
	fib->sport = r->sport;
	fib->dport = r->dport;
	fib->tot_len = len > 0xffff ? 0xffff : (__u16)len;
	fib->ifindex = zd_ifindex(c);
	if (r->v6) {
		__builtin_memcpy(fib->ipv6_src, r->src, sizeof(fib->ipv6_src));
		__builtin_memcpy(fib->ipv6_dst, r->dst, sizeof(fib->ipv6_dst));
	} else {
		fib->tos = p->tos;
		__builtin_memcpy(&fib->ipv4_src, r->src + 12, sizeof(fib->ipv4_src));
		__builtin_memcpy(&fib->ipv4_dst, r->dst + 12, sizeof(fib->ipv4_dst));
	}
	if (c->hook == ZD_HOOK_XDP)
		return bpf_fib_lookup(c->xdp, fib, sizeof(*fib), 0);
	return bpf_fib_lookup(c->skb, fib, sizeof(*fib), 0);
}

static __always_inline void zd_hop_by_neigh(struct zd_hop *hop, const struct bpf_fib_lookup *fib)
{
	hop->by_neigh = true;
	hop->neigh.nh_family = fib->family;
	__builtin_memcpy(hop->neigh.ipv6_nh, fib->ipv6_dst, sizeof(hop->neigh.ipv6_nh));
}

/* The kernel's routes and neighbours decide. ZD_NEXT: *hop is filled in. */
static __always_inline enum zd_verdict zd_hop_find(const struct zd_ctx *c, const struct zd_pkt *p,
						   struct zd_hop *hop, const struct zd_route *r)
{
	struct bpf_fib_lookup fib = {};

	switch (zd_fib_lookup(c, p, &fib, r)) {
	case BPF_FIB_LKUP_RET_SUCCESS:
		hop->ifindex = fib.ifindex;
		__builtin_memcpy(hop->macs, fib.dmac, ETH_ALEN);
		__builtin_memcpy(hop->macs + ETH_ALEN, fib.smac, ETH_ALEN);
		return ZD_NEXT;
	case BPF_FIB_LKUP_RET_NO_NEIGH:
		if (c->hook == ZD_HOOK_XDP) {
			zd_count(ZD_EV_PUNTED);
			return ZD_PASS;
		}
		hop->ifindex = fib.ifindex;
		zd_hop_by_neigh(hop, &fib);
		return ZD_NEXT;
	case BPF_FIB_LKUP_RET_NOT_FWDED:
		/* This host is the client: the answer to a probe. */
		return r->reply ? zd_pass(c) : zd_drop(ZD_EV_DROP_NO_ROUTE);
	case BPF_FIB_LKUP_RET_FWD_DISABLED:
		/*
		 * Said before the route is looked at, so this may be a probe's answer as well. The
		 * kernel knows, and will not forward it.
		 */
		if (r->reply && c->hook == ZD_HOOK_XDP)
			return ZD_PASS;
		zd_count(ZD_EV_DROP_FORWARDING_OFF);
		return r->reply ? ZD_PASS : ZD_DROP;
	case BPF_FIB_LKUP_RET_FRAG_NEEDED:
		return zd_too_big(c, p, fib.mtu_result - r->overhead);
	default:
		return zd_drop(ZD_EV_DROP_NO_ROUTE);
	}
}

#endif
