/*
 * ngx_http_aegis_query.c: the pages: their query string, by core/aegis_query.h,
 * their cursors and Link. Invariant: a cursor carries a position under a MAC over
 * the tenant, the path and the filters, so what reaches SQL as a position was made
 * by us for the same question.
 */
#include "ngx_http_aegis_module.h"


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
ngx_http_aegis_query_filters(ngx_http_aegis_job_t *job, const aegis_query_t *query)
{
    char         *buf;
    aegis_str_t   tenant, path, again;

    tenant = ngx_http_aegis_view(job->who->tenant);
    path = ngx_http_aegis_view(job->r->uri);

    buf = ngx_pnalloc(job->pool, aegis_query_canonical_size(query, tenant, path));
    if (buf == NULL) {
        return NGX_ERROR;
    }

    aegis_query_canonical(query, tenant, path, buf, &job->filters, &again);

    job->query.data = (u_char *) again.data;
    job->query.len = again.len;

    return NGX_OK;
}


/* A question as a probe: its vector is made here, out of at most a kilobyte. */
static ngx_int_t
ngx_http_aegis_query_search(ngx_http_aegis_job_t *job, aegis_query_t *query)
{
    char          *probe;
    aegis_code_t   code;

    if (aegis_query_check_search(query, &job->err) != AEGIS_E_OK) {
        return NGX_ERROR;
    }

    code = aegis_kb_probe(query->v[AEGIS_ARG_Q], query->v[AEGIS_ARG_FILTER], &probe, &job->err);
    if (code != AEGIS_E_OK) {
        return code == AEGIS_E_BAD_REQUEST ? NGX_ERROR : NGX_HTTP_INTERNAL_SERVER_ERROR;
    }

    job->made[job->n_made++] = probe;
    job->item.v[AEGIS_C_probe] = ngx_http_aegis_cview(probe);
    job->item.v[AEGIS_C_attempt] = aegis_str("0");
    job->item.v[AEGIS_C_limit] = query->v[AEGIS_ARG_TOPK];

    return NGX_OK;
}


ngx_int_t
ngx_http_aegis_step_query(ngx_http_aegis_job_t *job)
{
    char           *buf, *after;
    aegis_str_t    *v, args, tenant;
    aegis_query_t   query;

    args = ngx_http_aegis_view(job->r->args);

    buf = ngx_pnalloc(job->pool, args.len + 1);
    if (buf == NULL) {
        return NGX_HTTP_INTERNAL_SERVER_ERROR;
    }

    if (aegis_query_parse(job->route, args, buf, &query, &job->err) != AEGIS_E_OK) {
        return NGX_ERROR;
    }

    if (job->route->kind == AEGIS_KIND_SEARCH) {
        return ngx_http_aegis_query_search(job, &query);
    }

    if (job->route->kind == AEGIS_KIND_READ_DIFF) {
        job->item.v[AEGIS_C_base_id] = query.v[AEGIS_ARG_FROM];

        return aegis_query_check_diff(&query, &job->err) == AEGIS_E_OK ? NGX_OK
                                                                       : NGX_ERROR;
    }

    if (job->route->kind != AEGIS_KIND_PAGE) {
        return NGX_OK;
    }

    if (aegis_query_check(&query, &job->err) != AEGIS_E_OK) {
        return NGX_ERROR;
    }

    /* it may be repeated, not changed */
    tenant = query.v[AEGIS_ARG_TENANT];

    if (tenant.data
        && ngx_http_aegis_identity_tenant(job, tenant.data, tenant.len) != NGX_OK)
    {
        return NGX_ERROR;
    }

    v = job->item.v;
    v[AEGIS_C_status] = query.v[AEGIS_ARG_STATUS];
    v[AEGIS_C_tag] = query.v[AEGIS_ARG_TAG];
    v[AEGIS_C_since] = query.v[AEGIS_ARG_SINCE];
    v[AEGIS_C_until] = query.v[AEGIS_ARG_UNTIL];
    v[AEGIS_C_limit] = query.v[AEGIS_ARG_LIMIT];

    if (ngx_http_aegis_query_filters(job, &query) != NGX_OK) {
        return NGX_HTTP_INTERNAL_SERVER_ERROR;
    }

    if (query.v[AEGIS_ARG_CURSOR].data == NULL) {
        return NGX_OK;
    }

    after = ngx_pnalloc(job->pool, AEGIS_CURSOR_MAX);
    if (after == NULL) {
        return NGX_HTTP_INTERNAL_SERVER_ERROR;
    }

    if (aegis_cursor_read(ngx_http_aegis_query_secret(job), job->filters,
                          query.v[AEGIS_ARG_CURSOR], after, AEGIS_CURSOR_MAX)
        != AEGIS_E_OK)
    {
        aegis_error_set(&job->err, AEGIS_E_CURSOR_INVALID, "%s", "");
        return NGX_ERROR;
    }

    v[AEGIS_C_after] = ngx_http_aegis_cview(after);

    return NGX_OK;
}


/* What a row says of a page's neighbours (aegis.page() in 21_pages.sql). */
static void
ngx_http_aegis_page_split(aegis_str_t extra, aegis_str_t *next, aegis_str_t *prev)
{
    char  *sp, *end;

    *next = extra;
    prev->data = NULL;
    prev->len = 0;

    sp = extra.data ? memchr(extra.data, ' ', extra.len) : NULL;
    if (sp == NULL) {
        return;
    }

    next->len = sp - extra.data;
    prev->data = sp + 1;
    prev->len = extra.len - next->len - 1;

    end = memchr(prev->data, ' ', prev->len);
    if (end) {
        prev->len = end - prev->data;
        next->data = NULL;
    }
}


/* cursor: AEGIS_CURSOR_MAX bytes; empty without a position */
static ngx_int_t
ngx_http_aegis_page_cursor(ngx_http_aegis_job_t *job, aegis_str_t position, char *cursor)
{
    cursor[0] = '\0';

    return position.data == NULL
           || aegis_cursor_make(ngx_http_aegis_query_secret(job), job->filters, position,
                                cursor, AEGIS_CURSOR_MAX)
              == AEGIS_E_OK ? NGX_OK : NGX_ERROR;
}


ngx_int_t
ngx_http_aegis_page(ngx_http_aegis_job_t *job, ngx_str_t items, aegis_str_t extra)
{
    char          cursor[AEGIS_CURSOR_MAX], before[AEGIS_CURSOR_MAX];
    u_char       *p;
    ngx_str_t     link, *uri;
    aegis_str_t   next, prev;

    uri = &job->r->uri;
    ngx_http_aegis_page_split(extra, &next, &prev);

    if (ngx_http_aegis_page_cursor(job, next, cursor) != NGX_OK
        || ngx_http_aegis_page_cursor(job, prev, before) != NGX_OK)
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

    p = ngx_pnalloc(job->r->pool, 3 * (uri->len + job->query.len) + 2 * sizeof(cursor)
                                  + 96);
    if (p == NULL) {
        return NGX_ERROR;
    }

    link.data = p;
    p = ngx_sprintf(p, "<%V?%V>; rel=\"first\"", uri, &job->query);
    if (before[0]) {
        p = ngx_sprintf(p, ", <%V?%V&cursor=%s>; rel=\"prev\"", uri, &job->query,
                        before);
    }
    if (cursor[0]) {
        p = ngx_sprintf(p, ", <%V?%V&cursor=%s>; rel=\"next\"", uri, &job->query,
                        cursor);
    }
    link.len = p - link.data;

    return ngx_http_aegis_add_header(job->r, "Link", link);
}
