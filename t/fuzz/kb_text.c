/*
 * kb_text.c: fuzzes the tokenizer, the embedder, and the readers of plain text and
 * JSON; and questions: a probe is JSON of a bounded size, a filter is taken or
 * refused, and the same text asks for what it has itself.
 */
#include "aegis_fuzz_kb.h"


static void
question(aegis_str_t query, aegis_str_t filter)
{
    char           *probe;
    json_t         *json;
    aegis_code_t    code;
    aegis_error_t   err = AEGIS_ERROR_INIT;

    code = aegis_kb_probe(query, filter, &probe, &err);
    if (code != AEGIS_E_OK) {
        aegis_fuzz_must(code == AEGIS_E_BAD_REQUEST && err.detail[0]);
        aegis_error_clear(&err);
        return;
    }

    aegis_fuzz_must(strlen(probe) < 32768);
    aegis_fuzz_must(aegis_json_parse(aegis_view(probe), &json, &err)
                    == AEGIS_E_OK);
    aegis_fuzz_must(json_array_size(json_object_get(json, "facets")) <= AEGIS_KB_FACETS_MAX);
    aegis_fuzz_must(json_array_size(json_object_get(json, "probes")) == 1);
    json_decref(json);
    free(probe);
}


int
LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    size_t       half;
    aegis_str_t  in, a, b;

    in = (aegis_str_t) { size, (const char *) data };
    aegis_fuzz_kb(AEGIS_KB_TEXT, in);
    aegis_fuzz_kb(AEGIS_KB_JSON, in);
    aegis_fuzz_kb_terms(AEGIS_NO_STR, in, AEGIS_KB_QUERY_TERMS);
    aegis_fuzz_kb_vector(AEGIS_NO_STR, in);

    /* a query string is UTF-8 when it gets here */
    half = aegis_utf8_cut(in.data, in.len, in.len / 2);
    a = (aegis_str_t) { half, in.data };
    b = (aegis_str_t) { in.len - half, in.data + half };
    if (aegis_fuzz_utf8(in) && memchr(in.data, 0, in.len) == NULL) {
        question(a, AEGIS_NO_STR);
        question(b, a);
    }

    return 0;
}
