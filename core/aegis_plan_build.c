/*
 * aegis_plan_build.c: a plan out of a template, the case and what is known about
 * it; and a person's plan with what it does not say. Its invariant: what comes
 * out passes aegis_plan_check() and says what it was made on; a value that does
 * not fit is refused and named, never replaced by a default.
 */
#include "aegis_plan.h"

#include <stdlib.h>
#include <string.h>

#include "aegis_buf.h"
#include "aegis_check.h"
#include "aegis_json.h"
#include "aegis_template.h"

#define AEGIS_PLAN_TITLE_MAX     200
#define AEGIS_PLAN_NOTES_MAX     4000
#define AEGIS_PLAN_SUMMARY_MAX   1000
#define AEGIS_PLAN_EVIDENCE_MAX  32
#define AEGIS_PLAN_REFS_MAX      16
#define AEGIS_PLAN_MAX_BYTES     65536      /* of fields.def, for a plan by hand */


/* What stands in texts from outside may hold what a plan may not. */
static void
aegis_plan_blank_controls(char *s, size_t len)
{
    size_t         i;
    unsigned char  c;

    for (i = 0; i < len; i++) {
        c = (unsigned char) s[i];

        if ((c < 0x20 && c != '\n' && c != '\t') || c == 0x7f) {
            s[i] = ' ';

        } else if (c == 0xc2 && (unsigned char) s[i + 1] < 0xa0) {
            s[i] = s[i + 1] = ' ';
        }
    }
}


/* Steals buf's text: at most max bytes of it, fit for a plan. New reference. */
static json_t *
aegis_plan_text(aegis_buf_t *buf, size_t max)
{
    char    *text;
    size_t   len;
    json_t  *value;

    text = aegis_buf_take(buf, &len);
    if (text == NULL) {
        return json_string("");
    }

    aegis_plan_blank_controls(text, len);
    value = json_stringn(text, aegis_utf8_cut(text, len, max));
    free(text);

    return value;
}


static json_t *
aegis_plan_cut(const char *text, size_t max)
{
    aegis_buf_t  buf = AEGIS_BUF_INIT;

    aegis_buf_puts(&buf, text);

    return aegis_plan_text(&buf, max);
}


/* How the last attempt ended; "" when there was none. New reference. */
static json_t *
aegis_plan_failure(const json_t *last)
{
    size_t       i;
    json_t      *parked, *steps, *step;
    aegis_buf_t  buf = AEGIS_BUF_INIT;

    parked = json_object_get(last, "parked");
    steps = json_object_get(last, "steps");

    if (json_is_object(parked)) {
        aegis_buf_printf(&buf, "revision %lld: %s",
            (long long) json_integer_value(json_object_get(last, "revision")),
            aegis_json_str(parked, "reason"));
    }

    for (i = 0; json_is_object(parked) && i < json_array_size(steps); i++) {
        step = json_array_get(steps, i);
        aegis_buf_printf(&buf, "; %s %lld (%s) %s: %s", aegis_json_str(step, "phase"),
            (long long) json_integer_value(json_object_get(step, "step_no")),
            aegis_json_str(step, "action"), aegis_json_str(step, "state"),
            aegis_json_str(step, "error"));
    }

    return aegis_plan_text(&buf, AEGIS_PLAN_SUMMARY_MAX);
}


/* The failure and what the analyst found, a line each. New reference. */
static json_t *
aegis_plan_lines(const json_t *evidence, const json_t *failure)
{
    size_t       i;
    json_t      *item;
    aegis_buf_t  buf = AEGIS_BUF_INIT;

    if (json_string_length(failure)) {
        aegis_buf_printf(&buf, "last attempt: %s", json_string_value(failure));
    }

    for (i = 0; i < json_array_size(evidence) && buf.len < AEGIS_PLAN_NOTES_MAX; i++) {
        item = json_array_get(evidence, i);
        aegis_buf_printf(&buf, "%s%s: %s", buf.len ? "\n" : "",
                         aegis_json_str(item, "severity"),
                         aegis_json_str(item, "summary"));
    }

    return aegis_plan_text(&buf, AEGIS_PLAN_NOTES_MAX);
}


