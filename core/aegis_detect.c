/*
 * aegis_detect.c: one point of a series through every detector. Each says how
 * many of its scales the point deviates; aegis_detect_judge.c says whether that is
 * worth a report.
 * Invariant: constant work and memory a point, and the same points give the same
 * answers, whether the state was stored in between or not.
 */
#include "aegis_detect_impl.h"

#include <math.h>
#include <string.h>

#define AEGIS_DETECT_HUGE      1e30     /* no measurement is larger */
#define AEGIS_DETECT_DECIDE    64       /* points until a counter is known as one */
#define AEGIS_DETECT_NEW       8        /* newest values of a shift */
#define AEGIS_DETECT_AVERAGED  6        /* newest values of a seasonal deviation */
#define AEGIS_DETECT_FLOOR     0.001    /* of the value, of every scale */
#define AEGIS_DETECT_PART      0.1      /* of the usual error, of every scale */
#define AEGIS_DETECT_KNOWN     3600     /* seconds after which a series is missed */
#define AEGIS_DETECT_FADES     0.8      /* of how loud it was, a point later */
#define AEGIS_DETECT_NEAR      1000.0   /* usual errors that values are from their origin */
#define AEGIS_DETECT_FARTHEST  1e9      /* scales */


const char *
aegis_detect_name(aegis_detect_kind_t kind)
{
    static const char *const  names[] = {
#define X(name, sentence)  #name,
        AEGIS_DETECT_KINDS(X)
#undef X
    };

    return (unsigned) kind < AEGIS_DETECT_N_KINDS ? names[kind] : "";
}


const char *
aegis_detect_sentence(aegis_detect_kind_t kind)
{
    static const char *const  sentences[] = {
#define X(name, sentence)  sentence,
        AEGIS_DETECT_KINDS(X)
#undef X
    };

    return (unsigned) kind < AEGIS_DETECT_N_KINDS ? sentences[kind] : "";
}


const char *
aegis_detect_severity(const aegis_detect_rule_t *rule, double score)
{
    if (rule->severity[0]) {
        return rule->severity;
    }

    return score >= 2 * AEGIS_DETECT_SCORE ? "critical"
           : score >= 1.4 * AEGIS_DETECT_SCORE ? "error" : "warning";
}


/* The smallest deviation that can mean something, in the unit of the values: a
 * series that never moved has no measure of its own. */
static double
aegis_detect_floor(const aegis_detect_t *s, const aegis_detect_rule_t *rule, double v)
{
    double  floor, usual;

    usual = fabs(s->level[1]);
    floor = AEGIS_DETECT_FLOOR * usual;
    floor = rule->floor > floor ? rule->floor : floor;
    usual *= rule->floor_ratio;
    floor = usual > floor ? usual : floor;

    /* counts vary by their root at least */
    if (s->whole > 0.99 && v == trunc(v)) {
        usual = 0.5 * sqrt(fabs(s->level[1]) < 1 ? 1 : fabs(s->level[1]));
        usual = fabs(s->level[1]) > 1e4 ? 0 : usual;
        floor = usual > floor ? usual : floor;
    }

    /* a part of what it is used to be off by */
    floor = fmax(floor, fmax(0.05 * s->error[2], AEGIS_DETECT_PART * s->usual));

    return floor > 0 ? floor : s->v == 0 && s->level[1] == 0 ? 0.01 : 1e-12;
}


static double
aegis_detect_mean(const float *ring, uint16_t at, int from, int n)
{
    int     i;
    double  sum;

    for (i = 0, sum = 0; i < n; i++) {
        sum += (double) ring[(unsigned) (at + 2 * AEGIS_DETECT_RING - 1 - from - i)
                             % AEGIS_DETECT_RING];
    }

    return sum / n;
}


/* How far the newest n values are from where, as a mean in which the farthest counts
 * for no more than the next one on its side: a mean is for what lasts, one wild
 * point is the business of others. */
static double
aegis_detect_away(const float *ring, uint16_t at, int from, int n, double where)
{
    int     i, side;
    double  d, sum, far[2], next[2];

    far[0] = far[1] = next[0] = next[1] = 0;

    for (i = 0, sum = 0; i < n; i++) {
        d = (double) ring[(unsigned) (at + 2 * AEGIS_DETECT_RING - 1 - from - i)
                          % AEGIS_DETECT_RING] - where;
        sum += d;
        side = d < 0;
        d = fabs(d);

        if (d > far[side]) {
            next[side] = far[side];
            far[side] = d;

        } else if (d > next[side]) {
            next[side] = d;
        }
    }

    return (sum - (far[0] - next[0]) + (far[1] - next[1])) / n;
}


