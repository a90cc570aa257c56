/*
 * aegis_ctl_migrate.c: the runner of `aegisctl db migrate`.
 *
 * Invariant: each script and the row that says it was applied commit together,
 * one runner at a time; an applied migration whose file has changed stops the
 * run before anything is done. Migrations are applied once each, repeatables
 * again whenever their text changes, and the grants after any change at all,
 * because a new function is open to everybody until they ran.
 * What the scripts are and their order: aegis_ctl_sql.c.
 */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "aegis_ctl.h"

#define OWNER  "aegis_migrator"

static const char  ledger[] =
    "CREATE SCHEMA IF NOT EXISTS aegis;"
    "CREATE TABLE IF NOT EXISTS aegis.schema_migration ("
    " version int PRIMARY KEY, name text NOT NULL, checksum text NOT NULL,"
    " applied_at timestamptz NOT NULL DEFAULT now(), ms int NOT NULL);"
    "CREATE TABLE IF NOT EXISTS aegis.schema_repeatable ("
    " name text PRIMARY KEY, checksum text NOT NULL,"
    " applied_at timestamptz NOT NULL DEFAULT now());";


/* One value of one row, malloc'ed; "" for no row. NULL after a message. */
static char *
ask(PGconn *conn, const char *sql)
{
    PGresult  *res = aegis_ctl_pg_query(conn, sql, 0, NULL);
    char      *v;

    if (res == NULL) {
        return NULL;
    }
    v = strdup(PQntuples(res) > 0 ? PQgetvalue(res, 0, 0) : "");
    PQclear(res);
    return v;
}


static int
is_true(PGconn *conn, const char *sql)
{
    char  *v = ask(conn, sql);
    int    rc;

    rc = v == NULL ? -1 : v[0] == 't';
    free(v);
    return rc;
}


/* file:line of a failure inside a script, with the server's words. */
static void
say_script_error(const PGresult *res, const char *path, const char *text)
{
    const char  *at = PQresultErrorField(res, PG_DIAG_STATEMENT_POSITION);
    const char  *hint = PQresultErrorField(res, PG_DIAG_MESSAGE_HINT);
    const char  *detail = PQresultErrorField(res, PG_DIAG_MESSAGE_DETAIL);
    const char  *primary = PQresultErrorField(res, PG_DIAG_MESSAGE_PRIMARY);
    const char  *state = PQresultErrorField(res, PG_DIAG_SQLSTATE);
    long         chars = at != NULL ? atol(at) : 0;
    int          line = 1;

    for (; chars > 1 && *text != '\0'; text++) {
        line += *text == '\n';
        chars -= ((unsigned char) text[1] & 0xc0) != 0x80;
    }
    if (at != NULL) {
        aegis_ctl_say("%s:%d: %s (SQLSTATE %s)", path, line,
                      primary != NULL ? primary : "failed", state != NULL ? state : "?");
    } else {
        aegis_ctl_say("%s: %s (SQLSTATE %s)", path,
                      primary != NULL ? primary : PQresultErrorMessage(res),
                      state != NULL ? state : "?");
    }
    if (detail != NULL) {
        aegis_ctl_say("  %s", detail);
    }
    if (hint != NULL) {
        aegis_ctl_say("  %s", hint);
    }
}


static int
run(PGconn *conn, const char *path, const char *text)
{
    PGresult  *res = PQexec(conn, text);
    int        ok;

    ok = PQresultStatus(res) == PGRES_COMMAND_OK || PQresultStatus(res) == PGRES_TUPLES_OK
         || PQresultStatus(res) == PGRES_EMPTY_QUERY;
    if (!ok) {
        say_script_error(res, path, text);
    }
    PQclear(res);
    return ok ? 0 : -1;
}


