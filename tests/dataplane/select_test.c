/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * The rules of the pinned ring, one row a rule: a slot, a pin, who is dead, a packet; where it goes
 * and what becomes of the pin. Every row runs at both hooks and in both families.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <cmocka.h>

#include "world.h"

#define SYN FRAME_SYN
#define ACK FRAME_ACK
#define FIN FRAME_FIN
#define RST FRAME_RST
#define PSH FRAME_PSH

#define CONSULT ZD_SLOT_CONSULT
#define PIN     ZD_SLOT_PIN
#define MOVING  ZD_SLOT_MOVING
#define LEASED  (ZD_SLOT_MOVING | ZD_SLOT_LEASED)

#define EMBRYONIC   ZD_PIN_EMBRYONIC
#define ESTABLISHED ZD_PIN_ESTABLISHED
#define CLOSING     ZD_PIN_CLOSING
#define FLOW        ZD_PIN_UDP

#define DEAD(id) (1u << (id))

enum lease { NO_LEASE, LEASE_RUNS, LEASE_RAN_OUT, HOLD, HOLD_AND_LEASE_RUNS };

struct pin {
	uint16_t backend; /* 0: no pin */
	uint8_t state;
	uint8_t left; /* ticks */
};

struct row {
	const char *name;
	struct {
		uint16_t current, base, flags;
	} slot;
	struct pin pin;
	unsigned dead;
	enum lease lease;
	uint8_t tcp;
	bool udp, full;
	/* What must come of it. */
	uint16_t to; /* 0: dropped, no backend */
	struct pin then;
	uint8_t inserted, fallback;
};

#define IDLE WORLD_IDLE_TICKS
#define HALF WORLD_SYN_TICKS
#define LAST WORLD_FIN_TICKS
#define UDP  WORLD_UDP_TICKS

