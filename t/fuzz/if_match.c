/*
 * if_match.c: fuzzes the conditional and negotiation headers. If-Match gives *
 * or version numbers between commas, nothing else, and never writes too much.
 */
#include "aegis_fuzz.h"

#include "aegis_http.h"
#include "aegis_route.h"


int
LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    int                   rc;
    char                  out[64];
    aegis_str_t           in = { size, (const char *) data }, id;
    const char           *allow;
    const aegis_route_t  *route;

    memset(out, 'x', sizeof(out));

    if (aegis_http_if_match(in, out, sizeof(out)) == AEGIS_E_OK) {
        aegis_fuzz_must(memchr(out, '\0', sizeof(out)) != NULL);
        aegis_fuzz_must(strcmp(out, "*") == 0
                        || strspn(out, "0123456789,") == strlen(out));
        aegis_fuzz_must(aegis_http_none_match(in, 1) != -1);
    }

    rc = aegis_http_none_match(in, 3);
    aegis_fuzz_must(rc >= -1 && rc <= 1);

    aegis_http_accepts_json(in);
    aegis_http_is_json(in);
    aegis_http_time_valid(in);

    if (aegis_route_find(aegis_str("GET"), in, &route, &id, &allow) == AEGIS_E_OK
        && id.data)
    {
        aegis_fuzz_must(id.len && memchr(id.data, '/', id.len) == NULL);
    }

    return 0;
}
