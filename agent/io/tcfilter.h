/* SPDX-License-Identifier: GPL-2.0-only */
/* One question that libbpf does not ask: does anybody use an interface's clsact? */
#ifndef ZDDLB_IO_TCFILTER_H
#define ZDDLB_IO_TCFILTER_H

/* Filters on clsact's ingress and egress, of any owner; or a negative errno. */
int tcfilter_count(unsigned ifindex);

#endif
