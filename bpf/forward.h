/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/*
 * The way out: next hop, address and port rewrite, and the redirect. XDP writes into the frame and
 * sends it; where the next hop is not known yet it must leave the frame as it came, so the next hop
 * comes first. TC rewrites through helpers, which know of checksum offload, and may leave the
 * neighbour to the kernel.
 */
#ifndef ZDDLB_BPF_FORWARD_H
#define ZDDLB_BPF_FORWARD_H

#include "csum.h"
#include "parse.h"
#include "stats.h"

#define ZD_AF_INET  2
#define ZD_AF_INET6 10

struct zd_hop {
	__u32 ifindex;
	bool by_neigh;           /* TC: the kernel shall find the neighbour */
	__u8 macs[2 * ETH_ALEN]; /* destination, source */
	struct bpf_redir_neigh neigh;
};

/* What a packet gets: at its source (replies) or its destination (requests). */
struct zd_rewrite {
	const __u8 *addr; /* v4-mapped */
	__be16 port;
	bool source;
};

static __always_inline long zd_fib_lookup(const struct zd_ctx *c, const struct zd_pkt *p,
					  struct bpf_fib_lookup *fib, const struct zd_endpoint *src,
					  const struct zd_endpoint *dst)
{
	fib->family = p->v6 ? ZD_AF_INET6 : ZD_AF_INET;
	fib->l4_protocol = p->to.proto;
	fib->sport = src->port;
	fib->dport = dst->port;
	/* A length of 0 makes the kernel look at the skb, whose segments may fit though it does not. */
	fib->tot_len = c->hook == ZD_HOOK_XDP ? (__u16)p->l3_len : 0;
	fib->ifindex = zd_ifindex(c);
	if (p->v6) {
		__builtin_memcpy(fib->ipv6_src, src->addr, sizeof(fib->ipv6_src));
		__builtin_memcpy(fib->ipv6_dst, dst->addr, sizeof(fib->ipv6_dst));
	} else {
		fib->tos = p->tos;
		__builtin_memcpy(&fib->ipv4_src, src->addr + 12, sizeof(fib->ipv4_src));
		__builtin_memcpy(&fib->ipv4_dst, dst->addr + 12, sizeof(fib->ipv4_dst));
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
						   struct zd_hop *hop,
						   const struct zd_endpoint *src,
						   const struct zd_endpoint *dst, bool reply)
{
	struct bpf_fib_lookup fib = {};

	switch (zd_fib_lookup(c, p, &fib, src, dst)) {
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
		return reply ? zd_pass(c) : zd_drop(ZD_EV_DROP_NO_ROUTE);
	case BPF_FIB_LKUP_RET_FWD_DISABLED:
		/*
		 * Said before the route is looked at, so this may be a probe's answer as well. The
		 * kernel knows, and will not forward it.
		 */
		if (reply && c->hook == ZD_HOOK_XDP)
			return ZD_PASS;
		zd_count(ZD_EV_DROP_FORWARDING_OFF);
		return reply ? ZD_PASS : ZD_DROP;
	case BPF_FIB_LKUP_RET_FRAG_NEEDED:
		return zd_drop(ZD_EV_DROP_TOO_BIG);
	default:
		return zd_drop(ZD_EV_DROP_NO_ROUTE);
	}
}

/* The agent has resolved most backends' next hops already. */
static __always_inline enum zd_verdict zd_hop_to_backend(const struct zd_ctx *c,
							 const struct zd_pkt *p, struct zd_hop *hop,
							 const struct zd_backend *b)
{
	struct zd_endpoint to;

	if (zd_likely(b->flags & ZD_BACKEND_RESOLVED)) {
		hop->ifindex = b->ifindex;
		__builtin_memcpy(hop->macs, b->dmac, ETH_ALEN);
		__builtin_memcpy(hop->macs + ETH_ALEN, b->smac, ETH_ALEN);
		return ZD_NEXT;
	}
	__builtin_memcpy(to.addr, b->addr, sizeof(to.addr));
	to.port = b->port;
	return zd_hop_find(c, p, hop, &p->from, &to, false);
}

/* A UDP checksum that comes out as 0 is written as its other zero: 0 says that there is none. */
static __always_inline void zd_udp_check(struct udphdr *udp, __u64 diff)
{
	__u16 check;

	if (!udp->check)
		return;
	check = zd_csum_apply(udp->check, diff);
	udp->check = check ? check : 0xffff;
}

/* XDP, transport layer. `diff` is what the addresses changed. Both protocols' ports lie alike. */
static __always_inline long zd_write_l4(const struct zd_pkt *p, const struct zd_rewrite *rw,
					__u64 diff, void *end)
{
	struct udphdr *udp = p->transport;
	struct tcphdr *tcp = p->transport;

	if ((void *)(udp + 1) > end)
		return -1;
	if (rw->source) {
		diff += zd_csum_diff16(udp->source, rw->port);
		udp->source = rw->port;
	} else {
		diff += zd_csum_diff16(udp->dest, rw->port);
		udp->dest = rw->port;
	}
	if (zd_is_udp(p)) {
		zd_udp_check(udp, diff);
		return 0;
	}
	if ((void *)(tcp + 1) > end)
		return -1;
	tcp->check = zd_csum_apply(tcp->check, diff);
	return 0;
}

/*
 * XDP: straight into the frame. Pointers of the parser still hold, no helper moved the packet; the
 * bounds are compared again for the verifier, which no longer knows which family they were for.
 */
static __always_inline long zd_write_xdp(const struct zd_ctx *c, const struct zd_pkt *p,
					 const struct zd_rewrite *rw, const struct zd_hop *hop)
{
	void *end = zd_data_end(c);
	const __u32 *to = (const __u32 *)rw->addr;
	__u64 diff;

	if (p->v6) {
		struct ipv6hdr *ip6 = p->l3;
		__u32 *at = (__u32 *)(rw->source ? &ip6->saddr : &ip6->daddr);

		if ((void *)(ip6 + 1) > end)
			return -1;
		diff = zd_csum_diff128(at, to);
		__builtin_memcpy(at, to, sizeof(ip6->saddr));
		ip6->hop_limit--;
	} else {
		struct iphdr *ip = p->l3;
		__u32 *at = rw->source ? &ip->saddr : &ip->daddr;

		if ((void *)(ip + 1) > end)
			return -1;
		diff = zd_csum_diff32(*at, to[3]);
		*at = to[3];
		/* TTL is the upper byte of its checksum word. */
		ip->check = zd_csum_apply(ip->check, diff + (__u16)~bpf_htons(0x0100));
		ip->ttl--;
	}
	if (zd_write_l4(p, rw, diff, end))
		return -1;
	__builtin_memcpy(p->eth, hop->macs, sizeof(hop->macs));
	return 0;
}

/* Where the transport checksum is, and how the helper has to treat it. */
static __always_inline __u32 zd_check_at(const struct zd_pkt *p)
{
	return p->l4 +
	       (zd_is_udp(p) ? offsetof(struct udphdr, check) : offsetof(struct tcphdr, check));
}

static __always_inline __u64 zd_check_flags(const struct zd_pkt *p)
{
	return zd_is_udp(p) ? BPF_F_MARK_MANGLED_0 : 0;
}

/* TC, network layer. The checksum helpers take care of CHECKSUM_PARTIAL and _COMPLETE. */
static __always_inline long zd_store_v4(struct __sk_buff *skb, const struct zd_pkt *p, __be32 from,
					__be32 to, bool source)
{
	__u32 at =
		ETH_HLEN + (source ? offsetof(struct iphdr, saddr) : offsetof(struct iphdr, daddr));
	__u8 ttl = p->ttl - 1;

	return bpf_l4_csum_replace(skb, zd_check_at(p), from, to,
				   zd_check_flags(p) | BPF_F_PSEUDO_HDR | sizeof(to)) ?:
	       bpf_l3_csum_replace(skb, ETH_HLEN + offsetof(struct iphdr, check), from, to,
				   sizeof(to)) ?:
	       bpf_l3_csum_replace(skb, ETH_HLEN + offsetof(struct iphdr, check),
				   bpf_htons(p->ttl << 8), bpf_htons(ttl << 8), 2) ?:
	       bpf_skb_store_bytes(skb, at, &to, sizeof(to), 0) ?:
	       bpf_skb_store_bytes(skb, ETH_HLEN + offsetof(struct iphdr, ttl), &ttl, 1, 0);
}

static __always_inline long zd_store_v6(struct __sk_buff *skb, const struct zd_pkt *p,
					const __u8 *from, const __u8 *to, bool source)
{
	__u32 at = ETH_HLEN +
		   (source ? offsetof(struct ipv6hdr, saddr) : offsetof(struct ipv6hdr, daddr));
	__u8 hops = p->ttl - 1, addr[16];
	__s64 diff;

	__builtin_memcpy(addr, to, sizeof(addr));
	diff = bpf_csum_diff((__be32 *)from, 16, (__be32 *)addr, 16, 0);
	if (diff < 0)
		return diff;
	/*
	 * With CHECKSUM_COMPLETE the helper takes the pseudo header's change off the sum of the
	 * packet, as IPv4 needs it, whose own header checksum balances the address. IPv6 has none,
	 * the address is in the sum itself: give it back.
	 */
	if (bpf_l4_csum_replace(skb, zd_check_at(p), 0, (__u64)diff,
				zd_check_flags(p) | BPF_F_PSEUDO_HDR))
		return -1;
	bpf_csum_update(skb, (__wsum)diff);
	return bpf_skb_store_bytes(skb, at, addr, sizeof(addr), 0)
		       ?: bpf_skb_store_bytes(skb, ETH_HLEN + offsetof(struct ipv6hdr, hop_limit),
					      &hops, 1, BPF_F_RECOMPUTE_CSUM);
}

static __always_inline long zd_write_tc(struct __sk_buff *skb, const struct zd_pkt *p,
					const struct zd_rewrite *rw, const struct zd_hop *hop)
{
	const struct zd_endpoint *old = rw->source ? &p->from : &p->to;
	__u32 at = p->l4 +
		   (rw->source ? offsetof(struct udphdr, source) : offsetof(struct udphdr, dest));
	__be16 port = rw->port;
	/* Nothing in the packet balances the port where UDP has no checksum. */
	__u64 store = p->no_check ? BPF_F_RECOMPUTE_CSUM : 0;
	long err;

	if (p->v6)
		err = zd_store_v6(skb, p, old->addr, rw->addr, rw->source);
	else
		err = zd_store_v4(skb, p, *(__u32 *)(old->addr + 12),
				  *(const __u32 *)(rw->addr + 12), rw->source);
	if (err)
		return err;
	err = bpf_l4_csum_replace(skb, zd_check_at(p), old->port, port,
				  zd_check_flags(p) | sizeof(port))
		      ?: bpf_skb_store_bytes(skb, at, &port, sizeof(port), store);
	if (err || hop->by_neigh)
		return err;
	return bpf_skb_store_bytes(skb, 0, hop->macs, sizeof(hop->macs), 0);
}

/* Rewrite and send. Everything that could leave the packet to others has been asked before. */
static __always_inline enum zd_verdict zd_forward(const struct zd_ctx *c, const struct zd_pkt *p,
						  const struct zd_rewrite *rw, struct zd_hop *hop)
{
	if (c->hook == ZD_HOOK_XDP) {
		if (zd_write_xdp(c, p, rw, hop))
			return zd_drop(ZD_EV_DROP_REWRITE);
		if (hop->ifindex == zd_ifindex(c))
			return ZD_TX;
		bpf_redirect(hop->ifindex, 0);
		return ZD_REDIRECT;
	}
	if (zd_write_tc(c->skb, p, rw, hop))
		return zd_drop(ZD_EV_DROP_REWRITE);
	if (hop->by_neigh)
		bpf_redirect_neigh(hop->ifindex, &hop->neigh, sizeof(hop->neigh), 0);
	else
		bpf_redirect(hop->ifindex, 0);
	return ZD_REDIRECT;
}

#endif
