/*
 * aegis_tracer.h: spans on their way out: a bounded queue that never makes
 * anybody wait, and a thread that sends what is in it to a collector, OTLP over
 * HTTP. Both shells use it. It logs nothing: what happens is counted, and
 * aegis_tracer_news() says when the collector goes away or comes back.
 */
#ifndef AEGIS_TRACER_H
#define AEGIS_TRACER_H

#include "aegis_span.h"

typedef enum {
    AEGIS_TRACER_EXPORTED,          /* the collector has it */
    AEGIS_TRACER_DROPPED,           /* the queue was full, or the process ended */
    AEGIS_TRACER_REJECTED,          /* the collector took the batch, but not it */
    AEGIS_TRACER_FAILED,            /* given up after several tries, or refused */
    AEGIS_TRACER_RESULTS
} aegis_tracer_result_t;

typedef struct aegis_tracer_s  aegis_tracer_t;

typedef struct {
    const char            *url;         /* of /v1/traces, http or https */
    const char            *ca_file;     /* NULL: the system's */
    const char            *headers;     /* lines "Name: value", or NULL */
    double                 ratio;       /* of the traces that begin here */
    size_t                 queue;       /* spans, a power of two */
    aegis_span_source_t    source;
    /* called by any thread, the sender's too */
    void                 (*count)(aegis_tracer_result_t result, uint64_t n);
} aegis_tracer_conf_t;

/* "exported", ... */
const char *aegis_tracer_result(aegis_tracer_result_t result);

/* Strings are copied. NULL: no memory, no thread, or libcurl does not take
 * what it is told. After fork(). */
aegis_tracer_t *aegis_tracer_start(const aegis_tracer_conf_t *conf);

/* What is queued is sent if the collector was there a moment ago and has it
 * within a fifth of a second; else it is dropped. */
void aegis_tracer_stop(aegis_tracer_t *t);

double aegis_tracer_ratio(const aegis_tracer_t *t);

/* Queued, or dropped and counted; never waits. Any thread. */
void aegis_tracer_push(aegis_tracer_t *t, const aegis_span_t *span);

size_t aegis_tracer_queued(const aegis_tracer_t *t);

/* 0: nothing new; 1: the collector has gone, detail says how; 2: it is back. */
int aegis_tracer_news(aegis_tracer_t *t, char *detail, size_t size);

/* Nanoseconds since 1970. */
uint64_t aegis_tracer_now(void);

#endif
