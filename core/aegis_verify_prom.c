/*
 * aegis_verify_prom.c: what Prometheus answered to query_range, taken for what
 * it is: text of a stranger. Its invariant: points come out only of exactly one
 * series of plain samples, in order, inside of the range that was asked for,
 * without a warning; everything else comes out as the reason why not. NaN and
 * infinite values are counted, never passed on as numbers.
 */
#include "aegis_verify.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "aegis_json.h"

#define AEGIS_VERIFY_PROM_KIND  20      /* bytes of an errorType that are said */


static json_t *
aegis_verify_prom_error(const char *what, const char *more)
{
    char    text[AEGIS_VERIFY_DETAIL];
    size_t  len, i;

    snprintf(text, sizeof(text), "%s%s%s", what, more[0] ? ": " : "", more);
    len = aegis_utf8_cut(text, strlen(text), sizeof(text) - 4);

    for (i = 0; i < len; i++) {
        if ((unsigned char) text[i] < 0x20 || text[i] == 0x7f) {
            text[i] = ' ';
        }
    }

    return json_pack("{s:s%}", "error", text, len);
}


/* A sample: [time, "value"]. 0: it is none. */
static int
aegis_verify_prom_sample(const json_t *sample, double *t, double *v)
{
    char        *end;
    json_t      *time, *value;
    const char  *s;

    time = json_array_get(sample, 0);
    value = json_array_get(sample, 1);
    s = json_string_value(value);

    if (json_array_size(sample) != 2 || !json_is_number(time) || s == NULL
        || s[0] == '\0' || s[0] == ' ' || strlen(s) > 40 || strpbrk(s, "xXpP()"))
    {
        return 0;
    }

    *t = json_number_value(time);
    *v = strtod(s, &end);

    return *end == '\0';
}


static json_t *
aegis_verify_prom_points(const json_t *values, const aegis_verify_ask_t *ask)
{
    double   t, v, before;
    size_t   i, n_nan, n_inf;
    json_t  *points;

    points = json_array();
    before = ask->start - ask->step;
    n_nan = n_inf = 0;

    for (i = 0; i < json_array_size(values); i++) {
        if (!aegis_verify_prom_sample(json_array_get(values, i), &t, &v)) {
            json_decref(points);
            return aegis_verify_prom_error("Prometheus sent a sample that is none", "");
        }

        /* it rounds to milliseconds */
        if (t <= before || t < ask->start - 0.01 || t > ask->end + 0.01) {
            json_decref(points);
            return aegis_verify_prom_error(
                "Prometheus sent samples out of order or range", "");
        }

        before = t;
        n_nan += isnan(v) != 0;
        n_inf += isinf(v) != 0;

        if (isfinite(v)) {
            json_array_append_new(points, json_pack("[f, i, f]", t, 1, v));
        }
    }

    return json_pack("{s:o, s:I, s:I}", "points", points, "nan", (json_int_t) n_nan,
                     "inf", (json_int_t) n_inf);
}


static json_t *
aegis_verify_prom_data(const json_t *body, const aegis_verify_ask_t *ask)
{
    char     many[64];
    json_t  *data, *result, *series, *values, *warnings;

    warnings = json_object_get(body, "warnings");
    if (json_array_size(warnings) > 0) {
        /* a warning may mean that a part of the data is missing */
        return aegis_verify_prom_error("Prometheus warns",
            json_string_value(json_array_get(warnings, 0))
            ? json_string_value(json_array_get(warnings, 0)) : "of something");
    }

    data = json_object_get(body, "data");
    result = json_object_get(data, "result");

    if (strcmp(aegis_json_str(data, "resultType"), "matrix") != 0 || !json_is_array(result))
    {
        return aegis_verify_prom_error("Prometheus sent no matrix", "");
    }

    if (json_array_size(result) == 0) {
        return json_pack("{s:[]}", "points");
    }

    if (json_array_size(result) > 1) {
        snprintf(many, sizeof(many), "%zu series, where one was expected",
                 json_array_size(result));
        return aegis_verify_prom_error(many, "aggregate the query");
    }

    series = json_array_get(result, 0);
    values = json_object_get(series, "values");

    if (json_object_get(series, "histograms")) {
        return aegis_verify_prom_error("the series is a native histogram",
                                       "take a quantile of it");
    }

    if (!json_is_object(json_object_get(series, "metric")) || !json_is_array(values)
        || json_array_size(values) > AEGIS_VERIFY_MAX_POINTS + 1)
    {
        return aegis_verify_prom_error("Prometheus sent a series that is none", "");
    }

    return aegis_verify_prom_points(values, ask);
}


