/*
 * aegis_plan_table.h: plan.def as rows, for the two that walk them: the checker
 * (aegis_plan.c) and the published schema (aegis_plan_schema.c).
 */
#ifndef AEGIS_PLAN_TABLE_H
#define AEGIS_PLAN_TABLE_H

#include "aegis_plan.h"

typedef enum {
    AEGIS_PLAN_STRING,
    AEGIS_PLAN_WORD,
    AEGIS_PLAN_INT,
    AEGIS_PLAN_NUMBER,
    AEGIS_PLAN_BOOL,
    AEGIS_PLAN_ENUM,
    AEGIS_PLAN_STRINGS,
    AEGIS_PLAN_OBJECT,
    AEGIS_PLAN_LIST,
    AEGIS_PLAN_PARAMS,
    AEGIS_PLAN_CHECKS,
    AEGIS_PLAN_KIND
} aegis_plan_type_t;

typedef struct {
    const char         *object;
    const char         *name;
    aegis_plan_type_t   type;
    int                 required;
    long long           least;
    long long           most;
    const char         *of;
    const char         *sentence;
} aegis_plan_row_t;

/* Row i of plan.def; NULL: past the end. */
const aegis_plan_row_t *aegis_plan_row(size_t i);

#define AEGIS_PLAN_VALUES_BUF  256
#define AEGIS_PLAN_MAX_VALUES  24

/* a|b|c as strings in buf; their number, values ends with NULL. */
int aegis_plan_values(const char *of, char buf[AEGIS_PLAN_VALUES_BUF],
    const char *values[AEGIS_PLAN_MAX_VALUES]);

#endif
