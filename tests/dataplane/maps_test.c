/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * agent/io/maps against the real kernel, in a network and mount namespace that end with the
 * process, so that nothing can be left behind.
 */
#include <bpf/bpf.h>
#include <bpf/libbpf.h>
#include <errno.h>
#include <linux/bpf.h>
#include <linux/if_link.h>
#include <net/if.h>
#include <pthread.h>
#include <setjmp.h>
#include <signal.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mount.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include <cmocka.h>

#include "maps_world.h"

static void assert_refused(const struct maps_options *o, int err, const char *pointer)
{
	struct maps *m = NULL;
	struct diag d = { .text = "" };

	assert_int_equal(maps_open(&m, o, &d), err);
	assert_null(m);
	assert_string_equal(d.pointer, pointer);
	assert_true(strlen(d.text) > 20);
}

static void maps_are_adopted_by_the_next_open(void **state)
{
	struct zd_backend b = { .port = 5, .flags = ZD_BACKEND_ALIVE }, got;
	struct maps *m = maps_world_open();
	uint32_t ring = maps_world_map_id("maps/ring"), xdp = maps_world_prog_id("progs/xdp");
	uint8_t seed[16];

	(void)state;
	assert_false(maps_adopted(m));
	assert_int_equal(maps_set_backend(m, 7, &b), 0);
	maps_close(m);

	m = maps_world_open();
	assert_true(maps_adopted(m));
	assert_int_equal(maps_world_map_id("maps/ring"), ring);
	assert_int_equal(maps_world_prog_id("progs/xdp"), xdp);
	assert_int_equal(maps_get_backend(m, 7, &got), 0);
	assert_memory_equal(&got, &b, sizeof(b));
	maps_read_seed(m, seed);
	assert_memory_equal(seed, maps_world_options.hash_seed, sizeof(seed));
	maps_close(m);
	memset(seed, 0, sizeof(seed));
	assert_int_equal(maps_pinned_seed(MAPS_WORLD_PIN_DIR, seed), 0);
	assert_memory_equal(seed, maps_world_options.hash_seed, sizeof(seed));
	assert_int_equal(maps_pinned_seed(MAPS_WORLD_BPFFS "/none", seed), -ENOENT);
}

static void other_sizes_or_seed_are_refused_and_change_nothing(void **state)
{
	struct maps_options o = maps_world_options;
	struct maps *m = maps_world_open();
	uint32_t ring = maps_world_map_id("maps/ring"), xdp = maps_world_prog_id("progs/xdp");

	(void)state;
	maps_close(m);
	o.max_services = 17;
	assert_refused(&o, -EEXIST, "/dataplane/maxServices");
	o = maps_world_options;
	o.max_backends = 65;
	assert_refused(&o, -EEXIST, "/dataplane/maxBackends");
	o = maps_world_options;
	o.max_slots = 8193;
	assert_refused(&o, -EEXIST, "/dataplane/maxSlots");
	o = maps_world_options;
	o.max_pins = 65536;
	assert_refused(&o, -EEXIST, "/dataplane/maxFlows");
	o = maps_world_options;
	o.hash_seed[0] ^= 1;
	assert_refused(&o, -EEXIST, "/dataplane/hashSeed");
	o = maps_world_options;
	o.max_backends = 65537;
	assert_refused(&o, -EINVAL, "/dataplane/maxBackends");
	assert_int_equal(maps_world_map_id("maps/ring"), ring);
	assert_int_equal(maps_world_prog_id("progs/xdp"), xdp);
}

static void maps_of_another_abi_are_refused(void **state)
{
	struct zd_settings s;
	uint32_t key = 0;
	uint8_t seed[16];
	int fd;

	(void)state;
	maps_close(maps_world_open());
	fd = maps_world_pinned("maps/settings");
	assert_int_equal(bpf_map_lookup_elem(fd, &key, &s), 0);
	s.abi++;
	assert_int_equal(bpf_map_update_elem(fd, &key, &s, 0), 0);
	close(fd);
	assert_refused(&maps_world_options, -EEXIST, "/state/pinDir");
	assert_int_equal(maps_pinned_seed(MAPS_WORLD_PIN_DIR, seed), -ENOENT);
}

static void a_pin_directory_must_be_on_a_bpffs(void **state)
{
	struct maps_options o = maps_world_options;

	(void)state;
	o.pin_dir = "/run/zddlb-not-a-bpffs";
	assert_refused(&o, -EINVAL, "/state/pinDir");
	assert_int_not_equal(access(o.pin_dir, F_OK), 0);
	o.pin_dir = "relative";
	assert_refused(&o, -EINVAL, "/state/pinDir");
	o.pin_dir = MAPS_WORLD_BPFFS "/with.dot";
	assert_refused(&o, -EPERM, "/state/pinDir");
}

