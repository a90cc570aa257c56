/*
 * aegis_relay.c: the relay: publishes the outbox, and does the housekeeping.
 * Invariant: an outbox partition is published by one session at a time (its
 * advisory lock), in the order of its ids, and a row is marked only after the
 * broker's ack for it and for all earlier rows of its case. Whatever is in
 * doubt is published again under the same message id.
 */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "aegis_failpoint.h"
#include "aegis_relay.h"

#define AEGIS_RELAY_LINGER_MS    40
#define AEGIS_RELAY_LINGER_POLL  5

/* When rows of so many cases came at once, more are on their way: the next fetch
 * waits until so long after the last one. Few and large batches, here and behind the
 * bus, cost a fraction of many small ones. A case alone, however many rows it
 * leaves, is followed by nobody. */
#define AEGIS_RELAY_BURST        4
#define AEGIS_RELAY_GATHER_MS    10
#define AEGIS_RELAY_LOCK_MS      1000
#define AEGIS_RELAY_LAG_MS       2000
#define AEGIS_RELAY_PUBLISH_MS   10000
#define AEGIS_RELAY_DELAY_MIN    100
#define AEGIS_RELAY_DELAY_MAX    2000

/* What every broker takes by default; ours are far smaller. */
#define AEGIS_RELAY_BODY_MAX     900000

int64_t
aegis_relay_now(void)
{
    struct timespec  ts;

    clock_gettime(CLOCK_MONOTONIC, &ts);
    return (int64_t) ts.tv_sec * 1000 + ts.tv_nsec / 1000000;
}

void
aegis_relay_trouble(aegis_worker_t *w, const char *event, aegis_error_t *err)
{
    aegis_relay_t  *r;

    r = w->data;
    aegis_metric_add(r->errors, 1);
    aegis_log(AEGIS_LOG_ERROR, "relay", event, "code", "%s",
              aegis_error_def(err->code)->code, "error", "%s", err->detail, NULL);
    aegis_error_clear(err);
}

/* Take what is free. A lock lives as long as the session that took it. */
static aegis_code_t
aegis_relay_own(aegis_worker_t *w, int64_t now, aegis_error_t *err)
{
    int             i, n, before;
    char            part[16];
    aegis_code_t    rc;
    aegis_relay_t  *r;
    const char     *params[1], *got;

    r = w->data;
    rc = aegis_pg_ready(w->pg, err);
    if (rc != AEGIS_E_OK) {
        return rc;
    }

    if (r->session != aegis_pg_session(w->pg)) {
        r->session = aegis_pg_session(w->pg);
        r->n_owned = 0;
        memset(r->owned, 0, sizeof(r->owned));
        r->lock_at = 0;
    }
    if (r->n_owned == AEGIS_RELAY_PARTS || now < r->lock_at) {
        return AEGIS_E_OK;
    }

    before = r->n_owned;
    r->lock_at = now + AEGIS_RELAY_LOCK_MS / 2 + rand_r(&r->seed) % AEGIS_RELAY_LOCK_MS;

    for (i = 0; i < AEGIS_RELAY_PARTS && rc == AEGIS_E_OK; i++) {
        if (r->owned[i]) {
            continue;
        }
        snprintf(part, sizeof(part), "%d", i);
        params[0] = part;
        rc = aegis_pg_sql(w->pg, AEGIS_SQL_PART_LOCK, 1, params, &n, err);
        if (rc == AEGIS_E_OK && r->session == aegis_pg_session(w->pg)) {
            got = n == 1 ? aegis_pg_value(w->pg, 0, 0) : NULL;
            r->owned[i] = got != NULL && got[0] == 't';
            r->n_owned += r->owned[i];
        }
    }

    aegis_pg_clear(w->pg);
    aegis_metric_set(r->partitions, r->n_owned);
    if (r->n_owned != before) {
        aegis_log(AEGIS_LOG_INFO, "relay", "partitions-owned", "n", "%d", r->n_owned,
                  NULL);
    }

    return rc;
}

