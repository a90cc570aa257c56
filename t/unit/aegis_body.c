/*
 * aegis_body.c: unit tests of bodies: what each schema takes, what it names
 * when it refuses, and what is bound.
 */
#include "aegis_unit.h"

#include "aegis_body.h"

#define CASE  "8e03978e-40d5-43dd-bc93-6894a57f9324"


static aegis_code_t
parse(aegis_schema_id_t schema, const char *text, json_t **body, aegis_error_t *err)
{
    char          *p, *copy;
    aegis_code_t   code;

    copy = strdup(text);
    for (p = copy; *p; p++) {
        *p = *p == '\'' ? '"' : *p;
    }

    code = aegis_body_parse(schema, aegis_view(copy), body, err);
    assert_int_equal(err->code, code);
    free(copy);

    return code;
}


static void
test_refused(void **state)
{
    size_t          i;
    json_t         *body;
    aegis_error_t   err = AEGIS_ERROR_INIT;

    static const struct {
        aegis_schema_id_t   schema;
        const char         *text;
        const char         *pointer;
    } cases[] = {
        { AEGIS_SCHEMA_create, "{}", "/title" },
        { AEGIS_SCHEMA_create, "{'title':''}", "/title" },
        { AEGIS_SCHEMA_create, "{'title':null}", "/title" },
        { AEGIS_SCHEMA_create, "{'title':['x']}", "/title" },
        { AEGIS_SCHEMA_create, "{'title':'a\\u0007b'}", "/title" },
        { AEGIS_SCHEMA_create, "{'title':'a\\u0085b'}", "/title" },
        { AEGIS_SCHEMA_create, "{'title':'x','color':1}", "/color" },
        { AEGIS_SCHEMA_create, "{'title':'x','a/b~':1}", "/a~1b~0" },
        { AEGIS_SCHEMA_create, "{'title':'x','':1}", "/" },
        { AEGIS_SCHEMA_create, "{'title':'x','Title':'y'}", "/Title" },
        { AEGIS_SCHEMA_create, "{'title':'x','kind':'outage'}", "/kind" },
        { AEGIS_SCHEMA_create, "{'title':'x','kind':1}", "/kind" },
        { AEGIS_SCHEMA_create, "{'title':'x','severity':'bad'}", "/severity" },
        { AEGIS_SCHEMA_create, "{'title':'x','mode':'AUTO'}", "/mode" },
        { AEGIS_SCHEMA_create, "{'title':'x','tags':'a'}", "/tags" },
        { AEGIS_SCHEMA_create, "{'title':'x','tags':['a','a']}", "/tags/1" },
        { AEGIS_SCHEMA_create, "{'title':'x','tags':['a','']}", "/tags/1" },
        { AEGIS_SCHEMA_create, "{'title':'x','tags':[1]}", "/tags/0" },
        { AEGIS_SCHEMA_create, "{'title':'x','tags':[null,null]}", "/tags/1" },
        { AEGIS_SCHEMA_create, "{'title':'x','labels':[]}", "/labels" },
        { AEGIS_SCHEMA_create, "{'title':'x','labels':{'a b':'c'}}", "/labels/a b" },
        { AEGIS_SCHEMA_create, "{'title':'x','labels':{'':'c'}}", "/labels/" },
        { AEGIS_SCHEMA_create, "{'title':'x','labels':{'a':1}}", "/labels/a" },
        { AEGIS_SCHEMA_create, "{'title':'x','labels':{'a':{'b':'c'}}}", "/labels/a" },
        { AEGIS_SCHEMA_create, "{'title':'x','actor':''}", "/actor" },
        { AEGIS_SCHEMA_create, "{'title':'x','reason':1}", "/reason" },
        { AEGIS_SCHEMA_create, "{'title':'x','correlation_id':''}", "/correlation_id" },
        { AEGIS_SCHEMA_transition, "{}", "/event" },
        { AEGIS_SCHEMA_transition, "{'event':'explode'}", "/event" },
        { AEGIS_SCHEMA_transition, "{'event':'resume','expected_version':0}",
          "/expected_version" },
        { AEGIS_SCHEMA_transition, "{'event':'resume','expected_version':'1'}",
          "/expected_version" },
        { AEGIS_SCHEMA_transition, "{'event':'resume','expected_version':1.5}",
          "/expected_version" },
        { AEGIS_SCHEMA_transition, "{'event':'resume','expected_version':2147483647}",
          "/expected_version" },
        { AEGIS_SCHEMA_transition, "{'event':'resume','meta':[]}", "/meta" },
        { AEGIS_SCHEMA_transition, "{'event':'resume','meta':{'plan_id':'x'}}",
          "/meta/plan_id" },
        { AEGIS_SCHEMA_transition, "{'event':'resume','meta':{'plan_id':null}}",
          "/meta/plan_id" },
        { AEGIS_SCHEMA_transition, "{'event':'resume','title':'x'}", "/title" },
        { AEGIS_SCHEMA_plan, "{'template':'incident'}", "/case_id" },
        { AEGIS_SCHEMA_plan, "{'case_id':'x'}", "/case_id" },
        { AEGIS_SCHEMA_plan, "{'case_id':'" CASE "','params':'x'}", "/params" },
        { AEGIS_SCHEMA_gate, "{'case_id':'" CASE "','plan_id':'x'}", "/plan_id" },
        { AEGIS_SCHEMA_exec, "{'case_id':7}", "/case_id" },
        { AEGIS_SCHEMA_verify, "{'case_id':'" CASE "','exec_id':'x'}", "/exec_id" }
    };

    for (i = 0; i < AEGIS_UNIT_N(cases); i++) {
        if (parse(cases[i].schema, cases[i].text, &body, &err) != AEGIS_E_SCHEMA
            || !aegis_unit_error_at(&err, cases[i].pointer))
        {
            fail_msg("no error at %s in %s", cases[i].pointer, cases[i].text);
        }
        aegis_error_clear(&err);
    }

    /* several faults are named at once */
    assert_int_equal(parse(AEGIS_SCHEMA_create, "{'kind':1,'mode':2,'x':3}", &body, &err),
                     AEGIS_E_SCHEMA);
    assert_int_equal(json_array_size(err.errors), 4);
    aegis_error_clear(&err);
}


