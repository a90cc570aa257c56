/*
 * aegis_jwks.h: a set of public keys (JWK Set, RFC 7517, 7518, 8037) and the
 * check of one signature with one of them. A key is good for exactly one
 * algorithm, which follows from its type; a token's header cannot change it.
 */
#ifndef AEGIS_JWKS_H
#define AEGIS_JWKS_H

#include "aegis_error.h"

#define AEGIS_JWKS_MAX_TEXT  (1024 * 1024)
#define AEGIS_JWKS_MAX_KEYS  64
#define AEGIS_JWKS_MAX_KID   256
#define AEGIS_JWKS_MIN_RSA   2048       /* bits */
#define AEGIS_JWKS_MAX_RSA   8192

typedef enum {
    AEGIS_JWA_RS256,
    AEGIS_JWA_ES256,
    AEGIS_JWA_EDDSA,
    AEGIS_N_JWAS
} aegis_jwa_t;

typedef enum {
    AEGIS_JWK_FOUND,
    AEGIS_JWK_UNKNOWN,          /* no key of this kid */
    AEGIS_JWK_OTHER_ALG,        /* the kid is there, for another algorithm */
    AEGIS_JWK_AMBIGUOUS         /* no kid, and not exactly one key to choose */
} aegis_jwk_search_t;

typedef struct aegis_jwk_s   aegis_jwk_t;
typedef struct aegis_jwks_s  aegis_jwks_t;

const char *aegis_jwa_name(aegis_jwa_t alg);

/* AEGIS_N_JWAS when it is none of ours. */
aegis_jwa_t aegis_jwa_by_name(aegis_str_t name);

/*
 * Parse {"keys":[..]}. Keys that we cannot use (another type, curve, use or
 * algorithm, too small, malformed) are left out and counted. The whole set is
 * refused when it holds a secret (a private or symmetric key: whoever reads the
 * set could sign), when one kid names two keys of one algorithm, when it is too
 * large, and when nothing usable is left.
 */
aegis_code_t aegis_jwks_parse(aegis_str_t text, aegis_jwks_t **ret_keys,
    aegis_error_t *err);

void aegis_jwks_free(aegis_jwks_t *keys);

size_t aegis_jwks_count(const aegis_jwks_t *keys);
size_t aegis_jwks_left_out(const aegis_jwks_t *keys);

/* The key of this algorithm and kid; kid.data NULL: the only key of this
 * algorithm. */
aegis_jwk_search_t aegis_jwks_find(const aegis_jwks_t *keys, aegis_jwa_t alg,
    aegis_str_t kid, const aegis_jwk_t **ret_key);

/* 1: sig, as JWS has it (RFC 7518: ES256 is r || s), is the key's over input. */
int aegis_jwk_verify(const aegis_jwk_t *key, aegis_str_t input,
    const unsigned char *sig, size_t len);

#endif
