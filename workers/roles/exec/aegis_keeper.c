/*
 * aegis_keeper.c: the keeper, a process between the executor and a warden that
 * does one thing: when its warden has ended, however, nothing of what that has
 * left behind stays alive. Orphans come to it, because it is a subreaper, whatever
 * session or group they have made for themselves.
 * Invariants: async-signal-safe calls only, because the executor that forked it
 * has threads; it holds no end of any pipe, so that nobody waits for it in vain.
 */
#include "aegis_warden.h"

#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#define AEGIS_KEEPER_FIRST_FD  3
#define AEGIS_KEEPER_HIGH_FD   64

/* All descriptors but those that end a control group are others' business. */
static void
aegis_keeper_own_fds(aegis_warden_t *g)
{
    int  fd, kill_fd, events;

    kill_fd = fcntl(g->fd[AEGIS_WARDEN_CG_KILL], F_DUPFD_CLOEXEC, AEGIS_KEEPER_HIGH_FD);
    events = fcntl(g->fd[AEGIS_WARDEN_CG_EVENTS], F_DUPFD_CLOEXEC, AEGIS_KEEPER_HIGH_FD);

    for (fd = 0; fd < AEGIS_WARDEN_FDS; fd++) {
        g->fd[fd] = -1;
    }
    g->fd[AEGIS_WARDEN_CG_KILL] = dup3(kill_fd, AEGIS_KEEPER_FIRST_FD, O_CLOEXEC);
    g->fd[AEGIS_WARDEN_CG_EVENTS] = dup3(events, AEGIS_KEEPER_FIRST_FD + 1, O_CLOEXEC);

    if (syscall(SYS_close_range, AEGIS_KEEPER_FIRST_FD + 2, ~0U, 0) != 0) {
        for (fd = AEGIS_KEEPER_FIRST_FD + 2; fd < g->max_fd; fd++) {
            close(fd);
        }
    }

    for (fd = 0; fd < AEGIS_KEEPER_FIRST_FD; fd++) {
        close(fd);
    }
}

void
aegis_keeper_main(const aegis_warden_t *given)
{
    int                    sig;
    pid_t                  warden, pid;
    sigset_t               heard;
    aegis_warden_t         g;
    aegis_warden_status_t  failed;

    aegis_warden_begin("aegis-keeper");
    (void) setsid();

    g = *given;
    warden = _Fork();
    if (warden == 0) {
        aegis_warden_main(&g);
    }
    if (warden < 0) {
        failed.kind = AEGIS_WARDEN_EXEC;
        failed.value = errno;
        failed.cause = AEGIS_WARDEN_ITSELF;
        (void) !write(g.fd[AEGIS_WARDEN_STATUS], &failed, sizeof(failed));
        _exit(1);
    }

    aegis_keeper_own_fds(&g);

    sigemptyset(&heard);
    sigaddset(&heard, SIGCHLD);
    sigaddset(&heard, SIGTERM);

    for ( ;; ) {
        if (sigwait(&heard, &sig) != 0) {
            continue;
        }
        if (sig == SIGTERM) {
            kill(warden, SIGKILL);
        }

        while ((pid = waitpid(-1, NULL, WNOHANG)) > 0) {
            if (pid == warden) {
                aegis_warden_sweep(&g, 0);
                _exit(0);
            }
        }
    }
}
