/*
 * aegis_bus_nats_setup.c: the connection to NATS, and its streams and
 * consumers as streams.def and consumers.def say.
 * Invariant: what exists and can be changed is changed to the tables; what
 * cannot be changed (storage, retention) is refused with its name, never
 * deleted: there may be messages in it.
 */
#include "aegis_bus_nats.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "aegis_log.h"

#define AEGIS_NATS_SUBJECTS      16
#define AEGIS_NATS_SERVERS       16
#define AEGIS_NATS_DUPLICATES_NS (120 * 1000000000LL)

static aegis_code_t
aegis_nats_error(const char *what, natsStatus s, aegis_error_t *err)
{
    const char  *text, *end;

    text = nats_GetLastError(NULL);
    text = text && text[0] ? text : natsStatus_GetText(s);

    /* the library says where in itself it happened: "(jsm.c:1033): …" */
    end = text[0] == '(' ? strstr(text, "): ") : NULL;
    text = end ? end + 3 : text;

    return aegis_error_set(err, AEGIS_E_UNAVAILABLE, "nats: %s: %s%s", what, text,
        strstr(text, "insufficient storage") ? "; the streams reserve 5 GiB: raise"
        " jetstream max_file_store in the server's configuration" : "");
}

void
aegis_nats_destroy(aegis_nats_t *nats)
{
    if (nats == NULL) {
        return;
    }

    natsSubscription_Destroy(nats->sub);
    natsSubscription_Destroy(nats->acks);
    natsInbox_Destroy(nats->inbox);
    natsInbox_Destroy(nats->acks_inbox);
    jsCtx_Destroy(nats->js);
    if (nats->nc != NULL) {
        natsConnection_Close(nats->nc);
        natsConnection_Destroy(nats->nc);
    }
    natsStatistics_Destroy(nats->stats);
    free(nats);
}

/* "nats://a:4222,nats://b:4222": the members of a cluster. */
static natsStatus
aegis_nats_servers(natsOptions *o, const char *urls)
{
    int          n;
    char         text[2048], *one, *save;
    const char  *list[AEGIS_NATS_SERVERS];

    snprintf(text, sizeof(text), "%s", urls);
    for (n = 0, one = strtok_r(text, ", ", &save); one && n < AEGIS_NATS_SERVERS;
         one = strtok_r(NULL, ", ", &save))
    {
        list[n++] = one;
    }

    return n ? natsOptions_SetServers(o, list, n) : NATS_ADDRESS_MISSING;
}

static aegis_code_t
aegis_nats_connect(const aegis_conf_t *conf, aegis_nats_t *nats, aegis_error_t *err)
{
    char          ca[4096], creds[4096];
    natsStatus    s;
    natsOptions  *o;

    o = NULL;
    (void) aegis_conf_path(conf, "bus.nats.ca_file", ca);
    (void) aegis_conf_path(conf, "bus.nats.creds_file", creds);

    if ((s = natsOptions_Create(&o)) == NATS_OK
        && (s = aegis_nats_servers(o, aegis_conf_str(conf, "bus.nats.url"))) == NATS_OK
        && (s = natsOptions_SetName(o, nats->consumer ? nats->consumer->durable
                                                      : "aegis-relay")) == NATS_OK
        && (s = natsOptions_SetTimeout(o, 2000)) == NATS_OK
        && (s = natsOptions_SetPingInterval(o, 10000)) == NATS_OK
        && (s = natsOptions_SetMaxReconnect(o, -1)) == NATS_OK
        && (s = natsOptions_SetReconnectWait(o, 200)) == NATS_OK
        && (s = natsOptions_SetReconnectJitter(o, 300, 500)) == NATS_OK
        && (s = natsOptions_SetReconnectBufSize(o, 1024 * 1024)) == NATS_OK
        && (s = natsOptions_SetFailRequestsOnDisconnect(o, true)) == NATS_OK
        && ca[0] && (s = natsOptions_SetSecure(o, true)) == NATS_OK)
    {
        s = natsOptions_LoadCATrustedCertificates(o, ca);
    }
    if (s == NATS_OK && creds[0]) {
        s = natsOptions_SetUserCredentialsFromFiles(o, creds, NULL);
    }
    if (s == NATS_OK) {
        s = natsConnection_Connect(&nats->nc, o);
    }

    natsOptions_Destroy(o);
    return s == NATS_OK ? AEGIS_E_OK : aegis_nats_error("connect", s, err);
}

/* Does a route send any subject of the stream over NATS? */
static int
aegis_nats_wanted(const aegis_conf_t *conf, aegis_stream_id_t id)
{
    size_t                  i, n;
    const aegis_subject_t  *s;

    s = aegis_subjects(&n);
    for (i = 0; i < n; i++) {
        if (s[i].stream == id
            && strcmp(aegis_conf_transport(conf, (aegis_str_t) { strlen(s[i].subject),
                      s[i].subject }), "nats") == 0)
        {
            return 1;
        }
    }

    return 0;
}

