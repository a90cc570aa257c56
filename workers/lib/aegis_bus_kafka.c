/*
 * aegis_bus_kafka.c: Kafka behind aegis_bus.h: one consumer group a durable
 * name, offsets committed after the effects.
 * Invariant: a committed offset has only settled messages before it; a nak'ed
 * message is kept here and handed out again when its time has come. The window
 * of a partition is aegis_bus_kafka_window.c, publishing
 * aegis_bus_kafka_produce.c.
 */
#include "aegis_bus_kafka.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* Messages of a partition between its committed offset and the last one taken.
 * Above the first number the partition is paused, below the second it goes on. */
#define AEGIS_KAFKA_WINDOW      1024
#define AEGIS_KAFKA_WINDOW_LOW  512

/* A message that waits keeps the offset of its partition from moving on, so
 * its retries must not take as long as on a bus that counts single messages. */
#define AEGIS_KAFKA_DELAY_MAX   2000

static void
aegis_kafka_trouble(rd_kafka_t *rk, int code, const char *reason, void *opaque)
{
    aegis_kafka_t  *kafka;

    kafka = opaque;
    if (code == RD_KAFKA_RESP_ERR__ALL_BROKERS_DOWN) {
        kafka->down = 1;
    }
}

/* Send the offsets that moved. What is lost here is delivered again. */
static void
aegis_kafka_commit(aegis_kafka_t *kafka, int async)
{
    aegis_kafka_part_t               *p;
    rd_kafka_topic_partition_list_t  *list;

    list = NULL;

    for (p = kafka->parts; p != NULL; p = p->next) {
        if (p->commit < 0) {
            continue;
        }
        if (list == NULL) {
            list = rd_kafka_topic_partition_list_new(16);
        }
        rd_kafka_topic_partition_list_add(list, p->topic, p->partition)->offset
            = p->commit;
        p->commit = -1;
    }

    if (list != NULL) {
        (void) rd_kafka_commit(kafka->consumer, list, async);
        rd_kafka_topic_partition_list_destroy(list);
    }
}

/* Runs inside rd_kafka_consumer_poll() and rd_kafka_consumer_close(). */
static void
aegis_kafka_rebalance(rd_kafka_t *rk, rd_kafka_resp_err_t e,
    rd_kafka_topic_partition_list_t *list, void *opaque)
{
    aegis_kafka_t  *kafka;

    kafka = opaque;

    if (e == RD_KAFKA_RESP_ERR__ASSIGN_PARTITIONS) {
        (void) rd_kafka_assign(rk, list);
        return;
    }

    if (e == RD_KAFKA_RESP_ERR__REVOKE_PARTITIONS
        && !rd_kafka_assignment_lost(rk))
    {
        aegis_kafka_commit(kafka, 0);
    }

    aegis_kafka_parts_drop(kafka, NULL);
    (void) rd_kafka_assign(rk, NULL);
}

static void
aegis_kafka_pause(aegis_kafka_t *kafka, aegis_kafka_part_t *p, int pause)
{
    rd_kafka_topic_partition_list_t  *list;

    list = rd_kafka_topic_partition_list_new(1);
    (void) rd_kafka_topic_partition_list_add(list, p->topic, p->partition);
    (void) (pause ? rd_kafka_pause_partitions : rd_kafka_resume_partitions)
        (kafka->consumer, list);
    rd_kafka_topic_partition_list_destroy(list);
    p->paused = pause;
}

static aegis_str_t
aegis_kafka_id(void *handle)
{
    size_t               len;
    const void          *id;
    aegis_kafka_msg_t   *e;
    rd_kafka_headers_t  *headers;

    e = handle;
    if (rd_kafka_message_headers(e->m, &headers) == RD_KAFKA_RESP_ERR_NO_ERROR
        && rd_kafka_header_get_last(headers, "id", &id, &len)
           == RD_KAFKA_RESP_ERR_NO_ERROR
        && id != NULL)
    {
        return (aegis_str_t) { len, id };
    }

    return aegis_str("");
}

