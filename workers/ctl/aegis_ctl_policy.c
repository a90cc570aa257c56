/*
 * aegis_ctl_policy.c: `aegisctl policy`: a policy's file checked as the gate role
 * would, and tried on decisions that were made. A trial judges with the core what
 * was judged then: the same plan, at the same time, after the same automatic
 * approvals; nothing is written.
 */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "aegis_ctl.h"
#include "aegis_json.h"
#include "aegis_policy.h"
#include "aegis_policy_file.h"
#include "aegis_time.h"

#define TRIAL_MAX  100000

/* The rates are counted over what was decided, not over what would have been. */
static const char  trial_sql[] =
    "SELECT d.decision_id, d.case_id, d.tenant, d.verdict, d.rule, d.reason,"
    " to_char(d.created_at AT TIME ZONE 'UTC', 'YYYY-MM-DD\"T\"HH24:MI:SS\"Z\"') AS at,"
    " p.plan, c.title, json_build_object('kind', c.kind, 'tenant', c.tenant,"
    " 'labels', c.labels) AS \"case\","
    " (SELECT coalesce(json_object_agg(r.rule ->> 'id', (SELECT count(*)"
    "   FROM aegis.gate_decision x WHERE x.tenant = d.tenant AND x.verdict = 'approved'"
    "    AND x.source = 'policy' AND x.created_at < d.created_at AND x.created_at >"
    "     d.created_at - make_interval(secs => (r.rule ->> 'window_s')::int)"
    "    AND (coalesce(r.rule ->> 'per', 'tenant') = 'tenant' OR x.service = d.service))),"
    "   '{}') FROM json_array_elements($1::json) AS r(rule)"
    "  WHERE r.rule ->> 'kind' = 'rate') AS rates"
    " FROM aegis.gate_decision d"
    " JOIN aegis.plan_proposed p ON p.tenant = d.tenant AND p.plan_id = d.plan_id"
    " JOIN aegis.ops_case c ON c.tenant = d.tenant AND c.case_id = d.case_id"
    " WHERE d.source = 'policy' AND p.complete"
    "  AND ($2::timestamptz IS NULL OR d.created_at >= $2)"
    "  AND ($3::text IS NULL OR d.tenant = $3)"
    " ORDER BY d.created_at DESC LIMIT $4::int";


/* Every complaint about a file. NULL: it is a policy, and *ret_policy is it. */
static json_t *
problems_of(const char *path, json_t **ret_policy)
{
    aegis_error_t   err = AEGIS_ERROR_INIT;
    json_t         *rows, *e;
    size_t          i;

    if (aegis_policy_file(path, ret_policy, &err) == AEGIS_E_OK) {
        return NULL;
    }
    rows = json_array();
    if (json_array_size(err.errors) == 0) {
        json_array_append_new(rows, json_pack("{s:s, s:s}", "pointer", "", "detail",
                                              err.detail));
    }
    json_array_foreach(err.errors, i, e) {
        json_array_append(rows, e);
    }
    aegis_error_clear(&err);
    return rows;
}


static int
show_problems(aegis_ctl_t *ctl, json_t *problems)
{
    static const aegis_ctl_column_t  columns[] = {
        { "pointer", "WHERE" }, { "detail", "PROBLEM" }, { NULL, NULL }
    };

    aegis_ctl_rows(ctl, problems, columns, "");
    json_decref(problems);
    return AEGIS_CTL_FAILED;
}


/* A rule's own members as one line. */
static void
rule_text(const json_t *rule, char *out, size_t size)
{
    const char  *name;
    json_t      *value;
    char         cell[256];
    size_t       n;

    out[0] = '\0';
    json_object_foreach((json_t *) rule, name, value) {
        if (strcmp(name, "id") != 0 && strcmp(name, "kind") != 0 && strcmp(name, "when") != 0) {
            n = strlen(out);
            snprintf(out + n, size - n, "%s%s %s", n ? ", " : "", name,
                     aegis_ctl_cell(rule, name, cell, sizeof(cell)));
        }
    }
}


