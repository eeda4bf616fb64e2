/* SPDX-License-Identifier: GPL-2.0-only */
/* Building, changing and storing rings: what a decision costs the agent. */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>

#include <bpf/bpf.h>
#include <zddlb/abi.h>

#include "../../agent/core/ring.h"
#include "bench.h"

#define ROUNDS   51
#define BACKENDS 100

static bool alive[ZD_MAX_BACKEND_IDS];

static void fill(struct share *s, uint32_t canary_bp)
{
	for (uint16_t i = 0; i < BACKENDS; i++) {
		bool canary = i >= BACKENDS / 2;

		s[i] = (struct share){
			.backend = (uint16_t)(i + 1),
			.version = canary,
			.version_bp = canary ? canary_bp : 10000 - canary_bp,
			.weight = 1,
			.leased = canary,
		};
	}
}

static double change(struct ring *r, uint32_t canary_bp)
{
	struct ring_world w = { .alive = alive, .now_ms = 1 };
	struct share s[BACKENDS];
	uint64_t start = bench_now_ns();

	fill(s, canary_bp);
	ring_quota(s, BACKENDS, r->nslots);
	ring_rebalance(r, s, BACKENDS, &w);
	return (double)(bench_now_ns() - start) / 1000;
}

static int bench_changes(uint32_t nslots, const char *label)
{
	double build[ROUNDS], step[ROUNDS];
	char name[64];

	for (int i = 0; i < ROUNDS; i++) {
		struct ring r;

		if (ring_init(&r, nslots))
			return -ENOMEM;
		build[i] = change(&r, 0);
		step[i] = change(&r, 1000);
		ring_fini(&r);
	}
	snprintf(name, sizeof(name), "ring.build.%s", label);
	bench_report(name, "us", build, ROUNDS);
	snprintf(name, sizeof(name), "ring.step10pct.%s", label);
	bench_report(name, "us", step, ROUNDS);
	return 0;
}

/* Stores of single words into the memory that packets read, as the agent makes them. */
static int bench_stores(uint32_t nslots, const char *label)
{
	LIBBPF_OPTS(bpf_map_create_opts, o, .map_flags = BPF_F_MMAPABLE);
	int fd = bpf_map_create(BPF_MAP_TYPE_ARRAY, "bench_ring", 4, 8, nslots, &o);
	size_t len = nslots * sizeof(uint64_t);
	double all[ROUNDS];
	uint64_t *slots;
	char name[64];

	if (fd < 0)
		return -errno;
	slots = mmap(NULL, len, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
	if (slots == MAP_FAILED)
		return -errno;
	for (int i = 0; i < ROUNDS; i++) {
		uint64_t start = bench_now_ns();

		for (uint32_t k = 0; k < nslots; k++)
			__atomic_store_n(&slots[k], ZD_SLOT(i, i, 0), __ATOMIC_RELEASE);
		all[i] = (double)(bench_now_ns() - start) / 1000;
	}
	snprintf(name, sizeof(name), "ring.store.all.%s", label);
	bench_report(name, "us", all, ROUNDS);
	munmap(slots, len);
	return 0;
}

int bench_ring(int argc, char **argv)
{
	int err;

	(void)argc;
	(void)argv;
	memset(alive, 1, sizeof(alive));
	err = bench_changes(16384, "16k");
	if (!err)
		err = bench_changes(1 << 20, "1M");
	if (!err)
		err = bench_stores(16384, "16k");
	if (!err)
		err = bench_stores(1 << 20, "1M");
	if (err)
		fprintf(stderr, "bench ring: %s\n", strerror(-err));
	return err ? 1 : 0;
}
