/*
 * aegis_module_verify.c: the verifier's documents: what is stored and said
 * after an evaluation. The judgement is aegis_verify_run.c's. Its invariants:
 * there is one verdict a stay in VERIFYING, said again when it is asked for
 * again; and a verdict that asks for the plan's rollback is said when the
 * rollback has ended, so that nothing acts any more when the case is parked.
 */
#include "aegis_module.h"

#include <stdio.h>
#include <string.h>

#include "aegis_json.h"
#include "aegis_verify.h"

#define AEGIS_MODULE_VERIFY_PASS    "evt.verify.pass.v1"
#define AEGIS_MODULE_VERIFY_FAILED  "evt.verify.failed.v1"


static const char *
aegis_module_verify_state(const char *outcome)
{
    return strcmp(outcome, "pass") == 0 ? "PASSED"
           : strcmp(outcome, "failed") == 0 ? "FAILED" : "INCONCLUSIVE";
}


/* One evaluation as a row of verify_checkpoint. New reference. */
static json_t *
aegis_module_verify_checkpoint(const json_t *v, const json_t *found,
    const char *checkpoint_id, const char *verify_id, json_int_t evaluation)
{
    const char  *outcome;

    outcome = aegis_json_str(found, "outcome");

    return json_pack("{s:s, s:s, s:s, s:I, s:b, s:b, s:s, s:O, s:s}",
        "checkpoint_id", checkpoint_id, "verify_id", verify_id,
        "plan_id", aegis_json_str(json_object_get(v, "plan"), "plan_id"),
        "evaluation", evaluation, "final", outcome[0] != '\0',
        "passed", strcmp(outcome, "pass") == 0,
        "outcome", outcome[0] ? outcome : "undecided",
        "checks", json_object_get(found, "checks"),
        "reason", aegis_json_str(found, "reason"));
}


/* The row of verify_run that an evaluation leaves. next_s is an epoch,
 * deadline_s a time from now. New reference. */
static json_t *
aegis_module_verify_run(const json_t *v, const json_t *found, const char *verify_id,
    json_int_t evaluations, int rolls_back)
{
    json_t      *plan;
    const char  *outcome;

    plan = json_object_get(json_object_get(v, "plan"), "plan");
    outcome = aegis_json_str(found, "outcome");

    return json_pack("{s:s, s:s, s:s, s:s, s:s, s:I, s:O, s:f, s:i, s:b}",
        "verify_id", verify_id,
        "plan_id", aegis_json_str(json_object_get(v, "plan"), "plan_id"),
        "state", rolls_back ? "ROLLBACK" : outcome[0] == '\0' ? "RUNNING"
                 : aegis_module_verify_state(outcome),
        "outcome", outcome, "reason", aegis_json_str(found, "reason"),
        "evaluations", evaluations, "progress", json_object_get(found, "progress"),
        "next_s", json_number_value(json_object_get(found, "next_s")),
        "deadline_s", rolls_back ? aegis_verify_rollback_s(plan)
                                 : aegis_verify_deadline_s(plan),
        "rollback", rolls_back);
}


/* Give the verdict's fact to a document: subject and data. */
static void
aegis_module_verify_say(json_t *doc, const json_t *facts, const json_t *checkpoint,
    const char *reason, const json_t *rollback, const aegis_module_ctx_t *ctx)
{
    json_t  *data;

    data = aegis_module_data(facts, ctx);
    json_object_update(data, (json_t *) checkpoint);
    json_object_del(data, "final");
    json_object_set_new(data, "reason", json_string(reason));

    if (json_is_object(rollback)) {
        json_object_set(data, "rollback", (json_t *) rollback);
    }

    json_object_set_new(doc, "subject",
        json_string(json_is_true(json_object_get(checkpoint, "passed"))
                    ? AEGIS_MODULE_VERIFY_PASS : AEGIS_MODULE_VERIFY_FAILED));
    json_object_set_new(doc, "data", data);
}


/* What module_commit takes. Steals artefact, run and body; each may be NULL. */
static json_t *
aegis_module_verify_doc(const char *table, json_t *artefact, json_t *run, int status,
    json_t *body, const aegis_module_ctx_t *ctx)
{
    char     msg_id[64];
    json_t  *doc;

    snprintf(msg_id, sizeof(msg_id), "%s:verified", ctx->id);

    doc = json_pack("{s:s, s:o, s:[], s:s, s:s, s:i, s:o}", "table", table,
        "artefact", artefact ? artefact : json_object(), "more",
        "msg_id", msg_id, "id", ctx->id, "status", status,
        "body", body ? body : json_object());

    if (run) {
        json_object_set_new(doc, "verify_run", run);
    }

    return doc;
}


