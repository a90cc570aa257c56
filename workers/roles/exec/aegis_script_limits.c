/*
 * aegis_script_limits.c: memory and number of processes of a script's control
 * group (aegis_script_cgroup.h): script.group_memory_mb, script.group_processes.
 * Where version 2 has the controller they are files of the group itself. Where
 * version 1 still has it (both are mounted), a group of the same path in that
 * hierarchy is divided as well. What cannot be had is said, never passed over.
 */
#include "aegis_script_cgroup.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

enum { AEGIS_LIMIT_MEMORY, AEGIS_LIMIT_PIDS, AEGIS_LIMIT_N };

typedef struct {
    int      tree;                      /* folder the groups are made in; -1: no limit */
    int      v1;                        /* it is of a hierarchy of its own */
    int64_t  value;
} aegis_limit_t;

static aegis_limit_t  aegis_limits[AEGIS_LIMIT_N] = { { -1, 0, 0 }, { -1, 0, 0 } };

static const char *const  aegis_limit_names[] = { "memory", "pids" };

static int
aegis_limit_open(int tree, const char *group, const char *file, int flags)
{
    char  path[120];

    snprintf(path, sizeof(path), "%s/%s", group, file);
    return openat(tree, path, flags | O_CLOEXEC);
}

static int
aegis_limit_write(int tree, const char *group, const char *file, const char *text)
{
    int      fd, err;
    ssize_t  n;

    fd = aegis_limit_open(tree, group, file, O_WRONLY);
    if (fd < 0) {
        return 0;
    }

    n = write(fd, text, strlen(text));
    err = errno;
    close(fd);
    errno = err;
    return n == (ssize_t) strlen(text);
}

/* Up to size - 1 bytes of a file, "" for none. */
static void
aegis_limit_read(int tree, const char *group, const char *file, char *buf, size_t size)
{
    int      fd;
    ssize_t  n;

    fd = aegis_limit_open(tree, group, file, O_RDONLY);
    n = fd < 0 ? 0 : read(fd, buf, size - 1);
    if (fd >= 0) {
        close(fd);
    }
    buf[n > 0 ? n : 0] = '\0';
}

/* Is word one of those in list, between any of the separators? */
static int
aegis_limit_word(const char *list, const char *word, const char *separators)
{
    size_t  n;

    for ( ; *list; list += n) {
        list += strspn(list, separators);
        n = strcspn(list, separators);
        if (n == strlen(word) && memcmp(list, word, n) == 0) {
            return 1;
        }
    }

    return 0;
}

/* Version 2: let groups below dir have the controller. */
static int
aegis_limit_hand_on(int dir, const char *name)
{
    char  list[512], text[40];

    aegis_limit_read(dir, ".", "cgroup.controllers", list, sizeof(list));
    if (!aegis_limit_word(list, name, " \n")) {
        errno = ENOENT;
        return 0;
    }

    snprintf(text, sizeof(text), "+%s", name);
    if (aegis_limit_write(dir, ".", "cgroup.subtree_control", text)) {
        return 1;
    }

    return errno == EBUSY
           && (mkdirat(dir, AEGIS_CGROUP_SELF, 0755) == 0 || errno == EEXIST)
           && aegis_limit_write(dir, AEGIS_CGROUP_SELF, "cgroup.procs", "0")
           && aegis_limit_write(dir, ".", "cgroup.subtree_control", text);
}

