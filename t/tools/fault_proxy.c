/*
 * fault_proxy.c: a TCP proxy that breaks what it carries, when it is told to.
 *     fault_proxy <listen port> <control port> <host> <port>
 * A line on the control port is a command; the answer is "ok <connections>
 * <cuts>" or "what?":
 *     pass               as if it was not there (also ends what is below)
 *     delay <ms>         each piece arrives so much later
 *     blackhole          nothing arrives any more, nothing is closed
 *     refuse             new connections are closed at once
 *     reset              each connection ends with RST, now
 *     halfclose          the server's side of each is closed towards the client
 *     truncate <up|down> <n>   the next connection to carry data that way carries n
 *                        bytes of it, then ends with RST on both sides
 *     cut <word> <n>     n times: a Bind of PostgreSQL's protocol with this word in
 *                        it has gone up; what comes back is swallowed, and the
 *                        connection ends: the statement was run, nobody knows
 */
#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <poll.h>
#include <signal.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

#define MAX_LINKS  1024
#define SIZE       65536

typedef struct {
    int      from, to;
    size_t   n;                     /* bytes in buf, due at ready_at */
    int64_t  ready_at;
    int      ended;                 /* nothing more comes from there */
    char    *buf;
} side_t;

typedef struct {
    int      used, armed;           /* the next answer is swallowed */
    side_t   up, down;
} link_t;

static link_t              links[MAX_LINKS];
static int                 delay_ms, blackhole, refuse, truncate_up, cuts_left, cuts;
static long                truncate_at = -1;
static char                word[64];
static struct sockaddr_in  server;

static int64_t
now_ms(void)
{
    struct timespec  ts;

    clock_gettime(CLOCK_MONOTONIC, &ts);
    return (int64_t) ts.tv_sec * 1000 + ts.tv_nsec / 1000000;
}

static int
listen_on(int port)
{
    int                 fd, one = 1;
    struct sockaddr_in  a = { .sin_family = AF_INET, .sin_port = htons((uint16_t) port) };

    a.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &one, sizeof(one));
    if (bind(fd, (struct sockaddr *) &a, sizeof(a)) != 0 || listen(fd, 512) != 0) {
        perror("fault_proxy: listen");
        exit(1);
    }
    return fd;
}

static void
end_link(link_t *l, int rst)
{
    struct linger  hard = { 1, 0 };

    if (rst) {
        setsockopt(l->up.from, SOL_SOCKET, SO_LINGER, &hard, sizeof(hard));
        setsockopt(l->up.to, SOL_SOCKET, SO_LINGER, &hard, sizeof(hard));
    }
    close(l->up.from);
    close(l->up.to);
    free(l->up.buf);
    free(l->down.buf);
    memset(l, 0, sizeof(*l));
}

static void
new_link(int fd)
{
    int      s, i, one = 1;
    link_t  *l;

    for (i = 0; i < MAX_LINKS && links[i].used; i++) { /* the first free one */ }

    s = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    if (refuse || i == MAX_LINKS || s < 0
        || connect(s, (struct sockaddr *) &server, sizeof(server)) != 0)
    {
        close(s);
        close(fd);
        return;
    }

    fcntl(s, F_SETFL, O_NONBLOCK);
    fcntl(fd, F_SETFL, O_NONBLOCK);
    setsockopt(s, IPPROTO_TCP, TCP_NODELAY, &one, sizeof(one));
    setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &one, sizeof(one));

    l = &links[i];
    l->used = 1;
    l->up = (side_t) { .from = fd, .to = s, .buf = malloc(SIZE) };
    l->down = (side_t) { .from = s, .to = fd, .buf = malloc(SIZE) };
    if (l->up.buf == NULL || l->down.buf == NULL) {
        end_link(l, 0);
    }
}

/* What was read goes on, or meets its fate. 0: the link is gone. */
static int
judge(link_t *l, side_t *s)
{
    int  up;

    up = s == &l->up;
    if (cuts_left > 0 && up && s->buf[0] == 'B' && memmem(s->buf, s->n, word, strlen(word))) {
        cuts_left--;
        l->armed = 1;
    }
    if (l->armed && !up) {
        cuts++;
        end_link(l, 1);
        return 0;
    }

    if (truncate_at >= 0 && up == truncate_up) {
        if ((long) s->n >= truncate_at) {
            if (truncate_at > 0 && write(s->to, s->buf, (size_t) truncate_at) < 0) {
                /* it ends anyway */
            }
            truncate_at = -1;
            cuts++;
            end_link(l, 1);
            return 0;
        }
        truncate_at -= (long) s->n;
    }

    s->ready_at = now_ms() + delay_ms;
    return 1;
}

/* One direction's turn. 0: the link is gone. */
static int
turn(link_t *l, side_t *s, short in)
{
    ssize_t  n;

    if (s->n == 0 && !s->ended && (in & (POLLIN | POLLHUP | POLLERR)) && !blackhole) {
        n = read(s->from, s->buf, SIZE);
        if (n > 0) {
            s->n = (size_t) n;
            if (!judge(l, s)) {
                return 0;
            }
        } else if (n == 0) {
            s->ended = 1;
            shutdown(s->to, SHUT_WR);
            if (l->up.ended && l->down.ended) {
                end_link(l, 0);
                return 0;
            }
        } else if (errno != EAGAIN && errno != EINTR) {
            end_link(l, 1);
            return 0;
        }
    }

    if (s->n > 0 && now_ms() >= s->ready_at && !blackhole) {
        n = write(s->to, s->buf, s->n);
        if (n > 0) {
            memmove(s->buf, s->buf + n, s->n - (size_t) n);
            s->n -= (size_t) n;
        } else if (errno != EAGAIN && errno != EINTR) {
            end_link(l, 1);
            return 0;
        }
    }

    return 1;
}

