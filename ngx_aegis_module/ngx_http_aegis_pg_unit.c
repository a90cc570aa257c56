/*
 * ngx_http_aegis_pg_unit.c: a unit on a connection: its jobs' items as one
 * statement's parameters, and the statement's rows back to its jobs.
 *
 * Invariant: a unit is complete only when the server is ready for the next
 * one, that is after its commit. A row without that says nothing.
 */
#include "ngx_http_aegis_module.h"

#define NGX_HTTP_AEGIS_BUF_KEEP    (256 * 1024)
#define NGX_HTTP_AEGIS_NOTIFY_MS   20
#define NGX_HTTP_AEGIS_PG_EPOCH    (946684800 * (int64_t) 1000000)  /* 2000 */


/* libpq's words in one line. */
u_char *
ngx_http_aegis_pg_line(u_char *text, size_t size, const char *message)
{
    u_char  *p, *last;

    last = ngx_cpystrn(text, (u_char *) message, size);

    while (last > text && (last[-1] == '\n' || last[-1] == ' ')) {
        *--last = '\0';
    }

    for (p = text; p < last; p++) {
        if (*p == '\n' || *p == '\t') {
            *p = ' ';
        }
    }

    return text;
}


/* Memory that a connection keeps, for so many bytes. */
static ngx_int_t
ngx_http_aegis_pg_room(char **buf, size_t *buf_size, size_t size)
{
    if (size > *buf_size) {
        ngx_free(*buf);
        *buf = ngx_alloc(size, ngx_cycle->log);
        *buf_size = *buf ? size : 0;
    }

    return *buf_size >= size ? NGX_OK : NGX_ERROR;
}


static void
ngx_http_aegis_pg_less(char **buf, size_t *buf_size)
{
    if (*buf_size > NGX_HTTP_AEGIS_BUF_KEEP) {
        ngx_free(*buf);
        *buf = NULL;
        *buf_size = 0;
    }
}


/* Parameters as binary arrays, one element a job. */
static ngx_int_t
ngx_http_aegis_pg_encode(ngx_http_aegis_pg_t *pg, const aegis_stmt_t *stmt,
    const char **values, int *lengths, int *formats)
{
    int                  i;
    char                *p;
    size_t               size;
    ngx_uint_t           n;
    const aegis_item_t  *items[NGX_HTTP_AEGIS_MAX_GROUP];

    for (n = 0; n < pg->unit.n; n++) {
        items[n] = &pg->unit.jobs[n]->item;
    }

    size = 0;
    for (i = 0; i < stmt->n_columns; i++) {
        size += aegis_stmt_column_size(stmt->columns[i], items, n);
    }

    if (ngx_http_aegis_pg_room(&pg->buf, &pg->buf_size, size) != NGX_OK) {
        return NGX_ERROR;
    }

    p = pg->buf;
    for (i = 0; i < stmt->n_columns; i++) {
        values[i] = p;
        p = aegis_stmt_column_encode(stmt->columns[i], items, n, p);
        lengths[i] = (int) (p - values[i]);
        formats[i] = 1;
    }

    return NGX_OK;
}


/*
 * Waking the relay costs a lock that all commits share. While units follow one
 * another closely, only one in a while wakes it; the last one always does.
 */
static ngx_uint_t
ngx_http_aegis_pg_wakes_relay(ngx_http_aegis_lane_t *lane)
{
    if (lane->n_queued && ngx_current_msec - lane->notified < NGX_HTTP_AEGIS_NOTIFY_MS) {
        return 0;
    }

    lane->notified = ngx_current_msec;

    return 1;
}


