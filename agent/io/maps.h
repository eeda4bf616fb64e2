/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * The data plane as the agent sees it: verbs of the domain over the pinned BPF maps, programs and
 * links. The only module that knows libbpf. Everything it makes is pinned under pin_dir and stays
 * when the agent goes:
 *
 *   maps/NAME          settings vips services ring backends pins births reverse backend_stats events;
 *                      `settings` is pinned last: without it the others are leftovers
 *   progs/xdp, tc      the programs in force; new-xdp, new-tc: an upgrade is going on
 *   links/xdp-IFNAME   XDP on an interface (a dot in its name is a colon here); was-IFINDEX: its
 *                      interface has got another name
 *   links/clsact-IFINDEX  an empty directory: we made the interface's clsact, and remove it
 *
 * TC filters cannot be pinned: ours are at ingress, preference 50, handle 0x7a64.
 *
 * Publish leaves before roots: backend, then ring slots that name it, then the service, then the
 * VIP; remove in reverse.
 */
#ifndef ZDDLB_IO_MAPS_H
#define ZDDLB_IO_MAPS_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include <zddlb/abi.h>

#include "../core/model.h"

struct maps;

struct maps_options {
	const char *pin_dir;
	uint32_t max_services, max_backends; /* backend ids are < max_backends */
	uint32_t max_slots;                  /* of all rings together */
	uint32_t max_pins;                   /* rounded up to whole power-of-two buckets */
	uint8_t hash_seed[16];
	uint32_t idle_ms, syn_ms, fin_ms, udp_ms;
	bool replace; /* put this binary's programs in place even of equal ones */
};

/*
 * Take over the maps and programs pinned under pin_dir, or make and pin them. Pinned maps of another
 * ABI version, another hash seed or other sizes are refused (-EEXIST, `d` says what differs and that
 * `zddlbd unload` removes them); nothing is changed then. Pinned programs that differ from the ones
 * in this binary are replaced, links updated atomically (an upgrade). pin_dir must be on a bpffs;
 * if pin_dir's parent is an empty, unmounted /sys/fs/bpf it is mounted.
 */
int maps_open(struct maps **ret, const struct maps_options *o, struct diag *d);
bool maps_adopted(const struct maps *m); /* the maps were there before */
void maps_read_seed(const struct maps *m, uint8_t ret[16]);
/* Pin again what somebody has removed. 1: did so, and interfaces are to be attached again; 0: nothing
 * was missing. */
int maps_repin(struct maps *m, struct diag *d);
void maps_close(struct maps *m); /* leaves everything pinned and running */
/* The seed of pinned maps without opening them: 0, or -ENOENT if there are none. */
int maps_pinned_seed(const char *pin_dir, uint8_t ret[16]);

/* Remove every link, program and map under pin_dir: packets go to the kernel's stack again. */
int maps_unload(const char *pin_dir, struct diag *d);

/*
 * Attach to an interface: the XDP program and, behind it, the TC program (it takes over what XDP
 * must leave, such as a next hop not yet known); mode TC attaches only the latter. auto: native,
 * else generic, else TC. What is attached already in the wanted mode stays untouched. -ENODEV: no
 * such interface. -EBUSY: another XDP program sits there. *ret_mode is what it became.
 */
int maps_attach(struct maps *m, const char *ifname, unsigned ifindex, enum xdp_mode wanted,
		enum xdp_mode *ret_mode, struct diag *d);
int maps_detach(struct maps *m, const char *ifname, unsigned ifindex);

int maps_set_backend(struct maps *m, uint16_t id, const struct zd_backend *b);
int maps_get_backend(const struct maps *m, uint16_t id, struct zd_backend *ret);
/* One atomic store: is the backend alive? */
void maps_set_alive(struct maps *m, uint16_t id, bool alive);
int maps_set_reverse(struct maps *m, const struct endpoint *backend, uint8_t proto,
		     const struct zd_reverse *r);
int maps_del_reverse(struct maps *m, const struct endpoint *backend, uint8_t proto);
/* service: index, or ZD_VIP_ADDRESS_ONLY with port and proto 0 */
int maps_set_vip(struct maps *m, const struct endpoint *vip, uint8_t proto, uint32_t service);
int maps_del_vip(struct maps *m, const struct endpoint *vip, uint8_t proto);
/* Every pinned VIP and reverse entry, for reconciliation. fn returning false stops. */
typedef bool (*maps_vip_fn)(void *arg, const struct endpoint *e, uint8_t proto,
			    const struct zd_vip *v);
void maps_each_vip(const struct maps *m, maps_vip_fn fn, void *arg);
typedef bool (*maps_reverse_fn)(void *arg, const struct endpoint *e, uint8_t proto,
				const struct zd_reverse *r);
void maps_each_reverse(const struct maps *m, maps_reverse_fn fn, void *arg);

int maps_set_service(struct maps *m, uint32_t index, const struct zd_service *s);
int maps_get_service(const struct maps *m, uint32_t index, struct zd_service *ret);
/* Atomic stores into mapped memory: no system call, effective for the next packet. */
void maps_set_hold(struct maps *m, uint32_t service, bool hold);
void maps_set_lease(struct maps *m, uint32_t service, uint64_t lease_ns);

/* A window on one service's slots. Valid until maps_unmap_ring. offset a multiple of 512 slots. */
int maps_map_ring(struct maps *m, uint32_t offset, uint32_t nslots, uint64_t **ret);
void maps_unmap_ring(struct maps *m, uint64_t *slots, uint32_t nslots);

/* Sums over CPUs. */
int maps_backend_stats(const struct maps *m, uint16_t id, uint64_t ret[ZD_BC_MAX]);
int maps_events(const struct maps *m, uint64_t ret[ZD_EV_MAX]);
const char *maps_event_name(enum zd_event e);                     /* "drop_truncated" */
const char *maps_backend_counter_name(enum zd_backend_counter c); /* "connections" */

/*
 * Walk all pins, in pieces: maps_sweep_pins looks at up to `buckets` buckets from *cursor on and
 * returns 1 when it has come to the end (then *cursor is 0 again), else 0, or a negative errno.
 * Ended pins are removed. For every living one fn is called; false removes that one as well.
 */
typedef bool (*maps_pin_fn)(void *arg, uint64_t pin);
int maps_sweep_pins(struct maps *m, uint32_t *cursor, uint32_t buckets, uint64_t now_ns,
		    maps_pin_fn fn, void *arg);
uint32_t maps_pin_buckets(const struct maps *m);

/* Free handshakes that stayed unanswered; adds to `unanswered` per backend id. */
int maps_sweep_births(struct maps *m, uint64_t now_ns, void (*fn)(void *arg, uint16_t backend),
		      void *arg);

#endif
