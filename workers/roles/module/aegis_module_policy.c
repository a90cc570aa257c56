/*
 * aegis_module_policy.c: the gatekeeper's policy, from gate.policy_file into
 * aegis.gate_policy, where every gate role and POST /gate/eval find it.
 * Invariant: only a policy that the core has checked gets in; a file that is
 * bad changes nothing. Judging by it is core/aegis_policy.h.
 */
#include "aegis_module_role.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "aegis_json.h"
#include "aegis_plan.h"
#include "aegis_policy.h"
#include "aegis_policy_file.h"

/* The first pointer of a schema violation says more than the code alone. */
static aegis_code_t
aegis_module_policy_refuse(const char *path, aegis_error_t *why, aegis_error_t *err)
{
    json_t        *first;
    const char    *pointer, *detail;
    aegis_code_t   code;

    code = why->code;
    first = json_array_get(why->errors, 0);
    pointer = json_string_value(json_object_get(first, "pointer"));
    detail = json_string_value(json_object_get(first, "detail"));

    if (detail != NULL) {
        (void) aegis_error_set(err, code, "%s: %s: %s", path, pointer ? pointer : "",
                               detail);
    } else {
        /* what could not be read says its name already */
        (void) aegis_error_set(err, code, "%s", why->detail);
    }

    aegis_error_clear(why);
    return code;
}

aegis_code_t
aegis_module_policy_read(aegis_module_policy_t *policy, const aegis_conf_t *conf,
    aegis_error_t *err)
{
    char           path[4096], hash[65], *body;
    json_t        *json;
    aegis_code_t   rc;
    aegis_error_t  why = AEGIS_ERROR_INIT;

    (void) aegis_conf_path(conf, "gate.policy_file", path);

    rc = aegis_policy_file(path, &json, &why);
    if (rc != AEGIS_E_OK) {
        return aegis_module_policy_refuse(path, &why, err);
    }


    aegis_plan_hash(json, hash);
    body = aegis_json_text(json);
    json_decref(json);
    if (body == NULL) {
        return aegis_error_set(err, AEGIS_E_UNAVAILABLE, "no memory for the policy");
    }

    free(policy->body);
    policy->body = body;
    memcpy(policy->hash, hash, sizeof(hash));
    snprintf(policy->source, sizeof(policy->source), "%s", path);
    policy->stored = 0;

    return AEGIS_E_OK;
}

aegis_code_t
aegis_module_policy_store(aegis_module_policy_t *policy, aegis_pg_t *pg,
    aegis_error_t *err)
{
    int           n;
    const char   *params[3];
    aegis_code_t  rc;

    if (policy->stored) {
        return AEGIS_E_OK;
    }

    params[0] = policy->hash;
    params[1] = policy->body;
    params[2] = policy->source;

    rc = aegis_pg_sql(pg, AEGIS_SQL_POLICY_PUT, 3, params, &n, err);
    aegis_pg_clear(pg);

    /* a lost answer is harmless: the same hash is not put in twice in a row */
    if (rc != AEGIS_E_OK) {
        return rc;
    }

    policy->stored = 1;
    aegis_log(AEGIS_LOG_INFO, "gate", "policy.in_force", "hash", "%s", policy->hash,
              "source", "%s", policy->source, NULL);

    return AEGIS_E_OK;
}

void
aegis_module_policy_reload(aegis_worker_t *w)
{
    aegis_code_t            rc;
    aegis_error_t           err = AEGIS_ERROR_INIT;
    aegis_module_worker_t  *mw;

    mw = w->data;
    rc = aegis_module_policy_read(mw->policy, w->conf, &err);
    aegis_metric_set(mw->policy->loaded, rc == AEGIS_E_OK);

    if (rc != AEGIS_E_OK) {
        aegis_metric_add(mw->policy->errors, 1);
        aegis_log(AEGIS_LOG_ERROR, "gate", "policy.refused", "detail", "%s", err.detail,
                  "kept", "%s", mw->policy->hash, NULL);

    } else if (w->pg != NULL) {
        /* in force at once; when that fails the next tick says so and tries again */
        (void) aegis_module_policy_store(mw->policy, w->pg, &err);
    }

    aegis_error_clear(&err);
}

void
aegis_module_policy_free(aegis_module_policy_t *policy)
{
    if (policy == NULL) {
        return;
    }

    free(policy->body);
    free(policy);
}
