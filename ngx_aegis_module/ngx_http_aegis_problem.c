/*
 * ngx_http_aegis_problem.c: what nginx itself refuses, as problem documents:
 * `error_page 400 … /aegis-error;` (without "=") leads here. nginx keeps the
 * status in r->err_status; everything about the first request but its line is
 * gone by then.
 */
#include "ngx_http_aegis_module.h"

typedef struct {
    ngx_uint_t     status;          /* nginx's, some of them private */
    aegis_code_t   code;
    const char    *detail;          /* "": the table's remedy */
} ngx_http_aegis_status_t;

static const ngx_http_aegis_status_t  ngx_http_aegis_statuses[] = {
    { 400, AEGIS_E_BAD_REQUEST,       "" },
    { 401, AEGIS_E_UNAUTHORIZED,      "" },
    { 403, AEGIS_E_FORBIDDEN,         "" },
    { 404, AEGIS_E_NOT_FOUND,         "" },
    { 405, AEGIS_E_METHOD,            "" },
    { 408, AEGIS_E_TIMEOUT,           "" },
    { 413, AEGIS_E_TOO_LARGE,         "" },
    { 414, AEGIS_E_URI_TOO_LONG,      "" },
    { 415, AEGIS_E_MEDIA_TYPE,        "" },
    { 421, AEGIS_E_MISDIRECTED,       "" },
    { 429, AEGIS_E_RATE_LIMITED,      "" },
    { 494, AEGIS_E_HEADERS_TOO_LARGE, "" },
    { 495, AEGIS_E_BAD_REQUEST,       "The client certificate is not valid." },
    { 496, AEGIS_E_BAD_REQUEST,       "A client certificate is required." },
    { 497, AEGIS_E_BAD_REQUEST,       "Plain HTTP was sent to an HTTPS port." },
    { 500, AEGIS_E_INTERNAL,          "" },
    { 501, AEGIS_E_NOT_IMPLEMENTED,
      "The transfer coding is not known here; send chunked, or a Content-Length." },
    { 502, AEGIS_E_BAD_GATEWAY,       "" },
    { 503, AEGIS_E_UNAVAILABLE,       "" },
    { 504, AEGIS_E_DEADLINE,          "" },
    { 505, AEGIS_E_HTTP_VERSION,      "" }
};


static ngx_uint_t
ngx_http_aegis_problem_is(aegis_str_t line, const char *method)
{
    size_t  len;

    len = ngx_strlen(method);

    return line.len > len && ngx_memcmp(line.data, method, len) == 0;
}


/* The route that the request's own line names, for the counters and, when it
 * has other methods, for the Allow that 405 owes. nginx refuses TRACE and CONNECT
 * before it looks at the path: one that nobody has is 404, as for other methods. */
static ngx_int_t
ngx_http_aegis_problem_route(ngx_http_aegis_job_t *job, aegis_code_t *code)
{
    ngx_str_t             value;
    aegis_str_t           line, id;
    const char           *allow;
    aegis_code_t          found;
    const aegis_route_t  *route;

    line = ngx_http_aegis_view(job->r->request_line);

    found = aegis_route_find_raw(line, ngx_http_aegis_view(job->r->unparsed_uri), &route,
                                 &id, &allow);

    if (found == AEGIS_E_OK && job->route == NULL) {
        job->route = route;
    }

    if (*code != AEGIS_E_METHOD) {
        return NGX_OK;
    }

    if (found != AEGIS_E_METHOD) {
        /* r->method is that of the error page */
        if (ngx_http_aegis_problem_is(line, "TRACE ")
            || ngx_http_aegis_problem_is(line, "CONNECT "))
        {
            *code = AEGIS_E_NOT_FOUND;
        }
        return NGX_OK;
    }

    value.data = (u_char *) allow;
    value.len = ngx_strlen(allow);

    return ngx_http_aegis_add_header(job->r, "Allow", value);
}


