/*
 * aegis_route.c: unit tests of the route look-up.
 */
#include "aegis_unit.h"

#include "aegis_route.h"


static void
test_every_route(void **state)
{
    char                  path[128];
    unsigned              i;
    aegis_str_t           id;
    const char           *hole, *allow;
    const aegis_route_t  *r, *found;

    static const char *const  methods[] = { "GET", "POST", "PATCH", "DELETE" };

    for (i = 0; i < AEGIS_N_ROUTES; i++) {
        r = aegis_route(i);
        assert_int_equal(r->id, i);

        hole = strstr(r->path, "{id}");
        if (hole) {
            snprintf(path, sizeof(path), "%.*s%s%s", (int) (hole - r->path), r->path,
                     "some-id", hole + 4);
        } else {
            snprintf(path, sizeof(path), "%s", r->path);
        }

        assert_int_equal(aegis_route_find(aegis_view(methods[r->method]),
            aegis_view(path), &found, &id, &allow), AEGIS_E_OK);
        assert_ptr_equal(found, r);
        assert_int_equal(id.data != NULL, hole != NULL);

        if (hole) {
            assert_int_equal(id.len, 7);
            assert_memory_equal(id.data, "some-id", 7);
        }

        assert_int_equal(r->kind == AEGIS_KIND_MODULE, r->module != AEGIS_MODULE_NONE);
        assert_int_equal(r->kind == AEGIS_KIND_MODULE || r->kind == AEGIS_KIND_LOCAL
                         || r->kind == AEGIS_KIND_WHO,
                         r->stmt == AEGIS_STMT_NONE);
    }

    assert_null(aegis_route(AEGIS_N_ROUTES));
}


static void
test_answers(void **state)
{
    size_t                i;
    aegis_str_t           id;
    const char           *allow;
    aegis_code_t          code;
    const aegis_route_t  *r;

    static const struct {
        const char    *method;
        const char    *path;
        aegis_code_t   code;
        const char    *allow;
    } cases[] = {
        { "HEAD",    "/case/x",            AEGIS_E_OK, NULL },
        { "GET",     "/case/create",       AEGIS_E_METHOD, "POST, OPTIONS" },
        { "DELETE",  "/case/x",            AEGIS_E_METHOD, "GET, HEAD, OPTIONS" },
        { "OPTIONS", "/case",              AEGIS_E_METHOD, "GET, HEAD, OPTIONS" },
        { "PUT",     "/case/x/transition", AEGIS_E_METHOD, "PATCH, OPTIONS" },
        { "POST",    "/kb/doc/x", AEGIS_E_METHOD, "GET, HEAD, DELETE, OPTIONS" },
        { "get",     "/case",              AEGIS_E_METHOD, "GET, HEAD, OPTIONS" },
        { "POST",    "/plan/x",            AEGIS_E_METHOD, "GET, HEAD, OPTIONS" },
        { "GET",     "/plan/generate",     AEGIS_E_METHOD, "POST, OPTIONS" },
        { "GET",     "/adapter/exec",      AEGIS_E_METHOD, "POST, OPTIONS" },
        { "GET",     "/gate/eval",         AEGIS_E_METHOD, "POST, OPTIONS" },
        { "GET",     "/",                  AEGIS_E_NOT_FOUND, NULL },
        { "GET",     "",                   AEGIS_E_NOT_FOUND, NULL },
        { "GET",     "/case/",             AEGIS_E_NOT_FOUND, NULL },
        { "GET",     "/case/x/",           AEGIS_E_NOT_FOUND, NULL },
        { "GET",     "/case//timeline",    AEGIS_E_NOT_FOUND, NULL },
        { "GET",     "/case/x/y/timeline", AEGIS_E_NOT_FOUND, NULL },
        { "GET",     "/casex",             AEGIS_E_NOT_FOUND, NULL },
        { "GET",     "/Case",              AEGIS_E_NOT_FOUND, NULL },
        { "GET",     "/case/x/timelinex",  AEGIS_E_NOT_FOUND, NULL },
        { "GET",     "/healthz/",          AEGIS_E_NOT_FOUND, NULL }
    };

    for (i = 0; i < AEGIS_UNIT_N(cases); i++) {
        allow = NULL;
        id = AEGIS_NO_STR;
        code = aegis_route_find(aegis_view(cases[i].method),
                                aegis_view(cases[i].path), &r, &id, &allow);

        if (code != cases[i].code) {
            fail_msg("%s %s gives %d", cases[i].method, cases[i].path, (int) code);
        }

        /* nor may a template with {id} that fits as well leave its id behind */
        assert_true(code == AEGIS_E_OK || id.data == NULL);

        if (cases[i].allow) {
            assert_string_equal(allow, cases[i].allow);
        } else {
            assert_null(allow);
        }
    }
}


static void
test_raw(void **state)
{
    size_t                i;
    aegis_str_t           id;
    const char           *allow;
    aegis_code_t          code;
    const aegis_route_t  *r;

    static const struct {
        const char    *line;
        const char    *target;
        aegis_code_t   code;
    } cases[] = {
        { "GET /case HTTP/9.9",       "/case",         AEGIS_E_OK },
        { "GET /case?x=%gg HTTP/1.1", "/case?x=%gg",   AEGIS_E_OK },
        { "PUT /case HTTP/1.1",       "/case?",        AEGIS_E_METHOD },
        { "GET",                      "/case",         AEGIS_E_METHOD },
        { "",                         "/case",         AEGIS_E_METHOD },
        { NULL,                       "/case",         AEGIS_E_METHOD },
        { " GET /case",               "/case",         AEGIS_E_METHOD },
        { "GET /case HTTP/1.1",       NULL,            AEGIS_E_NOT_FOUND },
        { "GET ?/case HTTP/1.1",      "?/case",        AEGIS_E_NOT_FOUND },
        { "GET /%63ase HTTP/1.1",     "/%63ase",       AEGIS_E_NOT_FOUND }
    };

    for (i = 0; i < AEGIS_UNIT_N(cases); i++) {
        code = aegis_route_find_raw(aegis_view(cases[i].line),
                                    aegis_view(cases[i].target), &r, &id, &allow);
        if (code != cases[i].code) {
            fail_msg("%s gives %d", cases[i].line ? cases[i].line : "NULL", (int) code);
        }
    }
}


int
main(void)
{
    const struct CMUnitTest  tests[] = {
        AEGIS_TEST("every route is found by its own method and path", test_every_route),
        AEGIS_TEST("a foreign path is not found, a foreign method says what is allowed",
                   test_answers),
        AEGIS_TEST("a request that could not be read still has its route", test_raw)
    };

    return AEGIS_UNIT_RUN(tests);
}
