/* SPDX-License-Identifier: GPL-2.0-only */
#include "world.h"

#include <arpa/inet.h>
#include <errno.h>
#include <net/if.h>
#include <sched.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <time.h>
#include <linux/pkt_cls.h>

#include <bpf/bpf.h>
#include <bpf/libbpf.h>
#include "zddlb.skel.h"

static const struct zd_settings settings = {
	.abi = ZD_ABI_VERSION,
	.birth_mask = WORLD_BIRTHS - 1,
	.idle_ticks = WORLD_IDLE_TICKS,
	.syn_ticks = WORLD_SYN_TICKS,
	.fin_ticks = WORLD_FIN_TICKS,
	.udp_ticks = WORLD_UDP_TICKS,
	.longest_ticks = WORLD_IDLE_TICKS,
	.hash_key = { 0x0123456789abcdef, 0xfedcba9876543210 },
};

int world_shell(const char *fmt, ...)
{
	char cmd[512];
	va_list ap;

	va_start(ap, fmt);
	vsnprintf(cmd, sizeof(cmd), fmt, ap);
	va_end(ap);
	if (system(cmd) == 0)
		return 0;
	fprintf(stderr, "failed: %s\n", cmd);
	return -1;
}

static int sides_up(void)
{
	static const char *const script =
		"set -e; ip link set lo up\n"
		"ip link add front type veth peer name client\n"
		"ip link add back type veth peer name server\n"
		"ip link set front address 02:00:00:00:00:f1\n"
		"ip link set back address 02:00:00:00:00:b1\n"
		"for i in front client back server; do\n"
		" echo 0 > /proc/sys/net/ipv6/conf/$i/accept_dad; ip link set $i up; done\n"
		"ip addr add 10.9.1.1/24 dev front; ip addr add 10.9.2.1/24 dev back\n"
		"ip addr add 2001:db8:1::1/64 dev front nodad\n"
		"ip addr add 2001:db8:2::1/64 dev back nodad\n"
		"for i in 2 3 4 5 6 7 8 9; do\n"
		" ip neigh add 10.9.1.$i lladdr 02:00:00:00:00:1$i dev front nud permanent\n"
		" ip neigh add 2001:db8:1::$i lladdr 02:00:00:00:00:1$i dev front nud permanent\n"
		"done\n"
		"for i in 1 2 3 4 5 6 7 8 9; do\n"
		" ip neigh add 10.9.2.10$i lladdr 02:00:00:00:00:2$i dev back nud permanent\n"
		" ip neigh add 2001:db8:2::10$i lladdr 02:00:00:00:00:2$i dev back nud permanent\n"
		"done\n"
		/* VIPs are routed here, not held: the kernel answers for addresses of its own. */
		"ip route add " WORLD_VIP4 "/32 dev back; ip route add " WORLD_VIP6
		"/128 dev back\n"
		"ip route add blackhole 10.9.3.0/24; ip route add unreachable 10.9.4.0/24\n"
		"ip route add prohibit 10.9.5.0/24; ip route add 10.9.6.0/24 dev front mtu lock 600\n"
		"ip neigh add 10.9.6.2 lladdr 02:00:00:00:00:12 dev front nud permanent\n"
		"echo 1 > /proc/sys/net/ipv4/ip_forward\n"
		"echo 1 > /proc/sys/net/ipv6/conf/all/forwarding\n";

	return system(script) ? -1 : 0;
}

int world_enter(void)
{
	if (unshare(CLONE_NEWNET)) {
		perror("unshare (root is needed)");
		return -1;
	}
	return sides_up();
}

static void *map_memory(struct bpf_map *m, size_t value)
{
	size_t len = (bpf_map__max_entries(m) * value + 4095) / 4096 * 4096;
	void *p = mmap(NULL, len, PROT_READ | PROT_WRITE, MAP_SHARED, bpf_map__fd(m), 0);

	return p == MAP_FAILED ? NULL : p;
}

static int put_vip(struct world *w, const char *addr, uint16_t port, uint8_t proto,
		   uint32_t service)
{
	struct zd_endpoint e = { .port = htons(port), .proto = proto };
	struct zd_vip v = { .service = service };

	frame_addr(addr, e.addr);
	return bpf_map_update_elem(bpf_map__fd(w->skel->maps.vips), &e, &v, BPF_ANY);
}

