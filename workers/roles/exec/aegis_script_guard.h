/*
 * aegis_script_guard.h: what a script has to pass before it is run
 * (aegis_script_file.c), and what is kept from it when it runs
 * (aegis_script_filter.c).
 */
#ifndef AEGIS_SCRIPT_GUARD_H
#define AEGIS_SCRIPT_GUARD_H

#include "aegis_adapter.h"

/*
 * The script as a sealed copy in memory, to be executed by its descriptor: what
 * was hashed is what runs, whatever becomes of the file. -1: act has failed. It
 * has to be in the folder's SHA256SUMS, which sha256sum writes.
 */
int aegis_script_file(aegis_act_t *act, const char *name);

struct sock_fprog;

/* The filter of system calls; NULL: this machine cannot make one. */
const struct sock_fprog *aegis_script_filter(void);
void aegis_script_filter_free(void);

#endif
