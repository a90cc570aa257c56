/*
 * aegis_fold_series.c: samples: which series they are of, which minute, and whether
 * they have been there already. A counter has a second series beside it, <metric>:rate:
 * how much it grew, by second. Histograms are of aegis_fold_hist.c.
 * Invariant: a series that a generation still has to write is never forgotten.
 */
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "aegis_fold.h"
#include "aegis_json.h"

#define AEGIS_SERIES_GAP  900000        /* ms: a counter that was silent longer has no rate */

/* The labels that the resource's name does not say, as JSON. NULL: no memory. */
static char *
aegis_series_labels(const aegis_points_t *p, uint64_t used)
{
    char      *text;
    json_t    *o, *v;
    unsigned   i;

    o = json_object();
    for (i = 0; i < p->n_labels; i++) {
        if (i < 64 && used >> i & 1) {
            continue;
        }
        /* cleaned where they lie: no other reader is left, and the hash is taken */
        aegis_clean((char *) (uintptr_t) p->labels[i].name.data, p->labels[i].name.len);
        aegis_clean((char *) (uintptr_t) p->labels[i].value.data, p->labels[i].value.len);
        v = json_stringn(p->labels[i].value.data, p->labels[i].value.len);
        (void) json_object_setn_new(o, p->labels[i].name.data, p->labels[i].name.len, v);
    }

    text = json_dumps(o, JSON_COMPACT | JSON_SORT_KEYS);
    json_decref(o);

    return text;
}

aegis_series_t *
aegis_series_make(aegis_tenant_t *t, const uint64_t hash[2], aegis_str_t resource,
    aegis_str_t metric, const char *suffix, const char *labels)
{
    char            *p;
    size_t           n;
    aegis_series_t  *s;

    n = resource.len + metric.len + strlen(suffix) + strlen(labels) + 3;
    s = calloc(1, sizeof(aegis_series_t) + n);
    if (s == NULL) {
        return NULL;
    }

    memcpy(s->hash, hash, sizeof(s->hash));
    s->tenant = t;
    s->weight = 1;
    s->le = NAN;
    s->id = strcmp(labels, "{}") == 0 ? 0 : (int64_t) hash[0];

    p = s->text;
    s->resource = memcpy(p, resource.data, resource.len);
    p += resource.len + 1;
    s->metric = memcpy(p, metric.data, metric.len);
    aegis_clean(p, metric.len);
    memcpy(p + metric.len, suffix, strlen(suffix));
    p += metric.len + strlen(suffix) + 1;
    s->labels = memcpy(p, labels, strlen(labels));

    return s;
}

void
aegis_series_free(aegis_series_t *s)
{
    free(s->state);
    free(s);
}

/* NULL: it is not there. */
aegis_series_t *
aegis_series_at(const aegis_fold_t *f, const uint64_t hash[2])
{
    aegis_series_t  *s;

    for (s = f->series[hash[0] % AEGIS_FOLD_SLOTS]; s; s = s->next) {
        if (s->hash[0] == hash[0] && s->hash[1] == hash[1]) {
            return s;
        }
    }

    return NULL;
}

aegis_series_t *
aegis_series_find(aegis_fold_t *f, aegis_tenant_t *t, aegis_signals_t *b,
    const aegis_points_t *p)
{
    char             *labels;
    uint64_t          used;
    aegis_str_t       resource;
    aegis_series_t   *s, **slot;

    s = aegis_series_at(f, p->hash);
    if (s) {
        return s;
    }
    slot = &f->series[p->hash[0] % AEGIS_FOLD_SLOTS];

    if (t->n_series >= f->series_max) {
        f->refused_series += p->n;
        aegis_signals_refuse(b, p->n, "the tenant has %u series, which is the limit",
                             t->n_series);
        return NULL;
    }

    used = 0;
    resource = p->resource.data ? p->resource
               : aegis_resource_of(b->arena, p->labels, p->n_labels, &used);
    labels = resource.data ? aegis_series_labels(p, used) : NULL;
    s = labels ? aegis_series_make(t, p->hash, resource, p->metric, "", labels) : NULL;
    free(labels);

    if (s) {
        s->counter = p->counter;
        s->next = *slot;
        *slot = s;
        t->n_series++;
        f->n_series++;
        aegis_hist_join(f, b, s, p);
    }

    return s;
}

/* Room for one more ms of the minute. */
static int
aegis_cell_room(aegis_gen_t *g, aegis_cell_t *c)
{
    uint32_t   cap;
    uint16_t  *seen;

    if (c->n < c->cap) {
        return 1;
    }

    cap = c->cap ? c->cap * 2 : 4;
    seen = aegis_arena_alloc(g->arena, cap * sizeof(uint16_t));
    if (seen == NULL) {
        return 0;
    }
    if (c->n) {
        memcpy(seen, c->seen, c->n * sizeof(uint16_t));
    }
    c->seen = seen;
    c->cap = cap;

    return 1;
}

aegis_cell_t *
aegis_cell_of(aegis_gen_t *g, aegis_series_t *s, int64_t minute, uint64_t seq)
{
    aegis_cell_t  *c;

    for (c = s->cells; c; c = c->next) {
        if (c->minute == minute) {
            return c;
        }
    }

    c = aegis_arena_alloc(g->arena, sizeof(aegis_cell_t));
    if (c == NULL) {
        return NULL;
    }

    memset(c, 0, sizeof(aegis_cell_t));
    c->series = s;
    c->minute = minute;
    c->seq = seq;
    c->next = s->cells;
    s->cells = c;
    c->all = g->cells;
    g->cells = c;
    g->n_cells++;

    return c;
}

