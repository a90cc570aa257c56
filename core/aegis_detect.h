/*
 * aegis_detect.h: is the newest point of a series unusual? One state a series,
 * of constant size, that learns as points come and can be stored in between.
 *   aegis_detect.c         one point: how far it is from what each detector expects
 *   aegis_detect_judge.c   when to report
 *   aegis_detect_base.c    what was to be expected: levels, trend, season
 *   aegis_detect_season.c  what an hour is used to, and how loud it is
 *   aegis_detect_tail.c    how rare a deviation is, by what the series did before
 *   aegis_detect_state.c   a state as bytes, and back
 *   aegis_detect_rule.c    what a person may say about a series (YAML)
 *   aegis_detect_log.c     a pattern of log lines that is seen for the first time
 *   aegis_detect_csv.c     series in a file
 * docs/analyst.md says how they work together and what each number means.
 */
#ifndef AEGIS_DETECT_H
#define AEGIS_DETECT_H

#include "aegis_error.h"

#define AEGIS_DETECT_RING      64       /* newest values of a series */
#define AEGIS_DETECT_MOVES     16       /* newest steps between them */
#define AEGIS_DETECT_SLOTS     96       /* quarters of an hour of a day, by UTC */
#define AEGIS_DETECT_WEEK      168      /* hours */
#define AEGIS_DETECT_EXPERTS   8        /* ways to guess the next value */
#define AEGIS_DETECT_SEASONS   4        /* none, day, working day or weekend, week */
#define AEGIS_DETECT_SCORE     7.0      /* a report is due at 10^-7, or before */
#define AEGIS_DETECT_MAX       30.0     /* of a score */
#define AEGIS_DETECT_WAIT      12       /* points until a deviation is learned */
#define AEGIS_DETECT_BYTES     4096     /* of a stored state, at most */

/* The detectors: name, sentence. */
#define AEGIS_DETECT_KINDS(X)                                                  \
    X(threshold, "a fixed limit was crossed")                                  \
    X(zscore,    "far from the median of the newest values")                   \
    X(ewma,      "far from what the newest values led to expect")              \
    X(seasonal,  "far from what this hour of the day or week is used to")      \
    X(shift,     "the level moved")                                            \
    X(rate,      "it changed faster than it is used to")                       \
    X(spread,    "it varies more, or less, than it is used to")                \
    X(stuck,     "the same value again and again")                             \
    X(missing,   "no data came")                                               \
    X(first,     "a log pattern that was never seen")                          \
    X(burst,     "more of a known log pattern than it is used to")             \
    X(alert,     "another system says so")

typedef enum {
#define X(name, sentence)  AEGIS_DETECT_##name,
    AEGIS_DETECT_KINDS(X)
#undef X
    AEGIS_DETECT_N_KINDS
} aegis_detect_kind_t;

/* which value of a metric's minute */
typedef enum { AEGIS_DETECT_AVG, AEGIS_DETECT_PEAK, AEGIS_DETECT_P95 } aegis_detect_stat_t;

/* What a rule of detectors.yaml says about a series; aegis_detect_rule_init()
 * has the defaults. */
typedef struct {
    double    score;            /* report from this score on; 0: by the series' step */
    int       min_samples;      /* before anything is reported */
    int       direction;        /* 1: only upwards, -1: only downwards, 0: both */
    double    floor;            /* a deviation below is none; in the metric's unit */
    double    floor_ratio;      /* the same as a part of the value */
    double    min_change;       /* the same as a part of what was expected */
    int       clear_samples;    /* quiet points until it has cleared */
    double    rearm;            /* report again above this times the last peak */
    int       missing_s;        /* 0: as the series is used to */
    int       has_above, has_below;
    double    above, above_clear;
    double    below, below_clear;
    int       for_samples;      /* in a row, beyond a fixed limit */
    unsigned  off;              /* 1 << kind: not looked at */
    aegis_detect_stat_t  stat;
    int       ignore;           /* the series is not analysed */
    int       opens;            /* a finding may open a case */
    char      severity[12];     /* "": by the score */
    const json_t  *labels;      /* of a case that is opened; the rules', NULL: none */
} aegis_detect_rule_t;

