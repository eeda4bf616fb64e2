/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * A new configuration: checked against what runs, told as a list of changes, and applied as one
 * revision or not at all.
 */
#include <errno.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "control_internal.h"
#include "io/store.h"

struct change_list {
	char *text;
	size_t len;
};

static void note(struct change_list *l, const char *fmt, ...) __attribute__((format(printf, 2, 3)));
static void note(struct change_list *l, const char *fmt, ...)
{
	char line[256], *text;
	va_list ap;
	int n;

	va_start(ap, fmt);
	n = vsnprintf(line, sizeof(line), fmt, ap);
	va_end(ap);
	if (n < 0 || !(text = realloc(l->text, l->len + sizeof(line) + 2)))
		return;
	l->text = text;
	l->len += (size_t)sprintf(text + l->len, "%s\n", line);
}

/* What cannot change while the agent runs, because maps, sockets or the store were made from it. */
static int refuse_fixed(const struct model *now, const struct model *next, struct diag *d)
{
	const struct dataplane_config *a = &now->dataplane, *b = &next->dataplane;
	const char *what = NULL;

	if (strcmp(now->state.dir, next->state.dir) != 0)
		what = "/state/dir";
	else if (strcmp(now->state.pin_dir, next->state.pin_dir) != 0)
		what = "/state/pinDir";
	else if (strcmp(now->admin.socket, next->admin.socket) != 0)
		what = "/admin/socket";
	else if (now->admin.tcp != next->admin.tcp ||
		 !endpoint_equal(&now->admin.listen, &next->admin.listen))
		what = "/admin/listen";
	else if (a->max_services != b->max_services || a->max_backends != b->max_backends ||
		 a->max_flows != b->max_flows || a->max_slots != b->max_slots ||
		 a->has_hash_seed != b->has_hash_seed ||
		 memcmp(a->hash_seed, b->hash_seed, 16) != 0 ||
		 a->tcp_established_ms != b->tcp_established_ms || a->tcp_syn_ms != b->tcp_syn_ms ||
		 a->tcp_fin_ms != b->tcp_fin_ms || a->udp_ms != b->udp_ms)
		what = "/dataplane";
	if (!what)
		return 0;
	return diag_set(
		d, EBUSY, "needs_restart", what,
		"This cannot change in a running agent. Put the former value back, or restart "
		"zddlbd with the new one.");
}

static int refuse_service(const struct service_rt *s, const struct service *next, struct diag *d)
{
	const struct deploy *dep = s->deploy ? &s->deploy->deploy : NULL;

	if (next && next->ring_slots != s->cfg->ring_slots)
		return diag_set(d, EBUSY, "ring_size", next->pointer,
				"The ring of service %s has %u slots and cannot change its size "
				"while connections use it. Make a new service beside it.",
				next->name, s->cfg->ring_slots);
	if (next && next->mode != s->cfg->mode)
		return diag_set(
			d, EBUSY, "mode", next->pointer,
			"Service %s is of mode %s, and its connections could not go on in mode "
			"%s. Make a new service beside it.",
			next->name, forward_mode_name(s->cfg->mode), forward_mode_name(next->mode));
	if (dep && (!next || !service_version(next, dep->from) || !service_version(next, dep->to)))
		return diag_set(d, EBUSY, "deployment_running", next ? next->pointer : "/services",
				"Deployment %llu of service %s needs versions %s and %s. Abort or "
				"promote it first.",
				(unsigned long long)dep->id, s->cfg->name, dep->from, dep->to);
	return 0;
}

/* Versions registered at run time live on beside the file's. */
static int carry_api_versions(const struct service_rt *s, struct service *next)
{
	for (size_t i = 0; i < s->nversions; i++) {
		const struct version *def = service_version(s->cfg, s->versions[i].name);
		struct version *list;
		int err;

		if (!s->versions[i].by_api || !def || service_version(next, def->name))
			continue;
		list = realloc(next->versions, (next->nversions + 1) * sizeof(*list));
		if (!list)
			return -ENOMEM;
		next->versions = list;
		err = version_copy(&list[next->nversions], def);
		if (err)
			return err;
		list[next->nversions++].weight_bp = 0;
	}
	return 0;
}

static void diff_version(const struct service *s, const struct version *a, const struct version *b,
			 struct change_list *l)
{
	char text[ENDPOINT_TEXT_LEN];

	if (a->weight_bp != b->weight_bp)
		note(l, "~ service %s version %s: weight %u.%02u -> %u.%02u", s->name, b->name,
		     a->weight_bp / 100, a->weight_bp % 100, b->weight_bp / 100,
		     b->weight_bp % 100);
	for (size_t i = 0; i < b->nbackends; i++) {
		const struct backend *old = NULL;

		for (size_t k = 0; k < a->nbackends; k++) {
			if (endpoint_equal(&a->backends[k].ep, &b->backends[i].ep))
				old = &a->backends[k];
		}
		if (!old)
			note(l, "+ service %s version %s backend %s", s->name, b->name,
			     endpoint_text(&b->backends[i].ep, text));
		else if (old->weight != b->backends[i].weight)
			note(l, "~ service %s version %s backend %s: weight %u -> %u", s->name,
			     b->name, endpoint_text(&old->ep, text), old->weight,
			     b->backends[i].weight);
	}
	for (size_t k = 0; k < a->nbackends; k++) {
		bool kept = false;

		for (size_t i = 0; i < b->nbackends; i++)
			kept |= endpoint_equal(&a->backends[k].ep, &b->backends[i].ep);
		if (!kept)
			note(l, "- service %s version %s backend %s (drains)", s->name, a->name,
			     endpoint_text(&a->backends[k].ep, text));
	}
}

