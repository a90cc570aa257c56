/*
 * aegis_way.c: the decisions of a case's way, one after the other, on what one
 * statement has loaded, and on what the knowledge base says: analyst, planner, gate,
 * the steps when they change nothing outside, verifier.
 * Invariant: nothing is written here; a stage that asks for more than a row, a fact and
 * a move (people, time, an effect, a guard that fails) ends the way before it, and the
 * command of the state that was reached goes out.
 */
#include "aegis_way.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "aegis_failpoint.h"
#include "aegis_json.h"
#include "aegis_time.h"
#include "aegis_way_rows.h"

/* The fsm role has other cases to move. */
#define AEGIS_WAY_CITE_MS  250

int
aegis_way_open(unsigned here)
{
    return (here & AEGIS_CARRY_BIT(AEGIS_MODULE_analyze))
           && (here & AEGIS_CARRY_BIT(AEGIS_MODULE_plan))
           && (here & AEGIS_CARRY_BIT(AEGIS_MODULE_gate));
}

/* What the next module is to know of what this one has made. */
static void
aegis_way_learn(aegis_way_t *k, aegis_module_id_t id, const json_t *artefact,
    const json_t *more)
{
    size_t   i;
    json_t  *seen, *refs, *plan;

    if (id == AEGIS_MODULE_analyze) {
        refs = json_array();
        for (i = 0; i < json_array_size(more) && i < 16; i++) {
            json_array_append(refs, json_object_get(json_array_get(more, i), "ref"));
        }
        seen = json_copy((json_t *) artefact);
        json_object_del(seen, "labels");
        json_object_set_new(seen, "refs", refs);
        json_array_append_new(json_object_get(json_object_get(k->facts, "planning"),
                                              "evidence"), seen);

    } else if (id == AEGIS_MODULE_plan) {
        plan = json_copy((json_t *) artefact);
        json_object_del(plan, "params");
        json_object_del(plan, "template");
        json_object_set_new(plan, "checked", json_true());  /* it was hashed just now */
        json_object_set_new(k->facts, "plan", plan);
        json_object_set(json_object_get(k->facts, "case"), "plan_id",
                        json_object_get(artefact, "plan_id"));
    }
}

/* Is a document one that moves the case, and no more? */
static int
aegis_way_plain(const json_t *doc)
{
    return json_object_get(doc, "move") && !json_object_get(doc, "approval")
           && !json_object_get(doc, "note") && !json_object_get(doc, "verify_run");
}

/* One module. 0: the way ends before it. */
static int
aegis_way_module(aegis_way_t *k, aegis_module_id_t id, json_t *earlier)
{
    int                     ok;
    char                    actor[40];
    json_t                 *doc, *request;
    aegis_code_t            rc;
    aegis_error_t           err = AEGIS_ERROR_INIT;
    aegis_way_stage_t      *stage;
    const aegis_module_t   *m;

    m = aegis_module(id);
    if (strcmp(aegis_state_command(k->c.state), m->command) != 0) {
        return 0;
    }

    stage = &k->stages[k->n_stages];
    memset(stage, 0, sizeof(*stage));
    stage->module = m;
    stage->begun_ns = aegis_carry_clock();
    snprintf(actor, sizeof(actor), "aegis:%s", m->role);

    request = json_pack("{s:i}", "case_version", k->c.version);
    rc = request ? aegis_carry_document(m, k->facts, request, actor, k->correlation, earlier,
                                        &doc, &stage->said, &err)
         : AEGIS_E_UNAVAILABLE;
    json_decref(request);
    aegis_error_clear(&err);
    if (rc != AEGIS_E_OK) {
        return 0;
    }

    ok = aegis_way_plain(doc) && aegis_way_doc_artefact(k, doc)
         && aegis_way_doc_move(k, json_object_get(doc, "move"), aegis_json_str(doc, "msg_id"),
                               aegis_json_str(doc, "subject"), json_object_get(doc, "data"),
                               NULL);
    if (ok) {
        aegis_way_learn(k, id, json_object_get(doc, "artefact"), json_object_get(doc, "more"));
        k->n_stages++;
    }

    json_decref(doc);
    return ok;
}

