/*
 * aegis_detect_base.c: what was to be expected. Several simple guesses of the next
 * value run side by side (the last value, two levels, a trend, the profile of the
 * day, that of the week); the one that was wrong by least lately is believed.
 * Invariant: one value, however wild, moves a level by a few of the usual errors
 * only; a value that stays is taken for the new level after a while.
 */
#include "aegis_detect_impl.h"

#include <math.h>

#define AEGIS_BASE_FAST       0.3
#define AEGIS_BASE_SLOW       0.05
#define AEGIS_BASE_DEVIATE    0.1
#define AEGIS_BASE_TREND      0.1
#define AEGIS_BASE_ERROR      100.0     /* points that an expert is judged by */
#define AEGIS_BASE_SEASON     1000.0    /* the same of a season */
#define AEGIS_BASE_CLIP       4.0       /* errors that a level believes at most */
#define AEGIS_BASE_STAYS      12        /* points until a new level is believed */
#define AEGIS_BASE_CYCLES     4.0       /* days, or weeks, that a profile remembers */
#define AEGIS_BASE_LEAST      500.0     /* points that the base is a mean of */
#define AEGIS_BASE_MOST       5000.0
#define AEGIS_BASE_BETTER     0.9       /* of the error of who was believed */


/* The hour of the day or week of t, and how far t is from its middle (-0.5..0.5). */
static int
aegis_detect_hour(double t, int hours, double *ret_off)
{
    double  h, whole;

    h = t / 3600;
    whole = floor(h);
    *ret_off = h - whole - 0.5;

    /* 1970 began on a Thursday, which is as good a beginning as any */
    h = fmod(whole, hours);

    return (int) (h < 0 ? h + hours : h);
}


static double
aegis_detect_per_hour(const aegis_detect_t *s)
{
    return s->step > 0 && s->step < 3600 ? 3600 / s->step : 1;
}


int
aegis_detect_profile_known(const aegis_detect_t *s, int season, double t)
{
    int     h;
    double  off, per;

    per = aegis_detect_per_hour(s);

    if (season == 1) {
        h = aegis_detect_hour(t, AEGIS_DETECT_DAY, &off);
        return s->day_n[h] >= 1.5 * per;
    }

    if (season == 2) {
        h = aegis_detect_hour(t, AEGIS_DETECT_WEEK, &off);
        return s->week_n[h] >= 1.5 * per;
    }

    return 0;
}


double
aegis_detect_profile(const aegis_detect_t *s, int season, double t)
{
    int              h, next, hours;
    double           off, here, there;
    const float     *mean;
    const uint16_t  *n;

    if (season == 0) {
        return 0;
    }

    hours = season == 1 ? AEGIS_DETECT_DAY : AEGIS_DETECT_WEEK;
    mean = season == 1 ? s->day : s->week;
    n = season == 1 ? s->day_n : s->week_n;

    h = aegis_detect_hour(t, hours, &off);
    here = (double) mean[h];

    /* between the middles of two hours it is a straight line */
    next = (h + (off < 0 ? hours - 1 : 1)) % hours;
    there = n[next] ? (double) mean[next] : here;

    return s->step >= 3600 ? here : here + fabs(off) * (there - here);
}


void
aegis_detect_expect(const aegis_detect_t *s, double t,
    double guess[AEGIS_DETECT_EXPERTS])
{
    guess[0] = s->v;
    guess[1] = s->level[0];
    guess[2] = s->level[1];
    guess[3] = s->level[2] + s->level[3];
    guess[4] = s->base + aegis_detect_profile(s, 1, t) + s->deviates[0];
    guess[5] = s->base + aegis_detect_profile(s, 2, t) + s->deviates[1];
}


static double
aegis_detect_clip(double x, double most)
{
    return x > most ? most : x < -most ? -most : x;
}


static void
aegis_detect_learn_error(double *error, double e, double floor, double points, int64_t n)
{
    double  share, most;

    share = 1 / points;
    share = n < points ? 1.0 / (double) (n + 1) : share;
    e = fabs(e);

    /* one wild value is no measure; many of them become one, step by step */
    most = AEGIS_BASE_CLIP * (*error > floor ? *error : floor);
    e = n > 8 && most > 0 && e > most ? most : e;
    *error += share * (e - *error);
}


/* Which expert, which season was wrong by least lately. */
static void
aegis_detect_choose(aegis_detect_t *s, double t)
{
    int     i, best;

    best = s->expert;
    if (best >= 4 && !aegis_detect_profile_known(s, best - 3, t)) {
        best = 2;
    }

    for (i = 0; i < AEGIS_DETECT_EXPERTS; i++) {
        if (i >= 4 && !aegis_detect_profile_known(s, i - 3, t)) {
            continue;
        }
        if (s->error[i] < AEGIS_BASE_BETTER * s->error[best]) {
            best = i;
        }
    }

    s->expert = (uint8_t) best;
    best = s->season;

    if (best && !aegis_detect_profile_known(s, best, t)) {
        best = 0;
    }

    for (i = 0; i < AEGIS_DETECT_SEASONS; i++) {
        if ((i == 0 || aegis_detect_profile_known(s, i, t))
            && s->season_error[i] < AEGIS_BASE_BETTER * s->season_error[best])
        {
            best = i;
        }
    }

    if (best != s->season) {
        s->season = (uint8_t) best;
        s->flat_n = 0;
        s->flat_at = 0;
    }
}