static void
test_malformed(void **state)
{
    json_t         *body;
    aegis_error_t   err = AEGIS_ERROR_INIT;

    static const char *const  cases[] = {
        "", "null", "[]", "'x'", "{'title':'x'", "{'title':'x','title':'y'}",
        "{'event':'resume','event':'resume'}", "[{'title':'x'}]"
    };
    size_t  i;

    for (i = 0; i < AEGIS_UNIT_N(cases); i++) {
        assert_int_equal(parse(AEGIS_SCHEMA_create, cases[i], &body, &err),
                         AEGIS_E_MALFORMED_JSON);
        aegis_error_clear(&err);
    }
}


static void
test_limits(void **state)
{
    char           *text;
    json_t         *body, *value;
    size_t          n, i;
    aegis_error_t   err = AEGIS_ERROR_INIT;

    /* characters are counted, not bytes */
    for (n = 199; n <= 201; n++) {
        text = calloc(1, 1000);
        strcpy(text, "{'title':'");
        for (i = 0; i < n; i++) {
            strcat(text, "\xe4\xb8\xad");
        }
        strcat(text, "'}");

        assert_int_equal(parse(AEGIS_SCHEMA_create, text, &body, &err),
                         n <= 200 ? AEGIS_E_OK : AEGIS_E_SCHEMA);
        if (n <= 200) {
            json_decref(body);
        }
        aegis_error_clear(&err);
        free(text);
    }

    for (n = 31; n <= 33; n++) {
        body = json_pack("{s:s, s:[], s:{}}", "title", "x", "tags", "labels");
        for (i = 0; i < n; i++) {
            char  name[32];

            snprintf(name, sizeof(name), "n%zu", i);
            json_array_append_new(json_object_get(body, "tags"), json_string(name));
            json_object_set_new(json_object_get(body, "labels"), name, json_string(name));
        }
        text = json_dumps(body, 0);
        json_decref(body);

        assert_int_equal(aegis_body_parse(AEGIS_SCHEMA_create, aegis_view(text),
                         &body, &err), n <= 32 ? AEGIS_E_OK : AEGIS_E_SCHEMA);
        if (n <= 32) {
            json_decref(body);
        } else {
            assert_true(aegis_unit_error_at(&err, "/tags"));
            assert_true(aegis_unit_error_at(&err, "/labels"));
        }
        aegis_error_clear(&err);
        free(text);
    }

    for (n = 16384 - 1; n <= 16384 + 1; n++) {
        value = json_object();
        text = calloc(1, n);
        memset(text, 'x', n - strlen("{\"k\":\"\"}"));
        json_object_set_new(value, "k", json_string(text));
        free(text);

        body = json_pack("{s:s, s:o}", "event", "resume", "meta", value);
        text = json_dumps(body, 0);
        json_decref(body);

        assert_int_equal(aegis_body_parse(AEGIS_SCHEMA_transition, aegis_view(text),
                         &body, &err), n <= 16384 ? AEGIS_E_OK : AEGIS_E_SCHEMA);
        if (n <= 16384) {
            json_decref(body);
        }
        aegis_error_clear(&err);
        free(text);
    }
}