/* The run's steps, when they can be made here. */
static int
aegis_way_run(aegis_worker_t *w, aegis_way_t *k)
{
    json_t              *steps;
    aegis_carry_run_t    run;

    if (k->c.state != AEGIS_STATE_EXECUTING) {
        return 0;
    }

    aegis_carry_uuid(k->exec_id);
    run.conf = w->conf;
    run.tenant = aegis_json_str(json_object_get(k->facts, "case"), "tenant");
    run.case_id = aegis_json_str(json_object_get(k->facts, "case"), "case_id");
    run.exec_id = k->exec_id;
    run.traceparent = k->traceparent;
    run.plan = json_object_get(json_object_get(k->facts, "plan"), "plan");

    steps = aegis_carry_idle(&run);
    if (steps && aegis_way_doc_run(k, k->exec_id, w->owner, steps)) {
        return 1;
    }

    k->exec_id[0] = '\0';
    return 0;
}

/* Is there a check that looks at a metric, of whatever kind? */
static int
aegis_way_measures(const json_t *checks)
{
    size_t       i;
    json_t      *check, *v;
    const char  *name;

    json_array_foreach((json_t *) checks, i, check) {
        json_object_foreach(check, name, v) {
            if (strcmp(name, "metric") == 0
                || (json_is_string(v) && strcmp(json_string_value(v), "metric") == 0)
                || json_is_object(v) || json_is_array(v))
            {
                return 1;
            }
        }
    }

    return 0;
}

/* What the verifier looks at, when it needs nothing that was measured. */
static int
aegis_way_verification(aegis_way_t *k)
{
    size_t    i, n;
    json_t   *plan, *measured, *checks;
    int64_t   now;

    plan = json_object_get(k->facts, "plan");
    checks = json_object_get(json_object_get(plan, "plan"), "verify");
    if (!json_is_array(checks) || aegis_way_measures(checks) || !aegis_time_parse(
            aegis_view(aegis_json_str(k->facts, "now")), &now))
    {
        return 0;
    }

    measured = json_array();
    for (i = 0, n = json_array_size(checks); i < n; i++) {
        json_array_append_new(measured, json_object());
    }

    return json_object_set_new(k->facts, "verification", json_pack(
        "{s:f, s:{s:O, s:O}, s:{s:O, s:s, s:O}, s:{s:f, s:f}, s:o}",
        "now_s", (double) now,
        "plan", "plan_id", json_object_get(plan, "plan_id"), "plan", json_object_get(plan, "plan"),
        "run", "exec_id", json_object_get(json_object_get(k->doc, "run"), "exec_id"),
            "state", "DONE",
            "steps", json_object_get(k->doc, "steps"),
        "change", "from_s", (double) now, "to_s", (double) now, "measured", measured)) == 0;
}

/* What was loaded, and the first of the modules, which needs no more than that. */
static void
aegis_way_begin(aegis_way_t *k, const aegis_pg_row_t *row)
{
    aegis_error_t  err = AEGIS_ERROR_INIT;

    if (strcmp(row->code, "ok") != 0
        || aegis_json_parse(row->body, &k->facts, &err) != AEGIS_E_OK)
    {
        aegis_error_clear(&err);
        k->facts = NULL;
        return;
    }

    k->begun = aegis_way_doc_begin(k)
        && aegis_carry_whole(json_object_get(k->facts, "policy"))
        && aegis_carry_whole(json_object_get(json_object_get(k->facts, "planning"), "template"));
    aegis_carry_checked(json_object_get(k->facts, "policy"));
    k->goes = k->begun && aegis_way_module(k, AEGIS_MODULE_analyze, NULL);
}

static int
aegis_way_quotes(const aegis_way_t *k)
{
    return k->begun && k->goes && json_is_true(json_object_get(json_object_get(k->facts, "planning"),
                                                   "quotes"));
}

/* What the planner quotes. A case without an answer ends its way before the planner,
 * who has the time to ask again. */
