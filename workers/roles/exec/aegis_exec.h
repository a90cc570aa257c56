/*
 * aegis_exec.h: what the files of the executor share.
 *   aegis_exec.c       the role: messages in, the tick, the stop
 *   aegis_exec_run.c   one run on its way, as a state machine that never blocks
 *   aegis_exec_next.c  what comes next, by the plan and the attempts; pure
 *   aegis_exec_db.c    messages, claims and leases; cancels that come with them
 *   aegis_exec_commit.c  what runs wait for, over all that wait for the same
 *   aegis_exec_made.c  attempts that act nowhere: made first, recorded together
 *   aegis_exec_idle.c  the same of a whole run, for a case that is carried on
 *   aegis_exec_end.c   records them, ends runs, and moves their cases, at once
 *   aegis_exec_act.c   one attempt: its adapter's calls, its deadline, its outputs
 *   aegis_adapter.h    how a step acts
 * Invariant: nothing acts before its attempt is committed as RUNNING, under a
 * lease that is ours; nothing is done after it before its end is committed. An
 * attempt of an adapter that changes nothing needs no intent.
 */
#ifndef AEGIS_EXEC_H
#define AEGIS_EXEC_H

#include "aegis_carry.h"
#include "aegis_sink.h"
#include "aegis_span.h"
#include "aegis_role.h"
#include "aegis_store.h"

#define AEGIS_EXEC_ACTOR     "aegis:exec"
#define AEGIS_EXEC_GROUP     256        /* items in a statement */
#define AEGIS_EXEC_MAX_RUNS  4096       /* exec.concurrency at most */
#define AEGIS_EXEC_ID        37         /* a UUID and its end */
#define AEGIS_EXEC_REASON    640

typedef enum { AEGIS_EXEC_CHECK, AEGIS_EXEC_STEP, AEGIS_EXEC_ROLLBACK } aegis_exec_phase_t;

typedef struct {
    aegis_exec_phase_t  phase;
    int                 step_no;
    int                 attempt;
    aegis_act_state_t   state;
    int                 retry_safe;
    int                 final;          /* its adapter said that retrying is no use */
    char                token[AEGIS_EXEC_ID];
    char                error[256];
} aegis_exec_attempt_t;

typedef enum {
    AEGIS_NEXT_ACT,                     /* make this attempt */
    AEGIS_NEXT_RECOVER,                 /* ask what became of log->v[index] */
    AEGIS_NEXT_DONE,
    AEGIS_NEXT_FAILED
} aegis_exec_next_kind_t;

typedef struct {
    aegis_exec_next_kind_t  kind;
    aegis_exec_phase_t      phase;
    int                     step_no;
    int                     attempt;
    int64_t                 delay_ms;   /* before the attempt, without jitter */
    size_t                  index;
    int                     cancelled;  /* FAILED, because somebody wanted that */
    char                    reason[AEGIS_EXEC_REASON];
} aegis_exec_next_t;

typedef struct {
    aegis_exec_attempt_t  *v;           /* in the order of step_no, attempt */
    size_t                 n;
    size_t                 size;
} aegis_exec_log_t;

/* What is asked of a run from outside. */
typedef struct {
    int          dry;                   /* check every step, act nowhere */
    int          only_back;             /* the rollback and nothing else */
    int          rollback;              /* of cancel: roll back what was done */
    const char  *cancel;                /* why it is to end; NULL: it is not */
} aegis_exec_want_t;

typedef enum {
    AEGIS_RUN_NEXT,                     /* to be decided */
    AEGIS_RUN_WAIT,                     /* until wake_at, then BEGIN */
    AEGIS_RUN_BEGIN,                    /* the intent is to be committed */
    AEGIS_RUN_START,                    /* it is: act */
    AEGIS_RUN_ACT,                      /* the adapter is at work (or recovers) */
    AEGIS_RUN_END,                      /* the outcome is to be committed */
    AEGIS_RUN_RECORD,                   /* what was made is to be committed */
    AEGIS_RUN_FINISH,                   /* the run's end is; and what was made before */
    AEGIS_RUN_DYING,                    /* not ours any more, its act is being ended */
    AEGIS_RUN_GONE
} aegis_run_at_t;

/* An attempt that was over before anything was recorded of it. */
typedef struct {
    const char   *phase;
    const char   *action;               /* of the plan */
    const char   *state;
    int           retry_safe;
    int           final;
    int           has_exit;
    char          step_text[12];
    char          attempt_text[12];
    char          exit_text[12];
    char          token[AEGIS_EXEC_ID];
    char          error[256];
    char         *output;               /* owned; NULL: none */
    char         *result;
} aegis_exec_made_t;

