/*
 * aegis_way_doc.c: what is made of a case on its way, as it grows stage by stage.
 * Invariant: it has a move only when it has all that the move's guard asks for; SQL
 * looks again.
 */
#include "aegis_way_doc.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "aegis_json.h"

int
aegis_way_doc_move(aegis_way_t *k, json_t *move, const char *key, const char *subject,
    json_t *data, json_t *said)
{
    json_t            *c;
    aegis_decision_t   d;
    aegis_event_id_t   event;
    aegis_way_move_t  *m;

    event = aegis_event_by_name(aegis_view(aegis_json_str(move, "event")));
    d.code = AEGIS_E_ILLEGAL;
    if (event != AEGIS_N_EVENTS) {
        d = aegis_fsm_decide(k->c.state, event, ~0u);
    }
    if (d.code != AEGIS_E_OK || k->n_moves == AEGIS_WAY_MOVES) {
        json_decref(said);
        return 0;
    }

    m = &k->moves[k->n_moves++];
    m->from = k->c.state;
    m->to = d.to;
    m->event = event;
    m->subject = subject ? aegis_subject(aegis_view(subject))->subject : NULL;
    m->move = json_incref(move);
    m->key = json_string(key);
    m->said = said;
    if (subject) {
        /* last of all: the fsm role looks for it at the message's end */
        json_object_set_new(data, "moved_to", json_integer(k->c.version + 1));
        m->data = json_incref(data);
    }

    k->c.state = d.to;
    k->c.version++;
    c = json_object_get(k->facts, "case");
    json_object_set_new(c, "version", json_integer(k->c.version));
    json_object_set_new(c, "status", json_string(aegis_state_name(d.to)));
    return 1;
}

int
aegis_way_doc_begin(aegis_way_t *k)
{
    int      ok;
    json_t  *move;

    k->doc = json_object();
    move = json_pack("{s:s, s:s, s:s, s:s}", "event", k->ask->event, "actor", k->ask->actor,
                     "reason", k->ask->reason, "correlation_id", k->correlation);
    if (move && k->ask->meta) {
        json_object_set_new(move, "meta", json_loads(k->ask->meta, 0, NULL));
    }

    ok = k->doc && move && aegis_way_doc_move(k, move, k->ask->key, NULL, NULL, NULL);
    json_decref(move);
    return ok;
}

static void
aegis_way_doc_set(json_t *o, const char *name, const json_t *from, const char *member)
{
    json_object_set(o, name, json_object_get(from, member));
}

int
aegis_way_doc_artefact(aegis_way_t *k, const json_t *doc)
{
    json_t      *row, *holds;
    const char  *table;

    table = aegis_json_str(doc, "table");
    if (table[0] == '\0') {
        return 1;                       /* a failure: nothing but its fact */
    }

    row = json_copy(json_object_get(doc, "artefact"));
    json_object_set_new(row, "for_version", json_integer(k->c.version));

    if (strcmp(table, "event_envelope") == 0) {
        aegis_way_doc_set(k->doc, "links", doc, "more");
        return json_object_set_new(k->doc, "envelope", row) == 0;
    }

    if (strcmp(table, "plan_proposed") == 0 && json_is_true(json_object_get(row, "complete"))) {
        aegis_way_doc_set(k->doc, "complete", row, "complete");
        return json_object_set_new(k->doc, "plan", row) == 0;
    }

    if (strcmp(table, "gate_decision") == 0) {
        aegis_way_doc_set(k->doc, "verdict", row, "verdict");
        holds = json_array_get(json_object_get(doc, "more"), 0);
        if (holds) {
            aegis_way_doc_set(k->doc, "not_before", holds, "not_before");
            aegis_way_doc_set(k->doc, "not_after", holds, "not_after");
        }
        if (json_object_get(doc, "counted")) {
            aegis_way_doc_set(k->doc, "counted", doc, "counted");
        }
        return json_object_set_new(k->doc, "decision", row) == 0;
    }

    if (strcmp(table, "verify_checkpoint") == 0) {
        aegis_way_doc_set(k->doc, "passed", row, "passed");
        return json_object_set_new(k->doc, "checkpoint", row) == 0;
    }

    json_decref(row);
    return 0;
}

static json_t *
aegis_way_doc_or_null(const json_t *o, const char *name)
{
    json_t  *v;

    v = json_object_get(o, name);
    return v ? json_incref(v) : json_null();
}

