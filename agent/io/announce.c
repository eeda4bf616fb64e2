/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * Tells the segment that an address lives here now: gratuitous ARP, or an unsolicited neighbour
 * advertisement. Frames are built here, so that an address can be announced whatever state the
 * interface's other addresses are in.
 */
#include "netlink.h"

#include <errno.h>
#include <string.h>
#include <sys/socket.h>
#include <arpa/inet.h>
#include <linux/if_arp.h>
#include <linux/if_ether.h>
#include <linux/if_packet.h>
#include <netinet/icmp6.h>
#include <netinet/in.h>
#include <netinet/ip6.h>

struct arp_packet {
	struct arphdr head;
	uint8_t sender_mac[6], sender_ip[4];
	uint8_t target_mac[6], target_ip[4];
};
_Static_assert(sizeof(struct arp_packet) == 28, "RFC 826 over Ethernet and IPv4");

struct na_packet {
	struct ip6_hdr ip;
	struct nd_neighbor_advert na;
	struct nd_opt_hdr option;
	uint8_t mac[6];
};
_Static_assert(sizeof(struct na_packet) == 72, "RFC 4861 with one link-layer address option");

/*
 * One for the life of the process: closing a packet socket waits for every CPU to have let go of it,
 * some 10 ms, and a start or reload announces hundreds of addresses. Protocol 0: it receives nothing.
 */
static int packet_socket(void)
{
	static int fd = -1;

	if (fd < 0)
		fd = socket(AF_PACKET, SOCK_DGRAM | SOCK_CLOEXEC, 0);
	return fd < 0 ? -errno : fd;
}

static int send_packet(unsigned ifindex, uint16_t ethertype, const uint8_t dmac[6],
		       const void *data, size_t len)
{
	struct sockaddr_ll to = { .sll_family = AF_PACKET,
				  .sll_protocol = htons(ethertype),
				  .sll_ifindex = (int)ifindex,
				  .sll_halen = ETH_ALEN };
	int fd = packet_socket();

	if (fd < 0)
		return fd;
	memcpy(to.sll_addr, dmac, ETH_ALEN);
	return sendto(fd, data, len, 0, (struct sockaddr *)&to, sizeof(to)) < 0 ? -errno : 0;
}

/* RFC 5227, 3: an announcement is a request; some listen only to replies, so they get one too. */
static int announce_arp(unsigned ifindex, const uint8_t mac[6], const uint8_t ip[4])
{
	static const uint8_t everyone[6] = { 0xff, 0xff, 0xff, 0xff, 0xff, 0xff };
	struct arp_packet p = { 0 };
	int err;

	p.head.ar_hrd = htons(ARPHRD_ETHER);
	p.head.ar_pro = htons(ETH_P_IP);
	p.head.ar_hln = 6;
	p.head.ar_pln = 4;
	p.head.ar_op = htons(ARPOP_REQUEST);
	memcpy(p.sender_mac, mac, 6);
	memcpy(p.sender_ip, ip, 4);
	memcpy(p.target_ip, ip, 4);
	err = send_packet(ifindex, ETH_P_ARP, everyone, &p, sizeof(p));
	if (err)
		return err;

	p.head.ar_op = htons(ARPOP_REPLY);
	memcpy(p.target_mac, mac, 6);
	return send_packet(ifindex, ETH_P_ARP, everyone, &p, sizeof(p));
}

static uint32_t sum16(uint32_t sum, const void *data, size_t len)
{
	const uint8_t *b = data;

	for (size_t i = 0; i + 1 < len; i += 2)
		sum += (uint32_t)b[i] << 8 | b[i + 1];
	return sum;
}

/* Over the pseudo header (RFC 8200, 8.1) and the message, of even length. */
static uint16_t icmp6_checksum(const struct ip6_hdr *ip, const void *message, size_t len)
{
	uint32_t sum = IPPROTO_ICMPV6 + (uint32_t)len;

	sum = sum16(sum, &ip->ip6_src, sizeof(ip->ip6_src));
	sum = sum16(sum, &ip->ip6_dst, sizeof(ip->ip6_dst));
	sum = sum16(sum, message, len);
	while (sum >> 16)
		sum = (sum & 0xffff) + (sum >> 16);
	return htons((uint16_t)~sum);
}

static int announce_na(unsigned ifindex, const uint8_t mac[6], const uint8_t ip[16])
{
	static const uint8_t all_nodes[16] = { 0xff, 0x02, [15] = 1 };
	static const uint8_t all_nodes_mac[6] = { 0x33, 0x33, 0, 0, 0, 1 };
	const size_t len = sizeof(struct na_packet) - sizeof(struct ip6_hdr);
	struct na_packet p = { 0 };

	p.ip.ip6_flow = htonl(6u << 28);
	p.ip.ip6_plen = htons((uint16_t)len);
	p.ip.ip6_nxt = IPPROTO_ICMPV6;
	p.ip.ip6_hlim = 255;
	memcpy(&p.ip.ip6_src, ip, 16);
	memcpy(&p.ip.ip6_dst, all_nodes, 16);
	p.na.nd_na_type = ND_NEIGHBOR_ADVERT;
	p.na.nd_na_flags_reserved = ND_NA_FLAG_OVERRIDE;
	memcpy(&p.na.nd_na_target, ip, 16);
	p.option.nd_opt_type = ND_OPT_TARGET_LINKADDR;
	p.option.nd_opt_len = 1;
	memcpy(p.mac, mac, 6);
	p.na.nd_na_cksum = icmp6_checksum(&p.ip, &p.na, len);
	return send_packet(ifindex, ETH_P_IPV6, all_nodes_mac, &p, sizeof(p));
}

int netlink_announce(unsigned ifindex, const uint8_t mac[6], const struct endpoint *addr)
{
	if (endpoint_is_v4(addr))
		return announce_arp(ifindex, mac, addr->addr + 12);
	return announce_na(ifindex, mac, addr->addr);
}
