/*
 * detect_csv.c: fuzzes series in files. What is taken is finite and comes from a
 * whole field; the detectors take any such series, say finite things about it, and
 * leave a state that survives being stored.
 */
#include "aegis_fuzz.h"

#include <math.h>

#include "aegis_detect.h"


static void
feed(aegis_detect_t *s, const aegis_detect_rule_t *rule, double t, double v)
{
    size_t                  len;
    aegis_detect_t          again;
    unsigned char           bytes[AEGIS_DETECT_BYTES];
    aegis_detect_result_t   r;

    if (!aegis_detect_feed(s, rule, t, v, &r)) {
        return;
    }

    aegis_fuzz_must(isfinite(r.score) && r.score >= 0 && r.score <= AEGIS_DETECT_MAX);
    aegis_fuzz_must(isfinite(r.expected) && isfinite(r.deviation) && isfinite(r.scale));
    len = aegis_detect_pack(s, bytes);
    aegis_fuzz_must(len <= sizeof(bytes));
    aegis_fuzz_must(aegis_detect_unpack(bytes, len, &again));
}


int
LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    int                    rc;
    double                 t, v;
    size_t                 len;
    const char            *p, *end, *stop, *why;
    aegis_detect_t         s;
    aegis_detect_csv_t     csv;
    aegis_detect_rule_t    rule;

    memset(&s, 0, sizeof(s));
    memset(&csv, 0, sizeof(csv));
    aegis_detect_rule_init(&rule);
    rule.min_samples = 2;
    end = (const char *) data + size;

    for (p = (const char *) data; p < end; p = stop + (stop < end)) {
        stop = memchr(p, '\n', (size_t) (end - p));
        stop = stop ? stop : end;
        len = (size_t) (stop - p);
        why = NULL;
        rc = aegis_detect_csv(&csv, (aegis_str_t) { len, p }, &t, &v, &why);
        aegis_fuzz_must(rc == 0 || rc == 1 || (rc == -1 && why));

        if (rc == 1) {
            aegis_fuzz_must(isfinite(t) && isfinite(v));
            feed(&s, &rule, t, v);
        }
        if (stop == end) {
            break;
        }
    }

    return 0;
}
