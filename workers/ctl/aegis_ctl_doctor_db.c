/*
 * aegis_ctl_doctor_db.c: the doctor's look at PostgreSQL. One table of
 * questions: each is a query that gives one row (state, detail); the remedy is
 * said when the state is not ok. A question that fails itself is a failed
 * check.
 */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "aegis_ctl_doctor.h"

typedef struct {
    const char  *check;
    const char  *sql;
    const char  *remedy;
} question_t;

/* Every right that a role has on a table and should not have, or the other way
 * round: what sql/functions/90_grants.sql says, as rows; and the tables that row-level
 * security does not guard (sql/migrations/0003_tenants.sql). */
static const char  rights[] =
    "WITH want AS (SELECT r, t, p FROM (VALUES"
    " ('{aegis_gateway,aegis_worker}'::text[], '{ops_case,case_tag,case_timeline,plan_proposed,"
    "gate_decision,plan_approved,verify_checkpoint,event_envelope,evidence_link,idempotency,"
    "inbox,outbox,exec_run,verify_run,gate_request,gate_vote}'::text[], 'INSERT'),"
    " ('{aegis_gateway,aegis_worker}', '{ops_case}', 'UPDATE'),"
    " ('{aegis_worker}', '{outbox,exec_run,verify_run,exec_step,dead_letter,metric_1m,"
    "oo_locator}', 'UPDATE'),"
    " ('{aegis_worker}', '{exec_step,dead_letter,metric_1m,oo_locator,gate_policy,"
    "plan_template,plan_template_set}', 'INSERT'),"
    " ('{aegis_gateway}', '{oo_locator,analyst_run}', 'INSERT'),"
    " ('{aegis_worker}', '{service_call_5m,log_pattern,log_pattern_5m,dim_tenant,dim_resource,"
    "signal_event,ingest_lane,analyst_mark,analyst_series,analyst_state,finding,"
    "finding_group,finding_member}', 'INSERT'),"
    " ('{aegis_worker}', '{service_call_5m,log_pattern,log_pattern_5m,dim_tenant,dim_resource,"
    "signal_event,ingest_lane,analyst_mark,analyst_series,analyst_state,analyst_run,"
    "finding_group,finding_member}', 'UPDATE'),"
    " ('{aegis_worker}', '{ingest_journal}', 'INSERT'), ('{aegis_worker}', '{ingest_journal}', 'DELETE'),"
    " ('{aegis_gateway,aegis_worker}', '{kb_doc,kb_version,kb_query,kb_term,kb_tenant,"
    "kb_case_todo}', 'INSERT'),"
    " ('{aegis_gateway,aegis_worker}', '{kb_doc,kb_version,kb_query,kb_term,kb_tenant,"
    "kb_case_todo}', 'UPDATE'),"
    " ('{aegis_gateway,aegis_worker}', '{kb_doc,kb_version,kb_query,kb_term,kb_tenant,"
    "kb_case_todo,kb_chunk,kb_vector}', 'DELETE'),"
    " ('{aegis_worker}', '{kb_chunk,kb_vector,audit_segment,audit_leaf}', 'INSERT'),"
    " ('{aegis_worker}', '{kb_chunk,kb_vector}', 'UPDATE'))"
    " v(roles, tables, p), unnest(roles) r, unnest(tables) t),"
    " diff AS (SELECT r, c.relname AS t, p, has_table_privilege(r, c.oid, p) AS has,"
    "  p = 'SELECT' OR EXISTS (SELECT FROM want w WHERE w.r = x.r AND w.t = c.relname"
    "  AND w.p = q.p) AS should"
    "  FROM pg_class c, unnest('{aegis_gateway,aegis_worker,aegis_reader}'::text[]) x(r),"
    "  unnest('{SELECT,INSERT,UPDATE,DELETE,TRUNCATE}'::text[]) q(p)"
    "  WHERE c.relnamespace = 'aegis'::regnamespace AND c.relkind IN ('r', 'p')"
    "  AND NOT c.relispartition),"
    " open AS (SELECT f.oid FROM pg_proc f WHERE f.pronamespace = 'aegis'::regnamespace"
    "  AND has_function_privilege('public', f.oid, 'EXECUTE')),"
    " bare AS (SELECT c.oid FROM pg_class c JOIN pg_attribute a ON a.attrelid = c.oid"
    "  AND a.attname = 'tenant' WHERE c.relnamespace = 'aegis'::regnamespace"
    "  AND c.relkind IN ('r', 'p') AND NOT c.relispartition"
    "  AND NOT (c.relrowsecurity AND c.relforcerowsecurity)),"
    " said AS (SELECT r || CASE WHEN has THEN ' may ' ELSE ' may not ' END || p || ' ' || t AS s"
    "  FROM diff WHERE has <> should"
    "  UNION ALL SELECT 'everybody may call ' || oid::regprocedure FROM open"
    "  UNION ALL SELECT 'no tenant is kept out of ' || oid::regclass FROM bare"
    "  UNION ALL SELECT r || ' may create in schema aegis'"
    "  FROM unnest('{aegis_gateway,aegis_worker,aegis_reader}'::text[]) r"
    "  WHERE has_schema_privilege(r, 'aegis', 'CREATE'))"
    " SELECT CASE WHEN count(*) = 0 THEN 'ok' ELSE 'fail' END, CASE WHEN count(*) = 0"
    " THEN 'as the grants say, no more and no less' ELSE count(*) || ' off: '"
    " || left(string_agg(s, ', ' ORDER BY s), 300) END FROM said";

