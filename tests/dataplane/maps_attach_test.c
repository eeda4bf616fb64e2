/* SPDX-License-Identifier: GPL-2.0-only */
/* Attaching and detaching by agent/io/maps, on interfaces of the real kernel. */
#include <bpf/bpf.h>
#include <bpf/libbpf.h>
#include <errno.h>
#include <linux/bpf.h>
#include <linux/if_link.h>
#include <net/if.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <unistd.h>

#include <cmocka.h>

#include "maps_world.h"

static int foreign_program(enum bpf_prog_type type)
{
	const struct bpf_insn insns[] = {
		{ .code = BPF_ALU64 | BPF_MOV | BPF_K, .dst_reg = BPF_REG_0, .imm = XDP_PASS },
		{ .code = BPF_JMP | BPF_EXIT },
	};

	return bpf_prog_load(type, "foreign", "GPL", insns, 2, NULL);
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

		maps_world_assert_attached(m, "v0", cases[i].wanted, cases[i].becomes);
		before = maps_world_link("links/xdp-v0");
		filter = maps_world_tc("v0");
		maps_close(m);
		m = maps_world_open();
		maps_world_assert_attached(m, "v0", cases[i].wanted, cases[i].becomes);
		after = maps_world_link("links/xdp-v0");
		assert_int_equal(before.id, after.id);
		assert_int_equal(before.prog_id, after.prog_id);
		assert_int_equal(maps_world_tc("v0"), filter);
		maps_close(m);
	}
}

static void detach_and_unload_leave_a_bare_interface(void **state)
{
	struct maps *m = maps_world_open();
	struct diag d;

	(void)state;
	maps_world_assert_attached(m, "v0", XDP_MODE_NATIVE, XDP_MODE_NATIVE);
	maps_world_assert_attached(m, "v1", XDP_MODE_GENERIC, XDP_MODE_GENERIC);
	assert_int_equal(maps_detach(m, "v0", if_nametoindex("v0")), 0);
	maps_world_assert_bare("v0");
	assert_int_not_equal(maps_world_xdp("v1", 0), 0);
	assert_int_equal(maps_detach(m, "v0", if_nametoindex("v0")), 0);
	maps_world_assert_attached(m, "v0", XDP_MODE_TC, XDP_MODE_TC);
	maps_close(m);
	assert_int_equal(maps_unload(MAPS_WORLD_PIN_DIR, &d), 0);
	maps_world_assert_bare("v0");
	maps_world_assert_bare("v1");
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
	maps_world_assert_attached(m, "v0", XDP_MODE_TC, XDP_MODE_TC);
	assert_int_equal(maps_detach(m, "v0", if_nametoindex("v0")), 0);
	assert_int_equal(maps_world_shell("tc qdisc show dev v0 | grep -q clsact"), 0);

	/* Ours, but used by somebody else since. */
	maps_world_assert_attached(m, "v1", XDP_MODE_TC, XDP_MODE_TC);
	assert_int_equal(bpf_tc_attach(&hook, &egress), 0);
	assert_int_equal(maps_detach(m, "v1", if_nametoindex("v1")), 0);
	assert_int_equal(maps_world_tc("v1"), 0);
	assert_int_equal(maps_world_shell("tc filter show dev v1 egress | grep -q foreign"), 0);
	maps_close(m);
	close(fd);
}

static void an_interface_made_again_is_attached_again(void **state)
{
	struct maps *m = maps_world_open();
	uint32_t id;

	(void)state;
	maps_world_assert_attached(m, "v0", XDP_MODE_AUTO, XDP_MODE_NATIVE);
	id = maps_world_link("links/xdp-v0").id;
	assert_int_equal(maps_world_shell("ip link del v0"), 0);
	assert_int_equal(maps_attach(m, "v0", 12345, XDP_MODE_AUTO, &(enum xdp_mode){ 0 }, NULL),
			 -ENODEV);
	assert_int_equal(maps_world_interfaces(state), 0);
	maps_world_assert_attached(m, "v0", XDP_MODE_AUTO, XDP_MODE_NATIVE);
	assert_int_not_equal(maps_world_link("links/xdp-v0").id, id);
	assert_int_equal(maps_world_link("links/xdp-v0").xdp.ifindex, if_nametoindex("v0"));
	assert_int_equal(maps_world_shell("ip link del v0"), 0);
	assert_int_equal(maps_detach(m, "v0", 0), 0);
	assert_int_equal(maps_world_link("links/xdp-v0").id, 0);
	maps_close(m);
}