/* Values are kept as what they are above an origin, near to which they lie, so that
 * few bits are enough. */
static void
aegis_detect_push(aegis_detect_t *s, const aegis_detect_look_t *look)
{
    int     i;
    double  v, far;

    v = look->v - aegis_detect_profile(s, s->season, look->t);
    far = s->base - s->origin;

    if (s->flat_n == 0 || fabs(far) > AEGIS_DETECT_NEAR * s->usual) {
        for (i = 0; i < s->flat_n; i++) {
            s->flat[i] -= (float) far;
        }
        s->origin = s->n > 0 ? s->base : v;
    }

    s->flat[s->flat_at] = (float) (v - s->origin);
    s->flat_at = (uint16_t) ((s->flat_at + 1) % AEGIS_DETECT_RING);
    s->flat_n = (uint16_t) (s->flat_n < AEGIS_DETECT_RING ? s->flat_n + 1 : s->flat_n);

    if (s->n > 0) {
        s->move[s->move_at] = (float) fabs(look->v - s->v);
        s->move_at = (uint16_t) ((s->move_at + 1) % AEGIS_DETECT_MOVES);
        s->move_n = (uint16_t) (s->move_n < AEGIS_DETECT_MOVES ? s->move_n + 1 : s->move_n);
    }
}


/* Median and spread (as of a normal distribution, by quartiles) of the newest values. */
static void
aegis_detect_median(const aegis_detect_t *s, double *ret_median, double *ret_spread)
{
    int     i, k, n;
    float   v, sorted[AEGIS_DETECT_RING];

    n = s->flat_n;

    for (i = 0; i < n; i++) {
        v = s->flat[i];
        for (k = i; k > 0 && sorted[k - 1] > v; k--) {
            sorted[k] = sorted[k - 1];
        }
        sorted[k] = v;
    }

    *ret_median = n % 2 ? (double) sorted[n / 2]
                  : ((double) sorted[n / 2 - 1] + (double) sorted[n / 2]) / 2;
    *ret_median += s->origin;
    *ret_spread = (double) (sorted[(3 * n) / 4] - sorted[n / 4]) / 1.349;
}


static void
aegis_detect_look(aegis_detect_look_t *look, int i,
    double deviation, double scale)
{
    look->has[i] = 1;
    look->deviation[i] = deviation;
    look->z[i] = deviation / (scale > look->floor ? scale : look->floor);
    look->z[i] = fmin(fmax(look->z[i], -AEGIS_DETECT_FARTHEST), AEGIS_DETECT_FARTHEST);
}


/* Detectors of single points; the newest one is not in the rings yet. */
static void
aegis_detect_points(const aegis_detect_t *s, aegis_detect_look_t *look)
{
    double  v, median, spread;

    if (s->flat_n >= 16) {
        v = look->v - aegis_detect_profile(s, s->season, look->t);
        aegis_detect_median(s, &median, &spread);
        aegis_detect_look(look, 0, v - median, spread * fmax(look->loud, 1));
    }

    aegis_detect_look(look, 1, look->v - look->guess[s->expert], 1.25 * s->quiet * look->loud);
    aegis_detect_look(look, 4, look->v - s->v, 1.25 * s->moves * look->loud);
}


/* Detectors of several points; the newest one is in the rings already. */
static void
aegis_detect_runs(const aegis_detect_t *s, aegis_detect_look_t *look, double aged)
{
    int     i;
    double  mean, sum, days;

    days = s->step > 0 ? 2 * 86400 / s->step : 3000;
    days = days > 3000 ? 3000 : days < 200 ? 200 : days;

    if (s->flat_n >= AEGIS_DETECT_AVERAGED && aged >= days) {
        mean = aegis_detect_away(s->flat, s->flat_at, 0, AEGIS_DETECT_AVERAGED,
                                 s->base - s->origin);
        aegis_detect_look(look, 2, mean, (double) s->tail[2].scale * 1.25 * s->loud);
    }

    if (s->flat_n == AEGIS_DETECT_RING && aged >= 200) {
        mean = aegis_detect_mean(s->flat, s->flat_at, AEGIS_DETECT_NEW, 48);
        mean += aegis_detect_away(s->flat, s->flat_at, AEGIS_DETECT_NEW, 48, mean);
        mean = aegis_detect_away(s->flat, s->flat_at, 0, AEGIS_DETECT_NEW, mean);
        aegis_detect_look(look, 3, mean, (double) s->tail[3].scale * 1.25 * s->loud);
    }

    if (s->move_n == AEGIS_DETECT_MOVES && aged >= 200 && s->moves > 0) {
        for (i = 0, sum = 0; i < AEGIS_DETECT_MOVES; i++) {
            sum += (double) s->move[i];
        }
        mean = log10((sum / AEGIS_DETECT_MOVES + 0.01 * s->moves) / s->moves);
        look->has[5] = 1;
        look->deviation[5] = mean;
        look->z[5] = mean / fmax(1.25 * (double) s->tail[5].scale, 0.05);
    }
}


