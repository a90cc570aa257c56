/*
 * aegis_verify_check.c: a check of a plan's verify part with every default
 * filled in; plan.def says which members there are. Its invariant: whatever the
 * members say, a check comes to an end: at most AEGIS_VERIFY_MAX_EVALUATIONS
 * fit in before its deadline, and AEGIS_VERIFY_MAX_POINTS into its window.
 */
#include "aegis_verify.h"

#include <string.h>

#include "aegis_json.h"

/* An objective of 1 has no budget to divide by. */
#define AEGIS_VERIFY_LEAST_BUDGET  1e-9

static const struct {
    const char           *name;
    aegis_verify_kind_t   kind;
    int                   pair;         /* errors and total, instead of one value */
    int                   burn;
} aegis_verify_kinds[] = {
    { "exec",             AEGIS_VERIFY_EXEC,       0, 0 },
    { "metric",           AEGIS_VERIFY_METRIC,     0, 0 },
    { "metric_burn",      AEGIS_VERIFY_METRIC,     0, 1 },
    { "prometheus",       AEGIS_VERIFY_PROMETHEUS, 0, 0 },
    { "prometheus_ratio", AEGIS_VERIFY_PROMETHEUS, 1, 0 },
    { "prometheus_burn",  AEGIS_VERIFY_PROMETHEUS, 1, 1 }
};

#define AEGIS_VERIFY_N_KINDS  (sizeof(aegis_verify_kinds) / sizeof(aegis_verify_kinds[0]))

static const char *const  aegis_verify_measures[] =
    { "value", "p95", "error_rate", "availability", NULL };
static const char *const  aegis_verify_aggs[] = { "avg", "max", "p95", NULL };
static const char *const  aegis_verify_no_data[] =
    { "pass", "fail", "inconclusive", NULL };
static const char *const  aegis_verify_compares[] = { "ratio", "difference", NULL };
static const char *const  aegis_verify_outcomes[] =
    { "pass", "failed", "inconclusive", NULL };


static int
aegis_verify_int(const json_t *object, const char *name, int fallback)
{
    json_t  *value;

    value = json_object_get(object, name);

    return json_is_integer(value) ? (int) json_integer_value(value) : fallback;
}


static double
aegis_verify_real(const json_t *object, const char *name, double fallback)
{
    json_t  *value;

    value = json_object_get(object, name);

    return json_is_number(value) ? json_number_value(value) : fallback;
}


/* The index of a member's value; fallback when it is absent. */
static int
aegis_verify_index(const json_t *object, const char *name, const char *const *values,
    int fallback)
{
    int          i;
    const char  *s;

    s = aegis_json_str(object, name);

    for (i = 0; values[i]; i++) {
        if (strcmp(values[i], s) == 0) {
            return i;
        }
    }

    return fallback;
}


static void
aegis_verify_load_times(const json_t *check, aegis_verify_check_t *ret)
{
    int  rounds, least;

    ret->warmup_s = aegis_verify_int(check, "warmup_s", 0);
    ret->min_samples = aegis_verify_int(check, "min_samples", 1);
    ret->passes = aegis_verify_int(check, "passes", 1);
    ret->fails = aegis_verify_int(check, "fails", 1);
    ret->every_s = aegis_verify_int(check, "every_s", AEGIS_VERIFY_EVERY_S);
    ret->stale_s = aegis_verify_int(check, "stale_s", AEGIS_VERIFY_STALE_S);

    rounds = ret->passes > ret->fails ? ret->passes : ret->fails;
    ret->deadline_s = ret->warmup_s + ret->window_s + rounds * ret->every_s
                      + AEGIS_VERIFY_SLACK_S;
    ret->deadline_s = aegis_verify_int(check, "deadline_s", ret->deadline_s);
    ret->deadline_s = ret->deadline_s < AEGIS_VERIFY_MAX_S ? ret->deadline_s
                                                           : AEGIS_VERIFY_MAX_S;

    least = ret->deadline_s / AEGIS_VERIFY_MAX_EVALUATIONS + 1;
    ret->every_s = ret->every_s > least ? ret->every_s : least;
}