static const question_t  questions[] = {
    { "durability",
      "SELECT CASE WHEN current_setting('fsync') = 'on'"
      " AND current_setting('full_page_writes') = 'on'"
      " AND current_setting('synchronous_commit') <> 'off' THEN 'ok' ELSE 'fail' END,"
      " 'fsync ' || current_setting('fsync') || ', synchronous_commit '"
      " || current_setting('synchronous_commit')",
      "set fsync, full_page_writes and synchronous_commit to on: a crash loses cases else" },
    { "standby",
      "SELECT CASE WHEN n > 0 AND NOT waits THEN 'warn' ELSE 'ok' END, CASE WHEN n = 0"
      " THEN 'none' WHEN waits THEN 'commits wait for it' ELSE 'commits do not wait for it: what it"
      " has not got yet is lost when it is promoted' END FROM (SELECT count(*) AS n,"
      " current_setting('synchronous_standby_names') <> '' AND"
      " current_setting('synchronous_commit') NOT IN ('off', 'local') AS waits"
      " FROM pg_stat_replication) x",
      "set synchronous_standby_names, see docs/high-availability.md" },
    { "clock",
      "SELECT CASE WHEN abs(extract(epoch FROM clock_timestamp()) - $1::float8) < 2"
      " THEN 'ok' ELSE 'warn' END, 'differs from this machine by '"
      " || round(abs(extract(epoch FROM clock_timestamp())::numeric - $1::numeric), 1) || ' s'",
      "run an NTP client on both machines: change windows are judged by these clocks" },
    { "roles",
      "SELECT CASE WHEN count(r.rolname) = 4 THEN 'ok' ELSE 'fail' END,"
      " coalesce('missing: ' || string_agg(n, ' ') FILTER (WHERE r.rolname IS NULL), 'all there')"
      " FROM unnest('{aegis_migrator,aegis_gateway,aegis_worker,aegis_reader}'::text[]) n"
      " LEFT JOIN pg_roles r ON r.rolname = n",
      "run sql/roles.sql, or aegisctl db migrate, as a superuser" },
    { "rights", rights,
      "aegisctl db migrate puts the grants right (delete the 90_grants row of"
      " aegis.schema_repeatable when it says that nothing changed)" },
    { "partitions",
      "SELECT CASE WHEN count(to_regclass('aegis.' || n || '_' ||"
      " to_char((now() AT TIME ZONE 'UTC')::date + 1, 'YYYYMMDD'))) = 4 THEN 'ok' ELSE 'fail' END,"
      " coalesce('none for tomorrow: ' || string_agg(n, ' ') FILTER (WHERE to_regclass('aegis.'"
      " || n || '_' || to_char((now() AT TIME ZONE 'UTC')::date + 1, 'YYYYMMDD')) IS NULL),"
      " 'made for the next days') FROM unnest('{outbox,inbox,idempotency,metric_1m}'::text[]) n",
      "aegisctl db maintain; is a relay running? it does this every maintain.every_s" },
    { "default partition",
      "SELECT CASE WHEN x.some THEN 'warn' ELSE 'ok' END, CASE WHEN x.some THEN"
      " 'rows came before their partition was made' ELSE 'empty' END FROM (SELECT"
      " EXISTS (SELECT FROM aegis.outbox_default) OR EXISTS (SELECT FROM aegis.inbox_default)"
      " OR EXISTS (SELECT FROM aegis.idempotency_default) AS some) x",
      "nothing is lost; they go when they are old. Keep a relay running" },
    { "outbox",
      "SELECT CASE WHEN oldest_s < 30 THEN 'ok' WHEN oldest_s < 300 THEN 'warn' ELSE 'fail' END,"
      " pending || ' pending, oldest ' || round(oldest_s::numeric, 1) || ' s'"
      " FROM aegis.outbox_lag()",
      "is the relay running and the bus reachable? aegisctl outbox lag shows the subjects" },
    { "dead letters",
      "SELECT CASE WHEN count(*) = 0 THEN 'ok' ELSE 'warn' END, count(*) || ' new'"
      " FROM aegis.dead_letter WHERE state = 'NEW'",
      "aegisctl dlq list, then dlq show, retry or drop" },
    { "stuck cases",
      "SELECT CASE WHEN count(*) = 0 THEN 'ok' ELSE 'warn' END,"
      " count(*) || ' have not moved for 30 minutes'"
      " FROM aegis.ops_case WHERE mode = 'auto' AND status NOT IN ('CLOSED', 'PARKED')"
      " AND updated_at < now() - interval '30 minutes'",
      "aegisctl case list --status shows them; aegisctl case timeline why; a worker of that"
      " state may be down" },
    { "policy",
      "SELECT CASE WHEN count(*) > 0 THEN 'ok' ELSE 'fail' END, coalesce('revision '"
      " || max(revision) || ', loaded ' || to_char(max(loaded_at) AT TIME ZONE 'UTC',"
      " 'YYYY-MM-DD HH24:MI\"Z\"'), 'none is loaded') FROM aegis.gate_policy",
      "start the gate role: it loads gate.policy_file; without a policy nothing is approved" },
    { "templates",
      "SELECT CASE WHEN count(*) > 0 THEN 'ok' ELSE 'fail' END, count(*) || ' in force'"
      " FROM aegis.plan_template WHERE revision = (SELECT max(revision) FROM"
      " aegis.plan_template_set)",
      "start the planner role: no plan is made of a template without" },
    { NULL, NULL, NULL }
};


