/*
 * aegis_approval.c: who may approve, and when it is enough. Its invariants: a
 * principal counts once for a need, whoever proposed the plan does not count
 * under four eyes, and a need without anybody whose voice counts is never met.
 */
#include "aegis_approval.h"

#include <stdio.h>
#include <string.h>

#include "aegis_access.h"
#include "aegis_check.h"
#include "aegis_json.h"

#define AEGIS_APPROVAL_MAX_NEED    16
#define AEGIS_APPROVAL_MAX_GROUPS  32
#define AEGIS_APPROVAL_MAX_PEOPLE  256
#define AEGIS_APPROVAL_EXPIRES     86400
#define AEGIS_APPROVAL_SCOPE       "gate:approve"

static const char *const  aegis_approval_members[] =
    { "need", "of", "expires_s", "four_eyes", NULL };
static const char *const  aegis_approval_of_members[] =
    { "groups", "principals", "scope", NULL };


static void
aegis_approval_check_people(const json_t *list, const char *at, aegis_error_t *err)
{
    char    item[AEGIS_CHECK_POINTER];
    size_t  i;

    if (!aegis_check_array(list, 1, AEGIS_APPROVAL_MAX_PEOPLE, at, err)) {
        return;
    }

    for (i = 0; i < json_array_size(list); i++) {
        aegis_error_index(item, sizeof(item), at, i);
        aegis_check_string(json_array_get(list, i), 1, 200, item, err);
    }
}


void
aegis_approval_check_groups(const json_t *groups, const char *at, aegis_error_t *err)
{
    char         sub[AEGIS_CHECK_POINTER];
    json_t      *list;
    const char  *name;

    if (!json_is_object(groups)
        || json_object_size(groups) > AEGIS_APPROVAL_MAX_GROUPS)
    {
        aegis_error_at(err, at, "must be an object of at most %d groups",
                       AEGIS_APPROVAL_MAX_GROUPS);
        return;
    }

    json_object_foreach((json_t *) groups, name, list) {
        aegis_error_pointer(sub, sizeof(sub), at, name);

        if (!aegis_check_is_word(name, 63)) {
            aegis_error_at(err, sub, "the name of a group must be a word");
        }

        aegis_approval_check_people(list, sub, err);
    }
}


static void
aegis_approval_check_of(const json_t *of, const json_t *groups, const char *at,
    aegis_error_t *err)
{
    char         sub[AEGIS_CHECK_POINTER], item[AEGIS_CHECK_POINTER];
    size_t       i;
    json_t      *list, *scope;
    const char  *name;

    if (!aegis_check_object(of, aegis_approval_of_members, at, err)) {
        return;
    }

    if (json_object_size(of) == 0) {
        aegis_error_at(err, at, "must name groups, principals or a scope");
    }

    list = json_object_get(of, "groups");
    aegis_error_pointer(sub, sizeof(sub), at, "groups");

    if (list && aegis_check_array(list, 1, AEGIS_APPROVAL_MAX_GROUPS, sub, err)) {
        for (i = 0; i < json_array_size(list); i++) {
            name = json_string_value(json_array_get(list, i));
            aegis_error_index(item, sizeof(item), sub, i);

            if (name == NULL || json_object_get(groups, name) == NULL) {
                aegis_error_at(err, item, "must be the name of a group of this policy");
            }
        }
    }

    if ((list = json_object_get(of, "principals")) != NULL) {
        aegis_error_pointer(sub, sizeof(sub), at, "principals");
        aegis_approval_check_people(list, sub, err);
    }

    scope = json_object_get(of, "scope");

    if (scope && !aegis_scope_known((aegis_str_t) { json_string_length(scope),
                                                    json_string_value(scope) }))
    {
        aegis_error_pointer(sub, sizeof(sub), at, "scope");
        aegis_error_at(err, sub, "must be a scope that exists, like \"gate:approve\"");
    }
}


