/*
 * aegis_module_verify.c: the verifier. It holds what was run and measured
 * against the plan's checks. Its invariant: nothing passes by absence: no
 * check, no run, no sample, no value are all failures with a reason.
 */
#include "aegis_module.h"

#include <stdio.h>
#include <string.h>

#include "aegis_json.h"
#include "aegis_plan.h"

/* Bytes of a metric's name that a finding repeats. */
#define AEGIS_MODULE_VERIFY_NAME  80


/* Did the run end well, and every step of the plan with it? */
static int
aegis_module_verify_exec(const json_t *run, const json_t *plan, char *detail, size_t size)
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


static int
aegis_module_verify_compare(double value, const char *op, double threshold)
{
    if (strcmp(op, "<") == 0) {
        return value < threshold;
    }

    if (strcmp(op, "<=") == 0) {
        return value <= threshold;
    }

    if (strcmp(op, ">") == 0) {
        return value > threshold;
    }

    return strcmp(op, ">=") == 0 && value >= threshold;
}


static int
aegis_module_verify_metric(const json_t *check, const json_t *measured, char *detail,
    size_t size)
{
    int          ok, len;
    double       threshold;
    json_t      *value, *least;
    json_int_t   samples, needed;
    const char  *agg, *op, *name;

    least = json_object_get(check, "min_samples");
    needed = least ? json_integer_value(least) : 1;
    samples = (json_int_t) json_number_value(json_object_get(measured, "samples"));

    agg = aegis_json_str(check, "agg");
    agg = agg[0] ? agg : "avg";
    op = aegis_json_str(check, "op");
    name = aegis_json_str(check, "metric");
    len = (int) aegis_utf8_cut(name, strlen(name), AEGIS_MODULE_VERIFY_NAME);
    value = json_object_get(measured, agg);

    if (samples <= 0) {
        snprintf(detail, size, "%.*s has no samples", len, name);
        return 0;
    }

    if (samples < needed) {
        snprintf(detail, size, "%.*s has %lld of %lld samples", len, name,
                 (long long) samples, (long long) needed);
        return 0;
    }

    if (!json_is_number(value)) {
        snprintf(detail, size, "%s of %.*s was not measured", agg, len, name);
        return 0;
    }

    threshold = json_number_value(json_object_get(check, "threshold"));
    ok = aegis_module_verify_compare(json_number_value(value), op, threshold);

    snprintf(detail, size, "%.*s %s %.6g is %s%s %.6g", len, name, agg,
             json_number_value(value), ok ? "" : "not ", op, threshold);

    return ok;
}


/* The check as it stands in the plan, and what was found. */
static json_t *
aegis_module_verify_check(const json_t *facts, size_t i, int *ret_ok)
{
    int       metric;
    char      detail[160];
    json_t   *check, *plan, *measured, *finding;

    plan = json_object_get(json_object_get(facts, "plan"), "plan");
    check = json_array_get(json_object_get(plan, "verify"), i);
    measured = json_array_get(json_object_get(facts, "measured"), i);
    metric = strcmp(aegis_json_str(check, "kind"), "metric") == 0;

    *ret_ok = metric
              ? aegis_module_verify_metric(check, measured, detail, sizeof(detail))
              : aegis_module_verify_exec(json_object_get(facts, "run"), plan, detail,
                                         sizeof(detail));

    finding = json_deep_copy(check);
    json_object_set_new(finding, "ok", json_boolean(*ret_ok));
    json_object_set_new(finding, "detail", json_string(detail));

    if (metric) {
        json_object_set_new(finding, "measured",
                            measured ? json_incref(measured) : json_null());
    }

    return finding;
}


/* Run every check; reason says the first that fails. New reference. */
static json_t *
aegis_module_verify_checks(const json_t *facts, int *ret_passed, char *reason,
    size_t size)
{
    int      ok;
    size_t   i, n;
    json_t  *checks, *finding, *verify;

    verify = json_object_get(json_object_get(json_object_get(facts, "plan"), "plan"),
                             "verify");
    n = json_array_size(verify);
    checks = json_array();
    *ret_passed = n > 0;

    snprintf(reason, size, n ? "every check holds" : "the plan has no check");

    for (i = 0; i < n; i++) {
        finding = aegis_module_verify_check(facts, i, &ok);

        if (!ok && *ret_passed) {
            *ret_passed = 0;
            snprintf(reason, size, "check %zu does not hold: %.160s", i + 1,
                     aegis_json_str(finding, "detail"));
        }

        if (json_array_append_new(checks, finding) != 0) {
            /* a finding that cannot be kept must not have passed */
            *ret_passed = 0;
        }
    }

    return checks;
}


aegis_code_t
aegis_module_verify(const json_t *facts, const json_t *request,
    const aegis_module_ctx_t *ctx, json_t **ret_doc, aegis_error_t *err)
{
    int      passed;
    char     reason[256];
    json_t  *row, *checks, *artefact, *data, *body;

    row = json_object_get(facts, "plan");

    if (!json_is_object(row)) {

        if (!aegis_module_is_command(request)) {
            return aegis_error_set(err, AEGIS_E_GUARD, "The case has no plan to verify.");
        }

        data = aegis_module_data(facts, ctx);
        json_object_set_new(data, "passed", json_false());

        return aegis_module_failure("evt.verify.failed.v1", "the case has no plan", ctx,
                                    data, ret_doc, err);
    }

    checks = aegis_module_verify_checks(facts, &passed, reason, sizeof(reason));

    artefact = json_pack("{s:s, s:s, s:b, s:o, s:s}",
        "checkpoint_id", ctx->id, "plan_id", aegis_json_str(row, "plan_id"),
        "passed", passed, "checks", checks, "reason", reason);

    data = aegis_module_data(facts, ctx);
    json_object_update(data, artefact);

    body = json_pack("{s:s, s:s}", "case_id",
                     aegis_json_str(json_object_get(facts, "case"), "case_id"),
                     "created_by", ctx->actor ? ctx->actor : "");
    json_object_update(body, artefact);

    return aegis_module_document("verify_checkpoint", artefact, NULL,
        passed ? "evt.verify.pass.v1" : "evt.verify.failed.v1", "verified", ctx, data,
        body, ret_doc, err);
}
