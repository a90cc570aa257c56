/*
 * aegis_script_cgroup.c: control groups of scripts (aegis_script_cgroup.h).
 * Delegated is the group of this process when its service manager says so
 * (systemd's Delegate=yes), or the folder that script.cgroup names. Groups are
 * called aegis-<pid of the executor>-<number>, so that whoever comes next knows
 * which have no owner any more. Waits are bounded by AEGIS_CGROUP_END_MS.
 */
#include "aegis_script_cgroup.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <sys/xattr.h>
#include <unistd.h>

#define AEGIS_CGROUP_END_MS  200
#define AEGIS_CGROUP_STEP_MS 2

static int       aegis_cgroup_dir = -1;
static unsigned  aegis_cgroup_next;

/* The path of this process's group behind "0::" of /proc/self/cgroup. */
static int
aegis_cgroup_path(char *buf, size_t size)
{
    int    found;
    FILE  *f;
    char   line[1024];

    f = fopen("/proc/self/cgroup", "re");
    if (f == NULL) {
        return 0;
    }

    for (found = 0; !found && fgets(line, sizeof(line), f); /* void */ ) {
        line[strcspn(line, "\n")] = '\0';
        found = strncmp(line, "0::/", 4) == 0 && strstr(line, "/..") == NULL
                && strlen(line + 3) < size;
    }
    fclose(f);

    if (found) {
        memcpy(buf, line + 3, strlen(line + 3) + 1);
    }

    return found;
}

/* Where version 2 is mounted: root is what of the hierarchy is seen there. */
static int
aegis_cgroup_mount(char *at, char *root, size_t size)
{
    int    found;
    FILE  *f;
    char   line[2048], a[1024], r[1024];

    f = fopen("/proc/self/mountinfo", "re");
    if (f == NULL) {
        return 0;
    }

    for (found = 0; !found && fgets(line, sizeof(line), f); /* void */ ) {
        found = strstr(line, " - cgroup2 ") != NULL
                && sscanf(line, "%*s %*s %*s %1023s %1023s", r, a) == 2
                && strlen(a) < size && strlen(r) < size;
    }
    fclose(f);

    if (found) {
        memcpy(at, a, strlen(a) + 1);
        memcpy(root, r, strlen(r) + 1);
    }

    return found;
}

/* systemd marks what it delegates, and gives it to the user of the unit. */
static int
aegis_cgroup_delegated(int dir)
{
    char         value[4];
    ssize_t      n;
    struct stat  st;

    n = fgetxattr(dir, "user.delegate", value, sizeof(value));
    if (n < 0) {
        n = fgetxattr(dir, "trusted.delegate", value, sizeof(value));
    }

    return (n == 1 && value[0] == '1')
           || (geteuid() != 0 && fstat(dir, &st) == 0 && st.st_uid == geteuid());
}

