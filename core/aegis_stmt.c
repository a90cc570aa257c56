/*
 * aegis_stmt.c: statements.def as rows, their SQL text, and the binary text[]
 * format of PostgreSQL. Its invariant: aegis_stmt_column_encode() writes just
 * as many bytes as aegis_stmt_column_size() said.
 */
#include "aegis_stmt.h"

#include <stdio.h>
#include <string.h>

#define AEGIS_STMT_OID_TEXT  25

#define AEGIS_C(name)  AEGIS_C_##name,
#define AEGIS_SQL(id, n, text)
#define AEGIS_STMT(id, function, kind, columns)                                \
    static const aegis_column_t  aegis_stmt_columns_##id[] = { columns };
#include "tables/statements.def"
#undef AEGIS_STMT
#undef AEGIS_C

#define AEGIS_STMT_N(id)                                                       \
    (int) (sizeof(aegis_stmt_columns_##id) / sizeof(aegis_column_t))

static const aegis_stmt_t  aegis_stmts[] = {
#define AEGIS_STMT(id, function, kind, columns)                                \
    { AEGIS_STMT_##id, function, AEGIS_##kind, aegis_stmt_columns_##id,        \
      AEGIS_STMT_N(id), AEGIS_STMT_N(id) + (AEGIS_##kind == AEGIS_WRITE_NOTIFY) },
#include "tables/statements.def"
#undef AEGIS_STMT
};

#define AEGIS_STMT(id, function, kind, columns)                                \
    _Static_assert(AEGIS_STMT_N(id) < AEGIS_STMT_MAX_PARAMS, function);
#include "tables/statements.def"
#undef AEGIS_STMT
#undef AEGIS_SQL

static const struct {
    const char  *name;
    const char  *type;
} aegis_stmt_column_defs[] = {
#define AEGIS_COLUMN(name, type)  { #name, #type },
#include "tables/columns.def"
#undef AEGIS_COLUMN
};

static const struct {
    const char  *name;
    int          n_params;
    const char  *text;
} aegis_stmt_sqls[] = {
#define AEGIS_STMT(id, function, kind, columns)
#define AEGIS_SQL(id, n, text)  { #id, n, text },
#include "tables/statements.def"
#undef AEGIS_STMT
#undef AEGIS_SQL
};


const aegis_stmt_t *
aegis_stmt(aegis_stmt_id_t id)
{
    return (unsigned) id < AEGIS_N_STMTS ? &aegis_stmts[id] : NULL;
}


const char *
aegis_column_name(aegis_column_t column)
{
    return (unsigned) column < AEGIS_N_COLUMNS
           ? aegis_stmt_column_defs[column].name : "";
}


const char *
aegis_column_type(aegis_column_t column)
{
    return (unsigned) column < AEGIS_N_COLUMNS
           ? aegis_stmt_column_defs[column].type : "";
}


size_t
aegis_stmt_sql(const aegis_stmt_t *stmt, char *buf)
{
    int          i;
    size_t       n;
    const char  *type;

    n = (size_t) snprintf(buf, AEGIS_STMT_SQL_MAX,
        "SELECT ord, status, code, version, body, extra FROM aegis.%s(", stmt->name);

    for (i = 0; i < stmt->n_params && n < AEGIS_STMT_SQL_MAX; i++) {

        if (i == stmt->n_columns) {
            n += (size_t) snprintf(buf + n, AEGIS_STMT_SQL_MAX - n, ", $%d::bool",
                                   i + 1);
            continue;
        }

        type = aegis_column_type(stmt->columns[i]);

        if (strcmp(type, "text") == 0) {
            n += (size_t) snprintf(buf + n, AEGIS_STMT_SQL_MAX - n,
                "%s$%d::text[]", i ? ", " : "", i + 1);
        } else {
            n += (size_t) snprintf(buf + n, AEGIS_STMT_SQL_MAX - n,
                "%s$%d::text[]::%s[]", i ? ", " : "", i + 1, type);
        }
    }

    if (n + 2 > AEGIS_STMT_SQL_MAX) {
        /* a row that is too long fails its unit test, never at run time */
        buf[0] = '\0';
        return 0;
    }

    buf[n++] = ')';
    buf[n] = '\0';

    return n;
}


size_t
aegis_stmt_column_size(aegis_column_t column, const aegis_item_t *const *items,
    size_t n)
{
    size_t              i, size;
    const aegis_str_t  *v;

    if (n == 0) {
        return 12;
    }

    size = 20;

    for (i = 0; i < n; i++) {
        v = &items[i]->v[column];
        size += 4 + (v->data ? v->len : 0);
    }

    return size;
}


static char *
aegis_stmt_int32(char *p, uint32_t value)
{
    *p++ = (char) (value >> 24);
    *p++ = (char) (value >> 16);
    *p++ = (char) (value >> 8);
    *p++ = (char) value;

    return p;
}


char *
aegis_stmt_column_encode(aegis_column_t column, const aegis_item_t *const *items,
    size_t n, char *buf)
{
    int                 nulls;
    char               *p;
    size_t              i;
    const aegis_str_t  *v;

    nulls = 0;
    for (i = 0; i < n; i++) {
        nulls |= items[i]->v[column].data == NULL;
    }

    /* dimensions, has nulls, element type; an empty array has no dimension */
    p = aegis_stmt_int32(buf, n ? 1 : 0);
    p = aegis_stmt_int32(p, (uint32_t) nulls);
    p = aegis_stmt_int32(p, AEGIS_STMT_OID_TEXT);

    if (n == 0) {
        return p;
    }

    p = aegis_stmt_int32(p, (uint32_t) n);
    p = aegis_stmt_int32(p, 1);

    for (i = 0; i < n; i++) {
        v = &items[i]->v[column];

        if (v->data == NULL) {
            p = aegis_stmt_int32(p, (uint32_t) -1);
            continue;
        }

        p = aegis_stmt_int32(p, (uint32_t) v->len);

        if (v->len) {
            memcpy(p, v->data, v->len);
            p += v->len;
        }
    }

    return p;
}


const char *
aegis_sql_name(aegis_sql_id_t id)
{
    return (unsigned) id < AEGIS_N_SQLS ? aegis_stmt_sqls[id].name : "";
}


const char *
aegis_sql_text(aegis_sql_id_t id)
{
    return (unsigned) id < AEGIS_N_SQLS ? aegis_stmt_sqls[id].text : "";
}


int
aegis_sql_n_params(aegis_sql_id_t id)
{
    return (unsigned) id < AEGIS_N_SQLS ? aegis_stmt_sqls[id].n_params : 0;
}
