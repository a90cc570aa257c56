/*
 * ngx_http_aegis_route.c: which route of core/tables/routes.def a request is
 * for, and whether it speaks our media type. Answers 404, 405, 501, 406 and
 * 415, and OPTIONS; a LOCAL route is answered here, without identity.
 */
#include "ngx_http_aegis_module.h"

typedef struct {
    ngx_str_t    name;          /* lower case */
    ngx_uint_t   index;
} ngx_http_aegis_header_name_t;

static const ngx_http_aegis_header_name_t  ngx_http_aegis_header_names[] = {
    { ngx_string("authorization"),    NGX_HTTP_AEGIS_H_AUTHORIZATION },
    { ngx_string("idempotency-key"),  NGX_HTTP_AEGIS_H_KEY },
    { ngx_string("if-match"),         NGX_HTTP_AEGIS_H_IF_MATCH },
    { ngx_string("if-none-match"),    NGX_HTTP_AEGIS_H_NONE_MATCH },
    { ngx_string("content-type"),     NGX_HTTP_AEGIS_H_TYPE },
    { ngx_string("content-encoding"), NGX_HTTP_AEGIS_H_ENCODING },
    { ngx_string("accept"),           NGX_HTTP_AEGIS_H_ACCEPT },
    { ngx_string("traceparent"),      NGX_HTTP_AEGIS_H_TRACEPARENT },
    { ngx_string("tracestate"),       NGX_HTTP_AEGIS_H_TRACESTATE },
    { ngx_string("origin"),           NGX_HTTP_AEGIS_H_ORIGIN },
    { ngx_string("access-control-request-method"), NGX_HTTP_AEGIS_H_PREFLIGHT }
};


/* One walk over the request's lines: nginx keeps the first of doubled ones, and
 * only the list says that there were two. Accept and tracestate may come in
 * several. */
ngx_int_t
ngx_http_aegis_headers_in(ngx_http_aegis_job_t *job)
{
    u_char                   *p;
    ngx_uint_t                i, k;
    ngx_list_part_t          *part;
    ngx_table_elt_t          *h;
    ngx_http_aegis_header_t  *to;

    part = &job->r->headers_in.headers.part;
    h = part->elts;

    for (i = 0; /* void */ ; i++) {

        if (i >= part->nelts) {
            if (part->next == NULL) {
                break;
            }

            part = part->next;
            h = part->elts;
            i = 0;
        }

        for (k = 0; k < NGX_HTTP_AEGIS_N_HEADERS; k++) {
            if (h[i].key.len != ngx_http_aegis_header_names[k].name.len
                || ngx_strncmp(h[i].lowcase_key,
                               ngx_http_aegis_header_names[k].name.data,
                               h[i].key.len) != 0)
            {
                continue;
            }

            to = &job->headers[ngx_http_aegis_header_names[k].index];

            if (to->n++ == 0) {
                to->value = h[i].value;

            } else if (ngx_http_aegis_header_names[k].index == NGX_HTTP_AEGIS_H_ACCEPT
                       || ngx_http_aegis_header_names[k].index
                          == NGX_HTTP_AEGIS_H_TRACESTATE)
            {
                p = ngx_pnalloc(job->r->pool, to->value.len + 1 + h[i].value.len);
                if (p == NULL) {
                    return NGX_ERROR;
                }

                to->value.len = ngx_sprintf(p, "%V,%V", &to->value, &h[i].value) - p;
                to->value.data = p;
            }

            break;
        }
    }

    return NGX_OK;
}


static ngx_int_t
ngx_http_aegis_route_allow(ngx_http_aegis_job_t *job, const char *allow)
{
    ngx_str_t  value;

    job->allow = allow;
    value.data = (u_char *) allow;
    value.len = ngx_strlen(allow);

    return ngx_http_aegis_add_header(job->r, "Allow", value);
}


/* {id} in the form that SQL and fingerprints use; 0 when it is no uuid. */
static ngx_uint_t
ngx_http_aegis_route_id(ngx_http_aegis_job_t *job, aegis_str_t id)
{
    if (id.data == NULL) {
        return 1;
    }

    if (!aegis_uuid_valid(id) || id.len != AEGIS_UUID_LEN) {
        return 0;
    }

    ngx_strlow(job->id_buf, (u_char *) id.data, id.len);
    job->id.data = (const char *) job->id_buf;
    job->id.len = id.len;

    return 1;
}


