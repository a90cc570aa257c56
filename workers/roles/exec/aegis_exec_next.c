/*
 * aegis_exec_next.c: what a run does next, decided by its plan and the attempts
 * that were made, and by nothing else: a run that was taken over after a crash
 * goes on exactly as it would have gone on before.
 * Invariants: a step whose outcome is unknown is made again only when it is
 * retry_safe, and nothing is rolled back behind an unknown outcome.
 */
#include "aegis_exec.h"

#include <stdio.h>
#include <string.h>

#include "aegis_json.h"

#define AEGIS_EXEC_BACKOFF_MS      1000
#define AEGIS_EXEC_MAX_BACKOFF_MS  60000
/* A step that takes its executor down with it must not do so for ever. */
#define AEGIS_EXEC_MAX_UNKNOWN     3
/* Whole: the longest name (100 characters), the longest error, the words
 * around them. Only the reason made of it is cut, between two characters. */
#define AEGIS_EXEC_BLAME           1024

typedef enum {
    AEGIS_WALK_PASSED,                  /* every step is OK */
    AEGIS_WALK_NEXT,                    /* ret says what to do */
    AEGIS_WALK_FAILED,
    AEGIS_WALK_UNKNOWN
} aegis_exec_walk_t;

const char *
aegis_exec_phase_name(aegis_exec_phase_t phase)
{
    return phase == AEGIS_EXEC_CHECK ? "check" : phase == AEGIS_EXEC_STEP ? "step" : "rollback";
}

aegis_exec_phase_t
aegis_exec_phase_by_name(const char *name)
{
    return strcmp(name, "check") == 0 ? AEGIS_EXEC_CHECK
           : strcmp(name, "rollback") == 0 ? AEGIS_EXEC_ROLLBACK : AEGIS_EXEC_STEP;
}

static const json_t *
aegis_exec_part(const json_t *plan, aegis_exec_phase_t phase)
{
    return json_object_get(plan, phase == AEGIS_EXEC_ROLLBACK ? "rollback" : "steps");
}

const json_t *
aegis_exec_step(const json_t *plan, aegis_exec_phase_t phase, int step_no)
{
    size_t  n;

    n = json_array_size(aegis_exec_part(plan, AEGIS_EXEC_STEP));
    if (phase == AEGIS_EXEC_CHECK && (size_t) step_no > n) {
        phase = AEGIS_EXEC_ROLLBACK;
        step_no -= (int) n;
    }

    return json_array_get(aegis_exec_part(plan, phase), (size_t) step_no - 1);
}

static const char *
aegis_exec_step_name(const json_t *step)
{
    const char  *name;

    name = aegis_json_str(step, "name");
    return name[0] ? name : aegis_json_str(step, "action");
}

/* The wait before the attempt after n failures: doubled each time, bounded. */
static int64_t
aegis_exec_backoff(const json_t *retry, int n_failed)
{
    int64_t        ms, max;
    const json_t  *first;

    first = json_object_get(retry, "backoff_ms");
    ms = json_is_integer(first) ? json_integer_value(first) : AEGIS_EXEC_BACKOFF_MS;
    ms = ms < 0 ? 0 : ms;
    max = ms > AEGIS_EXEC_MAX_BACKOFF_MS ? ms : AEGIS_EXEC_MAX_BACKOFF_MS;

    while (--n_failed > 0 && ms < max) {
        ms *= 2;
    }

    return ms < max ? ms : max;
}

static void
aegis_exec_again(aegis_exec_next_t *ret, const aegis_exec_attempt_t *last, int64_t delay)
{
    ret->kind = AEGIS_NEXT_ACT;
    ret->phase = last->phase;
    ret->step_no = last->step_no;
    ret->attempt = last->attempt + 1;
    ret->delay_ms = delay;
}

