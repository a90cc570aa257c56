/*
 * ngx_http_aegis_otel.h: what trace.c and otel.c know of aegis_otel, and of the
 * tracer (trace/) that each worker process has when spans are exported.
 */
#ifndef NGX_HTTP_AEGIS_OTEL_H
#define NGX_HTTP_AEGIS_OTEL_H

#include "ngx_http_aegis_module.h"

#include "aegis_tracer.h"

/* $otel_trace_id, $otel_span_id, $otel_parent_sampled */
#define NGX_HTTP_AEGIS_OTEL_VARIABLES  3

struct ngx_http_aegis_otel_s {
    unsigned               nginx:1;     /* the spans are ngx_otel_module's */
    ngx_int_t              variables[NGX_HTTP_AEGIS_OTEL_VARIABLES];
    aegis_tracer_conf_t    conf;
    aegis_tracer_t        *tracer;      /* of this worker; NULL elsewhere */
    u_char                *file;        /* where the directive is */
    ngx_uint_t             line;
};

/* NULL: no spans. */
ngx_http_aegis_otel_t *ngx_http_aegis_otel(ngx_http_request_t *r);

/* Is the request's trace sampled? Then it has a span, whose id is in job->trace. */
void ngx_http_aegis_otel_begin(ngx_http_aegis_job_t *job, ngx_http_aegis_otel_t *otel,
    int given, const unsigned char id[8]);

#endif
