/*
 * aegis_action.h: what adapters.def says, as data: the actions that a step may
 * name and the schema of their parameters. Pure; what an action does is its
 * adapter's (workers/roles/exec/aegis_adapter.h).
 */
#ifndef AEGIS_ACTION_H
#define AEGIS_ACTION_H

#include "aegis_error.h"

/* AEGIS_ACTION_echo, … */
typedef enum {
#define AEGIS_ADAPTER(id, action, repeatable, vtable, sentence)                \
    AEGIS_ACTION_##id,
#define AEGIS_PARAM(id, name, type, required, least, most, values, sentence)
#include "tables/adapters.def"
#undef AEGIS_ADAPTER
#undef AEGIS_PARAM
    AEGIS_N_ACTIONS
} aegis_action_id_t;

typedef enum {
    AEGIS_PARAM_STRING,
    AEGIS_PARAM_WORD,
    AEGIS_PARAM_INT,
    AEGIS_PARAM_NUMBER,
    AEGIS_PARAM_BOOL,
    AEGIS_PARAM_ENUM,
    AEGIS_PARAM_STRINGS,
    AEGIS_PARAM_LABELS,
    AEGIS_PARAM_OBJECT
} aegis_param_type_t;

typedef struct {
    aegis_action_id_t   action;
    const char         *name;
    aegis_param_type_t  type;
    int                 required;
    long long           least;
    long long           most;
    const char         *values;             /* of an ENUM: a|b|c */
    const char         *sentence;
} aegis_param_t;

typedef struct {
    const char  *name;                      /* "script.exec" */
    int          repeatable;
    const char  *vtable;
    const char  *sentence;
} aegis_action_t;

/* NULL: past the end. */
const aegis_action_t *aegis_action(unsigned id);

/* All parameters of all actions, each action's in a row; NULL: past the end. */
const aegis_param_t *aegis_action_param(size_t i);

/* AEGIS_N_ACTIONS: nobody does that. */
aegis_action_id_t aegis_action_find(const char *name);

/* "STRING", … */
const char *aegis_param_type_name(aegis_param_type_t type);

/* params (NULL: absent) against the schema; 1 when nothing is wrong, else err
 * says what, at pointers below at. */
int aegis_action_check(aegis_action_id_t id, const json_t *params, const char *at,
    aegis_error_t *err);

#endif
