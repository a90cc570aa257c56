/*
 * jws.c: our verifier as a program. `jws` reads lines {"jwks":{..},"jws":".."}
 * and prints for each a line: the reason, or "refused" when the key set is; t/
 * feeds it vectors of others. `jws raw` does so for {"jwks":..,"alg":..,"msg":hex,
 * "sig":hex}. `jws bench <rounds>` prints how many microseconds each token takes.
 */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "aegis_hash.h"
#include "aegis_json.h"
#include "aegis_jwt.h"

#define ALL_ALGS  ((1u << AEGIS_N_JWAS) - 1)


static double
now_us(void)
{
    struct timespec  ts;

    clock_gettime(CLOCK_MONOTONIC, &ts);

    return ts.tv_sec * 1e6 + ts.tv_nsec / 1e3;
}


static aegis_jwt_reason_t
verify(aegis_str_t token, const aegis_jwks_t *keys)
{
    char                *payload;
    size_t               len;
    aegis_jwt_reason_t   reason;

    reason = aegis_jws_verify(token, keys, ALL_ALGS, &payload, &len);
    if (reason == AEGIS_JWT_OK) {
        free(payload);
    }

    return reason;
}


static void
bench(aegis_str_t token, const aegis_jwks_t *keys, int rounds)
{
    int                  i;
    double               start, hashed, done;
    unsigned char        out[AEGIS_SHA256_LEN];
    aegis_jwt_reason_t   reason;

    reason = AEGIS_JWT_INTERNAL;
    start = now_us();

    for (i = 0; i < rounds; i++) {
        aegis_sha256(&token, 1, out);
    }

    hashed = now_us();

    for (i = 0; i < rounds; i++) {
        reason = verify(token, keys);
    }

    done = now_us();

    printf("%s: %zu bytes, sha256 %.2f us, verification %.2f us\n", aegis_jwt_reason(reason),
           token.len, (hashed - start) / rounds, (done - hashed) / rounds);
}


static size_t
unhex(const char *hex, unsigned char **ret_bytes)
{
    size_t          i, n;
    unsigned char  *bytes;

    n = strlen(hex) / 2;
    bytes = malloc(n + 1);

    for (i = 0; bytes && i < n; i++) {
        sscanf(hex + 2 * i, "%2hhx", &bytes[i]);
    }

    *ret_bytes = bytes;

    return bytes ? n : 0;
}


static void
raw(const json_t *json, const aegis_jwks_t *keys)
{
    int                  ok;
    size_t               n, m;
    aegis_str_t          alg;
    unsigned char       *msg, *sig;
    const aegis_jwk_t   *key;

    alg.data = aegis_json_str(json, "alg");
    alg.len = strlen(alg.data);
    n = unhex(aegis_json_str(json, "msg"), &msg);
    m = unhex(aegis_json_str(json, "sig"), &sig);

    ok = aegis_jwks_find(keys, aegis_jwa_by_name(alg), AEGIS_NO_STR, &key)
         == AEGIS_JWK_FOUND
         && aegis_jwk_verify(key, (aegis_str_t) { n, (char *) msg }, sig, m);

    printf("%s\n", ok ? "ok" : "signature");

    free(msg);
    free(sig);
}


static void
one(const char *line, const char *mode, int rounds)
{
    char          *text;
    json_t        *json;
    aegis_str_t    token;
    aegis_jwks_t  *keys;

    json = json_loads(line, 0, NULL);
    text = json_dumps(json_object_get(json, "jwks"), 0);
    token.data = aegis_json_str(json, "jws");
    token.len = strlen(token.data);

    if (text == NULL || aegis_jwks_parse(aegis_view(text), &keys, NULL)
                        != AEGIS_E_OK)
    {
        printf("refused\n");

    } else {
        if (rounds) {
            bench(token, keys, rounds);

        } else if (strcmp(mode, "raw") == 0) {
            raw(json, keys);

        } else {
            printf("%s\n", aegis_jwt_reason(verify(token, keys)));
        }
        aegis_jwks_free(keys);
    }

    free(text);
    json_decref(json);
}


int
main(int argc, char **argv)
{
    int      rounds;
    char    *line;
    size_t   size;

    rounds = argc > 2 && strcmp(argv[1], "bench") == 0 ? atoi(argv[2]) : 0;
    line = NULL;
    size = 0;

    while (getline(&line, &size, stdin) > 0) {
        one(line, argc > 1 ? argv[1] : "", rounds);
    }

    free(line);

    return 0;
}
