/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * The model's rules that concern more than one place. Each rule is a function; the first complaint
 * wins, so rules about one object come before those that compare objects.
 */
#include <errno.h>
#include <netinet/in.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <zddlb/abi.h>

#include "model.h"

static int complain(struct diag *d, const char *code, const char *pointer, const char *key,
		    const char *text)
{
	char place[sizeof(d->pointer)];

	snprintf(place, sizeof(place), "%s%s", pointer, key);
	return diag_set(d, EINVAL, code, place, "%s", text);
}

/* An address that a packet can be sent to, one host at a time. */
static bool is_unicast(const struct endpoint *e)
{
	static const uint8_t zero[16];

	if (endpoint_is_v4(e))
		return e->addr[12] != 0 && e->addr[12] < 224;
	return memcmp(e->addr, zero, sizeof(zero)) != 0 && e->addr[0] != 0xff;
}

static int check_interfaces(const struct model *m, struct diag *d)
{
	char place[64];

	for (size_t i = 0; i < m->ninterfaces; i++) {
		const char *name = m->interfaces[i].name;

		snprintf(place, sizeof(place), "/interfaces/%zu/name", i);
		if (!name[0])
			return complain(
				d, "bad_name", place, "",
				"The interface has no name. Name one, as \"ip link\" shows it.");
		for (size_t j = 0; j < i; j++)
			if (strcmp(name, m->interfaces[j].name) == 0)
				return diag_set(d, EINVAL, "duplicate", place,
						"Interface \"%s\" is listed twice. "
						"Remove one of the entries.",
						name);
	}
	return 0;
}

static int check_strategies(const struct model *m, struct diag *d)
{
	char place[96];

	for (size_t i = 0; i < m->nstrategies; i++) {
		const struct strategy *s = &m->strategies[i];

		snprintf(place, sizeof(place), "/strategies/%s", s->name);
		if (!name_is_valid(s->name))
			return diag_set(d, EINVAL, "bad_name", place,
					"\"%s\" is no name for a strategy. Use letters, digits, "
					"'.', '_' and '-', at most %d of them.",
					s->name, MODEL_NAME_LEN - 1);
		if (model_strategy(m, s->name) != s)
			return diag_set(d, EINVAL, "duplicate", place,
					"Strategy \"%s\" is defined twice. Rename one of them.",
					s->name);
		if (s->nsteps == 0)
			return complain(d, "bad_steps", place, "/steps",
					"The strategy has no steps. Add at least one, such as "
					"{ \"setWeight\": 100, \"pause\": \"5m\" }.");
	}
	return 0;
}

static int check_backend(const struct backend *b, struct diag *d)
{
	char text[ENDPOINT_TEXT_LEN];

	if (!is_unicast(&b->ep))
		return diag_set(d, EINVAL, "bad_address", b->pointer,
				"%s is not the address of one host. Use a unicast address.",
				endpoint_text(&b->ep, text));
	if (b->ep.port == 0)
		return diag_set(d, EINVAL, "bad_port", b->pointer,
				"Backend %s has no port. Add \"port\", from 1 to 65535.",
				endpoint_text(&b->ep, text));
	if (b->weight > WEIGHT_FULL_BP)
		return diag_set(d, EINVAL, "bad_weight", b->pointer,
				"Weight %u is too large for a backend. Use 0 to %d.", b->weight,
				WEIGHT_FULL_BP);
	return 0;
}

static int check_version(const struct service *s, const struct version *v, struct diag *d)
{
	int err = 0;

	if (!name_is_valid(v->name))
		return diag_set(d, EINVAL, "bad_name", v->pointer,
				"\"%s\" is no name for a version. Use letters, digits, '.', '_' "
				"and '-', at most %d of them.",
				v->name, MODEL_NAME_LEN - 1);
	if (service_version(s, v->name) != v)
		return diag_set(d, EINVAL, "duplicate", v->pointer,
				"Service \"%s\" has two versions \"%s\". Rename one of them.",
				s->name, v->name);
	if (v->weight_bp > WEIGHT_FULL_BP)
		return diag_set(d, EINVAL, "bad_weight", v->pointer,
				"The weight of version \"%s\" is over 100 percent. "
				"Use 0 to 100, with at most two decimals.",
				v->name);
	if (v->nbackends == 0 && v->weight_bp > 0)
		return diag_set(d, EINVAL, "no_backends", v->pointer,
				"Version \"%s\" has weight but no backends. "
				"Add a backend or set the weight to 0.",
				v->name);
	for (size_t i = 0; i < v->nbackends && !err; i++)
		err = check_backend(&v->backends[i], d);
	return err;
}

