/*
 * aegis_exec_run.c: one run on its way from claim to finish. Each call does
 * what can be done without waiting; what has to be committed first is left to
 * aegis_exec_db.c, for all runs at once.
 * Invariant: `at` says what the run waits for, and an adapter is started only
 * in START: the intent is committed and the lease is ours by our own clock.
 */
#include "aegis_exec.h"

#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "aegis_failpoint.h"
#include "aegis_http.h"
#include "aegis_json.h"

static const char *const  aegis_act_states[] = {
    "RUNNING", "OK", "FAILED", "TIMEOUT", "UNKNOWN"
};

const char *
aegis_act_state_name(aegis_act_state_t state)
{
    return aegis_act_states[state];
}

aegis_act_state_t
aegis_act_state_by_name(const char *name)
{
    int  i;

    for (i = AEGIS_ACT_RUNNING; i < AEGIS_ACT_UNKNOWN; i++) {
        if (strcmp(aegis_act_states[i], name) == 0) {
            return (aegis_act_state_t) i;
        }
    }

    return AEGIS_ACT_UNKNOWN;
}

int64_t
aegis_exec_jitter(aegis_exec_t *x, int64_t ms)
{
    return ms - ms / 4 + (ms > 1 ? rand_r(&x->seed) % (ms / 2 + 1) : 0);
}

/* A place for one more attempt; NULL: no memory. */
static aegis_exec_attempt_t *
aegis_exec_log_add(aegis_exec_log_t *log)
{
    size_t                 size;
    aegis_exec_attempt_t  *v;

    if (log->n == log->size) {
        size = log->size ? log->size * 2 : 8;
        v = realloc(log->v, size * sizeof(aegis_exec_attempt_t));
        if (v == NULL) {
            return NULL;
        }
        log->v = v;
        log->size = size;
    }

    v = &log->v[log->n++];
    memset(v, 0, sizeof(*v));
    return v;
}

static int
aegis_exec_log_read(aegis_exec_log_t *log, const json_t *steps)
{
    size_t                 i;
    const json_t          *s;
    aegis_exec_attempt_t  *a;

    for (i = 0; i < json_array_size(steps); i++) {
        s = json_array_get(steps, i);
        a = aegis_exec_log_add(log);
        if (a == NULL) {
            return 0;
        }

        a->phase = aegis_exec_phase_by_name(aegis_json_str(s, "phase"));
        a->step_no = (int) json_integer_value(json_object_get(s, "step_no"));
        a->attempt = (int) json_integer_value(json_object_get(s, "attempt"));
        a->state = aegis_act_state_by_name(aegis_json_str(s, "state"));
        a->retry_safe = json_is_true(json_object_get(s, "retry_safe"));
        a->final = json_is_true(json_object_get(s, "final"));
        snprintf(a->token, sizeof(a->token), "%s", aegis_json_str(s, "token"));
        snprintf(a->error, sizeof(a->error), "%s", aegis_json_str(s, "error"));
    }

    return 1;
}

static void
aegis_exec_run_finish(aegis_exec_run_t *run, const char *state, const char *reason)
{
    run->at = AEGIS_RUN_FINISH;
    run->state = state;
    run->wake_at = 0;
    snprintf(run->reason, sizeof(run->reason), "%s", reason);
}

/* Take over what SQL's exec_cancelled() says. */
static void
aegis_exec_run_want(aegis_exec_run_t *run, const json_t *cancel)
{
    if (!json_is_object(cancel)) {
        return;
    }

    if (json_is_true(json_object_get(cancel, "left"))) {
        run->cancelled = 1;
        return;
    }

    snprintf(run->cancel_text, sizeof(run->cancel_text), "%s", aegis_json_str(cancel, "reason"));
    run->want.cancel = run->cancel_text;
    run->want.rollback = json_is_true(json_object_get(cancel, "rollback"));
}

aegis_exec_run_t *
aegis_exec_run_new(const char *tenant, const char *case_id, const char *exec_id, int epoch,
    const char *traceparent, const char *body)
{
    json_t         *json;
    aegis_error_t   err = AEGIS_ERROR_INIT;

    if (aegis_json_parse(aegis_view(body), &json, &err) != AEGIS_E_OK) {
        json = NULL;
    }
    aegis_error_clear(&err);

    return aegis_exec_run_of(tenant, case_id, exec_id, epoch, traceparent, json);
}

