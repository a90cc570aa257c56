/*
 * ngx_http_aegis_otel.c: aegis_otel: one span a request, put into the queue of
 * the worker's tracer (trace/) when the request has been answered and logged.
 * The tracer's thread sends; nothing here waits for it or for a collector.
 */
#include "ngx_http_aegis_otel.h"
#include "ngx_http_aegis_stats.h"

#define NGX_HTTP_AEGIS_OTEL_QUEUE  2048

/* of this process, for the end of it */
static ngx_http_aegis_otel_t  *ngx_http_aegis_otel_mine;

static ngx_str_t  ngx_http_aegis_otel_names[NGX_HTTP_AEGIS_OTEL_VARIABLES] = {
    ngx_string("otel_trace_id"),
    ngx_string("otel_span_id"),
    ngx_string("otel_parent_sampled")
};


ngx_http_aegis_otel_t *
ngx_http_aegis_otel(ngx_http_request_t *r)
{
    ngx_http_aegis_main_conf_t  *amcf;

    amcf = ngx_http_get_module_main_conf(r, ngx_http_aegis_module);

    return amcf->otel && (amcf->otel->nginx || amcf->otel->tracer) ? amcf->otel : NULL;
}


static char *
ngx_http_aegis_conf_otel_ratio(ngx_str_t value, double *ratio)
{
    u_char  *end;

    *ratio = strtod((char *) value.data, (char **) &end);

    return end != value.data && end == value.data + value.len && *ratio >= 0 && *ratio <= 1
           ? NGX_CONF_OK : NGX_CONF_ERROR;
}


static char *
ngx_http_aegis_conf_otel_word(ngx_conf_t *cf, ngx_http_aegis_otel_t *otel, ngx_str_t word)
{
    ngx_int_t   n;
    ngx_str_t   value, text;

    value.data = (u_char *) ngx_strchr(word.data, '=');
    if (value.data == NULL) {
        return NGX_CONF_ERROR;
    }

    value.data++;
    value.len = word.data + word.len - value.data;

    if (value.len == 0) {
        return NGX_CONF_ERROR;
    }

    if (ngx_strncmp(word.data, "ratio=", 6) == 0) {
        return ngx_http_aegis_conf_otel_ratio(value, &otel->conf.ratio);
    }

    if (ngx_strncmp(word.data, "queue=", 6) == 0) {
        n = ngx_atoi(value.data, value.len);
        otel->conf.queue = n;

        return n >= 64 && n <= 65536 && (n & (n - 1)) == 0 ? NGX_CONF_OK : NGX_CONF_ERROR;
    }

    if (ngx_strncmp(word.data, "service=", 8) == 0) {
        otel->conf.source.service = (char *) value.data;
        return NGX_CONF_OK;
    }

    if (ngx_strncmp(word.data, "ca_file=", 8) == 0) {
        if (ngx_conf_full_name(cf->cycle, &value, 1) != NGX_OK) {
            return NGX_CONF_ERROR;
        }

        otel->conf.ca_file = (char *) value.data;
        return NGX_CONF_OK;
    }

    if (ngx_strncmp(word.data, "headers_file=", 13) == 0) {
        if (ngx_http_aegis_conf_secret(cf, &value, &text) != NGX_OK) {
            return NGX_CONF_ERROR;
        }

        otel->conf.headers = (char *) text.data;
        return NGX_CONF_OK;
    }

    return NGX_CONF_ERROR;
}


char *
ngx_http_aegis_conf_otel(ngx_conf_t *cf, ngx_command_t *cmd, void *conf)
{
    ngx_str_t                   *value;
    ngx_uint_t                   i;
    ngx_http_aegis_otel_t       *otel;
    ngx_http_aegis_main_conf_t  *amcf = conf;

    if (amcf->otel) {
        return "is duplicate";
    }

    otel = ngx_pcalloc(cf->pool, sizeof(ngx_http_aegis_otel_t));
    if (otel == NULL) {
        return NGX_CONF_ERROR;
    }

    value = cf->args->elts;
    amcf->otel = otel;
    otel->file = cf->conf_file->file.name.data;
    otel->line = cf->conf_file->line;
    otel->conf.url = (char *) value[1].data;
    otel->conf.ratio = 1;
    otel->conf.queue = NGX_HTTP_AEGIS_OTEL_QUEUE;
    otel->conf.source.service = "aegis-gateway";
    otel->conf.count = ngx_http_aegis_stats_otel;

    if (ngx_strcmp(value[1].data, "nginx") == 0) {
        otel->nginx = 1;

        if (cf->args->nelts > 2) {
            return "takes nothing behind \"nginx\"";
        }

        return NGX_CONF_OK;
    }

    if (ngx_strncasecmp(value[1].data, (u_char *) "http://", 7) != 0
        && ngx_strncasecmp(value[1].data, (u_char *) "https://", 8) != 0)
    {
        ngx_conf_log_error(NGX_LOG_EMERG, cf, 0, "\"%V\" is no address such as"
                           " http://collector:4318/v1/traces, nor \"nginx\"", &value[1]);
        return NGX_CONF_ERROR;
    }

    for (i = 2; i < cf->args->nelts; i++) {
        if (ngx_http_aegis_conf_otel_word(cf, otel, value[i]) != NGX_CONF_OK) {
            ngx_conf_log_error(NGX_LOG_EMERG, cf, 0, "invalid parameter \"%V\"", &value[i]);
            return NGX_CONF_ERROR;
        }
    }

    return NGX_CONF_OK;
}


