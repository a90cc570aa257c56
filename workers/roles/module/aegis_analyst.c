/*
 * aegis_analyst.c: the analyst's clock. Every analyze.every_s a round reads each
 * source from its mark on, a slice at a time, up to what was due when it began, so
 * that it ends however much comes meanwhile; what senders said is placed too.
 * Invariant: a slice's states, findings and mark are committed by one statement
 * that does nothing when the mark has moved, so several analysts, or one that was
 * killed and began again, look at each bucket once.
 */
#include "aegis_analyst.h"

#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "aegis_failpoint.h"
#include "aegis_json.h"
#include "aegis_module_role.h"

#define AEGIS_ANALYST_SLICE      600        /* seconds of data that are read first */
#define AEGIS_ANALYST_SLICE_MAX  21600
#define AEGIS_ANALYST_POINTS     100000     /* of one pass: above, slices get smaller */
#define AEGIS_ANALYST_PLACED     1000       /* findings placed by one statement */
#define AEGIS_ANALYST_SIGNALS    500        /* placed by one statement */
#define AEGIS_ANALYST_EVIDENCE   "200"      /* findings of a case that it keeps as evidence */

static const char *const  aegis_analyst_sources[] = { "metric", "call", "log" };

#define AEGIS_ANALYST_N  (sizeof(aegis_analyst_sources) / sizeof(aegis_analyst_sources[0]))

struct aegis_analyst_s {
    aegis_detect_rules_t  *rules;
    int64_t                next_at;     /* monotonic milliseconds */
    int                    slice[AEGIS_ANALYST_N];
    char                   until[48];   /* the database's time when the round began; "": none is under way */
    int                    round_found, round_opened;
    aegis_metric_t        *passes, *points, *opened, *joined, *held, *failed, *ok, *rules_n;
    aegis_metric_t        *lag[AEGIS_ANALYST_N];
};

static int64_t
aegis_analyst_now(clockid_t clock)
{
    struct timespec  ts;

    clock_gettime(clock, &ts);
    return (int64_t) ts.tv_sec * 1000 + ts.tv_nsec / 1000000;
}

aegis_code_t
aegis_analyst_init(aegis_worker_t *w, aegis_error_t *err)
{
    size_t            i;
    char              label[64];
    aegis_code_t      rc;
    aegis_analyst_t  *a;

    rc = aegis_module_init(w, AEGIS_MODULE_analyze, err);
    if (rc != AEGIS_E_OK) {
        return rc;
    }

    a = calloc(1, sizeof(*a));
    if (a == NULL) {
        return aegis_error_set(err, AEGIS_E_UNAVAILABLE, "no memory");
    }

    ((aegis_module_worker_t *) w->data)->analyst = a;
    a->passes = aegis_counter("aegis_analyst_passes_total", "", "slices of data analysed");
    a->points = aegis_counter("aegis_analyst_points_total", "", "values analysed");
    a->opened = aegis_counter("aegis_analyst_findings_total", "decision=\"opened\"",
                              "findings, by what became of them");
    a->joined = aegis_counter("aegis_analyst_findings_total", "decision=\"joined\"",
                              "findings, by what became of them");
    a->held = aegis_counter("aegis_analyst_findings_total", "decision=\"held\"",
                            "findings, by what became of them");
    a->failed = aegis_counter("aegis_analyst_failures_total", "",
                              "passes that failed and are made again");
    a->ok = aegis_gauge("aegis_analyst_rules_ok", "",
                        "1 when analyze.rules_file as it is now is in force");
    a->rules_n = aegis_gauge("aegis_analyst_rules", "", "rules of analyze.rules_file in force");
    for (i = 0; i < AEGIS_ANALYST_N; i++) {
        a->slice[i] = AEGIS_ANALYST_SLICE;
        snprintf(label, sizeof(label), "source=\"%s\"", aegis_analyst_sources[i]);
        a->lag[i] = aegis_gauge("aegis_analyst_lag_seconds", label,
                                "age of the newest data that was analysed");
    }

    rc = aegis_conf_detectors(w->conf, &a->rules, err);
    aegis_metric_set(a->ok, rc == AEGIS_E_OK);
    aegis_metric_set(a->rules_n, (double) aegis_detect_rules_count(a->rules));
    aegis_carry_offer(AEGIS_CARRY_BIT(AEGIS_MODULE_analyze), rc == AEGIS_E_OK);

    return rc;
}

void
aegis_analyst_free(aegis_analyst_t *a)
{
    if (a) {
        aegis_detect_rules_free(a->rules);
        free(a);
    }
}

