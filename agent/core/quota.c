/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * Shares of a ring in whole slots: controlled rounding on a tree of two levels, versions and their
 * backends, in integers. First versions are rounded to the ring, then backends to their version; so
 * both levels stay within one slot of their exact part.
 */
#include <assert.h>
#include <string.h>

#include <zddlb/abi.h>

#include "ring.h"

/*
 * Exact parts have one denominator per version: nslots * bp * weight / (bp_sum * weight_sum).
 * Within the limits of struct share all products fit 64 bits.
 */
struct rounding {
	const struct share *shares;
	uint64_t nslots;
	uint64_t bp_sum;     /* of all versions that take part */
	uint64_t weight_sum; /* of the version at hand */
};

static bool takes_part(const struct share *s)
{
	return s->weight > 0 && s->version_bp > 0;
}

static uint64_t version_rest(const struct rounding *q, uint16_t i)
{
	return q->nslots * q->shares[i].version_bp % q->bp_sum;
}

static uint64_t backend_part(const struct rounding *q, uint16_t i)
{
	return q->nslots * q->shares[i].version_bp * q->shares[i].weight;
}

static uint64_t backend_rest(const struct rounding *q, uint16_t i)
{
	return backend_part(q, i) % (q->bp_sum * q->weight_sum);
}

static bool by_version(const struct rounding *q, uint16_t a, uint16_t b)
{
	return q->shares[a].version <= q->shares[b].version;
}

static bool by_version_rest(const struct rounding *q, uint16_t a, uint16_t b)
{
	uint64_t rest_a = version_rest(q, a), rest_b = version_rest(q, b);

	return rest_a != rest_b ? rest_a > rest_b : a < b;
}

static bool by_backend_rest(const struct rounding *q, uint16_t a, uint16_t b)
{
	return backend_rest(q, a) >= backend_rest(q, b);
}

/* A stable merge sort, so that ties keep their position. `before`: a may stay in front of b. */
static void sort(const struct rounding *q, uint16_t *v, uint16_t *scratch, size_t n,
		 bool (*before)(const struct rounding *q, uint16_t a, uint16_t b))
{
	size_t half = n / 2, i = 0, j = half, k = 0;

	if (n < 2)
		return;
	sort(q, v, scratch, half, before);
	sort(q, v + half, scratch, n - half, before);

	while (i < half && j < n)
		scratch[k++] = before(q, v[i], v[j]) ? v[i++] : v[j++];
	while (i < half)
		scratch[k++] = v[i++];
	memcpy(v, scratch, k * sizeof(*v));
}

/* Length of the run of one version at the head of `order`. */
static size_t version_len(const struct share *shares, const uint16_t *order, size_t n)
{
	size_t len = 1;

	while (len < n && shares[order[len]].version == shares[order[0]].version)
		len++;
	return len;
}

/* Slots of each version, left in its first backend's `slots`. */
static void round_versions(struct rounding *q, struct share *shares, const uint16_t *order,
			   size_t n, uint16_t *scratch)
{
	uint16_t first[ZD_MAX_BACKEND_IDS];
	size_t nversions = 0;
	uint64_t left = q->nslots;

	for (size_t i = 0; i < n; i += version_len(shares, order + i, n - i)) {
		first[nversions++] = order[i];
		q->bp_sum += shares[order[i]].version_bp;
	}
	for (size_t i = 0; i < nversions; i++) {
		struct share *s = &shares[first[i]];

		s->slots = (uint32_t)(q->nslots * s->version_bp / q->bp_sum);
		left -= s->slots;
	}

	assert(left < nversions); /* a sum of fractions */
	sort(q, first, scratch, nversions, by_version_rest);
	for (size_t i = 0; i < left; i++)
		shares[first[i]].slots++;
}

/* Slots of the backends of one version. `members` is in order of position. */
static void round_backends(struct rounding *q, struct share *shares, uint16_t *members, size_t n,
			   uint16_t *scratch)
{
	uint64_t left = shares[members[0]].slots;

	q->weight_sum = 0;
	for (size_t i = 0; i < n; i++)
		q->weight_sum += shares[members[i]].weight;
	for (size_t i = 0; i < n; i++) {
		struct share *s = &shares[members[i]];

		s->slots = (uint32_t)(backend_part(q, members[i]) / (q->bp_sum * q->weight_sum));
		left -= s->slots;
	}

	assert(left <= n); /* all of them if the version was rounded up */
	sort(q, members, scratch, n, by_backend_rest);
	for (size_t i = 0; i < left; i++)
		shares[members[i]].slots++;
}

uint32_t ring_quota(struct share *shares, size_t n, uint32_t nslots)
{
	uint16_t order[ZD_MAX_BACKEND_IDS], scratch[ZD_MAX_BACKEND_IDS];
	struct rounding q = { .shares = shares, .nslots = nslots };
	size_t taking = 0, len;

	assert(n < ZD_MAX_BACKEND_IDS && nslots <= ZD_MAX_RING_SLOTS);

	for (size_t i = 0; i < n; i++) {
		assert(shares[i].weight <= 10000 && shares[i].version_bp <= 10000);
		shares[i].slots = 0;
		if (takes_part(&shares[i]))
			order[taking++] = (uint16_t)i;
	}
	if (taking == 0)
		return 0;

	sort(&q, order, scratch, taking, by_version);
	round_versions(&q, shares, order, taking, scratch);
	for (size_t i = 0; i < taking; i += len) {
		len = version_len(shares, order + i, taking - i);
		round_backends(&q, shares, order + i, len, scratch);
	}
	return nslots;
}
