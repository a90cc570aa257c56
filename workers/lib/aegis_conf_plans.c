/*
 * aegis_conf_plans.c: a folder of plan templates as one set. Its invariant: a set
 * is whole: every file in it is a template that was proved (core/aegis_template.h)
 * and bears its file's name, or there is no set.
 */
#include "aegis_conf_impl.h"

#include <dirent.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "aegis_json.h"
#include "aegis_plan.h"
#include "aegis_template.h"

#define AEGIS_CONF_TEMPLATES  64        /* files in a folder */

/* The length of a template's name in a file's, 0: it is none. */
static size_t
aegis_conf_template_name(const char *file)
{
    size_t  n;

    n = strlen(file);

    return file[0] != '.' && n > 5 && n <= 63 + 5 && strcmp(file + n - 5, ".yaml") == 0
           ? n - 5 : 0;
}

aegis_code_t
aegis_conf_refuse(const char *path, aegis_error_t *why, aegis_error_t *err)
{
    json_t        *first;
    aegis_code_t   code;

    first = json_array_get(why->errors, 0);
    code = aegis_error_set(err, why->code, "%s: %s%s%s", path,
                           aegis_json_str(first, "pointer"), first ? ": " : "",
                           first ? aegis_json_str(first, "detail") : why->detail);
    aegis_error_clear(why);

    return code;
}

json_t *
aegis_conf_template_file(const char *path, aegis_error_t *err)
{
    size_t          n;
    json_t         *template;
    const char     *file;
    aegis_error_t   why = AEGIS_ERROR_INIT;

    template = aegis_conf_yaml_file(path, err);
    if (template == NULL) {
        return NULL;
    }

    if (aegis_template_prove(template, &why) != AEGIS_E_OK) {
        aegis_conf_yaml_lines(path, &why);
        aegis_conf_refuse(path, &why, err);
        json_decref(template);
        return NULL;
    }

    file = strrchr(path, '/') ? strrchr(path, '/') + 1 : path;
    n = aegis_conf_template_name(file);

    if (strlen(aegis_json_str(template, "template")) != n
        || strncmp(aegis_json_str(template, "template"), file, n) != 0)
    {
        aegis_error_set(err, AEGIS_E_SCHEMA, "%s: /template: must be the file's name without "
                        ".yaml", path);
        json_decref(template);
        return NULL;
    }

    return template;
}

/* Add one file of the folder to the set. */
static aegis_code_t
aegis_conf_templates_add(json_t *set, const char *path, aegis_error_t *err)
{
    char     hash[65];
    json_t  *template, *row;

    template = aegis_conf_template_file(path, err);
    if (template == NULL) {
        return err->code;
    }

    /* they have done their work, and every plan would carry them */
    json_object_del(template, "examples");
    aegis_plan_hash(template, hash);
    row = json_pack("{s:s, s:O}", "hash", hash, "body", template);

    if (row == NULL
        || json_object_set_new(set, aegis_json_str(template, "template"), row) != 0)
    {
        json_decref(template);
        return aegis_error_set(err, AEGIS_E_UNAVAILABLE, "no memory for the templates");
    }

    json_decref(template);

    return AEGIS_E_OK;
}

json_t *
aegis_conf_templates(const char *dir, aegis_error_t *err)
{
    DIR            *d;
    char            path[4096 + 256 + 2];
    json_t         *set;
    aegis_code_t    rc;
    struct dirent  *e;

    d = opendir(dir);
    if (d == NULL) {
        aegis_error_set(err, AEGIS_E_NOT_FOUND, "%s: %s", dir, strerror(errno));
        return NULL;
    }

    set = json_object();
    rc = AEGIS_E_OK;

    while (rc == AEGIS_E_OK && (e = readdir(d)) != NULL) {
        if (aegis_conf_template_name(e->d_name) == 0) {
            continue;
        }

        snprintf(path, sizeof(path), "%.4095s/%.255s", dir, e->d_name);
        rc = json_object_size(set) < AEGIS_CONF_TEMPLATES
             ? aegis_conf_templates_add(set, path, err)
             : aegis_error_set(err, AEGIS_E_SCHEMA, "%s: more than %d templates", dir,
                               AEGIS_CONF_TEMPLATES);
    }

    closedir(d);

    if (rc == AEGIS_E_OK && json_object_size(set) == 0) {
        rc = aegis_error_set(err, AEGIS_E_SCHEMA, "%s: there is no template (*.yaml)", dir);
    }

    if (rc != AEGIS_E_OK) {
        json_decref(set);
        return NULL;
    }

    return set;
}
