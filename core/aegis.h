/*
 * aegis.h: the vocabulary of the core, generated from the tables. Read this
 * first. It declares the enums and table rows that every other file walks; it
 * decides nothing. The core does no I/O, reads no clock, keeps no state and
 * writes no log: everything comes in as an argument and goes out as a result.
 *
 * Ownership, everywhere in core/: a json_t * that is returned or stored in a
 * ret_ parameter is the caller's new reference; one that is passed in stays
 * the caller's. aegis_str_t never owns its bytes. ret_ parameters are written
 * only on success.
 */
#ifndef AEGIS_H
#define AEGIS_H

#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include <jansson.h>

/*
 * nginx loads modules RTLD_GLOBAL: the module is built with hidden visibility
 * and every symbol is prefixed, so that nothing of ours meets other modules.
 */

#define AEGIS_VERSION  "0.1.0"

/* A view of bytes that somebody else owns. data NULL means "no value". */
typedef struct {
    size_t       len;
    const char  *data;
} aegis_str_t;

#define aegis_str(lit)   ((aegis_str_t) { sizeof(lit) - 1, (lit) })
#define AEGIS_NO_STR     ((aegis_str_t) { 0, NULL })

/* Of a C string; NULL is no value. */
static inline aegis_str_t
aegis_view(const char *s)
{
    return s ? (aegis_str_t) { strlen(s), s } : AEGIS_NO_STR;
}

typedef enum {
#define AEGIS_STATE(name, terminal, command, sentence)  AEGIS_STATE_##name,
#include "tables/states.def"
#undef AEGIS_STATE
    AEGIS_N_STATES
} aegis_state_t;

typedef enum {
#define AEGIS_EVENT(name, scope, sentence)  AEGIS_EVENT_##name,
#include "tables/events.def"
#undef AEGIS_EVENT
    AEGIS_N_EVENTS
} aegis_event_id_t;

#define AEGIS_FACT_BIT(name)  (1u << AEGIS_FACT_NO_##name)

enum {
#define AEGIS_FACT(name, bit, sentence)  AEGIS_FACT_NO_##name = bit,
#include "tables/facts.def"
#undef AEGIS_FACT
};

typedef enum {
#define AEGIS_GUARD(name, needs)  AEGIS_GUARD_##name,
#include "tables/guards.def"
#undef AEGIS_GUARD
    AEGIS_N_GUARDS
} aegis_guard_t;

typedef enum {
    AEGIS_VERDICT_DONE,             /* the answer is final: ack */
    AEGIS_VERDICT_RETRY,            /* later may differ: nak */
    AEGIS_VERDICT_DEAD              /* no retry helps: dead letter */
} aegis_verdict_t;

/* AEGIS_E_OK is 0: a function that can fail returns this and fills an error. */
typedef enum {
#define AEGIS_ERROR(id, code, http, verdict, title, remedy)  AEGIS_E_##id,
#include "tables/errors.def"
#undef AEGIS_ERROR
    AEGIS_N_ERRORS
} aegis_code_t;

/* AEGIS_R_NONE is 0: nobody was refused. */
typedef enum {
#define AEGIS_REFUSAL(id, name, error, sentence)  AEGIS_R_##id,
#include "tables/refusals.def"
#undef AEGIS_REFUSAL
    AEGIS_N_REFUSALS
} aegis_refusal_t;

typedef enum {
#define AEGIS_COLUMN(name, type)  AEGIS_C_##name,
#include "tables/columns.def"
#undef AEGIS_COLUMN
    AEGIS_N_COLUMNS
} aegis_column_t;

typedef enum {
#define AEGIS_STMT(id, function, kind, columns)  AEGIS_STMT_##id,
#define AEGIS_SQL(id, n, text)
#include "tables/statements.def"
#undef AEGIS_STMT
#undef AEGIS_SQL
    AEGIS_N_STMTS,
    AEGIS_STMT_NONE = AEGIS_N_STMTS
} aegis_stmt_id_t;

typedef enum {
#define AEGIS_STMT(id, function, kind, columns)
#define AEGIS_SQL(id, n, text)  AEGIS_SQL_##id,
#include "tables/statements.def"
#undef AEGIS_STMT
#undef AEGIS_SQL
    AEGIS_N_SQLS
} aegis_sql_id_t;

typedef enum {
#define AEGIS_STREAM(id, name, subjects, max_age_s, max_mib)  AEGIS_STREAM_##id,
#include "tables/streams.def"
#undef AEGIS_STREAM
    AEGIS_N_STREAMS
} aegis_stream_id_t;

typedef enum {
#define AEGIS_MODULE(name, role, command, states)  AEGIS_MODULE_##name,
#include "tables/modules.def"
#undef AEGIS_MODULE
    AEGIS_N_MODULES,
    AEGIS_MODULE_NONE = AEGIS_N_MODULES
} aegis_module_id_t;

typedef enum {
#define AEGIS_ROUTE(id, method, path, kind, stmt, schema, scope, sentence) \
    AEGIS_ROUTE_##id,
#include "tables/routes.def"
#undef AEGIS_ROUTE
    AEGIS_N_ROUTES
} aegis_route_id_t;

#endif
