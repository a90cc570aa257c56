/*
 * loop.c: so many cases at once through the whole loop: each connection creates a
 * case over HTTP and the next one when that is seen CLOSED among the transitions on
 * NATS. Prints one JSON object. In C, because what it takes of the cores is what the
 * measured system does not have.
 * Invariant: every case that was created is seen CLOSED, or the program says what
 * happened instead and ends with 1.
 */
#include <arpa/inet.h>
#include <errno.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <poll.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

#define LOOP_CONNS    1024
#define LOOP_ANSWER   16384
#define LOOP_BUS      (4 << 20)
#define LOOP_SILENCE  30000             /* ms without a case that moved */
#define LOOP_ID       36

typedef struct {
    int       fd;
    int       busy;                     /* its answer is not here yet */
    char      in[LOOP_ANSWER + 1];
    size_t    len;
    char      id[LOOP_ID + 1];          /* of the case that is under way */
    uint64_t  began;
} loop_conn_t;

static loop_conn_t   *loop_conns;
static int            loop_n_conns, loop_started, loop_done, loop_total;
static const char    *loop_token, *loop_prefix;
static uint64_t      *loop_took;

/* closed before the answer to its creation was read */
static char           loop_early[LOOP_CONNS][LOOP_ID + 1];
static int            loop_n_early;

static char           loop_bus[LOOP_BUS + 1];
static size_t         loop_bus_len;


static void __attribute__((format(printf, 1, 2), noreturn))
loop_die(const char *fmt, ...)
{
    va_list  args;

    va_start(args, fmt);
    fprintf(stderr, "loop: ");
    vfprintf(stderr, fmt, args);
    fprintf(stderr, "\n");
    va_end(args);
    exit(1);
}


static uint64_t
loop_now(void)
{
    struct timespec  ts;

    clock_gettime(CLOCK_MONOTONIC, &ts);
    return (uint64_t) ts.tv_sec * 1000000000 + (uint64_t) ts.tv_nsec;
}


static int
loop_connect(const char *host, int port)
{
    int                 fd, one = 1;
    struct sockaddr_in  sin;

    memset(&sin, 0, sizeof(sin));
    sin.sin_family = AF_INET;
    sin.sin_port = htons((uint16_t) port);
    fd = socket(AF_INET, SOCK_STREAM|SOCK_CLOEXEC, 0);
    if (fd < 0 || inet_pton(AF_INET, host, &sin.sin_addr) != 1
        || connect(fd, (struct sockaddr *) &sin, sizeof(sin)) != 0)
    {
        loop_die("%s:%d: %s", host, port, strerror(errno));
    }

    setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &one, sizeof(one));
    return fd;
}


static void
loop_write(int fd, const char *text, size_t len)
{
    ssize_t  n;

    while (len > 0) {
        n = send(fd, text, len, MSG_NOSIGNAL);
        if (n <= 0) {
            loop_die("write: %s", strerror(errno));
        }
        text += n;
        len -= (size_t) n;
    }
}


static void
loop_create(loop_conn_t *c)
{
    int   n, body;
    char  text[1024], json[96];

    if (loop_started == loop_total) {
        return;
    }

    loop_started++;
    body = snprintf(json, sizeof(json), "{\"title\":\"case %d of the loop\"}", loop_started);
    n = snprintf(text, sizeof(text),
                 "POST /case/create HTTP/1.1\r\nHost: localhost\r\nAuthorization: Bearer %s\r\n"
                 "Content-Type: application/json\r\nIdempotency-Key: %s-%d\r\n"
                 "Content-Length: %d\r\n\r\n%s",
                 loop_token, loop_prefix, loop_started, body, json);
    if (n >= (int) sizeof(text)) {
        loop_die("the credential is too long");
    }

    c->busy = 1;
    c->len = 0;
    c->id[0] = '\0';
    c->began = loop_now();
    loop_write(c->fd, text, (size_t) n);
}


static void
loop_closed(loop_conn_t *c)
{
    loop_took[loop_done++] = loop_now() - c->began;
    c->id[0] = '\0';
    loop_create(c);
}


