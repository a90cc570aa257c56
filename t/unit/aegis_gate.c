/*
 * aegis_gate.c: unit tests of the gatekeeper's modules on facts: what is asked of
 * people, what their voices do, what the clock does.
 */
#include "aegis_unit.h"

#include "aegis_gate.h"
#include "aegis_plan.h"

#define ID    "0195a1c2-0000-7000-8000-000000000001"
#define PLAN  "{'title':'t','risk_score':0.2,'env':'prod','steps':[{'action':'echo'}]," \
              "'rollback':[{'action':'echo'}],'verify':[{'kind':'exec'}]}"
#define TWO   "{'version':1,'groups':{'sre':['alice','bob','carol']},'rules':["     \
              "{'id':'two','kind':'approval','approval':{'need':2,'expires_s':600," \
              "'of':{'groups':['sre']}}}]}"
#define SHUT  "{'version':1,'rules':[{'id':'ice','kind':'freeze','from':'2026-11-01'," \
              "'to':'2026-12-01'}]}"

#define VOTE(who)  "{'principal':'" who "','verdict':'approve','counts':['two']}"


/* What module_load gives, with a request in this state and these voices; state
 * NULL: nobody was asked. */
static json_t *
facts_of(const char *policy, const char *now, const char *state, const char *votes)
{
    char     hash[65];
    json_t  *plan, *facts, *gate;

    plan = aegis_unit_json(PLAN);
    aegis_plan_hash(plan, hash);

    gate = aegis_unit_json("{'rates':{},'proposers':['alice'],'request':null}");

    if (state) {
        json_object_set_new(gate, "request", json_pack(
            "{s:s, s:s, s:s, s:s, s:s, s:o, s:o, s:s, s:o, s:o}",
            "request_id", ID, "plan_id", "p1", "plan_hash", hash, "state", state,
            "rule", "two", "needs", aegis_unit_json("[{'rule':'two','need':2,'groups':"
                "['sre'],'principals':['alice','bob','carol'],'scope':'',"
                "'four_eyes':true,'expires_s':600}]"),
            "proposers", aegis_unit_json("['alice']"),
            "expires_at", "2026-11-20T10:00:00.000000+00:00",
            "votes", aegis_unit_json(votes),
            "decision", aegis_unit_json("{'verdict':'expired','decision_id':'d9',"
                                        "'reason':'nobody came'}")));
    }

    facts = json_pack("{s:s, s:{s:s, s:s, s:i, s:s, s:s, s:s}, s:{s:s, s:s, s:b, s:o},"
                      " s:{s:s, s:o}, s:o}",
        "now", now,
        "case", "case_id", ID, "tenant", "t", "version", 4, "kind", "change",
        "plan_id", "p1", "correlation_id", "",
        "plan", "plan_id", "p1", "hash", hash, "complete", 1, "plan", plan,
        "policy", "hash", "h", "body", aegis_unit_json(policy), "gate", gate);
    assert_non_null(facts);

    return facts;
}


static const char *
text(const json_t *doc, const char *a, const char *b, const char *c)
{
    json_t      *v;
    const char  *s;

    v = json_object_get(doc, a);
    v = b ? json_object_get(v, b) : v;
    v = c ? json_object_get(v, c) : v;
    s = json_string_value(v);

    return s ? s : "";
}


static json_t *
run(aegis_module_pt module, json_t *facts, const char *who, const char *request,
    aegis_code_t *code, aegis_error_t *err)
{
    json_t              *req, *doc;
    aegis_module_ctx_t   ctx = { ID, who, "", "*" };

    req = aegis_unit_json(request);
    doc = NULL;
    *code = module(facts, req, &ctx, &doc, err);
    json_decref(req);

    return *code == AEGIS_E_OK ? doc : NULL;
}


#define COMMAND  "{'case_version':4}"
#define PERSON   "{'case_id':'x'}"

