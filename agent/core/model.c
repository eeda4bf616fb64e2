/* SPDX-License-Identifier: GPL-2.0-only */
/* The model's plain parts: names, addresses, defaults, copies, lookups. Its rules are in validate.c. */
#include <arpa/inet.h>
#include <errno.h>
#include <netinet/in.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "model.h"

static const uint8_t v4_mapped[12] = { 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0xff, 0xff };

bool endpoint_is_v4(const struct endpoint *e)
{
	return memcmp(e->addr, v4_mapped, sizeof(v4_mapped)) == 0;
}

bool endpoint_equal(const struct endpoint *a, const struct endpoint *b)
{
	return a->port == b->port && memcmp(a->addr, b->addr, sizeof(a->addr)) == 0;
}

const char *endpoint_text(const struct endpoint *e, char buf[ENDPOINT_TEXT_LEN])
{
	bool v4 = endpoint_is_v4(e);
	char addr[INET6_ADDRSTRLEN];

	if (v4)
		inet_ntop(AF_INET, e->addr + sizeof(v4_mapped), addr, sizeof(addr));
	else
		inet_ntop(AF_INET6, e->addr, addr, sizeof(addr));

	if (e->port == 0)
		snprintf(buf, ENDPOINT_TEXT_LEN, "%s", addr);
	else
		snprintf(buf, ENDPOINT_TEXT_LEN, v4 ? "%s:%u" : "[%s]:%u", addr, e->port);
	return buf;
}

bool endpoint_parse_addr(struct endpoint *e, const char *text)
{
	struct endpoint parsed = { .port = e->port };

	if (inet_pton(AF_INET, text, parsed.addr + sizeof(v4_mapped)) == 1)
		memcpy(parsed.addr, v4_mapped, sizeof(v4_mapped));
	else if (inet_pton(AF_INET6, text, parsed.addr) != 1)
		return false;
	*e = parsed;
	return true;
}

/* 1..65535 in digits alone, without a leading zero. */
static bool port_parse(uint16_t *ret, const char *text)
{
	uint32_t port = 0;

	if (*text == '0')
		return false;
	for (const char *c = text; *c; c++) {
		if (*c < '0' || *c > '9')
			return false;
		port = port * 10 + (uint32_t)(*c - '0');
		if (port > UINT16_MAX)
			return false;
	}
	*ret = (uint16_t)port;
	return port > 0;
}

bool endpoint_parse(struct endpoint *e, const char *text)
{
	struct endpoint parsed = { .port = 0 };
	const char *colon = strrchr(text, ':');
	bool bracketed = text[0] == '[';
	char addr[INET6_ADDRSTRLEN];
	size_t len;

	if (!colon || !port_parse(&parsed.port, colon + 1))
		return false;

	len = (size_t)(colon - text);
	if (bracketed) {
		if (len < 2 || text[len - 1] != ']')
			return false;
		text++;
		len -= 2;
	}
	if (len >= sizeof(addr))
		return false;
	memcpy(addr, text, len);
	addr[len] = '\0';

	/* An IPv6 address without brackets would leave open where it ends. */
	if (bracketed != (strchr(addr, ':') != NULL) || !endpoint_parse_addr(&parsed, addr))
		return false;
	*e = parsed;
	return true;
}

const char *xdp_mode_name(enum xdp_mode mode)
{
	switch (mode) {
	case XDP_MODE_AUTO:
		return "auto";
	case XDP_MODE_NATIVE:
		return "native";
	case XDP_MODE_GENERIC:
		return "generic";
	case XDP_MODE_TC:
		return "tc";
	}
	return "?";
}

const char *check_type_name(enum check_type type)
{
	switch (type) {
	case CHECK_NONE:
		return "none";
	case CHECK_TCP:
		return "tcp";
	case CHECK_HTTP:
		return "http";
	}
	return "?";
}

const char *forward_mode_name(enum forward_mode mode)
{
	switch (mode) {
	case MODE_NAT:
		return "nat";
	case MODE_DSR:
		return "dsr";
	case MODE_IPIP:
		return "ipip";
	case MODE_GUE:
		return "gue";
	}
	return "?";
}

bool forward_mode_tunnels(enum forward_mode mode)
{
	return mode == MODE_IPIP || mode == MODE_GUE;
}

const char *tracking_mode_name(enum tracking_mode tracking)
{
	switch (tracking) {
	case TRACKING_TRANSITIONS:
		return "transitions";
	case TRACKING_FULL:
		return "full";
	}
	return "?";
}

const char *protocol_name(uint8_t proto)
{
	return proto == IPPROTO_UDP ? "udp" : "tcp";
}

const char *version_status_name(enum version_status status)
{
	switch (status) {
	case VERSION_TESTING:
		return "testing";
	case VERSION_STAGING:
		return "staging";
	case VERSION_PRODUCTION:
		return "production";
	case VERSION_DEPRECATED:
		return "deprecated";
	}
	return "?";
}