static int
policy_check(aegis_ctl_t *ctl)
{
    static const aegis_ctl_column_t  columns[] = {
        { "id", "RULE" }, { "kind", "KIND" }, { "when", "WHEN" }, { "says", "SAYS" },
        { NULL, NULL }
    };
    json_t      *policy, *problems, *rows, *row, *rule;
    const char  *path = ctl->n_args > 0 ? ctl->args[0] : "conf/policy.yaml";
    size_t       i;
    char         text[768];

    problems = problems_of(path, &policy);
    if (problems != NULL) {
        return show_problems(ctl, problems);
    }
    rows = json_array();
    json_array_foreach(json_object_get(policy, "rules"), i, rule) {
        rule_text(rule, text, sizeof(text));
        row = json_pack("{s:O, s:O, s:s}", "id", json_object_get(rule, "id"), "kind",
                        json_object_get(rule, "kind"), "says", text);
        if (json_object_get(rule, "when") != NULL) {
            json_object_set(row, "when", json_object_get(rule, "when"));
        }
        json_array_append_new(rows, row);
    }
    if (ctl->json) {
        aegis_ctl_json(policy);
    } else {
        printf("%s is in order\n\n", path);
        aegis_ctl_rows(ctl, rows, columns, "no rules: whatever is complete is approved");
    }
    json_decref(rows);
    json_decref(policy);
    return AEGIS_CTL_OK;
}


/* One decision under the new policy: what it would be. */
static int
try_one(const json_t *policy, json_t *row)
{
    aegis_policy_facts_t   facts;
    aegis_policy_result_t  v;
    aegis_error_t          err = AEGIS_ERROR_INIT;
    const char            *at = aegis_json_str(row, "at");
    int                    differs;

    memset(&facts, 0, sizeof(facts));
    facts.c = json_object_get(row, "case");
    facts.plan = json_object_get(row, "plan");
    facts.rates = json_object_get(row, "rates");
    if (!aegis_time_parse(aegis_view(at), &facts.now)
        || aegis_policy_eval(policy, &facts, &v, &err) != AEGIS_E_OK)
    {
        aegis_error_clear(&err);
        return -1;
    }
    differs = strcmp(aegis_json_str(row, "verdict"), aegis_gate_verdict(v.verdict)) != 0
              || strcmp(aegis_json_str(row, "rule"), v.rule) != 0;
    json_object_set_new(row, "new_verdict", json_string(aegis_gate_verdict(v.verdict)));
    json_object_set_new(row, "new_rule", json_string(v.rule));
    json_object_set_new(row, "new_reason", json_string(v.reason));
    json_object_set_new(row, "differs", json_boolean(differs));
    aegis_policy_result_clear(&v);
    return differs;
}


/* Judge all; rows that do not differ are dropped unless all are wanted. The number
 * that differ, or -1. */
static int
try_all(const json_t *policy, json_t *rows, int all)
{
    json_t  *row;
    size_t   i;
    int      d, differ = 0;

    for (i = 0; i < json_array_size(rows); /* void */ ) {
        row = json_array_get(rows, i);
        d = try_one(policy, row);
        if (d < 0) {
            return -1;
        }
        differ += d;
        json_object_del(row, "plan");
        json_object_del(row, "case");
        json_object_del(row, "rates");
        if (d || all) {
            i++;
        } else {
            json_array_remove(rows, i);
        }
    }
    return differ;
}


