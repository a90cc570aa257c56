/*
 * aegis_template_param.c: the parameters of a template: whether a declaration is
 * right, whether a value fits it, and where values come from. Its invariant: a
 * value that does not fit is refused and named, never replaced.
 */
#include "aegis_template.h"

#include <regex.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "aegis_check.h"
#include "aegis_json.h"

#define AEGIS_TEMPLATE_MAX_NUMBER   9007199254740992.0
#define AEGIS_TEMPLATE_MAX_PATTERN  256
#define AEGIS_TEMPLATE_MAX_ENUM     32

static const char *const  aegis_template_types[] =
    { "string", "integer", "number", "boolean", "list", NULL };
static const char *const  aegis_template_members[] =
    { "type", "sentence", "default", "required", "min", "max", "pattern", "enum", NULL };


static int
aegis_template_is(const json_t *declaration, const char *type)
{
    return strcmp(aegis_json_str(declaration, "type"), type) == 0;
}


/* A bound of the declaration, else the fallback. */
static double
aegis_template_bound(const json_t *declaration, const char *name, double fallback)
{
    json_t  *value;

    value = json_object_get(declaration, name);

    return json_is_number(value) ? json_number_value(value) : fallback;
}


/* POSIX extended, the whole value; 0: it cannot be compiled. Numbers behind a
 * backslash would make matching exponential. */
static int
aegis_template_pattern(const char *pattern, regex_t *re)
{
    int          rc;
    char         whole[AEGIS_TEMPLATE_MAX_PATTERN + 8];
    const char  *p;

    if (strlen(pattern) > AEGIS_TEMPLATE_MAX_PATTERN) {
        return 0;
    }

    for (p = pattern; *p; p++) {
        if (*p == '\\' && p[1] >= '0' && p[1] <= '9') {
            return 0;
        }
        p += *p == '\\' && p[1];
    }

    snprintf(whole, sizeof(whole), "^(%s)$", pattern);

    rc = regcomp(re, whole, REG_EXTENDED | REG_NOSUB);

    return rc == 0;
}


static int
aegis_template_matches(const char *pattern, const char *value)
{
    int      rc;
    regex_t  re;

    if (!aegis_template_pattern(pattern, &re)) {
        return 0;
    }

    rc = regexec(&re, value, 0, NULL, 0);
    regfree(&re);

    return rc == 0;
}


static int
aegis_template_fits_text(const json_t *declaration, const json_t *value,
    const char *pointer, aegis_error_t *err)
{
    const char  *pattern;

    if (!aegis_check_string(value,
            (size_t) aegis_template_bound(declaration, "min", 0),
            (size_t) aegis_template_bound(declaration, "max", AEGIS_TEMPLATE_MAX_TEXT),
            pointer, err))
    {
        return 0;
    }

    pattern = json_string_value(json_object_get(declaration, "pattern"));

    if (pattern && !aegis_template_matches(pattern, json_string_value(value))) {
        aegis_error_at(err, pointer, "must match %s", pattern);
        return 0;
    }

    return 1;
}


static int
aegis_template_fits_list(const json_t *declaration, const json_t *value,
    const char *pointer, aegis_error_t *err)
{
    int          ok;
    char         at[AEGIS_CHECK_POINTER];
    size_t       i;
    const char  *pattern;

    ok = aegis_check_array(value, (size_t) aegis_template_bound(declaration, "min", 0),
        (size_t) aegis_template_bound(declaration, "max", AEGIS_TEMPLATE_MAX_LIST),
        pointer, err);
    pattern = json_string_value(json_object_get(declaration, "pattern"));

    for (i = 0; ok && i < json_array_size(value); i++) {
        aegis_error_index(at, sizeof(at), pointer, i);
        ok = aegis_check_string(json_array_get(value, i), 0, 1024, at, err);

        if (ok && pattern
            && !aegis_template_matches(pattern,
                                       json_string_value(json_array_get(value, i))))
        {
            aegis_error_at(err, at, "must match %s", pattern);
            ok = 0;
        }
    }

    return ok;
}


static int
aegis_template_fits_enum(const json_t *declaration, const json_t *value,
    const char *pointer, aegis_error_t *err)
{
    char    *list;
    size_t   i;
    json_t  *values;

    values = json_object_get(declaration, "enum");

    for (i = 0; i < json_array_size(values); i++) {
        if (json_equal(json_array_get(values, i), value)) {
            return 1;
        }
    }

    if (values == NULL) {
        return 1;
    }

    list = aegis_json_text(values);
    aegis_error_at(err, pointer, "must be one of %.200s", list ? list : "");
    free(list);

    return 0;
}


