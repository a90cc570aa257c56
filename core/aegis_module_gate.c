/*
 * aegis_module_gate.c: the gatekeeper. It judges the current plan by the
 * policy in force. Its invariant: it fails closed: without a policy, without a
 * complete plan, or when the stored plan is not the one that its hash names,
 * the answer is no.
 */
#include "aegis_module.h"

#include <stdio.h>
#include <string.h>

#include "aegis_json.h"
#include "aegis_plan.h"
#include "aegis_policy.h"
#include "aegis_time.h"

#define AEGIS_MODULE_GATE_SUBJECT  "evt.plan.approved.v1"


static aegis_code_t
aegis_module_gate_refuse(aegis_verdict_result_t *v, const char *rule,
    const char *reason, aegis_error_t *err)
{
    memset(v, 0, sizeof(*v));
    snprintf(v->rule, sizeof(v->rule), "%s", rule);
    snprintf(v->reason, sizeof(v->reason), "%s", reason);

    v->checks = json_pack("[{s:s, s:s, s:b, s:s}]", "rule", rule, "kind", "built-in",
                          "ok", 0, "detail", reason);

    return v->checks ? AEGIS_E_OK : aegis_error_set(err, AEGIS_E_INTERNAL, "no memory");
}


static aegis_code_t
aegis_module_gate_judge(const json_t *facts, int64_t now, aegis_verdict_result_t *v,
    aegis_error_t *err)
{
    char           hash[65];
    int            complete;
    json_t        *row, *plan, *policy, *missing;
    aegis_error_t  why = AEGIS_ERROR_INIT;

    row = json_object_get(facts, "plan");
    plan = json_object_get(row, "plan");
    policy = json_object_get(json_object_get(facts, "policy"), "body");

    missing = aegis_plan_missing(plan);
    complete = missing && json_array_size(missing) == 0
               && json_is_true(json_object_get(row, "complete"));
    json_decref(missing);

    if (!complete) {
        return aegis_module_gate_refuse(v, "complete-plan",
            "the plan lacks steps, a rollback or a verify part", err);
    }

    aegis_plan_hash(plan, hash);

    if (strcmp(hash, aegis_json_str(row, "hash")) != 0) {
        return aegis_module_gate_refuse(v, "plan-hash",
            "the stored plan is not the one that its hash names", err);
    }

    if (!json_is_object(policy)) {
        return aegis_module_gate_refuse(v, "no-policy", "no policy is in force", err);
    }

    if (aegis_policy_check(policy, &why) != AEGIS_E_OK) {
        aegis_error_clear(&why);
        return aegis_module_gate_refuse(v, "invalid-policy",
                                        "the policy in force is not valid", err);
    }

    return aegis_policy_eval(policy, json_object_get(facts, "case"), plan, now, v, err);
}


/* What the decision's row, its fact and the answer have in common. */
static json_t *
aegis_module_gate_decision(const json_t *facts, const aegis_verdict_result_t *v,
    const aegis_module_ctx_t *ctx)
{
    json_t  *row;

    row = json_object_get(facts, "plan");

    return json_pack("{s:s, s:s, s:s, s:s, s:s, s:s, s:O, s:s}",
        "decision_id", ctx->id,
        "plan_id", aegis_json_str(row, "plan_id"),
        "plan_hash", aegis_json_str(row, "hash"),
        "verdict", v->approved ? "approved" : "rejected",
        "rule", v->rule, "reason", v->reason, "checks", v->checks,
        "policy_hash", aegis_json_str(json_object_get(facts, "policy"), "hash"));
}


static aegis_code_t
aegis_module_gate_document(const json_t *facts, int64_t now,
    const aegis_verdict_result_t *v, const aegis_module_ctx_t *ctx, json_t **ret_doc,
    aegis_error_t *err)
{
    char         until[AEGIS_TIME_LEN + 1];
    json_t      *c, *more, *decision, *holds, *data, *body;
    const char  *from;

    c = json_object_get(facts, "case");
    from = aegis_json_str(facts, "now");
    decision = aegis_module_gate_decision(facts, v, ctx);

    data = aegis_module_data(facts, ctx);
    json_object_update(data, decision);
    json_object_set_new(data, "approved", json_boolean(v->approved));

    body = json_pack("{s:s, s:b, s:s}", "case_id", aegis_json_str(c, "case_id"),
                     "approved", v->approved, "created_by", ctx->actor ? ctx->actor : "");
    json_object_update(body, decision);

    more = json_array();

    if (v->approved) {
        aegis_time_format(now + v->valid_s, until);

        holds = json_pack("{s:s, s:s}", "not_before", from, "not_after", until);
        json_object_update(data, holds);
        json_object_update(body, holds);
        json_decref(holds);

        json_array_append_new(more, json_pack("{s:s, s:s, s:s, s:s, s:s}",
            "plan_id", aegis_json_str(decision, "plan_id"),
            "decision_id", ctx->id,
            "plan_hash", aegis_json_str(decision, "plan_hash"),
            "not_before", from, "not_after", until));
    }

    return aegis_module_document("gate_decision", decision, more,
                                 AEGIS_MODULE_GATE_SUBJECT, "decided", ctx, data, body,
                                 ret_doc, err);
}


aegis_code_t
aegis_module_gate(const json_t *facts, const json_t *request,
    const aegis_module_ctx_t *ctx, json_t **ret_doc, aegis_error_t *err)
{
    json_t                  *data, *at;
    int64_t                  now;
    aegis_code_t             code;
    aegis_verdict_result_t   v;

    at = json_object_get(facts, "now");

    if (!aegis_time_parse((aegis_str_t) { json_string_length(at),
                                          json_string_value(at) }, &now))
    {
        return aegis_error_set(err, AEGIS_E_INTERNAL, "the facts have no time");
    }

    if (!json_is_object(json_object_get(facts, "plan"))) {

        if (!aegis_module_is_command(request)) {
            return aegis_error_set(err, AEGIS_E_GUARD,
                                   "The case has no such plan to judge.");
        }

        data = aegis_module_data(facts, ctx);
        json_object_set_new(data, "approved", json_false());

        return aegis_module_failure(AEGIS_MODULE_GATE_SUBJECT, "the case has no plan",
                                    ctx, data, ret_doc, err);
    }

    code = aegis_module_gate_judge(facts, now, &v, err);
    if (code != AEGIS_E_OK) {
        return code;
    }

    code = aegis_module_gate_document(facts, now, &v, ctx, ret_doc, err);
    json_decref(v.checks);

    return code;
}
