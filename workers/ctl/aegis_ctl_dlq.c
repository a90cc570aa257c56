/*
 * aegis_ctl_dlq.c: `aegisctl dlq`: dead letters. Retry and drop are SQL
 * functions (sql/functions/50_house.sql), each letter in its own transaction:
 * a letter is retried once, and the message it makes has a new id, so that the
 * consumer's inbox does not take it for the old one.
 */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "aegis_ctl.h"

#define BATCH_MAX  10000


static int
dlq_list(aegis_ctl_t *ctl)
{
    static const aegis_ctl_column_t  columns[] = {
        { "id", "ID" }, { "state", "STATE" }, { "created_at", "SINCE" },
        { "consumer", "CONSUMER" }, { "subject", "SUBJECT" }, { "case_id", "CASE" },
        { "code", "CODE" }, { "reason", "REASON" }, { NULL, NULL }
    };
    const char  *params[4];
    PGresult    *res;
    PGconn      *conn;
    json_t      *rows;
    int64_t      limit;
    char         n[24];
    int          rc;

    limit = aegis_ctl_opt_int(ctl, "limit", 100, 1, BATCH_MAX);
    if (limit < 0) {
        return AEGIS_CTL_USAGE;
    }
    conn = aegis_ctl_pg(ctl, &rc);
    if (conn == NULL) {
        return rc;
    }
    snprintf(n, sizeof(n), "%lld", (long long) limit);
    params[0] = aegis_ctl_opt(ctl, "all") != NULL ? NULL : "NEW";
    params[1] = aegis_ctl_opt(ctl, "consumer");
    params[2] = n;
    res = aegis_ctl_pg_query(conn, "SELECT tenant, id, state, consumer, subject, msg_id, case_id,"
        " code, reason, deliveries, to_char(created_at AT TIME ZONE 'UTC',"
        " 'YYYY-MM-DD\"T\"HH24:MI:SS\"Z\"') AS created_at FROM aegis.dead_letter"
        " WHERE ($1::text IS NULL OR state = $1) AND ($2::text IS NULL OR consumer = $2)"
        " ORDER BY id DESC LIMIT $3::int", 3, params);
    if (res == NULL) {
        PQfinish(conn);
        return AEGIS_CTL_FAILED;
    }
    rows = aegis_ctl_pg_rows(res);
    PQclear(res);
    PQfinish(conn);
    aegis_ctl_rows(ctl, rows, columns, "no dead letters");
    json_decref(rows);
    return AEGIS_CTL_OK;
}


static int
dlq_show(aegis_ctl_t *ctl)
{
    static const aegis_ctl_column_t  columns[] = {
        { "id", "id" }, { "state", "state" }, { "tenant", "tenant" }, { "created_at", "since" },
        { "changed_at", "changed" }, { "consumer", "consumer" }, { "subject", "subject" },
        { "msg_id", "message" }, { "case_id", "case" }, { "deliveries", "deliveries" },
        { "code", "code" }, { "reason", "reason" }, { "payload", "payload" }, { NULL, NULL }
    };
    const aegis_error_def_t  *def;
    const char               *code;
    PGresult                 *res;
    PGconn                   *conn;
    json_t                   *rows, *row;
    int                       rc;

    conn = aegis_ctl_pg(ctl, &rc);
    if (conn == NULL) {
        return rc;
    }
    res = aegis_ctl_pg_query(conn, "SELECT tenant, id, state, consumer, subject, msg_id, case_id,"
        " code, reason, deliveries, created_at, changed_at, encode(payload, 'escape') AS payload"
        " FROM aegis.dead_letter WHERE id::text = $1", 1, ctl->args);
    rows = res != NULL ? aegis_ctl_pg_rows(res) : NULL;
    PQclear(res);
    PQfinish(conn);
    if (rows == NULL) {
        return AEGIS_CTL_FAILED;
    }
    row = json_array_get(rows, 0);
    if (row == NULL) {
        aegis_ctl_say("there is no dead letter %s", ctl->args[0]);
        json_decref(rows);
        return AEGIS_CTL_NOT_FOUND;
    }
    aegis_ctl_object(ctl, row, columns);
    code = json_string_value(json_object_get(row, "code"));
    def = aegis_error_by_code(code);
    if (!ctl->json && strcmp(def->code, code) == 0) {
        printf("\n%s. %s\n", def->title, def->remedy);
    }
    json_decref(rows);
    return AEGIS_CTL_OK;
}


