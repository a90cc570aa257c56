/*
 * aegis_relay.h: what the relay's files share.
 */
#ifndef AEGIS_RELAY_H
#define AEGIS_RELAY_H

#include "aegis_role.h"

#define AEGIS_RELAY_PARTS  16       /* aegis.outbox_part() */
#define AEGIS_RELAY_BATCH  1000

typedef struct aegis_relay_trace_s  aegis_relay_trace_t;

/* One outbox row; the strings are in copy. */
typedef struct {
    char             *copy;
    const char       *id, *tenant, *case_id, *part, *msg_id, *subject, *at;
    aegis_bus_out_t   out;          /* owns body */
} aegis_relay_row_t;

typedef struct {
    unsigned            session;    /* whose locks owned stands for */
    int                 n_owned;
    unsigned char       owned[AEGIS_RELAY_PARTS];
    int64_t             lock_at;    /* when to try for more */
    int64_t             lag_at;
    int64_t             maintain_at;
    int64_t             settle_at;
    int64_t             reconcile_at;
    int64_t             audit_at;
    int64_t             active_until;
    int64_t             fetched_at;
    int                 burst;          /* rows of the last fetch */
    int                 delay;
    int                 partly;     /* a transport rests: only the other's rows */
    int                 bus_failed; /* in this tick */
    int                 deep;       /* there was more than a batch: let SQL choose */
    unsigned            seed;

    /* the last batch, published and to be marked with the next fetch */
    char               *done;       /* ids, as an array; NULL: none */
    int                 n_done;
    char                done_since[48], done_until[48];

    aegis_relay_trace_t *traces;    /* of rows[0]…; NULL: spans are off */

    int                 n;
    aegis_relay_row_t   rows[AEGIS_RELAY_BATCH];
    aegis_bus_out_t     out[AEGIS_RELAY_BATCH];
    int                 index[AEGIS_RELAY_BATCH];
    int                 failed[AEGIS_RELAY_BATCH];

    aegis_metric_t     *published, *errors, *dead_letters, *reconciled;
    aegis_metric_t     *sealed, *unsealed;
    aegis_metric_t     *pending, *oldest, *async, *partitions, *bus_up, *publish_seconds;
} aegis_relay_t;

int64_t aegis_relay_now(void);

/* Count and log a failure; clears err. */
void aegis_relay_trouble(aegis_worker_t *w, const char *event, aegis_error_t *err);

void aegis_relay_span_init(aegis_relay_t *r);

/* The span of row i; what its message carries as its trace context. */
const char *aegis_relay_span_begin(aegis_relay_t *r, int i, const char *subject,
    const char *context, const char *created_at);

/* Of all rows that are published. */
void aegis_relay_span_end(aegis_worker_t *w);

void aegis_relay_house_init(aegis_relay_t *r);

/* Partitions of tables, lost commands and the audit's seals, when due, by the owner of part 0.
 * Returns the milliseconds until it is due again. */
int aegis_relay_house(aegis_worker_t *w, int64_t now);

/* The outbox's lag into the metrics. */
void aegis_relay_lag(aegis_worker_t *w);

/* --- aegis_relay_mark.c */

/* Mark what of the batch is published. */
aegis_code_t aegis_relay_mark(aegis_worker_t *w, int *ret_marked, aegis_error_t *err);

/* The same for a batch that is published wholly, with the next aegis_relay_next(). */
aegis_code_t aegis_relay_mark_later(aegis_worker_t *w, aegis_error_t *err);

/* Mark what is left to be marked, and read up to limit rows, as aegis_pg_sql() does; the
 * one behind them says that there are more. limit 0: only mark. */
aegis_code_t aegis_relay_next(aegis_worker_t *w, int limit, int *ret_n, aegis_error_t *err);

/* Only mark, when something is left to be. */
void aegis_relay_mark_rest(aegis_worker_t *w);

/* Of the partitions that this relay owns, as an array. */
void aegis_relay_parts(const aegis_relay_t *r, char *buf, size_t size);

#endif
