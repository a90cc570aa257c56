/*
 * aegis_sensor_write.c: a generation into its tables, thousands of rows a statement,
 * with the lane's checkpoint in the same transaction.
 * Invariant: what a checkpoint covers is in the tables, once: after a failure the
 * generation is written again as a whole, and a commit whose outcome is not known is
 * looked up in the lane.
 */
#include <stdio.h>
#include <string.h>

#include "aegis_failpoint.h"
#include "aegis_sensor.h"

#define AEGIS_WRITE_ROWS  4000

static const char *const  aegis_write_levels[] = { "", "debug", "info", "warn", "error" };

static void
aegis_write_begin(aegis_sensor_t *x, const int *oids, int n)
{
    int  i;

    for (i = 0; i < n; i++) {
        aegis_array_begin(&x->a[i], oids[i]);
    }
}

static aegis_code_t
aegis_write_send(aegis_sensor_t *x, aegis_sql_id_t sql, int n, aegis_error_t *err)
{
    int          i, rows, lengths[12];
    const char  *values[12];

    if (x->a[0].n == 0) {
        return AEGIS_E_OK;
    }

    for (i = 0; i < n; i++) {
        aegis_array_end(&x->a[i]);
        if (x->a[i].failed || x->a[i].n != x->a[0].n) {
            return aegis_error_set(err, AEGIS_E_UNAVAILABLE, "no memory");
        }
        values[i] = x->a[i].data;
        lengths[i] = (int) x->a[i].len;
    }

    aegis_metric_add(x->m.rows, x->a[0].n);
    return aegis_pg_sql_binary(x->w->pg, sql, n, values, lengths, &rows, err);
}

static void
aegis_write_spread(aegis_array_t *a, const aegis_spread_t *s)
{
    unsigned char  out[AEGIS_FOLD_BINS * AEGIS_SKETCH_BIN_LEN];

    aegis_array_bytes(a, out, aegis_sketch_encode(s->bins, s->n, out));
}

static aegis_code_t
aegis_write_metrics(aegis_sensor_t *x, const aegis_gen_t *gen, aegis_error_t *err)
{
    double                 p95;
    aegis_code_t           rc;
    const aegis_cell_t    *c;
    const aegis_series_t  *s;

    static const int  oids[] = { AEGIS_OID_TEXT, AEGIS_OID_TEXT, AEGIS_OID_TEXT, AEGIS_OID_INT8,
        AEGIS_OID_INT8, AEGIS_OID_INT8, AEGIS_OID_FLOAT8, AEGIS_OID_FLOAT8, AEGIS_OID_FLOAT8,
        AEGIS_OID_TEXT, AEGIS_OID_BYTEA };

    aegis_write_begin(x, oids, 11);

    for (c = gen->cells, rc = AEGIS_E_OK; c && rc == AEGIS_E_OK; c = c->all) {
        s = c->series;
        if (c->spread.count == 0) {
            continue;                   /* a histogram that did not grow */
        }
        aegis_array_text(&x->a[0], s->tenant->name);
        aegis_array_text(&x->a[1], s->resource);
        aegis_array_text(&x->a[2], s->metric);
        aegis_array_int(&x->a[3], s->id);
        aegis_array_int(&x->a[4], c->minute * 60);
        aegis_array_int(&x->a[5], (int64_t) c->spread.count);
        aegis_array_real(&x->a[6], c->sum / (double) c->spread.count);
        aegis_array_real(&x->a[7], c->max);
        p95 = aegis_sketch_quantile(c->spread.bins, c->spread.n, c->spread.count, 0.95);
        aegis_array_real(&x->a[8], p95 < c->max ? p95 : c->max);
        aegis_array_text(&x->a[9], s->labels);
        aegis_write_spread(&x->a[10], &c->spread);

        if (x->a[0].n == AEGIS_WRITE_ROWS) {
            rc = aegis_write_send(x, AEGIS_SQL_FOLD_METRICS, 11, err);
            aegis_write_begin(x, oids, 11);
        }
    }

    return rc == AEGIS_E_OK ? aegis_write_send(x, AEGIS_SQL_FOLD_METRICS, 11, err) : rc;
}

