/*
 * aegis_span.h: spans of a trace: what one says, whether it is sampled, and a
 * batch of them as OTLP's JSON. Also the trace context that rows and messages
 * carry: a traceparent and, behind a blank, the tracestate if there is one.
 * Who queues and sends spans is trace/.
 */
#ifndef AEGIS_SPAN_H
#define AEGIS_SPAN_H

#include <stdint.h>

#include "aegis_http.h"

#define AEGIS_TRACESTATE_MAX  512
#define AEGIS_CONTEXT_MAX     (AEGIS_TRACEPARENT_LEN + 1 + AEGIS_TRACESTATE_MAX)

#define AEGIS_SPAN_ATTRS      14
#define AEGIS_SPAN_TEXT       736

/* OTLP's numbers */
typedef enum {
    AEGIS_SPAN_INTERNAL = 1,
    AEGIS_SPAN_SERVER,
    AEGIS_SPAN_CLIENT,
    AEGIS_SPAN_PRODUCER,
    AEGIS_SPAN_CONSUMER
} aegis_span_kind_t;

typedef struct {
    const char  *key;               /* a constant */
    int64_t      number;
    uint16_t     at, len;           /* of a string, in text */
    uint8_t      is_number;
} aegis_span_attr_t;

/* Of a fixed size and without pointers to anything that ends, so that it can
 * be copied into a queue. */
typedef struct {
    char               trace_id[33];
    char               span_id[17];
    char               parent_id[17];   /* "": it is the first of its trace */
    uint8_t            kind;
    uint8_t            error;           /* it failed: error_text may say how */
    uint8_t            n;
    uint8_t            lost;            /* attributes that did not fit */
    uint16_t           name_len;        /* text begins with the name, then the state */
    uint16_t           state_len;
    uint16_t           used;
    uint64_t           start_ns;        /* since 1970 */
    uint64_t           end_ns;
    aegis_span_attr_t  attr[AEGIS_SPAN_ATTRS];
    char               text[AEGIS_SPAN_TEXT];
} aegis_span_t;

/* What all spans of one process have in common. */
typedef struct {
    const char  *service;           /* service.name */
    const char  *instance;          /* service.instance.id */
    const char  *host;
    int64_t      pid;
} aegis_span_source_t;

/* The tracestate that goes on, of header lines joined with commas: "" when it
 * breaks the grammar of W3C Trace Context; whole members only when it is too
 * long. Returns its length. */
size_t aegis_tracestate(aegis_str_t header, char out[AEGIS_TRACESTATE_MAX + 1]);

/* The two parts of a context; parts that are not there or not valid are "". */
void aegis_context_split(aegis_str_t context, aegis_str_t *ret_parent,
    aegis_str_t *ret_state);

/* Does the context ask for spans? */
int aegis_context_sampled(aegis_str_t context);

/* Set the sampled flag of a trace that begins here, by its own random bits, so
 * that everybody with this ratio decides the same. */
void aegis_context_sample(char parent[AEGIS_TRACEPARENT_LEN + 1], double ratio);

/* A span below context's. random becomes its id. */
void aegis_span_begin(aegis_span_t *span, aegis_str_t context,
    const unsigned char random[8], aegis_span_kind_t kind, const char *name, ...)
    __attribute__((format(printf, 5, 6)));

/* A span as the sender has begun it: a context whose parent id is span_id. */
void aegis_span_parent(aegis_span_t *span, aegis_str_t parent_id);

/* An empty or absent string is left out. */
void aegis_span_str(aegis_span_t *span, const char *key, aegis_str_t value);
void aegis_span_int(aegis_span_t *span, const char *key, int64_t value);

/* What goes on below this span; its length. */
size_t aegis_span_context(const aegis_span_t *span, char out[AEGIS_CONTEXT_MAX + 1]);

/* ExportTraceServiceRequest in proto3's JSON: malloc'ed, NULL: no memory. */
char *aegis_span_encode(const aegis_span_source_t *source, const aegis_span_t *spans,
    size_t n, size_t *ret_len);

/* Spans that an answer of a collector says it did not take. */
int64_t aegis_span_rejected(aegis_str_t answer);

#endif
