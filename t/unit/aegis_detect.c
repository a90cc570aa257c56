/*
 * aegis_detect.c: unit tests of the detectors over series that are made here:
 * steps, spikes, drifts, seasons, noise of many kinds, gaps, flat series, counters.
 * What is no anomaly is reported seldom, what is one is reported soon and once.
 */
#include "aegis_unit.h"

#include <math.h>

#include "aegis_detect_impl.h"
#include "aegis_detect_series.h"

#define DAY    1440
#define START  1700000000.0

typedef struct {
    aegis_detect_t         s;
    aegis_detect_rule_t    rule;
    aegis_detect_result_t  r;
    series_t               made;
    size_t                 family;
    double                 t;
    int                    alarms;
} run_t;


static void
begin(run_t *run, size_t family, int n)
{
    memset(run, 0, sizeof(*run));
    aegis_detect_rule_init(&run->rule);
    run->family = family;
    run->made = series_begin(family, n);
    run->t = START;
}


static void
feed(run_t *run, double v)
{
    assert_int_equal(aegis_detect_feed(&run->s, &run->rule, run->t, v, &run->r), isfinite(v));
    assert_true(isfinite(run->r.score) && run->r.score >= 0 && run->r.score <= 30);
    run->t += 60;
    run->alarms += run->r.alarm;
}


static double
next(run_t *run)
{
    return series_next(&run->made, run->family, run->t);
}


static void
pass(run_t *run, long n)
{
    for (; n > 0; n--) {
        feed(run, next(run));
    }
}


/* A week of a family, then n points with add on top; alarms are those of the n. */
static void
after_week(run_t *run, size_t family, int seed, double add, int n)
{
    begin(run, family, seed);
    pass(run, 7 * DAY);
    run->alarms = 0;
    for (; n > 0; n--) {
        feed(run, next(run) + add);
    }
}


static void
test_quiet(void **state)
{
    int     n, noise, other, most;
    size_t  f;
    run_t   run;

    for (f = 0, noise = 0, other = 0; f < SERIES_N; f++) {
        most = f == SERIES_SPIKY ? 16 : 7;  /* its wild points have to be learned */
        for (n = 0; n < 2; n++) {
            begin(&run, f, n);
            pass(&run, 7 * DAY);
            *(f < SERIES_PLAIN ? &noise : &other) += run.alarms;
            if (run.alarms > most) {
                fail_msg("%s: %d reports in a week", series_names[f], run.alarms);
            }
        }
    }
    /* 364 series-days, 210 of those that are not easy */
    if (noise > 18 || other > 55) {
        fail_msg("%d and %d reports of nothing", noise, other);
    }
}


static void
test_spike(void **state)
{
    size_t  i;
    run_t   run;

    static const struct {
        size_t  family;
        double  add;
    } cases[] = {
        { 0, 60 }, { 0, -60 }, { 6, 250 }, { 7, 20 }, { 8, 20 }, { 9, 60 }, { 9, -60 },
        { 11, 600 }, { 13, 40 }, { 14, 60 }, { 16, 90 }, { 23, 60 }, { 25, 100 }
    };

    for (i = 0; i < AEGIS_UNIT_N(cases); i++) {
        after_week(&run, cases[i].family, 3, cases[i].add, 1);
        if (run.alarms != 1) {
            fail_msg("%s: %g more is not reported (score %g)", series_names[cases[i].family],
                     cases[i].add, run.r.score);
        }
        assert_int_equal(run.r.side, cases[i].add > 0 ? 1 : -1);
        assert_true(run.r.by_kind[run.r.kind] == run.r.score);
    }
}


static void
test_level(void **state)
{
    size_t  i;
    run_t   run;

    static const struct {
        size_t  family;
        double  add;
        int     within;
    } cases[] = {
        { 0, 25, 15 }, { 0, -25, 15 }, { 9, 25, 15 }, { 13, 20, 20 }, { 23, 25, 15 },
        { 6, 150, 15 }, { 18, 0.2, 2 }
    };

    for (i = 0; i < AEGIS_UNIT_N(cases); i++) {
        after_week(&run, cases[i].family, 5, cases[i].add, cases[i].within);
        if (run.alarms < 1) {
            fail_msg("%s: a level %g higher is not reported", series_names[cases[i].family],
                     cases[i].add);
        }
    }
}


/* What is neither one wild point nor large: most of it is found, whatever the noise. */
static void
test_small_level(void **state)
{
    int     n, found;
    size_t  i;
    run_t   run;

    static const struct {
        size_t  family;
        double  add;                    /* 3, 4, 5, 3, 4 deviations of its noise */
    } cases[] = { { 0, 15 }, { 1, 17 }, { 2, 25 }, { 6, 52 }, { 9, 16 } };

    for (i = 0; i < AEGIS_UNIT_N(cases); i++) {
        for (n = 0, found = 0; n < 10; n++) {
            after_week(&run, cases[i].family, 20 + n, cases[i].add, 15);
            found += run.alarms > 0;
        }
        if (found < 8) {
            fail_msg("%s: %g higher: %d of 10", series_names[cases[i].family],
                     cases[i].add, found);
        }
    }
}


