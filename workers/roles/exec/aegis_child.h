/*
 * aegis_child.h: a program of the configuration (never of a plan), run without
 * waiting: begun, polled, killed after its time. It gets a process group of
 * its own, /dev/null to read and a small clean environment. Scripts of plans
 * run under a warden instead (aegis_warden.h).
 */
#ifndef AEGIS_CHILD_H
#define AEGIS_CHILD_H

#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>

typedef struct {
    pid_t     pid;                      /* 0: none runs */
    int       out;                      /* its stdout, -1: closed */
    int       err;
    int64_t   kill_at;
    int       timed_out;
    int       code;                     /* of its exit; 128 and the signal's number */
    char     *text[2];                  /* stdout and stderr, NUL behind them; may be NULL */
    size_t    len[2];
    size_t    max[2];                   /* more is read and dropped */
} aegis_child_t;

void aegis_child_init(aegis_child_t *c);

/* Begin argv (NULL at its end, argv[0] a path). 0: errno says why. */
int aegis_child_spawn(aegis_child_t *c, char *const *argv, size_t out_max, size_t err_max,
    int64_t timeout_ms);

/* 1: it has ended. */
int aegis_child_poll(aegis_child_t *c);

/* Kill what runs and free what is kept, without waiting. */
void aegis_child_free(aegis_child_t *c);

/* Reap what was given here before, and pid when it has ended or as soon as it has;
 * 0: no further one. */
void aegis_child_reap(pid_t pid);

/* What it said on stream 0 or 1, "" for nothing. */
const char *aegis_child_text(const aegis_child_t *c, int stream);

#endif
