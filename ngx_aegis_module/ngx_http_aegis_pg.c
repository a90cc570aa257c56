/*
 * ngx_http_aegis_pg.c: one libpq connection on nginx's event loop, as five
 * named states. Connecting, preparing and reading never block; the socket is
 * registered level-triggered, because libpq need not read it empty.
 *
 * Invariant: a connection is c->idle only in state IDLE. While BUSY its timer
 * is not cancelable, so that a worker that shuts down stays until the answer
 * is there; a reconnect timer is, so that it does not stay for nothing.
 * What travels on it is pg_unit.c's, what an ending means outcome.c's to say.
 */
#include "ngx_http_aegis_module.h"

#define NGX_HTTP_AEGIS_BACKOFF_MIN  50
#define NGX_HTTP_AEGIS_BACKOFF_MAX  1000

static void ngx_http_aegis_pg_event(ngx_event_t *ev);
static void ngx_http_aegis_pg_timer(ngx_event_t *ev);
static void ngx_http_aegis_pg_connect(ngx_http_aegis_pg_t *pg);
static void ngx_http_aegis_pg_poll(ngx_http_aegis_pg_t *pg);
static void ngx_http_aegis_pg_setup(ngx_http_aegis_pg_t *pg);
static void ngx_http_aegis_pg_setup_read(ngx_http_aegis_pg_t *pg);


void
ngx_http_aegis_pg_set_state(ngx_http_aegis_pg_t *pg,
    ngx_http_aegis_pg_state_t state)
{
    ngx_uint_t              was, is;
    ngx_http_aegis_lane_t  *lane;

    lane = pg->lane;
    was = pg->state >= NGX_HTTP_AEGIS_PG_IDLE;
    is = state >= NGX_HTTP_AEGIS_PG_IDLE;

    if (is && !was) {
        lane->n_up++;

    } else if (was && !is && --lane->n_up == 0) {
        lane->down_since = ngx_current_msec;
    }

    if (!lane->scout) {
        ngx_http_aegis_stats_conn(pg->state, state);
    }
    pg->state = state;

    if (pg->c) {
        pg->c->idle = (state == NGX_HTTP_AEGIS_PG_IDLE);
    }
}


static void
ngx_http_aegis_pg_notice(void *data, const char *message)
{
    u_char  text[512];

    ngx_log_error(NGX_LOG_INFO, ngx_cycle->log, 0, "aegis: postgresql: %s",
                  ngx_http_aegis_pg_line(text, sizeof(text), message));
}


/* The socket may change between two PQconnectPoll() calls, and a new one may
 * get the old one's number: unwatch before the call, watch after it. libpq
 * closes the socket of a connection that it lost by itself. */
static void
ngx_http_aegis_pg_unwatch(ngx_http_aegis_pg_t *pg)
{
    ngx_uint_t         flags;
    ngx_connection_t  *c;

    c = pg->c;
    if (c == NULL) {
        return;
    }

    flags = PQsocket(pg->conn) == c->fd ? 0 : NGX_CLOSE_EVENT;

    if (c->read->active) {
        ngx_del_event(c->read, NGX_READ_EVENT, flags);
    }

    if (c->write->active) {
        ngx_del_event(c->write, NGX_WRITE_EVENT, flags);
    }

    if (c->read->posted) {
        ngx_delete_posted_event(c->read);
    }

    if (c->write->posted) {
        ngx_delete_posted_event(c->write);
    }

    ngx_free_connection(c);
    c->fd = (ngx_socket_t) -1;
    pg->c = NULL;
}


static ngx_int_t
ngx_http_aegis_pg_watch(ngx_http_aegis_pg_t *pg)
{
    int                fd;
    ngx_connection_t  *c;

    fd = PQsocket(pg->conn);
    if (fd < 0) {
        return NGX_ERROR;
    }

    c = ngx_get_connection(fd, ngx_cycle->log);
    if (c == NULL) {
        return NGX_ERROR;
    }

    pg->c = c;
    c->data = pg;
    c->log = ngx_cycle->log;
    c->read->log = c->log;
    c->write->log = c->log;
    c->read->handler = ngx_http_aegis_pg_event;
    c->write->handler = ngx_http_aegis_pg_event;

    return ngx_add_event(c->read, NGX_READ_EVENT, NGX_LEVEL_EVENT);
}


/* Write events only while there is something to write. */
static ngx_int_t
ngx_http_aegis_pg_want_write(ngx_http_aegis_pg_t *pg, ngx_uint_t want)
{
    ngx_event_t  *wev;

    wev = pg->c->write;

    if (want && !wev->active) {
        return ngx_add_event(wev, NGX_WRITE_EVENT, NGX_LEVEL_EVENT);
    }

    if (!want && wev->active) {
        return ngx_del_event(wev, NGX_WRITE_EVENT, 0);
    }

    return NGX_OK;
}


