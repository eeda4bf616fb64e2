/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * Where packets come in and go out: interfaces with the program on them, VIPs in the maps and on
 * the interfaces, next hops of backends. Interfaces may come and go; what is missing is tried
 * again, and told in status.
 */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <netinet/in.h>

#include "control_internal.h"
#include "io/log.h"
#include "io/maps.h"

/* Neighbours that only the data plane talks to are confirmed this often. */
#define RESOLVE_EVERY_TICKS 5

/* ---- next hops ---- */

static bool same_hop(const struct next_hop *a, const struct next_hop *b)
{
	return a->ifindex == b->ifindex && a->resolved == b->resolved && a->local == b->local &&
	       a->direct == b->direct && a->mtu == b->mtu &&
	       endpoint_equal(&a->source, &b->source) && !memcmp(a->dmac, b->dmac, 6) &&
	       !memcmp(a->smac, b->smac, 6);
}

void links_resolve(struct backend_rt *b)
{
	struct next_hop hop = { 0 };
	int err = netlink_next_hop(b->service->control->netlink, &b->ep, &hop);
	bool changed = err != b->hop_err || !same_hop(&hop, &b->hop);
	const char *problem;
	char text[ENDPOINT_TEXT_LEN];

	b->hop = hop;
	if (err && err != b->hop_err)
		log_warn("no way to backend %s: %s; add a route to it", endpoint_text(&b->ep, text),
			 strerror(-err));
	b->hop_err = err;
	problem = publish_problem(b);
	if (problem && problem != b->problem)
		log_warn("backend %s takes no connections: %s", endpoint_text(&b->ep, text),
			 problem);
	if (changed)
		publish_backend(b);
	if (problem == b->problem)
		return;
	b->problem = problem;
	traffic_refresh_soon(b->service);
}

static void resolve_all(struct control *c)
{
	for (size_t i = 0; i < c->nservices; i++) {
		for (size_t k = 0; k < c->services[i]->nbackends; k++)
			links_resolve(c->services[i]->backends[k]);
	}
	c->resolve_due = false;
}

/* ---- VIPs ---- */

struct vip_walk {
	struct control *c;
	bool dropped;
};

/* proto 0: the address as such. */
static bool has_vip(const struct service *s, const struct endpoint *e, uint8_t proto)
{
	for (size_t i = 0; i < s->nvips; i++) {
		struct endpoint v = s->vips[i].ep;

		if (!proto)
			v.port = 0;
		if (endpoint_equal(&v, e) && (!proto || s->vips[i].proto == proto))
			return true;
	}
	return false;
}

/* This host must not go on answering for an address that may be another's by now. */
static void release_vip(struct control *c, const struct endpoint *addr)
{
	for (size_t i = 0; i < c->model->ninterfaces; i++) {
		const struct interface *w = &c->model->interfaces[i];
		struct link_info link;

		if (w->manage_vips && netlink_link(c->netlink, w->name, &link) == 0)
			netlink_del_addr(c->netlink, link.ifindex, addr);
	}
}

static bool drop_stale_vip(void *arg, const struct endpoint *e, uint8_t proto,
			   const struct zd_vip *v)
{
	struct vip_walk *w = arg;

	(void)v;
	for (size_t i = 0; i < w->c->model->nservices; i++) {
		if (has_vip(&w->c->model->services[i], e, proto))
			return true;
	}
	maps_del_vip(w->c->maps, e, proto);
	if (!proto)
		release_vip(w->c, e);
	return true;
}

static int publish_service_vips(struct control *c, const struct service_rt *s)
{
	int err = 0;

	for (size_t i = 0; !err && i < s->cfg->nvips; i++) {
		const struct vip *v = &s->cfg->vips[i];
		struct endpoint addr = v->ep;

		addr.port = 0;
		err = maps_set_vip(c->maps, &v->ep, v->proto, s->index);
		if (!err)
			err = maps_set_vip(c->maps, &addr, 0, ZD_VIP_ADDRESS_ONLY);
	}
	return err;
}

int links_publish_vips(struct control *c)
{
	struct vip_walk w = { .c = c };
	int err = 0;

	for (size_t i = 0; !err && i < c->nservices; i++) {
		if (model_service(c->model, c->services[i]->cfg->name))
			err = publish_service_vips(c, c->services[i]);
	}
	maps_each_vip(c->maps, drop_stale_vip, &w);
	return err;
}

