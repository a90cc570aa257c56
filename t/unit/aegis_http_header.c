/*
 * aegis_http_header.c: unit tests of the conditional and negotiation headers.
 */
#include "aegis_unit.h"

#include "aegis_http.h"


static void
test_if_match(void **state)
{
    char          out[16];
    size_t        i;
    aegis_code_t  code;

    static const struct {
        const char  *header;
        const char  *out;           /* NULL: malformed */
    } cases[] = {
        { "*", "*" }, { " * ", "*" },
        { "\"3\"", "3" }, { " \"3\" ", "3" }, { "\"3\", \"5\"", "3,5" },
        { "\"3\",\"5\"", "3,5" }, { ",, \"3\" ,\t, \"5\" ,", "3,5" },
        { "W/\"3\"", "" }, { "W/\"3\", \"5\"", "5" }, { "\"\"", "" },
        { "\"abc\", \"5\"", "5" }, { "\"3,5\"", "" }, { "\"03\"", "" }, { "\"0\"", "" },
        { "\"-3\"", "" }, { "\"3 \"", NULL }, { "\"\xc3\xa9\"", "" },
        { "\"12345678901\"", "" }, { "\"2147483647\"", "2147483647" },
        { "", "" }, { ",", "" },
        { "3", NULL }, { "\"3", NULL }, { "3\"", NULL }, { "\"3\" \"5\"", NULL },
        { "\"3\";", NULL }, { "*, \"3\"", NULL }, { "\"3\", *", NULL }, { "**", NULL },
        { "w/\"3\"", NULL }, { "W/3", NULL }, { "W/", NULL }, { "W /\"3\"", NULL },
        { "\"\x01\"", NULL }, { "\"\x7f\"", NULL }, { "'3'", NULL },
        { "\"1111\",\"2222\",\"3333\"", "1111,2222,3333" },
        { "\"1111\",\"2222\",\"33333\"", "1111,2222,33333" },
        { "\"1111\",\"2222\",\"333333\"", NULL }
    };

    for (i = 0; i < AEGIS_UNIT_N(cases); i++) {
        code = aegis_http_condition(aegis_view(cases[i].header), AEGIS_NO_STR,
                                    out, sizeof(out));

        if (code != (cases[i].out ? AEGIS_E_OK : AEGIS_E_PRECOND_INVALID)) {
            fail_msg("%s gives %d", cases[i].header, (int) code);
        }
        if (cases[i].out) {
            assert_string_equal(out, cases[i].out);
        }
    }

    assert_int_equal(aegis_http_condition((aegis_str_t) { 4, "\"3\0\"" }, AEGIS_NO_STR,
                                          out, sizeof(out)),
                     AEGIS_E_PRECOND_INVALID);
}


static void
test_condition(void **state)
{
    char          out[16];
    size_t        i;
    aegis_str_t   match, none;
    aegis_code_t  code;

    static const struct {
        const char  *match;         /* NULL: not there */
        const char  *none;
        const char  *out;           /* NULL: malformed */
    } cases[] = {
        { NULL, NULL, "*" },
        { NULL, "*", "" }, { NULL, "\"3\"", "!3" }, { NULL, "W/\"3\", \"5\"", "!3,!5" },
        { NULL, "\"abc\"", "*" }, { NULL, "", "*" }, { NULL, "3", NULL },
        { "*", "\"3\"", "!3" }, { "*", "*", "" }, { "\"3\"", "*", "" },
        { "\"3\", \"5\"", "\"3\"", "5" }, { "\"3\", \"5\"", "W/\"5\"", "3" },
        { "\"3\"", "\"3\"", "" }, { "\"33\"", "\"3\"", "33" }, { "\"3\"", "\"33\"", "3" },
        { "\"3\"", "3", NULL }, { "3", "\"3\"", NULL }, { "W/\"3\"", "\"4\"", "" },
        { NULL, "\"1111\",\"2222\",\"33\"", "!1111,!2222,!33" },
        { NULL, "\"1111\",\"2222\",\"333\"", NULL }
    };

    for (i = 0; i < AEGIS_UNIT_N(cases); i++) {
        match = cases[i].match ? aegis_view(cases[i].match) : AEGIS_NO_STR;
        none = cases[i].none ? aegis_view(cases[i].none) : AEGIS_NO_STR;
        code = aegis_http_condition(match, none, out, sizeof(out));

        if (code != (cases[i].out ? AEGIS_E_OK : AEGIS_E_PRECOND_INVALID)) {
            fail_msg("case %d gives %d", (int) i, (int) code);
        }
        if (cases[i].out) {
            assert_string_equal(out, cases[i].out);
        }
    }
}


static void
test_etag_match(void **state)
{
    int          weak;
    size_t       i;
    aegis_str_t  tag = aegis_str("3");

    static const struct {
        const char  *header;
        int          rc[2];         /* strong, weak */
    } cases[] = {
        { "*", { 1, 1 } }, { "\"3\"", { 1, 1 } }, { "W/\"3\"", { 0, 1 } },
        { "\"1\", W/\"3\"", { 0, 1 } }, { "W/\"3\", \"3\"", { 1, 1 } },
        { "\"4\"", { 0, 0 } }, { "\"03\"", { 0, 0 } }, { "\"33\"", { 0, 0 } },
        { "", { 0, 0 } }, { "\"x\"", { 0, 0 } },
        { "3", { -1, -1 } }, { "\"3\" x", { -1, -1 } }, { "\"3\", \"", { -1, -1 } },
        { "*, *", { -1, -1 } }
    };

    for (i = 0; i < AEGIS_UNIT_N(cases); i++) {
        for (weak = 0; weak < 2; weak++) {
            if (aegis_http_etag_match(aegis_view(cases[i].header), tag, weak)
                != cases[i].rc[weak])
            {
                fail_msg("%s is not %d", cases[i].header, cases[i].rc[weak]);
            }
        }
    }

    assert_int_equal(aegis_http_etag_match(AEGIS_NO_STR, tag, 1), 0);
}


