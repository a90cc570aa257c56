/*
 * aegis_jwt.c: unit tests of the verdict on tokens: every case of
 * t/data/jwt/cases.json gets the reason that stands beside it, and nothing but
 * OK yields claims. The tokens were signed by openssl, not by us.
 */
#include "aegis_jwt_data.h"

#include <openssl/err.h>

#include "aegis_jwt.h"

static json_t  *data;


static aegis_jwks_t *
key_set(const char *name)
{
    char          *text;
    json_t        *set;
    aegis_jwks_t  *keys;

    set = json_object_get(json_object_get(data, "sets"), *name ? name : "all");
    text = json_dumps(set, 0);
    assert_non_null(text);
    assert_int_equal(aegis_jwks_parse(aegis_view(text), &keys, NULL), AEGIS_E_OK);
    free(text);

    return keys;
}


/* A member of the case, else of the policy. */
static const char *
text_of(const json_t *one, const json_t *policy, const char *name)
{
    const char  *s;

    s = aegis_json_str(one, name);

    return *s ? s : aegis_json_str(policy, name);
}


static aegis_jwt_policy_t
policy_of(const json_t *one)
{
    size_t               i;
    json_t              *base, *algs, *name;
    aegis_jwt_policy_t   policy;

    base = json_object_get(data, "policy");
    policy.issuer = aegis_view(text_of(one, base, "issuer"));
    policy.audience = aegis_view(text_of(one, base, "audience"));
    policy.leeway = json_integer_value(json_object_get(base, "leeway"));
    policy.tenant_claim = text_of(one, base, "tenant_claim");
    policy.principal_claim = text_of(one, base, "principal_claim");
    policy.scope_claim = text_of(one, base, "scope_claim");

    algs = json_object_get(one, "algs");
    algs = algs ? algs : json_object_get(base, "algs");
    policy.algs = 0;

    json_array_foreach(algs, i, name) {
        policy.algs |= 1u << aegis_jwa_by_name(aegis_view(json_string_value(name)));
    }

    return policy;
}


static void
test_cases(void **state)
{
    size_t               i, good;
    json_t              *one, *list, *token;
    int64_t              now;
    aegis_jwt_t          jwt;
    aegis_jwks_t        *keys;
    aegis_error_t        err = AEGIS_ERROR_INIT;
    aegis_jwt_policy_t   policy;
    aegis_jwt_reason_t   reason;

    list = json_object_get(data, "cases");
    now = json_integer_value(json_object_get(data, "now"));
    assert_true(json_array_size(list) > 180);
    good = 0;

    json_array_foreach(list, i, one) {
        keys = key_set(aegis_json_str(one, "set"));
        policy = policy_of(one);
        token = json_object_get(one, "token");
        memset(&jwt, 0, sizeof(jwt));

        reason = aegis_jwt_verify((aegis_str_t) { json_string_length(token),
                                                  json_string_value(token) },
                                  keys, &policy, now, &jwt, &err);

        if (strcmp(aegis_jwt_reason(reason), aegis_json_str(one, "reason")) != 0) {
            fail_msg("%s: it is %s and not %s", aegis_json_str(one, "name"),
                     aegis_jwt_reason(reason), aegis_json_str(one, "reason"));
        }

        if (reason == AEGIS_JWT_OK) {
            good++;
            assert_true(jwt.tenant.len && jwt.principal.len);
            assert_int_equal(err.code, AEGIS_E_OK);

        } else {
            assert_null(jwt.claims);
            assert_int_equal(err.code, AEGIS_E_UNAUTHORIZED);
            assert_true(err.detail[0]);
        }

        /* what lies in this queue nginx takes for an error of TLS */
        assert_int_equal(ERR_peek_error(), 0);

        aegis_jwt_clear(&jwt);
        aegis_error_clear(&err);
        aegis_jwks_free(keys);
    }

    assert_true(good >= 15);
}


/* Each prefix, and each byte changed, of good tokens: never OK. */
static void
test_near(void **state)
{
    char                 text[AEGIS_JWT_MAX];
    size_t               i, k, n, step;
    json_t              *list, *one;
    int64_t              now;
    aegis_jwt_t          jwt;
    aegis_jwks_t        *keys;
    aegis_jwt_policy_t   policy;

    list = json_object_get(data, "cases");
    now = json_integer_value(json_object_get(data, "now"));
    keys = key_set("all");

    for (i = 0; i < 3; i++) {
        one = json_array_get(list, i);
        policy = policy_of(one);
        n = json_string_length(json_object_get(one, "token"));
        step = n > 500 ? 7 : 1;

        for (k = 0; k < n; k += step) {
            memcpy(text, aegis_json_str(one, "token"), n);
            assert_int_not_equal(aegis_jwt_verify((aegis_str_t) { k, text }, keys, &policy,
                                                  now, &jwt, NULL), AEGIS_JWT_OK);
            text[k] = text[k] == 'A' ? 'B' : 'A';
            assert_int_not_equal(aegis_jwt_verify((aegis_str_t) { n, text }, keys, &policy,
                                                  now, &jwt, NULL), AEGIS_JWT_OK);
        }
    }

    aegis_jwks_free(keys);
}


