/*
 * ngx_http_aegis_queue.c: who is sent when. Jobs wait in arrival order in the
 * bounded queue of their lane; when a connection is free, the first one that
 * may go and those of the same statement behind it go as one unit.
 *
 * Invariant of the write lane: a key (tenant, principal, key) and a case are in
 * at most one place of all that is in flight, and a job never overtakes an
 * earlier one of its key or case. Whose turn it is follows from what is in flight and
 * what waits, each time that a unit is picked; keys and cases are known by hashes of
 * 64 bits, so that nobody waits for a stranger.
 * outcome.c says what the end of a unit means to each of its jobs.
 */
#include "ngx_http_aegis_module.h"

#define NGX_HTTP_AEGIS_GATHER_MIN  6        /* requests that are waited for */
#define NGX_HTTP_AEGIS_GATHER_FULL 16       /* a unit of so many is worth sending */
#define NGX_HTTP_AEGIS_GATHER_US   10000

/* A key or a case that was met in the scan gen. */
struct ngx_http_aegis_mark_s {
    uint64_t  id;
    uint32_t  gen;
};

static void ngx_http_aegis_queue_post(ngx_event_t *ev);
static void ngx_http_aegis_queue_wake(ngx_event_t *ev);
static void ngx_http_aegis_queue_expired(ngx_event_t *ev);


ngx_http_aegis_lane_t *
ngx_http_aegis_lane_create(ngx_http_aegis_db_t *db, ngx_uint_t write, ngx_uint_t n,
    ngx_pool_t *pool)
{
    ngx_uint_t              i, most;
    ngx_http_aegis_lane_t  *lane;

    lane = ngx_pcalloc(pool, sizeof(ngx_http_aegis_lane_t));
    if (lane == NULL) {
        return NULL;
    }

    lane->pgs = ngx_pcalloc(pool, n * sizeof(ngx_http_aegis_pg_t));
    if (lane->pgs == NULL) {
        return NULL;
    }

    if (write) {
        /* a key and a case of all that can wait or be in flight, half full at most */
        most = 4 * (db->conf->queue + (n + 1) * NGX_HTTP_AEGIS_MAX_GROUP);
        for (i = 1; i < most; i *= 2) { /* void */ }
        lane->marks_mask = i - 1;

        lane->marks = ngx_pcalloc(pool, i * sizeof(struct ngx_http_aegis_mark_s));
        if (lane->marks == NULL) {
            return NULL;
        }
    }

    lane->db = db;
    lane->name = write ? "write lane" : "read lane";
    lane->write = write;
    lane->n_pgs = n;
    lane->down_since = ngx_current_msec;
    lane->notified = ngx_current_msec;
    ngx_queue_init(&lane->queue);

    lane->post.handler = ngx_http_aegis_queue_post;
    lane->post.data = lane;
    lane->post.log = ngx_cycle->log;
    lane->wake.handler = ngx_http_aegis_queue_wake;
    lane->wake.data = lane;
    lane->wake.log = ngx_cycle->log;

    for (i = 0; i < n; i++) {
        lane->pgs[i].lane = lane;
    }

    return lane;
}


static void
ngx_http_aegis_queue_ids(ngx_http_aegis_job_t *job)
{
    uint64_t            tenant, principal;
    const aegis_str_t  *v;

    v = job->item.v;

    tenant = ngx_murmur_hash2((u_char *) v[AEGIS_C_tenant].data, v[AEGIS_C_tenant].len);
    job->case_id = (tenant << 32 | ngx_murmur_hash2((u_char *) v[AEGIS_C_case_id].data,
                                                    v[AEGIS_C_case_id].len));

    principal = ngx_murmur_hash2((u_char *) v[AEGIS_C_principal].data,
                                 v[AEGIS_C_principal].len);
    job->key_id = ((tenant * 31 + principal + 1) << 32
                   | ngx_murmur_hash2((u_char *) v[AEGIS_C_key].data,
                                      v[AEGIS_C_key].len));

    /* these only add rows of their own: all that come go together, of one case,
     * and of none, which would be one for all of the tenant's */
    if (job->stmt == AEGIS_STMT_INGEST_HINT || job->stmt == AEGIS_STMT_ANALYZE_ASK) {
        job->case_id = job->key_id;
    }
}