static int check_weights(const struct service *s, struct diag *d)
{
	char place[sizeof(d->pointer)];
	uint64_t sum = 0;

	for (size_t i = 0; i < s->nversions; i++)
		sum += s->versions[i].weight_bp;
	if (sum == WEIGHT_FULL_BP)
		return 0;

	snprintf(place, sizeof(place), "%s/versions", s->pointer);
	return diag_set(d, EINVAL, "bad_weights", place,
			"The weights of the versions of \"%s\" sum to %u.%02u percent. "
			"Change them so that they sum to 100.",
			s->name, (unsigned)(sum / 100), (unsigned)(sum % 100));
}

static int check_vip(const struct vip *v, struct diag *d)
{
	char text[ENDPOINT_TEXT_LEN];

	if (v->proto != IPPROTO_TCP && v->proto != IPPROTO_UDP)
		return complain(d, "bad_protocol", v->pointer, "/protocol",
				"Only TCP and UDP are balanced. "
				"Set \"protocol\" to \"tcp\" or \"udp\".");
	if (v->ep.port == 0)
		return complain(d, "bad_port", v->pointer, "/port",
				"The VIP has no port. Set \"port\", from 1 to 65535.");
	if (!is_unicast(&v->ep))
		return diag_set(d, EINVAL, "bad_address", v->pointer,
				"%s cannot be a VIP. Use a unicast address.",
				endpoint_text(&v->ep, text));
	return 0;
}

/* Modes that leave the addresses of a packet, or rewrite them within their family. */
static int check_families(const struct service *s, struct diag *d)
{
	const char *mode = forward_mode_name(s->mode);
	bool v4 = endpoint_is_v4(&s->vips[0].ep);

	for (size_t i = 1; i < s->nvips; i++)
		if (endpoint_is_v4(&s->vips[i].ep) != v4)
			return diag_set(
				d, EINVAL, "mixed_families", s->vips[i].pointer,
				"Service \"%s\" is of mode %s and has VIPs of both address "
				"families, but %s does not translate between them. Give each "
				"family a service with backends of its own.",
				s->name, mode, mode);

	for (size_t i = 0; i < s->nversions; i++) {
		const struct version *v = &s->versions[i];

		for (size_t j = 0; j < v->nbackends; j++)
			if (endpoint_is_v4(&v->backends[j].ep) != v4)
				return diag_set(d, EINVAL, "mixed_families", v->backends[j].pointer,
						"The backend is of another address family than "
						"the VIP of \"%s\", and %s does not translate "
						"between them. Use an %s address.",
						s->name, mode, v4 ? "IPv4" : "IPv6");
	}
	return 0;
}

/* A backend's endpoint alone says which VIP its replies get: one VIP a protocol. */
static int check_nat_vips(const struct service *s, struct diag *d)
{
	bool seen[IPPROTO_MAX] = { false };

	for (size_t i = 0; i < s->nvips; i++) {
		if (seen[s->vips[i].proto])
			return diag_set(
				d, EINVAL, "too_many_vips", s->vips[i].pointer,
				"Service \"%s\" is of mode nat and has two VIPs of one address "
				"family and protocol. Give each VIP a service with backends of its "
				"own, or use mode dsr, ipip or gue.",
				s->name);
		seen[s->vips[i].proto] = true;
	}
	return 0;
}

static bool has_vip_port(const struct service *s, uint16_t port)
{
	for (size_t i = 0; i < s->nvips; i++)
		if (s->vips[i].ep.port == port)
			return true;
	return false;
}

/* Packets arrive with the VIP's port, so that is where a backend listens. */
static int check_kept_ports(const struct service *s, struct diag *d)
{
	for (size_t i = 0; i < s->nversions; i++) {
		const struct version *v = &s->versions[i];

		for (size_t j = 0; j < v->nbackends; j++) {
			const struct backend *b = &v->backends[j];

			if (!has_vip_port(s, b->ep.port))
				return diag_set(d, EINVAL, "bad_port", b->pointer,
						"The backend has port %u, but mode %s does not "
						"change the port of a packet, which is that of the "
						"VIP (%u). Leave \"port\" out, or use mode nat.",
						b->ep.port, forward_mode_name(s->mode),
						s->vips[0].ep.port);
		}
	}
	return 0;
}

/*
 * UDP has no opening packet. With pins in transition only, a new flow would look like an old one,
 * and go to the slot's base until it settles: never, for a canary.
 */
static int check_tracking(const struct service *s, struct diag *d)
{
	if (s->tracking == TRACKING_FULL || !service_has_protocol(s, IPPROTO_UDP))
		return 0;
	return complain(
		d, "bad_tracking", s->pointer, "/tracking",
		"A service with a UDP VIP tracks all its flows, since UDP has no packet that "
		"opens one. Leave \"tracking\" out, or set it to \"full\".");
}