/* A string member of a document whose members are known to be plain. */
static int
loop_member(const char *text, const char *end, const char *name, char *out, size_t size)
{
    size_t       n;
    const char  *p, *q;

    p = memmem(text, (size_t) (end - text), name, strlen(name));
    if (p == NULL) {
        return 0;
    }

    p += strlen(name);
    q = memchr(p, '"', (size_t) (end - p));
    n = q ? (size_t) (q - p) : size;
    if (n >= size) {
        return 0;
    }

    memcpy(out, p, n);
    out[n] = '\0';
    return 1;
}


static void
loop_answer(loop_conn_t *c)
{
    int          i;
    long         length;
    ssize_t      n;
    const char  *body, *p;

    n = recv(c->fd, c->in + c->len, LOOP_ANSWER - c->len, 0);
    if (n <= 0) {
        loop_die("the gateway closed a connection");
    }

    c->len += (size_t) n;
    c->in[c->len] = '\0';
    body = strstr(c->in, "\r\n\r\n");
    p = strcasestr(c->in, "\r\nContent-Length: ");
    length = p ? atol(p + 18) : -1;
    if (body == NULL || (length >= 0 && c->in + c->len < body + 4 + length)) {
        return;
    }

    if (!c->busy || strncmp(c->in, "HTTP/1.1 201 ", 13) != 0
        || !loop_member(body, c->in + c->len, "\"case_id\":\"", c->id, sizeof(c->id))
        || strlen(c->id) != LOOP_ID)
    {
        loop_die("not created: %s", c->in);
    }

    c->busy = 0;
    for (i = 0; i < loop_n_early; i++) {
        if (strcmp(loop_early[i], c->id) == 0) {
            memmove(loop_early[i], loop_early[--loop_n_early], sizeof(loop_early[i]));
            loop_closed(c);
            return;
        }
    }
}


static void
loop_transition(const char *text, const char *end)
{
    int   i;
    char  id[LOOP_ID + 1], to[32];

    if (!loop_member(text, end, "\"to_status\":\"", to, sizeof(to))
        || !loop_member(text, end, "\"case_id\":\"", id, sizeof(id)) || strlen(id) != LOOP_ID)
    {
        loop_die("not a transition: %.*s", (int) (end - text), text);
    }
    if (strcmp(to, "PARKED") == 0) {
        loop_die("a case was parked: %.*s", (int) (end - text), text);
    }
    if (strcmp(to, "CLOSED") != 0) {
        return;
    }

    for (i = 0; i < loop_n_conns; i++) {
        if (strcmp(loop_conns[i].id, id) == 0) {
            loop_closed(&loop_conns[i]);
            return;
        }
    }

    if (loop_n_early == LOOP_CONNS) {
        loop_die("%d cases were closed that nobody here made", loop_n_early);
    }
    strcpy(loop_early[loop_n_early++], id);
}


/* What NATS has said: MSG and HMSG with a whole payload, PING. */
static void
loop_heard(int fd)
{
    char     *p, *eol, *end, *last;
    long      total, head;
    ssize_t   n;

    n = recv(fd, loop_bus + loop_bus_len, LOOP_BUS - loop_bus_len, 0);
    if (n <= 0) {
        loop_die("NATS closed the connection");
    }
    loop_bus_len += (size_t) n;
    loop_bus[loop_bus_len] = '\0';

    for (p = loop_bus, end = loop_bus + loop_bus_len; p < end; ) {
        eol = memmem(p, (size_t) (end - p), "\r\n", 2);
        if (eol == NULL) {
            break;
        }

        if (strncmp(p, "MSG ", 4) == 0 || strncmp(p, "HMSG ", 5) == 0) {
            *eol = '\0';
            last = strrchr(p, ' ');
            total = atol(last + 1);
            head = 0;
            if (p[0] == 'H') {
                *last = '\0';
                head = atol(strrchr(p, ' ') + 1);
                *last = ' ';
            }
            *eol = '\r';
            if (total > LOOP_BUS / 2 || end < eol + 2 + total + 2) {
                break;
            }
            loop_transition(eol + 2 + head, eol + 2 + total);
            p = eol + 2 + total + 2;
            continue;
        }

        if (strncmp(p, "PING", 4) == 0) {
            loop_write(fd, "PONG\r\n", 6);

        } else if (strncmp(p, "-ERR", 4) == 0) {
            loop_die("NATS: %.*s", (int) (eol - p), p);
        }
        p = eol + 2;
    }

    loop_bus_len = (size_t) (end - p);
    memmove(loop_bus, p, loop_bus_len);
}