/* A level that stays is reported once or twice, and believed in the end. */
static void
test_believed(void **state)
{
    int    i;
    run_t  run;

    after_week(&run, 0, 7, 100, 2 * DAY);
    assert_in_range(run.alarms, 1, 3);
    assert_false(run.r.active);

    run.alarms = 0;
    for (i = 0; i < DAY; i++) {
        feed(&run, next(&run) + 100);
    }
    assert_int_equal(run.alarms, 0);

    feed(&run, next(&run) + 200);
    assert_int_equal(run.alarms, 1);
}


static void
test_drift(void **state)
{
    int    i;
    run_t  run;

    after_week(&run, 0, 9, 0, 1);
    run.alarms = 0;
    for (i = 0; i < 60 && run.alarms == 0; i++) {
        feed(&run, next(&run) + 1.5 * i);
    }
    assert_int_equal(run.alarms, 1);
}


/* The season is known: the same value is usual at noon and reported at night. */
static void
test_season(void **state)
{
    int    i;
    run_t  run;

    begin(&run, 9, 11);
    pass(&run, 14 * DAY);
    assert_int_equal(run.s.season > 0, 1);

    /* from the middle of the night on, a value that every noon has */
    while (fmod(run.t, 86400) > 60) {
        pass(&run, 1);
    }
    while (fmod(run.t, 86400) < 64800) {
        pass(&run, 1);
    }
    run.alarms = 0;
    for (i = 0; i < 20; i++) {
        feed(&run, 130);
    }
    assert_true(run.alarms >= 1);
}


/* Again only above the last peak, or after it has cleared. */
static void
test_again(void **state)
{
    int    i;
    run_t  run;

    after_week(&run, 0, 13, 100, 1);
    assert_int_equal(run.alarms, 1);

    feed(&run, 150);
    feed(&run, 149);
    assert_int_equal(run.alarms, 1);
    feed(&run, 500);
    assert_int_equal(run.alarms, 2);
    feed(&run, 480);
    assert_int_equal(run.alarms, 2);

    for (i = 0; i < 100; i++) {
        feed(&run, 50 + 5 * series_normal(&run.made));
    }
    assert_false(run.r.active);
    run.alarms = 0;
    feed(&run, 300);
    assert_int_equal(run.alarms, 1);
}


static void
test_limit(void **state)
{
    size_t  i;
    run_t   run;

    /* value, reported?, active? with above 10, clear below 8, 2 in a row */
    static const struct {
        double  v;
        int     alarm, active;
    } steps[] = {
        { 5, 0, 0 }, { 11, 0, 0 }, { 5, 0, 0 }, { 11, 0, 0 }, { 11, 1, 1 }, { 11.2, 0, 1 },
        { 9, 0, 1 }, { 11, 0, 1 }, { 30, 1, 1 }, { 9, 0, 1 }, { 7, 0, 0 }, { 9, 0, 0 },
        { 11, 0, 0 }, { 11, 1, 1 }
    };

    begin(&run, 0, 0);
    run.rule.has_above = 1;
    run.rule.above = 10;
    run.rule.above_clear = 8;
    run.rule.for_samples = 2;

    for (i = 0; i < AEGIS_UNIT_N(steps); i++) {
        feed(&run, steps[i].v);
        if (run.r.alarm != steps[i].alarm || run.r.active != steps[i].active) {
            fail_msg("step %zu (%g): alarm %d, active %d", i, steps[i].v, run.r.alarm,
                     run.r.active);
        }
        if (steps[i].alarm) {
            assert_int_equal(run.r.kind, AEGIS_DETECT_threshold);
        }
    }

    /* the same below */
    begin(&run, 0, 0);
    run.rule.has_below = 1;
    run.rule.below = run.rule.below_clear = 0.9;
    feed(&run, 1);
    feed(&run, 0.5);
    assert_int_equal(run.alarms, 1);
    assert_int_equal(run.r.side, -1);
    feed(&run, 0.5);
    assert_int_equal(run.alarms, 1);
}


static void
test_young(void **state)
{
    int    i;
    run_t  run;

    begin(&run, 0, 1);
    for (i = 0; i < 59; i++) {
        feed(&run, i % 10 == 5 ? 1e6 : 1);
        assert_true(run.r.learning);
    }
    assert_int_equal(run.alarms, 0);

    run.rule.min_samples = 100;
    for (; i < 100; i++) {
        feed(&run, 1e9);
    }
    assert_int_equal(run.alarms, 0);
}


