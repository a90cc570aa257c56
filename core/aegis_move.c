/*
 * aegis_move.c: what a fact does to its case. Invariant: the same fact fires the
 * same event with the same words, whether it moves its case at once or by the bus.
 */
#include "aegis_move.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "aegis_event.h"
#include "aegis_fsm.h"
#include "aegis_json.h"

static const char *const  aegis_move_artefacts[] = {
    "plan_id", "exec_id", "decision_id", "checkpoint_id", "event_id"
};


json_t *
aegis_move_meta(const json_t *data)
{
    size_t   i;
    json_t  *meta, *v;

    meta = json_object();

    for (i = 0; i < sizeof(aegis_move_artefacts) / sizeof(aegis_move_artefacts[0]); i++) {
        v = json_object_get(data, aegis_move_artefacts[i]);
        if (json_is_string(v)) {
            (void) json_object_set(meta, aegis_move_artefacts[i], v);
        }
    }

    if (json_object_size(meta) == 0) {
        json_decref(meta);
        return NULL;
    }

    return meta;
}


char *
aegis_move_reason(aegis_str_t subject, const json_t *data)
{
    const char  *text;

    text = json_string_value(json_object_get(data, "reason"));
    if (text == NULL || text[0] == '\0') {
        text = aegis_subject(subject)->sentence;
    }

    return strndup(text, aegis_utf8_cut(text, strlen(text), AEGIS_MOVE_REASON));
}


json_t *
aegis_move(aegis_str_t subject, const json_t *data)
{
    char              *reason, actor[64];
    json_t            *move, *meta;
    aegis_message_t    msg;
    aegis_event_id_t   event;

    memset(&msg, 0, sizeof(msg));
    msg.subject = subject;
    msg.data = (json_t *) data;

    event = aegis_event_transition(&msg);
    if (event == AEGIS_N_EVENTS) {
        return NULL;
    }

    reason = aegis_move_reason(subject, data);
    snprintf(actor, sizeof(actor), "aegis:%s", aegis_subject(subject)->producer);
    move = json_pack("{s:s, s:s, s:s, s:s}", "event", aegis_event_name(event),
                     "actor", actor, "reason", reason ? reason : "",
                     "correlation_id", aegis_json_str(data, "correlation_id"));
    free(reason);

    meta = move ? aegis_move_meta(data) : NULL;
    if (meta) {
        (void) json_object_set_new(move, "meta", meta);
    }

    return move;
}
