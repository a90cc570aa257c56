/*
 * load.h: what the files of the load generator share. load.c keeps the clock
 * and the counts, load_conn.c moves bytes, load_work.c writes requests and
 * judges answers. One thread, one epoll, at most one request a connection.
 */
#ifndef LOAD_H
#define LOAD_H

#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <openssl/ssl.h>

#define LOAD_MAX_TENANTS  64
#define LOAD_MAX_PHASES   16
#define LOAD_OUT          2048
#define LOAD_IN_MAX       (4 << 20)
#define LOAD_HIST_N       (64 * 64)
#define LOAD_SECOND       1000000000ull

typedef struct load_s       load_t;
typedef struct load_conn_s  load_conn_t;

typedef enum {
    LOAD_TRANSITION = 0, LOAD_CREATE, LOAD_GET, LOAD_PATHS, LOAD_HINT
} load_work_e;

typedef enum {
    LOAD_CLOSED = 0, LOAD_CONNECTING, LOAD_HANDSHAKE, LOAD_IDLE, LOAD_BUSY
} load_state_e;

/* 64 buckets each time the value doubles: 1.6 % */
typedef struct {
    uint64_t  n;
    double    sum;
    uint64_t  max;
    uint32_t  b[LOAD_HIST_N];
} load_hist_t;

typedef struct {
    char      id[40];
    uint8_t   tenant;
    uint8_t   in_analysis;      /* its next event is force_park */
    uint8_t   doubt;            /* an answer is missing: either state is right */
    int       version;          /* 0: not known */
} load_case_t;

typedef struct {
    char     *path;
    uint8_t   tenant;
} load_path_t;

typedef struct {
    double       rate;          /* 0: closed loop */
    double       secs;
    uint64_t     ok, refused, gave_up, answered;
    double       took;          /* seconds that it really lasted */
    load_hist_t  hist;          /* of what succeeded */
} load_phase_t;

struct load_conn_s {
    load_t         *load;
    int             fd;
    uint32_t        events;
    load_state_e    state;
    SSL            *ssl;
    unsigned        index;
    unsigned        waits:1;    /* it is in the ring of idle ones */

    char            out[LOAD_OUT];
    size_t          out_len, out_pos;
    char           *in;
    size_t          in_len, in_cap;

    uint64_t        due;        /* when it was to be sent, by the clock */
    uint64_t        began;      /* of the state, for timeouts */
    uint64_t        turn;       /* requests of this connection so far */
    load_case_t    *kase;
};

/* The answer that a connection has read in full. */
typedef struct {
    int          status;
    long         etag;          /* its number, -1 when there is none */
    const char  *body;
    size_t       body_len;
    size_t       total;
    unsigned     close:1;
} load_answer_t;

typedef enum { LOAD_GOOD = 0, LOAD_REFUSED, LOAD_WRONG } load_verdict_e;

struct load_s {
    /* what was asked for */
    const char      *host;
    int              port;
    unsigned         tls:1, if_match:1, slices:1;
    const char      *ca;
    load_work_e      work;
    const char      *prefix;
    unsigned         n_conns;
    double           warm, timeout, patience;
    uint8_t          allowed[1000];

    char            *tokens[LOAD_MAX_TENANTS];
    unsigned         n_tokens;
    load_case_t     *cases;
    size_t           n_cases;
    load_path_t     *paths;
    size_t           n_paths;

    load_phase_t     phases[LOAD_MAX_PHASES];
    unsigned         n_phases;

    /* what is going on */
    int              epoll;
    SSL_CTX         *ctx;
    load_conn_t     *conns;
    load_conn_t    **idle;      /* a ring, for the open loop */
    size_t           idle_head, n_idle;
    unsigned         n_ready;   /* connected at least once */
    unsigned         n_busy;
    load_phase_t    *phase;     /* NULL: nothing more is sent */
    uint64_t         head_due, interval;
    uint64_t         phase_ends, tick_due;

    /* what was seen */
    uint64_t         sent, good, refused, wrong, timeouts, closed, reconnects,
                     settled;
    uint64_t         bytes_in;
    uint64_t         by_status[1000];
    char             wrong_first[300];
    load_hist_t      slice_hist;
    uint64_t         slice_ok, slice_refused, slice_gave_up;
};

uint64_t load_now(void);
void load_die(const char *fmt, ...) __attribute__((format(printf, 1, 2), noreturn));

void load_hist_add(load_hist_t *h, uint64_t ns);
double load_hist_ms(const load_hist_t *h, double quantile);

/* load_conn.c */
void load_conn_open(load_conn_t *c);
void load_conn_close(load_conn_t *c);
void load_conn_event(load_conn_t *c, uint32_t events);
void load_conn_send(load_conn_t *c, uint64_t due);

/* load_work.c */
void load_work_read(load_t *l, const char *tokens, const char *cases,
    const char *paths);
void load_work_render(load_conn_t *c);
load_verdict_e load_work_judge(load_conn_t *c, const load_answer_t *a);
void load_work_lost(load_conn_t *c);

/* load_run.c */
void load_connect(load_t *l);
void load_run(load_t *l, FILE *slices);

/* ... told by the connections */
void load_ready(load_conn_t *c);
void load_answered(load_conn_t *c, const load_answer_t *a);
void load_failed(load_conn_t *c, const char *why);

#endif
