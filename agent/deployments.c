/* SPDX-License-Identifier: GPL-2.0-only */
/* What operators do with deployments: plan, start, pause, promote, abort, weigh, undo. */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "control_internal.h"
#include "io/store.h"

static struct service_rt *service_of(struct control *c, uint64_t id)
{
	for (size_t i = 0; i < c->nservices; i++) {
		if (c->services[i]->deploy && c->services[i]->deploy->deploy.id == id)
			return c->services[i];
	}
	return NULL;
}

static int not_running(uint64_t id, struct diag *d)
{
	return diag_set(d, ENOENT, "not_running", "",
			"Deployment %llu is not running: `zddlb deploy list` shows those that are.",
			(unsigned long long)id);
}

static const char *heaviest(const struct service_rt *s)
{
	size_t h = 0;

	for (size_t i = 1; i < s->nversions; i++) {
		if (s->versions[i].weight_bp > s->versions[h].weight_bp)
			h = i;
	}
	return s->versions[h].name;
}

static int check_start(struct service_rt *s, const char *from, const char *to, struct diag *d)
{
	const struct version_rt *vf = control_version(s, from), *vt = control_version(s, to);

	if (s->deploy)
		return diag_set(
			d, EBUSY, "deployment_running", "",
			"Deployment %llu of service %s is still running: promote or abort it "
			"first.",
			(unsigned long long)s->deploy->deploy.id, s->cfg->name);
	if (!vt)
		return diag_set(d, ENOENT, "not_found", "/toVersion",
				"Service %s has no version \"%s\": register it first.",
				s->cfg->name, to);
	if (!vf)
		return diag_set(d, ENOENT, "not_found", "/fromVersion",
				"Service %s has no version \"%s\".", s->cfg->name, from);
	if (vf != vt && vt->weight_bp)
		return diag_set(d, EINVAL, "has_weight", "/toVersion",
				"Version %s takes %u.%02u %% already. Set its weight to 0, so that "
				"the ring of before is one without it.",
				to, vt->weight_bp / 100, vt->weight_bp % 100);
	if (vf != vt && !vf->weight_bp)
		return diag_set(
			d, EINVAL, "no_weight", "/fromVersion",
			"Version %s takes no connections, so nothing can move away from it. "
			"Name the version in production.",
			from);
	return 0;
}

int control_deploy_plan(struct control *c, const char *service, const char *from, const char *to,
			const struct strategy *st, struct deploy *ret, struct diag *d)
{
	struct service_rt *s = control_service(c, service);
	int err;

	if (!s)
		return diag_set(d, ENOENT, "not_found", "/serviceName",
				"There is no service \"%s\".", service);
	if (!from)
		from = heaviest(s);
	err = check_start(s, from, to, d);
	if (!err)
		err = deploy_init(ret, 0, service, from, to, st, control_now_ms(), d);
	if (!err)
		deploy_tell_blind(ret, rollout_blind_reason(s));
	return err;
}

static struct deploy_rt *new_deploy(const struct service_rt *s, const struct deploy *plan)
{
	struct deploy_rt *rt = calloc(1, sizeof(*rt));

	if (!rt)
		return NULL;
	rt->snapshot = calloc(s->ring.nslots, sizeof(*rt->snapshot));
	if (!rt->snapshot) {
		free(rt);
		return NULL;
	}
	rt->deploy = *plan;
	rt->started_unix_ms = control_unix_ms();
	ring_snapshot(&s->ring, rt->snapshot);
	rollout_take_base(s, rt);
	return rt;
}

int control_deploy_start(struct control *c, const char *service, const char *from, const char *to,
			 const struct strategy *st, uint64_t *ret_id, struct diag *d)
{
	struct service_rt *s;
	struct deploy_rt *rt;
	struct deploy plan;
	int err = control_deploy_plan(c, service, from, to, st, &plan, d);

	if (err)
		return err;
	s = control_service(c, service);
	plan.id = store_next_deploy_id(c->store);
	traffic_read_counters(s);
	rt = new_deploy(s, &plan);
	if (!rt)
		return -ENOMEM;
	/* Under the hold of the one before, its canary would get nothing. */
	err = plan.id ? rollout_record_pending(s) : -EIO;
	if (!err)
		err = rollout_save(s, rt, &rt->deploy, true);
	if (err) {
		rollout_free(rt);
		return control_store_failed(c, err, "the deployment", d);
	}
	s->deploy = rt;
	control_changed(c);
	*ret_id = plan.id;
	control_event(c, "deploy", service, to, "deployment %llu started: %s -> %s by strategy %s",
		      (unsigned long long)plan.id, plan.from, to, st->name);
	/* A version that is healthy already takes its first step now, not at the next tick. */
	rollout_tick_service(s, control_now_ms());
	return 0;
}

static int note_decision(struct service_rt *s, const struct deploy *next, struct diag *d)
{
	struct control *c = s->control;
	int err = rollout_save(s, s->deploy, next, false);

	if (err)
		return control_store_failed(c, err, "the deployment", d);
	s->deploy->deploy = *next;
	control_changed(c);
	control_event(c, "deploy", s->cfg->name, next->to, "deployment %llu: %s",
		      (unsigned long long)next->id, next->reason);
	return 0;
}