static int put_vips(struct world *w)
{
	int err = put_vip(w, WORLD_VIP4, WORLD_PORT, IPPROTO_TCP, 0) ?:
		  put_vip(w, WORLD_VIP6, WORLD_PORT, IPPROTO_TCP, 0) ?:
		  put_vip(w, WORLD_VIP4, WORLD_PORT, IPPROTO_UDP, 0) ?:
		  put_vip(w, WORLD_VIP6, WORLD_PORT, IPPROTO_UDP, 0) ?:
		  put_vip(w, WORLD_VIP4, 0, 0, ZD_VIP_ADDRESS_ONLY);

	return err ?: put_vip(w, WORLD_VIP6, 0, 0, ZD_VIP_ADDRESS_ONLY);
}

static int set_sizes(struct zddlb *s, uint32_t slots, uint32_t buckets)
{
	s->rodata->zd_cfg = settings;
	s->rodata->zd_cfg.pin_bucket_mask = buckets - 1;
	return bpf_map__set_max_entries(s->maps.vips, 16) ?:
	       bpf_map__set_max_entries(s->maps.reverse, 128) ?:
	       bpf_map__set_max_entries(s->maps.services, 4) ?:
	       bpf_map__set_max_entries(s->maps.ring, slots) ?:
	       bpf_map__set_max_entries(s->maps.backends, WORLD_BACKENDS) ?:
	       bpf_map__set_max_entries(s->maps.backend_stats, WORLD_BACKENDS) ?:
	       bpf_map__set_max_entries(s->maps.pins, buckets) ?:
	       bpf_map__set_max_entries(s->maps.births, WORLD_BIRTHS);
}

int world_open(struct world *w, uint32_t slots, uint32_t buckets)
{
	memset(w, 0, sizeof(*w));
	w->skel = zddlb__open();
	if (!w->skel || set_sizes(w->skel, slots, buckets) || zddlb__load(w->skel)) {
		fprintf(stderr, "cannot load the programs\n");
		return -1;
	}
	w->ring = map_memory(w->skel->maps.ring, sizeof(*w->ring));
	w->services = map_memory(w->skel->maps.services, sizeof(*w->services));
	w->backends = map_memory(w->skel->maps.backends, sizeof(*w->backends));
	w->pins = map_memory(w->skel->maps.pins, sizeof(*w->pins));
	w->births = map_memory(w->skel->maps.births, sizeof(*w->births));
	w->fragments = map_memory(w->skel->maps.fragments, WORLD_FRAGMENTS_SIZE / 1024);
	w->front = if_nametoindex("front");
	w->back = if_nametoindex("back");
	if (!w->ring || !w->services || !w->backends || !w->pins || !w->births || !w->fragments ||
	    put_vips(w))
		return -1;
	w->services[0].ring_mask = slots - 1;
	world_reset(w);
	return 0;
}

void world_close(struct world *w)
{
	zddlb__destroy(w->skel);
	w->skel = NULL;
}

const char *world_backend_addr(unsigned id, bool v6)
{
	static char text[2][WORLD_BACKENDS][32];

	snprintf(text[v6][id], sizeof(text[v6][id]), v6 ? "2001:db8:2::10%u" : "10.9.2.10%u", id);
	return text[v6][id];
}

void world_backend(struct world *w, unsigned id, bool v6, unsigned flags)
{
	struct zd_backend b = {
		.port = htons(WORLD_BE_PORT),
		.flags = (uint16_t)(flags | (v6 ? ZD_BACKEND_V6 : 0)),
		.ifindex = w->back,
		.dmac = { 2, 0, 0, 0, 0, (uint8_t)(WORLD_MAC_SERVER + id) },
		.smac = { 2, 0, 0, 0, 0, WORLD_MAC_BACK },
	};
	struct zd_endpoint e = { .port = b.port, .proto = IPPROTO_TCP };
	struct zd_reverse r = { .port = htons(WORLD_PORT), .backend = (uint16_t)id };

	frame_addr(world_backend_addr(id, v6), b.addr);
	memcpy(e.addr, b.addr, sizeof(e.addr));
	frame_addr(v6 ? WORLD_VIP6 : WORLD_VIP4, r.vip);
	if (!(flags & ZD_BACKEND_RESOLVED)) {
		b.ifindex = 0;
		memset(b.dmac, 0, sizeof(b.dmac));
		memset(b.smac, 0, sizeof(b.smac));
	}
	w->backends[id] = b;
	bpf_map_update_elem(bpf_map__fd(w->skel->maps.reverse), &e, &r, BPF_ANY);
	e.proto = IPPROTO_UDP;
	bpf_map_update_elem(bpf_map__fd(w->skel->maps.reverse), &e, &r, BPF_ANY);
}

void world_mode(struct world *w, unsigned id, enum zd_mode mode)
{
	struct zd_backend b = w->backends[id];

	b.mode = (uint8_t)mode;
	frame_addr(b.flags & ZD_BACKEND_V6 ? WORLD_SOURCE6 : WORLD_SOURCE4, b.source);
	w->backends[id] = b;
}

