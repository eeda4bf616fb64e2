/* SPDX-License-Identifier: GPL-2.0-only */
/* Config file(s) and request bodies -> model, with a place and a cure in every complaint. */
#ifndef ZDDLB_IO_CONFIG_H
#define ZDDLB_IO_CONFIG_H

#include <stddef.h>

struct diag;
struct json_object;
struct model;
struct strategy;
struct version;

/*
 * Read `path` (JSON, comments allowed) and the files of `conf.d/` beside it (*.json in name order;
 * their services, strategies and interfaces are added, or replace those of the same name), check it
 * whole (model_validate included) and return the model. 0, or a negative errno with `d` filled in:
 * for a syntax error d->text says file, line and column; else d->pointer is the JSON pointer.
 * Every byte of the file is untrusted: size (16 MiB) and depth (32) are bounded, UTF-8 is checked,
 * unknown and duplicate keys are errors (unknown: with the nearest known key).
 */
int config_load(struct model **ret, const char *path, struct diag *d);
int config_parse(struct model **ret, const char *text, size_t len, const char *name,
		 struct diag *d);

/* One version as in a service's "versions", also with "url" in place of "backends". */
int config_parse_version(struct version *ret, struct json_object *j, const char *pointer,
			 struct diag *d);
/*
 * A strategy as in "strategies"."NAME", also in the REST form: steps as numbers (percent) with
 * stepInterval (ms), errorThreshold (percent).
 */
int config_parse_strategy(struct strategy *ret, const char *name, struct json_object *j,
			  const char *pointer, struct diag *d);

/* A percentage with at most two decimals -> basis points. -EINVAL with `d` if it is not one. */
int config_parse_weight(unsigned *ret_bp, struct json_object *j, const char *pointer,
			struct diag *d);

/* The effective configuration, defaults included, in the form config_load reads. New reference. */
struct json_object *config_to_json(const struct model *m);

/* Checked parse of a body: one JSON value, UTF-8, no duplicate keys, depth <= 32, nothing behind. */
int config_json(struct json_object **ret, const char *text, size_t len, const char *name,
		struct diag *d);

#endif
