/*
 * aegis_metrics_http.c: the worker's small HTTP server: GET /metrics and
 * GET /healthz, one request a connection, from one thread.
 * Invariant: nothing a client does can hold the thread or the process: at most
 * 16 connections, 4 KiB of header, two seconds from accept to close.
 */
#include "aegis_metrics.h"

#include <errno.h>
#include <fcntl.h>
#include <netdb.h>
#include <poll.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

#define AEGIS_MH_CONNECTIONS 16
#define AEGIS_MH_HEADER      4096
#define AEGIS_MH_DEADLINE_MS 2000

typedef struct {
    int       fd;                       /* -1: free */
    int64_t   deadline;
    size_t    in;                       /* bytes of the request */
    char     *out;                      /* the answer, NULL while reading */
    size_t    out_len;
    size_t    sent;
    char      header[AEGIS_MH_HEADER + 1];
} aegis_mh_conn_t;

static struct {
    int               fd;               /* listening socket, -1: none */
    int               wake[2];
    pthread_t         thread;
    int             (*health)(char *buf, size_t size);
    aegis_mh_conn_t   conns[AEGIS_MH_CONNECTIONS];
} aegis_mh = { .fd = -1 };

void
aegis_metrics_health(int (*health)(char *buf, size_t size))
{
    aegis_mh.health = health;
}

static int64_t
aegis_mh_now(void)
{
    struct timespec  ts;

    clock_gettime(CLOCK_MONOTONIC, &ts);
    return (int64_t) ts.tv_sec * 1000 + ts.tv_nsec / 1000000;
}

static void
aegis_mh_close(aegis_mh_conn_t *c)
{
    close(c->fd);
    free(c->out);
    c->out = NULL;
    c->fd = -1;
}

static void
aegis_mh_reply(aegis_mh_conn_t *c, const char *status, const char *type,
    const char *body, size_t len, int head)
{
    int   n;
    char  top[256];

    n = snprintf(top, sizeof(top), "HTTP/1.1 %s\r\nContent-Type: %s\r\n"
                 "Content-Length: %zu\r\nCache-Control: no-store\r\n%s"
                 "Connection: close\r\n\r\n", status, type, len,
                 strncmp(status, "405", 3) == 0 ? "Allow: GET, HEAD\r\n" : "");

    c->sent = 0;
    c->out_len = (size_t) n + (head ? 0 : len);
    c->out = malloc(c->out_len);
    if (c->out == NULL) {
        aegis_mh_close(c);
        return;
    }

    memcpy(c->out, top, (size_t) n);
    if (!head) {
        memcpy(c->out + n, body, len);
    }
}

static void
aegis_mh_text(aegis_mh_conn_t *c, const char *status, const char *body, int head)
{
    aegis_mh_reply(c, status, "text/plain; charset=utf-8", body, strlen(body), head);
}

/* The header is complete: answer it. */
static void
aegis_mh_request(aegis_mh_conn_t *c)
{
    int      head, well;
    char    *text, *path, *end, reason[512];
    size_t   len;

    head = strncmp(c->header, "HEAD ", 5) == 0;
    if (!head && strncmp(c->header, "GET ", 4) != 0) {
        aegis_mh_text(c, "405 Method Not Allowed", "only GET\n", 0);
        return;
    }

    path = c->header + (head ? 5 : 4);
    end = path + strcspn(path, " ?\r\n");

    if (strncmp(end + strcspn(end, " \r\n"), " HTTP/1.", 8) != 0) {
        aegis_mh_text(c, "400 Bad Request", "not an HTTP/1 request\n", head);
        return;
    }

    *end = '\0';

    if (strcmp(path, "/metrics") == 0) {
        text = aegis_metrics_render(&len);
        if (text == NULL) {
            aegis_mh_text(c, "503 Service Unavailable", "no memory\n", head);
            return;
        }
        aegis_mh_reply(c, "200 OK", "text/plain; version=0.0.4; charset=utf-8",
                       text, len, head);
        free(text);
        return;
    }

    if (strcmp(path, "/healthz") == 0) {
        snprintf(reason, sizeof(reason), "ok\n");
        well = aegis_mh.health ? aegis_mh.health(reason, sizeof(reason)) : 1;
        aegis_mh_text(c, well ? "200 OK" : "503 Service Unavailable", reason, head);
        return;
    }

    aegis_mh_text(c, "404 Not Found", "try /metrics or /healthz\n", head);
}

static void
aegis_mh_read(aegis_mh_conn_t *c)
{
    ssize_t  n;

    n = recv(c->fd, c->header + c->in, AEGIS_MH_HEADER - c->in, 0);
    if (n <= 0) {
        if (n == 0 || (errno != EAGAIN && errno != EINTR)) {
            aegis_mh_close(c);
        }
        return;
    }

    c->in += (size_t) n;
    c->header[c->in] = '\0';

    if (strstr(c->header, "\r\n\r\n") || strstr(c->header, "\n\n")) {
        aegis_mh_request(c);

    } else if (c->in == AEGIS_MH_HEADER) {
        aegis_mh_text(c, "431 Request Header Fields Too Large",
                      "the header is too large\n", 0);
    }
}

static void
aegis_mh_write(aegis_mh_conn_t *c)
{
    ssize_t  n;

    n = send(c->fd, c->out + c->sent, c->out_len - c->sent, MSG_NOSIGNAL);
    if (n < 0) {
        if (errno != EAGAIN && errno != EINTR) {
            aegis_mh_close(c);
        }
        return;
    }

    c->sent += (size_t) n;
    if (c->sent == c->out_len) {
        shutdown(c->fd, SHUT_WR);
        aegis_mh_close(c);
    }
}

