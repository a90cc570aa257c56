/*
 * aegis_fsm.h: the state machine. decide() is a pure function over
 * transitions.def; SQL's aegis.fsm_decide() is its twin, compared over
 * everything by t/15fsm_sql.t.
 */
#ifndef AEGIS_FSM_H
#define AEGIS_FSM_H

#include "aegis.h"

typedef struct {
    int               rule;
    aegis_state_t     from;
    aegis_event_id_t  event;
    aegis_guard_t     guard;
    aegis_state_t     to;
    const char       *sentence;
} aegis_transition_t;

typedef struct {
    aegis_code_t      code;         /* OK, ILLEGAL or GUARD */
    int               rule;         /* the row; 0 when ILLEGAL */
    aegis_state_t     to;           /* valid unless ILLEGAL */
    unsigned          missing;      /* facts that the guard still asks for */
    const char       *command;      /* subject published on entry, "" for none */
} aegis_decision_t;

/* Total: every (state, event, facts) has an answer. Never blocks or fails. */
aegis_decision_t aegis_fsm_decide(aegis_state_t from, aegis_event_id_t event,
    unsigned facts);

const aegis_transition_t *aegis_fsm_table(size_t *ret_n);
const aegis_transition_t *aegis_fsm_rule(int rule);      /* NULL: no such row */

/* Names. The look-ups return AEGIS_N_STATES / AEGIS_N_EVENTS when unknown. */
const char *aegis_state_name(aegis_state_t state);
const char *aegis_state_command(aegis_state_t state);
const char *aegis_state_sentence(aegis_state_t state);
int aegis_state_terminal(aegis_state_t state);
aegis_state_t aegis_state_by_name(aegis_str_t name);
const char *aegis_event_name(aegis_event_id_t event);
const char *aegis_event_sentence(aegis_event_id_t event);
aegis_event_id_t aegis_event_by_name(aegis_str_t name);
const char *aegis_guard_name(aegis_guard_t guard);
unsigned aegis_guard_needs(aegis_guard_t guard);
const char *aegis_fact_name(unsigned bit);               /* NULL: no such bit */
const char *aegis_fact_sentence(unsigned bit);

/*
 * The tables as text, malloc'ed; NULL: unknown form or no memory. The machine:
 * "sql" (sql/generated/fsm.sql), "mermaid", "markdown", "json". The others, as
 * markdown: "errors", "routes", "subjects", "settings", "statements".
 */
char *aegis_fsm_dump(const char *form);

#endif
