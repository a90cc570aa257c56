/*
 * aegis_analyst_series.c: the new points of one series through the core's
 * detectors, and findings in words. Nothing is asked of the database here, and
 * nothing is written: what comes out is one statement's parameter.
 * Invariant: the same points of the same state give the same findings under the
 * same ids, however often a pass is repeated.
 */
#include "aegis_analyst.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "aegis_hash.h"
#include "aegis_http.h"
#include "aegis_json.h"
#include "aegis_time.h"

#define AEGIS_ANALYST_BUCKET   300      /* seconds of a bucket of calls and logs */
#define AEGIS_ANALYST_ZEROES   288      /* buckets without a line that are filled in */
#define AEGIS_ANALYST_AROUND   900      /* seconds that evidence links to */

static int
aegis_analyst_hex(int c)
{
    return c >= '0' && c <= '9' ? c - '0' : c >= 'a' && c <= 'f' ? c - 'a' + 10 : -1;
}

/* A state that cannot be read is none: its series learns anew. */
static void
aegis_analyst_load(const char *hex, aegis_detect_t *s)
{
    int            high, low;
    size_t         n;
    unsigned char  bytes[AEGIS_DETECT_BYTES];

    memset(s, 0, sizeof(*s));

    for (n = 0; hex && hex[2 * n] && n < sizeof(bytes); n++) {
        high = aegis_analyst_hex((unsigned char) hex[2 * n]);
        low = aegis_analyst_hex((unsigned char) hex[2 * n + 1]);
        if (high < 0 || low < 0) {
            return;
        }
        bytes[n] = (unsigned char) (high << 4 | low);
    }

    (void) aegis_detect_unpack(bytes, n, s);
}

/* "epoch:avg:max:p95" at *p; 1: a point, 0: one without the value that is looked
 * at, -1: the end. */
static int
aegis_analyst_point(const char **p, aegis_detect_stat_t stat, double *t, double *v)
{
    int     i, has;
    char   *end;
    double  x, first;

    if (**p == '\0') {
        return -1;
    }

    *t = strtod(*p, &end);
    has = 0;
    first = NAN;

    for (i = 0; i < 3 && *end == ':'; i++) {
        *p = end + 1;
        x = strtod(*p, &end);
        if (end == *p) {
            continue;
        }
        first = isnan(first) ? x : first;
        if (i == (int) stat) {
            *v = x;
            has = 1;
        }
    }

    while (*end && *end != ' ') {
        end++;
    }
    *p = end + (*end == ' ');

    /* a metric that has no percentile is looked at by what it has */
    if (!has && !isnan(first)) {
        *v = first;
        has = 1;
    }

    return has;
}

/* Behind the last / : or >: the short name that people use. */
static const char *
aegis_analyst_short(const char *resource)
{
    const char  *p, *name;

    for (p = name = resource; *p; p++) {
        if ((*p == '/' || *p == ':' || *p == '>') && p[1]) {
            name = p + 1;
        }
    }

    return name;
}

static json_t *
aegis_analyst_text(const char *text, size_t most)
{
    return json_stringn(text, aegis_utf8_cut(text, strlen(text), most));
}

static json_t *
aegis_analyst_labels(const aegis_analyst_row_t *row, const aegis_detect_rule_t *rule,
    const aegis_detect_result_t *r)
{
    char         number[32];
    json_t      *labels;
    const char  *resource, *behind;

    /* of a call, who is called */
    behind = strchr(row->resource, '>');
    resource = behind ? behind + 1 : row->resource;

    labels = json_pack("{s:o, s:o, s:o, s:s, s:s}",
        "resource", aegis_analyst_text(resource, 500),
        "service", aegis_analyst_text(aegis_analyst_short(resource), 200),
        "metric", aegis_analyst_text(row->metric, 200), "source", row->source,
        "detector", aegis_detect_name(r->kind));

    /* what a repair is verified by: half of the way back */
    if (labels && r->side > 0 && strcmp(row->source, "metric") == 0
        && r->kind != AEGIS_DETECT_spread && r->kind != AEGIS_DETECT_stuck)
    {
        snprintf(number, sizeof(number), "%.6g", r->kind == AEGIS_DETECT_threshold
                 ? rule->above_clear : r->expected + r->deviation / 2);
        (void) json_object_set_new(labels, "threshold", json_string(number));
    }

    /* what people said goes before what was measured */
    if (labels && rule->labels) {
        (void) json_object_update(labels, (json_t *) rule->labels);
    }

    return labels;
}

