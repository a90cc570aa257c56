/*
 * aegis_warden_tree.c: both ends of a script's life inside the warden: what the
 * child does to become it, and how all of its descendants are found and ended.
 * Invariant: async-signal-safe calls only; nothing here allocates.
 */
#include "aegis_warden.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <stddef.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#define AEGIS_WARDEN_SWEEP_MS  5000

/* What a script may use; its time is the step's timeout. */
#define AEGIS_WARDEN_FILE_SIZE (1024 * 1024 * 1024)
#define AEGIS_WARDEN_FILES     1024

static int64_t
aegis_warden_clock(void)
{
    struct timespec  ts;

    clock_gettime(CLOCK_MONOTONIC, &ts);
    return (int64_t) ts.tv_sec * 1000 + ts.tv_nsec / 1000000;
}

/* Fields of /proc/<pid>/stat behind the name: "1 (name) S 0 1 1 …". */
enum { AEGIS_WARDEN_PARENT = 2, AEGIS_WARDEN_SESSION = 4 };

/* The n-th of them, -1 when there is none. The name may hold anything, so the
 * last parenthesis counts. */
static int
aegis_warden_field(const char *stat, size_t len, int n)
{
    int     value;
    size_t  i;

    for (i = len; i > 0 && stat[i - 1] != ')'; i--) {
        continue;
    }
    if (i == 0) {
        return -1;
    }

    for ( ; i < len && n > 0; i++) {
        n -= stat[i] == ' ';
    }
    if (n > 0 || i == len) {
        return -1;
    }

    for (value = 0; i < len && stat[i] >= '0' && stat[i] <= '9'; i++) {
        value = value * 10 + (stat[i] - '0');
    }

    return value;
}

/* Who is meant: by a field of stat, or by what its environment holds. */
typedef struct {
    int          field;
    int          value;
    const char  *mark;                  /* "NAME=value"; NULL: the field counts */
    size_t       mark_len;
} aegis_warden_whom_t;

/* Is it one of the strings that the process was begun with? Its first 64 KiB
 * count: what is made for a script is smaller by far. */
static int
aegis_warden_marked(int fd, const aegis_warden_whom_t *w)
{
    char    *p, *end, text[65536];
    size_t   n;
    ssize_t  len;

    for (n = 0; n < sizeof(text) && (len = read(fd, text + n, sizeof(text) - n)) > 0; n += len) {
        continue;
    }

    for (p = text, end = text + n; p < end; p += strnlen(p, (size_t) (end - p)) + 1) {
        if ((size_t) (end - p) > w->mark_len && memcmp(p, w->mark, w->mark_len + 1) == 0) {
            return 1;
        }
    }

    return 0;
}

/* 1 when the process was one of those. */
static int
aegis_warden_kill_one(int proc, const char *name, const aegis_warden_whom_t *w)
{
    int      fd, pid, is;
    char     path[32], stat[512];
    size_t   n;
    ssize_t  len;

    for (n = 0, pid = 0; name[n] >= '0' && name[n] <= '9' && n < 9; n++) {
        pid = pid * 10 + (name[n] - '0');
        path[n] = name[n];
    }
    if (n == 0 || name[n] != '\0' || pid == w->value || pid == getpid()) {
        return 0;
    }
    if (w->mark) {
        memcpy(path + n, "/environ", sizeof("/environ"));
    } else {
        memcpy(path + n, "/stat", sizeof("/stat"));
    }

    fd = openat(proc, path, O_RDONLY | O_CLOEXEC);
    if (fd < 0) {
        return 0;
    }

    if (w->mark) {
        is = aegis_warden_marked(fd, w);
    } else {
        len = read(fd, stat, sizeof(stat));
        is = len > 0 && aegis_warden_field(stat, (size_t) len, w->field) == w->value;
    }
    close(fd);

    return is && kill(pid, SIGKILL) == 0;
}

