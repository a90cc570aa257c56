/*
 * aegis_exec_span.c: a run as a span, from its claim to its end, and below it
 * each attempt of a step, from its start to the commit of its outcome. A run
 * that another executor takes over has a span of each, told apart by the epoch.
 */
#include <stdlib.h>
#include <string.h>

#include "aegis_exec.h"
#include "aegis_otel.h"

static void
aegis_exec_span_ids(aegis_span_t *span, const aegis_exec_run_t *run)
{
    aegis_span_str(span, "aegis.role", aegis_str("exec"));
    aegis_span_str(span, "aegis.tenant", aegis_view(run->tenant));
    aegis_span_str(span, "aegis.case_id", aegis_view(run->case_id));
    aegis_span_str(span, "aegis.exec_id", aegis_view(run->exec_id));
}

void
aegis_exec_span_run(aegis_exec_run_t *run, const char *context)
{
    if (!aegis_otel_on()) {
        return;
    }

    run->span = malloc(sizeof(aegis_span_t));
    if (run->span != NULL
        && !aegis_otel_begin(run->span, aegis_view(context), AEGIS_SPAN_INTERNAL,
                             NULL, "run"))
    {
        free(run->span);
        run->span = NULL;
    }
}

void
aegis_exec_span_step(const aegis_exec_run_t *run, int64_t now)
{
    char                context[AEGIS_CONTEXT_MAX + 1];
    const char         *action;
    aegis_span_t        span;
    const aegis_act_t  *act;

    if (run->span == NULL) {
        return;
    }

    act = &run->act;
    (void) aegis_span_context(run->span, context);
    /* actions are a plan's free text */
    action = act->adapter ? aegis_action(act->action)->name : "unknown";

    if (!aegis_otel_begin(&span, aegis_view(context), AEGIS_SPAN_INTERNAL, NULL,
                          "%s %s", act->phase, action))
    {
        return;
    }

    /* acted_at counts whole milliseconds: a step that begins with its run would seem
     * to begin before it */
    span.start_ns -= (uint64_t) (now - run->acted_at) * 1000000u;
    if (span.start_ns < run->span->start_ns) {
        span.start_ns = run->span->start_ns;
    }

    aegis_exec_span_ids(&span, run);
    aegis_span_str(&span, "aegis.step.phase", aegis_view(act->phase));
    aegis_span_int(&span, "aegis.step.no", act->step_no);
    aegis_span_int(&span, "aegis.step.attempt", act->attempt);
    aegis_span_str(&span, "aegis.step.target", aegis_view(run->target));
    if (act->has_exit) {
        aegis_span_int(&span, "process.exit.code", act->exit_code);
    }
    aegis_otel_end(&span, act->state == AEGIS_ACT_OK ? NULL : aegis_act_state_name(act->state));
}

void
aegis_exec_span_end(aegis_exec_run_t *run)
{
    if (run->span == NULL) {
        return;
    }

    aegis_exec_span_ids(run->span, run);
    aegis_span_int(run->span, "aegis.epoch", run->epoch);
    aegis_span_str(run->span, "aegis.run.state", aegis_view(run->state));
    aegis_otel_end(run->span, strcmp(run->state, "DONE") == 0 ? NULL : run->state);
    free(run->span);
    run->span = NULL;
}
