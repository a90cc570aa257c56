/*
 * aegis_query.c: the query string of the pages. Its invariant: the canonical form
 * of what was taken, asked again, is taken and has the same canonical form, so a
 * link that we made is never refused.
 */
#include "aegis_query.h"

#include <string.h>

#include "aegis_fsm.h"
#include "aegis_http.h"
#include "aegis_json.h"
#include "aegis_kb.h"

#define AEGIS_QUERY_NAME_SHOWN  64      /* bytes of a name that a refusal repeats */

static const struct {
    const char  *name;
    char         on;                    /* 'c' GET /case, 'p' any page, 's' search, 'd' diff */
    int          plus;                  /* + is itself, not a blank */
} aegis_query_args[AEGIS_N_ARGS] = {
    { "status", 'c', 0 },
    { "state",  'c', 0 },
    { "tenant", 'c', 0 },
    { "tag",    'c', 0 },
    { "since",  'c', 1 },
    { "until",  'c', 1 },
    { "limit",  'p', 0 },
    { "cursor", 'p', 0 },
    { "q",      's', 0 },
    { "topk",   's', 0 },
    { "filter", 's', 0 },
    { "from",   'd', 0 }
};

static const aegis_arg_t  aegis_query_filters[] = {
    AEGIS_ARG_STATUS, AEGIS_ARG_TAG, AEGIS_ARG_SINCE, AEGIS_ARG_UNTIL
};

#define AEGIS_QUERY_N_FILTERS                                                  \
    (sizeof(aegis_query_filters) / sizeof(aegis_query_filters[0]))


static aegis_code_t
aegis_query_bad(aegis_error_t *err, aegis_str_t name, const char *what)
{
    size_t  len;

    len = name.len < AEGIS_QUERY_NAME_SHOWN ? name.len : AEGIS_QUERY_NAME_SHOWN;

    return aegis_error_set(err, AEGIS_E_BAD_REQUEST, "The query parameter %.*s %s.",
                           (int) len, name.data, what);
}


static aegis_code_t
aegis_query_bad_arg(aegis_error_t *err, aegis_arg_t arg, const char *what)
{
    const char  *name = aegis_query_args[arg].name;

    return aegis_query_bad(err, aegis_view(name), what);
}


static int
aegis_query_hex(char c)
{
    return c >= '0' && c <= '9' ? c - '0'
           : c >= 'a' && c <= 'f' ? c - 'a' + 10
           : c >= 'A' && c <= 'F' ? c - 'A' + 10 : -1;
}


/* 1 when s could be decoded into out, which holds s.len bytes. */
static int
aegis_query_decode(aegis_str_t s, int plus, char *out, size_t *ret_len)
{
    int       high, low;
    char     *d;
    size_t    i, n;
    uint32_t  cp;

    for (d = out, i = 0; i < s.len; i++) {
        if (s.data[i] != '%') {
            *d++ = s.data[i] == '+' && !plus ? ' ' : s.data[i];
            continue;
        }

        if (s.len - i < 3) {
            return 0;
        }

        high = aegis_query_hex(s.data[i + 1]);
        low = aegis_query_hex(s.data[i + 2]);

        if (high < 0 || low < 0) {
            return 0;
        }

        *d++ = (char) (high << 4 | low);
        i += 2;
    }

    *ret_len = (size_t) (d - out);

    for (i = 0; i < *ret_len; i += n) {
        n = aegis_utf8_next(out + i, *ret_len - i, &cp);

        if (n == 0 || cp < 0x20 || cp == 0x7f) {
            return 0;
        }
    }

    return 1;
}


static int
aegis_query_takes(const aegis_route_t *route, char on)
{
    switch (on) {

    case 's':
        return route->kind == AEGIS_KIND_SEARCH;

    case 'd':
        return route->kind == AEGIS_KIND_READ_DIFF;

    case 'c':
        return route->id == AEGIS_ROUTE_CASE_LIST;

    default:
        return route->kind == AEGIS_KIND_PAGE;
    }
}