static void the_usual_bpffs_is_mounted_if_it_is_not(void **state)
{
	struct maps_options o = maps_world_options;
	struct maps *m = NULL;
	struct diag d;

	(void)state;
	while (umount2("/sys/fs/bpf", MNT_DETACH) == 0)
		;
	o.pin_dir = "/sys/fs/bpf/zddlb-test";
	assert_int_equal(maps_open(&m, &o, &d), 0);
	maps_close(m);
	assert_int_equal(maps_unload(o.pin_dir, &d), 0);
	assert_int_equal(umount("/sys/fs/bpf"), 0);
}

static void leftovers_of_a_cut_start_are_made_anew(void **state)
{
	uint32_t ring;
	struct maps *m;

	(void)state;
	maps_close(maps_world_open());
	ring = maps_world_map_id("maps/ring");
	assert_int_equal(unlink(MAPS_WORLD_PIN_DIR "/maps/settings"), 0);
	assert_int_equal(unlink(MAPS_WORLD_PIN_DIR "/maps/vips"), 0);
	m = maps_world_open();
	assert_false(maps_adopted(m));
	assert_int_not_equal(maps_world_map_id("maps/ring"), ring);
	assert_int_not_equal(maps_world_map_id("maps/vips"), 0);
	maps_close(m);
}

static void leftovers_are_kept_while_a_program_is_attached(void **state)
{
	struct maps *m = maps_world_open();
	uint32_t ring = maps_world_map_id("maps/ring");

	(void)state;
	maps_world_assert_attached(m, "v0", XDP_MODE_NATIVE, XDP_MODE_NATIVE);
	maps_close(m);
	assert_int_equal(unlink(MAPS_WORLD_PIN_DIR "/maps/settings"), 0);
	assert_refused(&maps_world_options, -EEXIST, "/state/pinDir");
	assert_int_equal(maps_world_map_id("maps/ring"), ring);
	assert_int_not_equal(maps_world_xdp("v0", 0), 0);
}

static uint64_t now_us(void)
{
	struct timespec t;

	clock_gettime(CLOCK_MONOTONIC, &t);
	return (uint64_t)t.tv_sec * 1000000 + (uint64_t)t.tv_nsec / 1000;
}

/* Killed at any moment of start, attach and unload: the next start stands. */
static void a_killed_agent_leaves_what_the_next_can_use(void **state)
{
	uint64_t random = 88172645463325252ULL, open_us = now_us();

	(void)state;
	maps_close(maps_world_open());
	open_us = now_us() - open_us;
	for (int i = 0; i < 24; i++) {
		enum xdp_mode mode;
		struct maps *m = NULL;
		struct diag d;
		pid_t child = fork();

		assert_true(child >= 0);
		if (!child) {
			struct maps_options o = maps_world_options;

			for (;; o.idle_ms += 5000) {
				if (maps_open(&m, &o, &d) ||
				    maps_attach(m, "v0", if_nametoindex("v0"), XDP_MODE_AUTO, &mode,
						&d))
					_exit(1);
				maps_close(m);
				if (o.idle_ms > maps_world_options.idle_ms + 10000 &&
				    maps_unload(MAPS_WORLD_PIN_DIR, &d))
					_exit(2);
			}
		}
		random ^= random << 13;
		random ^= random >> 7;
		random ^= random << 17;
		usleep((useconds_t)(random % (4 * open_us)));
		kill(child, SIGKILL);
		waitpid(child, NULL, 0);
		m = maps_world_open();
		maps_world_assert_attached(m, "v0", XDP_MODE_AUTO, XDP_MODE_NATIVE);
		maps_close(m);
		if (i % 2)
			assert_int_equal(maps_unload(MAPS_WORLD_PIN_DIR, &d), 0);
	}
}

struct watch {
	bool stop;
	uint64_t looks, bare;
	int v0, v1;
};

static void *watch_interfaces(void *arg)
{
	LIBBPF_OPTS(bpf_tc_hook, hook, .attach_point = BPF_TC_INGRESS);
	struct watch *w = arg;

	hook.ifindex = w->v1;
	for (; !__atomic_load_n(&w->stop, __ATOMIC_RELAXED); w->looks++) {
		LIBBPF_OPTS(bpf_tc_opts, opts, .handle = 0x7a64, .priority = 50);
		uint32_t id = 0;

		if (bpf_xdp_query_id(w->v0, 0, &id) || !id || bpf_tc_query(&hook, &opts))
			w->bare++;
	}
	return NULL;
}