static void
aegis_kafka_deliver(aegis_kafka_msg_t *e, aegis_bus_msg_t *msg)
{
    e->state = AEGIS_KAFKA_OUT;
    e->part->n_held--;
    e->deliveries++;

    msg->subject.data = rd_kafka_topic_name(e->m->rkt);
    msg->subject.len = strlen(msg->subject.data);
    msg->body = (aegis_str_t) { e->m->len, e->m->payload ? e->m->payload : "" };
    msg->deliveries = e->deliveries;
    msg->handle = e;
    msg->id = aegis_kafka_id;
}

/* Those whose time has come, oldest first in each partition. */
static size_t
aegis_kafka_again(aegis_kafka_t *kafka, aegis_bus_msg_t *msgs, size_t max, int64_t now)
{
    size_t               n;
    aegis_kafka_msg_t   *e;
    aegis_kafka_part_t  *p;

    for (n = 0, p = kafka->parts; p != NULL && n < max; p = p->next) {
        for (e = p->first; e != NULL && p->n_held > 0 && n < max; e = e->next) {
            if (e->state == AEGIS_KAFKA_HELD && e->due <= now
                && !aegis_kafka_window_behind(e))
            {
                aegis_kafka_deliver(e, &msgs[n++]);
            }
        }
    }

    return n;
}

/* No memory for it: read it again later, nothing after it is taken before. */
static void
aegis_kafka_back(aegis_kafka_t *kafka, rd_kafka_message_t *m)
{
    rd_kafka_error_t                 *e;
    rd_kafka_topic_partition_list_t  *list;

    list = rd_kafka_topic_partition_list_new(1);
    rd_kafka_topic_partition_list_add(list, rd_kafka_topic_name(m->rkt),
                                      m->partition)->offset = m->offset;
    e = rd_kafka_seek_partitions(kafka->consumer, list, 5000);
    if (e != NULL) {
        rd_kafka_error_destroy(e);
    }

    rd_kafka_topic_partition_list_destroy(list);
    rd_kafka_message_destroy(m);
}

/* One message from the library into its window; 1 when it can be handed out. */
static int
aegis_kafka_take(aegis_kafka_t *kafka, rd_kafka_message_t *m, aegis_bus_msg_t *msg)
{
    aegis_kafka_msg_t   *e;
    aegis_kafka_part_t  *p;

    e = NULL;
    p = aegis_kafka_part(kafka, rd_kafka_topic_name(m->rkt), m->partition);
    if (p != NULL) {
        e = aegis_kafka_window_add(p, m);
    }

    if (e == NULL) {
        aegis_kafka_back(kafka, m);
        return 0;
    }

    if (p->n >= AEGIS_KAFKA_WINDOW && !p->paused) {
        aegis_kafka_pause(kafka, p, 1);
    }
    if (aegis_kafka_window_behind(e)) {
        return 0;
    }

    aegis_kafka_deliver(e, msg);
    return 1;
}

/* Every broker was away: is one back? */
static aegis_code_t
aegis_kafka_look(aegis_kafka_t *kafka, int timeout_ms, aegis_error_t *err)
{
    rd_kafka_resp_err_t         e;
    const rd_kafka_metadata_t  *md;

    if (!kafka->down) {
        return AEGIS_E_OK;
    }

    e = rd_kafka_metadata(kafka->consumer, 0, NULL, &md, timeout_ms);
    if (e == RD_KAFKA_RESP_ERR_NO_ERROR) {
        rd_kafka_metadata_destroy(md);
        kafka->down = 0;
        return AEGIS_E_OK;
    }

    return aegis_error_set(err, AEGIS_E_UNAVAILABLE, "kafka: %s: %s", kafka->brokers,
                           rd_kafka_err2str(e));
}

/* What moved since the last fetch: offsets, and partitions that may go on. */
static void
aegis_kafka_settled(aegis_kafka_t *kafka)
{
    aegis_kafka_part_t  *p;

    for (p = kafka->parts; p != NULL; p = p->next) {
        if (p->paused && p->n < AEGIS_KAFKA_WINDOW_LOW) {
            aegis_kafka_pause(kafka, p, 0);
        }
    }

    aegis_kafka_commit(kafka, 1);
}