static void
test_gate(void **state)
{
    size_t         i;
    json_t        *facts, *doc;
    aegis_code_t   code;
    aegis_error_t  err = AEGIS_ERROR_INIT;

    static const struct {
        const char  *policy;
        const char  *now;
        const char  *state;
        const char  *request;
        const char  *subject;       /* of the fact */
        const char  *verdict;       /* of the decision that is stored, "": none */
        const char  *close;
    } cases[] = {
        { TWO, "2026-11-20T09:00:00Z", NULL, COMMAND, "evt.plan.waiting.v1",
          "needs_approval", "" },
        { SHUT, "2026-11-20T09:00:00Z", NULL, COMMAND, "evt.plan.approved.v1",
          "rejected", "" },
        /* nobody is asked twice, and nothing is decided before the time is over */
        { TWO, "2026-11-20T09:59:59Z", "OPEN", COMMAND, "", "", "" },
        { TWO, "2026-11-20T09:59:59Z", "OPEN", PERSON, "", "", "" },
        { SHUT, "2026-11-20T09:59:59Z", "OPEN", COMMAND, "", "", "" },
        /* silence is a no, whatever the policy of now would say */
        { TWO, "2026-11-20T10:00:00Z", "OPEN", COMMAND, "evt.plan.approved.v1",
          "expired", "EXPIRED" },
        { "{'version':1,'rules':[]}", "2026-11-20T10:00:00Z", "OPEN", COMMAND,
          "evt.plan.approved.v1", "expired", "EXPIRED" },
        /* a lost fact is said again and decides nothing anew */
        { TWO, "2026-11-20T11:00:00Z", "EXPIRED", COMMAND, "evt.plan.approved.v1", "",
          "" }
    };

    for (i = 0; i < AEGIS_UNIT_N(cases); i++) {
        facts = facts_of(cases[i].policy, cases[i].now, cases[i].state, "[]");
        doc = run(aegis_module_gate, facts, "aegis:gate", cases[i].request, &code, &err);
        assert_int_equal(code, AEGIS_E_OK);

        if (strcmp(text(doc, "subject", NULL, NULL), cases[i].subject) != 0
            || strcmp(text(doc, "artefact", "verdict", NULL), cases[i].verdict) != 0
            || strcmp(text(doc, "approval", "close", "state"), cases[i].close) != 0)
        {
            fail_msg("case %zu: %s", i, json_dumps(doc, 0));
        }

        assert_false(json_is_true(json_object_get(json_object_get(doc, "data"),
                                                  "approved")));
        json_decref(doc);
        json_decref(facts);
    }
}


static void
test_request(void **state)
{
    json_t        *facts, *doc, *request;
    aegis_code_t   code;
    aegis_error_t  err = AEGIS_ERROR_INIT;

    facts = facts_of(TWO, "2026-11-20T09:00:00Z", NULL, "[]");
    doc = run(aegis_module_gate, facts, "aegis:gate", COMMAND, &code, &err);
    request = json_object_get(json_object_get(doc, "approval"), "request");

    assert_string_equal(text(request, "expires_at", NULL, NULL), "2026-11-20T09:10:00Z");
    assert_string_equal(text(request, "rule", NULL, NULL), "two");
    assert_string_equal(text(request, "plan_hash", NULL, NULL),
                        text(facts, "plan", "hash", NULL));
    assert_string_equal(text(doc, "note", "event", NULL), "approval_requested");
    assert_null(json_object_get(json_object_get(doc, "data"), "approved"));
    assert_int_equal(json_array_size(json_object_get(doc, "more")), 0);
    json_decref(doc);

    /* a plan beside the case's own cannot be given to people */
    json_object_set_new(json_object_get(facts, "plan"), "plan_id", json_string("p2"));
    doc = run(aegis_module_gate, facts, "alice", PERSON, &code, &err);
    assert_int_equal(code, AEGIS_E_GUARD);
    aegis_error_clear(&err);
    json_decref(facts);
}