/* A verification of this stay is there already. */
static aegis_code_t
aegis_module_verify_again(const json_t *facts, const json_t *v, const json_t *request,
    const aegis_module_ctx_t *ctx, json_t **ret_doc, aegis_error_t *err)
{
    json_t      *verify, *final, *doc;
    const char  *state, *id, *reason;

    verify = json_object_get(v, "verify");
    final = json_object_get(v, "final");
    id = aegis_json_str(json_is_object(verify) ? verify : final, "verify_id");

    if (!aegis_module_is_command(request)) {
        json_decref(err->ext);
        err->ext = json_pack("{s:s}", "verify_id", id);
        return aegis_error_set(err, AEGIS_E_EXISTS,
                               "The case is being verified, or has been: see verify_id.");
    }

    doc = aegis_module_verify_doc("", NULL, NULL, 200, NULL, ctx);
    state = aegis_json_str(verify, "state");

    /* a verdict whose fact was lost on its way is said again; one that is still
     * to come will be */
    if (json_is_object(final) && strcmp(state, "RUNNING") != 0
        && strcmp(state, "ROLLBACK") != 0)
    {
        reason = aegis_json_str(verify, "reason");
        aegis_module_verify_say(doc, facts, final,
                                reason[0] ? reason : aegis_json_str(final, "reason"),
                                json_object_get(v, "rollback"), ctx);
    }

    *ret_doc = doc;

    return AEGIS_E_OK;
}


static json_t *
aegis_module_verify_body(const json_t *facts, const json_t *more,
    const aegis_module_ctx_t *ctx)
{
    json_t  *body;

    body = json_pack("{s:s, s:s}", "case_id",
                     aegis_json_str(json_object_get(facts, "case"), "case_id"),
                     "created_by", ctx->actor ? ctx->actor : "");
    json_object_update(body, (json_t *) more);
    json_object_del(body, "progress");
    json_object_del(body, "next_s");
    json_object_del(body, "rollback");

    return body;
}


/* What can be said at once is said at once; the rest is the verify role's. */
static aegis_code_t
aegis_module_verify_first(const json_t *facts, const json_t *v,
    const aegis_module_ctx_t *ctx, json_t **ret_doc, aegis_error_t *err)
{
    int           rolls_back;
    json_t       *plan, *found, *checkpoint, *run;
    const char   *outcome;
    aegis_code_t  rc;

    plan = json_object_get(json_object_get(v, "plan"), "plan");

    rc = aegis_verify_evaluate(v, &found, err);
    if (rc != AEGIS_E_OK) {
        return rc;
    }

    outcome = aegis_json_str(found, "outcome");

    if (outcome[0] == '\0' || aegis_verify_needs_prometheus(plan)) {
        json_object_set_new(found, "outcome", json_string(""));
        json_object_set_new(found, "reason", json_string("not decided yet"));
        json_object_set_new(found, "progress", json_array());
        json_object_set(found, "next_s", json_object_get(v, "now_s"));

        run = aegis_module_verify_run(v, found, ctx->id, 0, 0);
        *ret_doc = aegis_module_verify_doc("", NULL, run, 202,
                       aegis_module_verify_body(facts, run, ctx), ctx);
        json_decref(found);
        return AEGIS_E_OK;
    }

    rolls_back = aegis_verify_rolls_back(plan, outcome);
    checkpoint = aegis_module_verify_checkpoint(v, found, ctx->id, ctx->id, 1);
    run = rolls_back ? aegis_module_verify_run(v, found, ctx->id, 1, 1) : NULL;

    *ret_doc = aegis_module_verify_doc("verify_checkpoint", json_incref(checkpoint), run,
                   201, aegis_module_verify_body(facts, checkpoint, ctx), ctx);
    if (!rolls_back) {
        aegis_module_verify_say(*ret_doc, facts, checkpoint,
                                aegis_json_str(found, "reason"), NULL, ctx);
    }

    json_decref(checkpoint);
    json_decref(found);

    return AEGIS_E_OK;
}


