/*
 * aegis_plan_schema.c: unit tests of plan.def as rows and of the schema that is
 * made from them. That the schema and the checker agree is t/05plans.t's.
 */
#include "aegis_unit.h"

#include "aegis_action.h"
#include "aegis_plan.h"
#include "aegis_plan_table.h"


static int
is_object(const char *name)
{
    size_t                   i;
    const aegis_plan_row_t  *row;

    for (i = 0; (row = aegis_plan_row(i)) != NULL; i++) {
        if (strcmp(row->object, name) == 0) {
            return 1;
        }
    }

    return 0;
}


static void
test_rows(void **state)
{
    size_t                   i, k, n;
    const aegis_plan_row_t  *row, *other;

    for (i = 0; (row = aegis_plan_row(i)) != NULL; i++) {
        assert_true(row->least <= row->most || row->type == AEGIS_PLAN_STRINGS);
        assert_true(row->sentence[0] != '\0');
        assert_int_equal(row->of[0] != '\0',
                         row->type == AEGIS_PLAN_ENUM || row->type == AEGIS_PLAN_OBJECT
                         || row->type == AEGIS_PLAN_LIST);

        if (row->type == AEGIS_PLAN_OBJECT || row->type == AEGIS_PLAN_LIST) {
            assert_true(is_object(row->of));
        }

        for (k = 0, n = 0; (other = aegis_plan_row(k)) != NULL; k++) {
            n += strcmp(row->object, other->object) == 0;
            assert_false(k > i && strcmp(row->object, other->object) == 0
                         && strcmp(row->name, other->name) == 0);
        }

        /* the checker lists an object's members in an array of 32 */
        assert_true(n < 32);
    }

    assert_true(strlen(aegis_plan_row(0)->name) > 0);
}


static void
test_values(void **state)
{
    char         buf[AEGIS_PLAN_VALUES_BUF];
    const char  *values[AEGIS_PLAN_MAX_VALUES];

    assert_int_equal(aegis_plan_values("<|<=", buf, values), 2);
    assert_string_equal(values[0], "<");
    assert_string_equal(values[1], "<=");
    assert_null(values[2]);

    assert_int_equal(aegis_plan_values("one", buf, values), 1);
    assert_string_equal(values[0], "one");
}


static void
test_schema(void **state)
{
    size_t   i, n;
    json_t  *schema, *defs, *all;

    schema = aegis_plan_schema();
    defs = json_object_get(schema, "$defs");

    assert_string_equal(aegis_json_str(schema, "$schema"),
                        "https://json-schema.org/draft/2020-12/schema");
    assert_true(json_is_false(json_object_get(schema, "additionalProperties")));
    assert_non_null(json_object_get(json_object_get(schema, "properties"), "rollback"));
    assert_non_null(json_object_get(defs, "metric"));
    assert_non_null(json_object_get(defs, "check"));

    /* each action is one of the conditions of a step */
    all = json_object_get(json_object_get(defs, "step"), "allOf");
    assert_int_equal(json_array_size(all), AEGIS_N_ACTIONS);

    for (i = 0, n = 0; i < AEGIS_N_ACTIONS; i++) {
        n += json_object_get(json_object_get(json_array_get(all, i), "then"), "required")
             != NULL;
    }

    assert_true(n > 0 && n < AEGIS_N_ACTIONS);

    json_decref(schema);
}


int
main(void)
{
    const struct CMUnitTest  tests[] = {
        AEGIS_TEST("the rows of plan.def fit each other", test_rows),
        AEGIS_TEST("values are split at bars", test_values),
        AEGIS_TEST("the schema has every object and every action", test_schema)
    };

    return AEGIS_UNIT_RUN(tests);
}
