/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/*
 * Bytes -> struct zd_pkt. Every bounds check on a frame lives here; no length field is believed
 * before it was compared with the frame. What later steps need is copied out, because helpers of
 * TC invalidate pointers into the packet.
 */
#ifndef ZDDLB_BPF_PARSE_H
#define ZDDLB_BPF_PARSE_H

#include <linux/if_ether.h>
#include <linux/in.h>
#include <linux/ip.h>
#include <linux/ipv6.h>
#include <linux/tcp.h>
#include <linux/udp.h>

#include "ctx.h"
#include "maps.h"

/* TCP and UDP headers must begin within so many bytes; longer chains are nobody's traffic. */
#define ZD_HEADERS_MAX     512
#define ZD_EXT_HEADERS_MAX 6
#define ZD_HEADERS_V4      (ETH_HLEN + 60 + sizeof(struct tcphdr))

#define ZD_IP_MF     0x2000
#define ZD_IP_OFFSET 0x1fff

#define ZD_TCP_FIN 0x01
#define ZD_TCP_SYN 0x02
#define ZD_TCP_RST 0x04
#define ZD_TCP_ACK 0x10

/* What a packet is of its flow. */
enum zd_kind {
	ZD_WHOLE,
	ZD_FIRST_FRAGMENT, /* has the ports */
	ZD_LATER_FRAGMENT,
	ZD_ICMP_ERROR, /* about it */
};

struct zd_pkt {
	struct ethhdr *eth; /* valid until the first helper that may move the packet */
	void *l3;
	void *transport;
	struct zd_endpoint from, to;
	__u64 hash;   /* of the flow as the client sees it */
	__u32 l4;     /* offset of the TCP or UDP header */
	__u32 len;    /* of the frame */
	__u32 l3_len; /* by its header, checked against the frame */
	__u32 seq;
	__u32 frag_id;  /* of a fragment */
	__u8 kind;      /* enum zd_kind */
	__u8 l4_header; /* its length */
	__u8 tcp_flags; /* UDP: none */
	__u8 ttl;
	__u8 tos; /* or traffic class */
	bool v6;
	bool no_check; /* UDP without a checksum */
};

enum zd_parsed {
	ZD_PARSED_FLOW,     /* TCP or UDP, with its ports */
	ZD_PARSED_FOREIGN,  /* not for us, whatever it is */
	ZD_PARSED_ICMP,     /* p->l4 is where */
	ZD_PARSED_FRAGMENT, /* not the first: addresses known, ports not */
	ZD_PARSED_BAD,      /* addresses known, the rest is truncated or lies */
};

/* Any bit of the TCP header's flags byte, without the bit-field's help. */
static __always_inline __u8 zd_tcp_flags(const struct tcphdr *tcp)
{
	return ((const __u8 *)tcp)[13];
}

static __always_inline bool zd_is_udp(const struct zd_pkt *p)
{
	return p->to.proto == IPPROTO_UDP;
}

static __always_inline bool zd_is_syn(const struct zd_pkt *p)
{
	return (p->tcp_flags & (ZD_TCP_SYN | ZD_TCP_ACK)) == ZD_TCP_SYN;
}

/* TC: headers may lie outside the linear part. False: the kernel could not make them linear. */
static __always_inline bool zd_linearize(const struct zd_ctx *c, __u32 want)
{
	if (want > c->skb->len)
		want = c->skb->len;
	if (zd_data(c) + want <= zd_data_end(c))
		return true;
	return bpf_skb_pull_data(c->skb, want) == 0;
}

static __always_inline bool zd_has_extensions(const struct zd_ctx *c)
{
	struct ethhdr *eth = zd_data(c);
	struct ipv6hdr *ip6 = (void *)(eth + 1);

	return (void *)(ip6 + 1) <= zd_data_end(c) && eth->h_proto == bpf_htons(ETH_P_IPV6) &&
	       ip6->nexthdr != IPPROTO_TCP && ip6->nexthdr != IPPROTO_UDP;
}

