/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * Taking over the pinned maps and programs, or making them.
 *
 * `settings` is pinned last and removed first: where its pin stands, every other one does. Maps
 * without that mark are leftovers of a start or an unload that was cut short.
 */
#include "maps_internal.h"

#include <bpf/bpf.h>
#include <bpf/libbpf.h>
#include <errno.h>
#include <fcntl.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#include "log.h"
#include "zddlb.skel.h"

/* What decides each map's size; "" for maps of constant size. */
static const struct {
	const char *name;
	const char *pointer;
} map_table[MAP_COUNT] = {
	[MAP_SETTINGS] = { "settings", "" },
	[MAP_VIPS] = { "vips", "/dataplane/maxServices" },
	[MAP_SERVICES] = { "services", "/dataplane/maxServices" },
	[MAP_RING] = { "ring", "/dataplane/maxSlots" },
	[MAP_BACKENDS] = { "backends", "/dataplane/maxBackends" },
	[MAP_PINS] = { "pins", "/dataplane/maxFlows" },
	[MAP_BIRTHS] = { "births", "/dataplane/maxFlows" },
	[MAP_REVERSE] = { "reverse", "/dataplane/maxBackends" },
	[MAP_BACKEND_STATS] = { "backend_stats", "/dataplane/maxBackends" },
	[MAP_EVENTS] = { "events", "" },
};

const char *maps_name(enum map_id id)
{
	return map_table[id].name;
}

__attribute__((format(printf, 2, 0))) static int print_to_log(enum libbpf_print_level level,
							      const char *fmt, va_list args)
{
	char line[512];
	int len = vsnprintf(line, sizeof(line), fmt, args);

	if (len >= (int)sizeof(line))
		len = (int)sizeof(line) - 1;
	while (len > 0 && line[len - 1] == '\n')
		line[--len] = '\0';
	/* libbpf tells every step at its own debug level, and it fails with an errno anyway. */
	if (len > 0 && level != LIBBPF_DEBUG)
		log_debug("%s", line);
	return 0;
}

/* Is what is pinned what this binary would have made? */
static int check_map(int fd, const struct bpf_map *want, enum map_id id, struct diag *d)
{
	struct bpf_map_info have = { 0 };
	uint32_t len = sizeof(have);

	if (bpf_obj_get_info_by_fd(fd, &have, &len) < 0)
		return -errno;
	if (have.type != bpf_map__type(want) || have.key_size != bpf_map__key_size(want) ||
	    have.value_size != bpf_map__value_size(want) ||
	    have.map_flags != bpf_map__map_flags(want))
		return diag_set(d, EEXIST, "abi_differs", "/state/pinDir",
				"the pinned map '%s' was made by another version of zddlbd; run "
				"`zddlbd unload` (which ends balancing) and start again",
				maps_name(id));
	if (have.max_entries != bpf_map__max_entries(want))
		return diag_set(
			d, EEXIST, "size_differs", map_table[id].pointer,
			"the pinned map '%s' has %u entries, now %u are asked for; " CURE_UNLOAD,
			maps_name(id), have.max_entries, bpf_map__max_entries(want));
	return 0;
}

static int adopt_map(struct maps *m, struct zddlb *skel, enum map_id id, struct diag *d)
{
	struct bpf_map *map = bpf_object__find_map_by_name(skel->obj, maps_name(id));
	int fd = pinfs_get(m->pin_dir, PIN_MAPS, maps_name(id)), err;

	if (fd < 0)
		return diag_set(
			d, EEXIST, "pin_missing", "/state/pinDir",
			"the pinned map '%s' cannot be opened (%s) though others are there; "
			"run `zddlbd unload` and start again",
			maps_name(id), strerror(-fd));
	err = check_map(fd, map, id, d);
	if (!err)
		err = bpf_map__reuse_fd(map, fd);
	close(fd);
	return err;
}

