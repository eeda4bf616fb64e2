/* SPDX-License-Identifier: GPL-2.0-only */
#include "maps_world.h"

#include <bpf/bpf.h>
#include <bpf/libbpf.h>
#include <errno.h>
#include <linux/if_link.h>
#include <net/if.h>
#include <sched.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mount.h>
#include <unistd.h>

#include <cmocka.h>

#include "../../agent/io/log.h"

const struct maps_options maps_world_options = {
	.pin_dir = MAPS_WORLD_PIN_DIR,
	.max_services = 16,
	.max_backends = 64,
	.max_slots = 8192,
	.max_pins = 32768,
	.hash_seed = "0123456789abcde",
	.idle_ms = 900000,
	.syn_ms = 30000,
	.fin_ms = 10000,
	.udp_ms = 120000,
};

int maps_world_shell(const char *fmt, ...)
{
	char line[256];
	va_list args;

	va_start(args, fmt);
	vsnprintf(line, sizeof(line), fmt, args);
	va_end(args);
	return system(line);
}

int maps_world_enter(void)
{
	log_set_level(LOG_WARN_LEVEL);
	if (unshare(CLONE_NEWNET | CLONE_NEWNS) ||
	    mount("none", "/", NULL, MS_REC | MS_PRIVATE, NULL) ||
	    mount("bpf", MAPS_WORLD_BPFFS, "bpf", 0, NULL) ||
	    maps_world_shell("ip link set lo up")) {
		print_error("this test needs root, namespaces and a BPF file system: %s\n",
			    strerror(errno));
		return -1;
	}
	return 0;
}

struct maps *maps_world_open(void)
{
	struct maps *m = NULL;
	struct diag d = { .text = "" };
	int err = maps_open(&m, &maps_world_options, &d);

	if (err)
		print_error("maps_open: %d %s: %s\n", err, d.pointer, d.text);
	assert_int_equal(err, 0);
	return m;
}

int maps_world_pinned(const char *name)
{
	char path[128];

	snprintf(path, sizeof(path), MAPS_WORLD_PIN_DIR "/%s", name);
	return bpf_obj_get(path);
}

uint32_t maps_world_map_id(const char *name)
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

uint32_t maps_world_prog_id(const char *name)
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

struct bpf_link_info maps_world_link(const char *name)
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

uint32_t maps_world_xdp(const char *ifname, int flags)
{
	uint32_t id = 0;

	assert_int_equal(bpf_xdp_query_id((int)if_nametoindex(ifname), flags, &id), 0);
	return id;
}

uint32_t maps_world_tc(const char *ifname)
{
	LIBBPF_OPTS(bpf_tc_hook, hook, .ifindex = (int)if_nametoindex(ifname),
		    .attach_point = BPF_TC_INGRESS);
	LIBBPF_OPTS(bpf_tc_opts, opts, .handle = 0x7a64, .priority = 50);

	return bpf_tc_query(&hook, &opts) ? 0 : opts.prog_id;
}

int maps_world_attach(struct maps *m, const char *ifname, enum xdp_mode wanted, enum xdp_mode *ret)
{
	struct diag d = { .text = "" };
	int err = maps_attach(m, ifname, if_nametoindex(ifname), wanted, ret, &d);

	assert_true(!err || strlen(d.text) > 20);
	return err;
}

void maps_world_assert_attached(struct maps *m, const char *ifname, enum xdp_mode wanted,
				enum xdp_mode becomes)
{
	enum xdp_mode mode = XDP_MODE_AUTO;

	assert_int_equal(maps_world_attach(m, ifname, wanted, &mode), 0);
	assert_int_equal(mode, becomes);
	assert_int_equal(maps_world_xdp(ifname, XDP_FLAGS_DRV_MODE),
			 becomes == XDP_MODE_NATIVE ? maps_world_prog_id("progs/xdp") : 0);
	assert_int_equal(maps_world_xdp(ifname, XDP_FLAGS_SKB_MODE),
			 becomes == XDP_MODE_GENERIC ? maps_world_prog_id("progs/xdp") : 0);
	assert_int_equal(maps_world_tc(ifname), maps_world_prog_id("progs/tc"));
}

void maps_world_assert_bare(const char *ifname)
{
	assert_int_equal(maps_world_xdp(ifname, 0), 0);
	assert_int_equal(maps_world_tc(ifname), 0);
	assert_int_not_equal(maps_world_shell("tc qdisc show dev %s | grep -q clsact", ifname), 0);
}

int maps_world_interfaces(void **state)
{
	(void)state;
	return maps_world_shell("ip link add v0 type veth peer name v1 && ip link set v0 up && "
				"ip link set v1 up");
}

/* Whatever a test did: afterwards nothing of it is to be found. */
int maps_world_all_gone(void **state)
{
	struct diag d = { .text = "" };

	(void)state;
	if (maps_unload(MAPS_WORLD_PIN_DIR, &d)) {
		print_error("unload: %s\n", d.text);
		return -1;
	}
	if (access(MAPS_WORLD_PIN_DIR, F_OK) == 0)
		return -1;
	return maps_world_shell("ip link del v0 2>/dev/null; true");
}
