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
            "{'id':'day','kind':'window','from':'00:00','to':'24:00'}]}",
        "{'version':1,'timezone':'Europe/Berlin','groups':{'sre':['a','b']},'rules':["
            "{'id':'t','kind':'tenants','allow':['a']},"
            "{'id':'w','kind':'window','from':'09:00','to':'18:00','timezone':'UTC'},"
            "{'id':'f','kind':'freeze','from':'2026-12-20','to':'2027-01-03'},"
            "{'id':'n','kind':'rate','max':3,'window_s':600,'per':'service',"
             "'approval':{'of':{'groups':['sre']}}},"
            "{'id':'a','kind':'approval','approval':{},'when':{'env':['prod','live'],"
             "'tenant':'a','action':['script.exec'],'risk_above':0.3}}]}"
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
          "/rules/1" },
        { "{'version':1,'rules':[],'timezone':'Berlin time'}", "/timezone" },
        { "{'version':1,'rules':[],'timezone':'../../etc/passwd'}", "/timezone" },
        { "{'version':1,'rules':[],'timezone':'UTC','timezone_offset':'+00:00'}",
          "/timezone_offset" },
        { "{'version':1,'rules':[],'timezone':'X/Y','zones':{}}", "/zones/X~1Y" },
        { "{'version':1,'rules':[],'timezone':'X','zones':{'X':{'offset':0,'changes':[],"
          "'rule':'CET'}}}", "/zones/X/rule" },
        { "{'version':1,'rules':[],'groups':{'a b':['x']}}", "/groups/a b" },
        { "{'version':1,'rules':[],'groups':{'a':[]}}", "/groups/a" },
        { RULE("{'id':'a','kind':'window','from':'09:00','to':'18:00','timezone':8}"),
          "/rules/0/timezone" },
        { RULE("{'id':'a','kind':'freeze','from':'2026-12-20'}"), "/rules/0/to" },
        { RULE("{'id':'a','kind':'freeze','from':'2026-12-20','to':'2026-12-20'}"),
          "/rules/0/to" },
        { RULE("{'id':'a','kind':'freeze','from':'20.12.2026','to':'2026-12-24'}"),
          "/rules/0/from" },
        { RULE("{'id':'a','kind':'rate','max':1}"), "/rules/0/window_s" },
        { RULE("{'id':'a','kind':'rate','max':1.5,'window_s':60}"), "/rules/0/max" },
        { RULE("{'id':'a','kind':'rate','max':1,'window_s':60,'per':'moon'}"),
          "/rules/0/per" },
        { RULE("{'id':'a','kind':'approval'}"), "/rules/0/approval" },
        { RULE("{'id':'a','kind':'approval','approval':{'need':3,'of':"
               "{'principals':['x','x']}}}"), "/rules/0/approval/need" },
        { RULE("{'id':'a','kind':'risk','max':1,'when':{'risk_above':2}}"),
          "/rules/0/when/risk_above" },
        { RULE("{'id':'a','kind':'risk','max':1,'when':{'env':[]}}"),
          "/rules/0/when/env" },
        { RULE("{'id':'a','kind':'risk','max':1,'when':{'action':['a b']}}"),
          "/rules/0/when/action/0" }
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
static aegis_policy_result_t
judge(const char *policy, const char *kind, const char *plan, const char *now)
{
    json_t                 *p, *c, *pl;
    aegis_error_t           err = AEGIS_ERROR_INIT;
    aegis_policy_facts_t    facts;
    aegis_policy_result_t   v;

    p = aegis_unit_json(policy);
    pl = aegis_unit_json(plan);
    c = json_pack("{s:s}", "kind", kind);

    assert_int_equal(aegis_policy_check(p, &err), AEGIS_E_OK);

    memset(&facts, 0, sizeof(facts));
    facts.c = c;
    facts.plan = pl;
    assert_true(aegis_time_parse(aegis_view(now), &facts.now));
    assert_int_equal(aegis_policy_eval(p, &facts, &v, &err), AEGIS_E_OK);

    aegis_policy_result_clear(&v);
    json_decref(p);
    json_decref(pl);
    json_decref(c);

    return v;
}


