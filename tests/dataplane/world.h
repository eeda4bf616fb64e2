/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * A small world for the data plane: a network namespace with a client side and a backend side, the
 * programs loaded with small maps, one service with a VIP of each family and protocol. It ends with the process.
 *
 * Clients: 10.9.1.0/24 and 2001:db8:1::/64 behind `front`. Backends: 10.9.2.0/24 and
 * 2001:db8:2::/64 behind `back`. Neighbours .2 to .9 of both sides have a MAC address
 * 02:00:00:00:00:xx; others are unknown.
 */
#ifndef ZDDLB_TESTS_WORLD_H
#define ZDDLB_TESTS_WORLD_H

#include <zddlb/abi.h>

#include "frame.h"

#define WORLD_SLOTS          1024
#define WORLD_BACKENDS       32
#define WORLD_BUCKETS        64
#define WORLD_BIRTHS         256
#define WORLD_FRAGMENTS_SIZE 65536 /* bytes of the map */
#define WORLD_PORT           80
#define WORLD_BE_PORT        8080

#define WORLD_VIP4    "10.9.9.9"
#define WORLD_VIP6    "2001:db8:9::9"
#define WORLD_CLIENT4 "10.9.1.2"
#define WORLD_CLIENT6 "2001:db8:1::2"

#define WORLD_IDLE_TICKS 200
#define WORLD_SYN_TICKS  8
#define WORLD_FIN_TICKS  4
#define WORLD_UDP_TICKS  29

/* Last bytes of the MAC addresses: ours on each side, and the neighbours'. */
#define WORLD_MAC_FRONT  0xf1
#define WORLD_MAC_BACK   0xb1
#define WORLD_MAC_CLIENT 0x12
#define WORLD_MAC_SERVER 0x20 /* + backend id */

struct zddlb;

enum world_hook { WORLD_XDP, WORLD_TC };

/* What became of a frame, for both hooks. */
enum world_verdict { WORLD_PASS, WORLD_DROP, WORLD_TX, WORLD_REDIRECT, WORLD_ERROR };

struct world {
	struct zddlb *skel;
	volatile uint64_t *ring;
	volatile struct zd_service *services;
	volatile struct zd_backend *backends;
	volatile struct zd_pin_bucket *pins;
	volatile struct zd_birth *births;
	volatile uint64_t *fragments;
	unsigned front, back; /* ifindex */
	uint64_t event_base[ZD_EV_MAX];
	uint64_t stats_base[WORLD_BACKENDS][ZD_BC_MAX];
};

struct world_frame {
	uint8_t bytes[FRAME_MAX];
	size_t len;
};

int world_enter(void); /* the namespace; 0, or -1 with a message */
int world_open(struct world *w, uint32_t slots, uint32_t buckets);
void world_close(struct world *w);
int world_shell(const char *fmt, ...) __attribute__((format(printf, 1, 2)));

/* No pins, births, flags, hold or lease; backends 1..9 alive and resolved; counters at 0. */
void world_reset(struct world *w);
void world_tokens(struct world *w); /* as many ICMP answers as can be */
/* Backend `id` serves one family at a time. */
void world_backend(struct world *w, unsigned id, bool v6, unsigned flags);
/* Another mode for a backend that is there; the family is its address's. */
void world_mode(struct world *w, unsigned id, enum zd_mode mode);
#define WORLD_SOURCE4 "10.9.2.1" /* outer sources */
#define WORLD_SOURCE6 "2001:db8:2::1"
const char *world_backend_addr(unsigned id, bool v6);
void world_slots(struct world *w, uint64_t word);

/* Run one frame, as if it had come in at `ifindex`. */
enum world_verdict world_run(struct world *w, enum world_hook hook, unsigned ifindex,
			     const struct world_frame *in, struct world_frame *out);
enum world_verdict world_send(struct world *w, enum world_hook hook, unsigned ifindex,
			      const struct frame *f, struct world_frame *out);
/* TC: one frame that GRO made of segments with so many bytes of payload. */
enum world_verdict world_send_merged(struct world *w, unsigned ifindex, const struct frame *f,
				     unsigned segment);
uint64_t world_event(struct world *w, enum zd_event e); /* since the last reset */
uint64_t world_stat(struct world *w, unsigned backend, enum zd_backend_counter c);

/* The only pin there is; 0: none. 0 also if there are more. */
uint64_t world_pin(struct world *w);
volatile uint64_t *world_pin_word(struct world *w);
uint32_t world_tick(void);
volatile struct zd_birth *world_birth(struct world *w); /* the only cell in use, or NULL */
uint64_t world_now_ns(void);

/* Frames of the standard flow of each family. */
struct frame world_request(bool v6, uint8_t flags);
struct frame world_request_out(bool v6, uint8_t flags,
			       unsigned backend); /* as the backend gets it */
struct frame world_reply(bool v6, uint8_t flags, unsigned backend);
struct frame world_reply_out(bool v6, uint8_t flags);

#endif
