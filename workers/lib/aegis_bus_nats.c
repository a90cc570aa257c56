/*
 * aegis_bus_nats.c: NATS JetStream behind aegis_bus.h: publishing with
 * Nats-Msg-Id and asynchronous acks, pulling with a standing credit.
 * Invariant: published is only set by the broker's ack for that message id; a
 * fetched message is acked only by aegis_bus_ack(). Streams and consumers are
 * made and checked by aegis_bus_nats_setup.c.
 *
 * The pull protocol is spoken here, not by the library's fetch: that one waits
 * for a full batch or its timeout, which costs an idle case its latency. A
 * request for more than one batch stands at the server, so messages arrive
 * while the previous batch is handled. Acks of publishing come to an inbox of
 * our own for a like reason: no callback thread, and the index of the message
 * is in the ack's subject.
 */
#include "aegis_bus_nats.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#define AEGIS_NATS_EXPIRES_MS  5000
#define AEGIS_NATS_SLICE_MS    50
#define AEGIS_NATS_LOOK_MS     2000

static const char  aegis_nats_no_stream[] = "no stream takes this subject";

static int64_t
aegis_nats_now(void)
{
    struct timespec  ts;

    clock_gettime(CLOCK_MONOTONIC, &ts);
    return (int64_t) ts.tv_sec * 1000 + ts.tv_nsec / 1000000;
}

static void
aegis_nats_sleep(int ms)
{
    struct timespec  ts;

    ts.tv_sec = ms / 1000;
    ts.tv_nsec = (long) (ms % 1000) * 1000000;
    nanosleep(&ts, NULL);
}

/* How often the library has reconnected: what was asked before is gone. */
static uint64_t
aegis_nats_reconnects(aegis_nats_t *nats)
{
    uint64_t         in, in_bytes, out, out_bytes, reconnects;

    reconnects = 0;
    (void) natsConnection_GetStats(nats->nc, nats->stats);
    (void) natsStatistics_GetCounts(nats->stats, &in, &in_bytes, &out, &out_bytes,
                                    &reconnects);
    return reconnects;
}

/* UNAVAILABLE while the library reconnects, BAD_GATEWAY when it has given up. */
static aegis_code_t
aegis_nats_state(aegis_nats_t *nats, aegis_error_t *err)
{
    natsConnStatus  s;

    s = natsConnection_Status(nats->nc);
    if (s == NATS_CONN_STATUS_CONNECTED) {
        return AEGIS_E_OK;
    }
    if (s == NATS_CONN_STATUS_CLOSED) {
        return aegis_error_set(err, AEGIS_E_BAD_GATEWAY, "nats: connection closed");
    }

    return aegis_error_set(err, AEGIS_E_UNAVAILABLE, "nats: disconnected, reconnecting");
}

/* As a C string: in buf, or allocated when it is too long for it. */
static char *
aegis_nats_text(aegis_str_t s, char *buf, size_t size)
{
    char  *p;

    p = s.len < size ? buf : malloc(s.len + 1);
    if (p != NULL) {
        memcpy(p, s.data, s.len);
        p[s.len] = '\0';
    }

    return p;
}

/* Send one message; its ack will come to <inbox of acks>.<generation>.<index>. */
static natsStatus
aegis_nats_send(aegis_nats_t *nats, const aegis_bus_out_t *out, size_t index)
{
    char        *subject, *id, reply[128], on_stack[2][256];
    natsMsg     *msg;
    natsStatus   s;

    msg = NULL;
    subject = aegis_nats_text(out->subject, on_stack[0], sizeof(on_stack[0]));
    id = aegis_nats_text(out->id, on_stack[1], sizeof(on_stack[1]));
    snprintf(reply, sizeof(reply), "%s.%u.%zu", nats->acks_inbox, nats->generation,
             index);

    s = (subject && id) ? natsMsg_Create(&msg, subject, reply, out->body.data,
                                         (int) out->body.len) : NATS_NO_MEMORY;
    if (s == NATS_OK) {
        s = natsMsgHeader_Set(msg, "Nats-Msg-Id", id);
    }
    if (s == NATS_OK) {
        s = natsMsgHeader_Set(msg, "Content-Type", "application/cloudevents+json");
    }
    if (s == NATS_OK) {
        s = natsConnection_PublishMsg(nats->nc, msg);
    }

    natsMsg_Destroy(msg);
    if (subject != on_stack[0]) {
        free(subject);
    }
    if (id != on_stack[1]) {
        free(id);
    }
    return s;
}

