/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/*
 * ICMP that this program says itself: the answer to an echo request, and that a packet is too big
 * for its way out. All of it goes back to where the packet came from, and no more often than a
 * bucket of tokens allows. Off the steady path, so these are global functions: the verifier looks at
 * each once.
 */
#ifndef ZDDLB_BPF_ICMP_H
#define ZDDLB_BPF_ICMP_H

#include "csum.h"
#include "parse.h"
#include "stats.h"

/* RFC 792 and 4443; the kernel's own headers for them need libc's. Both families' messages begin alike. */
struct zd_icmp {
	__u8 type, code;
	__u16 check;
	__be32 rest;
};
enum {
	ZD_ICMP4_ECHO_REPLY = 0,
	ZD_ICMP4_UNREACHABLE = 3,
	ZD_ICMP4_ECHO = 8,
	ZD_ICMP4_TIME_EXCEEDED = 11,
	ZD_ICMP4_PARAMETER = 12,
	ZD_ICMP4_CODE_FRAG_NEEDED = 4,
	ZD_ICMP6_UNREACHABLE = 1,
	ZD_ICMP6_TOO_BIG = 2,
	ZD_ICMP6_PARAMETER = 4,
	ZD_ICMP6_ECHO = 128,
	ZD_ICMP6_ECHO_REPLY = 129,
};

#define ZD_ICMP_TTL 64
/* So many answers a second and CPU, and so many at once. */
#define ZD_ICMP_COST_NS  1000000ULL
#define ZD_ICMP_BURST_NS (100 * ZD_ICMP_COST_NS)

/*
 * Bytes of a packet that is too big that are sent back: RFC 1191 asks for 28, RFC 4443 for as many
 * as fit; this has room for the headers, and a constant size is dear to the verifier.
 */
#define ZD_TOO_BIG_QUOTE 256
#define ZD_MIN_MTU       68

/*
 * A token, if there is one left. The bucket is the time at which it will be full again: the later,
 * the emptier.
 */
static __always_inline bool zd_icmp_token(void)
{
	__u64 now = bpf_ktime_get_coarse_ns(), full;
	__u32 key = 0;
	__u64 *bucket = bpf_map_lookup_elem(&icmp_bucket, &key);

	if (!bucket)
		return false;
	full = *bucket > now ? *bucket : now;
	if (full + ZD_ICMP_COST_NS > now + ZD_ICMP_BURST_NS)
		return false;
	*bucket = full + ZD_ICMP_COST_NS;
	return true;
}

/* Nobody is answered who cannot have asked: this network, loopback, multicast, class E, broadcast. */
static __always_inline bool zd_may_ask_v4(__be32 addr)
{
	__u8 first = *(__u8 *)&addr;

	return first && first != 127 && first < 224;
}

static __always_inline bool zd_may_ask_v6(const __u32 *addr)
{
	if (*(const __u8 *)addr == 0xff)
		return false;
	return addr[0] || addr[1] || addr[2] || bpf_ntohl(addr[3]) > 1;
}

static __always_inline bool zd_is_vip(const struct zd_endpoint *e)
{
	struct zd_endpoint address = *e;

	address.port = 0;
	address.proto = 0;
	return bpf_map_lookup_elem(&vips, &address);
}

/*
 * Would an answer leave by the interface that the packet came in on, and was the frame sent to that
 * interface's address? XDP sees frames for others too; TC is told.
 */
static __always_inline bool zd_came_to_us(struct xdp_md *xdp, const struct ethhdr *eth,
					  struct bpf_fib_lookup *fib)
{
	const __u16 *to = (const __u16 *)eth->h_dest, *mac = (const __u16 *)fib->smac;

	fib->ifindex = xdp->ingress_ifindex;
	if (bpf_fib_lookup(xdp, fib, sizeof(*fib), 0) != BPF_FIB_LKUP_RET_SUCCESS)
		return false;
	return fib->ifindex == xdp->ingress_ifindex && mac[0] == to[0] && mac[1] == to[1] &&
	       mac[2] == to[2];
}

/*
 * Addresses that this host holds itself are the kernel's to answer for, by the rules its operator set.
 * `fib` asks for the VIP as the destination.
 */
static __always_inline bool zd_is_local(struct xdp_md *xdp, struct bpf_fib_lookup *fib)
{
	fib->ifindex = xdp->ingress_ifindex;
	return bpf_fib_lookup(xdp, fib, sizeof(*fib), 0) == BPF_FIB_LKUP_RET_NOT_FWDED;
}

