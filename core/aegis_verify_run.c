/*
 * aegis_verify_run.c: a verification: every check of a plan, evaluated when it
 * is due, until all hold, one is broken, or one's deadline has come. Its
 * invariant: pass means that every check holds by its own last evaluations, and
 * nothing passes by absence: no check, no run and no sample never do.
 */
#include "aegis_verify.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "aegis_json.h"

/* Bytes of a name that a finding repeats. */
#define AEGIS_VERIFY_NAME  80

typedef struct {
    double         now;
    double         change_from;
    double         change_to;
    double         started;
    const json_t  *facts;
    const json_t  *plan;
} aegis_verify_run_t;

/* One check at work. */
typedef struct {
    const json_t              *check;
    const json_t              *before;      /* its progress so far, or NULL */
    aegis_verify_check_t       c;
    aegis_verify_progress_t    progress;
    aegis_verify_state_t       state;
    aegis_verify_result_t      result;
    char                       detail[AEGIS_VERIFY_DETAIL + AEGIS_VERIFY_NAME + 16];
    double                     next;
    int                        evaluated;
    int                        waits;       /* inconclusive looks in a row */
} aegis_verify_work_t;


static double
aegis_verify_number(const json_t *object, const char *name)
{
    return json_number_value(json_object_get(object, name));
}


static void
aegis_verify_run_load(const json_t *facts, aegis_verify_run_t *r)
{
    const json_t  *change, *verify;

    change = json_object_get(facts, "change");
    verify = json_object_get(facts, "verify");

    r->facts = facts;
    r->plan = json_object_get(json_object_get(facts, "plan"), "plan");
    r->now = aegis_verify_number(facts, "now_s");
    r->change_from = aegis_verify_number(change, "from_s");
    r->change_to = aegis_verify_number(change, "to_s");
    r->started = json_is_object(verify) ? aegis_verify_number(verify, "started_s") : r->now;
}


/* The plan's check i and what is remembered of it. 0: it is not due. */
static int
aegis_verify_take(const aegis_verify_run_t *r, size_t i, aegis_verify_work_t *k)
{
    memset(k, 0, sizeof(*k));
    k->check = json_array_get(json_object_get(r->plan, "verify"), i);
    k->before = json_array_get(json_object_get(json_object_get(r->facts, "verify"),
                                               "progress"), i);
    aegis_verify_check_load(k->check, &k->c);

    if (!json_is_object(k->before)) {
        k->before = NULL;
        return 1;
    }

    k->progress.passes = (int) aegis_verify_number(k->before, "passes");
    k->progress.fails = (int) aegis_verify_number(k->before, "fails");
    k->waits = (int) aegis_verify_number(k->before, "waits");
    k->next = aegis_verify_number(k->before, "next_s");

    return r->now + 0.5 >= k->next;
}


/* Did the run end well, and every step of the plan with it? */
static int
aegis_verify_exec(const json_t *run, const json_t *plan, char *detail, size_t size)
{
    size_t       i, n, planned;
    json_t      *steps, *step, *next;
    const char  *state;

    state = aegis_json_str(run, "state");

    if (strcmp(state, "DONE") != 0) {
        snprintf(detail, size, "the run is %.20s", state[0] ? state : "missing");
        return 0;
    }

    steps = json_object_get(run, "steps");
    planned = json_array_size(json_object_get(plan, "steps"));
    n = 0;

    /* ordered by phase, step and attempt: the last row of a step decides */
    for (i = 0; i < json_array_size(steps); i++) {
        step = json_array_get(steps, i);
        next = json_array_get(steps, i + 1);

        if (strcmp(aegis_json_str(step, "phase"), "step") != 0
            || (next && strcmp(aegis_json_str(next, "phase"), "step") == 0
                && json_equal(json_object_get(step, "step_no"),
                              json_object_get(next, "step_no"))))
        {
            continue;
        }

        if (strcmp(aegis_json_str(step, "state"), "OK") != 0) {
            snprintf(detail, size, "step %lld is %.20s",
                     (long long) json_integer_value(json_object_get(step, "step_no")),
                     aegis_json_str(step, "state"));
            return 0;
        }

        n++;
    }

    snprintf(detail, size, "%zu of %zu steps are OK", n, planned);

    return n >= planned && n > 0;
}


