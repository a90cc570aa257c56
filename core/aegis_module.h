/*
 * aegis_module.h: the modules' decisions as pure functions: facts in, one
 * document out. The facts are what aegis.module_load returns; the document is
 * what aegis.module_commit takes (sql/functions/30_modules.sql says its
 * members). The gateway's routes and the worker roles call the same function.
 */
#ifndef AEGIS_MODULE_H
#define AEGIS_MODULE_H

#include "aegis_error.h"

typedef struct {
    const char  *id;                /* a new uuid, for the artefact */
    const char  *actor;             /* who asks */
    const char  *correlation_id;
    const char  *scopes;            /* what the asker's credential allows; NULL: a worker */
} aegis_module_ctx_t;

/*
 * request: the checked body of the route, or the data of the command.
 * On AEGIS_E_OK *ret_doc is the document. A module that cannot do its work
 * for a command (no template fits, no plan, no policy) still returns OK with
 * a document that publishes its failure fact; for a request (asked by a
 * person, request has no "case_version") the same is an error to be shown.
 */
typedef aegis_code_t (*aegis_module_pt)(const json_t *facts, const json_t *request,
    const aegis_module_ctx_t *ctx, json_t **ret_doc, aegis_error_t *err);

typedef struct {
    aegis_module_id_t  id;
    const char        *name;
    const char        *role;
    const char        *command;
    const char        *states;
    aegis_module_pt    decide;
} aegis_module_t;

const aegis_module_t *aegis_module(aegis_module_id_t id);

#define AEGIS_MODULE(name, role, command, states)                              \
    aegis_code_t aegis_module_##name(const json_t *facts, const json_t *request, \
        const aegis_module_ctx_t *ctx, json_t **ret_doc, aegis_error_t *err);
#include "tables/modules.def"
#undef AEGIS_MODULE

/*
 * The verifier over time. One more evaluation of a verification that is under
 * way: {"checkpoint": its row, "run": what verify_run is then, "subject" and
 * "data" with a verdict}. And the end of one whose rollback was waited for; a
 * NULL document: it still runs.
 */
aegis_code_t aegis_module_verify_step(const json_t *facts, const aegis_module_ctx_t *ctx,
    json_t **ret_doc, aegis_error_t *err);
aegis_code_t aegis_module_verify_rolled(const json_t *facts,
    const aegis_module_ctx_t *ctx, json_t **ret_doc);

/* For the modules' own files: what their documents share. */

/* Did a command ask, and not a person? */
int aegis_module_is_command(const json_t *request);

/* {case_id, tenant, case_version, correlation_id, actor, at}: what every fact
 * starts with. New reference. */
json_t *aegis_module_data(const json_t *facts, const aegis_module_ctx_t *ctx);

/* Steals data. The document of a command that could not be done: nothing is
 * stored, subject says why with "reason" (and what data says besides). */
aegis_code_t aegis_module_failure(const char *subject, const char *reason,
    const aegis_module_ctx_t *ctx, json_t *data, json_t **ret_doc, aegis_error_t *err);

/* Steals artefact, more, data and body; more may be NULL, as body may for a command, whose
 * answer nobody is shown. Without a subject nothing is published. */
aegis_code_t aegis_module_document(const char *table, json_t *artefact, json_t *more,
    const char *subject, const char *what, const aegis_module_ctx_t *ctx,
    json_t *data, json_t *body, json_t **ret_doc, aegis_error_t *err);

#endif
