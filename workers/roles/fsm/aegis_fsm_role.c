/*
 * aegis_fsm_role.c: the orchestrator's consumer: facts become transitions,
 * with the batch statement that the gateway uses too.
 * Invariant: whether a transition happens is decided by SQL alone, once per
 * message id; this file only says which event a fact asks for and what an
 * answer means for the message. A fact whose guard fails parks its case. Facts
 * that name no case are aegis_fsm_open.c.
 */
#include "aegis_fsm_role.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "aegis_carry.h"
#include "aegis_json.h"
#include "aegis_move.h"
#include "aegis_way.h"

aegis_str_t
aegis_fsm_text(const char *s)
{
    return aegis_view(s);
}

static char *
aegis_fsm_meta(const json_t *data)
{
    char    *text;
    json_t  *meta;

    meta = aegis_move_meta(data);
    text = meta ? aegis_json_text(meta) : NULL;
    json_decref(meta);
    return text;
}

/* What of an item is in its ask. */
static void
aegis_fsm_ask_points(aegis_fsm_ask_t *ask)
{
    ask->item.v[AEGIS_C_actor] = aegis_fsm_text(ask->actor);
    if (ask->d->msg.case_version > 0) {
        ask->item.v[AEGIS_C_fact_version] = aegis_fsm_text(ask->version);
    }
}

int
aegis_fsm_ask(aegis_worker_t *w, aegis_delivery_t *d, const char *event,
    const char *suffix, aegis_fsm_ask_t *ask)
{
    memset(ask, 0, sizeof(*ask));
    ask->d = d;
    ask->event = event;
    ask->meta = aegis_fsm_meta(d->msg.data);
    ask->reason = aegis_move_reason(d->msg.subject, d->msg.data);
    snprintf(ask->actor, sizeof(ask->actor), "aegis:%s",
             aegis_subject(d->msg.subject)->producer);
    snprintf(ask->version, sizeof(ask->version), "%d", d->msg.case_version);

    if (ask->reason == NULL
        || asprintf(&ask->key, "%.*s%s", (int) d->msg.id.len, d->msg.id.data, suffix) < 0)
    {
        ask->key = NULL;
        aegis_fsm_ask_free(ask);
        return 0;
    }

    ask->item.v[AEGIS_C_tenant] = d->msg.tenant;
    ask->item.v[AEGIS_C_principal] = aegis_str("aegis:fsm");
    ask->item.v[AEGIS_C_key] = aegis_fsm_text(ask->key);
    ask->item.v[AEGIS_C_consumer] = aegis_fsm_text(w->consumer->durable);
    ask->item.v[AEGIS_C_case_id] = d->msg.case_id;
    ask->item.v[AEGIS_C_event] = aegis_fsm_text(event);
    ask->item.v[AEGIS_C_reason] = aegis_fsm_text(ask->reason);
    ask->item.v[AEGIS_C_correlation_id] = d->msg.correlation_id;
    ask->item.v[AEGIS_C_traceparent] = d->msg.traceparent;
    ask->item.v[AEGIS_C_request_id] = d->msg.id;

    if (ask->meta != NULL) {
        ask->item.v[AEGIS_C_meta] = aegis_fsm_text(ask->meta);
    }
    aegis_fsm_ask_points(ask);

    return 1;
}

void
aegis_fsm_ask_free(aegis_fsm_ask_t *ask)
{
    free(ask->key);
    free(ask->reason);
    free(ask->meta);
    ask->key = ask->reason = ask->meta = NULL;
}

/* case_transition_total, with the row of the table that fired. */
static void
aegis_fsm_count(const aegis_pg_row_t *row)
{
    char                       labels[160], rule[16];
    const aegis_transition_t  *t;

    if (row->extra.data == NULL || row->extra.len >= sizeof(rule)) {
        return;
    }

    memcpy(rule, row->extra.data, row->extra.len);
    rule[row->extra.len] = '\0';
    t = aegis_fsm_rule(atoi(rule));
    if (t == NULL) {
        return;
    }

    snprintf(labels, sizeof(labels), "from=\"%s\",to=\"%s\",event=\"%s\"",
             aegis_state_name(t->from), aegis_state_name(t->to),
             aegis_event_name(t->event));
    aegis_metric_add(aegis_counter("case_transition_total", labels,
                                   "Transitions committed."), 1);
}

