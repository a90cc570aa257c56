/*
 * aegis_conf_check.c: what the value of a setting may be beyond its type: the
 * limits of numbers, the form of addresses and names. Its invariant: a value
 * that passes needs no look again where it is used.
 */
#include "aegis_conf_impl.h"

#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "aegis_log.h"

/* Limits of INT settings; what is not here is 1..INT_MAX. */
static const struct {
    const char  *name;
    int64_t      min, max;
} aegis_conf_limits[] = {
    { "bus.fetch",            1, 256 },
    { "bus.nats.replicas",    1, 5 },
    { "bus.kafka.partitions", 1, 1000 },
    { "bus.kafka.replicas",   1, 16 },
    { "retry.max_deliveries", 1, 1000 },
    { "relay.batch",          1, 1000 },
    { "relay.poll_ms",        10, 60000 },
    { "reconcile.after_s",    1, 86400 },
    { "reconcile.every_s",    1, 3600 },
    { "analyze.every_s",      1, 3600 },
    { "analyze.settle_s",     0, 3600 },
    { "analyze.max_age_s",    60, 315360000 },
    { "analyze.group_window_s", 0, 604800 },
    { "maintain.every_s",     10, 86400 },
    { "exec.concurrency",     1, 4096 },
    { "exec.lease_s",         1, 3600 },
    { "exec.step_timeout_s",  1, 86400 },
    { "exec.output_max",      1024, 67108864 },
    { "otel.queue",           64, 65536 },
    { "gateway.verify_s",     1, 600 },
    { "k8s.replicas_max",     0, 10000 },
    { "k8s.request_timeout_s", 1, 10 },
    { "exec.per_target",      0, 4096 },
    { "script.group_memory_mb", 0, 1048576 },
    { "script.group_processes", 0, 4194304 },
    { "script.memory_mb",     0, 1048576 },
    { "script.processes",     4, 65536 },
    { "script.tmp_mb",        0, 1048576 },
    { "http.per_host",        0, 4096 },
    { "kb.cases",             0, 1 },
    { "kb.embed.timeout_ms",  100, 120000 },
    { "kb.fetch_max",         1024, 1048576 },
    { "kb.onnx.max_tokens",   8, 512 },
    { "kb.onnx.threads",      1, 64 },
    { "kb.fetch_timeout_s",   1, 120 },
    { "store.s3.give_up_s",   1, 604800 },
    { "sensor.body_max_kb",   1, 1048576 },
    { "sensor.unpacked_max_kb", 64, 1048576 },
    { "sensor.queue_mb",      1, 16384 },
    { "sensor.memory_mb",     16, 65536 },
    { "sensor.series_max",    1, 50000000 },
    { "sensor.patterns_max",  1, 1000000 },
    { "sensor.past_s",        60, 604800 },
    { "sensor.future_s",      1, 86400 },
    { "sensor.fold_delay_s",  0, 30 },
    { "verify.concurrency",   1, 256 },
    { "verify.lease_s",       1, 3600 },
    { "verify.prometheus.timeout_ms", 100, 60000 },
    { "verify.prometheus.answer_max", 1024, 67108864 },
};

static aegis_code_t
aegis_conf_check_int(const char *name, const char *value, const char *where,
    aegis_error_t *err)
{
    char     *end;
    size_t    k;
    int64_t   v, min, max;

    min = 1;
    max = INT_MAX;

    for (k = 0; k < sizeof(aegis_conf_limits) / sizeof(aegis_conf_limits[0]); k++) {
        if (strcmp(aegis_conf_limits[k].name, name) == 0) {
            min = aegis_conf_limits[k].min;
            max = aegis_conf_limits[k].max;
        }
    }

    v = strtoll(value, &end, 10);
    if (*value == '\0' || *end != '\0' || v < min || v > max) {
        return aegis_error_set(err, AEGIS_E_SCHEMA,
            "%s: %s must be a whole number from %lld to %lld, not \"%s\"",
            where, name, (long long) min, (long long) max, value);
    }

    return AEGIS_E_OK;
}

static int
aegis_conf_is_level(const char *value)
{
    return aegis_log_level_by_name(value) >= 0;
}

static int
aegis_conf_is_address(const char *value)
{
    const char  *port;

    port = strrchr(value, ':');
    return port != NULL && port[1] != '\0'
           && strspn(port + 1, "0123456789") == strlen(port + 1)
           && strlen(port + 1) <= 5 && atoi(port + 1) <= 65535;
}

