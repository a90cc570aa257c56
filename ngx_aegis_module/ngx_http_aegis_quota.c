/*
 * ngx_http_aegis_quota.c: aegis_quota: how many requests a tenant may send in a
 * window of time, counted over all workers, and the RateLimit headers that say
 * what is left. limit_req is for addresses and bursts; this is for tenants.
 *
 * Invariant: no lock. A tenant's count and its window are one word, changed by
 * compare-and-set alone, so a worker that is killed leaves nothing half done.
 */
#include "ngx_http_aegis_stats.h"

#define NGX_HTTP_AEGIS_QUOTA_SLOTS  4096        /* power of two */
#define NGX_HTTP_AEGIS_QUOTA_PROBES 32
#define NGX_HTTP_AEGIS_QUOTA_MAX    1000000000

typedef struct {
    ngx_atomic_t              key;          /* of tenant and quota; 0: free */
    ngx_atomic_t              state;        /* number of the window << 32 | count */
} ngx_http_aegis_quota_slot_t;

struct ngx_http_aegis_quota_s {
    ngx_uint_t                limit;
    time_t                    window;       /* seconds */
    ngx_str_t                 policy;       /* RateLimit-Policy */
    ngx_shm_zone_t           *zone;
};


static ngx_int_t
ngx_http_aegis_quota_init_zone(ngx_shm_zone_t *zone, void *data)
{
    ngx_slab_pool_t  *shpool;

    shpool = (ngx_slab_pool_t *) zone->shm.addr;

    zone->data = data ? data
                 : zone->shm.exists ? shpool->data
                 : ngx_slab_calloc(shpool, NGX_HTTP_AEGIS_QUOTA_SLOTS
                                           * sizeof(ngx_http_aegis_quota_slot_t));

    shpool->data = zone->data;

    return zone->data ? NGX_OK : NGX_ERROR;
}


char *
ngx_http_aegis_conf_quota(ngx_conf_t *cf, ngx_command_t *cmd, void *conf)
{
    u_char                     *p;
    ngx_int_t                   limit;
    ngx_str_t                  *value, s;
    ngx_http_aegis_quota_t     *quota;
    ngx_http_aegis_loc_conf_t  *lcf = conf;
    ngx_str_t                   name = ngx_string("aegis_quota");

    if (lcf->quota != NGX_CONF_UNSET_PTR) {
        return "is duplicate";
    }

    value = cf->args->elts;

    if (cf->args->nelts == 2 && ngx_strcmp(value[1].data, "off") == 0) {
        lcf->quota = NULL;
        return NGX_CONF_OK;
    }

    quota = ngx_pcalloc(cf->pool, sizeof(ngx_http_aegis_quota_t));
    p = ngx_pnalloc(cf->pool, 64);
    if (quota == NULL || p == NULL || sizeof(ngx_atomic_t) < 8) {
        return NGX_CONF_ERROR;
    }

    limit = ngx_atoi(value[1].data, value[1].len);

    if (limit < 1 || limit > NGX_HTTP_AEGIS_QUOTA_MAX) {
        return "needs a number of requests from 1 to 1000000000";
    }

    quota->limit = limit;
    quota->window = 60;

    if (cf->args->nelts == 3) {
        s = value[2];

        if (s.len < 5 || ngx_strncmp(s.data, "per=", 4) != 0) {
            return "has an unknown parameter; write per=60s";
        }

        s.data += 4;
        s.len -= 4;
        quota->window = ngx_parse_time(&s, 1);

        if (quota->window < 1 || quota->window > 86400) {
            return "needs a window from 1s to 1d";
        }
    }

    quota->policy.data = p;
    quota->policy.len = ngx_sprintf(p, "\"tenant\";q=%ui;w=%T", quota->limit,
                                    quota->window) - p;

    quota->zone = ngx_shared_memory_add(cf, &name, 128 * 1024,
                                        &ngx_http_aegis_module);
    if (quota->zone == NULL) {
        return NGX_CONF_ERROR;
    }

    quota->zone->init = ngx_http_aegis_quota_init_zone;
    lcf->quota = quota;

    return NGX_CONF_OK;
}


