/*
 * aegis_exec_db.c: the executor's statements. Whatever several runs wait for
 * is committed with one statement, so that the number of round trips depends
 * on the length of plans and not on the number of runs.
 * Invariant: a statement that was not answered is sent again unchanged; SQL
 * (sql/functions/40_exec.sql) makes the second time the same as the first.
 */
#include "aegis_exec.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "aegis_buf.h"
#include "aegis_http.h"
#include "aegis_json.h"

#define AEGIS_EXEC_RETRY_MS      100
#define AEGIS_EXEC_RETRY_MAX_MS  5000

static aegis_str_t
aegis_exec_text(const char *s)
{
    return (aegis_str_t) { strlen(s), s };
}

static aegis_str_t
aegis_exec_or_empty(aegis_str_t s)
{
    return s.data == NULL ? aegis_str("") : s;
}

/* --- messages */

/* The run's id and everything else of a command; 0: it says too little. */
static int
aegis_exec_fill_accept(aegis_worker_t *w, aegis_delivery_t *d, aegis_item_t *item,
    char id[AEGIS_EXEC_ID], char version[12])
{
    int               n;
    char              name[64];
    aegis_str_t      *v;
    aegis_message_t  *msg;

    msg = &d->msg;

    if (msg->case_id.data == NULL || !aegis_uuid_valid(msg->case_id)
        || msg->case_version <= 0)
    {
        d->code = AEGIS_E_ENVELOPE;
        snprintf(d->reason, sizeof(d->reason),
                 "the command names no case_id or no case_version");
        return 0;
    }

    /* the same stay in EXECUTING, the same run */
    n = snprintf(name, sizeof(name), "%.*s:%d", (int) msg->case_id.len, msg->case_id.data,
                 msg->case_version);
    aegis_uuid_named((aegis_str_t) { (size_t) n, name }, id);
    snprintf(version, 12, "%d", msg->case_version);

    memset(item, 0, sizeof(*item));
    v = item->v;
    v[AEGIS_C_tenant] = aegis_exec_or_empty(msg->tenant);
    v[AEGIS_C_principal] = aegis_str(AEGIS_EXEC_ACTOR);
    v[AEGIS_C_actor] = aegis_str(AEGIS_EXEC_ACTOR);
    v[AEGIS_C_key] = msg->id;
    v[AEGIS_C_request_id] = msg->id;
    v[AEGIS_C_consumer] = aegis_exec_text(w->consumer->durable);
    v[AEGIS_C_case_id] = msg->case_id;
    v[AEGIS_C_exec_id] = aegis_exec_text(id);
    v[AEGIS_C_for_version] = aegis_exec_text(version);
    v[AEGIS_C_correlation_id] = aegis_exec_or_empty(msg->correlation_id);
    v[AEGIS_C_traceparent] = aegis_exec_or_empty(msg->traceparent);

    return 1;
}

static void
aegis_exec_accepted(aegis_delivery_t *d, const aegis_pg_row_t *row)
{
    json_t         *body;
    const char     *detail;
    aegis_error_t   err = AEGIS_ERROR_INIT;

    if (strcmp(row->code, "ok") == 0 || strcmp(row->code, "replay") == 0
        || strcmp(row->code, "already-exists") == 0 || strcmp(row->code, "stale-fact") == 0)
    {
        d->code = AEGIS_E_OK;
        return;
    }

    body = json_loadb(row->body.data ? row->body.data : "", row->body.len, 0, NULL);
    detail = json_string_value(json_object_get(body, "detail"));
    d->code = aegis_error_set(&err, aegis_error_by_code(row->code)->id, "%s: %.200s",
                              row->code, detail ? detail : "not settled");
    snprintf(d->reason, sizeof(d->reason), "%s", err.detail);

    aegis_error_clear(&err);
    json_decref(body);
}

aegis_code_t
aegis_exec_db_accept(aegis_worker_t *w, aegis_delivery_t *d, size_t n)
{
    char                   ids[AEGIS_EXEC_GROUP][AEGIS_EXEC_ID];
    char                   versions[AEGIS_EXEC_GROUP][12];
    size_t                 i, k, at[AEGIS_EXEC_GROUP];
    aegis_code_t           rc;
    aegis_exec_t          *x;
    aegis_error_t          err = AEGIS_ERROR_INIT;
    const aegis_item_t    *items[AEGIS_EXEC_GROUP];
    const aegis_pg_row_t  *rows;

    x = w->data;

    for (i = 0, k = 0; i < n; i++) {
        items[k] = &x->items[k];
        at[k] = i;
        k += (size_t) aegis_exec_fill_accept(w, &d[i], &x->items[k], ids[k], versions[k]);
    }

    if (k == 0) {
        return AEGIS_E_OK;
    }

    rc = aegis_pg_run_each(w->pg, AEGIS_STMT_EXEC_ACCEPT, items, k,
                           aegis_pg_notify_due(w->pg), &rows, &err);

    for (i = 0; rc == AEGIS_E_OK && i < k; i++) {
        aegis_exec_accepted(&d[at[i]], &rows[i]);
    }

    if (rc != AEGIS_E_OK) {
        aegis_log(AEGIS_LOG_WARN, "exec", "accept.failed", "detail", "%s", err.detail, NULL);
        rc = AEGIS_E_UNAVAILABLE;
    }

    aegis_pg_clear(w->pg);
    aegis_error_clear(&err);
    return rc;
}

