/*
 * aegis_http.c: keys, fingerprints, cursors, ids and trace context. Its
 * invariant: what comes out can be put into SQL text and compared byte for
 * byte: one form for each value. The conditional and negotiation headers are
 * in aegis_http_header.c.
 */
#include "aegis_http.h"

#include <string.h>

#include "aegis_hash.h"
#include "aegis_sf.h"
#include "aegis_time.h"


static int
aegis_http_alpha(char c)
{
    return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z');
}


static int
aegis_http_digit(char c)
{
    return c >= '0' && c <= '9';
}


static aegis_str_t
aegis_http_trim(aegis_str_t s)
{
    while (s.len && (s.data[0] == ' ' || s.data[0] == '\t')) {
        s.data++;
        s.len--;
    }

    while (s.len && (s.data[s.len - 1] == ' ' || s.data[s.len - 1] == '\t')) {
        s.len--;
    }

    return s;
}


aegis_code_t
aegis_http_key(aegis_str_t header, char *out, size_t *ret_len)
{
    size_t  i, n;

    header = aegis_http_trim(header);

    if (header.len == 0) {
        return AEGIS_E_KEY_INVALID;
    }

    if (header.data[0] == '"') {
        if (!aegis_sf_string(header, out, AEGIS_KEY_MAX, &n) || n == 0) {
            return AEGIS_E_KEY_INVALID;
        }

    } else {
        if (header.len > AEGIS_KEY_MAX) {
            return AEGIS_E_KEY_INVALID;
        }

        for (i = 0; i < header.len; i++) {
            if (!aegis_http_alpha(header.data[i]) && !aegis_http_digit(header.data[i])
                && !memchr("._:-", header.data[i], 4))
            {
                return AEGIS_E_KEY_INVALID;
            }
        }

        n = header.len;
        memcpy(out, header.data, n);
    }

    out[n] = '\0';
    *ret_len = n;

    return AEGIS_E_OK;
}


void
aegis_http_fingerprint(aegis_str_t method, aegis_str_t route, aegis_str_t id,
    aegis_str_t body, char out[AEGIS_HASH_MAX])
{
    size_t         i;
    aegis_str_t    in[4] = { method, route, id, body }, parts[4];
    unsigned char  digest[4][AEGIS_SHA256_LEN], all[AEGIS_SHA256_LEN];

    /* a hash of hashes: no byte can move from one part into its neighbour */
    for (i = 0; i < 4; i++) {
        aegis_sha256(&in[i], 1, digest[i]);
        parts[i] = (aegis_str_t) { AEGIS_SHA256_LEN, (char *) digest[i] };
    }

    aegis_sha256(parts, 4, all);

    out[0] = '\\';
    out[1] = 'x';
    aegis_hex(all, sizeof(all), out + 2);
}


static int
aegis_http_lower_hex(const char *s, size_t n, int *ret_nonzero)
{
    size_t  i;

    *ret_nonzero = 0;

    for (i = 0; i < n; i++) {
        if (!aegis_http_digit(s[i]) && !(s[i] >= 'a' && s[i] <= 'f')) {
            return 0;
        }
        *ret_nonzero |= s[i] != '0';
    }

    return 1;
}


