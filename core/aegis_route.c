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
#define AEGIS_ROUTE_STMT_WHO(name)        AEGIS_STMT_NONE
#define AEGIS_ROUTE_STMT_MODULE(name)     AEGIS_STMT_NONE
#define AEGIS_ROUTE_STMT_READ(name)       AEGIS_STMT_##name
#define AEGIS_ROUTE_STMT_READ_PLAN(name)  AEGIS_STMT_##name
#define AEGIS_ROUTE_STMT_READ_DIFF(name)  AEGIS_STMT_##name
#define AEGIS_ROUTE_STMT_READ_EXEC(name)  AEGIS_STMT_##name
#define AEGIS_ROUTE_STMT_READ_VERIFY(name)  AEGIS_STMT_##name
#define AEGIS_ROUTE_STMT_READ_DOC(name)   AEGIS_STMT_##name
#define AEGIS_ROUTE_STMT_SEARCH(name)     AEGIS_STMT_##name
#define AEGIS_ROUTE_STMT_READ_FINDING(name)  AEGIS_STMT_##name
#define AEGIS_ROUTE_STMT_PAGE(name)       AEGIS_STMT_##name
#define AEGIS_ROUTE_STMT_WRITE(name)      AEGIS_STMT_##name

#define AEGIS_ROUTE_MODULE_LOCAL(name)      AEGIS_MODULE_NONE
#define AEGIS_ROUTE_MODULE_WHO(name)        AEGIS_MODULE_NONE
#define AEGIS_ROUTE_MODULE_MODULE(name)     AEGIS_MODULE_##name
#define AEGIS_ROUTE_MODULE_READ(name)       AEGIS_MODULE_NONE
#define AEGIS_ROUTE_MODULE_READ_PLAN(name)  AEGIS_MODULE_NONE
#define AEGIS_ROUTE_MODULE_READ_DIFF(name)  AEGIS_MODULE_NONE
#define AEGIS_ROUTE_MODULE_READ_EXEC(name)  AEGIS_MODULE_NONE
#define AEGIS_ROUTE_MODULE_READ_VERIFY(name)  AEGIS_MODULE_NONE
#define AEGIS_ROUTE_MODULE_READ_DOC(name)   AEGIS_MODULE_NONE
#define AEGIS_ROUTE_MODULE_SEARCH(name)     AEGIS_MODULE_NONE
#define AEGIS_ROUTE_MODULE_READ_FINDING(name)  AEGIS_MODULE_NONE
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

/* Allow for each set of methods: 1 GET, 2 POST, 4 PATCH, 8 DELETE. */
static const char *const  aegis_route_allow[] = {
    "OPTIONS",
    "GET, HEAD, OPTIONS",
    "POST, OPTIONS",
    "GET, HEAD, POST, OPTIONS",
    "PATCH, OPTIONS",
    "GET, HEAD, PATCH, OPTIONS",
    "POST, PATCH, OPTIONS",
    "GET, HEAD, POST, PATCH, OPTIONS",
    "DELETE, OPTIONS",
    "GET, HEAD, DELETE, OPTIONS",
    "POST, DELETE, OPTIONS",
    "GET, HEAD, POST, DELETE, OPTIONS",
    "PATCH, DELETE, OPTIONS",
    "GET, HEAD, PATCH, DELETE, OPTIONS",
    "POST, PATCH, DELETE, OPTIONS",
    "GET, HEAD, POST, PATCH, DELETE, OPTIONS"
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
        { { 5, "PATCH" }, AEGIS_PATCH },
        { { 6, "DELETE" }, AEGIS_DELETE }
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


/* 1 when path fits template; *id is the segment that stands for {id}, if it has
 * one. Most templates differ early, so it goes by byte. */
static int
aegis_route_fits(const char *template, aegis_str_t path, aegis_str_t *id)
{
    size_t       head, tail;
    const char  *hole;

    for (head = 0; template[head] != '{'; head++) {
        if (template[head] == '\0') {
            *id = AEGIS_NO_STR;
            return head == path.len;
        }

        if (head == path.len || template[head] != path.data[head]) {
            return 0;
        }
    }

    hole = template + head;
    tail = strlen(hole + 4);

    if (path.len <= head + tail
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
    int                   m, hole;
    size_t                i;
    unsigned              allow[2] = { 0, 0 };
    aegis_str_t           id, found_id;
    const aegis_route_t  *found[2] = { NULL, NULL };

    if (path.data == NULL || path.len == 0) {
        return AEGIS_E_NOT_FOUND;
    }

    m = method.data ? aegis_route_method(method) : -1;
    *ret_id = found_id = AEGIS_NO_STR;

    for (i = 0; i < AEGIS_N_ROUTES; i++) {
        if (!aegis_route_fits(aegis_routes[i].path, path, &id)) {
            continue;
        }

        hole = id.data != NULL;
        allow[hole] |= 1u << aegis_routes[i].method;

        if (m == (int) aegis_routes[i].method && found[hole] == NULL) {
            found[hole] = &aegis_routes[i];
            found_id = hole ? id : found_id;
        }
    }

    /* a literal template before one with {id} */
    hole = allow[0] == 0;

    if (found[hole]) {
        *ret_route = found[hole];
        if (hole) {
            *ret_id = found_id;
        }
        return AEGIS_E_OK;
    }

    if (allow[hole]) {
        *ret_allow = aegis_route_allow[allow[hole]];
        return AEGIS_E_METHOD;
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
