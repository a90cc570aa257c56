/*
 * aegis_jwk.h: one public key, for aegis_jwks.c alone; others hold a key as the
 * set gives it.
 */
#ifndef AEGIS_JWK_H
#define AEGIS_JWK_H

#include "aegis_hash.h"
#include "aegis_jwks.h"

struct aegis_jwk_s {
    aegis_jwa_t            alg;
    char                  *kid;         /* NULL: it has none */
    struct evp_pkey_st    *pkey;
    unsigned char          print[AEGIS_SHA256_LEN];     /* of what it is */
};

/* Does it hold more than a public key? */
int aegis_jwk_is_secret(const json_t *jwk);

/* 1: taken, 0: not for us. A failed allocation counts as the latter. */
int aegis_jwk_read(const json_t *jwk, aegis_jwk_t *ret_key);

void aegis_jwk_clear(aegis_jwk_t *key);

#endif