/* What a guard misses, else the problem's detail, as one sentence. */
static void
aegis_fsm_why(const aegis_pg_row_t *row, char *buf, size_t size)
{
    size_t       i, n;
    json_t      *problem, *missing, *fact;
    const char  *text;

    problem = row->body.len
              ? json_loadb(row->body.data, row->body.len, 0, NULL) : NULL;
    text = json_string_value(json_object_get(problem, "detail"));
    missing = json_object_get(problem, "missing");

    if (json_array_size(missing)) {
        snprintf(buf, size, "missing ");
        json_array_foreach(missing, i, fact) {
            n = strlen(buf);
            snprintf(buf + n, size - n, "%s%s", i ? ", " : "",
                     aegis_json_str(fact, "detail"));
        }

    } else if (text != NULL) {
        snprintf(buf, size, "%s", text);

    } else {
        /* not a problem document: the database's own words */
        n = row->body.len < size ? row->body.len : size - 1;
        snprintf(buf, size, "%.*s", (int) n, n ? row->body.data : "");
    }

    buf[aegis_utf8_cut(buf, strlen(buf), size - 1)] = '\0';
    json_decref(problem);
}

void
aegis_fsm_judge(aegis_delivery_t *d, const aegis_pg_row_t *row)
{
    if (strcmp(row->code, "ok") == 0) {
        aegis_fsm_count(row);
        d->code = AEGIS_E_OK;
        return;
    }
    if (strcmp(row->code, "replay") == 0) {
        d->code = AEGIS_E_OK;
        return;
    }

    d->code = strcmp(row->code, "again") == 0 ? AEGIS_E_BUSY : aegis_error_by_code(row->code)->id;

    if (d->code == AEGIS_E_NOT_FOUND) {
        snprintf(d->reason, sizeof(d->reason), "The tenant %.*s has no case %.*s.",
                 (int) d->msg.tenant.len, d->msg.tenant.data,
                 (int) d->msg.case_id.len, d->msg.case_id.data);
    } else {
        aegis_fsm_why(row, d->reason, sizeof(d->reason));
    }
}

/* Those whose guard failed: park them, saying what is missing. */
static aegis_code_t
aegis_fsm_park(aegis_worker_t *w, aegis_fsm_ask_t *asks, size_t n)
{
    char                    event[64];
    size_t                  i, k;
    aegis_code_t            rc;
    aegis_error_t           err = AEGIS_ERROR_INIT;
    const aegis_item_t    **items;
    const aegis_pg_row_t   *rows;

    items = calloc(n, sizeof(aegis_item_t *));
    if (items == NULL) {
        return AEGIS_E_UNAVAILABLE;
    }

    for (i = 0; i < n; i++) {
        snprintf(event, sizeof(event), "%s", asks[i].event);
        aegis_fsm_ask_free(&asks[i]);

        if (!aegis_fsm_ask(w, asks[i].d, "force_park", ":park", &asks[i])) {
            for (k = i + 1; k < n; k++) {
                aegis_fsm_ask_free(&asks[k]);
            }
            free(items);
            return AEGIS_E_UNAVAILABLE;
        }

        free(asks[i].reason);
        if (asprintf(&asks[i].reason, "%s refused: %s", event, asks[i].d->reason) < 0) {
            asks[i].reason = strdup("");
        }
        asks[i].item.v[AEGIS_C_reason] = aegis_fsm_text(asks[i].reason ? asks[i].reason
                                                                       : "");
        asks[i].item.v[AEGIS_C_actor] = aegis_str("aegis:fsm");
        items[i] = &asks[i].item;
    }

    rc = aegis_pg_run_each(w->pg, AEGIS_STMT_CASE_TRANSITION, items, n,
                           aegis_pg_notify_due(w->pg), &rows, &err);

    for (i = 0; rc == AEGIS_E_OK && i < n; i++) {
        /* a case that cannot be parked (it is already) keeps the guard's reason */
        if (strcmp(rows[i].code, "illegal-transition") != 0) {
            aegis_fsm_judge(asks[i].d, &rows[i]);
        }
    }

    aegis_pg_clear(w->pg);
    aegis_error_clear(&err);
    free(items);
    return rc;
}

/* Is there a transition to ask for? Settles the delivery when there is none. */
static int
aegis_fsm_wanted(aegis_delivery_t *d, const char **ret_event)
{
    aegis_event_id_t  event;

    d->code = AEGIS_E_OK;
    event = aegis_event_transition(&d->msg);
    if (event == AEGIS_N_EVENTS) {
        return 0;                       /* step results and the like */
    }

    if (d->msg.case_id.data == NULL) {
        d->code = AEGIS_E_ENVELOPE;
        snprintf(d->reason, sizeof(d->reason), "The data names no case_id.");
        return 0;
    }

    /* in mode manual every step is a person's to start */
    if (event == AEGIS_EVENT_start_analysis
        && strcmp(aegis_json_str(d->msg.data, "mode"), "manual") == 0)
    {
        return 0;
    }

    *ret_event = aegis_event_name(event);
    return 1;
}