/* A script and its ledger row in one transaction. */
static int
apply(PGconn *conn, const aegis_ctl_script_t *s, int *ret_ms)
{
    struct timespec   from, to;
    PGresult         *res;
    char              version[16], ms[16];
    const char       *params[4];

    clock_gettime(CLOCK_MONOTONIC, &from);
    if (run(conn, s->path, "BEGIN") != 0) {
        return -1;
    }
    if (run(conn, s->path, s->text) != 0) {
        run(conn, s->path, "ROLLBACK");
        return -1;
    }
    if (PQtransactionStatus(conn) != PQTRANS_INTRANS) {
        aegis_ctl_say("%s: ends the transaction that the runner began; a script must not"
                      " contain BEGIN, COMMIT or ROLLBACK", s->path);
        return -1;
    }
    clock_gettime(CLOCK_MONOTONIC, &to);
    *ret_ms = (int) ((to.tv_sec - from.tv_sec) * 1000 + (to.tv_nsec - from.tv_nsec) / 1000000);

    if (s->version != 0) {
        snprintf(version, sizeof(version), "%d", s->version);
        snprintf(ms, sizeof(ms), "%d", *ret_ms);
        params[0] = version;
        params[1] = s->name;
        params[2] = s->checksum;
        params[3] = ms;
        res = aegis_ctl_pg_query(conn, "INSERT INTO aegis.schema_migration (version, name,"
            " checksum, ms) VALUES ($1::int, $2, $3, $4::int)", 4, params);
    } else {
        params[0] = s->name;
        params[1] = s->checksum;
        res = aegis_ctl_pg_query(conn, "INSERT INTO aegis.schema_repeatable (name, checksum)"
            " VALUES ($1, $2) ON CONFLICT (name) DO UPDATE"
            " SET checksum = excluded.checksum, applied_at = now()", 2, params);
    }
    if (res == NULL) {
        run(conn, s->path, "ROLLBACK");
        return -1;
    }
    PQclear(res);
    return run(conn, s->path, "COMMIT");
}


static json_t *
status_row(const char *kind, const char *name, const char *state, json_t *old)
{
    json_t  *at = json_object_get(old, "applied_at"), *ms = json_object_get(old, "ms");

    return json_pack("{s:s, s:s, s:s, s:O?, s:O?}", "kind", kind, "name", name, "state", state,
                     "applied_at", at, "ms", ms);
}


json_t *
aegis_ctl_sql_status(PGconn *conn, const aegis_ctl_sql_t *sql)
{
    const char  *state, *kind, *key;
    PGresult    *res;
    json_t      *rows, *row, *known = json_object(), *out = json_array(), *old;
    size_t       i;
    char         id[256];
    int          there;

    there = is_true(conn, "SELECT to_regclass('aegis.schema_migration') IS NOT NULL"
                          " AND to_regclass('aegis.schema_repeatable') IS NOT NULL");
    if (there < 0) {
        goto failed;
    }
    if (there) {
        res = aegis_ctl_pg_query(conn,
            "SELECT version, name, checksum, ms, to_char(applied_at AT TIME ZONE 'UTC',"
            " 'YYYY-MM-DD\"T\"HH24:MI:SS\"Z\"') AS applied_at FROM aegis.schema_migration"
            " UNION ALL SELECT 0, name, checksum, NULL, to_char(applied_at AT TIME ZONE 'UTC',"
            " 'YYYY-MM-DD\"T\"HH24:MI:SS\"Z\"') FROM aegis.schema_repeatable", 0, NULL);
        if (res == NULL) {
            goto failed;
        }
        rows = aegis_ctl_pg_rows(res);
        PQclear(res);
        json_array_foreach(rows, i, row) {
            if (json_integer_value(json_object_get(row, "version")) != 0) {
                snprintf(id, sizeof(id), "%lld",
                         (long long) json_integer_value(json_object_get(row, "version")));
            } else {
                snprintf(id, sizeof(id), "%s", json_string_value(json_object_get(row, "name")));
            }
            json_object_set(known, id, row);
        }
        json_decref(rows);
    }

    for (i = 0; i < sql->n; i++) {
        kind = sql->scripts[i].version != 0 ? "migration" : "repeatable";
        snprintf(id, sizeof(id), "%d", sql->scripts[i].version);
        key = sql->scripts[i].version != 0 ? id : sql->scripts[i].name;
        old = json_object_get(known, key);
        state = old == NULL ? "pending"
                : strcmp(json_string_value(json_object_get(old, "checksum")),
                         sql->scripts[i].checksum) == 0 ? "applied" : "changed";
        json_array_append_new(out, status_row(kind, sql->scripts[i].name, state, old));
        json_object_del(known, key);
    }
    json_object_foreach(known, key, old) {
        json_array_append_new(out, status_row(
            json_integer_value(json_object_get(old, "version")) != 0 ? "migration" : "repeatable",
            json_string_value(json_object_get(old, "name")), "unknown", old));
    }
    json_decref(known);
    return out;

failed:

    json_decref(known);
    json_decref(out);
    return NULL;
}