static aegis_code_t
aegis_kafka_fetch(void *self, aegis_bus_msg_t *msgs, size_t max, int timeout_ms,
    size_t *ret_n, aegis_error_t *err)
{
    size_t                n;
    int64_t               deadline, left;
    aegis_code_t          rc;
    aegis_kafka_t        *kafka;
    rd_kafka_message_t   *m;

    kafka = self;
    rc = AEGIS_E_OK;
    deadline = aegis_kafka_now() + timeout_ms;

    aegis_kafka_settled(kafka);
    n = aegis_kafka_again(kafka, msgs, max, aegis_kafka_now());

    while (n < max) {
        left = deadline - aegis_kafka_now();
        m = rd_kafka_consumer_poll(kafka->consumer, n || left < 0 ? 0 : (int) left);
        if (m == NULL) {
            break;
        }

        if (m->err == RD_KAFKA_RESP_ERR_NO_ERROR) {
            n += (size_t) aegis_kafka_take(kafka, m, &msgs[n]);
            continue;
        }

        if (rd_kafka_fatal_error(kafka->consumer, NULL, 0) != 0) {
            rc = aegis_error_set(err, AEGIS_E_BAD_GATEWAY, "kafka: %s",
                                 rd_kafka_message_errstr(m));
        } else {
            rc = aegis_error_set(err, AEGIS_E_UNAVAILABLE, "kafka: %s",
                                 rd_kafka_message_errstr(m));
        }
        rd_kafka_message_destroy(m);
        break;
    }

    *ret_n = n;
    if (n > 0) {
        return AEGIS_E_OK;
    }

    return rc != AEGIS_E_OK ? rc : aegis_kafka_look(kafka, 500, err);
}

static void
aegis_kafka_ack(void *self, aegis_bus_msg_t *msg)
{
    aegis_kafka_msg_t  *e;

    e = msg->handle;
    msg->handle = NULL;

    if (e->part == NULL) {
        aegis_kafka_msg_free(e);
        return;
    }

    e->state = AEGIS_KAFKA_DONE;
    aegis_kafka_window_trim(e->part);
}

static void
aegis_kafka_nak(void *self, aegis_bus_msg_t *msg, int delay_ms)
{
    aegis_kafka_msg_t  *e;

    e = msg->handle;
    msg->handle = NULL;

    if (e->part == NULL) {
        aegis_kafka_msg_free(e);
        return;
    }

    e->state = AEGIS_KAFKA_HELD;
    e->part->n_held++;
    e->due = aegis_kafka_now()
             + (delay_ms < AEGIS_KAFKA_DELAY_MAX ? delay_ms : AEGIS_KAFKA_DELAY_MAX);
}

static void
aegis_kafka_close(void *self)
{
    aegis_kafka_t  *kafka;

    kafka = self;

    if (kafka->consumer != NULL) {
        aegis_kafka_commit(kafka, 0);
        (void) rd_kafka_consumer_close(kafka->consumer);
        aegis_kafka_parts_drop(kafka, NULL);
        rd_kafka_destroy(kafka->consumer);
    }
    if (kafka->producer != NULL) {
        rd_kafka_destroy(kafka->producer);
    }

    aegis_kafka_security_free(&kafka->security);
    free(kafka->brokers);
    free(kafka);
}