static aegis_arg_t
aegis_query_arg(const aegis_route_t *route, aegis_str_t name)
{
    unsigned  i;

    for (i = 0; i < AEGIS_N_ARGS; i++) {
        if (name.len == strlen(aegis_query_args[i].name)
            && memcmp(name.data, aegis_query_args[i].name, name.len) == 0)
        {
            break;
        }
    }

    if (i == AEGIS_N_ARGS || !aegis_query_takes(route, aegis_query_args[i].on)) {
        return AEGIS_N_ARGS;
    }

    return (aegis_arg_t) i;
}


aegis_code_t
aegis_query_parse(const aegis_route_t *route, aegis_str_t args, char *buf,
    aegis_query_t *ret_query, aegis_error_t *err)
{
    size_t          len;
    const char     *p, *end, *last, *eq;
    aegis_arg_t     arg;
    aegis_str_t     name, value;
    aegis_query_t   query;

    memset(&query, 0, sizeof(query));

    p = args.data;
    last = args.len ? p + args.len : p;

    for ( /* void */ ; p < last; p = end + 1) {
        end = memchr(p, '&', (size_t) (last - p));
        end = end ? end : last;

        if (end == p) {
            continue;
        }

        eq = memchr(p, '=', (size_t) (end - p));
        name = (aegis_str_t) { (size_t) ((eq ? eq : end) - p), p };
        arg = aegis_query_arg(route, name);

        if (arg == AEGIS_N_ARGS) {
            return aegis_query_bad(err, name, "is not known here");
        }

        if (query.v[arg].data) {
            return aegis_query_bad(err, name, "is there twice");
        }

        value = eq ? (aegis_str_t) { (size_t) (end - eq - 1), eq + 1 } : aegis_str("");

        if (!aegis_query_decode(value, aegis_query_args[arg].plus, buf, &len)
            || len == 0)
        {
            return aegis_query_bad(err, name, "has no valid value");
        }

        query.v[arg] = (aegis_str_t) { len, buf };
        buf += len;
    }

    *ret_query = query;

    return AEGIS_E_OK;
}


static int
aegis_query_limit(aegis_str_t s, unsigned most)
{
    size_t    i;
    unsigned  n;

    for (n = 0, i = 0; i < s.len; i++) {
        if (s.data[i] < '0' || s.data[i] > '9') {
            return 0;
        }

        n = n * 10 + (unsigned) (s.data[i] - '0');

        if (n > most) {
            return 0;
        }
    }

    return n >= 1;
}


aegis_code_t
aegis_query_check(aegis_query_t *query, aegis_error_t *err)
{
    unsigned      i;
    aegis_str_t  *v = query->v;

    if (v[AEGIS_ARG_STATE].data) {
        if (v[AEGIS_ARG_STATUS].data) {
            return aegis_query_bad_arg(err, AEGIS_ARG_STATE,
                                       "means the same as status; send one of them");
        }

        v[AEGIS_ARG_STATUS] = v[AEGIS_ARG_STATE];
        v[AEGIS_ARG_STATE] = AEGIS_NO_STR;
    }

    if (v[AEGIS_ARG_STATUS].data
        && aegis_state_by_name(v[AEGIS_ARG_STATUS]) == AEGIS_N_STATES)
    {
        return aegis_query_bad_arg(err, AEGIS_ARG_STATUS, "names no state");
    }

    if (v[AEGIS_ARG_TAG].data
        && aegis_utf8_count(v[AEGIS_ARG_TAG].data, v[AEGIS_ARG_TAG].len)
           > AEGIS_QUERY_TAG_MAX)
    {
        return aegis_query_bad_arg(err, AEGIS_ARG_TAG, "is longer than 64 characters");
    }

    for (i = AEGIS_ARG_SINCE; i <= AEGIS_ARG_UNTIL; i++) {
        if (v[i].data && !aegis_http_time_valid(v[i])) {
            return aegis_query_bad_arg(err, i, "is not an RFC 3339 time");
        }
    }

    if (v[AEGIS_ARG_LIMIT].data == NULL) {
        v[AEGIS_ARG_LIMIT] = aegis_str("50");

    } else if (!aegis_query_limit(v[AEGIS_ARG_LIMIT], AEGIS_QUERY_LIMIT_MAX)) {
        return aegis_query_bad_arg(err, AEGIS_ARG_LIMIT, "is not a number from 1 to 200");
    }

    return AEGIS_E_OK;
}


