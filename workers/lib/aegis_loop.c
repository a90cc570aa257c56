/*
 * aegis_loop.c: the thread of a role: configuration, connections, then round
 * and round: tick when it is due, fetch, hand to aegis_loop_batch.c.
 * Invariant: a loop is never further from looking at the stop flag than one
 * batch or a fifth of a second, and with the database or the bus away it waits
 * with growing delays, holding nothing.
 */
#include "aegis_carry.h"
#include "aegis_loop_impl.h"

#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/eventfd.h>
#include <time.h>
#include <unistd.h>

#define AEGIS_LOOP_FETCH_MS      200
#define AEGIS_LOOP_LISTEN_MS     50     /* fetch of a role that also listens */
#define AEGIS_LOOP_NOTIFIED_MS   10     /* the same, when it is told by its own process */
#define AEGIS_LOOP_IDLE_MS       1000

/* Messages come in bursts, as the relay publishes them: when there were so many
 * of them last time, the others of this one are waited for. */
#define AEGIS_LOOP_BURST         4
#define AEGIS_LOOP_GATHER_MS     4
#define AEGIS_LOOP_LOOKS         64     /* a batch is never further away than so many fetches */
#define AEGIS_LOOP_DELAY_MIN     100
#define AEGIS_LOOP_DELAY_MAX     2000

struct aegis_loop_conf_s {
    aegis_conf_t  *conf;
    int            refs;                /* loops, and one while it is current */
    int            to_take;             /* loops that have yet to change to it */
};

static pthread_mutex_t      aegis_loop_mutex = PTHREAD_MUTEX_INITIALIZER;
static aegis_loop_conf_t   *aegis_loop_current;
static int                  aegis_loop_n;       /* started ever, by the mutex */
static volatile int         aegis_loop_stopping;
static int                  aegis_loop_stop_fd = -1;

int64_t
aegis_loop_now(void)
{
    struct timespec  ts;

    clock_gettime(CLOCK_MONOTONIC, &ts);
    return (int64_t) ts.tv_sec * 1000 + ts.tv_nsec / 1000000;
}

static void
aegis_loop_conf_drop(aegis_loop_conf_t *c)
{
    if (c != NULL && --c->refs == 0) {
        aegis_conf_free(c->conf);
        free(c);
    }
}

aegis_code_t
aegis_loop_conf(aegis_conf_t *conf, aegis_error_t *err)
{
    aegis_loop_conf_t  *c;

    c = malloc(sizeof(aegis_loop_conf_t));
    if (aegis_loop_stop_fd < 0) {
        aegis_loop_stop_fd = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
    }
    if (c == NULL || aegis_loop_stop_fd < 0) {
        free(c);
        aegis_conf_free(conf);
        return aegis_error_set(err, AEGIS_E_UNAVAILABLE, "no memory or descriptors");
    }

    c->conf = conf;
    c->refs = 1;

    pthread_mutex_lock(&aegis_loop_mutex);
    c->to_take = aegis_loop_n;
    aegis_loop_conf_drop(aegis_loop_current);
    aegis_loop_current = c;
    pthread_mutex_unlock(&aegis_loop_mutex);
    return AEGIS_E_OK;
}

const aegis_conf_t *
aegis_loop_conf_current(void)
{
    return aegis_loop_current->conf;
}

aegis_metric_t *
aegis_loop_reloads(const char *outcome)
{
    char  labels[64];

    snprintf(labels, sizeof(labels), "outcome=\"%s\"", outcome);
    return aegis_counter("aegis_config_reloads_total", labels,
        "Settings read again: taken when all roles of the process work by them, or refused.");
}

