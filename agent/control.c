/* SPDX-License-Identifier: GPL-2.0-only */
/* Start and stop, timers and events: the frame in which the parts of control do their work. */
#include <errno.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/random.h>
#include <time.h>

#include "control_internal.h"
#include "io/config.h"
#include "io/log.h"
#include "io/maps.h"
#include "io/probe.h"
#include "io/store.h"

/* Checks and deployments are looked at this often; both carry their own deadlines. */
#define FAST_TICK_MS 50
#define SLOW_TICK_MS 1000
/* Events and ended deployments are pruned once an hour. */
#define PRUNE_TICKS 3600

uint64_t control_now_ns(void)
{
	struct timespec t;

	clock_gettime(CLOCK_MONOTONIC, &t);
	return (uint64_t)t.tv_sec * 1000000000ULL + (uint64_t)t.tv_nsec;
}

uint64_t control_now_ms(void)
{
	return control_now_ns() / 1000000;
}

uint64_t control_unix_ms(void)
{
	struct timespec t;

	clock_gettime(CLOCK_REALTIME, &t);
	return (uint64_t)t.tv_sec * 1000 + (uint64_t)t.tv_nsec / 1000000;
}

uint32_t control_random(void)
{
	uint32_t r = 0;

	if (getrandom(&r, sizeof(r), 0) != sizeof(r))
		r = (uint32_t)control_now_ns();
	return r;
}

/* Stored ahead in strides, so that a change costs no commit and a restart repeats no revision. */
#define REVISION_STRIDE 1000

void control_changed(struct control *c)
{
	uint64_t ahead = c->revision_stored + REVISION_STRIDE;

	if (++c->revision > c->revision_stored &&
	    store_set_blob(c->store, "revision", &ahead, sizeof(ahead)) == 0)
		c->revision_stored = ahead;
}

static void load_revision(struct control *c)
{
	size_t len = sizeof(c->revision);

	if (store_get_blob(c->store, "revision", &c->revision, &len) < 0)
		c->revision = 0;
	c->revision_stored = c->revision;
	control_changed(c);
}

int control_store_failed(struct control *c, int err, const char *what, struct diag *d)
{
	char words[160];

	snprintf(words, sizeof(words), "%s", store_error(c->store));
	store_rollback(c->store);
	snprintf(c->store_problem, sizeof(c->store_problem),
		 "cannot write %s to %s: %s; the agent goes on by itself once it can", what,
		 c->model->state.dir, words);
	log_error("%s", c->store_problem);
	diag_set(d, -err, "state_not_written", "", "Nothing was changed: %s.", c->store_problem);
	return err;
}

void control_unsaved(struct control *c, int err, const char *what)
{
	control_store_failed(c, err, what, NULL);
	c->unsaved = true;
}

void control_store_ok(struct control *c)
{
	if (c->store_problem[0])
		log_info("state can be written again");
	c->store_problem[0] = '\0';
}

void control_event(struct control *c, const char *kind, const char *service, const char *subject,
		   const char *fmt, ...)
{
	char text[512];
	struct stored_event e = {
		.unix_ms = control_unix_ms(),
		.kind = kind,
		.service = service,
		.subject = subject,
		.text = text,
	};
	va_list ap;

	va_start(ap, fmt);
	vsnprintf(text, sizeof(text), fmt, ap);
	va_end(ap);

	log_info("%s kind=%s service=%s subject=%s", text, kind, service, subject);
	/* An event that cannot be written is in the log; it must not stop what it tells of. */
	if (store_put_event(c->store, &e) < 0)
		log_warn("event not stored: %s", store_error(c->store));
}

struct service_rt *control_service(struct control *c, const char *name)
{
	for (size_t i = 0; i < c->nservices; i++) {
		if (!strcmp(c->services[i]->cfg->name, name))
			return c->services[i];
	}
	return NULL;
}

struct version_rt *control_version(struct service_rt *s, const char *name)
{
	for (size_t i = 0; i < s->nversions; i++) {
		if (!strcmp(s->versions[i].name, name))
			return &s->versions[i];
	}
	return NULL;
}

static struct backend_rt *backend_by_id(struct control *c, const char *key)
{
	char *end;
	unsigned long id = strtoul(key, &end, 10);

	return *key && !*end && id < ZD_MAX_BACKEND_IDS ? c->by_id[id] : NULL;
}

struct backend_rt *control_backend(struct control *c, const char *key, struct diag *d)
{
	const char *slash = strchr(key, '/');
	struct backend_rt *found = backend_by_id(c, key);
	struct endpoint ep;

