/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * Is the canary worse than the stable version? A sequential test on failed connections that stays
 * valid however often it is looked at (an e-process; Ville's inequality bounds the false-alarm
 * probability of a whole rollout by alpha).
 *
 * Null hypothesis: the canary fails at most with rate p0 = (stable's rate) + max_increase. Each
 * look multiplies the evidence by the likelihood ratio of the look's connections under a mixture
 * of worse rates against p0.
 */
#ifndef ZDDLB_CORE_VERDICT_H
#define ZDDLB_CORE_VERDICT_H

#include <stdbool.h>
#include <stdint.h>

enum verdict_result { VERDICT_INCONCLUSIVE, VERDICT_PASS, VERDICT_FAIL };
const char *verdict_result_name(enum verdict_result result);

#define VERDICT_ARMS 8 /* alternatives in the mixture */

struct verdict {
	double alpha;
	double max_increase;
	uint32_t min_samples;
	double log_arm[VERDICT_ARMS]; /* log likelihood ratio of each alternative */
	uint64_t canary_n, canary_failed;
	uint64_t stable_n, stable_failed;
};

/* What was seen since the last look. Failures count in n as well. */
struct verdict_look {
	uint64_t canary_n, canary_failed;
	uint64_t stable_n, stable_failed;
};

void verdict_init(struct verdict *v, double alpha, double max_increase, uint32_t min_samples);
void verdict_look(struct verdict *v, const struct verdict_look *l);
enum verdict_result verdict_result(const struct verdict *v);
/* Evidence against the canary: FAIL at >= 1 / alpha. */
double verdict_evidence(const struct verdict *v);

#endif
