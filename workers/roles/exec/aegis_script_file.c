/*
 * aegis_script_file.c: which files may be run: those that SHA256SUMS of
 * exec.script_dir lists with their sha256. The list is what an operator has
 * looked at; a file that differs from it is not run.
 * Invariants: a file is read once, through a descriptor that follows no symbolic
 * link; its bytes are hashed and run from a sealed copy.
 */
#include "aegis_script_guard.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#include "aegis_hash.h"

#define AEGIS_SCRIPT_LIST      "SHA256SUMS"
#define AEGIS_SCRIPT_LIST_MAX  (256 * 1024)
#define AEGIS_SCRIPT_SIZE_MAX  (16 * 1024 * 1024)

/* Up to size bytes of a file; NULL with errno. Owned by the caller. */
static char *
aegis_script_read(int fd, size_t size, size_t *ret_len)
{
    char     *buf;
    size_t    len;
    ssize_t   n;

    buf = malloc(size + 1);
    if (buf == NULL) {
        return NULL;
    }

    for (len = 0; len < size; len += (size_t) n) {
        n = read(fd, buf + len, size - len);
        if (n < 0 && errno == EINTR) {
            n = 0;
            continue;
        }
        if (n < 0) {
            free(buf);
            return NULL;
        }
        if (n == 0) {
            break;
        }
    }

    buf[len] = '\0';
    *ret_len = len;
    return buf;
}

/* 1 when a line of list is "<hex>  <name>" or "<hex> *<name>". */
static int
aegis_script_listed(const char *list, const char *name, char hex[65])
{
    size_t       len;
    const char  *p, *end;

    for (p = list; *p; p = *end ? end + 1 : end) {
        end = p + strcspn(p, "\n");
        len = (size_t) (end - p);

        if (len > 66 && p[64] == ' ' && (p[65] == ' ' || p[65] == '*')
            && len - 66 == strlen(name) && memcmp(p + 66, name, len - 66) == 0)
        {
            memcpy(hex, p, 64);
            hex[64] = '\0';
            return 1;
        }
    }

    return 0;
}

/* The sha256 that the list has for name; 0: act has failed. */
static int
aegis_script_pin(aegis_act_t *act, int dir, const char *name, char hex[65])
{
    int          fd, ok;
    char        *list;
    size_t       len;
    struct stat  st;

    fd = openat(dir, AEGIS_SCRIPT_LIST, O_RDONLY | O_NOFOLLOW | O_CLOEXEC);
    if (fd < 0) {
        aegis_act_fail(act, errno == ENOENT, "no " AEGIS_SCRIPT_LIST
                       " in exec.script_dir: no script may be run: %s", strerror(errno));
        return 0;
    }

    if (fstat(fd, &st) != 0 || !S_ISREG(st.st_mode) || (st.st_mode & S_IWOTH) != 0
        || st.st_size > AEGIS_SCRIPT_LIST_MAX)
    {
        aegis_act_fail(act, 1, AEGIS_SCRIPT_LIST " is not a regular file of up to %d bytes"
                       " that others may not write", AEGIS_SCRIPT_LIST_MAX);
        close(fd);
        return 0;
    }

    list = aegis_script_read(fd, AEGIS_SCRIPT_LIST_MAX, &len);
    close(fd);
    if (list == NULL) {
        aegis_act_fail(act, 0, AEGIS_SCRIPT_LIST ": %s", strerror(errno));
        return 0;
    }

    ok = aegis_script_listed(list, name, hex);
    free(list);
    if (!ok) {
        aegis_act_fail(act, 1, "script %s is not in " AEGIS_SCRIPT_LIST, name);
    }

    return ok;
}

/* A regular file that may be executed, opened for reading; -1: act has failed. */
static int
aegis_script_open(aegis_act_t *act, int dir, const char *name)
{
    int          fd;
    struct stat  st;

    fd = openat(dir, name, O_RDONLY | O_NOFOLLOW | O_CLOEXEC | O_NONBLOCK);
    if (fd < 0) {
        aegis_act_fail(act, errno == ENOENT || errno == ELOOP, "script %s: %s", name,
                       errno == ELOOP ? "is a symbolic link" : strerror(errno));
        return -1;
    }

    if (fstat(fd, &st) != 0) {
        aegis_act_fail(act, 0, "script %s: %s", name, strerror(errno));
    } else if (!S_ISREG(st.st_mode)) {
        aegis_act_fail(act, 1, "script %s is not a regular file", name);
    } else if ((st.st_mode & 0111) == 0) {
        aegis_act_fail(act, 1, "script %s is not executable", name);
    } else if ((st.st_mode & S_IWOTH) != 0) {
        aegis_act_fail(act, 1, "script %s may be written by everybody", name);
    } else if (st.st_size > AEGIS_SCRIPT_SIZE_MAX) {
        aegis_act_fail(act, 1, "script %s has more than %d bytes", name, AEGIS_SCRIPT_SIZE_MAX);
    } else {
        return fd;
    }

    close(fd);
    return -1;
}

/* Bytes as a file in memory that nobody can change; -1 with errno. */
static int
aegis_script_seal(const char *name, const char *data, size_t len)
{
    int      fd;
    size_t   at;
    ssize_t  n;

    fd = memfd_create(name, MFD_CLOEXEC | MFD_ALLOW_SEALING);
    if (fd < 0) {
        return -1;
    }

    for (at = 0; at < len; at += (size_t) n) {
        n = write(fd, data + at, len - at);
        if (n <= 0) {
            close(fd);
            return -1;
        }
    }

    /* perl reads a script named /dev/fd/<n> from where that descriptor stands */
    if (lseek(fd, 0, SEEK_SET) != 0 || fchmod(fd, 0500) != 0
        || fcntl(fd, F_ADD_SEALS, F_SEAL_WRITE | F_SEAL_SHRINK | F_SEAL_GROW | F_SEAL_SEAL) != 0)
    {
        close(fd);
        return -1;
    }

    return fd;
}

int
aegis_script_file(aegis_act_t *act, const char *name)
{
    int            dir, fd, copy;
    char           path[4096], want[65], have[65], *data;
    size_t         len;
    aegis_str_t    part;
    unsigned char  digest[AEGIS_SHA256_LEN];

    (void) aegis_conf_path(act->conf, "exec.script_dir", path);
    dir = open(path, O_PATH | O_DIRECTORY | O_CLOEXEC);
    if (dir < 0) {
        aegis_act_fail(act, 0, "cannot open exec.script_dir: %s", strerror(errno));
        return -1;
    }

    fd = aegis_script_open(act, dir, name);
    if (fd < 0 || !aegis_script_pin(act, dir, name, want)) {
        close(dir);
        if (fd >= 0) {
            close(fd);
        }
        return -1;
    }

    close(dir);
    data = aegis_script_read(fd, AEGIS_SCRIPT_SIZE_MAX, &len);
    close(fd);
    if (data == NULL) {
        aegis_act_fail(act, 0, "script %s: %s", name, strerror(errno));
        return -1;
    }

    part = (aegis_str_t) { len, data };
    aegis_sha256(&part, 1, digest);
    aegis_hex(digest, sizeof(digest), have);

    copy = -1;
    if (strcmp(have, want) != 0) {
        aegis_act_fail(act, 1, "script %s is not what " AEGIS_SCRIPT_LIST " says: its sha256 is %s",
                       name, have);
    } else {
        copy = aegis_script_seal(name, data, len);
        if (copy < 0) {
            aegis_act_fail(act, 0, "script %s: %s", name, strerror(errno));
        }
    }

    free(data);
    return copy;
}
