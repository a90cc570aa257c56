/*
 * aegis_verify.h: the verifier's judgement over samples, without I/O.
 *   aegis_verify_check.c  a check of a plan, with its defaults
 *   aegis_verify_judge.c  one evaluation of one check over samples
 *   aegis_verify_run.c    all checks of a verification, over time
 *   aegis_verify_prom.c   what is asked of Prometheus, and what it answered
 * docs/verifier.md says what each member of a check means.
 */
#ifndef AEGIS_VERIFY_H
#define AEGIS_VERIFY_H

#include "aegis_error.h"

#define AEGIS_VERIFY_MAX_S            86400     /* of every time in a check */
#define AEGIS_VERIFY_MAX_EVALUATIONS  1000      /* of one verification */
#define AEGIS_VERIFY_MAX_POINTS       2000      /* of one query */
#define AEGIS_VERIFY_EVERY_S          30
#define AEGIS_VERIFY_SOON_S           2         /* after a first inconclusive look */
#define AEGIS_VERIFY_SLACK_S          300       /* of a deadline that is not given */
#define AEGIS_VERIFY_STALE_S          180
#define AEGIS_VERIFY_BUCKET_S         60        /* of metric_1m */
#define AEGIS_VERIFY_DETAIL           200

typedef enum {
    AEGIS_VERIFY_PASS,
    AEGIS_VERIFY_FAILED,
    AEGIS_VERIFY_INCONCLUSIVE
} aegis_verify_outcome_t;

typedef enum { AEGIS_VERIFY_EXEC, AEGIS_VERIFY_METRIC, AEGIS_VERIFY_PROMETHEUS }
    aegis_verify_kind_t;
typedef enum { AEGIS_VERIFY_VALUE, AEGIS_VERIFY_P95, AEGIS_VERIFY_ERROR_RATE,
    AEGIS_VERIFY_AVAILABILITY } aegis_verify_measure_t;
typedef enum { AEGIS_VERIFY_AGG_AVG, AEGIS_VERIFY_AGG_MAX, AEGIS_VERIFY_AGG_P95 }
    aegis_verify_agg_t;
typedef enum { AEGIS_VERIFY_ABSOLUTE, AEGIS_VERIFY_RATIO, AEGIS_VERIFY_DIFFERENCE }
    aegis_verify_compare_t;

/* A check with every default filled in. Strings are the plan's. */
typedef struct {
    aegis_verify_kind_t     kind;
    aegis_verify_measure_t  measure;
    aegis_verify_agg_t      agg;
    const char             *op;
    double                  threshold;
    int                     window_s;       /* the long one of a burn rate */
    int                     warmup_s;
    int                     min_samples;
    int                     passes;         /* in a row */
    int                     fails;          /* in a row */
    int                     every_s;
    int                     deadline_s;
    int                     stale_s;
    double                  min_coverage;   /* of the window's steps */
    int                     step_s;
    aegis_verify_outcome_t  no_data;
    int                     absent_errors_zero;

    aegis_verify_compare_t  compare;
    int                     baseline_s;
    int                     baseline_samples;
    double                  baseline_floor;

    double                  budget;         /* of errors; 0: no burn rate */
    int                     short_s;
    double                  factor;
} aegis_verify_check_t;

/* t is the epoch of a sample, or of the start of a bucket of width seconds;
 * n is how many observations stand behind it. */
typedef struct {
    double  t;
    double  v;
    double  n;
} aegis_verify_point_t;

typedef struct {
    aegis_verify_point_t  *v;               /* by time */
    size_t                 n;
    size_t                 n_nan;           /* without a value */
    size_t                 n_inf;           /* with one that nothing can be made of */
    int                    width_s;
    const char            *error;           /* why there is nothing, NULL: nothing is wrong */
} aegis_verify_series_t;

typedef struct {
    double                        now;
    double                        change_from;  /* the baseline ends here */
    double                        change_to;    /* the window begins behind it */
    const aegis_verify_series_t  *series;
    const aegis_verify_series_t  *baseline;     /* NULL: the check has none */
} aegis_verify_input_t;

