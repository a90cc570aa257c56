/*
 * aegis_tracer.c: the queue of spans, and when the thread sends. How one batch
 * is sent is aegis_tracer_send.c.
 *
 * Invariant: who pushes does a bounded number of instructions and no system
 * call but, once in a while, the waking of the thread; a full queue drops the
 * new span. The thread ends within a fifth of a second of being asked to.
 */
#include <pthread.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "aegis_tracer_impl.h"

#define AEGIS_TRACER_BATCH    256
#define AEGIS_TRACER_IDLE_MS  1000
#define AEGIS_TRACER_END_MS   200
#define AEGIS_TRACER_TRIES    6
#define AEGIS_TRACER_WAIT_MIN 500
#define AEGIS_TRACER_WAIT_MAX 15000

/* A bounded queue of many writers and one reader: each cell says by its turn
 * whose it is, so that nobody ever waits for anybody. */
typedef struct {
    size_t        turn;
    aegis_span_t  span;
} aegis_tracer_cell_t;

struct aegis_tracer_s {
    aegis_tracer_sender_t  *sender;
    pthread_t               thread;
    double                  ratio;
    aegis_span_source_t     source;
    void                  (*count)(aegis_tracer_result_t result, uint64_t n);

    aegis_tracer_cell_t    *cells;
    size_t                  mask;
    size_t                  tail;           /* atomic: writers */
    size_t                  head;           /* atomic: the reader alone moves it */

    int                     stopping;       /* atomic */
    int                     news;           /* atomic: 0, 1 or 2, as the call says */
    int                     away;           /* the thread's: the last try failed */
    unsigned                seed;
    char                    detail[AEGIS_TRACER_DETAIL];    /* valid while news is 1 */
    aegis_span_t            batch[AEGIS_TRACER_BATCH];
};

uint64_t
aegis_tracer_now(void)
{
    struct timespec  ts;

    clock_gettime(CLOCK_REALTIME, &ts);
    return (uint64_t) ts.tv_sec * 1000000000u + (uint64_t) ts.tv_nsec;
}

static int64_t
aegis_tracer_ms(void)
{
    struct timespec  ts;

    clock_gettime(CLOCK_MONOTONIC, &ts);
    return (int64_t) ts.tv_sec * 1000 + ts.tv_nsec / 1000000;
}

const char *
aegis_tracer_result(aegis_tracer_result_t result)
{
    static const char *const  names[] = { "exported", "dropped", "rejected", "failed" };

    return names[result];
}

double
aegis_tracer_ratio(const aegis_tracer_t *t)
{
    return t->ratio;
}

size_t
aegis_tracer_queued(const aegis_tracer_t *t)
{
    return __atomic_load_n(&t->tail, __ATOMIC_RELAXED)
           - __atomic_load_n(&t->head, __ATOMIC_RELAXED);
}

void
aegis_tracer_push(aegis_tracer_t *t, const aegis_span_t *span)
{
    size_t                at, turn;
    aegis_tracer_cell_t  *cell;

    at = __atomic_load_n(&t->tail, __ATOMIC_RELAXED);

    for ( ;; ) {
        cell = &t->cells[at & t->mask];
        turn = __atomic_load_n(&cell->turn, __ATOMIC_ACQUIRE);

        if (turn == at) {
            if (__atomic_compare_exchange_n(&t->tail, &at, at + 1, 1, __ATOMIC_RELAXED,
                                            __ATOMIC_RELAXED))
            {
                break;
            }

        } else if ((ptrdiff_t) (turn - at) < 0) {
            t->count(AEGIS_TRACER_DROPPED, 1);
            return;

        } else {
            at = __atomic_load_n(&t->tail, __ATOMIC_RELAXED);
        }
    }

    /* what is behind used is nobody's */
    memcpy(&cell->span, span, offsetof(aegis_span_t, text) + span->used);
    __atomic_store_n(&cell->turn, at + 1, __ATOMIC_RELEASE);

    if ((at & 31) == 0 && aegis_tracer_queued(t) >= (t->mask + 1) / 4) {
        aegis_tracer_sender_wake(t->sender);
    }
}

static size_t
aegis_tracer_take(aegis_tracer_t *t)
{
    size_t                n, at;
    aegis_tracer_cell_t  *cell;

    for (n = 0, at = t->head; n < AEGIS_TRACER_BATCH; n++, at++) {
        cell = &t->cells[at & t->mask];
        if (__atomic_load_n(&cell->turn, __ATOMIC_ACQUIRE) != at + 1) {
            break;
        }

        t->batch[n] = cell->span;
        __atomic_store_n(&cell->turn, at + t->mask + 1, __ATOMIC_RELEASE);
    }

    __atomic_store_n(&t->head, at, __ATOMIC_RELAXED);
    return n;
}

int
aegis_tracer_news(aegis_tracer_t *t, char *detail, size_t size)
{
    int  news;

    news = __atomic_load_n(&t->news, __ATOMIC_ACQUIRE);
    if (news == 0) {
        return 0;
    }

    (void) snprintf(detail, size, "%s", t->detail);
    __atomic_store_n(&t->news, 0, __ATOMIC_RELEASE);
    return news;
}

/* Say it when the one that was said before has been heard: detail is then ours. */
static void
aegis_tracer_tell(aegis_tracer_t *t, int away, const char *detail)
{
    if (t->away == away || __atomic_load_n(&t->news, __ATOMIC_ACQUIRE) != 0) {
        return;
    }

    t->away = away;
    (void) snprintf(t->detail, sizeof(t->detail), "%s", detail);
    __atomic_store_n(&t->news, away ? 1 : 2, __ATOMIC_RELEASE);
}

