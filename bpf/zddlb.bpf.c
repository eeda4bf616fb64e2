/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/*
 * The packet path. A packet to a VIP is a request and gets a backend; a packet from a backend's
 * endpoint is a reply and gets the VIP back; everything else passes untouched. Each step either
 * ends the packet or enriches struct zd_pkt. Nothing is counted, pinned or rewritten before it is
 * certain that this program sends the packet itself: XDP leaves a packet whose next hop is unknown
 * to the TC program behind it, which must find it as it came.
 */
#include "ctx.h"
#include "maps.h"
#include "stats.h"
#include "parse.h"
#include "select.h"
#include "frag.h"
#include "birth.h"
#include "forward.h"

/* Addresses are known, the rest is of no use: ours by the address alone, or the kernel's. */
static __always_inline enum zd_verdict zd_refuse(const struct zd_ctx *c, const struct zd_pkt *p,
						 enum zd_event reason)
{
	return zd_is_vip(&p->to) ? zd_drop(reason) : zd_pass(c);
}

/* Which backend? */
static __always_inline void zd_place(struct zd_choice *choice, struct zd_pkt *p,
				     const struct zd_vip *vip)
{
	__u32 index = vip->service;
	const struct zd_service *svc = bpf_map_lookup_elem(&services, &index);

	if (!svc)
		return;
	p->hash = zd_flow_hash(&p->from, &p->to, p->v6);
	zd_choose(choice, p, svc);
}

/* The request is sure to leave: what it does to pins and counters. Errors do nothing to their flow. */
static __always_inline void zd_account_request(const struct zd_ctx *c, const struct zd_pkt *p,
					       const struct zd_choice *choice,
					       const struct zd_way *way)
{
	if (zd_unlikely(p->kind == ZD_ICMP_ERROR)) {
		zd_count(ZD_EV_ICMP_FORWARDED);
		return;
	}
	zd_pin_commit(choice, p);
	zd_frag_remember(p, choice->id);
	zd_count_request(c, p, choice->id, way->mode == ZD_MODE_NAT);
}

static __always_inline enum zd_verdict zd_request(const struct zd_ctx *c, struct zd_pkt *p,
						  const struct zd_vip *vip)
{
	struct zd_choice choice = {};
	struct zd_hop hop = {};
	struct zd_way way = {};
	enum zd_verdict v;

	if (zd_unlikely(p->kind == ZD_LATER_FRAGMENT))
		zd_follow(&choice, p);
	else
		zd_place(&choice, p, vip);
	if (zd_unlikely(!choice.backend))
		return zd_drop(p->kind == ZD_LATER_FRAGMENT ? ZD_EV_DROP_FRAGMENT
							    : ZD_EV_DROP_NO_BACKEND);
	v = zd_hop_to_backend(c, p, &hop, choice.backend, &way);
	if (v != ZD_NEXT)
		return v;

	zd_account_request(c, p, &choice, &way);
	return zd_send_request(c, p, choice.backend, &way, &hop);
}

static __always_inline void zd_account_reply(const struct zd_ctx *c, const struct zd_pkt *p,
					     const struct zd_reverse *r,
					     const struct zd_endpoint *vip)
{
	if (zd_unlikely(p->kind == ZD_ICMP_ERROR)) {
		zd_count(ZD_EV_ICMP_FORWARDED);
		return;
	}
	zd_frag_remember(p, r->backend);
	zd_count_reply(c, p, r->backend, vip);
	if (zd_is_udp(p))
		zd_keep_flow(p, r, vip);
}

static __always_inline enum zd_verdict zd_reply(const struct zd_ctx *c, struct zd_pkt *p,
						const struct zd_reverse *r)
{
	struct zd_endpoint vip = { .port = r->port, .proto = p->from.proto };
	struct zd_hop hop = {};
	enum zd_verdict v;

	__builtin_memcpy(vip.addr, r->vip, sizeof(vip.addr));
	v = zd_hop_to_client(c, p, &hop, &vip);
	if (v != ZD_NEXT)
		return v;
	if (zd_unlikely(p->ttl <= 1))
		return zd_drop(ZD_EV_DROP_TTL);

	zd_account_reply(c, p, r, &vip);
	return zd_send_reply(c, p, &vip, &hop);
}

/* Whom does it concern? ZD_NEXT: the flow that *p tells now. */
static __always_inline enum zd_verdict zd_icmp(const struct zd_ctx *c, struct zd_pkt *p)
{
	switch (zd_quote(c, p)) {
	case ZD_QUOTED_FLOW:
		return ZD_NEXT;
	case ZD_QUOTED_WRONG:
		return zd_refuse(c, p, ZD_EV_DROP_ICMP);
	case ZD_QUOTED_ECHO:
		/* Behind XDP, or without it, the kernel answers for addresses of its own. */
		if (c->hook == ZD_HOOK_XDP)
			return (enum zd_verdict)(p->v6 ? zd_echo_v6(c->xdp) : zd_echo_v4(c->xdp));
		break;
	case ZD_QUOTED_NONE:
		break;
	}
	return zd_pass(c);
}

static __always_inline enum zd_verdict zd_packet(const struct zd_ctx *c)
{
	struct zd_pkt p = {};
	const struct zd_vip *vip;
	const struct zd_reverse *r;
	enum zd_verdict v;

	switch (zd_parse(c, &p)) {
	case ZD_PARSED_FLOW:
		break;
	case ZD_PARSED_ICMP:
		v = zd_icmp(c, &p);
		if (v != ZD_NEXT)
			return v;
		break;
	case ZD_PARSED_FRAGMENT:
		zd_follow_source(&p);
		break;
	case ZD_PARSED_FOREIGN:
		return zd_pass(c);
	case ZD_PARSED_BAD:
		return zd_refuse(c, &p, ZD_EV_DROP_TRUNCATED);
	}
	vip = bpf_map_lookup_elem(&vips, &p.to);
	if (vip)
		return zd_request(c, &p, vip);
	r = bpf_map_lookup_elem(&reverse, &p.from);
	if (r)
		return zd_reply(c, &p, r);
	return zd_pass(c);
}

SEC("xdp")
int zd_xdp(struct xdp_md *xdp)
{
	struct zd_ctx c = { .hook = ZD_HOOK_XDP, .xdp = xdp };

	return zd_xdp_action(zd_packet(&c));
}

SEC("tc")
int zd_tc(struct __sk_buff *skb)
{
	struct zd_ctx c = { .hook = ZD_HOOK_TC, .skb = skb };

	return zd_tc_action(zd_packet(&c));
}

char LICENSE[] SEC("license") = "Dual BSD/GPL";
