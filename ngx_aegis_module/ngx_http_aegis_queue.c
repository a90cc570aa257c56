/*
 * ngx_http_aegis_queue.c: who is sent when. Jobs wait in arrival order in the
 * bounded queue of their lane; when a connection is free, the first one that
 * may go and those of the same statement behind it go as one unit.
 *
 * Invariant of the write lane: a key (tenant, principal, key) and a case are in
 * at most one place of all that is in flight, and a job never overtakes an
 * earlier one of its key or case. Keys and cases are slots of a table: two that
 * share a slot wait for each other needlessly, and nothing else happens.
 *
 * What the end of a unit means to each of its jobs is decided here too: an
 * answer, or another run by itself within the job's deadline.
 */
#include "ngx_http_aegis_module.h"

#define NGX_HTTP_AEGIS_MAX_BUSY  8
#define NGX_HTTP_AEGIS_MAX_LOST  3

typedef struct {
    const char    *sqlstate;        /* a prefix */
    ngx_uint_t     retry;           /* once, by itself */
    ngx_uint_t     recycle;         /* the connection is of no more use */
    aegis_code_t   code;
} ngx_http_aegis_sqlstate_t;

static const ngx_http_aegis_sqlstate_t  ngx_http_aegis_sqlstates[] = {
    { "40001", 1, 0, AEGIS_E_BUSY },            /* serialization failure */
    { "40P01", 1, 0, AEGIS_E_BUSY },            /* deadlock */
    { "55P03", 1, 0, AEGIS_E_BUSY },            /* lock_timeout */
    { "23505", 1, 0, AEGIS_E_BUSY },            /* the other one is committed */
    { "57014", 0, 0, AEGIS_E_DEADLINE },        /* statement_timeout */
    { "25006", 0, 1, AEGIS_E_UNAVAILABLE },     /* a standby by now */
    { "26000", 1, 1, AEGIS_E_UNAVAILABLE },     /* the prepared statement is gone */
    { "0A000", 1, 1, AEGIS_E_UNAVAILABLE },     /* a cached plan is out of date */
    { "53",    0, 0, AEGIS_E_UNAVAILABLE },     /* disk, memory, connections */
    { "57",    0, 1, AEGIS_E_UNAVAILABLE },     /* shutting down */
    { "08",    0, 1, AEGIS_E_UNAVAILABLE }
};

static void ngx_http_aegis_queue_dispatch(ngx_http_aegis_lane_t *lane);
static void ngx_http_aegis_queue_post(ngx_event_t *ev);
static void ngx_http_aegis_queue_wake(ngx_event_t *ev);
static void ngx_http_aegis_queue_expired(ngx_event_t *ev);


ngx_http_aegis_lane_t *
ngx_http_aegis_lane_create(ngx_http_aegis_db_t *db, ngx_uint_t write, ngx_uint_t n,
    ngx_pool_t *pool)
{
    ngx_uint_t              i;
    ngx_http_aegis_lane_t  *lane;

    lane = ngx_pcalloc(pool, sizeof(ngx_http_aegis_lane_t));
    if (lane == NULL) {
        return NULL;
    }

    lane->pgs = ngx_pcalloc(pool, n * sizeof(ngx_http_aegis_pg_t));
    lane->busy = ngx_pcalloc(pool, NGX_HTTP_AEGIS_SLOTS * sizeof(uint16_t));
    lane->mark = ngx_pcalloc(pool, NGX_HTTP_AEGIS_SLOTS * sizeof(uint32_t));

    if (lane->pgs == NULL || lane->busy == NULL || lane->mark == NULL) {
        return NULL;
    }

    lane->db = db;
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
        ngx_http_aegis_stats_conn(-1, NGX_HTTP_AEGIS_PG_DOWN);
    }

    return lane;
}


