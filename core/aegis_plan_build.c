/*
 * aegis_plan_build.c: the plan templates. Its invariant: what a template
 * builds passes aegis_plan_check() and is complete; a value that does not fit
 * is refused and named, never replaced by a default.
 */
#include "aegis_plan.h"

#include <stdlib.h>
#include <string.h>

#include "aegis_buf.h"
#include "aegis_check.h"
#include "aegis_json.h"

#define AEGIS_PLAN_TITLE_MAX  200
#define AEGIS_PLAN_NOTES_MAX  4000

/* What a template looks at. */
typedef struct {
    const json_t   *c;
    const json_t   *params;
    aegis_error_t   found;
} aegis_plan_in_t;


/* A value by name: of params, else of the case's labels; NULL when absent. */
static json_t *
aegis_plan_value(aegis_plan_in_t *in, const char *name)
{
    json_t  *value;

    value = json_object_get(in->params, name);

    if (value == NULL) {
        value = json_object_get(json_object_get(in->c, "labels"), name);
    }

    return value;
}


static const char *
aegis_plan_where(aegis_plan_in_t *in, const char *name, char at[AEGIS_CHECK_POINTER])
{
    aegis_error_pointer(at, AEGIS_CHECK_POINTER,
        json_object_get(in->params, name) ? "/params" : "/labels", name);

    return at;
}


static const char *
aegis_plan_string(aegis_plan_in_t *in, const char *name, const char *fallback)
{
    char     at[AEGIS_CHECK_POINTER];
    json_t  *value;

    value = aegis_plan_value(in, name);

    if (value == NULL) {
        return fallback;
    }

    if (!json_is_string(value)) {
        aegis_error_at(&in->found, aegis_plan_where(in, name, at), "must be a string");
        return "";
    }

    return json_string_value(value);
}


/* A number, also one that a label spells: new reference. */
static json_t *
aegis_plan_number(aegis_plan_in_t *in, const char *name, json_t *fallback)
{
    char     at[AEGIS_CHECK_POINTER];
    json_t  *value, *number;

    value = aegis_plan_value(in, name);

    if (value == NULL) {
        return fallback;
    }

    json_decref(fallback);

    if (json_is_number(value)) {
        return json_incref(value);
    }

    number = NULL;

    if (json_is_string(value)) {
        number = json_loads(json_string_value(value), JSON_DECODE_ANY, NULL);
    }

    if (!json_is_number(number)) {
        json_decref(number);
        aegis_error_at(&in->found, aegis_plan_where(in, name, at), "must be a number");
        return json_integer(0);
    }

    return number;
}


static int
aegis_plan_truth(aegis_plan_in_t *in, const char *name)
{
    json_t      *value;
    const char  *s;

    value = aegis_plan_value(in, name);
    s = json_string_value(value);

    return json_is_true(value) || (json_is_number(value) && json_number_value(value) != 0)
           || (s && (strcmp(s, "true") == 0 || strcmp(s, "yes") == 0
                     || strcmp(s, "1") == 0));
}


/* Echo may always run again; a script only when it is said. */
static json_t *
aegis_plan_echo(const char *name, const char *message)
{
    return json_pack("{s:s, s:s, s:{s:s}, s:i, s:{s:i, s:i}, s:b}",
        "name", name, "action", "echo", "params", "message", message,
        "timeout_s", 60, "retry", "max", 2, "backoff_ms", 1000, "retry_safe", 1);
}


static json_t *
aegis_plan_script(aegis_plan_in_t *in, const char *name, const char *script,
    const char *phase)
{
    int      safe;
    json_t  *step, *args;

    safe = aegis_plan_truth(in, "retry_safe");

    args = json_array();
    json_array_append_new(args, json_string(aegis_plan_string(in, "service", "")));

    if (phase) {
        json_array_append_new(args, json_string(phase));
    }

    step = json_pack("{s:s, s:s, s:{s:s, s:o}, s:b}", "name", name, "action",
        "script.exec", "params", "script", script, "args", args, "retry_safe", safe);

    if (safe) {
        json_object_set_new(step, "retry",
                            json_pack("{s:i, s:i}", "max", 2, "backoff_ms", 1000));
    }

    if (aegis_plan_value(in, "timeout_s")) {
        json_object_set_new(step, "timeout_s",
                            aegis_plan_number(in, "timeout_s", NULL));
    }

    return step;
}


