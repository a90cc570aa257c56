/*
 * yaml.c: fuzzes YAML. What gets through could have come as JSON: written out it
 * is read as itself, by both readers; what both readers take from the same bytes
 * is one value. As a body of POST /plan/generate it is taken or refused like one.
 */
#include "aegis_fuzz.h"

#include "aegis_body.h"
#include "aegis_yaml.h"


/* YAML takes these three for ends of a line, JSON for characters of a string. */
static int
breaks(aegis_str_t in)
{
    return memmem(in.data, in.len, "\xc2\x85", 2) || memmem(in.data, in.len, "\xe2\x80\xa8", 3)
           || memmem(in.data, in.len, "\xe2\x80\xa9", 3);
}


static void
as_body(aegis_str_t in)
{
    json_t         *body;
    aegis_code_t    code;
    aegis_error_t   err = AEGIS_ERROR_INIT;

    code = aegis_body_parse_yaml(AEGIS_SCHEMA_plan, in, &body, &err);

    if (code == AEGIS_E_OK) {
        aegis_fuzz_must(json_is_object(body));
        json_decref(body);
        return;
    }

    aegis_fuzz_refused(&err, code);
    aegis_fuzz_must(aegis_body_parse_yaml(AEGIS_SCHEMA_create, in, &body, NULL)
                    == AEGIS_E_TOO_LARGE || in.len == 0);
}


static void
as_json(aegis_str_t in, const json_t *json)
{
    char    *written;
    json_t  *again;

    written = aegis_json_text(json);
    aegis_fuzz_must(written != NULL);
    aegis_fuzz_must(aegis_fuzz_utf8(aegis_view(written)));

    if (json_is_object(json) || json_is_array(json)) {
        aegis_fuzz_must(aegis_json_parse(aegis_view(written), &again,
                                         NULL) == AEGIS_E_OK);
        aegis_fuzz_must(aegis_json_depth(again, 64) <= AEGIS_YAML_MAX_DEPTH);
        json_decref(again);
    }

    free(written);

    if (!breaks(in) && aegis_json_parse(in, &again, NULL) == AEGIS_E_OK) {
        aegis_fuzz_must(json_equal(again, json));
        json_decref(again);
    }
}


int
LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    json_t         *json;
    aegis_str_t     in;
    aegis_code_t    code;
    aegis_error_t   err = AEGIS_ERROR_INIT;

    in = aegis_fuzz_join("", (aegis_str_t) { size, (const char *) data }, "");
    code = aegis_yaml_to_json(in, &json, &err);

    if (code == AEGIS_E_OK) {
        as_json(in, json);
        json_decref(json);

    } else {
        aegis_fuzz_must(code == AEGIS_E_MALFORMED_YAML);
        aegis_fuzz_refused(&err, code);
    }

    as_body(in);
    free((char *) in.data);

    return 0;
}
