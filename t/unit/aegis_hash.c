/*
 * aegis_hash.c: unit tests of hashing against published vectors (FIPS 180-4,
 * RFC 4231).
 */
#include "aegis_unit.h"

#include "aegis_hash.h"


static void
test_sha256(void **state)
{
    char           hex[65];
    aegis_str_t    parts[3];
    unsigned char  out[AEGIS_SHA256_LEN];

    aegis_sha256(NULL, 0, out);
    aegis_hex(out, sizeof(out), hex);
    assert_string_equal(hex,
        "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855");

    parts[0] = aegis_str("a");
    parts[1] = AEGIS_NO_STR;
    parts[2] = aegis_str("bc");
    aegis_sha256(parts, 3, out);
    aegis_hex(out, sizeof(out), hex);
    assert_string_equal(hex,
        "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad");
}


static void
test_hmac(void **state)
{
    size_t         i;
    char           hex[65], key[131];
    aegis_str_t    data;
    unsigned char  out[AEGIS_SHA256_LEN];

    const struct {
        aegis_str_t   key;
        const char   *data;
        const char   *mac;
    } cases[] = {
        { { 4, "Jefe" }, "what do ya want for nothing?",
          "5bdcc146bf60754e6a042426089575c75a003f089d2739839dec58b964ec3843" },
        { { 131, key }, "Test Using Larger Than Block-Size Key - Hash Key First",
          "60e431591ee0b67f0d8a26aacbf5b77f8e0bc6213728c5140546040f0ee37f54" }
    };

    memset(key, 0xaa, sizeof(key));

    for (i = 0; i < AEGIS_UNIT_N(cases); i++) {
        data = aegis_view(cases[i].data);
        aegis_hmac_sha256(cases[i].key, &data, 1, out);
        aegis_hex(out, sizeof(out), hex);
        assert_string_equal(hex, cases[i].mac);
    }
}


int
main(void)
{
    const struct CMUnitTest  tests[] = {
        AEGIS_TEST("SHA-256 of parts is the one of their concatenation", test_sha256),
        AEGIS_TEST("HMAC-SHA-256 takes short and long keys", test_hmac)
    };

    return AEGIS_UNIT_RUN(tests);
}