/* --- the lease */

size_t
aegis_exec_db_claim(aegis_worker_t *w, size_t limit)
{
    int                i, n;
    char               limit_text[12], lease_text[12];
    size_t             taken;
    int64_t            now;
    const char        *params[3], *body;
    aegis_exec_t      *x;
    aegis_error_t      err = AEGIS_ERROR_INIT;
    aegis_exec_run_t  *run;

    x = w->data;
    now = aegis_act_now();
    taken = 0;

    snprintf(limit_text, sizeof(limit_text), "%zu", limit);
    snprintf(lease_text, sizeof(lease_text), "%d", x->lease_s);
    params[0] = x->owner;
    params[1] = limit_text;
    params[2] = lease_text;

    if (aegis_pg_sql(w->pg, AEGIS_SQL_EXEC_CLAIM, 3, params, &n, &err) != AEGIS_E_OK) {
        aegis_log(AEGIS_LOG_WARN, "exec", "claim.failed", "detail", "%s", err.detail, NULL);
        aegis_error_clear(&err);
        return 0;
    }

    for (i = 0; i < n && taken < limit; i++) {
        body = aegis_pg_value(w->pg, i, 5);
        run = aegis_exec_run_new(aegis_pg_value(w->pg, i, 0), aegis_pg_value(w->pg, i, 1),
                                 aegis_pg_value(w->pg, i, 2),
                                 atoi(aegis_pg_value(w->pg, i, 3)), body ? body : "");
        if (run == NULL) {
            break;                      /* its lease ends */
        }

        run->lease_until = now + (int64_t) x->lease_s * 1000;
        x->runs[x->n_runs++] = run;
        taken++;
        aegis_log(AEGIS_LOG_INFO, "exec", "run.claimed", "exec_id", "%s", run->exec_id,
                  "case_id", "%s", run->case_id, "epoch", "%d", run->epoch,
                  "attempts", "%zu", run->log.n, NULL);
    }

    aegis_pg_clear(w->pg);
    return taken;
}

/* One text[] literal more: {"a","b"}. */
static void
aegis_exec_array_add(aegis_buf_t *b, const char *s)
{
    aegis_buf_puts(b, b->len == 0 ? "{\"" : ",\"");
    for ( ; *s; s++) {
        if (*s == '"' || *s == '\\') {
            aegis_buf_add(b, "\\", 1);
        }
        aegis_buf_add(b, s, 1);
    }
    aegis_buf_add(b, "\"", 1);
}

static void
aegis_exec_beat(aegis_worker_t *w, aegis_exec_run_t *run, const char *code, int64_t lease_until)
{
    if (strcmp(code, "ok") == 0) {
        run->lease_until = lease_until;

    } else if (strcmp(code, "cancelled") == 0) {
        run->lease_until = lease_until;
        aegis_exec_run_cancel(w, run);

    } else if (strcmp(code, "fenced") == 0) {
        aegis_log(AEGIS_LOG_WARN, "exec", "run.fenced", "exec_id", "%s", run->exec_id,
                  "epoch", "%d", run->epoch, NULL);
        aegis_exec_run_fence(w, run);
    }
}

void
aegis_exec_db_heartbeat(aegis_worker_t *w, int lease_s)
{
    int                i, n, ord;
    char               lease_text[12];
    size_t             k;
    int64_t            lease_until;
    const char        *params[5];
    aegis_exec_t      *x;
    aegis_buf_t        cols[4] = { AEGIS_BUF_INIT, AEGIS_BUF_INIT, AEGIS_BUF_INIT,
                                   AEGIS_BUF_INIT };
    aegis_error_t      err = AEGIS_ERROR_INIT;
    aegis_exec_run_t  *run;

    x = w->data;
    lease_until = aegis_act_now() + (int64_t) lease_s * 1000;

    for (k = 0; k < x->n_runs; k++) {
        run = x->runs[k];
        aegis_exec_array_add(&cols[0], run->tenant);
        aegis_exec_array_add(&cols[1], run->case_id);
        aegis_exec_array_add(&cols[2], run->exec_id);
        aegis_exec_array_add(&cols[3], run->epoch_text);
    }

    for (k = 0; k < 4; k++) {
        aegis_buf_add(&cols[k], "}", 2);        /* and its end */
        params[k] = cols[k].data;
    }
    snprintf(lease_text, sizeof(lease_text), "%d", lease_s);
    params[4] = lease_text;

    if (cols[0].failed || cols[1].failed || cols[2].failed || cols[3].failed) {
        goto done;
    }

    if (aegis_pg_sql(w->pg, AEGIS_SQL_EXEC_HEARTBEAT, 5, params, &n, &err) != AEGIS_E_OK) {
        aegis_log(AEGIS_LOG_WARN, "exec", "heartbeat.failed", "detail", "%s", err.detail,
                  NULL);
        goto done;
    }

    for (i = 0; i < n; i++) {
        ord = atoi(aegis_pg_value(w->pg, i, 0));
        if (ord >= 1 && (size_t) ord <= x->n_runs) {
            aegis_exec_beat(w, x->runs[ord - 1], aegis_pg_value(w->pg, i, 2), lease_until);
        }
    }

    aegis_pg_clear(w->pg);

done:

    for (k = 0; k < 4; k++) {
        free(cols[k].data);
    }
    aegis_error_clear(&err);
}