/* One step by its attempts. PASSED: go on to the following one. */
static aegis_exec_walk_t
aegis_exec_judge(const json_t *plan, const aegis_exec_log_t *log,
    aegis_exec_phase_t phase, int step_no, aegis_exec_next_t *ret,
    const aegis_exec_attempt_t **ret_last)
{
    int                          n_failed, n_unknown;
    size_t                       i;
    const json_t                *retry;
    const aegis_exec_attempt_t  *a, *last;

    last = NULL;
    n_failed = n_unknown = 0;

    for (i = 0; i < log->n; i++) {
        a = &log->v[i];
        if (a->phase != phase || a->step_no != step_no) {
            continue;
        }
        n_failed += a->state == AEGIS_ACT_FAILED || a->state == AEGIS_ACT_TIMEOUT;
        n_unknown += a->state == AEGIS_ACT_UNKNOWN;
        if (last == NULL || a->attempt > last->attempt) {
            last = a;
        }
    }

    *ret_last = last;

    if (last == NULL) {
        ret->kind = AEGIS_NEXT_ACT;
        ret->phase = phase;
        ret->step_no = step_no;
        ret->attempt = 1;
        ret->delay_ms = 0;
        return AEGIS_WALK_NEXT;
    }

    switch (last->state) {

    case AEGIS_ACT_OK:
        return AEGIS_WALK_PASSED;

    case AEGIS_ACT_RUNNING:
        ret->kind = AEGIS_NEXT_RECOVER;
        ret->phase = phase;
        ret->step_no = step_no;
        ret->attempt = last->attempt;
        ret->delay_ms = 0;
        ret->index = (size_t) (last - log->v);
        return AEGIS_WALK_NEXT;

    case AEGIS_ACT_UNKNOWN:
        if (!last->retry_safe || n_unknown > AEGIS_EXEC_MAX_UNKNOWN) {
            return AEGIS_WALK_UNKNOWN;
        }
        aegis_exec_again(ret, last, 0);
        return AEGIS_WALK_NEXT;

    default:
        break;
    }

    retry = json_object_get(aegis_exec_step(plan, phase, step_no), "retry");
    if (last->final || n_failed > json_integer_value(json_object_get(retry, "max"))) {
        return AEGIS_WALK_FAILED;
    }

    aegis_exec_again(ret, last, aegis_exec_backoff(retry, n_failed));
    return AEGIS_WALK_NEXT;
}

static aegis_exec_walk_t
aegis_exec_walk(const json_t *plan, const aegis_exec_log_t *log,
    aegis_exec_phase_t phase, aegis_exec_next_t *ret, const aegis_exec_attempt_t **ret_last)
{
    int                n, i;
    aegis_exec_walk_t  rc;

    n = (int) json_array_size(aegis_exec_part(plan, phase));

    for (i = 1; i <= n; i++) {
        rc = aegis_exec_judge(plan, log, phase, i, ret, ret_last);
        if (rc != AEGIS_WALK_PASSED) {
            return rc;
        }
    }

    return AEGIS_WALK_PASSED;
}

/* "outcome of step 2 unknown: restart: …", "step 2 failed: restart: …" */
static void
aegis_exec_blame(const json_t *plan, const aegis_exec_attempt_t *last, int unknown,
    char *buf, size_t size)
{
    const char    *what;
    const json_t  *step;

    step = aegis_exec_step(plan, last->phase, last->step_no);
    what = last->phase == AEGIS_EXEC_STEP ? "step"
           : last->phase == AEGIS_EXEC_CHECK ? "check of step" : "rollback step";

    if (unknown) {
        snprintf(buf, size, "outcome of %s %d unknown: %s%s%s", what, last->step_no,
                 aegis_exec_step_name(step), last->error[0] ? ": " : "", last->error);
    } else {
        snprintf(buf, size, "%s %d failed: %s%s%s", what, last->step_no,
                 aegis_exec_step_name(step), last->error[0] ? ": " : "", last->error);
    }
}

static void
aegis_exec_failed(aegis_exec_next_t *ret, const char *what, const char *then)
{
    char    text[2 * AEGIS_EXEC_BLAME];
    size_t  len;

    snprintf(text, sizeof(text), "%s%s", what, then);
    len = aegis_utf8_cut(text, strlen(text), sizeof(ret->reason) - 1);
    memcpy(ret->reason, text, len);
    ret->reason[len] = '\0';
    ret->kind = AEGIS_NEXT_FAILED;
}

/* A dry run: every step and rollback step is checked, whatever the others say. */
static void
aegis_exec_next_dry(const json_t *plan, const aegis_exec_log_t *log,
    const aegis_exec_want_t *want, aegis_exec_next_t *ret)
{
    int                          i, n;
    char                         what[AEGIS_EXEC_BLAME];
    aegis_exec_walk_t            rc;
    const aegis_exec_attempt_t  *last, *bad;

    n = (int) (json_array_size(aegis_exec_part(plan, AEGIS_EXEC_STEP))
               + json_array_size(aegis_exec_part(plan, AEGIS_EXEC_ROLLBACK)));

    for (i = 1, bad = NULL; i <= n; i++) {
        last = NULL;
        rc = aegis_exec_judge(plan, log, AEGIS_EXEC_CHECK, i, ret, &last);

        /* checks are not made again: what they say is what was asked for */
        if (rc == AEGIS_WALK_NEXT && (last == NULL || last->state == AEGIS_ACT_RUNNING)) {
            if (want->cancel && last == NULL) {
                ret->cancelled = 1;
                aegis_exec_failed(ret, want->cancel, "");
            }
            return;
        }
        bad = rc == AEGIS_WALK_PASSED || bad ? bad : last;
    }

    if (bad) {
        aegis_exec_blame(plan, bad, 0, what, sizeof(what));
        aegis_exec_failed(ret, what, "");
    } else {
        ret->kind = AEGIS_NEXT_DONE;
    }
}

