/*
 * aegis_zone.c: unit tests of time zones: real TZif files of the system's
 * tzdata against libc's own clock, and the first moment of a local time around
 * changes of the clock.
 */
#include "aegis_unit.h"

#include <time.h>

#include "aegis_time.h"
#include "aegis_zone.h"

#define ZONEINFO  "/usr/share/zoneinfo/"
#define SINCE     1577836800            /* 2020-01-01 */

static const char *const  zones[] = {
    "UTC", "Europe/Berlin", "Europe/London", "Europe/Dublin", "America/New_York",
    "America/Los_Angeles", "America/St_Johns", "America/Sao_Paulo", "America/Santiago",
    "Asia/Shanghai", "Asia/Kolkata", "Asia/Kathmandu", "Asia/Tehran", "Asia/Gaza",
    "Australia/Sydney", "Australia/Lord_Howe", "Pacific/Auckland", "Pacific/Chatham",
    "Pacific/Apia", "Africa/Casablanca", "Africa/Cairo", "Antarctica/Troll",
    "America/Nuuk", "Pacific/Kiritimati", "Asia/Jerusalem"
};


/* A file's bytes; NULL when it is not there. */
static char *
slurp(const char *name, size_t *ret_len)
{
    char    path[256], *text;
    FILE   *in;

    snprintf(path, sizeof(path), ZONEINFO "%s", name);
    in = fopen(path, "rb");
    if (in == NULL) {
        return NULL;
    }

    text = malloc(AEGIS_ZONE_MAX_FILE);
    assert_non_null(text);
    *ret_len = fread(text, 1, AEGIS_ZONE_MAX_FILE, in);
    fclose(in);

    return text;
}


static json_t *
zone_of(const char *name)
{
    char           *text;
    size_t          len;
    json_t         *json;
    aegis_error_t   err = AEGIS_ERROR_INIT;

    text = slurp(name, &len);
    if (text == NULL) {
        fail_msg("there is no " ZONEINFO "%s: install tzdata", name);
    }

    if (aegis_zone_read((aegis_str_t) { len, text }, SINCE, &json, &err) != AEGIS_E_OK) {
        fail_msg("%s: %s", name, err.detail);
    }

    free(text);

    return json;
}


static uint64_t
next_random(uint64_t *x)
{
    *x ^= *x << 13;
    *x ^= *x >> 7;
    *x ^= *x << 17;

    return *x;
}


/* libc is the second opinion, on the same files. */
static void
test_libc(void **state)
{
    int            k;
    size_t         i;
    time_t         t;
    json_t        *json;
    int64_t        offset, until;
    uint64_t       x = 20261126;
    struct tm      tm;
    aegis_zone_t   zone;

    for (i = 0; i < AEGIS_UNIT_N(zones); i++) {
        json = zone_of(zones[i]);
        aegis_zone_open(json, &zone);
        setenv("TZ", zones[i], 1);
        tzset();

        for (k = 0; k < 3000; k++) {
            t = (time_t) (SINCE + next_random(&x) % (UINT64_C(80) * 366 * 86400));
            offset = aegis_zone_offset(&zone, t, &until);
            localtime_r(&t, &tm);

            if (offset != tm.tm_gmtoff) {
                fail_msg("%s at %lld: %lld, libc %ld", zones[i], (long long) t,
                         (long long) offset, tm.tm_gmtoff);
            }

            if (until == INT64_MAX) {
                continue;
            }

            /* the second before the change, and the change itself */
            assert_true(until > t);
            t = (time_t) until - 1;
            localtime_r(&t, &tm);
            assert_int_equal(tm.tm_gmtoff, offset);
            t++;
            localtime_r(&t, &tm);
            assert_int_equal(tm.tm_gmtoff, aegis_zone_offset(&zone, t, NULL));
        }

        json_decref(json);
    }

    unsetenv("TZ");
    tzset();
}


/* first() is what a person finds who looks at the clock every second. */
static void
test_first(void **state)
{
    int            k, n;
    size_t         i;
    json_t        *json;
    int64_t        local, first, t, until;
    uint64_t       x = 7;
    aegis_zone_t   zone;

    for (i = 0; i < AEGIS_UNIT_N(zones); i++) {
        json = zone_of(zones[i]);
        aegis_zone_open(json, &zone);

        for (k = 0; k < 60; k++) {
            t = SINCE + (int64_t) (next_random(&x) % (UINT64_C(20) * 366 * 86400));

            /* near a change, where there is one */
            (void) aegis_zone_offset(&zone, t, &until);
            t = until == INT64_MAX ? t : until;
            local = t + aegis_zone_offset(&zone, t, NULL)
                    + (int64_t) (next_random(&x) % 14400) - 7200;

            first = aegis_zone_first(&zone, local);
            assert_true(first + aegis_zone_offset(&zone, first, NULL) >= local);

            for (n = 1; n <= 26 * 60; n++) {
                t = first - (n < 600 ? n : (n - 590) * 60);
                if (t + aegis_zone_offset(&zone, t, NULL) >= local) {
                    fail_msg("%s: local %lld was there %lld s before", zones[i],
                             (long long) local, (long long) (first - t));
                }
            }
        }

        json_decref(json);
    }
}


