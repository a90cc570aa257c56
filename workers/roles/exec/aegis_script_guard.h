/*
 * aegis_script_guard.h: what a script has to pass before it is run
 * (aegis_script_file.c), and what is kept from it when it runs
 * (aegis_script_confine.c, aegis_script_filter.c).
 */
#ifndef AEGIS_SCRIPT_GUARD_H
#define AEGIS_SCRIPT_GUARD_H

#include "aegis_adapter.h"
#include "aegis_warden.h"

/*
 * The script as a sealed copy in memory, to be executed by its descriptor: what
 * was hashed is what runs, whatever becomes of the file. -1: act has failed. It
 * has to be in the folder's SHA256SUMS, which sha256sum writes.
 */
int aegis_script_file(aegis_act_t *act, const char *name);

/* The settings of it: 1, or 0 and why they cannot be had here. */
int aegis_script_configure(const aegis_conf_t *conf, aegis_error_t *err);
void aegis_script_done(void);

/* Put what they say into g. */
void aegis_script_confine(aegis_warden_t *g);

/* The filter of system calls; NULL: this machine cannot make one. */
const struct sock_fprog *aegis_script_filter(void);
void aegis_script_filter_free(void);

#endif
