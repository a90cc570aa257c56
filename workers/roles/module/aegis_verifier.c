/*
 * aegis_verifier.c: verifications that take time. Those that are due are
 * claimed under a lease, judged by the core on what the database and Prometheus
 * say, and given back with the time at which they are due again: between two
 * evaluations a verification is a row and nothing else, so any number of them
 * can be under way and none holds a thread.
 * Invariant: what is committed names the epoch of the claim; whoever lost it
 * (killed, slow, cut off) changes nothing, and the verdict is another's.
 */
#include "aegis_verifier.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "aegis_json.h"
#include "aegis_otel.h"

#define AEGIS_VERIFIER_CLAIM_MS  500
#define AEGIS_VERIFIER_BUSY_MS   20     /* while queries are on their way */
#define AEGIS_VERIFIER_AWAY_MS   2000
#define AEGIS_VERIFIER_LAG_MS    5000
#define AEGIS_VERIFIER_MAX       256    /* verifications in one statement */

/* A verification that is ours until its lease ends. */
typedef struct {
    char                    *tenant;
    char                     case_id[37];
    char                     verify_id[37];
    char                     epoch[12];
    int                      rollback;  /* its rollback is waited for */
    json_t                  *facts;
    aegis_verify_ask_t       asks[AEGIS_VERIFY_MAX_ASKS];
    aegis_verifier_query_t   queries[AEGIS_VERIFY_MAX_ASKS];
    size_t                   n;
    char                    *doc;       /* to be committed */
    char                     outcome[16];
    int64_t                  claimed;
    int64_t                  until;
} aegis_verifier_claim_t;

struct aegis_verifier_s {
    aegis_verifier_http_t   *http;
    aegis_verifier_claim_t  *claims[AEGIS_VERIFIER_MAX];
    size_t                   n_claims;
    aegis_item_t            *items;
    int64_t                  claim_at;
    int64_t                  lag_at;
    aegis_metric_t          *fenced;
    aegis_metric_t          *running;
    aegis_metric_t          *late;
};


int64_t
aegis_verifier_now(void)
{
    struct timespec  ts;

    clock_gettime(CLOCK_MONOTONIC, &ts);
    return (int64_t) ts.tv_sec * 1000 + ts.tv_nsec / 1000000;
}


static void
aegis_verifier_claim_free(aegis_verifier_t *v, aegis_verifier_claim_t *c)
{
    size_t  i;

    for (i = 0; i < c->n; i++) {
        if (c->queries[i].answer == NULL) {
            aegis_verifier_http_forget(v->http, &c->queries[i]);
        }
        json_decref(c->queries[i].answer);
    }

    json_decref(c->facts);
    free(c->tenant);
    free(c->doc);
    free(c);
}


void
aegis_verifier_free(aegis_verifier_t *v)
{
    if (v == NULL) {
        return;
    }

    while (v->n_claims > 0) {
        aegis_verifier_claim_free(v, v->claims[--v->n_claims]);
    }

    aegis_verifier_http_free(v->http);
    free(v->items);
    free(v);
}


aegis_verifier_t *
aegis_verifier_new(aegis_worker_t *w, aegis_error_t *err)
{
    aegis_verifier_t  *v;

    v = calloc(1, sizeof(aegis_verifier_t));
    if (v == NULL) {
        (void) aegis_error_set(err, AEGIS_E_UNAVAILABLE, "no memory");
        return NULL;
    }

    v->items = calloc(AEGIS_VERIFIER_MAX, sizeof(aegis_item_t));
    v->http = aegis_verifier_http_new(w->conf);
    if (v->items == NULL || v->http == NULL) {
        aegis_verifier_free(v);
        (void) aegis_error_set(err, AEGIS_E_UNAVAILABLE, "no memory");
        return NULL;
    }

    v->fenced = aegis_counter("aegis_verify_fenced_total", "",
                              "evaluations that came too late: somebody else had taken over");
    v->running = aegis_gauge("aegis_verify_running", "", "verifications that are under way");
    v->late = aegis_gauge("aegis_verify_late_seconds", "",
                          "how long the longest overdue evaluation has been due");
    return v;
}


void
aegis_verifier_reload(aegis_verifier_t *v, aegis_worker_t *w)
{
    aegis_verifier_http_reload(v->http, w->conf);
}


static void
aegis_verifier_count(const char *name, const char *outcome, const char *help)
{
    char  labels[64];

    snprintf(labels, sizeof(labels), "outcome=\"%s\"", outcome);
    aegis_metric_add(aegis_counter(name, labels, help), 1);
}


