/*
 * aegis_plan_build.c: unit tests of the plans that the shipped templates become,
 * and of plans by hand. Runs in the project's folder: it reads conf/plans.
 */
#include "aegis_unit.h"

#include "aegis_plan.h"
#include "aegis_template.h"
#include "aegis_yaml.h"

#define INCIDENT  "{'title':'disk full','kind':'incident','labels':{%s}}"


/* conf/plans/<name>.yaml. */
static json_t *
shipped(const char *name)
{
    char            path[128], *text;
    FILE           *in;
    size_t          n;
    json_t         *template;
    aegis_error_t   err = AEGIS_ERROR_INIT;

    snprintf(path, sizeof(path), "conf/plans/%s.yaml", name);
    in = fopen(path, "r");
    text = malloc(65536);
    assert_non_null(in);
    assert_non_null(text);
    n = fread(text, 1, 65536, in);
    fclose(in);

    if (aegis_yaml_to_json((aegis_str_t) { n, text }, &template, &err) != AEGIS_E_OK
        || aegis_template_prove(template, &err) != AEGIS_E_OK)
    {
        fail_msg("%s: %s %s", path, err.detail, err.errors ? aegis_json_text(err.errors) : "");
    }

    free(text);

    return template;
}


static json_t *
build(const char *name, const char *labels, const char *params, const char *evidence)
{
    char            text[1024];
    json_t         *c, *p, *e, *plan, *missing, *template;
    aegis_error_t   err = AEGIS_ERROR_INIT;

    snprintf(text, sizeof(text), INCIDENT, labels);
    c = aegis_unit_json(text);
    p = params ? aegis_unit_json(params) : NULL;
    e = evidence ? json_pack("{s:o}", "evidence", aegis_unit_json(evidence)) : NULL;
    template = shipped(name ? name : "incident");

    if (aegis_plan_build(template, c, p, e, &plan, &err) != AEGIS_E_OK) {
        fail_msg("%s: %s", err.detail, aegis_json_str(json_array_get(err.errors, 0),
                                                      "pointer"));
    }

    assert_int_equal(aegis_plan_check(plan, "", &err), AEGIS_E_OK);
    missing = aegis_plan_missing(plan);
    assert_int_equal(json_array_size(missing), 0);

    json_decref(template);
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

    static const char *const  yes[] = { "true", "'true'", "'yes'", "'1'" };
    static const char *const  no[] = { "false", "'false'", "'no'", "'0'" };

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
    int             i;
    char            summary[300];
    json_t         *plan, *evidence, *facts, *c, *template;
    aegis_error_t   err = AEGIS_ERROR_INIT;

    plan = build(NULL, "", NULL, "[{'event_id':'e1','severity':'warning','summary':"
                 "'a\\r\\u0085b','refs':['metric_1m:x']},"
                 "{'severity':'info','summary':'c'}]");
    assert_string_equal(aegis_json_str(plan, "notes"), "warning: a   b\ninfo: c");
    assert_item(plan, "evidence", 0, "{'kind':'finding','id':'e1','severity':'warning',"
                "'summary':'a   b','refs':['metric_1m:x']}");
    assert_int_equal(json_array_size(json_object_get(plan, "evidence")), 2);
    json_decref(plan);

    evidence = json_array();
    memset(summary, 'x', sizeof(summary));
    memcpy(summary + sizeof(summary) - 4, "\xe4\xb8\xad", 4);
    for (i = 0; i < 40; i++) {
        json_array_append_new(evidence, json_pack("{s:s, s:s}", "severity", "info",
                                                  "summary", summary));
    }
    facts = json_pack("{s:o}", "evidence", evidence);
    c = aegis_unit_json("{'title':'x','kind':'change'}");
    template = shipped("change");
    assert_int_equal(aegis_plan_build(template, c, NULL, facts, &plan, &err), AEGIS_E_OK);
    assert_true(strlen(aegis_json_str(plan, "notes")) > 3900);
    assert_true(strlen(aegis_json_str(plan, "notes")) <= 4000);
    assert_int_equal(json_array_size(json_object_get(plan, "evidence")), 32);
    json_decref(template);
    json_decref(plan);
    json_decref(c);
    json_decref(facts);
}


