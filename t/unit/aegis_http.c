/*
 * aegis_http.c: unit tests of keys, fingerprints, trace context, ids and
 * cursors.
 */
#include "aegis_unit.h"

#include "aegis_http.h"


static void
test_key_valid(void **state)
{
    char    out[AEGIS_KEY_MAX + 1], bare[AEGIS_KEY_MAX + 1];
    char    quoted[2 * AEGIS_KEY_MAX + 3];
    size_t  i, len;

    static const struct {
        const char  *header;
        const char  *key;
    } cases[] = {
        { "abc", "abc" },
        { "\"abc\"", "abc" },
        { "8e03978e-40d5-43dd-bc93-6894a57f9324", "8e03978e-40d5-43dd-bc93-6894a57f9324" },
        { "A.b_c:d-9", "A.b_c:d-9" },
        { "  \"abc\" \t", "abc" },
        { "\" a, b; c \"", " a, b; c " },
        { "\"a\\\"b\\\\c\"", "a\"b\\c" },
        { "\"abc\";q", "abc" },
        { "\"abc\";q=1", "abc" },
        { "\"abc\"; a=\"x;y\\\"\" ;b=?1;c=:YWI=:;*d=tok/en", NULL },
        { "\"abc\"; a=\"x;y\\\"\";b=?1;c=:YWI=:;*d=tok/en;e=-1.5;f=@17", "abc" }
    };

    for (i = 0; i < AEGIS_UNIT_N(cases); i++) {
        if (cases[i].key == NULL) {
            /* a blank before ; is not in the grammar */
            assert_int_equal(aegis_http_key(aegis_view(cases[i].header), out, &len),
                             AEGIS_E_KEY_INVALID);
            continue;
        }

        if (aegis_http_key(aegis_view(cases[i].header), out, &len) != AEGIS_E_OK) {
            fail_msg("was refused: %s", cases[i].header);
        }
        assert_string_equal(out, cases[i].key);
        assert_int_equal(len, strlen(cases[i].key));
    }

    memset(bare, 'k', AEGIS_KEY_MAX);
    bare[AEGIS_KEY_MAX] = '\0';
    assert_int_equal(aegis_http_key(aegis_view(bare), out, &len), AEGIS_E_OK);
    assert_int_equal(len, AEGIS_KEY_MAX);

    /* the limit is counted behind the escapes */
    quoted[0] = '"';
    for (i = 0; i < AEGIS_KEY_MAX; i++) {
        memcpy(quoted + 1 + 2 * i, "\\\\", 2);
    }
    strcpy(quoted + 1 + 2 * AEGIS_KEY_MAX, "\"");
    assert_int_equal(aegis_http_key(aegis_view(quoted), out, &len), AEGIS_E_OK);
    assert_int_equal(len, AEGIS_KEY_MAX);
}


static void
test_key_invalid(void **state)
{
    char    out[AEGIS_KEY_MAX + 1], big[AEGIS_KEY_MAX + 4];
    size_t  i, len;

    static const char *const  cases[] = {
        "", "   ", "\"\"", "\"", "\"abc", "abc\"", "'abc'", "a b", "a,b", "a;b", "a/b",
        "a\\b", "\"a\\b\"", "\"a\\", "\"a\"b", "\"a\" \"b\"", "\"a\", \"b\"", "\"a\";",
        "\"a\";Q=1", "\"a\";q=", "\"a\";q=\"x", "\"a\";=1", "\"a\tb\"", "\"a\x7f\"",
        "\"\xc3\xa9\"", "\xc3\xa9", "(a b)", ":YWI=:", "\"a\";q=1 x", "\"a\";;"
    };

    for (i = 0; i < AEGIS_UNIT_N(cases); i++) {
        if (aegis_http_key(aegis_view(cases[i]), out, &len) != AEGIS_E_KEY_INVALID) {
            fail_msg("got through: %s", cases[i]);
        }
    }

    memset(big, 'k', sizeof(big));
    assert_int_equal(aegis_http_key((aegis_str_t) { AEGIS_KEY_MAX + 1, big }, out, &len),
                     AEGIS_E_KEY_INVALID);
    big[0] = big[AEGIS_KEY_MAX + 2] = '"';
    assert_int_equal(aegis_http_key((aegis_str_t) { AEGIS_KEY_MAX + 3, big }, out, &len),
                     AEGIS_E_KEY_INVALID);
    assert_int_equal(aegis_http_key((aegis_str_t) { 5, "\"a\0b\"" }, out, &len),
                     AEGIS_E_KEY_INVALID);
    assert_int_equal(aegis_http_key(AEGIS_NO_STR, out, &len), AEGIS_E_KEY_INVALID);
}


