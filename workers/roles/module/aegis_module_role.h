/*
 * aegis_module_role.h: what the files of the module roles share: the state of
 * one role at work, the gatekeeper's policy, the planner's templates.
 */
#ifndef AEGIS_MODULE_ROLE_H
#define AEGIS_MODULE_ROLE_H

#include "aegis_carry.h"
#include "aegis_http.h"
#include "aegis_module.h"
#include "aegis_role.h"

/* The policy of gate.policy_file as it was read last. */
typedef struct {
    char            *body;              /* JSON; NULL: none was read */
    char             hash[65];
    char             source[4096];
    int              stored;            /* it is in aegis.gate_policy */
    aegis_metric_t  *errors;
    aegis_metric_t  *loaded;
} aegis_module_policy_t;

struct aegis_verifier_s;
struct aegis_analyst_s;
typedef struct aegis_module_templates_s  aegis_module_templates_t;

typedef struct {
    const aegis_module_t   *module;
    char                    actor[32];      /* "aegis:<role>" */
    aegis_item_t           *items;          /* AEGIS_MODULE_BATCH of them */
    aegis_metric_t         *seconds;
    aegis_module_policy_t  *policy;         /* the gate's only */
    json_t                 *earlier;        /* the same: what this batch has approved so far */
    struct aegis_verifier_s  *verifier;     /* verify's only */
    struct aegis_analyst_s  *analyst;       /* the analyst's only */
    aegis_module_templates_t  *templates;   /* the planner's only */
} aegis_module_worker_t;

/* Statements take up to 512 items, the loop fetches up to 256 messages. */
#define AEGIS_MODULE_BATCH  256

/* One command on its way through a batch. */
typedef struct {
    aegis_delivery_t  *d;
    aegis_item_t      *item;
    char              *doc;             /* malloc'ed by jansson; NULL: NO_DOC */
    char               version[12];
    aegis_carry_said_t   said;          /* for the counters */
} aegis_module_work_t;

aegis_str_t aegis_module_text(const char *s);
aegis_str_t aegis_module_or_empty(aegis_str_t s);

/* The detail of a problem document, or of what run_each says instead. */
void aegis_module_refused(aegis_delivery_t *d, const aegis_pg_row_t *row);

/* Commit what was decided on n commands, and judge them. */
aegis_code_t aegis_module_commit(aegis_worker_t *w, aegis_module_work_t *works, size_t n,
    aegis_error_t *err);

/* What every module's role begins with. */
aegis_code_t aegis_module_init(aegis_worker_t *w, aegis_module_id_t id, aegis_error_t *err);

/* Read and check the file. On failure the policy stays as it was. */
aegis_code_t aegis_module_policy_read(aegis_module_policy_t *policy,
    const aegis_conf_t *conf, aegis_error_t *err);

/* Put it into the database when it is not there yet. */
aegis_code_t aegis_module_policy_store(aegis_module_policy_t *policy, aegis_pg_t *pg,
    aegis_error_t *err);

/* Read it again; when the new file is bad, what is in force stays. */
void aegis_module_policy_reload(aegis_worker_t *w);

void aegis_module_policy_free(aegis_module_policy_t *policy);

/* A case that the planner loaded, with what the knowledge base says about it. */
typedef struct {
    aegis_str_t      tenant;
    aegis_pg_row_t   row;               /* what was loaded, "knowledge" added to its body */
    char            *body;
    char            *code;
    char            *probe;
    char            *answer;
} aegis_module_cited_t;

/* One for each row of a load, which then is gone. NULL: no memory. */
aegis_module_cited_t *aegis_module_cite(aegis_worker_t *w, const aegis_item_t *const *items,
    const aegis_pg_row_t *rows, size_t n);
void aegis_module_cited_free(aegis_module_cited_t *cited, size_t n);

/* aegis_carry_cite_pt */
void aegis_module_cite_facts(aegis_worker_t *w, const aegis_str_t *tenants,
    json_t *const *facts, size_t n, int ms);

/* Decide and commit up to AEGIS_MODULE_BATCH commands; sets their codes. */
aegis_code_t aegis_module_batch(aegis_worker_t *w, aegis_delivery_t *d, size_t n,
    aegis_error_t *err);

/* The gate's clock: questions to people whose time is over are decided, and what
 * waits is measured. 1: there is more to do. */
int aegis_module_expire(aegis_worker_t *w);

/* Read and prove plan.template_dir, for the role's init, reload and tick. */
aegis_code_t aegis_module_templates_init(aegis_worker_t *w, aegis_error_t *err);
void aegis_module_templates_reload(aegis_worker_t *w);
int aegis_module_templates_tick(aegis_worker_t *w);

/* Put the set into the database when it is not there yet; t may be NULL. */
aegis_code_t aegis_module_templates_store(aegis_module_templates_t *t, aegis_pg_t *pg,
    aegis_error_t *err);

void aegis_module_templates_free(aegis_module_templates_t *t);

#endif
