/*
 * ngx_http_aegis_variables.c: what the access log may say about a request. The
 * job is still there in the log phase, also after an internal redirect. In a
 * subrequest that the module answered they are about the subrequest, so that
 * auth_request_set can hand them on.
 */
#include "ngx_http_aegis_module.h"

typedef enum {
    VAR_CASE_ID, VAR_EVENT, VAR_IDEMPOTENCY, VAR_TENANT, VAR_PRINCIPAL, VAR_DB_TIME,
    VAR_QUEUE_TIME, VAR_TRACE_ID, VAR_CREDENTIAL, VAR_REFUSAL
} ngx_http_aegis_var_t;

static ngx_int_t ngx_http_aegis_variable(ngx_http_request_t *r,
    ngx_http_variable_value_t *v, uintptr_t data);

static ngx_int_t ngx_http_aegis_variable_asked(ngx_http_request_t *r,
    ngx_http_variable_value_t *v, uintptr_t data);

static ngx_http_variable_t  ngx_http_aegis_vars[] = {

    { ngx_string("aegis_asked"), NULL, ngx_http_aegis_variable_asked,
      0, NGX_HTTP_VAR_NOCACHEABLE, 0 },

    { ngx_string("aegis_case_id"), NULL, ngx_http_aegis_variable,
      VAR_CASE_ID, NGX_HTTP_VAR_NOCACHEABLE, 0 },

    { ngx_string("aegis_event"), NULL, ngx_http_aegis_variable,
      VAR_EVENT, NGX_HTTP_VAR_NOCACHEABLE, 0 },

    { ngx_string("aegis_idempotency"), NULL, ngx_http_aegis_variable,
      VAR_IDEMPOTENCY, NGX_HTTP_VAR_NOCACHEABLE, 0 },

    { ngx_string("aegis_tenant"), NULL, ngx_http_aegis_variable,
      VAR_TENANT, NGX_HTTP_VAR_NOCACHEABLE, 0 },

    { ngx_string("aegis_principal"), NULL, ngx_http_aegis_variable,
      VAR_PRINCIPAL, NGX_HTTP_VAR_NOCACHEABLE, 0 },

    { ngx_string("aegis_db_time"), NULL, ngx_http_aegis_variable,
      VAR_DB_TIME, NGX_HTTP_VAR_NOCACHEABLE, 0 },

    { ngx_string("aegis_queue_time"), NULL, ngx_http_aegis_variable,
      VAR_QUEUE_TIME, NGX_HTTP_VAR_NOCACHEABLE, 0 },

    { ngx_string("aegis_trace_id"), NULL, ngx_http_aegis_variable,
      VAR_TRACE_ID, NGX_HTTP_VAR_NOCACHEABLE, 0 },

    { ngx_string("aegis_credential"), NULL, ngx_http_aegis_variable,
      VAR_CREDENTIAL, NGX_HTTP_VAR_NOCACHEABLE, 0 },

    { ngx_string("aegis_refusal"), NULL, ngx_http_aegis_variable,
      VAR_REFUSAL, NGX_HTTP_VAR_NOCACHEABLE, 0 }
};


ngx_int_t
ngx_http_aegis_variables_add(ngx_conf_t *cf)
{
    size_t                i;
    ngx_http_variable_t  *var;

    for (i = 0; i < sizeof(ngx_http_aegis_vars) / sizeof(ngx_http_aegis_vars[0]);
         i++)
    {
        var = ngx_http_add_variable(cf, &ngx_http_aegis_vars[i].name,
                                    ngx_http_aegis_vars[i].flags);
        if (var == NULL) {
            return NGX_ERROR;
        }

        var->get_handler = ngx_http_aegis_vars[i].get_handler;
        var->data = ngx_http_aegis_vars[i].data;
    }

    return NGX_OK;
}


static aegis_str_t
ngx_http_aegis_variable_text(ngx_http_aegis_job_t *job, uintptr_t which)
{
    switch (which) {

    case VAR_CASE_ID:
        return job->item.v[AEGIS_C_case_id];

    case VAR_EVENT:
        return job->item.v[AEGIS_C_event];

    case VAR_IDEMPOTENCY:
        return ngx_http_aegis_cview(job->idempotency);

    case VAR_TENANT:
        return job->who ? ngx_http_aegis_view(job->who->tenant) : AEGIS_NO_STR;

    case VAR_PRINCIPAL:
        return job->who ? ngx_http_aegis_view(job->who->principal) : AEGIS_NO_STR;

    case VAR_CREDENTIAL:
        return job->who ? ngx_http_aegis_view(job->who->id) : AEGIS_NO_STR;

    case VAR_REFUSAL:
        return ngx_http_aegis_cview(aegis_refusal_def(job->refusal)->name);

    default:
        break;
    }

    /* version 00: 00-<32 hex trace id>-<16 hex span id>-<flags> */
    return job->trace[0] ? (aegis_str_t) { 32, job->trace + 3 } : AEGIS_NO_STR;
}


static ngx_int_t
ngx_http_aegis_variable(ngx_http_request_t *r, ngx_http_variable_value_t *v,
    uintptr_t data)
{
    u_char                *p;
    uint64_t               us;
    aegis_str_t            text;
    ngx_http_aegis_job_t  *job;

    v->not_found = 1;

    job = ngx_http_aegis_job_of(r);
    if (job == NULL && r != r->main) {
        job = ngx_http_aegis_job_of(r->main);
    }

    if (job == NULL) {
        return NGX_OK;
    }

    if (data == VAR_DB_TIME || data == VAR_QUEUE_TIME) {
        /* it never was in the queue, or not in a statement yet */
        us = data == VAR_DB_TIME ? job->db_us : job->queue_us;
        if (us == 0 && (data == VAR_DB_TIME || job->queued_us == 0)) {
            return NGX_OK;
        }

        p = ngx_pnalloc(r->pool, NGX_INT64_LEN + 8);
        if (p == NULL) {
            return NGX_ERROR;
        }

        text.data = (char *) p;
        text.len = ngx_sprintf(p, "%uL.%03uL", us / 1000000, us / 1000 % 1000) - p;

    } else {
        text = ngx_http_aegis_variable_text(job, data);
        if (text.len == 0) {
            return NGX_OK;
        }

        p = ngx_pnalloc(r->pool, text.len);
        if (p == NULL) {
            return NGX_ERROR;
        }

        ngx_memcpy(p, text.data, text.len);
    }

    v->data = p;
    v->len = text.len;
    v->valid = 1;
    v->no_cacheable = 0;
    v->not_found = 0;

    return NGX_OK;
}


/*
 * The first line of the request as it came, up to its query. A map with a
 * regular expression would do, but runs it for each line of the access log.
 */
static ngx_int_t
ngx_http_aegis_variable_asked(ngx_http_request_t *r,
    ngx_http_variable_value_t *v, uintptr_t data)
{
    u_char  *query;

    v->data = r->request_line.data;
    v->len = r->request_line.len;
    query = v->len ? ngx_strlchr(v->data, v->data + v->len, '?') : NULL;
    if (query != NULL) {
        v->len = query - v->data;
    }

    v->valid = 1;
    v->no_cacheable = 0;
    v->not_found = 0;

    return NGX_OK;
}