int control_deploy_verb(struct control *c, uint64_t id, enum deploy_verb verb, const char *reason,
			uint32_t *ret_us, struct diag *d)
{
	uint64_t asked_ns = control_now_ns(), now_ms = control_now_ms();
	struct service_rt *s = service_of(c, id);
	struct deploy_decision dec;
	struct deploy next;
	int err;

	if (!s)
		return not_running(id, d);
	next = s->deploy->deploy;
	switch (verb) {
	case DEPLOY_VERB_PAUSE:
		err = deploy_pause(&next, reason ? reason : "paused by hand", d);
		return err ? err : note_decision(s, &next, d);
	case DEPLOY_VERB_RESUME:
		err = deploy_resume(&next, now_ms, d);
		return err ? err : note_decision(s, &next, d);
	case DEPLOY_VERB_PROMOTE:
	case DEPLOY_VERB_PROMOTE_FULL:
		dec = deploy_promote(&next, verb == DEPLOY_VERB_PROMOTE_FULL, now_ms, d);
		break;
	case DEPLOY_VERB_ABORT:
	default:
		dec = deploy_abort(&next, reason ? reason : "rolled back by hand", d);
		break;
	}
	if (dec.action == DEPLOY_NOTHING)
		return -EINVAL;
	err = rollout_carry_out(s, &next, &dec, asked_ns, d);
	if (!err && ret_us && s->previous && s->previous->deploy.id == id)
		*ret_us = s->previous->rollback_us;
	return err;
}

int control_deploy_weight(struct control *c, uint64_t id, uint32_t weight_bp, struct diag *d)
{
	struct service_rt *s = service_of(c, id);
	struct deploy next;
	int err;

	if (!s)
		return not_running(id, d);
	next = s->deploy->deploy;
	err = deploy_set_weight(&next, weight_bp, control_now_ms(), d);
	return err ? err : rollout_advance(s, &next, weight_bp, d);
}

/* ---- undo ---- */

struct finished {
	uint64_t id;
	struct stored_deploy found;
	bool is_found;
};

static int find_finished(void *arg, const struct stored_deploy *v)
{
	struct finished *f = arg;

	if (v->deploy.id == f->id) {
		f->found = *v;
		f->is_found = true;
	}
	return 0;
}

static int check_undo(const struct service_rt *s, const struct deploy *d, struct diag *diag)
{
	if (s->deploy)
		return diag_set(diag, EBUSY, "deployment_running", "",
				"Deployment %llu of service %s is running: abort that one first.",
				(unsigned long long)s->deploy->deploy.id, s->cfg->name);
	if (d->status != DEPLOY_COMPLETED)
		return diag_set(diag, EINVAL, "nothing_to_undo", "",
				"Deployment %llu is %s: there is nothing to undo.",
				(unsigned long long)d->id, deploy_status_name(d->status));
	return 0;
}

static int undo(struct service_rt *s, const struct deploy *d, const char *to_version,
		uint64_t asked_ns, uint32_t *ret_us, struct diag *diag)
{
	struct version_rt *bad = control_version(s, d->to);
	struct version_rt *good = control_version(s, to_version ? to_version : d->from);
	bool of_before = s->previous && s->previous->deploy.id == d->id && !to_version;
	int err;

	if (!good || !bad || good == bad)
		return diag_set(diag, ENOENT, "not_found", "",
				"Service %s has no other version \"%s\" to go back to.",
				s->cfg->name, to_version ? to_version : d->from);
	if (!bad->weight_bp)
		return diag_set(diag, EINVAL, "nothing_to_undo", "",
				"Version %s takes no connections any more: there is nothing to "
				"undo.",
				bad->name);
	rollout_weigh_pair(good, bad, 0);
	if (of_before && s->previous->snapshot)
		traffic_restore(s, s->previous->snapshot);
	else
		traffic_refresh(s);
	*ret_us = rollout_microseconds(control_now_ns() - asked_ns);
	err = store_begin(s->control->store);
	if (!err)
		err = versions_put_all(s);
	if (!err)
		err = store_commit(s->control->store);
	if (err)
		control_unsaved(s->control, err, "the undo (it is in force)");
	return 0;
}

int control_rollback(struct control *c, uint64_t id, const char *to_version, const char *reason,
		     uint32_t *ret_us, struct diag *d)
{
	uint64_t asked_ns = control_now_ns();
	struct finished f = { .id = id };
	struct service_rt *s;
	uint32_t us = 0;
	int err;

	if (service_of(c, id))
		return control_deploy_verb(c, id, DEPLOY_VERB_ABORT, reason, ret_us, d);
	store_each_deploy(c->store, NULL, find_finished, &f);
	s = f.is_found ? control_service(c, f.found.deploy.service) : NULL;
	if (!s)
		return diag_set(d, ENOENT, "not_found", "", "There is no deployment %llu.",
				(unsigned long long)id);
	err = check_undo(s, &f.found.deploy, d);
	if (!err)
		err = undo(s, &f.found.deploy, to_version, asked_ns, &us, d);
	if (err)
		return err;
	if (ret_us)
		*ret_us = us;
	f.found.deploy.status = DEPLOY_ROLLED_BACK;
	f.found.deploy.weight_bp = 0;
	f.found.rollback_us = us;
	f.found.snapshot = NULL;
	snprintf(f.found.deploy.reason, sizeof(f.found.deploy.reason), "undone: %s",
		 reason ? reason : "by hand");
	store_put_deploy(c->store, &f.found);
	control_event(c, "deploy", s->cfg->name, f.found.deploy.to,
		      "deployment %llu undone in %u us", (unsigned long long)id, us);
	return 0;
}