/* Was it met in this scan? If not, and add, it is now. */
static ngx_uint_t
ngx_http_aegis_queue_met(ngx_http_aegis_lane_t *lane, uint64_t id, ngx_uint_t add)
{
    ngx_uint_t                     i, left;
    struct ngx_http_aegis_mark_s  *m;

    i = (ngx_uint_t) ((id * 0x9e3779b97f4a7c15ULL) >> 32) & lane->marks_mask;

    for (left = lane->marks_mask; left; left--) {
        m = &lane->marks[i];

        if (m->gen != lane->mark_gen) {
            if (add) {
                m->gen = lane->mark_gen;
                m->id = id;
            }
            return 0;
        }

        if (m->id == id) {
            return 1;
        }

        i = (i + 1) & lane->marks_mask;
    }

    return 1;                           /* no room, which cannot be: rather wait */
}


static void
ngx_http_aegis_queue_meet(ngx_http_aegis_lane_t *lane, const ngx_http_aegis_job_t *job)
{
    (void) ngx_http_aegis_queue_met(lane, job->key_id, 1);
    (void) ngx_http_aegis_queue_met(lane, job->case_id, 1);
}


/* A new scan, which begins with what is in flight. */
static void
ngx_http_aegis_queue_scan(ngx_http_aegis_lane_t *lane)
{
    ngx_uint_t            i, k;
    ngx_http_aegis_pg_t  *pg;

    if (++lane->mark_gen == 0) {
        ngx_memzero(lane->marks, (lane->marks_mask + 1) * sizeof(struct ngx_http_aegis_mark_s));
        lane->mark_gen = 1;
    }

    for (i = 0; i < lane->n_pgs; i++) {
        pg = &lane->pgs[i];
        for (k = 0; pg->state == NGX_HTTP_AEGIS_PG_BUSY && k < pg->unit.n; k++) {
            ngx_http_aegis_queue_meet(lane, pg->unit.jobs[k]);
        }
    }
}


void
ngx_http_aegis_queue_insert(ngx_http_aegis_lane_t *lane, ngx_http_aegis_job_t *job,
    ngx_uint_t head)
{
    ngx_msec_int_t  left;

    if (head) {
        ngx_queue_insert_head(&lane->queue, &job->link);
    } else {
        ngx_queue_insert_tail(&lane->queue, &job->link);
    }

    job->queued = 1;
    job->queued_us = ngx_http_aegis_now_us();
    lane->n_queued++;
    ngx_http_aegis_stats_queued(1);

    left = (ngx_msec_int_t) (job->deadline - ngx_current_msec);

    job->timer.handler = ngx_http_aegis_queue_expired;
    job->timer.data = job;
    job->timer.log = ngx_cycle->log;
    job->timer.cancelable = (job->probe != NULL);
    ngx_add_timer(&job->timer, left > 0 ? (ngx_msec_t) left : 0);
}


static void
ngx_http_aegis_queue_remove(ngx_http_aegis_job_t *job)
{
    ngx_queue_remove(&job->link);
    job->queued = 0;
    job->queue_us += ngx_http_aegis_now_us() - job->queued_us;
    job->lane->n_queued--;
    ngx_http_aegis_stats_queued(-1);

    if (job->timer.timer_set) {
        ngx_del_timer(&job->timer);
    }
}


/* What comes while the queue is full is refused, and says so once a second. */
static ngx_int_t
ngx_http_aegis_queue_room(ngx_http_aegis_lane_t *lane, ngx_http_aegis_job_t *job)
{
    ngx_http_aegis_srv_conf_t  *conf;

    conf = lane->db->conf;

    if (lane->n_queued < conf->queue) {
        return NGX_OK;
    }

    ngx_http_aegis_stats_rejected();

    if (lane->full_at != ngx_time()) {
        lane->full_at = ngx_time();
        ngx_log_error(NGX_LOG_WARN, ngx_cycle->log, 0,
                      "aegis: the queue of the %s is full (aegis_queue %ui)",
                      lane->name, conf->queue);
    }

    aegis_error_clear(&job->err);
    aegis_error_set(&job->err, AEGIS_E_OVERLOADED, "%s", "");

    return NGX_ERROR;
}


/* Under a flood a refusal must cost less than what it refuses: one that finds no
 * room is not worth knowing whose it is, nor reading its body. */
ngx_int_t
ngx_http_aegis_step_room(ngx_http_aegis_job_t *job)
{
    ngx_http_aegis_db_t  *db;

    db = job->conf->db;

    switch (job->route->kind) {

    case AEGIS_KIND_WHO:
        return NGX_OK;

    case AEGIS_KIND_WRITE:
        return ngx_http_aegis_queue_room(db->write, job);

    default:
        /* a module's request is read before it is written */
        return ngx_http_aegis_queue_room(db->read, job);
    }
}


