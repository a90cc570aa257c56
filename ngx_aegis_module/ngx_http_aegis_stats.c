/*
 * ngx_http_aegis_stats.c: counting, into the shared zone. Counters outlive a
 * reload; the gauges of a worker are in the slot of its number, and a new
 * worker takes the slot over.
 */
#include "ngx_http_aegis_stats.h"

#include <openssl/rand.h>

static ngx_http_aegis_stats_t   *ngx_http_aegis_shared;
static ngx_http_aegis_worker_t  *ngx_http_aegis_mine;

const char *const  ngx_http_aegis_methods[NGX_HTTP_AEGIS_N_METHODS] = {
    "GET", "HEAD", "POST", "PATCH", "DELETE", "OPTIONS", "other"
};

const int  ngx_http_aegis_codes[NGX_HTTP_AEGIS_N_CODES] = {
    200, 201, 202, 204, 304, 400, 401, 403, 404, 405, 406, 408, 409, 412, 413,
    414, 415, 421, 422, 428, 429, 431, 495, 497, 499, 500, 501, 502, 503, 504, 505, 0
};

const uint64_t  ngx_http_aegis_bounds_us[NGX_HTTP_AEGIS_N_SECONDS] = {
    500, 1000, 2000, 3000, 5000, 10000, 20000, 50000, 100000, 250000, 500000,
    1000000, 2500000, 5000000
};

const ngx_uint_t  ngx_http_aegis_bounds_n[NGX_HTTP_AEGIS_N_SIZES] = {
    1, 2, 4, 8, 16, 32, 64, 128
};


ngx_http_aegis_stats_t *
ngx_http_aegis_stats(void)
{
    return ngx_http_aegis_shared;
}


ngx_int_t
ngx_http_aegis_stats_init_zone(ngx_shm_zone_t *zone, void *data)
{
    ngx_slab_pool_t         *shpool;
    ngx_http_aegis_stats_t  *stats, *old;

    shpool = (ngx_slab_pool_t *) zone->shm.addr;
    old = data ? data : (zone->shm.exists ? shpool->data : NULL);

    if (old && old->layout == NGX_HTTP_AEGIS_STATS_LAYOUT
        && old->size == sizeof(ngx_http_aegis_stats_t))
    {
        zone->data = old;
        return NGX_OK;
    }

    stats = ngx_slab_calloc(shpool, sizeof(ngx_http_aegis_stats_t));

    if (stats == NULL) {
        ngx_log_error(NGX_LOG_EMERG, zone->shm.log, 0,
                      "aegis_zone \"%V\" is too small, it needs %uzk",
                      &zone->shm.name,
                      sizeof(ngx_http_aegis_stats_t) / 1024 + 8 * ngx_pagesize / 1024);
        return NGX_ERROR;
    }

    if (RAND_bytes(stats->secret, sizeof(stats->secret)) != 1) {
        return NGX_ERROR;
    }

    stats->layout = NGX_HTTP_AEGIS_STATS_LAYOUT;
    stats->size = sizeof(ngx_http_aegis_stats_t);

    shpool->data = stats;
    zone->data = stats;

    return NGX_OK;
}


void
ngx_http_aegis_stats_attach(ngx_shm_zone_t *zone)
{
    ngx_uint_t  i;

    ngx_http_aegis_shared = zone->data;

    if (ngx_worker >= NGX_HTTP_AEGIS_MAX_WORKERS) {
        return;
    }

    ngx_http_aegis_mine = &ngx_http_aegis_shared->workers[ngx_worker];
    ngx_http_aegis_mine->pid = ngx_pid;
    ngx_http_aegis_mine->queued = 0;
    ngx_http_aegis_mine->jwks_at = 0;

    for (i = 0; i < NGX_HTTP_AEGIS_PG_STATES; i++) {
        ngx_http_aegis_mine->connections[i] = 0;
    }
}


aegis_str_t
ngx_http_aegis_stats_secret(void)
{
    aegis_str_t  s;

    s.data = (const char *) ngx_http_aegis_shared->secret;
    s.len = sizeof(ngx_http_aegis_shared->secret);

    return s;
}


