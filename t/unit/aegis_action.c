/*
 * aegis_action.c: unit tests of adapters.def: every row is sound, and the check
 * of parameters against it.
 */
#include "aegis_unit.h"

#include "aegis_action.h"


static void
test_rows(void **state)
{
    size_t                i;
    unsigned              a, b;
    const aegis_param_t  *p, *q;

    for (a = 0; a < AEGIS_N_ACTIONS; a++) {
        assert_int_equal(aegis_action_find(aegis_action(a)->name), a);

        for (b = 0; b < a; b++) {
            assert_string_not_equal(aegis_action(a)->name, aegis_action(b)->name);
        }
    }

    for (i = 0; (p = aegis_action_param(i)) != NULL; i++) {
        assert_true(p->least <= p->most || p->type == AEGIS_PARAM_STRINGS
                    || p->type == AEGIS_PARAM_LABELS);
        assert_int_equal(p->type == AEGIS_PARAM_ENUM, p->values[0] != '\0');
        assert_true(strlen(aegis_param_type_name(p->type)) > 0);

        q = i > 0 ? aegis_action_param(i - 1) : NULL;
        assert_true(q == NULL || q->action <= p->action);
        assert_true(q == NULL || q->action != p->action || strcmp(q->name, p->name) != 0);
    }

    assert_null(aegis_action(AEGIS_N_ACTIONS));
    assert_int_equal(aegis_action_find("nobody.does"), AEGIS_N_ACTIONS);
}


static void
test_params(void **state)
{
    int             ok;
    size_t          i;
    json_t         *v;
    const json_t   *first;
    aegis_error_t   err;

    static const struct {
        const char  *action;
        const char  *params;            /* NULL: absent */
        const char  *pointer;           /* NULL: it fits */
    } cases[] = {
        { "echo", NULL, NULL },
        { "echo", "{}", NULL },
        { "echo", "{'message':''}", NULL },
        { "echo", "{'message':7}", "/p/message" },
        { "echo", "{'message':'m','x':1}", "/p/x" },
        { "echo", "[]", "/p" },
        { "script.exec", NULL, "/p" },
        { "script.exec", "{}", "/p/script" },
        { "script.exec", "{'script':'a.sh'}", NULL },
        { "script.exec", "{'script':'a/b'}", "/p/script" },
        { "script.exec", "{'script':'..'}", "/p/script" },
        { "script.exec", "{'script':''}", "/p/script" },
        { "script.exec", "{'script':'a.sh','args':['',';x','$(x)']}", NULL },
        { "script.exec", "{'script':'a.sh','args':'x'}", "/p/args" },
        { "script.exec", "{'script':'a.sh','args':['a',1]}", "/p/args/1" },
    };

    for (i = 0; i < AEGIS_UNIT_N(cases); i++) {
        err = (aegis_error_t) AEGIS_ERROR_INIT;
        v = cases[i].params ? aegis_unit_json(cases[i].params) : NULL;
        ok = aegis_action_check(aegis_action_find(cases[i].action), v, "/p", &err);
        first = json_array_get(err.errors, 0);

        if (ok != (cases[i].pointer == NULL)
            || strcmp(aegis_json_str(first, "pointer"),
                      cases[i].pointer ? cases[i].pointer : "") != 0)
        {
            fail_msg("%s %s: %d %s", cases[i].action, cases[i].params ? cases[i].params : "",
                     ok, aegis_json_str(first, "pointer"));
        }

        aegis_error_clear(&err);
        json_decref(v);
    }
}


int
main(void)
{
    const struct CMUnitTest  tests[] = {
        AEGIS_TEST("every action and parameter of the table is sound", test_rows),
        AEGIS_TEST("parameters are checked against the table", test_params),
    };

    return AEGIS_UNIT_RUN(tests);
}
