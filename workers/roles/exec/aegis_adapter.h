/*
 * aegis_adapter.h: how a step acts on the world. The contract between the
 * runner (aegis_exec_run.c) and the adapters; core/tables/adapters.def says
 * which action is whose and what its parameters are.
 *
 * One thread drives many acts at once, so no call of an adapter may wait:
 * not for a network, not for a process. It begins something and is polled.
 *
 *   1. The runner fills an act. Its parameters have passed the schema of
 *      adapters.def. The intent (exec_step, with act->token) is committed.
 *   2. start(act) begins to act. It sets act->state when it is over already,
 *      else leaves RUNNING and is polled. check(act) is the same for a dry run:
 *      it finds out whether start would work, and says in the output what it
 *      would do, but changes nothing. recover(act) is the same for an attempt
 *      that another process had started and did not see end: by act->token it
 *      finds out what became of it, or goes on waiting for it; it begins
 *      nothing anew. Without recover the outcome is UNKNOWN.
 *   3. poll(act) goes on, until act->state is not RUNNING. It is called about
 *      every 20 ms, or not before act->poll_at when the adapter sets that.
 *   4. Just after act->deadline, or when the case or the run is cancelled, or the
 *      executor stops, the runner calls cancel(act, 0): begin to end it, and
 *      be polled until it has ended. cancel(act, 1) leaves no time for
 *      politeness. Within AEGIS_ACT_GRACE_MS of the first cancel it has to be
 *      over, whatever the world does; after that the runner gives it up: its
 *      outcome is then UNKNOWN.
 *   5. release(act), once, after the end or when it is given up: free
 *      act->self and close what is open, without waiting.
 *
 * States. OK: it is done. FAILED: it is not done, or what was done is over and
 * went wrong; retried by the plan's retry unless act->final, then rolled back.
 * UNKNOWN: it may still be going on, or may or may not have been done (an
 * answer that did not come): the case is parked and nothing is rolled back,
 * unless the step is retry_safe. An act that ended because of cancel() is
 * FAILED with act->cancelled set; the runner makes TIMEOUT of it when that was
 * why. When cancel cannot tell whether it was done: UNKNOWN.
 *
 * Outputs are what a person reads to see what the step did: aegis_act_say and
 * aegis_act_write, kept up to exec.output_max bytes a stream in the object
 * store. What a program reads (a revision, a status): act->result.
 * Never put a secret into error, result or an output.
 *
 * Adding one: rows in adapters.def, a file with a const aegis_adapter_t, its
 * name in AEGIS_ADAPTER_VTABLES below, settings in settings.def as
 * "<name>.…", a section in docs/executor.md.
 */
#ifndef AEGIS_ADAPTER_H
#define AEGIS_ADAPTER_H

#include "aegis_action.h"
#include "aegis_conf.h"

#define AEGIS_ACT_GRACE_MS  15000
#define AEGIS_ACT_TARGET    200         /* bytes of a target's name, with its end */
#define AEGIS_ACT_RESULT    4096        /* bytes of act->result as text, at most */

typedef enum {
    AEGIS_ACT_RUNNING,
    AEGIS_ACT_OK,
    AEGIS_ACT_FAILED,
    AEGIS_ACT_TIMEOUT,                  /* set by the runner, and by wardens */
    AEGIS_ACT_UNKNOWN
} aegis_act_state_t;

typedef enum { AEGIS_OUT, AEGIS_ERR, AEGIS_N_OUTPUTS } aegis_output_t;

typedef struct aegis_adapter_s  aegis_adapter_t;
typedef struct aegis_act_s      aegis_act_t;

/* One output: a file in the spool, exec.object_dir/<exec_id>/. What an idle adapter
 * writes is kept in memory while it is short: all of it is stored with the attempt. */
typedef struct {
    int      fd;                        /* -1: there is no file */
    char    *text;                      /* owned; NULL: it is a file, or nothing */
    int64_t  size;                      /* kept; of text too */
    int64_t  lost;                      /* written, and beyond the limit */
} aegis_sink_t;

/* One attempt of a step. */
struct aegis_act_s {
    /* Given; the strings and params are valid until release. */
    const aegis_adapter_t  *adapter;
    aegis_action_id_t       action;
    const aegis_conf_t     *conf;       /* during one call: a reload replaces it */
    const char             *tenant;
    const char             *case_id;
    const char             *exec_id;
    const char             *phase;      /* "check", "step" or "rollback" */
    int                     step_no;    /* from 1 */
    int                     attempt;    /* from 1 */
    const char             *token;      /* names this attempt, a UUID: tell the world */
    const json_t           *params;     /* checked; an empty object when absent */
    int64_t                 timeout_ms;
    int64_t                 deadline;   /* by aegis_act_now() */
    int64_t                 output_max; /* bytes kept of each output */

