/*
 * aegis_otel.c: the worker's tracer and the settings otel.*. Invariant: what
 * happens to spans never changes what happens to messages; a collector that is
 * away costs a log line and counters.
 */
#include <pthread.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>
#include <sys/random.h>
#include <unistd.h>

#include "aegis_log.h"
#include "aegis_metrics.h"
#include "aegis_otel.h"
#include "aegis_tracer.h"

#define AEGIS_OTEL_HEADERS_MAX  8192

static aegis_tracer_t  *aegis_otel_tracer;
static aegis_metric_t  *aegis_otel_counters[AEGIS_TRACER_RESULTS];
static aegis_metric_t  *aegis_otel_queue;

static void
aegis_otel_count(aegis_tracer_result_t result, uint64_t n)
{
    aegis_metric_add(aegis_otel_counters[result], (double) n);
}

static aegis_code_t
aegis_otel_ratio(const aegis_conf_t *conf, double *ret_ratio, aegis_error_t *err)
{
    char        *end;
    double       ratio;
    const char  *text;

    text = aegis_conf_str(conf, "otel.ratio");
    ratio = strtod(text, &end);

    if (end == text || *end != '\0' || !(ratio >= 0 && ratio <= 1)) {
        return aegis_error_set(err, AEGIS_E_SCHEMA,
                               "otel.ratio: \"%.40s\" is no number from 0 to 1", text);
    }

    *ret_ratio = ratio;
    return AEGIS_E_OK;
}

/* The lines of otel.headers_file; "" when there is none. */
static aegis_code_t
aegis_otel_headers(const aegis_conf_t *conf, char buf[AEGIS_OTEL_HEADERS_MAX],
    aegis_error_t *err)
{
    char     path[4096];
    FILE    *in;
    size_t   n;

    buf[0] = '\0';
    if (aegis_conf_str(conf, "otel.headers_file")[0] == '\0') {
        return AEGIS_E_OK;
    }

    in = fopen(aegis_conf_path(conf, "otel.headers_file", path), "re");
    n = in ? fread(buf, 1, AEGIS_OTEL_HEADERS_MAX, in) : 0;
    if (in == NULL || ferror(in) || n == AEGIS_OTEL_HEADERS_MAX) {
        if (in != NULL) {
            fclose(in);
        }
        return aegis_error_set(err, AEGIS_E_SCHEMA,
            "otel.headers_file: %.200s cannot be read, or is longer than %d bytes", path,
            AEGIS_OTEL_HEADERS_MAX - 1);
    }

    fclose(in);
    buf[n] = '\0';
    return AEGIS_E_OK;
}

aegis_code_t
aegis_otel_check(const aegis_conf_t *conf, aegis_error_t *err)
{
    char          headers[AEGIS_OTEL_HEADERS_MAX];
    double        ratio;
    int64_t       queue;
    const char   *url;

    url = aegis_conf_str(conf, "otel.endpoint");
    queue = aegis_conf_int(conf, "otel.queue");

    if (url[0] && strncasecmp(url, "http://", 7) != 0 && strncasecmp(url, "https://", 8) != 0) {
        return aegis_error_set(err, AEGIS_E_SCHEMA,
            "otel.endpoint: \"%.200s\" is no address such as http://collector:4318/v1/traces",
            url);
    }

    if (queue & (queue - 1)) {
        return aegis_error_set(err, AEGIS_E_SCHEMA, "otel.queue: %lld is no power of two",
                               (long long) queue);
    }

    return aegis_otel_ratio(conf, &ratio, err) != AEGIS_E_OK ? err->code
           : aegis_otel_headers(conf, headers, err);
}

aegis_code_t
aegis_otel_start(const aegis_conf_t *conf, aegis_error_t *err)
{
    int                  i;
    char                 host[128], instance[160], labels[48], ca[4096];
    char                 headers[AEGIS_OTEL_HEADERS_MAX];
    aegis_tracer_conf_t  c;

    memset(&c, 0, sizeof(c));
    c.url = aegis_conf_str(conf, "otel.endpoint");
    if (c.url[0] == '\0') {
        return AEGIS_E_OK;
    }

    if (aegis_otel_ratio(conf, &c.ratio, err) != AEGIS_E_OK
        || aegis_otel_headers(conf, headers, err) != AEGIS_E_OK)
    {
        return err->code;
    }

    if (gethostname(host, sizeof(host)) != 0) {
        strcpy(host, "localhost");
    }
    host[sizeof(host) - 1] = '\0';
    snprintf(instance, sizeof(instance), "%s:%d", host, (int) getpid());

    for (i = 0; i < AEGIS_TRACER_RESULTS; i++) {
        snprintf(labels, sizeof(labels), "result=\"%s\"",
                 aegis_tracer_result((aegis_tracer_result_t) i));
        aegis_otel_counters[i] = aegis_counter("aegis_otel_spans_total", labels,
            "Spans by what became of them: exported, dropped because the queue was full,"
            " rejected by the collector, failed after several tries.");
    }
    aegis_otel_queue = aegis_gauge("aegis_otel_queue", "", "Spans that wait to be sent.");

    c.headers = headers;
    c.ca_file = aegis_conf_str(conf, "otel.ca_file")[0]
                ? aegis_conf_path(conf, "otel.ca_file", ca) : NULL;
    c.queue = (size_t) aegis_conf_int(conf, "otel.queue");
    c.count = aegis_otel_count;
    c.source.service = aegis_conf_str(conf, "otel.service");
    c.source.instance = instance;
    c.source.host = host;
    c.source.pid = getpid();

    aegis_otel_tracer = aegis_tracer_start(&c);
    return aegis_otel_tracer ? AEGIS_E_OK
           : aegis_error_set(err, AEGIS_E_UNAVAILABLE, "spans cannot be exported: no thread or"
                             " no memory, or libcurl cannot be set up");
}

