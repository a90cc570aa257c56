/*
 * aegis_detect_judge.c: what deviations are worth. aegis_detect_tail.c says how
 * rare each is; the rarest one speaks for the point.
 * Invariant: a report is made once: again only above its last peak, or after it
 * has cleared. A series that is too young reports fixed limits alone.
 */
#include "aegis_detect_impl.h"

#include <math.h>
#include <string.h>

#define AEGIS_DETECT_YOUNG     30.0     /* at so many points it takes twice the score */
#define AEGIS_DETECT_STRANGE   1.25     /* a season says less of days of another kind */
#define AEGIS_DETECT_BUDGET    0.002    /* reports of one detector on noise, a day */
#define AEGIS_DETECT_LEAST     4.5      /* of a limit that follows from it */
#define AEGIS_DETECT_RARE      3.0      /* counts below are rare: Poisson's law bounds their scores */
#define AEGIS_DETECT_MANY      60.0     /* a count that needs no bound */
#define AEGIS_DETECT_STUCK     0.3      /* a repeat is never taken for rarer */
#define AEGIS_DETECT_HALF      0.5      /* of the limit: from here on a report stays open */
#define AEGIS_DETECT_BRIEF     11       /* points until what is reported is an incident */
#define AEGIS_DETECT_FADING    0.3      /* how fast something brief teaches less, a point */
#define AEGIS_DETECT_LESSON    0.2      /* of an incident, by how long it lasted */

/* detectors with a tail, in the order of aegis_detect_t.tail */
static const aegis_detect_kind_t  aegis_detect_tails[AEGIS_DETECT_TAILS] = {
    AEGIS_DETECT_zscore, AEGIS_DETECT_ewma, AEGIS_DETECT_seasonal, AEGIS_DETECT_shift,
    AEGIS_DETECT_rate, AEGIS_DETECT_spread
};

/* ... and the part of each deviation that its newest point made */
static const double  aegis_detect_shares[AEGIS_DETECT_TAILS] = {
    1, 1, 1.0 / 6, 1.0 / 8, 1, 1.0 / 16
};

/* ... and what they are of; one of spread is of steps, which are as wild as points */
static const aegis_detect_of_t  aegis_detect_of[AEGIS_DETECT_TAILS] = {
    AEGIS_DETECT_OF_PLACES, AEGIS_DETECT_OF_POINTS, AEGIS_DETECT_OF_MEANS,
    AEGIS_DETECT_OF_MEANS, AEGIS_DETECT_OF_POINTS, AEGIS_DETECT_OF_PLACES
};


double
aegis_detect_limits(aegis_detect_t *s, const aegis_detect_rule_t *rule, double v,
    aegis_detect_result_t *ret)
{
    int  over, rise;

    over = rule->has_above && v > rule->above ? 1 : rule->has_below && v < rule->below ? 2 : 0;

    if (s->limit == 1 && (!rule->has_above || v < rule->above_clear)) {
        s->limit = 0;
        s->beyond = 0;

    } else if (s->limit == 2 && (!rule->has_below || v > rule->below_clear)) {
        s->limit = 0;
        s->beyond = 0;
    }

    s->beyond = (uint16_t) (over ? (s->beyond < 60000 ? s->beyond + 1 : s->beyond)
                            : s->limit ? s->beyond : 0);
    if (over == 0 || s->beyond < rule->for_samples) {
        return s->limit ? aegis_detect_limit(s, rule) : 0;
    }

    rise = s->limit != over
           || (over == 1 ? v > s->limit_peak && v - rule->above > rule->rearm
                                                   * (s->limit_peak - rule->above)
               : v < s->limit_peak && rule->below - v > rule->rearm
                                                        * (rule->below - s->limit_peak));
    if (rise) {
        ret->alarm = 1;
        s->limit_peak = v;
    }

    s->limit = (uint8_t) over;

    return aegis_detect_limit(s, rule) + log10(1 + fabs(v - (over == 1 ? rule->above : rule->below))
                               / (fabs(over == 1 ? rule->above : rule->below) + 1e-9));
}


double
aegis_detect_repeats(aegis_detect_t *s, const aegis_detect_rule_t *rule, double aged,
    aegis_detect_result_t *ret)
{
    double  score, often;

    often = s->repeats > AEGIS_DETECT_STUCK ? s->repeats : AEGIS_DETECT_STUCK;
    if (s->run == 0) {
        s->stuck = 0;
    }

    if (aged < 200 || often > 0.8 || (double) s->run < 2 * s->longest_run) {
        return 0;
    }

    score = -(double) s->run * log10(often);
    if (score >= aegis_detect_limit(s, rule) && !s->stuck) {
        s->stuck = 1;
        ret->alarm = 1;
    }

    return score < AEGIS_DETECT_MAX ? score : AEGIS_DETECT_MAX;
}


