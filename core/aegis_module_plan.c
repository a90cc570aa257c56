/*
 * aegis_module_plan.c: the planner. It makes a plan of a template, or takes
 * the one that a person wrote, and proposes it. Its invariant: what it
 * proposes has passed the schema; whether it is complete is said, and stopped
 * by the guard, not here.
 */
#include "aegis_module.h"

#include <string.h>

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
aegis_module_plan_propose(const json_t *facts, const char *template,
    const json_t *params, json_t *plan, int command, const aegis_module_ctx_t *ctx,
    json_t **ret_doc, aegis_error_t *err)
{
    char         hash[65];
    json_t      *c, *missing, *artefact, *data, *body, *about;
    double       risk;
    json_int_t   revision;

    c = json_object_get(facts, "case");
    revision = json_integer_value(json_object_get(json_object_get(facts, "planning"),
                                                  "next_revision"));
    risk = json_number_value(json_object_get(plan, "risk_score"));

    aegis_plan_hash(plan, hash);
    missing = aegis_plan_missing(plan);

    about = json_pack("{s:s, s:I, s:s, s:s, s:b, s:o, s:f, s:O}",
        "plan_id", ctx->id, "revision", revision, "template", template,
        "hash", hash, "complete", json_array_size(missing) == 0, "missing", missing,
        "risk_score", risk, "plan", plan);

    /* what is in them is looked at only: they have it in common */
    artefact = json_copy(about);
    json_object_set_new(artefact, "params",
                        params ? json_deep_copy(params) : json_object());

    data = aegis_module_data(facts, ctx);
    json_object_update(data, about);

    body = command ? NULL
           : json_pack("{s:s, s:s}", "case_id", aegis_json_str(c, "case_id"),
                       "created_by", ctx->actor ? ctx->actor : "");
    json_object_update(body, about);
    json_decref(about);

    return aegis_module_document("plan_proposed", artefact, NULL,
                                 "evt.plan.proposed.v1", "proposed", ctx, data, body,
                                 ret_doc, err);
}


/* The params of the request; of the revision before when this one is to be made
 * of the same template and nobody says other ones. Borrowed. */
static const json_t *
aegis_module_plan_params(const json_t *facts, const json_t *request)
{
    json_t      *planning, *last, *params;
    const char  *name;

    planning = json_object_get(facts, "planning");
    params = json_object_get(request, "params");
    last = json_object_get(planning, "last");
    name = aegis_json_str(json_object_get(planning, "template"), "name");

    if (params == NULL && name[0]
        && strcmp(aegis_json_str(last, "template"), name) == 0)
    {
        params = json_object_get(last, "params");
    }

    return json_is_object(params) ? params : NULL;
}


static aegis_code_t
aegis_module_plan_build(const json_t *facts, const json_t *params, json_t **ret_plan,
    aegis_error_t *err)
{
    json_t         *planning, *template, *body;
    aegis_error_t   found = AEGIS_ERROR_INIT;

    planning = json_object_get(facts, "planning");
    template = json_object_get(planning, "template");
    body = json_object_get(template, "body");
    json_object_set(planning, "knowledge", json_object_get(facts, "knowledge"));

    if (!json_is_object(body)) {
        aegis_error_at(&found, "/template", "there is no template %s; there are: %s",
                       aegis_json_str(template, "name"),
                       aegis_json_str(template, "names"));
        return aegis_error_move(err, &found);
    }

    return aegis_plan_build(body, json_object_get(facts, "case"), params, planning,
                            ret_plan, err);
}


aegis_code_t
aegis_module_plan(const json_t *facts, const json_t *request,
    const aegis_module_ctx_t *ctx, json_t **ret_doc, aegis_error_t *err)
{
    json_t        *given, *plan;
    const json_t  *params;
    const char    *template;
    aegis_code_t   code;
    aegis_error_t  why = AEGIS_ERROR_INIT, reason = AEGIS_ERROR_INIT;

    given = json_object_get(request, "plan");

    if (given) {
        template = "";
        params = json_object_get(request, "params");
        code = aegis_plan_adopt(given, json_object_get(facts, "case"), params, &plan, &why);

    } else {
        template = aegis_json_str(json_object_get(json_object_get(facts, "planning"),
                                                  "template"), "name");
        params = aegis_module_plan_params(facts, request);
        code = aegis_module_plan_build(facts, params, &plan, &why);
    }

    if (code == AEGIS_E_OK) {
        code = aegis_module_plan_propose(facts, template, params, plan,
                                         aegis_module_is_command(request), ctx, ret_doc, err);
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