/* Change to the current configuration; 1 when it is another one. */
static int
aegis_loop_conf_take(aegis_loop_t *loop)
{
    int                 last;
    aegis_loop_conf_t  *old;

    pthread_mutex_lock(&aegis_loop_mutex);
    old = loop->conf;
    if (old != aegis_loop_current) {
        loop->conf = aegis_loop_current;
        loop->conf->refs++;
    }
    pthread_mutex_unlock(&aegis_loop_mutex);

    if (loop->conf == old) {
        return 0;
    }

    loop->w.conf = loop->conf->conf;
    if (loop->w.bus != NULL) {
        aegis_bus_reload(loop->w.bus, loop->w.conf);
    }
    if (old != NULL && loop->w.role->reload != NULL) {
        loop->w.role->reload(&loop->w);
    }

    pthread_mutex_lock(&aegis_loop_mutex);
    aegis_loop_conf_drop(old);
    last = old != NULL && --loop->conf->to_take == 0;
    pthread_mutex_unlock(&aegis_loop_mutex);

    if (last) {
        aegis_metric_add(aegis_loop_reloads("taken"), 1);
    }
    return 1;
}

void
aegis_loop_stop_all(void)
{
    uint64_t  one = 1;
    ssize_t   rc;

    __atomic_store_n(&aegis_loop_stopping, 1, __ATOMIC_RELEASE);
    if (aegis_loop_stop_fd >= 0) {
        rc = write(aegis_loop_stop_fd, &one, sizeof(one));
        (void) rc;
    }
}

/* Sleep, or until the stop. */
static void
aegis_loop_sleep(int ms)
{
    struct pollfd  p;

    p.fd = aegis_loop_stop_fd;
    p.events = POLLIN;
    (void) poll(&p, 1, ms);
}

/* Wait a growing time with jitter; *delay is 0 when all is well. */
static void
aegis_loop_backoff(aegis_loop_t *loop, int *delay)
{
    *delay = *delay ? *delay * 2 : AEGIS_LOOP_DELAY_MIN;
    if (*delay > AEGIS_LOOP_DELAY_MAX) {
        *delay = AEGIS_LOOP_DELAY_MAX;
    }

    aegis_loop_sleep(*delay / 2 + rand_r(&loop->seed) % (*delay / 2 + 1));
}

static void
aegis_loop_beat(aegis_loop_t *loop)
{
    __atomic_store_n(&loop->beat, aegis_loop_now(), __ATOMIC_RELAXED);
}

int64_t
aegis_loop_silence(const aegis_loop_t *loop)
{
    return aegis_loop_now() - __atomic_load_n(&loop->beat, __ATOMIC_RELAXED);
}

const char *
aegis_loop_role(const aegis_loop_t *loop)
{
    return loop->w.role->name;
}

static void
aegis_loop_trouble(aegis_loop_t *loop, const char *event, aegis_error_t *err)
{
    aegis_metric_add(loop->errors, 1);
    aegis_log(AEGIS_LOG_ERROR, loop->w.role->name, event, "code", "%s",
              aegis_error_def(err->code)->code, "error", "%s", err->detail, NULL);
    aegis_error_clear(err);
}

/* Is the database there? Notices a connection that was closed while idle. */
static int
aegis_loop_database(aegis_loop_t *loop)
{
    int            away;
    aegis_error_t  err = AEGIS_ERROR_INIT;

    if (aegis_pg_connected(loop->w.pg)) {
        return 1;
    }

    away = loop->db_delay != 0;
    if (aegis_pg_ready(loop->w.pg, &err) != AEGIS_E_OK) {
        aegis_metric_set(loop->db_up, 0);
        aegis_loop_trouble(loop, "database-away", &err);
        aegis_loop_backoff(loop, &loop->db_delay);
        return 0;
    }

    loop->db_delay = 0;
    aegis_metric_set(loop->db_up, 1);
    aegis_log(AEGIS_LOG_INFO, loop->w.role->name,
              away ? "database-back" : "database-connected", NULL);
    return 1;
}

/* Of n messages from raw[at] on, those that the role wants, close together; the others
 * are settled. */
