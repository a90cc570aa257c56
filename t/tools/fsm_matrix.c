/*
 * fsm_matrix.c: prints what the core decides about every state, event and
 * combination of facts, one line each, for t/15fsm_sql.t to hold SQL against.
 * It only walks; every decision is aegis_fsm_decide()'s.
 *
 * state TAB event TAB facts TAB code TAB rule TAB to TAB missing TAB command
 */
#include <stdio.h>

#include "aegis_error.h"
#include "aegis_fsm.h"


int
main(void)
{
    unsigned           facts, n_facts;
    aegis_state_t      state;
    aegis_decision_t   d;
    aegis_event_id_t   event;

    for (n_facts = 0; aegis_fact_name(n_facts) != NULL; n_facts++) {
        /* bits are dense: t/01tables.t */
    }

    for (state = 0; state < AEGIS_N_STATES; state++) {
        for (event = 0; event < AEGIS_N_EVENTS; event++) {
            for (facts = 0; facts < (1u << n_facts); facts++) {
                d = aegis_fsm_decide(state, event, facts);

                printf("%s\t%s\t%u\t%s\t%d\t%s\t%u\t%s\n",
                       aegis_state_name(state), aegis_event_name(event),
                       facts, aegis_error_def(d.code)->code, d.rule,
                       d.code == AEGIS_E_ILLEGAL ? ""
                                                 : aegis_state_name(d.to),
                       d.missing,
                       d.code == AEGIS_E_ILLEGAL ? "" : d.command);
            }
        }
    }

    return fflush(stdout) == 0 ? 0 : 1;
}
