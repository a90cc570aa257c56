/*
 * aegis_ctl_doctor_bus.c: the doctor's look at the bus: is each transport that
 * the routes use reachable, and does NATS have the streams and consumers of
 * core/tables. It asks with the client libraries alone, because the workers'
 * own bus would create what is missing.
 */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <librdkafka/rdkafka.h>
#include <nats/nats.h>

#include "aegis_bus_kafka_security.h"
#include "aegis_ctl_doctor.h"
#include "aegis_event.h"

#define WAIT_MS  3000


/* Which transport carries a stream, by its first subject. */
static const char *
transport_of(const aegis_doctor_t *d, aegis_stream_id_t id)
{
    const char  *subjects = aegis_stream(id)->subjects;
    char         first[128];

    if (d->conf == NULL) {
        return getenv("KAFKA_BROKERS") != NULL && getenv("KAFKA_BROKERS")[0] != '\0'
               && strncmp(subjects, "evt.", 4) == 0 ? "kafka" : "nats";
    }
    snprintf(first, sizeof(first), "%.*s", (int) strcspn(subjects, " "), subjects);
    return aegis_conf_transport(d->conf, aegis_view(first));
}


static natsConnection *
nats_open(const char *url, const aegis_conf_t *conf, const char **ret_why)
{
    natsConnection  *nc = NULL;
    natsOptions     *opts = NULL;
    natsStatus       s;

    s = natsOptions_Create(&opts);
    if (s == NATS_OK) {
        s = natsOptions_SetURL(opts, url);
    }
    if (s == NATS_OK) {
        natsOptions_SetTimeout(opts, WAIT_MS);
        natsOptions_SetAllowReconnect(opts, false);
        natsOptions_SetName(opts, "aegisctl");
        if (conf != NULL && aegis_conf_str(conf, "bus.nats.ca_file")[0] != '\0') {
            char  path[4096];

            s = natsOptions_LoadCATrustedCertificates(opts,
                    aegis_conf_path(conf, "bus.nats.ca_file", path));
        }
        if (s == NATS_OK && conf != NULL
            && aegis_conf_str(conf, "bus.nats.creds_file")[0] != '\0')
        {
            char  path[4096];

            s = natsOptions_SetUserCredentialsFromFiles(opts,
                    aegis_conf_path(conf, "bus.nats.creds_file", path), NULL);
        }
    }
    if (s == NATS_OK) {
        s = natsConnection_Connect(&nc, opts);
    }
    natsOptions_Destroy(opts);
    *ret_why = natsStatus_GetText(s);
    return s == NATS_OK ? nc : NULL;
}


/*
 * A server that lost the end of a stream but not its consumers' positions gives
 * them nothing until the stream has grown past these. Reads the stream after the
 * consumer, so that what is published meanwhile does not look like it.
 */
static int
is_ahead(jsCtx *js, const char *stream, const jsConsumerInfo *ci)
{
    jsStreamInfo  *si = NULL;
    int            ahead;

    if (js_GetStreamInfo(&si, js, stream, NULL, NULL) != NATS_OK) {
        return 0;
    }
    ahead = ci->Delivered.Stream > si->State.LastSeq;
    jsStreamInfo_Destroy(si);
    return ahead;
}


static void
check_stream(aegis_doctor_t *d, jsCtx *js, aegis_stream_id_t id)
{
    const aegis_stream_t    *st = aegis_stream(id);
    const aegis_consumer_t  *c;
    jsConsumerInfo          *ci;
    jsStreamInfo            *si = NULL;
    jsErrCode                code = 0;
    size_t                   i, n, len;
    char                     text[400];

    if (js_GetStreamInfo(&si, js, st->name, NULL, &code) != NATS_OK) {
        aegis_doctor_add(d, st->name, "fail", "start the relay: it creates the streams; can the"
                         " NATS user do so?", "the stream is not there (JetStream error %d)",
                         (int) code);
        return;
    }
    len = (size_t) snprintf(text, sizeof(text), "%llu messages",
                            (unsigned long long) si->State.Msgs);
    jsStreamInfo_Destroy(si);

    c = aegis_consumers(&n);
    for (i = 0; i < n; i++) {
        if (c[i].stream != id) {
            continue;
        }
        ci = NULL;
        if (js_GetConsumerInfo(&ci, js, st->name, c[i].durable, NULL, &code) != NATS_OK) {
            aegis_doctor_add(d, st->name, "fail", "start that role: it creates its consumer",
                             "the consumer %s is not there", c[i].durable);
            return;
        }
        if (is_ahead(js, st->name, ci)) {
            aegis_doctor_add(d, st->name, "fail", "JetStream lost messages: delete this consumer"
                             " (nats consumer rm) and restart its role, which makes it again",
                             "the consumer %s is past the stream's end and gets no messages",
                             c[i].durable);
            jsConsumerInfo_Destroy(ci);
            return;
        }
        if (len < sizeof(text)) {
            len += (size_t) snprintf(text + len, sizeof(text) - len, ", %s %llu+%lld",
                c[i].durable, (unsigned long long) ci->NumPending, (long long) ci->NumAckPending);
        }
        jsConsumerInfo_Destroy(ci);
    }
    aegis_doctor_add(d, st->name, "ok", NULL, "%s", text);
}


