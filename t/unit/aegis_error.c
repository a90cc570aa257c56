/*
 * aegis_error.c: unit tests of refusals and problem documents.
 */
#include "aegis_unit.h"

#include "aegis_error.h"


static json_t *
problem(const aegis_error_t *err, const char *request_id)
{
    char    *text;
    json_t  *json;

    text = aegis_error_problem(err, aegis_view(request_id));
    assert_non_null(text);
    json = json_loads(text, JSON_REJECT_DUPLICATES, NULL);
    assert_non_null(json);
    free(text);

    return json;
}


static void
test_table(void **state)
{
    unsigned                  i;
    const aegis_error_def_t  *def;

    for (i = 0; i < AEGIS_N_ERRORS; i++) {
        def = aegis_error_def(i);
        assert_int_equal(def->id, i);
        assert_ptr_equal(aegis_error_by_code(def->code), def);
    }

    assert_int_equal(AEGIS_E_OK, 0);
    assert_int_equal(aegis_error_by_code("no such code")->id, AEGIS_E_INTERNAL);
    assert_int_equal(aegis_error_def(AEGIS_N_ERRORS)->id, AEGIS_E_INTERNAL);
    assert_int_equal(aegis_error_def((aegis_code_t) -1)->id, AEGIS_E_INTERNAL);
    assert_int_equal(aegis_error_def(AEGIS_E_STALE)->verdict, AEGIS_VERDICT_DONE);
    assert_int_equal(aegis_error_def(AEGIS_E_UNAVAILABLE)->verdict, AEGIS_VERDICT_RETRY);
    assert_int_equal(aegis_error_def(AEGIS_E_ENVELOPE)->verdict, AEGIS_VERDICT_DEAD);
}


static void
test_problem(void **state)
{
    char           *text;
    json_t         *p;
    aegis_error_t   err = AEGIS_ERROR_INIT;

    aegis_error_set(&err, AEGIS_E_ILLEGAL, "The event %s is not legal.", "resume");
    err.ext = aegis_unit_json("{'current_version': 3}");
    p = problem(&err, "req-1");

    assert_string_equal(aegis_json_str(p, "type"),
                        "urn:aegis:problem:illegal-transition");
    assert_string_equal(aegis_json_str(p, "instance"), "urn:aegis:request:req-1");
    assert_string_equal(aegis_json_str(p, "detail"), "The event resume is not legal.");
    assert_int_equal(json_integer_value(json_object_get(p, "status")), 409);
    assert_int_equal(json_integer_value(json_object_get(p, "current_version")), 3);
    json_decref(p);

    text = aegis_error_problem(&err, aegis_str(""));
    assert_string_equal(text,
        "{\"type\":\"urn:aegis:problem:illegal-transition\","
        "\"title\":\"The event is not legal in this state\",\"status\":409,"
        "\"detail\":\"The event resume is not legal.\","
        "\"instance\":\"urn:aegis:request:\",\"current_version\":3}");
    free(text);
    aegis_error_clear(&err);
    assert_int_equal(err.code, AEGIS_E_OK);

    /* without a detail the remedy is said */
    err.code = AEGIS_E_NOT_FOUND;
    p = problem(&err, "x\"\\\n\xff");
    assert_string_equal(aegis_json_str(p, "detail"),
                        aegis_error_def(AEGIS_E_NOT_FOUND)->remedy);
    assert_string_equal(aegis_json_str(p, "instance"),
                        "urn:aegis:request:x\"\\\n\xef\xbf\xbd");
    json_decref(p);
}


static void
test_cut(void **state)
{
    size_t          pad;
    char            text[400];
    json_t         *p;
    aegis_error_t   err = AEGIS_ERROR_INIT;

    for (pad = 240; pad < 260; pad++) {
        memset(text, 'x', pad);
        strcpy(text + pad, "\xe4\xb8\xad\xe4\xb8\xad\xe4\xb8\xad\xe4\xb8\xad\xe4\xb8\xad");

        assert_int_equal(aegis_error_set(&err, AEGIS_E_BUSY, "%s", text), AEGIS_E_BUSY);
        assert_true(strlen(err.detail) <= 255);
        assert_true(strlen(err.detail) >= 250);

        p = problem(&err, "r");
        assert_string_equal(aegis_json_str(p, "detail"), err.detail);
        json_decref(p);
    }
}


static void
test_pointers(void **state)
{
    int             i;
    char            at[256], small[16];
    json_t         *p;
    aegis_error_t   err = AEGIS_ERROR_INIT;

    for (i = 0; i < 100; i++) {
        aegis_error_index(at, sizeof(at), "/tags", (size_t) i);
        aegis_error_at(&err, at, "is wrong in way %d", i);
    }

    assert_int_equal(err.code, AEGIS_E_SCHEMA);
    assert_int_equal(json_array_size(err.errors), 32);
    assert_true(aegis_unit_error_at(&err, "/tags/31"));
    assert_false(aegis_unit_error_at(&err, "/tags/32"));

    p = problem(&err, "");
    assert_int_equal(json_array_size(json_object_get(p, "errors")), 32);
    json_decref(p);
    aegis_error_clear(&err);

    aegis_error_pointer(at, sizeof(at), "/a", "b/c~d");
    assert_string_equal(at, "/a/b~1c~0d");
    aegis_error_pointer(at, sizeof(at), "", "");
    assert_string_equal(at, "/");
    aegis_error_pointer(small, sizeof(small), "/abcdefghij", "\xe4\xb8\xad\xe4\xb8\xad");
    assert_string_equal(small, "/abcdefghij/\xe4\xb8\xad");
    aegis_error_pointer(small, sizeof(small), "/abcdefghijklmnopqrst", "x");
    assert_true(strlen(small) < sizeof(small));
    aegis_error_pointer(small, sizeof(small), "/abcdefghijkl", "~~~~");
    assert_string_equal(small, "/abcdefghijkl/");
}


static void
test_move(void **state)
{
    aegis_error_t  err = AEGIS_ERROR_INIT, found = AEGIS_ERROR_INIT;

    aegis_error_set(&err, AEGIS_E_BUSY, "old");
    assert_int_equal(aegis_error_move(&err, &found), AEGIS_E_OK);
    assert_int_equal(err.code, AEGIS_E_BUSY);

    aegis_error_at(&found, "/x", "is wrong");
    assert_int_equal(aegis_error_move(&err, &found), AEGIS_E_SCHEMA);
    assert_int_equal(err.code, AEGIS_E_SCHEMA);
    assert_string_equal(err.detail, "");
    assert_null(found.errors);

    aegis_error_at(&found, "/y", "is wrong");
    assert_int_equal(aegis_error_move(NULL, &found), AEGIS_E_SCHEMA);
    assert_null(found.errors);
    assert_int_equal(aegis_error_set(NULL, AEGIS_E_BUSY, "x"), AEGIS_E_BUSY);
    aegis_error_at(NULL, "/x", "x");
    aegis_error_clear(&err);
}


int
main(void)
{
    const struct CMUnitTest  tests[] = {
        AEGIS_TEST("every code finds its row and unknown ones are internal", test_table),
        AEGIS_TEST("a problem document has the members of RFC 9457 in order",
                   test_problem),
        AEGIS_TEST("a long detail is cut between characters", test_cut),
        AEGIS_TEST("pointers are escaped and at most 32 are kept", test_pointers),
        AEGIS_TEST("an error moves whole or not at all", test_move)
    };

    return AEGIS_UNIT_RUN(tests);
}
