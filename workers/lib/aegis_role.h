/*
 * aegis_role.h: what a role is, and what the worker gives it. Read this first
 * of workers/. A process runs one or more roles, a thread each; a role has its
 * own PostgreSQL connection and its own bus subscription, and shares only the
 * configuration, the log and the metrics.
 */
#ifndef AEGIS_ROLE_H
#define AEGIS_ROLE_H

#include "aegis_bus.h"
#include "aegis_conf.h"
#include "aegis_event.h"
#include "aegis_log.h"
#include "aegis_metrics.h"
#include "aegis_pg.h"

typedef struct aegis_role_s  aegis_role_t;

/* One role at work. Made by the loop; a role reads it and keeps its own state
 * in data. */
typedef struct {
    const aegis_role_t      *role;
    const aegis_conf_t      *conf;      /* current; a reload replaces it between batches:
                                           keep no pointer into it */
    const aegis_consumer_t  *consumer;  /* NULL for a role without subscription */
    aegis_pg_t              *pg;
    aegis_bus_t             *bus;
    const char              *owner;     /* host:pid:role, unique while it runs */
    void                    *data;
    volatile int            *stopping;  /* set by SIGTERM: finish and return */
} aegis_worker_t;

/* One message of a batch. The loop decodes and settles, the role judges. */
typedef struct {
    aegis_bus_msg_t         *raw;
    aegis_message_t          msg;       /* decoded */
    aegis_code_t             code;      /* set by the role: OK, or why not */
    char                     reason[256];
} aegis_delivery_t;

struct aegis_role_s {
    const char  *name;
    const char  *sentence;

    /* Once, before anything else. NULL: nothing to do. */
    aegis_code_t (*init)(aegis_worker_t *w, aegis_error_t *err);

    /*
     * Handle a batch: commit effects, then set each delivery's code. The loop
     * acks DONE, naks RETRY with backoff, and writes a dead letter for DEAD
     * (verdicts of errors.def) or when retry.max_deliveries is reached.
     * Return AEGIS_E_OK, or UNAVAILABLE when nothing can be said about any of
     * them (the database is away): all are nak'ed. NULL: role has no messages.
     */
    aegis_code_t (*handle)(aegis_worker_t *w, aegis_delivery_t *d, size_t n);

    /* Is there nothing to do for a message, by its bytes alone? It is acked and not
     * even decoded then. NULL: there may always be. */
    int (*skips)(const aegis_bus_msg_t *raw);

    /*
     * Between batches, at least every tick_ms: timers, leases, polling. Returns
     * the milliseconds after which it wants to run again (0: at once, there is
     * more to do). With messages too it also runs after each batch, and while
     * the database is away. For a role without subscription this is its whole loop and
     * the loop waits on w->pg's socket (LISTEN) in between. NULL: nothing.
     */
    int (*tick)(aegis_worker_t *w);

    /* New configuration. NULL: nothing to do. */
    void (*reload)(aegis_worker_t *w);

    /* Before the thread ends: finish or give back what is held. */
    void (*done)(aegis_worker_t *w);

    /* Channel to LISTEN on, or NULL. */
    const char  *listen;
};

extern const aegis_role_t  aegis_role_relay;
extern const aegis_role_t  aegis_role_fsm;
extern const aegis_role_t  aegis_role_analyst;
extern const aegis_role_t  aegis_role_planner;
extern const aegis_role_t  aegis_role_gate;
extern const aegis_role_t  aegis_role_exec;
extern const aegis_role_t  aegis_role_verify;
extern const aegis_role_t  aegis_role_sensor;
extern const aegis_role_t  aegis_role_librarian;

#endif