static aegis_code_t
aegis_write_patterns(aegis_sensor_t *x, const aegis_gen_t *gen, aegis_error_t *err)
{
    int64_t                      total;
    aegis_code_t                 rc;
    const aegis_count_t         *n;
    const aegis_pattern_cell_t  *c;

    static const int  oids[] = { AEGIS_OID_TEXT, AEGIS_OID_TEXT, AEGIS_OID_TEXT, AEGIS_OID_TEXT,
        AEGIS_OID_TEXT, AEGIS_OID_TEXT, AEGIS_OID_INT8, AEGIS_OID_INT8, AEGIS_OID_INT8 };
    static const int  counts[] = { AEGIS_OID_TEXT, AEGIS_OID_TEXT, AEGIS_OID_TEXT, AEGIS_OID_INT8,
        AEGIS_OID_INT8 };

    aegis_write_begin(x, oids, 9);
    for (c = gen->patterns; c; c = c->all) {
        for (n = c->counts, total = 0; n; n = n->next) {
            total += n->n;
        }
        aegis_array_text(&x->a[0], c->tenant);
        aegis_array_text(&x->a[1], c->resource);
        aegis_array_text(&x->a[2], c->fingerprint);
        aegis_array_text(&x->a[3], c->text);
        aegis_array_text(&x->a[4], aegis_write_levels[c->severity]);
        aegis_array_text(&x->a[5], c->sample);
        aegis_array_int(&x->a[6], c->first);
        aegis_array_int(&x->a[7], c->last);
        aegis_array_int(&x->a[8], total);
    }
    rc = aegis_write_send(x, AEGIS_SQL_FOLD_PATTERNS, 9, err);
    if (rc != AEGIS_E_OK) {
        return rc;
    }

    aegis_write_begin(x, counts, 5);
    for (c = gen->patterns; c; c = c->all) {
        for (n = c->counts; n; n = n->next) {
            aegis_array_text(&x->a[0], c->tenant);
            aegis_array_text(&x->a[1], c->resource);
            aegis_array_text(&x->a[2], c->fingerprint);
            aegis_array_int(&x->a[3], n->bucket);
            aegis_array_int(&x->a[4], n->n);
        }
    }

    return aegis_write_send(x, AEGIS_SQL_FOLD_PATTERN_COUNTS, 5, err);
}

static aegis_code_t
aegis_write_calls(aegis_sensor_t *x, const aegis_gen_t *gen, aegis_error_t *err)
{
    const aegis_call_cell_t  *c;

    static const int  oids[] = { AEGIS_OID_TEXT, AEGIS_OID_TEXT, AEGIS_OID_TEXT, AEGIS_OID_INT8,
        AEGIS_OID_INT8, AEGIS_OID_INT8, AEGIS_OID_BYTEA };

    aegis_write_begin(x, oids, 7);
    for (c = gen->calls; c; c = c->all) {
        aegis_array_text(&x->a[0], c->tenant);
        aegis_array_text(&x->a[1], c->caller);
        aegis_array_text(&x->a[2], c->callee);
        aegis_array_int(&x->a[3], c->bucket);
        aegis_array_int(&x->a[4], c->calls);
        aegis_array_int(&x->a[5], c->errors);
        aegis_write_spread(&x->a[6], &c->spread);
    }

    return aegis_write_send(x, AEGIS_SQL_FOLD_CALLS, 7, err);
}

static aegis_code_t
aegis_write_checkpoint(aegis_sensor_t *x, int lane, int64_t epoch, const aegis_gen_t *gen,
    aegis_error_t *err)
{
    int          rows;
    char         v[5][24];
    const char  *params[5];

    (void) snprintf(v[0], sizeof(v[0]), "%d", lane);
    (void) snprintf(v[1], sizeof(v[1]), "%lld", (long long) epoch);
    (void) snprintf(v[2], sizeof(v[2]), "%llu", (unsigned long long) gen->seq);
    (void) snprintf(v[3], sizeof(v[3]), "%lld", (long long) gen->open);
    (void) snprintf(v[4], sizeof(v[4]), "%llu",
                    (unsigned long long) (gen->first ? gen->first - 1 : gen->seq));
    params[0] = v[0];
    params[1] = v[1];
    params[2] = v[2];
    params[3] = v[3];
    params[4] = v[4];

    return aegis_pg_sql(x->w->pg, AEGIS_SQL_INGEST_CHECKPOINT, 5, params, &rows, err);
}

