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

#endif
