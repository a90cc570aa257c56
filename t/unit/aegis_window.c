/*
 * aegis_window.c: unit tests of change windows and freezes: tables of days on
 * which a clock is changed, and properties over random windows in random zones.
 */
#include "aegis_unit.h"

#include "aegis_time.h"
#include "aegis_window.h"

#define DAY  86400

/* As tzdata has them from 2020 on. */
#define BERLIN  "{'offset':3600,'changes':[],'rule':'CET-1CEST,M3.5.0,M10.5.0/3'}"
#define YORK    "{'offset':-18000,'changes':[],'rule':'EST5EDT,M3.2.0,M11.1.0'}"
#define HOWE    "{'offset':37800,'changes':[],'rule':'<+1030>-10:30<+11>-11,M10.1.0,M4.1.0'}"
#define CHINA   "{'offset':28800,'changes':[],'rule':'CST-8'}"

static const char *const  zones[] = { BERLIN, YORK, HOWE, CHINA };


static int64_t
at(const char *text)
{
    int64_t  t;

    assert_true(aegis_time_parse(aegis_view(text), &t));

    return t;
}


static int64_t
left(const char *window, const char *zone, int64_t now, int64_t *ret_opens)
{
    json_t        *w, *z;
    int64_t        s;
    aegis_zone_t   clock;

    w = aegis_unit_json(window);
    z = aegis_unit_json(zone);
    aegis_zone_open(z, &clock);
    s = aegis_window_left(w, &clock, now, ret_opens);
    json_decref(w);
    json_decref(z);

    return s;
}


#define NIGHT  "{'from':'22:00','to':'06:00'}"
#define EARLY  "{'from':'02:00','to':'04:00'}"
#define HALF   "{'from':'02:30','to':'04:00'}"
#define GONE   "{'from':'02:10','to':'02:50'}"
#define TILL   "{'from':'01:00','to':'02:30'}"
#define SUNDAY "{'days':['sun'],'from':'00:00','to':'24:00'}"
#define FRIDAY "{'days':['fri'],'from':'22:00','to':'06:00'}"

static void
test_changes(void **state)
{
    size_t   i;
    int64_t  opens, s;

    static const struct {
        const char  *window;
        const char  *zone;
        const char  *now;
        int64_t      left;          /* 0: closed */
        const char  *opens;         /* NULL: not looked at */
    } cases[] = {
        /* the clock goes from 02:00 to 03:00 in Berlin at 01:00Z */
        { EARLY, BERLIN, "2026-03-29T00:59:59Z", 0, "2026-03-29T01:00:00Z" },
        { EARLY, BERLIN, "2026-03-29T01:00:00Z", 3600, NULL },
        { EARLY, BERLIN, "2026-03-29T01:59:59Z", 1, NULL },
        { EARLY, BERLIN, "2026-03-29T02:00:00Z", 0, "2026-03-30T00:00:00Z" },
        { HALF,  BERLIN, "2026-03-29T01:00:00Z", 3600, NULL },
        { TILL,  BERLIN, "2026-03-29T00:00:00Z", 3600, NULL },
        { TILL,  BERLIN, "2026-03-29T01:00:00Z", 0, NULL },
        { GONE,  BERLIN, "2026-03-29T01:00:00Z", 0, "2026-03-30T00:10:00Z" },
        { GONE,  BERLIN, "2026-03-29T01:20:00Z", 0, "2026-03-30T00:10:00Z" },
        { NIGHT, BERLIN, "2026-03-28T21:00:00Z", 7 * 3600, NULL },
        { SUNDAY, BERLIN, "2026-03-28T23:00:00Z", 23 * 3600, NULL },
        /* and from 03:00 back to 02:00 at 01:00Z */
        { EARLY, BERLIN, "2026-10-24T23:59:59Z", 0, "2026-10-25T00:00:00Z" },
        { EARLY, BERLIN, "2026-10-25T00:00:00Z", 3 * 3600, NULL },
        { EARLY, BERLIN, "2026-10-25T01:30:00Z", 5400, NULL },
        { EARLY, BERLIN, "2026-10-25T03:00:00Z", 0, NULL },
        { HALF,  BERLIN, "2026-10-25T00:30:00Z", 9000, NULL },
        { TILL,  BERLIN, "2026-10-25T00:29:59Z", 1, NULL },
        { TILL,  BERLIN, "2026-10-25T00:30:00Z", 0, "2026-10-26T00:00:00Z" },
        { TILL,  BERLIN, "2026-10-25T01:10:00Z", 0, "2026-10-26T00:00:00Z" },
        { GONE,  BERLIN, "2026-10-25T00:10:00Z", 2400, NULL },
        { GONE,  BERLIN, "2026-10-25T01:10:00Z", 0, "2026-10-26T01:10:00Z" },
        { NIGHT, BERLIN, "2026-10-24T20:00:00Z", 9 * 3600, NULL },
        { SUNDAY, BERLIN, "2026-10-24T22:00:00Z", 25 * 3600, NULL },
        { EARLY, YORK, "2026-03-08T07:00:00Z", 3600, NULL },
        { TILL,  YORK, "2026-11-01T05:00:00Z", 9000, NULL },
        { GONE,  HOWE, "2026-10-03T15:30:00Z", 1200, NULL },
        /* over midnight it is of the day on which it opens; the end is not part */
        { FRIDAY, CHINA, "2026-11-20T13:59:59Z", 0, "2026-11-20T14:00:00Z" },
        { FRIDAY, CHINA, "2026-11-20T14:00:00Z", 8 * 3600, NULL },
        { FRIDAY, CHINA, "2026-11-20T21:59:59Z", 1, NULL },
        { FRIDAY, CHINA, "2026-11-20T22:00:00Z", 0, "2026-11-27T14:00:00Z" },
        { FRIDAY, CHINA, "2026-11-19T21:00:00Z", 0, "2026-11-20T14:00:00Z" }
    };

    for (i = 0; i < AEGIS_UNIT_N(cases); i++) {
        s = left(cases[i].window, cases[i].zone, at(cases[i].now), &opens);

        if (s != cases[i].left || (cases[i].opens && opens != at(cases[i].opens))) {
            fail_msg("%s in %s at %s: %lld s, opens in %lld s", cases[i].window,
                     cases[i].zone, cases[i].now, (long long) s,
                     (long long) (opens - at(cases[i].now)));
        }
    }
}


