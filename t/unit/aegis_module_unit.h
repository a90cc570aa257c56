/*
 * aegis_module_unit.h: what the tests of the modules share: a case, who asks, and
 * what holds for every document.
 */
#ifndef AEGIS_MODULE_UNIT_H
#define AEGIS_MODULE_UNIT_H

#include "aegis_unit.h"

#include "aegis_module.h"

#define CASE  "8e03978e-40d5-43dd-bc93-6894a57f9324"
#define ID    "01234567-89ab-7fff-bf01-020304050607"
#define PLAN  "11111111-1111-4111-8111-111111111111"
#define NOW   "2026-11-20T07:00:00.123456+00:00"
#define C     "'case':{'case_id':'" CASE "','tenant':'acme','version':4,'title':'disk'," \
              "'kind':'incident','severity':'error','correlation_id':'cor-1'," \
              "'labels':{%s}},'now':'" NOW "'"

static const aegis_module_ctx_t  ctx = { ID, "me", "", NULL };


static inline json_t *
run(aegis_module_id_t id, json_t *facts, const char *request, aegis_code_t expected,
    aegis_error_t *err)
{
    json_t        *r, *doc, *data;
    aegis_code_t   code;

    r = aegis_unit_json(request);
    doc = NULL;
    code = aegis_module(id)->decide(facts, r, &ctx, &doc, err);
    json_decref(r);
    json_decref(facts);

    if (code != expected) {
        fail_msg("code %d, %s", (int) code, err->detail);
    }

    if (code != AEGIS_E_OK) {
        return NULL;
    }

    /* what holds for every document */
    data = json_object_get(doc, "data");
    assert_string_equal(aegis_json_str(data, "case_id"), CASE);
    assert_string_equal(aegis_json_str(data, "tenant"), "acme");
    assert_string_equal(aegis_json_str(data, "correlation_id"), "cor-1");
    assert_int_equal(json_integer_value(json_object_get(data, "case_version")), 4);
    assert_string_equal(aegis_json_str(doc, "id"), ID);
    assert_int_equal(json_integer_value(json_object_get(doc, "status")), 201);
    assert_true(json_is_object(json_object_get(doc, "artefact")));
    /* nobody is shown the answer to a command */
    assert_true(strstr(request, "case_version") || json_is_object(json_object_get(doc, "body")));
    assert_true(json_is_array(json_object_get(doc, "more")));

    return doc;
}


static inline json_t *
facts(const char *labels, const char *more)
{
    char  text[2048];

    snprintf(text, sizeof(text), "{" C "%s}", labels, more);

    return aegis_unit_json(text);
}

#endif
