/*
 * aegis_fold_calls.c: calls between services: a client's span and the server's span
 * that names it as parent are one call. What finds no other half within ten seconds
 * counts by itself: a client's when it named whom it called (a database does not
 * send spans), a server's as a call from outside.
 * Spans that wait are lost with the process; what was counted is not.
 */
#include <stdlib.h>
#include <string.h>

#define XXH_INLINE_ALL
#include <xxhash.h>

#include "aegis_fold.h"

#define AEGIS_CALLS_OUTSIDE  "urn:aegis:outside"

static int
aegis_calls_count(aegis_gen_t *g, const char *tenant, aegis_str_t caller, aegis_str_t callee,
    int64_t t, double ms, int error)
{
    int64_t             bucket;
    uint64_t            hash;
    aegis_call_cell_t  *c;

    bucket = t / 300000 * 300;
    hash = XXH3_64bits_withSeed(tenant, strlen(tenant), (XXH64_hash_t) bucket);
    hash = XXH3_64bits_withSeed(caller.data, caller.len, hash);
    hash = XXH3_64bits_withSeed(callee.data, callee.len, hash);

    for (c = g->call_slots[hash % AEGIS_FOLD_SMALL]; c && c->hash != hash; c = c->next) {
        /* void */
    }

    if (c == NULL) {
        c = aegis_arena_alloc(g->arena, sizeof(aegis_call_cell_t));
        if (c == NULL) {
            return 0;
        }
        memset(c, 0, sizeof(aegis_call_cell_t));
        c->hash = hash;
        c->tenant = tenant;
        c->bucket = bucket;
        c->caller = aegis_arena_copy(g->arena, caller.data, caller.len);
        c->callee = aegis_arena_copy(g->arena, callee.data, callee.len);
        if (c->caller == NULL || c->callee == NULL) {
            return 0;
        }
        c->next = g->call_slots[hash % AEGIS_FOLD_SMALL];
        g->call_slots[hash % AEGIS_FOLD_SMALL] = c;
        c->all = g->calls;
        g->calls = c;
    }

    c->calls++;
    c->errors += error;

    return aegis_spread_add(g->arena, &c->spread, ms, 1);
}

/* It waits no longer: what it says by itself. */
static int
aegis_calls_alone(aegis_fold_t *f, const aegis_wait_t *w)
{
    if (w->server) {
        return aegis_calls_count(f->gen, w->tenant->name, aegis_view(AEGIS_CALLS_OUTSIDE),
                                 aegis_view(w->service), w->t, w->ms, w->error);
    }

    return w->peer == NULL || aegis_calls_count(f->gen, w->tenant->name, aegis_view(w->service),
                                                aegis_view(w->peer), w->t, w->ms, w->error);
}

void
aegis_fold_lonely(aegis_fold_t *f, int64_t before)
{
    size_t         i;
    aegis_wait_t  *w, **link;

    for (i = 0; f->n_waiting && i < AEGIS_FOLD_SMALL; i++) {
        for (link = &f->waiting[i]; (w = *link); ) {
            if (w->since >= before || !aegis_calls_alone(f, w)) {
                link = &w->next;
                continue;
            }
            *link = w->next;
            f->n_waiting--;
            free(w);
        }
    }
}

static int
aegis_calls_wait(aegis_fold_t *f, aegis_tenant_t *t, const aegis_span_t *x, int64_t now)
{
    size_t          n;
    aegis_wait_t   *w, **slot;

    if (f->n_waiting >= AEGIS_FOLD_WAITING) {
        aegis_fold_lonely(f, INT64_MAX);
    }

    n = x->peer.data ? x->peer.len + 1 : 0;
    w = calloc(1, sizeof(aegis_wait_t) + x->service.len + 1 + n);
    if (w == NULL) {
        return 0;
    }

    w->key[0] = x->key[0];
    w->key[1] = x->key[1];
    w->since = now;
    w->t = x->t;
    w->ms = x->ms;
    w->tenant = t;
    w->server = x->server;
    w->error = x->error;
    memcpy(w->service, x->service.data, x->service.len);
    if (n) {
        w->peer = w->service + x->service.len + 1;
        memcpy(w->peer, x->peer.data, x->peer.len);
    }

    slot = &f->waiting[x->key[0] % AEGIS_FOLD_SMALL];
    w->next = *slot;
    *slot = w;
    f->n_waiting++;

    return 1;
}

static aegis_wait_t *
aegis_calls_other(aegis_fold_t *f, const aegis_tenant_t *t, const aegis_span_t *x)
{
    aegis_wait_t  *w, **link;

    for (link = &f->waiting[x->key[0] % AEGIS_FOLD_SMALL]; (w = *link); link = &w->next) {
        if (w->key[0] == x->key[0] && w->key[1] == x->key[1] && w->tenant == t
            && w->server != x->server)
        {
            *link = w->next;
            f->n_waiting--;
            return w;
        }
    }

    return NULL;
}

int
aegis_fold_spans(aegis_fold_t *f, aegis_tenant_t *t, aegis_signals_t *s)
{
    int            ok;
    aegis_span_t  *x;
    aegis_wait_t  *w;

    for (x = s->spans, ok = 1; x && ok; x = x->next) {
        if (x->root) {
            ok = aegis_calls_count(f->gen, t->name, aegis_view(AEGIS_CALLS_OUTSIDE), x->service,
                                   x->t, x->ms, x->error);
            continue;
        }

        w = aegis_calls_other(f, t, x);
        if (w == NULL) {
            ok = aegis_calls_wait(f, t, x, s->now);
        } else if (x->server) {
            ok = aegis_calls_count(f->gen, t->name, aegis_view(w->service), x->service, x->t,
                                   w->ms, x->error || w->error);
        } else {
            ok = aegis_calls_count(f->gen, t->name, x->service, aegis_view(w->service), x->t,
                                   x->ms, x->error || w->error);
        }
        free(w);
    }

    return ok;
}
