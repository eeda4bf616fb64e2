/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * Two rtnetlink sockets: one for questions, each answered before the next is asked, and one that
 * listens. Whatever the kernel says is measured before it is read.
 */
#include "netlink.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/time.h>
#include <unistd.h>
#include <arpa/inet.h>
#include <libmnl/libmnl.h>
#include <linux/if.h>
#include <linux/if_addr.h>
#include <linux/neighbour.h>
#include <linux/rtnetlink.h>

#define REQUEST_LEN   256
#define ANSWER_LEN    32768
#define TIMEOUT_SEC   1
#define EVENTS_RCVBUF (1 << 20)
#define EVENTS_GROUPS                                                                              \
	(RTMGRP_LINK | RTMGRP_NEIGH | RTMGRP_IPV4_IFADDR | RTMGRP_IPV4_ROUTE |                     \
	 RTMGRP_IPV6_IFADDR | RTMGRP_IPV6_ROUTE)
/* Datagrams a netlink_dispatch: a flood of routes must not keep the agent from its work. */
#define EVENTS_BATCH 64

#define NUD_KNOWN (NUD_REACHABLE | NUD_STALE | NUD_DELAY | NUD_PROBE | NUD_PERMANENT | NUD_NOARP)

struct netlink {
	struct mnl_socket *requests;
	struct mnl_socket *events;
	uint32_t seq;
	netlink_fn fn;
	void *arg;
	unsigned seen; /* bit per enum netlink_change, in this dispatch */
};

struct request {
	struct nlmsghdr *nlh;
	char buf[REQUEST_LEN] __attribute__((aligned(NLMSG_ALIGNTO)));
};

/* An address as the kernel wants it: 4 or 16 bytes. */
static unsigned char family_of(const struct endpoint *e)
{
	return endpoint_is_v4(e) ? AF_INET : AF_INET6;
}

static uint8_t addr_len(const struct endpoint *e)
{
	return endpoint_is_v4(e) ? 4 : 16;
}

static const uint8_t *addr_bytes(const struct endpoint *e)
{
	return endpoint_is_v4(e) ? e->addr + 12 : e->addr;
}

static bool addr_take(struct endpoint *ret, const void *bytes, size_t len)
{
	if (len != 4 && len != 16)
		return false;
	memset(ret, 0, sizeof(*ret));
	if (len == 4)
		ret->addr[10] = ret->addr[11] = 0xff;
	memcpy(ret->addr + 16 - len, bytes, len);
	return true;
}

/* libmnl's own loop does not pass -Wconversion. NULL: no whole attribute follows. */
static const struct nlattr *attr_check(const struct nlmsghdr *nlh, const struct nlattr *attr)
{
	const char *tail = mnl_nlmsg_get_payload_tail(nlh);
	ptrdiff_t left = tail - (const char *)attr;

	return left > 0 && mnl_attr_ok(attr, (int)left) ? attr : NULL;
}

static const struct nlattr *attr_first(const struct nlmsghdr *nlh, size_t header_len)
{
	return attr_check(nlh, mnl_nlmsg_get_payload_offset(nlh, header_len));
}

static const struct nlattr *attr_next(const struct nlmsghdr *nlh, const struct nlattr *attr)
{
	return attr_check(nlh, mnl_attr_next(attr));
}

/* --- asking --- */

/* The family's header, zeroed; its size makes the message. */
static void *request_init(struct request *r, uint16_t type, uint16_t flags, size_t header_len)
{
	r->nlh = mnl_nlmsg_put_header(r->buf);
	r->nlh->nlmsg_type = type;
	r->nlh->nlmsg_flags = NLM_F_REQUEST | NLM_F_ACK | flags;
	return mnl_nlmsg_put_extra_header(r->nlh, header_len);
}

static int receive_answer(struct netlink *n, mnl_cb_t fn, void *arg)
{
	char buf[ANSWER_LEN] __attribute__((aligned(NLMSG_ALIGNTO)));
	const struct nlmsghdr *nlh = (const struct nlmsghdr *)buf;
	ssize_t len;

	do {
		len = mnl_socket_recvfrom(n->requests, buf, sizeof(buf));
		if (len < 0 && errno == EINTR)
			continue;
		if (len < 0)
			return errno == EAGAIN ? -ETIMEDOUT : -errno;
		/* What is left of a question that was given up is not an answer to this one. */
	} while (len < (ssize_t)sizeof(*nlh) || nlh->nlmsg_seq != n->seq);

	len = mnl_cb_run(buf, (size_t)len, n->seq, mnl_socket_get_portid(n->requests), fn, arg);
	return len < 0 ? -errno : (int)len;
}

