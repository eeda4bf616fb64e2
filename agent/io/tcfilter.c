/* SPDX-License-Identifier: GPL-2.0-only */
#include "tcfilter.h"

#include <errno.h>
#include <linux/netlink.h>
#include <linux/pkt_sched.h>
#include <linux/rtnetlink.h>
#include <stdbool.h>
#include <stddef.h>
#include <sys/socket.h>
#include <unistd.h>

/* Messages of one datagram: filters counted, or a negative errno; *done at the end of the dump. */
static int count_messages(const void *data, size_t len, bool *done)
{
	const struct nlmsghdr *h = data;
	int n = 0;

	for (; len >= sizeof(*h) && h->nlmsg_len >= sizeof(*h) && h->nlmsg_len <= len;
	     len -= NLMSG_ALIGN(h->nlmsg_len),
	     h = (const void *)((const char *)h + NLMSG_ALIGN(h->nlmsg_len))) {
		const struct tcmsg *t = (const void *)(h + 1);

		if (h->nlmsg_type == NLMSG_DONE)
			*done = true;
		else if (h->nlmsg_type == NLMSG_ERROR)
			return *(const int *)(const void *)(h + 1);
		/* Each chain and priority is announced by a message with handle 0. */
		else if (h->nlmsg_type == RTM_NEWTFILTER && t->tcm_handle)
			n++;
		if (len < NLMSG_ALIGN(h->nlmsg_len))
			break;
	}
	return n;
}

static int count_parent(int fd, unsigned ifindex, unsigned parent)
{
	struct {
		struct nlmsghdr h;
		struct tcmsg t;
	} req = {
		.h = { .nlmsg_len = sizeof(req),
		       .nlmsg_type = RTM_GETTFILTER,
		       .nlmsg_flags = NLM_F_REQUEST | NLM_F_DUMP },
		.t = { .tcm_ifindex = (int)ifindex, .tcm_parent = parent },
	};
	_Alignas(8) char buf[32768];
	bool done = false;
	int total = 0;

	if (send(fd, &req, sizeof(req), 0) < 0)
		return -errno;
	while (!done) {
		ssize_t len = recv(fd, buf, sizeof(buf), 0);
		int n;

		if (len <= 0)
			return len < 0 ? -errno : -EIO;
		n = count_messages(buf, (size_t)len, &done);
		if (n < 0)
			return n;
		total += n;
	}
	return total;
}

int tcfilter_count(unsigned ifindex)
{
	int fd = socket(AF_NETLINK, SOCK_RAW | SOCK_CLOEXEC, NETLINK_ROUTE), in, out;

	if (fd < 0)
		return -errno;
	in = count_parent(fd, ifindex, TC_H_MAKE(TC_H_CLSACT, TC_H_MIN_INGRESS));
	out = in < 0 ? in : count_parent(fd, ifindex, TC_H_MAKE(TC_H_CLSACT, TC_H_MIN_EGRESS));
	close(fd);
	return out < 0 ? out : in + out;
}