/* {"points": [[t, n, avg, max, p95]…]} of metric_1m, [[t, n, v]…] of others,
 * into a series whose points are the caller's to free. */
static int
aegis_verify_series(const json_t *read, const aegis_verify_check_t *c,
    aegis_verify_series_t *ret)
{
    size_t                 i, column;
    json_t                *points, *row, *value;
    aegis_verify_point_t  *p;

    memset(ret, 0, sizeof(*ret));
    points = json_object_get(read, "points");
    column = c->kind == AEGIS_VERIFY_METRIC ? 2 + (size_t) c->agg : 2;

    ret->width_s = c->kind == AEGIS_VERIFY_METRIC ? AEGIS_VERIFY_BUCKET_S : 0;
    ret->error = json_string_value(json_object_get(read, "error"));
    ret->n_nan = (size_t) aegis_verify_number(read, "nan");
    ret->n_inf = (size_t) aegis_verify_number(read, "inf");

    ret->v = calloc(json_array_size(points) + 1, sizeof(aegis_verify_point_t));
    if (ret->v == NULL) {
        return 0;
    }

    for (i = 0; i < json_array_size(points); i++) {
        row = json_array_get(points, i);
        value = json_array_get(row, column);

        if (!json_is_number(value)) {
            /* PostgreSQL writes what json cannot say as a string */
            if (json_is_string(value) && strstr(json_string_value(value), "nfinity")) {
                ret->n_inf++;
            } else {
                ret->n_nan++;
            }
            continue;
        }

        p = &ret->v[ret->n++];
        p->t = json_number_value(json_array_get(row, 0));
        p->n = json_number_value(json_array_get(row, 1));
        p->v = json_number_value(value);
    }

    return 1;
}


static void
aegis_verify_label(const aegis_verify_work_t *k, char *buf, size_t size)
{
    const char  *name;

    static const char *const  aggs[] = { "avg", "max", "p95" };
    static const char *const  measures[] = { "value", "p95", "error_rate", "availability" };

    name = aegis_json_str(k->check, "name");
    name = name[0] ? name : k->c.kind == AEGIS_VERIFY_METRIC
           ? aegis_json_str(k->check, "metric") : measures[k->c.measure];

    snprintf(buf, size, "%.*s %s",
             (int) aegis_utf8_cut(name, strlen(name), AEGIS_VERIFY_NAME), name,
             k->c.budget > 0 ? "budget" : aggs[k->c.agg]);
}


/* Seconds to the next look. What was inconclusive is looked at again sooner, and
 * ever later: the first samples may come at any moment. */
static double
aegis_verify_wait(aegis_verify_work_t *k)
{
    int  i, wait;

    if (k->result.outcome != AEGIS_VERIFY_INCONCLUSIVE) {
        k->waits = 0;
        return k->c.every_s;
    }

    if (k->result.early > 0) {
        return k->result.early;
    }

    wait = AEGIS_VERIFY_SOON_S;
    for (i = 0; i < k->waits && wait < k->c.every_s; i++) {
        wait *= 2;
    }
    k->waits++;

    return wait < k->c.every_s ? wait : k->c.every_s;
}