/* Send and read until the kernel's acknowledgement. `fn` sees what comes before it. */
static int request_run(struct netlink *n, struct request *r, mnl_cb_t fn, void *arg)
{
	int ret;

	r->nlh->nlmsg_seq = ++n->seq;
	if (mnl_socket_sendto(n->requests, r->nlh, r->nlh->nlmsg_len) < 0)
		return -errno;
	do
		ret = receive_answer(n, fn, arg);
	while (ret > MNL_CB_STOP);
	return ret;
}

/* --- links --- */

struct link_answer {
	bool found;
	unsigned flags;
	struct link_info info;
	char name[IFNAMSIZ];
};

static bool link_take(struct link_answer *l, const struct nlmsghdr *nlh)
{
	const struct ifinfomsg *ifi = mnl_nlmsg_get_payload(nlh);
	const struct nlattr *attr;

	/* AF_BRIDGE messages tell of a port's place in its bridge, not of the link. */
	if (mnl_nlmsg_get_payload_len(nlh) < sizeof(*ifi) || ifi->ifi_family != AF_UNSPEC)
		return false;
	memset(l, 0, sizeof(*l));
	l->found = true;
	l->flags = ifi->ifi_flags;
	l->info.ifindex = (unsigned)ifi->ifi_index;
	l->info.up = (ifi->ifi_flags & IFF_UP) && (ifi->ifi_flags & IFF_RUNNING);
	for (attr = attr_first(nlh, sizeof(*ifi)); attr; attr = attr_next(nlh, attr)) {
		uint16_t len = mnl_attr_get_payload_len(attr);
		const void *data = mnl_attr_get_payload(attr);

		switch (mnl_attr_get_type(attr)) {
		case IFLA_IFNAME:
			memcpy(l->name, data, len < IFNAMSIZ ? len : IFNAMSIZ - 1);
			break;
		case IFLA_ADDRESS:
			if (len == sizeof(l->info.mac))
				memcpy(l->info.mac, data, len);
			break;
		case IFLA_MTU:
			if (len == sizeof(l->info.mtu))
				memcpy(&l->info.mtu, data, len);
			break;
		}
	}
	return true;
}

static int on_link_answer(const struct nlmsghdr *nlh, void *arg)
{
	if (nlh->nlmsg_type == RTM_NEWLINK)
		link_take(arg, nlh);
	return MNL_CB_OK;
}

/* By name, or by index where `ifname` is NULL. */
static int link_get(struct netlink *n, const char *ifname, unsigned ifindex,
		    struct link_answer *ret)
{
	struct ifinfomsg *ifi;
	struct request r;
	int err;

	if (ifname && (!ifname[0] || strlen(ifname) >= IFNAMSIZ))
		return -ENODEV;
	ret->found = false;
	ifi = request_init(&r, RTM_GETLINK, 0, sizeof(*ifi));
	ifi->ifi_family = AF_UNSPEC;
	ifi->ifi_index = (int)ifindex;
	if (ifname)
		mnl_attr_put_strz(r.nlh, IFLA_IFNAME, ifname);
	err = request_run(n, &r, on_link_answer, ret);
	if (err)
		return err;
	return ret->found ? 0 : -ENODEV;
}

int netlink_link(struct netlink *n, const char *ifname, struct link_info *ret)
{
	struct link_answer l;
	int err;

	err = link_get(n, ifname, 0, &l);
	if (!err)
		*ret = l.info;
	return err;
}

/* --- routes --- */

struct route_answer {
	bool found;
	unsigned char type;
	unsigned ifindex;
	bool has_gateway;
	struct endpoint gateway;
	struct endpoint source;
};

