/*
 * aegis_access.c: unit tests of scopes and refusals.
 */
#include "aegis_unit.h"

#include "aegis_access.h"
#include "aegis_error.h"
#include "aegis_fsm.h"
#include "aegis_route.h"


static aegis_str_t
view(const char *s)
{
    return aegis_view(s);
}


static void
test_allows(void **state)
{
    size_t  i;

    static const struct {
        const char  *granted;
        const char  *needed;
        int          allows;
    } cases[] = {
        { "case:read",                    "case:read",                     1 },
        { "case:read,plan:read",          "plan:read",                     1 },
        { "case:read plan:read",          "plan:read",                     1 },
        { " ,case:read, ",                "case:read",                     1 },
        { "*",                            "exec:write",                    1 },
        { "case:*",                       "case:read",                     1 },
        { "case:*",                       "case:transition:gate_approved", 1 },
        { "case:transition:*",            "case:transition:gate_approved", 1 },
        { "case:transition:force_park",   "case:transition:force_park",    1 },
        /* a family asks for any of it */
        { "case:transition:force_park",   "case:transition:*",             1 },
        { "case:transition:*",            "case:transition:*",             1 },
        { "case:*",                       "case:transition:*",             1 },
        { "*",                            "case:transition:*",             1 },
        { "case:read",                    "case:transition:*",             0 },
        { "case:transition:",             "case:transition:*",             0 },
        { "case:transition",              "case:transition:*",             0 },
        /* approving is not starting */
        { "case:transition:start_analysis", "case:transition:gate_approved", 0 },
        { "case:read",                    "case:transition:gate_approved", 0 },
        { "plan:*",                       "case:read",                     0 },
        /* no more than was said */
        { "",                             "case:read",                     0 },
        { ",",                            "case:read",                     0 },
        { "case",                         "case:read",                     0 },
        { "case:",                        "case:read",                     0 },
        { "case:r*",                      "case:read",                     0 },
        { "c*",                           "case:read",                     0 },
        { "**",                           "case:read",                     0 },
        { "*:read",                       "case:read",                     0 },
        { "case:rea",                     "case:read",                     0 },
        { "case:reads",                   "case:read",                     0 },
        { "CASE:READ",                    "case:read",                     0 },
        { "case:read\tplan:read",         "plan:read",                     0 },
        { "case:*",                       "case:",                         0 },
        { "*",                            "",                              0 },
        { "",                             "",                              0 }
    };

    for (i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
        if (aegis_scope_allows(view(cases[i].granted), cases[i].needed)
            != cases[i].allows)
        {
            fail_msg("\"%s\" for \"%s\"", cases[i].granted, cases[i].needed);
        }
    }

    assert_false(aegis_scope_allows(AEGIS_NO_STR, "case:read"));
}


static void
test_known(void **state)
{
    size_t  i;

    static const char *const  good[] = {
        "*", "case:*", "case:read", "case:create", "case:transition:*",
        "case:transition:gate_approved", "plan:write", "gate:*"
    };

    static const char *const  bad[] = {
        "", "case", "case:", "case:write", "case:transition", "case:transition:",
        "case:transition:no_event", "nothing:*", "**", "c*", "case:read,plan:read",
        "case:read ", "Case:read"
    };

    for (i = 0; i < sizeof(good) / sizeof(good[0]); i++) {
        if (!aegis_scope_known(view(good[i]))) {
            fail_msg("%s is not known", good[i]);
        }
    }

    for (i = 0; i < sizeof(bad) / sizeof(bad[0]); i++) {
        if (aegis_scope_known(view(bad[i]))) {
            fail_msg("\"%s\" is known", bad[i]);
        }
    }

    assert_false(aegis_scope_known(AEGIS_NO_STR));
}


/* Each event has a scope of its own below the route that takes it. */
static void
test_events(void **state)
{
    size_t       i, k;
    const char  *family, *s;

    family = aegis_route(AEGIS_ROUTE_CASE_TRANSITION)->scope;

    for (i = 0; i < AEGIS_N_EVENTS; i++) {
        s = aegis_event_scope(i);
        assert_true(aegis_scope_allows(view(s), family));
        assert_true(aegis_scope_known(view(s)));

        for (k = 0; k < AEGIS_N_EVENTS; k++) {
            assert_int_equal(aegis_scope_allows(view(s), aegis_event_scope(k)), i == k);
        }
    }

    assert_string_equal(aegis_event_scope(AEGIS_N_EVENTS), "");
}


static void
test_refusals(void **state)
{
    size_t                      i, k;
    const aegis_refusal_def_t  *r;

    for (i = 1; i < AEGIS_N_REFUSALS; i++) {
        r = aegis_refusal_def(i);
        k = aegis_error_def(r->code)->http;

        assert_true(r->name[0] && r->sentence[0]);
        /* 503: what would tell is not there */
        assert_true(k == 400 || k == 401 || k == 403
                    || (k == 503 && i == AEGIS_R_JWT_NO_KEYS));

        for (k = 1; k < i; k++) {
            assert_string_not_equal(r->name, aegis_refusal_def(k)->name);
        }
    }

    assert_string_equal(aegis_refusal_def(AEGIS_R_NONE)->name, "");
    assert_string_equal(aegis_refusal_def(AEGIS_N_REFUSALS)->name, "");
}


static void
test_reserved(void **state)
{
    assert_true(aegis_principal_reserved(aegis_view("aegis:")));
    assert_true(aegis_principal_reserved(aegis_view("aegis:fsm")));
    assert_true(aegis_principal_reserved(aegis_view("AEGIS:fsm")));
    assert_false(aegis_principal_reserved(aegis_view("aegis")));
    assert_false(aegis_principal_reserved(aegis_view("aegis-fsm")));
    assert_false(aegis_principal_reserved(aegis_view("x:aegis:fsm")));
    assert_false(aegis_principal_reserved(aegis_view("")));
}


int
main(void)
{
    const struct CMUnitTest  tests[] = {
        AEGIS_TEST("names that are the workers'", test_reserved),
        AEGIS_TEST("a scope allows what it says and no more", test_allows),
        AEGIS_TEST("scopes that no table has are known as such", test_known),
        AEGIS_TEST("every event has a scope of its own", test_events),
        AEGIS_TEST("refusals are told apart", test_refusals)
    };

    return AEGIS_UNIT_RUN(tests);
}
