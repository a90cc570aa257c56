/*
 * aegis_module.c: unit tests of the modules' decisions: facts in, the document
 * that SQL commits out.
 */
#include "aegis_module_unit.h"

#include "aegis_module.h"
#include "aegis_plan.h"


static void
test_rows(void **state)
{
    unsigned  i;

    for (i = 0; i < AEGIS_N_MODULES; i++) {
        assert_int_equal(aegis_module(i)->id, i);
        assert_non_null(aegis_module(i)->decide);
    }

    assert_null(aegis_module(AEGIS_MODULE_NONE));
}


/* The plan's row as SQL loads it. */
static json_t *
gate_facts(const char *plan, int complete, const char *policy, const char *hash)
{
    char     made[65];
    json_t  *f, *p;

    f = facts("", "");
    p = aegis_unit_json(plan);
    aegis_plan_hash(p, made);

    json_object_set_new(f, "plan", json_pack("{s:s, s:s, s:b, s:o}", "plan_id", PLAN,
        "hash", hash ? hash : made, "complete", complete, "plan", p));
    json_object_set_new(f, "policy", policy
        ? json_pack("{s:s, s:o}", "hash", "p-hash", "body", aegis_unit_json(policy))
        : json_null());

    return f;
}


#define WHOLE  "{'title':'t','risk_score':0.2,'env':'dev','steps':[{'action':'echo'}]," \
               "'rollback':[{'action':'echo'}],'verify':[{'kind':'exec'}]}"
#define LACKS  "{'title':'t','risk_score':0.2,'env':'dev','steps':[{'action':'echo'}]}"

static void
test_gate(void **state)
{
    json_t         *doc, *art, *data, *row;
    aegis_error_t   err = AEGIS_ERROR_INIT;

    doc = run(AEGIS_MODULE_gate, gate_facts(WHOLE, 1, "{'version':1,'valid_s':60,"
              "'rules':[]}", NULL), "{}", AEGIS_E_OK, &err);
    art = json_object_get(doc, "artefact");
    data = json_object_get(doc, "data");
    row = json_array_get(json_object_get(doc, "more"), 0);

    assert_string_equal(aegis_json_str(doc, "table"), "gate_decision");
    assert_string_equal(aegis_json_str(doc, "subject"), "evt.plan.approved.v1");
    assert_string_equal(aegis_json_str(doc, "msg_id"), ID ":decided");
    assert_string_equal(aegis_json_str(art, "verdict"), "approved");
    assert_string_equal(aegis_json_str(art, "decision_id"), ID);
    assert_string_equal(aegis_json_str(art, "plan_id"), PLAN);
    assert_string_equal(aegis_json_str(art, "policy_hash"), "p-hash");
    assert_string_equal(aegis_json_str(art, "rule"), "default");
    assert_true(json_is_true(json_object_get(data, "approved")));
    assert_string_equal(aegis_json_str(row, "decision_id"), ID);
    assert_string_equal(aegis_json_str(row, "plan_hash"), aegis_json_str(art, "plan_hash"));
    assert_string_equal(aegis_json_str(row, "not_before"), NOW);
    assert_string_equal(aegis_json_str(row, "not_after"), "2026-11-20T07:01:00Z");
    json_decref(doc);
}


