/*
 * aegis_policy_check.c: what a policy may look like. Its invariant: a policy
 * without a complaint can be evaluated for every plan at every time. What it
 * means is aegis_policy.c.
 */
#include "aegis_policy.h"

#include <string.h>

#include "aegis_approval.h"
#include "aegis_check.h"
#include "aegis_json.h"
#include "aegis_time.h"
#include "aegis_window.h"

#define AEGIS_POLICY_MAX_RULES  64
#define AEGIS_POLICY_MAX_ALLOW  256
#define AEGIS_POLICY_MAX_VALID  604800
#define AEGIS_POLICY_MAX_RATE   86400

static const char *const  aegis_policy_members[] =
    { "version", "timezone", "timezone_offset", "valid_s", "groups", "rules", "zones",
      NULL };
static const char *const  aegis_policy_when_members[] =
    { "kind", "env", "tenant", "action", "risk_above", NULL };
static const char *const  aegis_policy_case_kinds[] = { "incident", "change", NULL };
static const char *const  aegis_policy_per[] = { "tenant", "service", NULL };

/* The members of each kind of rule, beside those of all. */
static const struct {
    const char  *kind;
    const char  *members[10];
} aegis_policy_rules[] = {
    { "environments", { "id", "kind", "when", "approval", "allow" } },
    { "actions",      { "id", "kind", "when", "approval", "allow" } },
    { "tenants",      { "id", "kind", "when", "approval", "allow" } },
    { "risk",         { "id", "kind", "when", "approval", "max" } },
    { "rate",         { "id", "kind", "when", "approval", "max", "window_s", "per" } },
    { "window",       { "id", "kind", "when", "approval", "days", "from", "to",
                        "timezone" } },
    { "freeze",       { "id", "kind", "when", "approval", "from", "to", "timezone" } },
    { "approval",     { "id", "kind", "when", "approval" } }
};

#define AEGIS_POLICY_N_KINDS                                                   \
    (sizeof(aegis_policy_rules) / sizeof(aegis_policy_rules[0]))


static void
aegis_policy_check_words(const json_t *list, size_t least, const char *at,
    aegis_error_t *err)
{
    char    item[AEGIS_CHECK_POINTER];
    size_t  i;

    if (!aegis_check_array(list, least, AEGIS_POLICY_MAX_ALLOW, at, err)) {
        return;
    }

    for (i = 0; i < json_array_size(list); i++) {
        aegis_error_index(item, sizeof(item), at, i);
        aegis_check_word(json_array_get(list, i), 63, item, err);
    }
}


/* One word or a list of them. */
static void
aegis_policy_check_some(const json_t *when, const char *name, const char *at,
    aegis_error_t *err)
{
    char     sub[AEGIS_CHECK_POINTER];
    json_t  *value;

    value = json_object_get(when, name);
    aegis_error_pointer(sub, sizeof(sub), at, name);

    if (json_is_array(value)) {
        aegis_policy_check_words(value, 1, sub, err);

    } else if (value) {
        aegis_check_word(value, 63, sub, err);
    }
}


static void
aegis_policy_check_when(const json_t *when, const char *at, aegis_error_t *err)
{
    char     sub[AEGIS_CHECK_POINTER];
    json_t  *value;

    if (!aegis_check_object(when, aegis_policy_when_members, at, err)) {
        return;
    }

    if ((value = json_object_get(when, "kind")) != NULL) {
        aegis_error_pointer(sub, sizeof(sub), at, "kind");
        aegis_check_enum(value, aegis_policy_case_kinds, sub, err);
    }

    aegis_policy_check_some(when, "env", at, err);
    aegis_policy_check_some(when, "tenant", at, err);
    aegis_policy_check_some(when, "action", at, err);

    if ((value = json_object_get(when, "risk_above")) != NULL) {
        aegis_error_pointer(sub, sizeof(sub), at, "risk_above");
        aegis_check_number(value, 0, 1, sub, err);
    }
}


