/*
 * aegis_module.c: modules.def as rows, and the parts that the documents of all
 * modules share. What each module decides is in aegis_module_<name>.c.
 */
#include "aegis_module.h"

#include <stdio.h>
#include <string.h>

#include "aegis_json.h"

static const aegis_module_t  aegis_modules[] = {
#define AEGIS_MODULE(name, role, command, states)                              \
    { AEGIS_MODULE_##name, #name, role, command, states, aegis_module_##name },
#include "tables/modules.def"
#undef AEGIS_MODULE
};


const aegis_module_t *
aegis_module(aegis_module_id_t id)
{
    return (unsigned) id < AEGIS_N_MODULES ? &aegis_modules[id] : NULL;
}


int
aegis_module_is_command(const json_t *request)
{
    return json_object_get(request, "case_version") != NULL;
}


json_t *
aegis_module_data(const json_t *facts, const aegis_module_ctx_t *ctx)
{
    json_t      *c;
    const char  *correlation;

    c = json_object_get(facts, "case");
    correlation = ctx->correlation_id && ctx->correlation_id[0]
                  ? ctx->correlation_id : aegis_json_str(c, "correlation_id");

    return json_pack("{s:s, s:s, s:I, s:s, s:s, s:s}",
        "case_id", aegis_json_str(c, "case_id"),
        "tenant", aegis_json_str(c, "tenant"),
        "case_version", json_integer_value(json_object_get(c, "version")),
        "correlation_id", correlation,
        "actor", ctx->actor ? ctx->actor : "",
        "at", aegis_json_str(facts, "now"));
}


aegis_code_t
aegis_module_document(const char *table, json_t *artefact, json_t *more,
    const char *subject, const char *what, const aegis_module_ctx_t *ctx,
    json_t *data, json_t *body, json_t **ret_doc, aegis_error_t *err)
{
    char     msg_id[128];
    json_t  *doc;

    snprintf(msg_id, sizeof(msg_id), "%s:%s", ctx->id, what);

    if (more == NULL) {
        more = json_array();
    }

    doc = json_pack("{s:s, s:o, s:o, s:o, s:s, s:i, s:o*}",
        "table", table, "artefact", artefact, "more", more, "data", data,
        "id", ctx->id, "status", 201, "body", body);

    if (doc == NULL) {
        return aegis_error_set(err, AEGIS_E_INTERNAL,
                               "the document of %s could not be made", what);
    }

    if (subject) {
        json_object_set_new(doc, "subject", json_string(subject));
        json_object_set_new(doc, "msg_id", json_string(msg_id));
    }

    *ret_doc = doc;

    return AEGIS_E_OK;
}


aegis_code_t
aegis_module_failure(const char *subject, const char *reason,
    const aegis_module_ctx_t *ctx, json_t *data, json_t **ret_doc, aegis_error_t *err)
{
    json_object_set_new(data, "reason", json_string(reason));

    return aegis_module_document("", json_object(), NULL, subject, "failed", ctx, data,
                                 json_pack("{s:s}", "reason", reason), ret_doc, err);
}
