/*
 * aegis_ctl_audit.c: `aegisctl audit`: is every row of timelines and decisions what
 * was sealed, and is the chain whole? Only reads, in one snapshot.
 * Invariant: nothing here asks a function of the schema. What a hash is over is
 * said by the queries below, and roots are computed here: who could change the rows
 * could have changed the functions too.
 */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "aegis_ctl.h"
#include "aegis_hash.h"

#define AT(column)  "to_char(" column " AT TIME ZONE 'UTC', 'YYYY-MM-DD\"T\"HH24:MI:SS.US')"

/* The tables: each row's place, and what its hash is over. */
static const struct {
    const char  *tbl;
    const char  *name;
    const char  *key;
    const char  *columns;
} audit_tables[] = {
    { "timeline", "case_timeline",
      "x.case_id || ':' || to_char(x.version, 'FM0000000000') || ':' || to_char(x.seq, 'FM0000000000')",
      "x.version, x.seq, x.kind, x.event, x.from_status, x.to_status, x.rule, x.actor, x.principal,"
      " x.reason, x.correlation_id, x.trace_id, x.idem_key, x.meta::text" },
    { "decision", "gate_decision", "x.case_id || ':' || x.decision_id",
      "x.decision_id, x.plan_id, x.plan_hash, x.for_version, x.verdict, x.rule, x.reason,"
      " x.checks::text, x.policy_hash, x.created_by" },
    { "approval", "plan_approved", "x.case_id || ':' || x.decision_id || ':' || x.plan_id",
      "x.plan_id, x.decision_id, x.plan_hash, " AT("x.not_before") ", " AT("x.not_after") },
    { "vote", "gate_vote",
      "x.case_id || ':' || x.request_id || ':' || x.principal || ':' || x.verdict",
      "x.request_id, x.principal, x.verdict, x.counts::text, x.comment" }
};

#define AUDIT_TABLES  (sizeof(audit_tables) / sizeof(audit_tables[0]))

/* Segments with what their root is over; ordered is 0 when a leaf stands before
 * one that it should follow, in the segment or in the table's one before. */
static const char  audit_chain[] =
    "SELECT s.tenant, s.seq, s.tbl, s.n, encode(s.root, 'hex') AS root, encode(s.prev, 'hex') AS prev,"
    " json_build_array('aegis-audit-1', s.tenant, s.seq, s.tbl, s.n, s.last_xid, s.last_key,"
    "   encode(s.rows_hash, 'hex'), encode(s.prev, 'hex'), " AT("s.sealed_at") ")::text AS content,"
    " l.seq IS NOT NULL AS leaves,"
    " coalesce(sha256(l.hashes) = s.rows_hash AND cardinality(l.keys) = s.n"
    "   AND length(l.hashes) = 32 * s.n, false) AS whole,"
    " s.n = 0 OR l.seq IS NULL OR l.keys[s.n] = s.last_xid || '/' || s.last_key AS ends"
    " FROM aegis.audit_segment s LEFT JOIN aegis.audit_leaf l USING (tenant, seq)"
    " WHERE $1::text IS NULL OR s.tenant = $1 ORDER BY s.tenant COLLATE \"C\", s.seq";

/* Rows against leaves. A row behind the last seal of its table is not sealed yet; one
 * at a place that was sealed and that no leaf has was put in later. */
