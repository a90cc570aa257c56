/*
 * aegis_verify_judge.c: one evaluation of one check over samples. Its
 * invariant: pass needs a number that was measured over the whole window, behind
 * the change, from enough samples that are not old; whatever is missing or
 * strange is inconclusive, and never pass. The one exception is written in the
 * plan: no_data: pass.
 */
#include "aegis_verify.h"

#include <math.h>
#include <stdio.h>
#include <string.h>

/* What a window comes to. */
typedef struct {
    double  sum;                        /* of v weighted by n */
    double  n;
    double  most;
    double  last;                       /* when the newest sample ended */
    double  least_v;
    size_t  points;
} aegis_verify_sum_t;


double
aegis_verify_from(const aegis_verify_check_t *check, double now, double change_to)
{
    double  from, behind;

    from = now - check->window_s;
    behind = change_to + check->warmup_s;

    return from > behind ? from : behind;
}


static void
aegis_verify_sum(const aegis_verify_series_t *s, double from, double to,
    aegis_verify_sum_t *ret)
{
    size_t                       i;
    const aegis_verify_point_t  *p;

    memset(ret, 0, sizeof(*ret));

    for (i = 0; i < s->n; i++) {
        p = &s->v[i];

        if (p->t < from || p->t > to || !(p->n > 0)) {
            continue;
        }

        ret->most = ret->points == 0 || p->v > ret->most ? p->v : ret->most;
        ret->least_v = ret->points == 0 || p->v < ret->least_v ? p->v : ret->least_v;
        ret->last = p->t + s->width_s;
        ret->sum += p->v * p->n;
        ret->n += p->n;
        ret->points++;
    }
}


/* A mean of many p95s stands for the p95 of all of them; a greatest one would
 * grow with the window, and alarm the more the longer one looks. */
static double
aegis_verify_aggregate(const aegis_verify_check_t *check, const aegis_verify_sum_t *sum)
{
    return check->agg == AEGIS_VERIFY_AGG_MAX ? sum->most : sum->sum / sum->n;
}


static int
aegis_verify_compares_to(double value, const char *op, double limit)
{
    if (strcmp(op, "<") == 0) {
        return value < limit;
    }

    if (strcmp(op, "<=") == 0) {
        return value <= limit;
    }

    if (strcmp(op, ">") == 0) {
        return value > limit;
    }

    return strcmp(op, ">=") == 0 && value >= limit;
}


static int
aegis_verify_is_ratio(const aegis_verify_check_t *check, const aegis_verify_sum_t *sum)
{
    return (check->measure != AEGIS_VERIFY_ERROR_RATE
            && check->measure != AEGIS_VERIFY_AVAILABILITY)
           || (sum->least_v >= -1e-9 && sum->most <= 1 + 1e-9);
}


/* Has a window of so many seconds gone by behind the change? What is judged
 * sooner is judged by its first minute, and that is often wrong. */
static int
aegis_verify_is_over(const aegis_verify_check_t *check, const aegis_verify_input_t *in,
    int window_s, aegis_verify_result_t *ret)
{
    ret->early = in->change_to + check->warmup_s + window_s - in->now;
    ret->early = ret->early > 0 ? ret->early : 0;

    if (ret->early > 0) {
        snprintf(ret->detail, sizeof(ret->detail), "its window is over in %.0f s", ret->early);
    }

    return ret->early <= 0;
}