static void
aegis_mh_accept(int64_t now)
{
    int               i, fd;
    aegis_mh_conn_t  *c;

    fd = accept4(aegis_mh.fd, NULL, NULL, SOCK_NONBLOCK | SOCK_CLOEXEC);
    if (fd < 0) {
        return;
    }

    for (i = 0; i < AEGIS_MH_CONNECTIONS; i++) {
        c = &aegis_mh.conns[i];
        if (c->fd < 0) {
            c->fd = fd;
            c->in = 0;
            c->deadline = now + AEGIS_MH_DEADLINE_MS;
            return;
        }
    }

    close(fd);
}

static void *
aegis_mh_main(void *arg)
{
    int               i, full;
    int64_t           now;
    aegis_mh_conn_t  *c;
    struct pollfd     p[AEGIS_MH_CONNECTIONS + 2];

    for ( ;; ) {
        p[0].fd = aegis_mh.wake[0];
        p[0].events = POLLIN;

        for (i = 0, full = 1; i < AEGIS_MH_CONNECTIONS; i++) {
            c = &aegis_mh.conns[i];
            p[i + 2].fd = c->fd;
            p[i + 2].events = c->out ? POLLOUT : POLLIN;
            full = full && c->fd >= 0;
        }

        /* full: the next ones wait in the listen queue */
        p[1].fd = full ? -1 : aegis_mh.fd;
        p[1].events = POLLIN;

        if (poll(p, AEGIS_MH_CONNECTIONS + 2, 500) < 0 && errno != EINTR) {
            break;
        }
        if (p[0].revents) {
            break;
        }

        now = aegis_mh_now();

        for (i = 0; i < AEGIS_MH_CONNECTIONS; i++) {
            c = &aegis_mh.conns[i];
            if (c->fd < 0) {
                continue;
            }
            if (now >= c->deadline) {
                aegis_mh_close(c);
            } else if (p[i + 2].revents & (POLLIN | POLLOUT | POLLERR | POLLHUP)) {
                (c->out ? aegis_mh_write : aegis_mh_read)(c);
            }
        }

        if (p[1].revents & POLLIN) {
            aegis_mh_accept(now);
        }
    }

    return NULL;
}

/* "host:port" or "[v6]:port" into its parts. */
static int
aegis_mh_address(const char *address, char *host, size_t size, const char **port)
{
    size_t       n;
    const char  *colon;

    colon = strrchr(address, ':');
    if (colon == NULL || colon[1] == '\0'
        || strspn(colon + 1, "0123456789") != strlen(colon + 1))
    {
        return 0;
    }

    n = (size_t) (colon - address);
    if (n >= 2 && address[0] == '[' && address[n - 1] == ']') {
        address++;
        n -= 2;
    }
    if (n >= size) {
        return 0;
    }

    memcpy(host, address, n);
    host[n] = '\0';
    *port = colon + 1;
    return 1;
}

aegis_code_t
aegis_metrics_listen(const char *address, aegis_error_t *err)
{
    int               i, rc, fd, on;
    char              host[256];
    const char       *port;
    struct addrinfo   hints, *ai;

    if (!aegis_mh_address(address, host, sizeof(host), &port)) {
        return aegis_error_set(err, AEGIS_E_BAD_REQUEST,
                               "metrics.listen: \"%s\" is not host:port", address);
    }
    if (atoi(port) == 0) {
        return AEGIS_E_OK;
    }

    memset(&hints, 0, sizeof(hints));
    hints.ai_socktype = SOCK_STREAM;
    hints.ai_flags = AI_PASSIVE | AI_NUMERICSERV;

    rc = getaddrinfo(host[0] ? host : NULL, port, &hints, &ai);
    if (rc != 0) {
        return aegis_error_set(err, AEGIS_E_BAD_REQUEST, "metrics.listen: %s: %s",
                               address, gai_strerror(rc));
    }

    on = 1;
    fd = socket(ai->ai_family, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
    if (fd < 0
        || setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &on, sizeof(on)) != 0
        || bind(fd, ai->ai_addr, ai->ai_addrlen) != 0
        || listen(fd, 16) != 0
        || pipe2(aegis_mh.wake, O_CLOEXEC) != 0)
    {
        rc = errno;
        freeaddrinfo(ai);
        if (fd >= 0) {
            close(fd);
        }
        return aegis_error_set(err, AEGIS_E_UNAVAILABLE,
            "metrics.listen: cannot listen on %s: %s%s", address, strerror(rc),
            rc == EADDRINUSE ? "; another process has this port, give each"
            " worker its own (AEGIS_METRICS_LISTEN)" : "");
    }

    freeaddrinfo(ai);

    for (i = 0; i < AEGIS_MH_CONNECTIONS; i++) {
        aegis_mh.conns[i].fd = -1;
    }

    aegis_mh.fd = fd;
    rc = pthread_create(&aegis_mh.thread, NULL, aegis_mh_main, NULL);
    if (rc != 0) {
        close(fd);
        aegis_mh.fd = -1;
        return aegis_error_set(err, AEGIS_E_UNAVAILABLE,
                               "metrics.listen: no thread: %s", strerror(rc));
    }

    return AEGIS_E_OK;
}

void
aegis_metrics_stop(void)
{
    int  i;

    if (aegis_mh.fd < 0) {
        return;
    }

    close(aegis_mh.wake[1]);            /* readable at its end: the thread ends */
    pthread_join(aegis_mh.thread, NULL);
    close(aegis_mh.wake[0]);
    close(aegis_mh.fd);
    aegis_mh.fd = -1;

    for (i = 0; i < AEGIS_MH_CONNECTIONS; i++) {
        if (aegis_mh.conns[i].fd >= 0) {
            aegis_mh_close(&aegis_mh.conns[i]);
        }
    }
}