int
aegis_http_traceparent(aegis_str_t header, const unsigned char random[24],
    char out[AEGIS_TRACEPARENT_LEN + 1])
{
    int            some, id, parent;
    const char    *h = header.data;
    unsigned char  fresh[24];

    if (h && header.len >= AEGIS_TRACEPARENT_LEN
        && aegis_http_lower_hex(h, 2, &some) && memcmp(h, "ff", 2) != 0
        && h[2] == '-' && aegis_http_lower_hex(h + 3, 32, &id) && id
        && h[35] == '-' && aegis_http_lower_hex(h + 36, 16, &parent) && parent
        && h[52] == '-' && aegis_http_lower_hex(h + 53, 2, &some)
        && (header.len == AEGIS_TRACEPARENT_LEN
            || (memcmp(h, "00", 2) != 0 && h[AEGIS_TRACEPARENT_LEN] == '-')))
    {
        memcpy(out, h, AEGIS_TRACEPARENT_LEN);

        /* "sampled" is the only flag that version 00 knows */
        out[54] = (out[54] <= '9' ? out[54] - '0' : out[54] - 'a' + 10) & 1
                  ? '1' : '0';
        out[53] = '0';
        out[0] = out[1] = '0';
        out[AEGIS_TRACEPARENT_LEN] = '\0';

        return 1;
    }

    memcpy(fresh, random, sizeof(fresh));

    /* all-zero ids are invalid */
    for (some = 0, id = 0; id < 16; id++) {
        some |= fresh[id];
    }
    fresh[15] |= !some;

    for (some = 0, id = 16; id < 24; id++) {
        some |= fresh[id];
    }
    fresh[23] |= !some;

    memcpy(out, "00-", 3);
    aegis_hex(fresh, 16, out + 3);
    out[35] = '-';
    aegis_hex(fresh + 16, 8, out + 36);
    memcpy(out + 52, "-01", 4);

    return 0;
}


int
aegis_uuid_valid(aegis_str_t s)
{
    size_t  i;

    if (s.data == NULL || s.len != AEGIS_UUID_LEN) {
        return 0;
    }

    for (i = 0; i < s.len; i++) {
        if (i == 8 || i == 13 || i == 18 || i == 23) {
            if (s.data[i] != '-') {
                return 0;
            }

        } else if (!aegis_http_digit(s.data[i])
                   && !(s.data[i] >= 'a' && s.data[i] <= 'f')
                   && !(s.data[i] >= 'A' && s.data[i] <= 'F'))
        {
            return 0;
        }
    }

    return 1;
}


static void
aegis_uuid_text(unsigned char u[16], int version, char out[AEGIS_UUID_LEN + 1])
{
    size_t  i;
    char    hex[33];

    u[6] = (unsigned char) ((u[6] & 0x0f) | (version << 4));
    u[8] = (unsigned char) ((u[8] & 0x3f) | 0x80);

    aegis_hex(u, 16, hex);

    for (i = 0; i < 32; i++) {
        if (i == 8 || i == 12 || i == 16 || i == 20) {
            *out++ = '-';
        }
        *out++ = hex[i];
    }

    *out = '\0';
}


void
aegis_uuid_v7(uint64_t unix_ms, const unsigned char random[10],
    char out[AEGIS_UUID_LEN + 1])
{
    int            i;
    unsigned char  u[16];

    for (i = 0; i < 6; i++) {
        u[i] = (unsigned char) (unix_ms >> (40 - 8 * i));
    }

    memcpy(u + 6, random, 10);
    aegis_uuid_text(u, 7, out);
}


void
aegis_uuid_named(aegis_str_t name, char out[AEGIS_UUID_LEN + 1])
{
    unsigned char  digest[AEGIS_SHA256_LEN];

    aegis_sha256(&name, 1, digest);
    aegis_uuid_text(digest, 8, out);
}


#define AEGIS_CURSOR_MAC  16

static void
aegis_cursor_mac(aegis_str_t secret, aegis_str_t filters, aegis_str_t position,
    char out[AEGIS_CURSOR_MAC + 1])
{
    char           hex[2 * AEGIS_SHA256_LEN + 1];
    aegis_str_t    parts[3] = { filters, aegis_str("|"), position };
    unsigned char  mac[AEGIS_SHA256_LEN];

    aegis_hmac_sha256(secret, parts, 3, mac);
    aegis_hex(mac, sizeof(mac), hex);
    memcpy(out, hex, AEGIS_CURSOR_MAC);
    out[AEGIS_CURSOR_MAC] = '\0';
}


