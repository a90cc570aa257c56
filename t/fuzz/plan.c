/*
 * plan.c: fuzzes what a stranger gives the planner: {"case": body of a new case,
 * "request": body of POST /plan/generate}, and what an operator does: "template".
 * A plan that comes out of it passes its own check, keeps its hash on the way
 * through text, and the gatekeeper judges it, whatever it says.
 */
#include "aegis_fuzz_json.h"

#include "aegis_body.h"
#include "aegis_module.h"
#include "aegis_plan.h"
#include "aegis_template.h"

#define CASE  "8e03978e-40d5-43dd-bc93-6894a57f9324"

static const char  policy[] =
    "{\"version\":1,\"timezone_offset\":\"+08:00\",\"rules\":["
    "{\"id\":\"e\",\"kind\":\"environments\",\"allow\":[\"staging\",\"prod\"]},"
    "{\"id\":\"a\",\"kind\":\"actions\",\"allow\":[\"echo\",\"script.exec\"]},"
    "{\"id\":\"r\",\"kind\":\"risk\",\"max\":0.7},"
    "{\"id\":\"w\",\"kind\":\"window\",\"days\":[\"mon\"],\"from\":\"09:00\",\"to\":\"18:00\","
    "\"when\":{\"kind\":\"change\",\"env\":\"prod\"}}]}";

/* Much of what a template can say, when the input brings none. */
static const char  ours[] =
    "{\"template\":\"t\",\"version\":1,\"kind\":\"change\",\"sentence\":\"s\",\"params\":{"
    "\"service\":{\"type\":\"string\",\"sentence\":\"s\",\"default\":\"\",\"max\":1024},"
    "\"script\":{\"type\":\"string\",\"sentence\":\"s\",\"pattern\":\"[A-Za-z0-9_-][A-Za-z0-9_.-]*\"},"
    "\"canary\":{\"type\":\"boolean\",\"sentence\":\"s\",\"default\":false},"
    "\"timeout_s\":{\"type\":\"integer\",\"sentence\":\"s\",\"min\":1,\"max\":86400},"
    "\"risk\":{\"type\":\"number\",\"sentence\":\"s\",\"min\":0,\"max\":1,\"default\":0.2},"
    "\"args\":{\"type\":\"list\",\"sentence\":\"s\",\"max\":8},"
    "\"env\":{\"type\":\"string\",\"sentence\":\"s\",\"default\":\"dev\"}},"
    "\"examples\":[{}],\"plan\":{\"title\":\"${service}: ${case.title}\",\"risk_score\":\"${risk}\","
    "\"env\":\"${env}\",\"notes\":\"${evidence}\",\"steps\":[{\"$if\":[\"canary\",\"script\"],"
    "\"action\":\"script.exec\",\"params\":{\"script\":\"${script}\",\"args\":\"${args}\"},"
    "\"timeout_s\":\"${timeout_s}\",\"retry_safe\":\"${canary}\"},{\"$unless\":\"script\","
    "\"action\":\"echo\",\"params\":{\"message\":\"$${ ${failure} ${revision}\"}}],"
    "\"rollback\":[{\"action\":\"echo\"}],\"verify\":[{\"kind\":\"exec\"}]}}";

static const aegis_module_ctx_t  ctx = { CASE, "fuzz", "", NULL };


/* The body that a route would have taken, or NULL. New reference. */
static json_t *
taken(aegis_schema_id_t schema, const json_t *json)
{
    char           *text;
    json_t         *body;
    aegis_code_t    code;
    aegis_error_t   err = AEGIS_ERROR_INIT;

    text = aegis_json_text(json ? json : json_null());
    code = aegis_body_parse(schema, aegis_view(text), &body, &err);
    free(text);

    if (code == AEGIS_E_OK) {
        return body;
    }

    aegis_fuzz_refused(&err, code);

    return NULL;
}


