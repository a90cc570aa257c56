/*
 * aegis_decode_metrics.c: OTLP metrics. A number is a sample of its metric; of
 * histograms the buckets are <metric> itself; of them and of summaries count and sum
 * become <metric>_count and <metric>_sum, the largest <metric>_max, a quantile
 * <metric> with its label, as Prometheus has them.
 * Sums that are monotonic and cumulative, and counts, are counters. A point
 * without a value (flag 1) is passed over.
 */
#include <math.h>
#include <stdio.h>
#include <string.h>

#include "aegis_otlp.h"

#define AEGIS_OTLP_CUMULATIVE  2
#define AEGIS_OTLP_NO_VALUE    1

typedef struct {
    aegis_signals_t  *s;
    aegis_str_t       resource;
    aegis_label_t     kept[4];
    unsigned          n_kept;
    const char       *metric;
    aegis_hist_t     *hist;             /* of the next point */
} aegis_metrics_t;

/* Attributes of a resource that tell apart who shares a URN. */
static const char *const  aegis_metrics_kept[] = {
    "service.instance.id", "k8s.pod.name", "host.name", NULL
};

static int
aegis_metrics_point(aegis_metrics_t *m, const char *suffix, Otlp__KeyValue *const *kv,
    size_t n_kv, const char *quantile, uint64_t ns, double v, int counter)
{
    int              n;
    char             name[AEGIS_LABEL_NAME_MAX + 8], *copy;
    int64_t          t;
    aegis_points_t  *p;

    t = aegis_otlp_time(m->s, ns);
    if (!isfinite(v)) {
        m->s->ignored += isnan(v) != 0;
        if (isinf(v)) {
            aegis_signals_refuse(m->s, 1, "a value is not finite");
        }
        return 1;
    }
    if (!aegis_signals_time(m->s, t)) {
        return 1;
    }

    n = snprintf(name, sizeof(name), "%s%s", m->metric ? m->metric : "", suffix);
    p = aegis_signals_points(m->s);
    copy = aegis_arena_copy(m->s->arena, name, strlen(name));
    if (p == NULL || copy == NULL
        || (p->labels = aegis_arena_alloc(m->s->arena, (n_kv + 6) * sizeof(aegis_label_t))) == NULL
        || (p->samples = aegis_arena_alloc(m->s->arena, sizeof(aegis_sample_t))) == NULL)
    {
        return 0;
    }

    p->metric = aegis_view(copy);
    p->resource = m->resource;
    p->counter = counter;
    p->hist = m->hist;
    memcpy(p->labels, m->kept, m->n_kept * sizeof(aegis_label_t));
    p->n_labels = m->n_kept + aegis_otlp_labels(m->s, kv, n_kv, p->labels + m->n_kept,
                                                (unsigned) n_kv);
    if (quantile) {
        p->labels[p->n_labels++] = (aegis_label_t) { aegis_view("quantile"), aegis_view(quantile) };
    }

    if (n < 1 || n > AEGIS_LABEL_NAME_MAX || !aegis_points_finish(m->s, p)) {
        aegis_signals_refuse(m->s, 1, n < 1 ? "a metric has no name"
            : "the attributes of a point are doubled, too long or more than %d", AEGIS_LABELS_MAX);
        return 1;
    }

    p->samples[p->n++] = (aegis_sample_t) { t, v };
    m->s->taken++;
    return 1;
}

static int
aegis_metrics_numbers(aegis_metrics_t *m, Otlp__NumberPoint *const *points, size_t n,
    int counter)
{
    size_t                    i;
    double                    v;
    const Otlp__NumberPoint  *d;

    for (i = 0; i < n; i++) {
        d = points[i];
        if (d->value_case == OTLP__NUMBER_POINT__VALUE__NOT_SET || d->flags & AEGIS_OTLP_NO_VALUE) {
            m->s->ignored++;
            continue;
        }
        v = d->value_case == OTLP__NUMBER_POINT__VALUE_AS_INT ? (double) d->as_int : d->as_double;
        if (!aegis_metrics_point(m, "", d->attributes, d->n_attributes, NULL,
                                 d->time_unix_nano, v, counter))
        {
            return 0;
        }
    }

    return 1;
}

