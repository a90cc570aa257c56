/*
 * aegis_action.c: adapters.def and the check of parameters against it. Its
 * invariant: a value that passes is of the declared type and within its bounds,
 * so that an adapter may read it without looking again.
 */
#include "aegis_action.h"

#include <stdio.h>
#include <string.h>

#include "aegis_check.h"

#define AEGIS_ACTION_VALUES  16
#define AEGIS_ACTION_WORDS   512

static const aegis_action_t  aegis_actions[] = {
#define AEGIS_ADAPTER(id, action, repeatable, vtable, sentence)                \
    { action, repeatable, #vtable, sentence },
#define AEGIS_PARAM(id, name, type, required, least, most, values, sentence)
#include "tables/adapters.def"
#undef AEGIS_ADAPTER
#undef AEGIS_PARAM
};

static const aegis_param_t  aegis_params[] = {
#define AEGIS_ADAPTER(id, action, repeatable, vtable, sentence)
#define AEGIS_PARAM(id, name, type, required, least, most, values, sentence)   \
    { AEGIS_ACTION_##id, #name, AEGIS_PARAM_##type, required, least, most,     \
      values, sentence },
#include "tables/adapters.def"
#undef AEGIS_ADAPTER
#undef AEGIS_PARAM
};

static const char *const  aegis_param_types[] = {
    "STRING", "WORD", "INT", "NUMBER", "BOOL", "ENUM", "STRINGS", "LABELS", "OBJECT"
};


const aegis_action_t *
aegis_action(unsigned id)
{
    return id < AEGIS_N_ACTIONS ? &aegis_actions[id] : NULL;
}


const aegis_param_t *
aegis_action_param(size_t i)
{
    return i < sizeof(aegis_params) / sizeof(aegis_params[0]) ? &aegis_params[i] : NULL;
}


aegis_action_id_t
aegis_action_find(const char *name)
{
    unsigned  i;

    for (i = 0; i < AEGIS_N_ACTIONS; i++) {
        if (strcmp(aegis_actions[i].name, name) == 0) {
            break;
        }
    }

    return i;
}


const char *
aegis_param_type_name(aegis_param_type_t type)
{
    return aegis_param_types[type];
}


static int
aegis_action_check_enum(const json_t *value, const char *values, const char *at,
    aegis_error_t *err)
{
    char         text[AEGIS_ACTION_WORDS], *p, *end;
    size_t       n;
    const char  *v[AEGIS_ACTION_VALUES + 1];

    snprintf(text, sizeof(text), "%s", values);

    for (p = text, n = 0; p && n < AEGIS_ACTION_VALUES; p = end) {
        v[n++] = p;
        end = strchr(p, '|');

        if (end) {
            *end++ = '\0';
        }
    }

    v[n] = NULL;

    return aegis_check_enum(value, v, at, err);
}


static int
aegis_action_check_strings(const json_t *value, const aegis_param_t *p,
    const char *at, aegis_error_t *err)
{
    int     ok;
    char    item[AEGIS_CHECK_POINTER];
    size_t  i;

    ok = aegis_check_array(value, 0, (size_t) p->most, at, err);

    for (i = 0; ok && i < json_array_size(value); i++) {
        aegis_error_index(item, sizeof(item), at, i);
        ok = aegis_check_string(json_array_get(value, i), 0, (size_t) p->least, item, err);
    }

    return ok;
}


static int
aegis_action_check_members(const json_t *value, const aegis_param_t *p,
    const char *at, aegis_error_t *err)
{
    int      ok;
    char     item[AEGIS_CHECK_POINTER];
    void    *iter;
    json_t  *o = (json_t *) value;

    if (!json_is_object(value)) {
        aegis_error_at(err, at, "must be an object");
        return 0;
    }

    if ((long long) json_object_size(value) > p->most) {
        aegis_error_at(err, at, "must have at most %lld members", p->most);
        return 0;
    }

    ok = 1;
    iter = p->type == AEGIS_PARAM_LABELS ? json_object_iter(o) : NULL;

    for ( ; ok && iter; iter = json_object_iter_next(o, iter)) {
        aegis_error_pointer(item, sizeof(item), at, json_object_iter_key(iter));
        ok = aegis_check_string(json_object_iter_value(iter), 0, (size_t) p->least, item,
                                err);
    }

    return ok;
}


static int
aegis_action_check_param(const json_t *value, const aegis_param_t *p, const char *at,
    aegis_error_t *err)
{
    switch (p->type) {

    case AEGIS_PARAM_STRING:
        return aegis_check_string(value, (size_t) p->least, (size_t) p->most, at, err);

    case AEGIS_PARAM_WORD:
        return aegis_check_word(value, (size_t) p->most, at, err);

    case AEGIS_PARAM_INT:
        return aegis_check_int(value, p->least, p->most, at, err);

    case AEGIS_PARAM_NUMBER:
        return aegis_check_number(value, (double) p->least, (double) p->most, at, err);

    case AEGIS_PARAM_BOOL:
        return aegis_check_bool(value, at, err);

    case AEGIS_PARAM_ENUM:
        return aegis_action_check_enum(value, p->values, at, err);

    case AEGIS_PARAM_STRINGS:
        return aegis_action_check_strings(value, p, at, err);

    default:
        return aegis_action_check_members(value, p, at, err);
    }
}


/* What is not in the table. */
static int
aegis_action_check_others(aegis_action_id_t id, const json_t *params, const char *at,
    aegis_error_t *err)
{
    int          ok;
    char         sub[AEGIS_CHECK_POINTER];
    void        *iter;
    size_t       i;
    const char  *key;
    json_t      *o = (json_t *) params;

    ok = 1;

    for (iter = json_object_iter(o); iter; iter = json_object_iter_next(o, iter)) {
        key = json_object_iter_key(iter);

        for (i = 0; i < sizeof(aegis_params) / sizeof(aegis_params[0]); i++) {
            if (aegis_params[i].action == id && strcmp(aegis_params[i].name, key) == 0) {
                break;
            }
        }

        if (i == sizeof(aegis_params) / sizeof(aegis_params[0])) {
            aegis_error_pointer(sub, sizeof(sub), at, key);
            aegis_error_at(err, sub, "is not a member of this object");
            ok = 0;
        }
    }

    return ok;
}


int
aegis_action_check(aegis_action_id_t id, const json_t *params, const char *at,
    aegis_error_t *err)
{
    int                   ok;
    char                  sub[AEGIS_CHECK_POINTER];
    size_t                i;
    const json_t         *value;
    const aegis_param_t  *p;

    p = NULL;

    for (i = 0; params == NULL && (p = aegis_action_param(i)) != NULL; i++) {
        if (p->action == id && p->required) {
            break;
        }
    }

    if (params ? !json_is_object(params) : p != NULL) {
        aegis_error_at(err, at, "must be an object");
        return 0;
    }

    ok = aegis_action_check_others(id, params, at, err);

    for (i = 0; (p = aegis_action_param(i)) != NULL; i++) {
        if (p->action != id) {
            continue;
        }

        aegis_error_pointer(sub, sizeof(sub), at, p->name);
        value = json_object_get(params, p->name);

        if (value || p->required) {
            ok &= aegis_action_check_param(value, p, sub, err);
        }
    }

    return ok;
}
