/*
 * aegis_plan.h: plans: what builds them, the schema that checks them, the hash
 * that names them.
 *
 * What a plan says is plan.def; the parameters of its actions are adapters.def.
 * steps, rollback and verify may be missing in a stored plan: it is then
 * incomplete and the guard complete_plan stops it. Everything else that does
 * not fit is refused.
 */
#ifndef AEGIS_PLAN_H
#define AEGIS_PLAN_H

#include "aegis_error.h"

#define AEGIS_PLAN_MAX_STEPS   64
#define AEGIS_PLAN_MAX_CHECKS  32

/* SCHEMA with JSON pointers (prefixed, e.g. "/plan") when plan does not fit. */
aegis_code_t aegis_plan_check(const json_t *plan, const char *prefix,
    aegis_error_t *err);

/* What a schema-correct plan lacks to be complete: an array of "steps",
 * "rollback", "verify"; empty when complete. */
json_t *aegis_plan_missing(const json_t *plan);

/*
 * Build a plan out of a checked template (aegis_template.h) for a case
 * ({"title","kind","labels",…}): values from params, else from the case's labels,
 * else the template's defaults. facts are the module's and may be NULL:
 * "evidence" [{event_id, severity, summary, refs}] and "last" {plan_id, revision,
 * hash, "parked": {version, reason} | null, "steps": [failed ones]} become the
 * plan's evidence; "knowledge" is quoted.
 */
aegis_code_t aegis_plan_build(const json_t *template, const json_t *c,
    const json_t *params, const json_t *facts, json_t **ret_plan, aegis_error_t *err);

/* Quote passages of the knowledge base, what aegis.kb_cite() found, in the plan's
 * notes, rollback_notes and evidence. */
void aegis_plan_cite(json_t *plan, const json_t *knowledge);

/*
 * Take a plan that a person wrote: checked (pointers start with /plan), and
 * with kind, risk_score and env filled in as a template would, where it does
 * not say them. New reference.
 */
aegis_code_t aegis_plan_adopt(const json_t *given, const json_t *c,
    const json_t *params, json_t **ret_plan, aegis_error_t *err);

/* Plans as JSON Schema 2020-12: the same rows that aegis_plan_check() walks. What
 * a schema cannot say is said in its $comment. New reference. */
json_t *aegis_plan_schema(void);

/* Canonical form (sorted keys, compact), and its sha256 in hex. */
void aegis_plan_hash(const json_t *plan, char out[65]);

#endif
