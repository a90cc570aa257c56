/*
 * aegis_pg_run.c: statements of statements.def on a connection: prepared on
 * first use, sent with one parameter a column, their rows put where their
 * items are.
 * Invariant: a caller always learns whether something may have happened: only
 * a connection lost after sending is UNKNOWN_OUTCOME, everything else is "done"
 * or "nothing happened".
 */
#include "aegis_pg_impl.h"

#include <stdlib.h>
#include <string.h>

#include "aegis_failpoint.h"

#define AEGIS_PG_ITEMS  512

/* Names of connections are those of roles behind "aegis-". */
#define AEGIS_PG_FP(id, pg)                                                    \
    AEGIS_FP(id, strncmp((pg)->name, "aegis-", 6) == 0 ? (pg)->name + 6 : (pg)->name)

static void
aegis_pg_hold(aegis_pg_t *pg, PGresult *res)
{
    if (pg->n_held == AEGIS_PG_HELD) {
        PQclear(pg->held[0]);           /* cannot be: bounded by the callers */
        memmove(pg->held, pg->held + 1, sizeof(pg->held[0]) * (AEGIS_PG_HELD - 1));
        pg->n_held--;
    }
    pg->held[pg->n_held++] = res;
}

/* What an SQLSTATE means for the caller. */
static aegis_code_t
aegis_pg_judge(aegis_pg_t *pg, PGresult *res, aegis_error_t *err)
{
    const char  *state, *text;

    text = PQresultErrorField(res, PG_DIAG_MESSAGE_PRIMARY);
    state = PQresultErrorField(res, PG_DIAG_SQLSTATE);
    state = state ? state : "";
    pg->permanent = 0;

    if (strcmp(state, "55P03") == 0         /* lock_not_available */
        || strcmp(state, "40P01") == 0      /* deadlock_detected */
        || strcmp(state, "40001") == 0      /* serialization_failure */
        || strcmp(state, "23505") == 0)     /* unique_violation */
    {
        return aegis_pg_error(pg, AEGIS_E_BUSY, text, err);
    }

    if (strncmp(state, "08", 2) == 0        /* the connection */
        || strncmp(state, "57P", 3) == 0    /* shutdown, crash, starting up */
        || strncmp(state, "53", 2) == 0     /* disk full, too many, … */
        || strncmp(state, "58", 2) == 0     /* the system under it */
        || strcmp(state, "26000") == 0      /* the prepared statement is gone */
        || strcmp(state, "0A000") == 0      /* a cached plan is out of date */
        || strcmp(state, "25006") == 0)     /* a standby after a failover */
    {
        aegis_code_t  rc;

        rc = aegis_pg_error(pg, AEGIS_E_UNAVAILABLE, text, err);
        if (state[1] != '3') {
            aegis_pg_drop(pg);
        }
        return rc;
    }

    /* data, constraints, syntax and raised exceptions answer the same again */
    pg->permanent = strncmp(state, "22", 2) == 0 || strncmp(state, "23", 2) == 0
                    || strncmp(state, "42", 2) == 0 || strncmp(state, "P0", 2) == 0;
    return aegis_pg_error(pg, AEGIS_E_INTERNAL, text, err);
}

/* Prepare when this connection has not yet. */
static aegis_code_t
aegis_pg_prepare(aegis_pg_t *pg, const char *name, const char *sql, int n,
    const Oid *types, unsigned char *done, aegis_error_t *err)
{
    PGresult      *res;
    aegis_code_t   rc;

    if (AEGIS_PG_FP(pg_before_send, pg)) {
        rc = aegis_pg_error(pg, AEGIS_E_UNAVAILABLE, "connection lost", err);
        aegis_pg_drop(pg);
        return rc;
    }
    if (*done) {
        return AEGIS_E_OK;
    }

    if (!PQsendPrepare(pg->conn, name, sql, n, types)) {
        rc = aegis_pg_error(pg, AEGIS_E_UNAVAILABLE, PQerrorMessage(pg->conn), err);
        aegis_pg_drop(pg);
        return rc;
    }

    res = aegis_pg_wait_result(pg, err);
    if (res == NULL) {
        err->code = AEGIS_E_UNAVAILABLE;        /* nothing was run */
        return AEGIS_E_UNAVAILABLE;
    }

    rc = PQresultStatus(res) == PGRES_COMMAND_OK ? AEGIS_E_OK
         : aegis_pg_judge(pg, res, err);
    *done = rc == AEGIS_E_OK;
    PQclear(res);
    return rc;
}

