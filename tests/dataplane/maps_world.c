/* SPDX-License-Identifier: GPL-2.0-only */
#include "maps_world.h"

#include <bpf/bpf.h>
#include <errno.h>
#include <sched.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mount.h>

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
