/*
 * aegis_stmt.h: statements as data. An item carries values by column; a
 * statement takes the columns it wants from n items and sends each column as
 * one text[] parameter (ids as uuid[]) in PostgreSQL's binary array format. Both
 * shells use it: an nginx request and a bus message are items in a queue.
 */
#ifndef AEGIS_STMT_H
#define AEGIS_STMT_H

#include "aegis.h"

typedef enum { AEGIS_READ, AEGIS_WRITE, AEGIS_WRITE_NOTIFY, AEGIS_READ_CASE } aegis_stmt_kind_t;

typedef struct {
    aegis_str_t              v[AEGIS_N_COLUMNS];   /* data NULL: SQL NULL */
} aegis_item_t;

typedef struct {
    aegis_stmt_id_t          id;
    const char              *name;        /* also the prepared statement's name */
    aegis_stmt_kind_t        kind;
    const aegis_column_t    *columns;
    int                      n_columns;
    int                      n_params;    /* n_columns, + 1 for WRITE_NOTIFY */
} aegis_stmt_t;

#define AEGIS_OID_TEXT_ARRAY  1009
#define AEGIS_OID_UUID_ARRAY  2951
#define AEGIS_OID_BOOL        16
#define AEGIS_STMT_SQL_MAX    1024
#define AEGIS_STMT_MAX_PARAMS 80

/* Position of the result columns; all are read in text format. */
enum { AEGIS_R_ORD, AEGIS_R_STATUS, AEGIS_R_CODE, AEGIS_R_VERSION, AEGIS_R_BODY,
       AEGIS_R_EXTRA };

/* The same of READ_CASE, which are read in binary: columns of the case's row, and
 * no row for an item that has none. */
enum { AEGIS_RC_ORD, AEGIS_RC_VERSION, AEGIS_RC_CARD, AEGIS_RC_STATUS, AEGIS_RC_PLAN,
       AEGIS_RC_EXEC, AEGIS_RC_REASON, AEGIS_RC_UPDATED };

const aegis_stmt_t *aegis_stmt(aegis_stmt_id_t id);
const char *aegis_column_name(aegis_column_t column);
const char *aegis_column_type(aegis_column_t column);

/* The array type in which a column is sent. */
unsigned aegis_column_oid(aegis_column_t column);

/* "SELECT ord, status, code, version, body, extra FROM aegis.<name>($1::text[]::int[],..)".
 * buf holds AEGIS_STMT_SQL_MAX bytes; returns its length. */
size_t aegis_stmt_sql(const aegis_stmt_t *stmt, char *buf);

/* Bytes that are enough for n items of column in binary array format. */
size_t aegis_stmt_column_size(aegis_column_t column,
    const aegis_item_t *const *items, size_t n);

/* Write them; returns the end. buf holds at least aegis_stmt_column_size(). An id that
 * is none is written so that PostgreSQL refuses it (22P03). */
char *aegis_stmt_column_encode(aegis_column_t column,
    const aegis_item_t *const *items, size_t n, char *buf);

/* Statements of another shape (AEGIS_SQL rows). */
const char *aegis_sql_name(aegis_sql_id_t id);
const char *aegis_sql_text(aegis_sql_id_t id);
int aegis_sql_n_params(aegis_sql_id_t id);

#endif
