/*
 * aegis_hash.c: hashing. libcrypto's EVP interface allocates and fetches at
 * each use; the plain SHA256_* calls do neither, which is why this file asks
 * for them although OpenSSL 3 would like everybody on EVP.
 */
#define OPENSSL_SUPPRESS_DEPRECATED

#include "aegis_hash.h"

#include <string.h>

#include <openssl/sha.h>

#define AEGIS_HMAC_BLOCK  64

_Static_assert(AEGIS_SHA256_LEN == SHA256_DIGEST_LENGTH, "the length of SHA-256");


static void
aegis_hash_parts(SHA256_CTX *ctx, const aegis_str_t *parts, size_t n)
{
    size_t  i;

    for (i = 0; i < n; i++) {
        if (parts[i].len) {
            SHA256_Update(ctx, parts[i].data, parts[i].len);
        }
    }
}


void
aegis_sha256(const aegis_str_t *parts, size_t n, unsigned char out[AEGIS_SHA256_LEN])
{
    SHA256_CTX  ctx;

    SHA256_Init(&ctx);
    aegis_hash_parts(&ctx, parts, n);
    SHA256_Final(out, &ctx);
}


void
aegis_hmac_sha256(aegis_str_t key, const aegis_str_t *parts, size_t n,
    unsigned char out[AEGIS_SHA256_LEN])
{
    size_t         i;
    SHA256_CTX     ctx;
    unsigned char  pad[AEGIS_HMAC_BLOCK], block[AEGIS_HMAC_BLOCK];

    memset(block, 0, sizeof(block));

    if (key.len > sizeof(block)) {
        aegis_sha256(&key, 1, block);

    } else if (key.len) {
        memcpy(block, key.data, key.len);
    }

    for (i = 0; i < sizeof(block); i++) {
        pad[i] = block[i] ^ 0x36;
    }

    SHA256_Init(&ctx);
    SHA256_Update(&ctx, pad, sizeof(pad));
    aegis_hash_parts(&ctx, parts, n);
    SHA256_Final(out, &ctx);

    for (i = 0; i < sizeof(block); i++) {
        pad[i] = block[i] ^ 0x5c;
    }

    SHA256_Init(&ctx);
    SHA256_Update(&ctx, pad, sizeof(pad));
    SHA256_Update(&ctx, out, AEGIS_SHA256_LEN);
    SHA256_Final(out, &ctx);
}


void
aegis_hex(const unsigned char *bytes, size_t n, char *out)
{
    size_t  i;

    static const char  digits[] = "0123456789abcdef";

    for (i = 0; i < n; i++) {
        *out++ = digits[bytes[i] >> 4];
        *out++ = digits[bytes[i] & 15];
    }

    *out = '\0';
}
