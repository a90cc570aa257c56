/*
 * load_run.c: the loop of the load generator: who sends when, what an answer or
 * its absence counts as, phases, slices of time.
 *
 * Every wait is bounded: connecting, an answer, a phase, the drain at the end.
 */
#include "load.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <time.h>

#define LOAD_EVENTS  256
#define LOAD_TICK    (LOAD_SECOND / 10)


static void
load_start(load_conn_t *c, uint64_t due)
{
    load_work_render(c);

    c->load->sent++;
    c->load->n_busy++;
    load_conn_send(c, due);
}


/* The connection may send: at once in the closed loop, else when it is its turn. */
static void
load_free(load_conn_t *c)
{
    load_t  *l = c->load;

    if (l->phase && l->phase->rate == 0) {
        load_start(c, load_now());

    } else if (!c->waits) {
        c->waits = 1;
        l->idle[(l->idle_head + l->n_idle++) % l->n_conns] = c;
    }
}


static load_conn_t *
load_idle(load_t *l)
{
    load_conn_t  *c;

    while (l->n_idle) {
        c = l->idle[l->idle_head];
        l->idle_head = (l->idle_head + 1) % l->n_conns;
        l->n_idle--;
        c->waits = 0;

        if (c->state == LOAD_IDLE) {
            return c;
        }
    }

    return NULL;
}


void
load_ready(load_conn_t *c)
{
    c->load->n_ready++;
    load_free(c);
}


static void
load_judged(load_conn_t *c, load_verdict_e verdict, uint64_t took)
{
    load_t  *l = c->load;

    if (verdict == LOAD_GOOD) {
        l->good++;
        l->slice_ok++;
        load_hist_add(&l->slice_hist, took);

        if (l->phase) {
            l->phase->ok++;
            load_hist_add(&l->phase->hist, took);
        }

    } else if (verdict == LOAD_REFUSED) {
        l->refused++;
        l->slice_refused++;

        if (l->phase) {
            l->phase->refused++;
        }

    } else {
        l->wrong++;
        load_work_lost(c);
    }
}


void
load_answered(load_conn_t *c, const load_answer_t *a)
{
    load_t          *l = c->load;
    uint64_t         took;
    load_verdict_e   verdict;

    took = load_now() - c->due;
    verdict = load_work_judge(c, a);

    l->n_busy--;
    l->by_status[a->status]++;
    if (l->phase) {
        l->phase->answered++;
    }
    load_judged(c, verdict, took);

    c->in_len = 0;

    if (a->close) {
        l->reconnects++;
        load_conn_close(c);
        l->n_ready--;
        load_conn_open(c);
        return;
    }

    load_free(c);
}


void
load_failed(load_conn_t *c, const char *why)
{
    load_t  *l = c->load;

    if (strcmp(why, "connect") == 0 || strcmp(why, "TLS handshake") == 0) {
        l->closed++;
        return;                             /* the next tick tries again */
    }

    l->n_ready--;

    if (strcmp(why, "closed while idle") == 0) {
        l->reconnects++;

    } else {
        l->n_busy--;
        l->closed++;
        load_work_lost(c);
        if (l->wrong_first[0] == '\0') {
            snprintf(l->wrong_first, sizeof(l->wrong_first), "%s", why);
        }
    }

    load_conn_open(c);
}


/* Send what is due; what waits longer than a user would is given up. */
static void
load_pump(load_t *l, uint64_t now)
{
    uint64_t      due, patience;
    load_conn_t  *c;

    patience = (uint64_t) (l->patience * LOAD_SECOND);

    while (l->phase && l->phase->rate > 0 && l->head_due <= now) {
        due = l->head_due;

        if (now - due > patience) {
            l->phase->gave_up++;
            l->slice_gave_up++;

        } else {
            c = load_idle(l);
            if (c == NULL) {
                break;
            }
            load_start(c, due);
        }

        l->head_due += l->interval;
    }
}


static void
load_tick(load_t *l, uint64_t now)
{
    unsigned      i;
    uint64_t      limit;
    load_conn_t  *c;

    limit = (uint64_t) (l->timeout * LOAD_SECOND);

    for (i = 0; i < l->n_conns; i++) {
        c = &l->conns[i];

        if (c->state == LOAD_CLOSED) {
            load_conn_open(c);

        } else if (c->state != LOAD_IDLE && now > c->began && now - c->began > limit) {
            l->timeouts++;
            if (c->state == LOAD_BUSY) {
                load_conn_close(c);
                load_failed(c, "no answer in time");
            } else {
                load_conn_close(c);
                load_failed(c, "connect");
            }
        }
    }
}


