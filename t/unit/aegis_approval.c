/*
 * aegis_approval.c: unit tests of who may approve, and when it is enough.
 */
#include "aegis_unit.h"

#include "aegis_approval.h"

#define GROUPS  "{'sre':['alice','bob','carol'],'dba':['bob','dan']}"


static json_t *
need_of(const char *approval)
{
    json_t  *a, *groups, *need;

    a = aegis_unit_json(approval);
    groups = aegis_unit_json(GROUPS);
    need = aegis_approval_need("r", a, groups);
    json_decref(a);
    json_decref(groups);

    return need;
}


static void
test_check(void **state)
{
    size_t         i;
    json_t        *approval, *groups;
    aegis_error_t  err = AEGIS_ERROR_INIT;

    static const struct {
        const char  *approval;
        const char  *pointer;       /* NULL: it is one */
    } cases[] = {
        { "{}", NULL },
        { "{'need':2,'of':{'groups':['sre']}}", NULL },
        { "{'need':3,'of':{'groups':['sre']},'expires_s':60,'four_eyes':false}", NULL },
        { "{'need':4,'of':{'groups':['sre']}}", "/a/need" },
        { "{'need':4,'of':{'groups':['sre','dba']}}", NULL },
        { "{'need':5,'of':{'groups':['sre','dba']}}", "/a/need" },
        { "{'need':5,'of':{'groups':['sre'],'scope':'gate:approve'}}", NULL },
        { "{'need':0}", "/a/need" }, { "{'need':17}", "/a/need" },
        { "{'need':'2'}", "/a/need" },
        { "{'of':{'groups':['ops']}}", "/a/of/groups/0" },
        { "{'of':{'groups':[]}}", "/a/of/groups" },
        { "{'of':{}}", "/a/of" },
        { "{'of':{'scope':'gate:aprove'}}", "/a/of/scope" },
        { "{'of':{'scope':''}}", "/a/of/scope" },
        { "{'of':{'principals':['']}}", "/a/of/principals/0" },
        { "{'of':{'people':['x']}}", "/a/of/people" },
        { "{'expires_s':0}", "/a/expires_s" }, { "{'four_eyes':1}", "/a/four_eyes" },
        { "{'x':1}", "/a/x" }, { "[]", "/a" }
    };

    groups = aegis_unit_json(GROUPS);

    for (i = 0; i < AEGIS_UNIT_N(cases); i++) {
        approval = aegis_unit_json(cases[i].approval);
        aegis_approval_check(approval, groups, "/a", &err);

        if (cases[i].pointer ? !aegis_unit_error_at(&err, cases[i].pointer)
                             : err.code != AEGIS_E_OK)
        {
            fail_msg("%s", cases[i].approval);
        }

        aegis_error_clear(&err);
        json_decref(approval);
    }

    json_decref(groups);
}


static void
test_counts(void **state)
{
    size_t       i;
    json_t      *needs, *proposers, *counts;
    const char  *why;

    static const struct {
        const char  *approval;
        const char  *who;
        const char  *scopes;
        int          counts;
    } cases[] = {
        /* alice has proposed the plan */
        { "{'of':{'groups':['sre']}}", "bob", "case:read", 1 },
        { "{'of':{'groups':['sre']}}", "Bob", "case:read", 0 },
        { "{'of':{'groups':['sre']}}", "dan", "*", 0 },
        { "{'of':{'groups':['sre']}}", "alice", "*", 0 },
        { "{'of':{'groups':['sre']},'four_eyes':false}", "alice", "*", 1 },
        { "{'of':{'groups':['dba'],'principals':['erin']}}", "erin", NULL, 1 },
        { "{'of':{'scope':'gate:approve'}}", "erin", "case:read,gate:approve", 1 },
        { "{'of':{'scope':'gate:approve'}}", "erin", "gate:*", 1 },
        { "{'of':{'scope':'gate:approve'}}", "erin", "gate:write", 0 },
        { "{'of':{'scope':'gate:approve'}}", "erin", NULL, 0 },
        { "{'of':{'scope':'gate:approve'}}", "alice", "*", 0 },
        { "{}", "erin", "gate:approve", 1 },
        { "{}", "erin", "gate:read", 0 },
        { "{'of':{'groups':['sre']}}", "", "*", 0 }
    };

    proposers = aegis_unit_json("['alice']");

    for (i = 0; i < AEGIS_UNIT_N(cases); i++) {
        needs = json_pack("[o]", need_of(cases[i].approval));
        counts = aegis_approval_counts(needs, proposers, cases[i].who, cases[i].scopes,
                                       &why);

        if (json_array_size(counts) != (size_t) cases[i].counts) {
            fail_msg("%s for %s with %s", cases[i].approval, cases[i].who,
                     cases[i].scopes ? cases[i].scopes : "no scope");
        }

        assert_true(why[0] != '\0');
        json_decref(counts);
        json_decref(needs);
    }

    json_decref(proposers);
}


