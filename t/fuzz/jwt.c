/*
 * jwt.c: fuzzes tokens three ways, chosen by the first byte: as a whole, as a
 * header before good claims, and as claims that are then really signed (with the
 * published key of RFC 8037), so that what lies behind the signature is reached
 * too. A token is only accepted when it was signed, and says who, for whom and
 * until when.
 */
#include "aegis_fuzz.h"

#include <openssl/err.h>
#include <openssl/evp.h>

#include "aegis_buf.h"
#include "aegis_jwt.h"

#define NOW  1795640000

static const unsigned char  secret[32] = {
    0x9d, 0x61, 0xb1, 0x9d, 0xef, 0xfd, 0x5a, 0x60, 0xba, 0x84, 0x4a, 0xf4, 0x92, 0xec, 0x2c, 0xc4,
    0x44, 0x49, 0xc5, 0x69, 0x7b, 0x32, 0x69, 0x19, 0x70, 0x3b, 0xac, 0x03, 0x1c, 0xae, 0x7f, 0x60
};

static const char  set[] =
    "{\"keys\":[{\"kty\":\"OKP\",\"crv\":\"Ed25519\",\"kid\":\"a\","
    "\"x\":\"11qYAYKxCrfVS_7TyWQHOg7hcvPapiMlrwIaaPcHURo\"},"
    "{\"kty\":\"EC\",\"crv\":\"P-256\",\"kid\":\"b\","
    "\"x\":\"f83OJ3D2xF1Bg8vub9tLe1gHMzV76e8Tus9uPHvRVEU\","
    "\"y\":\"x_FEzRu9m36HLN_tue659LNpXW6pCyStikYjKIWI5a0\"}]}";

static const aegis_jwt_policy_t  policy = {
    { 3, "iss" }, { 3, "aud" }, (1u << AEGIS_N_JWAS) - 1, 60, "tenant", "sub", "scope"
};


static void
b64u(aegis_buf_t *buf, const unsigned char *p, size_t n)
{
    size_t    i;
    uint32_t  acc;

    static const char  digits[] =
        "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_";

    for (i = 0; i < n; i += 3) {
        acc = p[i] << 16 | (i + 1 < n ? p[i + 1] << 8 : 0) | (i + 2 < n ? p[i + 2] : 0);
        aegis_buf_add(buf, &digits[acc >> 18], 1);
        aegis_buf_add(buf, &digits[acc >> 12 & 63], 1);

        if (i + 1 < n) {
            aegis_buf_add(buf, &digits[acc >> 6 & 63], 1);
        }

        if (i + 2 < n) {
            aegis_buf_add(buf, &digits[acc & 63], 1);
        }
    }
}


/* header.claims with a signature of the key a, malloc'ed. */
static char *
signed_token(aegis_str_t header, aegis_str_t claims)
{
    size_t          n;
    EVP_MD_CTX     *ctx;
    aegis_buf_t     buf = AEGIS_BUF_INIT;
    unsigned char   sig[64];

    static EVP_PKEY  *key;

    b64u(&buf, (const unsigned char *) header.data, header.len);
    aegis_buf_puts(&buf, ".");
    b64u(&buf, (const unsigned char *) claims.data, claims.len);

    if (key == NULL) {
        key = EVP_PKEY_new_raw_private_key(EVP_PKEY_ED25519, NULL, secret, sizeof(secret));
    }

    ctx = EVP_MD_CTX_new();
    n = sizeof(sig);
    aegis_fuzz_must(key && ctx && EVP_DigestSignInit(ctx, NULL, NULL, NULL, key) == 1
                    && EVP_DigestSign(ctx, sig, &n, (unsigned char *) buf.data, buf.len) == 1);
    EVP_MD_CTX_free(ctx);

    aegis_buf_puts(&buf, ".");
    b64u(&buf, sig, n);

    return aegis_buf_take(&buf, NULL);
}


static void
accepted(aegis_jwt_t *jwt)
{
    aegis_str_t       scope;
    aegis_jwt_pos_t   pos = { 0, 0 };

    aegis_fuzz_must(strcmp(json_string_value(json_object_get(jwt->claims, "iss")), "iss") == 0);
    aegis_fuzz_must(json_object_get(jwt->claims, "aud") != NULL);
    aegis_fuzz_must(jwt->exp > NOW - 60 && jwt->exp <= AEGIS_JWT_MAX_TIME);
    aegis_fuzz_must(jwt->tenant.len && jwt->tenant.len <= AEGIS_JWT_MAX_TENANT);
    aegis_fuzz_must(jwt->principal.len && jwt->principal.len <= AEGIS_JWT_MAX_PRINCIPAL);

    while (aegis_jwt_next_scope(jwt, &pos, &scope)) {
        aegis_fuzz_must(scope.len && memchr(scope.data, ' ', scope.len) == NULL);
    }

    aegis_jwt_clear(jwt);
}


int
LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    char                 kid[AEGIS_JWKS_MAX_KID + 1], *made;
    aegis_str_t          in, token;
    aegis_jwt_t          jwt;
    aegis_error_t        err = AEGIS_ERROR_INIT;
    aegis_jwt_reason_t   reason;

    /* made once: reading a key costs more than all the rest */
    static aegis_jwks_t  *keys;

    if (size == 0) {
        return 0;
    }

    in = (aegis_str_t) { size - 1, (const char *) data + 1 };
    made = data[0] == 'h' ? signed_token(in, aegis_str("{\"iss\":\"iss\",\"aud\":\"aud\","
               "\"exp\":1795640300,\"sub\":\"s\",\"tenant\":\"t\"}"))
           : data[0] == 'c' ? signed_token(aegis_str("{\"alg\":\"EdDSA\",\"kid\":\"a\"}"), in)
           : NULL;
    token = made ? aegis_view(made) : in;

    aegis_fuzz_must(keys || aegis_jwks_parse(aegis_str(set), &keys, NULL) == AEGIS_E_OK);

    aegis_jwt_kid(token, kid);
    reason = aegis_jwt_verify(token, keys, &policy, NOW, &jwt, &err);

    if (reason == AEGIS_JWT_OK) {
        accepted(&jwt);

    } else {
        aegis_fuzz_must(aegis_jwt_reason(reason)[0] && err.detail[0]);
        /* what we signed with the header that names our key has a good signature */
        aegis_fuzz_must(data[0] != 'c' || reason != AEGIS_JWT_SIGNATURE);
    }

    aegis_fuzz_must(ERR_peek_error() == 0);
    aegis_error_clear(&err);
    free(made);

    return 0;
}
