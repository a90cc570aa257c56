/*
 * aegis_detect_judge.c: unit tests of what counts of a rare thing can score: a few
 * at once are no report, many are.
 */
#include "aegis_unit.h"

#include <math.h>

#include "aegis_detect.h"
#include "aegis_detect_series.h"

#define COUNTS      4                     /* the family: one in ten minutes */
#define EIGHT_DAYS  (8 * 1440)


static void
test_rare_counts(void **state)
{
    int                     i, n, alarms;
    double                  t;
    series_t                made;
    aegis_detect_t          s;
    aegis_detect_rule_t     rule;
    aegis_detect_result_t   r;

    aegis_detect_rule_init(&rule);

    /* three within a minute come once in five days */
    for (n = 0, alarms = 0; n < 14; n++) {
        memset(&s, 0, sizeof(s));
        made = series_begin(COUNTS, 200 + n);
        for (i = 0, t = 1700000000.0; i < EIGHT_DAYS; i++, t += 60) {
            assert_int_equal(aegis_detect_feed(&s, &rule, t, series_next(&made, COUNTS, t), &r), 1);
            alarms += r.alarm;
        }
    }
    assert_in_range(alarms, 0, 4);

    /* eight do not */
    assert_int_equal(aegis_detect_feed(&s, &rule, t, 8, &r), 1);
    assert_int_equal(r.alarm, 1);
}


int
main(void)
{
    const struct CMUnitTest  tests[] = {
        AEGIS_TEST("a few of what is rare are no report", test_rare_counts),
    };

    return AEGIS_UNIT_RUN(tests);
}