/* Judge a check that is due by what was measured. 0: no memory. */
static int
aegis_verify_judge_one(const aegis_verify_run_t *r, size_t i, aegis_verify_work_t *k)
{
    int                    ok;
    char                   label[AEGIS_VERIFY_NAME + 16];
    const json_t          *measured;
    aegis_verify_input_t   in;
    aegis_verify_series_t  series, baseline;

    measured = json_array_get(json_object_get(r->facts, "measured"), i);

    if (!aegis_verify_series(json_object_get(measured, "window"), &k->c, &series)) {
        return 0;
    }

    if (!aegis_verify_series(json_object_get(measured, "baseline"), &k->c, &baseline)) {
        free(series.v);
        return 0;
    }

    in.now = r->now;
    in.change_from = r->change_from;
    in.change_to = r->change_to;
    in.series = &series;
    in.baseline = k->c.compare == AEGIS_VERIFY_ABSOLUTE ? NULL : &baseline;

    aegis_verify_judge(&k->c, &in, &k->result);
    free(series.v);
    free(baseline.v);

    aegis_verify_label(k, label, sizeof(label));
    ok = k->result.measured && k->result.outcome != AEGIS_VERIFY_INCONCLUSIVE;
    snprintf(k->detail, sizeof(k->detail), ok ? "%s %s" : "%s: %s", label,
             k->result.detail);

    k->state = aegis_verify_advance(&k->c, &k->progress, k->result.outcome,
                                    r->now - r->started);
    k->next = r->now + aegis_verify_wait(k);
    if (k->next > r->started + k->c.deadline_s) {
        k->next = r->started + k->c.deadline_s > r->now ? r->started + k->c.deadline_s
                                                        : k->next;
    }

    return 1;
}


static int
aegis_verify_work(const aegis_verify_run_t *r, size_t i, aegis_verify_work_t *k)
{
    int  ok;

    k->evaluated = aegis_verify_take(r, i, k);

    if (k->c.kind == AEGIS_VERIFY_EXEC) {
        /* a run that has ended does not change: one look is enough */
        k->evaluated = 1;
        ok = aegis_verify_exec(json_object_get(r->facts, "run"), r->plan,
                               k->detail, sizeof(k->detail));
        k->state = ok ? AEGIS_VERIFY_HOLDS : AEGIS_VERIFY_BROKEN;
        k->result.outcome = ok ? AEGIS_VERIFY_PASS : AEGIS_VERIFY_FAILED;
        k->next = r->now + AEGIS_VERIFY_MAX_S;
        return 1;
    }

    if (k->evaluated) {
        return aegis_verify_judge_one(r, i, k);
    }

    snprintf(k->detail, sizeof(k->detail), "%s", aegis_json_str(k->before, "detail"));
    k->state = k->progress.passes >= k->c.passes ? AEGIS_VERIFY_HOLDS
                                                 : AEGIS_VERIFY_UNDECIDED;
    return 1;
}


static json_t *
aegis_verify_measured(const aegis_verify_work_t *k)
{
    json_t                       *m;
    const aegis_verify_result_t  *res = &k->result;

    m = json_pack("{s:f, s:I, s:f, s:f}", "samples", res->samples, "points",
                  (json_int_t) res->points, "from_s", res->from, "to_s", res->to);

    json_object_set_new(m, "value", res->measured ? json_real(res->value) : json_null());

    if (res->measured) {
        json_object_set_new(m, "limit", json_real(res->limit));
    }

    if (res->has_baseline) {
        json_object_set_new(m, "baseline", json_real(res->baseline));
        json_object_set_new(m, "baseline_samples", json_real(res->baseline_n));
    }

    if (res->has_burn) {
        json_object_set_new(m, "burn_short", json_real(res->burn_short));
        json_object_set_new(m, "burn_long", json_real(res->burn_long));
    }

    return m;
}