static void
load_slice(load_t *l, uint64_t at, FILE *out)
{
    static int  n;

    if (l->slices) {
        fprintf(out, "%s[%.2f,%llu,%llu,%llu,%.3f,%.3f]", n++ ? "," : "",
                (double) at / LOAD_SECOND, (unsigned long long) l->slice_ok,
                (unsigned long long) l->slice_refused,
                (unsigned long long) l->slice_gave_up,
                load_hist_ms(&l->slice_hist, 0.5), load_hist_ms(&l->slice_hist, 0.99));
    }

    memset(&l->slice_hist, 0, sizeof(l->slice_hist));
    l->slice_ok = l->slice_refused = l->slice_gave_up = 0;
}


static void
load_wait(load_t *l, uint64_t until)
{
    int                  i, n;
    uint64_t             now, ns;
    struct timespec      ts;
    struct epoll_event   events[LOAD_EVENTS];

    now = load_now();
    ns = until > now ? until - now : 0;
    ts.tv_sec = ns / LOAD_SECOND;
    ts.tv_nsec = ns % LOAD_SECOND;

    n = epoll_pwait2(l->epoll, events, LOAD_EVENTS, &ts, NULL);
    if (n < 0 && errno == ENOSYS) {
        n = epoll_wait(l->epoll, events, LOAD_EVENTS, (int) ((ns + 999999) / 1000000));
    }
    if (n < 0 && errno != EINTR) {
        load_die("epoll_wait: %s", strerror(errno));
    }

    for (i = 0; i < n; i++) {
        load_conn_event(events[i].data.ptr, events[i].events);
    }
}


void
load_connect(load_t *l)
{
    unsigned   i, n;
    uint64_t   until;

    n = l->n_conns;
    l->conns = calloc(n, sizeof(load_conn_t));
    l->idle = calloc(l->n_conns, sizeof(load_conn_t *));
    if (l->conns == NULL || l->idle == NULL) {
        load_die("no memory");
    }

    for (i = 0; i < n; i++) {
        l->conns[i].load = l;
        l->conns[i].index = i;
        l->conns[i].fd = -1;
    }

    until = load_now() + (uint64_t) (l->timeout * LOAD_SECOND);

    for (i = 0; i < n; i++) {
        load_conn_open(&l->conns[i]);

        /* no more at a time than a listen queue holds */
        while (l->n_ready + 64 <= i || (i == n - 1 && l->n_ready < n)) {
            if (load_now() > until || l->closed) {
                load_die("only %u of %u connections to %s:%d came up in %.0f s",
                         l->n_ready, n, l->host, l->port, l->timeout);
            }
            load_wait(l, load_now() + LOAD_TICK);
        }
    }
}


static void
load_phase(load_t *l, unsigned i)
{
    uint64_t      now;
    load_conn_t  *c;

    now = load_now();
    l->phase = i < l->n_phases ? &l->phases[i] : NULL;
    l->head_due = now;

    if (l->phase == NULL) {
        return;
    }

    l->phase_ends = now + (uint64_t) (l->phase->secs * LOAD_SECOND);

    if (l->phase->rate > 0) {
        l->interval = (uint64_t) (LOAD_SECOND / l->phase->rate);
        return;
    }

    while ((c = load_idle(l)) != NULL) {
        load_start(c, now);
    }
}


static uint64_t
load_min(uint64_t a, uint64_t b)
{
    return a < b ? a : b;
}


void
load_run(load_t *l, FILE *slices)
{
    unsigned  i;
    uint64_t  now, began, zero, until;

    zero = began = load_now();
    l->tick_due = began + LOAD_TICK;
    i = 0;
    load_phase(l, 0);

    for ( ;; ) {
        now = load_now();

        if (l->phase == NULL
            && (l->n_busy == 0
                || now - l->phase_ends > (l->timeout + 1) * LOAD_SECOND))
        {
            break;
        }

        if (l->phase && now >= l->phase_ends) {
            l->phase->took = (double) (now - began) / LOAD_SECOND;
            if (i == 0 && l->warm > 0) {
                load_slice(l, 0, slices);
                zero = now;
                l->tick_due = now + LOAD_TICK;
            }
            began = now;
            load_phase(l, ++i);
        }

        if (now >= l->tick_due) {
            if (l->phase && (i > 0 || l->warm == 0)) {
                load_slice(l, l->tick_due - zero, slices);
            }
            load_tick(l, now);
            l->tick_due += LOAD_TICK;
        }

        load_pump(l, now);

        until = l->tick_due;
        if (l->phase) {
            until = load_min(until, l->phase_ends);
            if (l->phase->rate > 0 && l->n_idle) {
                until = load_min(until, l->head_due);
            }
        }

        load_wait(l, until);
    }
}
