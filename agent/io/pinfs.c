/* SPDX-License-Identifier: GPL-2.0-only */
/* Names and directories of the pins in a bpffs. */
#include "maps_internal.h"

#include <bpf/bpf.h>
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/file.h>
#include <sys/mount.h>
#include <sys/stat.h>
#include <sys/vfs.h>
#include <unistd.h>

#include "log.h"

#define BPFFS_MAGIC 0xcafe4a11
#define BPFFS_USUAL "/sys/fs/bpf"

static void dots_to_colons(char *c)
{
	for (; *c; c++) {
		if (*c == '.')
			*c = ':';
	}
}

const char *pinfs_path(char buf[PIN_PATH_LEN], const char *pin_dir, const char *dir,
		       const char *name)
{
	snprintf(buf, PIN_PATH_LEN, "%s/%s/%s", pin_dir, dir, name);
	return buf;
}

const char *pinfs_link_name(char buf[MODEL_IFNAME_LEN + 8], const char *ifname)
{
	snprintf(buf, MODEL_IFNAME_LEN + 8, "xdp-%.*s", MODEL_IFNAME_LEN - 1, ifname);
	dots_to_colons(buf);
	return buf;
}

bool pinfs_is_link(const char *name)
{
	return strncmp(name, "clsact-", strlen("clsact-")) != 0;
}

static bool is_bpffs(const char *path)
{
	struct statfs fs;

	return statfs(path, &fs) == 0 && (uint32_t)fs.f_type == BPFFS_MAGIC;
}

/* Cut `path` down to its longest part that exists. */
static void nearest_ancestor(char *path)
{
	while (access(path, F_OK) < 0) {
		char *slash = strrchr(path, '/');

		if (!slash || slash == path) {
			path[1] = '\0';
			return;
		}
		*slash = '\0';
	}
}

static int ensure_bpffs(const char *pin_dir, struct diag *d)
{
	size_t len = strlen(BPFFS_USUAL);
	char at[MODEL_PATH_LEN];
	int err;

	snprintf(at, sizeof(at), "%s", pin_dir);
	nearest_ancestor(at);
	if (is_bpffs(at))
		return 0;
	if (strncmp(pin_dir, BPFFS_USUAL, len) != 0 || (pin_dir[len] && pin_dir[len] != '/'))
		return diag_set(d, EINVAL, "not_a_bpffs", "/state/pinDir",
				"%s is not on a BPF file system, where alone maps can be kept; "
				"choose a directory under " BPFFS_USUAL
				", or mount one there: mount -t bpf bpf %s",
				pin_dir, at);
	if (mount("bpf", BPFFS_USUAL, "bpf", 0, "mode=0700") < 0) {
		err = errno;
		return diag_set(d, err, "mount_failed", "/state/pinDir",
				"the BPF file system could not be mounted on " BPFFS_USUAL
				": %s; mount it first: mount -t bpf bpf " BPFFS_USUAL,
				strerror(err));
	}
	log_info("mounted the BPF file system on " BPFFS_USUAL);
	return 0;
}

static int make_dirs(char *path)
{
	for (char *c = path + 1;; c++) {
		char was = *c;

		if (was && was != '/')
			continue;
		*c = '\0';
		if (mkdir(path, 0700) < 0 && errno != EEXIST)
			return -errno;
		*c = was;
		if (!was)
			return 0;
	}
}

int pinfs_prepare(const char *pin_dir, struct diag *d)
{
	static const char *const dirs[] = { PIN_MAPS, PIN_PROGS, PIN_LINKS };
	char path[PIN_PATH_LEN];
	int err;

	if (pin_dir[0] != '/' || strlen(pin_dir) >= MODEL_PATH_LEN)
		return diag_set(d, EINVAL, "bad_value", "/state/pinDir",
				"'%.64s' is not an absolute path; write one, such as " BPFFS_USUAL
				"/zddlb",
				pin_dir);
	err = ensure_bpffs(pin_dir, d);
	if (err)
		return err;

	for (size_t i = 0; i < sizeof(dirs) / sizeof(dirs[0]); i++) {
		snprintf(path, sizeof(path), "%s/%s", pin_dir, dirs[i]);
		err = make_dirs(path);
		if (err)
			return diag_set(d, -err, "pin_dir", "/state/pinDir",
					"directory %s could not be made: %s; names on a BPF file "
					"system hold no dots, and only root may write there",
					path, strerror(-err));
	}
	return 0;
}

int pinfs_lock(const char *pin_dir)
{
	int fd = open(pin_dir, O_RDONLY | O_DIRECTORY | O_CLOEXEC), err;

	if (fd < 0)
		return -errno;
	if (flock(fd, LOCK_EX) == 0)
		return fd;
	err = -errno;
	close(fd);
	return err;
}

int pinfs_get(const char *pin_dir, const char *dir, const char *name)
{
	char path[PIN_PATH_LEN];
	int fd = bpf_obj_get(pinfs_path(path, pin_dir, dir, name));

	return fd < 0 ? -errno : fd;
}

int pinfs_pin(int fd, const char *pin_dir, const char *dir, const char *name)
{
	char path[PIN_PATH_LEN];

	return bpf_obj_pin(fd, pinfs_path(path, pin_dir, dir, name)) < 0 ? -errno : 0;
}

int pinfs_rename(const char *pin_dir, const char *dir, const char *from, const char *to)
{
	char old[PIN_PATH_LEN], new[PIN_PATH_LEN];

	pinfs_path(old, pin_dir, dir, from);
	pinfs_path(new, pin_dir, dir, to);
	return rename(old, new) < 0 ? -errno : 0;
}

int pinfs_unlink(const char *pin_dir, const char *dir, const char *name)
{
	char path[PIN_PATH_LEN];

	pinfs_path(path, pin_dir, dir, name);
	return remove(path) < 0 && errno != ENOENT ? -errno : 0;
}

int pinfs_each(const char *pin_dir, const char *dir, int (*fn)(void *arg, const char *name),
	       void *arg)
{
	char path[PIN_PATH_LEN];
	struct dirent **list;
	int n, err = 0;

	snprintf(path, sizeof(path), "%s/%s", pin_dir, dir);
	n = scandir(path, &list, NULL, alphasort);
	if (n < 0)
		return errno == ENOENT ? 0 : -errno;
	for (int i = 0; i < n; i++) {
		if (!err && list[i]->d_name[0] != '.')
			err = fn(arg, list[i]->d_name);
		free(list[i]);
	}
	free(list);
	return err;
}

struct clearing {
	const char *pin_dir, *dir;
};

static int clear_one(void *arg, const char *name)
{
	const struct clearing *c = arg;

	return pinfs_unlink(c->pin_dir, c->dir, name);
}

int pinfs_clear(const char *pin_dir, const char *dir)
{
	struct clearing c = { pin_dir, dir };
	char path[PIN_PATH_LEN];
	int err = pinfs_each(pin_dir, dir, clear_one, &c);

	snprintf(path, sizeof(path), "%s/%s", pin_dir, dir);
	if (!err && rmdir(path) < 0 && errno != ENOENT)
		err = -errno;
	return err;
}