static int
aegis_nats_stream_same(const jsStreamConfig *a, const jsStreamConfig *b)
{
    int  i, k;

    if (a->MaxAge != b->MaxAge || a->MaxBytes != b->MaxBytes
        || a->Replicas != b->Replicas || a->Duplicates != b->Duplicates
        || a->Discard != b->Discard || a->SubjectsLen != b->SubjectsLen)
    {
        return 0;
    }

    for (i = 0; i < a->SubjectsLen; i++) {
        for (k = 0; k < b->SubjectsLen
                    && strcmp(a->Subjects[i], b->Subjects[k]) != 0; k++) { /* void */ }
        if (k == b->SubjectsLen) {
            return 0;
        }
    }

    return 1;
}

static aegis_code_t
aegis_nats_stream(aegis_nats_t *nats, const aegis_stream_t *stream, int64_t replicas,
    aegis_error_t *err)
{
    char            what[160], text[512], *one, *save;
    jsErrCode       code;
    natsStatus      s;
    const char     *subjects[AEGIS_NATS_SUBJECTS];
    jsStreamInfo   *info;
    jsStreamConfig  cfg;
    aegis_code_t    rc;

    (void) jsStreamConfig_Init(&cfg);
    snprintf(text, sizeof(text), "%s", stream->subjects);
    snprintf(what, sizeof(what), "stream %s", stream->name);

    for (one = strtok_r(text, " ", &save); one && cfg.SubjectsLen < AEGIS_NATS_SUBJECTS;
         one = strtok_r(NULL, " ", &save))
    {
        subjects[cfg.SubjectsLen++] = one;
    }

    cfg.Name = stream->name;
    cfg.Subjects = subjects;
    cfg.Retention = js_LimitsPolicy;
    cfg.Discard = js_DiscardOld;
    cfg.Storage = js_FileStorage;
    cfg.MaxAge = stream->max_age_s * 1000000000LL;
    cfg.MaxBytes = stream->max_mib * 1024 * 1024;
    cfg.Duplicates = AEGIS_NATS_DUPLICATES_NS;
    cfg.Replicas = replicas;

    info = NULL;
    s = js_GetStreamInfo(&info, nats->js, stream->name, NULL, &code);

    if (s == NATS_NOT_FOUND) {
        s = js_AddStream(NULL, nats->js, &cfg, NULL, &code);
        return s == NATS_OK ? AEGIS_E_OK : aegis_nats_error(what, s, err);
    }
    if (s != NATS_OK) {
        return aegis_nats_error(what, s, err);
    }

    rc = AEGIS_E_OK;
    if (info->Config->Storage != js_FileStorage
        || info->Config->Retention != js_LimitsPolicy)
    {
        rc = aegis_error_set(err, AEGIS_E_UNAVAILABLE,
            "nats: %s exists with another storage or retention, which cannot be"
            " changed: it must be file storage with limits retention", what);

    } else if (!aegis_nats_stream_same(info->Config, &cfg)) {
        s = js_UpdateStream(NULL, nats->js, &cfg, NULL, &code);
        rc = s == NATS_OK ? AEGIS_E_OK : aegis_nats_error(what, s, err);
    }

    jsStreamInfo_Destroy(info);
    return rc;
}

int
aegis_nats_past(aegis_nats_t *nats, const jsConsumerInfo *info)
{
    int            past;
    jsErrCode      code;
    jsStreamInfo  *stream;

    stream = NULL;
    if (js_GetStreamInfo(&stream, nats->js, info->Stream, NULL, &code) != NATS_OK) {
        return 0;                       /* what asks next will hear of it */
    }

    past = info->Delivered.Stream > stream->State.LastSeq;
    jsStreamInfo_Destroy(stream);
    return past;
}