json_t *
aegis_verify_prom_parse(int status, aegis_str_t body, const aegis_verify_ask_t *ask)
{
    char            text[64];
    json_t         *json, *ret;
    const char     *kind;
    aegis_error_t   err = AEGIS_ERROR_INIT;

    json = NULL;

    if (aegis_json_parse(body, &json, &err) != AEGIS_E_OK || !json_is_object(json)) {
        snprintf(text, sizeof(text), "Prometheus answered %d with no JSON object", status);
        ret = aegis_verify_prom_error(text, err.detail);

    } else if (strcmp(aegis_json_str(json, "status"), "error") == 0) {
        kind = aegis_json_str(json, "errorType");
        snprintf(text, sizeof(text), "Prometheus refuses the query, %.*s",
                 (int) aegis_utf8_cut(kind, strlen(kind), AEGIS_VERIFY_PROM_KIND), kind);
        ret = aegis_verify_prom_error(text, aegis_json_str(json, "error"));

    } else if (status != 200 || strcmp(aegis_json_str(json, "status"), "success") != 0) {
        snprintf(text, sizeof(text), "Prometheus answered %d", status);
        ret = aegis_verify_prom_error(text, aegis_json_str(json, "status"));

    } else {
        ret = aegis_verify_prom_data(json, ask);
    }

    json_decref(json);
    aegis_error_clear(&err);

    return ret;
}


/* The value of errors at t; both lists are ordered, *at goes along. -1: none. */
static double
aegis_verify_prom_at(const json_t *points, double t, size_t *at)
{
    json_t  *row;

    for ( ; *at < json_array_size(points); (*at)++) {
        row = json_array_get(points, *at);

        if (json_number_value(json_array_get(row, 0)) > t - 0.01) {
            return json_number_value(json_array_get(row, 0)) < t + 0.01
                   ? json_number_value(json_array_get(row, 2)) : -1;
        }
    }

    return -1;
}


/*
 * Errors and total per second at each step become a ratio, weighted by the
 * requests that stand behind it: [t, total * step, errors / total]. A step
 * without traffic has no ratio. Where errors has no sample, there were none
 * only if the check says so.
 */
static json_t *
aegis_verify_prom_ratio(const json_t *errors, const json_t *total, int zero, int success,
    int step)
{
    double   t, n, bad;
    size_t   i, at;
    json_t  *points, *rows, *row, *failed;

    failed = json_object_get(total, "error") ? json_object_get(total, "error")
                                             : json_object_get(errors, "error");
    if (failed) {
        return json_pack("{s:O}", "error", failed);
    }

    points = json_array();
    rows = json_object_get(total, "points");

    for (i = 0, at = 0; i < json_array_size(rows); i++) {
        row = json_array_get(rows, i);
        t = json_number_value(json_array_get(row, 0));
        n = json_number_value(json_array_get(row, 2));
        bad = aegis_verify_prom_at(json_object_get(errors, "points"), t, &at);
        bad = bad < 0 && zero ? 0 : bad;

        if (n > 0 && bad >= 0) {
            json_array_append_new(points, json_pack("[f, f, f]", t, n * step,
                                                    success ? 1 - bad / n : bad / n));
        }
    }

    return json_pack("{s:o, s:f, s:f}", "points", points, "nan",
        json_number_value(json_object_get(total, "nan"))
        + json_number_value(json_object_get(errors, "nan")), "inf",
        json_number_value(json_object_get(total, "inf"))
        + json_number_value(json_object_get(errors, "inf")));
}


aegis_code_t
aegis_verify_prom_fill(json_t *facts, const aegis_verify_ask_t *asks, json_t **answers,
    size_t n, aegis_error_t *err)
{
    size_t                 i, n_checks;
    json_t                *measured, *checks, *item, *read;
    aegis_verify_check_t   c;

    checks = json_object_get(json_object_get(json_object_get(facts, "plan"), "plan"),
                             "verify");
    n_checks = json_array_size(checks);
    measured = json_object_get(facts, "measured");

    if (!json_is_array(measured)) {
        measured = json_array();
        json_object_set_new(facts, "measured", measured);
    }

    while (json_array_size(measured) < n_checks
           && json_array_append_new(measured, json_object()) == 0)
    {
        continue;
    }

    for (i = 0; i < n; i++) {
        item = json_array_get(measured, asks[i].check);

        if (strcmp(asks[i].which, "errors") == 0 && i + 1 < n) {
            aegis_verify_check_load(json_array_get(checks, asks[i].check), &c);
            read = aegis_verify_prom_ratio(answers[i], answers[i + 1],
                c.absent_errors_zero, c.measure == AEGIS_VERIFY_AVAILABILITY,
                asks[i].step);
            json_decref(answers[i]);
            json_decref(answers[i + 1]);

        } else {
            read = answers[i];
        }

        if (!json_is_object(item)) {
            item = json_object();
            json_array_set_new(measured, asks[i].check, item);
        }

        json_object_set_new(item, asks[i].baseline ? "baseline" : "window", read);
        i += strcmp(asks[i].which, "errors") == 0;
    }

    return json_array_size(measured) == n_checks
           ? AEGIS_E_OK : aegis_error_set(err, AEGIS_E_INTERNAL, "no memory");
}
