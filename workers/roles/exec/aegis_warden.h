/*
 * aegis_warden.h: the warden, a small process between the executor and a script.
 * It pumps the script's outputs into their files, ends it when its time is
 * over, when it is told to, or when the executor dies, leaves none of its
 * descendants behind, and writes down the outcome under the attempt's token.
 * Its parent, the keeper, ends what is left when the warden itself was killed.
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
    AEGIS_WARDEN_CG_PROCS,               /* the script's control group; /dev/null without one */
    AEGIS_WARDEN_CG_KILL,
    AEGIS_WARDEN_CG_EVENTS,
    AEGIS_WARDEN_CG_MEMORY,              /* cgroup.procs of those of version 1, or /dev/null */
    AEGIS_WARDEN_CG_PIDS,
    AEGIS_WARDEN_FDS
};

/* Namespaces around the script: never, where the kernel gives them, or else the
 * script is not run. */
typedef enum { AEGIS_BOX_OFF, AEGIS_BOX_AUTO, AEGIS_BOX_REQUIRE } aegis_box_t;

struct sock_fprog;

typedef struct {
    int           fd[AEGIS_WARDEN_FDS];
    char *const  *argv;
    char *const  *envp;
    const char   *rc_name;              /* <token>.rc in DIR */
    const char   *rc_tmp;
    int64_t       timeout_ms;
    int64_t       output_max;
    int           max_fd;               /* of this process, for old kernels */
    aegis_box_t   box;
    int           host_network;         /* 1: it may use the host's */
    const char   *tmp;                  /* mount options of its own /tmp; NULL: the host's */
    int64_t       memory;               /* bytes of address space; 0: any number */
    int           processes;
    const struct sock_fprog  *filter;   /* system calls; NULL: none is kept from it */
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
 * Of aegis_keeper.c: what a freshly forked child runs. Only async-signal-safe
 * calls from here on: the executor has threads. SIGTERM ends the warden, and all
 * that descends from it.
 */
void aegis_keeper_main(const aegis_warden_t *g) __attribute__((noreturn));

/* How both begin: deaf to signals, under a name, and what is orphaned below comes to
 * them. */
void aegis_warden_begin(const char *name);

/* What the keeper's child then runs. */
void aegis_warden_main(const aegis_warden_t *g) __attribute__((noreturn));

/* "exit 3 itself\n" and back; the text of an outcome file. Returns 0 when buf
 * does not hold one. */
int aegis_warden_read(const char *buf, aegis_warden_status_t *ret);

/* Of aegis_warden_tree.c: end every process that descends from this one or is in
 * the script's control group, the process group first. Bounded by 5 s. */
void aegis_warden_sweep(const aegis_warden_t *g, int group);

/* Of aegis_warden_tree.c: end what is in the session of a keeper that was killed
 * itself. Before it is reaped: its number is still its own. */
void aegis_warden_kill_session(int session);

/* Of aegis_warden_tree.c: end whoever was given this attempt's token by its
 * environment: what is left of an attempt when keeper and warden are gone. */
void aegis_warden_kill_marked(const char *token);

/* Of aegis_warden_tree.c: become the script. Returns errno. */
int aegis_warden_become(const aegis_warden_t *g);

/* Of aegis_warden_box.c: fork, into namespaces of its own as g->box says. */
int aegis_warden_clone(const aegis_warden_t *g);

/* Of aegis_warden_box.c: what the child then does: become the script, or start it
 * and be its init. Two ints go into report: a kind and a value. */
enum { AEGIS_BOX_ERRNO, AEGIS_BOX_STATUS };
void aegis_warden_inside(const aegis_warden_t *g, int report, int report_read)
    __attribute__((noreturn));

/* Of aegis_warden_box.c: give the mount namespace of the caller folders for
 * temporary files of its own. 0 or errno. */
int aegis_warden_tmp(const char *options);

/* Of aegis_warden_box.c: no more of the kernel than g->filter lets through. 0 or
 * errno. */
int aegis_warden_confine(const aegis_warden_t *g);

#endif