static void
test_direction(void **state)
{
    run_t  run;

    after_week(&run, 0, 17, 0, 1);
    run.alarms = 0;
    run.rule.direction = 1;
    feed(&run, -200);
    assert_int_equal(run.alarms, 0);
    feed(&run, 300);
    assert_int_equal(run.alarms, 1);

    after_week(&run, 0, 17, 0, 1);
    run.alarms = 0;
    run.rule.min_change = 10;
    feed(&run, 300);
    assert_int_equal(run.alarms, 0);
}


/* A flat series has no spread of its own. */
static void
test_flat(void **state)
{
    run_t  run;

    after_week(&run, 14, 1, 0, 1);
    run.alarms = 0;
    feed(&run, 42.02);
    assert_int_equal(run.alarms, 0);
    pass(&run, 60);
    feed(&run, 60);
    assert_int_equal(run.alarms, 1);

    /* the floor is what a person says */
    after_week(&run, 14, 1, 0, 1);
    run.rule.floor = 20;
    run.alarms = 0;
    feed(&run, 60);
    assert_int_equal(run.alarms, 0);
}


static void
test_stuck(void **state)
{
    int    i;
    run_t  run;

    after_week(&run, 9, 19, 0, 1);
    run.alarms = 0;
    for (i = 0; i < 30; i++) {
        feed(&run, run.s.v);
    }
    assert_true(run.alarms >= 1);
    assert_true(run.r.active && run.r.by_kind[AEGIS_DETECT_stuck] > 7);
}


static void
test_counter(void **state)
{
    run_t  run;

    begin(&run, 21, 1);
    pass(&run, 7 * DAY);
    assert_int_equal(run.s.counter, 1);
    assert_int_equal(run.alarms, 0);

    /* a restart is none */
    run.made.total = 0;
    pass(&run, 10);
    assert_int_equal(run.alarms, 0);

    run.made.total += 100000;
    pass(&run, 1);
    assert_int_equal(run.alarms, 1);

    /* it went back by a little: it was a gauge */
    feed(&run, run.made.total * 0.9);
    assert_int_equal(run.s.counter, 2);
}


static void
test_gaps(void **state)
{
    run_t  run;

    begin(&run, 0, 23);
    pass(&run, DAY);
    assert_true(aegis_detect_patience(&run.s, &run.rule) == 300);
    run.rule.missing_s = 90;
    assert_true(aegis_detect_patience(&run.s, &run.rule) == 90);
    run.rule.off = 1u << AEGIS_DETECT_missing;
    assert_true(aegis_detect_patience(&run.s, &run.rule) == 0);

    /* a silence is said once, and what comes after it is not judged by what was
     * before it */
    run.alarms = 0;
    run.t += 4 * 3600;
    feed(&run, next(&run));
    assert_true(run.r.gap_s >= 4 * 3600);
    pass(&run, DAY);
    assert_int_equal(run.alarms, 0);

    /* who is silent every hour is used to it */
    begin(&run, 0, 23);
    while (run.s.n < 3 * DAY) {
        pass(&run, 30);
        run.t += 1800;
    }
    assert_true(aegis_detect_patience(&run.s, &run.rule) >= 5400);
}


static void
test_order(void **state)
{
    run_t           run;
    aegis_detect_t  before;

    begin(&run, 0, 29);
    pass(&run, 100);
    before = run.s;

    assert_int_equal(aegis_detect_feed(&run.s, &run.rule, run.t - 60, 1e9, &run.r), 0);
    assert_int_equal(aegis_detect_feed(&run.s, &run.rule, run.t - 6000, 1e9, &run.r), 0);
    assert_int_equal(aegis_detect_feed(&run.s, &run.rule, run.t, NAN, &run.r), 0);
    assert_int_equal(aegis_detect_feed(&run.s, &run.rule, run.t, INFINITY, &run.r), 0);
    assert_int_equal(aegis_detect_feed(&run.s, &run.rule, NAN, 1, &run.r), 0);
    assert_int_equal(aegis_detect_feed(&run.s, &run.rule, 1e300, 1, &run.r), 0);
    assert_memory_equal(&run.s, &before, sizeof(before));
}


/* Stored between any two points, a series gives the same answers. */
static void
test_stored(void **state)
{
    int             i;
    size_t          f, len;
    run_t           a, b;
    unsigned char   bytes[AEGIS_DETECT_BYTES];

    for (f = 0; f < SERIES_N; f++) {
        begin(&a, f, 31);
        begin(&b, f, 31);

        for (i = 0; i < 3 * DAY; i++) {
            pass(&a, 1);
            pass(&b, 1);
            len = aegis_detect_pack(&b.s, bytes);
            memset(&b.s, 0xa5, sizeof(b.s));
            assert_true(len <= sizeof(bytes));
            assert_int_equal(aegis_detect_unpack(bytes, len, &b.s), 1);
            assert_true(a.r.score == b.r.score && a.r.alarm == b.r.alarm
                        && a.r.kind == b.r.kind);
        }
    }
}


