/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * Deployments: feeds core/deploy with what was measured, commits what it decides, and carries it
 * out. One rule is turned round for a rollback: packets first, the disk after.
 */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <netinet/in.h>

#include "control_internal.h"
#include "io/log.h"
#include "io/maps.h"
#include "io/store.h"

/* Progress (time, evidence) is stored this often between decisions. */
#define SAVE_EVERY_MS 1000
#define NS_PER_MS     1000000ULL

void rollout_free(struct deploy_rt *d)
{
	if (!d)
		return;
	free(d->snapshot);
	free(d);
}

struct version_rt *rollout_canary(const struct service_rt *s)
{
	if (!s->deploy || deploy_is_over(s->deploy->deploy.status))
		return NULL;
	for (size_t i = 0; i < s->nversions; i++) {
		if (!strcmp(s->versions[i].name, s->deploy->deploy.to))
			return &s->versions[i];
	}
	return NULL;
}

int rollout_save(struct service_rt *s, const struct deploy_rt *rt, const struct deploy *d,
		 bool with_snapshot)
{
	struct stored_deploy v = {
		.deploy = *d,
		.started_unix_ms = rt->started_unix_ms,
		.ended_unix_ms = rt->ended_unix_ms,
		.rollback_us = rt->rollback_us,
		.snapshot = with_snapshot ? rt->snapshot : NULL,
		.nsnapshot = with_snapshot ? s->ring.nslots : 0,
	};

	return store_put_deploy(s->control->store, &v);
}

/* The two versions share what they had together, whatever third versions have. */
void rollout_weigh_pair(struct version_rt *from, struct version_rt *to, uint32_t to_bp)
{
	uint32_t pool = from->weight_bp + to->weight_bp;

	to->weight_bp = (uint32_t)((uint64_t)pool * to_bp / WEIGHT_FULL_BP);
	if (to_bp && pool && !to->weight_bp)
		to->weight_bp = 1;
	from->weight_bp = pool - to->weight_bp;
	from->overridden = from->weight_bp != from->configured_bp;
	to->overridden = to->weight_bp != to->configured_bp;
}

struct pair {
	struct version_rt *from, *to;
	struct version_rt from_before, to_before;
};

static struct pair pair_of(struct service_rt *s, const struct deploy *d)
{
	struct pair p = { .from = control_version(s, d->from), .to = control_version(s, d->to) };

	p.from_before = *p.from;
	p.to_before = *p.to;
	return p;
}

static void pair_undo(struct pair *p)
{
	*p->from = p->from_before;
	*p->to = p->to_before;
}

/* ---- lease ---- */

static void renew_lease(struct service_rt *s, uint64_t now_ms)
{
	const struct deploy *d = &s->deploy->deploy;

	if (d->status != DEPLOY_ROLLING)
		return;
	if (s->lease_until_ms > now_ms + d->strategy.lease_ms * 2 / 3)
		return;
	s->lease_until_ms = now_ms + d->strategy.lease_ms;
	maps_set_lease(s->control->maps, s->index, s->lease_until_ms * NS_PER_MS);
}

static void end_lease(struct service_rt *s)
{
	s->lease_until_ms = 0;
	maps_set_lease(s->control->maps, s->index, 0);
}

/* ---- carrying out ---- */

static void end_deployment(struct service_rt *s)
{
	struct deploy_rt *rt = s->deploy;

	s->deploy = NULL;
	rollout_free(s->previous);
	s->previous = rt; /* its ring of before serves an undo */
}

/* Rounded up: 0 means that none was measured. */
uint32_t rollout_microseconds(uint64_t ns)
{
	return (uint32_t)((ns + 999) / 1000);
}

/* Is every slot of the canary one that the hold takes out? */
static bool hold_covers(const struct service_rt *s, const char *version)
{
	for (uint32_t i = 0; i < s->ring.nslots; i++) {
		uint16_t id = ZD_SLOT_CURRENT(s->ring.slots[i]);
		const struct backend_rt *b = s->control->by_id[id];

		if (b && !(ZD_SLOT_FLAGS(s->ring.slots[i]) & ZD_SLOT_LEASED) &&
		    !strcmp(b->version, version))
			return false;
	}
	return true;
}