/* 1: adopted, 0: there is nothing, else a negative errno. */
static int adopt(struct maps *m, struct zddlb *skel, struct zd_settings *have, struct diag *d)
{
	int fd = pinfs_get(m->pin_dir, PIN_MAPS, maps_name(MAP_SETTINGS)), err;

	if (fd == -ENOENT)
		return 0;
	if (fd < 0)
		return diag_set(d, -fd, "pin_unreadable", "/state/pinDir",
				"what is pinned under %s cannot be opened: %s", m->pin_dir,
				strerror(-fd));
	err = settings_read(fd, have);
	close(fd);
	if (err == -EPROTO)
		return diag_set(d, EEXIST, "abi_differs", "/state/pinDir",
				"the maps under %s were made by another version of zddlbd; run "
				"`zddlbd unload` (which ends balancing) and start again",
				m->pin_dir);
	if (!err)
		err = settings_compare(have, &m->settings, d);
	for (enum map_id id = 0; id < MAP_COUNT && !err; id++)
		err = adopt_map(m, skel, id, d);
	return err ? err : 1;
}

static int refuse_link(void *arg, const char *name)
{
	if (!pinfs_is_link(name))
		return 0;
	return diag_set(arg, EEXIST, "pin_missing", "/state/pinDir",
			"a program is attached (%s) but its maps are gone; run `zddlbd unload` and "
			"start again",
			name);
}

static int remove_leftovers(const struct maps *m, struct diag *d)
{
	int err = pinfs_each(m->pin_dir, PIN_LINKS, refuse_link, d);

	if (!err)
		err = pinfs_clear(m->pin_dir, PIN_PROGS);
	if (!err)
		err = pinfs_clear(m->pin_dir, PIN_MAPS);
	if (!err)
		err = pinfs_prepare(m->pin_dir, d);
	return err;
}

static void set_settings(const struct maps *m, struct zddlb *skel)
{
	skel->rodata->zd_cfg = m->settings;
}

static int set_sizes(const struct maps *m, struct zddlb *skel)
{
	for (enum map_id id = 0; id < MAP_COUNT; id++) {
		struct bpf_map *map = bpf_object__find_map_by_name(skel->obj, maps_name(id));
		int err = map ? bpf_map__set_max_entries(map, m->entries[id]) : -ENOENT;

		if (err)
			return err;
	}
	return 0;
}

static int load(struct zddlb *skel, struct diag *d)
{
	int err = zddlb__load(skel);

	if (err)
		return diag_set(d, -err, "load_failed", "",
				"the kernel refused the packet program: %s; it needs Linux 6.1 or "
				"later and root's privileges, and `zddlbd run` with debug messages "
				"shows the kernel's own words",
				strerror(-err));
	return 0;
}

static int take_fds(struct maps *m, struct zddlb *skel)
{
	for (enum map_id id = 0; id < MAP_COUNT; id++) {
		struct bpf_map *map = bpf_object__find_map_by_name(skel->obj, maps_name(id));

		m->map_fd[id] = fcntl(bpf_map__fd(map), F_DUPFD_CLOEXEC, 3);
		if (m->map_fd[id] < 0)
			return -errno;
	}
	m->xdp_fd = fcntl(bpf_program__fd(skel->progs.zd_xdp), F_DUPFD_CLOEXEC, 3);
	m->tc_fd = fcntl(bpf_program__fd(skel->progs.zd_tc), F_DUPFD_CLOEXEC, 3);
	return m->xdp_fd < 0 || m->tc_fd < 0 ? -errno : 0;
}

static int write_settings(const struct maps *m)
{
	uint32_t key = 0;

	return bpf_map_update_elem(m->map_fd[MAP_SETTINGS], &key, &m->settings, BPF_ANY) < 0
		       ? -errno
		       : 0;
}