static void hold_vips(struct control *c, struct interface_rt *i, const struct link_info *link)
{
	for (size_t s = 0; s < c->model->nservices; s++) {
		const struct service *svc = &c->model->services[s];

		for (size_t k = 0; k < svc->nvips; k++) {
			bool added = false;
			char text[ENDPOINT_TEXT_LEN];
			int err =
				netlink_add_addr(c->netlink, i->ifindex, &svc->vips[k].ep, &added);

			if (err)
				log_warn("VIP %s not added to %s: %s",
					 endpoint_text(&svc->vips[k].ep, text), i->name,
					 strerror(-err));
			else if (added)
				netlink_announce(i->ifindex, link->mac, &svc->vips[k].ep);
		}
	}
}

/* ---- interfaces ---- */

static void set_problem(struct interface_rt *i, const char *text)
{
	if (strcmp(i->problem, text) != 0 && text[0])
		log_warn("interface %s: %s", i->name, text);
	snprintf(i->problem, sizeof(i->problem), "%s", text);
}

static void refresh_one(struct control *c, struct interface_rt *i)
{
	struct link_info link = { 0 };
	struct diag d = { 0 };
	bool was_attached = i->attached;
	int err = netlink_link(c->netlink, i->name, &link);

	if (err) {
		i->present = i->attached = false;
		set_problem(i, "is not there; it is taken into use when it appears");
		return;
	}
	if (i->present && i->ifindex != link.ifindex)
		i->attached = false; /* deleted and made again */
	i->present = true;
	i->ifindex = link.ifindex;
	err = maps_attach(c->maps, i->name, i->ifindex, i->wanted, &i->mode, &d);
	i->attached = !err;
	if (err) {
		set_problem(i, d.text);
		return;
	}
	set_problem(i, link.up ? "" : "is down: `ip link set up` brings it into use");
	if (!was_attached)
		control_event(c, "agent", "", i->name, "attached to %s in %s mode", i->name,
			      xdp_mode_name(i->mode));
	if (i->manage_vips)
		hold_vips(c, i, &link);
}

void links_refresh(struct control *c)
{
	for (size_t i = 0; i < c->ninterfaces; i++)
		refresh_one(c, &c->interfaces[i]);
	c->links_due = false;
}

static const struct interface *wanted_interface(const struct model *m, const char *name)
{
	for (size_t i = 0; i < m->ninterfaces; i++) {
		if (!strcmp(m->interfaces[i].name, name))
			return &m->interfaces[i];
	}
	return NULL;
}

static void detach_unwanted(struct control *c)
{
	for (size_t i = 0; i < c->ninterfaces; i++) {
		struct interface_rt *rt = &c->interfaces[i];

		if (!wanted_interface(c->model, rt->name) && rt->present) {
			maps_detach(c->maps, rt->name, rt->ifindex);
			control_event(c, "agent", "", rt->name, "detached from %s", rt->name);
		}
	}
}

int links_build(struct control *c, struct diag *d)
{
	struct interface_rt *list = calloc(c->model->ninterfaces + 1, sizeof(*list));
	int err;

	if (!list)
		return diag_set(d, ENOMEM, "no_memory", "", "Out of memory.");
	detach_unwanted(c);
	for (size_t i = 0; i < c->model->ninterfaces; i++) {
		const struct interface *w = &c->model->interfaces[i];

		for (size_t k = 0; k < c->ninterfaces; k++) {
			if (!strcmp(c->interfaces[k].name, w->name))
				list[i] = c->interfaces[k];
		}
		snprintf(list[i].name, sizeof(list[i].name), "%s", w->name);
		list[i].wanted = w->mode;
		list[i].manage_vips = w->manage_vips;
	}
	free(c->interfaces);
	c->interfaces = list;
	c->ninterfaces = c->model->ninterfaces;
	err = links_publish_vips(c);
	if (err)
		return diag_set(d, -err, "vips", "", "VIPs cannot be put into the map: %s.",
				strerror(-err));
	links_refresh(c);
	return 0;
}

void links_free(struct control *c)
{
	free(c->interfaces);
	c->interfaces = NULL;
	c->ninterfaces = 0;
}

/* Bursts of messages are answered once, at the next tick. */
void links_changed(void *control, enum netlink_change change, const char *ifname, bool up)
{
	struct control *c = control;

	(void)ifname;
	(void)up;
	switch (change) {
	case CHANGED_LINK:
		c->links_due = true;
		c->resolve_due = true;
		break;
	case CHANGED_ADDR:
	case CHANGED_ROUTE:
	case CHANGED_NEIGH:
		c->resolve_due = true;
		break;
	}
}

void links_follow(struct control *c)
{
	if (c->links_due)
		links_refresh(c);
}

/* Neighbours change state all the time: one look at all of them a second is enough. */
void links_tick(struct control *c)
{
	if (c->resolve_due || c->slow_ticks % RESOLVE_EVERY_TICKS == 0)
		resolve_all(c);
}
