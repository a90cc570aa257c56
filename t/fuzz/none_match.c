/*
 * none_match.c: fuzzes If-None-Match: a version before the first newline, the
 * header behind it. A match needs the version in quotes, or *; a well-formed list
 * matches once the version is put into it; a malformed one matches nothing.
 */
#include "aegis_fuzz.h"

#include "aegis_http.h"


static int
matches(const char *before, aegis_str_t in, const char *behind, int64_t version)
{
    int          rc;
    char         tag[24];
    aegis_str_t  s, one;

    one.data = tag;
    one.len = (size_t) snprintf(tag, sizeof(tag), "%lld", (long long) version);

    s = aegis_fuzz_join(before, in, behind);
    rc = aegis_http_etag_match(s, one, 1);
    free((char *) s.data);

    aegis_fuzz_must(rc >= -1 && rc <= 1);

    return rc;
}


static int
is_star(aegis_str_t s)
{
    while (s.len && (s.data[0] == ' ' || s.data[0] == '\t')) {
        s.data++;
        s.len--;
    }

    return s.len && s.data[0] == '*';
}


int
LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    int          rc;
    char         tag[32], last[36], number[24];
    size_t       n;
    int64_t      version;
    aegis_str_t  in = { size, (const char *) data }, head;

    head = aegis_fuzz_until(&in, '\n');
    n = head.len < sizeof(number) - 1 ? head.len : sizeof(number) - 1;
    memcpy(number, head.data, n);
    number[n] = '\0';
    version = strtoll(number, NULL, 10);

    snprintf(tag, sizeof(tag), "\"%lld\"", (long long) version);
    rc = matches("", in, "", version);

    if (is_star(in)) {
        aegis_fuzz_must(rc != 0);
        return 0;
    }

    if (rc == 1) {
        aegis_fuzz_must(memmem(in.data, in.len, tag, strlen(tag)) != NULL);
    }

    snprintf(last, sizeof(last), ", W/%s", tag);
    aegis_fuzz_must(matches("", in, last, version) == (rc == -1 ? -1 : 1));

    snprintf(last, sizeof(last), "%s ,", tag);
    aegis_fuzz_must(matches(last, in, "", version) == (rc == -1 ? -1 : 1));
    aegis_fuzz_must(matches(",\t, ", in, ",", version) == rc);

    return 0;
}