/* One row of verify_claim. 0: no memory; the lease will end. */
static int
aegis_verifier_take(aegis_verifier_t *v, aegis_worker_t *w, int row, int64_t until)
{
    size_t                   i;
    const char              *body;
    aegis_error_t            err = AEGIS_ERROR_INIT;
    aegis_verifier_claim_t  *c;

    c = calloc(1, sizeof(aegis_verifier_claim_t));
    if (c == NULL) {
        return 0;
    }

    body = aegis_pg_value(w->pg, row, 5);
    c->tenant = strdup(aegis_pg_value(w->pg, row, 0));
    snprintf(c->case_id, sizeof(c->case_id), "%s", aegis_pg_value(w->pg, row, 1));
    snprintf(c->verify_id, sizeof(c->verify_id), "%s", aegis_pg_value(w->pg, row, 2));
    snprintf(c->epoch, sizeof(c->epoch), "%s", aegis_pg_value(w->pg, row, 3));
    c->rollback = strcmp(aegis_pg_value(w->pg, row, 4), "ROLLBACK") == 0;
    c->claimed = aegis_verifier_now();
    c->until = until;

    if (c->tenant == NULL
        || aegis_json_parse(aegis_view(body), &c->facts, &err)
           != AEGIS_E_OK)
    {
        aegis_log(AEGIS_LOG_ERROR, "verify", "facts.unreadable", "verify_id", "%s",
                  c->verify_id, "detail", "%s", err.detail, NULL);
        aegis_error_clear(&err);
        aegis_verifier_claim_free(v, c);
        return 0;
    }

    if (!c->rollback) {
        c->n = aegis_verify_asks(json_object_get(c->facts, "verification"), c->asks);
    }

    for (i = 0; i < c->n; i++) {
        c->queries[i].ask = &c->asks[i];
        aegis_verifier_http_ask(v->http, c->tenant, &c->queries[i]);
    }

    v->claims[v->n_claims++] = c;
    return 1;
}


static void
aegis_verifier_claim(aegis_verifier_t *v, aegis_worker_t *w, int64_t now)
{
    int            i, rows, lease_s, least_s;
    char           limit[24], lease[12];
    int64_t        room;
    const char    *params[3];
    aegis_error_t  err = AEGIS_ERROR_INIT;

    room = aegis_conf_int(w->conf, "verify.concurrency");
    room = room < AEGIS_VERIFIER_MAX ? room : AEGIS_VERIFIER_MAX;
    room -= (int64_t) v->n_claims;
    v->claim_at = now + AEGIS_VERIFIER_CLAIM_MS;
    if (room <= 0) {
        return;
    }

    /* the queries of a claim end well within its lease */
    lease_s = (int) aegis_conf_int(w->conf, "verify.lease_s");
    least_s = (int) (aegis_conf_int(w->conf, "verify.prometheus.timeout_ms") / 500) + 5;
    lease_s = lease_s > least_s ? lease_s : least_s;

    snprintf(limit, sizeof(limit), "%lld", (long long) room);
    snprintf(lease, sizeof(lease), "%d", lease_s);
    params[0] = w->owner;
    params[1] = limit;
    params[2] = lease;

    if (aegis_pg_sql(w->pg, AEGIS_SQL_VERIFY_CLAIM, 3, params, &rows, &err) != AEGIS_E_OK) {
        aegis_log(AEGIS_LOG_WARN, "verify", "claim.failed", "detail", "%s", err.detail,
                  NULL);
        aegis_error_clear(&err);
        v->claim_at = now + AEGIS_VERIFIER_AWAY_MS;
        return;
    }

    for (i = 0; i < rows; i++) {
        (void) aegis_verifier_take(v, w, i, now + (int64_t) lease_s * 1000);
    }

    /* there may be more behind them */
    if (rows == (int) room) {
        v->claim_at = now;
    }

    aegis_pg_clear(w->pg);
}


