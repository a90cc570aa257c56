/*
 * aegis_addr.c: the ranges of IANA's special-purpose registries. Its invariant:
 * an IPv6 address that carries an IPv4 address is judged by that one too, so
 * that no spelling gets around a range.
 */
#include "aegis_addr.h"

#include <string.h>

typedef struct {
    aegis_addr_range_t  range;
    const char         *kind;
} aegis_addr_kind_t;

#define AEGIS_ADDR_4(a, b, c, d, bits, kind)                                   \
    { { 4, { a, b, c, d }, bits }, kind }

static const aegis_addr_kind_t  aegis_addr_kinds[] = {
    AEGIS_ADDR_4(0, 0, 0, 0, 8, "unspecified"),
    AEGIS_ADDR_4(10, 0, 0, 0, 8, "private"),
    AEGIS_ADDR_4(100, 64, 0, 0, 10, "shared"),
    AEGIS_ADDR_4(127, 0, 0, 0, 8, "loopback"),
    AEGIS_ADDR_4(169, 254, 0, 0, 16, "link-local"),
    AEGIS_ADDR_4(172, 16, 0, 0, 12, "private"),
    AEGIS_ADDR_4(192, 0, 0, 0, 24, "reserved"),
    AEGIS_ADDR_4(192, 0, 2, 0, 24, "documentation"),
    AEGIS_ADDR_4(192, 88, 99, 0, 24, "reserved"),
    AEGIS_ADDR_4(192, 168, 0, 0, 16, "private"),
    AEGIS_ADDR_4(198, 18, 0, 0, 15, "benchmarking"),
    AEGIS_ADDR_4(198, 51, 100, 0, 24, "documentation"),
    AEGIS_ADDR_4(203, 0, 113, 0, 24, "documentation"),
    AEGIS_ADDR_4(224, 0, 0, 0, 4, "multicast"),
    AEGIS_ADDR_4(240, 0, 0, 0, 4, "reserved"),
    { { 16, { 0 }, 96 }, "loopback" },                      /* ::, ::1, ::a.b.c.d */
    { { 16, { 0, 0x64, 0xff, 0x9b, 0, 1 }, 48 }, "translated" },
    { { 16, { 1 }, 64 }, "discard" },
    { { 16, { 0x20, 0x01, 0, 0 }, 32 }, "tunnel" },         /* Teredo */
    { { 16, { 0x20, 0x01, 0, 0x10 }, 28 }, "reserved" },    /* ORCHID */
    { { 16, { 0x20, 0x01, 0, 0x20 }, 28 }, "reserved" },    /* ORCHIDv2 */
    { { 16, { 0x20, 0x01, 0x0d, 0xb8 }, 32 }, "documentation" },
    { { 16, { 0x3f, 0xff, 0 }, 20 }, "documentation" },
    { { 16, { 0x5f, 0 }, 16 }, "reserved" },
    { { 16, { 0xfc }, 7 }, "private" },
    { { 16, { 0xfe, 0x80 }, 10 }, "link-local" },
    { { 16, { 0xfe, 0xc0 }, 10 }, "private" },
    { { 16, { 0xff }, 8 }, "multicast" }
};

/* Where an IPv6 address carries an IPv4 one: mapped, NAT64, translated, 6to4. */
static const struct {
    aegis_addr_range_t  range;
    int                 at;
} aegis_addr_carriers[] = {
    { { 16, { 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0xff, 0xff }, 96 }, 12 },
    { { 16, { 0, 0, 0, 0, 0, 0, 0, 0, 0xff, 0xff, 0, 0 }, 96 }, 12 },
    { { 16, { 0, 0x64, 0xff, 0x9b }, 96 }, 12 },
    { { 16, { 0x20, 0x02 }, 16 }, 2 }
};


static int
aegis_addr_match(const aegis_addr_range_t *r, const unsigned char *bytes, int len)
{
    int            whole, rest;
    unsigned char  mask;

    if (len != r->len) {
        return 0;
    }

    whole = r->bits / 8;
    rest = r->bits % 8;

    if (memcmp(r->bytes, bytes, (size_t) whole) != 0) {
        return 0;
    }

    mask = (unsigned char) (0xff << (8 - rest));

    return rest == 0 || ((r->bytes[whole] ^ bytes[whole]) & mask) == 0;
}


/* The IPv4 address that an IPv6 one carries, NULL for none. */
static const unsigned char *
aegis_addr_carried(const unsigned char *bytes, int len)
{
    size_t  i;

    for (i = 0; i < sizeof(aegis_addr_carriers) / sizeof(aegis_addr_carriers[0]); i++) {
        if (aegis_addr_match(&aegis_addr_carriers[i].range, bytes, len)) {
            return bytes + aegis_addr_carriers[i].at;
        }
    }

    return NULL;
}


const char *
aegis_addr_special(const unsigned char *bytes, int len)
{
    size_t                i;
    const unsigned char  *v4;

    for (i = 0; i < sizeof(aegis_addr_kinds) / sizeof(aegis_addr_kinds[0]); i++) {
        if (aegis_addr_match(&aegis_addr_kinds[i].range, bytes, len)) {
            return aegis_addr_kinds[i].kind;
        }
    }

    v4 = aegis_addr_carried(bytes, len);

    return v4 ? aegis_addr_special(v4, 4) : NULL;
}


int
aegis_addr_in(const aegis_addr_range_t *range, const unsigned char *bytes, int len)
{
    const unsigned char  *v4;

    v4 = range->len == 4 ? aegis_addr_carried(bytes, len) : NULL;

    return aegis_addr_match(range, bytes, len) || (v4 && aegis_addr_match(range, v4, 4));
}
