/* SPDX-License-Identifier: GPL-2.0-only */
/* Weights of versions, versions registered at run time, and what operators do to backends. */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "control_internal.h"
#include "io/maps.h"
#include "io/store.h"

int versions_put_all(struct service_rt *s)
{
	for (size_t i = 0; i < s->nversions; i++) {
		int err = objects_put_version(s->control, s, &s->versions[i]);

		if (err)
			return err;
	}
	return 0;
}

static struct service_rt *find_service(struct control *c, const char *name, struct diag *d)
{
	struct service_rt *s = control_service(c, name);

	if (!s)
		diag_set(d, ENOENT, "not_found", "",
			 "There is no service \"%s\": `zddlb service list` shows those that are.",
			 name);
	return s;
}

static int refuse_deploying(const struct service_rt *s, struct diag *d)
{
	if (!s->deploy)
		return 0;
	return diag_set(d, EBUSY, "deployment_running", "",
			"Deployment %llu of service %s is running and owns its weights. Set the "
			"weight inside the deployment, or promote or abort it.",
			(unsigned long long)s->deploy->deploy.id, s->cfg->name);
}

static long named_index(const struct service_rt *s, const char *name)
{
	for (size_t i = 0; i < s->nversions; i++) {
		if (!strcmp(s->versions[i].name, name))
			return (long)i;
	}
	return -1;
}

/*
 * Named versions get what was asked, the others share the rest in proportion to what they have.
 * Largest remainder: the sum is 100.00 to the last digit. `bp` holds one weight a version.
 */
static int spread(const struct service_rt *s, const bool *named, uint32_t *bp, struct diag *d)
{
	uint64_t asked = 0, others = 0;
	uint32_t rest, given = 0;

	for (size_t i = 0; i < s->nversions; i++)
		*(named[i] ? &asked : &others) += bp[i];
	if (asked > WEIGHT_FULL_BP)
		return diag_set(d, EINVAL, "weights_exceed", "/weight",
				"The weights given sum to %llu.%02llu, more than 100.",
				(unsigned long long)asked / 100, (unsigned long long)asked % 100);
	rest = WEIGHT_FULL_BP - (uint32_t)asked;
	if (rest && !others)
		return diag_set(
			d, EINVAL, "weights_short", "/weight",
			"%u.%02u %% would belong to no version: every version not named has "
			"weight 0 and cannot be scaled up. Name the version that takes the "
			"rest as well.",
			rest / 100, rest % 100);
	for (size_t i = 0; i < s->nversions; i++) {
		if (named[i])
			continue;
		bp[i] = others ? (uint32_t)((uint64_t)bp[i] * rest / others) : 0;
		given += bp[i];
	}
	for (size_t i = 0; rest > given; i = (i + 1) % s->nversions) {
		if (!named[i] && s->versions[i].weight_bp) {
			bp[i]++;
			given++;
		}
	}
	return 0;
}

static int compute_weights(const struct service_rt *s, const struct weight_change *w, size_t n,
			   uint32_t *bp, struct diag *d)
{
	bool *named = calloc(s->nversions, sizeof(*named));
	int err = 0;

	if (!named)
		return -ENOMEM;
	for (size_t i = 0; i < s->nversions; i++)
		bp[i] = s->versions[i].weight_bp;
	for (size_t k = 0; !err && k < n; k++) {
		long i = named_index(s, w[k].version);

		if (i < 0)
			err = diag_set(d, ENOENT, "not_found", "",
				       "Service %s has no version \"%s\".", s->cfg->name,
				       w[k].version);
		else if (named[i])
			err = diag_set(d, EINVAL, "duplicate", "", "Version %s is named twice.",
				       w[k].version);
		else if (w[k].weight_bp > WEIGHT_FULL_BP)
			err = diag_set(d, EINVAL, "bad_weight", "/weight",
				       "A weight is 0 to 100 percent.");
		if (err)
			break;
		named[i] = true;
		bp[i] = w[k].weight_bp;
	}
	if (!err)
		err = spread(s, named, bp, d);
	free(named);
	return err;
}

/* Commit first, then let packets see it. */
static int put_weights(struct service_rt *s, const uint32_t *bp, bool overridden, struct diag *d)
{
	struct control *c = s->control;
	struct version_rt *before = calloc(s->nversions, sizeof(*before));
	int err;

	if (!before)
		return -ENOMEM;
	memcpy(before, s->versions, s->nversions * sizeof(*before));
	for (size_t i = 0; i < s->nversions; i++) {
		s->versions[i].weight_bp = bp[i];
		s->versions[i].overridden = overridden && bp[i] != s->versions[i].configured_bp;
	}
	err = store_begin(c->store);
	if (!err)
		err = versions_put_all(s);
	if (!err)
		err = store_commit(c->store);
	if (err) {
		memcpy(s->versions, before, s->nversions * sizeof(*before));
		control_store_failed(c, err, "the weights", d);
	} else {
		control_store_ok(c);
		traffic_refresh(s);
	}
	free(before);
	return err;
}

