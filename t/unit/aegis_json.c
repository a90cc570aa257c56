/*
 * aegis_json.c: unit tests of the one door for JSON: what is refused, what
 * gets through, and UTF-8.
 */
#include "aegis_unit.h"

#include "aegis_json.h"


static aegis_code_t
parse(const char *text, size_t len)
{
    json_t         *json;
    aegis_code_t    code;
    aegis_error_t   err = AEGIS_ERROR_INIT;

    code = aegis_json_parse((aegis_str_t) { len, text }, &json, &err);

    if (code == AEGIS_E_OK) {
        json_decref(json);
    } else {
        assert_int_equal(err.code, code);
        assert_true(err.detail[0] != '\0');
    }

    aegis_error_clear(&err);

    return code;
}


static void
test_refused(void **state)
{
    size_t  i;

    static const char *const  cases[] = {
        "", " ", "{", "}", "[", "{\"a\":}", "{\"a\" 1}", "{a:1}", "{'a':1}",
        "{\"a\":1,}", "[1,]", "[,1]", "{\"a\":1}x", "{} {}", "[1]]",
        "{\"a\":1,\"a\":2}", "{\"a\":{\"b\":1,\"b\":1}}",
        "null", "true", "1", "\"text\"",
        "{\"a\":01}", "{\"a\":+1}", "{\"a\":.5}", "{\"a\":1.}", "{\"a\":1e}",
        "{\"a\":NaN}", "{\"a\":Infinity}", "{\"a\":0x10}", "{\"a\":-}",
        "{\"a\":99999999999999999999}", "{\"a\":-99999999999999999999}",
        "{\"a\":1e400}", "{\"a\":-1e400}",
        "{\"a\":1.7976931348623157e308}", "[{\"a\":[-1.797693134862315e308]}]",
        "{\"a\":\"\t\"}", "{\"a\":\"\n\"}", "{\"a\":\"\x01\"}",
        "{\"a\":\"\\x41\"}", "{\"a\":\"\\u12\"}", "{\"a\":\"\\\"}",
        "{\"a\":\"\\u0000\"}", "{\"\\u0000\":1}",
        "{\"a\":\"\\ud800\"}", "{\"a\":\"\\udc00\"}", "{\"a\":\"\\ud800\\u0041\"}",
        "{\"a\":\"\xff\"}", "{\"a\":\"\xc0\xaf\"}", "{\"a\":\"\xed\xa0\x80\"}",
        "{\"a\":\"\xf4\x90\x80\x80\"}", "{\"\xfe\":1}",
        "\xef\xbb\xbf{}", "/* x */{}", "{}//", "{\"a\":tru}", "{\"a\":TRUE}",
        "{\"a\":\"unterminated}"
    };

    for (i = 0; i < AEGIS_UNIT_N(cases); i++) {
        if (parse(cases[i], strlen(cases[i])) != AEGIS_E_MALFORMED_JSON) {
            fail_msg("got through: %s", cases[i]);
        }
    }

    /* NUL bytes: between tokens, behind a number, in a string, behind the document */
    assert_int_equal(parse("{\"a\":\0 1}", 9), AEGIS_E_MALFORMED_JSON);
    assert_int_equal(parse("{\"a\":1\0}", 8), AEGIS_E_MALFORMED_JSON);
    assert_int_equal(parse("{\"a\":\"\0\"}", 9), AEGIS_E_MALFORMED_JSON);
    assert_int_equal(parse("{}\0", 3), AEGIS_E_MALFORMED_JSON);
    assert_int_equal(parse(NULL, 0), AEGIS_E_MALFORMED_JSON);
}


static void
test_accepted(void **state)
{
    size_t  i;

    static const char *const  cases[] = {
        "{}", "[]", " \t\r\n{ } \n", "{\"a\":1,\"A\":2}", "{\"\":0}",
        "{\"a\":9223372036854775807,\"b\":-9223372036854775808}",
        "{\"a\":1e308,\"b\":-0.0,\"c\":1E-5}",
        "{\"a\":1.79769313486231e308}", "{\"a\":[true,false,null]}",
        "{\"a\":\"\\\"\\\\\\/\\b\\f\\n\\r\\t\\u00e9\\ud83d\\ude00\"}",
        "{\"a\":\"\xe4\xb8\xad\xf0\x9f\x98\x80\x7f\"}"
    };

    for (i = 0; i < AEGIS_UNIT_N(cases); i++) {
        if (parse(cases[i], strlen(cases[i])) != AEGIS_E_OK) {
            fail_msg("was refused: %s", cases[i]);
        }
    }
}


