/*
 * aegis_policy.c: the gatekeeper's judgement. Its invariant: it fails closed:
 * a plan is approved only when every rule that applies was looked at and
 * holds, and what a plan does not say counts against it.
 */
#include "aegis_policy.h"

#include <stdio.h>
#include <string.h>

#include "aegis_check.h"
#include "aegis_json.h"
#include "aegis_time.h"

#define AEGIS_POLICY_MAX_RULES  64
#define AEGIS_POLICY_MAX_ALLOW  256
#define AEGIS_POLICY_VALID_S    3600
#define AEGIS_POLICY_MAX_VALID  604800
#define AEGIS_POLICY_DAY        86400

static const char *const  aegis_policy_members[] =
    { "version", "timezone_offset", "valid_s", "rules", NULL };
static const char *const  aegis_policy_allow_members[] =
    { "id", "kind", "when", "allow", NULL };
static const char *const  aegis_policy_risk_members[] =
    { "id", "kind", "when", "max", NULL };
static const char *const  aegis_policy_window_members[] =
    { "id", "kind", "when", "days", "from", "to", NULL };
static const char *const  aegis_policy_when_members[] = { "kind", "env", NULL };
static const char *const  aegis_policy_kinds[] =
    { "environments", "actions", "risk", "window", NULL };
static const char *const  aegis_policy_case_kinds[] = { "incident", "change", NULL };
static const char *const  aegis_policy_days[] =
    { "mon", "tue", "wed", "thu", "fri", "sat", "sun", NULL };

/* What is judged. */
typedef struct {
    const json_t  *plan;
    const char    *kind;
    const char    *env;
    int64_t        local;           /* now in the policy's time zone */
    int64_t        open_s;          /* longest time that an open window lasts */
} aegis_policy_in_t;


/* "09:30" as seconds of the day, "24:00" is its end; -1 when it is none. */
static int64_t
aegis_policy_clock(const char *s)
{
    int  h, m;

    if (s == NULL || strlen(s) != 5 || s[2] != ':' || strspn(s, "0123456789") != 2
        || strspn(s + 3, "0123456789") != 2)
    {
        return -1;
    }

    h = (s[0] - '0') * 10 + s[1] - '0';
    m = (s[3] - '0') * 10 + s[4] - '0';

    if (m > 59 || h > 24 || (h == 24 && m)) {
        return -1;
    }

    return (h * 60 + m) * 60;
}


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


