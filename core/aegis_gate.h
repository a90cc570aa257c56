/*
 * aegis_gate.h: what the gatekeeper's modules (gate, approve, deny) share. The
 * facts have, beside the case, its plan and the policy in force, as "gate":
 *   {"rates": {rule: n}, "proposers": [principal], "request": null |
 *    {"request_id", "plan_id", "plan_hash", "state", "rule", "needs", "proposers",
 *     "expires_at", "votes": [{"principal", "verdict", "counts", "comment", "at"}],
 *     "decision": {…}}}
 * The documents have, beside what all modules' have, "approval": what becomes of
 * a request (sql/functions/32_gate.sql says its members), and "note", which goes
 * on the timeline.
 */
#ifndef AEGIS_GATE_H
#define AEGIS_GATE_H

#include "aegis_module.h"
#include "aegis_policy.h"

/* How a decision came about. */
typedef struct {
    const char                   *verdict;      /* of gate_decision */
    const char                   *rule;
    const char                   *reason;
    const char                   *source;       /* policy · people · clock */
    const aegis_policy_result_t  *v;            /* NULL: the policy was not asked */
    json_t                       *approval;     /* stolen; NULL: none */
    json_t                       *note;         /* stolen; NULL: none */
} aegis_gate_outcome_t;

/* The second of facts.now. */
aegis_code_t aegis_gate_now(const json_t *facts, int64_t *ret_now, aegis_error_t *err);

/* Judge the plan by the policy in force. people: they have approved it. Of a plan and of a
 * policy whose facts say "checked": true, whoever gives the facts has made the hash, or has
 * checked the policy of this hash, in this very process; no statement says it. */
aegis_code_t aegis_gate_judge(const json_t *facts, int64_t now, int people,
    aegis_policy_result_t *ret, aegis_error_t *err);

/* The document of a decision. */
aegis_code_t aegis_gate_decided(const json_t *facts, int64_t now,
    const aegis_gate_outcome_t *outcome, const aegis_module_ctx_t *ctx,
    json_t **ret_doc, aegis_error_t *err);

/* The document that changes nothing but what approval and note (stolen) say, and
 * answers with what waits. */
aegis_code_t aegis_gate_waits(const json_t *facts, const json_t *request,
    json_t *approval, json_t *note, const aegis_module_ctx_t *ctx, json_t **ret_doc,
    aegis_error_t *err);

/* {"request_id", "votes": n, "alive"}: what the commit has to find as it was. */
json_t *aegis_gate_seen(const json_t *request, int alive);

/*
 * Decisions that are made on facts of one moment and committed together have to know
 * of each other: earlier, [{"tenant", "service"}], is added to the rates of facts, and
 * a document that was counted adds itself to it.
 */
void aegis_gate_earlier(json_t *facts, const json_t *earlier);
void aegis_gate_made(const json_t *facts, const json_t *doc, json_t *earlier);

/* Is its time over? */
int aegis_gate_over(const json_t *request, int64_t now);

#endif