/* clang-format off */
static const struct row rows[] = {
/* A slot without flags touches no table. */
{ .name = "steady: a SYN goes to current and leaves no pin", .slot = { 1, 1, 0 }, .tcp = SYN, .to = 1 },
{ .name = "steady: data goes to current", .slot = { 1, 1, 0 }, .tcp = ACK | PSH, .to = 1 },
{ .name = "steady: FIN goes to current", .slot = { 1, 1, 0 }, .tcp = FIN | ACK, .to = 1 },
{ .name = "steady: RST goes to current", .slot = { 1, 1, 0 }, .tcp = RST, .to = 1 },
{ .name = "steady: SYN-ACK is no SYN", .slot = { 1, 1, 0 }, .tcp = SYN | ACK, .to = 1 },
{ .name = "steady: no flags at all", .slot = { 1, 1, 0 }, .tcp = 0, .to = 1 },
{ .name = "steady: a pin is not looked at by data", .slot = { 1, 1, 0 }, .pin = { 3, ESTABLISHED, 9 }, .tcp = ACK, .to = 1, .then = { 3, ESTABLISHED, 9 } },
{ .name = "steady: a pin is not looked at by a SYN", .slot = { 1, 1, 0 }, .pin = { 3, EMBRYONIC, 9 }, .tcp = SYN, .to = 1, .then = { 3, EMBRYONIC, 9 } },
{ .name = "steady: current dead, base alive", .slot = { 2, 1, 0 }, .dead = DEAD(2), .tcp = ACK, .to = 1 },
{ .name = "steady: SYN, current dead, base alive", .slot = { 2, 1, 0 }, .dead = DEAD(2), .tcp = SYN, .to = 1 },
{ .name = "steady: dead is dead", .slot = { 1, 1, 0 }, .dead = DEAD(1), .tcp = ACK },
{ .name = "steady: an empty slot drops", .slot = { 0, 0, 0 }, .tcp = SYN },
{ .name = "steady: an id behind the map drops", .slot = { 65535, 65535, 0 }, .tcp = SYN },
{ .name = "steady: an id whose entry is empty drops", .slot = { 20, 20, 0 }, .tcp = SYN },
{ .name = "steady: an id behind the map yields to base", .slot = { 65535, 1, 0 }, .tcp = ACK, .to = 1 },

/* Moving: new connections to current with a pin, old ones to base, and they get one. */
{ .name = "moving: a SYN goes to current and is pinned", .slot = { 2, 1, MOVING }, .tcp = SYN, .to = 2, .then = { 2, EMBRYONIC, HALF }, .inserted = 1 },
{ .name = "moving: SYN with ECN bits is a SYN", .slot = { 2, 1, MOVING }, .tcp = SYN | 0xc0, .to = 2, .then = { 2, EMBRYONIC, HALF }, .inserted = 1 },
{ .name = "moving: data without a pin stays at base and is adopted", .slot = { 2, 1, MOVING }, .tcp = ACK | PSH, .to = 1, .then = { 1, ESTABLISHED, IDLE }, .inserted = 1 },
{ .name = "moving: a bare ACK is adopted", .slot = { 2, 1, MOVING }, .tcp = ACK, .to = 1, .then = { 1, ESTABLISHED, IDLE }, .inserted = 1 },
{ .name = "moving: SYN-ACK is adopted like data", .slot = { 2, 1, MOVING }, .tcp = SYN | ACK, .to = 1, .then = { 1, ESTABLISHED, IDLE }, .inserted = 1 },
{ .name = "moving: a FIN without a pin goes to base, unpinned", .slot = { 2, 1, MOVING }, .tcp = FIN | ACK, .to = 1 },
{ .name = "moving: a RST without a pin goes to base, unpinned", .slot = { 2, 1, MOVING }, .tcp = RST, .to = 1 },
{ .name = "moving: the pin decides, not base", .slot = { 2, 1, MOVING }, .pin = { 2, ESTABLISHED, IDLE }, .tcp = ACK, .to = 2, .then = { 2, ESTABLISHED, IDLE } },
{ .name = "moving: the pin decides, not current", .slot = { 2, 1, MOVING }, .pin = { 1, ESTABLISHED, IDLE }, .tcp = ACK, .to = 1, .then = { 1, ESTABLISHED, IDLE } },
{ .name = "moving: a pin to neither of both decides", .slot = { 2, 1, MOVING }, .pin = { 3, ESTABLISHED, IDLE }, .tcp = ACK, .to = 3, .then = { 3, ESTABLISHED, IDLE } },
{ .name = "moving: the first ACK establishes", .slot = { 2, 1, MOVING }, .pin = { 2, EMBRYONIC, HALF }, .tcp = ACK, .to = 2, .then = { 2, ESTABLISHED, IDLE } },
{ .name = "moving: an old pin is refreshed", .slot = { 2, 1, MOVING }, .pin = { 2, ESTABLISHED, 3 }, .tcp = ACK, .to = 2, .then = { 2, ESTABLISHED, IDLE } },
{ .name = "moving: a pin in its last tick is refreshed", .slot = { 2, 1, MOVING }, .pin = { 3, ESTABLISHED, 1 }, .tcp = ACK, .to = 3, .then = { 3, ESTABLISHED, IDLE } },
{ .name = "moving: FIN shortens the pin", .slot = { 2, 1, MOVING }, .pin = { 2, ESTABLISHED, IDLE }, .tcp = FIN | ACK, .to = 2, .then = { 2, CLOSING, LAST } },
{ .name = "moving: RST shortens the pin", .slot = { 2, 1, MOVING }, .pin = { 2, ESTABLISHED, IDLE }, .tcp = RST, .to = 2, .then = { 2, CLOSING, LAST } },
{ .name = "moving: RST shortens an embryonic pin", .slot = { 2, 1, MOVING }, .pin = { 2, EMBRYONIC, HALF }, .tcp = RST, .to = 2, .then = { 2, CLOSING, LAST } },
{ .name = "moving: ACKs do not make a closing pin long-lived", .slot = { 2, 1, MOVING }, .pin = { 2, CLOSING, 2 }, .tcp = ACK, .to = 2, .then = { 2, CLOSING, LAST } },
{ .name = "moving: a closing pin still decides", .slot = { 2, 1, MOVING }, .pin = { 3, CLOSING, LAST }, .tcp = ACK, .to = 3, .then = { 3, CLOSING, LAST } },
{ .name = "moving: an ended pin is none; adopted anew", .slot = { 2, 1, MOVING }, .pin = { 3, ESTABLISHED, 0 }, .tcp = ACK, .to = 1, .then = { 1, ESTABLISHED, IDLE }, .inserted = 1 },
{ .name = "moving: a pin further ahead than any can be is none", .slot = { 2, 1, MOVING }, .pin = { 3, ESTABLISHED, IDLE + 2 }, .tcp = ACK, .to = 1, .then = { 1, ESTABLISHED, IDLE }, .inserted = 1 },
{ .name = "moving: a pin written one tick ahead of us is one", .slot = { 2, 1, MOVING }, .pin = { 3, ESTABLISHED, IDLE + 1 }, .tcp = ACK, .to = 3, .then = { 3, ESTABLISHED, IDLE } },

/* SYNs that find a pin. */
{ .name = "a SYN sent again keeps its pin", .slot = { 2, 1, MOVING }, .pin = { 1, EMBRYONIC, 5 }, .tcp = SYN, .to = 1, .then = { 1, EMBRYONIC, 5 } },
{ .name = "a SYN sent again keeps a third backend", .slot = { 2, 1, MOVING }, .pin = { 3, EMBRYONIC, 5 }, .tcp = SYN, .to = 3, .then = { 3, EMBRYONIC, 5 } },
{ .name = "a SYN sent again to a dead backend does not", .slot = { 2, 1, MOVING }, .pin = { 3, EMBRYONIC, 5 }, .dead = DEAD(3), .tcp = SYN, .to = 2, .then = { 2, EMBRYONIC, HALF }, .inserted = 1 },
{ .name = "a SYN over an established pin is a new connection", .slot = { 2, 1, MOVING }, .pin = { 1, ESTABLISHED, 50 }, .tcp = SYN, .to = 2, .then = { 2, EMBRYONIC, HALF }, .inserted = 1 },
{ .name = "a SYN over a closing pin is a new connection", .slot = { 2, 1, MOVING }, .pin = { 1, CLOSING, 2 }, .tcp = SYN, .to = 2, .then = { 2, EMBRYONIC, HALF }, .inserted = 1 },
{ .name = "a SYN over an ended embryonic pin is a new connection", .slot = { 2, 1, MOVING }, .pin = { 1, EMBRYONIC, 0 }, .tcp = SYN, .to = 2, .then = { 2, EMBRYONIC, HALF }, .inserted = 1 },

/* CONSULT alone: settled but for what pins remain. */
{ .name = "consult: a SYN goes to current and leaves no pin", .slot = { 1, 1, CONSULT }, .tcp = SYN, .to = 1 },
{ .name = "consult: a SYN deletes a stale pin", .slot = { 1, 1, CONSULT }, .pin = { 2, ESTABLISHED, 50 }, .tcp = SYN, .to = 1 },
{ .name = "consult: a SYN deletes a closing pin", .slot = { 1, 1, CONSULT }, .pin = { 2, CLOSING, 2 }, .tcp = SYN, .to = 1 },
{ .name = "consult: a SYN sent again keeps its pin", .slot = { 1, 1, CONSULT }, .pin = { 2, EMBRYONIC, 2 }, .tcp = SYN, .to = 2, .then = { 2, EMBRYONIC, 2 } },
{ .name = "consult: a SYN deletes the pin of a dead backend", .slot = { 1, 1, CONSULT }, .pin = { 2, EMBRYONIC, 2 }, .dead = DEAD(2), .tcp = SYN, .to = 1 },
{ .name = "consult: data follows its pin", .slot = { 1, 1, CONSULT }, .pin = { 2, ESTABLISHED, 7 }, .tcp = ACK, .to = 2, .then = { 2, ESTABLISHED, IDLE } },
{ .name = "consult: data without a pin goes to base and gets none", .slot = { 1, 1, CONSULT }, .tcp = ACK, .to = 1 },
{ .name = "consult: data with a pin to the dead goes to base", .slot = { 1, 1, CONSULT }, .pin = { 2, ESTABLISHED, 7 }, .dead = DEAD(2), .tcp = ACK, .to = 1, .then = { 2, ESTABLISHED, 7 } },
{ .name = "consult: FIN follows its pin and shortens it", .slot = { 1, 1, CONSULT }, .pin = { 2, ESTABLISHED, 7 }, .tcp = FIN, .to = 2, .then = { 2, CLOSING, LAST } },

/* The dead. */
{ .name = "dead: a SYN for dead current goes to base", .slot = { 2, 1, MOVING }, .dead = DEAD(2), .tcp = SYN, .to = 1, .then = { 1, EMBRYONIC, HALF }, .inserted = 1 },
{ .name = "dead: a SYN with both dead is dropped and leaves no pin", .slot = { 2, 1, MOVING }, .dead = DEAD(1) | DEAD(2), .tcp = SYN },
{ .name = "dead: unpinned data of dead base goes to current, and stays there", .slot = { 2, 1, MOVING }, .dead = DEAD(1), .tcp = ACK, .to = 2, .then = { 2, ESTABLISHED, IDLE }, .inserted = 1 },
{ .name = "dead: unpinned data with both dead is dropped", .slot = { 2, 1, MOVING }, .dead = DEAD(1) | DEAD(2), .tcp = ACK },
{ .name = "dead: pinned data goes to base; the pin waits for its backend", .slot = { 2, 1, MOVING }, .pin = { 3, ESTABLISHED, 50 }, .dead = DEAD(3), .tcp = ACK, .to = 1, .then = { 3, ESTABLISHED, 50 } },
{ .name = "dead: pinned data, base dead as well", .slot = { 2, 1, MOVING }, .pin = { 3, ESTABLISHED, 50 }, .dead = DEAD(3) | DEAD(1), .tcp = ACK, .to = 2, .then = { 3, ESTABLISHED, 50 } },
{ .name = "dead: pinned data, all dead", .slot = { 2, 1, MOVING }, .pin = { 3, ESTABLISHED, 50 }, .dead = DEAD(1) | DEAD(2) | DEAD(3), .tcp = ACK, .then = { 3, ESTABLISHED, 50 } },
{ .name = "dead: the pinned one lives, current and base do not", .slot = { 2, 1, MOVING }, .pin = { 3, ESTABLISHED, 50 }, .dead = DEAD(1) | DEAD(2), .tcp = ACK, .to = 3, .then = { 3, ESTABLISHED, IDLE } },
{ .name = "dead: a pin to an id behind the map", .slot = { 2, 1, MOVING }, .pin = { 60000, ESTABLISHED, 50 }, .tcp = ACK, .to = 1, .then = { 60000, ESTABLISHED, 50 } },

/* Leases and hold. */
{ .name = "leased: without a lease time it never runs out", .slot = { 2, 1, LEASED }, .tcp = SYN, .to = 2, .then = { 2, EMBRYONIC, HALF }, .inserted = 1 },
{ .name = "leased: while it runs, current", .slot = { 2, 1, LEASED }, .lease = LEASE_RUNS, .tcp = SYN, .to = 2, .then = { 2, EMBRYONIC, HALF }, .inserted = 1 },
{ .name = "leased: ran out, base", .slot = { 2, 1, LEASED }, .lease = LEASE_RAN_OUT, .tcp = SYN, .to = 1, .then = { 1, EMBRYONIC, HALF }, .inserted = 1, .fallback = 1 },
{ .name = "leased: on hold, base", .slot = { 2, 1, LEASED }, .lease = HOLD, .tcp = SYN, .to = 1, .then = { 1, EMBRYONIC, HALF }, .inserted = 1, .fallback = 1 },
{ .name = "leased: hold beats a running lease", .slot = { 2, 1, LEASED }, .lease = HOLD_AND_LEASE_RUNS, .tcp = SYN, .to = 1, .then = { 1, EMBRYONIC, HALF }, .inserted = 1, .fallback = 1 },
{ .name = "leased: on hold, a SYN sent again goes to base too", .slot = { 2, 1, LEASED }, .pin = { 2, EMBRYONIC, 5 }, .lease = HOLD, .tcp = SYN, .to = 1, .then = { 1, EMBRYONIC, HALF }, .inserted = 1, .fallback = 1 },
{ .name = "leased: on hold, established connections stay", .slot = { 2, 1, LEASED }, .pin = { 2, ESTABLISHED, IDLE }, .lease = HOLD, .tcp = ACK, .to = 2, .then = { 2, ESTABLISHED, IDLE } },
{ .name = "leased: ran out, established connections stay", .slot = { 2, 1, LEASED }, .pin = { 2, ESTABLISHED, IDLE }, .lease = LEASE_RAN_OUT, .tcp = ACK, .to = 2, .then = { 2, ESTABLISHED, IDLE } },
{ .name = "leased: on hold, a handshake may finish", .slot = { 2, 1, LEASED }, .pin = { 2, EMBRYONIC, 5 }, .lease = HOLD, .tcp = ACK, .to = 2, .then = { 2, ESTABLISHED, IDLE } },
{ .name = "leased: on hold with a dead base, current is better than nobody", .slot = { 2, 1, LEASED }, .dead = DEAD(1), .lease = HOLD, .tcp = SYN, .to = 2, .then = { 2, EMBRYONIC, HALF }, .inserted = 1 },
{ .name = "leased: on hold with a dead base, a SYN sent again keeps its pin", .slot = { 2, 1, LEASED }, .pin = { 2, EMBRYONIC, 5 }, .dead = DEAD(1), .lease = HOLD, .tcp = SYN, .to = 2, .then = { 2, EMBRYONIC, 5 } },
{ .name = "hold does not concern slots without LEASED", .slot = { 2, 1, MOVING }, .lease = HOLD, .tcp = SYN, .to = 2, .then = { 2, EMBRYONIC, HALF }, .inserted = 1 },
{ .name = "hold does not concern steady slots", .slot = { 2, 1, 0 }, .lease = HOLD, .tcp = SYN, .to = 2 },
/* UDP where only slots in transition are tracked: a packet is one of a connection that is there. */
{ .name = "udp, steady: current, no pin", .slot = { 1, 1, 0 }, .udp = true, .to = 1 },
{ .name = "udp, steady: current dead, base alive", .slot = { 2, 1, 0 }, .udp = true, .dead = DEAD(2), .to = 1 },
{ .name = "udp, moving: base, adopted for a UDP timeout", .slot = { 2, 1, MOVING }, .udp = true, .to = 1, .then = { 1, FLOW, UDP }, .inserted = 1 },
{ .name = "udp, moving: the pin decides, and is refreshed", .slot = { 2, 1, MOVING }, .udp = true, .pin = { 3, FLOW, 1 }, .to = 3, .then = { 3, FLOW, UDP } },
{ .name = "udp, moving: an ended pin is none", .slot = { 2, 1, MOVING }, .udp = true, .pin = { 3, FLOW, 0 }, .to = 1, .then = { 1, FLOW, UDP }, .inserted = 1 },
{ .name = "udp, moving: dead pin, base; it waits", .slot = { 2, 1, MOVING }, .udp = true, .pin = { 3, FLOW, 9 }, .dead = DEAD(3), .to = 1, .then = { 3, FLOW, 9 } },
{ .name = "udp, moving: base dead, current", .slot = { 2, 1, MOVING }, .udp = true, .dead = DEAD(1), .to = 2, .then = { 2, FLOW, UDP }, .inserted = 1 },
{ .name = "udp, consult: base, no pin", .slot = { 1, 1, CONSULT }, .udp = true, .to = 1 },
{ .name = "udp, consult: the pin decides", .slot = { 1, 1, CONSULT }, .udp = true, .pin = { 2, FLOW, 9 }, .to = 2, .then = { 2, FLOW, UDP } },
{ .name = "udp, leased: on hold, what is there stays at base", .slot = { 2, 1, LEASED }, .udp = true, .lease = HOLD, .to = 1, .then = { 1, FLOW, UDP }, .inserted = 1 },
/* UDP with full tracking: what has no pin is new. */
{ .name = "udp, full: a new flow is pinned though nothing changes", .slot = { 1, 1, MOVING }, .udp = true, .full = true, .to = 1, .then = { 1, FLOW, UDP }, .inserted = 1 },
{ .name = "udp, full: a new flow goes to current", .slot = { 2, 1, MOVING }, .udp = true, .full = true, .to = 2, .then = { 2, FLOW, UDP }, .inserted = 1 },
{ .name = "udp, full: a living flow stays at base", .slot = { 2, 1, MOVING }, .udp = true, .full = true, .pin = { 1, FLOW, 9 }, .to = 1, .then = { 1, FLOW, UDP } },
{ .name = "udp, full: a living flow stays at neither of both", .slot = { 2, 1, MOVING }, .udp = true, .full = true, .pin = { 3, FLOW, UDP }, .to = 3, .then = { 3, FLOW, UDP } },
{ .name = "udp, full: in its last tick it lives", .slot = { 2, 1, MOVING }, .udp = true, .full = true, .pin = { 3, FLOW, 1 }, .to = 3, .then = { 3, FLOW, UDP } },
{ .name = "udp, full: after its idle timeout it is new", .slot = { 2, 1, MOVING }, .udp = true, .full = true, .pin = { 3, FLOW, 0 }, .to = 2, .then = { 2, FLOW, UDP }, .inserted = 1 },
{ .name = "udp, full: the pin of a dead backend is overwritten", .slot = { 2, 1, MOVING }, .udp = true, .full = true, .pin = { 3, FLOW, 9 }, .dead = DEAD(3), .to = 2, .then = { 2, FLOW, UDP }, .inserted = 1 },
{ .name = "udp, full: dead pin, dead current, base", .slot = { 2, 1, MOVING }, .udp = true, .full = true, .pin = { 3, FLOW, 9 }, .dead = DEAD(3) | DEAD(2), .to = 1, .then = { 1, FLOW, UDP }, .inserted = 1 },
{ .name = "udp, full: all dead, dropped; the pin waits", .slot = { 2, 1, MOVING }, .udp = true, .full = true, .pin = { 3, FLOW, 9 }, .dead = DEAD(3) | DEAD(2) | DEAD(1), .then = { 3, FLOW, 9 } },
{ .name = "udp, full: all dead, no pin is left", .slot = { 2, 1, MOVING }, .udp = true, .full = true, .dead = DEAD(2) | DEAD(1) },
{ .name = "udp, full: on hold a new flow goes to base", .slot = { 2, 1, LEASED }, .udp = true, .full = true, .lease = HOLD, .to = 1, .then = { 1, FLOW, UDP }, .inserted = 1, .fallback = 1 },
{ .name = "udp, full: the lease ran out, base", .slot = { 2, 1, LEASED }, .udp = true, .full = true, .lease = LEASE_RAN_OUT, .to = 1, .then = { 1, FLOW, UDP }, .inserted = 1, .fallback = 1 },
{ .name = "udp, full: while the lease runs, current", .slot = { 2, 1, LEASED }, .udp = true, .full = true, .lease = LEASE_RUNS, .to = 2, .then = { 2, FLOW, UDP }, .inserted = 1 },
{ .name = "udp, full: on hold a living flow stays", .slot = { 2, 1, LEASED }, .udp = true, .full = true, .pin = { 2, FLOW, 9 }, .lease = HOLD, .to = 2, .then = { 2, FLOW, UDP } },
{ .name = "udp, full: consult alone pins nothing", .slot = { 2, 1, CONSULT }, .udp = true, .full = true, .to = 2 },
{ .name = "udp, full: a slot without flags is not tracked", .slot = { 2, 1, 0 }, .udp = true, .full = true, .to = 2 },
/* TCP with full tracking has its SYNs: the rules are as ever. */
{ .name = "tcp, full: a SYN goes to current and is pinned", .slot = { 2, 1, MOVING }, .full = true, .tcp = SYN, .to = 2, .then = { 2, EMBRYONIC, HALF }, .inserted = 1 },
{ .name = "tcp, full: a SYN sent again keeps its pin", .slot = { 2, 1, MOVING }, .full = true, .pin = { 1, EMBRYONIC, 5 }, .tcp = SYN, .to = 1, .then = { 1, EMBRYONIC, 5 } },
{ .name = "tcp, full: data without a pin goes to base and is adopted", .slot = { 2, 1, MOVING }, .full = true, .tcp = ACK, .to = 1, .then = { 1, ESTABLISHED, IDLE }, .inserted = 1 },
{ .name = "tcp, full: data without a pin and without base goes to current", .slot = { 2, 1, MOVING }, .full = true, .dead = DEAD(1), .tcp = ACK, .to = 2, .then = { 2, ESTABLISHED, IDLE }, .inserted = 1 },
{ .name = "tcp, full: the pin decides", .slot = { 2, 1, MOVING }, .full = true, .pin = { 3, ESTABLISHED, 9 }, .tcp = ACK, .to = 3, .then = { 3, ESTABLISHED, IDLE } },
{ .name = "tcp, full: the pin of a dead backend waits", .slot = { 2, 1, MOVING }, .full = true, .pin = { 3, ESTABLISHED, 9 }, .dead = DEAD(3), .tcp = ACK, .to = 1, .then = { 3, ESTABLISHED, 9 } },
{ .name = "tcp, full: on hold with data of the canary", .slot = { 2, 1, LEASED }, .full = true, .pin = { 2, ESTABLISHED, 9 }, .lease = HOLD, .tcp = ACK, .to = 2, .then = { 2, ESTABLISHED, IDLE } },
{ .name = "trial is an ordinary slot for now", .slot = { 2, 1, MOVING | ZD_SLOT_TRIAL }, .tcp = SYN, .to = 2, .then = { 2, EMBRYONIC, HALF }, .inserted = 1 },
};
/* clang-format on */