static int check_mode(const struct service *s, struct diag *d)
{
	int err = check_tracking(s, d);

	if (!err && !forward_mode_tunnels(s->mode))
		err = check_families(s, d);
	if (!err && s->mode == MODE_NAT)
		err = check_nat_vips(s, d);
	if (!err && s->mode != MODE_NAT)
		err = check_kept_ports(s, d);
	return err;
}

static int check_ring(const struct model *m, const struct service *s, struct diag *d)
{
	uint32_t n = s->ring_slots;
	char place[sizeof(d->pointer)];

	if (n >= ZD_MIN_RING_SLOTS && n <= ZD_MAX_RING_SLOTS && (n & (n - 1)) == 0)
		return 0;
	snprintf(place, sizeof(place), "%s/ringSize",
		 n == m->dataplane.ring_slots ? "/dataplane" : s->pointer);
	return diag_set(d, EINVAL, "bad_ring_size", place,
			"A ring of %u slots is not possible. Use a power of two from %u to %u.", n,
			ZD_MIN_RING_SLOTS, ZD_MAX_RING_SLOTS);
}

static int check_service(const struct model *m, const struct service *s, struct diag *d)
{
	int err = 0;

	if (!name_is_valid(s->name))
		return diag_set(d, EINVAL, "bad_name", s->pointer,
				"\"%s\" is no name for a service. Use letters, digits, '.', '_' "
				"and '-', at most %d of them.",
				s->name, MODEL_NAME_LEN - 1);
	if (model_service(m, s->name) != s)
		return diag_set(d, EINVAL, "duplicate", s->pointer,
				"There are two services \"%s\". Rename one of them.", s->name);
	if (s->nvips == 0)
		return complain(d, "no_vips", s->pointer, "/vips",
				"The service has no VIP. Add at least one address and port.");
	if (s->nversions == 0)
		return complain(d, "no_versions", s->pointer, "/versions",
				"The service has no versions. Add at least one.");

	for (size_t i = 0; i < s->nvips && !err; i++)
		err = check_vip(&s->vips[i], d);
	for (size_t i = 0; i < s->nversions && !err; i++)
		err = check_version(s, &s->versions[i], d);
	if (!err)
		err = check_weights(s, d);
	if (!err)
		err = check_mode(s, d);
	return err ? err : check_ring(m, s, d);
}

static int check_limits(const struct model *m, struct diag *d)
{
	uint64_t slots = 0, backends = 0, vips = 0;

	for (size_t i = 0; i < m->nservices; i++) {
		const struct service *s = &m->services[i];

		slots += s->ring_slots;
		vips += s->nvips;
		for (size_t j = 0; j < s->nversions; j++)
			backends += s->versions[j].nbackends;
	}
	if (m->nservices > m->dataplane.max_services)
		return diag_set(d, EINVAL, "too_many_services", "/services",
				"There are %zu services, and \"maxServices\" is %u. Raise it or "
				"remove services.",
				m->nservices, m->dataplane.max_services);
	if (backends >= m->dataplane.max_backends)
		return diag_set(d, EINVAL, "too_many_backends", "/services",
				"There are %llu backends, and \"maxBackends\" must be larger than "
				"that, but is %u. Raise it or remove backends.",
				(unsigned long long)backends, m->dataplane.max_backends);
	if (vips > (uint64_t)m->dataplane.max_services * MODEL_VIPS_PER_SERVICE)
		return diag_set(d, EINVAL, "too_many_vips", "/services",
				"There are %llu VIPs, and \"maxServices\" %u leaves room for %u. "
				"Raise it or remove VIPs.",
				(unsigned long long)vips, m->dataplane.max_services,
				m->dataplane.max_services * MODEL_VIPS_PER_SERVICE);
	if (slots > m->dataplane.max_slots)
		return diag_set(d, EINVAL, "rings_too_large", "/dataplane",
				"The rings of all services need %llu slots, and there are %u. "
				"Use smaller rings (\"ringSize\") or fewer services.",
				(unsigned long long)slots, m->dataplane.max_slots);
	return 0;
}

/*
 * What an object of the model occupies, to be sorted so that equal ones are neighbours: a VIP and a
 * nat backend their endpoint, for each protocol; a VIP and a backend of another mode their address
 * as such (protocol and port 0).
 */
struct use {
	struct endpoint ep;
	uint8_t proto;
	bool vip;
	size_t position;
	const char *pointer;
	const struct service *service;
};

static int use_order(const struct use *x, const struct use *y)
{
	int order = memcmp(x->ep.addr, y->ep.addr, sizeof(x->ep.addr));

	if (order == 0)
		order = (x->ep.port > y->ep.port) - (x->ep.port < y->ep.port);
	return order ? order : (x->proto > y->proto) - (x->proto < y->proto);
}

