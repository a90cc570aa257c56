/*
 * aegis_decode_events.c: what senders say happened: Alertmanager's webhook (version
 * 4), events of Kubernetes (one, or a list), CloudEvents in structured form (one, or
 * a batch) or in binary form, which is made structured first. Each becomes one row of signal_event.
 * Invariant: the same alert in the same state has the same dedupe and beginning, so
 * that it is one row however often it is sent.
 */
#include <ctype.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>

#include "aegis_hash.h"
#include "aegis_json.h"
#include "aegis_signal.h"
#include "aegis_time.h"

#define AEGIS_EVENTS_LABELS  8192

static const char *
aegis_events_text(const json_t *o, const char *name)
{
    const char  *text;

    text = json_string_value(json_object_get(o, name));
    return text ? text : "";
}

static int64_t
aegis_events_time(const json_t *o, const char *name)
{
    int64_t      t;
    const char  *text;

    text = aegis_events_text(o, name);
    return aegis_time_parse(aegis_view(text), &t) && t > 0 ? t * 1000 : 0;
}

/* At most max bytes, whole characters. */
static const char *
aegis_events_copy(aegis_signals_t *s, const char *text, size_t max)
{
    size_t       n;
    const char  *copy;

    n = strlen(text);
    if (n > max) {
        for (n = max; n && ((unsigned char) text[n] & 0xc0) == 0x80; n--) {
            /* void */
        }
    }

    copy = aegis_arena_copy(s->arena, text, n);
    return copy ? copy : "";
}

static const char *
aegis_events_json(aegis_signals_t *s, const json_t *o)
{
    char        *text;
    const char  *copy;

    text = json_is_object(o) ? json_dumps(o, JSON_COMPACT | JSON_SORT_KEYS) : NULL;
    copy = text && strlen(text) <= AEGIS_EVENTS_LABELS
           ? aegis_arena_copy(s->arena, text, strlen(text)) : NULL;
    free(text);

    return copy ? copy : "{}";
}

static const char *
aegis_events_hash(aegis_signals_t *s, const char *a, const char *b, const char *c)
{
    char           hex[33];
    const char    *copy;
    aegis_str_t    parts[5] = { aegis_view(a), { 1, "" }, aegis_view(b), { 1, "" }, aegis_view(c) };
    unsigned char  sum[AEGIS_SHA256_LEN];

    aegis_sha256(parts, 5, sum);
    aegis_hex(sum, 16, hex);
    copy = aegis_arena_copy(s->arena, hex, 32);

    return copy ? copy : "";
}

/* Of labels as they are in an object. */
static const char *
aegis_events_resource(aegis_signals_t *s, const json_t *o)
{
    json_t         *value;
    unsigned        n;
    uint64_t        used;
    const char     *name;
    aegis_str_t     urn;
    aegis_label_t   labels[AEGIS_LABELS_MAX];

    n = 0;
    json_object_foreach((json_t *) (uintptr_t) o, name, value) {
        if (json_is_string(value) && n < AEGIS_LABELS_MAX) {
            labels[n].name = aegis_view(name);
            labels[n++].value = aegis_view(json_string_value(value));
        }
    }
    urn = aegis_resource_of(s->arena, labels, n, &used);

    return used ? urn.data : "";
}

static const char *
aegis_events_severity(const char *text)
{
    static const char *const  words[][2] = {
        { "crit", "critical" }, { "page", "critical" }, { "fatal", "critical" }, { "emerg", "critical" },
        { "err", "error" }, { "high", "error" }, { "major", "error" }, { "info", "info" },
        { "none", "info" }, { "debug", "info" }, { "low", "info" }, { "normal", "info" }
    };
    size_t  i;

    for (i = 0; i < sizeof(words) / sizeof(words[0]); i++) {
        if (strncasecmp(text, words[i][0], strlen(words[i][0])) == 0) {
            return words[i][1];
        }
    }

    return "warning";
}

