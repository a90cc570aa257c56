/*
 * ngx_http_aegis_watch.c: the background look at the database that /readyz
 * and the outbox metrics answer from: once a second over the read lane, and
 * the outbox's backlog every five seconds by one worker of all. Its timer is
 * cancelable: it never keeps a worker that shuts down.
 */
#include "ngx_http_aegis_module.h"

#ifndef AEGIS_SCHEMA_VERSION
#error "config must define AEGIS_SCHEMA_VERSION, the newest of sql/migrations"
#endif

#define NGX_HTTP_AEGIS_WATCH_MS  1000

typedef struct ngx_http_aegis_watch_s {
    ngx_http_aegis_db_t   *db;
    ngx_event_t            timer;
    ngx_http_aegis_job_t   ready;       /* the two probes, never freed */
    ngx_http_aegis_job_t   lag;
    ngx_msec_t             at;          /* of the last answer */
    ngx_int_t              version;     /* of the schema, 0: not known yet */
    unsigned               answered:1;
} ngx_http_aegis_watch_t;


static void
ngx_http_aegis_watch_ask(ngx_http_aegis_watch_t *w, ngx_http_aegis_job_t *job)
{
    if (job->queued || job->in_flight) {
        return;
    }

    job->timed = 0;
    job->n_lost = 0;
    job->n_busy = 0;
    job->n_retried = 0;

    (void) ngx_http_aegis_queue_push(w->db->read, job);
}


static void
ngx_http_aegis_watch_timer(ngx_event_t *ev)
{
    ngx_http_aegis_watch_t  *w;

    w = ev->data;

    if (ngx_exiting || ngx_terminate) {
        return;
    }

    ngx_http_aegis_pg_server_check(w->db);
    ngx_http_aegis_watch_ask(w, &w->ready);

    if (w->db->read->n_up && ngx_http_aegis_stats_lag_turn()) {
        ngx_http_aegis_watch_ask(w, &w->lag);
    }

    ngx_add_timer(&w->timer, NGX_HTTP_AEGIS_WATCH_MS);
}


static void
ngx_http_aegis_watch_ready(ngx_http_aegis_job_t *job)
{
    ngx_http_aegis_watch_t  *w;

    w = job->lane->db->watch;

    if (job->row == NULL) {
        w->answered = 0;
        return;
    }

    w->answered = 1;
    w->at = ngx_current_msec;
    w->version = job->row->body.data
                 ? ngx_atoi((u_char *) job->row->body.data, job->row->body.len) : 0;
}


static void
ngx_http_aegis_watch_lag(ngx_http_aegis_job_t *job)
{
    char  text[64];

    if (job->row == NULL || job->row->body.data == NULL
        || job->row->extra.data == NULL || job->row->extra.len >= sizeof(text))
    {
        return;
    }

    ngx_memcpy(text, job->row->extra.data, job->row->extra.len);
    text[job->row->extra.len] = '\0';

    ngx_http_aegis_stats_lag(ngx_atoi((u_char *) job->row->body.data,
                                      job->row->body.len),
                             strtod(text, NULL));
}


const char *
ngx_http_aegis_watch_reason(ngx_http_aegis_db_t *db)
{
    ngx_http_aegis_watch_t  *w;

    w = db->watch;

    if (db->write->unprepared || db->read->unprepared) {
        return "schema: the statements cannot be prepared; run aegisctl db migrate";
    }

    if (db->write->n_up == 0 || db->read->n_up == 0) {
        return "database: no connection";
    }

    if (!w->answered || ngx_current_msec - w->at > 5 * NGX_HTTP_AEGIS_WATCH_MS) {
        return "database: it does not answer";
    }

    if (w->version < AEGIS_SCHEMA_VERSION) {
        return "schema: older than this gateway; run aegisctl db migrate";
    }

    return NULL;
}


ngx_int_t
ngx_http_aegis_watch_start(ngx_http_aegis_db_t *db, ngx_pool_t *pool)
{
    ngx_http_aegis_watch_t  *w;

    w = ngx_pcalloc(pool, sizeof(ngx_http_aegis_watch_t));
    if (w == NULL) {
        return NGX_ERROR;
    }

    db->watch = w;
    w->db = db;

    w->ready.stmt = AEGIS_STMT_NONE;
    w->ready.sql = AEGIS_SQL_READY;
    w->ready.probe = ngx_http_aegis_watch_ready;

    w->lag.stmt = AEGIS_STMT_NONE;
    w->lag.sql = AEGIS_SQL_OUTBOX_LAG;
    w->lag.probe = ngx_http_aegis_watch_lag;

    w->timer.handler = ngx_http_aegis_watch_timer;
    w->timer.data = w;
    w->timer.log = ngx_cycle->log;
    w->timer.cancelable = 1;

    /* soon, when the first connections are up */
    ngx_add_timer(&w->timer, 20);

    return NGX_OK;
}