int
aegis_template_fits(const json_t *declaration, const json_t *value,
    const char *pointer, aegis_error_t *err)
{
    int     ok;
    double  least, most;

    least = aegis_template_bound(declaration, "min", -AEGIS_TEMPLATE_MAX_NUMBER);
    most = aegis_template_bound(declaration, "max", AEGIS_TEMPLATE_MAX_NUMBER);

    if (aegis_template_is(declaration, "string")) {
        ok = aegis_template_fits_text(declaration, value, pointer, err);

    } else if (aegis_template_is(declaration, "list")) {
        ok = aegis_template_fits_list(declaration, value, pointer, err);

    } else if (aegis_template_is(declaration, "boolean")) {
        ok = aegis_check_bool(value, pointer, err);

    } else if (aegis_template_is(declaration, "integer")) {
        ok = aegis_check_int(value, (json_int_t) least, (json_int_t) most, pointer, err);

    } else {
        ok = aegis_check_number(value, least, most, pointer, err);
    }

    return ok && aegis_template_fits_enum(declaration, value, pointer, err);
}


/* Bounds are numbers that the type can have, in order. */
static void
aegis_template_check_bounds(const json_t *declaration, const char *pointer,
    aegis_error_t *err)
{
    int      sized;
    char     at[AEGIS_CHECK_POINTER];
    size_t   i;
    double   most;
    json_t  *bound;

    static const char *const  names[] = { "min", "max" };

    sized = aegis_template_is(declaration, "string") || aegis_template_is(declaration, "list");
    most = aegis_template_is(declaration, "string") ? AEGIS_TEMPLATE_MAX_TEXT
           : aegis_template_is(declaration, "list") ? AEGIS_TEMPLATE_MAX_LIST
           : AEGIS_TEMPLATE_MAX_NUMBER;

    for (i = 0; i < 2; i++) {
        bound = json_object_get(declaration, names[i]);
        aegis_error_pointer(at, sizeof(at), pointer, names[i]);

        if (bound == NULL) {
            continue;
        }

        if (aegis_template_is(declaration, "boolean")) {
            aegis_error_at(err, at, "a boolean has no bounds");

        } else if (sized || aegis_template_is(declaration, "integer")) {
            aegis_check_int(bound, sized ? 0 : (json_int_t) -most, (json_int_t) most, at,
                            err);
        } else {
            aegis_check_number(bound, -most, most, at, err);
        }
    }

    if (aegis_template_bound(declaration, "min", -most)
        > aegis_template_bound(declaration, "max", most))
    {
        aegis_error_at(err, at, "must not be below min");
    }
}


static void
aegis_template_check_enum(const json_t *declaration, const char *pointer,
    aegis_error_t *err)
{
    char     at[AEGIS_CHECK_POINTER], item[AEGIS_CHECK_POINTER];
    size_t   i;
    json_t  *values;

    values = json_object_get(declaration, "enum");
    aegis_error_pointer(at, sizeof(at), pointer, "enum");

    if (values == NULL || !aegis_check_array(values, 1, AEGIS_TEMPLATE_MAX_ENUM, at, err)) {
        return;
    }

    for (i = 0; i < json_array_size(values); i++) {
        aegis_error_index(item, sizeof(item), at, i);
        aegis_template_fits(declaration, json_array_get(values, i), item, err);
    }
}


