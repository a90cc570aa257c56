/*
 * aegis_arena.c: memory that is freed at once. Blocks grow up to 1 MiB, so that a
 * small batch is cheap and a large one has few of them.
 * Invariant: never more than the limit, whatever is asked for.
 */
#include <stdlib.h>
#include <string.h>

#include "aegis_signal.h"

#define AEGIS_ARENA_FIRST  4096
#define AEGIS_ARENA_BLOCK  1048576

typedef struct aegis_block_s  aegis_block_t;

struct aegis_block_s {
    aegis_block_t  *next;
    size_t          size;
    size_t          used;
    char            data[];
};

struct aegis_arena_s {
    aegis_block_t  *blocks;
    size_t          size;
    size_t          limit;
    size_t          step;
};

aegis_arena_t *
aegis_arena_new(size_t limit)
{
    aegis_arena_t  *a;

    a = calloc(1, sizeof(aegis_arena_t));
    if (a) {
        a->limit = limit;
        a->step = AEGIS_ARENA_FIRST;
    }

    return a;
}

void
aegis_arena_free(aegis_arena_t *a)
{
    aegis_block_t  *b, *next;

    if (a == NULL) {
        return;
    }

    for (b = a->blocks; b; b = next) {
        next = b->next;
        free(b);
    }
    free(a);
}

void *
aegis_arena_alloc(aegis_arena_t *a, size_t size)
{
    size_t          n;
    void           *p;
    aegis_block_t  *b;

    size = (size + 7) & ~(size_t) 7;
    b = a->blocks;

    if (b == NULL || b->size - b->used < size) {
        n = size > a->step ? size : a->step;
        if (n > a->limit || a->size > a->limit - n) {
            return NULL;
        }
        b = malloc(sizeof(aegis_block_t) + n);
        if (b == NULL) {
            return NULL;
        }
        b->size = n;
        b->used = 0;
        a->size += n;
        a->step = a->step < AEGIS_ARENA_BLOCK ? a->step * 2 : a->step;

        if (a->blocks && size > a->step / 4 && a->blocks->size - a->blocks->used > size / 8) {
            /* a block of its own: the one in use has room for more */
            b->next = a->blocks->next;
            a->blocks->next = b;
        } else {
            b->next = a->blocks;
            a->blocks = b;
        }
    }

    p = b->data + b->used;
    b->used += size;
    return p;
}

char *
aegis_arena_copy(aegis_arena_t *a, const char *data, size_t len)
{
    char  *p;

    p = aegis_arena_alloc(a, len + 1);
    if (p) {
        memcpy(p, data, len);
        p[len] = '\0';
    }

    return p;
}

size_t
aegis_arena_size(const aegis_arena_t *a)
{
    return a->size;
}
