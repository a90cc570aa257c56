/*
 * detect_find.c: what the detectors find at default settings, in every family of
 * t/unit/aegis_detect_series.h. detect_find STEP_S DAYS N: after so many days of
 * learning each anomaly is put into N series of each family that can show it. With a
 * fourth argument, poisoned, there were two incidents already while it learned. Its
 * window is the anomaly and LATE points after. A line of JSON for each pair: the
 * part that was reported in the window, points until then (median), and reports
 * of nothing, a series-day, from the window's end on for a day, or a hundred points.
 */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "../unit/aegis_detect_series.h"
#include "aegis_detect.h"

#define START     1700000000.0
#define FOR_GOOD  60                    /* points in which what lasts is to be found */
#define LATE      15
#define AWAY      43200.0               /* seconds to another hour's values */
#define MOST      200                   /* series of a pair */

typedef enum { ADD, KEEP, PAIR, RAMP, SPREAD, CALM, ZERO, STUCK, HOUR, FASTER } how_t;

/* size is in units of the family's noise, or what how says */
typedef struct {
    const char  *name;
    int          points;
    double       size;
    how_t        how;
} harm_t;

static const harm_t  harms[] = {
    { "one point, 6 units", 1, 6, ADD },
    { "one point, 10 units", 1, 10, ADD },
    { "two points of 6 units, 4 apart", 5, 6, PAIR },
    { "10 points, 4 units", 10, 4, ADD },
    { "10 points, 6 units", 10, 6, ADD },
    { "60 points, 3 units", 60, 3, ADD },
    { "level moves 3 units", FOR_GOOD, 3, KEEP },
    { "level moves 5 units", FOR_GOOD, 5, KEEP },
    { "rises by 8 units in 120 points", 120, 8, RAMP },
    { "noise of 4 units for 60 points", 60, 4, SPREAD },
    { "a fifth of the noise for 120 points", 120, 0.2, CALM },
    { "zero for 3 points", 3, 0, ZERO },
    { "zero for 30 points", 30, 0, ZERO },
    { "one value for 120 points", 120, 0, STUCK },
    { "another hour's values for 60 points", 60, 0, HOUR },
    { "twice as fast for 240 points", 240, 2, FASTER },
};

#define HARMS  (sizeof(harms) / sizeof(harms[0]))

/* what happens at a half and at three quarters of the days of learning */
static const harm_t  incidents[] = {
    { "60 points, 10 units", 60, 10, ADD },
    { "noise of 8 units for 30 points", 30, 8, SPREAD },
};

/* What a family shows: noise, so that its unit means something (1), a season of the
 * day that is larger than its noise (2), one that is shorter than a day (4). Zero is
 * its own for those with 8, and one value is for those with 16; up only: 32. */
static const unsigned char  shows[] = {
    1, 1, 1, 1, 8 | 16, 1 | 8 | 32, 1, 1, 1, 3, 3 | 32, 3, 1, 1, 16, 16,
    1 | 8, 1, 8 | 16 | 32, 1, 4 | 8, 0, 1, 1, 8 | 32, 2 | 16, 1, 1, 1, 8 | 16 | 32, 8 | 16 | 32, 16,
    2 | 8 | 16, 3, 1 | 4, 1 | 4, 3, 1 | 2, 0, 1, 16, 3
};


static int
by_size(const void *a, const void *b)
{
    double  x, y;

    x = *(const double *) a;
    y = *(const double *) b;

    return x < y ? -1 : x > y;
}


/* The usual step between neighbours as the deviation of one point; where most are
 * equal, a part of the range that the series has. */
static double
unit_of(size_t f, int n, double step)
{
    int       i, k;
    double    t, v, was, d[1000], all[1000];
    series_t  made;

    made = series_begin(f, n);
    for (i = -1, k = 0, t = START, was = NAN; i < 1000; i++, t += step) {
        v = series_next(&made, f, t);
        if (isfinite(v) && isfinite(was)) {
            d[k] = fabs(v - was);
            all[k++] = v;
        }
        was = v;
    }
    qsort(d, (size_t) k, sizeof(double), by_size);
    qsort(all, (size_t) k, sizeof(double), by_size);

    return d[k / 2] > 0 ? 1.4826 * d[k / 2] / sqrt(2)
           : all[k - 1 - k / 50] > all[k / 50] ? (all[k - 1 - k / 50] - all[k / 50]) / 4
           : fabs(all[k / 2]) > 0 ? 0.02 * fabs(all[k / 2]) : 1;
}


static int
can_show(size_t f, how_t how)
{
    switch (how) {
    case ZERO:   return !(shows[f] & 8);
    case STUCK:  return !(shows[f] & 16);
    case HOUR:   return (shows[f] & 2) != 0;
    case FASTER: return (shows[f] & 4) != 0;
    case CALM:   return (shows[f] & 1) && f != 16;
    default:     return f != 21;
    }
}


/* One series before and while it is harmed. */
typedef struct {
    size_t           f;
    double           t, step, unit, mean;
    series_t         made, other, chance;
    aegis_detect_t   s;
    int              sign;
    long             alarms;
    aegis_detect_rule_t     rule;
    aegis_detect_result_t   r;
} run_t;


