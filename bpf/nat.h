/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/*
 * Mode nat: another address and port, at the destination of requests and the source of replies. XDP
 * writes into the frame; TC goes through helpers, which know of checksum offload.
 */
#ifndef ZDDLB_BPF_NAT_H
#define ZDDLB_BPF_NAT_H

#include "csum.h"
#include "hop.h"
#include "parse.h"

/* What a packet gets: at its source (replies) or its destination (requests). */
struct zd_rewrite {
	const __u8 *addr; /* v4-mapped */
	__be16 port;
	bool source;
};

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

	if (zd_unlikely(p->kind == ZD_LATER_FRAGMENT))
		return 0;
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

/* TC: let the transport checksum follow. Later fragments have none. */
static __always_inline long zd_mend_l4(struct __sk_buff *skb, const struct zd_pkt *p, __u64 from,
				       __u64 to, __u64 flags)
{
	if (zd_unlikely(p->kind == ZD_LATER_FRAGMENT))
		return 0;
	return bpf_l4_csum_replace(skb, zd_check_at(p), from, to, zd_check_flags(p) | flags);
}

/* TC, network layer. The checksum helpers take care of CHECKSUM_PARTIAL and _COMPLETE. */
static __always_inline long zd_store_v4(struct __sk_buff *skb, const struct zd_pkt *p, __be32 from,
					__be32 to, bool source)
{
	__u32 at =
		ETH_HLEN + (source ? offsetof(struct iphdr, saddr) : offsetof(struct iphdr, daddr));
	__u8 ttl = p->ttl - 1;

	return zd_mend_l4(skb, p, from, to, BPF_F_PSEUDO_HDR | sizeof(to)) ?:
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
	if (zd_mend_l4(skb, p, 0, (__u64)diff, BPF_F_PSEUDO_HDR))
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
	if (zd_likely(p->kind != ZD_LATER_FRAGMENT))
		err = zd_mend_l4(skb, p, old->port, port, sizeof(port))
			      ?: bpf_skb_store_bytes(skb, at, &port, sizeof(port), store);
	if (err || hop->by_neigh)
		return err;
	return bpf_skb_store_bytes(skb, 0, hop->macs, sizeof(hop->macs), 0);
}

#endif
