/*
 * aegis_sensor_http.c: what senders speak, over a unix socket behind nginx, which has
 * authenticated them and names the tenant in X-Aegis-Tenant. A request is read,
 * unpacked and decoded here, waits for its commit suspended, and is answered in its
 * sender's own form (aegis_sensor_reply.c).
 * Invariant: bodies under way are bounded in size and, all together, in memory.
 */
#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/file.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <unistd.h>

#include "aegis_hash.h"
#include "aegis_sensor_http.h"

#define AEGIS_HTTP_THREADS  2
#define AEGIS_HTTP_CONNS    1024
#define AEGIS_HTTP_TIMEOUT  60
#define AEGIS_HTTP_FIRST    65536

static const aegis_sensor_kind_t  aegis_kinds[] = {
    { "prw1", "metrics", aegis_decode_prw1 },
    { "prw2", "metrics", aegis_decode_prw2 },
    { "otlp-metrics", "metrics", aegis_decode_metrics },
    { "otlp-metrics-json", "metrics", aegis_decode_metrics_json },
    { "otlp-logs", "logs", aegis_decode_logs },
    { "otlp-logs-json", "logs", aegis_decode_logs_json },
    { "otlp-traces", "traces", aegis_decode_traces },
    { "otlp-traces-json", "traces", aegis_decode_traces_json },
    { "loki", "logs", aegis_decode_loki },
    { "loki-json", "logs", aegis_decode_loki_json },
    { "alertmanager", "events", aegis_decode_alerts },
    { "kubernetes", "events", aegis_decode_kube },
    { "cloudevents", "events", aegis_decode_cloudevents }
};

static const aegis_path_t  aegis_paths[] = {
    { "/api/v1/write", AEGIS_PRW, "prw1", "prw2" },
    { "/v1/metrics", AEGIS_OTLP, "otlp-metrics", "otlp-metrics-json" },
    { "/v1/logs", AEGIS_OTLP, "otlp-logs", "otlp-logs-json" },
    { "/v1/traces", AEGIS_OTLP, "otlp-traces", "otlp-traces-json" },
    { "/loki/api/v1/push", AEGIS_LOKI, "loki", "loki-json" },
    { "/ingest/alertmanager", AEGIS_EVENTS, "alertmanager", "alertmanager" },
    { "/ingest/kubernetes", AEGIS_EVENTS, "kubernetes", "kubernetes" },
    { "/ingest/cloudevents", AEGIS_EVENTS, "cloudevents", "cloudevents" }
};

const aegis_sensor_kind_t *
aegis_sensor_kind_by_name(const char *name)
{
    size_t  i;

    for (i = 0; i < sizeof(aegis_kinds) / sizeof(aegis_kinds[0]); i++) {
        if (strcmp(aegis_kinds[i].name, name) == 0) {
            return &aegis_kinds[i];
        }
    }

    return NULL;
}

aegis_code_t
aegis_sensor_decode(const aegis_sensor_kind_t *kind, const char *encoding, aegis_str_t body,
    size_t max, aegis_signals_t *s, aegis_error_t *err)
{
    aegis_code_t  rc;

    rc = AEGIS_E_OK;
    if (strcmp(encoding, "gzip") == 0) {
        rc = aegis_unpack_gzip(s->arena, body, max, &body, err);
    } else if (strcmp(encoding, "snappy") == 0) {
        rc = aegis_unpack_snappy(s->arena, body, max, &body, err);
    }

    return rc == AEGIS_E_OK ? kind->decode(s, body, err) : rc;
}

const char *
aegis_call_header(const aegis_call_t *c, const char *name)
{
    const char  *v;

    v = MHD_lookup_connection_value(c->connection, MHD_HEADER_KIND, name);
    return v ? v : "";
}

static int
aegis_call_is(const char *type, const char *want)
{
    return strncasecmp(type, want, strlen(want)) == 0
        && (type[strlen(want)] == '\0' || strchr("; \t,", type[strlen(want)]));
}

