/*
 * aegis_adapter.c: the table of adapters, and the objects that all of them
 * write their outputs to.
 * Invariant: an object's name is made of the run's id and numbers only, and no
 * symbolic link below exec.object_dir is followed.
 */
#include "aegis_adapter.h"

#include <errno.h>
#include <fcntl.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "aegis_json.h"

static const aegis_adapter_t  *aegis_adapters[] = {
    &aegis_adapter_echo,
    &aegis_adapter_script
};

const aegis_adapter_t *
aegis_adapter_at(size_t i)
{
    return i < sizeof(aegis_adapters) / sizeof(aegis_adapters[0]) ? aegis_adapters[i] : NULL;
}

const aegis_adapter_t *
aegis_adapter(const char *action)
{
    size_t                  i;
    const aegis_adapter_t  *a;

    for (i = 0; (a = aegis_adapter_at(i)) != NULL; i++) {
        if (strcmp(a->name, action) == 0) {
            return a;
        }
    }

    return NULL;
}

void
aegis_act_fail(aegis_act_t *act, int final, const char *fmt, ...)
{
    char     text[512];
    size_t   len;
    va_list  args;

    va_start(args, fmt);
    vsnprintf(text, sizeof(text), fmt, args);
    va_end(args);

    len = aegis_utf8_cut(text, strlen(text), sizeof(act->error) - 1);
    memcpy(act->error, text, len);
    act->error[len] = '\0';
    act->state = AEGIS_ACT_FAILED;
    act->final = final;
}

int
aegis_object_dir(const aegis_act_t *act)
{
    if (mkdirat(act->objects, act->exec_id, 0750) != 0 && errno != EEXIST) {
        return -1;
    }

    return openat(act->objects, act->exec_id,
                  O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
}

int
aegis_object_file(const aegis_act_t *act, int dir, const char *kind, char ref[160])
{
    int   fd;
    char  name[64];

    snprintf(name, sizeof(name), "%s-%d-%d.%s", act->phase, act->step_no, act->attempt, kind);

    fd = openat(dir, name, O_WRONLY | O_CREAT | O_TRUNC | O_NOFOLLOW | O_CLOEXEC, 0640);
    if (fd < 0) {
        ref[0] = '\0';
        return -1;
    }

    snprintf(ref, 160, "file:%s/%s", act->exec_id, name);
    return fd;
}