void
aegis_analyst_reload(aegis_worker_t *w)
{
    aegis_code_t           rc;
    aegis_analyst_t       *a;
    aegis_error_t          err = AEGIS_ERROR_INIT;
    aegis_detect_rules_t  *rules;

    a = ((aegis_module_worker_t *) w->data)->analyst;
    rc = aegis_conf_detectors(w->conf, &rules, &err);
    aegis_metric_set(a->ok, rc == AEGIS_E_OK);
    a->next_at = 0;
    a->until[0] = '\0';

    if (rc == AEGIS_E_OK) {
        aegis_detect_rules_free(a->rules);
        a->rules = rules;
        aegis_metric_set(a->rules_n, (double) aegis_detect_rules_count(rules));
    } else {
        aegis_log(AEGIS_LOG_ERROR, "analyst", "rules.refused", "detail", "%s", err.detail,
                  NULL);
    }

    aegis_error_clear(&err);
}

static void
aegis_analyst_trouble(aegis_analyst_t *a, const char *what, aegis_error_t *err)
{
    aegis_metric_add(a->failed, 1);
    aegis_log(AEGIS_LOG_WARN, "analyst", what, "detail", "%s", err->detail, NULL);
    aegis_error_clear(err);
}

/* {"opened": n, …} of a statement; 0: SQL NULL, 2: it says that there is more. */
static int
aegis_analyst_count(aegis_analyst_t *a, const aegis_pg_t *pg, int n)
{
    int          o, j, h, more;
    json_t      *count;
    const char  *text;

    text = n == 1 ? aegis_pg_value(pg, 0, 0) : NULL;
    count = text ? json_loads(text, 0, NULL) : NULL;
    if (count == NULL) {
        return 0;
    }

    o = (int) json_integer_value(json_object_get(count, "opened"));
    j = (int) json_integer_value(json_object_get(count, "joined"));
    h = (int) json_integer_value(json_object_get(count, "held"));
    more = json_is_true(json_object_get(count, "more"));
    json_decref(count);

    aegis_metric_add(a->opened, o);
    aegis_metric_add(a->joined, j);
    aegis_metric_add(a->held, h);
    a->round_found += o + j + h;
    a->round_opened += o;

    if (o + j + h > 0) {
        aegis_log(AEGIS_LOG_INFO, "analyst", "found", "opened", "%d", o, "joined", "%d", j,
                  "held", "%d", h, NULL);
    }

    return 1 + more;
}

/* The rows that were read as the parameter of the commit; pass has the rest of it.
 * NULL: no memory. */
static json_t *
aegis_analyst_look(aegis_analyst_t *a, aegis_worker_t *w, const char *source, int n,
    aegis_analyst_pass_t *pass)
{
    int                    i, ok;
    json_t                *doc, *series, *findings;
    aegis_pg_t            *pg;
    aegis_analyst_row_t    row;

    pg = w->pg;
    series = json_array();
    findings = json_array();
    pass->rules = a->rules;
    pass->now = (double) aegis_analyst_now(CLOCK_REALTIME) / 1000;
    pass->max_age = (double) aegis_conf_int(w->conf, "analyze.max_age_s");
    pass->states = n <= INT_MAX / AEGIS_DETECT_BYTES ? malloc((size_t) n * AEGIS_DETECT_BYTES) : NULL;

    for (i = 0, ok = pass->states != NULL; i < n && ok; i++) {
        row = (aegis_analyst_row_t) {
            source, aegis_pg_value(pg, i, 2), aegis_pg_value(pg, i, 3),
            aegis_pg_value(pg, i, 4), aegis_pg_value(pg, i, 5), aegis_pg_value(pg, i, 6),
            aegis_pg_value(pg, i, 7), aegis_pg_value(pg, i, 8)
        };
        ok = row.tenant == NULL || aegis_analyst_series(pass, &row, series, findings);
    }

    doc = json_pack("{s:s, s:s, s:s, s:I, s:I, s:s, s:o, s:o}", "source", source,
        "from", aegis_pg_value(pg, 0, 0), "to", aegis_pg_value(pg, 0, 1),
        "window", (json_int_t) aegis_conf_int(w->conf, "analyze.group_window_s"),
        "max_age", (json_int_t) aegis_conf_int(w->conf, "analyze.max_age_s"),
        "evidence", AEGIS_ANALYST_EVIDENCE, "series", series, "findings", findings);
    if (!ok) {
        json_decref(doc);
        return NULL;
    }

    return doc;
}

