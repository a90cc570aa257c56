/*
 * aegis_plan.c: unit tests of the schema of a plan, its completeness and its
 * hash.
 */
#include "aegis_unit.h"

#include "aegis_plan.h"

#define STEPS     "'steps':[{'action':'echo'}]"
#define ROLLBACK  "'rollback':[{'action':'echo','params':{'message':'m'}}]"
#define METRIC    "'kind':'metric','resource':'r','metric':'m','op':'<','threshold':1," \
                  "'window_s':60"
#define VERIFY    "'verify':[{'kind':'exec'},{" METRIC "}]"
#define WHOLE     "{'title':'t'," STEPS "," ROLLBACK "," VERIFY "}"


static void
test_accepted(void **state)
{
    size_t          i;
    json_t         *plan;
    aegis_error_t   err = AEGIS_ERROR_INIT;

    static const char *const  cases[] = {
        "{'title':'t'}",
        "{'title':'t','steps':[],'rollback':[],'verify':[]}",
        WHOLE,
        "{'title':'t','kind':'change','risk_score':1,'env':'prod','notes':'',"
            "'steps':[{'name':'n','action':'script.exec','params':{'script':'fix.sh',"
            "'args':['a','']},'timeout_s':86400,'retry':{'max':10,'backoff_ms':0},"
            "'retry_safe':true}]}",
        "{'title':'t','steps':[{'action':'x.y','params':{'any':[{'thing':1}]}}]}",
        "{'title':'t','verify':[{" METRIC ",'agg':'p95','min_samples':3}]}",
        "{'title':'t','steps':[{'action':'x','params':{'n':9223372036854775807}}]}"
    };

    for (i = 0; i < AEGIS_UNIT_N(cases); i++) {
        plan = aegis_unit_json(cases[i]);
        if (aegis_plan_check(plan, "/plan", &err) != AEGIS_E_OK) {
            fail_msg("was refused: %s", cases[i]);
        }
        json_decref(plan);
    }
}


