/*
 * aegis_query.c: unit tests of query strings: which route knows what, decoding,
 * values, and the canonical form that cursors are bound to.
 */
#include "aegis_unit.h"

#include "aegis_query.h"

typedef struct {
    char           buf[1024];
    char           canonical[4096];
    aegis_query_t  q;
    aegis_error_t  err;
} query_t;


/* Parsed and checked. args in an allocation of its size, to see what is read. */
static aegis_code_t
taken(aegis_route_id_t route, const char *args, query_t *t)
{
    char          *copy;
    size_t         len;
    aegis_code_t   code;

    memset(t, 0, sizeof(*t));
    len = strlen(args);
    copy = malloc(len + 1);
    assert_non_null(copy);
    memcpy(copy, args, len);

    code = aegis_query_parse(aegis_route(route), (aegis_str_t) { len, copy }, t->buf,
                             &t->q, &t->err);
    free(copy);

    if (code == AEGIS_E_OK && aegis_route(route)->kind == AEGIS_KIND_PAGE) {
        code = aegis_query_check(&t->q, &t->err);
    }

    return code;
}


static void
test_known(void **state)
{
    size_t   i;
    query_t  t;

    static const struct {
        aegis_route_id_t  route;
        const char       *args;
        const char       *detail;   /* NULL: taken */
    } cases[] = {
        { AEGIS_ROUTE_CASE_LIST, "", NULL },
        { AEGIS_ROUTE_CASE_LIST, "&&&", NULL },
        { AEGIS_ROUTE_CASE_LIST, "&limit=1&&tag=x&", NULL },
        { AEGIS_ROUTE_CASE_LIST, "status=NEW&tenant=t&tag=a&since=2026-11-21T07:00:00Z"
          "&until=2026-11-21T07:00:00%2b08:00&limit=200&cursor=abc", NULL },
        { AEGIS_ROUTE_CASE_TIMELINE, "limit=5&cursor=a", NULL },
        { AEGIS_ROUTE_CASE_TIMELINE, "status=NEW", "The query parameter status is not known here." },
        { AEGIS_ROUTE_CASE_GET, "", NULL },
        { AEGIS_ROUTE_CASE_GET, "&", NULL },
        { AEGIS_ROUTE_CASE_GET, "limit=1", "The query parameter limit is not known here." },
        { AEGIS_ROUTE_CASE_CREATE, "x", "The query parameter x is not known here." },
        { AEGIS_ROUTE_CASE_LIST, "Limit=1", "The query parameter Limit is not known here." },
        { AEGIS_ROUTE_CASE_LIST, "limi=1", "The query parameter limi is not known here." },
        { AEGIS_ROUTE_CASE_LIST, "limits=1", "The query parameter limits is not known here." },
        { AEGIS_ROUTE_CASE_LIST, "%6cimit=1", "The query parameter %6cimit is not known here." },
        { AEGIS_ROUTE_CASE_LIST, "=1", "The query parameter  is not known here." },
        { AEGIS_ROUTE_CASE_LIST, "=", "The query parameter  is not known here." },
        { AEGIS_ROUTE_CASE_LIST, "limit", "The query parameter limit has no valid value." },
        { AEGIS_ROUTE_CASE_LIST, "limit=", "The query parameter limit has no valid value." },
        { AEGIS_ROUTE_CASE_LIST, "tag=a&tag=a", "The query parameter tag is there twice." },
        { AEGIS_ROUTE_CASE_LIST, "limit=1&limit=1", "The query parameter limit is there twice." }
    };

    for (i = 0; i < AEGIS_UNIT_N(cases); i++) {
        assert_int_equal(taken(cases[i].route, cases[i].args, &t),
                         cases[i].detail ? AEGIS_E_BAD_REQUEST : AEGIS_E_OK);
        assert_string_equal(t.err.detail, cases[i].detail ? cases[i].detail : "");
    }

    assert_int_equal(aegis_query_parse(aegis_route(AEGIS_ROUTE_CASE_LIST), AEGIS_NO_STR,
                                       t.buf, &t.q, &t.err), AEGIS_E_OK);
    for (i = 0; i < AEGIS_N_ARGS; i++) {
        assert_null(t.q.v[i].data);
    }
}


