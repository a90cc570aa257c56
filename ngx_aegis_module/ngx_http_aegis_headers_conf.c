/*
 * ngx_http_aegis_headers_conf.c: the directives behind headers.c, checked and
 * turned into header values when the configuration is read, so that an answer
 * only copies them.
 */
#include "ngx_http_aegis_module.h"

#include "aegis_time.h"

typedef struct {
    ngx_http_aegis_deprecated_t  *to;
    int64_t                       since;
    int64_t                       sunset;
    ngx_str_t                     link;
    ngx_str_t                     successor;
} ngx_http_aegis_deprecation_t;


/* scheme "://" host [":" port], as a browser writes an Origin (RFC 6454 6.1). */
static ngx_uint_t
ngx_http_aegis_conf_is_origin(ngx_str_t *s)
{
    u_char  *p, *last, *host;

    p = s->data;
    last = p + s->len;

    if (s->len > 8 && ngx_strncmp(p, "https://", 8) == 0) {
        p += 8;
    } else if (s->len > 7 && ngx_strncmp(p, "http://", 7) == 0) {
        p += 7;
    } else {
        return 0;
    }

    for (host = p; p < last; p++) {
        if (!((*p >= 'a' && *p <= 'z') || (*p >= '0' && *p <= '9')
              || *p == '.' || *p == '-' || *p == ':' || *p == '[' || *p == ']'))
        {
            return 0;
        }
    }

    return *host != ':' && last[-1] != ':';
}


char *
ngx_http_aegis_conf_cors(ngx_conf_t *cf, ngx_command_t *cmd, void *conf)
{
    ngx_str_t                  *value, *origin;
    ngx_uint_t                  i;
    ngx_http_aegis_loc_conf_t  *lcf = conf;

    if (lcf->origins != NGX_CONF_UNSET_PTR) {
        return "is duplicate";
    }

    value = cf->args->elts;

    if (cf->args->nelts == 2 && ngx_strcmp(value[1].data, "off") == 0) {
        lcf->origins = NULL;
        return NGX_CONF_OK;
    }

    lcf->origins = ngx_array_create(cf->pool, cf->args->nelts - 1, sizeof(ngx_str_t));
    if (lcf->origins == NULL) {
        return NGX_CONF_ERROR;
    }

    for (i = 1; i < cf->args->nelts; i++) {
        if (!ngx_http_aegis_conf_is_origin(&value[i])) {
            ngx_conf_log_error(NGX_LOG_EMERG, cf, 0,
                "aegis_cors_origin: \"%V\" is not an exact origin like "
                "https://console.example or http://localhost:3000", &value[i]);
            return NGX_CONF_ERROR;
        }

        origin = ngx_array_push(lcf->origins);
        if (origin == NULL) {
            return NGX_CONF_ERROR;
        }

        *origin = value[i];
    }

    return NGX_CONF_OK;
}


/* What may stand between < and > of a Link: printable, without what ends it. */
static ngx_uint_t
ngx_http_aegis_conf_is_uri(ngx_str_t *s)
{
    size_t  i;

    for (i = 0; i < s->len; i++) {
        if (s->data[i] <= ' ' || s->data[i] >= 0x7f || s->data[i] == '<'
            || s->data[i] == '>' || s->data[i] == '"' || s->data[i] == '\\')
        {
            return 0;
        }
    }

    return s->len != 0;
}


static char *
ngx_http_aegis_conf_option(ngx_http_aegis_deprecation_t *d, ngx_str_t *value)
{
    ngx_str_t    s;
    aegis_str_t  text;

    static const ngx_str_t  names[] = {
        ngx_string("sunset="), ngx_string("link="), ngx_string("successor=")
    };

    ngx_uint_t  i;

    for (i = 0; i < 3; i++) {
        if (value->len > names[i].len
            && ngx_strncmp(value->data, names[i].data, names[i].len) == 0)
        {
            break;
        }
    }

    if (i == 3) {
        return "has an unknown parameter";
    }

    s.data = value->data + names[i].len;
    s.len = value->len - names[i].len;

    if (i == 0) {
        text = ngx_http_aegis_view(s);
        return aegis_time_parse(text, &d->sunset)
               ? NGX_CONF_OK : "has a sunset that is no RFC 3339 time";
    }

    if (!ngx_http_aegis_conf_is_uri(&s)) {
        return "has a link that is no URI";
    }

    *(i == 1 ? &d->link : &d->successor) = s;

    return NGX_CONF_OK;
}


