/*
 * aegis_sensor_open.c: a lane of the journal, and the aggregates that its journal
 * still has to give: at the start, after an error that leaves it open what was
 * written, and for sensors that died.
 * Invariant: who takes a lane raises its epoch, so that whoever had it can write
 * nothing more.
 */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "aegis_json.h"
#include "aegis_sensor.h"

#define AEGIS_OPEN_ROWS  64

typedef struct {
    int       lane;
    int64_t   epoch;
    uint64_t  folded;
    int64_t   open;
    uint64_t  kept;
    uint64_t  seq;                          /* the last in the journal */
} aegis_lane_t;

/* own: any that is free; else one that has something to write and nobody. */
static aegis_code_t
aegis_open_take(aegis_sensor_t *x, int own, aegis_lane_t *l, aegis_error_t *err)
{
    int           rows;
    const char   *params[2];
    aegis_code_t  rc;

    params[0] = x->w->owner;
    params[1] = own ? "t" : "f";
    l->lane = -1;

    rc = aegis_pg_sql(x->w->pg, AEGIS_SQL_INGEST_TAKE, 2, params, &rows, err);
    if (rc != AEGIS_E_OK || rows == 0 || aegis_pg_value(x->w->pg, 0, 0) == NULL) {
        return rc;
    }

    l->lane = atoi(aegis_pg_value(x->w->pg, 0, 0));
    l->epoch = strtoll(aegis_pg_value(x->w->pg, 0, 1), NULL, 10);
    l->folded = strtoull(aegis_pg_value(x->w->pg, 0, 2), NULL, 10);
    l->open = strtoll(aegis_pg_value(x->w->pg, 0, 3), NULL, 10);
    l->kept = strtoull(aegis_pg_value(x->w->pg, 0, 4), NULL, 10);
    l->seq = strtoull(aegis_pg_value(x->w->pg, 0, 5), NULL, 10);

    return AEGIS_E_OK;
}

static size_t
aegis_open_unhex(const char *hex, char *out)
{
    size_t  n;

    hex += hex[0] == '\\' ? 2 : 0;
    for (n = 0; hex[0] && hex[1]; hex += 2) {
        out[n++] = (char) ((((hex[0] & 0xf) + (hex[0] > '9' ? 9 : 0)) << 4)
                           | ((hex[1] & 0xf) + (hex[1] > '9' ? 9 : 0)));
    }

    return n;
}

/* One row of the journal: seq, tenant, kind, encoding, body, at. */
static aegis_code_t
aegis_open_row(aegis_sensor_t *x, aegis_fold_t *fold, const aegis_lane_t *l, int row,
    uint64_t *ret_seq, aegis_error_t *err)
{
    int                  ok;
    char                *body;
    const char          *hex, *tenant, *encoding;
    aegis_str_t          raw;
    aegis_code_t         rc;
    aegis_arena_t       *arena;
    aegis_signals_t      s;
    const aegis_sensor_kind_t  *kind;

    *ret_seq = strtoull(aegis_pg_value(x->w->pg, row, 0), NULL, 10);
    tenant = aegis_pg_value(x->w->pg, row, 1);
    kind = aegis_sensor_kind_by_name(aegis_pg_value(x->w->pg, row, 2));
    encoding = aegis_pg_value(x->w->pg, row, 3);
    hex = aegis_pg_value(x->w->pg, row, 4);

    arena = aegis_arena_new(x->unpacked_max * 4);
    body = malloc(strlen(hex) / 2 + 1);
    if (arena == NULL || body == NULL || kind == NULL) {
        rc = kind ? aegis_error_set(err, AEGIS_E_UNAVAILABLE, "no memory")
                  : aegis_error_set(err, AEGIS_E_INTERNAL, "a kind that is not known");
        free(body);
        aegis_arena_free(arena);
        return rc;
    }

    raw = (aegis_str_t) { aegis_open_unhex(hex, body), body };
    aegis_signals_init(&s, arena, tenant, strtoll(aegis_pg_value(x->w->pg, row, 5), NULL, 10),
                       x->past, x->future);
    rc = aegis_sensor_decode(kind, encoding, raw, x->unpacked_max, &s, err);
    if (rc == AEGIS_E_OK) {
        ok = aegis_fold_apply(fold, &s, *ret_seq, *ret_seq <= l->folded ? l->open : INT64_MIN);
        rc = ok ? AEGIS_E_OK : aegis_error_set(err, AEGIS_E_UNAVAILABLE, "the memory is used up");
    }

    free(body);
    aegis_arena_free(arena);
    return rc;
}

