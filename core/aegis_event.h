/*
 * aegis_event.h: messages: CloudEvents 1.0 in structured mode, and which
 * transition a fact asks for (subjects.def).
 */
#ifndef AEGIS_EVENT_H
#define AEGIS_EVENT_H

#include "aegis_error.h"

typedef struct {
    const char        *subject;
    aegis_stream_id_t  stream;
    const char        *producer;
    const char        *consumer;    /* "" for outside audiences only */
    const char        *on_true;
    const char        *on_false;
    const char        *sentence;
} aegis_subject_t;

typedef struct {
    aegis_stream_id_t  id;
    const char        *name;
    const char        *subjects;    /* blank separated, > as wildcard */
    int64_t            max_age_s;
    int64_t            max_mib;
} aegis_stream_t;

typedef struct {
    const char        *durable;
    const char        *role;
    aegis_stream_id_t  stream;
    const char        *filter;      /* "" for the whole stream */
    int                ack_wait_s;
    int                max_unacked;
} aegis_consumer_t;

const aegis_subject_t *aegis_subjects(size_t *ret_n);
const aegis_subject_t *aegis_subject(aegis_str_t subject);    /* NULL: unknown */
const aegis_stream_t *aegis_stream(aegis_stream_id_t id);
const aegis_consumer_t *aegis_consumer_of(const char *role);  /* NULL: none */
const aegis_consumer_t *aegis_consumers(size_t *ret_n);

/* What a message says. Strings are borrowed from root. */
typedef struct {
    json_t      *root;              /* owned; aegis_message_clear() drops it */
    aegis_str_t  id;                /* message id, the dedupe key */
    aegis_str_t  subject;           /* the type: evt.plan.proposed.v1 */
    aegis_str_t  tenant;
    aegis_str_t  case_id;           /* AEGIS_NO_STR when the data names none */
    aegis_str_t  traceparent;       /* and behind a blank the tracestate; "" when absent */
    aegis_str_t  correlation_id;    /* "" when absent */
    int          case_version;      /* 0 when the data names none */
    json_t      *data;              /* borrowed, an object */
} aegis_message_t;

/*
 * The envelope as malloc'ed JSON text: specversion, id, source, type, subject
 * (case id), time, datacontenttype, partitionkey (case id), tenant,
 * traceparent and tracestate (what trace has of them), data. data is JSON text,
 * put in as it is.
 * NULL: no memory.
 */
char *aegis_event_encode(aegis_str_t source, aegis_str_t id, aegis_str_t subject,
    aegis_str_t tenant, aegis_str_t case_id, aegis_str_t time,
    aegis_str_t trace, aegis_str_t data, size_t *ret_len);

/* ENVELOPE when it is not one of ours (the detail says what is wrong), SUBJECT
 * when the type is unknown. */
aegis_code_t aegis_event_decode(aegis_str_t text, aegis_message_t *ret_msg,
    aegis_error_t *err);

/* The transition event that a fact asks for; AEGIS_N_EVENTS for none. */
aegis_event_id_t aegis_event_transition(const aegis_message_t *msg);

void aegis_message_clear(aegis_message_t *msg);

#endif