/* The steps are over, with what went wrong: roll back, or say why not. */
static void
aegis_exec_next_back(const json_t *plan, const aegis_exec_log_t *log, const char *what,
    const aegis_exec_want_t *want, aegis_exec_next_t *ret)
{
    char                         then[AEGIS_EXEC_BLAME];
    aegis_exec_walk_t            rc;
    const aegis_exec_attempt_t  *last;

    if (json_array_size(aegis_exec_part(plan, AEGIS_EXEC_ROLLBACK)) == 0) {
        aegis_exec_failed(ret, what, "; there is no rollback");
        return;
    }

    last = NULL;
    rc = aegis_exec_walk(plan, log, AEGIS_EXEC_ROLLBACK, ret, &last);

    if (rc == AEGIS_WALK_PASSED) {
        aegis_exec_failed(ret, what, "; rolled back");

    } else if (rc == AEGIS_WALK_NEXT && want->cancel && !want->rollback
               && ret->kind == AEGIS_NEXT_ACT)
    {
        ret->cancelled = 1;
        aegis_exec_failed(ret, what, "; its rollback was cancelled");

    } else if (rc != AEGIS_WALK_NEXT) {
        memcpy(then, "; ", 2);
        aegis_exec_blame(plan, last, rc == AEGIS_WALK_UNKNOWN, then + 2, sizeof(then) - 2);
        aegis_exec_failed(ret, what, then);
    }
}

/* The rollback of a plan whose verification failed. */
static void
aegis_exec_next_only_back(const json_t *plan, const aegis_exec_log_t *log,
    const aegis_exec_want_t *want, aegis_exec_next_t *ret)
{
    char                         what[AEGIS_EXEC_BLAME];
    aegis_exec_walk_t            rc;
    const aegis_exec_attempt_t  *last;

    last = NULL;
    rc = aegis_exec_walk(plan, log, AEGIS_EXEC_ROLLBACK, ret, &last);

    if (rc == AEGIS_WALK_PASSED) {
        ret->kind = AEGIS_NEXT_DONE;

    } else if (rc == AEGIS_WALK_NEXT && want->cancel && ret->kind == AEGIS_NEXT_ACT) {
        ret->cancelled = 1;
        aegis_exec_failed(ret, want->cancel, "");

    } else if (rc != AEGIS_WALK_NEXT) {
        aegis_exec_blame(plan, last, rc == AEGIS_WALK_UNKNOWN, what, sizeof(what));
        aegis_exec_failed(ret, what, "");
    }
}

void
aegis_exec_next(const json_t *plan, const aegis_exec_log_t *log,
    const aegis_exec_want_t *want, aegis_exec_next_t *ret)
{
    int                          cancel, begun;
    size_t                       i;
    char                         what[AEGIS_EXEC_BLAME];
    aegis_exec_walk_t            rc;
    const aegis_exec_attempt_t  *last;

    memset(ret, 0, sizeof(*ret));

    if (want->dry) {
        aegis_exec_next_dry(plan, log, want, ret);
        return;
    }

    if (want->only_back) {
        aegis_exec_next_only_back(plan, log, want, ret);
        return;
    }

    last = NULL;
    rc = aegis_exec_walk(plan, log, AEGIS_EXEC_STEP, ret, &last);

    if (rc == AEGIS_WALK_PASSED) {
        ret->kind = AEGIS_NEXT_DONE;
        return;
    }

    for (i = 0, begun = 0; i < log->n; i++) {
        begun |= log->v[i].phase == AEGIS_EXEC_ROLLBACK;
    }

    /* a cancel is heard between attempts; one that came when the plan was going
     * back already, and does not want that, is aegis_exec_next_back's */
    cancel = want->cancel != NULL && rc != AEGIS_WALK_UNKNOWN
             && (rc == AEGIS_WALK_NEXT ? ret->kind == AEGIS_NEXT_ACT
                                       : !begun || want->rollback);

    if (rc == AEGIS_WALK_NEXT && !cancel) {
        return;
    }

    if (cancel) {
        snprintf(what, sizeof(what), "%s", want->cancel);
    } else {
        aegis_exec_blame(plan, last, rc == AEGIS_WALK_UNKNOWN, what, sizeof(what));
    }

    /* to roll back is to act, and nobody knows on what */
    if (rc == AEGIS_WALK_UNKNOWN || (cancel && !want->rollback) || (cancel && log->n == 0)) {
        ret->cancelled = cancel;
        aegis_exec_failed(ret, what, log->n == 0 ? "; nothing was done" : "; not rolled back");
        return;
    }

    aegis_exec_next_back(plan, log, what, want, ret);
    ret->cancelled |= cancel;
}
