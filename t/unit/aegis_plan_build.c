/*
 * aegis_plan_build.c: unit tests of the plan templates.
 */
#include "aegis_unit.h"

#include "aegis_plan.h"

#define INCIDENT  "{'title':'disk full','kind':'incident','labels':{%s}}"


static json_t *
build(const char *name, const char *labels, const char *params, const char *evidence)
{
    char            text[1024];
    json_t         *c, *p, *e, *plan, *missing;
    aegis_error_t   err = AEGIS_ERROR_INIT;

    snprintf(text, sizeof(text), INCIDENT, labels);
    c = aegis_unit_json(text);
    p = params ? aegis_unit_json(params) : NULL;
    e = evidence ? aegis_unit_json(evidence) : NULL;

    if (aegis_plan_build(name, c, p, e, &plan, &err) != AEGIS_E_OK) {
        fail_msg("%s: %s", err.detail, aegis_json_str(json_array_get(err.errors, 0),
                                                      "pointer"));
    }

    assert_int_equal(aegis_plan_check(plan, "", &err), AEGIS_E_OK);
    missing = aegis_plan_missing(plan);
    assert_int_equal(json_array_size(missing), 0);

    json_decref(missing);
    json_decref(c);
    json_decref(p);
    json_decref(e);

    return plan;
}


/* plan.part[i] equals what is written. */
static void
assert_item(const json_t *plan, const char *part, size_t i, const char *expected)
{
    char    *got;
    json_t  *item, *e;

    e = aegis_unit_json(expected);
    item = json_array_get(json_object_get(plan, part), i);

    if (!json_equal(item, e)) {
        got = aegis_json_text(item);
        fail_msg("%s/%zu is %s", part, i, got ? got : "missing");
    }

    json_decref(e);
}


static void
test_incident(void **state)
{
    json_t  *plan;

    plan = build(NULL, "", NULL, NULL);
    assert_string_equal(aegis_json_str(plan, "title"), "Mitigate: disk full");
    assert_string_equal(aegis_json_str(plan, "kind"), "incident");
    assert_string_equal(aegis_json_str(plan, "env"), "default");
    assert_string_equal(aegis_json_str(plan, "notes"), "");
    assert_true(json_number_value(json_object_get(plan, "risk_score")) == 0.2);
    assert_int_equal(json_array_size(json_object_get(plan, "steps")), 2);
    assert_item(plan, "steps", 1, "{'name':'mitigate','action':'echo','params':"
        "{'message':'mitigate the incident'},'timeout_s':60,"
        "'retry':{'max':2,'backoff_ms':1000},'retry_safe':true}");
    assert_item(plan, "verify", 0, "{'kind':'exec'}");
    json_decref(plan);

    plan = build("incident", "'service':'web','script':'restart.sh','env':'prod',"
        "'risk':'0.5','resource':'urn:x','threshold':'0.01','window_s':'60'", NULL, NULL);
    assert_string_equal(aegis_json_str(plan, "env"), "prod");
    assert_true(json_number_value(json_object_get(plan, "risk_score")) == 0.5);
    assert_item(plan, "steps", 1, "{'name':'mitigate','action':'script.exec','params':"
        "{'script':'restart.sh','args':['web']},'retry_safe':false}");
    assert_item(plan, "verify", 0, "{'kind':'metric','resource':'urn:x',"
        "'metric':'error_rate','agg':'avg','op':'<=','threshold':0.01,'window_s':60,"
        "'min_samples':1}");
    json_decref(plan);
}


static void
test_params(void **state)
{
    json_t  *plan;

    /* params go before labels */
    plan = build("incident", "'service':'web','script':'a.sh','retry_safe':'true'",
        "{'script':'b.sh','collect_script':'c.sh','rollback_script':'d.sh','risk':0.1,"
        "'timeout_s':30,'retry_safe':false,'metric':'p95_ms','resource':'r','agg':'p95',"
        "'op':'<','threshold':250,'min_samples':3}", NULL);
    assert_item(plan, "steps", 0, "{'name':'collect','action':'script.exec','params':"
        "{'script':'c.sh','args':['web']},'retry_safe':false,'timeout_s':30}");
    assert_item(plan, "steps", 1, "{'name':'mitigate','action':'script.exec','params':"
        "{'script':'b.sh','args':['web']},'retry_safe':false,'timeout_s':30}");
    assert_item(plan, "rollback", 0, "{'name':'rollback','action':'script.exec','params':"
        "{'script':'d.sh','args':['web']},'retry_safe':false,'timeout_s':30}");
    assert_item(plan, "verify", 0, "{'kind':'metric','resource':'r','metric':'p95_ms',"
        "'agg':'p95','op':'<','threshold':250,'window_s':300,'min_samples':3}");
    json_decref(plan);

    plan = build("incident", "'script':'a.sh','retry_safe':'true'", NULL, NULL);
    assert_item(plan, "steps", 1, "{'name':'mitigate','action':'script.exec','params':"
        "{'script':'a.sh','args':['']},'retry_safe':true,"
        "'retry':{'max':2,'backoff_ms':1000}}");
    json_decref(plan);
}