static void
test_gate_refuses(void **state)
{
    size_t          i, k;
    json_t         *doc, *data;
    aegis_error_t   err = AEGIS_ERROR_INIT;

    static const struct {
        const char  *plan;
        int          complete;
        const char  *policy;
        const char  *hash;
        const char  *rule;
    } cases[] = {
        { WHOLE, 1, NULL, NULL, "no-policy" },
        { WHOLE, 1, "{'version':2}", NULL, "invalid-policy" },
        { WHOLE, 0, "{'version':1,'rules':[]}", NULL, "complete-plan" },
        { LACKS, 1, "{'version':1,'rules':[]}", NULL, "complete-plan" },
        { LACKS, 0, "{'version':1,'rules':[]}", NULL, "complete-plan" },
        { WHOLE, 1, "{'version':1,'rules':[]}", "0000", "plan-hash" },
        { WHOLE, 1, "{'version':1,'rules':[{'id':'r','kind':'risk','max':0.1}]}", NULL,
          "r" }
    };

    /* a person and a command get the same answer */
    for (i = 0; i < AEGIS_UNIT_N(cases); i++) {
        for (k = 0; k < 2; k++) {
            doc = run(AEGIS_MODULE_gate, gate_facts(cases[i].plan, cases[i].complete,
                      cases[i].policy, cases[i].hash), k ? "{'case_version':4}" : "{}",
                      AEGIS_E_OK, &err);
            data = json_object_get(doc, "data");

            assert_string_equal(aegis_json_str(data, "rule"), cases[i].rule);
            assert_true(json_is_false(json_object_get(data, "approved")));
            assert_string_equal(aegis_json_str(json_object_get(doc, "artefact"),
                                               "verdict"), "rejected");
            assert_true(aegis_json_str(data, "reason")[0] != '\0');
            assert_int_equal(json_array_size(json_object_get(doc, "more")), 0);
            assert_true(json_array_size(json_object_get(data, "checks")) > 0);
            json_decref(doc);
        }
    }
}


/* What the process that asks has hashed or checked itself is not looked at again; what
 * else is asked of it is. */
static void
test_gate_checked(void **state)
{
    json_t         *doc, *f;
    aegis_error_t   err = AEGIS_ERROR_INIT;

    f = gate_facts(WHOLE, 1, "{'version':1,'rules':[],'mine':1}", "0000");
    json_object_set_new(json_object_get(f, "plan"), "checked", json_true());
    json_object_set_new(json_object_get(f, "policy"), "checked", json_true());
    doc = run(AEGIS_MODULE_gate, f, "{'case_version':4}", AEGIS_E_OK, &err);
    assert_string_equal(aegis_json_str(json_object_get(doc, "artefact"), "verdict"), "approved");
    assert_string_equal(aegis_json_str(json_object_get(doc, "artefact"), "plan_hash"), "0000");
    json_decref(doc);

    f = gate_facts(LACKS, 1, "{'version':1,'rules':[]}", NULL);
    json_object_set_new(json_object_get(f, "plan"), "checked", json_true());
    doc = run(AEGIS_MODULE_gate, f, "{'case_version':4}", AEGIS_E_OK, &err);
    assert_string_equal(aegis_json_str(json_object_get(doc, "data"), "rule"), "complete-plan");
    json_decref(doc);
}


static void
test_no_plan(void **state)
{
    size_t          i;
    json_t         *doc;
    aegis_error_t   err = AEGIS_ERROR_INIT;

    static const struct {
        aegis_module_id_t   id;
        const char         *subject;
        const char         *no;
    } cases[] = {
        { AEGIS_MODULE_gate,   "evt.plan.approved.v1", "approved" },
        { AEGIS_MODULE_verify, "evt.verify.failed.v1", "passed" }
    };

    for (i = 0; i < AEGIS_UNIT_N(cases); i++) {
        run(cases[i].id, facts("", ",'plan':null"), "{}", AEGIS_E_GUARD, &err);
        aegis_error_clear(&err);

        doc = run(cases[i].id, facts("", ",'plan':null"), "{'case_version':4}",
                  AEGIS_E_OK, &err);
        assert_string_equal(aegis_json_str(doc, "table"), "");
        assert_string_equal(aegis_json_str(doc, "subject"), cases[i].subject);
        assert_string_equal(aegis_json_str(doc, "msg_id"), ID ":failed");
        assert_true(json_is_false(json_object_get(json_object_get(doc, "data"),
                                                  cases[i].no)));
        assert_true(aegis_json_str(json_object_get(doc, "data"), "reason")[0] != '\0');
        json_decref(doc);
    }
}


