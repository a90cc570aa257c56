/*
 * aegis_policy.c: unit tests of the gatekeeper's policy: its schema, and what
 * it says to plans at certain times.
 */
#include "aegis_unit.h"

#include "aegis_policy.h"
#include "aegis_time.h"

#define PLAN  "{'title':'t','risk_score':0.2,'env':'staging','steps':" \
              "[{'action':'echo'}],'rollback':[{'action':'script.exec'}]}"


static void
test_accepted(void **state)
{
    size_t          i;
    json_t         *policy;
    aegis_error_t   err = AEGIS_ERROR_INIT;

    static const char *const  cases[] = {
        "{'version':1,'rules':[]}",
        "{'version':1,'timezone_offset':'+08:00','valid_s':60,'rules':["
            "{'id':'env','kind':'environments','allow':['staging','prod']},"
            "{'id':'act','kind':'actions','allow':['echo','script.exec']},"
            "{'id':'none','kind':'actions','allow':[],'when':{'env':'locked'}},"
            "{'id':'risk','kind':'risk','max':0.7,'when':{'kind':'change','env':'prod'}},"
            "{'id':'win','kind':'window','days':['mon','sun'],'from':'09:00','to':'18:00'},"
            "{'id':'night','kind':'window','from':'22:00','to':'06:00'},"
            "{'id':'day','kind':'window','from':'00:00','to':'24:00'}]}"
    };

    for (i = 0; i < AEGIS_UNIT_N(cases); i++) {
        policy = aegis_unit_json(cases[i]);
        if (aegis_policy_check(policy, &err) != AEGIS_E_OK) {
            fail_msg("was refused: %s", cases[i]);
        }
        json_decref(policy);
    }
}


#define RULE(rule)  "{'version':1,'rules':[" rule "]}"

static void
test_refused(void **state)
{
    size_t          i;
    json_t         *policy;
    aegis_error_t   err = AEGIS_ERROR_INIT;

    static const struct {
        const char  *text;
        const char  *pointer;
    } cases[] = {
        { "[]", "" }, { "null", "" }, { "{}", "/version" }, { "{'version':1}", "/rules" },
        { "{'version':2,'rules':[]}", "/version" },
        { "{'version':'1','rules':[]}", "/version" },
        { "{'version':1,'rules':{}}", "/rules" },
        { "{'version':1,'rules':[],'x':1}", "/x" },
        { "{'version':1,'rules':[],'timezone_offset':'8'}", "/timezone_offset" },
        { "{'version':1,'rules':[],'timezone_offset':8}", "/timezone_offset" },
        { "{'version':1,'rules':[],'valid_s':0}", "/valid_s" },
        { RULE("1"), "/rules/0" },
        { RULE("{'kind':'risk','max':1}"), "/rules/0/id" },
        { RULE("{'id':'a','kind':'vibes'}"), "/rules/0/kind" },
        { RULE("{'id':'a','kind':'risk'}"), "/rules/0/max" },
        { RULE("{'id':'a','kind':'risk','max':2}"), "/rules/0/max" },
        { RULE("{'id':'a','kind':'risk','max':1,'allow':[]}"), "/rules/0/allow" },
        { RULE("{'id':'a','kind':'actions'}"), "/rules/0/allow" },
        { RULE("{'id':'a','kind':'actions','allow':[1]}"), "/rules/0/allow/0" },
        { RULE("{'id':'a','kind':'environments','allow':'x'}"), "/rules/0/allow" },
        { RULE("{'id':'a','kind':'window','from':'9:00','to':'18:00'}"),
          "/rules/0/from" },
        { RULE("{'id':'a','kind':'window','from':'24:00','to':'18:00'}"),
          "/rules/0/from" },
        { RULE("{'id':'a','kind':'window','from':'09:00','to':'24:01'}"), "/rules/0/to" },
        { RULE("{'id':'a','kind':'window','from':'09:00','to':'09:60'}"), "/rules/0/to" },
        { RULE("{'id':'a','kind':'window','from':'09:00','to':'09:00'}"), "/rules/0/to" },
        { RULE("{'id':'a','kind':'window','from':'09:00','to':540}"), "/rules/0/to" },
        { RULE("{'id':'a','kind':'window','from':'09:00','to':'18:00','days':[]}"),
          "/rules/0/days" },
        { RULE("{'id':'a','kind':'window','from':'09:00','to':'18:00','days':['x']}"),
          "/rules/0/days/0" },
        { RULE("{'id':'a','kind':'risk','max':1,'when':[]}"), "/rules/0/when" },
        { RULE("{'id':'a','kind':'risk','max':1,'when':{'x':1}}"), "/rules/0/when/x" },
        { RULE("{'id':'a','kind':'risk','max':1,'when':{'kind':'x'}}"),
          "/rules/0/when/kind" },
        { RULE("{'id':'a','kind':'risk','max':1,'when':{'env':'a b'}}"),
          "/rules/0/when/env" },
        { RULE("{'id':'a','kind':'risk','max':1},{'id':'a','kind':'risk','max':1}"),
          "/rules/1" }
    };

    for (i = 0; i < AEGIS_UNIT_N(cases); i++) {
        policy = aegis_unit_json(cases[i].text);
        if (aegis_policy_check(policy, &err) != AEGIS_E_SCHEMA
            || !aegis_unit_error_at(&err, cases[i].pointer))
        {
            fail_msg("no error at %s in %s", cases[i].pointer, cases[i].text);
        }
        aegis_error_clear(&err);
        json_decref(policy);
    }
}