static void an_upgrade_replaces_the_program_and_nothing_else(void **state)
{
	struct maps_options o = maps_world_options;
	struct maps *m = maps_world_open();
	uint32_t ring = maps_world_map_id("maps/ring"), tc = maps_world_prog_id("progs/tc");
	struct bpf_link_info before, after;
	struct watch w = { .stop = false };
	pthread_t watcher;
	struct diag d;

	(void)state;
	maps_world_assert_attached(m, "v0", XDP_MODE_NATIVE, XDP_MODE_NATIVE);
	maps_world_assert_attached(m, "v1", XDP_MODE_TC, XDP_MODE_TC);
	before = maps_world_link("links/xdp-v0");
	maps_close(m);
	w.v0 = (int)if_nametoindex("v0");
	w.v1 = (int)if_nametoindex("v1");
	assert_int_equal(pthread_create(&watcher, NULL, watch_interfaces, &w), 0);
	for (int i = 0; i < 5; i++) {
		o.idle_ms -= 60000;
		assert_int_equal(maps_open(&m, &o, &d), 0);
		assert_true(maps_adopted(m));
		maps_world_assert_attached(m, "v0", XDP_MODE_NATIVE, XDP_MODE_NATIVE);
		maps_world_assert_attached(m, "v1", XDP_MODE_TC, XDP_MODE_TC);
		maps_close(m);
	}
	__atomic_store_n(&w.stop, true, __ATOMIC_RELAXED);
	pthread_join(watcher, NULL);
	after = maps_world_link("links/xdp-v0");
	assert_int_equal(after.id, before.id);
	assert_int_not_equal(after.prog_id, before.prog_id);
	assert_int_not_equal(maps_world_prog_id("progs/tc"), tc);
	assert_int_equal(maps_world_map_id("maps/ring"), ring);
	assert_true(w.looks > 100);
	assert_int_equal(w.bare, 0);
	assert_int_not_equal(access(MAPS_WORLD_PIN_DIR "/progs/new-xdp", F_OK), 0);
}

static uint32_t link_prog(const char *ifname)
{
	char name[64];

	snprintf(name, sizeof(name), "links/xdp-%s", ifname);
	return maps_world_link(name).prog_id;
}

static void a_running_agent_follows_an_upgrade_by_another_process(void **state)
{
	struct maps_options o = maps_world_options;
	struct maps *running = maps_world_open(), *m = NULL;
	uint32_t before;
	struct diag d;

	(void)state;
	maps_world_assert_attached(running, "v0", XDP_MODE_NATIVE, XDP_MODE_NATIVE);
	before = link_prog("v0");
	o.replace = true;
	assert_int_equal(maps_open(&m, &o, &d), 0);
	maps_close(m);
	assert_int_not_equal(link_prog("v0"), before);
	maps_world_assert_attached(running, "v1", XDP_MODE_GENERIC, XDP_MODE_GENERIC);
	assert_int_equal(link_prog("v1"), link_prog("v0"));

	/* Unloaded behind its back: it must not attach what nobody could find again. */
	assert_int_equal(maps_unload(MAPS_WORLD_PIN_DIR, &d), 0);
	assert_int_equal(maps_world_attach(running, "v0", XDP_MODE_NATIVE, &(enum xdp_mode){ 0 }),
			 -ENOENT);
	assert_int_equal(maps_detach(running, "v0", if_nametoindex("v0")), -ENOENT);
	maps_world_assert_bare("v0");
	maps_close(running);
}

static int group_setup(void **state)
{
	(void)state;
	return maps_world_enter();
}

#define TEST(fn) cmocka_unit_test_setup_teardown(fn, maps_world_interfaces, maps_world_all_gone)

int main(void)
{
	const struct CMUnitTest tests[] = {
		TEST(maps_are_adopted_by_the_next_open),
		TEST(other_sizes_or_seed_are_refused_and_change_nothing),
		TEST(maps_of_another_abi_are_refused),
		TEST(a_pin_directory_must_be_on_a_bpffs),
		TEST(the_usual_bpffs_is_mounted_if_it_is_not),
		TEST(leftovers_of_a_cut_start_are_made_anew),
		TEST(leftovers_are_kept_while_a_program_is_attached),
		TEST(a_killed_agent_leaves_what_the_next_can_use),
		TEST(an_upgrade_replaces_the_program_and_nothing_else),
		TEST(a_running_agent_follows_an_upgrade_by_another_process),
	};

	return cmocka_run_group_tests_name("maps", tests, group_setup, NULL);
}
