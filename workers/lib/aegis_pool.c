/*
 * aegis_pool.c: memory for JSON. A document is hundreds of pieces of a few sizes, all
 * given back at its end, and there is always a next one; malloc keeps seven of a size
 * for a thread and puts the others together to take them apart again.
 * Invariant: a piece is one of malloc's, of the size that malloc says, so that whoever
 * frees a text of jansson's with free() frees it; what a thread keeps is bounded. It is
 * kept until the process ends: for threads that last as long.
 */
#include "aegis_pool.h"

#include <malloc.h>
#include <stdlib.h>

#include <jansson.h>

/* Sizes of 24, 40, 56 … bytes, as malloc has them. */
#define AEGIS_POOL_LEAST    24
#define AEGIS_POOL_STEP     16
#define AEGIS_POOL_CLASSES  24

#define AEGIS_POOL_BYTES    (2u << 20)

typedef struct aegis_pool_piece_s  aegis_pool_piece_t;

struct aegis_pool_piece_s {
    aegis_pool_piece_t  *next;
};

typedef struct {
    aegis_pool_piece_t  *free[AEGIS_POOL_CLASSES];
    size_t               held;
} aegis_pool_t;

static __thread aegis_pool_t  aegis_pool;

void *
aegis_pool_take(size_t size)
{
    size_t               i;
    aegis_pool_piece_t  *piece;

    i = size <= AEGIS_POOL_LEAST ? 0
        : (size - AEGIS_POOL_LEAST + AEGIS_POOL_STEP - 1) / AEGIS_POOL_STEP;
    if (i >= AEGIS_POOL_CLASSES) {
        return malloc(size);
    }

    piece = aegis_pool.free[i];
    if (piece == NULL) {
        return malloc(AEGIS_POOL_LEAST + i * AEGIS_POOL_STEP);
    }

    aegis_pool.free[i] = piece->next;
    aegis_pool.held -= AEGIS_POOL_LEAST + i * AEGIS_POOL_STEP;
    return piece;
}

void
aegis_pool_give(void *p)
{
    size_t               i, size;
    aegis_pool_piece_t  *piece;

    if (p == NULL) {
        return;
    }

    size = malloc_usable_size(p);
    i = (size - AEGIS_POOL_LEAST) / AEGIS_POOL_STEP;
    if (size < AEGIS_POOL_LEAST || i >= AEGIS_POOL_CLASSES
        || aegis_pool.held + size > AEGIS_POOL_BYTES)
    {
        free(p);
        return;
    }

    piece = p;
    piece->next = aegis_pool.free[i];
    aegis_pool.free[i] = piece;
    aegis_pool.held += AEGIS_POOL_LEAST + i * AEGIS_POOL_STEP;
}

size_t
aegis_pool_held(void)
{
    return aegis_pool.held;
}

void
aegis_pool_json(void)
{
#ifndef __SANITIZE_ADDRESS__
    json_set_alloc_funcs(aegis_pool_take, aegis_pool_give);
#endif
}