/* The answer of a prepared statement that was sent, kept until clear. */
static aegis_code_t
aegis_pg_answer(aegis_pg_t *pg, PGresult **ret_res, aegis_error_t *err)
{
    PGresult      *res;
    aegis_code_t   rc;

    if (AEGIS_PG_FP(pg_after_send, pg)) {
        rc = aegis_pg_error(pg, AEGIS_E_UNKNOWN_OUTCOME, "the answer is lost", err);
        aegis_pg_drop(pg);
        return rc;
    }

    res = aegis_pg_wait_result(pg, err);
    if (res == NULL) {
        return AEGIS_E_UNKNOWN_OUTCOME;
    }

    if (PQresultStatus(res) != PGRES_TUPLES_OK
        && PQresultStatus(res) != PGRES_COMMAND_OK)
    {
        rc = aegis_pg_judge(pg, res, err);
        PQclear(res);
        return rc;
    }

    aegis_pg_hold(pg, res);
    *ret_res = res;
    return AEGIS_E_OK;
}

/* Send the items as one array a column, in binary. */
static aegis_code_t
aegis_pg_send(aegis_pg_t *pg, const aegis_stmt_t *s, const aegis_item_t *const *items,
    size_t n, int notify, aegis_error_t *err)
{
    int           i, lengths[AEGIS_STMT_MAX_PARAMS], formats[AEGIS_STMT_MAX_PARAMS];
    char         *p, *end;
    size_t        size;
    aegis_code_t  rc;
    const char   *values[AEGIS_STMT_MAX_PARAMS];

    for (i = 0, size = 0; i < s->n_columns; i++) {
        size += aegis_stmt_column_size(s->columns[i], items, n);
    }

    if (size > pg->params_size) {
        p = realloc(pg->params, size);
        if (p == NULL) {
            return aegis_error_set(err, AEGIS_E_UNAVAILABLE, "no memory for %zu bytes",
                                   size);
        }
        pg->params = p;
        pg->params_size = size;
    }

    for (i = 0, p = pg->params; i < s->n_columns; i++, p = end) {
        end = aegis_stmt_column_encode(s->columns[i], items, n, p);
        values[i] = p;
        lengths[i] = (int) (end - p);
        formats[i] = 1;
    }

    if (s->n_params > s->n_columns) {
        values[i] = notify ? "t" : "f";
        lengths[i] = 1;
        formats[i] = 0;
    }

    if (!PQsendQueryPrepared(pg->conn, s->name, s->n_params, values, lengths,
                             formats, 0))
    {
        rc = aegis_pg_error(pg, AEGIS_E_UNKNOWN_OUTCOME, PQerrorMessage(pg->conn), err);
        aegis_pg_drop(pg);
        return rc;
    }

    return AEGIS_E_OK;
}

/* Room for the answers of n items, all unanswered. */
static aegis_code_t
aegis_pg_rows(aegis_pg_t *pg, size_t n, aegis_error_t *err)
{
    if (pg->rows == NULL) {
        pg->rows = malloc(sizeof(aegis_pg_row_t) * AEGIS_PG_ITEMS);
        if (pg->rows == NULL) {
            return aegis_error_set(err, AEGIS_E_UNAVAILABLE, "no memory");
        }
    }

    memset(pg->rows, 0, sizeof(aegis_pg_row_t) * n);
    return AEGIS_E_OK;
}

static aegis_str_t
aegis_pg_text(PGresult *res, int row, int column)
{
    if (PQgetisnull(res, row, column)) {
        return AEGIS_NO_STR;
    }

    return (aegis_str_t) { (size_t) PQgetlength(res, row, column),
                           PQgetvalue(res, row, column) };
}

/* Put the rows of res where their items are. */
static aegis_code_t
aegis_pg_place(aegis_pg_t *pg, PGresult *res, size_t n, aegis_pg_row_t *rows,
    aegis_error_t *err)
{
    int              i, ord;
    size_t           placed;
    aegis_pg_row_t  *row;

    for (i = 0, placed = 0; i < PQntuples(res); i++) {
        ord = atoi(PQgetvalue(res, i, AEGIS_R_ORD));
        if (ord < 1 || (size_t) ord > n || rows[ord - 1].ord != 0) {
            return aegis_error_set(err, AEGIS_E_INTERNAL,
                                   "database: an answer for item %d of %zu", ord, n);
        }

        row = &rows[ord - 1];
        row->ord = ord;
        row->status = atoi(PQgetvalue(res, i, AEGIS_R_STATUS));
        row->code = PQgetvalue(res, i, AEGIS_R_CODE);
        row->version = PQgetisnull(res, i, AEGIS_R_VERSION) ? 0
                       : atoi(PQgetvalue(res, i, AEGIS_R_VERSION));
        row->body = aegis_pg_text(res, i, AEGIS_R_BODY);
        row->extra = aegis_pg_text(res, i, AEGIS_R_EXTRA);
        placed++;
    }

    if (placed != n) {
        return aegis_error_set(err, AEGIS_E_INTERNAL,
                               "database: %zu answers for %zu items", placed, n);
    }

    return AEGIS_E_OK;
}

