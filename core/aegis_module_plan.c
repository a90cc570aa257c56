/*
 * aegis_module_plan.c: the planner. It makes a plan from a template, or takes
 * the one that a person wrote, and proposes it. Its invariant: what it
 * proposes has passed the schema; whether it is complete is said, and stopped
 * by the guard, not here.
 */
#include "aegis_module.h"

#include "aegis_json.h"
#include "aegis_plan.h"

#define AEGIS_MODULE_PLAN_FAILED  "evt.plan.failed.v1"


/* The first thing that is wrong, in one line. */
static void
aegis_module_plan_reason(const aegis_error_t *why, aegis_error_t *ret)
{
    json_t  *first;

    first = json_array_get(why->errors, 0);

    aegis_error_set(ret, why->code, "no plan could be made: %s %s",
        first ? aegis_json_str(first, "pointer") : "",
        first ? aegis_json_str(first, "detail") : why->detail);
}


static aegis_code_t
aegis_module_plan_propose(const json_t *facts, const char *template, json_t *plan,
    const aegis_module_ctx_t *ctx, json_t **ret_doc, aegis_error_t *err)
{
    char         hash[65];
    json_t      *c, *missing, *artefact, *data, *body, *about;
    double       risk;
    json_int_t   revision;

    c = json_object_get(facts, "case");
    revision = json_integer_value(json_object_get(facts, "next_revision"));
    risk = json_number_value(json_object_get(plan, "risk_score"));

    aegis_plan_hash(plan, hash);
    missing = aegis_plan_missing(plan);

    about = json_pack("{s:s, s:I, s:s, s:s, s:b, s:o, s:f, s:O}",
        "plan_id", ctx->id, "revision", revision, "template", template,
        "hash", hash, "complete", json_array_size(missing) == 0, "missing", missing,
        "risk_score", risk, "plan", plan);

    artefact = json_deep_copy(about);

    data = aegis_module_data(facts, ctx);
    json_object_update(data, about);

    body = json_pack("{s:s, s:s}", "case_id", aegis_json_str(c, "case_id"),
                     "created_by", ctx->actor ? ctx->actor : "");
    json_object_update(body, about);
    json_decref(about);

    return aegis_module_document("plan_proposed", artefact, NULL,
                                 "evt.plan.proposed.v1", "proposed", ctx, data, body,
                                 ret_doc, err);
}


aegis_code_t
aegis_module_plan(const json_t *facts, const json_t *request,
    const aegis_module_ctx_t *ctx, json_t **ret_doc, aegis_error_t *err)
{
    json_t        *c, *given, *params, *plan;
    const char    *template;
    aegis_code_t   code;
    aegis_error_t  why = AEGIS_ERROR_INIT, reason = AEGIS_ERROR_INIT;

    c = json_object_get(facts, "case");
    given = json_object_get(request, "plan");
    params = json_object_get(request, "params");
    template = json_string_value(json_object_get(request, "template"));

    if (given) {
        template = "";
        code = aegis_plan_adopt(given, c, params, &plan, &why);

    } else {
        code = aegis_plan_build(template, c, params, json_object_get(facts, "evidence"),
                                &plan, &why);
        template = template ? template : aegis_json_str(c, "kind");
    }

    if (code == AEGIS_E_OK) {
        code = aegis_module_plan_propose(facts, template, plan, ctx, ret_doc, err);
        json_decref(plan);
        return code;
    }

    if (code == AEGIS_E_SCHEMA && aegis_module_is_command(request)) {
        aegis_module_plan_reason(&why, &reason);
        aegis_error_clear(&why);

        return aegis_module_failure(AEGIS_MODULE_PLAN_FAILED, reason.detail, ctx,
                                    aegis_module_data(facts, ctx), ret_doc, err);
    }

    return aegis_error_move(err, &why);
}
