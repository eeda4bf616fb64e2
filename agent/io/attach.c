/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * Which interfaces run our programs. XDP links are pinned and so are found again by name; a TC
 * filter is known as ours by its handle and by the maps its program uses.
 */
#include "maps_internal.h"

#include <bpf/bpf.h>
#include <bpf/libbpf.h>
#include <errno.h>
#include <linux/if_link.h>
#include <net/if.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "log.h"
#include "tcfilter.h"

/* Fixed, so that one filter is replaced in place and found again. */
#define TC_HANDLE   0x7a64
#define TC_PRIORITY 50
#define MANY_MAPS   64

static int prog_id_of(int fd, uint32_t *ret)
{
	struct bpf_prog_info info = { 0 };
	uint32_t len = sizeof(info);

	if (bpf_obj_get_info_by_fd(fd, &info, &len) < 0)
		return -errno;
	*ret = info.id;
	return 0;
}

static int map_id_of(int fd, uint32_t *ret)
{
	struct bpf_map_info info = { 0 };
	uint32_t len = sizeof(info);

	if (bpf_obj_get_info_by_fd(fd, &info, &len) < 0)
		return -errno;
	*ret = info.id;
	return 0;
}

static bool prog_uses_map(uint32_t prog_id, int map_fd)
{
	uint32_t ids[MANY_MAPS] = { 0 }, wanted = 0, len;
	struct bpf_prog_info info = { .nr_map_ids = MANY_MAPS, .map_ids = (uintptr_t)ids };
	bool found = false;
	int fd = bpf_prog_get_fd_by_id(prog_id);

	if (fd < 0)
		return false;
	len = sizeof(info);
	if (map_id_of(map_fd, &wanted) == 0 && bpf_obj_get_info_by_fd(fd, &info, &len) == 0) {
		for (uint32_t i = 0; i < info.nr_map_ids && i < MANY_MAPS; i++)
			found |= ids[i] == wanted;
	}
	close(fd);
	return found;
}

/* The program of the filter at our place, or 0: none. */
static uint32_t tc_present(unsigned ifindex)
{
	LIBBPF_OPTS(bpf_tc_hook, hook, .ifindex = (int)ifindex, .attach_point = BPF_TC_INGRESS);
	LIBBPF_OPTS(bpf_tc_opts, opts, .handle = TC_HANDLE, .priority = TC_PRIORITY);

	return bpf_tc_query(&hook, &opts) == 0 ? opts.prog_id : 0;
}

static int tc_put(unsigned ifindex, int prog_fd, bool replace)
{
	LIBBPF_OPTS(bpf_tc_hook, hook, .ifindex = (int)ifindex, .attach_point = BPF_TC_INGRESS);
	LIBBPF_OPTS(bpf_tc_opts, opts, .handle = TC_HANDLE, .priority = TC_PRIORITY,
		    .prog_fd = prog_fd, .flags = replace ? BPF_TC_F_REPLACE : 0);

	return bpf_tc_attach(&hook, &opts);
}

/* An empty directory says that the clsact of this interface is ours to remove. */
static const char *clsact_mark(char buf[PIN_PATH_LEN], const char *pin_dir, unsigned ifindex)
{
	char name[32];

	snprintf(name, sizeof(name), "clsact-%u", ifindex);
	return pinfs_path(buf, pin_dir, PIN_LINKS, name);
}

static int clsact_ensure(const char *pin_dir, unsigned ifindex)
{
	LIBBPF_OPTS(bpf_tc_hook, hook, .ifindex = (int)ifindex, .attach_point = BPF_TC_INGRESS);
	char path[PIN_PATH_LEN];
	int err = bpf_tc_hook_create(&hook);

	if (err == -EEXIST)
		return 0;
	if (!err && mkdir(clsact_mark(path, pin_dir, ifindex), 0700) < 0 && errno != EEXIST)
		err = -errno;
	return err;
}

static int tc_ensure(const struct maps *m, const char *ifname, unsigned ifindex, bool *ret_added,
		     struct diag *d)
{
	uint32_t present = tc_present(ifindex), wanted = 0;
	int err = prog_id_of(m->tc_fd, &wanted);

