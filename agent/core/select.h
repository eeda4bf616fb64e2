/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * Which backends may take new connections: one pure function of all states of all backends of a
 * service. Administrative state is never ignored; health is, when too few are left (panic).
 */
#ifndef ZDDLB_CORE_SELECT_H
#define ZDDLB_CORE_SELECT_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "health.h"

enum admin_state { ADMIN_ACTIVE, ADMIN_DRAINING, ADMIN_MAINTENANCE };
const char *admin_state_name(enum admin_state state);
bool admin_state_parse(enum admin_state *ret, const char *text);

struct candidate {
	enum admin_state admin;
	enum health_state health;
	bool proven;         /* health.proven */
	bool absent;         /* health.absent */
	uint32_t version_bp; /* weight of its version */
	uint32_t weight;     /* configured, inside its version */
	/* out: */
	uint32_t effective; /* weight to build the ring from; 0: takes no new connections */
	bool alive;         /* its established connections stay with it */
	const char *why;    /* static text: the rule that decided `effective` */
};

/*
 * Fill in effective, alive and why. Returns true if the service is in panic: among active backends
 * with weight in versions with weight that were healthy once, fewer than panic_pct percent still
 * are. Then those are selected as if healthy, and all are alive; who never proved itself is never
 * selected. Without panic only an absent backend is not alive, whatever its admin state.
 */
bool select_candidates(struct candidate *c, size_t n, uint32_t panic_pct);

#endif
