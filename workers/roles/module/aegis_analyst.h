/*
 * aegis_analyst.h: the analyst's clock: what it looks at between commands.
 *   aegis_analyst.c         when, which rules, what is asked of the database
 *   aegis_analyst_series.c  a series' new points through the core's detectors
 */
#ifndef AEGIS_ANALYST_H
#define AEGIS_ANALYST_H

#include "aegis_detect.h"
#include "aegis_role.h"

typedef struct aegis_analyst_s  aegis_analyst_t;

/* The role's init; an error when the rules' file is not one. */
aegis_code_t aegis_analyst_init(aegis_worker_t *w, aegis_error_t *err);
void aegis_analyst_free(aegis_analyst_t *a);            /* NULL is fine */

/* The role's tick; milliseconds until the next one. */
int aegis_analyst_tick(aegis_worker_t *w);

/* Read the rules again; a bad file changes nothing. */
void aegis_analyst_reload(aegis_worker_t *w);

/* One row of aegis.analyst_read(). Texts are borrowed. */
typedef struct {
    const char  *source;
    const char  *tenant, *resource, *metric, *series;
    const char  *state;             /* hex, NULL: it is new */
    const char  *points;
    const char  *info;              /* json of a log pattern, or NULL */
} aegis_analyst_row_t;

/* How old a finding may be to open a case; and the states that come out of it, one
 * behind the other: AEGIS_DETECT_BYTES a row are there. */
typedef struct {
    const aegis_detect_rules_t  *rules;
    double                       now;
    double                       max_age;
    long                         points;        /* counted */
    unsigned char               *states;
    size_t                       states_len;
} aegis_analyst_pass_t;

/* The series as it is after its points, and what was found; into arrays. 0: no
 * memory. */
int aegis_analyst_series(aegis_analyst_pass_t *pass, const aegis_analyst_row_t *row,
    json_t *series, json_t *findings);

#endif