static void
test_refused(void **state)
{
    size_t          i;
    json_t         *plan;
    aegis_error_t   err = AEGIS_ERROR_INIT;

    static const struct {
        const char  *text;
        const char  *pointer;
    } cases[] = {
        { "[]", "/plan" }, { "'x'", "/plan" },
        { "{}", "/plan/title" }, { "{'title':''}", "/plan/title" },
        { "{'title':'t','color':1}", "/plan/color" },
        { "{'title':'t','kind':'x'}", "/plan/kind" },
        { "{'title':'t','risk_score':1.1}", "/plan/risk_score" },
        { "{'title':'t','risk_score':'0.1'}", "/plan/risk_score" },
        { "{'title':'t','env':'a b'}", "/plan/env" },
        { "{'title':'t','notes':1}", "/plan/notes" },
        { "{'title':'t','steps':{}}", "/plan/steps" },
        { "{'title':'t','steps':null}", "/plan/steps" },
        { "{'title':'t','steps':['x']}", "/plan/steps/0" },
        { "{'title':'t','steps':[{}]}", "/plan/steps/0/action" },
        { "{'title':'t','steps':[{'action':'echo'},{'action':'e c'}]}",
          "/plan/steps/1/action" },
        { "{'title':'t','steps':[{'action':'echo','x':1}]}", "/plan/steps/0/x" },
        { "{'title':'t','steps':[{'action':'echo','name':''}]}", "/plan/steps/0/name" },
        { "{'title':'t','steps':[{'action':'echo','params':[]}]}",
          "/plan/steps/0/params" },
        { "{'title':'t','steps':[{'action':'echo','params':{'message':1}}]}",
          "/plan/steps/0/params/message" },
        { "{'title':'t','steps':[{'action':'echo','params':{'x':1}}]}",
          "/plan/steps/0/params/x" },
        { "{'title':'t','steps':[{'action':'script.exec'}]}", "/plan/steps/0/params" },
        { "{'title':'t','steps':[{'action':'script.exec','params':{}}]}",
          "/plan/steps/0/params/script" },
        { "{'title':'t','steps':[{'action':'script.exec','params':{'script':'../x'}}]}",
          "/plan/steps/0/params/script" },
        { "{'title':'t','steps':[{'action':'script.exec','params':{'script':'..'}}]}",
          "/plan/steps/0/params/script" },
        { "{'title':'t','steps':[{'action':'script.exec','params':{'script':'x',"
          "'args':'a'}}]}", "/plan/steps/0/params/args" },
        { "{'title':'t','steps':[{'action':'script.exec','params':{'script':'x',"
          "'args':[1]}}]}", "/plan/steps/0/params/args/0" },
        { "{'title':'t','steps':[{'action':'other','params':1}]}",
          "/plan/steps/0/params" },
        { "{'title':'t','steps':[{'action':'echo','timeout_s':0}]}",
          "/plan/steps/0/timeout_s" },
        { "{'title':'t','steps':[{'action':'echo','retry':3}]}", "/plan/steps/0/retry" },
        { "{'title':'t','steps':[{'action':'echo','retry':{'max':11}}]}",
          "/plan/steps/0/retry/max" },
        { "{'title':'t','steps':[{'action':'echo','retry':{'backoff_ms':-1}}]}",
          "/plan/steps/0/retry/backoff_ms" },
        { "{'title':'t','steps':[{'action':'echo','retry_safe':1}]}",
          "/plan/steps/0/retry_safe" },
        { "{'title':'t','rollback':[{'action':''}]}", "/plan/rollback/0/action" },
        { "{'title':'t','verify':[{}]}", "/plan/verify/0/kind" },
        { "{'title':'t','verify':[{'kind':'exec','x':1}]}", "/plan/verify/0/x" },
        { "{'title':'t','verify':[{'kind':'metric'}]}", "/plan/verify/0/resource" },
        { "{'title':'t','verify':[{" METRIC ",'agg':'sum'}]}", "/plan/verify/0/agg" },
        { "{'title':'t','verify':[{" METRIC ",'min_samples':0}]}",
          "/plan/verify/0/min_samples" },
        { "{'title':'t','verify':[{'kind':'metric','resource':'r','metric':'m',"
          "'op':'=','threshold':'1','window_s':0}]}", "/plan/verify/0/op" },
        { "{'title':'t','verify':[{'kind':'metric','resource':'r','metric':'m',"
          "'op':'<','threshold':'1','window_s':0}]}", "/plan/verify/0/threshold" },
        { "{'title':'t','steps':[{'action':'x','params':{'n':1e300}}]}",
          "/plan/steps/0/params/n" },
        { "{'title':'t','steps':[{'action':'x','params':{'n':[1,-1e17]}}]}",
          "/plan/steps/0/params/n/1" }
    };

    for (i = 0; i < AEGIS_UNIT_N(cases); i++) {
        plan = aegis_unit_json(cases[i].text);
        if (aegis_plan_check(plan, "/plan", &err) != AEGIS_E_SCHEMA
            || !aegis_unit_error_at(&err, cases[i].pointer))
        {
            fail_msg("no error at %s in %s", cases[i].pointer, cases[i].text);
        }
        aegis_error_clear(&err);
        json_decref(plan);
    }
}


static void
test_bounds(void **state)
{
    int             i, n;
    json_t         *plan, *deep;
    aegis_error_t   err = AEGIS_ERROR_INIT;

    for (n = AEGIS_PLAN_MAX_STEPS; n <= AEGIS_PLAN_MAX_STEPS + 1; n++) {
        plan = aegis_unit_json("{'title':'t','steps':[]}");
        for (i = 0; i < n; i++) {
            json_array_append_new(json_object_get(plan, "steps"),
                                  aegis_unit_json("{'action':'echo'}"));
        }
        assert_int_equal(aegis_plan_check(plan, "", &err),
                         n > AEGIS_PLAN_MAX_STEPS ? AEGIS_E_SCHEMA : AEGIS_E_OK);
        aegis_error_clear(&err);
        json_decref(plan);
    }

    /* a plan has to fit into the documents that carry it */
    deep = aegis_unit_json("1");
    for (i = 0; i < 14; i++) {
        deep = json_pack("[o]", deep);
    }
    plan = json_pack("{s:s, s:[{s:s, s:{s:o}}]}", "title", "t", "steps", "action", "x",
                     "params", "p", deep);
    assert_int_equal(aegis_plan_check(plan, "/plan", &err), AEGIS_E_SCHEMA);
    assert_true(aegis_unit_error_at(&err, "/plan"));
    aegis_error_clear(&err);
    json_decref(plan);

    assert_int_equal(aegis_plan_check(NULL, "/plan", NULL), AEGIS_E_SCHEMA);
}