static size_t
aegis_loop_wanted(aegis_loop_t *loop, size_t at, size_t n)
{
    size_t  i, left;

    if (loop->w.role->skips == NULL) {
        return n;
    }

    for (i = at, left = at; i < at + n; i++) {
        if (loop->w.role->skips(&loop->raw[i])) {
            aegis_metric_add(loop->done, 1);
            aegis_bus_ack(loop->w.bus, &loop->raw[i]);
        } else {
            loop->raw[left++] = loop->raw[i];
        }
    }

    return left - at;
}

/* Take the rest of a burst whose first n messages are here, and those behind it that
 * are here too. What the role skips takes no place. What goes wrong shows again with
 * the next fetch. */
static size_t
aegis_loop_gather(aegis_loop_t *loop, size_t n, size_t max, int wait_ms)
{
    size_t         more, looks;
    int64_t        until, left;
    aegis_error_t  err = AEGIS_ERROR_INIT;

    until = aegis_loop_now() + wait_ms;

    for (looks = 0; n < max && looks < AEGIS_LOOP_LOOKS; looks++) {
        left = until - aegis_loop_now();
        if (aegis_bus_fetch(loop->w.bus, loop->raw + n, max - n, left > 0 ? (int) left : 0,
                            &more, &err) != AEGIS_E_OK)
        {
            aegis_error_clear(&err);
            break;
        }
        if (more == 0 && left <= 0) {
            break;
        }
        n += aegis_loop_wanted(loop, n, more);
    }

    return n;
}

/* Fetch and handle one batch. 1 when there was one. */
static int
aegis_loop_messages(aegis_loop_t *loop, int timeout_ms)
{
    int            full;
    size_t         n;
    int64_t        max;
    aegis_code_t   rc;
    aegis_error_t  err = AEGIS_ERROR_INIT;

    max = aegis_conf_int(loop->w.conf, "bus.fetch");
    max = max < AEGIS_LOOP_BATCH ? max : AEGIS_LOOP_BATCH;
    rc = aegis_bus_fetch(loop->w.bus, loop->raw, (size_t) max, timeout_ms, &n, &err);
    if (rc != AEGIS_E_OK) {
        aegis_metric_set(loop->bus_up, 0);
        aegis_loop_trouble(loop, "bus-away", &err);
        aegis_loop_backoff(loop, &loop->bus_delay);
        return 0;
    }

    if (loop->bus_delay) {
        aegis_log(AEGIS_LOG_INFO, loop->w.role->name, "bus-back", NULL);
        loop->bus_delay = 0;
    }
    aegis_metric_set(loop->bus_up, 1);

    if (n == 0) {
        return 0;
    }

    /* many skipped ones stand between those that are wanted */
    full = n == (size_t) max;
    n = aegis_loop_wanted(loop, 0, n);
    if (loop->burst >= AEGIS_LOOP_BURST || (full && loop->w.role->skips)) {
        n = aegis_loop_gather(loop, n, (size_t) max,
                              loop->burst >= AEGIS_LOOP_BURST ? AEGIS_LOOP_GATHER_MS : 0);
    }
    loop->burst = n;
    if (n == 0) {
        return 1;
    }

    rc = aegis_loop_batch(loop, n, &err);
    if (rc != AEGIS_E_OK) {
        aegis_loop_trouble(loop, "batch-put-back", &err);
        aegis_metric_set(loop->db_up, 0);
        aegis_loop_backoff(loop, &loop->db_delay);
        return 0;
    }

    aegis_metric_set(loop->db_up, 1);
    loop->db_delay = 0;
    return 1;
}

/* One round: what is due, then messages or waiting. Returns when the next tick
 * is due. */