void world_slots(struct world *w, uint64_t word)
{
	for (uint32_t i = 0; i <= w->services[0].ring_mask; i++)
		w->ring[i] = word;
}

static uint64_t read_event(struct world *w, uint32_t e)
{
	int cpus = libbpf_num_possible_cpus();
	uint64_t v[256] = { 0 }, n = 0;

	bpf_map_lookup_elem(bpf_map__fd(w->skel->maps.events), &e, v);
	for (int i = 0; i < cpus; i++)
		n += v[i];
	return n;
}

static uint64_t read_stat(struct world *w, uint32_t id, enum zd_backend_counter c)
{
	static struct zd_backend_stats v[256];
	int cpus = libbpf_num_possible_cpus();
	uint64_t n = 0;

	bpf_map_lookup_elem(bpf_map__fd(w->skel->maps.backend_stats), &id, v);
	for (int i = 0; i < cpus; i++)
		n += v[i].count[c];
	return n;
}

uint64_t world_event(struct world *w, enum zd_event e)
{
	return read_event(w, e) - w->event_base[e];
}

uint64_t world_stat(struct world *w, unsigned backend, enum zd_backend_counter c)
{
	return read_stat(w, backend, c) - w->stats_base[backend][c];
}

void world_tokens(struct world *w)
{
	uint64_t full[256] = { 0 };
	uint32_t key = 0;

	bpf_map_update_elem(bpf_map__fd(w->skel->maps.icmp_bucket), &key, full, BPF_ANY);
}

void world_reset(struct world *w)
{
	size_t buckets = bpf_map__max_entries(w->skel->maps.pins);

	w->services[0].flags = 0;
	w->services[0].lease_ns = 0;
	memset((void *)(uintptr_t)w->pins, 0, buckets * sizeof(struct zd_pin_bucket));
	memset((void *)(uintptr_t)w->births, 0, WORLD_BIRTHS * sizeof(struct zd_birth));
	memset((void *)(uintptr_t)w->fragments, 0, WORLD_FRAGMENTS_SIZE);
	world_tokens(w);
	for (unsigned i = 1; i <= 9; i++)
		world_backend(w, i, false, ZD_BACKEND_ALIVE | ZD_BACKEND_RESOLVED);
	world_slots(w, ZD_SLOT(1, 1, 0));
	for (uint32_t e = 0; e < ZD_EV_MAX; e++)
		w->event_base[e] = read_event(w, e);
	for (uint32_t b = 0; b < WORLD_BACKENDS; b++)
		for (int c = 0; c < ZD_BC_MAX; c++)
			w->stats_base[b][c] = read_stat(w, b, (enum zd_backend_counter)c);
}

static enum world_verdict tc_verdict(uint32_t action)
{
	switch (action) {
	case (uint32_t)TC_ACT_UNSPEC:
		return WORLD_PASS;
	case TC_ACT_SHOT:
		return WORLD_DROP;
	case TC_ACT_REDIRECT:
		return WORLD_REDIRECT;
	}
	return WORLD_ERROR;
}

static enum world_verdict xdp_verdict(uint32_t action)
{
	switch (action) {
	case XDP_PASS:
		return WORLD_PASS;
	case XDP_DROP:
		return WORLD_DROP;
	case XDP_TX:
		return WORLD_TX;
	case XDP_REDIRECT:
		return WORLD_REDIRECT;
	}
	return WORLD_ERROR;
}

static enum world_verdict run_tc(struct world *w, unsigned ifindex, const struct world_frame *in,
				 struct world_frame *out, unsigned segment)
{
	struct __sk_buff skb = { .ifindex = ifindex, .ingress_ifindex = ifindex };
	struct bpf_test_run_opts o = {
		.sz = sizeof(o),
		.data_in = in->bytes,
		.data_size_in = (uint32_t)in->len,
		.data_out = out->bytes,
		.data_size_out = FRAME_MAX,
		.ctx_in = &skb,
		.ctx_size_in = sizeof(skb),
		.repeat = 1,
	};

	if (segment) {
		skb.gso_size = segment;
		skb.gso_segs = ((uint32_t)in->len + segment - 1) / segment;
	}
	if (bpf_prog_test_run_opts(bpf_program__fd(w->skel->progs.zd_tc), &o))
		return WORLD_ERROR;
	out->len = o.data_size_out;
	return tc_verdict(o.retval);
}

