/*
 * aegis_exec_act.c: one attempt of a step between the run and its adapter: what
 * the adapter is given, when it is called, and when its time is over.
 * Invariants: an act that has begun is released exactly once; nothing acts
 * longer than its deadline and AEGIS_ACT_GRACE_MS, whatever its adapter does.
 */
#include "aegis_exec.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "aegis_json.h"

/* An adapter that minds its deadline itself may be a little late. */
#define AEGIS_EXEC_SLACK_MS     500
/* How often what an act writes is told of, and is put into the store. */
#define AEGIS_EXEC_PROGRESS_MS  1000
#define AEGIS_EXEC_STORE_MS     5000

/* Adapters read parameters that fit the schema only; a plan may be older. */
static int
aegis_exec_act_fits(const aegis_act_t *act)
{
    int            ok;
    aegis_error_t  err = AEGIS_ERROR_INIT;

    ok = aegis_action_check(act->action, act->params, "/params", &err);
    aegis_error_clear(&err);
    return ok;
}

void
aegis_exec_act_prepare(aegis_worker_t *w, aegis_exec_run_t *run)
{
    aegis_act_t   *act;
    aegis_exec_t  *x;
    const json_t  *step, *timeout, *target;

    x = w->data;
    act = &run->act;
    aegis_exec_act_release(run);
    memset(act, 0, sizeof(*act));
    aegis_sink_init(act);

    step = aegis_exec_step(run->plan, run->next.phase, run->next.step_no);
    timeout = json_object_get(step, "timeout_s");

    act->action = aegis_action_find(aegis_json_str(step, "action"));
    act->adapter = aegis_adapter(act->action);
    act->conf = w->conf;
    act->tenant = run->tenant;
    act->case_id = run->case_id;
    act->exec_id = run->exec_id;
    act->phase = aegis_exec_phase_name(run->next.phase);
    act->step_no = run->next.step_no;
    act->attempt = run->next.attempt;
    act->token = run->token;
    act->params = json_object_get(step, "params");
    act->params = act->params ? act->params : run->no_params;
    act->objects = x->objects;
    act->output_max = aegis_conf_int(w->conf, "exec.output_max");
    act->timeout_ms = json_is_integer(timeout) ? json_integer_value(timeout) * 1000
                      : aegis_conf_int(w->conf, "exec.step_timeout_s") * 1000;

    run->target[0] = '\0';
    target = json_object_get(step, "target");
    if (run->next.phase == AEGIS_EXEC_CHECK) {
        run->target_limit = 0;
    } else {
        run->target_limit = (int) aegis_conf_int(w->conf, act->adapter && act->adapter->limit
            ? act->adapter->limit : "exec.per_target");
    }
    if (run->target_limit > 0 && json_is_string(target)) {
        snprintf(run->target, sizeof(run->target), "%s", json_string_value(target));
    } else if (run->target_limit > 0 && act->adapter && act->adapter->target
               && aegis_exec_act_fits(act))
    {
        act->adapter->target(act, run->target);
    }
    snprintf(run->limit_text, sizeof(run->limit_text), "%d", run->target_limit);

    run->retry_safe = json_is_true(json_object_get(step, "retry_safe"))
                      || (act->adapter && aegis_action(act->action)->repeatable);
    run->busy_since = 0;
    run->told_at = run->acted_at = aegis_act_now();
    run->stored_at = 0;
    memset(run->told, 0, sizeof(run->told));
    run->why = NULL;
    run->tries = 0;
    run->wake_at = 0;

    snprintf(run->step_text, sizeof(run->step_text), "%d", run->next.step_no);
    snprintf(run->attempt_text, sizeof(run->attempt_text), "%d", run->next.attempt);
}

/* A plan may be older than the schema: 0 when its parameters do not fit. */
static int
aegis_exec_act_checked(aegis_exec_run_t *run)
{
    aegis_act_t    *act;
    aegis_error_t   err = AEGIS_ERROR_INIT;
    const json_t   *wrong;

    act = &run->act;

    if (act->adapter == NULL) {
        aegis_act_fail(act, 1, "no adapter for action %s", aegis_json_str(
            aegis_exec_step(run->plan, run->next.phase, run->next.step_no), "action"));
        return 0;
    }

    if (!aegis_action_check(act->action, act->params, "/params", &err)) {
        wrong = json_array_get(err.errors, 0);
        aegis_act_fail(act, 1, "%s %s", aegis_json_str(wrong, "pointer"),
                       aegis_json_str(wrong, "detail"));
        aegis_error_clear(&err);
        return 0;
    }

    return 1;
}

void
aegis_exec_act_start(aegis_worker_t *w, aegis_exec_run_t *run)
{
    aegis_act_t  *act;

    act = &run->act;
    act->conf = w->conf;
    act->deadline = aegis_act_now() + act->timeout_ms;

    if (!aegis_exec_act_checked(run)) {
        return;
    }

    if (run->next.phase == AEGIS_EXEC_CHECK) {
        act->adapter->check(act);
    } else {
        act->adapter->start(act);
    }
}