/* --- a point */

static void
aegis_detect_restart(aegis_detect_t *s, int counter)
{
    double  t, raw, step, begun, longest;

    t = s->t;
    raw = s->raw;
    step = s->step;
    begun = s->begun;
    longest = s->longest;
    memset(s, 0, sizeof(*s));
    s->t = t;
    s->raw = raw;
    s->step = step;
    s->begun = begun;
    s->longest = longest;
    s->counter = (uint8_t) counter;
}


/* What only ever grows is a counter: its growth is what is looked at. Returns 0
 * when there is no value yet. */
static int
aegis_detect_counts(aegis_detect_t *s, double t, double *v)
{
    double  raw, grown;

    raw = *v;

    if (s->counter == 0 && s->n > 0) {
        s->rises += raw > s->raw;
        s->falls += raw < s->raw;

        if (s->falls > 0) {
            s->counter = 2;

        } else if (s->rises >= AEGIS_DETECT_DECIDE
                   && (double) s->rises > 0.5 * (double) s->n)
        {
            s->raw = raw;
            aegis_detect_restart(s, 1);
            s->t = t;
            return 0;
        }
    }

    if (s->counter != 1) {
        s->raw = raw;
        return 1;
    }

    grown = raw - s->raw;

    /* it began anew, or was never a counter */
    if (grown < 0 && raw > 0.5 * s->raw) {
        s->raw = raw;
        aegis_detect_restart(s, 2);
        return 1;
    }

    grown = grown < 0 ? raw : grown;
    s->raw = raw;
    *v = s->step > 0 && t > s->t ? grown * s->step / (t - s->t) : grown;

    return 1;
}


static void
aegis_detect_clock(aegis_detect_t *s, double t, aegis_detect_result_t *ret)
{
    double  dt;

    dt = t - s->t;

    if (s->step == 0) {
        s->step = dt;
        s->longest = dt;
        return;
    }

    ret->gap_s = s->n > 16 && dt > 5 * s->step && dt > 2 * s->longest ? dt : 0;

    if (dt > AEGIS_DETECT_RING * s->step) {
        s->move_n = s->move_at = 0;
        s->flat_n = s->flat_at = 0;
    }

    s->longest = dt > s->longest ? dt : s->longest + 0.001 * (dt - s->longest);
    dt = dt > 2 * s->step ? 2 * s->step : dt;
    s->step += (s->n < 20 ? 0.2 : 0.01) * (dt - s->step);
}


static void
aegis_detect_moved(aegis_detect_t *s, double t, double v, double floor)
{
    double  move, share, most;

    if (s->n > 0) {
        move = fabs(v - s->v);
        most = 4 * fmax(s->moves, floor);
        share = s->n < 200 ? 1 / (double) s->n : 0.005;
        s->repeats += s->stuck ? 0 : share * ((move == 0) - s->repeats);

        /* a run counts as usual when it has ended, one that was reported in part */
        if (move != 0) {
            s->longest_run -= s->longest_run / 1000;
            s->longest_run += s->run > s->longest_run
                              ? (s->run - s->longest_run) / (s->stuck ? 3 : 1) : 0;
        }
        s->run = move == 0 ? s->run + 1 : 0;
        s->moves += share * ((s->n > 8 && move > most ? most : move) - s->moves);
    }

    share = s->n < 200 ? 1 / (double) (s->n + 1) : 0.005;
    s->whole += share * ((v == trunc(v)) - s->whole);
    s->t = t;
    s->v = v;
    s->n++;
}


