/*
 * ngx_http_aegis_stats.h: the shared counters' layout, for stats.c that counts
 * and metrics.c that prints. Fixed arrays of atomics and no lock: a worker that
 * is killed in the middle of anything leaves nothing half done.
 */
#ifndef NGX_HTTP_AEGIS_STATS_H
#define NGX_HTTP_AEGIS_STATS_H

#include "ngx_http_aegis_jwt.h"

#include "aegis_tracer.h"

#define NGX_HTTP_AEGIS_STATS_LAYOUT   0x41454736    /* changes with the struct */
#define NGX_HTTP_AEGIS_MAX_RULES      64
#define NGX_HTTP_AEGIS_MAX_WORKERS    128
#define NGX_HTTP_AEGIS_N_METHODS      7
#define NGX_HTTP_AEGIS_N_CODES        32
#define NGX_HTTP_AEGIS_N_SECONDS      14
#define NGX_HTTP_AEGIS_N_SIZES        8
#define NGX_HTTP_AEGIS_LAG_MS         5000
#define NGX_HTTP_AEGIS_N_CLUSTERS     16
#define NGX_HTTP_AEGIS_ZONE_MIN       (128 * 1024)

extern const char *const  ngx_http_aegis_methods[NGX_HTTP_AEGIS_N_METHODS];
/* the last of them, 0, stands for every other status */
extern const int  ngx_http_aegis_codes[NGX_HTTP_AEGIS_N_CODES];
extern const uint64_t  ngx_http_aegis_bounds_us[NGX_HTTP_AEGIS_N_SECONDS];
extern const ngx_uint_t  ngx_http_aegis_bounds_n[NGX_HTTP_AEGIS_N_SIZES];

typedef struct {
    ngx_atomic_t   bucket[NGX_HTTP_AEGIS_N_SECONDS + 1];    /* not cumulative */
    ngx_atomic_t   sum_us;
} ngx_http_aegis_seconds_t;

typedef struct {
    ngx_atomic_t   bucket[NGX_HTTP_AEGIS_N_SIZES + 1];
    ngx_atomic_t   sum;
} ngx_http_aegis_sizes_t;

/* Gauges of one worker process; only the slot's owner writes. */
typedef struct {
    ngx_atomic_t   pid;
    ngx_atomic_t   connections[NGX_HTTP_AEGIS_PG_STATES];
    ngx_atomic_t   queued;
    ngx_atomic_t   jwks_at;         /* of its oldest key set's last good look, s */
} ngx_http_aegis_worker_t;

typedef struct {
    ngx_atomic_t   layout;
    ngx_atomic_t   size;
    u_char         secret[32];      /* of cursors, when no file gives one */

    ngx_atomic_t   transitions[NGX_HTTP_AEGIS_MAX_RULES];
    ngx_atomic_t   conflicts[AEGIS_N_ERRORS];
    ngx_atomic_t   replays[AEGIS_N_ROUTES];
    ngx_atomic_t   rejected;
    ngx_atomic_t   uncounted;       /* by a quota without room for their tenant */
    ngx_atomic_t   refused[AEGIS_N_REFUSALS];
    ngx_atomic_t   jwks[NGX_HTTP_AEGIS_JWKS_N_RESULTS];
    ngx_atomic_t   otel[AEGIS_TRACER_RESULTS];
    ngx_atomic_t   requests[AEGIS_N_ROUTES + 1][NGX_HTTP_AEGIS_N_METHODS]
                           [NGX_HTTP_AEGIS_N_CODES];
    ngx_http_aegis_seconds_t  seconds[AEGIS_N_ROUTES + 1];
    ngx_http_aegis_sizes_t    groups;

    /* a cluster's newest timeline: 40 bits of its name, 24 of the number */
    ngx_atomic_t   timelines[NGX_HTTP_AEGIS_N_CLUSTERS];

    ngx_atomic_t   lag_next;        /* when somebody may look again, ms */
    ngx_atomic_t   lag_known;
    ngx_atomic_t   lag_pending;
    ngx_atomic_t   lag_oldest_ms;

    ngx_http_aegis_worker_t  workers[NGX_HTTP_AEGIS_MAX_WORKERS];
} ngx_http_aegis_stats_t;

/* All that will ever be in the zone is allocated at once, so that it cannot
 * fill up later; the slab pool needs the rest for itself. */
_Static_assert(sizeof(ngx_http_aegis_stats_t) + 8 * 4096 <= NGX_HTTP_AEGIS_ZONE_MIN,
               "the smallest zone does not hold the counters");

/* Called by the tracer's thread as well. */
void ngx_http_aegis_stats_otel(aegis_tracer_result_t result, uint64_t n);

void ngx_http_aegis_stats_uncounted(void);

/* NULL before the zone is there. */
ngx_http_aegis_stats_t *ngx_http_aegis_stats(void);

#endif
