/*
 * aegis_bus.h: the bus as a vtable: NATS JetStream and Kafka behind the same
 * calls. At least once both ways; nothing is acked before it is committed.
 * Which transport carries which subject is bus.routes.
 */
#ifndef AEGIS_BUS_H
#define AEGIS_BUS_H

#include "aegis_conf.h"
#include "aegis_error.h"
#include "aegis_event.h"

typedef struct aegis_bus_s  aegis_bus_t;

typedef struct {
    aegis_str_t  subject;
    aegis_str_t  id;                /* Nats-Msg-Id; a header on Kafka */
    aegis_str_t  key;               /* case id: the partition on Kafka */
    aegis_str_t  body;
    int          published;         /* set by publish: 1 when the broker has it */
} aegis_bus_out_t;

typedef struct {
    aegis_str_t   subject;
    aegis_str_t   body;
    int           deliveries;       /* 1 on the first; 0: transport does not count */
    void         *handle;           /* transport's own */

    /* transport's message id, "" without one: few ask, and headers have to be read for it */
    aegis_str_t (*id)(void *handle);
} aegis_bus_msg_t;

typedef struct {
    const char  *name;              /* "nats", "kafka" */

    /* Every call may answer UNAVAILABLE (try the same again later) or
     * BAD_GATEWAY (close this self and open a new one). */

    /* Connect, create or check streams / topics, and, when consumer is not
     * NULL, its subscription. UNAVAILABLE: try again later. */
    aegis_code_t (*open)(const aegis_conf_t *conf, const aegis_consumer_t *consumer,
        void **ret_self, aegis_error_t *err);
    void (*close)(void *self);

    /* Publish in order, wait for the broker's acks up to timeout_ms, set
     * published for each. OK when all were; UNAVAILABLE otherwise. */
    aegis_code_t (*publish)(void *self, aegis_bus_out_t *out, size_t n, int timeout_ms,
        aegis_error_t *err);

    /* Up to max messages; waits up to timeout_ms for the first. *ret_n may be 0. */
    aegis_code_t (*fetch)(void *self, aegis_bus_msg_t *msgs, size_t max, int timeout_ms,
        size_t *ret_n, aegis_error_t *err);

    /* Settle. ack: done. nak: deliver again after delay_ms. Every fetched
     * message is settled exactly once; that also frees it. Kafka keeps order
     * within a key: its nak keeps the message here, and those of the same key
     * behind it; the partition's offset waits for it.
     * self NULL: closed since the fetch, only free the message. */
    void (*ack)(void *self, aegis_bus_msg_t *msg);
    void (*nak)(void *self, aegis_bus_msg_t *msg, int delay_ms);
} aegis_transport_t;

extern const aegis_transport_t  aegis_transport_nats;
extern const aegis_transport_t  aegis_transport_kafka;

/*
 * All transports that the routes need for this role. A role that reads from
 * two transports (facts on Kafka, commands on NATS) still has one consumer:
 * its subject's route says which. Opens lazily and reopens after failures with
 * backoff; every call can answer UNAVAILABLE.
 */
aegis_bus_t *aegis_bus_new(const aegis_conf_t *conf, const aegis_consumer_t *consumer);
void aegis_bus_free(aegis_bus_t *bus);              /* NULL is fine */

/* A reload made a new configuration; the old one may go. */
void aegis_bus_reload(aegis_bus_t *bus, const aegis_conf_t *conf);

/* Open what is not open yet: UNAVAILABLE says why none can be used. */
aegis_code_t aegis_bus_ready(aegis_bus_t *bus, aegis_error_t *err);

/* Is the transport that carries it away, and not to be asked again yet? */
int aegis_bus_rests(const aegis_bus_t *bus, aegis_str_t subject);
aegis_code_t aegis_bus_publish(aegis_bus_t *bus, aegis_bus_out_t *out, size_t n,
    int timeout_ms, aegis_error_t *err);
aegis_code_t aegis_bus_fetch(aegis_bus_t *bus, aegis_bus_msg_t *msgs, size_t max,
    int timeout_ms, size_t *ret_n, aegis_error_t *err);
void aegis_bus_ack(aegis_bus_t *bus, aegis_bus_msg_t *msg);
void aegis_bus_nak(aegis_bus_t *bus, aegis_bus_msg_t *msg, int delay_ms);

#endif