/* The next revision says how the one before it ended. */
static void
test_failure(void **state)
{
    json_t         *plan, *facts, *c, *template;
    aegis_error_t   err = AEGIS_ERROR_INIT;

    c = aegis_unit_json("{'title':'x','kind':'incident'}");
    template = shipped("incident");
    facts = aegis_unit_json("{'next_revision':3,'evidence':[{'event_id':'e','severity':"
        "'error','summary':'slow'}],'last':{'plan_id':'p2','revision':2,'hash':'abc',"
        "'template':'incident','parked':{'version':'9','reason':'a run failed'},"
        "'steps':[{'phase':'step','step_no':1,'action':'script.exec','state':'FAILED',"
        "'error':'exit code 3'}]}}");

    assert_int_equal(aegis_plan_build(template, c, NULL, facts, &plan, &err), AEGIS_E_OK);
    assert_item(plan, "evidence", 0, "{'kind':'failure','id':'version 9','summary':"
        "'revision 2: a run failed; step 1 (script.exec) FAILED: exit code 3'}");
    assert_item(plan, "evidence", 1, "{'kind':'plan','id':'p2','summary':"
        "'the revision before this one has the hash abc'}");
    assert_string_equal(aegis_json_str(plan, "notes"), "last attempt: revision 2: a run "
        "failed; step 1 (script.exec) FAILED: exit code 3\nerror: slow");
    json_decref(plan);

    json_object_set_new(json_object_get(facts, "last"), "parked", json_null());
    assert_int_equal(aegis_plan_build(template, c, NULL, facts, &plan, &err), AEGIS_E_OK);
    assert_string_equal(aegis_json_str(plan, "notes"), "error: slow");
    assert_item(plan, "evidence", 0, "{'kind':'plan','id':'p2','summary':"
        "'the revision before this one has the hash abc'}");
    json_decref(plan);

    json_decref(template);
    json_decref(facts);
    json_decref(c);
}


static void
test_shipped(void **state)
{
    json_t  *plan;

    plan = build("canary", "", "{'namespace':'shop','workload':'checkout','canary':'cc',"
        "'image':'r/c:2','split':'checkout','canary_percent':25,'stable_percent':75}", NULL);
    assert_int_equal(json_array_size(json_object_get(plan, "steps")), 4);
    assert_item(plan, "steps", 1, "{'name':'some traffic for the canary','action':"
        "'gateway.shift','params':{'split':'checkout','weights':{'canary':25,'stable':75}},"
        "'timeout_s':600,'retry_safe':true}");
    assert_item(plan, "steps", 2, "{'name':'everything','action':'k8s.set_image','params':"
        "{'namespace':'shop','kind':'deployment','name':'checkout','image':'r/c:2'},"
        "'timeout_s':600,'retry_safe':true}");
    json_decref(plan);

    plan = build("rolling-restart", "'namespace':'shop'", "{'workload':'checkout'}", NULL);
    assert_item(plan, "steps", 0, "{'name':'restart','action':'k8s.rollout_restart',"
        "'params':{'namespace':'shop','kind':'deployment','name':'checkout'},"
        "'timeout_s':600,'retry_safe':true}");
    json_decref(plan);

    plan = build("scale", "", "{'namespace':'shop','workload':'checkout','replicas':'6',"
                 "'replicas_before':3}", NULL);
    assert_string_equal(aegis_json_str(plan, "title"), "Scale checkout in shop from 3 to 6");
    assert_item(plan, "rollback", 0, "{'name':'as many as before','action':'k8s.scale',"
        "'params':{'namespace':'shop','kind':'deployment','name':'checkout','replicas':3},"
        "'timeout_s':600,'retry_safe':true}");
    json_decref(plan);

    plan = build("config-flip", "", "{'split':'checkout','to':'green'}", NULL);
    assert_item(plan, "steps", 0, "{'name':'flip','action':'gateway.shift','params':"
        "{'split':'checkout','to':'green'},'timeout_s':120,'retry_safe':true}");
    json_decref(plan);
}


static void
test_refused(void **state)
{
    size_t          i;
    char            text[512];
    json_t         *c, *p, *plan, *template;
    aegis_error_t   err = AEGIS_ERROR_INIT;

    static const struct {
        const char  *labels;
        const char  *params;
        const char  *pointer;
    } cases[] = {
        { "'risk':'high'", "{}", "/labels/risk" },
        { "'risk':'0.1'", "{'risk':'high'}", "/params/risk" },
        { "", "{'risk':7}", "/params/risk" },
        { "", "{'risk':[]}", "/params/risk" },
        { "", "{'script':7}", "/params/script" },
        { "", "{'script':'../../bin/sh'}", "/params/script" },
        { "'env':'a b'", "{}", "/labels/env" },
        { "'resource':'r','window_s':'1.5'", "{}", "/labels/window_s" },
        { "'resource':'r','threshold':'1e999'", "{}", "/labels/threshold" },
        { "", "{'canary':true}", "/params/canary" }
    };

    template = shipped("incident");

    for (i = 0; i < AEGIS_UNIT_N(cases); i++) {
        snprintf(text, sizeof(text), INCIDENT, cases[i].labels);
        c = aegis_unit_json(text);
        p = aegis_unit_json(cases[i].params);

        if (aegis_plan_build(template, c, p, NULL, &plan, &err) != AEGIS_E_SCHEMA
            || !aegis_unit_error_at(&err, cases[i].pointer))
        {
            fail_msg("no error at %s", cases[i].pointer);
        }

        aegis_error_clear(&err);
        json_decref(c);
        json_decref(p);
    }

    json_decref(template);
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
        AEGIS_TEST("evidence is in the plan, as much as fits", test_evidence),
        AEGIS_TEST("the next revision says how the last one ended", test_failure),
        AEGIS_TEST("the templates for Kubernetes and nginx become their steps", test_shipped),
        AEGIS_TEST("a value that does not fit is named, not replaced", test_refused),
        AEGIS_TEST("a plan by hand gets what it does not say", test_adopt)
    };

    return AEGIS_UNIT_RUN(tests);
}
