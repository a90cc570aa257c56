/*
 * aegis_pg_server.c: which of the servers that a connection string names a
 * worker connects to: the one that answered last first, each with a deadline of
 * its own, and none that another one has overtaken.
 * Invariant: of two primaries of one cluster, the one with the lower timeline
 * is not used once this process has seen the other.
 */
#include "aegis_pg_impl.h"

#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define AEGIS_PG_SERVERS  16
#define AEGIS_PG_NAME     256

/* What this process knows of its cluster; its roles share it. */
static pthread_mutex_t  aegis_pg_lock = PTHREAD_MUTEX_INITIALIZER;
static char             aegis_pg_system[32];
static unsigned long    aegis_pg_timeline;

typedef struct {
    int   n;
    char  host[AEGIS_PG_SERVERS][AEGIS_PG_NAME];
    char  hostaddr[AEGIS_PG_SERVERS][AEGIS_PG_NAME];
    char  port[AEGIS_PG_SERVERS][AEGIS_PG_NAME];
} aegis_pg_servers_t;

/* The items of a comma-separated list; a list of one stands for each. */
static int
aegis_pg_list(const char *list, char items[][AEGIS_PG_NAME])
{
    int     n;
    size_t  len;

    for (n = 0; list && *list && n < AEGIS_PG_SERVERS; n++) {
        len = strcspn(list, ",");
        snprintf(items[n], AEGIS_PG_NAME, "%.*s", (int) len, list);
        list += len + (list[len] == ',');
    }

    return n;
}

static void
aegis_pg_spread(char items[][AEGIS_PG_NAME], int n_items, int n)
{
    int  i;

    for (i = n_items; n_items == 1 && i < n; i++) {
        memcpy(items[i], items[0], AEGIS_PG_NAME);
    }
}

/* The servers of url. One that libpq cannot read is one server: its message is
 * better than ours. */
static void
aegis_pg_servers(const char *url, aegis_pg_servers_t *s)
{
    int                n_host, n_addr, n_port;
    PQconninfoOption  *options, *o;

    memset(s, 0, sizeof(aegis_pg_servers_t));
    n_host = n_addr = n_port = 0;

    options = PQconninfoParse(url, NULL);

    for (o = options; o && o->keyword; o++) {
        if (strcmp(o->keyword, "host") == 0) {
            n_host = aegis_pg_list(o->val, s->host);
        } else if (strcmp(o->keyword, "hostaddr") == 0) {
            n_addr = aegis_pg_list(o->val, s->hostaddr);
        } else if (strcmp(o->keyword, "port") == 0) {
            n_port = aegis_pg_list(o->val, s->port);
        }
    }

    PQconninfoFree(options);

    s->n = n_addr ? n_addr : n_host;
    aegis_pg_spread(s->port, n_port, s->n);
}

/* Is the server that was connected to in front? Only asked of one of several:
 * a service that looks like PostgreSQL need not know these functions. */
static aegis_code_t
aegis_pg_in_front(aegis_pg_t *pg, aegis_error_t *err)
{
    int             behind;
    char           *system;
    PGresult       *res;
    unsigned long   timeline;

    if (!PQsendQuery(pg->conn,
            "SELECT (SELECT system_identifier FROM pg_catalog.pg_control_system())::text,"
            " substr(pg_catalog.pg_walfile_name(pg_catalog.pg_current_wal_insert_lsn()),"
            " 1, 8)"))
    {
        return aegis_pg_error(pg, AEGIS_E_UNAVAILABLE, PQerrorMessage(pg->conn), err);
    }

    res = aegis_pg_wait_result(pg, err);
    if (res == NULL) {
        return AEGIS_E_UNAVAILABLE;
    }

    if (PQresultStatus(res) != PGRES_TUPLES_OK || PQntuples(res) != 1) {
        (void) aegis_pg_error(pg, AEGIS_E_UNAVAILABLE, PQresultErrorMessage(res), err);
        PQclear(res);
        return AEGIS_E_UNAVAILABLE;
    }

    system = PQgetvalue(res, 0, 0);
    timeline = strtoul(PQgetvalue(res, 0, 1), NULL, 16);

    pthread_mutex_lock(&aegis_pg_lock);

    if (strcmp(system, aegis_pg_system) != 0) {
        snprintf(aegis_pg_system, sizeof(aegis_pg_system), "%s", system);
        aegis_pg_timeline = 0;
    }

    behind = timeline < aegis_pg_timeline;
    if (!behind) {
        aegis_pg_timeline = timeline;
    }

    pthread_mutex_unlock(&aegis_pg_lock);

    pg->timeline = timeline;
    PQclear(res);

    return behind ? aegis_pg_error(pg, AEGIS_E_UNAVAILABLE,
                                   "another server was promoted", err)
                  : AEGIS_E_OK;
}

int
aegis_pg_overtaken(const aegis_pg_t *pg)
{
    int  behind;

    pthread_mutex_lock(&aegis_pg_lock);
    behind = pg->timeline && pg->timeline < aegis_pg_timeline;
    pthread_mutex_unlock(&aegis_pg_lock);

    return behind;
}

/* One attempt at the i-th server of several, or at what url says. */
static aegis_code_t
aegis_pg_attempt(aegis_pg_t *pg, const aegis_pg_servers_t *s, int i, aegis_error_t *err)
{
    aegis_code_t  rc;

    /* What stands before dbname can be changed by the connection string. */
    const char  *keys[] = { "connect_timeout", "keepalives", "keepalives_idle",
                            "keepalives_interval", "keepalives_count",
                            "tcp_user_timeout", "target_session_attrs", "dbname",
                            "application_name", "client_encoding", "host", "hostaddr",
                            "port", NULL };
    const char  *values[] = { s->n > 1 ? "2" : "5", "1", "30", "5", "3",
                              s->n > 1 ? "5000" : "15000", "read-write", pg->url,
                              pg->name, "UTF8", s->host[i], s->hostaddr[i],
                              s->port[i], NULL };

    if (s->n <= 1) {
        keys[10] = NULL;
    }

    pg->timeline = 0;
    pg->conn = PQconnectdbParams(keys, values, 1);

    if (pg->conn == NULL || PQstatus(pg->conn) != CONNECTION_OK) {
        rc = aegis_pg_error(pg, AEGIS_E_UNAVAILABLE,
                            pg->conn ? PQerrorMessage(pg->conn) : "no memory", err);
        aegis_pg_drop(pg);
        return rc;
    }

    PQsetnonblocking(pg->conn, 1);
    rc = s->n > 1 ? aegis_pg_in_front(pg, err) : AEGIS_E_OK;

    if (rc != AEGIS_E_OK) {
        aegis_pg_drop(pg);
    }

    return rc;
}

aegis_code_t
aegis_pg_connect(aegis_pg_t *pg, aegis_error_t *err)
{
    int                 i, n;
    aegis_code_t        rc;
    aegis_pg_servers_t  s;

    aegis_pg_servers(pg->url, &s);
    n = s.n ? s.n : 1;
    rc = AEGIS_E_UNAVAILABLE;

    for (i = 0; i < n && rc != AEGIS_E_OK; i++) {
        aegis_error_clear(err);
        rc = aegis_pg_attempt(pg, &s, (pg->server + i) % n, err);
        if (rc == AEGIS_E_OK) {
            pg->server = (pg->server + i) % n;
        }
    }

    return rc;
}
