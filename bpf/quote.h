/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/*
 * ICMP errors about a flow of ours. An error goes to the sender of the packet that it quotes, so it
 * travels along the flow against the direction of the quote: one that quotes a reply is a request,
 * one that quotes a request is a reply. Both are placed like any packet of the flow; mode nat then
 * has to translate the quote as well, as far as there is one.
 */
#ifndef ZDDLB_BPF_QUOTE_H
#define ZDDLB_BPF_QUOTE_H

#include "csum.h"
#include "icmp.h"
#include "parse.h"

/* Of the quoted transport header: the ports, and UDP's checksum (RFC 792). */
#define ZD_QUOTE_L4_MIN 8

enum zd_quoted {
	ZD_QUOTED_FLOW,  /* `quotes` tells whose */
	ZD_QUOTED_NONE,  /* not an error, or about something that we never forward */
	ZD_QUOTED_ECHO,  /* an echo request */
	ZD_QUOTED_WRONG, /* an error whose quote makes no sense */
};

static __always_inline bool zd_is_error(__u8 type, bool v6)
{
	if (v6)
		return type >= ZD_ICMP6_UNREACHABLE && type <= ZD_ICMP6_PARAMETER;
	return type == ZD_ICMP4_UNREACHABLE || type == ZD_ICMP4_TIME_EXCEEDED ||
	       type == ZD_ICMP4_PARAMETER;
}

static __always_inline enum zd_quoted zd_quote_ports(const struct zd_ctx *c, struct zd_quote *q,
						     __u8 proto)
{
	__be16 ports[2];

	if (proto != IPPROTO_TCP && proto != IPPROTO_UDP)
		return ZD_QUOTED_NONE;
	if (q->l4 + ZD_QUOTE_L4_MIN > q->end || zd_load(c, q->l4, ports, sizeof(ports)))
		return ZD_QUOTED_WRONG;
	q->from.port = ports[0];
	q->to.port = ports[1];
	q->from.proto = q->to.proto = proto;
	return ZD_QUOTED_FLOW;
}

static __always_inline enum zd_quoted zd_quote_v4(const struct zd_ctx *c, struct zd_quote *q)
{
	struct iphdr ip;

	if (q->l3 + sizeof(ip) > q->end || zd_load(c, q->l3, &ip, sizeof(ip)))
		return ZD_QUOTED_WRONG;
	/* Ports are in the first fragment only. */
	if (ip.version != 4 || ip.ihl < sizeof(ip) / 4 || ip.frag_off & bpf_htons(ZD_IP_OFFSET))
		return ZD_QUOTED_WRONG;
	zd_map_v4(&q->from, ip.saddr);
	zd_map_v4(&q->to, ip.daddr);
	q->l4 = q->l3 + ip.ihl * 4;
	return zd_quote_ports(c, q, ip.protocol);
}

static __always_inline enum zd_quoted zd_quote_v6(const struct zd_ctx *c, struct zd_quote *q)
{
	struct zd_ext_header h;
	struct ipv6hdr ip6;
	__u8 next;

	if (q->l3 + sizeof(ip6) > q->end || zd_load(c, q->l3, &ip6, sizeof(ip6)))
		return ZD_QUOTED_WRONG;
	if (ip6.version != 6)
		return ZD_QUOTED_WRONG;
	__builtin_memcpy(q->from.addr, &ip6.saddr, sizeof(q->from.addr));
	__builtin_memcpy(q->to.addr, &ip6.daddr, sizeof(q->to.addr));
	q->l4 = q->l3 + sizeof(ip6);
	next = ip6.nexthdr;
	for (int i = 0; i < ZD_EXT_HEADERS_MAX; i++) {
		if (next != IPPROTO_HOPOPTS && next != IPPROTO_ROUTING && next != IPPROTO_DSTOPTS &&
		    next != IPPROTO_FRAGMENT)
			break;
		if (q->l4 + sizeof(h) > q->end || zd_load(c, q->l4, &h, sizeof(h)))
			return ZD_QUOTED_WRONG;
		if (next == IPPROTO_FRAGMENT && zd_fragment_offset(&h))
			return ZD_QUOTED_WRONG;
		q->l4 += next == IPPROTO_FRAGMENT ? sizeof(h) : (h.len + 1) * 8;
		next = h.next;
	}
	return zd_quote_ports(c, q, next);
}