	if (found)
		return found;
	if (!endpoint_parse(&ep, slash ? slash + 1 : key)) {
		diag_set(d, ENOENT, "not_found", "",
			 "There is no backend \"%s\": name one as ADDRESS:PORT, "
			 "SERVICE/ADDRESS:PORT or by its id.",
			 key);
		return NULL;
	}
	for (size_t i = 0; i < c->nservices; i++) {
		struct service_rt *s = c->services[i];
		size_t len = strlen(s->cfg->name);

		if (slash && ((size_t)(slash - key) != len || memcmp(key, s->cfg->name, len) != 0))
			continue;
		for (size_t k = 0; k < s->nbackends; k++) {
			if (!endpoint_equal(&s->backends[k]->ep, &ep))
				continue;
			if (found && found->removed == s->backends[k]->removed) {
				diag_set(d, EINVAL, "ambiguous", "",
					 "Backend \"%s\" stands in more than one version: use its "
					 "id.",
					 key);
				return NULL;
			}
			if (!found || found->removed)
				found = s->backends[k];
		}
	}
	if (!found)
		diag_set(d, ENOENT, "not_found", "", "There is no backend \"%s\".", key);
	return found;
}

bool control_is_ready(const struct control *c)
{
	for (size_t i = 0; i < c->ninterfaces; i++) {
		if (c->interfaces[i].present && !c->interfaces[i].attached)
			return false;
	}
	for (size_t i = 0; i < c->nservices; i++) {
		if (!c->services[i]->ready)
			return false;
	}
	return true;
}

/* One part a tick, so that a large ring holds nobody up. */
static void save_rings(struct control *c)
{
	for (size_t i = 0; i < c->nservices; i++) {
		if (c->services[i]->ring_dirty) {
			traffic_save_ring(c->services[i]);
			return;
		}
	}
}

static void on_fast(uv_timer_t *t)
{
	struct control *c = t->data;
	uint64_t now = control_now_ms();

	links_follow(c);
	checks_tick(c, now);
	rollout_tick(c, now);
	sweep_tick(c, now);
	save_rings(c);
}

int control_probe_store(struct control *c)
{
	int err = store_begin(c->store);

	if (!err)
		err = store_set_blob(c->store, "probe", "x", 1);
	if (!err)
		err = store_commit(c->store);
	if (err)
		store_rollback(c->store);
	return err;
}

/* What is in force and could not be stored is stored as soon as it can be. */
static void try_store(struct control *c)
{
	bool was_bad = c->store_problem[0] || c->unsaved;
	int err = was_bad ? control_probe_store(c) : 0;

	if (!err && c->unsaved)
		err = objects_save(c);
	if (!err)
		c->unsaved = false;
	for (size_t i = 0; !err && i < c->nservices; i++)
		err = rollout_record_pending(c->services[i]);
	if (!err && was_bad)
		control_store_ok(c);
}

static void prune(struct control *c)
{
	uint64_t keep = (uint64_t)c->model->state.journal_days * 24 * 3600 * 1000;
	uint64_t now = control_unix_ms();

	if (now > keep && store_prune(c->store, now - keep) < 0)
		log_warn("old events not pruned: %s", store_error(c->store));
}

/* Without its pins XDP lets go of the interfaces, and the next agent would not find the maps. */
static void watch_pins(struct control *c)
{
	struct diag d = { 0 };
	int did = maps_repin(c->maps, &d);

	if (did < 0 && !c->maps_problem[0])
		log_error("%s", d.text);
	snprintf(c->maps_problem, sizeof(c->maps_problem), "%.255s", did < 0 ? d.text : "");
	if (did <= 0)
		return;
	c->links_due = true;
	control_event(c, "agent", "", "", "pins under %.200s were removed and are made again",
		      c->model->state.pin_dir);
}

static void on_slow(uv_timer_t *t)
{
	struct control *c = t->data;

	watch_pins(c);
	links_tick(c);
	try_store(c);
	for (size_t i = 0; i < c->nservices; i++)
		traffic_read_counters(c->services[i]);
	if (++c->slow_ticks % PRUNE_TICKS == 0)
		prune(c);
}

static void on_netlink(uv_poll_t *p, int status, int events)
{
	struct control *c = p->data;

	(void)status;
	(void)events;
	netlink_dispatch(c->netlink);
}

/*
 * The hash decides which slot a connection belongs to, so its seed outlives everything: what pinned
 * maps run with comes first, then what the operator says, then what was drawn on the first start.
 */
static int choose_seed(struct control *c, uint8_t seed[16], struct diag *d)
{
	const struct dataplane_config *dp = &c->model->dataplane;
	uint8_t pinned[16];
	size_t len = 16;
	int err;

	if (dp->has_hash_seed) {
		memcpy(seed, dp->hash_seed, 16);
		return 0;
	}
	if (maps_pinned_seed(c->model->state.pin_dir, pinned) == 0)
		memcpy(seed, pinned, 16);
	else if (store_get_blob(c->store, "hash_seed", seed, &len) == 0 && len == 16)
		return 0;
	else if (getrandom(seed, 16, 0) != 16)
		return diag_set(d, EIO, "no_random", "", "The kernel gave no random bytes.");

	err = store_set_blob(c->store, "hash_seed", seed, 16);
	return err ? control_store_failed(c, err, "the hash seed", d) : 0;
}

