/* SPDX-License-Identifier: GPL-2.0-only */
/* The kinds of values a config holds: how each is read, checked and written. */
#ifndef ZDDLB_IO_CONFIG_VALUES_H
#define ZDDLB_IO_CONFIG_VALUES_H

#include "config_schema.h"

struct strategy;

/* min and max bound the number; size says which integer type it goes to. */
extern const struct kind kind_uint;
extern const struct kind kind_power_of_two;
extern const struct kind kind_duration; /* "5s" or milliseconds; min and max in milliseconds */
extern const struct kind kind_fraction; /* double; min and max in millionths */
extern const struct kind kind_weight;   /* percent -> basis points; min in basis points */
extern const struct kind kind_bool;
extern const struct kind kind_word;
extern const struct kind kind_name;
extern const struct kind kind_ifname;
extern const struct kind kind_abs_path;
extern const struct kind kind_http_path;
extern const struct kind kind_http_host;
extern const struct kind kind_api_version;

/* These fill more than one member: `at` is the struct named, unless said otherwise. */
extern const struct kind kind_address;      /* struct endpoint, without the port */
extern const struct kind kind_listen;       /* struct admin_config */
extern const struct kind kind_hash_seed;    /* has_hash_seed of a struct dataplane_config */
extern const struct kind kind_status_range; /* struct health_check */
extern const struct kind kind_url;          /* struct version: its one backend */
extern const struct kind kind_steps;        /* struct strategy */
extern const struct kind kind_step_pause;   /* the reader: of steps that name no pause */
extern const struct kind kind_error_pct;    /* double: percent, kept as a fraction */
extern const struct kind kind_off;          /* false only: a feature to come that is off */

#endif
