/*
 * aegis_jwks.c: a set of public keys. Its invariant: a name and an algorithm
 * lead to one key at most, and a set that contradicts itself, or gives a secret
 * away, is no set.
 */
#include "aegis_jwk.h"

#include <stdlib.h>
#include <string.h>

#include <openssl/err.h>

#include "aegis_json.h"

struct aegis_jwks_s {
    size_t          n;
    size_t          left_out;
    aegis_jwk_t     keys[AEGIS_JWKS_MAX_KEYS];
};


/* The key of the set that has the new one's name. */
static const aegis_jwk_t *
aegis_jwks_twin(const aegis_jwks_t *keys, const aegis_jwk_t *key)
{
    size_t  i;

    for (i = 0; i < keys->n; i++) {
        if (keys->keys[i].alg == key->alg && keys->keys[i].kid && key->kid
            && strcmp(keys->keys[i].kid, key->kid) == 0)
        {
            return &keys->keys[i];
        }
    }

    return NULL;
}


static aegis_code_t
aegis_jwks_fill(aegis_jwks_t *keys, const json_t *list, aegis_error_t *err)
{
    size_t              i;
    json_t             *jwk;
    aegis_jwk_t         key;
    const aegis_jwk_t  *twin;

    for (i = 0; i < json_array_size(list); i++) {
        jwk = json_array_get(list, i);

        if (aegis_jwk_is_secret(jwk)) {
            return aegis_error_set(err, AEGIS_E_SCHEMA,
                "Key %zu is private or symmetric: a published set must hold "
                "public keys only.", i);
        }

        if (!aegis_jwk_read(jwk, &key)) {
            keys->left_out++;
            continue;
        }

        twin = aegis_jwks_twin(keys, &key);

        if (twin == NULL) {
            keys->keys[keys->n++] = key;
            continue;
        }

        if (memcmp(twin->print, key.print, sizeof(key.print)) != 0) {
            aegis_jwk_clear(&key);
            return aegis_error_set(err, AEGIS_E_SCHEMA,
                "Key %zu has the kid of another key of its algorithm.", i);
        }

        aegis_jwk_clear(&key);
    }

    if (keys->n == 0) {
        return aegis_error_set(err, AEGIS_E_SCHEMA,
            "It holds no key that can be used: RSA of %d to %d bits, P-256 or "
            "Ed25519, for signatures.", AEGIS_JWKS_MIN_RSA, AEGIS_JWKS_MAX_RSA);
    }

    return AEGIS_E_OK;
}


aegis_code_t
aegis_jwks_parse(aegis_str_t text, aegis_jwks_t **ret_keys, aegis_error_t *err)
{
    json_t        *json, *list;
    aegis_code_t   code;
    aegis_jwks_t  *keys;

    if (text.len > AEGIS_JWKS_MAX_TEXT) {
        return aegis_error_set(err, AEGIS_E_TOO_LARGE, "It is larger than %d bytes.",
                               AEGIS_JWKS_MAX_TEXT);
    }

    code = aegis_json_parse(text, &json, err);
    if (code != AEGIS_E_OK) {
        return code;
    }

    list = json_object_get(json, "keys");

    if (!json_is_array(list) || json_array_size(list) > AEGIS_JWKS_MAX_KEYS) {
        json_decref(json);
        return aegis_error_set(err, AEGIS_E_SCHEMA,
            "It is no object with an array \"keys\" of at most %d.",
            AEGIS_JWKS_MAX_KEYS);
    }

    keys = calloc(1, sizeof(aegis_jwks_t));
    if (keys == NULL) {
        json_decref(json);
        return aegis_error_set(err, AEGIS_E_INTERNAL, "no memory");
    }

    ERR_set_mark();
    code = aegis_jwks_fill(keys, list, err);
    ERR_pop_to_mark();

    json_decref(json);

    if (code != AEGIS_E_OK) {
        aegis_jwks_free(keys);
        return code;
    }

    *ret_keys = keys;

    return AEGIS_E_OK;
}


void
aegis_jwks_free(aegis_jwks_t *keys)
{
    size_t  i;

    if (keys == NULL) {
        return;
    }

    for (i = 0; i < keys->n; i++) {
        aegis_jwk_clear(&keys->keys[i]);
    }

    free(keys);
}


size_t
aegis_jwks_count(const aegis_jwks_t *keys)
{
    return keys->n;
}


size_t
aegis_jwks_left_out(const aegis_jwks_t *keys)
{
    return keys->left_out;
}


aegis_jwk_search_t
aegis_jwks_find(const aegis_jwks_t *keys, aegis_jwa_t alg, aegis_str_t kid,
    const aegis_jwk_t **ret_key)
{
    size_t              i, n;
    aegis_jwk_search_t  rc;
    const aegis_jwk_t  *key, *found;

    n = 0;
    found = NULL;
    rc = kid.data ? AEGIS_JWK_UNKNOWN : AEGIS_JWK_AMBIGUOUS;

    for (i = 0; i < keys->n; i++) {
        key = &keys->keys[i];

        if (kid.data && (key->kid == NULL || strlen(key->kid) != kid.len
                         || memcmp(key->kid, kid.data, kid.len) != 0))
        {
            continue;
        }

        if (key->alg != alg) {
            rc = kid.data ? AEGIS_JWK_OTHER_ALG : rc;
            continue;
        }

        found = key;
        n++;
    }

    if (n != 1) {
        return rc;
    }

    *ret_key = found;

    return AEGIS_JWK_FOUND;
}
