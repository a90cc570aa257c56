/*
 * aegis_sensor_reply.c: answers, in the form that each sender knows: text for remote
 * write and Loki, google.rpc.Status for OTLP with what it did not take as partial
 * success, problem documents for events.
 */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "aegis_json.h"
#include "aegis_sensor_http.h"

#define AEGIS_REPLY_MAX  1024

unsigned
aegis_call_refuse(aegis_call_t *c, unsigned status, const char *why)
{
    if (status == 429) {
        aegis_metric_add(c->x->m.busy, 1);
    }
    c->status = status;
    (void) snprintf(c->why, sizeof(c->why), "%s", why[0] ? why : "it cannot be taken");
    return status;
}

/* --- CloudEvents in binary form */

static enum MHD_Result
aegis_call_attribute(void *data, enum MHD_ValueKind kind, const char *name, const char *value)
{
    (void) kind;
    aegis_cloudevent_attribute(data, name, value);
    return MHD_YES;
}

int
aegis_call_structured(aegis_call_t *c)
{
    int                  ok;
    char                *text;
    aegis_cloudevent_t   b = { json_object(), 1 };

    (void) MHD_get_connection_values(c->connection, MHD_HEADER_KIND, aegis_call_attribute, &b);

    ok = c->len == 0 || c->job.encoding[0] == '\0';
    text = aegis_cloudevent_text(&b, (aegis_str_t) { c->len, c->body });
    if (!ok) {
        free(text);
        text = NULL;
    }
    if (text == NULL) {
        return 0;
    }

    __atomic_sub_fetch(&c->x->held, c->size, __ATOMIC_RELAXED);
    free(c->body);
    c->body = text;
    c->len = strlen(text);
    c->size = c->len;
    __atomic_add_fetch(&c->x->held, c->size, __ATOMIC_RELAXED);

    return 1;
}

/* --- protobuf by hand: two messages of two fields each */

static size_t
aegis_reply_varint(unsigned char *p, uint64_t n)
{
    size_t  k;

    for (k = 0; n > 0x7f; n >>= 7) {
        p[k++] = (unsigned char) (n | 0x80);
    }
    p[k++] = (unsigned char) n;

    return k;
}

/* {1: number, 2: text} */
static size_t
aegis_reply_pair(unsigned char *p, uint64_t number, const char *text)
{
    size_t  n, len;

    n = 0;
    if (number) {
        p[n++] = 0x08;
        n += aegis_reply_varint(p + n, number);
    }
    len = strlen(text);
    if (len) {
        p[n++] = 0x12;
        n += aegis_reply_varint(p + n, len);
        memcpy(p + n, text, len);
        n += len;
    }

    return n;
}

/* google.rpc.Code for what was refused. */
static unsigned
aegis_reply_code(unsigned status)
{
    return status == 400 || status == 413 || status == 415 ? 3 : status == 401 ? 16
           : status == 429 ? 8 : status == 404 || status == 405 ? 12 : 14;
}

static size_t
aegis_reply_otlp(const aegis_call_t *c, unsigned char *out)
{
    size_t          n;
    unsigned        refused;
    const char     *what;
    json_t         *o;
    char           *text;
    unsigned char   part[AEGIS_REPLY_MAX / 2];

    refused = c->job.state == 2 ? 0 : c->job.signals.refused;
    what = strstr(c->path->path, "metrics") ? "rejectedDataPoints"
           : strstr(c->path->path, "logs") ? "rejectedLogRecords" : "rejectedSpans";

    if (c->json) {
        o = c->status ? json_pack("{s:i, s:s}", "code", (int) aegis_reply_code(c->status), "message", c->why)
            : refused ? json_pack("{s:{s:I, s:s}}", "partialSuccess", what, (json_int_t) refused,
                                  "errorMessage", c->job.signals.why)
            : json_object();
        text = o ? json_dumps(o, JSON_COMPACT) : NULL;
        json_decref(o);
        n = (size_t) snprintf((char *) out, AEGIS_REPLY_MAX, "%s", text ? text : "{}");
        free(text);
        return n < AEGIS_REPLY_MAX ? n : AEGIS_REPLY_MAX - 1;
    }

    if (c->status) {
        return aegis_reply_pair(out, aegis_reply_code(c->status), c->why);
    }
    if (refused == 0) {
        return 0;
    }

    n = aegis_reply_pair(part, refused, c->job.signals.why);
    out[0] = 0x0a;
    refused = (unsigned) aegis_reply_varint(out + 1, n) + 1;
    memcpy(out + refused, part, n);

    return refused + n;
}