static const char  audit_rows[] =
    "WITH top AS (SELECT max(s.last_xid) AS xid FROM aegis.audit_segment s WHERE s.tbl = '%1$s'),"
    " gone AS (SELECT s.tenant, max(s.last_xid) AS xid FROM aegis.audit_segment s"
    "   WHERE s.tbl = 'retire:%1$s' GROUP BY 1),"
    " leaf AS (SELECT l.tenant, l.seq, u.place, substr(l.hashes, (u.i::int - 1) * 32 + 1, 32) AS hash"
    "   FROM aegis.audit_segment s JOIN aegis.audit_leaf l USING (tenant, seq),"
    "   unnest(l.keys) WITH ORDINALITY AS u(place, i)"
    "   WHERE s.tbl = '%1$s' AND ($1::text IS NULL OR s.tenant = $1)),"
    " has AS (SELECT x.tenant, x.audit_xid AS xid, x.audit_xid || '/' || %2$s AS place,"
    "   sha256(convert_to(json_build_array(x.tenant, x.case_id, %3$s, " AT("x.created_at")
    ")::text, 'UTF8')) AS hash"
    "   FROM aegis.%4$s x WHERE $1::text IS NULL OR x.tenant = $1),"
    " bad AS (SELECT coalesce(l.tenant, h.tenant) AS tenant, l.seq, coalesce(l.place, h.place) AS place,"
    "   CASE WHEN l.place IS NULL THEN 'inserted' WHEN h.place IS NULL THEN 'missing'"
    "        ELSE 'changed' END AS what"
    "   FROM leaf l FULL JOIN has h ON h.tenant = l.tenant AND h.place = l.place"
    "   LEFT JOIN gone g ON g.tenant = l.tenant"
    "   WHERE l.hash IS DISTINCT FROM h.hash"
    "   AND NOT (l.place IS NULL AND (h.xid > coalesce((SELECT xid FROM top), -1)"
    "        OR EXISTS (SELECT FROM aegis.audit_cursor c WHERE c.tbl = '%1$s' AND c.xid = h.xid"
    "            AND c.key <> '~' AND split_part(h.place, '/', 2) COLLATE \"C\" > c.key)))"
    "   AND NOT (h.place IS NULL AND g.xid IS NOT NULL AND split_part(l.place, '/', 1)::bigint <= g.xid))"
    " SELECT b.tenant, b.seq, split_part(b.place, '/', 2) AS key, CASE WHEN b.what <> 'changed'"
    "   AND count(*) OVER (PARTITION BY b.tenant, split_part(b.place, '/', 2)) > 1 THEN 'reordered'"
    "   ELSE b.what END AS what FROM bad b ORDER BY 1, 2, 3, 4 LIMIT 1000";

/* Sealed or not: the versions of a case are 1, 2, 3… up to the case's own, its
 * notes 1, 2, 3…; rows that were retired may be missing at the beginning. */
static const char  audit_cases[] =
    "SELECT coalesce(c.tenant, t.tenant) AS tenant, coalesce(c.case_id, t.case_id)::text AS key,"
    " CASE WHEN c.case_id IS NULL THEN 'its case is missing'"
    "  WHEN t.last IS DISTINCT FROM c.version THEN 'its timeline ends at version '"
    "       || coalesce(t.last, 0) || ', the case is at ' || c.version"
    "  WHEN t.notes <> c.notes AND g.xid IS NULL THEN 'its timeline has ' || t.notes || ' "
    "notes of ' || c.notes"
    "  ELSE 'its timeline has ' || t.n || ' of ' || c.version || ' versions' END AS what"
    " FROM (SELECT x.* FROM aegis.ops_case x WHERE $1::text IS NULL OR x.tenant = $1) c"
    " FULL JOIN (SELECT x.tenant, x.case_id, count(*) FILTER (WHERE x.seq = 0) AS n,"
    "    min(x.version) AS first, max(x.version) AS last, count(*) FILTER (WHERE x.seq > 0) AS notes"
    "    FROM aegis.case_timeline x WHERE $1::text IS NULL OR x.tenant = $1 GROUP BY 1, 2) t"
    "   ON t.tenant = c.tenant AND t.case_id = c.case_id"
    " LEFT JOIN (SELECT s.tenant, max(s.last_xid) AS xid FROM aegis.audit_segment s"
    "    WHERE s.tbl = 'retire:timeline' GROUP BY 1) g ON g.tenant = coalesce(c.tenant, t.tenant)"
    " WHERE (c.case_id IS NULL AND g.xid IS NULL) OR (t.case_id IS NULL AND g.xid IS NULL)"
    "  OR t.last <> c.version OR (t.notes <> c.notes AND g.xid IS NULL)"
    "  OR t.n <> c.version - CASE WHEN g.xid IS NULL THEN 0 ELSE t.first - 1 END LIMIT 1000";

