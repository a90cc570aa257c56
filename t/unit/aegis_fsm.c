/*
 * aegis_fsm.c: unit tests of decide(). The domain's table is written here a
 * second time, by hand, as a person reads it: a change of transitions.def has
 * to be meant.
 */
#include "aegis_unit.h"

#include "aegis_fsm.h"

#define PLAN      AEGIS_FACT_BIT(plan_complete)
#define APPROVED  AEGIS_FACT_BIT(gate_approved)
#define OPEN      AEGIS_FACT_BIT(window_open)
#define PASSED    AEGIS_FACT_BIT(checkpoint_passed)
#define N_FACTS   4

static const struct {
    const char  *from;
    const char  *event;
    const char  *to;
    unsigned     needs;
} legal[] = {
    { "NEW",       "start_analysis",  "ANALYZING", 0 },
    { "NEW",       "force_park",      "PARKED",    0 },
    { "ANALYZING", "analysis_done",   "PLANNING",  0 },
    { "ANALYZING", "analysis_failed", "PARKED",    0 },
    { "ANALYZING", "plan_ready",      "WAIT_GATE", PLAN },
    { "ANALYZING", "force_park",      "PARKED",    0 },
    { "PLANNING",  "plan_ready",      "WAIT_GATE", PLAN },
    { "PLANNING",  "plan_failed",     "PARKED",    0 },
    { "PLANNING",  "force_park",      "PARKED",    0 },
    { "WAIT_GATE", "gate_approved",   "EXECUTING", APPROVED | OPEN },
    { "WAIT_GATE", "gate_rejected",   "PARKED",    0 },
    { "WAIT_GATE", "force_park",      "PARKED",    0 },
    { "EXECUTING", "exec_done",       "VERIFYING", 0 },
    { "EXECUTING", "exec_failed",     "PARKED",    0 },
    { "EXECUTING", "force_park",      "PARKED",    0 },
    { "VERIFYING", "verify_pass",     "CLOSED",    PASSED },
    { "VERIFYING", "verify_failed",   "PARKED",    0 },
    { "VERIFYING", "force_park",      "PARKED",    0 },
    { "PARKED",    "start_analysis",  "ANALYZING", 0 },
    { "PARKED",    "resume",          "PLANNING",  0 },
    { "PARKED",    "plan_ready",      "WAIT_GATE", PLAN }
};


static void
test_everything(void **state)
{
    size_t            i, n;
    unsigned          s, e, facts, needs;
    aegis_decision_t  d;

    n = 0;

    for (s = 0; s < AEGIS_N_STATES; s++) {
        for (e = 0; e < AEGIS_N_EVENTS; e++) {

            for (i = 0; i < AEGIS_UNIT_N(legal); i++) {
                if (strcmp(legal[i].from, aegis_state_name(s)) == 0
                    && strcmp(legal[i].event, aegis_event_name(e)) == 0)
                {
                    break;
                }
            }

            n += i < AEGIS_UNIT_N(legal);

            for (facts = 0; facts < 1u << N_FACTS; facts++) {
                d = aegis_fsm_decide(s, e, facts);

                if (i == AEGIS_UNIT_N(legal)) {
                    assert_int_equal(d.code, AEGIS_E_ILLEGAL);
                    assert_int_equal(d.rule, 0);
                    assert_string_equal(d.command, "");
                    continue;
                }

                needs = legal[i].needs & ~facts;
                assert_int_equal(d.code, needs ? AEGIS_E_GUARD : AEGIS_E_OK);
                assert_int_equal(d.missing, needs);
                assert_string_equal(aegis_state_name(d.to), legal[i].to);
                assert_string_equal(d.command, aegis_state_command(d.to));
                assert_int_equal(aegis_fsm_rule(d.rule)->from, s);
                assert_int_equal(aegis_fsm_rule(d.rule)->event, e);
            }
        }
    }

    assert_int_equal(n, AEGIS_UNIT_N(legal));
    aegis_fsm_table(&i);
    assert_int_equal(i, n);
}


static void
test_total(void **state)
{
    assert_int_equal(aegis_fsm_decide(AEGIS_N_STATES, 0, 0).code, AEGIS_E_ILLEGAL);
    assert_int_equal(aegis_fsm_decide(0, AEGIS_N_EVENTS, 0).code, AEGIS_E_ILLEGAL);
    assert_int_equal(aegis_fsm_decide((aegis_state_t) -1, (aegis_event_id_t) -1, ~0u).code,
                     AEGIS_E_ILLEGAL);

    /* facts that nobody knows change nothing */
    assert_int_equal(aegis_fsm_decide(AEGIS_STATE_PLANNING, AEGIS_EVENT_plan_ready,
                                      ~PLAN).code, AEGIS_E_GUARD);
    assert_int_equal(aegis_fsm_decide(AEGIS_STATE_PLANNING, AEGIS_EVENT_plan_ready,
                                      ~0u).code, AEGIS_E_OK);
}


static void
test_names(void **state)
{
    unsigned  i;

    for (i = 0; i < AEGIS_N_STATES; i++) {
        assert_int_equal(aegis_state_by_name(aegis_view(aegis_state_name(i))), i);
        assert_true(aegis_state_sentence(i)[0] != '\0');
    }

    for (i = 0; i < AEGIS_N_EVENTS; i++) {
        assert_int_equal(aegis_event_by_name(aegis_view(aegis_event_name(i))), i);
        assert_true(aegis_event_sentence(i)[0] != '\0');
    }

    assert_int_equal(aegis_state_by_name(aegis_str("new")), AEGIS_N_STATES);
    assert_int_equal(aegis_state_by_name(aegis_str("NEWS")), AEGIS_N_STATES);
    assert_int_equal(aegis_state_by_name(aegis_str("")), AEGIS_N_STATES);
    assert_int_equal(aegis_event_by_name(AEGIS_NO_STR), AEGIS_N_EVENTS);
    assert_string_equal(aegis_state_name(AEGIS_N_STATES), "");
    assert_string_equal(aegis_event_name(AEGIS_N_EVENTS), "");
    assert_string_equal(aegis_state_command(AEGIS_N_STATES), "");
    assert_string_equal(aegis_state_sentence(AEGIS_N_STATES), "");
    assert_string_equal(aegis_event_sentence(AEGIS_N_EVENTS), "");
    assert_string_equal(aegis_guard_name(AEGIS_N_GUARDS), "");
    assert_int_equal(aegis_guard_needs(AEGIS_N_GUARDS), ~0u);
    assert_string_equal(aegis_guard_name(AEGIS_GUARD_approved_plan), "approved_plan");
    assert_int_equal(aegis_guard_needs(AEGIS_GUARD_approved_plan), APPROVED | OPEN);

    for (i = 0; i < N_FACTS; i++) {
        assert_non_null(aegis_fact_name(i));
        assert_non_null(aegis_fact_sentence(i));
    }
    assert_null(aegis_fact_name(N_FACTS));
    assert_null(aegis_fact_sentence(N_FACTS));
    assert_null(aegis_fsm_rule(0));

    assert_true(aegis_state_terminal(AEGIS_STATE_CLOSED));
    assert_false(aegis_state_terminal(AEGIS_STATE_PARKED));
    assert_false(aegis_state_terminal(AEGIS_N_STATES));
}


int
main(void)
{
    const struct CMUnitTest  tests[] = {
        AEGIS_TEST("every state, event and set of facts is decided as the domain says",
                   test_everything),
        AEGIS_TEST("what is outside the tables is illegal, never undefined", test_total),
        AEGIS_TEST("every name finds its number and back", test_names)
    };

    return AEGIS_UNIT_RUN(tests);
}
