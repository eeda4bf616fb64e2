/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * Each arm of the mixture is one alternative failure rate p1 > p0. Under the null hypothesis the
 * expected factor of a look is at most 1, whatever the number of looks, so the mean of the arms is
 * a non-negative supermartingale and exceeds 1 / alpha with probability at most alpha (Ville 1939;
 * Ramdas et al., "Game-theoretic statistics and safe anytime-valid inference", 2023).
 */
#include <math.h>
#include <string.h>

#include "verdict.h"

/* Alternatives as parts of the way from p0 to 1: from a slight regression to a dead version. */
static const double arm_part[VERDICT_ARMS] = { 0.01, 0.02, 0.05, 0.10, 0.25, 0.50, 0.75, 0.98 };

/* Keeps the logarithms finite, and makes "nothing is ever allowed to fail" a strict but sane test. */
#define RATE_MIN 0.001
#define RATE_MAX 0.999

/* One failure alone may be any accident of the network; it can only ask for more connections. */
#define MIN_FAILURES 2

const char *verdict_result_name(enum verdict_result result)
{
	switch (result) {
	case VERDICT_INCONCLUSIVE:
		return "inconclusive";
	case VERDICT_PASS:
		return "pass";
	case VERDICT_FAIL:
		return "fail";
	}
	return "unknown";
}

void verdict_init(struct verdict *v, double alpha, double max_increase, uint32_t min_samples)
{
	memset(v, 0, sizeof(*v));
	v->alpha = alpha;
	v->max_increase = max_increase;
	v->min_samples = min_samples;
}

/*
 * The rate that stable connections fail with. One imagined failure and one imagined success keep
 * it cautious while little is known: without a single stable connection it is one half.
 */
static double stable_rate(const struct verdict *v)
{
	return ((double)v->stable_failed + 1) / ((double)v->stable_n + 2);
}

static double clamp(double x, double low, double high)
{
	return x < low ? low : x > high ? high : x;
}

void verdict_look(struct verdict *v, const struct verdict_look *l)
{
	uint64_t failed = l->canary_failed < l->canary_n ? l->canary_failed : l->canary_n;
	double ok = (double)(l->canary_n - failed);
	double p0;

	v->canary_n += l->canary_n;
	v->canary_failed += failed;
	v->stable_n += l->stable_n;
	v->stable_failed += l->stable_failed < l->stable_n ? l->stable_failed : l->stable_n;
	if (!l->canary_n)
		return;

	p0 = clamp(stable_rate(v) + v->max_increase, RATE_MIN, RATE_MAX);
	for (int i = 0; i < VERDICT_ARMS; i++) {
		double p1 = p0 + (1 - p0) * arm_part[i];

		v->log_arm[i] += (double)failed * log(p1 / p0) + ok * log((1 - p1) / (1 - p0));
	}
}

double verdict_evidence(const struct verdict *v)
{
	double sum = 0;

	for (int i = 0; i < VERDICT_ARMS; i++)
		sum += exp(clamp(v->log_arm[i], -600, 600));
	return sum / VERDICT_ARMS;
}

enum verdict_result verdict_result(const struct verdict *v)
{
	double evidence = verdict_evidence(v);

	if (evidence >= 1 / v->alpha && v->canary_failed >= MIN_FAILURES)
		return VERDICT_FAIL;
	/* Above 1 the connections seen speak against the canary, if not loudly yet: wait for more. */
	if (v->canary_n < v->min_samples || v->stable_n < v->min_samples || evidence > 1)
		return VERDICT_INCONCLUSIVE;
	return VERDICT_PASS;
}
