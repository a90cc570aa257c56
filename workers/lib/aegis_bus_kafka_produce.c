/*
 * aegis_bus_kafka_produce.c: topics, and publishing to Kafka: acks=all,
 * idempotent, keyed by case.
 * Invariant: published is only set by a delivery report without error for that
 * message. After a fatal error, or with reports missing at the deadline, the
 * producer is made anew: this version of the library cannot go on with it, and
 * what was in doubt is published again (consumers dedupe by message id).
 */
#include "aegis_bus_kafka.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "aegis_failpoint.h"
#include "aegis_log.h"

int64_t
aegis_kafka_now(void)
{
    struct timespec  ts;

    clock_gettime(CLOCK_MONOTONIC, &ts);
    return (int64_t) ts.tv_sec * 1000 + ts.tv_nsec / 1000000;
}

static void
aegis_kafka_log(const rd_kafka_t *rk, int level, const char *fac, const char *text)
{
    aegis_log(AEGIS_LOG_DEBUG, "bus", "kafka", "facility", "%s", fac, "text", "%s",
              text, NULL);
}

/* A broker that cannot be reached, or refuses: librdkafka says why only here, the
 * message's own end is that it timed out. Runs inside rd_kafka_poll(). */
static void
aegis_kafka_producer_trouble(rd_kafka_t *rk, int code, const char *reason, void *opaque)
{
    aegis_kafka_t  *kafka;

    kafka = opaque;
    if (code != RD_KAFKA_RESP_ERR__ALL_BROKERS_DOWN || kafka->trouble[0] == '\0') {
        snprintf(kafka->trouble, sizeof(kafka->trouble), "%s", reason);
    }
}

rd_kafka_conf_t *
aegis_kafka_conf(aegis_kafka_t *kafka, const char *const *settings, aegis_error_t *err)
{
    int               i;
    char              text[200];
    rd_kafka_conf_t  *conf;

    const char  *common[] = { "bootstrap.servers", kafka->brokers,
                              "client.id", "aegis",
                              "socket.keepalive.enable", "true",
                              "socket.timeout.ms", "10000",
                              "reconnect.backoff.max.ms", "2000",
                              "topic.metadata.refresh.interval.ms", "60000", NULL };

    conf = rd_kafka_conf_new();
    rd_kafka_conf_set_opaque(conf, kafka);
    rd_kafka_conf_set_log_cb(conf, aegis_kafka_log);

    for (i = 0; common[i] != NULL; i += 2) {
        if (rd_kafka_conf_set(conf, common[i], common[i + 1], text, sizeof(text)) != 0) {
            goto failed;
        }
    }
    if (aegis_kafka_security_set(&kafka->security, conf, text, sizeof(text)) != 0) {
        goto failed;
    }
    for (i = 0; settings[i] != NULL; i += 2) {
        if (rd_kafka_conf_set(conf, settings[i], settings[i + 1], text, sizeof(text))
            != 0)
        {
            goto failed;
        }
    }

    return conf;

failed:

    (void) aegis_error_set(err, AEGIS_E_UNAVAILABLE, "kafka: %s", text);
    rd_kafka_conf_destroy(conf);
    return NULL;
}

static int
aegis_kafka_has(const rd_kafka_metadata_t *md, const char *topic)
{
    int  i;

    for (i = 0; i < md->topic_cnt; i++) {
        if (strcmp(md->topics[i].topic, topic) == 0) {
            return md->topics[i].err == RD_KAFKA_RESP_ERR_NO_ERROR
                   && md->topics[i].partition_cnt > 0;
        }
    }

    return 0;
}

/* Ask the controller for the topics. Its refusals are not looked at: whether
 * the topics are there afterwards is. */
static void
aegis_kafka_create(aegis_kafka_t *kafka, rd_kafka_t *rk, const char **names, int n)
{
    int                      i;
    char                     text[200];
    rd_kafka_queue_t        *queue;
    rd_kafka_event_t        *event;
    rd_kafka_NewTopic_t     *topics[AEGIS_KAFKA_TOPICS];
    rd_kafka_AdminOptions_t *options;

    options = rd_kafka_AdminOptions_new(rk, RD_KAFKA_ADMIN_OP_CREATETOPICS);
    (void) rd_kafka_AdminOptions_set_request_timeout(options, 5000, text, sizeof(text));
    (void) rd_kafka_AdminOptions_set_operation_timeout(options, 5000, text,
                                                       sizeof(text));

    for (i = 0; i < n; i++) {
        topics[i] = rd_kafka_NewTopic_new(names[i], kafka->partitions, kafka->replicas,
                                          text, sizeof(text));
    }

    queue = rd_kafka_queue_new(rk);
    rd_kafka_CreateTopics(rk, topics, (size_t) n, options, queue);
    event = rd_kafka_queue_poll(queue, 6000);
    if (event != NULL) {
        rd_kafka_event_destroy(event);
    }

    rd_kafka_queue_destroy(queue);
    rd_kafka_NewTopic_destroy_array(topics, (size_t) n);
    rd_kafka_AdminOptions_destroy(options);
}

