/*
 * aegis_loop_batch.c: one batch from decode to settle.
 * Invariant: every message of a batch is settled exactly once, and acked only
 * after its effect, or its dead letter, is committed. What cannot be read or
 * handled stands in nobody's way.
 */
#include "aegis_loop_impl.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "aegis_failpoint.h"
#include "aegis_hash.h"
#include "aegis_http.h"

#define AEGIS_LOOP_NAK_MIN  100
#define AEGIS_LOOP_NAK_MAX  30000

/* 100 ms, doubled with each delivery, at most 30 s; a half of it at random. */
static int
aegis_loop_nak_delay(aegis_loop_t *loop, int deliveries)
{
    int  ms, shift;

    shift = deliveries > 1 ? deliveries - 1 : 0;
    ms = shift > 8 ? AEGIS_LOOP_NAK_MAX : AEGIS_LOOP_NAK_MIN << shift;
    ms = ms > AEGIS_LOOP_NAK_MAX ? AEGIS_LOOP_NAK_MAX : ms;
    return ms / 2 + rand_r(&loop->seed) % (ms / 2 + 1);
}

/* A copy that PostgreSQL takes as text: bytes of a message that was not even
 * decoded can be anything. */
static char *
aegis_loop_text(aegis_str_t s, size_t max)
{
    char    *copy;
    size_t   i, n;

    n = s.len < max ? s.len : max;
    copy = malloc(n + 1);
    if (copy == NULL) {
        return NULL;
    }

    for (i = 0; i < n; i++) {
        copy[i] = (s.data[i] >= 0x20 && s.data[i] < 0x7f) ? s.data[i] : '?';
    }
    copy[n] = '\0';
    return copy;
}

static char *
aegis_loop_strdup(aegis_str_t s)
{
    return strndup(s.len ? s.data : "", s.len);
}

/* The id under which it is buried: its own, or one out of its bytes, so that
 * two nameless messages are two dead letters. */
static char *
aegis_loop_dead_id(const aegis_delivery_t *d)
{
    char            hex[2 * AEGIS_SHA256_LEN + 1], id[96];
    aegis_str_t     name, parts[2];
    unsigned char   sum[AEGIS_SHA256_LEN];

    if (d->msg.root != NULL) {
        return aegis_loop_strdup(d->msg.id);
    }
    name = d->raw->id(d->raw->handle);
    if (name.len) {
        return aegis_loop_text(name, 255);
    }

    parts[0] = d->raw->subject;
    parts[1] = d->raw->body;
    aegis_sha256(parts, 2, sum);
    aegis_hex(sum, AEGIS_SHA256_LEN, hex);
    snprintf(id, sizeof(id), "sha256:%s", hex);
    return strdup(id);
}

static char *
aegis_loop_bytea(aegis_str_t body)
{
    char  *hex;

    hex = malloc(2 * body.len + 3);
    if (hex != NULL) {
        memcpy(hex, "\\x", 2);
        aegis_hex((const unsigned char *) body.data, body.len, hex + 2);
    }

    return hex;
}

/* Commit the dead letter. */
static aegis_code_t
aegis_loop_bury(aegis_loop_t *loop, aegis_delivery_t *d, aegis_code_t code,
    const char *reason, aegis_error_t *err)
{
    int            i, n;
    char          *text[5], *payload, deliveries[16];
    aegis_code_t   rc;
    const char    *params[9];

    text[0] = d->msg.root ? aegis_loop_strdup(d->msg.tenant) : strdup("");
    text[1] = aegis_loop_text(d->raw->subject, 255);
    text[2] = aegis_loop_dead_id(d);
    text[3] = d->msg.root && d->msg.case_id.data ? aegis_loop_strdup(d->msg.case_id)
              : NULL;
    text[4] = aegis_loop_text(aegis_view(reason), 2000);
    payload = aegis_loop_bytea(d->raw->body);
    snprintf(deliveries, sizeof(deliveries), "%d",
             d->raw->deliveries > 0 ? d->raw->deliveries : 1);

    params[0] = text[0];
    params[1] = loop->w.consumer->durable;
    params[2] = text[1];
    params[3] = text[2];
    params[4] = text[3];
    params[5] = aegis_error_def(code)->code;
    params[6] = text[4];
    params[7] = payload;
    params[8] = deliveries;

    if (text[0] == NULL || text[1] == NULL || text[2] == NULL || text[4] == NULL
        || payload == NULL)
    {
        rc = aegis_error_set(err, AEGIS_E_UNAVAILABLE, "no memory for a dead letter");
    } else {
        rc = aegis_pg_sql(loop->w.pg, AEGIS_SQL_DEAD_LETTER_PUT, 9, params, &n, err);
        aegis_pg_clear(loop->w.pg);
    }

    if (rc == AEGIS_E_OK) {
        aegis_metric_add(loop->dead_letters, 1);
        aegis_log(AEGIS_LOG_WARN, loop->w.role->name, "dead-letter",
                  "subject", "%s", text[1], "msg_id", "%s", text[2],
                  "case_id", "%s", text[3] ? text[3] : "",
                  "code", "%s", params[5], "reason", "%s", text[4],
                  "deliveries", "%s", deliveries, NULL);
    }

    for (i = 0; i < 5; i++) {
        free(text[i]);
    }
    free(payload);
    return rc;
}

