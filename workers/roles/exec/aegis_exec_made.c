/*
 * aegis_exec_made.c: attempts of adapters that change nothing (`echo`). They need no
 * intent, because making one twice is the same as making it once, so they are made
 * first and recorded together, usually with the end of their run.
 * Invariant: what was made is dropped from memory only when it is recorded or the run
 * is not ours any more; the token tells a record sent twice from another owner's.
 */
#include "aegis_exec.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "aegis_failpoint.h"
#include "aegis_json.h"

static aegis_exec_made_t *
aegis_exec_made_add(aegis_exec_run_t *run)
{
    size_t              size;
    aegis_exec_made_t  *v;

    if (run->n_made == run->size_made) {
        size = run->size_made ? run->size_made * 2 : 4;
        v = realloc(run->made, size * sizeof(aegis_exec_made_t));
        if (v == NULL) {
            return NULL;
        }
        run->made = v;
        run->size_made = size;
    }

    v = &run->made[run->n_made];
    memset(v, 0, sizeof(*v));
    return v;
}

int
aegis_exec_made(aegis_worker_t *w, aegis_exec_run_t *run, int64_t now)
{
    aegis_act_t        *act;
    aegis_exec_made_t  *m;

    act = &run->act;

    if (act->adapter == NULL || !act->adapter->idle || run->next.phase == AEGIS_EXEC_CHECK
        || run->next.delay_ms > 0 || run->target[0] || now >= run->lease_until
        || (m = aegis_exec_made_add(run)) == NULL)
    {
        return 0;
    }

    (void) AEGIS_FP(exec_before_effect, "exec");
    run->acted_at = now;
    aegis_exec_act_start(w, run);
    (void) AEGIS_FP(exec_after_effect, "exec");
    aegis_exec_act_outputs(w->data, run, 1);

    m->phase = act->phase;
    m->action = aegis_json_str(aegis_exec_step(run->plan, run->next.phase, run->next.step_no),
                               "action");
    m->state = aegis_act_state_name(act->state);
    m->retry_safe = run->retry_safe;
    m->final = act->final;
    m->has_exit = act->has_exit;
    memcpy(m->step_text, run->step_text, sizeof(m->step_text));
    memcpy(m->attempt_text, run->attempt_text, sizeof(m->attempt_text));
    snprintf(m->exit_text, sizeof(m->exit_text), "%d", act->exit_code);
    memcpy(m->token, run->token, sizeof(m->token));
    memcpy(m->error, act->error, sizeof(m->error));
    m->output = run->output_text;
    m->result = run->result_text;
    run->output_text = run->result_text = NULL;
    run->n_made++;

    aegis_exec_span_step(run, aegis_act_now());

    /* without memory for the log the attempt would be made again, for ever */
    if (!aegis_exec_run_logged(w->data, run, aegis_act_now())) {
        run->at = AEGIS_RUN_GONE;
        return 0;
    }
    return 1;
}

void
aegis_exec_made_item(const aegis_exec_run_t *run, const aegis_exec_made_t *made,
    aegis_item_t *item)
{
    aegis_str_t  *v;

    memset(item, 0, sizeof(*item));
    v = item->v;
    v[AEGIS_C_tenant] = aegis_view(run->tenant);
    v[AEGIS_C_case_id] = aegis_view(run->case_id);
    v[AEGIS_C_exec_id] = aegis_view(run->exec_id);
    v[AEGIS_C_epoch] = aegis_view(run->epoch_text);
    v[AEGIS_C_phase] = aegis_view(made->phase);
    v[AEGIS_C_step_no] = aegis_view(made->step_text);
    v[AEGIS_C_attempt] = aegis_view(made->attempt_text);
    v[AEGIS_C_action] = aegis_view(made->action);
    v[AEGIS_C_retry_safe] = made->retry_safe ? aegis_str("true") : aegis_str("false");
    v[AEGIS_C_token] = aegis_view(made->token);
    v[AEGIS_C_state] = aegis_view(made->state);
    v[AEGIS_C_exit_code] = aegis_view(made->has_exit ? made->exit_text : NULL);
    v[AEGIS_C_error] = aegis_view(made->error);
    v[AEGIS_C_final] = made->final ? aegis_str("true") : aegis_str("false");
    v[AEGIS_C_output] = aegis_view(made->output);
    v[AEGIS_C_result] = aegis_view(made->result);
}

void
aegis_exec_made_clear(aegis_exec_run_t *run)
{
    size_t  i;

    for (i = 0; i < run->n_made; i++) {
        free(run->made[i].output);
        free(run->made[i].result);
    }
    run->n_made = 0;
}
