/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * Links, addresses, routes and neighbours through rtnetlink: which way out leads to a backend, and
 * which VIPs this host holds. Asks the kernel; keeps no table of its own.
 */
#ifndef ZDDLB_IO_NETLINK_H
#define ZDDLB_IO_NETLINK_H

#include <stdbool.h>
#include <stdint.h>

#include "../core/model.h"

struct netlink;

/* Called (from netlink_dispatch) when a link came, went or changed, or any route, neighbour or
 * address changed: what was resolved before may be stale. `ifname` is "" where the change is not
 * that of one link; CHANGED_LINK with "" says that events were lost: look at every link. */
enum netlink_change { CHANGED_LINK, CHANGED_ROUTE, CHANGED_NEIGH, CHANGED_ADDR };
typedef void (*netlink_fn)(void *arg, enum netlink_change change, const char *ifname, bool up);

int netlink_open(struct netlink **ret, netlink_fn fn, void *arg);
void netlink_close(struct netlink *n);   /* NULL is fine */
int netlink_fd(const struct netlink *n); /* readable: call netlink_dispatch */
int netlink_dispatch(struct netlink *n);

struct link_info {
	unsigned ifindex;
	bool up; /* administratively up and running */
	uint8_t mac[6];
	uint32_t mtu;
};
int netlink_link(struct netlink *n, const char *ifname, struct link_info *ret); /* -ENODEV */

struct next_hop {
	unsigned ifindex;
	uint8_t dmac[6], smac[6];
	uint32_t mtu;
	bool local;              /* the address is this host's own */
	bool resolved;           /* the MAC addresses are known */
	bool direct;             /* no gateway: the address is on the link */
	struct endpoint gateway; /* address whose neighbour entry counts; port 0 */
	struct endpoint source;  /* what this host would send from; all zero: nothing */
};
/*
 * Route and neighbour towards `to`. 0 with resolved=false if the neighbour is not known yet: the
 * kernel has then been asked to look for it, and CHANGED_NEIGH follows. -ENETUNREACH: no route.
 * XDP's packets do not keep a neighbour fresh in the kernel: ask again every 10 s or so while it
 * is in use, and the kernel probes an entry that went stale and reports a MAC that changed.
 */
int netlink_next_hop(struct netlink *n, const struct endpoint *to, struct next_hop *ret);

/* Add or remove a /32 or /128; adding what is there, or removing what is not, is 0. `ret_added`
 * (NULL is fine) tells whether it was added now. */
int netlink_add_addr(struct netlink *n, unsigned ifindex, const struct endpoint *addr,
		     bool *ret_added);
int netlink_del_addr(struct netlink *n, unsigned ifindex, const struct endpoint *addr);
/* Gratuitous ARP or unsolicited neighbour advertisement out of `ifindex`. */
int netlink_announce(unsigned ifindex, const uint8_t mac[6], const struct endpoint *addr);

#endif
