/*
 * aegis_sensor.c: the sensor's role: takes in telemetry, keeps it by minute and by
 * five minutes, and ships what came to the object store. Its own thread writes
 * aggregates when a minute has ended, or sooner when their memory is half full.
 */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "aegis_sensor.h"

#define AEGIS_SENSOR_TICK    250            /* ms */
#define AEGIS_SENSOR_RETRY   1000
#define AEGIS_SENSOR_SWEEP   600000
#define AEGIS_SENSOR_IDLE    7200000        /* a series that is silent so long is forgotten */
#define AEGIS_SENSOR_LAG     2000
#define AEGIS_SENSOR_ADOPT   15000

int64_t
aegis_sensor_clock(void)
{
    struct timespec  ts;

    clock_gettime(CLOCK_REALTIME, &ts);
    return (int64_t) ts.tv_sec * 1000 + ts.tv_nsec / 1000000;
}

void
aegis_sensor_trouble(aegis_sensor_t *x, const char *event, aegis_error_t *err)
{
    aegis_metric_add(x->m.errors, 1);
    aegis_log(AEGIS_LOG_ERROR, "sensor", event, "code", "%s", aegis_error_def(err->code)->code,
              "error", "%s", err->detail, NULL);
    aegis_error_clear(err);
}

static void
aegis_sensor_metrics(aegis_sensor_metrics_t *m)
{
    size_t  i;

    static const char *const  families[] = { "protocol=\"remote-write\"", "protocol=\"otlp\"",
        "protocol=\"loki\"", "protocol=\"events\"" };

    for (i = 0; i < 4; i++) {
        m->requests[i] = aegis_counter("aegis_sensor_requests_total", families[i], "Requests answered.");
    }
    m->taken = aegis_counter("aegis_sensor_items_total", "outcome=\"taken\"",
        "Samples, lines, spans and events.");
    m->refused = aegis_counter("aegis_sensor_items_total", "outcome=\"refused\"",
        "Samples, lines, spans and events.");
    m->limited = aegis_gauge("aegis_sensor_series_refused", "",
        "Samples refused since the start because their tenant has sensor.series_max series.");
    m->repeated = aegis_counter("aegis_sensor_repeated_total", "",
        "Requests whose body was stored before.");
    m->busy = aegis_counter("aegis_sensor_busy_total", "",
        "Requests that were told to come later.");
    m->bad = aegis_counter("aegis_sensor_malformed_total", "", "Requests that could not be read.");
    m->commit = aegis_histogram("aegis_sensor_commit_seconds", "",
        "Time of one commit to the journal.");
    m->group = aegis_histogram("aegis_sensor_group", "", "Requests in one commit.");
    m->fold = aegis_histogram("aegis_sensor_fold_seconds", "",
        "Time of writing the aggregates of a minute.");
    m->rows = aegis_counter("aegis_sensor_rows_total", "", "Rows written to tables of aggregates.");
    m->series = aegis_gauge("aegis_sensor_series", "", "Series that are known now.");
    m->backlog = aegis_gauge("aegis_sensor_journal_batches", "",
        "Batches in the journal that are not in the aggregates.");
    m->behind = aegis_gauge("aegis_sensor_journal_oldest_seconds", "",
        "Age of the oldest of them.");
    m->objects = aegis_counter("aegis_sensor_objects_total", "",
        "Objects shipped to the object store.");
    m->errors = aegis_counter("aegis_sensor_errors_total", "",
        "Commits, folds and objects that failed and are tried again.");
}

static aegis_code_t
aegis_sensor_init(aegis_worker_t *w, aegis_error_t *err)
{
    aegis_code_t     rc;
    aegis_sensor_t  *x;

    x = calloc(1, sizeof(aegis_sensor_t));
    if (x == NULL) {
        return aegis_error_set(err, AEGIS_E_UNAVAILABLE, "no memory");
    }

    w->data = x;
    x->w = w;
    x->lane = -1;
    x->own = -1;
    x->lost = 1;
    x->queue_max = (size_t) aegis_conf_int(w->conf, "sensor.queue_mb") << 20;
    x->body_max = (size_t) aegis_conf_int(w->conf, "sensor.body_max_kb") << 10;
    x->unpacked_max = (size_t) aegis_conf_int(w->conf, "sensor.unpacked_max_kb") << 10;
    x->past = aegis_conf_int(w->conf, "sensor.past_s") * 1000;
    x->future = aegis_conf_int(w->conf, "sensor.future_s") * 1000;
    x->fold = aegis_fold_new(1, 1, 65536);
    (void) pthread_mutex_init(&x->state, NULL);
    (void) pthread_mutex_init(&x->queue, NULL);
    (void) pthread_cond_init(&x->wake, NULL);
    aegis_sensor_metrics(&x->m);

    rc = x->fold == NULL ? AEGIS_E_UNAVAILABLE : aegis_store_open(w->conf, NULL, NULL, &x->store, err);
    if (rc == AEGIS_E_OK && !aegis_sensor_commit_start(x)) {
        rc = aegis_error_set(err, AEGIS_E_UNAVAILABLE, "no thread for the journal");
    }
    if (rc == AEGIS_E_OK && !aegis_sensor_http_start(x, err)) {
        if (x->own >= 0) {
            return err->code;
        }
        aegis_sensor_trouble(x, "standing-by", err);
    }

    return rc;
}

