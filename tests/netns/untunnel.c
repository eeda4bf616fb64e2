/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * The receiving end of ipip and gue where the kernel has no such device: takes packets out of their
 * outer header, in user space, and gives the inner ones to the stack through a tun device. IPv4 and
 * IPv6, inside and outside. What is wrong with an outer header is counted, not forgiven.
 */
#include <fcntl.h>
#include <linux/if.h>
#include <linux/if_tun.h>
#include <linux/udp.h>
#include <poll.h>
#include <signal.h>
#include <sys/ioctl.h>
#include <unistd.h>

#include "util.h"

#define GUE_PORT   6080
#define GUE_HEADER 4
#define PACKET_MAX 65536

static volatile sig_atomic_t stopping;

static void on_stop(int sig)
{
	(void)sig;
	stopping = 1;
}

enum { IPIP4, IP6IP4, IPIP6, IP6IP6, GUE, NSOCKETS };

static const struct {
	int family, protocol;
	uint8_t inner;  /* IP version inside */
	bool outer_too; /* raw IPv4 sockets give the outer header as well */
} kinds[NSOCKETS] = {
	[IPIP4] = { AF_INET, IPPROTO_IPIP, 4, true },
	[IP6IP4] = { AF_INET, IPPROTO_IPV6, 6, true },
	[IPIP6] = { AF_INET6, IPPROTO_IPIP, 4, false },
	[IP6IP6] = { AF_INET6, IPPROTO_IPV6, 6, false },
	[GUE] = { AF_INET6, IPPROTO_UDP, 0, false },
};

struct counts {
	uint64_t ipip, gue, wrong;
};

static int open_tun(const char *name)
{
	struct ifreq ifr = { .ifr_flags = IFF_TUN | IFF_NO_PI };
	int fd = open("/dev/net/tun", O_RDWR | O_CLOEXEC);

	snprintf(ifr.ifr_name, sizeof(ifr.ifr_name), "%s", name);
	if (fd < 0 || ioctl(fd, TUNSETIFF, &ifr))
		die("tun", name);
	return fd;
}

static int open_kind(int kind)
{
	int fd = socket(kinds[kind].family, (kind == GUE ? SOCK_DGRAM : SOCK_RAW) | SOCK_CLOEXEC,
			kinds[kind].protocol);
	int room = 16 << 20, one = 1, zero = 0;
	struct sockaddr_in6 any = { .sin6_family = AF_INET6, .sin6_port = htons(GUE_PORT) };

	if (fd < 0)
		die("socket", "untunnel");
	setsockopt(fd, SOL_SOCKET, SO_RCVBUFFORCE, &room, sizeof(room));
	if (kind != GUE)
		return fd;
	/* A tunnel's UDP checksum may be 0 over IPv6 too (RFC 6935). */
	setsockopt(fd, IPPROTO_UDP, UDP_NO_CHECK6_RX, &one, sizeof(one));
	setsockopt(fd, IPPROTO_IPV6, IPV6_V6ONLY, &zero, sizeof(zero));
	if (bind(fd, (struct sockaddr *)&any, sizeof(any)))
		die("bind", "gue");
	return fd;
}

/* Length of what stands before the inner packet, and which IP version that must be. 0: not ours. */
static size_t outer_len(int kind, const uint8_t *buf, size_t len, uint8_t *ret_inner)
{
	*ret_inner = kinds[kind].inner;
	if (kind == GUE) {
		/* Variant 0, no options, no flags. */
		if (len < GUE_HEADER || buf[0] != 0 || buf[2] || buf[3])
			return 0;
		*ret_inner = buf[1] == IPPROTO_IPIP ? 4 : buf[1] == IPPROTO_IPV6 ? 6 : 0;
		return GUE_HEADER;
	}
	return kinds[kind].outer_too ? (size_t)(buf[0] & 15) * 4 : 0;
}

/* Exactly one whole packet of that version. */
static bool is_whole(const uint8_t *p, size_t len, uint8_t version)
{
	if (len < 20 || p[0] >> 4 != version)
		return false;
	if (version == 4)
		return (size_t)(p[2] << 8 | p[3]) == len;
	return len >= 40 && (size_t)(p[4] << 8 | p[5]) + 40 == len;
}

static void forward(int kind, int fd, int tun, struct counts *n)
{
	static uint8_t buf[PACKET_MAX];
	ssize_t len = recv(fd, buf, sizeof(buf), MSG_DONTWAIT);
	uint8_t inner;
	size_t skip;

	if (len <= 0)
		return;
	skip = outer_len(kind, buf, (size_t)len, &inner);
	if (skip >= (size_t)len || !is_whole(buf + skip, (size_t)len - skip, inner) ||
	    write(tun, buf + skip, (size_t)len - skip) < 0)
		n->wrong++;
	else if (kind == GUE)
		n->gue++;
	else
		n->ipip++;
}

int main(int argc, char **argv)
{
	struct sigaction on_term = { .sa_handler = on_stop };
	struct pollfd fds[NSOCKETS];
	struct counts n = { 0 };
	int tun;

	if (argc != 2) {
		fputs("usage: untunnel TUN-NAME\nReports on SIGTERM.\n", stderr);
		return 2;
	}
	tun = open_tun(argv[1]);
	for (int i = 0; i < NSOCKETS; i++)
		fds[i] = (struct pollfd){ .fd = open_kind(i), .events = POLLIN };
	sigaction(SIGTERM, &on_term, NULL);
	while (!stopping) {
		if (poll(fds, NSOCKETS, -1) <= 0)
			continue;
		for (int i = 0; i < NSOCKETS; i++)
			if (fds[i].revents)
				forward(i, fds[i].fd, tun, &n);
	}
	printf("{\"ipip\":%lu,\"gue\":%lu,\"wrong\":%lu}\n", (unsigned long)n.ipip,
	       (unsigned long)n.gue, (unsigned long)n.wrong);
	return 0;
}
