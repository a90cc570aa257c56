/*
 * aegis_gate.c: the parts that the gatekeeper's modules share: asking the policy,
 * and the documents of decisions. Its invariant: it fails closed: without a
 * policy, without a complete plan, or when the stored plan is not the one that
 * its hash names, the answer is no.
 */
#include "aegis_gate.h"

#include <stdio.h>
#include <string.h>

#include "aegis_json.h"
#include "aegis_plan.h"
#include "aegis_time.h"

#define AEGIS_GATE_DECIDED  "evt.plan.approved.v1"
#define AEGIS_GATE_WAITING  "evt.plan.waiting.v1"


aegis_code_t
aegis_gate_now(const json_t *facts, int64_t *ret_now, aegis_error_t *err)
{
    json_t  *at;

    at = json_object_get(facts, "now");

    if (!aegis_time_parse((aegis_str_t) { json_string_length(at),
                                          json_string_value(at) }, ret_now))
    {
        return aegis_error_set(err, AEGIS_E_INTERNAL, "the facts have no time");
    }

    return AEGIS_E_OK;
}


static aegis_code_t
aegis_gate_refuse(aegis_policy_result_t *v, const char *rule, const char *reason,
    aegis_error_t *err)
{
    memset(v, 0, sizeof(*v));
    v->verdict = AEGIS_GATE_REJECTED;
    snprintf(v->rule, sizeof(v->rule), "%s", rule);
    snprintf(v->reason, sizeof(v->reason), "%s", reason);

    v->checks = json_pack("[{s:s, s:s, s:b, s:s}]", "rule", rule, "kind", "built-in",
                          "ok", 0, "detail", reason);

    return v->checks ? AEGIS_E_OK : aegis_error_set(err, AEGIS_E_INTERNAL, "no memory");
}


/* Has who gives the facts seen to it himself? No statement says so. */
static int
aegis_gate_checked(const json_t *row)
{
    return json_is_true(json_object_get(row, "checked"));
}


aegis_code_t
aegis_gate_judge(const json_t *facts, int64_t now, int people, aegis_policy_result_t *ret,
    aegis_error_t *err)
{
    char                   hash[65];
    int                    complete;
    json_t                *row, *plan, *policy, *missing;
    aegis_error_t          why = AEGIS_ERROR_INIT;
    aegis_policy_facts_t   in;

    row = json_object_get(facts, "plan");
    plan = json_object_get(row, "plan");
    policy = json_object_get(json_object_get(facts, "policy"), "body");

    missing = aegis_plan_missing(plan);
    complete = missing && json_array_size(missing) == 0
               && json_is_true(json_object_get(row, "complete"));
    json_decref(missing);

    if (!complete) {
        return aegis_gate_refuse(ret, "complete-plan",
            "the plan lacks steps, a rollback or a verify part", err);
    }

    if (!aegis_gate_checked(row)) {
        aegis_plan_hash(plan, hash);
    } else {
        snprintf(hash, sizeof(hash), "%s", aegis_json_str(row, "hash"));
    }

    if (strcmp(hash, aegis_json_str(row, "hash")) != 0) {
        return aegis_gate_refuse(ret, "plan-hash",
            "the stored plan is not the one that its hash names", err);
    }

    if (!json_is_object(policy)) {
        return aegis_gate_refuse(ret, "no-policy", "no policy is in force", err);
    }

    if (!aegis_gate_checked(json_object_get(facts, "policy"))
        && aegis_policy_check(policy, &why) != AEGIS_E_OK)
    {
        aegis_error_clear(&why);
        return aegis_gate_refuse(ret, "invalid-policy",
                                 "the policy in force is not valid", err);
    }

    in.c = json_object_get(facts, "case");
    in.plan = plan;
    in.rates = json_object_get(json_object_get(facts, "gate"), "rates");
    in.now = now;
    in.people = people;

    return aegis_policy_eval(policy, &in, ret, err);
}


