/*
 * aegis_pg.h: one PostgreSQL connection of a worker: connect with backoff,
 * prepare on first use, run statements of statements.def. Blocks, bounded by
 * the connection's statement_timeout and tcp_user_timeout; never used inside
 * nginx.
 */
#ifndef AEGIS_PG_H
#define AEGIS_PG_H

#include "aegis_error.h"
#include "aegis_stmt.h"

typedef struct aegis_pg_s  aegis_pg_t;

/* One row of a statement's answer. Strings live until aegis_pg_clear(). */
typedef struct {
    int          ord;               /* 1..n: the item it answers */
    int          status;
    const char  *code;
    int          version;           /* 0: NULL */
    aegis_str_t  body;
    aegis_str_t  extra;             /* data NULL: NULL */
} aegis_pg_row_t;

/* url: a libpq connection string. application_name is set to name. */
aegis_pg_t *aegis_pg_new(const char *url, const char *name);
void aegis_pg_free(aegis_pg_t *pg);                 /* NULL is fine */

/* Connect if needed. OK, or UNAVAILABLE with detail. Does not retry: the loop
 * backs off. After a reconnect LISTENs and prepared statements are made again. */
aegis_code_t aegis_pg_ready(aegis_pg_t *pg, aegis_error_t *err);
int aegis_pg_connected(const aegis_pg_t *pg);

/* Counts connections: what a session holds (advisory locks) is gone when this
 * has changed. Statements reconnect by themselves. */
unsigned aegis_pg_session(const aegis_pg_t *pg);

/*
 * Run a set-based statement over n items (1..512), in its own transaction. On
 * OK *ret_rows holds n rows, row i-1 answering item i, valid until
 * aegis_pg_clear(). notify is used by WRITE_NOTIFY statements only.
 * Errors: UNAVAILABLE (no connection: nothing was sent), UNKNOWN_OUTCOME
 * (connection lost after sending), BUSY (lock timeout, deadlock, serialization,
 * unique violation: nothing happened, retry singly), INTERNAL (anything else,
 * nothing happened; detail has the message).
 */
aegis_code_t aegis_pg_run(aegis_pg_t *pg, aegis_stmt_id_t stmt,
    const aegis_item_t *const *items, size_t n, int notify,
    const aegis_pg_row_t **ret_rows, aegis_error_t *err);

/*
 * aegis_pg_run() for a batch whose members must not fail each other: on BUSY or
 * INTERNAL of the group, and for rows answered 'again' or 'busy', the items are
 * run again one by one (up to 3 times with backoff and jitter, 2 s in all). Rows as above;
 * an item that could not be settled has status 503, code "busy" or "internal"
 * and in body the database's message. A connection that is away or lost is
 * tried again; keys take effect once. This is what roles use.
 */
aegis_code_t aegis_pg_run_each(aegis_pg_t *pg, aegis_stmt_id_t stmt,
    const aegis_item_t *const *items, size_t n, int notify,
    const aegis_pg_row_t **ret_rows, aegis_error_t *err);

/*
 * Several statements in one transaction: begin, run_more…, commit or rollback, one
 * of which has to follow whatever happens. here is what aegis.here is set to. Within
 * it use aegis_pg_run_more only: rows are the caller's, and what they point to lives
 * until aegis_pg_clear(). After an error only rollback is left; begin's own errors
 * mean that nothing has begun. Of commit's, UNKNOWN_OUTCOME is what it says, and
 * with any other nothing has happened.
 */
aegis_code_t aegis_pg_begin(aegis_pg_t *pg, const char *here, aegis_error_t *err);
aegis_code_t aegis_pg_run_more(aegis_pg_t *pg, aegis_stmt_id_t stmt,
    const aegis_item_t *const *items, size_t n, int notify, aegis_pg_row_t *rows,
    aegis_error_t *err);
aegis_code_t aegis_pg_commit(aegis_pg_t *pg, aegis_error_t *err);
void aegis_pg_rollback(aegis_pg_t *pg);

/* Run an AEGIS_SQL statement with text parameters (NULL: SQL NULL). The result
 * is read with aegis_pg_value() until aegis_pg_clear(). */
aegis_code_t aegis_pg_sql(aegis_pg_t *pg, aegis_sql_id_t sql, int n_params,
    const char *const *params, int *ret_rows, aegis_error_t *err);

/* The same with parameters in PostgreSQL's binary format: lengths[i] bytes of it, or
 * -1 where a parameter is text. */
aegis_code_t aegis_pg_sql_binary(aegis_pg_t *pg, aegis_sql_id_t sql, int n_params,
    const char *const *params, const int *lengths, int *ret_rows, aegis_error_t *err);
const char *aegis_pg_value(const aegis_pg_t *pg, int row, int column);  /* NULL: NULL */

void aegis_pg_clear(aegis_pg_t *pg);

/* LISTEN; survives reconnects. */
void aegis_pg_listen(aegis_pg_t *pg, const char *channel);

/* Wait until a notification, or other_fd readable (-1: none), or timeout.
 * 1: notified · 0: timeout or other_fd · -1: connection lost. */
int aegis_pg_wait(aegis_pg_t *pg, int other_fd, int timeout_ms);

/* Whether a write should carry notify: true at most once in 5 ms, so that the
 * commit's NOTIFY lock is never on the hot path (the relay lingers longer). */
int aegis_pg_notify_due(aegis_pg_t *pg);

#endif
