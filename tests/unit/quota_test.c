/* SPDX-License-Identifier: GPL-2.0-only */
/* ring_quota: every backend and every version within one slot of its exact part. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "../../agent/core/ring.h"
#include "random.h"

#define MAX_SHARES   65535
#define MAX_VERSIONS 64

struct totals {
	uint64_t bp_sum, slots;
	uint64_t weight[MAX_VERSIONS], version_slots[MAX_VERSIONS];
	uint32_t bp[MAX_VERSIONS]; /* 0: takes no part */
};

static bool takes_part(const struct share *s)
{
	return s->weight > 0 && s->version_bp > 0;
}

static void sum_up(struct totals *t, const struct share *s, size_t n)
{
	memset(t, 0, sizeof(*t));
	for (size_t i = 0; i < n; i++) {
		uint32_t v = s[i].version;

		t->slots += s[i].slots;
		t->version_slots[v] += s[i].slots;
		if (!takes_part(&s[i]))
			continue;
		t->weight[v] += s[i].weight;
		if (t->bp[v] == 0)
			t->bp_sum += s[i].version_bp;
		t->bp[v] = s[i].version_bp;
	}
}

/* |have - part / whole| < 1, without a fraction. */
static bool within_one(uint64_t have, unsigned __int128 part, unsigned __int128 whole)
{
	unsigned __int128 scaled = have * whole;

	return scaled > part ? scaled - part < whole : part - scaled < whole;
}

static void assert_quota_is_exact(struct share *s, size_t n, uint32_t nslots)
{
	struct totals t;
	uint32_t handed_out = ring_quota(s, n, nslots);

	sum_up(&t, s, n);
	assert_int_equal(handed_out, t.bp_sum ? nslots : 0);
	assert_int_equal(t.slots, handed_out);

	for (size_t i = 0; i < n; i++) {
		uint32_t v = s[i].version;

		if (!takes_part(&s[i])) {
			assert_int_equal(s[i].slots, 0);
			continue;
		}
		assert_true(within_one(s[i].slots,
				       (unsigned __int128)nslots * s[i].version_bp * s[i].weight,
				       (unsigned __int128)t.bp_sum * t.weight[v]));
	}
	for (uint32_t v = 0; v < MAX_VERSIONS; v++)
		if (t.bp[v])
			assert_true(within_one(t.version_slots[v],
					       (unsigned __int128)nslots * t.bp[v], t.bp_sum));
}

static void random_shares(struct share *s, size_t n, uint64_t *seed)
{
	uint32_t nversions = 1 + random_below(seed, MAX_VERSIONS), bp[MAX_VERSIONS];
	uint32_t max_weight = random_below(seed, 4) ? 1 + random_below(seed, 100) : 10000;

	for (uint32_t v = 0; v < nversions; v++)
		bp[v] = random_below(seed, 3) ? random_below(seed, 10001) : random_below(seed, 3);
	for (size_t i = 0; i < n; i++) {
		uint32_t v = random_below(seed, nversions);

		s[i] = (struct share){
			.backend = (uint16_t)(i + 1),
			.version = v,
			.version_bp = bp[v],
			.weight = random_below(seed, 8) ? random_below(seed, max_weight + 1) : 0,
		};
	}
}

static void quotas_are_exact_to_within_one_slot_for_any_weights(void **state)
{
	static struct share s[2000];
	uint64_t seed = 1;

	(void)state;
	for (int round = 0; round < 5000; round++) {
		size_t n = 1 + random_below(&seed, round % 50 ? 40 : 2000);

		random_shares(s, n, &seed);
		assert_quota_is_exact(s, n, 1u << (10 + random_below(&seed, 11)));
	}
}