static void
test_fingerprint(void **state)
{
    char    all[8][AEGIS_HASH_MAX];
    size_t  i, k;

    static const char *const  in[8][4] = {
        { "POST", "/case/create", "", "{}" },
        { "PATCH", "/case/create", "", "{}" },
        { "POST", "/case/createx", "", "{}" },
        { "POST", "/case/create", "x", "{}" },
        { "POST", "/case/create", "", "{ }" },
        { "POST/", "case/create", "", "{}" },
        { "POST", "/case/create", "{", "}" },
        { "", "", "", "" }
    };

    for (i = 0; i < 8; i++) {
        aegis_http_fingerprint(aegis_view(in[i][0]), aegis_view(in[i][1]),
                               aegis_view(in[i][2]), aegis_view(in[i][3]), all[i]);
        assert_int_equal(strlen(all[i]), AEGIS_HASH_MAX - 1);
        assert_memory_equal(all[i], "\\x", 2);

        for (k = 0; k < i; k++) {
            assert_string_not_equal(all[i], all[k]);
        }
    }

    aegis_http_fingerprint(aegis_str("POST"), aegis_str("/case/create"), AEGIS_NO_STR,
                           aegis_str("{}"), all[1]);
    assert_string_equal(all[1], all[0]);
}


static void
test_traceparent(void **state)
{
    char           out[AEGIS_TRACEPARENT_LEN + 1];
    size_t         i;
    unsigned char  random[24];

    static const struct {
        const char  *header;
        const char  *out;           /* NULL: a new trace */
    } cases[] = {
        { "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01",
          "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01" },
        { "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-00",
          "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-00" },
        { "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-ff",
          "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01" },
        { "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-0a",
          "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-00" },
        { "cc-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01-what-ever",
          "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01" },
        { "cc-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01",
          "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01" },
        { "cc-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01.x", NULL },
        { "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01-x", NULL },
        { "ff-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01", NULL },
        { "00-00000000000000000000000000000000-b7ad6b7169203331-01", NULL },
        { "00-0af7651916cd43dd8448eb211c80319c-0000000000000000-01", NULL },
        { "00-0AF7651916CD43DD8448EB211C80319C-b7ad6b7169203331-01", NULL },
        { "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-1", NULL },
        { "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-0x", NULL },
        { "00_0af7651916cd43dd8448eb211c80319c_b7ad6b7169203331_01", NULL },
        { "", NULL }
    };

    for (i = 0; i < 24; i++) {
        random[i] = (unsigned char) (i + 1);
    }

    for (i = 0; i < AEGIS_UNIT_N(cases); i++) {
        assert_int_equal(aegis_http_traceparent(aegis_view(cases[i].header), random,
                                                out), cases[i].out != NULL);
        assert_string_equal(out, cases[i].out ? cases[i].out
            : "00-0102030405060708090a0b0c0d0e0f10-1112131415161718-01");
    }

    /* what is made is itself valid, even from no randomness */
    memset(random, 0, sizeof(random));
    assert_int_equal(aegis_http_traceparent(AEGIS_NO_STR, random, out), 0);
    assert_int_equal(aegis_http_traceparent(aegis_view(out), random, out), 1);
}


static void
test_uuid(void **state)
{
    char                 out[AEGIS_UUID_LEN + 1], again[AEGIS_UUID_LEN + 1];
    size_t               i;
    const unsigned char  random[10] = { 0xff, 0xff, 0xff, 1, 2, 3, 4, 5, 6, 7 };

    static const char *const  bad[] = {
        "", "8e03978e-40d5-43dd-bc93-6894a57f932", "8e03978e-40d5-43dd-bc93-6894a57f93244",
        "8e03978e40d543ddbc936894a57f9324", "{8e03978e-40d5-43dd-bc93-6894a57f932}",
        "8e03978e-40d5-43dd-bc93-6894a57f932g", "8e03978e-40d5-43dd-bc936-894a57f9324",
        " 8e03978e-40d5-43dd-bc93-6894a57f932"
    };

    assert_true(aegis_uuid_valid(aegis_str("8e03978e-40d5-43dd-bc93-6894a57f9324")));
    assert_true(aegis_uuid_valid(aegis_str("8E03978E-40D5-43DD-BC93-6894A57F9324")));
    assert_true(aegis_uuid_valid(aegis_str("00000000-0000-0000-0000-000000000000")));

    for (i = 0; i < AEGIS_UNIT_N(bad); i++) {
        assert_false(aegis_uuid_valid(aegis_view(bad[i])));
    }
    assert_false(aegis_uuid_valid(AEGIS_NO_STR));

    aegis_uuid_v7(0x0123456789abULL, random, out);
    assert_string_equal(out, "01234567-89ab-7fff-bf01-020304050607");
    assert_true(aegis_uuid_valid(aegis_view(out)));

    /* later ids sort behind earlier ones */
    aegis_uuid_v7(0x0123456789acULL, random, again);
    assert_true(strcmp(out, again) < 0);

    aegis_uuid_named(aegis_str("evt-1"), out);
    aegis_uuid_named(aegis_str("evt-1"), again);
    assert_string_equal(out, again);
    assert_int_equal(out[14], '8');
    assert_non_null(strchr("89ab", out[19]));
    aegis_uuid_named(aegis_str("evt-2"), again);
    assert_string_not_equal(out, again);
}