/*
 * No new connection reaches the bad version after the first store; the ring is put right and the
 * disk told after it. Returns the microseconds until then.
 */
static uint32_t take_back(struct service_rt *s, struct deploy_rt *rt, struct pair *p,
			  uint64_t decided_ns)
{
	uint64_t held_ns, done_ns;
	bool covered;

	maps_set_hold(s->control->maps, s->index, true);
	held_ns = control_now_ns();
	covered = hold_covers(s, rt->deploy.to);
	rollout_weigh_pair(p->from, p->to, 0);
	if (rt->snapshot)
		traffic_restore(s, rt->snapshot);
	else
		traffic_refresh(s);
	done_ns = control_now_ns();
	end_lease(s);
	return rollout_microseconds((covered ? held_ns : done_ns) - decided_ns);
}

/* The hold stays until then: a crash in between must not bring the bad version back. */
static int record_rollback(struct service_rt *s, struct deploy_rt *rt)
{
	struct control *c = s->control;
	int err = store_begin(c->store);

	if (!err)
		err = rollout_save(s, rt, &rt->deploy, false);
	if (!err)
		err = versions_put_all(s);
	if (!err)
		err = store_commit(c->store);
	rt->unrecorded = err != 0;
	if (err)
		return control_store_failed(c, err, "the rollback (it is in force)", NULL);
	maps_set_hold(c->maps, s->index, false);
	return 0;
}

int rollout_record_pending(struct service_rt *s)
{
	return s->previous && s->previous->unrecorded ? record_rollback(s, s->previous) : 0;
}

static void roll_back(struct service_rt *s, const struct deploy *decided, uint64_t decided_ns)
{
	struct deploy_rt *rt = s->deploy;
	struct pair p = pair_of(s, decided);

	rt->deploy = *decided; /* over: no slot is leased from now on */
	rt->rollback_us = take_back(s, rt, &p, decided_ns);
	rt->ended_unix_ms = control_unix_ms();
	record_rollback(s, rt);
	control_event(s->control, "deploy", s->cfg->name, decided->to,
		      "deployment %llu %s in %u us: %s", (unsigned long long)decided->id,
		      deploy_status_name(decided->status), rt->rollback_us, decided->reason);
	end_deployment(s);
}

/* Commit, then move: for everything that is not a rollback. */
int rollout_advance(struct service_rt *s, const struct deploy *decided, uint32_t weight_bp,
		    struct diag *d)
{
	struct control *c = s->control;
	struct deploy_rt *rt = s->deploy;
	struct pair p = pair_of(s, decided);
	bool over = deploy_is_over(decided->status);
	int err;

	rollout_weigh_pair(p.from, p.to, weight_bp);
	if (over)
		p.to->status = VERSION_PRODUCTION;
	rt->ended_unix_ms = over ? control_unix_ms() : 0;
	err = store_begin(c->store);
	if (!err)
		err = rollout_save(s, rt, decided, false);
	if (!err)
		err = versions_put_all(s);
	if (!err)
		err = store_commit(c->store);
	if (err) {
		pair_undo(&p);
		rt->ended_unix_ms = 0;
		return control_store_failed(c, err, "the deployment", d);
	}
	control_store_ok(c);
	rt->deploy = *decided;
	renew_lease(s, control_now_ms());
	traffic_refresh(s);
	control_event(c, "deploy", s->cfg->name, decided->to,
		      "deployment %llu %s at %u.%02u %%: %s", (unsigned long long)decided->id,
		      deploy_status_name(decided->status), decided->weight_bp / 100,
		      decided->weight_bp % 100, decided->reason);
	if (over) {
		end_lease(s);
		end_deployment(s);
	}
	return 0;
}

int rollout_carry_out(struct service_rt *s, const struct deploy *decided,
		      const struct deploy_decision *dec, uint64_t decided_ns, struct diag *d)
{
	switch (dec->action) {
	case DEPLOY_NOTHING:
		return 0;
	case DEPLOY_SET_WEIGHT:
	case DEPLOY_FINISH:
	case DEPLOY_HOLD:
		return rollout_advance(s, decided, dec->weight_bp, d);
	case DEPLOY_ROLL_BACK:
		roll_back(s, decided, decided_ns);
		return 0;
	}
	return 0;
}