	*ret_added = false;
	if (err || present == wanted)
		return err;
	if (present && !prog_uses_map(present, m->map_fd[MAP_BACKENDS]))
		return diag_set(
			d, EBUSY, "tc_busy", "",
			"%s: another TC filter (program id %u) has preference %u and handle "
			"%#x; remove it: tc filter del dev %s ingress pref %u",
			ifname, present, TC_PRIORITY, TC_HANDLE, ifname, TC_PRIORITY);
	err = clsact_ensure(m->pin_dir, ifindex);
	if (!err)
		err = tc_put(ifindex, m->tc_fd, present != 0);
	if (err)
		return diag_set(d, -err, "tc_failed", "",
				"%s: the TC program could not be attached: %s; is its ingress or "
				"clsact qdisc in use by something else (tc qdisc show dev %s)?",
				ifname, strerror(-err), ifname);
	*ret_added = !present;
	return 0;
}

/* Remove our filter and, if we made it and nobody else uses it, the clsact. */
static int tc_remove(const char *pin_dir, unsigned ifindex)
{
	LIBBPF_OPTS(bpf_tc_hook, hook, .ifindex = (int)ifindex, .attach_point = BPF_TC_INGRESS);
	LIBBPF_OPTS(bpf_tc_opts, opts, .handle = TC_HANDLE, .priority = TC_PRIORITY);
	char path[PIN_PATH_LEN];
	int err = bpf_tc_detach(&hook, &opts);

	if (err && err != -ENOENT)
		return err;
	clsact_mark(path, pin_dir, ifindex);
	if (access(path, F_OK) < 0)
		return 0;
	if (tcfilter_count(ifindex) == 0) {
		hook.attach_point = BPF_TC_INGRESS | BPF_TC_EGRESS;
		err = bpf_tc_hook_destroy(&hook);
		if (err && err != -ENOENT)
			return err;
	}
	return rmdir(path) < 0 ? -errno : 0;
}

struct xdp_state {
	int link_fd; /* ours, or -1 */
	enum xdp_mode mode;
	uint32_t foreign; /* id of somebody else's program, or 0 */
};

static int link_info(int fd, uint32_t *ret_ifindex, uint32_t *ret_prog)
{
	struct bpf_link_info info = { 0 };
	uint32_t len = sizeof(info);

	if (bpf_obj_get_info_by_fd(fd, &info, &len) < 0)
		return -errno;
	*ret_ifindex = info.xdp.ifindex;
	*ret_prog = info.prog_id;
	return 0;
}

struct link_search {
	const char *pin_dir;
	unsigned ifindex;
	char found[MODEL_IFNAME_LEN + 16];
};

static int match_link(void *arg, const char *name)
{
	struct link_search *s = arg;
	uint32_t on = 0, prog;
	int fd;

	if (!pinfs_is_link(name))
		return 0;
	fd = pinfs_get(s->pin_dir, PIN_LINKS, name);
	if (fd < 0)
		return fd;
	if (link_info(fd, &on, &prog) == 0 && on == s->ifindex)
		snprintf(s->found, sizeof(s->found), "%s", name);
	close(fd);
	return 0;
}

/* Make the name free: a dead link's pin goes, a link of an interface that was renamed is parked. */
static int vacate(const char *pin_dir, const char *name)
{
	char parked[32], ifname[IF_NAMESIZE];
	uint32_t on = 0, prog;
	int fd = pinfs_get(pin_dir, PIN_LINKS, name), err;

	if (fd < 0)
		return fd == -ENOENT ? 0 : fd;
	err = link_info(fd, &on, &prog);
	close(fd);
	if (err)
		return err;
	if (!on || !if_indextoname(on, ifname))
		return pinfs_unlink(pin_dir, PIN_LINKS, name);
	snprintf(parked, sizeof(parked), "was-%u", on);
	return pinfs_rename(pin_dir, PIN_LINKS, name, parked);
}

/*
 * The living link of this interface, or -ENOENT. A link belongs to the device, its pin is called
 * after the name: a link dies with its device and does not come back with the name, and it stays
 * with a device that gets another name.
 */