static const char  audit_state[] =
    "SELECT 'the chain of ' || c.tbl || ' ends before the place that the sealer had come to' AS what"
    " FROM aegis.audit_cursor c LEFT JOIN (SELECT s.tbl, max(s.last_xid) AS xid FROM aegis.audit_segment s"
    "   GROUP BY 1) s ON s.tbl = c.tbl WHERE c.xid > coalesce(s.xid, 0)"
    " UNION ALL SELECT 'the table ' || t.name || ' can be changed: its trigger ' || g.name || ' is '"
    "   || CASE WHEN p.oid IS NULL THEN 'missing' ELSE 'switched off' END"
    " FROM unnest(ARRAY['case_timeline', 'gate_decision', 'plan_approved', 'gate_vote', 'audit_segment',"
    "   'audit_leaf']) AS t(name) CROSS JOIN unnest(ARRAY['append_only', 'append_only_truncate']) AS g(name)"
    " LEFT JOIN pg_trigger p ON p.tgrelid = to_regclass('aegis.' || t.name) AND p.tgname = g.name"
    " WHERE p.oid IS NULL OR p.tgenabled NOT IN ('O', 'A')";

typedef struct {
    json_t      *findings;
    json_int_t   segments;
    json_int_t   rows;
} audit_t;


static void
audit_find(audit_t *a, const char *tenant, const char *where, const char *what)
{
    json_array_append_new(a->findings, json_pack("{s:s, s:s, s:s}", "tenant", tenant,
                                                 "where", where, "what", what));
}


/* The hash of one string, as hexadecimal. */
static void
audit_hash(const char *text, char out[2 * AEGIS_SHA256_LEN + 1])
{
    aegis_str_t    part = { strlen(text), text };
    unsigned char  sum[AEGIS_SHA256_LEN];

    aegis_sha256(&part, 1, sum);
    aegis_hex(sum, AEGIS_SHA256_LEN, out);
}


/* The roots that were kept elsewhere, lines "<tenant> <seq> <root>", are in the chain. */
static int
audit_expect(audit_t *a, const PGresult *chain, const char *path)
{
    int      i, n = PQntuples(chain);
    char    *text, *line, *save, tenant[256], seq[32], root[80], where[320];
    size_t   len;

    text = aegis_ctl_read_file(path, &len);
    if (text == NULL) {
        aegis_ctl_say("%s cannot be read", path);
        return 0;
    }
    for (line = strtok_r(text, "\n", &save); line != NULL; line = strtok_r(NULL, "\n", &save)) {
        if (line[0] == '#' || line[0] == '\0') {
            continue;
        }
        if (sscanf(line, "%255s %31s %79s", tenant, seq, root) != 3) {
            aegis_ctl_say("%s: \"%s\" is not <tenant> <segment> <root>", path, line);
            free(text);
            return 0;
        }
        for (i = 0; i < n && (strcmp(PQgetvalue(chain, i, 0), tenant) != 0
                              || strcmp(PQgetvalue(chain, i, 1), seq) != 0); i++)
        {
            /* void */
        }
        if (i == n || strcmp(PQgetvalue(chain, i, 4), root) != 0) {
            snprintf(where, sizeof(where), "segment %s", seq);
            audit_find(a, tenant, where, i == n ? "missing: its root was kept elsewhere"
                       : "its root is not the one that was kept elsewhere");
        }
    }
    free(text);
    return 1;
}


