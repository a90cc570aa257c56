/*
 * aegis_fold.c: generations: making, taking and letting go of them; sketches.
 * Invariant: whatever is applied is in exactly one generation, and a cell that stays
 * behind brings the number of its first batch with it, so that the journal keeps it.
 */
#include <stdlib.h>
#include <string.h>

#include "aegis_fold.h"

static aegis_gen_t *
aegis_gen_new(size_t memory)
{
    aegis_gen_t  *g;

    g = calloc(1, sizeof(aegis_gen_t));
    if (g == NULL || (g->arena = aegis_arena_new(memory)) == NULL) {
        free(g);
        return NULL;
    }

    return g;
}

static void
aegis_gen_free(aegis_gen_t *g)
{
    if (g) {
        aegis_arena_free(g->arena);
        free(g);
    }
}

aegis_fold_t *
aegis_fold_new(unsigned series_max, unsigned patterns_max, size_t memory)
{
    aegis_fold_t  *f;

    f = calloc(1, sizeof(aegis_fold_t));
    if (f == NULL) {
        return NULL;
    }

    f->memory = memory;
    f->series_max = series_max;
    f->patterns_max = patterns_max;
    f->gen = aegis_gen_new(memory);
    f->series = calloc(AEGIS_FOLD_SLOTS, sizeof(aegis_series_t *));
    f->waiting = calloc(AEGIS_FOLD_SMALL, sizeof(aegis_wait_t *));
    (void) pthread_mutex_init(&f->lock, NULL);

    if (f->gen == NULL || f->series == NULL || f->waiting == NULL) {
        aegis_fold_free(f);
        return NULL;
    }

    return f;
}

void
aegis_fold_free(aegis_fold_t *f)
{
    size_t           i;
    aegis_wait_t    *w, *next_w;
    aegis_series_t  *s, *next_s;

    if (f == NULL) {
        return;
    }

    for (i = 0; f->series && i < AEGIS_FOLD_SLOTS; i++) {
        for (s = f->series[i]; s; s = next_s) {
            next_s = s->next;
            aegis_series_free(s);
        }
    }
    for (i = 0; f->waiting && i < AEGIS_FOLD_SMALL; i++) {
        for (w = f->waiting[i]; w; w = next_w) {
            next_w = w->next;
            free(w);
        }
    }
    for (i = 0; i < f->n_tenants; i++) {
        aegis_drain_free(f->tenants[i]->drain);
        free(f->tenants[i]);
    }

    aegis_gen_free(f->gen);
    free(f->series);
    free(f->waiting);
    (void) pthread_mutex_destroy(&f->lock);
    free(f);
}

aegis_tenant_t *
aegis_fold_tenant(aegis_fold_t *f, const char *name)
{
    unsigned         i;
    aegis_tenant_t  *t;

    for (i = 0; i < f->n_tenants; i++) {
        if (strcmp(f->tenants[i]->name, name) == 0) {
            return f->tenants[i];
        }
    }

    if (i == AEGIS_FOLD_TENANTS || strlen(name) >= sizeof(t->name)) {
        return NULL;
    }

    t = calloc(1, sizeof(aegis_tenant_t));
    if (t == NULL || (t->drain = aegis_drain_new(f->patterns_max)) == NULL) {
        free(t);
        return NULL;
    }
    memcpy(t->name, name, strlen(name) + 1);
    f->tenants[f->n_tenants++] = t;

    return t;
}

int
aegis_fold_apply(aegis_fold_t *f, aegis_signals_t *s, uint64_t seq, int64_t of_minute)
{
    int              ok;
    aegis_tenant_t  *t;

    (void) pthread_mutex_lock(&f->lock);
    t = aegis_fold_tenant(f, s->tenant);
    f->gen->seq = seq > f->gen->seq ? seq : f->gen->seq;

    ok = t != NULL && aegis_fold_points(f, t, s, seq, of_minute);
    if (ok && of_minute == INT64_MIN) {
        ok = aegis_fold_lines(f, t, s) && aegis_fold_spans(f, t, s);
    }

    (void) pthread_mutex_unlock(&f->lock);
    return ok;
}

static int
aegis_parts_copy(aegis_arena_t *arena, aegis_cell_t *c)
{
    aegis_part_t  *parts;

    if (c->n_parts == 0) {
        c->parts = NULL;
        c->cap_parts = 0;
        return 1;
    }

    parts = aegis_arena_alloc(arena, c->cap_parts * sizeof(aegis_part_t));
    if (parts == NULL) {
        return 0;
    }
    c->parts = memcpy(parts, c->parts, c->n_parts * sizeof(aegis_part_t));

    return 1;
}