aegis_code_t
aegis_query_check_search(aegis_query_t *query, aegis_error_t *err)
{
    aegis_str_t  *v = query->v;

    if (v[AEGIS_ARG_Q].data == NULL) {
        return aegis_query_bad_arg(err, AEGIS_ARG_Q, "is required");
    }

    if (v[AEGIS_ARG_Q].len > AEGIS_KB_QUERY_MAX) {
        return aegis_query_bad_arg(err, AEGIS_ARG_Q, "is longer than 1024 bytes");
    }

    if (v[AEGIS_ARG_TOPK].data == NULL) {
        v[AEGIS_ARG_TOPK] = aegis_str("8");

    } else if (!aegis_query_limit(v[AEGIS_ARG_TOPK], AEGIS_QUERY_TOPK_MAX)) {
        return aegis_query_bad_arg(err, AEGIS_ARG_TOPK, "is not a number from 1 to 50");
    }

    return AEGIS_E_OK;
}


aegis_code_t
aegis_query_check_diff(aegis_query_t *query, aegis_error_t *err)
{
    aegis_str_t  *v = query->v;

    if (v[AEGIS_ARG_FROM].data && !aegis_uuid_valid(v[AEGIS_ARG_FROM])) {
        return aegis_query_bad_arg(err, AEGIS_ARG_FROM, "is no id of a plan");
    }

    return AEGIS_E_OK;
}


size_t
aegis_query_canonical_size(const aegis_query_t *query, aegis_str_t tenant,
    aegis_str_t path)
{
    size_t       i, size;
    aegis_arg_t  arg;

    size = tenant.len + 1 + path.len + 1;

    for (i = 0; i < AEGIS_QUERY_N_FILTERS; i++) {
        arg = aegis_query_filters[i];

        if (query->v[arg].data) {
            size += strlen(aegis_query_args[arg].name) + 3 * query->v[arg].len + 2;
        }
    }

    return size + sizeof("limit=") - 1 + query->v[AEGIS_ARG_LIMIT].len;
}


static char *
aegis_query_copy(char *p, aegis_str_t s)
{
    if (s.len) {
        memcpy(p, s.data, s.len);
    }

    return p + s.len;
}


/* All but the unreserved characters of RFC 3986, as %XX. */
static char *
aegis_query_escape(char *p, aegis_str_t s)
{
    size_t         i;
    unsigned char  c;

    static const char  digits[] = "0123456789ABCDEF";

    for (i = 0; i < s.len; i++) {
        c = (unsigned char) s.data[i];

        if ((c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9')
            || c == '-' || c == '.' || c == '_' || c == '~')
        {
            *p++ = (char) c;
            continue;
        }

        *p++ = '%';
        *p++ = digits[c >> 4];
        *p++ = digits[c & 15];
    }

    return p;
}


void
aegis_query_canonical(const aegis_query_t *query, aegis_str_t tenant, aegis_str_t path,
    char *buf, aegis_str_t *ret_filters, aegis_str_t *ret_query)
{
    char         *p;
    size_t        i;
    aegis_arg_t   arg;
    const char   *name;

    p = aegis_query_copy(buf, tenant);
    *p++ = '\n';
    p = aegis_query_copy(p, path);
    *p++ = '\n';

    ret_query->data = p;

    for (i = 0; i < AEGIS_QUERY_N_FILTERS; i++) {
        arg = aegis_query_filters[i];

        if (query->v[arg].data) {
            name = aegis_query_args[arg].name;
            p = aegis_query_copy(p, aegis_view(name));
            *p++ = '=';
            p = aegis_query_escape(p, query->v[arg]);
            *p++ = '&';
        }
    }

    ret_filters->data = buf;
    ret_filters->len = (size_t) (p - buf);

    p = aegis_query_copy(p, aegis_str("limit="));
    p = aegis_query_copy(p, query->v[AEGIS_ARG_LIMIT]);

    ret_query->len = (size_t) (p - ret_query->data);
}
