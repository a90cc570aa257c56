/*
 * detect_bench.c: the detectors over the series of t/unit/aegis_detect_series.h.
 * detect_bench rate DAYS N: reports a series-day of each family, in which nothing
 * is an anomaly. detect_bench find STEP DAYS N: how many of the anomalies that it
 * puts into them, after so many days of learning, are reported, and how soon.
 * detect_bench time SERIES DAYS: microseconds a point, generating not counted. A
 * line of JSON each.
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


/* What is put into a series; size is in units of its noise, or what it says. */
typedef struct {
    const char  *name;
    int          points;
    double       size;
    enum { ADD, RAMP, SPREAD, ZERO, STUCK }  how;
} harm_t;

#define FOR_GOOD  100000
#define LATE      15                    /* points after its end that still count */

static const harm_t  harms[] = {
    { "one point, 6 units", 1, 6, ADD },
    { "one point, 10 units", 1, 10, ADD },
    { "10 points, 4 units", 10, 4, ADD },
    { "10 points, 6 units", 10, 6, ADD },
    { "level moves 3 units", FOR_GOOD, 3, ADD },
    { "level moves 5 units", FOR_GOOD, 5, ADD },
    { "rises by 8 units in 120 points", 120, 8, RAMP },
    { "noise of 4 units for 60 points", 60, 4, SPREAD },
    { "zero for 30 points", 30, 0, ZERO },
    { "one value for 120 points", 120, 0, STUCK },
};

#define HARMS  (sizeof(harms) / sizeof(harms[0]))

/* Families with noise that is noise, so that a unit of it means something. */
static const size_t  noisy[] = { 0, 1, 2, 6, 7, 8, 9, 10, 11, 13, 16, 19 };

#define NOISY  (sizeof(noisy) / sizeof(noisy[0]))


static int
by_size(const void *a, const void *b)
{
    double  x, y;

    x = *(const double *) a;
    y = *(const double *) b;

    return x < y ? -1 : x > y;
}


/* The usual step between neighbours as the deviation of one point. */
static double
unit_of(size_t f, int n, double step)
{
    int       i;
    double    t, v, was, d[1000];
    series_t  made;

    made = series_begin(f, n);
    for (i = -1, t = START, was = 0; i < 1000; i++, t += step) {
        v = series_next(&made, f, t);
        if (i >= 0) {
            d[i] = fabs(v - was);
        }
        was = v;
    }
    qsort(d, 1000, sizeof(double), by_size);

    return 1.4826 * d[500] / sqrt(2);
}


/* Points until the report of this harm in one series; -1: there was none. */
static int
found_after(const harm_t *h, size_t f, int n, double step, int days)
{
    int                     sign;
    long                    k, at, end;
    double                  t, v, unit, stuck;
    series_t                made, chance;
    aegis_detect_t          s;
    aegis_detect_rule_t     rule;
    aegis_detect_result_t   r;

    unit = unit_of(f, n, step);
    aegis_detect_rule_init(&rule);
    memset(&s, 0, sizeof(s));
    made = series_begin(f, n);
    chance = series_begin(f, n + 50000);
    at = (long) (days * 86400 / step) + (long) (series_uniform(&chance) * 86400 / step);
    sign = f == 10 || series_uniform(&chance) < 0.5 ? 1 : -1;
    end = h->points == FOR_GOOD ? at + 60 : at + h->points + LATE;

    for (k = 0, t = START, stuck = 0; k < end; k++, t += step) {
        v = series_next(&made, f, t);
        stuck = k == at ? v : stuck;
        if (k >= at && k < at + h->points) {
            switch (h->how) {
            case ADD:    v += sign * h->size * unit; break;
            case RAMP:   v += sign * h->size * unit * (double) (k - at) / h->points; break;
            case SPREAD: v += h->size * unit * series_normal(&chance); break;
            case ZERO:   v = 0; break;
            case STUCK:  v = stuck; break;
            }
        }
        (void) aegis_detect_feed(&s, &rule, t, v, &r);
        if (r.alarm && k >= at) {
            return (int) (k - at);
        }
    }

    return -1;
}


static void
find(double step, int days, int n)
{
    int      i, after, reports, found;
    size_t   h, f;
    double  *delay;

    delay = malloc((size_t) n * NOISY * sizeof(double));
    if (delay == NULL) {
        exit(1);
    }

    for (h = 0; h < HARMS; h++) {
        for (f = 0, reports = 0; f < NOISY; f++) {
            for (i = 0, found = 0; i < n; i++) {
                after = found_after(&harms[h], noisy[f], 5000 + i, step, days);
                if (after >= 0) {
                    delay[reports++] = after;
                    found++;
                }
            }
            printf("{\"anomaly\":\"%s\",\"family\":\"%s\",\"step_s\":%g,\"found\":%.3f}\n",
                   harms[h].name, series_names[noisy[f]], step, (double) found / n);
        }
        qsort(delay, (size_t) reports, sizeof(double), by_size);
        printf("{\"anomaly\":\"%s\",\"family\":\"all\",\"step_s\":%g,\"found\":%.3f,"
               "\"points_until\":%g}\n", harms[h].name, step,
               (double) reports / (double) (n * (int) NOISY),
               reports ? delay[reports / 2] : -1);
    }

    free(delay);
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
    if (argc == 5 && strcmp(argv[1], "find") == 0) {
        find(atof(argv[2]), atoi(argv[3]), atoi(argv[4]));
        return 0;
    }
    fprintf(stderr, "usage: detect_bench time SERIES DAYS | rate STEP_S DAYS N"
            " | find STEP_S DAYS N\n");
    return 2;
}
