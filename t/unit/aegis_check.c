/*
 * aegis_check.c: unit tests of the schema rules that bodies, plans and
 * policies share.
 */
#include "aegis_unit.h"

#include "aegis_check.h"

static const char *const  names[] = { "a", "b", NULL };

enum { STRING, ENUM, INT, NUMBER, BOOL, OBJECT, ARRAY, WORD };


static int
check(int rule, const json_t *v, aegis_error_t *err)
{
    switch (rule) {
    case STRING:
        return aegis_check_string(v, 1, 3, "/x", err);
    case ENUM:
        return aegis_check_enum(v, names, "/x", err);
    case INT:
        return aegis_check_int(v, 1, 10, "/x", err);
    case NUMBER:
        return aegis_check_number(v, 0, 1, "/x", err);
    case BOOL:
        return aegis_check_bool(v, "/x", err);
    case OBJECT:
        return aegis_check_object(v, names, "/x", err);
    case ARRAY:
        return aegis_check_array(v, 1, 2, "/x", err);
    default:
        return aegis_check_word(v, 8, "/x", err);
    }
}


static void
test_rules(void **state)
{
    int             ok;
    size_t          i;
    json_t         *v;
    aegis_error_t   err = AEGIS_ERROR_INIT;

    static const struct {
        int          rule;
        const char  *value;
        int          ok;
    } cases[] = {
        { STRING, "'abc'", 1 }, { STRING, "''", 0 }, { STRING, "'abcd'", 0 },
        { STRING, "'\xe4\xb8\xad\xe4\xb8\xad\xe4\xb8\xad'", 1 }, { STRING, "'\\r'", 0 },
        { STRING, "'\\n\\t'", 1 }, { STRING, "1", 0 }, { STRING, "null", 0 },
        { ENUM, "'a'", 1 }, { ENUM, "'A'", 0 }, { ENUM, "'c'", 0 }, { ENUM, "1", 0 },
        { INT, "1", 1 }, { INT, "10", 1 }, { INT, "0", 0 }, { INT, "11", 0 },
        { INT, "1.0", 0 }, { INT, "'1'", 0 }, { INT, "true", 0 },
        { NUMBER, "0", 1 }, { NUMBER, "1", 1 }, { NUMBER, "0.5", 1 },
        { NUMBER, "-0.1", 0 }, { NUMBER, "1.01", 0 }, { NUMBER, "'0.5'", 0 },
        { BOOL, "true", 1 }, { BOOL, "false", 1 }, { BOOL, "0", 0 }, { BOOL, "'true'", 0 },
        { OBJECT, "{}", 1 }, { OBJECT, "{'a':1,'b':2}", 1 }, { OBJECT, "{'c':1}", 0 },
        { OBJECT, "[]", 0 },
        { ARRAY, "[1]", 1 }, { ARRAY, "[]", 0 }, { ARRAY, "[1,2,3]", 0 },
        { ARRAY, "{}", 0 },
        { WORD, "'a.B_-9'", 1 }, { WORD, "'.a'", 0 }, { WORD, "'a b'", 0 },
        { WORD, "'a/b'", 0 }, { WORD, "'123456789'", 0 }, { WORD, "''", 0 },
        { WORD, "'..'", 0 }
    };

    for (i = 0; i < AEGIS_UNIT_N(cases); i++) {
        v = aegis_unit_json(cases[i].value);
        ok = check(cases[i].rule, v, &err);

        if (ok != cases[i].ok || (err.code == AEGIS_E_SCHEMA) == ok) {
            fail_msg("rule %d says %d to %s", cases[i].rule, ok, cases[i].value);
        }

        aegis_error_clear(&err);
        json_decref(v);
    }
}


static void
test_absent(void **state)
{
    int             rule;
    aegis_error_t   err = AEGIS_ERROR_INIT;

    for (rule = STRING; rule <= WORD; rule++) {
        assert_int_equal(check(rule, NULL, &err), 0);
        assert_true(aegis_unit_error_at(&err, "/x"));
        aegis_error_clear(&err);
    }
}


int
main(void)
{
    const struct CMUnitTest  tests[] = {
        AEGIS_TEST("each rule takes what fits and names what does not", test_rules),
        AEGIS_TEST("a value that is absent fits no rule", test_absent)
    };

    return AEGIS_UNIT_RUN(tests);
}