    /* The adapter's answer. */
    aegis_act_state_t       state;
    int                     final;      /* FAILED, and trying again is no use */
    int                     cancelled;  /* it ended because cancel() said so */
    int                     has_exit;
    int                     exit_code;  /* of a program; else leave has_exit 0 */
    char                    error[256]; /* one sentence, without a dot; OK: "" */
    json_t                 *result;     /* an object or NULL; owned by the act */
    int64_t                 poll_at;    /* 0: as often as may be */
    void                   *self;

    /* The runner's (aegis_sink.c). */
    int                     objects;    /* fd of exec.object_dir */
    aegis_sink_t            sink[AEGIS_N_OUTPUTS];
};

struct aegis_adapter_s {
    const char  *name;

    /* start() changes nothing but its outputs and is over when it returns: no intent
     * is committed before it. */
    int          idle;

    /* Take the settings that are the adapter's: at start and on SIGHUP. 0: they
     * are no good, err says why, and what was in force stays. NULL: none. */
    int (*configure)(const aegis_conf_t *conf, aegis_error_t *err);

    /* The executor ends: free what configure made. May be NULL. */
    void (*done)(void);

    /* The setting that says how many acts one target takes at a time; NULL:
     * exec.per_target. */
    const char  *limit;

    /* What the act acts upon, e.g. "k8s:ns/deployment/name" or "host:name",;
     * "" for nothing. A step's own member target goes before it. May be NULL. Pure. */
    void (*target)(const aegis_act_t *act, char buf[AEGIS_ACT_TARGET]);

    void (*check)(aegis_act_t *act);
    void (*start)(aegis_act_t *act);

    /* NULL when start and check are always over at once. */
    void (*poll)(aegis_act_t *act);
    void (*cancel)(aegis_act_t *act, int now);

    /* NULL: the outcome of an attempt of another process is never known. */
    void (*recover)(aegis_act_t *act);

    /* NULL: there is nothing to free. */
    void (*release)(aegis_act_t *act);
};

/* The vtables there are; each is `const aegis_adapter_t aegis_adapter_<name>`. */
#define AEGIS_ADAPTER_VTABLES(X)                                               \
    X(echo)                                                                    \
    X(gateway)                                                                 \
    X(http)                                                                    \
    X(k8s)                                                                     \
    X(script)

#define AEGIS_ADAPTER_DECLARE(name)  extern const aegis_adapter_t  aegis_adapter_##name;
AEGIS_ADAPTER_VTABLES(AEGIS_ADAPTER_DECLARE)
#undef AEGIS_ADAPTER_DECLARE

/* NULL: nobody does that. */
const aegis_adapter_t *aegis_adapter(aegis_action_id_t action);

/* All vtables; NULL: past the end. */
const aegis_adapter_t *aegis_adapter_at(size_t i);

/* --- for adapters (aegis_adapter.c, aegis_sink.c) */

/* Milliseconds of a clock that only goes forward. */
int64_t aegis_act_now(void);

/* state OK. */
void aegis_act_ok(aegis_act_t *act);

/* state FAILED with its reason. */
void aegis_act_fail(aegis_act_t *act, int final, const char *fmt, ...)
    __attribute__((format(printf, 3, 4)));

/* state UNKNOWN with its reason. */
void aegis_act_unknown(aegis_act_t *act, const char *fmt, ...)
    __attribute__((format(printf, 2, 3)));

/* Add to an output; what is beyond act->output_max is counted and dropped. -1
 * with errno when it cannot be kept: mostly no reason to fail the step. */
int aegis_act_write(aegis_act_t *act, aegis_output_t stream, const char *data, size_t len);

/* One line of stdout. */
void aegis_act_say(aegis_act_t *act, const char *fmt, ...)
    __attribute__((format(printf, 2, 3)));

/* A parameter, by adapters.def: NULL, 0 or dflt when it is absent. */
const char *aegis_act_str(const aegis_act_t *act, const char *name);
int64_t aegis_act_int(const aegis_act_t *act, const char *name, int64_t dflt);
int aegis_act_bool(const aegis_act_t *act, const char *name);

/* --- for adapters that hand their outputs to another process */

/* The run's folder of the spool, made when it is missing; -1 with errno. */
int aegis_act_dir(const aegis_act_t *act);

/* Open (and empty) a stream's file; it stays the act's. -1 with errno. */
int aegis_act_open(aegis_act_t *act, aegis_output_t stream);

/* Open it as it is: an attempt of another process. */
int aegis_act_reopen(aegis_act_t *act, aegis_output_t stream);

#endif