/* A step that runs the script which the value named key names, else an echo. */
static json_t *
aegis_plan_step(aegis_plan_in_t *in, const char *name, const char *key,
    const char *phase, const char *message)
{
    const char  *script;

    script = aegis_plan_string(in, key, "");

    return script[0] ? aegis_plan_script(in, name, script, phase)
                     : aegis_plan_echo(name, message);
}


static json_t *
aegis_plan_rollback(aegis_plan_in_t *in)
{
    return json_pack("[o]", aegis_plan_step(in, "rollback", "rollback_script", NULL,
                                            "nothing was changed that has to be undone"));
}


static json_t *
aegis_plan_verify(aegis_plan_in_t *in)
{
    const char  *resource;

    resource = aegis_plan_string(in, "resource", "");

    if (resource[0] == '\0') {
        return json_pack("[{s:s}]", "kind", "exec");
    }

    return json_pack("[{s:s, s:s, s:s, s:s, s:s, s:o, s:o, s:o}]", "kind", "metric",
        "resource", resource,
        "metric", aegis_plan_string(in, "metric", "error_rate"),
        "agg", aegis_plan_string(in, "agg", "avg"),
        "op", aegis_plan_string(in, "op", "<="),
        "threshold", aegis_plan_number(in, "threshold", json_real(0.05)),
        "window_s", aegis_plan_number(in, "window_s", json_integer(300)),
        "min_samples", aegis_plan_number(in, "min_samples", json_integer(1)));
}


/* Metric names come from outside and may hold what notes may not. */
static void
aegis_plan_blank_controls(char *s, size_t len)
{
    size_t         i;
    unsigned char  c;

    for (i = 0; i < len; i++) {
        c = (unsigned char) s[i];

        if ((c < 0x20 && c != '\n') || c == 0x7f) {
            s[i] = ' ';

        } else if (c == 0xc2 && (unsigned char) s[i + 1] < 0xa0) {
            s[i] = s[i + 1] = ' ';
        }
    }
}


/* What the analyst found, one line each, as much as fits. */
static json_t *
aegis_plan_notes(const json_t *evidence)
{
    char         *text;
    size_t        i, len;
    json_t       *item, *notes;
    aegis_buf_t   buf = AEGIS_BUF_INIT;

    for (i = 0; i < json_array_size(evidence) && buf.len < AEGIS_PLAN_NOTES_MAX; i++) {
        item = json_array_get(evidence, i);
        aegis_buf_printf(&buf, "%s%s: %s", i ? "\n" : "",
                         aegis_json_str(item, "severity"),
                         aegis_json_str(item, "summary"));
    }

    text = aegis_buf_take(&buf, &len);
    if (text == NULL) {
        return NULL;
    }

    aegis_plan_blank_controls(text, len);
    notes = json_stringn(text, aegis_utf8_cut(text, len, AEGIS_PLAN_NOTES_MAX));
    free(text);

    return notes;
}


static json_t *
aegis_plan_title(const char *what, const json_t *c)
{
    char         *text;
    size_t        len;
    json_t       *title;
    aegis_buf_t   buf = AEGIS_BUF_INIT;

    aegis_buf_printf(&buf, "%s: %s", what, aegis_json_str(c, "title"));
    text = aegis_buf_take(&buf, &len);

    if (text == NULL) {
        return NULL;
    }

    title = json_stringn(text, aegis_utf8_cut(text, len, AEGIS_PLAN_TITLE_MAX));
    free(text);

    return title;
}


static json_t *
aegis_plan_incident_steps(aegis_plan_in_t *in)
{
    return json_pack("[o, o]",
        aegis_plan_step(in, "collect", "collect_script", NULL,
                        "collect what is known about the incident"),
        aegis_plan_step(in, "mitigate", "script", NULL, "mitigate the incident"));
}


static json_t *
aegis_plan_change_steps(aegis_plan_in_t *in)
{
    if (!aegis_plan_truth(in, "canary")) {
        return json_pack("[o]",
            aegis_plan_step(in, "restart", "script", "restart", "restart the service"));
    }

    return json_pack("[o, o]",
        aegis_plan_step(in, "canary", "script", "canary", "change the canary"),
        aegis_plan_step(in, "full", "script", "full", "change everything"));
}


