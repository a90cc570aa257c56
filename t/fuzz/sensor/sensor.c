/*
 * sensor.c: fuzz target of the sensor's decoders: the first byte says which one, the
 * rest is the body. What is decoded is folded as well, twice, as a repeat would be.
 * AEGIS_FUZZ_KIND=<number> keeps to one decoder, for a run of its own.
 */
#include <stdlib.h>
#include <string.h>

#include "aegis_fold.h"

int LLVMFuzzerTestOneInput(const unsigned char *data, size_t size);

static const aegis_decode_pt  decoders[] = {
    aegis_decode_prw1, aegis_decode_prw2, aegis_decode_metrics, aegis_decode_metrics_json,
    aegis_decode_logs, aegis_decode_logs_json, aegis_decode_traces, aegis_decode_traces_json,
    aegis_decode_loki, aegis_decode_loki_json, aegis_decode_alerts, aegis_decode_kube,
    aegis_decode_cloudevents
};

#define N  (sizeof(decoders) / sizeof(decoders[0]))

static void
unpack(int gzip, aegis_str_t body)
{
    aegis_str_t     out;
    aegis_arena_t  *arena;
    aegis_error_t   err = AEGIS_ERROR_INIT;

    arena = aegis_arena_new(8 << 20);
    if ((gzip ? aegis_unpack_gzip : aegis_unpack_snappy)(arena, body, 4 << 20, &out, &err) == AEGIS_E_OK
        && out.len > 4 << 20)
    {
        abort();
    }
    aegis_error_clear(&err);
    aegis_arena_free(arena);
}

int
LLVMFuzzerTestOneInput(const unsigned char *data, size_t size)
{
    int               i;
    char             *copy;
    size_t            kind;
    const char       *only;
    aegis_gen_t      *gen;
    aegis_fold_t     *fold;
    aegis_arena_t    *arena;
    aegis_error_t     err = AEGIS_ERROR_INIT;
    aegis_signals_t   s;

    if (size == 0) {
        return 0;
    }

    only = getenv("AEGIS_FUZZ_KIND");
    kind = only ? (size_t) atoi(only) : data[0] % (N + 2);
    copy = malloc(size);
    memcpy(copy, data + 1, size - 1);

    if (kind >= N) {
        unpack(kind == N, (aegis_str_t) { size - 1, copy });
        free(copy);
        return 0;
    }

    arena = aegis_arena_new(4 << 20);
    aegis_signals_init(&s, arena, "t", 1700000000000, INT64_MAX / 4, INT64_MAX / 4);

    if (decoders[kind](&s, (aegis_str_t) { size - 1, copy }, &err) == AEGIS_E_OK) {
        fold = aegis_fold_new(100, 50, 4 << 20);
        for (i = 0; i < 2; i++) {
            (void) aegis_fold_apply(fold, &s, (uint64_t) i + 1, INT64_MIN);
            gen = aegis_fold_take(fold, 1700000000 / 60, 1700000100000);
            if (gen) {
                aegis_fold_done(fold, gen);
            }
        }
        aegis_fold_sweep(fold, INT64_MAX);
        aegis_fold_free(fold);
    }

    aegis_error_clear(&err);
    aegis_arena_free(arena);
    free(copy);
    return 0;
}