static int on_route_answer(const struct nlmsghdr *nlh, void *arg)
{
	const struct rtmsg *rtm = mnl_nlmsg_get_payload(nlh);
	struct route_answer *route = arg;
	const struct nlattr *attr;

	if (nlh->nlmsg_type != RTM_NEWROUTE || mnl_nlmsg_get_payload_len(nlh) < sizeof(*rtm))
		return MNL_CB_OK;
	route->found = true;
	route->type = rtm->rtm_type;
	for (attr = attr_first(nlh, sizeof(*rtm)); attr; attr = attr_next(nlh, attr)) {
		uint16_t len = mnl_attr_get_payload_len(attr);
		const char *data = mnl_attr_get_payload(attr);
		const size_t via = offsetof(struct rtvia, rtvia_addr);

		switch (mnl_attr_get_type(attr)) {
		case RTA_OIF:
			if (len == sizeof(route->ifindex))
				memcpy(&route->ifindex, data, len);
			break;
		case RTA_GATEWAY:
			route->has_gateway = addr_take(&route->gateway, data, len);
			break;
		case RTA_PREFSRC:
			addr_take(&route->source, data, len);
			break;
		case RTA_VIA: /* a gateway of the other family */
			if (len > via)
				route->has_gateway =
					addr_take(&route->gateway, data + via, len - via);
			break;
		}
	}
	return MNL_CB_OK;
}

static int route_get(struct netlink *n, const struct endpoint *to, struct route_answer *ret)
{
	struct rtmsg *rtm;
	struct request r;
	int err;

	memset(ret, 0, sizeof(*ret));
	rtm = request_init(&r, RTM_GETROUTE, 0, sizeof(*rtm));
	rtm->rtm_family = family_of(to);
	rtm->rtm_dst_len = (unsigned char)(addr_len(to) * 8);
	mnl_attr_put(r.nlh, RTA_DST, addr_len(to), addr_bytes(to));
	err = request_run(n, &r, on_route_answer, ret);
	switch (-err) {
	case 0:
		break;
	/* What unreachable, blackhole, prohibit and throw routes answer. */
	case EHOSTUNREACH:
	case EINVAL:
	case EACCES:
	case EAGAIN:
		return -ENETUNREACH;
	default:
		return err;
	}
	if (!ret->found || !ret->ifindex || (ret->type != RTN_UNICAST && ret->type != RTN_LOCAL))
		return -ENETUNREACH;
	return 0;
}

/* --- neighbours --- */

struct neigh_answer {
	unsigned state; /* NUD_NONE: no entry */
	bool has_mac;
	uint8_t mac[6];
};

static int on_neigh_answer(const struct nlmsghdr *nlh, void *arg)
{
	const struct ndmsg *ndm = mnl_nlmsg_get_payload(nlh);
	struct neigh_answer *neigh = arg;
	const struct nlattr *attr;

	if (nlh->nlmsg_type != RTM_NEWNEIGH || mnl_nlmsg_get_payload_len(nlh) < sizeof(*ndm))
		return MNL_CB_OK;
	neigh->state = ndm->ndm_state;
	for (attr = attr_first(nlh, sizeof(*ndm)); attr; attr = attr_next(nlh, attr)) {
		if (mnl_attr_get_type(attr) != NDA_LLADDR ||
		    mnl_attr_get_payload_len(attr) != sizeof(neigh->mac))
			continue;
		memcpy(neigh->mac, mnl_attr_get_payload(attr), sizeof(neigh->mac));
		neigh->has_mac = true;
	}
	return MNL_CB_OK;
}

static void neigh_request(struct request *r, uint16_t type, uint16_t flags, uint8_t ntf,
			  const struct next_hop *hop)
{
	struct ndmsg *ndm = request_init(r, type, flags, sizeof(*ndm));

	ndm->ndm_family = family_of(&hop->gateway);
	ndm->ndm_ifindex = (int)hop->ifindex;
	ndm->ndm_flags = ntf;
	mnl_attr_put(r->nlh, NDA_DST, addr_len(&hop->gateway), addr_bytes(&hop->gateway));
}

/*
 * A packet that XDP forwards does not pass the kernel's neighbour code, so nothing there looks for
 * a neighbour, or notices that a known one has gone. NTF_USE says that one is in use.
 */
static int neigh_use(struct netlink *n, const struct next_hop *hop)
{
	struct request r;

	neigh_request(&r, RTM_NEWNEIGH, NLM_F_CREATE, NTF_USE, hop);
	return request_run(n, &r, NULL, NULL);
}