static int link_get(const char *pin_dir, const char *ifname, unsigned ifindex, uint32_t *ret_prog)
{
	struct link_search s = { .pin_dir = pin_dir, .ifindex = ifindex };
	char name[MODEL_IFNAME_LEN + 8];
	uint32_t on;
	int fd, err;

	pinfs_link_name(name, ifname);
	err = ifindex ? pinfs_each(pin_dir, PIN_LINKS, match_link, &s) : 0;
	if (!err && strcmp(s.found, name) != 0) {
		err = vacate(pin_dir, name);
		if (!err && s.found[0])
			err = pinfs_rename(pin_dir, PIN_LINKS, s.found, name);
	}
	if (err || !s.found[0])
		return err ? err : -ENOENT;
	fd = pinfs_get(pin_dir, PIN_LINKS, name);
	if (fd < 0)
		return fd;
	err = link_info(fd, &on, ret_prog);
	if (!err)
		return fd;
	close(fd);
	return err;
}

static int xdp_look(const struct maps *m, const char *ifname, unsigned ifindex,
		    struct xdp_state *ret)
{
	LIBBPF_OPTS(bpf_xdp_query_opts, q);
	uint32_t prog = 0;
	int err;

	*ret = (struct xdp_state){ .link_fd = -1, .mode = XDP_MODE_TC };
	ret->link_fd = link_get(m->pin_dir, ifname, ifindex, &prog);
	if (ret->link_fd < 0 && ret->link_fd != -ENOENT)
		return ret->link_fd;
	err = bpf_xdp_query((int)ifindex, 0, &q);
	if (err) {
		if (ret->link_fd >= 0)
			close(ret->link_fd);
		return err;
	}
	if (ret->link_fd >= 0)
		ret->mode = q.skb_prog_id == prog ? XDP_MODE_GENERIC : XDP_MODE_NATIVE;
	else if (q.attach_mode != XDP_ATTACHED_NONE)
		ret->foreign = q.drv_prog_id   ? q.drv_prog_id
			       : q.skb_prog_id ? q.skb_prog_id
			       : q.hw_prog_id  ? q.hw_prog_id
					       : q.prog_id;
	return 0;
}

static int xdp_create(const struct maps *m, const char *ifname, unsigned ifindex,
		      enum xdp_mode mode)
{
	LIBBPF_OPTS(bpf_link_create_opts, opts,
		    .flags = mode == XDP_MODE_GENERIC ? XDP_FLAGS_SKB_MODE : XDP_FLAGS_DRV_MODE);
	char name[MODEL_IFNAME_LEN + 8];
	int fd = bpf_link_create(m->xdp_fd, (int)ifindex, BPF_XDP, &opts), err;

	if (fd < 0)
		return -errno;
	err = pinfs_pin(fd, m->pin_dir, PIN_LINKS, pinfs_link_name(name, ifname));
	close(fd); /* the pin holds it; without one it is detached again */
	return err;
}

static int xdp_remove(const char *pin_dir, const char *name, int link_fd)
{
	int err = pinfs_unlink(pin_dir, PIN_LINKS, name);

	if (!err && bpf_link_detach(link_fd) < 0 && errno != EINVAL && errno != ENOLINK)
		err = -errno;
	return err;
}

static int xdp_fail(const char *ifname, enum xdp_mode mode, int err, struct diag *d)
{
	return diag_set(
		d, -err, "xdp_failed", "",
		"%s: XDP could not be attached in %s mode: %s; the driver may lack it or the "
		"MTU may be too large for it; set xdpMode to auto, generic or tc",
		ifname, xdp_mode_name(mode), strerror(-err));
}

