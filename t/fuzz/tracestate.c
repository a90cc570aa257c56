/*
 * tracestate.c: fuzzes tracestate. What goes out keeps to the grammar: it comes
 * out of itself again, is never longer than 512 bytes and never grows.
 */
#include "aegis_fuzz.h"

#include "aegis_span.h"


int
LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    char         out[AEGIS_TRACESTATE_MAX + 1], again[AEGIS_TRACESTATE_MAX + 1];
    size_t       n;
    aegis_str_t  s;

    n = aegis_tracestate((aegis_str_t) { size, (const char *) data }, out);
    s = (aegis_str_t) { n, out };

    aegis_fuzz_must(n <= size && n <= AEGIS_TRACESTATE_MAX && out[n] == '\0');
    aegis_fuzz_must(strlen(out) == n);
    aegis_fuzz_must(aegis_tracestate(s, again) == n && memcmp(out, again, n) == 0);

    return 0;
}
