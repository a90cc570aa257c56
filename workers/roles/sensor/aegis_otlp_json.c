/*
 * aegis_otlp_json.c: JSON as protobuf's messages, by their descriptors: names in
 * lowerCamelCase, 64-bit numbers as text or numbers, ids in hex, as OTLP has it.
 * Members that are not known are passed over, as OTLP asks.
 */
#include <ctype.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "aegis_json.h"
#include "aegis_otlp.h"

typedef struct {
    aegis_signals_t  *s;
    aegis_error_t    *err;
} aegis_otlp_json_t;

static ProtobufCMessage *aegis_otlp_object(aegis_otlp_json_t *j,
    const ProtobufCMessageDescriptor *type, const json_t *o);

static int
aegis_otlp_wrong(aegis_otlp_json_t *j, const ProtobufCFieldDescriptor *f, const char *what)
{
    (void) aegis_error_set(j->err, AEGIS_E_BAD_REQUEST, "%s %s", f->name, what);
    return 0;
}

static int
aegis_otlp_int(const json_t *v, int64_t *ret)
{
    char        *end;
    const char  *text;

    if (json_is_integer(v)) {
        *ret = json_integer_value(v);
        return 1;
    }
    if (json_is_real(v) && fabs(json_real_value(v)) < 9e15) {
        *ret = (int64_t) json_real_value(v);
        return 1;
    }

    text = json_string_value(v);
    if (text == NULL || text[0] == '\0' || isspace((unsigned char) text[0])) {
        return 0;
    }

    *ret = text[0] == '-' ? strtoll(text, &end, 10) : (int64_t) strtoull(text, &end, 10);
    return *end == '\0';
}

static int
aegis_otlp_double(const json_t *v, double *ret)
{
    char        *end;
    const char  *text;

    if (json_is_number(v)) {
        *ret = json_number_value(v);
        return 1;
    }

    text = json_string_value(v);
    if (text == NULL || text[0] == '\0') {
        return 0;
    }

    *ret = strtod(text, &end);
    return *end == '\0';
}

static int
aegis_otlp_hex(aegis_otlp_json_t *j, const json_t *v, ProtobufCBinaryData *ret)
{
    int          c, half;
    size_t       i, n;
    const char  *text;

    text = json_string_value(v);
    n = json_string_length(v);
    if (text == NULL || n % 2 || n > 64) {
        return 0;
    }

    ret->data = aegis_arena_alloc(j->s->arena, n / 2 + 1);
    if (ret->data == NULL) {
        return 0;
    }
    ret->len = n / 2;

    for (i = 0; i < n; i++) {
        c = tolower((unsigned char) text[i]);
        half = c >= '0' && c <= '9' ? c - '0' : c >= 'a' && c <= 'f' ? c - 'a' + 10 : -1;
        if (half < 0) {
            return 0;
        }
        ret->data[i / 2] = (uint8_t) (i % 2 ? ret->data[i / 2] | half : half << 4);
    }

    return 1;
}

/* One value into the place of a field, or of an element. */
static int
aegis_otlp_value(aegis_otlp_json_t *j, const ProtobufCFieldDescriptor *f, const json_t *v,
    void *at)
{
    double   d;
    int64_t  n;

    switch (f->type) {

    case PROTOBUF_C_TYPE_MESSAGE:
        if (!json_is_object(v)) {
            return aegis_otlp_wrong(j, f, "is no object");
        }
        *(ProtobufCMessage **) at = aegis_otlp_object(j, f->descriptor, v);
        return *(ProtobufCMessage **) at != NULL;

    case PROTOBUF_C_TYPE_STRING:
        if (!json_is_string(v)) {
            return aegis_otlp_wrong(j, f, "is no string");
        }
        *(char **) at = aegis_arena_copy(j->s->arena, json_string_value(v),
                                         json_string_length(v));
        return *(char **) at != NULL || aegis_otlp_wrong(j, f, "is too much");

    case PROTOBUF_C_TYPE_BYTES:
        if (strcmp(f->name + (strlen(f->name) > 3 ? strlen(f->name) - 3 : 0), "_id") == 0) {
            return aegis_otlp_hex(j, v, at) || aegis_otlp_wrong(j, f, "is not hex");
        }
        *(ProtobufCBinaryData *) at = (ProtobufCBinaryData) { 0, NULL };
        return 1;

    case PROTOBUF_C_TYPE_DOUBLE:
        if (!aegis_otlp_double(v, &d)) {
            return aegis_otlp_wrong(j, f, "is no number");
        }
        *(double *) at = d;
        return 1;

    case PROTOBUF_C_TYPE_BOOL:
        *(protobuf_c_boolean *) at = json_is_true(v);
        return json_is_boolean(v) || aegis_otlp_wrong(j, f, "is not true or false");

    case PROTOBUF_C_TYPE_INT64:
    case PROTOBUF_C_TYPE_UINT64:
    case PROTOBUF_C_TYPE_FIXED64:
    case PROTOBUF_C_TYPE_SFIXED64:
        if (!aegis_otlp_int(v, (int64_t *) at)) {
            return aegis_otlp_wrong(j, f, "is no number");
        }
        return 1;

    default:
        if (json_is_string(v)) {
            /* the name of an enum: only numbers are allowed, some send it anyway */
            *(int32_t *) at = strstr(json_string_value(v), "CUMULATIVE") != NULL ? 2
                : strstr(json_string_value(v), "SERVER") != NULL ? 2
                : strstr(json_string_value(v), "CLIENT") != NULL ? 3
                : strstr(json_string_value(v), "ERROR") != NULL ? 2 : 1;
            return 1;
        }
        if (!aegis_otlp_int(v, &n)) {
            return aegis_otlp_wrong(j, f, "is no number");
        }
        *(int32_t *) at = (int32_t) n;
        return 1;
    }
}

