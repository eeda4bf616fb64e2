/* SPDX-License-Identifier: GPL-2.0-only */
/* What the files of the view share: small setters, and the counters read afresh. */
#ifndef ZDDLB_VIEW_INTERNAL_H
#define ZDDLB_VIEW_INTERNAL_H

#include "view.h"

void view_add_text(struct json_object *o, const char *key, const char *text); /* "": null */
void view_add_word(struct json_object *o, const char *key, const char *text);
void view_add_count(struct json_object *o, const char *key, uint64_t n);
void view_add_bool(struct json_object *o, const char *key, bool value);

/* The kernel's counters of every backend of a service, in the order of s->backends. */
struct view_counts {
	uint64_t (*of)[ZD_BC_MAX];
	uint64_t since_change; /* new connections of the whole service */
};
int view_counts_read(struct view_counts *ret, const struct service_rt *s); /* -1: no memory */
void view_counts_fini(struct view_counts *n);
/* New connections of `b` since the service's shares last changed. */
uint64_t view_since_change(const struct backend_rt *b, const uint64_t n[ZD_BC_MAX]);

#endif