/* All modules have named their variables by now. */
ngx_int_t
ngx_http_aegis_otel_postconf(ngx_conf_t *cf)
{
    ngx_uint_t                   i, k;
    ngx_hash_key_t              *key;
    ngx_http_core_main_conf_t   *cmcf;
    ngx_http_aegis_main_conf_t  *amcf;

    amcf = ngx_http_conf_get_module_main_conf(cf, ngx_http_aegis_module);
    if (amcf->otel == NULL || !amcf->otel->nginx) {
        return NGX_OK;
    }

    cmcf = ngx_http_conf_get_module_main_conf(cf, ngx_http_core_module);
    key = cmcf->variables_keys->keys.elts;

    for (i = 0; i < NGX_HTTP_AEGIS_OTEL_VARIABLES; i++) {
        for (k = 0; k < cmcf->variables_keys->keys.nelts; k++) {
            if (key[k].key.len == ngx_http_aegis_otel_names[i].len
                && ngx_strncmp(key[k].key.data, ngx_http_aegis_otel_names[i].data,
                               key[k].key.len) == 0)
            {
                break;
            }
        }

        if (k == cmcf->variables_keys->keys.nelts) {
            ngx_log_error(NGX_LOG_EMERG, cf->log, 0, "\"aegis_otel nginx\" needs"
                          " ngx_otel_module, nothing sets $%V, in %s:%ui",
                          &ngx_http_aegis_otel_names[i], amcf->otel->file, amcf->otel->line);
            return NGX_ERROR;
        }

        amcf->otel->variables[i] =
            ngx_http_get_variable_index(cf, &ngx_http_aegis_otel_names[i]);

        if (amcf->otel->variables[i] == NGX_ERROR) {
            return NGX_ERROR;
        }
    }

    return NGX_OK;
}


ngx_int_t
ngx_http_aegis_otel_start(ngx_cycle_t *cycle, ngx_http_aegis_main_conf_t *amcf)
{
    char                    instance[NGX_MAXHOSTNAMELEN + 32];
    ngx_http_aegis_otel_t  *otel;

    otel = amcf->otel;
    if (otel == NULL || otel->nginx) {
        return NGX_OK;
    }

    (void) ngx_snprintf((u_char *) instance, sizeof(instance), "%V:%P%Z",
                        &cycle->hostname, ngx_pid);

    /* the host's name ends where its length says */
    otel->conf.source.instance = instance;
    otel->conf.source.host = (char *) ngx_pnalloc(cycle->pool, cycle->hostname.len + 1);
    if (otel->conf.source.host == NULL) {
        return NGX_ERROR;
    }

    (void) ngx_cpystrn((u_char *) otel->conf.source.host, cycle->hostname.data,
                       cycle->hostname.len + 1);
    otel->conf.source.pid = ngx_pid;
    otel->tracer = aegis_tracer_start(&otel->conf);
    ngx_http_aegis_otel_mine = otel;

    if (otel->tracer == NULL) {
        /* no reason not to serve */
        ngx_log_error(NGX_LOG_ERR, cycle->log, 0, "aegis_otel: spans are not exported:"
                      " no thread or no memory, or libcurl cannot be set up");
    }

    return NGX_OK;
}


void
ngx_http_aegis_otel_stop(void)
{
    if (ngx_http_aegis_otel_mine) {
        aegis_tracer_stop(ngx_http_aegis_otel_mine->tracer);
        ngx_http_aegis_otel_mine->tracer = NULL;
    }
}


