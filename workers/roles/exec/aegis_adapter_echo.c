/*
 * aegis_adapter_echo.c: the action `echo`: params.message becomes the step's
 * output, nothing else happens.
 * Invariant: it is over when start() returns, and doing it again is harmless.
 */
#include "aegis_adapter.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

static int
aegis_echo_write(int fd, const char *data, size_t len)
{
    ssize_t  n;

    while (len > 0) {
        n = write(fd, data, len);
        if (n < 0 && errno == EINTR) {
            continue;
        }
        if (n < 0) {
            return -1;
        }
        data += n;
        len -= (size_t) n;
    }

    return 0;
}

static void
aegis_echo_start(aegis_act_t *act)
{
    int            dir, fd, rc;
    char          *made;
    size_t         len;
    const json_t  *message;
    const char    *text;

    message = json_object_get(act->params, "message");
    made = NULL;
    text = "";

    if (json_is_string(message)) {
        text = json_string_value(message);
    } else if (message != NULL) {
        made = json_dumps(message, JSON_COMPACT | JSON_ENCODE_ANY);
        text = made ? made : "";
    }

    dir = aegis_object_dir(act);
    fd = dir < 0 ? -1 : aegis_object_file(act, dir, "out", act->stdout_ref);

    len = strlen(text);
    if ((int64_t) len > act->output_max) {
        len = (size_t) act->output_max;
    }

    rc = fd < 0 ? -1 : aegis_echo_write(fd, text, len);
    if (rc == 0) {
        rc = aegis_echo_write(fd, "\n", 1);
    }
    if (fd >= 0 && close(fd) != 0) {
        rc = -1;
    }

    if (rc != 0) {
        aegis_act_fail(act, 0, "cannot write the output: %s", strerror(errno));
    } else {
        act->state = AEGIS_ACT_OK;
        act->has_exit = 1;
        act->exit_code = 0;
    }

    if (dir >= 0) {
        close(dir);
    }
    free(made);
}

const aegis_adapter_t  aegis_adapter_echo = {
    .name = "echo",
    .sentence = "writes params.message to the step's output",
    .repeatable = 1,
    .start = aegis_echo_start
};
