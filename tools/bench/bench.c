/* SPDX-License-Identifier: GPL-2.0-only */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "bench.h"

#define MIN_FOR_P99 100

uint64_t bench_now_ns(void)
{
	struct timespec t;

	clock_gettime(CLOCK_MONOTONIC, &t);
	return (uint64_t)t.tv_sec * 1000000000ULL + (uint64_t)t.tv_nsec;
}

static int by_value(const void *a, const void *b)
{
	double x = *(const double *)a, y = *(const double *)b;

	return (x > y) - (x < y);
}

void bench_report(const char *name, const char *unit, double *values, size_t n)
{
	qsort(values, n, sizeof(*values), by_value);
	printf("{\"name\":\"%s\",\"unit\":\"%s\",\"median\":%.3f,\"min\":%.3f,\"max\":%.3f,", name,
	       unit, values[n / 2], values[0], values[n - 1]);
	if (n >= MIN_FOR_P99)
		printf("\"p99\":%.3f,", values[n * 99 / 100]);
	printf("\"n\":%zu}\n", n);
	fflush(stdout);
}

static const struct {
	const char *name;
	const char *args;
	int (*run)(int argc, char **argv);
} benches[] = {
	{ "packets", "", bench_packets },
	{ "ring", "", bench_ring },
	{ "rollback", "SOCKET PROGRAM-PIN SERVICE TO-VERSION VIP PORT BAD-ADDRESS COUNT NAME",
	  bench_rollback },
};

int main(int argc, char **argv)
{
	for (size_t i = 0; argc > 1 && i < sizeof(benches) / sizeof(benches[0]); i++) {
		if (!strcmp(argv[1], benches[i].name))
			return benches[i].run(argc - 1, argv + 1);
	}
	fprintf(stderr, "Usage: bench NAME [ARGS]\n");
	for (size_t i = 0; i < sizeof(benches) / sizeof(benches[0]); i++)
		fprintf(stderr, "  %s %s\n", benches[i].name, benches[i].args);
	return 2;
}
