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

static uint32_t map_id(const char *name)
{
	struct bpf_map_info info = { 0 };
	uint32_t len = sizeof(info);
	int fd = maps_world_pinned(name);

	if (fd < 0)
		return 0;
	assert_int_equal(bpf_obj_get_info_by_fd(fd, &info, &len), 0);
	close(fd);
	return info.id;
}

static uint32_t prog_id(const char *name)
{
	struct bpf_prog_info info = { 0 };
	uint32_t len = sizeof(info);
	int fd = maps_world_pinned(name);

	if (fd < 0)
		return 0;
	assert_int_equal(bpf_obj_get_info_by_fd(fd, &info, &len), 0);
	close(fd);
	return info.id;
}

static struct bpf_link_info link_info(const char *name)
{
	struct bpf_link_info info = { 0 };
	uint32_t len = sizeof(info);
	int fd = maps_world_pinned(name);

	if (fd < 0)
		return info;
	assert_int_equal(bpf_obj_get_info_by_fd(fd, &info, &len), 0);
	close(fd);
	return info;
}

static uint32_t xdp_on(const char *ifname, int flags)
{
	uint32_t id = 0;

	assert_int_equal(bpf_xdp_query_id((int)if_nametoindex(ifname), flags, &id), 0);
	return id;
}

static uint32_t tc_on(const char *ifname)
{
	LIBBPF_OPTS(bpf_tc_hook, hook, .ifindex = (int)if_nametoindex(ifname),
		    .attach_point = BPF_TC_INGRESS);
	LIBBPF_OPTS(bpf_tc_opts, opts, .handle = 0x7a64, .priority = 50);

	return bpf_tc_query(&hook, &opts) ? 0 : opts.prog_id;
}

static int attach(struct maps *m, const char *ifname, enum xdp_mode wanted, enum xdp_mode *ret)
{
	struct diag d = { .text = "" };
	int err = maps_attach(m, ifname, if_nametoindex(ifname), wanted, ret, &d);

	assert_true(!err || strlen(d.text) > 20);
	return err;
}

static void assert_attached(struct maps *m, const char *ifname, enum xdp_mode wanted,
			    enum xdp_mode becomes)
{
	enum xdp_mode mode = XDP_MODE_AUTO;

	assert_int_equal(attach(m, ifname, wanted, &mode), 0);
	assert_int_equal(mode, becomes);
	assert_int_equal(xdp_on(ifname, XDP_FLAGS_DRV_MODE),
			 becomes == XDP_MODE_NATIVE ? prog_id("progs/xdp") : 0);
	assert_int_equal(xdp_on(ifname, XDP_FLAGS_SKB_MODE),
			 becomes == XDP_MODE_GENERIC ? prog_id("progs/xdp") : 0);
	assert_int_equal(tc_on(ifname), prog_id("progs/tc"));
}

static void assert_bare(const char *ifname)
{
	assert_int_equal(xdp_on(ifname, 0), 0);
	assert_int_equal(tc_on(ifname), 0);
	assert_int_not_equal(maps_world_shell("tc qdisc show dev %s | grep -q clsact", ifname), 0);
}

static int foreign_program(enum bpf_prog_type type)
{
	const struct bpf_insn insns[] = {
		{ .code = BPF_ALU64 | BPF_MOV | BPF_K, .dst_reg = BPF_REG_0, .imm = XDP_PASS },
		{ .code = BPF_JMP | BPF_EXIT },
	};

	return bpf_prog_load(type, "foreign", "GPL", insns, 2, NULL);
}

static int new_interfaces(void **state)
{
	(void)state;
	return maps_world_shell("ip link add v0 type veth peer name v1 && ip link set v0 up && "
				"ip link set v1 up");
}

