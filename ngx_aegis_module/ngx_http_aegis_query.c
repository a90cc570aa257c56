/*
 * ngx_http_aegis_query.c: the query string of the PAGE routes, and their pages.
 * Invariant: a cursor carries a position under a MAC over the tenant, the path
 * and the filters, so what reaches SQL as a position was made by us for the
 * same question.
 */
#include "ngx_http_aegis_module.h"

#define NGX_HTTP_AEGIS_LIMIT       50
#define NGX_HTTP_AEGIS_MAX_LIMIT   200
#define NGX_HTTP_AEGIS_MAX_FILTERS 1024

typedef enum {
    ARG_STATUS = 0, ARG_STATE, ARG_TENANT, ARG_TAG, ARG_SINCE, ARG_UNTIL, ARG_LIMIT,
    ARG_CURSOR, ARG_N
} ngx_http_aegis_arg_t;

static const struct {
    ngx_str_t   name;
    ngx_uint_t  list_only;      /* a filter of GET /case */
    ngx_uint_t  plus;           /* + is itself, not a blank */
} ngx_http_aegis_args[ARG_N] = {
    { ngx_string("status"), 1, 0 },
    { ngx_string("state"),  1, 0 },
    { ngx_string("tenant"), 1, 0 },
    { ngx_string("tag"),    1, 0 },
    { ngx_string("since"),  1, 1 },
    { ngx_string("until"),  1, 1 },
    { ngx_string("limit"),  0, 0 },
    { ngx_string("cursor"), 0, 0 }
};


/* Without aegis_cursor_secret: one that the shared zone made, which lasts as
 * long as nginx runs. */
static aegis_str_t
ngx_http_aegis_query_secret(ngx_http_aegis_job_t *job)
{
    return job->conf->cursor_secret.len
           ? ngx_http_aegis_view(job->conf->cursor_secret)
           : ngx_http_aegis_stats_secret();
}


static ngx_int_t
ngx_http_aegis_query_bad(ngx_http_aegis_job_t *job, const char *what, ngx_str_t *name)
{
    aegis_error_set(&job->err, AEGIS_E_BAD_REQUEST, "The query parameter %.*s %s.",
                    (int) ngx_min(name->len, 64), name->data, what);
    return NGX_ERROR;
}


/* Percent-decode into the job's pool. A NUL, a control character or a byte
 * sequence that is not UTF-8 is refused. */
static ngx_int_t
ngx_http_aegis_query_decode(ngx_http_aegis_job_t *job, u_char *p, size_t len,
    ngx_uint_t plus, ngx_str_t *out)
{
    size_t      n;
    u_char     *d, *last;
    uint32_t    cp;
    ngx_int_t   v;

    d = ngx_pnalloc(job->pool, len + 1);
    if (d == NULL) {
        return NGX_ERROR;
    }

    out->data = d;

    for (last = p + len; p < last; p++) {
        if (*p == '%') {
            v = last - p > 2 ? ngx_hextoi(p + 1, 2) : NGX_ERROR;
            if (v == NGX_ERROR) {
                return NGX_DECLINED;
            }
            *d++ = (u_char) v;
            p += 2;

        } else {
            *d++ = (*p == '+' && !plus) ? ' ' : *p;
        }
    }

    *d = '\0';
    out->len = d - out->data;

    for (p = out->data; p < d; p += n) {
        n = aegis_utf8_next((char *) p, d - p, &cp);
        if (n == 0 || cp < 0x20 || cp == 0x7f) {
            return NGX_DECLINED;
        }
    }

    return NGX_OK;
}


