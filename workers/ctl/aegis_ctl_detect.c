/*
 * aegis_ctl_detect.c: `aegisctl detect` runs the analyst's detectors over a file,
 * with the rules that the analyst would use, and needs nothing else; `aegisctl
 * detectors check` reads those rules.
 */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "aegis_ctl.h"
#include "aegis_detect.h"

#define DETECT_LINE   65536
#define DETECT_STEP   300       /* seconds between points that are only numbered */

typedef struct {
    FILE                  *in;
    const char            *path;
    aegis_detect_t         state;
    aegis_detect_rule_t    rule;
    aegis_detect_csv_t     csv;
    int                    csv_out;
    int                    alarms_only;
    int                    gaps;
    int                    explain;
    int64_t                step;        /* of numbered points; 0: not known yet */
    long                   line;
    long                   skipped;
} detect_t;


/* Rules of a file; 0, or an exit code after a message. */
static int
load_rules(const char *path, aegis_detect_rules_t **ret)
{
    aegis_error_t   err = AEGIS_ERROR_INIT;
    aegis_str_t     text;
    json_t         *e;
    size_t          i, len;
    char           *body;
    int             rc;

    body = aegis_ctl_read_file(path, &len);
    if (body == NULL) {
        aegis_ctl_say("%s: %s", path, strerror(errno));
        return AEGIS_CTL_FAILED;
    }
    text = (aegis_str_t) { len, body };
    rc = aegis_detect_rules_parse(text, ret, &err) == AEGIS_E_OK ? 0 : AEGIS_CTL_FAILED;
    if (rc != 0 && json_array_size(err.errors) == 0) {
        aegis_ctl_say("%s: %s", path, err.detail);
    }
    json_array_foreach(err.errors, i, e) {
        aegis_ctl_say("%s: %s: %s", path, json_string_value(json_object_get(e, "pointer")),
                      json_string_value(json_object_get(e, "detail")));
    }
    aegis_error_clear(&err);
    free(body);
    return rc;
}


static void
show_kinds(const aegis_detect_result_t *r)
{
    const char  *comma = "";
    int          i;

    printf(",\"by\":{");
    for (i = 0; i < AEGIS_DETECT_N_KINDS; i++) {
        if (r->by_kind[i] > 0) {
            printf("%s\"%s\":%.4f", comma, aegis_detect_name(i), r->by_kind[i]);
            comma = ",";
        }
    }
    printf("}");
}


/* A point's line. taken: 0 for one that is not newer than the one before. */
static void
show_point(const detect_t *d, double t, double v, int taken, const aegis_detect_result_t *r)
{
    const char  *kind = taken ? aegis_detect_name(r->kind) : "";

    if (d->alarms_only && !r->alarm) {
        return;
    }
    if (d->csv_out) {
        printf("%.17g,%.17g,%.4f,%d,%d,%s,%.10g\n", t, v, r->score, r->alarm, r->active, kind,
               taken ? r->expected : v);
        return;
    }
    printf("{\"timestamp\":%.17g,\"value\":%.17g,\"score\":%.4f,\"alarm\":%s,\"active\":%s,"
           "\"detector\":\"%s\",\"expected\":%.10g", t, v, r->score,
           r->alarm ? "true" : "false", r->active ? "true" : "false", kind,
           taken ? r->expected : v);
    if (r->gap_s > 0) {
        printf(",\"gap_s\":%.10g", r->gap_s);
    }
    if (r->learning) {
        printf(",\"learning\":true");
    }
    if (d->explain) {
        printf(",\"scale\":%.10g,\"limit\":%.4f", r->scale,
               aegis_detect_limit(&d->state, &d->rule));
        show_kinds(r);
    }
    printf("}\n");
}


static void
one_line(detect_t *d, aegis_str_t line)
{
    aegis_detect_result_t  r;
    const char            *why = "";
    double                 t, v;
    int                    rc;

    rc = aegis_detect_csv(&d->csv, line, &t, &v, &why);
    if (rc < 0) {
        if (d->skipped++ < 10) {
            aegis_ctl_say("%s:%ld: %s", d->path, d->line, why);
        }
        return;
    }
    if (rc == 0) {
        return;
    }
    if (d->step == 0) {
        d->step = t == 0 || t == 1 ? DETECT_STEP : 1;
    }
    rc = aegis_detect_feed(&d->state, &d->rule, t * (double) d->step, v, &r);
    if (d->gaps && rc && r.gap_s > 0 && !(d->rule.off & (1u << AEGIS_DETECT_missing))
        && !r.alarm)
    {
        r.alarm = 1;
        r.kind = AEGIS_DETECT_missing;
    }
    show_point(d, t, v, rc, &r);
}


