/*
 * aegis_detect_impl.h: what the files of the detectors share: a point while it is
 * looked at, and the steps that it goes through.
 */
#ifndef AEGIS_DETECT_IMPL_H
#define AEGIS_DETECT_IMPL_H

#include "aegis_detect.h"

#define AEGIS_DETECT_EDGE  1.64         /* exceedances begin here, in scales */

/* What one point is judged with. */
typedef struct {
    double  t, v;
    double  floor;                              /* of every scale, in the unit of v */
    double  loud;                               /* what is usual at t, by what is usual */
    int     strange;                            /* the first weekend, or working day */
    double  guess[AEGIS_DETECT_EXPERTS];
    int     has[AEGIS_DETECT_TAILS];
    double  deviation[AEGIS_DETECT_TAILS];
    double  z[AEGIS_DETECT_TAILS];
} aegis_detect_look_t;

#define AEGIS_DETECT_WARM  50           /* deviations that make a scale */

/* --- aegis_detect_judge.c */

/* The score of a fixed limit; sets ret->alarm. */
double aegis_detect_limits(aegis_detect_t *s, const aegis_detect_rule_t *rule, double v,
    aegis_detect_result_t *ret);

/* The score of a value that does not move any more; the same. */
double aegis_detect_repeats(aegis_detect_t *s, const aegis_detect_rule_t *rule,
    double aged, aegis_detect_result_t *ret);

void aegis_detect_judge(aegis_detect_t *s, const aegis_detect_rule_t *rule,
    const aegis_detect_look_t *look, aegis_detect_result_t *ret);

/* --- aegis_detect_tail.c, aegis_detect_season.c, aegis_detect_base.c */

/* What a detector's deviations are. */
typedef enum {
    AEGIS_DETECT_OF_POINTS,         /* one by one */
    AEGIS_DETECT_OF_PLACES,         /* of points, which neighbours share */
    AEGIS_DETECT_OF_MEANS
} aegis_detect_of_t;

/* z in scales, side 0 up, 1 down. */
double aegis_detect_tail_score(const aegis_detect_tail_t *tail, aegis_detect_of_t of,
    double z, int side);

/* Learn z; weight below 1 for what lasted while it was reported. */
void aegis_detect_tail_learn(aegis_detect_tail_t *tail, aegis_detect_of_t of, double z,
    double weight);

/* What was learned counts for less. */
void aegis_detect_tail_doubt(aegis_detect_tail_t *tail);

/* The profiles' value at t; 0: the season is none, or not known yet. */
double aegis_detect_profile(const aegis_detect_t *s, int season, double t);
int aegis_detect_profile_known(const aegis_detect_t *s, int season, double t);

/* Was no day of t's kind lived through? */
int aegis_detect_profile_new(const aegis_detect_t *s, double t);

/* How much it is off at this time of the day, as a multiple of its usual error. */
double aegis_detect_loudness(const aegis_detect_t *s, double t);

/* Add d to all that the profiles know. */
void aegis_detect_move_slots(aegis_detect_t *s, double d);

/* The profiles learn d, a value over the base, and its error. */
void aegis_detect_learn_slots(aegis_detect_t *s, double t, double d, double error,
    double floor);

/* What each expert expects of time t. */
void aegis_detect_expect(const aegis_detect_t *s, double t,
    double guess[AEGIS_DETECT_EXPERTS]);

/* Levels, profiles and their errors learn the point. */
void aegis_detect_learn(aegis_detect_t *s, const aegis_detect_look_t *look);

#endif
