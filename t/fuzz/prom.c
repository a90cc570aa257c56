/*
 * prom.c: fuzzes what Prometheus may answer. Whatever it is, it becomes points in
 * order and inside of the range that was asked for, or an error that says why; the
 * first byte of the input chooses the HTTP status.
 */
#include "aegis_fuzz.h"

#include <math.h>

#include "aegis_verify.h"


static void
points(const json_t *answer, const aegis_verify_ask_t *ask)
{
    size_t   i;
    double   t, last;
    json_t  *p, *list;

    list = json_object_get(answer, "points");
    aegis_fuzz_must(json_is_array(list));

    last = -INFINITY;
    json_array_foreach(list, i, p) {
        aegis_fuzz_must(json_array_size(p) == 3);
        t = json_number_value(json_array_get(p, 0));
        aegis_fuzz_must(t > last && t >= ask->start && t <= ask->end);
        aegis_fuzz_must(isfinite(json_number_value(json_array_get(p, 2))));
        last = t;
    }
}


int
LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    json_t       *answer;
    const char   *why;
    aegis_str_t   body;

    static const int                 statuses[] = { 200, 400, 422, 503 };
    static const aegis_verify_ask_t  ask = {
        .which = "query", .query = "up", .start = 1000, .end = 1600, .step = 60
    };

    if (size == 0) {
        return 0;
    }

    body = (aegis_str_t) { size - 1, (const char *) data + 1 };
    answer = aegis_verify_prom_parse(statuses[data[0] % 4], body, &ask);
    aegis_fuzz_must(answer != NULL);

    why = json_string_value(json_object_get(answer, "error"));
    if (why == NULL) {
        aegis_fuzz_must(data[0] % 4 == 0);
        points(answer, &ask);
    } else {
        aegis_fuzz_must(why[0] && aegis_fuzz_utf8(aegis_view(why)));
    }

    json_decref(answer);

    return 0;
}
