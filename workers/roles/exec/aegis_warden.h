/*
 * aegis_warden.h: the warden, a small process between the executor and a script.
 * It pumps the script's outputs into their files, ends it when its time is
 * over, when it is told to, or when the executor dies, leaves none of its
 * descendants behind, and writes down the outcome under the attempt's token.
 */
#ifndef AEGIS_WARDEN_H
#define AEGIS_WARDEN_H

#include <stdint.h>

/* Descriptors that the warden needs; it closes all others. */
enum {
    AEGIS_WARDEN_CTL,                    /* read: a byte: stop; end: the executor is gone */
    AEGIS_WARDEN_STATUS,                 /* write: one aegis_warden_status_t */
    AEGIS_WARDEN_DIR,                    /* the run's objects */
    AEGIS_WARDEN_SCRIPT,                 /* what is executed */
    AEGIS_WARDEN_NULL,                   /* /dev/null */
    AEGIS_WARDEN_OUT_FILE,
    AEGIS_WARDEN_ERR_FILE,
    AEGIS_WARDEN_OUT_R,
    AEGIS_WARDEN_OUT_W,
    AEGIS_WARDEN_ERR_R,
    AEGIS_WARDEN_ERR_W,
    AEGIS_WARDEN_FDS
};

typedef struct {
    int           fd[AEGIS_WARDEN_FDS];
    char *const  *argv;
    char *const  *envp;
    const char   *rc_name;              /* <token>.rc in DIR */
    const char   *rc_tmp;
    int64_t       timeout_ms;
    int64_t       output_max;
    int           max_fd;               /* of this process, for old kernels */
} aegis_warden_t;

typedef enum {
    AEGIS_WARDEN_EXIT,                   /* value: exit code */
    AEGIS_WARDEN_SIGNAL,                 /* value: signal */
    AEGIS_WARDEN_EXEC                    /* never ran; value: errno */
} aegis_warden_kind_t;

typedef enum {
    AEGIS_WARDEN_ITSELF,                 /* it ended by itself */
    AEGIS_WARDEN_TIMEOUT,
    AEGIS_WARDEN_STOPPED
} aegis_warden_cause_t;

typedef struct {
    int32_t  kind;
    int32_t  value;
    int32_t  cause;
} aegis_warden_status_t;

/*
 * What a freshly forked child runs. Only async-signal-safe calls from here on:
 * the executor has threads.
 */
void aegis_warden_main(const aegis_warden_t *g) __attribute__((noreturn));

/* "exit 3 itself\n" and back; the text of an outcome file. Returns 0 when buf
 * does not hold one. */
int aegis_warden_read(const char *buf, aegis_warden_status_t *ret);

/* Of aegis_warden_tree.c: end every process that descends from this one, the
 * group first. Bounded by 5 s. */
void aegis_warden_sweep(int group);

/* Of aegis_warden_tree.c: end what a warden that was killed itself has left in
 * its session. Before the warden is reaped: its number is still its own. */
void aegis_warden_kill_session(int session);

/* Of aegis_warden_tree.c: become the script. Returns errno. */
int aegis_warden_become(const aegis_warden_t *g);

#endif
