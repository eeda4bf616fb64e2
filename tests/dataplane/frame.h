/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * Frames as data: a description in, bytes out, every checksum computed in full. Tests describe the
 * frame they send and the frame they expect, and compare bytes.
 */
#ifndef ZDDLB_TESTS_FRAME_H
#define ZDDLB_TESTS_FRAME_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define FRAME_MAX 2048

#define FRAME_FIN 0x01
#define FRAME_SYN 0x02
#define FRAME_RST 0x04
#define FRAME_PSH 0x08
#define FRAME_ACK 0x10

struct frame {
	const char *src, *dst; /* the address family follows from them */
	uint16_t sport, dport;
	uint8_t flags;
	uint32_t seq, ack;
	uint8_t ttl;         /* 0: 64 */
	uint8_t proto;       /* 0: TCP; UDP gets its own header, others TCP's */
	uint8_t tos;         /* or traffic class */
	uint8_t salt;        /* another payload */
	bool no_check;       /* UDP */
	uint8_t smac, dmac;  /* last byte of 02:00:00:00:00:xx */
	uint8_t ip_options;  /* bytes, a multiple of 4; IPv4 */
	uint8_t tcp_options; /* bytes, a multiple of 4 */
	uint8_t ext[8];      /* IPv6 extension headers, 0xff ends: 0, 43, 44, 60 */
	uint8_t next;        /* how many of ext are there */
	uint8_t ext_units;   /* length of each in 8 bytes beyond the first 8 */
	uint16_t frag_off;   /* IPv4, host order, with flags */
	uint16_t payload;    /* bytes */
	uint16_t padding;    /* bytes behind the IP packet */
	uint16_t ethertype;  /* 0: by family */
};

/* The length; buf holds FRAME_MAX. */
size_t frame_build(const struct frame *f, uint8_t *buf);

/* A packet inside another one. What varies with the flow is the caller's to give. */
struct frame_outer {
	const char *src, *dst; /* the outer family follows from them */
	bool gue;
	uint16_t sport, dport; /* gue */
	uint32_t label;        /* IPv6 */
};

/* As frame_build, for `inner` in a tunnel with its own MAC addresses outside. */
size_t frame_encap(const struct frame *inner, const struct frame_outer *o, uint8_t *buf);

/* An address, v4-mapped. Aborts on what is none. */
void frame_addr(const char *text, uint8_t ret[16]);
bool frame_is_v6(const struct frame *f);

/* Where the fields are that tests spoil. */
size_t frame_l4_offset(const struct frame *f);

#endif
