/*
 * aegis_exec_db.c: how runs come to this executor, and how it keeps them:
 * commands that are accepted, claims, heartbeats, and the word that somebody has
 * cancelled one.
 */
#include "aegis_exec.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "aegis_buf.h"
#include "aegis_failpoint.h"
#include "aegis_http.h"
#include "aegis_json.h"

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
    v[AEGIS_C_consumer] = aegis_view(w->consumer->durable);
    v[AEGIS_C_case_id] = msg->case_id;
    v[AEGIS_C_exec_id] = aegis_view(id);
    v[AEGIS_C_for_version] = aegis_view(version);
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

/* What SQL says of a run that is to end; the case has left it when it says less. */
static void
aegis_exec_cancel_one(aegis_worker_t *w, aegis_exec_run_t *run, const char *body)
{
    json_t         *what;
    aegis_str_t     text;
    aegis_error_t   err = AEGIS_ERROR_INIT;

    text = body ? aegis_view(body) : AEGIS_NO_STR;
    if (text.len == 0 || aegis_json_parse(text, &what, &err) != AEGIS_E_OK) {
        what = NULL;
    }

    aegis_exec_run_cancel(w, run, what);
    aegis_error_clear(&err);
    json_decref(what);
}

static void
aegis_exec_db_cancelled(aegis_worker_t *w, const char *exec_id, const char *body)
{
    size_t         k;
    aegis_exec_t  *x;

    x = w->data;
    for (k = 0; k < x->n_runs; k++) {
        if (strcmp(x->runs[k]->exec_id, exec_id) == 0) {
            aegis_exec_cancel_one(w, x->runs[k], body);
        }
    }
}

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

    for (i = 0; i < n; i++) {
        body = aegis_pg_value(w->pg, i, 5);
        if (atoi(aegis_pg_value(w->pg, i, 3)) < 0) {
            aegis_exec_db_cancelled(w, aegis_pg_value(w->pg, i, 2), body);
            continue;
        }
        if (taken == limit) {
            break;
        }
        run = aegis_exec_run_new(aegis_pg_value(w->pg, i, 0), aegis_pg_value(w->pg, i, 1),
                                 aegis_pg_value(w->pg, i, 2),
                                 atoi(aegis_pg_value(w->pg, i, 3)),
                                 aegis_pg_value(w->pg, i, 4), body ? body : "");
        if (run == NULL) {
            break;                      /* its lease ends */
        }

        run->lease_until = now + (int64_t) x->lease_s * 1000;
        aegis_exec_span_run(run, aegis_pg_value(w->pg, i, 4));
        x->runs[x->n_runs++] = run;
        taken++;
        aegis_log(AEGIS_LOG_INFO, "exec", "run.claimed", "exec_id", "%s", run->exec_id,
                  "case_id", "%s", run->case_id, "epoch", "%d", run->epoch,
                  "attempts", "%zu", run->log.n, NULL);
    }

    aegis_pg_clear(w->pg);
    if (taken > 0) {
        (void) AEGIS_FP(exec_after_claim, "exec");
    }
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
aegis_exec_beat(aegis_worker_t *w, aegis_exec_run_t *run, const char *code, const char *body,
    int64_t lease_until)
{
    if (strcmp(code, "ok") == 0) {
        run->lease_until = lease_until;

    } else if (strcmp(code, "cancelled") == 0) {
        run->lease_until = lease_until;
        aegis_exec_cancel_one(w, run, body);

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
            aegis_exec_beat(w, x->runs[ord - 1], aegis_pg_value(w->pg, i, 2),
                            aegis_pg_value(w->pg, i, 3), lease_until);
        }
    }

    aegis_pg_clear(w->pg);

done:

    for (k = 0; k < 4; k++) {
        free(cols[k].data);
    }
    aegis_error_clear(&err);
}