ngx_int_t
ngx_http_aegis_pg_flush(ngx_http_aegis_pg_t *pg)
{
    int  rc;

    rc = PQflush(pg->conn);
    if (rc < 0) {
        return NGX_ERROR;
    }

    if (rc == 0) {
        pg->flushed = 1;
    }

    return ngx_http_aegis_pg_want_write(pg, rc == 1);
}


static void
ngx_http_aegis_pg_close(ngx_http_aegis_pg_t *pg)
{
    ngx_http_aegis_pg_unwatch(pg);

    if (pg->timer.timer_set) {
        ngx_del_timer(&pg->timer);
    }

    PQclear(pg->res);
    pg->res = NULL;

    PQfinish(pg->conn);
    pg->conn = NULL;

    /* a TLS handshake that was given up leaves an error in the thread's queue,
     * and nginx would find it at the next client's */
    ERR_clear_error();

    ngx_http_aegis_pg_set_state(pg, NGX_HTTP_AEGIS_PG_DOWN);
}


void
ngx_http_aegis_pg_stop(ngx_http_aegis_pg_t *pg)
{
    ngx_http_aegis_pg_close(pg);
    ngx_free(pg->buf);
    pg->buf = NULL;
    pg->buf_size = 0;
    ngx_free(pg->text);
    pg->text = NULL;
    pg->text_size = 0;
}


static void
ngx_http_aegis_pg_retry_later(ngx_http_aegis_pg_t *pg, ngx_msec_t soon)
{
    ngx_msec_t  delay;

    /* a worker that shuts down reconnects only for requests that wait */
    if (ngx_terminate || (ngx_exiting && pg->lane->n_queued == 0)
        || (pg->lane->scout && soon == 0))
    {
        return;
    }

    if (pg->backoff == 0) {
        pg->backoff = NGX_HTTP_AEGIS_BACKOFF_MIN;
    }

    delay = pg->backoff / 2 + ngx_random() % (pg->backoff / 2 + 1);

    if (soon == 0) {
        pg->backoff = ngx_min(pg->backoff * 2, NGX_HTTP_AEGIS_BACKOFF_MAX);
    }

    pg->timer.cancelable = 1;
    ngx_add_timer(&pg->timer, soon ? soon : delay);
}


/* An outage is said once, then again only when it is over. */
static void
ngx_http_aegis_pg_say(ngx_http_aegis_pg_t *pg, const char *why)
{
    u_char       text[512];
    ngx_uint_t   level;

    ngx_http_aegis_pg_line(text, sizeof(text),
                           pg->conn ? PQerrorMessage(pg->conn) : "");

    level = pg->warned || pg->lane->scout ? NGX_LOG_INFO : NGX_LOG_ERR;
    ngx_log_error(level, ngx_cycle->log, 0, "aegis: %s: %s%s%s", pg->lane->name,
                  why, *text ? ": " : "", text);
    pg->warned = 1;
}


/* The connection is of no use any more; what ran on it has an unknown end
 * unless it had not left yet. */
void
ngx_http_aegis_pg_fail(ngx_http_aegis_pg_t *pg, const char *why)
{
    ngx_msec_t             soon;
    ngx_uint_t             busy, sent, up;
    ngx_http_aegis_unit_t  unit;

    busy = (pg->state == NGX_HTTP_AEGIS_PG_BUSY);
    up = (pg->state >= NGX_HTTP_AEGIS_PG_IDLE);
    sent = pg->flushed;

    ngx_http_aegis_pg_say(pg, why);

    if (busy) {
        unit = pg->unit;
    }

    ngx_http_aegis_pg_close(pg);
    soon = ngx_http_aegis_pg_server_next(pg, up, pg->hung);
    pg->hung = 0;
    ngx_http_aegis_pg_retry_later(pg, soon);

    if (busy) {
        ngx_http_aegis_outcome_lost(pg, &unit, sent);
    }
}



void
ngx_http_aegis_pg_recycle(ngx_http_aegis_pg_t *pg, const char *why)
{
    if (pg->state == NGX_HTTP_AEGIS_PG_IDLE) {
        ngx_http_aegis_pg_fail(pg, why);
    }
}


void
ngx_http_aegis_pg_start(ngx_http_aegis_pg_t *pg)
{
    if (pg->state != NGX_HTTP_AEGIS_PG_DOWN) {
        return;
    }

    pg->timer.handler = ngx_http_aegis_pg_timer;
    pg->timer.data = pg;
    pg->timer.log = ngx_cycle->log;

    if (pg->timer.timer_set) {
        return;
    }

    ngx_http_aegis_pg_connect(pg);
}


