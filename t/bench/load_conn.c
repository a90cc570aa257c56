/*
 * load_conn.c: the connections of the load generator: non-blocking sockets,
 * plain or TLS 1.3, and the framing of HTTP/1.1 answers.
 *
 * Invariant: a connection is in one state, has at most one request on the wire,
 * and tells load.c about its end exactly once: answered or failed.
 */
#include "load.h"

#include <arpa/inet.h>
#include <errno.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <unistd.h>


static void
load_conn_want(load_conn_t *c, uint32_t events)
{
    struct epoll_event  ev;

    if (c->events == events) {
        return;
    }

    ev.events = events;
    ev.data.ptr = c;

    if (epoll_ctl(c->load->epoll, c->events ? EPOLL_CTL_MOD : EPOLL_CTL_ADD, c->fd,
                  &ev) != 0)
    {
        load_die("epoll_ctl: %s", strerror(errno));
    }

    c->events = events;
}


void
load_conn_close(load_conn_t *c)
{
    if (c->ssl) {
        SSL_free(c->ssl);
        c->ssl = NULL;
    }

    if (c->fd >= 0) {
        close(c->fd);
    }

    c->fd = -1;
    c->events = 0;
    c->in_len = 0;
    c->state = LOAD_CLOSED;
}


void
load_conn_open(load_conn_t *c)
{
    int                 one = 1;
    load_t             *l = c->load;
    struct sockaddr_in  sin;

    c->fd = socket(AF_INET, SOCK_STREAM|SOCK_NONBLOCK|SOCK_CLOEXEC, 0);
    if (c->fd < 0) {
        load_die("socket: %s", strerror(errno));
    }

    setsockopt(c->fd, IPPROTO_TCP, TCP_NODELAY, &one, sizeof(one));

    memset(&sin, 0, sizeof(sin));
    sin.sin_family = AF_INET;
    sin.sin_port = htons(l->port);
    if (inet_pton(AF_INET, l->host, &sin.sin_addr) != 1) {
        load_die("not an IPv4 address: %s", l->host);
    }

    c->state = LOAD_CONNECTING;
    c->began = load_now();

    if (connect(c->fd, (struct sockaddr *) &sin, sizeof(sin)) != 0
        && errno != EINPROGRESS)
    {
        load_conn_close(c);
        load_failed(c, "connect");
        return;
    }

    load_conn_want(c, EPOLLOUT);
}


static int
load_conn_again(load_conn_t *c, int rc, uint32_t *events)
{
    if (c->ssl == NULL) {
        *events = EPOLLIN;
        return errno == EAGAIN || errno == EINTR;
    }

    switch (SSL_get_error(c->ssl, rc)) {

    case SSL_ERROR_WANT_READ:
        *events = EPOLLIN;
        return 1;

    case SSL_ERROR_WANT_WRITE:
        *events = EPOLLIN|EPOLLOUT;
        return 1;

    default:
        return 0;
    }
}


static void
load_conn_lost(load_conn_t *c, const char *why)
{
    load_conn_close(c);
    load_failed(c, why);
}


static void
load_conn_handshake(load_conn_t *c)
{
    int       rc;
    uint32_t  events;

    rc = SSL_do_handshake(c->ssl);

    if (rc == 1) {
        if (SSL_version(c->ssl) != TLS1_3_VERSION) {
            load_die("the server speaks %s, not TLS 1.3", SSL_get_version(c->ssl));
        }

        c->state = LOAD_IDLE;
        load_conn_want(c, EPOLLIN);
        load_ready(c);
        return;
    }

    if (!load_conn_again(c, rc, &events)) {
        load_conn_lost(c, "TLS handshake");
        return;
    }

    load_conn_want(c, events);
}


static void
load_conn_connected(load_conn_t *c)
{
    int        err;
    socklen_t  len = sizeof(err);

    if (getsockopt(c->fd, SOL_SOCKET, SO_ERROR, &err, &len) != 0 || err != 0) {
        load_conn_lost(c, "connect");
        return;
    }

    if (!c->load->tls) {
        c->state = LOAD_IDLE;
        load_conn_want(c, EPOLLIN);
        load_ready(c);
        return;
    }

    c->ssl = SSL_new(c->load->ctx);
    if (c->ssl == NULL || SSL_set_fd(c->ssl, c->fd) != 1) {
        load_die("SSL_new failed");
    }

    SSL_set_connect_state(c->ssl);
    c->state = LOAD_HANDSHAKE;
    load_conn_handshake(c);
}


