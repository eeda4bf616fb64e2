/* SPDX-License-Identifier: GPL-2.0-only */
/* From the separate states of a backend to what the ring is built from. */
#include <string.h>

#include "select.h"

const char *admin_state_name(enum admin_state state)
{
	switch (state) {
	case ADMIN_ACTIVE:
		return "active";
	case ADMIN_DRAINING:
		return "draining";
	case ADMIN_MAINTENANCE:
		return "maintenance";
	}
	return "?";
}

bool admin_state_parse(enum admin_state *ret, const char *text)
{
	for (enum admin_state s = ADMIN_ACTIVE; s <= ADMIN_MAINTENANCE; s++) {
		if (strcmp(text, admin_state_name(s)) == 0) {
			*ret = s;
			return true;
		}
	}
	return false;
}

/* Would take new connections if it were healthy. */
static bool is_eligible(const struct candidate *c)
{
	return c->admin == ADMIN_ACTIVE && c->weight > 0 && c->version_bp > 0;
}

static bool is_panic(const struct candidate *c, size_t n, uint32_t panic_pct)
{
	uint64_t known = 0, healthy = 0;

	for (size_t i = 0; i < n; i++) {
		if (!is_eligible(&c[i]) || !c[i].proven)
			continue;
		known++;
		healthy += c[i].health == HEALTH_HEALTHY;
	}
	return healthy * 100 < known * panic_pct;
}

/* The rule that decides. *ret_selected says which way. */
static const char *decide(const struct candidate *c, bool panic, bool *ret_selected)
{
	*ret_selected = false;
	if (c->admin == ADMIN_DRAINING)
		return "draining";
	if (c->admin == ADMIN_MAINTENANCE)
		return "in maintenance";
	if (c->weight == 0)
		return "weight 0";
	if (c->version_bp == 0)
		return "its version has weight 0";
	if (c->health == HEALTH_UNKNOWN)
		return "not checked yet";

	*ret_selected = c->health == HEALTH_HEALTHY || (panic && c->proven);
	if (c->health == HEALTH_HEALTHY)
		return "healthy";
	if (*ret_selected)
		return "panic: too few are healthy, so health is ignored";
	return c->absent ? "unhealthy: nobody answers there" : "unhealthy";
}

bool select_candidates(struct candidate *c, size_t n, uint32_t panic_pct)
{
	bool panic = is_panic(c, n, panic_pct), selected;

	for (size_t i = 0; i < n; i++) {
		c[i].why = decide(&c[i], panic, &selected);
		c[i].effective = selected ? c[i].weight : 0;
		/* In panic the checks are not believed, so nobody loses connections by them. */
		c[i].alive =
			(panic && c[i].proven) || c[i].health != HEALTH_UNHEALTHY || !c[i].absent;
	}
	return panic;
}
