/*
 * aegis_sketch.c: bins of a sketch. A bin k > 0 holds the values from 1.02^(k -
 * 8193) to 1.02^(k - 8192), -k the same below zero, 0 zero itself; what is
 * smaller or larger than the first and the last bin is in these.
 * Invariant: aegis.sketch_quantile() of what is encoded here says the same.
 */
#include "aegis_sketch.h"

#include <math.h>
#include <stdlib.h>

#define AEGIS_SKETCH_ZERO  8192
#define AEGIS_SKETCH_LAST  32767

/* log(1.02) */
static const double  aegis_sketch_step = 0.0198026272961797130260;


int16_t
aegis_sketch_bin(double v)
{
    double  k;

    if (v == 0) {
        return 0;
    }

    k = ceil(log(fabs(v)) / aegis_sketch_step) + AEGIS_SKETCH_ZERO;
    k = k < 1 ? 1 : k > AEGIS_SKETCH_LAST ? AEGIS_SKETCH_LAST : k;

    return (int16_t) (v < 0 ? -k : k);
}


double
aegis_sketch_value(int16_t bin)
{
    double  v;

    if (bin == 0) {
        return 0;
    }

    v = exp((abs((int) bin) - AEGIS_SKETCH_ZERO) * aegis_sketch_step) * 2 / 2.02;
    return bin < 0 ? -v : v;
}


double
aegis_sketch_quantile(const aegis_bin_t *bins, size_t n, uint64_t total, double q)
{
    size_t    i;
    uint64_t  upto, want;

    want = (uint64_t) ceil(q * (double) total);
    want = want < 1 ? 1 : want;

    for (i = 0, upto = 0; i < n; i++) {
        upto += bins[i].n;
        if (upto >= want) {
            return aegis_sketch_value(bins[i].bin);
        }
    }

    return n ? aegis_sketch_value(bins[n - 1].bin) : 0;
}


size_t
aegis_sketch_encode(const aegis_bin_t *bins, size_t n, unsigned char *out)
{
    size_t    i;
    uint16_t  b;

    for (i = 0; i < n; i++) {
        b = (uint16_t) bins[i].bin;
        *out++ = (unsigned char) (b >> 8);
        *out++ = (unsigned char) b;
        *out++ = (unsigned char) (bins[i].n >> 24);
        *out++ = (unsigned char) (bins[i].n >> 16);
        *out++ = (unsigned char) (bins[i].n >> 8);
        *out++ = (unsigned char) bins[i].n;
    }

    return n * AEGIS_SKETCH_BIN_LEN;
}