#define NROWS (sizeof(rows) / sizeof(rows[0]))

struct run {
	const struct row *row;
	enum world_hook hook;
	bool v6;
};

static struct world world;

static void set_lease(enum lease lease, bool full)
{
	uint64_t now = world_now_ns(), far = 1000ULL * 1000 * 1000 * 1000;

	world.services[0].flags =
		(lease == HOLD || lease == HOLD_AND_LEASE_RUNS ? ZD_SERVICE_HOLD : 0u) |
		(full ? ZD_SERVICE_TRACK_FULL : 0u);
	world.services[0].lease_ns = lease == LEASE_RAN_OUT ? now - 1
				     : lease == LEASE_RUNS || lease == HOLD_AND_LEASE_RUNS
					     ? now + far
					     : 0;
}

static struct frame packet_of(const struct run *run, uint8_t tcp)
{
	struct frame f = world_request(run->v6, tcp);

	f.proto = run->row->udp ? 17 : 0;
	return f;
}

/* The flow's pin as the program itself makes it, with our backend, state and age put in. */
static void plant_pin(const struct run *run, const struct pin *pin)
{
	struct frame f = packet_of(run, SYN);
	struct world_frame out = { .len = 0 };
	uint64_t sig;

	world_slots(&world, ZD_SLOT(1, 1, MOVING));
	assert_int_equal(world_send(&world, run->hook, world.front, &f, &out), WORLD_REDIRECT);
	sig = world_pin(&world) & ZD_PIN_SIG_MASK;
	assert_int_not_equal(world_pin(&world), 0);
	*world_pin_word(&world) = sig | (uint64_t)pin->state << ZD_PIN_STATE_SHIFT |
				  (uint64_t)pin->backend << ZD_PIN_BACKEND_SHIFT |
				  ((world_tick() - 1 + pin->left) % ZD_PIN_TICKS + 1);
}