aegis_exec_run_t *
aegis_exec_run_of(const char *tenant, const char *case_id, const char *exec_id, int epoch,
    const char *traceparent, json_t *body)
{
    aegis_exec_run_t  *run;

    run = calloc(1, sizeof(aegis_exec_run_t));
    if (run == NULL) {
        json_decref(body);
        return NULL;
    }

    run->tenant = strdup(tenant);
    run->traceparent = strdup(traceparent ? traceparent : "");
    run->epoch = epoch;
    snprintf(run->case_id, sizeof(run->case_id), "%s", case_id);
    snprintf(run->exec_id, sizeof(run->exec_id), "%s", exec_id);
    snprintf(run->epoch_text, sizeof(run->epoch_text), "%d", epoch);

    run->body = body;
    run->plan = json_object_get(run->body, "plan");
    run->no_params = json_object();
    run->want.dry = json_is_true(json_object_get(run->body, "dry_run"));
    run->want.only_back = strcmp(aegis_json_str(run->body, "phase"), "rollback") == 0;
    aegis_exec_run_want(run, json_object_get(run->body, "cancel"));
    aegis_sink_init(&run->act);

    if (run->tenant == NULL || run->traceparent == NULL
        || !aegis_exec_log_read(&run->log, json_object_get(run->body, "steps")))
    {
        aegis_exec_run_free(run);
        return NULL;
    }

    if (!json_is_object(run->plan)) {
        aegis_exec_run_finish(run, "FAILED", "the plan cannot be read");
    }

    return run;
}

void
aegis_exec_run_free(aegis_exec_run_t *run)
{
    aegis_exec_act_release(run);
    aegis_exec_made_clear(run);
    free(run->made);
    free(run->traceparent);
    json_decref(run->body);
    json_decref(run->no_params);
    free(run->log.v);
    free(run->span);
    free(run->output_text);
    free(run->result_text);
    free(run->tenant);
    free(run);
}

/* The epoch is in the token: two owners that both believe to be the one never
 * commit the same intent. */
static void
aegis_exec_run_token(aegis_exec_run_t *run)
{
    char         name[128];
    aegis_str_t  s;

    snprintf(name, sizeof(name), "%s:%s:%d:%d:%d", run->exec_id,
             aegis_exec_phase_name(run->next.phase), run->next.step_no, run->next.attempt,
             run->epoch);
    s = aegis_view(name);
    aegis_uuid_named(s, run->token);
}

/* An attempt that somebody made before us: what became of it? */
static void
aegis_exec_run_recover(aegis_worker_t *w, aegis_exec_run_t *run)
{
    aegis_exec_attempt_t  *a;

    a = &run->log.v[run->next.index];
    memcpy(run->token, a->token, sizeof(run->token));
    aegis_exec_act_prepare(w, run);
    run->retry_safe = a->retry_safe;
    aegis_exec_act_recover(w, run);

    run->at = run->act.state == AEGIS_ACT_RUNNING ? AEGIS_RUN_ACT : AEGIS_RUN_END;
}

static void
aegis_exec_run_recovered(const aegis_exec_run_t *run)
{
    char                labels[64];
    const aegis_act_t  *act;

    act = &run->act;
    snprintf(labels, sizeof(labels), "outcome=\"%s\"",
             act->state == AEGIS_ACT_UNKNOWN ? "unknown" : "known");
    aegis_metric_add(aegis_counter("aegis_exec_recovered_total", labels,
        "attempts of a lost executor that were looked into"), 1);
    aegis_log(AEGIS_LOG_WARN, "exec", "step.recovered", "exec_id", "%s", run->exec_id,
              "phase", "%s", act->phase, "step", "%d", act->step_no,
              "attempt", "%d", act->attempt, "state", "%s",
              aegis_act_state_name(act->state), NULL);
}

