/* SPDX-License-Identifier: GPL-2.0-only */
/* What the verbs of agent/io/maps leave in the maps, as a packet would see it at any moment. */
#include <arpa/inet.h>
#include <bpf/bpf.h>
#include <errno.h>
#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/ptrace.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cmocka.h>

#include "maps_world.h"

#define TICK_NS (1ULL << ZD_PIN_TICK_SHIFT)
#define SECOND  1000000000ULL

static int fresh(void **state)
{
	*state = maps_world_open();
	return 0;
}

static int unload(void **state)
{
	struct diag d;

	maps_close(*state);
	return maps_unload(MAPS_WORLD_PIN_DIR, &d);
}

/* A second view of a pinned array, not through the module under test. */
static void *view(const char *name, size_t bytes)
{
	int fd = maps_world_pinned(name);
	void *p = mmap(NULL, bytes, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);

	assert_true(fd >= 0);
	assert_ptr_not_equal(p, MAP_FAILED);
	close(fd);
	return p;
}

static struct endpoint ep(const char *text)
{
	struct endpoint e;

	assert_true(endpoint_parse(&e, text));
	return e;
}

static void two_services_have_windows_of_their_own(void **state)
{
	uint64_t *ring = view("maps/ring", 8192 * sizeof(uint64_t)), *one, *two, *none = NULL;
	struct maps *m = *state;

	assert_int_equal(maps_map_ring(m, 0, 1024, &one), 0);
	assert_int_equal(maps_map_ring(m, 1024, 7168, &two), 0);
	for (uint32_t i = 0; i < 1024; i++)
		one[i] = ZD_SLOT(1, 2, ZD_SLOT_CONSULT);
	for (uint32_t i = 0; i < 7168; i++)
		two[i] = ZD_SLOT(3, 4, ZD_SLOT_MOVING);
	for (uint32_t i = 0; i < 8192; i++)
		assert_true(ring[i] == (i < 1024 ? ZD_SLOT(1, 2, ZD_SLOT_CONSULT)
						 : ZD_SLOT(3, 4, ZD_SLOT_MOVING)));
	assert_int_equal(maps_map_ring(m, 100, 512, &none), -EINVAL);
	assert_int_equal(maps_map_ring(m, 7680, 1024, &none), -EINVAL);
	assert_int_equal(maps_map_ring(m, 0, 0, &none), -EINVAL);
	assert_int_equal(maps_map_ring(m, UINT32_MAX - 511, 1024, &none), -EINVAL);
	assert_null(none);
	maps_unmap_ring(m, one, 1024);
	maps_unmap_ring(m, two, 7168);
	munmap(ring, 8192 * sizeof(uint64_t));
}

static void a_service_is_published_held_and_leased(void **state)
{
	struct zd_service s = { .ring_offset = 1024, .ring_mask = 1023, .lease_ns = 5 }, got;
	struct zd_service *seen = view("maps/services", 16 * sizeof(s));
	struct maps *m = *state;

	assert_int_equal(maps_set_service(m, 15, &s), 0);
	assert_memory_equal(&seen[15], &s, sizeof(s));
	maps_set_hold(m, 15, true);
	assert_int_equal(seen[15].flags, ZD_SERVICE_HOLD);
	maps_set_lease(m, 15, 77);
	assert_int_equal(seen[15].lease_ns, 77);
	maps_set_hold(m, 15, false);
	assert_int_equal(maps_get_service(m, 15, &got), 0);
	s.lease_ns = 77;
	assert_memory_equal(&got, &s, sizeof(s));
	assert_int_equal(maps_set_service(m, 16, &s), -EINVAL);
	s.ring_offset = 8192 - 512;
	assert_int_equal(maps_set_service(m, 15, &s), -EINVAL);
	munmap(seen, 16 * sizeof(s));
}

