/*
 * aegis_sensor.h: the sensor at work. Threads of libmicrohttpd read and decode
 * (aegis_sensor_http.c), one commits what waits to the journal and applies it
 * (aegis_sensor_commit.c), the role's own thread writes aggregates and ships
 * objects (aegis_sensor_write.c, aegis_sensor_ship.c).
 * Lock order: state, then fold; queue by itself.
 */
#ifndef AEGIS_SENSOR_H
#define AEGIS_SENSOR_H

#include <pthread.h>

#include "aegis_array.h"
#include "aegis_fold.h"
#include "aegis_role.h"
#include "aegis_store.h"

#define AEGIS_SENSOR_GROUP        128       /* requests that share a commit */
#define AEGIS_SENSOR_GROUP_BYTES  8388608
#define AEGIS_SENSOR_HASH         65

/* What a path takes: the name is the journal's kind. */
typedef struct {
    const char       *name;
    const char       *dataset;              /* of its objects */
    aegis_decode_pt   decode;
} aegis_sensor_kind_t;

const aegis_sensor_kind_t *aegis_sensor_kind_by_name(const char *name);

typedef struct aegis_job_s  aegis_job_t;

/* A request between its last byte and its answer. */
struct aegis_job_s {
    aegis_job_t         *next;
    const aegis_sensor_kind_t  *kind;
    const char          *encoding;
    char                 tenant[64];
    char                 hash[AEGIS_SENSOR_HASH];
    aegis_str_t          body;              /* as it came */
    aegis_signals_t      signals;
    uint64_t             seq;
    int                  tries;
    int                  state;             /* 0 waits, 1 durable, 2 was so before, -1 not */
    void               (*done)(aegis_job_t *job);
    void                *data;
};

typedef struct {
    aegis_metric_t  *requests[4];           /* by family: see aegis_sensor_http.c */
    aegis_metric_t  *taken;
    aegis_metric_t  *refused;
    aegis_metric_t  *repeated;
    aegis_metric_t  *busy;
    aegis_metric_t  *bad;
    aegis_metric_t  *commit;
    aegis_metric_t  *group;
    aegis_metric_t  *fold;
    aegis_metric_t  *rows;
    aegis_metric_t  *series;
    aegis_metric_t  *limited;
    aegis_metric_t  *backlog;
    aegis_metric_t  *behind;
    aegis_metric_t  *objects;
    aegis_metric_t  *errors;
} aegis_sensor_metrics_t;

typedef struct {
    aegis_worker_t          *w;
    aegis_sensor_metrics_t   m;
    aegis_fold_t            *fold;
    aegis_store_t           *store;
    aegis_pg_t              *journal;       /* the committer's */
    void                    *http;
    int                      own;            /* lock of the socket's name, -1: another's */

    pthread_mutex_t          state;         /* of what follows */
    int                      lane;          /* -1: none, nothing is taken in */
    int64_t                  epoch;
    uint64_t                 seq;           /* the last that was given out */
    int                      lost;          /* the lane has to be opened again */

    pthread_mutex_t          queue;
    pthread_cond_t           wake;
    pthread_t                committer;
    int                      running;
    aegis_job_t             *first;
    aegis_job_t            **last;
    size_t                   waiting;       /* bytes in the queue */
    size_t                   queue_max;
    size_t                   held;          /* atomic: bytes of bodies under way */
    int                      full;          /* atomic: the memory of aggregates */
    size_t                   body_max;
    size_t                   unpacked_max;
    int64_t                  past;
    int64_t                  future;

    aegis_gen_t             *gen;           /* taken and not written yet */
    int64_t                  fold_at;       /* ms of the clock */
    int64_t                  sweep_at;
    int64_t                  ship_at;
    int64_t                  lag_at;
    uint64_t                 folded;
    uint64_t                 keep;          /* the journal up to here may go */
    unsigned                 session;
    aegis_array_t            a[12];
} aegis_sensor_t;

int64_t aegis_sensor_clock(void);           /* ms since 1970 */

/* 0: the queue is full, or nothing is taken in now. */
int aegis_sensor_submit(aegis_sensor_t *x, aegis_job_t *job);
int aegis_sensor_full(aegis_sensor_t *x);
int aegis_sensor_commit_start(aegis_sensor_t *x);
void aegis_sensor_commit_stop(aegis_sensor_t *x);

/* A lane, and all that its journal says. */
aegis_code_t aegis_sensor_open(aegis_sensor_t *x, aegis_error_t *err);
/* Write what sensors that are gone have left. */
aegis_code_t aegis_sensor_adopt(aegis_sensor_t *x, aegis_error_t *err);

/* Write a generation in one transaction, with the lane's checkpoint. */
aegis_code_t aegis_sensor_write(aegis_sensor_t *x, int lane, int64_t epoch,
    const aegis_gen_t *gen, aegis_error_t *err);
/* Take and write what is due. */
aegis_code_t aegis_sensor_fold(aegis_sensor_t *x, int64_t open, aegis_error_t *err);

/* Objects out of the journal; 1: there is more. */
int aegis_sensor_ship(aegis_sensor_t *x);

int aegis_sensor_http_start(aegis_sensor_t *x, aegis_error_t *err);
void aegis_sensor_http_stop(aegis_sensor_t *x);

/* Unpack and decode a body; signals and arena are the caller's. */
aegis_code_t aegis_sensor_decode(const aegis_sensor_kind_t *kind, const char *encoding,
    aegis_str_t body, size_t max, aegis_signals_t *s, aegis_error_t *err);

void aegis_sensor_trouble(aegis_sensor_t *x, const char *event, aegis_error_t *err);

#endif