static __always_inline void zd_swap_macs(struct ethhdr *eth)
{
	__u8 mac[ETH_ALEN];

	__builtin_memcpy(mac, eth->h_dest, ETH_ALEN);
	__builtin_memcpy(eth->h_dest, eth->h_source, ETH_ALEN);
	__builtin_memcpy(eth->h_source, mac, ETH_ALEN);
}

static __always_inline enum zd_verdict zd_echo_verdict(void)
{
	if (!zd_icmp_token())
		return zd_drop(ZD_EV_DROP_ICMP_RATE);
	zd_count(ZD_EV_ECHO_ANSWERED);
	return ZD_TX;
}

/* Whatever is unusual (options, extension headers, another way back) is left to the kernel. */
__noinline int zd_echo_v4(struct xdp_md *xdp)
{
	void *end = (void *)(long)xdp->data_end;
	struct ethhdr *eth = (void *)(long)xdp->data;
	struct iphdr *ip = (void *)(eth + 1);
	struct zd_icmp *icmp = (void *)(ip + 1);
	struct zd_endpoint from = {}, to = {};
	struct bpf_fib_lookup fib = { .family = ZD_AF_INET, .l4_protocol = IPPROTO_ICMP };
	__be32 asker;

	if ((void *)(icmp + 1) > end || ip->ihl != sizeof(*ip) / 4 || icmp->code)
		return ZD_PASS;
	zd_map_v4(&from, ip->saddr);
	zd_map_v4(&to, ip->daddr);
	if (!zd_is_vip(&to) || !zd_may_ask_v4(ip->saddr) || zd_is_vip(&from))
		return ZD_PASS;
	asker = ip->saddr;
	fib.ipv4_src = asker;
	fib.ipv4_dst = ip->daddr;
	if (zd_is_local(xdp, &fib))
		return ZD_PASS;
	fib = (struct bpf_fib_lookup){
		.family = ZD_AF_INET,
		.l4_protocol = IPPROTO_ICMP,
		.tos = ip->tos,
		.ipv4_src = ip->daddr,
		.ipv4_dst = asker,
	};
	if (!zd_came_to_us(xdp, eth, &fib))
		return ZD_PASS;
	if (zd_echo_verdict() != ZD_TX)
		return ZD_DROP;

	zd_swap_macs(eth);
	ip->saddr = ip->daddr;
	ip->daddr = asker;
	ip->check = zd_csum_apply(
		ip->check, zd_csum_diff16(bpf_htons(ip->ttl << 8), bpf_htons(ZD_ICMP_TTL << 8)));
	ip->ttl = ZD_ICMP_TTL;
	icmp->type = ZD_ICMP4_ECHO_REPLY;
	icmp->check = zd_csum_apply(icmp->check, zd_csum_diff16(bpf_htons(ZD_ICMP4_ECHO << 8), 0));
	return ZD_TX;
}

__noinline int zd_echo_v6(struct xdp_md *xdp)
{
	void *end = (void *)(long)xdp->data_end;
	struct ethhdr *eth = (void *)(long)xdp->data;
	struct ipv6hdr *ip6 = (void *)(eth + 1);
	struct zd_icmp *icmp = (void *)(ip6 + 1);
	struct zd_endpoint from = {}, to = {};
	struct bpf_fib_lookup fib = { .family = ZD_AF_INET6, .l4_protocol = IPPROTO_ICMPV6 };

	if ((void *)(icmp + 1) > end || ip6->nexthdr != IPPROTO_ICMPV6 || icmp->code)
		return ZD_PASS;
	__builtin_memcpy(from.addr, &ip6->saddr, sizeof(from.addr));
	__builtin_memcpy(to.addr, &ip6->daddr, sizeof(to.addr));
	if (!zd_is_vip(&to) || !zd_may_ask_v6((__u32 *)from.addr) || zd_is_vip(&from))
		return ZD_PASS;
	__builtin_memcpy(fib.ipv6_src, from.addr, sizeof(fib.ipv6_src));
	__builtin_memcpy(fib.ipv6_dst, to.addr, sizeof(fib.ipv6_dst));
	if (zd_is_local(xdp, &fib))
		return ZD_PASS;
	fib = (struct bpf_fib_lookup){ .family = ZD_AF_INET6, .l4_protocol = IPPROTO_ICMPV6 };
	__builtin_memcpy(fib.ipv6_src, to.addr, sizeof(fib.ipv6_src));
	__builtin_memcpy(fib.ipv6_dst, from.addr, sizeof(fib.ipv6_dst));
	if (!zd_came_to_us(xdp, eth, &fib))
		return ZD_PASS;
	if (zd_echo_verdict() != ZD_TX)
		return ZD_DROP;

	zd_swap_macs(eth);
	__builtin_memcpy(&ip6->saddr, to.addr, sizeof(ip6->saddr));
	__builtin_memcpy(&ip6->daddr, from.addr, sizeof(ip6->daddr));
	ip6->hop_limit = ZD_ICMP_TTL;
	icmp->type = ZD_ICMP6_ECHO_REPLY;
	icmp->check =
		zd_csum_apply(icmp->check, zd_csum_diff16(bpf_htons(ZD_ICMP6_ECHO << 8),
							  bpf_htons(ZD_ICMP6_ECHO_REPLY << 8)));
	return ZD_TX;
}

