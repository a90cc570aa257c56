/*
 * ngx_http_aegis_request.c: a request as one table of steps and one loop. A
 * step that parks is entered again when what it waits for is there: the body,
 * or the row of its statement.
 *
 * Invariant: job->r is valid or NULL. It becomes NULL when nginx gives the
 * request up; a job that is on the wire then stays until its unit ends, all
 * others are freed with r->pool.
 */
#include "ngx_http_aegis_module.h"

/* A sanitizer is to see what is used after it was freed. */
#if defined(__SANITIZE_ADDRESS__)
#define NGX_HTTP_AEGIS_SPARE_POOLS  1
#define NGX_HTTP_AEGIS_KEEP_POOLS   0
#else
#define NGX_HTTP_AEGIS_SPARE_POOLS  64
#define NGX_HTTP_AEGIS_KEEP_POOLS   NGX_HTTP_AEGIS_SPARE_POOLS
#endif

#define NGX_HTTP_AEGIS_POOL_BYTES   4096

typedef ngx_int_t (*ngx_http_aegis_step_pt)(ngx_http_aegis_job_t *job);

static const ngx_http_aegis_step_pt  ngx_http_aegis_steps[] = {
    ngx_http_aegis_step_route,      /* 404 405 501; OPTIONS and LOCAL end here */
    ngx_http_aegis_step_room,       /* 503 while the queue is full */
    ngx_http_aegis_step_identity,   /* 401 403 */
    ngx_http_aegis_step_quota,      /* 429 */
    ngx_http_aegis_step_media,      /* 406 415 */
    ngx_http_aegis_step_precond,    /* Idempotency-Key, If-Match, traceparent */
    ngx_http_aegis_step_query,      /* filters, limit, cursor */
    ngx_http_aegis_step_body,       /* parks while it arrives; JSON, schema */
    ngx_http_aegis_step_item,       /* all of it as one item */
    ngx_http_aegis_step_statement   /* parks in the queue; the row is the reply */
};

#define NGX_HTTP_AEGIS_N_STEPS                                                 \
    (sizeof(ngx_http_aegis_steps) / sizeof(ngx_http_aegis_steps[0]))

/* Pools of jobs that ended, for those that come: to make one costs an allocator that
 * looks for a place of its size each time more than all that a read takes from it. */
static ngx_pool_t  *ngx_http_aegis_pools[NGX_HTTP_AEGIS_SPARE_POOLS];
static ngx_uint_t   ngx_http_aegis_n_pools;

static void ngx_http_aegis_job_detach(void *data);
static void ngx_http_aegis_job_release(void *data);


/* NGX_AGAIN: parked; else what ngx_http_finalize_request() is to be told. */
static ngx_int_t
ngx_http_aegis_walk(ngx_http_aegis_job_t *job)
{
    ngx_int_t  rc;

    while (job->step < NGX_HTTP_AEGIS_N_STEPS) {
        rc = ngx_http_aegis_steps[job->step](job);

        switch (rc) {

        case NGX_OK:
            job->step++;
            continue;

        case NGX_DONE:
            job->step = NGX_HTTP_AEGIS_N_STEPS;
            return ngx_http_aegis_reply(job);

        case NGX_ERROR:
            job->step = NGX_HTTP_AEGIS_N_STEPS;
            return ngx_http_aegis_reply_error(job);

        default:
            /* parked, or nginx's own answer (413) */
            return rc;
        }
    }

    return NGX_HTTP_INTERNAL_SERVER_ERROR;
}


ngx_int_t
ngx_http_aegis_handler(ngx_http_request_t *r)
{
    ngx_int_t              rc;
    ngx_http_aegis_job_t  *job;

    job = ngx_http_aegis_job_create(r);
    if (job == NULL) {
        return NGX_HTTP_INTERNAL_SERVER_ERROR;
    }

    rc = ngx_http_aegis_walk(job);

    return rc == NGX_AGAIN ? NGX_DONE : rc;
}


static void
ngx_http_aegis_continue(ngx_http_aegis_job_t *job)
{
    ngx_int_t            rc;
    ngx_connection_t    *c;
    ngx_http_request_t  *r;

    r = job->r;
    c = r->connection;

    ngx_http_set_log_request(c->log, r);

    rc = ngx_http_aegis_walk(job);

    if (rc != NGX_AGAIN) {
        ngx_http_finalize_request(r, rc);
    }

    ngx_http_run_posted_requests(c);
}


/* nginx calls it with the body, maybe from within step_body. */
void
ngx_http_aegis_body_ready(ngx_http_request_t *r)
{
    ngx_int_t              rc;
    ngx_http_aegis_job_t  *job;

    job = ngx_http_get_module_ctx(r, ngx_http_aegis_module);
    job->body_read = 1;
    job->held = 1;

    (void) AEGIS_FP(gw_after_body, "gateway");

    rc = ngx_http_aegis_walk(job);

    if (rc != NGX_AGAIN) {
        ngx_http_finalize_request(r, rc);
    }
}


void
ngx_http_aegis_job_resume(ngx_http_aegis_job_t *job, const ngx_http_aegis_row_t *row)
{
    job->in_flight = 0;

    if (job->probe) {
        job->row = row;
        job->probe(job);
        return;
    }

    if (row) {
        ngx_http_aegis_stats_outcome(job, row);
    }

    if (job->r == NULL) {
        if (job->released) {
            ngx_http_aegis_job_free(job);
        }
        return;
    }

    job->row = row;

    ngx_http_aegis_continue(job);
}