static void tell_weights(const struct service_rt *s)
{
	char text[384] = "";
	size_t len = 0;

	for (size_t i = 0; i < s->nversions && len + MODEL_NAME_LEN + 16 < sizeof(text); i++)
		len += (size_t)snprintf(text + len, sizeof(text) - len, "%s%s %u.%02u %%",
					i ? ", " : "", s->versions[i].name,
					s->versions[i].weight_bp / 100,
					s->versions[i].weight_bp % 100);
	control_event(s->control, "weight", s->cfg->name, "", "weights are now %s", text);
}

int control_set_weights(struct control *c, const char *service, const struct weight_change *w,
			size_t n, struct diag *d)
{
	struct service_rt *s = find_service(c, service, d);
	uint32_t *bp;
	int err;

	if (!s)
		return -ENOENT;
	err = refuse_deploying(s, d);
	if (err)
		return err;
	bp = calloc(s->nversions, sizeof(*bp));
	if (!bp)
		return -ENOMEM;
	err = compute_weights(s, w, n, bp, d);
	if (!err)
		err = put_weights(s, bp, true, d);
	if (!err)
		tell_weights(s);
	free(bp);
	return err;
}

int control_reset_weights(struct control *c, const char *service, struct diag *d)
{
	struct service_rt *s = find_service(c, service, d);
	uint32_t *bp, sum = 0;
	int err;

	if (!s)
		return -ENOENT;
	err = refuse_deploying(s, d);
	if (err)
		return err;
	bp = calloc(s->nversions, sizeof(*bp));
	if (!bp)
		return -ENOMEM;
	for (size_t i = 0; i < s->nversions; i++) {
		bp[i] = s->versions[i].configured_bp;
		sum += bp[i];
	}
	if (sum != WEIGHT_FULL_BP)
		err = diag_set(d, EINVAL, "weights_short", "",
			       "The file's weights of service %s do not sum to 100.", service);
	if (!err)
		err = put_weights(s, bp, false, d);
	if (!err)
		tell_weights(s);
	free(bp);
	return err;
}

/* ---- versions ---- */

static int replace_definition(struct service_rt *s, const struct version *v, struct diag *d)
{
	const struct version_rt *old = control_version(s, v->name);

	if (!old)
		return 0;
	if (!old->by_api)
		return diag_set(d, EEXIST, "exists", "/version",
				"Version %s of service %s stands in the config file: change it "
				"there and reload.",
				v->name, s->cfg->name);
	return diag_set(d, EEXIST, "exists", "/version",
			"Service %s has a version %s already. Remove it first, or choose another "
			"name.",
			s->cfg->name, v->name);
}

static void remove_last_definition(struct service *cfg)
{
	version_fini(&cfg->versions[--cfg->nversions]);
}

static int append_definition(struct service *cfg, const struct version *v)
{
	struct version *list = realloc(cfg->versions, (cfg->nversions + 1) * sizeof(*list));
	int err;

	if (!list)
		return -ENOMEM;
	cfg->versions = list;
	err = version_copy(&list[cfg->nversions], v);
	if (err)
		return err;
	list[cfg->nversions].weight_bp = 0;
	list[cfg->nversions++].by_api = true;
	return 0;
}

static int commit_sync(struct service_rt *s, struct diag *d)
{
	struct control *c = s->control;
	int err = store_begin(c->store);

	if (!err)
		err = objects_sync_service(s);
	if (!err)
		err = store_commit(c->store);
	return err ? control_store_failed(c, err, "the version", d) : 0;
}

int control_version_add(struct control *c, const char *service, const struct version *v,
			struct diag *d)
{
	struct service_rt *s = find_service(c, service, d);
	int err;