static void
test_changes(void **state)
{
    char           out[AEGIS_TIME_LEN + 1];
    size_t         i;
    json_t        *json;
    int64_t        local;
    aegis_zone_t   zone;

    /* what the clock should show, and when it first does */
    static const struct {
        const char  *zone;
        const char  *local;
        const char  *utc;
    } cases[] = {
        { "Europe/Berlin",       "2026-03-29T01:59:59Z", "2026-03-29T00:59:59Z" },
        { "Europe/Berlin",       "2026-03-29T02:00:00Z", "2026-03-29T01:00:00Z" },
        { "Europe/Berlin",       "2026-03-29T02:30:00Z", "2026-03-29T01:00:00Z" },
        { "Europe/Berlin",       "2026-03-29T03:00:00Z", "2026-03-29T01:00:00Z" },
        { "Europe/Berlin",       "2026-03-29T03:00:01Z", "2026-03-29T01:00:01Z" },
        { "Europe/Berlin",       "2026-10-25T01:59:59Z", "2026-10-24T23:59:59Z" },
        { "Europe/Berlin",       "2026-10-25T02:30:00Z", "2026-10-25T00:30:00Z" },
        { "Europe/Berlin",       "2026-10-25T03:00:00Z", "2026-10-25T02:00:00Z" },
        { "America/New_York",    "2026-03-08T02:30:00Z", "2026-03-08T07:00:00Z" },
        { "America/New_York",    "2026-11-01T01:30:00Z", "2026-11-01T05:30:00Z" },
        { "Australia/Lord_Howe", "2026-10-04T02:15:00Z", "2026-10-03T15:30:00Z" },
        { "Asia/Kolkata",        "2026-10-25T02:30:00Z", "2026-10-24T21:00:00Z" },
        { "Europe/Berlin",       "2090-03-26T02:30:00Z", "2090-03-26T01:00:00Z" }
    };

    for (i = 0; i < AEGIS_UNIT_N(cases); i++) {
        json = zone_of(cases[i].zone);
        aegis_zone_open(json, &zone);
        assert_true(aegis_time_parse(aegis_view(cases[i].local), &local));
        aegis_time_format(aegis_zone_first(&zone, local), out);
        assert_string_equal(out, cases[i].utc);
        json_decref(json);
    }
}