/* Is the topic there? Asking makes it, where the broker does that. */
static int
aegis_kafka_probe(rd_kafka_t *rk, const char *topic, int64_t deadline)
{
    int                         found;
    rd_kafka_topic_t           *rkt;
    const rd_kafka_metadata_t  *md;

    found = 0;
    rkt = rd_kafka_topic_new(rk, topic, NULL);

    do {
        if (rd_kafka_metadata(rk, 0, rkt, &md, 1000) == RD_KAFKA_RESP_ERR_NO_ERROR) {
            found = aegis_kafka_has(md, topic);
            rd_kafka_metadata_destroy(md);
        }
        if (!found) {
            (void) rd_kafka_poll(rk, 100);
        }
    } while (!found && aegis_kafka_now() < deadline);

    rd_kafka_topic_destroy(rkt);
    return found;
}

aegis_code_t
aegis_kafka_topics(aegis_kafka_t *kafka, rd_kafka_t *rk, aegis_error_t *err)
{
    int                         i, n;
    int64_t                     deadline;
    const char                 *missing[AEGIS_KAFKA_TOPICS];
    rd_kafka_resp_err_t         e;
    const rd_kafka_metadata_t  *md;

    e = rd_kafka_metadata(rk, 1, NULL, &md, 5000);
    if (e != RD_KAFKA_RESP_ERR_NO_ERROR) {
        (void) rd_kafka_poll(rk, 0);        /* what it says of its brokers */
        return aegis_error_set(err, AEGIS_E_UNAVAILABLE, "kafka: %s: %s%s%s",
                               kafka->brokers, rd_kafka_err2str(e),
                               kafka->trouble[0] ? "; " : "", kafka->trouble);
    }

    for (i = 0, n = 0; i < kafka->n_topics; i++) {
        if (!aegis_kafka_has(md, kafka->topics[i])) {
            missing[n++] = kafka->topics[i];
        }
    }
    rd_kafka_metadata_destroy(md);

    if (n == 0) {
        return AEGIS_E_OK;
    }

    aegis_kafka_create(kafka, rk, missing, n);
    deadline = aegis_kafka_now() + 10000;

    for (i = 0; i < n; i++) {
        if (!aegis_kafka_probe(rk, missing[i], deadline)) {
            return aegis_error_set(err, AEGIS_E_UNAVAILABLE,
                "kafka: topic %s does not exist and could not be made", missing[i]);
        }
    }

    return AEGIS_E_OK;
}

/* Runs inside rd_kafka_poll(), in the publishing thread. */
static void
aegis_kafka_report(rd_kafka_t *rk, const rd_kafka_message_t *m, void *opaque)
{
    size_t          index;
    uintptr_t       tag;
    aegis_kafka_t  *kafka;

    kafka = opaque;
    tag = (uintptr_t) m->_private;
    index = tag & 0xffff;

    if (kafka->batch == NULL || (unsigned) (tag >> 16) != (kafka->generation & 0xffff)
        || index >= kafka->n_batch)
    {
        return;
    }

    kafka->n_answered++;
    kafka->batch[index].published = m->err == RD_KAFKA_RESP_ERR_NO_ERROR;
    if (m->err != RD_KAFKA_RESP_ERR_NO_ERROR) {
        snprintf(kafka->why, sizeof(kafka->why), "%s", rd_kafka_err2str(m->err));
    }
}

aegis_code_t
aegis_kafka_producer(aegis_kafka_t *kafka, aegis_error_t *err)
{
    char              text[200];
    aegis_code_t      rc;
    rd_kafka_conf_t  *conf;

    static const char *const  settings[] = {
        "enable.idempotence", "true", "acks", "all", "linger.ms", "1",
        "message.timeout.ms", "5000", "partitioner", "murmur2_random",
        "queue.buffering.max.messages", "10000", "compression.codec", "none", NULL };

    if (kafka->producer != NULL) {
        return AEGIS_E_OK;
    }

    conf = aegis_kafka_conf(kafka, settings, err);
    if (conf == NULL) {
        return err->code;
    }

    rd_kafka_conf_set_dr_msg_cb(conf, aegis_kafka_report);
    rd_kafka_conf_set_error_cb(conf, aegis_kafka_producer_trouble);
    kafka->producer = rd_kafka_new(RD_KAFKA_PRODUCER, conf, text, sizeof(text));
    if (kafka->producer == NULL) {
        rd_kafka_conf_destroy(conf);
        return aegis_error_set(err, AEGIS_E_UNAVAILABLE, "kafka: %s", text);
    }

    rc = aegis_kafka_topics(kafka, kafka->producer, err);
    if (rc != AEGIS_E_OK) {
        rd_kafka_destroy(kafka->producer);
        kafka->producer = NULL;
    }

    return rc;
}