static int neigh_resolve(struct netlink *n, struct next_hop *hop)
{
	struct neigh_answer neigh = { .state = NUD_NONE };
	struct request r;
	int err;

	neigh_request(&r, RTM_GETNEIGH, 0, 0, hop);
	err = request_run(n, &r, on_neigh_answer, &neigh);
	if (err && err != -ENOENT)
		return err;

	if (neigh.has_mac && (neigh.state & NUD_KNOWN)) {
		memcpy(hop->dmac, neigh.mac, sizeof(hop->dmac));
		hop->resolved = true;
	}
	if (!hop->resolved || neigh.state == NUD_STALE)
		return neigh_use(n, hop);
	return 0;
}

int netlink_next_hop(struct netlink *n, const struct endpoint *to, struct next_hop *ret)
{
	struct next_hop hop = { 0 };
	struct route_answer route;
	struct link_answer l;
	int err;

	err = route_get(n, to, &route);
	if (err)
		return err;
	err = link_get(n, NULL, route.ifindex, &l);
	if (err)
		return err == -ENODEV ? -ENETUNREACH : err;

	hop.ifindex = route.ifindex;
	hop.mtu = l.info.mtu;
	hop.gateway = route.has_gateway ? route.gateway : *to;
	hop.gateway.port = 0;
	hop.direct = !route.has_gateway;
	hop.source = route.source;
	memcpy(hop.smac, l.info.mac, sizeof(hop.smac));
	if (route.type == RTN_LOCAL)
		hop.local = true;
	else if (l.flags & IFF_NOARP)
		hop.resolved = true;
	else
		err = neigh_resolve(n, &hop);
	/* The link went down between the questions: that is an answer. */
	if (err == -ENETDOWN || err == -ENODEV)
		err = -ENETUNREACH;
	if (!err)
		*ret = hop;
	return err;
}

/* --- addresses --- */

static int addr_run(struct netlink *n, uint16_t type, uint16_t flags, unsigned ifindex,
		    const struct endpoint *addr)
{
	struct ifaddrmsg *ifa;
	struct request r;

	ifa = request_init(&r, type, flags, sizeof(*ifa));
	ifa->ifa_family = family_of(addr);
	ifa->ifa_prefixlen = (uint8_t)(addr_len(addr) * 8);
	ifa->ifa_index = ifindex;
	/* Duplicate detection would keep the address from being used for a second or more. */
	if (ifa->ifa_family == AF_INET6)
		ifa->ifa_flags = IFA_F_NODAD;
	mnl_attr_put(r.nlh, IFA_LOCAL, addr_len(addr), addr_bytes(addr));
	mnl_attr_put(r.nlh, IFA_ADDRESS, addr_len(addr), addr_bytes(addr));
	return request_run(n, &r, NULL, NULL);
}

int netlink_add_addr(struct netlink *n, unsigned ifindex, const struct endpoint *addr,
		     bool *ret_added)
{
	int err;

	err = addr_run(n, RTM_NEWADDR, NLM_F_CREATE | NLM_F_EXCL, ifindex, addr);
	if (err && err != -EEXIST)
		return err;
	if (ret_added)
		*ret_added = !err;
	return 0;
}

int netlink_del_addr(struct netlink *n, unsigned ifindex, const struct endpoint *addr)
{
	int err;

	err = addr_run(n, RTM_DELADDR, 0, ifindex, addr);
	/* Not there, or the whole interface (or its IPv6) is not. */
	if (err == -EADDRNOTAVAIL || err == -ENODEV || err == -ENXIO)
		return 0;
	return err;
}

/* --- listening --- */

static bool is_host_neigh(const struct nlmsghdr *nlh)
{
	const struct ndmsg *ndm = mnl_nlmsg_get_payload(nlh);

	/* AF_BRIDGE: a forwarding database learning where a MAC address is. */
	return mnl_nlmsg_get_payload_len(nlh) >= sizeof(*ndm) &&
	       (ndm->ndm_family == AF_INET || ndm->ndm_family == AF_INET6);
}

static bool is_real_route(const struct nlmsghdr *nlh)
{
	const struct rtmsg *rtm = mnl_nlmsg_get_payload(nlh);

	return mnl_nlmsg_get_payload_len(nlh) >= sizeof(*rtm) && !(rtm->rtm_flags & RTM_F_CLONED);
}

