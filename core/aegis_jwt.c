/*
 * aegis_jwt.c: a token is taken apart, its signature checked, and only then
 * its claims are read. Its invariant: nothing of an unsigned claim is parsed,
 * and a header decides no more than which key of ours is asked.
 */
#include "aegis_jwt.h"

#include <stdlib.h>
#include <string.h>
#include <strings.h>

#include "aegis_access.h"
#include "aegis_b64url.h"
#include "aegis_json.h"

/* The three parts as they were sent, and the first two with their dot. */
typedef struct {
    aegis_str_t   header;
    aegis_str_t   payload;
    aegis_str_t   signature;
    aegis_str_t   input;
} aegis_jws_t;

static const struct {
    const char  *name;
    const char  *sentence;
} aegis_jwt_reasons[] = {
#define AEGIS_JWT_REASON(id, name, sentence)  { name, sentence },
    AEGIS_JWT_REASONS(AEGIS_JWT_REASON)
#undef AEGIS_JWT_REASON
};


const char *
aegis_jwt_reason(aegis_jwt_reason_t reason)
{
    return aegis_jwt_reasons[reason < AEGIS_N_JWT_REASONS ? reason
                             : AEGIS_JWT_INTERNAL].name;
}


const char *
aegis_jwt_sentence(aegis_jwt_reason_t reason)
{
    return aegis_jwt_reasons[reason < AEGIS_N_JWT_REASONS ? reason
                             : AEGIS_JWT_INTERNAL].sentence;
}


/* 1: three parts; header and signature are not empty. */
static int
aegis_jws_split(aegis_str_t token, aegis_jws_t *ret_jws)
{
    const char  *one, *two, *end;

    end = token.data + token.len;
    one = token.data ? memchr(token.data, '.', token.len) : NULL;
    two = one ? memchr(one + 1, '.', end - one - 1) : NULL;

    if (two == NULL || memchr(two + 1, '.', end - two - 1)) {
        return 0;
    }

    ret_jws->header = (aegis_str_t) { one - token.data, token.data };
    ret_jws->payload = (aegis_str_t) { two - one - 1, one + 1 };
    ret_jws->signature = (aegis_str_t) { end - two - 1, two + 1 };
    ret_jws->input = (aegis_str_t) { two - token.data, token.data };

    return ret_jws->header.len && ret_jws->signature.len;
}


static aegis_jwt_reason_t
aegis_jws_object(const unsigned char *text, size_t len, json_t **ret_json)
{
    json_t         *json;
    aegis_code_t    code;
    aegis_error_t   err = AEGIS_ERROR_INIT;

    code = aegis_json_parse((aegis_str_t) { len, (const char *) text }, &json, &err);
    aegis_error_clear(&err);

    if (code != AEGIS_E_OK) {
        return code == AEGIS_E_INTERNAL ? AEGIS_JWT_INTERNAL : AEGIS_JWT_MALFORMED;
    }

    if (!json_is_object(json)) {
        json_decref(json);
        return AEGIS_JWT_MALFORMED;
    }

    *ret_json = json;

    return AEGIS_JWT_OK;
}


/* typ is optional; other types (of logout or DPoP tokens) are for other uses. */
static int
aegis_jws_is_type(const json_t *header)
{
    size_t       i;
    json_t      *typ;

    static const char *const  types[] = {
        "JWT", "at+jwt", "application/jwt", "application/at+jwt"
    };

    typ = json_object_get(header, "typ");

    if (typ == NULL) {
        return 1;
    }

    for (i = 0; i < sizeof(types) / sizeof(types[0]); i++) {
        if (json_is_string(typ) && strcasecmp(json_string_value(typ), types[i]) == 0) {
            return 1;
        }
    }

    return 0;
}


/* Which key of ours the header asks for. */
static aegis_jwt_reason_t
aegis_jws_key(const json_t *header, const aegis_jwks_t *keys, unsigned algs,
    const aegis_jwk_t **ret_key)
{
    json_t              *name, *id;
    aegis_jwa_t          alg;
    aegis_str_t          kid;

    name = json_object_get(header, "alg");
    id = json_object_get(header, "kid");

    if (!json_is_string(name)) {
        return AEGIS_JWT_ALGORITHM;
    }

    alg = aegis_jwa_by_name((aegis_str_t) { json_string_length(name),
                                            json_string_value(name) });

    if (alg == AEGIS_N_JWAS || !(algs & 1u << alg)) {
        return AEGIS_JWT_ALGORITHM;
    }

    /* b64 would say that the payload is not base64url, and is critical anyway */
    if (json_object_get(header, "crit") || json_object_get(header, "b64")) {
        return AEGIS_JWT_CRITICAL;
    }

    if (!aegis_jws_is_type(header)) {
        return AEGIS_JWT_TYPE;
    }

    if (id && (!json_is_string(id) || json_string_length(id) > AEGIS_JWKS_MAX_KID)) {
        return AEGIS_JWT_MALFORMED;
    }

    kid = AEGIS_NO_STR;

    if (id) {
        kid = (aegis_str_t) { json_string_length(id), json_string_value(id) };
    }

    switch (aegis_jwks_find(keys, alg, kid, ret_key)) {

    case AEGIS_JWK_FOUND:
        return AEGIS_JWT_OK;

    case AEGIS_JWK_UNKNOWN:
        return AEGIS_JWT_KID_UNKNOWN;

    case AEGIS_JWK_OTHER_ALG:
        return AEGIS_JWT_ALGORITHM;

    default:
        return AEGIS_JWT_KID_MISSING;
    }
}


