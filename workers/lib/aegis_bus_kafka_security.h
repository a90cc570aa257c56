/*
 * aegis_bus_kafka_security.h: how a Kafka client proves who it is and whom it
 * believes. For the bus, and for `aegisctl doctor`, which asks the same brokers.
 */
#ifndef AEGIS_BUS_KAFKA_SECURITY_H
#define AEGIS_BUS_KAFKA_SECURITY_H

#include <librdkafka/rdkafka.h>

#include "aegis_conf.h"

#define AEGIS_KAFKA_SECURITY  8

/* Settings of librdkafka. */
typedef struct {
    int          n;
    const char  *names[AEGIS_KAFKA_SECURITY];
    char        *values[AEGIS_KAFKA_SECURITY];
} aegis_kafka_security_t;

/* bus.kafka.protocol and what belongs to it; freed with _free. */
aegis_code_t aegis_kafka_security_read(aegis_kafka_security_t *s,
    const aegis_conf_t *conf, aegis_error_t *err);
void aegis_kafka_security_free(aegis_kafka_security_t *s);

/* 0, or -1 and why in text. */
int aegis_kafka_security_set(const aegis_kafka_security_t *s, rd_kafka_conf_t *conf,
    char *text, size_t size);

#endif
