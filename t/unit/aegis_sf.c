/*
 * aegis_sf.c: unit tests of structured fields: each kind of bare item as a
 * parameter, well-formed and not, as RFC 9651 4.2 parses it.
 */
#include "aegis_unit.h"

#include "aegis_sf.h"


static int
parses(const char *text)
{
    char    out[256];
    size_t  len;

    return aegis_sf_string(aegis_view(text), out, sizeof(out), &len);
}


static void
test_string(void **state)
{
    char    out[8];
    size_t  len;

    assert_true(aegis_sf_string(aegis_view("\"a\\\"b\\\\\";x"), out, sizeof(out), &len));
    assert_int_equal(len, 4);
    assert_memory_equal(out, "a\"b\\", 4);

    assert_true(aegis_sf_string(aegis_view("\"12345678\""), out, sizeof(out), &len));
    assert_false(aegis_sf_string(aegis_view("\"123456789\""), out, sizeof(out), &len));

    assert_true(aegis_sf_string(aegis_view("\"\""), out, sizeof(out), &len));
    assert_int_equal(len, 0);

    assert_false(parses(""));
    assert_false(parses("a"));
    assert_false(parses("\""));
    assert_false(parses("\"a\" "));
    assert_false(parses("\"a\\"));
}


/* Each of them behind "k";p= */
static void
test_parameters(void **state)
{
    char    text[128];
    size_t  i;

    static const char *const  good[] = {
        "?0", "?1", "1", "-0", "123456789012345", "-123456789012.123", "0.1", "@0", "@-1",
        "@253402300799", "::", ":YQ==:", ":YWI=:", "a", "*", "*a:/b!", "tok/en", "\"\"",
        "\"x;y\\\"\"", "%\"\"", "%\"a b\"", "%\"f%c3%bc %e2%82%ac %f0%9f%98%80%22\"",
        "1;q=2", "1; q", "1;  *_-.q=?1;r", "%\"%00\""
    };

    static const char *const  bad[] = {
        "", "?", "?2", "-", "1.", ".1", "1.2345", "1.2.3", "1234567890123456",
        "1234567890123.1", "1a", "+1", "@", "@1.5", "@a", "@-", ":", ":YQ", ":Y-_=:", ":Y Q:",
        "(1)", "a=b", "a b", "a,b", "\"", "\"x", "\"\\x\"", "%", "%x", "%\"x", "%\"%\"",
        "%\"%zz\"", "%\"%C3%BC\"", "%\"%c3\"", "%\"%c3x\"", "%\"%bc\"", "%\"%c0%80\"",
        "%\"%e0%80%80\"", "%\"%ed%a0%80\"", "%\"%f0%80%80%80\"", "%\"%f4%90%80%80\"",
        "%\"%f5%80%80%80\"", "%\"\xc3\xbc\"", "%\"\t\"", "1;", "1;;q", "1 ;q", "1;Q", "1;q ", "{"
    };

    for (i = 0; i < AEGIS_UNIT_N(good); i++) {
        snprintf(text, sizeof(text), "\"k\";p=%s", good[i]);
        if (!parses(text)) {
            fail_msg("was refused: %s", text);
        }
    }

    for (i = 0; i < AEGIS_UNIT_N(bad); i++) {
        snprintf(text, sizeof(text), "\"k\";p=%s", bad[i]);
        if (parses(text)) {
            fail_msg("was taken: %s", text);
        }
    }
}


int
main(void)
{
    const struct CMUnitTest  tests[] = {
        AEGIS_TEST("a string and where it ends", test_string),
        AEGIS_TEST("the parameters behind it", test_parameters)
    };

    return AEGIS_UNIT_RUN(tests);
}
