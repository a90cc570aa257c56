/*
 * content_type.c: fuzzes Content-Type. What is taken for JSON begins with
 * application/json in any case, stays JSON with charset=utf-8 behind it, and is
 * none with anything else behind it.
 */
#include "aegis_fuzz.h"

#include <strings.h>

#include "aegis_http.h"


static int
is_json(aegis_str_t in, const char *behind)
{
    int          rc;
    aegis_str_t  s;

    s = aegis_fuzz_join("", in, behind);
    rc = aegis_http_is_json(s);
    free((char *) s.data);

    aegis_fuzz_must(rc == 0 || rc == 1);

    return rc;
}


int
LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    size_t       blank;
    aegis_str_t  in = { size, (const char *) data }, turned;

    turned = aegis_fuzz_turned(in);
    aegis_fuzz_must(aegis_http_is_json(turned) == is_json(in, ""));
    free((char *) turned.data);

    if (!is_json(in, "")) {
        return 0;
    }

    for (blank = 0; data[blank] == ' ' || data[blank] == '\t'; blank++) { /* void */ }

    aegis_fuzz_must(size - blank >= 16
                    && strncasecmp(in.data + blank, "application/json", 16) == 0);

    aegis_fuzz_must(is_json(in, ";charset=utf-8"));
    aegis_fuzz_must(is_json(in, " ; Charset=\"UTF-8\" "));
    aegis_fuzz_must(!is_json(in, ";charset=latin1"));
    aegis_fuzz_must(!is_json(in, ";q=1"));
    aegis_fuzz_must(!is_json(in, "x"));
    aegis_fuzz_must(!is_json(in, ",application/json"));

    return 0;
}
