/*
 * aegis_stmt.c: statements.def as rows, their SQL text, and the binary array
 * format of PostgreSQL. Its invariant: aegis_stmt_column_encode() writes no more
 * bytes than aegis_stmt_column_size() said.
 */
#include "aegis_stmt.h"

#include <stdio.h>
#include <string.h>

#define AEGIS_STMT_OID_TEXT  25
#define AEGIS_STMT_OID_UUID  2950
#define AEGIS_STMT_UUID      16

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


static int
aegis_stmt_is_uuid(aegis_column_t column)
{
    return strcmp(aegis_column_type(column), "uuid") == 0;
}


unsigned
aegis_column_oid(aegis_column_t column)
{
    return aegis_stmt_is_uuid(column) ? AEGIS_OID_UUID_ARRAY : AEGIS_OID_TEXT_ARRAY;
}


size_t
aegis_stmt_sql(const aegis_stmt_t *stmt, char *buf)
{
    int          i;
    size_t       n;
    const char  *type;

    n = (size_t) snprintf(buf, AEGIS_STMT_SQL_MAX, "SELECT %s FROM aegis.%s(",
        stmt->kind == AEGIS_READ_CASE
        ? "ord, version, card, status, plan_id, exec_id, reason, updated_at"
        : "ord, status, code, version, body, extra", stmt->name);

    for (i = 0; i < stmt->n_params && n < AEGIS_STMT_SQL_MAX; i++) {

        if (i == stmt->n_columns) {
            n += (size_t) snprintf(buf + n, AEGIS_STMT_SQL_MAX - n, ", $%d::bool",
                                   i + 1);
            continue;
        }

        type = aegis_column_type(stmt->columns[i]);

        if (strcmp(type, "text") == 0 || strcmp(type, "uuid") == 0) {
            n += (size_t) snprintf(buf + n, AEGIS_STMT_SQL_MAX - n,
                "%s$%d::%s[]", i ? ", " : "", i + 1, type);
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


static int
aegis_stmt_nibble(char c)
{
    return c >= '0' && c <= '9' ? c - '0'
           : (c | 0x20) >= 'a' && (c | 0x20) <= 'f' ? (c | 0x20) - 'a' + 10 : -1;
}


/* The bytes of an id in any of the usual spellings; how many there are: 16, or one
 * more than an id has, of which PostgreSQL makes an error. */
static size_t
aegis_stmt_uuid(aegis_str_t s, unsigned char out[AEGIS_STMT_UUID + 1])
{
    int     high, low;
    size_t  i, n;

    for (i = 0, n = 0; i < s.len && n < AEGIS_STMT_UUID; i++) {
        if (s.data[i] == '-') {
            continue;
        }

        high = aegis_stmt_nibble(s.data[i++]);
        low = i < s.len ? aegis_stmt_nibble(s.data[i]) : -1;

        if (high < 0 || low < 0) {
            break;
        }

        out[n++] = (unsigned char) (high << 4 | low);
    }

    if (n == AEGIS_STMT_UUID && i == s.len) {
        return n;
    }

    memset(out, 0, AEGIS_STMT_UUID + 1);

    return AEGIS_STMT_UUID + 1;
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

    if (aegis_stmt_is_uuid(column)) {
        return size + n * (4 + AEGIS_STMT_UUID + 1);
    }

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
    int                 nulls, uuid;
    char               *p;
    size_t              i;
    aegis_str_t         v;
    unsigned char       id[AEGIS_STMT_UUID + 1];

    uuid = aegis_stmt_is_uuid(column);
    nulls = 0;
    for (i = 0; i < n; i++) {
        nulls |= items[i]->v[column].data == NULL;
    }

    /* dimensions, has nulls, element type; an empty array has no dimension */
    p = aegis_stmt_int32(buf, n ? 1 : 0);
    p = aegis_stmt_int32(p, (uint32_t) nulls);
    p = aegis_stmt_int32(p, uuid ? AEGIS_STMT_OID_UUID : AEGIS_STMT_OID_TEXT);

    if (n == 0) {
        return p;
    }

    p = aegis_stmt_int32(p, (uint32_t) n);
    p = aegis_stmt_int32(p, 1);

    for (i = 0; i < n; i++) {
        v = items[i]->v[column];

        if (v.data == NULL) {
            p = aegis_stmt_int32(p, (uint32_t) -1);
            continue;
        }

        if (uuid) {
            v.len = aegis_stmt_uuid(v, id);
            v.data = (const char *) id;
        }

        p = aegis_stmt_int32(p, (uint32_t) v.len);

        if (v.len) {
            memcpy(p, v.data, v.len);
            p += v.len;
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
