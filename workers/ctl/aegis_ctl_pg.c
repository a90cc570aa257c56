/*
 * aegis_ctl_pg.c: PostgreSQL for the operator's hand: plain libpq, because
 * migrations are scripts of many statements and the rest are one-off queries.
 * Connecting is bounded by connect_timeout. Nothing here retries.
 */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "aegis_ctl.h"

enum { OID_BOOL = 16, OID_INT8 = 20, OID_INT2 = 21, OID_INT4 = 23, OID_JSON = 114,
       OID_FLOAT4 = 700, OID_FLOAT8 = 701, OID_JSONB = 3802 };


static void
copy_line(char *to, size_t size, const char *from)
{
    size_t  n;

    snprintf(to, size, "%s", from);
    n = strlen(to);
    while (n > 0 && (to[n - 1] == '\n' || to[n - 1] == ' ')) {
        to[--n] = '\0';
    }
}


PGconn *
aegis_ctl_pg_open(const char *url, char *why, size_t size)
{
    /* what follows dbname overrides it, what comes before gives way to it */
    const char  *const keys[] = { "connect_timeout", "dbname", "application_name", NULL };
    const char  *const values[] = { "5", url, "aegisctl", NULL };
    PGconn      *conn;

    conn = PQconnectdbParams(keys, values, 1);
    if (PQstatus(conn) != CONNECTION_OK) {
        copy_line(why, size, PQerrorMessage(conn));
        PQfinish(conn);
        return NULL;
    }
    PQclear(PQexec(conn, "SET client_min_messages = warning"));
    return conn;
}


PGconn *
aegis_ctl_pg(aegis_ctl_t *ctl, int *ret_exit)
{
    const char  *url = aegis_ctl_opt(ctl, "database");
    char         why[512];
    PGconn      *conn;

    if (url == NULL) {
        url = getenv("DATABASE_URL");
    }
    if (url == NULL || url[0] == '\0') {
        aegis_ctl_say("no database: give --database, set DATABASE_URL, or --env-file run/aegis.env");
        *ret_exit = AEGIS_CTL_USAGE;
        return NULL;
    }
    conn = aegis_ctl_pg_open(url, why, sizeof(why));
    if (conn == NULL) {
        aegis_ctl_say("the database cannot be reached: %s", why);
        *ret_exit = AEGIS_CTL_UNREACHABLE;
    }
    return conn;
}


PGresult *
aegis_ctl_pg_query(PGconn *conn, const char *sql, int n, const char *const *params)
{
    PGresult  *res;
    char       why[512];

    res = PQexecParams(conn, sql, n, NULL, params, NULL, NULL, 0);
    switch (PQresultStatus(res)) {
    case PGRES_TUPLES_OK:
    case PGRES_COMMAND_OK:
        return res;
    default:
        copy_line(why, sizeof(why), PQerrorMessage(conn));
        aegis_ctl_say("the database refused: %s", why);
        PQclear(res);
        return NULL;
    }
}


static json_t *
value(const PGresult *res, int row, int col)
{
    const char  *s = PQgetvalue(res, row, col);
    json_t      *v;

    if (PQgetisnull(res, row, col)) {
        return json_null();
    }
    switch (PQftype(res, col)) {
    case OID_BOOL:
        return json_boolean(s[0] == 't');
    case OID_INT2:
    case OID_INT4:
    case OID_INT8:
        return json_integer(strtoll(s, NULL, 10));
    case OID_FLOAT4:
    case OID_FLOAT8:
        return json_real(strtod(s, NULL));
    case OID_JSON:
    case OID_JSONB:
        v = json_loads(s, JSON_DECODE_ANY, NULL);
        return v != NULL ? v : json_string(s);
    default:
        v = json_string(s);
        return v != NULL ? v : json_string("(not text)");
    }
}


json_t *
aegis_ctl_pg_rows(const PGresult *res)
{
    json_t  *rows = json_array(), *row;
    int      r, c;

    for (r = 0; r < PQntuples(res); r++) {
        row = json_object();
        for (c = 0; c < PQnfields(res); c++) {
            json_object_set_new(row, PQfname(res, c), value(res, r, c));
        }
        json_array_append_new(rows, row);
    }
    return rows;
}
