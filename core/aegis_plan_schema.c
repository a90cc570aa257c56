/*
 * aegis_plan_schema.c: plan.def and adapters.def as JSON Schema 2020-12, for
 * editors, linters and machines that write plans. Its invariant: it walks the
 * rows that aegis_plan_check() walks; t/05plans.t holds both against the
 * same plans.
 */
#include "aegis_plan_table.h"

#include <string.h>

#include "aegis_action.h"
#include "aegis_table.h"

#define AEGIS_PLAN_SCHEMA_TEXT                                                 \
    "^[^\\u0000-\\u0008\\u000b-\\u001f\\u007f-\\u009f]*$"
#define AEGIS_PLAN_SCHEMA_WORD  "^[A-Za-z0-9_-][A-Za-z0-9_.-]*$"


static json_t *
aegis_plan_schema_values(const char *of)
{
    int          i, n;
    char         buf[AEGIS_PLAN_VALUES_BUF];
    json_t      *list;
    const char  *values[AEGIS_PLAN_MAX_VALUES];

    list = json_array();
    n = aegis_plan_values(of, buf, values);

    for (i = 0; i < n; i++) {
        json_array_append_new(list, json_string(values[i]));
    }

    return json_pack("{s:o}", "enum", list);
}


static json_t *
aegis_plan_schema_text(long long least, long long most)
{
    return json_pack("{s:s, s:I, s:I, s:s}", "type", "string",
                     "minLength", (json_int_t) least, "maxLength", (json_int_t) most,
                     "pattern", AEGIS_PLAN_SCHEMA_TEXT);
}


static json_t *
aegis_plan_schema_word(long long most)
{
    return json_pack("{s:s, s:I, s:s}", "type", "string", "maxLength",
                     (json_int_t) most, "pattern", AEGIS_PLAN_SCHEMA_WORD);
}


static json_t *
aegis_plan_schema_range(const char *type, long long least, long long most)
{
    return json_pack("{s:s, s:I, s:I}", "type", type, "minimum", (json_int_t) least,
                     "maximum", (json_int_t) most);
}


/* Up to most strings of up to each characters: an array of them. */
static json_t *
aegis_plan_schema_strings(long long each, long long most)
{
    return json_pack("{s:s, s:I, s:o}", "type", "array", "maxItems", (json_int_t) most,
                     "items", aegis_plan_schema_text(0, each));
}


static json_t *
aegis_plan_schema_ref(const char *object)
{
    return json_pack("{s:s+}", "$ref", "#/$defs/", object);
}


/* The checks: the object that has the name of their kind. */
static json_t *
aegis_plan_schema_checks(void)
{
    size_t                   i;
    json_t                  *kinds, *all;
    const aegis_plan_row_t  *row;

    kinds = json_array();
    all = json_array();

    for (i = 0; (row = aegis_plan_row(i)) != NULL; i++) {
        if (row->type == AEGIS_PLAN_KIND) {
            json_array_append_new(kinds, json_string(row->object));
            json_array_append_new(all, json_pack("{s:{s:{s:{s:s}}, s:[s]}, s:o}",
                "if", "properties", "kind", "const", row->object, "required", "kind",
                "then", aegis_plan_schema_ref(row->object)));
        }
    }

    return json_pack("{s:s, s:[s], s:{s:{s:o}}, s:o}", "type", "object", "required",
                     "kind", "properties", "kind", "enum", kinds, "allOf", all);
}


static json_t *
aegis_plan_schema_type(const aegis_plan_row_t *row)
{
    switch (row->type) {

    case AEGIS_PLAN_STRING:
        return aegis_plan_schema_text(row->least, row->most);

    case AEGIS_PLAN_WORD:
        return aegis_plan_schema_word(row->most);

    case AEGIS_PLAN_INT:
        return aegis_plan_schema_range("integer", row->least, row->most);

    case AEGIS_PLAN_NUMBER:
        return aegis_plan_schema_range("number", row->least, row->most);

    case AEGIS_PLAN_BOOL:
        return json_pack("{s:s}", "type", "boolean");

    case AEGIS_PLAN_ENUM:
        return aegis_plan_schema_values(row->of);

    case AEGIS_PLAN_STRINGS:
        return aegis_plan_schema_strings(row->least, row->most);

    case AEGIS_PLAN_OBJECT:
        return aegis_plan_schema_ref(row->of);

    case AEGIS_PLAN_LIST:
        return json_pack("{s:s, s:I, s:I, s:o}", "type", "array", "minItems",
                         (json_int_t) row->least, "maxItems", (json_int_t) row->most,
                         "items", aegis_plan_schema_ref(row->of));

    case AEGIS_PLAN_CHECKS:
        return json_pack("{s:s, s:I, s:o}", "type", "array", "maxItems",
                         (json_int_t) row->most, "items", aegis_plan_schema_ref("check"));

    case AEGIS_PLAN_KIND:
        return json_pack("{s:s}", "const", row->object);

    default:
        return json_pack("{s:s}", "type", "object");
    }
}


