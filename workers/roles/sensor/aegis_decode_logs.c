/*
 * aegis_decode_logs.c: OTLP logs and Loki's pushes, protobuf and JSON: lines with
 * whom they are of and how bad they are.
 */
#include <ctype.h>
#include <stdlib.h>
#include <string.h>

#include "aegis_json.h"
#include "aegis_otlp.h"

#define AEGIS_LOGS_TEXT  16384          /* of a line that is JSON, what is looked into */

enum { AEGIS_LOGS_UNKNOWN, AEGIS_LOGS_DEBUG, AEGIS_LOGS_INFO, AEGIS_LOGS_WARN,
       AEGIS_LOGS_ERROR };

static int
aegis_logs_word(const char *text, size_t len)
{
    size_t  i;

    static const struct { const char *word; int level; } words[] = {
        { "fatal", 4 }, { "crit", 4 }, { "emerg", 4 }, { "alert", 4 }, { "err", 4 },
        { "panic", 4 }, { "warn", 3 }, { "info", 2 }, { "notice", 2 }, { "debug", 1 },
        { "trace", 1 }
    };

    for (i = 0; i < sizeof(words) / sizeof(words[0]); i++) {
        if (len >= strlen(words[i].word) && strncasecmp(text, words[i].word, strlen(words[i].word)) == 0) {
            return words[i].level;
        }
    }

    return AEGIS_LOGS_UNKNOWN;
}

/* The first word of the line's beginning that is one of a level. */
static int
aegis_logs_guess(aegis_str_t line)
{
    int     level;
    size_t  i, n;

    n = line.len < 120 ? line.len : 120;
    for (i = 0; i < n; i++) {
        if (isalpha((unsigned char) line.data[i]) && (i == 0 || !isalnum((unsigned char) line.data[i - 1]))) {
            level = aegis_logs_word(line.data + i, n - i);
            if (level) {
                return level;
            }
        }
    }

    return AEGIS_LOGS_UNKNOWN;
}

/* What a line that is a JSON object says: its message, and its level. */
static aegis_str_t
aegis_logs_message(aegis_signals_t *s, aegis_str_t line, int *level)
{
    char         *copy;
    size_t        i;
    json_t       *o;
    aegis_str_t   found;
    const char   *text;

    static const char *const  names[] = { "message", "msg", "log", "event", "body" };
    static const char *const  levels[] = { "level", "severity", "lvl" };

    if (line.len < 2 || line.len > AEGIS_LOGS_TEXT || line.data[0] != '{') {
        return line;
    }

    o = json_loadb(line.data, line.len, 0, NULL);
    for (i = 0, found = line; i < sizeof(names) / sizeof(names[0]); i++) {
        text = json_string_value(json_object_get(o, names[i]));
        if (text) {
            copy = aegis_arena_copy(s->arena, text, strlen(text));
            found = copy ? aegis_view(copy) : line;
            break;
        }
    }
    for (i = 0; *level == AEGIS_LOGS_UNKNOWN && i < sizeof(levels) / sizeof(levels[0]); i++) {
        text = json_string_value(json_object_get(o, levels[i]));
        *level = text ? aegis_logs_word(text, strlen(text)) : *level;
    }

    json_decref(o);
    return found;
}

static int
aegis_logs_line(aegis_signals_t *s, aegis_str_t resource, int64_t t, aegis_str_t text,
    int level)
{
    aegis_line_t  *l;

    if (!aegis_signals_time(s, t)) {
        return 1;
    }

    l = aegis_signals_line(s);
    if (l == NULL) {
        return 0;
    }

    l->t = t;
    l->resource = resource;
    l->text = aegis_logs_message(s, text, &level);
    l->severity = level ? level : aegis_logs_guess(l->text);
    s->taken++;

    return 1;
}

static aegis_code_t
aegis_logs_large(aegis_error_t *err)
{
    return aegis_error_set(err, AEGIS_E_TOO_LARGE, "the request has too many lines");
}

/* --- OTLP */

static int
aegis_logs_level(const Otlp__LogRecord *r)
{
    if (r->severity_number > 0) {
        return r->severity_number >= 17 ? AEGIS_LOGS_ERROR : r->severity_number >= 13
               ? AEGIS_LOGS_WARN : r->severity_number >= 9 ? AEGIS_LOGS_INFO : AEGIS_LOGS_DEBUG;
    }

    return r->severity_text ? aegis_logs_word(r->severity_text, strlen(r->severity_text))
                            : AEGIS_LOGS_UNKNOWN;
}