static json_t *
aegis_plan_refs(const json_t *refs)
{
    size_t   i;
    json_t  *out;

    out = json_array();

    for (i = 0; i < json_array_size(refs) && i < AEGIS_PLAN_REFS_MAX; i++) {
        json_array_append_new(out,
            aegis_plan_cut(json_string_value(json_array_get(refs, i)), 512));
    }

    return out;
}


/* The plan's member evidence. New reference. */
static json_t *
aegis_plan_evidence(const json_t *facts, json_t *failure)
{
    size_t   i;
    json_t  *all, *findings, *f, *last, *parked;

    all = json_array();
    last = json_object_get(facts, "last");
    parked = json_object_get(last, "parked");
    findings = json_object_get(facts, "evidence");

    if (json_is_object(parked)) {
        json_array_append_new(all, json_pack("{s:s, s:s+, s:O}", "kind", "failure",
            "id", "version ", aegis_json_str(parked, "version"), "summary", failure));
    }

    if (json_is_object(last)) {
        json_array_append_new(all, json_pack("{s:s, s:s, s:s+}", "kind", "plan",
            "id", aegis_json_str(last, "plan_id"),
            "summary", "the revision before this one has the hash ",
            aegis_json_str(last, "hash")));
    }

    for (i = 0; i < json_array_size(findings); i++) {
        if (json_array_size(all) == AEGIS_PLAN_EVIDENCE_MAX) {
            break;
        }

        f = json_array_get(findings, i);
        json_array_append_new(all, json_pack("{s:s, s:s, s:o, s:o, s:o}",
            "kind", "finding", "id", aegis_json_str(f, "event_id"),
            "severity", aegis_plan_cut(aegis_json_str(f, "severity"), 63),
            "summary", aegis_plan_cut(aegis_json_str(f, "summary"),
                                      AEGIS_PLAN_SUMMARY_MAX),
            "refs", aegis_plan_refs(json_object_get(f, "refs"))));
    }

    return all;
}


/* What a template may name beside its parameters. New reference. */
static json_t *
aegis_plan_facts(const json_t *c, const json_t *facts, const json_t *failure)
{
    json_int_t  revision;

    revision = json_integer_value(json_object_get(facts, "next_revision"));

    return json_pack("{s:s, s:s, s:s, s:s, s:s, s:I, s:o, s:O}",
        "case.id", aegis_json_str(c, "case_id"),
        "case.title", aegis_json_str(c, "title"),
        "case.kind", aegis_json_str(c, "kind"),
        "case.severity", aegis_json_str(c, "severity"),
        "case.tenant", aegis_json_str(c, "tenant"),
        "revision", revision ? revision : (json_int_t) 1,
        "evidence", aegis_plan_lines(json_object_get(facts, "evidence"), failure),
        "failure", failure);
}


/* Steals plan. A value may be of the right type and still not fit. */
static aegis_code_t
aegis_plan_finish(aegis_error_t *found, json_t *plan, json_t **ret_plan,
    aegis_error_t *err)
{
    char          *text;
    size_t         len;
    aegis_code_t   code;

    code = aegis_error_move(err, found);

    if (code == AEGIS_E_OK && plan == NULL) {
        code = aegis_error_set(err, AEGIS_E_INTERNAL, "no memory");
    }

    if (code == AEGIS_E_OK) {
        code = aegis_plan_check(plan, "/plan", err);
    }

    if (code == AEGIS_E_OK) {
        text = aegis_json_text(plan);
        len = text ? strlen(text) : 0;
        free(text);

        if (len > AEGIS_PLAN_MAX_BYTES) {
            aegis_error_at(found, "/plan", "must have at most %d bytes",
                           AEGIS_PLAN_MAX_BYTES);
            code = aegis_error_move(err, found);
        }
    }

    if (code != AEGIS_E_OK) {
        json_decref(plan);
        return code;
    }

    *ret_plan = plan;

    return AEGIS_E_OK;
}


/* A text that is the sum of others may be longer than any of them. */
static void
aegis_plan_shorten(json_t *plan, const char *name, size_t max)
{
    json_t  *value;

    value = json_object_get(plan, name);

    if (json_is_string(value)) {
        json_object_set_new(plan, name, aegis_plan_cut(json_string_value(value), max));
    }
}