static int
read_all(detect_t *d)
{
    char    *line = NULL;
    size_t   size = 0;
    ssize_t  n;

    if (d->csv_out) {
        printf("timestamp,value,score,alarm,active,detector,expected\n");
    }
    while ((n = getline(&line, &size, d->in)) > 0) {
        d->line++;
        n -= line[n - 1] == '\n';
        if (n > DETECT_LINE) {
            aegis_ctl_say("%s:%ld: a line of more than %d bytes", d->path, d->line, DETECT_LINE);
            free(line);
            return AEGIS_CTL_FAILED;
        }
        one_line(d, (aegis_str_t) { (size_t) n, line });
    }
    free(line);
    if (ferror(d->in)) {
        aegis_ctl_say("%s: %s", d->path, strerror(errno));
        return AEGIS_CTL_FAILED;
    }
    if (d->skipped > 0) {
        aegis_ctl_say("%s: %ld lines were no points", d->path, d->skipped);
    }
    if (d->state.n == 0 && d->state.begun == 0) {
        aegis_ctl_say("%s has no points", d->path);
        return AEGIS_CTL_FAILED;
    }
    return AEGIS_CTL_OK;
}


static int
detect(aegis_ctl_t *ctl)
{
    aegis_detect_rules_t  *rules = NULL;
    const char            *path = ctl->args[0], *format = aegis_ctl_opt(ctl, "format"),
                          *source = aegis_ctl_opt(ctl, "source"),
                          *metric = aegis_ctl_opt(ctl, "metric"),
                          *resource = aegis_ctl_opt(ctl, "resource");
    detect_t               d;
    int                    rc = 0;

    if (format != NULL && strcmp(format, "csv") != 0 && strcmp(format, "jsonl") != 0) {
        aegis_ctl_say("--format is jsonl or csv");
        return AEGIS_CTL_USAGE;
    }
    if (aegis_ctl_opt(ctl, "rules") != NULL) {
        rc = load_rules(aegis_ctl_opt(ctl, "rules"), &rules);
        if (rc != 0) {
            return rc;
        }
    }
    memset(&d, 0, sizeof(d));
    d.step = aegis_ctl_opt_int(ctl, "step", 0, 1, 604800);
    if (d.step < 0) {
        return AEGIS_CTL_USAGE;
    }
    aegis_detect_rules_find(rules, source != NULL ? source : "metric",
                            resource != NULL ? resource : "",
                            metric != NULL ? metric : "value", &d.rule);
    aegis_detect_rules_free(rules);
    d.csv_out = format != NULL && strcmp(format, "csv") == 0;
    d.alarms_only = aegis_ctl_opt(ctl, "alarms") != NULL;
    d.gaps = aegis_ctl_opt(ctl, "gaps") != NULL;
    d.explain = aegis_ctl_opt(ctl, "explain") != NULL;
    d.path = path;
    d.in = strcmp(path, "-") == 0 ? stdin : fopen(path, "r");
    if (d.in == NULL) {
        aegis_ctl_say("%s: %s", path, strerror(errno));
        return AEGIS_CTL_FAILED;
    }
    rc = read_all(&d);
    if (d.in != stdin) {
        fclose(d.in);
    }
    return rc;
}


static int
detectors_check(aegis_ctl_t *ctl)
{
    aegis_detect_rules_t  *rules = NULL;
    const char            *path = ctl->n_args > 0 ? ctl->args[0] : "conf/detectors.yaml";
    int                    rc;

    rc = load_rules(path, &rules);
    if (rc == 0) {
        printf("%s is in order\n", path);
    }
    aegis_detect_rules_free(rules);
    return rc;
}


