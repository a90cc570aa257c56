/*
 * aegis_gateway_file.c: the file that nginx includes.
 * Invariants: nginx never sees half of a file: it is written beside, synced and
 * renamed; no symbolic link in gateway.dir is followed; what was there before
 * a shift is kept as <name>.before until the next one, for who takes over
 * after a crash, under a name that no `include *.conf` matches.
 */
#include "aegis_gateway.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#define AEGIS_GATEWAY_FILE_MAX  65536

static void
aegis_gateway_name(const aegis_gateway_t *g, const char *suffix, char name[128])
{
    snprintf(name, 128, "%s.%s", g->split.name, suffix);
}

/* All of fd, as text. NULL: errno. */
static char *
aegis_gateway_slurp(int fd)
{
    char         *text;
    size_t        len;
    ssize_t       n;
    struct stat   st;

    if (fstat(fd, &st) != 0) {
        return NULL;
    }
    if (!S_ISREG(st.st_mode) || st.st_size > AEGIS_GATEWAY_FILE_MAX) {
        errno = EFBIG;
        return NULL;
    }

    text = calloc(1, (size_t) st.st_size + 1);

    for (len = 0; text != NULL && len < (size_t) st.st_size; len += (size_t) n) {
        n = read(fd, text + len, (size_t) st.st_size - len);
        if (n < 0 && errno == EINTR) {
            n = 0;
        } else if (n < 0) {
            free(text);
            return NULL;
        } else if (n == 0) {
            break;
        }
    }

    return text;
}

int
aegis_gateway_read(aegis_act_t *act, const char *suffix, char **ret)
{
    int               fd;
    char              name[128], *text;
    aegis_gateway_t  *g;

    g = act->self;
    aegis_gateway_name(g, suffix, name);

    fd = openat(g->dir, name, O_RDONLY | O_NOFOLLOW | O_CLOEXEC | O_NONBLOCK);
    if (fd < 0 && errno == ENOENT) {
        *ret = NULL;
        return 1;
    }

    text = fd < 0 ? NULL : aegis_gateway_slurp(fd);
    if (text == NULL) {
        aegis_act_fail(act, 0, "cannot read %s in gateway.dir: %s", name, strerror(errno));
    }
    if (fd >= 0) {
        close(fd);
    }

    *ret = text;
    return text != NULL;
}

/* name as a whole: beside, synced, renamed. 0: errno. */
static int
aegis_gateway_put(int dir, const char *name, const char *text)
{
    int      fd, rc;
    char     temp[160];
    size_t   len;
    ssize_t  n;

    snprintf(temp, sizeof(temp), ".%s.new", name);
    (void) unlinkat(dir, temp, 0);

    fd = openat(dir, temp, O_WRONLY | O_CREAT | O_EXCL | O_NOFOLLOW | O_CLOEXEC, 0644);
    if (fd < 0) {
        return 0;
    }

    for (len = strlen(text); len > 0; text += n, len -= (size_t) n) {
        n = write(fd, text, len);
        if (n < 0 && errno == EINTR) {
            n = 0;
        } else if (n < 0) {
            break;
        }
    }

    rc = len == 0 && fchmod(fd, 0644) == 0 && fsync(fd) == 0;
    rc = close(fd) == 0 && rc;
    rc = rc && renameat(dir, temp, dir, name) == 0 && fsync(dir) == 0;

    if (!rc) {
        n = errno;
        (void) unlinkat(dir, temp, 0);
        errno = (int) n;
    }

    return rc;
}

int
aegis_gateway_write(const aegis_gateway_t *g, const char *text)
{
    char  name[128];

    aegis_gateway_name(g, "before", name);
    if (g->old != NULL ? !aegis_gateway_put(g->dir, name, g->old)
        : unlinkat(g->dir, name, 0) != 0 && errno != ENOENT)
    {
        return 0;
    }

    aegis_gateway_name(g, "conf", name);
    return aegis_gateway_put(g->dir, name, text);
}

int
aegis_gateway_restore(const aegis_gateway_t *g)
{
    char  name[128];

    aegis_gateway_name(g, "conf", name);

    if (g->old != NULL) {
        return aegis_gateway_put(g->dir, name, g->old);
    }

    return (unlinkat(g->dir, name, 0) == 0 || errno == ENOENT) && fsync(g->dir) == 0;
}
