/*
 * aegis_script_cgroup.h: a control group (version 2) of its own for each script,
 * below one that was delegated to the worker: the kernel then ends all that a
 * script has started at one word, namespaces or not.
 */
#ifndef AEGIS_SCRIPT_CGROUP_H
#define AEGIS_SCRIPT_CGROUP_H

#include <stddef.h>
#include <sys/types.h>

typedef struct {
    int   procs;                        /* -1, all of them: there is no group */
    int   kill;
    int   events;
    char  name[40];
} aegis_script_cgroup_t;

/*
 * Look for the group that is ours to divide, and end what executors that are dead
 * have left in it. how: off, auto, require, or the group's folder. 0: there is
 * none; why says the reason.
 */
int aegis_script_cgroup_open(const char *how, char *why, size_t size);
void aegis_script_cgroup_close(void);

/* A group for a script: 1, or 0 and errno. Without a delegated one 1 and -1. */
int aegis_script_cgroup_make(aegis_script_cgroup_t *c);

/* End what is in it and give it back. May be called twice. */
void aegis_script_cgroup_end(aegis_script_cgroup_t *c);

#endif