static void
all_links(int half)
{
    int  i;

    for (i = 0; i < MAX_LINKS; i++) {
        if (!links[i].used) {
            continue;
        }
        if (half) {
            shutdown(links[i].down.to, SHUT_WR);
        } else {
            end_link(&links[i], 1);
        }
    }
}

static int
obey(const char *line)
{
    long  n;
    char  what[64];

    if (strncmp(line, "pass", 4) == 0) {
        delay_ms = blackhole = refuse = cuts_left = 0;
        truncate_at = -1;
    } else if (sscanf(line, "delay %ld", &n) == 1) {
        delay_ms = (int) n;
    } else if (strncmp(line, "blackhole", 9) == 0) {
        blackhole = 1;
    } else if (strncmp(line, "refuse", 6) == 0) {
        refuse = 1;
    } else if (strncmp(line, "reset", 5) == 0) {
        all_links(0);
    } else if (strncmp(line, "halfclose", 9) == 0) {
        all_links(1);
    } else if (sscanf(line, "truncate %8s %ld", what, &n) == 2) {
        truncate_up = strcmp(what, "up") == 0;
        truncate_at = n;
    } else if (sscanf(line, "cut %63s %ld", what, &n) == 2) {
        memcpy(word, what, sizeof(word));
        cuts_left = (int) n;
    } else {
        return strncmp(line, "stats", 5) == 0;
    }
    return 1;
}

static void
control(int fd)
{
    int      i, open_links, c;
    char     line[256], answer[64];
    ssize_t  n;

    c = accept(fd, NULL, NULL);
    n = c < 0 ? 0 : read(c, line, sizeof(line) - 1);
    if (n > 0) {
        line[n] = '\0';
        i = obey(line);
        for (n = 0, open_links = 0; n < MAX_LINKS; n++) {
            open_links += links[n].used;
        }
        snprintf(answer, sizeof(answer), i ? "ok %d %d\n" : "what?\n", open_links, cuts);
        if (write(c, answer, strlen(answer)) < 0) {
            perror("fault_proxy: answer");
        }
    }
    close(c);
}

/* What to wait for: data where there is room, room where there is data. */
static int
watch(struct pollfd *p, link_t **of, int *ret_n)
{
    int      i, n, wait;
    int64_t  now;
    link_t  *l;

    now = now_ms();
    wait = 1000;
    for (i = 0, n = 2; i < MAX_LINKS; i++) {
        l = &links[i];
        if (!l->used) {
            continue;
        }
        of[n / 2] = l;
        p[n] = (struct pollfd) { .fd = l->up.from };
        p[n + 1] = (struct pollfd) { .fd = l->up.to };
        if (!blackhole) {
            p[n].events = (short) ((l->up.n || l->up.ended ? 0 : POLLIN)
                                   | (l->down.n && l->down.ready_at <= now ? POLLOUT : 0));
            p[n + 1].events = (short) ((l->down.n || l->down.ended ? 0 : POLLIN)
                                       | (l->up.n && l->up.ready_at <= now ? POLLOUT : 0));
            wait = (l->up.n && l->up.ready_at > now) || (l->down.n && l->down.ready_at > now)
                   ? 1 : wait;
        }
        if (p[n].events == 0) {
            p[n].fd = -1;
        }
        if (p[n + 1].events == 0) {
            p[n + 1].fd = -1;
        }
        n += 2;
    }
    *ret_n = n;
    return wait;
}

int
main(int argc, char **argv)
{
    int                   fd, ctl, i, n, wait;
    link_t               *l;
    static link_t        *of[MAX_LINKS + 1];
    static struct pollfd  p[2 * MAX_LINKS + 2];

    if (argc != 5) {
        fprintf(stderr, "usage: fault_proxy <listen port> <control port> <host> <port>\n");
        return 2;
    }

    signal(SIGPIPE, SIG_IGN);
    server.sin_family = AF_INET;
    server.sin_port = htons((uint16_t) atoi(argv[4]));
    inet_pton(AF_INET, argv[3], &server.sin_addr);
    fd = listen_on(atoi(argv[1]));
    ctl = listen_on(atoi(argv[2]));

    for ( ;; ) {
        wait = watch(p, of, &n);
        p[0] = (struct pollfd) { .fd = fd, .events = POLLIN };
        p[1] = (struct pollfd) { .fd = ctl, .events = POLLIN };
        if (poll(p, (nfds_t) n, wait) < 0 && errno != EINTR) {
            return 1;
        }

        for (i = 2; i < n; i += 2) {
            l = of[i / 2];
            if (turn(l, &l->up, p[i].revents)) {
                (void) turn(l, &l->down, p[i + 1].revents);
            }
        }
        if (p[1].revents) {
            control(ctl);
        }
        if (p[0].revents) {
            i = accept(fd, NULL, NULL);
            if (i >= 0) {
                new_link(i);
            }
        }
    }
}
