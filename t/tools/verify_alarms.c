/*
 * verify_alarms.c: how often the verifier is wrong, over synthetic and real
 * series, at its defaults and as the settings of a check move it. Every series
 * is verified many times as healthy, where anything but pass is a false alarm,
 * and as many times degraded, where pass is a miss. Each setting sees the same
 * samples; seeds are fixed, so the table is the same on every machine. Output: a
 * line a series and setting, fields by tabs. t/47alarms.t reads it, and holds
 * docs/verifier.md to it.
 */
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "aegis_json.h"
#include "aegis_verify.h"

#define TRIALS    1000
#define BEFORE    30                    /* minutes of baseline */
#define AFTER     60
#define MINUTES   (BEFORE + AFTER)
#define CHANGE    1000000.0             /* when it ends */

typedef struct {
    double  v[MINUTES];
    double  n[MINUTES];
} sample_t;

typedef struct {
    const char  *name;
    const char  *measure;
    double       limit;                 /* absolute */
    double       ratio;                 /* against the baseline */
    const char  *file;                  /* NULL: made */
    void       (*make)(sample_t *s, int degraded);
} series_t;

static uint64_t  state;


static double
uniform(void)
{
    uint64_t  z;

    z = (state += 0x9e3779b97f4a7c15u);
    z = (z ^ (z >> 30)) * 0xbf58476d1ce4e5b9u;
    z = (z ^ (z >> 27)) * 0x94d049bb133111ebu;

    return (double) ((z ^ (z >> 31)) >> 11) / 9007199254740992.0;
}


static double
normal(void)
{
    int     i;
    double  sum;

    for (i = 0, sum = -6; i < 12; i++) {
        sum += uniform();
    }

    return sum;
}


static double
root(double x)
{
    int     i;
    double  r;

    for (i = 0, r = x > 1 ? x : 1; i < 40; i++) {
        r = (r + x / r) / 2;
    }

    return r;
}


/* e to a small power */
static double
power(double x)
{
    int     i;
    double  r;

    for (i = 0, r = 1 + x / 256; i < 8; i++) {
        r *= r;
    }

    return r;
}


/* The error rate of n requests that each fail with probability p. */
static double
errors(double n, double p)
{
    int     i, bad;
    double  rate;

    if (n <= 50) {
        for (i = 0, bad = 0; i < (int) n; i++) {
            bad += uniform() < p;
        }
        return bad / n;
    }

    rate = p + root(p * (1 - p) / n) * normal();

    return rate < 0 ? 0 : rate > 1 ? 1 : rate;
}


static void
steady(sample_t *s, int degraded)
{
    int  i;

    for (i = 0; i < MINUTES; i++) {
        s->n[i] = 600;
        s->v[i] = errors(600, degraded && i >= BEFORE ? 0.08 : 0.01);
    }
}


static void
quiet(sample_t *s, int degraded)
{
    int  i;

    for (i = 0; i < MINUTES; i++) {
        s->n[i] = 10;
        s->v[i] = errors(10, degraded && i >= BEFORE ? 0.08 : 0.01);
    }
}


/* Close to the limit, and wandering. */
static void
near(sample_t *s, int degraded)
{
    int     i;
    double  p, at;

    for (i = 0, p = 0; i < MINUTES; i++) {
        p = 0.6 * p + 0.01 * normal();
        at = (degraded && i >= BEFORE ? 0.08 : 0.035) + p;
        s->n[i] = 600;
        s->v[i] = errors(600, at < 0.001 ? 0.001 : at);
    }
}


static void
bursts(sample_t *s, int degraded)
{
    int  i;

    for (i = 0; i < MINUTES; i++) {
        s->n[i] = 600;
        s->v[i] = errors(600, uniform() < 0.03 ? 0.25
                              : degraded && i >= BEFORE ? 0.08 : 0.01);
    }
}


/* Cold caches: the first three minutes behind the change are bad by nature. */
static void
cold(sample_t *s, int degraded)
{
    int  i;

    steady(s, degraded);

    for (i = BEFORE; i < BEFORE + 3; i++) {
        s->v[i] = errors(600, 0.1);
    }
}


