/* SPDX-License-Identifier: GPL-2.0-only */
/* Namespaces, a bpffs and maps for tests of agent/io/maps; they end with the process. */
#ifndef ZDDLB_TESTS_MAPS_WORLD_H
#define ZDDLB_TESTS_MAPS_WORLD_H

#include <linux/bpf.h>

#include "../../agent/io/maps.h"

#define MAPS_WORLD_BPFFS   "/mnt"
#define MAPS_WORLD_PIN_DIR MAPS_WORLD_BPFFS "/zddlb"

extern const struct maps_options maps_world_options;

int maps_world_enter(void); /* 0, or -1 with a message */
struct maps *maps_world_open(void);
/* A descriptor of what is pinned, by its name under the pin directory; or negative. */
int maps_world_pinned(const char *name);
/* Kernel ids of what is pinned; 0: nothing. */
uint32_t maps_world_map_id(const char *name);
uint32_t maps_world_prog_id(const char *name);
struct bpf_link_info maps_world_link(const char *name);
/* Program ids on an interface: XDP by mode flags, TC at our place. 0: none. */
uint32_t maps_world_xdp(const char *ifname, int flags);
uint32_t maps_world_tc(const char *ifname);

int maps_world_attach(struct maps *m, const char *ifname, enum xdp_mode wanted, enum xdp_mode *ret);
void maps_world_assert_attached(struct maps *m, const char *ifname, enum xdp_mode wanted,
				enum xdp_mode becomes);
void maps_world_assert_bare(const char *ifname);

/* Before a test: a veth pair v0, v1. After it: whatever it did, nothing is to be found. */
int maps_world_interfaces(void **state);
int maps_world_all_gone(void **state);
int maps_world_shell(const char *fmt, ...) __attribute__((format(printf, 1, 2)));

#endif