static void
ask(aegis_doctor_t *d, PGconn *conn, const question_t *q, const char *now)
{
    const char  *params[1] = { now };
    PGresult    *res;
    int          n = strstr(q->sql, "$1") != NULL;

    res = PQexecParams(conn, q->sql, n, NULL, n ? params : NULL, NULL, NULL, 0);
    if (PQresultStatus(res) != PGRES_TUPLES_OK || PQntuples(res) != 1) {
        aegis_doctor_add(d, q->check, "fail", "aegisctl db status; connect as aegis_migrator or"
                         " aegis_reader", "%s",
                         PQresultErrorField(res, PG_DIAG_MESSAGE_PRIMARY) != NULL
                         ? PQresultErrorField(res, PG_DIAG_MESSAGE_PRIMARY)
                         : PQerrorMessage(conn));
    } else {
        aegis_doctor_add(d, q->check, PQgetvalue(res, 0, 0),
                         strcmp(PQgetvalue(res, 0, 0), "ok") == 0 ? NULL : q->remedy,
                         "%s", PQgetvalue(res, 0, 1));
    }
    PQclear(res);
}


/* 1 when the schema is there. */
static int
check_schema(aegis_doctor_t *d, PGconn *conn)
{
    aegis_ctl_sql_t   sql;
    const char       *dir = aegis_ctl_opt(d->ctl, "sql-dir");
    json_t           *status, *row;
    PGresult         *res;
    size_t            i, off = 0;
    int               there;

    res = PQexec(conn, "SELECT to_regclass('aegis.schema_migration') IS NOT NULL");
    there = PQresultStatus(res) == PGRES_TUPLES_OK && PQgetvalue(res, 0, 0)[0] == 't';
    PQclear(res);
    if (!there) {
        aegis_doctor_add(d, "schema", "fail", "aegisctl db migrate", "there is none");
        return 0;
    }
    dir = dir != NULL ? dir : getenv("AEGIS_SQL_DIR");
    if (dir == NULL) {
        aegis_doctor_add(d, "schema", "skip", "give --sql-dir to compare it with the scripts",
                         "is there, not compared");
        return 1;
    }
    if (aegis_ctl_sql_load(dir, &sql) != 0) {
        aegis_doctor_add(d, "schema", "fail", "--sql-dir must name the folder sql/ of Aegis",
                         "%s cannot be read", dir);
        return 1;
    }
    status = aegis_ctl_sql_status(conn, &sql);
    json_array_foreach(status, i, row) {
        off += strcmp(json_string_value(json_object_get(row, "state")), "applied") != 0;
    }
    if (status != NULL && off == 0) {
        aegis_doctor_add(d, "schema", "ok", NULL, "current (%zu scripts)", sql.n);
    } else {
        aegis_doctor_add(d, "schema", "fail", "aegisctl db status says which; aegisctl db migrate",
                         "%zu scripts are not as applied", off);
    }
    json_decref(status);
    aegis_ctl_sql_free(&sql);
    return 1;
}


