/*
 * aegis_adapter_script.c: the action `script.exec`: params.script, a file of
 * exec.script_dir, is run with params.args as its arguments, under a warden
 * (aegis_warden.h).
 * Invariants: no shell ever sees a parameter; what is run is the sealed copy of
 * a file that is listed with its hash (aegis_script_guard.h); the environment is
 * made here and nothing of the worker's gets in.
 */
#include "aegis_child.h"
#include "aegis_script_cgroup.h"
#include "aegis_script_guard.h"

#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#define AEGIS_SCRIPT_ARGS     64
#define AEGIS_SCRIPT_ARG_MAX  8192
#define AEGIS_SCRIPT_ENV      9
/* For a keeper to end what its warden has left, of AEGIS_ACT_GRACE_MS. */
#define AEGIS_SCRIPT_LOST_MS  3000

typedef struct {
    pid_t                  keeper;      /* the warden's parent; 0: none of ours */
    int                    ctl;         /* -1: closed */
    int                    status;
    int64_t                give_up_at;
    int64_t                lost_at;     /* 0: the warden is expected to say how it ends */
    const char            *lost;
    aegis_script_cgroup_t  group;
} aegis_script_t;

/* script.network: names with blanks or commas between them, or all. */
static int
aegis_script_networked(const aegis_act_t *act, const char *name)
{
    size_t       len, n;
    const char  *p;

    len = strlen(name);
    p = aegis_conf_str(act->conf, "script.network");
    if (strcmp(p, "all") == 0) {
        return 1;
    }

    for ( ; *p; p += n) {
        p += strspn(p, ", ");
        n = strcspn(p, ", ");
        if (n == len && n > 0 && memcmp(p, name, n) == 0) {
            return 1;
        }
    }

    return 0;
}

/* argv of params; 0 when they are not good. */
static int
aegis_script_argv(aegis_act_t *act, const char *argv[AEGIS_SCRIPT_ARGS + 2])
{
    size_t         i, n;
    const char    *name, *p;
    const json_t  *args, *arg;

    name = json_string_value(json_object_get(act->params, "script"));
    if (name == NULL) {
        aegis_act_fail(act, 1, "params.script is missing");
        return 0;
    }

    for (p = name; *p; p++) {
        if (!((*p >= 'a' && *p <= 'z') || (*p >= 'A' && *p <= 'Z')
              || (*p >= '0' && *p <= '9') || *p == '.' || *p == '_' || *p == '-'))
        {
            break;
        }
    }
    if (*p != '\0' || p == name || p - name > 255 || strcmp(name, ".") == 0
        || strcmp(name, "..") == 0)
    {
        aegis_act_fail(act, 1, "params.script is not a plain file name");
        return 0;
    }

    args = json_object_get(act->params, "args");
    if (args != NULL && !json_is_array(args)) {
        aegis_act_fail(act, 1, "params.args is not an array");
        return 0;
    }

    n = json_array_size(args);
    if (n > AEGIS_SCRIPT_ARGS) {
        aegis_act_fail(act, 1, "params.args has more than %d members", AEGIS_SCRIPT_ARGS);
        return 0;
    }

    argv[0] = name;
    for (i = 0; i < n; i++) {
        arg = json_array_get(args, i);
        argv[i + 1] = json_string_value(arg);
        if (argv[i + 1] == NULL || json_string_length(arg) > AEGIS_SCRIPT_ARG_MAX
            || strlen(argv[i + 1]) != json_string_length(arg))
        {
            aegis_act_fail(act, 1, "params.args/%zu is not a string of up to %d bytes", i,
                           AEGIS_SCRIPT_ARG_MAX);
            return 0;
        }
    }
    argv[n + 1] = NULL;

    return 1;
}

/* NAME=value in text; the environment of the script, all of it. */
static void
aegis_script_env(const aegis_act_t *act, char text[AEGIS_SCRIPT_ENV][320],
    char *envp[AEGIS_SCRIPT_ENV + 1])
{
    int  i;

    snprintf(text[0], 320, "PATH=/usr/bin:/bin");
    snprintf(text[1], 320, "LANG=C.UTF-8");
    snprintf(text[2], 320, "AEGIS_TENANT=%s", act->tenant);
    snprintf(text[3], 320, "AEGIS_CASE_ID=%s", act->case_id);
    snprintf(text[4], 320, "AEGIS_EXEC_ID=%s", act->exec_id);
    snprintf(text[5], 320, "AEGIS_PHASE=%s", act->phase);
    snprintf(text[6], 320, "AEGIS_STEP=%d", act->step_no);
    snprintf(text[7], 320, "AEGIS_ATTEMPT=%d", act->attempt);
    snprintf(text[8], 320, "AEGIS_TOKEN=%s", act->token);

    for (i = 0; i < AEGIS_SCRIPT_ENV; i++) {
        envp[i] = text[i];
    }
    envp[i] = NULL;
}

