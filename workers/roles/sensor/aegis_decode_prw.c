/*
 * aegis_decode_prw.c: Prometheus remote write 1.0 (prometheus.WriteRequest) and 2.0
 * (io.prometheus.write.v2.Request), unpacked. Native histograms are of
 * aegis_decode_native.c; exemplars and metadata are not taken.
 * Invariant: strings point into the body.
 */
#include <math.h>
#include <string.h>

#include "aegis_signal.h"
#include "aegis_wire.h"

#define AEGIS_PRW_STALE     0x7ff0000000000002ULL
#define AEGIS_PRW_SYMBOLS   1000000
#define AEGIS_PRW_COUNTER   1           /* Metadata.MetricType */

typedef struct {
    unsigned      v;                    /* 1 or 2 */
    unsigned      n_symbols;
    aegis_str_t  *symbols;
} aegis_prw_t;

static aegis_code_t
aegis_prw_bad(aegis_error_t *err, const char *what)
{
    return aegis_error_set(err, AEGIS_E_BAD_REQUEST, "the body is not a write request: %s",
                           what);
}

static int
aegis_prw_counter(aegis_str_t name)
{
    size_t  i, n;

    static const char *const  ends[] = { "_total", "_count", "_sum" };

    for (i = 0; i < sizeof(ends) / sizeof(ends[0]); i++) {
        n = strlen(ends[i]);
        if (name.len > n && memcmp(name.data + name.len - n, ends[i], n) == 0) {
            return 1;
        }
    }

    return 0;
}

/* Label { name = 1, value = 2 } */
static int
aegis_prw_label(aegis_str_t message, aegis_label_t *l)
{
    int           rc;
    aegis_wire_t  w;

    w = aegis_wire(message);
    l->name = l->value = aegis_view("");

    while ((rc = aegis_wire_next(&w)) > 0) {
        if (w.type == AEGIS_WIRE_BYTES && w.field == 1) {
            l->name = w.bytes;
        } else if (w.type == AEGIS_WIRE_BYTES && w.field == 2) {
            l->value = w.bytes;
        }
    }

    return rc == 0;
}

/* Sample { value = 1, timestamp = 2 } */
static int
aegis_prw_sample(aegis_str_t message, uint64_t *ret_bits, int64_t *ret_t)
{
    int           rc;
    aegis_wire_t  w;

    w = aegis_wire(message);
    *ret_bits = 0;
    *ret_t = 0;

    while ((rc = aegis_wire_next(&w)) > 0) {
        if (w.type == AEGIS_WIRE_64 && w.field == 1) {
            *ret_bits = w.number;
        } else if (w.type == AEGIS_WIRE_VARINT && w.field == 2) {
            *ret_t = (int64_t) w.number;
        }
    }

    return rc == 0;
}

/* How many of each: one walk, so that arrays are allocated once. */
static int
aegis_prw_count(const aegis_prw_t *prw, aegis_str_t message, unsigned *labels, unsigned *samples)
{
    int           rc;
    uint64_t      n;
    aegis_wire_t  w, refs;

    w = aegis_wire(message);
    *labels = *samples = 0;

    while ((rc = aegis_wire_next(&w)) > 0) {
        if (w.field == 1 && w.type == AEGIS_WIRE_BYTES && prw->v == 1) {
            (*labels)++;
        } else if (w.field == 1 && w.type == AEGIS_WIRE_BYTES) {
            for (refs = aegis_wire(w.bytes); refs.p < refs.end; (*labels)++) {
                if (!aegis_wire_varint(&refs, &n)) {
                    return 0;
                }
            }
        } else if (w.field == 1 && w.type == AEGIS_WIRE_VARINT && prw->v == 2) {
            (*labels)++;
        } else if (w.field == 2 && w.type == AEGIS_WIRE_BYTES) {
            (*samples)++;
        }
    }

    return rc == 0;
}

/* References to names and values in turn, packed or one by one. */
static int
aegis_prw_ref(const aegis_prw_t *prw, aegis_points_t *p, unsigned *k, uint64_t ref)
{
    if (ref >= prw->n_symbols) {
        return 0;
    }

    if (*k % 2 == 0) {
        p->labels[*k / 2].name = prw->symbols[ref];
        p->labels[*k / 2].value = aegis_view("");
    } else {
        p->labels[*k / 2].value = prw->symbols[ref];
    }
    (*k)++;

    return 1;
}