static void quotas_are_exact_for_65535_backends(void **state)
{
	struct share *s = calloc(MAX_SHARES, sizeof(*s));
	uint64_t seed = 2;

	(void)state;
	assert_non_null(s);
	for (uint32_t nslots = 1024; nslots <= 1048576; nslots *= 32) {
		random_shares(s, MAX_SHARES, &seed);
		assert_quota_is_exact(s, MAX_SHARES, nslots);
	}
	for (size_t i = 0; i < MAX_SHARES; i++)
		s[i] = (struct share){ .version_bp = 10000, .weight = 10000 };
	assert_quota_is_exact(s, MAX_SHARES, 1048576);
	free(s);
}

static void a_lone_backend_takes_the_whole_ring(void **state)
{
	static const uint32_t weights[] = { 1, 7, 10000 };

	(void)state;
	for (size_t i = 0; i < 3; i++) {
		struct share s = { .backend = 9, .version_bp = weights[i], .weight = weights[i] };

		assert_int_equal(ring_quota(&s, 1, 16384), 16384);
		assert_int_equal(s.slots, 16384);
	}
}

static void without_any_weight_nothing_is_handed_out(void **state)
{
	struct share s[] = {
		{ .backend = 1, .version = 1, .version_bp = 10000, .weight = 0, .slots = 7 },
		{ .backend = 2, .version = 2, .version_bp = 0, .weight = 10, .slots = 7 },
	};

	(void)state;
	assert_int_equal(ring_quota(s, 2, 1024), 0);
	assert_int_equal(s[0].slots + s[1].slots, 0);
	assert_int_equal(ring_quota(s, 0, 1024), 0);
}

static void a_hundredth_of_a_percent_gets_a_slot_of_16384(void **state)
{
	struct share s[] = {
		{ .backend = 1, .version = 1, .version_bp = 9999, .weight = 1 },
		{ .backend = 2, .version = 2, .version_bp = 1, .weight = 1 },
	};

	(void)state;
	ring_quota(s, 2, 16384);
	assert_in_range(s[1].slots, 1, 2);
}

static void a_version_without_backends_gives_its_part_to_the_others(void **state)
{
	struct share s[] = {
		{ .backend = 1, .version = 1, .version_bp = 2000, .weight = 1 },
		{ .backend = 2, .version = 2, .version_bp = 6000, .weight = 1 },
		{ .backend = 3, .version = 3, .version_bp = 2000, .weight = 0 },
	};

	(void)state;
	ring_quota(s, 3, 1024);
	assert_int_equal(s[0].slots, 256);
	assert_int_equal(s[1].slots, 768);
	assert_int_equal(s[2].slots, 0);
}

static void ties_go_to_the_first_in_position(void **state)
{
	struct share backends[] = {
		{ .backend = 1, .version = 5, .version_bp = 10000, .weight = 1 },
		{ .backend = 2, .version = 5, .version_bp = 10000, .weight = 1 },
		{ .backend = 3, .version = 5, .version_bp = 10000, .weight = 1 },
	};
	struct share versions[] = {
		{ .backend = 1, .version = 9, .version_bp = 3000, .weight = 1 },
		{ .backend = 2, .version = 5, .version_bp = 3000, .weight = 1 },
		{ .backend = 3, .version = 7, .version_bp = 3000, .weight = 1 },
	};

	(void)state;
	ring_quota(backends, 3, 1024);
	ring_quota(versions, 3, 1024);
	assert_int_equal(backends[0].slots, 342);
	assert_int_equal(backends[1].slots, 341);
	assert_int_equal(backends[2].slots, 341);
	assert_int_equal(versions[0].slots, 342);
	assert_int_equal(versions[1].slots, 341);
	assert_int_equal(versions[2].slots, 341);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(quotas_are_exact_to_within_one_slot_for_any_weights),
		cmocka_unit_test(quotas_are_exact_for_65535_backends),
		cmocka_unit_test(a_lone_backend_takes_the_whole_ring),
		cmocka_unit_test(without_any_weight_nothing_is_handed_out),
		cmocka_unit_test(a_hundredth_of_a_percent_gets_a_slot_of_16384),
		cmocka_unit_test(a_version_without_backends_gives_its_part_to_the_others),
		cmocka_unit_test(ties_go_to_the_first_in_position),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
