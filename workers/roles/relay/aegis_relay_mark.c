/*
 * aegis_relay_mark.c: what of a batch is marked as published, and when.
 * Invariant: a row is marked only when it and all earlier rows of its case on its
 * transport were acked; the rest is published again, in order. Marks wait for the
 * next fetch, which is at most a gathering away, and are lost with the process:
 * then the rows are published again under their ids.
 */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "aegis_failpoint.h"
#include "aegis_relay.h"

/* Order is kept within a case on one transport. */
static int
aegis_relay_same_case(aegis_worker_t *w, const aegis_relay_row_t *a,
    const aegis_relay_row_t *b)
{
    return strcmp(a->case_id, b->case_id) == 0 && strcmp(a->tenant, b->tenant) == 0
           && strcmp(aegis_conf_transport(w->conf, a->out.subject),
                     aegis_conf_transport(w->conf, b->out.subject)) == 0;
}

/* Mark what is published: of each case only what stands before its first
 * failure on that transport, so that the rest is published again in order. */
aegis_code_t
aegis_relay_mark(aegis_worker_t *w, int *ret_marked, aegis_error_t *err)
{
    int                 i, k, n, n_failed, marked;
    char               *ids, *parts, *at, *p[3];
    aegis_code_t        rc;
    aegis_relay_t      *r;
    const char         *params[3];
    aegis_relay_row_t  *row;

    r = w->data;
    *ret_marked = marked = n_failed = 0;
    ids = malloc((size_t) r->n * (21 + 7 + 48) + 9);
    if (ids == NULL) {
        return aegis_error_set(err, AEGIS_E_UNAVAILABLE, "no memory");
    }

    p[0] = ids;
    p[1] = parts = ids + (size_t) r->n * 21 + 3;
    p[2] = at = parts + (size_t) r->n * 7 + 3;

    for (i = 0, *p[0]++ = *p[1]++ = *p[2]++ = '{'; i < r->n; i++) {
        row = &r->rows[i];
        for (k = 0; k < n_failed
                    && !aegis_relay_same_case(w, &r->rows[r->failed[k]], row); k++)
        {
            /* void */
        }

        if (k < n_failed) {
            continue;
        }
        if (!row->out.published) {
            r->failed[n_failed++] = i;
            continue;
        }
        p[0] += sprintf(p[0], "%s%.20s", marked ? "," : "", row->id);
        p[1] += sprintf(p[1], "%s%.6s", marked ? "," : "", row->part);
        p[2] += sprintf(p[2], "%s\"%.40s\"", marked ? "," : "", row->at);
        marked++;
    }
    strcpy(p[0], "}");
    strcpy(p[1], "}");
    strcpy(p[2], "}");

    rc = AEGIS_E_OK;
    if (marked) {
        params[0] = parts;
        params[1] = ids;
        params[2] = at;
        rc = aegis_pg_sql(w->pg, AEGIS_SQL_OUTBOX_MARK, 3, params, &n, err);
        aegis_pg_clear(w->pg);
    }

    free(ids);
    *ret_marked = marked;
    return rc;
}

aegis_code_t
aegis_relay_mark_later(aegis_worker_t *w, aegis_error_t *err)
{
    int             i;
    char           *p;
    const char     *since, *until;
    aegis_relay_t  *r;

    r = w->data;
    free(r->done);
    r->done = p = malloc((size_t) r->n * 21 + 2);
    if (p == NULL) {
        return aegis_error_set(err, AEGIS_E_UNAVAILABLE, "no memory");
    }

    since = until = r->rows[0].at;
    for (i = 0; i < r->n; i++) {
        *p++ = i ? ',' : '{';
        p = stpncpy(p, r->rows[i].id, 20);
        since = strcmp(r->rows[i].at, since) < 0 ? r->rows[i].at : since;
        until = strcmp(r->rows[i].at, until) > 0 ? r->rows[i].at : until;
    }
    strcpy(p, "}");

    r->n_done = r->n;
    snprintf(r->done_since, sizeof(r->done_since), "%s", since);
    snprintf(r->done_until, sizeof(r->done_until), "%s", until);
    return AEGIS_E_OK;
}

aegis_code_t
aegis_relay_next(aegis_worker_t *w, int limit, int *ret_n, aegis_error_t *err)
{
    char            parts[128], text[16];
    aegis_code_t    rc;
    aegis_relay_t  *r;
    const char     *params[5];

    r = w->data;
    aegis_relay_parts(r, parts, sizeof(parts));
    snprintf(text, sizeof(text), "%d", limit);
    params[0] = parts;
    params[1] = text;
    params[2] = r->done;
    params[3] = r->done ? r->done_since : NULL;
    params[4] = r->done ? r->done_until : NULL;

    rc = aegis_pg_sql(w->pg, AEGIS_SQL_OUTBOX_NEXT, 5, params, ret_n, err);
    if (r->done != NULL) {
        aegis_metric_add(r->published, rc == AEGIS_E_OK ? r->n_done : 0);
        free(r->done);                  /* whatever came of it: what is not marked comes again */
        r->done = NULL;
        (void) AEGIS_FP(relay_after_mark, "relay");
    }

    return rc;
}

void
aegis_relay_mark_rest(aegis_worker_t *w)
{
    int             n;
    aegis_error_t   err = AEGIS_ERROR_INIT;
    aegis_relay_t  *r;

    r = w->data;
    if (r->done != NULL && aegis_pg_connected(w->pg)
        && aegis_relay_next(w, 0, &n, &err) != AEGIS_E_OK)
    {
        aegis_relay_trouble(w, "mark-failed", &err);
    }
    aegis_pg_clear(w->pg);
    free(r->done);
    r->done = NULL;
}
