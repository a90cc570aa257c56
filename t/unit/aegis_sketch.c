/*
 * aegis_sketch.c: unit tests of sketches: the error of a value and of a quantile,
 * and the bytes that SQL reads.
 */
#include "aegis_unit.h"

#include <math.h>

#include "aegis_sketch.h"


static void
test_values(void **state)
{
    int     k;
    double  v, got;

    (void) state;

    for (k = -600; k <= 600; k++) {
        v = pow(1.7, k / 5.0) * (k % 2 ? -1 : 1);
        got = aegis_sketch_value(aegis_sketch_bin(v));
        assert_true(fabs(got - v) <= fabs(v) * 0.0101);
    }

    assert_int_equal(aegis_sketch_bin(0), 0);
    assert_true(aegis_sketch_value(0) == 0);
    assert_int_equal(aegis_sketch_bin(1e-300), 1);
    assert_int_equal(aegis_sketch_bin(1e300), 32767);
    assert_int_equal(aegis_sketch_bin(-1e300), -32767);
}


static void
test_quantile(void **state)
{
    int          i, k;
    double       p;
    size_t       n;
    aegis_bin_t  bins[2000];

    (void) state;

    for (i = 1, n = 0; i <= 1000; i++) {
        k = aegis_sketch_bin(i);
        if (n == 0 || bins[n - 1].bin != k) {
            bins[n].bin = (int16_t) k;
            bins[n++].n = 0;
        }
        bins[n - 1].n++;
    }

    for (i = 1; i <= 100; i++) {
        p = aegis_sketch_quantile(bins, n, 1000, i / 100.0);
        assert_true(fabs(p - i * 10) <= i * 10 * 0.0101 + 1e-9);
    }
}


static void
test_bytes(void **state)
{
    unsigned char        out[12];
    const aegis_bin_t    bins[] = { { -2, 258 }, { 8192, 1 } };
    const unsigned char  want[] = { 0xff, 0xfe, 0, 0, 1, 2, 0x20, 0, 0, 0, 0, 1 };

    (void) state;

    assert_int_equal(aegis_sketch_encode(bins, 2, out), 12);
    assert_memory_equal(out, want, 12);
}


int
main(void)
{
    const struct CMUnitTest  tests[] = {
        AEGIS_TEST("a value is off by at most one percent", test_values),
        AEGIS_TEST("so is a quantile", test_quantile),
        AEGIS_TEST("bins are stored as SQL reads them", test_bytes)
    };

    return AEGIS_UNIT_RUN(tests);
}