/* `at` and `end` are where the ICMP message lies in the frame. */
static __always_inline enum zd_quoted zd_quote_read(const struct zd_ctx *c, __u32 at, __u32 end,
						    bool v6)
{
	struct zd_icmp icmp;
	__u32 key = 0;
	struct zd_quote *q = bpf_map_lookup_elem(&quotes, &key);

	if (!q || at + sizeof(icmp) > end || zd_load(c, at, &icmp, sizeof(icmp)))
		return ZD_QUOTED_WRONG;
	if (icmp.type == (v6 ? ZD_ICMP6_ECHO : ZD_ICMP4_ECHO))
		return ZD_QUOTED_ECHO;
	if (!zd_is_error(icmp.type, v6))
		return ZD_QUOTED_NONE;
	q->icmp = at;
	q->l3 = at + sizeof(icmp);
	q->end = end;
	q->v6 = v6;
	return v6 ? zd_quote_v6(c, q) : zd_quote_v4(c, q);
}

__noinline int zd_quote_read_xdp(struct xdp_md *xdp, __u32 at, __u32 end, bool v6)
{
	struct zd_ctx c = { .hook = ZD_HOOK_XDP, .xdp = xdp };

	return zd_quote_read(&c, at, end, v6);
}

__noinline int zd_quote_read_tc(struct __sk_buff *skb, __u32 at, __u32 end, bool v6)
{
	struct zd_ctx c = { .hook = ZD_HOOK_TC, .skb = skb };

	return zd_quote_read(&c, at, end, v6);
}

/* Replace 16 bits, and say what that adds to the sum over them. */
static __always_inline long zd_put16(const struct zd_ctx *c, __u32 at, __u16 to, __u64 *sum)
{
	__u16 from;

	if (zd_load(c, at, &from, sizeof(from)))
		return -1;
	*sum += zd_csum_diff16(from, to);
	return zd_store(c, at, &to, sizeof(to));
}

/* Let a checksum follow what has changed below it. UDP has a zero that means none. */
static __always_inline long zd_mend(const struct zd_ctx *c, __u32 at, __u64 diff, bool udp,
				    __u64 *sum)
{
	__u16 check;

	if (zd_load(c, at, &check, sizeof(check)))
		return -1;
	if (udp && !check)
		return 0;
	check = zd_csum_apply(check, diff);
	return zd_put16(c, at, udp && !check ? 0xffff : check, sum);
}

/* Another address at `at`; what that adds to the sum over it goes to *sum. */
static __always_inline long zd_put_address(const struct zd_ctx *c, __u32 at,
					   const struct zd_quote *q, __u64 *sum)
{
	const __u32 *to = (const __u32 *)q->now.addr;
	__u32 from[4];

	if (!q->v6) {
		if (zd_load(c, at, from, 4))
			return -1;
		*sum += zd_csum_diff32(from[0], to[3]);
		return zd_store(c, at, &to[3], 4);
	}
	if (zd_load(c, at, from, sizeof(from)))
		return -1;
	*sum += zd_csum_diff128(from, to);
	return zd_store(c, at, to, sizeof(from));
}

/* Where the address of an IP header lies. */
static __always_inline __u32 zd_address_at(__u32 l3, bool v6, bool source)
{
	if (v6)
		return l3 +
		       (source ? offsetof(struct ipv6hdr, saddr) : offsetof(struct ipv6hdr, daddr));
	return l3 + (source ? offsetof(struct iphdr, saddr) : offsetof(struct iphdr, daddr));
}

/* The quote: its sender becomes the backend, or its destination the VIP. */
static __always_inline long zd_translate_quote(const struct zd_ctx *c, const struct zd_quote *q,
					       __u64 *sum)
{
	__u32 port = q->l4 + (q->reply ? sizeof(__be16) : 0);
	bool udp = q->from.proto == IPPROTO_UDP;
	__u32 check =
		q->l4 + (udp ? offsetof(struct udphdr, check) : offsetof(struct tcphdr, check));
	__u64 address = 0, diff = 0;

	if (zd_put_address(c, zd_address_at(q->l3, q->v6, !q->reply), q, &address))
		return -1;
	if (!q->v6 && zd_mend(c, q->l3 + offsetof(struct iphdr, check), address, false, sum))
		return -1;
	if (zd_put16(c, port, q->now.port, &diff))
		return -1;
	diff += address;
	*sum += diff;
	/* TCP's checksum need not have been quoted. */
	if (check + sizeof(__u16) > q->end)
		return 0;
	return zd_mend(c, check, diff, udp, sum);
}

