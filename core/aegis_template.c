/*
 * aegis_template.c: whether a template is right, and the plan that it becomes.
 * Its invariant: filling a checked template with the values that it declares
 * names nothing that is not there, and nothing of a value is read as a hole.
 */
#include "aegis_template.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "aegis_buf.h"
#include "aegis_check.h"
#include "aegis_json.h"
#include "aegis_plan.h"

#define AEGIS_TEMPLATE_MAX_NAME   63
#define AEGIS_TEMPLATE_MAX_DEPTH  16

static const char *const  aegis_template_members[] =
    { "template", "version", "kind", "sentence", "params", "examples", "plan", NULL };
static const char *const  aegis_template_kinds[] = { "incident", "change", NULL };

static const char *const  aegis_template_facts[] = {
    "case.id", "case.title", "case.kind", "case.severity", "case.tenant",
    "revision", "evidence", "failure"
};

/* What a hole is looked up in. */
typedef struct {
    const json_t  *values;
    const json_t  *facts;
} aegis_template_in_t;


const char *
aegis_template_fact(size_t i)
{
    return i < sizeof(aegis_template_facts) / sizeof(aegis_template_facts[0])
           ? aegis_template_facts[i] : NULL;
}


static int
aegis_template_is_name(const char *s)
{
    size_t  n;

    n = strspn(s, "abcdefghijklmnopqrstuvwxyz0123456789_");

    return n >= 1 && n <= AEGIS_TEMPLATE_MAX_NAME && s[n] == '\0' && s[0] >= 'a';
}


/* The hole that text begins with: its name in name, its length; 0: none. */
static size_t
aegis_template_hole(const char *text, char name[AEGIS_TEMPLATE_MAX_NAME + 1])
{
    size_t  n;

    if (text[0] != '$' || text[1] != '{') {
        return 0;
    }

    n = strcspn(text + 2, "}");

    if (text[2 + n] != '}' || n == 0 || n > AEGIS_TEMPLATE_MAX_NAME) {
        return 0;
    }

    memcpy(name, text + 2, n);
    name[n] = '\0';

    return n + 3;
}


/* Borrowed; NULL: absent. */
static json_t *
aegis_template_look_up(const aegis_template_in_t *in, const char *name)
{
    json_t  *value;

    value = json_object_get(in->values, name);

    return value ? value : json_object_get(in->facts, name);
}


static int
aegis_template_true(const json_t *value)
{
    return json_is_true(value) || (json_is_number(value) && json_number_value(value) != 0)
           || json_string_length(value) > 0 || json_array_size(value) > 0;
}


static void
aegis_template_text(aegis_buf_t *buf, const json_t *value)
{
    if (json_is_string(value)) {
        aegis_buf_puts(buf, json_string_value(value));

    } else if (json_is_integer(value)) {
        aegis_buf_printf(buf, "%lld", (long long) json_integer_value(value));

    } else if (json_is_real(value)) {
        aegis_buf_printf(buf, "%.15g", json_real_value(value));

    } else if (json_is_boolean(value)) {
        aegis_buf_puts(buf, json_is_true(value) ? "true" : "false");
    }
}


/* New reference; NULL: the hole that the text is has no value. */
static json_t *
aegis_template_fill_text(const aegis_template_in_t *in, const char *s)
{
    char          name[AEGIS_TEMPLATE_MAX_NAME + 1], *text;
    size_t        n;
    json_t       *filled;
    aegis_buf_t   buf = AEGIS_BUF_INIT;

    n = aegis_template_hole(s, name);

    if (n && s[n] == '\0') {
        return json_deep_copy(aegis_template_look_up(in, name));
    }

    while (*s) {
        n = aegis_template_hole(s, name);

        if (n) {
            aegis_template_text(&buf, aegis_template_look_up(in, name));
            s += n;

        } else if (strncmp(s, "$${", 3) == 0) {
            aegis_buf_puts(&buf, "${");
            s += 3;

        } else {
            n = 1 + strcspn(s + 1, "$");
            aegis_buf_add(&buf, s, n);
            s += n;
        }
    }

    text = aegis_buf_take(&buf, &n);
    filled = text ? json_stringn(text, n) : json_string("");
    free(text);

    return filled;
}