static void
latency(sample_t *s, int degraded)
{
    int     i;
    double  x;

    for (i = 0, x = 0; i < MINUTES; i++) {
        x = 0.5 * x + 0.08 * normal();
        s->n[i] = 600;
        s->v[i] = (degraded && i >= BEFORE ? 260 : 170) * power(x);
    }
}


static const series_t  series[] = {
    { "steady",      "error_rate", 0.05, 3,   NULL, steady },
    { "low traffic", "error_rate", 0.05, 3,   NULL, quiet },
    { "near limit",  "error_rate", 0.05, 1.8, NULL, near },
    { "bursts",      "error_rate", 0.05, 3,   NULL, bursts },
    { "cold start",  "error_rate", 0.05, 3,   NULL, cold },
    { "latency p95", "p95",        200,  1.3, NULL, latency },
    { "real latency", "value",     48,   1.1, "ec2_request_latency_system_failure.txt", NULL },
    { "real cpu",     "value",     49,   1.15, "ec2_cpu_utilization_5f5533.txt", NULL }
};

static const struct {
    const char  *name;
    const char  *more;                  /* members of the check; %g: the ratio */
    int          burn;
} settings[] = {
    { "defaults",       "'window_s':300", 0 },
    { "window 60",      "'window_s':60", 0 },
    { "window 900",     "'window_s':900", 0 },
    { "samples 100",    "'window_s':300,'min_samples':100", 0 },
    { "samples 1800",   "'window_s':300,'min_samples':1800", 0 },
    { "passes 3",       "'window_s':300,'passes':3,'every_s':60", 0 },
    { "fails 2",        "'window_s':300,'fails':2,'every_s':60", 0 },
    { "fails 3",        "'window_s':300,'fails':3,'every_s':60", 0 },
    { "careful",        "'window_s':600,'min_samples':100,'passes':3,'fails':3,'every_s':60", 0 },
    { "warm-up 180",    "'window_s':300,'warmup_s':180", 0 },
    { "baseline",       "'window_s':300,'baseline':{'window_s':1800,'compare':'ratio'}", 0 },
    { "burn rate",      "'slo':0.98,'short_s':120,'long_s':600,'factor':2.5", 1 }
};

#define N(table)  (sizeof(table) / sizeof((table)[0]))


static void
check_load(size_t s, size_t k, aegis_verify_check_t *c, json_t **keep)
{
    char  *p, text[512];

    snprintf(text, sizeof(text), settings[k].burn
        ? "{'kind':'metric_burn','resource':'r','metric':'m',%s}"
        : "{'kind':'metric','resource':'r','metric':'m','measure':'%s','op':'<=',"
          "'threshold':%g,%s}", settings[k].burn ? settings[k].more : series[s].measure,
        strcmp(settings[k].name, "baseline") == 0 ? series[s].ratio : series[s].limit,
        settings[k].more);

    for (p = text; *p; p++) {
        *p = *p == '\'' ? '"' : *p;
    }

    *keep = json_loads(text, 0, NULL);
    aegis_verify_check_load(*keep, c);
}


/* One verification from the change on; *ret_s: after how many seconds. */
static aegis_verify_state_t
verify(const aegis_verify_check_t *c, const sample_t *s, double *ret_s)
{
    int                       i;
    double                    now;
    aegis_verify_input_t      in;
    aegis_verify_point_t      before[BEFORE], after[AFTER];
    aegis_verify_state_t      st;
    aegis_verify_result_t     res;
    aegis_verify_series_t     window = { after, 0, 0, 0, 60, NULL };
    aegis_verify_series_t     baseline = { before, BEFORE, 0, 0, 60, NULL };
    aegis_verify_progress_t   progress = { 0, 0 };

    for (i = 0; i < MINUTES; i++) {
        *(i < BEFORE ? &before[i] : &after[i - BEFORE]) = (aegis_verify_point_t)
            { CHANGE + (i - BEFORE) * 60, s->v[i], s->n[i] };
    }

    in.change_from = in.change_to = CHANGE;
    in.series = &window;
    in.baseline = c->compare == AEGIS_VERIFY_ABSOLUTE ? NULL : &baseline;

    for (now = 0; ; now += c->every_s) {
        /* a minute is there when it is over */
        window.n = (size_t) (now / 60) < AFTER ? (size_t) (now / 60) : AFTER;
        in.now = CHANGE + now;
        aegis_verify_judge(c, &in, &res);
        st = aegis_verify_advance(c, &progress, res.outcome, now);

        if (st != AEGIS_VERIFY_UNDECIDED) {
            *ret_s = now;
            return st;
        }
    }
}