static const struct zd_backend backends[] = {
	{ .addr = { 1, 1 },
	  .port = 0x1111,
	  .flags = ZD_BACKEND_ALIVE | ZD_BACKEND_RESOLVED,
	  .service = 1,
	  .ifindex = 0x11111111,
	  .dmac = { 1, 1, 1, 1, 1, 1 },
	  .smac = { 1, 1, 1, 1, 1, 1 } },
	{ .addr = { 1, 1 },
	  .port = 0x1111,
	  .flags = ZD_BACKEND_ALIVE | ZD_BACKEND_RESOLVED,
	  .service = 1,
	  .ifindex = 0x22222222,
	  .dmac = { 2, 2, 2, 2, 2, 2 },
	  .smac = { 2, 2, 2, 2, 2, 2 } },
	{ .addr = { 3, 3, 3, 3, 3, 3, 3, 3, 3, 3, 3, 3, 3, 3, 3, 3 },
	  .port = 0x3333,
	  .flags = ZD_BACKEND_RESOLVED | ZD_BACKEND_V6,
	  .service = 3,
	  .ifindex = 0x33333333,
	  .dmac = { 3, 3, 3, 3, 3, 3 },
	  .smac = { 3, 3, 3, 3, 3, 3 } },
	{ .addr = { 1, 1 },
	  .port = 0x1111,
	  .flags = ZD_BACKEND_ALIVE | ZD_BACKEND_RESOLVED,
	  .service = 1,
	  .ifindex = 0x44444444,
	  .dmac = { 4, 4, 4, 4, 4, 4 },
	  .smac = { 4, 4, 4, 4, 4, 4 },
	  .mode = ZD_MODE_GUE,
	  .mtu = 0x4444,
	  .gue_port = 0x4444,
	  .source = { 4, 4, 4, 4, 4, 4, 4, 4, 4, 4, 4, 4, 4, 4, 4, 4 } },
};

static bool same_way(const struct zd_backend *a, const struct zd_backend *b)
{
	return a->ifindex == b->ifindex && a->mtu == b->mtu && !memcmp(a->dmac, b->dmac, 6) &&
	       !memcmp(a->smac, b->smac, 6);
}

static bool same_place(const struct zd_backend *a, const struct zd_backend *b)
{
	return a->port == b->port && a->service == b->service && !memcmp(a->addr, b->addr, 16) &&
	       a->mode == b->mode && a->gue_port == b->gue_port &&
	       !memcmp(a->source, b->source, 16);
}

/* What a packet may believe of an entry that goes from `a` to `b`. */
static bool is_believable(const struct zd_backend *now, const struct zd_backend *a,
			  const struct zd_backend *b)
{
	if (now->flags & ZD_BACKEND_RESOLVED && !same_way(now, a) && !same_way(now, b))
		return false;
	if (now->flags & ZD_BACKEND_RESOLVED && same_place(now, a) != same_way(now, a) &&
	    !same_way(a, b) && !same_place(a, b))
		return false;
	return !now->flags || same_place(now, a) || same_place(now, b);
}

/*
 * A child makes the change one machine instruction at a time; after each one the entry is looked
 * at. Returns how many different entries were seen.
 */
static unsigned step_through(struct maps *m, const struct zd_backend *a, const struct zd_backend *b)
{
	struct zd_backend *entry = view("maps/backends", 64 * sizeof(*entry)), last;
	unsigned seen = 0, steps = 0;
	int status = 0;
	pid_t child;

	assert_int_equal(maps_set_backend(m, 9, a), 0);
	last = entry[9];
	child = fork();
	assert_true(child >= 0);
	if (!child) {
		ptrace(PTRACE_TRACEME, 0, NULL, NULL);
		raise(SIGSTOP);
		_exit(maps_set_backend(m, 9, b) ? 1 : 0);
	}
	assert_int_equal(waitpid(child, &status, 0), child);
	while (WIFSTOPPED(status) && steps++ < 200000) {
		struct zd_backend now = entry[9];

		if (memcmp(&now, &last, sizeof(now)) != 0) {
			seen++;
			assert_true(is_believable(&now, a, b));
			last = now;
		}
		assert_int_equal(ptrace(PTRACE_SINGLESTEP, child, NULL, NULL), 0);
		assert_int_equal(waitpid(child, &status, 0), child);
	}
	assert_true(WIFEXITED(status) && WEXITSTATUS(status) == 0);
	assert_memory_equal(&entry[9], b, sizeof(*b));
	munmap(entry, 64 * sizeof(*entry));
	return seen;
}

static void no_packet_sees_a_half_written_backend(void **state)
{
	static const struct zd_backend empty;
	struct zd_backend dead = backends[0], narrow = backends[3];

	assert_true(step_through(*state, &empty, &backends[0]) > 2);
	assert_true(step_through(*state, &backends[0], &backends[1]) > 2);
	assert_true(step_through(*state, &backends[1], &backends[2]) > 2);
	assert_true(step_through(*state, &backends[2], &empty) > 2);
	/* The same endpoint in another mode, and another MTU alone. */
	assert_true(step_through(*state, &backends[0], &backends[3]) > 2);
	assert_true(step_through(*state, &backends[3], &backends[0]) > 2);
	narrow.mtu = 1280;
	assert_true(step_through(*state, &backends[3], &narrow) > 1);
	/* Nothing to hide: one store, or none at all. */
	dead.flags = ZD_BACKEND_RESOLVED;
	assert_int_equal(step_through(*state, &backends[0], &dead), 1);
	assert_int_equal(step_through(*state, &dead, &dead), 0);
}

