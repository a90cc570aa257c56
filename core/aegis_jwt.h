/*
 * aegis_jwt.h: the verdict on a bearer JWT (RFC 7515, 7519, 8725): bytes, keys,
 * policy and the time in, claims or a reason out. Keys come from the key set
 * alone; jwk, jku, x5u and x5c of a header are never looked at.
 */
#ifndef AEGIS_JWT_H
#define AEGIS_JWT_H

#include "aegis_jwks.h"

#define AEGIS_JWT_MAX            8192       /* bytes of a token */
#define AEGIS_JWT_MAX_TENANT     63
#define AEGIS_JWT_MAX_PRINCIPAL  128
#define AEGIS_JWT_MAX_TIME       253402300799   /* the last second of 9999 */

/* Reasons are stable: logs, metrics and tests name them. */
#define AEGIS_JWT_REASONS(X)                                                   \
    X(OK,          "ok",          "")                                          \
    X(MALFORMED,   "malformed",   "The token is not a signed JWT in compact form.") \
    X(TOO_LONG,    "too-long",    "The token is longer than 8192 bytes.")      \
    X(ALGORITHM,   "algorithm",   "The token's algorithm is not allowed.")     \
    X(TYPE,        "type",        "The token is not of type JWT or at+jwt.")   \
    X(CRITICAL,    "critical",    "The token has critical extensions, and none is known.") \
    X(KID_MISSING, "kid-missing", "The token names no key, and there is not exactly one.") \
    X(KID_UNKNOWN, "kid-unknown", "The token's key is not known.")             \
    X(SIGNATURE,   "signature",   "The token's signature is not valid.")       \
    X(CLAIMS,      "claims",      "The token's claims are not valid.")         \
    X(EXPIRED,     "expired",     "The token has expired.")                    \
    X(NOT_YET,     "not-yet",     "The token is not valid yet.")               \
    X(ISSUER,      "issuer",      "The token is of another issuer.")           \
    X(AUDIENCE,    "audience",    "The token is for another audience.")        \
    X(TENANT,      "tenant",      "The token names no valid tenant.")          \
    X(PRINCIPAL,   "principal",   "The token names no valid principal.")       \
    X(INTERNAL,    "internal",    "")

typedef enum {
#define AEGIS_JWT_REASON(id, name, sentence)  AEGIS_JWT_##id,
    AEGIS_JWT_REASONS(AEGIS_JWT_REASON)
#undef AEGIS_JWT_REASON
    AEGIS_N_JWT_REASONS
} aegis_jwt_reason_t;

typedef struct {
    aegis_str_t   issuer;           /* iss is this */
    aegis_str_t   audience;         /* aud is or contains this */
    unsigned      algs;             /* bits 1 << aegis_jwa_t */
    int64_t       leeway;           /* seconds, for exp and nbf */
    const char   *tenant_claim;     /* members of the claims */
    const char   *principal_claim;
    const char   *scope_claim;
} aegis_jwt_policy_t;

typedef struct {
    json_t       *claims;
    aegis_str_t   tenant;           /* borrowed from claims, like the next */
    aegis_str_t   principal;
    const json_t *scopes;           /* a string, an array or NULL */
    int64_t       exp;
} aegis_jwt_t;

const char *aegis_jwt_reason(aegis_jwt_reason_t reason);
const char *aegis_jwt_sentence(aegis_jwt_reason_t reason);

/* AEGIS_JWT_OK and *ret_jwt, or why not; err is then set to UNAUTHORIZED (or
 * INTERNAL) with the reason's sentence. now is seconds since 1970. */
aegis_jwt_reason_t aegis_jwt_verify(aegis_str_t token, const aegis_jwks_t *keys,
    const aegis_jwt_policy_t *policy, int64_t now, aegis_jwt_t *ret_jwt,
    aegis_error_t *err);

/* The signature alone: *ret_payload is malloc'ed, *ret_len its length. */
aegis_jwt_reason_t aegis_jws_verify(aegis_str_t token, const aegis_jwks_t *keys,
    unsigned algs, char **ret_payload, size_t *ret_len);

/* The token's kid as the header says it, copied, "" when it names none or cannot
 * be read: for looking it up again, never for trust. */
void aegis_jwt_kid(aegis_str_t token, char out[AEGIS_JWKS_MAX_KID + 1]);

/* The next scope of scope_claim, split at blanks or taken from the array; pos
 * starts as 0 0. 0: no more. */
typedef struct {
    size_t  item;
    size_t  at;
} aegis_jwt_pos_t;

int aegis_jwt_next_scope(const aegis_jwt_t *jwt, aegis_jwt_pos_t *pos,
    aegis_str_t *ret_scope);

void aegis_jwt_clear(aegis_jwt_t *jwt);

#endif