static int
is(aegis_str_t s, const char *text)
{
    return s.data && s.len == strlen(text) && memcmp(s.data, text, s.len) == 0;
}


static void
free_made(char *made[], size_t n)
{
    while (n) {
        free(made[--n]);
    }
}


static void
test_bind(void **state)
{
    char           *made[AEGIS_BODY_MAX_MADE];
    size_t          n;
    json_t         *body;
    aegis_item_t    item;
    aegis_error_t   err = AEGIS_ERROR_INIT;

    memset(&item, 0, sizeof(item));
    item.v[AEGIS_C_actor] = aegis_str("the principal");
    n = 0;
    assert_int_equal(parse(AEGIS_SCHEMA_create, "{'title':'x','kind':'change',"
        "'severity':'critical','mode':'manual','tags':['a','b'],'labels':{'k':'v'},"
        "'tenant':'t','actor':'me','reason':'r\\n','correlation_id':'c'}", &body, &err),
        AEGIS_E_OK);
    assert_int_equal(aegis_body_bind(AEGIS_SCHEMA_create, body, &item, made, &n, &err),
                     AEGIS_E_OK);
    assert_true(is(item.v[AEGIS_C_title], "x"));
    assert_true(is(item.v[AEGIS_C_kind], "change"));
    assert_true(is(item.v[AEGIS_C_severity], "critical"));
    assert_true(is(item.v[AEGIS_C_mode], "manual"));
    assert_true(is(item.v[AEGIS_C_tags], "[\"a\",\"b\"]"));
    assert_true(is(item.v[AEGIS_C_labels], "{\"k\":\"v\"}"));
    /* who acts is not the body's to say */
    assert_true(is(item.v[AEGIS_C_actor], "the principal"));
    assert_true(is(item.v[AEGIS_C_reason], "r\n"));
    assert_true(is(item.v[AEGIS_C_correlation_id], "c"));
    assert_null(item.v[AEGIS_C_tenant].data);
    assert_int_equal(n, 2);
    free_made(made, n);
    json_decref(body);

    memset(&item, 0, sizeof(item));
    item.v[AEGIS_C_actor] = aegis_str("the principal");
    n = 0;
    assert_int_equal(parse(AEGIS_SCHEMA_create, "{'title':'x'}", &body, &err), AEGIS_E_OK);
    assert_int_equal(aegis_body_bind(AEGIS_SCHEMA_create, body, &item, made, &n, &err),
                     AEGIS_E_OK);
    assert_true(is(item.v[AEGIS_C_kind], "incident"));
    assert_true(is(item.v[AEGIS_C_severity], "warning"));
    assert_true(is(item.v[AEGIS_C_mode], "auto"));
    assert_true(is(item.v[AEGIS_C_tags], "[]"));
    assert_true(is(item.v[AEGIS_C_labels], "{}"));
    assert_true(is(item.v[AEGIS_C_reason], ""));
    assert_true(is(item.v[AEGIS_C_correlation_id], ""));
    assert_true(is(item.v[AEGIS_C_actor], "the principal"));
    assert_int_equal(n, 0);
    json_decref(body);
}


