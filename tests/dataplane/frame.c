/* SPDX-License-Identifier: GPL-2.0-only */
#include "frame.h"

#include <arpa/inet.h>
#include <netinet/in.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define ETH_LEN 14

void frame_addr(const char *text, uint8_t ret[16])
{
	struct in_addr v4;

	memset(ret, 0, 16);
	if (inet_pton(AF_INET, text, &v4) == 1) {
		ret[10] = ret[11] = 0xff;
		memcpy(ret + 12, &v4, sizeof(v4));
	} else if (inet_pton(AF_INET6, text, ret) != 1) {
		fprintf(stderr, "not an address: %s\n", text);
		abort();
	}
}

bool frame_is_v6(const struct frame *f)
{
	return strchr(f->dst, ':') != NULL;
}

static size_t ext_len(const struct frame *f)
{
	return (size_t)f->next * 8 * (f->ext_units + 1u);
}

size_t frame_l4_offset(const struct frame *f)
{
	return frame_is_v6(f) ? ETH_LEN + 40 + ext_len(f) : ETH_LEN + 20u + f->ip_options;
}

static void put16(uint8_t *at, size_t v)
{
	at[0] = (uint8_t)(v >> 8);
	at[1] = (uint8_t)v;
}

static void put32(uint8_t *at, uint32_t v)
{
	put16(at, v >> 16);
	put16(at + 2, v & 0xffff);
}

static uint32_t sum(const uint8_t *at, size_t len)
{
	uint32_t s = 0;

	for (size_t i = 0; i < len; i++)
		s += (uint32_t)at[i] << (i % 2 ? 0 : 8);
	return s;
}

static uint16_t fold(uint32_t s)
{
	while (s >> 16)
		s = (s & 0xffff) + (s >> 16);
	return (uint16_t)~s;
}

static size_t l4_len(const struct frame *f)
{
	return (f->proto == IPPROTO_UDP ? 8u : 20u + f->tcp_options) + f->payload;
}

static void put_payload(const struct frame *f, uint8_t *at)
{
	for (size_t i = 0; i < f->payload; i++)
		at[i] = (uint8_t)(i * 7 + 3 + f->salt);
}

static void put_udp(const struct frame *f, uint8_t *at, uint32_t pseudo)
{
	uint16_t check;

	put16(at, f->sport);
	put16(at + 2, f->dport);
	put16(at + 4, l4_len(f));
	put_payload(f, at + 8);
	check = fold(pseudo + sum(at, l4_len(f)));
	put16(at + 6, f->no_check ? 0 : check ? check : 0xffff);
}

static void put_tcp(const struct frame *f, uint8_t *at, uint32_t pseudo)
{
	put16(at, f->sport);
	put16(at + 2, f->dport);
	put32(at + 4, f->seq);
	put32(at + 8, f->ack);
	at[12] = (uint8_t)((20 + f->tcp_options) / 4 << 4);
	at[13] = f->flags;
	put16(at + 14, 0xffff);
	memset(at + 20, 1, f->tcp_options); /* NOP */
	put_payload(f, at + 20 + f->tcp_options);
	put16(at + 16, fold(pseudo + sum(at, l4_len(f))));
}

static void put_l4(const struct frame *f, uint8_t *at, uint32_t pseudo)
{
	pseudo += (f->proto ? f->proto : IPPROTO_TCP) + (uint32_t)l4_len(f);
	if (f->proto == IPPROTO_UDP)
		put_udp(f, at, pseudo);
	else
		put_tcp(f, at, pseudo);
}

static uint8_t *put_v4(const struct frame *f, uint8_t *ip)
{
	size_t header = 20u + f->ip_options;
	uint8_t addr[16];

	ip[0] = (uint8_t)(0x40 | header / 4);
	ip[1] = f->tos;
	put16(ip + 2, header + l4_len(f));
	put16(ip + 4, 0x1234);
	put16(ip + 6, f->frag_off);
	ip[8] = f->ttl ? f->ttl : 64;
	ip[9] = f->proto ? f->proto : IPPROTO_TCP;
	frame_addr(f->src, addr);
	memcpy(ip + 12, addr + 12, 4);
	frame_addr(f->dst, addr);
	memcpy(ip + 16, addr + 12, 4);
	memset(ip + 20, 1, f->ip_options); /* NOP */
	put16(ip + 10, fold(sum(ip, header)));
	put_l4(f, ip + header, sum(ip + 12, 8));
	return ip + header + l4_len(f);
}