/* Which decoder and which compression; an HTTP status when there is none. */
static unsigned
aegis_call_media(aegis_call_t *c)
{
    int          json, pb;
    const char  *type, *enc;

    type = aegis_call_header(c, "Content-Type");
    enc = aegis_call_header(c, "Content-Encoding");
    json = aegis_call_is(type, "application/json");
    pb = aegis_call_is(type, "application/x-protobuf");
    c->json = json;
    c->v2 = c->path->family == AEGIS_PRW && strstr(type, "io.prometheus.write.v2.Request") != NULL;

    if (c->path->family == AEGIS_EVENTS) {
        c->binary = strcmp(c->path->first, "cloudevents") == 0
                    && aegis_call_header(c, "ce-specversion")[0] != '\0';
        if (!json && !c->binary && !aegis_call_is(type, "application/cloudevents+json")
            && !aegis_call_is(type, "application/cloudevents-batch+json"))
        {
            return 415;
        }
    } else if ((c->path->family == AEGIS_PRW && !pb) || (!json && !pb)) {
        return 415;
    }

    c->job.kind = aegis_sensor_kind_by_name((c->path->family == AEGIS_PRW ? c->v2 : json)
                                     ? c->path->second : c->path->first);
    c->job.encoding = strcasecmp(enc, "gzip") == 0 ? "gzip" : strcasecmp(enc, "snappy") == 0 ? "snappy" : "";
    if (enc[0] && c->job.encoding[0] == '\0' && strcasecmp(enc, "identity") != 0) {
        return 415;
    }
    if (c->path->family == AEGIS_PRW && c->job.encoding[0] == '\0') {
        c->job.encoding = "snappy";
    }
    if (c->path->family == AEGIS_LOKI && !json && c->job.encoding[0] == '\0') {
        c->job.encoding = "snappy";         /* promtail names none */
    }

    return 0;
}

/* Before the body: whoever is refused here need not send it. */
static unsigned
aegis_call_begin(aegis_call_t *c, const char *url, const char *method)
{
    size_t       i;
    const char  *tenant, *length;

    for (i = 0; i < sizeof(aegis_paths) / sizeof(aegis_paths[0]); i++) {
        if (strcmp(url, aegis_paths[i].path) == 0) {
            c->path = &aegis_paths[i];
        }
    }

    tenant = aegis_call_header(c, "X-Aegis-Tenant");
    length = aegis_call_header(c, "Content-Length");

    if (c->path == NULL) {
        c->path = &aegis_paths[5];
        return aegis_call_refuse(c, 404, "there is no such path");
    }
    if (strcmp(method, "POST") != 0) {
        return aegis_call_refuse(c, 405, "only POST is taken here");
    }
    if (tenant[0] == '\0' || strlen(tenant) >= sizeof(c->job.tenant)) {
        return aegis_call_refuse(c, 401, "no tenant is named: this socket is to be behind the gateway");
    }
    memcpy(c->job.tenant, tenant, strlen(tenant) + 1);

    if (aegis_call_media(c) != 0) {
        return aegis_call_refuse(c, 415, "the content type or encoding is not taken here");
    }
    if (length[0] && strtoull(length, NULL, 10) > c->x->body_max) {
        return aegis_call_refuse(c, 413, "the body is larger than sensor.body_max_kb");
    }

    return 0;
}

static void
aegis_call_append(aegis_call_t *c, const char *data, size_t n)
{
    char    *p;
    size_t   size;

    if (c->status) {
        return;
    }
    if (c->len + n > c->x->body_max) {
        (void) aegis_call_refuse(c, 413, "the body is larger than sensor.body_max_kb");
        return;
    }
    if (c->len + n > c->size) {
        for (size = c->size ? c->size : AEGIS_HTTP_FIRST; size < c->len + n; size *= 2) {
            /* void */
        }
        if (__atomic_add_fetch(&c->x->held, size - c->size, __ATOMIC_RELAXED) > c->x->queue_max * 2) {
            __atomic_sub_fetch(&c->x->held, size - c->size, __ATOMIC_RELAXED);
            (void) aegis_call_refuse(c, 429, "too much is under way");
            return;
        }
        p = realloc(c->body, size);
        if (p == NULL) {
            __atomic_sub_fetch(&c->x->held, size - c->size, __ATOMIC_RELAXED);
            (void) aegis_call_refuse(c, 429, "no memory");
            return;
        }
        c->body = p;
        c->size = size;
    }

    memcpy(c->body + c->len, data, n);
    c->len += n;
}