static json_t *
aegis_analyst_links(const aegis_analyst_row_t *row, double t, const json_t *info)
{
    char         from[AEGIS_TIME_LEN + 1], to[AEGIS_TIME_LEN + 1], ref[2048];
    json_t      *links;
    const char  *table;

    table = strcmp(row->source, "metric") == 0 ? "metric_1m"
            : strcmp(row->source, "call") == 0 ? "service_call_5m" : "log_pattern_5m";
    aegis_time_format((int64_t) t - AEGIS_ANALYST_AROUND, from);
    aegis_time_format((int64_t) t + 60, to);
    snprintf(ref, sizeof(ref), "%s:%.900s/%.900s@%s/%s", table, row->resource, row->metric,
             from, to);

    links = json_pack("[{s:o, s:s}]", "ref", aegis_analyst_text(ref, sizeof(ref)),
                      "note", "the values around it");
    if (links && aegis_json_str(info, "locator_id")[0]) {
        snprintf(ref, sizeof(ref), "oo_locator:%s", aegis_json_str(info, "locator_id"));
        (void) json_array_append_new(links, json_pack("{s:s, s:s}", "ref", ref, "note",
                                                      "the first line of this pattern"));
    }

    return links;
}

static void
aegis_analyst_words(const aegis_analyst_row_t *row, const aegis_detect_result_t *r,
    double v, const json_t *info, char *title, char *summary, size_t size)
{
    const char  *name;

    name = aegis_analyst_short(row->resource);

    if (strcmp(row->source, "log") == 0) {
        snprintf(title, size, "%s: %s", name, aegis_json_str(info, "template"));
        snprintf(summary, size, "%s: %.6g lines in five minutes, expected %.6g. %s",
                 aegis_detect_sentence(r->kind), v, r->expected,
                 aegis_json_str(info, "sample"));
        return;
    }

    if (r->kind == AEGIS_DETECT_spread || r->kind == AEGIS_DETECT_stuck) {
        snprintf(title, size, "%s of %s: %s", row->metric, name,
                 aegis_detect_sentence(r->kind));
    } else {
        snprintf(title, size, "%s of %s is %.4g, expected %.4g", row->metric, name, v,
                 r->expected);
    }

    snprintf(summary, size, "%s: %s of %s was %.6g where %.6g was expected, give or take "
             "%.3g; once in 10^%.1f such values.", aegis_detect_sentence(r->kind),
             row->metric, row->resource, v, r->expected, r->scale, r->score);
}

static json_t *
aegis_analyst_finding(const aegis_analyst_pass_t *pass, const aegis_analyst_row_t *row,
    const aegis_detect_rule_t *rule, const aegis_detect_result_t *r, double t, double v,
    const json_t *info)
{
    int           opens;
    char          name[4096], id[AEGIS_UUID_LEN + 1], print[AEGIS_UUID_LEN + 1];
    char          title[4096], summary[4096], number[32];
    aegis_str_t   s;
    const char   *why;

    snprintf(number, sizeof(number), "%.0f", t);
    snprintf(name, sizeof(name), "%s|%.1200s|%.1200s|%s|%.1000s", row->source, row->resource,
             row->metric, row->series, row->tenant);
    s = aegis_view(name);
    aegis_uuid_named(s, print);
    snprintf(name + s.len, sizeof(name) - s.len, "|%s|%s", number,
             aegis_detect_name(r->kind));
    s.len = strlen(name);
    aegis_uuid_named(s, id);
    aegis_analyst_words(row, r, v, info, title, summary, sizeof(title));

    opens = rule->opens;
    why = "a rule of the detectors says that this opens no case";
    if (opens && t < pass->now - pass->max_age) {
        opens = 0;
        why = "it is older than analyze.max_age_s: what is so old only teaches";
    }

    return json_pack("{s:s, s:s, s:s, s:s, s:s, s:o, s:o, s:s, s:f, s:f, s:b, s:s, s:o, s:o,"
                     " s:o, s:o, s:{s:f, s:f, s:f, s:f, s:i}}",
        "tenant", row->tenant, "finding_id", id, "fingerprint", print, "source", row->source,
        "kind", aegis_detect_name(r->kind), "resource", aegis_analyst_text(row->resource, 1024),
        "metric", aegis_analyst_text(row->metric, 500),
        "severity", aegis_detect_severity(rule, r->score), "score", r->score, "at", t,
        "opens", opens, "why", why, "title", aegis_analyst_text(title, 200),
        "summary", aegis_analyst_text(summary, 2000),
        "labels", aegis_analyst_labels(row, rule, r),
        "links", aegis_analyst_links(row, t, info),
        "detail", "value", v, "expected", r->expected, "deviation", r->deviation,
        "scale", r->scale, "side", r->side);
}