typedef enum { AEGIS_MADE_OK, AEGIS_MADE_FENCED, AEGIS_MADE_LEFT } aegis_exec_verdict_t;

typedef struct {
    aegis_run_at_t      at;
    char               *tenant;
    char               *traceparent;
    char                case_id[AEGIS_EXEC_ID];
    char                exec_id[AEGIS_EXEC_ID];
    int                 epoch;
    json_t             *body;           /* owned; plan is in it */
    const json_t       *plan;
    aegis_exec_log_t    log;

    aegis_exec_next_t   next;           /* the attempt that is being made */
    aegis_act_t         act;
    json_t             *no_params;      /* owned; what act.params is when absent */
    const char         *why;            /* cancel() was called: "timeout", "cancel",
                                           "stop" or "fence"; NULL: it was not */
    int64_t             give_up_at;     /* then: when its grace is over */
    char                token[AEGIS_EXEC_ID];
    int                 retry_safe;
    char                target[AEGIS_ACT_TARGET];
    int                 target_limit;
    int64_t             busy_since;     /* its target takes no more; 0: it does */
    int64_t             acted_at;
    int64_t             told_at;        /* its outputs were looked at */
    int64_t             told[AEGIS_N_OUTPUTS];     /* bytes that were told of */
    int64_t             stored_at;

    int                 cancelled;      /* the case has left EXECUTING */
    aegis_exec_want_t   want;
    int                 cancel_heard;   /* what is under way was decided with it */
    char                cancel_text[AEGIS_EXEC_REASON];
    aegis_exec_made_t  *made;           /* owned */
    size_t              n_made;
    size_t              size_made;
    aegis_exec_verdict_t  verdict;      /* of the statement that records them */
    const char         *state;          /* of the run, when at FINISH */
    char                reason[AEGIS_EXEC_REASON];

    int64_t             lease_until;    /* by our clock, from before the statement */
    int64_t             wake_at;        /* not before, in WAIT and for statements */
    int                 tries;          /* of the statement it waits for */

    /* numbers as text, for the item */
    char                epoch_text[12];
    char                step_text[12];
    char                attempt_text[12];
    char                exit_text[12];
    char                limit_text[12];
    aegis_span_t       *span;           /* owned; NULL: nobody traces it */
    char               *output_text;    /* owned, of the statement under way */
    char               *result_text;
} aegis_exec_run_t;

typedef struct {
    aegis_exec_run_t  **runs;
    size_t              n_runs;
    aegis_item_t       *items;          /* AEGIS_EXEC_GROUP of them */
    aegis_store_t      *store;
    size_t              storing;        /* objects that are not stored yet */
    int                 objects;        /* exec.object_dir */
    const char         *owner;
    unsigned            seed;
    int                 configured;     /* the adapters are */
    int                 stopping;       /* begin nothing any more */
    int                 lease_s;
    int64_t             heartbeat_at;
    int64_t             claim_at;
    int64_t             due_at;         /* when the tick wants to run again */
    aegis_metric_t     *running;
    aegis_metric_t     *seconds;
    aegis_metric_t     *busy;
    int64_t             claimed_at;     /* when we last looked for runs, and cancels */
} aegis_exec_t;

/* --- aegis_exec_next.c */

void aegis_exec_next(const json_t *plan, const aegis_exec_log_t *log,
    const aegis_exec_want_t *want, aegis_exec_next_t *ret);

/* NULL: the plan has no such step. A check of step n + i is one of rollback i. */
const json_t *aegis_exec_step(const json_t *plan, aegis_exec_phase_t phase, int step_no);
const char *aegis_exec_phase_name(aegis_exec_phase_t phase);
aegis_exec_phase_t aegis_exec_phase_by_name(const char *name);

/* --- aegis_exec_act.c */

/* Make run->act ready for the attempt of run->next. */
void aegis_exec_act_prepare(aegis_worker_t *w, aegis_exec_run_t *run);

/* The calls of its adapter. Its state says whether it is over. */
void aegis_exec_act_start(aegis_worker_t *w, aegis_exec_run_t *run);
void aegis_exec_act_recover(aegis_worker_t *w, aegis_exec_run_t *run);
void aegis_exec_act_poll(aegis_worker_t *w, aegis_exec_run_t *run);
void aegis_exec_act_cancel(aegis_worker_t *w, aegis_exec_run_t *run, const char *why);

