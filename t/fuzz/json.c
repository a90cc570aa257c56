/*
 * json.c: fuzzes bodies, plans and policies. What gets through can be written
 * and read again; a plan keeps its hash on the way; a policy can be evaluated.
 */
#include "aegis_fuzz.h"

#include "aegis_body.h"
#include "aegis_plan.h"
#include "aegis_policy.h"


static void
body(aegis_str_t text)
{
    char           *made[AEGIS_BODY_MAX_MADE], *problem;
    size_t          n;
    json_t         *json;
    unsigned        schema;
    aegis_item_t    item;
    aegis_error_t   err = AEGIS_ERROR_INIT;

    for (schema = AEGIS_SCHEMA_create; schema < AEGIS_N_SCHEMAS; schema++) {

        if (aegis_body_parse(schema, text, &json, &err) != AEGIS_E_OK) {
            problem = aegis_error_problem(&err, aegis_str("fuzz"));
            aegis_fuzz_must(problem != NULL);
            free(problem);
            aegis_error_clear(&err);
            continue;
        }

        memset(&item, 0, sizeof(item));
        n = 0;
        aegis_fuzz_must(aegis_body_bind(schema, json, &item, made, &n, &err)
                        == AEGIS_E_OK);

        while (n) {
            free(made[--n]);
        }

        json_decref(json);
    }
}


static void
plan(const json_t *json, const json_t *again)
{
    char           a[65], b[65];
    json_t        *missing;
    aegis_error_t  err = AEGIS_ERROR_INIT;

    if (aegis_plan_check(json, "/plan", &err) == AEGIS_E_OK) {
        aegis_plan_hash(json, a);
        aegis_plan_hash(again, b);
        aegis_fuzz_must(strcmp(a, b) == 0);

        missing = aegis_plan_missing(json);
        aegis_fuzz_must(json_array_size(missing) <= 3);
        json_decref(missing);
    }

    aegis_error_clear(&err);
}


static void
policy(const json_t *json)
{
    aegis_error_t           err = AEGIS_ERROR_INIT;
    aegis_verdict_result_t  v;

    if (aegis_policy_check(json, &err) == AEGIS_E_OK) {
        aegis_fuzz_must(aegis_policy_eval(json, json, json, 1795244400, &v, &err)
                        == AEGIS_E_OK);
        aegis_fuzz_must(v.rule[0] && v.reason[0]);
        json_decref(v.checks);
    }

    aegis_error_clear(&err);
}


int
LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    char           *text;
    json_t         *json, *again;
    aegis_str_t     in = { size, (const char *) data };
    aegis_error_t   err = AEGIS_ERROR_INIT;

    if (aegis_json_parse(in, &json, &err) == AEGIS_E_OK) {
        text = aegis_json_text(json);
        aegis_fuzz_must(text != NULL);
        aegis_fuzz_must(aegis_json_parse((aegis_str_t) { strlen(text), text }, &again,
                                         &err) == AEGIS_E_OK);
        plan(json, again);
        policy(json);

        free(text);
        json_decref(again);
        json_decref(json);
    }

    aegis_error_clear(&err);
    body(in);

    return 0;
}
