/*
 * aegis_table.c: unit tests of the printed tables.
 */
#include "aegis_unit.h"

#include "aegis_event.h"
#include "aegis_fsm.h"
#include "aegis_table.h"

static const char *const  forms[] = {
    "sql", "mermaid", "markdown", "json", "errors", "routes", "subjects", "settings",
    "statements", "plan-schema", "openapi-plan"
};


static void
test_forms(void **state)
{
    char    *text, *again, *line;
    size_t   i;

    for (i = 0; i < AEGIS_UNIT_N(forms); i++) {
        text = aegis_fsm_dump(forms[i]);
        again = aegis_fsm_dump(forms[i]);

        assert_non_null(text);
        assert_string_equal(text, again);
        assert_int_equal(text[strlen(text) - 1], '\n');
        assert_null(strstr(text, " \n"));

        if (strcmp(forms[i], "openapi-plan") == 0) {
            /* a part of a file has no place for the line */
            free(text);
            free(again);
            continue;
        }

        /* the second line for JSON, which has no comments */
        line = strstr(text, AEGIS_TABLE_GENERATED);
        assert_non_null(line);
        assert_true(strchr(text, '\n') > line || strstr(forms[i], "json") != NULL
                    || strcmp(forms[i], "plan-schema") == 0);

        free(text);
        free(again);
    }

    assert_null(aegis_fsm_dump("yaml"));
    assert_null(aegis_fsm_dump(""));
}


static void
test_complete(void **state)
{
    char                      *sql, *page, row[256];
    size_t                     i, n;
    unsigned                   e;
    const aegis_subject_t     *s;
    const aegis_transition_t  *t;

    sql = aegis_fsm_dump("sql");
    page = aegis_fsm_dump("errors");
    t = aegis_fsm_table(&n);

    for (i = 0; i < n; i++) {
        snprintf(row, sizeof(row), "(%d, '%s', '%s', '%s', %u, '%s', '", t[i].rule,
                 aegis_state_name(t[i].from), aegis_event_name(t[i].event),
                 aegis_guard_name(t[i].guard), aegis_guard_needs(t[i].guard),
                 aegis_state_name(t[i].to));
        assert_non_null(strstr(sql, row));
    }

    for (e = AEGIS_E_OK + 1; e < AEGIS_N_ERRORS; e++) {
        snprintf(row, sizeof(row), "('%s', %d, '", aegis_error_def(e)->code,
                 aegis_error_def(e)->http);
        assert_non_null(strstr(sql, row));
        snprintf(row, sizeof(row), "| `%s` | %d | ", aegis_error_def(e)->code,
                 aegis_error_def(e)->http);
        assert_non_null(strstr(page, row));
    }

    s = aegis_subjects(&n);
    for (i = 0; i < n; i++) {
        snprintf(row, sizeof(row), "('%s', '", s[i].subject);
        assert_non_null(strstr(sql, row));
    }

    /* a quote in a sentence stays inside its literal */
    assert_non_null(strstr(sql, "gatekeeper''s"));
    free(sql);
    free(page);
}


static void
test_json(void **state)
{
    char    *text;
    size_t   n;
    json_t  *json;

    text = aegis_fsm_dump("json");
    json = json_loads(text, JSON_REJECT_DUPLICATES, NULL);
    assert_non_null(json);
    aegis_fsm_table(&n);
    assert_int_equal(json_array_size(json_object_get(json, "states")), AEGIS_N_STATES);
    assert_int_equal(json_array_size(json_object_get(json, "events")), AEGIS_N_EVENTS);
    assert_int_equal(json_array_size(json_object_get(json, "guards")), AEGIS_N_GUARDS);
    assert_int_equal(json_array_size(json_object_get(json, "transitions")), n);
    json_decref(json);
    free(text);
}


static void
test_cells(void **state)
{
    char         *text;
    aegis_buf_t   buf = AEGIS_BUF_INIT;

    aegis_table_row(&buf, (const char *[]) { "a|b", "", "c" }, 3);
    text = aegis_buf_take(&buf, NULL);
    assert_string_equal(text, "| a\\|b | | c |\n");
    free(text);
}


int
main(void)
{
    const struct CMUnitTest  tests[] = {
        AEGIS_TEST("every form is made, the same each time, and says it is generated",
                   test_forms),
        AEGIS_TEST("no row of the tables is left out", test_complete),
        AEGIS_TEST("the JSON form is JSON", test_json),
        AEGIS_TEST("a cell cannot end its column", test_cells)
    };

    return AEGIS_UNIT_RUN(tests);
}