/* Refuse what cannot be put right by running on. 0 when all is well. */
static int
check_history(json_t *status)
{
    const char  *kind, *name, *state, *pending = NULL;
    json_t      *row;
    size_t       i;
    int          bad = 0;

    json_array_foreach(status, i, row) {
        kind = json_string_value(json_object_get(row, "kind"));
        name = json_string_value(json_object_get(row, "name"));
        state = json_string_value(json_object_get(row, "state"));
        if (kind[0] != 'm') {
            continue;
        }
        if (strcmp(state, "changed") == 0) {
            aegis_ctl_say("migration %s was changed after it was applied: restore the file as it"
                          " was and put the change into a new migration", name);
            bad = 1;
        } else if (strcmp(state, "unknown") == 0) {
            aegis_ctl_say("migration %s is applied but not in --sql-dir: this aegisctl or folder"
                          " is older than the database; use the newer release", name);
            bad = 1;
        } else if (strcmp(state, "pending") == 0) {
            pending = name;
        } else if (pending != NULL) {
            aegis_ctl_say("migration %s comes before %s, which is applied: give it a higher"
                          " number", pending, name);
            bad = 1;
            pending = NULL;
        }
    }
    return bad;
}


/* roles.sql when we may create roles, then act as the owner. */
static int
become_owner(PGconn *conn, const aegis_ctl_sql_t *sql, int dry)
{
    int  creates, member;

    creates = is_true(conn, "SELECT rolsuper OR rolcreaterole FROM pg_roles"
                            " WHERE rolname = current_user");
    if (creates < 0) {
        return -1;
    }
    if (creates && !dry) {
        if (run(conn, "roles.sql", "BEGIN") != 0 || run(conn, "roles.sql", sql->roles) != 0
            || run(conn, "roles.sql", "DO $$ BEGIN EXECUTE format('GRANT CONNECT, CREATE,"
                   " TEMPORARY ON DATABASE %I TO " OWNER "', current_database()); END $$") != 0
            || run(conn, "roles.sql", "COMMIT") != 0)
        {
            run(conn, "roles.sql", "ROLLBACK");
            return -1;
        }
    }

    member = is_true(conn, "SELECT (SELECT count(*) FROM pg_roles WHERE rolname IN"
                     " ('aegis_migrator', 'aegis_gateway', 'aegis_worker', 'aegis_reader')) = 4");
    if (member < 0 || (member == 0 && !dry)) {
        if (member == 0) {
            aegis_ctl_say("the roles of sql/roles.sql are missing and this user may not create"
                          " them: run sql/roles.sql, or db migrate, once as a superuser");
        }
        return -1;
    }
    if (member == 0) {
        return 0;
    }

    member = is_true(conn, "SELECT pg_has_role(current_user, '" OWNER "', 'MEMBER')");
    if (member == 0) {
        aegis_ctl_say("connect as " OWNER " or as a superuser: everything is owned by " OWNER);
    }
    return member != 1 ? -1 : run(conn, "SET ROLE", "SET ROLE " OWNER "; SET search_path ="
                                  " aegis, pg_catalog; SET statement_timeout = 0;"
                                  " SET check_function_bodies = on");
}


