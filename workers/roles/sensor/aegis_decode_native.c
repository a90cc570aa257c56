/*
 * aegis_decode_native.c: native histograms of Prometheus remote write, which both
 * versions write alike. The buckets are <metric>; their count and sum are
 * <metric>_count and <metric>_sum, as those of a classic one are.
 * Invariant: a message makes no more buckets than AEGIS_HIST_BUCKETS.
 */
#include <math.h>

#include "aegis_signal.h"
#include "aegis_wire.h"

#define AEGIS_NATIVE_CUSTOM  (-53)      /* a schema that brings its bounds */
#define AEGIS_NATIVE_GAUGE   3          /* a reset hint */

typedef struct {
    double         count;
    double         sum;
    double         zero;
    double         zero_count;
    int64_t        schema;
    int64_t        t;
    int            gauge;
    aegis_str_t    custom;
    aegis_hist_t  *hist;
} aegis_native_t;

static int64_t
aegis_native_zigzag(uint64_t n)
{
    return (int64_t) (n >> 1) ^ -(int64_t) (n & 1);
}

/* BucketSpan { offset = 1, length = 2 } */
static int
aegis_native_span(aegis_str_t message, int64_t *ret_offset, uint64_t *ret_n)
{
    int           rc;
    aegis_wire_t  w;

    *ret_offset = 0;
    *ret_n = 0;

    for (w = aegis_wire(message); (rc = aegis_wire_next(&w)) > 0; ) {
        if (w.field == 1 && w.type == AEGIS_WIRE_VARINT) {
            *ret_offset = (int32_t) aegis_native_zigzag(w.number);
        } else if (w.field == 2 && w.type == AEGIS_WIRE_VARINT) {
            *ret_n = w.number;
        }
    }

    return rc == 0;
}

static int
aegis_native_custom(const aegis_native_t *h, int64_t i, double *ret)
{
    uint64_t  bits;

    *ret = i < 0 ? -INFINITY : INFINITY;
    if (i >= 0 && (uint64_t) i < h->custom.len / 8) {
        memcpy(&bits, h->custom.data + i * 8, 8);
        *ret = aegis_wire_double(bits);
        return isfinite(*ret);
    }

    return 1;
}

/* Bucket i of a side: (edge(i - 1), edge(i)]. 0: too many, or no bucket. */
static int
aegis_native_bucket(aegis_native_t *h, int64_t i, int64_t n, int sign)
{
    double          lo, hi;
    aegis_hist_t   *x;

    x = h->hist;
    if (n < 0 || x->n == AEGIS_HIST_BUCKETS) {
        return 0;
    }
    if (n == 0) {
        return 1;
    }

    if (h->schema == AEGIS_NATIVE_CUSTOM) {
        if (sign < 0 || !aegis_native_custom(h, i - 1, &lo) || !aegis_native_custom(h, i, &hi)
            || lo >= hi)
        {
            return 0;
        }
    } else {
        lo = aegis_hist_edge((int) h->schema, i - 1);
        hi = aegis_hist_edge((int) h->schema, i);
    }

    x->buckets[x->n++] = sign < 0 ? (aegis_bucket_t) { -hi, -lo, (uint64_t) n }
                                  : (aegis_bucket_t) { lo, hi, (uint64_t) n };
    return 1;
}

/* The next number of a side: a difference to the one before, or a float. */
static int
aegis_native_number(aegis_wire_t *deltas, aegis_wire_t *counts, int64_t *n)
{
    double    v;
    uint64_t  bits;

    if (deltas->p < deltas->end) {
        if (!aegis_wire_varint(deltas, &bits)) {
            return 0;
        }
        *n = (int64_t) ((uint64_t) *n + (uint64_t) aegis_native_zigzag(bits));
        return *n >= 0;
    }

    if (counts->end - counts->p < 8) {
        return 0;
    }
    memcpy(&bits, counts->p, 8);
    counts->p += 8;
    v = aegis_wire_double(bits);
    *n = v >= 0 && v < 9e15 ? llround(v) : 0;

    return 1;
}

/* A side's spans, numbers as deltas or as floats: fields first, first + 1, first + 2. */
static int
aegis_native_side(aegis_native_t *h, aegis_str_t message, unsigned first, int sign)
{
    int64_t         at, offset, n;
    uint64_t        k, length;
    aegis_wire_t    w, deltas, counts;
    aegis_bucket_t  b;
    unsigned        from, to;

    deltas = counts = aegis_wire(aegis_view(""));
    for (w = aegis_wire(message); aegis_wire_next(&w) > 0; ) {
        if (w.field == first + 1 && w.type == AEGIS_WIRE_BYTES) {
            deltas = aegis_wire(w.bytes);
        } else if (w.field == first + 2 && w.type == AEGIS_WIRE_BYTES) {
            counts = aegis_wire(w.bytes);
        }
    }

    from = h->hist->n;
    at = n = 0;
    for (w = aegis_wire(message); aegis_wire_next(&w) > 0; ) {
        if (w.field != first || w.type != AEGIS_WIRE_BYTES) {
            continue;
        }
        if (!aegis_native_span(w.bytes, &offset, &length)) {
            return 0;
        }
        at += offset;
        for (k = 0; k < length; k++, at++) {
            if (!aegis_native_number(&deltas, &counts, &n) || !aegis_native_bucket(h, at, n, sign)) {
                return 0;
            }
        }
    }

    /* below zero the smallest value is in the last bucket */
    for (to = h->hist->n; sign < 0 && to > from + 1; from++) {
        b = h->hist->buckets[--to];
        h->hist->buckets[to] = h->hist->buckets[from];
        h->hist->buckets[from] = b;
    }

    return 1;
}