/* The answers are there: let the core judge. 0: it cannot, the lease will end. */
static int
aegis_verifier_judge(aegis_verifier_claim_t *c)
{
    char                 id[AEGIS_UUID_LEN + 1];
    size_t               i, n;
    json_t              *doc, *answers[AEGIS_VERIFY_MAX_ASKS];
    aegis_code_t         rc;
    aegis_error_t        err = AEGIS_ERROR_INIT;
    aegis_module_ctx_t   ctx;

    aegis_carry_uuid(id);
    ctx.id = id;
    ctx.actor = "aegis:verify";
    ctx.correlation_id = "";

    for (i = 0; i < c->n; i++) {
        answers[i] = c->queries[i].answer;
        c->queries[i].answer = NULL;
    }

    n = c->n;
    c->n = 0;
    doc = NULL;

    rc = aegis_verify_prom_fill(json_object_get(c->facts, "verification"), c->asks, answers,
                                n, &err);
    if (rc == AEGIS_E_OK) {
        rc = c->rollback ? aegis_module_verify_rolled(c->facts, &ctx, &doc)
                         : aegis_module_verify_step(c->facts, &ctx, &doc, &err);
    }

    if (rc == AEGIS_E_OK) {
        snprintf(c->outcome, sizeof(c->outcome), "%s",
                 aegis_json_str(json_object_get(doc, "run"), "outcome"));
        aegis_carry_move(doc);
        c->doc = doc ? aegis_json_text(doc) : strdup("{}");
    }

    if (c->doc == NULL) {
        aegis_log(AEGIS_LOG_ERROR, "verify", "not-judged", "verify_id", "%s", c->verify_id,
                  "detail", "%s", err.detail, NULL);
    }

    json_decref(doc);
    aegis_error_clear(&err);
    return c->doc != NULL;
}


/* From the command to the verdict, however many verifiers have looked at it. */
static void
aegis_verifier_span(const aegis_verifier_claim_t *c, int64_t now)
{
    int64_t       ms;
    const char   *context;
    aegis_span_t  span;

    context = aegis_json_str(c->facts, "traceparent");

    if (!aegis_otel_on()
        || !aegis_otel_begin(&span, aegis_view(context),
                             AEGIS_SPAN_INTERNAL, NULL, "verification"))
    {
        return;
    }

    ms = json_integer_value(json_object_get(c->facts, "age_ms")) + now - c->claimed;
    span.start_ns -= (uint64_t) (ms > 0 ? ms : 0) * 1000000u;
    aegis_span_str(&span, "aegis.role", aegis_str("verify"));
    aegis_span_str(&span, "aegis.tenant", aegis_view(c->tenant));
    aegis_span_str(&span, "aegis.case_id", aegis_view(c->case_id));
    aegis_span_str(&span, "aegis.verify_id",
                   aegis_view(c->verify_id));
    aegis_span_str(&span, "aegis.verify.outcome",
                   aegis_view(c->outcome));
    aegis_span_int(&span, "aegis.epoch", strtol(c->epoch, NULL, 10));
    aegis_otel_end(&span, strcmp(c->outcome, "pass") == 0 ? NULL : c->outcome);
}


static void
aegis_verifier_settled(aegis_verifier_t *v, const aegis_verifier_claim_t *c,
    const aegis_pg_row_t *row)
{
    int          passed;
    const char  *state;

    if (strcmp(row->code, "fenced") == 0) {
        aegis_metric_add(v->fenced, 1);
        aegis_log(AEGIS_LOG_WARN, "verify", "fenced", "verify_id", "%s", c->verify_id, NULL);
        return;
    }

    if (strcmp(row->code, "ok") != 0) {
        return;                         /* cancelled: the case has gone on */
    }

    state = row->extra.data ? row->extra.data : "";

    if (!c->rollback) {
        aegis_verifier_count("aegis_verify_evaluations_total",
                             c->outcome[0] ? c->outcome : "undecided",
                             "evaluations of verifications that take time, by outcome");
    }

    if (strncmp(state, "RUNNING", row->extra.len) != 0
        && strncmp(state, "ROLLBACK", row->extra.len) != 0)
    {
        if (row->version > json_integer_value(json_object_get(
                json_object_get(c->facts, "case"), "version")))
        {
            passed = strcmp(c->outcome, "pass") == 0;
            aegis_carry_count_move(AEGIS_STATE_VERIFYING, passed ? AEGIS_STATE_CLOSED
                                   : AEGIS_STATE_PARKED, passed ? "verify_pass" : "verify_failed");
        }
        aegis_verifier_count("aegis_verify_verdicts_total", c->outcome,
                             "verdicts of verifications that take time, by outcome");
        aegis_verifier_span(c, aegis_verifier_now());
        aegis_log(AEGIS_LOG_INFO, "verify", "verdict", "case_id", "%s", c->case_id,
                  "verify_id", "%s", c->verify_id, "outcome", "%s", c->outcome, NULL);
    }
}