static size_t
aegis_otlp_size(const ProtobufCFieldDescriptor *f)
{
    switch (f->type) {
    case PROTOBUF_C_TYPE_BYTES:
        return sizeof(ProtobufCBinaryData);
    case PROTOBUF_C_TYPE_INT32:
    case PROTOBUF_C_TYPE_SINT32:
    case PROTOBUF_C_TYPE_UINT32:
    case PROTOBUF_C_TYPE_BOOL:
        return 4;
    default:
        return 8;
    }
}

static int
aegis_otlp_list(aegis_otlp_json_t *j, const ProtobufCFieldDescriptor *f, const json_t *v,
    char *m)
{
    char    *list;
    size_t   i, n, size;

    if (!json_is_array(v)) {
        return aegis_otlp_wrong(j, f, "is no list");
    }

    n = json_array_size(v);
    size = aegis_otlp_size(f);
    list = aegis_arena_alloc(j->s->arena, n * size + 8);
    if (list == NULL) {
        return aegis_otlp_wrong(j, f, "is too much");
    }

    for (i = 0; i < n; i++) {
        if (!aegis_otlp_value(j, f, json_array_get(v, i), list + i * size)) {
            return 0;
        }
    }

    *(size_t *) (void *) (m + f->quantifier_offset) = n;
    *(void **) (void *) (m + f->offset) = list;
    return 1;
}

static void
aegis_otlp_camel(const char *name, char *out, size_t size)
{
    size_t  n;

    for (n = 0; *name && n + 1 < size; name++) {
        if (*name == '_') {
            name++;
            out[n++] = (char) toupper((unsigned char) *name);
        } else {
            out[n++] = *name;
        }
    }
    out[n] = '\0';
}

static int
aegis_otlp_field(aegis_otlp_json_t *j, const ProtobufCFieldDescriptor *f, const json_t *o,
    char *m)
{
    char           camel[64];
    const json_t  *v;

    aegis_otlp_camel(f->name, camel, sizeof(camel));
    v = json_object_get(o, camel);
    v = v ? v : json_object_get(o, f->name);

    if (v == NULL || json_is_null(v)) {
        return 1;
    }
    if (f->label == PROTOBUF_C_LABEL_REPEATED) {
        return aegis_otlp_list(j, f, v, m);
    }
    if (!aegis_otlp_value(j, f, v, m + f->offset)) {
        return 0;
    }

    if (f->flags & PROTOBUF_C_FIELD_FLAG_ONEOF) {
        *(uint32_t *) (void *) (m + f->quantifier_offset) = f->id;
    } else if (f->quantifier_offset) {
        *(protobuf_c_boolean *) (void *) (m + f->quantifier_offset) = 1;
    }

    return 1;
}

static ProtobufCMessage *
aegis_otlp_object(aegis_otlp_json_t *j, const ProtobufCMessageDescriptor *type,
    const json_t *o)
{
    unsigned           i;
    ProtobufCMessage  *m;

    m = aegis_arena_alloc(j->s->arena, type->sizeof_message);
    if (m == NULL) {
        (void) aegis_error_set(j->err, AEGIS_E_TOO_LARGE, "the body is too large");
        return NULL;
    }
    protobuf_c_message_init(type, m);

    for (i = 0; i < type->n_fields; i++) {
        if (!aegis_otlp_field(j, &type->fields[i], o, (char *) m)) {
            return NULL;
        }
    }

    return m;
}

ProtobufCMessage *
aegis_otlp_unpack_json(const ProtobufCMessageDescriptor *type, aegis_signals_t *s,
    aegis_str_t body, aegis_error_t *err)
{
    json_t             *o;
    json_error_t        where;
    ProtobufCMessage   *m;
    aegis_otlp_json_t   j = { s, err };

    o = json_loadb(body.data, body.len, 0, &where);
    if (!json_is_object(o)) {
        json_decref(o);
        (void) aegis_error_set(err, AEGIS_E_MALFORMED_JSON, "the body is no JSON object: %s",
                               o ? "another value" : where.text);
        return NULL;
    }

    m = aegis_otlp_object(&j, type, o);
    json_decref(o);

    return m;
}
