/*
 * detect_bench.c: the detectors over the series of t/unit/aegis_detect_series.h.
 * detect_bench rate DAYS N: reports a series-day of each family, in which nothing
 * is an anomaly. detect_bench time SERIES DAYS: microseconds a point, generating not
 * counted. A line of JSON each. What is found is detect_find.c's.
 */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "../unit/aegis_detect_series.h"
#include "aegis_detect.h"

#define START  1700000000.0


static double
cpu(void)
{
    struct timespec  ts;

    clock_gettime(CLOCK_PROCESS_CPUTIME_ID, &ts);

    return (double) ts.tv_sec + (double) ts.tv_nsec / 1e9;
}


static void
rate(double step, int days, int n)
{
    int                     i;
    long                    k, points, alarms, all;
    size_t                  f;
    double                  t;
    series_t                made;
    aegis_detect_t          s;
    aegis_detect_rule_t     rule;
    aegis_detect_result_t   r;

    aegis_detect_rule_init(&rule);
    points = (long) (days * 86400 / step);

    for (f = 0, all = 0; f < SERIES_N; f++) {
        for (i = 0, alarms = 0; i < n; i++) {
            memset(&s, 0, sizeof(s));
            made = series_begin(f, 1000 + i);
            for (k = 0, t = START; k < points; k++, t += step) {
                (void) aegis_detect_feed(&s, &rule, t, series_next(&made, f, t), &r);
                alarms += r.alarm;
            }
        }
        printf("{\"family\":\"%s\",\"step_s\":%g,\"series_days\":%d,\"reports\":%ld,"
               "\"per_series_day\":%.4f}\n", series_names[f], step, days * n, alarms,
               (double) alarms / (days * n));
        all += alarms;
    }

    printf("{\"family\":\"all\",\"step_s\":%g,\"series_days\":%d,\"reports\":%ld,"
           "\"per_series_day\":%.4f}\n", step, days * n * (int) SERIES_N, all,
           (double) all / (days * n * (int) SERIES_N));
}


static void
timed(int series, int days)
{
    int                     i;
    long                    k, points, alarms;
    double                 *values, t, used, began;
    series_t                made;
    aegis_detect_t          s;
    aegis_detect_rule_t     rule;
    aegis_detect_result_t   r;

    points = (long) days * 1440;
    values = malloc((size_t) points * sizeof(double));
    if (values == NULL) {
        exit(1);
    }

    aegis_detect_rule_init(&rule);

    for (i = 0, used = 0, alarms = 0; i < series; i++) {
        made = series_begin((size_t) i % SERIES_N, i);
        for (k = 0, t = START; k < points; k++, t += 60) {
            values[k] = series_next(&made, (size_t) i % SERIES_N, t);
        }
        memset(&s, 0, sizeof(s));
        began = cpu();
        for (k = 0, t = START; k < points; k++, t += 60) {
            (void) aegis_detect_feed(&s, &rule, t, values[k], &r);
            alarms += r.alarm;
        }
        used += cpu() - began;
    }

    printf("{\"series\":%d,\"days\":%d,\"points\":%ld,\"cpu_s\":%.2f,\"us_per_point\":%.3f,"
           "\"bytes_per_series\":%zu,\"reports\":%ld}\n", series, days, points * series, used,
           1e6 * used / (double) (points * series), sizeof(s), alarms);
    free(values);
}


int
main(int argc, char **argv)
{
    if (argc == 4 && strcmp(argv[1], "time") == 0) {
        timed(atoi(argv[2]), atoi(argv[3]));
        return 0;
    }
    if (argc == 5 && strcmp(argv[1], "rate") == 0) {
        rate(atof(argv[2]), atoi(argv[3]), atoi(argv[4]));
        return 0;
    }
    fprintf(stderr, "usage: detect_bench time SERIES DAYS | rate STEP_S DAYS N\n");
    return 2;
}
