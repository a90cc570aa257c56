/*
 * ingest.c: a sender of remote write 1.0, for measurements: so many series, each with
 * a sample a round, so many to a request, as Prometheus batches them; by a number of
 * connections, flat out or at a rate. With the path /ingest/hint each request is one
 * locator instead. Prints what was answered, as JSON.
 * usage: ingest <host:port | /socket> <path> <token> <tenant> series per_request seconds rate conns
 */
#include <errno.h>
#include <netdb.h>
#include <netinet/tcp.h>
#include <pthread.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <time.h>
#include <unistd.h>

#include <snappy-c.h>

#define MAX_LATENCIES  2000000

static const char  *target, *path, *token, *tenant;
static int          series, per, seconds, conns;
static double       rate;
static int64_t      started;
static uint64_t     next_request, done_samples, errors;
static uint32_t     latencies[MAX_LATENCIES];
static uint64_t     n_latencies;

static int64_t
now_us(int clock)
{
    struct timespec  ts;

    clock_gettime(clock, &ts);
    return (int64_t) ts.tv_sec * 1000000 + ts.tv_nsec / 1000;
}

static char *
varint(char *p, uint64_t n)
{
    for ( ; n > 0x7f; n >>= 7) {
        *p++ = (char) (n | 0x80);
    }
    *p++ = (char) n;
    return p;
}

static char *
text(char *p, int field, const char *s, size_t n)
{
    *p++ = (char) (field << 3 | 2);
    p = varint(p, n);
    memcpy(p, s, n);
    return p + n;
}

static char *
label(char *p, const char *name, const char *value)
{
    char  l[256], *q;

    q = text(l, 1, name, strlen(name));
    q = text(q, 2, value, strlen(value));
    return text(p, 1, l, (size_t) (q - l));
}

/* A request's worth: series from first on, all at t. */
static size_t
body(char *out, int first, int64_t t)
{
    int     i, k;
    char    one[1024], name[64], *p, *q, sample[32], *s;
    double  v;

    for (i = 0, p = out; i < per; i++) {
        k = (first + i) % series;
        snprintf(name, sizeof(name), "bench_metric_%d", k % 50);
        q = label(one, "__name__", name);
        q = label(q, "cluster", "eu-1");
        snprintf(name, sizeof(name), "10.%d.%d.%d:9100", k / 60000, k / 250 % 240, k % 250);
        q = label(q, "instance", name);
        q = label(q, "job", "node");
        q = label(q, "namespace", "shop");
        snprintf(name, sizeof(name), "web-%d-abcde", k / 50);
        q = label(q, "pod", name);
        snprintf(name, sizeof(name), "svc-%d", k / 500);
        q = label(q, "service", name);
        v = 100 + (k * 37 + t / 1000 * 11) % 1000 / 7.0;
        sample[0] = 1 << 3 | 1;
        memcpy(sample + 1, &v, 8);
        sample[9] = 2 << 3;
        s = varint(sample + 10, (uint64_t) t);
        q = text(q, 2, sample, (size_t) (s - sample));
        p = text(p, 1, one, (size_t) (q - one));
    }

    return (size_t) (p - out);
}

static int
dial(void)
{
    int                 fd, on;
    char                host[256], *port;
    struct addrinfo    *ai, hints = { .ai_socktype = SOCK_STREAM };
    struct sockaddr_un  un = { .sun_family = AF_UNIX };

    if (target[0] == '/') {
        snprintf(un.sun_path, sizeof(un.sun_path), "%s", target);
        fd = socket(AF_UNIX, SOCK_STREAM, 0);
        return fd >= 0 && connect(fd, (void *) &un, sizeof(un)) == 0 ? fd : -1;
    }

    snprintf(host, sizeof(host), "%s", target);
    port = strrchr(host, ':');
    *port++ = '\0';
    if (getaddrinfo(host, port, &hints, &ai) != 0) {
        return -1;
    }
    fd = socket(ai->ai_family, SOCK_STREAM, 0);
    if (connect(fd, ai->ai_addr, ai->ai_addrlen) != 0) {
        close(fd);
        fd = -1;
    }
    freeaddrinfo(ai);
    /* head and body are two writes: not to wait for each other */
    on = 1;
    (void) setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &on, sizeof(on));
    return fd;
}

static int
put(int fd, const char *p, size_t n)
{
    ssize_t  k;

    for ( ; n; p += k, n -= (size_t) k) {
        k = send(fd, p, n, MSG_NOSIGNAL);
        if (k <= 0) {
            return 0;
        }
    }
    return 1;
}

/* The status of an answer without a body, or with a length. */
static int
answer(int fd)
{
    int      status;
    char     in[8192], *end, *len;
    size_t   n, want;
    ssize_t  k;

    for (n = 0, end = NULL; end == NULL && n < sizeof(in) - 1; ) {
        k = recv(fd, in + n, sizeof(in) - 1 - n, 0);
        if (k <= 0) {
            return 0;
        }
        n += (size_t) k;
        in[n] = '\0';
        end = strstr(in, "\r\n\r\n");
    }
    status = end ? atoi(in + 9) : 0;
    len = strcasestr(in, "\r\ncontent-length:");
    want = len ? (size_t) atol(len + 17) : 0;
    for (n -= (size_t) (end + 4 - in); n < want; n += (size_t) k) {
        k = recv(fd, in, sizeof(in), 0);
        if (k <= 0) {
            return 0;
        }
    }
    return status;
}

