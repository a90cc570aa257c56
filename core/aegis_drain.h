/*
 * aegis_drain.h: what lines of a log have in common. Parts with digits are masked,
 * lines of as many words that begin alike and agree in most words share one
 * template, whose other words become <*>. A template keeps the fingerprint of the
 * line that made it, however general it becomes.
 */
#ifndef AEGIS_DRAIN_H
#define AEGIS_DRAIN_H

#include "aegis.h"

#define AEGIS_DRAIN_PRINT     16        /* characters of a fingerprint, hex */
#define AEGIS_DRAIN_TEMPLATE  1024

typedef struct aegis_drain_s  aegis_drain_t;

typedef struct {
    char         fingerprint[AEGIS_DRAIN_PRINT + 1];
    const char  *text;                  /* the template as it is now */
    unsigned     id;                    /* 0 .. , as long as the drain lives */
} aegis_pattern_t;

/* At most max templates; what comes then is all of one, "<more>". NULL: no memory. */
aegis_drain_t *aegis_drain_new(unsigned max);
void aegis_drain_free(aegis_drain_t *drain);            /* NULL is fine */

/* The template of a line. *ret is valid until the next call. 0: no memory. */
int aegis_drain_add(aegis_drain_t *drain, aegis_str_t line, aegis_pattern_t *ret);

/* A template that was made before, with its fingerprint. 0: not taken. */
int aegis_drain_load(aegis_drain_t *drain, const char *fingerprint, const char *text);

unsigned aegis_drain_count(const aegis_drain_t *drain);

#endif
