/*
 * aegis_fsm.c: decide(), a look-up in transitions.def, and the names of what
 * the tables hold. Its invariant: every (state, event, facts) has one answer,
 * the same for ever. That no (state, event) pair has two rows is held by the
 * compiler: a second initializer of one index entry is an error. How the
 * tables are printed is in aegis_table.c.
 */
#include "aegis_fsm.h"

#include <string.h>

typedef struct {
    const char  *name;
    int          terminal;
    const char  *command;
    const char  *sentence;
} aegis_fsm_state_t;

typedef struct {
    const char  *name;
    const char  *sentence;
} aegis_fsm_named_t;

static const aegis_fsm_state_t  aegis_fsm_states[] = {
#define AEGIS_STATE(name, terminal, command, sentence)                         \
    { #name, terminal, command, sentence },
#include "tables/states.def"
#undef AEGIS_STATE
};

static const aegis_fsm_named_t  aegis_fsm_events[] = {
#define AEGIS_EVENT(name, scope, sentence)  { #name, sentence },
#include "tables/events.def"
#undef AEGIS_EVENT
};

static const aegis_fsm_named_t  aegis_fsm_facts[] = {
#define AEGIS_FACT(name, bit, sentence)  [bit] = { #name, sentence },
#include "tables/facts.def"
#undef AEGIS_FACT
};

static const struct {
    const char  *name;
    unsigned     needs;
} aegis_fsm_guards[] = {
#define AEGIS_GUARD(name, needs)  { #name, needs },
#include "tables/guards.def"
#undef AEGIS_GUARD
};

#define AEGIS_FSM_N_FACTS                                                      \
    (sizeof(aegis_fsm_facts) / sizeof(aegis_fsm_facts[0]))

enum {
#define AEGIS_TRANSITION(rule, from, event, guard, to, sentence)               \
    AEGIS_FSM_ROW_##rule,
#include "tables/transitions.def"
#undef AEGIS_TRANSITION
    AEGIS_FSM_N_ROWS
};

static const aegis_transition_t  aegis_fsm_rows[] = {
#define AEGIS_TRANSITION(rule, from, event, guard, to, sentence)               \
    { rule, AEGIS_STATE_##from, AEGIS_EVENT_##event, AEGIS_GUARD_##guard,      \
      AEGIS_STATE_##to, sentence },
#include "tables/transitions.def"
#undef AEGIS_TRANSITION
};

/* Row number + 1; 0 where the event is illegal. */
static const unsigned char  aegis_fsm_index[AEGIS_N_STATES][AEGIS_N_EVENTS] = {
#define AEGIS_TRANSITION(rule, from, event, guard, to, sentence)               \
    [AEGIS_STATE_##from][AEGIS_EVENT_##event] = AEGIS_FSM_ROW_##rule + 1,
#include "tables/transitions.def"
#undef AEGIS_TRANSITION
};

_Static_assert(AEGIS_FSM_N_ROWS < 255, "the index holds row numbers in a byte");


aegis_decision_t
aegis_fsm_decide(aegis_state_t from, aegis_event_id_t event, unsigned facts)
{
    unsigned                   n;
    aegis_decision_t           d;
    const aegis_transition_t  *t;

    d.code = AEGIS_E_ILLEGAL;
    d.rule = 0;
    d.to = from;
    d.missing = 0;
    d.command = "";

    if ((unsigned) from >= AEGIS_N_STATES || (unsigned) event >= AEGIS_N_EVENTS) {
        return d;
    }

    n = aegis_fsm_index[from][event];
    if (n == 0) {
        return d;
    }

    t = &aegis_fsm_rows[n - 1];

    d.rule = t->rule;
    d.to = t->to;
    d.missing = aegis_fsm_guards[t->guard].needs & ~facts;
    d.command = aegis_fsm_states[t->to].command;
    d.code = d.missing ? AEGIS_E_GUARD : AEGIS_E_OK;

    return d;
}


const aegis_transition_t *
aegis_fsm_table(size_t *ret_n)
{
    *ret_n = AEGIS_FSM_N_ROWS;

    return aegis_fsm_rows;
}


const aegis_transition_t *
aegis_fsm_rule(int rule)
{
    size_t  i;

    for (i = 0; i < AEGIS_FSM_N_ROWS; i++) {
        if (aegis_fsm_rows[i].rule == rule) {
            return &aegis_fsm_rows[i];
        }
    }

    return NULL;
}


static int
aegis_fsm_equal(aegis_str_t s, const char *name)
{
    return s.data != NULL && strlen(name) == s.len
           && memcmp(name, s.data, s.len) == 0;
}


const char *
aegis_state_name(aegis_state_t state)
{
    return (unsigned) state < AEGIS_N_STATES ? aegis_fsm_states[state].name : "";
}


const char *
aegis_state_command(aegis_state_t state)
{
    return (unsigned) state < AEGIS_N_STATES ? aegis_fsm_states[state].command : "";
}


const char *
aegis_state_sentence(aegis_state_t state)
{
    return (unsigned) state < AEGIS_N_STATES ? aegis_fsm_states[state].sentence : "";
}


int
aegis_state_terminal(aegis_state_t state)
{
    return (unsigned) state < AEGIS_N_STATES && aegis_fsm_states[state].terminal;
}


aegis_state_t
aegis_state_by_name(aegis_str_t name)
{
    unsigned  i;

    for (i = 0; i < AEGIS_N_STATES; i++) {
        if (aegis_fsm_equal(name, aegis_fsm_states[i].name)) {
            break;
        }
    }

    return (aegis_state_t) i;
}


const char *
aegis_event_name(aegis_event_id_t event)
{
    return (unsigned) event < AEGIS_N_EVENTS ? aegis_fsm_events[event].name : "";
}


const char *
aegis_event_sentence(aegis_event_id_t event)
{
    return (unsigned) event < AEGIS_N_EVENTS ? aegis_fsm_events[event].sentence : "";
}


aegis_event_id_t
aegis_event_by_name(aegis_str_t name)
{
    unsigned  i;

    for (i = 0; i < AEGIS_N_EVENTS; i++) {
        if (aegis_fsm_equal(name, aegis_fsm_events[i].name)) {
            break;
        }
    }

    return (aegis_event_id_t) i;
}


const char *
aegis_guard_name(aegis_guard_t guard)
{
    return (unsigned) guard < AEGIS_N_GUARDS ? aegis_fsm_guards[guard].name : "";
}


unsigned
aegis_guard_needs(aegis_guard_t guard)
{
    /* a guard that is not in the table can never hold */
    return (unsigned) guard < AEGIS_N_GUARDS ? aegis_fsm_guards[guard].needs : ~0u;
}


const char *
aegis_fact_name(unsigned bit)
{
    return bit < AEGIS_FSM_N_FACTS ? aegis_fsm_facts[bit].name : NULL;
}


const char *
aegis_fact_sentence(unsigned bit)
{
    return bit < AEGIS_FSM_N_FACTS ? aegis_fsm_facts[bit].sentence : NULL;
}