void
aegis_approval_check(const json_t *approval, const json_t *groups, const char *at,
    aegis_error_t *err)
{
    char           sub[AEGIS_CHECK_POINTER];
    json_t        *value, *need, *of;
    json_int_t     most;
    aegis_error_t  found = AEGIS_ERROR_INIT;

    if (!aegis_check_object(approval, aegis_approval_members, at, err)) {
        return;
    }

    if ((value = json_object_get(approval, "expires_s")) != NULL) {
        aegis_error_pointer(sub, sizeof(sub), at, "expires_s");
        aegis_check_int(value, 1, 2592000, sub, err);
    }

    if ((value = json_object_get(approval, "four_eyes")) != NULL) {
        aegis_error_pointer(sub, sizeof(sub), at, "four_eyes");
        aegis_check_bool(value, sub, err);
    }

    most = AEGIS_APPROVAL_MAX_NEED;

    if ((of = json_object_get(approval, "of")) != NULL) {
        aegis_error_pointer(sub, sizeof(sub), at, "of");
        aegis_approval_check_of(of, groups, sub, &found);

        /* of people who are named there are only so many */
        if (found.code == AEGIS_E_OK && json_object_get(of, "scope") == NULL) {
            need = aegis_approval_need("", approval, groups);
            value = json_object_get(need, "principals");
            most = (json_int_t) json_array_size(value) < most
                   ? (json_int_t) json_array_size(value) : most;
            json_decref(need);
        }

        (void) aegis_error_move(err, &found);
    }

    if ((value = json_object_get(approval, "need")) != NULL) {
        aegis_error_pointer(sub, sizeof(sub), at, "need");
        aegis_check_int(value, 1, most, sub, err);
    }
}


int
aegis_approval_among(const json_t *list, const char *word)
{
    size_t       i;
    const char  *s;

    for (i = 0; i < json_array_size(list); i++) {
        s = json_string_value(json_array_get(list, i));

        if (s && strcmp(s, word) == 0) {
            return 1;
        }
    }

    return 0;
}


static void
aegis_approval_add(json_t *list, const json_t *more)
{
    size_t   i;
    json_t  *word;

    for (i = 0; i < json_array_size(more); i++) {
        word = json_array_get(more, i);

        if (!aegis_approval_among(list, json_string_value(word))) {
            json_array_append(list, word);
        }
    }
}


json_t *
aegis_approval_need(const char *rule, const json_t *approval, const json_t *groups)
{
    size_t       i;
    json_t      *of, *names, *people, *need, *expires;
    const char  *scope;

    of = json_object_get(approval, "of");
    names = json_object_get(of, "groups");
    need = json_object_get(approval, "need");
    expires = json_object_get(approval, "expires_s");
    people = json_array();

    for (i = 0; i < json_array_size(names); i++) {
        aegis_approval_add(people, json_object_get(groups,
                               json_string_value(json_array_get(names, i))));
    }

    aegis_approval_add(people, json_object_get(of, "principals"));
    scope = of ? aegis_json_str(of, "scope") : AEGIS_APPROVAL_SCOPE;

    return json_pack("{s:s, s:I, s:o, s:o, s:s, s:b, s:I}", "rule", rule,
        "need", need ? json_integer_value(need) : (json_int_t) 1,
        "groups", names ? json_copy(names) : json_array(),
        "principals", people, "scope", scope,
        "four_eyes", !json_is_false(json_object_get(approval, "four_eyes")),
        "expires_s", expires ? json_integer_value(expires)
                             : (json_int_t) AEGIS_APPROVAL_EXPIRES);
}


/* Append to what is in out, cut at its end. */
static void
aegis_approval_say(char *out, size_t size, const char *glue, const char *text)
{
    size_t  n;

    n = strlen(out);
    snprintf(out + n, size - n, "%s%s", n ? glue : "", text);
    out[aegis_utf8_cut(out, strlen(out), size - 1)] = '\0';
}


