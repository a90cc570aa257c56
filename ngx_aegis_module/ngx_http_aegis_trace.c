/*
 * ngx_http_aegis_trace.c: the trace that a request belongs to: what its client
 * says, or what nginx's own otel module says, or a new one; and the random
 * bytes of ids.
 * Invariant: once job->trace is set, it and job->context stay: the timeline, the
 * messages, the log and the answer name the same trace.
 */
#include "ngx_http_aegis_otel.h"

#include <openssl/rand.h>

#define NGX_HTTP_AEGIS_RANDOM  1024       /* bytes asked for at once */


/*
 * libcrypto's generator costs more to ask than to run: ask it for many ids at
 * once. Each worker has its own; what was given out is forgotten here.
 */
ngx_int_t
ngx_http_aegis_random(u_char *out, size_t n)
{
    static u_char  pool[NGX_HTTP_AEGIS_RANDOM];
    static size_t  left;
    static pid_t   owner;

    if (left < n || owner != ngx_pid) {
        if (RAND_bytes(pool, sizeof(pool)) != 1) {
            return NGX_ERROR;
        }

        left = sizeof(pool);
        owner = ngx_pid;
    }

    left -= n;
    ngx_memcpy(out, pool + left, n);
    ngx_memzero(pool + left, n);

    return NGX_OK;
}


/*
 * nginx's $request_id, from the same bytes: nginx itself would ask the generator for
 * each. What somebody has read before stays as it is.
 */
ngx_http_variable_value_t *
ngx_http_aegis_request_id(ngx_http_request_t *r, ngx_uint_t index)
{
    u_char                     *id, random[16];
    ngx_http_variable_value_t  *vv;

    vv = &r->variables[index];

    if (vv->valid || vv->not_found) {
        return vv;
    }

    id = ngx_pnalloc(r->pool, 2 * sizeof(random));

    if (id == NULL
        || ngx_http_aegis_random(random, sizeof(random)) != NGX_OK)
    {
        return ngx_http_get_indexed_variable(r, index);
    }

    ngx_hex_dump(id, random, sizeof(random));

    vv->len = 2 * sizeof(random);
    vv->data = id;
    vv->valid = 1;
    vv->no_cacheable = 0;

    return vv;
}


/* The span that nginx's otel module has begun is our parent. */
static void
ngx_http_aegis_trace_nginx(ngx_http_aegis_job_t *job, ngx_http_aegis_otel_t *otel)
{
    char                        text[AEGIS_TRACEPARENT_LEN + 1];
    ngx_uint_t                  i;
    aegis_str_t                 s;
    unsigned char               unused[24] = { 0 };
    ngx_http_variable_value_t  *vv[NGX_HTTP_AEGIS_OTEL_VARIABLES];

    for (i = 0; i < NGX_HTTP_AEGIS_OTEL_VARIABLES; i++) {
        vv[i] = ngx_http_get_indexed_variable(job->r, otel->variables[i]);

        if (vv[i] == NULL) {
            return;
        }
    }

    if (vv[0]->not_found || vv[0]->len != 32 || vv[1]->not_found || vv[1]->len != 16) {
        return;
    }

    s.data = text;
    s.len = ngx_sprintf((u_char *) text, "00-%v-%v-%s", vv[0], vv[1],
                        vv[2]->len == 1 && vv[2]->data[0] == '0' ? "00" : "01")
            - (u_char *) text;

    /* what is not valid leaves the one that the request had */
    if (aegis_http_traceparent(s, unused, text)) {
        ngx_memcpy(job->trace, text, sizeof(text));
    }
}


static ngx_int_t
ngx_http_aegis_trace_state(ngx_http_aegis_job_t *job)
{
    char         state[AEGIS_TRACESTATE_MAX + 1], *p;
    size_t       n;

    n = aegis_tracestate(
        ngx_http_aegis_view(job->headers[NGX_HTTP_AEGIS_H_TRACESTATE].value), state);

    if (n == 0) {
        return NGX_OK;
    }

    p = ngx_pnalloc(job->pool, AEGIS_TRACEPARENT_LEN + 1 + n);
    if (p == NULL) {
        return NGX_HTTP_INTERNAL_SERVER_ERROR;
    }

    job->context.data = p;
    job->context.len = AEGIS_TRACEPARENT_LEN + 1 + n;
    ngx_memcpy(p, job->trace, AEGIS_TRACEPARENT_LEN);
    p[AEGIS_TRACEPARENT_LEN] = ' ';
    ngx_memcpy(p + AEGIS_TRACEPARENT_LEN + 1, state, n);

    return NGX_OK;
}


ngx_int_t
ngx_http_aegis_trace(ngx_http_aegis_job_t *job)
{
    int                       given;
    u_char                   *p;
    unsigned char             random[24];
    ngx_http_aegis_otel_t    *otel;
    ngx_http_aegis_header_t  *h;

    if (job->trace[0]) {
        return NGX_OK;
    }

    if (ngx_http_aegis_random(random, sizeof(random)) != NGX_OK) {
        return NGX_HTTP_INTERNAL_SERVER_ERROR;
    }

    h = &job->headers[NGX_HTTP_AEGIS_H_TRACEPARENT];
    otel = ngx_http_aegis_otel(job->r);

    /* two of them are none (W3C Trace Context 3.2.3) */
    given = aegis_http_traceparent(h->n == 1 ? ngx_http_aegis_view(h->value)
                                             : AEGIS_NO_STR, random, job->trace);

    if (otel && otel->nginx) {
        ngx_http_aegis_trace_nginx(job, otel);

    } else if (otel) {
        ngx_http_aegis_otel_begin(job, otel, given, random + 16);
    }

    job->context = ngx_http_aegis_cview(job->trace);

    if (given && ngx_http_aegis_trace_state(job) != NGX_OK) {
        return NGX_HTTP_INTERNAL_SERVER_ERROR;
    }

    p = job->request_id + job->request_id_len;
    *p++ = ' ';
    p = ngx_cpymem(p, job->trace + 3, 32);
    job->request_id_len = p - job->request_id;

    return NGX_OK;
}