static __always_inline enum zd_parsed zd_parse_tcp(struct zd_pkt *p, void *end, __u32 l3_end)
{
	struct tcphdr *tcp = p->transport;

	if ((void *)(tcp + 1) > end)
		return ZD_PARSED_BAD;
	if (tcp->doff < sizeof(*tcp) / 4 || p->l4 + tcp->doff * 4 > l3_end)
		return ZD_PARSED_BAD;
	p->from.port = tcp->source;
	p->to.port = tcp->dest;
	p->l4_header = (__u8)(tcp->doff * 4);
	p->tcp_flags = zd_tcp_flags(tcp);
	p->seq = bpf_ntohl(tcp->seq);
	return ZD_PARSED_FLOW;
}

static __always_inline enum zd_parsed zd_parse_udp(struct zd_pkt *p, void *end, __u32 l3_end)
{
	struct udphdr *udp = p->transport;

	if ((void *)(udp + 1) > end)
		return ZD_PARSED_BAD;
	/* The length is of the whole, a first fragment need not have all of it. */
	if (bpf_ntohs(udp->len) < sizeof(*udp) ||
	    (p->l4 + bpf_ntohs(udp->len) > l3_end && p->kind == ZD_WHOLE))
		return ZD_PARSED_BAD;
	p->from.port = udp->source;
	p->to.port = udp->dest;
	p->l4_header = sizeof(*udp);
	p->no_check = !udp->check;
	return ZD_PARSED_FLOW;
}

/* p->transport and p->l4 are set. */
static __always_inline enum zd_parsed zd_parse_l4(struct zd_pkt *p, void *end, __u8 proto)
{
	__u32 l3_end = ETH_HLEN + p->l3_len;

	p->from.proto = p->to.proto = proto;
	if (zd_unlikely(p->kind == ZD_LATER_FRAGMENT))
		return ZD_PARSED_FRAGMENT;
	if (zd_unlikely(proto == IPPROTO_ICMP || proto == IPPROTO_ICMPV6))
		return ZD_PARSED_ICMP;
	return proto == IPPROTO_TCP ? zd_parse_tcp(p, end, l3_end) : zd_parse_udp(p, end, l3_end);
}

static __always_inline void zd_map_v4(struct zd_endpoint *e, __be32 addr)
{
	__u32 *w = (__u32 *)e->addr;

	w[0] = w[1] = 0;
	w[2] = bpf_htonl(0xffff);
	w[3] = addr;
}

/* Global: whatever it says is the same to the verifier. */
__noinline __u32 zd_kind_v4(__u32 frag_off)
{
	return frag_off & bpf_htons(ZD_IP_OFFSET) ? ZD_LATER_FRAGMENT : ZD_FIRST_FRAGMENT;
}

static __always_inline enum zd_parsed zd_parse_v4(const struct zd_ctx *c, struct zd_pkt *p,
						  void *end)
{
	struct iphdr *ip = p->l3;
	__u32 header;

	if ((void *)(ip + 1) > end || ip->version != 4)
		return ZD_PARSED_FOREIGN;
	zd_map_v4(&p->from, ip->saddr);
	zd_map_v4(&p->to, ip->daddr);
	if (ip->protocol != IPPROTO_TCP && ip->protocol != IPPROTO_UDP &&
	    ip->protocol != IPPROTO_ICMP)
		return ZD_PARSED_FOREIGN;
	if (zd_unlikely(ip->frag_off & bpf_htons(ZD_IP_MF | ZD_IP_OFFSET))) {
		if (ip->protocol == IPPROTO_ICMP)
			return ZD_PARSED_FOREIGN;
		p->kind = (__u8)zd_kind_v4(ip->frag_off);
		p->frag_id = ip->id;
	}
	header = ip->ihl * 4;
	p->ttl = ip->ttl;
	p->tos = ip->tos;
	p->l3_len = bpf_ntohs(ip->tot_len);
	/* A packet merged by GRO may be too large for its own length field. */
	if (c->hook == ZD_HOOK_TC && !p->l3_len && c->skb->gso_segs)
		p->l3_len = p->len - ETH_HLEN;
	if (header < sizeof(*ip) || header > p->l3_len || p->l3_len > p->len - ETH_HLEN)
		return ZD_PARSED_BAD;
	p->l4 = ETH_HLEN + header;
	p->transport = p->l3 + header;
	return zd_parse_l4(p, end, ip->protocol);
}

