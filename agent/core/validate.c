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

	if (v->proto != IPPROTO_TCP)
		return complain(d, "bad_protocol", v->pointer, "/protocol",
				"Only TCP is balanced. Set \"protocol\" to \"tcp\".");
	if (v->ep.port == 0)
		return complain(d, "bad_port", v->pointer, "/port",
				"The VIP has no port. Set \"port\", from 1 to 65535.");
	if (!is_unicast(&v->ep))
		return diag_set(d, EINVAL, "bad_address", v->pointer,
				"%s cannot be a VIP. Use a unicast address.",
				endpoint_text(&v->ep, text));
	return 0;
}

/* A backend's address alone says which VIP its replies get: one VIP, of the backend's family. */
static int check_nat(const struct service *s, struct diag *d)
{
	bool v4 = endpoint_is_v4(&s->vips[0].ep);

	if (s->nvips > 1 && endpoint_is_v4(&s->vips[1].ep) == v4)
		return diag_set(d, EINVAL, "too_many_vips", s->vips[1].pointer,
				"Service \"%s\" is of mode nat and has two VIPs of one address "
				"family. Give each VIP a service with backends of its own.",
				s->name);
	if (s->nvips > 1)
		return diag_set(d, EINVAL, "mixed_families", s->vips[1].pointer,
				"Service \"%s\" is of mode nat and has VIPs of both address "
				"families, but nat does not translate between them. Give each "
				"family a service with backends of its own.",
				s->name);

	for (size_t i = 0; i < s->nversions; i++) {
		const struct version *v = &s->versions[i];

		for (size_t j = 0; j < v->nbackends; j++)
			if (endpoint_is_v4(&v->backends[j].ep) != v4)
				return diag_set(d, EINVAL, "mixed_families", v->backends[j].pointer,
						"The backend is of another address family than "
						"the VIP of \"%s\", and nat does not translate "
						"between them. Use an %s address.",
						s->name, v4 ? "IPv4" : "IPv6");
	}
	return 0;
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
	if (!err && s->mode == MODE_NAT)
		err = check_nat(s, d);
	return err ? err : check_ring(m, s, d);
}

static int check_limits(const struct model *m, struct diag *d)
{
	uint64_t slots = 0, backends = 0;

	for (size_t i = 0; i < m->nservices; i++) {
		const struct service *s = &m->services[i];

		slots += s->ring_slots;
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
	if (slots > m->dataplane.max_slots)
		return diag_set(d, EINVAL, "rings_too_large", "/dataplane",
				"The rings of all services need %llu slots, and there are %u. "
				"Use smaller rings (\"ringSize\") or fewer services.",
				(unsigned long long)slots, m->dataplane.max_slots);
	return 0;
}

/* Every endpoint of the model, to be sorted so that equal ones are neighbours. */
struct use {
	const struct endpoint *ep;
	const char *pointer;
	const struct service *service;
	size_t position;
	bool vip;
};

static int use_compare(const void *a, const void *b)
{
	const struct use *x = a, *y = b;
	int order = memcmp(x->ep->addr, y->ep->addr, sizeof(x->ep->addr));

	if (order == 0)
		order = (x->ep->port > y->ep->port) - (x->ep->port < y->ep->port);
	if (order == 0)
		order = (x->position > y->position) - (x->position < y->position);
	return order;
}

static size_t list_uses(struct use *u, const struct model *m)
{
	size_t n = 0;

	for (size_t i = 0; i < m->nservices; i++) {
		const struct service *s = &m->services[i];

		for (size_t j = 0; j < s->nvips; j++, n++)
			u[n] = (struct use){ &s->vips[j].ep, s->vips[j].pointer, s, n, true };
		for (size_t j = 0; j < s->nversions; j++) {
			const struct version *v = &s->versions[j];

			for (size_t k = 0; k < v->nbackends; k++, n++)
				u[n] = (struct use){ &v->backends[k].ep, v->backends[k].pointer, s,
						     n, false };
		}
	}
	return n;
}

/* `first` comes before `second` in the configuration. */
static int complain_of_use(const struct use *first, const struct use *second, struct diag *d)
{
	const struct use *backend = second->vip ? first : second;
	char text[ENDPOINT_TEXT_LEN];

	endpoint_text(first->ep, text);
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
	size_t n = 0;
	struct use *uses;
	int err = 0;

	for (size_t i = 0; i < m->nservices; i++) {
		n += m->services[i].nvips;
		for (size_t j = 0; j < m->services[i].nversions; j++)
			n += m->services[i].versions[j].nbackends;
	}
	if (n == 0)
		return 0;

	uses = calloc(n, sizeof(*uses));
	if (!uses)
		return diag_set(d, ENOMEM, "no_memory", "",
				"There is not enough memory to check the configuration. "
				"Free some and try again.");

	n = list_uses(uses, m);
	qsort(uses, n, sizeof(*uses), use_compare);
	for (size_t i = 1; i < n && !err; i++)
		if (endpoint_equal(uses[i - 1].ep, uses[i].ep))
			err = complain_of_use(&uses[i - 1], &uses[i], d);
	free(uses);
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