void
aegis_otel_stop(void)
{
    aegis_tracer_stop(aegis_otel_tracer);
    aegis_otel_tracer = NULL;
}

int
aegis_otel_on(void)
{
    return aegis_otel_tracer != NULL;
}

void
aegis_otel_tell(void)
{
    char  detail[256];

    if (aegis_otel_tracer == NULL) {
        return;
    }

    aegis_metric_set(aegis_otel_queue, (double) aegis_tracer_queued(aegis_otel_tracer));

    switch (aegis_tracer_news(aegis_otel_tracer, detail, sizeof(detail))) {

    case 1:
        aegis_log(AEGIS_LOG_WARN, "worker", "otel-collector-away", "error", "%s", detail, NULL);
        break;

    case 2:
        aegis_log(AEGIS_LOG_INFO, "worker", "otel-collector-back", NULL);
        break;

    default:
        break;
    }
}

/* Ids need not be secret, only different. */
static void
aegis_otel_random(unsigned char *out, size_t n)
{
    static __thread unsigned char  pool[256];
    static __thread size_t         left;

    if (left < n) {
        if (getrandom(pool, sizeof(pool), 0) != (ssize_t) sizeof(pool)) {
            abort();                    /* the kernel has no random numbers */
        }
        left = sizeof(pool);
    }

    memcpy(out, pool + sizeof(pool) - left, n);
    left -= n;
}

int
aegis_otel_begin(aegis_span_t *span, aegis_str_t context, aegis_span_kind_t kind,
    char fresh[AEGIS_CONTEXT_MAX + 1], const char *name, ...)
{
    int            root;
    char           text[128], parent[AEGIS_TRACEPARENT_LEN + 1];
    va_list        args;
    unsigned char  random[24];

    if (aegis_otel_tracer == NULL) {
        return 0;
    }

    root = context.data == NULL || context.len == 0;
    if (root) {
        aegis_otel_random(random, sizeof(random));
        (void) aegis_http_traceparent(AEGIS_NO_STR, random, parent);
        aegis_context_sample(parent, aegis_tracer_ratio(aegis_otel_tracer));
        context = (aegis_str_t) { AEGIS_TRACEPARENT_LEN, parent };
        if (fresh != NULL) {
            memcpy(fresh, parent, sizeof(parent));
        }
    }

    if (!aegis_context_sampled(context)) {
        return 0;
    }

    va_start(args, name);
    (void) vsnprintf(text, sizeof(text), name, args);
    va_end(args);

    aegis_otel_random(random, 8);
    aegis_span_begin(span, context, random, kind, "%s", text);
    if (root) {
        span->parent_id[0] = '\0';
    }
    if (fresh != NULL) {
        (void) aegis_span_context(span, fresh);
    }

    span->start_ns = aegis_tracer_now();
    return 1;
}

void
aegis_otel_message(aegis_span_t *span, const char *transport, const char *operation,
    aegis_str_t subject, aegis_str_t id, aegis_str_t tenant, aegis_str_t case_id)
{
    aegis_span_str(span, "messaging.system",
                   aegis_view(transport));
    aegis_span_str(span, "messaging.operation.type",
                   aegis_view(operation));
    aegis_span_str(span, "messaging.destination.name", subject);
    aegis_span_str(span, "messaging.message.id", id);
    aegis_span_str(span, "aegis.tenant", tenant);
    aegis_span_str(span, "aegis.case_id", case_id);
}

void
aegis_otel_end(aegis_span_t *span, const char *error)
{
    span->end_ns = aegis_tracer_now();
    span->error = error != NULL;
    if (error != NULL) {
        aegis_span_str(span, "error.type", aegis_view(error));
    }

    aegis_tracer_push(aegis_otel_tracer, span);
}
