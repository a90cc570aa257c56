/*
 * aegis_relay_span.c: the spans of what the relay publishes: each begins when
 * its row was written and ends when the broker has it, so that it shows how
 * long a message waited in the outbox.
 */
#include <stdlib.h>
#include <string.h>

#include "aegis_otel.h"
#include "aegis_relay.h"
#include "aegis_time.h"

struct aegis_relay_trace_s {
    int           begun;
    aegis_span_t  span;
    char          context[AEGIS_CONTEXT_MAX + 1];
};

void
aegis_relay_span_init(aegis_relay_t *r)
{
    if (aegis_otel_on()) {
        r->traces = calloc(AEGIS_RELAY_BATCH, sizeof(aegis_relay_trace_t));
    }
}

/* 2026-11-21T07:00:00.123456Z */
static uint64_t
aegis_relay_span_time(const char *created_at)
{
    int64_t      s;
    uint64_t     us;
    const char  *dot;

    if (!aegis_time_parse(aegis_view(created_at), &s) || s < 0) {
        return 0;
    }

    dot = strchr(created_at, '.');
    us = dot ? strtoull(dot + 1, NULL, 10) : 0;
    return (uint64_t) s * 1000000000u + us * 1000;
}

const char *
aegis_relay_span_begin(aegis_relay_t *r, int i, const char *subject, const char *context,
    const char *created_at)
{
    uint64_t              at;
    aegis_relay_trace_t  *t;

    if (r->traces == NULL) {
        return context;
    }

    t = &r->traces[i];
    t->context[0] = '\0';
    t->begun = aegis_otel_begin(&t->span, aegis_view(context),
                                AEGIS_SPAN_PRODUCER, t->context, "publish %s", subject);

    at = aegis_relay_span_time(created_at);
    if (at) {
        t->span.start_ns = at;
    }

    return t->context[0] ? t->context : context;
}

void
aegis_relay_span_end(aegis_worker_t *w)
{
    int                   i;
    aegis_relay_t        *r;
    aegis_relay_row_t    *row;
    aegis_relay_trace_t  *t;

    r = w->data;

    for (i = 0; r->traces != NULL && i < r->n; i++) {
        row = &r->rows[i];
        t = &r->traces[i];
        if (!t->begun || !row->out.published) {
            continue;                   /* it is published again, under a new span */
        }

        aegis_otel_message(&t->span, aegis_conf_transport(w->conf, row->out.subject), "send",
                           row->out.subject, row->out.id,
                           aegis_view(row->tenant), row->out.key);
        aegis_span_str(&t->span, "aegis.role", aegis_str("relay"));
        aegis_otel_end(&t->span, NULL);
    }
}