/* All of a lane's journal that is not in the tables. */
static aegis_code_t
aegis_open_replay(aegis_sensor_t *x, aegis_fold_t *fold, aegis_lane_t *l, aegis_error_t *err)
{
    int            i, rows;
    char           v[2][24];
    uint64_t       after, seq, n;
    const char    *params[2] = { v[0], v[1] };
    aegis_gen_t   *gen;
    aegis_code_t   rc;

    for (after = l->kept, n = 0, rows = 1, rc = AEGIS_E_OK; rc == AEGIS_E_OK && rows > 0; ) {
        (void) snprintf(v[0], sizeof(v[0]), "%d", l->lane);
        (void) snprintf(v[1], sizeof(v[1]), "%llu", (unsigned long long) after);
        rc = aegis_pg_sql(x->w->pg, AEGIS_SQL_INGEST_REPLAY, 2, params, &rows, err);

        for (i = 0; rc == AEGIS_E_OK && i < rows; i++, n++) {
            rc = aegis_open_row(x, fold, l, i, &seq, err);
            after = seq;
        }

        if (rc == AEGIS_E_OK && aegis_arena_size(fold->gen->arena) > fold->memory / 2) {
            gen = aegis_fold_take(fold, INT64_MAX, INT64_MAX);
            rc = gen == NULL ? AEGIS_E_UNAVAILABLE : aegis_sensor_write(x, l->lane, l->epoch, gen, err);
            if (gen) {
                aegis_fold_done(fold, gen);
            }
            l->folded = rc == AEGIS_E_OK ? after : l->folded;
            l->open = rc == AEGIS_E_OK ? INT64_MAX : l->open;
        }
    }

    if (rc == AEGIS_E_OK) {
        fold->gen->seq = after > fold->gen->seq ? after : fold->gen->seq;
        fold->gen->seq = l->folded > fold->gen->seq ? l->folded : fold->gen->seq;
        aegis_log(AEGIS_LOG_INFO, "sensor", "journal-read", "lane", "%d", l->lane, "batches", "%lld",
                  (long long) n, NULL);
    }

    return rc;
}

/* Templates that were mined before keep their fingerprints. */
static aegis_code_t
aegis_open_patterns(aegis_sensor_t *x, aegis_fold_t *fold, aegis_error_t *err)
{
    int              i, rows;
    aegis_code_t     rc;
    aegis_tenant_t  *t;

    rc = aegis_pg_sql(x->w->pg, AEGIS_SQL_INGEST_PATTERNS, 0, NULL, &rows, err);

    for (i = 0; rc == AEGIS_E_OK && i < rows; i++) {
        t = aegis_fold_tenant(fold, aegis_pg_value(x->w->pg, i, 0));
        if (t) {
            (void) aegis_drain_load(t->drain, aegis_pg_value(x->w->pg, i, 1),
                                    aegis_pg_value(x->w->pg, i, 2));
        }
    }

    return rc;
}

static aegis_fold_t *
aegis_open_fold(aegis_sensor_t *x)
{
    return aegis_fold_new((unsigned) aegis_conf_int(x->w->conf, "sensor.series_max"),
                          (unsigned) aegis_conf_int(x->w->conf, "sensor.patterns_max"),
                          (size_t) aegis_conf_int(x->w->conf, "sensor.memory_mb") << 20);
}

aegis_code_t
aegis_sensor_open(aegis_sensor_t *x, aegis_error_t *err)
{
    aegis_lane_t   l;
    aegis_code_t   rc;
    aegis_fold_t  *fold;

    fold = aegis_open_fold(x);
    if (fold == NULL) {
        return aegis_error_set(err, AEGIS_E_UNAVAILABLE, "no memory");
    }

    (void) pthread_mutex_lock(&x->state);
    x->lane = -1;
    rc = aegis_open_take(x, 1, &l, err);
    if (rc == AEGIS_E_OK && l.lane < 0) {
        rc = aegis_error_set(err, AEGIS_E_UNAVAILABLE, "every lane has a sensor");
    }
    rc = rc == AEGIS_E_OK ? aegis_open_patterns(x, fold, err) : rc;
    rc = rc == AEGIS_E_OK ? aegis_open_replay(x, fold, &l, err) : rc;

    if (rc == AEGIS_E_OK) {
        if (x->gen) {
            aegis_fold_done(x->fold, x->gen);
            x->gen = NULL;
        }
        aegis_fold_free(x->fold);
        x->fold = fold;
        x->lane = l.lane;
        x->epoch = l.epoch;
        x->folded = l.folded;
        x->keep = l.kept;
        x->seq = l.seq > l.folded ? l.seq : l.folded;
        x->lost = 0;
        x->session = aegis_pg_session(x->w->pg);
    } else {
        aegis_fold_free(fold);
    }
    (void) pthread_mutex_unlock(&x->state);

    return rc;
}

aegis_code_t
aegis_sensor_adopt(aegis_sensor_t *x, aegis_error_t *err)
{
    int            rows;
    char           lane[16];
    const char    *params[1] = { lane };
    aegis_gen_t   *gen;
    aegis_lane_t   l;
    aegis_code_t   rc;
    aegis_fold_t  *fold;

    rc = aegis_open_take(x, 0, &l, err);
    if (rc != AEGIS_E_OK || l.lane < 0) {
        return rc;
    }

    fold = aegis_open_fold(x);
    rc = fold == NULL ? aegis_error_set(err, AEGIS_E_UNAVAILABLE, "no memory")
                      : aegis_open_replay(x, fold, &l, err);
    gen = rc == AEGIS_E_OK ? aegis_fold_take(fold, INT64_MAX, INT64_MAX) : NULL;
    if (gen) {
        rc = aegis_sensor_write(x, l.lane, l.epoch, gen, err);
        aegis_fold_done(fold, gen);
    }
    aegis_fold_free(fold);

    if (rc == AEGIS_E_OK) {
        aegis_log(AEGIS_LOG_INFO, "sensor", "lane-adopted", "lane", "%d", l.lane, NULL);
        (void) snprintf(lane, sizeof(lane), "%d", l.lane);
        rc = aegis_pg_sql(x->w->pg, AEGIS_SQL_INGEST_GIVE, 1, params, &rows, err);
    }

    return rc;
}