/* Which message of this batch an ack answers; n when it is an old one's. */
static size_t
aegis_nats_acked(aegis_nats_t *nats, natsMsg *m, size_t n)
{
    char           *end;
    size_t          index;
    unsigned long   generation;

    generation = strtoul(natsMsg_GetSubject(m) + strlen(nats->acks_inbox) + 1, &end, 10);
    index = end[0] == '.' && end[1] != '\0' ? strtoul(end + 1, &end, 10) : n;
    return generation == nats->generation && end[0] == '\0' && index < n ? index : n;
}

/* A publish ack: {"stream", "seq"}, or {"error": {…}}, or a status. 1: stored. */
static int
aegis_nats_stored(natsMsg *m, char *why, size_t size)
{
    int          len, stored;
    json_t      *root;
    const char  *data, *text;

    static const char  good[] = "{\"stream\":\"";

    data = natsMsg_GetData(m);
    len = natsMsg_GetDataLength(m);

    /* as the server writes it when all is well; whatever looks otherwise is parsed */
    if (data != NULL && len > (int) sizeof(good) && data[len - 1] == '}'
        && memcmp(data, good, sizeof(good) - 1) == 0
        && memmem(data, (size_t) len, "error", 5) == NULL
        && memchr(data, '\\', (size_t) len) == NULL)
    {
        return 1;
    }

    root = json_loadb(data ? data : "", (size_t) len, 0, NULL);
    text = json_string_value(json_object_get(json_object_get(root, "error"),
                                             "description"));
    stored = json_object_get(root, "stream") != NULL
             && json_object_get(root, "error") == NULL;
    if (!stored) {
        snprintf(why, size, "%s", text ? text : "not a publish ack");
    }

    json_decref(root);
    return stored;
}

/* Take acks until every sent message has its own, or the time is over. */
static void
aegis_nats_acks(aegis_nats_t *nats, aegis_bus_out_t *out, size_t sent,
    int64_t deadline, char *why, size_t size)
{
    size_t       i, answered;
    int64_t      left;
    uint64_t     reconnects;
    natsMsg     *m;
    natsStatus   s;

    answered = 0;
    reconnects = aegis_nats_reconnects(nats);

    while (answered < sent) {
        left = deadline - aegis_nats_now();
        if (left <= 0) {
            snprintf(why, size, "no ack in time");
            return;
        }

        s = natsSubscription_NextMsg(&m, nats->acks,
                left < AEGIS_NATS_SLICE_MS ? left : AEGIS_NATS_SLICE_MS);
        if (s == NATS_TIMEOUT) {
            if (natsConnection_Status(nats->nc) != NATS_CONN_STATUS_CONNECTED
                || reconnects != aegis_nats_reconnects(nats))
            {
                snprintf(why, size, "disconnected before the ack");
                return;                 /* acks of before are not coming */
            }
            continue;
        }
        if (s == NATS_SLOW_CONSUMER) {
            continue;
        }
        if (s == NATS_NO_RESPONDERS) {
            answered++;                 /* whose it was is not said: not stored */
            snprintf(why, size, "%s", aegis_nats_no_stream);
            continue;
        }
        if (s != NATS_OK) {
            snprintf(why, size, "%s", natsStatus_GetText(s));
            return;
        }

        i = aegis_nats_acked(nats, m, sent);
        if (i < sent) {
            answered++;
            out[i].published = aegis_nats_stored(m, why, size);
        }
        natsMsg_Destroy(m);
    }
}