/* In auto mode whatever runs already stays, else the best that works is taken. */
static int xdp_auto(const struct maps *m, const char *ifname, unsigned ifindex,
		    const struct xdp_state *now, enum xdp_mode *ret_mode)
{
	static const enum xdp_mode order[] = { XDP_MODE_NATIVE, XDP_MODE_GENERIC };

	*ret_mode = now->mode;
	if (now->link_fd >= 0)
		return 0;
	for (size_t i = 0; i < sizeof(order) / sizeof(order[0]); i++) {
		int err = xdp_create(m, ifname, ifindex, order[i]);

		if (!err) {
			*ret_mode = order[i];
			return 0;
		}
		log_debug("%s: no XDP in %s mode: %s", ifname, xdp_mode_name(order[i]),
			  strerror(-err));
	}
	*ret_mode = XDP_MODE_TC;
	return 0;
}

/*
 * The kernel does not hold a native and a generic program at once, so there is a gap between the
 * two links. The TC program is there already and takes the packets of that gap.
 */
static int xdp_switch(const struct maps *m, const char *ifname, unsigned ifindex,
		      const struct xdp_state *now, enum xdp_mode wanted, struct diag *d)
{
	char name[MODEL_IFNAME_LEN + 8];
	int err = 0;

	if (now->link_fd >= 0)
		err = xdp_remove(m->pin_dir, pinfs_link_name(name, ifname), now->link_fd);
	if (err || wanted == XDP_MODE_TC)
		return err;
	err = xdp_create(m, ifname, ifindex, wanted);
	if (!err)
		return 0;
	if (now->link_fd >= 0 && xdp_create(m, ifname, ifindex, now->mode))
		log_warn("%s: the former XDP mode could not be put back; TC carries on", ifname);
	return xdp_fail(ifname, wanted, err, d);
}

static int attach_xdp(const struct maps *m, const char *ifname, unsigned ifindex,
		      const struct xdp_state *now, enum xdp_mode wanted, enum xdp_mode *ret_mode,
		      struct diag *d)
{
	int err;

	if (wanted == XDP_MODE_AUTO)
		return xdp_auto(m, ifname, ifindex, now, ret_mode);
	err = now->mode == wanted ? 0 : xdp_switch(m, ifname, ifindex, now, wanted, d);
	if (!err)
		*ret_mode = wanted;
	return err;
}

/* Another process may have upgraded the programs, or unloaded them, since they were opened. */
static int follow_programs(struct maps *m)
{
	int xdp = pinfs_get(m->pin_dir, PIN_PROGS, "xdp");
	int tc = pinfs_get(m->pin_dir, PIN_PROGS, "tc");

	if (xdp < 0 || tc < 0) {
		if (xdp >= 0)
			close(xdp);
		if (tc >= 0)
			close(tc);
		return xdp < 0 ? xdp : tc;
	}
	close(m->xdp_fd);
	close(m->tc_fd);
	m->xdp_fd = xdp;
	m->tc_fd = tc;
	return 0;
}

static int attach_locked(struct maps *m, const char *ifname, unsigned ifindex, enum xdp_mode wanted,
			 enum xdp_mode *ret_mode, struct diag *d)
{
	struct xdp_state now;
	bool tc_added;
	int err;

	if (!ifindex || if_nametoindex(ifname) != ifindex)
		return diag_set(d, ENODEV, "no_interface", "",
				"there is no interface %s; correct its name, or bring it up and it "
				"will be attached to",
				ifname);
	err = xdp_look(m, ifname, ifindex, &now);
	if (err)
		return diag_set(d, -err, "xdp_failed", "", "%s: what is attached is not known: %s",
				ifname, strerror(-err));
	if (now.foreign && wanted != XDP_MODE_TC)
		return diag_set(
			d, EBUSY, "xdp_busy", "",
			"%s: another XDP program (id %u) is attached; remove it (ip link set "
			"dev %s xdp off), or set xdpMode to tc",
			ifname, now.foreign, ifname);
	err = tc_ensure(m, ifname, ifindex, &tc_added, d);
	if (!err) {
		err = attach_xdp(m, ifname, ifindex, &now, wanted, ret_mode, d);
		if (err && tc_added)
			tc_remove(m->pin_dir, ifindex);
	}
	if (now.link_fd >= 0)
		close(now.link_fd);
	return err;
}

int maps_attach(struct maps *m, const char *ifname, unsigned ifindex, enum xdp_mode wanted,
		enum xdp_mode *ret_mode, struct diag *d)
{
	int lock = pinfs_lock(m->pin_dir), err;