/* Whether a commit that was not answered took place. */
static aegis_code_t
aegis_write_look(aegis_sensor_t *x, int lane, int64_t epoch, const aegis_gen_t *gen,
    aegis_error_t *err)
{
    int           rows;
    char          v[3][24];
    const char   *params[3] = { v[0], v[1], v[2] }, *got;
    aegis_code_t  rc;

    (void) snprintf(v[0], sizeof(v[0]), "%d", lane);
    (void) snprintf(v[1], sizeof(v[1]), "%lld", (long long) epoch);
    (void) snprintf(v[2], sizeof(v[2]), "%llu", (unsigned long long) gen->seq);

    aegis_error_clear(err);
    rc = aegis_pg_sql(x->w->pg, AEGIS_SQL_INGEST_FOLDED, 3, params, &rows, err);
    if (rc != AEGIS_E_OK) {
        return AEGIS_E_UNKNOWN_OUTCOME;
    }

    got = rows == 1 ? aegis_pg_value(x->w->pg, 0, 0) : NULL;
    return got && strcmp(got, "t") == 0 ? AEGIS_E_OK
           : aegis_error_set(err, AEGIS_E_UNAVAILABLE, "the commit did not take place");
}

aegis_code_t
aegis_sensor_write(aegis_sensor_t *x, int lane, int64_t epoch, const aegis_gen_t *gen,
    aegis_error_t *err)
{
    int             rows;
    unsigned        session;
    aegis_code_t    rc, undo;
    aegis_error_t   ignored = AEGIS_ERROR_INIT;

    rc = aegis_pg_sql(x->w->pg, AEGIS_SQL_INGEST_BEGIN, 0, NULL, &rows, err);
    if (rc != AEGIS_E_OK) {
        return rc;
    }
    session = aegis_pg_session(x->w->pg);

    rc = aegis_write_metrics(x, gen, err);
    rc = rc == AEGIS_E_OK ? aegis_write_patterns(x, gen, err) : rc;
    rc = rc == AEGIS_E_OK ? aegis_write_calls(x, gen, err) : rc;
    if (rc == AEGIS_E_OK && AEGIS_FP(sensor_mid_fold, "sensor")) {
        rc = aegis_error_set(err, AEGIS_E_UNAVAILABLE, "a row is refused");
    }
    rc = rc == AEGIS_E_OK ? aegis_write_checkpoint(x, lane, epoch, gen, err) : rc;

    if (rc == AEGIS_E_OK) {
        rc = aegis_pg_sql(x->w->pg, AEGIS_SQL_INGEST_COMMIT, 0, NULL, &rows, err);
        if (rc == AEGIS_E_OK && AEGIS_FP(sensor_after_fold, "sensor")) {
            rc = AEGIS_E_UNKNOWN_OUTCOME;
        }
        return rc == AEGIS_E_UNKNOWN_OUTCOME ? aegis_write_look(x, lane, epoch, gen, err) : rc;
    }

    if (aegis_pg_connected(x->w->pg) && aegis_pg_session(x->w->pg) == session) {
        undo = aegis_pg_sql(x->w->pg, AEGIS_SQL_INGEST_ROLLBACK, 0, NULL, &rows, &ignored);
        rc = undo == AEGIS_E_OK ? rc : AEGIS_E_UNAVAILABLE;
    }
    aegis_error_clear(&ignored);

    return rc == AEGIS_E_UNKNOWN_OUTCOME ? AEGIS_E_UNAVAILABLE : rc;
}

aegis_code_t
aegis_sensor_fold(aegis_sensor_t *x, int64_t open, aegis_error_t *err)
{
    int64_t        began;
    aegis_code_t   rc;

    began = aegis_sensor_clock();

    if (x->gen == NULL) {
        x->gen = aegis_fold_take(x->fold, open, began);
        if (x->gen == NULL) {
            return aegis_error_set(err, AEGIS_E_UNAVAILABLE, "no memory");
        }
    }

    rc = aegis_sensor_write(x, x->lane, x->epoch, x->gen, err);
    if (rc != AEGIS_E_OK) {
        return rc;
    }

    x->folded = x->gen->seq;
    x->keep = x->gen->first ? x->gen->first - 1 : x->gen->seq;
    aegis_fold_done(x->fold, x->gen);
    x->gen = NULL;
    aegis_metric_observe(x->m.fold, (double) (aegis_sensor_clock() - began) / 1000);

    return AEGIS_E_OK;
}
