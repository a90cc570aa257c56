/*
 * aegis_exec.c: the executor. A command is accepted as a run; the tick claims
 * runs under a lease and drives all of them at once: what waits for a commit
 * is committed together, what can act acts, nothing waits for anything else.
 *
 * When it is told to stop it begins nothing more, gives what runs 2 s, ends the
 * rest, records those attempts as UNKNOWN ("its executor was stopped") and
 * gives its runs back with a lease of 0, so that another executor takes them
 * over at once: a retry_safe step is made again, any other parks the case.
 * When it is killed, its scripts' wardens end them, and the lease runs out.
 */
#include "aegis_carry.h"
#include "aegis_exec.h"

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

/* While adapters are at work, and the slow poll behind LISTEN. */
#define AEGIS_EXEC_POLL_MS   20
#define AEGIS_EXEC_CLAIM_MS  1000
/* While objects are on their way into a bucket. */
#define AEGIS_EXEC_STORE_POLL_MS  50
/* A tick ends after this time, so that messages have their turn. */
#define AEGIS_EXEC_TICK_MS   250
#define AEGIS_EXEC_PATIENCE_MS  2000
#define AEGIS_EXEC_STOP_MS      8000

static void
aegis_exec_settings(aegis_worker_t *w)
{
    aegis_exec_t  *x;

    x = w->data;
    x->lease_s = (int) aegis_conf_int(w->conf, "exec.lease_s");
}

static void
aegis_exec_free(aegis_worker_t *w)
{
    size_t                  i;
    aegis_exec_t           *x;
    const aegis_adapter_t  *a;

    x = w->data;
    if (x == NULL) {
        return;
    }

    for (i = 0; i < x->n_runs; i++) {
        aegis_exec_run_free(x->runs[i]);
    }
    for (i = 0; x->configured && (a = aegis_adapter_at(i)) != NULL; i++) {
        if (a->done) {
            a->done();
        }
    }
    aegis_store_close(x->store);
    if (x->objects >= 0) {
        close(x->objects);
    }
    free(x->runs);
    free(x->items);
    free(x);
    w->data = NULL;
}

/* An object is in the bucket: its file is not needed any more. In a local store
 * the file is the object. */
static void
aegis_exec_stored(void *data, const char *key, int ok)
{
    aegis_exec_t  *x;

    x = data;
    if (ok && strcmp(aegis_store_bucket(x->store), "file") != 0) {
        (void) unlinkat(x->objects, key, 0);
    }
}

static void
aegis_exec_put_leftover(void *data, const char *key, int fd, int64_t size)
{
    (void) aegis_store_put(((aegis_exec_t *) data)->store, key, fd, size, 1);
}

