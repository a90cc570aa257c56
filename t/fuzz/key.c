/*
 * key.c: fuzzes Idempotency-Key. A key that gets through is 1 to 255 printable
 * characters, and the same key when it is written as a quoted string.
 */
#include "aegis_fuzz.h"

#include "aegis_http.h"


int
LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    char    key[AEGIS_KEY_MAX + 1], again[AEGIS_KEY_MAX + 1];
    char    quoted[2 * AEGIS_KEY_MAX + 2], *p;
    size_t  i, len, n;

    if (aegis_http_key((aegis_str_t) { size, (const char *) data }, key, &len)
        != AEGIS_E_OK)
    {
        return 0;
    }

    aegis_fuzz_must(len >= 1 && len <= AEGIS_KEY_MAX && strlen(key) == len);

    p = quoted;
    *p++ = '"';

    for (i = 0; i < len; i++) {
        aegis_fuzz_must(key[i] >= 0x20 && key[i] <= 0x7e);

        if (key[i] == '"' || key[i] == '\\') {
            *p++ = '\\';
        }
        *p++ = key[i];
    }

    *p++ = '"';

    aegis_fuzz_must(aegis_http_key((aegis_str_t) { (size_t) (p - quoted), quoted }, again,
                                   &n) == AEGIS_E_OK);
    aegis_fuzz_must(n == len && memcmp(key, again, n) == 0);

    return 0;
}