static int
aegis_prw_refs(const aegis_prw_t *prw, aegis_points_t *p, unsigned *k, const aegis_wire_t *w)
{
    uint64_t      n;
    aegis_wire_t  refs;

    if (w->type == AEGIS_WIRE_VARINT) {
        return aegis_prw_ref(prw, p, k, w->number);
    }

    for (refs = aegis_wire(w->bytes); refs.p < refs.end; ) {
        if (!aegis_wire_varint(&refs, &n) || !aegis_prw_ref(prw, p, k, n)) {
            return 0;
        }
    }

    return 1;
}

static void
aegis_prw_take(aegis_signals_t *s, aegis_points_t *p, uint64_t bits, int64_t t)
{
    double  v;

    v = aegis_wire_double(bits);

    if (bits == AEGIS_PRW_STALE || isnan(v)) {
        s->ignored++;
    } else if (!isfinite(v)) {
        aegis_signals_refuse(s, 1, "a value is not finite");
    } else if (aegis_signals_time(s, t)) {
        p->samples[p->n++] = (aegis_sample_t) { t, v };
        s->taken++;
    }
}

/* Metadata { type = 1 } */
static void
aegis_prw_metadata(aegis_points_t *p, aegis_str_t message)
{
    aegis_wire_t  w;

    for (w = aegis_wire(message); aegis_wire_next(&w) > 0; ) {
        if (w.field == 1 && w.type == AEGIS_WIRE_VARINT) {
            p->counter = w.number == AEGIS_PRW_COUNTER;
        }
    }
}

/* Take __name__ out of the labels. */
static void
aegis_prw_name(aegis_points_t *p)
{
    unsigned  i;

    for (i = 0; i < p->n_labels; i++) {
        if (p->labels[i].name.len == 8 && memcmp(p->labels[i].name.data, "__name__", 8) == 0) {
            p->metric = p->labels[i].value;
            p->n_labels--;
            memmove(&p->labels[i], &p->labels[i + 1],
                    (p->n_labels - i) * sizeof(aegis_label_t));
            return;
        }
    }
}

static aegis_code_t
aegis_prw_fields(const aegis_prw_t *prw, aegis_signals_t *s, aegis_points_t *p,
    aegis_str_t message, unsigned *k, aegis_error_t *err)
{
    int           rc;
    int64_t       t;
    uint64_t      bits;
    aegis_wire_t  w;

    w = aegis_wire(message);

    while ((rc = aegis_wire_next(&w)) > 0) {
        if (w.field == 1 && prw->v == 1 && w.type == AEGIS_WIRE_BYTES) {
            if (!aegis_prw_label(w.bytes, &p->labels[(*k)++])) {
                return aegis_prw_bad(err, "a label");
            }
        } else if (w.field == 1 && prw->v == 2
                   && (w.type == AEGIS_WIRE_BYTES || w.type == AEGIS_WIRE_VARINT)) {
            if (!aegis_prw_refs(prw, p, k, &w)) {
                return aegis_prw_bad(err, "a reference to a symbol");
            }
        } else if (w.field == 2 && w.type == AEGIS_WIRE_BYTES) {
            if (!aegis_prw_sample(w.bytes, &bits, &t)) {
                return aegis_prw_bad(err, "a sample");
            }
            aegis_prw_take(s, p, bits, t);
        } else if (w.field == 5 && prw->v == 2 && w.type == AEGIS_WIRE_BYTES) {
            aegis_prw_metadata(p, w.bytes);
        }
    }

    return rc == 0 ? AEGIS_E_OK : aegis_prw_bad(err, "a series");
}