void
aegis_relay_parts(const aegis_relay_t *r, char *buf, size_t size)
{
    int     i;
    size_t  n;

    for (i = 0, n = 0; i < AEGIS_RELAY_PARTS; i++) {
        if (r->owned[i]) {
            n += (size_t) snprintf(buf + n, size - n, "%s%d", n ? "," : "{", i);
        }
    }
    snprintf(buf + n, size - n, "%s}", n ? "" : "{");
}

static aegis_str_t
aegis_relay_text(const char *s)
{
    return (aegis_str_t) { s ? strlen(s) : 0, s ? s : "" };
}

/* A row that no broker will ever take must not stop the others for good. It
 * becomes a dead letter with its reason, and counts as published. */
static aegis_code_t
aegis_relay_bury(aegis_worker_t *w, aegis_relay_row_t *row, const char *code,
    const char *reason, aegis_error_t *err)
{
    int             n;
    char           *hex;
    size_t          i;
    aegis_code_t    rc;
    aegis_relay_t  *r;
    const char     *params[9];

    static const char  digits[] = "0123456789abcdef";

    r = w->data;
    hex = malloc(row->out.body.len * 2 + 3);
    if (hex == NULL) {
        return aegis_error_set(err, AEGIS_E_UNAVAILABLE, "no memory");
    }

    memcpy(hex, "\\x", 2);
    for (i = 0; i < row->out.body.len; i++) {
        hex[2 + 2 * i] = digits[(unsigned char) row->out.body.data[i] >> 4];
        hex[3 + 2 * i] = digits[(unsigned char) row->out.body.data[i] & 15];
    }
    hex[2 + 2 * i] = '\0';

    params[0] = row->tenant;
    params[1] = "aegis-relay";
    params[2] = row->subject;
    params[3] = row->msg_id;
    params[4] = row->case_id;
    params[5] = code;
    params[6] = reason;
    params[7] = hex;
    params[8] = "1";

    rc = aegis_pg_sql(w->pg, AEGIS_SQL_DEAD_LETTER_PUT, 9, params, &n, err);
    free(hex);

    if (rc == AEGIS_E_OK) {
        row->out.published = 1;
        aegis_metric_add(r->dead_letters, 1);
        aegis_log(AEGIS_LOG_WARN, "relay", "dead-letter", "subject", "%s", row->subject,
                  "msg_id", "%s", row->msg_id, "case_id", "%s", row->case_id,
                  "reason", "%s", reason, NULL);
    }

    return rc;
}

static void
aegis_relay_rows_free(aegis_relay_t *r)
{
    int  i;

    for (i = 0; i < r->n; i++) {
        free((char *) r->rows[i].out.body.data);
        free(r->rows[i].copy);
    }
    r->n = 0;
}

/* Copies, because statements run before the rows are done with. */
static aegis_code_t
aegis_relay_row(aegis_worker_t *w, int i, aegis_relay_row_t *row, aegis_error_t *err)
{
    int          k;
    char        *p;
    size_t       size;
    const char  *trace;
    aegis_str_t  f[10];

    for (k = 0, size = 0; k < 10; k++) {
        f[k] = aegis_relay_text(aegis_pg_value(w->pg, i, k));
        size += f[k].len + 1;
    }

    memset(row, 0, sizeof(*row));
    row->copy = p = malloc(size);
    if (p == NULL) {
        return aegis_error_set(err, AEGIS_E_UNAVAILABLE, "no memory");
    }

    for (k = 0; k < 10; k++) {
        f[k].data = memcpy(p, f[k].data, f[k].len + 1);
        p += f[k].len + 1;
    }

    row->id = f[0].data;
    row->tenant = f[1].data;
    row->case_id = f[2].data;
    row->part = f[4].data;
    row->msg_id = f[5].data;
    row->subject = f[6].data;
    row->at = f[9].data;
    row->out.subject = f[6];
    row->out.id = f[5];
    row->out.key = f[2];

    trace = aegis_relay_span_begin(w->data, i, row->subject, f[8].data, row->at);
    row->out.body.data = aegis_event_encode(
        aegis_relay_text(aegis_conf_str(w->conf, "source")), f[5], f[6], f[1], f[2], f[9],
        trace == f[8].data ? f[8] : aegis_relay_text(trace), f[7], &row->out.body.len);

    if (row->out.body.data == NULL) {
        free(row->copy);
        return aegis_error_set(err, AEGIS_E_UNAVAILABLE, "no memory");
    }

    return AEGIS_E_OK;
}

