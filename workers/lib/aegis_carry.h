/*
 * aegis_carry.h: a process carries a case on by itself as far as its own roles go:
 * the transaction that moves a case to a state whose module is here also loads the
 * facts, lets the core decide and commits the decision, and so on to the next state
 * (docs/adr/0015). Commands are published for modules that are elsewhere only.
 */
#ifndef AEGIS_CARRY_H
#define AEGIS_CARRY_H

#include "aegis_fsm.h"
#include "aegis_http.h"
#include "aegis_module.h"
#include "aegis_role.h"

/* Cases in one transaction. */
#define AEGIS_CARRY_MAX   256

/* Bodies of templates and policies that a thread keeps. */
#define AEGIS_CARRY_KEPT  8
#define AEGIS_CARRY_ASKS  (64 + AEGIS_CARRY_KEPT * 64)

/* The executor takes its runs out of the database: it is no module of the core. */
#define AEGIS_CARRY_EXEC  (1u << 31)
#define AEGIS_CARRY_BIT(id)  (1u << (id))

/* One case in the transaction. Strings are borrowed for as long as it lasts. */
typedef struct {
    aegis_str_t    tenant;
    aegis_str_t    case_id;
    aegis_str_t    traceparent;
    aegis_str_t    correlation_id;
    aegis_state_t  state;               /* where the transaction has brought it */
    int            version;
    int            left;                /* its command has to be published after all */
} aegis_carried_t;

/* A role says whether this process can do its work just now; any thread. */
void aegis_carry_offer(unsigned bit, int ready);

/* What can be done here just now. */
unsigned aegis_carry_offered(void);

/* A run of a plan, for who makes its steps at once. */
typedef struct {
    const aegis_conf_t  *conf;
    const char          *tenant;
    const char          *case_id;
    const char          *exec_id;
    const char          *traceparent;
    json_t              *plan;
} aegis_carry_run_t;

/*
 * The executor's offer to the other roles of its process: make all steps of a run
 * at once, in any thread, when none of them changes anything outside, and say them as
 * rows of exec_step, of epoch 1, the output being text. NULL: it has to be a run of its own.
 */
typedef json_t *(*aegis_carry_idle_pt)(const aegis_carry_run_t *run);
void aegis_carry_offer_idle(aegis_carry_idle_pt make);
json_t *aegis_carry_idle(const aegis_carry_run_t *run);

/*
 * The planner's offer likewise: ask the knowledge base about n cases of these tenants,
 * in any thread, and add what it says to their facts as "knowledge". One for which
 * there is no answer within ms stays as it is: the planner's own to ask about.
 */
typedef void (*aegis_carry_cite_pt)(aegis_worker_t *w, const aegis_str_t *tenants,
    json_t *const *facts, size_t n, int ms);
void aegis_carry_offer_cite(aegis_carry_cite_pt ask);
void aegis_carry_cite(aegis_worker_t *w, const aegis_str_t *tenants, json_t *const *facts,
    size_t n, int ms);

/* aegis_pg_begin(), saying that the work of these modules is done within. */
aegis_code_t aegis_carry_begin(aegis_worker_t *w, unsigned here, aegis_error_t *err);

/*
 * Between begin and commit: carry cases on from the states in which they are, by
 * the modules of here. An error means that only a rollback is left. What cannot be
 * decided here has its command published, for its role to find out why.
 */
aegis_code_t aegis_carry(aegis_worker_t *w, unsigned here, aegis_carried_t *cases,
    size_t n, aegis_error_t *err);

/* A new id: a UUID of version 7. */
void aegis_carry_uuid(char out[AEGIS_UUID_LEN + 1]);

/* What counters want to know of a decision; "" is none. */
typedef struct {
    char  verdict[16];                  /* the gate's */
    char  event[32];                    /* that the fact fires */
} aegis_carry_said_t;

/*
 * One decision: the facts of module_load, what the command says, who acts. earlier
 * is the gate's (core/aegis_gate.h), else NULL. On OK *ret_doc is the document as
 * text, with the move that its fact makes.
 */
aegis_code_t aegis_carry_decide(const aegis_module_t *module, json_t *facts,
    const json_t *request, const char *actor, const char *correlation, json_t *earlier,
    char **ret_doc, aegis_carry_said_t *said, aegis_error_t *err);

/* The same, and *ret_doc as it is. */
aegis_code_t aegis_carry_document(const aegis_module_t *module, json_t *facts,
    const json_t *request, const char *actor, const char *correlation, json_t *earlier,
    json_t **ret_doc, aegis_carry_said_t *said, aegis_error_t *err);

/* "<module>:<hash><hash>…": of which bodies a load need not send. */
void aegis_carry_asks(const char *module, char text[AEGIS_CARRY_ASKS]);

/* Put the body that was left out into o, or keep the one that is there. 0: it is
 * neither here nor there. */
int aegis_carry_whole(json_t *o);

/* A policy whose body is kept is checked once, and not again for each case: say to the
 * gate that it was ("checked", core/aegis_gate.h). */
void aegis_carry_checked(json_t *policy);

/* A module's part of the trace: elsewhere it would be that of its command. begun_ns
 * is of the clock, which is 0 when nobody traces. */
uint64_t aegis_carry_clock(void);
void aegis_carry_span(const aegis_module_t *m, const aegis_carried_t *c,
    uint64_t begun_ns, const char *event);

/* Give a document whose fact moves its case the move: "move". */
void aegis_carry_move(json_t *doc);

/* Counters that whoever does a module's work keeps. */
void aegis_carry_count_command(const char *role, const char *code);
void aegis_carry_count_verdict(const char *verdict);
void aegis_carry_count_move(aegis_state_t from, aegis_state_t to, const char *event);

#endif
