/*
 * aegis_split.c: unit tests of splits: what the setting may say, weights, the
 * file that nginx reads, and what is found in nginx's own dump.
 */
#include "aegis_unit.h"

#include "aegis_split.h"


static void
test_find(void **state)
{
    size_t          i;
    aegis_split_t   split;
    aegis_error_t   err = AEGIS_ERROR_INIT;

    static const char *const  good[] = { "", "  ", "a=b,c", "a=b,c d=e,f-1.x\n g=h,i,j,k,l,m,n,o" };
    static const char *const  bad[] = {
        "a", "a=", "a=b", "a=b,", "=b,c", "a=b,,c", "a-b=c,d", "a=b;c,d", "a=.b,c", "a=b,c\"",
        "a=1,2,3,4,5,6,7,8,9", "a=b,c x=y",
        "aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa=b,c"
    };

    for (i = 0; i < AEGIS_UNIT_N(good); i++) {
        assert_int_equal(aegis_split_find(good[i], NULL, &split, &err), 1);
    }
    for (i = 0; i < AEGIS_UNIT_N(bad); i++) {
        if (aegis_split_find(bad[i], NULL, &split, &err)) {
            fail_msg("was taken: %s", bad[i]);
        }
    }

    assert_int_equal(aegis_split_find("a=b,c d=e,f", "d", &split, &err), 1);
    assert_string_equal(split.name, "d");
    assert_int_equal(split.n, 2);
    assert_string_equal(split.group[1], "f");
    assert_int_equal(aegis_split_find("a=b,c d=e,f", "b", &split, &err), 0);
    assert_int_equal(aegis_split_find("", "a", &split, &err), 0);
    aegis_error_clear(&err);
}


static void
test_weights(void **state)
{
    size_t                  i;
    json_t                 *json;
    aegis_split_t           split;
    aegis_error_t           err = AEGIS_ERROR_INIT;
    aegis_split_weights_t   w;

    static const struct {
        const char  *text;
        int          sum[2];            /* -1: refused */
    } cases[] = {
        { "{'b':25,'c':75}", { 2500, 7500 } }, { "{'c':100}", { 0, 10000 } },
        { "{'b':0.01,'c':99.99}", { 1, 9999 } }, { "{'b':33.33,'c':66.67}", { 3333, 6667 } },
        { "{'b':0,'c':100.0}", { 0, 10000 } },
        { "{}", { -1, 0 } }, { "{'b':25}", { -1, 0 } }, { "{'b':100,'c':100}", { -1, 0 } },
        { "{'b':'100'}", { -1, 0 } }, { "{'b':100.001}", { -1, 0 } },
        { "{'b':-1,'c':101}", { -1, 0 } }, { "{'x':100}", { -1, 0 } },
        { "{'b':null,'c':100}", { -1, 0 } }, { "{'b':1e300}", { -1, 0 } }
    };

    assert_int_equal(aegis_split_find("a=b,c", "a", &split, &err), 1);

    for (i = 0; i < AEGIS_UNIT_N(cases); i++) {
        json = aegis_unit_json(cases[i].text);
        if (aegis_split_weights(&split, json, w, &err) != (cases[i].sum[0] >= 0)
            || (cases[i].sum[0] >= 0 && memcmp(w, cases[i].sum, sizeof(cases[i].sum)) != 0))
        {
            fail_msg("is judged wrongly: %s", cases[i].text);
        }
        json_decref(json);
    }

    assert_int_equal(aegis_split_all(&split, "c", w, &err), 1);
    assert_int_equal(w[1], AEGIS_SPLIT_WHOLE);
    assert_int_equal(aegis_split_all(&split, "d", w, &err), 0);
    aegis_error_clear(&err);
}


static void
test_file(void **state)
{
    char                   *text;
    json_t                 *what, *back, *w;
    aegis_split_t           split;
    aegis_error_t           err = AEGIS_ERROR_INIT;
    aegis_split_weights_t   weights = { 3333, 0, 6667 };

    assert_int_equal(aegis_split_find("shop=a,b,c,d", "shop", &split, &err), 1);
    w = aegis_split_json(&split, weights);
    what = json_pack("{s:s, s:o}", "id", "the-id", "weights", w);
    text = aegis_split_render(&split, weights, "$request_id", what);
    assert_non_null(text);

    assert_non_null(strstr(text, "split_clients \"$request_id\" $gateway_shop {\n"
                                 "    33.33%  a;\n    *  c;\n}\n"));
    assert_non_null(strstr(text, "map $server_port $gateway_shop_id {\n    default \"the-id\";"));

    back = aegis_split_read(text);
    assert_int_equal(json_equal(what, back), 1);
    json_decref(back);
    free(text);

    /* a value can be no end of the comment */
    json_object_set_new(what, "run", json_string("x\n} server { listen 1; }"));
    text = aegis_split_render(&split, weights, "$request_id", what);
    assert_null(strstr(text, "\n} server"));
    free(text);
    json_decref(what);

    assert_null(aegis_split_read(""));
    assert_null(aegis_split_read("split_clients x;\n"));
    assert_null(aegis_split_read("# aegis: []\n"));
    assert_null(aegis_split_read("# aegis: {\n"));
    back = aegis_split_read("# aegis: {}\nx");
    assert_non_null(back);
    json_decref(back);

    assert_int_equal(aegis_split_by_valid("$request_id"), 1);
    assert_int_equal(aegis_split_by_valid("${remote_addr}x"), 1);
    assert_int_equal(aegis_split_by_valid("plain"), 0);
    assert_int_equal(aegis_split_by_valid(""), 0);
    assert_int_equal(aegis_split_by_valid("$a\" x"), 0);
    assert_int_equal(aegis_split_by_valid("$a;"), 0);
}


static void
test_upstream(void **state)
{
    size_t  i;

    static const struct {
        const char  *dump;
        int          has;
    } cases[] = {
        { "http {\n    upstream shop {\n server x; }\n}", 1 }, { "upstream shop{}", 1 },
        { "a b; upstream\nshop { }", 1 }, { "x \"}\"; upstream shop {", 1 },
        { "log_format a '${b} {'; upstream shop {}", 1 },
        { "# upstream shop {\n", 0 }, { "upstream shops {}", 0 }, { "upstream sho {}", 0 },
        { "log_format x 'upstream shop {';", 0 }, { "set $x upstream shop { }", 0 },
        { "upstream shop", 0 }, { "upstream shop; {", 0 }, { "upstream a shop {", 0 },
        { "", 0 }, { "\"", 0 }, { "x '\\", 0 }, { "${", 0 }
    };

    for (i = 0; i < AEGIS_UNIT_N(cases); i++) {
        if (aegis_split_upstream(cases[i].dump, "shop") != cases[i].has) {
            fail_msg("is read wrongly: %s", cases[i].dump);
        }
    }
}


int
main(void)
{
    const struct CMUnitTest  tests[] = {
        AEGIS_TEST("a split is a name and two to eight groups", test_find),
        AEGIS_TEST("weights are hundredths, 100 percent together", test_weights),
        AEGIS_TEST("the file says what it is, and no value gets out of its place", test_file),
        AEGIS_TEST("an upstream is found as nginx reads it, and nothing like one", test_upstream)
    };

    return AEGIS_UNIT_RUN(tests);
}
