/*
 * aegis_event.c: unit tests of subjects, envelopes, and what a fact asks for.
 */
#include "aegis_unit.h"

#include "aegis_event.h"
#include "aegis_fsm.h"

#define CASE   "8e03978e-40d5-43dd-bc93-6894a57f9324"
#define TRACE  "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"


/* Decode text written with ' for ". */
static aegis_code_t
decode(const char *text, aegis_message_t *msg)
{
    char           *p, *copy;
    aegis_code_t    code;
    aegis_error_t   err = AEGIS_ERROR_INIT;

    copy = strdup(text);
    for (p = copy; *p; p++) {
        *p = *p == '\'' ? '"' : *p;
    }

    code = aegis_event_decode(aegis_view(copy), msg, &err);
    assert_int_equal(err.code, code);
    assert_int_equal(err.detail[0] != '\0', code != AEGIS_E_OK);
    aegis_error_clear(&err);
    free(copy);

    return code;
}


static int
is(aegis_str_t s, const char *text)
{
    return s.data && s.len == strlen(text) && memcmp(s.data, text, s.len) == 0;
}


static void
test_round_trip(void **state)
{
    char             *text;
    size_t            len;
    json_t           *root;
    aegis_message_t   msg;
    aegis_error_t     err = AEGIS_ERROR_INIT;

    text = aegis_event_encode(aegis_str("urn:aegis:\"x\""), aegis_str("m-1"),
        aegis_str("evt.exec.done.v1"), aegis_str("t\xc3\xa9nant"), aegis_str(CASE),
        aegis_str("2026-11-21T07:00:00Z"), aegis_str(TRACE),
        aegis_str("{\"case_id\":\"" CASE "\",\"case_version\":7,"
                  "\"correlation_id\":\"c-1\",\"n\":0.10}"), &len);
    assert_non_null(text);
    assert_int_equal(strlen(text), len);

    /* data is put in as it is */
    assert_non_null(strstr(text, "\"n\":0.10}"));

    root = json_loads(text, JSON_REJECT_DUPLICATES, NULL);
    assert_string_equal(aegis_json_str(root, "specversion"), "1.0");
    assert_string_equal(aegis_json_str(root, "source"), "urn:aegis:\"x\"");
    assert_string_equal(aegis_json_str(root, "subject"), CASE);
    assert_string_equal(aegis_json_str(root, "partitionkey"), CASE);
    assert_string_equal(aegis_json_str(root, "datacontenttype"), "application/json");
    json_decref(root);

    assert_int_equal(aegis_event_decode((aegis_str_t) { len, text }, &msg, &err),
                     AEGIS_E_OK);
    assert_true(is(msg.id, "m-1"));
    assert_true(is(msg.subject, "evt.exec.done.v1"));
    assert_true(is(msg.tenant, "t\xc3\xa9nant"));
    assert_true(is(msg.case_id, CASE));
    assert_true(is(msg.traceparent, TRACE));
    assert_true(is(msg.correlation_id, "c-1"));
    assert_int_equal(msg.case_version, 7);
    assert_int_equal(aegis_event_transition(&msg), AEGIS_EVENT_exec_done);

    aegis_message_clear(&msg);
    assert_null(msg.root);
    free(text);

    text = aegis_event_encode(aegis_str("s"), aegis_str("i"), aegis_str("cmd.exec.run"),
        aegis_str("t"), aegis_str(CASE), aegis_str("x"), aegis_str(""), aegis_str("{}"),
        &len);
    assert_null(strstr(text, "traceparent"));
    free(text);
}


#define HEAD  "'specversion':'1.0','id':'i','source':'s','tenant':'t'"
#define TYPE  "'type':'evt.exec.done.v1'"