static void
aegis_verify_load_baseline(const json_t *check, aegis_verify_check_t *ret)
{
    json_t  *baseline;

    baseline = json_object_get(check, "baseline");
    if (baseline == NULL) {
        return;
    }

    ret->compare = AEGIS_VERIFY_RATIO
                   + aegis_verify_index(baseline, "compare", aegis_verify_compares, 0);
    ret->baseline_s = aegis_verify_int(baseline, "window_s", 0);
    ret->baseline_floor = aegis_verify_real(baseline, "floor", 0);
    ret->baseline_samples = aegis_verify_int(baseline, "min_samples", ret->min_samples);
}


/* A step that is not more often than is scraped, and fits in often enough. */
static void
aegis_verify_load_step(const json_t *check, aegis_verify_check_t *ret)
{
    int  longest, least;

    longest = ret->window_s > ret->baseline_s ? ret->window_s : ret->baseline_s;
    least = longest / (AEGIS_VERIFY_MAX_POINTS - 1) + 1;

    ret->step_s = aegis_verify_int(check, "step_s", 15);
    ret->step_s = ret->step_s > least ? ret->step_s : least;
    ret->min_coverage = aegis_verify_real(check, "min_coverage", 0.5);
}


void
aegis_verify_check_load(const json_t *check, aegis_verify_check_t *ret)
{
    size_t       i;
    const char  *kind;

    memset(ret, 0, sizeof(*ret));
    kind = aegis_json_str(check, "kind");

    for (i = 0; i < AEGIS_VERIFY_N_KINDS; i++) {
        if (strcmp(aegis_verify_kinds[i].name, kind) == 0) {
            break;
        }
    }

    i = i < AEGIS_VERIFY_N_KINDS ? i : 0;
    ret->kind = aegis_verify_kinds[i].kind;

    ret->measure = (aegis_verify_measure_t) aegis_verify_index(check, "measure",
        aegis_verify_measures, aegis_verify_kinds[i].pair || aegis_verify_kinds[i].burn
                               ? AEGIS_VERIFY_ERROR_RATE : AEGIS_VERIFY_VALUE);
    ret->agg = (aegis_verify_agg_t) aegis_verify_index(check, "agg", aegis_verify_aggs,
        ret->kind == AEGIS_VERIFY_METRIC && ret->measure == AEGIS_VERIFY_P95
        ? AEGIS_VERIFY_AGG_P95 : AEGIS_VERIFY_AGG_AVG);
    ret->op = aegis_json_str(check, "op");
    ret->threshold = aegis_verify_real(check, "threshold", 0);
    ret->window_s = aegis_verify_int(check, "window_s", 0);
    ret->absent_errors_zero =
        strcmp(aegis_json_str(check, "absent_errors"), "zero") == 0;

    switch (aegis_verify_index(check, "no_data", aegis_verify_no_data, 2)) {
    case 0:
        ret->no_data = AEGIS_VERIFY_PASS;
        break;
    case 1:
        ret->no_data = AEGIS_VERIFY_FAILED;
        break;
    default:
        ret->no_data = AEGIS_VERIFY_INCONCLUSIVE;
    }

    if (aegis_verify_kinds[i].burn) {
        ret->window_s = aegis_verify_int(check, "long_s", 0);
        ret->short_s = aegis_verify_int(check, "short_s", 0);
        ret->factor = aegis_verify_real(check, "factor", 0);
        ret->budget = 1 - aegis_verify_real(check, "slo", 0);
        ret->budget = ret->budget > AEGIS_VERIFY_LEAST_BUDGET ? ret->budget
                                                              : AEGIS_VERIFY_LEAST_BUDGET;
    }

    aegis_verify_load_times(check, ret);
    aegis_verify_load_baseline(check, ret);

    if (ret->kind == AEGIS_VERIFY_PROMETHEUS) {
        aegis_verify_load_step(check, ret);
    }
}


const char *
aegis_verify_outcome_name(aegis_verify_outcome_t outcome)
{
    return aegis_verify_outcomes[outcome];
}