static void
ngx_http_aegis_pg_connect(ngx_http_aegis_pg_t *pg)
{
    ngx_http_aegis_db_t  *db;

    db = pg->lane->db;

    pg->conn = ngx_http_aegis_pg_server_connect(pg);

    if (pg->conn == NULL || PQstatus(pg->conn) == CONNECTION_BAD) {
        ngx_http_aegis_pg_fail(pg, "cannot connect");
        return;
    }

    PQsetNoticeProcessor(pg->conn, ngx_http_aegis_pg_notice, NULL);
    ngx_http_aegis_pg_set_state(pg, NGX_HTTP_AEGIS_PG_CONNECT);

    pg->timer.cancelable = 1;
    ngx_add_timer(&pg->timer, db->n_servers > 1 ? db->connect_timeout
                                                : db->conf->timeout);

    if (ngx_http_aegis_pg_watch(pg) != NGX_OK
        || ngx_http_aegis_pg_want_write(pg, 1) != NGX_OK)
    {
        ngx_http_aegis_pg_fail(pg, "cannot watch the socket");
    }
}


static void
ngx_http_aegis_pg_poll(ngx_http_aegis_pg_t *pg)
{
    PostgresPollingStatusType  st;

    ngx_http_aegis_pg_unwatch(pg);

    st = PQconnectPoll(pg->conn);

    if (st == PGRES_POLLING_FAILED) {
        ngx_http_aegis_pg_fail(pg, "cannot connect");
        return;
    }

    if (ngx_http_aegis_pg_watch(pg) != NGX_OK
        || ngx_http_aegis_pg_want_write(pg, st == PGRES_POLLING_WRITING) != NGX_OK)
    {
        ngx_http_aegis_pg_fail(pg, "cannot watch the socket");
        return;
    }

    if (st == PGRES_POLLING_OK) {
        ngx_http_aegis_pg_setup(pg);
    }
}


/* Settings and every PREPARE in one round trip. */
static void
ngx_http_aegis_pg_setup(ngx_http_aegis_pg_t *pg)
{
    char                 sql[AEGIS_STMT_SQL_MAX];
    ngx_uint_t           i;
    ngx_msec_t           timeout;
    const aegis_stmt_t  *stmt;

    ngx_http_aegis_pg_set_state(pg, NGX_HTTP_AEGIS_PG_SETUP);

    if (PQsetnonblocking(pg->conn, 1) != 0 || PQenterPipelineMode(pg->conn) != 1) {
        ngx_http_aegis_pg_fail(pg, "cannot enter pipeline mode");
        return;
    }

    /* the server gives up before our own timer cuts the connection, and a lock
     * is waited for a part of that time only */
    timeout = pg->lane->db->conf->timeout;
    (void) ngx_snprintf((u_char *) sql, sizeof(sql),
        "SELECT set_config('statement_timeout', '%M', false),"
        " set_config('lock_timeout', '%M', false)%s%Z", timeout, timeout / 5 + 1,
        ngx_http_aegis_pg_server_sql(pg->lane->db));

    ngx_add_timer(&pg->timer, pg->lane->scout ? pg->lane->db->connect_timeout : timeout);

    if (PQsendQueryParams(pg->conn, sql, 0, NULL, NULL, NULL, NULL, 0) != 1) {
        ngx_http_aegis_pg_fail(pg, "cannot send the settings");
        return;
    }

    for (i = 0; i < AEGIS_N_STMTS; i++) {
        stmt = aegis_stmt(i);

        if (!ngx_http_aegis_pg_needs(pg->lane, stmt)) {
            continue;
        }

        aegis_stmt_sql(stmt, sql);

        if (PQsendPrepare(pg->conn, stmt->name, sql, 0, NULL) != 1) {
            ngx_http_aegis_pg_fail(pg, "cannot send a PREPARE");
            return;
        }
    }

    if (PQpipelineSync(pg->conn) != 1
        || ngx_http_aegis_pg_flush(pg) != NGX_OK)
    {
        ngx_http_aegis_pg_fail(pg, "cannot send the PREPAREs");
    }
}