static int pin_all(const struct maps *m)
{
	int err = write_settings(m);

	for (enum map_id id = 0; id < MAP_COUNT && !err; id++) {
		if (id != MAP_SETTINGS)
			err = pinfs_pin(m->map_fd[id], m->pin_dir, PIN_MAPS, maps_name(id));
	}
	if (!err)
		err = pinfs_pin(m->xdp_fd, m->pin_dir, PIN_PROGS, "xdp");
	if (!err)
		err = pinfs_pin(m->tc_fd, m->pin_dir, PIN_PROGS, "tc");
	if (!err)
		err = pinfs_pin(m->map_fd[MAP_SETTINGS], m->pin_dir, PIN_MAPS,
				maps_name(MAP_SETTINGS));
	return err;
}

static bool is_pinned(const struct maps *m, const char *dir, const char *name)
{
	char path[PIN_PATH_LEN];

	return access(pinfs_path(path, m->pin_dir, dir, name), F_OK) == 0;
}

static bool all_pinned(const struct maps *m)
{
	bool all = is_pinned(m, PIN_PROGS, "xdp") && is_pinned(m, PIN_PROGS, "tc");

	for (enum map_id id = 0; id < MAP_COUNT && all; id++)
		all = is_pinned(m, PIN_MAPS, maps_name(id));
	return all;
}

/* Removes what is left first: a pin is never replaced. */
static int pin_again(const struct maps *m)
{
	int err = pinfs_unlink(m->pin_dir, PIN_PROGS, "xdp");

	if (!err)
		err = pinfs_unlink(m->pin_dir, PIN_PROGS, "tc");
	for (enum map_id id = 0; id < MAP_COUNT && !err; id++)
		err = pinfs_unlink(m->pin_dir, PIN_MAPS, maps_name(id));
	return err ? err : pin_all(m);
}

int maps_repin(struct maps *m, struct diag *d)
{
	int lock, err;

	if (all_pinned(m))
		return 0;
	err = pinfs_prepare(m->pin_dir, d);
	if (err)
		return err;
	lock = pinfs_lock(m->pin_dir);
	err = lock < 0 ? lock : all_pinned(m) ? 0 : pin_again(m);
	if (lock >= 0)
		close(lock);
	if (err)
		diag_set(d, -err, "pin_failed", "/state/pinDir",
			 "pins under %s were removed, and cannot be made again: %s; packets flow, "
			 "but a restart of zddlbd would not find the data plane",
			 m->pin_dir, strerror(-err));
	return err ? err : 1;
}

/* The tag is a digest of the instructions as they were before the verifier saw them. */
static bool same_program(int fd, int pinned)
{
	struct bpf_prog_info a = { 0 }, b = { 0 };
	uint32_t alen = sizeof(a), blen = sizeof(b);

	return bpf_obj_get_info_by_fd(fd, &a, &alen) == 0 &&
	       bpf_obj_get_info_by_fd(pinned, &b, &blen) == 0 &&
	       memcmp(a.tag, b.tag, sizeof(a.tag)) == 0;
}

/* An upgrade that was cut short leaves its new programs under these names. */
static bool upgrade_pending(const struct maps *m)
{
	char path[PIN_PATH_LEN];

	return access(pinfs_path(path, m->pin_dir, PIN_PROGS, "new-xdp"), F_OK) == 0 ||
	       access(pinfs_path(path, m->pin_dir, PIN_PROGS, "new-tc"), F_OK) == 0;
}

/*
 * Programs that are pinned already and do the same stay in force; the ones just loaded go. The tag
 * does not cover constants, but all constants that can differ are the settings.
 */
static bool keep_programs(struct maps *m, const struct zd_settings *have, bool replace)
{
	int xdp = pinfs_get(m->pin_dir, PIN_PROGS, "xdp");
	int tc = pinfs_get(m->pin_dir, PIN_PROGS, "tc");
	bool keep =
		!replace && xdp >= 0 && tc >= 0 && memcmp(have, &m->settings, sizeof(*have)) == 0 &&
		same_program(m->xdp_fd, xdp) && same_program(m->tc_fd, tc) && !upgrade_pending(m);
	int drop_xdp = keep ? m->xdp_fd : xdp, drop_tc = keep ? m->tc_fd : tc;

	if (keep) {
		m->xdp_fd = xdp;
		m->tc_fd = tc;
	}
	if (drop_xdp >= 0)
		close(drop_xdp);
	if (drop_tc >= 0)
		close(drop_tc);
	return keep;
}