/*
 * Has it failed often enough by itself? While nothing could be said about any
 * message (a disk that is full), the bus counted deliveries all the same: what
 * comes within the time that so many of them take is not given up.
 */
static int
aegis_loop_hopeless(aegis_loop_t *loop, const aegis_delivery_t *d, int max)
{
    return d->raw->deliveries >= max && aegis_loop_now() >= loop->void_until;
}


static void
aegis_loop_settle(aegis_loop_t *loop, aegis_delivery_t *d)
{
    int               max;
    char              reason[320];
    aegis_error_t     err = AEGIS_ERROR_INIT;
    aegis_verdict_t   verdict;

    max = (int) aegis_conf_int(loop->w.conf, "retry.max_deliveries");
    verdict = aegis_error_def(d->code)->verdict;
    snprintf(reason, sizeof(reason), "%s", d->reason[0] ? d->reason
             : aegis_error_def(d->code)->title);

    if (verdict == AEGIS_VERDICT_RETRY && aegis_loop_hopeless(loop, d, max)) {
        snprintf(reason, sizeof(reason), "given up after %d deliveries: %s",
                 d->raw->deliveries, d->reason[0] ? d->reason
                 : aegis_error_def(d->code)->title);
        verdict = AEGIS_VERDICT_DEAD;
    }

    if (verdict == AEGIS_VERDICT_DEAD
        && aegis_loop_bury(loop, d, d->code, reason, &err) != AEGIS_E_OK)
    {
        aegis_log(AEGIS_LOG_ERROR, loop->w.role->name, "dead-letter-failed",
                  "error", "%s", err.detail, NULL);
        verdict = AEGIS_VERDICT_RETRY;
    }

    if (verdict == AEGIS_VERDICT_RETRY) {
        aegis_metric_add(loop->retry, 1);
        aegis_log(AEGIS_LOG_DEBUG, loop->w.role->name, "retry",
                  "code", "%s", aegis_error_def(d->code)->code,
                  "reason", "%s", reason, "deliveries", "%d", d->raw->deliveries, NULL);
        aegis_bus_nak(loop->w.bus, d->raw, aegis_loop_nak_delay(loop, d->raw->deliveries));
    } else {
        aegis_metric_add(verdict == AEGIS_VERDICT_DEAD ? loop->dead : loop->done, 1);
        aegis_bus_ack(loop->w.bus, d->raw);
        (void) AEGIS_FP(consumer_after_ack, loop->w.role->name);
    }

    aegis_error_clear(&err);
}

/* 1 when the role can have it; else d has the refusal. */
static int
aegis_loop_decode(aegis_delivery_t *d, aegis_bus_msg_t *raw)
{
    aegis_error_t  err = AEGIS_ERROR_INIT;

    memset(&d->msg, 0, sizeof(d->msg));
    d->raw = raw;
    d->reason[0] = '\0';
    d->code = aegis_event_decode(raw->body, &d->msg, &err);

    if (d->code != AEGIS_E_OK) {
        memset(&d->msg, 0, sizeof(d->msg));
        snprintf(d->reason, sizeof(d->reason), "%s", err.detail[0] ? err.detail
                 : aegis_error_def(d->code)->title);

    } else if (d->msg.subject.len != raw->subject.len
               || memcmp(d->msg.subject.data, raw->subject.data, raw->subject.len) != 0)
    {
        d->code = AEGIS_E_ENVELOPE;
        snprintf(d->reason, sizeof(d->reason), "The type %.*s came on the subject %.*s.",
                 (int) d->msg.subject.len, d->msg.subject.data,
                 (int) raw->subject.len, raw->subject.data);
    }

    aegis_error_clear(&err);
    return d->code == AEGIS_E_OK;
}

