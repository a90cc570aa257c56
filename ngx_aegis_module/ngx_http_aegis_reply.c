/*
 * ngx_http_aegis_reply.c: the only place that sends. Every answer says whose it
 * is (X-Request-Id), that it must not be kept without asking, and, when it is
 * a refusal, is a problem document.
 *
 * Invariant: nginx's own filters never change what was committed: conditions
 * are ours (disable_not_modified), and an entity tag stays strong because an
 * answer that has one is never compressed.
 */
#include "ngx_http_aegis_module.h"


ngx_int_t
ngx_http_aegis_add_header(ngx_http_request_t *r, const char *name, ngx_str_t value)
{
    ngx_table_elt_t  *h;

    h = ngx_list_push(&r->headers_out.headers);
    if (h == NULL) {
        return NGX_ERROR;
    }

    h->hash = 1;
    h->key.data = (u_char *) name;
    h->key.len = ngx_strlen(name);
    h->value = value;
#if (nginx_version >= 1023000)
    h->next = NULL;
#endif

    /* the ones that nginx's own modules look for */
    if (ngx_strcmp(name, "ETag") == 0) {
        r->headers_out.etag = h;

    } else if (ngx_strcmp(name, "WWW-Authenticate") == 0) {
        r->headers_out.www_authenticate = h;
    }

    return NGX_OK;
}


ngx_int_t
ngx_http_aegis_copy_reply(ngx_http_aegis_job_t *job, aegis_str_t body)
{
    job->reply.body.data = ngx_pnalloc(job->r->pool, body.len + 1);
    if (job->reply.body.data == NULL) {
        return NGX_ERROR;
    }

    ngx_memcpy(job->reply.body.data, body.data, body.len);
    job->reply.body.len = body.len;

    return NGX_OK;
}


/*
 * Nobody wants the body: what of it comes is thrown away. nginx would first say 100
 * Continue to who waits for it; the answer itself is what such a client is told, and
 * as it may still send the body or may not, nothing can follow on its connection.
 */
void
ngx_http_aegis_discard(ngx_http_request_t *r)
{
    ngx_uint_t  waits;

    waits = r == r->main && r->headers_in.expect && !r->expect_tested;
    r->expect_tested |= waits;

    if (ngx_http_discard_request_body(r) != NGX_OK || (waits && r->discard_body)) {
        r->keepalive = 0;
    }
}


static ngx_int_t
ngx_http_aegis_reply_headers(ngx_http_aegis_job_t *job)
{
    ngx_str_t            value;
    ngx_http_request_t  *r;

    r = job->r;

    r->disable_not_modified = 1;
    r->allow_ranges = 0;

    /* the connection ends with this answer: say so, and the client does not
     * send its next request into a closed one */
    if (ngx_exiting || ngx_terminate) {
        r->keepalive = 0;
    }

#if (NGX_HTTP_GZIP)
    if (!job->reply.cacheable) {
        r->gzip_tested = 1;
        r->gzip_ok = 0;
    }
#endif

    if (job->reply.cacheable) {
        ngx_str_set(&value, "no-cache");
    } else {
        ngx_str_set(&value, "no-cache, private");
    }

    if (ngx_http_aegis_add_header(r, "Cache-Control", value) != NGX_OK) {
        return NGX_ERROR;
    }

    if (ngx_http_aegis_headers_out(job) != NGX_OK) {
        return NGX_ERROR;
    }

    r->headers_out.status = job->reply.status;
    r->headers_out.status_line.len = 0;

    if (job->reply.status == NGX_HTTP_NO_CONTENT
        || job->reply.status == NGX_HTTP_NOT_MODIFIED)
    {
        r->header_only = 1;
        return NGX_OK;
    }

    if (job->reply.problem) {
        ngx_str_set(&r->headers_out.content_type, "application/problem+json");
    } else if (job->reply.text == 2) {
        ngx_str_set(&r->headers_out.content_type,
                    "application/openmetrics-text; version=1.0.0; charset=utf-8");
    } else if (job->reply.text) {
        ngx_str_set(&r->headers_out.content_type, "text/plain; version=0.0.4");
    } else {
        ngx_str_set(&r->headers_out.content_type, "application/json");
    }

    r->headers_out.content_type_len = r->headers_out.content_type.len;
    r->headers_out.content_type_lowcase = NULL;
    r->headers_out.content_length_n = job->reply.body.len;

    return NGX_OK;
}