static aegis_code_t
aegis_nats_publish(void *self, aegis_bus_out_t *out, size_t n, int timeout_ms,
    aegis_error_t *err)
{
    char           why[160];
    size_t         i, sent;
    natsStatus     s;
    aegis_code_t   rc;
    aegis_nats_t  *nats;

    nats = self;
    rc = aegis_nats_state(nats, err);
    if (rc != AEGIS_E_OK) {
        return rc;
    }

    why[0] = '\0';

    for (sent = 0, s = NATS_OK; sent < n; sent++) {
        s = aegis_nats_send(nats, &out[sent], sent);
        if (s != NATS_OK) {
            break;                      /* in order: nothing after it is sent */
        }
    }

    aegis_nats_acks(nats, out, sent, aegis_nats_now() + timeout_ms, why, sizeof(why));
    if (s != NATS_OK && why[0] == '\0') {
        snprintf(why, sizeof(why), "%s", natsStatus_GetText(s));
    }

    for (i = 0; i < n && out[i].published; i++) { /* void */ }

    /* The subjects of acks come again when nothing is out any more: a server remembers
     * who hears some hundred subjects, and loses them to new ones. One that was not
     * acked may still be: its subject does not come again. */
    if (i == n) {
        nats->generation ^= (nats->generation ^ (nats->generation + 1)) & 3;
        return AEGIS_E_OK;
    }
    nats->generation = (nats->generation | 3) + 1;

    /* without a stream, opening again makes it */
    return aegis_error_set(err, strcmp(why, aegis_nats_no_stream) == 0
                           ? AEGIS_E_BAD_GATEWAY : AEGIS_E_UNAVAILABLE,
        "nats: %.*s: %s", (int) out[i].subject.len, out[i].subject.data, why);
}

/* Is our consumer still there? The server says nothing to a request for one
 * that is not: after a restart without its files we would wait for ever. */
static aegis_code_t
aegis_nats_look(aegis_nats_t *nats, aegis_error_t *err)
{
    int              gone, past;
    jsErrCode        code;
    jsOptions        o;
    natsStatus       s;
    jsConsumerInfo  *info;

    code = 0;
    (void) jsOptions_Init(&o);
    o.Wait = AEGIS_NATS_LOOK_MS;
    info = NULL;

    s = js_GetConsumerInfo(&info, nats->js, aegis_stream(nats->consumer->stream)->name,
                           nats->consumer->durable, &o, &code);
    past = s == NATS_OK && aegis_nats_past(nats, info);
    jsConsumerInfo_Destroy(info);
    nats->suspect = s != NATS_OK;

    if (s == NATS_OK) {
        return past ? aegis_error_set(err, AEGIS_E_BAD_GATEWAY,
                                      "nats: consumer %s is past the end of its stream",
                                      nats->consumer->durable) : AEGIS_E_OK;
    }

    gone = s == NATS_NOT_FOUND || code == JSStreamNotFoundErr
           || code == JSConsumerNotFoundErr;
    return aegis_error_set(err, gone ? AEGIS_E_BAD_GATEWAY : AEGIS_E_UNAVAILABLE,
                           "nats: consumer %s: %s", nats->consumer->durable,
                           gone ? "does not exist" : natsStatus_GetText(s));
}

/* Ask for more, when less than a batch is promised. */
static aegis_code_t
aegis_nats_ask(aegis_nats_t *nats, size_t max, aegis_error_t *err)
{
    char          text[128];
    int64_t       now;
    uint64_t      reconnects;
    aegis_code_t  rc;

    now = aegis_nats_now();
    reconnects = aegis_nats_reconnects(nats);

    /* a request ends with a status; one that does not was lost */
    if (reconnects != nats->reconnects
        || (nats->credit > 0 && now - nats->asked_at > AEGIS_NATS_EXPIRES_MS + 1000))
    {
        nats->reconnects = reconnects;
        nats->credit = 0;
        nats->suspect = 1;
    }

    if (nats->credit >= (int) max) {
        return AEGIS_E_OK;
    }

    rc = nats->suspect ? aegis_nats_look(nats, err) : AEGIS_E_OK;
    if (rc != AEGIS_E_OK) {
        return rc;
    }

    snprintf(text, sizeof(text), "{\"batch\":%d,\"expires\":%lld}",
             (int) max * 2 - nats->credit, AEGIS_NATS_EXPIRES_MS * 1000000LL);
    if (natsConnection_PublishRequestString(nats->nc, nats->next, nats->inbox, text)
        == NATS_OK)
    {
        nats->credit = (int) max * 2;
        nats->asked_at = now;
    }

    return AEGIS_E_OK;
}

