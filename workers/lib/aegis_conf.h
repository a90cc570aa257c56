/*
 * aegis_conf.h: the workers' configuration: conf/aegis.yaml checked against
 * core/tables/settings.def, with environment overrides. Immutable once loaded;
 * a reload makes a new one.
 */
#ifndef AEGIS_CONF_H
#define AEGIS_CONF_H

#include <stdio.h>

#include "aegis_detect.h"
#include "aegis_error.h"

typedef struct aegis_conf_s  aegis_conf_t;

typedef struct {
    const char  *match;             /* subject, or prefix.> , or > */
    const char  *transport;         /* nats | kafka */
} aegis_conf_route_t;

/*
 * Read path. On failure err->detail says file:line:column, what is wrong, and
 * the nearest known name for an unknown key.
 */
aegis_code_t aegis_conf_load(const char *path, aegis_conf_t **ret_conf, aegis_error_t *err);
void aegis_conf_free(aegis_conf_t *conf);

/* By settings.def name; a name that is not there is our bug (assert). */
const char *aegis_conf_str(const aegis_conf_t *conf, const char *name);
int64_t aegis_conf_int(const aegis_conf_t *conf, const char *name);

/* A STRING that names a file: absolute, or relative to the YAML's folder.
 * buf holds 4096 bytes. */
const char *aegis_conf_path(const aegis_conf_t *conf, const char *name, char *buf);

/* The transport of a subject; "nats" when no route matches. */
const char *aegis_conf_transport(const aegis_conf_t *conf, aegis_str_t subject);

/*
 * After a reload: put the values of settings that need a restart back to what
 * old has. The names that differed are in buf, blank separated ("" for none).
 */
void aegis_conf_keep(aegis_conf_t *conf, const aegis_conf_t *old, char *buf, size_t size);

/* The effective configuration as YAML on out, secrets masked. */
void aegis_conf_print(const aegis_conf_t *conf, FILE *out);

/* A YAML document (policy, plan) as JSON. NULL and err on failure. */
json_t *aegis_conf_yaml_file(const char *path, aegis_error_t *err);

/* Each fault that was found in it also says its line. */
void aegis_conf_yaml_lines(const char *path, aegis_error_t *err);

/* A template of plans, proved. NULL and err (with the file's name) on failure. */
json_t *aegis_conf_template_file(const char *path, aegis_error_t *err);

/* The analyst's rules; none (NULL) where no file is named or the default's is absent. */
aegis_code_t aegis_conf_detectors(const aegis_conf_t *conf, aegis_detect_rules_t **ret,
    aegis_error_t *err);

/* All *.yaml of a folder: {name: {"hash", "body"}}, bodies without examples. NULL
 * and err on failure: one bad file is enough. */
json_t *aegis_conf_templates(const char *dir, aegis_error_t *err);

#endif