static void
aegis_policy_check_window(const json_t *rule, const char *at, aegis_error_t *err)
{
    char      sub[AEGIS_CHECK_POINTER], item[AEGIS_CHECK_POINTER];
    size_t    i;
    json_t   *days;
    int64_t   from, to;

    aegis_check_object(rule, aegis_policy_window_members, at, err);

    days = json_object_get(rule, "days");
    aegis_error_pointer(sub, sizeof(sub), at, "days");

    if (days && aegis_check_array(days, 1, 7, sub, err)) {
        for (i = 0; i < json_array_size(days); i++) {
            aegis_error_index(item, sizeof(item), sub, i);
            aegis_check_enum(json_array_get(days, i), aegis_policy_days, item, err);
        }
    }

    from = aegis_policy_clock(json_string_value(json_object_get(rule, "from")));
    to = aegis_policy_clock(json_string_value(json_object_get(rule, "to")));

    if (from < 0 || from == AEGIS_POLICY_DAY) {
        aegis_error_pointer(sub, sizeof(sub), at, "from");
        aegis_error_at(err, sub, "must be a time from \"00:00\" to \"23:59\"");
    }

    if (to < 0 || to == from) {
        aegis_error_pointer(sub, sizeof(sub), at, "to");
        aegis_error_at(err, sub,
            "must be a time from \"00:00\" to \"24:00\" other than from");
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

    if ((value = json_object_get(when, "env")) != NULL) {
        aegis_error_pointer(sub, sizeof(sub), at, "env");
        aegis_check_word(value, 63, sub, err);
    }
}


static void
aegis_policy_check_rule(const json_t *rule, const char *at, aegis_error_t *err)
{
    char         sub[AEGIS_CHECK_POINTER];
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

    aegis_error_pointer(sub, sizeof(sub), at, "kind");
    if (!aegis_check_enum(json_object_get(rule, "kind"), aegis_policy_kinds, sub, err)) {
        return;
    }

    kind = aegis_json_str(rule, "kind");

    if (strcmp(kind, "window") == 0) {
        aegis_policy_check_window(rule, at, err);

    } else if (strcmp(kind, "risk") == 0) {
        aegis_check_object(rule, aegis_policy_risk_members, at, err);
        aegis_error_pointer(sub, sizeof(sub), at, "max");
        aegis_check_number(json_object_get(rule, "max"), 0, 1, sub, err);

    } else {
        aegis_check_object(rule, aegis_policy_allow_members, at, err);
        aegis_error_pointer(sub, sizeof(sub), at, "allow");
        aegis_policy_check_words(json_object_get(rule, "allow"), 0, sub, err);
    }
}


static void
aegis_policy_check_all(const json_t *policy, aegis_error_t *err)
{
    char         at[AEGIS_CHECK_POINTER];
    size_t       i, k;
    json_t      *rules, *value;
    int64_t      offset;
    const char  *id;

    if (!aegis_check_object(policy, aegis_policy_members, "", err)
        && !json_is_object(policy))
    {
        return;
    }

    aegis_check_int(json_object_get(policy, "version"), 1, 1, "/version", err);

    value = json_object_get(policy, "timezone_offset");
    if (value && !aegis_time_offset((aegis_str_t) { json_string_length(value),
                                                    json_string_value(value) }, &offset))
    {
        aegis_error_at(err, "/timezone_offset", "must be like \"+08:00\"");
    }

    if ((value = json_object_get(policy, "valid_s")) != NULL) {
        aegis_check_int(value, 1, AEGIS_POLICY_MAX_VALID, "/valid_s", err);
    }

    rules = json_object_get(policy, "rules");
    if (!aegis_check_array(rules, 0, AEGIS_POLICY_MAX_RULES, "/rules", err)) {
        return;
    }

    for (i = 0; i < json_array_size(rules); i++) {
        aegis_error_index(at, sizeof(at), "/rules", i);
        aegis_policy_check_rule(json_array_get(rules, i), at, err);

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


static int
aegis_policy_has(const json_t *list, const char *word)
{
    size_t  i;

    for (i = 0; i < json_array_size(list); i++) {
        if (strcmp(json_string_value(json_array_get(list, i)), word) == 0) {
            return 1;
        }
    }

    return 0;
}


static int
aegis_policy_applies(const json_t *rule, const aegis_policy_in_t *in)
{
    json_t      *when;
    const char  *kind, *env;

    when = json_object_get(rule, "when");
    kind = aegis_json_str(when, "kind");
    env = aegis_json_str(when, "env");

    return (kind[0] == '\0' || strcmp(kind, in->kind) == 0)
           && (env[0] == '\0' || strcmp(env, in->env) == 0);
}


/* Seconds that a window is still open at, 0 when it is closed. A window that
 * runs over midnight belongs to the day on which it opens. */
static int64_t
aegis_policy_open(const json_t *rule, int64_t local)
{
    int      back;
    json_t  *days;
    int64_t  from, to, start, now;

    days = json_object_get(rule, "days");
    from = aegis_policy_clock(aegis_json_str(rule, "from"));
    to = aegis_policy_clock(aegis_json_str(rule, "to"));
    now = ((local % AEGIS_POLICY_DAY) + AEGIS_POLICY_DAY) % AEGIS_POLICY_DAY;

    if (to < from) {
        to += AEGIS_POLICY_DAY;
    }

    /* opened today, or yesterday */
    for (back = 0; back < 2; back++) {
        start = local - now - back * AEGIS_POLICY_DAY;

        if (local >= start + from && local < start + to
            && (days == NULL
                || aegis_policy_has(days, aegis_policy_days[aegis_time_weekday(start)])))
        {
            return start + to - local;
        }
    }

    return 0;
}


/* The first action of a plan's part that is not in the list; NULL: none. */
static const char *
aegis_policy_foreign_action(const json_t *steps, const json_t *allow)
{
    size_t       i;
    const char  *action;

    for (i = 0; i < json_array_size(steps); i++) {
        action = aegis_json_str(json_array_get(steps, i), "action");

        if (!aegis_policy_has(allow, action)) {
            return action;
        }
    }

    return NULL;
}


/* Does the rule hold? detail (256 bytes) says what was found. */
static int
aegis_policy_rule(const json_t *rule, aegis_policy_in_t *in, char *detail)
{
    double       risk, most;
    json_t      *allow, *value;
    int64_t      left;
    const char  *kind, *action;

    kind = aegis_json_str(rule, "kind");
    allow = json_object_get(rule, "allow");

    if (strcmp(kind, "environments") == 0) {
        if (aegis_policy_has(allow, in->env)) {
            snprintf(detail, 256, "environment %s is allowed", in->env);
            return 1;
        }

        snprintf(detail, 256, "environment %s is not allowed", in->env);
        return 0;
    }

    if (strcmp(kind, "actions") == 0) {
        action = aegis_policy_foreign_action(json_object_get(in->plan, "steps"), allow);
        if (action == NULL) {
            action = aegis_policy_foreign_action(json_object_get(in->plan, "rollback"),
                                                 allow);
        }

        if (action) {
            snprintf(detail, 256, "action %.63s is not allowed", action);
            return 0;
        }

        snprintf(detail, 256, "every action is allowed");
        return 1;
    }

    if (strcmp(kind, "risk") == 0) {
        value = json_object_get(in->plan, "risk_score");
        risk = json_is_number(value) ? json_number_value(value) : 1;
        most = json_number_value(json_object_get(rule, "max"));

        snprintf(detail, 256, "risk %.3g is %s %.3g", risk,
                 risk <= most ? "at most" : "above", most);
        return risk <= most;
    }

    left = aegis_policy_open(rule, in->local);
    snprintf(detail, 256, "the window %s to %s is %s", aegis_json_str(rule, "from"),
             aegis_json_str(rule, "to"), left ? "open" : "closed");

    if (left > in->open_s) {
        in->open_s = left;
    }

    return left > 0;
}


static int
aegis_policy_is_window(const json_t *rule)
{
    return strcmp(aegis_json_str(rule, "kind"), "window") == 0;
}


/* Is one of the window rules that apply open? */
static int
aegis_policy_some_window(const json_t *rules, const aegis_policy_in_t *in)
{
    size_t   i;
    json_t  *rule;

    for (i = 0; i < json_array_size(rules); i++) {
        rule = json_array_get(rules, i);

        if (aegis_policy_is_window(rule) && aegis_policy_applies(rule, in)
            && aegis_policy_open(rule, in->local))
        {
            return 1;
        }
    }

    return 0;
}


static int64_t
aegis_policy_offset(const json_t *policy)
{
    json_t   *value;
    int64_t   offset;

    value = json_object_get(policy, "timezone_offset");

    if (!aegis_time_offset((aegis_str_t) { json_string_length(value),
                                           json_string_value(value) }, &offset))
    {
        return 0;
    }

    return offset;
}


aegis_code_t
aegis_policy_eval(const json_t *policy, const json_t *c, const json_t *plan,
    int64_t now, aegis_verdict_result_t *ret, aegis_error_t *err)
{
    int                     ok;
    char                    detail[256];
    size_t                  i;
    json_t                 *rule, *rules, *valid;
    const char             *env;
    aegis_policy_in_t       in;
    aegis_verdict_result_t  v;

    env = aegis_json_str(plan, "env");

    in.plan = plan;
    in.kind = aegis_json_str(c, "kind");
    in.env = env[0] ? env : "default";
    in.local = now + aegis_policy_offset(policy);
    in.open_s = 0;

    memset(&v, 0, sizeof(v));
    v.approved = 1;
    strcpy(v.rule, "default");
    strcpy(v.reason, "every rule that applies holds");

    valid = json_object_get(policy, "valid_s");
    v.valid_s = valid ? json_integer_value(valid) : AEGIS_POLICY_VALID_S;

    v.checks = json_array();
    rules = json_object_get(policy, "rules");

    for (i = 0; i < json_array_size(rules); i++) {
        rule = json_array_get(rules, i);

        if (!aegis_policy_applies(rule, &in)) {
            continue;
        }

        ok = aegis_policy_rule(rule, &in, detail);

        if (json_array_append_new(v.checks, json_pack("{s:s, s:s, s:b, s:s}",
                "rule", aegis_json_str(rule, "id"), "kind", aegis_json_str(rule, "kind"),
                "ok", ok, "detail", detail)) != 0)
        {
            json_decref(v.checks);
            return aegis_error_set(err, AEGIS_E_INTERNAL, "no memory");
        }

        /* the first refusal decides; of the windows, one that is open will do */
        if (ok || !v.approved
            || (aegis_policy_is_window(rule) && aegis_policy_some_window(rules, &in)))
        {
            continue;
        }

        v.approved = 0;
        snprintf(v.rule, sizeof(v.rule), "%s", aegis_json_str(rule, "id"));
        snprintf(v.reason, sizeof(v.reason), "%s", detail);
    }

    if (in.open_s && in.open_s < v.valid_s) {
        v.valid_s = in.open_s;
    }

    *ret = v;

    return AEGIS_E_OK;
}