static void a_renamed_interface_keeps_its_link(void **state)
{
	struct maps *m = maps_world_open();
	uint32_t id;

	(void)state;
	maps_world_assert_attached(m, "v0", XDP_MODE_NATIVE, XDP_MODE_NATIVE);
	id = maps_world_link("links/xdp-v0").id;
	assert_int_equal(maps_world_shell("ip link set v0 down && ip link set v0 name w0.7 && "
					  "ip link set w0.7 up"),
			 0);
	maps_world_assert_attached(m, "w0.7", XDP_MODE_NATIVE, XDP_MODE_NATIVE);
	assert_int_equal(maps_world_link("links/xdp-w0:7").id, id);
	assert_int_equal(maps_world_link("links/xdp-v0").id, 0);
	assert_int_equal(maps_detach(m, "w0.7", if_nametoindex("w0.7")), 0);
	maps_world_assert_bare("w0.7");
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
	id = maps_world_xdp("v0", 0);
	assert_int_equal(maps_world_attach(m, "v0", XDP_MODE_AUTO, &mode), -EBUSY);
	assert_int_equal(maps_world_attach(m, "v0", XDP_MODE_NATIVE, &mode), -EBUSY);
	assert_int_equal(maps_world_xdp("v0", 0), id);
	assert_int_equal(maps_world_tc("v0"), 0);
	assert_int_equal(maps_world_attach(m, "v0", XDP_MODE_TC, &mode), 0);
	assert_int_equal(mode, XDP_MODE_TC);
	assert_int_equal(maps_world_xdp("v0", 0), id);

	LIBBPF_OPTS(bpf_tc_hook, hook, .ifindex = (int)if_nametoindex("v1"),
		    .attach_point = BPF_TC_INGRESS);
	assert_int_equal(bpf_tc_hook_create(&hook), 0);
	assert_int_equal(bpf_tc_attach(&hook, &opts), 0);
	id = maps_world_tc("v1");
	assert_int_equal(maps_world_attach(m, "v1", XDP_MODE_NATIVE, &mode), -EBUSY);
	assert_int_equal(maps_world_tc("v1"), id);
	assert_int_equal(maps_detach(m, "v1", if_nametoindex("v1")), 0);
	assert_int_equal(maps_world_tc("v1"), id);
	maps_close(m);
	close(fd);
	close(cls);
}

static void a_mode_the_driver_lacks_is_refused_and_auto_finds_another(void **state)
{
	struct maps *m = maps_world_open();
	enum xdp_mode mode;

	(void)state;
	assert_int_equal(maps_world_attach(m, "lo", XDP_MODE_NATIVE, &mode), -EOPNOTSUPP);
	maps_world_assert_bare("lo");
	maps_world_assert_attached(m, "lo", XDP_MODE_AUTO, XDP_MODE_GENERIC);
	/* What runs stays when the change cannot be made. */
	assert_int_equal(maps_world_attach(m, "lo", XDP_MODE_NATIVE, &mode), -EOPNOTSUPP);
	maps_world_assert_attached(m, "lo", XDP_MODE_GENERIC, XDP_MODE_GENERIC);
	maps_close(m);
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
		TEST(every_mode_attaches_and_outlives_the_agent),
		TEST(detach_and_unload_leave_a_bare_interface),
		TEST(a_clsact_of_others_stays),
		TEST(an_interface_made_again_is_attached_again),
		TEST(a_renamed_interface_keeps_its_link),
		TEST(programs_of_others_are_left_alone),
		TEST(a_mode_the_driver_lacks_is_refused_and_auto_finds_another),
	};

	return cmocka_run_group_tests_name("maps_attach", tests, group_setup, NULL);
}