static void
ngx_http_aegis_pg_setup_read(ngx_http_aegis_pg_t *pg)
{
    PGresult        *res;
    ngx_uint_t       gaps;
    ExecStatusType   st;

    gaps = 0;

    for ( ;; ) {

        if (PQisBusy(pg->conn)) {
            return;
        }

        res = PQgetResult(pg->conn);
        if (res == NULL) {
            /* one between the results of two commands */
            if (++gaps > 1) {
                ngx_http_aegis_pg_fail(pg, "connection lost");
                return;
            }
            continue;
        }

        gaps = 0;

        st = PQresultStatus(res);

        if (st == PGRES_TUPLES_OK
            && ngx_http_aegis_pg_server_judge(pg, res) != NGX_OK)
        {
            PQclear(res);
            ngx_http_aegis_pg_fail(pg, "another server was promoted");
            return;
        }

        PQclear(res);

        if (st == PGRES_PIPELINE_SYNC) {
            break;
        }

        if (st != PGRES_COMMAND_OK && st != PGRES_TUPLES_OK) {
            pg->lane->unprepared = PQstatus(pg->conn) == CONNECTION_OK;
            ngx_http_aegis_pg_fail(pg, "cannot prepare the statements"
                                       " (is the schema migrated?)");
            return;
        }
    }

    if (PQexitPipelineMode(pg->conn) != 1) {
        ngx_http_aegis_pg_fail(pg, "cannot leave pipeline mode");
        return;
    }

    ngx_del_timer(&pg->timer);
    ngx_http_aegis_pg_server_up(pg);
    pg->lane->unprepared = 0;

    if (pg->warned) {
        ngx_log_error(NGX_LOG_NOTICE, ngx_cycle->log, 0,
                      "aegis: %s: connected again", pg->lane->name);
        pg->warned = 0;
    }

    ngx_http_aegis_pg_set_state(pg, NGX_HTTP_AEGIS_PG_IDLE);
    ngx_http_aegis_pg_end(pg);
}


/* The connection is free: the next unit, or the end when the worker ends. */
void
ngx_http_aegis_pg_end(ngx_http_aegis_pg_t *pg)
{
    ngx_http_aegis_pg_server_stay(pg);
    ngx_http_aegis_queue_kick(pg->lane);

    if (pg->state == NGX_HTTP_AEGIS_PG_IDLE && pg->lane->n_queued == 0
        && (ngx_exiting || ngx_terminate || pg->lane->scout))
    {
        ngx_http_aegis_pg_close(pg);
    }
}


static void
ngx_http_aegis_pg_event(ngx_event_t *ev)
{
    ngx_connection_t     *c;
    ngx_http_aegis_pg_t  *pg;

    c = ev->data;
    pg = c->data;

    if (c->close) {
        /* nginx closes idle connections when the worker shuts down, and every
         * one (c->error) when worker_shutdown_timeout is over */
        if (c->error || (pg->state != NGX_HTTP_AEGIS_PG_BUSY
                         && pg->lane->n_queued == 0))
        {
            if (pg->state == NGX_HTTP_AEGIS_PG_BUSY) {
                ngx_http_aegis_pg_fail(pg, "worker shutdown timeout");
            } else {
                ngx_http_aegis_pg_close(pg);
            }
            return;
        }

        c->close = 0;
    }

    if (pg->state == NGX_HTTP_AEGIS_PG_CONNECT) {
        ngx_http_aegis_pg_poll(pg);
        return;
    }

    if (ev->write && ngx_http_aegis_pg_flush(pg) != NGX_OK) {
        ngx_http_aegis_pg_fail(pg, "connection lost");
        return;
    }

    if (PQconsumeInput(pg->conn) != 1) {
        /* what arrived before the end still counts: an error that says why, or
         * the answer itself */
        if (pg->state == NGX_HTTP_AEGIS_PG_BUSY && !PQisBusy(pg->conn)) {
            ngx_http_aegis_pg_read(pg);
            return;
        }

        ngx_http_aegis_pg_fail(pg, "connection lost");
        return;
    }

    /* reading may have made room for writing */
    if (c->write->active && ngx_http_aegis_pg_flush(pg) != NGX_OK) {
        ngx_http_aegis_pg_fail(pg, "connection lost");
        return;
    }

    switch (pg->state) {

    case NGX_HTTP_AEGIS_PG_SETUP:
        ngx_http_aegis_pg_setup_read(pg);
        break;

    case NGX_HTTP_AEGIS_PG_BUSY:
        ngx_http_aegis_pg_read(pg);
        break;

    default:
        /* a notice, or a parameter that changed */
        break;
    }
}


static void
ngx_http_aegis_pg_timer(ngx_event_t *ev)
{
    ngx_http_aegis_pg_t  *pg;

    pg = ev->data;

    switch (pg->state) {

    case NGX_HTTP_AEGIS_PG_DOWN:
        if (!ngx_terminate && (!ngx_exiting || pg->lane->n_queued)) {
            ngx_http_aegis_pg_connect(pg);
        }
        break;

    case NGX_HTTP_AEGIS_PG_BUSY:
        pg->hung = 1;
        ngx_http_aegis_pg_fail(pg, "the statement takes too long");
        break;

    default:
        ngx_http_aegis_pg_fail(pg, "connecting takes too long");
        break;
    }
}
