/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * Verbs of the domain over the pinned maps. Arrays are mapped memory, and every word that packets
 * read is stored atomically; hashes and per-CPU counters go through bpf(2).
 */
#include "maps_internal.h"

#include <arpa/inet.h>
#include <bpf/bpf.h>
#include <errno.h>
#include <stddef.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

static struct zd_endpoint endpoint_key(const struct endpoint *e, uint8_t proto)
{
	struct zd_endpoint key = { .port = htons(e->port), .proto = proto };

	memcpy(key.addr, e->addr, sizeof(key.addr));
	return key;
}

static struct endpoint key_endpoint(const struct zd_endpoint *key)
{
	struct endpoint e = { .port = ntohs(key->port) };

	memcpy(e.addr, key->addr, sizeof(e.addr));
	return e;
}

static int set_entry(int fd, const struct zd_endpoint *key, const void *value)
{
	return bpf_map_update_elem(fd, key, value, BPF_ANY) < 0 ? -errno : 0;
}

/* Removing what is not there is fine. */
static int del_entry(int fd, const struct zd_endpoint *key)
{
	return bpf_map_delete_elem(fd, key) < 0 && errno != ENOENT ? -errno : 0;
}

#define BACKEND_WORDS     (sizeof(struct zd_backend) / sizeof(uint64_t))
#define BACKEND_FLAG_WORD (offsetof(struct zd_backend, flags) / sizeof(uint64_t))

/* And how packets are wrapped for it: what would be wrong in any mix of before and after. */
static bool same_endpoint(const struct zd_backend *a, const struct zd_backend *b)
{
	return memcmp(a->addr, b->addr, sizeof(a->addr)) == 0 && a->port == b->port &&
	       a->service == b->service && a->mode == b->mode && a->gue_port == b->gue_port &&
	       memcmp(a->source, b->source, sizeof(a->source)) == 0;
}

static bool same_way_out(const struct zd_backend *a, const struct zd_backend *b)
{
	return a->ifindex == b->ifindex && a->mtu == b->mtu &&
	       memcmp(a->dmac, b->dmac, sizeof(a->dmac)) == 0 &&
	       memcmp(a->smac, b->smac, sizeof(a->smac)) == 0;
}

static void store_flags(struct zd_backend *b, unsigned flags)
{
	__atomic_store_n(&b->flags, (uint16_t)flags, __ATOMIC_RELEASE);
	/* Fields must not become visible before the flags that took them out of use. */
	__atomic_thread_fence(__ATOMIC_SEQ_CST);
}

/* Word by word, flags as they are. The struct is eight aligned words of one cache line. */
static void store_fields(struct zd_backend *b, const struct zd_backend *from)
{
	uint64_t words[BACKEND_WORDS], *to = (uint64_t *)(void *)b;
	struct zd_backend next = *from;

	next.flags = b->flags;
	memcpy(words, &next, sizeof(words));
	for (size_t i = 0; i < BACKEND_WORDS; i++)
		__atomic_store_n(&to[i], words[i], __ATOMIC_RELAXED);
}

/*
 * A packet may read the entry between any two stores. What makes a field wrong is taken away first:
 * another endpoint (an id that is used again) clears all flags, so the entry names no backend;
 * another way out clears RESOLVED, so packets are left to the kernel's own lookup meanwhile. Flags
 * come last. A packet that had read the flags before can still see a mix of both ways out; it is
 * lost like any that was sent to the former MAC a moment before.
 */
int maps_set_backend(struct maps *m, uint16_t id, const struct zd_backend *b)
{
	struct zd_backend *at, was;

	if (id == ZD_NO_BACKEND || id >= m->entries[MAP_BACKENDS])
		return -EINVAL;
	at = &m->backends[id];
	was = *at;
	if (!same_endpoint(&was, b))
		store_flags(at, 0);
	else if (!same_way_out(&was, b))
		store_flags(at, was.flags & ~ZD_BACKEND_RESOLVED);

	if (!same_endpoint(&was, b) || !same_way_out(&was, b))
		store_fields(at, b);
	store_flags(at, b->flags);
	return 0;
}

int maps_get_backend(const struct maps *m, uint16_t id, struct zd_backend *ret)
{
	if (id == ZD_NO_BACKEND || id >= m->entries[MAP_BACKENDS])
		return -EINVAL;
	*ret = m->backends[id];
	return 0;
}

void maps_set_alive(struct maps *m, uint16_t id, bool alive)
{
	uint16_t *flags;

	if (id == ZD_NO_BACKEND || id >= m->entries[MAP_BACKENDS])
		return;
	flags = &m->backends[id].flags;
	if (alive)
		__atomic_fetch_or(flags, ZD_BACKEND_ALIVE, __ATOMIC_RELEASE);
	else
		__atomic_fetch_and(flags, (uint16_t)~ZD_BACKEND_ALIVE, __ATOMIC_RELEASE);
}