	err = lock < 0 ? lock : follow_programs(m);
	if (err)
		diag_set(d, -err, "pin_missing", "/state/pinDir",
			 "the programs pinned under %s cannot be opened: %s; somebody has unloaded "
			 "them, restart zddlbd",
			 m->pin_dir, strerror(-err));
	else
		err = attach_locked(m, ifname, ifindex, wanted, ret_mode, d);
	if (lock >= 0)
		close(lock);
	return err;
}

static int detach_locked(struct maps *m, const char *ifname, unsigned ifindex)
{
	char name[MODEL_IFNAME_LEN + 8];
	uint32_t prog, filter;
	int fd = link_get(m->pin_dir, ifname, ifindex, &prog), err = 0;

	if (fd >= 0) {
		err = xdp_remove(m->pin_dir, pinfs_link_name(name, ifname), fd);
		close(fd);
	} else if (fd != -ENOENT) {
		err = fd;
	}
	filter = ifindex ? tc_present(ifindex) : 0;
	if (!err && filter && prog_uses_map(filter, m->map_fd[MAP_BACKENDS]))
		err = tc_remove(m->pin_dir, ifindex);
	return err;
}

int maps_detach(struct maps *m, const char *ifname, unsigned ifindex)
{
	int lock = pinfs_lock(m->pin_dir), err;

	if (lock < 0)
		return lock;
	err = detach_locked(m, ifname, ifindex);
	close(lock);
	return err;
}

/* Every interface whose filter at our place uses the map. */
static int each_filter(int map_fd, int (*fn)(const void *arg, unsigned ifindex), const void *arg)
{
	struct if_nameindex *list = if_nameindex();
	int err = 0;

	if (!list)
		return -errno;
	for (const struct if_nameindex *i = list; i->if_index && !err; i++) {
		uint32_t prog = tc_present(i->if_index);

		if (prog && prog_uses_map(prog, map_fd))
			err = fn(arg, i->if_index);
	}
	if_freenameindex(list);
	return err;
}

struct replacement {
	const char *pin_dir;
	int xdp_fd, tc_fd;
};

static int replace_link(void *arg, const char *name)
{
	const struct replacement *r = arg;
	int fd, err;

	if (!pinfs_is_link(name))
		return 0;
	fd = pinfs_get(r->pin_dir, PIN_LINKS, name);
	if (fd < 0)
		return fd;
	err = bpf_link_update(fd, r->xdp_fd, NULL) < 0 ? -errno : 0;
	close(fd);
	return err == -ENOLINK ? 0 : err; /* its interface is gone */
}

static int replace_filter(const void *arg, unsigned ifindex)
{
	const struct replacement *r = arg;

	return tc_put(ifindex, r->tc_fd, true);
}

int attach_replace(const struct maps *m, int xdp_fd, int tc_fd)
{
	struct replacement r = { m->pin_dir, xdp_fd, tc_fd };
	int err = pinfs_each(m->pin_dir, PIN_LINKS, replace_link, &r);

	return err ? err : each_filter(m->map_fd[MAP_BACKENDS], replace_filter, &r);
}

static int remove_link(void *arg, const char *name)
{
	const char *pin_dir = arg;
	int fd, err;

	if (!pinfs_is_link(name))
		return 0;
	fd = pinfs_get(pin_dir, PIN_LINKS, name);
	if (fd < 0)
		return fd;
	err = xdp_remove(pin_dir, name, fd);
	close(fd);
	return err;
}

static int remove_filter(const void *arg, unsigned ifindex)
{
	return tc_remove(arg, ifindex);
}

int attach_remove_all(const char *pin_dir, int map_fd)
{
	char copy[MODEL_PATH_LEN];
	int err;

	snprintf(copy, sizeof(copy), "%s", pin_dir);
	err = pinfs_each(pin_dir, PIN_LINKS, remove_link, copy);
	if (!err && map_fd >= 0)
		err = each_filter(map_fd, remove_filter, pin_dir);
	return err;
}