/* ---- measuring ---- */

static void sum_version(const struct service_rt *s, const char *version, uint64_t sum[ZD_BC_MAX])
{
	memset(sum, 0, ZD_BC_MAX * sizeof(*sum));
	for (size_t i = 0; i < s->nbackends; i++) {
		if (strcmp(s->backends[i]->version, version) != 0)
			continue;
		for (int k = 0; k < ZD_BC_MAX; k++)
			sum[k] += s->backends[i]->count[k];
	}
}

void rollout_take_base(const struct service_rt *s, struct deploy_rt *rt)
{
	sum_version(s, rt->deploy.to, rt->canary_base);
	sum_version(s, rt->deploy.from, rt->stable_base);
}

static uint64_t since(const uint64_t now[ZD_BC_MAX], const uint64_t base[ZD_BC_MAX],
		      enum zd_backend_counter k)
{
	return now[k] > base[k] ? now[k] - base[k] : 0;
}

/* An observed handshake counts once its outcome is known. */
static void outcomes(const uint64_t now[ZD_BC_MAX], const uint64_t base[ZD_BC_MAX], uint64_t *n,
		     uint64_t *failed)
{
	uint64_t lost = since(now, base, ZD_BC_REFUSED) + since(now, base, ZD_BC_UNANSWERED);

	*n = since(now, base, ZD_BC_ANSWERED) + lost;
	*failed = lost + since(now, base, ZD_BC_EARLY_RESETS);
}

/* Handshakes are seen where SYN and SYN-ACK come this way. */
const char *rollout_blind_reason(const struct service_rt *s)
{
	if (!service_has_protocol(s->cfg, IPPROTO_TCP))
		return "UDP has no handshakes to see fail";
	if (s->cfg->mode != MODE_NAT)
		return "replies do not come this way in modes other than nat";
	return NULL;
}

static void gather(struct service_rt *s, struct deploy_facts *f, uint64_t canary[ZD_BC_MAX],
		   uint64_t stable[ZD_BC_MAX])
{
	const struct deploy_rt *rt = s->deploy;

	f->blind = rollout_blind_reason(s);
	traffic_read_counters(s);
	sum_version(s, rt->deploy.to, canary);
	sum_version(s, rt->deploy.from, stable);
	outcomes(canary, rt->canary_base, &f->look.canary_n, &f->look.canary_failed);
	outcomes(stable, rt->stable_base, &f->look.stable_n, &f->look.stable_failed);
	for (size_t i = 0; i < s->nbackends; i++) {
		const struct backend_rt *b = s->backends[i];

		if (b->removed || strcmp(b->version, rt->deploy.to) != 0)
			continue;
		f->backends++;
		f->healthy += b->health.state == HEALTH_HEALTHY;
		f->unknown += b->health.state == HEALTH_UNKNOWN;
	}
}

static void save_progress(struct service_rt *s, uint64_t now_ms)
{
	struct deploy_rt *rt = s->deploy;

	if (now_ms - rt->saved_ms < SAVE_EVERY_MS || s->control->store_problem[0])
		return;
	rt->saved_ms = now_ms;
	if (rollout_save(s, rt, &rt->deploy, false) < 0)
		control_store_failed(s->control, -EIO, "a deployment's progress", NULL);
}

void rollout_tick_service(struct service_rt *s, uint64_t now_ms)
{
	uint64_t canary[ZD_BC_MAX], stable[ZD_BC_MAX];
	struct deploy_facts f = { .now_ms = now_ms };
	struct deploy_rt *rt = s->deploy;
	struct deploy next = rt->deploy;
	struct deploy_decision dec;
	uint64_t decided_ns;

	gather(s, &f, canary, stable);
	dec = deploy_step(&next, &f);
	decided_ns = control_now_ns();
	/* A decision that cannot be committed is made again, once state can be written. */
	if (dec.action != DEPLOY_NOTHING && dec.action != DEPLOY_ROLL_BACK &&
	    s->control->store_problem[0])
		return;
	if (rollout_carry_out(s, &next, &dec, decided_ns, NULL) < 0 || s->deploy != rt)
		return;
	rt->deploy = next;
	memcpy(rt->canary_base, canary, sizeof(canary));
	memcpy(rt->stable_base, stable, sizeof(stable));
	renew_lease(s, now_ms);
	save_progress(s, now_ms);
}