static void
aegis_script_close(int fd[AEGIS_WARDEN_FDS])
{
    int  i;

    for (i = 0; i < AEGIS_WARDEN_FDS; i++) {
        if (fd[i] >= 0) {
            close(fd[i]);
            fd[i] = -1;
        }
    }
}

static int
aegis_script_pipe(int *ret_read, int *ret_write)
{
    int  fds[2];

    if (pipe2(fds, O_CLOEXEC) != 0) {
        return -1;
    }

    *ret_read = fds[0];
    *ret_write = fds[1];
    return 0;
}

/* Everything that the warden needs, and our ends of its two pipes. */
static int
aegis_script_fds(aegis_act_t *act, const char *script, int fd[AEGIS_WARDEN_FDS],
    int *ret_ctl, int *ret_status)
{
    int  rc, out, err, ctl[2] = { -1, -1 };

    fd[AEGIS_WARDEN_SCRIPT] = aegis_script_file(act, script);
    if (fd[AEGIS_WARDEN_SCRIPT] < 0) {
        return -1;
    }

    fd[AEGIS_WARDEN_DIR] = aegis_act_dir(act);
    out = aegis_act_open(act, AEGIS_OUT);
    err = aegis_act_open(act, AEGIS_ERR);
    fd[AEGIS_WARDEN_OUT_FILE] = out < 0 ? -1 : fcntl(out, F_DUPFD_CLOEXEC, 3);
    fd[AEGIS_WARDEN_ERR_FILE] = err < 0 ? -1 : fcntl(err, F_DUPFD_CLOEXEC, 3);
    if (fd[AEGIS_WARDEN_DIR] < 0 || fd[AEGIS_WARDEN_OUT_FILE] < 0
        || fd[AEGIS_WARDEN_ERR_FILE] < 0)
    {
        aegis_act_fail(act, 0, "cannot make the output files: %s", strerror(errno));
        return -1;
    }

    rc = 0;
    fd[AEGIS_WARDEN_NULL] = open("/dev/null", O_RDWR | O_CLOEXEC);
    if (fd[AEGIS_WARDEN_NULL] < 0
        || aegis_script_pipe(&fd[AEGIS_WARDEN_OUT_R], &fd[AEGIS_WARDEN_OUT_W]) != 0
        || aegis_script_pipe(&fd[AEGIS_WARDEN_ERR_R], &fd[AEGIS_WARDEN_ERR_W]) != 0
        || socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, ctl) != 0
        || aegis_script_pipe(ret_status, &fd[AEGIS_WARDEN_STATUS]) != 0
        || fcntl(fd[AEGIS_WARDEN_OUT_R], F_SETFL, O_NONBLOCK) != 0
        || fcntl(fd[AEGIS_WARDEN_ERR_R], F_SETFL, O_NONBLOCK) != 0
        || fcntl(*ret_status, F_SETFL, O_NONBLOCK) != 0)
    {
        aegis_act_fail(act, 0, "cannot prepare the script: %s", strerror(errno));
        rc = -1;
    }

    /* a socket, because it can be written to without SIGPIPE */
    fd[AEGIS_WARDEN_CTL] = ctl[0];
    *ret_ctl = ctl[1];

    return rc;
}

/* The descriptors of the script's group; where there is none what is written to
 * them goes nowhere. 0 or -1. */
static int
aegis_script_group_fds(const aegis_script_cgroup_t *c, int fd[AEGIS_WARDEN_FDS])
{
    size_t  i;

    const struct {
        int  to;
        int  from;
    } pairs[] = {
        { AEGIS_WARDEN_CG_PROCS, c->procs },
        { AEGIS_WARDEN_CG_KILL, c->kill },
        { AEGIS_WARDEN_CG_EVENTS, c->events },
        { AEGIS_WARDEN_CG_MEMORY, c->memory },
        { AEGIS_WARDEN_CG_PIDS, c->pids }
    };

    for (i = 0; i < sizeof(pairs) / sizeof(pairs[0]); i++) {
        fd[pairs[i].to] = fcntl(pairs[i].from >= 0 ? pairs[i].from : fd[AEGIS_WARDEN_NULL],
                                F_DUPFD_CLOEXEC, 0);
        if (fd[pairs[i].to] < 0) {
            return -1;
        }
    }

    return 0;
}

/* Fork the keeper with every signal held back: a handler of the worker must not
 * run in it. */
