/*
 * aegis_route.h: which route a request is for (routes.def).
 */
#ifndef AEGIS_ROUTE_H
#define AEGIS_ROUTE_H

#include "aegis.h"

typedef enum { AEGIS_GET, AEGIS_POST, AEGIS_PATCH, AEGIS_DELETE } aegis_method_t;

typedef enum {
    AEGIS_KIND_LOCAL, AEGIS_KIND_READ, AEGIS_KIND_READ_PLAN, AEGIS_KIND_READ_DIFF,
    AEGIS_KIND_READ_EXEC, AEGIS_KIND_READ_VERIFY, AEGIS_KIND_READ_DOC, AEGIS_KIND_READ_FINDING,
    AEGIS_KIND_PAGE, AEGIS_KIND_SEARCH, AEGIS_KIND_WRITE, AEGIS_KIND_MODULE, AEGIS_KIND_WHO
} aegis_kind_t;

typedef enum {
    AEGIS_SCHEMA_none, AEGIS_SCHEMA_create, AEGIS_SCHEMA_transition, AEGIS_SCHEMA_plan,
    AEGIS_SCHEMA_gate, AEGIS_SCHEMA_approve, AEGIS_SCHEMA_exec, AEGIS_SCHEMA_cancel,
    AEGIS_SCHEMA_verify, AEGIS_SCHEMA_hint, AEGIS_SCHEMA_document, AEGIS_SCHEMA_ask,
    AEGIS_N_SCHEMAS
} aegis_schema_id_t;

typedef struct {
    aegis_route_id_t   id;
    aegis_method_t     method;
    const char        *path;        /* template, with {id} */
    aegis_kind_t       kind;
    aegis_stmt_id_t    stmt;        /* NONE for LOCAL and MODULE */
    aegis_module_id_t  module;      /* NONE unless MODULE */
    aegis_schema_id_t  schema;
    const char        *scope;
    const char        *sentence;
} aegis_route_t;

const aegis_route_t *aegis_route(aegis_route_id_t id);

/*
 * Find the route. path is the decoded path without query. On AEGIS_E_OK sets
 * *ret_route and *ret_id (the {id} segment, AEGIS_NO_STR without one).
 * NOT_FOUND: no template fits. METHOD: one fits with other methods; then
 * *ret_allow is the Allow value, static ("GET, HEAD, OPTIONS").
 * HEAD finds GET's route. method is the request's method name.
 */
aegis_code_t aegis_route_find(aegis_str_t method, aegis_str_t path,
    const aegis_route_t **ret_route, aegis_str_t *ret_id, const char **ret_allow);

/* The same for a request that was never read to its end: the method is what stands
 * before the first blank of its line, the path what stands before "?" of target. */
aegis_code_t aegis_route_find_raw(aegis_str_t line, aegis_str_t target,
    const aegis_route_t **ret_route, aegis_str_t *ret_id, const char **ret_allow);

#endif
