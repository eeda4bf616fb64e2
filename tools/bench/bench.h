/* SPDX-License-Identifier: GPL-2.0-only */
/* Benchmarks: each prints its figures as JSON lines {name, unit, median, min, max, n}. */
#ifndef ZDDLB_BENCH_H
#define ZDDLB_BENCH_H

#include <stddef.h>
#include <stdint.h>

uint64_t bench_now_ns(void);
/* Sorts `values`; p99 is added where there are enough of them for it to mean something. */
void bench_report(const char *name, const char *unit, double *values, size_t n);

int bench_packets(int argc, char **argv);
int bench_ring(int argc, char **argv);
int bench_rollback(int argc, char **argv);

#endif