static void diff_vips(const struct service *from, const struct service *in, const char *sign,
		      struct change_list *l)
{
	for (size_t i = 0; i < from->nvips; i++) {
		char text[ENDPOINT_TEXT_LEN];
		bool both = false;

		for (size_t k = 0; k < in->nvips; k++)
			both |= endpoint_equal(&from->vips[i].ep, &in->vips[k].ep) &&
				from->vips[i].proto == in->vips[k].proto;
		if (!both)
			note(l, "%s service %s vip %s %s", sign, from->name,
			     protocol_name(from->vips[i].proto),
			     endpoint_text(&from->vips[i].ep, text));
	}
}

static bool same_check(const struct health_check *a, const struct health_check *b)
{
	return a->type == b->type && !strcmp(a->path, b->path) && !strcmp(a->host, b->host) &&
	       a->port == b->port && a->status_min == b->status_min &&
	       a->status_max == b->status_max && a->interval_ms == b->interval_ms &&
	       a->fast_interval_ms == b->fast_interval_ms &&
	       a->down_interval_ms == b->down_interval_ms && a->timeout_ms == b->timeout_ms &&
	       a->healthy_threshold == b->healthy_threshold &&
	       a->unhealthy_threshold == b->unhealthy_threshold && a->retries == b->retries;
}

static bool same_policy(const struct policy *a, const struct policy *b)
{
	return same_check(&a->check, &b->check) && a->drain.timeout_ms == b->drain.timeout_ms &&
	       a->drain.on_timeout == b->drain.on_timeout &&
	       a->panic_threshold_pct == b->panic_threshold_pct;
}

static void diff_service(const struct service *a, const struct service *b, struct change_list *l)
{
	diff_vips(b, a, "+", l);
	diff_vips(a, b, "-", l);
	if (a->tracking != b->tracking)
		note(l, "~ service %s: tracking %s -> %s", b->name, tracking_mode_name(a->tracking),
		     tracking_mode_name(b->tracking));
	if (!same_policy(&a->policy, &b->policy))
		note(l, "~ service %s: health check, drain or panic policy", b->name);
	for (size_t i = 0; i < b->nversions; i++) {
		const struct version *old = service_version(a, b->versions[i].name);

		if (old)
			diff_version(b, old, &b->versions[i], l);
		else
			note(l, "+ service %s version %s with %zu backends", b->name,
			     b->versions[i].name, b->versions[i].nbackends);
	}
	for (size_t i = 0; i < a->nversions; i++) {
		if (!service_version(b, a->versions[i].name))
			note(l, "- service %s version %s (drains)", a->name, a->versions[i].name);
	}
}

static void diff_models(const struct model *a, const struct model *b, struct change_list *l)
{
	for (size_t i = 0; i < b->nservices; i++) {
		const struct service *old = model_service(a, b->services[i].name);

		if (old)
			diff_service(old, &b->services[i], l);
		else
			note(l, "+ service %s", b->services[i].name);
	}
	for (size_t i = 0; i < a->nservices; i++) {
		if (!model_service(b, a->services[i].name))
			note(l, "- service %s", a->services[i].name);
	}
}

static int check_next(struct control *c, struct model *next, struct diag *d)
{
	int err = refuse_fixed(c->model, next, d);

	for (size_t i = 0; !err && i < c->nservices; i++) {
		struct service *s = model_service(next, c->services[i]->cfg->name);

		err = s ? carry_api_versions(c->services[i], s) : 0;
		if (!err)
			err = refuse_service(c->services[i], s, d);
	}
	if (!err)
		err = model_validate(next, d);
	return err ? err : objects_check_room(c, next, d);
}

/*
 * The point of no return is behind us: a failure from here on is the machine's, not the file's, and
 * must not keep the other services from getting what is theirs.
 */
static int apply_services(struct control *c, struct diag *d)
{
	int err, first = 0;

	for (size_t i = 0; i < c->nservices;) {
		struct service_rt *s = c->services[i];
		struct service *cfg = model_service(c->model, s->cfg->name);

		if (!cfg) {
			objects_drop_service(c, s);
			continue;
		}
		s->cfg = cfg;
		i++;
	}
	for (size_t i = 0; i < c->model->nservices; i++) {
		struct service_rt *s = control_service(c, c->model->services[i].name);

		err = s ? objects_sync_service(s)
			: objects_add_service(c, &c->model->services[i], d);
		first = first ? first : err;
	}
	return first;
}

static void publish_all(struct control *c)
{
	links_publish_vips(c);
	publish_drop_stale(c);
	for (size_t i = 0; i < c->nservices; i++) {
		publish_service(c->services[i]);
		traffic_refresh(c->services[i]);
	}
}

int reload_apply(struct control *c, struct model *next, bool dry_run, char **ret_changes,
		 struct diag *d)
{
	struct change_list l = { 0 };
	struct model *old = c->model;
	int err = check_next(c, next, d);

	if (err)
		return err;
	diff_models(old, next, &l);
	if (ret_changes)
		*ret_changes = l.text ? l.text : strdup("");
	else
		free(l.text);
	if (dry_run)
		return 0;

	err = control_probe_store(c);
	if (!err)
		err = store_begin(c->store);
	if (err)
		return control_store_failed(c, err, "the new configuration", d);
	/* VIPs first: those of a service that goes must not lead to freed slots. */
	c->model = next;
	links_publish_vips(c);
	err = apply_services(c, d);
	if (!err)
		err = store_commit(c->store);
	if (err)
		control_unsaved(c, err, "the new configuration (it is in force)");
	control_changed(c);
	publish_all(c);
	links_build(c, d);
	model_free(old);
	control_event(c, "config", "", "", "configuration reloaded as revision %llu",
		      (unsigned long long)c->revision);
	return 0;
}
