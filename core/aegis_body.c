/*
 * aegis_body.c: fields.def walked three ways: to check a body, to bind it to
 * an item's columns, and to describe it as JSON Schema. Its invariant: what
 * aegis_body_parse() lets through, SQL can cast to each column's type.
 */
#include "aegis_body.h"

#include <stdlib.h>
#include <string.h>

#include "aegis_check.h"
#include "aegis_http.h"
#include "aegis_yaml.h"

#define AEGIS_BODY_TAG_MAX    64
#define AEGIS_BODY_LABEL_MAX  512
#define AEGIS_BODY_KEY_MAX    63

typedef enum {
    AEGIS_TYPE_STRING, AEGIS_TYPE_TEXT, AEGIS_TYPE_ENUM_KIND,
    AEGIS_TYPE_ENUM_SEVERITY, AEGIS_TYPE_ENUM_MODE, AEGIS_TYPE_ENUM_EVENT,
    AEGIS_TYPE_ENUM_FORMAT,
    AEGIS_TYPE_INT, AEGIS_TYPE_BOOL, AEGIS_TYPE_UUID, AEGIS_TYPE_TIME, AEGIS_TYPE_TAGS,
    AEGIS_TYPE_LABELS,
    AEGIS_TYPE_OBJECT
} aegis_body_type_t;

typedef struct {
    aegis_schema_id_t   schema;
    const char         *name;
    aegis_body_type_t   type;
    int                 required;
    size_t              limit;
    aegis_column_t      column;     /* AEGIS_N_COLUMNS: none */
} aegis_body_field_t;

#define AEGIS_C_none  AEGIS_N_COLUMNS

