/*
 * aegis_policy.c: the gatekeeper's judgement. Its invariant: it fails closed:
 * a plan is approved only when every rule that applies was looked at and holds,
 * and what a plan does not say, what cannot be counted and a clock whose rules
 * are not there count against it. What a policy may look like is
 * aegis_policy_check.c.
 */
#include "aegis_policy.h"

#include <stdio.h>
#include <string.h>

#include "aegis_approval.h"
#include "aegis_json.h"
#include "aegis_time.h"
#include "aegis_window.h"

#define AEGIS_POLICY_VALID_S  3600
#define AEGIS_POLICY_DETAIL   256

/* What is judged, and what the rules have said so far. */
typedef struct {
    const json_t                *policy;
    const aegis_policy_facts_t  *facts;
    const char                  *kind;
    const char                  *env;
    const char                  *tenant;
    double                       risk;
    int64_t                      open_s;        /* longest time that an open window lasts */
    int64_t                      thaw_s;        /* until the next freeze begins */
    aegis_policy_result_t       *v;
} aegis_policy_in_t;

/* Does a rule hold? detail says what was found. */
typedef int (*aegis_policy_rule_pt)(const json_t *rule, aegis_policy_in_t *in,
    char *detail);


const char *
aegis_gate_verdict(aegis_gate_verdict_t verdict)
{
    static const char *const  names[] = { "approved", "rejected", "needs_approval" };

    return names[verdict];
}


/* Is the word the value, or one of its items? Absent: any is. */
static int
aegis_policy_fits(const json_t *value, const char *word)
{
    if (json_is_array(value)) {
        return aegis_approval_among(value, word);
    }

    return value == NULL || strcmp(json_string_value(value), word) == 0;
}


/* The first action of a part that is (or is not) in the list; NULL: none. */
static const char *
aegis_policy_action(const json_t *steps, const json_t *list, int listed)
{
    size_t       i;
    const char  *action;

    for (i = 0; i < json_array_size(steps); i++) {
        action = aegis_json_str(json_array_get(steps, i), "action");

        if (aegis_policy_fits(list, action) == listed) {
            return action;
        }
    }

    return NULL;
}


static const char *
aegis_policy_plan_action(const json_t *plan, const json_t *list, int listed)
{
    const char  *action;

    action = aegis_policy_action(json_object_get(plan, "steps"), list, listed);

    return action ? action
           : aegis_policy_action(json_object_get(plan, "rollback"), list, listed);
}


static int
aegis_policy_applies(const json_t *rule, const aegis_policy_in_t *in)
{
    json_t  *when, *action, *above;

    when = json_object_get(rule, "when");
    action = json_object_get(when, "action");
    above = json_object_get(when, "risk_above");

    return aegis_policy_fits(json_object_get(when, "kind"), in->kind)
           && aegis_policy_fits(json_object_get(when, "env"), in->env)
           && aegis_policy_fits(json_object_get(when, "tenant"), in->tenant)
           && (action == NULL
               || aegis_policy_plan_action(in->facts->plan, action, 1) != NULL)
           && (above == NULL || in->risk > json_number_value(above));
}


static int
aegis_policy_allow(const json_t *rule, const char *what, const char *word, char *detail)
{
    int  ok;

    ok = aegis_approval_among(json_object_get(rule, "allow"), word);
    snprintf(detail, AEGIS_POLICY_DETAIL, "%s %.63s is %sallowed", what, word,
             ok ? "" : "not ");

    return ok;
}


static int
aegis_policy_environments(const json_t *rule, aegis_policy_in_t *in, char *detail)
{
    return aegis_policy_allow(rule, "environment", in->env, detail);
}


static int
aegis_policy_tenants(const json_t *rule, aegis_policy_in_t *in, char *detail)
{
    return aegis_policy_allow(rule, "tenant", in->tenant, detail);
}


static int
aegis_policy_actions(const json_t *rule, aegis_policy_in_t *in, char *detail)
{
    const char  *action;

    action = aegis_policy_plan_action(in->facts->plan, json_object_get(rule, "allow"), 0);

    if (action) {
        snprintf(detail, AEGIS_POLICY_DETAIL, "action %.63s is not allowed", action);
        return 0;
    }

    snprintf(detail, AEGIS_POLICY_DETAIL, "every action is allowed");

    return 1;
}