static void
check_nats(aegis_doctor_t *d)
{
    const char      *url = getenv("NATS_URL"), *why;
    natsConnection  *nc;
    jsOptions        opts;
    jsCtx           *js = NULL;
    int              i;

    if (d->conf != NULL) {
        url = aegis_conf_str(d->conf, "bus.nats.url");
    }
    if (url == NULL || url[0] == '\0') {
        aegis_doctor_add(d, "nats", "skip", "set NATS_URL or give -c", "no address is known");
        return;
    }
    nc = nats_open(url, d->conf, &why);
    if (nc == NULL) {
        aegis_doctor_add(d, "nats", "fail", "is nats-server running at that address? cases wait,"
                         " nothing is lost", "%s", why);
        nats_Close();
        return;
    }
    aegis_doctor_add(d, "nats", "ok", NULL, "reachable");

    jsOptions_Init(&opts);
    opts.Wait = WAIT_MS;
    if (natsConnection_JetStream(&js, nc, &opts) == NATS_OK) {
        for (i = 0; i < AEGIS_N_STREAMS; i++) {
            if (strcmp(transport_of(d, (aegis_stream_id_t) i), "nats") == 0) {
                check_stream(d, js, (aegis_stream_id_t) i);
            }
        }
    }
    jsCtx_Destroy(js);
    natsConnection_Destroy(nc);
    nats_Close();
}


static void
check_kafka(aegis_doctor_t *d)
{
    const struct rd_kafka_metadata  *md = NULL;
    const char                      *brokers = getenv("KAFKA_BROKERS");
    rd_kafka_resp_err_t              rc;
    rd_kafka_conf_t                 *conf;
    rd_kafka_t                      *rk;
    char                             why[256];
    aegis_error_t                    err = AEGIS_ERROR_INIT;
    aegis_kafka_security_t           security = { 0 };

    if (d->conf != NULL) {
        brokers = aegis_conf_str(d->conf, "bus.kafka.brokers");
    }
    if (brokers == NULL || brokers[0] == '\0') {
        aegis_doctor_add(d, "kafka", "fail", "set bus.kafka.brokers", "a route names kafka, but"
                         " no brokers are known");
        return;
    }
    conf = rd_kafka_conf_new();
    rd_kafka_conf_set(conf, "bootstrap.servers", brokers, why, sizeof(why));
    rd_kafka_conf_set(conf, "log_level", "0", why, sizeof(why));
    if (d->conf != NULL) {
        if (aegis_kafka_security_read(&security, d->conf, &err) != AEGIS_E_OK
            || aegis_kafka_security_set(&security, conf, why, sizeof(why)) != 0)
        {
            aegis_doctor_add(d, "kafka", "fail", "correct bus.kafka", "%s",
                             err.code != AEGIS_E_OK ? err.detail : why);
            aegis_kafka_security_free(&security);
            aegis_error_clear(&err);
            rd_kafka_conf_destroy(conf);
            return;
        }
        aegis_kafka_security_free(&security);
    }
    rk = rd_kafka_new(RD_KAFKA_PRODUCER, conf, why, sizeof(why));
    if (rk == NULL) {
        rd_kafka_conf_destroy(conf);
        aegis_doctor_add(d, "kafka", "fail", "correct bus.kafka", "%s", why);
        return;
    }
    rc = rd_kafka_metadata(rk, 0, NULL, &md, 2 * WAIT_MS);
    if (rc == RD_KAFKA_RESP_ERR_NO_ERROR) {
        aegis_doctor_add(d, "kafka", "ok", NULL, "%d brokers", md->broker_cnt);
        rd_kafka_metadata_destroy(md);
    } else {
        aegis_doctor_add(d, "kafka", "fail", "are the brokers running at that address? cases wait,"
                         " nothing is lost", "%s: %s", brokers, rd_kafka_err2str(rc));
    }
    rd_kafka_destroy(rk);
}


void
aegis_doctor_bus(aegis_doctor_t *d)
{
    int  i, nats = 0, kafka = 0;

    for (i = 0; i < AEGIS_N_STREAMS; i++) {
        if (strcmp(transport_of(d, (aegis_stream_id_t) i), "kafka") == 0) {
            kafka = 1;
        } else {
            nats = 1;
        }
    }
    if (nats) {
        check_nats(d);
    }
    if (kafka) {
        check_kafka(d);
    }
}