static aegis_code_t
aegis_kafka_subscribe(aegis_kafka_t *kafka, aegis_error_t *err)
{
    size_t                            i, n;
    char                              text[200];
    aegis_code_t                      rc;
    rd_kafka_conf_t                  *conf;
    rd_kafka_resp_err_t               e;
    const aegis_subject_t            *s;
    rd_kafka_topic_partition_list_t  *list;

    const char  *settings[] = {
        "group.id", kafka->spec->durable, "enable.auto.commit", "false",
        "enable.auto.offset.store", "false", "auto.offset.reset", "earliest",
        "session.timeout.ms", "10000", "heartbeat.interval.ms", "2000",
        "queued.min.messages", "1000", "queued.max.messages.kbytes", "16384",
        "fetch.wait.max.ms", "100", "allow.auto.create.topics", "true",
        "partition.assignment.strategy", "range,roundrobin", NULL };

    conf = aegis_kafka_conf(kafka, settings, err);
    if (conf == NULL) {
        return err->code;
    }

    rd_kafka_conf_set_rebalance_cb(conf, aegis_kafka_rebalance);
    rd_kafka_conf_set_error_cb(conf, aegis_kafka_trouble);
    kafka->consumer = rd_kafka_new(RD_KAFKA_CONSUMER, conf, text, sizeof(text));
    if (kafka->consumer == NULL) {
        rd_kafka_conf_destroy(conf);
        return aegis_error_set(err, AEGIS_E_UNAVAILABLE, "kafka: %s", text);
    }

    rc = aegis_kafka_topics(kafka, kafka->consumer, err);
    if (rc != AEGIS_E_OK) {
        return rc;
    }

    list = rd_kafka_topic_partition_list_new(AEGIS_KAFKA_TOPICS);
    s = aegis_subjects(&n);
    for (i = 0; i < n; i++) {
        if (s[i].stream == kafka->spec->stream
            && (kafka->spec->filter[0] == '\0'
                || strcmp(kafka->spec->filter, s[i].subject) == 0))
        {
            (void) rd_kafka_topic_partition_list_add(list, s[i].subject,
                                                     RD_KAFKA_PARTITION_UA);
        }
    }

    (void) rd_kafka_poll_set_consumer(kafka->consumer);
    e = rd_kafka_subscribe(kafka->consumer, list);
    rd_kafka_topic_partition_list_destroy(list);

    return e == RD_KAFKA_RESP_ERR_NO_ERROR ? AEGIS_E_OK
           : aegis_error_set(err, AEGIS_E_UNAVAILABLE, "kafka: subscribe: %s",
                             rd_kafka_err2str(e));
}

static aegis_code_t
aegis_kafka_open(const aegis_conf_t *conf, const aegis_consumer_t *consumer,
    void **ret_self, aegis_error_t *err)
{
    size_t                  i, n;
    aegis_code_t            rc;
    aegis_kafka_t          *kafka;
    const aegis_subject_t  *s;

    kafka = calloc(1, sizeof(aegis_kafka_t));
    if (kafka == NULL) {
        return aegis_error_set(err, AEGIS_E_UNAVAILABLE, "no memory");
    }

    kafka->spec = consumer;
    kafka->partitions = (int) aegis_conf_int(conf, "bus.kafka.partitions");
    kafka->replicas = (int) aegis_conf_int(conf, "bus.kafka.replicas");
    kafka->brokers = strdup(aegis_conf_str(conf, "bus.kafka.brokers"));
    if (kafka->brokers == NULL) {
        free(kafka);
        return aegis_error_set(err, AEGIS_E_UNAVAILABLE, "no memory");
    }

    s = aegis_subjects(&n);
    for (i = 0; i < n && kafka->n_topics < AEGIS_KAFKA_TOPICS; i++) {
        if (strcmp(aegis_conf_transport(conf, (aegis_str_t) { strlen(s[i].subject),
                                        s[i].subject }), "kafka") == 0)
        {
            kafka->topics[kafka->n_topics++] = s[i].subject;
        }
    }

    rc = aegis_kafka_security_read(&kafka->security, conf, err);
    if (rc == AEGIS_E_OK) {
        rc = consumer ? aegis_kafka_subscribe(kafka, err)
             : aegis_kafka_producer(kafka, err);
    }
    if (rc != AEGIS_E_OK) {
        aegis_kafka_close(kafka);
        return rc;
    }

    *ret_self = kafka;
    return AEGIS_E_OK;
}

const aegis_transport_t  aegis_transport_kafka = {
    "kafka",
    aegis_kafka_open,
    aegis_kafka_close,
    aegis_kafka_publish,
    aegis_kafka_fetch,
    aegis_kafka_ack,
    aegis_kafka_nak
};
