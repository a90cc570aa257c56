/*
 * aegis_exec_commit.c: what runs wait for. Whatever several of them wait for is
 * committed with one statement, so that the number of round trips depends on
 * the length of plans and not on the number of runs.
 * Invariant: a statement that was not answered is sent again unchanged; SQL
 * (sql/functions/40_exec.sql) makes the second time the same as the first.
 */
#include "aegis_exec.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "aegis_json.h"

#define AEGIS_EXEC_RETRY_MS      100
#define AEGIS_EXEC_RETRY_MAX_MS  5000
/* A target that takes no more is asked again so often. */
#define AEGIS_EXEC_BUSY_MS       250
#define AEGIS_EXEC_BUSY_MAX_MS   2000

static aegis_str_t
aegis_exec_maybe(const char *s)
{
    return s ? aegis_view(s) : AEGIS_NO_STR;
}

static void
aegis_exec_fill(aegis_exec_t *x, aegis_item_t *item, aegis_exec_run_t *run)
{
    const char   *name;
    aegis_str_t  *v;

    memset(item, 0, sizeof(*item));
    v = item->v;
    v[AEGIS_C_tenant] = aegis_view(run->tenant);
    v[AEGIS_C_case_id] = aegis_view(run->case_id);
    v[AEGIS_C_exec_id] = aegis_view(run->exec_id);
    v[AEGIS_C_epoch] = aegis_view(run->epoch_text);

    name = aegis_json_str(aegis_exec_step(run->plan, run->next.phase, run->next.step_no),
                          "action");
    v[AEGIS_C_phase] = aegis_view(run->act.phase);
    v[AEGIS_C_step_no] = aegis_view(run->step_text);
    v[AEGIS_C_attempt] = aegis_view(run->attempt_text);
    v[AEGIS_C_action] = aegis_view(name);
    v[AEGIS_C_retry_safe] = run->retry_safe ? aegis_str("true") : aegis_str("false");
    v[AEGIS_C_token] = aegis_view(run->token);
    v[AEGIS_C_target] = aegis_view(run->target);
    v[AEGIS_C_target_limit] = aegis_view(run->limit_text);

    if (run->at == AEGIS_RUN_ACT) {
        aegis_exec_act_outputs(x, run, 0);
        v[AEGIS_C_output] = aegis_exec_maybe(run->output_text);
    }

    if (run->at == AEGIS_RUN_END) {
        aegis_exec_act_outputs(x, run, 1);
        snprintf(run->exit_text, sizeof(run->exit_text), "%d", run->act.exit_code);
        v[AEGIS_C_state] = aegis_view(aegis_act_state_name(run->act.state));
        v[AEGIS_C_exit_code] = run->act.has_exit ? aegis_view(run->exit_text)
                                                 : AEGIS_NO_STR;
        v[AEGIS_C_error] = aegis_view(run->act.error);
        v[AEGIS_C_final] = run->act.final ? aegis_str("true") : aegis_str("false");
        v[AEGIS_C_output] = aegis_exec_maybe(run->output_text);
        v[AEGIS_C_result] = aegis_exec_maybe(run->result_text);
    }
}

void
aegis_exec_later(aegis_exec_t *x, aegis_exec_run_t *run, int64_t now)
{
    int64_t  ms;

    ms = (int64_t) AEGIS_EXEC_RETRY_MS << (run->tries < 6 ? run->tries : 6);
    run->wake_at = now + aegis_exec_jitter(x, ms < AEGIS_EXEC_RETRY_MAX_MS
                                              ? ms : AEGIS_EXEC_RETRY_MAX_MS);
    run->tries++;
}

/* The target takes no more for now. Its time is bounded by the step's own: then
 * the attempt begins, only to fail. */
static int
aegis_exec_busy(aegis_exec_t *x, aegis_exec_run_t *run, int64_t now)
{
    int64_t  ms;

    if (run->busy_since == 0) {
        run->busy_since = now;
        aegis_metric_add(x->busy, 1);
        aegis_log(AEGIS_LOG_INFO, "exec", "target.busy", "exec_id", "%s", run->exec_id,
                  "target", "%s", run->target, NULL);
    }

    if (now - run->busy_since >= run->act.timeout_ms) {
        run->target[0] = '\0';
        return 1;
    }

    ms = (int64_t) AEGIS_EXEC_BUSY_MS << (run->tries < 3 ? run->tries : 3);
    run->wake_at = now + aegis_exec_jitter(x, ms < AEGIS_EXEC_BUSY_MAX_MS
                                              ? ms : AEGIS_EXEC_BUSY_MAX_MS);
    run->tries++;
    return 0;
}

