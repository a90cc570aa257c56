/*
 * aegis_plan.c: the schema of a plan, what it lacks to be complete, and the
 * hash that names it. Its invariant: a plan that passes the check hashes the
 * same before and after PostgreSQL kept it as json or jsonb, so numbers are
 * bounded to what both hold exactly. The templates are in aegis_plan_build.c.
 */
#include "aegis_plan.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "aegis_action.h"
#include "aegis_check.h"
#include "aegis_hash.h"
#include "aegis_json.h"

/* Envelopes and the modules' facts wrap a plan three levels deep, and all of
 * it has to stay within AEGIS_BODY_MAX_DEPTH. */
#define AEGIS_PLAN_MAX_DEPTH    16
#define AEGIS_PLAN_MAX_NUMBER   9007199254740992.0      /* 2^53 */
#define AEGIS_PLAN_MAX_TIMEOUT  86400
#define AEGIS_PLAN_MAX_BACKOFF  600000
#define AEGIS_PLAN_MAX_TEXT     4000

static const char *const  aegis_plan_members[] =
    { "title", "kind", "risk_score", "steps", "rollback", "verify", "env", "notes",
      NULL };
static const char *const  aegis_plan_step_members[] =
    { "name", "action", "params", "timeout_s", "retry", "retry_safe", NULL };
static const char *const  aegis_plan_retry_members[] = { "max", "backoff_ms", NULL };
static const char *const  aegis_plan_exec_members[] = { "kind", NULL };
static const char *const  aegis_plan_metric_members[] =
    { "kind", "resource", "metric", "agg", "op", "threshold", "window_s",
      "min_samples", NULL };

static const char *const  aegis_plan_kinds[] = { "incident", "change", NULL };
static const char *const  aegis_plan_checks[] = { "metric", "exec", NULL };
static const char *const  aegis_plan_aggs[] = { "avg", "max", "p95", NULL };
static const char *const  aegis_plan_ops[] = { "<", "<=", ">", ">=", NULL };


/* at/name into sub; the member, NULL when it is absent. */
static json_t *
aegis_plan_member(const json_t *object, const char *at, const char *name,
    char sub[AEGIS_CHECK_POINTER])
{
    aegis_error_pointer(sub, AEGIS_CHECK_POINTER, at, name);

    return json_object_get(object, name);
}


/* jsonb writes 1e300 out as 301 digits, which nobody reads back as a number. */
static void
aegis_plan_check_numbers(const json_t *value, const char *at, aegis_error_t *err)
{
    char     sub[AEGIS_CHECK_POINTER];
    void    *iter;
    size_t   i;
    json_t  *o = (json_t *) value;

    if (json_is_real(value) && !(fabs(json_real_value(value)) <= AEGIS_PLAN_MAX_NUMBER)) {
        aegis_error_at(err, at, "is a number that cannot be kept exactly");
        return;
    }

    for (i = 0; i < json_array_size(value); i++) {
        aegis_error_index(sub, sizeof(sub), at, i);
        aegis_plan_check_numbers(json_array_get(value, i), sub, err);
    }

    for (iter = json_object_iter(o); iter; iter = json_object_iter_next(o, iter)) {
        aegis_error_pointer(sub, sizeof(sub), at, json_object_iter_key(iter));
        aegis_plan_check_numbers(json_object_iter_value(iter), sub, err);
    }
}


static void
aegis_plan_check_params(const char *action, const json_t *params, const char *at,
    aegis_error_t *err)
{
    aegis_action_id_t  id;

    id = aegis_action_find(action);

    if (id != AEGIS_N_ACTIONS) {
        (void) aegis_action_check(id, params, at, err);
        return;
    }

    /* the parameters of other actions are their adapter's to judge */
    if (params && !json_is_object(params)) {
        aegis_error_at(err, at, "must be an object");
    }
}


