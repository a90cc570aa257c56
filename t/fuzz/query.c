/*
 * query.c: fuzzes query strings: a path before the first "?", the arguments behind
 * it, of whichever route has the path. What is taken obeys its limits; its
 * canonical form, asked again, is taken and is the same.
 */
#include "aegis_fuzz.h"

#include "aegis_fsm.h"
#include "aegis_http.h"
#include "aegis_query.h"

#define TENANT  aegis_str("acme")


static void
obeys(const aegis_route_t *route, const aegis_query_t *query)
{
    size_t              i, k;
    const aegis_str_t  *v = query->v;

    for (i = 0; i < AEGIS_N_ARGS; i++) {
        aegis_fuzz_must(aegis_fuzz_utf8(v[i]));
        aegis_fuzz_must(v[i].data == NULL || v[i].len > 0);
        aegis_fuzz_must(v[i].data == NULL || route->kind == AEGIS_KIND_PAGE);

        for (k = 0; k < v[i].len; k++) {
            aegis_fuzz_must((unsigned char) v[i].data[k] >= 0x20 && v[i].data[k] != 0x7f);
        }
    }
}


static void
checked(const aegis_query_t *query)
{
    long                limit;
    char                text[512];
    const aegis_str_t  *v = query->v;

    aegis_fuzz_must(v[AEGIS_ARG_STATE].data == NULL);
    aegis_fuzz_must(v[AEGIS_ARG_STATUS].data == NULL
                    || aegis_state_by_name(v[AEGIS_ARG_STATUS]) < AEGIS_N_STATES);
    aegis_fuzz_must(v[AEGIS_ARG_TAG].data == NULL
                    || aegis_utf8_count(v[AEGIS_ARG_TAG].data, v[AEGIS_ARG_TAG].len)
                       <= AEGIS_QUERY_TAG_MAX);
    aegis_fuzz_must(v[AEGIS_ARG_SINCE].data == NULL
                    || aegis_http_time_valid(v[AEGIS_ARG_SINCE]));

    if (v[AEGIS_ARG_LIMIT].len < sizeof(text)) {
        memcpy(text, v[AEGIS_ARG_LIMIT].data, v[AEGIS_ARG_LIMIT].len);
        text[v[AEGIS_ARG_LIMIT].len] = '\0';
        limit = strtol(text, NULL, 10);
        aegis_fuzz_must(limit >= 1 && limit <= AEGIS_QUERY_LIMIT_MAX);
    }
}


/* The canonical form in an allocation of the size that was promised. */
static char *
canonical(const aegis_query_t *query, aegis_str_t path, aegis_str_t *filters,
    aegis_str_t *again)
{
    char    *buf;
    size_t   i;

    buf = malloc(aegis_query_canonical_size(query, TENANT, path));
    aegis_fuzz_must(buf != NULL);
    aegis_query_canonical(query, TENANT, path, buf, filters, again);

    for (i = 0; i < again->len; i++) {
        aegis_fuzz_must(again->data[i] > 0x20 && again->data[i] < 0x7f
                        && strchr("\"<>\\^`{}", again->data[i]) == NULL);
    }

    return buf;
}


static void
asked_again(const aegis_route_t *route, const aegis_query_t *query, aegis_str_t path)
{
    char           *first, *second, *buf;
    aegis_str_t     filters[2], args[2];
    aegis_query_t   twice;
    aegis_error_t   err = AEGIS_ERROR_INIT;

    first = canonical(query, path, &filters[0], &args[0]);

    buf = malloc(args[0].len);
    aegis_fuzz_must(aegis_query_parse(route, args[0], buf, &twice, &err) == AEGIS_E_OK);
    aegis_fuzz_must(aegis_query_check(&twice, &err) == AEGIS_E_OK);
    aegis_fuzz_must(aegis_fuzz_same(twice.v[AEGIS_ARG_TAG], query->v[AEGIS_ARG_TAG]));
    aegis_fuzz_must(aegis_fuzz_same(twice.v[AEGIS_ARG_UNTIL], query->v[AEGIS_ARG_UNTIL]));

    second = canonical(&twice, path, &filters[1], &args[1]);
    aegis_fuzz_must(aegis_fuzz_same(filters[0], filters[1]));
    aegis_fuzz_must(aegis_fuzz_same(args[0], args[1]));

    free(first);
    free(second);
    free(buf);
}


int
LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    char                 *buf;
    const char           *allow;
    aegis_str_t           in = { size, (const char *) data }, path, args, id;
    aegis_code_t          code;
    aegis_query_t         query;
    aegis_error_t         err = AEGIS_ERROR_INIT;
    const aegis_route_t  *route;

    path = aegis_fuzz_until(&in, '?');

    if (aegis_route_find(aegis_str("GET"), path, &route, &id, &allow) != AEGIS_E_OK) {
        route = aegis_route(AEGIS_ROUTE_CASE_LIST);
    }

    args = aegis_fuzz_join("", in, "");
    buf = malloc(args.len);

    code = aegis_query_parse(route, args, buf, &query, &err);
    free((char *) args.data);

    if (code == AEGIS_E_OK) {
        obeys(route, &query);
        code = route->kind == AEGIS_KIND_PAGE ? aegis_query_check(&query, &err) : code;
    }

    if (code != AEGIS_E_OK) {
        aegis_fuzz_must(code == AEGIS_E_BAD_REQUEST);
        aegis_fuzz_refused(&err, code);

    } else if (route->kind == AEGIS_KIND_PAGE) {
        checked(&query);
        asked_again(route, &query, path);
    }

    free(buf);

    return 0;
}