static void
test_cursor(void **state)
{
    char         cursor[AEGIS_CURSOR_MAX], out[64], changed[AEGIS_CURSOR_MAX];
    size_t       i, n;
    aegis_str_t  secret = aegis_str("secret"), filters = aegis_str("status=NEW");

    for (n = 1; n < 60; n++) {
        memset(out, 'a' + (int) n % 26, n);

        assert_int_equal(aegis_cursor_make(secret, filters, (aegis_str_t) { n, out },
                                           cursor, sizeof(cursor)), AEGIS_E_OK);
        strcpy(changed, cursor);
        memset(out, 0, sizeof(out));

        assert_int_equal(aegis_cursor_read(secret, filters, aegis_view(cursor), out,
                                           sizeof(out)), AEGIS_E_OK);
        assert_int_equal(strlen(out), n);
        assert_int_equal(out[0], 'a' + (int) n % 26);

        /* no character can be changed, left out or added */
        for (i = 0; i < strlen(cursor); i++) {
            changed[i] = cursor[i] == 'A' ? 'B' : 'A';
            assert_int_equal(aegis_cursor_read(secret, filters, aegis_view(changed),
                                               out, sizeof(out)), AEGIS_E_CURSOR_INVALID);
            changed[i] = cursor[i];
        }
        assert_int_equal(aegis_cursor_read(secret, filters,
            (aegis_str_t) { strlen(cursor) - 1, cursor }, out, sizeof(out)),
            AEGIS_E_CURSOR_INVALID);
        strcat(changed, "A");
        assert_int_equal(aegis_cursor_read(secret, filters, aegis_view(changed), out,
                                           sizeof(out)), AEGIS_E_CURSOR_INVALID);
    }
}


static void
test_cursor_bound(void **state)
{
    char         cursor[AEGIS_CURSOR_MAX], out[64], big[600];
    aegis_str_t  secret = aegis_str("secret"), position = aegis_str("12.3");

    assert_int_equal(aegis_cursor_make(secret, aegis_str("a"), position, cursor,
                                       sizeof(cursor)), AEGIS_E_OK);
    assert_int_equal(aegis_cursor_read(secret, aegis_str("b"), aegis_view(cursor),
                                       out, sizeof(out)), AEGIS_E_CURSOR_INVALID);
    assert_int_equal(aegis_cursor_read(aegis_str("other"), aegis_str("a"),
        aegis_view(cursor), out, sizeof(out)), AEGIS_E_CURSOR_INVALID);
    assert_int_equal(aegis_cursor_read(secret, aegis_str("a"), aegis_view(cursor),
                                       out, 4), AEGIS_E_CURSOR_INVALID);
    assert_int_equal(aegis_cursor_read(secret, aegis_str("a"), aegis_view(cursor),
                                       out, 5), AEGIS_E_OK);
    assert_string_equal(out, "12.3");

    /* filters "a|12" with position "3" would sign the same bytes */
    assert_int_equal(aegis_cursor_make(secret, aegis_str("a"), aegis_str("12|3"), cursor,
                                       sizeof(cursor)), AEGIS_E_CURSOR_INVALID);
    assert_int_equal(aegis_cursor_make(secret, aegis_str("a"), position, cursor, 8),
                     AEGIS_E_CURSOR_INVALID);

    memset(big, 'A', sizeof(big));
    assert_int_equal(aegis_cursor_make(secret, aegis_str("a"),
        (aegis_str_t) { sizeof(big), big }, cursor, sizeof(cursor)),
        AEGIS_E_CURSOR_INVALID);
    assert_int_equal(aegis_cursor_read(secret, aegis_str("a"),
        (aegis_str_t) { sizeof(big), big }, out, sizeof(out)), AEGIS_E_CURSOR_INVALID);
    assert_int_equal(aegis_cursor_read(secret, aegis_str("a"), aegis_str("!!!!"), out,
                                       sizeof(out)), AEGIS_E_CURSOR_INVALID);
    assert_int_equal(aegis_cursor_read(secret, aegis_str("a"), AEGIS_NO_STR, out,
                                       sizeof(out)), AEGIS_E_CURSOR_INVALID);
}


int
main(void)
{
    const struct CMUnitTest  tests[] = {
        AEGIS_TEST("a key is an sf-string or bare, and both are the same key",
                   test_key_valid),
        AEGIS_TEST("everything else is no key", test_key_invalid),
        AEGIS_TEST("a fingerprint changes with each part and with the cut between them",
                   test_fingerprint),
        AEGIS_TEST("a trace is continued when it is valid, else started",
                   test_traceparent),
        AEGIS_TEST("uuids are recognised, ordered by time, or made from a name",
                   test_uuid),
        AEGIS_TEST("a cursor reads back and no character of it can change", test_cursor),
        AEGIS_TEST("a cursor belongs to its filters and its secret", test_cursor_bound)
    };

    return AEGIS_UNIT_RUN(tests);
}
