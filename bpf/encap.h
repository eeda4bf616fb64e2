/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/*
 * Modes ipip and gue: the packet travels whole inside another one. The outer header is of the
 * backend's family, the inner one of the VIP's.
 *
 * Outer IPv4 forbids fragments and has id 0 (RFC 6864). DSCP and ECN are copied (RFC 6040, normal
 * mode). gue is variant 0: UDP, whose source port varies with the flow, and 4 bytes. Its checksum is
 * 0 over both families: over IPv6 as RFC 6935 and 6936 allow for tunnels, whose inner packets have
 * checksums of their own. The flow label of outer IPv6 varies with the flow too (RFC 6438).
 */
#ifndef ZDDLB_BPF_ENCAP_H
#define ZDDLB_BPF_ENCAP_H

#include "csum.h"
#include "hop.h"
#include "parse.h"
#include "tunnel.h"

#define ZD_OUTER_TTL 64

#define ZD_OUTER_MAX (sizeof(struct ipv6hdr) + sizeof(struct zd_gue))

static __always_inline __u32 zd_overhead(__u8 mode, bool v6)
{
	__u32 len = v6 ? sizeof(struct ipv6hdr) : sizeof(struct iphdr);

	if (mode == ZD_MODE_GUE)
		return len + sizeof(struct zd_gue);
	return mode == ZD_MODE_IPIP ? len : 0;
}

static __always_inline __u8 zd_inner_proto(const struct zd_pkt *p)
{
	return p->v6 ? IPPROTO_IPV6 : IPPROTO_IPIP;
}

static __always_inline __u8 zd_outer_proto(const struct zd_pkt *p, const struct zd_way *way)
{
	return way->mode == ZD_MODE_GUE ? IPPROTO_UDP : zd_inner_proto(p);
}

/* Of the dynamic range. The bits are not those that choose the slot, all of a backend's are alike. */
static __always_inline __be16 zd_gue_source(const struct zd_pkt *p)
{
	return bpf_htons((__u16)(0xc000 | (p->hash & 0x3fff)));
}

static __always_inline __be16 zd_gue_dest(const struct zd_backend *b)
{
	return b->gue_port ? b->gue_port : bpf_htons(ZD_GUE_PORT);
}

/* `at` takes a whole header. Words as they lie in memory. */
static __always_inline void zd_put_outer_v4(__be32 *at, const struct zd_pkt *p,
					    const struct zd_backend *b, const struct zd_way *way)
{
	__u32 len = p->l3_len + way->overhead;
	const __be32 *from = (const __be32 *)b->source, *to = (const __be32 *)b->addr;

	/* A merged packet may be too long for the field; its segments get their own. */
	at[0] = bpf_htonl(0x45000000 | (__u32)p->tos << 16 | (len > 0xffff ? 0 : len));
	at[1] = bpf_htonl(0x4000);
	at[2] = bpf_htonl(ZD_OUTER_TTL << 24 | (__u32)zd_outer_proto(p, way) << 16);
	at[3] = from[3];
	at[4] = to[3];
	((struct iphdr *)at)->check = zd_csum_fold((__u64)at[0] + at[1] + at[2] + at[3] + at[4]);
}

static __always_inline void zd_put_outer_v6(__be32 *at, const struct zd_pkt *p,
					    const struct zd_backend *b, const struct zd_way *way)
{
	__u32 len = p->l3_len + way->overhead - sizeof(struct ipv6hdr);

	at[0] = bpf_htonl(0x60000000 | (__u32)p->tos << 20 | (__u32)(p->hash & 0xfffff));
	at[1] = bpf_htonl((len > 0xffff ? 0 : len) << 16 | (__u32)zd_outer_proto(p, way) << 8 |
			  ZD_OUTER_TTL);
	__builtin_memcpy(at + 2, b->source, sizeof(b->source));
	__builtin_memcpy(at + 6, b->addr, sizeof(b->addr));
}

static __always_inline void zd_put_gue(struct zd_gue *g, const struct zd_pkt *p,
				       const struct zd_backend *b)
{
	__u32 len = p->l3_len + sizeof(*g);

	g->udp.source = zd_gue_source(p);
	g->udp.dest = zd_gue_dest(b);
	g->udp.len = bpf_htons(len > 0xffff ? 0 : (__u16)len);
	g->udp.check = 0;
	g->version_hlen = 0;
	g->proto = zd_inner_proto(p);
	g->flags = 0;
}

