/*
 * aegis_child.c: programs of the configuration, without waiting for them.
 * Invariants: a child that is over its time is killed with its whole group;
 * each is reaped, if not here then before the next one begins.
 */
#include "aegis_child.h"

#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <spawn.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

#include "aegis_adapter.h"

#define AEGIS_CHILD_ORPHANS  256

/* Killed and not yet reaped: one thread drives all acts. */
static pid_t  aegis_child_orphans[AEGIS_CHILD_ORPHANS];

void
aegis_child_reap(pid_t pid)
{
    int  i, place;

    for (i = 0, place = -1; i < AEGIS_CHILD_ORPHANS; i++) {
        if (aegis_child_orphans[i] != 0
            && waitpid(aegis_child_orphans[i], NULL, WNOHANG) != 0)
        {
            aegis_child_orphans[i] = 0;
        }
        if (aegis_child_orphans[i] == 0) {
            place = i;
        }
    }

    if (pid != 0 && waitpid(pid, NULL, WNOHANG) == 0 && place >= 0) {
        aegis_child_orphans[place] = pid;
    }
}

void
aegis_child_init(aegis_child_t *c)
{
    memset(c, 0, sizeof(*c));
    c->out = c->err = -1;
}

static void
aegis_child_close(int *fd)
{
    if (*fd >= 0) {
        close(*fd);
        *fd = -1;
    }
}

void
aegis_child_free(aegis_child_t *c)
{
    if (c->pid > 0) {
        kill(-c->pid, SIGKILL);
        aegis_child_reap(c->pid);
    }

    aegis_child_close(&c->out);
    aegis_child_close(&c->err);
    free(c->text[0]);
    free(c->text[1]);
    aegis_child_init(c);
}

static int
aegis_child_attributes(posix_spawnattr_t *attr, posix_spawn_file_actions_t *files,
    const int out[2], const int err[2])
{
    int       rc;
    sigset_t  none, all;

    /* the worker's threads hold signals back, and a child would inherit that */
    sigemptyset(&none);
    sigfillset(&all);

    rc = posix_spawnattr_setflags(attr, POSIX_SPAWN_SETPGROUP | POSIX_SPAWN_SETSIGMASK
                                        | POSIX_SPAWN_SETSIGDEF);
    rc = rc ? rc : posix_spawnattr_setsigmask(attr, &none);
    rc = rc ? rc : posix_spawnattr_setsigdefault(attr, &all);
    rc = rc ? rc : posix_spawn_file_actions_addopen(files, 0, "/dev/null", O_RDONLY, 0);
    rc = rc ? rc : posix_spawn_file_actions_adddup2(files, out[1], 1);
    rc = rc ? rc : posix_spawn_file_actions_adddup2(files, err[1], 2);

    return rc;
}

int
aegis_child_spawn(aegis_child_t *c, char *const *argv, size_t out_max, size_t err_max,
    int64_t timeout_ms)
{
    int                          rc, out[2] = { -1, -1 }, err[2] = { -1, -1 };
    pid_t                        pid;
    posix_spawnattr_t            attr;
    posix_spawn_file_actions_t   files;

    static char *const  env[] = {
        "PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin", "LANG=C.UTF-8",
        NULL
    };

    aegis_child_free(c);
    aegis_child_reap(0);

    if (pipe2(out, O_CLOEXEC) != 0 || pipe2(err, O_CLOEXEC) != 0) {
        rc = errno;
        aegis_child_close(&out[0]);
        aegis_child_close(&out[1]);
        errno = rc;
        return 0;
    }

    (void) posix_spawnattr_init(&attr);
    (void) posix_spawn_file_actions_init(&files);

    rc = aegis_child_attributes(&attr, &files, out, err);
    rc = rc ? rc : posix_spawn(&pid, argv[0], &files, &attr, argv, env);

    (void) posix_spawn_file_actions_destroy(&files);
    (void) posix_spawnattr_destroy(&attr);
    close(out[1]);
    close(err[1]);

    if (rc != 0) {
        close(out[0]);
        close(err[0]);
        errno = rc;
        return 0;
    }

    (void) fcntl(out[0], F_SETFL, O_NONBLOCK);
    (void) fcntl(err[0], F_SETFL, O_NONBLOCK);

    c->pid = pid;
    c->out = out[0];
    c->err = err[0];
    c->max[0] = out_max;
    c->max[1] = err_max;
    c->kill_at = aegis_act_now() + timeout_ms;
    return 1;
}

static void
aegis_child_keep(aegis_child_t *c, int stream, const char *data, size_t n)
{
    char    *text;
    size_t   left;

    left = c->max[stream] - c->len[stream];
    n = n < left ? n : left;
    if (n == 0 || (text = realloc(c->text[stream], c->len[stream] + n + 1)) == NULL) {
        return;
    }

    c->text[stream] = text;
    memcpy(text + c->len[stream], data, n);
    c->len[stream] += n;
    text[c->len[stream]] = '\0';
}

/* What there is to read, of one turn. */
static void
aegis_child_read(aegis_child_t *c, int stream, int *fd)
{
    int      turns;
    char     buf[16384];
    ssize_t  n;

    for (turns = 0; *fd >= 0 && turns < 64; turns++) {
        n = read(*fd, buf, sizeof(buf));
        if (n < 0 && errno == EINTR) {
            continue;
        }
        if (n < 0 && errno == EAGAIN) {
            return;
        }
        if (n <= 0) {
            aegis_child_close(fd);
            return;
        }
        aegis_child_keep(c, stream, buf, (size_t) n);
    }
}

int
aegis_child_poll(aegis_child_t *c)
{
    int    status;
    pid_t  pid;

    if (c->pid == 0) {
        return 1;
    }

    if (aegis_act_now() >= c->kill_at) {
        c->timed_out = 1;
        kill(-c->pid, SIGKILL);
    }

    /* first who has ended, then what it said: nothing comes after the end */
    pid = waitpid(c->pid, &status, WNOHANG);
    aegis_child_read(c, 0, &c->out);
    aegis_child_read(c, 1, &c->err);

    if (pid == 0) {
        return 0;
    }

    c->code = pid < 0 ? 255 : WIFSIGNALED(status) ? 128 + WTERMSIG(status)
              : WEXITSTATUS(status);
    c->pid = 0;
    aegis_child_close(&c->out);
    aegis_child_close(&c->err);
    return 1;
}

const char *
aegis_child_text(const aegis_child_t *c, int stream)
{
    return c->text[stream] ? c->text[stream] : "";
}