/* Version 1: the group of the same path, where the controller is mounted. */
static int
aegis_limit_hierarchy(const char *path, const char *name)
{
    int    dir;
    char  *options;
    FILE  *f;
    char   line[2048], at[1024], full[2048];

    f = fopen("/proc/self/mountinfo", "re");
    if (f == NULL) {
        return -1;
    }

    for (dir = -1; dir < 0 && fgets(line, sizeof(line), f); /* void */ ) {
        options = strstr(line, " - cgroup ");
        if (options == NULL || !aegis_limit_word(options, name, " ,\n")
            || sscanf(line, "%*s %*s %*s / %1023s", at) != 1)
        {
            continue;
        }
        snprintf(full, sizeof(full), "%s%s", at, path);
        dir = open(full, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    }
    fclose(f);

    return dir;
}

static void
aegis_limit_find(aegis_limit_t *l, int dir, const char *path, const char *name)
{
    l->v1 = 0;

    if (aegis_limit_hand_on(dir, name)) {
        l->tree = fcntl(dir, F_DUPFD_CLOEXEC, 3);
    } else if (errno == ENOENT) {
        l->v1 = 1;
        l->tree = aegis_limit_hierarchy(path, name);
    }
}

int
aegis_script_limits_open(int dir, const char *path, aegis_script_limits_t *limits, char *why,
    size_t size)
{
    int      i, ok;
    int64_t *value[AEGIS_LIMIT_N] = { &limits->memory_mb, &limits->processes };

    aegis_script_limits_close();

    for (i = 0, ok = 1; i < AEGIS_LIMIT_N; i++) {
        if (*value[i] == 0) {
            continue;
        }

        aegis_limit_find(&aegis_limits[i], dir, path, aegis_limit_names[i]);
        aegis_limits[i].value = *value[i];
        if (aegis_limits[i].tree < 0) {
            snprintf(why, size, "%s of its groups cannot be limited: %s", aegis_limit_names[i],
                     strerror(errno));
            *value[i] = 0;
            ok = 0;
        }
    }

    return ok;
}

void
aegis_script_limits_close(void)
{
    int  i;

    for (i = 0; i < AEGIS_LIMIT_N; i++) {
        if (aegis_limits[i].tree >= 0) {
            close(aegis_limits[i].tree);
            aegis_limits[i].tree = -1;
        }
    }
}

static int
aegis_limit_put(const aegis_limit_t *l, int i, const char *group)
{
    char  text[32];

    snprintf(text, sizeof(text), "%lld",
             (long long) (i == AEGIS_LIMIT_MEMORY ? l->value * 1024 * 1024 : l->value));

    if (i == AEGIS_LIMIT_PIDS) {
        return aegis_limit_write(l->tree, group, "pids.max", text);
    }

    /* swap counts too, where the kernel counts it */
    if (l->v1) {
        if (!aegis_limit_write(l->tree, group, "memory.limit_in_bytes", text)) {
            return 0;
        }
        (void) aegis_limit_write(l->tree, group, "memory.memsw.limit_in_bytes", text);
        return 1;
    }

    if (!aegis_limit_write(l->tree, group, "memory.max", text)) {
        return 0;
    }
    (void) aegis_limit_write(l->tree, group, "memory.swap.max", "0");
    (void) aegis_limit_write(l->tree, group, "memory.oom.group", "1");
    return 1;
}

int
aegis_script_limits_set(aegis_script_cgroup_t *c)
{
    int                   i;
    int                  *procs[AEGIS_LIMIT_N] = { &c->memory, &c->pids };
    const aegis_limit_t  *l;

    for (i = 0; i < AEGIS_LIMIT_N; i++) {
        l = &aegis_limits[i];
        if (l->tree < 0) {
            continue;
        }

        if (l->v1) {
            if (mkdirat(l->tree, c->name, 0755) != 0) {
                return 0;
            }
            *procs[i] = aegis_limit_open(l->tree, c->name, "cgroup.procs", O_WRONLY);
            if (*procs[i] < 0) {
                return 0;
            }
        }

        if (!aegis_limit_put(l, i, c->name)) {
            return 0;
        }
    }

    return 1;
}

/* The number behind name in a file of lines "name number". */
static int64_t
aegis_limit_count(const aegis_limit_t *l, const char *group, const char *file, const char *name)
{
    char   buf[512], *line, *rest;
    size_t n;

    aegis_limit_read(l->tree, group, file, buf, sizeof(buf));
    n = strlen(name);

    for (line = strtok_r(buf, "\n", &rest); line; line = strtok_r(NULL, "\n", &rest)) {
        if (strncmp(line, name, n) == 0 && line[n] == ' ') {
            return strtoll(line + n + 1, NULL, 10);
        }
    }

    return 0;
}

const char *
aegis_script_cgroup_lack(const aegis_script_cgroup_t *c)
{
    const aegis_limit_t  *memory, *pids;

    memory = &aegis_limits[AEGIS_LIMIT_MEMORY];
    pids = &aegis_limits[AEGIS_LIMIT_PIDS];

    if (c->name[0] == '\0') {
        return "";
    }
    if (memory->tree >= 0
        && aegis_limit_count(memory, c->name, memory->v1 ? "memory.oom_control"
                                                         : "memory.events", "oom_kill") > 0)
    {
        return " (out of memory: script.group_memory_mb)";
    }
    if (pids->tree >= 0 && aegis_limit_count(pids, c->name, "pids.events", "max") > 0) {
        return " (out of processes: script.group_processes)";
    }

    return "";
}

int
aegis_script_limits_end(const char *group)
{
    int  i, ok;

    for (i = 0, ok = 1; i < AEGIS_LIMIT_N; i++) {
        if (aegis_limits[i].tree >= 0 && aegis_limits[i].v1
            && unlinkat(aegis_limits[i].tree, group, AT_REMOVEDIR) != 0 && errno != ENOENT)
        {
            ok = 0;
        }
    }

    return ok;
}
