/*
 * aegis_relay_mark.c: what of a batch is marked as published.
 * Invariant: a row is marked only when it and all earlier rows of its case on its
 * transport were acked; the rest is published again, in order.
 */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

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
