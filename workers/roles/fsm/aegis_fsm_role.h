/*
 * aegis_fsm_role.h: what the files of the fsm role share.
 */
#ifndef AEGIS_FSM_ROLE_H
#define AEGIS_FSM_ROLE_H

#include "aegis_fsm.h"
#include "aegis_role.h"


/* One transition that a delivery asks for. item points into the rest. */
typedef struct {
    aegis_delivery_t  *d;
    const char        *event;
    int                taken;           /* the case is where it can go: aegis_way.h */
    char              *key;
    char              *reason;
    char              *meta;            /* NULL: none */
    char               actor[64];
    char               version[16];
    aegis_item_t       item;
} aegis_fsm_ask_t;

aegis_str_t aegis_fsm_text(const char *s);

/* Fill ask for event, key = message id + suffix. 0: no memory. The item points
 * into *ask, so ask must not move until the statement has run, or be asked
 * again. */
int aegis_fsm_ask(aegis_worker_t *w, aegis_delivery_t *d, const char *event,
    const char *suffix, aegis_fsm_ask_t *ask);
void aegis_fsm_ask_free(aegis_fsm_ask_t *ask);

/* What an answer means for the message. */
void aegis_fsm_judge(aegis_delivery_t *d, const aegis_pg_row_t *row);

/* Findings without a case: 1 when msg is such a fact; create the case and walk
 * it to where the findings belong. UNAVAILABLE: the database is away. */
int aegis_fsm_opens(const aegis_message_t *msg);
aegis_code_t aegis_fsm_open(aegis_worker_t *w, aegis_delivery_t *d);

#endif