static void prepare(const struct run *run)
{
	const struct row *row = run->row;

	world_reset(&world);
	for (unsigned i = 1; i <= 9; i++)
		world_backend(&world, i, run->v6, ZD_BACKEND_ALIVE | ZD_BACKEND_RESOLVED);
	if (row->pin.backend)
		plant_pin(run, &row->pin);
	for (unsigned i = 1; i <= 9; i++) {
		if (row->dead & DEAD(i))
			world_backend(&world, i, run->v6, ZD_BACKEND_RESOLVED);
	}
	world_slots(&world, ZD_SLOT(row->slot.current, row->slot.base, row->slot.flags));
	set_lease(row->lease, row->full);
}

static void check_pin(const struct pin *want, uint32_t tick)
{
	uint64_t pin = world_pin(&world);

	if (!want->backend) {
		assert_null(world_pin_word(&world));
		return;
	}
	assert_int_not_equal(pin, 0);
	assert_int_equal(ZD_PIN_BACKEND(pin), want->backend);
	assert_int_equal(ZD_PIN_STATE(pin), want->state);
	assert_int_equal(ZD_PIN_LEFT(pin, tick), want->left);
}

static void check_frame(const struct run *run, const struct world_frame *got)
{
	struct frame f = world_request_out(run->v6, run->row->tcp, run->row->to);
	struct world_frame want;

	f.proto = run->row->udp ? 17 : 0;
	want.len = frame_build(&f, want.bytes);
	assert_int_equal(got->len, want.len);
	assert_memory_equal(got->bytes, want.bytes, want.len);
}

