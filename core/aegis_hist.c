/*
 * aegis_hist.c: buckets of histograms. Edges of exponential buckets are computed, so
 * two of them are the same when they differ by less than a part in 10^9.
 * Invariant: what grows is never more than what is there now.
 */
#include "aegis_hist.h"

#include <float.h>
#include <math.h>


int
aegis_hist_explicit(const double *bounds, size_t n, const uint64_t *counts,
    aegis_bucket_t *out)
{
    int     k;
    size_t  i;

    for (i = 0, k = 0; i <= n; i++) {
        if (i < n && (!isfinite(bounds[i]) || (i && bounds[i] <= bounds[i - 1]))) {
            return -1;
        }
        if (counts[i]) {
            out[k++] = (aegis_bucket_t) { i ? bounds[i - 1] : -INFINITY,
                                          i < n ? bounds[i] : INFINITY, counts[i] };
        }
    }

    return k;
}


double
aegis_hist_edge(int scale, int64_t i)
{
    double  v;

    v = pow(2, (double) i / pow(2, scale));
    return v > DBL_MAX ? DBL_MAX : v;
}


static int
aegis_hist_upto(double a, double b)
{
    return a <= b || (isfinite(b) && a - b <= 1e-9 * fabs(b));
}


static uint64_t
aegis_hist_total(const aegis_bucket_t *b, size_t n)
{
    size_t    i;
    uint64_t  sum;

    for (i = 0, sum = 0; i < n; i++) {
        sum += b[i].n;
    }

    return sum;
}


static int
aegis_hist_all(const aegis_bucket_t *now, size_t n, aegis_bucket_t *out)
{
    size_t  i;

    for (i = 0; i < n; i++) {
        out[i] = now[i];
    }

    return (int) n;
}


int
aegis_hist_growth(const aegis_bucket_t *was, size_t n_was, const aegis_bucket_t *now,
    size_t n, aegis_bucket_t *out)
{
    int     k;
    size_t  i, j;

    if (aegis_hist_total(now, n) < aegis_hist_total(was, n_was)) {
        return aegis_hist_all(now, n, out);
    }

    (void) aegis_hist_all(now, n, out);

    for (i = 0, j = 0; j < n_was; j++) {
        while (i < n && !aegis_hist_upto(was[j].hi, now[i].hi)) {
            i++;
        }
        if (i == n || !aegis_hist_upto(now[i].lo, was[j].lo)) {
            return -1;
        }
        if (out[i].n < was[j].n) {
            return aegis_hist_all(now, n, out);
        }
        out[i].n -= was[j].n;
    }

    for (i = 0, k = 0; i < n; i++) {
        if (out[i].n) {
            out[k++] = out[i];
        }
    }

    return k;
}


int
aegis_hist_values(const aegis_bucket_t *b, double v[AEGIS_HIST_VALUES],
    uint64_t n[AEGIS_HIST_VALUES])
{
    int     i, k;
    double  lo, hi;

    lo = b->lo;
    hi = b->hi;

    if (!isfinite(lo) && !isfinite(hi)) {
        return 0;
    }
    if (!isfinite(lo)) {
        lo = hi > 0 ? 0 : hi;
    }
    if (!isfinite(hi)) {
        hi = lo;
    }

    k = b->n < AEGIS_HIST_VALUES ? (int) b->n : AEGIS_HIST_VALUES;
    k = lo < hi ? k : 1;

    for (i = 0; i < k; i++) {
        v[i] = lo + (hi - lo) * ((i + 0.5) / k);
        n[i] = b->n / (uint64_t) k + ((uint64_t) i < b->n % (uint64_t) k);
    }

    return b->n ? k : 0;
}