/* Nothing in it that makes it mean another place than it seems. */
static int
aegis_conf_is_base_url(const char *value)
{
    return value[0] == '\0'
           || ((strncmp(value, "http://", 7) == 0 || strncmp(value, "https://", 8) == 0)
               && strpbrk(value, "@?# \t\"<>\\") == NULL && strlen(value) <= 1024);
}

static int
aegis_conf_is_header(const char *value)
{
    return strspn(value, "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz"
                         "0123456789-") == strlen(value) && strlen(value) <= 100;
}

static int
aegis_conf_is_protocol(const char *value)
{
    return strcmp(value, "plaintext") == 0 || strcmp(value, "ssl") == 0
           || strcmp(value, "sasl_plaintext") == 0 || strcmp(value, "sasl_ssl") == 0;
}

static int
aegis_conf_is_mechanism(const char *value)
{
    return strcmp(value, "SCRAM-SHA-512") == 0 || strcmp(value, "SCRAM-SHA-256") == 0
           || strcmp(value, "PLAIN") == 0;
}

static int
aegis_conf_is_store(const char *value)
{
    return strcmp(value, "file") == 0 || strcmp(value, "s3") == 0;
}

static int
aegis_conf_is_embedder(const char *value)
{
    return strcmp(value, "builtin") == 0 || strcmp(value, "http") == 0
           || strcmp(value, "onnx") == 0;
}

static int
aegis_conf_is_pooling(const char *value)
{
    return strcmp(value, "cls") == 0 || strcmp(value, "mean") == 0;
}

static int
aegis_conf_is_how(const char *value)
{
    return strcmp(value, "off") == 0 || strcmp(value, "auto") == 0
           || strcmp(value, "require") == 0;
}

static int
aegis_conf_is_group(const char *value)
{
    return value[0] == '/' || aegis_conf_is_how(value);
}

/* Forms of STRING settings; what is not here is any string. */
static const struct {
    const char   *name;
    int         (*fits)(const char *value);
    const char   *form;
} aegis_conf_forms[] = {
    { "bus.kafka.protocol", aegis_conf_is_protocol,
      "plaintext, ssl, sasl_plaintext or sasl_ssl" },
    { "bus.kafka.sasl_mechanism", aegis_conf_is_mechanism,
      "SCRAM-SHA-512, SCRAM-SHA-256 or PLAIN" },
    { "log.level", aegis_conf_is_level, "error, warn, info or debug" },
    { "metrics.listen", aegis_conf_is_address, "host:port" },
    { "script.cgroup", aegis_conf_is_group, "off, auto, require or an absolute path" },
    { "script.namespaces", aegis_conf_is_how, "off, auto or require" },
    { "script.seccomp", aegis_conf_is_how, "off, auto or require" },
    { "kb.embedder", aegis_conf_is_embedder, "builtin, http or onnx" },
    { "kb.onnx.pooling", aegis_conf_is_pooling, "cls or mean" },
    { "kb.embed.url", aegis_conf_is_base_url,
      "http:// or https:// with host, port and path alone" },
    { "store.kind", aegis_conf_is_store, "file or s3" },
    { "store.s3.endpoint", aegis_conf_is_base_url,
      "http:// or https:// with host, port and path alone" },
    { "verify.prometheus.url", aegis_conf_is_base_url,
      "http:// or https:// with host, port and path alone" },
    { "verify.prometheus.tenant_header", aegis_conf_is_header, "the name of a header" },
};

aegis_code_t
aegis_conf_check(const char *name, int is_int, const char *value, const char *where,
    aegis_error_t *err)
{
    size_t  k;

    if (is_int) {
        return aegis_conf_check_int(name, value, where, err);
    }

    for (k = 0; k < sizeof(aegis_conf_forms) / sizeof(aegis_conf_forms[0]); k++) {
        if (strcmp(aegis_conf_forms[k].name, name) == 0 && !aegis_conf_forms[k].fits(value)) {
            return aegis_error_set(err, AEGIS_E_SCHEMA, "%s: %s must be %s, not \"%s\"",
                                   where, name, aegis_conf_forms[k].form, value);
        }
    }

    return AEGIS_E_OK;
}
