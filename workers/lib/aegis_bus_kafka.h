/*
 * aegis_bus_kafka.h: what the Kafka files share. Private to them.
 */
#ifndef AEGIS_BUS_KAFKA_H
#define AEGIS_BUS_KAFKA_H

#include <librdkafka/rdkafka.h>

#include "aegis_bus.h"
#include "aegis_bus_kafka_security.h"

#define AEGIS_KAFKA_TOPICS  32

typedef struct aegis_kafka_part_s  aegis_kafka_part_t;
typedef struct aegis_kafka_msg_s   aegis_kafka_msg_t;

/* HELD: waits for its time, or behind one of its key that does. */
typedef enum { AEGIS_KAFKA_HELD, AEGIS_KAFKA_OUT, AEGIS_KAFKA_DONE } aegis_kafka_state_t;

struct aegis_kafka_msg_s {
    rd_kafka_message_t   *m;
    aegis_kafka_part_t   *part;         /* NULL: taken away while it was OUT */
    aegis_kafka_msg_t    *next;         /* in offset order */
    aegis_kafka_state_t   state;
    int                   deliveries;
    int64_t               due;
};

/* One assigned partition: the messages from the committed offset on. */
struct aegis_kafka_part_s {
    aegis_kafka_part_t   *next;
    char                 *topic;
    int32_t               partition;
    aegis_kafka_msg_t    *first, *last;
    int                   n;
    int                   n_held;
    int                   paused;
    int64_t               commit;       /* next offset to commit; -1: nothing new */
};

typedef struct {
    char                     *brokers;
    aegis_kafka_security_t    security;
    int                       partitions;
    int                       replicas;
    const char               *topics[AEGIS_KAFKA_TOPICS];   /* routed to Kafka */
    int                       n_topics;

    /* publishing */
    rd_kafka_t               *producer;     /* made on first use, and again */
    aegis_bus_out_t          *batch;
    size_t                    n_batch;
    size_t                    n_answered;
    unsigned                  generation;
    char                      why[160];
    char                      trouble[256]; /* what the producer last said of its brokers */

    /* consuming */
    const aegis_consumer_t   *spec;
    rd_kafka_t               *consumer;
    aegis_kafka_part_t       *parts;
    int                       down;         /* every broker is away */
    int64_t                   probed_at;
} aegis_kafka_t;

int64_t aegis_kafka_now(void);

/* A client with what producer and consumer share; NULL and err on failure.
 * settings: name, value, …, NULL. */
rd_kafka_conf_t *aegis_kafka_conf(aegis_kafka_t *kafka, const char *const *settings,
    aegis_error_t *err);

/* Make the topics that are missing; UNAVAILABLE when one cannot be had. */
aegis_code_t aegis_kafka_topics(aegis_kafka_t *kafka, rd_kafka_t *rk, aegis_error_t *err);

aegis_code_t aegis_kafka_producer(aegis_kafka_t *kafka, aegis_error_t *err);
aegis_code_t aegis_kafka_publish(void *self, aegis_bus_out_t *out, size_t n,
    int timeout_ms, aegis_error_t *err);

/* The window of one partition (aegis_bus_kafka_window.c). */
aegis_kafka_part_t *aegis_kafka_part(aegis_kafka_t *kafka, const char *topic,
    int32_t partition);
void aegis_kafka_parts_drop(aegis_kafka_t *kafka,
    const rd_kafka_topic_partition_list_t *list);       /* NULL: all */
aegis_kafka_msg_t *aegis_kafka_window_add(aegis_kafka_part_t *part,
    rd_kafka_message_t *m);
int aegis_kafka_window_behind(const aegis_kafka_msg_t *msg);
void aegis_kafka_window_trim(aegis_kafka_part_t *part);
void aegis_kafka_msg_free(aegis_kafka_msg_t *msg);

#endif
