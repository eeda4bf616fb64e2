/* SPDX-License-Identifier: GPL-2.0-only */
#include <errno.h>
#include <json-c/json.h>
#include <netinet/in.h>
#include <stdlib.h>
#include <string.h>

#include <zddlb/abi.h>

#include "../core/diag.h"
#include "../core/model.h"
#include "config_keys.h"
#include "config_values.h"

#define SECOND_MS 1000LL
#define HOUR_MS   (3600 * SECOND_MS)
#define DAY_MS    (24 * HOUR_MS)

/* Ticks of 4.29 s in a circle of 255: what is longer could not be told from ended pins any more. */
#define PIN_MAX_MS (1000 * SECOND_MS)

/* Not decided by the text; the end of the service decides. */
#define WEIGHT_UNSET   UINT32_MAX
#define STATUS_UNSET   ((enum version_status)UINT32_MAX)
#define TRACKING_UNSET ((enum tracking_mode)UINT32_MAX)

static const struct word xdp_modes[] = {
	{ "auto", XDP_MODE_AUTO },
	{ "native", XDP_MODE_NATIVE },
	{ "generic", XDP_MODE_GENERIC },
	{ "tc", XDP_MODE_TC },
	{ NULL, 0 },
};

static const struct field interface_fields[] = {
	{ "name", &kind_ifname, FIELD_AT(struct interface, name), .flags = FIELD_REQUIRED },
	{ "xdpMode", &kind_word, FIELD_AT(struct interface, mode), .words = xdp_modes },
	{ "manageVips", &kind_bool, FIELD_AT(struct interface, manage_vips) },
	{ .key = "dispatcher" },
	{ .key = "priority" },
	{ .key = NULL },
};

static const struct object interface_object = {
	.fields = interface_fields,
	.size = sizeof(struct interface),
};

static const struct field admin_fields[] = {
	{ "listen", &kind_listen, .size = sizeof(struct admin_config) },
	{ "socket", &kind_abs_path, FIELD_AT(struct admin_config, socket) },
	{ .key = "tls" },
	{ .key = "tokensFile" },
	{ .key = "rateLimit" },
	{ .key = "dashboard" },
	{ .key = "readOnlyWithoutToken" },
	{ .key = NULL },
};

static const struct object admin_object = { .fields = admin_fields };

static const struct field state_fields[] = {
	{ "dir", &kind_abs_path, FIELD_AT(struct state_config, dir) },
	{ "pinDir", &kind_abs_path, FIELD_AT(struct state_config, pin_dir) },
	{ "journalDays", &kind_uint, FIELD_AT(struct state_config, journal_days), .min = 1,
	  .max = 3650 },
	{ .key = NULL },
};

static const struct object state_object = { .fields = state_fields };

static const struct field timeout_fields[] = {
	{ "tcpEstablished", &kind_duration, FIELD_AT(struct dataplane_config, tcp_established_ms),
	  .min = SECOND_MS, .max = PIN_MAX_MS },
	{ "tcpSyn", &kind_duration, FIELD_AT(struct dataplane_config, tcp_syn_ms), .min = SECOND_MS,
	  .max = PIN_MAX_MS },
	{ "tcpFin", &kind_duration, FIELD_AT(struct dataplane_config, tcp_fin_ms), .min = SECOND_MS,
	  .max = PIN_MAX_MS },
	{ "udp", &kind_duration, FIELD_AT(struct dataplane_config, udp_ms), .min = SECOND_MS,
	  .max = PIN_MAX_MS },
	{ .key = NULL },
};

static const struct object timeouts_object = { .fields = timeout_fields };

#define RING_BOUNDS .min = ZD_MIN_RING_SLOTS, .max = ZD_MAX_RING_SLOTS

static const struct field dataplane_fields[] = {
	{ "maxServices", &kind_uint, FIELD_AT(struct dataplane_config, max_services), .min = 1,
	  .max = 65536 },
	{ "maxBackends", &kind_uint, FIELD_AT(struct dataplane_config, max_backends), .min = 1,
	  .max = ZD_MAX_BACKEND_IDS - 1 },
	{ "maxFlows", &kind_uint, FIELD_AT(struct dataplane_config, max_flows), .min = 1024,
	  .max = (int64_t)ZD_MAX_PIN_BUCKETS * ZD_PINS_PER_BUCKET },
	{ "maxSlots", &kind_uint, FIELD_AT(struct dataplane_config, max_slots),
	  .min = ZD_MIN_RING_SLOTS, .max = 1 << 27 },
	{ "ringSize", &kind_power_of_two, FIELD_AT(struct dataplane_config, ring_slots),
	  RING_BOUNDS },
	{ "hashSeed", &kind_hash_seed, FIELD_AT(struct dataplane_config, has_hash_seed),
	  .flags = FIELD_OMIT_ZERO },
	{ "timeouts", &kind_object, .inner = &timeouts_object },
	{ .key = NULL },
};

