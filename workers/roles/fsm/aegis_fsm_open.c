/*
 * aegis_fsm_open.c: findings that name no case open one.
 * Invariant: one message opens one case, however often it is delivered: the
 * case's id comes out of the message's id, and each of the three statements
 * has a key of its own.
 */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "aegis_fsm_role.h"
#include "aegis_http.h"
#include "aegis_json.h"

int
aegis_fsm_opens(const aegis_message_t *msg)
{
    return msg->case_id.data == NULL
           && aegis_event_transition(msg) == AEGIS_EVENT_analysis_done;
}

static const char *
aegis_fsm_severity(const json_t *data)
{
    size_t       i;
    const char  *s;

    static const char *const  known[] = { "info", "warning", "error", "critical" };

    s = aegis_json_str(data, "severity");
    for (i = 0; i < sizeof(known) / sizeof(known[0]); i++) {
        if (strcmp(s, known[i]) == 0) {
            return known[i];
        }
    }

    return "warning";
}

/* Labels as a case has them: strings only. */
static char *
aegis_fsm_labels(const json_t *data)
{
    char        *text;
    json_t      *labels, *v;
    const char  *k;

    labels = json_object();
    json_object_foreach(json_object_get(data, "labels"), k, v) {
        if (json_is_string(v) && json_object_size(labels) < 32) {
            (void) json_object_set(labels, k, v);
        }
    }

    text = aegis_json_text(labels);
    json_decref(labels);
    return text;
}

static aegis_code_t
aegis_fsm_step(aegis_worker_t *w, aegis_stmt_id_t stmt, aegis_delivery_t *d,
    const aegis_item_t *item)
{
    aegis_code_t           rc;
    aegis_error_t          err = AEGIS_ERROR_INIT;
    const aegis_pg_row_t  *rows;

    rc = aegis_pg_run_each(w->pg, stmt, &item, 1, aegis_pg_notify_due(w->pg), &rows,
                           &err);
    if (rc == AEGIS_E_OK) {
        aegis_fsm_judge(d, &rows[0]);
    }

    aegis_pg_clear(w->pg);
    aegis_error_clear(&err);
    return rc;
}

static aegis_code_t
aegis_fsm_create(aegis_worker_t *w, aegis_fsm_ask_t *ask)
{
    char           *title, *labels;
    json_t         *data;
    const char     *text;
    aegis_code_t    rc;
    aegis_item_t   *item;

    data = ask->d->msg.data;
    text = aegis_json_str(data, "title");
    text = text[0] ? text : "The analyst found something";
    title = strndup(text, aegis_utf8_cut(text, strlen(text), 200));
    labels = aegis_fsm_labels(data);

    if (title == NULL || labels == NULL) {
        free(title);
        free(labels);
        return AEGIS_E_UNAVAILABLE;
    }

    item = &ask->item;
    item->v[AEGIS_C_title] = aegis_fsm_text(title);
    item->v[AEGIS_C_kind] = aegis_str("incident");
    item->v[AEGIS_C_severity] = aegis_fsm_text(aegis_fsm_severity(data));
    item->v[AEGIS_C_mode] = aegis_str("auto");
    item->v[AEGIS_C_tags] = aegis_str("[]");
    item->v[AEGIS_C_labels] = aegis_fsm_text(labels);

    rc = aegis_fsm_step(w, AEGIS_STMT_CASE_CREATE, ask->d, item);
    free(title);
    free(labels);
    return rc;
}

aegis_code_t
aegis_fsm_open(aegis_worker_t *w, aegis_delivery_t *d)
{
    int               i;
    char              id[AEGIS_UUID_LEN + 1];
    aegis_code_t      rc;
    aegis_fsm_ask_t   ask;

    static const char *const  events[] = { "create", "start_analysis", "analysis_done" };
    static const char *const  suffixes[] = { "", ":start", ":done" };

    aegis_uuid_named(d->msg.id, id);

    for (i = 0; i < 3; i++) {
        if (!aegis_fsm_ask(w, d, events[i], suffixes[i], &ask)) {
            return AEGIS_E_UNAVAILABLE;
        }

        ask.item.v[AEGIS_C_case_id] = aegis_fsm_text(id);
        ask.item.v[AEGIS_C_fact_version] = AEGIS_NO_STR;
        rc = i == 0 ? aegis_fsm_create(w, &ask)
             : aegis_fsm_step(w, AEGIS_STMT_CASE_TRANSITION, d, &ask.item);
        aegis_fsm_ask_free(&ask);

        /* the case's own creation may have started it already, or more */
        if (i > 0 && rc == AEGIS_E_OK && d->code == AEGIS_E_ILLEGAL) {
            d->code = AEGIS_E_OK;
        }
        if (rc != AEGIS_E_OK || d->code != AEGIS_E_OK) {
            break;
        }
    }

    return rc;
}