/* A status message ends a request, or says that the consumer is gone. */
static aegis_code_t
aegis_nats_status(aegis_nats_t *nats, natsMsg *msg, aegis_error_t *err)
{
    int          left;
    const char  *status, *text, *pending;

    if (natsMsgHeader_Get(msg, "Status", &status) != NATS_OK) {
        return AEGIS_E_OK;              /* nothing of ours */
    }
    if (natsMsgHeader_Get(msg, "Description", &text) != NATS_OK) {
        text = "";
    }

    left = nats->credit;
    if (natsMsgHeader_Get(msg, "Nats-Pending-Messages", &pending) == NATS_OK) {
        left = atoi(pending);
    }

    nats->credit = left < nats->credit ? nats->credit - left : 0;

    if (strcmp(status, "409") == 0 && strstr(text, "Deleted") != NULL) {
        return aegis_error_set(err, AEGIS_E_BAD_GATEWAY,
            "nats: no consumer %s on %s: %s %s", nats->consumer->durable,
            aegis_stream(nats->consumer->stream)->name, status, text);
    }

    return AEGIS_E_OK;
}

/* $JS.ACK.<stream>.<consumer>.<delivered>.…, since 2.10 with domain and account
 * before the stream. 0 when it is not such a subject. */
static int
aegis_nats_delivered(const char *reply)
{
    int          n;
    const char  *p, *at[16];

    if (reply == NULL || strncmp(reply, "$JS.ACK.", 8) != 0) {
        return 0;
    }

    at[0] = reply;
    for (p = reply, n = 1; *p && n < 16; p++) {
        if (*p == '.') {
            at[n++] = p + 1;
        }
    }

    n = n >= 11 ? atoi(at[6]) : n == 9 ? atoi(at[4]) : 1;
    return n > 0 ? n : 1;
}

static aegis_str_t
aegis_nats_id(void *handle)
{
    const char  *id;

    return natsMsgHeader_Get(handle, "Nats-Msg-Id", &id) == NATS_OK ? aegis_view(id)
           : aegis_str("");
}

static void
aegis_nats_message(natsMsg *m, int deliveries, aegis_bus_msg_t *msg)
{
    msg->subject = (aegis_str_t) { strlen(natsMsg_GetSubject(m)), natsMsg_GetSubject(m) };
    msg->body = (aegis_str_t) { (size_t) natsMsg_GetDataLength(m),
                                natsMsg_GetData(m) ? natsMsg_GetData(m) : "" };
    msg->deliveries = deliveries;
    msg->handle = m;
    msg->id = aegis_nats_id;
}