/* count, sum and max, which histograms of both kinds have. */
static int
aegis_metrics_spread(aegis_metrics_t *m, Otlp__KeyValue *const *kv, size_t n_kv, uint64_t ns,
    uint64_t count, const double *sum, const double *max, int counter)
{
    return aegis_metrics_point(m, "_count", kv, n_kv, NULL, ns, (double) count, counter)
        && (sum == NULL || aegis_metrics_point(m, "_sum", kv, n_kv, NULL, ns, *sum, counter))
        && (max == NULL || aegis_metrics_point(m, "_max", kv, n_kv, NULL, ns, *max, 0));
}

/* Room for a histogram of at most n buckets. NULL: no memory. */
static aegis_hist_t *
aegis_metrics_hist(aegis_metrics_t *m, size_t n, uint64_t start, int cumulative)
{
    aegis_hist_t  *h;

    h = aegis_arena_alloc(m->s->arena, sizeof(aegis_hist_t));
    if (h == NULL) {
        return NULL;
    }

    memset(h, 0, sizeof(aegis_hist_t));
    h->buckets = aegis_arena_alloc(m->s->arena, (n + 1) * sizeof(aegis_bucket_t));
    h->start = (int64_t) (start / 1000000);
    h->cumulative = cumulative;
    h->sum = h->min = h->max = NAN;

    return h->buckets ? h : NULL;
}

static int
aegis_metrics_buckets(aegis_metrics_t *m, const Otlp__HistogramPoint *p, int cumulative)
{
    int            n, ok;
    aegis_hist_t  *h;

    if (p->n_explicit_bounds == 0) {
        return 1;                       /* nothing is said of how they are spread */
    }
    if (p->n_bucket_counts != p->n_explicit_bounds + 1
        || p->n_bucket_counts > AEGIS_HIST_BUCKETS)
    {
        aegis_signals_refuse(m->s, 1, "a histogram has %zu bounds and %zu buckets, at most %d",
                             p->n_explicit_bounds, p->n_bucket_counts, AEGIS_HIST_BUCKETS);
        return 1;
    }

    h = aegis_metrics_hist(m, p->n_bucket_counts, p->start_time_unix_nano, cumulative);
    if (h == NULL) {
        return 0;
    }

    n = aegis_hist_explicit(p->explicit_bounds, p->n_explicit_bounds, p->bucket_counts, h->buckets);
    if (n < 0) {
        aegis_signals_refuse(m->s, 1, "the bounds of a histogram do not rise");
        return 1;
    }

    h->n = (unsigned) n;
    h->sum = p->has_sum ? p->sum : NAN;
    h->min = p->has_min ? p->min : NAN;
    h->max = p->has_max ? p->max : NAN;

    m->hist = h;
    ok = aegis_metrics_point(m, "", p->attributes, p->n_attributes, NULL, p->time_unix_nano,
                             (double) p->count, 0);
    m->hist = NULL;

    return ok;
}

/* One side of an exponential histogram, from the bucket of the smallest value on. */
static void
aegis_metrics_side(aegis_hist_t *h, const Otlp__Buckets *b, int scale, int sign)
{
    double   lo, hi;
    size_t   i, k;

    for (i = 0; b && i < b->n_bucket_counts; i++) {
        k = sign < 0 ? b->n_bucket_counts - 1 - i : i;
        if (b->bucket_counts[k]) {
            lo = aegis_hist_edge(scale, (int64_t) b->offset + (int64_t) k);
            hi = aegis_hist_edge(scale, (int64_t) b->offset + (int64_t) k + 1);
            h->buckets[h->n++] = sign < 0 ? (aegis_bucket_t) { -hi, -lo, b->bucket_counts[k] }
                                          : (aegis_bucket_t) { lo, hi, b->bucket_counts[k] };
        }
    }
}