static ngx_int_t
ngx_http_aegis_pg_send_unit(ngx_http_aegis_pg_t *pg)
{
    int                    i;
    int                    lengths[AEGIS_STMT_MAX_PARAMS];
    int                    formats[AEGIS_STMT_MAX_PARAMS];
    const char            *values[AEGIS_STMT_MAX_PARAMS];
    const aegis_stmt_t    *stmt;
    ngx_http_aegis_job_t  *job;

    job = pg->unit.jobs[0];

    if (job->stmt == AEGIS_STMT_NONE) {
        return PQsendQueryParams(pg->conn, aegis_sql_text(job->sql), 0, NULL,
                                 NULL, NULL, NULL, 0) == 1 ? NGX_OK : NGX_ERROR;
    }

    stmt = aegis_stmt(job->stmt);

    if (ngx_http_aegis_pg_encode(pg, stmt, values, lengths, formats) != NGX_OK) {
        return NGX_ERROR;
    }

    i = stmt->n_columns;

    if (stmt->n_params > i) {
        values[i] = ngx_http_aegis_pg_wakes_relay(pg->lane) ? "t" : "f";
        lengths[i] = 1;
        formats[i] = 0;
    }

    return PQsendQueryPrepared(pg->conn, stmt->name, stmt->n_params, values,
                               lengths, formats, stmt->kind == AEGIS_READ_CASE) == 1
           ? NGX_OK : NGX_ERROR;
}


void
ngx_http_aegis_pg_send(ngx_http_aegis_pg_t *pg)
{
    pg->flushed = 0;
    pg->sent_us = ngx_http_aegis_now_us();
    ngx_http_aegis_pg_set_state(pg, NGX_HTTP_AEGIS_PG_BUSY);

    if (AEGIS_FP(gw_before_send, "gateway")
        || ngx_http_aegis_pg_send_unit(pg) != NGX_OK
        || ngx_http_aegis_pg_flush(pg) != NGX_OK
        || AEGIS_FP(gw_after_send, "gateway"))
    {
        ngx_http_aegis_pg_fail(pg, "cannot send a statement");
        return;
    }

    /* a second more than the server's own limit */
    pg->timer.cancelable = 0;
    ngx_add_timer(&pg->timer, pg->lane->db->conf->timeout + 1000);
    ngx_http_aegis_scout_sent(pg->lane->db);
}


static ngx_int_t
ngx_http_aegis_pg_int(PGresult *res, int row, int col)
{
    if (PQgetisnull(res, row, col)) {
        return 0;
    }

    return ngx_atoi((u_char *) PQgetvalue(res, row, col),
                    PQgetlength(res, row, col));
}


static aegis_str_t
ngx_http_aegis_pg_text(PGresult *res, int row, int col)
{
    aegis_str_t  s;

    if (PQgetisnull(res, row, col)) {
        return AEGIS_NO_STR;
    }

    s.data = PQgetvalue(res, row, col);
    s.len = PQgetlength(res, row, col);

    return s;
}


static int64_t
ngx_http_aegis_pg_binary(PGresult *res, int row, int col)
{
    int            i, n;
    uint64_t       v;
    const u_char  *p;

    p = (const u_char *) PQgetvalue(res, row, col);
    n = PQgetlength(res, row, col);

    for (i = 0, v = 0; i < n; i++) {
        v = v << 8 | p[i];
    }

    return (int64_t) v;
}


static void
ngx_http_aegis_pg_case(PGresult *res, int row, aegis_case_t *c)
{
    c->card = ngx_http_aegis_pg_text(res, row, AEGIS_RC_CARD);
    c->status = ngx_http_aegis_pg_text(res, row, AEGIS_RC_STATUS);
    c->version = ngx_http_aegis_pg_binary(res, row, AEGIS_RC_VERSION);
    c->plan_id = (const u_char *) ngx_http_aegis_pg_text(res, row, AEGIS_RC_PLAN).data;
    c->exec_id = (const u_char *) ngx_http_aegis_pg_text(res, row, AEGIS_RC_EXEC).data;
    c->reason = ngx_http_aegis_pg_text(res, row, AEGIS_RC_REASON);
    c->updated_us = ngx_http_aegis_pg_binary(res, row, AEGIS_RC_UPDATED)
                    + NGX_HTTP_AEGIS_PG_EPOCH;
}


