/*
 * aegis_pg_impl.h: what the aegis_pg*.c files share. Private to them:
 * PGresult does not leave them.
 */
#ifndef AEGIS_PG_IMPL_H
#define AEGIS_PG_IMPL_H

#include <libpq-fe.h>

#include "aegis_pg.h"

/* A group, and each of its items up to three times alone. */
#define AEGIS_PG_HELD  2048

struct aegis_pg_s {
    PGconn          *conn;              /* NULL: not connected */
    char            *url;
    char            *name;
    char            *channel;           /* LISTEN, or NULL */
    unsigned         seed;              /* of the jitter */
    unsigned         session;           /* how often it has connected */
    int              server;            /* of several: that answered last */
    unsigned long    timeline;          /* of it, 0: not asked */
    int              permanent;         /* the last INTERNAL would come again */
    int              in_tx;             /* between begin and commit or rollback */
    char             detail[256];       /* why an item could not be settled */
    int64_t          notified_at;
    unsigned char    prepared[AEGIS_N_STMTS];
    unsigned char    sql_prepared[AEGIS_N_SQLS];
    aegis_pg_row_t  *rows;              /* what run and run_each return */
    char            *params;
    size_t           params_size;
    PGresult        *result;            /* of aegis_pg_sql, held */
    int              n_held;
    PGresult        *held[AEGIS_PG_HELD];
};

/* Milliseconds of the monotonic clock. */
int64_t aegis_pg_now(void);

/* Close: what was prepared and listened to is gone with it. */
void aegis_pg_drop(aegis_pg_t *pg);

/* Connect to one of the servers of pg->url. Not connected unless it is OK. */
aegis_code_t aegis_pg_connect(aegis_pg_t *pg, aegis_error_t *err);

/* Has another connection of this process seen a server that was promoted? */
int aegis_pg_overtaken(const aegis_pg_t *pg);

/* Set err to the message of libpq or of the server, as one line. */
aegis_code_t aegis_pg_error(aegis_pg_t *pg, aegis_code_t code, const char *text,
    aegis_error_t *err);

/* The one result of what was sent, within the deadline. NULL: the connection
 * was lost and dropped, err says UNKNOWN_OUTCOME. */
PGresult *aegis_pg_wait_result(aegis_pg_t *pg, aegis_error_t *err);

/* aegis_pg_run() into rows that were zeroed, without clearing what is held. */
aegis_code_t aegis_pg_run_into(aegis_pg_t *pg, aegis_stmt_id_t stmt,
    const aegis_item_t *const *items, size_t n, int notify, aegis_pg_row_t *rows,
    aegis_error_t *err);

#endif
