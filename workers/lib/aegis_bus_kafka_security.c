/*
 * aegis_bus_kafka_security.c: how a Kafka client proves who it is and whom it
 * believes: TLS and SASL, as settings of librdkafka. Read once, when the bus is
 * opened; a producer that is made again takes the same.
 * Invariant: a password comes from a file, and is in no message and no log.
 */
#include "aegis_bus_kafka_security.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static aegis_code_t
aegis_kafka_add(aegis_kafka_security_t *s, const char *name, const char *value,
    aegis_error_t *err)
{
    s->values[s->n] = strdup(value);
    if (s->values[s->n] == NULL) {
        return aegis_error_set(err, AEGIS_E_UNAVAILABLE, "no memory");
    }
    s->names[s->n++] = name;

    return AEGIS_E_OK;
}

/* A setting that names a file; librdkafka reads it. */
static aegis_code_t
aegis_kafka_file(aegis_kafka_security_t *s, const aegis_conf_t *conf,
    const char *setting, const char *name, aegis_error_t *err)
{
    char  path[4096];

    if (aegis_conf_str(conf, setting)[0] == '\0') {
        return AEGIS_E_OK;
    }

    (void) aegis_conf_path(conf, setting, path);
    return aegis_kafka_add(s, name, path, err);
}

/* The one line user:password of bus.kafka.credentials_file. */
static aegis_code_t
aegis_kafka_credentials(aegis_kafka_security_t *s, const aegis_conf_t *conf,
    aegis_error_t *err)
{
    FILE          *f;
    char           path[4096], line[1024], *colon;
    aegis_code_t   rc;

    (void) aegis_conf_path(conf, "bus.kafka.credentials_file", path);

    f = fopen(path, "re");
    line[0] = '\0';
    if (f != NULL) {
        if (fgets(line, sizeof(line), f) == NULL) {
            line[0] = '\0';
        }
        fclose(f);
    }

    line[strcspn(line, "\r\n")] = '\0';
    colon = strchr(line, ':');

    if (colon == NULL || colon == line) {
        return aegis_error_set(err, AEGIS_E_UNAVAILABLE,
            "bus.kafka.credentials_file: %s has no line <user>:<password>", path);
    }

    *colon = '\0';
    rc = aegis_kafka_add(s, "sasl.username", line, err);
    if (rc == AEGIS_E_OK) {
        rc = aegis_kafka_add(s, "sasl.password", colon + 1, err);
    }

    explicit_bzero(line, sizeof(line));
    return rc;
}

aegis_code_t
aegis_kafka_security_read(aegis_kafka_security_t *s, const aegis_conf_t *conf,
    aegis_error_t *err)
{
    aegis_code_t   rc;
    const char    *protocol;

    memset(s, 0, sizeof(aegis_kafka_security_t));
    protocol = aegis_conf_str(conf, "bus.kafka.protocol");

    rc = aegis_kafka_add(s, "security.protocol", protocol, err);

    if (rc == AEGIS_E_OK && strstr(protocol, "ssl") != NULL) {
        rc = aegis_kafka_file(s, conf, "bus.kafka.ca_file", "ssl.ca.location", err);
        if (rc == AEGIS_E_OK) {
            rc = aegis_kafka_file(s, conf, "bus.kafka.cert_file",
                                  "ssl.certificate.location", err);
        }
        if (rc == AEGIS_E_OK) {
            rc = aegis_kafka_file(s, conf, "bus.kafka.key_file", "ssl.key.location", err);
        }
        /* librdkafka 2 checks the name by itself; before, it did not */
        if (rc == AEGIS_E_OK) {
            rc = aegis_kafka_add(s, "ssl.endpoint.identification.algorithm", "https",
                                 err);
        }
    }

    if (rc == AEGIS_E_OK && strncmp(protocol, "sasl_", 5) == 0) {
        rc = aegis_kafka_add(s, "sasl.mechanism",
                             aegis_conf_str(conf, "bus.kafka.sasl_mechanism"), err);
        if (rc == AEGIS_E_OK) {
            rc = aegis_kafka_credentials(s, conf, err);
        }
    }

    if (rc != AEGIS_E_OK) {
        aegis_kafka_security_free(s);
    }

    return rc;
}

int
aegis_kafka_security_set(const aegis_kafka_security_t *s, rd_kafka_conf_t *conf,
    char *text, size_t size)
{
    int  i;

    for (i = 0; i < s->n; i++) {
        if (rd_kafka_conf_set(conf, s->names[i], s->values[i], text, size)
            != RD_KAFKA_CONF_OK)
        {
            if (strcmp(s->names[i], "sasl.password") == 0) {
                snprintf(text, size, "bus.kafka.credentials_file: the password cannot"
                         " be used");
            }
            return -1;
        }
    }

    return 0;
}

void
aegis_kafka_security_free(aegis_kafka_security_t *s)
{
    int  i;

    for (i = 0; i < s->n; i++) {
        explicit_bzero(s->values[i], strlen(s->values[i]));
        free(s->values[i]);
    }
    s->n = 0;
}
