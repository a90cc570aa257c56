/*
 * jwks.c: fuzzes key sets. A set that gets through is within its limits, each
 * look-up ends, and no key accepts a signature that nobody made.
 */
#include "aegis_fuzz.h"

#include <openssl/err.h>

#include "aegis_jwks.h"


static void
ask(const aegis_jwks_t *keys, aegis_str_t kid)
{
    size_t               len;
    unsigned             alg;
    unsigned char        sig[256];
    const aegis_jwk_t   *key;

    memset(sig, 0x5a, sizeof(sig));

    for (alg = 0; alg < AEGIS_N_JWAS; alg++) {
        if (aegis_jwks_find(keys, alg, kid, &key) != AEGIS_JWK_FOUND) {
            continue;
        }

        len = alg == AEGIS_JWA_RS256 ? sizeof(sig) : 64;
        aegis_fuzz_must(!aegis_jwk_verify(key, aegis_str("nobody signed this"), sig, len));
    }
}


int
LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    aegis_jwks_t   *keys;
    aegis_error_t   err = AEGIS_ERROR_INIT;

    if (aegis_jwks_parse((aegis_str_t) { size, (const char *) data }, &keys, &err)
        == AEGIS_E_OK)
    {
        aegis_fuzz_must(aegis_jwks_count(keys) > 0);
        aegis_fuzz_must(aegis_jwks_count(keys) + aegis_jwks_left_out(keys)
                        <= AEGIS_JWKS_MAX_KEYS);
        ask(keys, AEGIS_NO_STR);
        ask(keys, aegis_str("a"));
        ask(keys, aegis_str("es-1"));
        aegis_jwks_free(keys);

    } else {
        aegis_fuzz_must(err.detail[0]);
    }

    aegis_fuzz_must(ERR_peek_error() == 0);
    aegis_error_clear(&err);

    return 0;
}