/* Ask for n transitions, judge the answers, park whose guard failed. */
static aegis_code_t
aegis_fsm_run(aegis_worker_t *w, aegis_fsm_ask_t *asks, size_t n)
{
    size_t                  i, parks;
    aegis_code_t            rc;
    aegis_error_t           err = AEGIS_ERROR_INIT;
    aegis_fsm_ask_t         swap;
    const aegis_item_t    **items;
    const aegis_pg_row_t   *rows;

    items = calloc(n, sizeof(aegis_item_t *));
    if (items == NULL) {
        return AEGIS_E_UNAVAILABLE;
    }

    for (i = 0; i < n; i++) {
        items[i] = &asks[i].item;
    }

    rc = aegis_pg_run_each(w->pg, AEGIS_STMT_CASE_TRANSITION, items, n,
                           aegis_pg_notify_due(w->pg), &rows, &err);
    if (rc != AEGIS_E_OK) {
        aegis_log(AEGIS_LOG_WARN, "fsm", "batch-failed", "code", "%s",
                  aegis_error_def(rc)->code, "error", "%s", err.detail, NULL);
    }

    for (i = 0, parks = 0; rc == AEGIS_E_OK && i < n; i++) {
        aegis_fsm_judge(asks[i].d, &rows[i]);
        if (asks[i].d->code == AEGIS_E_GUARD) {
            swap = asks[parks];
            asks[parks] = asks[i];
            asks[i] = swap;
            parks++;
        }
    }

    aegis_pg_clear(w->pg);
    aegis_error_clear(&err);
    free(items);

    return rc == AEGIS_E_OK && parks ? aegis_fsm_park(w, asks, parks) : rc;
}

/* Transitions that begin a case's way, and the way as far as this process goes, in
 * one transaction. 0: nothing has happened, and they are to be asked for alone. */
static int
aegis_fsm_carry(aegis_worker_t *w, aegis_fsm_ask_t *asks, size_t n)
{
    int                   ok;
    size_t                i;
    unsigned              here;
    aegis_error_t         err = AEGIS_ERROR_INIT;
    aegis_pg_row_t       *rows;
    aegis_carried_t      *cases;
    const aegis_item_t  **items;

    here = aegis_carry_offered();
    if (n > AEGIS_CARRY_MAX || (here & AEGIS_CARRY_BIT(AEGIS_MODULE_analyze)) == 0) {
        return 0;
    }

    ok = 0;
    rows = calloc(n, sizeof(aegis_pg_row_t));
    cases = calloc(n, sizeof(aegis_carried_t));
    items = calloc(n, sizeof(aegis_item_t *));
    for (i = 0; items && i < n; i++) {
        items[i] = &asks[i].item;
    }

    if (rows == NULL || cases == NULL || items == NULL
        || aegis_carry_begin(w, here, &err) != AEGIS_E_OK)
    {
        goto done;
    }

    ok = aegis_pg_run_more(w->pg, AEGIS_STMT_CASE_TRANSITION, items, n,
                           aegis_pg_notify_due(w->pg), rows, &err) == AEGIS_E_OK;

    for (i = 0; ok && i < n; i++) {
        cases[i].tenant = asks[i].d->msg.tenant;
        cases[i].case_id = asks[i].d->msg.case_id;
        cases[i].traceparent = asks[i].d->msg.traceparent;
        cases[i].correlation_id = asks[i].d->msg.correlation_id;
        cases[i].version = rows[i].version;
        cases[i].state = strcmp(rows[i].code, "ok") == 0 ? AEGIS_STATE_ANALYZING
                         : AEGIS_N_STATES;
    }

    ok = ok && aegis_carry(w, here, cases, n, &err) == AEGIS_E_OK;
    if (ok) {
        ok = aegis_pg_commit(w->pg, &err) == AEGIS_E_OK;
    } else {
        aegis_pg_rollback(w->pg);
    }

    /* what was locked, or in the group twice, comes again by itself */
    for (i = 0; ok && i < n; i++) {
        aegis_fsm_judge(asks[i].d, &rows[i]);
    }

done:

    if (err.code != AEGIS_E_OK) {
        aegis_log(AEGIS_LOG_WARN, "fsm", "carry-failed", "code", "%s",
                  aegis_error_def(err.code)->code, "error", "%s", err.detail, NULL);
    }
    aegis_pg_clear(w->pg);
    aegis_error_clear(&err);
    free(rows);
    free(cases);
    free(items);
    return ok;
}