static size_t
aegis_reply_problem(const aegis_call_t *c, unsigned char *out)
{
    char                *text;
    size_t               n;
    json_t              *o;
    const char          *code;

    code = c->status == 429 ? "rate-limited" : c->status == 413 ? "too-large" : c->status == 404 ? "not-found"
           : c->status == 415 ? "unsupported-media-type" : c->status == 401 ? "unauthorized"
           : c->status == 405 ? "method-not-allowed" : c->status == 503 ? "unavailable" : "bad-request";
    o = json_pack("{s:s+, s:s, s:i, s:s}", "type", "urn:aegis:problem:", code, "title", c->why,
                  "status", (int) c->status, "detail", c->why);
    text = o ? json_dumps(o, JSON_COMPACT) : NULL;
    json_decref(o);
    n = (size_t) snprintf((char *) out, AEGIS_REPLY_MAX, "%s", text ? text : "{}");
    free(text);

    return n < AEGIS_REPLY_MAX ? n : AEGIS_REPLY_MAX - 1;
}

/* What a request that was taken in answers; a part that was not is said. */
static unsigned
aegis_reply_ok(aegis_call_t *c)
{
    if (c->path->family == AEGIS_OTLP) {
        return 200;
    }
    if (c->path->family == AEGIS_EVENTS) {
        return c->job.signals.refused && c->job.signals.taken == 0
               ? aegis_call_refuse(c, 400, c->job.signals.why)
               : strcmp(c->path->first, "alertmanager") == 0 ? 200 : 202;
    }
    if (c->job.signals.refused && c->job.state == 1) {
        /* the rest is kept; 4xx is not sent again, and the sender counts and logs it */
        return aegis_call_refuse(c, 400, c->job.signals.why);
    }

    return 204;
}

static void
aegis_reply_headers(aegis_call_t *c, struct MHD_Response *r, const char *type)
{
    char  n[24];

    if (type) {
        (void) MHD_add_response_header(r, "Content-Type", type);
    }
    if (c->status == 429 || c->status == 503) {
        (void) snprintf(n, sizeof(n), "%d", 1 + (int) (((uintptr_t) c >> 6) % 4));
        (void) MHD_add_response_header(r, "Retry-After", n);
    }
    if (c->status == 405) {
        (void) MHD_add_response_header(r, "Allow", "POST");
    }
    if (c->path->family == AEGIS_PRW && c->v2 && (c->status == 0 || c->status == 400)) {
        (void) snprintf(n, sizeof(n), "%u", c->job.signals.taken - c->job.signals.histograms);
        (void) MHD_add_response_header(r, "X-Prometheus-Remote-Write-Samples-Written", n);
        (void) snprintf(n, sizeof(n), "%u", c->job.signals.histograms);
        (void) MHD_add_response_header(r, "X-Prometheus-Remote-Write-Histograms-Written", n);
        (void) MHD_add_response_header(r, "X-Prometheus-Remote-Write-Exemplars-Written", "0");
    }
}

enum MHD_Result
aegis_call_answer(aegis_call_t *c)
{
    size_t                n;
    unsigned              status;
    const char           *type;
    unsigned char         out[AEGIS_REPLY_MAX];
    enum MHD_Result       rc;
    struct MHD_Response  *r;

    if (c->status == 0 && c->decided && c->job.state < 0) {
        (void) aegis_call_refuse(c, 503, "it could not be stored now");
    }
    status = c->status ? c->status : aegis_reply_ok(c);
    aegis_metric_add(c->x->m.requests[c->path->family], 1);

    if (c->path->family == AEGIS_OTLP) {
        n = aegis_reply_otlp(c, out);
        type = c->json ? "application/json" : "application/x-protobuf";
    } else if (c->status && c->path->family == AEGIS_EVENTS) {
        n = aegis_reply_problem(c, out);
        type = "application/problem+json";
    } else if (c->status) {
        n = (size_t) snprintf((char *) out, sizeof(out), "%s\n", c->why);
        type = "text/plain; charset=utf-8";
    } else {
        n = 0;
        type = NULL;
    }

    r = MHD_create_response_from_buffer(n, out, MHD_RESPMEM_MUST_COPY);
    if (r == NULL) {
        return MHD_NO;
    }
    aegis_reply_headers(c, r, type);
    rc = MHD_queue_response(c->connection, status, r);
    MHD_destroy_response(r);

    return rc;
}
