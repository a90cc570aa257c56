/*
 * sensor.c: fuzz targets of the sensor's decoders, one for each name in the table
 * below; AEGIS_FUZZ_KIND says which one runs. What is decoded obeys the limits that
 * signal.h gives, and is folded twice, as a repeat would be.
 * `make fuzz-sensor-<name>`; t/04corpus.t replays what was kept of each.
 */
/* libFuzzer's own mutator for protobuf, that of JSON for the others */
#define LLVMFuzzerCustomMutator  aegis_fuzz_json_mutator
#include "aegis_fuzz_json.h"
#undef LLVMFuzzerCustomMutator

#include "aegis_fold.h"

#define NOW     1700000000000LL
#define PAST    (30LL * 86400 * 1000)
#define FUTURE  (600LL * 1000)

static aegis_code_t sensor_binary(aegis_signals_t *s, aegis_str_t body, aegis_error_t *err);
static aegis_code_t sensor_gzip(aegis_signals_t *s, aegis_str_t body, aegis_error_t *err);
static aegis_code_t sensor_snappy(aegis_signals_t *s, aegis_str_t body, aegis_error_t *err);

static const struct {
    const char       *name;
    aegis_decode_pt   decode;
} kinds[] = {
    { "prw1",               aegis_decode_prw1 },
    { "prw2",               aegis_decode_prw2 },
    { "otlp_metrics",       aegis_decode_metrics },
    { "otlp_metrics_json",  aegis_decode_metrics_json },
    { "otlp_logs",          aegis_decode_logs },
    { "otlp_logs_json",     aegis_decode_logs_json },
    { "otlp_traces",        aegis_decode_traces },
    { "otlp_traces_json",   aegis_decode_traces_json },
    { "loki",               aegis_decode_loki },
    { "loki_json",          aegis_decode_loki_json },
    { "alertmanager",       aegis_decode_alerts },
    { "kubernetes",         aegis_decode_kube },
    { "cloudevents",        aegis_decode_cloudevents },
    { "cloudevents_binary", sensor_binary },
    { "gzip",               sensor_gzip },
    { "snappy",             sensor_snappy }
};

#ifdef AEGIS_FUZZ_MUTATE

size_t LLVMFuzzerCustomMutator(uint8_t *data, size_t size, size_t max, unsigned seed);

size_t
LLVMFuzzerCustomMutator(uint8_t *data, size_t size, size_t max, unsigned seed)
{
    return size && data[0] == '{' ? aegis_fuzz_json_mutator(data, size, max, seed)
                                  : LLVMFuzzerMutate(data, size, max);
}

#endif


/* Lines of headers, an empty one, the body. What they become is an event or a batch
 * in structured form, and nothing that a structured event may not say. */
static aegis_code_t
sensor_binary(aegis_signals_t *s, aegis_str_t body, aegis_error_t *err)
{
    char                *text, *name, *value;
    aegis_str_t          line;
    aegis_code_t         rc;
    aegis_cloudevent_t   b = { json_object(), 1 };

    for (line = aegis_fuzz_until(&body, '\n'); line.len; line = aegis_fuzz_until(&body, '\n')) {
        name = strndup(line.data, line.len);
        value = strchr(name, ':');
        if (value) {
            *value++ = '\0';
        }
        aegis_cloudevent_attribute(&b, name, value);
        free(name);
    }

    text = aegis_cloudevent_text(&b, body);
    if (text == NULL) {
        return aegis_error_set(err, AEGIS_E_ENVELOPE, "%s", "no event");
    }

    aegis_fuzz_must(text[0] == '{');
    body.data = aegis_arena_copy(s->arena, text, strlen(text));
    body.len = body.data ? strlen(text) : 0;
    free(text);
    rc = aegis_decode_cloudevents(s, body, err);
    aegis_fuzz_must(rc != AEGIS_E_OK || s->taken <= 1);

    return rc;
}


static aegis_code_t
sensor_unpack(aegis_code_t rc, aegis_str_t out)
{
    aegis_fuzz_must(rc != AEGIS_E_OK || out.len <= 1 << 20);

    return rc;
}

static aegis_code_t
sensor_gzip(aegis_signals_t *s, aegis_str_t body, aegis_error_t *err)
{
    aegis_str_t  out = { 0, NULL };

    return sensor_unpack(aegis_unpack_gzip(s->arena, body, 1 << 20, &out, err), out);
}

static aegis_code_t
sensor_snappy(aegis_signals_t *s, aegis_str_t body, aegis_error_t *err)
{
    aegis_str_t  out = { 0, NULL };

    return sensor_unpack(aegis_unpack_snappy(s->arena, body, 1 << 20, &out, err), out);
}