bool version_status_parse(enum version_status *ret, const char *text)
{
	for (enum version_status s = VERSION_TESTING; s <= VERSION_DEPRECATED; s++) {
		if (strcmp(text, version_status_name(s)) == 0) {
			*ret = s;
			return true;
		}
	}
	return false;
}

static bool is_alnum(char c)
{
	return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9');
}

bool name_is_valid(const char *name)
{
	if (!is_alnum(name[0]) || strlen(name) >= MODEL_NAME_LEN)
		return false;
	for (const char *c = name; *c; c++)
		if (!is_alnum(*c) && !strchr("._-", *c))
			return false;
	return true;
}

static const struct model defaults = {
	.admin = { .tcp = true, .socket = "/run/zddlb/zddlb.sock" },
	.state = { .dir = "/var/lib/zddlb", .pin_dir = "/sys/fs/bpf/zddlb", .journal_days = 30 },
	.dataplane = {
		.max_services = 256,
		.max_backends = 4096,
		.max_flows = 2000000,
		.max_slots = 256 * 16384, /* so that max_services of the default size fit */
		.ring_slots = 16384,
		.tcp_established_ms = 900 * 1000,
		.tcp_syn_ms = 30 * 1000,
		.tcp_fin_ms = 10 * 1000,
		.udp_ms = 120 * 1000,
	},
	.defaults = {
		.check = {
			.type = CHECK_HTTP,
			.path = "/api/health",
			.status_min = 200,
			.status_max = 299,
			.interval_ms = 2000,
			.fast_interval_ms = 500,
			.down_interval_ms = 5000,
			.timeout_ms = 1000,
			.healthy_threshold = 2,
			.unhealthy_threshold = 3,
		},
		.drain = { .timeout_ms = 30 * 1000, .on_timeout = DRAIN_KEEP },
		.panic_threshold_pct = 50,
	},
};

struct model *model_new(void)
{
	struct model *m = malloc(sizeof(*m));

	if (!m)
		return NULL;
	*m = defaults;
	endpoint_parse(&m->admin.listen, "127.0.0.1:9090");
	return m;
}

int version_copy(struct version *dst, const struct version *src)
{
	struct backend *backends = NULL;

	if (src->nbackends) {
		backends = calloc(src->nbackends, sizeof(*backends));
		if (!backends)
			return -ENOMEM;
		memcpy(backends, src->backends, src->nbackends * sizeof(*backends));
	}
	*dst = *src;
	dst->backends = backends;
	return 0;
}

void version_fini(struct version *v)
{
	free(v->backends);
	memset(v, 0, sizeof(*v));
}

void service_fini(struct service *s)
{
	for (size_t i = 0; i < s->nversions; i++)
		version_fini(&s->versions[i]);
	free(s->versions);
	free(s->vips);
	memset(s, 0, sizeof(*s));
}

void model_free(struct model *m)
{
	if (!m)
		return;
	for (size_t i = 0; i < m->nservices; i++)
		service_fini(&m->services[i]);
	free(m->services);
	free(m->strategies);
	free(m->interfaces);
	free(m);
}

struct service *model_service(const struct model *m, const char *name)
{
	for (size_t i = 0; i < m->nservices; i++)
		if (strcmp(m->services[i].name, name) == 0)
			return &m->services[i];
	return NULL;
}

struct version *service_version(const struct service *s, const char *name)
{
	for (size_t i = 0; i < s->nversions; i++)
		if (strcmp(s->versions[i].name, name) == 0)
			return &s->versions[i];
	return NULL;
}

bool service_has_protocol(const struct service *s, uint8_t proto)
{
	for (size_t i = 0; i < s->nvips; i++)
		if (s->vips[i].proto == proto)
			return true;
	return false;
}

const struct vip *service_vip(const struct service *s, bool v4, uint8_t proto)
{
	for (size_t i = 0; i < s->nvips; i++)
		if (s->vips[i].proto == proto && endpoint_is_v4(&s->vips[i].ep) == v4)
			return &s->vips[i];
	return NULL;
}

uint32_t service_idle_ms(const struct service *s, const struct dataplane_config *d)
{
	uint32_t tcp = service_has_protocol(s, IPPROTO_TCP) ? d->tcp_established_ms : 0;
	uint32_t udp = service_has_protocol(s, IPPROTO_UDP) ? d->udp_ms : 0;

	return tcp > udp ? tcp : udp;
}

uint32_t service_unpinned_ms(const struct service *s, const struct dataplane_config *d)
{
	return service_has_protocol(s, IPPROTO_TCP) ? d->tcp_established_ms : 0;
}

void service_complete_version(const struct service *s, struct version *v)
{
	if (s->mode == MODE_NAT || s->nvips == 0)
		return;
	for (size_t i = 0; i < v->nbackends; i++)
		if (v->backends[i].ep.port == 0)
			v->backends[i].ep.port = s->vips[0].ep.port;
}

const struct strategy *model_strategy(const struct model *m, const char *name)
{
	for (size_t i = 0; i < m->nstrategies; i++)
		if (strcmp(m->strategies[i].name, name) == 0)
			return &m->strategies[i];
	return NULL;
}