static ngx_int_t
ngx_http_aegis_query_parse(ngx_http_aegis_job_t *job, ngx_str_t values[ARG_N])
{
    u_char      *p, *last, *end, *eq;
    ngx_int_t    rc;
    ngx_str_t    name;
    ngx_uint_t   i;

    p = job->r->args.data;
    last = p + job->r->args.len;

    for ( /* void */ ; p < last; p = end + 1) {
        end = ngx_strlchr(p, last, '&');
        if (end == NULL) {
            end = last;
        }

        if (end == p) {
            continue;
        }

        eq = ngx_strlchr(p, end, '=');
        if (eq == NULL) {
            eq = end;
        }

        name.data = p;
        name.len = eq - p;

        for (i = 0; i < ARG_N; i++) {
            if (name.len == ngx_http_aegis_args[i].name.len
                && ngx_strncmp(name.data, ngx_http_aegis_args[i].name.data,
                               name.len) == 0)
            {
                break;
            }
        }

        if (job->route->kind != AEGIS_KIND_PAGE || i == ARG_N
            || (ngx_http_aegis_args[i].list_only
                && job->route->id != AEGIS_ROUTE_CASE_LIST))
        {
            return ngx_http_aegis_query_bad(job, "is not known here", &name);
        }

        if (values[i].data) {
            return ngx_http_aegis_query_bad(job, "is there twice", &name);
        }

        rc = eq == end ? NGX_DECLINED
             : ngx_http_aegis_query_decode(job, eq + 1, end - eq - 1,
                                           ngx_http_aegis_args[i].plus, &values[i]);

        if (rc == NGX_DECLINED || (rc == NGX_OK && values[i].len == 0)) {
            return ngx_http_aegis_query_bad(job, "has no valid value", &name);
        }

        if (rc != NGX_OK) {
            return NGX_HTTP_INTERNAL_SERVER_ERROR;
        }
    }

    return NGX_OK;
}


static ngx_int_t
ngx_http_aegis_query_check(ngx_http_aegis_job_t *job, ngx_str_t values[ARG_N])
{
    ngx_int_t   n;
    ngx_str_t  *name;

    if (values[ARG_STATE].data) {
        name = (ngx_str_t *) &ngx_http_aegis_args[ARG_STATE].name;

        if (values[ARG_STATUS].data) {
            return ngx_http_aegis_query_bad(job, "means the same as status; "
                                            "send one of them", name);
        }

        values[ARG_STATUS] = values[ARG_STATE];
    }

    name = (ngx_str_t *) &ngx_http_aegis_args[ARG_STATUS].name;

    if (values[ARG_STATUS].data
        && aegis_state_by_name(ngx_http_aegis_view(values[ARG_STATUS]))
           == AEGIS_N_STATES)
    {
        return ngx_http_aegis_query_bad(job, "names no state", name);
    }

    if (values[ARG_TENANT].data
        && ngx_http_aegis_identity_tenant(job, (char *) values[ARG_TENANT].data,
                                          values[ARG_TENANT].len) != NGX_OK)
    {
        return NGX_ERROR;
    }

    name = (ngx_str_t *) &ngx_http_aegis_args[ARG_TAG].name;

    if (values[ARG_TAG].data
        && aegis_utf8_count((char *) values[ARG_TAG].data, values[ARG_TAG].len) > 64)
    {
        return ngx_http_aegis_query_bad(job, "is longer than 64 characters", name);
    }

    for (n = ARG_SINCE; n <= ARG_UNTIL; n++) {
        name = (ngx_str_t *) &ngx_http_aegis_args[n].name;

        if (values[n].data
            && !aegis_http_time_valid(ngx_http_aegis_view(values[n])))
        {
            return ngx_http_aegis_query_bad(job, "is not an RFC 3339 time", name);
        }
    }

    if (values[ARG_LIMIT].data) {
        name = (ngx_str_t *) &ngx_http_aegis_args[ARG_LIMIT].name;
        n = ngx_atoi(values[ARG_LIMIT].data, values[ARG_LIMIT].len);

        if (n < 1 || n > NGX_HTTP_AEGIS_MAX_LIMIT) {
            return ngx_http_aegis_query_bad(job, "is not a number from 1 to 200",
                                            name);
        }
    }

    return NGX_OK;
}


/* The filters as a query string, which is also what cursors are bound to. */
static ngx_int_t
ngx_http_aegis_query_canonical(ngx_http_aegis_job_t *job, ngx_str_t values[ARG_N])
{
    size_t      size;
    u_char     *p, *q;
    ngx_uint_t  i;

    static const ngx_http_aegis_arg_t  filters[] = {
        ARG_STATUS, ARG_TAG, ARG_SINCE, ARG_UNTIL
    };

    size = job->who->tenant.len + job->r->uri.len + 64;
    for (i = 0; i < 4; i++) {
        size += 16 + 3 * values[filters[i]].len;
    }

    p = ngx_pnalloc(job->pool, size);
    if (p == NULL) {
        return NGX_ERROR;
    }

    q = ngx_sprintf(p, "%V\n%V\n", &job->who->tenant, &job->r->uri);
    job->query.data = q;

    for (i = 0; i < 4; i++) {
        if (values[filters[i]].data) {
            q = ngx_sprintf(q, "%V=", &ngx_http_aegis_args[filters[i]].name);
            q = (u_char *) ngx_escape_uri(q, values[filters[i]].data,
                                          values[filters[i]].len,
                                          NGX_ESCAPE_URI_COMPONENT);
            *q++ = '&';
        }
    }

    job->filters.data = (char *) p;
    job->filters.len = q - p;

    q = ngx_sprintf(q, "limit=%*s", job->item.v[AEGIS_C_limit].len,
                    job->item.v[AEGIS_C_limit].data);
    job->query.len = q - job->query.data;

    return NGX_OK;
}