static int64_t
aegis_loop_round(aegis_loop_t *loop, int64_t due)
{
    int            rc, timeout;
    int64_t        now;
    aegis_role_t   role;

    role = *loop->w.role;
    now = aegis_loop_now();

    if (role.tick != NULL && now >= due) {
        rc = role.tick(&loop->w);
        now = aegis_loop_now();
        due = now + (rc > 0 ? rc : 0);
    }

    timeout = (int) (role.tick == NULL || due - now > AEGIS_LOOP_IDLE_MS
                     ? AEGIS_LOOP_IDLE_MS : due > now ? due - now : 0);

    if (role.handle == NULL) {
        rc = aegis_pg_wait(loop->w.pg, aegis_loop_stop_fd, timeout);
        if (rc < 0) {
            aegis_loop_sleep(timeout < AEGIS_LOOP_DELAY_MIN ? timeout
                             : AEGIS_LOOP_DELAY_MIN);
        }
        return rc > 0 ? 0 : due;
    }

    /* where other roles of the process do what a command would ask for, the word of
     * it comes by notification, and commands come rarely */
    rc = role.listen && aegis_carry_offered() & ~AEGIS_CARRY_EXEC ? AEGIS_LOOP_NOTIFIED_MS : 0;
    rc = timeout < rc ? timeout : rc;

    /* a notification, or a connection that went away while idle. Messages that are here
     * have their turn all the same: notifications may come without a pause */
    if (aegis_pg_wait(loop->w.pg, -1, rc) > 0) {
        if (aegis_pg_connected(loop->w.pg)) {
            (void) aegis_loop_messages(loop, 0);
        }
        return 0;
    }

    rc = rc > 0 ? 0 : role.listen ? AEGIS_LOOP_LISTEN_MS : AEGIS_LOOP_FETCH_MS;
    return aegis_loop_messages(loop, timeout < rc ? timeout : rc) && role.tick ? 0 : due;
}

static void *
aegis_loop_main(void *arg)
{
    int64_t              due;
    aegis_code_t         rc;
    aegis_loop_t        *loop;
    aegis_error_t        err = AEGIS_ERROR_INIT;
    const aegis_role_t  *role;

    loop = arg;
    role = loop->w.role;
    loop->w.pg = aegis_pg_new(aegis_conf_str(loop->w.conf, "database.url"), loop->name);
    loop->w.bus = aegis_bus_new(loop->w.conf, loop->w.consumer);

    if (loop->w.pg == NULL || loop->w.bus == NULL) {
        (void) aegis_error_set(&err, AEGIS_E_INTERNAL, "no memory");
        aegis_loop_trouble(loop, "start-failed", &err);
        abort();                        /* a process that cannot start: restart it */
    }
    if (role->listen != NULL) {
        aegis_pg_listen(loop->w.pg, role->listen);
    }

    rc = role->init ? AEGIS_E_UNAVAILABLE : AEGIS_E_OK;

    while (rc != AEGIS_E_OK && !aegis_loop_stopping) {
        aegis_loop_beat(loop);
        (void) aegis_loop_conf_take(loop);
        rc = role->init(&loop->w, &err);
        if (rc != AEGIS_E_OK) {
            aegis_loop_trouble(loop, "init-failed", &err);
            aegis_loop_backoff(loop, &loop->db_delay);
        }
    }

    loop->db_delay = 0;
    aegis_log(AEGIS_LOG_INFO, role->name, "started", "owner", "%s", loop->owner, NULL);

    for (due = 0; !aegis_loop_stopping; ) {
        aegis_loop_beat(loop);
        if (aegis_loop_conf_take(loop)) {
            due = 0;
        }
        if (aegis_loop_database(loop)) {
            due = aegis_loop_round(loop, due);

        } else if (role->handle != NULL && role->tick != NULL) {
            (void) role->tick(&loop->w);    /* what it runs has its own deadlines */
        }
    }

    aegis_loop_beat(loop);
    if (role->done != NULL) {
        role->done(&loop->w);
    }
    aegis_bus_free(loop->w.bus);        /* flushes acks */
    aegis_pg_free(loop->w.pg);
    aegis_log(AEGIS_LOG_INFO, role->name, "stopped", NULL);
    return NULL;
}

static aegis_metric_t *
aegis_loop_outcome(const char *role, const char *outcome)
{
    char  labels[128];

    snprintf(labels, sizeof(labels), "role=\"%s\",outcome=\"%s\"", role, outcome);
    return aegis_counter("aegis_messages_total", labels,
        "Messages settled: done acked, retry put back, dead buried with a reason,"
        " unavailable put back because the database was away.");
}