static void
test_refused(void **state)
{
    size_t            i;
    aegis_message_t   msg;

    static const struct {
        const char    *text;
        aegis_code_t   code;
    } cases[] = {
        { "", AEGIS_E_ENVELOPE },
        { "x", AEGIS_E_ENVELOPE },
        { "[]", AEGIS_E_ENVELOPE },
        { "{}", AEGIS_E_ENVELOPE },
        { "{" HEAD "," TYPE "}", AEGIS_E_ENVELOPE },
        { "{" HEAD "," TYPE ",'data':[]}", AEGIS_E_ENVELOPE },
        { "{" HEAD "," TYPE ",'data':'{}'}", AEGIS_E_ENVELOPE },
        { "{" HEAD ",'data':{}}", AEGIS_E_ENVELOPE },
        { "{" HEAD ",'type':1,'data':{}}", AEGIS_E_ENVELOPE },
        { "{" HEAD ",'type':'evt.exec.done.v2','data':{}}", AEGIS_E_SUBJECT },
        { "{" HEAD ",'type':'evt.exec.done','data':{}}", AEGIS_E_SUBJECT },
        { "{" HEAD "," TYPE ",'id':'j','data':{}}", AEGIS_E_ENVELOPE },
        { "{'specversion':'0.3','id':'i','source':'s','tenant':'t'," TYPE ",'data':{}}",
          AEGIS_E_ENVELOPE },
        { "{'specversion':1.0,'id':'i','source':'s','tenant':'t'," TYPE ",'data':{}}",
          AEGIS_E_ENVELOPE },
        { "{'specversion':'1.0','id':'','source':'s','tenant':'t'," TYPE ",'data':{}}",
          AEGIS_E_ENVELOPE },
        { "{'specversion':'1.0','id':'i','source':'','tenant':'t'," TYPE ",'data':{}}",
          AEGIS_E_ENVELOPE },
        { "{'specversion':'1.0','id':'i','source':'s'," TYPE ",'data':{}}",
          AEGIS_E_ENVELOPE },
        { "{'specversion':'1.0','id':'i\\n','source':'s\\r','tenant':'t'," TYPE
          ",'data':{}}", AEGIS_E_ENVELOPE },
        { "{" HEAD "," TYPE ",'datacontenttype':'text/xml','data':{}}",
          AEGIS_E_ENVELOPE },
        { "{" HEAD "," TYPE ",'data':{'case_id':'x'}}", AEGIS_E_ENVELOPE },
        { "{" HEAD "," TYPE ",'data':{'case_id':7}}", AEGIS_E_ENVELOPE },
        { "{" HEAD "," TYPE ",'data':{'case_version':0}}", AEGIS_E_ENVELOPE },
        { "{" HEAD "," TYPE ",'data':{'case_version':-1}}", AEGIS_E_ENVELOPE },
        { "{" HEAD "," TYPE ",'data':{'case_version':2147483648}}", AEGIS_E_ENVELOPE },
        { "{" HEAD "," TYPE ",'data':{'case_version':'1'}}", AEGIS_E_ENVELOPE },
        { "{" HEAD "," TYPE ",'data':{'case_version':1.0}}", AEGIS_E_ENVELOPE },
        { "{" HEAD "," TYPE ",'data':{'tenant':'other'}}", AEGIS_E_ENVELOPE },
        { "{" HEAD "," TYPE ",'data':{'tenant':1}}", AEGIS_E_ENVELOPE },
        { "{" HEAD "," TYPE ",'data':{'correlation_id':1}}", AEGIS_E_ENVELOPE }
    };

    for (i = 0; i < AEGIS_UNIT_N(cases); i++) {
        if (decode(cases[i].text, &msg) != cases[i].code) {
            fail_msg("got through: %s", cases[i].text);
        }
    }
}