static const char  aegis_cursor_digits[] =
    "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_";


aegis_code_t
aegis_cursor_make(aegis_str_t secret, aegis_str_t filters, aegis_str_t position,
    char *out, size_t size)
{
    char      raw[AEGIS_CURSOR_MAX], mac[AEGIS_CURSOR_MAC + 1];
    size_t    i, n, bits;
    uint32_t  acc;

    /* without a | in the position, the MAC's input reads in one way only */
    if (position.data == NULL || position.len == 0
        || memchr(position.data, '|', position.len)
        || position.len + 1 + AEGIS_CURSOR_MAC > sizeof(raw))
    {
        return AEGIS_E_CURSOR_INVALID;
    }

    aegis_cursor_mac(secret, filters, position, mac);

    n = position.len;
    memcpy(raw, position.data, n);
    raw[n++] = '|';
    memcpy(raw + n, mac, AEGIS_CURSOR_MAC);
    n += AEGIS_CURSOR_MAC;

    if ((n * 8 + 5) / 6 + 1 > size) {
        return AEGIS_E_CURSOR_INVALID;
    }

    for (acc = 0, bits = 0, i = 0; i < n; i++) {
        acc = (acc << 8) | (unsigned char) raw[i];

        for (bits += 8; bits >= 6; bits -= 6) {
            *out++ = aegis_cursor_digits[(acc >> (bits - 6)) & 63];
        }
    }

    if (bits) {
        *out++ = aegis_cursor_digits[(acc << (6 - bits)) & 63];
    }

    *out = '\0';

    return AEGIS_E_OK;
}


aegis_code_t
aegis_cursor_read(aegis_str_t secret, aegis_str_t filters, aegis_str_t cursor,
    char *out, size_t size)
{
    char          raw[AEGIS_CURSOR_MAX], mac[AEGIS_CURSOR_MAC + 1];
    size_t        i, n, bits;
    uint32_t      acc;
    unsigned      diff;
    aegis_str_t   position;
    const char   *digit;

    if (cursor.data == NULL || cursor.len == 0
        || cursor.len > AEGIS_CURSOR_MAX + AEGIS_CURSOR_MAX / 3)
    {
        return AEGIS_E_CURSOR_INVALID;
    }

    for (acc = 0, bits = 0, n = 0, i = 0; i < cursor.len; i++) {
        digit = memchr(aegis_cursor_digits, cursor.data[i], 64);
        if (digit == NULL) {
            return AEGIS_E_CURSOR_INVALID;
        }

        acc = (acc << 6) | (uint32_t) (digit - aegis_cursor_digits);
        bits += 6;

        if (bits >= 8) {
            bits -= 8;

            if (n == sizeof(raw)) {
                return AEGIS_E_CURSOR_INVALID;
            }
            raw[n++] = (char) (acc >> bits);
        }
    }

    /* left-over bits must be zero, or one position had several cursors */
    if (bits >= 6 || (acc & ((1u << bits) - 1)) || n < AEGIS_CURSOR_MAC + 2
        || raw[n - AEGIS_CURSOR_MAC - 1] != '|')
    {
        return AEGIS_E_CURSOR_INVALID;
    }

    position = (aegis_str_t) { n - AEGIS_CURSOR_MAC - 1, raw };

    aegis_cursor_mac(secret, filters, position, mac);

    for (diff = 0, i = 0; i < AEGIS_CURSOR_MAC; i++) {
        diff |= (unsigned char) (mac[i] ^ raw[position.len + 1 + i]);
    }

    if (diff || memchr(raw, '|', position.len) || position.len + 1 > size) {
        return AEGIS_E_CURSOR_INVALID;
    }

    memcpy(out, raw, position.len);
    out[position.len] = '\0';

    return AEGIS_E_OK;
}


int
aegis_http_time_valid(aegis_str_t s)
{
    int64_t  seconds;

    return aegis_time_parse(s, &seconds);
}
