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


/* jansson is the oracle: what our reader takes it takes, and as the same. 1: it was taken. */
static int
alike(const char *text, size_t len)
{
    char    *a, *b;
    json_t  *json, *want;

    json = aegis_json_read((aegis_str_t) { len, text });
    if (json == NULL) {
        return 0;
    }

    want = json_loadb(text, len, JSON_REJECT_DUPLICATES, NULL);
    if (want == NULL || !json_equal(json, want)) {
        fail_msg("another value: %.*s", (int) len, text);
    }

    a = aegis_json_text(json);
    b = aegis_json_text(want);
    assert_string_equal(a, b);
    free(a);
    free(b);
    json_decref(json);
    json_decref(want);

    return 1;
}


static void
test_read(void **state)
{
    int     c;
    char    bad[320];
    size_t  i, k, n, taken;

    /* a byte changed anywhere, to any other */
    static const char *const  cases[] = {
        "{}", "[]", " [ ] ", "[[],{}]", "{\"a\":{\"b\":[1,2,{\"c\":null}]}}",
        "{\"n\":[0,-0,1,-12,123456789012345678,0.5,-1e3,1E-2,1.0],\"t\":[true,false,null]}",
        "{\"key\":\"va\\\"l\\\\ue\\/\\b\\f\\n\\r\\t\",\"u\":\"\\u0041\\u00e9\\u4e2d\\uffff\"}",
        "{\"long\":\"0123456789abcdef0123456789abcdef\",\"\xc3\xa9\":\"\xe4\xb8\xad\xf0\x9f\x98\x80 x\"}",
        "\t{ \"a\" : 1 ,\r\n\"b\" : [ \"x\" , \"\" ] , \"ab\" : { } }\n",
        "{\"a\":\"plain, then \\u00e9\xc3\xa9 and \\\"more\\\"\",\"b\":\"\\n\"}"
    };

    for (i = 0, taken = 0; i < AEGIS_UNIT_N(cases); i++) {
        n = strlen(cases[i]);
        assert_true(alike(cases[i], n));

        for (k = 0; k < n; k++) {
            (void) alike(cases[i], k);
            memcpy(bad, cases[i], n);
            for (c = 0; c < 256; c++) {
                bad[k] = (char) c;
                taken += (size_t) alike(bad, n);
            }
        }
    }
    assert_true(taken > 10000);

    /* a key that was there, an escape in one, a pair of halves: jansson's to read */
    assert_false(alike("{\"a\":1,\"a\":2}", 13));
    assert_false(alike("{\"a\\u0062\":1}", 13));
    assert_false(alike("[\"\\ud83d\\ude00\"]", 16));
    assert_int_equal(parse("{\"a\\u0062\":1}", 13), AEGIS_E_OK);
    assert_int_equal(parse("[\"\\ud83d\\ude00\"]", 16), AEGIS_E_OK);
}


int
main(void)
{
    const struct CMUnitTest  tests[] = {
        AEGIS_TEST("what is not our JSON is malformed and says where", test_refused),
        AEGIS_TEST("valid JSON gets through", test_accepted),
        AEGIS_TEST("our reader reads what jansson reads", test_read),
        AEGIS_TEST("nesting is bounded at 32", test_depth),
        AEGIS_TEST("a member that is no string reads as empty", test_getters),
        AEGIS_TEST("UTF-8 is decoded, counted and cut between characters", test_utf8)
    };

    return AEGIS_UNIT_RUN(tests);
}