/* Rows that are cases: their text is made here, in the connection's own memory; an
 * item without a row asked for a case that is not there. */
static ngx_int_t
ngx_http_aegis_pg_cases(ngx_http_aegis_pg_t *pg, PGresult *res,
    ngx_http_aegis_unit_t *unit, ngx_http_aegis_row_t *rows)
{
    int                    i;
    char                  *p;
    size_t                 size;
    int64_t                ord;
    ngx_uint_t             n;
    aegis_case_t           c;
    ngx_http_aegis_row_t  *row;

    for (n = 0; n < unit->n; n++) {
        rows[n].status = NGX_HTTP_NOT_FOUND;
        rows[n].code = aegis_str("not-found");
    }

    for (i = 0, size = 0; i < PQntuples(res); i++) {
        c.card.len = PQgetlength(res, i, AEGIS_RC_CARD);
        c.status.len = PQgetlength(res, i, AEGIS_RC_STATUS);
        c.reason.len = PQgetlength(res, i, AEGIS_RC_REASON);
        size += aegis_case_size(&c);
    }

    if (ngx_http_aegis_pg_room(&pg->text, &pg->text_size, size) != NGX_OK) {
        return NGX_ERROR;
    }

    for (i = 0, p = pg->text; i < PQntuples(res); i++) {
        ord = ngx_http_aegis_pg_binary(res, i, AEGIS_RC_ORD);

        if (ord < 1 || ord > (int64_t) unit->n) {
            continue;
        }

        ngx_http_aegis_pg_case(res, i, &c);
        row = &rows[ord - 1];
        row->status = NGX_HTTP_OK;
        row->code = aegis_str("ok");
        row->version = c.version;
        row->body.data = p;
        row->body.len = aegis_case_text(&c, p);
        p += row->body.len;
    }

    return NGX_OK;
}


/* One row an item, found by its ord; an item without one has code "". */
static void
ngx_http_aegis_pg_rows(ngx_http_aegis_pg_t *pg, PGresult *res,
    ngx_http_aegis_unit_t *unit, ngx_http_aegis_row_t *rows)
{
    int                    i;
    ngx_int_t              ord;
    ngx_http_aegis_row_t  *row;

    ngx_memzero(rows, unit->n * sizeof(ngx_http_aegis_row_t));

    if (unit->jobs[0]->stmt == AEGIS_STMT_NONE) {
        if (PQntuples(res) > 0) {
            rows[0].code = aegis_str("ok");
            rows[0].body = ngx_http_aegis_pg_text(res, 0, 0);
            if (PQnfields(res) > 1) {
                rows[0].extra = ngx_http_aegis_pg_text(res, 0, 1);
            }
        }
        return;
    }

    if (aegis_stmt(unit->jobs[0]->stmt)->kind == AEGIS_READ_CASE) {
        if (ngx_http_aegis_pg_cases(pg, res, unit, rows) != NGX_OK) {
            ngx_memzero(rows, unit->n * sizeof(ngx_http_aegis_row_t));
        }
        return;
    }

    for (i = 0; i < PQntuples(res); i++) {
        ord = ngx_http_aegis_pg_int(res, i, AEGIS_R_ORD);

        if (ord < 1 || (ngx_uint_t) ord > unit->n) {
            continue;
        }

        row = &rows[ord - 1];
        row->status = (int) ngx_http_aegis_pg_int(res, i, AEGIS_R_STATUS);
        row->code = ngx_http_aegis_pg_text(res, i, AEGIS_R_CODE);
        row->version = ngx_http_aegis_pg_int(res, i, AEGIS_R_VERSION);
        row->body = ngx_http_aegis_pg_text(res, i, AEGIS_R_BODY);
        row->extra = ngx_http_aegis_pg_text(res, i, AEGIS_R_EXTRA);
    }
}


