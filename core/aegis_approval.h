/*
 * aegis_approval.h: approval by people: who may decide on a plan, and whether
 * enough have. Written in a policy as
 *   {"need": 2, "of": {"groups": ["sre"], "principals": ["carol"],
 *    "scope": "gate:approve"}, "expires_s": 86400, "four_eyes": true}
 * and kept with a decision as a need, with the groups resolved, so that a later
 * policy does not change what was asked for:
 *   {"rule", "need", "groups", "principals", "scope", "four_eyes", "expires_s"}
 * A vote: {"principal", "verdict": "approve" | "deny", "counts": [rules]}.
 */
#ifndef AEGIS_APPROVAL_H
#define AEGIS_APPROVAL_H

#include "aegis_error.h"

/* Add to err what is wrong with a policy's groups, with an approval. */
void aegis_approval_check_groups(const json_t *groups, const char *at,
    aegis_error_t *err);
void aegis_approval_check(const json_t *approval, const json_t *groups, const char *at,
    aegis_error_t *err);

/* The need of a checked approval. New reference, NULL: no memory. */
json_t *aegis_approval_need(const char *rule, const json_t *approval,
    const json_t *groups);

/* "2 of sre, carol" */
void aegis_approval_text(const json_t *need, char *out, size_t size);

/*
 * The rules of needs for which principal's voice counts: new array. Empty: none,
 * and *ret_why says why. proposers: principals who asked for the plan.
 */
json_t *aegis_approval_counts(const json_t *needs, const json_t *proposers,
    const char *principal, const char *scopes, const char **ret_why);

int aegis_approval_among(const json_t *list, const char *word);

/* How many different principals approved for a need. */
int64_t aegis_approval_given(const json_t *need, const json_t *votes);

/* Is every need met? */
int aegis_approval_met(const json_t *needs, const json_t *votes);

/* Who approved, "alice, bob", and "1 of 2 approved: alice". */
void aegis_approval_who(const json_t *votes, char *out, size_t size);
void aegis_approval_state(const json_t *needs, const json_t *votes, char *out,
    size_t size);

#endif
