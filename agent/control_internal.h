/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * What the parts of control know of each other:
 *
 *   control.c      start, stop, timers, events    objects.c   run-time objects
 *   reload.c       a new configuration            restore.c   what outlives the agent
 *   links.c        interfaces, VIPs, next hops    checks.c    health checks
 *   traffic.c      selection -> ring              publish.c   services and backends -> maps
 *   sweep.c        pins, settling, drains         versions.c  weights, versions, backends
 *   rollout.c      deployments as they run        deployments.c  what operators do with them
 */
#ifndef ZDDLB_CONTROL_INTERNAL_H
#define ZDDLB_CONTROL_INTERNAL_H

#include "control.h"

uint64_t control_now_ms(void); /* CLOCK_MONOTONIC */
uint64_t control_now_ns(void);
uint64_t control_unix_ms(void);
uint32_t control_random(void);
/* A change of any kind was accepted: the next revision. */
void control_changed(struct control *c);
/* A failed write of state: words into store_problem and `d`, undoes an open transaction. Returns err. */
int control_store_failed(struct control *c, int err, const char *what, struct diag *d);
void control_store_ok(struct control *c);
/* A failed write of what is in force all the same: it is made up for. */
void control_unsaved(struct control *c, int err, const char *what);
/* Can anything be written? 0 or a negative errno. */
int control_probe_store(struct control *c);

/* restore.c */
int objects_build(struct control *c, struct diag *d); /* at start, from model, store and maps */
/* Store every service, version and backend as it is, and nothing else. */
int objects_save(struct control *c);

/* objects.c */
struct service_rt *objects_new_service(struct control *c, struct service *cfg);
struct backend_rt *objects_new_backend(struct service_rt *s, uint16_t id, const char *version,
				       const struct endpoint *ep);
int objects_place_ring(struct service_rt *s);
int objects_sync_versions(struct service_rt *s);
bool objects_holds_slots(const struct service_rt *s, uint16_t id);
int objects_put_service(const struct service_rt *s);
void objects_free(struct control *c);
int objects_add_service(struct control *c, struct service *cfg, struct diag *d);
void objects_drop_service(struct control *c, struct service_rt *s);
/* Bring versions and backends in line with s->cfg: new ones are made, those gone drain. */
int objects_sync_service(struct service_rt *s);
struct backend_rt *objects_backend(const struct service_rt *s, const char *version,
				   const struct endpoint *ep);
/* A removed backend that nothing refers to any more. */
void objects_forget_backend(struct backend_rt *b);
/* -EBUSY: rings or backends of `next` do not fit beside what drains. */
int objects_check_room(const struct control *c, const struct model *next, struct diag *d);
int objects_put_version(struct control *c, const struct service_rt *s, const struct version_rt *v);
int objects_put_backend(struct control *c, const struct backend_rt *b);

/* reload.c */
/* Replace the model by `next` (taken over on success) as one revision, or change nothing. */
int reload_apply(struct control *c, struct model *next, bool dry_run, char **ret_changes,
		 struct diag *d);

/* traffic.c */
/* Make s->ring and s->mapped ready; take over what packets see, or else what is stored. */
int traffic_open(struct service_rt *s, bool adopted, struct diag *d);
void traffic_close(struct service_rt *s);
/* Recompute selection and ring from all states; store the words that differ. */
void traffic_refresh(struct service_rt *s);
/* The same, now or at the next tick: for what may come in crowds. */
void traffic_refresh_soon(struct service_rt *s);
/* Put back the ring of before, as far as its backends live, then refresh. */
void traffic_restore(struct service_rt *s, const uint16_t *snapshot);
void traffic_store_words(struct service_rt *s);
/* Store the next part of a dirty ring. True: all of it is stored now, or cannot be. */
bool traffic_save_ring(struct service_rt *s);
void traffic_read_counters(struct service_rt *s);
/* Would this backend leaving active state leave the service without one to select? */
bool traffic_is_last(const struct backend_rt *b);

/* publish.c */
int publish_service(struct service_rt *s);
int publish_backend(struct backend_rt *b);
/* Remove what packets see of it; its endpoint may have been another backend's already. */
void publish_nothing_of(struct backend_rt *b);
/* Remove ways back that nobody stands behind any more. */
void publish_drop_stale(struct control *c);
/* Why packets of its service's mode cannot get there; NULL: they can. Static text. */
const char *publish_problem(const struct backend_rt *b);

/* links.c */
int links_build(struct control *c, struct diag *d);
void links_refresh(struct control *c); /* attach what is not attached, VIP addresses */
void links_changed(void *control, enum netlink_change change, const char *ifname, bool up);
void links_resolve(struct backend_rt *b);  /* next hop; publishes if it changed */
void links_follow(struct control *c);      /* interfaces that came, went or changed */
void links_tick(struct control *c);        /* once a second: next hops */
int links_publish_vips(struct control *c); /* maps hold exactly the model's VIPs afterwards */
void links_free(struct control *c);

/* checks.c */
void checks_init(struct backend_rt *b, bool presumed_healthy);
void checks_tick(struct control *c, uint64_t now_ms);
void checks_stop(struct backend_rt *b);

/* versions.c */
int versions_put_all(struct service_rt *s); /* weights in force -> store */

/* rollout.c */
int rollout_build(struct control *c, struct diag *d); /* at start: running deployments */
void rollout_tick(struct control *c, uint64_t now_ms);
int rollout_save(struct service_rt *s, const struct deploy_rt *rt, const struct deploy *d,
		 bool with_snapshot);
/* What counters say now is where the comparison of the two versions starts. */
void rollout_take_base(const struct service_rt *s, struct deploy_rt *rt);
void rollout_tick_service(struct service_rt *s, uint64_t now_ms);
/* Do what was decided at decided_ns: commit, then move; a rollback the other way round. */
int rollout_carry_out(struct service_rt *s, const struct deploy *decided,
		      const struct deploy_decision *dec, uint64_t decided_ns, struct diag *d);
int rollout_advance(struct service_rt *s, const struct deploy *decided, uint32_t weight_bp,
		    struct diag *d);
/* Why no verdict is possible on this service's connections, or NULL. */
const char *rollout_blind_reason(const struct service_rt *s);
/* The two versions share what they had together, whatever third versions have. */
void rollout_weigh_pair(struct version_rt *from, struct version_rt *to, uint32_t to_bp);
uint32_t rollout_microseconds(uint64_t ns); /* rounded up: 0 means that none was measured */
void rollout_free(struct deploy_rt *d);
/* Store the last rollback, if that has not been possible yet. */
int rollout_record_pending(struct service_rt *s);
struct version_rt *rollout_canary(const struct service_rt *s); /* `to` of the running one */

/* sweep.c */
void sweep_tick(struct control *c, uint64_t now_ms);
void sweep_births(struct control *c, uint64_t now_ns);

#endif
