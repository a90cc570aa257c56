/*
 * aegis_fold_hist.c: histograms: the values that came between two of their states, in
 * the sketch of a minute. One that comes whole (OTLP, native) keeps its last state. A
 * classic one of Prometheus comes as many series: how much each grew in a minute is
 * kept until the minute is taken, since they may come one by one.
 * Invariant: a state's buckets count as series of the tenant, AEGIS_STATE_SHARE of
 * them as one, so that series_max bounds them too.
 */
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "aegis_fold.h"

#define AEGIS_STATE_GAP    900000       /* ms: as of counters */
#define AEGIS_STATE_SHARE  16
#define AEGIS_PARTS_MAX    256

/* The values of grown buckets; sum NAN: not known. 0: no memory. */
static int
aegis_hist_add(aegis_arena_t *arena, aegis_cell_t *c, const aegis_bucket_t *grown, unsigned n,
    double sum, double min, double max)
{
    int             i, k;
    double          v[AEGIS_HIST_VALUES], guess;
    uint64_t        counts[AEGIS_HIST_VALUES];
    unsigned        j;
    aegis_bucket_t  b;

    for (j = 0, guess = 0; j < n; j++) {
        b = grown[j];
        b.lo = min > b.lo && min <= b.hi ? min : b.lo;
        b.hi = max < b.hi && max >= b.lo ? max : b.hi;

        k = aegis_hist_values(&b, v, counts);
        for (i = 0; i < k; i++) {
            guess += v[i] * (double) counts[i];
            if (!aegis_spread_add(arena, &c->spread, v[i], counts[i])) {
                return 0;
            }
        }

        if (k) {
            b.hi = isfinite(b.hi) ? b.hi : b.lo;
            c->max = c->spread.count == b.n || b.hi > c->max ? b.hi : c->max;
        }
    }

    c->sum += isfinite(sum) ? sum : guess;
    return 1;
}

/* Keep a state; its buckets are charged to the tenant. 0: no memory. */
static int
aegis_state_keep(aegis_fold_t *f, aegis_series_t *s, int64_t t, const aegis_hist_t *h)
{
    unsigned        weight;
    aegis_hist_state_t  *state;

    weight = 1 + h->n / AEGIS_STATE_SHARE;
    if (weight > s->weight && s->tenant->n_series + weight - s->weight > f->series_max) {
        f->refused_series++;
        free(s->state);
        s->state = NULL;
        return 1;
    }

    state = realloc(s->state, sizeof(aegis_hist_state_t) + h->n * sizeof(aegis_bucket_t));
    if (state == NULL) {
        return 0;
    }

    s->tenant->n_series += weight - s->weight;
    f->n_series += weight - s->weight;
    s->weight = weight;
    s->state = state;
    state->t = t;
    state->start = h->start;
    state->sum = h->sum;
    state->n = h->n;
    if (h->n) {
        memcpy(state->buckets, h->buckets, h->n * sizeof(aegis_bucket_t));
    }

    return 1;
}

/* What a cumulative histogram grew by since its state; -1: nothing can be said. One
 * that began in the minute it is of is all new: what came earlier would be of the
 * same minute, and here. */
static int
aegis_state_growth(const aegis_series_t *s, int64_t t, const aegis_hist_t *h, aegis_bucket_t *out,
    double *ret_sum)
{
    int                   n;
    const aegis_hist_state_t  *was;

    was = s->state;
    *ret_sum = h->sum;

    if (was == NULL || t - was->t > AEGIS_STATE_GAP
        || (h->start > was->t && h->start <= t))
    {
        if (h->start <= 0 || h->start > t || (was ? h->start <= was->t
                                              : h->start / 60000 != t / 60000))
        {
            return -1;
        }
        memcpy(out, h->buckets, h->n * sizeof(aegis_bucket_t));
        return (int) h->n;
    }

    n = aegis_hist_growth(was->buckets, was->n, h->buckets, h->n, out);
    /* it began again, or has values below zero */
    *ret_sum = h->sum >= was->sum ? h->sum - was->sum : NAN;

    return n;
}

