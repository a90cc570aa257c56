/*
 * aegis_loop.h: a role at work: one thread with its own database connection
 * and bus. The program starts loops, gives them a new configuration, and stops
 * them; signals are its own business.
 */
#ifndef AEGIS_LOOP_H
#define AEGIS_LOOP_H

#include "aegis_metrics.h"
#include "aegis_role.h"

typedef struct aegis_loop_s  aegis_loop_t;

/* The configuration in force; taken over. Loops change to it between batches,
 * the old one goes when no loop uses it any more. Before the first start. */
aegis_code_t aegis_loop_conf(aegis_conf_t *conf, aegis_error_t *err);
const aegis_conf_t *aegis_loop_conf_current(void);

/* The counter of settings read again, "taken" by all loops or "refused". */
aegis_metric_t *aegis_loop_reloads(const char *outcome);

/* Start a role's thread. */
aegis_code_t aegis_loop_start(const aegis_role_t *role, aegis_loop_t **ret_loop,
    aegis_error_t *err);

/* Ask all loops to finish: what was taken is settled, then they end. */
void aegis_loop_stop_all(void);

/* 1 when the thread has ended by deadline_ms of the monotonic clock; the loop
 * is then freed. 0: it still runs. */
int aegis_loop_join(aegis_loop_t *loop, int64_t deadline_ms);

/* Milliseconds since the loop was last seen alive. */
int64_t aegis_loop_silence(const aegis_loop_t *loop);
const char *aegis_loop_role(const aegis_loop_t *loop);

/* Milliseconds of the monotonic clock. */
int64_t aegis_loop_now(void);

#endif