static void
test_missing(void **state)
{
    size_t   i;
    json_t  *plan, *missing, *expected;

    static const struct {
        const char  *plan;
        const char  *missing;
    } cases[] = {
        { "{'title':'t'}", "['steps','rollback','verify']" },
        { "{'title':'t'," STEPS ",'rollback':[],'verify':[]}", "['rollback','verify']" },
        { "{'title':'t'," STEPS "," ROLLBACK "}", "['verify']" },
        { "{'title':'t'," ROLLBACK "," VERIFY "}", "['steps']" },
        { WHOLE, "[]" },
        { "null", "['steps','rollback','verify']" }
    };

    for (i = 0; i < AEGIS_UNIT_N(cases); i++) {
        plan = aegis_unit_json(cases[i].plan);
        expected = aegis_unit_json(cases[i].missing);
        missing = aegis_plan_missing(plan);
        assert_true(json_equal(missing, expected));
        json_decref(missing);
        json_decref(expected);
        json_decref(plan);
    }
}


static void
test_hash(void **state)
{
    char     a[65], b[65];
    size_t   i;
    json_t  *plan;

    /* the same plan in other words, as json and jsonb give it back */
    static const char *const  same[] = {
        "{'title':'t','risk_score':0.2,'n':[1,1.5,1e15,1e-7,{'b':2,'a':1}]}",
        "{'risk_score':0.20,'title':'t','n':[1.0,1.50,1000000000000000,0.0000001,"
            "{'a':1,'b':2}]}",
        "{'n':[1e0,15e-1,1.0e15,1E-7,{'b':2.0,'a':1}],'risk_score':2e-1,"
            "'title':'\\u0074'}"
    };
    static const char *const  other[] = {
        "{'title':'t','risk_score':0.3,'n':[1,1.5,1e15,1e-7,{'b':2,'a':1}]}",
        "{'title':'t','risk_score':0.2,'n':[1.5,1,1e15,1e-7,{'b':2,'a':1}]}",
        "{'title':'T','risk_score':0.2,'n':[1,1.5,1e15,1e-7,{'b':2,'a':1}]}",
        "{'title':'t','risk_score':0.2,'n':['1',1.5,1e15,1e-7,{'b':2,'a':1}]}"
    };

    plan = aegis_unit_json(same[0]);
    aegis_plan_hash(plan, a);
    json_decref(plan);
    assert_int_equal(strlen(a), 64);

    for (i = 0; i < AEGIS_UNIT_N(same); i++) {
        plan = aegis_unit_json(same[i]);
        aegis_plan_hash(plan, b);
        json_decref(plan);
        assert_string_equal(a, b);
    }

    for (i = 0; i < AEGIS_UNIT_N(other); i++) {
        plan = aegis_unit_json(other[i]);
        aegis_plan_hash(plan, b);
        json_decref(plan);
        assert_string_not_equal(a, b);
    }
}


int
main(void)
{
    const struct CMUnitTest  tests[] = {
        AEGIS_TEST("a plan may lack parts but not say what is not known", test_accepted),
        AEGIS_TEST("every fault is named by its pointer", test_refused),
        AEGIS_TEST("steps and depth are bounded", test_bounds),
        AEGIS_TEST("what a plan lacks to be complete is listed", test_missing),
        AEGIS_TEST("the hash names the content, however it is written", test_hash)
    };

    return AEGIS_UNIT_RUN(tests);
}