/* The ids that were named, or with --all every new letter. NULL after a message. */
static json_t *
chosen(aegis_ctl_t *ctl, PGconn *conn)
{
    const char  *params[1];
    PGresult    *res;
    json_t      *ids = json_array();
    int          i;

    for (i = 0; i < ctl->n_args; i++) {
        json_array_append_new(ids, json_string(ctl->args[i]));
    }
    if (aegis_ctl_opt(ctl, "all") == NULL) {
        return ids;
    }
    params[0] = aegis_ctl_opt(ctl, "consumer");
    res = aegis_ctl_pg_query(conn, "SELECT id::text FROM aegis.dead_letter WHERE state = 'NEW'"
        " AND ($1::text IS NULL OR consumer = $1) ORDER BY id LIMIT 10000", 1, params);
    if (res == NULL) {
        json_decref(ids);
        return NULL;
    }
    for (i = 0; i < PQntuples(res); i++) {
        json_array_append_new(ids, json_string(PQgetvalue(res, i, 0)));
    }
    PQclear(res);
    return ids;
}


static int
settle(aegis_ctl_t *ctl, const char *what, const char *sql)
{
    static const aegis_ctl_column_t  columns[] = {
        { "id", "ID" }, { "result", "RESULT" }, { "detail", "DETAIL" }, { NULL, NULL }
    };
    const char  *params[1], *state;
    PGresult    *res;
    PGconn      *conn;
    json_t      *ids, *id, *rows = json_array();
    size_t       i;
    int          rc, ok;

    if ((ctl->n_args == 0) == (aegis_ctl_opt(ctl, "all") == NULL)) {
        aegis_ctl_say("name the letters by id, or give --all");
        json_decref(rows);
        return AEGIS_CTL_USAGE;
    }
    conn = aegis_ctl_pg(ctl, &rc);
    ids = conn != NULL ? chosen(ctl, conn) : NULL;
    if (ids == NULL) {
        rc = conn != NULL ? AEGIS_CTL_FAILED : rc;
        PQfinish(conn);
        json_decref(rows);
        return rc;
    }
    rc = AEGIS_CTL_OK;
    json_array_foreach(ids, i, id) {
        params[0] = json_string_value(id);
        res = PQexecParams(conn, sql, 1, NULL, params, NULL, NULL, 0);
        ok = PQresultStatus(res) == PGRES_TUPLES_OK;
        state = PQresultErrorField(res, PG_DIAG_SQLSTATE);
        json_array_append_new(rows, json_pack("{s:s, s:s, s:s}", "id", params[0], "result",
            ok ? what : "failed", "detail", ok ? PQgetvalue(res, 0, 0)
            : PQresultErrorField(res, PG_DIAG_MESSAGE_PRIMARY) != NULL
            ? PQresultErrorField(res, PG_DIAG_MESSAGE_PRIMARY) : PQerrorMessage(conn)));
        if (!ok) {
            rc = state != NULL && strcmp(state, "P0002") == 0 ? AEGIS_CTL_NOT_FOUND
                                                             : AEGIS_CTL_FAILED;
        }
        PQclear(res);
    }
    PQfinish(conn);
    aegis_ctl_rows(ctl, rows, columns, "no dead letters");
    json_decref(rows);
    json_decref(ids);
    return rc;
}


static int
dlq_retry(aegis_ctl_t *ctl)
{
    return settle(ctl, "retried", "SELECT aegis.dead_letter_retry($1::bigint)");
}


static int
dlq_drop(aegis_ctl_t *ctl)
{
    return settle(ctl, "dropped", "SELECT aegis.dead_letter_drop($1::bigint)");
}


static const aegis_ctl_option_t  list_options[] = {
    { "all", 'a', NULL, "also what was retried or dropped" },
    { "consumer", 0, "NAME", "of one consumer only" },
    { "limit", 0, "N", "at most so many, 100" },
    { NULL, 0, NULL, NULL }
};

static const aegis_ctl_option_t  settle_options[] = {
    { "all", 'a', NULL, "every new letter (of --consumer)" },
    { "consumer", 0, "NAME", "with --all: of one consumer only" },
    { NULL, 0, NULL, NULL }
};

const aegis_ctl_command_t  aegis_ctl_dlq_commands[] = {
    { "list", "", 0, 0, "list new dead letters", NULL, list_options, dlq_list },
    { "show", "<id>", 1, 1, "one letter with its payload and what to do", NULL, NULL, dlq_show },
    { "retry", "<id>... | --all", 0, AEGIS_CTL_MAX_ARGS, "publish it again, under a new message id",
      "The message goes through the outbox again. When it fails again it becomes a new\n"
      "dead letter; this one stays as RETRIED.", settle_options, dlq_retry },
    { "drop", "<id>... | --all", 0, AEGIS_CTL_MAX_ARGS, "mark it as not to be retried", NULL,
      settle_options, dlq_drop },
    { NULL, NULL, 0, 0, NULL, NULL, NULL, NULL }
};