static int use_compare(const void *a, const void *b)
{
	const struct use *x = a, *y = b;
	int order = use_order(x, y);

	return order ? order : (x->position > y->position) - (x->position < y->position);
}

struct use_list {
	struct use *uses;
	size_t n;
};

static void use_add(struct use_list *l, const struct use *u, uint8_t proto)
{
	struct use *at = &l->uses[l->n];

	*at = *u;
	at->proto = proto;
	if (!proto)
		at->ep.port = 0;
	at->position = l->n++;
}

static void use_add_backend(struct use_list *l, const struct use *u)
{
	static const uint8_t protocols[] = { IPPROTO_TCP, IPPROTO_UDP };

	if (u->service->mode != MODE_NAT)
		use_add(l, u, 0);
	for (size_t i = 0; i < 2 && u->service->mode == MODE_NAT; i++)
		if (service_has_protocol(u->service, protocols[i]))
			use_add(l, u, protocols[i]);
}

static void list_uses(struct use_list *l, const struct model *m)
{
	for (size_t i = 0; i < m->nservices; i++) {
		const struct service *s = &m->services[i];
		struct use u = { .service = s, .vip = true };

		for (size_t j = 0; j < s->nvips; j++) {
			u.ep = s->vips[j].ep;
			u.pointer = s->vips[j].pointer;
			use_add(l, &u, s->vips[j].proto);
			use_add(l, &u, 0);
		}
		u.vip = false;
		for (size_t j = 0; j < s->nversions; j++) {
			const struct version *v = &s->versions[j];

			for (size_t k = 0; k < v->nbackends; k++) {
				u.ep = v->backends[k].ep;
				u.pointer = v->backends[k].pointer;
				use_add_backend(l, &u);
			}
		}
	}
}

/* Two that occupy the same. As an address, VIPs share it, and so do backends of several services. */
static bool may_share(const struct use *a, const struct use *b)
{
	return !a->proto && a->vip == b->vip && (a->vip || a->service != b->service);
}

/* `first` comes before `second` in the configuration. */
static int complain_of_use(const struct use *first, const struct use *second, struct diag *d)
{
	const struct use *backend = second->vip ? first : second;
	char text[ENDPOINT_TEXT_LEN];

	endpoint_text(&first->ep, text);
	if (first->vip != second->vip)
		return diag_set(d, EINVAL, "backend_is_vip", backend->pointer,
				"%s is a VIP and cannot be a backend as well. "
				"Use the address of a real server.",
				text);
	if (first->vip)
		return diag_set(d, EINVAL, "duplicate_vip", second->pointer,
				"VIP %s is in use by service \"%s\" (%s). "
				"Use another address or port.",
				text, first->service->name, first->pointer);
	if (first->service != second->service)
		return diag_set(d, EINVAL, "duplicate_backend", second->pointer,
				"Backend %s belongs to service \"%s\" (%s), and in mode nat to "
				"no other. Let it listen on a port of its own for each service.",
				text, first->service->name, first->pointer);
	return diag_set(d, EINVAL, "duplicate_backend", second->pointer,
			"Backend %s is listed twice in service \"%s\" (%s). "
			"Remove one of the entries.",
			text, first->service->name, first->pointer);
}

static int check_endpoints(const struct model *m, struct diag *d)
{
	struct use_list l = { NULL, 0 };
	size_t most = 0;
	int err = 0;

	for (size_t i = 0; i < m->nservices; i++) {
		most += 2 * m->services[i].nvips;
		for (size_t j = 0; j < m->services[i].nversions; j++)
			most += 2 * m->services[i].versions[j].nbackends;
	}
	if (most == 0)
		return 0;

	l.uses = calloc(most, sizeof(*l.uses));
	if (!l.uses)
		return diag_set(d, ENOMEM, "no_memory", "",
				"There is not enough memory to check the configuration. "
				"Free some and try again.");

	list_uses(&l, m);
	qsort(l.uses, l.n, sizeof(*l.uses), use_compare);
	for (size_t i = 1; i < l.n && !err; i++) {
		const struct use *a = &l.uses[i - 1], *b = &l.uses[i];

		if (use_order(a, b) == 0 && !may_share(a, b))
			err = complain_of_use(a, b, d);
	}
	free(l.uses);
	return err;
}

int model_validate(const struct model *m, struct diag *d)
{
	int err = check_interfaces(m, d);

	if (!err)
		err = check_strategies(m, d);
	for (size_t i = 0; i < m->nservices && !err; i++)
		err = check_service(m, &m->services[i], d);
	if (!err)
		err = check_limits(m, d);
	if (!err)
		err = check_endpoints(m, d);
	return err;
}