/* Judge the plan under a policy's rules at a time; checks are dropped. */
static aegis_verdict_result_t
judge(const char *policy, const char *kind, const char *plan, const char *now)
{
    json_t                  *p, *c, *pl;
    int64_t                  at;
    aegis_error_t            err = AEGIS_ERROR_INIT;
    aegis_verdict_result_t   v;

    p = aegis_unit_json(policy);
    pl = aegis_unit_json(plan);
    c = json_pack("{s:s}", "kind", kind);

    assert_int_equal(aegis_policy_check(p, &err), AEGIS_E_OK);
    assert_true(aegis_time_parse(aegis_unit_str(now), &at));
    assert_int_equal(aegis_policy_eval(p, c, pl, at, &v, &err), AEGIS_E_OK);

    json_decref(v.checks);
    v.checks = NULL;
    json_decref(p);
    json_decref(pl);
    json_decref(c);

    return v;
}


static void
test_rules(void **state)
{
    size_t                   i;
    aegis_verdict_result_t   v;

    static const struct {
        const char  *policy;
        const char  *kind;
        const char  *plan;
        const char  *rule;          /* "default": approved */
    } cases[] = {
        { RULE(""), "incident", PLAN, "default" },
        { RULE("{'id':'e','kind':'environments','allow':['staging']}"), "incident", PLAN,
          "default" },
        { RULE("{'id':'e','kind':'environments','allow':['prod']}"), "incident", PLAN, "e" },
        { RULE("{'id':'e','kind':'environments','allow':[]}"), "incident", PLAN, "e" },
        { RULE("{'id':'e','kind':'environments','allow':['default']}"), "incident",
          "{'title':'t'}", "default" },
        { RULE("{'id':'a','kind':'actions','allow':['echo','script.exec']}"), "incident",
          PLAN, "default" },
        { RULE("{'id':'a','kind':'actions','allow':['script.exec']}"), "incident", PLAN,
          "a" },
        { RULE("{'id':'a','kind':'actions','allow':['echo']}"), "incident", PLAN, "a" },
        { RULE("{'id':'r','kind':'risk','max':0.2}"), "incident", PLAN, "default" },
        { RULE("{'id':'r','kind':'risk','max':0.19}"), "incident", PLAN, "r" },
        { RULE("{'id':'r','kind':'risk','max':0.9}"), "incident", "{'title':'t'}", "r" },
        { RULE("{'id':'r','kind':'risk','max':0,'when':{'kind':'change'}}"), "incident",
          PLAN, "default" },
        { RULE("{'id':'r','kind':'risk','max':0,'when':{'kind':'change'}}"), "change",
          PLAN, "r" },
        { RULE("{'id':'r','kind':'risk','max':0,'when':{'env':'prod'}}"), "change", PLAN,
          "default" },
        { RULE("{'id':'r','kind':'risk','max':0,'when':{'kind':'change',"
               "'env':'staging'}}"), "change", PLAN, "r" },
        { RULE("{'id':'one','kind':'risk','max':0},"
               "{'id':'two','kind':'environments','allow':[]}"), "change", PLAN, "one" }
    };

    for (i = 0; i < AEGIS_UNIT_N(cases); i++) {
        v = judge(cases[i].policy, cases[i].kind, cases[i].plan, "2026-11-21T07:00:00Z");

        if (strcmp(v.rule, cases[i].rule) != 0) {
            fail_msg("%s decides, not %s: %s", v.rule, cases[i].rule, cases[i].policy);
        }
        assert_int_equal(v.approved, strcmp(v.rule, "default") == 0);
        assert_true(v.reason[0] != '\0');
    }
}


#define OFFICE  "{'id':'w','kind':'window','days':['mon','tue','wed','thu','fri']," \
                "'from':'09:00','to':'18:00'}"
#define NIGHT   "{'id':'n','kind':'window','days':['fri'],'from':'22:00','to':'06:00'}"
#define CHINA   "{'version':1,'timezone_offset':'+08:00','valid_s':7200,'rules':["