ngx_int_t
ngx_http_aegis_problem_handler(ngx_http_request_t *r)
{
    size_t                          i;
    aegis_code_t                    code;
    const char                     *detail;
    ngx_http_aegis_job_t           *job;
    const ngx_http_aegis_status_t  *s;

    job = ngx_http_aegis_job_of(r);

    if (job == NULL || job->r == NULL) {
        job = ngx_http_aegis_job_create(r);

        if (job && ngx_http_aegis_headers_in(job) != NGX_OK) {
            return NGX_HTTP_INTERNAL_SERVER_ERROR;
        }
    }

    if (job == NULL) {
        return NGX_HTTP_INTERNAL_SERVER_ERROR;
    }

    code = r->err_status >= 500 ? AEGIS_E_INTERNAL
           : r->err_status >= 400 ? AEGIS_E_BAD_REQUEST : AEGIS_E_NOT_FOUND;
    detail = "";

    for (i = 0; i < sizeof(ngx_http_aegis_statuses)
                    / sizeof(ngx_http_aegis_statuses[0]); i++)
    {
        s = &ngx_http_aegis_statuses[i];

        if (s->status == r->err_status) {
            code = s->code;
            detail = s->detail;
            break;
        }
    }

    /* the request line could not be read, so its body's end is not known */
    if (code == AEGIS_E_BAD_REQUEST || code == AEGIS_E_HTTP_VERSION || code == AEGIS_E_HEADERS_TOO_LARGE) {
        r->keepalive = 0;
    }

    if (ngx_http_aegis_problem_route(job, &code) != NGX_OK) {
        return NGX_HTTP_INTERNAL_SERVER_ERROR;
    }

    if (job->refusal == AEGIS_R_NONE
        && (r->err_status == 401 || r->err_status == 403 || r->err_status == 495
            || r->err_status == 496))
    {
        job->refusal = AEGIS_R_NGINX;
        ngx_http_aegis_stats_refused(AEGIS_R_NGINX);
    }

    r->err_status = aegis_error_def(code)->http;

    aegis_error_clear(&job->err);
    aegis_error_set(&job->err, code, "%s", detail);

    return ngx_http_aegis_reply_error(job);
}


/* The same before the access phase: a fence that refused the request
 * (auth_request, deny) would refuse its redirect to here as well, and nginx
 * would send its page of HTML. */
ngx_int_t
ngx_http_aegis_problem_phase(ngx_http_request_t *r)
{
    ngx_http_aegis_loc_conf_t  *lcf;

    lcf = ngx_http_get_module_loc_conf(r, ngx_http_aegis_module);

    return lcf->problem ? ngx_http_aegis_problem_handler(r) : NGX_DECLINED;
}


/* What stands behind a message of the error log. nginx's own shows the whole
 * request line and the Referer, and somebody puts a key into a query. */
static u_char *
ngx_http_aegis_problem_line(ngx_http_request_t *r, ngx_http_request_t *sr,
    u_char *buf, size_t len)
{
    u_char                    *p, *end;
    ngx_str_t                  line;
    ngx_http_core_srv_conf_t  *cscf;

    cscf = ngx_http_get_module_srv_conf(r, ngx_http_core_module);

    line = r->request_line;
    end = line.len ? ngx_strlchr(line.data, line.data + line.len, '?') : NULL;
    if (end) {
        line.len = end - line.data;
    }

    p = ngx_snprintf(buf, len, ", server: %V, request: \"%V\"", &cscf->server_name,
                     &line);

    if (r->headers_in.host) {
        p = ngx_snprintf(p, buf + len - p, ", host: \"%V\"",
                         &r->headers_in.host->value);
    }

    return p;
}


ngx_int_t
ngx_http_aegis_problem_hide(ngx_http_request_t *r)
{
    ngx_http_aegis_srv_conf_t  *scf;

    scf = ngx_http_get_module_srv_conf(r, ngx_http_aegis_module);

    if (scf->db) {
        r->log_handler = ngx_http_aegis_problem_line;
    }

    return NGX_DECLINED;
}