static void
test_rules(void **state)
{
    size_t                   i;
    aegis_policy_result_t    v;

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
        assert_int_equal(v.verdict == AEGIS_GATE_APPROVED,
                         strcmp(v.rule, "default") == 0);
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
    aegis_policy_result_t    v;

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


#define ASK     "'approval':{'need':1,'expires_s':7200}"
#define CEST    "'zones':{'Europe/Berlin':{'offset':3600,'changes':[]," \
                "'rule':'CET-1CEST,M3.5.0,M10.5.0/3'}}"
#define BERLIN(rules)  "{'version':1,'timezone':'Europe/Berlin'," CEST ",'rules':[" rules "]}"

/* a change of tenant acme in env staging, risk 0.2; rule n has counted 3 */
static const struct {
    const char  *policy;
    const char  *now;
    int          people;
    const char  *verdict;
    const char  *rule;
    int64_t      valid_s;       /* 0: not looked at */
    int64_t      expires_s;
} kinds[] = {
    { RULE("{'id':'t','kind':'tenants','allow':['acme']}"), "2026-11-20T12:00:00Z", 0,
      "approved", "default", 3600, 0 },
    { RULE("{'id':'t','kind':'tenants','allow':['other']}"), "2026-11-20T12:00:00Z",
      0, "rejected", "t", 0, 0 },
    { RULE("{'id':'x','kind':'risk','max':0,'when':{'tenant':'other'}}"),
      "2026-11-20T12:00:00Z", 0, "approved", "default", 0, 0 },
    { RULE("{'id':'x','kind':'risk','max':0,'when':{'tenant':['other','acme']}}"),
      "2026-11-20T12:00:00Z", 0, "rejected", "x", 0, 0 },
    { RULE("{'id':'x','kind':'risk','max':0,'when':{'action':'k8s.rollout'}}"),
      "2026-11-20T12:00:00Z", 0, "approved", "default", 0, 0 },
    { RULE("{'id':'x','kind':'risk','max':0,'when':{'action':['script.exec']}}"),
      "2026-11-20T12:00:00Z", 0, "rejected", "x", 0, 0 },
    { RULE("{'id':'x','kind':'approval'," ASK ",'when':{'risk_above':0.2}}"),
      "2026-11-20T12:00:00Z", 0, "approved", "default", 0, 0 },
    { RULE("{'id':'x','kind':'approval'," ASK ",'when':{'risk_above':0.1}}"),
      "2026-11-20T12:00:00Z", 0, "needs_approval", "x", 0, 7200 },
    /* rates: as many as max, and not what nobody counted */
    { RULE("{'id':'n','kind':'rate','max':4,'window_s':60}"), "2026-11-20T12:00:00Z",
      0, "approved", "default", 0, 0 },
    { RULE("{'id':'n','kind':'rate','max':3,'window_s':60}"), "2026-11-20T12:00:00Z",
      0, "rejected", "n", 0, 0 },
    { RULE("{'id':'n','kind':'rate','max':3,'window_s':60," ASK "}"),
      "2026-11-20T12:00:00Z", 0, "needs_approval", "n", 0, 7200 },
    { RULE("{'id':'n','kind':'rate','max':3,'window_s':60}"), "2026-11-20T12:00:00Z",
      1, "approved", "default", 0, 0 },
    { RULE("{'id':'m','kind':'rate','max':9,'window_s':60}"), "2026-11-20T12:00:00Z",
      0, "rejected", "m", 0, 0 },
    { RULE("{'id':'n','kind':'rate','max':0,'window_s':60}"), "2026-11-20T12:00:00Z",
      0, "rejected", "n", 0, 0 },
    /* a refusal is stronger than a question, wherever it stands */
    { RULE("{'id':'a','kind':'approval'," ASK "},{'id':'r','kind':'risk','max':0}"),
      "2026-11-20T12:00:00Z", 0, "rejected", "r", 0, 0 },
    { RULE("{'id':'a','kind':'approval'," ASK "},{'id':'r','kind':'risk','max':0}"),
      "2026-11-20T12:00:00Z", 1, "rejected", "r", 0, 0 },
    { RULE("{'id':'a','kind':'approval'," ASK "},{'id':'b','kind':'approval',"
           "'approval':{'expires_s':60}}"), "2026-11-20T12:00:00Z", 0,
      "needs_approval", "a", 0, 60 },
    { RULE("{'id':'a','kind':'approval'," ASK "}"), "2026-11-20T12:00:00Z", 1,
      "approved", "default", 3600, 0 },
    /* freezes, to the second; an approval ends where one begins */
    { BERLIN("{'id':'f','kind':'freeze','from':'2026-12-20','to':'2027-01-03'}"),
      "2026-12-19T22:59:59Z", 0, "approved", "default", 1, 0 },
    { BERLIN("{'id':'f','kind':'freeze','from':'2026-12-20','to':'2027-01-03'}"),
      "2026-12-19T23:00:00Z", 0, "rejected", "f", 0, 0 },
    { BERLIN("{'id':'f','kind':'freeze','from':'2026-12-20','to':'2027-01-03'}"),
      "2027-01-02T22:59:59Z", 0, "rejected", "f", 0, 0 },
    { BERLIN("{'id':'f','kind':'freeze','from':'2026-12-20','to':'2027-01-03'}"),
      "2027-01-02T23:00:00Z", 0, "approved", "default", 3600, 0 },
    { BERLIN("{'id':'f','kind':'freeze','from':'2026-12-20','to':'2027-01-03'},"
             "{'id':'a','kind':'approval'," ASK "}"), "2026-12-19T22:30:00Z", 0,
      "needs_approval", "a", 0, 1800 },
    /* the policy's zone, a rule's own, and one that is not there */
    { BERLIN("{'id':'w','kind':'window','from':'09:00','to':'17:00'}"),
      "2026-07-01T07:00:00Z", 0, "approved", "default", 3600, 0 },
    { BERLIN("{'id':'w','kind':'window','from':'09:00','to':'17:00'}"),
      "2026-12-01T07:59:59Z", 0, "rejected", "w", 0, 0 },
    { BERLIN("{'id':'w','kind':'window','from':'09:00','to':'17:00'}"),
      "2026-07-01T14:59:00Z", 0, "approved", "default", 60, 0 },
    { "{'version':1,'timezone':'Europe/Berlin','rules':[{'id':'w','kind':'window',"
      "'from':'00:00','to':'24:00'}]}", "2026-07-01T07:00:00Z", 0, "rejected", "w",
      0, 0 },
    /* outside of its window people may let it through */
    { BERLIN("{'id':'w','kind':'window','from':'09:00','to':'17:00'," ASK "}"),
      "2026-07-01T03:00:00Z", 0, "needs_approval", "w", 0, 7200 },
    { BERLIN("{'id':'w','kind':'window','from':'09:00','to':'17:00'," ASK "}"),
      "2026-07-01T03:00:00Z", 1, "approved", "default", 3600, 0 },
    { BERLIN("{'id':'w','kind':'window','from':'09:00','to':'17:00'}"),
      "2026-07-01T03:00:00Z", 1, "rejected", "w", 0, 0 }
};


static void
test_kinds(void **state)
{
    size_t                  i;
    json_t                 *policy, *c, *plan, *rates;
    aegis_error_t           err = AEGIS_ERROR_INIT;
    aegis_policy_facts_t    facts;
    aegis_policy_result_t   v;

    c = aegis_unit_json("{'kind':'change','tenant':'acme'}");
    plan = aegis_unit_json(PLAN);
    rates = aegis_unit_json("{'n':3}");

    for (i = 0; i < AEGIS_UNIT_N(kinds); i++) {
        policy = aegis_unit_json(kinds[i].policy);
        memset(&facts, 0, sizeof(facts));
        facts.c = c;
        facts.plan = plan;
        facts.rates = rates;
        facts.people = kinds[i].people;
        assert_true(aegis_time_parse(aegis_view(kinds[i].now), &facts.now));
        assert_int_equal(aegis_policy_check(policy, &err), AEGIS_E_OK);
        assert_int_equal(aegis_policy_eval(policy, &facts, &v, &err), AEGIS_E_OK);

        if (strcmp(aegis_gate_verdict(v.verdict), kinds[i].verdict) != 0
            || strcmp(v.rule, kinds[i].rule) != 0
            || (kinds[i].valid_s && v.valid_s != kinds[i].valid_s)
            || (kinds[i].expires_s && v.expires_s != kinds[i].expires_s)
            || (v.needs != NULL) != (v.verdict == AEGIS_GATE_ASKS))
        {
            fail_msg("case %zu: %s by %s, %lld s, %lld s", i,
                     aegis_gate_verdict(v.verdict), v.rule, (long long) v.valid_s,
                     (long long) v.expires_s);
        }

        aegis_policy_result_clear(&v);
        json_decref(policy);
    }

    json_decref(c);
    json_decref(plan);
    json_decref(rates);
}


static void
test_findings(void **state)
{
    json_t                 *p, *c, *plan, *expected;
    aegis_error_t           err = AEGIS_ERROR_INIT;
    aegis_policy_facts_t    facts;
    aegis_policy_result_t   v;

    p = aegis_unit_json(RULE("{'id':'one','kind':'risk','max':0.1},"
        "{'id':'skip','kind':'risk','max':0,'when':{'env':'prod'}},"
        "{'id':'two','kind':'environments','allow':['staging']},"
        "{'id':'three','kind':'actions','allow':['echo']}"));
    c = aegis_unit_json("{'kind':'incident'}");
    plan = aegis_unit_json(PLAN);

    memset(&facts, 0, sizeof(facts));
    facts.c = c;
    facts.plan = plan;
    assert_int_equal(aegis_policy_eval(p, &facts, &v, &err), AEGIS_E_OK);
    assert_int_equal(v.verdict, AEGIS_GATE_REJECTED);
    assert_string_equal(v.rule, "one");
    assert_string_equal(v.reason, "risk 0.2 is above 0.1");

    expected = aegis_unit_json(
        "[{'rule':'one','kind':'risk','ok':false,'detail':'risk 0.2 is above 0.1'},"
        "{'rule':'two','kind':'environments','ok':true,"
        "'detail':'environment staging is allowed'},"
        "{'rule':'three','kind':'actions','ok':false,"
        "'detail':'action script.exec is not allowed'}]");
    assert_true(json_equal(v.checks, expected));

    aegis_policy_result_clear(&v);
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
        AEGIS_TEST("tenants, rates, freezes, questions to people, clocks of the world",
                   test_kinds),
        AEGIS_TEST("every finding is kept, also behind the refusal", test_findings)
    };

    return AEGIS_UNIT_RUN(tests);
}