static void
aegis_call_done(aegis_job_t *job)
{
    aegis_call_t  *c;

    c = job->data;
    c->decided = 1;
    MHD_resume_connection(c->connection);
}

static void
aegis_call_hash(aegis_call_t *c)
{
    aegis_str_t    parts[3];
    unsigned char  sum[AEGIS_SHA256_LEN];

    parts[0] = aegis_view(c->job.kind->name);
    parts[1] = (aegis_str_t) { 1, "" };
    parts[2] = c->job.body;
    aegis_sha256(parts, 3, sum);
    aegis_hex(sum, AEGIS_SHA256_LEN, c->job.hash);
}

static unsigned
aegis_call_status(aegis_code_t rc)
{
    return rc == AEGIS_E_TOO_LARGE ? 413 : rc == AEGIS_E_UNAVAILABLE ? 503 : 400;
}

/* The whole body is there. */
static void
aegis_call_take(aegis_call_t *c)
{
    aegis_code_t     rc;
    aegis_error_t    err = AEGIS_ERROR_INIT;
    aegis_sensor_t  *x;

    x = c->x;
    if (c->binary && !aegis_call_structured(c)) {
        (void) aegis_call_refuse(c, 400, "the event's headers or data cannot be read");
        return;
    }

    c->job.body = (aegis_str_t) { c->len, c->body ? c->body : "" };
    c->arena = aegis_arena_new(x->unpacked_max * 4);
    if (c->arena == NULL) {
        (void) aegis_call_refuse(c, 503, "no memory");
        return;
    }

    aegis_signals_init(&c->job.signals, c->arena, c->job.tenant, aegis_sensor_clock(), x->past, x->future);
    rc = aegis_sensor_decode(c->job.kind, c->job.encoding, c->job.body, x->unpacked_max,
                             &c->job.signals, &err);
    if (rc != AEGIS_E_OK) {
        aegis_metric_add(x->m.bad, 1);
        (void) aegis_call_refuse(c, aegis_call_status(rc), err.detail);
        aegis_error_clear(&err);
        return;
    }

    if (c->job.signals.taken == 0) {
        c->decided = 1;                     /* nothing is left to be kept */
        c->job.state = 1;
        return;
    }

    aegis_call_hash(c);
    c->job.done = aegis_call_done;
    c->job.data = c;

    MHD_suspend_connection(c->connection);
    c->suspended = 1;
    if (aegis_sensor_full(x) || !aegis_sensor_submit(x, &c->job)) {
        (void) aegis_call_refuse(c, 429, "the backlog is full");
        c->decided = 1;
        MHD_resume_connection(c->connection);
    }
}

static enum MHD_Result
aegis_http_access(void *data, struct MHD_Connection *connection, const char *url,
    const char *method, const char *version, const char *upload, size_t *size, void **state)
{
    aegis_call_t  *c;

    c = *state;
    if (c == NULL) {
        c = calloc(1, sizeof(aegis_call_t));
        if (c == NULL) {
            return MHD_NO;
        }
        *state = c;
        c->x = data;
        c->connection = connection;
        if (aegis_call_begin(c, url, method) != 0
            && aegis_call_header(c, "Expect")[0] != '\0')
        {
            return aegis_call_answer(c);
        }
        return MHD_YES;
    }

    if (*size) {
        aegis_call_append(c, upload, *size);
        *size = 0;
        return MHD_YES;
    }

    if (c->status == 0 && !c->decided && !c->suspended) {
        aegis_call_take(c);
        if (c->suspended) {
            return MHD_YES;                 /* called again when it is resumed */
        }
    }

    return aegis_call_answer(c);
}