static aegis_code_t
aegis_prw_series(const aegis_prw_t *prw, aegis_signals_t *s, aegis_str_t message,
    aegis_error_t *err)
{
    unsigned         labels, samples, k;
    aegis_code_t     rc;
    aegis_points_t  *p;

    if (!aegis_prw_count(prw, message, &labels, &samples)) {
        return aegis_prw_bad(err, "a series");
    }
    if (prw->v == 2 && labels % 2) {
        return aegis_prw_bad(err, "an odd number of label references");
    }

    p = aegis_signals_points(s);
    if (p) {
        p->labels = aegis_arena_alloc(s->arena, (labels + 1) * sizeof(aegis_label_t));
        p->samples = aegis_arena_alloc(s->arena, (samples + 1) * sizeof(aegis_sample_t));
    }
    if (p == NULL || p->labels == NULL || p->samples == NULL) {
        return aegis_error_set(err, AEGIS_E_TOO_LARGE, "the request is too large: send fewer series");
    }

    k = 0;
    rc = aegis_prw_fields(prw, s, p, message, &k, err);
    if (rc != AEGIS_E_OK) {
        return rc;
    }

    p->n_labels = prw->v == 1 ? k : k / 2;
    aegis_prw_name(p);
    p->counter |= aegis_prw_counter(p->metric);

    if (p->metric.len == 0 || p->metric.len > AEGIS_LABEL_NAME_MAX || !aegis_points_finish(s, p)) {
        s->taken -= p->n;
        aegis_signals_refuse(s, p->n, p->metric.len == 0 ? "a series has no name"
            : "the labels of a series are doubled, too long or more than %d", AEGIS_LABELS_MAX);
        p->n = 0;
        return AEGIS_E_OK;
    }

    return aegis_decode_native(s, p, message, prw->v == 1 ? 4 : 3, err);
}

aegis_code_t
aegis_decode_prw1(aegis_signals_t *s, aegis_str_t body, aegis_error_t *err)
{
    int           rc;
    aegis_prw_t   prw = { 1, 0, NULL };
    aegis_code_t  code;
    aegis_wire_t  w;

    w = aegis_wire(body);

    while ((rc = aegis_wire_next(&w)) > 0) {
        if (w.field == 1 && w.type == AEGIS_WIRE_BYTES) {
            code = aegis_prw_series(&prw, s, w.bytes, err);
            if (code != AEGIS_E_OK) {
                return code;
            }
        }
    }

    return rc == 0 ? AEGIS_E_OK : aegis_prw_bad(err, "it is cut off or no protobuf");
}

/* Symbols come first in practice, but need not. */
static aegis_code_t
aegis_prw_symbols(aegis_prw_t *prw, aegis_signals_t *s, aegis_str_t body, aegis_error_t *err)
{
    int           rc;
    unsigned      n;
    aegis_wire_t  w;

    for (n = 0, w = aegis_wire(body); (rc = aegis_wire_next(&w)) > 0; ) {
        n += w.field == 4 && w.type == AEGIS_WIRE_BYTES;
    }
    if (rc != 0) {
        return aegis_prw_bad(err, "it is cut off or no protobuf");
    }

    prw->symbols = n > AEGIS_PRW_SYMBOLS ? NULL
                   : aegis_arena_alloc(s->arena, (n + 1) * sizeof(aegis_str_t));
    if (prw->symbols == NULL) {
        return aegis_error_set(err, AEGIS_E_TOO_LARGE, "the request has too many symbols");
    }

    for (w = aegis_wire(body); aegis_wire_next(&w) > 0; ) {
        if (w.field == 4 && w.type == AEGIS_WIRE_BYTES) {
            prw->symbols[prw->n_symbols++] = w.bytes;
        }
    }

    return prw->n_symbols == 0 || prw->symbols[0].len == 0 ? AEGIS_E_OK
           : aegis_prw_bad(err, "the first symbol is not empty");
}

aegis_code_t
aegis_decode_prw2(aegis_signals_t *s, aegis_str_t body, aegis_error_t *err)
{
    int           rc;
    aegis_prw_t   prw = { 2, 0, NULL };
    aegis_code_t  code;
    aegis_wire_t  w;

    code = aegis_prw_symbols(&prw, s, body, err);
    w = aegis_wire(body);

    while (code == AEGIS_E_OK && (rc = aegis_wire_next(&w)) > 0) {
        if (w.field == 5 && w.type == AEGIS_WIRE_BYTES) {
            code = aegis_prw_series(&prw, s, w.bytes, err);
        }
    }

    return code;
}
