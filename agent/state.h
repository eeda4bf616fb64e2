/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * What the agent knows while it runs: for every service, version and backend of the model the
 * facts that change. Written by control and its parts, read by the views of the API.
 */
#ifndef ZDDLB_STATE_H
#define ZDDLB_STATE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <uv.h>

#include <zddlb/abi.h>

#include "core/deploy.h"
#include "core/drain.h"
#include "core/health.h"
#include "core/model.h"
#include "core/ring.h"
#include "core/select.h"
#include "io/netlink.h"

struct control;
struct httpd;
struct maps;
struct prober;
struct probe;
struct service_rt;
struct store;

struct backend_rt {
	uint16_t id;
	struct service_rt *service;
	char version[MODEL_NAME_LEN];
	struct endpoint ep;
	uint32_t weight; /* configured */
	bool removed;    /* gone from config and API; kept until drained */

	enum admin_state admin;
	struct health health;
	struct probe *probe;       /* running, or NULL */
	uint64_t replies_at_check; /* forwarded when it began */
	struct drain drain;
	uint64_t drain_started_unix_ms;

	struct next_hop hop;
	int hop_err;         /* 0, or why there is no way to it */
	const char *problem; /* NULL, or why its service's mode cannot reach it there */

	/* Results of the last select and ring update. */
	uint32_t effective;
	bool alive;
	const char *why;
	uint32_t wanted_slots;     /* quota */
	uint32_t programmed_slots; /* held in the ring */

	uint64_t pins;                  /* at the last full sweep */
	uint64_t count[ZD_BC_MAX];      /* at the last read */
	uint64_t unanswered_swept;      /* handshakes the agent itself gave up on */
	uint64_t connections_at_change; /* when the service's shares last changed */
};

struct version_rt {
	char name[MODEL_NAME_LEN];
	enum version_status status;
	uint32_t weight_bp;
	uint32_t configured_bp; /* by the file */
	bool overridden;        /* weight_bp was set by CLI, API or a deployment */
	bool by_api;            /* registered at run time, not in the file */
};

struct deploy_rt {
	struct deploy deploy;
	uint64_t started_unix_ms, ended_unix_ms;
	uint32_t rollback_us;
	uint64_t saved_ms;  /* progress last written */
	bool unrecorded;    /* rolled back, and the store does not know: the hold says it */
	uint16_t *snapshot; /* ring of before, nslots entries; NULL once it is over */
	uint64_t canary_base[ZD_BC_MAX], stable_base[ZD_BC_MAX]; /* counters at the last look */
};

struct service_rt {
	struct control *control;
	struct service *cfg; /* in the model */
	uint32_t index;
	struct ring ring; /* the agent's copy */
	uint32_t ring_offset;
	uint64_t *mapped; /* the slots packets see */
	bool hold;
	uint64_t lease_until_ms;

	struct version_rt *versions;
	size_t nversions;
	struct backend_rt **backends;
	size_t nbackends;

	bool panic;
	bool ready;                 /* every backend had its first answer */
	bool first_round_over;      /* ready, or the time for it is up: a new ring waits for that */
	uint64_t first_round_ms;    /* when the time is up; 0: not begun */
	struct deploy_rt *deploy;   /* running one, or NULL */
	struct deploy_rt *previous; /* the last one that ended since the agent started, or NULL */
	uint64_t revision;          /* counts changes of the ring */
	uint64_t changed_unix_ms;
	uint32_t moved_slots; /* by the last change */
	uint64_t refreshed_ms;
	bool refresh_due;     /* results of checks wait for a new ring */
	uint64_t *pinned;     /* one bit a slot, while a sweep runs */
	bool ring_dirty;      /* not yet in the store */
	uint32_t saved_slots; /* of a dirty ring, how far the store has it */
};

struct interface_rt {
	char name[MODEL_IFNAME_LEN];
	enum xdp_mode wanted, mode;
	bool manage_vips;
	bool present; /* the interface is there */
	bool attached;
	unsigned ifindex;
	char problem[256]; /* "" or what is wrong with it, and the cure */
};

struct control {
	uv_loop_t *loop;
	const char *config_path;
	struct model *model;
	struct store *store;
	struct maps *maps;
	struct netlink *netlink;
	struct prober *prober;

	struct service_rt **services;
	size_t nservices;
	struct interface_rt *interfaces;
	size_t ninterfaces;
	struct backend_rt *by_id[ZD_MAX_BACKEND_IDS];
	bool alive[ZD_MAX_BACKEND_IDS];

	uint64_t revision;        /* counts accepted changes of any kind, across restarts */
	uint64_t revision_stored; /* no revision up to this one is used again */
	uint64_t started_ms;
	char store_problem[512]; /* "" or why state cannot be written, and the cure */
	bool unsaved;            /* services and weights in force are not what is stored */
	char maps_problem[256];

	/* The pin sweep in progress. */
	uint32_t sweep_cursor;
	bool sweeping;
	uint64_t sweep_started_ms, sweep_ended_ms;
	uint32_t *sweep_pins; /* per backend id */
	uint64_t pins_total;
	uint64_t births_swept_ms, births_quiet_ms, births_seen;
	bool links_due, resolve_due;

	uv_timer_t fast, slow;
	uv_poll_t netlink_poll;
	bool timers_started;
	int open_handles; /* of the three above, while stopping */
	uint64_t slow_ticks;
};

#endif
