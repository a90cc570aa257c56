/*
 * aegis_b64url.h: base64url without padding (RFC 4648 section 5), read
 * strictly: each value has one spelling, so that what was signed or compared is
 * what was sent.
 */
#ifndef AEGIS_B64URL_H
#define AEGIS_B64URL_H

#include "aegis.h"

/* Bytes that text of this length decodes to at most. */
#define AEGIS_B64URL_BYTES(len)  ((len) / 4 * 3 + 2)

/* 1 and *ret_len when all of in is canonical: the 64 digits and nothing else,
 * no padding, no length that cannot be, unused bits 0. out has room for size
 * bytes; what does not fit is refused. */
int aegis_b64url_decode(aegis_str_t in, unsigned char *out, size_t size,
    size_t *ret_len);

#endif
