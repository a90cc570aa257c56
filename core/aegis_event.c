/*
 * aegis_event.c: subjects, streams and consumers as rows, and the CloudEvents
 * envelope both ways. Its invariant: what decode() lets through has an id, a
 * known subject, a tenant, an object as data, and ids in their one form.
 */
#include "aegis_event.h"

#include <string.h>

#include "aegis_buf.h"
#include "aegis_fsm.h"
#include "aegis_http.h"
#include "aegis_span.h"
#include "aegis_json.h"

#define AEGIS_EVENT_ID_MAX           255
#define AEGIS_EVENT_TENANT_MAX       63
#define AEGIS_EVENT_CORRELATION_MAX  200

static const aegis_subject_t  aegis_event_subjects[] = {
#define AEGIS_SUBJECT(subject, stream, producer, consumer, on_true, on_false, sentence) \
    { subject, AEGIS_STREAM_##stream, producer, consumer, on_true, on_false, sentence },
#include "tables/subjects.def"
#undef AEGIS_SUBJECT
};

static const aegis_stream_t  aegis_event_streams[] = {
#define AEGIS_STREAM(id, name, subjects, max_age_s, max_mib)                   \
    { AEGIS_STREAM_##id, name, subjects, max_age_s, max_mib },
#include "tables/streams.def"
#undef AEGIS_STREAM
};

static const aegis_consumer_t  aegis_event_consumers[] = {
#define AEGIS_CONSUMER(durable, role, stream, filter, ack_wait_s, max_unacked) \
    { durable, role, AEGIS_STREAM_##stream, filter, ack_wait_s, max_unacked },
#include "tables/consumers.def"
#undef AEGIS_CONSUMER
};

#define AEGIS_EVENT_N(table)  (sizeof(table) / sizeof((table)[0]))


const aegis_subject_t *
aegis_subjects(size_t *ret_n)
{
    *ret_n = AEGIS_EVENT_N(aegis_event_subjects);

    return aegis_event_subjects;
}


const aegis_subject_t *
aegis_subject(aegis_str_t subject)
{
    size_t  i;

    if (subject.data == NULL) {
        return NULL;
    }

    for (i = 0; i < AEGIS_EVENT_N(aegis_event_subjects); i++) {
        if (strlen(aegis_event_subjects[i].subject) == subject.len
            && memcmp(aegis_event_subjects[i].subject, subject.data, subject.len) == 0)
        {
            return &aegis_event_subjects[i];
        }
    }

    return NULL;
}


const aegis_stream_t *
aegis_stream(aegis_stream_id_t id)
{
    return (unsigned) id < AEGIS_N_STREAMS ? &aegis_event_streams[id] : NULL;
}


const aegis_consumer_t *
aegis_consumer_of(const char *role)
{
    size_t  i;

    for (i = 0; i < AEGIS_EVENT_N(aegis_event_consumers); i++) {
        if (strcmp(aegis_event_consumers[i].role, role) == 0) {
            return &aegis_event_consumers[i];
        }
    }

    return NULL;
}


const aegis_consumer_t *
aegis_consumers(size_t *ret_n)
{
    *ret_n = AEGIS_EVENT_N(aegis_event_consumers);

    return aegis_event_consumers;
}


/* name: with what stands before and behind it. */
static void
aegis_event_member(aegis_buf_t *buf, aegis_str_t name, aegis_str_t value)
{
    aegis_buf_add(buf, name.data, name.len);
    aegis_buf_json_chars(buf, value);
    aegis_buf_add(buf, "\"", 1);
}


char *
aegis_event_encode(aegis_str_t source, aegis_str_t id, aegis_str_t subject,
    aegis_str_t tenant, aegis_str_t case_id, aegis_str_t time,
    aegis_str_t trace, aegis_str_t data, size_t *ret_len)
{
    aegis_buf_t  buf = AEGIS_BUF_INIT;
    aegis_str_t  parent, state;

    (void) aegis_buf_place(&buf, 256 + source.len + id.len + subject.len + tenant.len
                                 + 2 * case_id.len + time.len + trace.len + data.len);

    aegis_event_member(&buf, aegis_str("{\"specversion\":\"1.0\",\"id\":\""), id);
    aegis_event_member(&buf, aegis_str(",\"source\":\""), source);
    aegis_event_member(&buf, aegis_str(",\"type\":\""), subject);
    aegis_event_member(&buf, aegis_str(",\"subject\":\""), case_id);
    aegis_event_member(&buf, aegis_str(",\"time\":\""), time);
    aegis_event_member(&buf, aegis_str(",\"datacontenttype\":\"application/json\""
                                       ",\"partitionkey\":\""), case_id);
    aegis_event_member(&buf, aegis_str(",\"tenant\":\""), tenant);

    aegis_context_split(trace, &parent, &state);

    if (parent.len) {
        aegis_event_member(&buf, aegis_str(",\"traceparent\":\""), parent);
    }
    if (state.len) {
        aegis_event_member(&buf, aegis_str(",\"tracestate\":\""), state);
    }

    aegis_buf_puts(&buf, ",\"data\":");
    aegis_buf_add(&buf, data.data, data.len);
    aegis_buf_puts(&buf, "}");

    return aegis_buf_take(&buf, ret_len);
}


static aegis_str_t
aegis_event_str(const json_t *value)
{
    return (aegis_str_t) { json_string_length(value), json_string_value(value) };
}


/* A string attribute of 1 to max bytes without control characters. */
static aegis_code_t
aegis_event_attribute(const json_t *root, const char *name, size_t max,
    aegis_str_t *ret, aegis_error_t *err)
{
    json_t  *value;

    value = json_object_get(root, name);

    if (!json_is_string(value)) {
        return aegis_error_set(err, AEGIS_E_ENVELOPE, "%s is not a string.", name);
    }

    *ret = aegis_event_str(value);

    if (ret->len == 0 || ret->len > max
        || aegis_utf8_has_control(ret->data, ret->len))
    {
        return aegis_error_set(err, AEGIS_E_ENVELOPE,
            "%s is not a string of 1 to %zu bytes.", name, max);
    }

    return AEGIS_E_OK;
}


/* The lower case form of an id, in its place. */
static aegis_code_t
aegis_event_case_id(json_t *data, aegis_str_t *ret, aegis_error_t *err)
{
    char     id[AEGIS_UUID_LEN + 1];
    size_t   i;
    json_t  *value;

    value = json_object_get(data, "case_id");

    if (value == NULL || json_is_null(value)) {
        *ret = AEGIS_NO_STR;
        return AEGIS_E_OK;
    }

    *ret = aegis_event_str(value);

    if (!aegis_uuid_valid(*ret)) {
        return aegis_error_set(err, AEGIS_E_ENVELOPE, "data.case_id is not a uuid.");
    }

    for (i = 0; i < AEGIS_UUID_LEN; i++) {
        id[i] = ret->data[i] >= 'A' && ret->data[i] <= 'F'
                ? (char) (ret->data[i] | 0x20) : ret->data[i];
    }
    id[AEGIS_UUID_LEN] = '\0';

    if (memcmp(id, ret->data, AEGIS_UUID_LEN) != 0) {
        if (json_string_set(value, id) != 0) {
            return aegis_error_set(err, AEGIS_E_INTERNAL, "no memory");
        }
        *ret = aegis_event_str(value);
    }

    return AEGIS_E_OK;
}


static aegis_code_t
aegis_event_data(aegis_message_t *msg, aegis_error_t *err)
{
    json_t        *value;
    json_int_t     version;
    aegis_code_t   code;

    msg->data = json_object_get(msg->root, "data");

    if (!json_is_object(msg->data)) {
        return aegis_error_set(err, AEGIS_E_ENVELOPE, "data is not an object.");
    }

    code = aegis_event_case_id(msg->data, &msg->case_id, err);
    if (code != AEGIS_E_OK) {
        return code;
    }

    value = json_object_get(msg->data, "case_version");
    version = json_integer_value(value);

    if (value && !json_is_null(value)
        && (!json_is_integer(value) || version < 1 || version > INT32_MAX))
    {
        return aegis_error_set(err, AEGIS_E_ENVELOPE,
            "data.case_version is not a positive integer.");
    }
    msg->case_version = (int) version;

    value = json_object_get(msg->data, "tenant");
    if (value && (!json_is_string(value)
                  || json_string_length(value) != msg->tenant.len
                  || memcmp(json_string_value(value), msg->tenant.data,
                            msg->tenant.len) != 0))
    {
        return aegis_error_set(err, AEGIS_E_ENVELOPE,
            "data.tenant is not the envelope's tenant.");
    }

    msg->correlation_id = aegis_str("");
    value = json_object_get(msg->data, "correlation_id");

    if (value && !json_is_null(value)) {
        msg->correlation_id = aegis_event_str(value);

        if (!json_is_string(value)
            || aegis_utf8_count(msg->correlation_id.data, msg->correlation_id.len)
               > AEGIS_EVENT_CORRELATION_MAX)
        {
            return aegis_error_set(err, AEGIS_E_ENVELOPE,
                "data.correlation_id is not a string of at most %d characters.",
                AEGIS_EVENT_CORRELATION_MAX);
        }
    }

    return AEGIS_E_OK;
}


/* The trace context, in the place of traceparent. One that cannot be read is left
 * out; it never costs a message. */
static void
aegis_event_trace(aegis_message_t *msg)
{
    char                  context[AEGIS_CONTEXT_MAX + 1];
    json_t               *value, *state;
    size_t                n;
    const unsigned char   unused[24] = { 0 };

    msg->traceparent = aegis_str("");
    value = json_object_get(msg->root, "traceparent");
    state = json_object_get(msg->root, "tracestate");

    if (!json_is_string(value) || json_string_length(value) != AEGIS_TRACEPARENT_LEN
        || !aegis_http_traceparent(aegis_event_str(value), unused, context))
    {
        return;
    }

    n = json_is_string(state)
        ? aegis_tracestate(aegis_event_str(state), context + AEGIS_TRACEPARENT_LEN + 1) : 0;
    context[AEGIS_TRACEPARENT_LEN] = ' ';
    n = AEGIS_TRACEPARENT_LEN + (n ? 1 + n : 0);

    if (json_string_setn(value, context, n) == 0) {
        msg->traceparent = aegis_event_str(value);
    }
}


static aegis_code_t
aegis_event_envelope(aegis_message_t *msg, aegis_error_t *err)
{
    json_t               *value;
    aegis_str_t           source;
    aegis_code_t          code;

    if (strcmp(aegis_json_str(msg->root, "specversion"), "1.0") != 0) {
        return aegis_error_set(err, AEGIS_E_ENVELOPE, "specversion is not 1.0.");
    }

    if ((code = aegis_event_attribute(msg->root, "id", AEGIS_EVENT_ID_MAX, &msg->id,
                                      err)) != AEGIS_E_OK
        || (code = aegis_event_attribute(msg->root, "source", 1024, &source, err))
           != AEGIS_E_OK
        || (code = aegis_event_attribute(msg->root, "type", 255, &msg->subject, err))
           != AEGIS_E_OK)
    {
        return code;
    }

    if (aegis_subject(msg->subject) == NULL) {
        return aegis_error_set(err, AEGIS_E_SUBJECT, "The type %.*s is not known.",
                               (int) msg->subject.len, msg->subject.data);
    }

    code = aegis_event_attribute(msg->root, "tenant", AEGIS_EVENT_TENANT_MAX * 4,
                                 &msg->tenant, err);
    if (code != AEGIS_E_OK) {
        return code;
    }

    value = json_object_get(msg->root, "datacontenttype");
    if (value && (!json_is_string(value)
                  || !aegis_http_is_json(aegis_event_str(value))))
    {
        return aegis_error_set(err, AEGIS_E_ENVELOPE,
                               "datacontenttype is not application/json.");
    }

    aegis_event_trace(msg);
    return aegis_event_data(msg, err);
}


aegis_code_t
aegis_event_decode(aegis_str_t text, aegis_message_t *ret_msg, aegis_error_t *err)
{
    aegis_code_t     code;
    aegis_message_t  msg;

    memset(&msg, 0, sizeof(msg));

    code = aegis_json_parse(text, &msg.root, err);

    if (code == AEGIS_E_MALFORMED_JSON) {
        if (err) {
            err->code = AEGIS_E_ENVELOPE;
        }
        return AEGIS_E_ENVELOPE;
    }

    if (code != AEGIS_E_OK) {
        return code;
    }

    if (!json_is_object(msg.root)) {
        json_decref(msg.root);
        return aegis_error_set(err, AEGIS_E_ENVELOPE, "The message is not an object.");
    }

    code = aegis_event_envelope(&msg, err);
    if (code != AEGIS_E_OK) {
        json_decref(msg.root);
        return code;
    }

    *ret_msg = msg;

    return AEGIS_E_OK;
}


static aegis_event_id_t
aegis_event_named(const char *name)
{
    return aegis_event_by_name(aegis_view(name));
}


aegis_event_id_t
aegis_event_transition(const aegis_message_t *msg)
{
    const aegis_subject_t  *subject;

    subject = aegis_subject(msg->subject);

    if (subject == NULL) {
        return AEGIS_N_EVENTS;
    }

    /* where a fact can say no, only a clear yes is one */
    if (subject->on_false[0]
        && !json_is_true(json_object_get(msg->data, "approved")))
    {
        return aegis_event_named(subject->on_false);
    }

    return aegis_event_named(subject->on_true);
}


void
aegis_message_clear(aegis_message_t *msg)
{
    json_decref(msg->root);
    memset(msg, 0, sizeof(*msg));
}