static void
aegis_way_cite(aegis_worker_t *w, aegis_way_t *works, size_t n)
{
    size_t        i, asked;
    json_t       *facts[AEGIS_CARRY_MAX];
    aegis_str_t   tenants[AEGIS_CARRY_MAX];

    for (i = 0, asked = 0; i < n; i++) {
        if (aegis_way_quotes(&works[i])) {
            tenants[asked] = works[i].c.tenant;
            facts[asked++] = works[i].facts;
        }
    }
    if (asked == 0) {
        return;
    }

    aegis_carry_cite(w, tenants, facts, asked, AEGIS_WAY_CITE_MS);

    for (i = 0; i < n; i++) {
        works[i].goes = works[i].goes && (!aegis_way_quotes(&works[i])
                        || json_object_get(works[i].facts, "knowledge") != NULL);
    }
}

/* As far as it goes. */
static void
aegis_way_decide(aegis_worker_t *w, unsigned here, aegis_way_t *k, json_t *earlier)
{
    if (k->goes
        && aegis_way_module(k, AEGIS_MODULE_plan, NULL)
        && aegis_way_module(k, AEGIS_MODULE_gate, earlier)
        && (here & AEGIS_CARRY_EXEC) && aegis_way_run(w, k)
        && (here & AEGIS_CARRY_BIT(AEGIS_MODULE_verify)) && aegis_way_verification(k))
    {
        (void) aegis_way_module(k, AEGIS_MODULE_verify, NULL);
    }

    aegis_way_doc_end(k, here);
}

/* It is committed. */
static void
aegis_way_taken(aegis_way_t *k)
{
    size_t              i;
    aegis_way_stage_t  *stage;

    for (i = 0; i < k->n_moves; i++) {
        aegis_carry_count_move(k->moves[i].from, k->moves[i].to,
                               aegis_event_name(k->moves[i].event));
    }

    for (i = 0; i < k->n_stages; i++) {
        stage = &k->stages[i];
        aegis_carry_count_command(stage->module->role, "ok");
        aegis_carry_count_verdict(stage->said.verdict);
        aegis_carry_span(stage->module, &k->c, stage->begun_ns, stage->said.event);
    }

    if (k->exec_id[0]) {
        aegis_metric_add(aegis_counter("aegis_exec_runs_total", "state=\"DONE\"",
                                       "runs that ended, by outcome"), 1);
        aegis_log(AEGIS_LOG_INFO, "exec", "run.finished", "exec_id", "%s", k->exec_id,
                  "case_id", "%s", k->case_id, "state", "%s", "DONE", "reason", "%s", "", NULL);
        (void) AEGIS_FP(exec_after_record, "exec");
    }

    k->ask->d->code = AEGIS_E_OK;
}

static void
aegis_way_fill(aegis_way_t *k, aegis_fsm_ask_t *ask, const char *asks)
{
    memset(k, 0, sizeof(*k));
    k->ask = ask;
    k->c.tenant = ask->d->msg.tenant;
    k->c.case_id = ask->d->msg.case_id;
    k->c.traceparent = ask->d->msg.traceparent;
    k->c.correlation_id = ask->d->msg.correlation_id;
    snprintf(k->case_id, sizeof(k->case_id), "%.*s", (int) k->c.case_id.len, k->c.case_id.data);
    k->c.state = AEGIS_STATE_NEW;
    k->c.version = ask->d->msg.case_version;
    snprintf(k->version, sizeof(k->version), "%d", k->c.version);
    snprintf(k->traceparent, sizeof(k->traceparent), "%.*s", (int) k->c.traceparent.len,
             k->c.traceparent.data ? k->c.traceparent.data : "");
    snprintf(k->correlation, sizeof(k->correlation), "%.*s", (int) k->c.correlation_id.len,
             k->c.correlation_id.data ? k->c.correlation_id.data : "");
    k->item.v[AEGIS_C_tenant] = k->c.tenant;
    k->item.v[AEGIS_C_case_id] = k->c.case_id;
    k->item.v[AEGIS_C_fact_version] = aegis_view(k->version);
    k->item.v[AEGIS_C_module] = aegis_view(asks);
}

/* One case to its end, and what it has come to among the others': its own documents go
 * before the next one's come. */
