/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * What the operator asked for: interfaces, services, versions, backends and policies, as parsed
 * from the config file with every default filled in. Plain data; run-time state lives elsewhere.
 */
#ifndef ZDDLB_CORE_MODEL_H
#define ZDDLB_CORE_MODEL_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "diag.h"

#define MODEL_NAME_LEN   64 /* service, version and strategy names, with the NUL */
#define MODEL_IFNAME_LEN 16 /* IFNAMSIZ */
#define MODEL_PATH_LEN   256
#define WEIGHT_FULL_BP   10000 /* 100.00 % */

/* An address and port. IPv4 is v4-mapped. Port in host order. */
struct endpoint {
	uint8_t addr[16];
	uint16_t port;
};

#define ENDPOINT_TEXT_LEN 64
bool endpoint_is_v4(const struct endpoint *e);
bool endpoint_equal(const struct endpoint *a, const struct endpoint *b);
/* "10.0.0.1:80" or "[2001:db8::1]:80"; port 0 leaves the port out. Returns buf. */
const char *endpoint_text(const struct endpoint *e, char buf[ENDPOINT_TEXT_LEN]);
/* Parse an address without a port. False: not an IPv4 or IPv6 address. */
bool endpoint_parse_addr(struct endpoint *e, const char *text);
/* Parse "addr:port", "[addr]:port" (the form endpoint_text writes). */
bool endpoint_parse(struct endpoint *e, const char *text);

enum xdp_mode { XDP_MODE_AUTO, XDP_MODE_NATIVE, XDP_MODE_GENERIC, XDP_MODE_TC };
const char *xdp_mode_name(enum xdp_mode mode);

struct interface {
	char name[MODEL_IFNAME_LEN];
	enum xdp_mode mode;
	bool manage_vips; /* add the VIPs of all services to this interface, and announce them */
};

enum check_type { CHECK_NONE, CHECK_TCP, CHECK_HTTP };
const char *check_type_name(enum check_type type);

struct health_check {
	enum check_type type;
	char path[MODEL_PATH_LEN];
	char host[MODEL_PATH_LEN]; /* Host header; "" means the backend's address */
	uint16_t port;             /* 0: the backend's own */
	uint16_t status_min, status_max;
	uint32_t interval_ms, fast_interval_ms, down_interval_ms, timeout_ms;
	uint32_t healthy_threshold, unhealthy_threshold;
	uint32_t retries;
};

enum drain_on_timeout { DRAIN_KEEP, DRAIN_RESET };

struct drain_policy {
	uint32_t timeout_ms;
	enum drain_on_timeout on_timeout;
};

struct policy {
	struct health_check check;
	struct drain_policy drain;
	uint32_t panic_threshold_pct;
};

struct backend {
	struct endpoint ep;
	uint32_t weight;  /* inside its version, 0..10000 */
	char pointer[96]; /* where the config names it */
};

enum version_status { VERSION_TESTING, VERSION_STAGING, VERSION_PRODUCTION, VERSION_DEPRECATED };
const char *version_status_name(enum version_status status);
bool version_status_parse(enum version_status *ret, const char *text);

struct version {
	char name[MODEL_NAME_LEN];
	enum version_status status;
	uint32_t weight_bp; /* of the service's new connections */
	struct backend *backends;
	size_t nbackends;
	bool by_api; /* registered at run time, not in the file */
	char pointer[96];
};

struct vip {
	struct endpoint ep;
	uint8_t proto; /* IPPROTO_TCP or IPPROTO_UDP */
	char pointer[96];
};

enum forward_mode {
	MODE_NAT,
	MODE_DSR,  /* as it came, to the backend's MAC address */
	MODE_IPIP, /* as it came, in an outer IPv4 or IPv6 packet */
	MODE_GUE,  /* the same, behind a UDP header */
};
const char *forward_mode_name(enum forward_mode mode);
/* In an outer packet of the backend's own address family. */
bool forward_mode_tunnels(enum forward_mode mode);

/* Which flows have a pin: those of slots in transition, or every one. */
enum tracking_mode { TRACKING_TRANSITIONS, TRACKING_FULL };
const char *tracking_mode_name(enum tracking_mode tracking);