aegis_code_t
aegis_module_verify(const json_t *facts, const json_t *request,
    const aegis_module_ctx_t *ctx, json_t **ret_doc, aegis_error_t *err)
{
    json_t  *v, *data;

    v = json_object_get(facts, "verification");

    if (!json_is_object(json_object_get(v, "plan"))) {

        if (!aegis_module_is_command(request)) {
            return aegis_error_set(err, AEGIS_E_GUARD, "The case has no plan to verify.");
        }

        data = aegis_module_data(facts, ctx);
        json_object_set_new(data, "passed", json_false());

        return aegis_module_failure(AEGIS_MODULE_VERIFY_FAILED, "the case has no plan",
                                    ctx, data, ret_doc, err);
    }

    if (json_is_object(json_object_get(v, "verify"))
        || json_is_object(json_object_get(v, "final")))
    {
        return aegis_module_verify_again(facts, v, request, ctx, ret_doc, err);
    }

    return aegis_module_verify_first(facts, v, ctx, ret_doc, err);
}


aegis_code_t
aegis_module_verify_step(const json_t *facts, const aegis_module_ctx_t *ctx,
    json_t **ret_doc, aegis_error_t *err)
{
    int           rolls_back;
    json_t       *v, *verify, *found, *checkpoint, *doc;
    json_int_t    evaluation;
    const char   *outcome, *verify_id;
    aegis_code_t  rc;

    v = json_object_get(facts, "verification");
    verify = json_object_get(v, "verify");
    verify_id = aegis_json_str(verify, "verify_id");
    evaluation = json_integer_value(json_object_get(verify, "evaluations")) + 1;

    rc = aegis_verify_evaluate(v, &found, err);
    if (rc != AEGIS_E_OK) {
        return rc;
    }

    outcome = aegis_json_str(found, "outcome");
    rolls_back = aegis_verify_rolls_back(
        json_object_get(json_object_get(v, "plan"), "plan"), outcome);
    checkpoint = aegis_module_verify_checkpoint(v, found, ctx->id, verify_id, evaluation);

    doc = json_pack("{s:O, s:o}", "checkpoint", checkpoint, "run",
        aegis_module_verify_run(v, found, verify_id, evaluation, rolls_back));

    if (outcome[0] && !rolls_back) {
        aegis_module_verify_say(doc, facts, checkpoint, aegis_json_str(found, "reason"),
                                NULL, ctx);
    }

    json_decref(checkpoint);
    json_decref(found);
    *ret_doc = doc;

    return AEGIS_E_OK;
}


aegis_code_t
aegis_module_verify_rolled(const json_t *facts, const aegis_module_ctx_t *ctx,
    json_t **ret_doc)
{
    char         reason[640];
    json_t      *v, *verify, *rollback, *doc;
    const char  *state, *why;

    v = json_object_get(facts, "verification");
    verify = json_object_get(v, "verify");
    rollback = json_object_get(v, "rollback");
    state = aegis_json_str(rollback, "state");
    why = aegis_json_str(rollback, "reason");

    if (strcmp(state, "DONE") == 0) {
        snprintf(reason, sizeof(reason), "%.300s; rolled back",
                 aegis_json_str(verify, "reason"));

    } else if (strcmp(state, "QUEUED") == 0 || strcmp(state, "RUNNING") == 0) {
        if (!json_is_true(json_object_get(verify, "overdue"))) {
            *ret_doc = NULL;
            return AEGIS_E_OK;
        }
        snprintf(reason, sizeof(reason), "%.300s; the rollback did not end in time",
                 aegis_json_str(verify, "reason"));

    } else {
        snprintf(reason, sizeof(reason), "%.300s; the rollback is %.20s%s%.250s",
                 aegis_json_str(verify, "reason"), state[0] ? state : "lost",
                 why[0] ? ": " : "", why);
    }

    doc = json_pack("{s:{s:s, s:s, s:s}}", "run",
        "state", aegis_module_verify_state(aegis_json_str(verify, "outcome")),
        "outcome", aegis_json_str(verify, "outcome"), "reason", reason);

    if (doc) {
        aegis_module_verify_say(doc, facts, json_object_get(v, "final"), reason, rollback,
                                ctx);
    }
    *ret_doc = doc;

    return doc ? AEGIS_E_OK : AEGIS_E_INTERNAL;
}
