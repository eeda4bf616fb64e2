/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/*
 * What the packet path knows of the hook it runs at. `hook` is a constant once everything is
 * inlined, so each program contains the code of its own hook only.
 */
#ifndef ZDDLB_BPF_CTX_H
#define ZDDLB_BPF_CTX_H

#include <stdbool.h>
#include <stddef.h>
#include <linux/bpf.h>
#include <linux/if_ether.h>
#include <linux/pkt_cls.h>
#include <bpf/bpf_helpers.h>
#include <bpf/bpf_endian.h>

#define zd_likely(x)   __builtin_expect(!!(x), 1)
#define zd_unlikely(x) __builtin_expect(!!(x), 0)

#define ZD_AF_INET  2
#define ZD_AF_INET6 10

enum zd_hook { ZD_HOOK_XDP, ZD_HOOK_TC };

struct zd_ctx {
	enum zd_hook hook;
	struct xdp_md *xdp;    /* at ZD_HOOK_XDP */
	struct __sk_buff *skb; /* at ZD_HOOK_TC */
};

/* What a step of the packet path says: go on, or how the packet ends. */
enum zd_verdict { ZD_NEXT, ZD_PASS, ZD_DROP, ZD_TX, ZD_REDIRECT };

static __always_inline void *zd_data(const struct zd_ctx *c)
{
	return (void *)(long)(c->hook == ZD_HOOK_XDP ? c->xdp->data : c->skb->data);
}

static __always_inline void *zd_data_end(const struct zd_ctx *c)
{
	return (void *)(long)(c->hook == ZD_HOOK_XDP ? c->xdp->data_end : c->skb->data_end);
}

static __always_inline __u32 zd_ifindex(const struct zd_ctx *c)
{
	return c->hook == ZD_HOOK_XDP ? c->xdp->ingress_ifindex : c->skb->ifindex;
}

/* Length of the frame, whatever part of it is linear. */
static __always_inline __u32 zd_frame_len(const struct zd_ctx *c)
{
	if (c->hook == ZD_HOOK_TC)
		return c->skb->len;
	return (__u32)(zd_data_end(c) - zd_data(c));
}

/* How many packets of the wire this one stands for: GRO merges them before TC. */
static __always_inline __u32 zd_wire_packets(const struct zd_ctx *c)
{
	__u32 segments = c->hook == ZD_HOOK_TC ? c->skb->gso_segs : 0;

	return segments ? segments : 1;
}

/* By offset in the frame: slower than a pointer, and the same at both hooks. */
static __always_inline long zd_load(const struct zd_ctx *c, __u32 at, void *to, __u32 len)
{
	if (c->hook == ZD_HOOK_XDP)
		return bpf_xdp_load_bytes(c->xdp, at, to, len);
	return bpf_skb_load_bytes(c->skb, at, to, len);
}

/* The kernel's own sum of a packet begins behind the link layer's header. */
static __always_inline long zd_store(const struct zd_ctx *c, __u32 at, const void *from, __u32 len)
{
	if (c->hook == ZD_HOOK_XDP)
		return bpf_xdp_store_bytes(c->xdp, at, (void *)from, len);
	return bpf_skb_store_bytes(c->skb, at, from, len, at < ETH_HLEN ? 0 : BPF_F_RECOMPUTE_CSUM);
}

static __always_inline int zd_xdp_action(enum zd_verdict v)
{
	switch (v) {
	case ZD_DROP:
		return XDP_DROP;
	case ZD_TX:
		return XDP_TX;
	case ZD_REDIRECT:
		return XDP_REDIRECT;
	case ZD_NEXT:
	case ZD_PASS:
		break;
	}
	return XDP_PASS;
}

static __always_inline int zd_tc_action(enum zd_verdict v)
{
	switch (v) {
	case ZD_DROP:
		return TC_ACT_SHOT;
	case ZD_TX:
	case ZD_REDIRECT:
		return TC_ACT_REDIRECT;
	case ZD_NEXT:
	case ZD_PASS:
		break;
	}
	return TC_ACT_UNSPEC; /* filters of others behind this one get their say */
}

#endif