ngx_http_aegis_job_t *
ngx_http_aegis_job_create(ngx_http_request_t *r)
{
    ngx_str_t                  *id;
    ngx_pool_t                 *pool;
    ngx_pool_cleanup_t         *released;
    ngx_http_cleanup_t         *detached;
    ngx_http_aegis_job_t       *job;
    ngx_http_variable_value_t  *vv;
    ngx_http_aegis_main_conf_t *amcf;

    amcf = ngx_http_get_module_main_conf(r, ngx_http_aegis_module);

    pool = ngx_http_aegis_n_pools ? ngx_http_aegis_pools[--ngx_http_aegis_n_pools]
           : ngx_create_pool(NGX_HTTP_AEGIS_POOL_BYTES, ngx_cycle->log);
    if (pool == NULL) {
        return NULL;
    }

    job = ngx_pcalloc(pool, sizeof(ngx_http_aegis_job_t));
    detached = ngx_http_cleanup_add(r, 0);
    released = ngx_pool_cleanup_add(r->pool, 0);

    if (job == NULL || detached == NULL || released == NULL) {
        ngx_destroy_pool(pool);
        return NULL;
    }

    detached->handler = ngx_http_aegis_job_detach;
    detached->data = job;
    released->handler = ngx_http_aegis_job_release;
    released->data = job;

    job->pool = pool;
    job->r = r;
    job->owner = r;
    job->conf = ngx_http_get_module_srv_conf(r, ngx_http_aegis_module);
    job->stmt = AEGIS_STMT_NONE;
    job->start_us = ngx_http_aegis_now_us();

    ngx_http_set_ctx(r, job, ngx_http_aegis_module);

    vv = ngx_http_aegis_request_id(r, amcf->request_id);

    if (vv && vv->valid && !vv->not_found) {
        job->request_id_len = ngx_min(vv->len, 64);
        ngx_memcpy(job->request_id, vv->data, job->request_id_len);

        id = ngx_palloc(r->pool, sizeof(ngx_str_t) + vv->len);
        if (id == NULL) {
            return NULL;
        }

        id->data = (u_char *) id + sizeof(ngx_str_t);
        id->len = vv->len;
        ngx_memcpy(id->data, vv->data, vv->len);

        if (ngx_http_aegis_add_header(r, "X-Request-Id", *id) != NGX_OK) {
            return NULL;
        }
    }

    return job;
}


/* An internal redirect (error_page) clears the request's contexts; the cleanup
 * list of the pool, which subrequests share, still knows whose job is whose. */
ngx_http_aegis_job_t *
ngx_http_aegis_job_of(ngx_http_request_t *r)
{
    ngx_pool_cleanup_t    *cln;
    ngx_http_aegis_job_t  *job;

    job = ngx_http_get_module_ctx(r, ngx_http_aegis_module);
    if (job) {
        return job;
    }

    for (cln = r->pool->cleanup; cln; cln = cln->next) {
        if (cln->handler != ngx_http_aegis_job_release) {
            continue;
        }

        job = cln->data;
        if (job->owner == r) {
            return job;
        }
    }

    return NULL;
}


/* The request ends, answered or not. */
static void
ngx_http_aegis_job_detach(void *data)
{
    ngx_http_aegis_job_t  *job = data;

    ngx_http_aegis_queue_drop(job);
    job->r = NULL;
}


/* r->pool ends: after the access log, which may still read the job. */
static void
ngx_http_aegis_job_release(void *data)
{
    ngx_http_aegis_job_t  *job = data;

    job->r = NULL;
    job->released = 1;

    if (!job->in_flight) {
        ngx_http_aegis_queue_drop(job);
        ngx_http_aegis_job_free(job);
    }
}


void
ngx_http_aegis_job_free(ngx_http_aegis_job_t *job)
{
    size_t       i;
    ngx_pool_t  *pool;

    for (i = 0; i < job->n_made; i++) {
        free(job->made[i]);
    }

    free(job->doc);
    json_decref(job->body);
    json_decref(job->facts);
    aegis_error_clear(&job->err);

    pool = job->pool;

    /* one block, as nearly all of them are: what was larger is given back */
    if (ngx_http_aegis_n_pools + 1 <= NGX_HTTP_AEGIS_KEEP_POOLS && pool->d.next == NULL) {
        ngx_reset_pool(pool);
        pool->log = ngx_cycle->log;
        ngx_http_aegis_pools[ngx_http_aegis_n_pools++] = pool;
        return;
    }

    ngx_destroy_pool(pool);
}


/* Log phase: every request that we saw is counted once, however it ended. */
ngx_int_t
ngx_http_aegis_log(ngx_http_request_t *r)
{
    uint64_t               us;
    ngx_http_aegis_job_t  *job;

    job = ngx_http_aegis_job_of(r);

    if (job && !job->counted && r == r->main) {
        job->counted = 1;
        us = ngx_http_aegis_now_us() - job->start_us;
        ngx_http_aegis_stats_request(job->route, r, us);
        if (job->traced) {
            ngx_http_aegis_otel_request(job, r, us);
        }
    }

    return NGX_OK;
}