static const struct object dataplane_object = { .fields = dataplane_fields };

static const struct word check_types[] = {
	{ "tcp", CHECK_TCP }, { "http", CHECK_HTTP }, { "https", -1 }, { "dns", -1 },
	{ "grpc", -1 },       { "exec", -1 },         { NULL, 0 },
};

#define CHECK_INTERVAL .min = 10, .max = HOUR_MS

static const struct field check_fields[] = {
	{ "type", &kind_word, FIELD_AT(struct health_check, type), .words = check_types },
	{ "path", &kind_http_path, FIELD_AT(struct health_check, path) },
	{ "host", &kind_http_host, FIELD_AT(struct health_check, host), .flags = FIELD_OMIT_ZERO },
	{ "port", &kind_uint, FIELD_AT(struct health_check, port), .flags = FIELD_OMIT_ZERO,
	  .min = 1, .max = 65535 },
	{ "expectStatus", &kind_status_range, .size = sizeof(struct health_check) },
	{ "interval", &kind_duration, FIELD_AT(struct health_check, interval_ms), CHECK_INTERVAL },
	{ "fastInterval", &kind_duration, FIELD_AT(struct health_check, fast_interval_ms),
	  CHECK_INTERVAL },
	{ "downInterval", &kind_duration, FIELD_AT(struct health_check, down_interval_ms),
	  CHECK_INTERVAL },
	{ "timeout", &kind_duration, FIELD_AT(struct health_check, timeout_ms), .min = 1,
	  .max = HOUR_MS },
	{ "healthyThreshold", &kind_uint, FIELD_AT(struct health_check, healthy_threshold),
	  .min = 1, .max = 1000 },
	{ "unhealthyThreshold", &kind_uint, FIELD_AT(struct health_check, unhealthy_threshold),
	  .min = 1, .max = 1000 },
	{ "retries", &kind_uint, FIELD_AT(struct health_check, retries), .max = 10 },
	{ .key = "via" },
	{ .key = "query" },
	{ .key = NULL },
};

static const struct object check_object = { .fields = check_fields };

static const struct word drain_ends[] = { { "keep", DRAIN_KEEP }, { "reset", -1 }, { NULL, 0 } };

static const struct field drain_fields[] = {
	{ "timeout", &kind_duration, FIELD_AT(struct drain_policy, timeout_ms), .max = DAY_MS },
	{ "onTimeout", &kind_word, FIELD_AT(struct drain_policy, on_timeout), .words = drain_ends },
	{ .key = NULL },
};

static const struct object drain_object = { .fields = drain_fields };

/* The keys that "defaults" and every service share; `base` is where the struct policy begins. */
#define POLICY_AT(base, member)                                                                    \
	.offset = (base) + offsetof(struct policy, member),                                        \
	.size = sizeof(((struct policy *)NULL)->member)
#define POLICY_FIELDS(base)                                                                        \
	{ "healthCheck", &kind_object, POLICY_AT(base, check), .inner = &check_object },           \
		{ "drain", &kind_object, POLICY_AT(base, drain), .inner = &drain_object },         \
		{ "panicThreshold", &kind_uint, POLICY_AT(base, panic_threshold_pct),              \
		  .max = 100 },                                                                    \
		{ .key = "circuitBreaker" }, { .key = "slowStart" },                               \
	{                                                                                          \
		.key = "maxEjectionPercent"                                                        \
	}

static const struct field defaults_fields[] = {
	POLICY_FIELDS(offsetof(struct model, defaults)),
	{ .key = NULL },
};

static const struct object defaults_object = { .fields = defaults_fields };

static const struct field backend_fields[] = {
	{ "address", &kind_address, FIELD_AT(struct backend, ep), .flags = FIELD_REQUIRED },
	{ "port", &kind_uint, FIELD_AT(struct backend, ep.port), .min = 1, .max = 65535 },
	{ "weight", &kind_uint, FIELD_AT(struct backend, weight), .max = 10000 },
	{ .key = NULL },
};

static void backend_begin(struct reader *r, void *at)
{
	struct backend *b = at;

	(void)r;
	b->weight = 1;
}

