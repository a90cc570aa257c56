/*
 * aegis_plan.c: the schema of a plan, what it lacks to be complete, and the
 * hash that names it. The schema is plan.def, walked; aegis_plan_schema.c
 * publishes the same rows. Its invariant: a plan that passes the check hashes
 * the same before and after PostgreSQL kept it as json or jsonb, so numbers are
 * bounded to what both hold exactly. Templates are in aegis_template.c.
 */
#include "aegis_plan.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "aegis_action.h"
#include "aegis_check.h"
#include "aegis_hash.h"
#include "aegis_json.h"
#include "aegis_plan_table.h"

/* Envelopes and the modules' facts wrap a plan three levels deep, and all of
 * it has to stay within AEGIS_BODY_MAX_DEPTH. */
#define AEGIS_PLAN_MAX_DEPTH    16
#define AEGIS_PLAN_MAX_MEMBERS  32
#define AEGIS_PLAN_MAX_NUMBER   9007199254740992.0      /* 2^53 */

static const aegis_plan_row_t  aegis_plan_rows[] = {
#define AEGIS_PLAN(object, name, type, required, least, most, of, sentence)    \
    { #object, #name, AEGIS_PLAN_##type, required, least, most, of, sentence },
#include "tables/plan.def"
#undef AEGIS_PLAN
};

#define AEGIS_PLAN_N_ROWS  (sizeof(aegis_plan_rows) / sizeof(aegis_plan_rows[0]))

static void aegis_plan_check_object(const char *object, const json_t *value,
    const char *at, aegis_error_t *err);


const aegis_plan_row_t *
aegis_plan_row(size_t i)
{
    return i < AEGIS_PLAN_N_ROWS ? &aegis_plan_rows[i] : NULL;
}


int
aegis_plan_values(const char *of, char buf[AEGIS_PLAN_VALUES_BUF],
    const char *values[AEGIS_PLAN_MAX_VALUES])
{
    int    n;
    char  *p;

    strncpy(buf, of, AEGIS_PLAN_VALUES_BUF - 1);
    buf[AEGIS_PLAN_VALUES_BUF - 1] = '\0';

    for (n = 0, p = buf; p && n < AEGIS_PLAN_MAX_VALUES - 1; n++) {
        values[n] = p;
        p = strchr(p, '|');

        if (p) {
            *p++ = '\0';
        }
    }

    values[n] = NULL;

    return n;
}


static int
aegis_plan_number_fits(const json_t *value)
{
    return !json_is_real(value) || fabs(json_real_value(value)) <= AEGIS_PLAN_MAX_NUMBER;
}


/* jsonb writes 1e300 out as 301 digits, which nobody reads back as a number. */
static int
aegis_plan_numbers_fit(const json_t *value)
{
    void    *iter;
    size_t   i;
    json_t  *o = (json_t *) value;

    for (i = 0; i < json_array_size(value); i++) {
        if (!aegis_plan_numbers_fit(json_array_get(value, i))) {
            return 0;
        }
    }

    for (iter = json_object_iter(o); iter; iter = json_object_iter_next(o, iter)) {
        if (!aegis_plan_numbers_fit(json_object_iter_value(iter))) {
            return 0;
        }
    }

    return aegis_plan_number_fits(value);
}


/* Which of them do not. */
static void
aegis_plan_check_numbers(const json_t *value, const char *at, aegis_error_t *err)
{
    char     sub[AEGIS_CHECK_POINTER];
    void    *iter;
    size_t   i;
    json_t  *o = (json_t *) value;

    if (!aegis_plan_number_fits(value)) {
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


/* The names of the kinds of checks; NULL ends them. */
static void
aegis_plan_kinds(const char *kinds[AEGIS_PLAN_MAX_VALUES])
{
    size_t  i, n;

    for (i = 0, n = 0; i < AEGIS_PLAN_N_ROWS && n < AEGIS_PLAN_MAX_VALUES - 1; i++) {
        if (aegis_plan_rows[i].type == AEGIS_PLAN_KIND) {
            kinds[n++] = aegis_plan_rows[i].object;
        }
    }

    kinds[n] = NULL;
}


static void
aegis_plan_check_item(const aegis_plan_row_t *row, const json_t *item, const char *at,
    aegis_error_t *err)
{
    char         sub[AEGIS_CHECK_POINTER];
    json_t      *kind;
    const char  *kinds[AEGIS_PLAN_MAX_VALUES];

    if (row->type == AEGIS_PLAN_STRINGS) {
        aegis_check_string(item, 0, (size_t) row->least, at, err);
        return;
    }

    if (row->type == AEGIS_PLAN_LIST) {
        aegis_plan_check_object(row->of, item, at, err);
        return;
    }

    if (!json_is_object(item)) {
        aegis_error_at(err, at, "must be an object");
        return;
    }

    aegis_plan_kinds(kinds);
    kind = json_object_get(item, "kind");
    aegis_error_pointer(sub, sizeof(sub), at, "kind");

    if (aegis_check_enum(kind, kinds, sub, err)) {
        aegis_plan_check_object(json_string_value(kind), item, at, err);
    }
}


static void
aegis_plan_check_list(const aegis_plan_row_t *row, const json_t *value, const char *at,
    aegis_error_t *err)
{
    char    item[AEGIS_CHECK_POINTER];
    size_t  i;

    if (!aegis_check_array(value, row->type == AEGIS_PLAN_LIST ? (size_t) row->least : 0,
                           (size_t) row->most, at, err))
    {
        return;
    }

    for (i = 0; i < json_array_size(value); i++) {
        aegis_error_index(item, sizeof(item), at, i);
        aegis_plan_check_item(row, json_array_get(value, i), item, err);
    }
}


static void
aegis_plan_check_params(const json_t *step, const json_t *params, const char *at,
    aegis_error_t *err)
{
    const char         *action;
    aegis_action_id_t   id;

    action = aegis_json_str(step, "action");
    id = aegis_action_find(action);

    if (id != AEGIS_N_ACTIONS) {
        aegis_action_check(id, params, at, err);
        return;
    }

    /* no executor of ours has the action: the policy judges it by its name */
    if (params && !json_is_object(params)) {
        aegis_error_at(err, at, "must be an object");
    }
}


static void
aegis_plan_check_member(const aegis_plan_row_t *row, const json_t *object,
    const json_t *value, const char *at, aegis_error_t *err)
{
    char         buf[AEGIS_PLAN_VALUES_BUF];
    const char  *values[AEGIS_PLAN_MAX_VALUES];

    switch (row->type) {

    case AEGIS_PLAN_STRING:
        aegis_check_string(value, (size_t) row->least, (size_t) row->most, at, err);
        break;

    case AEGIS_PLAN_WORD:
        aegis_check_word(value, (size_t) row->most, at, err);
        break;

    case AEGIS_PLAN_INT:
        aegis_check_int(value, row->least, row->most, at, err);
        break;

    case AEGIS_PLAN_NUMBER:
        aegis_check_number(value, (double) row->least, (double) row->most, at, err);
        break;

    case AEGIS_PLAN_BOOL:
        aegis_check_bool(value, at, err);
        break;

    case AEGIS_PLAN_ENUM:
        aegis_plan_values(row->of, buf, values);
        aegis_check_enum(value, values, at, err);
        break;

    case AEGIS_PLAN_OBJECT:
        aegis_plan_check_object(row->of, value, at, err);
        break;

    case AEGIS_PLAN_PARAMS:
        aegis_plan_check_params(object, value, at, err);
        break;

    case AEGIS_PLAN_KIND:
        /* it chose this object */
        break;

    default:
        aegis_plan_check_list(row, value, at, err);
        break;
    }
}


/* value against the rows of object. */
static void
aegis_plan_check_object(const char *object, const json_t *value, const char *at,
    aegis_error_t *err)
{
    char                     sub[AEGIS_CHECK_POINTER];
    size_t                   i, n;
    json_t                  *member;
    const char              *names[AEGIS_PLAN_MAX_MEMBERS];
    const aegis_plan_row_t  *rows[AEGIS_PLAN_MAX_MEMBERS];

    if (!json_is_object(value)) {
        aegis_error_at(err, at, "must be an object");
        return;
    }

    for (i = 0, n = 0; i < AEGIS_PLAN_N_ROWS && n < AEGIS_PLAN_MAX_MEMBERS - 1; i++) {
        if (aegis_plan_rows[i].object[0] == object[0]
            && strcmp(aegis_plan_rows[i].object, object) == 0)
        {
            rows[n] = &aegis_plan_rows[i];
            names[n++] = aegis_plan_rows[i].name;
        }
    }

    names[n] = NULL;
    aegis_check_object(value, names, at, err);

    for (i = 0; i < n; i++) {
        member = json_object_get(value, rows[i]->name);

        /* what an action takes may be required as a whole */
        if (member || rows[i]->required || rows[i]->type == AEGIS_PLAN_PARAMS) {
            aegis_error_pointer(sub, sizeof(sub), at, rows[i]->name);
            aegis_plan_check_member(rows[i], value, member, sub, err);
        }
    }
}


static void
aegis_plan_check_all(const json_t *plan, const char *prefix, aegis_error_t *err)
{
    if (aegis_json_depth(plan, AEGIS_PLAN_MAX_DEPTH) > AEGIS_PLAN_MAX_DEPTH) {
        aegis_error_at(err, prefix, "must not be nested more than %d deep",
                       AEGIS_PLAN_MAX_DEPTH);
        return;
    }

    aegis_plan_check_object("plan", plan, prefix, err);

    if (!aegis_plan_numbers_fit(plan)) {
        aegis_plan_check_numbers(plan, prefix, err);
    }
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


void
aegis_plan_hash(const json_t *plan, char out[65])
{
    char           *text;
    aegis_str_t     part;
    unsigned char   digest[AEGIS_SHA256_LEN];

    text = aegis_json_text_sorted(plan);

    if (text == NULL) {
        /* no memory: a name that no plan has */
        memset(out, '0', 64);
        out[64] = '\0';
        return;
    }

    part = aegis_view(text);
    aegis_sha256(&part, 1, digest);
    aegis_hex(digest, sizeof(digest), out);
    free(text);
}
