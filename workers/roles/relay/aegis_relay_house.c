/*
 * aegis_relay_house.c: the relay's housekeeping: table partitions, commands
 * that got lost, cases that came to rest, the audit's seals, the outbox's lag.
 * Invariant: a failure here is counted and tried later; it never stops the
 * publishing.
 */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "aegis_relay.h"

#define AEGIS_RELAY_RECONCILE_MAX  200
#define AEGIS_RELAY_MAINTAIN_AGAIN 60000

/* rows of the audit at a time: about 10 ms of PostgreSQL's */
#define AEGIS_RELAY_SEAL     "1000"
#define AEGIS_RELAY_SEAL_MS  100

/* A case that did not move so long is at rest; how many a round may find so,
 * and how long until the next look when it found fewer. */
#define AEGIS_RELAY_SETTLE_AFTER   "60"
#define AEGIS_RELAY_SETTLE_MAX     500
#define AEGIS_RELAY_SETTLE_EVERY   5000

static int64_t
aegis_relay_maintain(aegis_worker_t *w)
{
    int            i, n;
    aegis_code_t   rc;
    aegis_error_t  err = AEGIS_ERROR_INIT;

    rc = aegis_pg_sql(w->pg, AEGIS_SQL_MAINTAIN, 0, NULL, &n, &err);
    if (rc != AEGIS_E_OK) {
        aegis_relay_trouble(w, "maintain-failed", &err);
        return AEGIS_RELAY_MAINTAIN_AGAIN;
    }

    for (i = 0; i < n; i++) {
        aegis_log(AEGIS_LOG_INFO, "relay", "partition",
                  "action", "%s", aegis_pg_value(w->pg, i, 0),
                  "partition", "%s", aegis_pg_value(w->pg, i, 1), NULL);
    }

    aegis_pg_clear(w->pg);

    /* one step a transaction: the next tick takes the next one */
    return n > 0 ? 0 : aegis_conf_int(w->conf, "maintain.every_s") * 1000;
}

static void
aegis_relay_reconcile(aegis_worker_t *w)
{
    int             n, sent;
    char            after[32], limit[16];
    aegis_code_t    rc;
    aegis_error_t   err = AEGIS_ERROR_INIT;
    aegis_relay_t  *r;
    const char     *params[2], *v;

    r = w->data;
    snprintf(after, sizeof(after), "%lld",
             (long long) aegis_conf_int(w->conf, "reconcile.after_s"));
    snprintf(limit, sizeof(limit), "%d", AEGIS_RELAY_RECONCILE_MAX);
    params[0] = after;
    params[1] = limit;

    rc = aegis_pg_sql(w->pg, AEGIS_SQL_RECONCILE, 2, params, &n, &err);
    if (rc != AEGIS_E_OK) {
        aegis_relay_trouble(w, "reconcile-failed", &err);
        return;
    }

    v = n == 1 ? aegis_pg_value(w->pg, 0, 0) : NULL;
    sent = v ? atoi(v) : 0;
    if (sent > 0) {
        aegis_metric_add(r->reconciled, sent);
        aegis_log(AEGIS_LOG_WARN, "relay", "reconciled", "n", "%d", sent, NULL);
    }

    aegis_pg_clear(w->pg);
}

static int64_t
aegis_relay_settle(aegis_worker_t *w)
{
    int             n, settled;
    char            limit[16];
    aegis_code_t    rc;
    aegis_error_t   err = AEGIS_ERROR_INIT;
    const char     *params[2], *v;

    snprintf(limit, sizeof(limit), "%d", AEGIS_RELAY_SETTLE_MAX);
    params[0] = AEGIS_RELAY_SETTLE_AFTER;
    params[1] = limit;

    rc = aegis_pg_sql(w->pg, AEGIS_SQL_SETTLE, 2, params, &n, &err);
    if (rc != AEGIS_E_OK) {
        aegis_relay_trouble(w, "settle-failed", &err);
        return AEGIS_RELAY_SETTLE_EVERY;
    }

    v = n == 1 ? aegis_pg_value(w->pg, 0, 0) : NULL;
    settled = v ? atoi(v) : 0;
    aegis_pg_clear(w->pg);

    return settled == AEGIS_RELAY_SETTLE_MAX ? 0 : AEGIS_RELAY_SETTLE_EVERY;
}

