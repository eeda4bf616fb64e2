/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/*
 * The contract between the data plane (bpf/) and the agent: map keys, map values and limits.
 * It is the only thing both sides share. Everything is fixed-width and host-endian unless the
 * type says __be. IPv4 addresses are stored v4-mapped (::ffff:a.b.c.d), so one map serves both
 * families. Maps that outlive the agent are trusted only when settings.abi equals ZD_ABI_VERSION.
 */
#ifndef ZDDLB_ABI_H
#define ZDDLB_ABI_H

#include <linux/types.h>

#define ZD_ABI_VERSION 2

/* Backend ids are 1..65535: an id fits a pin word. 0 means "no backend". */
#define ZD_NO_BACKEND      0
#define ZD_MAX_BACKEND_IDS 65536

/*
 * A slot of a service's ring is one 64-bit word, so that it changes in one store:
 *
 *   bits  0-15  current backend: takes new connections
 *   bits 16-31  base backend: where a connection without a pin belongs
 *   bits 32-47  flags
 *   bits 48-63  zero
 */
#define ZD_SLOT_CONSULT (1u << 0) /* pins may exist: look */
#define ZD_SLOT_PIN     (1u << 1) /* a SYN leaves a pin */
#define ZD_SLOT_ADOPT   (1u << 2) /* a non-SYN without a pin belongs to base, and gets a pin */
#define ZD_SLOT_TRIAL   (1u << 3) /* half-open: spend a permit or use base */
#define ZD_SLOT_LEASED  (1u << 4) /* use base when the lease ran out or the service is on hold */
#define ZD_SLOT_MOVING  (ZD_SLOT_CONSULT | ZD_SLOT_PIN | ZD_SLOT_ADOPT)

#define ZD_SLOT(current, base, flags)                                                              \
	((__u64)(__u16)(current) | (__u64)(__u16)(base) << 16 | (__u64)(__u16)(flags) << 32)
#define ZD_SLOT_CURRENT(word) ((__u16)(word))
#define ZD_SLOT_BASE(word)    ((__u16)((word) >> 16))
#define ZD_SLOT_FLAGS(word)   ((__u16)((word) >> 32))

/*
 * A pin ties one connection to one backend. One 64-bit word, changed by compare-and-swap:
 *
 *   bits  0-7   expiry tick, 1..255; 0 means the word is free
 *   bits  8-23  backend
 *   bits 24-25  state (enum zd_pin_state)
 *   bits 26-63  signature: the same bits of the flow's keyed hash
 *
 * A tick is 2^32 ns of CLOCK_MONOTONIC (4.29 s), and ticks run 1..255 in a circle. A pin holds
 * the tick at which it ends, so the victim of a full bucket is the word that ends first: embryonic
 * and closing pins go before established ones without a rule of their own.
 *
 * The bucket is chosen by the hash's low bits, the slot by its signature: a pin word alone tells
 * which slot it belongs to, whatever the number of buckets.
 */
#define ZD_PIN_TICK_SHIFT    32
#define ZD_PIN_TICKS         255
#define ZD_PIN_SIG_SHIFT     26
#define ZD_PIN_SIG_MASK      (~0ULL << ZD_PIN_SIG_SHIFT)
#define ZD_PINS_PER_BUCKET   8
#define ZD_MAX_PIN_BUCKETS   (1u << ZD_PIN_SIG_SHIFT)
#define ZD_PIN_STATE_SHIFT   24
#define ZD_PIN_BACKEND_SHIFT 8

#define ZD_PIN_EXPIRY(word)  ((__u8)(word))
#define ZD_PIN_BACKEND(word) ((__u16)((word) >> ZD_PIN_BACKEND_SHIFT))
#define ZD_PIN_STATE(word)   ((__u32)((word) >> ZD_PIN_STATE_SHIFT) & 3)

/* Slot index of a flow, from its hash or from its pin. */
#define ZD_SLOT_INDEX(hash_or_pin, ring_mask)                                                      \
	((__u32)((hash_or_pin) >> ZD_PIN_SIG_SHIFT) & (ring_mask))

#define ZD_MAX_RING_SLOTS (1u << 20)
#define ZD_MIN_RING_SLOTS (1u << 10)

/* 1..255, never 0. The same formula runs in both worlds. */
#define ZD_PIN_TICK(monotonic_ns) ((__u8)(((monotonic_ns) >> ZD_PIN_TICK_SHIFT) % ZD_PIN_TICKS + 1))

/*
 * Ticks from `tick` until the pin ends, on the circle; 0: it has ended. A word is living while that
 * is 1..longest + 1, `longest` being the longest duration in use: one more, because another CPU, or
 * the packet behind a sweeper's back, may have entered the next tick already.
 */
#define ZD_PIN_LEFT(word, tick)                                                                    \
	(((__u32)ZD_PIN_EXPIRY(word) + ZD_PIN_TICKS - (__u32)(tick)) % ZD_PIN_TICKS)
