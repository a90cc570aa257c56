/*
 * aegis_way_rows.h: what the ways of a batch have come to, as the arrays that
 * aegis.way_commit takes (sql/functions/23_way.sql says what they are).
 */
#ifndef AEGIS_WAY_ROWS_H
#define AEGIS_WAY_ROWS_H

#include "aegis_array.h"
#include "aegis_buf.h"
#include "aegis_way_doc.h"

/* The columns in the function's order, with what their elements are sent as. */
#define AEGIS_WAY_COLUMNS                                                               \
    AEGIS_W(tenant, TEXT) AEGIS_W(case_id, TEXT) AEGIS_W(for_version, INT4)             \
    AEGIS_W(traceparent, TEXT) AEGIS_W(go_on, TEXT) AEGIS_W(counted, TEXT)              \
    AEGIS_W(complete, BOOL) AEGIS_W(verdict, TEXT) AEGIS_W(not_before, TEXT)            \
    AEGIS_W(not_after, TEXT) AEGIS_W(passed, BOOL)                                      \
    AEGIS_W(of, INT4) AEGIS_W(event, TEXT) AEGIS_W(was, TEXT) AEGIS_W(actor, TEXT)      \
    AEGIS_W(reason, TEXT) AEGIS_W(correlation, TEXT) AEGIS_W(key, TEXT)                 \
    AEGIS_W(meta, JSON)                                                                 \
    AEGIS_W(move, INT4) AEGIS_W(msg_id, TEXT) AEGIS_W(subject, TEXT)                    \
    AEGIS_W(data, JSON)                                                                 \
    AEGIS_W(event_id, TEXT) AEGIS_W(event_version, INT4) AEGIS_W(severity, TEXT)        \
    AEGIS_W(kind, TEXT) AEGIS_W(title, TEXT) AEGIS_W(summary, TEXT)                     \
    AEGIS_W(labels, JSON) AEGIS_W(links, JSON)                                          \
    AEGIS_W(plan_id, TEXT) AEGIS_W(plan_version, INT4) AEGIS_W(revision, INT4)          \
    AEGIS_W(template, TEXT) AEGIS_W(hash, TEXT) AEGIS_W(missing, JSON)                  \
    AEGIS_W(risk_score, FLOAT8) AEGIS_W(plan, JSON) AEGIS_W(params, JSON)               \
    AEGIS_W(decision_id, TEXT) AEGIS_W(decision_version, INT4) AEGIS_W(rule, TEXT)      \
    AEGIS_W(why, TEXT) AEGIS_W(checks, JSON) AEGIS_W(policy_hash, TEXT)                 \
    AEGIS_W(source, TEXT) AEGIS_W(service, TEXT)                                        \
    AEGIS_W(exec_id, TEXT) AEGIS_W(run_version, INT4) AEGIS_W(owner, TEXT)              \
    AEGIS_W(step_of, INT4) AEGIS_W(phase, TEXT) AEGIS_W(step_no, INT4)                  \
    AEGIS_W(attempt, INT4) AEGIS_W(action, TEXT) AEGIS_W(state, TEXT)                   \
    AEGIS_W(retry_safe, BOOL) AEGIS_W(token, TEXT) AEGIS_W(exit_code, INT4)             \
    AEGIS_W(error, TEXT) AEGIS_W(final, BOOL) AEGIS_W(output, JSON)                     \
    AEGIS_W(result, JSON)                                                               \
    AEGIS_W(checkpoint_id, TEXT) AEGIS_W(checkpoint_version, INT4)                      \
    AEGIS_W(verify_id, TEXT) AEGIS_W(looked, JSON) AEGIS_W(found, TEXT)                 \
    AEGIS_W(evaluation, INT4) AEGIS_W(outcome, TEXT) AEGIS_W(last, BOOL)

enum {
#define AEGIS_W(name, type)  AEGIS_W_##name,
    AEGIS_WAY_COLUMNS
#undef AEGIS_W
    AEGIS_WAY_N_COLUMNS
};

typedef struct {
    aegis_array_t  a[AEGIS_WAY_N_COLUMNS];
    aegis_buf_t    text;                /* of one document at a time */
} aegis_way_rows_t;

/* Empty ones: this thread's, whose memory is kept for the next batch. NULL: no memory. */
aegis_way_rows_t *aegis_way_rows_begin(void);

/* One case more. */
void aegis_way_rows_add(aegis_way_rows_t *rows, const aegis_way_t *k);

/* Commit them. ret[i] is the answer to the case that was added as number i, until
 * aegis_pg_clear(). */
aegis_code_t aegis_way_rows_commit(aegis_worker_t *w, aegis_way_rows_t *rows, size_t n,
    aegis_pg_row_t *ret, aegis_error_t *err);

#endif