ngx_int_t
ngx_http_aegis_queue_push(ngx_http_aegis_lane_t *lane, ngx_http_aegis_job_t *job)
{
    size_t                      i;
    ngx_http_aegis_srv_conf_t  *conf;

    conf = lane->db->conf;

    if (job->probe == NULL && ngx_http_aegis_queue_room(lane, job) != NGX_OK) {
        return NGX_ERROR;
    }

    if (lane->n_up == 0 && ngx_current_msec - lane->down_since > conf->timeout) {
        aegis_error_clear(&job->err);
        aegis_error_set(&job->err, AEGIS_E_UNAVAILABLE,
                        "The database cannot be reached now.");
        return NGX_ERROR;
    }

    job->lane = lane;
    job->delayed = 0;
    /* a search costs what a hundred reads cost: none waits for another, and the last
     * connection is left to others */
    job->alone = job->route && job->route->kind == AEGIS_KIND_SEARCH;

    if (!job->timed) {
        job->timed = 1;
        job->deadline = ngx_current_msec + conf->timeout;
    }

    job->bytes = 0;
    for (i = 0; i < AEGIS_N_COLUMNS; i++) {
        job->bytes += job->item.v[i].len;
    }

    if (lane->write) {
        ngx_http_aegis_queue_ids(job);
    }

    ngx_http_aegis_queue_insert(lane, job, job->probe != NULL);
    ngx_http_aegis_queue_kick(lane);

    return NGX_AGAIN;
}


/* The client has gone: what was not sent yet is not sent. */
void
ngx_http_aegis_queue_drop(ngx_http_aegis_job_t *job)
{
    if (job->queued) {
        ngx_http_aegis_queue_remove(job);
    }
}


/*
 * Dispatch after this round of events, so that requests that arrived together
 * go together. A worker that shuts down has closed its idle connections: one
 * is opened again for a request that came late.
 */
void
ngx_http_aegis_queue_kick(ngx_http_aegis_lane_t *lane)
{
    if (lane->n_queued == 0) {
        return;
    }

    if (!lane->post.posted) {
        ngx_post_event(&lane->post, &ngx_posted_events);
    }

    if (ngx_exiting && lane->n_up == 0) {
        ngx_http_aegis_pg_start(&lane->pgs[0]);
    }
}


static void
ngx_http_aegis_queue_post(ngx_event_t *ev)
{
    ngx_http_aegis_queue_dispatch(ev->data);
}


static void
ngx_http_aegis_queue_wake(ngx_event_t *ev)
{
    ngx_http_aegis_queue_dispatch(ev->data);
}


static void
ngx_http_aegis_queue_delay(ngx_http_aegis_lane_t *lane, ngx_msec_t ms)
{
    if (lane->wake.timer_set) {
        if ((ngx_msec_int_t) (lane->wake.timer.key - (ngx_current_msec + ms)) <= 0) {
            return;
        }

        /* ngx_add_timer() alone keeps a timer that is off by less than 300 ms */
        ngx_del_timer(&lane->wake);
    }

    ngx_add_timer(&lane->wake, ms);
}


static ngx_uint_t
ngx_http_aegis_queue_held(ngx_http_aegis_lane_t *lane, ngx_http_aegis_job_t *job)
{
    ngx_msec_int_t  left;

    if (lane->write
        && (ngx_http_aegis_queue_met(lane, job->key_id, 0)
            || ngx_http_aegis_queue_met(lane, job->case_id, 0)))
    {
        return 1;
    }

    if (job->delayed) {
        left = (ngx_msec_int_t) (job->not_before - ngx_current_msec);

        if (left > 0) {
            ngx_http_aegis_queue_delay(lane, left);
            return 1;
        }

        job->delayed = 0;
    }

    return 0;
}


/* Take the next unit out of the queue; its n is 0 when all that waits must wait
 * for what is in flight. */