static aegis_code_t
aegis_logs_take(aegis_signals_t *s, const Otlp__LogsRequest *r, aegis_error_t *err)
{
    size_t                     i, k, n;
    uint64_t                   used;
    unsigned                   n_labels;
    aegis_str_t                resource, text;
    aegis_label_t              labels[AEGIS_LABELS_MAX];
    const Otlp__LogRecord     *x;
    const Otlp__ResourceLogs  *rl;

    for (i = 0; i < r->n_resource_logs; i++) {
        rl = r->resource_logs[i];
        n_labels = rl->resource == NULL ? 0 : aegis_otlp_labels(s, rl->resource->attributes,
                        rl->resource->n_attributes, labels, AEGIS_LABELS_MAX);
        resource = aegis_resource_of(s->arena, labels, n_labels, &used);

        for (k = 0; k < rl->n_scope_logs; k++) {
            for (n = 0; n < rl->scope_logs[k]->n_log_records; n++) {
                x = rl->scope_logs[k]->log_records[n];
                text = aegis_otlp_text(s, x->body);
                if (!aegis_logs_line(s, resource, aegis_otlp_time(s, x->time_unix_nano
                        ? x->time_unix_nano : x->observed_time_unix_nano),
                        text.data ? text : aegis_view(""), aegis_logs_level(x)))
                {
                    return aegis_logs_large(err);
                }
            }
        }
    }

    return AEGIS_E_OK;
}

aegis_code_t
aegis_decode_logs(aegis_signals_t *s, aegis_str_t body, aegis_error_t *err)
{
    ProtobufCMessage  *m;

    m = aegis_otlp_unpack(&otlp__logs_request__descriptor, s, body, err);
    return m ? aegis_logs_take(s, (void *) m, err) : err->code;
}

aegis_code_t
aegis_decode_logs_json(aegis_signals_t *s, aegis_str_t body, aegis_error_t *err)
{
    ProtobufCMessage  *m;

    m = aegis_otlp_unpack_json(&otlp__logs_request__descriptor, s, body, err);
    return m ? aegis_logs_take(s, (void *) m, err) : err->code;
}

/* --- Loki */

/* A label of {name="value", …}; 1, 0 at the end, -1 when it is not that. */
static int
aegis_loki_label(aegis_signals_t *s, const char **p, aegis_label_t *l)
{
    char        *out;
    size_t       n;
    const char  *begin;

    while (**p == ' ' || **p == ',') {
        (*p)++;
    }
    if (**p == '}' || **p == '\0') {
        return 0;
    }

    begin = *p;
    while (isalnum((unsigned char) **p) || **p == '_' || **p == '.') {
        (*p)++;
    }
    l->name = (aegis_str_t) { (size_t) (*p - begin), begin };
    if (l->name.len == 0 || **p != '=' || (*p)[1] != '"') {
        return -1;
    }

    *p += 2;
    out = aegis_arena_alloc(s->arena, strlen(*p) + 1);
    if (out == NULL) {
        return -1;
    }

    for (n = 0; **p && **p != '"'; (*p)++) {
        if (**p == '\\' && (*p)[1]) {
            (*p)++;
            out[n++] = **p == 'n' ? '\n' : **p == 't' ? '\t' : **p;
        } else {
            out[n++] = **p;
        }
    }
    if (**p != '"') {
        return -1;
    }
    (*p)++;
    l->value = (aegis_str_t) { n, out };

    return 1;
}

static int
aegis_loki_level(const aegis_label_t *l, unsigned n)
{
    unsigned  i;

    for (i = 0; i < n; i++) {
        if ((l[i].name.len == 5 && memcmp(l[i].name.data, "level", 5) == 0)
            || (l[i].name.len == 14 && memcmp(l[i].name.data, "detected_level", 14) == 0)
            || (l[i].name.len == 8 && memcmp(l[i].name.data, "severity", 8) == 0))
        {
            return aegis_logs_word(l[i].value.data, l[i].value.len);
        }
    }

    return AEGIS_LOGS_UNKNOWN;
}

