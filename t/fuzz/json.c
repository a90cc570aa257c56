/*
 * json.c: fuzzes the one door for JSON, and policies behind it. What gets through
 * is an object or an array of UTF-8 within the limits, written out it is read as
 * the same again; a policy that is one can be evaluated.
 */
#include "aegis_fuzz_json.h"

#include "aegis_policy.h"


static void
policy(const json_t *json)
{
    aegis_code_t            code;
    aegis_error_t           err = AEGIS_ERROR_INIT;
    aegis_policy_facts_t    facts = { json, json, json, 1795244400, 0 };
    aegis_policy_result_t   v;

    code = aegis_policy_check(json, &err);

    if (code != AEGIS_E_OK) {
        aegis_fuzz_refused(&err, code);
        return;
    }

    aegis_fuzz_must(aegis_policy_eval(json, &facts, &v, &err) == AEGIS_E_OK);
    aegis_fuzz_must(v.rule[0] && v.reason[0] && json_is_array(v.checks));
    aegis_fuzz_must(aegis_fuzz_utf8(aegis_view(v.reason)));
    aegis_fuzz_must((v.verdict == AEGIS_GATE_ASKS) == (v.needs != NULL));
    aegis_policy_result_clear(&v);
}


int
LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    char           *text, *twice;
    json_t         *json, *again;
    aegis_str_t     in = { size, (const char *) data };
    aegis_code_t    code;
    aegis_error_t   err = AEGIS_ERROR_INIT;

    code = aegis_json_parse(in, &json, &err);

    if (code != AEGIS_E_OK) {
        aegis_fuzz_must(code == AEGIS_E_MALFORMED_JSON);
        aegis_fuzz_refused(&err, code);
        return 0;
    }

    aegis_fuzz_must(json_is_object(json) || json_is_array(json));
    aegis_fuzz_must(aegis_fuzz_utf8(in) && memchr(data, '\0', size) == NULL);
    aegis_fuzz_must(aegis_json_depth(json, 1000) <= AEGIS_BODY_MAX_DEPTH);

    text = aegis_json_text(json);
    aegis_fuzz_must(text != NULL);
    aegis_fuzz_must(aegis_fuzz_utf8(aegis_view(text)));
    aegis_fuzz_must(aegis_json_parse(aegis_view(text), &again, &err)
                    == AEGIS_E_OK);

    twice = aegis_json_text(again);
    aegis_fuzz_must(strcmp(text, twice) == 0);
    free(twice);

    /* byte for byte what jansson writes: hashes that are stored are over it */
    twice = json_dumps(json, JSON_COMPACT | JSON_REAL_PRECISION(15));
    aegis_fuzz_must(strcmp(text, twice) == 0);
    free(twice);
    free(text);

    /* and sorted, where a number has one form: that which it is read from it in */
    text = aegis_json_text_sorted(json);
    json_decref(again);
    again = json_loads(text, 0, NULL);
    twice = json_dumps(again, JSON_COMPACT | JSON_SORT_KEYS | JSON_REAL_PRECISION(15));
    aegis_fuzz_must(strcmp(text, twice) == 0);

    policy(json);

    free(text);
    free(twice);
    json_decref(again);
    json_decref(json);

    return 0;
}
