/*
 * aegis_ctl_outbox.c: `aegisctl outbox`: what the relay has not published yet.
 * Only reads.
 */
#include <stdio.h>
#include <string.h>

#include "aegis_ctl.h"


static json_t *
query(PGconn *conn, const char *sql)
{
    PGresult  *res = aegis_ctl_pg_query(conn, sql, 0, NULL);
    json_t    *rows = NULL;

    if (res != NULL) {
        rows = aegis_ctl_pg_rows(res);
        PQclear(res);
    }
    return rows;
}


static int
outbox_lag(aegis_ctl_t *ctl)
{
    static const aegis_ctl_column_t  columns[] = {
        { "subject", "SUBJECT" }, { "pending", "PENDING" }, { "oldest_s", "OLDEST S" },
        { NULL, NULL }
    };
    json_t   *total, *by, *all, *first;
    PGconn   *conn;
    int64_t   max_age;
    double    oldest;
    int       rc;

    max_age = aegis_ctl_opt_int(ctl, "max-age", 0, 1, 31536000);
    if (max_age < 0) {
        return AEGIS_CTL_USAGE;
    }
    conn = aegis_ctl_pg(ctl, &rc);
    if (conn == NULL) {
        return rc;
    }
    total = query(conn, "SELECT pending, round(oldest_s::numeric, 3)::float8 AS oldest_s"
                        " FROM aegis.outbox_lag()");
    by = query(conn, "SELECT subject, count(*) AS pending,"
               " round(extract(epoch FROM now() - min(created_at)), 3)::float8 AS oldest_s"
               " FROM aegis.outbox WHERE published_at IS NULL GROUP BY 1 ORDER BY 3 DESC");
    PQfinish(conn);
    if (total == NULL || by == NULL) {
        json_decref(total);
        json_decref(by);
        return AEGIS_CTL_FAILED;
    }

    first = json_array_get(total, 0);
    oldest = json_number_value(json_object_get(first, "oldest_s"));
    all = json_pack("{s:O, s:O, s:O}", "pending", json_object_get(first, "pending"),
                    "oldest_s", json_object_get(first, "oldest_s"), "by_subject", by);
    if (ctl->json) {
        aegis_ctl_json(all);
    } else {
        printf("%lld pending, oldest %.1f s\n",
               (long long) json_integer_value(json_object_get(first, "pending")), oldest);
        if (json_array_size(by) > 0) {
            aegis_ctl_rows(ctl, by, columns, "");
        }
    }
    json_decref(all);
    json_decref(by);
    json_decref(total);

    if (max_age > 0 && oldest > (double) max_age) {
        aegis_ctl_say("the oldest message has waited longer than %lld s: is the relay running,"
                      " is the bus reachable? (aegisctl doctor)", (long long) max_age);
        return AEGIS_CTL_FAILED;
    }
    return AEGIS_CTL_OK;
}


static const aegis_ctl_option_t  lag_options[] = {
    { "max-age", 0, "SECONDS", "exit code 1 when the oldest waits longer" },
    { NULL, 0, NULL, NULL }
};

const aegis_ctl_command_t  aegis_ctl_outbox_commands[] = {
    { "lag", "", 0, 0, "messages that wait to be published, and since when", NULL, lag_options,
      outbox_lag },
    { NULL, NULL, 0, 0, NULL, NULL, NULL, NULL }
};