/* 1: it is new · 2: it was there · 0: no memory. */
int
aegis_cell_seen(aegis_gen_t *g, aegis_cell_t *c, uint16_t ms)
{
    uint32_t  i;

    if (!aegis_cell_room(g, c)) {
        return 0;
    }

    if (c->n && ms <= c->seen[c->n - 1]) {
        for (i = 0; i < c->n; i++) {
            if (c->seen[i] == ms) {
                return 2;
            }
        }
        /* the last one stays the latest, so that the usual case is one look */
        c->seen[c->n] = c->seen[c->n - 1];
        c->seen[c->n - 1] = ms;
    } else {
        c->seen[c->n] = ms;
    }
    c->n++;

    return 1;
}

static int
aegis_cell_add(aegis_gen_t *g, aegis_series_t *s, int64_t t, double v, uint64_t seq)
{
    int            rc;
    aegis_cell_t  *c;

    c = aegis_cell_of(g, s, t / 60000, seq);
    rc = c ? aegis_cell_seen(g, c, (uint16_t) (t % 60000)) : 0;
    if (rc != 1) {
        return rc;
    }

    c->max = c->spread.count == 0 || v > c->max ? v : c->max;
    c->sum += v;

    return aegis_spread_add(g->arena, &c->spread, v, 1);
}

/* The growth of a counter that came at t, in a series of its own. */
static int
aegis_series_rate(aegis_fold_t *f, aegis_series_t *s, int64_t t, double rate, uint64_t seq)
{
    uint64_t  hash[2];

    if (s->rate == NULL) {
        hash[0] = s->hash[0] ^ 0x9e3779b97f4a7c15ULL;
        hash[1] = s->hash[1];
        s->rate = aegis_series_make(s->tenant, hash, aegis_view(s->resource), aegis_view(s->metric),
                                    ":rate", s->labels);
        if (s->rate == NULL) {
            return 0;
        }
        s->rate->next = f->series[hash[0] % AEGIS_FOLD_SLOTS];
        f->series[hash[0] % AEGIS_FOLD_SLOTS] = s->rate;
    }

    s->rate->used = s->used;
    return aegis_cell_add(f->gen, s->rate, t, rate, seq) != 0;
}

/* What a counter's next sample says of its growth. */
static int
aegis_series_grown(aegis_fold_t *f, aegis_series_t *s, const aegis_sample_t *x, uint64_t seq,
    int64_t of_minute)
{
    double   grown;
    int64_t  dt;

    dt = x->t - s->t;
    if (s->t && dt <= 0) {
        return 1;
    }

    grown = x->v < s->v ? x->v : x->v - s->v;
    if (s->t && dt <= AEGIS_SERIES_GAP && x->t / 60000 >= of_minute) {
        if (s->counter && !aegis_series_rate(f, s, x->t, grown * 1000 / (double) dt, seq)) {
            return 0;
        }
        if (s->hist && !aegis_hist_part(f, s, x->t, grown, seq)) {
            return 0;
        }
    }

    s->t = x->t;
    s->v = x->v;
    return 1;
}

int
aegis_fold_points(aegis_fold_t *f, aegis_tenant_t *t, aegis_signals_t *b, uint64_t seq,
    int64_t of_minute)
{
    int              rc;
    unsigned         i;
    aegis_series_t  *s;
    aegis_points_t  *p;

    for (p = b->points; p; p = p->next) {
        s = p->n ? aegis_series_find(f, t, b, p) : NULL;
        if (s == NULL) {
            continue;
        }
        s->used = b->now;

        if (p->hist) {
            if (!aegis_fold_hist(f, s, p, seq, of_minute)) {
                return 0;
            }
            continue;
        }

        for (i = 0; i < p->n; i++) {
            if (p->samples[i].t / 60000 >= of_minute) {
                rc = aegis_cell_add(f->gen, s, p->samples[i].t, p->samples[i].v, seq);
                if (rc == 0) {
                    return 0;
                }
                f->repeated += rc == 2;
            }
            if ((s->counter || s->hist)
                && !aegis_series_grown(f, s, &p->samples[i], seq, of_minute))
            {
                return 0;
            }
        }
    }

    return 1;
}

/* A series and its rate go at once, or not yet; a histogram after its parts. */
static int
aegis_series_idle(const aegis_series_t *s, int64_t before)
{
    return s->used < before && s->cells == NULL && s->wanted == 0 && s->refs == 0;
}

void
aegis_fold_sweep(aegis_fold_t *f, int64_t before)
{
    size_t            i;
    aegis_series_t   *s, **link;

    (void) pthread_mutex_lock(&f->lock);

    for (i = 0; i < AEGIS_FOLD_SLOTS; i++) {
        for (link = &f->series[i]; (s = *link); ) {
            /* a rate is kept as long as its counter, which knows it */
            if (!aegis_series_idle(s, before) || strstr(s->metric, ":rate")
                || (s->rate && !aegis_series_idle(s->rate, before)))
            {
                link = &s->next;
                continue;
            }
            if (s->rate) {
                s->rate->used = INT64_MIN;
            }
            if (s->hist) {
                s->hist->refs--;
            }
            s->tenant->n_series -= s->weight;
            f->n_series -= s->weight;
            *link = s->next;
            aegis_series_free(s);
        }
    }
    for (i = 0; i < AEGIS_FOLD_SLOTS; i++) {
        for (link = &f->series[i]; (s = *link); ) {
            if (s->used == INT64_MIN) {
                *link = s->next;
                aegis_series_free(s);
            } else {
                link = &s->next;
            }
        }
    }

    (void) pthread_mutex_unlock(&f->lock);
}