const char *protocol_name(uint8_t proto); /* "tcp" */

struct service {
	char name[MODEL_NAME_LEN];
	enum forward_mode mode;
	enum tracking_mode tracking;
	uint32_t ring_slots;
	struct vip *vips;
	size_t nvips;
	struct version *versions;
	size_t nversions;
	struct policy policy;
	char pointer[96];
};

struct strategy_step {
	uint32_t weight_bp;
	uint64_t pause_ms;
};

enum on_failure { ON_FAILURE_ROLLBACK, ON_FAILURE_PAUSE };

struct analysis_policy {
	uint32_t interval_ms;
	double alpha;         /* false-alarm probability of the whole rollout */
	uint32_t min_samples; /* canary connections before a step may pass */
	double max_increase;  /* failure rate the canary may exceed stable's by */
	enum on_failure on_failure;
};

#define STRATEGY_MAX_STEPS 32
struct strategy {
	char name[MODEL_NAME_LEN];
	struct strategy_step steps[STRATEGY_MAX_STEPS];
	size_t nsteps;
	struct analysis_policy analysis;
	uint64_t lease_ms;
	uint64_t progress_deadline_ms; /* pauses not counted */
};

struct admin_config {
	bool tcp; /* listen on TCP at all */
	struct endpoint listen;
	char socket[108]; /* sun_path */
};

struct state_config {
	char dir[MODEL_PATH_LEN];
	char pin_dir[MODEL_PATH_LEN];
	uint32_t journal_days;
};

struct dataplane_config {
	uint32_t max_services, max_backends, max_flows, max_slots;
	uint32_t ring_slots; /* default of a service */
	bool has_hash_seed;  /* false: the agent makes one and keeps it in its state */
	uint8_t hash_seed[16];
	uint32_t tcp_established_ms, tcp_syn_ms, tcp_fin_ms, udp_ms;
};

/* VIPs of all services together, per service of max_services, that the maps have room for. */
#define MODEL_VIPS_PER_SERVICE 4

struct model {
	struct interface *interfaces;
	size_t ninterfaces;
	struct admin_config admin;
	struct state_config state;
	struct dataplane_config dataplane;
	struct policy defaults;
	struct service *services;
	size_t nservices;
	struct strategy *strategies;
	size_t nstrategies;
};

/* An empty model with every default of the documentation in it. NULL: out of memory. */
struct model *model_new(void);
void model_free(struct model *m); /* NULL is fine */

/* Deep copies and disposal of parts, for versions that are registered at run time. 0 or -ENOMEM. */
int version_copy(struct version *dst, const struct version *src);
void version_fini(struct version *v);
void service_fini(struct service *s);

struct service *model_service(const struct model *m, const char *name);
struct version *service_version(const struct service *s, const char *name);
const struct strategy *model_strategy(const struct model *m, const char *name);

bool service_has_protocol(const struct service *s, uint8_t proto);
/* The VIP that packets of this family and protocol come to first; NULL: none. */
const struct vip *service_vip(const struct service *s, bool v4, uint8_t proto);
/* After that long without a packet a flow is over: the longest of the service's protocols. */
uint32_t service_idle_ms(const struct service *s, const struct dataplane_config *d);
/* For how long flows without a pin may still show up; those of UDP all have one. */
uint32_t service_unpinned_ms(const struct service *s, const struct dataplane_config *d);
/* Where packets arrive as they came, a backend without a port has the VIP's. */
void service_complete_version(const struct service *s, struct version *v);

/*
 * The rules that concern more than one place: duplicate names and VIPs, a backend in two nat
 * services, two VIPs of one protocol in a nat service, addresses of two families where the mode
 * cannot join them, ports that the mode cannot change, weights that do not sum to 100.00, rings
 * that do not fit. 0, or -EINVAL (-ENOMEM) with the place and the cure in `d`.
 */
int model_validate(const struct model *m, struct diag *d);

/* A name may hold letters, digits, '.', '_' and '-', and starts with a letter or digit. */
bool name_is_valid(const char *name);

#endif
