/*
 * aegis_detect_season.c: what an hour is used to: profiles of the day, of working days
 * and weekends, of the week; and how loud each quarter of an hour is.
 * Invariant: a slot says nothing before it was lived through once; its values are
 * a mean at first and then a mean of the last few times.
 */
#include "aegis_detect_impl.h"

#include <math.h>

#define AEGIS_SEASON_CYCLES   4         /* times that a slot remembers */
#define AEGIS_SEASON_WILD     10.0      /* of its usual error that one point teaches a slot */
#define AEGIS_SEASON_EDGE     4.0       /* usual errors; a larger step may be an edge */
#define AEGIS_SEASON_SLOPE    3.0       /* times the step on the other side: it is one */
#define AEGIS_SEASON_DOUBT    8.0       /* points that speak for a slot being as any other */
#define AEGIS_SEASON_CHANCE   1.3
#define AEGIS_SEASON_SOFT     0.4       /* of the usual noise, at least */
#define AEGIS_SEASON_LOUD     30.0      /* and at most */

typedef struct {
    float    *mean;
    uint8_t  *cycles;
    int       n, at;                    /* slots of a round, the one of t */
    double    off;                      /* of t from the slot's middle, -0.5..0.5 */
    double    seconds;                  /* of a slot */
} aegis_season_place_t;


/* 1970 began on a Thursday. */
static aegis_season_place_t
aegis_detect_place(const aegis_detect_t *s, int season, double t)
{
    int                    first, weekday;
    double                 slot, whole;
    aegis_season_place_t   p;

    p.seconds = season == 3 ? 3600 : 86400.0 / AEGIS_DETECT_SLOTS;
    slot = t / p.seconds;
    whole = floor(slot);
    p.off = slot - whole - 0.5;
    p.n = season == 3 ? AEGIS_DETECT_WEEK : AEGIS_DETECT_SLOTS;
    p.at = (int) fmod(whole, p.n);
    p.at = p.at < 0 ? p.at + p.n : p.at;
    weekday = (int) fmod(floor(t / 86400) + 4, 7);
    weekday = weekday < 0 ? weekday + 7 : weekday;
    first = season == 2 && (weekday == 0 || weekday == 6) ? AEGIS_DETECT_SLOTS : 0;

    /* places are for reading and for learning; who reads has a constant state */
    p.mean = (float *) (season == 3 ? s->week : season == 2 ? s->half + first : s->day);
    p.cycles = (uint8_t *) (season == 3 ? s->week_n : season == 2 ? s->half_n + first : s->day_n);

    return p;
}


int
aegis_detect_profile_known(const aegis_detect_t *s, int season, double t)
{
    aegis_season_place_t  p;

    if (season == 0) {
        return 0;
    }

    p = aegis_detect_place(s, season, t);

    return p.cycles[p.at] > 0;
}


int
aegis_detect_profile_new(const aegis_detect_t *s, double t)
{
    aegis_season_place_t  p;

    p = aegis_detect_place(s, 2, t);

    return p.cycles[p.at] == 0;
}


double
aegis_detect_profile(const aegis_detect_t *s, int season, double t)
{
    int                   next, last;
    double                here, there, other;
    aegis_season_place_t  p;

    if (season == 0) {
        return 0;
    }

    p = aegis_detect_place(s, season, t);
    here = (double) p.mean[p.at];
    next = (p.at + (p.off < 0 ? p.n - 1 : 1)) % p.n;

    if (s->step >= p.seconds || p.cycles[next] == 0) {
        return here;
    }

    /* between the middles of two slots it is a straight line, except at an edge */
    last = (p.at + (p.off < 0 ? 1 : p.n - 1)) % p.n;
    there = (double) p.mean[next] - here;
    other = p.cycles[last] ? fabs(here - (double) p.mean[last]) : fabs(there);

    return fabs(there) > AEGIS_SEASON_EDGE * s->usual && fabs(there) > AEGIS_SEASON_SLOPE * other
           ? here : here + fabs(p.off) * there;
}


double
aegis_detect_loudness(const aegis_detect_t *s, double t)
{
    double                known, mean;
    aegis_season_place_t  p;

    p = aegis_detect_place(s, 1, t);

    if (p.cycles[p.at] == 0 || s->usual <= 0) {
        return 1;
    }

    known = p.cycles[p.at] * (s->step > 0 && s->step < p.seconds ? p.seconds / s->step : 1);
    mean = (known * (double) s->residual[p.at] / s->usual + AEGIS_SEASON_DOUBT)
           / (known + AEGIS_SEASON_DOUBT);

    /* a little more or less is chance */
    mean = mean > 1 ? fmax(1, mean / AEGIS_SEASON_CHANCE) : fmin(1, mean * AEGIS_SEASON_CHANCE);

    return fmin(fmax(mean, AEGIS_SEASON_SOFT), AEGIS_SEASON_LOUD);
}


static void
aegis_detect_move(float *mean, const uint8_t *cycles, int n, int now, double d)
{
    int  i;

    for (i = 0; i < n; i++) {
        mean[i] += cycles[i] || i == now ? (float) d : 0;
    }
}


void
aegis_detect_move_slots(aegis_detect_t *s, double d)
{
    aegis_detect_move(s->day, s->day_n, AEGIS_DETECT_SLOTS, s->slot[0], d);
    aegis_detect_move(s->half, s->half_n, 2 * AEGIS_DETECT_SLOTS, s->slot[1], d);
    aegis_detect_move(s->week, s->week_n, AEGIS_DETECT_WEEK, s->slot[2], d);
}


static void
aegis_detect_learn_slot(aegis_season_place_t *p, double v, int visit, double per)
{
    double  count;

    count = fmin(p->cycles[p->at] * per + visit, fmax(AEGIS_SEASON_CYCLES * per, 2));
    p->mean[p->at] += (float) ((v - (double) p->mean[p->at]) / count);
}


void
aegis_detect_learn_slots(aegis_detect_t *s, double t, double d, double error, double floor)
{
    int                   season, now, was;
    double                per, share, most, loud;
    aegis_season_place_t  p, before;

    for (season = 1; season < AEGIS_DETECT_SEASONS; season++) {
        p = aegis_detect_place(s, season, t);
        per = s->step > 0 && s->step < p.seconds ? p.seconds / s->step : 1;
        now = (int) (p.mean - (season == 2 ? s->half : p.mean)) + p.at;
        was = s->slot[season - 1];

        /* who leaves a slot has lived through it */
        if (s->n > 0 && now != was) {
            before = p;
            before.cycles = season == 3 ? s->week_n : season == 2 ? s->half_n : s->day_n;
            before.cycles[was] = (uint8_t) (before.cycles[was] < AEGIS_SEASON_CYCLES
                                            ? before.cycles[was] + 1 : AEGIS_SEASON_CYCLES);
            s->visit[season - 1] = 0;
        }
        s->slot[season - 1] = (uint16_t) now;
        s->visit[season - 1] = (uint16_t) (s->visit[season - 1] < 60000
                                           ? s->visit[season - 1] + 1 : 60000);
        aegis_detect_learn_slot(&p, d, s->visit[season - 1], per);

        if (season == 1) {
            loud = (double) s->residual[p.at];
            most = AEGIS_SEASON_WILD * fmax(fmax(loud, s->usual), floor);
            share = 1 / fmin(p.cycles[p.at] * per + s->visit[0], AEGIS_SEASON_CYCLES * per + 1);
            s->residual[p.at] = (float) (loud + share * (fmin(error, most) - loud));
        }
    }
}
