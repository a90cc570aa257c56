/*
 * aegis_otel.h: the spans of a worker process: one tracer (trace/) for all its
 * roles, by the settings otel.*. Without otel.endpoint every call returns at
 * once, and traces are carried as they came.
 */
#ifndef AEGIS_OTEL_H
#define AEGIS_OTEL_H

#include "aegis_conf.h"
#include "aegis_event.h"
#include "aegis_span.h"

/* What is wrong with the settings, and no more. */
aegis_code_t aegis_otel_check(const aegis_conf_t *conf, aegis_error_t *err);

/* Before the roles; stop after them. Stop waits a fifth of a second at most. */
aegis_code_t aegis_otel_start(const aegis_conf_t *conf, aegis_error_t *err);
void aegis_otel_stop(void);

int aegis_otel_on(void);

/* Log that the collector has gone or is back, and set the gauge of the queue.
 * Now and then, by one thread. */
void aegis_otel_tell(void);

/*
 * 1: the span was begun, it starts now, and is to be ended. 0: none is wanted.
 * A context that is "" begins a new trace, sampled by otel.ratio or not: then
 * fresh, when not NULL, gets what is to be carried on in either case.
 */
int aegis_otel_begin(aegis_span_t *span, aegis_str_t context, aegis_span_kind_t kind,
    char fresh[AEGIS_CONTEXT_MAX + 1], const char *name, ...)
    __attribute__((format(printf, 5, 6)));

/* What every span of a message says of it. */
void aegis_otel_message(aegis_span_t *span, const char *transport, const char *operation,
    aegis_str_t subject, aegis_str_t id, aegis_str_t tenant, aegis_str_t case_id);

/* It ends now; error is a code of errors.def, or NULL. */
void aegis_otel_end(aegis_span_t *span, const char *error);

#endif
