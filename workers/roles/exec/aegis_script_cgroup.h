/*
 * aegis_script_cgroup.h: a control group (version 2) of its own for each script,
 * below one that was delegated to the worker: the kernel then ends all that a
 * script has started at one word, namespaces or not.
 */
#ifndef AEGIS_SCRIPT_CGROUP_H
#define AEGIS_SCRIPT_CGROUP_H

#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>

/* Where the executor itself goes: only a group without processes of its own may
 * hand controllers on, and systemd's Delegate=yes puts it into the delegated one. */
#define AEGIS_CGROUP_SELF  "aegis-executor"

typedef struct {
    int   procs;                        /* -1, all of them: there is no group */
    int   kill;
    int   events;
    int   memory;                       /* cgroup.procs of hierarchies of version 1 */
    int   pids;
    char  name[40];
} aegis_script_cgroup_t;

/* Of script.group_memory_mb and script.group_processes; 0: any number. */
typedef struct {
    int64_t  memory_mb;
    int64_t  processes;
} aegis_script_limits_t;

/*
 * Look for the group that is ours to divide, and end what executors that are dead
 * have left in it. how: off, auto, require, or the group's folder. 0: there is
 * none; why says the reason. What of the limits can be had is left in limits: the
 * others are 0 there, and why says it too.
 */
int aegis_script_cgroup_open(const char *how, aegis_script_limits_t *limits, char *why,
    size_t size);
void aegis_script_cgroup_close(void);

/* A group for a script: 1, or 0 and errno. Without a delegated one 1 and -1. */
int aegis_script_cgroup_make(aegis_script_cgroup_t *c);

/* " (…)", which of the limits was reached in it; "" for none. */
const char *aegis_script_cgroup_lack(const aegis_script_cgroup_t *c);

/* End what is in it and give it back. May be called twice. */
void aegis_script_cgroup_end(aegis_script_cgroup_t *c);

/* Of aegis_script_limits.c, for aegis_script_cgroup.c alone: find how groups below
 * dir, whose path in the hierarchy is path, can be limited. 0: not as limits says,
 * which then says what there is. */
int aegis_script_limits_open(int dir, const char *path, aegis_script_limits_t *limits,
    char *why, size_t size);
void aegis_script_limits_close(void);

/* For a group that was made: 1, or 0 and errno. */
int aegis_script_limits_set(aegis_script_cgroup_t *c);

/* Remove what hierarchies of version 1 have of the group: 0: not empty yet. */
int aegis_script_limits_end(const char *group);

#endif
