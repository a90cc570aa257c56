/*
 * body.c: fuzzes request bodies under each schema. What is taken obeys the limits
 * of fields.def in what it binds, is written out and taken again just alike; an
 * event that it names has an answer in every state.
 */
#include "aegis_fuzz_json.h"

#include "aegis_body.h"
#include "aegis_fsm.h"
#include "aegis_http.h"

typedef enum {
    TYPE_STRING, TYPE_TEXT, TYPE_ENUM_KIND, TYPE_ENUM_SEVERITY, TYPE_ENUM_MODE,
    TYPE_ENUM_EVENT, TYPE_ENUM_FORMAT, TYPE_INT, TYPE_BOOL, TYPE_UUID, TYPE_TIME, TYPE_TAGS, TYPE_LABELS,
    TYPE_OBJECT
} type_t;

#define AEGIS_C_none  AEGIS_N_COLUMNS

static const struct {
    aegis_schema_id_t   schema;
    const char         *name;
    type_t              type;
    int                 required;
    size_t              limit;
    aegis_column_t      column;
} fields[] = {
#define AEGIS_FIELD(schema, name, type, required, limit, column)               \
    { AEGIS_SCHEMA_##schema, #name, TYPE_##type, required, limit, AEGIS_C_##column },
#include "../../core/tables/fields.def"
#undef AEGIS_FIELD
};

#define N_FIELDS  (sizeof(fields) / sizeof(fields[0]))


static void
every_state(aegis_str_t name)
{
    unsigned           facts, state;
    aegis_decision_t   d;
    aegis_event_id_t   event;

    event = aegis_event_by_name(name);
    aegis_fuzz_must(event < AEGIS_N_EVENTS);

    for (state = 0; state < AEGIS_N_STATES; state++) {
        for (facts = 0; facts < 512; facts = facts * 2 + 1) {
            d = aegis_fsm_decide(state, event, facts);
            aegis_fuzz_must(d.code == AEGIS_E_OK || d.code == AEGIS_E_ILLEGAL
                            || d.code == AEGIS_E_GUARD);
            aegis_fuzz_must(d.code == AEGIS_E_ILLEGAL
                            || (d.to < AEGIS_N_STATES && aegis_fsm_rule(d.rule)));
            aegis_fuzz_must((d.code == AEGIS_E_GUARD) == (d.code != AEGIS_E_ILLEGAL
                                                          && d.missing != 0));
        }
    }
}


static void
json_value(aegis_str_t v)
{
    json_t  *json;

    aegis_fuzz_must(aegis_json_parse(v, &json, NULL) == AEGIS_E_OK);
    json_decref(json);
}


/* What stands in a field's column, absent or not. */
static void
obeys(size_t i, aegis_str_t v, int there)
{
    aegis_fuzz_must(aegis_fuzz_utf8(v) && (v.len == 0 || !memchr(v.data, '\0', v.len)));
    aegis_fuzz_must(v.data != NULL || (!there && !fields[i].required));

    switch (fields[i].type) {

    case TYPE_STRING:
    case TYPE_TEXT:
        aegis_fuzz_must(!aegis_utf8_has_control(v.data, v.len));
        aegis_fuzz_must(aegis_utf8_count(v.data, v.len) <= fields[i].limit);
        aegis_fuzz_must(!there || fields[i].type == TYPE_TEXT || v.len > 0);
        break;

    case TYPE_INT:
        if (there) {
            aegis_fuzz_must(v.len >= 1 && v.len <= 10 && v.data[0] != '0');
            aegis_fuzz_must((size_t) strtoll(v.data, NULL, 10) <= fields[i].limit);
        }
        break;

    case TYPE_UUID:
        aegis_fuzz_must(!there || aegis_uuid_valid(v));
        aegis_fuzz_must(v.len == 0 || strcspn(v.data, "ABCDEF") == v.len);
        break;

    case TYPE_OBJECT:
        aegis_fuzz_must(v.data == NULL || v.len <= fields[i].limit);
        /* fall through */

    case TYPE_TAGS:
    case TYPE_LABELS:
        if (v.data) {
            json_value(v);
        }
        break;

    case TYPE_ENUM_EVENT:
        every_state(v);
        break;

    case TYPE_ENUM_FORMAT:
    case TYPE_TIME:
        /* absent stays absent: the reader has a default of its own */
        aegis_fuzz_must(!there || v.len > 0);
        break;

    default:
        aegis_fuzz_must(v.len > 0);
        break;
    }
}


static void
bound(aegis_schema_id_t schema, const json_t *body)
{
    char           *made[AEGIS_BODY_MAX_MADE];
    size_t          i, n;
    aegis_item_t    item;
    aegis_error_t   err = AEGIS_ERROR_INIT;

    memset(&item, 0, sizeof(item));
    n = 0;

    aegis_fuzz_must(aegis_body_bind(schema, body, &item, made, &n, &err) == AEGIS_E_OK);
    aegis_fuzz_must(n <= AEGIS_BODY_MAX_MADE);

    for (i = 0; i < N_FIELDS; i++) {
        if (fields[i].schema == schema && fields[i].column != AEGIS_N_COLUMNS) {
            obeys(i, item.v[fields[i].column],
                  json_object_get(body, fields[i].name) != NULL);
        }
    }

    while (n) {
        free(made[--n]);
    }
}


int
LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    int             bad;
    char           *text, *twice;
    json_t         *body, *again;
    unsigned        schema;
    aegis_str_t     in = { size, (const char *) data };
    aegis_code_t    code;
    aegis_error_t   err = AEGIS_ERROR_INIT;

    bad = 0;

    for (schema = AEGIS_SCHEMA_create; schema < AEGIS_N_SCHEMAS && !bad; schema++) {
        code = aegis_body_parse(schema, in, &body, &err);

        if (code != AEGIS_E_OK) {
            /* what is no JSON is none for all of them */
            bad = code == AEGIS_E_MALFORMED_JSON;
            aegis_fuzz_must(bad ? schema == AEGIS_SCHEMA_create : code == AEGIS_E_SCHEMA);
            aegis_fuzz_refused(&err, code);
            continue;
        }

        bound(schema, body);

        text = aegis_json_text(body);
        aegis_fuzz_must(aegis_body_parse(schema, aegis_view(text),
                                         &again, &err) == AEGIS_E_OK);
        twice = aegis_json_text(again);
        aegis_fuzz_must(strcmp(text, twice) == 0);

        free(text);
        free(twice);
        json_decref(again);
        json_decref(body);
    }

    return 0;
}