/* NULL: there is no place left for another tenant. */
static ngx_http_aegis_quota_slot_t *
ngx_http_aegis_quota_slot(ngx_http_aegis_quota_t *quota, ngx_str_t *tenant)
{
    uint64_t                      key;
    ngx_uint_t                    i, n;
    ngx_http_aegis_quota_slot_t  *slots;

    slots = quota->zone->data;

    key = (uint64_t) ngx_murmur_hash2(tenant->data, tenant->len) << 32
          | ngx_crc32_long(tenant->data, tenant->len);

    /* one count for each quota that the tenant meets */
    key = (key ^ ((uint64_t) quota->limit * 0x9e3779b97f4a7c15)
           ^ ((uint64_t) quota->window * 0xc2b2ae3d27d4eb4f)) | 1;

    for (i = (ngx_uint_t) (key >> 20), n = 0; n < NGX_HTTP_AEGIS_QUOTA_PROBES;
         i++, n++)
    {
        i &= NGX_HTTP_AEGIS_QUOTA_SLOTS - 1;

        if (slots[i].key == 0) {
            ngx_atomic_cmp_set(&slots[i].key, 0, (ngx_atomic_uint_t) key);
        }

        if (slots[i].key == (ngx_atomic_uint_t) key) {
            return &slots[i];
        }
    }

    return NULL;
}


/* Take one out of the window's; 0: there is none left. */
static ngx_uint_t
ngx_http_aegis_quota_take(ngx_http_aegis_quota_slot_t *slot, ngx_uint_t limit,
    uint64_t window, ngx_uint_t *ret_left)
{
    uint64_t           at, n;
    ngx_atomic_uint_t  old;

    for ( ;; ) {
        old = slot->state;
        at = (uint64_t) old >> 32;
        n = (uint64_t) old & 0xffffffff;

        /* workers' clocks differ by a moment: a window never comes back */
        if (at < window) {
            at = window;
            n = 0;
        }

        if (n >= limit) {
            *ret_left = 0;
            return 0;
        }

        if (ngx_atomic_cmp_set(&slot->state, old,
                               (ngx_atomic_uint_t) (at << 32 | (n + 1))))
        {
            *ret_left = limit - (ngx_uint_t) (n + 1);
            return 1;
        }
    }
}


ngx_int_t
ngx_http_aegis_step_quota(ngx_http_aegis_job_t *job)
{
    u_char                       *p;
    time_t                        now, left_s;
    ngx_str_t                     tenant, value;
    ngx_uint_t                    taken, left;
    ngx_http_aegis_quota_t       *quota;
    ngx_http_aegis_loc_conf_t    *lcf;
    ngx_http_aegis_quota_slot_t  *slot;

    lcf = ngx_http_get_module_loc_conf(job->r, ngx_http_aegis_module);
    quota = lcf->quota;

    /* auth_request knows no 429, and would make 500 of it */
    if (quota == NULL || job->r != job->r->main) {
        return NGX_OK;
    }

    tenant = job->who->tenant;
    slot = ngx_http_aegis_quota_slot(quota, &tenant);

    if (slot == NULL) {
        /* what is not counted is neither refused nor spoken of, but by a metric */
        ngx_http_aegis_stats_uncounted();
        return NGX_OK;
    }

    now = ngx_time();
    left_s = quota->window - now % quota->window;
    taken = ngx_http_aegis_quota_take(slot, quota->limit,
                                      (uint64_t) (now / quota->window), &left);

    p = ngx_pnalloc(job->r->pool, 64);
    if (p == NULL) {
        return NGX_HTTP_INTERNAL_SERVER_ERROR;
    }

    value.data = p;
    value.len = ngx_sprintf(p, "\"tenant\";r=%ui;t=%T", left, left_s) - p;

    if (ngx_http_aegis_add_header(job->r, "RateLimit-Policy", quota->policy) != NGX_OK
        || ngx_http_aegis_add_header(job->r, "RateLimit", value) != NGX_OK)
    {
        return NGX_HTTP_INTERNAL_SERVER_ERROR;
    }

    if (taken) {
        return NGX_OK;
    }

    job->retry_after = (ngx_uint_t) left_s;
    aegis_error_set(&job->err, AEGIS_E_RATE_LIMITED,
                    "The tenant may send %d requests in %d seconds.",
                    (int) quota->limit, (int) quota->window);

    return NGX_ERROR;
}
