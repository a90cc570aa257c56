/*
 * aegis_time.c: unit tests of date-times.
 */
#include "aegis_unit.h"

#include "aegis_http.h"
#include "aegis_time.h"


static void
test_valid(void **state)
{
    size_t   i;
    int64_t  s;

    static const struct {
        const char  *text;
        int64_t      s;
    } cases[] = {
        { "1970-01-01T00:00:00Z", 0 },
        { "1970-01-01t00:00:00z", 0 },
        { "1969-12-31T23:59:59Z", -1 },
        { "2026-11-21T07:00:00.123456+00:00", 1795244400 },
        { "2026-11-21T15:00:00+08:00", 1795244400 },
        { "2026-11-20T23:30:00-07:30", 1795244400 },
        { "2000-02-29T12:00:00Z", 951825600 },
        { "2100-02-28T23:59:60Z", 4107542400 },
        { "9999-12-31T23:59:59.999999999Z", 253402300799 },
        { "0001-01-01T00:00:00-15:59", -62135596800 + 57540 }
    };

    for (i = 0; i < AEGIS_UNIT_N(cases); i++) {
        if (!aegis_time_parse(aegis_view(cases[i].text), &s) || s != cases[i].s) {
            fail_msg("%s is %lld", cases[i].text, (long long) s);
        }
        assert_true(aegis_http_time_valid(aegis_view(cases[i].text)));
    }
}


static void
test_invalid(void **state)
{
    size_t  i;

    static const char *const  cases[] = {
        "", "now", "infinity", "2026-11-21", "2026-11-21T07:00:00",
        "2026-11-21 07:00:00Z", "2026-11-21T07:00Z", "2026-11-21T07:00:00 Z",
        "2026-13-01T00:00:00Z", "2026-00-01T00:00:00Z", "2026-02-29T00:00:00Z",
        "2100-02-29T00:00:00Z", "2026-04-31T00:00:00Z", "2026-01-00T00:00:00Z",
        "2026-01-01T24:00:00Z", "2026-01-01T00:60:00Z", "2026-01-01T00:00:61Z",
        "0000-01-01T00:00:00Z", "10000-01-01T00:00:00Z", "-001-01-01T00:00:00Z",
        "2026-01-01T00:00:00.Z", "2026-01-01T00:00:00.1234567890Z",
        "2026-01-01T00:00:00+0800", "2026-01-01T00:00:00+16:00",
        "2026-01-01T00:00:00+08:60", "2026-01-01T00:00:00+8:00",
        "2026-01-01T00:00:00ZZ", "2026-01-01T00:00:00Z+00:00", "+026-01-01T00:00:00Z",
        "2026-1-1T00:00:00Z", "2026-01-01T00:00:00+08:00 "
    };

    for (i = 0; i < AEGIS_UNIT_N(cases); i++) {
        if (aegis_http_time_valid(aegis_view(cases[i]))) {
            fail_msg("got through: %s", cases[i]);
        }
    }

    assert_false(aegis_http_time_valid(AEGIS_NO_STR));
}


static void
test_round_trip(void **state)
{
    int      weekday;
    char     text[AEGIS_TIME_LEN + 1];
    int64_t  s, back;

    /* every day of 800 years, at a time that wanders through the day */
    weekday = 3;

    for (s = 0; s < 800LL * 366 * 86400; s += 86400) {
        aegis_time_format(s + s / 86400 % 86400, text);

        assert_int_equal(strlen(text), AEGIS_TIME_LEN);
        assert_true(aegis_time_parse(aegis_view(text), &back));
        assert_int_equal(back, s + s / 86400 % 86400);
        assert_int_equal(aegis_time_weekday(back), weekday);

        weekday = (weekday + 1) % 7;
    }

    aegis_time_format(1795244400, text);
    assert_string_equal(text, "2026-11-21T07:00:00Z");
    assert_int_equal(aegis_time_weekday(1795244400), 5);
    assert_int_equal(aegis_time_weekday(-1), 2);

    aegis_time_format(INT64_MAX, text);
    assert_int_equal(strlen(text), AEGIS_TIME_LEN);
    aegis_time_format(INT64_MIN, text);
    assert_int_equal(strlen(text), AEGIS_TIME_LEN);
}


static void
test_offset(void **state)
{
    int64_t  s;

    assert_true(aegis_time_offset(aegis_str("+08:00"), &s));
    assert_int_equal(s, 8 * 3600);
    assert_true(aegis_time_offset(aegis_str("-03:30"), &s));
    assert_int_equal(s, -(3 * 3600 + 1800));
    assert_false(aegis_time_offset(aegis_str("08:00"), &s));
    assert_false(aegis_time_offset(aegis_str("+08:0"), &s));
    assert_false(aegis_time_offset(aegis_str("+08-00"), &s));
    assert_false(aegis_time_offset(aegis_str("+16:00"), &s));
    assert_false(aegis_time_offset(AEGIS_NO_STR, &s));
}


int
main(void)
{
    const struct CMUnitTest  tests[] = {
        AEGIS_TEST("RFC 3339 date-times are their second of UTC", test_valid),
        AEGIS_TEST("nothing else is a time, nor what timestamptz cannot hold",
                   test_invalid),
        AEGIS_TEST("format and parse are inverse and weekdays follow each other",
                   test_round_trip),
        AEGIS_TEST("an offset is hours and minutes with a sign", test_offset)
    };

    return AEGIS_UNIT_RUN(tests);
}