static const struct object backend_object = {
	.fields = backend_fields,
	.size = sizeof(struct backend),
	.pointer = offsetof(struct backend, pointer),
	.begin = backend_begin,
};

static const struct word statuses[] = {
	{ "testing", VERSION_TESTING },
	{ "staging", VERSION_STAGING },
	{ "production", VERSION_PRODUCTION },
	{ "deprecated", VERSION_DEPRECATED },
	{ NULL, 0 },
};

static const struct field version_fields[] = {
	{ "version", &kind_name, FIELD_AT(struct version, name), .flags = FIELD_REQUIRED },
	{ "status", &kind_word, FIELD_AT(struct version, status), .words = statuses },
	{ "weight", &kind_weight, FIELD_AT(struct version, weight_bp) },
	{ "backends", &kind_list, FIELD_LIST(struct version, backends, nbackends), .min = 1,
	  .max = ZD_MAX_BACKEND_IDS - 1, .inner = &backend_object },
	{ "url", &kind_url, .size = sizeof(struct version) },
	{ .key = "smokeTests" },
	{ .key = NULL },
};

static void version_begin(struct reader *r, void *at)
{
	struct version *v = at;

	(void)r;
	v->weight_bp = WEIGHT_UNSET;
	v->status = STATUS_UNSET;
}

static int version_end(struct reader *r, struct json_object *j, void *at)
{
	struct version *v = at;

	(void)j;
	if (v->nbackends == 0)
		return schema_complain(r, "missing_key",
				       "\"backends\" (or \"url\") is missing here");
	return 0;
}

const struct object config_version = {
	.fields = version_fields,
	.size = sizeof(struct version),
	.pointer = offsetof(struct version, pointer),
	.begin = version_begin,
	.end = version_end,
};

void config_version_defaults(struct version *v, bool alone)
{
	if (v->weight_bp == WEIGHT_UNSET)
		v->weight_bp = alone ? WEIGHT_FULL_BP : 0;
	if (v->status == STATUS_UNSET)
		v->status = v->weight_bp > 0 ? VERSION_PRODUCTION : VERSION_TESTING;
}

static const struct word vip_protocols[] = {
	{ "tcp", IPPROTO_TCP },
	{ "udp", IPPROTO_UDP },
	{ NULL, 0 },
};

static const struct field vip_fields[] = {
	{ "address", &kind_address, FIELD_AT(struct vip, ep), .flags = FIELD_REQUIRED },
	{ "port", &kind_uint, FIELD_AT(struct vip, ep.port), .flags = FIELD_REQUIRED, .min = 1,
	  .max = 65535 },
	{ "protocol", &kind_word, FIELD_AT(struct vip, proto), .words = vip_protocols },
	{ .key = NULL },
};

static void vip_begin(struct reader *r, void *at)
{
	struct vip *v = at;

	(void)r;
	v->proto = IPPROTO_TCP;
}

static const struct object vip_object = {
	.fields = vip_fields,
	.size = sizeof(struct vip),
	.pointer = offsetof(struct vip, pointer),
	.begin = vip_begin,
};

static const struct word forward_modes[] = {
	{ "nat", MODE_NAT },   { "fullnat", -1 },   { "dsr", MODE_DSR },
	{ "ipip", MODE_IPIP }, { "gue", MODE_GUE }, { NULL, 0 },
};

static const struct word tracking_modes[] = {
	{ "transitions", TRACKING_TRANSITIONS },
	{ "full", TRACKING_FULL },
	{ NULL, 0 },
};

static const struct field service_fields[] = {
	{ "name", &kind_name, FIELD_AT(struct service, name), .flags = FIELD_REQUIRED },
	{ "vips", &kind_list, FIELD_LIST(struct service, vips, nvips), .flags = FIELD_REQUIRED,
	  .min = 1, .max = 64, .inner = &vip_object },
	{ "mode", &kind_word, FIELD_AT(struct service, mode), .words = forward_modes },
	{ "tracking", &kind_word, FIELD_AT(struct service, tracking), .words = tracking_modes },
	{ "ringSize", &kind_power_of_two, FIELD_AT(struct service, ring_slots), RING_BOUNDS },
	POLICY_FIELDS(offsetof(struct service, policy)),
	{ "versions", &kind_list, FIELD_LIST(struct service, versions, nversions),
	  .flags = FIELD_REQUIRED, .min = 1, .max = 1000, .inner = &config_version },
	{ .key = "affinity" },
	{ .key = NULL },
};