/* The check as it stands in the plan, and what was found. */
static json_t *
aegis_verify_finding(const aegis_verify_work_t *k)
{
    json_t  *finding;

    finding = json_deep_copy(k->check);
    json_object_set_new(finding, "ok", json_boolean(k->state == AEGIS_VERIFY_HOLDS));
    json_object_set_new(finding, "detail", json_string(k->detail));
    json_object_set_new(finding, "outcome", json_string(k->evaluated
        ? aegis_verify_outcome_name(k->result.outcome)
        : aegis_json_str(k->before, "outcome")));
    json_object_set_new(finding, "evaluated", json_boolean(k->evaluated));

    if (k->c.kind != AEGIS_VERIFY_EXEC) {
        json_object_set_new(finding, "passed_in_row", json_integer(k->progress.passes));
        json_object_set_new(finding, "failed_in_row", json_integer(k->progress.fails));
    }

    if (k->c.kind != AEGIS_VERIFY_EXEC && k->evaluated) {
        json_object_set_new(finding, "measured", aegis_verify_measured(k));
    }

    return finding;
}


static json_t *
aegis_verify_remember(const aegis_verify_work_t *k)
{
    return json_pack("{s:i, s:i, s:i, s:f, s:s, s:s}", "passes", k->progress.passes,
        "fails", k->progress.fails, "waits", k->waits, "next_s", k->next, "outcome", k->evaluated
        ? aegis_verify_outcome_name(k->result.outcome)
        : aegis_json_str(k->before, "outcome"), "detail", k->detail);
}


/* The worst state of all decides; the first check in it is named. */
static void
aegis_verify_verdict(const aegis_verify_work_t *k, size_t i, double elapsed,
    aegis_verify_state_t *worst, char *reason, size_t size)
{
    static const int  rank[] = { 1, 0, 3, 2 };

    if (rank[k->state] <= rank[*worst]) {
        return;
    }

    *worst = k->state;

    if (k->state == AEGIS_VERIFY_BROKEN) {
        snprintf(reason, size, "check %zu does not hold: %.240s", i + 1, k->detail);

    } else if (k->state == AEGIS_VERIFY_OVERDUE) {
        snprintf(reason, size, "check %zu is inconclusive after %.0f s: %.240s", i + 1,
                 elapsed, k->detail);

    } else {
        snprintf(reason, size, "check %zu is not decided yet: %.240s", i + 1, k->detail);
    }
}


aegis_code_t
aegis_verify_evaluate(const json_t *facts, json_t **ret, aegis_error_t *err)
{
    char                   reason[320];
    double                 next;
    size_t                 i, n;
    json_t                *checks, *progress;
    aegis_verify_run_t     r;
    aegis_verify_work_t    k;
    aegis_verify_state_t   worst;

    static const char *const  outcomes[] = { "", "pass", "failed", "inconclusive" };

    aegis_verify_run_load(facts, &r);
    n = json_array_size(json_object_get(r.plan, "verify"));
    checks = json_array();
    progress = json_array();
    worst = n ? AEGIS_VERIFY_HOLDS : AEGIS_VERIFY_BROKEN;
    next = r.now + AEGIS_VERIFY_MAX_S;

    snprintf(reason, sizeof(reason), n ? "every check holds" : "the plan has no check");

    for (i = 0; i < n; i++) {
        if (!aegis_verify_work(&r, i, &k)
            || json_array_append_new(checks, aegis_verify_finding(&k)) != 0
            || json_array_append_new(progress, aegis_verify_remember(&k)) != 0)
        {
            /* a finding that cannot be kept must not have passed */
            json_decref(checks);
            json_decref(progress);
            return aegis_error_set(err, AEGIS_E_INTERNAL, "no memory");
        }

        aegis_verify_verdict(&k, i, r.now - r.started, &worst, reason, sizeof(reason));
        next = k.next < next ? k.next : next;
    }

    *ret = json_pack("{s:s, s:s, s:o, s:o, s:f}", "outcome", outcomes[worst], "reason",
                     reason, "checks", checks, "progress", progress, "next_s", next);

    return *ret ? AEGIS_E_OK : aegis_error_set(err, AEGIS_E_INTERNAL, "no memory");
}