/* How many of the names of a condition (one, or an array) are true. */
static size_t
aegis_template_count(const aegis_template_in_t *in, const json_t *names, size_t *ret_n)
{
    size_t  i, n;

    if (json_is_string(names)) {
        *ret_n = 1;
        return aegis_template_true(aegis_template_look_up(in, json_string_value(names)));
    }

    *ret_n = json_array_size(names);

    for (i = 0, n = 0; i < *ret_n; i++) {
        n += aegis_template_true(
                 aegis_template_look_up(in, json_string_value(json_array_get(names, i))));
    }

    return n;
}


/* $if: all of them; $unless: none. */
static int
aegis_template_shown(const aegis_template_in_t *in, const json_t *object)
{
    size_t   n;
    json_t  *when, *unless;

    when = json_object_get(object, "$if");
    unless = json_object_get(object, "$unless");

    if (when && aegis_template_count(in, when, &n) < n) {
        return 0;
    }

    return unless == NULL || aegis_template_count(in, unless, &n) == 0;
}


static json_t *aegis_template_fill_value(const aegis_template_in_t *in,
    const json_t *value);


static int
aegis_template_is_control(const char *name)
{
    return name[0] == '$' && name[1] != '{';
}


/* New reference; NULL: left out. */
static json_t *
aegis_template_fill_object(const aegis_template_in_t *in, const json_t *value)
{
    void        *iter;
    json_t      *filled, *part, *key, *o = (json_t *) value;
    const char  *name;

    if (!aegis_template_shown(in, value)) {
        return NULL;
    }

    filled = json_object();

    for (iter = json_object_iter(o); iter; iter = json_object_iter_next(o, iter)) {
        name = json_object_iter_key(iter);

        if (aegis_template_is_control(name)) {
            continue;
        }

        part = aegis_template_fill_value(in, json_object_iter_value(iter));

        if (strchr(name, '$') == NULL) {
            if (part) {
                json_object_set_new_nocheck(filled, name, part);
            }
            continue;
        }

        key = aegis_template_fill_text(in, name);

        if (part && json_is_string(key)) {
            json_object_set(filled, json_string_value(key), part);
        }

        json_decref(key);
        json_decref(part);
    }

    return filled;
}


/* New reference; NULL: left out. Depth is checked before. */
static json_t *
aegis_template_fill_value(const aegis_template_in_t *in, const json_t *value)
{
    size_t   i;
    json_t  *filled, *part;

    if (json_is_string(value)) {
        return strchr(json_string_value(value), '$')
               ? aegis_template_fill_text(in, json_string_value(value))
               : json_incref((json_t *) value);
    }

    if (json_is_array(value)) {
        filled = json_array();

        for (i = 0; i < json_array_size(value); i++) {
            part = aegis_template_fill_value(in, json_array_get(value, i));

            if (part) {
                json_array_append_new(filled, part);
            }
        }

        return filled;
    }

    if (json_is_object(value)) {
        return aegis_template_fill_object(in, value);
    }

    return json_incref((json_t *) value);
}


json_t *
aegis_template_fill(const json_t *template, const json_t *values, const json_t *facts)
{
    aegis_template_in_t  in = { values, facts };

    return aegis_template_fill_value(&in, json_object_get(template, "plan"));
}