static json_t *
stored_decisions(aegis_ctl_t *ctl, const json_t *policy, int64_t limit, int *rc)
{
    const char  *params[4];
    PGresult    *res;
    PGconn      *conn;
    json_t      *rows = NULL;
    char        *rules, n[24];

    conn = aegis_ctl_pg(ctl, rc);
    if (conn == NULL) {
        return NULL;
    }
    *rc = AEGIS_CTL_FAILED;
    rules = json_dumps(json_object_get(policy, "rules"), JSON_COMPACT);
    snprintf(n, sizeof(n), "%lld", (long long) limit);
    params[0] = rules;
    params[1] = aegis_ctl_opt(ctl, "since");
    params[2] = aegis_ctl_opt(ctl, "tenant");
    params[3] = n;
    /* a worker's credential sees nothing until it says for whom it acts */
    res = aegis_ctl_pg_query(conn, "SELECT set_config('aegis.tenants', '*', false)", 0, NULL);
    PQclear(res);
    res = res != NULL ? aegis_ctl_pg_query(conn, trial_sql, 4, params) : NULL;
    if (res != NULL) {
        rows = aegis_ctl_pg_rows(res);
        PQclear(res);
        *rc = AEGIS_CTL_OK;
    }
    PQfinish(conn);
    free(rules);
    return rows;
}


static int
policy_test(aegis_ctl_t *ctl)
{
    static const aegis_ctl_column_t  columns[] = {
        { "at", "TIME" }, { "case_id", "CASE" }, { "verdict", "WAS" }, { "rule", "BY" },
        { "new_verdict", "WOULD BE" }, { "new_rule", "BY" }, { "new_reason", "BECAUSE" },
        { NULL, NULL }
    };
    json_t      *policy, *problems, *rows, *out;
    const char  *path = aegis_ctl_opt(ctl, "policy");
    int64_t      limit = aegis_ctl_opt_int(ctl, "limit", 1000, 1, TRIAL_MAX);
    size_t       total;
    int          rc, differ;

    if (path == NULL || limit < 0) {
        aegis_ctl_say("usage: aegisctl policy test --policy FILE");
        return AEGIS_CTL_USAGE;
    }
    problems = problems_of(path, &policy);
    if (problems != NULL) {
        return show_problems(ctl, problems);
    }
    rows = stored_decisions(ctl, policy, limit, &rc);
    total = json_array_size(rows);
    differ = rows == NULL ? -1 : try_all(policy, rows, aegis_ctl_opt(ctl, "all") != NULL);
    json_decref(policy);
    if (differ < 0) {
        json_decref(rows);
        return rc != AEGIS_CTL_OK ? rc : AEGIS_CTL_FAILED;
    }
    if (ctl->json) {
        out = json_pack("{s:I, s:i, s:O}", "decisions", (json_int_t) total, "differ", differ,
                        "items", rows);
        aegis_ctl_json(out);
        json_decref(out);
    } else {
        if (json_array_size(rows) > 0) {
            aegis_ctl_rows(ctl, rows, columns, "");
            printf("\n");
        }
        printf("%d of %zu decisions would differ\n", differ, total);
    }
    json_decref(rows);
    return differ > 0 && aegis_ctl_opt(ctl, "strict") != NULL ? AEGIS_CTL_FAILED : AEGIS_CTL_OK;
}


static const aegis_ctl_option_t  test_options[] = {
    { "policy", 'p', "FILE", "the policy to try" },
    { "since", 0, "TIME", "decisions from this RFC 3339 time on" },
    { "tenant", 0, "NAME", "of one tenant only" },
    { "limit", 0, "N", "the newest N decisions, 1000" },
    { "all", 'a', NULL, "also those that would be the same" },
    { "strict", 0, NULL, "exit code 1 when one would differ" },
    { NULL, 0, NULL, NULL }
};

const aegis_ctl_command_t  aegis_ctl_policy_commands[] = {
    { "check", "[FILE]", 0, 1, "check a policy's file, offline",
      "The default is conf/policy.yaml. It is read as the gate role reads it, with the time\n"
      "zones of this machine's tzdata (TZDIR names another folder).", NULL, policy_check },
    { "test", "--policy FILE", 0, 0, "what a policy would have decided differently",
      "Judges stored decisions again: the same plans at the same times. Rates count what\n"
      "was decided then.", test_options, policy_test },
    { NULL, NULL, 0, 0, NULL, NULL, NULL, NULL }
};
