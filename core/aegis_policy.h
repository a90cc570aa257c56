/*
 * aegis_policy.h: the gatekeeper's policy: change window, environment
 * allow-list, action allow-list, risk threshold; rules in order, each with an
 * id; the first that refuses decides, and every finding is kept.
 *
 * A policy: {"version": 1, "timezone_offset": "+08:00", "valid_s": 3600,
 *   "rules": [{"id", "kind": "environments", "allow": ["staging"]},
 *             {"id", "kind": "actions", "allow": ["echo", "script.exec"]},
 *             {"id", "kind": "risk", "max": 0.7},
 *             {"id", "kind": "window", "days": ["mon",…], "from": "09:00", "to": "18:00"}]}
 * A rule may carry "when": {"kind": "change", "env": "prod"}: it is skipped for
 * other cases. Of the window rules that apply, one that is open is enough.
 */
#ifndef AEGIS_POLICY_H
#define AEGIS_POLICY_H

#include "aegis_error.h"

/* SCHEMA with JSON pointers when policy is not one. */
aegis_code_t aegis_policy_check(const json_t *policy, aegis_error_t *err);

typedef struct {
    int       approved;
    char      rule[64];             /* id of the rule that decided; "default" */
    char      reason[256];
    int64_t   valid_s;              /* how long an approval holds: policy, window end */
    json_t   *checks;               /* owned: [{"rule","kind","ok","detail"}] */
} aegis_verdict_result_t;

/* now: seconds since 1970, UTC. policy was checked. */
aegis_code_t aegis_policy_eval(const json_t *policy, const json_t *c, const json_t *plan,
    int64_t now, aegis_verdict_result_t *ret, aegis_error_t *err);

#endif