int maps_set_reverse(struct maps *m, const struct endpoint *backend, uint8_t proto,
		     const struct zd_reverse *r)
{
	struct zd_endpoint key = endpoint_key(backend, proto);

	return set_entry(m->map_fd[MAP_REVERSE], &key, r);
}

int maps_del_reverse(struct maps *m, const struct endpoint *backend, uint8_t proto)
{
	struct zd_endpoint key = endpoint_key(backend, proto);

	return del_entry(m->map_fd[MAP_REVERSE], &key);
}

int maps_set_vip(struct maps *m, const struct endpoint *vip, uint8_t proto, uint32_t service)
{
	struct zd_endpoint key = endpoint_key(vip, proto);
	struct zd_vip value = { .service = service };

	if (service != ZD_VIP_ADDRESS_ONLY && service >= m->entries[MAP_SERVICES])
		return -EINVAL;
	return set_entry(m->map_fd[MAP_VIPS], &key, &value);
}

int maps_del_vip(struct maps *m, const struct endpoint *vip, uint8_t proto)
{
	struct zd_endpoint key = endpoint_key(vip, proto);

	return del_entry(m->map_fd[MAP_VIPS], &key);
}

/* The next key is taken before fn is called, so that fn may delete the entry it is shown. */
void maps_each_vip(const struct maps *m, maps_vip_fn fn, void *arg)
{
	int fd = m->map_fd[MAP_VIPS];
	struct zd_endpoint key, next;
	bool more = bpf_map_get_next_key(fd, NULL, &next) == 0;

	while (more) {
		struct zd_vip value;
		struct endpoint e;

		key = next;
		more = bpf_map_get_next_key(fd, &key, &next) == 0;
		e = key_endpoint(&key);
		if (bpf_map_lookup_elem(fd, &key, &value) == 0 && !fn(arg, &e, key.proto, &value))
			return;
	}
}

void maps_each_reverse(const struct maps *m, maps_reverse_fn fn, void *arg)
{
	int fd = m->map_fd[MAP_REVERSE];
	struct zd_endpoint key, next;
	bool more = bpf_map_get_next_key(fd, NULL, &next) == 0;

	while (more) {
		struct zd_reverse value;
		struct endpoint e;

		key = next;
		more = bpf_map_get_next_key(fd, &key, &next) == 0;
		e = key_endpoint(&key);
		if (bpf_map_lookup_elem(fd, &key, &value) == 0 && !fn(arg, &e, key.proto, &value))
			return;
	}
}

/* Offset and mask are one word: no packet sees one window's offset with another's mask. */
int maps_set_service(struct maps *m, uint32_t index, const struct zd_service *s)
{
	uint64_t words[sizeof(*s) / sizeof(uint64_t)], *to;

	if (index >= m->entries[MAP_SERVICES])
		return -EINVAL;
	if ((uint64_t)s->ring_offset + s->ring_mask >= m->entries[MAP_RING])
		return -EINVAL;
	to = (uint64_t *)(void *)&m->services[index];
	memcpy(words, s, sizeof(words));
	for (size_t i = sizeof(words) / sizeof(words[0]); i-- > 0;)
		__atomic_store_n(&to[i], words[i], __ATOMIC_RELEASE);
	return 0;
}

int maps_get_service(const struct maps *m, uint32_t index, struct zd_service *ret)
{
	if (index >= m->entries[MAP_SERVICES])
		return -EINVAL;
	*ret = m->services[index];
	return 0;
}

void maps_set_hold(struct maps *m, uint32_t service, bool hold)
{
	uint32_t *flags;

	if (service >= m->entries[MAP_SERVICES])
		return;
	flags = &m->services[service].flags;
	if (hold)
		__atomic_fetch_or(flags, ZD_SERVICE_HOLD, __ATOMIC_RELEASE);
	else
		__atomic_fetch_and(flags, ~ZD_SERVICE_HOLD, __ATOMIC_RELEASE);
}

void maps_set_lease(struct maps *m, uint32_t service, uint64_t lease_ns)
{
	uint64_t *lease;

	if (service >= m->entries[MAP_SERVICES])
		return;
	lease = (uint64_t *)(void *)&m->services[service].lease_ns;
	__atomic_store_n(lease, lease_ns, __ATOMIC_RELEASE);
}

