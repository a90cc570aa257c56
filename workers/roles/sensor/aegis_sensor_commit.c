/*
 * aegis_sensor_commit.c: requests that wait share a commit: as many as are there go
 * to the journal in one statement, are applied to the aggregates in memory, and are
 * answered.
 * Invariants: nothing is answered before its commit; what the statement says was
 * there before is not applied again; a commit whose outcome is not known is asked for
 * again under the same numbers, which tell.
 */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "aegis_failpoint.h"
#include "aegis_json.h"
#include "aegis_sensor.h"

#define AEGIS_COMMIT_TRIES  8

int
aegis_sensor_full(aegis_sensor_t *x)
{
    return __atomic_load_n(&x->full, __ATOMIC_RELAXED);
}

int
aegis_sensor_submit(aegis_sensor_t *x, aegis_job_t *job)
{
    int  ok;

    (void) pthread_mutex_lock(&x->queue);
    ok = x->running && x->waiting + job->body.len <= x->queue_max;
    if (ok) {
        job->next = NULL;
        job->state = 0;
        *x->last = job;
        x->last = &job->next;
        x->waiting += job->body.len;
        (void) pthread_cond_signal(&x->wake);
    }
    (void) pthread_mutex_unlock(&x->queue);

    return ok;
}

/* The next group: at most so many and so large, no body twice. Waits for one. */
static size_t
aegis_commit_take(aegis_sensor_t *x, aegis_job_t *jobs[AEGIS_SENSOR_GROUP])
{
    size_t         i, n, bytes;
    aegis_job_t   *j, **link;

    (void) pthread_mutex_lock(&x->queue);
    while (x->first == NULL && x->running) {
        (void) pthread_cond_wait(&x->wake, &x->queue);
    }

    for (link = &x->first, n = 0, bytes = 0; (j = *link) && n < AEGIS_SENSOR_GROUP; ) {
        for (i = 0; i < n && (strcmp(jobs[i]->hash, j->hash) != 0
                              || strcmp(jobs[i]->tenant, j->tenant) != 0); i++)
        {
            /* void */
        }
        if (i < n) {
            link = &j->next;
            continue;
        }
        if (n && bytes + j->body.len > AEGIS_SENSOR_GROUP_BYTES) {
            break;
        }
        *link = j->next;
        bytes += j->body.len;
        x->waiting -= j->body.len;
        jobs[n++] = j;
    }
    for (x->last = &x->first; *x->last; x->last = &(*x->last)->next) {
        /* void */
    }
    (void) pthread_mutex_unlock(&x->queue);

    return n;
}

static json_t *
aegis_commit_event(const aegis_happening_t *h, size_t n)
{
    return json_pack("{s:i, s:s, s:s, s:s, s:s, s:s, s:s, s:s, s:s, s:s, s:s, s:I, s:I, s:I}",
        "n", (int) n, "source", h->source, "state", h->state, "severity", h->severity,
        "dedupe", h->dedupe, "fingerprint", h->fingerprint, "kind", h->kind,
        "resource", h->resource, "title", h->title, "summary", h->summary,
        "labels", h->labels, "starts", (json_int_t) h->starts, "ends", (json_int_t) h->ends,
        "count", (json_int_t) h->count);
}

/* The rows of signal_event of a group, NULL when there is none. */
static char *
aegis_commit_events(aegis_job_t *const *jobs, size_t n)
{
    char                     *text;
    size_t                    i;
    json_t                   *list;
    const aegis_happening_t  *h;

    list = NULL;
    for (i = 0; i < n; i++) {
        for (h = jobs[i]->signals.happenings; h; h = h->next) {
            list = list ? list : json_array();
            (void) json_array_append_new(list, aegis_commit_event(h, i + 1));
        }
    }

    text = list ? json_dumps(list, JSON_COMPACT) : NULL;
    json_decref(list);
    return text;
}