static uint8_t *put_v6(const struct frame *f, uint8_t *ip)
{
	uint8_t proto = f->proto ? f->proto : IPPROTO_TCP;
	uint8_t *next = ip + 6, *at = ip + 40;

	ip[0] = (uint8_t)(0x60 | f->tos >> 4);
	ip[1] = (uint8_t)(f->tos << 4);
	put16(ip + 4, ext_len(f) + l4_len(f));
	ip[7] = f->ttl ? f->ttl : 64;
	frame_addr(f->src, ip + 8);
	frame_addr(f->dst, ip + 24);
	for (int i = 0; i < f->next; i++) {
		*next = f->ext[i];
		next = at;
		memset(at, 0, 8u * (f->ext_units + 1u));
		/* A fragment header's second byte is reserved, the others' is a length. */
		at[1] = f->ext[i] == IPPROTO_FRAGMENT ? 0 : f->ext_units;
		at += 8u * (f->ext_units + 1u);
	}
	*next = proto;
	put_l4(f, at, sum(ip + 8, 32));
	return at + l4_len(f);
}

size_t frame_build(const struct frame *f, uint8_t *buf)
{
	const uint8_t mac[12] = { 2, 0, 0, 0, 0, f->dmac, 2, 0, 0, 0, 0, f->smac };
	uint8_t *end;

	memset(buf, 0, FRAME_MAX);
	memcpy(buf, mac, sizeof(mac));
	put16(buf + 12, f->ethertype ? f->ethertype : frame_is_v6(f) ? 0x86dd : 0x0800);
	end = frame_is_v6(f) ? put_v6(f, buf + ETH_LEN) : put_v4(f, buf + ETH_LEN);
	return (size_t)(end - buf) + f->padding;
}

static size_t put_outer_v4(const struct frame_outer *o, uint8_t tos, uint8_t proto, size_t len,
			   uint8_t *ip)
{
	uint8_t addr[16];

	ip[0] = 0x45;
	ip[1] = tos;
	put16(ip + 2, 20 + len);
	put16(ip + 4, 0);
	put16(ip + 6, 0x4000); /* don't fragment */
	ip[8] = 64;
	ip[9] = proto;
	frame_addr(o->src, addr);
	memcpy(ip + 12, addr + 12, 4);
	frame_addr(o->dst, addr);
	memcpy(ip + 16, addr + 12, 4);
	put16(ip + 10, 0);
	put16(ip + 10, fold(sum(ip, 20)));
	return 20;
}

static size_t put_outer_v6(const struct frame_outer *o, uint8_t tos, uint8_t proto, size_t len,
			   uint8_t *ip)
{
	put32(ip, 6u << 28 | (uint32_t)tos << 20 | o->label);
	put16(ip + 4, len);
	ip[6] = proto;
	ip[7] = 64;
	frame_addr(o->src, ip + 8);
	frame_addr(o->dst, ip + 24);
	return 40;
}

static void put_gue(const struct frame_outer *o, uint8_t inner, size_t len, uint8_t *udp)
{
	put16(udp, o->sport);
	put16(udp + 2, o->dport);
	put16(udp + 4, len);
	put16(udp + 6, 0);
	udp[8] = 0;
	udp[9] = inner;
	put16(udp + 10, 0);
}

size_t frame_encap(const struct frame *inner, const struct frame_outer *o, uint8_t *buf)
{
	uint8_t packet[FRAME_MAX], proto = frame_is_v6(inner) ? 41 : 4;
	bool v6 = strchr(o->dst, ':') != NULL;
	size_t len = frame_build(inner, packet) - ETH_LEN;
	size_t shim = o->gue ? 12 : 0, carried = len - inner->padding + shim, at = ETH_LEN;

	memcpy(buf, packet, ETH_LEN - 2);
	put16(buf + 12, v6 ? 0x86dd : 0x0800);
	at += (v6 ? put_outer_v6 : put_outer_v4)(o, inner->tos, o->gue ? IPPROTO_UDP : proto,
						 carried, buf + at);
	if (o->gue)
		put_gue(o, proto, carried, buf + at);
	memcpy(buf + at + shim, packet + ETH_LEN, len);
	return at + shim + len;
}