/* nats://user:password@host:port or nats://host:port. Returns when it listens. */
static int
loop_listen(const char *url)
{
    int      fd, n, port;
    char     user[64], password[256], host[64], hello[1024];
    ssize_t  got;

    user[0] = password[0] = '\0';
    if (sscanf(url, "nats://%63[^:@/]:%255[^@/]@%63[0-9.]:%d", user, password, host, &port) != 4
        && sscanf(url, "nats://%63[0-9.]:%d", host, &port) != 2)
    {
        loop_die("not nats://user:password@host:port: %s", url);
    }

    n = snprintf(hello, sizeof(hello),
                 "CONNECT {\"verbose\":false,\"pedantic\":false,\"headers\":true,\"lang\":\"c\","
                 "\"version\":\"1\",\"protocol\":1,\"user\":\"%s\",\"pass\":\"%s\"}\r\n"
                 "SUB evt.case.transition.v1 1\r\nPING\r\n", user, password);
    fd = loop_connect(host, port);
    loop_write(fd, hello, (size_t) n);

    while (strstr(loop_bus, "PONG\r\n") == NULL) {
        got = recv(fd, loop_bus + loop_bus_len, 65536, 0);
        if (got <= 0 || loop_bus_len > LOOP_BUS - 131072) {
            loop_die("NATS: %s", loop_bus);
        }
        loop_bus_len += (size_t) got;
        loop_bus[loop_bus_len] = '\0';
    }

    loop_bus_len = 0;
    return fd;
}


static int
loop_by_time(const void *a, const void *b)
{
    uint64_t  x = *(const uint64_t *) a, y = *(const uint64_t *) b;

    return x < y ? -1 : x > y;
}


int
main(int argc, char **argv)
{
    int             i, nats;
    double          secs;
    uint64_t        began;
    struct pollfd   p[LOOP_CONNS + 1];
    struct rusage   ru;


    if (argc != 7 || (loop_n_conns = atoi(argv[5])) < 1 || loop_n_conns > LOOP_CONNS
        || (loop_total = atoi(argv[6])) < loop_n_conns)
    {
        loop_die("usage: loop <gateway's port> <NATS' URL> <token> <prefix of keys>"
                 " <cases at once> <cases>");
    }

    loop_token = argv[3];
    loop_prefix = argv[4];
    loop_conns = calloc((size_t) loop_n_conns, sizeof(loop_conn_t));
    loop_took = calloc((size_t) loop_total, sizeof(uint64_t));
    if (loop_conns == NULL || loop_took == NULL) {
        loop_die("no memory");
    }

    nats = loop_listen(argv[2]);
    p[0].fd = nats;
    p[0].events = POLLIN;
    for (i = 0; i < loop_n_conns; i++) {
        p[i + 1].fd = loop_conns[i].fd = loop_connect("127.0.0.1", atoi(argv[1]));
        p[i + 1].events = POLLIN;
    }

    began = loop_now();
    for (i = 0; i < loop_n_conns; i++) {
        loop_create(&loop_conns[i]);
    }

    while (loop_done < loop_total) {
        if (poll(p, (nfds_t) loop_n_conns + 1, LOOP_SILENCE) <= 0) {
            loop_die("nothing moved for %d s; %d of %d cases were closed", LOOP_SILENCE / 1000,
                     loop_done, loop_total);
        }
        for (i = 0; i < loop_n_conns; i++) {
            if (p[i + 1].revents) {
                loop_answer(&loop_conns[i]);
            }
        }
        if (p[0].revents) {
            loop_heard(nats);
        }
    }

    secs = (double) (loop_now() - began) / 1e9;
    qsort(loop_took, (size_t) loop_total, sizeof(uint64_t), loop_by_time);
    getrusage(RUSAGE_SELF, &ru);
    printf("{\"conc\":%d,\"cases_s\":%.3f,\"p50_ms\":%.3f,\"p99_ms\":%.3f,\"secs\":%.3f,"
           "\"own_us\":%.1f}\n", loop_n_conns, loop_total / secs,
           (double) loop_took[loop_total / 2] / 1e6,
           (double) loop_took[(int) (loop_total * 0.99)] / 1e6, secs,
           ((double) (ru.ru_utime.tv_sec + ru.ru_stime.tv_sec) * 1e6
            + (double) (ru.ru_utime.tv_usec + ru.ru_stime.tv_usec)) / loop_total);
    return 0;
}
