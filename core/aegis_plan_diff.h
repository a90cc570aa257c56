/*
 * aegis_plan_diff.h: what changed between two revisions of a plan, as a JSON
 * Patch (RFC 6902): applied to the first one in order it gives the second one.
 */
#ifndef AEGIS_PLAN_DIFF_H
#define AEGIS_PLAN_DIFF_H

#include "aegis_error.h"

/* [{"op": add|remove|replace, "path", "value", "was"}]: was is the value before
 * and no part of the standard, which allows it. [] when they are equal. What no
 * pointer of AEGIS_CHECK_POINTER bytes reaches is replaced with what is around it.
 * New reference. */
json_t *aegis_plan_diff(const json_t *was, const json_t *is);

/* Put operations into what aegis.plan_pair() loads, in place of was and is. */
void aegis_plan_diff_pair(json_t *pair);

#endif