/* What the decision's row, its fact and the answer have in common. */
static json_t *
aegis_gate_row(const json_t *facts, const aegis_gate_outcome_t *o,
    const aegis_module_ctx_t *ctx)
{
    json_t  *row;

    row = json_object_get(facts, "plan");

    return json_pack("{s:s, s:s, s:s, s:s, s:s, s:s, s:s, s:o, s:s}",
        "decision_id", ctx->id,
        "plan_id", aegis_json_str(row, "plan_id"),
        "plan_hash", aegis_json_str(row, "hash"),
        "verdict", o->verdict, "rule", o->rule, "reason", o->reason,
        "source", o->source,
        "checks", o->v ? json_incref(o->v->checks) : json_array(),
        "policy_hash", aegis_json_str(json_object_get(facts, "policy"), "hash"));
}


/* The approval in [now, now + valid_s), for all who are told of the decision. */
static void
aegis_gate_holds(const json_t *facts, int64_t now, const aegis_gate_outcome_t *o,
    const aegis_module_ctx_t *ctx, json_t *more, json_t *data, json_t *body)
{
    char         until[AEGIS_TIME_LEN + 1];
    json_t      *holds, *row;
    const char  *from;

    row = json_object_get(facts, "plan");
    from = aegis_json_str(facts, "now");
    aegis_time_format(now + o->v->valid_s, until);

    holds = json_pack("{s:s, s:s}", "not_before", from, "not_after", until);
    json_object_update(data, holds);
    json_object_update(body, holds);
    json_decref(holds);

    json_array_append_new(more, json_pack("{s:s, s:s, s:s, s:s, s:s}",
        "plan_id", aegis_json_str(row, "plan_id"), "decision_id", ctx->id,
        "plan_hash", aegis_json_str(row, "hash"), "not_before", from,
        "not_after", until));
}


/* What a later commit finds of the rates that were relied on, and who waits. */
static void
aegis_gate_beside(const aegis_gate_outcome_t *o, json_t *data, json_t *body, json_t *doc)
{
    json_t  *request;

    request = json_object_get(o->approval, "request");

    if (request) {
        json_object_set(data, "needs", json_object_get(request, "needs"));
        json_object_set(data, "expires_at", json_object_get(request, "expires_at"));
        json_object_set(body, "needs", json_object_get(request, "needs"));
        json_object_set(body, "expires_at", json_object_get(request, "expires_at"));
        json_object_set_new(body, "votes", json_array());
    }

    if (o->v && o->v->counted && strcmp(o->verdict, "approved") == 0) {
        json_object_set(doc, "counted", o->v->counted);
    }

    if (o->approval) {
        json_object_set_new(doc, "approval", o->approval);
    }

    if (o->note) {
        json_object_set_new(doc, "note", o->note);
    }
}


aegis_code_t
aegis_gate_decided(const json_t *facts, int64_t now, const aegis_gate_outcome_t *o,
    const aegis_module_ctx_t *ctx, json_t **ret_doc, aegis_error_t *err)
{
    int            approved, waits;
    json_t        *c, *more, *row, *data, *body, *artefact;
    const char    *service;
    aegis_code_t   code;

    c = json_object_get(facts, "case");
    approved = strcmp(o->verdict, "approved") == 0;
    waits = strcmp(o->verdict, "needs_approval") == 0;
    row = aegis_gate_row(facts, o, ctx);

    data = aegis_module_data(facts, ctx);
    json_object_update(data, row);

    if (!waits) {
        json_object_set_new(data, "approved", json_boolean(approved));
    }

    body = json_pack("{s:s, s:b, s:s}", "case_id", aegis_json_str(c, "case_id"),
                     "approved", approved, "created_by", ctx->actor ? ctx->actor : "");
    json_object_update(body, row);

    more = json_array();

    if (approved) {
        aegis_gate_holds(facts, now, o, ctx, more, data, body);
    }

    service = aegis_json_str(json_object_get(c, "labels"), "service");
    artefact = json_copy(row);
    json_object_set_new(artefact, "service", json_string(service));
    json_decref(row);

    /* borrowed until the document has them */
    json_incref(data);
    json_incref(body);

    code = aegis_module_document("gate_decision", artefact, more,
                                 waits ? AEGIS_GATE_WAITING : AEGIS_GATE_DECIDED,
                                 waits ? "waiting" : "decided", ctx, data, body, ret_doc,
                                 err);
    if (code == AEGIS_E_OK) {
        aegis_gate_beside(o, data, body, *ret_doc);

    } else {
        json_decref(o->approval);
        json_decref(o->note);
    }

    json_decref(data);
    json_decref(body);

    return code;
}