static void
test_bind_others(void **state)
{
    char           *made[AEGIS_BODY_MAX_MADE];
    size_t          n;
    json_t         *body;
    aegis_item_t    item;
    aegis_error_t   err = AEGIS_ERROR_INIT;

    memset(&item, 0, sizeof(item));
    n = 0;
    assert_int_equal(parse(AEGIS_SCHEMA_transition, "{'event':'plan_ready',"
        "'expected_version':3,'meta':{'plan_id':'8E03978E-40D5-43DD-BC93-6894A57F9324',"
        "'x':[1,{'y':0.5}]}}", &body, &err), AEGIS_E_OK);
    assert_int_equal(aegis_body_bind(AEGIS_SCHEMA_transition, body, &item, made, &n,
                                     &err), AEGIS_E_OK);
    assert_true(is(item.v[AEGIS_C_event], "plan_ready"));
    assert_true(is(item.v[AEGIS_C_expected_version], "3"));
    assert_true(is(item.v[AEGIS_C_meta],
                   "{\"plan_id\":\"" CASE "\",\"x\":[1,{\"y\":0.5}]}"));
    free_made(made, n);
    json_decref(body);

    memset(&item, 0, sizeof(item));
    n = 0;
    assert_int_equal(parse(AEGIS_SCHEMA_transition, "{'event':'resume'}", &body, &err),
                     AEGIS_E_OK);
    assert_int_equal(aegis_body_bind(AEGIS_SCHEMA_transition, body, &item, made, &n,
                                     &err), AEGIS_E_OK);
    assert_true(is(item.v[AEGIS_C_meta], "{}"));
    assert_null(item.v[AEGIS_C_expected_version].data);
    assert_null(item.v[AEGIS_C_actor].data);
    json_decref(body);

    memset(&item, 0, sizeof(item));
    assert_int_equal(parse(AEGIS_SCHEMA_gate,
        "{'case_id':'8E03978E-40D5-43DD-BC93-6894A57F9324'}", &body, &err), AEGIS_E_OK);
    assert_int_equal(aegis_body_bind(AEGIS_SCHEMA_gate, body, &item, made, &n, &err),
                     AEGIS_E_OK);
    assert_true(is(item.v[AEGIS_C_case_id], CASE));
    assert_string_equal(aegis_json_str(body, "case_id"), CASE);
    assert_null(item.v[AEGIS_C_plan_id].data);
    json_decref(body);
}


static void
test_schema(void **state)
{
    unsigned   i;
    json_t    *schema, *property;

    for (i = AEGIS_SCHEMA_create; i < AEGIS_N_SCHEMAS; i++) {
        schema = aegis_body_schema(i);
        assert_non_null(schema);
        assert_true(json_is_false(json_object_get(schema, "additionalProperties")));
        assert_true(json_object_size(json_object_get(schema, "properties")) > 0);
        json_decref(schema);
    }

    schema = aegis_body_schema(AEGIS_SCHEMA_create);
    assert_int_equal(json_array_size(json_object_get(schema, "required")), 1);

    property = json_object_get(json_object_get(schema, "properties"), "title");
    assert_int_equal(json_integer_value(json_object_get(property, "maxLength")), 200);
    assert_int_equal(json_integer_value(json_object_get(property, "minLength")), 1);

    property = json_object_get(json_object_get(schema, "properties"), "kind");
    assert_int_equal(json_array_size(json_object_get(property, "enum")), 2);
    json_decref(schema);

    schema = aegis_body_schema(AEGIS_SCHEMA_transition);
    property = json_object_get(json_object_get(schema, "properties"), "event");
    assert_int_equal(json_array_size(json_object_get(property, "enum")), AEGIS_N_EVENTS);
    json_decref(schema);
}


int
main(void)
{
    const struct CMUnitTest  tests[] = {
        AEGIS_TEST("every field that does not fit is named by its pointer", test_refused),
        AEGIS_TEST("what is no JSON object is malformed, not a schema fault",
                   test_malformed),
        AEGIS_TEST("limits hold to the character, the item and the byte", test_limits),
        AEGIS_TEST("a body fills its columns, and absent fields their defaults",
                   test_bind),
        AEGIS_TEST("numbers, objects and ids are bound in one form", test_bind_others),
        AEGIS_TEST("every schema is described as JSON Schema", test_schema)
    };

    return AEGIS_UNIT_RUN(tests);
}
