/*
 * aegis_jwk.c: a public key out of JSON, and libcrypto's verdict on a signature.
 * Its invariant: a key that was read was checked (size, curve, point, use), and
 * OpenSSL's error queue is left as it was found, because nginx takes what lies
 * in it for its own.
 */
#include "aegis_jwk.h"

#include <stdlib.h>
#include <string.h>

#include <openssl/bn.h>
#include <openssl/core_names.h>
#include <openssl/ec.h>
#include <openssl/ecdsa.h>
#include <openssl/err.h>
#include <openssl/evp.h>
#include <openssl/param_build.h>

#include "aegis_b64url.h"
#include "aegis_json.h"

#define AEGIS_JWK_P256      32          /* bytes of a coordinate, of r and of s */
#define AEGIS_JWK_ED25519   32
#define AEGIS_JWK_MAX_E     8
#define AEGIS_JWK_MAX_DER   72          /* of an ECDSA signature on P-256 */

static const char *const  aegis_jwa_names[AEGIS_N_JWAS] = {
    "RS256", "ES256", "EdDSA"
};


const char *
aegis_jwa_name(aegis_jwa_t alg)
{
    return alg < AEGIS_N_JWAS ? aegis_jwa_names[alg] : "";
}


aegis_jwa_t
aegis_jwa_by_name(aegis_str_t name)
{
    unsigned  i;

    for (i = 0; i < AEGIS_N_JWAS; i++) {
        if (name.data && name.len == strlen(aegis_jwa_names[i])
            && memcmp(name.data, aegis_jwa_names[i], name.len) == 0)
        {
            break;
        }
    }

    return i;
}


/* A member in base64url as bytes; 0 when it is not there, or not of min to max
 * of them. */
static size_t
aegis_jwk_bytes(const json_t *jwk, const char *name, unsigned char *out,
    size_t min, size_t max)
{
    size_t        n;
    aegis_str_t   text;
    json_t       *value;

    value = json_object_get(jwk, name);

    if (!json_is_string(value)) {
        return 0;
    }

    text.data = json_string_value(value);
    text.len = json_string_length(value);

    return aegis_b64url_decode(text, out, max, &n) && n >= min ? n : 0;
}


static EVP_PKEY *
aegis_jwk_make(const char *type, OSSL_PARAM_BLD *bld)
{
    EVP_PKEY      *pkey;
    OSSL_PARAM    *params;
    EVP_PKEY_CTX  *ctx;

    pkey = NULL;
    params = OSSL_PARAM_BLD_to_param(bld);
    ctx = EVP_PKEY_CTX_new_from_name(NULL, type, NULL);

    if (params == NULL || ctx == NULL || EVP_PKEY_fromdata_init(ctx) != 1
        || EVP_PKEY_fromdata(ctx, &pkey, EVP_PKEY_PUBLIC_KEY, params) != 1)
    {
        pkey = NULL;
    }

    EVP_PKEY_CTX_free(ctx);
    OSSL_PARAM_free(params);

    return pkey;
}


/*
 * Keys of a smart card library that made guessable primes (CVE-2017-15361): n
 * is then a power of 65537 modulo each of these, which a good key is by chance
 * once in 2^27.
 */
static int
aegis_jwk_is_roca(const BIGNUM *n)
{
    size_t         i;
    unsigned long  left, power;

    static const unsigned char  primes[] = {
        11, 13, 17, 19, 37, 53, 61, 71, 73, 79, 97, 103, 107, 109, 127, 151, 157
    };

    for (i = 0; i < sizeof(primes); i++) {
        left = BN_mod_word(n, primes[i]);

        for (power = 65537 % primes[i]; power != left; power = power * 65537 % primes[i]) {
            if (power == 1) {
                return 0;
            }
        }
    }

    return 1;
}


static EVP_PKEY *
aegis_jwk_rsa(const json_t *jwk, OSSL_PARAM_BLD *bld)
{
    size_t          n, m;
    BIGNUM         *bn, *be;
    EVP_PKEY       *pkey;
    unsigned char   mod[AEGIS_JWKS_MAX_RSA / 8], exp[AEGIS_JWK_MAX_E];

    n = aegis_jwk_bytes(jwk, "n", mod, AEGIS_JWKS_MIN_RSA / 8, sizeof(mod));
    m = aegis_jwk_bytes(jwk, "e", exp, 1, sizeof(exp));

    /* Base64urlUInt has no leading zero; both are odd, and e is not 1 */
    if (n == 0 || m == 0 || mod[0] == 0 || exp[0] == 0
        || (mod[n - 1] & 1) == 0 || (exp[m - 1] & 1) == 0
        || (m == 1 && exp[0] == 1))
    {
        return NULL;
    }

    bn = BN_bin2bn(mod, (int) n, NULL);
    be = BN_bin2bn(exp, (int) m, NULL);
    pkey = NULL;

    if (bn && be && BN_num_bits(bn) >= AEGIS_JWKS_MIN_RSA && !aegis_jwk_is_roca(bn)
        && OSSL_PARAM_BLD_push_BN(bld, OSSL_PKEY_PARAM_RSA_N, bn) == 1
        && OSSL_PARAM_BLD_push_BN(bld, OSSL_PKEY_PARAM_RSA_E, be) == 1)
    {
        pkey = aegis_jwk_make("RSA", bld);
    }

    BN_free(bn);
    BN_free(be);

    return pkey;
}