void
aegis_approval_text(const json_t *need, char *out, size_t size)
{
    size_t       i;
    char         who[160] = "";
    json_t      *groups, *people;
    const char  *scope;

    groups = json_object_get(need, "groups");
    people = json_object_get(need, "principals");
    scope = aegis_json_str(need, "scope");

    for (i = 0; i < json_array_size(groups); i++) {
        aegis_approval_say(who, sizeof(who), ", ",
                           json_string_value(json_array_get(groups, i)));
    }

    for (i = 0; json_array_size(groups) == 0 && i < json_array_size(people); i++) {
        aegis_approval_say(who, sizeof(who), ", ",
                           json_string_value(json_array_get(people, i)));
    }

    if (*scope) {
        aegis_approval_say(who, sizeof(who), ", ", scope);
    }

    snprintf(out, size, "%d of %s",
             (int) json_integer_value(json_object_get(need, "need")), who);
    out[aegis_utf8_cut(out, strlen(out), size - 1)] = '\0';
}


json_t *
aegis_approval_counts(const json_t *needs, const json_t *proposers,
    const char *principal, const char *scopes, const char **ret_why)
{
    size_t       i;
    json_t      *need, *counts;
    const char  *scope;

    counts = json_array();
    *ret_why = "The policy does not name you among those who decide on it.";

    for (i = 0; i < json_array_size(needs); i++) {
        need = json_array_get(needs, i);
        scope = aegis_json_str(need, "scope");

        if (!aegis_approval_among(json_object_get(need, "principals"), principal)
            && !aegis_scope_allows((aegis_str_t) { scopes ? strlen(scopes) : 0, scopes },
                                   scope))
        {
            continue;
        }

        if (!json_is_false(json_object_get(need, "four_eyes"))
            && aegis_approval_among(proposers, principal))
        {
            *ret_why = "Who proposed a plan cannot approve it: it takes a second person.";
            continue;
        }

        json_array_append(counts, json_object_get(need, "rule"));
    }

    return counts;
}


int64_t
aegis_approval_given(const json_t *need, const json_t *votes)
{
    size_t       i, k;
    json_t      *vote;
    int64_t      n;
    const char  *who;

    for (i = 0, n = 0; i < json_array_size(votes); i++) {
        vote = json_array_get(votes, i);
        who = aegis_json_str(vote, "principal");

        if (strcmp(aegis_json_str(vote, "verdict"), "approve") != 0
            || !aegis_approval_among(json_object_get(vote, "counts"),
                                     aegis_json_str(need, "rule")))
        {
            continue;
        }

        /* the same person counts once, whatever is stored */
        for (k = 0; k < i && strcmp(aegis_json_str(json_array_get(votes, k), "principal"),
                                    who) != 0; k++)
        {
            /* void */
        }

        n += k == i;
    }

    return n;
}


int
aegis_approval_met(const json_t *needs, const json_t *votes)
{
    size_t   i;
    json_t  *need;

    for (i = 0; i < json_array_size(needs); i++) {
        need = json_array_get(needs, i);

        if (aegis_approval_given(need, votes)
            < json_integer_value(json_object_get(need, "need")))
        {
            return 0;
        }
    }

    return json_array_size(needs) > 0;
}


void
aegis_approval_who(const json_t *votes, char *out, size_t size)
{
    size_t   i;
    json_t  *vote;

    out[0] = '\0';

    for (i = 0; i < json_array_size(votes); i++) {
        vote = json_array_get(votes, i);

        if (strcmp(aegis_json_str(vote, "verdict"), "approve") == 0) {
            aegis_approval_say(out, size, ", ", aegis_json_str(vote, "principal"));
        }
    }
}


void
aegis_approval_state(const json_t *needs, const json_t *votes, char *out, size_t size)
{
    size_t   i;
    char     one[64], who[160];
    json_t  *need;

    out[0] = '\0';

    for (i = 0; i < json_array_size(needs); i++) {
        need = json_array_get(needs, i);
        snprintf(one, sizeof(one), "%d of %d approved",
                 (int) aegis_approval_given(need, votes),
                 (int) json_integer_value(json_object_get(need, "need")));
        aegis_approval_say(out, size, ", ", one);
    }

    aegis_approval_who(votes, who, sizeof(who));

    if (who[0]) {
        aegis_approval_say(out, size, ": ", who);
    }
}
