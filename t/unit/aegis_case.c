/*
 * aegis_case.c: unit tests of a case's text: what is written for what is not there,
 * for a string that JSON escapes, and for the parts of a second. That it is SQL's own
 * text is t/20routes.t's to say.
 */
#include "aegis_unit.h"

#include "aegis_case.h"


static void
is_text(const aegis_case_t *c, const char *expected)
{
    char    buf[1024];
    size_t  n;

    assert_true(aegis_case_size(c) <= sizeof(buf));
    n = aegis_case_text(c, buf);
    assert_true(n <= aegis_case_size(c));
    assert_int_equal(n, strlen(expected));
    assert_memory_equal(buf, expected, n);
}


static void
test_text(void **state)
{
    aegis_case_t  c;

    static const unsigned char  plan[16] = { 0x01, 0x93, 0xab, 0xcd, 0xef, 0, 0x70, 0, 0x80 };
    static const unsigned char  exec[16] = { 0xff, [15] = 0x0a };

    memset(&c, 0, sizeof(c));
    c.card = aegis_str("{\"case_id\":\"x\"");
    c.status = aegis_str("NEW");
    c.version = 1;

    is_text(&c, "{\"case_id\":\"x\",\"status\":\"NEW\",\"version\":1,\"plan_id\":null,"
            "\"exec_id\":null,\"reason\":\"\",\"updated_at\":\"1970-01-01T00:00:00+00:00\"}");

    c.plan_id = plan;
    c.exec_id = exec;
    c.version = 2147483647;
    c.reason = aegis_str("a\"\\/\b\f\n\r\t\x01\x1f\x7f\xc3\xa9");
    c.updated_us = 1795648269669840;

    is_text(&c, "{\"case_id\":\"x\",\"status\":\"NEW\",\"version\":2147483647,"
            "\"plan_id\":\"0193abcd-ef00-7000-8000-000000000000\","
            "\"exec_id\":\"ff000000-0000-0000-0000-00000000000a\","
            "\"reason\":\"a\\\"\\\\/\\b\\f\\n\\r\\t\\u0001\\u001f\x7f\xc3\xa9\","
            "\"updated_at\":\"2026-11-25T23:11:09.66984+00:00\"}");
}


static void
test_time(void **state)
{
    size_t        i;
    char          expected[256];
    aegis_case_t  c;

    static const struct {
        int64_t      us;
        const char  *text;
    } times[] = {
        { -1, "1969-12-31T23:59:59.999999" },
        { -1000000, "1969-12-31T23:59:59" },
        { 1, "1970-01-01T00:00:00.000001" },
        { 500000, "1970-01-01T00:00:00.5" },
        { 951782400 * (int64_t) 1000000 + 10, "2000-02-29T00:00:00.00001" }
    };

    memset(&c, 0, sizeof(c));
    c.card = aegis_str("{\"a\":1");
    c.status = aegis_str("CLOSED");

    for (i = 0; i < AEGIS_UNIT_N(times); i++) {
        c.updated_us = times[i].us;
        snprintf(expected, sizeof(expected), "{\"a\":1,\"status\":\"CLOSED\",\"version\":0,"
                 "\"plan_id\":null,\"exec_id\":null,\"reason\":\"\","
                 "\"updated_at\":\"%s+00:00\"}", times[i].text);
        is_text(&c, expected);
    }
}


int
main(void)
{
    const struct CMUnitTest  tests[] = {
        AEGIS_TEST("a case is its card and what changes", test_text),
        AEGIS_TEST("of a second there are as many digits as it has", test_time)
    };

    return AEGIS_UNIT_RUN(tests);
}
