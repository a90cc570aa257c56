/*
 * aegis_otlp.c: protobuf-c's messages in a batch's memory.
 * Invariant: what a body makes is bounded by the arena: protobuf-c asks it for every
 * byte, and gives up when it says no.
 */
#include <stdio.h>
#include <string.h>

#include "aegis_otlp.h"

static void *
aegis_otlp_alloc(void *data, size_t size)
{
    return aegis_arena_alloc(data, size);
}

static void
aegis_otlp_free(void *data, void *p)
{
    /* the arena's end frees it */
}

ProtobufCMessage *
aegis_otlp_unpack(const ProtobufCMessageDescriptor *type, aegis_signals_t *s,
    aegis_str_t body, aegis_error_t *err)
{
    ProtobufCMessage    *m;
    ProtobufCAllocator   memory = { aegis_otlp_alloc, aegis_otlp_free, s->arena };

    m = protobuf_c_message_unpack(type, &memory, body.len, (const uint8_t *) body.data);
    if (m == NULL) {
        (void) aegis_error_set(err, AEGIS_E_BAD_REQUEST,
            "the body is no %s, or too large", type->short_name);
    }

    return m;
}

aegis_str_t
aegis_otlp_text(aegis_signals_t *s, const Otlp__Value *v)
{
    int   n;
    char  text[40], *copy;

    if (v == NULL) {
        return AEGIS_NO_STR;
    }

    switch (v->value_case) {

    case OTLP__VALUE__VALUE_STRING_VALUE:
        return v->string_value ? aegis_view(v->string_value) : AEGIS_NO_STR;

    case OTLP__VALUE__VALUE_BOOL_VALUE:
        return v->bool_value ? aegis_view("true") : aegis_view("false");

    case OTLP__VALUE__VALUE_INT_VALUE:
        n = snprintf(text, sizeof(text), "%lld", (long long) v->int_value);
        break;

    case OTLP__VALUE__VALUE_DOUBLE_VALUE:
        n = snprintf(text, sizeof(text), "%.17g", v->double_value);
        break;

    default:
        return AEGIS_NO_STR;
    }

    copy = aegis_arena_copy(s->arena, text, (size_t) n);
    return copy ? (aegis_str_t) { (size_t) n, copy } : AEGIS_NO_STR;
}

unsigned
aegis_otlp_labels(aegis_signals_t *s, Otlp__KeyValue *const *kv, size_t n,
    aegis_label_t *l, unsigned max)
{
    size_t    i;
    unsigned  k;

    for (i = 0, k = 0; i < n && k < max; i++) {
        l[k].name = kv[i]->key ? aegis_view(kv[i]->key) : aegis_view("");
        l[k].value = aegis_otlp_text(s, kv[i]->value);
        k += l[k].name.len > 0 && l[k].value.data != NULL;
    }

    return k;
}

int64_t
aegis_otlp_time(const aegis_signals_t *s, uint64_t ns)
{
    return ns ? (int64_t) (ns / 1000000) : s->now;
}