/* Whatever a test did: afterwards nothing of it is to be found. */
static int all_gone(void **state)
{
	struct diag d = { .text = "" };
	uint32_t id = 0;

	(void)state;
	if (maps_unload(MAPS_WORLD_PIN_DIR, &d)) {
		print_error("unload: %s\n", d.text);
		return -1;
	}
	if (access(MAPS_WORLD_PIN_DIR, F_OK) == 0 ||
	    maps_world_shell("ip link del v0 2>/dev/null; true"))
		return -1;
	while (bpf_link_get_next_id(id, &id) == 0) {
		int fd = bpf_link_get_fd_by_id(id);
		struct bpf_link_info info = { 0 };
		uint32_t len = sizeof(info);

		if (fd >= 0 && bpf_obj_get_info_by_fd(fd, &info, &len) == 0 &&
		    info.type == BPF_LINK_TYPE_XDP && info.xdp.ifindex == 0)
			print_message("# a dead XDP link is around: %u\n", id);
		close(fd);
	}
	return 0;
}

static void maps_are_adopted_by_the_next_open(void **state)
{
	struct zd_backend b = { .port = 5, .flags = ZD_BACKEND_ALIVE }, got;
	struct maps *m = maps_world_open();
	uint32_t ring = map_id("maps/ring"), xdp = prog_id("progs/xdp");
	uint8_t seed[16];

	(void)state;
	assert_false(maps_adopted(m));
	assert_int_equal(maps_set_backend(m, 7, &b), 0);
	maps_close(m);

	m = maps_world_open();
	assert_true(maps_adopted(m));
	assert_int_equal(map_id("maps/ring"), ring);
	assert_int_equal(prog_id("progs/xdp"), xdp);
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
	uint32_t ring = map_id("maps/ring"), xdp = prog_id("progs/xdp");

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
	assert_int_equal(map_id("maps/ring"), ring);
	assert_int_equal(prog_id("progs/xdp"), xdp);
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
	ring = map_id("maps/ring");
	assert_int_equal(unlink(MAPS_WORLD_PIN_DIR "/maps/settings"), 0);
	assert_int_equal(unlink(MAPS_WORLD_PIN_DIR "/maps/vips"), 0);
	m = maps_world_open();
	assert_false(maps_adopted(m));
	assert_int_not_equal(map_id("maps/ring"), ring);
	assert_int_not_equal(map_id("maps/vips"), 0);
	maps_close(m);
}

static void leftovers_are_kept_while_a_program_is_attached(void **state)
{
	struct maps *m = maps_world_open();
	uint32_t ring = map_id("maps/ring");

	(void)state;
	assert_attached(m, "v0", XDP_MODE_NATIVE, XDP_MODE_NATIVE);
	maps_close(m);
	assert_int_equal(unlink(MAPS_WORLD_PIN_DIR "/maps/settings"), 0);
	assert_refused(&maps_world_options, -EEXIST, "/state/pinDir");
	assert_int_equal(map_id("maps/ring"), ring);
	assert_int_not_equal(xdp_on("v0", 0), 0);
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
		assert_attached(m, "v0", XDP_MODE_AUTO, XDP_MODE_NATIVE);
		maps_close(m);
		if (i % 2)
			assert_int_equal(maps_unload(MAPS_WORLD_PIN_DIR, &d), 0);
	}
}

static void every_mode_attaches_and_outlives_the_agent(void **state)
{
	static const struct {
		enum xdp_mode wanted, becomes;
	} cases[] = {
		{ XDP_MODE_AUTO, XDP_MODE_NATIVE },     { XDP_MODE_GENERIC, XDP_MODE_GENERIC },
		{ XDP_MODE_AUTO, XDP_MODE_GENERIC },    { XDP_MODE_TC, XDP_MODE_TC },
		{ XDP_MODE_GENERIC, XDP_MODE_GENERIC }, { XDP_MODE_NATIVE, XDP_MODE_NATIVE },
		{ XDP_MODE_TC, XDP_MODE_TC },           { XDP_MODE_AUTO, XDP_MODE_NATIVE },
	};

	(void)state;
	for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
		struct maps *m = maps_world_open();
		struct bpf_link_info before, after;
		uint32_t filter;

		assert_attached(m, "v0", cases[i].wanted, cases[i].becomes);
		before = link_info("links/xdp-v0");
		filter = tc_on("v0");
		maps_close(m);
		m = maps_world_open();
		assert_attached(m, "v0", cases[i].wanted, cases[i].becomes);
		after = link_info("links/xdp-v0");
		assert_int_equal(before.id, after.id);
		assert_int_equal(before.prog_id, after.prog_id);
		assert_int_equal(tc_on("v0"), filter);
		maps_close(m);
	}
}

