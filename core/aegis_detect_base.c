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
#define AEGIS_BASE_SEASON     172800.0  /* seconds that a season is judged by, and the base is of */
#define AEGIS_BASE_CLIP       4.0       /* errors that a level believes at most */
#define AEGIS_BASE_STAYS      12        /* points until a new level is believed */
#define AEGIS_BASE_LEAST      500.0     /* points that this is */
#define AEGIS_BASE_MOST       5000.0
#define AEGIS_BASE_AGAIN      7         /* the expert who follows the last deviation */
#define AEGIS_BASE_PROFILES   3         /* experts of the seasons come after it */
#define AEGIS_BASE_USUAL      2000.0    /* points that the usual error is a mean of */
#define AEGIS_BASE_FOLLOWS    500.0     /* the same of how values follow each other */
#define AEGIS_BASE_BETTER     0.9       /* of the error of who was believed */


void
aegis_detect_expect(const aegis_detect_t *s, double t,
    double guess[AEGIS_DETECT_EXPERTS])
{
    int     i;
    double  last, share;

    guess[0] = s->v;
    guess[1] = s->level[0];
    guess[2] = s->level[1];
    guess[3] = s->level[2] + s->level[3];

    for (i = 1; i < AEGIS_DETECT_SEASONS; i++) {
        guess[AEGIS_BASE_PROFILES + i] = s->base + aegis_detect_profile(s, i, t)
                                         + s->deviates[i - 1];
    }

    /* what the last value was off by, as far as it usually goes on */
    last = s->flat_n ? (double) s->flat[(s->flat_at + AEGIS_DETECT_RING - 1) % AEGIS_DETECT_RING]
                       + s->origin - s->base : 0;
    share = s->own > 0 ? s->with / s->own : 0;
    share = share < 0 ? 0 : share > 1 ? 1 : share;
    guess[AEGIS_BASE_AGAIN] = s->base + aegis_detect_profile(s, s->season, t) + share * last;
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


/* A profile's expert is asked when its profile is known. */
static int
aegis_detect_asked(const aegis_detect_t *s, int expert, double t)
{
    return expert <= AEGIS_BASE_PROFILES || expert == AEGIS_BASE_AGAIN
           || aegis_detect_profile_known(s, expert - AEGIS_BASE_PROFILES, t);
}


/* What is left without another season begins anew, and deviations from one that was
 * not known are no measure of those that come. */
static void
aegis_detect_reseason(aegis_detect_t *s, int season)
{
    int  i;

    for (i = 0; season && i < AEGIS_DETECT_TAILS - 2; i++) {
        aegis_detect_tail_doubt(&s->tail[i]);
    }

    s->flat_n = s->flat_at = 0;
    s->season = (uint8_t) season;
}


/* Which expert, which season was wrong by least lately. */
static void
aegis_detect_choose(aegis_detect_t *s, double t)
{
    int  i, best;

    best = aegis_detect_asked(s, s->expert, t) ? s->expert : 2;

    for (i = 0; i < AEGIS_DETECT_EXPERTS; i++) {
        if (aegis_detect_asked(s, i, t) && s->error[i] < AEGIS_BASE_BETTER * s->error[best]) {
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
        aegis_detect_reseason(s, best);
    }
}


static void
aegis_detect_learn_season(aegis_detect_t *s, double t, double v, double off, double floor)
{
    int     i, known;
    double  dev, most, d, days;

    d = v - s->base;
    days = s->step > 0 ? fmin(fmax(AEGIS_BASE_SEASON / s->step, AEGIS_BASE_LEAST), AEGIS_BASE_MOST)
           : AEGIS_BASE_LEAST;

    /* a drift is no season, though a profile would follow it */
    s->lag += aegis_detect_clip(d - s->lag, AEGIS_BASE_CLIP * s->season_error[0] + floor)
              / fmin((double) s->n + 1, days / 2);

    for (i = 0; i < AEGIS_DETECT_SEASONS; i++) {
        known = i == 0 || aegis_detect_profile_known(s, i, t);
        dev = d - (known && i > 0 ? aegis_detect_profile(s, i, t) : s->lag);

        /* while a profile is not known it is no better than none */
        aegis_detect_learn_error(&s->season_error[i],
                                 known ? dev : s->season_error[0], floor, days, s->n);
        if (i > 0 && known) {
            most = AEGIS_BASE_CLIP * s->error[i + AEGIS_BASE_PROFILES] + floor;
            s->deviates[i - 1] += AEGIS_BASE_DEVIATE
                                  * aegis_detect_clip(dev - s->deviates[i - 1], most);
        }
    }

    most = AEGIS_BASE_CLIP * s->season_error[0] + floor;
    d = s->n > 50 ? aegis_detect_clip(d, 2 * most) : d;

    dev = d / fmin((double) s->n + 1, days);
    s->base += dev;

    /* a base that is no mean yet takes along what stands on it */
    if (s->n < days && dev != 0) {
        aegis_detect_move_slots(s, -dev);
        d -= dev;
    }

    aegis_detect_learn_slots(s, t, d, fabs(off), floor);
}


/* How errors of one value go over to the next one; the newest one is in flat already. */
static void
aegis_detect_learn_follows(aegis_detect_t *s, double floor)
{
    double  now, last, most, share;

    if (s->flat_n < 2) {
        return;
    }

    most = AEGIS_BASE_CLIP * s->season_error[s->season] + floor;
    now = (double) s->flat[(s->flat_at + AEGIS_DETECT_RING - 1) % AEGIS_DETECT_RING];
    last = (double) s->flat[(s->flat_at + AEGIS_DETECT_RING - 2) % AEGIS_DETECT_RING];
    now = aegis_detect_clip(now + s->origin - s->base, most);
    last = aegis_detect_clip(last + s->origin - s->base, most);
    share = 1 / fmin((double) s->n + 1, AEGIS_BASE_FOLLOWS);
    s->with += share * (now * last - s->with);
    s->own += share * (last * last - s->own);
}


/* The usual error forgets slowly, so that a series that seldom moves is not measured
 * by the silence between; one point makes it half as large again at most. */
static void
aegis_detect_learn_usual(aegis_detect_t *s, double off, double floor, double loud)
{
    double  share;

    share = 1 / fmin((double) s->n + 1, AEGIS_BASE_USUAL);
    s->usual += share * (fmin(off, fmax(s->usual, floor) / (2 * share)) - s->usual);

    share = 1 / fmin((double) s->n + 1, AEGIS_BASE_ERROR);
    off /= loud;
    off = s->n > 8 ? fmin(off, AEGIS_BASE_CLIP * fmax(s->quiet, floor)) : off;
    s->quiet += share * (off - s->quiet);
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
aegis_detect_learn(aegis_detect_t *s, const aegis_detect_look_t *look)
{
    int     i;
    double  off;

    if (s->n == 0) {
        s->level[0] = s->level[1] = s->level[2] = look->v;
        s->base = look->v;
        aegis_detect_learn_season(s, look->t, look->v, 0, look->floor);
        return;
    }

    for (i = 0; i < AEGIS_DETECT_EXPERTS; i++) {
        if (!aegis_detect_asked(s, i, look->t)) {
            s->error[i] = 2 * s->error[1];
            continue;
        }
        aegis_detect_learn_error(&s->error[i], look->v - look->guess[i], look->floor,
                                 AEGIS_BASE_ERROR, s->n);
    }

    off = fabs(look->v - look->guess[s->expert]);
    aegis_detect_learn_usual(s, off, look->floor, look->loud);
    aegis_detect_learn_level(s, look->v, look->floor);
    aegis_detect_learn_follows(s, look->floor);
    aegis_detect_learn_season(s, look->t, look->v, off, look->floor);
    aegis_detect_choose(s, look->t);
}
