/*
 * ngx_http_aegis_body.c: the request's body in one piece, whether nginx kept
 * it in memory or in a temporary file; its JSON or YAML and its schema.
 */
#include "ngx_http_aegis_module.h"


/* NGX_DECLINED: too large. */
static ngx_int_t
ngx_http_aegis_body_bytes(ngx_http_request_t *r, ngx_str_t *body)
{
    off_t         size;
    u_char       *p;
    ssize_t       n;
    ngx_buf_t    *b;
    ngx_chain_t  *cl;

    size = 0;
    body->len = 0;
    body->data = (u_char *) "";

    if (r->request_body == NULL) {
        return NGX_OK;
    }

    for (cl = r->request_body->bufs; cl; cl = cl->next) {
        size += ngx_buf_size(cl->buf);
    }

    if (size > NGX_HTTP_AEGIS_MAX_BODY) {
        return NGX_DECLINED;
    }

    if (size == 0) {
        return NGX_OK;
    }

    p = ngx_pnalloc(r->pool, size);
    if (p == NULL) {
        return NGX_ERROR;
    }

    body->data = p;

    for (cl = r->request_body->bufs; cl; cl = cl->next) {
        b = cl->buf;

        if (ngx_buf_in_memory(b)) {
            p = ngx_cpymem(p, b->pos, b->last - b->pos);
            continue;
        }

        if (b->in_file) {
            n = ngx_read_file(b->file, p, b->file_last - b->file_pos, b->file_pos);
            if (n != b->file_last - b->file_pos) {
                return NGX_ERROR;
            }
            p += n;
        }
    }

    body->len = p - body->data;

    return NGX_OK;
}


/* nginx would close the connection of a client whose body does not come in time
 * without a word; everything else is left to its own handler. */
static void
ngx_http_aegis_body_read(ngx_http_request_t *r)
{
    ngx_connection_t      *c;
    ngx_http_aegis_job_t  *job;

    c = r->connection;
    job = ngx_http_get_module_ctx(r, ngx_http_aegis_module);

    if (!c->read->timedout) {
        job->body_handler(r);
        return;
    }

    c->read->timedout = 0;
    r->keepalive = 0;
    r->read_event_handler = ngx_http_block_reading;

    aegis_error_set(&job->err, AEGIS_E_TIMEOUT, "%s", "");

    ngx_http_finalize_request(r, ngx_http_aegis_reply_error(job));
}


ngx_int_t
ngx_http_aegis_step_body(ngx_http_aegis_job_t *job)
{
    ngx_int_t      rc;
    ngx_str_t      text;
    aegis_code_t   code;

    if (job->route->schema == AEGIS_SCHEMA_none) {
        return NGX_OK;
    }

    if (!job->body_read) {
        rc = ngx_http_read_client_request_body(job->r, ngx_http_aegis_body_ready);

        if (rc >= NGX_HTTP_SPECIAL_RESPONSE) {
            return rc;
        }

        if (!job->body_read) {
            job->body_handler = job->r->read_event_handler;
            job->r->read_event_handler = ngx_http_aegis_body_read;
        }

        return NGX_AGAIN;
    }

    rc = ngx_http_aegis_body_bytes(job->r, &text);

    if (rc == NGX_DECLINED) {
        aegis_error_set(&job->err, AEGIS_E_TOO_LARGE, "%s", "");
        return NGX_ERROR;
    }

    if (rc != NGX_OK) {
        return NGX_HTTP_INTERNAL_SERVER_ERROR;
    }

    code = job->yaml
           ? aegis_body_parse_yaml(job->route->schema, ngx_http_aegis_view(text),
                                   &job->body, &job->err)
           : aegis_body_parse(job->route->schema, ngx_http_aegis_view(text),
                              &job->body, &job->err);

    if (code != AEGIS_E_OK) {
        job->err.code = code;
        return NGX_ERROR;
    }

    aegis_http_fingerprint(ngx_http_aegis_view(job->r->method_name),
                           ngx_http_aegis_cview(job->route->path), job->id,
                           ngx_http_aegis_view(text), job->hash);

    return ngx_http_aegis_identity_body(job);
}