static void
aegis_plan_check_step(const json_t *step, const char *at, aegis_error_t *err)
{
    char     sub[AEGIS_CHECK_POINTER], item[AEGIS_CHECK_POINTER];
    json_t  *value, *member;

    if (!json_is_object(step)) {
        aegis_error_at(err, at, "must be an object");
        return;
    }

    aegis_check_object(step, aegis_plan_step_members, at, err);

    if ((value = aegis_plan_member(step, at, "name", sub)) != NULL) {
        aegis_check_string(value, 1, 100, sub, err);
    }

    value = aegis_plan_member(step, at, "action", sub);

    if (aegis_check_word(value, 63, sub, err)) {
        member = aegis_plan_member(step, at, "params", sub);
        aegis_plan_check_params(json_string_value(value), member, sub, err);
    }

    if ((value = aegis_plan_member(step, at, "timeout_s", sub)) != NULL) {
        aegis_check_int(value, 1, AEGIS_PLAN_MAX_TIMEOUT, sub, err);
    }

    if ((value = aegis_plan_member(step, at, "retry_safe", sub)) != NULL) {
        aegis_check_bool(value, sub, err);
    }

    value = aegis_plan_member(step, at, "retry", sub);

    if (value == NULL || !aegis_check_object(value, aegis_plan_retry_members, sub, err)) {
        return;
    }

    if ((member = aegis_plan_member(value, sub, "max", item)) != NULL) {
        aegis_check_int(member, 0, 10, item, err);
    }

    if ((member = aegis_plan_member(value, sub, "backoff_ms", item)) != NULL) {
        aegis_check_int(member, 0, AEGIS_PLAN_MAX_BACKOFF, item, err);
    }
}


static void
aegis_plan_check_verify(const json_t *check, const char *at, aegis_error_t *err)
{
    char     sub[AEGIS_CHECK_POINTER];
    json_t  *value;

    if (!json_is_object(check)) {
        aegis_error_at(err, at, "must be an object");
        return;
    }

    value = aegis_plan_member(check, at, "kind", sub);

    if (!aegis_check_enum(value, aegis_plan_checks, sub, err)) {
        return;
    }

    if (strcmp(json_string_value(value), "exec") == 0) {
        aegis_check_object(check, aegis_plan_exec_members, at, err);
        return;
    }

    aegis_check_object(check, aegis_plan_metric_members, at, err);

    value = aegis_plan_member(check, at, "resource", sub);
    aegis_check_string(value, 1, 512, sub, err);

    value = aegis_plan_member(check, at, "metric", sub);
    aegis_check_string(value, 1, 200, sub, err);

    if ((value = aegis_plan_member(check, at, "agg", sub)) != NULL) {
        aegis_check_enum(value, aegis_plan_aggs, sub, err);
    }

    value = aegis_plan_member(check, at, "op", sub);
    aegis_check_enum(value, aegis_plan_ops, sub, err);

    value = aegis_plan_member(check, at, "threshold", sub);
    aegis_check_number(value, -AEGIS_PLAN_MAX_NUMBER, AEGIS_PLAN_MAX_NUMBER, sub, err);

    value = aegis_plan_member(check, at, "window_s", sub);
    aegis_check_int(value, 1, AEGIS_PLAN_MAX_TIMEOUT, sub, err);

    if ((value = aegis_plan_member(check, at, "min_samples", sub)) != NULL) {
        aegis_check_int(value, 1, 1000000, sub, err);
    }
}


/* A part that may be missing: an array of at most most items. */
static void
aegis_plan_check_part(const json_t *plan, const char *prefix, const char *name,
    size_t most, void (*check)(const json_t *, const char *, aegis_error_t *),
    aegis_error_t *err)
{
    char     at[AEGIS_CHECK_POINTER], item[AEGIS_CHECK_POINTER];
    size_t   i;
    json_t  *part;

    part = aegis_plan_member(plan, prefix, name, at);

    if (part == NULL || !aegis_check_array(part, 0, most, at, err)) {
        return;
    }

    for (i = 0; i < json_array_size(part); i++) {
        aegis_error_index(item, sizeof(item), at, i);
        check(json_array_get(part, i), item, err);
    }
}


