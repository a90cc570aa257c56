/*
 * aegis_sink.c: the outputs of an act: files below exec.object_dir, made when
 * the first byte comes.
 * Invariant: a file's name is made of the run's id and numbers only, and no
 * symbolic link below exec.object_dir is followed.
 */
#include "aegis_sink.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <unistd.h>

#include "aegis_http.h"
#include "aegis_json.h"

/* What GET /exec/{id} shows of an output. */
#define AEGIS_SINK_TAIL  2048

static const char *const  aegis_sink_ext[] = { "out", "err" };
static const char *const  aegis_sink_names[] = { "stdout", "stderr" };

void
aegis_sink_init(aegis_act_t *act)
{
    int  i;

    memset(act->sink, 0, sizeof(act->sink));
    for (i = 0; i < AEGIS_N_OUTPUTS; i++) {
        act->sink[i].fd = -1;
    }
}

void
aegis_sink_close(aegis_act_t *act)
{
    int  i;

    for (i = 0; i < AEGIS_N_OUTPUTS; i++) {
        if (act->sink[i].fd >= 0) {
            close(act->sink[i].fd);
            act->sink[i].fd = -1;
        }
        free(act->sink[i].text);
        act->sink[i].text = NULL;
    }
}

void
aegis_sink_key(const aegis_act_t *act, aegis_output_t stream, char key[AEGIS_SINK_KEY])
{
    snprintf(key, AEGIS_SINK_KEY, "%s/%s-%d-%d.%s", act->exec_id, act->phase, act->step_no,
             act->attempt, aegis_sink_ext[stream]);
}