/* The group that is ours to divide; in is its path in the hierarchy. */
static int
aegis_cgroup_find(const char *how, char *in, size_t in_size, char *why, size_t size)
{
    int     dir, named;
    char    path[3 * 1024], own[1024], at[1024], root[1024];
    char   *leaf;
    size_t  skip;

    named = how[0] == '/';
    in[0] = '\0';

    if (named) {
        snprintf(path, sizeof(path), "%s", how);
        if (aegis_cgroup_mount(at, root, sizeof(at)) && strcmp(root, "/") == 0
            && strncmp(how, at, strlen(at)) == 0)
        {
            snprintf(in, in_size, "%s", how + strlen(at));
        }

    } else if (!aegis_cgroup_path(own, sizeof(own))
               || !aegis_cgroup_mount(at, root, sizeof(at)))
    {
        snprintf(why, size, "control groups of version 2 are not mounted");
        return -1;

    } else {
        /* it may have made room for controllers before: aegis_script_limits.c */
        leaf = strrchr(own, '/');
        if (strcmp(leaf, "/" AEGIS_CGROUP_SELF) == 0) {
            *leaf = '\0';
        }
        snprintf(in, in_size, "%s", own);
        skip = strcmp(root, "/") == 0 ? 0 : strlen(root);
        snprintf(path, sizeof(path), "%s%s", at,
                 skip && strncmp(own, root, skip) == 0 ? own + skip : own);
    }

    dir = open(path, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    if (dir < 0) {
        snprintf(why, size, "%.200s: %s", path, strerror(errno));
        return -1;
    }

    if (!named && !aegis_cgroup_delegated(dir)) {
        snprintf(why, size, "the group %.200s is not delegated to this process", own);
        close(dir);
        return -1;
    }

    return dir;
}

static int
aegis_cgroup_file(const char *group, const char *file, int flags)
{
    char  path[80];

    snprintf(path, sizeof(path), "%s/%s", group, file);
    return openat(aegis_cgroup_dir, path, flags | O_CLOEXEC);
}

/* End all that is in the group, and remove it: last where it is looked for. */
static void
aegis_cgroup_remove(const char *group)
{
    int  fd, ms;

    fd = aegis_cgroup_file(group, "cgroup.kill", O_WRONLY);

    for (ms = 0; ms < AEGIS_CGROUP_END_MS; ms += AEGIS_CGROUP_STEP_MS) {
        if (aegis_script_limits_end(group)
            && (unlinkat(aegis_cgroup_dir, group, AT_REMOVEDIR) == 0 || errno != EBUSY))
        {
            break;
        }
        if (fd >= 0) {
            (void) !write(fd, "1", 1);
        }
        (void) poll(NULL, 0, AEGIS_CGROUP_STEP_MS);
    }

    if (fd >= 0) {
        close(fd);
    }
}

static void
aegis_cgroup_sweep(void)
{
    int             copy;
    DIR            *d;
    char            end;
    pid_t           pid;
    unsigned        n;
    struct dirent  *e;

    copy = openat(aegis_cgroup_dir, ".", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    d = copy >= 0 ? fdopendir(copy) : NULL;
    if (d == NULL) {
        if (copy >= 0) {
            close(copy);
        }
        return;
    }

    while ((e = readdir(d)) != NULL) {
        if (sscanf(e->d_name, "aegis-%d-%u%c", &pid, &n, &end) == 2
            && kill(pid, 0) != 0 && errno == ESRCH)
        {
            aegis_cgroup_remove(e->d_name);
        }
    }

    closedir(d);
}

/* Can a child of ours go into a group and be ended there? Asked by doing it. */
static int
aegis_cgroup_works(char *why, size_t size)
{
    int                    ok, status;
    pid_t                  pid;
    aegis_script_cgroup_t  c;

    if (!aegis_script_cgroup_make(&c)) {
        snprintf(why, size, "a group cannot be made: %s", strerror(errno));
        return 0;
    }

    pid = fork();
    if (pid == 0) {
        _exit(write(c.procs, "0", 1) == 1 && poll(NULL, 0, 5000) == 0);
    }

    /* whether it is there already is not known: the word is said again */
    for (ok = 0; pid > 0 && waitpid(pid, &status, WNOHANG) == 0; /* void */ ) {
        (void) !write(c.kill, "1", 1);
        (void) poll(NULL, 0, AEGIS_CGROUP_STEP_MS);
    }
    if (pid > 0) {
        ok = WIFSIGNALED(status) && WTERMSIG(status) == SIGKILL;
    }
    if (!ok) {
        snprintf(why, size, "a process cannot be put into a group");
    }

    aegis_script_cgroup_end(&c);
    return ok;
}

int
aegis_script_cgroup_open(const char *how, aegis_script_limits_t *limits, char *why, size_t size)
{
    char  in[1024];

    aegis_script_cgroup_close();

    if (strcmp(how, "off") == 0) {
        snprintf(why, size, "script.cgroup is off");
        limits->memory_mb = limits->processes = 0;
        return 0;
    }

    aegis_cgroup_dir = aegis_cgroup_find(how, in, sizeof(in), why, size);
    if (aegis_cgroup_dir < 0) {
        limits->memory_mb = limits->processes = 0;
        return 0;
    }

    (void) aegis_script_limits_open(aegis_cgroup_dir, in, limits, why, size);
    aegis_cgroup_sweep();
    if (!aegis_cgroup_works(why, size)) {
        aegis_script_cgroup_close();
        limits->memory_mb = limits->processes = 0;
        return 0;
    }

    return 1;
}

void
aegis_script_cgroup_close(void)
{
    if (aegis_cgroup_dir >= 0) {
        close(aegis_cgroup_dir);
        aegis_cgroup_dir = -1;
    }
    aegis_script_limits_close();
}

int
aegis_script_cgroup_make(aegis_script_cgroup_t *c)
{
    int  err;

    c->procs = c->kill = c->events = c->memory = c->pids = -1;
    c->name[0] = '\0';
    if (aegis_cgroup_dir < 0) {
        return 1;
    }

    snprintf(c->name, sizeof(c->name), "aegis-%d-%u", (int) getpid(), ++aegis_cgroup_next);
    if (mkdirat(aegis_cgroup_dir, c->name, 0755) != 0) {
        c->name[0] = '\0';
        return 0;
    }

    c->procs = aegis_cgroup_file(c->name, "cgroup.procs", O_WRONLY);
    c->kill = aegis_cgroup_file(c->name, "cgroup.kill", O_WRONLY);
    c->events = aegis_cgroup_file(c->name, "cgroup.events", O_RDONLY);
    if (c->procs < 0 || c->kill < 0 || c->events < 0 || !aegis_script_limits_set(c)) {
        err = errno;
        aegis_script_cgroup_end(c);
        errno = err;
        return 0;
    }

    return 1;
}

void
aegis_script_cgroup_end(aegis_script_cgroup_t *c)
{
    size_t  i;
    int    *fds[] = { &c->procs, &c->kill, &c->events, &c->memory, &c->pids };

    if (c->name[0] == '\0') {
        return;
    }

    for (i = 0; i < sizeof(fds) / sizeof(fds[0]); i++) {
        if (*fds[i] >= 0) {
            close(*fds[i]);
            *fds[i] = -1;
        }
    }

    aegis_cgroup_remove(c->name);
    c->name[0] = '\0';
}