/* --- when to report */

/* A tail that few points made is no proof. */
static double
aegis_detect_proof(const aegis_detect_tail_t *tail, double score)
{
    return score / (1 + AEGIS_DETECT_YOUNG / ((double) tail->n + 1));
}


/* Is detector i to report now? Keeps count of when it clears. */
static int
aegis_detect_due(aegis_detect_tail_t *tail, const aegis_detect_rule_t *rule,
    double score, double z, double limit)
{
    int  due;

    due = 0;
    z = fabs(z);

    if (tail->peak > 0) {
        tail->held = (uint16_t) (tail->held < 60000 ? tail->held + 1 : tail->held);
        tail->quiet = (uint16_t) (score >= AEGIS_DETECT_HALF * limit ? 0 : tail->quiet + 1);

        if (tail->quiet >= rule->clear_samples) {
            tail->peak = 0;

        } else if (score >= limit && z > rule->rearm * (double) tail->peak) {
            due = 1;
        }

    } else if (score >= limit) {
        due = 1;
    }

    if (due) {
        tail->held = tail->peak > 0 ? tail->held : 0;
        tail->peak = (float) z;
        tail->quiet = 0;
    }

    return due;
}


/*
 * The tail learns what waited. What belongs to an open report counts the less the
 * longer it was open: something brief that comes again and again is how the series
 * is, but an incident that lasted would hide those after it.
 */
static void
aegis_detect_teach(aegis_detect_tail_t *tail, int i, double z, double limit)
{
    double  weight, score, past;

    weight = aegis_detect_shares[i];
    score = aegis_detect_tail_score(tail, aegis_detect_of[i], fabs(z), z < 0);

    if (tail->peak > 0 && aegis_detect_proof(tail, score) >= AEGIS_DETECT_HALF * limit) {
        past = (double) tail->held - AEGIS_DETECT_WAIT;
        weight *= past <= AEGIS_DETECT_BRIEF ? 1 / (1 + AEGIS_DETECT_FADING * fmax(past, 0))
                  : AEGIS_DETECT_LESSON / (1 + past);
    }

    aegis_detect_tail_learn(tail, aegis_detect_of[i], z, weight);
}


/*
 * Learn a deviation, some points later. A report that begins takes what came just
 * before with it, so that an anomaly that begins slowly does not make itself usual;
 * what is reported (it is due, or not over) and no longer brief takes its own.
 */
static void
aegis_detect_remember(aegis_detect_t *s, int i, const aegis_detect_look_t *look,
    int reported, double limit)
{
    int                   k;
    double                share, most, deviation, usual;
    aegis_detect_tail_t  *tail;

    if (!look->has[i]) {
        return;
    }

    tail = &s->tail[i];
    deviation = fabs(look->deviation[i]) / (i == 2 || i == 3 ? s->loud : 1);
    usual = (double) tail->scale;
    share = i == 5 ? 0.005 : 0.002;

    if (tail->warm < AEGIS_DETECT_WARM) {
        tail->warm++;
        share = 1.0 / tail->warm;
        most = tail->warm < 8 ? deviation : 4 * (usual + look->floor);
    } else {
        most = 4 * (usual + (i == 5 ? 0.05 : look->floor));
        k = (int) (s->n % AEGIS_DETECT_WAIT);

        if (reported && (tail->held == 0 || tail->held == AEGIS_DETECT_BRIEF + 1)) {
            memset(tail->wait, 0, sizeof(tail->wait));

        } else if (tail->wait[k] != 0) {
            aegis_detect_teach(tail, i, (double) tail->wait[k], limit);
        }

        tail->wait[k] = (float) (look->z[i] != 0 ? look->z[i] : 1e-9);
    }

    tail->scale += (float) (share * ((deviation < most ? deviation : most) - usual));
}


double
aegis_detect_limit(const aegis_detect_t *s, const aegis_detect_rule_t *rule)
{
    double  limit;

    if (rule->score > 0) {
        return rule->score;
    }

    limit = s->step > 0 ? -log10(AEGIS_DETECT_BUDGET * s->step / 86400) : AEGIS_DETECT_SCORE;

    return limit > AEGIS_DETECT_SCORE ? AEGIS_DETECT_SCORE
           : limit < AEGIS_DETECT_LEAST ? AEGIS_DETECT_LEAST : limit;
}


