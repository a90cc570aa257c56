/*
 * aegis_route.c: routes.def as rows, and the look-up. Its invariant: a path
 * that a template spells out literally belongs to that template alone
 * (/case/create is never the case "create"), and 405 lists every method of the
 * resource.
 */
#include "aegis_route.h"

#include <string.h>

/* The statement column means another thing for each kind. */
#define AEGIS_ROUTE_STMT_LOCAL(name)      AEGIS_STMT_NONE
#define AEGIS_ROUTE_STMT_MODULE(name)     AEGIS_STMT_NONE
#define AEGIS_ROUTE_STMT_READ(name)       AEGIS_STMT_##name
#define AEGIS_ROUTE_STMT_READ_PLAN(name)  AEGIS_STMT_##name
#define AEGIS_ROUTE_STMT_READ_EXEC(name)  AEGIS_STMT_##name
#define AEGIS_ROUTE_STMT_READ_VERIFY(name)  AEGIS_STMT_##name
#define AEGIS_ROUTE_STMT_PAGE(name)       AEGIS_STMT_##name
#define AEGIS_ROUTE_STMT_WRITE(name)      AEGIS_STMT_##name

#define AEGIS_ROUTE_MODULE_LOCAL(name)      AEGIS_MODULE_NONE
#define AEGIS_ROUTE_MODULE_MODULE(name)     AEGIS_MODULE_##name
#define AEGIS_ROUTE_MODULE_READ(name)       AEGIS_MODULE_NONE
#define AEGIS_ROUTE_MODULE_READ_PLAN(name)  AEGIS_MODULE_NONE
#define AEGIS_ROUTE_MODULE_READ_EXEC(name)  AEGIS_MODULE_NONE
#define AEGIS_ROUTE_MODULE_READ_VERIFY(name)  AEGIS_MODULE_NONE
#define AEGIS_ROUTE_MODULE_PAGE(name)       AEGIS_MODULE_NONE
#define AEGIS_ROUTE_MODULE_WRITE(name)      AEGIS_MODULE_NONE

static const aegis_route_t  aegis_routes[] = {
#define AEGIS_ROUTE(id, method, path, kind, stmt, schema, scope, sentence)     \
    { AEGIS_ROUTE_##id, AEGIS_##method, path, AEGIS_KIND_##kind,               \
      AEGIS_ROUTE_STMT_##kind(stmt), AEGIS_ROUTE_MODULE_##kind(stmt),          \
      AEGIS_SCHEMA_##schema, scope, sentence },
#include "tables/routes.def"
#undef AEGIS_ROUTE
};

/* Allow for each set of methods: 1 GET, 2 POST, 4 PATCH. */
static const char *const  aegis_route_allow[] = {
    "OPTIONS",
    "GET, HEAD, OPTIONS",
    "POST, OPTIONS",
    "GET, HEAD, POST, OPTIONS",
    "PATCH, OPTIONS",
    "GET, HEAD, PATCH, OPTIONS",
    "POST, PATCH, OPTIONS",
    "GET, HEAD, POST, PATCH, OPTIONS"
};


const aegis_route_t *
aegis_route(aegis_route_id_t id)
{
    return (unsigned) id < AEGIS_N_ROUTES ? &aegis_routes[id] : NULL;
}


static int
aegis_route_method(aegis_str_t name)
{
    size_t  i;

    static const struct {
        aegis_str_t     name;
        aegis_method_t  method;
    } methods[] = {
        { { 3, "GET" },   AEGIS_GET },
        { { 4, "HEAD" },  AEGIS_GET },
        { { 4, "POST" },  AEGIS_POST },
        { { 5, "PATCH" }, AEGIS_PATCH }
    };

    for (i = 0; i < sizeof(methods) / sizeof(methods[0]); i++) {
        if (name.len == methods[i].name.len
            && memcmp(name.data, methods[i].name.data, name.len) == 0)
        {
            return (int) methods[i].method;
        }
    }

    return -1;
}


/* 1 when path fits template; *id is the segment that stands for {id}. */
static int
aegis_route_fits(const char *template, aegis_str_t path, aegis_str_t *id)
{
    size_t       head, tail;
    const char  *hole;

    hole = strstr(template, "{id}");

    if (hole == NULL) {
        *id = AEGIS_NO_STR;
        return strlen(template) == path.len
               && memcmp(template, path.data, path.len) == 0;
    }

    head = (size_t) (hole - template);
    tail = strlen(hole + 4);

    if (path.len <= head + tail
        || memcmp(path.data, template, head) != 0
        || memcmp(path.data + path.len - tail, hole + 4, tail) != 0)
    {
        return 0;
    }

    id->data = path.data + head;
    id->len = path.len - head - tail;

    return memchr(id->data, '/', id->len) == NULL;
}


aegis_code_t
aegis_route_find(aegis_str_t method, aegis_str_t path,
    const aegis_route_t **ret_route, aegis_str_t *ret_id, const char **ret_allow)
{
    int          m, hole, pass;
    size_t       i;
    unsigned     allow;
    aegis_str_t  id;

    if (path.data == NULL || path.len == 0) {
        return AEGIS_E_NOT_FOUND;
    }

    m = method.data ? aegis_route_method(method) : -1;

    /* literal templates first, then those with {id} */
    for (pass = 0; pass < 2; pass++) {
        allow = 0;

        for (i = 0; i < AEGIS_N_ROUTES; i++) {
            hole = strstr(aegis_routes[i].path, "{id}") != NULL;

            if (hole != pass || !aegis_route_fits(aegis_routes[i].path, path, &id)) {
                continue;
            }

            if (m == (int) aegis_routes[i].method) {
                *ret_route = &aegis_routes[i];
                *ret_id = id;
                return AEGIS_E_OK;
            }

            allow |= 1u << aegis_routes[i].method;
        }

        if (allow) {
            *ret_allow = aegis_route_allow[allow];
            return AEGIS_E_METHOD;
        }
    }

    return AEGIS_E_NOT_FOUND;
}


static aegis_str_t
aegis_route_until(aegis_str_t s, char c, aegis_str_t otherwise)
{
    const char  *at;

    at = s.len ? memchr(s.data, c, s.len) : NULL;

    return at ? (aegis_str_t) { (size_t) (at - s.data), s.data } : otherwise;
}


aegis_code_t
aegis_route_find_raw(aegis_str_t line, aegis_str_t target,
    const aegis_route_t **ret_route, aegis_str_t *ret_id, const char **ret_allow)
{
    return aegis_route_find(aegis_route_until(line, ' ', AEGIS_NO_STR),
                            aegis_route_until(target, '?', target), ret_route, ret_id,
                            ret_allow);
}