/* 1: the window can be judged. Otherwise ret says why not. */
static int
aegis_verify_usable(const aegis_verify_check_t *check, const aegis_verify_input_t *in,
    const aegis_verify_sum_t *sum, aegis_verify_result_t *ret)
{
    double                        expected;
    const aegis_verify_series_t  *s = in->series;

    ret->outcome = AEGIS_VERIFY_INCONCLUSIVE;

    if (s->error) {
        snprintf(ret->detail, sizeof(ret->detail), "%s", s->error);
        return 0;
    }

    if (s->n_inf > 0) {
        snprintf(ret->detail, sizeof(ret->detail), "%zu of %zu samples are infinite",
                 s->n_inf, s->n + s->n_nan + s->n_inf);
        return 0;
    }

    if (!aegis_verify_is_over(check, in, check->budget > 0 ? check->short_s
                                                           : check->window_s, ret))
    {
        return 0;
    }

    if (sum->points == 0) {
        if (aegis_verify_is_over(check, in, check->window_s, ret)) {
            ret->outcome = check->no_data;
            snprintf(ret->detail, sizeof(ret->detail), "no samples%s: no_data says %s",
                     s->n_nan ? " with a value" : "",
                     aegis_verify_outcome_name(check->no_data));
        }

        return 0;
    }

    if (sum->n < check->min_samples) {
        snprintf(ret->detail, sizeof(ret->detail), "%.6g of %d samples", sum->n,
                 check->min_samples);
        return 0;
    }

    if (in->now - sum->last > check->stale_s) {
        snprintf(ret->detail, sizeof(ret->detail),
                 "the newest sample is %.0f s old, more than %d", in->now - sum->last,
                 check->stale_s);
        return 0;
    }

    expected = check->step_s ? floor((ret->to - ret->from) / check->step_s) + 1 : 0;

    if ((double) sum->points < expected * check->min_coverage) {
        snprintf(ret->detail, sizeof(ret->detail), "%zu of %.0f points are there",
                 sum->points, expected);
        return 0;
    }

    if (!aegis_verify_is_ratio(check, sum)) {
        snprintf(ret->detail, sizeof(ret->detail), "%.6g to %.6g is no ratio of 0 to 1",
                 sum->least_v, sum->most);
        return 0;
    }

    return 1;
}


/* What the value is held against; 0: there is nothing to hold it against. */
static int
aegis_verify_held(const aegis_verify_check_t *check, const aegis_verify_input_t *in,
    aegis_verify_result_t *ret, double *compared)
{
    aegis_verify_sum_t            sum;
    const aegis_verify_series_t  *b = in->baseline;

    *compared = ret->value;

    if (check->compare == AEGIS_VERIFY_ABSOLUTE) {
        return 1;
    }

    memset(&sum, 0, sizeof(sum));

    if (b == NULL || b->error) {
        snprintf(ret->detail, sizeof(ret->detail), "baseline: %.150s",
                 b ? b->error : "not read");
        return 0;
    }

    aegis_verify_sum(b, in->change_from - check->baseline_s, in->change_from - b->width_s,
                     &sum);
    ret->baseline_n = sum.n;

    if (b->n_inf > 0 || sum.points == 0 || sum.n < check->baseline_samples
        || !aegis_verify_is_ratio(check, &sum))
    {
        snprintf(ret->detail, sizeof(ret->detail),
                 b->n_inf > 0 ? "baseline: %.6g of %d samples, and some are infinite"
                              : "baseline: %.6g of %d samples", sum.n,
                 check->baseline_samples);
        return 0;
    }

    ret->has_baseline = 1;
    ret->baseline = aegis_verify_aggregate(check, &sum);

    if (check->compare == AEGIS_VERIFY_DIFFERENCE) {
        *compared = ret->value - ret->baseline;
        return 1;
    }

    sum.sum = ret->baseline > check->baseline_floor ? ret->baseline
                                                    : check->baseline_floor;
    if (sum.sum <= 0 && !(sum.sum == 0 && ret->value == 0)) {
        snprintf(ret->detail, sizeof(ret->detail),
                 "baseline: %.6g has no ratio; set baseline.floor, or compare by difference",
                 ret->baseline);
        return 0;
    }

    *compared = sum.sum == 0 ? 1 : ret->value / sum.sum;

    return 1;
}


static void
aegis_verify_judge_value(const aegis_verify_check_t *check,
    const aegis_verify_input_t *in, const aegis_verify_sum_t *sum,
    aegis_verify_result_t *ret)
{
    int     ok;
    double  compared;

    static const char *const  what[] = { "", " times the baseline", " above the baseline" };

    ret->value = aegis_verify_aggregate(check, sum);
    ret->measured = isfinite(ret->value) != 0;
    ret->limit = check->threshold;

    if (!ret->measured) {
        snprintf(ret->detail, sizeof(ret->detail), "the samples have no sum");
        return;
    }

    if (!aegis_verify_held(check, in, ret, &compared)) {
        return;
    }

    ok = aegis_verify_compares_to(compared, check->op, check->threshold);
    ret->outcome = ok ? AEGIS_VERIFY_PASS : AEGIS_VERIFY_FAILED;

    if (check->compare == AEGIS_VERIFY_ABSOLUTE) {
        snprintf(ret->detail, sizeof(ret->detail), "%.6g is %s%s %.6g", ret->value,
                 ok ? "" : "not ", check->op, check->threshold);

    } else {
        snprintf(ret->detail, sizeof(ret->detail),
                 "%.6g is %.6g%s of %.6g: %s%s %.6g", ret->value, compared,
                 what[check->compare], ret->baseline, ok ? "" : "not ", check->op,
                 check->threshold);
    }
}