/* What hop-by-hop, routing, destination options and fragment headers have in common. */
struct zd_ext_header {
	__u8 next, len, type, segments_left;
	__u8 rest[4];
};

struct zd_frag_header {
	__u8 next, reserved;
	__be16 offset;
	__u32 id;
};

static __always_inline __u16 zd_fragment_offset(const struct zd_ext_header *h)
{
	return ((const struct zd_frag_header *)h)->offset & bpf_htons(0xfff8);
}

static __always_inline bool zd_is_transport(__u8 proto)
{
	return proto == IPPROTO_TCP || proto == IPPROTO_UDP || proto == IPPROTO_ICMPV6;
}

static __always_inline bool zd_is_extension(__u8 proto)
{
	return proto == IPPROTO_HOPOPTS || proto == IPPROTO_ROUTING || proto == IPPROTO_DSTOPTS ||
	       proto == IPPROTO_FRAGMENT;
}

/* Where a walk over extension headers ended; one number, to come out of a global function. */
#define ZD_WALK(parsed, kind, proto, off, id)                                                      \
	((__u64)(off) | (__u64)(proto) << 16 | (__u64)(kind) << 24 | (__u64)(parsed) << 28 |       \
	 (__u64)(id) << 32)
#define ZD_WALK_OFF(w)    ((__u32)(w) & (ZD_HEADERS_MAX - 1))
#define ZD_WALK_PROTO(w)  ((__u8)((w) >> 16))
#define ZD_WALK_KIND(w)   ((__u8)((w) >> 24) & 0xf)
#define ZD_WALK_PARSED(w) ((__u8)((w) >> 28) & 0xf)
#define ZD_WALK_ID(w)     ((__u32)((w) >> 32))

/* Walk to the transport header, or to where a fragment's data begins: ZD_PARSED_FLOW. */
static __always_inline __u64 zd_walk(const struct zd_ctx *c, __u8 next)
{
	__u32 off = sizeof(struct ipv6hdr), id = 0;
	enum zd_kind kind = ZD_WHOLE;
	struct zd_ext_header h;

	for (int i = 0; i <= ZD_EXT_HEADERS_MAX; i++) {
		if (zd_is_transport(next) || kind == ZD_LATER_FRAGMENT)
			return ZD_WALK(ZD_PARSED_FLOW, kind, next, off, id);
		if (!zd_is_extension(next))
			return ZD_WALK(ZD_PARSED_FOREIGN, 0, 0, 0, 0);
		if (zd_load(c, ETH_HLEN + off, &h, sizeof(h)))
			return ZD_WALK(ZD_PARSED_BAD, 0, 0, 0, 0);
		if (next == IPPROTO_FRAGMENT) {
			if (h.next == IPPROTO_ICMPV6)
				return ZD_WALK(ZD_PARSED_FOREIGN, 0, 0, 0, 0);
			kind = zd_fragment_offset(&h) ? ZD_LATER_FRAGMENT : ZD_FIRST_FRAGMENT;
			id = ((struct zd_frag_header *)&h)->id;
			h.len = 0;
		} else if (next == IPPROTO_ROUTING && h.segments_left) {
			/* On its way through us to somewhere else: the kernel's affair. */
			return ZD_WALK(ZD_PARSED_FOREIGN, 0, 0, 0, 0);
		}
		next = h.next;
		off += (h.len + 1) * 8;
		if (off > ZD_HEADERS_MAX - ETH_HLEN - sizeof(struct tcphdr))
			break;
	}
	return ZD_WALK(ZD_PARSED_BAD, 0, 0, 0, 0);
}

