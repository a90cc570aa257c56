/*
 * aegis_way_doc.h: what the files of the way share: one case on it, and what has been
 * made of it so far: its moves, and a document with the rows of its artefacts.
 */
#ifndef AEGIS_WAY_DOC_H
#define AEGIS_WAY_DOC_H

#include "aegis_span.h"
#include "aegis_way.h"

#define AEGIS_WAY_MOVES  8

typedef struct {
    const aegis_module_t  *module;
    uint64_t               begun_ns;
    aegis_carry_said_t     said;
} aegis_way_stage_t;

typedef struct {
    aegis_state_t     from;
    aegis_state_t     to;
    aegis_event_id_t  event;
    const char       *subject;          /* of its fact; NULL: it has none */
    json_t           *move;             /* what aegis_move() says; owned, as what follows */
    json_t           *key;
    json_t           *data;             /* the fact's */
    json_t           *said;             /* results of steps that are told before it, or NULL */
} aegis_way_move_t;

typedef struct {
    aegis_fsm_ask_t    *ask;
    aegis_carried_t     c;              /* where the case is by now */
    int                 begun;          /* the case is for this, and not at its end yet */
    int                 goes;           /* and no stage has ended its way yet */
    json_t             *facts;          /* owned, as what was made of them */
    json_t             *doc;
    const char         *go_on;          /* who does: "ask", "open", "" */
    char                version[12];    /* at which the way begins */
    char                case_id[AEGIS_UUID_LEN + 1];
    char                exec_id[AEGIS_UUID_LEN + 1];    /* of the run that was made; "": none */
    char                traceparent[AEGIS_CONTEXT_MAX + 1];
    char                correlation[256];
    aegis_way_stage_t   stages[AEGIS_N_MODULES];
    size_t              n_stages;
    aegis_way_move_t    moves[AEGIS_WAY_MOVES];
    size_t              n_moves;
    aegis_item_t        item;
} aegis_way_t;

/* It begins with its first move: start_analysis, by who asks. 0: no. */
int aegis_way_doc_begin(aegis_way_t *k);

/*
 * One move more: what aegis_move() says, by the fact of this key, subject and data;
 * said (stolen) are results of steps that are told before it. 0: it is not legal from
 * where the case is.
 */
int aegis_way_doc_move(aegis_way_t *k, json_t *move, const char *key,
    const char *subject, json_t *data, json_t *said);

/* The row that a module made. 0: there is none, or a guard would refuse it. */
int aegis_way_doc_artefact(aegis_way_t *k, const json_t *doc);

/* The run with its steps (stolen), its facts and its move. */
int aegis_way_doc_run(aegis_way_t *k, const char *exec_id, const char *owner, json_t *steps);

/* Say who goes on. */
void aegis_way_doc_end(aegis_way_t *k, unsigned here);

void aegis_way_doc_free(aegis_way_t *k);

#endif