static void service_begin(struct reader *r, void *at)
{
	struct service *s = at;

	s->mode = MODE_NAT;
	s->tracking = TRACKING_UNSET;
	s->ring_slots = r->model->dataplane.ring_slots;
	s->policy = r->model->defaults;
}

static int service_end(struct reader *r, struct json_object *j, void *at)
{
	struct service *s = at;

	(void)r;
	(void)j;
	if (s->tracking == TRACKING_UNSET)
		s->tracking =
			service_has_protocol(s, IPPROTO_UDP) ? TRACKING_FULL : TRACKING_TRANSITIONS;
	for (size_t i = 0; i < s->nversions; i++) {
		config_version_defaults(&s->versions[i], s->nversions == 1);
		service_complete_version(s, &s->versions[i]);
	}
	return 0;
}

static const struct object service_object = {
	.fields = service_fields,
	.size = sizeof(struct service),
	.pointer = offsetof(struct service, pointer),
	.begin = service_begin,
	.end = service_end,
};

static const struct word failure_words[] = {
	{ "rollback", ON_FAILURE_ROLLBACK },
	{ "pause", ON_FAILURE_PAUSE },
	{ NULL, 0 },
};

static const struct field analysis_fields[] = {
	{ "interval", &kind_duration, FIELD_AT(struct analysis_policy, interval_ms), .min = 100,
	  .max = HOUR_MS },
	{ "alpha", &kind_fraction, FIELD_AT(struct analysis_policy, alpha), .min = 1,
	  .max = 500000 },
	{ "minSamples", &kind_uint, FIELD_AT(struct analysis_policy, min_samples), .min = 1,
	  .max = 1000000000 },
	{ "maxIncrease", &kind_fraction, FIELD_AT(struct analysis_policy, max_increase),
	  .max = 1000000 },
	{ "onFailure", &kind_word, FIELD_AT(struct analysis_policy, on_failure),
	  .words = failure_words },
	{ .key = "failureLimit" },
	{ .key = "inconclusiveLimit" },
	{ .key = "consecutiveErrorLimit" },
	{ .key = "onInconclusive" },
	{ .key = "metrics",
	  .hint = "not supported by this release, which judges failed connections alone; set "
		  "\"maxIncrease\" beside it" },
	{ .key = NULL },
};

static const struct object analysis_object = { .fields = analysis_fields };

static const struct word strategy_types[] = {
	{ "canary", 0 },     { "blue-green", -1 }, { "blue-green-with-canary", -1 },
	{ "immediate", -1 }, { NULL, 0 },
};

static const struct field strategy_fields[] = {
	{ "type", &kind_word, .words = strategy_types },
	{ .key = "stepInterval", .kind = &kind_step_pause },
	{ "steps", &kind_steps, .size = sizeof(struct strategy), .flags = FIELD_REQUIRED },
	{ "analysis", &kind_object, FIELD_AT(struct strategy, analysis),
	  .inner = &analysis_object },
	{ "errorThreshold", &kind_error_pct, FIELD_AT(struct strategy, analysis.max_increase) },
	{ .key = "autoPause", .kind = &kind_off },
	{ "lease", &kind_duration, FIELD_AT(struct strategy, lease_ms), .min = SECOND_MS,
	  .max = HOUR_MS },
	{ "progressDeadline", &kind_duration, FIELD_AT(struct strategy, progress_deadline_ms),
	  .min = SECOND_MS, .max = 30 * DAY_MS },
	{ .key = "exposure" },
	{ .key = "gates" },
	{ .key = "preChecks" },
	{ .key = "autoPromote" },
	{ .key = "keepPrevious" },
	{ .key = "postAnalysis" },
	{ .key = NULL },
};

static const struct strategy default_strategy = {
	.name = "canary-default",
	.steps = { { 100, 300 * SECOND_MS },
		   { 1000, 300 * SECOND_MS },
		   { 5000, 600 * SECOND_MS },
		   { WEIGHT_FULL_BP, 900 * SECOND_MS } },
	.nsteps = 4,
	.analysis = { .interval_ms = 10 * SECOND_MS,
		      .alpha = 0.05,
		      .min_samples = 100,
		      .max_increase = 0.01,
		      .on_failure = ON_FAILURE_ROLLBACK },
	.lease_ms = 15 * SECOND_MS,
	.progress_deadline_ms = 600 * SECOND_MS,
};

/* All but the name, which is the key in "strategies". */
static void strategy_begin(struct reader *r, void *at)
{
	struct strategy *s = at;
	char name[MODEL_NAME_LEN];

	memcpy(name, s->name, sizeof(name));
	*s = default_strategy;
	memcpy(s->name, name, sizeof(name));
	r->step_pause_ms = 300 * SECOND_MS;
}