static void
load_conn_write(load_conn_t *c)
{
    int       n;
    uint32_t  events;

    while (c->out_pos < c->out_len) {
        n = c->ssl ? SSL_write(c->ssl, c->out + c->out_pos, c->out_len - c->out_pos)
                   : send(c->fd, c->out + c->out_pos, c->out_len - c->out_pos,
                          MSG_NOSIGNAL);

        if (n > 0) {
            c->out_pos += n;
            continue;
        }

        if (!load_conn_again(c, n, &events)) {
            load_conn_lost(c, "write");
            return;
        }

        load_conn_want(c, EPOLLIN|EPOLLOUT);
        return;
    }

    load_conn_want(c, EPOLLIN);
}


void
load_conn_send(load_conn_t *c, uint64_t due)
{
    c->due = due;
    c->began = load_now();
    c->state = LOAD_BUSY;
    c->out_pos = 0;
    c->in_len = 0;
    load_conn_write(c);
}


/* 1: an answer is complete, 0: more is to come, -1: this is no HTTP. */
static int
load_conn_parse(load_conn_t *c, load_answer_t *a)
{
    long         length;
    const char  *p, *end, *head;

    head = memmem(c->in, c->in_len, "\r\n\r\n", 4);
    if (head == NULL) {
        return c->in_len > 65536 ? -1 : 0;
    }

    if (memcmp(c->in, "HTTP/1.1 ", 9) != 0) {
        return -1;
    }

    memset(a, 0, sizeof(*a));
    a->status = atoi(c->in + 9);
    a->etag = -1;
    length = a->status == 304 || a->status == 204 ? 0 : -1;

    if (a->status < 200 || a->status > 599) {
        return -1;
    }

    for (p = memchr(c->in, '\n', head - c->in); p && p < head; p = end) {
        p++;
        end = memchr(p, '\n', head + 2 - p);

        if (strncasecmp(p, "Content-Length:", 15) == 0) {
            length = atol(p + 15);

        } else if (strncasecmp(p, "ETag: \"", 7) == 0) {
            a->etag = atol(p + 7);

        } else if (strncasecmp(p, "Connection: close", 17) == 0) {
            a->close = 1;
        }
    }

    if (length < 0 || length > LOAD_IN_MAX - 65536) {
        return -1;
    }

    a->body = head + 4;
    a->body_len = length;
    a->total = head + 4 - c->in + length;

    return c->in_len >= a->total;
}


static int
load_conn_room(load_conn_t *c)
{
    if (c->in_len + 4096 > c->in_cap) {
        if (c->in_cap >= LOAD_IN_MAX) {
            return 0;
        }

        c->in_cap = c->in_cap ? c->in_cap * 2 : 16384;
        c->in = realloc(c->in, c->in_cap + 1);
        if (c->in == NULL) {
            load_die("no memory");
        }
    }

    return 1;
}


static void
load_conn_read(load_conn_t *c)
{
    int            n, rc;
    uint32_t       events;
    load_answer_t  a;

    for ( ;; ) {
        if (!load_conn_room(c)) {
            load_conn_lost(c, "an answer that is too long");
            return;
        }

        n = c->ssl ? SSL_read(c->ssl, c->in + c->in_len, c->in_cap - c->in_len)
                   : recv(c->fd, c->in + c->in_len, c->in_cap - c->in_len, 0);

        if (n <= 0) {
            if (n < 0 && load_conn_again(c, n, &events)) {
                load_conn_want(c, events);
                return;
            }

            load_conn_lost(c, c->state == LOAD_BUSY ? "closed" : "closed while idle");
            return;
        }

        c->in_len += n;
        c->in[c->in_len] = '\0';
        c->load->bytes_in += n;

        if (c->state != LOAD_BUSY || c->out_pos < c->out_len) {
            load_conn_lost(c, "an answer before the request was sent");
            return;
        }

        rc = load_conn_parse(c, &a);
        if (rc < 0) {
            load_conn_lost(c, "not an HTTP/1.1 answer with a length");
            return;
        }

        if (rc == 1) {
            break;
        }

        if (c->ssl == NULL) {
            return;
        }
    }

    c->state = LOAD_IDLE;
    load_answered(c, &a);
}


void
load_conn_event(load_conn_t *c, uint32_t events)
{
    switch (c->state) {

    case LOAD_CLOSED:
        return;

    case LOAD_CONNECTING:
        load_conn_connected(c);
        return;

    case LOAD_HANDSHAKE:
        load_conn_handshake(c);
        return;

    default:
        break;
    }

    if ((events & EPOLLOUT) && c->state == LOAD_BUSY && c->out_pos < c->out_len) {
        load_conn_write(c);
        if (c->state == LOAD_CLOSED) {
            return;
        }
    }

    if (events & (EPOLLIN|EPOLLERR|EPOLLHUP)) {
        load_conn_read(c);
    }
}
