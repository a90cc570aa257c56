/*
 * aegis_b64url.c: the strict reader of base64url. Its invariant: two texts that
 * differ are never read as the same bytes.
 */
#include "aegis_b64url.h"


static int
aegis_b64url_digit(unsigned char c)
{
    if (c >= 'A' && c <= 'Z') {
        return c - 'A';
    }

    if (c >= 'a' && c <= 'z') {
        return c - 'a' + 26;
    }

    if (c >= '0' && c <= '9') {
        return c - '0' + 52;
    }

    return c == '-' ? 62 : c == '_' ? 63 : -1;
}


int
aegis_b64url_decode(aegis_str_t in, unsigned char *out, size_t size,
    size_t *ret_len)
{
    int       digit;
    size_t    i, n;
    uint32_t  acc;
    unsigned  bits;

    if (in.len % 4 == 1) {
        return 0;
    }

    acc = 0;
    bits = 0;
    n = 0;

    for (i = 0; i < in.len; i++) {
        digit = aegis_b64url_digit((unsigned char) in.data[i]);

        if (digit < 0) {
            return 0;
        }

        acc = (acc << 6 | (uint32_t) digit) & 0xffffff;
        bits += 6;

        if (bits >= 8) {
            bits -= 8;

            if (n == size) {
                return 0;
            }

            out[n++] = (unsigned char) (acc >> bits);
        }
    }

    if (acc & ((1u << bits) - 1)) {
        return 0;
    }

    *ret_len = n;

    return 1;
}