static aegis_jwt_reason_t
aegis_jws_check(const aegis_jws_t *jws, const aegis_jwks_t *keys, unsigned algs,
    unsigned char *buf, size_t size)
{
    size_t               n;
    json_t              *header;
    const aegis_jwk_t   *key;
    aegis_jwt_reason_t   reason;

    if (!aegis_b64url_decode(jws->header, buf, size, &n)) {
        return AEGIS_JWT_MALFORMED;
    }

    reason = aegis_jws_object(buf, n, &header);
    if (reason != AEGIS_JWT_OK) {
        return reason;
    }

    reason = aegis_jws_key(header, keys, algs, &key);
    json_decref(header);

    if (reason != AEGIS_JWT_OK) {
        return reason;
    }

    if (!aegis_b64url_decode(jws->signature, buf, size, &n)) {
        return AEGIS_JWT_MALFORMED;
    }

    return aegis_jwk_verify(key, jws->input, buf, n) ? AEGIS_JWT_OK
                                                     : AEGIS_JWT_SIGNATURE;
}


aegis_jwt_reason_t
aegis_jws_verify(aegis_str_t token, const aegis_jwks_t *keys, unsigned algs,
    char **ret_payload, size_t *ret_len)
{
    size_t               size, n;
    aegis_jws_t          jws;
    unsigned char       *buf;
    aegis_jwt_reason_t   reason;

    if (token.len > AEGIS_JWT_MAX) {
        return AEGIS_JWT_TOO_LONG;
    }

    if (!aegis_jws_split(token, &jws)) {
        return AEGIS_JWT_MALFORMED;
    }

    size = AEGIS_B64URL_BYTES(token.len);
    buf = malloc(size);
    if (buf == NULL) {
        return AEGIS_JWT_INTERNAL;
    }

    reason = aegis_jws_check(&jws, keys, algs, buf, size);

    if (reason == AEGIS_JWT_OK && !aegis_b64url_decode(jws.payload, buf, size, &n)) {
        reason = AEGIS_JWT_MALFORMED;
    }

    if (reason != AEGIS_JWT_OK) {
        free(buf);
        return reason;
    }

    *ret_payload = (char *) buf;
    *ret_len = n;

    return AEGIS_JWT_OK;
}


void
aegis_jwt_kid(aegis_str_t token, char out[AEGIS_JWKS_MAX_KID + 1])
{
    size_t          n;
    json_t         *header, *kid;
    aegis_jws_t     jws;
    unsigned char   buf[AEGIS_B64URL_BYTES(AEGIS_JWT_MAX)];

    out[0] = '\0';

    if (token.len > AEGIS_JWT_MAX || !aegis_jws_split(token, &jws)
        || !aegis_b64url_decode(jws.header, buf, sizeof(buf), &n)
        || aegis_jws_object(buf, n, &header) != AEGIS_JWT_OK)
    {
        return;
    }

    kid = json_object_get(header, "kid");

    if (json_is_string(kid) && json_string_length(kid) <= AEGIS_JWKS_MAX_KID) {
        memcpy(out, json_string_value(kid), json_string_length(kid) + 1);
    }

    json_decref(header);
}


/* A NumericDate, rounded down: a finite number of the years 1970 to 9999. */
static int
aegis_jwt_time(const json_t *claims, const char *name, int64_t *ret_s)
{
    double   real;
    json_t  *value;
    int64_t  s;

    value = json_object_get(claims, name);

    if (json_is_integer(value)) {
        s = json_integer_value(value);

    } else if (json_is_real(value)) {
        real = json_real_value(value);

        if (!(real >= 0 && real <= (double) AEGIS_JWT_MAX_TIME)) {
            return 0;
        }

        s = (int64_t) real;

    } else {
        return 0;
    }

    if (s < 0 || s > AEGIS_JWT_MAX_TIME) {
        return 0;
    }

    *ret_s = s;

    return 1;
}


static int
aegis_jwt_equal(const json_t *value, aegis_str_t s)
{
    return json_is_string(value) && json_string_length(value) == s.len
           && memcmp(json_string_value(value), s.data, s.len) == 0;
}


/* aud is a string, or an array of nothing but strings. */
static int
aegis_jwt_is_for(const json_t *aud, aegis_str_t audience)
{
    int      found;
    size_t   i;
    json_t  *item;

    if (!json_is_array(aud)) {
        return aegis_jwt_equal(aud, audience);
    }

    found = 0;

    for (i = 0; i < json_array_size(aud); i++) {
        item = json_array_get(aud, i);

        if (!json_is_string(item)) {
            return 0;
        }

        found |= aegis_jwt_equal(item, audience);
    }

    return found;
}


