/*
 * aegis_exec_end.c: how runs end: what they made is recorded, they are finished,
 * their cases move, and what the process can do next for them is done, all of it in
 * one transaction over all runs that are at this point.
 * Invariant: memory changes only after the commit; sent again after an answer that
 * was lost, SQL says 'ok' of what is recorded and 'fenced' of what is finished.
 */
#include "aegis_carry.h"
#include "aegis_exec.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "aegis_failpoint.h"
#include "aegis_json.h"

/* One statement over what was made; who is not its owner any more is marked. */
static aegis_code_t
aegis_exec_end_group(aegis_worker_t *w, aegis_exec_run_t **of, size_t n,
    aegis_pg_row_t *rows, aegis_error_t *err)
{
    size_t               i;
    aegis_code_t         rc;
    aegis_exec_t        *x;
    const aegis_item_t  *items[AEGIS_EXEC_GROUP] = { NULL };

    x = w->data;
    for (i = 0; i < n; i++) {
        items[i] = &x->items[i];
    }

    rc = aegis_pg_run_more(w->pg, AEGIS_STMT_EXEC_STEP_DONE, items, n,
                           aegis_pg_notify_due(w->pg), rows, err);

    for (i = 0; rc == AEGIS_E_OK && i < n; i++) {
        if (strcmp(rows[i].code, "cancelled") == 0) {
            of[i]->verdict = AEGIS_MADE_LEFT;
        } else if (strcmp(rows[i].code, "ok") != 0) {
            of[i]->verdict = AEGIS_MADE_FENCED;
        }
    }

    return rc;
}

static aegis_code_t
aegis_exec_end_record(aegis_worker_t *w, aegis_exec_run_t **runs, size_t n,
    aegis_pg_row_t *rows, aegis_error_t *err)
{
    size_t             i, k, m;
    aegis_code_t       rc;
    aegis_exec_t      *x;
    aegis_exec_run_t  *of[AEGIS_EXEC_GROUP];

    x = w->data;
    rc = AEGIS_E_OK;

    for (i = 0, m = 0; i < n && rc == AEGIS_E_OK; i++) {
        runs[i]->verdict = AEGIS_MADE_OK;
        for (k = 0; k < runs[i]->n_made && rc == AEGIS_E_OK; k++) {
            aegis_exec_made_item(runs[i], &runs[i]->made[k], &x->items[m]);
            of[m++] = runs[i];
            if (m == AEGIS_EXEC_GROUP) {
                rc = aegis_exec_end_group(w, of, m, rows, err);
                m = 0;
            }
        }
    }

    return rc == AEGIS_E_OK && m ? aegis_exec_end_group(w, of, m, rows, err) : rc;
}

/* Finish those that are at their end, and carry on the cases that this moves. */
static aegis_code_t
aegis_exec_end_finish(aegis_worker_t *w, unsigned here, aegis_exec_run_t **runs, size_t n,
    aegis_pg_row_t *rows, aegis_carried_t *cases, aegis_error_t *err)
{
    size_t               i, k;
    aegis_str_t         *v;
    aegis_code_t         rc;
    aegis_exec_t        *x;
    aegis_exec_run_t    *of[AEGIS_EXEC_GROUP];
    const aegis_item_t  *items[AEGIS_EXEC_GROUP];

    x = w->data;

    for (i = 0, k = 0; i < n; i++) {
        if (runs[i]->at != AEGIS_RUN_FINISH || runs[i]->verdict != AEGIS_MADE_OK) {
            continue;
        }
        memset(&x->items[k], 0, sizeof(aegis_item_t));
        v = x->items[k].v;
        v[AEGIS_C_tenant] = aegis_view(runs[i]->tenant);
        v[AEGIS_C_case_id] = aegis_view(runs[i]->case_id);
        v[AEGIS_C_exec_id] = aegis_view(runs[i]->exec_id);
        v[AEGIS_C_epoch] = aegis_view(runs[i]->epoch_text);
        v[AEGIS_C_state] = aegis_view(runs[i]->state);
        v[AEGIS_C_reason] = aegis_view(runs[i]->reason);
        items[k] = &x->items[k];
        of[k++] = runs[i];
    }
    if (k == 0) {
        return AEGIS_E_OK;
    }

    rc = aegis_pg_run_more(w->pg, AEGIS_STMT_EXEC_FINISH, items, k,
                           aegis_pg_notify_due(w->pg), rows, err);

    for (i = 0; rc == AEGIS_E_OK && i < k; i++) {
        memset(&cases[i], 0, sizeof(cases[i]));
        cases[i].tenant = aegis_view(of[i]->tenant);
        cases[i].case_id = aegis_view(of[i]->case_id);
        cases[i].traceparent = aegis_view(of[i]->traceparent);
        cases[i].version = rows[i].version;
        cases[i].state = AEGIS_N_STATES;

        if (strcmp(rows[i].code, "ok") != 0) {
            of[i]->verdict = AEGIS_MADE_FENCED;

        } else if (rows[i].version
                   == json_integer_value(json_object_get(of[i]->body, "for_version")) + 1)
        {
            cases[i].state = aegis_state_by_name(rows[i].extra);
        }
        if (cases[i].state == AEGIS_STATE_VERIFYING || cases[i].state == AEGIS_STATE_PARKED) {
            aegis_carry_count_move(AEGIS_STATE_EXECUTING, cases[i].state,
                                   strcmp(of[i]->state, "DONE") == 0 ? "exec_done"
                                                                     : "exec_failed");
        }
    }

    return rc == AEGIS_E_OK ? aegis_carry(w, here, cases, k, err) : rc;
}

