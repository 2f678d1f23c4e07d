/* Which addresses are public: the special-purpose registries of the IANA for IPv4 and IPv6 (RFC 6890 and what has been added to them), multicast (RFC 5771,
 * RFC 4291) and what is reserved. Of IPv6 only global unicast space that is handed out, 2000::/3, is public at all (RFC 4291, 2.4). */
#include "http.h"

#include <netinet/in.h>
#include <string.h>
#include <sys/socket.h>

typedef struct range {
    uint32_t first;
    unsigned bits;
} range;

static const range v4[] = {
    {0x00000000, 8},  /* this network, RFC 791 */
    {0x0a000000, 8},  /* private, RFC 1918 */
    {0x64400000, 10}, /* shared by carriers, RFC 6598 */
    {0x7f000000, 8},  /* loopback, RFC 1122 */
    {0xa9fe0000, 16}, /* link-local, RFC 3927 */
    {0xac100000, 12}, /* private */
    {0xc0000000, 24}, /* protocol assignments, RFC 6890 */
    {0xc0000200, 24}, /* documentation, RFC 5737 */
    {0xc0586300, 24}, /* once 6to4's relays, RFC 7526 */
    {0xc0a80000, 16}, /* private */
    {0xc6120000, 15}, /* benchmarks, RFC 2544 */
    {0xc6336400, 24}, /* documentation */
    {0xcb007100, 24}, /* documentation */
    {0xe0000000, 4},  /* multicast */
    {0xf0000000, 4},  /* reserved, RFC 1112, and broadcast */
};

static bool public_v4(uint32_t address)
{
    for (size_t i = 0; i < sizeof v4 / sizeof *v4; i++)
        if ((address ^ v4[i].first) >> (32 - v4[i].bits) == 0) return false;
    return true;
}

static uint32_t word(const unsigned char *bytes)
{
    return (uint32_t)bytes[0] << 24 | (uint32_t)bytes[1] << 16 | (uint32_t)bytes[2] << 8 | bytes[3];
}

static bool public_v6(const unsigned char *a)
{
    static const unsigned char mapped[12] = {[10] = 0xff, [11] = 0xff}, translated[12] = {0x00, 0x64, 0xff, 0x9b};
    if (memcmp(a, mapped, sizeof mapped) == 0) return public_v4(word(a + 12));         /* ::ffff:a.b.c.d, RFC 4291 */
    if (memcmp(a, translated, sizeof translated) == 0) return public_v4(word(a + 12)); /* 64:ff9b::a.b.c.d, NAT64, RFC 6052 */
    uint32_t head = word(a);
    if (head >> 29 != 1) return false;                         /* outside 2000::/3: loopback, unique local, link-local, multicast, … */
    if (head >> 16 == 0x2002) return public_v4(word(a + 2));   /* 6to4, RFC 3056: the IPv4 address is within */
    if ((head ^ UINT32_C(0x20010000)) >> 9 == 0) return false; /* 2001::/23, protocol assignments, Teredo (RFC 4380) among them */
    if (head == UINT32_C(0x20010db8)) return false;            /* documentation, RFC 3849 */
    return (head ^ UINT32_C(0x3fff0000)) >> 12 != 0;           /* 3fff::/20, documentation, RFC 9637 */
}

bool cadre__address_is_public(const struct sockaddr *address)
{
    if (address->sa_family == AF_INET) {
        struct sockaddr_in in;
        memcpy(&in, address, sizeof in);
        return public_v4(ntohl(in.sin_addr.s_addr));
    }
    if (address->sa_family == AF_INET6) {
        struct sockaddr_in6 in6;
        memcpy(&in6, address, sizeof in6);
        return public_v6(in6.sin6_addr.s6_addr);
    }
    return false;
}
