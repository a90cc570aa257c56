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
} series_t;

static const char *const  series_names[] = {
    "normal noise", "Laplace noise", "Student t noise, 3 degrees", "lognormal noise",
    "rare counts (Poisson 0.1)", "small counts (Poisson 5)", "counts (Poisson 300)",
    "autocorrelated (AR 0.95)", "random walk", "daily season", "daily counts",
    "weekly season", "noise by the hour", "slow drift", "flat", "flat, rarely not",
    "CPU, bounded", "a job every 6 hours", "error ratio, mostly zero",
    "latency, skewed, daily", "sawtooth", "counter", "two levels", "uniform noise",
    "bursts of counts", "coarse steps"
};

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
    c = series_normal(s);

    return series_normal(s) / sqrt((a * a + b * b + c * c) / 3);
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
    default: return floor((50 + 40 * sine + 2 * series_normal(s)) / 5) * 5;
    }
}


static inline series_t
series_begin(size_t f, int n)
{
    series_t  s = { 0, 0, 0, 0, 0 };

    s.seed = 88172645463325252ULL + 7919 * (uint64_t) n + 104729 * (uint64_t) f;
    (void) series_uniform(&s);

    return s;
}

#endif