void
aegis_relay_house_init(aegis_relay_t *r)
{
    r->sealed = aegis_counter("aegis_audit_sealed_total", "",
        "Rows of timelines and decisions that were sealed into the audit's chain.");
    r->unsealed = aegis_gauge("aegis_audit_unsealed_seconds", "",
        "Age of the oldest timeline row that is not sealed.");
    r->async = aegis_gauge("aegis_db_standby_asynchronous", "",
        "1 when PostgreSQL has a standby that commits do not wait for.");
}

/* Chain what was committed; each root is logged, so that it is kept elsewhere too.
 * Returns the milliseconds until there may be more. */
static int64_t
aegis_relay_audit(aegis_worker_t *w)
{
    int             i, n, rows, most;
    aegis_code_t    rc;
    aegis_error_t   err = AEGIS_ERROR_INIT;
    aegis_relay_t  *r;
    const char     *params[1];

    r = w->data;
    params[0] = AEGIS_RELAY_SEAL;
    rc = aegis_pg_sql(w->pg, AEGIS_SQL_AUDIT_SEAL, 1, params, &n, &err);
    if (rc != AEGIS_E_OK) {
        aegis_relay_trouble(w, "audit-seal-failed", &err);
        return AEGIS_RELAY_MAINTAIN_AGAIN;
    }

    for (i = 0, most = 0; i < n; i++) {
        rows = atoi(aegis_pg_value(w->pg, i, 3));
        most += rows;
        aegis_metric_add(r->sealed, rows);
        aegis_log(AEGIS_LOG_INFO, "relay", "audit-sealed",
                  "tenant", "%s", aegis_pg_value(w->pg, i, 0),
                  "segment", "%s", aegis_pg_value(w->pg, i, 1),
                  "table", "%s", aegis_pg_value(w->pg, i, 2), "n", "%d", rows,
                  "root", "%s", aegis_pg_value(w->pg, i, 4), NULL);
    }
    aegis_pg_clear(w->pg);

    if (aegis_pg_sql(w->pg, AEGIS_SQL_AUDIT_LAG, 0, NULL, &n, &err) == AEGIS_E_OK && n == 1
        && aegis_pg_value(w->pg, 0, 0) != NULL)
    {
        aegis_metric_set(r->unsealed, strtod(aegis_pg_value(w->pg, 0, 0), NULL));
    }
    aegis_error_clear(&err);
    aegis_pg_clear(w->pg);

    /* half a page or more: there is a backlog, and messages go in between */
    return most >= atoi(AEGIS_RELAY_SEAL) / 2 ? AEGIS_RELAY_SEAL_MS
           : aegis_conf_int(w->conf, "audit.every_s") * 1000;
}

int
aegis_relay_house(aegis_worker_t *w, int64_t now)
{
    int64_t         due;
    aegis_relay_t  *r;

    r = w->data;

    if (now >= r->maintain_at) {
        r->maintain_at = now + aegis_relay_maintain(w);
    }
    if (now >= r->reconcile_at) {
        aegis_relay_reconcile(w);
        r->reconcile_at = now + aegis_conf_int(w->conf, "reconcile.every_s") * 1000;
    }

    if (now >= r->settle_at) {
        r->settle_at = now + aegis_relay_settle(w);
    }

    if (now >= r->audit_at) {
        r->audit_at = aegis_relay_audit(w) + aegis_relay_now();
    }

    due = r->maintain_at < r->reconcile_at ? r->maintain_at : r->reconcile_at;
    due = r->audit_at < due ? r->audit_at : due;
    due = due < r->settle_at ? due : r->settle_at;
    due -= aegis_relay_now();
    return due > 0 ? (int) due : 0;
}

void
aegis_relay_lag(aegis_worker_t *w)
{
    int             n;
    aegis_error_t   err = AEGIS_ERROR_INIT;
    aegis_relay_t  *r;

    r = w->data;

    if (aegis_pg_sql(w->pg, AEGIS_SQL_OUTBOX_LAG, 0, NULL, &n, &err) != AEGIS_E_OK) {
        aegis_relay_trouble(w, "lag-failed", &err);
        return;
    }

    if (n == 1 && aegis_pg_value(w->pg, 0, 0) && aegis_pg_value(w->pg, 0, 1)) {
        aegis_metric_set(r->pending, strtod(aegis_pg_value(w->pg, 0, 0), NULL));
        aegis_metric_set(r->oldest, strtod(aegis_pg_value(w->pg, 0, 1), NULL));
        aegis_metric_set(r->async, strtod(aegis_pg_value(w->pg, 0, 2), NULL));
    }

    aegis_pg_clear(w->pg);
}