/* 1: a parameter that is a list, 2: another one or a fact, 0: nobody's name. */
static int
aegis_template_known(const json_t *declared, const char *name)
{
    size_t       i;
    json_t      *declaration;
    const char  *fact;

    declaration = json_object_get(declared, name);

    if (declaration) {
        return strcmp(aegis_json_str(declaration, "type"), "list") == 0 ? 1 : 2;
    }

    for (i = 0; (fact = aegis_template_fact(i)) != NULL; i++) {
        if (strcmp(fact, name) == 0) {
            return 2;
        }
    }

    return 0;
}


static void
aegis_template_check_text(const json_t *declared, const char *text, const char *at,
    aegis_error_t *err)
{
    int          known;
    char         name[AEGIS_TEMPLATE_MAX_NAME + 1];
    size_t       n;
    const char  *s;

    for (s = text; (s = strchr(s, '$')) != NULL; s += n) {
        if (strncmp(s, "$${", 3) == 0) {
            n = 3;
            continue;
        }

        n = aegis_template_hole(s, name);

        if (n == 0 && s[1] == '{') {
            aegis_error_at(err, at, "has a ${ that is no hole; $${ is the text ${");
            return;
        }

        if (n == 0) {
            n = 1;
            continue;
        }

        known = aegis_template_known(declared, name);

        if (known == 0) {
            aegis_error_at(err, at, "names %s, which is no parameter and no fact", name);

        } else if (known == 1 && (s != text || s[n] != '\0')) {
            aegis_error_at(err, at, "the list %s cannot be part of a text", name);
        }
    }
}


/* A name, or an array of some. */
static int
aegis_template_is_condition(const json_t *declared, const json_t *condition)
{
    size_t   i;
    json_t  *name;

    if (json_is_string(condition)) {
        return aegis_template_known(declared, json_string_value(condition)) != 0;
    }

    for (i = 0; i < json_array_size(condition); i++) {
        name = json_array_get(condition, i);

        if (!json_is_string(name)
            || !aegis_template_known(declared, json_string_value(name)))
        {
            return 0;
        }
    }

    return i > 0;
}


static void
aegis_template_check_plan(const json_t *declared, const json_t *value, const char *at,
    aegis_error_t *err)
{
    char         sub[AEGIS_CHECK_POINTER];
    void        *iter;
    size_t       i;
    json_t      *o = (json_t *) value, *member;
    const char  *name;

    if (json_is_string(value)) {
        aegis_template_check_text(declared, json_string_value(value), at, err);
        return;
    }

    for (i = 0; i < json_array_size(value); i++) {
        aegis_error_index(sub, sizeof(sub), at, i);
        aegis_template_check_plan(declared, json_array_get(value, i), sub, err);
    }

    for (iter = json_object_iter(o); iter; iter = json_object_iter_next(o, iter)) {
        name = json_object_iter_key(iter);
        member = json_object_iter_value(iter);
        aegis_error_pointer(sub, sizeof(sub), at, name);

        if (!aegis_template_is_control(name)) {
            aegis_template_check_text(declared, name, sub, err);
            aegis_template_check_plan(declared, member, sub, err);
            continue;
        }

        if (strcmp(name, "$if") != 0 && strcmp(name, "$unless") != 0) {
            aegis_error_at(err, sub, "is neither $if nor $unless");

        } else if (!aegis_template_is_condition(declared, member)) {
            aegis_error_at(err, sub, "must name parameters or facts");
        }
    }
}


static void
aegis_template_check_params(const json_t *declared, aegis_error_t *err)
{
    char         at[AEGIS_CHECK_POINTER];
    void        *iter;
    json_t      *o = (json_t *) declared;
    const char  *name;

    if (declared == NULL) {
        return;
    }

    if (!json_is_object(declared) || json_object_size(declared) > AEGIS_TEMPLATE_MAX_PARAMS) {
        aegis_error_at(err, "/params", "must be an object of at most %d members",
                       AEGIS_TEMPLATE_MAX_PARAMS);
        return;
    }

    for (iter = json_object_iter(o); iter; iter = json_object_iter_next(o, iter)) {
        name = json_object_iter_key(iter);
        aegis_error_pointer(at, sizeof(at), "/params", name);

        if (!aegis_template_is_name(name)) {
            aegis_error_at(err, at, "its name must be a-z 0-9 _, 1 to %d of them",
                           AEGIS_TEMPLATE_MAX_NAME);
        }

        aegis_template_check_param(json_object_iter_value(iter), at, err);
    }
}