static aegis_code_t
aegis_commit_send(aegis_sensor_t *x, aegis_pg_t *pg, aegis_array_t *a, aegis_job_t *const *jobs,
    size_t n, aegis_error_t *err)
{
    int            i, rows, lengths[10];
    char           lane[16], epoch[24], *events;
    size_t         k;
    const char    *values[10];
    aegis_code_t   rc;

    static const int  oids[] = { AEGIS_OID_INT8, AEGIS_OID_TEXT, AEGIS_OID_TEXT, AEGIS_OID_TEXT,
                                 AEGIS_OID_TEXT, AEGIS_OID_BYTEA, AEGIS_OID_INT8 };

    for (i = 0; i < 7; i++) {
        aegis_array_begin(&a[i], oids[i]);
    }
    for (k = 0; k < n; k++) {
        aegis_array_int(&a[0], (int64_t) jobs[k]->seq);
        aegis_array_text(&a[1], jobs[k]->tenant);
        aegis_array_text(&a[2], jobs[k]->kind->name);
        aegis_array_text(&a[3], jobs[k]->encoding);
        aegis_array_text(&a[4], jobs[k]->hash);
        aegis_array_bytes(&a[5], jobs[k]->body.data, jobs[k]->body.len);
        aegis_array_int(&a[6], jobs[k]->signals.now);
    }

    (void) snprintf(lane, sizeof(lane), "%d", x->lane);
    (void) snprintf(epoch, sizeof(epoch), "%lld", (long long) x->epoch);
    events = aegis_commit_events(jobs, n);

    values[0] = lane;
    values[1] = epoch;
    lengths[0] = lengths[1] = -1;
    for (i = 0; i < 7; i++) {
        aegis_array_end(&a[i]);
        if (a[i].failed) {
            free(events);
            return aegis_error_set(err, AEGIS_E_UNAVAILABLE, "no memory");
        }
        values[i + 2] = a[i].data;
        lengths[i + 2] = (int) a[i].len;
    }
    values[9] = events;
    lengths[9] = -1;

    rc = aegis_pg_sql_binary(pg, AEGIS_SQL_INGEST_APPEND, 10, values, lengths, &rows, err);
    free(events);

    if (rc == AEGIS_E_OK && (size_t) rows != n) {
        rc = aegis_error_set(err, AEGIS_E_INTERNAL, "%d answers for %zu batches", rows, n);
    }

    return rc;
}

/* What became of each; those that are to be tried again are put back. */
static void
aegis_commit_settle(aegis_sensor_t *x, aegis_pg_t *pg, aegis_job_t **jobs, size_t n)
{
    size_t       i;
    const char  *code;

    for (i = 0; i < n; i++) {
        code = aegis_pg_value(pg, (int) i, 0);
        jobs[i]->state = code == NULL ? -1 : strcmp(code, "new") == 0 ? 1
                         : strcmp(code, "seen") == 0 ? 2 : 0;
    }

    for (i = 0; i < n; i++) {
        if (jobs[i]->state == 1 && !aegis_fold_apply(x->fold, &jobs[i]->signals, jobs[i]->seq, INT64_MIN)) {
            /* it is in the journal: it is read again from there */
            x->lost = 1;
        }
    }

    __atomic_store_n(&x->full, aegis_arena_size(x->fold->gen->arena) > x->fold->memory / 4 * 3,
                     __ATOMIC_RELAXED);
}

static void
aegis_commit_answer(aegis_sensor_t *x, aegis_job_t **jobs, size_t n)
{
    size_t        i;
    aegis_job_t  *j;

    for (i = 0; i < n; i++) {
        j = jobs[i];
        if (j->state == 0 && j->tries++ < AEGIS_COMMIT_TRIES && aegis_sensor_submit(x, j)) {
            continue;
        }
        j->state = j->state ? j->state : -1;
        aegis_metric_add(x->m.taken, j->state == 1 ? j->signals.taken : 0);
        aegis_metric_add(x->m.refused, j->state == 1 ? j->signals.refused : 0);
        aegis_metric_add(x->m.repeated, j->state == 2);
        j->done(j);
    }
}