const struct object config_strategy = {
	.fields = strategy_fields,
	.size = sizeof(struct strategy),
	.begin = strategy_begin,
};

static struct strategy *add_strategy(struct model *m)
{
	struct strategy *grown;

	grown = realloc(m->strategies, (m->nstrategies + 1) * sizeof(*grown));
	if (!grown)
		return NULL;
	m->strategies = grown;
	return memset(&grown[m->nstrategies++], 0, sizeof(*grown));
}

int config_default_strategy(struct model *m)
{
	struct strategy *s;

	if (model_strategy(m, default_strategy.name))
		return 0;
	s = add_strategy(m);
	if (!s)
		return -ENOMEM;
	*s = default_strategy;
	return 0;
}

static int read_strategy(struct reader *r, struct model *m, const char *name, struct json_object *j)
{
	struct strategy *s;

	if (!name_is_valid(name))
		return schema_complain(r, "invalid_value",
				       "a strategy's name has at most %d letters, digits, '.', '_' "
				       "and '-', and begins with a letter or digit",
				       MODEL_NAME_LEN - 1);
	s = add_strategy(m);
	if (!s)
		return -ENOMEM;
	strncpy(s->name, name, sizeof(s->name) - 1);
	return schema_read(r, &config_strategy, j, s);
}

static int read_strategies(struct reader *r, const struct field *f, struct json_object *j, void *at)
{
	(void)f;
	if (!json_object_is_type(j, json_type_object))
		return schema_wrong(r, j, "an object of strategies by name");
	json_object_object_foreach (j, name, value) {
		size_t before = json_path_key(&r->path, name);
		int err = read_strategy(r, at, name, value);

		json_path_pop(&r->path, before);
		if (err)
			return err;
	}
	return 0;
}

static struct json_object *write_strategies(const struct field *f, const void *at)
{
	struct json_object *j = json_object_new_object();
	const struct model *m = at;

	(void)f;
	for (size_t i = 0; j && i < m->nstrategies; i++) {
		struct json_object *item = schema_write(&config_strategy, &m->strategies[i]);

		if (!item || json_object_object_add(j, m->strategies[i].name, item)) {
			json_object_put(item);
			json_object_put(j);
			return NULL;
		}
	}
	return j;
}

static const struct kind kind_strategies = { read_strategies, write_strategies };

static int model_end(struct reader *r, struct json_object *j, void *at)
{
	(void)r;
	(void)j;
	return config_default_strategy(at);
}

/* "defaults" and "dataplane" stand before "services", which inherit from them. */
static const struct field model_fields[] = {
	{ "apiVersion", &kind_api_version, .flags = FIELD_REQUIRED },
	{ "interfaces", &kind_list, FIELD_LIST(struct model, interfaces, ninterfaces), .max = 256,
	  .inner = &interface_object },
	{ "admin", &kind_object, FIELD_AT(struct model, admin), .inner = &admin_object },
	{ "state", &kind_object, FIELD_AT(struct model, state), .inner = &state_object },
	{ "dataplane", &kind_object, FIELD_AT(struct model, dataplane),
	  .inner = &dataplane_object },
	{ "defaults", &kind_object, .inner = &defaults_object },
	{ "services", &kind_list, FIELD_LIST(struct model, services, nservices), .max = 65536,
	  .inner = &service_object },
	{ "strategies", &kind_strategies, .size = sizeof(struct model) },
	{ .key = "rollbackTriggers" },
	{ .key = "notifications" },
	{ .key = "compat" },
	{ .key = NULL },
};

const struct object config_model = {
	.fields = model_fields,
	.size = sizeof(struct model),
	.end = model_end,
};

#define MAIN_FILE_ONLY "for the main file, not for conf.d"

/* Only the keys matter: what stands behind them is merged before it is read. */
static const struct field fragment_fields[] = {
	{ .key = "apiVersion", .kind = &kind_api_version },
	{ .key = "interfaces", .kind = &kind_list },
	{ .key = "services", .kind = &kind_list },
	{ .key = "strategies", .kind = &kind_strategies },
	{ .key = "admin", .hint = MAIN_FILE_ONLY },
	{ .key = "state", .hint = MAIN_FILE_ONLY },
	{ .key = "dataplane", .hint = MAIN_FILE_ONLY },
	{ .key = "defaults", .hint = MAIN_FILE_ONLY },
	{ .key = NULL },
};

const struct object config_fragment = { .fields = fragment_fields };