void
aegis_exec_act_recover(aegis_worker_t *w, aegis_exec_run_t *run)
{
    aegis_act_t  *act;

    act = &run->act;
    act->deadline = aegis_act_now() + act->timeout_ms;

    if (act->adapter == NULL || act->adapter->recover == NULL
        || run->next.phase == AEGIS_EXEC_CHECK)
    {
        aegis_act_unknown(act, "its executor stopped before it was over");
    } else {
        act->adapter->recover(act);
    }

    if (act->cancelled || (act->state == AEGIS_ACT_UNKNOWN && act->error[0] == '\0')) {
        aegis_act_unknown(act, "its executor stopped before it was over");
    }
}

void
aegis_exec_act_cancel(aegis_worker_t *w, aegis_exec_run_t *run, const char *why)
{
    aegis_act_t  *act;

    act = &run->act;
    act->conf = w->conf;

    if (run->why == NULL) {
        run->give_up_at = aegis_act_now() + AEGIS_ACT_GRACE_MS;
    }
    run->why = why;
    act->adapter->cancel(act, strcmp(why, "fence") == 0);
}

void
aegis_exec_act_poll(aegis_worker_t *w, aegis_exec_run_t *run)
{
    int64_t       now;
    aegis_act_t  *act;

    act = &run->act;
    act->conf = w->conf;
    now = aegis_act_now();

    if (act->poll_at <= now || run->why) {
        act->poll_at = 0;
        act->adapter->poll(act);
    }

    if (act->state != AEGIS_ACT_RUNNING) {
        if (act->cancelled && run->why && strcmp(run->why, "timeout") == 0) {
            aegis_act_fail(act, 0, "timed out after %lld s",
                           (long long) ((act->timeout_ms + 999) / 1000));
            act->state = AEGIS_ACT_TIMEOUT;
            act->cancelled = 0;
        }
        return;
    }

    if (run->why == NULL && now >= act->deadline + AEGIS_EXEC_SLACK_MS) {
        aegis_exec_act_cancel(w, run, "timeout");

    } else if (run->why && now >= run->give_up_at) {
        aegis_log(AEGIS_LOG_ERROR, "exec", "step.given_up", "exec_id", "%s", run->exec_id,
                  "action", "%s", aegis_action(act->action)->name, "why", "%s", run->why, NULL);
        aegis_act_unknown(act, "could not be ended (%s)", run->why);
    }
}

void
aegis_exec_act_outputs(aegis_exec_t *x, aegis_exec_run_t *run, int last)
{
    int      i, put;
    char     key[AEGIS_SINK_KEY], prefix[128];
    json_t  *json;
    int64_t  now, size;

    if (last) {
        aegis_sink_end(&run->act);
    }

    prefix[0] = '\0';
    if (x->store) {
        aegis_store_key(x->store, "", prefix, sizeof(prefix));
    }
    json = aegis_sink_json(&run->act, x->store ? aegis_store_bucket(x->store) : "", prefix);
    free(run->output_text);
    run->output_text = json ? aegis_json_text(json) : NULL;
    json_decref(json);

    now = aegis_act_now();
    put = last || now >= run->stored_at + AEGIS_EXEC_STORE_MS;

    for (i = 0; i < AEGIS_N_OUTPUTS; i++) {
        size = aegis_sink_size(&run->act, i);
        run->told[i] = size;
        if (put && size > 0 && run->act.sink[i].fd >= 0 && x->store) {
            aegis_sink_key(&run->act, i, key);
            (void) aegis_store_put(x->store, key, run->act.sink[i].fd, size, last);
            run->stored_at = now;
        }
    }

    if (last && run->act.result) {
        free(run->result_text);
        run->result_text = json_dumps(run->act.result, JSON_COMPACT);
        if (run->result_text && strlen(run->result_text) > AEGIS_ACT_RESULT) {
            free(run->result_text);
            run->result_text = NULL;
        }
    }
}

int
aegis_exec_act_news(const aegis_exec_run_t *run, int64_t now)
{
    int           i;
    aegis_act_t  *act;

    act = (aegis_act_t *) &run->act;
    if (now < run->told_at + AEGIS_EXEC_PROGRESS_MS) {
        return 0;
    }

    for (i = 0; i < AEGIS_N_OUTPUTS; i++) {
        if (act->sink[i].fd >= 0 && aegis_sink_size(act, i) != run->told[i]) {
            return 1;
        }
    }

    return 0;
}

void
aegis_exec_act_release(aegis_exec_run_t *run)
{
    aegis_act_t  *act;

    act = &run->act;

    if (act->adapter && act->adapter->release) {
        act->adapter->release(act);
    }

    aegis_sink_close(act);
    json_decref(act->result);
    act->result = NULL;
    act->adapter = NULL;
}
