/*
 * aegis_query.h: the query string: splitting, percent-decoding, which route knows
 * which argument, what a value may be, and the one form of a page's filters.
 */
#ifndef AEGIS_QUERY_H
#define AEGIS_QUERY_H

#include "aegis_error.h"
#include "aegis_route.h"

#define AEGIS_QUERY_TAG_MAX    64
#define AEGIS_QUERY_LIMIT_MAX  200
#define AEGIS_QUERY_TOPK_MAX   50

typedef enum {
    AEGIS_ARG_STATUS, AEGIS_ARG_STATE, AEGIS_ARG_TENANT, AEGIS_ARG_TAG, AEGIS_ARG_SINCE,
    AEGIS_ARG_UNTIL, AEGIS_ARG_LIMIT, AEGIS_ARG_CURSOR, AEGIS_ARG_Q, AEGIS_ARG_TOPK,
    AEGIS_ARG_FILTER, AEGIS_ARG_FROM,
    AEGIS_N_ARGS
} aegis_arg_t;

typedef struct {
    aegis_str_t  v[AEGIS_N_ARGS];   /* decoded; data NULL: not there */
} aegis_query_t;

/*
 * Split args, the part behind "?", and decode the values into buf, which holds
 * args.len bytes and has to live as long as ret_query. BAD_REQUEST for what the
 * route does not know, what is there twice, is empty, is not UTF-8 or has a
 * control character.
 */
aegis_code_t aegis_query_parse(const aegis_route_t *route, aegis_str_t args, char *buf,
    aegis_query_t *ret_query, aegis_error_t *err);

/* What each value may be, but tenant and cursor, which are the caller's to judge.
 * state becomes status, limit its default. BAD_REQUEST otherwise. */
aegis_code_t aegis_query_check(aegis_query_t *query, aegis_error_t *err);

/* The same for a search: q is there, topk has its default. */
aegis_code_t aegis_query_check_search(aegis_query_t *query, aegis_error_t *err);

/* The same for a difference: from, where it is, is an id. */
aegis_code_t aegis_query_check_diff(aegis_query_t *query, aegis_error_t *err);

/* Bytes that aegis_query_canonical() needs. */
size_t aegis_query_canonical_size(const aegis_query_t *query, aegis_str_t tenant,
    aegis_str_t path);

/*
 * Write tenant, path and filters into buf. *ret_filters is all of it: what cursors
 * are bound to; *ret_query, inside of it, the filters as a query string that asks
 * the same again, with the limit behind them.
 */
void aegis_query_canonical(const aegis_query_t *query, aegis_str_t tenant,
    aegis_str_t path, char *buf, aegis_str_t *ret_filters, aegis_str_t *ret_query);

#endif
