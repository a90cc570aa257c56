/*
 * aegis_template.h: templates of plans, as files say them: a plan with holes,
 * and parameters with types that fill them. Pure: whoever has the file or the
 * row calls.
 *
 *   {"template": name, "version": 1, "kind": incident|change, "sentence",
 *    "params": {name: {"type": string|integer|number|boolean|list, "sentence",
 *               "default", "required", "min", "max", "pattern", "enum"}},
 *    "examples": [params, ...], "plan": {...}}
 *
 * In the plan a string that is just "${name}" becomes the value with its type,
 * "${name}" within a text or a member's name its text, "$${" is "${". A member or
 * item whose value is absent is left out. {"$if": name, ...} is left out as a whole unless the
 * value is true, {"$unless": name, ...} when it is; absent, 0, "" and [] are
 * false. Several names (an array) must all be true, or all be false.
 */
#ifndef AEGIS_TEMPLATE_H
#define AEGIS_TEMPLATE_H

#include "aegis_error.h"

#define AEGIS_TEMPLATE_MAX_PARAMS    64
#define AEGIS_TEMPLATE_MAX_EXAMPLES  8
#define AEGIS_TEMPLATE_MAX_TEXT      4000   /* characters of a value */
#define AEGIS_TEMPLATE_MAX_LIST      64     /* strings of a list */

/* Everything but what its examples become: SCHEMA with pointers into it. */
aegis_code_t aegis_template_check(const json_t *template, aegis_error_t *err);

/* Also builds each example and checks the plan: it must fit and be complete. */
aegis_code_t aegis_template_prove(const json_t *template, aegis_error_t *err);

/*
 * The values of a checked template: from params, else from labels (strings),
 * else the default. What does not fit is added to err at /params/name or
 * /labels/name, and params that the template does not have as well. New
 * reference.
 */
json_t *aegis_template_values(const json_t *template, const json_t *params,
    const json_t *labels, aegis_error_t *err);

/* The plan with values and facts (both by name) in its holes. New reference;
 * NULL: no memory. */
json_t *aegis_template_fill(const json_t *template, const json_t *values,
    const json_t *facts);

/* For the template's own files. */

/* Is value one of this declaration? Adds what is wrong at pointer. */
int aegis_template_fits(const json_t *declaration, const json_t *value,
    const char *pointer, aegis_error_t *err);

/* Is the declaration of a parameter right? */
void aegis_template_check_param(const json_t *declaration, const char *pointer,
    aegis_error_t *err);

/* The facts that a template may name: "case.title", …; NULL: past the end. */
const char *aegis_template_fact(size_t i);

#endif