/* From here on the role's effects are below the span of its message. */
static void
aegis_loop_trace_begin(aegis_loop_t *loop, size_t n)
{
    size_t               i;
    aegis_loop_trace_t  *t;
    aegis_delivery_t    *d;

    for (i = 0; loop->traces != NULL && i < n; i++) {
        d = &loop->d[i];
        t = &loop->traces[i];
        t->context[0] = '\0';
        t->begun = aegis_otel_begin(&t->span, d->msg.traceparent, AEGIS_SPAN_CONSUMER,
                                    t->context, "process %.*s", (int) d->msg.subject.len,
                                    d->msg.subject.data);
        if (t->context[0]) {
            d->msg.traceparent = aegis_view(t->context);
        }
    }
}

static void
aegis_loop_trace_end(aegis_loop_t *loop, size_t i, size_t n, aegis_code_t rc)
{
    const char          *role;
    aegis_code_t         code;
    aegis_loop_trace_t  *t;
    aegis_delivery_t    *d;

    t = loop->traces ? &loop->traces[i] : NULL;
    if (t == NULL || !t->begun) {
        return;
    }

    d = &loop->d[i];
    role = loop->w.role->name;
    code = rc != AEGIS_E_OK ? rc : d->code;

    aegis_otel_message(&t->span, aegis_conf_transport(loop->w.conf, d->msg.subject), "process",
                       d->msg.subject, d->msg.id, d->msg.tenant, d->msg.case_id);
    aegis_span_str(&t->span, "aegis.role", aegis_view(role));
    aegis_span_int(&t->span, "messaging.batch.message_count", (int64_t) n);
    aegis_span_int(&t->span, "aegis.deliveries", d->raw->deliveries);
    aegis_otel_end(&t->span, aegis_error_def(code)->verdict == AEGIS_VERDICT_DONE ? NULL
                             : aegis_error_def(code)->code);
}

aegis_code_t
aegis_loop_batch(aegis_loop_t *loop, size_t n, aegis_error_t *err)
{
    size_t             i, good, bad;
    int64_t            start;
    aegis_code_t       rc;
    aegis_delivery_t   d;

    aegis_metric_observe(loop->batch_size, (double) n);

    /* those that can be read to the front, in order; the others behind them */
    for (i = 0, good = 0, bad = n; i < n; i++) {
        if (aegis_loop_decode(&d, &loop->raw[i])) {
            loop->d[good++] = d;
        } else {
            loop->d[--bad] = d;
        }
    }

    rc = AEGIS_E_OK;
    start = aegis_loop_now();

    aegis_loop_trace_begin(loop, good);

    if (good) {
        rc = AEGIS_FP(consumer_after_recv, loop->w.role->name) ? AEGIS_E_UNAVAILABLE
             : loop->w.role->handle(&loop->w, loop->d, good);
        aegis_metric_observe(loop->handle_seconds,
                             (double) (aegis_loop_now() - start) / 1000);
        if (AEGIS_FP(consumer_after_commit, loop->w.role->name)) {
            rc = AEGIS_E_UNAVAILABLE;
        }
    }

    if (rc != AEGIS_E_OK) {
        loop->void_until = aegis_loop_now() + (int64_t) AEGIS_LOOP_NAK_MAX
                           * aegis_conf_int(loop->w.conf, "retry.max_deliveries");
    }

    for (i = 0; i < n; i++) {
        if (i < good) {
            aegis_loop_trace_end(loop, i, good, rc);
        }
        if (rc != AEGIS_E_OK && i < good) {
            aegis_metric_add(loop->unavailable, 1);
            aegis_bus_nak(loop->w.bus, loop->d[i].raw,
                          aegis_loop_nak_delay(loop, loop->d[i].raw->deliveries));
        } else {
            aegis_loop_settle(loop, &loop->d[i]);
        }
        if (loop->d[i].msg.root != NULL) {
            aegis_message_clear(&loop->d[i].msg);
        }
    }

    return rc == AEGIS_E_OK ? rc
           : aegis_error_set(err, rc, "the role could not work on %zu messages", good);
}