static int
aegis_tracer_stopped(const aegis_tracer_t *t)
{
    return __atomic_load_n(&t->stopping, __ATOMIC_ACQUIRE);
}

/* Wait, or until the stop; other wakings do not shorten it. */
static void
aegis_tracer_wait(aegis_tracer_t *t, int64_t ms)
{
    int64_t  until, left;

    until = aegis_tracer_ms() + ms;

    while (!aegis_tracer_stopped(t) && (left = until - aegis_tracer_ms()) > 0) {
        aegis_tracer_sender_wait(t->sender, (int) left);
    }
}

/* One batch, with as many tries as it takes or may take. When the process ends
 * there is one, within what is left of the time. */
static int
aegis_tracer_send(aegis_tracer_t *t, size_t n, int64_t end_ms)
{
    int                     try, wait, left;
    char                   *body;
    size_t                  len;
    aegis_tracer_answer_t   a;

    memset(&a, 0, sizeof(a));
    body = aegis_span_encode(&t->source, t->batch, n, &len);

    for (try = 1, wait = AEGIS_TRACER_WAIT_MIN; body != NULL; try++) {
        left = end_ms ? (int) (end_ms - aegis_tracer_ms()) : 0;
        a.again = 0;
        if (end_ms == 0 || left > 0) {
            aegis_tracer_sender_post(t->sender, body, len, left, end_ms ? NULL : &t->stopping,
                                     &a);
        }

        if (a.sent) {
            aegis_tracer_tell(t, 0, "");
            break;
        }
        aegis_tracer_tell(t, 1, a.detail);

        if (end_ms || !a.again || try == AEGIS_TRACER_TRIES || aegis_tracer_stopped(t)) {
            break;
        }

        wait = wait > AEGIS_TRACER_WAIT_MAX ? AEGIS_TRACER_WAIT_MAX : wait;
        wait = a.after_ms > wait ? a.after_ms : wait;
        aegis_tracer_wait(t, wait / 2 + rand_r(&t->seed) % (wait / 2 + 1));
        wait *= 2;
    }

    free(body);

    if (a.sent) {
        a.rejected = a.rejected > (int64_t) n ? (int64_t) n : a.rejected;
        t->count(AEGIS_TRACER_REJECTED, (uint64_t) a.rejected);
        t->count(AEGIS_TRACER_EXPORTED, n - (uint64_t) a.rejected);
    } else {
        t->count(aegis_tracer_stopped(t) ? AEGIS_TRACER_DROPPED : AEGIS_TRACER_FAILED, n);
    }

    return a.sent;
}

static void *
aegis_tracer_main(void *arg)
{
    size_t           n;
    int64_t          end;
    aegis_tracer_t  *t;

    t = arg;

    while (!aegis_tracer_stopped(t)) {
        n = aegis_tracer_take(t);
        if (n) {
            (void) aegis_tracer_send(t, n, 0);
        }
        if (n < AEGIS_TRACER_BATCH && aegis_tracer_queued(t) < (t->mask + 1) / 4) {
            aegis_tracer_sender_wait(t->sender, AEGIS_TRACER_IDLE_MS);
        }
    }

    end = t->away ? 0 : aegis_tracer_ms() + AEGIS_TRACER_END_MS;

    while ((n = aegis_tracer_take(t)) != 0) {
        if (end == 0) {
            t->count(AEGIS_TRACER_DROPPED, n);
        } else if (!aegis_tracer_send(t, n, end)) {
            end = 0;
        }
    }

    return NULL;
}

static void
aegis_tracer_free(aegis_tracer_t *t)
{
    aegis_tracer_sender_free(t->sender);
    free((char *) t->source.service);
    free((char *) t->source.instance);
    free((char *) t->source.host);
    free(t->cells);
    free(t);
}

aegis_tracer_t *
aegis_tracer_start(const aegis_tracer_conf_t *conf)
{
    int              rc;
    size_t           i;
    sigset_t         all, before;
    aegis_tracer_t  *t;

    t = calloc(1, sizeof(aegis_tracer_t));
    if (t == NULL) {
        return NULL;
    }

    t->ratio = conf->ratio;
    t->count = conf->count;
    t->mask = conf->queue - 1;
    t->seed = (unsigned) aegis_tracer_now();
    t->source.service = strdup(conf->source.service);
    t->source.instance = strdup(conf->source.instance);
    t->source.host = strdup(conf->source.host);
    t->source.pid = conf->source.pid;
    t->cells = calloc(conf->queue, sizeof(aegis_tracer_cell_t));
    t->sender = aegis_tracer_sender_new(conf);

    if (t->sender == NULL || t->cells == NULL || t->source.service == NULL
        || t->source.instance == NULL || t->source.host == NULL)
    {
        aegis_tracer_free(t);
        return NULL;
    }

    for (i = 0; i < conf->queue; i++) {
        t->cells[i].turn = i;
    }

    /* signals are the process's business */
    (void) sigfillset(&all);
    (void) pthread_sigmask(SIG_SETMASK, &all, &before);
    rc = pthread_create(&t->thread, NULL, aegis_tracer_main, t);
    (void) pthread_sigmask(SIG_SETMASK, &before, NULL);

    if (rc != 0) {
        aegis_tracer_free(t);
        return NULL;
    }

    return t;
}

void
aegis_tracer_stop(aegis_tracer_t *t)
{
    if (t == NULL) {
        return;
    }

    __atomic_store_n(&t->stopping, 1, __ATOMIC_RELEASE);
    aegis_tracer_sender_wake(t->sender);
    (void) pthread_join(t->thread, NULL);
    aegis_tracer_free(t);
}