int
aegis_verify_needs_prometheus(const json_t *plan)
{
    size_t                 i;
    json_t                *checks;
    aegis_verify_check_t   c;

    checks = json_object_get(plan, "verify");

    for (i = 0; i < json_array_size(checks); i++) {
        aegis_verify_check_load(json_array_get(checks, i), &c);

        if (c.kind == AEGIS_VERIFY_PROMETHEUS) {
            return 1;
        }
    }

    return 0;
}


int
aegis_verify_deadline_s(const json_t *plan)
{
    int                    longest;
    size_t                 i;
    json_t                *checks;
    aegis_verify_check_t   c;

    checks = json_object_get(plan, "verify");
    longest = 0;

    for (i = 0; i < json_array_size(checks); i++) {
        aegis_verify_check_load(json_array_get(checks, i), &c);

        if (c.kind != AEGIS_VERIFY_EXEC && c.deadline_s > longest) {
            longest = c.deadline_s;
        }
    }

    return longest;
}


int
aegis_verify_rolls_back(const json_t *plan, const char *outcome)
{
    const char  *on;

    if (json_array_size(json_object_get(plan, "rollback")) == 0
        || outcome[0] == '\0' || strcmp(outcome, "pass") == 0)
    {
        return 0;
    }

    on = aegis_json_str(plan, "rollback_on");

    return strcmp(on, "any") == 0
           || (strcmp(on, "never") != 0 && strcmp(outcome, "failed") == 0);
}


int
aegis_verify_rollback_s(const json_t *plan)
{
    double   s;
    size_t   i;
    json_t  *rollback, *step, *retry, *value;

    rollback = json_object_get(plan, "rollback");
    s = AEGIS_VERIFY_SLACK_S;

    for (i = 0; i < json_array_size(rollback); i++) {
        step = json_array_get(rollback, i);
        retry = json_object_get(step, "retry");
        value = json_object_get(step, "timeout_s");

        s += (value ? json_number_value(value) : 900)
             * (1 + aegis_verify_number(retry, "max"))
             + aegis_verify_number(retry, "max") * 600;
    }

    return s < 30.0 * AEGIS_VERIFY_MAX_S ? (int) s : 30 * AEGIS_VERIFY_MAX_S;
}


/* What the due checks of a kind that is asked for look at. */
static size_t
aegis_verify_ask_one(const aegis_verify_run_t *r, size_t i, const aegis_verify_work_t *k,
    aegis_verify_ask_t *asks)
{
    int     b;
    size_t  n, q;

    static const char *const  which[] = { "query", "errors", "total" };

    n = 0;

    for (b = 0; b < (k->c.compare == AEGIS_VERIFY_ABSOLUTE ? 1 : 2); b++) {
        for (q = 0; q < 3; q++) {
            if (json_object_get(k->check, which[q]) == NULL) {
                continue;
            }

            asks[n].check = i;
            asks[n].baseline = b;
            asks[n].which = which[q];
            asks[n].query = aegis_json_str(k->check, which[q]);
            asks[n].step = k->c.step_s;
            asks[n].start = b ? r->change_from - k->c.baseline_s
                              : aegis_verify_from(&k->c, r->now, r->change_to);
            asks[n].end = b ? r->change_from : r->now;
            n++;
        }
    }

    return n;
}


size_t
aegis_verify_asks(const json_t *facts, aegis_verify_ask_t *asks)
{
    size_t               i, n, n_checks;
    aegis_verify_run_t   r;
    aegis_verify_work_t  k;

    aegis_verify_run_load(facts, &r);
    n_checks = json_array_size(json_object_get(r.plan, "verify"));

    for (i = 0, n = 0; i < n_checks && n + 4 <= AEGIS_VERIFY_MAX_ASKS; i++) {
        if (aegis_verify_take(&r, i, &k) && k.c.kind == AEGIS_VERIFY_PROMETHEUS
            && aegis_verify_from(&k.c, r.now, r.change_to) <= r.now)
        {
            n += aegis_verify_ask_one(&r, i, &k, asks + n);
        }
    }

    return n;
}
