/*
 * accept.c: fuzzes Accept. Letters' case never matters, what takes JSON with
 * full quality is accepted whatever else is in the list, and a list of refusals
 * is not softened by what does not name JSON.
 */
#include "aegis_fuzz.h"

#include "aegis_http.h"


static int
accepts(const char *before, aegis_str_t in, const char *behind)
{
    int          rc;
    aegis_str_t  s;

    s = aegis_fuzz_join(before, in, behind);
    rc = aegis_http_accepts_json(s);
    free((char *) s.data);

    aegis_fuzz_must(rc == 0 || rc == 1);

    return rc;
}


int
LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    int          rc;
    aegis_str_t  in = { size, (const char *) data }, turned;

    rc = accepts("", in, "");

    turned = aegis_fuzz_turned(in);
    aegis_fuzz_must(aegis_http_accepts_json(turned) == rc);
    free((char *) turned.data);

    aegis_fuzz_must(accepts("application/json,", in, ""));
    aegis_fuzz_must(accepts("application/problem+json;q=0.001 ,", in, ""));
    aegis_fuzz_must(accepts(",, \t", in, " ,") == rc);
    aegis_fuzz_must(accepts("text/html,", in, "") <= rc
                    || accepts("", in, "") == 0);

    /* a quote that is still open would swallow what follows */
    if (size == 0 || memchr(data, '"', size) == NULL) {
        aegis_fuzz_must(accepts("", in, ",application/json"));
        aegis_fuzz_must(accepts("", in, ",") == rc);
    }

    if (accepts("application/json;q=0,application/problem+json;q=0,", in, "")) {
        aegis_fuzz_must(rc);
    }

    return 0;
}
