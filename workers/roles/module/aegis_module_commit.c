/*
 * aegis_module_commit.c: commit what was decided on commands: with all that this
 * process can do next for their cases, in one transaction, or by itself.
 * Invariant: a command is judged by what its commit answered, never by what was
 * loaded before.
 */
#include "aegis_module_role.h"

#include <stdio.h>
#include <string.h>

#include "aegis_fsm.h"

/* Not decided, because the case is not where the command thinks: the commit
 * still goes out, so that SQL says stale-fact and the inbox knows the command. */
#define AEGIS_MODULE_NO_DOC  "{}"

/* The state that asks for this module. */
static aegis_state_t
aegis_module_state(const aegis_module_t *module)
{
    int  s;

    for (s = 0; s < AEGIS_N_STATES
                && strcmp(aegis_state_command((aegis_state_t) s), module->command) != 0; s++)
    {
        /* void */
    }

    return (aegis_state_t) s;
}

/* What the commit says of one command. */
static void
aegis_module_judge(aegis_worker_t *w, aegis_module_work_t *k, const aegis_pg_row_t *row)
{
    const char             *code;
    aegis_state_t           to;
    aegis_module_worker_t  *mw;

    mw = w->data;
    code = row->code;

    if (strcmp(code, "ok") == 0 || strcmp(code, "replay") == 0
        || strcmp(code, "stale-fact") == 0)
    {
        k->d->code = AEGIS_E_OK;
        if (strcmp(code, "ok") == 0) {
            aegis_carry_count_verdict(k->said.verdict);
            to = aegis_state_by_name(row->body);
            if (row->version > k->d->msg.case_version && to != AEGIS_N_STATES) {
                aegis_carry_count_move(aegis_module_state(mw->module), to, k->said.event);
            }
        }
    } else {
        aegis_module_refused(k->d, row);
    }

    aegis_carry_count_command(mw->module->role, code);
}

/* Commit, and carry the cases on in the same transaction by the other modules of this
 * process. 0: nothing has happened, and the commit is to be tried without them. */
static int
aegis_module_on(aegis_worker_t *w, aegis_module_work_t *works,
    const aegis_item_t *const *items, size_t n)
{
    int                 ok;
    size_t              i;
    unsigned            here;
    aegis_code_t        rc;
    aegis_error_t       err = AEGIS_ERROR_INIT;
    aegis_pg_row_t      rows[AEGIS_MODULE_BATCH];
    aegis_carried_t     cases[AEGIS_MODULE_BATCH];
    aegis_message_t    *msg;

    here = aegis_carry_offered();
    if ((here & (here - 1)) == 0 || aegis_carry_begin(w, here, &err) != AEGIS_E_OK) {
        aegis_error_clear(&err);
        return 0;
    }

    rc = aegis_pg_run_more(w->pg, AEGIS_STMT_MODULE_COMMIT, items, n,
                           aegis_pg_notify_due(w->pg), rows, &err);

    for (i = 0, ok = rc == AEGIS_E_OK; ok && i < n; i++) {
        msg = &works[i].d->msg;
        ok = strcmp(rows[i].code, "again") != 0 && strcmp(rows[i].code, "busy") != 0;
        memset(&cases[i], 0, sizeof(cases[i]));
        cases[i].tenant = aegis_module_or_empty(msg->tenant);
        cases[i].case_id = msg->case_id;
        cases[i].traceparent = aegis_module_or_empty(msg->traceparent);
        cases[i].correlation_id = aegis_module_or_empty(msg->correlation_id);
        cases[i].version = rows[i].version;
        cases[i].state = strcmp(rows[i].code, "ok") == 0 && rows[i].version > msg->case_version
                         ? aegis_state_by_name(rows[i].body) : AEGIS_N_STATES;
    }

    ok = ok && aegis_carry(w, here, cases, n, &err) == AEGIS_E_OK;
    rc = ok ? aegis_pg_commit(w->pg, &err) : rc;
    if (!ok) {
        aegis_pg_rollback(w->pg);
    }

    for (i = 0, ok = ok && rc == AEGIS_E_OK; ok && i < n; i++) {
        aegis_module_judge(w, &works[i], &rows[i]);
    }

    aegis_error_clear(&err);
    return ok;
}

aegis_code_t
aegis_module_commit(aegis_worker_t *w, aegis_module_work_t *works, size_t n,
    aegis_error_t *err)
{
    size_t                 i;
    aegis_str_t           *v;
    aegis_code_t           rc;
    const aegis_item_t    *items[AEGIS_MODULE_BATCH] = { NULL };
    const aegis_pg_row_t  *rows;

    for (i = 0; i < n; i++) {
        snprintf(works[i].version, sizeof(works[i].version), "%d",
                 works[i].d->msg.case_version);

        v = works[i].item->v;
        v[AEGIS_C_for_version] = aegis_module_text(works[i].version);
        v[AEGIS_C_doc] = aegis_module_text(works[i].doc ? works[i].doc
                                                        : AEGIS_MODULE_NO_DOC);
        items[i] = works[i].item;
    }

    if (aegis_module_on(w, works, items, n)) {
        return AEGIS_E_OK;
    }

    rc = aegis_pg_run_each(w->pg, AEGIS_STMT_MODULE_COMMIT, items, n,
                           aegis_pg_notify_due(w->pg), &rows, err);

    for (i = 0; rc == AEGIS_E_OK && i < n; i++) {
        aegis_module_judge(w, &works[i], &rows[i]);
    }

    return rc;
}
