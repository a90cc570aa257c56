/*
 * aegis_librarian_call.h: one HTTP exchange of the librarian, which may wait for
 * it: bounded by a deadline, by the size of the answer and by the stop flag. No
 * redirect, no proxy of the environment, no other scheme than http and https.
 */
#ifndef AEGIS_LIBRARIAN_CALL_H
#define AEGIS_LIBRARIAN_CALL_H

#include "aegis_librarian.h"

typedef struct {
    const char           *url;
    const aegis_allow_t  *allow;        /* whom it may reach; NULL: the configuration names it */
    const char           *body;         /* NULL: GET, else POST of JSON */
    const char           *token;        /* bearer, NULL: none */
    const char           *ca_file;      /* "" : the system's */
    size_t                max;
    long                  timeout_ms;
    volatile int         *stopping;
} aegis_librarian_call_t;

typedef struct {
    long    status;                     /* 0: there is no answer, err says why */
    char   *body;                       /* malloc'ed, ends with a NUL */
    size_t  len;
    char    type[128];
    int     refused;                    /* by us: no retry helps */
} aegis_librarian_answer_t;

/* 1: there is an answer, whatever it says. */
int aegis_librarian_call(const aegis_librarian_call_t *call, aegis_librarian_answer_t *ret,
    aegis_error_t *err);

#endif
