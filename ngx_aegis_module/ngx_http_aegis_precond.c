/*
 * ngx_http_aegis_precond.c: the headers that a request is bound to, checked for
 * their syntax only. Whether a key is known and a version matches is decided
 * inside the statement, in that order.
 */
#include "ngx_http_aegis_module.h"



static ngx_int_t
ngx_http_aegis_precond_key(ngx_http_aegis_job_t *job,
    ngx_http_aegis_loc_conf_t *lcf)
{
    const char               *detail;
    aegis_code_t              code;
    ngx_http_aegis_header_t  *h;

    h = &job->headers[NGX_HTTP_AEGIS_H_KEY];
    detail = "";

    if (h->n == 0) {
        code = AEGIS_E_KEY_MISSING;

    } else if (h->n > 1) {
        code = AEGIS_E_KEY_INVALID;
        detail = "There is more than one Idempotency-Key header.";

    } else if (lcf->strict_key && (h->value.len == 0 || h->value.data[0] != '"')) {
        code = AEGIS_E_KEY_INVALID;
        detail = "Here an Idempotency-Key must be a quoted string (RFC 9651).";

    } else {
        code = aegis_http_key(ngx_http_aegis_view(h->value), job->idem_key,
                              &job->idem_len);
    }

    if (code == AEGIS_E_OK) {
        return NGX_OK;
    }

    aegis_error_set(&job->err, code, "%s", detail);

    return ngx_http_aegis_describe_key(job) == NGX_OK
           ? NGX_ERROR : NGX_HTTP_INTERNAL_SERVER_ERROR;
}


static aegis_str_t
ngx_http_aegis_precond_value(ngx_http_aegis_header_t *h)
{
    return h->n ? ngx_http_aegis_view(h->value) : AEGIS_NO_STR;
}


/* Both conditions in one column of the item; for a read only their syntax, they
 * are judged by the answer's own tag (item.c). */
ngx_int_t
ngx_http_aegis_precond_conditions(ngx_http_aegis_job_t *job,
    ngx_http_aegis_loc_conf_t *lcf)
{
    ngx_http_aegis_header_t  *match, *none;

    match = &job->headers[NGX_HTTP_AEGIS_H_IF_MATCH];
    none = &job->headers[NGX_HTTP_AEGIS_H_NONE_MATCH];

    if (match->n > 1 || none->n > 1) {
        aegis_error_set(&job->err, AEGIS_E_PRECOND_INVALID,
                        "There is more than one If-%sMatch header.",
                        match->n > 1 ? "" : "None-");
        return NGX_ERROR;
    }

    if (match->n + none->n
        && aegis_http_condition(ngx_http_aegis_precond_value(match),
                                ngx_http_aegis_precond_value(none), job->if_match,
                                sizeof(job->if_match)) != AEGIS_E_OK)
    {
        aegis_error_set(&job->err, AEGIS_E_PRECOND_INVALID, "%s", "");
        return NGX_ERROR;
    }

    if (job->route->id != AEGIS_ROUTE_CASE_TRANSITION) {
        return NGX_OK;
    }

    if (lcf->require_if_match && match->n == 0) {
        aegis_error_set(&job->err, AEGIS_E_PRECOND_REQUIRED, "%s", "");
        return NGX_ERROR;
    }

    if (match->n + none->n) {
        job->item.v[AEGIS_C_if_match] = ngx_http_aegis_cview(job->if_match);
    }

    return NGX_OK;
}


ngx_int_t
ngx_http_aegis_step_precond(ngx_http_aegis_job_t *job)
{
    ngx_int_t                   rc;
    ngx_http_aegis_loc_conf_t  *lcf;

    lcf = ngx_http_get_module_loc_conf(job->r, ngx_http_aegis_module);

    if (ngx_http_aegis_trace(job) != NGX_OK) {
        return NGX_HTTP_INTERNAL_SERVER_ERROR;
    }

    if (job->route->kind == AEGIS_KIND_WRITE
        || job->route->kind == AEGIS_KIND_MODULE)
    {
        rc = ngx_http_aegis_precond_key(job, lcf);
        if (rc != NGX_OK) {
            return rc;
        }
    }

    /* of the writes only a transition's target, the case, has a tag */
    if (job->route->id != AEGIS_ROUTE_CASE_TRANSITION
        && job->route->method != AEGIS_GET)
    {
        return NGX_OK;
    }

    return ngx_http_aegis_precond_conditions(job, lcf);
}