static json_t *
aegis_events_load(aegis_str_t body, aegis_error_t *err)
{
    json_t        *o;
    json_error_t   where;

    o = json_loadb(body.data, body.len, 0, &where);
    if (o == NULL) {
        (void) aegis_error_set(err, AEGIS_E_MALFORMED_JSON, "the body is no JSON: %s", where.text);
    }

    return o;
}

/* --- Alertmanager */

static int
aegis_events_alert(aegis_signals_t *s, const json_t *a)
{
    json_t             *labels, *notes;
    const char         *text;
    aegis_happening_t  *h;

    labels = json_object_get(a, "labels");
    notes = json_object_get(a, "annotations");
    if (!json_is_object(labels) || json_object_size(labels) == 0) {
        aegis_signals_refuse(s, 1, "an alert has no labels");
        return 1;
    }

    h = aegis_signals_happening(s);
    if (h == NULL) {
        return 0;
    }

    h->source = "alertmanager";
    h->state = strcmp(aegis_events_text(a, "status"), "resolved") == 0 ? "resolved" : "firing";
    h->severity = aegis_events_severity(aegis_events_text(labels, "severity"));
    h->labels = aegis_events_json(s, labels);
    text = aegis_events_text(a, "fingerprint");
    h->fingerprint = *text ? aegis_events_copy(s, text, 128)
                           : aegis_events_hash(s, "alert", h->labels, "");
    h->dedupe = h->fingerprint;
    h->kind = aegis_events_copy(s, aegis_events_text(labels, "alertname"), 200);
    h->resource = aegis_events_resource(s, labels);
    text = aegis_events_text(notes, "summary");
    h->title = aegis_events_copy(s, *text ? text : h->kind, 200);
    text = aegis_events_text(notes, "description");
    h->summary = aegis_events_copy(s, *text ? text : aegis_events_text(notes, "message"), 4000);
    h->starts = aegis_events_time(a, "startsAt");
    h->starts = h->starts ? h->starts : s->now;
    h->ends = h->state[0] == 'r' ? aegis_events_time(a, "endsAt") : 0;
    h->count = 1;
    s->taken++;

    return 1;
}

aegis_code_t
aegis_decode_alerts(aegis_signals_t *s, aegis_str_t body, aegis_error_t *err)
{
    size_t         i;
    json_t        *o, *a;
    aegis_code_t   rc;

    o = aegis_events_load(body, err);
    if (o == NULL) {
        return err->code;
    }

    rc = AEGIS_E_OK;
    if (!json_is_array(json_object_get(o, "alerts"))) {
        rc = aegis_error_set(err, AEGIS_E_BAD_REQUEST, "the body has no alerts");

    } else if (strcmp(aegis_events_text(o, "version"), "4") != 0) {
        rc = aegis_error_set(err, AEGIS_E_BAD_REQUEST, "the webhook's version is not 4");
    }

    json_array_foreach(rc == AEGIS_E_OK ? json_object_get(o, "alerts") : NULL, i, a) {
        if (!aegis_events_alert(s, a)) {
            rc = aegis_error_set(err, AEGIS_E_TOO_LARGE, "too many alerts");
            break;
        }
    }

    json_decref(o);
    return rc;
}

/* --- Kubernetes */

static const char *
aegis_kube_resource(aegis_signals_t *s, const json_t *about)
{
    char         urn[400], kind[40];
    size_t       i;
    const char  *k, *ns;

    k = aegis_events_text(about, "kind");
    ns = aegis_events_text(about, "namespace");
    for (i = 0; k[i] && i + 1 < sizeof(kind); i++) {
        kind[i] = (char) (k[i] >= 'A' && k[i] <= 'Z' ? k[i] | 0x20 : k[i]);
    }
    kind[i] = '\0';

    (void) snprintf(urn, sizeof(urn), "urn:k8s:%s:%.63s%s%.253s",
                    strcmp(kind, "deployment") == 0 || strcmp(kind, "service") == 0 ? "svc"
                    : kind[0] ? kind : "object", ns, *ns ? "/" : "", aegis_events_text(about, "name"));
    aegis_clean(urn, strlen(urn));
    return aegis_events_copy(s, urn, sizeof(urn));
}