static void detach_and_unload_leave_a_bare_interface(void **state)
{
	struct maps *m = maps_world_open();
	struct diag d;

	(void)state;
	assert_attached(m, "v0", XDP_MODE_NATIVE, XDP_MODE_NATIVE);
	assert_attached(m, "v1", XDP_MODE_GENERIC, XDP_MODE_GENERIC);
	assert_int_equal(maps_detach(m, "v0", if_nametoindex("v0")), 0);
	assert_bare("v0");
	assert_int_not_equal(xdp_on("v1", 0), 0);
	assert_int_equal(maps_detach(m, "v0", if_nametoindex("v0")), 0);
	assert_attached(m, "v0", XDP_MODE_TC, XDP_MODE_TC);
	maps_close(m);
	assert_int_equal(maps_unload(MAPS_WORLD_PIN_DIR, &d), 0);
	assert_bare("v0");
	assert_bare("v1");
	assert_int_not_equal(access(MAPS_WORLD_PIN_DIR, F_OK), 0);
	assert_int_equal(maps_unload(MAPS_WORLD_PIN_DIR, &d), 0);
}

static void a_clsact_of_others_stays(void **state)
{
	int fd = foreign_program(BPF_PROG_TYPE_SCHED_CLS);
	struct maps *m = maps_world_open();

	(void)state;
	LIBBPF_OPTS(bpf_tc_opts, egress, .prog_fd = fd, .handle = 1, .priority = 1);
	LIBBPF_OPTS(bpf_tc_hook, hook, .ifindex = (int)if_nametoindex("v1"),
		    .attach_point = BPF_TC_EGRESS);
	assert_int_equal(maps_world_shell("tc qdisc add dev v0 clsact"), 0);
	assert_attached(m, "v0", XDP_MODE_TC, XDP_MODE_TC);
	assert_int_equal(maps_detach(m, "v0", if_nametoindex("v0")), 0);
	assert_int_equal(maps_world_shell("tc qdisc show dev v0 | grep -q clsact"), 0);

	/* Ours, but used by somebody else since. */
	assert_attached(m, "v1", XDP_MODE_TC, XDP_MODE_TC);
	assert_int_equal(bpf_tc_attach(&hook, &egress), 0);
	assert_int_equal(maps_detach(m, "v1", if_nametoindex("v1")), 0);
	assert_int_equal(tc_on("v1"), 0);
	assert_int_equal(maps_world_shell("tc filter show dev v1 egress | grep -q foreign"), 0);
	maps_close(m);
	close(fd);
}

static void an_interface_made_again_is_attached_again(void **state)
{
	struct maps *m = maps_world_open();
	uint32_t id;

	(void)state;
	assert_attached(m, "v0", XDP_MODE_AUTO, XDP_MODE_NATIVE);
	id = link_info("links/xdp-v0").id;
	assert_int_equal(maps_world_shell("ip link del v0"), 0);
	assert_int_equal(maps_attach(m, "v0", 12345, XDP_MODE_AUTO, &(enum xdp_mode){ 0 }, NULL),
			 -ENODEV);
	assert_int_equal(new_interfaces(state), 0);
	assert_attached(m, "v0", XDP_MODE_AUTO, XDP_MODE_NATIVE);
	assert_int_not_equal(link_info("links/xdp-v0").id, id);
	assert_int_equal(link_info("links/xdp-v0").xdp.ifindex, if_nametoindex("v0"));
	assert_int_equal(maps_world_shell("ip link del v0"), 0);
	assert_int_equal(maps_detach(m, "v0", 0), 0);
	assert_int_equal(link_info("links/xdp-v0").id, 0);
	maps_close(m);
}