/* The whole way of fresh cases at once; those for which that is not the way come to
 * the front. Returns how many they are. */
static size_t
aegis_fsm_way(aegis_worker_t *w, aegis_fsm_ask_t *asks, size_t n)
{
    size_t            i, k;
    unsigned          here;
    aegis_error_t     err = AEGIS_ERROR_INIT;
    aegis_fsm_ask_t   swap;

    here = aegis_carry_offered();
    if (!aegis_way_open(here)) {
        return n;
    }

    k = n;
    if (aegis_way(w, here, asks, &k, &err) != AEGIS_E_OK) {
        aegis_log(AEGIS_LOG_WARN, "fsm", "way-failed", "code", "%s",
                  aegis_error_def(err.code)->code, "error", "%s", err.detail, NULL);
        aegis_error_clear(&err);
        return n;
    }

    for (i = 0, k = 0; i < n; i++) {
        if (!asks[i].taken) {
            swap = asks[k];
            asks[k] = asks[i];
            asks[i] = swap;
            k++;
        }
    }

    /* an item points into its ask */
    for (i = 0; i < k; i++) {
        aegis_fsm_ask_points(&asks[i]);
    }
    return k;
}

static aegis_code_t
aegis_fsm_handle(aegis_worker_t *w, aegis_delivery_t *d, size_t n)
{
    size_t            i, k[2], of;
    const char       *event;
    aegis_code_t      rc;
    aegis_fsm_ask_t  *asks;

    asks = calloc(2 * n, sizeof(aegis_fsm_ask_t));
    if (asks == NULL) {
        return AEGIS_E_UNAVAILABLE;
    }

    rc = AEGIS_E_OK;
    k[0] = k[1] = 0;

    for (i = 0; i < n && rc == AEGIS_E_OK; i++) {
        if (aegis_fsm_opens(&d[i].msg)) {
            rc = aegis_fsm_open(w, &d[i]);
        } else if (aegis_fsm_wanted(&d[i], &event)) {
            of = strcmp(event, "start_analysis") != 0;
            rc = aegis_fsm_ask(w, &d[i], event, "", &asks[of * n + k[of]]) ? AEGIS_E_OK
                 : AEGIS_E_UNAVAILABLE;
            k[of] += rc == AEGIS_E_OK;
        }
    }

    if (rc == AEGIS_E_OK && k[0]) {
        k[0] = aegis_fsm_way(w, asks, k[0]);
    }
    if (rc == AEGIS_E_OK && k[0] && !aegis_fsm_carry(w, asks, k[0])) {
        rc = aegis_fsm_run(w, asks, k[0]);
    }
    if (rc == AEGIS_E_OK && k[1]) {
        rc = aegis_fsm_run(w, asks + n, k[1]);
    }

    for (i = 0; i < 2 * n; i++) {
        aegis_fsm_ask_free(&asks[i]);
    }
    free(asks);
    return rc;
}

/* A fact that has moved its case, in the transaction that wrote it, ends with
 * "moved_to" (sql/functions/22_advance.sql). Others move none, whatever they say. */
static int
aegis_fsm_skips(const aegis_bus_msg_t *raw)
{
    size_t                  i;
    const char             *p;
    const aegis_subject_t  *s;

    static const char  moved[] = ",\"moved_to\":";

    s = aegis_subject(raw->subject);
    if (s && s->on_true[0] == '\0' && s->on_false[0] == '\0') {
        return 1;
    }

    p = raw->body.data;
    i = raw->body.len;
    if (i < sizeof(moved) + 2 || p[i - 1] != '}' || p[i - 2] != '}') {
        return 0;
    }

    for (i -= 2; i > 0 && p[i - 1] >= '0' && p[i - 1] <= '9'; i--) { /* void */ }

    return i < raw->body.len - 2 && i >= sizeof(moved) - 1
           && memcmp(p + i - (sizeof(moved) - 1), moved, sizeof(moved) - 1) == 0;
}

const aegis_role_t  aegis_role_fsm = {
    .name = "fsm",
    .sentence = "turns facts into transitions of their cases",
    .handle = aegis_fsm_handle,
    .skips = aegis_fsm_skips
};