/* End all of them; how many there were. */
static int
aegis_warden_kill_all(const aegis_warden_whom_t *w)
{
    int     proc, killed;
    long    n, at;

    /* what getdents64 writes: only d_reclen and d_name are looked at */
    struct aegis_dirent {
        uint64_t        ino;
        int64_t         off;
        unsigned short  reclen;
        unsigned char   type;
        char            name[];
    } *d;
    union {
        struct aegis_dirent  align;
        char                 bytes[16384];
    } buf;

    proc = open("/proc", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    if (proc < 0) {
        return 0;
    }

    killed = 0;
    while ((n = syscall(SYS_getdents64, proc, buf.bytes, sizeof(buf.bytes))) > 0) {
        for (at = 0; at < n; at += d->reclen) {
            d = (struct aegis_dirent *) (void *) (buf.bytes + at);
            killed += aegis_warden_kill_one(proc, d->name, w);
        }
    }

    close(proc);
    return killed;
}

/* The dead of one pass may have forked before it. */
static void
aegis_warden_kill_until(const aegis_warden_whom_t *w)
{
    int  i;

    for (i = 0; i < 10 && aegis_warden_kill_all(w) > 0; i++) {
        (void) poll(NULL, 0, 2);
    }
}

void
aegis_warden_kill_session(int session)
{
    aegis_warden_whom_t  w = { AEGIS_WARDEN_SESSION, session, NULL, 0 };

    aegis_warden_kill_until(&w);
}

void
aegis_warden_kill_marked(const char *token)
{
    char                 mark[128];
    size_t               n;
    aegis_warden_whom_t  w = { 0, -1, mark, 0 };

    n = strlen(token);
    if (n == 0 || n + sizeof("AEGIS_TOKEN=") > sizeof(mark)) {
        return;                         /* an empty one would be everybody's */
    }

    memcpy(mark, "AEGIS_TOKEN=", sizeof("AEGIS_TOKEN=") - 1);
    memcpy(mark + sizeof("AEGIS_TOKEN=") - 1, token, n + 1);
    w.mark_len = sizeof("AEGIS_TOKEN=") - 1 + n;

    aegis_warden_kill_until(&w);
}

/* Is anybody left in the script's control group? */
static int
aegis_warden_populated(const aegis_warden_t *g)
{
    char     text[128];
    ssize_t  n;

    n = pread(g->fd[AEGIS_WARDEN_CG_EVENTS], text, sizeof(text) - 1, 0);
    if (n <= 0) {
        return 0;
    }
    text[n] = '\0';

    return strstr(text, "populated 1") != NULL;
}

void
aegis_warden_sweep(const aegis_warden_t *g, int group)
{
    pid_t                pid;
    int64_t              deadline;
    aegis_warden_whom_t  ours = { AEGIS_WARDEN_PARENT, getpid(), NULL, 0 };

    deadline = aegis_warden_clock() + AEGIS_WARDEN_SWEEP_MS;

    for ( ;; ) {
        /* the whole group at once: no fork of a member escapes that */
        if (group > 0) {
            kill(-group, SIGKILL);
        }
        (void) !write(g->fd[AEGIS_WARDEN_CG_KILL], "1", 1);

        do {
            pid = waitpid(-1, NULL, WNOHANG);
            if (pid == group) {
                group = 0;              /* from now on its number may be another's */
            }
        } while (pid > 0 || (pid < 0 && errno == EINTR));

        if ((pid < 0 && !aegis_warden_populated(g)) || aegis_warden_clock() >= deadline) {
            return;
        }

        /* what our children leave behind becomes ours: we are a subreaper */
        (void) aegis_warden_kill_all(&ours);
        (void) poll(NULL, 0, 2);
    }
}

static void
aegis_warden_limit(int what, rlim_t soft, rlim_t hard)
{
    struct rlimit  now, r;

    if (getrlimit((__rlimit_resource_t) what, &now) != 0) {
        return;
    }

    r.rlim_max = now.rlim_max < hard ? now.rlim_max : hard;
    r.rlim_cur = soft < r.rlim_max ? soft : r.rlim_max;
    (void) setrlimit((__rlimit_resource_t) what, &r);
}

int
aegis_warden_become(const aegis_warden_t *g)
{
    int               sig;
    rlim_t            cpu;
    sigset_t          none;
    struct sigaction  dfl;

    memset(&dfl, 0, sizeof(dfl));
    dfl.sa_handler = SIG_DFL;
    for (sig = 1; sig < NSIG; sig++) {
        (void) sigaction(sig, &dfl, NULL);
    }

    cpu = (rlim_t) (g->timeout_ms / 1000 + 5);
    aegis_warden_limit(RLIMIT_CPU, cpu, cpu + 5);
    aegis_warden_limit(RLIMIT_FSIZE, AEGIS_WARDEN_FILE_SIZE, AEGIS_WARDEN_FILE_SIZE);
    aegis_warden_limit(RLIMIT_NOFILE, AEGIS_WARDEN_FILES, AEGIS_WARDEN_FILES);
    aegis_warden_limit(RLIMIT_NPROC, (rlim_t) g->processes, (rlim_t) g->processes);
    if (g->memory > 0) {
        aegis_warden_limit(RLIMIT_AS, (rlim_t) g->memory, (rlim_t) g->memory);
    }
    aegis_warden_limit(RLIMIT_CORE, 0, 0);
    umask(027);

    if (prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) != 0 || chdir("/") != 0
        || dup2(g->fd[AEGIS_WARDEN_NULL], STDIN_FILENO) < 0
        || dup2(g->fd[AEGIS_WARDEN_OUT_W], STDOUT_FILENO) < 0
        || dup2(g->fd[AEGIS_WARDEN_ERR_W], STDERR_FILENO) < 0)
    {
        return errno;
    }

    /* by descriptor: it is the file that was looked at, whatever the name
     * means by now; an interpreter reads it as /dev/fd/<n>, so it stays open */
    if (fcntl(g->fd[AEGIS_WARDEN_SCRIPT], F_SETFD, 0) != 0) {
        return errno;
    }

    sigemptyset(&none);
    (void) sigprocmask(SIG_SETMASK, &none, NULL);

    errno = aegis_warden_confine(g);
    if (errno != 0) {
        return errno;
    }

    execveat(g->fd[AEGIS_WARDEN_SCRIPT], "", g->argv, g->envp, AT_EMPTY_PATH);
    return errno;
}
