/*
 * aegis_failpoint.c: a release has no failpoint: each place is the constant 0
 * there, which the compiler removes; and each name of the table is given once.
 */
#include "aegis_unit.h"

#include "aegis_failpoint.h"


static void
test_release(void **state)
{
    switch (0) {
    case AEGIS_FP(any_name_at_all, "gateway"):
        break;
    default:
        fail_msg("a failpoint is no constant 0");
    }
}


static void
test_names(void **state)
{
    size_t  i, k;

    static const char *const  names[] = {
#define AEGIS_FAILPOINT(id, name, who, what, sentence)  name,
#include "tables/failpoints.def"
#undef AEGIS_FAILPOINT
    };

    for (i = 0; i < sizeof(names) / sizeof(names[0]); i++) {
        for (k = 0; k < i; k++) {
            assert_string_not_equal(names[i], names[k]);
        }
    }
}


int
main(void)
{
    const struct CMUnitTest  tests[] = {
        AEGIS_TEST("a release has no failpoint", test_release),
        AEGIS_TEST("each has a name of its own", test_names)
    };

    return AEGIS_UNIT_RUN(tests);
}
