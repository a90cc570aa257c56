/*
 * aegis_policy.h: the gatekeeper's policy: rules in order, each with an id. Every
 * rule that applies is looked at and kept; the first that refuses decides, else
 * the first that asks people, else the plan is approved.
 *
 * docs/gatekeeper.md is the reference of a policy's members. As the file has it,
 * {"version": 1, "timezone": "Europe/Berlin", "valid_s": 3600, "groups": {…},
 *  "rules": [{"id", "kind", "when": {…}, "approval": {…}, …}]}; where it is in
 * force it has "zones" beside, the rules of the clocks that it names.
 */
#ifndef AEGIS_POLICY_H
#define AEGIS_POLICY_H

#include "aegis_error.h"

#define AEGIS_POLICY_MAX_ZONES  16

/* SCHEMA with JSON pointers when policy is not one. */
aegis_code_t aegis_policy_check(const json_t *policy, aegis_error_t *err);

/* The names of the time zones that a policy needs. New array. */
json_t *aegis_policy_zone_names(const json_t *policy);

typedef enum {
    AEGIS_GATE_APPROVED,
    AEGIS_GATE_REJECTED,
    AEGIS_GATE_ASKS                 /* people have to approve */
} aegis_gate_verdict_t;

/* As decisions have it: "approved", "rejected", "needs_approval". */
const char *aegis_gate_verdict(aegis_gate_verdict_t verdict);

typedef struct {
    const json_t  *c;               /* the case: kind, tenant, labels */
    const json_t  *plan;
    const json_t  *rates;           /* rule id: decisions so far, see module_load */
    int64_t        now;             /* seconds since 1970, UTC */
    int            people;          /* people approved: nothing is to be asked or counted */
} aegis_policy_facts_t;

typedef struct {
    aegis_gate_verdict_t  verdict;
    char                  rule[64];     /* id of the rule that decided; "default" */
    char                  reason[256];
    int64_t               valid_s;      /* how long an approval holds: policy, windows */
    json_t               *checks;       /* owned: [{"rule","kind","ok","detail","asks"}] */
    json_t               *needs;        /* owned: what is asked of people, else NULL */
    json_t               *counted;      /* owned: rates that were relied on, or NULL */
    int64_t               expires_s;    /* how long people may take */
} aegis_policy_result_t;

/* policy was checked. ret is the caller's to clear on AEGIS_E_OK. */
aegis_code_t aegis_policy_eval(const json_t *policy, const aegis_policy_facts_t *facts,
    aegis_policy_result_t *ret, aegis_error_t *err);

void aegis_policy_result_clear(aegis_policy_result_t *result);

#endif
