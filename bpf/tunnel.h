/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/* What stands between the outer header and the inner packet of a gue tunnel. */
#ifndef ZDDLB_BPF_TUNNEL_H
#define ZDDLB_BPF_TUNNEL_H

#include <linux/types.h>
#include <linux/udp.h>

/* Variant 0 without options: 4 bytes behind UDP. */
struct zd_gue {
	struct udphdr udp;
	__u8 version_hlen;
	__u8 proto;
	__be16 flags;
};

#endif