static int
aegis_policy_risk(const json_t *rule, aegis_policy_in_t *in, char *detail)
{
    double  most;

    most = json_number_value(json_object_get(rule, "max"));
    snprintf(detail, AEGIS_POLICY_DETAIL, "risk %.3g is %s %.3g", in->risk,
             in->risk <= most ? "at most" : "above", most);

    return in->risk <= most;
}


/* The clock of a rule. 0: the policy does not have its rules. */
static int
aegis_policy_zone(const json_t *rule, const aegis_policy_in_t *in, aegis_zone_t *zone)
{
    json_t      *value;
    int64_t      offset;
    const char  *name;

    name = aegis_json_str(rule, "timezone");
    name = name[0] ? name : aegis_json_str(in->policy, "timezone");

    if (name[0]) {
        value = json_object_get(json_object_get(in->policy, "zones"), name);
        if (value) {
            aegis_zone_open(value, zone);
        }

        return value != NULL;
    }

    value = json_object_get(in->policy, "timezone_offset");
    offset = 0;
    (void) aegis_time_offset((aegis_str_t) { json_string_length(value),
                                             json_string_value(value) }, &offset);
    aegis_zone_fixed(offset, zone);

    return 1;
}


static int
aegis_policy_window(const json_t *rule, aegis_policy_in_t *in, char *detail)
{
    char           at[AEGIS_TIME_LEN + 1];
    int64_t        left, opens;
    const char    *from, *to;
    aegis_zone_t   zone;

    if (!aegis_policy_zone(rule, in, &zone)) {
        snprintf(detail, AEGIS_POLICY_DETAIL, "the time zone's rules are not there");
        return 0;
    }

    from = aegis_json_str(rule, "from");
    to = aegis_json_str(rule, "to");
    left = aegis_window_left(rule, &zone, in->facts->now, &opens);

    if (left) {
        snprintf(detail, AEGIS_POLICY_DETAIL, "the window %s to %s is open", from, to);
        in->open_s = left > in->open_s ? left : in->open_s;

    } else if (opens) {
        aegis_time_format(opens, at);
        snprintf(detail, AEGIS_POLICY_DETAIL,
                 "the window %s to %s is closed; it opens at %s", from, to, at);

    } else {
        snprintf(detail, AEGIS_POLICY_DETAIL, "the window %s to %s is closed", from, to);
    }

    return left > 0;
}


static int
aegis_policy_freeze(const json_t *rule, aegis_policy_in_t *in, char *detail)
{
    char           at[AEGIS_TIME_LEN + 1];
    int64_t        from, to, now;
    aegis_zone_t   zone;

    if (!aegis_policy_zone(rule, in, &zone)) {
        snprintf(detail, AEGIS_POLICY_DETAIL, "the time zone's rules are not there");
        return 0;
    }

    now = in->facts->now;
    aegis_window_freeze(rule, &zone, &from, &to);

    if (now >= from && now < to) {
        aegis_time_format(to, at);
        snprintf(detail, AEGIS_POLICY_DETAIL, "changes are frozen until %s", at);
        return 0;
    }

    if (now < from && from - now < in->thaw_s) {
        in->thaw_s = from - now;
    }

    snprintf(detail, AEGIS_POLICY_DETAIL, "no freeze now");

    return 1;
}