/* A transport that is away must not hold the other one's messages back: which
 * subjects can be published now; NULL: all. */
static const char *
aegis_relay_subjects(aegis_worker_t *w, char *buf, size_t size)
{
    int                     all;
    size_t                  i, n, len;
    const aegis_subject_t  *s;

    s = aegis_subjects(&n);
    for (i = 0, all = 1, len = 0; i < n && len < size; i++) {
        if (aegis_bus_rests(w->bus, aegis_relay_text(s[i].subject))) {
            all = 0;
        } else {
            len += (size_t) snprintf(buf + len, size - len, "%c%s", len ? ',' : '{',
                                     s[i].subject);
        }
    }

    snprintf(len < size ? buf + len : buf, len < size ? size - len : size, "%s}",
             len ? "" : "{");
    return all ? NULL : buf;
}

/* Of what the backlog has: while a batch holds all of it, by the statement that marks the last
 * batch as well. */
static aegis_code_t
aegis_relay_read(aegis_worker_t *w, const char *subjects, int *ret_n, aegis_error_t *err)
{
    int             max;
    char            parts[128], limit[16];
    aegis_code_t    rc;
    aegis_relay_t  *r;
    const char     *params[3];

    r = w->data;
    max = (int) aegis_conf_int(w->conf, "relay.batch");
    rc = AEGIS_E_OK;

    if (r->done != NULL || (!r->deep && !r->partly)) {
        rc = aegis_relay_next(w, r->deep || r->partly ? 0 : max, ret_n, err);
        r->deep |= rc == AEGIS_E_OK && *ret_n > max;
    }
    if (rc != AEGIS_E_OK || (!r->deep && !r->partly)) {
        return rc;
    }

    aegis_relay_parts(r, parts, sizeof(parts));
    snprintf(limit, sizeof(limit), "%d", max);
    params[0] = parts;
    params[1] = limit;
    params[2] = subjects;

    rc = aegis_pg_sql(w->pg, AEGIS_SQL_OUTBOX_FETCH, 3, params, ret_n, err);
    r->deep = rc != AEGIS_E_OK || *ret_n >= max;
    return rc;
}

static aegis_code_t
aegis_relay_fetch(aegis_worker_t *w, aegis_error_t *err)
{
    int             i, n;
    char            text[4096];
    aegis_code_t    rc;
    const char     *subjects;
    aegis_relay_t  *r;

    r = w->data;
    r->n = 0;
    subjects = aegis_relay_subjects(w, text, sizeof(text));
    r->partly = subjects != NULL;

    rc = aegis_relay_read(w, subjects, &n, err);
    for (i = 0; rc == AEGIS_E_OK && i < n && i < AEGIS_RELAY_BATCH; i++) {
        rc = aegis_relay_row(w, i, &r->rows[i], err);
        r->n += rc == AEGIS_E_OK;
    }

    aegis_pg_clear(w->pg);
    return rc == AEGIS_E_OK && r->n && AEGIS_FP(relay_after_fetch, "relay")
           ? aegis_error_set(err, AEGIS_E_UNAVAILABLE, "the rows are lost") : rc;
}

