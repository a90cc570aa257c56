/*
 * aegis_warden.c: the warden's loop (aegis_warden.h): outputs, time, orders, and
 * the outcome file.
 * Invariants: async-signal-safe calls only, because the executor that forked
 * it has threads; no descendant of the script is alive when the warden ends; an
 * outcome file stands for something that has really ended.
 */
#include "aegis_warden.h"

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/signalfd.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

/* Between SIGTERM and SIGKILL. */
#define AEGIS_WARDEN_GRACE_MS  2000
/* For outputs whose writer could not be ended. */
#define AEGIS_WARDEN_DRAIN_MS  5000
#define AEGIS_WARDEN_FIRST_FD  3
#define AEGIS_WARDEN_HIGH_FD   64

typedef struct {
    int      from;                      /* -1: at its end */
    int      to;
    int64_t  left;                      /* bytes that are still kept */
    int64_t  lost;
} aegis_warden_pump_t;

typedef struct {
    const aegis_warden_t   *g;
    pid_t                  script;
    int                    signals;
    int                    report;      /* pipe: how the script began, and ended */
    int                    exited;
    int                    status;      /* of waitpid */
    aegis_warden_cause_t    cause;
    int64_t                deadline;
    int64_t                kill_at;     /* 0: not asked to end yet */
    int64_t                drain_at;
    aegis_warden_pump_t     out;
    aegis_warden_pump_t     err;
} aegis_warden_ctx_t;

static const char *const  aegis_warden_kinds[] = { "exit", "signal", "exec" };
static const char *const  aegis_warden_causes[] = { "itself", "timeout", "stopped" };

static int64_t
aegis_warden_now(void)
{
    struct timespec  ts;

    clock_gettime(CLOCK_MONOTONIC, &ts);
    return (int64_t) ts.tv_sec * 1000 + ts.tv_nsec / 1000000;
}

static char *
aegis_warden_puts(char *p, const char *s)
{
    size_t  n;

    n = strlen(s);
    memcpy(p, s, n);
    return p + n;
}

static char *
aegis_warden_putn(char *p, int64_t v)
{
    int   n;
    char  digits[20];

    n = 0;
    do {
        digits[n++] = (char) ('0' + v % 10);
        v /= 10;
    } while (v > 0);

    while (n > 0) {
        *p++ = digits[--n];
    }

    return p;
}

static void
aegis_warden_write(int fd, const char *data, size_t len)
{
    ssize_t  n;

    while (len > 0) {
        n = write(fd, data, len);
        if (n < 0 && errno == EINTR) {
            continue;
        }
        if (n <= 0) {
            return;                     /* a full disk costs output, not the step */
        }
        data += n;
        len -= (size_t) n;
    }
}

/* Move the descriptors to 3, 4, … and close everything else, first of all the
 * executor's other wardens' CTL ends and its database connection. */
static int
aegis_warden_own_fds(aegis_warden_t *g)
{
    int  i, fd;

    for (i = 0; i < AEGIS_WARDEN_FDS; i++) {
        g->fd[i] = fcntl(g->fd[i], F_DUPFD_CLOEXEC, AEGIS_WARDEN_HIGH_FD);
        if (g->fd[i] < 0) {
            return -1;
        }
    }

    for (i = 0; i < AEGIS_WARDEN_FDS; i++) {
        fd = dup3(g->fd[i], AEGIS_WARDEN_FIRST_FD + i, O_CLOEXEC);
        if (fd < 0) {
            return -1;
        }
        g->fd[i] = fd;
    }

    if (syscall(SYS_close_range, AEGIS_WARDEN_FIRST_FD + AEGIS_WARDEN_FDS, ~0U, 0) != 0) {
        for (fd = AEGIS_WARDEN_FIRST_FD + AEGIS_WARDEN_FDS; fd < g->max_fd; fd++) {
            close(fd);
        }
    }

    (void) dup2(g->fd[AEGIS_WARDEN_NULL], STDIN_FILENO);
    (void) dup2(g->fd[AEGIS_WARDEN_NULL], STDOUT_FILENO);

    return 0;
}

/* Fork the script in a group of its own. */
static int
aegis_warden_spawn(aegis_warden_ctx_t *c)
{
    int    pipefd[2];
    pid_t  pid;

    if (pipe2(pipefd, O_CLOEXEC | O_NONBLOCK) != 0) {
        return -1;
    }

    pid = aegis_warden_clone(c->g);
    if (pid == 0) {
        aegis_warden_inside(c->g, pipefd[1], pipefd[0]);
    }

    close(pipefd[1]);
    close(c->g->fd[AEGIS_WARDEN_OUT_W]);
    close(c->g->fd[AEGIS_WARDEN_ERR_W]);
    if (pid < 0) {
        return -1;
    }

    (void) setpgid(pid, pid);           /* whoever of the two comes first */
    c->script = pid;
    c->report = pipefd[0];
    return 0;
}

