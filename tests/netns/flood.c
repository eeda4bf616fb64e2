/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * Sends frames that no client would: a flood of SYNs or of lone ACKs from addresses that are nobody's,
 * or each shape of broken frame in turn. Through a packet socket, so that nothing on this side looks
 * at them.
 */
#include <linux/if_packet.h>
#include <net/ethernet.h>
#include <net/if.h>
#include <netinet/ip.h>
#include <netinet/tcp.h>
#include <sys/ioctl.h>
#include <unistd.h>

#include "util.h"

#define BATCH     64
#define FRAME_MAX 128

struct flood {
	struct address target;
	const char *mode;
	uint64_t count, rate, sent;
	uint64_t seed;
	int fd;
	uint8_t smac[6], dmac[6];
};

struct frame {
	struct ether_header eth;
	struct iphdr ip;
	struct tcphdr tcp;
	uint8_t rest[FRAME_MAX - 54];
} __attribute__((packed));

static uint64_t next_random(struct flood *f)
{
	f->seed ^= f->seed << 13;
	f->seed ^= f->seed >> 7;
	f->seed ^= f->seed << 17;
	return f->seed;
}

static uint32_t sum_words(const void *data, size_t len, uint32_t sum)
{
	const uint8_t *p = data;

	for (size_t i = 0; i + 1 < len; i += 2)
		sum += (uint32_t)(p[i] << 8 | p[i + 1]);
	return sum;
}

static uint16_t fold(uint32_t sum)
{
	while (sum >> 16)
		sum = (sum & 0xffff) + (sum >> 16);
	return htons((uint16_t)~sum);
}

static void put_checksums(struct frame *m)
{
	m->ip.check = 0;
	m->ip.check = fold(sum_words(&m->ip, sizeof(m->ip), 0));
	m->tcp.check = 0;
	m->tcp.check = fold(sum_words(&m->tcp, sizeof(m->tcp),
				      sum_words(&m->ip.saddr, 8, IPPROTO_TCP + sizeof(m->tcp))));
}

/* From 198.18.0.0/15, which is nobody's: the answers have no way back. */
static void put_frame(struct flood *f, struct frame *m, bool syn)
{
	const struct sockaddr_in *to = (const struct sockaddr_in *)&f->target.sa;
	uint64_t r = next_random(f);

	memset(m, 0, sizeof(*m));
	memcpy(m->eth.ether_dhost, f->dmac, 6);
	memcpy(m->eth.ether_shost, f->smac, 6);
	m->eth.ether_type = htons(ETHERTYPE_IP);
	m->ip.version = 4;
	m->ip.ihl = 5;
	m->ip.tot_len = htons(sizeof(m->ip) + sizeof(m->tcp));
	m->ip.ttl = 64;
	m->ip.protocol = IPPROTO_TCP;
	m->ip.saddr = htonl(0xc6120000 | ((uint32_t)r & 0x1ffff));
	m->ip.daddr = to->sin_addr.s_addr;
	m->tcp.source = htons((uint16_t)(r >> 20 | 1024));
	m->tcp.dest = to->sin_port;
	m->tcp.seq = htonl((uint32_t)(r >> 32));
	m->tcp.doff = 5;
	m->tcp.window = htons(1024);
	m->tcp.syn = syn;
	m->tcp.ack = !syn;
}

enum shape {
	FRAGMENT_FIRST,
	FRAGMENT_LATER,
	FRAME_SHORT,
	TCP_OFFSET_BEYOND,
	TCP_OFFSET_SMALL,
	IP_LENGTH_BEYOND,
	IP_LENGTH_SMALL,
	IHL_SMALL,
	IHL_LARGE,
	TTL_ONE,
	TTL_ZERO,
	SUM_WRONG,
	IP_SUM_WRONG,
	FROM_VIP,
	FLAGS_NONE,
	FLAGS_ALL,
	SYN_FIN,
	SYN_RST,
	OTHER_PROTOCOL,
	VERSION_WRONG,
	PORT_ZERO,
	ETHERTYPE_LIES,
	NSHAPES
};

