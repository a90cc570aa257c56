/*
 * aegis_signal.h: what a batch of telemetry says, whatever protocol it came by.
 * Decoders make it (aegis_decode*.c), the aggregates take it (aegis_fold*.c). All of it
 * is in one arena, which bounds what a hostile body can make of itself; strings
 * may lie in the body, which has to live as long.
 */
#ifndef AEGIS_SIGNAL_H
#define AEGIS_SIGNAL_H

#include <string.h>

#include <jansson.h>

#include "aegis.h"
#include "aegis_error.h"
#include "aegis_hist.h"

typedef struct aegis_arena_s  aegis_arena_t;

/* Memory that is freed at once, at most limit bytes of it. */
aegis_arena_t *aegis_arena_new(size_t limit);
void aegis_arena_free(aegis_arena_t *arena);                /* NULL is fine */
void *aegis_arena_alloc(aegis_arena_t *arena, size_t size); /* NULL: the limit */
char *aegis_arena_copy(aegis_arena_t *arena, const char *data, size_t len);
size_t aegis_arena_size(const aegis_arena_t *arena);

typedef struct {
    aegis_str_t   name;
    aegis_str_t   value;
} aegis_label_t;

typedef struct {
    int64_t       t;                    /* ms since 1970 */
    double        v;
} aegis_sample_t;

/* How the values of one sample are spread. */
typedef struct {
    aegis_bucket_t  *buckets;
    unsigned         n;
    int              cumulative;        /* since start, not since the last one */
    int64_t          start;             /* ms; 0: not known */
    double           sum;               /* NAN, as the others: not known */
    double           min;
    double           max;
} aegis_hist_t;

typedef struct aegis_points_s  aegis_points_t;

/* Samples of one series; with hist one, whose v is the number of values. */
struct aegis_points_s {
    aegis_points_t      *next;
    aegis_str_t          metric;
    aegis_str_t          resource;      /* data NULL: the labels say it */
    aegis_label_t       *labels;        /* sorted by name */
    unsigned             n_labels;
    unsigned             n;
    aegis_sample_t      *samples;
    int                  counter;       /* grows, and starts again at 0 */
    const aegis_hist_t  *hist;
    uint64_t             hash[2];       /* of tenant, metric, resource and labels */
};

typedef struct aegis_line_s  aegis_line_t;

/* Lines of a log and what is known of them. */
struct aegis_line_s {
    aegis_line_t    *next;
    int64_t          t;
    aegis_str_t      resource;
    aegis_str_t      text;
    int              severity;          /* 0 unknown, 1 debug .. 4 error */
};

typedef struct aegis_span_s  aegis_span_t;

struct aegis_span_s {
    aegis_span_t    *next;
    int64_t          t;                 /* its end */
    double           ms;
    aegis_str_t      service;           /* URN of who made it */
    aegis_str_t      peer;              /* URN of whom a client named, or data NULL */
    int              server;            /* 0: a client's side */
    int              error;
    int              root;              /* a server's span without parent */
    uint64_t         key[2];            /* of the client's span */
};

typedef struct aegis_happening_s  aegis_happening_t;

/* A row of signal_event. */
struct aegis_happening_s {
    aegis_happening_t  *next;
    const char         *source;
    const char         *state;
    const char         *severity;
    const char         *dedupe;
    const char         *fingerprint;
    const char         *kind;
    const char         *resource;
    const char         *title;
    const char         *summary;
    const char         *labels;         /* json */
    int64_t             starts;         /* ms */
    int64_t             ends;           /* 0: not known */
    int64_t             count;
};

typedef struct {
    aegis_arena_t       *arena;
    const char          *tenant;
    int64_t              now;           /* ms: when it was received */
    int64_t              past;          /* ms: older ones are refused */
    int64_t              future;
    aegis_points_t      *points;
    aegis_points_t     **points_end;
    aegis_line_t        *lines;
    aegis_line_t       **lines_end;
    aegis_span_t        *spans;
    aegis_span_t       **spans_end;
    aegis_happening_t   *happenings;
    aegis_happening_t  **happenings_end;
    unsigned             taken;         /* samples, lines, spans, events */
    unsigned             refused;       /* what was well-formed and is not taken */
    unsigned             ignored;       /* of no use and no fault: stale markers */
    unsigned             histograms;    /* native histograms among what was taken */
    unsigned             exemplars;
    char                 why[200];      /* of the first that was refused */
} aegis_signals_t;

/* now, past and future in ms; the arena stays the caller's. */
void aegis_signals_init(aegis_signals_t *s, aegis_arena_t *arena, const char *tenant,
    int64_t now, int64_t past, int64_t future);