int
aegis_fold_hist(aegis_fold_t *f, aegis_series_t *s, const aegis_points_t *p, uint64_t seq,
    int64_t of_minute)
{
    int                  n, rc;
    double               sum;
    int64_t              t;
    aegis_cell_t        *c;
    aegis_bucket_t       grown[AEGIS_HIST_BUCKETS];
    const aegis_hist_t  *h;

    h = p->hist;
    t = p->samples[0].t;
    sum = h->sum;
    n = (int) h->n;

    if (h->cumulative) {
        if (s->state && t <= s->state->t) {
            f->repeated += t == s->state->t;
            return 1;
        }
        n = aegis_state_growth(s, t, h, grown, &sum);
        if (!aegis_state_keep(f, s, t, h)) {
            return 0;
        }
    }

    if (n <= 0 || t / 60000 < of_minute) {
        return 1;
    }

    c = aegis_cell_of(f->gen, s, t / 60000, seq);
    rc = c ? aegis_cell_seen(f->gen, c, (uint16_t) (t % 60000)) : 0;
    f->repeated += rc == 2;

    return rc == 1 ? aegis_hist_add(f->gen->arena, c, h->cumulative ? grown : h->buckets,
                                    (unsigned) n, sum, h->min, h->max)
                   : rc;
}

/* --- classic histograms */

static int
aegis_hist_ends(aegis_str_t name, const char *end)
{
    size_t  n;

    n = strlen(end);
    return name.len > n && memcmp(name.data + name.len - n, end, n) == 0;
}

/* p under another name, without the label le. NULL data: no memory. */
static aegis_points_t
aegis_hist_named(aegis_signals_t *b, const aegis_points_t *p, size_t len, const char *suffix)
{
    char            *name;
    unsigned         i;
    aegis_points_t   q;

    q = *p;
    q.n = 1;
    q.n_labels = 0;
    q.counter = 0;
    q.metric = AEGIS_NO_STR;
    q.labels = aegis_arena_alloc(b->arena, (p->n_labels + 1) * sizeof(aegis_label_t));
    name = aegis_arena_alloc(b->arena, len + strlen(suffix) + 1);
    if (q.labels == NULL || name == NULL) {
        return q;
    }

    memcpy(name, p->metric.data, len);
    memcpy(name + len, suffix, strlen(suffix) + 1);
    q.metric = (aegis_str_t) { len + strlen(suffix), name };
    for (i = 0; i < p->n_labels; i++) {
        if (p->labels[i].name.len != 2 || memcmp(p->labels[i].name.data, "le", 2) != 0) {
            q.labels[q.n_labels++] = p->labels[i];
        }
    }
    aegis_points_hash(b->tenant, &q);

    return q;
}

/* The upper edge that a bucket's label names. 0: it has none. */
static int
aegis_hist_le(const aegis_points_t *p, double *ret)
{
    char      text[40], *end;
    unsigned  i;

    for (i = 0; i < p->n_labels; i++) {
        if (p->labels[i].name.len == 2 && memcmp(p->labels[i].name.data, "le", 2) == 0
            && p->labels[i].value.len > 0 && p->labels[i].value.len < sizeof(text))
        {
            memcpy(text, p->labels[i].value.data, p->labels[i].value.len);
            text[p->labels[i].value.len] = '\0';
            *ret = strtod(text, &end);
            return *end == '\0' && !isnan(*ret);
        }
    }

    return 0;
}

static void
aegis_hist_tie(aegis_series_t *part, aegis_series_t *hist)
{
    if (part && hist && part != hist && part->hist == NULL) {
        part->hist = hist;
        hist->refs++;
    }
}