/* Commit all that have been judged; those that could not be stay for a while. */
static void
aegis_verifier_commit(aegis_verifier_t *v, aegis_worker_t *w, int64_t now)
{
    size_t                   i, n, left;
    aegis_str_t             *x;
    aegis_error_t            err = AEGIS_ERROR_INIT;
    const aegis_item_t      *items[AEGIS_VERIFIER_MAX];
    const aegis_pg_row_t    *rows;
    aegis_verifier_claim_t  *c, *judged[AEGIS_VERIFIER_MAX];

    for (i = 0, n = 0, left = 0; i < v->n_claims; i++) {
        c = v->claims[i];

        if (c->doc == NULL) {
            v->claims[left++] = c;
            continue;
        }

        memset(&v->items[n], 0, sizeof(aegis_item_t));
        x = v->items[n].v;
        x[AEGIS_C_tenant] = aegis_view(c->tenant);
        x[AEGIS_C_case_id] = aegis_view(c->case_id);
        x[AEGIS_C_verify_id] = aegis_view(c->verify_id);
        x[AEGIS_C_epoch] = aegis_view(c->epoch);
        x[AEGIS_C_doc] = aegis_view(c->doc);
        items[n] = &v->items[n];
        judged[n++] = c;
    }

    v->n_claims = left;
    if (n == 0) {
        return;
    }

    if (aegis_pg_run_each(w->pg, AEGIS_STMT_VERIFY_STEP, items, n, 1, &rows, &err)
        != AEGIS_E_OK)
    {
        aegis_log(AEGIS_LOG_WARN, "verify", "commit.failed", "detail", "%s", err.detail,
                  NULL);
        aegis_error_clear(&err);
        rows = NULL;
    }

    for (i = 0; i < n; i++) {
        c = judged[i];

        if ((rows == NULL || rows[i].status >= 500) && now < c->until) {
            v->claims[v->n_claims++] = c;   /* the same doc again: the epoch decides */
            continue;
        }
        if (rows != NULL) {
            aegis_verifier_settled(v, c, &rows[i]);
        }
        aegis_verifier_claim_free(v, c);
    }

    aegis_pg_clear(w->pg);
}


static void
aegis_verifier_lag(aegis_verifier_t *v, aegis_worker_t *w, int64_t now)
{
    int            rows;
    double         late;
    aegis_error_t  err = AEGIS_ERROR_INIT;

    v->lag_at = now + AEGIS_VERIFIER_LAG_MS;

    if (aegis_pg_sql(w->pg, AEGIS_SQL_VERIFY_LAG, 0, NULL, &rows, &err) == AEGIS_E_OK
        && rows == 1)
    {
        late = strtod(aegis_pg_value(w->pg, 0, 1), NULL);
        aegis_metric_set(v->running, strtod(aegis_pg_value(w->pg, 0, 0), NULL));
        aegis_metric_set(v->late, late > 0 ? late : 0);
        aegis_pg_clear(w->pg);
    }

    aegis_error_clear(&err);
}


int
aegis_verifier_tick(aegis_verifier_t *v, aegis_worker_t *w)
{
    int                      waits;
    size_t                   i, k, left;
    int64_t                  now, due;
    aegis_verifier_claim_t  *c;

    now = aegis_verifier_now();

    if (!*w->stopping && now >= v->claim_at && aegis_pg_connected(w->pg)) {
        aegis_verifier_claim(v, w, now);
    }

    (void) aegis_verifier_http_go(v->http);
    waits = 0;

    for (i = 0, left = 0; i < v->n_claims; i++) {
        c = v->claims[i];

        for (k = 0; k < c->n && c->queries[k].answer != NULL; k++) {
            continue;
        }

        if (k < c->n) {
            waits = 1;

        } else if (c->doc == NULL && !aegis_verifier_judge(c)) {
            aegis_verifier_claim_free(v, c);
            continue;
        }

        v->claims[left++] = c;
    }

    v->n_claims = left;

    if (aegis_pg_connected(w->pg)) {
        aegis_verifier_commit(v, w, now);

        if (now >= v->lag_at) {
            aegis_verifier_lag(v, w, now);
        }
    }

    if (waits) {
        return AEGIS_VERIFIER_BUSY_MS;
    }

    due = v->claim_at - aegis_verifier_now();
    return due > 0 ? (int) due : 0;
}