static void
test_windows(void **state)
{
    size_t                   i;
    aegis_verdict_result_t   v;

    /* 2026-11-20 is a Friday */
    static const struct {
        const char  *policy;
        const char  *now;
        const char  *rule;
        int64_t      valid_s;       /* 0: not looked at */
    } cases[] = {
        { CHINA OFFICE "]}", "2026-11-20T01:00:00Z", "default", 7200 },
        { CHINA OFFICE "]}", "2026-11-20T00:59:59Z", "w", 0 },
        { CHINA OFFICE "]}", "2026-11-20T09:59:59Z", "default", 1 },
        { CHINA OFFICE "]}", "2026-11-20T10:00:00Z", "w", 0 },
        { CHINA OFFICE "]}", "2026-11-20T09:00:00Z", "default", 3600 },
        { CHINA OFFICE "]}", "2026-11-21T05:00:00Z", "w", 0 },
        { CHINA OFFICE "]}", "2026-11-22T23:30:00Z", "w", 0 },
        { CHINA OFFICE "]}", "2026-11-23T01:30:00Z", "default", 7200 },
        /* over midnight it belongs to the day on which it opens */
        { CHINA NIGHT "]}", "2026-11-20T14:00:00Z", "default", 7200 },
        { CHINA NIGHT "]}", "2026-11-20T21:00:00Z", "default", 3600 },
        { CHINA NIGHT "]}", "2026-11-20T22:00:00Z", "n", 0 },
        { CHINA NIGHT "]}", "2026-11-19T21:00:00Z", "n", 0 },
        { CHINA NIGHT "]}", "2026-11-21T15:00:00Z", "n", 0 },
        /* one open window is enough, wherever it stands */
        { CHINA OFFICE "," NIGHT "]}", "2026-11-20T14:00:00Z", "default", 7200 },
        { CHINA NIGHT "," OFFICE "]}", "2026-11-20T02:00:00Z", "default", 7200 },
        { CHINA OFFICE "," NIGHT "]}", "2026-11-20T11:00:00Z", "w", 0 },
        /* one that does not apply neither opens nor closes */
        { CHINA OFFICE ",{'id':'x','kind':'window','from':'00:00','to':'24:00',"
          "'when':{'env':'prod'}}]}", "2026-11-21T05:00:00Z", "w", 0 },
        { CHINA "{'id':'x','kind':'window','from':'00:00','to':'00:01',"
          "'when':{'env':'prod'}}]}", "2026-11-21T05:00:00Z", "default", 7200 },
        { CHINA "{'id':'x','kind':'window','from':'00:00','to':'24:00'}]}",
          "2026-11-21T15:59:00Z", "default", 60 },
        /* the window opens, another rule refuses */
        { CHINA OFFICE ",{'id':'r','kind':'risk','max':0}]}", "2026-11-20T01:00:00Z", "r",
          0 },
        { RULE(OFFICE), "2026-11-20T09:00:00Z", "default", 3600 }
    };

    for (i = 0; i < AEGIS_UNIT_N(cases); i++) {
        v = judge(cases[i].policy, "incident", PLAN, cases[i].now);

        if (strcmp(v.rule, cases[i].rule) != 0) {
            fail_msg("%s decides at %s, not %s: %s", v.rule, cases[i].now, cases[i].rule,
                     cases[i].policy);
        }
        if (cases[i].valid_s) {
            assert_int_equal(v.valid_s, cases[i].valid_s);
        }
    }
}


static void
test_findings(void **state)
{
    json_t                  *p, *c, *plan, *expected;
    aegis_error_t            err = AEGIS_ERROR_INIT;
    aegis_verdict_result_t   v;

    p = aegis_unit_json(RULE("{'id':'one','kind':'risk','max':0.1},"
        "{'id':'skip','kind':'risk','max':0,'when':{'env':'prod'}},"
        "{'id':'two','kind':'environments','allow':['staging']},"
        "{'id':'three','kind':'actions','allow':['echo']}"));
    c = aegis_unit_json("{'kind':'incident'}");
    plan = aegis_unit_json(PLAN);

    assert_int_equal(aegis_policy_eval(p, c, plan, 0, &v, &err), AEGIS_E_OK);
    assert_false(v.approved);
    assert_string_equal(v.rule, "one");
    assert_string_equal(v.reason, "risk 0.2 is above 0.1");

    expected = aegis_unit_json(
        "[{'rule':'one','kind':'risk','ok':false,'detail':'risk 0.2 is above 0.1'},"
        "{'rule':'two','kind':'environments','ok':true,"
        "'detail':'environment staging is allowed'},"
        "{'rule':'three','kind':'actions','ok':false,"
        "'detail':'action script.exec is not allowed'}]");
    assert_true(json_equal(v.checks, expected));

    json_decref(v.checks);
    json_decref(expected);
    json_decref(p);
    json_decref(c);
    json_decref(plan);
}


int
main(void)
{
    const struct CMUnitTest  tests[] = {
        AEGIS_TEST("every kind of rule can be written", test_accepted),
        AEGIS_TEST("a policy that is not one says where", test_refused),
        AEGIS_TEST("the first rule that refuses decides, silence counts against",
                   test_rules),
        AEGIS_TEST("windows open and close to the second, in the policy's time zone",
                   test_windows),
        AEGIS_TEST("every finding is kept, also behind the refusal", test_findings)
    };

    return AEGIS_UNIT_RUN(tests);
}
