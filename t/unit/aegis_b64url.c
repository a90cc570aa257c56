/*
 * aegis_b64url.c: unit tests of the strict base64url reader: the vectors of RFC
 * 4648 without their padding, and every way to spell the same bytes differently.
 */
#include "aegis_unit.h"

#include "aegis_b64url.h"


static void
test_vectors(void **state)
{
    size_t         i, n;
    unsigned char  out[16];

    static const char *const  cases[][2] = {
        { "", "" }, { "Zg", "f" }, { "Zm8", "fo" }, { "Zm9v", "foo" },
        { "Zm9vYg", "foob" }, { "Zm9vYmE", "fooba" }, { "Zm9vYmFy", "foobar" },
        { "-_-_", "\xfb\xff\xbf" }
    };

    for (i = 0; i < AEGIS_UNIT_N(cases); i++) {
        assert_true(aegis_b64url_decode(aegis_view(cases[i][0]), out, sizeof(out), &n));
        assert_int_equal(n, strlen(cases[i][1]));
        assert_memory_equal(out, cases[i][1], n);
        assert_true(n <= AEGIS_B64URL_BYTES(strlen(cases[i][0])));
    }
}


static void
test_refused(void **state)
{
    size_t         i, n;
    unsigned char  out[16];

    static const char *const  cases[] = {
        "A", "Zm9vY", "Zg==", "Zm8=", "Zh", "Zm9", "Zm9vYh", "+_-_", "/_-_", "Zm9v ",
        " Zm9v", "Zm\n9v", "Zm9v.", "\xc3\xa9zz"
    };

    n = 77;

    for (i = 0; i < AEGIS_UNIT_N(cases); i++) {
        assert_false(aegis_b64url_decode(aegis_view(cases[i]), out, sizeof(out), &n));
    }

    assert_false(aegis_b64url_decode((aegis_str_t) { 4, "Zm\0v" }, out, sizeof(out), &n));
    assert_false(aegis_b64url_decode(aegis_str("Zm9v"), out, 2, &n));
    assert_int_equal(n, 77);
}


static void
test_one_spelling(void **state)
{
    size_t         n;
    unsigned       a, b, c;
    unsigned char  out[2], seen[65536];
    char           text[3];

    static const char  digits[] =
        "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_";

    memset(seen, 0, sizeof(seen));

    for (a = 0; a < 64; a++) {
        for (b = 0; b < 64; b++) {
            for (c = 0; c < 64; c++) {
                text[0] = digits[a];
                text[1] = digits[b];
                text[2] = digits[c];

                if (aegis_b64url_decode((aegis_str_t) { 3, text }, out, 2, &n)) {
                    assert_int_equal(n, 2);
                    seen[out[0] << 8 | out[1]]++;
                }
            }
        }
    }

    for (a = 0; a < 65536; a++) {
        assert_int_equal(seen[a], 1);
    }
}


int
main(void)
{
    const struct CMUnitTest  tests[] = {
        AEGIS_TEST("the vectors of RFC 4648 are read", test_vectors),
        AEGIS_TEST("padding, other digits and lengths that cannot be are refused", test_refused),
        AEGIS_TEST("each value of two bytes has exactly one spelling", test_one_spelling)
    };

    return AEGIS_UNIT_RUN(tests);
}