static void
test_depth(void **state)
{
    int    n, i;
    char   text[4096], *p;

    for (n = 1; n <= 1000; n = n == 34 ? 1000 : n + 1) {
        p = text;

        for (i = 0; i < n; i++) {
            *p++ = '[';
        }
        for (i = 0; i < n; i++) {
            *p++ = ']';
        }

        assert_int_equal(parse(text, (size_t) (p - text)),
                         n <= AEGIS_BODY_MAX_DEPTH ? AEGIS_E_OK
                                                   : AEGIS_E_MALFORMED_JSON);
    }

    /* objects count as well, and the deepest branch decides */
    p = text;
    p += sprintf(p, "{\"x\":[1],\"y\":");
    for (i = 0; i < AEGIS_BODY_MAX_DEPTH; i++) {
        p += sprintf(p, "{\"a\":");
    }
    p += sprintf(p, "1");
    for (i = 0; i < AEGIS_BODY_MAX_DEPTH + 1; i++) {
        *p++ = '}';
    }
    assert_int_equal(parse(text, (size_t) (p - text)), AEGIS_E_MALFORMED_JSON);
}


static void
test_getters(void **state)
{
    json_t  *json;

    json = aegis_unit_json("{'s': 'x', 'n': 1}");
    assert_string_equal(aegis_json_str(json, "s"), "x");
    assert_string_equal(aegis_json_str(json, "n"), "");
    assert_string_equal(aegis_json_str(json, "absent"), "");
    assert_string_equal(aegis_json_str(NULL, "s"), "");
    json_decref(json);
}


static void
test_utf8(void **state)
{
    uint32_t  cp;

    assert_int_equal(aegis_utf8_next("\xf0\x9f\x98\x80", 4, &cp), 4);
    assert_int_equal(cp, 0x1f600);
    assert_int_equal(aegis_utf8_next("\xf0\x9f\x98", 3, &cp), 0);
    assert_int_equal(aegis_utf8_next("\x80", 1, &cp), 0);
    assert_int_equal(aegis_utf8_next("\xe0\x80\x80", 3, &cp), 0);
    assert_int_equal(aegis_utf8_next("\xf5\x80\x80\x80", 4, &cp), 0);
    assert_int_equal(aegis_utf8_next("", 0, &cp), 0);

    assert_int_equal(aegis_utf8_count("a\xc3\xa9\xe4\xb8\xad\xf0\x9f\x98\x80", 10), 4);

    assert_int_equal(aegis_utf8_cut("abc", 3, 5), 3);
    assert_int_equal(aegis_utf8_cut("abc", 3, 2), 2);
    assert_int_equal(aegis_utf8_cut("a\xe4\xb8\xad", 4, 3), 1);
    assert_int_equal(aegis_utf8_cut("a\xe4\xb8\xad", 4, 1), 1);
    assert_int_equal(aegis_utf8_cut("\xe4\xb8\xad", 3, 0), 0);

    assert_false(aegis_utf8_has_control("a\n\tb \xc2\xa0\xe4\xb8\xad", 9));
    assert_true(aegis_utf8_has_control("\r", 1));
    assert_true(aegis_utf8_has_control("\x7f", 1));
    assert_true(aegis_utf8_has_control("\xc2\x85", 2));
    assert_true(aegis_utf8_has_control("\x1b[0m", 4));
}


int
main(void)
{
    const struct CMUnitTest  tests[] = {
        AEGIS_TEST("what is not our JSON is malformed and says where", test_refused),
        AEGIS_TEST("valid JSON gets through", test_accepted),
        AEGIS_TEST("nesting is bounded at 32", test_depth),
        AEGIS_TEST("a member that is no string reads as empty", test_getters),
        AEGIS_TEST("UTF-8 is decoded, counted and cut between characters", test_utf8)
    };

    return AEGIS_UNIT_RUN(tests);
}