ngx_int_t
ngx_http_aegis_step_route(ngx_http_aegis_job_t *job)
{
    aegis_str_t          id;
    const char          *allow;
    aegis_code_t         code;
    const aegis_route_t *route;
    ngx_http_request_t  *r;
    ngx_str_t            json = ngx_string("application/json");

    r = job->r;
    r->disable_not_modified = 1;

    if (ngx_http_aegis_headers_in(job) != NGX_OK) {
        return NGX_HTTP_INTERNAL_SERVER_ERROR;
    }

    id = AEGIS_NO_STR;
    route = NULL;
    allow = NULL;

    code = aegis_route_find(ngx_http_aegis_view(r->method_name),
                            ngx_http_aegis_view(r->uri), &route, &id, &allow);

    if (code == AEGIS_E_OK) {
        job->route = route;
    }

    if (r->method == NGX_HTTP_UNKNOWN) {
        code = AEGIS_E_NOT_IMPLEMENTED;

    } else if (code == AEGIS_E_METHOD) {
        if (ngx_http_aegis_route_allow(job, allow) != NGX_OK) {
            return NGX_HTTP_INTERNAL_SERVER_ERROR;
        }

        if (r->method == NGX_HTTP_OPTIONS) {
            job->reply.status = NGX_HTTP_NO_CONTENT;
            code = AEGIS_E_OK;

            /* RFC 5789 3.1 */
            if (ngx_strstr(allow, "PATCH")
                && ngx_http_aegis_add_header(r, "Accept-Patch", json) != NGX_OK)
            {
                return NGX_HTTP_INTERNAL_SERVER_ERROR;
            }
        }

    } else if (code == AEGIS_E_OK && !ngx_http_aegis_route_id(job, id)) {
        code = AEGIS_E_NOT_FOUND;
    }

    if (code == AEGIS_E_OK && route && route->kind != AEGIS_KIND_LOCAL
        && (route->method == AEGIS_POST || route->method == AEGIS_PATCH))
    {
        return NGX_OK;
    }

    /* no body is of interest from here on, but it must not be taken for the
     * next request either */
    ngx_http_aegis_discard(r);

    if (code != AEGIS_E_OK) {
        aegis_error_set(&job->err, code, "%s", "");
        return NGX_ERROR;
    }

    if (route == NULL) {
        return NGX_DONE;
    }

    return route->kind == AEGIS_KIND_LOCAL ? ngx_http_aegis_local(job) : NGX_OK;
}


static ngx_int_t
ngx_http_aegis_route_media(ngx_http_aegis_job_t *job)
{
    ngx_uint_t                yaml;
    ngx_str_t                 json = ngx_string("application/json");
    ngx_str_t                 both = ngx_string("application/json, application/yaml");
    ngx_str_t                 identity = ngx_string("identity");
    ngx_http_aegis_header_t  *type, *encoding;

    type = &job->headers[NGX_HTTP_AEGIS_H_TYPE];
    encoding = &job->headers[NGX_HTTP_AEGIS_H_ENCODING];

    if (encoding->n && !(encoding->n == 1 && encoding->value.len == identity.len
                         && ngx_strncasecmp(encoding->value.data, identity.data,
                                            identity.len) == 0))
    {
        if (ngx_http_aegis_add_header(job->r, "Accept-Encoding", identity)
            != NGX_OK)
        {
            return NGX_HTTP_INTERNAL_SERVER_ERROR;
        }

        aegis_error_set(&job->err, AEGIS_E_MEDIA_TYPE,
                        "A request body must not have a content encoding.");
        return NGX_ERROR;
    }

    if (type->n == 1 && aegis_http_is_json(ngx_http_aegis_view(type->value))) {
        return NGX_OK;
    }

    yaml = aegis_body_yaml_max(job->route->schema) > 0;

    if (yaml && type->n == 1 && aegis_http_is_yaml(ngx_http_aegis_view(type->value))) {
        job->yaml = 1;
        return NGX_OK;
    }

    if (ngx_http_aegis_add_header(job->r, job->route->method == AEGIS_PATCH
                                          ? "Accept-Patch" : "Accept",
                                  yaml ? both : json)
        != NGX_OK)
    {
        return NGX_HTTP_INTERNAL_SERVER_ERROR;
    }

    aegis_error_set(&job->err, AEGIS_E_MEDIA_TYPE, "The body must be %s.",
                    yaml ? "application/json or application/yaml"
                         : "application/json");

    return NGX_ERROR;
}


ngx_int_t
ngx_http_aegis_step_media(ngx_http_aegis_job_t *job)
{
    ngx_http_aegis_header_t  *accept;

    accept = &job->headers[NGX_HTTP_AEGIS_H_ACCEPT];

    if (accept->n && !aegis_http_accepts_json(ngx_http_aegis_view(accept->value))) {
        aegis_error_set(&job->err, AEGIS_E_NOT_ACCEPTABLE, "%s", "");
        return NGX_ERROR;
    }

    return job->route->schema == AEGIS_SCHEMA_none
           ? NGX_OK : ngx_http_aegis_route_media(job);
}
