/*
 * aegis_module_templates.c: the planner's templates, from plan.template_dir into
 * aegis.plan_template, where every planner and POST /plan/generate find the same
 * set. Invariant: only a set whose every file was proved gets in; a bad file
 * changes nothing. What becomes of a template is core/aegis_plan_build.c.
 */
#include "aegis_module_role.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "aegis_json.h"
#include "aegis_plan.h"

#define AEGIS_MODULE_TEMPLATES_RETRY_MS  1000

struct aegis_module_templates_s {
    char            *set;               /* JSON; NULL: none was read */
    char             hash[65];
    char             source[4096];
    int              stored;            /* it is in the database */
    aegis_metric_t  *errors;
    aegis_metric_t  *ok;
    aegis_metric_t  *count;
};

static aegis_code_t
aegis_module_templates_read(aegis_module_templates_t *t, const aegis_conf_t *conf,
    aegis_error_t *err)
{
    char     path[4096], hash[65], *text;
    size_t   n;
    json_t  *set;

    (void) aegis_conf_path(conf, "plan.template_dir", path);

    set = aegis_conf_templates(path, err);
    if (set == NULL) {
        return err->code;
    }

    n = json_object_size(set);
    aegis_plan_hash(set, hash);
    text = aegis_json_text(set);
    json_decref(set);

    if (text == NULL) {
        return aegis_error_set(err, AEGIS_E_UNAVAILABLE, "no memory for the templates");
    }

    free(t->set);
    t->set = text;
    memcpy(t->hash, hash, sizeof(hash));
    snprintf(t->source, sizeof(t->source), "%s", path);
    t->stored = 0;
    aegis_metric_set(t->count, (double) n);

    return AEGIS_E_OK;
}

aegis_code_t
aegis_module_templates_init(aegis_worker_t *w, aegis_error_t *err)
{
    aegis_code_t               rc;
    aegis_module_templates_t  *t;

    t = calloc(1, sizeof(aegis_module_templates_t));
    if (t == NULL) {
        return aegis_error_set(err, AEGIS_E_UNAVAILABLE, "no memory");
    }

    ((aegis_module_worker_t *) w->data)->templates = t;

    t->errors = aegis_counter("aegis_plan_template_errors_total", "",
                              "folders of templates that were refused");
    t->ok = aegis_gauge("aegis_plan_templates_ok", "",
                        "1 when the folder of templates as it is now is in force");
    t->count = aegis_gauge("aegis_plan_templates", "", "templates in force");

    rc = aegis_module_templates_read(t, w->conf, err);
    aegis_metric_set(t->ok, rc == AEGIS_E_OK);

    return rc;
}

/* Keep what is in force when a new file is bad. */
void
aegis_module_templates_reload(aegis_worker_t *w)
{
    aegis_code_t               rc;
    aegis_error_t              err = AEGIS_ERROR_INIT;
    aegis_module_templates_t  *t;

    t = ((aegis_module_worker_t *) w->data)->templates;
    rc = aegis_module_templates_read(t, w->conf, &err);
    aegis_metric_set(t->ok, rc == AEGIS_E_OK);

    if (rc != AEGIS_E_OK) {
        aegis_metric_add(t->errors, 1);
        aegis_log(AEGIS_LOG_ERROR, "planner", "templates.refused", "detail", "%s",
                  err.detail, "kept", "%s", t->hash, NULL);
    }

    aegis_error_clear(&err);
}

/* POST /plan/generate builds of the database's set even while no command comes. */
int
aegis_module_templates_tick(aegis_worker_t *w)
{
    aegis_code_t   rc;
    aegis_error_t  err = AEGIS_ERROR_INIT;

    rc = aegis_module_templates_store(((aegis_module_worker_t *) w->data)->templates, w->pg,
                                      &err);
    if (rc != AEGIS_E_OK) {
        aegis_log(AEGIS_LOG_WARN, "planner", "templates.not_stored", "detail", "%s",
                  err.detail, NULL);
    }

    aegis_error_clear(&err);
    aegis_carry_offer(AEGIS_CARRY_BIT(AEGIS_MODULE_plan),
                      ((aegis_module_worker_t *) w->data)->templates->stored);
    return AEGIS_MODULE_TEMPLATES_RETRY_MS;
}

aegis_code_t
aegis_module_templates_store(aegis_module_templates_t *t, aegis_pg_t *pg,
    aegis_error_t *err)
{
    int           n;
    const char   *params[3];
    aegis_code_t  rc;

    if (t == NULL || t->stored) {
        return AEGIS_E_OK;
    }

    params[0] = t->hash;
    params[1] = t->set;
    params[2] = t->source;

    rc = aegis_pg_sql(pg, AEGIS_SQL_TEMPLATES_PUT, 3, params, &n, err);
    aegis_pg_clear(pg);

    /* a lost answer is harmless: the same set is not put in twice in a row */
    if (rc != AEGIS_E_OK) {
        return rc;
    }

    t->stored = 1;
    aegis_log(AEGIS_LOG_INFO, "planner", "templates.in_force", "hash", "%s", t->hash,
              "source", "%s", t->source, NULL);

    return AEGIS_E_OK;
}

void
aegis_module_templates_free(aegis_module_templates_t *t)
{
    if (t != NULL) {
        free(t->set);
        free(t);
    }
}