/* The rule of the key file: printable ASCII without blanks. */
static int
aegis_jwt_name(const json_t *claims, const char *claim, size_t max,
    aegis_str_t *ret_name)
{
    size_t        i, n;
    json_t       *value;
    const char   *s;

    value = json_object_get(claims, claim);

    if (!json_is_string(value)) {
        return 0;
    }

    s = json_string_value(value);
    n = json_string_length(value);

    for (i = 0; i < n; i++) {
        if (s[i] <= ' ' || s[i] > '~') {
            return 0;
        }
    }

    if (n == 0 || n > max) {
        return 0;
    }

    *ret_name = (aegis_str_t) { n, s };

    return 1;
}


static aegis_jwt_reason_t
aegis_jwt_check(const aegis_jwt_policy_t *policy, int64_t now, aegis_jwt_t *jwt)
{
    int64_t  nbf;

    if (!aegis_jwt_equal(json_object_get(jwt->claims, "iss"), policy->issuer)) {
        return AEGIS_JWT_ISSUER;
    }

    if (!aegis_jwt_is_for(json_object_get(jwt->claims, "aud"), policy->audience)) {
        return AEGIS_JWT_AUDIENCE;
    }

    nbf = 0;

    if (!aegis_jwt_time(jwt->claims, "exp", &jwt->exp)
        || (json_object_get(jwt->claims, "nbf")
            && !aegis_jwt_time(jwt->claims, "nbf", &nbf)))
    {
        return AEGIS_JWT_CLAIMS;
    }

    if (now - policy->leeway >= jwt->exp) {
        return AEGIS_JWT_EXPIRED;
    }

    if (now + policy->leeway < nbf) {
        return AEGIS_JWT_NOT_YET;
    }

    if (!aegis_jwt_name(jwt->claims, policy->tenant_claim, AEGIS_JWT_MAX_TENANT,
                        &jwt->tenant))
    {
        return AEGIS_JWT_TENANT;
    }

    if (!aegis_jwt_name(jwt->claims, policy->principal_claim,
                        AEGIS_JWT_MAX_PRINCIPAL, &jwt->principal)
        || aegis_principal_reserved(jwt->principal))
    {
        return AEGIS_JWT_PRINCIPAL;
    }

    jwt->scopes = json_object_get(jwt->claims, policy->scope_claim);

    if (jwt->scopes && !json_is_string(jwt->scopes) && !json_is_array(jwt->scopes)) {
        return AEGIS_JWT_CLAIMS;
    }

    return AEGIS_JWT_OK;
}


aegis_jwt_reason_t
aegis_jwt_verify(aegis_str_t token, const aegis_jwks_t *keys,
    const aegis_jwt_policy_t *policy, int64_t now, aegis_jwt_t *ret_jwt,
    aegis_error_t *err)
{
    char                *payload;
    size_t               len;
    aegis_jwt_t          jwt = { NULL, AEGIS_NO_STR, AEGIS_NO_STR, NULL, 0 };
    aegis_jwt_reason_t   reason;

    payload = NULL;
    reason = aegis_jws_verify(token, keys, policy->algs, &payload, &len);

    if (reason == AEGIS_JWT_OK) {
        reason = aegis_jws_object((unsigned char *) payload, len, &jwt.claims);
        reason = reason == AEGIS_JWT_MALFORMED ? AEGIS_JWT_CLAIMS : reason;
        free(payload);
    }

    if (reason == AEGIS_JWT_OK) {
        reason = aegis_jwt_check(policy, now, &jwt);
    }

    if (reason != AEGIS_JWT_OK) {
        json_decref(jwt.claims);
        aegis_error_set(err, reason == AEGIS_JWT_INTERNAL ? AEGIS_E_INTERNAL
                             : AEGIS_E_UNAUTHORIZED,
                        "%s", aegis_jwt_reasons[reason].sentence);
        return reason;
    }

    *ret_jwt = jwt;

    return AEGIS_JWT_OK;
}


int
aegis_jwt_next_scope(const aegis_jwt_t *jwt, aegis_jwt_pos_t *pos,
    aegis_str_t *ret_scope)
{
    size_t        len, n;
    const char   *s;
    const json_t *item;

    for ( ;; ) {
        item = json_is_array(jwt->scopes) ? json_array_get(jwt->scopes, pos->item)
               : pos->item == 0 ? jwt->scopes : NULL;

        if (item == NULL) {
            return 0;
        }

        s = json_is_string(item) ? json_string_value(item) : "";
        len = strlen(s);

        while (pos->at < len && s[pos->at] == ' ') {
            pos->at++;
        }

        n = strcspn(s + pos->at, " ");

        if (n) {
            *ret_scope = (aegis_str_t) { n, s + pos->at };
            pos->at += n;
            return 1;
        }

        pos->item++;
        pos->at = 0;
    }
}


void
aegis_jwt_clear(aegis_jwt_t *jwt)
{
    json_decref(jwt->claims);

    *jwt = (aegis_jwt_t) { NULL, AEGIS_NO_STR, AEGIS_NO_STR, NULL, 0 };
}