/* The answer's headers. */
struct zd_too_big_v4 {
	struct iphdr ip;
	struct zd_icmp icmp;
};

struct zd_too_big_v6 {
	struct ipv6hdr ip6;
	struct zd_icmp icmp;
};

/*
 * Make room for `room` bytes of headers and cut the rest behind the quote. The sum that TC keeps of
 * a packet does not cover the link layer's header, which becomes a part of what it does cover.
 */
static __always_inline long zd_shape(const struct zd_ctx *c, __u32 room)
{
	__u8 none[ETH_HLEN] = {};

	if (c->hook == ZD_HOOK_XDP) {
		__u32 len = (__u32)(zd_data_end(c) - zd_data(c));

		return bpf_xdp_adjust_tail(c->xdp, (int)(ETH_HLEN + ZD_TOO_BIG_QUOTE) - (int)len)
			       ?: bpf_xdp_adjust_head(c->xdp, -(int)room);
	}
	return bpf_skb_store_bytes(c->skb, 0, none, sizeof(none), 0) ?:
	       bpf_skb_change_tail(c->skb, ETH_HLEN + ZD_TOO_BIG_QUOTE, 0) ?:
	       bpf_skb_change_head(c->skb, room, 0);
}

static __always_inline int zd_send_back(const struct zd_ctx *c)
{
	zd_count(ZD_EV_TOO_BIG_SENT);
	if (c->hook == ZD_HOOK_XDP)
		return ZD_TX;
	bpf_redirect(c->skb->ifindex, 0);
	return ZD_REDIRECT;
}

/* The frame's link and network headers and all that will be quoted, or NULL. */
static __always_inline struct ethhdr *zd_quotable(const struct zd_ctx *c)
{
	struct ethhdr *eth;

	if (c->hook == ZD_HOOK_TC && !zd_linearize(c, ETH_HLEN + ZD_TOO_BIG_QUOTE))
		return NULL;
	eth = zd_data(c);
	return (void *)(eth + 1) + ZD_TOO_BIG_QUOTE <= zd_data_end(c) ? eth : NULL;
}

static __always_inline int zd_tell_v4(const struct zd_ctx *c, __u32 mtu)
{
	struct ethhdr *eth = zd_quotable(c);
	struct zd_too_big_v4 h = {
		.ip = { .version = 4, .ihl = 5, .ttl = ZD_ICMP_TTL, .protocol = IPPROTO_ICMP },
		.icmp = { .type = ZD_ICMP4_UNREACHABLE, .code = ZD_ICMP4_CODE_FRAG_NEEDED },
	};
	struct ethhdr back;
	struct iphdr *ip;
	__s64 sum;

	if (!eth)
		return ZD_DROP;
	ip = (void *)(eth + 1);
	if (!zd_may_ask_v4(ip->saddr) || !zd_icmp_token())
		return ZD_DROP;
	sum = bpf_csum_diff(NULL, 0, (__be32 *)ip, ZD_TOO_BIG_QUOTE, 0);
	if (sum < 0)
		return ZD_DROP;
	back = *eth;
	zd_swap_macs(&back);
	h.ip.tot_len = bpf_htons(sizeof(h) + ZD_TOO_BIG_QUOTE);
	h.ip.frag_off = bpf_htons(0x4000);
	h.ip.saddr = ip->daddr;
	h.ip.daddr = ip->saddr;
	h.ip.check = zd_csum_fold((__u64)bpf_csum_diff(NULL, 0, (__be32 *)&h.ip, sizeof(h.ip), 0));
	h.icmp.rest = bpf_htonl(mtu > 0xffff ? 0xffff : mtu);
	h.icmp.check = zd_csum_fold(
		(__u64)bpf_csum_diff(NULL, 0, (__be32 *)&h.icmp, sizeof(h.icmp), (__wsum)sum));
	if (zd_shape(c, sizeof(h)) || zd_store(c, 0, &back, sizeof(back)) ||
	    zd_store(c, ETH_HLEN, &h, sizeof(h)))
		return ZD_DROP;
	return zd_send_back(c);
}

