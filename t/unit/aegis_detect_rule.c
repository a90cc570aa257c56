/*
 * aegis_detect_rule.c: unit tests of detectors.yaml: what is refused and where,
 * which rules hold for which series; and of series in files.
 */
#include "aegis_unit.h"

#include "aegis_detect.h"


static aegis_detect_rules_t *
rules(const char *yaml)
{
    aegis_error_t          err = AEGIS_ERROR_INIT;
    aegis_detect_rules_t  *r;

    if (aegis_detect_rules_parse(aegis_view(yaml), &r, &err) != AEGIS_E_OK) {
        fail_msg("%s: %s", yaml, err.detail);
    }

    return r;
}


static void
test_refused(void **state)
{
    size_t                 i;
    aegis_error_t          err = AEGIS_ERROR_INIT;
    aegis_detect_rules_t  *r;

    static const struct {
        const char  *yaml;
        const char  *pointer;
    } cases[] = {
        { "{}", "/version" },
        { "version: 2", "/version" },
        { "version: 1\nrule: []", "/rule" },
        { "version: 1\nrules: 5", "/rules" },
        { "version: 1\nrules: [{abov: 5}]", "/rules/0/abov" },
        { "version: 1\nrules: [{above: five}]", "/rules/0/above" },
        { "version: 1\nrules: [{above: 5, above_clear: 6}]", "/rules/0/above_clear" },
        { "version: 1\nrules: [{below: 5, below_clear: 4}]", "/rules/0/below_clear" },
        { "version: 1\nrules: [{above_clear: 6}]", "/rules/0/above_clear" },
        { "version: 1\nrules: [{direction: sideways}]", "/rules/0/direction" },
        { "version: 1\nrules: [{direction: [up]}]", "/rules/0/direction" },
        { "version: 1\nrules: [{off: [stuck, stock]}]", "/rules/0/off/1" },
        { "version: 1\nrules: [{metric: ['a', 5]}]", "/rules/0/metric/1" },
        { "version: 1\nrules: [{metric: []}]", "/rules/0/metric" },
        { "version: 1\nrules: [{source: logs}]", "/rules/0/source" },
        { "version: 1\nrules: [{min_samples: 1}]", "/rules/0/min_samples" },
        { "version: 1\nrules: [{score: 0}]", "/rules/0/score" },
        { "version: 1\nrules: [{rearm: 0.5}]", "/rules/0/rearm" },
        { "version: 1\nrules: [{ignore: maybe}]", "/rules/0/ignore" },
        { "version: 1\nrules: [{labels: [a]}]", "/rules/0/labels" },
        { "version: 1\nrules: [{labels: {env: 5}}]", "/rules/0/labels/env" },
        { "version: 1\nrules: [{labels: {'a b': x}}]", "/rules/0/labels/a b" },
        { "version: 1\ndefaults: {metric: a}", "/defaults/metric" },
    };

    for (i = 0; i < AEGIS_UNIT_N(cases); i++) {
        assert_int_equal(aegis_detect_rules_parse(aegis_view(cases[i].yaml), &r, &err),
                         AEGIS_E_SCHEMA);
        if (strcmp(aegis_json_str(json_array_get(err.errors, 0), "pointer"),
                   cases[i].pointer) != 0)
        {
            fail_msg("%s: complains about %s", cases[i].yaml,
                     aegis_json_str(json_array_get(err.errors, 0), "pointer"));
        }
        aegis_error_clear(&err);
    }

    assert_int_equal(aegis_detect_rules_parse(aegis_view("version: [1"), &r, &err),
                     AEGIS_E_MALFORMED_YAML);
    aegis_error_clear(&err);
}


static void
test_order(void **state)
{
    aegis_detect_rule_t    r;
    aegis_detect_rules_t  *all;

    all = rules("version: 1\n"
                "defaults: {min_samples: 30}\n"
                "rules:\n"
                "  - {metric: 'http_*', direction: up, above: 5}\n"
                "  - {metric: ['http_req*', 'x'], resource: '*/Shop', above: 7, above_clear: 6,"
                " off: [stuck, spread], severity: critical, stat: p95, labels: {env: dev}}\n"
                "  - {source: [call, log], ignore: true}\n");

    aegis_detect_rules_find(all, "metric", "urn:k8s:svc:a/b", "http_requests", &r);
    assert_int_equal(r.min_samples, 30);
    assert_int_equal(r.direction, 1);
    assert_true(r.has_above && r.above == 5 && r.above_clear == 5 && !r.has_below);
    assert_int_equal(r.off, 0);

    aegis_detect_rules_find(all, "metric", "urn:k8s:svc:a/shop", "HTTP_requests", &r);
    assert_true(r.above == 7 && r.above_clear == 6);
    assert_int_equal(r.off, 1u << AEGIS_DETECT_stuck | 1u << AEGIS_DETECT_spread);
    assert_string_equal(r.severity, "critical");
    assert_string_equal(aegis_json_str(r.labels, "env"), "dev");
    assert_int_equal(r.stat, AEGIS_DETECT_P95);
    assert_false(r.ignore);

    aegis_detect_rules_find(all, "log", "urn:k8s:svc:a/shop", "f", &r);
    assert_true(r.ignore);
    aegis_detect_rules_find(all, "metric", "r", "cpu", &r);
    assert_false(r.has_above || r.ignore || r.direction);
    assert_int_equal(aegis_detect_rules_count(all), 3);
    assert_int_equal(aegis_detect_rules_count(NULL), 0);
    aegis_detect_rules_free(all);
}


