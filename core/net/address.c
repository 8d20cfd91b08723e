#include "core/net/address.h"

#include <netinet/in.h>
#include <stdint.h>
#include <string.h>

struct range4 {
	uint32_t net;
	unsigned bits;
};

#define NET4(a, b, c, d, bits) {(uint32_t)(a) << 24 | (b) << 16 | (c) << 8 | (d), (bits)}

static const struct range4 special4[] = {
	NET4(0, 0, 0, 0, 8),	   /* this network */
	NET4(10, 0, 0, 0, 8),	   /* private */
	NET4(100, 64, 0, 0, 10),   /* shared by a provider's customers */
	NET4(127, 0, 0, 0, 8),	   /* loopback */
	NET4(169, 254, 0, 0, 16),  /* link-local, metadata of clouds */
	NET4(172, 16, 0, 0, 12),   /* private */
	NET4(192, 0, 0, 0, 24),	   /* protocols */
	NET4(192, 0, 2, 0, 24),	   /* documentation */
	NET4(192, 88, 99, 0, 24),  /* 6to4 relays, given up */
	NET4(192, 168, 0, 0, 16),  /* private */
	NET4(198, 18, 0, 0, 15),   /* benchmarks */
	NET4(198, 51, 100, 0, 24), /* documentation */
	NET4(203, 0, 113, 0, 24),  /* documentation */
	NET4(224, 0, 0, 0, 3),	   /* multicast, reserved, broadcast */
};

static bool public4(uint32_t a)
{
	for (size_t i = 0; i < sizeof special4 / sizeof *special4; i++)
		if ((a ^ special4[i].net) >> (32 - special4[i].bits) == 0)
			return false;
	return true;
}

static uint32_t be32(const uint8_t *p)
{
	return (uint32_t)p[0] << 24 | (uint32_t)p[1] << 16 | (uint32_t)p[2] << 8 | p[3];
}

static bool public6(const uint8_t a[16])
{
	static const uint8_t zeros[16], nat64[12] = {0, 0x64, 0xff, 0x9b};

	/* ::ffff:1.2.3.4, and what a translator would reach for 64:ff9b::1.2.3.4 */
	if (memcmp(a, zeros, 10) == 0 && a[10] == 0xff && a[11] == 0xff)
		return public4(be32(a + 12));
	if (memcmp(a, nat64, sizeof nat64) == 0)
		return public4(be32(a + 12));
	/* Global unicast is 2000::/3, */
	if ((a[0] & 0xe0) != 0x20)
		return false;
	/* but not 2001::/23 (protocols, Teredo), 2001:db8::/32 and 3fff::/20 (documentation); */
	if (a[0] == 0x20 && a[1] == 0x01 && ((a[2] & 0xfe) == 0 || (a[2] == 0x0d && a[3] == 0xb8)))
		return false;
	if (a[0] == 0x3f && a[1] == 0xff && (a[2] & 0xf0) == 0)
		return false;
	/* 2002::/16 carries an IPv4 address. */
	return !(a[0] == 0x20 && a[1] == 0x02) || public4(be32(a + 2));
}

bool wr_address_public(const struct sockaddr *address)
{
	if (address->sa_family == AF_INET) {
		struct sockaddr_in in;

		memcpy(&in, address, sizeof in);
		return public4(ntohl(in.sin_addr.s_addr));
	}
	if (address->sa_family == AF_INET6) {
		struct sockaddr_in6 in;

		memcpy(&in, address, sizeof in);
		return public6(in.sin6_addr.s6_addr);
	}
	return false;
}
