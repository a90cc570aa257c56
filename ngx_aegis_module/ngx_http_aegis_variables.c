/*
 * ngx_http_aegis_variables.c: what the access log may say about a request. The
 * job is still there in the log phase, also after an internal redirect. In a
 * subrequest that the module answered they are about the subrequest, so that
 * auth_request_set can hand them on.
 */
#include "ngx_http_aegis_module.h"

#define NGX_HTTP_AEGIS_SECONDS_LEN  (NGX_INT64_LEN + 8)
#define NGX_HTTP_AEGIS_LINE_FIXED   1024    /* names, numbers, times */
#define NGX_HTTP_AEGIS_LINE_ESCAPE  6       /* \u001F */

typedef enum {
    VAR_CASE_ID, VAR_EVENT, VAR_IDEMPOTENCY, VAR_TENANT, VAR_PRINCIPAL, VAR_DB_TIME,
    VAR_QUEUE_TIME, VAR_TRACE_ID, VAR_CREDENTIAL, VAR_REFUSAL
} ngx_http_aegis_var_t;

static ngx_int_t ngx_http_aegis_variable(ngx_http_request_t *r,
    ngx_http_variable_value_t *v, uintptr_t data);

static ngx_int_t ngx_http_aegis_variable_asked(ngx_http_request_t *r,
    ngx_http_variable_value_t *v, uintptr_t data);

static ngx_int_t ngx_http_aegis_variable_line(ngx_http_request_t *r,
    ngx_http_variable_value_t *v, uintptr_t data);

