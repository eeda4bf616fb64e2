/* SPDX-License-Identifier: GPL-2.0-only */
/* Every key a config may hold. docs and INTERFACES name them; these tables are what is read. */
#ifndef ZDDLB_IO_CONFIG_KEYS_H
#define ZDDLB_IO_CONFIG_KEYS_H

#include <stdbool.h>

#include "config_schema.h"

struct model;
struct strategy;
struct version;

extern const struct object config_model;    /* struct model */
extern const struct object config_fragment; /* keys of a file in conf.d; holds nothing */
extern const struct object config_version;  /* struct version */
extern const struct object config_strategy; /* struct strategy, but its name */

/* Fill in what depends on whether a version is the only one of its service. */
void config_version_defaults(struct version *v, bool alone);

/* Make sure that the strategy of the documentation is there. 0 or -ENOMEM. */
int config_default_strategy(struct model *m);

#endif