static ngx_uint_t
ngx_http_aegis_stats_method(ngx_http_request_t *r)
{
    /* an internal redirect has changed r->method; the line still says it */
    u_char      *p, *last;
    size_t       len;
    ngx_uint_t   i;

    p = r->request_line.data;
    last = p + r->request_line.len;

    for (i = 0; i < NGX_HTTP_AEGIS_N_METHODS - 1; i++) {
        len = ngx_strlen(ngx_http_aegis_methods[i]);

        if ((size_t) (last - p) > len && p[len] == ' '
            && ngx_strncmp(p, ngx_http_aegis_methods[i], len) == 0)
        {
            break;
        }
    }

    return i;
}


void
ngx_http_aegis_stats_request(const aegis_route_t *route, ngx_http_request_t *r,
    uint64_t us)
{
    int                        status;
    ngx_uint_t                 i, n;
    ngx_http_aegis_seconds_t  *h;

    n = route ? (ngx_uint_t) route->id : AEGIS_N_ROUTES;
    status = (int) (r->err_status ? r->err_status : r->headers_out.status);

    for (i = 0; i < NGX_HTTP_AEGIS_N_CODES - 1; i++) {
        if (ngx_http_aegis_codes[i] == status) {
            break;
        }
    }

    ngx_atomic_fetch_add(&ngx_http_aegis_shared->requests[n]
                         [ngx_http_aegis_stats_method(r)][i], 1);

    h = &ngx_http_aegis_shared->seconds[n];

    for (i = 0; i < NGX_HTTP_AEGIS_N_SECONDS; i++) {
        if (us <= ngx_http_aegis_bounds_us[i]) {
            break;
        }
    }

    ngx_atomic_fetch_add(&h->bucket[i], 1);
    ngx_atomic_fetch_add(&h->sum_us, us);
}


static void
ngx_http_aegis_stats_transition(aegis_str_t extra)
{
    size_t                     i, n;
    ngx_int_t                  rule;
    const aegis_transition_t  *rows;

    rule = extra.data ? ngx_atoi((u_char *) extra.data, extra.len) : NGX_ERROR;
    rows = aegis_fsm_table(&n);

    for (i = 0; i < n && i < NGX_HTTP_AEGIS_MAX_RULES; i++) {
        if (rows[i].rule == rule) {
            ngx_atomic_fetch_add(&ngx_http_aegis_shared->transitions[i], 1);
            return;
        }
    }
}


/* What the database said to one item. A replayed answer is counted as a
 * replay and as nothing else. */
void
ngx_http_aegis_stats_outcome(const ngx_http_aegis_job_t *job,
    const ngx_http_aegis_row_t *row)
{
    char                      code[64];
    const aegis_error_def_t  *def;

    if (row->code.len == 0 || row->code.len >= sizeof(code)) {
        return;
    }

    ngx_memcpy(code, row->code.data, row->code.len);
    code[row->code.len] = '\0';

    if (ngx_strcmp(code, "replay") == 0) {
        ngx_atomic_fetch_add(&ngx_http_aegis_shared->replays[job->route->id], 1);
        return;
    }

    if (ngx_strcmp(code, "ok") == 0) {
        if (job->route->id == AEGIS_ROUTE_CASE_TRANSITION) {
            ngx_http_aegis_stats_transition(row->extra);
        }
        return;
    }

    def = aegis_error_by_code(code);

    if (def->http == NGX_HTTP_CONFLICT || def->http == NGX_HTTP_PRECONDITION_FAILED
        || def->code == aegis_error_def(AEGIS_E_KEY_REUSED)->code)
    {
        ngx_atomic_fetch_add(&ngx_http_aegis_shared->conflicts[def->id], 1);
    }
}


void
ngx_http_aegis_stats_group(ngx_uint_t n)
{
    ngx_uint_t               i;
    ngx_http_aegis_sizes_t  *h;

    h = &ngx_http_aegis_shared->groups;

    for (i = 0; i < NGX_HTTP_AEGIS_N_SIZES; i++) {
        if (n <= ngx_http_aegis_bounds_n[i]) {
            break;
        }
    }

    ngx_atomic_fetch_add(&h->bucket[i], 1);
    ngx_atomic_fetch_add(&h->sum, n);
}