static void
ngx_http_aegis_queue_slots(ngx_http_aegis_job_t *job)
{
    uint32_t            h;
    const aegis_str_t  *v;

    v = job->item.v;

    h = ngx_murmur_hash2((u_char *) v[AEGIS_C_tenant].data, v[AEGIS_C_tenant].len);
    job->case_slot = (h ^ ngx_murmur_hash2((u_char *) v[AEGIS_C_case_id].data,
                                           v[AEGIS_C_case_id].len))
                     & (NGX_HTTP_AEGIS_SLOTS - 1);

    h = h * 31 + ngx_murmur_hash2((u_char *) v[AEGIS_C_principal].data,
                                  v[AEGIS_C_principal].len);
    h = h * 31 + ngx_murmur_hash2((u_char *) v[AEGIS_C_key].data,
                                  v[AEGIS_C_key].len);
    job->key_slot = h & (NGX_HTTP_AEGIS_SLOTS - 1);
}


static void
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
    job->lane->n_queued--;
    ngx_http_aegis_stats_queued(-1);

    if (job->timer.timer_set) {
        ngx_del_timer(&job->timer);
    }
}


ngx_int_t
ngx_http_aegis_queue_push(ngx_http_aegis_lane_t *lane, ngx_http_aegis_job_t *job)
{
    size_t                      i;
    ngx_http_aegis_srv_conf_t  *conf;

    conf = lane->db->conf;

    if (lane->n_queued >= conf->queue && job->probe == NULL) {
        ngx_http_aegis_stats_rejected();
        aegis_error_clear(&job->err);
        aegis_error_set(&job->err, AEGIS_E_OVERLOADED, "%s", "");
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
    job->alone = 0;

    if (!job->timed) {
        job->timed = 1;
        job->deadline = ngx_current_msec + conf->timeout;
    }

    job->bytes = 0;
    for (i = 0; i < AEGIS_N_COLUMNS; i++) {
        job->bytes += job->item.v[i].len;
    }

    if (lane->write) {
        ngx_http_aegis_queue_slots(job);
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
    if (lane->wake.timer_set
        && (ngx_msec_int_t) (lane->wake.timer.key - (ngx_current_msec + ms)) <= 0)
    {
        return;
    }

    ngx_add_timer(&lane->wake, ms);
}


static ngx_uint_t
ngx_http_aegis_queue_held(ngx_http_aegis_lane_t *lane, ngx_http_aegis_job_t *job)
{
    ngx_msec_int_t  left;

    if (lane->write
        && (lane->busy[job->key_slot] || lane->busy[job->case_slot]
            || lane->mark[job->key_slot] == lane->mark_gen
            || lane->mark[job->case_slot] == lane->mark_gen))
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

    if (++lane->mark_gen == 0) {
        ngx_memzero(lane->mark, NGX_HTTP_AEGIS_SLOTS * sizeof(uint32_t));
        lane->mark_gen = 1;
    }

    first = NULL;
    limit = lane->db->conf->group;

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
            lane->mark[job->key_slot] = lane->mark_gen;
            lane->mark[job->case_slot] = lane->mark_gen;
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


static void
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

        ngx_http_aegis_queue_pick(lane, &pg->unit);
        if (pg->unit.n == 0) {
            return;
        }

        for (k = 0; k < pg->unit.n; k++) {
            job = pg->unit.jobs[k];
            job->in_flight = 1;

            if (lane->write) {
                lane->busy[job->key_slot]++;
                lane->busy[job->case_slot]++;
            }
        }

        lane->n_alone += pg->unit.alone;
        ngx_http_aegis_stats_group(pg->unit.n);
        ngx_http_aegis_pg_send(pg);
    }
}


/* The jobs stay in_flight, so that none is freed before it got its answer: one
 * answer may close a client's connection, and other requests with it. */
static void
ngx_http_aegis_queue_landed(ngx_http_aegis_lane_t *lane,
    ngx_http_aegis_unit_t *unit)
{
    ngx_uint_t             i;
    ngx_http_aegis_job_t  *job;

    lane->n_alone -= unit->alone;

    for (i = 0; i < unit->n; i++) {
        job = unit->jobs[i];

        if (lane->write) {
            lane->busy[job->key_slot]--;
            lane->busy[job->case_slot]--;
        }
    }
}


static void
ngx_http_aegis_queue_fail(ngx_http_aegis_job_t *job, aegis_code_t code,
    const char *detail)
{
    if (job->n_lost && job->lane->write
        && (code == AEGIS_E_BUSY || code == AEGIS_E_UNAVAILABLE
            || code == AEGIS_E_OVERLOADED || code == AEGIS_E_DEADLINE))
    {
        code = AEGIS_E_UNKNOWN_OUTCOME;
        detail = "";
    }

    aegis_error_clear(&job->err);
    aegis_error_set(&job->err, code, "%s", detail);
    ngx_http_aegis_job_resume(job, NULL);
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

    ngx_http_aegis_queue_fail(job, code, job->lane->n_up
                              ? "The request waited too long for its turn."
                              : "The database cannot be reached now.");
}


/* Run job again, by itself, before those that came later; 0: it may not. */
static ngx_uint_t
ngx_http_aegis_queue_again(ngx_http_aegis_job_t *job, ngx_msec_t delay)
{
    if (job->r == NULL && job->probe == NULL) {
        return 0;
    }

    if ((ngx_msec_int_t) (job->deadline - ngx_current_msec - delay) <= 0) {
        return 0;
    }

    job->in_flight = 0;
    job->alone = 1;
    job->delayed = delay != 0;
    job->not_before = ngx_current_msec + delay;

    ngx_http_aegis_queue_insert(job->lane, job, 1);

    return 1;
}


static ngx_uint_t
ngx_http_aegis_queue_is(const ngx_http_aegis_row_t *row, const char *code)
{
    return row->code.len == ngx_strlen(code)
           && ngx_memcmp(row->code.data, code, row->code.len) == 0;
}


/* The answers that ask for another run; a jittered delay when somebody else
 * holds the case. The shadow of a lost connection may still hold the key. */
static ngx_uint_t
ngx_http_aegis_queue_rerun(ngx_http_aegis_job_t *job,
    const ngx_http_aegis_row_t *row)
{
    if (ngx_http_aegis_queue_is(row, "again")) {
        return job->route != NULL && job->route->kind != AEGIS_KIND_MODULE
               && job->n_busy++ < NGX_HTTP_AEGIS_MAX_BUSY
               && ngx_http_aegis_queue_again(job, 0);
    }

    if (ngx_http_aegis_queue_is(row, "busy")
        || (job->n_lost && ngx_http_aegis_queue_is(row, "idempotency-key-in-flight")))
    {
        return job->n_busy++ < NGX_HTTP_AEGIS_MAX_BUSY
               && ngx_http_aegis_queue_again(job, 5 + ngx_random() % 20
                                                  * job->n_busy);
    }

    return 0;
}


static void
ngx_http_aegis_queue_answer(ngx_http_aegis_job_t *job,
    const ngx_http_aegis_row_t *row)
{
    if (row->code.len == 0) {
        ngx_log_error(NGX_LOG_CRIT, ngx_cycle->log, 0,
                      "aegis: a statement gave no row for an item");
        ngx_http_aegis_queue_fail(job, AEGIS_E_INTERNAL, "");
        return;
    }

    if (ngx_http_aegis_queue_is(row, "busy")
        || (ngx_http_aegis_queue_is(row, "again") && job->route
            && job->route->kind != AEGIS_KIND_MODULE))
    {
        ngx_http_aegis_queue_fail(job, AEGIS_E_BUSY, "");
        return;
    }

    if (job->n_lost && ngx_http_aegis_queue_is(row, "idempotency-key-in-flight")) {
        ngx_http_aegis_queue_fail(job, AEGIS_E_UNKNOWN_OUTCOME, "");
        return;
    }

    ngx_http_aegis_job_resume(job, row);
}


void
ngx_http_aegis_queue_done(ngx_http_aegis_pg_t *pg, ngx_http_aegis_unit_t *unit,
    const ngx_http_aegis_row_t *rows)
{
    ngx_uint_t              i;
    ngx_http_aegis_lane_t  *lane;

    lane = pg->lane;
    ngx_http_aegis_queue_landed(lane, unit);

    /* backwards, so that several of them keep their order at the head */
    for (i = unit->n; i-- > 0; /* void */ ) {
        if (ngx_http_aegis_queue_rerun(unit->jobs[i], &rows[i])) {
            unit->jobs[i] = NULL;
        }
    }

    /* PostgreSQL works on the next unit while this one's answers are written */
    ngx_http_aegis_queue_dispatch(lane);

    for (i = 0; i < unit->n; i++) {
        if (unit->jobs[i]) {
            ngx_http_aegis_queue_answer(unit->jobs[i], &rows[i]);
        }
    }
}


static const ngx_http_aegis_sqlstate_t *
ngx_http_aegis_queue_sqlstate(const char *sqlstate)
{
    size_t                            i;
    const ngx_http_aegis_sqlstate_t  *s;

    for (i = 0; i < sizeof(ngx_http_aegis_sqlstates)
                    / sizeof(ngx_http_aegis_sqlstates[0]); i++)
    {
        s = &ngx_http_aegis_sqlstates[i];

        if (ngx_strncmp(sqlstate, s->sqlstate, ngx_strlen(s->sqlstate)) == 0) {
            return s;
        }
    }

    return NULL;
}


void
ngx_http_aegis_queue_error(ngx_http_aegis_pg_t *pg, ngx_http_aegis_unit_t *unit,
    const char *sqlstate, const char *message)
{
    ngx_uint_t                        i, n, again, level;
    ngx_http_aegis_job_t             *job;
    const ngx_http_aegis_sqlstate_t  *s;

    s = ngx_http_aegis_queue_sqlstate(sqlstate);

    n = unit->n;
    job = unit->jobs[0];

    level = s ? NGX_LOG_WARN : NGX_LOG_ERR;
    ngx_log_error(level, ngx_cycle->log, 0,
                  "aegis: %s, group of %ui: %s %s",
                  job->stmt == AEGIS_STMT_NONE ? aegis_sql_name(job->sql)
                                               : aegis_stmt(job->stmt)->name,
                  n, sqlstate, message);

    ngx_http_aegis_queue_landed(pg->lane, unit);

    for (i = n; i-- > 0; /* void */ ) {
        job = unit->jobs[i];

        /* an error says nothing about the members of a group; each is asked
         * again by itself, its key makes that safe */
        if (n > 1) {
            again = ngx_http_aegis_queue_again(job, 0);

        } else {
            again = s && s->retry && job->n_retried++ == 0
                    && ngx_http_aegis_queue_again(job, 2 + ngx_random() % 20);
        }

        if (again) {
            unit->jobs[i] = NULL;
        }
    }

    if (s && s->recycle) {
        ngx_http_aegis_pg_recycle(pg, "the session is of no more use");
    }

    ngx_http_aegis_queue_kick(pg->lane);

    for (i = 0; i < n; i++) {
        if (unit->jobs[i]) {
            ngx_http_aegis_queue_fail(unit->jobs[i],
                                      s ? s->code : AEGIS_E_INTERNAL, "");
        }
    }
}


/* The connection is gone. What had not left simply goes again; the outcome of
 * what had is unknown until the same key is asked on another connection. */
void
ngx_http_aegis_queue_lost(ngx_http_aegis_pg_t *pg, ngx_http_aegis_unit_t *unit,
    ngx_uint_t sent)
{
    ngx_uint_t             i;
    ngx_http_aegis_job_t  *job;

    ngx_http_aegis_queue_landed(pg->lane, unit);

    for (i = unit->n; i-- > 0; /* void */ ) {
        job = unit->jobs[i];

        job->n_lost += sent;

        if (job->n_lost <= NGX_HTTP_AEGIS_MAX_LOST
            && ngx_http_aegis_queue_again(job, 0))
        {
            /* only what may have happened must go by itself */
            job->alone = sent && pg->lane->write;
            unit->jobs[i] = NULL;
        }
    }

    ngx_http_aegis_queue_kick(pg->lane);

    for (i = 0; i < unit->n; i++) {
        if (unit->jobs[i]) {
            ngx_http_aegis_queue_fail(unit->jobs[i], AEGIS_E_UNAVAILABLE, "");
        }
    }
}
