/*
 * ngx_http_aegis_headers.c: what every answer carries beside its own headers:
 * Vary, traceparent, the CORS headers of an allowed origin, and Deprecation and
 * Sunset of a route. Called once an answer, by reply.c.
 *
 * Invariant: whether an Origin is allowed changes headers, never what is done:
 * a browser enforces CORS, the door enforces credentials.
 */
#include "ngx_http_aegis_module.h"

static ngx_str_t  ngx_http_aegis_cors_expose = ngx_string(
    "ETag, Location, Link, Retry-After, Allow, Accept-Patch, X-Request-Id, "
    "Idempotent-Replayed, WWW-Authenticate, traceparent, RateLimit, "
    "RateLimit-Policy, Deprecation, Sunset");

static ngx_str_t  ngx_http_aegis_cors_allow = ngx_string(
    "Authorization, Content-Type, Idempotency-Key, If-Match, If-None-Match, "
    "traceparent, tracestate");

static ngx_str_t  ngx_http_aegis_cors_max_age = ngx_string("600");


/* The directive's copy of the request's Origin; NULL: none, or not allowed. */
static ngx_str_t *
ngx_http_aegis_cors_origin(ngx_http_aegis_job_t *job, ngx_array_t *origins)
{
    ngx_str_t                *origin;
    ngx_uint_t                i;
    ngx_http_aegis_header_t  *h;

    h = &job->headers[NGX_HTTP_AEGIS_H_ORIGIN];
    origin = origins->elts;

    for (i = 0; h->n == 1 && i < origins->nelts; i++) {
        if (origin[i].len == h->value.len
            && ngx_memcmp(origin[i].data, h->value.data, h->value.len) == 0)
        {
            return &origin[i];
        }
    }

    return NULL;
}


static ngx_int_t
ngx_http_aegis_headers_cors(ngx_http_aegis_job_t *job, ngx_array_t *origins)
{
    ngx_str_t           *origin, methods;
    ngx_http_request_t  *r;

    r = job->r;

    origin = ngx_http_aegis_cors_origin(job, origins);
    if (origin == NULL) {
        return NGX_OK;
    }

    if (ngx_http_aegis_add_header(r, "Access-Control-Allow-Origin", *origin)
        != NGX_OK)
    {
        return NGX_ERROR;
    }

    if (r->method != NGX_HTTP_OPTIONS || job->allow == NULL
        || job->headers[NGX_HTTP_AEGIS_H_PREFLIGHT].n == 0)
    {
        return ngx_http_aegis_add_header(r, "Access-Control-Expose-Headers",
                                         ngx_http_aegis_cors_expose);
    }

    methods.data = (u_char *) job->allow;
    methods.len = ngx_strlen(job->allow);

    if (ngx_http_aegis_add_header(r, "Access-Control-Allow-Methods", methods)
        != NGX_OK
        || ngx_http_aegis_add_header(r, "Access-Control-Allow-Headers",
                                     ngx_http_aegis_cors_allow) != NGX_OK)
    {
        return NGX_ERROR;
    }

    return ngx_http_aegis_add_header(r, "Access-Control-Max-Age",
                                     ngx_http_aegis_cors_max_age);
}


static ngx_int_t
ngx_http_aegis_headers_vary(ngx_http_aegis_job_t *job, ngx_array_t *origins)
{
    ngx_uint_t        n;
    static ngx_str_t  vary[][2] = {
        { ngx_null_string, ngx_string("Origin") },
        { ngx_string("Accept"), ngx_string("Accept, Origin") },
        { ngx_string("Accept, Authorization"),
          ngx_string("Accept, Authorization, Origin") }
    };

    /* a LOCAL route looks at neither, but metrics are of two kinds */
    n = job->route == NULL ? 0
        : job->route->kind != AEGIS_KIND_LOCAL ? 2
        : job->route->id == AEGIS_ROUTE_METRICS ? 1 : 0;

    return n || origins
           ? ngx_http_aegis_add_header(job->r, "Vary", vary[n][origins != NULL])
           : NGX_OK;
}


static ngx_int_t
ngx_http_aegis_headers_deprecated(ngx_http_aegis_job_t *job, ngx_array_t *list)
{
    ngx_str_t                    link;
    ngx_uint_t                   i;
    ngx_http_aegis_deprecated_t *d;

    d = list->elts;

    for (i = 0; i < list->nelts; i++, d++) {
        if (ngx_strcmp(d->path, job->route->path) == 0) {
            break;
        }
    }

    if (i == list->nelts) {
        return NGX_OK;
    }

    if (ngx_http_aegis_add_header(job->r, "Deprecation", d->since) != NGX_OK
        || (d->sunset.len
            && ngx_http_aegis_add_header(job->r, "Sunset", d->sunset) != NGX_OK))
    {
        return NGX_ERROR;
    }

    /* a path whose {id} is none has no successor */
    if (d->link.len == 0 || (d->rest.data && job->id.len == 0)) {
        return NGX_OK;
    }

    link = d->link;

    if (d->rest.data) {
        link.len = d->link.len + job->id.len + d->rest.len;
        link.data = ngx_pnalloc(job->r->pool, link.len);
        if (link.data == NULL) {
            return NGX_ERROR;
        }

        ngx_sprintf(link.data, "%V%*s%V", &d->link, job->id.len, job->id.data,
                    &d->rest);
    }

    return ngx_http_aegis_add_header(job->r, "Link", link);
}


ngx_int_t
ngx_http_aegis_headers_out(ngx_http_aegis_job_t *job)
{
    ngx_str_t                   trace;
    ngx_http_aegis_loc_conf_t  *lcf;

    lcf = ngx_http_get_module_loc_conf(job->r, ngx_http_aegis_module);

    if (job->trace[0]) {
        /* the job may end before the last byte of its answer is sent */
        trace.len = AEGIS_TRACEPARENT_LEN;
        trace.data = ngx_pnalloc(job->r->pool, trace.len);
        if (trace.data == NULL) {
            return NGX_ERROR;
        }

        ngx_memcpy(trace.data, job->trace, trace.len);

        if (ngx_http_aegis_add_header(job->r, "traceparent", trace) != NGX_OK) {
            return NGX_ERROR;
        }
    }

    if (ngx_http_aegis_headers_vary(job, lcf->origins) != NGX_OK
        || (lcf->origins
            && ngx_http_aegis_headers_cors(job, lcf->origins) != NGX_OK))
    {
        return NGX_ERROR;
    }

    return lcf->deprecated && job->route
           ? ngx_http_aegis_headers_deprecated(job, lcf->deprecated) : NGX_OK;
}


ngx_int_t
ngx_http_aegis_describe_key(ngx_http_aegis_job_t *job)
{
    static ngx_str_t  link = ngx_string(
        "</openapi.json#/components/parameters/IdempotencyKey>; "
        "rel=\"describedby\"; type=\"application/json\"");

    return job->conf->openapi ? ngx_http_aegis_add_header(job->r, "Link", link)
                              : NGX_OK;
}