static aegis_code_t
aegis_nats_fetch(void *self, aegis_bus_msg_t *msgs, size_t max, int timeout_ms,
    size_t *ret_n, aegis_error_t *err)
{
    int            ask, deliveries;
    size_t         n;
    int64_t        deadline, left;
    natsMsg       *m;
    natsStatus     s;
    aegis_code_t   rc;
    aegis_nats_t  *nats;

    n = 0;
    nats = self;
    deadline = aegis_nats_now() + timeout_ms;

    while ((rc = aegis_nats_state(nats, err)) == AEGIS_E_UNAVAILABLE) {
        if (aegis_nats_now() >= deadline) {
            break;
        }
        aegis_nats_sleep(AEGIS_NATS_SLICE_MS);
    }

    for (ask = 1; rc == AEGIS_E_OK && n < max; ) {
        /* what is promised is enough for this batch, unless a request has ended */
        rc = ask ? aegis_nats_ask(nats, max, err) : AEGIS_E_OK;
        if (rc != AEGIS_E_OK) {
            break;
        }

        ask = 0;
        left = n ? 0 : deadline - aegis_nats_now();
        s = natsSubscription_NextMsg(&m, nats->sub, left < 0 ? 0 : left);
        if (s == NATS_TIMEOUT) {
            break;
        }
        if (s == NATS_SLOW_CONSUMER) {
            ask = 1;
            continue;                   /* said once; what was dropped comes again */
        }
        if (s != NATS_OK) {
            /* NATS_NO_RESPONDERS: the consumer, or its stream, is gone */
            rc = aegis_error_set(err, AEGIS_E_BAD_GATEWAY, "nats: consumer %s: %s",
                                 nats->consumer->durable, natsStatus_GetText(s));
            break;
        }

        deliveries = aegis_nats_delivered(natsMsg_GetReply(m));
        if (deliveries == 0) {
            rc = aegis_nats_status(nats, m, err);
            natsMsg_Destroy(m);
            ask = 1;
            continue;
        }

        nats->credit--;
        aegis_nats_message(m, deliveries, &msgs[n++]);
    }

    /* what was taken is handled first; the trouble shows again next time */
    *ret_n = n;
    return n ? AEGIS_E_OK : rc;
}

static void
aegis_nats_ack(void *self, aegis_bus_msg_t *msg)
{
    natsMsg       *m;
    aegis_nats_t  *nats;

    m = msg->handle;
    nats = self;

    if (nats != NULL) {
        (void) natsConnection_PublishString(nats->nc, natsMsg_GetReply(m), "+ACK");
    }
    natsMsg_Destroy(m);
    msg->handle = NULL;
}

static void
aegis_nats_nak(void *self, aegis_bus_msg_t *msg, int delay_ms)
{
    char           text[64];
    natsMsg       *m;
    aegis_nats_t  *nats;

    m = msg->handle;
    nats = self;

    if (nats != NULL) {
        snprintf(text, sizeof(text), "-NAK {\"delay\": %lld}", delay_ms * 1000000LL);
        (void) natsConnection_PublishString(nats->nc, natsMsg_GetReply(m), text);
    }
    natsMsg_Destroy(m);
    msg->handle = NULL;
}

/* Give back what was delivered here and not taken, then flush the acks. */
static void
aegis_nats_close(void *self)
{
    natsMsg          *m;
    aegis_nats_t     *nats;
    aegis_bus_msg_t   msg;

    nats = self;

    if (nats->sub != NULL) {
        while (natsSubscription_NextMsg(&m, nats->sub, 0) == NATS_OK) {
            if (aegis_nats_delivered(natsMsg_GetReply(m)) > 0) {
                msg.handle = m;
                aegis_nats_nak(nats, &msg, 0);
            } else {
                natsMsg_Destroy(m);
            }
        }
    }

    if (nats->nc != NULL && natsConnection_Status(nats->nc) == NATS_CONN_STATUS_CONNECTED) {
        (void) natsConnection_FlushTimeout(nats->nc, 1000);
    }

    aegis_nats_destroy(nats);
}

static aegis_code_t
aegis_nats_open(const aegis_conf_t *conf, const aegis_consumer_t *consumer,
    void **ret_self, aegis_error_t *err)
{
    aegis_code_t   rc;
    aegis_nats_t  *nats;

    rc = aegis_nats_setup(conf, consumer, &nats, err);
    if (rc == AEGIS_E_OK) {
        *ret_self = nats;
    }

    return rc;
}

const aegis_transport_t  aegis_transport_nats = {
    "nats",
    aegis_nats_open,
    aegis_nats_close,
    aegis_nats_publish,
    aegis_nats_fetch,
    aegis_nats_ack,
    aegis_nats_nak
};
