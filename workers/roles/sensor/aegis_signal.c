/*
 * aegis_signal.c: what decoders have in common: appending to a batch, the times
 * that are taken, and the order and hash of labels.
 * Invariant: a series has one hash, in whatever order its labels came.
 */
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define XXH_INLINE_ALL
#include <xxhash.h>

#include "aegis_json.h"
#include "aegis_signal.h"

void
aegis_clean(char *text, size_t len)
{
    size_t    i, k;
    uint32_t  cp;

    for (i = 0; i < len; i += k) {
        k = (unsigned char) text[i] < ' ' ? 0 : aegis_utf8_next(text + i, len - i, &cp);
        if (k == 0) {
            text[i] = text[i] == '\n' || text[i] == '\t' ? ' ' : '?';
            k = 1;
        }
    }
}

void
aegis_signals_init(aegis_signals_t *s, aegis_arena_t *arena, const char *tenant,
    int64_t now, int64_t past, int64_t future)
{
    memset(s, 0, sizeof(aegis_signals_t));
    s->arena = arena;
    s->tenant = tenant;
    s->now = now;
    s->past = past;
    s->future = future;
    s->points_end = &s->points;
    s->lines_end = &s->lines;
    s->spans_end = &s->spans;
    s->happenings_end = &s->happenings;
}

void
aegis_signals_refuse(aegis_signals_t *s, unsigned n, const char *format, ...)
{
    va_list  ap;

    if (s->refused == 0) {
        va_start(ap, format);
        (void) vsnprintf(s->why, sizeof(s->why), format, ap);
        va_end(ap);
    }

    s->refused += n;
}

int
aegis_signals_time(aegis_signals_t *s, int64_t t)
{
    if (t < s->now - s->past) {
        aegis_signals_refuse(s, 1, "a time is more than %lld s in the past",
                             (long long) s->past / 1000);
        return 0;
    }

    if (t > s->now + s->future) {
        aegis_signals_refuse(s, 1, "a time is more than %lld s in the future",
                             (long long) s->future / 1000);
        return 0;
    }

    return 1;
}

#define AEGIS_SIGNALS_ADD(type, name, end)                                    \
type *                                                                        \
name(aegis_signals_t *s)                                                      \
{                                                                             \
    type  *x;                                                                 \
                                                                              \
    x = aegis_arena_alloc(s->arena, sizeof(type));                            \
    if (x) {                                                                  \
        memset(x, 0, sizeof(type));                                           \
        *s->end = x;                                                          \
        s->end = &x->next;                                                    \
    }                                                                         \
                                                                              \
    return x;                                                                 \
}

AEGIS_SIGNALS_ADD(aegis_points_t, aegis_signals_points, points_end)
AEGIS_SIGNALS_ADD(aegis_line_t, aegis_signals_line, lines_end)
AEGIS_SIGNALS_ADD(aegis_span_t, aegis_signals_span, spans_end)
AEGIS_SIGNALS_ADD(aegis_happening_t, aegis_signals_happening, happenings_end)

static int
aegis_label_order(const void *a, const void *b)
{
    int                   c;
    size_t                n;
    const aegis_label_t  *x = a, *y = b;

    n = x->name.len < y->name.len ? x->name.len : y->name.len;
    c = n ? memcmp(x->name.data, y->name.data, n) : 0;

    return c ? c : (x->name.len > y->name.len) - (x->name.len < y->name.len);
}

void
aegis_points_hash(const char *tenant, aegis_points_t *p)
{
    unsigned         i;
    XXH3_state_t     state;
    XXH128_hash_t    h;

    XXH3_128bits_reset(&state);
    XXH3_128bits_update(&state, tenant, strlen(tenant) + 1);
    XXH3_128bits_update(&state, p->metric.data, p->metric.len);
    XXH3_128bits_update(&state, "\0", 1);
    if (p->resource.data) {
        XXH3_128bits_update(&state, p->resource.data, p->resource.len);
    }

    for (i = 0; i < p->n_labels; i++) {
        XXH3_128bits_update(&state, "\xff", 1);
        XXH3_128bits_update(&state, p->labels[i].name.data, p->labels[i].name.len);
        XXH3_128bits_update(&state, "\xfe", 1);
        XXH3_128bits_update(&state, p->labels[i].value.data, p->labels[i].value.len);
    }

    h = XXH3_128bits_digest(&state);
    p->hash[0] = h.low64;
    p->hash[1] = h.high64;
}

int
aegis_points_finish(aegis_signals_t *s, aegis_points_t *p)
{
    int       c, sorted;
    unsigned  i;

    if (p->n_labels > AEGIS_LABELS_MAX) {
        return 0;
    }

    for (i = 0, sorted = 1; i < p->n_labels; i++) {
        if (p->labels[i].name.len == 0 || p->labels[i].name.len > AEGIS_LABEL_NAME_MAX
            || p->labels[i].value.len > AEGIS_LABEL_VALUE_MAX)
        {
            return 0;
        }
        if (i && sorted) {
            sorted = aegis_label_order(&p->labels[i - 1], &p->labels[i]) < 0;
        }
    }

    if (!sorted) {
        qsort(p->labels, p->n_labels, sizeof(aegis_label_t), aegis_label_order);
        for (i = 1; i < p->n_labels; i++) {
            c = aegis_label_order(&p->labels[i - 1], &p->labels[i]);
            if (c == 0) {
                return 0;
            }
        }
    }

    aegis_points_hash(s->tenant, p);
    return 1;
}
