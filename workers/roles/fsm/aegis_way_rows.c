/*
 * aegis_way_rows.c: the ways of a batch as arrays in PostgreSQL's binary format.
 * Invariant: every case adds one element to each column of cases and of artefacts, one
 * that it does not have being NULL, so that a case's number is its place everywhere.
 */
#include "aegis_way_rows.h"

#include <stdlib.h>
#include <string.h>

#include "aegis_json.h"

enum { AEGIS_W_TEXT = AEGIS_OID_TEXT, AEGIS_W_JSON = AEGIS_OID_JSON,
       AEGIS_W_INT4 = AEGIS_OID_INT4, AEGIS_W_BOOL = AEGIS_OID_BOOL,
       AEGIS_W_FLOAT8 = AEGIS_OID_FLOAT8 };

static const int  aegis_way_oids[] = {
#define AEGIS_W(name, type)  AEGIS_W_##type,
    AEGIS_WAY_COLUMNS
#undef AEGIS_W
};

static __thread aegis_way_rows_t  *aegis_way_rows;

aegis_way_rows_t *
aegis_way_rows_begin(void)
{
    int  i;

    if (aegis_way_rows == NULL) {
        aegis_way_rows = calloc(1, sizeof(aegis_way_rows_t));
    }
    for (i = 0; aegis_way_rows && i < AEGIS_WAY_N_COLUMNS; i++) {
        aegis_array_begin(&aegis_way_rows->a[i], aegis_way_oids[i]);
    }

    return aegis_way_rows;
}

static void
aegis_way_rows_text(aegis_way_rows_t *rows, int column, const char *text)
{
    aegis_array_bytes(&rows->a[column], text, strlen(text));
}

static void
aegis_way_rows_str(aegis_way_rows_t *rows, int column, aegis_str_t s)
{
    aegis_array_bytes(&rows->a[column], s.data ? s.data : "", s.len);
}

static void
aegis_way_rows_json(aegis_way_rows_t *rows, int column, const json_t *json)
{
    rows->text.len = 0;
    rows->text.failed = 0;
    aegis_json_add(&rows->text, json);
    if (rows->text.failed) {
        rows->a[column].failed = 1;
        return;
    }
    aegis_array_bytes(&rows->a[column], rows->text.data, rows->text.len);
}

/* A value as its column has it; NULL: it is absent. */
static void
aegis_way_rows_value(aegis_way_rows_t *rows, int column, const json_t *v)
{
    aegis_array_t  *a;

    a = &rows->a[column];
    if (v == NULL || json_is_null(v)) {
        aegis_array_null(a);
        return;
    }

    switch (aegis_way_oids[column]) {

    case AEGIS_W_JSON:
        if (column == AEGIS_W_output) { /* what the executor has made is text already */
            aegis_array_bytes(a, json_string_value(v), json_string_length(v));
        } else {
            aegis_way_rows_json(rows, column, v);
        }
        break;

    case AEGIS_W_INT4:
        aegis_array_int4(a, (int) json_integer_value(v));
        break;

    case AEGIS_W_BOOL:
        aegis_array_truth(a, json_is_true(v));
        break;

    case AEGIS_W_FLOAT8:
        aegis_array_real(a, json_number_value(v));
        break;

    default:
        aegis_array_bytes(a, json_string_value(v), json_string_length(v));
        break;
    }
}

/* Columns from first on out of the members of row. */
static void
aegis_way_rows_members(aegis_way_rows_t *rows, int first, const json_t *row,
    const char *const *names)
{
    int  i;

    for (i = 0; names[i]; i++) {
        aegis_way_rows_value(rows, first + i, json_object_get(row, names[i]));
    }
}