/* Where its outputs are and how they end, as text in run->output_text, and hand
 * them to the store; last: nothing comes after. */
void aegis_exec_act_outputs(aegis_exec_t *x, aegis_exec_run_t *run, int last);

/* It has written something that was not told of, and it is time to. */
int aegis_exec_act_news(const aegis_exec_run_t *run, int64_t now);

/* It is over, or given up: free what it held. */
void aegis_exec_act_release(aegis_exec_run_t *run);

/* --- aegis_exec_run.c */

/* ms and up to a quarter more or less. */
int64_t aegis_exec_jitter(aegis_exec_t *x, int64_t ms);

/* A run out of what exec_claim says of it; NULL: no memory. */
aegis_exec_run_t *aegis_exec_run_new(const char *tenant, const char *case_id,
    const char *exec_id, int epoch, const char *traceparent, const char *body);
/* The same of a body that is read; steals it. */
aegis_exec_run_t *aegis_exec_run_of(const char *tenant, const char *case_id,
    const char *exec_id, int epoch, const char *traceparent, json_t *body);
void aegis_exec_run_free(aegis_exec_run_t *run);

/* Go on without the database. 1: something has changed. */
int aegis_exec_run_go(aegis_worker_t *w, aegis_exec_run_t *run, int64_t now);

/* Somebody else owns it: end what runs and forget it. */
void aegis_exec_run_fence(aegis_worker_t *w, aegis_exec_run_t *run);

/* End what runs, then the run. what is of exec_cancelled() in SQL; NULL: the
 * case has left EXECUTING. */
void aegis_exec_run_cancel(aegis_worker_t *w, aegis_exec_run_t *run, const json_t *what);

/* The attempt's end is committed. */
void aegis_exec_run_ended(aegis_exec_t *x, aegis_exec_run_t *run, int64_t now);

/* The attempt of run->next has ended: count it and add it to the log. 0: no memory. */
int aegis_exec_run_logged(aegis_exec_t *x, aegis_exec_run_t *run, int64_t now);

/* "OK", "FAILED", … of exec_step.state. */
const char *aegis_act_state_name(aegis_act_state_t state);
aegis_act_state_t aegis_act_state_by_name(const char *name);

/* --- aegis_exec_made.c */

/* Make the attempt that was prepared, when it changes nothing and takes no time; its
 * end is in run->made then. 0: it has to begin as others do. */
int aegis_exec_made(aegis_worker_t *w, aegis_exec_run_t *run, int64_t now);
void aegis_exec_made_item(const aegis_exec_run_t *run, const aegis_exec_made_t *made,
    aegis_item_t *item);
void aegis_exec_made_clear(aegis_exec_run_t *run);

/* --- aegis_exec_idle.c: aegis_carry_idle_pt */

json_t *aegis_exec_idle(const aegis_carry_run_t *run);

/* --- aegis_exec_end.c */

/* Commit what was made, and what is to finish, and carry the cases on as far as this
 * process goes. Returns how many runs it has moved on. */
size_t aegis_exec_end(aegis_worker_t *w, int64_t now);

/* --- aegis_exec_span.c: the run's span, below it one an attempt that acted */

void aegis_exec_span_run(aegis_exec_run_t *run, const char *context);
void aegis_exec_span_step(const aegis_exec_run_t *run, int64_t now);
void aegis_exec_span_end(aegis_exec_run_t *run);

/* --- aegis_exec_db.c: each returns how many runs it has moved on */

aegis_code_t aegis_exec_db_accept(aegis_worker_t *w, aegis_delivery_t *d, size_t n);
size_t aegis_exec_db_claim(aegis_worker_t *w, size_t limit);

/* lease_s 0 gives the runs back: anybody may claim them at once. */
void aegis_exec_db_heartbeat(aegis_worker_t *w, int lease_s);

/* --- aegis_exec_commit.c */

/* It was not committed: not before a growing time. */
void aegis_exec_later(aegis_exec_t *x, aegis_exec_run_t *run, int64_t now);

/* Commit what all runs at this point wait for: BEGIN or END. */
size_t aegis_exec_db_commit(aegis_worker_t *w, aegis_run_at_t at, int64_t now);

/* Tell what the acts at work have written meanwhile. */
void aegis_exec_db_progress(aegis_worker_t *w, int64_t now);

#endif
