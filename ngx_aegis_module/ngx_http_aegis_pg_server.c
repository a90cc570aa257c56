/*
 * ngx_http_aegis_pg_server.c: which of the servers that aegis_database names a
 * connection goes to. libpq would begin with the first one every time, and has
 * no deadline of its own for one that hangs; here each attempt is for one
 * server, the next attempt for the next, and the one that answered last is
 * asked first.
 *
 * Invariant: no connection stays with a server that another one has overtaken:
 * of two primaries of one cluster, the one with the lower timeline is refused
 * by every worker process as soon as one of them has seen the other.
 */
#include "ngx_http_aegis_module.h"

#define NGX_HTTP_AEGIS_NEXT_SERVER_MS  1


/* More than one server: then the session says where in history it is. */
const char *
ngx_http_aegis_pg_server_sql(ngx_http_aegis_db_t *db)
{
    if (db->n_servers == 1) {
        return "";
    }

    return ", CASE WHEN pg_catalog.pg_is_in_recovery() THEN '' ELSE"
           " (SELECT system_identifier FROM pg_catalog.pg_control_system()) || ' '"
           " || substr(pg_catalog.pg_walfile_name("
           "pg_catalog.pg_current_wal_insert_lsn()), 1, 8) END";
}


PGconn *
ngx_http_aegis_pg_server_connect(ngx_http_aegis_pg_t *pg)
{
    ngx_uint_t                n;
    const char               *names[NGX_HTTP_AEGIS_MAX_CONNINFO];
    const char               *values[NGX_HTTP_AEGIS_MAX_CONNINFO];
    ngx_http_aegis_db_t      *db;
    ngx_http_aegis_server_t  *server;

    db = pg->lane->db;
    server = &db->servers[pg->server];

    for (n = 0; db->names[n] && n < NGX_HTTP_AEGIS_MAX_CONNINFO - 4; n++) {
        names[n] = db->names[n];
        values[n] = db->values[n];
    }

    names[n] = "host";
    values[n++] = server->host;
    names[n] = "hostaddr";
    values[n++] = server->hostaddr;
    names[n] = "port";
    values[n++] = server->port;
    names[n] = NULL;
    values[n] = NULL;

    return PQconnectStartParams(names, values, 0);
}


/* An attempt has failed, or a connection was lost: where to go now. Returns the
 * delay, 0: after the usual pause, because every server has been asked. */
ngx_msec_t
ngx_http_aegis_pg_server_next(ngx_http_aegis_pg_t *pg, ngx_uint_t was_up,
    ngx_uint_t hung)
{
    ngx_http_aegis_db_t  *db;

    db = pg->lane->db;
    pg->timeline = 0;

    if (db->n_servers == 1) {
        return 0;
    }

    if (pg->lane->scout) {
        pg->server = (pg->server + 1) % db->n_servers;
        return pg->server == db->server ? 0 : NGX_HTTP_AEGIS_NEXT_SERVER_MS;
    }

    if (was_up) {
        pg->asked = 0;
        pg->server = hung ? (pg->server + 1) % db->n_servers : db->server;
        return NGX_HTTP_AEGIS_NEXT_SERVER_MS;
    }

    if (++pg->asked < db->n_servers) {
        pg->server = (pg->server + 1) % db->n_servers;
        return NGX_HTTP_AEGIS_NEXT_SERVER_MS;
    }

    pg->asked = 0;
    pg->server = db->server;
    return 0;
}


/* A server with a higher timeline is known: a lower one is left, and what runs
 * there is not waited for. It acknowledges no commit any more, and one that the
 * other has of before is found by its key. */
void
ngx_http_aegis_pg_server_stay(ngx_http_aegis_pg_t *pg)
{
    if (pg->timeline == 0 || pg->timeline >= pg->lane->db->timeline
        || pg->state < NGX_HTTP_AEGIS_PG_IDLE)
    {
        return;
    }

    pg->hung = (pg->server == pg->lane->db->server);
    ngx_http_aegis_pg_fail(pg, "another server was promoted");
}


static void
ngx_http_aegis_pg_server_leave(ngx_http_aegis_lane_t *lane)
{
    ngx_uint_t  i;

    for (i = 0; i < lane->n_pgs; i++) {
        ngx_http_aegis_pg_server_stay(&lane->pgs[i]);
    }
}


/* What any worker process has seen of this cluster. */
void
ngx_http_aegis_pg_server_check(ngx_http_aegis_db_t *db)
{
    ngx_uint_t  known;

    if (db->timeline == 0) {
        return;
    }

    known = ngx_http_aegis_stats_timeline(db->system, db->timeline);

    if (known > db->timeline) {
        db->timeline = known;
        ngx_http_aegis_pg_server_leave(db->write);
        ngx_http_aegis_pg_server_leave(db->read);
    }
}


/* The session's first answer. A standby is libpq's to refuse. */
ngx_int_t
ngx_http_aegis_pg_server_judge(ngx_http_aegis_pg_t *pg, PGresult *res)
{
    char                 *p;
    uint64_t              system;
    ngx_uint_t            timeline;
    ngx_http_aegis_db_t  *db;

    db = pg->lane->db;

    if (db->n_servers == 1 || PQntuples(res) != 1 || PQnfields(res) < 3) {
        return NGX_OK;
    }

    p = PQgetvalue(res, 0, 2);
    system = strtoull(p, &p, 10);
    timeline = strtoul(p, NULL, 16);

    if (timeline == 0) {
        return NGX_OK;
    }

    if (system != db->system) {             /* restored, or made anew */
        db->system = system;
        db->timeline = 0;
    }

    ngx_http_aegis_pg_server_check(db);

    if (timeline < db->timeline) {
        return NGX_ERROR;
    }

    pg->timeline = timeline;

    if (timeline > db->timeline) {
        db->timeline = timeline;
        db->server = pg->server;
        ngx_http_aegis_pg_server_check(db);
        ngx_http_aegis_pg_server_leave(db->write);
        ngx_http_aegis_pg_server_leave(db->read);
    }

    return NGX_OK;
}


void
ngx_http_aegis_pg_server_up(ngx_http_aegis_pg_t *pg)
{
    pg->asked = 0;
    pg->lane->db->server = pg->server;
}