static rd_kafka_resp_err_t
aegis_kafka_send(aegis_kafka_t *kafka, const aegis_bus_out_t *out, size_t index)
{
    char                 topic[256];
    uintptr_t            tag;
    rd_kafka_resp_err_t  e;

    tag = ((uintptr_t) (kafka->generation & 0xffff) << 16) | index;
    snprintf(topic, sizeof(topic), "%.*s", (int) out->subject.len, out->subject.data);

    e = rd_kafka_producev(kafka->producer,
        RD_KAFKA_V_TOPIC(topic),
        RD_KAFKA_V_KEY((void *) out->key.data, out->key.len),
        RD_KAFKA_V_VALUE((void *) out->body.data, out->body.len),
        RD_KAFKA_V_HEADER("content-type", "application/cloudevents+json", -1),
        RD_KAFKA_V_HEADER("id", out->id.data, (ssize_t) out->id.len),
        RD_KAFKA_V_MSGFLAGS(RD_KAFKA_MSG_F_COPY),
        RD_KAFKA_V_OPAQUE((void *) tag),
        RD_KAFKA_V_END);

    return e;
}

aegis_code_t
aegis_kafka_publish(void *self, aegis_bus_out_t *out, size_t n, int timeout_ms,
    aegis_error_t *err)
{
    int                   fatal;
    size_t                i, sent;
    int64_t               deadline, left;
    aegis_code_t          rc;
    aegis_kafka_t        *kafka;
    rd_kafka_resp_err_t   e;

    kafka = self;
    rc = aegis_kafka_producer(kafka, err);
    if (rc != AEGIS_E_OK) {
        return rc;
    }

    kafka->generation++;
    kafka->batch = out;
    kafka->n_batch = n;
    kafka->n_answered = 0;
    kafka->why[0] = '\0';
    deadline = aegis_kafka_now() + timeout_ms;

    for (sent = 0, e = RD_KAFKA_RESP_ERR_NO_ERROR; sent < n; sent++) {
        e = aegis_kafka_send(kafka, &out[sent], sent);
        if (e != RD_KAFKA_RESP_ERR_NO_ERROR) {
            snprintf(kafka->why, sizeof(kafka->why), "%s", rd_kafka_err2str(e));
            break;
        }
    }

    if (AEGIS_FP(kafka_fatal, "relay")) {
        (void) rd_kafka_test_fatal_error(kafka->producer,
            RD_KAFKA_RESP_ERR_OUT_OF_ORDER_SEQUENCE_NUMBER, "a test says so");
    }

    for (fatal = 0; kafka->n_answered < sent && !fatal; ) {
        left = deadline - aegis_kafka_now();
        if (left <= 0) {
            break;
        }
        (void) rd_kafka_poll(kafka->producer, left < 50 ? (int) left : 50);
        fatal = rd_kafka_fatal_error(kafka->producer, NULL, 0) != 0;
    }

    fatal = rd_kafka_fatal_error(kafka->producer, kafka->why, sizeof(kafka->why)) != 0
            || kafka->n_answered < sent;
    kafka->batch = NULL;

    if (fatal) {
        aegis_log(AEGIS_LOG_WARN, "bus", "kafka-producer-renewed", "why", "%s",
                  kafka->why[0] ? kafka->why : "no delivery report in time", NULL);
        (void) rd_kafka_purge(kafka->producer, RD_KAFKA_PURGE_F_QUEUE
                                               | RD_KAFKA_PURGE_F_INFLIGHT);
        rd_kafka_destroy(kafka->producer);
        kafka->producer = NULL;
    }

    for (i = 0; i < n && out[i].published; i++) { /* void */ }
    if (i == n) {
        kafka->trouble[0] = '\0';
        return AEGIS_E_OK;
    }

    return aegis_error_set(err, AEGIS_E_UNAVAILABLE, "kafka: %.*s: %s%s%s",
        (int) out[i].subject.len, out[i].subject.data,
        kafka->why[0] ? kafka->why : "no delivery report in time",
        kafka->trouble[0] ? "; " : "", kafka->trouble);
}