static void
aegis_way_rows_moves(aegis_way_rows_t *rows, const aegis_way_t *k, int of)
{
    size_t                   i, s;
    json_t                  *said;
    const aegis_way_move_t  *m;

    for (i = 0; i < k->n_moves; i++) {
        m = &k->moves[i];
        aegis_array_int4(&rows->a[AEGIS_W_of], of);
        aegis_way_rows_text(rows, AEGIS_W_event, aegis_event_name(m->event));
        aegis_way_rows_text(rows, AEGIS_W_was, aegis_state_name(m->from));
        aegis_way_rows_text(rows, AEGIS_W_actor, aegis_json_str(m->move, "actor"));
        aegis_way_rows_text(rows, AEGIS_W_reason, aegis_json_str(m->move, "reason"));
        aegis_way_rows_text(rows, AEGIS_W_correlation, aegis_json_str(m->move, "correlation_id"));
        aegis_way_rows_value(rows, AEGIS_W_key, m->key);
        aegis_way_rows_value(rows, AEGIS_W_meta, json_object_get(m->move, "meta"));

        json_array_foreach(m->said, s, said) {
            aegis_array_int4(&rows->a[AEGIS_W_move], rows->a[AEGIS_W_of].n);
            aegis_way_rows_value(rows, AEGIS_W_msg_id, json_object_get(said, "key"));
            aegis_way_rows_text(rows, AEGIS_W_subject, "evt.exec.step_result.v1");
            aegis_way_rows_value(rows, AEGIS_W_data, json_object_get(said, "data"));
        }
        if (m->subject) {
            aegis_array_int4(&rows->a[AEGIS_W_move], rows->a[AEGIS_W_of].n);
            aegis_way_rows_value(rows, AEGIS_W_msg_id, m->key);
            aegis_way_rows_text(rows, AEGIS_W_subject, m->subject);
            aegis_way_rows_value(rows, AEGIS_W_data, m->data);
        }
    }
}

static void
aegis_way_rows_steps(aegis_way_rows_t *rows, const json_t *steps, int of)
{
    size_t   i;
    json_t  *step;

    static const char *const  names[] = { "phase", "step_no", "attempt", "action", "state",
        "retry_safe", "token", "exit_code", "error", "final", "output", "result", NULL };

    json_array_foreach((json_t *) steps, i, step) {
        aegis_array_int4(&rows->a[AEGIS_W_step_of], of);
        aegis_way_rows_members(rows, AEGIS_W_phase, step, names);
    }
}

/* For gate_check(): what was counted, and of which service. */
static void
aegis_way_rows_counted(aegis_way_rows_t *rows, const json_t *doc)
{
    json_t  *counted, *all;

    counted = json_object_get(doc, "counted");
    if (counted == NULL) {
        aegis_array_null(&rows->a[AEGIS_W_counted]);
        return;
    }

    all = json_pack("{s:O, s:{s:O*}}", "counted", counted, "artefact", "service",
                    json_object_get(json_object_get(doc, "decision"), "service"));
    aegis_way_rows_json(rows, AEGIS_W_counted, all);
    json_decref(all);
}

