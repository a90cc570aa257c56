/*
 * aegis_hash.h: SHA-256 and HMAC-SHA-256 over parts, and hex. Never fails and
 * never allocates, because a fingerprint has no way to say "not this time".
 */
#ifndef AEGIS_HASH_H
#define AEGIS_HASH_H

#include "aegis.h"

#define AEGIS_SHA256_LEN  32

/* Of the parts, one after the other. */
void aegis_sha256(const aegis_str_t *parts, size_t n,
    unsigned char out[AEGIS_SHA256_LEN]);

void aegis_hmac_sha256(aegis_str_t key, const aegis_str_t *parts, size_t n,
    unsigned char out[AEGIS_SHA256_LEN]);

/* 2 * n lower case digits and a NUL. */
void aegis_hex(const unsigned char *bytes, size_t n, char *out);

#endif
