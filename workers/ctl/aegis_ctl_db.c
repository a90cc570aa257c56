/*
 * aegis_ctl_db.c: `aegisctl db`: the commands around the schema. The runner is
 * aegis_ctl_migrate.c.
 */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "aegis_ctl.h"

#define SQL_DIR_INSTALLED  "/usr/share/aegis/sql"


static int
open_both(aegis_ctl_t *ctl, PGconn **ret_conn, aegis_ctl_sql_t *ret_sql)
{
    const char  *dir = aegis_ctl_opt(ctl, "sql-dir");
    int          rc;

    if (dir == NULL) {
        dir = getenv("AEGIS_SQL_DIR");
    }
    rc = aegis_ctl_sql_load(dir != NULL ? dir : SQL_DIR_INSTALLED, ret_sql);
    if (rc != 0) {
        return rc;
    }
    *ret_conn = aegis_ctl_pg(ctl, &rc);
    if (*ret_conn == NULL) {
        aegis_ctl_sql_free(ret_sql);
        return rc;
    }
    return 0;
}


static int
db_migrate(aegis_ctl_t *ctl)
{
    aegis_ctl_sql_t  sql;
    PGconn          *conn;
    int              rc;

    rc = open_both(ctl, &conn, &sql);
    if (rc != 0) {
        return rc;
    }
    rc = aegis_ctl_migrate(ctl, conn, &sql);
    PQfinish(conn);
    aegis_ctl_sql_free(&sql);
    return rc;
}


static int
db_status(aegis_ctl_t *ctl)
{
    static const aegis_ctl_column_t  columns[] = {
        { "kind", "KIND" }, { "name", "NAME" }, { "state", "STATE" },
        { "applied_at", "APPLIED AT" }, { "ms", "MS" }, { NULL, NULL }
    };
    aegis_ctl_sql_t  sql;
    json_t          *rows, *row;
    PGconn          *conn;
    size_t           i;
    int              rc;

    rc = open_both(ctl, &conn, &sql);
    if (rc != 0) {
        return rc;
    }
    rows = aegis_ctl_sql_status(conn, &sql);
    PQfinish(conn);
    aegis_ctl_sql_free(&sql);
    if (rows == NULL) {
        return AEGIS_CTL_FAILED;
    }
    aegis_ctl_rows(ctl, rows, columns, "no scripts");
    json_array_foreach(rows, i, row) {
        if (strcmp(json_string_value(json_object_get(row, "state")), "applied") != 0) {
            rc = AEGIS_CTL_FAILED;
        }
    }
    json_decref(rows);
    if (rc != 0) {
        aegis_ctl_say("the schema is not current; aegisctl db migrate --dry-run says what is"
                      " to be done");
    }
    return rc;
}


static int
db_maintain(aegis_ctl_t *ctl)
{
    static const aegis_ctl_column_t  columns[] = {
        { "action", "ACTION" }, { "partition", "PARTITION" }, { NULL, NULL }
    };
    PGconn  *conn;
    json_t  *rows;
    int      rc;

    conn = aegis_ctl_pg(ctl, &rc);
    if (conn == NULL) {
        return rc;
    }
    rows = aegis_ctl_maintain(conn);
    PQfinish(conn);
    if (rows == NULL) {
        return AEGIS_CTL_FAILED;
    }
    aegis_ctl_rows(ctl, rows, columns, "nothing to make or drop");
    json_decref(rows);
    return AEGIS_CTL_OK;
}


static const aegis_ctl_option_t  migrate_options[] = {
    { "sql-dir", 0, "DIR", "folder sql/ of Aegis (AEGIS_SQL_DIR, " SQL_DIR_INSTALLED ")" },
    { "dry-run", 'n', NULL, "say what would be applied, change nothing" },
    { NULL, 0, NULL, NULL }
};

static const aegis_ctl_option_t  status_options[] = {
    { "sql-dir", 0, "DIR", "folder sql/ of Aegis (AEGIS_SQL_DIR, " SQL_DIR_INSTALLED ")" },
    { NULL, 0, NULL, NULL }
};

const aegis_ctl_command_t  aegis_ctl_db_commands[] = {
    { "migrate", "", 0, 0, "bring the schema up to date",
      "Applies sql/roles.sql when the user may create roles, each numbered migration\n"
      "once, functions and grants when their text changed, and makes partitions. Each\n"
      "script is one transaction. Connect as aegis_migrator or as a superuser.",
      migrate_options, db_migrate },
    { "status", "", 0, 0, "compare the schema with the scripts",
      "Exit code 1 when something is pending, changed or unknown.",
      status_options, db_status },
    { "maintain", "", 0, 0, "make the next days' partitions, drop the expired ones",
      "The workers do this every maintain.every_s; by hand it does no harm.", NULL, db_maintain },
    { NULL, NULL, 0, 0, NULL, NULL, NULL, NULL }
};
