/*
 * aegis_decode_traces.c: OTLP traces: spans of a server's and of a client's side,
 * with what is needed to find their other half. Spans of other kinds say nothing of
 * calls between services; they are taken and left.
 */
#include <stdio.h>
#include <string.h>

#define XXH_INLINE_ALL
#include <xxhash.h>

#include "aegis_otlp.h"

enum { AEGIS_SPAN_SERVER = 2, AEGIS_SPAN_CLIENT = 3, AEGIS_SPAN_PRODUCER = 4,
       AEGIS_SPAN_CONSUMER = 5 };

#define AEGIS_SPAN_ERROR  2

static void
aegis_traces_key(const ProtobufCBinaryData *trace, const ProtobufCBinaryData *span,
    uint64_t key[2])
{
    XXH3_state_t   state;
    XXH128_hash_t  h;

    XXH3_128bits_reset(&state);
    XXH3_128bits_update(&state, trace->data, trace->len);
    XXH3_128bits_update(&state, span->data, span->len);
    h = XXH3_128bits_digest(&state);
    key[0] = h.low64;
    key[1] = h.high64;
}

/* Whom a client calls, when it says so: a service, a database, an address. */
static aegis_str_t
aegis_traces_peer(aegis_signals_t *s, const Otlp__Span *x)
{
    char           urn[300], *copy;
    size_t         i, k;
    unsigned       n;
    aegis_label_t  labels[AEGIS_LABELS_MAX];

    static const struct { const char *name, *prefix; } says[] = {
        { "peer.service", "urn:svc:" }, { "db.system", "urn:db:" }, { "db.system.name", "urn:db:" },
        { "messaging.system", "urn:queue:" }, { "rpc.service", "urn:svc:" },
        { "server.address", "urn:host:" }, { "net.peer.name", "urn:host:" }
    };

    n = aegis_otlp_labels(s, x->attributes, x->n_attributes, labels, AEGIS_LABELS_MAX);

    for (i = 0; i < sizeof(says) / sizeof(says[0]); i++) {
        for (k = 0; k < n; k++) {
            if (labels[k].value.len && labels[k].name.len == strlen(says[i].name)
                && memcmp(labels[k].name.data, says[i].name, labels[k].name.len) == 0)
            {
                (void) snprintf(urn, sizeof(urn), "%s%.*s", says[i].prefix,
                                (int) (labels[k].value.len < 200 ? labels[k].value.len : 200),
                                labels[k].value.data);
                aegis_clean(urn, strlen(urn));
                copy = aegis_arena_copy(s->arena, urn, strlen(urn));
                return copy ? aegis_view(copy) : AEGIS_NO_STR;
            }
        }
    }

    return AEGIS_NO_STR;
}

static int
aegis_traces_span(aegis_signals_t *s, aegis_str_t service, const Otlp__Span *x)
{
    int64_t        t;
    aegis_span_t  *p;

    t = aegis_otlp_time(s, x->end_time_unix_nano);
    if (x->trace_id.len != 16 || x->span_id.len != 8) {
        aegis_signals_refuse(s, 1, "a span has no trace id of 16 or no span id of 8 bytes");
        return 1;
    }
    if (!aegis_signals_time(s, t)) {
        return 1;
    }

    s->taken++;
    if (x->kind < AEGIS_SPAN_SERVER || x->kind > AEGIS_SPAN_CONSUMER) {
        return 1;
    }

    p = aegis_signals_span(s);
    if (p == NULL) {
        return 0;
    }

    p->t = t;
    p->ms = x->end_time_unix_nano > x->start_time_unix_nano
            ? (double) (x->end_time_unix_nano - x->start_time_unix_nano) / 1e6 : 0;
    p->service = service;
    p->server = x->kind == AEGIS_SPAN_SERVER || x->kind == AEGIS_SPAN_CONSUMER;
    p->error = x->status && x->status->code == AEGIS_SPAN_ERROR;
    p->root = p->server && x->parent_span_id.len != 8;
    p->peer = p->server ? AEGIS_NO_STR : aegis_traces_peer(s, x);
    aegis_traces_key(&x->trace_id, p->server && !p->root ? &x->parent_span_id : &x->span_id, p->key);

    return 1;
}

static aegis_code_t
aegis_traces_take(aegis_signals_t *s, const Otlp__TracesRequest *r, aegis_error_t *err)
{
    size_t                      i, k, n;
    uint64_t                    used;
    unsigned                    n_labels;
    aegis_str_t                 service;
    aegis_label_t               labels[AEGIS_LABELS_MAX];
    const Otlp__ResourceSpans  *rs;

    for (i = 0; i < r->n_resource_spans; i++) {
        rs = r->resource_spans[i];
        n_labels = rs->resource == NULL ? 0 : aegis_otlp_labels(s, rs->resource->attributes,
                        rs->resource->n_attributes, labels, AEGIS_LABELS_MAX);
        service = aegis_resource_of(s->arena, labels, n_labels, &used);

        for (k = 0; k < rs->n_scope_spans; k++) {
            for (n = 0; n < rs->scope_spans[k]->n_spans; n++) {
                if (!aegis_traces_span(s, service, rs->scope_spans[k]->spans[n])) {
                    return aegis_error_set(err, AEGIS_E_TOO_LARGE, "the request has too many spans");
                }
            }
        }
    }

    return AEGIS_E_OK;
}

aegis_code_t
aegis_decode_traces(aegis_signals_t *s, aegis_str_t body, aegis_error_t *err)
{
    ProtobufCMessage  *m;

    m = aegis_otlp_unpack(&otlp__traces_request__descriptor, s, body, err);
    return m ? aegis_traces_take(s, (void *) m, err) : err->code;
}

aegis_code_t
aegis_decode_traces_json(aegis_signals_t *s, aegis_str_t body, aegis_error_t *err)
{
    ProtobufCMessage  *m;

    m = aegis_otlp_unpack_json(&otlp__traces_request__descriptor, s, body, err);
    return m ? aegis_traces_take(s, (void *) m, err) : err->code;
}