void
ngx_http_aegis_otel_begin(ngx_http_aegis_job_t *job, ngx_http_aegis_otel_t *otel,
    int given, const unsigned char id[8])
{
    if (!given) {
        aegis_context_sample(job->trace, aegis_tracer_ratio(otel->tracer));
    }

    if (!aegis_context_sampled(ngx_http_aegis_cview(job->trace))) {
        return;
    }

    job->traced = 1;

    if (given) {
        ngx_memcpy(job->parent, job->trace + 36, sizeof(job->parent));
        aegis_hex(id, 7, job->trace + 36);
        /* an id of zeros is none */
        aegis_hex(id[7] ? id + 7 : (const unsigned char *) "\x01", 1, job->trace + 50);
        job->trace[52] = '-';
    }
}


/* The names that the semantic conventions know; nginx may have changed r->method
 * on the way to an error page. */
static aegis_str_t
ngx_http_aegis_otel_method(ngx_http_request_t *r)
{
    size_t       len;
    u_char      *p;
    ngx_uint_t   i;

    p = ngx_strlchr(r->request_line.data, r->request_line.data + r->request_line.len, ' ');
    len = p ? (size_t) (p - r->request_line.data) : 0;

    for (i = 0; i < NGX_HTTP_AEGIS_N_METHODS - 1; i++) {
        if (len == ngx_strlen(ngx_http_aegis_methods[i])
            && ngx_strncmp(r->request_line.data, ngx_http_aegis_methods[i], len) == 0)
        {
            return ngx_http_aegis_cview(ngx_http_aegis_methods[i]);
        }
    }

    return aegis_str("_OTHER");
}


static void
ngx_http_aegis_otel_news(ngx_http_aegis_otel_t *otel)
{
    char  detail[256];

    switch (aegis_tracer_news(otel->tracer, detail, sizeof(detail))) {

    case 1:
        ngx_log_error(NGX_LOG_WARN, ngx_cycle->log, 0,
                      "aegis_otel: the collector does not take spans: %s", detail);
        break;

    case 2:
        ngx_log_error(NGX_LOG_NOTICE, ngx_cycle->log, 0,
                      "aegis_otel: the collector takes spans again");
        break;
    }
}


void
ngx_http_aegis_otel_request(ngx_http_aegis_job_t *job, ngx_http_request_t *r, uint64_t us)
{
    char                    code[NGX_INT_T_LEN + 1];
    aegis_str_t             method, route, id;
    ngx_uint_t              status;
    aegis_span_t            span;
    ngx_http_aegis_otel_t  *otel;
    const unsigned char     none[8] = { 0 };

    otel = ngx_http_aegis_otel(r);

    if (otel == NULL) {
        return;
    }

    method = ngx_http_aegis_otel_method(r);
    route = job->route ? ngx_http_aegis_cview(job->route->path) : AEGIS_NO_STR;
    id = job->id.len ? job->id : ngx_http_aegis_cview(job->uuid);
    status = r->err_status ? r->err_status : r->headers_out.status;

    aegis_span_begin(&span, job->context, none, AEGIS_SPAN_SERVER, "%s%s%s", method.data,
                     route.len ? " " : "", route.len ? route.data : "");
    ngx_memcpy(span.span_id, job->trace + 36, 16);
    aegis_span_parent(&span, (aegis_str_t) { job->parent[0] ? 16 : 0, job->parent });

    aegis_span_str(&span, "http.request.method", method);
    aegis_span_str(&span, "http.route", route);
    aegis_span_int(&span, "http.response.status_code", status);
    aegis_span_str(&span, "url.scheme", r->connection->ssl ? aegis_str("https")
                                                           : aegis_str("http"));
    aegis_span_str(&span, "aegis.id", id);
    aegis_span_str(&span, "aegis.tenant", job->who ? ngx_http_aegis_view(job->who->tenant)
                                                   : AEGIS_NO_STR);
    aegis_span_str(&span, "aegis.idempotency", ngx_http_aegis_cview(job->idempotency));
    aegis_span_int(&span, "aegis.queue_us", job->queue_us);
    aegis_span_int(&span, "aegis.db_us", job->db_us);

    if (status >= NGX_HTTP_BAD_REQUEST) {
        (void) ngx_snprintf((u_char *) code, sizeof(code), "%ui%Z", status);
        aegis_span_str(&span, "error.type", ngx_http_aegis_cview(
            job->err.code ? aegis_error_def(job->err.code)->code : code));
    }

    span.error = status >= NGX_HTTP_INTERNAL_SERVER_ERROR;
    span.end_ns = aegis_tracer_now();
    span.start_ns = span.end_ns - us * 1000;

    aegis_tracer_push(otel->tracer, &span);
    ngx_http_aegis_otel_news(otel);
}
