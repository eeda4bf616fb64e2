/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/*
 * For backends: takes packets out of ipip and gue tunnels before the kernel sees them, so that no
 * tunnel device is needed. What comes out must be for an address that the backend has (the VIP, on
 * lo), else the kernel drops it. Only what is sent to one of `decap_locals` is touched; everything
 * that is not plainly ours passes.
 */
#include <linux/if_ether.h>
#include <linux/in.h>
#include <linux/ip.h>
#include <linux/ipv6.h>
#include <linux/udp.h>

#include "csum.h"
#include "ctx.h"
#include "tunnel.h"

#include <zddlb/abi.h>

#define ZD_IP_FRAGMENT 0x3fff /* more fragments, or an offset */
#define ZD_ECN         3
#define ZD_ECN_ECT1    1
#define ZD_ECN_ECT0    2
#define ZD_ECN_CE      3

/* Set before load. */
const volatile struct {
	__u16 gue_port; /* host order */
	__u16 check_source;
} zd_decap_cfg = { .gue_port = ZD_GUE_PORT };

struct zd_addr {
	__u8 b[16]; /* v4-mapped */
};

struct {
	__uint(type, BPF_MAP_TYPE_HASH);
	__uint(max_entries, 256);
	__type(key, struct zd_addr);
	__type(value, __u32);
} decap_locals SEC(".maps");

/* Balancers. Looked at if zd_decap_cfg says so. */
struct {
	__uint(type, BPF_MAP_TYPE_HASH);
	__uint(max_entries, 1024);
	__type(key, struct zd_addr);
	__type(value, __u32);
} decap_sources SEC(".maps");

struct {
	__uint(type, BPF_MAP_TYPE_PERCPU_ARRAY);
	__uint(max_entries, ZD_DC_MAX);
	__type(key, __u32);
	__type(value, __u64);
} decap_counters SEC(".maps");

struct zd_outer {
	struct zd_addr from, to;
	__u32 room; /* bytes in front of the inner packet, Ethernet left out */
	__u32 len;  /* of the inner packet and what follows it in the outer one */
	__u8 proto; /* of what is behind the outer header; later of the inner packet */
	__u8 ecn;
	bool gue;
};

enum zd_found { ZD_FOREIGN, ZD_BAD, ZD_FOUND };

static __always_inline void zd_add(enum zd_decap_counter counter, __u64 n)
{
	__u32 key = counter;
	__u64 *v = bpf_map_lookup_elem(&decap_counters, &key);

	if (v)
		*v += n;
}

static __always_inline int zd_end(enum zd_decap_counter counter, int action)
{
	zd_add(counter, 1);
	return action;
}

static __always_inline void zd_mapped(struct zd_addr *a, __be32 v4)
{
	__u32 *w = (__u32 *)a->b;

	w[0] = w[1] = 0;
	w[2] = bpf_htonl(0xffff);
	w[3] = v4;
}

/* The length is compared with the frame by the caller. */
static __always_inline enum zd_found zd_outer_v4(struct zd_outer *o, void *l3, void *end)
{
	struct iphdr *ip = l3;
	__u32 *w = l3;

	if ((void *)(ip + 1) > end || ip->version != 4 || ip->ihl != 5 ||
	    ip->frag_off & bpf_htons(ZD_IP_FRAGMENT))
		return ZD_FOREIGN;
	/* Whose header is broken is the kernel's to judge, and to count. */
	if (zd_csum_fold((__u64)w[0] + w[1] + w[2] + w[3] + w[4]))
		return ZD_FOREIGN;
	zd_mapped(&o->from, ip->saddr);
	zd_mapped(&o->to, ip->daddr);
	o->room = sizeof(*ip);
	o->len = bpf_ntohs(ip->tot_len);
	o->proto = ip->protocol;
	o->ecn = ip->tos & ZD_ECN;
	return ZD_FOUND;
}

static __always_inline enum zd_found zd_outer_v6(struct zd_outer *o, void *l3, void *end)
{
	struct ipv6hdr *ip6 = l3;

	if ((void *)(ip6 + 1) > end || ip6->version != 6)
		return ZD_FOREIGN;
	__builtin_memcpy(&o->from, &ip6->saddr, sizeof(o->from));
	__builtin_memcpy(&o->to, &ip6->daddr, sizeof(o->to));
	o->room = sizeof(*ip6);
	o->len = sizeof(*ip6) + bpf_ntohs(ip6->payload_len);
	o->proto = ip6->nexthdr;
	o->ecn = bpf_ntohs(*(__be16 *)l3) >> 4 & ZD_ECN;
	return ZD_FOUND;
}

/* Variant 0 without options. A checksum would have to be verified: that is left to the kernel. */
static __always_inline enum zd_found zd_open_gue(struct zd_outer *o, struct zd_gue *g, void *end)
{
	if ((void *)(g + 1) > end || g->udp.dest != bpf_htons(zd_decap_cfg.gue_port))
		return ZD_FOREIGN;
	if (g->udp.check || g->version_hlen || g->flags)
		return ZD_FOREIGN;
	if (bpf_ntohs(g->udp.len) != o->len)
		return ZD_BAD;
	o->gue = true;
	o->proto = g->proto;
	o->room += sizeof(*g);
	if (o->len < sizeof(*g))
		return ZD_BAD;
	o->len -= sizeof(*g);
	return ZD_FOUND;
}