static void alive_is_one_bit_of_the_flags(void **state)
{
	struct zd_backend got;
	struct maps *m = *state;

	assert_int_equal(maps_set_backend(m, 63, &backends[0]), 0);
	maps_set_alive(m, 63, false);
	assert_int_equal(maps_get_backend(m, 63, &got), 0);
	assert_int_equal(got.flags, ZD_BACKEND_RESOLVED);
	maps_set_alive(m, 63, true);
	assert_int_equal(maps_get_backend(m, 63, &got), 0);
	assert_memory_equal(&got, &backends[0], sizeof(got));
	assert_int_equal(maps_set_backend(m, ZD_NO_BACKEND, &backends[0]), -EINVAL);
	assert_int_equal(maps_set_backend(m, 64, &backends[0]), -EINVAL);
	maps_set_alive(m, 64, true);
}

struct visit {
	struct maps *m;
	unsigned n, services;
	bool delete;
};

static bool visit_vip(void *arg, const struct endpoint *e, uint8_t proto, const struct zd_vip *v)
{
	struct visit *w = arg;

	w->n++;
	w->services += v->service;
	if (w->delete)
		assert_int_equal(maps_del_vip(w->m, e, proto), 0);
	return true;
}

static bool visit_reverse(void *arg, const struct endpoint *e, uint8_t proto,
			  const struct zd_reverse *r)
{
	struct visit *w = arg;

	w->n++;
	assert_int_equal(r->backend, e->port);
	if (w->delete)
		assert_int_equal(maps_del_reverse(w->m, e, proto), 0);
	return true;
}

static void vips_and_reverse_entries_are_walked_and_removed(void **state)
{
	struct visit w = { .m = *state };
	struct endpoint vip = ep("192.0.2.10:443"), backend = ep("[2001:db8::2]:1");
	struct zd_endpoint key = { .port = htons(443), .proto = IPPROTO_TCP };
	struct zd_vip v;
	int fd = maps_world_pinned("maps/vips");

	memcpy(key.addr, vip.addr, sizeof(key.addr));
	for (uint32_t i = 0; i < 16; i++, vip.port++)
		assert_int_equal(maps_set_vip(w.m, &vip, IPPROTO_TCP, i), 0);
	assert_int_equal(maps_set_vip(w.m, &vip, IPPROTO_TCP, 16), -EINVAL);
	assert_int_equal(bpf_map_lookup_elem(fd, &key, &v), 0);
	assert_int_equal(v.service, 0);
	close(fd);
	maps_each_vip(w.m, visit_vip, &w);
	assert_int_equal(w.n, 16);
	assert_int_equal(w.services, 15 * 16 / 2);
	vip.port = 0;
	assert_int_equal(maps_set_vip(w.m, &vip, 0, ZD_VIP_ADDRESS_ONLY), 0);
	w = (struct visit){ .m = *state, .delete = true };
	maps_each_vip(w.m, visit_vip, &w);
	assert_int_equal(w.n, 17);
	maps_each_vip(w.m, visit_vip, &w);
	assert_int_equal(w.n, 17);
	assert_int_equal(maps_del_vip(w.m, &vip, 0), 0);

	for (uint16_t i = 1; i < 64; i++, backend.port++) {
		struct zd_reverse r = { .backend = i };

		assert_int_equal(maps_set_reverse(w.m, &backend, IPPROTO_TCP, &r), 0);
	}
	w.n = 0;
	maps_each_reverse(w.m, visit_reverse, &w);
	assert_int_equal(w.n, 63);
	maps_each_reverse(w.m, visit_reverse, &w);
	assert_int_equal(w.n, 63);
}

struct tally {
	unsigned pins, sum;
};

static bool tally_pin(void *arg, uint64_t pin)
{
	struct tally *t = arg;

	t->pins++;
	t->sum += ZD_PIN_BACKEND(pin);
	return true;
}

static bool drop_even(void *arg, uint64_t pin)
{
	return tally_pin(arg, pin) && ZD_PIN_BACKEND(pin) % 2;
}

static uint64_t pin_word(unsigned backend, unsigned expiry)
{
	return 1ULL << 40 | (uint64_t)backend << ZD_PIN_BACKEND_SHIFT | expiry;
}