void
aegis_hist_join(aegis_fold_t *f, aegis_signals_t *b, aegis_series_t *s, const aegis_points_t *p)
{
    double           le;
    aegis_points_t   q;
    aegis_series_t  *hist;

    if (aegis_hist_ends(p->metric, "_bucket") && aegis_hist_le(p, &le)) {
        q = aegis_hist_named(b, p, p->metric.len - strlen("_bucket"), "");
        hist = q.metric.data ? aegis_series_find(f, s->tenant, b, &q) : NULL;
        if (hist == NULL || hist->refs >= AEGIS_PARTS_MAX) {
            return;
        }
        s->le = le;
        aegis_hist_tie(s, hist);

        q = aegis_hist_named(b, p, p->metric.len - strlen("_bucket"), "_sum");
        aegis_hist_tie(q.metric.data ? aegis_series_at(f, q.hash) : NULL, hist);

    } else if (aegis_hist_ends(p->metric, "_sum")) {
        q = aegis_hist_named(b, p, p->metric.len - strlen("_sum"), "");
        hist = q.metric.data ? aegis_series_at(f, q.hash) : NULL;
        aegis_hist_tie(s, hist && hist->refs ? hist : NULL);
    }
}

static int
aegis_parts_add(aegis_gen_t *g, aegis_cell_t *c, double le, double grown)
{
    uint16_t       i, cap;
    aegis_part_t  *parts;

    for (i = 0; i < c->n_parts; i++) {
        if (c->parts[i].le == le) {
            c->parts[i].grown += grown;
            return 1;
        }
    }

    if (c->n_parts == c->cap_parts) {
        cap = c->cap_parts ? (uint16_t) (c->cap_parts * 2) : 8;
        parts = aegis_arena_alloc(g->arena, cap * sizeof(aegis_part_t));
        if (parts == NULL) {
            return 0;
        }
        if (c->n_parts) {
            memcpy(parts, c->parts, c->n_parts * sizeof(aegis_part_t));
        }
        c->parts = parts;
        c->cap_parts = cap;
    }

    c->parts[c->n_parts++] = (aegis_part_t) { le, grown };
    return 1;
}

int
aegis_hist_part(aegis_fold_t *f, aegis_series_t *s, int64_t t, double grown, uint64_t seq)
{
    aegis_cell_t  *c;

    if (s->hist->state) {
        return 1;                       /* it comes as a native one as well */
    }

    s->hist->used = s->used;
    c = aegis_cell_of(f->gen, s->hist, t / 60000, seq);
    if (c == NULL) {
        return 0;
    }
    if (isnan(s->le)) {
        c->sum += grown;
        return 1;
    }

    return aegis_parts_add(f->gen, c, s->le, grown);
}

static int
aegis_parts_order(const void *a, const void *b)
{
    const aegis_part_t  *x = a, *y = b;

    return (x->le > y->le) - (x->le < y->le);
}

int
aegis_hist_settle(aegis_arena_t *arena, aegis_cell_t *c)
{
    double          n;
    uint16_t        i, k;
    aegis_bucket_t  grown[AEGIS_PARTS_MAX];

    if (c->n_parts == 0) {
        return 1;
    }

    qsort(c->parts, c->n_parts, sizeof(aegis_part_t), aegis_parts_order);
    if (c->parts[c->n_parts - 1].le < INFINITY) {
        return 1;                       /* the rest was of another time: no shape */
    }

    for (i = k = 0; i < c->n_parts && k < AEGIS_PARTS_MAX; i++) {
        n = c->parts[i].grown - (i ? c->parts[i - 1].grown : 0);
        if (n >= 0.5 && n < 9e15) {
            grown[k++] = (aegis_bucket_t) { i ? c->parts[i - 1].le : -INFINITY, c->parts[i].le,
                                            (uint64_t) llround(n) };
        }
    }

    return aegis_hist_add(arena, c, grown, k, c->sum != 0 ? 0 : NAN, NAN, NAN);
}