static enum world_verdict run_xdp(struct world *w, unsigned ifindex, const struct world_frame *in,
				  struct world_frame *out)
{
	struct xdp_md md = { .data_end = (uint32_t)in->len, .ingress_ifindex = ifindex };
	struct bpf_test_run_opts o = {
		.sz = sizeof(o),
		.data_in = in->bytes,
		.data_size_in = (uint32_t)in->len,
		.data_out = out->bytes,
		.data_size_out = FRAME_MAX,
		.ctx_in = &md,
		.ctx_size_in = sizeof(md),
		.repeat = 1,
	};

	if (bpf_prog_test_run_opts(bpf_program__fd(w->skel->progs.zd_xdp), &o))
		return WORLD_ERROR;
	out->len = o.data_size_out;
	return xdp_verdict(o.retval);
}

enum world_verdict world_run(struct world *w, enum world_hook hook, unsigned ifindex,
			     const struct world_frame *in, struct world_frame *out)
{
	return hook == WORLD_XDP ? run_xdp(w, ifindex, in, out) : run_tc(w, ifindex, in, out, 0);
}

enum world_verdict world_send_merged(struct world *w, unsigned ifindex, const struct frame *f,
				     unsigned segment)
{
	struct world_frame in, out = { .len = 0 };

	in.len = frame_build(f, in.bytes);
	return run_tc(w, ifindex, &in, &out, segment);
}

enum world_verdict world_send(struct world *w, enum world_hook hook, unsigned ifindex,
			      const struct frame *f, struct world_frame *out)
{
	struct world_frame in;

	in.len = frame_build(f, in.bytes);
	return world_run(w, hook, ifindex, &in, out);
}

volatile uint64_t *world_pin_word(struct world *w)
{
	size_t buckets = bpf_map__max_entries(w->skel->maps.pins);
	volatile uint64_t *found = NULL;

	for (size_t i = 0; i < buckets; i++) {
		for (int k = 0; k < ZD_PINS_PER_BUCKET; k++) {
			if (!w->pins[i].word[k])
				continue;
			if (found)
				return NULL;
			found = (volatile uint64_t *)&w->pins[i].word[k];
		}
	}
	return found;
}

uint64_t world_pin(struct world *w)
{
	volatile uint64_t *word = world_pin_word(w);

	return word ? *word : 0;
}

volatile struct zd_birth *world_birth(struct world *w)
{
	volatile struct zd_birth *found = NULL;

	for (int i = 0; i < WORLD_BIRTHS; i++) {
		if (w->births[i].flow)
			found = &w->births[i];
	}
	return found;
}

uint64_t world_now_ns(void)
{
	struct timespec t;

	clock_gettime(CLOCK_MONOTONIC_COARSE, &t);
	return (uint64_t)t.tv_sec * 1000000000 + (uint64_t)t.tv_nsec;
}

uint32_t world_tick(void)
{
	return ZD_PIN_TICK(world_now_ns());
}

struct frame world_request(bool v6, uint8_t flags)
{
	return (struct frame){
		.src = v6 ? WORLD_CLIENT6 : WORLD_CLIENT4,
		.dst = v6 ? WORLD_VIP6 : WORLD_VIP4,
		.sport = 40000,
		.dport = WORLD_PORT,
		.flags = flags,
		.seq = 1000,
		.smac = WORLD_MAC_CLIENT,
		.dmac = WORLD_MAC_FRONT,
	};
}

struct frame world_request_out(bool v6, uint8_t flags, unsigned backend)
{
	struct frame f = world_request(v6, flags);

	f.dst = world_backend_addr(backend, v6);
	f.dport = WORLD_BE_PORT;
	f.ttl = 63;
	f.smac = WORLD_MAC_BACK;
	f.dmac = (uint8_t)(WORLD_MAC_SERVER + backend);
	return f;
}

struct frame world_reply(bool v6, uint8_t flags, unsigned backend)
{
	return (struct frame){
		.src = world_backend_addr(backend, v6),
		.dst = v6 ? WORLD_CLIENT6 : WORLD_CLIENT4,
		.sport = WORLD_BE_PORT,
		.dport = 40000,
		.flags = flags,
		.seq = 5000,
		.smac = (uint8_t)(WORLD_MAC_SERVER + backend),
		.dmac = WORLD_MAC_BACK,
	};
}

struct frame world_reply_out(bool v6, uint8_t flags)
{
	struct frame f = world_reply(v6, flags, 1);

	f.src = v6 ? WORLD_VIP6 : WORLD_VIP4;
	f.sport = WORLD_PORT;
	f.ttl = 63;
	f.smac = WORLD_MAC_FRONT;
	f.dmac = WORLD_MAC_CLIENT;
	return f;
}
