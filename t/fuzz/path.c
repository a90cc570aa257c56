/*
 * path.c: fuzzes the look-up of a route: a method before the first blank, a path
 * behind it. What is found spells the path; HEAD is GET; what Allow lists is found,
 * and nothing else is.
 */
#include "aegis_fuzz.h"

#include "aegis_http.h"
#include "aegis_route.h"

static const char *const  methods[] = { "GET", "HEAD", "POST", "PATCH", "PUT", "OPTIONS",
                                        "get", "" };


static int
has_method(const char *allow, const char *method)
{
    size_t       n;
    const char  *p;

    n = strlen(method);

    for (p = allow; n && (p = strstr(p, method)) != NULL; p += n) {
        if ((p == allow || p[-1] == ' ') && (p[n] == ',' || p[n] == '\0')) {
            return 1;
        }
    }

    return 0;
}


/* The template with id in the place of {id} is the path. */
static void
spells(const aegis_route_t *route, aegis_str_t path, aegis_str_t id)
{
    size_t       head;
    const char  *hole;

    hole = strstr(route->path, "{id}");

    if (hole == NULL) {
        aegis_fuzz_must(id.data == NULL && aegis_fuzz_is(path, route->path));
        return;
    }

    head = (size_t) (hole - route->path);

    aegis_fuzz_must(id.len > 0 && memchr(id.data, '/', id.len) == NULL);
    aegis_fuzz_must(id.data == path.data + head && memcmp(path.data, route->path, head) == 0);
    aegis_fuzz_must(aegis_fuzz_is((aegis_str_t) { path.len - head - id.len,
                                                  id.data + id.len }, hole + 4));
}


static void
literal_first(const aegis_route_t *found, aegis_str_t path)
{
    unsigned  i;

    for (i = 0; i < AEGIS_N_ROUTES; i++) {
        if (aegis_fuzz_is(path, aegis_route(i)->path)) {
            aegis_fuzz_must(strcmp(found->path, aegis_route(i)->path) == 0);
        }
    }
}


/* Every method of this path, against what Allow says of it. */
static void
all_methods(aegis_str_t path)
{
    int                   head, rest;
    size_t                i;
    aegis_str_t           id;
    aegis_code_t          code[8];
    const char           *allow[8], *some;
    const aegis_route_t  *route;

    some = NULL;

    for (i = 0; i < 8; i++) {
        allow[i] = NULL;
        code[i] = aegis_route_find(aegis_view(methods[i]), path,
                                   &route, &id, &allow[i]);
        some = code[i] == AEGIS_E_METHOD ? allow[i] : some;
        aegis_fuzz_must((code[i] == AEGIS_E_NOT_FOUND) == (code[0] == AEGIS_E_NOT_FOUND));
    }

    head = code[1] == code[0];
    rest = code[4] != AEGIS_E_OK && code[5] != AEGIS_E_OK && code[6] != AEGIS_E_OK
           && code[7] != AEGIS_E_OK;
    aegis_fuzz_must(head && rest);

    for (i = 0; some && i < 8; i++) {
        if (strcmp(methods[i], "OPTIONS") != 0) {
            aegis_fuzz_must(has_method(some, methods[i]) == (code[i] == AEGIS_E_OK));
        }
        aegis_fuzz_must(allow[i] == NULL || strcmp(allow[i], some) == 0);
    }

    aegis_fuzz_must(some == NULL || has_method(some, "OPTIONS"));
}


/* A line that nobody read to its end leads to the same route as one that was. */
static void
raw_too(aegis_str_t line, aegis_str_t method, aegis_str_t path)
{
    aegis_str_t           head, id[2];
    const char           *allow[2];
    aegis_code_t          code[2];
    const aegis_route_t  *route[2];

    head = aegis_fuzz_until(&path, '?');

    code[0] = aegis_route_find(method, head, &route[0], &id[0], &allow[0]);
    path.data = head.data;
    path.len = (size_t) (line.data + line.len - head.data);
    code[1] = aegis_route_find_raw(line, path, &route[1], &id[1], &allow[1]);

    aegis_fuzz_must(code[0] == code[1]);
    aegis_fuzz_must(code[0] != AEGIS_E_OK || route[0] == route[1]);
    aegis_fuzz_must(code[0] != AEGIS_E_METHOD || allow[0] == allow[1]);
}


int
LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    aegis_str_t           path = { size, (const char *) data }, method, id;
    const char           *allow;
    aegis_code_t          code;
    const aegis_route_t  *route;

    method = aegis_fuzz_until(&path, ' ');

    if (method.len < size) {
        raw_too((aegis_str_t) { size, (const char *) data }, method, path);
    }

    path = aegis_fuzz_join("", path, "");

    allow = NULL;
    id = AEGIS_NO_STR;
    code = aegis_route_find(method, path, &route, &id, &allow);

    if (code == AEGIS_E_OK) {
        aegis_fuzz_must(route == aegis_route(route->id));
        spells(route, path, id);
        literal_first(route, path);
        aegis_fuzz_must(!aegis_uuid_valid(id) || id.len == AEGIS_UUID_LEN);

    } else {
        aegis_fuzz_must(code == AEGIS_E_NOT_FOUND || code == AEGIS_E_METHOD);
        aegis_fuzz_must(id.data == NULL && (code == AEGIS_E_METHOD) == (allow != NULL));
    }

    all_methods(path);
    free((char *) path.data);

    return 0;
}