static void
aegis_warden_pump(aegis_warden_pump_t *p, int null)
{
    int      i;
    char     buf[16384], *end;
    ssize_t  n, keep;

    /* bounded, so that a script that writes for ever does not hold up its end */
    for (i = 0; i < 16; i++) {
        n = p->left > 0 ? read(p->from, buf, sizeof(buf))
            : splice(p->from, NULL, null, NULL, 1 << 20, SPLICE_F_NONBLOCK);
        if (n < 0 && (errno == EINTR || errno == EAGAIN)) {
            return;
        }

        if (n <= 0) {
            if (p->lost > 0) {
                end = aegis_warden_puts(buf, "\n[truncated: ");
                end = aegis_warden_putn(end, p->lost);
                end = aegis_warden_puts(end, " bytes more]\n");
                aegis_warden_write(p->to, buf, (size_t) (end - buf));
            }
            close(p->from);
            p->from = -1;
            return;
        }

        if (p->left == 0) {
            p->lost += n;
            continue;
        }

        keep = n < p->left ? n : (ssize_t) p->left;
        aegis_warden_write(p->to, buf, (size_t) keep);
        p->left -= keep;
        p->lost += n - keep;
    }
}

/* Reap. The script's group is ended before its number is given back. */
static void
aegis_warden_reap(aegis_warden_ctx_t *c)
{
    pid_t                    pid;
    siginfo_t                info;
    struct signalfd_siginfo  drop[8];

    while (read(c->signals, drop, sizeof(drop)) > 0) {
        continue;
    }

    for ( ;; ) {
        info.si_pid = 0;
        if (waitid(P_ALL, 0, &info, WEXITED | WNOHANG | WNOWAIT) != 0 || info.si_pid == 0) {
            return;
        }

        pid = info.si_pid;
        if (pid == c->script) {
            kill(-pid, SIGKILL);
            if (waitpid(pid, &c->status, 0) == pid) {
                c->exited = 1;
            }
        } else {
            (void) waitpid(pid, NULL, 0);
        }
    }
}

static void
aegis_warden_end(aegis_warden_ctx_t *c, aegis_warden_cause_t cause, int64_t now)
{
    if (c->kill_at == 0 && !c->exited) {
        c->cause = cause;
        c->kill_at = now + AEGIS_WARDEN_GRACE_MS;
        kill(-c->script, SIGTERM);
    }
}

static int
aegis_warden_wait_ms(const aegis_warden_ctx_t *c, int64_t now)
{
    int64_t  at;

    at = c->exited ? c->drain_at : c->kill_at ? c->kill_at : c->deadline;
    return at <= now ? 0 : at - now > 60000 ? 60000 : (int) (at - now);
}

/* One turn. 1: it is over. */
static int
aegis_warden_turn(aegis_warden_ctx_t *c)
{
    char           byte;
    int64_t        now;
    ssize_t        n;
    struct pollfd  p[4];

    memset(p, 0, sizeof(p));
    p[0].fd = c->g->fd[AEGIS_WARDEN_CTL];
    p[1].fd = c->signals;
    p[2].fd = c->out.from;
    p[3].fd = c->err.from;
    p[0].events = p[1].events = p[2].events = p[3].events = POLLIN;

    (void) poll(p, 4, aegis_warden_wait_ms(c, aegis_warden_now()));
    now = aegis_warden_now();

    if (p[2].revents) {
        aegis_warden_pump(&c->out, c->g->fd[AEGIS_WARDEN_NULL]);
    }
    if (p[3].revents) {
        aegis_warden_pump(&c->err, c->g->fd[AEGIS_WARDEN_NULL]);
    }
    if (!c->exited) {
        aegis_warden_reap(c);
        if (c->exited) {
            aegis_warden_sweep(c->g, 0);
            c->drain_at = aegis_warden_now() + AEGIS_WARDEN_DRAIN_MS;
        }
    }
    if (p[0].revents) {
        n = read(p[0].fd, &byte, 1);
        if (n == 0 && c->exited) {
            return 1;                   /* late, but what came of it is known */
        }
        if (n == 0) {
            /* the executor is gone: what would have come of it cannot be said */
            aegis_warden_sweep(c->g, c->script);
            _exit(0);
        }
        if (n == 1) {
            aegis_warden_end(c, AEGIS_WARDEN_STOPPED, now);
        }
    }
    if (!c->exited && c->kill_at == 0 && now >= c->deadline) {
        aegis_warden_end(c, AEGIS_WARDEN_TIMEOUT, now);
    }
    if (!c->exited && c->kill_at != 0 && now >= c->kill_at) {
        kill(-c->script, SIGKILL);
        (void) !write(c->g->fd[AEGIS_WARDEN_CG_KILL], "1", 1);
        c->kill_at = now + 500;
    }

    return c->exited && ((c->out.from < 0 && c->err.from < 0) || now >= c->drain_at);
}