static void
sensor_points(const aegis_points_t *p)
{
    int       c;
    size_t    len;
    unsigned  i;

    for ( ; p; p = p->next) {
        if (p->n == 0) {
            continue;               /* refused */
        }
        aegis_fuzz_must(p->metric.len > 0 && p->metric.len <= AEGIS_LABEL_NAME_MAX + 8);
        aegis_fuzz_must(p->n_labels <= AEGIS_LABELS_MAX);
        for (i = 0; i < p->n_labels; i++) {
            aegis_fuzz_must(p->labels[i].name.len > 0 && p->labels[i].name.len <= AEGIS_LABEL_NAME_MAX
                            && p->labels[i].value.len <= AEGIS_LABEL_VALUE_MAX);
            if (i == 0) {
                continue;
            }
            len = p->labels[i - 1].name.len < p->labels[i].name.len ? p->labels[i - 1].name.len
                                                                    : p->labels[i].name.len;
            c = memcmp(p->labels[i - 1].name.data, p->labels[i].name.data, len);
            aegis_fuzz_must(c < 0 || (c == 0 && p->labels[i - 1].name.len < p->labels[i].name.len));
        }
        for (i = 0; p->hist && i < p->hist->n; i++) {
            aegis_fuzz_must(i < AEGIS_HIST_BUCKETS && p->hist->buckets[i].n > 0
                            && p->hist->buckets[i].lo <= p->hist->buckets[i].hi);
        }
        for (i = 0; i < p->n; i++) {
            aegis_fuzz_must(p->samples[i].t >= NOW - PAST && p->samples[i].t <= NOW + FUTURE);
        }
    }
}


/* Text of happenings goes to PostgreSQL as it is. */
static void
sensor_happenings(const aegis_happening_t *h)
{
    size_t  i;

    for ( ; h; h = h->next) {
        const char *text[] = { h->source, h->state, h->severity, h->dedupe, h->fingerprint, h->kind,
                               h->resource, h->title, h->summary, h->labels };

        for (i = 0; i < sizeof(text) / sizeof(text[0]); i++) {
            aegis_fuzz_must(text[i] != NULL && aegis_fuzz_utf8(aegis_view(text[i])));
        }
        aegis_fuzz_must(h->dedupe[0] && h->fingerprint[0]);
    }
}


static void
sensor_checked(aegis_signals_t *s)
{
    int                  i;
    aegis_gen_t         *gen;
    aegis_fold_t        *fold;
    const aegis_line_t  *l;
    const aegis_span_t  *span;

    sensor_points(s->points);
    sensor_happenings(s->happenings);

    for (l = s->lines; l; l = l->next) {
        aegis_fuzz_must(l->t >= NOW - PAST && l->t <= NOW + FUTURE);
        aegis_fuzz_must(l->severity >= 0 && l->severity <= 4);
    }
    for (span = s->spans; span; span = span->next) {
        aegis_fuzz_must(span->t >= NOW - PAST && span->t <= NOW + FUTURE && span->ms >= 0);
    }

    fold = aegis_fold_new(100, 50, 4 << 20);
    for (i = 0; i < 2; i++) {
        (void) aegis_fold_apply(fold, s, (uint64_t) i + 1, INT64_MIN);
        gen = aegis_fold_take(fold, NOW / 60000, NOW + 100000);
        if (gen) {
            aegis_fold_done(fold, gen);
        }
    }
    aegis_fold_sweep(fold, INT64_MAX);
    aegis_fold_free(fold);
}


int
LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    char             *copy;
    aegis_code_t      rc;
    aegis_arena_t    *arena;
    aegis_error_t     err = AEGIS_ERROR_INIT;
    aegis_signals_t   s;

    static aegis_decode_pt  decode;

    for (size_t i = 0; decode == NULL; i++) {
        aegis_fuzz_must(i < sizeof(kinds) / sizeof(kinds[0]) && getenv("AEGIS_FUZZ_KIND"));
        decode = strcmp(kinds[i].name, getenv("AEGIS_FUZZ_KIND")) == 0 ? kinds[i].decode : NULL;
    }

    copy = malloc(size ? size : 1);
    aegis_fuzz_must(copy != NULL);
    if (size) {
        memcpy(copy, data, size);
    }

    arena = aegis_arena_new(4 << 20);
    aegis_signals_init(&s, arena, "t", NOW, PAST, FUTURE);

    rc = decode(&s, (aegis_str_t) { size, copy }, &err);
    aegis_fuzz_must((rc == AEGIS_E_OK) == (err.code == AEGIS_E_OK));
    if (rc == AEGIS_E_OK) {
        sensor_checked(&s);
    }

    aegis_error_clear(&err);
    aegis_arena_free(arena);
    free(copy);

    return 0;
}