void
aegis_way_rows_add(aegis_way_rows_t *rows, const aegis_way_t *k)
{
    int      n;
    json_t  *links;

    static const char *const  guards[] = { "complete", "verdict", "not_before", "not_after",
        "passed", NULL };
    static const char *const  envelope[] = { "event_id", "for_version", "severity", "kind",
        "title", "summary", "labels", NULL };
    static const char *const  plan[] = { "plan_id", "for_version", "revision", "template", "hash",
        "missing", "risk_score", "plan", "params", NULL };
    static const char *const  decision[] = { "decision_id", "for_version", "rule", "reason",
        "checks", "policy_hash", "source", "service", NULL };
    static const char *const  run[] = { "exec_id", "for_version", "owner", NULL };
    static const char *const  checkpoint[] = { "checkpoint_id", "for_version", "verify_id",
        "checks", "reason", "evaluation", "outcome", "final", NULL };

    aegis_way_rows_str(rows, AEGIS_W_tenant, k->c.tenant);
    aegis_way_rows_str(rows, AEGIS_W_case_id, k->c.case_id);
    aegis_array_int4(&rows->a[AEGIS_W_for_version], k->ask->d->msg.case_version);
    aegis_way_rows_text(rows, AEGIS_W_traceparent, k->traceparent);
    aegis_way_rows_text(rows, AEGIS_W_go_on, k->go_on);
    n = rows->a[AEGIS_W_tenant].n;

    aegis_way_rows_counted(rows, k->doc);
    aegis_way_rows_members(rows, AEGIS_W_complete, k->doc, guards);
    aegis_way_rows_moves(rows, k, n);

    links = json_object_get(k->doc, "links");
    aegis_way_rows_members(rows, AEGIS_W_event_id, json_object_get(k->doc, "envelope"), envelope);
    aegis_way_rows_value(rows, AEGIS_W_links, json_array_size(links) ? links : NULL);
    aegis_way_rows_members(rows, AEGIS_W_plan_id, json_object_get(k->doc, "plan"), plan);
    aegis_way_rows_members(rows, AEGIS_W_decision_id, json_object_get(k->doc, "decision"), decision);
    aegis_way_rows_members(rows, AEGIS_W_exec_id, json_object_get(k->doc, "run"), run);
    aegis_way_rows_steps(rows, json_object_get(k->doc, "steps"), n);
    aegis_way_rows_members(rows, AEGIS_W_checkpoint_id, json_object_get(k->doc, "checkpoint"),
                           checkpoint);
}

/* Put the answers where their cases are. */
static aegis_code_t
aegis_way_rows_answers(aegis_worker_t *w, int n_rows, size_t n, aegis_pg_row_t *ret,
    aegis_error_t *err)
{
    int              i, ord;
    const char      *version, *body;
    aegis_pg_row_t  *row;

    for (i = 0; i < n_rows; i++) {
        ord = atoi(aegis_pg_value(w->pg, i, 0));
        if (ord < 1 || (size_t) ord > n || ret[ord - 1].ord != 0) {
            return aegis_error_set(err, AEGIS_E_INTERNAL,
                                   "database: an answer for case %d of %zu", ord, n);
        }

        row = &ret[ord - 1];
        version = aegis_pg_value(w->pg, i, 2);
        body = aegis_pg_value(w->pg, i, 3);
        row->ord = ord;
        row->code = aegis_pg_value(w->pg, i, 1);
        row->version = version ? atoi(version) : 0;
        row->body = aegis_view(body ? body : "");
    }

    return (size_t) n_rows == n ? AEGIS_E_OK
           : aegis_error_set(err, AEGIS_E_INTERNAL, "database: %d answers for %zu cases",
                             n_rows, n);
}

aegis_code_t
aegis_way_rows_commit(aegis_worker_t *w, aegis_way_rows_t *rows, size_t n, aegis_pg_row_t *ret,
    aegis_error_t *err)
{
    int           i, answers, lengths[AEGIS_WAY_N_COLUMNS + 1];
    const char   *values[AEGIS_WAY_N_COLUMNS + 1];
    aegis_code_t  rc;

    for (i = 0; i < AEGIS_WAY_N_COLUMNS; i++) {
        aegis_array_end(&rows->a[i]);
        if (rows->a[i].failed) {
            return aegis_error_set(err, AEGIS_E_UNAVAILABLE, "no memory");
        }
        values[i] = rows->a[i].data;
        lengths[i] = (int) rows->a[i].len;
    }

    values[i] = aegis_pg_notify_due(w->pg) ? "t" : "f";
    lengths[i++] = -1;

    rc = aegis_pg_sql_binary(w->pg, AEGIS_SQL_WAY_COMMIT, i, values, lengths, &answers, err);
    return rc == AEGIS_E_OK ? aegis_way_rows_answers(w, answers, n, ret, err) : rc;
}
