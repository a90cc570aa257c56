/*
 * aegis_fold.h: aggregates in memory, between the journal and their tables.
 * A generation is what has been applied since the last one was taken. Taking one
 * leaves the minutes that are still open in the next, so that a minute of a series
 * is written once when nothing is late.
 * Locks: one mutex around apply and take; a taken generation belongs to who took it.
 */
#ifndef AEGIS_FOLD_H
#define AEGIS_FOLD_H

#include <pthread.h>

#include "aegis_drain.h"
#include "aegis_signal.h"
#include "aegis_sketch.h"

#define AEGIS_FOLD_BINS     256         /* of one sketch; more are joined at the low end */
/* a fuzzer makes them small */
#ifndef AEGIS_FOLD_SLOTS
#define AEGIS_FOLD_SLOTS    262144      /* of the table of series */
#define AEGIS_FOLD_SMALL    4096        /* of the tables of a generation */
#endif
#define AEGIS_FOLD_TENANTS  1024
#define AEGIS_FOLD_WAITING  100000      /* spans that wait for their other half */

typedef struct {
    uint16_t      n;
    uint16_t      cap;
    uint64_t      count;
    aegis_bin_t  *bins;
} aegis_spread_t;

/* How much one bucket of a classic histogram grew: values up to le. */
typedef struct {
    double        le;
    double        grown;
} aegis_part_t;

typedef struct aegis_series_s  aegis_series_t;
typedef struct aegis_cell_s    aegis_cell_t;

/* One minute of a series. */
struct aegis_cell_s {
    aegis_cell_t    *next;              /* of the series */
    aegis_cell_t    *all;               /* of the generation */
    aegis_series_t  *series;
    int64_t          minute;
    uint64_t         seq;               /* of the first batch in it */
    double           sum;
    double           max;
    uint32_t         n;
    uint32_t         cap;
    uint16_t        *seen;              /* ms of the minute, of each sample */
    aegis_spread_t   spread;            /* its count is that of values, of histograms too */
    aegis_part_t    *parts;             /* of a classic histogram, until it is taken */
    uint16_t         n_parts;
    uint16_t         cap_parts;
};

typedef struct {
    char            name[64];
    unsigned        n_series;
    aegis_drain_t  *drain;
} aegis_tenant_t;

/* The last state of a cumulative histogram. */
typedef struct {
    int64_t         t;
    int64_t         start;
    double          sum;
    unsigned        n;
    aegis_bucket_t  buckets[];
} aegis_hist_state_t;

struct aegis_series_s {
    aegis_series_t  *next;
    uint64_t         hash[2];
    aegis_tenant_t  *tenant;
    aegis_cell_t    *cells;             /* of the generation now */
    aegis_series_t  *rate;              /* of a counter: its growth by second */
    aegis_series_t  *hist;              /* of <name>_bucket and <name>_sum: <name> */
    double           le;                /* of <name>_bucket; NAN */
    aegis_hist_state_t  *state;         /* of a histogram */
    unsigned         refs;              /* of a classic one: series whose hist it is */
    unsigned         weight;            /* how many of the tenant's series it counts as */
    int64_t          used;              /* ms: when it was last received */
    int64_t          t;                 /* of a counter: its last sample */
    double           v;
    int64_t          id;                /* metric_1m.series */
    unsigned         wanted;            /* cells in generations that are not written */
    int              counter;
    const char      *resource;
    const char      *metric;
    const char      *labels;
    char             text[];
};

typedef struct aegis_pattern_cell_s  aegis_pattern_cell_t;
typedef struct aegis_call_cell_s     aegis_call_cell_t;
typedef struct aegis_count_s         aegis_count_t;

struct aegis_count_s {
    aegis_count_t  *next;
    int64_t         bucket;             /* s */
    int64_t         n;
};

struct aegis_pattern_cell_s {
    aegis_pattern_cell_t  *next;
    aegis_pattern_cell_t  *all;
    uint64_t               hash;
    const char            *tenant;
    const char            *resource;
    char                   fingerprint[AEGIS_DRAIN_PRINT + 1];
    const char            *text;
    const char            *sample;
    int                    severity;
    int64_t                first;
    int64_t                last;
    aegis_count_t         *counts;
};

struct aegis_call_cell_s {
    aegis_call_cell_t  *next;
    aegis_call_cell_t  *all;
    uint64_t            hash;
    const char         *tenant;
    const char         *caller;
    const char         *callee;
    int64_t             bucket;
    int64_t             calls;
    int64_t             errors;
    aegis_spread_t      spread;
};

