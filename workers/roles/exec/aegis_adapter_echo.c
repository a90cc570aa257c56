/*
 * aegis_adapter_echo.c: the action `echo` writes params.message to the step's
 * output and changes nothing: plans can be tried with it before anything
 * happens.
 * Invariant: it is over when start() returns, and doing it again is harmless.
 */
#include "aegis_adapter.h"

#include <errno.h>
#include <string.h>

static void
aegis_echo_start(aegis_act_t *act)
{
    const char  *message;

    message = aegis_act_str(act, "message");

    if (message && message[0]
        && (aegis_act_write(act, AEGIS_OUT, message, strlen(message)) != 0
            || aegis_act_write(act, AEGIS_OUT, "\n", 1) != 0))
    {
        aegis_act_fail(act, 0, "cannot write the output: %s", strerror(errno));
        return;
    }

    aegis_act_ok(act);
    act->has_exit = 1;
}

static void
aegis_echo_check(aegis_act_t *act)
{
    aegis_act_say(act, "would write %zu bytes",
                  json_string_length(json_object_get(act->params, "message")));
    aegis_act_ok(act);
}

const aegis_adapter_t  aegis_adapter_echo = {
    .name = "echo",
    .idle = 1,
    .check = aegis_echo_check,
    .start = aegis_echo_start
};
