/*
 * event.c: fuzzes envelopes. What is decoded has an id, a known subject and a
 * tenant, and is decoded to the same again when it is encoded.
 */
#include "aegis_fuzz_json.h"

#include "aegis_event.h"
#include "aegis_span.h"
#include "aegis_fsm.h"
#include "aegis_http.h"
#include "aegis_json.h"


int
LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    char             *body, *text;
    size_t            len;
    aegis_error_t     err = AEGIS_ERROR_INIT;
    aegis_message_t   msg, again;

    if (aegis_event_decode((aegis_str_t) { size, (const char *) data }, &msg, &err)
        != AEGIS_E_OK)
    {
        aegis_fuzz_must(err.code == AEGIS_E_ENVELOPE || err.code == AEGIS_E_SUBJECT);
        aegis_fuzz_must(err.detail[0] != '\0');
        aegis_error_clear(&err);
        return 0;
    }

    aegis_fuzz_must(msg.id.len && msg.tenant.len && aegis_subject(msg.subject));
    aegis_fuzz_must(msg.case_id.data == NULL || aegis_uuid_valid(msg.case_id));
    aegis_fuzz_must(msg.traceparent.len == 0
                    || msg.traceparent.len == AEGIS_TRACEPARENT_LEN
                    || (msg.traceparent.len > AEGIS_TRACEPARENT_LEN + 1
                        && msg.traceparent.len <= AEGIS_CONTEXT_MAX));
    aegis_fuzz_must(aegis_event_transition(&msg) <= AEGIS_N_EVENTS);

    body = aegis_json_text(msg.data);
    text = aegis_event_encode(aegis_str("fuzz"), msg.id, msg.subject, msg.tenant,
        msg.case_id, aegis_str("2026-11-21T07:00:00Z"), msg.traceparent,
        aegis_view(body), &len);

    aegis_fuzz_must(aegis_event_decode((aegis_str_t) { len, text }, &again, &err)
                    == AEGIS_E_OK);
    aegis_fuzz_must(aegis_fuzz_same(msg.id, again.id)
                    && aegis_fuzz_same(msg.tenant, again.tenant)
                    && aegis_fuzz_same(msg.subject, again.subject)
                    && aegis_fuzz_same(msg.case_id, again.case_id)
                    && aegis_fuzz_same(msg.traceparent, again.traceparent)
                    && aegis_fuzz_same(msg.correlation_id, again.correlation_id)
                    && msg.case_version == again.case_version);

    free(body);
    free(text);
    aegis_message_clear(&again);
    aegis_message_clear(&msg);

    return 0;
}
