/*
 * aegis_addr.c: unit tests of special addresses: each range at both of its ends
 * and just beside them, and every IPv6 form that carries an IPv4 address.
 */
#include "aegis_unit.h"

#include <arpa/inet.h>

#include "aegis_addr.h"


static int
parse(const char *text, unsigned char bytes[16])
{
    if (inet_pton(AF_INET, text, bytes) == 1) {
        return 4;
    }

    assert_int_equal(inet_pton(AF_INET6, text, bytes), 1);

    return 16;
}


static void
test_special(void **state)
{
    int             len;
    size_t          i;
    const char     *kind;
    unsigned char   bytes[16];

    static const struct {
        const char  *address;
        const char  *kind;              /* NULL: of the Internet */
    } cases[] = {
        { "0.0.0.0", "unspecified" }, { "0.255.255.255", "unspecified" }, { "1.0.0.0", NULL },
        { "9.255.255.255", NULL }, { "10.0.0.0", "private" }, { "10.255.255.255", "private" },
        { "11.0.0.0", NULL }, { "100.63.255.255", NULL }, { "100.64.0.0", "shared" },
        { "100.100.100.200", "shared" }, { "100.127.255.255", "shared" }, { "100.128.0.0", NULL },
        { "126.255.255.255", NULL }, { "127.0.0.1", "loopback" }, { "127.255.255.255", "loopback" },
        { "128.0.0.0", NULL }, { "169.253.255.255", NULL }, { "169.254.169.254", "link-local" },
        { "169.255.0.0", NULL }, { "172.15.255.255", NULL }, { "172.16.0.0", "private" },
        { "172.31.255.255", "private" }, { "172.32.0.0", NULL }, { "192.0.0.1", "reserved" },
        { "192.0.2.1", "documentation" }, { "192.88.99.1", "reserved" }, { "192.167.255.255", NULL },
        { "192.168.0.1", "private" }, { "192.169.0.0", NULL }, { "198.17.255.255", NULL },
        { "198.18.0.0", "benchmarking" }, { "198.19.255.255", "benchmarking" },
        { "198.51.100.1", "documentation" }, { "203.0.113.255", "documentation" },
        { "223.255.255.255", NULL }, { "224.0.0.1", "multicast" }, { "240.0.0.1", "reserved" },
        { "255.255.255.255", "reserved" }, { "8.8.8.8", NULL },
        { "::", "loopback" }, { "::1", "loopback" }, { "::127.0.0.1", "loopback" },
        { "::ffff:127.0.0.1", "loopback" }, { "::ffff:10.1.2.3", "private" },
        { "::ffff:169.254.169.254", "link-local" }, { "::ffff:8.8.8.8", NULL },
        { "::ffff:0:127.0.0.1", "loopback" }, { "64:ff9b::7f00:1", "loopback" },
        { "64:ff9b::8.8.8.8", NULL }, { "64:ff9b:1::1", "translated" },
        { "2002:7f00:1::", "loopback" }, { "2002:c0a8:101::1", "private" },
        { "2002:808:808::1", NULL }, { "2001::1", "tunnel" }, { "2001:db8::1", "documentation" },
        { "2001:20::1", "reserved" }, { "2001:10::1", "reserved" }, { "3fff::1", "documentation" },
        { "100::1", "discard" }, { "fc00::1", "private" }, { "fd00:ec2::254", "private" },
        { "fdff::1", "private" }, { "fe00::1", NULL }, { "fe80::1", "link-local" },
        { "febf::1", "link-local" }, { "fec0::1", "private" }, { "ff02::1", "multicast" },
        { "2606:4700:4700::1111", NULL }
    };

    for (i = 0; i < AEGIS_UNIT_N(cases); i++) {
        len = parse(cases[i].address, bytes);
        kind = aegis_addr_special(bytes, len);

        if (kind == NULL ? cases[i].kind != NULL
            : cases[i].kind == NULL || strcmp(kind, cases[i].kind) != 0)
        {
            fail_msg("%s is %s", cases[i].address, kind ? kind : "of the Internet");
        }
    }
}


static void
test_ranges(void **state)
{
    int                 len;
    size_t              i;
    unsigned char       bytes[16];
    aegis_addr_range_t  r;

    static const struct {
        const char  *range;
        int          bits;
        const char  *address;
        int          in;
    } cases[] = {
        { "10.1.0.0", 16, "10.1.255.255", 1 }, { "10.1.0.0", 16, "10.2.0.0", 0 },
        { "10.1.0.0", 16, "::ffff:10.1.2.3", 1 }, { "127.0.0.1", 32, "127.0.0.1", 1 },
        { "127.0.0.1", 32, "127.0.0.2", 0 }, { "0.0.0.0", 0, "8.8.8.8", 1 },
        { "0.0.0.0", 0, "::1", 0 }, { "fd00::", 8, "fd12::1", 1 }, { "fd00::", 8, "fc12::1", 0 },
        { "::1", 128, "::1", 1 }, { "10.128.0.0", 9, "10.127.0.1", 0 },
        { "10.128.0.0", 9, "10.129.0.1", 1 }
    };

    for (i = 0; i < AEGIS_UNIT_N(cases); i++) {
        memset(&r, 0, sizeof(r));
        r.len = parse(cases[i].range, r.bytes);
        r.bits = cases[i].bits;
        len = parse(cases[i].address, bytes);

        if (aegis_addr_in(&r, bytes, len) != cases[i].in) {
            fail_msg("%s/%d %s", cases[i].range, cases[i].bits, cases[i].address);
        }
    }
}


int
main(void)
{
    const struct CMUnitTest  tests[] = {
        AEGIS_TEST("special addresses are known in every form", test_special),
        AEGIS_TEST("ranges take what is in them", test_ranges),
    };

    return AEGIS_UNIT_RUN(tests);
}