ngx_int_t
ngx_http_aegis_step_query(ngx_http_aegis_job_t *job)
{
    char         *after;
    ngx_int_t     rc;
    ngx_str_t     values[ARG_N];
    aegis_item_t *item;

    ngx_memzero(values, sizeof(values));

    rc = ngx_http_aegis_query_parse(job, values);
    if (rc != NGX_OK || job->route->kind != AEGIS_KIND_PAGE) {
        return rc;
    }

    rc = ngx_http_aegis_query_check(job, values);
    if (rc != NGX_OK) {
        return rc;
    }

    item = &job->item;
    item->v[AEGIS_C_status] = ngx_http_aegis_view(values[ARG_STATUS]);
    item->v[AEGIS_C_tag] = ngx_http_aegis_view(values[ARG_TAG]);
    item->v[AEGIS_C_since] = ngx_http_aegis_view(values[ARG_SINCE]);
    item->v[AEGIS_C_until] = ngx_http_aegis_view(values[ARG_UNTIL]);
    item->v[AEGIS_C_limit] = values[ARG_LIMIT].data
                             ? ngx_http_aegis_view(values[ARG_LIMIT])
                             : aegis_str("50");

    if (ngx_http_aegis_query_canonical(job, values) != NGX_OK) {
        return NGX_HTTP_INTERNAL_SERVER_ERROR;
    }

    if (values[ARG_CURSOR].data) {
        after = ngx_pnalloc(job->pool, AEGIS_CURSOR_MAX);
        if (after == NULL) {
            return NGX_HTTP_INTERNAL_SERVER_ERROR;
        }

        if (aegis_cursor_read(ngx_http_aegis_query_secret(job),
                              job->filters, ngx_http_aegis_view(values[ARG_CURSOR]),
                              after, AEGIS_CURSOR_MAX) != AEGIS_E_OK)
        {
            aegis_error_set(&job->err, AEGIS_E_CURSOR_INVALID, "%s", "");
            return NGX_ERROR;
        }

        item->v[AEGIS_C_after] = ngx_http_aegis_cview(after);
    }

    return NGX_OK;
}


ngx_int_t
ngx_http_aegis_page(ngx_http_aegis_job_t *job, ngx_str_t items, aegis_str_t next)
{
    char        cursor[AEGIS_CURSOR_MAX];
    u_char     *p;
    ngx_str_t   link, *uri;

    cursor[0] = '\0';
    uri = &job->r->uri;

    if (next.data
        && aegis_cursor_make(ngx_http_aegis_query_secret(job),
                             job->filters, next, cursor, sizeof(cursor))
           != AEGIS_E_OK)
    {
        return NGX_ERROR;
    }

    p = ngx_pnalloc(job->r->pool, items.len + sizeof(cursor) + 32);
    if (p == NULL) {
        return NGX_ERROR;
    }

    job->reply.body.data = p;
    p = ngx_sprintf(p, "{\"items\":%V,\"next\":", &items);
    p = cursor[0] ? ngx_sprintf(p, "\"%s\"}", cursor) : ngx_sprintf(p, "null}");
    job->reply.body.len = p - job->reply.body.data;

    p = ngx_pnalloc(job->r->pool, 2 * (uri->len + job->query.len) + sizeof(cursor)
                                  + 64);
    if (p == NULL) {
        return NGX_ERROR;
    }

    link.data = p;
    p = ngx_sprintf(p, "<%V?%V>; rel=\"first\"", uri, &job->query);
    if (cursor[0]) {
        p = ngx_sprintf(p, ", <%V?%V&cursor=%s>; rel=\"next\"", uri, &job->query,
                        cursor);
    }
    link.len = p - link.data;

    return ngx_http_aegis_add_header(job->r, "Link", link);
}