/* Whether a time is taken; counts it as refused when not. */
int aegis_signals_time(aegis_signals_t *s, int64_t t);
void aegis_signals_refuse(aegis_signals_t *s, unsigned n, const char *format, ...)
    __attribute__((format(printf, 3, 4)));

/* What is no UTF-8, or a control character, becomes a question mark: PostgreSQL takes
 * all of what is left. */
void aegis_clean(char *text, size_t len);

/* Append; NULL: the arena's limit. hash and sort labels of points when complete. */
aegis_points_t *aegis_signals_points(aegis_signals_t *s);
aegis_line_t *aegis_signals_line(aegis_signals_t *s);
aegis_span_t *aegis_signals_span(aegis_signals_t *s);
aegis_happening_t *aegis_signals_happening(aegis_signals_t *s);

/* 0: a label twice, without a name, or too long or too many of them. */
int aegis_points_finish(aegis_signals_t *s, aegis_points_t *p);

/* The hash again, when metric or labels are others. */
void aegis_points_hash(const char *tenant, aegis_points_t *p);

/* Native histograms of a series of remote write, whose labels are finished: field is
 * where its message has them. */
aegis_code_t aegis_decode_native(aegis_signals_t *s, const aegis_points_t *series,
    aegis_str_t message, unsigned field, aegis_error_t *err);

/* The URN that labels of Prometheus or attributes of a resource name; into the
 * arena. used has a bit for each label that the URN says. */
aegis_str_t aegis_resource_of(aegis_arena_t *arena, const aegis_label_t *labels,
    unsigned n, uint64_t *ret_used);

#define AEGIS_LABELS_MAX       64
#define AEGIS_LABEL_NAME_MAX   200
#define AEGIS_LABEL_VALUE_MAX  2048

/* Decoders: AEGIS_E_OK, or what is wrong. body is plain. */
typedef aegis_code_t (*aegis_decode_pt)(aegis_signals_t *s, aegis_str_t body,
    aegis_error_t *err);

aegis_code_t aegis_decode_prw1(aegis_signals_t *s, aegis_str_t body, aegis_error_t *err);
aegis_code_t aegis_decode_prw2(aegis_signals_t *s, aegis_str_t body, aegis_error_t *err);
aegis_code_t aegis_decode_metrics(aegis_signals_t *s, aegis_str_t body, aegis_error_t *err);
aegis_code_t aegis_decode_metrics_json(aegis_signals_t *s, aegis_str_t body, aegis_error_t *err);
aegis_code_t aegis_decode_logs(aegis_signals_t *s, aegis_str_t body, aegis_error_t *err);
aegis_code_t aegis_decode_logs_json(aegis_signals_t *s, aegis_str_t body, aegis_error_t *err);
aegis_code_t aegis_decode_traces(aegis_signals_t *s, aegis_str_t body, aegis_error_t *err);
aegis_code_t aegis_decode_traces_json(aegis_signals_t *s, aegis_str_t body, aegis_error_t *err);
aegis_code_t aegis_decode_loki(aegis_signals_t *s, aegis_str_t body, aegis_error_t *err);
aegis_code_t aegis_decode_loki_json(aegis_signals_t *s, aegis_str_t body, aegis_error_t *err);
aegis_code_t aegis_decode_alerts(aegis_signals_t *s, aegis_str_t body, aegis_error_t *err);
aegis_code_t aegis_decode_kube(aegis_signals_t *s, aegis_str_t body, aegis_error_t *err);
aegis_code_t aegis_decode_cloudevents(aegis_signals_t *s, aegis_str_t body, aegis_error_t *err);

/* An event in binary form (its attributes are headers) becomes the text that
 * aegis_decode_cloudevents() takes. event begins as an object, ok as 1. */
typedef struct {
    json_t  *event;
    int      ok;
} aegis_cloudevent_t;

void aegis_cloudevent_attribute(aegis_cloudevent_t *b, const char *name, const char *value);
char *aegis_cloudevent_text(aegis_cloudevent_t *b, aegis_str_t body);

/* Bodies: what is compressed as what it says; at most max bytes come out. */
aegis_code_t aegis_unpack_gzip(aegis_arena_t *arena, aegis_str_t body, size_t max,
    aegis_str_t *ret, aegis_error_t *err);
aegis_code_t aegis_unpack_snappy(aegis_arena_t *arena, aegis_str_t body, size_t max,
    aegis_str_t *ret, aegis_error_t *err);

#endif