#define VERIFIED_BY(steps, verify, run, measured, more)                        \
    ",'verification':{'now_s':1100,'change':{'from_s':900,'to_s':1000},"        \
    "'plan':{'plan_id':'" PLAN "','plan':{'title':'t','steps':[" steps "],"    \
    "'verify':[" verify "]" more "}},'run':" run ",'measured':" measured "}"
#define VERIFIED(steps, verify, run, measured)                                 \
    VERIFIED_BY(steps, verify, run, measured, "")
#define POINT(samples, value)                                                  \
    "[{'window':{'points':[[1040," samples ",1,1," value "]]}}]"
#define ECHO    "{'action':'echo'}"
#define EXEC    "{'kind':'exec'}"
#define CHECK   "{'kind':'metric','resource':'r','metric':'m','agg':'p95','op':'<'," \
                "'threshold':100,'window_s':60,'min_samples':3}"
#define STEP(no, attempt, state)                                               \
    "{'phase':'step','step_no':" no ",'attempt':" attempt ",'state':'" state "'}"
#define DONE(steps)  "{'state':'DONE','steps':[" steps "]}"

static void
test_verify(void **state)
{
    int             passed;
    size_t          i;
    json_t         *doc, *art;
    aegis_error_t   err = AEGIS_ERROR_INIT;

    static const struct {
        const char  *facts;
        int          passed;
        const char  *reason;
    } cases[] = {
        { VERIFIED(ECHO, EXEC, DONE(STEP("0", "1", "OK")), "[{}]"), 1,
          "every check holds" },
        { VERIFIED(ECHO, EXEC, DONE(STEP("0", "1", "FAILED") "," STEP("0", "2", "OK")),
          "[{}]"), 1, "every check holds" },
        { VERIFIED(ECHO "," ECHO, EXEC, DONE("{'phase':'rollback','step_no':0,'attempt':1,"
          "'state':'FAILED'}," STEP("0", "1", "OK") "," STEP("1", "1", "OK")), "[{}]"), 1,
          "every check holds" },
        { VERIFIED(ECHO, EXEC, DONE(STEP("0", "1", "OK") "," STEP("0", "2", "FAILED")),
          "[{}]"), 0, "check 1 does not hold: step 0 is FAILED" },
        { VERIFIED(ECHO "," ECHO, EXEC, DONE(STEP("0", "1", "OK")), "[{}]"), 0,
          "check 1 does not hold: 1 of 2 steps are OK" },
        { VERIFIED(ECHO, EXEC, DONE(""), "[{}]"), 0,
          "check 1 does not hold: 0 of 1 steps are OK" },
        { VERIFIED("", EXEC, DONE(""), "[{}]"), 0,
          "check 1 does not hold: 0 of 0 steps are OK" },
        { VERIFIED(ECHO, EXEC, "{'state':'FAILED','steps':[]}", "[{}]"), 0,
          "check 1 does not hold: the run is FAILED" },
        { VERIFIED(ECHO, EXEC, "null", "[{}]"), 0,
          "check 1 does not hold: the run is missing" },
        { VERIFIED(ECHO, "", DONE(STEP("0", "1", "OK")), "null"), 0,
          "the plan has no check" },
        { VERIFIED(ECHO, CHECK, "null", POINT("3", "99.9")), 1,
          "every check holds" },
        { VERIFIED(ECHO, CHECK, "null", POINT("3", "100")), 0,
          "check 1 does not hold: m p95 100 is not < 100" },
        { VERIFIED(ECHO, EXEC "," CHECK, DONE(STEP("1", "1", "OK")),
          "[{},{'window':{'points':[[1040,3,1,1,1]]}}]"), 1, "every check holds" },
        { VERIFIED(ECHO, EXEC "," CHECK, "null", "[{}]"), 0,
          "check 1 does not hold: the run is missing" }
    };

    for (i = 0; i < AEGIS_UNIT_N(cases); i++) {
        doc = run(AEGIS_MODULE_verify, facts("", cases[i].facts), "{}", AEGIS_E_OK, &err);
        art = json_object_get(doc, "artefact");
        passed = json_is_true(json_object_get(art, "passed"));

        if (passed != cases[i].passed
            || strcmp(aegis_json_str(art, "reason"), cases[i].reason) != 0)
        {
            fail_msg("%zu: %d, %s", i, passed, aegis_json_str(art, "reason"));
        }

        assert_string_equal(aegis_json_str(doc, "table"), "verify_checkpoint");
        assert_string_equal(aegis_json_str(doc, "subject"),
                            passed ? "evt.verify.pass.v1" : "evt.verify.failed.v1");
        assert_string_equal(aegis_json_str(doc, "msg_id"), ID ":verified");
        assert_string_equal(aegis_json_str(art, "checkpoint_id"), ID);
        assert_string_equal(aegis_json_str(art, "plan_id"), PLAN);
        json_decref(doc);
    }
}