static void
aegis_detect_learn_hour(float *mean, uint16_t *n, double v, double per)
{
    double  count, most;

    count = *n + 1.0;
    most = per * AEGIS_BASE_CYCLES;
    most = most < 2 ? 2 : most;

    if (*n < 60000) {
        (*n)++;
    }

    *mean = (float) ((double) *mean + (v - (double) *mean) / (count < most ? count : most));
}


static void
aegis_detect_learn_season(aegis_detect_t *s, double t, double v, double floor)
{
    int     i, h, known;
    double  off, per, dev, most, d;

    per = aegis_detect_per_hour(s);
    d = v - s->base;

    for (i = 0; i < AEGIS_DETECT_SEASONS; i++) {
        known = i == 0 || aegis_detect_profile_known(s, i, t);
        dev = d - (known ? aegis_detect_profile(s, i, t) : 0);

        /* while a profile is not known it is no better than none */
        aegis_detect_learn_error(&s->season_error[i],
                                 known ? dev : s->season_error[0], floor,
                                 AEGIS_BASE_SEASON, s->n);
        if (i > 0) {
            most = known ? AEGIS_BASE_CLIP * s->error[i + 3] + floor : INFINITY;
            s->deviates[i - 1] += known
                ? AEGIS_BASE_DEVIATE * aegis_detect_clip(dev - s->deviates[i - 1], most)
                : 0;
        }
    }

    most = AEGIS_BASE_CLIP * s->season_error[0] + floor;
    d = s->n > 50 ? aegis_detect_clip(d, 2 * most) : d;

    /* two days, as a mean at first */
    dev = s->step > 0 ? 2 * 86400 / s->step : 0;
    dev = dev < AEGIS_BASE_LEAST ? AEGIS_BASE_LEAST
          : dev > AEGIS_BASE_MOST ? AEGIS_BASE_MOST : dev;
    s->base += d / ((double) s->n + 1 < dev ? (double) s->n + 1 : dev);

    h = aegis_detect_hour(t, AEGIS_DETECT_DAY, &off);
    aegis_detect_learn_hour(&s->day[h], &s->day_n[h], d, per);
    h = aegis_detect_hour(t, AEGIS_DETECT_WEEK, &off);
    aegis_detect_learn_hour(&s->week[h], &s->week_n[h], d, per);
}


/* A level that was wrong in the same direction for long enough starts anew. */
static void
aegis_detect_learn_level(aegis_detect_t *s, double v, double floor)
{
    double  e, most;

    e = v - s->level[1];
    most = AEGIS_BASE_CLIP * s->error[2] + floor;

    if (s->n < 8) {
        s->level[1] += e / (double) (s->n + 1);
        s->level[0] += 0.5 * (v - s->level[0]);

    } else {
        s->clipped = (int8_t) (fabs(e) <= most ? 0 : e > 0
                     ? (s->clipped > 0 ? s->clipped + 1 : 1)
                     : (s->clipped < 0 ? s->clipped - 1 : -1));
        s->level[1] += AEGIS_BASE_SLOW * aegis_detect_clip(e, most);
        s->level[0] += AEGIS_BASE_FAST * (v - s->level[0]);
    }

    if (s->clipped >= AEGIS_BASE_STAYS || s->clipped <= -AEGIS_BASE_STAYS) {
        s->level[1] = s->level[0];
        s->clipped = 0;
    }

    e = v - s->level[2] - s->level[3];
    s->level[2] += s->level[3] + 0.5 * e;
    s->level[3] += AEGIS_BASE_TREND * e;
    s->level[3] = aegis_detect_clip(s->level[3], 1e30);
}


void
aegis_detect_learn(aegis_detect_t *s, double t, double v, double floor,
    const double guess[AEGIS_DETECT_EXPERTS])
{
    int     i, h;
    double  off, share;

    if (s->n == 0) {
        s->level[0] = s->level[1] = s->level[2] = v;
        s->base = v;
        aegis_detect_learn_season(s, t, v, floor);
        return;
    }

    for (i = 0; i < AEGIS_DETECT_EXPERTS; i++) {
        if (i >= 4 && !aegis_detect_profile_known(s, i - 3, t)) {
            s->error[i] = 2 * s->error[1];
            continue;
        }
        aegis_detect_learn_error(&s->error[i], v - guess[i], floor, AEGIS_BASE_ERROR,
                                 s->n);
    }

    h = aegis_detect_hour(t, AEGIS_DETECT_DAY, &off);
    share = 0.25 / aegis_detect_per_hour(s);
    off = fabs(v - guess[s->expert]);
    share = s->residual[h] > 0 ? (share > 0.1 ? 0.1 : share) : 1;
    off = s->residual[h] > 0 && off > AEGIS_BASE_CLIP * s->residual[h]
          ? AEGIS_BASE_CLIP * s->residual[h] : off;
    s->residual[h] += share * (off - s->residual[h]);

    aegis_detect_learn_level(s, v, floor);
    aegis_detect_learn_season(s, t, v, floor);
    aegis_detect_choose(s, t);
}