int
aegis_act_dir(const aegis_act_t *act)
{
    if (mkdirat(act->objects, act->exec_id, 0750) != 0 && errno != EEXIST) {
        return -1;
    }

    return openat(act->objects, act->exec_id,
                  O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
}

static int
aegis_sink_open(aegis_act_t *act, aegis_output_t stream, int flags)
{
    int           dir;
    char          key[AEGIS_SINK_KEY];
    struct stat   st;
    aegis_sink_t  *s;

    s = &act->sink[stream];
    if (s->fd >= 0) {
        close(s->fd);
        s->fd = -1;
    }

    dir = aegis_act_dir(act);
    if (dir < 0) {
        return -1;
    }

    aegis_sink_key(act, stream, key);
    s->fd = openat(dir, strchr(key, '/') + 1, flags | O_RDWR | O_NOFOLLOW | O_CLOEXEC, 0640);
    close(dir);

    /* who writes has it; so has a warden, whose descriptor is a copy of this one */
    if (s->fd >= 0) {
        (void) flock(s->fd, LOCK_SH | LOCK_NB);
    }

    s->size = s->lost = 0;
    if (s->fd >= 0 && (flags & O_TRUNC) == 0 && fstat(s->fd, &st) == 0) {
        s->size = (int64_t) st.st_size;
    }

    return s->fd;
}

int
aegis_act_open(aegis_act_t *act, aegis_output_t stream)
{
    return aegis_sink_open(act, stream, O_CREAT | O_TRUNC);
}

int
aegis_act_reopen(aegis_act_t *act, aegis_output_t stream)
{
    return aegis_sink_open(act, stream, 0);
}

/* Keep it in memory. 0: it has to be a file, and what was kept is in it. */
static int
aegis_sink_keep(aegis_act_t *act, aegis_output_t stream, const char *data, size_t len)
{
    char          *text;
    int64_t        size;
    aegis_sink_t  *s;

    s = &act->sink[stream];
    if (act->adapter == NULL || !act->adapter->idle || s->fd >= 0) {
        return 0;
    }

    if (s->text == NULL && s->size == 0) {
        s->text = malloc(AEGIS_SINK_TAIL);
    }
    if (s->text && s->size + (int64_t) len <= AEGIS_SINK_TAIL
        && s->size + (int64_t) len <= act->output_max)
    {
        memcpy(s->text + s->size, data, len);
        s->size += (int64_t) len;
        return 1;
    }

    text = s->text;
    size = s->size;
    s->text = NULL;
    if (text && size > 0 && aegis_act_open(act, stream) >= 0) {
        (void) aegis_act_write(act, stream, text, (size_t) size);
    }
    free(text);
    return 0;
}

int
aegis_act_write(aegis_act_t *act, aegis_output_t stream, const char *data, size_t len)
{
    size_t         keep;
    ssize_t        n;
    aegis_sink_t  *s;

    s = &act->sink[stream];
    if (len == 0 || aegis_sink_keep(act, stream, data, len)) {
        return 0;
    }
    if (s->fd < 0 && aegis_act_open(act, stream) < 0) {
        return -1;
    }

    keep = (int64_t) len < act->output_max - s->size ? len
           : act->output_max > s->size ? (size_t) (act->output_max - s->size) : 0;
    s->lost += (int64_t) (len - keep);

    while (keep > 0) {
        n = pwrite(s->fd, data, keep, (off_t) s->size);
        if (n < 0 && errno == EINTR) {
            continue;
        }
        if (n <= 0) {
            return -1;                  /* a full disk */
        }
        data += n;
        keep -= (size_t) n;
        s->size += n;
    }

    return 0;
}

int64_t
aegis_sink_size(aegis_act_t *act, aegis_output_t output)
{
    struct stat  st;

    if (act->sink[output].text) {
        return act->sink[output].size;
    }
    if (act->sink[output].fd < 0 || fstat(act->sink[output].fd, &st) != 0) {
        return 0;
    }

    return (int64_t) st.st_size;
}

void
aegis_sink_end(aegis_act_t *act)
{
    int            i, n;
    char           line[64];
    aegis_sink_t  *s;

    for (i = 0; i < AEGIS_N_OUTPUTS; i++) {
        s = &act->sink[i];
        if (s->fd >= 0 && s->lost > 0) {
            n = snprintf(line, sizeof(line), "\n[truncated: %lld bytes more]\n",
                         (long long) s->lost);
            (void) !pwrite(s->fd, line, (size_t) n, (off_t) s->size);
            s->size += n;
            s->lost = 0;
        }
    }
}

/* The end of an output as text: bytes that are none become a question mark. */
static void
aegis_sink_tail(aegis_act_t *act, aegis_output_t output, int64_t size,
    char text[AEGIS_SINK_TAIL + 1])
{
    size_t    i, n, len;
    ssize_t   got;
    uint32_t  cp;
    int64_t   at;

    if (act->sink[output].text) {
        len = (size_t) size;
        memcpy(text, act->sink[output].text, len);
    } else {
        at = size > AEGIS_SINK_TAIL ? size - AEGIS_SINK_TAIL : 0;
        got = pread(act->sink[output].fd, text, AEGIS_SINK_TAIL, (off_t) at);
        len = got > 0 ? (size_t) got : 0;
    }

    for (i = 0; i < len; i += n) {
        n = aegis_utf8_next(text + i, len - i, &cp);
        if (n == 0 || (n == 1 && (unsigned char) text[i] < ' ' && text[i] != '\n'
                       && text[i] != '\t') || text[i] == 127)
        {
            text[i] = '?';
            n = 1;
        }
    }

    text[len] = '\0';
}

json_t *
aegis_sink_json(aegis_act_t *act, const char *bucket, const char *prefix)
{
    int      i;
    char     tail[AEGIS_SINK_TAIL + 1], key[AEGIS_SINK_KEY], name[80], id[37];
    char     full[AEGIS_SINK_KEY + 128];
    json_t  *o, *all;
    int64_t  size;

    all = NULL;

    for (i = 0; i < AEGIS_N_OUTPUTS; i++) {
        size = aegis_sink_size(act, i);
        if (size == 0) {
            continue;
        }

        aegis_sink_tail(act, i, size, tail);
        if (act->sink[i].text) {
            all = all ? all : json_object();
            json_object_set_new(all, aegis_sink_names[i], json_pack("{s:I, s:s}", "bytes",
                                (json_int_t) size, "tail", tail));
            continue;
        }
        aegis_sink_key(act, i, key);
        snprintf(full, sizeof(full), "%s%s", prefix, key);
        snprintf(name, sizeof(name), "%s:%s", act->token, aegis_sink_names[i]);
        aegis_uuid_named(aegis_view(name), id);

        o = json_pack("{s:s, s:s, s:s, s:I, s:s}", "locator_id", id, "bucket", bucket,
                      "key", full, "bytes", (json_int_t) size, "tail", tail);
        all = all ? all : json_object();
        json_object_set_new(all, aegis_sink_names[i], o);
    }

    return all;
}

static void
aegis_sink_leftover(int dir, const char *run, const char *name,
    void (*put)(void *data, const char *key, int fd, int64_t size), void *data)
{
    int           fd;
    char          key[AEGIS_SINK_KEY];
    size_t        len;
    struct stat   st;

    len = strlen(name);
    if (len < 5 || (strcmp(name + len - 4, ".out") != 0 && strcmp(name + len - 4, ".err") != 0)
        || (size_t) snprintf(key, sizeof(key), "%s/%s", run, name) >= sizeof(key))
    {
        return;
    }

    fd = openat(dir, name, O_RDONLY | O_NOFOLLOW | O_CLOEXEC);
    if (fd < 0) {
        return;
    }

    if (fstat(fd, &st) == 0 && S_ISREG(st.st_mode) && st.st_size > 0
        && flock(fd, LOCK_EX | LOCK_NB) == 0)
    {
        put(data, key, fd, (int64_t) st.st_size);
    }
    close(fd);
}

void
aegis_sink_leftovers(int objects, void (*put)(void *data, const char *key, int fd,
    int64_t size), void *data)
{
    int             fd;
    DIR            *all, *run;
    struct dirent  *d, *f;

    fd = openat(objects, ".", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    all = fd < 0 ? NULL : fdopendir(fd);

    while (all && (d = readdir(all)) != NULL) {
        fd = d->d_name[0] == '.' ? -1
             : openat(objects, d->d_name, O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
        run = fd < 0 ? NULL : fdopendir(fd);

        while (run && (f = readdir(run)) != NULL) {
            aegis_sink_leftover(fd, d->d_name, f->d_name, put, data);
        }
        if (run) {
            closedir(run);
        }
    }

    if (all) {
        closedir(all);
    }
}
