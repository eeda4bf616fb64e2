/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/*
 * Every map of the data plane. Sizes of 1 are placeholders: the agent sets them before load. What
 * the agent changes while packets flow is memory-mapped, so a change is a store.
 */
#ifndef ZDDLB_BPF_MAPS_H
#define ZDDLB_BPF_MAPS_H

#include <linux/bpf.h>
#include <bpf/bpf_helpers.h>
#include <zddlb/abi.h>

/* The program's own copy of the settings: constants for the verifier. */
const volatile struct zd_settings zd_cfg;

/* The same for whoever takes over pinned maps; no program reads it. */
struct {
	__uint(type, BPF_MAP_TYPE_ARRAY);
	__uint(max_entries, 1);
	__type(key, __u32);
	__type(value, struct zd_settings);
} settings SEC(".maps");

struct {
	__uint(type, BPF_MAP_TYPE_HASH);
	__uint(max_entries, 1);
	__type(key, struct zd_endpoint);
	__type(value, struct zd_vip);
} vips SEC(".maps");

struct {
	__uint(type, BPF_MAP_TYPE_ARRAY);
	__uint(map_flags, BPF_F_MMAPABLE);
	__uint(max_entries, 1);
	__type(key, __u32);
	__type(value, struct zd_service);
} services SEC(".maps");

struct {
	__uint(type, BPF_MAP_TYPE_ARRAY);
	__uint(map_flags, BPF_F_MMAPABLE);
	__uint(max_entries, 1);
	__type(key, __u32);
	__type(value, __u64);
} ring SEC(".maps");

struct {
	__uint(type, BPF_MAP_TYPE_ARRAY);
	__uint(map_flags, BPF_F_MMAPABLE);
	__uint(max_entries, 1);
	__type(key, __u32);
	__type(value, struct zd_backend);
} backends SEC(".maps");

/* Endpoints of backends: who sends from there is answering a request of ours. */
struct {
	__uint(type, BPF_MAP_TYPE_HASH);
	__uint(max_entries, 1);
	__type(key, struct zd_endpoint);
	__type(value, struct zd_reverse);
} reverse SEC(".maps");

struct {
	__uint(type, BPF_MAP_TYPE_ARRAY);
	__uint(map_flags, BPF_F_MMAPABLE);
	__uint(max_entries, 1);
	__type(key, __u32);
	__type(value, struct zd_pin_bucket);
} pins SEC(".maps");

struct {
	__uint(type, BPF_MAP_TYPE_ARRAY);
	__uint(map_flags, BPF_F_MMAPABLE);
	__uint(max_entries, 1);
	__type(key, __u32);
	__type(value, struct zd_birth);
} births SEC(".maps");

struct {
	__uint(type, BPF_MAP_TYPE_PERCPU_ARRAY);
	__uint(max_entries, 1);
	__type(key, __u32);
	__type(value, struct zd_backend_stats);
} backend_stats SEC(".maps");

struct {
	__uint(type, BPF_MAP_TYPE_PERCPU_ARRAY);
	__uint(max_entries, ZD_EV_MAX);
	__type(key, __u32);
	__type(value, __u64);
} events SEC(".maps");

/*
 * What follows lives for seconds at most, and no longer than its program: it is not pinned, and no
 * part of the ABI.
 */

/*
 * To whom fragments belong (frag.h). A word: bits 0-15 backend, 16-31 when its first fragment came,
 * 32-63 signature.
 */
#define ZD_FRAG_BUCKETS 1024
#define ZD_FRAG_WORDS   8
struct zd_frag_bucket {
	__u64 word[ZD_FRAG_WORDS];
};
struct {
	__uint(type, BPF_MAP_TYPE_ARRAY);
	__uint(map_flags, BPF_F_MMAPABLE);
	__uint(max_entries, ZD_FRAG_BUCKETS);
	__type(key, __u32);
	__type(value, struct zd_frag_bucket);
} fragments SEC(".maps");

/* What the ICMP error in hand quotes (quote.h): too much for the stack. */
struct zd_quote {
	struct zd_endpoint from, to; /* of the quoted packet */
	struct zd_endpoint now;      /* what takes the place of one of them */
	__u32 icmp, l3, l4;          /* offsets of the message and of the quoted headers */
	__u32 end;                   /* of the message */
	__u8 v6;
	__u8 reply; /* the error is on its way to a client */
	__u16 pad;
};
struct {
	__uint(type, BPF_MAP_TYPE_PERCPU_ARRAY);
	__uint(max_entries, 1);
	__type(key, __u32);
	__type(value, struct zd_quote);
} quotes SEC(".maps");

/* When the bucket of answers (icmp.h) will be full again. */
struct {
	__uint(type, BPF_MAP_TYPE_PERCPU_ARRAY);
	__uint(max_entries, 1);
	__type(key, __u32);
	__type(value, __u64);
} icmp_bucket SEC(".maps");

#endif