static int
aegis_exec_run_decide(aegis_worker_t *w, aegis_exec_run_t *run, int64_t now)
{
    aegis_exec_t  *x;

    x = w->data;

    if (run->cancelled) {
        aegis_exec_run_finish(run, "CANCELLED", "the case has left EXECUTING");
        return 1;
    }

    for ( ;; ) {
        run->cancel_heard = run->want.cancel != NULL;
        aegis_exec_next(run->plan, &run->log, &run->want, &run->next);

        if (run->next.kind == AEGIS_NEXT_DONE) {
            aegis_exec_run_finish(run, "DONE", "");
            return 1;
        }
        if (run->next.kind == AEGIS_NEXT_FAILED) {
            aegis_exec_run_finish(run, run->next.cancelled ? "CANCELLED" : "FAILED",
                                  run->next.reason);
            return 1;
        }
        if (run->next.kind == AEGIS_NEXT_ACT && !x->stopping) {
            aegis_exec_run_token(run);
            aegis_exec_act_prepare(w, run);
            if (aegis_exec_made(w, run, now)) {
                continue;
            }
        }
        break;
    }

    if (run->at == AEGIS_RUN_GONE) {
        return 1;
    }
    if (run->n_made > 0) {
        run->at = AEGIS_RUN_RECORD;
        return 1;
    }
    if (run->next.kind == AEGIS_NEXT_RECOVER) {
        aegis_exec_run_recover(w, run);
        return 1;
    }
    if (x->stopping) {
        return 0;
    }

    run->at = AEGIS_RUN_BEGIN;

    if (run->next.delay_ms > 0) {
        run->wake_at = now + aegis_exec_jitter(x, run->next.delay_ms);
        run->at = AEGIS_RUN_WAIT;
    }

    return 1;
}

static int
aegis_exec_run_start(aegis_worker_t *w, aegis_exec_run_t *run, int64_t now)
{
    aegis_act_t  *act;

    act = &run->act;

    if (run->cancelled || (run->want.cancel && !run->cancel_heard)) {
        aegis_act_fail(act, 1, "not started: %s",
                       run->cancelled ? "the case has left EXECUTING" : run->want.cancel);
        run->at = AEGIS_RUN_END;
        return 1;
    }

    /* the lease may be another's by now: only a heartbeat can tell */
    if (now >= run->lease_until) {
        return 0;
    }

    (void) AEGIS_FP(exec_before_effect, "exec");

    run->acted_at = now;
    if (run->busy_since > 0 && run->target[0] == '\0') {
        aegis_act_fail(act, 0, "its target was busy for %lld s",
                       (long long) ((now - run->busy_since) / 1000));
    } else {
        aegis_exec_act_start(w, run);
    }
    run->at = act->state == AEGIS_ACT_RUNNING ? AEGIS_RUN_ACT : AEGIS_RUN_END;
    if (run->at == AEGIS_RUN_END) {
        (void) AEGIS_FP(exec_after_effect, "exec");
    }
    return 1;
}

/* Did it end because we are stopped? A service manager may send SIGTERM to the
 * scripts at the same time as to us. */
static int
aegis_exec_run_cut_off(aegis_worker_t *w, const aegis_act_t *act)
{
    return *w->stopping
           && (act->cancelled || (act->state == AEGIS_ACT_FAILED && act->has_exit
                                  && act->exit_code == 128 + SIGTERM));
}

static int
aegis_exec_run_poll(aegis_worker_t *w, aegis_exec_run_t *run)
{
    aegis_act_t  *act;

    act = &run->act;
    aegis_exec_act_poll(w, run);
    if (act->state == AEGIS_ACT_RUNNING) {
        (void) AEGIS_FP(exec_mid_effect, "exec");
        return 0;
    }

    (void) AEGIS_FP(exec_after_effect, "exec");

    if (run->at == AEGIS_RUN_DYING) {
        run->at = AEGIS_RUN_GONE;
        return 1;
    }

    if (act->cancelled && (run->cancelled || run->want.cancel)) {
        aegis_act_fail(act, 1, "stopped: %s",
                       run->cancelled ? "the case has left EXECUTING" : run->want.cancel);

    } else if (aegis_exec_run_cut_off(w, act)) {
        /* half done is what the next owner has to assume */
        aegis_act_fail(act, 0, "its executor was stopped");
        act->state = AEGIS_ACT_UNKNOWN;
    }

    run->at = AEGIS_RUN_END;
    return 1;
}