static void
test_decode(void **state)
{
    size_t   i;
    query_t  t;

    static const struct {
        const char  *args;
        const char  *tag;           /* NULL: refused */
    } cases[] = {
        { "tag=a", "a" },
        { "tag=a+b", "a b" },
        { "tag=a%2bb%2B", "a+b+" },
        { "tag=a=b", "a=b" },
        { "tag=%3D%26%25", "=&%" },
        { "tag=%e4%b8%ad", "\xe4\xb8\xad" },
        { "tag=\xe4\xb8\xad", "\xe4\xb8\xad" },
        { "tag=%7e", "~" },
        { "tag=%", NULL },
        { "tag=%4", NULL },
        { "tag=a%4", NULL },
        { "tag=%4&limit=1", NULL },
        { "tag=%g1", NULL },
        { "tag=%1g", NULL },
        { "tag=%%41", NULL },
        { "tag=%00", NULL },
        { "tag=a%00b", NULL },
        { "tag=%0a", NULL },
        { "tag=%09", NULL },
        { "tag=%1f", NULL },
        { "tag=%7f", NULL },
        { "tag=\x01", NULL },
        { "tag=%ff", NULL },
        { "tag=%c0%af", NULL },
        { "tag=%ed%a0%80", NULL },
        { "tag=%e4%b8", NULL },
        { "tag=\xe4\xb8", NULL }
    };

    for (i = 0; i < AEGIS_UNIT_N(cases); i++) {
        assert_int_equal(taken(AEGIS_ROUTE_CASE_LIST, cases[i].args, &t),
                         cases[i].tag ? AEGIS_E_OK : AEGIS_E_BAD_REQUEST);
        if (cases[i].tag) {
            assert_int_equal(t.q.v[AEGIS_ARG_TAG].len, strlen(cases[i].tag));
            assert_memory_equal(t.q.v[AEGIS_ARG_TAG].data, cases[i].tag,
                                strlen(cases[i].tag));
        }
    }

    /* in a time + is a plus, because everybody forgets to escape it */
    assert_int_equal(taken(AEGIS_ROUTE_CASE_LIST, "since=2026-11-21T07:00:00+08:00", &t),
                     AEGIS_E_OK);
    assert_memory_equal(t.q.v[AEGIS_ARG_SINCE].data + 19, "+08:00", 6);
}


static void
test_values(void **state)
{
    char     args[512];
    size_t   i;
    query_t  t;

    static const struct {
        const char  *args;
        const char  *detail;        /* NULL: taken */
    } cases[] = {
        { "status=PARKED", NULL },
        { "status=parked", "status names no state" },
        { "status=NEW%20", "status names no state" },
        { "state=PARKED", NULL },
        { "state=x", "status names no state" },
        { "state=NEW&status=NEW", "state means the same as status; send one of them" },
        { "since=2026-11-21", "since is not an RFC 3339 time" },
        { "until=x", "until is not an RFC 3339 time" },
        { "limit=1", NULL },
        { "limit=200", NULL },
        { "limit=0000200", NULL },
        { "limit=0", "limit is not a number from 1 to 200" },
        { "limit=000", "limit is not a number from 1 to 200" },
        { "limit=201", "limit is not a number from 1 to 200" },
        { "limit=-1", "limit is not a number from 1 to 200" },
        { "limit=+1", "limit is not a number from 1 to 200" },
        { "limit=1.0", "limit is not a number from 1 to 200" },
        { "limit=4294967297", "limit is not a number from 1 to 200" },
        { "limit=18446744073709551617", "limit is not a number from 1 to 200" }
    };

    for (i = 0; i < AEGIS_UNIT_N(cases); i++) {
        assert_int_equal(taken(AEGIS_ROUTE_CASE_LIST, cases[i].args, &t),
                         cases[i].detail ? AEGIS_E_BAD_REQUEST : AEGIS_E_OK);
        if (cases[i].detail) {
            assert_non_null(strstr(t.err.detail, cases[i].detail));
        }
    }

    /* 64 characters, of any width */
    strcpy(args, "tag=");
    for (i = 0; i < AEGIS_QUERY_TAG_MAX; i++) {
        strcat(args, "\xf0\x9f\x98\x80");
    }
    assert_int_equal(taken(AEGIS_ROUTE_CASE_LIST, args, &t), AEGIS_E_OK);

    strcat(args, "x");
    assert_int_equal(taken(AEGIS_ROUTE_CASE_LIST, args, &t), AEGIS_E_BAD_REQUEST);
}


