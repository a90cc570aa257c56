/*
 * cgroup_probe.c: what workers/roles/exec has of control groups, alone, as the only
 * program of a small virtual machine whose kernel has all controllers in version 2
 * (t/78cgroup.t, which reads what it prints). Each step is what a script could do in a
 * group that was made for it: nothing, take too much memory with four processes, start
 * too many, leave processes of sessions of their own behind.
 */
#include <errno.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/wait.h>
#include <sys/xattr.h>
#include <unistd.h>

#include "aegis_script_cgroup.h"

enum { PROBE_MEMORY_MB = 100, PROBE_PROCESSES = 40, PROBE_EACH_MB = 60 };

static int
probe_nothing(void)
{
    return 0;
}

static int
probe_hog(void)
{
    int    i, st;
    char  *m;

    for (i = 0; i < 4; i++) {
        if (fork() == 0) {
            m = mmap(NULL, (size_t) PROBE_EACH_MB << 20, PROT_READ | PROT_WRITE,
                     MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
            memset(m, 1, (size_t) PROBE_EACH_MB << 20);
            pause();
        }
    }

    return wait(&st) > 0;
}

static int
probe_many(void)
{
    int    n;
    pid_t  pid;

    for (n = 1; n < 2 * PROBE_PROCESSES; n++) {
        pid = fork();
        if (pid == 0) {
            pause();
        }
        if (pid < 0) {
            return n;
        }
    }

    return 0;
}

static int
probe_leave(void)
{
    int  i;

    for (i = 0; i < 5; i++) {
        if (fork() == 0) {
            (void) setsid();
            if (fork() == 0) {
                (void) setsid();
                pause();
            }
            _exit(0);
        }
    }

    return 0;
}

static void
probe_run(const char *what, int (*act)(void))
{
    int                    st;
    char                   pid[16];
    pid_t                  p;
    aegis_script_cgroup_t  c;

    if (!aegis_script_cgroup_make(&c)) {
        printf("%s: no group: %s\n", what, strerror(errno));
        return;
    }

    p = fork();
    if (p == 0) {
        snprintf(pid, sizeof(pid), "%d", (int) getpid());
        _exit(write(c.procs, pid, strlen(pid)) < 0 ? 99 : act());
    }
    (void) waitpid(p, &st, 0);
    printf("%s: exit %d signal %d lack '%s'\n", what, WIFEXITED(st) ? WEXITSTATUS(st) : -1,
           WIFSIGNALED(st) ? WTERMSIG(st) : 0, aegis_script_cgroup_lack(&c));
    aegis_script_cgroup_end(&c);
}

int
main(int argc, char **argv)
{
    char                   why[512] = "";
    aegis_script_limits_t  limits = { PROBE_MEMORY_MB, PROBE_PROCESSES };

    setvbuf(stdout, NULL, _IONBF, 0);
    if (argc == 3) {        /* what systemd marks a delegated group with */
        return setxattr(argv[2], "user.delegate", "1", 1, 0) != 0;
    }

    printf("open: %d", aegis_script_cgroup_open(argv[1], &limits, why, sizeof(why)));
    printf(" memory %d processes %d why '%s'\n", (int) limits.memory_mb, (int) limits.processes,
           why);
    probe_run("nothing", probe_nothing);
    probe_run("hog", probe_hog);
    probe_run("many", probe_many);
    probe_run("leave", probe_leave);

    return 0;
}