static void
audit_segments(audit_t *a, const PGresult *chain)
{
    int          i;
    char         where[64], what[160], hash[2 * AEGIS_SHA256_LEN + 1];
    int64_t      seq, expected = 1;
    const char  *tenant = "", *last = "";

    for (i = 0; i < PQntuples(chain); i++) {
        if (strcmp(tenant, PQgetvalue(chain, i, 0)) != 0) {
            tenant = PQgetvalue(chain, i, 0);
            expected = 1;
            last = "0000000000000000000000000000000000000000000000000000000000000000";
        }
        seq = strtoll(PQgetvalue(chain, i, 1), NULL, 10);
        snprintf(where, sizeof(where), "segment %lld", (long long) seq);
        a->segments++;
        a->rows += atoi(PQgetvalue(chain, i, 3));

        if (seq != expected) {
            snprintf(what, sizeof(what), "the segments from %lld to %lld are missing before it",
                     (long long) expected, (long long) seq - 1);
            audit_find(a, tenant, where, what);
        } else if (strcmp(PQgetvalue(chain, i, 5), last) != 0) {
            audit_find(a, tenant, where, "does not follow the one before it");
        }
        audit_hash(PQgetvalue(chain, i, 6), hash);
        if (strcmp(hash, PQgetvalue(chain, i, 4)) != 0) {
            audit_find(a, tenant, where, "changed: its root is not that of its content");
        }
        if (PQgetvalue(chain, i, 7)[0] != 't') {
            audit_find(a, tenant, where, "its list of rows is missing");
        } else if (PQgetvalue(chain, i, 8)[0] != 't' || PQgetvalue(chain, i, 9)[0] != 't') {
            audit_find(a, tenant, where, "its list of rows was changed or put into another order");
        }
        last = PQgetvalue(chain, i, 4);
        expected = seq + 1;
    }
}


static int
audit_tables_check(audit_t *a, PGconn *conn, const char *const *params)
{
    int        i;
    char      *sql, where[512];
    size_t     k;
    PGresult  *res;

    for (k = 0; k < AUDIT_TABLES; k++) {
        if (asprintf(&sql, audit_rows, audit_tables[k].tbl, audit_tables[k].key,
                     audit_tables[k].columns, audit_tables[k].name) < 0)
        {
            return 0;
        }
        res = aegis_ctl_pg_query(conn, sql, 1, params);
        free(sql);
        if (res == NULL) {
            return 0;
        }
        for (i = 0; i < PQntuples(res); i++) {
            snprintf(where, sizeof(where), "%s %s%s%s", audit_tables[k].tbl,
                     PQgetvalue(res, i, 2), PQgetisnull(res, i, 1) ? "" : " of segment ",
                     PQgetvalue(res, i, 1));
            audit_find(a, PQgetvalue(res, i, 0), where, PQgetvalue(res, i, 3));
        }
        PQclear(res);
    }

    res = aegis_ctl_pg_query(conn, audit_cases, 1, params);
    if (res == NULL) {
        return 0;
    }
    for (i = 0; i < PQntuples(res); i++) {
        snprintf(where, sizeof(where), "case %s", PQgetvalue(res, i, 1));
        audit_find(a, PQgetvalue(res, i, 0), where, PQgetvalue(res, i, 2));
    }
    PQclear(res);

    res = aegis_ctl_pg_query(conn, audit_state, 0, NULL);
    if (res == NULL) {
        return 0;
    }
    for (i = 0; i < PQntuples(res); i++) {
        audit_find(a, "*", "audit", PQgetvalue(res, i, 0));
    }
    PQclear(res);
    return 1;
}


