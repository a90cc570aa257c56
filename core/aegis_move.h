/*
 * aegis_move.h: what a module's fact does to its case, as one object: the event,
 * who fired it, why, and what the timeline is to remember. The fsm role asks for it
 * by a message; a module's own transaction does it at once (sql/functions/22_advance.sql).
 */
#ifndef AEGIS_MOVE_H
#define AEGIS_MOVE_H

#include "aegis_error.h"

#define AEGIS_MOVE_REASON  2000         /* bytes of a reason that are kept */

/* The ids of what the fact is about, as an object, NULL when it names none.
 * plan_id among them is what plan_ready asks for. New reference. */
json_t *aegis_move_meta(const json_t *data);

/* What the fact says, else what its subject stands for. malloc'ed. */
char *aegis_move_reason(aegis_str_t subject, const json_t *data);

/* {event, actor, reason, correlation_id, meta}; NULL: the fact moves nothing. New
 * reference. */
json_t *aegis_move(aegis_str_t subject, const json_t *data);

#endif