typedef struct {
    aegis_verify_outcome_t  outcome;
    int                     measured;       /* value is one */
    double                  value;
    double                  limit;          /* what value was held against */
    double                  early;          /* seconds until it can be judged at all */
    double                  samples;
    size_t                  points;
    double                  from;
    double                  to;
    int                     has_baseline;
    double                  baseline;
    double                  baseline_n;
    int                     has_burn;
    double                  burn_short;
    double                  burn_long;
    char                    detail[AEGIS_VERIFY_DETAIL];
} aegis_verify_result_t;

/* How far a check is: counters of evaluations in a row. */
typedef struct {
    int  passes;
    int  fails;
} aegis_verify_progress_t;

typedef enum {
    AEGIS_VERIFY_UNDECIDED,
    AEGIS_VERIFY_HOLDS,
    AEGIS_VERIFY_BROKEN,                    /* final */
    AEGIS_VERIFY_OVERDUE                    /* final: the deadline came first */
} aegis_verify_state_t;

/* --- aegis_verify_check.c */

/* A check of a plan that has passed plan.def. */
void aegis_verify_check_load(const json_t *check, aegis_verify_check_t *ret);

/* "pass", "failed", "inconclusive" */
const char *aegis_verify_outcome_name(aegis_verify_outcome_t outcome);

/* --- aegis_verify_judge.c */

void aegis_verify_judge(const aegis_verify_check_t *check,
    const aegis_verify_input_t *in, aegis_verify_result_t *ret);

/* Count one more evaluation; elapsed is the verification's age in seconds. */
aegis_verify_state_t aegis_verify_advance(const aegis_verify_check_t *check,
    aegis_verify_progress_t *progress, aegis_verify_outcome_t outcome, double elapsed);

/* When the window of an evaluation begins. */
double aegis_verify_from(const aegis_verify_check_t *check, double now, double change_to);

/* --- aegis_verify_run.c */

/*
 * One evaluation of a verification. facts: {"now_s", "change": {"from_s",
 * "to_s"}, "plan": {"plan": …}, "run": {"state", "steps"}, "measured": [a check
 * each: {"points", "baseline", "error", …}], "verify": null or {"started_s",
 * "evaluations", "progress"}}, as aegis.verify_facts() makes them.
 * *ret is a new object {"outcome": "" while undecided, else pass, failed or
 * inconclusive; "reason", "checks": findings, "progress", "next_s"}.
 */
aegis_code_t aegis_verify_evaluate(const json_t *facts, json_t **ret, aegis_error_t *err);

/* Is anything of the plan's checks outside of the database? */
int aegis_verify_needs_prometheus(const json_t *plan);

/* When the last check of a plan is decided at the latest. */
int aegis_verify_deadline_s(const json_t *plan);

/* Should the plan's rollback be run for a verification that ended so? And how
 * long it may take at most, in seconds. */
int aegis_verify_rolls_back(const json_t *plan, const char *outcome);
int aegis_verify_rollback_s(const json_t *plan);

/* --- aegis_verify_prom.c */

/* One query_range. which: "query", "errors", "total" of the check, or the same
 * of its baseline. */
typedef struct {
    size_t       check;
    int          baseline;
    const char  *which;
    const char  *query;                     /* the plan's */
    double       start;
    double       end;
    int          step;
} aegis_verify_ask_t;

#define AEGIS_VERIFY_MAX_ASKS  128          /* of 32 checks */

/* What a verification has to ask now; at most AEGIS_VERIFY_MAX_ASKS. */
size_t aegis_verify_asks(const json_t *facts, aegis_verify_ask_t *asks);

/*
 * A response body: {"points": [[t, v]…], "nan", "inf"} or {"error": why}. Never
 * NULL but without memory. Anything that is not exactly one complete series
 * inside of the range is an error.
 */
json_t *aegis_verify_prom_parse(int status, aegis_str_t body,
    const aegis_verify_ask_t *ask);

/* Steals answers[i] of asks[i]; puts them into facts as "measured". */
aegis_code_t aegis_verify_prom_fill(json_t *facts, const aegis_verify_ask_t *asks,
    json_t **answers, size_t n, aegis_error_t *err);

#endif