static EVP_PKEY *
aegis_jwk_p256(const json_t *jwk, OSSL_PARAM_BLD *bld)
{
    int             ok;
    EVP_PKEY       *pkey;
    EVP_PKEY_CTX   *ctx;
    unsigned char   point[1 + 2 * AEGIS_JWK_P256];

    point[0] = POINT_CONVERSION_UNCOMPRESSED;

    if (strcmp(aegis_json_str(jwk, "crv"), "P-256") != 0
        || aegis_jwk_bytes(jwk, "x", point + 1, AEGIS_JWK_P256, AEGIS_JWK_P256) == 0
        || aegis_jwk_bytes(jwk, "y", point + 1 + AEGIS_JWK_P256, AEGIS_JWK_P256,
                           AEGIS_JWK_P256) == 0
        || OSSL_PARAM_BLD_push_utf8_string(bld, OSSL_PKEY_PARAM_GROUP_NAME,
                                           "prime256v1", 0) != 1
        || OSSL_PARAM_BLD_push_octet_string(bld, OSSL_PKEY_PARAM_PUB_KEY, point,
                                            sizeof(point)) != 1)
    {
        return NULL;
    }

    pkey = aegis_jwk_make("EC", bld);
    if (pkey == NULL) {
        return NULL;
    }

    /* on the curve, and not the point at infinity */
    ctx = EVP_PKEY_CTX_new_from_pkey(NULL, pkey, NULL);
    ok = ctx && EVP_PKEY_public_check(ctx) == 1;
    EVP_PKEY_CTX_free(ctx);

    if (!ok) {
        EVP_PKEY_free(pkey);
        return NULL;
    }

    return pkey;
}


static EVP_PKEY *
aegis_jwk_ed25519(const json_t *jwk, OSSL_PARAM_BLD *bld)
{
    unsigned char  x[AEGIS_JWK_ED25519];

    if (strcmp(aegis_json_str(jwk, "crv"), "Ed25519") != 0
        || aegis_jwk_bytes(jwk, "x", x, sizeof(x), sizeof(x)) == 0
        || OSSL_PARAM_BLD_push_octet_string(bld, OSSL_PKEY_PARAM_PUB_KEY, x,
                                            sizeof(x)) != 1)
    {
        return NULL;
    }

    return aegis_jwk_make("ED25519", bld);
}


static const struct {
    const char   *kty;
    aegis_jwa_t   alg;
    EVP_PKEY    *(*make)(const json_t *jwk, OSSL_PARAM_BLD *bld);
} aegis_jwk_types[] = {
    { "RSA", AEGIS_JWA_RS256, aegis_jwk_rsa },
    { "EC",  AEGIS_JWA_ES256, aegis_jwk_p256 },
    { "OKP", AEGIS_JWA_EDDSA, aegis_jwk_ed25519 }
};

#define AEGIS_JWK_N_TYPES  (sizeof(aegis_jwk_types) / sizeof(aegis_jwk_types[0]))


/* use, key_ops and alg, each of which may be absent, allow it to verify. */
static int
aegis_jwk_allowed(const json_t *jwk, aegis_jwa_t alg)
{
    size_t        i;
    const char   *s;
    json_t       *use, *ops, *name;

    use = json_object_get(jwk, "use");
    ops = json_object_get(jwk, "key_ops");
    name = json_object_get(jwk, "alg");

    if (use && strcmp(aegis_json_str(jwk, "use"), "sig") != 0) {
        return 0;
    }

    if (name && strcmp(aegis_json_str(jwk, "alg"), aegis_jwa_names[alg]) != 0) {
        return 0;
    }

    if (ops == NULL) {
        return 1;
    }

    for (i = 0; i < json_array_size(ops); i++) {
        s = json_string_value(json_array_get(ops, i));

        if (s && strcmp(s, "verify") == 0) {
            return 1;
        }
    }

    return 0;
}


