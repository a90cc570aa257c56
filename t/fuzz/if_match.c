/*
 * if_match.c: fuzzes If-Match. It gives * or version numbers between commas, never
 * more than it was given room for, in one form that reads back as itself; and
 * If-None-Match agrees with it about every version in it. The two together never
 * hold where one of them does not.
 */
#include "aegis_fuzz.h"

#include "aegis_http.h"


static aegis_code_t
if_match(aegis_str_t in, char *out, size_t size)
{
    return aegis_http_condition(in, AEGIS_NO_STR, out, size);
}


static int
none_match(aegis_str_t in, int64_t version)
{
    int   n;
    char  tag[24];

    n = snprintf(tag, sizeof(tag), "%lld", (long long) version);

    return aegis_http_etag_match(in, (aegis_str_t) { (size_t) n, tag }, 1);
}


/* What If-Match lets through and If-None-Match takes away again is nothing. */
static void
cancels(aegis_str_t in)
{
    char  out[64];

    if (aegis_http_condition(in, in, out, sizeof(out)) == AEGIS_E_OK) {
        aegis_fuzz_must(out[0] == '\0');
    }

    if (aegis_http_condition(AEGIS_NO_STR, in, out, sizeof(out)) == AEGIS_E_OK) {
        aegis_fuzz_must(out[0] == '\0' || out[0] == '!' || strcmp(out, "*") == 0);
        aegis_fuzz_must(out[0] != '\0' || none_match(in, 1) == 1);
    }
}


/* Written as a header again, "3","5", it gives the same. */
static void
reads_back(const char *out)
{
    char         text[256], again[64];
    size_t       n;
    const char  *p;

    for (n = 0, text[n++] = '"', p = out; *p; p++) {
        if (*p == ',') {
            memcpy(text + n, "\",\"", 3);
            n += 3;
        } else {
            text[n++] = *p;
        }
    }

    text[n++] = '"';

    aegis_fuzz_must(if_match((aegis_str_t) { n, text }, again, sizeof(again))
                    == AEGIS_E_OK);
    aegis_fuzz_must(strcmp(again, out) == 0);
}


int
LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    char          out[64], less[8], *end;
    size_t        room;
    int64_t       version;
    const char   *p;
    aegis_str_t   in = { size, (const char *) data };

    memset(out, 'x', sizeof(out));

    if (data == NULL) {
        return 0;
    }

    cancels(in);

    if (if_match(in, out, sizeof(out)) != AEGIS_E_OK) {
        return 0;
    }

    aegis_fuzz_must(memchr(out, '\0', sizeof(out)) != NULL);
    aegis_fuzz_must(none_match(in, 1) != -1);

    if (strcmp(out, "*") == 0) {
        aegis_fuzz_must(none_match(in, 7) == 1);
        return 0;
    }

    for (p = out; *p; p = *end ? end + 1 : end) {
        aegis_fuzz_must(*p >= '1' && *p <= '9');
        version = strtoll(p, &end, 10);
        aegis_fuzz_must(end - p <= 10 && (*end == ',' || *end == '\0'));
        aegis_fuzz_must(*end == '\0' || end[1] != '\0');
        aegis_fuzz_must(none_match(in, version) == 1);
    }

    if (out[0]) {
        reads_back(out);
    }

    /* with less room it is refused or the same, and nothing is written behind */
    room = size % sizeof(less);
    memset(less, 'x', sizeof(less));

    if (if_match(in, less, room) == AEGIS_E_OK) {
        aegis_fuzz_must(strcmp(less, out) == 0 && strlen(out) < room);
    }
    aegis_fuzz_must(room == 0 || less[sizeof(less) - 1] == 'x' || room == sizeof(less));

    return 0;
}