/* A deviation from the season that stays for long is the new base. */
static void
aegis_detect_rebase(aegis_detect_t *s)
{
    double  steps;

    steps = s->step > 0 ? 43200 / s->step : 500;
    steps = steps < 100 ? 100 : steps > 500 ? 500 : steps;

    if (s->tail[2].peak > 0 && (double) s->tail[2].held > steps) {
        s->base = s->origin + aegis_detect_mean(s->flat, s->flat_at, 0, AEGIS_DETECT_AVERAGED);
        s->tail[2].peak = 0;
    }
}


/* What repeats and fixed limits say goes over what the others do. */
static void
aegis_detect_finish(aegis_detect_t *s, const aegis_detect_rule_t *rule, double v,
    double limits, int over, aegis_detect_result_t *ret)
{
    double  score;

    score = rule->off & (1u << AEGIS_DETECT_stuck) ? 0
            : aegis_detect_repeats(s, rule, (double) s->n, ret);
    ret->by_kind[AEGIS_DETECT_stuck] = score;

    if (score > ret->score) {
        ret->score = score;
        ret->kind = AEGIS_DETECT_stuck;
        ret->expected = s->moves;
        ret->deviation = 0;
    }

    ret->by_kind[AEGIS_DETECT_threshold] = limits;

    if (over || limits > ret->score) {
        ret->score = limits > ret->score ? limits : ret->score;
        ret->kind = AEGIS_DETECT_threshold;
        ret->expected = s->limit == 2 ? rule->below : rule->above;
        ret->deviation = v - ret->expected;
        ret->side = s->limit == 2 ? -1 : 1;
    }

    ret->active |= s->limit || s->stuck;
}


int
aegis_detect_feed(aegis_detect_t *s, const aegis_detect_rule_t *rule, double t,
    double v, aegis_detect_result_t *ret)
{
    int                   over;
    double                limits;
    aegis_detect_look_t   look;

    memset(ret, 0, sizeof(*ret));

    if (!isfinite(t) || !isfinite(v) || fabs(t) > 1e12 || (s->begun != 0 && t <= s->t)) {
        return 0;
    }

    v = fmin(fmax(v, -AEGIS_DETECT_HUGE), AEGIS_DETECT_HUGE);
    memset(&look, 0, sizeof(look));
    look.t = t;
    look.v = v;
    limits = rule->off & (1u << AEGIS_DETECT_threshold) ? 0
             : aegis_detect_limits(s, rule, v, ret);
    over = ret->alarm;

    if (s->begun == 0) {
        s->begun = t != 0 ? t : 1e-9;
        s->raw = v;
        s->t = t;

    } else {
        aegis_detect_clock(s, t, ret);
        if (!aegis_detect_counts(s, t, &look.v)) {
            ret->learning = 1;
            return 1;
        }
    }

    look.floor = aegis_detect_floor(s, rule, look.v);
    ret->learning = s->n < rule->min_samples;
    ret->expected = s->v;
    look.loud = aegis_detect_loudness(s, t);
    s->loud = fmax(look.loud, AEGIS_DETECT_FADES * s->loud);
    aegis_detect_expect(s, t, look.guess);

    if (s->n > 8) {
        aegis_detect_points(s, &look);
    }

    aegis_detect_push(s, &look);
    look.strange = s->season && aegis_detect_profile_new(s, t);
    aegis_detect_runs(s, &look, (double) s->n);

    if (s->n > 8) {
        aegis_detect_judge(s, rule, &look, ret);
    }

    aegis_detect_rebase(s);
    aegis_detect_learn(s, &look);
    aegis_detect_moved(s, t, look.v, look.floor);
    aegis_detect_finish(s, rule, v, limits, over, ret);

    return 1;
}


double
aegis_detect_patience(const aegis_detect_t *s, const aegis_detect_rule_t *rule)
{
    double  patience;

    if (rule->off & (1u << AEGIS_DETECT_missing)) {
        return 0;
    }
    if (rule->missing_s > 0) {
        return s->n > 0 ? rule->missing_s : 0;
    }
    if (s->n < rule->min_samples || s->step <= 0 || s->t - s->begun < AEGIS_DETECT_KNOWN) {
        return 0;
    }

    patience = 5 * s->step;
    patience = patience < 3 * s->longest ? 3 * s->longest : patience;

    /* what comes so seldom is not missed */
    return patience <= 86400 ? patience : 0;
}
