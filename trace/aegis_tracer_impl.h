/*
 * aegis_tracer_impl.h: what aegis_tracer.c and aegis_tracer_send.c share.
 * Private to them.
 */
#ifndef AEGIS_TRACER_IMPL_H
#define AEGIS_TRACER_IMPL_H

#include "aegis_tracer.h"

#define AEGIS_TRACER_DETAIL  256

typedef struct aegis_tracer_sender_s  aegis_tracer_sender_t;

typedef struct {
    int      sent;          /* the collector has it, all but rejected */
    int      again;         /* it may work later */
    int      after_ms;      /* what the collector asks to wait, 0: nothing */
    int64_t  rejected;
    char     detail[AEGIS_TRACER_DETAIL];   /* why it was not sent */
} aegis_tracer_answer_t;

aegis_tracer_sender_t *aegis_tracer_sender_new(const aegis_tracer_conf_t *conf);
void aegis_tracer_sender_free(aegis_tracer_sender_t *s);

/* Up to ms, or until somebody wakes it. */
void aegis_tracer_sender_wait(aegis_tracer_sender_t *s, int ms);
void aegis_tracer_sender_wake(aegis_tracer_sender_t *s);     /* any thread */

/* limit_ms 0: as long as a transfer may take. Given up when *stopping. */
void aegis_tracer_sender_post(aegis_tracer_sender_t *s, const char *body, size_t len,
    int limit_ms, const int *stopping, aegis_tracer_answer_t *ret);

#endif