/* Values and where a labelled anomaly is near. */
static size_t
real(const char *dir, const char *file, double *v, char *bad, size_t max)
{
    char    path[1024], line[128];
    FILE   *f;
    size_t  n;

    snprintf(path, sizeof(path), "%s/%s", dir, file);
    f = fopen(path, "r");
    if (f == NULL) {
        perror(path);
        exit(1);
    }

    for (n = 0; n < max && fgets(line, sizeof(line), f); ) {
        if (line[0] != '#') {
            bad[n] = strchr(line, '*') != NULL;
            v[n++] = strtod(line, NULL);
        }
    }

    fclose(f);

    return n;
}


static int
real_sample(const double *v, const char *bad, size_t n, int trial, sample_t *s, int degraded)
{
    size_t  i, at;

    at = (size_t) trial * 3;
    if (at + MINUTES > n) {
        return 0;
    }

    for (i = 0; i < MINUTES; i++) {
        if (bad[at + i]) {
            return 0;
        }
        s->n[i] = 60;
        s->v[i] = v[at + i] * (degraded && i >= BEFORE ? 1.25 : 1);
    }

    return 1;
}


static int
by_number(const void *a, const void *b)
{
    double  d = *(const double *) a - *(const double *) b;

    return d < 0 ? -1 : d > 0;
}


static void
one(const char *dir, size_t s)
{
    static double         v[5000], took[N(settings)][TRIALS];
    static char           bad[5000];
    int                   d, trial, total[2] = { 0, 0 }, alarms[N(settings)] = { 0 };
    int                   undecided[N(settings)] = { 0 }, missed[N(settings)] = { 0 };
    double                t;
    size_t                k, n;
    json_t               *keep[N(settings)];
    sample_t              x;
    aegis_verify_check_t  c[N(settings)];
    aegis_verify_state_t  st;

    n = series[s].file ? real(dir, series[s].file, v, bad, N(v)) : 0;
    state = 20261126 + s;

    for (k = 0; k < N(settings); k++) {
        check_load(s, k, &c[k], &keep[k]);
    }

    for (d = 0; d < 2; d++) {
        for (trial = 0; trial < TRIALS; trial++) {
            if (series[s].file == NULL) {
                series[s].make(&x, d);
            } else if (!real_sample(v, bad, n, trial, &x, d)) {
                continue;
            }

            for (k = 0; k < N(settings); k++) {
                st = verify(&c[k], &x, &t);
                if (d == 0) {
                    took[k][total[0]] = t;
                }
                alarms[k] += d == 0 && st == AEGIS_VERIFY_BROKEN;
                undecided[k] += d == 0 && st == AEGIS_VERIFY_OVERDUE;
                missed[k] += d == 1 && st == AEGIS_VERIFY_HOLDS;
            }
            total[d]++;
        }
    }

    for (k = 0; k < N(settings); k++) {
        if (!settings[k].burn || strcmp(series[s].measure, "error_rate") == 0) {
            qsort(took[k], (size_t) total[0], sizeof(double), by_number);
            printf("%s\t%s\t%d\t%.1f\t%.1f\t%.1f\t%.0f\n", series[s].name,
                   settings[k].name, total[0], 100.0 * alarms[k] / total[0],
                   100.0 * undecided[k] / total[0], 100.0 * missed[k] / total[1],
                   took[k][total[0] / 2]);
        }
        json_decref(keep[k]);
    }
}


int
main(int argc, char **argv)
{
    size_t  s;

    for (s = 0; s < N(series); s++) {
        one(argc > 1 ? argv[1] : "t/data/series", s);
    }

    return fflush(stdout) != 0;
}
