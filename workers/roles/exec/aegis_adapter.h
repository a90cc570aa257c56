/*
 * aegis_adapter.h: how a step acts on the world. An adapter starts one attempt
 * of a step and is polled until it has ended; it never blocks, never talks to
 * the database, and bounds its own time. After a crash it is asked by token
 * what became of an attempt that another process had started.
 * Adding one: a file with a const aegis_adapter_t, and its row in
 * aegis_adapter.c.
 */
#ifndef AEGIS_ADAPTER_H
#define AEGIS_ADAPTER_H

#include "aegis.h"

typedef enum {
    AEGIS_ACT_RUNNING,
    AEGIS_ACT_OK,
    AEGIS_ACT_FAILED,
    AEGIS_ACT_TIMEOUT,
    AEGIS_ACT_UNKNOWN                   /* nobody can say what it did */
} aegis_act_state_t;

typedef struct aegis_adapter_s  aegis_adapter_t;

/* One attempt. The engine fills the first part, the adapter the second. */
typedef struct {
    const aegis_adapter_t  *adapter;
    const char             *tenant;
    const char             *case_id;
    const char             *exec_id;
    const char             *phase;          /* "step" or "rollback" */
    int                     step_no;        /* from 1 */
    int                     attempt;        /* from 1 */
    const char             *token;          /* names this attempt, a UUID */
    const json_t           *params;         /* the step's, NULL: none */
    int64_t                 timeout_ms;
    int                     objects;        /* fd of exec.object_dir */
    const char             *script_dir;
    int64_t                 output_max;     /* bytes kept of each output */

    aegis_act_state_t       state;
    int                     has_exit;
    int                     exit_code;
    int                     final;          /* FAILED, and trying again is no use */
    int                     cancelled;      /* ended because cancel() said so */
    char                    error[256];
    char                    stdout_ref[160];
    char                    stderr_ref[160];
    void                   *self;
} aegis_act_t;

struct aegis_adapter_s {
    const char  *name;                      /* the step's action */
    const char  *sentence;

    /* Doing it twice is the same as once, whatever the plan says. */
    int          repeatable;

    /* Start act; sets its state. It may be over at once. */
    void (*start)(aegis_act_t *act);

    /* Sets act's state when it has ended. NULL: it is always over at once. */
    void (*poll)(aegis_act_t *act);

    /* Begin to end it; poll until it has. Politely first, unless now is set:
     * then at once, and nothing is left behind for recover(). */
    void (*cancel)(aegis_act_t *act, int now);

    /* An attempt of another process: set state, or leave RUNNING when its
     * outcome is not known. NULL: it never is. */
    void (*recover)(aegis_act_t *act);
};

/* NULL: nobody does that. */
const aegis_adapter_t *aegis_adapter(const char *action);
const aegis_adapter_t *aegis_adapter_at(size_t i);      /* NULL: past the end */

/* The outcome of an act that never acted. */
void aegis_act_fail(aegis_act_t *act, int final, const char *fmt, ...)
    __attribute__((format(printf, 3, 4)));

/*
 * Objects: files under exec.object_dir/<exec_id>/. The folder, made when it is
 * missing; -1 with errno.
 */
int aegis_object_dir(const aegis_act_t *act);

/* Make the file of one output ("out" or "err") and its reference, "" when it
 * cannot be made: -1 with errno. */
int aegis_object_file(const aegis_act_t *act, int dir, const char *kind, char ref[160]);

extern const aegis_adapter_t  aegis_adapter_echo;
extern const aegis_adapter_t  aegis_adapter_script;

#endif