static double
harmed(run_t *run, const harm_t *h, long k, double v, double *stuck)
{
    if (k < 0 || (k >= h->points && h->how != KEEP)) {
        return v;
    }

    *stuck = k == 0 ? v : *stuck;

    switch (h->how) {
    case ADD:
    case KEEP:   return v + run->sign * h->size * run->unit;
    case PAIR:   return v + (k % 4 == 0 ? run->sign * h->size * run->unit : 0);
    case RAMP:   return v + run->sign * h->size * run->unit * (double) k / h->points;
    case SPREAD: return v + h->size * run->unit * series_normal(&run->chance);
    case CALM:   return run->mean + h->size * (v - run->mean);
    case ZERO:   return 0;
    case STUCK:  return *stuck;
    default:     return v;
    }
}


/* One point; returns whether it was reported. */
static int
step_on(run_t *run, const harm_t *h, long k, double *stuck)
{
    int     moved;
    double  t, v;

    t = run->t;
    moved = h && k >= 0 && k < h->points;
    v = series_next(&run->made, run->f,
                    moved && h->how == HOUR ? t + AWAY
                    : moved && h->how == FASTER ? t + (double) k * run->step : t);
    v = h ? harmed(run, h, k, v, stuck) : v;
    run->t += run->step;
    if (!isfinite(v)) {
        return 0;
    }
    run->mean += 0.02 * (v - run->mean);
    run->r.alarm = 0;
    (void) aegis_detect_feed(&run->s, &run->rule, t, v, &run->r);

    return run->r.alarm;
}


static run_t
learned(size_t f, int n, double step, int days, int poisoned)
{
    int            alarm;
    long           k, at, points;
    run_t          run;
    double         stuck, until;
    const harm_t  *h;

    memset(&run, 0, sizeof(run));
    run.f = f;
    run.t = START + 86400.0 * (n % 7);
    run.step = step;
    run.unit = unit_of(f, n, step);
    run.made = series_begin(f, n);
    run.chance = series_begin(f, n + 50000);
    run.sign = (shows[f] & 32) || series_uniform(&run.chance) < 0.5 ? 1 : -1;
    run.sign = f == 31 ? -1 : run.sign;
    aegis_detect_rule_init(&run.rule);
    until = run.t + 86400 * (days + series_uniform(&run.chance));
    points = (long) (86400 / step * days);
    for (k = 0, stuck = 0; run.t < until; k++) {
        h = k < points * 5 / 8 ? &incidents[0] : &incidents[1];
        at = k - (h == incidents ? points / 2 : points * 3 / 4);
        h = poisoned && can_show(f, h->how) && at >= 0 && at < h->points ? h : NULL;
        alarm = step_on(&run, h, at, &stuck);
        run.alarms += alarm && h == NULL;
    }

    return run;
}


/* Points until the report of this harm; -1: there was none. Adds what is reported
 * after its window to *ret_after. */
static int
found_after(run_t run, const harm_t *h, long *ret_after)
{
    int     found, alarm;
    long    k, end, rest;
    double  stuck;

    end = h->points + (h->how == KEEP ? 0 : LATE);
    rest = (long) (86400 / run.step);
    rest = rest < 100 ? 100 : rest;

    for (k = 0, found = -1, stuck = 0; k < end + rest; k++) {
        alarm = step_on(&run, h, k, &stuck);
        if (alarm && k < end && found < 0) {
            found = (int) k;
        }
        *ret_after += alarm && k >= end;
    }

    return found;
}


static void
say(const char *harm, const char *family, double step, int tried, double *delay, int found,
    double after)
{
    qsort(delay, (size_t) found, sizeof(double), by_size);
    printf("{\"anomaly\":\"%s\",\"family\":\"%s\",\"step_s\":%g,\"tried\":%d,\"found\":%.3f,"
           "\"points_until\":%g,\"after\":%.3f}\n", harm, family, step, tried,
           (double) found / tried, found ? delay[found / 2] : -1, after);
}


static void
find(double step, int days, int n, int poisoned)
{
    int            i, d, found[HARMS][SERIES_N];
    long           after[HARMS][SERIES_N], late, before;
    size_t         f, h;
    run_t          run;
    double         rest;
    static double  delay[HARMS][SERIES_N][MOST];

    memset(found, 0, sizeof(found));
    memset(after, 0, sizeof(after));
    rest = 86400 / step < 100 ? 100 * step / 86400 : 1;

    for (f = 0; f < SERIES_N; f++) {
        for (i = 0, before = 0; i < n; i++) {
            run = learned(f, 5000 + i, step, days, poisoned);
            before += run.alarms;
            for (h = 0; h < HARMS; h++) {
                if (can_show(f, harms[h].how)) {
                    late = 0;
                    d = found_after(run, &harms[h], &late);
                    after[h][f] += late;
                    if (d >= 0) {
                        delay[h][f][found[h][f]++] = d;
                    }
                }
            }
        }
        for (h = 0; h < HARMS; h++) {
            if (can_show(f, harms[h].how)) {
                say(harms[h].name, series_names[f], step, n, delay[h][f], found[h][f],
                    (double) after[h][f] / n / rest);
            }
        }
        printf("{\"anomaly\":\"none\",\"family\":\"%s\",\"step_s\":%g,\"per_series_day\":%.4f}\n",
               series_names[f], step, (double) before / n / (days + 0.5));
    }
}


int
main(int argc, char **argv)
{
    int  n;

    n = argc == 4 || (argc == 5 && strcmp(argv[4], "poisoned") == 0) ? atoi(argv[3]) : 0;
    if (n < 1 || n > MOST || atof(argv[1]) <= 0) {
        fprintf(stderr, "usage: detect_find STEP_S DAYS N (1 to %d) [poisoned]\n", MOST);
        return 2;
    }
    find(atof(argv[1]), atoi(argv[2]), n, argc == 5);

    return 0;
}