static int
aegis_policy_rate(const json_t *rule, aegis_policy_in_t *in, char *detail)
{
    int          ok;
    json_t      *n;
    json_int_t   most, window;
    const char  *per;

    if (in->facts->people) {
        snprintf(detail, AEGIS_POLICY_DETAIL, "people approve it, so it is not counted");
        return 1;
    }

    n = json_object_get(in->facts->rates, aegis_json_str(rule, "id"));
    most = json_integer_value(json_object_get(rule, "max"));
    window = json_integer_value(json_object_get(rule, "window_s"));
    per = aegis_json_str(rule, "per");
    per = per[0] ? per : "tenant";

    if (!json_is_integer(n)) {
        snprintf(detail, AEGIS_POLICY_DETAIL, "how many there were is not known");
        return 0;
    }

    ok = json_integer_value(n) < most;
    snprintf(detail, AEGIS_POLICY_DETAIL,
             "%d of %d automatic approvals for this %s in %d s", (int) json_integer_value(n),
             (int) most, per, (int) window);

    if (ok) {
        in->v->counted = in->v->counted ? in->v->counted : json_array();
        json_array_append_new(in->v->counted, json_pack("{s:s, s:I, s:I}", "per", per,
                                                        "max", most, "window_s", window));
    }

    return ok;
}


static int
aegis_policy_ask(const json_t *rule, aegis_policy_in_t *in, char *detail)
{
    snprintf(detail, AEGIS_POLICY_DETAIL, "people have to approve");

    return 0;
}


static const struct {
    const char            *kind;
    aegis_policy_rule_pt   holds;
} aegis_policy_kinds[] = {
    { "environments", aegis_policy_environments },
    { "actions",      aegis_policy_actions },
    { "tenants",      aegis_policy_tenants },
    { "risk",         aegis_policy_risk },
    { "rate",         aegis_policy_rate },
    { "window",       aegis_policy_window },
    { "freeze",       aegis_policy_freeze },
    { "approval",     aegis_policy_ask }
};


static int
aegis_policy_holds(const json_t *rule, aegis_policy_in_t *in, char *detail)
{
    size_t       i;
    const char  *kind;

    kind = aegis_json_str(rule, "kind");

    for (i = 0; i < sizeof(aegis_policy_kinds) / sizeof(aegis_policy_kinds[0]); i++) {
        if (strcmp(aegis_policy_kinds[i].kind, kind) == 0) {
            return aegis_policy_kinds[i].holds(rule, in, detail);
        }
    }

    snprintf(detail, AEGIS_POLICY_DETAIL, "the rule's kind is not known");

    return 0;
}


/* Is one of the window rules that apply open? */
static int
aegis_policy_some_window(const aegis_policy_in_t *in)
{
    size_t        i;
    json_t       *rule, *rules;
    int64_t       opens;
    aegis_zone_t  zone;

    rules = json_object_get(in->policy, "rules");

    for (i = 0; i < json_array_size(rules); i++) {
        rule = json_array_get(rules, i);

        if (strcmp(aegis_json_str(rule, "kind"), "window") == 0
            && aegis_policy_applies(rule, in) && aegis_policy_zone(rule, in, &zone)
            && aegis_window_left(rule, &zone, in->facts->now, &opens) > 0)
        {
            return 1;
        }
    }

    return 0;
}


/* A rule that does not hold refuses, unless it asks people instead. */
static void
aegis_policy_against(const json_t *rule, aegis_policy_in_t *in, const char *detail)
{
    char                    asks[120];
    json_t                 *approval, *need;
    int64_t                 expires;
    aegis_policy_result_t  *v;

    v = in->v;
    approval = json_object_get(rule, "approval");

    if (approval == NULL) {
        if (v->verdict != AEGIS_GATE_REJECTED) {
            v->verdict = AEGIS_GATE_REJECTED;
            snprintf(v->rule, sizeof(v->rule), "%s", aegis_json_str(rule, "id"));
            snprintf(v->reason, sizeof(v->reason), "%s", detail);
        }
        return;
    }

    if (in->facts->people) {
        return;
    }

    need = aegis_approval_need(aegis_json_str(rule, "id"), approval,
                               json_object_get(in->policy, "groups"));
    expires = json_integer_value(json_object_get(need, "expires_s"));

    if (v->needs == NULL || expires < v->expires_s) {
        v->expires_s = expires;
    }

    v->needs = v->needs ? v->needs : json_array();
    json_array_append_new(v->needs, need);

    if (v->verdict == AEGIS_GATE_APPROVED) {
        v->verdict = AEGIS_GATE_ASKS;
        aegis_approval_text(need, asks, sizeof(asks));
        snprintf(v->rule, sizeof(v->rule), "%s", aegis_json_str(rule, "id"));
        snprintf(v->reason, sizeof(v->reason), "%.100s: it waits for %s", detail, asks);
        v->reason[aegis_utf8_cut(v->reason, strlen(v->reason),
                                 sizeof(v->reason) - 1)] = '\0';
    }
}