/* A pattern of log lines is counted where it is seen: between, it is zero. */
static void
aegis_analyst_zeroes(aegis_detect_t *s, const aegis_detect_rule_t *rule, double until)
{
    int                    i;
    double                 t;
    aegis_detect_result_t  r;

    if (s->begun == 0) {
        return;
    }

    t = s->t + AEGIS_ANALYST_BUCKET;
    t = until - t > AEGIS_ANALYST_ZEROES * AEGIS_ANALYST_BUCKET
        ? until - AEGIS_ANALYST_ZEROES * AEGIS_ANALYST_BUCKET : t;

    for (i = 0; i < AEGIS_ANALYST_ZEROES && t < until; i++, t += AEGIS_ANALYST_BUCKET) {
        (void) aegis_detect_feed(s, rule, t, 0, &r);
    }
}

/* A pattern that is new: 1 when that is worth a finding. */
static int
aegis_analyst_first(const aegis_detect_rule_t *rule, const json_t *info, double t,
    aegis_detect_result_t *r)
{
    double  limit;

    memset(r, 0, sizeof(*r));
    r->score = aegis_detect_first_sight(json_number_value(json_object_get(info, "since")), t,
                                        json_number_value(json_object_get(info, "known")),
                                        json_number_value(json_object_get(info, "recent")),
                                        aegis_json_str(info, "level"));
    r->kind = AEGIS_DETECT_first;
    r->side = 1;
    limit = rule->score > 0 ? rule->score : 5;

    return r->score >= limit && !(rule->off & (1u << AEGIS_DETECT_first));
}

static void
aegis_analyst_points(aegis_analyst_pass_t *pass, const aegis_analyst_row_t *row,
    const aegis_detect_rule_t *rule, aegis_detect_t *s, const json_t *info, double *last,
    json_t *findings)
{
    int                    rc, log, fresh;
    double                 t, v;
    const char            *p;
    aegis_detect_result_t  r;

    log = strcmp(row->source, "log") == 0;
    fresh = row->state == NULL && log;

    for (p = row->points; (rc = aegis_analyst_point(&p, rule->stat, &t, &v)) >= 0; ) {
        *last = t;
        if (rc == 0 || rule->ignore) {
            continue;
        }
        if (log) {
            aegis_analyst_zeroes(s, rule, t);
        }

        pass->points++;
        if (fresh && aegis_analyst_first(rule, info, t, &r)) {
            json_array_append_new(findings, aegis_analyst_finding(pass, row, rule, &r, t, v,
                                                                  info));
        }
        fresh = 0;

        if (aegis_detect_feed(s, rule, t, v, &r) && r.alarm) {
            r.kind = log ? AEGIS_DETECT_burst : r.kind;
            json_array_append_new(findings, aegis_analyst_finding(pass, row, rule, &r, t, v,
                                                                  info));
        }
    }
}

int
aegis_analyst_series(aegis_analyst_pass_t *pass, const aegis_analyst_row_t *row,
    json_t *series, json_t *findings)
{
    size_t               size;
    double               last, patience;
    json_t              *info, *item;
    aegis_detect_t       s;
    aegis_detect_rule_t  rule;

    aegis_detect_rules_find(pass->rules, row->source, row->resource, row->metric, &rule);
    aegis_analyst_load(row->state, &s);
    info = row->info ? json_loads(row->info, 0, NULL) : NULL;
    last = 0;

    aegis_analyst_points(pass, row, &rule, &s, info, &last, findings);
    json_decref(info);

    /* a pattern that is not seen any more is not missed */
    patience = rule.ignore || strcmp(row->source, "log") == 0 ? 0
               : aegis_detect_patience(&s, &rule);
    size = rule.ignore ? 0 : aegis_detect_pack(&s, pass->states + pass->states_len);
    pass->states_len += size;
    item = json_pack("{s:s, s:s, s:s, s:I, s:f, s:f, s:I}", "tenant", row->tenant,
        "resource", row->resource, "metric", row->metric,
        "series", (json_int_t) strtoll(row->series, NULL, 10), "mark", last,
        "patience", patience, "size", (json_int_t) size);

    return item && json_array_append_new(series, item) == 0;
}