/* ms of the clock when the minute now has ended and its delay passed. */
static int64_t
aegis_sensor_due(aegis_sensor_t *x, int64_t now)
{
    return (now / 60000 + 1) * 60000 + aegis_conf_int(x->w->conf, "sensor.fold_delay_s") * 1000;
}

static void
aegis_sensor_look(aegis_sensor_t *x, int64_t now)
{
    int            rows;
    aegis_error_t  err = AEGIS_ERROR_INIT;

    x->lag_at = now + AEGIS_SENSOR_LAG;
    aegis_metric_set(x->m.series, x->fold->n_series);
    aegis_metric_set(x->m.limited, (double) x->fold->refused_series);

    if (aegis_pg_sql(x->w->pg, AEGIS_SQL_INGEST_LAG, 0, NULL, &rows, &err) == AEGIS_E_OK && rows == 1) {
        aegis_metric_set(x->m.backlog, atof(aegis_pg_value(x->w->pg, 0, 0)));
        aegis_metric_set(x->m.behind, atof(aegis_pg_value(x->w->pg, 0, 1)));
    }
    aegis_error_clear(&err);
}

/* Open the lane, or open it again. */
static int
aegis_sensor_ready(aegis_sensor_t *x, int64_t now)
{
    aegis_error_t  err = AEGIS_ERROR_INIT;

    if (x->lane >= 0 && !x->lost && x->session == aegis_pg_session(x->w->pg)) {
        return 1;
    }

    if (aegis_sensor_open(x, &err) != AEGIS_E_OK) {
        aegis_sensor_trouble(x, "lane-not-open", &err);
        return 0;
    }

    aegis_log(AEGIS_LOG_INFO, "sensor", "lane-open", "lane", "%d", x->lane, NULL);
    x->fold_at = now;
    x->sweep_at = now + AEGIS_SENSOR_SWEEP;
    x->ship_at = now + AEGIS_SENSOR_ADOPT;
    return 1;
}

static int
aegis_sensor_half(aegis_sensor_t *x)
{
    int  half;

    (void) pthread_mutex_lock(&x->fold->lock);
    half = aegis_arena_size(x->fold->gen->arena) > x->fold->memory / 2;
    (void) pthread_mutex_unlock(&x->fold->lock);

    return half;
}

static int
aegis_sensor_tick(aegis_worker_t *w)
{
    int64_t          now;
    aegis_error_t    err = AEGIS_ERROR_INIT;
    aegis_sensor_t  *x;

    x = w->data;
    now = aegis_sensor_clock();

    /* one that stands by serves as soon as the other has ended */
    if (x->http == NULL && !aegis_sensor_http_start(x, &err)) {
        if (x->own >= 0) {
            aegis_sensor_trouble(x, "socket-failed", &err);
        }
        aegis_error_clear(&err);
        return AEGIS_SENSOR_RETRY;
    }
    if (!aegis_sensor_ready(x, now)) {
        return AEGIS_SENSOR_RETRY;
    }

    if (x->gen || now >= x->fold_at || aegis_sensor_half(x)) {
        if (aegis_sensor_fold(x, now / 60000, &err) != AEGIS_E_OK) {
            aegis_sensor_trouble(x, "fold-failed", &err);
            return AEGIS_SENSOR_RETRY;
        }
        x->fold_at = aegis_sensor_due(x, now);
    }

    if (now >= x->sweep_at) {
        aegis_fold_sweep(x->fold, now - AEGIS_SENSOR_IDLE);
        x->sweep_at = now + AEGIS_SENSOR_SWEEP;
    }
    if (now >= x->lag_at) {
        aegis_sensor_look(x, now);
    }
    if (now >= x->ship_at) {
        x->ship_at = now + AEGIS_SENSOR_ADOPT;
        if (aegis_sensor_adopt(x, &err) != AEGIS_E_OK) {
            aegis_sensor_trouble(x, "adopt-failed", &err);
        }
    }

    return aegis_sensor_ship(x) ? 10 : AEGIS_SENSOR_TICK;
}

/* What was taken in is durable; what is in memory is written, so that the next start
 * has little to read. */
static void
aegis_sensor_done(aegis_worker_t *w)
{
    size_t           i;
    aegis_error_t    err = AEGIS_ERROR_INIT;
    aegis_sensor_t  *x;

    x = w->data;
    if (x == NULL) {
        return;
    }

    if (x->running) {
        aegis_sensor_commit_stop(x);
    }
    aegis_sensor_http_stop(x);
    if (x->lane >= 0 && !x->lost && aegis_sensor_fold(x, INT64_MAX, &err) != AEGIS_E_OK) {
        aegis_sensor_trouble(x, "fold-failed", &err);
    }

    for (i = 0; i < sizeof(x->a) / sizeof(x->a[0]); i++) {
        aegis_array_free(&x->a[i]);
    }
    aegis_store_close(x->store);
    aegis_fold_free(x->fold);
    free(x);
    w->data = NULL;
}

const aegis_role_t  aegis_role_sensor = {
    .name = "sensor",
    .sentence = "takes in metrics, logs, traces and events, and keeps them by the minute",
    .init = aegis_sensor_init,
    .tick = aegis_sensor_tick,
    .done = aegis_sensor_done
};