static void *
sender(void *arg)
{
    int       fd, first, status, hint;
    char     *plain, *packed, head[1024], key[64];
    size_t    n, size;
    int64_t   t, due, began;
    uint64_t  r;

    (void) arg;
    hint = strcmp(path, "/ingest/hint") == 0;
    plain = malloc((size_t) per * 400);
    packed = malloc(snappy_max_compressed_length((size_t) per * 400));
    fd = -1;

    while (now_us(CLOCK_MONOTONIC) < started + (int64_t) seconds * 1000000) {
        r = __atomic_fetch_add(&next_request, 1, __ATOMIC_RELAXED);
        first = (int) (r * (uint64_t) per % (uint64_t) series);
        /* a round of all series has one time, as a scrape has */
        t = now_us(CLOCK_REALTIME) / 1000;
        if (hint) {
            n = (size_t) sprintf(packed, "{\"dataset\":\"logs\",\"bucket\":\"b\","
                "\"object_key\":\"k/%llu\",\"t_from\":\"2026-11-21T08:00:00Z\","
                "\"t_to\":\"2026-11-21T09:00:00Z\"}", (unsigned long long) r);
        } else {
            size = body(plain, first, t);
            n = snappy_max_compressed_length(size);
            snappy_compress(plain, size, packed, &n);
        }

        if (rate > 0) {
            due = started + (int64_t) ((double) r * per / rate * 1e6);
            t = due - now_us(CLOCK_MONOTONIC);
            if (t > 0) {
                usleep((useconds_t) t);
            }
            began = due;                    /* a late start is the receiver's doing too */
        } else {
            began = now_us(CLOCK_MONOTONIC);
        }

        if (fd < 0) {
            fd = dial();
        }
        snprintf(key, sizeof(key), "Idempotency-Key: %d-%llu\r\n", (int) getpid(), (unsigned long long) r);
        snprintf(head, sizeof(head), "POST %s HTTP/1.1\r\nHost: localhost\r\n%s"
                 "X-Aegis-Tenant: %s\r\nAuthorization: Bearer %s\r\n"
                 "Content-Length: %zu\r\n%s\r\n", path,
                 hint ? "Content-Type: application/json\r\n" : "Content-Type: application/x-protobuf\r\n"
                 "Content-Encoding: snappy\r\nX-Prometheus-Remote-Write-Version: 0.1.0\r\n",
                 tenant, token, n, hint ? key : "");
        status = fd >= 0 && put(fd, head, strlen(head)) && put(fd, packed, n) ? answer(fd) : 0;
        if (status / 100 != 2) {
            if (__atomic_fetch_add(&errors, 1, __ATOMIC_RELAXED) == 0) {
                fprintf(stderr, "ingest: status %d\n", status);
            }
            if (fd >= 0) {
                close(fd);
            }
            fd = -1;
            usleep(20000);
            continue;
        }
        __atomic_fetch_add(&done_samples, (uint64_t) per, __ATOMIC_RELAXED);
        r = __atomic_fetch_add(&n_latencies, 1, __ATOMIC_RELAXED);
        if (r < MAX_LATENCIES) {
            latencies[r] = (uint32_t) (now_us(CLOCK_MONOTONIC) - began);
        }
    }

    free(plain);
    free(packed);
    return NULL;
}

static int
order(const void *a, const void *b)
{
    const uint32_t  *x = a, *y = b;

    return (*x > *y) - (*x < *y);
}

int
main(int argc, char **argv)
{
    int        i;
    double     took;
    uint64_t   n;
    pthread_t  threads[256];

    if (argc != 10) {
        fprintf(stderr, "usage: ingest target path token tenant series per_request seconds rate conns\n");
        return 2;
    }

    target = argv[1];
    path = argv[2];
    token = argv[3];
    tenant = argv[4];
    series = atoi(argv[5]);
    per = atoi(argv[6]);
    seconds = atoi(argv[7]);
    rate = atof(argv[8]);
    conns = atoi(argv[9]) < 256 ? atoi(argv[9]) : 256;
    started = now_us(CLOCK_MONOTONIC);

    for (i = 0; i < conns; i++) {
        pthread_create(&threads[i], NULL, sender, NULL);
    }
    for (i = 0; i < conns; i++) {
        pthread_join(threads[i], NULL);
    }

    took = (double) (now_us(CLOCK_MONOTONIC) - started) / 1e6;
    n = n_latencies < MAX_LATENCIES ? n_latencies : MAX_LATENCIES;
    qsort(latencies, n, sizeof(latencies[0]), order);
    printf("{\"samples\":%llu,\"seconds\":%.2f,\"per_s\":%.0f,\"requests\":%llu,\"errors\":%llu,"
           "\"p50_ms\":%.2f,\"p99_ms\":%.2f,\"max_ms\":%.2f}\n",
           (unsigned long long) done_samples, took, (double) done_samples / took,
           (unsigned long long) n_latencies, (unsigned long long) errors,
           n ? latencies[n / 2] / 1e3 : 0, n ? latencies[n * 99 / 100] / 1e3 : 0,
           n ? latencies[n - 1] / 1e3 : 0);
    return 0;
}