int maps_map_ring(struct maps *m, uint32_t offset, uint32_t nslots, uint64_t **ret)
{
	size_t page = (size_t)sysconf(_SC_PAGESIZE);
	size_t at = (size_t)offset * sizeof(**ret);
	void *p;

	if (!nslots || at % page || (uint64_t)offset + nslots > m->entries[MAP_RING])
		return -EINVAL;
	p = mmap(NULL, nslots * sizeof(**ret), PROT_READ | PROT_WRITE, MAP_SHARED,
		 m->map_fd[MAP_RING], (off_t)at);
	if (p == MAP_FAILED)
		return -errno;
	*ret = p;
	return 0;
}

void maps_unmap_ring(struct maps *m, uint64_t *slots, uint32_t nslots)
{
	(void)m;
	if (slots)
		munmap(slots, nslots * sizeof(*slots));
}

/* Values of per-CPU maps come one after the other, one a possible CPU. */
static int sum_percpu(const struct maps *m, enum map_id id, uint32_t key, size_t words,
		      uint64_t *ret, size_t nret)
{
	if (bpf_map_lookup_elem(m->map_fd[id], &key, m->percpu) < 0)
		return -errno;
	memset(ret, 0, nret * sizeof(*ret));
	for (uint32_t cpu = 0; cpu < m->ncpus; cpu++) {
		for (size_t i = 0; i < nret; i++)
			ret[i] += m->percpu[cpu * words + i];
	}
	return 0;
}

int maps_backend_stats(const struct maps *m, uint16_t id, uint64_t ret[ZD_BC_MAX])
{
	return sum_percpu(m, MAP_BACKEND_STATS, id,
			  sizeof(struct zd_backend_stats) / sizeof(uint64_t), ret, ZD_BC_MAX);
}

int maps_events(const struct maps *m, uint64_t ret[ZD_EV_MAX])
{
	for (uint32_t e = 0; e < ZD_EV_MAX; e++) {
		int err = sum_percpu(m, MAP_EVENTS, e, 1, &ret[e], 1);

		if (err)
			return err;
	}
	return 0;
}

const char *maps_event_name(enum zd_event e)
{
	switch (e) {
	case ZD_EV_REQUEST_FORWARDED:
		return "request_forwarded";
	case ZD_EV_REPLY_FORWARDED:
		return "reply_forwarded";
	case ZD_EV_PASSED_NOT_OURS:
		return "passed_not_ours";
	case ZD_EV_PUNTED:
		return "punted";
	case ZD_EV_PIN_INSERTED:
		return "pin_inserted";
	case ZD_EV_PIN_EVICTED:
		return "pin_evicted";
	case ZD_EV_BIRTH_SKIPPED:
		return "birth_skipped";
	case ZD_EV_LEASE_FALLBACK:
		return "lease_fallback";
	case ZD_EV_DROP_TRUNCATED:
		return "drop_truncated";
	case ZD_EV_DROP_FRAGMENT:
		return "drop_fragment";
	case ZD_EV_DROP_NO_BACKEND:
		return "drop_no_backend";
	case ZD_EV_DROP_TTL:
		return "drop_ttl";
	case ZD_EV_DROP_NO_ROUTE:
		return "drop_no_route";
	case ZD_EV_DROP_FORWARDING_OFF:
		return "drop_forwarding_off";
	case ZD_EV_DROP_TOO_BIG:
		return "drop_too_big";
	case ZD_EV_DROP_REWRITE:
		return "drop_rewrite";
	case ZD_EV_ICMP_FORWARDED:
		return "icmp_forwarded";
	case ZD_EV_ECHO_ANSWERED:
		return "echo_answered";
	case ZD_EV_TOO_BIG_SENT:
		return "too_big_sent";
	case ZD_EV_DROP_ICMP:
		return "drop_icmp";
	case ZD_EV_DROP_ICMP_RATE:
		return "drop_icmp_rate";
	case ZD_EV_MAX:
		break;
	}
	return "unknown";
}

const char *maps_backend_counter_name(enum zd_backend_counter c)
{
	switch (c) {
	case ZD_BC_REQUEST_PACKETS:
		return "request_packets";
	case ZD_BC_REQUEST_BYTES:
		return "request_bytes";
	case ZD_BC_REPLY_PACKETS:
		return "reply_packets";
	case ZD_BC_REPLY_BYTES:
		return "reply_bytes";
	case ZD_BC_CONNECTIONS:
		return "connections";
	case ZD_BC_SYN_RETRANSMITS:
		return "syn_retransmits";
	case ZD_BC_ATTEMPTS:
		return "attempts";
	case ZD_BC_ANSWERED:
		return "answered";
	case ZD_BC_REFUSED:
		return "refused";
	case ZD_BC_UNANSWERED:
		return "unanswered";
	case ZD_BC_EARLY_RESETS:
		return "early_resets";
	case ZD_BC_SERVER_RESETS:
		return "server_resets";
	case ZD_BC_CLIENT_RESETS:
		return "client_resets";
	case ZD_BC_MAX:
		break;
	}
	return "unknown";
}