static void
aegis_policy_check_zone(const json_t *object, const char *at, aegis_error_t *err)
{
    char         sub[AEGIS_CHECK_POINTER];
    json_t      *zone;
    const char  *name;

    if ((zone = json_object_get(object, "timezone")) == NULL) {
        return;
    }

    name = json_string_value(zone);

    if (name == NULL || !aegis_zone_name_valid(name)) {
        aegis_error_pointer(sub, sizeof(sub), at, "timezone");
        aegis_error_at(err, sub, "must be an IANA time zone like \"Europe/Berlin\"");
    }
}


static void
aegis_policy_check_rate(const json_t *rule, const char *at, aegis_error_t *err)
{
    char     sub[AEGIS_CHECK_POINTER];
    json_t  *per;

    aegis_error_pointer(sub, sizeof(sub), at, "max");
    aegis_check_int(json_object_get(rule, "max"), 0, 100000, sub, err);
    aegis_error_pointer(sub, sizeof(sub), at, "window_s");
    aegis_check_int(json_object_get(rule, "window_s"), 1, AEGIS_POLICY_MAX_RATE, sub,
                    err);

    if ((per = json_object_get(rule, "per")) != NULL) {
        aegis_error_pointer(sub, sizeof(sub), at, "per");
        aegis_check_enum(per, aegis_policy_per, sub, err);
    }
}


/* What only a rule of this kind has. */
static void
aegis_policy_check_kind(const json_t *rule, const char *kind, const char *at,
    aegis_error_t *err)
{
    char  sub[AEGIS_CHECK_POINTER];

    if (strcmp(kind, "window") == 0) {
        aegis_window_check(rule, at, err);
        aegis_policy_check_zone(rule, at, err);

    } else if (strcmp(kind, "freeze") == 0) {
        aegis_window_check_freeze(rule, at, err);
        aegis_policy_check_zone(rule, at, err);

    } else if (strcmp(kind, "risk") == 0) {
        aegis_error_pointer(sub, sizeof(sub), at, "max");
        aegis_check_number(json_object_get(rule, "max"), 0, 1, sub, err);

    } else if (strcmp(kind, "rate") == 0) {
        aegis_policy_check_rate(rule, at, err);

    } else if (strcmp(kind, "approval") != 0) {
        aegis_error_pointer(sub, sizeof(sub), at, "allow");
        aegis_policy_check_words(json_object_get(rule, "allow"), 0, sub, err);
    }
}


static void
aegis_policy_check_rule(const json_t *rule, const json_t *groups, const char *at,
    aegis_error_t *err)
{
    char         sub[AEGIS_CHECK_POINTER];
    size_t       i;
    json_t      *value;
    const char  *kind;

    if (!json_is_object(rule)) {
        aegis_error_at(err, at, "must be an object");
        return;
    }

    aegis_error_pointer(sub, sizeof(sub), at, "id");
    aegis_check_word(json_object_get(rule, "id"), 63, sub, err);

    if ((value = json_object_get(rule, "when")) != NULL) {
        aegis_error_pointer(sub, sizeof(sub), at, "when");
        aegis_policy_check_when(value, sub, err);
    }

    kind = aegis_json_str(rule, "kind");

    for (i = 0; i < AEGIS_POLICY_N_KINDS
                && strcmp(aegis_policy_rules[i].kind, kind) != 0; i++)
    {
        /* void */
    }

    if (i == AEGIS_POLICY_N_KINDS) {
        aegis_error_pointer(sub, sizeof(sub), at, "kind");
        aegis_error_at(err, sub, "must be one of environments, actions, tenants, risk,"
                                 " rate, window, freeze, approval");
        return;
    }

    aegis_check_object(rule, aegis_policy_rules[i].members, at, err);
    aegis_policy_check_kind(rule, kind, at, err);

    value = json_object_get(rule, "approval");

    if (value || strcmp(kind, "approval") == 0) {
        aegis_error_pointer(sub, sizeof(sub), at, "approval");
        aegis_approval_check(value, groups, sub, err);
    }
}