static void the_sweep_removes_what_its_caller_refuses(void **state)
{
	const uint64_t now = 1000 * TICK_NS;
	const unsigned later = ZD_PIN_TICK(now) % 255 + 1;
	struct maps *m = *state;
	size_t bytes = maps_pin_buckets(m) * sizeof(struct zd_pin_bucket);
	struct zd_pin_bucket *pins = view("maps/pins", bytes);
	struct tally t = { 0 };
	uint32_t cursor = 0;

	for (unsigned i = 0; i < 8; i++)
		pins[9].word[i] = pin_word(i + 1, later);
	assert_int_equal(maps_sweep_pins(m, &cursor, UINT32_MAX, now, drop_even, &t), 1);
	assert_int_equal(t.pins, 8);
	for (unsigned i = 0; i < 8; i++)
		assert_true(pins[9].word[i] == (i % 2 ? 0 : pin_word(i + 1, later)));
	munmap(pins, bytes);
}

static void the_sweep_counts_living_pins_and_removes_ended_ones(void **state)
{
	const uint64_t now = 1000 * TICK_NS + 5;
	const unsigned tick = ZD_PIN_TICK(now);
	struct maps *m = *state;
	uint32_t buckets = maps_pin_buckets(m), cursor = 0, calls = 1;
	size_t bytes = buckets * sizeof(struct zd_pin_bucket);
	struct zd_pin_bucket *pins = view("maps/pins", bytes);
	struct tally t = { 0 };

	assert_int_equal(buckets, 32768 / ZD_PINS_PER_BUCKET);
	/* 900 s are 210 ticks, and one. */
	pins[0].word[0] = pin_word(1, (tick + 211 - 1) % 255 + 1);
	pins[0].word[7] = pin_word(2, tick % 255 + 1);
	pins[700].word[3] = pin_word(4, tick);
	pins[701].word[3] = pin_word(8, (tick + 254 - 1) % 255 + 1);
	pins[buckets - 1].word[7] = pin_word(16, (tick + 100 - 1) % 255 + 1);

	while (maps_sweep_pins(m, &cursor, 1000, now, tally_pin, &t) == 0)
		calls++;
	assert_int_equal(calls, 5);
	assert_int_equal(cursor, 0);
	assert_int_equal(t.pins, 3);
	assert_int_equal(t.sum, 1 + 2 + 16);
	assert_int_equal(pins[700].word[3], 0);
	assert_int_equal(pins[701].word[3], 0);
	assert_true(pins[buckets - 1].word[7] == pin_word(16, (tick + 100 - 1) % 255 + 1));
	assert_int_equal(
		maps_sweep_pins(m, &cursor, UINT32_MAX, now + 255 * TICK_NS, tally_pin, &t), 1);
	assert_int_equal(t.pins, 6);
	munmap(pins, bytes);
}

static void shorter_timeouts_do_not_end_pins_made_under_longer_ones(void **state)
{
	const uint64_t now = 1000 * TICK_NS;
	struct maps_options o = maps_world_options;
	size_t bytes = maps_pin_buckets(*state) * sizeof(struct zd_pin_bucket);
	struct zd_pin_bucket *pins = view("maps/pins", bytes);
	struct maps *m = *state, *other = NULL;
	struct tally t = { 0 };
	uint32_t cursor = 0;
	struct diag d;

	pins[0].word[0] = pin_word(1, (ZD_PIN_TICK(now) + 211 - 1) % 255 + 1);
	pins[0].word[1] = pin_word(2, (ZD_PIN_TICK(now) + 225 - 1) % 255 + 1);
	o.idle_ms = 10000;
	maps_close(m);
	*state = NULL;
	assert_int_equal(maps_open(&m, &o, &d), 0);
	*state = m;
	o.idle_ms = 20000;
	assert_int_equal(maps_open(&other, &o, &d), 0);
	maps_close(other);
	assert_int_equal(maps_sweep_pins(m, &cursor, UINT32_MAX, now, tally_pin, &t), 1);
	assert_int_equal(t.sum, 1);
	/* Another process asks for longer ones while this agent runs. */
	pins[0].word[1] = pin_word(2, (ZD_PIN_TICK(now) + 225 - 1) % 255 + 1);
	o.idle_ms = 960000;
	assert_int_equal(maps_open(&other, &o, &d), 0);
	maps_close(other);
	t.sum = 0;
	assert_int_equal(maps_sweep_pins(m, &cursor, UINT32_MAX, now, tally_pin, &t), 1);
	assert_int_equal(t.sum, 1 + 2);
	munmap(pins, bytes);
}

static void tally_backend(void *arg, uint16_t backend)
{
	struct tally *t = arg;

	t->pins++;
	t->sum += backend;
}

