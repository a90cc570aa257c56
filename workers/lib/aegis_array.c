/*
 * aegis_array.c: arrays in PostgreSQL's binary format: dimensions, a flag for NULLs,
 * the elements' type, the dimension and its lower bound; then length and bytes of
 * each element. All big-endian.
 */
#include <stdlib.h>
#include <string.h>

#include "aegis_array.h"

#define AEGIS_ARRAY_HEADER  20
#define AEGIS_ARRAY_EMPTY   12

static void
aegis_array_put32(char *p, uint32_t n)
{
    p[0] = (char) (n >> 24);
    p[1] = (char) (n >> 16);
    p[2] = (char) (n >> 8);
    p[3] = (char) n;
}

/* Room for len more bytes; NULL: no memory. */
static char *
aegis_array_room(aegis_array_t *a, size_t len)
{
    char    *data;
    size_t   size;

    if (a->len + len > a->size) {
        for (size = a->size ? a->size : 4096; size < a->len + len; size *= 2) {
            /* void */
        }
        data = realloc(a->data, size);
        if (data == NULL) {
            a->failed = 1;
            return NULL;
        }
        a->data = data;
        a->size = size;
    }

    data = a->data + a->len;
    a->len += len;
    return data;
}

void
aegis_array_begin(aegis_array_t *a, int oid)
{
    char  *p;

    a->len = 0;
    a->n = 0;
    a->failed = 0;

    p = aegis_array_room(a, AEGIS_ARRAY_HEADER);
    if (p) {
        memset(p, 0, AEGIS_ARRAY_HEADER);
        aegis_array_put32(p, 1);
        aegis_array_put32(p + 8, (uint32_t) oid);
        aegis_array_put32(p + 16, 1);
    }
}

void
aegis_array_free(aegis_array_t *a)
{
    free(a->data);
    memset(a, 0, sizeof(aegis_array_t));
}

void
aegis_array_bytes(aegis_array_t *a, const void *data, size_t len)
{
    char  *p;

    p = aegis_array_room(a, len + 4);
    if (p) {
        aegis_array_put32(p, (uint32_t) len);
        if (len) {
            memcpy(p + 4, data, len);
        }
        a->n++;
    }
}

void
aegis_array_text(aegis_array_t *a, const char *text)
{
    aegis_array_bytes(a, text, strlen(text));
}

void
aegis_array_int(aegis_array_t *a, int64_t n)
{
    char  b[8];

    aegis_array_put32(b, (uint32_t) ((uint64_t) n >> 32));
    aegis_array_put32(b + 4, (uint32_t) n);
    aegis_array_bytes(a, b, 8);
}

void
aegis_array_int4(aegis_array_t *a, int n)
{
    char  b[4];

    aegis_array_put32(b, (uint32_t) n);
    aegis_array_bytes(a, b, 4);
}

void
aegis_array_truth(aegis_array_t *a, int yes)
{
    aegis_array_bytes(a, yes ? "\1" : "", 1);
}

void
aegis_array_null(aegis_array_t *a)
{
    char  *p;

    p = aegis_array_room(a, 4);
    if (p) {
        aegis_array_put32(p, (uint32_t) -1);
        aegis_array_put32(a->data + 4, 1);
        a->n++;
    }
}

void
aegis_array_real(aegis_array_t *a, double v)
{
    int64_t  n;

    memcpy(&n, &v, sizeof(n));
    aegis_array_int(a, n);
}

void
aegis_array_end(aegis_array_t *a)
{
    if (a->failed || a->len < AEGIS_ARRAY_HEADER) {
        return;
    }

    aegis_array_put32(a->data + 12, (uint32_t) a->n);
    if (a->n == 0) {
        aegis_array_put32(a->data, 0);      /* an empty one has no dimension */
        a->len = AEGIS_ARRAY_EMPTY;
    }
}