/* <kind> <value> <cause>, complete or not at all, also after a power cut. */
static void
aegis_warden_record(const aegis_warden_t *g, const aegis_warden_status_t *s)
{
    int    fd, rc;
    char   buf[64], *p;

    p = aegis_warden_puts(buf, aegis_warden_kinds[s->kind]);
    *p++ = ' ';
    p = aegis_warden_putn(p, s->value);
    *p++ = ' ';
    p = aegis_warden_puts(p, aegis_warden_causes[s->cause]);
    *p++ = '\n';

    fd = openat(g->fd[AEGIS_WARDEN_DIR], g->rc_tmp,
                O_WRONLY | O_CREAT | O_TRUNC | O_NOFOLLOW | O_CLOEXEC, 0640);
    if (fd < 0) {
        return;
    }

    aegis_warden_write(fd, buf, (size_t) (p - buf));
    rc = fsync(fd);
    close(fd);
    if (rc == 0 && renameat(g->fd[AEGIS_WARDEN_DIR], g->rc_tmp,
                            g->fd[AEGIS_WARDEN_DIR], g->rc_name) == 0)
    {
        (void) fsync(g->fd[AEGIS_WARDEN_DIR]);
    }
}

static void
aegis_warden_report(aegis_warden_ctx_t *c)
{
    int                    msg[2], began;
    aegis_warden_status_t  s;

    s.cause = c->cause;
    began = 1;

    while (read(c->report, msg, sizeof(msg)) == (ssize_t) sizeof(msg)) {
        if (msg[0] == AEGIS_BOX_ERRNO) {
            began = 0;
            s.value = msg[1];
        } else {
            c->status = msg[1];         /* the script's own, not its init's */
        }
    }

    if (!began) {
        s.kind = AEGIS_WARDEN_EXEC;
    } else if (WIFSIGNALED(c->status)) {
        s.kind = AEGIS_WARDEN_SIGNAL;
        s.value = WTERMSIG(c->status);
    } else {
        s.kind = AEGIS_WARDEN_EXIT;
        s.value = WEXITSTATUS(c->status);
    }

    aegis_warden_record(c->g, &s);
    (void) !write(c->g->fd[AEGIS_WARDEN_STATUS], &s, sizeof(s));
}

void
aegis_warden_begin(const char *name)
{
    sigset_t          all;
    struct sigaction  dfl;

    /* signals are the executor's business; ours come through CTL */
    sigfillset(&all);
    (void) sigprocmask(SIG_SETMASK, &all, NULL);
    memset(&dfl, 0, sizeof(dfl));
    dfl.sa_handler = SIG_DFL;
    (void) sigaction(SIGCHLD, &dfl, NULL);
    (void) prctl(PR_SET_NAME, name);
    (void) prctl(PR_SET_CHILD_SUBREAPER, 1);
}

void
aegis_warden_main(const aegis_warden_t *given)
{
    sigset_t               chld;
    aegis_warden_t         g;
    aegis_warden_ctx_t     c;
    aegis_warden_status_t  failed;

    aegis_warden_begin("aegis-warden");

    g = *given;
    memset(&c, 0, sizeof(c));
    c.g = &g;

    if (aegis_warden_own_fds(&g) != 0) {
        _exit(1);                       /* STATUS ends: the executor sees that */
    }

    sigemptyset(&chld);
    sigaddset(&chld, SIGCHLD);
    c.signals = signalfd(-1, &chld, SFD_NONBLOCK | SFD_CLOEXEC);

    c.out = (aegis_warden_pump_t) { g.fd[AEGIS_WARDEN_OUT_R], g.fd[AEGIS_WARDEN_OUT_FILE],
                                   g.output_max, 0 };
    c.err = (aegis_warden_pump_t) { g.fd[AEGIS_WARDEN_ERR_R], g.fd[AEGIS_WARDEN_ERR_FILE],
                                   g.output_max, 0 };
    c.deadline = aegis_warden_now() + g.timeout_ms;

    if (c.signals < 0 || aegis_warden_spawn(&c) != 0) {
        failed.kind = AEGIS_WARDEN_EXEC;
        failed.value = errno;
        failed.cause = AEGIS_WARDEN_ITSELF;
        aegis_warden_record(&g, &failed);
        (void) !write(g.fd[AEGIS_WARDEN_STATUS], &failed, sizeof(failed));
        _exit(1);
    }

    while (!aegis_warden_turn(&c)) {
        continue;
    }

    aegis_warden_report(&c);
    _exit(0);
}

int
aegis_warden_read(const char *buf, aegis_warden_status_t *ret)
{
    int   k, c, value;
    char  kind[16], cause[16], end;

    if (sscanf(buf, "%15s %d %15s%c", kind, &value, cause, &end) != 4 || end != '\n') {
        return 0;
    }

    for (k = 0; k <= AEGIS_WARDEN_EXEC; k++) {
        for (c = 0; c <= AEGIS_WARDEN_STOPPED; c++) {
            if (strcmp(kind, aegis_warden_kinds[k]) == 0
                && strcmp(cause, aegis_warden_causes[c]) == 0)
            {
                ret->kind = k;
                ret->value = value;
                ret->cause = c;
                return 1;
            }
        }
    }

    return 0;
}