static void
aegis_http_completed(void *data, struct MHD_Connection *connection, void **state,
    enum MHD_RequestTerminationCode code)
{
    aegis_call_t  *c;

    c = *state;
    if (c) {
        __atomic_sub_fetch(&c->x->held, c->size, __ATOMIC_RELAXED);
        free(c->body);
        aegis_arena_free(c->arena);
        free(c);
        *state = NULL;
    }
}

/* The socket is his who holds the lock beside it, until he ends, however that is: two
 * that took each other's name away would leave none to serve. -1: another has it. */
static int
aegis_http_own(const char *path, aegis_error_t *err)
{
    int   fd;
    char  name[4096 + sizeof(".lock")];

    snprintf(name, sizeof(name), "%s.lock", path);
    fd = open(name, O_RDWR | O_CREAT | O_CLOEXEC | O_NOFOLLOW, 0660);
    if (fd >= 0 && flock(fd, LOCK_EX | LOCK_NB) == 0) {
        return fd;
    }

    (void) aegis_error_set(err, AEGIS_E_UNAVAILABLE, "%s: %s", name,
                           fd >= 0 && errno == EWOULDBLOCK ? "another sensor serves it" : strerror(errno));
    if (fd >= 0) {
        (void) close(fd);
    }

    return -1;
}

static int
aegis_http_listen(const char *path, aegis_error_t *err)
{
    int                 fd;
    struct sockaddr_un  addr;

    memset(&addr, 0, sizeof(addr));
    addr.sun_family = AF_UNIX;
    if (strlen(path) >= sizeof(addr.sun_path)) {
        (void) aegis_error_set(err, AEGIS_E_SCHEMA, "sensor.socket is longer than a socket's name may be");
        return -1;
    }
    memcpy(addr.sun_path, path, strlen(path) + 1);
    (void) unlink(path);

    fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
    if (fd < 0 || bind(fd, (struct sockaddr *) &addr, sizeof(addr)) != 0
        || chmod(path, 0660) != 0 || listen(fd, 511) != 0)
    {
        (void) aegis_error_set(err, AEGIS_E_UNAVAILABLE, "%s: %s", path, strerror(errno));
        if (fd >= 0) {
            (void) close(fd);
        }
        return -1;
    }

    return fd;
}

int
aegis_sensor_http_start(aegis_sensor_t *x, aegis_error_t *err)
{
    int   fd;
    char  path[4096];

    (void) aegis_conf_path(x->w->conf, "sensor.socket", path);
    if (x->own < 0) {
        x->own = aegis_http_own(path, err);
        if (x->own < 0) {
            return 0;
        }
    }

    fd = aegis_http_listen(path, err);
    if (fd < 0) {
        return 0;
    }

    x->http = MHD_start_daemon(MHD_USE_INTERNAL_POLLING_THREAD | MHD_USE_EPOLL
                               | MHD_ALLOW_SUSPEND_RESUME, 0, NULL, NULL, aegis_http_access, x,
        MHD_OPTION_LISTEN_SOCKET, fd,
        MHD_OPTION_THREAD_POOL_SIZE, (unsigned) AEGIS_HTTP_THREADS,
        MHD_OPTION_CONNECTION_LIMIT, (unsigned) AEGIS_HTTP_CONNS,
        MHD_OPTION_CONNECTION_TIMEOUT, (unsigned) AEGIS_HTTP_TIMEOUT,
        MHD_OPTION_CONNECTION_MEMORY_LIMIT, (size_t) 131072,
        MHD_OPTION_NOTIFY_COMPLETED, aegis_http_completed, x, MHD_OPTION_END);
    if (x->http == NULL) {
        (void) close(fd);
        (void) aegis_error_set(err, AEGIS_E_UNAVAILABLE, "the HTTP server cannot be started");
    }

    return x->http != NULL;
}

void
aegis_sensor_http_stop(aegis_sensor_t *x)
{
    if (x->http) {
        MHD_stop_daemon(x->http);
        x->http = NULL;
    }
    if (x->own >= 0) {
        (void) close(x->own);
        x->own = -1;
    }
}