static ngx_int_t
ngx_http_aegis_reply_send(ngx_http_aegis_job_t *job)
{
    ngx_int_t            rc;
    ngx_buf_t           *b;
    ngx_chain_t          out;
    ngx_http_request_t  *r;

    r = job->r;

    ngx_http_aegis_discard(r);

    if (ngx_http_aegis_reply_headers(job) != NGX_OK) {
        return NGX_HTTP_INTERNAL_SERVER_ERROR;
    }

    if (AEGIS_FP(gw_before_header, "gateway")) {
        return NGX_ERROR;
    }

    rc = ngx_http_send_header(r);

    if (rc == NGX_ERROR || rc > NGX_OK || r->header_only) {
        return rc;
    }

    if (AEGIS_FP(gw_before_body, "gateway")) {
        return NGX_ERROR;
    }

    b = ngx_calloc_buf(r->pool);
    if (b == NULL) {
        return NGX_ERROR;
    }

    b->pos = job->reply.body.data;
    b->last = b->pos + job->reply.body.len;
    b->memory = job->reply.body.len != 0;
    b->last_buf = (r == r->main);
    b->last_in_chain = 1;

    out.buf = b;
    out.next = NULL;

    return ngx_http_output_filter(r, &out);
}


/* NGX_AGAIN, a client that does not take all of it yet, is not for the step
 * loop, to which it would mean that the request waits for a row: nginx sends
 * the rest when the request is finalized with anything else. */
ngx_int_t
ngx_http_aegis_reply(ngx_http_aegis_job_t *job)
{
    ngx_int_t  rc;

    rc = ngx_http_aegis_reply_send(job);

    return rc == NGX_AGAIN ? NGX_OK : rc;
}


/* Retry-After of the refusals that pass; spread, so that those who were refused
 * together do not come back together. */
static ngx_int_t
ngx_http_aegis_reply_retry_after(ngx_http_aegis_job_t *job, aegis_code_t code)
{
    u_char     *p;
    ngx_str_t   value;
    ngx_uint_t  s;

    switch (code) {

    case AEGIS_E_KEY_IN_FLIGHT:
        s = 1;
        break;

    case AEGIS_E_BUSY:
    case AEGIS_E_RATE_LIMITED:
    case AEGIS_E_UNAVAILABLE:
    case AEGIS_E_OVERLOADED:
    case AEGIS_E_UNKNOWN_OUTCOME:
    case AEGIS_E_DEADLINE:
        s = job->retry_after ? job->retry_after : 1 + (ngx_uint_t) ngx_random() % 3;
        break;

    default:
        return NGX_OK;
    }

    p = ngx_pnalloc(job->r->pool, NGX_INT_T_LEN);
    if (p == NULL) {
        return NGX_ERROR;
    }

    value.data = p;
    value.len = ngx_sprintf(p, "%ui", s) - p;

    return ngx_http_aegis_add_header(job->r, "Retry-After", value);
}


ngx_int_t
ngx_http_aegis_reply_error(ngx_http_aegis_job_t *job)
{
    char                     *text;
    ngx_int_t                 rc;
    ngx_uint_t                level;
    aegis_str_t               id;
    const aegis_error_def_t  *def;

    def = aegis_error_def(job->err.code);

    if (ngx_http_aegis_trace(job) != NGX_OK) {
        return NGX_HTTP_INTERNAL_SERVER_ERROR;
    }

    id.data = (const char *) job->request_id;
    id.len = job->request_id_len;

    text = aegis_error_problem(&job->err, id);
    if (text == NULL) {
        return NGX_HTTP_INTERNAL_SERVER_ERROR;
    }

    rc = ngx_http_aegis_copy_reply(job, ngx_http_aegis_cview(text));
    free(text);

    if (rc != NGX_OK
        || ngx_http_aegis_reply_retry_after(job, job->err.code) != NGX_OK)
    {
        return NGX_HTTP_INTERNAL_SERVER_ERROR;
    }

    /* what passes by itself is for the access log and the counters: there may
     * be very many of them */
    if (def->http >= 500) {
        level = def->http == NGX_HTTP_INTERNAL_SERVER_ERROR ? NGX_LOG_ERR
                                                            : NGX_LOG_INFO;
        ngx_log_error(level, job->r->connection->log, 0, "aegis: %s: %s",
                      def->code, job->err.detail[0] ? job->err.detail : def->title);
    }

    job->reply.status = def->http;
    job->reply.problem = 1;

    return ngx_http_aegis_reply(job);
}