static int
report(aegis_ctl_t *ctl, json_t *done, const aegis_ctl_script_t *s, const char *what, int ms)
{
    if (!ctl->json) {
        printf("%-8s %-10s %-32s %5d ms\n", what, s->version != 0 ? "migration" : "repeatable",
               s->name, ms);
        fflush(stdout);
    }
    return json_array_append_new(done, json_pack("{s:s, s:s, s:s, s:i}", "action", what, "kind",
        s->version != 0 ? "migration" : "repeatable", "name", s->name, "ms", ms));
}


static int
apply_all(aegis_ctl_t *ctl, PGconn *conn, const aegis_ctl_sql_t *sql, json_t *status, json_t *done)
{
    const aegis_ctl_script_t  *s;
    const char                *state;
    size_t                     i;
    int                        ms, dry = aegis_ctl_opt(ctl, "dry-run") != NULL, changed = 0;

    for (i = 0; i < sql->n; i++) {
        s = &sql->scripts[i];
        state = json_string_value(json_object_get(json_array_get(status, i), "state"));
        if (strcmp(state, "applied") == 0
            && !(changed && strncmp(s->name, "functions/9", 11) == 0))
        {
            continue;
        }
        ms = 0;
        if (!dry && apply(conn, s, &ms) != 0) {
            return -1;
        }
        changed = 1;
        report(ctl, done, s, dry ? "would" : "applied", ms);
    }
    return 0;
}


/* One partition a transaction: each locks its table against the writers. */
json_t *
aegis_ctl_maintain(PGconn *conn)
{
    PGresult  *res;
    json_t    *rows, *step;
    size_t     n;

    rows = json_array();
    do {
        res = aegis_ctl_pg_query(conn, "SELECT action, partition"
                                 " FROM aegis.maintain(p_steps => 1)", 0, NULL);
        if (res == NULL) {
            json_decref(rows);
            return NULL;
        }
        step = aegis_ctl_pg_rows(res);
        PQclear(res);
        n = json_array_size(step);
        json_array_extend(rows, step);
        json_decref(step);
    } while (n > 0);
    return rows;
}


static int
maintain(aegis_ctl_t *ctl, PGconn *conn, json_t *done)
{
    json_t  *rows, *row;
    size_t   i;

    rows = aegis_ctl_maintain(conn);
    if (rows == NULL) {
        return -1;
    }
    json_array_foreach(rows, i, row) {
        json_array_append_new(done, json_pack("{s:O, s:s, s:O, s:i}", "action",
            json_object_get(row, "action"), "kind", "partition", "name",
            json_object_get(row, "partition"), "ms", 0));
    }
    if (!ctl->json && json_array_size(rows) > 0) {
        printf("%-8s %zu partitions\n", "kept", json_array_size(rows));
    }
    json_decref(rows);
    return 0;
}


int
aegis_ctl_migrate(aegis_ctl_t *ctl, PGconn *conn, const aegis_ctl_sql_t *sql)
{
    json_t  *status = NULL, *done = json_array();
    int      dry = aegis_ctl_opt(ctl, "dry-run") != NULL, rc = AEGIS_CTL_FAILED;

    /* held by the session: a second runner waits, then finds nothing to do */
    if (run(conn, "lock", "SET lock_timeout = '60s'; SELECT pg_advisory_lock("
                          "hashtextextended('aegis.migrate', 0)); SET lock_timeout = '10s'") != 0)
    {
        aegis_ctl_say("another db migrate has been running for a minute; look at"
                      " pg_stat_activity");
        goto done;
    }
    if (become_owner(conn, sql, dry) != 0 || (!dry && run(conn, "ledger", ledger) != 0)) {
        goto done;
    }
    status = aegis_ctl_sql_status(conn, sql);
    if (status == NULL || check_history(status) != 0) {
        goto done;
    }
    if (apply_all(ctl, conn, sql, status, done) != 0 || (!dry && maintain(ctl, conn, done) != 0)) {
        goto done;
    }
    rc = AEGIS_CTL_OK;

done:

    if (ctl->json) {
        aegis_ctl_json(done);
    } else if (rc == AEGIS_CTL_OK && json_array_size(done) == 0) {
        printf("the schema is up to date (%zu scripts)\n", sql->n);
    }
    json_decref(status);
    json_decref(done);
    return rc;
}