#define ZD_PIN_IS_LIVING(word, tick, longest)                                                      \
	(ZD_PIN_EXPIRY(word) && ZD_PIN_LEFT(word, tick) &&                                         \
	 ZD_PIN_LEFT(word, tick) <= (__u32)(longest) + 1)

enum zd_pin_state {
	ZD_PIN_EMBRYONIC = 0, /* no packet since the SYN */
	ZD_PIN_ESTABLISHED = 1,
	ZD_PIN_CLOSING = 2, /* FIN or RST seen */
	ZD_PIN_UDP = 3,     /* a UDP flow; it has no phases */
};

struct zd_pin_bucket {
	__u64 word[ZD_PINS_PER_BUCKET];
};
_Static_assert(sizeof(struct zd_pin_bucket) == 64, "ABI: a bucket is one cache line");

/* Key of `vips` and of `reverse`. proto 0 and port 0 in `vips`: the address as such. */
struct zd_endpoint {
	__u8 addr[16];
	__be16 port;
	__u8 proto;
	__u8 pad;
};
_Static_assert(sizeof(struct zd_endpoint) == 20, "ABI: hash keys have no hidden padding");

struct zd_vip {
	__u32 service; /* index in `services`; ZD_VIP_ADDRESS_ONLY: none */
};
#define ZD_VIP_ADDRESS_ONLY 0xffffffffu

#define ZD_SERVICE_HOLD (1u << 0) /* LEASED slots count as expired */
/*
 * Every living flow of the service has a pin: all its slots are MOVING, always. A UDP packet without
 * a pin opens a new flow then, and is treated like a SYN.
 */
#define ZD_SERVICE_TRACK_FULL (1u << 1)

struct zd_service {
	__u32 ring_offset; /* first slot in `ring` */
	__u32 ring_mask;   /* slots - 1 */
	__u32 flags;
	__u32 pad;
	__u64 lease_ns; /* CLOCK_MONOTONIC; LEASED slots count as expired from then on */
	__u64 reserved[5];
};
_Static_assert(sizeof(struct zd_service) == 64, "ABI");

#define ZD_BACKEND_ALIVE    (1u << 0) /* its connections stay with it */
#define ZD_BACKEND_RESOLVED (1u << 1) /* ifindex, dmac and smac are valid */
#define ZD_BACKEND_V6       (1u << 2) /* the family of addr */

/*
 * How packets reach a backend. nat and dsr keep the family: a VIP's packet needs a backend of the
 * VIP's family. With ipip and gue addr is the outer destination, and of any family. Only nat has
 * replies here, so only nat has entries in `reverse`.
 */
enum zd_mode {
	ZD_MODE_NAT = 0,
	ZD_MODE_DSR = 1, /* MAC addresses alone: the next hop is the backend itself */
	ZD_MODE_IPIP = 2,
	ZD_MODE_GUE = 3,
};
#define ZD_GUE_PORT 6080

struct zd_backend {
	__u8 addr[16];
	__be16 port; /* nat */
	__u16 flags;
	__u32 service;
	__u32 ifindex; /* way out */
	__u8 dmac[6];
	__u8 smac[6];
	__u8 mode; /* enum zd_mode */
	__u8 pad;
	__u16 mtu;       /* of the way out, in bytes of the outermost IP packet; 0: unknown */
	__be16 gue_port; /* the tunnel's UDP port at the backend; 0: ZD_GUE_PORT */
	__u16 pad2;
	__u8 source[16]; /* ipip, gue: outer source, of addr's family */
};
_Static_assert(sizeof(struct zd_backend) == 64, "ABI: a backend is one cache line");

/* What a reply from a backend's endpoint becomes. */
struct zd_reverse {
	__u8 vip[16];
	__be16 port;
	__u16 backend;
	__u32 service;
};
_Static_assert(sizeof(struct zd_reverse) == 24, "ABI");

/*
 * One observed handshake. Only SYN, SYN-ACK and RST look here, never a packet with data. A cell is
 * chosen by the flow's hash; a cell whose handshake is still open is not taken over. The agent
 * sweeps cells whose SYN stayed unanswered and sets them free by compare-and-swap on `state`.
 */
enum zd_birth_state {
	ZD_BIRTH_FREE = 0,
	ZD_BIRTH_SYN = 1,      /* SYN forwarded, no answer yet */
	ZD_BIRTH_ANSWERED = 2, /* SYN-ACK seen */
	ZD_BIRTH_CLAIMED = 3,  /* being written by a packet: leave it alone */
};
struct zd_birth {
	__u64 flow;    /* keyed hash of the flow */
	__u64 born_ns; /* CLOCK_MONOTONIC of the first SYN */
	__u32 state;   /* enum zd_birth_state; 32 bits so that both sides can swap it */
	__u32 isn;     /* the server's initial sequence number, once answered */
	__u16 backend;
	__u16 pad;
	__u32 client_isn; /* sequence number of the SYN: a repeated one has the same */
};
_Static_assert(sizeof(struct zd_birth) == 32, "ABI");