static int on_event(const struct nlmsghdr *nlh, void *arg)
{
	struct netlink *n = arg;
	struct link_answer l;

	switch (nlh->nlmsg_type) {
	case RTM_NEWLINK:
	case RTM_DELLINK:
		if (link_take(&l, nlh))
			n->fn(n->arg, CHANGED_LINK, l.name,
			      l.info.up && nlh->nlmsg_type == RTM_NEWLINK);
		break;
	case RTM_NEWROUTE:
	case RTM_DELROUTE:
		if (is_real_route(nlh))
			n->seen |= 1u << CHANGED_ROUTE;
		break;
	case RTM_NEWNEIGH:
	case RTM_DELNEIGH:
		if (is_host_neigh(nlh))
			n->seen |= 1u << CHANGED_NEIGH;
		break;
	case RTM_NEWADDR:
	case RTM_DELADDR:
		n->seen |= 1u << CHANGED_ADDR;
		break;
	}
	return MNL_CB_OK;
}

/* 1: one datagram dealt with, 0: none is there. */
static int receive_event(struct netlink *n)
{
	char buf[ANSWER_LEN] __attribute__((aligned(NLMSG_ALIGNTO)));
	ssize_t len;

	len = mnl_socket_recvfrom(n->events, buf, sizeof(buf));
	if (len < 0 && errno == EAGAIN)
		return 0;
	if (len < 0 && errno == EINTR)
		return 1;
	/* The queue ran over, or a message was cut: what was missed may have been anything. */
	if (len < 0 && (errno == ENOBUFS || errno == ENOSPC)) {
		n->seen = ~0u;
		return 1;
	}
	if (len < 0)
		return -errno;
	if (mnl_cb_run(buf, (size_t)len, 0, 0, on_event, n) < 0)
		n->seen = ~0u;
	return 1;
}

int netlink_dispatch(struct netlink *n)
{
	static const enum netlink_change all[] = { CHANGED_LINK, CHANGED_ROUTE, CHANGED_NEIGH,
						   CHANGED_ADDR };
	int ret = 1;

	n->seen = 0;
	for (unsigned i = 0; i < EVENTS_BATCH && ret > 0; i++)
		ret = receive_event(n);
	for (size_t i = 0; i < sizeof(all) / sizeof(all[0]); i++) {
		if (n->seen & 1u << all[i])
			n->fn(n->arg, all[i], "", false);
	}
	return ret < 0 ? ret : 0;
}

int netlink_fd(const struct netlink *n)
{
	return mnl_socket_get_fd(n->events);
}

/* --- open and close --- */

static int socket_open(struct mnl_socket **ret, int flags, unsigned groups)
{
	struct mnl_socket *s = mnl_socket_open2(NETLINK_ROUTE, SOCK_CLOEXEC | flags);
	int err;

	if (!s)
		return -errno;
	if (mnl_socket_bind(s, groups, MNL_SOCKET_AUTOPID) < 0) {
		err = -errno;
		mnl_socket_close(s);
		return err;
	}
	*ret = s;
	return 0;
}

int netlink_open(struct netlink **ret, netlink_fn fn, void *arg)
{
	const struct timeval timeout = { .tv_sec = TIMEOUT_SEC };
	const int room = EVENTS_RCVBUF;
	struct netlink *n;
	int err, fd;

	n = calloc(1, sizeof(*n));
	if (!n)
		return -ENOMEM;
	n->fn = fn;
	n->arg = arg;
	err = socket_open(&n->requests, 0, 0);
	if (err)
		goto out;
	if (setsockopt(mnl_socket_get_fd(n->requests), SOL_SOCKET, SO_RCVTIMEO, &timeout,
		       sizeof(timeout))) {
		err = -errno;
		goto out;
	}
	err = socket_open(&n->events, SOCK_NONBLOCK, EVENTS_GROUPS);
	if (err)
		goto out;
	/* FORCE needs a privilege that the agent has; without it the limit of the system counts. */
	fd = mnl_socket_get_fd(n->events);
	if (setsockopt(fd, SOL_SOCKET, SO_RCVBUFFORCE, &room, sizeof(room)))
		setsockopt(fd, SOL_SOCKET, SO_RCVBUF, &room, sizeof(room));
	*ret = n;
	n = NULL;
out:
	netlink_close(n);
	return err;
}

void netlink_close(struct netlink *n)
{
	if (!n)
		return;
	if (n->requests)
		mnl_socket_close(n->requests);
	if (n->events)
		mnl_socket_close(n->events);
	free(n);
}