static int
aegis_metrics_powers(aegis_metrics_t *m, const Otlp__ExponentialPoint *p, int cumulative)
{
    int            ok;
    size_t         n;
    double         zero;
    aegis_hist_t  *h;

    n = (p->positive ? p->positive->n_bucket_counts : 0)
        + (p->negative ? p->negative->n_bucket_counts : 0) + 1;
    zero = p->has_zero_threshold && p->zero_threshold > 0 ? p->zero_threshold : 0;

    if (n > AEGIS_HIST_BUCKETS || p->scale < -10 || p->scale > 20 || !isfinite(zero)) {
        aegis_signals_refuse(m->s, 1, "a histogram has %zu buckets, at most %d, of scale %d",
                             n, AEGIS_HIST_BUCKETS, p->scale);
        return 1;
    }

    h = aegis_metrics_hist(m, n, p->start_time_unix_nano, cumulative);
    if (h == NULL) {
        return 0;
    }

    aegis_metrics_side(h, p->negative, p->scale, -1);
    if (p->zero_count) {
        h->buckets[h->n++] = (aegis_bucket_t) { -zero, zero, p->zero_count };
    }
    aegis_metrics_side(h, p->positive, p->scale, 1);

    h->sum = p->has_sum ? p->sum : NAN;
    h->min = p->has_min ? p->min : NAN;
    h->max = p->has_max ? p->max : NAN;

    m->hist = h;
    ok = aegis_metrics_point(m, "", p->attributes, p->n_attributes, NULL, p->time_unix_nano,
                             (double) p->count, 0);
    m->hist = NULL;

    return ok;
}

static int
aegis_metrics_histogram(aegis_metrics_t *m, const Otlp__Histogram *x)
{
    int                          counter;
    size_t                       i;
    const Otlp__HistogramPoint  *h;

    counter = x->aggregation_temporality == AEGIS_OTLP_CUMULATIVE;

    for (i = 0; i < x->n_data_points; i++) {
        h = x->data_points[i];
        if (h->flags & AEGIS_OTLP_NO_VALUE) {
            m->s->ignored++;
        } else if (!aegis_metrics_buckets(m, h, counter)
                   || !aegis_metrics_spread(m, h->attributes, h->n_attributes, h->time_unix_nano,
                                            h->count, h->has_sum ? &h->sum : NULL,
                                            h->has_max ? &h->max : NULL, counter))
        {
            return 0;
        }
    }

    return 1;
}

static int
aegis_metrics_exponential(aegis_metrics_t *m, const Otlp__ExponentialHistogram *x)
{
    int                            counter;
    size_t                         i;
    const Otlp__ExponentialPoint  *e;

    counter = x->aggregation_temporality == AEGIS_OTLP_CUMULATIVE;

    for (i = 0; i < x->n_data_points; i++) {
        e = x->data_points[i];
        if (e->flags & AEGIS_OTLP_NO_VALUE) {
            m->s->ignored++;
        } else if (!aegis_metrics_powers(m, e, counter)
                   || !aegis_metrics_spread(m, e->attributes, e->n_attributes, e->time_unix_nano,
                                            e->count, e->has_sum ? &e->sum : NULL,
                                            e->has_max ? &e->max : NULL, counter))
        {
            return 0;
        }
    }

    return 1;
}

static int
aegis_metrics_summary(aegis_metrics_t *m, const Otlp__Summary *x)
{
    char                        text[40], *copy;
    size_t                      i, k;
    const Otlp__SummaryPoint   *d;

    for (i = 0; i < x->n_data_points; i++) {
        d = x->data_points[i];
        if (!aegis_metrics_spread(m, d->attributes, d->n_attributes, d->time_unix_nano, d->count,
                                  &d->sum, NULL, 1))
        {
            return 0;
        }
        for (k = 0; k < d->n_quantile_values; k++) {
            (void) snprintf(text, sizeof(text), "%g", d->quantile_values[k]->quantile);
            copy = aegis_arena_copy(m->s->arena, text, strlen(text));
            if (copy == NULL || !aegis_metrics_point(m, "", d->attributes, d->n_attributes, copy,
                                    d->time_unix_nano, d->quantile_values[k]->value, 0))
            {
                return 0;
            }
        }
    }

    return 1;
}