static int
aegis_kube_event(aegis_signals_t *s, const json_t *e)
{
    int64_t             last;
    json_t             *meta, *about, *series;
    const char         *text;
    aegis_happening_t  *h;

    meta = json_object_get(e, "metadata");
    about = json_object_get(e, "involvedObject");
    about = about ? about : json_object_get(e, "regarding");
    if (!json_is_object(meta) || !json_is_object(about)) {
        aegis_signals_refuse(s, 1, "an event has no metadata or is about no object");
        return 1;
    }

    h = aegis_signals_happening(s);
    if (h == NULL) {
        return 0;
    }

    series = json_object_get(e, "series");
    h->source = "kubernetes";
    h->state = "info";
    h->severity = strcmp(aegis_events_text(e, "type"), "Warning") == 0 ? "warning" : "info";
    h->kind = aegis_events_copy(s, aegis_events_text(e, "reason"), 200);
    h->resource = aegis_kube_resource(s, about);
    text = aegis_events_text(e, "message");
    h->summary = aegis_events_copy(s, *text ? text : aegis_events_text(e, "note"), 4000);
    h->title = aegis_events_copy(s, h->kind, 200);
    h->labels = aegis_events_json(s, about);
    h->fingerprint = aegis_events_hash(s, "kubernetes", h->resource, h->kind);
    text = aegis_events_text(meta, "uid");
    h->dedupe = *text ? aegis_events_copy(s, text, 128) : h->fingerprint;
    h->starts = aegis_events_time(e, "firstTimestamp");
    h->starts = h->starts ? h->starts : aegis_events_time(e, "eventTime");
    h->starts = h->starts ? h->starts : aegis_events_time(meta, "creationTimestamp");
    last = aegis_events_time(e, "lastTimestamp");
    last = last ? last : aegis_events_time(series, "lastObservedTime");
    h->ends = last;
    h->starts = h->starts ? h->starts : last ? last : s->now;
    h->count = json_integer_value(json_object_get(e, "count"));
    h->count = h->count > 0 ? h->count : json_integer_value(json_object_get(series, "count"));
    h->count = h->count > 0 && h->count < 1000000000 ? h->count : 1;
    s->taken++;

    return 1;
}

/* An event, a list of them, or what a watch sends: {"type": "ADDED", "object": {…}}. */
aegis_code_t
aegis_decode_kube(aegis_signals_t *s, aegis_str_t body, aegis_error_t *err)
{
    int      ok;
    size_t   i;
    json_t  *o, *e, *list, *object;

    o = aegis_events_load(body, err);
    if (o == NULL) {
        return err->code;
    }

    ok = 1;
    object = json_object_get(o, "object");
    list = json_is_array(o) ? o : json_object_get(o, "items");

    if (json_is_array(list)) {
        json_array_foreach(list, i, e) {
            object = json_object_get(e, "object");
            ok = ok && aegis_kube_event(s, json_is_object(object) ? object : e);
        }
    } else if (json_is_object(o)) {
        ok = aegis_kube_event(s, json_is_object(object) ? object : o);
    } else {
        (void) aegis_error_set(err, AEGIS_E_BAD_REQUEST, "the body is no event");
    }

    json_decref(o);
    if (!ok) {
        return aegis_error_set(err, AEGIS_E_TOO_LARGE, "too many events");
    }

    return err->code;
}

/* --- CloudEvents */