static const aegis_body_field_t  aegis_body_fields[] = {
#define AEGIS_FIELD(schema, name, type, required, limit, column)               \
    { AEGIS_SCHEMA_##schema, #name, AEGIS_TYPE_##type, required, limit,        \
      AEGIS_C_##column },
#include "tables/fields.def"
#undef AEGIS_FIELD
};

#define AEGIS_BODY_N_FIELDS                                                    \
    (sizeof(aegis_body_fields) / sizeof(aegis_body_fields[0]))

static const char *const  aegis_body_kinds[] = { "incident", "change", NULL };
static const char *const  aegis_body_severities[] =
    { "info", "warning", "error", "critical", NULL };
static const char *const  aegis_body_modes[] = { "auto", "manual", NULL };
static const char *const  aegis_body_formats[] = { "markdown", "html", "text", "json", NULL };
static const char *const  aegis_body_events[] = {
#define AEGIS_EVENT(name, scope, sentence)  #name,
#include "tables/events.def"
#undef AEGIS_EVENT
    NULL
};


static const char *const *
aegis_body_values(aegis_body_type_t type)
{
    switch (type) {
    case AEGIS_TYPE_ENUM_KIND:
        return aegis_body_kinds;
    case AEGIS_TYPE_ENUM_SEVERITY:
        return aegis_body_severities;
    case AEGIS_TYPE_ENUM_MODE:
        return aegis_body_modes;
    case AEGIS_TYPE_ENUM_EVENT:
        return aegis_body_events;
    case AEGIS_TYPE_ENUM_FORMAT:
        return aegis_body_formats;
    default:
        return NULL;
    }
}


static const aegis_body_field_t *
aegis_body_field(aegis_schema_id_t schema, const char *name)
{
    size_t  i;

    for (i = 0; i < AEGIS_BODY_N_FIELDS; i++) {
        if (aegis_body_fields[i].schema == schema
            && strcmp(aegis_body_fields[i].name, name) == 0)
        {
            return &aegis_body_fields[i];
        }
    }

    return NULL;
}


static void
aegis_body_check_tags(const json_t *value, size_t limit, const char *pointer,
    aegis_error_t *err)
{
    char      at[AEGIS_CHECK_POINTER];
    size_t    i, k, n;
    json_t   *tag;

    if (!json_is_array(value)) {
        aegis_error_at(err, pointer, "must be an array of strings");
        return;
    }

    n = json_array_size(value);

    if (n > limit) {
        aegis_error_at(err, pointer, "must have at most %zu items", limit);
        return;
    }

    for (i = 0; i < n; i++) {
        tag = json_array_get(value, i);

        aegis_error_index(at, sizeof(at), pointer, i);
        aegis_check_string(tag, 1, AEGIS_BODY_TAG_MAX, at, err);

        for (k = 0; k < i; k++) {
            if (json_is_string(tag) && json_equal(tag, json_array_get(value, k))) {
                aegis_error_at(err, at, "is there twice");
                break;
            }
        }
    }
}


static int
aegis_body_is_key(const char *s)
{
    size_t  n;

    n = strlen(s);

    return n >= 1 && n <= AEGIS_BODY_KEY_MAX
           && strspn(s, "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz"
                        "0123456789_.-") == n;
}


static void
aegis_body_check_labels(json_t *value, size_t limit, const char *pointer,
    aegis_error_t *err)
{
    char         at[AEGIS_CHECK_POINTER];
    json_t      *label;
    const char  *name;

    if (!json_is_object(value)) {
        aegis_error_at(err, pointer, "must be an object of strings");
        return;
    }

    if (json_object_size(value) > limit) {
        aegis_error_at(err, pointer, "must have at most %zu members", limit);
        return;
    }

    json_object_foreach(value, name, label) {
        aegis_error_pointer(at, sizeof(at), pointer, name);

        if (!aegis_body_is_key(name)) {
            aegis_error_at(err, at, "its name must be 1 to %d of A-Z a-z 0-9 _ . -",
                           AEGIS_BODY_KEY_MAX);
        }

        aegis_check_string(label, 0, AEGIS_BODY_LABEL_MAX, at, err);
    }
}


static void
aegis_body_check_object(const json_t *value, size_t limit, const char *pointer,
    aegis_error_t *err)
{
    char    *text;
    size_t   len;

    if (!json_is_object(value)) {
        aegis_error_at(err, pointer, "must be an object");
        return;
    }

    text = aegis_json_text(value);
    len = text ? strlen(text) : limit + 1;
    free(text);

    if (len > limit) {
        aegis_error_at(err, pointer, "must have at most %zu bytes", limit);
    }
}


static void
aegis_body_check_field(const aegis_body_field_t *field, json_t *value,
    aegis_error_t *err)
{
    char  pointer[AEGIS_CHECK_POINTER];

    aegis_error_pointer(pointer, sizeof(pointer), "", field->name);

    switch (field->type) {

    case AEGIS_TYPE_STRING:
    case AEGIS_TYPE_TEXT:
        aegis_check_string(value, field->type == AEGIS_TYPE_STRING,
                                field->limit, pointer, err);
        break;

    case AEGIS_TYPE_INT:
        aegis_check_int(value, 1, (json_int_t) field->limit, pointer, err);
        break;

    case AEGIS_TYPE_BOOL:
        aegis_check_bool(value, pointer, err);
        break;

    case AEGIS_TYPE_UUID:
        if (!aegis_uuid_valid((aegis_str_t) { json_string_length(value),
                                              json_string_value(value) }))
        {
            aegis_error_at(err, pointer, "must be a uuid");
        }
        break;

    case AEGIS_TYPE_TIME:
        aegis_check_time(value, pointer, err);
        break;

    case AEGIS_TYPE_TAGS:
        aegis_body_check_tags(value, field->limit, pointer, err);
        break;

    case AEGIS_TYPE_LABELS:
        aegis_body_check_labels(value, field->limit, pointer, err);
        break;

    case AEGIS_TYPE_OBJECT:
        aegis_body_check_object(value, field->limit, pointer, err);
        break;

    default:
        aegis_check_enum(value, aegis_body_values(field->type), pointer, err);
        break;
    }
}


/* Give ids their one form, in place: SQL and messages compare them as text. */
static int
aegis_body_lower(json_t *value)
{
    char         id[AEGIS_UUID_LEN + 1];
    size_t       i;
    const char  *s;

    s = json_string_value(value);

    if (s == NULL) {
        return 1;
    }

    for (i = 0; i < AEGIS_UUID_LEN; i++) {
        id[i] = s[i] >= 'A' && s[i] <= 'F' ? (char) (s[i] | 0x20) : s[i];
    }
    id[i] = '\0';

    return json_string_set(value, id) == 0;
}


static int
aegis_body_normalize(aegis_schema_id_t schema, json_t *body)
{
    int     ok;
    size_t  i;

    ok = aegis_body_lower(json_object_get(json_object_get(body, "meta"), "plan_id"));

    for (i = 0; i < AEGIS_BODY_N_FIELDS; i++) {
        if (aegis_body_fields[i].schema == schema
            && aegis_body_fields[i].type == AEGIS_TYPE_UUID)
        {
            ok &= aegis_body_lower(json_object_get(body, aegis_body_fields[i].name));
        }
    }

    return ok;
}


static void
aegis_body_check(aegis_schema_id_t schema, json_t *body, aegis_error_t *err)
{
    char                       pointer[AEGIS_CHECK_POINTER];
    size_t                     i;
    json_t                    *value;
    const char                *name;
    const aegis_body_field_t  *field;

    for (i = 0; i < AEGIS_BODY_N_FIELDS; i++) {
        field = &aegis_body_fields[i];

        if (field->schema == schema && field->required
            && json_object_get(body, field->name) == NULL)
        {
            aegis_error_pointer(pointer, sizeof(pointer), "", field->name);
            aegis_error_at(err, pointer, "is required");
        }
    }

    json_object_foreach(body, name, value) {
        field = aegis_body_field(schema, name);

        if (field) {
            aegis_body_check_field(field, value, err);
            continue;
        }

        aegis_error_pointer(pointer, sizeof(pointer), "", name);
        aegis_error_at(err, pointer, "is not a field of this body");
    }

    if (schema == AEGIS_SCHEMA_document
        && (json_object_get(body, "body") != NULL) == (json_object_get(body, "url") != NULL))
    {
        aegis_error_at(err, "/body", "either body or url is required");
    }

    /* SQL compares it with a uuid */
    value = json_object_get(json_object_get(body, "meta"), "plan_id");

    if (value && !aegis_uuid_valid((aegis_str_t) { json_string_length(value),
                                                   json_string_value(value) }))
    {
        aegis_error_at(err, "/meta/plan_id", "must be a uuid");
    }

    aegis_check_span(body, "t_from", "t_to", err);
}


/* Steals body, whatever text it came from. */
static aegis_code_t
aegis_body_take(aegis_schema_id_t schema, json_t *body, aegis_code_t malformed,
    json_t **ret_body, aegis_error_t *err)
{
    aegis_code_t   code;
    aegis_error_t  found = AEGIS_ERROR_INIT;

    if (!json_is_object(body)) {
        json_decref(body);
        return aegis_error_set(err, malformed, "The body is not an object.");
    }

    aegis_body_check(schema, body, &found);

    code = aegis_error_move(err, &found);
    if (code != AEGIS_E_OK) {
        json_decref(body);
        return code;
    }

    if (!aegis_body_normalize(schema, body)) {
        json_decref(body);
        return aegis_error_set(err, AEGIS_E_INTERNAL, "no memory");
    }

    *ret_body = body;

    return AEGIS_E_OK;
}


aegis_code_t
aegis_body_parse(aegis_schema_id_t schema, aegis_str_t text, json_t **ret_body,
    aegis_error_t *err)
{
    json_t        *body;
    aegis_code_t   code;

    code = aegis_json_parse(text, &body, err);

    return code == AEGIS_E_OK
           ? aegis_body_take(schema, body, AEGIS_E_MALFORMED_JSON, ret_body, err) : code;
}


size_t
aegis_body_yaml_max(aegis_schema_id_t schema)
{
    switch (schema) {

#define AEGIS_MEDIA_YAML(schema, most)                                         \
    case AEGIS_SCHEMA_##schema:                                                \
        return most;
#include "tables/media.def"
#undef AEGIS_MEDIA_YAML

    default:
        return 0;
    }
}


aegis_code_t
aegis_body_parse_yaml(aegis_schema_id_t schema, aegis_str_t text, json_t **ret_body,
    aegis_error_t *err)
{
    json_t        *body;
    aegis_code_t   code;

    if (text.len > aegis_body_yaml_max(schema)) {
        return aegis_error_set(err, AEGIS_E_TOO_LARGE,
                               "YAML may have %zu bytes here.", aegis_body_yaml_max(schema));
    }

    code = aegis_yaml_to_json(text, &body, err);

    return code == AEGIS_E_OK
           ? aegis_body_take(schema, body, AEGIS_E_MALFORMED_YAML, ret_body, err) : code;
}


/* What an absent field stands for; AEGIS_NO_STR: the column stays. */
static aegis_str_t
aegis_body_default(const aegis_body_field_t *field)
{
    switch (field->type) {
    case AEGIS_TYPE_ENUM_KIND:
        return aegis_str("incident");
    case AEGIS_TYPE_ENUM_SEVERITY:
        return aegis_str("warning");
    case AEGIS_TYPE_ENUM_MODE:
        return aegis_str("auto");
    case AEGIS_TYPE_TAGS:
        return aegis_str("[]");
    case AEGIS_TYPE_BOOL:
        return aegis_str("false");
    case AEGIS_TYPE_LABELS:
    case AEGIS_TYPE_OBJECT:
        return aegis_str("{}");
    default:
        return field->column == AEGIS_C_reason
               || field->column == AEGIS_C_correlation_id
               ? aegis_str("") : AEGIS_NO_STR;
    }
}


aegis_code_t
aegis_body_bind(aegis_schema_id_t schema, const json_t *body, aegis_item_t *item,
    char *made[AEGIS_BODY_MAX_MADE], size_t *n_made, aegis_error_t *err)
{
    char                      *text;
    size_t                     i;
    json_t                    *value;
    aegis_str_t               *v, fallback;
    const aegis_body_field_t  *field;

    for (i = 0; i < AEGIS_BODY_N_FIELDS; i++) {
        field = &aegis_body_fields[i];

        if (field->schema != schema || field->column == AEGIS_N_COLUMNS) {
            continue;
        }

        v = &item->v[field->column];
        value = json_object_get(body, field->name);

        if (value == NULL) {
            fallback = aegis_body_default(field);
            if (fallback.data) {
                *v = fallback;
            }
            continue;
        }

        if (json_is_string(value)) {
            *v = (aegis_str_t) { json_string_length(value), json_string_value(value) };
            continue;
        }

        if (*n_made == AEGIS_BODY_MAX_MADE) {
            return aegis_error_set(err, AEGIS_E_INTERNAL,
                                   "a schema binds more than %d made values",
                                   AEGIS_BODY_MAX_MADE);
        }

        text = aegis_json_text(value);
        if (text == NULL) {
            return aegis_error_set(err, AEGIS_E_INTERNAL, "no memory");
        }

        made[(*n_made)++] = text;
        *v = aegis_view(text);
    }

    return AEGIS_E_OK;
}


static json_t *
aegis_body_enum_schema(const char *const *values)
{
    json_t  *list;

    list = json_array();

    for ( ; list && *values; values++) {
        json_array_append_new(list, json_string(*values));
    }

    return json_pack("{s:s, s:o}", "type", "string", "enum", list);
}


static json_t *
aegis_body_field_schema(const aegis_body_field_t *field)
{
    json_int_t  limit = (json_int_t) field->limit;

    switch (field->type) {

    case AEGIS_TYPE_STRING:
    case AEGIS_TYPE_TEXT:
        return json_pack("{s:s, s:i, s:I}", "type", "string", "minLength",
                         field->type == AEGIS_TYPE_STRING, "maxLength", limit);

    case AEGIS_TYPE_INT:
        return json_pack("{s:s, s:i, s:I}", "type", "integer", "minimum", 1,
                         "maximum", limit);

    case AEGIS_TYPE_BOOL:
        return json_pack("{s:s}", "type", "boolean");

    case AEGIS_TYPE_UUID:
        return json_pack("{s:s, s:s}", "type", "string", "format", "uuid");

    case AEGIS_TYPE_TIME:
        return json_pack("{s:s, s:s}", "type", "string", "format", "date-time");

    case AEGIS_TYPE_TAGS:
        return json_pack("{s:s, s:I, s:b, s:{s:s, s:i, s:i}}", "type", "array",
                         "maxItems", limit, "uniqueItems", 1, "items",
                         "type", "string", "minLength", 1, "maxLength",
                         AEGIS_BODY_TAG_MAX);

    case AEGIS_TYPE_LABELS:
        return json_pack("{s:s, s:I, s:{s:s}, s:{s:s, s:i}}", "type", "object",
                         "maxProperties", limit, "propertyNames",
                         "pattern", "^[A-Za-z0-9_.-]{1,63}$",
                         "additionalProperties", "type", "string", "maxLength",
                         AEGIS_BODY_LABEL_MAX);

    case AEGIS_TYPE_OBJECT:
        return json_pack("{s:s}", "type", "object");

    default:
        return aegis_body_enum_schema(aegis_body_values(field->type));
    }
}


json_t *
aegis_body_schema(aegis_schema_id_t schema)
{
    size_t                     i;
    json_t                    *properties, *required;
    const aegis_body_field_t  *field;

    properties = json_object();
    required = json_array();

    for (i = 0; i < AEGIS_BODY_N_FIELDS; i++) {
        field = &aegis_body_fields[i];

        if (field->schema != schema) {
            continue;
        }

        json_object_set_new(properties, field->name, aegis_body_field_schema(field));

        if (field->required) {
            json_array_append_new(required, json_string(field->name));
        }
    }

    return json_pack("{s:s, s:b, s:o, s:o}", "type", "object",
                     "additionalProperties", 0, "required", required,
                     "properties", properties);
}