static int
aegis_metrics_one(aegis_metrics_t *m, const Otlp__Metric *x)
{
    m->metric = x->name;

    if (x->gauge && !aegis_metrics_numbers(m, x->gauge->data_points, x->gauge->n_data_points, 0)) {
        return 0;
    }
    if (x->sum && !aegis_metrics_numbers(m, x->sum->data_points, x->sum->n_data_points,
            x->sum->is_monotonic && x->sum->aggregation_temporality == AEGIS_OTLP_CUMULATIVE))
    {
        return 0;
    }

    return (x->histogram == NULL || aegis_metrics_histogram(m, x->histogram))
        && (x->exponential_histogram == NULL
            || aegis_metrics_exponential(m, x->exponential_histogram))
        && (x->summary == NULL || aegis_metrics_summary(m, x->summary));
}

static void
aegis_metrics_resource(aegis_metrics_t *m, const Otlp__Resource *r)
{
    unsigned       i, k, n;
    uint64_t       used;
    aegis_label_t  labels[AEGIS_LABELS_MAX];

    memset(labels, 0, sizeof(labels));
    n = r ? aegis_otlp_labels(m->s, r->attributes, r->n_attributes, labels, AEGIS_LABELS_MAX) : 0;
    m->resource = aegis_resource_of(m->s->arena, labels, n, &used);
    m->n_kept = 0;

    for (i = 0; i < n && i < 64; i++) {
        for (k = 0; aegis_metrics_kept[k]; k++) {
            if (!(used >> i & 1) && m->n_kept < 3 && labels[i].name.len == strlen(aegis_metrics_kept[k])
                && memcmp(labels[i].name.data, aegis_metrics_kept[k], labels[i].name.len) == 0)
            {
                m->kept[m->n_kept++] = labels[i];
            }
        }
    }
}

static aegis_code_t
aegis_metrics_take(aegis_signals_t *s, const Otlp__MetricsRequest *r, aegis_error_t *err)
{
    size_t                        i, k, n;
    aegis_metrics_t               m = { s, AEGIS_NO_STR, { { { 0, NULL }, { 0, NULL } } }, 0, NULL, NULL };
    const Otlp__ResourceMetrics  *rm;

    for (i = 0; i < r->n_resource_metrics; i++) {
        rm = r->resource_metrics[i];
        aegis_metrics_resource(&m, rm->resource);

        for (k = 0; k < rm->n_scope_metrics; k++) {
            for (n = 0; n < rm->scope_metrics[k]->n_metrics; n++) {
                if (!aegis_metrics_one(&m, rm->scope_metrics[k]->metrics[n])) {
                    return aegis_error_set(err, AEGIS_E_TOO_LARGE, "the request has too many points");
                }
            }
        }
    }

    return AEGIS_E_OK;
}

aegis_code_t
aegis_decode_metrics(aegis_signals_t *s, aegis_str_t body, aegis_error_t *err)
{
    ProtobufCMessage  *m;

    m = aegis_otlp_unpack(&otlp__metrics_request__descriptor, s, body, err);
    return m ? aegis_metrics_take(s, (void *) m, err) : err->code;
}

aegis_code_t
aegis_decode_metrics_json(aegis_signals_t *s, aegis_str_t body, aegis_error_t *err)
{
    ProtobufCMessage  *m;

    m = aegis_otlp_unpack_json(&otlp__metrics_request__descriptor, s, body, err);
    return m ? aegis_metrics_take(s, (void *) m, err) : err->code;
}