static int pin_new(const struct maps *m, const char *name, int fd)
{
	int err = pinfs_unlink(m->pin_dir, PIN_PROGS, name);

	return err ? err : pinfs_pin(fd, m->pin_dir, PIN_PROGS, name);
}

/*
 * Every interface goes from the old program to the new one in one step of the kernel's. The new
 * programs' temporary pins say that this is going on: cut short, it is done again from the start.
 */
static int upgrade(const struct maps *m, struct diag *d)
{
	int err = pin_new(m, "new-xdp", m->xdp_fd);

	if (!err)
		err = pin_new(m, "new-tc", m->tc_fd);
	if (!err)
		err = write_settings(m); /* first: a sweeping agent must know of longer timeouts */
	if (!err)
		err = attach_replace(m, m->xdp_fd, m->tc_fd);
	if (!err)
		err = pinfs_rename(m->pin_dir, PIN_PROGS, "new-xdp", "xdp");
	if (!err)
		err = pinfs_rename(m->pin_dir, PIN_PROGS, "new-tc", "tc");
	if (err)
		return diag_set(d, -err, "upgrade_failed", "",
				"the packet program could not be replaced everywhere: %s; each "
				"interface goes on with the old or the new, start again to finish",
				strerror(-err));
	log_info("packet program replaced");
	return 0;
}

static int settle_programs(struct maps *m, const struct zd_settings *have, bool replace,
			   struct diag *d)
{
	int err;

	if (m->adopted)
		return keep_programs(m, have, replace) ? 0 : upgrade(m, d);
	err = pin_all(m);
	if (err)
		return diag_set(d, -err, "pin_failed", "/state/pinDir",
				"maps could not be pinned under %s: %s", m->pin_dir,
				strerror(-err));
	return 0;
}

static int map_array(const struct maps *m, enum map_id id, size_t entry, void **ret)
{
	void *p = mmap(NULL, m->entries[id] * entry, PROT_READ | PROT_WRITE, MAP_SHARED,
		       m->map_fd[id], 0);

	if (p == MAP_FAILED)
		return -errno;
	*ret = p;
	return 0;
}

static int map_memory(struct maps *m)
{
	size_t words = sizeof(struct zd_backend_stats) / sizeof(uint64_t);
	int ncpus = libbpf_num_possible_cpus();
	void *p = NULL;
	int err;

	if (ncpus < 0)
		return ncpus;
	m->ncpus = (uint32_t)ncpus;
	m->percpu = calloc(m->ncpus * words, sizeof(*m->percpu));
	if (!m->percpu)
		return -ENOMEM;
	err = map_array(m, MAP_SERVICES, sizeof(*m->services), &p);
	if (err)
		return err;
	m->services = p;
	err = map_array(m, MAP_BACKENDS, sizeof(*m->backends), &p);
	if (err)
		return err;
	m->backends = p;
	return 0;
}

static struct maps *new_maps(const char *pin_dir)
{
	struct maps *m = calloc(1, sizeof(*m));

	if (!m)
		return NULL;
	snprintf(m->pin_dir, sizeof(m->pin_dir), "%s", pin_dir);
	for (enum map_id id = 0; id < MAP_COUNT; id++)
		m->map_fd[id] = -1;
	m->xdp_fd = m->tc_fd = -1;
	return m;
}