static int
detectors_show(aegis_ctl_t *ctl)
{
    static const char *const    stats[] = { "avg", "max", "p95" };
    aegis_detect_rules_t       *rules = NULL;
    aegis_detect_rule_t         rule;
    const char                 *path = aegis_ctl_opt(ctl, "rules"),
                               *source = aegis_ctl_opt(ctl, "source"),
                               *resource = aegis_ctl_opt(ctl, "resource");
    json_t                     *o, *off;
    int                         i, rc;

    rc = path != NULL ? load_rules(path, &rules) : 0;
    if (rc != 0) {
        return rc;
    }
    aegis_detect_rules_find(rules, source != NULL ? source : "metric",
                            resource != NULL ? resource : "", ctl->args[0], &rule);
    aegis_detect_rules_free(rules);
    off = json_array();
    for (i = 0; i < AEGIS_DETECT_N_KINDS; i++) {
        if (rule.off & (1u << i)) {
            json_array_append_new(off, json_string(aegis_detect_name(i)));
        }
    }
    o = json_pack("{s:b, s:b, s:s, s:s, s:i, s:i, s:f, s:i, s:f, s:f, s:f, s:f, s:i, s:o, s:s}",
        "ignore", rule.ignore, "opens", rule.opens, "stat", stats[rule.stat],
        "direction", rule.direction > 0 ? "up" : rule.direction < 0 ? "down" : "both",
        "min_samples", rule.min_samples, "clear_samples", rule.clear_samples,
        "rearm", rule.rearm, "for_samples", rule.for_samples, "score", rule.score,
        "floor", rule.floor, "floor_ratio", rule.floor_ratio, "min_change", rule.min_change,
        "missing_s", rule.missing_s, "off", off, "severity", rule.severity);
    if (rule.has_above) {
        json_object_set_new(o, "above", json_real(rule.above));
        json_object_set_new(o, "above_clear", json_real(rule.above_clear));
    }
    if (rule.has_below) {
        json_object_set_new(o, "below", json_real(rule.below));
        json_object_set_new(o, "below_clear", json_real(rule.below_clear));
    }
    aegis_ctl_json(o);
    json_decref(o);
    return AEGIS_CTL_OK;
}


static const aegis_ctl_option_t  detect_options[] = {
    { "format", 0, "FORMAT", "jsonl (default) or csv" },
    { "alarms", 0, NULL, "print only the points that are reported" },
    { "explain", 0, NULL, "add each detector's score, the scale and the limit (jsonl)" },
    { "step", 0, "SECONDS", "times number the points, which are so far apart" },
    { "gaps", 0, NULL, "report missing data too" },
    { "rules", 0, "FILE", "a detectors.yaml; without one the defaults" },
    { "source", 0, "WORD", "metric (default), call or log: what rules select by" },
    { "metric", 0, "NAME", "name of the series, for the rules" },
    { "resource", 0, "URN", "whose series it is, for the rules" },
    { NULL, 0, NULL, NULL }
};

static const aegis_ctl_option_t  show_options[] = {
    { "rules", 0, "FILE", "a detectors.yaml; without one the defaults" },
    { "source", 0, "WORD", "metric (default), call or log" },
    { "resource", 0, "URN", "whose series it is" },
    { NULL, 0, NULL, NULL }
};

const aegis_ctl_command_t  aegis_ctl_detect_commands[] = {
    { "", "FILE.csv", 1, 1, "run the analyst's detectors over a series in a file",
      "Reads lines of timestamp,value (- is stdin): seconds or milliseconds since 1970 or\n"
      "a date and time, UTC unless it says otherwise. A first line may name the columns;\n"
      "further columns are ignored. Times that begin with 0 or 1 number the points, which\n"
      "are taken to be 300 seconds apart (--step). One line goes out for each point: score is -log10 of\n"
      "how likely such a point is for this series (0 to 30), alarm is true where the\n"
      "analyst would report it, active from there until it has cleared. Points are judged\n"
      "one after the other by what came before alone; the first ones teach.\n"
      "Needs neither gateway nor database.",
      detect_options, detect },
    { NULL, NULL, 0, 0, NULL, NULL, NULL, NULL }
};

const aegis_ctl_command_t  aegis_ctl_detectors_commands[] = {
    { "check", "[FILE]", 0, 1, "check detectors.yaml as the analyst would",
      "Reads conf/detectors.yaml when no FILE is named.", NULL, detectors_check },
    { "show", "METRIC", 1, 1, "what holds for a series, after all rules", NULL, show_options,
      detectors_show },
    { NULL, NULL, 0, 0, NULL, NULL, NULL, NULL }
};