static void
test_met(void **state)
{
    char     text[128];
    size_t   i;
    json_t  *needs, *votes;

    static const struct {
        const char  *votes;
        int          met;
        const char  *state;
    } cases[] = {
        { "[]", 0, "0 of 2 approved, 0 of 1 approved" },
        { "[{'principal':'a','verdict':'approve','counts':['x','y']}]", 0,
          "1 of 2 approved, 1 of 1 approved: a" },
        { "[{'principal':'a','verdict':'approve','counts':['x']},"
          "{'principal':'a','verdict':'approve','counts':['x','y']}]", 0, NULL },
        { "[{'principal':'a','verdict':'approve','counts':['x']},"
          "{'principal':'b','verdict':'approve','counts':['x']}]", 0,
          "2 of 2 approved, 0 of 1 approved: a, b" },
        { "[{'principal':'a','verdict':'approve','counts':['x']},"
          "{'principal':'b','verdict':'approve','counts':['x','y']}]", 1, NULL },
        { "[{'principal':'a','verdict':'approve','counts':['x','y']},"
          "{'principal':'b','verdict':'deny','counts':['x']}]", 0, NULL }
    };

    needs = aegis_unit_json("[{'rule':'x','need':2},{'rule':'y','need':1}]");

    for (i = 0; i < AEGIS_UNIT_N(cases); i++) {
        votes = aegis_unit_json(cases[i].votes);
        assert_int_equal(aegis_approval_met(needs, votes), cases[i].met);

        if (cases[i].state) {
            aegis_approval_state(needs, votes, text, sizeof(text));
            assert_string_equal(text, cases[i].state);
        }
        json_decref(votes);
    }

    json_decref(needs);

    /* no need at all is never met: who asks nobody must not be approved */
    needs = json_array();
    votes = json_array();
    assert_false(aegis_approval_met(needs, votes));
    json_decref(needs);
    json_decref(votes);
}


static void
test_text(void **state)
{
    char     text[64];
    json_t  *need;

    need = need_of("{'need':2,'of':{'groups':['sre','dba']}}");
    aegis_approval_text(need, text, sizeof(text));
    assert_string_equal(text, "2 of sre, dba");
    assert_int_equal(json_array_size(json_object_get(need, "principals")), 4);
    json_decref(need);

    need = need_of("{'of':{'principals':['erin'],'scope':'gate:approve'}}");
    aegis_approval_text(need, text, sizeof(text));
    assert_string_equal(text, "1 of erin, gate:approve");
    json_decref(need);

    need = need_of("{}");
    aegis_approval_text(need, text, sizeof(text));
    assert_string_equal(text, "1 of gate:approve");
    json_decref(need);
}


int
main(void)
{
    const struct CMUnitTest  tests[] = {
        AEGIS_TEST("an approval that can never be met is refused", test_check),
        AEGIS_TEST("a voice counts for whom the policy names, and not for oneself",
                   test_counts),
        AEGIS_TEST("different people have to approve, each once", test_met),
        AEGIS_TEST("who is asked can be said in a line", test_text)
    };

    return AEGIS_UNIT_RUN(tests);
}