/* Exceedances of one side of one detector's deviations, decayed. */
typedef struct {
    float  k, sum, squares;
} aegis_detect_side_t;

typedef struct {
    float                n;
    float                scale;     /* mean absolute deviation */
    aegis_detect_side_t  side[2];   /* up, down */
    float                peak;      /* of the report that is open; 0: none */
    uint16_t             quiet;
    uint16_t             held;      /* points since it was reported */
    uint16_t             warm;      /* deviations in scale, while they are few */
    float                wait[AEGIS_DETECT_WAIT];   /* to be learned; 0: none */
} aegis_detect_tail_t;

#define AEGIS_DETECT_TAILS  6       /* zscore, ewma, seasonal, shift, rate, spread */

/* The state of a series. All of it is aegis_detect_feed()'s; zeroes are a series
 * that was never seen. */
typedef struct {
    int64_t              n;                 /* points taken */
    double               t, v;              /* the newest one */
    double               raw;               /* before a counter was made a rate */
    double               step;              /* seconds between points */
    double               begun;             /* time of the first one */
    double               longest;           /* seconds that it was silent at most, decayed */

    double               origin;                    /* what flat is above */
    float                flat[AEGIS_DETECT_RING];   /* without the season */
    float                move[AEGIS_DETECT_MOVES];  /* absolute */
    uint16_t             flat_n, flat_at;
    uint16_t             move_n, move_at;

    double               level[4];          /* fast, slow, Holt's level and trend */
    double               deviates[AEGIS_DETECT_SEASONS - 1];    /* level over a profile */
    double               error[AEGIS_DETECT_EXPERTS];
    double               usual;             /* mean absolute error of who was believed, slow */
    double               quiet;             /* the same, fast, by how loud its time is */
    double               loud;              /* of the newest points, the loudest */
    double               with, own;         /* flat values by the one before, and by themselves */
    uint8_t              expert;
    int8_t               clipped;           /* in a row, with sign */

    double               base;              /* what the profiles stand on */
    double               lag;               /* how far it is behind, of a day */
    double               season_error[AEGIS_DETECT_SEASONS];
    uint8_t              season;
    float                day[AEGIS_DETECT_SLOTS];
    float                half[2 * AEGIS_DETECT_SLOTS];   /* a working day's, a weekend's */
    float                week[AEGIS_DETECT_WEEK];
    float                residual[AEGIS_DETECT_SLOTS];   /* mean absolute, of a day */
    uint8_t              day_n[AEGIS_DETECT_SLOTS];      /* times lived through, below 16 */
    uint8_t              half_n[2 * AEGIS_DETECT_SLOTS];
    uint8_t              week_n[AEGIS_DETECT_WEEK];
    uint16_t             slot[AEGIS_DETECT_SEASONS - 1]; /* of the newest point */
    uint16_t             visit[AEGIS_DETECT_SEASONS - 1];   /* points in it */

    double               moves;             /* mean absolute difference, slow */
    double               repeats;           /* part of points equal to the one before */
    double               whole;             /* part of points that are whole numbers */
    uint32_t             run;               /* equal points in a row */
    uint32_t             longest_run;       /* the same, at most, until it is forgotten */
    uint32_t             rises, falls;      /* until it is known whether it counts */
    uint8_t              counter;           /* 0 unknown, 1 a counter, 2 a gauge */
    uint8_t              stuck;             /* reported, and still so */
    uint8_t              limit;             /* beyond a fixed limit: 1 above, 2 below */
    uint16_t             beyond;            /* points in a row */
    double               limit_peak;

    aegis_detect_tail_t  tail[AEGIS_DETECT_TAILS];
    int64_t              reported;          /* n at the last report, 0: never */
    double               reported_by;       /* how far from the slow level it was */
} aegis_detect_t;

