/*
 * aegis_script_filter.c: the system calls that a script is refused (EPERM): what
 * looks into or steers other processes, changes mounts, keys, modules, clocks or
 * the machine, makes new namespaces, or is a rarely used way into the kernel.
 * Made once, before anything is forked; applied by the warden's child.
 */
#include "aegis_script_guard.h"

#include <errno.h>
#include <fcntl.h>
#include <linux/filter.h>
#include <sched.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#include <seccomp.h>

static const char *const  aegis_script_refused[] = {
    "acct", "add_key", "adjtimex", "bpf", "chroot", "clock_adjtime", "clock_settime",
    "create_module", "delete_module", "fanotify_init", "finit_module", "fsconfig", "fsmount",
    "fsopen", "fspick", "get_mempolicy", "init_module", "io_uring_enter", "io_uring_register",
    "io_uring_setup", "ioperm", "iopl", "kcmp", "kexec_file_load", "kexec_load", "keyctl",
    "lookup_dcookie", "mbind", "migrate_pages", "mount", "mount_setattr", "move_mount",
    "move_pages", "name_to_handle_at", "nfsservctl", "open_by_handle_at", "open_tree",
    "perf_event_open", "pidfd_getfd", "pivot_root", "process_madvise", "process_vm_readv",
    "process_vm_writev", "ptrace", "quotactl", "quotactl_fd", "reboot", "request_key",
    "set_mempolicy", "setdomainname", "sethostname", "setns", "settimeofday", "swapoff",
    "swapon", "syslog", "umount", "umount2", "unshare", "uselib", "userfaultfd", "ustat",
    "vhangup"
};

/* Flags of clone that make a namespace. */
#define AEGIS_SCRIPT_NEW_NS                                                    \
    (CLONE_NEWNS | CLONE_NEWCGROUP | CLONE_NEWUTS | CLONE_NEWIPC | CLONE_NEWUSER \
     | CLONE_NEWPID | CLONE_NEWNET)

static struct sock_fprog  aegis_script_prog;

/* One bit after the other: any of them is refused. */
static int
aegis_script_clones(scmp_filter_ctx ctx)
{
    int       bit, rc;
    uint64_t  flag;

    for (bit = 0, rc = 0; bit < 32; bit++) {
        flag = (uint64_t) 1 << bit;
        if ((AEGIS_SCRIPT_NEW_NS & flag) != 0) {
            rc |= seccomp_rule_add(ctx, SCMP_ACT_ERRNO(EPERM), SCMP_SYS(clone), 1,
                                   SCMP_A0(SCMP_CMP_MASKED_EQ, flag, flag));
        }
    }

    /* its flags are in memory, where a filter does not look: libc falls back */
    rc |= seccomp_rule_add(ctx, SCMP_ACT_ERRNO(ENOSYS), SCMP_SYS(clone3), 0);

    return rc == 0;
}

/* The filter's code out of libseccomp, which writes it to a file only. */
static int
aegis_script_export(scmp_filter_ctx ctx)
{
    int          fd, ok;
    struct stat  st;

    fd = memfd_create("filter", MFD_CLOEXEC);
    if (fd < 0) {
        return 0;
    }

    ok = 0;
    if (seccomp_export_bpf(ctx, fd) == 0 && fstat(fd, &st) == 0 && st.st_size > 0
        && (size_t) st.st_size / sizeof(struct sock_filter) <= BPF_MAXINSNS)
    {
        aegis_script_prog.filter = malloc((size_t) st.st_size);
        ok = aegis_script_prog.filter != NULL
             && pread(fd, aegis_script_prog.filter, (size_t) st.st_size, 0) == st.st_size;
        aegis_script_prog.len = (unsigned short) ((size_t) st.st_size
                                                  / sizeof(struct sock_filter));
    }

    close(fd);
    return ok;
}

const struct sock_fprog *
aegis_script_filter(void)
{
    int              nr, ok;
    size_t           i;
    scmp_filter_ctx  ctx;

    if (aegis_script_prog.filter) {
        return &aegis_script_prog;
    }

    ctx = seccomp_init(SCMP_ACT_ALLOW);
    if (ctx == NULL) {
        return NULL;
    }

    ok = 1;
    for (i = 0; i < sizeof(aegis_script_refused) / sizeof(aegis_script_refused[0]); i++) {
        nr = seccomp_syscall_resolve_name(aegis_script_refused[i]);
        if (nr != __NR_SCMP_ERROR) {
            ok &= seccomp_rule_add(ctx, SCMP_ACT_ERRNO(EPERM), nr, 0) == 0;
        }
    }

    ok = ok && aegis_script_clones(ctx) && aegis_script_export(ctx);
    seccomp_release(ctx);
    if (!ok) {
        aegis_script_filter_free();
    }

    return ok ? &aegis_script_prog : NULL;
}

void
aegis_script_filter_free(void)
{
    free(aegis_script_prog.filter);
    aegis_script_prog.filter = NULL;
    aegis_script_prog.len = 0;
}
