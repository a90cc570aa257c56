/*
 * aegis_module_role.c: the roles analyst, planner, gate and verify. They are
 * one: take a batch of commands, load the facts of all with one statement,
 * let the core decide each, commit all with one statement.
 * Invariant: a command is judged by what its commit answered, never by what
 * was loaded before. What is decided is core/aegis_module_<name>.c; what is
 * written, sql/functions/30_modules.sql.
 */
#include "aegis_analyst.h"
#include "aegis_verifier.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "aegis_failpoint.h"
#include "aegis_fsm.h"
#include "aegis_http.h"
#include "aegis_json.h"

#define AEGIS_MODULE_POLICY_RETRY_MS  1000

aegis_str_t
aegis_module_text(const char *s)
{
    return aegis_view(s);
}

aegis_str_t
aegis_module_or_empty(aegis_str_t s)
{
    return s.data == NULL ? aegis_str("") : s;
}

static void
aegis_module_say(aegis_delivery_t *d, aegis_code_t code, const char *reason)
{
    d->code = code;
    snprintf(d->reason, sizeof(d->reason), "%s", reason);
}


void
aegis_module_refused(aegis_delivery_t *d, const aegis_pg_row_t *row)
{
    json_t         *body;
    const char     *detail;
    aegis_code_t    code;
    aegis_error_t   err = AEGIS_ERROR_INIT;

    code = aegis_error_by_code(row->code)->id;
    snprintf(d->reason, sizeof(d->reason), "%s", row->code);

    body = json_loadb(row->body.data ? row->body.data : "", row->body.len, 0, NULL);
    detail = json_string_value(json_object_get(body, "detail"));
    if (detail != NULL) {
        /* the error's buffer cuts on a character's boundary */
        (void) aegis_error_set(&err, code, "%s: %s", row->code, detail);
        snprintf(d->reason, sizeof(d->reason), "%s", err.detail);
        aegis_error_clear(&err);

    } else if (row->body.len > 0) {
        (void) aegis_error_set(&err, code, "%s: %.*s", row->code, (int) row->body.len,
                               row->body.data);
        snprintf(d->reason, sizeof(d->reason), "%s", err.detail);
        aegis_error_clear(&err);
    }

    json_decref(body);
    d->code = code;
}

/* Let the core decide on the facts that were loaded. 0: the command is settled. */
static int
aegis_module_decide(aegis_worker_t *w, aegis_module_work_t *k, const aegis_pg_row_t *row)
{
    char                   *correlation;
    json_t                 *facts;
    aegis_str_t             c;
    aegis_code_t            rc;
    aegis_error_t           err = AEGIS_ERROR_INIT;
    aegis_module_worker_t  *mw;

    mw = w->data;

    rc = aegis_json_parse(row->body, &facts, &err);
    if (rc != AEGIS_E_OK) {
        snprintf(k->d->reason, sizeof(k->d->reason), "facts: %.200s", err.detail);
        k->d->code = AEGIS_E_INTERNAL;
        aegis_error_clear(&err);
        return 0;
    }

    c = aegis_module_or_empty(k->d->msg.correlation_id);
    correlation = strndup(c.data, c.len);

    if (correlation == NULL) {
        json_decref(facts);
        aegis_module_say(k->d, AEGIS_E_UNAVAILABLE, "no memory for the document");
        return 0;
    }

    rc = aegis_carry_decide(mw->module, facts, k->d->msg.data, mw->actor, correlation,
                            mw->earlier, &k->doc, &k->said, &err);

    json_decref(facts);
    free(correlation);

    if (rc != AEGIS_E_OK) {
        snprintf(k->d->reason, sizeof(k->d->reason), "%s: %.200s",
                 aegis_error_def(rc)->code,
                 err.detail[0] ? err.detail : aegis_error_def(rc)->title);
        /* a failure of ours may pass; any other is the command's and stays */
        k->d->code = aegis_error_def(rc)->verdict == AEGIS_VERDICT_DONE
                     ? AEGIS_E_SCHEMA : rc;
        aegis_error_clear(&err);
        return 0;
    }

    return 1;
}