static void a_renamed_interface_keeps_its_link(void **state)
{
	struct maps *m = maps_world_open();
	uint32_t id;

	(void)state;
	assert_attached(m, "v0", XDP_MODE_NATIVE, XDP_MODE_NATIVE);
	id = link_info("links/xdp-v0").id;
	assert_int_equal(maps_world_shell("ip link set v0 down && ip link set v0 name w0.7 && "
					  "ip link set w0.7 up"),
			 0);
	assert_attached(m, "w0.7", XDP_MODE_NATIVE, XDP_MODE_NATIVE);
	assert_int_equal(link_info("links/xdp-w0:7").id, id);
	assert_int_equal(link_info("links/xdp-v0").id, 0);
	assert_int_equal(maps_detach(m, "w0.7", if_nametoindex("w0.7")), 0);
	assert_bare("w0.7");
	assert_int_equal(maps_world_shell("ip link set w0.7 down && ip link set w0.7 name v0"), 0);
	maps_close(m);
}

static void programs_of_others_are_left_alone(void **state)
{
	int fd = foreign_program(BPF_PROG_TYPE_XDP), cls = foreign_program(BPF_PROG_TYPE_SCHED_CLS);
	LIBBPF_OPTS(bpf_tc_opts, opts, .prog_fd = cls, .handle = 0x7a64, .priority = 50);
	struct maps *m = maps_world_open();
	int v0 = (int)if_nametoindex("v0");
	enum xdp_mode mode;
	uint32_t id;

	(void)state;
	assert_int_equal(bpf_xdp_attach(v0, fd, XDP_FLAGS_SKB_MODE, NULL), 0);
	id = xdp_on("v0", 0);
	assert_int_equal(attach(m, "v0", XDP_MODE_AUTO, &mode), -EBUSY);
	assert_int_equal(attach(m, "v0", XDP_MODE_NATIVE, &mode), -EBUSY);
	assert_int_equal(xdp_on("v0", 0), id);
	assert_int_equal(tc_on("v0"), 0);
	assert_int_equal(attach(m, "v0", XDP_MODE_TC, &mode), 0);
	assert_int_equal(mode, XDP_MODE_TC);
	assert_int_equal(xdp_on("v0", 0), id);

	LIBBPF_OPTS(bpf_tc_hook, hook, .ifindex = (int)if_nametoindex("v1"),
		    .attach_point = BPF_TC_INGRESS);
	assert_int_equal(bpf_tc_hook_create(&hook), 0);
	assert_int_equal(bpf_tc_attach(&hook, &opts), 0);
	id = tc_on("v1");
	assert_int_equal(attach(m, "v1", XDP_MODE_NATIVE, &mode), -EBUSY);
	assert_int_equal(tc_on("v1"), id);
	assert_int_equal(maps_detach(m, "v1", if_nametoindex("v1")), 0);
	assert_int_equal(tc_on("v1"), id);
	maps_close(m);
	close(fd);
	close(cls);
}