/* Results of steps, as aegis.exec_step_done() tells them. */
static json_t *
aegis_way_doc_said(const aegis_way_t *k, const char *exec_id, const json_t *steps,
    const char *correlation)
{
    int          no, attempt;
    char         key[160];
    json_t      *all, *s, *data, *c;
    size_t       i;
    const char  *phase;

    all = json_array();
    c = json_object_get(k->facts, "case");

    json_array_foreach((json_t *) steps, i, s) {
        phase = aegis_json_str(s, "phase");
        no = (int) json_integer_value(json_object_get(s, "step_no"));
        attempt = (int) json_integer_value(json_object_get(s, "attempt"));
        snprintf(key, sizeof(key), "%s:%s:%d:%d", exec_id, phase, no, attempt);

        data = json_pack("{s:O, s:O, s:O, s:s, s:s, s:i, s:i, s:s, s:s, s:o, s:s, s:o}",
            "case_id", json_object_get(c, "case_id"), "tenant", json_object_get(c, "tenant"),
            "case_version", json_object_get(c, "version"), "exec_id", exec_id, "phase", phase,
            "step_no", no, "attempt", attempt, "action", aegis_json_str(s, "action"),
            "state", aegis_json_str(s, "state"), "exit_code",
            aegis_way_doc_or_null(s, "exit_code"),
            "error", aegis_json_str(s, "error"), "result",
            aegis_way_doc_or_null(s, "result"));
        json_object_update_new(data, json_pack("{s:s, s:s, s:s, s:O}", "stdout_ref", "",
            "stderr_ref", "", "correlation_id", correlation, "at",
            json_object_get(k->facts, "now")));
        json_array_append_new(all, json_pack("{s:s, s:o}", "key", key, "data", data));
    }

    return all;
}

int
aegis_way_doc_run(aegis_way_t *k, const char *exec_id, const char *owner, json_t *steps)
{
    int          ok;
    char         key[64];
    json_t      *c, *data, *move, *said;
    const char  *correlation;

    c = json_object_get(k->facts, "case");
    correlation = aegis_json_str(c, "correlation_id");
    said = aegis_way_doc_said(k, exec_id, steps, correlation);
    snprintf(key, sizeof(key), "%s:done", exec_id);

    json_object_set_new(k->doc, "steps", steps);
    json_object_set_new(k->doc, "run", json_pack("{s:s, s:i, s:s}", "exec_id", exec_id,
                        "for_version", k->c.version, "owner", owner));

    data = json_pack("{s:O, s:O, s:O, s:s, s:O, s:s, s:s, s:s, s:O}",
        "case_id", json_object_get(c, "case_id"), "tenant", json_object_get(c, "tenant"),
        "case_version", json_object_get(c, "version"), "exec_id", exec_id,
        "plan_id", json_object_get(c, "plan_id"), "state", "DONE", "reason", "",
        "correlation_id", correlation, "at", json_object_get(k->facts, "now"));
    move = json_pack("{s:s, s:s, s:s, s:s, s:{s:O, s:s}}", "event", "exec_done",
        "actor", "aegis:exec", "reason", "a run succeeded", "correlation_id", correlation,
        "meta", "plan_id", json_object_get(c, "plan_id"), "exec_id", exec_id);

    ok = data && move && aegis_way_doc_move(k, move, key, "evt.exec.done.v1", data, said);
    json_object_set_new(c, "exec_id", json_string(exec_id));
    json_decref(data);
    json_decref(move);
    return ok;
}

void
aegis_way_doc_end(aegis_way_t *k, unsigned here)
{
    k->go_on = k->c.state == AEGIS_STATE_EXECUTING && (here & AEGIS_CARRY_EXEC) ? "open"
               : aegis_state_command(k->c.state)[0] ? "ask" : "";
}

void
aegis_way_doc_free(aegis_way_t *k)
{
    size_t             i;
    aegis_way_move_t  *m;

    for (i = 0; i < k->n_moves; i++) {
        m = &k->moves[i];
        json_decref(m->move);
        json_decref(m->key);
        json_decref(m->data);
        json_decref(m->said);
        m->move = m->key = m->data = m->said = NULL;
    }

    json_decref(k->facts);
    json_decref(k->doc);
    k->facts = k->doc = NULL;
}