static void handshakes_that_stay_unanswered_are_set_free_once(void **state)
{
	const uint64_t now = 100 * SECOND;
	struct zd_birth *cells = view("maps/births", 2048 * sizeof(*cells));
	struct maps *m = *state;
	struct tally t = { 0 };

	cells[0] = (struct zd_birth){ .born_ns = now - 4 * SECOND, .state = 1, .backend = 1 };
	cells[1] = (struct zd_birth){ .born_ns = now - 2 * SECOND, .state = 1, .backend = 2 };
	cells[2] = (struct zd_birth){ .born_ns = now - 9 * SECOND, .state = 2, .backend = 4 };
	cells[3] = (struct zd_birth){ .born_ns = now + 1, .state = 1, .backend = 8 };
	cells[4] = (struct zd_birth){ .born_ns = now - 9 * SECOND, .state = 3, .backend = 16 };
	cells[2047] = (struct zd_birth){ .born_ns = now - 3 * SECOND, .state = 1, .backend = 32 };
	assert_int_equal(maps_sweep_births(m, now, tally_backend, &t), 0);
	assert_int_equal(t.sum, 1 + 32);
	assert_int_equal(cells[0].state, ZD_BIRTH_FREE);
	assert_int_equal(cells[1].state, ZD_BIRTH_SYN);
	assert_int_equal(cells[2].state, ZD_BIRTH_ANSWERED);
	assert_int_equal(maps_sweep_births(m, now, tally_backend, &t), 0);
	assert_int_equal(t.pins, 2);
	munmap(cells, 2048 * sizeof(*cells));
}

static void counters_are_summed_over_cpus(void **state)
{
	static struct zd_backend_stats stats[1024];
	static uint64_t events[1024];
	uint64_t got[ZD_BC_MAX], all[ZD_EV_MAX];
	uint32_t key = 5, event = ZD_EV_MAX - 1;
	struct maps *m = *state;
	int fd = maps_world_pinned("maps/backend_stats");
	uint64_t ncpus = (uint64_t)sysconf(_SC_NPROCESSORS_CONF);

	for (int i = 0; i < 1024; i++) {
		stats[i].count[0] = 1;
		stats[i].count[ZD_BC_MAX - 1] = 10;
		events[i] = 3;
	}
	assert_int_equal(bpf_map_update_elem(fd, &key, stats, 0), 0);
	close(fd);
	fd = maps_world_pinned("maps/events");
	assert_int_equal(bpf_map_update_elem(fd, &event, events, 0), 0);
	close(fd);
	assert_int_equal(maps_backend_stats(m, 5, got), 0);
	assert_int_equal(got[0] * 10, got[ZD_BC_MAX - 1]);
	assert_true(got[0] >= ncpus);
	assert_int_equal(got[1], 0);
	assert_int_equal(maps_events(m, all), 0);
	assert_int_equal(all[ZD_EV_MAX - 1], 3 * got[0]);
	assert_int_equal(all[0], 0);
	assert_int_equal(maps_backend_stats(m, 64, got), -ENOENT);
}

static void every_counter_has_a_name_of_its_own(void **state)
{
	(void)state;
	for (int i = 0; i < ZD_EV_MAX; i++) {
		assert_string_not_equal(maps_event_name((enum zd_event)i), "unknown");
		for (int j = 0; j < i; j++)
			assert_string_not_equal(maps_event_name((enum zd_event)i),
						maps_event_name((enum zd_event)j));
	}
	for (int i = 0; i < ZD_BC_MAX; i++)
		assert_string_not_equal(maps_backend_counter_name((enum zd_backend_counter)i),
					"unknown");
}

static int group_setup(void **state)
{
	(void)state;
	return maps_world_enter();
}

#define TEST(fn) cmocka_unit_test_setup_teardown(fn, fresh, unload)

int main(void)
{
	const struct CMUnitTest tests[] = {
		TEST(two_services_have_windows_of_their_own),
		TEST(a_service_is_published_held_and_leased),
		TEST(no_packet_sees_a_half_written_backend),
		TEST(alive_is_one_bit_of_the_flags),
		TEST(vips_and_reverse_entries_are_walked_and_removed),
		TEST(the_sweep_counts_living_pins_and_removes_ended_ones),
		TEST(the_sweep_removes_what_its_caller_refuses),
		TEST(shorter_timeouts_do_not_end_pins_made_under_longer_ones),
		TEST(handshakes_that_stay_unanswered_are_set_free_once),
		TEST(counters_are_summed_over_cpus),
		TEST(every_counter_has_a_name_of_its_own),
	};

	return cmocka_run_group_tests_name("maps_verbs", tests, group_setup, NULL);
}
