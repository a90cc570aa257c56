/*
 * ngx_http_aegis_metrics.c: the shared counters as Prometheus text or OpenMetrics. Series
 * that never happened are left out, except those without labels; labels are
 * route templates, codes and names of the tables, never ids.
 */
#include "ngx_http_aegis_stats.h"

#include "aegis_buf.h"

static ngx_uint_t  ngx_http_aegis_metrics_open;     /* OpenMetrics is written */


/* In OpenMetrics a counter is called without the _total of its samples. */
static void
ngx_http_aegis_metrics_head(aegis_buf_t *b, const char *name, const char *type,
    const char *help)
{
    int  n;

    n = (int) ngx_strlen(name);

    if (ngx_http_aegis_metrics_open && ngx_strcmp(type, "counter") == 0) {
        n -= (int) sizeof("_total") - 1;
    }

    aegis_buf_printf(b, "# HELP %.*s %s\n# TYPE %.*s %s\n", n, name, help, n, name,
                     type);
}


/* A bound of a histogram; in OpenMetrics a whole number is 1.0. */
static const char *
ngx_http_aegis_metrics_le(double bound, char text[32])
{
    (void) snprintf(text, 32, "%g", bound);

    if (ngx_http_aegis_metrics_open && strchr(text, '.') == NULL) {
        (void) strcat(text, ".0");
    }

    return text;
}


static const char *
ngx_http_aegis_metrics_route(ngx_uint_t i)
{
    return i < AEGIS_N_ROUTES ? aegis_route(i)->path : "none";
}


static void
ngx_http_aegis_metrics_transitions(aegis_buf_t *b, ngx_http_aegis_stats_t *s)
{
    size_t                     i, n;
    const aegis_transition_t  *rows;

    rows = aegis_fsm_table(&n);

    ngx_http_aegis_metrics_head(b, "case_transition_total", "counter",
        "Transitions that this gateway committed.");

    for (i = 0; i < n && i < NGX_HTTP_AEGIS_MAX_RULES; i++) {
        aegis_buf_printf(b, "case_transition_total{from=\"%s\",to=\"%s\","
            "event=\"%s\"} %lu\n", aegis_state_name(rows[i].from),
            aegis_state_name(rows[i].to), aegis_event_name(rows[i].event),
            (unsigned long) s->transitions[i]);
    }
}


static void
ngx_http_aegis_metrics_conflicts(aegis_buf_t *b, ngx_http_aegis_stats_t *s)
{
    ngx_uint_t                i;
    const aegis_error_def_t  *def;

    ngx_http_aegis_metrics_head(b, "conflict_total", "counter",
        "Writes refused because of the case's state or version or of their key.");

    for (i = 0; i < AEGIS_N_ERRORS; i++) {
        def = aegis_error_def(i);

        if (def->http == 409 || def->http == 412 || i == AEGIS_E_KEY_REUSED) {
            aegis_buf_printf(b, "conflict_total{code=\"%s\"} %lu\n", def->code,
                             (unsigned long) s->conflicts[i]);
        }
    }

    ngx_http_aegis_metrics_head(b, "idempotent_replay_total", "counter",
        "Answers that were replayed for a known Idempotency-Key.");

    for (i = 0; i < AEGIS_N_ROUTES; i++) {
        if (aegis_route(i)->kind == AEGIS_KIND_WRITE
            || aegis_route(i)->kind == AEGIS_KIND_MODULE)
        {
            aegis_buf_printf(b, "idempotent_replay_total{route=\"%s\"} %lu\n",
                             aegis_route(i)->path, (unsigned long) s->replays[i]);
        }
    }
}


static void
ngx_http_aegis_metrics_requests(aegis_buf_t *b, ngx_http_aegis_stats_t *s)
{
    char        code[8];
    ngx_uint_t  i, m, c;

    ngx_http_aegis_metrics_head(b, "aegis_http_requests_total", "counter",
        "Requests by route, method and status.");

    for (i = 0; i <= AEGIS_N_ROUTES; i++) {
        for (m = 0; m < NGX_HTTP_AEGIS_N_METHODS; m++) {
            for (c = 0; c < NGX_HTTP_AEGIS_N_CODES; c++) {
                if (s->requests[i][m][c] == 0) {
                    continue;
                }

                if (ngx_http_aegis_codes[c]) {
                    (void) ngx_sprintf((u_char *) code, "%d%Z",
                                       ngx_http_aegis_codes[c]);
                } else {
                    (void) ngx_sprintf((u_char *) code, "other%Z");
                }

                aegis_buf_printf(b, "aegis_http_requests_total{route=\"%s\","
                    "method=\"%s\",code=\"%s\"} %lu\n",
                    ngx_http_aegis_metrics_route(i), ngx_http_aegis_methods[m],
                    code, (unsigned long) s->requests[i][m][c]);
            }
        }
    }
}


