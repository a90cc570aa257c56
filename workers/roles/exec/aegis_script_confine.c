/*
 * aegis_script_confine.c: which of namespaces, filter of system calls, folders for
 * temporary files and control groups this machine has and the settings want, asked
 * by trying when they are read, and put around a script.
 */
#include "aegis_script_cgroup.h"
#include "aegis_script_guard.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

#include "aegis_metrics.h"

#define AEGIS_SCRIPT_TMP_FILES  1024    /* a MiB of script.tmp_mb */

/* Of the settings: script.namespaces, script.seccomp, script.tmp_mb. */
static aegis_box_t               aegis_script_box;
static const struct sock_fprog  *aegis_script_seccomp;
static char                      aegis_script_tmp[80];      /* "": the host's /tmp */

/* Can a process like ours have namespaces, with a /tmp of these options? Asked
 * once, by having some. */
static int
aegis_script_boxes(const char *tmp)
{
    int             status;
    pid_t           pid;
    aegis_warden_t  g;

    memset(&g, 0, sizeof(g));
    g.box = AEGIS_BOX_REQUIRE;

    pid = aegis_warden_clone(&g);
    if (pid == 0) {
        _exit(tmp[0] ? aegis_warden_tmp(tmp) : 0);
    }
    if (pid < 0) {
        return 0;
    }

    while (waitpid(pid, &status, 0) < 0 && errno == EINTR) {
        continue;
    }

    errno = WIFEXITED(status) ? WEXITSTATUS(status) : ECHILD;
    return errno == 0;
}

static void
aegis_script_gauge(const char *by, int have)
{
    aegis_metric_set(aegis_gauge("aegis_exec_confined", by,
                                 "1 when scripts are kept in by this"), have);
}

/* script.cgroup. */
static int
aegis_script_groups(const aegis_conf_t *conf, aegis_error_t *err)
{
    int                    have;
    char                   why[256];
    const char            *how;
    aegis_script_limits_t  want, got;

    want.memory_mb = aegis_conf_int(conf, "script.group_memory_mb");
    want.processes = aegis_conf_int(conf, "script.group_processes");
    got = want;

    how = aegis_conf_str(conf, "script.cgroup");
    have = aegis_script_cgroup_open(how, &got, why, sizeof(why));
    if ((strcmp(how, "require") == 0 || how[0] == '/')
        && (!have || got.memory_mb != want.memory_mb || got.processes != want.processes))
    {
        aegis_error_set(err, AEGIS_E_UNAVAILABLE, "script.cgroup: %s", why);
        return 0;
    }

    aegis_script_gauge("by=\"cgroup\"", have);
    aegis_script_gauge("by=\"group_memory\"", got.memory_mb > 0);
    aegis_script_gauge("by=\"group_processes\"", got.processes > 0);
    return 1;
}

int
aegis_script_configure(const aegis_conf_t *conf, aegis_error_t *err)
{
    int          have;
    char         tmp[sizeof(aegis_script_tmp)];
    size_t       i;
    int64_t      mb;
    const char  *box, *seccomp;

    static const char *const  words[] = { "off", "auto", "require" };

    box = aegis_conf_str(conf, "script.namespaces");
    seccomp = aegis_conf_str(conf, "script.seccomp");
    for (i = 0; i < 3 && strcmp(words[i], box) != 0; i++) {
        continue;
    }
    if (i == 3 || (strcmp(seccomp, "off") != 0 && strcmp(seccomp, "auto") != 0
                   && strcmp(seccomp, "require") != 0))
    {
        aegis_error_set(err, AEGIS_E_UNAVAILABLE,
                        "script.namespaces and script.seccomp are off, auto or require");
        return 0;
    }

    mb = aegis_conf_int(conf, "script.tmp_mb");
    tmp[0] = '\0';
    if (i > 0 && mb > 0) {
        snprintf(tmp, sizeof(tmp), "size=%lldm,nr_inodes=%lld,mode=1777",
                 (long long) mb, (long long) mb * AEGIS_SCRIPT_TMP_FILES);
    }

    have = i > 0 && aegis_script_boxes(tmp);
    if (i == 1 && !have && tmp[0]) {
        tmp[0] = '\0';
        have = aegis_script_boxes(tmp);
    }
    if (i == 2 && !have) {
        aegis_error_set(err, AEGIS_E_UNAVAILABLE,
                        "script.namespaces: require, but there are none to be had: %s",
                        strerror(errno));
        return 0;
    }

    aegis_script_seccomp = strcmp(seccomp, "off") == 0 ? NULL : aegis_script_filter();
    if (strcmp(seccomp, "require") == 0 && aegis_script_seccomp == NULL) {
        aegis_error_set(err, AEGIS_E_UNAVAILABLE,
                        "script.seccomp: require, but a filter cannot be made");
        return 0;
    }

    if (!aegis_script_groups(conf, err)) {
        return 0;
    }

    aegis_script_box = (aegis_box_t) i;
    memcpy(aegis_script_tmp, tmp, sizeof(tmp));
    aegis_script_gauge("by=\"namespaces\"", have);
    aegis_script_gauge("by=\"tmp\"", have && tmp[0]);
    aegis_script_gauge("by=\"seccomp\"", aegis_script_seccomp != NULL);
    return 1;
}

void
aegis_script_done(void)
{
    aegis_script_seccomp = NULL;
    aegis_script_filter_free();
    aegis_script_cgroup_close();
}

void
aegis_script_confine(aegis_warden_t *g)
{
    g->box = aegis_script_box;
    g->tmp = aegis_script_tmp[0] ? aegis_script_tmp : NULL;
    g->filter = aegis_script_seccomp;
}