static int open_all(struct maps *m, struct zddlb *skel, bool replace, struct diag *d)
{
	struct zd_settings have = { 0 };
	int err = set_sizes(m, skel);

	if (err)
		return err;
	err = adopt(m, skel, &have, d);
	if (err < 0)
		return err;
	m->adopted = err > 0;
	settings_inherit(&m->settings, &have);
	set_settings(m, skel);
	err = m->adopted ? 0 : remove_leftovers(m, d);
	if (!err)
		err = load(skel, d);
	if (!err)
		err = take_fds(m, skel);
	if (!err)
		err = map_memory(m);
	if (!err)
		err = settle_programs(m, &have, replace, d);
	return err;
}

int maps_open(struct maps **ret, const struct maps_options *o, struct diag *d)
{
	struct zddlb *skel = NULL;
	struct maps *m = NULL;
	int err, lock;

	if (d)
		memset(d, 0, sizeof(*d));
	libbpf_set_print(print_to_log);
	err = settings_check_options(o, d);
	if (!err)
		err = pinfs_prepare(o->pin_dir, d);
	if (err)
		return err;

	lock = pinfs_lock(o->pin_dir);
	m = new_maps(o->pin_dir);
	skel = zddlb__open();
	if (lock < 0 || !m || !skel) {
		err = lock < 0 ? lock : -ENOMEM;
		goto out;
	}
	m->replace = o->replace;
	settings_choose(m, o);
	err = open_all(m, skel, o->replace, d);
	if (err)
		goto out;

	*ret = m;
	m = NULL;
out:
	if (err && d && !d->text[0])
		diag_set(d, -err, "maps_failed", "/state/pinDir", "the maps under %s: %s",
			 o->pin_dir, strerror(-err));
	zddlb__destroy(skel);
	maps_close(m);
	if (lock >= 0)
		close(lock);
	return err;
}

void maps_close(struct maps *m)
{
	if (!m)
		return;
	if (m->services)
		munmap(m->services, m->entries[MAP_SERVICES] * sizeof(*m->services));
	if (m->backends)
		munmap(m->backends, m->entries[MAP_BACKENDS] * sizeof(*m->backends));
	for (enum map_id id = 0; id < MAP_COUNT; id++) {
		if (m->map_fd[id] >= 0)
			close(m->map_fd[id]);
	}
	if (m->xdp_fd >= 0)
		close(m->xdp_fd);
	if (m->tc_fd >= 0)
		close(m->tc_fd);
	free(m->percpu);
	free(m);
}

bool maps_adopted(const struct maps *m)
{
	return m->adopted;
}

void maps_read_seed(const struct maps *m, uint8_t ret[16])
{
	memcpy(ret, m->settings.hash_key, sizeof(m->settings.hash_key));
}

static int remove_maps(const char *pin_dir)
{
	/* The mark goes first: what is left over then is known to be leftovers. */
	int err = pinfs_unlink(pin_dir, PIN_MAPS, maps_name(MAP_SETTINGS));

	if (!err)
		err = pinfs_clear(pin_dir, PIN_PROGS);
	if (!err)
		err = pinfs_clear(pin_dir, PIN_MAPS);
	if (!err)
		err = pinfs_clear(pin_dir, PIN_LINKS);
	if (!err && rmdir(pin_dir) < 0 && errno != ENOENT && errno != ENOTEMPTY && errno != EBUSY)
		err = -errno;
	return err;
}

int maps_unload(const char *pin_dir, struct diag *d)
{
	int fd, err, lock;

	libbpf_set_print(print_to_log);
	lock = pinfs_lock(pin_dir);
	if (lock == -ENOENT)
		return 0;
	fd = pinfs_get(pin_dir, PIN_MAPS, maps_name(MAP_BACKENDS));
	err = lock < 0 ? lock : attach_remove_all(pin_dir, fd);
	if (fd >= 0)
		close(fd);
	if (!err)
		err = remove_maps(pin_dir);
	if (lock >= 0)
		close(lock);
	if (err)
		return diag_set(d, -err, "unload_failed", "/state/pinDir",
				"not everything under %s could be removed: %s; run it as root, in "
				"the network namespace of the agent",
				pin_dir, strerror(-err));
	return 0;
}