static void
test_rules(void **state)
{
    size_t              i;
    int64_t             t;
    aegis_zone_rule_t   rule;

    static const struct {
        const char  *rule;
        const char  *at;            /* NULL: the rule is none */
        int64_t      offset;
    } cases[] = {
        { "UTC0",                         "2026-07-01T00:00:00Z", 0 },
        { "<+0545>-5:45",                 "2026-07-01T00:00:00Z", 20700 },
        { "CET-1CEST,M3.5.0,M10.5.0/3",   "2026-03-29T00:59:59Z", 3600 },
        { "CET-1CEST,M3.5.0,M10.5.0/3",   "2026-03-29T01:00:00Z", 7200 },
        { "CET-1CEST,M3.5.0,M10.5.0/3",   "2026-10-25T00:59:59Z", 7200 },
        { "CET-1CEST,M3.5.0,M10.5.0/3",   "2026-10-25T01:00:00Z", 3600 },
        { "IST-1GMT0,M10.5.0,M3.5.0/1",   "2026-01-01T00:00:00Z", 0 },
        { "IST-1GMT0,M10.5.0,M3.5.0/1",   "2026-07-01T00:00:00Z", 3600 },
        { "<-02>2<-01>,M3.5.0/-1,M10.5.0/0", "2026-03-29T00:59:59Z", -7200 },
        { "<-02>2<-01>,M3.5.0/-1,M10.5.0/0", "2026-03-29T01:00:00Z", -3600 },
        { "NZST-12NZDT,M9.5.0,M4.1.0/3",  "2026-01-01T00:00:00Z", 46800 },
        { "XST3EDT4,0/0,J365/23",         "2026-12-31T23:30:00Z", -14400 },
        { "XST3EDT,J60/0,J300/0",         "2024-03-01T02:59:59Z", -10800 },
        { "XST3EDT,J60/0,J300/0",         "2024-03-01T03:00:00Z", -7200 },
        { "EET-2EEST,M3.4.4/50,M10.4.4/50", "2026-03-27T23:59:59Z", 7200 },
        { "EET-2EEST,M3.4.4/50,M10.4.4/50", "2026-03-28T00:00:00Z", 10800 },
        { "", NULL, 0 }, { "CE-1", NULL, 0 }, { "CET", NULL, 0 }, { "CET-25", NULL, 0 },
        { "CET-1CEST", NULL, 0 }, { "CET-1CEST,M3.5.0", NULL, 0 },
        { "CET-1CEST,M13.5.0,M10.5.0", NULL, 0 }, { "CET-1CEST,M3.6.0,M10.5.0", NULL, 0 },
        { "CET-1CEST,M3.5.7,M10.5.0", NULL, 0 }, { "CET-1CEST,M3.5.0,M10.5.0x", NULL, 0 },
        { "CET-1CEST,J0,J365", NULL, 0 }, { "<C>-1", NULL, 0 }, { "<CET-1", NULL, 0 },
        { "CET-1:60", NULL, 0 }, { "CET-1CEST,M3.5.0/168,M10.5.0", NULL, 0 }
    };

    for (i = 0; i < AEGIS_UNIT_N(cases); i++) {
        if (aegis_zone_rule_parse(cases[i].rule, &rule) != (cases[i].at != NULL)) {
            fail_msg("%s is taken for what it is not", cases[i].rule);
        }

        if (cases[i].at) {
            int64_t  until;

            assert_true(aegis_time_parse(aegis_view(cases[i].at), &t));
            if (aegis_zone_rule_offset(&rule, t, &until) != cases[i].offset) {
                fail_msg("%s at %s", cases[i].rule, cases[i].at);
            }
        }
    }
}


/* Every shorter file is refused, and no byte of it can do harm. */
static void
test_broken(void **state)
{
    char           *text, was;
    size_t          i, k, len;
    json_t         *json;
    aegis_zone_t    zone;
    aegis_error_t   err = AEGIS_ERROR_INIT;

    text = slurp("Europe/Berlin", &len);
    assert_non_null(text);

    for (i = 0; i < len; i++) {
        assert_int_not_equal(aegis_zone_read((aegis_str_t) { i, text }, SINCE, &json,
                                             &err), AEGIS_E_OK);
    }

    for (i = 0; i < len; i++) {
        for (k = 0; k < 3; k++) {
            was = text[i];
            text[i] = (char) (k == 0 ? 0xff : k == 1 ? 0 : was ^ 0x40);

            if (aegis_zone_read((aegis_str_t) { len, text }, SINCE, &json, &err)
                == AEGIS_E_OK)
            {
                aegis_zone_open(json, &zone);
                (void) aegis_zone_first(&zone, SINCE);
                json_decref(json);
            }
            text[i] = was;
        }
    }

    free(text);
}


static void
test_names(void **state)
{
    assert_true(aegis_zone_name_valid("Europe/Berlin"));
    assert_true(aegis_zone_name_valid("America/Argentina/Buenos_Aires"));
    assert_true(aegis_zone_name_valid("Etc/GMT+5"));
    assert_false(aegis_zone_name_valid(""));
    assert_false(aegis_zone_name_valid("/etc/passwd"));
    assert_false(aegis_zone_name_valid("../passwd"));
    assert_false(aegis_zone_name_valid("Europe/../../passwd"));
    assert_false(aegis_zone_name_valid("Europe//Berlin"));
    assert_false(aegis_zone_name_valid("Europe/"));
    assert_false(aegis_zone_name_valid("Europe/Berlin "));
}


int
main(void)
{
    const struct CMUnitTest  tests[] = {
        AEGIS_TEST("a zone shows what libc shows, from 2020 to 2100", test_libc),
        AEGIS_TEST("the first moment of a local time has none before it", test_first),
        AEGIS_TEST("a skipped time is the skip, a repeated one its first", test_changes),
        AEGIS_TEST("POSIX TZ strings are understood or refused", test_rules),
        AEGIS_TEST("a broken TZif file is refused or harmless", test_broken),
        AEGIS_TEST("a name leads nowhere else", test_names)
    };

    return AEGIS_UNIT_RUN(tests);
}
