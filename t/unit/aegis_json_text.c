/*
 * aegis_json_text.c: unit tests of the writer of JSON. jansson's own, with the same
 * flags, is the oracle: every byte must be its byte.
 */
#include "aegis_unit.h"

#include "aegis_json.h"


static void
same(const json_t *json)
{
    char    *got, *want;
    json_t  *again;

    got = aegis_json_text(json);
    want = json_dumps(json, JSON_COMPACT | JSON_ENCODE_ANY | JSON_REAL_PRECISION(15));
    assert_non_null(want);
    assert_string_equal(got, want);
    free(got);
    free(want);

    /* read again, each number has the one form */
    got = aegis_json_text_sorted(json);
    again = json_loads(got, JSON_DECODE_ANY | JSON_ALLOW_NUL, NULL);
    want = json_dumps(again, JSON_COMPACT | JSON_ENCODE_ANY | JSON_SORT_KEYS
                            | JSON_REAL_PRECISION(15));
    assert_string_equal(got, want);
    json_decref(again);
    free(got);
    free(want);
}


static void
test_text(void **state)
{
    char    *text;
    json_t  *json;

    json = aegis_unit_json("{'b': 0.2, 'a': [1, 0.1, 1e300, true, null, 'x']}");
    text = aegis_json_text(json);
    assert_string_equal(text, "{\"b\":0.2,\"a\":[1,0.1,1e300,true,null,\"x\"]}");
    free(text);

    text = aegis_json_text_sorted(json);
    assert_string_equal(text, "{\"a\":[1,0.1,1e300,true,null,\"x\"],\"b\":0.2}");
    free(text);
    json_decref(json);

    json = aegis_unit_json("[1.0, 1e0, -0.0, 9007199254740992.0, -3e2, 9007199254740994.0, 1.5]");
    text = aegis_json_text_sorted(json);
    assert_string_equal(text, "[1,1,0,9007199254740992,-300,9.00719925474099e15,1.5]");
    free(text);
    json_decref(json);
}


static void
test_documents(void **state)
{
    size_t   i;
    json_t  *json;

    static const char *const  cases[] = {
        "{}", "[]", "[[]]", "{'a':{}}", "[{},[],'']", "{'':''}",
        "[0,-0,1,-1,9223372036854775807,-9223372036854775808]",
        "[0.0,-0.0,1.0,-1.5,1e-300,1e300,0.30000000000000004,123456789012345678.0]",
        "[true,false,null]", "{'b':1,'a':2,'B':3,'aa':4,'':5,'\xc3\xa9':6}",
        "{'z':{'y':[{'x':1,'w':{'v':[],'u':{}}}],'k':2},'a':1}",
        "['\xc3\xa9\xe4\xb8\xad\xf0\x9f\x98\x80', '\x7f', '/', '<&>']",
    };

    for (i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
        json = aegis_unit_json(cases[i]);
        same(json);
        json_decref(json);
    }
}


static void
test_strings(void **state)
{
    int      c;
    char     text[8];
    json_t  *json;

    for (c = 0; c < 0x80; c++) {
        text[0] = 'a';
        text[1] = (char) c;
        text[2] = (char) c;
        text[3] = 'b';
        json = json_stringn_nocheck(text, 4);
        same(json);
        json_decref(json);

        json = json_stringn_nocheck(text + 1, 1);
        same(json);
        json_decref(json);
    }

    same(json = json_string(""));
    json_decref(json);
}


static void
test_many_keys(void **state)
{
    int      i, n;
    char     key[16];
    json_t  *json;

    for (n = 0; n < 80; n++) {
        json = json_object();
        for (i = 0; i < n; i++) {
            snprintf(key, sizeof(key), "k%d", (i * 37) % 101);
            json_object_set_new(json, key, json_integer(i));
        }
        same(json);
        json_decref(json);
    }
}


static void
test_none(void **state)
{
    int      i;
    char    *text;
    json_t  *json, *in;

    assert_null(aegis_json_text(NULL));
    assert_null(aegis_json_text_sorted(NULL));

    json = json_pack("{s:o}", "a", json_stringn_nocheck("x\xff", 2));
    assert_null(aegis_json_text(json));
    json_decref(json);

    for (json = json_array(), i = 0; i < 256; i++) {
        in = json;
        json = json_array();
        json_array_append_new(json, in);
        if (i == 255) {
            assert_null(aegis_json_text(json = json_pack("[o]", json)));
        }
    }

    in = json_incref(json_array_get(json, 0));
    text = aegis_json_text(in);
    assert_non_null(text);
    assert_int_equal(strlen(text), 2 * 257);
    free(text);
    json_decref(in);
    json_decref(json);
}


int
main(void)
{
    const struct CMUnitTest  tests[] = {
        AEGIS_TEST("text is compact and keeps decimal fractions as written", test_text),
        AEGIS_TEST("documents are written as jansson writes them", test_documents),
        AEGIS_TEST("so is every ASCII character of a string", test_strings),
        AEGIS_TEST("so are objects of any size, sorted or not", test_many_keys),
        AEGIS_TEST("what is no JSON, or too deep, has no text", test_none)
    };

    return AEGIS_UNIT_RUN(tests);
}
