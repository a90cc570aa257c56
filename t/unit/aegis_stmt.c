/*
 * aegis_stmt.c: unit tests of statements' SQL text and of binary text[].
 */
#include "aegis_unit.h"

#include "aegis_stmt.h"


static void
test_sql(void **state)
{
    int                  k, n;
    char                 sql[AEGIS_STMT_SQL_MAX], last[32];
    size_t               len;
    unsigned             i;
    const char          *p;
    const aegis_stmt_t  *s;

    for (i = 0; i < AEGIS_N_STMTS; i++) {
        s = aegis_stmt(i);
        len = aegis_stmt_sql(s, sql);

        assert_int_equal(s->id, i);
        assert_true(len > 0);
        assert_int_equal(strlen(sql), len);
        assert_int_equal(s->n_params, s->n_columns + (s->kind == AEGIS_WRITE_NOTIFY));
        assert_true(s->n_params <= AEGIS_STMT_MAX_PARAMS);

        for (n = 0, p = sql; (p = strchr(p, '$')) != NULL; p++) {
            n++;
        }
        assert_int_equal(n, s->n_params);

        snprintf(last, sizeof(last), "$%d::%s)", n,
                 s->kind == AEGIS_WRITE_NOTIFY ? "bool" : "text[]");
        if (s->kind == AEGIS_WRITE_NOTIFY) {
            assert_non_null(strstr(sql, last));
        }

        for (k = 0; k < s->n_columns; k++) {
            assert_true(s->columns[k] < AEGIS_N_COLUMNS);
        }
    }

    aegis_stmt_sql(aegis_stmt(AEGIS_STMT_PLAN_GET), sql);
    assert_string_equal(sql, "SELECT ord, status, code, version, body, extra FROM"
        " aegis.plan_get($1::text[], $2::text[]::uuid[], $3::text[])");

    aegis_stmt_sql(aegis_stmt(AEGIS_STMT_EXEC_FINISH), sql);
    assert_string_equal(sql, "SELECT ord, status, code, version, body, extra FROM"
        " aegis.exec_finish($1::text[], $2::text[]::uuid[], $3::text[]::uuid[],"
        " $4::text[]::int[], $5::text[], $6::text[], $7::bool)");

    assert_null(aegis_stmt(AEGIS_N_STMTS));
}


static void
test_encode(void **state)
{
    char                 buf[64];
    size_t               n;
    aegis_item_t         a, b, c;
    const aegis_item_t  *items[3] = { &a, &b, &c };

    static const unsigned char  expected[] = {
        0, 0, 0, 1,  0, 0, 0, 1,  0, 0, 0, 25,  0, 0, 0, 3,  0, 0, 0, 1,
        0, 0, 0, 2, 'a', 'b',  0xff, 0xff, 0xff, 0xff,  0, 0, 0, 0
    };
    static const unsigned char  one[] = {
        0, 0, 0, 1,  0, 0, 0, 0,  0, 0, 0, 25,  0, 0, 0, 1,  0, 0, 0, 1,
        0, 0, 0, 2, 'a', 'b'
    };

    memset(&a, 0, sizeof(a));
    memset(&b, 0, sizeof(b));
    memset(&c, 0, sizeof(c));
    a.v[AEGIS_C_tenant] = aegis_str("ab");
    c.v[AEGIS_C_tenant] = aegis_str("");

    n = aegis_stmt_column_size(AEGIS_C_tenant, items, 3);
    assert_int_equal(n, sizeof(expected));
    assert_ptr_equal(aegis_stmt_column_encode(AEGIS_C_tenant, items, 3, buf), buf + n);
    assert_memory_equal(buf, expected, n);

    n = aegis_stmt_column_size(AEGIS_C_tenant, items, 1);
    assert_int_equal(n, sizeof(one));
    assert_ptr_equal(aegis_stmt_column_encode(AEGIS_C_tenant, items, 1, buf), buf + n);
    assert_memory_equal(buf, one, n);

    n = aegis_stmt_column_size(AEGIS_C_tenant, items, 0);
    assert_ptr_equal(aegis_stmt_column_encode(AEGIS_C_tenant, items, 0, buf), buf + n);
    assert_int_equal(n, 12);
}


static void
test_names(void **state)
{
    int          n;
    unsigned     i;
    const char  *p;

    assert_string_equal(aegis_column_name(AEGIS_C_case_id), "case_id");
    assert_string_equal(aegis_column_type(AEGIS_C_case_id), "uuid");
    assert_string_equal(aegis_column_type(AEGIS_C_limit), "int");
    assert_string_equal(aegis_column_name(AEGIS_N_COLUMNS), "");

    for (i = 0; i < AEGIS_N_SQLS; i++) {
        assert_true(aegis_sql_name(i)[0] != '\0');

        for (n = 0, p = aegis_sql_text(i); (p = strchr(p, '$')) != NULL; p++) {
            n = atoi(p + 1) > n ? atoi(p + 1) : n;
        }
        assert_int_equal(n, aegis_sql_n_params(i));
    }

    assert_string_equal(aegis_sql_text(AEGIS_N_SQLS), "");
}


int
main(void)
{
    const struct CMUnitTest  tests[] = {
        AEGIS_TEST("every statement's text has its parameters and fits", test_sql),
        AEGIS_TEST("a column of items is PostgreSQL's binary text[]", test_encode),
        AEGIS_TEST("columns and other statements have names and parameters", test_names)
    };

    return AEGIS_UNIT_RUN(tests);
}