/* The balancer is a hop on the inner packet's way. */
static __always_inline long zd_age_xdp(const struct zd_ctx *c, const struct zd_pkt *p)
{
	void *end = zd_data_end(c);
	struct ipv6hdr *ip6 = p->l3;
	struct iphdr *ip = p->l3;

	if ((void *)(ip + 1) > end)
		return -1;
	if (p->v6) {
		ip6->hop_limit--;
		return 0;
	}
	ip->check = zd_csum_apply(ip->check, (__u16)~bpf_htons(0x0100));
	ip->ttl--;
	return 0;
}

static __always_inline long zd_encap_xdp(const struct zd_ctx *c, const struct zd_pkt *p,
					 const struct zd_backend *b, const struct zd_way *way,
					 const struct zd_hop *hop)
{
	struct ethhdr *eth;
	struct zd_gue *gue;
	void *end;

	if (zd_age_xdp(c, p) || bpf_xdp_adjust_head(c->xdp, -(int)way->overhead))
		return -1;
	eth = zd_data(c);
	end = zd_data_end(c);
	if (way->v6) {
		struct ipv6hdr *ip6 = (void *)(eth + 1);

		if ((void *)(ip6 + 1) > end)
			return -1;
		eth->h_proto = bpf_htons(ETH_P_IPV6);
		zd_put_outer_v6((__be32 *)ip6, p, b, way);
		gue = (void *)(ip6 + 1);
	} else {
		struct iphdr *ip = (void *)(eth + 1);

		if ((void *)(ip + 1) > end)
			return -1;
		eth->h_proto = bpf_htons(ETH_P_IP);
		zd_put_outer_v4((__be32 *)ip, p, b, way);
		gue = (void *)(ip + 1);
	}
	__builtin_memcpy(eth, hop->macs, sizeof(hop->macs));
	if (way->mode == ZD_MODE_IPIP)
		return 0;
	if ((void *)(gue + 1) > end)
		return -1;
	zd_put_gue(gue, p, b);
	return 0;
}

static __always_inline long zd_age_tc(struct __sk_buff *skb, const struct zd_pkt *p)
{
	__u8 ttl = p->ttl - 1;

	if (p->v6)
		return bpf_skb_store_bytes(skb, ETH_HLEN + offsetof(struct ipv6hdr, hop_limit),
					   &ttl, 1, BPF_F_RECOMPUTE_CSUM);
	return bpf_l3_csum_replace(skb, ETH_HLEN + offsetof(struct iphdr, check),
				   bpf_htons(p->ttl << 8), bpf_htons(ttl << 8), 2)
		       ?: bpf_skb_store_bytes(skb, ETH_HLEN + offsetof(struct iphdr, ttl), &ttl, 1,
					      0);
}

/* The kernel must know what it will have to segment later, and that segments fit as they are. */
static __always_inline __u64 zd_room_flags(const struct zd_way *way)
{
	return BPF_F_ADJ_ROOM_FIXED_GSO |
	       (way->v6 ? BPF_F_ADJ_ROOM_ENCAP_L3_IPV6 : BPF_F_ADJ_ROOM_ENCAP_L3_IPV4) |
	       (way->mode == ZD_MODE_GUE ? BPF_F_ADJ_ROOM_ENCAP_L4_UDP : 0);
}

static __always_inline long zd_encap_tc(struct __sk_buff *skb, const struct zd_pkt *p,
					const struct zd_backend *b, const struct zd_way *way,
					const struct zd_hop *hop)
{
	__be16 proto = bpf_htons(way->v6 ? ETH_P_IPV6 : ETH_P_IP);
	__be32 outer[ZD_OUTER_MAX / sizeof(__be32)] = {};
	__u32 len = way->overhead;
	long err;

	if (len < sizeof(struct iphdr) || len > sizeof(outer))
		return -1;
	if (way->v6)
		zd_put_outer_v6(outer, p, b, way);
	else
		zd_put_outer_v4(outer, p, b, way);
	if (way->mode == ZD_MODE_GUE && way->v6)
		zd_put_gue((void *)outer + sizeof(struct ipv6hdr), p, b);
	else if (way->mode == ZD_MODE_GUE)
		zd_put_gue((void *)outer + sizeof(struct iphdr), p, b);
	err = zd_age_tc(skb, p) ?: bpf_skb_adjust_room(skb, (int)len, BPF_ADJ_ROOM_MAC,
						       zd_room_flags(way)) ?:
	      bpf_skb_store_bytes(skb, ETH_HLEN, outer, len, BPF_F_RECOMPUTE_CSUM) ?:
	      bpf_skb_store_bytes(skb, offsetof(struct ethhdr, h_proto), &proto, sizeof(proto), 0);
	if (err || hop->by_neigh)
		return err;
	return bpf_skb_store_bytes(skb, 0, hop->macs, sizeof(hop->macs), 0);
}

#endif
