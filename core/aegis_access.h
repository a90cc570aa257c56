/*
 * aegis_access.h: what a credential allows: scopes, and the reasons of refusals
 * (refusals.def). A scope is words joined by colons; one that is granted may end
 * in * and then stands for everything that begins like it.
 */
#ifndef AEGIS_ACCESS_H
#define AEGIS_ACCESS_H

#include "aegis.h"

typedef struct {
    const char    *name;
    aegis_code_t   code;
    const char    *sentence;
} aegis_refusal_def_t;

const aegis_refusal_def_t *aegis_refusal_def(aegis_refusal_t why);

/* The scope that sending an event needs (events.def); "" for no event. */
const char *aegis_event_scope(aegis_event_id_t event);

/*
 * granted: scopes separated by commas or blanks, unknown ones among them are of
 * no use and no harm. needed: one scope; when it ends in :* any scope below it
 * will do. "" and no scope at all allow nothing.
 */
int aegis_scope_allows(aegis_str_t granted, const char *needed);

/* aegis:<role>, as the workers call themselves: of people's rules they are free,
 * so no credential may have such a name. */
int aegis_principal_reserved(aegis_str_t principal);

/* Is it of the tables, or does it stand for some of them? */
int aegis_scope_known(aegis_str_t scope);

#endif
