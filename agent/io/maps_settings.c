/* SPDX-License-Identifier: GPL-2.0-only */
/* From what the operator wants to the sizes of the maps and the settings of the program. */
#include "maps_internal.h"

#include <bpf/bpf.h>
#include <errno.h>
#include <stddef.h>
#include <string.h>
#include <unistd.h>

#define MIN_PIN_BUCKETS 64u /* one page */
#define MIN_BIRTHS      1024u
#define MAX_BIRTHS      65536u
#define RING_GRAIN      512u
/* The circle has 255; the rest is the time the sweep has to find an ended pin before the circle comes
 * round and it looks living again. */
#define MAX_TICKS 240u

static uint32_t round_up_pow2(uint32_t n)
{
	uint32_t p = 1;

	while (p < n)
		p *= 2;
	return p;
}

/* A tick is 2^32 ns; one more, because the tick in which a pin is born has already begun. */
static uint8_t ticks_of_ms(uint32_t ms)
{
	uint64_t tick_ns = 1ULL << ZD_PIN_TICK_SHIFT;
	uint64_t ticks = ((uint64_t)ms * 1000000 + tick_ns - 1) / tick_ns + 1;

	return (uint8_t)(ticks < MAX_TICKS ? ticks : MAX_TICKS);
}

int settings_check_options(const struct maps_options *o, struct diag *d)
{
	static const struct {
		const char *pointer;
		uint64_t max;
		size_t offset;
	} limits[] = {
		{ "/dataplane/maxServices", 65536, offsetof(struct maps_options, max_services) },
		{ "/dataplane/maxBackends", ZD_MAX_BACKEND_IDS,
		  offsetof(struct maps_options, max_backends) },
		{ "/dataplane/maxSlots", 1u << 28, offsetof(struct maps_options, max_slots) },
		{ "/dataplane/maxFlows", (uint64_t)ZD_MAX_PIN_BUCKETS * ZD_PINS_PER_BUCKET,
		  offsetof(struct maps_options, max_pins) },
	};

	for (size_t i = 0; i < sizeof(limits) / sizeof(limits[0]); i++) {
		uint32_t v;

		memcpy(&v, (const char *)o + limits[i].offset, sizeof(v));
		if (v < 1 || v > limits[i].max)
			return diag_set(d, EINVAL, "out_of_range", limits[i].pointer,
					"%u is out of range; write a number from 1 to %llu", v,
					(unsigned long long)limits[i].max);
	}
	return 0;
}

static uint8_t longest_of(const struct zd_settings *s)
{
	const uint8_t ticks[] = { s->idle_ticks, s->syn_ticks, s->fin_ticks, s->udp_ticks };
	uint8_t longest = 0;

	for (size_t i = 0; i < sizeof(ticks); i++)
		longest = longest > ticks[i] ? longest : ticks[i];
	return longest;
}

void settings_choose(struct maps *m, const struct maps_options *o)
{
	uint32_t buckets = round_up_pow2(
		(uint32_t)(((uint64_t)o->max_pins + ZD_PINS_PER_BUCKET - 1) / ZD_PINS_PER_BUCKET));
	uint32_t births;

	if (buckets < MIN_PIN_BUCKETS)
		buckets = MIN_PIN_BUCKETS;
	births = buckets / 2 < MIN_BIRTHS ? MIN_BIRTHS : buckets / 2;
	if (births > MAX_BIRTHS)
		births = MAX_BIRTHS;

	m->entries[MAP_SETTINGS] = 1;
	/* Each VIP has an entry of its address as such. */
	m->entries[MAP_VIPS] = o->max_services * MODEL_VIPS_PER_SERVICE * 2;
	m->entries[MAP_SERVICES] = o->max_services;
	m->entries[MAP_RING] = (o->max_slots + RING_GRAIN - 1) / RING_GRAIN * RING_GRAIN;
	m->entries[MAP_BACKENDS] = o->max_backends;
	m->entries[MAP_PINS] = buckets;
	m->entries[MAP_BIRTHS] = births;
	m->entries[MAP_REVERSE] = o->max_backends * 2; /* TCP and UDP */
	m->entries[MAP_BACKEND_STATS] = o->max_backends;
	m->entries[MAP_EVENTS] = ZD_EV_MAX;

	m->settings = (struct zd_settings){
		.abi = ZD_ABI_VERSION,
		.pin_bucket_mask = buckets - 1,
		.birth_mask = births - 1,
		.idle_ticks = ticks_of_ms(o->idle_ms),
		.syn_ticks = ticks_of_ms(o->syn_ms),
		.fin_ticks = ticks_of_ms(o->fin_ms),
		.udp_ticks = ticks_of_ms(o->udp_ms),
	};
	m->settings.longest_ticks = longest_of(&m->settings);
	memcpy(m->settings.hash_key, o->hash_seed, sizeof(m->settings.hash_key));
}

/* -EPROTO: of another ABI. The value may then have another size. */
int settings_read(int fd, struct zd_settings *ret)
{
	struct bpf_map_info info = { 0 };
	uint32_t len = sizeof(info), key = 0;

	if (bpf_obj_get_info_by_fd(fd, &info, &len) < 0)
		return -errno;
	if (info.value_size != sizeof(*ret))
		return -EPROTO;
	if (bpf_map_lookup_elem(fd, &key, ret) < 0)
		return -errno;
	return ret->abi == ZD_ABI_VERSION ? 0 : -EPROTO;
}

int maps_pinned_seed(const char *pin_dir, uint8_t ret[16])
{
	struct zd_settings s;
	int fd = pinfs_get(pin_dir, PIN_MAPS, maps_name(MAP_SETTINGS)), err;

	if (fd < 0)
		return -ENOENT;
	err = settings_read(fd, &s);
	close(fd);
	if (err)
		return -ENOENT;
	memcpy(ret, s.hash_key, sizeof(s.hash_key));
	return 0;
}

/* Pins made under longer timeouts must not look ended under shorter ones. */
void settings_inherit(struct zd_settings *to, const struct zd_settings *from)
{
	if (from->longest_ticks > to->longest_ticks)
		to->longest_ticks = from->longest_ticks;
}

int settings_compare(const struct zd_settings *have, const struct zd_settings *want, struct diag *d)
{
	if (memcmp(have->hash_key, want->hash_key, sizeof(want->hash_key)) != 0)
		return diag_set(d, EEXIST, "seed_differs", "/dataplane/hashSeed",
				"the pinned maps were made with another hash seed; " CURE_UNLOAD);
	if (have->pin_bucket_mask != want->pin_bucket_mask || have->birth_mask != want->birth_mask)
		return diag_set(
			d, EEXIST, "size_differs", "/dataplane/maxFlows",
			"the pinned maps hold %u connections, now %u are asked for; " CURE_UNLOAD,
			(have->pin_bucket_mask + 1) * ZD_PINS_PER_BUCKET,
			(want->pin_bucket_mask + 1) * ZD_PINS_PER_BUCKET);
	return 0;
}