/* What the load of a command says: 0 when it is settled by that. */
static int
aegis_module_loaded(aegis_worker_t *w, aegis_module_work_t *k, const aegis_pg_row_t *row)
{
    aegis_delivery_t  *d;

    d = k->d;

    if (strcmp(row->code, "ok") != 0) {
        aegis_module_refused(d, row);
        return 0;
    }

    if (row->version < d->msg.case_version) {
        snprintf(d->reason, sizeof(d->reason),
                 "the command is for version %d of the case, which is at %d",
                 d->msg.case_version, row->version);
        d->code = AEGIS_E_WRONG_STATE;
        return 0;
    }

    if (row->version > d->msg.case_version) {
        return 1;
    }

    return aegis_module_decide(w, k, row);
}

/* Everything of the item that a command says by itself. 0: it says too little. */
static int
aegis_module_fill(aegis_worker_t *w, aegis_module_work_t *k)
{
    aegis_str_t            *v;
    aegis_message_t        *msg;
    aegis_module_worker_t  *mw;

    mw = w->data;
    msg = &k->d->msg;

    if (msg->case_id.data == NULL || msg->case_version <= 0) {
        aegis_module_say(k->d, AEGIS_E_ENVELOPE,
                         "the command names no case_id or no case_version");
        return 0;
    }
    if (aegis_uuid_valid(msg->case_id) == 0) {
        aegis_module_say(k->d, AEGIS_E_ENVELOPE, "case_id is not a UUID");
        return 0;
    }

    memset(k->item, 0, sizeof(aegis_item_t));
    v = k->item->v;
    v[AEGIS_C_module] = aegis_module_text(mw->module->name);
    v[AEGIS_C_tenant] = aegis_module_or_empty(msg->tenant);
    v[AEGIS_C_principal] = aegis_module_text(mw->actor);
    v[AEGIS_C_actor] = v[AEGIS_C_principal];
    v[AEGIS_C_key] = msg->id;
    v[AEGIS_C_request_id] = msg->id;
    v[AEGIS_C_consumer] = aegis_module_text(w->consumer->durable);
    v[AEGIS_C_case_id] = msg->case_id;
    v[AEGIS_C_states] = aegis_module_text(mw->module->states);
    v[AEGIS_C_traceparent] = aegis_module_or_empty(msg->traceparent);

    return 1;
}

/* Load and decide works[0..n-1]; those that go on to the commit are moved to
 * the front and counted in *n. */
static aegis_code_t
aegis_module_load(aegis_worker_t *w, aegis_module_work_t *works, size_t *n,
    aegis_error_t *err)
{
    size_t                  i, left;
    aegis_code_t            rc;
    const aegis_item_t     *items[AEGIS_MODULE_BATCH];
    const aegis_pg_row_t   *rows;
    aegis_module_cited_t   *cited;
    aegis_module_worker_t  *mw;

    for (i = 0; i < *n; i++) {
        items[i] = works[i].item;
    }

    rc = aegis_pg_run_each(w->pg, AEGIS_STMT_MODULE_LOAD, items, *n, 0, &rows, err);
    if (rc != AEGIS_E_OK) {
        return rc;
    }

    mw = w->data;
    json_array_clear(mw->earlier);

    cited = mw->module->id == AEGIS_MODULE_plan ? aegis_module_cite(w, items, rows, *n) : NULL;

    for (i = 0, left = 0; i < *n; i++) {
        if (aegis_module_loaded(w, &works[i], cited ? &cited[i].row : &rows[i])) {
            works[left++] = works[i];
        }
    }

    aegis_module_cited_free(cited, *n);
    *n = left;
    return AEGIS_E_OK;
}

aegis_code_t
aegis_module_batch(aegis_worker_t *w, aegis_delivery_t *d, size_t n, aegis_error_t *err)
{
    size_t                  i, left;
    aegis_code_t            rc;
    aegis_module_work_t     works[AEGIS_MODULE_BATCH];
    aegis_module_worker_t  *mw;

    mw = w->data;

    for (i = 0, left = 0; i < n; i++) {
        works[left].d = &d[i];
        works[left].item = &mw->items[left];
        works[left].doc = NULL;
        memset(&works[left].said, 0, sizeof(works[left].said));
        left += (size_t) aegis_module_fill(w, &works[left]);
    }

    rc = left == 0 ? AEGIS_E_OK : aegis_module_load(w, works, &left, err);
    if (rc == AEGIS_E_OK && left > 0 && AEGIS_FP(module_after_load, w->role->name)) {
        rc = aegis_error_set(err, AEGIS_E_UNAVAILABLE, "the decisions are lost");
    }
    if (rc == AEGIS_E_OK && left > 0) {
        rc = aegis_module_commit(w, works, left, err);
    }

    for (i = 0; i < left; i++) {
        free(works[i].doc);
    }

    aegis_pg_clear(w->pg);
    return rc;
}