/* What cannot be said at once is a row that the verify role goes on with. */
static void
test_verify_later(void **state)
{
    size_t          i;
    json_t         *doc, *row, *r, *f;
    aegis_error_t   err = AEGIS_ERROR_INIT;

    static const char *const  cases[] = {
        VERIFIED(ECHO, CHECK, "null", POINT("2", "1")),
        VERIFIED(ECHO, CHECK, "null", POINT("3", "null")),
        VERIFIED(ECHO, CHECK, "null", "[{'window':{'points':[]}}]"),
        VERIFIED(ECHO, CHECK, "null", "null"),
        VERIFIED(ECHO, EXEC ",{'kind':'prometheus','query':'up','op':'>','threshold':0,"
                 "'window_s':60}", DONE(STEP("1", "1", "OK")), "[{}]")
    };

    for (i = 0; i < AEGIS_UNIT_N(cases); i++) {
        f = facts("", cases[i]);
        r = aegis_unit_json("{}");
        assert_int_equal(aegis_module(AEGIS_MODULE_verify)->decide(f, r, &ctx, &doc, &err),
                         AEGIS_E_OK);
        row = json_object_get(doc, "verify_run");
        assert_int_equal(json_integer_value(json_object_get(doc, "status")), 202);
        assert_null(json_object_get(doc, "subject"));
        assert_string_equal(aegis_json_str(doc, "table"), "");
        assert_string_equal(aegis_json_str(row, "verify_id"), ID);
        assert_string_equal(aegis_json_str(row, "state"), "RUNNING");
        assert_string_equal(aegis_json_str(row, "outcome"), "");
        assert_int_equal(json_integer_value(json_object_get(row, "evaluations")), 0);
        assert_true(json_integer_value(json_object_get(row, "deadline_s")) >= 60);
        assert_string_equal(aegis_json_str(json_object_get(doc, "body"), "case_id"), CASE);
        json_decref(doc);
        json_decref(f);
        json_decref(r);
    }
}


