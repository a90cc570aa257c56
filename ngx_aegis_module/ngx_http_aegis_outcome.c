/*
 * ngx_http_aegis_outcome.c: what the end of a unit means to each of its jobs:
 * an answer, or another run by itself within the job's deadline.
 *
 * Invariant: every member has its own outcome. An error of a group says nothing
 * about its members, a lost connection nothing about what had left on it: both
 * are asked again one by one, and the key makes that safe.
 */
#include "ngx_http_aegis_module.h"

#define NGX_HTTP_AEGIS_MAX_BUSY  8
#define NGX_HTTP_AEGIS_MAX_LOST  3

typedef struct {
    const char    *sqlstate;        /* a prefix */
    ngx_uint_t     retry;           /* so often, by itself */
    ngx_uint_t     recycle;         /* the connection is of no more use */
    aegis_code_t   code;
} ngx_http_aegis_sqlstate_t;

static const ngx_http_aegis_sqlstate_t  ngx_http_aegis_sqlstates[] = {
    { "40001", 3, 0, AEGIS_E_BUSY },            /* serialization failure */
    { "40P01", 3, 0, AEGIS_E_BUSY },            /* deadlock */
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


void
ngx_http_aegis_outcome_fail(ngx_http_aegis_job_t *job, aegis_code_t code,
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


/* Run job again, by itself, before those that came later; 0: it may not. */
static ngx_uint_t
ngx_http_aegis_outcome_again(ngx_http_aegis_job_t *job, ngx_msec_t delay)
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


/* The answers that ask for another run; a jittered delay when somebody else
 * holds the case. The shadow of a lost connection may still hold the key. */
static ngx_uint_t
ngx_http_aegis_outcome_rerun(ngx_http_aegis_job_t *job,
    const ngx_http_aegis_row_t *row)
{
    if (ngx_http_aegis_equal(row->code, "again")) {
        return job->route != NULL && job->route->kind != AEGIS_KIND_MODULE
               && job->n_busy++ < NGX_HTTP_AEGIS_MAX_BUSY
               && ngx_http_aegis_outcome_again(job, 0);
    }

    if (ngx_http_aegis_equal(row->code, "pending")) {
        /* the librarian makes the question's vector; words have to do when it does not */
        if (job->n_pending++ < NGX_HTTP_AEGIS_MAX_PENDING
            && ngx_http_aegis_outcome_again(job, NGX_HTTP_AEGIS_PENDING_MS))
        {
            return 1;
        }

        job->item.v[AEGIS_C_attempt] = aegis_str("100");
        return ngx_http_aegis_outcome_again(job, 0);
    }

    if (ngx_http_aegis_equal(row->code, "busy")
        || (job->n_lost && ngx_http_aegis_equal(row->code, "idempotency-key-in-flight")))
    {
        return job->n_busy++ < NGX_HTTP_AEGIS_MAX_BUSY
               && ngx_http_aegis_outcome_again(job, 5 + ngx_random() % 20
                                                  * job->n_busy);
    }

    return 0;
}


static void
ngx_http_aegis_outcome_answer(ngx_http_aegis_job_t *job,
    const ngx_http_aegis_row_t *row)
{
    if (row->code.len == 0) {
        ngx_log_error(NGX_LOG_CRIT, ngx_cycle->log, 0,
                      "aegis: a statement gave no row for an item");
        ngx_http_aegis_outcome_fail(job, AEGIS_E_INTERNAL, "");
        return;
    }

    if (ngx_http_aegis_equal(row->code, "busy")
        || (ngx_http_aegis_equal(row->code, "again") && job->route
            && job->route->kind != AEGIS_KIND_MODULE))
    {
        ngx_http_aegis_outcome_fail(job, AEGIS_E_BUSY, "");
        return;
    }

    if (job->n_lost && ngx_http_aegis_equal(row->code, "idempotency-key-in-flight")) {
        ngx_http_aegis_outcome_fail(job, AEGIS_E_UNKNOWN_OUTCOME, "");
        return;
    }

    if (ngx_http_aegis_equal(row->code, "pending")) {
        ngx_http_aegis_outcome_fail(job, AEGIS_E_DEADLINE, "");
        return;
    }

    ngx_http_aegis_job_resume(job, row);
}


void
ngx_http_aegis_outcome_done(ngx_http_aegis_pg_t *pg, ngx_http_aegis_unit_t *unit,
    const ngx_http_aegis_row_t *rows)
{
    ngx_uint_t              i;
    ngx_http_aegis_lane_t  *lane;

    /* jobs stay in_flight, so that none is freed before it got its answer: one answer
     * may close a client's connection, and other requests with it */
    lane = pg->lane;
    lane->n_alone -= unit->alone;

    /* backwards, so that several of them keep their order at the head */
    for (i = unit->n; i-- > 0; /* void */ ) {
        if (ngx_http_aegis_outcome_rerun(unit->jobs[i], &rows[i])) {
            unit->jobs[i] = NULL;
        }
    }

    /* PostgreSQL works on the next unit while this one's answers are written */
    ngx_http_aegis_queue_dispatch(lane);

    for (i = 0; i < unit->n; i++) {
        if (unit->jobs[i]) {
            ngx_http_aegis_outcome_answer(unit->jobs[i], &rows[i]);
        }
    }
}


static const ngx_http_aegis_sqlstate_t *
ngx_http_aegis_outcome_sqlstate(const char *sqlstate)
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
ngx_http_aegis_outcome_error(ngx_http_aegis_pg_t *pg, ngx_http_aegis_unit_t *unit,
    const char *sqlstate, const char *message)
{
    ngx_uint_t                        i, n, again, level;
    ngx_http_aegis_job_t             *job;
    const ngx_http_aegis_sqlstate_t  *s;

    s = ngx_http_aegis_outcome_sqlstate(sqlstate);

    n = unit->n;
    job = unit->jobs[0];

    level = s ? NGX_LOG_WARN : NGX_LOG_ERR;
    ngx_log_error(level, ngx_cycle->log, 0,
                  "aegis: %s, group of %ui: %s %s",
                  job->stmt == AEGIS_STMT_NONE ? aegis_sql_name(job->sql)
                                               : aegis_stmt(job->stmt)->name,
                  n, sqlstate, message);

    pg->lane->n_alone -= unit->alone;

    for (i = n; i-- > 0; /* void */ ) {
        job = unit->jobs[i];

        /* an error says nothing about the members of a group; each is asked
         * again by itself, its key makes that safe */
        if (n > 1) {
            again = ngx_http_aegis_outcome_again(job, 0);

        } else {
            again = s && job->n_retried++ < s->retry
                    && ngx_http_aegis_outcome_again(job, 2 + ngx_random() % 20
                                                             * job->n_retried);
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
            ngx_http_aegis_outcome_fail(unit->jobs[i],
                                      s ? s->code : AEGIS_E_INTERNAL, "");
        }
    }
}


/* The connection is gone. What had not left simply goes again; the outcome of
 * what had is unknown until the same key is asked on another connection. */
void
ngx_http_aegis_outcome_lost(ngx_http_aegis_pg_t *pg, ngx_http_aegis_unit_t *unit,
    ngx_uint_t sent)
{
    ngx_uint_t             i;
    ngx_http_aegis_job_t  *job;

    pg->lane->n_alone -= unit->alone;

    for (i = unit->n; i-- > 0; /* void */ ) {
        job = unit->jobs[i];

        job->n_lost += sent;

        if (job->n_lost <= NGX_HTTP_AEGIS_MAX_LOST
            && ngx_http_aegis_outcome_again(job, 0))
        {
            /* only what may have happened must go by itself */
            job->alone = sent && pg->lane->write;
            unit->jobs[i] = NULL;
        }
    }

    ngx_http_aegis_queue_kick(pg->lane);

    for (i = 0; i < unit->n; i++) {
        if (unit->jobs[i]) {
            ngx_http_aegis_outcome_fail(unit->jobs[i], AEGIS_E_UNAVAILABLE, "");
        }
    }
}