static void a_mode_the_driver_lacks_is_refused_and_auto_finds_another(void **state)
{
	struct maps *m = maps_world_open();
	enum xdp_mode mode;

	(void)state;
	assert_int_equal(attach(m, "lo", XDP_MODE_NATIVE, &mode), -EOPNOTSUPP);
	assert_bare("lo");
	assert_attached(m, "lo", XDP_MODE_AUTO, XDP_MODE_GENERIC);
	/* What runs stays when the change cannot be made. */
	assert_int_equal(attach(m, "lo", XDP_MODE_NATIVE, &mode), -EOPNOTSUPP);
	assert_attached(m, "lo", XDP_MODE_GENERIC, XDP_MODE_GENERIC);
	maps_close(m);
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
	uint32_t ring = map_id("maps/ring"), tc = prog_id("progs/tc");
	struct bpf_link_info before, after;
	struct watch w = { .stop = false };
	pthread_t watcher;
	struct diag d;

	(void)state;
	assert_attached(m, "v0", XDP_MODE_NATIVE, XDP_MODE_NATIVE);
	assert_attached(m, "v1", XDP_MODE_TC, XDP_MODE_TC);
	before = link_info("links/xdp-v0");
	maps_close(m);
	w.v0 = (int)if_nametoindex("v0");
	w.v1 = (int)if_nametoindex("v1");
	assert_int_equal(pthread_create(&watcher, NULL, watch_interfaces, &w), 0);
	for (int i = 0; i < 5; i++) {
		o.idle_ms -= 60000;
		assert_int_equal(maps_open(&m, &o, &d), 0);
		assert_true(maps_adopted(m));
		assert_attached(m, "v0", XDP_MODE_NATIVE, XDP_MODE_NATIVE);
		assert_attached(m, "v1", XDP_MODE_TC, XDP_MODE_TC);
		maps_close(m);
	}
	__atomic_store_n(&w.stop, true, __ATOMIC_RELAXED);
	pthread_join(watcher, NULL);
	after = link_info("links/xdp-v0");
	assert_int_equal(after.id, before.id);
	assert_int_not_equal(after.prog_id, before.prog_id);
	assert_int_not_equal(prog_id("progs/tc"), tc);
	assert_int_equal(map_id("maps/ring"), ring);
	assert_true(w.looks > 100);
	assert_int_equal(w.bare, 0);
	assert_int_not_equal(access(MAPS_WORLD_PIN_DIR "/progs/new-xdp", F_OK), 0);
}

static uint32_t link_prog(const char *ifname)
{
	char name[64];

	snprintf(name, sizeof(name), "links/xdp-%s", ifname);
	return link_info(name).prog_id;
}

static void a_running_agent_follows_an_upgrade_by_another_process(void **state)
{
	struct maps_options o = maps_world_options;
	struct maps *running = maps_world_open(), *m = NULL;
	uint32_t before;
	struct diag d;

	(void)state;
	assert_attached(running, "v0", XDP_MODE_NATIVE, XDP_MODE_NATIVE);
	before = link_prog("v0");
	o.replace = true;
	assert_int_equal(maps_open(&m, &o, &d), 0);
	maps_close(m);
	assert_int_not_equal(link_prog("v0"), before);
	assert_attached(running, "v1", XDP_MODE_GENERIC, XDP_MODE_GENERIC);
	assert_int_equal(link_prog("v1"), link_prog("v0"));

	/* Unloaded behind its back: it must not attach what nobody could find again. */
	assert_int_equal(maps_unload(MAPS_WORLD_PIN_DIR, &d), 0);
	assert_int_equal(attach(running, "v0", XDP_MODE_NATIVE, &(enum xdp_mode){ 0 }), -ENOENT);
	assert_int_equal(maps_detach(running, "v0", if_nametoindex("v0")), -ENOENT);
	assert_bare("v0");
	maps_close(running);
}

static int group_setup(void **state)
{
	(void)state;
	return maps_world_enter();
}

#define TEST(fn) cmocka_unit_test_setup_teardown(fn, new_interfaces, all_gone)

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
		TEST(every_mode_attaches_and_outlives_the_agent),
		TEST(detach_and_unload_leave_a_bare_interface),
		TEST(a_clsact_of_others_stays),
		TEST(an_interface_made_again_is_attached_again),
		TEST(a_renamed_interface_keeps_its_link),
		TEST(programs_of_others_are_left_alone),
		TEST(a_mode_the_driver_lacks_is_refused_and_auto_finds_another),
		TEST(an_upgrade_replaces_the_program_and_nothing_else),
		TEST(a_running_agent_follows_an_upgrade_by_another_process),
	};

	return cmocka_run_group_tests_name("maps", tests, group_setup, NULL);
}