static int
aegis_native_head(aegis_native_t *h, aegis_str_t message)
{
    int           rc;
    aegis_wire_t  w;

    for (w = aegis_wire(message); (rc = aegis_wire_next(&w)) > 0; ) {
        if (w.type == AEGIS_WIRE_64) {
            switch (w.field) {
            case 2: h->count = aegis_wire_double(w.number); break;
            case 3: h->sum = aegis_wire_double(w.number); break;
            case 5: h->zero = aegis_wire_double(w.number); break;
            case 7: h->zero_count = aegis_wire_double(w.number); break;
            default: break;
            }
        } else if (w.type == AEGIS_WIRE_VARINT) {
            switch (w.field) {
            case 1: h->count = (double) w.number; break;
            case 4: h->schema = (int32_t) aegis_native_zigzag(w.number); break;
            case 6: h->zero_count = (double) w.number; break;
            case 14: h->gauge = w.number == AEGIS_NATIVE_GAUGE; break;
            case 15: h->t = (int64_t) w.number; break;
            default: break;
            }
        } else if (w.type == AEGIS_WIRE_BYTES && w.field == 16) {
            h->custom = w.bytes;
        }
    }

    return rc == 0 && (h->schema == AEGIS_NATIVE_CUSTOM || (h->schema >= -4 && h->schema <= 8));
}

/* 0: no memory. */
static int
aegis_native_point(aegis_signals_t *s, const aegis_points_t *series, const char *suffix,
    const aegis_native_t *h, double v, const aegis_hist_t *hist)
{
    char            *name;
    size_t           n;
    aegis_points_t  *p;

    n = strlen(suffix);
    p = aegis_signals_points(s);
    name = aegis_arena_alloc(s->arena, series->metric.len + n + 1);
    if (p == NULL || name == NULL
        || (p->samples = aegis_arena_alloc(s->arena, sizeof(aegis_sample_t))) == NULL)
    {
        return 0;
    }

    memcpy(name, series->metric.data, series->metric.len);
    memcpy(name + series->metric.len, suffix, n + 1);
    p->metric = (aegis_str_t) { series->metric.len + n, name };
    p->labels = series->labels;
    p->n_labels = series->n_labels;
    p->counter = hist == NULL && !h->gauge;
    p->hist = hist;
    aegis_points_hash(s->tenant, p);

    if (isfinite(v)) {
        p->samples[p->n++] = (aegis_sample_t) { h->t, v };
    }

    return 1;
}

/* Its buckets, in order. 0: it is none, or has too many of them. */
static int
aegis_native_buckets(aegis_native_t *h, aegis_str_t message)
{
    if (!aegis_native_head(h, message) || !aegis_native_side(h, message, 8, -1)) {
        return 0;
    }

    if (h->zero_count >= 1 && h->zero_count < 9e15 && isfinite(h->zero) && h->zero >= 0) {
        if (h->hist->n == AEGIS_HIST_BUCKETS) {
            return 0;
        }
        h->hist->buckets[h->hist->n++] = (aegis_bucket_t) { -h->zero, h->zero,
                                                            (uint64_t) h->zero_count };
    }

    return aegis_native_side(h, message, 11, 1);
}

static aegis_code_t
aegis_native_take(aegis_signals_t *s, const aegis_points_t *series, aegis_str_t message,
    aegis_error_t *err)
{
    aegis_hist_t    *kept, x = { NULL, 0, 0, 0, NAN, NAN, NAN };
    aegis_native_t   h = { 0, 0, 0, 0, 0, 0, 0, AEGIS_NO_STR, NULL };
    aegis_bucket_t   buckets[AEGIS_HIST_BUCKETS];

    x.buckets = buckets;
    h.hist = &x;

    if (!aegis_native_buckets(&h, message)) {
        aegis_signals_refuse(s, 1, "a native histogram is none, or has more than %d buckets",
                             AEGIS_HIST_BUCKETS);
        return AEGIS_E_OK;
    }
    if (isnan(h.sum) && x.n == 0) {
        s->ignored++;                   /* stale */
        return AEGIS_E_OK;
    }
    if (!aegis_signals_time(s, h.t)) {
        return AEGIS_E_OK;
    }

    x.sum = h.sum;
    x.cumulative = !h.gauge;
    kept = aegis_arena_alloc(s->arena, sizeof(aegis_hist_t));
    x.buckets = aegis_arena_alloc(s->arena, (x.n + 1) * sizeof(aegis_bucket_t));
    if (kept && x.buckets) {
        memcpy(x.buckets, buckets, x.n * sizeof(aegis_bucket_t));
        *kept = x;
        s->histograms++;
        s->taken++;
    }

    return kept && x.buckets
           && aegis_native_point(s, series, "", &h, h.count, kept)
           && aegis_native_point(s, series, "_count", &h, h.count, NULL)
           && aegis_native_point(s, series, "_sum", &h, h.sum, NULL) ? AEGIS_E_OK
           : aegis_error_set(err, AEGIS_E_TOO_LARGE, "the request is too large: send fewer series");
}

aegis_code_t
aegis_decode_native(aegis_signals_t *s, const aegis_points_t *series, aegis_str_t message,
    unsigned field, aegis_error_t *err)
{
    aegis_code_t  rc;
    aegis_wire_t  w;

    rc = AEGIS_E_OK;
    for (w = aegis_wire(message); rc == AEGIS_E_OK && aegis_wire_next(&w) > 0; ) {
        if (w.field == field && w.type == AEGIS_WIRE_BYTES) {
            rc = aegis_native_take(s, series, w.bytes, err);
        }
    }

    return rc;
}