/* ZD_FOUND: o->room bytes may come off, and an inner packet of the right family is behind them. */
static __always_inline enum zd_found zd_open(struct zd_outer *o, struct ethhdr *eth, void *end)
{
	void *l3 = eth + 1;
	enum zd_found found;

	if (l3 > end)
		return ZD_FOREIGN;
	if (eth->h_proto == bpf_htons(ETH_P_IP))
		found = zd_outer_v4(o, l3, end);
	else if (eth->h_proto == bpf_htons(ETH_P_IPV6))
		found = zd_outer_v6(o, l3, end);
	else
		return ZD_FOREIGN;
	if (found != ZD_FOUND || !bpf_map_lookup_elem(&decap_locals, &o->to))
		return ZD_FOREIGN;
	if (o->proto != IPPROTO_UDP && o->proto != IPPROTO_IPIP && o->proto != IPPROTO_IPV6)
		return ZD_FOREIGN;
	if (o->len < o->room || o->len > (__u32)(end - l3))
		return ZD_BAD;
	o->len -= o->room;
	if (o->proto != IPPROTO_UDP)
		return ZD_FOUND;
	found = o->room == sizeof(struct iphdr) ? zd_open_gue(o, l3 + sizeof(struct iphdr), end)
						: zd_open_gue(o, l3 + sizeof(struct ipv6hdr), end);
	if (found == ZD_FOUND && o->proto != IPPROTO_IPIP && o->proto != IPPROTO_IPV6)
		return ZD_FOREIGN;
	return found;
}

/* What the inner header says after the tunnel, RFC 6040, figure 4. -1: drop. */
static __always_inline int zd_ecn_out(__u8 outer, __u8 inner)
{
	if (outer == ZD_ECN_CE)
		return inner ? ZD_ECN_CE : -1;
	if (outer == ZD_ECN_ECT1 && inner == ZD_ECN_ECT0)
		return ZD_ECN_ECT1;
	return inner;
}

static __always_inline enum zd_found zd_check_v4(struct zd_outer *o, struct iphdr *ip, int *ecn)
{
	__be16 was = *(__be16 *)ip, is;

	if (ip->version != 4 || ip->ihl < 5 || bpf_ntohs(ip->tot_len) > o->len)
		return ZD_BAD;
	*ecn = zd_ecn_out(o->ecn, ip->tos & ZD_ECN);
	if (*ecn < 0 || *ecn == (ip->tos & ZD_ECN))
		return ZD_FOUND;
	ip->tos = (__u8)((ip->tos & ~ZD_ECN) | *ecn);
	is = *(__be16 *)ip;
	ip->check = zd_csum_apply(ip->check, zd_csum_diff16(was, is));
	return ZD_FOUND;
}

static __always_inline enum zd_found zd_check_v6(struct zd_outer *o, struct ipv6hdr *ip6, int *ecn)
{
	__u16 head = bpf_ntohs(*(__be16 *)ip6);

	if (ip6->version != 6 || sizeof(*ip6) + bpf_ntohs(ip6->payload_len) > o->len)
		return ZD_BAD;
	*ecn = zd_ecn_out(o->ecn, head >> 4 & ZD_ECN);
	if (*ecn < 0)
		return ZD_FOUND;
	*(__be16 *)ip6 = bpf_htons((__u16)((head & ~(ZD_ECN << 4)) | *ecn << 4));
	return ZD_FOUND;
}

SEC("xdp")
int zd_decap(struct xdp_md *xdp)
{
	struct ethhdr *eth = (void *)(long)xdp->data, macs;
	struct zd_outer o = {};
	enum zd_found found;
	void *inner;
	int ecn = 0;

	found = zd_open(&o, eth, (void *)(long)xdp->data_end);
	if (found == ZD_FOREIGN)
		return zd_end(ZD_DC_PASSED, XDP_PASS);
	if (found == ZD_BAD)
		return zd_end(ZD_DC_DROP_BAD, XDP_DROP);
	if (zd_decap_cfg.check_source && !bpf_map_lookup_elem(&decap_sources, &o.from))
		return zd_end(ZD_DC_DROP_SOURCE, XDP_DROP);

	__builtin_memcpy(&macs, eth, sizeof(macs));
	if (bpf_xdp_adjust_head(xdp, (int)o.room))
		return zd_end(ZD_DC_DROP_BAD, XDP_DROP);
	eth = (void *)(long)xdp->data;
	inner = eth + 1;
	found = ZD_BAD;
	if (o.proto == IPPROTO_IPIP && inner + sizeof(struct iphdr) <= (void *)(long)xdp->data_end)
		found = zd_check_v4(&o, inner, &ecn);
	else if (o.proto == IPPROTO_IPV6 &&
		 inner + sizeof(struct ipv6hdr) <= (void *)(long)xdp->data_end)
		found = zd_check_v6(&o, inner, &ecn);
	if (found != ZD_FOUND)
		return zd_end(ZD_DC_DROP_BAD, XDP_DROP);
	if (ecn < 0)
		return zd_end(ZD_DC_DROP_ECN, XDP_DROP);
	macs.h_proto = bpf_htons(o.proto == IPPROTO_IPIP ? ETH_P_IP : ETH_P_IPV6);
	__builtin_memcpy(eth, &macs, sizeof(macs));
	zd_add(ZD_DC_BYTES, o.len);
	return zd_end(o.gue ? ZD_DC_GUE : ZD_DC_IPIP, XDP_PASS);
}

char LICENSE[] SEC("license") = "Dual BSD/GPL";