static const json_t *
case_named(const char *name)
{
    size_t   i;
    json_t  *one;

    json_array_foreach(json_object_get(data, "cases"), i, one) {
        if (strcmp(aegis_json_str(one, "name"), name) == 0) {
            return one;
        }
    }

    fail_msg("there is no case %s", name);

    return NULL;
}


static void
test_times(void **state)
{
    int64_t              exp, now;
    aegis_jwt_t          jwt;
    aegis_str_t          token;
    aegis_jwks_t        *keys;
    aegis_jwt_policy_t   policy;
    const json_t        *one;

    one = case_named("es is accepted");
    now = json_integer_value(json_object_get(data, "now"));
    keys = key_set("all");
    policy = policy_of(one);
    token = aegis_view(aegis_json_str(one, "token"));

    assert_int_equal(aegis_jwt_verify(token, keys, &policy, now, &jwt, NULL), AEGIS_JWT_OK);
    exp = jwt.exp;
    assert_int_equal(exp, now + 300);
    aegis_jwt_clear(&jwt);

    assert_int_equal(aegis_jwt_verify(token, keys, &policy, exp + 59, &jwt, NULL),
                     AEGIS_JWT_OK);
    aegis_jwt_clear(&jwt);
    assert_int_equal(aegis_jwt_verify(token, keys, &policy, exp + 60, &jwt, NULL),
                     AEGIS_JWT_EXPIRED);
    assert_int_equal(aegis_jwt_verify(token, keys, &policy, now - 71, &jwt, NULL),
                     AEGIS_JWT_NOT_YET);
    assert_int_equal(aegis_jwt_verify(token, keys, &policy, INT64_MAX - 100, &jwt, NULL),
                     AEGIS_JWT_EXPIRED);

    policy.leeway = 0;
    assert_int_equal(aegis_jwt_verify(token, keys, &policy, exp, &jwt, NULL),
                     AEGIS_JWT_EXPIRED);
    assert_int_equal(aegis_jwt_verify(token, keys, &policy, exp - 1, &jwt, NULL),
                     AEGIS_JWT_OK);
    aegis_jwt_clear(&jwt);
    aegis_jwks_free(keys);
}


static void
test_scopes(void **state)
{
    char              text[256];
    size_t            i;
    json_t           *scopes;
    aegis_jwt_t       jwt;
    aegis_str_t       scope;
    aegis_jwt_pos_t   pos;

    static const char *const  cases[][2] = {
        { "'case:read case:write'",          "case:read|case:write|" },
        { "'  a   b '",                      "a|b|" },
        { "''",                              "" },
        { "['a','b c','',7,null,['d'],'e']", "a|b|c|e|" },
        { "[]",                              "" },
        { "{'a':'b'}",                       "" },
        { "null",                            "" }
    };

    for (i = 0; i < AEGIS_UNIT_N(cases); i++) {
        scopes = aegis_unit_json(cases[i][0]);
        memset(&jwt, 0, sizeof(jwt));
        memset(&pos, 0, sizeof(pos));
        jwt.scopes = scopes;
        text[0] = '\0';

        while (aegis_jwt_next_scope(&jwt, &pos, &scope)) {
            snprintf(text + strlen(text), sizeof(text) - strlen(text), "%.*s|",
                     (int) scope.len, scope.data);
        }

        assert_string_equal(text, cases[i][1]);
        json_decref(scopes);
    }

    memset(&jwt, 0, sizeof(jwt));
    memset(&pos, 0, sizeof(pos));
    assert_false(aegis_jwt_next_scope(&jwt, &pos, &scope));
}


static void
test_kid(void **state)
{
    char  kid[AEGIS_JWKS_MAX_KID + 1];

    aegis_jwt_kid(aegis_view(aegis_json_str(case_named("es is accepted"), "token")), kid);
    assert_string_equal(kid, "es-1");
    aegis_jwt_kid(aegis_view(aegis_json_str(case_named("kid of 257 bytes"), "token")), kid);
    assert_string_equal(kid, "");
    aegis_jwt_kid(aegis_view(aegis_json_str(case_named("kid is a number"), "token")), kid);
    assert_string_equal(kid, "");
    aegis_jwt_kid(aegis_view("a.b"), kid);
    assert_string_equal(kid, "");
    aegis_jwt_kid(AEGIS_NO_STR, kid);
    assert_string_equal(kid, "");
}


int
main(void)
{
    int  rc;

    const struct CMUnitTest  tests[] = {
        AEGIS_TEST("each token of the cases is judged with its reason", test_cases),
        AEGIS_TEST("no prefix and no token with a byte changed is accepted", test_near),
        AEGIS_TEST("exp and nbf hold to the second, with and without leeway", test_times),
        AEGIS_TEST("scopes are a string of words or a list", test_scopes),
        AEGIS_TEST("the kid can be told without trusting anything", test_kid)
    };

    data = aegis_jwt_data();
    rc = AEGIS_UNIT_RUN(tests);
    json_decref(data);

    return rc;
}
