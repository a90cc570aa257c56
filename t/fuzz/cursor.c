/*
 * cursor.c: fuzzes cursors. Bytes that we did not sign are never a position;
 * what we sign reads back, and under other filters it does not.
 */
#include "aegis_fuzz.h"

#include "aegis_http.h"


int
LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    char         cursor[AEGIS_CURSOR_MAX], out[AEGIS_CURSOR_MAX];
    aegis_str_t  in = { size, (const char *) data };
    aegis_str_t  secret = aegis_str("a secret that no input knows");

    aegis_fuzz_must(aegis_cursor_read(secret, aegis_str("f"), in, out, sizeof(out))
                    != AEGIS_E_OK);

    if (aegis_cursor_make(secret, aegis_str("f"), in, cursor, sizeof(cursor))
        != AEGIS_E_OK)
    {
        return 0;
    }

    aegis_fuzz_must(aegis_cursor_read(secret, aegis_str("f"),
        (aegis_str_t) { strlen(cursor), cursor }, out, sizeof(out)) == AEGIS_E_OK);
    aegis_fuzz_must(memcmp(out, data, size) == 0 && out[size] == '\0');
    aegis_fuzz_must(aegis_cursor_read(secret, aegis_str("g"),
        (aegis_str_t) { strlen(cursor), cursor }, out, sizeof(out)) != AEGIS_E_OK);

    return 0;
}