/* Bury what cannot be published, publish the rest. */
static aegis_code_t
aegis_relay_publish(aegis_worker_t *w, aegis_error_t *err)
{
    int                 i, k;
    int64_t             start;
    aegis_code_t        rc;
    aegis_relay_t      *r;
    aegis_relay_row_t  *row;

    r = w->data;

    for (i = 0, k = 0, rc = AEGIS_E_OK; i < r->n && rc == AEGIS_E_OK; i++) {
        row = &r->rows[i];
        if (aegis_subject(row->out.subject) == NULL) {
            rc = aegis_relay_bury(w, row, "unknown-subject",
                                  "no such subject in subjects.def", err);
        } else if (row->out.body.len > AEGIS_RELAY_BODY_MAX) {
            rc = aegis_relay_bury(w, row, "too-large",
                                  "the envelope is larger than 900000 bytes", err);
        } else {
            r->out[k] = row->out;
            r->index[k++] = i;
        }
    }
    if (rc != AEGIS_E_OK || k == 0) {
        return rc;
    }

    start = aegis_relay_now();
    if (AEGIS_FP(relay_publish, "relay")) {
        for (i = 0; i < k; i++) {
            r->rows[r->index[i]].out.published = 1;
        }
        return AEGIS_E_OK;
    }

    rc = aegis_bus_publish(w->bus, r->out, (size_t) k, AEGIS_RELAY_PUBLISH_MS, err);
    if (AEGIS_FP(relay_after_publish, "relay")) {
        return aegis_error_set(err, AEGIS_E_UNAVAILABLE, "the acks are lost");
    }
    aegis_metric_observe(r->publish_seconds, (double) (aegis_relay_now() - start) / 1000);
    aegis_metric_set(r->bus_up, rc == AEGIS_E_OK && !r->partly);
    r->bus_failed = rc != AEGIS_E_OK;

    for (i = 0; i < k; i++) {
        r->rows[r->index[i]].out.published = r->out[i].published;
    }

    return rc;
}

/* One batch. *ret_n rows were fetched. */
static aegis_code_t
aegis_relay_batch(aegis_worker_t *w, int *ret_n, aegis_error_t *err)
{
    int             i, marked;
    aegis_code_t    rc, mark;
    aegis_error_t   ignored = AEGIS_ERROR_INIT;
    aegis_relay_t  *r;

    r = w->data;
    marked = 0;
    rc = aegis_relay_fetch(w, err);

    /* A reconnect in between has cost us the locks: another relay may be at
     * work on these rows. */
    if (rc == AEGIS_E_OK && r->session != aegis_pg_session(w->pg)) {
        rc = aegis_error_set(err, AEGIS_E_UNAVAILABLE, "the session was lost");
    }

    if (rc == AEGIS_E_OK && r->n) {
        rc = aegis_relay_publish(w, err);
        aegis_relay_span_end(w);
        if (rc == AEGIS_E_OK && !r->deep && !r->partly) {
            rc = aegis_relay_mark_later(w, err);
        } else {
            mark = aegis_relay_mark(w, &marked, rc == AEGIS_E_OK ? err : &ignored);
            (void) AEGIS_FP(relay_after_mark, "relay");
            rc = rc == AEGIS_E_OK ? mark : rc;
            aegis_error_clear(&ignored);
        }
    }

    for (i = 1, r->burst = r->n > 0; i < r->n; i++) {
        r->burst += strcmp(r->rows[i].case_id, r->rows[i - 1].case_id) != 0;
    }

    aegis_metric_add(r->published, marked);
    *ret_n = r->n;
    aegis_relay_rows_free(r);
    return rc;
}

static int
aegis_relay_later(aegis_relay_t *r)
{
    r->delay = r->delay ? r->delay * 2 : AEGIS_RELAY_DELAY_MIN;
    if (r->delay > AEGIS_RELAY_DELAY_MAX) {
        r->delay = AEGIS_RELAY_DELAY_MAX;
    }

    return r->delay / 2 + rand_r(&r->seed) % (r->delay / 2 + 1);
}

/* Wait for the rest of a burst. */
static void
aegis_relay_gather(aegis_relay_t *r)
{
    int64_t          left;
    struct timespec  ts;

    left = r->fetched_at + AEGIS_RELAY_GATHER_MS - aegis_relay_now();
    if (r->burst >= AEGIS_RELAY_BURST && left > 0) {
        ts.tv_sec = 0;
        ts.tv_nsec = (long) left * 1000000;
        nanosleep(&ts, NULL);
    }

    r->fetched_at = aegis_relay_now();
}

