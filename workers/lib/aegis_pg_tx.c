/*
 * aegis_pg_tx.c: several statements in one transaction.
 * Invariant: within it nothing connects anew: a connection that is lost has taken
 * all of the transaction with it, and only the COMMIT's own answer can be unknown.
 */
#include "aegis_pg_impl.h"

#include <stdio.h>
#include <string.h>

#include "aegis_failpoint.h"

#define AEGIS_PG_TX_FP(id, pg)                                                 \
    AEGIS_FP(id, strncmp((pg)->name, "aegis-", 6) == 0 ? (pg)->name + 6 : (pg)->name)

static aegis_code_t
aegis_pg_tx_say(aegis_pg_t *pg, const char *sql, const char *tag, aegis_error_t *err)
{
    PGresult      *res;
    aegis_code_t   rc;

    if (!PQsendQuery(pg->conn, sql)) {
        rc = aegis_pg_error(pg, AEGIS_E_UNAVAILABLE, PQerrorMessage(pg->conn), err);
        aegis_pg_drop(pg);
        return rc;
    }

    if (AEGIS_PG_TX_FP(pg_after_send, pg)) {
        rc = aegis_pg_error(pg, AEGIS_E_UNKNOWN_OUTCOME, "the answer is lost", err);
        aegis_pg_drop(pg);
        return rc;
    }

    res = aegis_pg_wait_result(pg, err);
    if (res == NULL) {
        return AEGIS_E_UNKNOWN_OUTCOME;
    }

    /* of a transaction that has failed, COMMIT says ROLLBACK */
    rc = strcmp(PQcmdStatus(res), tag) == 0 ? AEGIS_E_OK
         : aegis_pg_error(pg, AEGIS_E_INTERNAL, PQresultErrorMessage(res), err);
    PQclear(res);
    return rc;
}

aegis_code_t
aegis_pg_begin(aegis_pg_t *pg, const char *here, aegis_error_t *err)
{
    char          sql[512];
    aegis_code_t  rc;

    aegis_pg_clear(pg);
    rc = aegis_pg_ready(pg, err);
    if (rc != AEGIS_E_OK) {
        return rc;
    }

    (void) snprintf(sql, sizeof(sql), "BEGIN; SET LOCAL aegis.here = '%s'", here);
    rc = aegis_pg_tx_say(pg, sql, "SET", err);
    if (rc == AEGIS_E_OK) {
        pg->in_tx = 1;
        return rc;
    }

    /* half begun is nothing that a connection may be left in */
    if (pg->conn != NULL) {
        aegis_pg_drop(pg);
    }
    return AEGIS_E_UNAVAILABLE;
}

aegis_code_t
aegis_pg_commit(aegis_pg_t *pg, aegis_error_t *err)
{
    aegis_code_t  rc;

    pg->in_tx = 0;
    if (!aegis_pg_connected(pg)) {
        return aegis_error_set(err, AEGIS_E_UNAVAILABLE, "the connection was lost");
    }
    if (AEGIS_PG_TX_FP(pg_before_send, pg)) {
        rc = aegis_pg_error(pg, AEGIS_E_UNAVAILABLE, "connection lost", err);
        aegis_pg_drop(pg);
        return rc;
    }

    return aegis_pg_tx_say(pg, "COMMIT", "COMMIT", err);
}

void
aegis_pg_rollback(aegis_pg_t *pg)
{
    aegis_error_t  err = AEGIS_ERROR_INIT;

    pg->in_tx = 0;
    aegis_pg_clear(pg);
    if (aegis_pg_connected(pg)
        && aegis_pg_tx_say(pg, "ROLLBACK", "ROLLBACK", &err) != AEGIS_E_OK
        && pg->conn != NULL)
    {
        aegis_pg_drop(pg);
    }

    aegis_error_clear(&err);
}

aegis_code_t
aegis_pg_run_more(aegis_pg_t *pg, aegis_stmt_id_t stmt, const aegis_item_t *const *items,
    size_t n, int notify, aegis_pg_row_t *rows, aegis_error_t *err)
{
    memset(rows, 0, sizeof(aegis_pg_row_t) * n);
    return aegis_pg_run_into(pg, stmt, items, n, notify, rows, err);
}
