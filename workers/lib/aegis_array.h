/*
 * aegis_array.h: one-dimensional arrays in PostgreSQL's binary format, made element
 * by element: what aegis_pg_sql_binary() sends thousands of rows with.
 */
#ifndef AEGIS_ARRAY_H
#define AEGIS_ARRAY_H

#include <stddef.h>
#include <stdint.h>

enum { AEGIS_OID_BYTEA = 17, AEGIS_OID_INT8 = 20, AEGIS_OID_INT4 = 23, AEGIS_OID_TEXT = 25,
       AEGIS_OID_JSON = 114, AEGIS_OID_FLOAT8 = 701 };     /* AEGIS_OID_BOOL: aegis_stmt.h */

typedef struct {
    char    *data;
    size_t   len;
    size_t   size;
    int      n;
    int      failed;                    /* no memory: what was added since is missing */
} aegis_array_t;

void aegis_array_begin(aegis_array_t *a, int oid);      /* keeps the memory */
void aegis_array_free(aegis_array_t *a);
void aegis_array_bytes(aegis_array_t *a, const void *data, size_t len);
void aegis_array_text(aegis_array_t *a, const char *text);
void aegis_array_int(aegis_array_t *a, int64_t n);
void aegis_array_int4(aegis_array_t *a, int n);
void aegis_array_truth(aegis_array_t *a, int yes);
void aegis_array_real(aegis_array_t *a, double v);
void aegis_array_null(aegis_array_t *a);

/* Its header says how many there are. */
void aegis_array_end(aegis_array_t *a);

#endif