/*
 * The most that a count of a rare thing can score: how rare so many are where it
 * happens as often as here. Their few distinct values look like a light tail
 * to a fit, so that three at once would be taken for rarer than they are.
 */
static double
aegis_detect_counts(const aegis_detect_t *s, const aegis_detect_tail_t *tail, double v,
    double expected)
{
    double  mean, score, k;

    /* of zeros and a few ones the level knows only the zeros, what exceeds it both */
    mean = ((double) tail->side[0].k + 0.5) / ((double) tail->n + 10);
    mean = fmax(fmax(s->level[1], expected), mean);
    if (s->whole < 0.99 || v != trunc(v) || v <= mean || v > AEGIS_DETECT_MANY
        || mean > AEGIS_DETECT_RARE)
    {
        return AEGIS_DETECT_MAX;
    }

    /* the first of what is left of the sum, times a geometric series above the rest */
    score = mean / log(10) + log10(1 - mean / (v + 1));
    for (k = 1; k <= v; k++) {
        score -= log10(mean / k);
    }

    return score > 0 ? score : 0;
}


/* The same for the i-th detector; a fall is as rare as what it falls from. */
static double
aegis_detect_most(const aegis_detect_t *s, int i, const aegis_detect_look_t *look)
{
    int  down;

    down = look->z[i] < 0;
    if (i == 4 && down) {
        return aegis_detect_counts(s, &s->tail[i], s->v, look->v);
    }

    return (i < 2 || i == 4) && !down
           ? aegis_detect_counts(s, &s->tail[i], look->v, look->v - look->deviation[i])
           : AEGIS_DETECT_MAX;
}


void
aegis_detect_judge(aegis_detect_t *s, const aegis_detect_rule_t *rule,
    const aegis_detect_look_t *look, aegis_detect_result_t *ret)
{
    int                   i, side, due, best, reported;
    double                score, limit, top;
    aegis_detect_tail_t  *tail;

    due = 0;
    best = -1;
    top = -1;
    limit = aegis_detect_limit(s, rule);

    for (i = 0; i < AEGIS_DETECT_TAILS; i++) {
        tail = &s->tail[i];

        if (!look->has[i] || tail->warm < AEGIS_DETECT_WARM) {
            aegis_detect_remember(s, i, look, 0, limit);
            continue;
        }
        if (rule->off & (1u << aegis_detect_tails[i])) {
            continue;
        }

        side = look->z[i] < 0;
        score = fmin(aegis_detect_tail_score(tail, aegis_detect_of[i], fabs(look->z[i]), side),
                     aegis_detect_most(s, i, look));

        if ((side && rule->direction > 0 && i != 5) || (!side && rule->direction < 0 && i != 5)
            || (i != 5 && fabs(look->deviation[i])
                          < rule->min_change * fabs(look->v - look->deviation[i])))
        {
            score = 0;
        }

        score = aegis_detect_proof(tail, score);
        score /= look->strange && (i == 2 || i == 3) ? AEGIS_DETECT_STRANGE : 1;
        ret->by_kind[aegis_detect_tails[i]] = score;

        if (!ret->learning && aegis_detect_due(tail, rule, score, look->z[i], limit)) {
            due |= 1 << i;
        }
        ret->active |= tail->peak > 0;

        if (score > top) {
            top = score;
            best = i;
        }

        reported = score >= limit || (tail->peak > 0 && score >= AEGIS_DETECT_HALF * limit);
        aegis_detect_remember(s, i, look, reported && !ret->learning, limit);
    }

    if (best < 0) {
        return;
    }

    ret->score = top;
    ret->kind = aegis_detect_tails[best];
    ret->side = look->z[best] < 0 ? -1 : 1;
    ret->deviation = look->deviation[best];
    ret->expected = best == 5 ? s->moves : look->v - look->deviation[best];
    ret->scale = look->z[best] != 0 ? fabs(look->deviation[best] / look->z[best]) : 0;

    /* detectors see the same thing a few points apart: that is one report */
    top = fabs(look->v - s->level[1]);
    if (due && (s->reported == 0 || s->n - s->reported > rule->clear_samples
                || top > rule->rearm * s->reported_by))
    {
        ret->alarm = 1;
        s->reported = s->n;
        s->reported_by = top;
    }
}