typedef struct {
    aegis_arena_t         *arena;
    uint64_t               seq;         /* of the last batch that was applied */
    uint64_t               first;       /* the oldest batch that its open minutes need; 0: none */
    int64_t                open;        /* the first minute that stayed in the next one */
    aegis_cell_t          *cells;
    unsigned               n_cells;
    aegis_pattern_cell_t  *patterns;
    aegis_call_cell_t     *calls;
    aegis_pattern_cell_t  *pattern_slots[AEGIS_FOLD_SMALL];
    aegis_call_cell_t     *call_slots[AEGIS_FOLD_SMALL];
} aegis_gen_t;

typedef struct aegis_wait_s  aegis_wait_t;

/* A span whose other half has not come. */
struct aegis_wait_s {
    aegis_wait_t    *next;
    uint64_t         key[2];
    int64_t          since;             /* ms, when it was received */
    int64_t          t;
    double           ms;
    aegis_tenant_t  *tenant;
    int              server;
    int              error;
    char            *peer;              /* NULL: not named */
    char             service[];
};

typedef struct {
    pthread_mutex_t   lock;
    aegis_gen_t      *gen;
    size_t            memory;           /* bytes of one generation */
    unsigned          series_max;       /* of a tenant */
    unsigned          patterns_max;     /* of a tenant */
    unsigned          n_series;
    unsigned          n_waiting;
    unsigned          n_tenants;
    int64_t           refused_series;   /* samples refused for it, ever */
    int64_t           repeated;         /* samples that were there already */
    aegis_tenant_t   *tenants[AEGIS_FOLD_TENANTS];
    aegis_series_t  **series;
    aegis_wait_t    **waiting;
} aegis_fold_t;

aegis_fold_t *aegis_fold_new(unsigned series_max, unsigned patterns_max, size_t memory);
void aegis_fold_free(aegis_fold_t *f);                  /* NULL is fine */

/* NULL: too many tenants. */
aegis_tenant_t *aegis_fold_tenant(aegis_fold_t *f, const char *name);

/* All that a batch says. of_minute: only samples of this minute (of 60 s since 1970)
 * or later, and nothing but samples; INT64_MIN: all. 0: the memory is used up, part
 * of it is missing. */
int aegis_fold_apply(aegis_fold_t *f, aegis_signals_t *s, uint64_t seq, int64_t of_minute);

/* Take the generation; minutes from open on stay. NULL: nothing is in it, or no memory. */
aegis_gen_t *aegis_fold_take(aegis_fold_t *f, int64_t open, int64_t now);

/* It is written: let go of it. */
void aegis_fold_done(aegis_fold_t *f, aegis_gen_t *gen);

/* Forget series that nothing came of since before (ms). */
void aegis_fold_sweep(aegis_fold_t *f, int64_t before);

/* Parts of apply. */
int aegis_fold_points(aegis_fold_t *f, aegis_tenant_t *t, aegis_signals_t *s, uint64_t seq,
    int64_t of_minute);
aegis_cell_t *aegis_cell_of(aegis_gen_t *g, aegis_series_t *s, int64_t minute, uint64_t seq);
int aegis_cell_seen(aegis_gen_t *g, aegis_cell_t *c, uint16_t ms);
aegis_series_t *aegis_series_make(aegis_tenant_t *t, const uint64_t hash[2], aegis_str_t resource,
    aegis_str_t metric, const char *suffix, const char *labels);
void aegis_series_free(aegis_series_t *s);
aegis_series_t *aegis_series_at(const aegis_fold_t *f, const uint64_t hash[2]);

/* That of p, which is made when it is new. NULL: no room, or no memory. */
aegis_series_t *aegis_series_find(aegis_fold_t *f, aegis_tenant_t *t, aegis_signals_t *b,
    const aegis_points_t *p);

/* Histograms: one sample of s; a series that a classic one is made of, when it is
 * made; growth of it; what the parts of a minute say. 0: no memory. */
int aegis_fold_hist(aegis_fold_t *f, aegis_series_t *s, const aegis_points_t *p, uint64_t seq,
    int64_t of_minute);
void aegis_hist_join(aegis_fold_t *f, aegis_signals_t *b, aegis_series_t *s,
    const aegis_points_t *p);
int aegis_hist_part(aegis_fold_t *f, aegis_series_t *s, int64_t t, double grown, uint64_t seq);
int aegis_hist_settle(aegis_arena_t *arena, aegis_cell_t *c);
int aegis_fold_lines(aegis_fold_t *f, aegis_tenant_t *t, aegis_signals_t *s);
int aegis_fold_spans(aegis_fold_t *f, aegis_tenant_t *t, aegis_signals_t *s);
void aegis_fold_lonely(aegis_fold_t *f, int64_t before);
int aegis_spread_add(aegis_arena_t *arena, aegis_spread_t *s, double v, uint64_t n);
int aegis_spread_copy(aegis_arena_t *arena, aegis_spread_t *s);

#endif
