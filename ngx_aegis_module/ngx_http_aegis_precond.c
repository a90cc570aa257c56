/*
 * ngx_http_aegis_precond.c: the headers that a write is bound to, checked for
 * their syntax only. Whether a key is known and a version matches is decided
 * inside the statement, in that order.
 */
#include "ngx_http_aegis_module.h"

#include <openssl/rand.h>


static ngx_int_t
ngx_http_aegis_precond_key(ngx_http_aegis_job_t *job)
{
    aegis_code_t              code;
    ngx_http_aegis_header_t  *h;

    h = &job->headers[NGX_HTTP_AEGIS_H_KEY];

    code = h->n == 0 ? AEGIS_E_KEY_MISSING
           : h->n > 1 ? AEGIS_E_KEY_INVALID
           : aegis_http_key(ngx_http_aegis_view(h->value), job->idem_key,
                            &job->idem_len);

    if (code != AEGIS_E_OK) {
        aegis_error_set(&job->err, code, "%s", h->n > 1
                        ? "There is more than one Idempotency-Key header." : "");
        return NGX_ERROR;
    }

    return NGX_OK;
}


static ngx_int_t
ngx_http_aegis_precond_if_match(ngx_http_aegis_job_t *job)
{
    ngx_http_aegis_header_t  *h;

    h = &job->headers[NGX_HTTP_AEGIS_H_IF_MATCH];

    if (h->n == 0) {
        return NGX_OK;
    }

    if (h->n > 1) {
        aegis_error_set(&job->err, AEGIS_E_PRECOND_INVALID,
                        "There is more than one If-Match header.");
        return NGX_ERROR;
    }

    if (aegis_http_if_match(ngx_http_aegis_view(h->value), job->if_match,
                            sizeof(job->if_match)) != AEGIS_E_OK)
    {
        aegis_error_set(&job->err, AEGIS_E_PRECOND_INVALID, "%s", "");
        return NGX_ERROR;
    }

    job->item.v[AEGIS_C_if_match] = ngx_http_aegis_cview(job->if_match);

    return NGX_OK;
}


static ngx_int_t
ngx_http_aegis_precond_trace(ngx_http_aegis_job_t *job)
{
    unsigned char             random[24];
    ngx_http_aegis_header_t  *h;

    if (RAND_bytes(random, sizeof(random)) != 1) {
        return NGX_HTTP_INTERNAL_SERVER_ERROR;
    }

    h = &job->headers[NGX_HTTP_AEGIS_H_TRACEPARENT];

    /* two of them are none (W3C Trace Context 3.2.3) */
    aegis_http_traceparent(h->n == 1 ? ngx_http_aegis_view(h->value)
                                     : AEGIS_NO_STR, random, job->trace);

    return NGX_OK;
}


ngx_int_t
ngx_http_aegis_step_precond(ngx_http_aegis_job_t *job)
{
    ngx_int_t  rc;

    if (ngx_http_aegis_precond_trace(job) != NGX_OK) {
        return NGX_HTTP_INTERNAL_SERVER_ERROR;
    }

    if (job->route->kind != AEGIS_KIND_WRITE
        && job->route->kind != AEGIS_KIND_MODULE)
    {
        return NGX_OK;
    }

    rc = ngx_http_aegis_precond_key(job);

    if (rc == NGX_OK && job->route->id == AEGIS_ROUTE_CASE_TRANSITION) {
        rc = ngx_http_aegis_precond_if_match(job);
    }

    return rc;
}
