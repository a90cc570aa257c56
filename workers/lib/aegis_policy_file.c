/*
 * aegis_policy_file.c: a policy from its YAML file, and time zones from the
 * system's tzdata. Its invariant: what comes out can be judged by anywhere,
 * without a file: each zone that is named is in it. What a policy means is
 * core/aegis_policy.h, what a zone means core/aegis_zone.h.
 */
#include "aegis_policy_file.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "aegis_check.h"
#include "aegis_conf.h"
#include "aegis_json.h"
#include "aegis_policy.h"
#include "aegis_zone.h"

#define AEGIS_POLICY_ZONEINFO  "/usr/share/zoneinfo"

/* Nothing is judged that is older, and every machine keeps the same. */
#define AEGIS_POLICY_ZONES_SINCE  1577836800        /* 2020-01-01 */

static json_t *
aegis_policy_zone_load(const char *name, const char *at, aegis_error_t *err)
{
    char           path[512], *bytes;
    FILE          *in;
    json_t        *zone;
    size_t         n;
    const char    *dir;
    aegis_error_t  why = AEGIS_ERROR_INIT;

    dir = getenv("TZDIR");
    snprintf(path, sizeof(path), "%.400s/%s", dir && *dir ? dir : AEGIS_POLICY_ZONEINFO,
             name);

    in = fopen(path, "rbe");
    if (in == NULL) {
        aegis_error_at(err, at, "%s: %s: no such time zone, or tzdata is not installed",
                       path, strerror(errno));
        return NULL;
    }

    bytes = malloc(AEGIS_ZONE_MAX_FILE + 1);
    n = bytes ? fread(bytes, 1, AEGIS_ZONE_MAX_FILE + 1, in) : 0;
    fclose(in);

    if (aegis_zone_read((aegis_str_t) { n, bytes ? bytes : "" }, AEGIS_POLICY_ZONES_SINCE,
                        &zone, &why) != AEGIS_E_OK)
    {
        aegis_error_at(err, at, "%s: %.200s", path, why.detail);
        zone = NULL;
    }

    aegis_error_clear(&why);
    free(bytes);

    return zone;
}

/* The zone that an object names, into zones. */
static void
aegis_policy_zone_put(json_t *zones, const json_t *object, const char *at,
    aegis_error_t *err)
{
    char         sub[AEGIS_CHECK_POINTER];
    json_t      *zone;
    const char  *name;

    name = aegis_json_str(object, "timezone");

    if (name[0] == '\0' || json_object_get(zones, name)) {
        return;
    }

    aegis_error_pointer(sub, sizeof(sub), at, "timezone");
    zone = aegis_policy_zone_load(name, sub, err);

    if (zone) {
        json_object_set_new(zones, name, zone);
    }
}

static void
aegis_policy_zones(json_t *policy, aegis_error_t *err)
{
    char     at[AEGIS_CHECK_POINTER];
    size_t   i;
    json_t  *zones, *rules;

    zones = json_object();
    rules = json_object_get(policy, "rules");

    aegis_policy_zone_put(zones, policy, "", err);

    for (i = 0; i < json_array_size(rules); i++) {
        aegis_error_index(at, sizeof(at), "/rules", i);
        aegis_policy_zone_put(zones, json_array_get(rules, i), at, err);
    }

    if (json_object_size(zones)) {
        json_object_set(policy, "zones", zones);
    }

    json_decref(zones);
}

aegis_code_t
aegis_policy_file(const char *path, json_t **ret_policy, aegis_error_t *err)
{
    json_t         *policy;
    aegis_code_t    code;
    aegis_error_t   found = AEGIS_ERROR_INIT;

    policy = aegis_conf_yaml_file(path, err);
    if (policy == NULL) {
        return err->code;
    }

    code = aegis_policy_check(policy, &found);

    if (code == AEGIS_E_OK && json_object_get(policy, "zones")) {
        aegis_error_at(&found, "/zones", "is made of the system's tzdata");
    }

    if (found.code == AEGIS_E_OK) {
        aegis_policy_zones(policy, &found);
    }

    aegis_conf_yaml_lines(path, &found);
    code = aegis_error_move(err, &found);

    if (code != AEGIS_E_OK) {
        json_decref(policy);
        return code;
    }

    *ret_policy = policy;

    return AEGIS_E_OK;
}