int
aegis_jwk_is_secret(const json_t *jwk)
{
    size_t  i;

    static const char *const  members[] = { "d", "p", "q", "dp", "dq", "qi", "oth", "k" };

    for (i = 0; i < sizeof(members) / sizeof(members[0]); i++) {
        if (json_object_get(jwk, members[i])) {
            return 1;
        }
    }

    return strcmp(aegis_json_str(jwk, "kty"), "oct") == 0;
}


/* What a key is, so that the same one twice is no contradiction. */
static void
aegis_jwk_fingerprint(const json_t *jwk, unsigned char print[AEGIS_SHA256_LEN])
{
    size_t       i;
    const char  *s;
    aegis_str_t  parts[10];

    static const char *const  members[] = { "kty", "n", "e", "x", "y" };

    for (i = 0; i < 5; i++) {
        s = aegis_json_str(jwk, members[i]);
        parts[2 * i] = aegis_view(s);
        parts[2 * i + 1] = aegis_str(".");
    }

    aegis_sha256(parts, 10, print);
}


int
aegis_jwk_read(const json_t *jwk, aegis_jwk_t *ret_key)
{
    size_t            i;
    json_t           *kid;
    aegis_jwk_t       key;
    OSSL_PARAM_BLD   *bld;

    kid = json_object_get(jwk, "kid");

    if (kid && (!json_is_string(kid) || json_string_length(kid) > AEGIS_JWKS_MAX_KID)) {
        return 0;
    }

    for (i = 0; i < AEGIS_JWK_N_TYPES; i++) {
        if (strcmp(aegis_json_str(jwk, "kty"), aegis_jwk_types[i].kty) == 0) {
            break;
        }
    }

    if (i == AEGIS_JWK_N_TYPES || !aegis_jwk_allowed(jwk, aegis_jwk_types[i].alg)) {
        return 0;
    }

    bld = OSSL_PARAM_BLD_new();
    if (bld == NULL) {
        return 0;
    }

    key.alg = aegis_jwk_types[i].alg;
    key.pkey = aegis_jwk_types[i].make(jwk, bld);
    key.kid = key.pkey && kid ? strdup(json_string_value(kid)) : NULL;

    OSSL_PARAM_BLD_free(bld);

    if (key.pkey == NULL || (kid && key.kid == NULL)) {
        EVP_PKEY_free(key.pkey);
        return 0;
    }

    aegis_jwk_fingerprint(jwk, key.print);
    *ret_key = key;

    return 1;
}


void
aegis_jwk_clear(aegis_jwk_t *key)
{
    EVP_PKEY_free(key->pkey);
    free(key->kid);
}


/* r || s as the DER that libcrypto reads; its length, 0 when it is none. */
static size_t
aegis_jwk_der(const unsigned char *sig, size_t len, unsigned char *der)
{
    int             n;
    BIGNUM         *r, *s;
    ECDSA_SIG      *ecdsa;
    unsigned char  *p;

    if (len != 2 * AEGIS_JWK_P256) {
        return 0;
    }

    n = 0;
    r = BN_bin2bn(sig, AEGIS_JWK_P256, NULL);
    s = BN_bin2bn(sig + AEGIS_JWK_P256, AEGIS_JWK_P256, NULL);
    ecdsa = ECDSA_SIG_new();

    if (r == NULL || s == NULL || ecdsa == NULL || ECDSA_SIG_set0(ecdsa, r, s) != 1) {
        BN_free(r);
        BN_free(s);

    } else if (i2d_ECDSA_SIG(ecdsa, NULL) <= AEGIS_JWK_MAX_DER) {
        p = der;
        n = i2d_ECDSA_SIG(ecdsa, &p);
    }

    ECDSA_SIG_free(ecdsa);

    return n > 0 ? (size_t) n : 0;
}


int
aegis_jwk_verify(const aegis_jwk_t *key, aegis_str_t input,
    const unsigned char *sig, size_t len)
{
    int             ok;
    EVP_MD_CTX     *ctx;
    const EVP_MD   *md;
    unsigned char   der[AEGIS_JWK_MAX_DER];

    ERR_set_mark();

    if (key->alg == AEGIS_JWA_ES256) {
        len = aegis_jwk_der(sig, len, der);
        sig = der;
    }

    /* Ed25519 hashes by itself; RSA pads with PKCS #1 v1.5 unless told otherwise */
    md = key->alg == AEGIS_JWA_EDDSA ? NULL : EVP_sha256();
    ctx = EVP_MD_CTX_new();

    ok = len && ctx && EVP_DigestVerifyInit(ctx, NULL, md, NULL, key->pkey) == 1
         && EVP_DigestVerify(ctx, sig, len, (const unsigned char *) input.data,
                             input.len) == 1;

    EVP_MD_CTX_free(ctx);
    ERR_pop_to_mark();

    return ok;
}