/* Both addresses lie side by side, and swapping them does not change the sum. */
static __always_inline __u64 zd_pseudo_v6(const struct ipv6hdr *ip6, __u32 len, __u8 proto)
{
	return (__u64)bpf_htonl(len) + bpf_htonl(proto) +
	       (__u64)bpf_csum_diff(NULL, 0, (__be32 *)&ip6->saddr, 2 * sizeof(ip6->saddr), 0);
}

static __always_inline int zd_tell_v6(const struct zd_ctx *c, __u32 mtu)
{
	struct ethhdr *eth = zd_quotable(c);
	struct zd_too_big_v6 h = {
		.ip6 = { .version = 6, .hop_limit = ZD_ICMP_TTL, .nexthdr = IPPROTO_ICMPV6 },
		.icmp.type = ZD_ICMP6_TOO_BIG,
	};
	__u32 len = sizeof(h.icmp) + ZD_TOO_BIG_QUOTE;
	struct ethhdr back;
	struct ipv6hdr *ip6;
	__u64 sum;

	if (!eth)
		return ZD_DROP;
	ip6 = (void *)(eth + 1);
	if (!zd_may_ask_v6((__u32 *)&ip6->saddr) || !zd_icmp_token())
		return ZD_DROP;
	back = *eth;
	zd_swap_macs(&back);
	h.ip6.payload_len = bpf_htons((__u16)len);
	__builtin_memcpy(&h.ip6.saddr, &ip6->daddr, sizeof(h.ip6.saddr));
	__builtin_memcpy(&h.ip6.daddr, &ip6->saddr, sizeof(h.ip6.daddr));
	h.icmp.rest = bpf_htonl(mtu);
	sum = zd_pseudo_v6(ip6, len, IPPROTO_ICMPV6) +
	      (__u64)bpf_csum_diff(NULL, 0, (__be32 *)ip6, ZD_TOO_BIG_QUOTE, 0) +
	      (__u64)bpf_csum_diff(NULL, 0, (__be32 *)&h.icmp, sizeof(h.icmp), 0);
	h.icmp.check = zd_csum_fold(sum);
	if (zd_shape(c, sizeof(h)) || zd_store(c, 0, &back, sizeof(back)) ||
	    zd_store(c, ETH_HLEN, &h, sizeof(h)))
		return ZD_DROP;
	return zd_send_back(c);
}

static __always_inline int zd_tell(const struct zd_ctx *c, __u32 mtu, bool v6)
{
	if (mtu < ZD_MIN_MTU)
		return ZD_DROP;
	return v6 ? zd_tell_v6(c, mtu) : zd_tell_v4(c, mtu);
}

__noinline int zd_tell_xdp(struct xdp_md *xdp, __u32 mtu, bool v6)
{
	struct zd_ctx c = { .hook = ZD_HOOK_XDP, .xdp = xdp };

	return zd_tell(&c, mtu, v6);
}

__noinline int zd_tell_tc(struct __sk_buff *skb, __u32 mtu, bool v6)
{
	struct zd_ctx c = { .hook = ZD_HOOK_TC, .skb = skb };

	return zd_tell(&c, mtu, v6);
}

/*
 * The packet, still as it came, does not fit its way out, which would take `mtu` bytes of it: tell
 * its sender, as the one whom it was sent to. There are no errors about errors, nor about any
 * fragment but the first (RFC 1122, 3.2.2).
 */
static __always_inline enum zd_verdict zd_too_big(const struct zd_ctx *c, const struct zd_pkt *p,
						  __u32 mtu)
{
	zd_count(ZD_EV_DROP_TOO_BIG);
	if (p->kind != ZD_WHOLE && p->kind != ZD_FIRST_FRAGMENT)
		return ZD_DROP;
	/* Never ZD_NEXT: the packet is no longer what it was. */
	if (c->hook == ZD_HOOK_XDP)
		return zd_tell_xdp(c->xdp, mtu, p->v6) == ZD_TX ? ZD_TX : ZD_DROP;
	return zd_tell_tc(c->skb, mtu, p->v6) == ZD_REDIRECT ? ZD_REDIRECT : ZD_DROP;
}

#endif