aegis_code_t
aegis_template_check(const json_t *template, aegis_error_t *err)
{
    json_t         *value;
    aegis_error_t   found = AEGIS_ERROR_INIT;

    if (aegis_json_depth(template, AEGIS_TEMPLATE_MAX_DEPTH + 1)
        > AEGIS_TEMPLATE_MAX_DEPTH + 1)
    {
        aegis_error_at(&found, "", "must not be nested more than %d deep",
                       AEGIS_TEMPLATE_MAX_DEPTH + 1);

    } else if (aegis_check_object(template, aegis_template_members, "", &found)) {
        aegis_check_word(json_object_get(template, "template"), AEGIS_TEMPLATE_MAX_NAME,
                         "/template", &found);
        aegis_check_int(json_object_get(template, "version"), 1, 1, "/version", &found);
        aegis_check_enum(json_object_get(template, "kind"), aegis_template_kinds, "/kind",
                         &found);
        aegis_check_string(json_object_get(template, "sentence"), 1, 200, "/sentence",
                           &found);
        aegis_template_check_params(json_object_get(template, "params"), &found);
        aegis_check_array(json_object_get(template, "examples"), 1,
                          AEGIS_TEMPLATE_MAX_EXAMPLES, "/examples", &found);

        value = json_object_get(template, "plan");

        if (!json_is_object(value)) {
            aegis_error_at(&found, "/plan", "must be an object");
        } else {
            aegis_template_check_plan(json_object_get(template, "params"), value, "/plan",
                                      &found);
        }
    }

    return aegis_error_move(err, &found);
}


/* What is wrong with the plan of an example, at the example. */
static void
aegis_template_prove_one(const json_t *template, const json_t *example, const char *at,
    aegis_error_t *err)
{
    char            sub[AEGIS_CHECK_POINTER + 64];
    json_t         *c, *plan, *missing, *first;
    aegis_error_t   why = AEGIS_ERROR_INIT;

    c = json_pack("{s:s, s:s, s:s}", "title", "an example",
                  "kind", aegis_json_str(template, "kind"), "severity", "warning");

    if (aegis_plan_build(template, c, example, NULL, &plan, &why) != AEGIS_E_OK) {
        first = json_array_get(why.errors, 0);
        aegis_error_at(err, at, "becomes no plan: %s %s", aegis_json_str(first, "pointer"),
                       first ? aegis_json_str(first, "detail") : why.detail);
        aegis_error_clear(&why);
        json_decref(c);
        return;
    }

    missing = aegis_plan_missing(plan);

    if (json_array_size(missing)) {
        snprintf(sub, sizeof(sub), "%s", json_string_value(json_array_get(missing, 0)));
        aegis_error_at(err, at, "becomes a plan without %s", sub);
    }

    json_decref(missing);
    json_decref(plan);
    json_decref(c);
}


aegis_code_t
aegis_template_prove(const json_t *template, aegis_error_t *err)
{
    char            at[AEGIS_CHECK_POINTER];
    size_t          i;
    json_t         *examples;
    aegis_code_t    code;
    aegis_error_t   found = AEGIS_ERROR_INIT;

    code = aegis_template_check(template, err);
    if (code != AEGIS_E_OK) {
        return code;
    }

    examples = json_object_get(template, "examples");

    for (i = 0; i < json_array_size(examples); i++) {
        aegis_error_index(at, sizeof(at), "/examples", i);
        aegis_template_prove_one(template, json_array_get(examples, i), at, &found);
    }

    return aegis_error_move(err, &found);
}