/* How long what was found stays true. */
static void
aegis_policy_bound(aegis_policy_in_t *in)
{
    aegis_policy_result_t  *v;

    v = in->v;

    if (in->open_s && in->open_s < v->valid_s) {
        v->valid_s = in->open_s;
    }

    if (in->thaw_s < v->valid_s) {
        v->valid_s = in->thaw_s;
    }

    /* nor can people approve what may not run any more by then */
    if (in->open_s && in->open_s < v->expires_s) {
        v->expires_s = in->open_s;
    }

    if (in->thaw_s < v->expires_s) {
        v->expires_s = in->thaw_s;
    }

    if (v->verdict != AEGIS_GATE_ASKS) {
        json_decref(v->needs);
        v->needs = NULL;
    }
}


static void
aegis_policy_begin(const json_t *policy, const aegis_policy_facts_t *facts,
    aegis_policy_result_t *v, aegis_policy_in_t *in)
{
    json_t      *value;
    const char  *env;

    memset(v, 0, sizeof(*v));
    v->verdict = AEGIS_GATE_APPROVED;
    strcpy(v->rule, "default");
    strcpy(v->reason, "every rule that applies holds");
    v->checks = json_array();

    value = json_object_get(policy, "valid_s");
    v->valid_s = value ? json_integer_value(value) : AEGIS_POLICY_VALID_S;

    env = aegis_json_str(facts->plan, "env");
    value = json_object_get(facts->plan, "risk_score");

    in->policy = policy;
    in->facts = facts;
    in->kind = aegis_json_str(facts->c, "kind");
    in->env = env[0] ? env : "default";
    in->tenant = aegis_json_str(facts->c, "tenant");
    in->risk = json_is_number(value) ? json_number_value(value) : 1;
    in->open_s = 0;
    in->thaw_s = INT64_MAX;
    in->v = v;
}


void
aegis_policy_result_clear(aegis_policy_result_t *result)
{
    json_decref(result->checks);
    json_decref(result->needs);
    json_decref(result->counted);
    result->checks = result->needs = result->counted = NULL;
}


aegis_code_t
aegis_policy_eval(const json_t *policy, const aegis_policy_facts_t *facts,
    aegis_policy_result_t *ret, aegis_error_t *err)
{
    int                     ok, counts;
    char                    detail[AEGIS_POLICY_DETAIL];
    size_t                  i;
    json_t                 *rule, *rules, *check;
    const char             *kind;
    aegis_policy_in_t       in;
    aegis_policy_result_t   v;

    aegis_policy_begin(policy, facts, &v, &in);
    rules = json_object_get(policy, "rules");

    for (i = 0; i < json_array_size(rules); i++) {
        rule = json_array_get(rules, i);

        if (!aegis_policy_applies(rule, &in)) {
            continue;
        }

        kind = aegis_json_str(rule, "kind");
        ok = aegis_policy_holds(rule, &in, detail);

        /* of the windows, one that is open will do */
        counts = !ok && (strcmp(kind, "window") != 0 || !aegis_policy_some_window(&in));

        check = json_pack("{s:s, s:s, s:b, s:s}", "rule", aegis_json_str(rule, "id"),
                          "kind", kind, "ok", ok, "detail", detail);

        if (counts && json_object_get(rule, "approval")) {
            json_object_set_new(check, "asks", json_true());
        }

        if (json_array_append_new(v.checks, check) != 0) {
            aegis_policy_result_clear(&v);
            return aegis_error_set(err, AEGIS_E_INTERNAL, "no memory");
        }

        if (counts) {
            aegis_policy_against(rule, &in, detail);
        }
    }

    aegis_policy_bound(&in);
    *ret = v;

    return AEGIS_E_OK;
}