/* --- what a run waits for */

static void
aegis_exec_fill(aegis_item_t *item, aegis_exec_run_t *run)
{
    const char   *name;
    aegis_str_t  *v;

    memset(item, 0, sizeof(*item));
    v = item->v;
    v[AEGIS_C_tenant] = aegis_exec_text(run->tenant);
    v[AEGIS_C_case_id] = aegis_exec_text(run->case_id);
    v[AEGIS_C_exec_id] = aegis_exec_text(run->exec_id);
    v[AEGIS_C_epoch] = aegis_exec_text(run->epoch_text);

    if (run->at == AEGIS_RUN_FINISH) {
        v[AEGIS_C_state] = aegis_exec_text(run->state);
        v[AEGIS_C_reason] = aegis_exec_text(run->reason);
        return;
    }

    name = aegis_json_str(aegis_exec_step(run->plan, run->next.phase, run->next.step_no),
                          "action");
    v[AEGIS_C_phase] = aegis_exec_text(run->act.phase);
    v[AEGIS_C_step_no] = aegis_exec_text(run->step_text);
    v[AEGIS_C_attempt] = aegis_exec_text(run->attempt_text);
    v[AEGIS_C_action] = aegis_exec_text(name);
    v[AEGIS_C_retry_safe] = run->retry_safe ? aegis_str("true") : aegis_str("false");
    v[AEGIS_C_token] = aegis_exec_text(run->token);

    if (run->at == AEGIS_RUN_END) {
        aegis_exec_act_refs(run);
        snprintf(run->exit_text, sizeof(run->exit_text), "%d", run->act.exit_code);
        v[AEGIS_C_state] = aegis_exec_text(aegis_act_state_name(run->act.state));
        v[AEGIS_C_exit_code] = run->act.has_exit ? aegis_exec_text(run->exit_text)
                                                 : AEGIS_NO_STR;
        v[AEGIS_C_error] = aegis_exec_text(run->act.error);
        v[AEGIS_C_stdout_ref] = aegis_exec_text(run->ref[AEGIS_OUT]);
        v[AEGIS_C_stderr_ref] = aegis_exec_text(run->ref[AEGIS_ERR]);
    }
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
    run->at = AEGIS_RUN_GONE;
}

static void
aegis_exec_later(aegis_exec_t *x, aegis_exec_run_t *run, int64_t now)
{
    int64_t  ms;

    ms = (int64_t) AEGIS_EXEC_RETRY_MS << (run->tries < 6 ? run->tries : 6);
    run->wake_at = now + aegis_exec_jitter(x, ms < AEGIS_EXEC_RETRY_MAX_MS
                                              ? ms : AEGIS_EXEC_RETRY_MAX_MS);
    run->tries++;
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
        aegis_exec_run_cancel(w, run);
        return 1;
    }

    if (strcmp(row->code, "ok") != 0) {
        aegis_log(AEGIS_LOG_WARN, "exec", "commit.failed", "exec_id", "%s", run->exec_id,
                  "code", "%s", row->code, "tries", "%d", run->tries, NULL);
        aegis_exec_later(x, run, now);
        return 0;
    }

    run->tries = 0;

    switch (run->at) {

    case AEGIS_RUN_BEGIN:
        run->at = AEGIS_RUN_START;
        break;

    case AEGIS_RUN_END:
        aegis_exec_run_ended(x, run, now);
        break;

    default:
        aegis_exec_finished(run);
        break;
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
        aegis_exec_fill(&x->items[i], runs[i]);
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
    stmt = at == AEGIS_RUN_BEGIN ? AEGIS_STMT_EXEC_STEP_BEGIN
           : at == AEGIS_RUN_END ? AEGIS_STMT_EXEC_STEP_END : AEGIS_STMT_EXEC_FINISH;

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