static void
test_lenient(void **state)
{
    aegis_message_t  msg;

    assert_int_equal(decode("{" HEAD "," TYPE ",'data':{'case_id':null,"
        "'case_version':null,'correlation_id':null,'tenant':'t','more':1},"
        "'traceparent':'garbage','unknown':[1]}", &msg), AEGIS_E_OK);
    assert_null(msg.case_id.data);
    assert_int_equal(msg.case_version, 0);
    assert_true(is(msg.traceparent, ""));
    assert_true(is(msg.correlation_id, ""));
    aegis_message_clear(&msg);

    assert_int_equal(decode("{" HEAD "," TYPE ",'data':{'case_id':"
        "'8E03978E-40D5-43DD-BC93-6894A57F9324'}}", &msg), AEGIS_E_OK);
    assert_true(is(msg.case_id, CASE));
    assert_string_equal(aegis_json_str(msg.data, "case_id"), CASE);
    aegis_message_clear(&msg);
}


static void
test_transition(void **state)
{
    char                    text[256];
    size_t                  i;
    aegis_message_t         msg;

    static const struct {
        const char  *subject;
        const char  *data;
        const char  *event;
    } cases[] = {
        { "evt.case.created.v1",      "{}", "start_analysis" },
        { "evt.analysis.findings.v1", "{}", "analysis_done" },
        { "evt.analysis.failed.v1",   "{}", "analysis_failed" },
        { "evt.plan.proposed.v1",     "{}", "plan_ready" },
        { "evt.plan.failed.v1",       "{}", "plan_failed" },
        { "evt.plan.approved.v1",     "{'approved':true}", "gate_approved" },
        { "evt.plan.approved.v1",     "{'approved':false}", "gate_rejected" },
        { "evt.plan.approved.v1",     "{}", "gate_rejected" },
        { "evt.plan.approved.v1",     "{'approved':'true'}", "gate_rejected" },
        { "evt.exec.step_result.v1",  "{}", "" },
        { "evt.exec.done.v1",         "{'approved':false}", "exec_done" },
        { "evt.exec.failed.v1",       "{}", "exec_failed" },
        { "evt.verify.pass.v1",       "{}", "verify_pass" },
        { "evt.verify.failed.v1",     "{}", "verify_failed" },
        { "evt.case.transition.v1",   "{}", "" },
        { "cmd.plan.generate",        "{}", "" }
    };

    for (i = 0; i < AEGIS_UNIT_N(cases); i++) {
        snprintf(text, sizeof(text), "{" HEAD ",'type':'%s','data':%s}",
                 cases[i].subject, cases[i].data);
        assert_int_equal(decode(text, &msg), AEGIS_E_OK);
        assert_string_equal(aegis_event_name(aegis_event_transition(&msg)),
                            cases[i].event);
        aegis_message_clear(&msg);
    }
}


static void
test_tables(void **state)
{
    size_t                   i, n;
    const aegis_subject_t   *s;
    const aegis_consumer_t  *c;

    s = aegis_subjects(&n);
    for (i = 0; i < n; i++) {
        assert_ptr_equal(aegis_subject(aegis_view(s[i].subject)), &s[i]);
        assert_non_null(aegis_stream(s[i].stream));
    }

    assert_null(aegis_subject(aegis_str("cmd.exec")));
    assert_null(aegis_subject(AEGIS_NO_STR));
    assert_null(aegis_stream(AEGIS_N_STREAMS));

    c = aegis_consumers(&n);
    for (i = 0; i < n; i++) {
        assert_ptr_equal(aegis_consumer_of(c[i].role), &c[i]);
    }
    assert_null(aegis_consumer_of("relay"));
}


int
main(void)
{
    const struct CMUnitTest  tests[] = {
        AEGIS_TEST("a message that was encoded is decoded to the same", test_round_trip),
        AEGIS_TEST("what is not our envelope is refused with a reason", test_refused),
        AEGIS_TEST("what may be missing may be missing, and ids have one form",
                   test_lenient),
        AEGIS_TEST("each fact asks for its transition, and only a clear yes approves",
                   test_transition),
        AEGIS_TEST("subjects, streams and consumers are found by name", test_tables)
    };

    return AEGIS_UNIT_RUN(tests);
}