static void
ngx_http_aegis_metrics_seconds(aegis_buf_t *b, ngx_http_aegis_stats_t *s)
{
    ngx_uint_t                 i, k;
    char                       le[32];
    const char                *route;
    unsigned long              n, total;
    ngx_http_aegis_seconds_t  *h;

    ngx_http_aegis_metrics_head(b, "aegis_http_request_duration_seconds",
        "histogram", "Time from the request's headers to the end of the answer.");

    for (i = 0; i <= AEGIS_N_ROUTES; i++) {
        h = &s->seconds[i];
        total = 0;

        for (k = 0; k <= NGX_HTTP_AEGIS_N_SECONDS; k++) {
            total += h->bucket[k];
        }

        if (total == 0) {
            continue;
        }

        route = ngx_http_aegis_metrics_route(i);
        n = 0;

        for (k = 0; k < NGX_HTTP_AEGIS_N_SECONDS; k++) {
            n += h->bucket[k];
            aegis_buf_printf(b, "aegis_http_request_duration_seconds_bucket"
                "{route=\"%s\",le=\"%s\"} %lu\n", route,
                ngx_http_aegis_metrics_le((double) ngx_http_aegis_bounds_us[k] / 1e6, le),
                ngx_min(n, total));
        }

        aegis_buf_printf(b, "aegis_http_request_duration_seconds_bucket"
            "{route=\"%s\",le=\"+Inf\"} %lu\n"
            "aegis_http_request_duration_seconds_sum{route=\"%s\"} %.6f\n"
            "aegis_http_request_duration_seconds_count{route=\"%s\"} %lu\n",
            route, total, route, (double) h->sum_us / 1e6, route, total);
    }
}


static void
ngx_http_aegis_metrics_refused(aegis_buf_t *b, ngx_http_aegis_stats_t *s)
{
    ngx_uint_t  i;

    ngx_http_aegis_metrics_head(b, "aegis_auth_refused_total", "counter",
        "Requests refused for who asks: no credential, a bad one, no scope.");

    for (i = AEGIS_R_NONE + 1; i < AEGIS_N_REFUSALS; i++) {
        aegis_buf_printf(b, "aegis_auth_refused_total{reason=\"%s\"} %lu\n",
                         aegis_refusal_def(i)->name, (unsigned long) s->refused[i]);
    }
}


static void
ngx_http_aegis_metrics_groups(aegis_buf_t *b, ngx_http_aegis_stats_t *s)
{
    char           le[32];
    ngx_uint_t     k;
    unsigned long  n;

    ngx_http_aegis_metrics_head(b, "aegis_db_group_size", "histogram",
        "Requests that one statement carried.");

    n = 0;

    for (k = 0; k < NGX_HTTP_AEGIS_N_SIZES; k++) {
        n += s->groups.bucket[k];
        aegis_buf_printf(b, "aegis_db_group_size_bucket{le=\"%s\"} %lu\n",
                         ngx_http_aegis_metrics_le(ngx_http_aegis_bounds_n[k], le), n);
    }

    n += s->groups.bucket[k];
    aegis_buf_printf(b, "aegis_db_group_size_bucket{le=\"+Inf\"} %lu\n"
        "aegis_db_group_size_sum %lu\naegis_db_group_size_count %lu\n",
        n, (unsigned long) s->groups.sum, n);
}


static void
ngx_http_aegis_metrics_workers(aegis_buf_t *b, ngx_http_aegis_stats_t *s)
{
    ngx_uint_t        i, k, n;
    unsigned long     conns[NGX_HTTP_AEGIS_PG_STATES], queued;
    ngx_core_conf_t  *ccf;

    static const char  *names[NGX_HTTP_AEGIS_PG_STATES] = {
        "down", "connecting", "preparing", "idle", "busy"
    };

    ngx_memzero(conns, sizeof(conns));
    queued = 0;

    /* a reload may have left less workers than there are slots in use */
    ccf = (ngx_core_conf_t *) ngx_get_conf(ngx_cycle->conf_ctx, ngx_core_module);
    n = ngx_min((ngx_uint_t) ccf->worker_processes, NGX_HTTP_AEGIS_MAX_WORKERS);

    for (i = 0; i < n; i++) {

        queued += s->workers[i].queued;
        for (k = 0; k < NGX_HTTP_AEGIS_PG_STATES; k++) {
            conns[k] += s->workers[i].connections[k];
        }
    }

    ngx_http_aegis_metrics_head(b, "aegis_db_connections", "gauge",
        "Database connections of all workers, by state.");

    for (k = 0; k < NGX_HTTP_AEGIS_PG_STATES; k++) {
        aegis_buf_printf(b, "aegis_db_connections{state=\"%s\"} %lu\n", names[k],
                         conns[k]);
    }

    ngx_http_aegis_metrics_head(b, "aegis_queue_length", "gauge",
        "Requests that wait for a database connection.");
    aegis_buf_printf(b, "aegis_queue_length %lu\n", queued);

    ngx_http_aegis_metrics_head(b, "aegis_queue_rejected_total", "counter",
        "Requests refused because the queue was full.");
    aegis_buf_printf(b, "aegis_queue_rejected_total %lu\n",
                     (unsigned long) s->rejected);

    ngx_http_aegis_metrics_head(b, "aegis_quota_uncounted_total", "counter",
        "Requests that no quota counted, for want of room for their tenant.");
    aegis_buf_printf(b, "aegis_quota_uncounted_total %lu\n",
                     (unsigned long) s->uncounted);
}


