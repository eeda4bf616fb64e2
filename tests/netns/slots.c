/* SPDX-License-Identifier: GPL-2.0-only */
/* How many slots of the pinned ring each backend holds, as packets see it: {"ID":COUNT,...}. */
#include <linux/bpf.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <zddlb/abi.h>

#include "util.h"

static int open_pin(const char *path)
{
	union bpf_attr attr = { .pathname = (uint64_t)(uintptr_t)path };
	long fd = syscall(SYS_bpf, BPF_OBJ_GET, &attr, sizeof(attr));

	if (fd < 0)
		die("bpf", path);
	return (int)fd;
}

static uint32_t entries_of(int fd)
{
	struct bpf_map_info info = { 0 };
	union bpf_attr attr = { .info = { .bpf_fd = (uint32_t)fd,
					  .info_len = sizeof(info),
					  .info = (uint64_t)(uintptr_t)&info } };

	if (syscall(SYS_bpf, BPF_OBJ_GET_INFO_BY_FD, &attr, sizeof(attr)))
		die("map info", "");
	return info.max_entries;
}

int main(int argc, char **argv)
{
	static uint32_t held[ZD_MAX_BACKEND_IDS];
	const char *comma = "";
	const uint64_t *words;
	uint32_t n;
	int fd;

	if (argc != 2) {
		fputs("usage: slots PINNED-RING\n", stderr);
		return 2;
	}
	fd = open_pin(argv[1]);
	n = entries_of(fd);
	words = mmap(NULL, n * sizeof(*words), PROT_READ, MAP_SHARED, fd, 0);
	if (words == MAP_FAILED)
		die("mmap", argv[1]);
	for (uint32_t i = 0; i < n; i++)
		held[ZD_SLOT_CURRENT(words[i])]++;
	putchar('{');
	for (uint32_t id = 1; id < ZD_MAX_BACKEND_IDS; id++) {
		if (!held[id])
			continue;
		printf("%s\"%u\":%u", comma, id, held[id]);
		comma = ",";
	}
	puts("}");
	return 0;
}
