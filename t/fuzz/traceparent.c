/*
 * traceparent.c: fuzzes trace context. Whatever comes in, what goes out is a
 * valid version 00 line, with the trace id of the input when that was valid.
 */
#include "aegis_fuzz.h"

#include "aegis_http.h"


int
LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    int            used;
    char           out[AEGIS_TRACEPARENT_LEN + 1], again[AEGIS_TRACEPARENT_LEN + 1];
    unsigned char  random[24] = { 0 };

    memcpy(random, data, size < 24 ? size : 24);

    used = aegis_http_traceparent((aegis_str_t) { size, (const char *) data }, random, out);

    aegis_fuzz_must(strlen(out) == AEGIS_TRACEPARENT_LEN && memcmp(out, "00-", 3) == 0);
    aegis_fuzz_must(!used || memcmp(out + 3, data + 3, 49) == 0);
    aegis_fuzz_must(aegis_http_traceparent((aegis_str_t) { AEGIS_TRACEPARENT_LEN, out },
                                           random, again) == 1);
    aegis_fuzz_must(strcmp(out, again) == 0);

    return 0;
}