static int
audit_verify(aegis_ctl_t *ctl)
{
    static const aegis_ctl_column_t  columns[] = {
        { "tenant", "TENANT" }, { "where", "WHERE" }, { "what", "WHAT" }, { NULL, NULL }
    };
    const char  *params[1] = { aegis_ctl_opt(ctl, "tenant") };
    const char  *roots = aegis_ctl_opt(ctl, "roots");
    audit_t      a = { json_array(), 0, 0 };
    PGconn      *conn;
    PGresult    *chain;
    json_t      *all;
    int          rc;

    conn = aegis_ctl_pg(ctl, &rc);
    if (conn == NULL) {
        json_decref(a.findings);
        return rc;
    }
    /* one snapshot, and names that nobody's schema can stand before */
    PQclear(PQexec(conn, "BEGIN ISOLATION LEVEL REPEATABLE READ READ ONLY;"
                         " SET LOCAL search_path = pg_catalog; SET LOCAL aegis.tenants = '*'"));
    chain = aegis_ctl_pg_query(conn, audit_chain, 1, params);
    rc = AEGIS_CTL_FAILED;
    if (chain != NULL) {
        audit_segments(&a, chain);
        if ((roots == NULL || audit_expect(&a, chain, roots)) && audit_tables_check(&a, conn, params)) {
            rc = AEGIS_CTL_OK;
        }
    }
    PQclear(chain);
    PQfinish(conn);

    if (rc == AEGIS_CTL_OK) {
        all = json_pack("{s:b, s:I, s:I, s:O}", "ok", json_array_size(a.findings) == 0,
                        "segments", a.segments, "rows", a.rows, "findings", a.findings);
        if (ctl->json) {
            aegis_ctl_json(all);
        } else {
            aegis_ctl_rows(ctl, a.findings, columns, "");
            printf("%lld segments over %lld rows: %s\n", (long long) a.segments, (long long) a.rows,
                   json_array_size(a.findings) == 0 ? "nothing was changed" : "NOT as they were sealed");
        }
        json_decref(all);
        rc = json_array_size(a.findings) == 0 ? AEGIS_CTL_OK : AEGIS_CTL_FAILED;
    }
    json_decref(a.findings);
    return rc;
}


static int
audit_root(aegis_ctl_t *ctl)
{
    const char  *params[1] = { aegis_ctl_opt(ctl, "tenant") };
    json_t      *rows, *row;
    PGconn      *conn;
    PGresult    *res;
    size_t       i;
    int          rc;

    conn = aegis_ctl_pg(ctl, &rc);
    if (conn == NULL) {
        return rc;
    }
    res = aegis_ctl_pg_query(conn, "SELECT DISTINCT ON (s.tenant) s.tenant, s.seq,"
        " encode(s.root, 'hex') AS root, s.sealed_at::text AS sealed_at FROM aegis.audit_segment s"
        " WHERE $1::text IS NULL OR s.tenant = $1 ORDER BY s.tenant, s.seq DESC", 1, params);
    rows = res != NULL ? aegis_ctl_pg_rows(res) : NULL;
    PQclear(res);
    PQfinish(conn);
    if (rows == NULL) {
        return AEGIS_CTL_FAILED;
    }
    if (ctl->json) {
        aegis_ctl_json(rows);
    } else {
        /* as --roots takes it */
        json_array_foreach(rows, i, row) {
            printf("%s %lld %s\n", json_string_value(json_object_get(row, "tenant")),
                   (long long) json_integer_value(json_object_get(row, "seq")),
                   json_string_value(json_object_get(row, "root")));
        }
    }
    json_decref(rows);
    return AEGIS_CTL_OK;
}


static const aegis_ctl_option_t  verify_options[] = {
    { "tenant", 't', "TENANT", "this tenant's alone" },
    { "roots",  0,   "FILE",   "what `aegisctl audit root` said before, kept elsewhere" },
    { NULL, 0, NULL, NULL }
};

static const aegis_ctl_option_t  root_options[] = {
    { "tenant", 't', "TENANT", "this tenant's alone" },
    { NULL, 0, NULL, NULL }
};

const aegis_ctl_command_t  aegis_ctl_audit_commands[] = {
    { "verify", "", 0, 0, "is every row what was sealed, and the chain whole?",
      "Exit code 1 when a row was changed, is missing, was put in or moved, when a\n"
      "segment is, or when a table is not append-only any more.",
      verify_options, audit_verify },
    { "root", "", 0, 0, "the newest root of each tenant's chain, to be kept elsewhere", NULL,
      root_options, audit_root },
    { NULL, NULL, 0, 0, NULL, NULL, NULL, NULL }
};