static void
test_change(void **state)
{
    size_t   i;
    char     params[64];
    json_t  *plan;

    static const char *const  yes[] = { "true", "1", "'true'", "'yes'", "'1'", "0.5" };
    static const char *const  no[] = { "false", "0", "'false'", "'no'", "null", "[]" };

    for (i = 0; i < AEGIS_UNIT_N(yes); i++) {
        snprintf(params, sizeof(params), "{'canary':%s}", yes[i]);
        plan = build("change", "'service':'web','script':'x'", params, NULL);
        assert_int_equal(json_array_size(json_object_get(plan, "steps")), 2);
        assert_item(plan, "steps", 0, "{'name':'canary','action':'script.exec','params':"
            "{'script':'x','args':['web','canary']},'retry_safe':false}");
        assert_item(plan, "steps", 1, "{'name':'full','action':'script.exec','params':"
            "{'script':'x','args':['web','full']},'retry_safe':false}");
        json_decref(plan);
    }

    for (i = 0; i < AEGIS_UNIT_N(no); i++) {
        snprintf(params, sizeof(params), "{'canary':%s}", no[i]);
        plan = build("change", "", params, NULL);
        assert_int_equal(json_array_size(json_object_get(plan, "steps")), 1);
        assert_true(json_number_value(json_object_get(plan, "risk_score")) == 0.3);
        json_decref(plan);
    }
}


static void
test_evidence(void **state)
{
    int       i;
    char      summary[300];
    json_t   *plan, *evidence, *c;
    aegis_error_t  err = AEGIS_ERROR_INIT;

    plan = build(NULL, "", NULL, "[{'severity':'warning','summary':'a\\r\\u0085b'},"
                                 "{'severity':'info','summary':'c'}]");
    assert_string_equal(aegis_json_str(plan, "notes"), "warning: a   b\ninfo: c");
    json_decref(plan);

    evidence = json_array();
    memset(summary, 'x', sizeof(summary));
    memcpy(summary + sizeof(summary) - 4, "\xe4\xb8\xad", 4);
    for (i = 0; i < 20; i++) {
        json_array_append_new(evidence, json_pack("{s:s, s:s}", "severity", "info",
                                                  "summary", summary));
    }
    c = aegis_unit_json("{'title':'x','kind':'change'}");
    assert_int_equal(aegis_plan_build(NULL, c, NULL, evidence, &plan, &err), AEGIS_E_OK);
    assert_true(strlen(aegis_json_str(plan, "notes")) > 3900);
    assert_true(strlen(aegis_json_str(plan, "notes")) <= 4000);
    json_decref(plan);
    json_decref(c);
    json_decref(evidence);
}


static void
test_refused(void **state)
{
    size_t          i;
    char            text[512];
    json_t         *c, *p, *plan;
    aegis_error_t   err = AEGIS_ERROR_INIT;

    static const struct {
        const char  *template;
        const char  *labels;
        const char  *params;
        const char  *pointer;
    } cases[] = {
        { "unknown", "", "{}", "/template" },
        { "", "", "{}", "/template" },
        { NULL, "'risk':'high'", "{}", "/labels/risk" },
        { NULL, "'risk':'0.1'", "{'risk':'high'}", "/params/risk" },
        { NULL, "", "{'risk':7}", "/plan/risk_score" },
        { NULL, "", "{'risk':[]}", "/params/risk" },
        { NULL, "", "{'script':7}", "/params/script" },
        { NULL, "", "{'script':'../../bin/sh'}", "/plan/steps/1/params/script" },
        { NULL, "'env':'a b'", "{}", "/plan/env" },
        { NULL, "'resource':'r','window_s':'1.5'", "{}", "/plan/verify/0/window_s" },
        { NULL, "'resource':'r','threshold':'1e999'", "{}", "/labels/threshold" }
    };

    for (i = 0; i < AEGIS_UNIT_N(cases); i++) {
        snprintf(text, sizeof(text), INCIDENT, cases[i].labels);
        c = aegis_unit_json(text);
        p = aegis_unit_json(cases[i].params);

        if (aegis_plan_build(cases[i].template, c, p, NULL, &plan, &err) != AEGIS_E_SCHEMA
            || !aegis_unit_error_at(&err, cases[i].pointer))
        {
            fail_msg("no error at %s", cases[i].pointer);
        }

        aegis_error_clear(&err);
        json_decref(c);
        json_decref(p);
    }
}


static void
test_adopt(void **state)
{
    json_t         *c, *given, *plan;
    aegis_error_t   err = AEGIS_ERROR_INIT;

    c = aegis_unit_json("{'kind':'change','labels':{'env':'prod','threshold':'junk'}}");

    given = aegis_unit_json("{'title':'t'}");
    assert_int_equal(aegis_plan_adopt(given, c, NULL, &plan, &err), AEGIS_E_OK);
    assert_string_equal(aegis_json_str(plan, "kind"), "change");
    assert_string_equal(aegis_json_str(plan, "env"), "prod");
    assert_true(json_number_value(json_object_get(plan, "risk_score")) == 0.3);
    assert_int_equal(json_object_size(given), 1);
    json_decref(plan);
    json_decref(given);

    given = aegis_unit_json("{'title':'t','kind':'incident','env':'dev','risk_score':0}");
    assert_int_equal(aegis_plan_adopt(given, c, NULL, &plan, &err), AEGIS_E_OK);
    assert_true(json_equal(given, plan));
    json_decref(plan);
    json_decref(given);

    given = aegis_unit_json("{'steps':[]}");
    assert_int_equal(aegis_plan_adopt(given, c, NULL, &plan, &err), AEGIS_E_SCHEMA);
    assert_true(aegis_unit_error_at(&err, "/plan/title"));
    aegis_error_clear(&err);
    json_decref(given);
    json_decref(c);
}


int
main(void)
{
    const struct CMUnitTest  tests[] = {
        AEGIS_TEST("an incident plan collects, mitigates, rolls back and verifies",
                   test_incident),
        AEGIS_TEST("params go before labels", test_params),
        AEGIS_TEST("a change goes by canary when it is asked to", test_change),
        AEGIS_TEST("evidence becomes notes, as much as fits", test_evidence),
        AEGIS_TEST("a value that does not fit is named, not replaced", test_refused),
        AEGIS_TEST("a plan by hand gets what it does not say", test_adopt)
    };

    return AEGIS_UNIT_RUN(tests);
}