/* Place findings until so many are left as the commit shall place. */
static aegis_code_t
aegis_analyst_place(aegis_analyst_t *a, aegis_worker_t *w, json_t *doc, aegis_error_t *err)
{
    int            n;
    json_t        *findings, *part, *head;
    const char    *params[2];
    aegis_code_t   rc;

    findings = json_object_get(doc, "findings");

    for (rc = AEGIS_E_OK; rc == AEGIS_E_OK && json_array_size(findings) > AEGIS_ANALYST_PLACED; ) {
        part = json_array();
        while (json_array_size(part) < AEGIS_ANALYST_PLACED) {
            (void) json_array_append(part, json_array_get(findings, 0));
            (void) json_array_remove(findings, 0);
        }

        head = json_pack("{s:O, s:O}", "window", json_object_get(doc, "window"), "evidence",
                         json_object_get(doc, "evidence"));
        params[0] = aegis_json_text(head);
        params[1] = aegis_json_text(part);
        json_decref(head);
        json_decref(part);

        rc = params[0] && params[1] ? aegis_pg_sql(w->pg, AEGIS_SQL_ANALYST_PLACE, 2, params, &n, err)
             : aegis_error_set(err, AEGIS_E_INTERNAL, "no memory for findings");
        free((char *) (uintptr_t) params[0]);
        free((char *) (uintptr_t) params[1]);
        if (rc == AEGIS_E_OK) {
            (void) aegis_analyst_count(a, w->pg, n);
            aegis_pg_clear(w->pg);
        }
    }

    return rc;
}

static void
aegis_analyst_sized(aegis_analyst_t *a, size_t source, long points)
{
    int  *slice;

    slice = &a->slice[source];
    *slice = points > AEGIS_ANALYST_POINTS ? *slice / 2
             : points < AEGIS_ANALYST_POINTS / 4 ? *slice * 2 : *slice;
    *slice = *slice < 300 ? 300 : *slice > AEGIS_ANALYST_SLICE_MAX ? AEGIS_ANALYST_SLICE_MAX
             : *slice;
}

/* States, findings and mark at once; takes text. */
static aegis_code_t
aegis_analyst_write(aegis_worker_t *w, char *text, const aegis_analyst_pass_t *pass,
    int *ret_rows, aegis_error_t *err)
{
    int            lengths[2];
    const char    *params[2];
    aegis_code_t   rc;

    params[0] = text;
    params[1] = (const char *) pass->states;
    lengths[0] = -1;
    lengths[1] = (int) pass->states_len;
    rc = AEGIS_FP(analyst_after_find, "analyst") ? AEGIS_E_UNAVAILABLE
         : aegis_pg_sql_binary(w->pg, AEGIS_SQL_ANALYST_COMMIT, 2, params, lengths, ret_rows, err);
    free(text);

    return AEGIS_FP(analyst_after_open, "analyst") ? AEGIS_E_UNKNOWN_OUTCOME : rc;
}

/* One slice of a source. 1: there was one, so there may be more; -1: it failed. */
static int
aegis_analyst_pass(aegis_analyst_t *a, aegis_worker_t *w, size_t source)
{
    int                    n, done;
    char                   settle[24], slice[24], *text;
    json_t                *doc;
    const char            *params[4];
    aegis_code_t           rc;
    aegis_error_t          err = AEGIS_ERROR_INIT;
    aegis_analyst_pass_t   pass;

    snprintf(settle, sizeof(settle), "%lld",
             (long long) aegis_conf_int(w->conf, "analyze.settle_s"));
    snprintf(slice, sizeof(slice), "%d", a->slice[source]);
    params[0] = aegis_analyst_sources[source];
    params[1] = settle;
    params[2] = slice;
    params[3] = a->until;

    if (aegis_pg_sql(w->pg, AEGIS_SQL_ANALYST_READ, 4, params, &n, &err) != AEGIS_E_OK) {
        aegis_analyst_trouble(a, "read-failed", &err);
        return -1;
    }
    if (n == 0) {
        aegis_pg_clear(w->pg);
        return 0;
    }

    memset(&pass, 0, sizeof(pass));
    doc = aegis_analyst_look(a, w, params[0], n, &pass);
    aegis_pg_clear(w->pg);
    rc = doc ? aegis_analyst_place(a, w, doc, &err) : AEGIS_E_OK;
    text = doc && rc == AEGIS_E_OK ? aegis_json_text(doc) : NULL;
    json_decref(doc);
    if (rc != AEGIS_E_OK) {
        free(pass.states);
        aegis_analyst_trouble(a, "place-failed", &err);
        return -1;
    }
    if (text == NULL) {
        free(pass.states);
        aegis_error_set(&err, AEGIS_E_INTERNAL, "no memory for a pass");
        aegis_analyst_trouble(a, "look-failed", &err);
        a->slice[source] = 300;
        return -1;
    }

    rc = aegis_analyst_write(w, text, &pass, &n, &err);
    free(pass.states);
    if (rc != AEGIS_E_OK) {
        aegis_analyst_trouble(a, "commit-failed", &err);
        return -1;
    }

    /* else another analyst was faster, and this is nobody's */
    done = aegis_analyst_count(a, w->pg, n);
    aegis_pg_clear(w->pg);
    if (done) {
        aegis_metric_add(a->passes, 1);
        aegis_metric_add(a->points, (double) pass.points);
        aegis_analyst_sized(a, source, pass.points);
    }

    return 1;
}