/* Called again after a failure. */
static aegis_code_t
aegis_exec_init(aegis_worker_t *w, aegis_error_t *err)
{
    char                    path[4096];
    size_t                  i;
    aegis_exec_t           *x;
    struct timespec         ts;
    const aegis_adapter_t  *a;

    aegis_exec_free(w);

    x = calloc(1, sizeof(aegis_exec_t));
    if (x == NULL) {
        return aegis_error_set(err, AEGIS_E_UNAVAILABLE, "no memory");
    }
    w->data = x;
    x->objects = -1;
    x->owner = w->owner;

    clock_gettime(CLOCK_REALTIME, &ts);
    x->seed = (unsigned) ts.tv_nsec ^ (unsigned) getpid();

    x->items = calloc(AEGIS_EXEC_GROUP, sizeof(aegis_item_t));
    x->runs = calloc(AEGIS_EXEC_MAX_RUNS, sizeof(aegis_exec_run_t *));
    if (x->items == NULL || x->runs == NULL) {
        return aegis_error_set(err, AEGIS_E_UNAVAILABLE, "no memory");
    }

    (void) aegis_conf_path(w->conf, "exec.object_dir", path);
    if (mkdir(path, 0750) != 0 && errno != EEXIST) {
        return aegis_error_set(err, AEGIS_E_UNAVAILABLE,
            "exec.object_dir: cannot make %s: %s", path, strerror(errno));
    }
    x->objects = open(path, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    if (x->objects < 0 || faccessat(x->objects, ".", W_OK | X_OK, AT_EACCESS) != 0) {
        return aegis_error_set(err, AEGIS_E_UNAVAILABLE,
            "exec.object_dir: cannot write to %s: %s", path, strerror(errno));
    }

    aegis_exec_settings(w);
    for (i = 0; (a = aegis_adapter_at(i)) != NULL; i++) {
        if (a->configure && !a->configure(w->conf, err)) {
            return AEGIS_E_UNAVAILABLE;
        }
    }
    x->configured = 1;

    if (aegis_store_open(w->conf, aegis_exec_stored, x, &x->store, err) != AEGIS_E_OK) {
        return AEGIS_E_UNAVAILABLE;
    }

    if (strcmp(aegis_store_bucket(x->store), "file") != 0) {
        aegis_sink_leftovers(x->objects, aegis_exec_put_leftover, x);
        x->storing = 1;
    }

    x->running = aegis_gauge("aegis_exec_running", "", "runs that this executor holds");
    x->seconds = aegis_histogram("aegis_exec_step_seconds", "",
                                 "time from a step's start to its recorded end");
    x->busy = aegis_counter("aegis_exec_target_busy_total", "",
                            "attempts that had to wait for their target");
    aegis_carry_offer_idle(aegis_exec_idle);
    aegis_carry_offer(AEGIS_CARRY_EXEC, 1);

    return AEGIS_E_OK;
}

static aegis_code_t
aegis_exec_handle(aegis_worker_t *w, aegis_delivery_t *d, size_t n)
{
    size_t         i, k, part;
    aegis_code_t   rc;
    aegis_exec_t  *x;

    x = w->data;

    for (i = 0; i < n; i += part) {
        part = n - i < AEGIS_EXEC_GROUP ? n - i : AEGIS_EXEC_GROUP;
        rc = aegis_exec_db_accept(w, d + i, part);

        if (rc != AEGIS_E_OK && i == 0) {
            return rc;
        }
        /* the first parts are committed: only the rest comes again */
        for (k = i; rc != AEGIS_E_OK && k < i + part; k++) {
            d[k].code = AEGIS_E_UNAVAILABLE;
        }
    }

    x->claim_at = 0;
    return AEGIS_E_OK;
}

/* Forget the runs that are over. */
static void
aegis_exec_sweep(aegis_exec_t *x)
{
    size_t  i;

    for (i = 0; i < x->n_runs; ) {
        if (x->runs[i]->at == AEGIS_RUN_GONE) {
            aegis_exec_run_free(x->runs[i]);
            x->runs[i] = x->runs[--x->n_runs];
        } else {
            i++;
        }
    }

    aegis_metric_set(x->running, (double) x->n_runs);
}

static size_t
aegis_exec_go(aegis_worker_t *w)
{
    int64_t        now;
    size_t         i, moved;
    aegis_exec_t  *x;

    x = w->data;
    now = aegis_act_now();

    for (i = 0, moved = 0; i < x->n_runs; i++) {
        moved += (size_t) aegis_exec_run_go(w, x->runs[i], now);
    }

    return moved;
}

/* One round: every run moves on as far as it can with one statement each of
 * end, begin and finish. */
static size_t
aegis_exec_round(aegis_worker_t *w)
{
    size_t         moved;
    aegis_exec_t  *x;

    x = w->data;

    moved = aegis_exec_go(w);
    moved += aegis_exec_db_commit(w, AEGIS_RUN_END, aegis_act_now());
    moved += aegis_exec_go(w);
    if (!x->stopping) {
        moved += aegis_exec_db_commit(w, AEGIS_RUN_BEGIN, aegis_act_now());
    }
    moved += aegis_exec_end(w, aegis_act_now());

    aegis_exec_db_progress(w, aegis_act_now());
    x->storing = aegis_store_turn(x->store);
    aegis_exec_sweep(x);
    return moved;
}

static void
aegis_exec_beat_when_due(aegis_worker_t *w)
{
    int64_t        now;
    aegis_exec_t  *x;

    x = w->data;
    now = aegis_act_now();

    if (x->n_runs == 0) {
        x->heartbeat_at = 0;
        return;
    }
    if (x->heartbeat_at == 0) {
        x->heartbeat_at = now + (int64_t) x->lease_s * 1000 / 3;
    }
    if (now >= x->heartbeat_at) {
        x->heartbeat_at = now + (int64_t) x->lease_s * 1000 / 3;
        aegis_exec_db_heartbeat(w, x->lease_s);
    }
}

static size_t
aegis_exec_claim_when_due(aegis_worker_t *w)
{
    size_t         limit, taken;
    int64_t        now, most;
    aegis_exec_t  *x;

    x = w->data;
    now = aegis_act_now();
    most = aegis_conf_int(w->conf, "exec.concurrency");
    most = most < AEGIS_EXEC_MAX_RUNS ? most : AEGIS_EXEC_MAX_RUNS;

    /* with every place taken the claim still brings word of cancels */
    if (x->stopping || now < x->claim_at
        || ((int64_t) x->n_runs >= most && now < x->claimed_at + AEGIS_EXEC_CLAIM_MS))
    {
        return 0;
    }

    x->claimed_at = now;
    limit = (int64_t) x->n_runs < most ? (size_t) most - x->n_runs : 0;
    taken = aegis_exec_db_claim(w, limit);

    /* a full answer says that there may be more, when a place is free again */
    x->claim_at = taken == limit && limit > 0 ? now : now + aegis_exec_jitter(x, AEGIS_EXEC_CLAIM_MS);
    return taken;
}

/* Milliseconds until something is due. */
static int
aegis_exec_due(aegis_exec_t *x)
{
    size_t             i;
    int64_t            now, at;
    aegis_exec_run_t  *run;

    now = aegis_act_now();
    at = x->claim_at > now ? x->claim_at : now + AEGIS_EXEC_CLAIM_MS;
    if (x->n_runs > 0 && x->heartbeat_at < at) {
        at = x->heartbeat_at;
    }
    if (x->storing > 0 && now + AEGIS_EXEC_STORE_POLL_MS < at) {
        at = now + AEGIS_EXEC_STORE_POLL_MS;
    }

    for (i = 0; i < x->n_runs; i++) {
        run = x->runs[i];
        if (run->at == AEGIS_RUN_ACT || run->at == AEGIS_RUN_DYING) {
            at = now + AEGIS_EXEC_POLL_MS < at ? now + AEGIS_EXEC_POLL_MS : at;
        } else if (run->wake_at > 0 && run->wake_at < at) {
            at = run->wake_at;
        }
    }

    return at <= now ? 1 : (int) (at - now);
}

static int
aegis_exec_tick(aegis_worker_t *w)
{
    int            due;
    size_t         moved;
    int64_t        end;
    aegis_exec_t  *x;

    x = w->data;
    end = aegis_act_now() + AEGIS_EXEC_TICK_MS;

    if (*w->stopping) {
        x->stopping = 1;
    }

    /* earlier than asked for: somebody has accepted a run and said so */
    if (aegis_act_now() < x->due_at) {
        x->claim_at = 0;
    }

    do {
        aegis_exec_beat_when_due(w);
        moved = aegis_exec_claim_when_due(w);
        moved += aegis_exec_round(w);
    } while (moved > 0 && aegis_act_now() < end);

    due = moved > 0 ? 0 : aegis_exec_due(x);
    x->due_at = aegis_act_now() + due;
    return due;
}

static void
aegis_exec_reload(aegis_worker_t *w)
{
    size_t                  i;
    aegis_error_t           err = AEGIS_ERROR_INIT;
    const aegis_adapter_t  *a;

    aegis_exec_settings(w);

    for (i = 0; (a = aegis_adapter_at(i)) != NULL; i++) {
        if (a->configure && !a->configure(w->conf, &err)) {
            aegis_log(AEGIS_LOG_ERROR, "exec", "adapter.refused", "adapter", "%s", a->name,
                      "detail", "%s", err.detail, NULL);
            aegis_error_clear(&err);
        }
    }
}

static int
aegis_exec_acting(const aegis_exec_t *x)
{
    size_t  i;

    for (i = 0; i < x->n_runs; i++) {
        if (x->runs[i]->at == AEGIS_RUN_ACT || x->runs[i]->at == AEGIS_RUN_DYING) {
            return 1;
        }
    }

    return 0;
}

/* Rounds until nothing acts any more, or the time is over. */
static void
aegis_exec_drain(aegis_worker_t *w, int ms)
{
    int64_t        end;
    aegis_exec_t  *x;

    x = w->data;
    end = aegis_act_now() + ms;

    for ( ;; ) {
        aegis_exec_beat_when_due(w);
        while (aegis_exec_round(w) > 0 && aegis_act_now() < end) {
            continue;
        }
        if (!aegis_exec_acting(x) || aegis_act_now() >= end) {
            return;
        }
        (void) poll(NULL, 0, AEGIS_EXEC_POLL_MS);
    }
}

/* What is not in the bucket by now stays in the folder, and is put when the
 * executor starts again. */
static void
aegis_exec_drain_store(aegis_exec_t *x)
{
    int64_t  end;

    end = aegis_act_now() + AEGIS_EXEC_PATIENCE_MS;
    while (aegis_store_turn(x->store) > 0 && aegis_act_now() < end) {
        (void) poll(NULL, 0, AEGIS_EXEC_POLL_MS);
    }
}

static void
aegis_exec_done(aegis_worker_t *w)
{
    size_t         i;
    aegis_exec_t  *x;

    x = w->data;
    if (x == NULL) {
        return;
    }

    x->stopping = 1;
    aegis_carry_offer(AEGIS_CARRY_EXEC, 0);
    aegis_carry_offer_idle(NULL);

    if (x->n_runs > 0) {
        aegis_exec_drain(w, AEGIS_EXEC_PATIENCE_MS);

        for (i = 0; i < x->n_runs; i++) {
            if (x->runs[i]->at == AEGIS_RUN_ACT) {
                aegis_exec_act_cancel(w, x->runs[i], "stop");
            }
        }
        aegis_exec_drain(w, AEGIS_EXEC_STOP_MS);
    }

    if (x->n_runs > 0) {
        aegis_log(AEGIS_LOG_INFO, "exec", "runs.given_back", "n", "%zu", x->n_runs, NULL);
        aegis_exec_db_heartbeat(w, 0);
    }

    if (x->store) {
        aegis_exec_drain_store(x);
    }
    aegis_exec_free(w);
}

const aegis_role_t  aegis_role_exec = {
    .name = "exec",
    .sentence = "executes approved plans step by step",
    .init = aegis_exec_init,
    .handle = aegis_exec_handle,
    .tick = aegis_exec_tick,
    .reload = aegis_exec_reload,
    .done = aegis_exec_done,
    .listen = "aegis_exec"
};