static struct before {
	uint64_t inserted, fallback, opened[16];
} counters(void)
{
	struct before b = { .inserted = world_event(&world, ZD_EV_PIN_INSERTED),
			    .fallback = world_event(&world, ZD_EV_LEASE_FALLBACK) };

	for (unsigned i = 0; i < 16; i++)
		b.opened[i] = world_stat(&world, i, ZD_BC_CONNECTIONS);
	return b;
}

/* What was new: a SYN, and the UDP flow that full tracking had to pin. */
static bool opens(const struct row *row)
{
	return row->udp ? row->full && row->inserted : (row->tcp & (SYN | ACK)) == SYN;
}

static void check_counters(const struct row *row, const struct before *was)
{
	const struct before is = counters();

	assert_int_equal(is.inserted - was->inserted, row->inserted);
	assert_int_equal(is.fallback - was->fallback, row->fallback);
	for (unsigned i = 1; row->udp && i < 16; i++)
		assert_int_equal(is.opened[i] - was->opened[i], i == row->to && opens(row));
	assert_int_equal(world_event(&world, ZD_EV_PIN_EVICTED), 0);
	assert_int_equal(world_event(&world, ZD_EV_DROP_NO_BACKEND), row->to ? 0 : 1);
	if (!row->to || row->pin.backend)
		return; /* planting the pin counted as well */
	assert_int_equal(world_event(&world, ZD_EV_REQUEST_FORWARDED), 1);
	assert_int_equal(world_stat(&world, row->to, ZD_BC_REQUEST_PACKETS), 1);
	assert_int_equal(world_stat(&world, row->to, ZD_BC_CONNECTIONS), opens(row));
	assert_int_equal(world_stat(&world, row->to, ZD_BC_CLIENT_RESETS), !!(row->tcp & RST));
}

