/*
 * aegis_hist.c: unit tests of histograms' buckets: what bounds become, what two
 * states differ by, which values a bucket stands for, edges of every scale.
 */
#include "aegis_unit.h"

#include <math.h>

#include "aegis_hist.h"


static void
test_explicit(void **state)
{
    size_t          i;
    aegis_bucket_t  out[4];

    static const struct {
        double    bounds[3];
        uint64_t  counts[4];
        int       n;
        double    lo, hi;               /* of the last one */
    } data[] = {
        { { 1, 2, 3 }, { 1, 1, 1, 1 }, 4, 3, INFINITY },
        { { 1, 2, 3 }, { 0, 5, 0, 0 }, 1, 1, 2 },
        { { 1, 2, 3 }, { 7, 0, 0, 0 }, 1, -INFINITY, 1 },
        { { 1, 2, 3 }, { 0, 0, 0, 0 }, 0, 0, 0 },
        { { 1, 1, 3 }, { 1, 1, 1, 1 }, -1, 0, 0 },
        { { 1, 2, INFINITY }, { 1, 1, 1, 1 }, -1, 0, 0 },
        { { 1, NAN, 3 }, { 1, 1, 1, 1 }, -1, 0, 0 },
        { { 3, 2, 1 }, { 1, 1, 1, 1 }, -1, 0, 0 },
    };

    (void) state;

    for (i = 0; i < sizeof(data) / sizeof(data[0]); i++) {
        assert_int_equal(aegis_hist_explicit(data[i].bounds, 3, data[i].counts, out), data[i].n);
        if (data[i].n > 0) {
            assert_true(out[data[i].n - 1].lo == data[i].lo);
            assert_true(out[data[i].n - 1].hi == data[i].hi);
        }
    }
}


static void
test_growth(void **state)
{
    int             got, k;
    size_t          i, n_was, n_now;
    uint64_t        sum;
    aegis_bucket_t  out[4];

    static const struct {
        aegis_bucket_t  was[4], now[4];
        int             n;
        uint64_t        sum;
    } data[] = {
        { { { 0, 1, 5 } }, { { 0, 1, 8 }, { 1, 2, 1 } }, 2, 4 },
        { { { 0, 1, 5 }, { 1, 2, 1 } }, { { 0, 1, 5 }, { 1, 2, 1 } }, 0, 0 },
        { { { 0, 0, 0 } }, { { 0, 1, 8 } }, 1, 8 },
        { { { 0, 1, 5 } }, { { 0, 1, 3 } }, 1, 3 },                     /* began again */
        { { { 0, 1, 5 } }, { { 0, 1, 3 }, { 1, 2, 9 } }, 2, 12 },       /* and is ahead */
        { { { 1, 2, 5 }, { 2, 4, 6 } }, { { 1, 4, 20 } }, 1, 9 },       /* wider */
        { { { 1, 4, 5 } }, { { 1, 2, 5 }, { 2, 4, 6 } }, -1, 0 },       /* narrower */
        { { { 1, 3, 5 } }, { { 2, 4, 6 } }, -1, 0 },
        { { { -INFINITY, 1, 5 }, { 9, INFINITY, 1 } },
          { { -INFINITY, 1, 6 }, { 9, INFINITY, 4 } }, 2, 4 },
        { { { 1.0000000001, 2, 5 } }, { { 1, 1.9999999999, 7 } }, 1, 2 },
    };

    (void) state;

    for (i = 0; i < sizeof(data) / sizeof(data[0]); i++) {
        for (n_was = 0; n_was < 4 && data[i].was[n_was].n; n_was++) { /* void */ }
        for (n_now = 0; n_now < 4 && data[i].now[n_now].n; n_now++) { /* void */ }

        got = aegis_hist_growth(data[i].was, n_was, data[i].now, n_now, out);
        assert_int_equal(got, data[i].n);
        for (k = 0, sum = 0; k < got; k++) {
            assert_true(out[k].n > 0);
            sum += out[k].n;
        }
        assert_int_equal(sum, data[i].sum);
    }
}


static void
test_values(void **state)
{
    int       got, k;
    size_t    i;
    double    v[AEGIS_HIST_VALUES];
    uint64_t  n[AEGIS_HIST_VALUES], sum;

    static const struct {
        aegis_bucket_t  b;
        int             n;
        double          first, last;
    } data[] = {
        { { 0, 16, 160 }, 16, 0.5, 15.5 },
        { { 0, 16, 161 }, 16, 0.5, 15.5 },
        { { 0, 2, 1 }, 1, 1, 1 },
        { { -INFINITY, 2, 2 }, 2, 0.5, 1.5 },           /* from zero on */
        { { -INFINITY, -2, 2 }, 1, -2, -2 },
        { { 8, INFINITY, 9 }, 1, 8, 8 },
        { { -INFINITY, INFINITY, 9 }, 0, 0, 0 },
        { { 3, 3, 9 }, 1, 3, 3 },
        { { 0, 1, 0 }, 0, 0, 0 },
    };

    (void) state;

    for (i = 0; i < sizeof(data) / sizeof(data[0]); i++) {
        got = aegis_hist_values(&data[i].b, v, n);
        assert_int_equal(got, data[i].n);
        for (k = 0, sum = 0; k < got; k++) {
            sum += n[k];
        }
        if (got) {
            assert_int_equal(sum, data[i].b.n);
            assert_true(v[0] == data[i].first && v[got - 1] == data[i].last);
        }
    }
}


/* An exponential histogram is as exact as its buckets are narrow. */
static void
test_edges(void **state)
{
    int  scale;

    (void) state;

    for (scale = -10; scale <= 20; scale++) {
        assert_true(aegis_hist_edge(scale, 0) == 1);
        assert_true(aegis_hist_edge(scale, 1) > 1 && isfinite(aegis_hist_edge(scale, 1)));
        assert_true(aegis_hist_edge(scale, -1) < 1);
    }
    assert_true(fabs(aegis_hist_edge(3, 8) - 2) < 1e-12);
    assert_true(fabs(aegis_hist_edge(20, -1048576) - 0.5) < 1e-12);
    assert_true(isfinite(aegis_hist_edge(-10, 2147483647)));
    assert_true(aegis_hist_edge(0, -2147483647) == 0);
}


int
main(void)
{
    const struct CMUnitTest  tests[] = {
        AEGIS_TEST("buckets of bounds and counts", test_explicit),
        AEGIS_TEST("what came between two states", test_growth),
        AEGIS_TEST("the values of a bucket", test_values),
        AEGIS_TEST("edges of each scale", test_edges)
    };

    return AEGIS_UNIT_RUN(tests);
}