/* A verdict that asks for the rollback is said when the rollback has ended. */
static void
test_verify_rolls_back(void **state)
{
    char            text[1024];
    size_t          i;
    json_t         *doc, *row, *r, *f;
    aegis_error_t   err = AEGIS_ERROR_INIT;

    static const struct {
        const char  *plan;
        int          rolls;
    } plans[] = {
        { ",'rollback':[{'action':'echo','timeout_s':7}]", 1 },
        { ",'rollback':[]", 0 },
        { ",'rollback':[" ECHO "],'rollback_on':'never'", 0 },
        { ",'rollback':[" ECHO "],'rollback_on':'any'", 1 }
    };
    static const struct {
        const char  *run;
        const char  *reason;            /* NULL: not yet */
    } ends[] = {
        { "{'exec_id':'x','state':'RUNNING'}", NULL },
        { "{'exec_id':'x','state':'QUEUED'}", NULL },
        { "{'exec_id':'x','state':'DONE'}", "bad; rolled back" },
        { "{'exec_id':'x','state':'FAILED','reason':'boom'}",
          "bad; the rollback is FAILED: boom" },
        { "{'exec_id':'x','state':'CANCELLED'}", "bad; the rollback is CANCELLED" },
        { "null", "bad; the rollback is lost" },
        { "{'exec_id':'x','state':'RUNNING'},'x':0",
          "bad; the rollback did not end in time" }
    };

    for (i = 0; i < AEGIS_UNIT_N(plans); i++) {
        snprintf(text, sizeof(text), VERIFIED_BY(ECHO, CHECK, "null", POINT("3", "100"), "%s"),
                 plans[i].plan);
        f = facts("", text);
        r = aegis_unit_json("{'case_version':4}");
        assert_int_equal(aegis_module(AEGIS_MODULE_verify)->decide(f, r, &ctx, &doc, &err),
                         AEGIS_E_OK);
        row = json_object_get(doc, "verify_run");
        assert_string_equal(aegis_json_str(doc, "table"), "verify_checkpoint");
        assert_int_equal(json_is_object(row), plans[i].rolls);
        assert_int_equal(json_object_get(doc, "subject") == NULL, plans[i].rolls);
        assert_string_equal(aegis_json_str(row, "state"), plans[i].rolls ? "ROLLBACK" : "");
        json_decref(doc);
        json_decref(f);
        json_decref(r);
    }

    for (i = 0; i < AEGIS_UNIT_N(ends); i++) {
        snprintf(text, sizeof(text), ",'verification':{'verify':{'verify_id':'" ID "',"
                 "'outcome':'failed','reason':'bad','overdue':%s},'final':{'passed':false,"
                 "'final':true},'rollback':%s}",
                 i == AEGIS_UNIT_N(ends) - 1 ? "true" : "false", ends[i].run);
        f = facts("", text);
        assert_int_equal(aegis_module_verify_rolled(f, &ctx, &doc), AEGIS_E_OK);
        if (ends[i].reason == NULL) {
            assert_null(doc);
        } else {
            assert_string_equal(aegis_json_str(json_object_get(doc, "run"), "reason"),
                                ends[i].reason);
            assert_string_equal(aegis_json_str(json_object_get(doc, "run"), "state"),
                                "FAILED");
            assert_string_equal(aegis_json_str(doc, "subject"), "evt.verify.failed.v1");
            assert_string_equal(aegis_json_str(json_object_get(doc, "data"), "reason"),
                                ends[i].reason);
        }
        json_decref(doc);
        json_decref(f);
    }
}


/* One verdict a stay: asked for again it is said again, or is an error. */
static void
test_verify_again(void **state)
{
    size_t          i;
    json_t         *doc, *r, *f;
    aegis_error_t   err = AEGIS_ERROR_INIT;

    static const struct {
        const char  *of;
        const char  *subject;
    } cases[] = {
        { "'verify':{'verify_id':'v1','state':'RUNNING'}", "" },
        { "'verify':{'verify_id':'v1','state':'ROLLBACK'},'final':{'passed':false}", "" },
        { "'verify':{'verify_id':'v1','state':'FAILED','reason':'r'},'final':"
          "{'passed':false}", "evt.verify.failed.v1" },
        { "'final':{'verify_id':'v1','passed':true}", "evt.verify.pass.v1" }
    };

    for (i = 0; i < AEGIS_UNIT_N(cases); i++) {
        char  text[512];

        snprintf(text, sizeof(text), ",'verification':{'plan':{'plan_id':'" PLAN "'},%s}",
                 cases[i].of);
        f = facts("", text);
        r = aegis_unit_json("{'case_version':4}");
        assert_int_equal(aegis_module(AEGIS_MODULE_verify)->decide(f, r, &ctx, &doc, &err),
                         AEGIS_E_OK);
        assert_string_equal(aegis_json_str(doc, "table"), "");
        assert_string_equal(aegis_json_str(doc, "subject"), cases[i].subject);
        json_decref(doc);
        json_decref(r);

        r = aegis_unit_json("{}");
        assert_int_equal(aegis_module(AEGIS_MODULE_verify)->decide(f, r, &ctx, &doc, &err),
                         AEGIS_E_EXISTS);
        assert_string_equal(aegis_json_str(err.ext, "verify_id"), "v1");
        aegis_error_clear(&err);
        json_decref(r);
        json_decref(f);
    }
}


