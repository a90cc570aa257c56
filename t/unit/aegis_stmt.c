/*
 * aegis_stmt.c: unit tests of statements' SQL text and of binary arrays.
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
        " aegis.plan_get($1::text[], $2::uuid[], $3::text[])");

    aegis_stmt_sql(aegis_stmt(AEGIS_STMT_EXEC_FINISH), sql);
    assert_string_equal(sql, "SELECT ord, status, code, version, body, extra FROM"
        " aegis.exec_finish($1::text[], $2::uuid[], $3::uuid[],"
        " $4::text[]::int[], $5::text[], $6::text[], $7::bool)");

    aegis_stmt_sql(aegis_stmt(AEGIS_STMT_CASE_GET), sql);
    assert_string_equal(sql, "SELECT ord, version, card, status, plan_id, exec_id, reason,"
        " updated_at FROM aegis.case_read($1::text[], $2::uuid[])");

    assert_int_equal(aegis_column_oid(AEGIS_C_case_id), AEGIS_OID_UUID_ARRAY);
    assert_int_equal(aegis_column_oid(AEGIS_C_for_version), AEGIS_OID_TEXT_ARRAY);

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


/* What is no id has a length that PostgreSQL takes for none. */
static void
test_ids(void **state)
{
    char                 buf[64];
    size_t               i, n;
    aegis_item_t         item;
    const aegis_item_t  *items[1] = { &item };

    static const unsigned char  id[] = {
        0, 0, 0, 1,  0, 0, 0, 0,  0, 0, 0x0b, 0x86,  0, 0, 0, 1,  0, 0, 0, 1,  0, 0, 0, 16,
        0x01, 0x93, 0xab, 0xcd,  0xef, 0, 0x70, 0,  0x80, 0, 0, 0,  0, 0, 0x27, 0x78
    };
    static const char *const  same[] = {
        "0193abcd-ef00-7000-8000-000000002778", "0193ABCD-EF00-7000-8000-000000002778",
        "0193abcdef0070008000000000002778"
    };
    static const char *const  none[] = {
        "", "0193abcd", "0193abcd-ef00-7000-8000-00000000277", "x193abcd-ef00-7000-8000-000000002778",
        "0193abcd-ef00-7000-8000-0000000027788", "0193abcd-ef00-7000-8000-000000002778 ", "0123456789abcdef"
    };

    memset(&item, 0, sizeof(item));

    for (i = 0; i < AEGIS_UNIT_N(same); i++) {
        item.v[AEGIS_C_case_id] = (aegis_str_t) { strlen(same[i]), same[i] };
        assert_true(aegis_stmt_column_size(AEGIS_C_case_id, items, 1) <= sizeof(buf));
        n = (size_t) (aegis_stmt_column_encode(AEGIS_C_case_id, items, 1, buf) - buf);
        assert_int_equal(n, sizeof(id));
        assert_memory_equal(buf, id, n);
    }

    for (i = 0; i < AEGIS_UNIT_N(none); i++) {
        item.v[AEGIS_C_case_id] = (aegis_str_t) { strlen(none[i]), none[i] };
        n = (size_t) (aegis_stmt_column_encode(AEGIS_C_case_id, items, 1, buf) - buf);
        assert_int_equal(n, sizeof(id) + 1);
        assert_int_equal(n, aegis_stmt_column_size(AEGIS_C_case_id, items, 1));
        assert_int_equal(buf[23], 17);
    }

    item.v[AEGIS_C_case_id] = AEGIS_NO_STR;
    n = (size_t) (aegis_stmt_column_encode(AEGIS_C_case_id, items, 1, buf) - buf);
    assert_int_equal(n, 24);
    assert_memory_equal(buf + 20, "\xff\xff\xff\xff", 4);
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
        AEGIS_TEST("ids are its uuid[], and what is none is refused by it", test_ids),
        AEGIS_TEST("columns and other statements have names and parameters", test_names)
    };

    return AEGIS_UNIT_RUN(tests);
}
