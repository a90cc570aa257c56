/*
 * aegis_conf_impl.h: what the files of the configuration share: a YAML file as a
 * tree that remembers where each node stood, and the table of routes.
 * Private to workers/lib/aegis_conf*.c: others see aegis_conf.h.
 */
#ifndef AEGIS_CONF_IMPL_H
#define AEGIS_CONF_IMPL_H

#include "aegis_conf.h"
#include "aegis_yaml.h"

/* The one document of a file. */
aegis_code_t aegis_yaml_read(const char *path, aegis_yaml_t **ret_doc, aegis_error_t *err);

/* The first thing that is wrong, behind the file's name, into err; why is cleared. */
aegis_code_t aegis_conf_refuse(const char *path, aegis_error_t *why, aegis_error_t *err);

/* "file:line:column" of a node; buf holds 512 bytes. */
void aegis_yaml_where(const char *path, const aegis_yaml_t *node, char *buf);

/* May the setting have this value? where is for the sentence that says no. */
aegis_code_t aegis_conf_check(const char *name, int is_int, const char *value,
    const char *where, aegis_error_t *err);

/* bus.routes, in order. */
#define AEGIS_CONF_ROUTES  64

typedef struct {
    size_t              n;
    aegis_conf_route_t  items[AEGIS_CONF_ROUTES];
} aegis_conf_routes_t;

void aegis_conf_routes_clear(aegis_conf_routes_t *routes);
aegis_code_t aegis_conf_routes_yaml(aegis_conf_routes_t *routes, const char *path,
    const aegis_yaml_t *list, aegis_error_t *err);

/* "cmd.>=nats,evt.>=kafka": the form of the environment. */
aegis_code_t aegis_conf_routes_env(aegis_conf_routes_t *routes, const char *value,
    const char *where, aegis_error_t *err);

/* The first row that matches; "nats" when none does. */
const char *aegis_conf_routes_match(const aegis_conf_routes_t *routes,
    aegis_str_t subject);

/* 0 when there is no memory; to is cleared first. */
int aegis_conf_routes_copy(aegis_conf_routes_t *to, const aegis_conf_routes_t *from);
int aegis_conf_routes_same(const aegis_conf_routes_t *a, const aegis_conf_routes_t *b);

#endif
