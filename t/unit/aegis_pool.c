/*
 * aegis_pool.c: unit tests of the memory for JSON. It is the one unit of workers/lib:
 * it needs nothing but libc and jansson.
 */
#include "aegis_unit.h"

#include <stdlib.h>
#include <string.h>

#include "../../workers/lib/aegis_pool.h"

#define MANY  4000


static void
test_again(void **state)
{
    void    *p, *q;
    size_t   size, held;

    for (size = 1; size < 1000; size += 3) {
        p = aegis_pool_take(size);
        assert_non_null(p);
        memset(p, 0xaa, size);

        held = aegis_pool_held();
        aegis_pool_give(p);

        if (size <= 24 + 23 * 16) {
            assert_true(aegis_pool_held() > held);
            q = aegis_pool_take(size);
            assert_ptr_equal(p, q);
            assert_int_equal(aegis_pool_held(), held);
            aegis_pool_give(q);
        } else if (size > 24 + 24 * 16) {
            assert_int_equal(aegis_pool_held(), held);
        }
    }

    aegis_pool_give(NULL);
}


/* What is taken is whole: no two have a byte in common. */
static void
test_apart(void **state)
{
    int              round;
    size_t           i, k, size[MANY];
    unsigned char   *p[MANY];

    for (round = 0; round < 3; round++) {
        for (i = 0; i < MANY; i++) {
            size[i] = (i * 37 + (size_t) round) % 500;
            p[i] = aegis_pool_take(size[i]);
            memset(p[i], (int) (i % 251), size[i]);
        }
        for (i = 0; i < MANY; i++) {
            for (k = 0; k < size[i]; k++) {
                assert_int_equal(p[i][k], i % 251);
            }
            /* what is free()d is malloc's, as texts of jansson's are */
            if (i % 5 == 0) {
                free(p[i]);
            } else {
                aegis_pool_give(p[i]);
            }
        }
    }
}


static void
test_bounded(void **state)
{
    size_t  i, n;
    void  **p;

    n = 60000;
    p = calloc(n, sizeof(void *));
    for (i = 0; i < n; i++) {
        p[i] = aegis_pool_take(100);
    }
    for (i = 0; i < n; i++) {
        aegis_pool_give(p[i]);
    }
    free(p);

    assert_true(aegis_pool_held() > (1u << 20));
    assert_true(aegis_pool_held() <= (2u << 20));
}


int
main(void)
{
    const struct CMUnitTest  tests[] = {
        AEGIS_TEST("what is given back is had again", test_again),
        AEGIS_TEST("what is taken is nobody else's, and may be freed", test_apart),
        AEGIS_TEST("a thread keeps two MiB at most", test_bounded)
    };

    return AEGIS_UNIT_RUN(tests);
}
