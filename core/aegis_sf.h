/*
 * aegis_sf.h: structured fields of HTTP (RFC 9651), as far as there are any: a
 * String with parameters, which is what an Idempotency-Key is.
 */
#ifndef AEGIS_SF_H
#define AEGIS_SF_H

#include "aegis.h"

/*
 * 1: item, without blanks around it, is a String with well-formed parameters; out
 * gets its characters, at most max and without a NUL behind them.
 */
int aegis_sf_string(aegis_str_t item, char *out, size_t max, size_t *ret_len);

#endif