typedef struct {
    double               score;     /* -log10 of how likely it is; 0..30 */
    int                  alarm;     /* report it now */
    int                  active;    /* reported, and not over */
    int                  learning;  /* too little was seen to say anything */
    aegis_detect_kind_t  kind;      /* the detector with that score */
    int                  side;      /* 1 up, -1 down */
    double               expected;
    double               deviation; /* value - expected */
    double               scale;     /* what deviations are measured in */
    double               gap_s;     /* silence before this point, when it is unusual */
    double               by_kind[AEGIS_DETECT_N_KINDS];
} aegis_detect_result_t;

const char *aegis_detect_name(aegis_detect_kind_t kind);
const char *aegis_detect_sentence(aegis_detect_kind_t kind);

/* --- aegis_detect.c */

/* One point, t in seconds since 1970. 0: it was not taken (not newer than the
 * last one, or not a number), and nothing changed. */
int aegis_detect_feed(aegis_detect_t *s, const aegis_detect_rule_t *rule, double t,
    double v, aegis_detect_result_t *ret);

/* The score from which a series is reported. */
double aegis_detect_limit(const aegis_detect_t *s, const aegis_detect_rule_t *rule);

/* The seconds of silence after which a series is missing; 0: it is too young
 * or too irregular to say. */
double aegis_detect_patience(const aegis_detect_t *s, const aegis_detect_rule_t *rule);

/* "info", "warning", "error" or "critical" */
const char *aegis_detect_severity(const aegis_detect_rule_t *rule, double score);

/* --- aegis_detect_state.c */

/* At most AEGIS_DETECT_BYTES are written; returns how many. */
size_t aegis_detect_pack(const aegis_detect_t *s, unsigned char *to);

/* 0: not a state of this version, or damaged; *ret is zeroes then. */
int aegis_detect_unpack(const unsigned char *from, size_t len, aegis_detect_t *ret);

/* --- aegis_detect_rule.c */

typedef struct aegis_detect_rules_s  aegis_detect_rules_t;

void aegis_detect_rule_init(aegis_detect_rule_t *rule);

/* detectors.yaml. Complaints name the line or the member. */
aegis_code_t aegis_detect_rules_parse(aegis_str_t yaml, aegis_detect_rules_t **ret,
    aegis_error_t *err);
void aegis_detect_rules_free(aegis_detect_rules_t *rules);      /* NULL is fine */

size_t aegis_detect_rules_count(const aegis_detect_rules_t *rules);

/* What holds for a series: the defaults, then each rule that matches, in order.
 * NULL rules: the defaults alone. source: "metric", "call" or "log". */
void aegis_detect_rules_find(const aegis_detect_rules_t *rules, const char *source,
    const char *resource, const char *metric, aegis_detect_rule_t *ret);

/* --- aegis_detect_csv.c */

typedef struct {
    int  time, value;           /* columns, from 0 */
    int  n;                     /* lines read */
} aegis_detect_csv_t;

/* A line without its end. 1: a point; 0: nothing (blank, a comment, the head);
 * -1: neither, *ret_why says why. Begin with zeroes. */
int aegis_detect_csv(aegis_detect_csv_t *csv, aegis_str_t line, double *ret_t,
    double *ret_v, const char **ret_why);

/* Seconds or milliseconds since 1970, or a date with a time, in UTC when it says
 * nothing else. 0: it is none. */
int aegis_detect_time(aegis_str_t text, double *ret_t);

/* --- aegis_detect_log.c */

#define AEGIS_DETECT_LOG_LEARN_S  86400     /* no first sight in a stream younger */

/* Is a pattern that was seen for the first time worth a report? since: when the
 * resource's first pattern was seen; known: how many it has; recent: how many of
 * them are younger than an hour. The score, as of a series. */
double aegis_detect_first_sight(double since, double now, double known, double recent,
    const char *level);

#endif