static uint64_t
next_random(uint64_t *x)
{
    *x ^= *x << 13;
    *x ^= *x >> 7;
    *x ^= *x << 17;

    return *x;
}


/* Minute by minute through the days around a change of the clock: a window is
 * open only while the clock shows it, opens at most once a day, and what it says
 * of its end and of its next beginning comes true. */
static void
walk(const char *window, const char *zone, int64_t from, int start, int end)
{
    int            open, was, opened;
    json_t        *w, *z;
    int64_t        t, s, opens, expect_end, expect_open, clock;
    aegis_zone_t   zn;

    w = aegis_unit_json(window);
    z = aegis_unit_json(zone);
    aegis_zone_open(z, &zn);
    was = -1;
    opened = 0;
    expect_end = expect_open = 0;

    for (t = from; t < from + 4 * DAY; t += 300) {
        s = aegis_window_left(w, &zn, t, &opens);
        open = s > 0;
        clock = (t + aegis_zone_offset(&zn, t, NULL)) % DAY / 60;

        /* in the hour that the clock repeats, an open window may show a time
         * before its beginning; never one behind its end */
        if (open && start < end && clock >= end) {
            fail_msg("%s in %s is open at %lld", window, zone, (long long) t);
        }

        if (was == 0 && open) {
            opened++;
            assert_true(expect_open > t - 300 && expect_open <= t);
        }

        if (was == 1 && !open) {
            assert_true(expect_end > t - 300 && expect_end <= t);
        }

        expect_end = open ? t + s : 0;
        expect_open = open ? 0 : opens;
        was = open;
    }

    assert_true(opened <= 5);
    json_decref(w);
    json_decref(z);
}


static void
test_walk(void **state)
{
    int       n, start, end;
    char      window[96];
    size_t    i, k;
    uint64_t  x = 99;

    static const char *const  days[] = {
        "2026-03-27T00:00:00Z", "2026-10-23T00:00:00Z", "2026-03-06T00:00:00Z",
        "2026-10-30T00:00:00Z", "2026-10-02T00:00:00Z", "2026-04-03T00:00:00Z"
    };

    for (i = 0; i < AEGIS_UNIT_N(zones); i++) {
        for (k = 0; k < AEGIS_UNIT_N(days); k++) {
            for (n = 0; n < 12; n++) {
                start = (int) (next_random(&x) % 288) * 5;
                end = (int) (next_random(&x) % 288) * 5;
                if (start == end) {
                    continue;
                }
                snprintf(window, sizeof(window), "{'from':'%02d:%02d','to':'%02d:%02d'}",
                         start / 60, start % 60, end / 60, end % 60);
                walk(window, zones[i], at(days[k]), start, end);
            }
        }
    }
}


static void
test_freezes(void **state)
{
    size_t         i;
    json_t        *f, *z;
    int64_t        from, to;
    aegis_zone_t   zone;

    static const struct {
        const char  *freeze;
        const char  *zone;
        const char  *from;
        const char  *to;
    } cases[] = {
        { "{'from':'2026-12-20','to':'2027-01-03'}", BERLIN, "2026-12-19T23:00:00Z",
          "2027-01-02T23:00:00Z" },
        { "{'from':'2026-06-20','to':'2026-06-21'}", BERLIN, "2026-06-19T22:00:00Z",
          "2026-06-20T22:00:00Z" },
        { "{'from':'2026-12-20T18:00','to':'2026-12-21T06:30'}", CHINA,
          "2026-12-20T10:00:00Z", "2026-12-20T22:30:00Z" },
        { "{'from':'2026-03-29T02:30','to':'2026-10-25T02:30'}", BERLIN,
          "2026-03-29T01:00:00Z", "2026-10-25T00:30:00Z" }
    };

    for (i = 0; i < AEGIS_UNIT_N(cases); i++) {
        f = aegis_unit_json(cases[i].freeze);
        z = aegis_unit_json(cases[i].zone);
        aegis_zone_open(z, &zone);
        aegis_window_freeze(f, &zone, &from, &to);
        assert_int_equal(from, at(cases[i].from));
        assert_int_equal(to, at(cases[i].to));
        json_decref(f);
        json_decref(z);
    }

    assert_false(aegis_window_date("2026-02-29", &from));
    assert_false(aegis_window_date("2026-1-1", &from));
    assert_false(aegis_window_date("2026-01-01 10:00", &from));
    assert_false(aegis_window_date("2026-01-01T24:00", &from));
    assert_false(aegis_window_date(NULL, &from));
    assert_true(aegis_window_date("2028-02-29", &from));
}


int
main(void)
{
    const struct CMUnitTest  tests[] = {
        AEGIS_TEST("windows keep their meaning on days that have 23 or 25 hours",
                   test_changes),
        AEGIS_TEST("a window says when it closes and opens, and so it happens", test_walk),
        AEGIS_TEST("a freeze begins and ends by the clock of its zone", test_freezes)
    };

    return AEGIS_UNIT_RUN(tests);
}
