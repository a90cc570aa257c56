/*
 * aegis_fold_logs.c: lines: which template they are of, and how many came of it in
 * each five minutes, by resource.
 */
#include <string.h>

#define XXH_INLINE_ALL
#include <xxhash.h>

#include "aegis_fold.h"

#define AEGIS_FOLD_SAMPLE  2000         /* bytes of the line that is kept */
#define AEGIS_FOLD_LINE    4000         /* bytes of a line that are looked at */

/* At most max bytes; what PostgreSQL takes as text. */
static const char *
aegis_fold_clean(aegis_arena_t *arena, aegis_str_t s, size_t max)
{
    char    *out;
    size_t   n;

    n = s.len < max ? s.len : max;
    out = aegis_arena_copy(arena, s.data, n);
    if (out) {
        aegis_clean(out, n);
    }

    return out;
}

static aegis_pattern_cell_t *
aegis_fold_pattern(aegis_gen_t *g, const aegis_tenant_t *t, const aegis_line_t *l,
    const aegis_pattern_t *p)
{
    uint64_t               hash;
    XXH64_hash_t           seed;
    aegis_str_t            resource = l->resource;
    aegis_pattern_cell_t  *c;

    seed = XXH3_64bits_withSeed(t->name, strlen(t->name), p->id);
    hash = XXH3_64bits_withSeed(resource.data, resource.len, seed);

    for (c = g->pattern_slots[hash % AEGIS_FOLD_SMALL]; c; c = c->next) {
        if (c->hash == hash && strcmp(c->fingerprint, p->fingerprint) == 0) {
            return c;
        }
    }

    c = aegis_arena_alloc(g->arena, sizeof(aegis_pattern_cell_t));
    if (c == NULL) {
        return NULL;
    }
    memset(c, 0, sizeof(aegis_pattern_cell_t));
    c->hash = hash;
    c->tenant = t->name;
    c->first = c->last = l->t;
    c->resource = aegis_fold_clean(g->arena, resource, 512);
    c->text = aegis_fold_clean(g->arena, aegis_view(p->text), AEGIS_DRAIN_TEMPLATE * 4);
    c->sample = aegis_fold_clean(g->arena, l->text, AEGIS_FOLD_SAMPLE);
    memcpy(c->fingerprint, p->fingerprint, sizeof(c->fingerprint));
    if (c->resource == NULL || c->text == NULL || c->sample == NULL) {
        return NULL;
    }

    c->next = g->pattern_slots[hash % AEGIS_FOLD_SMALL];
    g->pattern_slots[hash % AEGIS_FOLD_SMALL] = c;
    c->all = g->patterns;
    g->patterns = c;

    return c;
}

int
aegis_fold_lines(aegis_fold_t *f, aegis_tenant_t *t, aegis_signals_t *s)
{
    int64_t                bucket;
    aegis_str_t            text;
    aegis_line_t          *l;
    aegis_count_t         *n;
    aegis_pattern_t        p;
    aegis_pattern_cell_t  *c;

    for (l = s->lines; l; l = l->next) {
        text = l->text;
        text.len = text.len < AEGIS_FOLD_LINE ? text.len : AEGIS_FOLD_LINE;
        if (!aegis_drain_add(t->drain, text, &p)
            || (c = aegis_fold_pattern(f->gen, t, l, &p)) == NULL)
        {
            return 0;
        }

        bucket = l->t / 300000 * 300;
        for (n = c->counts; n && n->bucket != bucket; n = n->next) {
            /* void */
        }
        if (n == NULL) {
            n = aegis_arena_alloc(f->gen->arena, sizeof(aegis_count_t));
            if (n == NULL) {
                return 0;
            }
            *n = (aegis_count_t) { c->counts, bucket, 0 };
            c->counts = n;
        }

        n->n++;
        c->severity = l->severity > c->severity ? l->severity : c->severity;
        c->first = l->t < c->first ? l->t : c->first;
        c->last = l->t > c->last ? l->t : c->last;
    }

    return 1;
}
