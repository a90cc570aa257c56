/*
 * aegis_yaml.c: unit tests of YAML under limits.
 */
#include "aegis_unit.h"

#include "aegis_json.h"
#include "aegis_yaml.h"


static void
test_values(void **state)
{
    size_t          i;
    json_t         *got, *expected;
    aegis_error_t   err = AEGIS_ERROR_INIT;

    static const struct {
        const char  *yaml;
        const char  *json;
    } cases[] = {
        { "a: 1\nb: [x, 'y', \"z\\n\"]\n", "{'a':1,'b':['x','y','z\\n']}" },
        { "{\"a\": {\"b\": [1, 2.5, true, null]}}", "{'a':{'b':[1,2.5,true,null]}}" },
        { "- -7\n- 1e3\n- .5\n- +3\n- '3'\n- 1.2.3\n- 0x1f\n- 1_000\n- .inf\n- -\n- 1-2\n",
          "[-7,1000.0,0.5,3,'3','1.2.3','0x1f','1_000','.inf',[null],'1-2']" },
        { "- ~\n- null\n- true\n- false\n- yes\n- No\n- 'null'\n- \"true\"\n- True\n",
          "[null,null,true,false,'yes','No','null','true','True']" },
        { "a:\nb: ''\n", "{'a':null,'b':''}" },
        { "t: |\n  two\n  lines\nf: >\n  one\n  line\n", "{'t':'two\\nlines\\n','f':'one line\\n'}" },
        { "# only\n", "null" },
        { "", "null" },
        { "---\na: 1\n...\n", "{'a':1}" },
        { "%YAML 1.2\n---\na: 1\n", "{'a':1}" },
        { "'a/b~': {1: x}\n", "{'a/b~':{'1':'x'}}" },
        { "\xe4\xb8\xad: \xe6\x96\x87\n", "{'\xe4\xb8\xad':'\xe6\x96\x87'}" },
        { "9223372036854775807", "9223372036854775807" }
    };

    for (i = 0; i < AEGIS_UNIT_N(cases); i++) {
        expected = aegis_unit_json(cases[i].json);

        if (aegis_yaml_to_json(aegis_view(cases[i].yaml), &got, &err) != AEGIS_E_OK) {
            fail_msg("%s: %s", cases[i].yaml, err.detail);
        }
        if (!json_equal(got, expected)) {
            fail_msg("%s", cases[i].yaml);
        }

        json_decref(got);
        json_decref(expected);
    }
}


static void
test_refused(void **state)
{
    size_t          i;
    json_t         *got;
    aegis_error_t   err = AEGIS_ERROR_INIT;

    static const struct {
        const char  *yaml;
        const char  *detail;
    } cases[] = {
        { "a: &x [1]\nb: *x\n", "1:4: an anchor" },
        { "b: *x\n", "1:4: an alias" },
        { "a: !!binary aGk=\n", "1:4: a tag" },
        { "a: !mine {b: 1}\n", "1:4: a tag" },
        { "a: 1\nb: 2\na: 3\n", "3:1: this key stands here twice" },
        { "? [1, 2]\n: x\n", "1:3: a key must be a plain name" },
        { "a: 1\n---\nb: 2\n", "2:1: more than one document" },
        { "a: [1, 2\n", "2:1: " },
        { "a:\n\t- 1\n", "2:1: " },
        { "a: \"\\0\"\n", "1:4: a value with a zero byte" },
        { "a: \xff\n", "1:1: " },
        { "\xff\xfe" "a:", "1:1: " },
        { "---\n...\n%TAG ! x\n---\na: 1\n", "3:1: a %TAG directive" },
        { "a: 1e999", "It has a number that is too large." },
        { "{}\n}", "2:1: " }
    };

    for (i = 0; i < AEGIS_UNIT_N(cases); i++) {
        if (aegis_yaml_to_json(aegis_view(cases[i].yaml), &got, &err) != AEGIS_E_MALFORMED_YAML
            || strncmp(err.detail, cases[i].detail, strlen(cases[i].detail)) != 0)
        {
            fail_msg("%s: %s", cases[i].yaml, err.detail);
        }
        aegis_error_clear(&err);
    }
}


/* n times s, with head before and tail behind. free() it. */
static char *
many(const char *head, const char *s, size_t n, const char *tail)
{
    char    *out, *p;

    out = p = malloc(strlen(head) + n * strlen(s) + strlen(tail) + 1);
    assert_non_null(out);
    p += sprintf(p, "%s", head);

    while (n--) {
        p += sprintf(p, "%s", s);
    }

    sprintf(p, "%s", tail);

    return out;
}


static void
refused(char *yaml, const char *detail)
{
    json_t         *got;
    aegis_error_t   err = AEGIS_ERROR_INIT;

    if (aegis_yaml_to_json(aegis_view(yaml), &got, &err) == AEGIS_E_OK
        || strstr(err.detail, detail) == NULL)
    {
        fail_msg("%.40s…: %s", yaml, err.detail);
    }

    aegis_error_clear(&err);
    free(yaml);
}


