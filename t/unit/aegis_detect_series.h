/*
 * aegis_detect_series.h: series of known shape for the detectors' tests and their
 * bench. Each is made from a seed alone, so that a failure can be seen again.
 * Their invariant: nothing in them is an anomaly, unless the caller adds one.
 */
#ifndef AEGIS_DETECT_SERIES_H
#define AEGIS_DETECT_SERIES_H

#include <math.h>
#include <stdint.h>

typedef struct {
    uint64_t  seed;
    long      i;                /* points made */
    double    walk, burst, total;
    double    due;              /* of what happens next */
} series_t;

static const char *const  series_names[] = {
    "normal noise", "Laplace noise", "Student t noise, 3 degrees", "lognormal noise",
    "rare counts (Poisson 0.1)", "small counts (Poisson 5)", "counts (Poisson 300)",
    "autocorrelated (AR 0.95)", "random walk", "daily season", "daily counts",
    "weekly season", "noise by the hour", "slow drift", "flat", "flat, rarely not",
    "CPU, bounded", "a job every 6 hours", "error ratio, mostly zero",
    "latency, skewed, daily", "sawtooth", "counter", "two levels", "uniform noise",
    "bursts of counts", "coarse steps", "Student t noise, 2 degrees",
    "autocorrelated (AR 0.7)", "level that wanders, with noise", "clumped counts near zero",
    "zeros with spikes", "share near 100", "load, full and empty at times",
    "week with another weekend", "bump every 30 minutes", "bump every 10 minutes",
    "trend with a daily season", "opening hours", "memory, collected", "noise that clusters",
    "few whole numbers", "daily season with gaps"
};

#define SERIES_PLAIN  26                /* those before are simple ones */
#define SERIES_SPIKY  30                /* zeros with spikes */

#define SERIES_N  (sizeof(series_names) / sizeof(series_names[0]))


static inline double
series_uniform(series_t *s)
{
    s->seed ^= s->seed << 13;
    s->seed ^= s->seed >> 7;
    s->seed ^= s->seed << 17;

    return ((double) (s->seed >> 11) + 0.5) / 9007199254740992.0;
}


static inline double
series_normal(series_t *s)
{
    double  u;

    u = series_uniform(s);

    return sqrt(-2 * log(u)) * cos(6.283185307179586 * series_uniform(s));
}


static inline double
series_poisson(series_t *s, double mean)
{
    int     k;
    double  p, least;

    if (mean > 50) {
        p = floor(mean + sqrt(mean) * series_normal(s) + 0.5);
        return p < 0 ? 0 : p;
    }

    least = exp(-mean);
    for (k = -1, p = 1; p > least; k++) {
        p *= series_uniform(s);
    }

    return k;
}


static inline double
series_skewed(series_t *s, int kind)
{
    double  u, a, b, c;

    if (kind == 1) {
        u = series_uniform(s) - 0.5;
        return (u < 0 ? 1 : -1) * log(1 - 2 * fabs(u));
    }

    a = series_normal(s);
    b = series_normal(s);
    c = kind == 3 ? 0 : series_normal(s);

    return series_normal(s) / sqrt((a * a + b * b + c * c) / (kind == 3 ? 2 : 3));
}


static inline double
series_errors(series_t *s, double day)
{
    int     k;
    double  n, e;

    n = series_poisson(s, 300 * day);
    for (k = 0, e = 0; k < (int) n; k++) {
        e += series_uniform(s) < 0.003;
    }

    return n > 0 ? e / n : 0;
}


static inline double
series_between(double v, double least, double most)
{
    return v < least ? least : v > most ? most : v;
}


/* The later half of series_next(): what operations are like. A value that is not a
 * number is a point that does not come. */