static aegis_code_t
aegis_exec_end_commit(aegis_worker_t *w, aegis_exec_run_t **runs, size_t n,
    aegis_error_t *err)
{
    unsigned          here;
    aegis_code_t      rc;
    aegis_pg_row_t   *rows;
    aegis_carried_t  *cases;

    rows = calloc(AEGIS_EXEC_GROUP, sizeof(aegis_pg_row_t));
    cases = calloc(AEGIS_EXEC_GROUP, sizeof(aegis_carried_t));
    here = aegis_carry_offered();
    rc = rows && cases ? aegis_carry_begin(w, here, err)
         : aegis_error_set(err, AEGIS_E_UNAVAILABLE, "no memory");

    if (rc == AEGIS_E_OK) {
        rc = aegis_exec_end_record(w, runs, n, rows, err);
        rc = rc == AEGIS_E_OK
             ? aegis_exec_end_finish(w, here, runs, n, rows, cases, err) : rc;
        if (rc == AEGIS_E_OK) {
            rc = aegis_pg_commit(w->pg, err);
        } else {
            aegis_pg_rollback(w->pg);
        }
    }

    aegis_pg_clear(w->pg);
    free(rows);
    free(cases);
    return rc;
}

static void
aegis_exec_finished(aegis_exec_run_t *run)
{
    char  labels[48];

    snprintf(labels, sizeof(labels), "state=\"%s\"", run->state);
    aegis_metric_add(aegis_counter("aegis_exec_runs_total", labels,
                                   "runs that ended, by outcome"), 1);
    aegis_log(AEGIS_LOG_INFO, "exec", "run.finished", "exec_id", "%s", run->exec_id,
              "case_id", "%s", run->case_id, "state", "%s", run->state,
              "reason", "%s", run->reason, NULL);
    aegis_exec_span_end(run);
    run->at = AEGIS_RUN_GONE;
}

/* It is committed. */
static void
aegis_exec_end_settle(aegis_worker_t *w, aegis_exec_run_t *run)
{
    if (run->n_made > 0 && run->verdict == AEGIS_MADE_OK) {
        (void) AEGIS_FP(exec_after_record, "exec");
    }
    aegis_exec_made_clear(run);
    run->tries = 0;
    run->wake_at = 0;

    switch (run->verdict) {

    case AEGIS_MADE_FENCED:
        aegis_log(AEGIS_LOG_WARN, "exec", "run.fenced", "exec_id", "%s", run->exec_id,
                  "epoch", "%d", run->epoch, NULL);
        aegis_exec_run_fence(w, run);
        break;

    case AEGIS_MADE_LEFT:
        run->at = AEGIS_RUN_NEXT;
        aegis_exec_run_cancel(w, run, NULL);
        break;

    default:
        if (run->at == AEGIS_RUN_FINISH) {
            aegis_exec_finished(run);
        } else {
            run->at = AEGIS_RUN_NEXT;
        }
        break;
    }
}

static size_t
aegis_exec_end_runs(aegis_worker_t *w, aegis_exec_run_t **runs, size_t n)
{
    size_t         i, moved;
    aegis_code_t   rc;
    aegis_error_t  err = AEGIS_ERROR_INIT;

    rc = aegis_exec_end_commit(w, runs, n, &err);
    moved = 0;

    /* one that cannot be committed stands in nobody's way */
    if ((rc == AEGIS_E_BUSY || rc == AEGIS_E_INTERNAL) && n > 1) {
        for (i = 0; i < n; i++) {
            moved += aegis_exec_end_runs(w, &runs[i], 1);
        }
        aegis_error_clear(&err);
        return moved;
    }

    for (i = 0; i < n; i++) {
        if (rc == AEGIS_E_OK) {
            aegis_exec_end_settle(w, runs[i]);
            moved++;
        } else {
            aegis_exec_later(w->data, runs[i], aegis_act_now());
        }
    }

    if (rc != AEGIS_E_OK) {
        aegis_log(AEGIS_LOG_WARN, "exec", "commit.failed", "detail", "%s", err.detail, NULL);
    }

    aegis_error_clear(&err);
    return moved;
}

size_t
aegis_exec_end(aegis_worker_t *w, int64_t now)
{
    size_t             i, n, moved;
    aegis_exec_t      *x;
    aegis_exec_run_t  *run, *runs[AEGIS_EXEC_GROUP];

    x = w->data;

    for (i = 0, n = 0, moved = 0; i < x->n_runs; i++) {
        run = x->runs[i];
        if ((run->at == AEGIS_RUN_FINISH || run->at == AEGIS_RUN_RECORD)
            && now >= run->wake_at)
        {
            runs[n++] = run;
        }
        if (n == AEGIS_EXEC_GROUP || (n > 0 && i == x->n_runs - 1)) {
            moved += aegis_exec_end_runs(w, runs, n);
            n = 0;
        }
    }

    return moved;
}