aegis_code_t
aegis_plan_build(const json_t *template, const json_t *c, const json_t *params,
    const json_t *facts, json_t **ret_plan, aegis_error_t *err)
{
    json_t         *plan, *values, *known, *failure, *evidence;
    aegis_error_t   found = AEGIS_ERROR_INIT;

    plan = NULL;
    values = aegis_template_values(template, params, json_object_get(c, "labels"), &found);

    if (found.code == AEGIS_E_OK) {
        failure = aegis_plan_failure(json_object_get(facts, "last"));
        known = aegis_plan_facts(c, facts, failure);
        plan = aegis_template_fill(template, values, known);
        evidence = aegis_plan_evidence(facts, failure);

        if (json_array_size(evidence) && json_object_get(plan, "evidence") == NULL) {
            json_object_set(plan, "evidence", evidence);
        }

        if (json_is_object(plan) && json_object_get(plan, "kind") == NULL) {
            json_object_set(plan, "kind", json_object_get(template, "kind"));
        }

        aegis_plan_shorten(plan, "title", AEGIS_PLAN_TITLE_MAX);
        aegis_plan_shorten(plan, "notes", AEGIS_PLAN_NOTES_MAX);

        if (json_is_object(plan)) {
            aegis_plan_cite(plan, json_object_get(facts, "knowledge"));
        }

        json_decref(evidence);
        json_decref(known);
        json_decref(failure);
    }

    json_decref(values);

    return aegis_plan_finish(&found, plan, ret_plan, err);
}


/* A value by name: of params, else of the case's labels; NULL when absent. */
static json_t *
aegis_plan_value(const json_t *c, const json_t *params, const char *name,
    char at[AEGIS_CHECK_POINTER])
{
    json_t  *value;

    value = json_object_get(params, name);
    aegis_error_pointer(at, AEGIS_CHECK_POINTER, value ? "/params" : "/labels", name);

    return value ? value : json_object_get(json_object_get(c, "labels"), name);
}


/* The risk of a plan that names none. New reference. */
static json_t *
aegis_plan_risk(const json_t *c, const json_t *params, const char *kind,
    aegis_error_t *found)
{
    char     at[AEGIS_CHECK_POINTER];
    json_t  *value, *number;

    value = aegis_plan_value(c, params, "risk", at);

    if (value == NULL) {
        return json_real(strcmp(kind, "change") == 0 ? 0.3 : 0.2);
    }

    number = json_is_string(value)
             ? json_loads(json_string_value(value), JSON_DECODE_ANY, NULL)
             : json_incref(value);

    if (!json_is_number(number)) {
        aegis_error_at(found, at, "must be a number");
    }

    return number;
}


static json_t *
aegis_plan_env(const json_t *c, const json_t *params, aegis_error_t *found)
{
    char     at[AEGIS_CHECK_POINTER];
    json_t  *value;

    value = aegis_plan_value(c, params, "env", at);

    if (value && !json_is_string(value)) {
        aegis_error_at(found, at, "must be a string");
    }

    return value ? json_incref(value) : json_string("default");
}


aegis_code_t
aegis_plan_adopt(const json_t *given, const json_t *c, const json_t *params,
    json_t **ret_plan, aegis_error_t *err)
{
    json_t         *plan;
    const char     *kind;
    aegis_code_t    code;
    aegis_error_t   found = AEGIS_ERROR_INIT;

    code = aegis_plan_check(given, "/plan", err);
    if (code != AEGIS_E_OK) {
        return code;
    }

    plan = json_deep_copy(given);
    kind = aegis_json_str(given, "kind");

    if (kind[0] == '\0') {
        kind = strcmp(aegis_json_str(c, "kind"), "change") == 0 ? "change" : "incident";
        json_object_set_new(plan, "kind", json_string(kind));
    }

    if (json_object_get(plan, "risk_score") == NULL) {
        json_object_set_new(plan, "risk_score", aegis_plan_risk(c, params, kind, &found));
    }

    if (json_object_get(plan, "env") == NULL) {
        json_object_set_new(plan, "env", aegis_plan_env(c, params, &found));
    }

    return aegis_plan_finish(&found, plan, ret_plan, err);
}