static void
test_long_name(void **state)
{
    char     args[256];
    query_t  t;

    memset(args, 'n', sizeof(args));
    args[sizeof(args) - 1] = '\0';

    assert_int_equal(taken(AEGIS_ROUTE_CASE_LIST, args, &t), AEGIS_E_BAD_REQUEST);
    args[64] = '\0';
    assert_non_null(strstr(t.err.detail, args));
    args[64] = 'n';
    args[65] = '\0';
    assert_null(strstr(t.err.detail, args));
}


static void
test_canonical(void **state)
{
    size_t        i, size;
    query_t       t;
    aegis_str_t   filters, again;

    static const struct {
        const char  *args;
        const char  *filters;
        const char  *limit;
    } cases[] = {
        { "", "", "limit=50" },
        { "limit=7", "", "limit=7" },
        { "cursor=abc&limit=7", "", "limit=7" },
        { "limit=7&tag=a&state=NEW", "status=NEW&tag=a&", "limit=7" },
        { "tag=b+c%2f%E4%b8%AD-._~", "tag=b%20c%2F%E4%B8%AD-._~&", "limit=50" },
        { "until=2026-11-21T07:00:00%2B08:00&since=2026-11-21T07:00:00Z",
          "since=2026-11-21T07%3A00%3A00Z&until=2026-11-21T07%3A00%3A00%2B08%3A00&",
          "limit=50" }
    };

    for (i = 0; i < AEGIS_UNIT_N(cases); i++) {
        assert_int_equal(taken(AEGIS_ROUTE_CASE_LIST, cases[i].args, &t), AEGIS_E_OK);

        size = aegis_query_canonical_size(&t.q, aegis_str("acme"), aegis_str("/case"));
        assert_true(size <= sizeof(t.canonical));

        memset(t.canonical, 'x', sizeof(t.canonical));
        aegis_query_canonical(&t.q, aegis_str("acme"), aegis_str("/case"), t.canonical,
                              &filters, &again);

        assert_memory_equal(filters.data, "acme\n/case\n", 11);
        assert_int_equal(filters.len, 11 + strlen(cases[i].filters));
        assert_memory_equal(filters.data + 11, cases[i].filters, strlen(cases[i].filters));
        assert_ptr_equal(again.data, filters.data + 11);
        assert_int_equal(again.len, strlen(cases[i].filters) + strlen(cases[i].limit));
        assert_memory_equal(again.data + strlen(cases[i].filters), cases[i].limit,
                            strlen(cases[i].limit));
        assert_true((size_t) (again.data + again.len - t.canonical) <= size);
        assert_true(t.canonical[size] == 'x');
    }
}


int
main(void)
{
    const struct CMUnitTest  tests[] = {
        AEGIS_TEST("each route knows its own arguments, once", test_known),
        AEGIS_TEST("values are decoded to UTF-8 without control characters", test_decode),
        AEGIS_TEST("a value that does not fit is refused and named", test_values),
        AEGIS_TEST("of a long name 64 bytes are said", test_long_name),
        AEGIS_TEST("the filters have one form, whatever order they came in", test_canonical)
    };

    return AEGIS_UNIT_RUN(tests);
}