static void
ngx_http_aegis_queue_pick(ngx_http_aegis_lane_t *lane, ngx_http_aegis_unit_t *unit)
{
    ngx_uint_t              limit, take;
    ngx_queue_t            *q, *next;
    ngx_http_aegis_job_t   *job, *first;

    unit->n = 0;
    unit->alone = 0;
    unit->bytes = 0;

    if (lane->write) {
        ngx_http_aegis_queue_scan(lane);
    }

    first = NULL;
    limit = ngx_max(lane->share, NGX_HTTP_AEGIS_GATHER_MIN);

    for (q = ngx_queue_head(&lane->queue);
         q != ngx_queue_sentinel(&lane->queue) && unit->n < limit;
         q = next)
    {
        next = ngx_queue_next(q);
        job = ngx_queue_data(q, ngx_http_aegis_job_t, link);

        take = !ngx_http_aegis_queue_held(lane, job);

        if (take && first == NULL) {
            /* units that may wait for a lock never take the last connection */
            take = !job->alone || lane->n_alone == 0
                   || lane->n_alone + 1 < lane->n_pgs;

        } else if (take) {
            take = !job->alone && job->stmt == first->stmt
                   && job->stmt != AEGIS_STMT_NONE
                   && unit->bytes + job->bytes <= NGX_HTTP_AEGIS_UNIT_BYTES;
        }

        if (lane->write) {
            ngx_http_aegis_queue_meet(lane, job);
        }

        if (!take) {
            continue;
        }

        ngx_http_aegis_queue_remove(job);
        unit->jobs[unit->n++] = job;
        unit->bytes += job->bytes;

        if (first == NULL) {
            first = job;
            unit->alone = job->alone;
            if (job->alone) {
                limit = 1;
            }
        }
    }
}


/*
 * A unit costs much beside its items, in PostgreSQL and in the disk's time. With
 * many requests under way the next unit therefore gathers until it is its fair
 * share of them, while another is out and for as long as it took after it was answered:
 * those who asked are about to ask again. One that takes unusually long
 * holds nobody up. With few, each free connection takes what there is. A unit that waits
 * for a lock is no reason to wait.
 */
static ngx_uint_t
ngx_http_aegis_queue_gathers(ngx_http_aegis_lane_t *lane)
{
    uint64_t              now, wait;
    ngx_uint_t            i, out;
    ngx_http_aegis_pg_t  *pg;

    now = ngx_http_aegis_now_us();
    out = 0;
    wait = lane->ended_us + ngx_min(lane->took_us, NGX_HTTP_AEGIS_GATHER_US);

    for (i = 0; i < lane->n_pgs; i++) {
        pg = &lane->pgs[i];

        if (pg->state == NGX_HTTP_AEGIS_PG_BUSY && !pg->unit.alone) {
            out += pg->unit.n;
            wait = ngx_max(wait, pg->sent_us + NGX_HTTP_AEGIS_GATHER_US);
        }
    }

    lane->crowd = ngx_max(lane->n_queued + out, lane->crowd);

    lane->share = ngx_max(lane->crowd / lane->n_pgs,
                          ngx_min(lane->crowd - lane->crowd / 8,
                                  NGX_HTTP_AEGIS_GATHER_FULL));
    lane->share = ngx_min(lane->share, lane->db->conf->group);

    if (lane->crowd < NGX_HTTP_AEGIS_GATHER_MIN || lane->n_queued >= lane->share
        || now >= wait)
    {
        return 0;
    }

    ngx_http_aegis_queue_delay(lane, (wait - now + 999) / 1000);

    return 1;
}


void
ngx_http_aegis_queue_dispatch(ngx_http_aegis_lane_t *lane)
{
    ngx_uint_t             i, k;
    ngx_http_aegis_pg_t   *pg;
    ngx_http_aegis_job_t  *job;

    for (i = 0; i < lane->n_pgs && lane->n_queued; i++) {
        pg = &lane->pgs[i];

        if (pg->state != NGX_HTTP_AEGIS_PG_IDLE) {
            continue;
        }

        if (ngx_http_aegis_queue_gathers(lane)) {
            return;
        }

        ngx_http_aegis_queue_pick(lane, &pg->unit);
        if (pg->unit.n == 0) {
            return;
        }

        for (k = 0; k < pg->unit.n; k++) {
            job = pg->unit.jobs[k];
            job->in_flight = 1;
        }

        lane->n_alone += pg->unit.alone;
        ngx_http_aegis_stats_group(pg->unit.n);
        ngx_http_aegis_pg_send(pg);
    }
}


/* Why did a job wait for nothing until its deadline? */
static void
ngx_http_aegis_queue_expired(ngx_event_t *ev)
{
    aegis_code_t            code;
    ngx_http_aegis_job_t   *job;

    job = ev->data;

    ngx_http_aegis_queue_remove(job);

    code = job->n_busy ? AEGIS_E_BUSY
           : job->lane->n_up == 0 ? AEGIS_E_UNAVAILABLE
           : AEGIS_E_OVERLOADED;

    ngx_http_aegis_outcome_fail(job, code, job->lane->n_up
                              ? "The request waited too long for its turn."
                              : "The database cannot be reached now.");
}