aegis_code_t
aegis_gate_waits(const json_t *facts, const json_t *request, json_t *approval,
    json_t *note, const aegis_module_ctx_t *ctx, json_t **ret_doc, aegis_error_t *err)
{
    json_t        *body;
    aegis_code_t   code;

    body = json_pack("{s:s, s:b, s:s, s:s, s:s, s:s, s:s, s:s, s:O, s:O, s:O}",
        "case_id", aegis_json_str(json_object_get(facts, "case"), "case_id"),
        "approved", 0, "created_by", ctx->actor ? ctx->actor : "",
        "decision_id", aegis_json_str(request, "request_id"),
        "plan_id", aegis_json_str(request, "plan_id"),
        "plan_hash", aegis_json_str(request, "plan_hash"),
        "verdict", aegis_gate_verdict(AEGIS_GATE_ASKS),
        "rule", aegis_json_str(request, "rule"),
        "needs", json_object_get(request, "needs"),
        "votes", json_object_get(request, "votes"),
        "expires_at", json_object_get(request, "expires_at"));

    code = aegis_module_document("", json_object(), NULL, NULL, "waiting", ctx,
                                 json_object(), body, ret_doc, err);

    if (code != AEGIS_E_OK) {
        json_decref(approval);
        json_decref(note);
        return code;
    }

    json_object_set_new(*ret_doc, "status", json_integer(200));

    if (approval) {
        json_object_set_new(*ret_doc, "approval", approval);
    }

    if (note) {
        json_object_set_new(*ret_doc, "note", note);
    }

    return AEGIS_E_OK;
}


json_t *
aegis_gate_seen(const json_t *request, int alive)
{
    return json_pack("{s:s, s:I, s:b}", "request_id",
        aegis_json_str(request, "request_id"), "votes",
        (json_int_t) json_array_size(json_object_get(request, "votes")), "alive", alive);
}


int
aegis_gate_over(const json_t *request, int64_t now)
{
    json_t   *at;
    int64_t   expires;

    at = json_object_get(request, "expires_at");

    return !aegis_time_parse((aegis_str_t) { json_string_length(at),
                                             json_string_value(at) }, &expires)
           || now >= expires;
}


static const char *
aegis_gate_service(const json_t *facts)
{
    return aegis_json_str(json_object_get(json_object_get(facts, "case"), "labels"),
                          "service");
}


void
aegis_gate_earlier(json_t *facts, const json_t *earlier)
{
    size_t       i, k;
    json_t      *rules, *rule, *rates, *n, *one;
    json_int_t   more;
    const char  *tenant, *service, *id;

    tenant = aegis_json_str(json_object_get(facts, "case"), "tenant");
    service = aegis_gate_service(facts);
    rates = json_object_get(json_object_get(facts, "gate"), "rates");
    rules = json_object_get(json_object_get(json_object_get(facts, "policy"), "body"),
                            "rules");

    for (i = 0; i < json_array_size(rules); i++) {
        rule = json_array_get(rules, i);
        id = aegis_json_str(rule, "id");
        n = json_object_get(rates, id);

        if (!json_is_integer(n) || strcmp(aegis_json_str(rule, "kind"), "rate") != 0) {
            continue;
        }

        for (k = 0, more = 0; k < json_array_size(earlier); k++) {
            one = json_array_get(earlier, k);
            more += strcmp(aegis_json_str(one, "tenant"), tenant) == 0
                    && (strcmp(aegis_json_str(rule, "per"), "service") != 0
                        || strcmp(aegis_json_str(one, "service"), service) == 0);
        }

        json_object_set_new(rates, id, json_integer(json_integer_value(n) + more));
    }
}


void
aegis_gate_made(const json_t *facts, const json_t *doc, json_t *earlier)
{
    if (json_object_get(doc, "counted")) {
        json_array_append_new(earlier, json_pack("{s:s, s:s}", "tenant",
            aegis_json_str(json_object_get(facts, "case"), "tenant"),
            "service", aegis_gate_service(facts)));
    }
}