static void
judged(json_t *facts, json_t *doc)
{
    json_t         *verdict, *request;
    aegis_error_t   err = AEGIS_ERROR_INIT;

    json_object_set(facts, "plan", json_object_get(doc, "artefact"));
    json_object_set_new(facts, "policy", json_pack("{s:o}", "body",
                        json_loads(policy, 0, NULL)));
    request = json_object();

    aegis_fuzz_must(aegis_module_gate(facts, request, &ctx, &verdict, &err)
                    == AEGIS_E_OK);
    aegis_fuzz_must(aegis_json_str(json_object_get(verdict, "artefact"), "rule")[0]);
    aegis_fuzz_must(strcmp(aegis_json_str(json_object_get(verdict, "artefact"), "rule"),
                           "plan-hash") != 0);

    json_decref(request);
    json_decref(verdict);
}


/* As PostgreSQL keeps it and gives it back. */
static void
kept(json_t *doc)
{
    char            a[65], b[65], *text;
    json_t         *plan, *again;
    const char     *hash;
    aegis_error_t   err = AEGIS_ERROR_INIT;

    plan = json_object_get(json_object_get(doc, "artefact"), "plan");
    hash = aegis_json_str(json_object_get(doc, "artefact"), "hash");
    aegis_fuzz_must(aegis_plan_check(plan, "/plan", &err) == AEGIS_E_OK);

    text = aegis_json_text(plan);
    aegis_fuzz_must(aegis_json_parse(aegis_view(text), &again, &err)
                    == AEGIS_E_OK);
    aegis_plan_hash(plan, a);
    aegis_plan_hash(again, b);
    aegis_fuzz_must(strcmp(a, b) == 0 && strcmp(a, hash) == 0);
    aegis_fuzz_must(aegis_plan_check(again, "/plan", &err) == AEGIS_E_OK);

    json_decref(again);
    free(text);

    /* the whole document is read by SQL, and within the limit of messages */
    text = aegis_json_text(doc);
    aegis_fuzz_must(aegis_json_parse(aegis_view(text), &again, &err)
                    == AEGIS_E_OK);
    json_decref(again);
    free(text);
}


/* What the planner would have taken from a file, else ours. New reference. */
static json_t *
template_of(const json_t *given)
{
    aegis_code_t    code;
    aegis_error_t   err = AEGIS_ERROR_INIT;

    code = given ? aegis_template_prove(given, &err) : AEGIS_E_SCHEMA;

    if (code == AEGIS_E_OK) {
        return json_incref((json_t *) given);
    }

    if (given) {
        aegis_fuzz_refused(&err, code);
    }

    return json_loads(ours, 0, NULL);
}


int
LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    json_t         *json, *c, *request, *facts, *doc, *template;
    aegis_str_t     in = { size, (const char *) data };
    aegis_code_t    code;
    aegis_error_t   err = AEGIS_ERROR_INIT;

    if (aegis_json_parse(in, &json, NULL) != AEGIS_E_OK) {
        return 0;
    }

    c = taken(AEGIS_SCHEMA_create, json_object_get(json, "case"));
    request = taken(AEGIS_SCHEMA_plan, json_object_get(json, "request"));
    template = c && request ? template_of(json_object_get(json, "template")) : NULL;
    json_decref(json);

    if (template == NULL) {
        json_decref(c);
        json_decref(request);
        return 0;
    }

    if (json_object_get(c, "kind") == NULL) {
        json_object_set_new(c, "kind", json_string("incident"));
    }
    json_object_set_new(c, "case_id", json_string(CASE));
    json_object_set_new(c, "version", json_integer(4));

    facts = json_pack("{s:O, s:s, s:{s:i, s:[], s:{s:s, s:o}}}", "case", c, "now",
        "2026-11-25T02:00:00.123456+00:00", "planning", "next_revision", 1, "evidence",
        "template", "name", "t", "body", template);

    code = aegis_module_plan(facts, request, &ctx, &doc, &err);

    if (code == AEGIS_E_OK) {
        kept(doc);
        judged(facts, doc);
        json_decref(doc);
    } else {
        aegis_fuzz_must(code == AEGIS_E_SCHEMA);
        aegis_fuzz_refused(&err, code);
    }

    json_decref(facts);
    json_decref(c);
    json_decref(request);

    return 0;
}
