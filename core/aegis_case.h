/*
 * aegis_case.h: a case as clients see it, from the columns of its row: the same
 * bytes that aegis.case_text() makes of them in SQL, where each read would pay for
 * them in the database's time.
 */
#ifndef AEGIS_CASE_H
#define AEGIS_CASE_H

#include "aegis.h"

typedef struct {
    aegis_str_t           card;         /* what never changes; its brace is open */
    aegis_str_t           status;
    int64_t               version;
    const unsigned char  *plan_id;      /* 16 bytes, or NULL */
    const unsigned char  *exec_id;
    aegis_str_t           reason;
    int64_t               updated_us;   /* since 1970, of UTC */
} aegis_case_t;

/* Bytes that are enough for its text. */
size_t aegis_case_size(const aegis_case_t *c);

/* Write it, without a NUL; returns its length. out holds aegis_case_size(). */
size_t aegis_case_text(const aegis_case_t *c, char *out);

#endif