static aegis_code_t
aegis_module_handle(aegis_worker_t *w, aegis_delivery_t *d, size_t n)
{
    size_t                  i, part;
    aegis_code_t            rc;
    aegis_error_t           err = AEGIS_ERROR_INIT;
    struct timespec         t0, t1;
    aegis_module_worker_t  *mw;

    mw = w->data;
    clock_gettime(CLOCK_MONOTONIC, &t0);

    /* the gate judges by what is in the database: first put ours there */
    rc = mw->policy == NULL ? AEGIS_E_OK
         : aegis_module_policy_store(mw->policy, w->pg, &err);

    /* so does the planner build of what is there */
    rc = rc == AEGIS_E_OK ? aegis_module_templates_store(mw->templates, w->pg, &err) : rc;

    for (i = 0; rc == AEGIS_E_OK && i < n; i += part) {
        part = n - i < AEGIS_MODULE_BATCH ? n - i : AEGIS_MODULE_BATCH;
        rc = aegis_module_batch(w, d + i, part, &err);

        /* the first parts are committed: say so, and let the rest come again */
        if (rc != AEGIS_E_OK && i > 0) {
            for ( ; i < n; i++) {
                aegis_module_say(&d[i], AEGIS_E_UNAVAILABLE, err.detail);
            }
            rc = AEGIS_E_OK;
        }
    }

    clock_gettime(CLOCK_MONOTONIC, &t1);
    aegis_metric_observe(mw->seconds, (double) (t1.tv_sec - t0.tv_sec)
                                      + (double) (t1.tv_nsec - t0.tv_nsec) / 1e9);

    if (rc != AEGIS_E_OK) {
        aegis_log(AEGIS_LOG_WARN, w->role->name, "batch.failed",
                  "code", "%s", aegis_error_def(rc)->code, "detail", "%s", err.detail, NULL);
        rc = AEGIS_E_UNAVAILABLE;
    }

    aegis_error_clear(&err);
    return rc;
}

static void
aegis_module_done(aegis_worker_t *w)
{
    aegis_module_worker_t  *mw;

    mw = w->data;
    if (mw == NULL) {
        return;
    }

    if (mw->module) {
        aegis_carry_offer(AEGIS_CARRY_BIT(mw->module->id), 0);
    }
    aegis_module_policy_free(mw->policy);
    json_decref(mw->earlier);
    aegis_verifier_free(mw->verifier);
    aegis_analyst_free(mw->analyst);
    aegis_module_templates_free(mw->templates);
    free(mw->items);
    free(mw);
    w->data = NULL;
}

/* Called again after a failure. */
aegis_code_t
aegis_module_init(aegis_worker_t *w, aegis_module_id_t id, aegis_error_t *err)
{
    char                    labels[64];
    aegis_module_worker_t  *mw;

    aegis_module_done(w);

    mw = calloc(1, sizeof(aegis_module_worker_t));
    if (mw == NULL) {
        return aegis_error_set(err, AEGIS_E_UNAVAILABLE, "no memory");
    }
    w->data = mw;

    mw->items = calloc(AEGIS_MODULE_BATCH, sizeof(aegis_item_t));
    if (mw->items == NULL) {
        return aegis_error_set(err, AEGIS_E_UNAVAILABLE, "no memory");
    }

    mw->module = aegis_module(id);
    snprintf(mw->actor, sizeof(mw->actor), "aegis:%s", mw->module->role);
    snprintf(labels, sizeof(labels), "role=\"%s\"", mw->module->role);
    mw->seconds = aegis_histogram("aegis_module_batch_seconds", labels,
                                  "time that a batch of commands takes");

    return AEGIS_E_OK;
}