void
aegis_doctor_database(aegis_doctor_t *d)
{
    const char        *url = aegis_ctl_opt(d->ctl, "database");
    const question_t  *q;
    PGconn            *conn;
    struct timespec    ts;
    char               why[512], now[32];

    url = url != NULL ? url : getenv("DATABASE_URL");
    if (url == NULL || url[0] == '\0') {
        aegis_doctor_add(d, "database", "skip", "set DATABASE_URL or give --database",
                         "no address is known");
        return;
    }
    conn = aegis_ctl_pg_open(url, why, sizeof(why));
    if (conn == NULL) {
        aegis_doctor_add(d, "database", "fail", "is PostgreSQL running, and are address, user and"
                         " password in DATABASE_URL right? quick start: make up", "%s", why);
        return;
    }
    aegis_doctor_add(d, "database", PQserverVersion(conn) >= 150000 ? "ok" : "fail",
                     PQserverVersion(conn) >= 150000 ? NULL : "PostgreSQL 15 or newer is needed",
                     "PostgreSQL %d.%d", PQserverVersion(conn) / 10000,
                     PQserverVersion(conn) % 10000);
    if (check_schema(d, conn)) {
        for (q = questions; q->check != NULL; q++) {
            clock_gettime(CLOCK_REALTIME, &ts);
            snprintf(now, sizeof(now), "%lld.%03ld", (long long) ts.tv_sec, ts.tv_nsec / 1000000);
            ask(d, conn, q, now);
        }
    }
    PQfinish(conn);
}