static void
test_voices(void **state)
{
    char           body[200], bad[32];
    size_t         i;
    json_t        *facts, *doc;
    const char    *hash;
    aegis_code_t   code;
    aegis_error_t  err = AEGIS_ERROR_INIT;

    static const struct {
        const char     *who;
        int             deny;
        const char     *policy;
        const char     *now;
        const char     *state;
        const char     *votes;
        aegis_code_t    code;
        const char     *verdict;    /* of the decision, "": none yet */
        const char     *close;
        int             voice;      /* a vote is stored */
    } cases[] = {
        { "bob", 0, TWO, "2026-11-20T09:00:00Z", "OPEN", "[]", AEGIS_E_OK, "", "", 1 },
        { "carol", 0, TWO, "2026-11-20T09:00:00Z", "OPEN", "[" VOTE("bob") "]",
          AEGIS_E_OK, "approved", "APPROVED", 1 },
        /* once a person */
        { "bob", 0, TWO, "2026-11-20T09:00:00Z", "OPEN", "[" VOTE("bob") "]", AEGIS_E_OK,
          "", "", 0 },
        /* not oneself, not strangers */
        { "alice", 0, TWO, "2026-11-20T09:00:00Z", "OPEN", "[" VOTE("bob") "]",
          AEGIS_E_NOT_APPROVER, "", "", 0 },
        { "dave", 0, TWO, "2026-11-20T09:00:00Z", "OPEN", "[" VOTE("bob") "]",
          AEGIS_E_NOT_APPROVER, "", "", 0 },
        { "dave", 1, TWO, "2026-11-20T09:00:00Z", "OPEN", "[]", AEGIS_E_NOT_APPROVER, "",
          "", 0 },
        /* who proposed it may take it back, who approved may think again */
        { "alice", 1, TWO, "2026-11-20T09:00:00Z", "OPEN", "[]", AEGIS_E_OK, "rejected",
          "DENIED", 1 },
        { "bob", 1, TWO, "2026-11-20T09:00:00Z", "OPEN", "[" VOTE("bob") "]", AEGIS_E_OK,
          "rejected", "DENIED", 1 },
        /* too late, too early, decided */
        { "carol", 0, TWO, "2026-11-20T09:59:59Z", "OPEN", "[" VOTE("bob") "]",
          AEGIS_E_OK, "approved", "APPROVED", 1 },
        { "carol", 0, TWO, "2026-11-20T10:00:00Z", "OPEN", "[" VOTE("bob") "]",
          AEGIS_E_NOT_WAITING, "", "", 0 },
        { "carol", 1, TWO, "2026-11-20T10:00:00Z", "OPEN", "[]", AEGIS_E_NOT_WAITING, "",
          "", 0 },
        { "carol", 0, TWO, "2026-11-20T09:00:00Z", NULL, "[]", AEGIS_E_NOT_WAITING, "",
          "", 0 },
        { "carol", 0, TWO, "2026-11-20T09:00:00Z", "DENIED", "[" VOTE("bob") "]",
          AEGIS_E_NOT_WAITING, "", "", 0 },
        /* the policy of the last moment may refuse what people approve */
        { "carol", 0, SHUT, "2026-11-20T09:00:00Z", "OPEN", "[" VOTE("bob") "]",
          AEGIS_E_OK, "rejected", "REFUSED", 1 },
        { "carol", 0, "null", "2026-11-20T09:00:00Z", "OPEN", "[" VOTE("bob") "]",
          AEGIS_E_OK, "rejected", "REFUSED", 1 }
    };

    for (i = 0; i < AEGIS_UNIT_N(cases); i++) {
        facts = facts_of(cases[i].policy, cases[i].now, cases[i].state, cases[i].votes);
        hash = text(facts, "plan", "hash", NULL);
        snprintf(body, sizeof(body), "{'case_id':'x','plan_hash':'%s','comment':'ok'}",
                 hash);
        doc = run(cases[i].deny ? aegis_module_deny : aegis_module_approve, facts,
                  cases[i].who, body, &code, &err);

        if (code != cases[i].code
            || strcmp(text(doc, "artefact", "verdict", NULL), cases[i].verdict) != 0
            || strcmp(text(doc, "approval", "close", "state"), cases[i].close) != 0
            || (json_object_get(json_object_get(doc, "approval"), "vote") != NULL)
               != cases[i].voice
            || (strcmp(cases[i].verdict, "approved") == 0)
               != (json_array_size(json_object_get(doc, "more")) == 1))
        {
            fail_msg("case %zu: %d %s", i, code, doc ? json_dumps(doc, 0) : err.detail);
        }

        assert_int_equal(strcmp(text(doc, "subject", NULL, NULL), "evt.plan.approved.v1")
                         == 0, cases[i].verdict[0] != '\0');
        aegis_error_clear(&err);
        json_decref(doc);
        json_decref(facts);
    }

    /* another plan than the one that waits */
    facts = facts_of(TWO, "2026-11-20T09:00:00Z", "OPEN", "[]");
    snprintf(bad, sizeof(bad), "{'plan_hash':'%.12s'}", text(facts, "plan", "hash", NULL));
    doc = run(aegis_module_approve, facts, "bob", bad, &code, &err);
    assert_null(doc);
    assert_int_equal(code, AEGIS_E_PLAN_CHANGED);
    aegis_error_clear(&err);
    json_decref(facts);
}


