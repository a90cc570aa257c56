/*
 * aegis_module_gate.c: the gatekeeper. It judges the current plan by the policy
 * in force, and keeps what it has asked of people until they or the clock have
 * decided. Its invariants: one question for one stay of the case at the gate; a
 * question that nobody answered in time is a no.
 */
#include "aegis_gate.h"

#include <stdio.h>
#include <string.h>

#include "aegis_approval.h"
#include "aegis_json.h"
#include "aegis_time.h"


/* The question to people, for aegis.module_commit. */
static json_t *
aegis_module_gate_request(const json_t *facts, int64_t now,
    const aegis_policy_result_t *v, const aegis_module_ctx_t *ctx)
{
    char     until[AEGIS_TIME_LEN + 1];
    json_t  *row, *proposers;

    row = json_object_get(facts, "plan");
    proposers = json_object_get(json_object_get(facts, "gate"), "proposers");
    aegis_time_format(now + v->expires_s, until);

    return json_pack("{s:{s:s, s:s, s:s, s:s, s:O, s:o, s:s}}", "request",
        "request_id", ctx->id,
        "plan_id", aegis_json_str(row, "plan_id"),
        "plan_hash", aegis_json_str(row, "hash"),
        "rule", v->rule, "needs", v->needs,
        "proposers", proposers ? json_incref(proposers) : json_array(),
        "expires_at", until);
}


static aegis_code_t
aegis_module_gate_fresh(const json_t *facts, int64_t now, const aegis_module_ctx_t *ctx,
    json_t **ret_doc, aegis_error_t *err)
{
    json_t                 *request;
    aegis_code_t            code;
    aegis_gate_outcome_t    o;
    aegis_policy_result_t   v;

    code = aegis_gate_judge(facts, now, 0, &v, err);
    if (code != AEGIS_E_OK) {
        return code;
    }

    memset(&o, 0, sizeof(o));
    o.verdict = aegis_gate_verdict(v.verdict);
    o.rule = v.rule;
    o.reason = v.reason;
    o.source = "policy";
    o.v = &v;

    if (v.verdict == AEGIS_GATE_ASKS
        && strcmp(aegis_json_str(json_object_get(facts, "plan"), "plan_id"),
                  aegis_json_str(json_object_get(facts, "case"), "plan_id")) != 0)
    {
        aegis_policy_result_clear(&v);
        return aegis_error_set(err, AEGIS_E_GUARD,
                               "People can be asked about the case's current plan only.");
    }

    if (v.verdict == AEGIS_GATE_ASKS) {
        o.approval = aegis_module_gate_request(facts, now, &v, ctx);
        request = json_object_get(o.approval, "request");
        o.note = json_pack("{s:s, s:s, s:{s:s, s:s, s:s, s:s}}",
            "event", "approval_requested", "reason", v.reason, "meta",
            "decision_id", ctx->id, "rule", v.rule,
            "plan_hash", aegis_json_str(request, "plan_hash"),
            "expires_at", aegis_json_str(request, "expires_at"));
    }

    code = aegis_gate_decided(facts, now, &o, ctx, ret_doc, err);
    aegis_policy_result_clear(&v);

    return code;
}


/* Nobody answered in time. */
static aegis_code_t
aegis_module_gate_expired(const json_t *facts, const json_t *request, int64_t now,
    const aegis_module_ctx_t *ctx, json_t **ret_doc, aegis_error_t *err)
{
    char                   reason[256], state[200];
    aegis_gate_outcome_t   o;

    aegis_approval_state(json_object_get(request, "needs"),
                         json_object_get(request, "votes"), state, sizeof(state));
    snprintf(reason, sizeof(reason), "the approval expired at %.20s: %s",
             aegis_json_str(request, "expires_at"), state);
    reason[aegis_utf8_cut(reason, strlen(reason), sizeof(reason) - 1)] = '\0';

    memset(&o, 0, sizeof(o));
    o.verdict = "expired";
    o.rule = aegis_json_str(request, "rule");
    o.reason = reason;
    o.source = "clock";
    o.approval = json_pack("{s:o, s:{s:s, s:s}}", "seen", aegis_gate_seen(request, 0),
                           "close", "state", "EXPIRED", "decision_id", ctx->id);

    return aegis_gate_decided(facts, now, &o, ctx, ret_doc, err);
}


/* It is decided already, and the fact may have been lost: say it again. */
static aegis_code_t
aegis_module_gate_again(const json_t *facts, const json_t *request,
    const aegis_module_ctx_t *ctx, json_t **ret_doc, aegis_error_t *err)
{
    int            approved;
    json_t        *decision, *data, *body;
    aegis_code_t   code;

    decision = json_object_get(request, "decision");
    approved = strcmp(aegis_json_str(decision, "verdict"), "approved") == 0;

    data = aegis_module_data(facts, ctx);
    json_object_update(data, decision);
    json_object_set_new(data, "approved", json_boolean(approved));

    body = json_pack("{s:s, s:b, s:s}", "case_id",
                     aegis_json_str(json_object_get(facts, "case"), "case_id"),
                     "approved", approved, "created_by", ctx->actor ? ctx->actor : "");
    json_object_update(body, decision);

    code = aegis_module_document("", json_object(), NULL, "evt.plan.approved.v1",
                                 "decided", ctx, data, body, ret_doc, err);
    if (code == AEGIS_E_OK) {
        json_object_set_new(*ret_doc, "status", json_integer(200));
    }

    return code;
}


aegis_code_t
aegis_module_gate(const json_t *facts, const json_t *request,
    const aegis_module_ctx_t *ctx, json_t **ret_doc, aegis_error_t *err)
{
    int            open;
    json_t        *data, *asked;
    int64_t        now;
    aegis_code_t   code;

    code = aegis_gate_now(facts, &now, err);
    if (code != AEGIS_E_OK) {
        return code;
    }

    if (!json_is_object(json_object_get(facts, "plan"))) {

        if (!aegis_module_is_command(request)) {
            return aegis_error_set(err, AEGIS_E_GUARD,
                                   "The case has no such plan to judge.");
        }

        data = aegis_module_data(facts, ctx);
        json_object_set_new(data, "approved", json_false());

        return aegis_module_failure("evt.plan.approved.v1", "the case has no plan",
                                    ctx, data, ret_doc, err);
    }

    asked = json_object_get(json_object_get(facts, "gate"), "request");

    if (!json_is_object(asked)) {
        return aegis_module_gate_fresh(facts, now, ctx, ret_doc, err);
    }

    open = strcmp(aegis_json_str(asked, "state"), "OPEN") == 0;

    if (strcmp(aegis_json_str(asked, "plan_id"),
               aegis_json_str(json_object_get(facts, "plan"), "plan_id")) != 0)
    {
        return aegis_error_set(err, AEGIS_E_GUARD,
                               "Another plan of the case was given to people to decide on.");
    }

    if (!open) {
        return aegis_module_gate_again(facts, asked, ctx, ret_doc, err);
    }

    if (aegis_gate_over(asked, now)) {
        return aegis_module_gate_expired(facts, asked, now, ctx, ret_doc, err);
    }

    return aegis_gate_waits(facts, asked, NULL, NULL, ctx, ret_doc, err);
}
