/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
#ifndef ZDDLB_VERSION_H
#define ZDDLB_VERSION_H

#define ZDDLB_VERSION "0.1.0"

#endif