static void
test_accept(void **state)
{
    size_t  i;

    static const struct {
        const char  *header;
        int          ok;
    } cases[] = {
        { "application/json", 1 }, { "APPLICATION/JSON", 1 }, { "*/*", 1 },
        { "application/*", 1 }, { "application/problem+json", 1 },
        { "text/html, application/json;q=0.1", 1 },
        { "text/html,application/xhtml+xml,application/xml;q=0.9,*/*;q=0.8", 1 },
        { "application/json;charset=utf-8", 1 },
        { "application/json ; q=0.001", 1 }, { "", 1 }, { "  ", 1 }, { ",", 1 },
        { "text/html;x=\"a,b\", application/json", 1 },
        { "application/json;q=0, application/problem+json", 1 },
        { "*/*;q=0, application/json", 1 }, { "application/json;q=1.000", 1 },
        { "broken, application/json", 1 },
        { "text/html", 0 }, { "application/json;q=0", 0 }, { "*/*;q=0", 0 },
        { "application/*;q=0, */*", 0 },
        { "*/*, application/json;q=0, application/problem+json;q=0.0", 0 },
        { "application/jsonx", 0 }, { "application/xml, text/*", 0 },
        { "json", 0 }, { "application/json;q=2", 0 }, { "application/json;q=x", 0 },
        { "*/json", 0 }, { "application/json;q=\"", 0 }
    };

    for (i = 0; i < AEGIS_UNIT_N(cases); i++) {
        if (aegis_http_accepts_json(aegis_view(cases[i].header)) != cases[i].ok) {
            fail_msg("%s is not %d", cases[i].header, cases[i].ok);
        }
    }

    assert_true(aegis_http_accepts_json(AEGIS_NO_STR));
}


static void
test_content_type(void **state)
{
    size_t  i;

    static const struct {
        const char  *header;
        int          ok;
    } cases[] = {
        { "application/json", 1 }, { "Application/JSON", 1 },
        { "application/json; charset=utf-8", 1 },
        { "application/json;charset=UTF-8", 1 },
        { "application/json ; Charset=\"utf-8\"", 1 }, { "application/json;", 1 },
        { " application/json ", 1 },
        { "application/json; charset=latin1", 0 }, { "application/json; version=1", 0 },
        { "application/json; charset", 0 }, { "application/json; charset=", 0 },
        { "application/json; charset=\"utf-8", 0 }, { "application/json, text/html", 0 },
        { "application/jsonp", 0 }, { "application/problem+json", 0 },
        { "application/merge-patch+json", 0 }, { "text/json", 0 }, { "application", 0 },
        { "application/", 0 }, { "application / json", 0 }, { "", 0 },
        { "application/json x", 0 }, { "multipart/form-data; boundary=x", 0 }
    };

    for (i = 0; i < AEGIS_UNIT_N(cases); i++) {
        if (aegis_http_is_json(aegis_view(cases[i].header)) != cases[i].ok) {
            fail_msg("%s is not %d", cases[i].header, cases[i].ok);
        }
    }

    assert_false(aegis_http_is_json(AEGIS_NO_STR));
}


static void
test_openmetrics(void **state)
{
    size_t  i;

    static const struct {
        const char  *header;
        int          ok;
    } cases[] = {
        { "", 0 }, { "*/*", 0 }, { "text/plain", 0 }, { "application/*", 0 },
        { "application/openmetrics-text", 1 }, { "APPLICATION/OpenMetrics-Text; version=1.0.0", 1 },
        { "application/openmetrics-text;q=0", 0 }, { "application/openmetrics-text;q=2", 0 },
        { "text/plain;q=0.5, application/openmetrics-text;q=0.4", 0 },
        { "text/plain;q=0.5, application/openmetrics-text;q=0.5", 1 },
        { "text/plain, application/openmetrics-text;q=0.4, application/openmetrics-text", 1 },
        { "application/openmetrics-text;version=1.0.0,application/openmetrics-text;"
          "version=0.0.1;q=0.75,text/plain;version=0.0.4;q=0.5,*/*;q=0.1", 1 },
        { "nonsense, application/openmetrics-text", 1 }, { "application/openmetrics-textual", 0 }
    };

    for (i = 0; i < AEGIS_UNIT_N(cases); i++) {
        if (aegis_http_accepts_openmetrics(aegis_view(cases[i].header)) != cases[i].ok) {
            fail_msg("not %d: %s", cases[i].ok, cases[i].header);
        }
    }

    assert_false(aegis_http_accepts_openmetrics(AEGIS_NO_STR));
}


int
main(void)
{
    const struct CMUnitTest  tests[] = {
        AEGIS_TEST("If-Match gives the strong tags that can be versions", test_if_match),
        AEGIS_TEST("the two conditions of a write become one", test_condition),
        AEGIS_TEST("If-None-Match compares weakly, If-Match strongly", test_etag_match),
        AEGIS_TEST("Accept refuses only when no form of ours is left", test_accept),
        AEGIS_TEST("Content-Type is JSON in UTF-8 and nothing else", test_content_type),
        AEGIS_TEST("OpenMetrics for who names it", test_openmetrics)
    };

    return AEGIS_UNIT_RUN(tests);
}