static int
aegis_analyst_signals(aegis_analyst_t *a, aegis_worker_t *w)
{
    int             n, ret;
    char            limit[24], window[24];
    const char     *params[4];
    aegis_code_t    rc;
    aegis_error_t   err = AEGIS_ERROR_INIT;

    snprintf(limit, sizeof(limit), "%d", AEGIS_ANALYST_SIGNALS);
    snprintf(window, sizeof(window), "%lld",
             (long long) aegis_conf_int(w->conf, "analyze.group_window_s"));
    params[0] = limit;
    params[1] = window;
    params[2] = AEGIS_ANALYST_EVIDENCE;
    params[3] = a->until;

    rc = aegis_pg_sql(w->pg, AEGIS_SQL_ANALYST_SIGNALS, 4, params, &n, &err);
    if (rc == AEGIS_E_OK && n == 1 && aegis_pg_value(w->pg, 0, 0) != NULL
        && AEGIS_FP(analyst_after_signals, "analyst"))
    {
        rc = aegis_error_set(&err, AEGIS_E_UNKNOWN_OUTCOME, "the answer is lost");
    }
    if (rc != AEGIS_E_OK) {
        aegis_analyst_trouble(a, "signals-failed", &err);
        return -1;
    }

    ret = aegis_analyst_count(a, w->pg, n);
    aegis_pg_clear(w->pg);

    return ret == 2;
}

/* By the database's clock, which says when rows came and runs were asked for. */
static int
aegis_analyst_begin(aegis_analyst_t *a, aegis_worker_t *w)
{
    int            n;
    aegis_error_t  err = AEGIS_ERROR_INIT;

    if (aegis_pg_sql(w->pg, AEGIS_SQL_ANALYST_ROUND, 0, NULL, &n, &err) != AEGIS_E_OK) {
        aegis_analyst_trouble(a, "begin-failed", &err);
        return -1;
    }

    snprintf(a->until, sizeof(a->until), "%s", aegis_pg_value(w->pg, 0, 0));
    aegis_pg_clear(w->pg);
    a->round_found = a->round_opened = 0;

    return 0;
}

/* Whoever asked before this round began has it now; and how far behind we are. */
static void
aegis_analyst_end(aegis_analyst_t *a, aegis_worker_t *w)
{
    int             n;
    size_t          i;
    char            f[24], o[24];
    const char     *params[3], *v;
    aegis_error_t   err = AEGIS_ERROR_INIT;

    snprintf(f, sizeof(f), "%d", a->round_found);
    snprintf(o, sizeof(o), "%d", a->round_opened);
    params[0] = a->until;
    params[1] = f;
    params[2] = o;

    if (aegis_pg_sql(w->pg, AEGIS_SQL_ANALYST_ANSWER, 3, params, &n, &err) != AEGIS_E_OK) {
        aegis_analyst_trouble(a, "answer-failed", &err);
        return;
    }

    for (i = 0; n == 1 && i < AEGIS_ANALYST_N; i++) {
        v = aegis_pg_value(w->pg, 0, (int) i + 1);
        aegis_metric_set(a->lag[i], v ? strtod(v, NULL) : 0);
    }
    aegis_pg_clear(w->pg);
}

int
aegis_analyst_tick(aegis_worker_t *w)
{
    int               rc, more, bad;
    size_t            i;
    int64_t           now;
    aegis_analyst_t  *a;

    a = ((aegis_module_worker_t *) w->data)->analyst;
    now = aegis_analyst_now(CLOCK_MONOTONIC);
    if (now < a->next_at) {
        return (int) (a->next_at - now);
    }

    more = 0;
    bad = a->until[0] == '\0' && aegis_analyst_begin(a, w) != 0;

    for (i = 0; i < AEGIS_ANALYST_N && !*w->stopping && !bad; i++) {
        rc = aegis_analyst_pass(a, w, i);
        more |= rc > 0;
        bad |= rc < 0;
    }

    if (!bad && !*w->stopping) {
        rc = aegis_analyst_signals(a, w);
        more |= rc > 0;
        bad |= rc < 0;
    }

    /* a round that has more to read goes on at once; one that failed is over, unanswered */
    if (more && !bad) {
        a->next_at = 0;
        return 0;
    }

    if (!bad && !*w->stopping) {
        aegis_analyst_end(a, w);
    }

    a->until[0] = '\0';
    a->next_at = aegis_analyst_now(CLOCK_MONOTONIC)
                 + aegis_conf_int(w->conf, "analyze.every_s") * 1000;

    return (int) aegis_conf_int(w->conf, "analyze.every_s") * 1000;
}
