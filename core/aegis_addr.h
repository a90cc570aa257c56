/*
 * aegis_addr.h: which addresses the Internet does not route to: loopback,
 * private, link-local (where cloud metadata is), shared, documentation,
 * multicast and reserved ones, and IPv6 forms that hide one of them.
 */
#ifndef AEGIS_ADDR_H
#define AEGIS_ADDR_H

#include "aegis.h"

/* A range: the first bits of bytes; IPv4 has 4 of them, IPv6 16. */
typedef struct {
    int            len;                 /* 4 or 16 */
    unsigned char  bytes[16];
    int            bits;
} aegis_addr_range_t;

/* What kind of special address it is ("loopback", "private", …), NULL for one
 * of the Internet. bytes are in network order, len 4 or 16. */
const char *aegis_addr_special(const unsigned char *bytes, int len);

/* 1 when the address is in the range. An IPv4 address in IPv6 form is both. */
int aegis_addr_in(const aegis_addr_range_t *range, const unsigned char *bytes, int len);

#endif