static ngx_http_variable_t  ngx_http_aegis_vars[] = {

    { ngx_string("aegis_asked"), NULL, ngx_http_aegis_variable_asked,
      0, NGX_HTTP_VAR_NOCACHEABLE, 0 },

    { ngx_string("aegis_line"), NULL, ngx_http_aegis_variable_line,
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


static ngx_http_aegis_job_t *
ngx_http_aegis_variable_job(ngx_http_request_t *r)
{
    ngx_http_aegis_job_t  *job;

    job = ngx_http_aegis_job_of(r);

    return job == NULL && r != r->main ? ngx_http_aegis_job_of(r->main) : job;
}


/* With no fewer digits than that. */
static u_char *
ngx_http_aegis_line_number(u_char *p, uint64_t n, ngx_uint_t digits)
{
    u_char   text[NGX_INT64_LEN], *t;

    for (t = text + sizeof(text); n || digits; n /= 10, digits -= digits != 0) {
        *--t = (u_char) ('0' + n % 10);
    }

    return ngx_cpymem(p, t, text + sizeof(text) - t);
}


/* Nothing when it never was in the queue, or not in a statement yet. */
static u_char *
ngx_http_aegis_variable_seconds(u_char *p, ngx_http_aegis_job_t *job, uintptr_t which)
{
    uint64_t  us;

    us = which == VAR_DB_TIME ? job->db_us : job->queue_us;

    if (us == 0 && (which == VAR_DB_TIME || job->queued_us == 0)) {
        return p;
    }

    p = ngx_http_aegis_line_number(p, us / 1000000, 1);
    *p++ = '.';

    return ngx_http_aegis_line_number(p, us / 1000 % 1000, 3);
}


static ngx_int_t
ngx_http_aegis_variable(ngx_http_request_t *r, ngx_http_variable_value_t *v,
    uintptr_t data)
{
    u_char                *p;
    aegis_str_t            text;
    ngx_http_aegis_job_t  *job;

    v->not_found = 1;

    job = ngx_http_aegis_variable_job(r);
    if (job == NULL) {
        return NGX_OK;
    }

    if (data == VAR_DB_TIME || data == VAR_QUEUE_TIME) {
        p = ngx_pnalloc(r->pool, NGX_HTTP_AEGIS_SECONDS_LEN);
        if (p == NULL) {
            return NGX_ERROR;
        }

        text.data = (char *) p;
        text.len = ngx_http_aegis_variable_seconds(p, job, data) - p;
        if (text.len == 0) {
            return NGX_OK;
        }

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


#define ngx_http_aegis_line_lit(p, lit)  ngx_cpymem(p, lit, sizeof(lit) - 1)


/* Nearly every value goes out as it is, and then it costs no more than to look at it. */
static u_char *
ngx_http_aegis_line_put(u_char *p, aegis_str_t value)
{
    size_t  i;
    u_char  c;

    for (i = 0; i < value.len; i++) {
        c = (u_char) value.data[i];

        if (c < 0x20 || c == '"' || c == '\\') {
            return (u_char *) ngx_escape_json(p, (u_char *) value.data, value.len);
        }
    }

    return value.len ? ngx_cpymem(p, value.data, value.len) : p;
}


/* What a request is to nginx: everything up to the time that it took. */
static u_char *
ngx_http_aegis_line_head(u_char *p, ngx_http_request_t *r, aegis_str_t asked)
{
    ngx_time_t      *tp;
    ngx_uint_t       status;
    aegis_str_t      tls;
    ngx_msec_int_t   ms;

    tls = AEGIS_NO_STR;
#if (NGX_HTTP_SSL)
    if (r->connection->ssl) {
        tls = ngx_http_aegis_cview(SSL_get_version(r->connection->ssl->connection));
    }
#endif

    status = r->err_status ? r->err_status
             : r->headers_out.status ? r->headers_out.status
             : r->http_version == NGX_HTTP_VERSION_9 ? 9 : 0;

    tp = ngx_timeofday();
    ms = (ngx_msec_int_t) ((tp->sec - r->start_sec) * 1000
                           + ((ngx_msec_int_t) tp->msec - (ngx_msec_int_t) r->start_msec));
    ms = ngx_max(ms, 0);

    p = ngx_http_aegis_line_lit(p, "{\"ts\":\"");
    p = ngx_cpymem(p, ngx_cached_http_log_iso8601.data, ngx_cached_http_log_iso8601.len);
    p = ngx_http_aegis_line_lit(p, "\",\"remote\":\"");
    p = ngx_http_aegis_line_put(p, ngx_http_aegis_view(r->connection->addr_text));
    p = ngx_http_aegis_line_lit(p, "\",\"request\":\"");
    p = ngx_http_aegis_line_put(p, asked);
    p = ngx_http_aegis_line_lit(p, "\",\"tls\":\"");
    p = ngx_http_aegis_line_put(p, tls);
    p = ngx_http_aegis_line_lit(p, "\",\"status\":");
    p = ngx_http_aegis_line_number(p, status, 3);
    p = ngx_http_aegis_line_lit(p, ",\"bytes\":");
    p = ngx_http_aegis_line_number(p, (uint64_t) r->connection->sent, 1);
    p = ngx_http_aegis_line_lit(p, ",\"seconds\":");
    p = ngx_http_aegis_line_number(p, (uint64_t) ms / 1000, 1);
    *p++ = '.';

    return ngx_http_aegis_line_number(p, (uint64_t) ms % 1000, 3);
}


/* And to us. */
static u_char *
ngx_http_aegis_line_job(u_char *p, ngx_http_aegis_job_t *job, aegis_str_t id)
{
    size_t  i;

    static const struct {
        ngx_str_t  name;
        uintptr_t  which;
    } fields[] = {
        { ngx_string("\",\"tenant\":\""),      VAR_TENANT },
        { ngx_string("\",\"principal\":\""),   VAR_PRINCIPAL },
        { ngx_string("\",\"credential\":\""),  VAR_CREDENTIAL },
        { ngx_string("\",\"refusal\":\""),     VAR_REFUSAL },
        { ngx_string("\",\"case_id\":\""),     VAR_CASE_ID },
        { ngx_string("\",\"event\":\""),       VAR_EVENT },
        { ngx_string("\",\"idempotency\":\""), VAR_IDEMPOTENCY }
    };

    p = ngx_http_aegis_line_lit(p, ",\"queue_seconds\":\"");
    p = job ? ngx_http_aegis_variable_seconds(p, job, VAR_QUEUE_TIME) : p;
    p = ngx_http_aegis_line_lit(p, "\",\"db_seconds\":\"");
    p = job ? ngx_http_aegis_variable_seconds(p, job, VAR_DB_TIME) : p;
    p = ngx_http_aegis_line_lit(p, "\",\"request_id\":\"");
    p = id.len ? ngx_cpymem(p, id.data, id.len) : p;
    p = ngx_http_aegis_line_lit(p, "\",\"trace_id\":\"");
    p = job && job->trace[0] ? ngx_cpymem(p, job->trace + 3, 32) : p;

    for (i = 0; i < sizeof(fields) / sizeof(fields[0]); i++) {
        p = ngx_cpymem(p, fields[i].name.data, fields[i].name.len);

        if (job) {
            p = ngx_http_aegis_line_put(p,
                                 ngx_http_aegis_variable_text(job, fields[i].which));
        }
    }

    return p;
}


/*
 * The whole line of conf/aegis_log.conf. nginx makes a line of its variables one by one,
 * each looked up, copied, measured and copied again, which was a tenth of what it did
 * for a read; t/63nginx.t holds the two to the same bytes.
 */
static ngx_int_t
ngx_http_aegis_variable_line(ngx_http_request_t *r, ngx_http_variable_value_t *v,
    uintptr_t data)
{
    u_char                      *p;
    size_t                       size, i;
    aegis_str_t                  agent, id;
    ngx_http_aegis_job_t        *job;
    ngx_http_variable_value_t    asked, *vv;
    ngx_http_aegis_main_conf_t  *amcf;

    (void) ngx_http_aegis_variable_asked(r, &asked, 0);

    amcf = ngx_http_get_module_main_conf(r, ngx_http_aegis_module);
    vv = ngx_http_get_indexed_variable(r, amcf->request_id);
    id.len = vv && !vv->not_found ? vv->len : 0;
    id.data = id.len ? (char *) vv->data : NULL;

    agent = r->headers_in.user_agent
            ? ngx_http_aegis_view(r->headers_in.user_agent->value) : AEGIS_NO_STR;

    job = ngx_http_aegis_variable_job(r);
    size = asked.len + agent.len + id.len + r->connection->addr_text.len;

    for (i = VAR_CASE_ID; job && i <= VAR_REFUSAL; i++) {
        size += ngx_http_aegis_variable_text(job, i).len;
    }

    p = ngx_pnalloc(r->pool, NGX_HTTP_AEGIS_LINE_FIXED + NGX_HTTP_AEGIS_LINE_ESCAPE * size);
    if (p == NULL) {
        return NGX_ERROR;
    }

    v->data = p;
    p = ngx_http_aegis_line_head(p, r, (aegis_str_t) { asked.len, (char *) asked.data });
    p = ngx_http_aegis_line_job(p, job, id);
    p = ngx_http_aegis_line_lit(p, "\",\"agent\":\"");
    p = ngx_http_aegis_line_put(p, agent);
    p = ngx_http_aegis_line_lit(p, "\"}");

    v->len = p - v->data;
    v->valid = 1;
    v->no_cacheable = 0;
    v->not_found = 0;

    return NGX_OK;
}