static size_t put_broken(struct flood *f, struct frame *m, unsigned shape)
{
	size_t len = 54;

	put_frame(f, m, next_random(f) & 1);
	put_checksums(m);
	switch ((enum shape)shape) {
	case FRAGMENT_FIRST:
		m->ip.frag_off = htons(0x2000);
		break;
	case FRAGMENT_LATER:
		m->ip.frag_off = htons(0x0003);
		break;
	case FRAME_SHORT:
		len = 14 + next_random(f) % 40;
		break;
	case TCP_OFFSET_BEYOND:
		m->tcp.doff = 15;
		break;
	case TCP_OFFSET_SMALL:
		m->tcp.doff = (unsigned)(next_random(f) % 5) & 0xf;
		break;
	case IP_LENGTH_BEYOND:
		m->ip.tot_len = htons(1400);
		break;
	case IP_LENGTH_SMALL:
		m->ip.tot_len = htons((uint16_t)(next_random(f) % 40));
		break;
	case IHL_SMALL:
		m->ip.ihl = (unsigned)(next_random(f) % 5) & 0xf;
		break;
	case IHL_LARGE:
		m->ip.ihl = 15;
		break;
	case TTL_ONE:
		m->ip.ttl = 1;
		break;
	case TTL_ZERO:
		m->ip.ttl = 0;
		break;
	case SUM_WRONG:
		m->tcp.check ^= 0x5555;
		break;
	case IP_SUM_WRONG:
		m->ip.check ^= 0x5555;
		return len;
	case FROM_VIP:
		m->ip.saddr = m->ip.daddr;
		m->tcp.source = m->tcp.dest;
		break;
	case FLAGS_NONE:
		m->tcp.ack = m->tcp.syn = 0;
		break;
	case FLAGS_ALL:
		m->tcp.syn = m->tcp.ack = m->tcp.fin = m->tcp.rst = m->tcp.psh = m->tcp.urg = 1;
		break;
	case SYN_FIN:
		m->tcp.syn = m->tcp.fin = 1;
		break;
	case SYN_RST:
		m->tcp.syn = m->tcp.rst = 1;
		break;
	case OTHER_PROTOCOL:
		m->ip.protocol = (uint8_t)next_random(f);
		break;
	case VERSION_WRONG:
		m->ip.version = (unsigned)next_random(f) & 0xf;
		break;
	case PORT_ZERO:
		m->tcp.source = 0;
		break;
	case ETHERTYPE_LIES:
		m->eth.ether_type = htons(next_random(f) & 1 ? ETHERTYPE_IPV6 : 0x8100);
		break;
	case NSHAPES:
		break;
	}
	if (shape != SUM_WRONG)
		put_checksums(m);
	return len;
}

static size_t put_next(struct flood *f, struct frame *m, uint64_t n)
{
	if (!strcmp(f->mode, "broken"))
		return put_broken(f, m, (unsigned)(n % NSHAPES));
	put_frame(f, m, !strcmp(f->mode, "syn"));
	put_checksums(m);
	return 54;
}

static void send_batch(struct flood *f, unsigned n)
{
	static struct frame frames[BATCH];
	struct mmsghdr msgs[BATCH] = { 0 };
	struct iovec iov[BATCH];
	unsigned done = 0;

	for (unsigned i = 0; i < n; i++) {
		iov[i] = (struct iovec){ &frames[i], put_next(f, &frames[i], f->sent + i) };
		msgs[i].msg_hdr.msg_iov = &iov[i];
		msgs[i].msg_hdr.msg_iovlen = 1;
	}
	while (done < n) {
		int k = sendmmsg(f->fd, msgs + done, n - done, 0);

		if (k > 0)
			done += (unsigned)k;
		else if (errno == ENOBUFS || errno == EAGAIN)
			usleep(100);
		else
			done++; /* a frame that not even the packet socket takes */
	}
	f->sent += n;
}

static void run(struct flood *f)
{
	uint64_t start = now_ns();

	while (f->sent < f->count) {
		uint64_t left = f->count - f->sent;

		send_batch(f, left < BATCH ? (unsigned)left : BATCH);
		while (f->rate && f->sent * NS_PER_S / f->rate > now_ns() - start)
			usleep(200);
	}
	printf("{\"sent\":%lu,\"ms\":%lu}\n", (unsigned long)f->sent,
	       (unsigned long)((now_ns() - start) / NS_PER_MS));
}

static void open_socket(struct flood *f, const char *name)
{
	struct sockaddr_ll at = { .sll_family = AF_PACKET, .sll_protocol = htons(ETH_P_ALL) };
	struct ifreq ifr = { 0 };

	f->fd = socket(AF_PACKET, SOCK_RAW | SOCK_CLOEXEC, 0);
	snprintf(ifr.ifr_name, sizeof(ifr.ifr_name), "%s", name);
	if (f->fd < 0 || ioctl(f->fd, SIOCGIFHWADDR, &ifr))
		die("interface", name);
	memcpy(f->smac, ifr.ifr_hwaddr.sa_data, 6);
	at.sll_ifindex = (int)if_nametoindex(name);
	if (bind(f->fd, (struct sockaddr *)&at, sizeof(at)))
		die("bind", name);
}

static void usage(void)
{
	fputs("usage: flood --target ADDR:PORT --interface NAME --mac MAC --mode syn|ack|broken --count N\n"
	      "             [--rate N]\n",
	      stderr);
	exit(2);
}

int main(int argc, char **argv)
{
	struct flood f = { .mode = "", .seed = 0x9e3779b97f4a7c15, .fd = -1 };

	for (int i = 1; i + 1 < argc; i += 2) {
		const char *name = argv[i], *value = argv[i + 1];

		if (!strcmp(name, "--target"))
			f.target = parse_address(value);
		else if (!strcmp(name, "--interface"))
			open_socket(&f, value);
		else if (!strcmp(name, "--mac"))
			sscanf(value, "%hhx:%hhx:%hhx:%hhx:%hhx:%hhx", &f.dmac[0], &f.dmac[1],
			       &f.dmac[2], &f.dmac[3], &f.dmac[4], &f.dmac[5]);
		else if (!strcmp(name, "--mode"))
			f.mode = value;
		else if (!strcmp(name, "--count"))
			f.count = strtoul(value, NULL, 10);
		else if (!strcmp(name, "--rate"))
			f.rate = strtoul(value, NULL, 10);
		else
			usage();
	}
	if (f.target.sa.ss_family != AF_INET || f.fd < 0 || !f.count ||
	    (strcmp(f.mode, "syn") != 0 && strcmp(f.mode, "ack") != 0 &&
	     strcmp(f.mode, "broken") != 0))
		usage();
	run(&f);
	return 0;
}