/* What the statement said of one run. 1: it has moved on. */
static int
aegis_exec_settle(aegis_worker_t *w, aegis_exec_run_t *run, const aegis_pg_row_t *row,
    int64_t now)
{
    aegis_exec_t  *x;

    x = w->data;

    if (strcmp(row->code, "fenced") == 0) {
        aegis_log(AEGIS_LOG_WARN, "exec", "run.fenced", "exec_id", "%s", run->exec_id,
                  "epoch", "%d", run->epoch, NULL);
        aegis_exec_run_fence(w, run);
        return 1;
    }

    if (run->at == AEGIS_RUN_BEGIN && strcmp(row->code, "already-exists") == 0) {
        /* a former owner's intent came in between: read the log again */
        aegis_log(AEGIS_LOG_WARN, "exec", "step.exists", "exec_id", "%s", run->exec_id, NULL);
        aegis_exec_run_fence(w, run);
        return 1;
    }

    if (run->at == AEGIS_RUN_BEGIN && strcmp(row->code, "cancelled") == 0) {
        run->at = AEGIS_RUN_NEXT;
        aegis_exec_run_cancel(w, run, NULL);
        return 1;
    }

    if (run->at == AEGIS_RUN_BEGIN && strcmp(row->code, "busy") == 0) {
        return aegis_exec_busy(x, run, now);
    }

    if (strcmp(row->code, "ok") != 0) {
        aegis_log(AEGIS_LOG_WARN, "exec", "commit.failed", "exec_id", "%s", run->exec_id,
                  "code", "%s", row->code, "tries", "%d", run->tries, NULL);
        aegis_exec_later(x, run, now);
        return 0;
    }

    run->tries = 0;

    if (run->at == AEGIS_RUN_BEGIN) {
        run->at = AEGIS_RUN_START;
    } else {
        aegis_exec_span_step(run, now);
        aegis_exec_run_ended(x, run, now);
    }

    return 1;
}

static size_t
aegis_exec_commit_group(aegis_worker_t *w, aegis_stmt_id_t stmt, aegis_exec_run_t **runs,
    size_t n)
{
    int                    notify;
    size_t                 i, moved;
    int64_t                now;
    aegis_code_t           rc;
    aegis_exec_t          *x;
    aegis_error_t          err = AEGIS_ERROR_INIT;
    const aegis_item_t    *items[AEGIS_EXEC_GROUP];
    const aegis_pg_row_t  *rows;

    x = w->data;

    for (i = 0; i < n; i++) {
        aegis_exec_fill(x, &x->items[i], runs[i]);
        items[i] = &x->items[i];
    }

    notify = stmt == AEGIS_STMT_EXEC_STEP_BEGIN ? 0 : aegis_pg_notify_due(w->pg);
    rc = aegis_pg_run_each(w->pg, stmt, items, n, notify, &rows, &err);
    now = aegis_act_now();

    for (i = 0, moved = 0; i < n; i++) {
        if (rc == AEGIS_E_OK) {
            moved += (size_t) aegis_exec_settle(w, runs[i], &rows[i], now);
        } else {
            aegis_exec_later(x, runs[i], now);
        }
    }

    if (rc != AEGIS_E_OK) {
        aegis_log(AEGIS_LOG_WARN, "exec", "commit.failed", "detail", "%s", err.detail, NULL);
    }

    aegis_pg_clear(w->pg);
    aegis_error_clear(&err);
    return moved;
}

size_t
aegis_exec_db_commit(aegis_worker_t *w, aegis_run_at_t at, int64_t now)
{
    size_t             i, n, moved;
    aegis_exec_t      *x;
    aegis_stmt_id_t    stmt;
    aegis_exec_run_t  *runs[AEGIS_EXEC_GROUP];

    x = w->data;
    stmt = at == AEGIS_RUN_BEGIN ? AEGIS_STMT_EXEC_STEP_BEGIN : AEGIS_STMT_EXEC_STEP_END;

    for (i = 0, n = 0, moved = 0; i < x->n_runs; i++) {
        if (x->runs[i]->at == at && now >= x->runs[i]->wake_at) {
            runs[n++] = x->runs[i];
        }
        if (n == AEGIS_EXEC_GROUP || (n > 0 && i == x->n_runs - 1)) {
            moved += aegis_exec_commit_group(w, stmt, runs, n);
            n = 0;
        }
    }

    return moved;
}

void
aegis_exec_db_progress(aegis_worker_t *w, int64_t now)
{
    size_t                 i, n;
    aegis_exec_t          *x;
    aegis_error_t          err = AEGIS_ERROR_INIT;
    aegis_exec_run_t      *run;
    const aegis_item_t    *items[AEGIS_EXEC_GROUP];
    const aegis_pg_row_t  *rows;

    x = w->data;

    for (i = 0, n = 0; i < x->n_runs && n < AEGIS_EXEC_GROUP; i++) {
        run = x->runs[i];
        if (run->at != AEGIS_RUN_ACT || !aegis_exec_act_news(run, now)) {
            continue;
        }

        run->told_at = now;
        aegis_exec_fill(x, &x->items[n], run);
        items[n] = &x->items[n];
        n++;
    }

    if (n == 0) {
        return;
    }

    /* only what people look at: what is lost here is told with the next */
    if (aegis_pg_run_each(w->pg, AEGIS_STMT_EXEC_PROGRESS, items, n, 0, &rows, &err)
        != AEGIS_E_OK)
    {
        aegis_log(AEGIS_LOG_WARN, "exec", "progress.failed", "detail", "%s", err.detail, NULL);
    }

    aegis_pg_clear(w->pg);
    aegis_error_clear(&err);
}