aegis_code_t
aegis_decode_loki(aegis_signals_t *s, aegis_str_t body, aegis_error_t *err)
{
    int                  rc, level;
    size_t               i, k;
    int64_t              t;
    unsigned             n;
    uint64_t             used;
    const char          *p;
    aegis_str_t          resource;
    aegis_label_t        labels[AEGIS_LABELS_MAX];
    Otlp__PushRequest   *r;
    const Otlp__Entry   *e;
    const Otlp__Stream  *x;

    r = (void *) aegis_otlp_unpack(&otlp__push_request__descriptor, s, body, err);
    if (r == NULL) {
        return err->code;
    }

    for (i = 0; i < r->n_streams; i++) {
        x = r->streams[i];
        p = x->labels ? x->labels : "";
        p += *p == '{';
        for (n = 0, rc = 1; n < AEGIS_LABELS_MAX && (rc = aegis_loki_label(s, &p, &labels[n])) > 0; n++) {
            /* void */
        }
        if (rc < 0) {
            return aegis_error_set(err, AEGIS_E_BAD_REQUEST, "the labels of a stream cannot be read");
        }
        resource = aegis_resource_of(s->arena, labels, n, &used);
        level = aegis_loki_level(labels, n);

        for (k = 0; k < x->n_entries; k++) {
            e = x->entries[k];
            t = e->timestamp && e->timestamp->seconds > 0 && e->timestamp->seconds < 1LL << 40
                ? e->timestamp->seconds * 1000 + e->timestamp->nanos / 1000000
                : e->timestamp ? e->timestamp->seconds > 0 ? INT64_MAX / 2 : 0 : s->now;
            if (!aegis_logs_line(s, resource, t, e->line ? aegis_view(e->line) : aegis_str(""), level)) {
                return aegis_logs_large(err);
            }
        }
    }

    return AEGIS_E_OK;
}

static aegis_code_t
aegis_loki_json_stream(aegis_signals_t *s, const json_t *x, aegis_error_t *err)
{
    int             level;
    char           *copy, *end;
    size_t          i;
    json_t         *v, *value, *o;
    int64_t         t;
    unsigned        n;
    uint64_t        used;
    const char     *name, *ns, *line;
    aegis_str_t     resource;
    aegis_label_t   labels[AEGIS_LABELS_MAX];

    n = 0;
    o = json_object_get(x, "stream");
    json_object_foreach(o, name, value) {
        if (!json_is_string(value)) {
            return aegis_error_set(err, AEGIS_E_BAD_REQUEST, "a label of a stream is no text");
        }
        copy = aegis_arena_copy(s->arena, json_string_value(value), json_string_length(value));
        line = aegis_arena_copy(s->arena, name, strlen(name));
        if (copy && line && n < AEGIS_LABELS_MAX) {
            labels[n].name = aegis_view(line);
            labels[n++].value = aegis_view(copy);
        }
    }
    resource = aegis_resource_of(s->arena, labels, n, &used);
    level = aegis_loki_level(labels, n);

    json_array_foreach(json_object_get(x, "values"), i, v) {
        ns = json_string_value(json_array_get(v, 0));
        line = json_string_value(json_array_get(v, 1));
        t = ns ? strtoll(ns, &end, 10) / 1000000 : 0;
        if (ns == NULL || line == NULL || *ns == '\0' || *end) {
            return aegis_error_set(err, AEGIS_E_BAD_REQUEST,
                                   "an entry is not [\"<nanoseconds>\", \"<line>\"]");
        }
        copy = aegis_arena_copy(s->arena, line, strlen(line));
        if (copy == NULL || !aegis_logs_line(s, resource, t, aegis_view(copy), level)) {
            return aegis_logs_large(err);
        }
    }

    return AEGIS_E_OK;
}

aegis_code_t
aegis_decode_loki_json(aegis_signals_t *s, aegis_str_t body, aegis_error_t *err)
{
    size_t         i;
    json_t        *o, *x;
    json_error_t   where;
    aegis_code_t   rc;

    o = json_loadb(body.data, body.len, 0, &where);
    if (!json_is_object(o) || !json_is_array(json_object_get(o, "streams"))) {
        rc = aegis_error_set(err, AEGIS_E_MALFORMED_JSON, "the body is no push request: %s",
                             o ? "it has no streams" : where.text);
        json_decref(o);
        return rc;
    }

    rc = AEGIS_E_OK;
    json_array_foreach(json_object_get(o, "streams"), i, x) {
        rc = aegis_loki_json_stream(s, x, err);
        if (rc != AEGIS_E_OK) {
            break;
        }
    }

    json_decref(o);
    return rc;
}
