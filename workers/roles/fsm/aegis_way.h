/*
 * aegis_way.h: a fresh case's whole way, decided between two statements
 * (sql/functions/23_way.sql). What is not ordinary on it is left to the ways that
 * are for everything: aegis_carry.h and the bus.
 */
#ifndef AEGIS_WAY_H
#define AEGIS_WAY_H

#include "aegis_carry.h"
#include "aegis_fsm_role.h"

/* Does this process have what the way begins with? */
int aegis_way_open(unsigned here);

/*
 * Take the cases of asks, all for start_analysis, as far as they go. Those that were
 * taken have their verdict and are moved behind the others, of which there are *n
 * then. An error: it is not known what happened, and all are to be asked for.
 */
aegis_code_t aegis_way(aegis_worker_t *w, unsigned here, aegis_fsm_ask_t *asks, size_t *n,
    aegis_error_t *err);

#endif