/* Who sent an error about a request: the backend itself, or a router on the way to it. */
static __always_inline bool zd_said_by_backend(const struct zd_ctx *c, const struct zd_quote *q)
{
	const __u32 *backend = (const __u32 *)q->to.addr;
	__u32 from[4];

	if (!q->v6)
		return !zd_load(c, zd_address_at(ETH_HLEN, false, true), from, 4) &&
		       from[0] == backend[3];
	return !zd_load(c, zd_address_at(ETH_HLEN, true, true), from, sizeof(from)) &&
	       from[0] == backend[0] && from[1] == backend[1] && from[2] == backend[2] &&
	       from[3] == backend[3];
}

static __always_inline long zd_age(const struct zd_ctx *c, const struct zd_quote *q, __u64 diff)
{
	__u32 at = ETH_HLEN +
		   (q->v6 ? offsetof(struct ipv6hdr, hop_limit) : offsetof(struct iphdr, ttl));
	__u64 sum = 0;
	__u8 ttl;

	if (zd_load(c, at, &ttl, sizeof(ttl)))
		return -1;
	ttl--;
	if (zd_store(c, at, &ttl, sizeof(ttl)))
		return -1;
	/* TTL is the upper byte of its checksum word. */
	return q->v6 ? 0
		     : zd_mend(c, ETH_HLEN + offsetof(struct iphdr, check),
			       diff + (__u16)~bpf_htons(0x0100), false, &sum);
}

static __always_inline long zd_quote_write(const struct zd_ctx *c)
{
	__u64 sum = 0, outer = 0, none = 0;
	__u32 key = 0;
	struct zd_quote *q = bpf_map_lookup_elem(&quotes, &key);

	if (!q || zd_translate_quote(c, q, &sum))
		return -1;
	if ((!q->reply || zd_said_by_backend(c, q)) &&
	    zd_put_address(c, zd_address_at(ETH_HLEN, q->v6, q->reply), q, &outer))
		return -1;
	/* The pseudo header is under ICMPv6's checksum. */
	if (q->v6)
		sum += outer;
	return zd_age(c, q, outer)
		       ?: zd_mend(c, q->icmp + offsetof(struct zd_icmp, check), sum, false, &none);
}

__noinline int zd_quote_write_xdp(struct xdp_md *xdp)
{
	struct zd_ctx c = { .hook = ZD_HOOK_XDP, .xdp = xdp };

	return (int)zd_quote_write(&c);
}

__noinline int zd_quote_write_tc(struct __sk_buff *skb)
{
	struct zd_ctx c = { .hook = ZD_HOOK_TC, .skb = skb };

	return (int)zd_quote_write(&c);
}

/* Mode nat: what zd_nat does, for an error. */
static __always_inline long zd_nat_quote(const struct zd_ctx *c, const __u8 *addr, __be16 port,
					 bool reply)
{
	__u32 key = 0;
	struct zd_quote *q = bpf_map_lookup_elem(&quotes, &key);

	if (!q)
		return -1;
	__builtin_memcpy(q->now.addr, addr, sizeof(q->now.addr));
	q->now.port = port;
	q->reply = reply;
	return c->hook == ZD_HOOK_XDP ? zd_quote_write_xdp(c->xdp) : zd_quote_write_tc(c->skb);
}

static __always_inline bool zd_same_address(const struct zd_endpoint *a,
					    const struct zd_endpoint *b)
{
	const __u32 *x = (const __u32 *)a->addr, *y = (const __u32 *)b->addr;

	return x[0] == y[0] && x[1] == y[1] && x[2] == y[2] && x[3] == y[3];
}

/* ZD_QUOTED_FLOW: the packet's ends are those of the flow now. */
static __always_inline enum zd_quoted zd_quote(const struct zd_ctx *c, struct zd_pkt *p)
{
	__u32 end = ETH_HLEN + p->l3_len, key = 0;
	enum zd_quoted quoted;
	struct zd_quote *q;

	quoted = c->hook == ZD_HOOK_XDP ? zd_quote_read_xdp(c->xdp, p->l4, end, p->v6)
					: zd_quote_read_tc(c->skb, p->l4, end, p->v6);
	if (quoted != ZD_QUOTED_FLOW)
		return quoted;
	q = bpf_map_lookup_elem(&quotes, &key);
	/* What it quotes was not sent by whom it is sent to. */
	if (!q || !zd_same_address(&q->from, &p->to))
		return ZD_QUOTED_WRONG;
	p->from = q->to;
	p->to = q->from;
	p->kind = ZD_ICMP_ERROR;
	return ZD_QUOTED_FLOW;
}

#endif
