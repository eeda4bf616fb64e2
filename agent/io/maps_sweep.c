/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * Walking pins and handshakes. Whole arrays would count as resident memory, so they are mapped
 * piece by piece. Packets change the same words meanwhile: a word is freed by compare-and-swap, and
 * one that changed in between is left for the next round.
 */
#include "maps_internal.h"

#include <errno.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#define PIECE_BYTES (1u << 20)

struct piece {
	void *base;
	size_t len;
};

/*
 * Entries [index, index + n) of an array; mapped pages begin where pages do. Returns the first entry,
 * or NULL with errno set.
 */
static void *piece_map(struct piece *p, int fd, size_t index, size_t n, size_t entry)
{
	size_t page = (size_t)sysconf(_SC_PAGESIZE);
	size_t from = index * entry, start = from / page * page;

	p->len = from - start + n * entry;
	p->base = mmap(NULL, p->len, PROT_READ | PROT_WRITE, MAP_SHARED, fd, (off_t)start);
	return p->base == MAP_FAILED ? NULL : (char *)p->base + (from - start);
}

/* Another process may have replaced the program, and the timeouts with it, since the last look. */
static uint8_t longest_ticks(struct maps *m)
{
	struct zd_settings now;

	if (settings_read(m->map_fd[MAP_SETTINGS], &now) == 0)
		settings_inherit(&m->settings, &now);
	return m->settings.longest_ticks;
}

static void sweep_bucket(struct zd_pin_bucket *b, uint8_t now, uint8_t longest, maps_pin_fn fn,
			 void *arg)
{
	for (size_t i = 0; i < ZD_PINS_PER_BUCKET; i++) {
		__u64 pin = __atomic_load_n(&b->word[i], __ATOMIC_RELAXED);

		if (!ZD_PIN_EXPIRY(pin))
			continue;
		if (!ZD_PIN_IS_LIVING(pin, now, longest) &&
		    __atomic_compare_exchange_n(&b->word[i], &pin, 0, false, __ATOMIC_RELAXED,
						__ATOMIC_RELAXED))
			continue;
		/* Living, or a packet was faster and `pin` is now what it left. */
		if (ZD_PIN_EXPIRY(pin) && !fn(arg, pin))
			__atomic_compare_exchange_n(&b->word[i], &pin, 0, false, __ATOMIC_RELAXED,
						    __ATOMIC_RELAXED);
	}
}

int maps_sweep_pins(struct maps *m, uint32_t *cursor, uint32_t buckets, uint64_t now_ns,
		    maps_pin_fn fn, void *arg)
{
	uint32_t total = m->entries[MAP_PINS],
		 per_piece = PIECE_BYTES / sizeof(struct zd_pin_bucket);
	uint8_t now = ZD_PIN_TICK(now_ns), longest = longest_ticks(m);

	if (*cursor >= total)
		*cursor = 0;
	while (buckets && *cursor < total) {
		uint32_t n = total - *cursor;
		struct piece p;
		struct zd_pin_bucket *b;

		n = n < buckets ? n : buckets;
		n = n < per_piece ? n : per_piece;
		b = piece_map(&p, m->map_fd[MAP_PINS], *cursor, n, sizeof(*b));
		if (!b)
			return -errno;
		for (uint32_t i = 0; i < n; i++)
			sweep_bucket(&b[i], now, longest, fn, arg);
		munmap(p.base, p.len);
		*cursor += n;
		buckets -= n;
	}
	if (*cursor < total)
		return 0;
	*cursor = 0;
	return 1;
}

uint32_t maps_pin_buckets(const struct maps *m)
{
	return m->entries[MAP_PINS];
}

static void sweep_cells(struct zd_birth *cells, size_t n, uint64_t now_ns,
			void (*fn)(void *arg, uint16_t backend), void *arg)
{
	for (size_t i = 0; i < n; i++) {
		uint32_t syn = ZD_BIRTH_SYN;
		uint64_t born;
		uint16_t backend;

		if (__atomic_load_n(&cells[i].state, __ATOMIC_ACQUIRE) != ZD_BIRTH_SYN)
			continue;
		born = __atomic_load_n((uint64_t *)(void *)&cells[i].born_ns, __ATOMIC_RELAXED);
		backend = __atomic_load_n(&cells[i].backend, __ATOMIC_RELAXED);
		if (now_ns < born || now_ns - born < ZD_BIRTH_TIMEOUT_NS)
			continue;
		if (__atomic_compare_exchange_n(&cells[i].state, &syn, ZD_BIRTH_FREE, false,
						__ATOMIC_ACQ_REL, __ATOMIC_RELAXED))
			fn(arg, backend);
	}
}

int maps_sweep_births(struct maps *m, uint64_t now_ns, void (*fn)(void *arg, uint16_t backend),
		      void *arg)
{
	uint32_t total = m->entries[MAP_BIRTHS], per_piece = PIECE_BYTES / sizeof(struct zd_birth);

	for (uint32_t at = 0; at < total; at += per_piece) {
		uint32_t n = total - at < per_piece ? total - at : per_piece;
		struct piece p;
		struct zd_birth *cells =
			piece_map(&p, m->map_fd[MAP_BIRTHS], at, n, sizeof(struct zd_birth));

		if (!cells)
			return -errno;
		sweep_cells(cells, n, now_ns, fn, arg);
		munmap(p.base, p.len);
	}
	return 0;
}