static void
aegis_plan_check_all(const json_t *plan, const char *prefix, aegis_error_t *err)
{
    char     sub[AEGIS_CHECK_POINTER];
    json_t  *value;

    if (!json_is_object(plan)) {
        aegis_error_at(err, prefix, "must be an object");
        return;
    }

    if (aegis_json_depth(plan, AEGIS_PLAN_MAX_DEPTH) > AEGIS_PLAN_MAX_DEPTH) {
        aegis_error_at(err, prefix, "must not be nested more than %d deep",
                       AEGIS_PLAN_MAX_DEPTH);
        return;
    }

    aegis_check_object(plan, aegis_plan_members, prefix, err);

    value = aegis_plan_member(plan, prefix, "title", sub);
    aegis_check_string(value, 1, 200, sub, err);

    if ((value = aegis_plan_member(plan, prefix, "kind", sub)) != NULL) {
        aegis_check_enum(value, aegis_plan_kinds, sub, err);
    }

    if ((value = aegis_plan_member(plan, prefix, "risk_score", sub)) != NULL) {
        aegis_check_number(value, 0, 1, sub, err);
    }

    if ((value = aegis_plan_member(plan, prefix, "env", sub)) != NULL) {
        aegis_check_word(value, 63, sub, err);
    }

    if ((value = aegis_plan_member(plan, prefix, "notes", sub)) != NULL) {
        aegis_check_string(value, 0, AEGIS_PLAN_MAX_TEXT, sub, err);
    }

    aegis_plan_check_part(plan, prefix, "steps", AEGIS_PLAN_MAX_STEPS,
                          aegis_plan_check_step, err);
    aegis_plan_check_part(plan, prefix, "rollback", AEGIS_PLAN_MAX_STEPS,
                          aegis_plan_check_step, err);
    aegis_plan_check_part(plan, prefix, "verify", AEGIS_PLAN_MAX_CHECKS,
                          aegis_plan_check_verify, err);

    aegis_plan_check_numbers(plan, prefix, err);
}


aegis_code_t
aegis_plan_check(const json_t *plan, const char *prefix, aegis_error_t *err)
{
    aegis_error_t  found = AEGIS_ERROR_INIT;

    aegis_plan_check_all(plan, prefix, &found);

    return aegis_error_move(err, &found);
}


json_t *
aegis_plan_missing(const json_t *plan)
{
    size_t   i;
    json_t  *missing;

    static const char *const  parts[] = { "steps", "rollback", "verify" };

    missing = json_array();

    for (i = 0; i < 3; i++) {
        if (json_array_size(json_object_get(plan, parts[i])) == 0) {
            json_array_append_new(missing, json_string(parts[i]));
        }
    }

    return missing;
}


/* A copy in which a number has one form: 1.0 and 1e0 are 1. */
static json_t *
aegis_plan_canonical(const json_t *value)
{
    void        *iter;
    double       number;
    size_t       i;
    json_t      *copy, *o = (json_t *) value;

    if (json_is_real(value)) {
        number = json_real_value(value);

        return fabs(number) <= AEGIS_PLAN_MAX_NUMBER
               && number == (double) (json_int_t) number
               ? json_integer((json_int_t) number) : json_real(number);
    }

    if (json_is_array(value)) {
        copy = json_array();

        for (i = 0; i < json_array_size(value); i++) {
            json_array_append_new(copy, aegis_plan_canonical(json_array_get(value, i)));
        }

        return copy;
    }

    if (json_is_object(value)) {
        copy = json_object();

        for (iter = json_object_iter(o); iter; iter = json_object_iter_next(o, iter)) {
            json_object_set_new(copy, json_object_iter_key(iter),
                                aegis_plan_canonical(json_object_iter_value(iter)));
        }

        return copy;
    }

    return json_incref(o);
}


void
aegis_plan_hash(const json_t *plan, char out[65])
{
    char           *text;
    json_t         *canonical;
    aegis_str_t     part;
    unsigned char   digest[AEGIS_SHA256_LEN];

    canonical = aegis_plan_canonical(plan);
    text = json_dumps(canonical, JSON_COMPACT | JSON_SORT_KEYS | JSON_ENCODE_ANY
                                 | JSON_REAL_PRECISION(15));
    json_decref(canonical);

    if (text == NULL) {
        /* no memory: a name that no plan has */
        memset(out, '0', 64);
        out[64] = '\0';
        return;
    }

    part = (aegis_str_t) { strlen(text), text };
    aegis_sha256(&part, 1, digest);
    aegis_hex(digest, sizeof(digest), out);
    free(text);
}