static aegis_code_t
aegis_nats_consumer(aegis_nats_t *nats, aegis_error_t *err)
{
    int                      same;
    char                     what[160];
    jsErrCode                code;
    natsStatus               s;
    const char              *stream, *filter;
    jsConsumerInfo          *info;
    jsConsumerConfig         cfg;
    const aegis_consumer_t  *c;

    c = nats->consumer;
    stream = aegis_stream(c->stream)->name;
    snprintf(what, sizeof(what), "consumer %s of %s", c->durable, stream);

    (void) jsConsumerConfig_Init(&cfg);
    cfg.Durable = c->durable;
    cfg.DeliverPolicy = js_DeliverAll;
    cfg.AckPolicy = js_AckExplicit;
    cfg.AckWait = c->ack_wait_s * 1000000000LL;
    cfg.MaxDeliver = -1;
    cfg.MaxAckPending = c->max_unacked;
    cfg.FilterSubject = c->filter[0] ? c->filter : NULL;

    info = NULL;
    same = 0;
    s = js_GetConsumerInfo(&info, nats->js, stream, c->durable, NULL, &code);

    if (s == NATS_OK) {
        filter = info->Config->FilterSubject ? info->Config->FilterSubject : "";
        same = info->Config->AckWait == cfg.AckWait
               && info->Config->MaxAckPending == cfg.MaxAckPending
               && info->Config->MaxDeliver == cfg.MaxDeliver
               && info->Config->AckPolicy == cfg.AckPolicy
               && strcmp(filter, c->filter) == 0;
        if (aegis_nats_past(nats, info)) {
            /* all is delivered again, and the inbox knows what it had */
            aegis_log(AEGIS_LOG_WARN, "bus", "nats-consumer-renewed", "consumer", "%s",
                      c->durable, "why", "it is past the end of its stream", NULL);
            (void) js_DeleteConsumer(nats->js, stream, c->durable, NULL, &code);
            same = 0;
        }
        jsConsumerInfo_Destroy(info);

    } else if (s != NATS_NOT_FOUND) {
        return aegis_nats_error(what, s, err);
    }

    if (!same) {
        s = js_AddConsumer(NULL, nats->js, stream, &cfg, NULL, &code);
    }

    return s == NATS_OK ? AEGIS_E_OK : aegis_nats_error(what, s, err);
}

/* One inbox for the acks of what we publish, one for what we pull. */
static aegis_code_t
aegis_nats_subscribe(aegis_nats_t *nats, aegis_error_t *err)
{
    char        subject[128];
    natsStatus  s;

    s = natsInbox_Create(&nats->acks_inbox);
    if (s == NATS_OK) {
        snprintf(subject, sizeof(subject), "%s.>", nats->acks_inbox);
        s = natsConnection_SubscribeSync(&nats->acks, nats->nc, subject);
    }
    if (s != NATS_OK || nats->consumer == NULL) {
        return s == NATS_OK ? AEGIS_E_OK : aegis_nats_error("subscribe", s, err);
    }

    snprintf(nats->next, sizeof(nats->next), "$JS.API.CONSUMER.MSG.NEXT.%s.%s",
             aegis_stream(nats->consumer->stream)->name, nats->consumer->durable);

    s = natsInbox_Create(&nats->inbox);
    if (s == NATS_OK) {
        s = natsConnection_SubscribeSync(&nats->sub, nats->nc, nats->inbox);
    }
    if (s == NATS_OK) {
        /* no more than was asked for can come, and what is asked is bounded */
        s = natsSubscription_SetPendingLimits(nats->sub, 8192, 256 * 1024 * 1024);
    }

    return s == NATS_OK ? AEGIS_E_OK : aegis_nats_error("subscribe", s, err);
}

aegis_code_t
aegis_nats_setup(const aegis_conf_t *conf, const aegis_consumer_t *consumer,
    aegis_nats_t **ret_nats, aegis_error_t *err)
{
    int            i;
    jsOptions      o;
    natsStatus     s;
    aegis_code_t   rc;
    aegis_nats_t  *nats;

    nats = calloc(1, sizeof(aegis_nats_t));
    if (nats == NULL) {
        return aegis_error_set(err, AEGIS_E_UNAVAILABLE, "no memory");
    }

    nats->consumer = consumer;
    rc = aegis_nats_connect(conf, nats, err);

    if (rc == AEGIS_E_OK) {
        (void) jsOptions_Init(&o);
        o.Wait = 5000;
        s = natsStatistics_Create(&nats->stats);
        if (s == NATS_OK) {
            s = natsConnection_JetStream(&nats->js, nats->nc, &o);
        }
        rc = s == NATS_OK ? AEGIS_E_OK : aegis_nats_error("jetstream", s, err);
    }

    for (i = 0; rc == AEGIS_E_OK && i < AEGIS_N_STREAMS; i++) {
        if (aegis_nats_wanted(conf, (aegis_stream_id_t) i)) {
            rc = aegis_nats_stream(nats, aegis_stream((aegis_stream_id_t) i),
                                   aegis_conf_int(conf, "bus.nats.replicas"), err);
        }
    }

    if (rc == AEGIS_E_OK && consumer != NULL) {
        rc = aegis_nats_consumer(nats, err);
    }
    if (rc == AEGIS_E_OK) {
        rc = aegis_nats_subscribe(nats, err);
    }

    if (rc != AEGIS_E_OK) {
        aegis_nats_destroy(nats);
        return rc;
    }

    *ret_nats = nats;
    return AEGIS_E_OK;
}