aegis_code_t
aegis_pg_run_into(aegis_pg_t *pg, aegis_stmt_id_t stmt,
    const aegis_item_t *const *items, size_t n, int notify, aegis_pg_row_t *rows,
    aegis_error_t *err)
{
    int                  i;
    Oid                  types[AEGIS_STMT_MAX_PARAMS];
    char                 sql[AEGIS_STMT_SQL_MAX];
    PGresult            *res;
    aegis_code_t         rc;
    const aegis_stmt_t  *s;

    pg->permanent = 0;
    s = aegis_stmt(stmt);

    rc = aegis_pg_ready(pg, err);
    if (rc != AEGIS_E_OK) {
        return rc;
    }

    for (i = 0; i < s->n_params; i++) {
        types[i] = i < s->n_columns ? aegis_column_oid(s->columns[i]) : AEGIS_OID_BOOL;
    }

    (void) aegis_stmt_sql(s, sql);
    rc = aegis_pg_prepare(pg, s->name, sql, s->n_params, types, &pg->prepared[stmt], err);
    if (rc == AEGIS_E_OK) {
        rc = aegis_pg_send(pg, s, items, n, notify, err);
    }
    if (rc == AEGIS_E_OK) {
        rc = aegis_pg_answer(pg, &res, err);
    }
    if (rc == AEGIS_E_OK) {
        rc = aegis_pg_place(pg, res, n, rows, err);
    }

    return rc;
}

aegis_code_t
aegis_pg_run(aegis_pg_t *pg, aegis_stmt_id_t stmt, const aegis_item_t *const *items,
    size_t n, int notify, const aegis_pg_row_t **ret_rows, aegis_error_t *err)
{
    aegis_code_t  rc;

    aegis_pg_clear(pg);

    if (n < 1 || n > AEGIS_PG_ITEMS) {
        return aegis_error_set(err, AEGIS_E_INTERNAL, "%zu items in one statement", n);
    }

    rc = aegis_pg_rows(pg, n, err);
    if (rc == AEGIS_E_OK) {
        rc = aegis_pg_run_into(pg, stmt, items, n, notify, pg->rows, err);
    }
    if (rc == AEGIS_E_OK) {
        *ret_rows = pg->rows;
    }

    return rc;
}

aegis_code_t
aegis_pg_sql(aegis_pg_t *pg, aegis_sql_id_t sql, int n_params,
    const char *const *params, int *ret_rows, aegis_error_t *err)
{
    return aegis_pg_sql_binary(pg, sql, n_params, params, NULL, ret_rows, err);
}

aegis_code_t
aegis_pg_sql_binary(aegis_pg_t *pg, aegis_sql_id_t sql, int n_params,
    const char *const *params, const int *lengths, int *ret_rows, aegis_error_t *err)
{
    int            i, formats[AEGIS_STMT_MAX_PARAMS];
    PGresult      *res;
    aegis_code_t   rc;

    aegis_pg_clear(pg);

    if (n_params != aegis_sql_n_params(sql)) {
        return aegis_error_set(err, AEGIS_E_INTERNAL, "%s takes %d parameters, not %d",
            aegis_sql_name(sql), aegis_sql_n_params(sql), n_params);
    }

    rc = aegis_pg_ready(pg, err);
    if (rc == AEGIS_E_OK) {
        rc = aegis_pg_prepare(pg, aegis_sql_name(sql), aegis_sql_text(sql), 0, NULL,
                              &pg->sql_prepared[sql], err);
    }
    if (rc != AEGIS_E_OK) {
        return rc;
    }

    for (i = 0; i < n_params && i < AEGIS_STMT_MAX_PARAMS; i++) {
        formats[i] = lengths && lengths[i] >= 0;
    }

    if (!PQsendQueryPrepared(pg->conn, aegis_sql_name(sql), n_params, params, lengths,
                             formats, 0))
    {
        rc = aegis_pg_error(pg, AEGIS_E_UNKNOWN_OUTCOME, PQerrorMessage(pg->conn), err);
        aegis_pg_drop(pg);
        return rc;
    }

    rc = aegis_pg_answer(pg, &res, err);
    if (rc == AEGIS_E_OK) {
        pg->result = res;
        *ret_rows = PQntuples(res);
    }

    return rc;
}

const char *
aegis_pg_value(const aegis_pg_t *pg, int row, int column)
{
    if (pg->result == NULL || PQgetisnull(pg->result, row, column)) {
        return NULL;
    }

    return PQgetvalue(pg->result, row, column);
}
