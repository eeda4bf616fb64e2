/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * What packets see of services and backends: the entries of the maps, made from what is wanted and
 * from what the routes say. A backend that its service's mode cannot reach is told, never tried.
 */
#include <arpa/inet.h>
#include <netinet/in.h>
#include <string.h>

#include "control_internal.h"
#include "io/log.h"
#include "io/maps.h"

static const uint8_t protocols[] = { IPPROTO_TCP, IPPROTO_UDP };

int publish_service(struct service_rt *s)
{
	struct ring_world w = { .alive = s->control->alive, .now_ms = control_now_ms() };
	bool full = s->cfg->tracking == TRACKING_FULL;
	struct zd_service v = { 0 };

	if (s->ring.full != full && ring_track(&s->ring, full, &w))
		traffic_store_words(s);
	maps_get_service(s->control->maps, s->index, &v);
	v.ring_offset = s->ring_offset;
	v.ring_mask = s->ring.nslots - 1;
	v.flags = (v.flags & ~ZD_SERVICE_TRACK_FULL) | (full ? ZD_SERVICE_TRACK_FULL : 0);
	return maps_set_service(s->control->maps, s->index, &v);
}

/* ---- replies ---- */

static const struct vip *vip_of_replies(const struct backend_rt *b, uint8_t proto)
{
	const struct service *cfg = b->service->cfg;

	return cfg->mode == MODE_NAT ? service_vip(cfg, endpoint_is_v4(&b->ep), proto) : NULL;
}

/* Another backend whose replies come from the same endpoint, one that is in use if there is one. */
static struct backend_rt *successor(const struct backend_rt *b, uint8_t proto)
{
	const struct control *c = b->service->control;
	struct backend_rt *found = NULL;

	for (size_t i = 0; i < c->nservices; i++) {
		for (size_t k = 0; k < c->services[i]->nbackends; k++) {
			struct backend_rt *o = c->services[i]->backends[k];

			if (o != b && endpoint_equal(&o->ep, &b->ep) && vip_of_replies(o, proto) &&
			    (!found || !o->removed))
				found = o;
		}
	}
	return found;
}

static int publish_reverse(const struct backend_rt *b, uint8_t proto)
{
	struct zd_reverse r = { .backend = b->id, .service = b->service->index };
	const struct vip *vip = vip_of_replies(b, proto);
	const struct backend_rt *next;

	if (!vip)
		return 0;
	/* An endpoint that went from one version to another is the latter's. */
	if (b->removed && (next = successor(b, proto)) && !next->removed)
		return 0;
	memcpy(r.vip, vip->ep.addr, sizeof(r.vip));
	r.port = htons(vip->ep.port);
	return maps_set_reverse(b->service->control->maps, &b->ep, proto, &r);
}

static bool drop_stale_reverse(void *arg, const struct endpoint *e, uint8_t proto,
			       const struct zd_reverse *r)
{
	struct control *c = arg;
	const struct backend_rt *b = c->by_id[r->backend];

	if (!b || !endpoint_equal(&b->ep, e) || !vip_of_replies(b, proto))
		maps_del_reverse(c->maps, e, proto);
	return true;
}

void publish_drop_stale(struct control *c)
{
	maps_each_reverse(c->maps, drop_stale_reverse, c);
}

/* ---- backends ---- */

const char *publish_problem(const struct backend_rt *b)
{
	static const struct endpoint nothing;
	enum forward_mode mode = b->service->cfg->mode;

	if (b->hop_err || mode == MODE_NAT)
		return NULL;
	if (b->hop.local)
		return "it is an address of this host, which only mode nat can balance to";
	if (mode == MODE_DSR && !b->hop.direct)
		return "it is behind a gateway, and mode dsr needs it on a link of this host: use mode "
		       "ipip, gue or nat";
	if (forward_mode_tunnels(mode) && endpoint_equal(&b->hop.source, &nothing))
		return "this host has no address of its family to send from: add one";
	return NULL;
}

static void fill_way_out(struct zd_backend *v, const struct backend_rt *b)
{
	static const uint8_t modes[] = {
		[MODE_NAT] = ZD_MODE_NAT,
		[MODE_DSR] = ZD_MODE_DSR,
		[MODE_IPIP] = ZD_MODE_IPIP,
		[MODE_GUE] = ZD_MODE_GUE,
	};

	v->mode = modes[b->service->cfg->mode];
	if (b->hop_err)
		return;
	v->mtu = (uint16_t)(b->hop.mtu < UINT16_MAX ? b->hop.mtu : UINT16_MAX);
	if (forward_mode_tunnels(b->service->cfg->mode))
		memcpy(v->source, b->hop.source.addr, sizeof(v->source));
	if (!b->hop.resolved)
		return;
	v->flags |= ZD_BACKEND_RESOLVED;
	v->ifindex = b->hop.ifindex;
	memcpy(v->dmac, b->hop.dmac, 6);
	memcpy(v->smac, b->hop.smac, 6);
}

int publish_backend(struct backend_rt *b)
{
	struct zd_backend v = {
		.port = htons(b->ep.port),
		.service = b->service->index,
	};
	int err = 0;

	memcpy(v.addr, b->ep.addr, sizeof(v.addr));
	if (b->alive)
		v.flags |= ZD_BACKEND_ALIVE;
	if (!endpoint_is_v4(&b->ep))
		v.flags |= ZD_BACKEND_V6;
	fill_way_out(&v, b);
	for (size_t i = 0; !err && i < sizeof(protocols); i++)
		err = publish_reverse(b, protocols[i]);
	if (!err)
		err = maps_set_backend(b->service->control->maps, b->id, &v);
	if (err)
		log_error("backend not published id=%u error=%s", b->id, strerror(-err));
	return err;
}

void publish_nothing_of(struct backend_rt *b)
{
	static const struct zd_backend nobody;
	struct control *c = b->service->control;

	for (size_t i = 0; i < sizeof(protocols); i++) {
		struct backend_rt *next;

		if (!vip_of_replies(b, protocols[i]))
			continue;
		next = successor(b, protocols[i]);
		if (next)
			publish_reverse(next, protocols[i]);
		else
			maps_del_reverse(c->maps, &b->ep, protocols[i]);
	}
	maps_set_backend(c->maps, b->id, &nobody);
}