static void
test_limits(void **state)
{
    int     i, n;
    char   *yaml, *p;
    json_t *got;
    aegis_error_t  err = AEGIS_ERROR_INIT;

    refused(many("", "[", 33, ""), "nested too deep");
    refused(many("", "[", 900000, ""), "nested too deep");
    refused(many("", "- ", 33, "x"), "nested too deep");
    refused(many("", "{a: ", 500, "x"), "nested too deep");
    refused(many("", "- x\n", 20001, ""), "too many nodes");
    refused(many("[", "a,", 300000, ""), "too many nodes");
    refused(many("", "- x\n", 300000, ""), "more than 1048576 bytes");

    /* the billion laughs */
    refused(many("a: &a [x,x,x]\nb: &b [*a,*a,*a]\nc: [", "*b,", 999, "]\n"),
            "an anchor");

    p = many("", "]", 32, "");
    yaml = many("[", "[", 31, p);
    free(p);
    assert_int_equal(aegis_yaml_to_json(aegis_view(yaml), &got, &err), AEGIS_E_OK);
    assert_int_equal(aegis_json_depth(got, 64), 32);
    json_decref(got);
    free(yaml);

    for (n = AEGIS_YAML_MAX_MEMBERS; n <= AEGIS_YAML_MAX_MEMBERS + 1; n++) {
        yaml = p = malloc(20 * (size_t) n);
        for (i = 0; i < n; i++) {
            p += sprintf(p, "k%d: %d\n", i, i);
        }
        assert_int_equal(aegis_yaml_to_json(aegis_view(yaml), &got, &err),
                         n > AEGIS_YAML_MAX_MEMBERS ? AEGIS_E_MALFORMED_YAML : AEGIS_E_OK);
        if (n == AEGIS_YAML_MAX_MEMBERS) {
            assert_int_equal(json_object_size(got), n);
            json_decref(got);
        }
        aegis_error_clear(&err);
        free(yaml);
    }
}


static void
test_places(void **state)
{
    aegis_yaml_t   *doc;
    aegis_error_t   err = AEGIS_ERROR_INIT;

    assert_int_equal(aegis_yaml_parse(aegis_view("a: 1\nb:\n  c: [x,\n   y]\n"), &doc, &err),
                     AEGIS_E_OK);
    assert_int_equal(doc->kind, AEGIS_YAML_MAP);
    assert_string_equal(doc->items[1].key, "b");
    assert_int_equal(doc->items[1].line, 2);
    assert_int_equal(doc->items[1].items[0].line, 3);
    assert_int_equal(doc->items[1].items[0].column, 3);
    assert_string_equal(doc->items[1].items[0].items[1].text, "y");
    assert_int_equal(doc->items[1].items[0].items[1].line, 4);
    assert_true(doc->items[0].plain);
    aegis_yaml_free(doc);
    aegis_yaml_free(NULL);
}


static void
test_lines(void **state)
{
    static const struct { const char *pointer, *said; } cases[] = {
        { "/rules/1/max",      "no (line 5)" },
        { "/rules/1/bogus",    "no (line 5)" },
        { "/rules/7/max",      "no (line 2)" },
        { "/a~1b/c~0d",        "no (line 7)" },
        { "/a~1b/c~0d/e/f",    "no (line 7)" },
        { "/x",                "no (line 1)" },
        { "",                  "no (line 1)" },
        { "/",                 "no (line 1)" },
    };
    static const char  yaml[] = "version: 1\nrules:\n  - id: x\n    max: 1\n"
                                "  - max: 2\na/b:\n  c~d: [1]\n";
    aegis_error_t      err = AEGIS_ERROR_INIT;
    size_t             i;

    for (i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
        aegis_error_at(&err, cases[i].pointer, "no");
    }
    aegis_yaml_lines(aegis_view(yaml), &err);
    for (i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
        assert_string_equal(aegis_json_str(json_array_get(err.errors, i), "detail"), cases[i].said);
    }
    aegis_error_clear(&err);

    aegis_error_at(&err, "/x", "no");
    aegis_yaml_lines(aegis_view("x: ["), &err);
    assert_string_equal(aegis_json_str(json_array_get(err.errors, 0), "detail"), "no");
    aegis_error_clear(&err);
}


int
main(void)
{
    const struct CMUnitTest  tests[] = {
        AEGIS_TEST("values are those of the core schema", test_values),
        AEGIS_TEST("what is refused is named with its place", test_refused),
        AEGIS_TEST("a fault in what was read says its line", test_lines),
        AEGIS_TEST("size, depth, nodes and members are bounded, aliases refused",
                   test_limits),
        AEGIS_TEST("nodes know where they stood", test_places)
    };

    return AEGIS_UNIT_RUN(tests);
}