/* Take the open minutes over into the next generation. 0: no memory. */
static int
aegis_fold_stay(aegis_gen_t *old, aegis_gen_t *gen, int64_t open)
{
    uint16_t      *seen;
    aegis_cell_t  *c, *copy, **link;

    for (link = &old->cells; (c = *link); ) {
        if (c->minute < open) {
            link = &c->all;
            continue;
        }

        copy = aegis_arena_alloc(gen->arena, sizeof(aegis_cell_t));
        seen = aegis_arena_alloc(gen->arena, c->cap * sizeof(uint16_t));
        if (copy == NULL || seen == NULL) {
            return 0;
        }
        *copy = *c;
        copy->seen = seen;
        if (c->n) {
            memcpy(seen, c->seen, c->n * sizeof(uint16_t));
        }
        if (!aegis_spread_copy(gen->arena, &copy->spread) || !aegis_parts_copy(gen->arena, copy)) {
            return 0;
        }

        *link = c->all;
        old->n_cells--;
        copy->all = gen->cells;
        gen->cells = copy;
        gen->n_cells++;
        gen->first = gen->first && gen->first < copy->seq ? gen->first : copy->seq;
    }

    return 1;
}

aegis_gen_t *
aegis_fold_take(aegis_fold_t *f, int64_t open, int64_t now)
{
    aegis_gen_t   *old, *gen;
    aegis_cell_t  *c;

    gen = aegis_gen_new(f->memory);
    if (gen == NULL) {
        return NULL;
    }

    (void) pthread_mutex_lock(&f->lock);
    aegis_fold_lonely(f, now - 10000);
    old = f->gen;

    if (!aegis_fold_stay(old, gen, open)) {
        /* what was taken over is in gen, the rest in old: both have their cells once,
         * so the open minute may be written in two parts */
        gen->seq = old->seq;
    }

    gen->seq = old->seq;
    old->open = open;
    old->first = gen->first;

    for (c = old->cells; c; c = c->all) {
        c->series->cells = NULL;
        c->series->wanted++;
        f->refused_series += !aegis_hist_settle(old->arena, c);
    }
    for (c = gen->cells; c; c = c->all) {
        c->series->cells = NULL;
    }
    for (c = gen->cells; c; c = c->all) {
        c->next = c->series->cells;
        c->series->cells = c;
    }

    f->gen = gen;
    (void) pthread_mutex_unlock(&f->lock);
    return old;
}

void
aegis_fold_done(aegis_fold_t *f, aegis_gen_t *gen)
{
    aegis_cell_t  *c;

    (void) pthread_mutex_lock(&f->lock);
    for (c = gen->cells; c; c = c->all) {
        c->series->wanted--;
    }
    (void) pthread_mutex_unlock(&f->lock);

    aegis_gen_free(gen);
}

/* --- sketches */

/* SQL keeps a bin's count as int4. */
static uint32_t
aegis_spread_sum(uint32_t a, uint64_t b)
{
    return b < (uint64_t) INT32_MAX - a ? a + (uint32_t) b : INT32_MAX;
}

static int
aegis_spread_room(aegis_arena_t *arena, aegis_spread_t *s)
{
    uint16_t      cap;
    aegis_bin_t  *bins;

    if (s->n < s->cap) {
        return 1;
    }
    if (s->n == AEGIS_FOLD_BINS) {
        s->bins[1].n = aegis_spread_sum(s->bins[1].n, s->bins[0].n);
        memmove(s->bins, s->bins + 1, --s->n * sizeof(aegis_bin_t));
        return 1;
    }

    cap = s->cap ? (uint16_t) (s->cap * 2) : 4;
    bins = aegis_arena_alloc(arena, cap * sizeof(aegis_bin_t));
    if (bins == NULL) {
        return 0;
    }
    if (s->n) {
        memcpy(bins, s->bins, s->n * sizeof(aegis_bin_t));
    }
    s->bins = bins;
    s->cap = cap;

    return 1;
}

int
aegis_spread_add(aegis_arena_t *arena, aegis_spread_t *s, double v, uint64_t n)
{
    int       lo, hi, mid;
    int16_t   bin;

    bin = aegis_sketch_bin(v);

    for (lo = 0, hi = s->n; lo < hi; ) {
        mid = (lo + hi) / 2;
        if (s->bins[mid].bin < bin) {
            lo = mid + 1;
        } else {
            hi = mid;
        }
    }

    s->count += n;
    if (lo < s->n && s->bins[lo].bin == bin) {
        s->bins[lo].n = aegis_spread_sum(s->bins[lo].n, n);
        return 1;
    }

    hi = s->n;
    if (!aegis_spread_room(arena, s)) {
        s->count -= n;
        return 0;
    }
    lo -= hi - s->n;
    lo = lo < 0 ? 0 : lo;

    memmove(s->bins + lo + 1, s->bins + lo, (size_t) (s->n - lo) * sizeof(aegis_bin_t));
    s->bins[lo] = (aegis_bin_t) { bin, aegis_spread_sum(0, n) };
    s->n++;

    return 1;
}

int
aegis_spread_copy(aegis_arena_t *arena, aegis_spread_t *s)
{
    aegis_bin_t  *bins;

    bins = aegis_arena_alloc(arena, s->cap * sizeof(aegis_bin_t));
    if (bins == NULL) {
        return 0;
    }
    if (s->n) {
        memcpy(bins, s->bins, s->n * sizeof(aegis_bin_t));
    }
    s->bins = bins;

    return 1;
}