static void
test_analyze(void **state)
{
    json_t         *doc, *art, *row;
    aegis_error_t   err = AEGIS_ERROR_INIT;

    doc = run(AEGIS_MODULE_analyze, facts("", ",'metrics':[]"), "{'case_version':4}",
              AEGIS_E_OK, &err);
    art = json_object_get(doc, "artefact");
    assert_string_equal(aegis_json_str(doc, "table"), "event_envelope");
    assert_string_equal(aegis_json_str(doc, "subject"), "evt.analysis.findings.v1");
    assert_string_equal(aegis_json_str(doc, "msg_id"), ID ":findings");
    assert_string_equal(aegis_json_str(art, "event_id"), ID);
    assert_string_equal(aegis_json_str(art, "severity"), "error");
    assert_string_equal(aegis_json_str(art, "kind"), "no-data");
    assert_string_equal(aegis_json_str(art, "summary"),
                        "the case names no resource, so no metric is known");
    json_decref(doc);

    doc = run(AEGIS_MODULE_analyze, facts("'resource':'urn:x'", ",'metrics':["
              "{'resource':'urn:x','metric':'err','samples':9,'avg':0.5,'max':1,"
              "'p95':null,'from':'F','to':'T'}]"), "{'case_version':4}", AEGIS_E_OK, &err);
    art = json_object_get(doc, "artefact");
    row = json_array_get(json_object_get(doc, "more"), 0);
    assert_string_equal(aegis_json_str(art, "summary"),
        "urn:x in the last 15 minutes: err avg 0.5 max 1");
    assert_string_equal(aegis_json_str(row, "ref"), "metric_1m:urn:x/err@F/T");
    assert_string_equal(aegis_json_str(row, "event_id"), ID);
    assert_int_equal(json_integer_value(json_object_get(row, "link_no")), 1);
    json_decref(doc);

    doc = run(AEGIS_MODULE_analyze, facts("'resource':'urn:x'", ",'metrics':[]"), "{}",
              AEGIS_E_OK, &err);
    assert_string_equal(aegis_json_str(json_object_get(doc, "artefact"), "summary"),
                        "no metric of urn:x is known for the last 15 minutes");
    json_decref(doc);
}


static void
test_correlation(void **state)
{
    json_t                    *f, *data;
    const aegis_module_ctx_t   own = { ID, NULL, "mine", NULL };

    f = facts("", "");
    data = aegis_module_data(f, &own);
    assert_string_equal(aegis_json_str(data, "correlation_id"), "mine");
    assert_string_equal(aegis_json_str(data, "actor"), "");
    json_decref(data);
    json_decref(f);
}


int
main(void)
{
    const struct CMUnitTest  tests[] = {
        AEGIS_TEST("every module has its row and its function", test_rows),
        AEGIS_TEST("the gatekeeper approves for as long as the policy says", test_gate),
        AEGIS_TEST("the gatekeeper fails closed", test_gate_refuses),
        AEGIS_TEST("what was checked a moment ago is not checked again", test_gate_checked),
        AEGIS_TEST("without a plan nothing is judged or verified", test_no_plan),
        AEGIS_TEST("nothing passes verification by absence", test_verify),
        AEGIS_TEST("what cannot be said at once is gone on with", test_verify_later),
        AEGIS_TEST("a failed verification waits for the rollback", test_verify_rolls_back),
        AEGIS_TEST("a stay has one verdict, said again when asked", test_verify_again),
        AEGIS_TEST("the analyst says what was measured and links to it", test_analyze),
        AEGIS_TEST("who asks may bring a correlation id", test_correlation)
    };

    return AEGIS_UNIT_RUN(tests);
}