static void
aegis_way_end(aegis_worker_t *w, unsigned here, aegis_way_t *works, size_t i, size_t *left,
    aegis_way_rows_t *all, json_t *earlier)
{
    aegis_way_t   swap, *k;

    k = &works[i];
    aegis_way_decide(w, here, k, earlier);
    aegis_way_rows_add(all, k);
    aegis_way_doc_free(k);
    k->begun = 0;

    if (i != *left) {
        swap = works[*left];
        works[*left] = *k;
        *k = swap;
    }
    (*left)++;
}

/* Load and decide. Those that are to be committed come to the front; returns how many they
 * are. */
static size_t
aegis_way_all(aegis_worker_t *w, unsigned here, aegis_way_t *works, size_t n,
    const aegis_pg_row_t *rows, aegis_way_rows_t *all)
{
    size_t   i, left, waiting;
    json_t  *earlier;

    earlier = json_array();

    for (i = 0, left = 0, waiting = 0; i < n; i++) {
        aegis_way_begin(&works[i], &rows[i]);
        if (aegis_way_quotes(&works[i])) {
            waiting++;
        } else if (works[i].begun) {
            aegis_way_end(w, here, works, i, &left, all, earlier);
        }
    }
    aegis_pg_clear(w->pg);

    if (waiting) {
        aegis_way_cite(w, works, n);
        for (i = left; i < n; i++) {
            if (works[i].begun) {
                aegis_way_end(w, here, works, i, &left, all, earlier);
            }
        }
    }

    json_decref(earlier);
    return left;
}

/* Load, decide, commit. rows[i] is the commit's word on works[i] then, or empty. */
static aegis_code_t
aegis_way_go(aegis_worker_t *w, unsigned here, aegis_way_t *works, size_t n,
    aegis_pg_row_t *rows, aegis_error_t *err)
{
    size_t               i, left;
    aegis_code_t         rc;
    aegis_way_rows_t    *all;
    const aegis_item_t  *items[AEGIS_CARRY_MAX] = { NULL };

    for (i = 0; i < n; i++) {
        items[i] = &works[i].item;
    }

    all = aegis_way_rows_begin();
    rc = all ? aegis_pg_run_more(w->pg, AEGIS_STMT_WAY_LOAD, items, n, 0, rows, err)
         : aegis_error_set(err, AEGIS_E_UNAVAILABLE, "no memory");
    left = rc == AEGIS_E_OK ? aegis_way_all(w, here, works, n, rows, all) : 0;

    for (i = 0; rc == AEGIS_E_OK && left > 0 && i < works[0].n_stages; i++) {
        if (AEGIS_FP(module_after_load, works[0].stages[i].module->role)) {
            rc = aegis_error_set(err, AEGIS_E_UNAVAILABLE, "the decisions are lost");
        }
    }

    memset(rows, 0, n * sizeof(*rows));
    return rc == AEGIS_E_OK && left > 0 ? aegis_way_rows_commit(w, all, left, rows, err) : rc;
}

aegis_code_t
aegis_way(aegis_worker_t *w, unsigned here, aegis_fsm_ask_t *asks, size_t *n,
    aegis_error_t *err)
{
    char              known[AEGIS_CARRY_ASKS];
    size_t            i, all;
    aegis_code_t      rc;
    aegis_way_t      *works;
    aegis_pg_row_t   *rows;

    all = *n < AEGIS_CARRY_MAX ? *n : 0;
    works = calloc(all + 1, sizeof(aegis_way_t));
    rows = calloc(all + 1, sizeof(aegis_pg_row_t));
    rc = works && rows ? AEGIS_E_OK
         : aegis_error_set(err, AEGIS_E_UNAVAILABLE, "no memory");

    aegis_carry_asks("way", known);
    for (i = 0; rc == AEGIS_E_OK && i < all; i++) {
        aegis_way_fill(&works[i], &asks[i], known);
    }

    rc = rc == AEGIS_E_OK && all > 0 ? aegis_way_go(w, here, works, all, rows, err) : rc;

    for (i = 0; works && i < all; i++) {
        if (rc == AEGIS_E_OK && rows[i].code && strcmp(rows[i].code, "ok") == 0) {
            aegis_way_taken(&works[i]);
            works[i].ask->taken = 1;
            (*n)--;
        }
        aegis_way_doc_free(&works[i]);
    }

    aegis_pg_clear(w->pg);
    free(works);
    free(rows);
    return rc;
}