static pid_t
aegis_script_fork(const aegis_warden_t *g)
{
    pid_t     pid;
    sigset_t  all, old;

    sigfillset(&all);
    (void) pthread_sigmask(SIG_SETMASK, &all, &old);

    pid = fork();
    if (pid == 0) {
        aegis_keeper_main(g);
    }

    (void) pthread_sigmask(SIG_SETMASK, &old, NULL);
    return pid;
}

static void
aegis_script_check(aegis_act_t *act)
{
    int          fd;
    const char  *argv[AEGIS_SCRIPT_ARGS + 2];

    if (!aegis_script_argv(act, argv) || (fd = aegis_script_file(act, argv[0])) < 0) {
        return;
    }

    close(fd);
    aegis_act_say(act, "would run %s with %zu arguments", argv[0],
                  json_array_size(json_object_get(act->params, "args")));
    aegis_act_ok(act);
}

static void
aegis_script_start(aegis_act_t *act)
{
    int              i;
    char             env[AEGIS_SCRIPT_ENV][320], *envp[AEGIS_SCRIPT_ENV + 1];
    char             rc_name[64], rc_tmp[64];
    const char      *argv[AEGIS_SCRIPT_ARGS + 2];
    aegis_warden_t   g;
    aegis_script_t  *s;

    if (!aegis_script_argv(act, argv)) {
        return;
    }

    s = calloc(1, sizeof(aegis_script_t));
    if (s == NULL) {
        aegis_act_fail(act, 0, "no memory");
        return;
    }
    s->ctl = s->status = -1;

    memset(&g, 0, sizeof(g));
    for (i = 0; i < AEGIS_WARDEN_FDS; i++) {
        g.fd[i] = -1;
    }
    if (aegis_script_fds(act, argv[0], g.fd, &s->ctl, &s->status) != 0) {
        goto failed;
    }

    if (!aegis_script_cgroup_make(&s->group) || aegis_script_group_fds(&s->group, g.fd) != 0) {
        aegis_act_fail(act, 0, "cannot make a control group: %s", strerror(errno));
        goto failed;
    }

    aegis_script_env(act, env, envp);
    snprintf(rc_name, sizeof(rc_name), "%s.rc", act->token);
    snprintf(rc_tmp, sizeof(rc_tmp), "%s.tmp", act->token);

    g.argv = (char *const *) argv;
    g.envp = envp;
    g.rc_name = rc_name;
    g.rc_tmp = rc_tmp;
    g.timeout_ms = act->timeout_ms;
    g.output_max = act->output_max;
    g.max_fd = (int) sysconf(_SC_OPEN_MAX);
    aegis_script_confine(&g);
    g.host_network = aegis_script_networked(act, argv[0]);
    g.memory = aegis_conf_int(act->conf, "script.memory_mb") * 1024 * 1024;
    g.processes = (int) aegis_conf_int(act->conf, "script.processes");

    s->keeper = aegis_script_fork(&g);
    if (s->keeper < 0) {
        aegis_act_fail(act, 0, "cannot fork: %s", strerror(errno));
        goto failed;
    }

    aegis_script_close(g.fd);
    s->give_up_at = aegis_act_now() + act->timeout_ms + AEGIS_ACT_GRACE_MS
                    - AEGIS_SCRIPT_LOST_MS;
    act->self = s;
    act->state = AEGIS_ACT_RUNNING;
    return;

failed:

    aegis_script_close(g.fd);
    aegis_script_cgroup_end(&s->group);
    if (s->ctl >= 0) {
        close(s->ctl);
    }
    if (s->status >= 0) {
        close(s->status);
    }
    free(s);
}

/* What a warden said, as the attempt's outcome; lack: what its group ran out of. */
static void
aegis_script_outcome(aegis_act_t *act, const aegis_warden_status_t *st, const char *lack)
{
    const char  *name;

    act->has_exit = st->kind != AEGIS_WARDEN_EXEC;
    act->exit_code = st->kind == AEGIS_WARDEN_SIGNAL ? 128 + st->value : st->value;

    if (st->cause == AEGIS_WARDEN_TIMEOUT) {
        aegis_act_fail(act, 0, "timed out after %lld s",
                       (long long) ((act->timeout_ms + 999) / 1000));
        act->state = AEGIS_ACT_TIMEOUT;

    } else if (st->cause == AEGIS_WARDEN_STOPPED) {
        aegis_act_fail(act, 0, "stopped");
        act->cancelled = 1;

    } else if (st->kind == AEGIS_WARDEN_EXEC) {
        name = json_string_value(json_object_get(act->params, "script"));
        aegis_act_fail(act, st->value == ENOEXEC || st->value == EACCES
                            || st->value == ENOENT,
                       "cannot run script %s: %s", name ? name : "", strerror(st->value));

    } else if (st->kind == AEGIS_WARDEN_SIGNAL) {
        aegis_act_fail(act, 0, "ended by signal %d%s", st->value, lack);

    } else if (st->value != 0) {
        aegis_act_fail(act, 0, "exit code %d%s", st->value, lack);

    } else {
        aegis_act_ok(act);
    }
}

