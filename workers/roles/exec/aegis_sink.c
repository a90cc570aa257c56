/*
 * aegis_sink.c: the outputs of an act: files below exec.object_dir, made when
 * the first byte comes.
 * Invariant: a file's name is made of the run's id and numbers only, and no
 * symbolic link below exec.object_dir is followed.
 */
#include "aegis_sink.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

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
    }
}

const char *
aegis_sink_name(aegis_output_t stream)
{
    return aegis_sink_names[stream];
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

int
aegis_act_write(aegis_act_t *act, aegis_output_t stream, const char *data, size_t len)
{
    size_t         keep;
    ssize_t        n;
    aegis_sink_t  *s;

    s = &act->sink[stream];
    if (len == 0) {
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
