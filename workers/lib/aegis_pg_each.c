/*
 * aegis_pg_each.c: a batch whose members must not fail each other: first as one
 * group, then whoever could not be settled by himself.
 * Invariant: the order within a case is kept: what could not be settled holds
 * back the later items of its case, and of nobody else.
 */
#include "aegis_pg_impl.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#define AEGIS_PG_TRIES    3

/* Locked rows cost a lock_timeout each. What is not settled by then comes
 * again later, so that the rest of the batch is not kept from its answers. */
#define AEGIS_PG_EACH_MS  2000

/* 10, 40, 160 ms, half of it at random: two workers that met once should not
 * meet again. */
static void
aegis_pg_backoff(aegis_pg_t *pg, int attempt)
{
    int              ms;
    struct timespec  ts;

    ms = 10 << (2 * attempt);
    ms = ms / 2 + rand_r(&pg->seed) % (ms / 2 + 1);
    ts.tv_sec = ms / 1000;
    ts.tv_nsec = (long) (ms % 1000) * 1000000;
    nanosleep(&ts, NULL);
}

static int
aegis_pg_unsettled(const aegis_pg_row_t *row)
{
    return row->ord == 0 || strcmp(row->code, "again") == 0
           || strcmp(row->code, "busy") == 0;
}

static void
aegis_pg_give_up(aegis_pg_t *pg, size_t i, const char *code)
{
    aegis_pg_row_t  *row;

    row = &pg->rows[i];
    memset(row, 0, sizeof(*row));
    row->ord = (int) i + 1;
    row->status = 503;
    row->code = code;
    row->body = aegis_view(pg->detail);
}

/* Does an earlier item of the same case wait? */
static int
aegis_pg_held_back(const aegis_item_t *const *items, const unsigned char *waits,
    size_t i)
{
    size_t              k;
    const aegis_str_t  *a, *b, *ta, *tb;

    a = &items[i]->v[AEGIS_C_case_id];
    ta = &items[i]->v[AEGIS_C_tenant];
    if (a->data == NULL) {
        return 0;
    }

    for (k = 0; k < i; k++) {
        b = &items[k]->v[AEGIS_C_case_id];
        tb = &items[k]->v[AEGIS_C_tenant];
        if (waits[k] && b->data != NULL && a->len == b->len && ta->len == tb->len
            && memcmp(a->data, b->data, a->len) == 0
            && (ta->len == 0 || memcmp(ta->data, tb->data, ta->len) == 0))
        {
            return 1;
        }
    }

    return 0;
}

/* One item until it is settled, or its tries are over. */
static aegis_code_t
aegis_pg_alone(aegis_pg_t *pg, aegis_stmt_id_t stmt, const aegis_item_t *const *item,
    int notify, int64_t deadline, aegis_pg_row_t *row, aegis_error_t *err)
{
    int           attempt;
    aegis_code_t  rc;

    for (attempt = 0; ; attempt++) {
        memset(row, 0, sizeof(*row));
        rc = aegis_pg_run_into(pg, stmt, item, 1, notify, row, err);

        if (rc == AEGIS_E_OK && !aegis_pg_unsettled(row)) {
            return rc;
        }
        if (attempt == AEGIS_PG_TRIES - 1 || aegis_pg_now() >= deadline
            || (rc == AEGIS_E_INTERNAL && pg->permanent))
        {
            return rc;
        }
        aegis_pg_backoff(pg, attempt);
    }
}

aegis_code_t
aegis_pg_run_each(aegis_pg_t *pg, aegis_stmt_id_t stmt, const aegis_item_t *const *items,
    size_t n, int notify, const aegis_pg_row_t **ret_rows, aegis_error_t *err)
{
    int              attempt;
    size_t           i;
    int64_t          deadline;
    aegis_code_t     rc;
    unsigned char   *waits;
    aegis_pg_row_t  *rows;

    /* Away or lost: connect and run the group again. A key takes effect once. */
    for (attempt = 0; ; attempt++) {
        rc = aegis_pg_run(pg, stmt, items, n, notify, ret_rows, err);
        if ((rc != AEGIS_E_UNAVAILABLE && rc != AEGIS_E_UNKNOWN_OUTCOME)
            || attempt == AEGIS_PG_TRIES - 1)
        {
            break;
        }
        aegis_pg_backoff(pg, attempt);
    }

    if (rc != AEGIS_E_OK && rc != AEGIS_E_BUSY && rc != AEGIS_E_INTERNAL) {
        return rc;
    }
    if (rc != AEGIS_E_OK) {
        if (pg->rows == NULL) {
            return rc;
        }
        memset(pg->rows, 0, sizeof(aegis_pg_row_t) * n);
    }

    waits = calloc(n, 1);
    if (waits == NULL) {
        return aegis_error_set(err, AEGIS_E_UNAVAILABLE, "no memory");
    }

    rows = pg->rows;
    pg->detail[0] = '\0';
    deadline = aegis_pg_now() + AEGIS_PG_EACH_MS;

    for (i = 0; i < n; i++) {
        if (!aegis_pg_unsettled(&rows[i])) {
            continue;
        }
        if (aegis_pg_now() >= deadline || aegis_pg_held_back(items, waits, i)) {
            waits[i] = 1;
            aegis_pg_give_up(pg, i, "busy");
            continue;
        }

        rc = aegis_pg_alone(pg, stmt, &items[i], notify, deadline, &rows[i], err);

        if (rc == AEGIS_E_OK && !aegis_pg_unsettled(&rows[i])) {
            rows[i].ord = (int) i + 1;
            continue;
        }

        waits[i] = 1;
        if (rc != AEGIS_E_OK) {
            snprintf(pg->detail, sizeof(pg->detail), "%s", err->detail);
        }
        aegis_pg_give_up(pg, i, (rc == AEGIS_E_OK || rc == AEGIS_E_BUSY)
                                      ? "busy" : "internal");

        /* Gone in the middle: what is settled stays, the rest comes again. */
        if (rc == AEGIS_E_UNAVAILABLE || rc == AEGIS_E_UNKNOWN_OUTCOME) {
            for ( ; i < n; i++) {
                if (aegis_pg_unsettled(&rows[i])) {
                    aegis_pg_give_up(pg, i, "internal");
                }
            }
        }
    }

    free(waits);
    *ret_rows = rows;
    return AEGIS_E_OK;
}
