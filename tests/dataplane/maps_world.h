/* SPDX-License-Identifier: GPL-2.0-only */
/* Namespaces, a bpffs and maps for tests of agent/io/maps; they end with the process. */
#ifndef ZDDLB_TESTS_MAPS_WORLD_H
#define ZDDLB_TESTS_MAPS_WORLD_H

#include "../../agent/io/maps.h"

#define MAPS_WORLD_BPFFS   "/mnt"
#define MAPS_WORLD_PIN_DIR MAPS_WORLD_BPFFS "/zddlb"

extern const struct maps_options maps_world_options;

int maps_world_enter(void); /* 0, or -1 with a message */
struct maps *maps_world_open(void);
/* A descriptor of what is pinned, by its name under the pin directory; or negative. */
int maps_world_pinned(const char *name);
int maps_world_shell(const char *fmt, ...) __attribute__((format(printf, 1, 2)));

#endif
