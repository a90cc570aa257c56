/*
 * aegis_warden_box.c: the namespaces a script lives in, made by the warden: user,
 * process, mount, network, IPC and host name. Its first process there is a small
 * init of ours: when that ends, the kernel ends everything else in it, whatever
 * has called setsid or forked how often. Temporary files are its own there too.
 * Invariant: async-signal-safe calls only; nothing here allocates.
 */
#include "aegis_warden.h"

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <sched.h>
#include <signal.h>
#include <stddef.h>
#include <string.h>
#include <sys/mount.h>
#include <sys/prctl.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

static void
aegis_box_file(const char *path, const char *text, size_t len)
{
    int  fd;

    fd = open(path, O_WRONLY | O_CLOEXEC);
    if (fd >= 0) {
        (void) !write(fd, text, len);
        close(fd);
    }
}

/* "1000 1000 1": one identity, the one that it had. */
static size_t
aegis_box_map(char *buf, unsigned id)
{
    int     i, n;
    char    digits[12];
    size_t  len;

    n = 0;
    do {
        digits[n++] = (char) ('0' + id % 10);
        id /= 10;
    } while (id > 0);

    for (i = 0, len = 0; i < 2 * n; i++) {
        buf[len++] = digits[n - 1 - i % n];
        if (i == n - 1 || i == 2 * n - 1) {
            buf[len++] = ' ';
        }
    }
    buf[len++] = '1';

    return len;
}

int
aegis_warden_clone(const aegis_warden_t *g)
{
    long      pid, flags;
    char      map[32];
    uid_t     uid;
    gid_t     gid;

    if (g->box == AEGIS_BOX_OFF) {
        return _Fork();
    }

    uid = geteuid();
    gid = getegid();
    flags = CLONE_NEWUSER | CLONE_NEWPID | CLONE_NEWNS | CLONE_NEWIPC | CLONE_NEWUTS | SIGCHLD;
    flags |= g->host_network ? 0 : CLONE_NEWNET;

    pid = syscall(SYS_clone, flags, 0, 0, 0, 0);
    if (pid < 0 && g->box == AEGIS_BOX_AUTO) {
        return _Fork();
    }

    if (pid == 0) {
        aegis_box_file("/proc/self/setgroups", "deny", 4);
        aegis_box_file("/proc/self/uid_map", map, aegis_box_map(map, uid));
        aegis_box_file("/proc/self/gid_map", map, aegis_box_map(map, gid));

        /* what it mounts stays with it; where a /proc of its own cannot be had,
         * it sees the host's, and cannot do anything to whom it sees there */
        (void) mount("none", "/", NULL, MS_REC | MS_PRIVATE, NULL);
        (void) mount("proc", "/proc", "proc", MS_NOSUID | MS_NODEV | MS_NOEXEC, NULL);
    }

    return (int) pid;
}

int
aegis_warden_tmp(const char *options)
{
    size_t  i;

    static const char *const  folders[] = { "/tmp", "/var/tmp", "/dev/shm" };

    for (i = 0; i < sizeof(folders) / sizeof(folders[0]); i++) {
        if (mount("tmpfs", folders[i], "tmpfs", MS_NOSUID | MS_NODEV, options) != 0
            && errno != ENOENT)
        {
            return errno;
        }
    }

    return 0;
}

static void
aegis_box_say(int fd, int kind, int value)
{
    int  msg[2] = { kind, value };

    (void) !write(fd, msg, sizeof(msg));
}

void
aegis_warden_inside(const aegis_warden_t *g, int report, int report_read)
{
    int            i, err, status;
    pid_t          pid, script;
    struct pollfd  p;

    (void) setpgid(0, 0);
    (void) prctl(PR_SET_PDEATHSIG, SIGKILL);

    /* did the warden die before that was set? */
    close(report_read);
    p.fd = report;
    p.events = 0;
    if (poll(&p, 1, 0) > 0) {
        _exit(127);
    }

    /* from here on the kernel knows all that descends from us by that group */
    if (write(g->fd[AEGIS_WARDEN_CG_PROCS], "0", 1) != 1
        || write(g->fd[AEGIS_WARDEN_CG_MEMORY], "0", 1) != 1
        || write(g->fd[AEGIS_WARDEN_CG_PIDS], "0", 1) != 1)
    {
        aegis_box_say(report, AEGIS_BOX_ERRNO, errno);
        _exit(127);
    }

    if (getpid() != 1) {
        aegis_box_say(report, AEGIS_BOX_ERRNO, aegis_warden_become(g));
        _exit(127);
    }

    err = g->tmp ? aegis_warden_tmp(g->tmp) : 0;
    if (err != 0) {
        aegis_box_say(report, AEGIS_BOX_ERRNO, err);
        _exit(127);
    }

    script = _Fork();
    if (script == 0) {
        aegis_box_say(report, AEGIS_BOX_ERRNO, aegis_warden_become(g));
        _exit(127);
    }
    if (script < 0) {
        aegis_box_say(report, AEGIS_BOX_ERRNO, errno);
        _exit(127);
    }

    /* outputs end when their last writer does, and that is not us */
    for (i = 0; i < AEGIS_WARDEN_FDS; i++) {
        if (g->fd[i] != report) {
            close(g->fd[i]);
        }
    }
    (void) close(STDIN_FILENO);
    (void) close(STDOUT_FILENO);
    (void) prctl(PR_SET_NAME, "aegis-init");

    for ( ;; ) {
        pid = waitpid(-1, &status, 0);
        if (pid == script) {
            aegis_box_say(report, AEGIS_BOX_STATUS, status);
            _exit(0);
        }
        if (pid < 0 && errno != EINTR) {
            _exit(127);
        }
    }
}

int
aegis_warden_confine(const aegis_warden_t *g)
{
    if (g->filter == NULL) {
        return 0;
    }

    return prctl(PR_SET_SECCOMP, 2 /* SECCOMP_MODE_FILTER */, g->filter) == 0 ? 0 : errno;
}