/* The header values. The successor is the last link: its {id}, if it has one,
 * is filled in when an answer is made. */
static char *
ngx_http_aegis_conf_values(ngx_conf_t *cf, ngx_http_aegis_deprecation_t *d)
{
    u_char                       *p, *hole;
    ngx_http_aegis_deprecated_t  *to;

    to = d->to;

    p = ngx_pnalloc(cf->pool, NGX_INT64_LEN + 1 + sizeof("Mon, 28 Sep 1970 06:00:00 GMT")
                              + 2 * d->link.len + d->successor.len + 128);
    if (p == NULL) {
        return NGX_CONF_ERROR;
    }

    to->since.data = p;
    p = ngx_sprintf(p, "@%L", d->since);
    to->since.len = p - to->since.data;

    to->sunset.data = p;
    if (d->sunset) {
        p = ngx_http_time(p, (time_t) d->sunset);
    }
    to->sunset.len = p - to->sunset.data;

    to->link.data = p;

    if (d->link.len) {
        p = ngx_sprintf(p, "<%V>; rel=\"deprecation\"; type=\"text/html\"", &d->link);
        if (d->sunset) {
            p = ngx_sprintf(p, ", <%V>; rel=\"sunset\"; type=\"text/html\"", &d->link);
        }
    }

    if (d->successor.len) {
        p = ngx_sprintf(p, "%s<%V>; rel=\"successor-version\"", d->link.len ? ", " : "",
                        &d->successor);
    }

    to->link.len = p - to->link.data;

    hole = d->successor.len ? ngx_strnstr(to->link.data, "{id}", to->link.len) : NULL;

    if (hole) {
        to->rest.data = hole + 4;
        to->rest.len = p - to->rest.data;
        to->link.len = hole - to->link.data;
    }

    return NGX_CONF_OK;
}


char *
ngx_http_aegis_conf_deprecated(ngx_conf_t *cf, ngx_command_t *cmd, void *conf)
{
    char                          *rv;
    ngx_str_t                     *value;
    ngx_uint_t                     i;
    const aegis_route_t           *route;
    ngx_http_aegis_loc_conf_t     *lcf = conf;
    ngx_http_aegis_deprecated_t   *to;
    ngx_http_aegis_deprecation_t   d;

    value = cf->args->elts;
    ngx_memzero(&d, sizeof(d));

    if (lcf->deprecated == NGX_CONF_UNSET_PTR) {
        lcf->deprecated = ngx_array_create(cf->pool, 2,
                                           sizeof(ngx_http_aegis_deprecated_t));
    }

    d.to = lcf->deprecated ? ngx_array_push(lcf->deprecated) : NULL;
    if (d.to == NULL) {
        return NGX_CONF_ERROR;
    }

    ngx_memzero(d.to, sizeof(ngx_http_aegis_deprecated_t));

    for (i = 0, route = NULL; i < AEGIS_N_ROUTES; i++) {
        route = aegis_route((aegis_route_id_t) i);
        if (ngx_strcmp(route->path, value[1].data) == 0) {
            break;
        }
    }

    if (i == AEGIS_N_ROUTES) {
        return "names no route";
    }

    d.to->path = route->path;

    for (to = lcf->deprecated->elts; to < d.to; to++) {
        if (to->path == route->path) {
            return "names a route that is there already";
        }
    }

    if (!aegis_time_parse(ngx_http_aegis_view(value[2]), &d.since)) {
        return "has no RFC 3339 time";
    }

    for (i = 3; i < cf->args->nelts; i++) {
        rv = ngx_http_aegis_conf_option(&d, &value[i]);
        if (rv != NGX_CONF_OK) {
            return rv;
        }
    }

    if (d.sunset && d.sunset < d.since) {
        return "has a sunset before the deprecation";
    }

    if (ngx_strstr(route->path, "{id}") == NULL && d.successor.len
        && ngx_strstr(d.successor.data, "{id}"))
    {
        return "has a successor with {id}, but its route has none";
    }

    return ngx_http_aegis_conf_values(cf, &d);
}
