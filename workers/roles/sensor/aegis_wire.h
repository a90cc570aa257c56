/*
 * aegis_wire.h: fields of a protobuf message, one by one and without a copy. For
 * remote write alone, whose labels are most of all that is ever decoded; all other
 * messages are protobuf-c's.
 */
#ifndef AEGIS_WIRE_H
#define AEGIS_WIRE_H

#include <string.h>

#include "aegis.h"

enum { AEGIS_WIRE_VARINT = 0, AEGIS_WIRE_64 = 1, AEGIS_WIRE_BYTES = 2, AEGIS_WIRE_32 = 5 };

typedef struct {
    const unsigned char  *p;
    const unsigned char  *end;
    unsigned              field;
    unsigned              type;
    uint64_t              number;       /* of varint, 64 and 32 bits */
    aegis_str_t           bytes;
} aegis_wire_t;

static inline aegis_wire_t
aegis_wire(aegis_str_t s)
{
    aegis_wire_t  w;

    memset(&w, 0, sizeof(w));
    w.p = (const unsigned char *) (s.data ? s.data : "");
    w.end = w.p + s.len;
    return w;
}

static inline int
aegis_wire_varint(aegis_wire_t *w, uint64_t *ret)
{
    unsigned  shift;
    uint64_t  n;

    for (n = 0, shift = 0; w->p < w->end && shift < 70; shift += 7) {
        n |= shift < 64 ? (uint64_t) (*w->p & 0x7f) << shift : 0;
        if (!(*w->p++ & 0x80)) {
            *ret = n;
            return 1;
        }
    }

    return 0;
}

/* 1: a field; 0: the end; -1: not a message. */
static inline int
aegis_wire_next(aegis_wire_t *w)
{
    size_t    n;
    uint64_t  tag;

    if (w->p == w->end) {
        return 0;
    }
    if (!aegis_wire_varint(w, &tag) || tag >> 3 == 0 || tag >> 3 > 0x1fffffff) {
        return -1;
    }

    w->field = (unsigned) (tag >> 3);
    w->type = (unsigned) (tag & 7);
    w->bytes = AEGIS_NO_STR;            /* what another field had is not this one's */

    switch (w->type) {

    case AEGIS_WIRE_VARINT:
        return aegis_wire_varint(w, &w->number) ? 1 : -1;

    case AEGIS_WIRE_64:
    case AEGIS_WIRE_32:
        n = w->type == AEGIS_WIRE_64 ? 8 : 4;
        if ((size_t) (w->end - w->p) < n) {
            return -1;
        }
        w->number = 0;
        memcpy(&w->number, w->p, n);    /* little-endian, as we are */
        w->p += n;
        return 1;

    case AEGIS_WIRE_BYTES:
        if (!aegis_wire_varint(w, &tag) || tag > (size_t) (w->end - w->p)) {
            return -1;
        }
        w->bytes = (aegis_str_t) { (size_t) tag, (const char *) w->p };
        w->p += tag;
        return 1;

    default:
        return -1;
    }
}

static inline double
aegis_wire_double(uint64_t n)
{
    double  v;

    memcpy(&v, &n, sizeof(v));
    return v;
}

#endif