void
aegis_template_check_param(const json_t *declaration, const char *pointer,
    aegis_error_t *err)
{
    char     at[AEGIS_CHECK_POINTER];
    json_t  *value;
    regex_t  re;

    if (!aegis_check_object(declaration, aegis_template_members, pointer, err)) {
        return;
    }

    aegis_error_pointer(at, sizeof(at), pointer, "type");
    if (!aegis_check_enum(json_object_get(declaration, "type"), aegis_template_types, at,
                          err))
    {
        return;
    }

    aegis_error_pointer(at, sizeof(at), pointer, "sentence");
    aegis_check_string(json_object_get(declaration, "sentence"), 1, 200, at, err);

    aegis_template_check_bounds(declaration, pointer, err);

    value = json_object_get(declaration, "pattern");
    aegis_error_pointer(at, sizeof(at), pointer, "pattern");

    if (value && !aegis_template_is(declaration, "string")
        && !aegis_template_is(declaration, "list"))
    {
        aegis_error_at(err, at, "is for strings and lists");

    } else if (value && aegis_check_string(value, 1, AEGIS_TEMPLATE_MAX_PATTERN, at, err)) {
        if (aegis_template_pattern(json_string_value(value), &re)) {
            regfree(&re);
        } else {
            aegis_error_at(err, at, "is no POSIX extended expression without "
                                    "back-references");
        }
    }

    aegis_template_check_enum(declaration, pointer, err);

    aegis_error_pointer(at, sizeof(at), pointer, "required");
    value = json_object_get(declaration, "required");

    if (value && aegis_check_bool(value, at, err) && json_is_true(value)
        && json_object_get(declaration, "default"))
    {
        aegis_error_at(err, at, "what has a default is not required");
    }

    aegis_error_pointer(at, sizeof(at), pointer, "default");
    value = json_object_get(declaration, "default");

    if (value) {
        aegis_template_fits(declaration, value, at, err);
    }
}


/* A boolean in the words that labels and people use; NULL: it is none. */
static json_t *
aegis_template_truth(const char *s)
{
    size_t  i;

    static const struct {
        const char  *word;
        int          truth;
    } words[] = {
        { "true", 1 }, { "yes", 1 }, { "1", 1 }, { "false", 0 }, { "no", 0 }, { "0", 0 }
    };

    for (i = 0; i < sizeof(words) / sizeof(words[0]); i++) {
        if (strcmp(words[i].word, s) == 0) {
            return json_boolean(words[i].truth);
        }
    }

    return NULL;
}


static json_t *
aegis_template_split(const char *s)
{
    size_t   n;
    json_t  *list;

    list = json_array();

    while (list && *s && json_array_size(list) <= AEGIS_TEMPLATE_MAX_LIST) {
        n = strcspn(s, ",");
        json_array_append_new(list, json_stringn(s, n));
        s += n + (s[n] == ',');
    }

    return list;
}


/* The value that a text spells: labels know nothing but texts. New reference. */
static json_t *
aegis_template_typed(const json_t *declaration, json_t *value)
{
    json_t      *typed;
    const char  *s;

    s = json_string_value(value);
    typed = NULL;

    if (s && aegis_template_is(declaration, "list")) {
        typed = aegis_template_split(s);

    } else if (s && aegis_template_is(declaration, "boolean")) {
        typed = aegis_template_truth(s);

    } else if (s && !aegis_template_is(declaration, "string")) {
        typed = json_loads(s, JSON_DECODE_ANY, NULL);

        if (!json_is_number(typed)) {
            json_decref(typed);
            typed = NULL;
        }
    }

    return typed ? typed : json_incref(value);
}


json_t *
aegis_template_values(const json_t *template, const json_t *params,
    const json_t *labels, aegis_error_t *err)
{
    void        *iter;
    char         at[AEGIS_CHECK_POINTER];
    json_t      *declared, *declaration, *given, *value, *values, *p = (json_t *) params;
    const char  *name;

    values = json_object();
    declared = json_object_get(template, "params");

    for (iter = json_object_iter(p); iter; iter = json_object_iter_next(p, iter)) {
        name = json_object_iter_key(iter);

        if (json_object_get(declared, name) == NULL) {
            aegis_error_pointer(at, sizeof(at), "/params", name);
            aegis_error_at(err, at, "is not a parameter of this template");
        }
    }

    json_object_foreach(declared, name, declaration) {
        given = json_object_get(params, name);
        aegis_error_pointer(at, sizeof(at), given ? "/params" : "/labels", name);
        given = given ? given : json_object_get(labels, name);

        if (given) {
            value = aegis_template_typed(declaration, given);
            aegis_template_fits(declaration, value, at, err);
            json_object_set_new(values, name, value);
            continue;
        }

        value = json_object_get(declaration, "default");

        if (value) {
            json_object_set(values, name, value);

        } else if (json_is_true(json_object_get(declaration, "required"))) {
            aegis_error_pointer(at, sizeof(at), "/params", name);
            aegis_error_at(err, at, "is required: %s",
                           aegis_json_str(declaration, "sentence"));
        }
    }

    return values;
}