/* Nobody will say how it ended: end what there is, by all that it can be known
 * by. 0: the keeper is at it. */
static int
aegis_script_lose(aegis_act_t *act, aegis_script_t *s)
{
    siginfo_t  info;

    info.si_pid = 0;
    if (waitid(P_PID, (id_t) s->keeper, &info, WEXITED | WNOHANG | WNOWAIT) == 0
        && info.si_pid == 0)
    {
        if (aegis_act_now() < s->lost_at + AEGIS_SCRIPT_LOST_MS) {
            return 0;
        }
        kill(s->keeper, SIGKILL);
    }

    aegis_warden_kill_session(s->keeper);
    aegis_warden_kill_marked(act->token);
    aegis_script_cgroup_end(&s->group);
    aegis_child_reap(s->keeper);
    s->keeper = 0;
    return 1;
}

static void
aegis_script_poll(aegis_act_t *act)
{
    ssize_t                n;
    aegis_script_t        *s;
    aegis_warden_status_t   st;

    s = act->self;

    if (s->lost_at == 0) {
        do {
            n = read(s->status, &st, sizeof(st));
        } while (n < 0 && errno == EINTR);

        if (n < 0 && errno == EAGAIN && aegis_act_now() < s->give_up_at) {
            return;
        }

        if (n == (ssize_t) sizeof(st)) {
            aegis_script_outcome(act, &st, aegis_script_cgroup_lack(&s->group));
            aegis_child_reap(s->keeper);
            s->keeper = 0;
            return;
        }

        s->lost = n == 0 ? "the script's warden was killed"
                         : "the script's warden did not end";
        s->lost_at = aegis_act_now();
        kill(s->keeper, SIGTERM);
    }

    if (aegis_script_lose(act, s)) {
        aegis_act_unknown(act, "%s", s->lost);
    }
}

static void
aegis_script_release(aegis_act_t *act)
{
    aegis_script_t  *s;

    s = act->self;
    if (s == NULL) {
        return;
    }

    if (s->keeper > 0) {
        kill(s->keeper, SIGTERM);       /* it ends what there is, also without us */
    }
    aegis_child_reap(s->keeper);
    aegis_script_cgroup_end(&s->group);

    close(s->status);
    if (s->ctl >= 0) {
        close(s->ctl);
    }
    free(s);
    act->self = NULL;
}

static void
aegis_script_cancel(aegis_act_t *act, int now)
{
    int64_t          limit;
    aegis_script_t  *s;

    s = act->self;

    if (s->ctl >= 0 && now) {
        close(s->ctl);
        s->ctl = -1;
    } else if (s->ctl >= 0) {
        (void) send(s->ctl, "s", 1, MSG_NOSIGNAL | MSG_DONTWAIT);
    }

    limit = aegis_act_now() + AEGIS_ACT_GRACE_MS - AEGIS_SCRIPT_LOST_MS;
    if (s->give_up_at > limit) {
        s->give_up_at = limit;
    }
}

static void
aegis_script_recover(aegis_act_t *act)
{
    int                    dir, fd;
    char                   name[64], buf[64];
    ssize_t                n;
    aegis_warden_status_t   st;

    act->state = AEGIS_ACT_UNKNOWN;
    dir = aegis_act_dir(act);
    if (dir < 0) {
        aegis_warden_kill_marked(act->token);
        return;
    }

    snprintf(name, sizeof(name), "%s.rc", act->token);
    fd = openat(dir, name, O_RDONLY | O_NOFOLLOW | O_CLOEXEC);
    n = fd < 0 ? -1 : read(fd, buf, sizeof(buf) - 1);

    if (n > 0) {
        buf[n] = '\0';
        if (aegis_warden_read(buf, &st)) {
            (void) aegis_act_reopen(act, AEGIS_OUT);
            (void) aegis_act_reopen(act, AEGIS_ERR);
            aegis_script_outcome(act, &st, "");
        }
    }

    if (act->state == AEGIS_ACT_UNKNOWN) {
        /* executor, keeper and warden may have died together */
        aegis_warden_kill_marked(act->token);
    }

    if (fd >= 0) {
        close(fd);
    }
    close(dir);
}

const aegis_adapter_t  aegis_adapter_script = {
    .name = "script",
    .configure = aegis_script_configure,
    .done = aegis_script_done,
    .check = aegis_script_check,
    .start = aegis_script_start,
    .poll = aegis_script_poll,
    .cancel = aegis_script_cancel,
    .recover = aegis_script_recover,
    .release = aegis_script_release
};
