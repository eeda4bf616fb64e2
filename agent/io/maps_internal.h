/* SPDX-License-Identifier: GPL-2.0-only */
/* What the files behind maps.h share: the handles, and the names of pins in the file system. */
#ifndef ZDDLB_IO_MAPS_INTERNAL_H
#define ZDDLB_IO_MAPS_INTERNAL_H

#include "maps.h"

enum map_id {
	MAP_SETTINGS,
	MAP_VIPS,
	MAP_SERVICES,
	MAP_RING,
	MAP_BACKENDS,
	MAP_PINS,
	MAP_BIRTHS,
	MAP_REVERSE,
	MAP_BACKEND_STATS,
	MAP_EVENTS,
	MAP_COUNT
};

struct maps {
	char pin_dir[MODEL_PATH_LEN];
	bool adopted;
	bool replace;
	struct zd_settings settings;
	uint32_t entries[MAP_COUNT];
	int map_fd[MAP_COUNT];
	int xdp_fd, tc_fd; /* the programs in force */
	uint32_t ncpus;
	uint64_t *percpu;            /* room for one value of the per-CPU maps */
	struct zd_service *services; /* mapped whole */
	struct zd_backend *backends;
};

const char *maps_name(enum map_id id);

/* pinfs.c: the directories PIN_DIR/maps, /progs and /links. */
#define PIN_PATH_LEN (MODEL_PATH_LEN + 64)
#define PIN_MAPS     "maps"
#define PIN_PROGS    "progs"
#define PIN_LINKS    "links"

/* Writes PIN_DIR/dir/name. Returns buf. */
const char *pinfs_path(char buf[PIN_PATH_LEN], const char *pin_dir, const char *dir,
		       const char *name);
/* The name of an interface's XDP pin: a bpffs knows no dots in names and interfaces no colons, so
 * dots become colons. Returns buf. */
const char *pinfs_link_name(char buf[MODEL_IFNAME_LEN + 8], const char *ifname);
/* Not everything in /links is a link: clsact-IFINDEX says that we made that qdisc. */
bool pinfs_is_link(const char *name);
/* One changer at a time, whatever process: an exclusive lock that the descriptor holds. */
int pinfs_lock(const char *pin_dir);
int pinfs_prepare(const char *pin_dir, struct diag *d);
/* Open what is pinned there; -ENOENT. */
int pinfs_get(const char *pin_dir, const char *dir, const char *name);
int pinfs_pin(int fd, const char *pin_dir, const char *dir, const char *name);
int pinfs_rename(const char *pin_dir, const char *dir, const char *from, const char *to);
int pinfs_unlink(const char *pin_dir, const char *dir, const char *name); /* absent: 0 */
/* Every name in PIN_DIR/dir, which fn may remove; stops at the first error. No directory: 0. */
int pinfs_each(const char *pin_dir, const char *dir, int (*fn)(void *arg, const char *name),
	       void *arg);
/* Remove every entry of PIN_DIR/dir and the directory. */
int pinfs_clear(const char *pin_dir, const char *dir);

/* maps_settings.c */
#define CURE_UNLOAD                                                                                \
	"put the former value back, or run `zddlbd unload` (which ends balancing and forgets "     \
	"the connections' pins) and start again"
int settings_check_options(const struct maps_options *o, struct diag *d);
/* Fills in m->entries and m->settings. */
void settings_choose(struct maps *m, const struct maps_options *o);
/* -EPROTO: of another ABI. */
int settings_read(int fd, struct zd_settings *ret);
void settings_inherit(struct zd_settings *to, const struct zd_settings *from);
/* -EEXIST where maps made for one cannot serve the other. */
int settings_compare(const struct zd_settings *have, const struct zd_settings *want,
		     struct diag *d);

/* attach.c */
/* Have every link and TC filter that uses these maps run the given programs. */
int attach_replace(const struct maps *m, int xdp_fd, int tc_fd);
/* Detach everything; `map_fd` < 0: links only, no TC filter can be told to be ours. */
int attach_remove_all(const char *pin_dir, int map_fd);

#endif