/* Nothing at all where no key set is in use. */
static void
ngx_http_aegis_metrics_jwks(aegis_buf_t *b, ngx_http_aegis_stats_t *s)
{
    ngx_uint_t          i, n;
    ngx_core_conf_t    *ccf;
    ngx_atomic_uint_t   oldest;

    static const char  *names[NGX_HTTP_AEGIS_JWKS_N_RESULTS] = {
#define NGX_HTTP_AEGIS_JWKS_RESULT(id, name)  name,
        NGX_HTTP_AEGIS_JWKS_RESULTS(NGX_HTTP_AEGIS_JWKS_RESULT)
#undef NGX_HTTP_AEGIS_JWKS_RESULT
    };

    for (i = 0, n = 0; i < NGX_HTTP_AEGIS_JWKS_N_RESULTS; i++) {
        if (s->jwks[i] == 0) {
            continue;
        }

        if (n++ == 0) {
            ngx_http_aegis_metrics_head(b, "aegis_jwks_fetch_total", "counter",
                "Looks at the source of a key set, by how they ended.");
        }

        aegis_buf_printf(b, "aegis_jwks_fetch_total{result=\"%s\"} %lu\n", names[i],
                         (unsigned long) s->jwks[i]);
    }

    ccf = (ngx_core_conf_t *) ngx_get_conf(ngx_cycle->conf_ctx, ngx_core_module);
    n = ngx_min((ngx_uint_t) ccf->worker_processes, NGX_HTTP_AEGIS_MAX_WORKERS);
    oldest = 0;

    for (i = 0; i < n; i++) {
        if (s->workers[i].jwks_at && (oldest == 0 || s->workers[i].jwks_at < oldest)) {
            oldest = s->workers[i].jwks_at;
        }
    }

    if (oldest) {
        ngx_http_aegis_metrics_head(b, "aegis_jwks_age_seconds", "gauge",
            "Time since the source was last read well, of the worker where it is longest.");
        aegis_buf_printf(b, "aegis_jwks_age_seconds %ld\n",
                         (long) (ngx_time() - (time_t) oldest));
    }
}


/* Nothing at all where no spans are made. */
static void
ngx_http_aegis_metrics_otel(aegis_buf_t *b, ngx_http_aegis_stats_t *s)
{
    ngx_uint_t  i, n;

    for (i = 0, n = 0; i < AEGIS_TRACER_RESULTS; i++) {
        if (s->otel[i] == 0) {
            continue;
        }

        if (n++ == 0) {
            ngx_http_aegis_metrics_head(b, "aegis_otel_spans_total", "counter",
                "Spans of requests, by what became of them.");
        }

        aegis_buf_printf(b, "aegis_otel_spans_total{result=\"%s\"} %lu\n",
                         aegis_tracer_result(i), (unsigned long) s->otel[i]);
    }
}


char *
ngx_http_aegis_metrics_text(ngx_uint_t open, size_t *ret_len)
{
    aegis_buf_t              b = AEGIS_BUF_INIT;
    ngx_http_aegis_stats_t  *s;

    s = ngx_http_aegis_stats();
    ngx_http_aegis_metrics_open = open;

    ngx_http_aegis_metrics_transitions(&b, s);
    ngx_http_aegis_metrics_conflicts(&b, s);
    ngx_http_aegis_metrics_requests(&b, s);
    ngx_http_aegis_metrics_seconds(&b, s);
    ngx_http_aegis_metrics_refused(&b, s);
    ngx_http_aegis_metrics_jwks(&b, s);
    ngx_http_aegis_metrics_otel(&b, s);
    ngx_http_aegis_metrics_groups(&b, s);
    ngx_http_aegis_metrics_workers(&b, s);

    /* what is not known yet is not said */
    if (s->lag_known) {
        ngx_http_aegis_metrics_head(&b, "aegis_outbox_pending", "gauge",
            "Outbox rows that no relay has published yet.");
        aegis_buf_printf(&b, "aegis_outbox_pending %lu\n",
                         (unsigned long) s->lag_pending);

        ngx_http_aegis_metrics_head(&b, "aegis_outbox_oldest_seconds", "gauge",
            "Age of the oldest of them.");
        aegis_buf_printf(&b, "aegis_outbox_oldest_seconds %.3f\n",
                         (double) s->lag_oldest_ms / 1000);
    }

    ngx_http_aegis_metrics_head(&b, "aegis_build_info", "gauge",
        "Always 1; the labels say what runs.");
    aegis_buf_printf(&b, "aegis_build_info{version=\"%s\",nginx=\"%s\"} 1\n",
                     AEGIS_VERSION, NGINX_VERSION);

    if (open) {
        aegis_buf_printf(&b, "# EOF\n");
    }

    return aegis_buf_take(&b, ret_len);
}