static int open_maps(struct control *c, struct diag *d)
{
	const struct dataplane_config *dp = &c->model->dataplane;
	struct maps_options o = {
		.pin_dir = c->model->state.pin_dir,
		.max_services = dp->max_services,
		.max_backends = dp->max_backends,
		.max_slots = dp->max_slots,
		.max_pins = dp->max_flows,
		.idle_ms = dp->tcp_established_ms,
		.syn_ms = dp->tcp_syn_ms,
		.fin_ms = dp->tcp_fin_ms,
		.udp_ms = dp->udp_ms,
	};
	int err = choose_seed(c, o.hash_seed, d);

	return err ? err : maps_open(&c->maps, &o, d);
}

static int open_io(struct control *c, struct diag *d)
{
	int err = store_open(&c->store, c->model->state.dir, d);

	if (err)
		return err;
	err = open_maps(c, d);
	if (err)
		return err;
	err = netlink_open(&c->netlink, links_changed, c);
	if (err)
		return diag_set(d, -err, "netlink", "", "Cannot open a netlink socket: %s.",
				strerror(-err));
	err = prober_open(&c->prober, c->loop);
	if (err)
		return diag_set(d, -err, "prober", "", "Cannot set up health checks: %s.",
				strerror(-err));
	return 0;
}

static void start_timers(struct control *c)
{
	uv_timer_init(c->loop, &c->fast);
	uv_timer_init(c->loop, &c->slow);
	uv_poll_init(c->loop, &c->netlink_poll, netlink_fd(c->netlink));
	c->fast.data = c->slow.data = c->netlink_poll.data = c;
	uv_timer_start(&c->fast, on_fast, FAST_TICK_MS, FAST_TICK_MS);
	uv_timer_start(&c->slow, on_slow, SLOW_TICK_MS, SLOW_TICK_MS);
	uv_poll_start(&c->netlink_poll, UV_READABLE, on_netlink);
	c->timers_started = true;
}

int control_start(struct control **ret, uv_loop_t *loop, const char *path, struct diag *d)
{
	struct control *c = calloc(1, sizeof(*c));
	int err;

	if (!c)
		return diag_set(d, ENOMEM, "no_memory", "", "Out of memory.");
	c->loop = loop;
	c->config_path = path;
	c->started_ms = control_now_ms();
	c->sweep_pins = calloc(ZD_MAX_BACKEND_IDS, sizeof(*c->sweep_pins));
	err = c->sweep_pins ? config_load(&c->model, path, d) : -ENOMEM;
	if (!err)
		err = open_io(c, d);
	if (!err) {
		load_revision(c);
		err = objects_build(c, d);
	}
	if (!err)
		err = rollout_build(c, d);
	if (!err)
		err = links_build(c, d);
	if (err) {
		control_stop(c);
		return err;
	}

	start_timers(c);
	control_event(c, "agent", "", "", "agent started, %s the data plane",
		      maps_adopted(c->maps) ? "took over" : "set up");
	*ret = c;
	return 0;
}

static void free_control(struct control *c)
{
	free(c->sweep_pins);
	free(c);
}

static void on_closed(uv_handle_t *h)
{
	struct control *c = h->data;

	if (!--c->open_handles)
		free_control(c);
}

void control_stop(struct control *c)
{
	for (size_t i = 0; i < c->nservices; i++) {
		while (c->services[i]->ring_dirty && !traffic_save_ring(c->services[i]))
			;
	}
	if (c->store && c->timers_started)
		control_event(c, "agent", "", "", "agent stopped, the data plane goes on");
	objects_free(c);
	links_free(c);
	if (c->prober)
		prober_close(c->prober);
	netlink_close(c->netlink);
	if (c->maps)
		maps_close(c->maps);
	if (c->store)
		store_close(c->store);
	model_free(c->model);
	if (!c->timers_started) {
		free_control(c);
		return;
	}
	c->open_handles = 3;
	uv_close((uv_handle_t *)&c->fast, on_closed);
	uv_close((uv_handle_t *)&c->slow, on_closed);
	uv_close((uv_handle_t *)&c->netlink_poll, on_closed);
}

int control_reload(struct control *c, bool dry_run, char **ret_changes, struct diag *d)
{
	struct model *next = NULL;
	int err = config_load(&next, c->config_path, d);

	if (err)
		return err;
	err = reload_apply(c, next, dry_run, ret_changes, d);
	if (err || dry_run)
		model_free(next);
	return err;
}