static void
aegis_policy_check_clock(const json_t *policy, aegis_error_t *err)
{
    char         sub[AEGIS_CHECK_POINTER];
    size_t       i;
    json_t      *value, *names, *zones;
    int64_t      offset;
    const char  *name;

    value = json_object_get(policy, "timezone_offset");

    if (value && !aegis_time_offset((aegis_str_t) { json_string_length(value),
                                                    json_string_value(value) }, &offset))
    {
        aegis_error_at(err, "/timezone_offset", "must be like \"+08:00\"");
    }

    if (value && json_object_get(policy, "timezone")) {
        aegis_error_at(err, "/timezone_offset", "there is a timezone already");
    }

    aegis_policy_check_zone(policy, "", err);

    names = aegis_policy_zone_names(policy);

    if (json_array_size(names) > AEGIS_POLICY_MAX_ZONES) {
        aegis_error_at(err, "", "names more than %d time zones", AEGIS_POLICY_MAX_ZONES);
    }

    zones = json_object_get(policy, "zones");

    for (i = 0; zones && i < json_array_size(names); i++) {
        name = json_string_value(json_array_get(names, i));
        aegis_error_pointer(sub, sizeof(sub), "/zones", name);
        aegis_zone_check(json_object_get(zones, name), sub, err);
    }

    json_decref(names);
}


static void
aegis_policy_check_all(const json_t *policy, aegis_error_t *err)
{
    char         at[AEGIS_CHECK_POINTER];
    size_t       i, k;
    json_t      *rules, *value, *groups;
    const char  *id;

    if (!aegis_check_object(policy, aegis_policy_members, "", err)
        && !json_is_object(policy))
    {
        return;
    }

    aegis_check_int(json_object_get(policy, "version"), 1, 1, "/version", err);
    aegis_policy_check_clock(policy, err);

    if ((value = json_object_get(policy, "valid_s")) != NULL) {
        aegis_check_int(value, 1, AEGIS_POLICY_MAX_VALID, "/valid_s", err);
    }

    if ((groups = json_object_get(policy, "groups")) != NULL) {
        aegis_approval_check_groups(groups, "/groups", err);
    }

    rules = json_object_get(policy, "rules");
    if (!aegis_check_array(rules, 0, AEGIS_POLICY_MAX_RULES, "/rules", err)) {
        return;
    }

    for (i = 0; i < json_array_size(rules); i++) {
        aegis_error_index(at, sizeof(at), "/rules", i);
        aegis_policy_check_rule(json_array_get(rules, i), groups, at, err);

        id = aegis_json_str(json_array_get(rules, i), "id");

        for (k = 0; k < i; k++) {
            if (id[0] && strcmp(aegis_json_str(json_array_get(rules, k), "id"), id) == 0)
            {
                aegis_error_at(err, at, "the id %s is there twice", id);
                break;
            }
        }
    }
}


aegis_code_t
aegis_policy_check(const json_t *policy, aegis_error_t *err)
{
    aegis_error_t  found = AEGIS_ERROR_INIT;

    aegis_policy_check_all(policy, &found);

    return aegis_error_move(err, &found);
}


static void
aegis_policy_add_zone(json_t *names, const json_t *object)
{
    const char  *name;

    name = aegis_json_str(object, "timezone");

    if (name[0] && !aegis_approval_among(names, name)) {
        json_array_append_new(names, json_string(name));
    }
}


json_t *
aegis_policy_zone_names(const json_t *policy)
{
    size_t   i;
    json_t  *names, *rules;

    names = json_array();
    rules = json_object_get(policy, "rules");

    aegis_policy_add_zone(names, policy);

    for (i = 0; i < json_array_size(rules); i++) {
        aegis_policy_add_zone(names, json_array_get(rules, i));
    }

    return names;
}