	if (!s)
		return -ENOENT;
	if (v->weight_bp)
		return diag_set(d, EINVAL, "bad_weight", "/weight",
				"A new version starts with weight 0. Deploy it, or set its weight "
				"once it is healthy.");
	err = replace_definition(s, v, d);
	if (!err)
		err = append_definition(s->cfg, v);
	if (err)
		return err;
	service_complete_version(s->cfg, &s->cfg->versions[s->cfg->nversions - 1]);
	err = model_validate(c->model, d);
	if (!err)
		err = objects_check_room(c, c->model, d);
	if (err) {
		remove_last_definition(s->cfg);
		return err;
	}
	err = commit_sync(s, d);
	if (err) {
		/* What was made of it in memory drains away as a removed version. */
		remove_last_definition(s->cfg);
		objects_sync_service(s);
		c->unsaved = true;
		return err;
	}
	control_changed(c);
	traffic_refresh(s);
	control_event(c, "config", service, v->name, "version %s registered with %zu backends",
		      v->name, v->nbackends);
	return 0;
}

int control_version_remove(struct control *c, const char *service, const char *version,
			   struct diag *d)
{
	struct service_rt *s = find_service(c, service, d);
	struct version_rt *v = s ? control_version(s, version) : NULL;
	struct version *def = s ? service_version(s->cfg, version) : NULL;
	int err;

	if (!s)
		return -ENOENT;
	if (!v || !def)
		return diag_set(d, ENOENT, "not_found", "", "Service %s has no version \"%s\".",
				service, version);
	if (!v->by_api)
		return diag_set(d, EINVAL, "in_file", "",
				"Version %s stands in the config file: remove it there and reload.",
				version);
	if (v->weight_bp)
		return diag_set(d, EBUSY, "has_weight", "",
				"Version %s takes %u.%02u %% of new connections: set its weight to "
				"0 first.",
				version, v->weight_bp / 100, v->weight_bp % 100);
	if (s->deploy &&
	    (!strcmp(s->deploy->deploy.to, version) || !strcmp(s->deploy->deploy.from, version)))
		return refuse_deploying(s, d);

	err = control_probe_store(c);
	if (err)
		return control_store_failed(c, err, "the version", d);
	version_fini(def);
	memmove(def, def + 1,
		(size_t)(s->cfg->versions + s->cfg->nversions - (def + 1)) * sizeof(*def));
	s->cfg->nversions--;
	c->unsaved |= commit_sync(s, NULL) < 0;
	control_changed(c);
	traffic_refresh(s);
	control_event(c, "config", service, version, "version %s removed, its backends drain",
		      version);
	return 0;
}

int control_version_status(struct control *c, const char *service, const char *version,
			   enum version_status status, struct diag *d)
{
	struct service_rt *s = find_service(c, service, d);
	struct version_rt *v = s ? control_version(s, version) : NULL;
	enum version_status before;
	int err;

	if (!s)
		return -ENOENT;
	if (!v)
		return diag_set(d, ENOENT, "not_found", "", "Service %s has no version \"%s\".",
				service, version);
	before = v->status;
	v->status = status;
	err = objects_put_version(c, s, v);
	if (err) {
		v->status = before;
		return control_store_failed(c, err, "the version's status", d);
	}
	return 0;
}

/* ---- backends ---- */

static int refuse_admin(const struct backend_rt *b, enum admin_state to, struct diag *d)
{
	char text[ENDPOINT_TEXT_LEN];

	if (b->removed)
		return diag_set(d, EINVAL, "removed", "",
				"Backend %s is removed from the configuration and drains. Add it "
				"again to use it.",
				endpoint_text(&b->ep, text));
	if (to != ADMIN_ACTIVE && traffic_is_last(b))
		return diag_set(
			d, EBUSY, "last_backend", "",
			"Backend %s is the last one that service %s can select: with it gone "
			"every new connection would fail. Bring in another one first.",
			endpoint_text(&b->ep, text), b->service->cfg->name);
	return 0;
}

int control_backend_admin(struct control *c, struct backend_rt *b, enum admin_state to,
			  struct diag *d)
{
	struct backend_rt before = *b;
	uint64_t now = control_now_ms();
	char text[ENDPOINT_TEXT_LEN];
	int err = refuse_admin(b, to, d);

	if (err)
		return err;
	if (b->admin == to)
		return 0;
	b->admin = to;
	if (to == ADMIN_ACTIVE) {
		b->drain_started_unix_ms = 0;
		drain_cancel(&b->drain, now);
	} else {
		b->drain_started_unix_ms = control_unix_ms();
		drain_begin(&b->drain, now, b->service->cfg->policy.drain.timeout_ms,
			    service_unpinned_ms(b->service->cfg, &c->model->dataplane));
	}
	err = objects_put_backend(c, b);
	if (err) {
		*b = before;
		return control_store_failed(c, err, "the backend's state", d);
	}
	control_store_ok(c);
	traffic_refresh(b->service);
	control_event(c, "drain", b->service->cfg->name, endpoint_text(&b->ep, text),
		      "backend %s is now %s", text, admin_state_name(to));
	return 0;
}