static void
test_unsaid(void **state)
{
    aegis_detect_rule_t  r;

    aegis_detect_rules_find(NULL, "call", "a>b", "err_rate", &r);
    assert_int_equal(r.direction, 1);
    assert_true(r.floor > 0 && r.opens && r.min_samples == 60);
    aegis_detect_rules_find(NULL, "metric", "a", "http_errors_total", &r);
    assert_int_equal(r.direction, 1);
    aegis_detect_rules_find(NULL, "metric", "a", "success_ratio", &r);
    assert_int_equal(r.direction, -1);
    aegis_detect_rules_find(NULL, "metric", "a", "cpu", &r);
    assert_int_equal(r.direction, 0);
    aegis_detect_rules_free(NULL);
}


static void
test_severity(void **state)
{
    aegis_detect_rule_t  r;

    aegis_detect_rule_init(&r);
    assert_string_equal(aegis_detect_severity(&r, 6), "warning");
    assert_string_equal(aegis_detect_severity(&r, 10), "error");
    assert_string_equal(aegis_detect_severity(&r, 20), "critical");
    strcpy(r.severity, "info");
    assert_string_equal(aegis_detect_severity(&r, 20), "info");
}


static void
test_lines(void **state)
{
    int                  rc;
    size_t               i;
    double               t, v;
    const char          *why;
    aegis_detect_csv_t   csv;

    static const struct {
        const char  *head, *line;
        int          rc;
        double       t, v;
    } cases[] = {
        { NULL, "1700000000,5", 1, 1700000000, 5 },
        { NULL, "1700000000000,5", 1, 1700000000, 5 },
        { NULL, "\xef\xbb\xbf" "1700000000,5", 1, 1700000000, 5 },
        { NULL, "2023-11-14 22:13:20, -5e3 ,x", 1, 1700000000, -5000 },
        { NULL, "2023-11-14T22:13:20Z,5\r", 1, 1700000000, 5 },
        { NULL, "2023-11-15T00:13:20+02:00,5", 1, 1700000000, 5 },
        { NULL, "2023-11-14 22:13,5", 1, 1699999980, 5 },
        { NULL, "2023-11-14,5", 1, 1699920000, 5 },
        { NULL, "\"2023-11-14 22:13:20.5\",\"5\"", 1, 1700000000, 5 },
        { "timestamp,value", "7,5", 1, 7, 5 },
        { "value,timestamp", "7,5", 1, 5, 7 },
        { "label,Value,Time", "1,7,5", 1, 5, 7 },
        { "when,how_much", "7,5", 1, 7, 5 },
        { NULL, "# a remark", 0, 0, 0 },
        { NULL, "", 0, 0, 0 },
        { "timestamp,value", "7", -1, 0, 0 },
        { "timestamp,value", "7,", -1, 0, 0 },
        { "timestamp,value", "7,NaN", -1, 0, 0 },
        { "timestamp,value", "7,1e999", -1, 0, 0 },
        { "timestamp,value", "7,0x10", -1, 0, 0 },
        { "timestamp,value", "7,5 6", -1, 0, 0 },
        { "timestamp,value", "soon,5", -1, 0, 0 },
        { "timestamp,value", "2023-02-30 00:00:00,5", -1, 0, 0 },
        { "timestamp,value", "1e15,5", 1, 1e12, 5 },
    };

    for (i = 0; i < AEGIS_UNIT_N(cases); i++) {
        memset(&csv, 0, sizeof(csv));
        t = v = 0;
        if (cases[i].head) {
            assert_int_equal(aegis_detect_csv(&csv, aegis_view(cases[i].head), &t, &v,
                                              &why), 0);
        }
        rc = aegis_detect_csv(&csv, aegis_view(cases[i].line), &t, &v, &why);
        if (cases[i].t == 1e12) {
            assert_int_equal(rc, -1);
            continue;
        }
        if (rc != cases[i].rc || (rc == 1 && (t != cases[i].t || v != cases[i].v))) {
            fail_msg("%s: %d %.17g %.17g", cases[i].line, rc, t, v);
        }
    }
}


int
main(void)
{
    const struct CMUnitTest tests[] = {
        AEGIS_TEST("a wrong rule is refused where it is wrong", test_refused),
        AEGIS_TEST("rules hold in order", test_order),
        AEGIS_TEST("names that everybody uses are known", test_unsaid),
        AEGIS_TEST("a severity follows from the score or the rule", test_severity),
        AEGIS_TEST("a line of a file is a point or refused", test_lines),
    };

    return AEGIS_UNIT_RUN(tests);
}