static json_t *
aegis_plan_schema_object(const char *object)
{
    size_t                   i;
    json_t                  *properties, *required, *type;
    const aegis_plan_row_t  *row;

    properties = json_object();
    required = json_array();

    for (i = 0; (row = aegis_plan_row(i)) != NULL; i++) {
        if (strcmp(row->object, object) != 0) {
            continue;
        }

        type = aegis_plan_schema_type(row);
        json_object_set_new(type, "description", json_string(row->sentence));
        json_object_set_new(properties, row->name, type);

        if (row->required) {
            json_array_append_new(required, json_string(row->name));
        }
    }

    return json_pack("{s:s, s:b, s:o, s:o}", "type", "object", "additionalProperties", 0,
                     "required", required, "properties", properties);
}


static json_t *
aegis_plan_schema_param(const aegis_param_t *p)
{
    switch (p->type) {

    case AEGIS_PARAM_STRING:
        return aegis_plan_schema_text(p->least, p->most);

    case AEGIS_PARAM_WORD:
        return aegis_plan_schema_word(p->most);

    case AEGIS_PARAM_INT:
        return aegis_plan_schema_range("integer", p->least, p->most);

    case AEGIS_PARAM_NUMBER:
        return aegis_plan_schema_range("number", p->least, p->most);

    case AEGIS_PARAM_BOOL:
        return json_pack("{s:s}", "type", "boolean");

    case AEGIS_PARAM_ENUM:
        return aegis_plan_schema_values(p->values);

    case AEGIS_PARAM_STRINGS:
        return aegis_plan_schema_strings(p->least, p->most);

    case AEGIS_PARAM_LABELS:
        return json_pack("{s:s, s:I, s:o}", "type", "object", "maxProperties",
                         (json_int_t) p->most, "additionalProperties",
                         aegis_plan_schema_text(0, p->least));

    default:
        return json_pack("{s:s, s:I}", "type", "object", "maxProperties",
                         (json_int_t) p->most);
    }
}


/* A step of this action: what its params must be, and whether it needs any. */
static json_t *
aegis_plan_schema_action(aegis_action_id_t id)
{
    size_t                 i;
    json_t                *properties, *required, *type, *then;
    const aegis_param_t   *p;
    const aegis_action_t  *a;

    a = aegis_action(id);
    properties = json_object();
    required = json_array();

    for (i = 0; (p = aegis_action_param(i)) != NULL; i++) {
        if (p->action != id) {
            continue;
        }

        type = aegis_plan_schema_param(p);
        json_object_set_new(type, "description", json_string(p->sentence));
        json_object_set_new(properties, p->name, type);

        if (p->required) {
            json_array_append_new(required, json_string(p->name));
        }
    }

    then = json_pack("{s:s, s:{s:{s:s, s:b, s:O, s:o}}}",
        "description", a->sentence, "properties", "params", "type", "object",
        "additionalProperties", 0, "required", required, "properties", properties);

    if (json_array_size(required)) {
        json_object_set_new(then, "required", json_pack("[s]", "params"));
    }

    json_decref(required);

    return json_pack("{s:{s:{s:{s:s}}, s:[s]}, s:o}", "if", "properties", "action",
                     "const", a->name, "required", "action", "then", then);
}


json_t *
aegis_plan_schema(void)
{
    size_t                   i;
    json_t                  *schema, *defs, *all;
    const aegis_plan_row_t  *row;

    schema = json_pack("{s:s, s:s, s:s, s:s}",
        "$schema", "https://json-schema.org/draft/2020-12/schema",
        "$id", "urn:aegis:schema:plan",
        "title", "A plan of Aegis",
        "$comment", AEGIS_TABLE_GENERATED " The checker asks three things more than this: an "
            "integer is written as one (not 1.0), no number with a fraction or exponent "
            "is beyond 2^53, and nothing is nested more than 16 deep.");

    defs = aegis_plan_schema_object("plan");
    json_object_update(schema, defs);
    json_decref(defs);

    defs = json_object();

    for (i = 0; (row = aegis_plan_row(i)) != NULL; i++) {
        if (strcmp(row->object, "plan") != 0
            && json_object_get(defs, row->object) == NULL)
        {
            json_object_set_new(defs, row->object, aegis_plan_schema_object(row->object));
        }
    }

    json_object_set_new(defs, "check", aegis_plan_schema_checks());

    all = json_array();

    for (i = 0; i < AEGIS_N_ACTIONS; i++) {
        json_array_append_new(all, aegis_plan_schema_action(i));
    }

    json_object_set_new(json_object_get(defs, "step"), "allOf", all);
    json_object_set_new(schema, "$defs", defs);

    return schema;
}