/* Both windows have to burn: the long one says that it matters, the short one
 * that it goes on. */
static void
aegis_verify_judge_burn(const aegis_verify_check_t *check,
    const aegis_verify_input_t *in, const aegis_verify_sum_t *sum,
    aegis_verify_result_t *ret)
{
    int                 bad;
    double              rate;
    aegis_verify_sum_t  brief;

    aegis_verify_sum(in->series,
                     ret->from > in->now - check->short_s ? ret->from
                                                          : in->now - check->short_s,
                     in->now, &brief);

    if (brief.points == 0) {
        snprintf(ret->detail, sizeof(ret->detail), "no samples in the short window");
        return;
    }

    rate = sum->sum / sum->n;
    ret->value = check->measure == AEGIS_VERIFY_AVAILABILITY ? 1 - rate : rate;
    ret->burn_long = ret->value / check->budget;
    rate = brief.sum / brief.n;
    ret->burn_short = (check->measure == AEGIS_VERIFY_AVAILABILITY ? 1 - rate : rate)
                      / check->budget;
    ret->measured = ret->has_burn = 1;
    ret->limit = check->factor;

    bad = ret->burn_long > check->factor && ret->burn_short > check->factor;

    /* to fail the short window is enough, to pass all of the long one is due */
    if (!bad && !aegis_verify_is_over(check, in, check->window_s, ret)) {
        return;
    }

    ret->outcome = bad ? AEGIS_VERIFY_FAILED : AEGIS_VERIFY_PASS;

    snprintf(ret->detail, sizeof(ret->detail),
             "burns %.4g over %d s and %.4g over %d s: %s than %.6g", ret->burn_long,
             check->window_s, ret->burn_short, check->short_s,
             bad ? "both more" : "not both more", check->factor);
}


void
aegis_verify_judge(const aegis_verify_check_t *check, const aegis_verify_input_t *in,
    aegis_verify_result_t *ret)
{
    aegis_verify_sum_t  sum;

    memset(ret, 0, sizeof(*ret));
    ret->outcome = AEGIS_VERIFY_INCONCLUSIVE;
    ret->from = aegis_verify_from(check, in->now, in->change_to);
    ret->to = in->now;

    aegis_verify_sum(in->series, ret->from, ret->to, &sum);
    ret->samples = sum.n;
    ret->points = sum.points;

    if (!aegis_verify_usable(check, in, &sum, ret)) {
        return;
    }

    if (check->budget > 0) {
        aegis_verify_judge_burn(check, in, &sum, ret);

    } else {
        aegis_verify_judge_value(check, in, &sum, ret);
    }
}


aegis_verify_state_t
aegis_verify_advance(const aegis_verify_check_t *check,
    aegis_verify_progress_t *progress, aegis_verify_outcome_t outcome, double elapsed)
{
    switch (outcome) {

    case AEGIS_VERIFY_PASS:
        progress->passes++;
        progress->fails = 0;
        break;

    case AEGIS_VERIFY_FAILED:
        progress->fails++;
        progress->passes = 0;
        break;

    default:
        /* says nothing for the repair, and nothing in its favour */
        progress->passes = 0;
        break;
    }

    if (progress->fails >= check->fails) {
        return AEGIS_VERIFY_BROKEN;
    }

    if (progress->passes >= check->passes) {
        return AEGIS_VERIFY_HOLDS;
    }

    if (elapsed < check->deadline_s) {
        return AEGIS_VERIFY_UNDECIDED;
    }

    return outcome == AEGIS_VERIFY_FAILED ? AEGIS_VERIFY_BROKEN : AEGIS_VERIFY_OVERDUE;
}