static int
aegis_cloud_event(aegis_signals_t *s, const json_t *e, aegis_error_t *err)
{
    json_t             *data;
    const char         *id, *source, *type, *text;
    aegis_happening_t  *h;

    id = aegis_events_text(e, "id");
    source = aegis_events_text(e, "source");
    type = aegis_events_text(e, "type");
    if (strncmp(aegis_events_text(e, "specversion"), "1.", 2) != 0 || !*id || !*source || !*type) {
        (void) aegis_error_set(err, AEGIS_E_ENVELOPE,
            "an event has not specversion 1.0, id, source and type");
        return 0;
    }

    h = aegis_signals_happening(s);
    if (h == NULL) {
        (void) aegis_error_set(err, AEGIS_E_TOO_LARGE, "too many events");
        return 0;
    }

    data = json_object_get(e, "data");
    h->source = "cloudevents";
    text = aegis_events_text(data, "state");
    h->state = strcmp(text, "firing") == 0 ? "firing" : strcmp(text, "resolved") == 0 ? "resolved" : "info";
    text = aegis_events_text(data, "severity");
    text = *text ? text : aegis_events_text(e, "severity");
    h->severity = *text ? aegis_events_severity(text) : "info";
    h->dedupe = aegis_events_hash(s, source, id, "");
    h->fingerprint = aegis_events_hash(s, source, type, aegis_events_text(e, "subject"));
    h->kind = aegis_events_copy(s, type, 200);
    text = aegis_events_text(data, "resource");
    h->resource = *text ? aegis_events_copy(s, text, 400)
                        : aegis_events_resource(s, json_object_get(data, "labels"));
    h->resource = *h->resource ? h->resource : aegis_events_copy(s, aegis_events_text(e, "subject"), 400);
    text = aegis_events_text(data, "title");
    h->title = aegis_events_copy(s, *text ? text : type, 200);
    text = aegis_events_text(data, "message");
    h->summary = aegis_events_copy(s, *text ? text : aegis_events_text(data, "summary"), 4000);
    h->labels = aegis_events_json(s, json_is_object(json_object_get(data, "labels"))
                                     ? json_object_get(data, "labels") : data);
    h->starts = aegis_events_time(e, "time");
    h->starts = h->starts ? h->starts : s->now;
    h->count = 1;
    s->taken++;

    return 1;
}

/* A header of an event in binary form; others are not looked at. */
void
aegis_cloudevent_attribute(aegis_cloudevent_t *b, const char *name, const char *value)
{
    char         key[64], text[2048], hex[3];
    size_t       i, n;

    if (strncasecmp(name, "ce-", 3) != 0 || value == NULL) {
        return;
    }

    for (i = 0; name[i + 3] && i + 1 < sizeof(key); i++) {
        key[i] = (char) (name[i + 3] >= 'A' && name[i + 3] <= 'Z' ? name[i + 3] | 0x20 : name[i + 3]);
    }
    key[i] = '\0';

    for (n = 0; *value && n + 1 < sizeof(text); value++) {
        if (*value == '%' && isxdigit((unsigned char) value[1]) && isxdigit((unsigned char) value[2])) {
            memcpy(hex, value + 1, 2);
            hex[2] = '\0';
            text[n++] = (char) strtoul(hex, NULL, 16);
            value += 2;
        } else {
            text[n++] = *value;
        }
    }
    text[n] = '\0';
    b->ok &= json_object_set_new(b->event, key, json_string(text)) == 0;
}

/* The same event in structured form; NULL when it is none. Ends b. */
char *
aegis_cloudevent_text(aegis_cloudevent_t *b, aegis_str_t body)
{
    char    *text;
    json_t  *data;

    if (body.len) {
        data = json_loadb(body.data, body.len, JSON_DECODE_ANY, NULL);
        data = data ? data : json_stringn(body.data, body.len);
        b->ok &= data != NULL && json_object_set_new(b->event, "data", data) == 0;
    }

    text = b->ok ? json_dumps(b->event, JSON_COMPACT) : NULL;
    json_decref(b->event);
    b->event = NULL;

    return text;
}

aegis_code_t
aegis_decode_cloudevents(aegis_signals_t *s, aegis_str_t body, aegis_error_t *err)
{
    int      ok;
    size_t   i;
    json_t  *o, *e;

    o = aegis_events_load(body, err);
    if (o == NULL) {
        return err->code;
    }

    ok = 1;
    if (json_is_array(o)) {
        json_array_foreach(o, i, e) {
            ok = ok && aegis_cloud_event(s, e, err);
        }
    } else {
        ok = aegis_cloud_event(s, o, err);
    }

    json_decref(o);
    return ok ? AEGIS_E_OK : err->code;
}