static void the_rule_holds(void **state)
{
	const struct run *run = *state;
	struct frame f = packet_of(run, run->row->tcp);
	struct world_frame out = { .len = 0 };
	struct before was;
	enum world_verdict v;
	uint32_t tick;

	/* A tick that ends meanwhile would spoil the arithmetic: then once more. */
	do {
		tick = world_tick();
		prepare(run);
		was = counters();
		v = world_send(&world, run->hook, world.front, &f, &out);
	} while (tick != world_tick());

	assert_int_equal(v, run->row->to ? WORLD_REDIRECT : WORLD_DROP);
	if (run->row->to)
		check_frame(run, &out);
	check_pin(&run->row->then, tick);
	check_counters(run->row, &was);
}

int main(void)
{
	static struct run runs[NROWS * 4];
	static struct CMUnitTest tests[NROWS * 4];
	static char names[NROWS * 4][128];

	for (size_t i = 0; i < NROWS * 4; i++) {
		runs[i] = (struct run){ &rows[i / 4], i % 2 ? WORLD_TC : WORLD_XDP, i / 2 % 2 };
		snprintf(names[i], sizeof(names[i]), "%s (%s, %s)", runs[i].row->name,
			 runs[i].hook == WORLD_TC ? "tc" : "xdp", runs[i].v6 ? "v6" : "v4");
		tests[i] = (struct CMUnitTest){ names[i], the_rule_holds, NULL, NULL, &runs[i] };
	}
	if (world_enter() || world_open(&world, WORLD_SLOTS, WORLD_BUCKETS))
		return 1;
	return cmocka_run_group_tests_name("select", tests, NULL, NULL);
}
