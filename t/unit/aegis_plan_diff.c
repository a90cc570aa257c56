/*
 * aegis_plan_diff.c: unit tests of the difference of two plans: it is what is
 * written, and applied to the first one it gives the second one.
 */
#include "aegis_unit.h"

#include "aegis_check.h"
#include "aegis_plan_diff.h"


/* The parent of what path names in root, and its last part unescaped in name. */
static json_t *
parent(json_t *root, const char *path, char name[AEGIS_CHECK_POINTER])
{
    char        *d;
    json_t      *at;
    const char  *s;

    for (at = root, s = path; *s == '/'; /* void */ ) {
        for (d = name, s++; *s && *s != '/'; s++) {
            *d++ = *s != '~' ? *s : *++s == '0' ? '~' : '/';
        }
        *d = '\0';

        if (*s == '/') {
            at = json_is_array(at) ? json_array_get(at, (size_t) atoi(name))
                                   : json_object_get(at, name);
        }
    }

    return at;
}


static void
apply(json_t **root, const json_t *op)
{
    char         name[AEGIS_CHECK_POINTER];
    size_t       i;
    json_t      *at, *value;
    const char  *what, *path;

    what = aegis_json_str(op, "op");
    path = aegis_json_str(op, "path");
    value = json_object_get(op, "value");

    if (*path == '\0') {
        json_decref(*root);
        *root = json_deep_copy(value);
        return;
    }

    at = parent(*root, path, name);
    assert_non_null(at);
    i = (size_t) atoi(name);

    if (json_is_object(at)) {
        if (strcmp(what, "remove") == 0) {
            assert_int_equal(json_object_del(at, name), 0);
        } else {
            json_object_set_new(at, name, json_deep_copy(value));
        }
    } else if (strcmp(what, "remove") == 0) {
        assert_int_equal(json_array_remove(at, i), 0);
    } else if (strcmp(what, "add") == 0) {
        assert_int_equal(json_array_insert_new(at, i, json_deep_copy(value)), 0);
    } else {
        assert_int_equal(json_array_set_new(at, i, json_deep_copy(value)), 0);
    }
}


static void
test_diff(void **state)
{
    size_t   i, k;
    json_t  *was, *is, *ops, *expected;

    static const struct {
        const char  *was;
        const char  *is;
        const char  *ops;           /* NULL: only that they lead there */
    } cases[] = {
        { "{'a':1}", "{'a':1}", "[]" },
        { "{'a':1,'b':2}", "{'a':2,'c':3}", "[{'op':'replace','path':'/a','value':2,'was':1},"
          "{'op':'remove','path':'/b','was':2},{'op':'add','path':'/c','value':3}]" },
        { "{'s':[1,2,3]}", "{'s':[1,3]}", "[{'op':'remove','path':'/s/1','was':2}]" },
        { "{'s':[1,3]}", "{'s':[1,2,3]}", "[{'op':'add','path':'/s/1','value':2}]" },
        { "{'s':[]}", "{'s':[1,2]}", NULL },
        { "{'s':[1,2,3,4]}", "{'s':[]}", NULL },
        { "{'s':[1,1,1]}", "{'s':[1,1]}", NULL },
        { "{'s':[1,1]}", "{'s':[1,1,1,1]}", NULL },
        { "{'s':[{'x':1},{'y':2},{'z':3}]}", "{'s':[{'x':2},{'n':0},{'y':2},{'z':3}]}", NULL },
        { "{'s':[{'action':'a','params':{'p':[1,2]}},9]}",
          "{'s':[{'action':'a','params':{'p':[2]}},9]}",
          "[{'op':'remove','path':'/s/0/params/p/0','was':1}]" },
        { "{'s':[1]}", "{'s':{'a':1}}", NULL },
        { "{'s':[1,2,3,4,5]}", "{'s':[9,2,8,7]}", NULL },
        { "{'a~b/c':1,'':2}", "{'a~b/c':3,'':4}", NULL },
        { "null", "{'a':1}", "[{'op':'replace','path':'','value':{'a':1},'was':null}]" }
    };

    for (i = 0; i < AEGIS_UNIT_N(cases); i++) {
        was = aegis_unit_json(cases[i].was);
        is = aegis_unit_json(cases[i].is);
        ops = aegis_plan_diff(was, is);

        if (cases[i].ops) {
            expected = aegis_unit_json(cases[i].ops);
            if (!json_equal(ops, expected)) {
                fail_msg("%s to %s: %s", cases[i].was, cases[i].is, aegis_json_text(ops));
            }
            json_decref(expected);
        }

        for (k = 0; k < json_array_size(ops); k++) {
            apply(&was, json_array_get(ops, k));
        }

        if (!json_equal(was, is)) {
            fail_msg("%s: %s", cases[i].is, aegis_json_text(ops));
        }

        json_decref(ops);
        json_decref(was);
        json_decref(is);
    }
}


/* Names that no pointer has room for: what is around them is replaced. */
static void
test_long_names(void **state)
{
    char     name[300], text[400];
    size_t   len, k;
    json_t  *was, *is, *ops;

    for (len = 240; len < 260; len++) {
        memset(name, 'x', len);
        name[len] = '\0';

        snprintf(text, sizeof(text), "{'p':{'%s':1,'q':[1]}}", name);
        was = aegis_unit_json(text);
        snprintf(text, sizeof(text), "{'p':{'%s':2,'q':[1,2]}}", name);
        is = aegis_unit_json(text);

        ops = aegis_plan_diff(was, is);
        assert_int_equal(json_array_size(ops), len + 4 <= AEGIS_CHECK_POINTER ? 2 : 1);
        for (k = 0; k < json_array_size(ops); k++) {
            apply(&was, json_array_get(ops, k));
        }
        assert_true(json_equal(was, is));

        json_decref(ops);
        json_decref(was);
        json_decref(is);
    }
}


int
main(void)
{
    const struct CMUnitTest  tests[] = {
        AEGIS_TEST("the difference leads from one plan to the other", test_diff),
        AEGIS_TEST("a name that no pointer holds is replaced with what is around it",
                   test_long_names)
    };

    return AEGIS_UNIT_RUN(tests);
}
