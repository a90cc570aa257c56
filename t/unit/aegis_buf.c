/*
 * aegis_buf.c: unit tests of growing text.
 */
#include "aegis_unit.h"

#include "aegis_buf.h"


static void
test_grows(void **state)
{
    int           i;
    char         *text;
    size_t        len;
    aegis_buf_t   buf = AEGIS_BUF_INIT;

    for (i = 0; i < 10000; i++) {
        aegis_buf_printf(&buf, "%d,", i % 10);
    }

    text = aegis_buf_take(&buf, &len);

    assert_int_equal(len, 20000);
    assert_int_equal(strlen(text), len);
    assert_memory_equal(text + 19996, "8,9,", 4);
    assert_null(buf.data);
    free(text);
}


static void
test_empty(void **state)
{
    char         *text;
    aegis_buf_t   buf = AEGIS_BUF_INIT;

    text = aegis_buf_take(&buf, NULL);
    assert_string_equal(text, "");
    free(text);
}


static void
test_limit(void **state)
{
    int           i;
    char          chunk[4096];
    aegis_buf_t   buf = AEGIS_BUF_INIT;

    memset(chunk, 'x', sizeof(chunk));

    for (i = 0; i < (int) (AEGIS_BUF_MAX / sizeof(chunk)) + 1; i++) {
        aegis_buf_add(&buf, chunk, sizeof(chunk));
    }

    assert_true(buf.failed);
    aegis_buf_puts(&buf, "more");
    assert_null(aegis_buf_take(&buf, NULL));
    assert_null(buf.data);
    assert_false(buf.failed);
}


static void
test_json(void **state)
{
    size_t        i;
    char         *text;
    json_t       *back;
    aegis_buf_t   buf = AEGIS_BUF_INIT;

    static const struct {
        const char  *in;
        const char  *out;
    } cases[] = {
        { "",                       "\"\"" },
        { "a\"b\\c/d",              "\"a\\\"b\\\\c/d\"" },
        { "\n\t\x01\x1f",           "\"\\u000a\\u0009\\u0001\\u001f\"" },
        { "\xe4\xb8\xad\xf0\x9f\x98\x80", "\"\xe4\xb8\xad\xf0\x9f\x98\x80\"" },
        { "a\xff" "b",              "\"a\\ufffdb\"" },
        { "\xc0\xaf",               "\"\\ufffd\\ufffd\"" },
        { "\xe4\xb8",               "\"\\ufffd\\ufffd\"" },
        { "\xed\xa0\x80",           "\"\\ufffd\\ufffd\\ufffd\"" }
    };

    for (i = 0; i < AEGIS_UNIT_N(cases); i++) {
        aegis_buf_json(&buf, aegis_view(cases[i].in));
        text = aegis_buf_take(&buf, NULL);
        assert_string_equal(text, cases[i].out);

        back = json_loads(text, JSON_DECODE_ANY, NULL);
        assert_non_null(back);
        json_decref(back);
        free(text);
    }
}


int
main(void)
{
    const struct CMUnitTest  tests[] = {
        AEGIS_TEST("a text grows as it is written", test_grows),
        AEGIS_TEST("an empty text is a text", test_empty),
        AEGIS_TEST("a text over the limit fails and stays failed until it is taken",
                   test_limit),
        AEGIS_TEST("any bytes become a valid JSON string", test_json)
    };

    return AEGIS_UNIT_RUN(tests);
}