static void
aegis_loop_metrics(aegis_loop_t *loop)
{
    char         labels[64];
    const char  *role;

    role = loop->w.role->name;
    snprintf(labels, sizeof(labels), "role=\"%s\"", role);

    loop->errors = aegis_counter("aegis_errors_total", labels,
                                 "Failures of database, bus and role, each retried.");
    loop->db_up = aegis_gauge("aegis_db_up", labels,
                              "1 when the role's last use of the database worked.");
    loop->bus_up = aegis_gauge("aegis_bus_up", labels,
                               "1 when the role's last use of the bus worked.");

    if (loop->w.role->handle != NULL) {
        loop->done = aegis_loop_outcome(role, "done");
        loop->retry = aegis_loop_outcome(role, "retry");
        loop->dead = aegis_loop_outcome(role, "dead");
        loop->unavailable = aegis_loop_outcome(role, "unavailable");
        loop->dead_letters = aegis_counter("aegis_dead_letters_total", labels,
                                           "Messages that became dead letters.");
        loop->batch_size = aegis_histogram("aegis_batch_size", labels,
                                           "Messages fetched at a time.");
        loop->handle_seconds = aegis_histogram("aegis_handle_seconds", labels,
                                               "Time to handle a batch.");
    }
}

aegis_code_t
aegis_loop_start(const aegis_role_t *role, aegis_loop_t **ret_loop, aegis_error_t *err)
{
    int            rc;
    char           host[128];
    aegis_loop_t  *loop;

    loop = calloc(1, sizeof(aegis_loop_t));
    if (loop == NULL) {
        return aegis_error_set(err, AEGIS_E_UNAVAILABLE, "no memory");
    }

    if (gethostname(host, sizeof(host)) != 0) {
        strcpy(host, "localhost");
    }
    host[sizeof(host) - 1] = '\0';

    snprintf(loop->owner, sizeof(loop->owner), "%s:%d:%s", host, (int) getpid(),
             role->name);
    snprintf(loop->name, sizeof(loop->name), "aegis-%s", role->name);
    loop->seed = (unsigned) time(NULL) ^ (unsigned) (uintptr_t) loop;
    loop->w.role = role;
    loop->w.owner = loop->owner;
    loop->w.stopping = &aegis_loop_stopping;
    loop->w.consumer = role->handle ? aegis_consumer_of(role->name) : NULL;
    (void) aegis_loop_conf_take(loop);
    aegis_loop_metrics(loop);
    aegis_loop_beat(loop);
    if (role->handle != NULL && aegis_otel_on()) {
        loop->traces = calloc(AEGIS_LOOP_BATCH, sizeof(aegis_loop_trace_t));
    }

    pthread_mutex_lock(&aegis_loop_mutex);
    aegis_loop_n++;
    pthread_mutex_unlock(&aegis_loop_mutex);

    rc = pthread_create(&loop->thread, NULL, aegis_loop_main, loop);
    if (rc != 0) {
        free(loop->traces);
        free(loop);
        return aegis_error_set(err, AEGIS_E_UNAVAILABLE, "no thread: %s", strerror(rc));
    }

    *ret_loop = loop;
    return AEGIS_E_OK;
}

int
aegis_loop_join(aegis_loop_t *loop, int64_t deadline_ms)
{
    struct timespec  ts;

    ts.tv_sec = (time_t) (deadline_ms / 1000);
    ts.tv_nsec = (long) (deadline_ms % 1000) * 1000000;

    if (pthread_clockjoin_np(loop->thread, NULL, CLOCK_MONOTONIC, &ts) != 0) {
        return 0;
    }

    pthread_mutex_lock(&aegis_loop_mutex);
    aegis_loop_conf_drop(loop->conf);
    pthread_mutex_unlock(&aegis_loop_mutex);
    free(loop->traces);
    free(loop);
    return 1;
}
