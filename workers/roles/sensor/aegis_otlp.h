/*
 * aegis_otlp.h: messages of protobuf-c out of a body, as protobuf or as JSON by
 * protobuf's own mapping, in the memory of a batch. What it gives needs no freeing.
 */
#ifndef AEGIS_OTLP_H
#define AEGIS_OTLP_H

#include "aegis_signal.h"
#include <otlp.pb-c.h>

/* NULL, with err set: not such a message, or larger than the arena. */
ProtobufCMessage *aegis_otlp_unpack(const ProtobufCMessageDescriptor *type,
    aegis_signals_t *s, aegis_str_t body, aegis_error_t *err);
ProtobufCMessage *aegis_otlp_unpack_json(const ProtobufCMessageDescriptor *type,
    aegis_signals_t *s, aegis_str_t body, aegis_error_t *err);

/* Attributes as labels, into l, at most max of them; returns how many. Values that
 * are lists are left out. */
unsigned aegis_otlp_labels(aegis_signals_t *s, Otlp__KeyValue *const *kv, size_t n,
    aegis_label_t *l, unsigned max);

/* The text of a value; data NULL when it has none. */
aegis_str_t aegis_otlp_text(aegis_signals_t *s, const Otlp__Value *v);

/* ns to ms; 0 is now. */
int64_t aegis_otlp_time(const aegis_signals_t *s, uint64_t ns);

#endif