int
aegis_exec_run_go(aegis_worker_t *w, aegis_exec_run_t *run, int64_t now)
{
    int            asked;
    aegis_exec_t  *x;

    x = w->data;
    asked = run->cancelled || (run->want.cancel && !run->cancel_heard);

    switch (run->at) {

    case AEGIS_RUN_NEXT:
        return aegis_exec_run_decide(w, run, now);

    case AEGIS_RUN_WAIT:
        if (!asked && (x->stopping || now < run->wake_at)) {
            return 0;
        }
        run->at = asked ? AEGIS_RUN_NEXT : AEGIS_RUN_BEGIN;
        run->wake_at = 0;
        return 1;

    case AEGIS_RUN_BEGIN:
        /* sent already, it may be committed: then its row is there to be found */
        if (!asked || (run->tries > 0 && run->busy_since == 0)) {
            return 0;
        }
        run->at = AEGIS_RUN_NEXT;
        return 1;

    case AEGIS_RUN_START:
        return aegis_exec_run_start(w, run, now);

    case AEGIS_RUN_ACT:
    case AEGIS_RUN_DYING:
        return aegis_exec_run_poll(w, run);

    default:
        return 0;
    }
}

void
aegis_exec_run_fence(aegis_worker_t *w, aegis_exec_run_t *run)
{
    if (run->at == AEGIS_RUN_ACT) {
        aegis_exec_act_cancel(w, run, "fence");
        run->at = AEGIS_RUN_DYING;

    } else if (run->at != AEGIS_RUN_DYING) {
        run->at = AEGIS_RUN_GONE;
    }
}

void
aegis_exec_run_cancel(aegis_worker_t *w, aegis_exec_run_t *run, const json_t *what)
{
    if (run->cancelled || (what && run->want.cancel)) {
        return;
    }

    if (what) {
        aegis_exec_run_want(run, what);
    } else {
        run->cancelled = 1;
    }

    aegis_log(AEGIS_LOG_INFO, "exec", "run.cancelled", "exec_id", "%s", run->exec_id,
              "reason", "%s", run->cancelled ? "the case has left EXECUTING" : run->cancel_text,
              NULL);

    /* what goes back because of this cancel, or in spite of it, goes on */
    if (run->at == AEGIS_RUN_ACT
        && (run->cancelled || !run->want.rollback || run->next.phase != AEGIS_EXEC_ROLLBACK))
    {
        aegis_exec_act_cancel(w, run, "cancel");
    }
}

int
aegis_exec_run_logged(aegis_exec_t *x, aegis_exec_run_t *run, int64_t now)
{
    char                   labels[96];
    aegis_act_t           *act;
    aegis_exec_attempt_t  *a;

    act = &run->act;
    a = run->next.kind == AEGIS_NEXT_RECOVER ? &run->log.v[run->next.index]
        : aegis_exec_log_add(&run->log);
    if (a == NULL) {
        return 0;
    }

    a->phase = run->next.phase;
    a->step_no = run->next.step_no;
    a->attempt = run->next.attempt;
    a->state = act->state;
    a->retry_safe = run->retry_safe;
    a->final = act->final;
    memcpy(a->token, run->token, sizeof(a->token));
    memcpy(a->error, act->error, sizeof(a->error));

    /* actions are a plan's free text; only ours may become a label */
    snprintf(labels, sizeof(labels), "action=\"%s\",state=\"%s\"",
             act->adapter ? aegis_action(act->action)->name : "other",
             aegis_act_state_name(act->state));
    aegis_metric_add(aegis_counter("aegis_exec_steps_total", labels,
                                   "attempts of steps that ended, by outcome"), 1);
    aegis_metric_observe(x->seconds, (double) (now - run->acted_at) / 1000);
    aegis_exec_act_release(run);
    return 1;
}

void
aegis_exec_run_ended(aegis_exec_t *x, aegis_exec_run_t *run, int64_t now)
{
    (void) AEGIS_FP(exec_after_record, "exec");

    if (run->next.kind == AEGIS_NEXT_RECOVER) {
        aegis_exec_run_recovered(run);
    }

    if (!aegis_exec_run_logged(x, run, now)) {
        run->at = AEGIS_RUN_GONE;       /* the lease ends, and the log is read again */
        return;
    }

    run->at = AEGIS_RUN_NEXT;
    run->wake_at = 0;
    run->tries = 0;
}