/* A SYN without an answer for that long is a failed handshake. */
#define ZD_BIRTH_TIMEOUT_NS (3ULL * 1000 * 1000 * 1000)

/*
 * Per-CPU counters of one backend. Handshake outcomes are of observed connections: attempts is
 * how many were observed; each ends as answered, refused (RST in answer to the SYN) or unanswered.
 * early_resets are answered ones that the server reset before it sent a byte.
 */
enum zd_backend_counter {
	ZD_BC_REQUEST_PACKETS,
	ZD_BC_REQUEST_BYTES,
	ZD_BC_REPLY_PACKETS,
	ZD_BC_REPLY_BYTES,
	/* SYNs of new connections (repeated SYNs do not count), new UDP flows of tracked services */
	ZD_BC_CONNECTIONS,
	ZD_BC_SYN_RETRANSMITS,
	ZD_BC_ATTEMPTS,
	ZD_BC_ANSWERED,
	ZD_BC_REFUSED,
	ZD_BC_UNANSWERED,
	ZD_BC_EARLY_RESETS,
	ZD_BC_SERVER_RESETS,
	ZD_BC_CLIENT_RESETS,
	ZD_BC_MAX
};
struct zd_backend_stats {
	__u64 count[ZD_BC_MAX];
	__u64 pad[16 - ZD_BC_MAX];
};
_Static_assert(sizeof(struct zd_backend_stats) == 128, "ABI");

/* Per-CPU counters of the whole data plane: what became of packets. */
enum zd_event {
	ZD_EV_REQUEST_FORWARDED,
	ZD_EV_REPLY_FORWARDED,
	ZD_EV_PASSED_NOT_OURS,
	ZD_EV_PUNTED, /* left by XDP to the TC program behind it: next hop not known yet */
	ZD_EV_PIN_INSERTED,
	ZD_EV_PIN_EVICTED,         /* a living pin made room for another */
	ZD_EV_BIRTH_SKIPPED,       /* handshake not observed: its cell was busy */
	ZD_EV_LEASE_FALLBACK,      /* new connection sent to base: lease ran out or hold */
	ZD_EV_DROP_TRUNCATED,      /* a header lies about its length, or ends behind the frame */
	ZD_EV_DROP_FRAGMENT,       /* IP fragment to a VIP whose first one has not been seen */
	ZD_EV_DROP_NO_BACKEND,     /* the slot names no usable backend */
	ZD_EV_DROP_TTL,            /* TTL or hop limit ran out here */
	ZD_EV_DROP_NO_ROUTE,       /* no route or neighbour for the way out */
	ZD_EV_DROP_FORWARDING_OFF, /* ip_forward is off on the interface it came in; replies are
				    * left to the kernel, which delivers its own and drops the rest */
	ZD_EV_DROP_TOO_BIG,        /* larger than the MTU of the way out */
	ZD_EV_DROP_REWRITE,        /* the kernel refused the rewrite */
	ZD_EV_ICMP_FORWARDED,      /* ICMP error about one of our flows, sent to whom it concerns */
	ZD_EV_ECHO_ANSWERED,       /* echo to a VIP */
	ZD_EV_TOO_BIG_SENT,        /* the sender of one of drop_too_big was told the MTU */
	ZD_EV_DROP_ICMP,           /* ICMP error to a VIP that quotes nonsense */
	ZD_EV_DROP_ICMP_RATE,      /* more echo to VIPs than is answered */
	ZD_EV_MAX
};

/*
 * Set by the agent before the program runs, kept across upgrades. Durations of pins in ticks,
 * 1..254, one more than the timeout needs: the tick a pin is born in has already begun.
 */
struct zd_settings {
	__u32 abi; /* ZD_ABI_VERSION */
	__u32 pin_bucket_mask;
	__u32 birth_mask;
	__u8 idle_ticks;
	__u8 syn_ticks;
	__u8 fin_ticks;
	__u8 longest_ticks; /* at least the others, and the longest there ever was in these maps:
			     * pins of before a shorter timeout still live */
	__u64 hash_key[2];
	__u8 udp_ticks; /* of a UDP flow */
	__u8 pad[7];
};
_Static_assert(sizeof(struct zd_settings) == 40, "ABI");

/* Per-CPU counters of the program that takes tunnels off at a backend. */
enum zd_decap_counter {
	ZD_DC_IPIP, /* packets taken out of their tunnel */
	ZD_DC_GUE,
	ZD_DC_BYTES,       /* of the packets taken out, from the network layer on */
	ZD_DC_PASSED,      /* no tunnel of ours: left to the kernel as it came */
	ZD_DC_DROP_BAD,    /* a tunnel whose headers lie */
	ZD_DC_DROP_ECN,    /* congestion was met by a packet that cannot be told (RFC 6040) */
	ZD_DC_DROP_SOURCE, /* from nobody who may send through the tunnel */
	ZD_DC_MAX
};

#endif