static inline double
series_more(series_t *s, size_t f, double t)
{
    int     weekday, minute;
    double  hour, sine, v;

    hour = fmod(t / 3600, 24);
    sine = sin(6.283185307179586 * t / 86400);
    weekday = (int) fmod(t / 86400 + 4, 7);
    minute = (int) fmod(floor(t / 60), 30);

    switch (f) {
    case 26: return 50 + 3 * series_skewed(s, 3);
    case 27: s->walk = 0.7 * s->walk + 3 * series_normal(s); return 50 + s->walk;
    case 28: s->walk = 0.998 * s->walk + 0.4 * series_normal(s);
        return 50 + s->walk + 3 * series_normal(s);
    case 29: return series_poisson(s, series_uniform(s) < 0.15 ? -3 * log(series_uniform(s)) : 0.05);
    case 30: return series_uniform(s) < 0.01 ? 20 - 15 * log(series_uniform(s)) : 0;
    case 31: return series_between(99.7 + 0.3 * series_normal(s), 0, 100);
    case 32: return series_between(55 + 60 * sine + 6 * series_normal(s), 0, 100);
    case 33: v = weekday == 0 || weekday == 6
        ? 30 + 40 * exp(-(hour - 20) * (hour - 20) / 8)
        : 30 + 60 * exp(-(hour - 10) * (hour - 10) / 4) + 50 * exp(-(hour - 15) * (hour - 15) / 6);
        return v + 3 * series_normal(s);
    case 34: return 20 + 2 * series_normal(s) + (minute % 30 < 5 ? 15 : 0);
    case 35: return 20 + 2 * series_normal(s) + (minute % 10 < 2 ? 15 : 0);
    case 36: return 100 + 6 * (t - 1.7e9) / 86400 + 20 * sine + 3 * series_normal(s);
    case 37: return (weekday > 0 && weekday < 6 && hour >= 9 && hour < 17 ? 80 : 8) + 2 * series_normal(s);
    case 38: if (t >= s->due) {
            s->walk = 30;
            s->total = 0.2 + 0.3 * series_uniform(s);
            s->due = t + 7200 * (1 + 2 * series_uniform(s));
        }
        s->walk += s->total;
        return s->walk + 0.5 * series_normal(s);
    case 39: v = series_normal(s);
        s->walk = 0.05 + (s->walk > 0 ? 0.85 : 0) * s->walk + 0.1 * s->burst * s->burst;
        s->burst = v * sqrt(s->walk);
        return 50 + 5 * s->burst;
    case 40: return floor(8.5 + 0.8 * series_normal(s));
    default: v = 100 + 40 * sine + 4 * series_normal(s);
        s->burst = s->burst > 0 ? s->burst - 1 : series_uniform(s) < 0.003 ? 8 : 0;
        return s->burst > 0 || series_uniform(s) < 0.08 ? NAN : v;
    }
}


/* The value of family f at t; ask in order of time. */
static inline double
series_next(series_t *s, size_t f, double t)
{
    int     weekday;
    long    i;
    double  sine, hour, week, day, v;

    i = s->i++;
    sine = sin(6.283185307179586 * t / 86400);
    hour = fmod(t / 3600, 24);
    weekday = (int) fmod(t / 86400 + 4, 7);
    week = weekday == 0 || weekday == 6 ? 0.4 : 1;
    day = 0.55 - 0.45 * cos(6.283185307179586 * (hour - 3) / 24);

    switch (f) {
    case 0: return 50 + 5 * series_normal(s);
    case 1: return 50 + 3 * series_skewed(s, 1);
    case 2: return 50 + 3 * series_skewed(s, 2);
    case 3: return exp(2 + 0.8 * series_normal(s));
    case 4: return series_poisson(s, 0.1);
    case 5: return series_poisson(s, 5);
    case 6: return series_poisson(s, 300);
    case 7: s->walk = 0.95 * s->walk + series_normal(s); return 50 + s->walk;
    case 8: s->walk += series_normal(s); return 100 + s->walk;
    case 9: return 100 + 40 * sine + 4 * series_normal(s);
    case 10: return series_poisson(s, 200 * day);
    case 11: return 1000 * day * week * (1 + 0.03 * series_normal(s)) + 20 * series_normal(s);
    case 12: return 100 + (2 + 18 * day) * series_normal(s);
    case 13: return 50 + (double) i * 0.002 + 3 * series_normal(s);
    case 14: return 42;
    case 15: return 42 + (series_uniform(s) < 0.01 ? 0.1 * series_normal(s) : 0);
    case 16: s->walk = 0.9 * s->walk + 4 * series_normal(s); v = 35 + 30 * day + s->walk;
        return v < 0 ? 0 : v > 100 ? 100 : v;
    case 17: return 20 + 2 * series_normal(s) + (fmod(floor(t / 60), 360) == 0
                                                 ? 60 + 5 * series_normal(s) : 0);
    case 18: return series_errors(s, day);
    case 19: return 80 * (0.7 + 0.6 * day) * exp(0.25 * series_normal(s))
                    + (series_uniform(s) < 0.01 ? 100 * series_uniform(s) : 0);
    case 20: return fmod(t / 60, 240) + 0.5 * series_normal(s);
    case 21: s->total += series_poisson(s, 100 * day); return s->total;
    case 22: return (series_uniform(s) < 0.15 ? 90 : 30) + 2 * series_normal(s);
    case 23: return 10 + 20 * series_uniform(s);
    case 24: s->burst *= 0.8;
        s->burst += series_uniform(s) < 0.01 ? -40 * log(series_uniform(s)) : 0;
        return series_poisson(s, 2 + s->burst);
    case 25: return floor((50 + 40 * sine + 2 * series_normal(s)) / 5) * 5;
    default: return series_more(s, f, t);
    }
}


static inline series_t
series_begin(size_t f, int n)
{
    series_t  s = { 0, 0, 0, 0, 0, 0 };

    s.seed = 88172645463325252ULL + 7919 * (uint64_t) n + 104729 * (uint64_t) f;
    (void) series_uniform(&s);

    return s;
}

#endif