static void
test_damaged(void **state)
{
    size_t          i, len;
    run_t           run;
    unsigned char   bytes[AEGIS_DETECT_BYTES], zero[sizeof(aegis_detect_t)] = { 0 };

    begin(&run, 9, 37);
    pass(&run, 500);
    len = aegis_detect_pack(&run.s, bytes);

    for (i = 0; i < len; i += 13) {
        bytes[i] ^= 0x10;
        assert_int_equal(aegis_detect_unpack(bytes, len, &run.s), 0);
        assert_memory_equal(&run.s, zero, sizeof(zero));
        bytes[i] ^= 0x10;
    }

    assert_int_equal(aegis_detect_unpack(bytes, len - 1, &run.s), 0);
    assert_int_equal(aegis_detect_unpack(bytes, 0, &run.s), 0);
    assert_int_equal(aegis_detect_unpack(NULL, 0, &run.s), 0);
    assert_int_equal(aegis_detect_unpack(bytes, len, &run.s), 1);

    /* a checksum is no proof: what it covers is looked at too */
    run.s.level[0] = NAN;
    len = aegis_detect_pack(&run.s, bytes);
    assert_int_equal(aegis_detect_unpack(bytes, len, &run.s), 0);
}


static void
test_wild(void **state)
{
    int     i;
    size_t  k;
    run_t   run;

    static const double  values[] =
        { 1e30, -1e30, 1e308, -1e308, 0, 5e-324, 1e-300, -0.0, 1, 42 };

    begin(&run, 0, 41);
    for (i = 0; i < 5000; i++) {
        k = (size_t) (series_uniform(&run.made) * AEGIS_UNIT_N(values));
        feed(&run, values[k]);
        assert_true(isfinite(run.r.expected) && isfinite(run.r.deviation)
                    && isfinite(run.r.scale));
    }

    /* and it is a state that can be stored */
    unsigned char  bytes[AEGIS_DETECT_BYTES];
    assert_int_equal(aegis_detect_unpack(bytes, aegis_detect_pack(&run.s, bytes), &run.s), 1);
}


static void
test_first_sight(void **state)
{
    double  young, quiet, busy, info;

    young = aegis_detect_first_sight(1000, 2000, 3, 0, "error");
    quiet = aegis_detect_first_sight(0, 1e6, 10, 0, "error");
    busy = aegis_detect_first_sight(0, 1e6, 10, 100, "error");
    info = aegis_detect_first_sight(0, 1e6, 10, 0, "info");

    assert_true(young == 0);
    assert_true(quiet > 5.5 && busy < 4.5 && info < 4.5);
    assert_true(aegis_detect_first_sight(0, 1e6, 10, 0, "fatal") > quiet);
    assert_true(aegis_detect_first_sight(0, NAN, 10, 0, "fatal") == 0);
}


int
main(void)
{
    const struct CMUnitTest tests[] = {
        AEGIS_TEST("what is usual is seldom reported", test_quiet),
        AEGIS_TEST("a spike is reported at once", test_spike),
        AEGIS_TEST("a new level is reported soon", test_level),
        AEGIS_TEST("a small new level is reported, too", test_small_level),
        AEGIS_TEST("a level that stays is believed", test_believed),
        AEGIS_TEST("a drift is reported", test_drift),
        AEGIS_TEST("a value of noon is reported at night", test_season),
        AEGIS_TEST("again above the peak, or after it cleared", test_again),
        AEGIS_TEST("fixed limits have a hysteresis", test_limit),
        AEGIS_TEST("a young series reports nothing", test_young),
        AEGIS_TEST("a rule's direction and least change hold", test_direction),
        AEGIS_TEST("a flat series is measured by a floor", test_flat),
        AEGIS_TEST("a value that does not move is reported", test_stuck),
        AEGIS_TEST("a counter is looked at as a rate", test_counter),
        AEGIS_TEST("silence is measured by what is usual", test_gaps),
        AEGIS_TEST("what is not newer changes nothing", test_order),
        AEGIS_TEST("a stored state goes on as if it had not been", test_stored),
        AEGIS_TEST("damaged bytes are no state", test_damaged),
        AEGIS_TEST("wild values leave a state that works", test_wild),
        AEGIS_TEST("a pattern's first sight is weighed", test_first_sight),
    };

    return AEGIS_UNIT_RUN(tests);
}
