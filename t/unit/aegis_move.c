/*
 * aegis_move.c: unit tests of what a fact does to its case.
 */
#include "aegis_unit.h"

#include "aegis_json.h"
#include "aegis_move.h"

#define PLAN  "8e03978e-40d5-43dd-bc93-6894a57f9324"


static json_t *
move(const char *subject, json_t *data)
{
    json_t  *m;

    assert_non_null(data);
    m = aegis_move(aegis_view(subject), data);
    json_decref(data);

    return m;
}


static void
test_moves(void **state)
{
    size_t   i;
    json_t  *m;

    static const struct {
        const char  *subject;
        int          approved;          /* -1: the data does not say */
        const char  *event;             /* NULL: it moves nothing */
        const char  *actor;
        const char  *reason;
    } cases[] = {
        { "evt.analysis.findings.v1", -1, "analysis_done", "aegis:analyst", "the analyst found something" },
        { "evt.plan.proposed.v1",     -1, "plan_ready",    "aegis:planner", "a plan was stored" },
        { "evt.plan.approved.v1",      1, "gate_approved", "aegis:gate",
          "the gatekeeper decided on a plan" },
        { "evt.plan.approved.v1",      0, "gate_rejected", "aegis:gate",
          "the gatekeeper decided on a plan" },
        { "evt.plan.approved.v1",     -1, "gate_rejected", "aegis:gate",
          "the gatekeeper decided on a plan" },
        { "evt.verify.failed.v1",     -1, "verify_failed", "aegis:verify",  "a check does not hold" },
        { "evt.plan.waiting.v1",      -1, NULL, NULL, NULL },
        { "evt.exec.step_result.v1",  -1, NULL, NULL, NULL },
        { "cmd.plan.generate",        -1, NULL, NULL, NULL },
    };

    (void) state;

    for (i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
        m = move(cases[i].subject, cases[i].approved < 0 ? json_object()
                 : json_pack("{s:b}", "approved", cases[i].approved));
        if (cases[i].event == NULL) {
            assert_null(m);
            continue;
        }
        assert_string_equal(aegis_json_str(m, "event"), cases[i].event);
        assert_string_equal(aegis_json_str(m, "actor"), cases[i].actor);
        assert_string_equal(aegis_json_str(m, "reason"), cases[i].reason);
        assert_null(json_object_get(m, "meta"));
        json_decref(m);
    }
}


static void
test_words(void **state)
{
    char     long_text[3 * AEGIS_MOVE_REASON + 1];
    size_t   i;
    json_t  *m, *meta;

    (void) state;

    m = move("evt.plan.proposed.v1", json_pack("{s:s, s:s, s:s, s:i, s:s}", "reason", "by hand",
             "correlation_id", "c-1", "plan_id", PLAN, "exec_id", 7, "other", "x"));
    meta = json_object_get(m, "meta");
    assert_string_equal(aegis_json_str(m, "reason"), "by hand");
    assert_string_equal(aegis_json_str(m, "correlation_id"), "c-1");
    assert_int_equal(json_object_size(meta), 1);        /* ids are text, and known */
    assert_string_equal(aegis_json_str(meta, "plan_id"), PLAN);
    json_decref(m);

    /* three bytes a character: cut between two of them */
    for (i = 0; i < AEGIS_MOVE_REASON; i++) {
        memcpy(long_text + 3 * i, "\xe2\x82\xac", 3);
    }
    long_text[3 * AEGIS_MOVE_REASON] = '\0';
    m = move("evt.verify.failed.v1", json_pack("{s:s}", "reason", long_text));
    assert_int_equal(strlen(aegis_json_str(m, "reason")), AEGIS_MOVE_REASON / 3 * 3);
    json_decref(m);
}


int
main(void)
{
    const struct CMUnitTest  tests[] = {
        AEGIS_TEST("a fact fires its event, in its producer's name", test_moves),
        AEGIS_TEST("its reason and the ids in it go along", test_words)
    };

    return AEGIS_UNIT_RUN(tests);
}