static void
ngx_http_aegis_pg_complete(ngx_http_aegis_pg_t *pg)
{
    u_char                  state[6], text[512];
    uint64_t                us;
    PGresult               *res;
    ngx_uint_t              i;
    const char             *sqlstate;
    ngx_http_aegis_unit_t   unit;
    ngx_http_aegis_row_t    rows[NGX_HTTP_AEGIS_MAX_GROUP];

    if (AEGIS_FP(gw_after_commit, "gateway")) {
        ngx_http_aegis_pg_fail(pg, "the answer is lost");
        return;
    }

    /* the next unit may be sent on this connection before the answers of
     * this one are out: take them off it first */
    unit = pg->unit;
    res = pg->res;
    pg->res = NULL;

    pg->lane->ended_us = ngx_http_aegis_now_us();
    pg->lane->crowd -= (pg->lane->crowd + 7) / 8;
    us = pg->lane->ended_us - pg->sent_us;
    pg->lane->took_us = us;
    for (i = 0; i < unit.n; i++) {
        unit.jobs[i]->db_us += us;
    }

    ngx_del_timer(&pg->timer);
    pg->backoff = 0;

    ngx_http_aegis_pg_less(&pg->buf, &pg->buf_size);

    ngx_http_aegis_pg_set_state(pg, NGX_HTTP_AEGIS_PG_IDLE);

    if (res && PQresultStatus(res) == PGRES_TUPLES_OK) {
        ngx_http_aegis_pg_rows(pg, res, &unit, rows);
        ngx_http_aegis_outcome_done(pg, &unit, rows);

    } else {
        sqlstate = res ? PQresultErrorField(res, PG_DIAG_SQLSTATE) : NULL;
        ngx_cpystrn(state, (u_char *) (sqlstate ? sqlstate : "XX000"), sizeof(state));
        ngx_http_aegis_pg_line(text, sizeof(text),
                               res ? PQresultErrorMessage(res) : "no result");
        ngx_http_aegis_outcome_error(pg, &unit, (char *) state, (char *) text);
    }

    /* only now may those that were answered ask again */
    pg->lane->ended_us = ngx_http_aegis_now_us();

    PQclear(res);
    ngx_http_aegis_pg_less(&pg->text, &pg->text_size);

    ngx_http_aegis_pg_end(pg);
}


void
ngx_http_aegis_pg_read(ngx_http_aegis_pg_t *pg)
{
    PGresult  *res;

    while (!PQisBusy(pg->conn)) {
        res = PQgetResult(pg->conn);

        if (res == NULL) {
            if (PQstatus(pg->conn) == CONNECTION_BAD) {
                ngx_http_aegis_pg_fail(pg, "connection lost");
                return;
            }

            ngx_http_aegis_pg_complete(pg);
            return;
        }

        /* rows are followed by an error when their commit fails: a deferred
         * constraint, NOTIFY's lock. The rows are not true then. */
        if (pg->res && PQresultStatus(pg->res) != PGRES_TUPLES_OK) {
            PQclear(res);
        } else {
            PQclear(pg->res);
            pg->res = res;
        }
    }
}


/* Is stmt one that this lane sends? The routes say so. */
ngx_uint_t
ngx_http_aegis_pg_needs(ngx_http_aegis_lane_t *lane, const aegis_stmt_t *stmt)
{
    ngx_uint_t            i;
    const aegis_route_t  *route;

    if (lane->scout || lane->write != (stmt->kind == AEGIS_WRITE
                                       || stmt->kind == AEGIS_WRITE_NOTIFY))
    {
        return 0;
    }

    for (i = 0; i < AEGIS_N_ROUTES; i++) {
        route = aegis_route(i);

        if (route->stmt == stmt->id
            || (route->kind == AEGIS_KIND_MODULE
                && (stmt->id == AEGIS_STMT_MODULE_LOAD || stmt->id == AEGIS_STMT_KB_CITE
                    || stmt->id == AEGIS_STMT_MODULE_COMMIT)))
        {
            return 1;
        }
    }

    return 0;
}