static aegis_code_t
aegis_module_init_gate(aegis_worker_t *w, aegis_error_t *err)
{
    aegis_code_t            rc;
    aegis_module_worker_t  *mw;

    rc = aegis_module_init(w, AEGIS_MODULE_gate, err);
    if (rc != AEGIS_E_OK) {
        return rc;
    }

    mw = w->data;
    mw->earlier = json_array();
    mw->policy = calloc(1, sizeof(aegis_module_policy_t));
    if (mw->policy == NULL || mw->earlier == NULL) {
        return aegis_error_set(err, AEGIS_E_UNAVAILABLE, "no memory");
    }

    mw->policy->errors = aegis_counter("aegis_gate_policy_errors_total", "",
                                       "policy files that were refused");
    mw->policy->loaded = aegis_gauge("aegis_gate_policy_ok", "",
                                     "1 when the policy file as it is now is in force");

    rc = aegis_module_policy_read(mw->policy, w->conf, err);
    if (rc == AEGIS_E_OK) {
        aegis_metric_set(mw->policy->loaded, 1);
    }

    return rc;
}

/* The gateway judges by the database's policy even while no command comes. */
static int
aegis_module_tick_gate(aegis_worker_t *w)
{
    aegis_code_t            rc;
    aegis_error_t           err = AEGIS_ERROR_INIT;
    aegis_module_worker_t  *mw;

    mw = w->data;
    rc = aegis_module_policy_store(mw->policy, w->pg, &err);
    if (rc != AEGIS_E_OK) {
        aegis_log(AEGIS_LOG_WARN, "gate", "policy.not_stored", "detail", "%s", err.detail,
                  NULL);
    }

    aegis_error_clear(&err);
    aegis_carry_offer(AEGIS_CARRY_BIT(AEGIS_MODULE_gate), mw->policy->stored);
    return aegis_module_expire(w) ? 0 : AEGIS_MODULE_POLICY_RETRY_MS;
}

static aegis_code_t
aegis_module_init_planner(aegis_worker_t *w, aegis_error_t *err)
{
    aegis_code_t  rc;

    rc = aegis_module_init(w, AEGIS_MODULE_plan, err);
    aegis_carry_offer_cite(aegis_module_cite_facts);

    return rc == AEGIS_E_OK ? aegis_module_templates_init(w, err) : rc;
}

static aegis_code_t
aegis_module_init_verify(aegis_worker_t *w, aegis_error_t *err)
{
    aegis_code_t            rc;
    aegis_module_worker_t  *mw;

    rc = aegis_module_init(w, AEGIS_MODULE_verify, err);
    if (rc == AEGIS_E_OK) {
        mw = w->data;
        mw->verifier = aegis_verifier_new(w, err);
        rc = mw->verifier ? AEGIS_E_OK : err->code;
        aegis_carry_offer(AEGIS_CARRY_BIT(AEGIS_MODULE_verify), rc == AEGIS_E_OK);
    }

    return rc;
}

static int
aegis_module_tick_verify(aegis_worker_t *w)
{
    return aegis_verifier_tick(((aegis_module_worker_t *) w->data)->verifier, w);
}

static void
aegis_module_reload_verify(aegis_worker_t *w)
{
    aegis_verifier_reload(((aegis_module_worker_t *) w->data)->verifier, w);
}

const aegis_role_t  aegis_role_analyst = {
    .name = "analyst",
    .sentence = "finds what is unusual, collects evidence for a case",
    .init = aegis_analyst_init,
    .handle = aegis_module_handle,
    .tick = aegis_analyst_tick,
    .reload = aegis_analyst_reload,
    .done = aegis_module_done
};

const aegis_role_t  aegis_role_planner = {
    .name = "planner",
    .sentence = "makes a plan for a case",
    .init = aegis_module_init_planner,
    .handle = aegis_module_handle,
    .tick = aegis_module_templates_tick,
    .reload = aegis_module_templates_reload,
    .done = aegis_module_done
};

const aegis_role_t  aegis_role_gate = {
    .name = "gate",
    .sentence = "judges the current plan by the policy",
    .init = aegis_module_init_gate,
    .handle = aegis_module_handle,
    .tick = aegis_module_tick_gate,
    .reload = aegis_module_policy_reload,
    .done = aegis_module_done
};

const aegis_role_t  aegis_role_verify = {
    .name = "verify",
    .sentence = "checks that a repair holds",
    .init = aegis_module_init_verify,
    .handle = aegis_module_handle,
    .tick = aegis_module_tick_verify,
    .reload = aegis_module_reload_verify,
    .done = aegis_module_done
};
