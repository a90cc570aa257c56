/*
 * aegis_module_expire.c: the gate's clock. A question to people that nobody
 * answered in time goes through the same decision as a command, under an id of
 * its own, so that two gate roles expire it once.
 * Invariant: the clock only ever says no; what it closed is recorded as expired
 * (core/aegis_module_gate.c), and what it could not do now it does the next time.
 */
#include "aegis_module_role.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define AEGIS_MODULE_DUE  "64"
#define AEGIS_MODULE_DUE_MAX  64

/* What a delivery borrows while it is worked on. */
typedef struct {
    char  id[64];
    char  tenant[256];
    char  case_id[64];
    char  correlation[1024];
} aegis_module_due_t;

static aegis_str_t
aegis_module_keep(char *to, size_t size, const char *value, const char *behind)
{
    snprintf(to, size, "%s%s", value ? value : "", behind);
    return aegis_view(to);
}

/* Row i as the command to look at the case again. */
static void
aegis_module_due_fill(const aegis_pg_t *pg, int i, aegis_module_due_t *due,
    aegis_delivery_t *d)
{
    aegis_message_t  *msg;

    memset(d, 0, sizeof(*d));
    msg = &d->msg;
    msg->tenant = aegis_module_keep(due->tenant, sizeof(due->tenant),
                                    aegis_pg_value(pg, i, 0), "");
    msg->case_id = aegis_module_keep(due->case_id, sizeof(due->case_id),
                                     aegis_pg_value(pg, i, 1), "");
    msg->case_version = atoi(aegis_pg_value(pg, i, 2));
    msg->id = aegis_module_keep(due->id, sizeof(due->id), aegis_pg_value(pg, i, 3),
                                ":expire");
    msg->correlation_id = aegis_module_keep(due->correlation, sizeof(due->correlation),
                                            aegis_pg_value(pg, i, 4), "");
    msg->data = json_pack("{s:i}", "case_version", msg->case_version);
}

static void
aegis_module_measure(aegis_worker_t *w, aegis_error_t *err)
{
    int  n;

    if (aegis_pg_sql(w->pg, AEGIS_SQL_GATE_LAG, 0, NULL, &n, err) == AEGIS_E_OK && n == 1) {
        aegis_metric_set(aegis_gauge("aegis_gate_waiting", "",
                                     "plans that wait for people to approve them"),
                         strtod(aegis_pg_value(w->pg, 0, 0), NULL));
        aegis_metric_set(aegis_gauge("aegis_gate_oldest_waiting_seconds", "",
                                     "how long the oldest of them has waited"),
                         strtod(aegis_pg_value(w->pg, 0, 1), NULL));
    }

    aegis_pg_clear(w->pg);
}

int
aegis_module_expire(aegis_worker_t *w)
{
    int                  n, i, done;
    const char          *params[1] = { AEGIS_MODULE_DUE };
    aegis_code_t         rc;
    aegis_error_t        err = AEGIS_ERROR_INIT;
    aegis_delivery_t    *d;
    aegis_module_due_t  *due;

    rc = aegis_pg_sql(w->pg, AEGIS_SQL_GATE_DUE, 1, params, &n, &err);
    if (rc != AEGIS_E_OK) {
        aegis_error_clear(&err);
        return 0;
    }

    due = n ? calloc(AEGIS_MODULE_DUE_MAX, sizeof(*due)) : NULL;
    d = n ? calloc(AEGIS_MODULE_DUE_MAX, sizeof(*d)) : NULL;
    n = due && d ? n : 0;

    for (i = 0; i < n; i++) {
        aegis_module_due_fill(w->pg, i, &due[i], &d[i]);
    }

    aegis_pg_clear(w->pg);

    if (n) {
        rc = aegis_module_batch(w, d, (size_t) n, &err);
    }

    for (i = 0, done = 0; i < n; i++) {
        done += rc == AEGIS_E_OK && d[i].code == AEGIS_E_OK;
        if (rc != AEGIS_E_OK || d[i].code != AEGIS_E_OK) {
            aegis_log(AEGIS_LOG_WARN, "gate", "approval.not_expired", "case_id", "%s",
                      due[i].case_id, "reason", "%s",
                      rc == AEGIS_E_OK ? d[i].reason : err.detail, NULL);
        }
        json_decref(d[i].msg.data);
    }

    aegis_metric_add(aegis_counter("aegis_gate_expired_total", "",
                                   "approvals that nobody gave in time"), done);
    aegis_module_measure(w, &err);
    aegis_error_clear(&err);
    free(due);
    free(d);

    return n == AEGIS_MODULE_DUE_MAX && done == n;
}
