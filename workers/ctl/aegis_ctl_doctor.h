/*
 * aegis_ctl_doctor.h: what the files of `aegisctl doctor` share. Each check
 * says one thing: ok, warn (works, but look), fail (does not work) or skip
 * (could not be looked at), with what to do about it.
 */
#ifndef AEGIS_CTL_DOCTOR_H
#define AEGIS_CTL_DOCTOR_H

#include "aegis_conf.h"
#include "aegis_ctl.h"

typedef struct {
    aegis_ctl_t   *ctl;
    json_t        *rows;
    aegis_conf_t  *conf;            /* NULL when no --config is known */
    int            failed, skipped; /* checks that did, that were */
} aegis_doctor_t;

/* remedy: NULL when there is nothing to do. */
void aegis_doctor_add(aegis_doctor_t *d, const char *check, const char *state,
    const char *remedy, const char *fmt, ...) __attribute__((format(printf, 5, 6)));

/* aegis_ctl_config.c: [{where, problem}], empty when all is well; *ret_conf is
 * the configuration, NULL when it cannot be read. */
json_t *aegis_ctl_config_problems(const char *path, aegis_conf_t **ret_conf);

void aegis_doctor_database(aegis_doctor_t *d);      /* aegis_ctl_doctor_db.c */
void aegis_doctor_bus(aegis_doctor_t *d);           /* aegis_ctl_doctor_bus.c */

#endif
