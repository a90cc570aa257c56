/*
 * aegis_adapter.c: which adapter does which action, and the small things that
 * every adapter needs. That every action of adapters.def has its vtable is
 * looked at by t/01tables.t.
 */
#include "aegis_adapter.h"

#include <stdarg.h>
#include <stdio.h>
#include <string.h>
#include <time.h>

#include "aegis_json.h"

static const aegis_adapter_t  *aegis_adapters[] = {
#define AEGIS_ADAPTER_ROW(name)  &aegis_adapter_##name,
    AEGIS_ADAPTER_VTABLES(AEGIS_ADAPTER_ROW)
#undef AEGIS_ADAPTER_ROW
};

const aegis_adapter_t *
aegis_adapter_at(size_t i)
{
    return i < sizeof(aegis_adapters) / sizeof(aegis_adapters[0]) ? aegis_adapters[i] : NULL;
}

const aegis_adapter_t *
aegis_adapter(aegis_action_id_t action)
{
    size_t                  i;
    const aegis_action_t   *def;
    const aegis_adapter_t  *a;

    def = aegis_action(action);

    for (i = 0; def && (a = aegis_adapter_at(i)) != NULL; i++) {
        if (strcmp(a->name, def->vtable) == 0) {
            return a;
        }
    }

    return NULL;
}

int64_t
aegis_act_now(void)
{
    struct timespec  ts;

    clock_gettime(CLOCK_MONOTONIC, &ts);
    return (int64_t) ts.tv_sec * 1000 + ts.tv_nsec / 1000000;
}

void
aegis_act_ok(aegis_act_t *act)
{
    act->state = AEGIS_ACT_OK;
    act->error[0] = '\0';
}

static void
aegis_act_end(aegis_act_t *act, aegis_act_state_t state, const char *fmt, va_list args)
{
    char    text[512];
    size_t  len;

    vsnprintf(text, sizeof(text), fmt, args);

    len = aegis_utf8_cut(text, strlen(text), sizeof(act->error) - 1);
    memcpy(act->error, text, len);
    act->error[len] = '\0';
    act->state = state;
}

void
aegis_act_fail(aegis_act_t *act, int final, const char *fmt, ...)
{
    va_list  args;

    va_start(args, fmt);
    aegis_act_end(act, AEGIS_ACT_FAILED, fmt, args);
    va_end(args);

    act->final = final;
}

void
aegis_act_unknown(aegis_act_t *act, const char *fmt, ...)
{
    va_list  args;

    va_start(args, fmt);
    aegis_act_end(act, AEGIS_ACT_UNKNOWN, fmt, args);
    va_end(args);
}

void
aegis_act_say(aegis_act_t *act, const char *fmt, ...)
{
    int      n;
    char     line[1024];
    va_list  args;

    va_start(args, fmt);
    n = vsnprintf(line, sizeof(line) - 1, fmt, args);
    va_end(args);

    n = n < 0 ? 0 : n < (int) sizeof(line) - 1 ? n : (int) sizeof(line) - 2;
    line[n++] = '\n';
    (void) aegis_act_write(act, AEGIS_OUT, line, (size_t) n);
}

const char *
aegis_act_str(const aegis_act_t *act, const char *name)
{
    return json_string_value(json_object_get(act->params, name));
}

int64_t
aegis_act_int(const aegis_act_t *act, const char *name, int64_t dflt)
{
    const json_t  *value;

    value = json_object_get(act->params, name);
    return json_is_integer(value) ? json_integer_value(value) : dflt;
}

int
aegis_act_bool(const aegis_act_t *act, const char *name)
{
    return json_is_true(json_object_get(act->params, name));
}
