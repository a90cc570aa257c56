/*
 * ngx_http_aegis_local.c: the routes that a worker answers by itself. None of
 * them waits for the database: /readyz says what the background look
 * (ngx_http_aegis_watch.c) found last.
 */
#include "ngx_http_aegis_module.h"


static ngx_int_t
ngx_http_aegis_local_alive(ngx_http_aegis_job_t *job)
{
    job->reply.status = NGX_HTTP_OK;
    ngx_str_set(&job->reply.body, "{\"status\":\"ok\"}");

    return NGX_DONE;
}


static ngx_int_t
ngx_http_aegis_local_ready(ngx_http_aegis_job_t *job)
{
    json_t      *reasons;
    const char  *reason;

    reason = (ngx_exiting || ngx_terminate)
             ? "shutting-down: this worker answers its last requests"
             : ngx_http_aegis_watch_reason(job->conf->db);

    if (reason == NULL) {
        return ngx_http_aegis_local_alive(job);
    }

    reasons = json_array();
    json_array_append_new(reasons, json_string(reason));

    aegis_error_set(&job->err, AEGIS_E_UNAVAILABLE, "%s", reason);
    job->err.ext = json_object();
    json_object_set_new(job->err.ext, "reasons", reasons);

    return NGX_ERROR;
}


static ngx_int_t
ngx_http_aegis_local_metrics(ngx_http_aegis_job_t *job)
{
    char        *text;
    size_t       len;
    ngx_int_t    rc;
    ngx_uint_t   open;
    aegis_str_t  body;

    open = aegis_http_accepts_openmetrics(
               ngx_http_aegis_view(job->headers[NGX_HTTP_AEGIS_H_ACCEPT].value));

    text = ngx_http_aegis_metrics_text(open, &len);
    if (text == NULL) {
        return NGX_HTTP_INTERNAL_SERVER_ERROR;
    }

    body.data = text;
    body.len = len;

    rc = ngx_http_aegis_copy_reply(job, body);
    free(text);

    job->reply.status = NGX_HTTP_OK;
    job->reply.text = open ? 2 : 1;

    return rc == NGX_OK ? NGX_DONE : NGX_HTTP_INTERNAL_SERVER_ERROR;
}


static ngx_int_t
ngx_http_aegis_local_openapi(ngx_http_aegis_job_t *job)
{
    ngx_int_t               rc;
    ngx_str_t               tag;
    ngx_http_aegis_file_t  *file;

    file = job->conf->openapi;

    if (file == NULL) {
        aegis_error_set(&job->err, AEGIS_E_NOT_FOUND,
                        "This server was not given a description (aegis_openapi).");
        return NGX_ERROR;
    }

    rc = ngx_http_aegis_precond_conditions(job,
             ngx_http_get_module_loc_conf(job->r, ngx_http_aegis_module));
    if (rc != NGX_OK) {
        return rc;
    }

    if (ngx_http_aegis_add_header(job->r, "ETag", file->etag) != NGX_OK) {
        return NGX_HTTP_INTERNAL_SERVER_ERROR;
    }

    tag.data = file->etag.data + 1;
    tag.len = file->etag.len - 2;

    job->reply.cacheable = 1;
    job->reply.body = file->body;
    job->reply.status = NGX_HTTP_OK;

    rc = ngx_http_aegis_item_conditions(job, &tag);

    /* a refusal is not what is kept */
    job->reply.cacheable = (rc == NGX_OK);

    return rc == NGX_OK ? NGX_DONE : rc;
}


ngx_int_t
ngx_http_aegis_local(ngx_http_aegis_job_t *job)
{
    switch (job->route->id) {

    case AEGIS_ROUTE_HEALTHZ:
    case AEGIS_ROUTE_LIVEZ:
        return ngx_http_aegis_local_alive(job);

    case AEGIS_ROUTE_READYZ:
        return ngx_http_aegis_local_ready(job);

    case AEGIS_ROUTE_METRICS:
        return ngx_http_aegis_local_metrics(job);

    case AEGIS_ROUTE_OPENAPI:
        return ngx_http_aegis_local_openapi(job);

    default:
        /* a LOCAL route of the table that nobody answers */
        return NGX_HTTP_INTERNAL_SERVER_ERROR;
    }
}