void rollout_tick(struct control *c, uint64_t now_ms)
{
	for (size_t i = 0; i < c->nservices; i++) {
		if (c->services[i]->deploy)
			rollout_tick_service(c->services[i], now_ms);
	}
}

/* ---- start of the agent ---- */

/* Left as it is, it would go on by itself as soon as versions of these names are there again. */
static int give_up(struct control *c, const struct stored_deploy *v)
{
	struct stored_deploy over = *v;

	over.deploy.status = DEPLOY_FAILED;
	over.ended_unix_ms = control_unix_ms();
	snprintf(over.deploy.reason, sizeof(over.deploy.reason),
		 "its service or versions were removed while the agent was away");
	control_event(c, "deploy", v->deploy.service, v->deploy.to, "deployment %llu failed: %s",
		      (unsigned long long)v->deploy.id, over.deploy.reason);
	return store_put_deploy(c->store, &over);
}

static int load_deploy(void *arg, const struct stored_deploy *v)
{
	struct control *c = arg;
	struct service_rt *s = control_service(c, v->deploy.service);
	struct deploy_rt *rt;

	if (deploy_is_over(v->deploy.status) || (s && s->deploy))
		return 0;
	if (!s || !control_version(s, v->deploy.from) || !control_version(s, v->deploy.to))
		return give_up(c, v);
	rt = calloc(1, sizeof(*rt));
	if (!rt)
		return -ENOMEM;
	rt->deploy = v->deploy;
	rt->started_unix_ms = v->started_unix_ms;
	if (v->snapshot && v->nsnapshot == s->ring.nslots) {
		rt->snapshot = malloc(v->nsnapshot * sizeof(*rt->snapshot));
		if (rt->snapshot)
			memcpy(rt->snapshot, v->snapshot, v->nsnapshot * sizeof(*rt->snapshot));
	}
	s->deploy = rt;
	return 0;
}

/* A hold that the store does not know is a rollback that a crash interrupted: finish it. */
static void resume(struct service_rt *s, const struct zd_service *v)
{
	struct deploy_rt *rt = s->deploy;
	struct deploy next = rt->deploy;
	uint64_t now_ms = control_now_ms();

	deploy_resume_after_restart(&rt->deploy, now_ms);
	rollout_take_base(s, rt);
	if (v->flags & ZD_SERVICE_HOLD) {
		deploy_abort(&next, "the agent was stopped in the middle of this rollback", NULL);
		roll_back(s, &next, control_now_ns());
		return;
	}
	if (v->lease_ns && v->lease_ns < control_now_ns())
		control_event(s->control, "deploy", s->cfg->name, rt->deploy.to,
			      "the lease of deployment %llu had run out while the agent was away: "
			      "new connections went to %s",
			      (unsigned long long)rt->deploy.id, rt->deploy.from);
	control_event(s->control, "deploy", s->cfg->name, rt->deploy.to,
		      "deployment %llu goes on at step %u (%s)", (unsigned long long)rt->deploy.id,
		      rt->deploy.step + 1, deploy_status_name(rt->deploy.status));
	renew_lease(s, now_ms);
}

int rollout_build(struct control *c, struct diag *d)
{
	int err = store_each_deploy(c->store, NULL, load_deploy, c);

	if (err)
		return diag_set(d, -err, "state_not_read", "",
				"The stored deployments cannot be read: %s.",
				store_error(c->store));
	for (size_t i = 0; i < c->nservices; i++) {
		struct service_rt *s = c->services[i];
		struct zd_service v = { 0 };

		maps_get_service(c->maps, s->index, &v);
		if (s->deploy)
			resume(s, &v);
		else if (v.flags & ZD_SERVICE_HOLD)
			maps_set_hold(c->maps, s->index, false);
		traffic_refresh(s);
	}
	return 0;
}