static int
aegis_relay_tick(aegis_worker_t *w)
{
    int             n, poll, house;
    char            subjects[4096];
    int64_t         now;
    aegis_code_t    rc;
    aegis_error_t   err = AEGIS_ERROR_INIT;
    aegis_relay_t  *r;

    n = 0;
    r = w->data;
    r->bus_failed = 0;
    now = aegis_relay_now();

    rc = aegis_relay_own(w, now, &err);
    house = r->owned[0] && rc == AEGIS_E_OK ? aegis_relay_house(w, now) : INT32_MAX;

    /* before the bus is asked: the lag matters most while it is away */
    if (rc == AEGIS_E_OK && r->n_owned && now >= r->lag_at) {
        r->lag_at = now + AEGIS_RELAY_LAG_MS;
        aegis_relay_lag(w);
    }

    if (rc == AEGIS_E_OK) {
        rc = aegis_bus_ready(w->bus, &err);
        aegis_metric_set(r->bus_up, rc == AEGIS_E_OK && !r->partly);
    }
    if (rc == AEGIS_E_OK && r->n_owned) {
        aegis_relay_gather(r);
        rc = aegis_relay_batch(w, &n, &err);
    }
    if (rc != AEGIS_E_OK) {
        aegis_relay_trouble(w, "publish-failed", &err);
        aegis_relay_mark_rest(w);       /* who knows when the next fetch is */
        /* one transport failed: it rests, and the other one has its turn */
        return r->bus_failed && aegis_relay_subjects(w, subjects, sizeof(subjects))
               && strcmp(subjects, "{}") != 0 ? 0 : aegis_relay_later(r);
    }

    r->delay = 0;
    now = aegis_relay_now();

    if (n) {
        r->active_until = now + AEGIS_RELAY_LINGER_MS;
        return 0;
    }
    if (now < r->active_until) {
        return AEGIS_RELAY_LINGER_POLL;
    }

    poll = (int) aegis_conf_int(w->conf, "relay.poll_ms");
    return poll < house ? poll : house;
}

static aegis_code_t
aegis_relay_init(aegis_worker_t *w, aegis_error_t *err)
{
    aegis_relay_t  *r;

    if (w->data != NULL) {
        return AEGIS_E_OK;
    }

    r = calloc(1, sizeof(aegis_relay_t));
    if (r == NULL) {
        return aegis_error_set(err, AEGIS_E_UNAVAILABLE, "no memory");
    }

    r->deep = 1;                    /* who knows */
    r->seed = (unsigned) time(NULL) ^ (unsigned) (uintptr_t) r;
    r->published = aegis_counter("aegis_relay_published_total", "",
        "Outbox rows that the broker has and that are marked.");
    r->errors = aegis_counter("aegis_relay_errors_total", "",
        "Rounds of the relay that failed; each is tried again.");
    r->dead_letters = aegis_counter("aegis_dead_letters_total", "role=\"relay\"",
        "Messages that became dead letters.");
    r->reconciled = aegis_counter("aegis_reconciled_total", "",
        "Commands sent again because no effect showed in time.");
    aegis_relay_house_init(r);
    r->pending = aegis_gauge("aegis_outbox_pending", "", "Outbox rows not yet published.");
    r->oldest = aegis_gauge("aegis_outbox_oldest_seconds", "",
        "Age of the oldest outbox row not yet published.");
    r->partitions = aegis_gauge("aegis_relay_partitions", "",
        "Outbox partitions that this relay owns.");
    r->bus_up = aegis_gauge("aegis_bus_up", "role=\"relay\"",
        "1 when the role's last use of the bus worked.");
    r->publish_seconds = aegis_histogram("aegis_relay_publish_seconds", "",
        "Time until the broker had a batch.");

    aegis_relay_span_init(r);
    w->data = r;
    return AEGIS_E_OK;
}

static void
aegis_relay_reload(aegis_worker_t *w)
{
    aegis_relay_t  *r;

    r = w->data;
    if (r != NULL) {
        r->reconcile_at = r->maintain_at = r->audit_at = 0;   /* by the new intervals */
    }
}

static void
aegis_relay_done(aegis_worker_t *w)
{
    aegis_relay_t  *r;

    r = w->data;
    if (r != NULL) {
        aegis_relay_mark_rest(w);
        free(r->traces);
    }
    free(r);                        /* the locks go with the session */
    w->data = NULL;
}

const aegis_role_t  aegis_role_relay = {
    .name = "relay",
    .sentence = "publishes the outbox on the bus, keeps house",
    .init = aegis_relay_init,
    .tick = aegis_relay_tick,
    .reload = aegis_relay_reload,
    .done = aegis_relay_done,
    .listen = "aegis_outbox"
};