void
ngx_http_aegis_stats_rejected(void)
{
    ngx_atomic_fetch_add(&ngx_http_aegis_shared->rejected, 1);
}


void
ngx_http_aegis_stats_uncounted(void)
{
    ngx_atomic_fetch_add(&ngx_http_aegis_shared->uncounted, 1);
}


void
ngx_http_aegis_stats_refused(aegis_refusal_t why)
{
    ngx_atomic_fetch_add(&ngx_http_aegis_shared->refused[why], 1);
}


/* After a reload two processes share a number for a while; the slot shows the
 * newer one. */
static ngx_http_aegis_worker_t *
ngx_http_aegis_stats_mine(void)
{
    return ngx_http_aegis_mine && ngx_http_aegis_mine->pid == (ngx_atomic_uint_t) ngx_pid
           ? ngx_http_aegis_mine : NULL;
}


void
ngx_http_aegis_stats_jwks(ngx_uint_t result)
{
    ngx_atomic_fetch_add(&ngx_http_aegis_shared->jwks[result], 1);
}


void
ngx_http_aegis_stats_otel(aegis_tracer_result_t result, uint64_t n)
{
    ngx_atomic_fetch_add(&ngx_http_aegis_shared->otel[result], n);
}


void
ngx_http_aegis_stats_jwks_at(time_t at)
{
    ngx_http_aegis_worker_t  *w;

    w = ngx_http_aegis_stats_mine();

    if (w) {
        w->jwks_at = at;
    }
}


void
ngx_http_aegis_stats_conn(ngx_int_t from, ngx_int_t to)
{
    ngx_http_aegis_worker_t  *w;

    w = ngx_http_aegis_stats_mine();

    if (w) {
        if (from >= 0) {
            ngx_atomic_fetch_add(&w->connections[from], -1);
        }
        ngx_atomic_fetch_add(&w->connections[to], 1);
    }
}


void
ngx_http_aegis_stats_queued(ngx_int_t delta)
{
    ngx_http_aegis_worker_t  *w;

    w = ngx_http_aegis_stats_mine();

    if (w) {
        ngx_atomic_fetch_add(&w->queued, delta);
    }
}


/* One worker in a while looks at the outbox for all. */
ngx_uint_t
ngx_http_aegis_stats_lag_turn(void)
{
    ngx_atomic_uint_t  next;

    next = ngx_http_aegis_shared->lag_next;

    return (ngx_msec_int_t) (ngx_current_msec - (ngx_msec_t) next) >= 0
           && ngx_atomic_cmp_set(&ngx_http_aegis_shared->lag_next, next,
                                 ngx_current_msec + NGX_HTTP_AEGIS_LAG_MS);
}


void
ngx_http_aegis_stats_lag(uint64_t pending, double oldest_s)
{
    ngx_http_aegis_shared->lag_pending = pending;
    ngx_http_aegis_shared->lag_oldest_ms =
        oldest_s > 0 ? (ngx_atomic_uint_t) (oldest_s * 1000) : 0;
    ngx_http_aegis_shared->lag_known = 1;
}


/* The highest timeline of a cluster that any worker process has seen. Of two
 * clusters with one slot the newer one has it, and nothing is known of the
 * other: a good server is never refused for that. */
ngx_uint_t
ngx_http_aegis_stats_timeline(uint64_t system, ngx_uint_t timeline)
{
    uint64_t            name, was;
    ngx_uint_t          i;
    ngx_atomic_t       *slot;

    if (sizeof(ngx_atomic_t) < sizeof(uint64_t)) {
        return timeline;
    }

    /* the high half of a system identifier is the time of its initdb */
    name = (system ^ (system >> 40)) & 0xffffffffff;
    slot = &ngx_http_aegis_shared->timelines[name % NGX_HTTP_AEGIS_N_CLUSTERS];

    for (i = 0; i < 8; i++) {
        was = *slot;

        if (was >> 24 == name && (was & 0xffffff) >= timeline) {
            return was & 0xffffff;
        }

        if (ngx_atomic_cmp_set(slot, (ngx_atomic_uint_t) was,
                               (ngx_atomic_uint_t) (name << 24 | (timeline & 0xffffff))))
        {
            break;
        }
    }

    return timeline;
}