/* The stored plan is not the one that its hash names: nobody's voice helps. */
static void
test_tampered(void **state)
{
    char           body[128];
    json_t        *facts, *doc, *plan;
    aegis_code_t   code;
    aegis_error_t  err = AEGIS_ERROR_INIT;

    facts = facts_of(TWO, "2026-11-20T09:00:00Z", "OPEN", "[" VOTE("bob") "]");
    plan = json_object_get(json_object_get(facts, "plan"), "plan");
    json_object_set_new(plan, "title", json_string("something else"));
    snprintf(body, sizeof(body), "{'plan_hash':'%s'}", text(facts, "plan", "hash", NULL));

    doc = run(aegis_module_approve, facts, "carol", body, &code, &err);
    assert_int_equal(code, AEGIS_E_OK);
    assert_string_equal(text(doc, "artefact", "verdict", NULL), "rejected");
    assert_string_equal(text(doc, "artefact", "rule", NULL), "plan-hash");
    json_decref(doc);
    json_decref(facts);
}


/* What is decided on facts of one moment is counted as if one after the other. */
static void
test_earlier(void **state)
{
    size_t         i;
    json_t        *facts, *doc, *earlier;
    aegis_code_t   code;
    aegis_error_t  err = AEGIS_ERROR_INIT;

    static const struct {
        const char  *tenant;
        const char  *service;
        const char  *verdict;
    } cases[] = {
        { "t", "a", "approved" }, { "t", "b", "approved" }, { "u", "a", "approved" },
        { "t", "a", "approved" }, { "t", "a", "rejected" }, { "t", "b", "approved" },
        { "t", "c", "rejected" }, { "u", "a", "approved" }
    };

    earlier = json_array();

    /* 2 for a service and 5 for a tenant, of which 1 was before */
    for (i = 0; i < AEGIS_UNIT_N(cases); i++) {
        facts = facts_of("{'version':1,'rules':[{'id':'s','kind':'rate','max':2,"
            "'window_s':60,'per':'service'},{'id':'a','kind':'rate','max':5,"
            "'window_s':60}]}", "2026-11-20T09:00:00Z", NULL, "[]");
        json_object_set_new(json_object_get(facts, "gate"), "rates",
                            aegis_unit_json("{'s':0,'a':1}"));
        json_object_set_new(json_object_get(facts, "case"), "tenant",
                            json_string(cases[i].tenant));
        json_object_set_new(json_object_get(facts, "case"), "labels",
                            json_pack("{s:s}", "service", cases[i].service));

        aegis_gate_earlier(facts, earlier);
        doc = run(aegis_module_gate, facts, "aegis:gate", COMMAND, &code, &err);
        assert_int_equal(code, AEGIS_E_OK);
        aegis_gate_made(facts, doc, earlier);

        if (strcmp(text(doc, "artefact", "verdict", NULL), cases[i].verdict) != 0) {
            fail_msg("case %zu: %s", i, text(doc, "artefact", "reason", NULL));
        }

        json_decref(doc);
        json_decref(facts);
    }

    json_decref(earlier);
}


int
main(void)
{
    const struct CMUnitTest  tests[] = {
        AEGIS_TEST("one question is asked, and silence is a no", test_gate),
        AEGIS_TEST("a question has the plan's hash and an end", test_request),
        AEGIS_TEST("voices count for whom they may, and the last one decides",
                   test_voices),
        AEGIS_TEST("a batch counts its own approvals", test_earlier),
        AEGIS_TEST("a plan that was changed underneath is refused", test_tampered)
    };

    return AEGIS_UNIT_RUN(tests);
}