/* Global, so that the verifier does not follow every chain of headers through the whole program. */
__noinline __u64 zd_walk_xdp(struct xdp_md *xdp, __u8 next)
{
	struct zd_ctx c = { .hook = ZD_HOOK_XDP, .xdp = xdp };

	return zd_walk(&c, next);
}

__noinline __u64 zd_walk_tc(struct __sk_buff *skb, __u8 next)
{
	struct zd_ctx c = { .hook = ZD_HOOK_TC, .skb = skb };

	return zd_walk(&c, next);
}

static __always_inline enum zd_parsed zd_skip_extensions(const struct zd_ctx *c, struct zd_pkt *p,
							 __u8 *proto)
{
	__u64 w = c->hook == ZD_HOOK_XDP ? zd_walk_xdp(c->xdp, *proto) : zd_walk_tc(c->skb, *proto);

	p->l4 = ETH_HLEN + ZD_WALK_OFF(w);
	p->transport = p->l3 + ZD_WALK_OFF(w);
	p->kind = ZD_WALK_KIND(w);
	p->frag_id = ZD_WALK_ID(w);
	*proto = ZD_WALK_PROTO(w);
	return (enum zd_parsed)ZD_WALK_PARSED(w);
}

static __always_inline enum zd_parsed zd_parse_v6(const struct zd_ctx *c, struct zd_pkt *p,
						  void *end)
{
	struct ipv6hdr *ip6 = p->l3;
	enum zd_parsed parsed;
	__u8 proto;

	if ((void *)(ip6 + 1) > end || ip6->version != 6)
		return ZD_PARSED_FOREIGN;
	__builtin_memcpy(p->from.addr, &ip6->saddr, sizeof(p->from.addr));
	__builtin_memcpy(p->to.addr, &ip6->daddr, sizeof(p->to.addr));
	p->v6 = true;
	p->ttl = ip6->hop_limit;
	p->tos = (__u8)(bpf_ntohs(*(__be16 *)ip6) >> 4);
	p->l3_len = sizeof(*ip6) + bpf_ntohs(ip6->payload_len);
	if (c->hook == ZD_HOOK_TC && !ip6->payload_len && c->skb->gso_segs)
		p->l3_len = p->len - ETH_HLEN;
	proto = ip6->nexthdr;
	if (zd_likely(proto == IPPROTO_TCP || proto == IPPROTO_UDP)) {
		p->l4 = ETH_HLEN + sizeof(*ip6);
		p->transport = (void *)(ip6 + 1);
	} else {
		parsed = zd_skip_extensions(c, p, &proto);
		if (parsed != ZD_PARSED_FLOW)
			return parsed;
	}
	if (p->l3_len > p->len - ETH_HLEN)
		return ZD_PARSED_BAD;
	return zd_parse_l4(p, end, proto);
}

static __always_inline enum zd_parsed zd_parse(const struct zd_ctx *c, struct zd_pkt *p)
{
	void *end;

	/* A tag the hardware took off: the frame belongs to a VLAN's own interface. */
	if (c->hook == ZD_HOOK_TC && c->skb->vlan_present)
		return ZD_PARSED_FOREIGN;
	if (c->hook == ZD_HOOK_TC && !zd_linearize(c, ZD_HEADERS_V4))
		return ZD_PARSED_FOREIGN;
	if (c->hook == ZD_HOOK_TC && zd_has_extensions(c) && !zd_linearize(c, ZD_HEADERS_MAX))
		return ZD_PARSED_FOREIGN;

	p->eth = zd_data(c);
	p->l3 = p->eth + 1;
	p->len = zd_frame_len(c);
	end = zd_data_end(c);
	/* What was sent to many stations is not forwarded by one of them (RFC 1812, 5.3.4). */
	if (p->l3 > end || p->eth->h_dest[0] & 1)
		return ZD_PARSED_FOREIGN;
	if (p->eth->h_proto == bpf_htons(ETH_P_IP))
		return zd_parse_v4(c, p, end);
	if (p->eth->h_proto == bpf_htons(ETH_P_IPV6))
		return zd_parse_v6(c, p, end);
	return ZD_PARSED_FOREIGN;
}

#endif