static void
aegis_commit_group(aegis_sensor_t *x, aegis_pg_t *pg, aegis_array_t *a, aegis_job_t **jobs,
    size_t n)
{
    int              try;
    size_t           i;
    int64_t          began;
    aegis_code_t     rc;
    aegis_error_t    err = AEGIS_ERROR_INIT;
    struct timespec  pause = { 0, 50000000 };

    (void) pthread_mutex_lock(&x->state);
    began = aegis_sensor_clock();
    rc = x->lane < 0 || x->lost || AEGIS_FP(sensor_after_take, "sensor")
         ? AEGIS_E_UNAVAILABLE : AEGIS_E_OK;

    for (i = 0; rc == AEGIS_E_OK && i < n; i++) {
        jobs[i]->seq = ++x->seq;
    }
    for (try = 0; rc == AEGIS_E_OK && try < 3; try++) {
        rc = aegis_commit_send(x, pg, a, jobs, n, &err);
        if (rc == AEGIS_E_OK && AEGIS_FP(sensor_after_commit, "sensor")) {
            rc = aegis_error_set(&err, AEGIS_E_UNKNOWN_OUTCOME, "the answer is lost");
        }
        if (rc != AEGIS_E_UNKNOWN_OUTCOME && rc != AEGIS_E_BUSY) {
            break;
        }
        if (try < 2) {
            aegis_error_clear(&err);
            rc = AEGIS_E_OK;
            (void) nanosleep(&pause, NULL);
        }
    }

    if (rc == AEGIS_E_OK) {
        aegis_commit_settle(x, pg, jobs, n);
    } else {
        for (i = 0; i < n; i++) {
            jobs[i]->state = -1;
        }
        /* some of it may be in the journal, or the lane be another's */
        x->lost |= x->lane >= 0 && rc != AEGIS_E_UNAVAILABLE;
    }
    (void) pthread_mutex_unlock(&x->state);

    if (rc != AEGIS_E_OK && err.detail[0]) {
        aegis_sensor_trouble(x, "commit-failed", &err);
    }
    aegis_metric_observe(x->m.commit, (double) (aegis_sensor_clock() - began) / 1000);
    aegis_metric_observe(x->m.group, (double) n);
    (void) AEGIS_FP(sensor_before_answer, "sensor");
    aegis_commit_answer(x, jobs, n);
    aegis_error_clear(&err);
}

static void *
aegis_commit_main(void *arg)
{
    size_t            i, n;
    aegis_pg_t       *pg;
    aegis_array_t     a[7];
    aegis_job_t      *jobs[AEGIS_SENSOR_GROUP];
    aegis_sensor_t   *x;

    x = arg;
    pg = x->journal;
    memset(a, 0, sizeof(a));

    while ((n = aegis_commit_take(x, jobs)) > 0) {
        aegis_commit_group(x, pg, a, jobs, n);
        aegis_pg_clear(pg);
    }

    for (i = 0; i < 7; i++) {
        aegis_array_free(&a[i]);
    }
    return NULL;
}

int
aegis_sensor_commit_start(aegis_sensor_t *x)
{
    x->journal = aegis_pg_new(aegis_conf_str(x->w->conf, "database.url"), "sensor-journal");
    if (x->journal == NULL) {
        return 0;
    }

    x->running = 1;
    x->last = &x->first;

    return pthread_create(&x->committer, NULL, aegis_commit_main, x) == 0;
}

void
aegis_sensor_commit_stop(aegis_sensor_t *x)
{
    (void) pthread_mutex_lock(&x->queue);
    x->running = 0;
    (void) pthread_cond_signal(&x->wake);
    (void) pthread_mutex_unlock(&x->queue);
    (void) pthread_join(x->committer, NULL);
    aegis_pg_free(x->journal);
}