static const struct {
    const char  *name;
    const char  *title;
    double       risk;
    json_t    *(*steps)(aegis_plan_in_t *in);
} aegis_plan_templates[] = {
    { "incident", "Mitigate", 0.2, aegis_plan_incident_steps },
    { "change",   "Change",   0.3, aegis_plan_change_steps }
};

#define AEGIS_PLAN_N_TEMPLATES                                                 \
    (sizeof(aegis_plan_templates) / sizeof(aegis_plan_templates[0]))


/* The template of this name; AEGIS_PLAN_N_TEMPLATES: there is none. */
static size_t
aegis_plan_template(const char *name)
{
    size_t  i;

    for (i = 0; i < AEGIS_PLAN_N_TEMPLATES; i++) {
        if (strcmp(aegis_plan_templates[i].name, name) == 0) {
            break;
        }
    }

    return i;
}


static json_t *
aegis_plan_risk(aegis_plan_in_t *in, size_t template)
{
    return aegis_plan_number(in, "risk", json_real(aegis_plan_templates[template].risk));
}


/* Steals plan. A value may be of the right type and still not fit. */
static aegis_code_t
aegis_plan_finish(aegis_plan_in_t *in, json_t *plan, json_t **ret_plan,
    aegis_error_t *err)
{
    aegis_code_t  code;

    code = aegis_error_move(err, &in->found);

    if (code == AEGIS_E_OK && plan == NULL) {
        code = aegis_error_set(err, AEGIS_E_INTERNAL, "no memory");
    }

    if (code == AEGIS_E_OK) {
        code = aegis_plan_check(plan, "/plan", err);
    }

    if (code != AEGIS_E_OK) {
        json_decref(plan);
        return code;
    }

    *ret_plan = plan;

    return AEGIS_E_OK;
}


aegis_code_t
aegis_plan_build(const char *name, const json_t *c, const json_t *params,
    const json_t *evidence, json_t **ret_plan, aegis_error_t *err)
{
    size_t           t;
    json_t          *plan;
    aegis_plan_in_t  in = { c, params, AEGIS_ERROR_INIT };

    t = aegis_plan_template(name ? name : aegis_json_str(c, "kind"));

    if (t == AEGIS_PLAN_N_TEMPLATES) {
        aegis_error_at(&in.found, "/template", "must be one of incident, change");
        return aegis_error_move(err, &in.found);
    }

    plan = json_pack("{s:o, s:s, s:o, s:o, s:o, s:o, s:s, s:o}",
        "title", aegis_plan_title(aegis_plan_templates[t].title, c),
        "kind", aegis_plan_templates[t].name,
        "risk_score", aegis_plan_risk(&in, t),
        "steps", aegis_plan_templates[t].steps(&in),
        "rollback", aegis_plan_rollback(&in),
        "verify", aegis_plan_verify(&in),
        "env", aegis_plan_string(&in, "env", "default"),
        "notes", aegis_plan_notes(evidence));

    return aegis_plan_finish(&in, plan, ret_plan, err);
}


aegis_code_t
aegis_plan_adopt(const json_t *given, const json_t *c, const json_t *params,
    json_t **ret_plan, aegis_error_t *err)
{
    size_t           t;
    json_t          *plan;
    const char      *kind;
    aegis_code_t     code;
    aegis_plan_in_t  in = { c, params, AEGIS_ERROR_INIT };

    code = aegis_plan_check(given, "/plan", err);
    if (code != AEGIS_E_OK) {
        return code;
    }

    kind = aegis_json_str(given, "kind");
    kind = kind[0] ? kind : aegis_json_str(c, "kind");
    t = aegis_plan_template(kind);
    t = t < AEGIS_PLAN_N_TEMPLATES ? t : 0;

    plan = json_deep_copy(given);

    if (json_object_get(plan, "kind") == NULL) {
        json_object_set_new(plan, "kind", json_string(aegis_plan_templates[t].name));
    }

    if (json_object_get(plan, "risk_score") == NULL) {
        json_object_set_new(plan, "risk_score", aegis_plan_risk(&in, t));
    }

    if (json_object_get(plan, "env") == NULL) {
        json_object_set_new(plan, "env",
                            json_string(aegis_plan_string(&in, "env", "default")));
    }

    return aegis_plan_finish(&in, plan, ret_plan, err);
}
