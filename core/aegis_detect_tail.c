/*
 * aegis_detect_tail.c: how rare a deviation is. Beyond an edge a generalised
 * Pareto distribution is fitted to what the series itself did (by moments, with a
 * prior that stands for a somewhat heavy tail), so that noise of any kind is
 * measured by its own measure. Means of several points are known late, since
 * neighbours are made of the same points; no wild point counts much in them, so that
 * theirs is nearly a normal distribution's, whatever the noise.
 * Invariant: with little seen the prior rules, which asks for much more than a
 * series that is known asks for; what lasted while it was reported weighs little.
 */
#include "aegis_detect_impl.h"

#include <math.h>

#define AEGIS_TAIL_KEEP      20000.0    /* points that count */
#define AEGIS_TAIL_PRIOR     10.0       /* exceedances that the prior weighs */
#define AEGIS_TAIL_MEAN      0.423      /* of what a normal distribution exceeds the edge by */
#define AEGIS_TAIL_NORMAL    0.775      /* variance of it, by the square of that */
#define AEGIS_TAIL_PROOF     50.0       /* exceedances that half show a light tail */
#define AEGIS_TAIL_DOUBT     0.25f      /* what is left when something better is expected */
#define AEGIS_TAIL_SHAPE     0.5        /* at most; moments see no heavier tail */

typedef struct {
    double  rate;
    double  shape;
    double  scale;
    double  mean;
    double  light;      /* 0: as an exponential distribution, 1: as a normal one */
} aegis_tail_fit_t;

/* What is thought of exceedances before there are any: their mean, and the mean of
 * their squares. */
static const struct {
    double  mean;
    double  squares;
} aegis_tail_priors[] = {
    { 0.6, 0.96 },                      /* points: a shape of 0.2 */
    { 0.6, 0.96 },
    { 0.42, 0.37 },                     /* means: nearly a normal distribution's */
};


/* What variance exceedances have, by the square of their mean; share is what the other
 * side counts. */
static double
aegis_detect_tail_varies(const aegis_detect_tail_t *tail, aegis_detect_of_t of, int side,
    double share)
{
    double                      k, mean;
    const aegis_detect_side_t  *s, *other;

    s = &tail->side[side];
    other = &tail->side[!side];
    k = (double) s->k + share * (double) other->k + AEGIS_TAIL_PRIOR;
    mean = ((double) s->sum + share * (double) other->sum
            + AEGIS_TAIL_PRIOR * aegis_tail_priors[of].mean) / k;

    return ((double) s->squares + share * (double) other->squares
            + AEGIS_TAIL_PRIOR * aegis_tail_priors[of].squares) / (k * mean * mean) - 1;
}


static void
aegis_detect_tail_fit(const aegis_detect_tail_t *tail, aegis_detect_of_t of, int side,
    aegis_tail_fit_t *fit)
{
    double                      k, varies;
    const aegis_detect_side_t  *s;

    s = &tail->side[side];
    k = (double) s->k + AEGIS_TAIL_PRIOR;
    fit->mean = ((double) s->sum + AEGIS_TAIL_PRIOR * aegis_tail_priors[of].mean) / k;
    fit->rate = ((double) s->k + 0.5) / ((double) tail->n + 10);
    fit->rate = fit->rate > 0.5 ? 0.5 : fit->rate;

    varies = aegis_detect_tail_varies(tail, of, side, 0);
    fit->shape = varies > 0 ? 0.5 * (1 - 1 / varies) : 0;

    if (fit->shape < 0.01) {
        fit->shape = 0.01;

    } else if (fit->shape > AEGIS_TAIL_SHAPE) {
        fit->shape = AEGIS_TAIL_SHAPE;
    }

    fit->scale = fit->mean * (1 - fit->shape);

    /* lighter than any Pareto distribution: what both sides say */
    varies = aegis_detect_tail_varies(tail, of, side, 1);
    fit->light = fit->shape > 0.01 || of == AEGIS_DETECT_OF_PLACES ? 0
                 : (1 - varies) / (1 - AEGIS_TAIL_NORMAL);
    k += (double) tail->side[!side].k;
    fit->light = fit->light < 0 ? 0
                 : (fit->light > 1 ? 1 : fit->light) * k / (k + AEGIS_TAIL_PROOF);
}


/* -log10 of the part of a normal distribution's exceedances that are beyond e, where
 * their mean is 1. */
static double
aegis_detect_tail_normal(double e)
{
    double  z;

    z = AEGIS_DETECT_EDGE + e * AEGIS_TAIL_MEAN;

    return z > 20 ? AEGIS_DETECT_MAX
           : -log10(erfc(z / sqrt(2)) / erfc(AEGIS_DETECT_EDGE / sqrt(2)));
}


double
aegis_detect_tail_score(const aegis_detect_tail_t *tail, aegis_detect_of_t of, double z,
    int side)
{
    double            score, heavy;
    aegis_tail_fit_t  fit;

    if (z <= 0) {
        return 0;
    }

    aegis_detect_tail_fit(tail, of, side, &fit);
    score = -log10(fit.rate);

    if (z <= AEGIS_DETECT_EDGE) {
        return score * z / AEGIS_DETECT_EDGE;
    }

    z -= AEGIS_DETECT_EDGE;
    heavy = log10(1 + fit.shape * z / fit.scale) / fit.shape;
    score += fit.light > 0
             ? heavy + fit.light * (aegis_detect_tail_normal(z / fit.mean) - heavy) : heavy;

    return score < AEGIS_DETECT_MAX ? score : AEGIS_DETECT_MAX;
}


void
aegis_detect_tail_doubt(aegis_detect_tail_t *tail)
{
    int                   side;
    aegis_detect_side_t  *s;

    tail->n *= AEGIS_TAIL_DOUBT;

    for (side = 0; side < 2; side++) {
        s = &tail->side[side];
        s->k *= AEGIS_TAIL_DOUBT;
        s->sum *= AEGIS_TAIL_DOUBT;
        s->squares *= AEGIS_TAIL_DOUBT;
    }
}


void
aegis_detect_tail_learn(aegis_detect_tail_t *tail, aegis_detect_of_t of, double z,
    double weight)
{
    int                   side;
    double                most, e, keep;
    aegis_tail_fit_t      fit;
    aegis_detect_side_t  *s;

    keep = 1 - 1 / AEGIS_TAIL_KEEP;
    tail->n = (float) ((double) tail->n * keep + weight);

    for (side = 0; side < 2; side++) {
        s = &tail->side[side];
        s->k = (float) ((double) s->k * keep);
        s->sum = (float) ((double) s->sum * keep);
        s->squares = (float) ((double) s->squares * keep);
    }

    side = z < 0;
    e = fabs(z) - AEGIS_DETECT_EDGE;

    if (e <= 0) {
        return;
    }

    /* no point teaches more than one at which a report is due */
    aegis_detect_tail_fit(tail, of, side, &fit);
    most = (AEGIS_DETECT_SCORE + log10(fit.rate)) * fit.shape;
    most = fit.scale / fit.shape * (pow(10, most > 0 ? most : 0) - 1);
    most = most < 1 ? 1 : most;
    e = e < most ? e : most;

    s = &tail->side[side];
    s->k = (float) ((double) s->k + weight);
    s->sum = (float) ((double) s->sum + weight * e);
    s->squares = (float) ((double) s->squares + weight * e * e);
}
