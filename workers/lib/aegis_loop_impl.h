/*
 * aegis_loop_impl.h: what aegis_loop.c and aegis_loop_batch.c share. Private
 * to them.
 */
#ifndef AEGIS_LOOP_IMPL_H
#define AEGIS_LOOP_IMPL_H

#include <pthread.h>

#include "aegis_loop.h"
#include "aegis_otel.h"

#define AEGIS_LOOP_BATCH  256

typedef struct aegis_loop_conf_s  aegis_loop_conf_t;

/* The span of one message under way, and what its effects carry on. */
typedef struct {
    int           begun;
    aegis_span_t  span;
    char          context[AEGIS_CONTEXT_MAX + 1];
} aegis_loop_trace_t;

struct aegis_loop_s {
    aegis_worker_t       w;
    pthread_t            thread;
    char                 owner[192];
    char                 name[64];      /* application_name */
    aegis_loop_conf_t   *conf;
    unsigned             seed;
    int64_t              beat;          /* atomic: when it was last seen alive */
    int                  bus_delay;     /* ms, grows while the bus is away */
    int                  db_delay;
    int64_t              void_until;    /* deliveries up to then say nothing of a message */
    size_t               burst;         /* messages of the last batch */

    aegis_bus_msg_t      raw[AEGIS_LOOP_BATCH];
    aegis_delivery_t     d[AEGIS_LOOP_BATCH];
    aegis_loop_trace_t  *traces;        /* of d[0]…; NULL: spans are off */

    aegis_metric_t      *done, *retry, *dead, *unavailable, *errors;
    aegis_metric_t      *dead_letters, *batch_size, *handle_seconds;
    aegis_metric_t      *bus_up, *db_up;
};

/* Decode, handle and settle n messages of loop->raw. UNAVAILABLE: the database
 * is away, everything was nak'ed. */
aegis_code_t aegis_loop_batch(aegis_loop_t *loop, size_t n, aegis_error_t *err);

#endif
