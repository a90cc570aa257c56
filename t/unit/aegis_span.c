/*
 * aegis_span.c: unit tests of trace contexts, of sampling, and of spans as
 * OTLP's JSON.
 */
#include "aegis_unit.h"

#include <jansson.h>

#include "aegis_json.h"
#include "aegis_span.h"

#define TRACE   "4bf92f3577b34da6a3ce929d0e0e4736"
#define PARENT  "00-" TRACE "-00f067aa0ba902b7-01"


static void
test_tracestate(void **state)
{
    char         out[AEGIS_TRACESTATE_MAX + 1], long_one[700];
    size_t       i;
    aegis_str_t  s;

    static const struct {
        const char  *header;
        const char  *out;
    } cases[] = {
        { "", "" },
        { "a=1", "a=1" },
        { "rojo=00f067aa0ba902b7,congo=t61rcWkgMzE", "rojo=00f067aa0ba902b7,congo=t61rcWkgMzE" },
        { " a=1 ,\tb=2\t", "a=1,b=2" },
        { "a=1,,b=2,", "a=1,b=2" },
        { "tenant@vendor=x y", "tenant@vendor=x y" },
        { "0a_-*/=~", "0a_-*/=~" },
        { "A=1", "" },
        { "a", "" },
        { "a=", "" },
        { "=1", "" },
        { "a=1=2", "" },
        { "a=1,B=2", "" },
        { "a@b@c=1", "" },
        { "@a=1", "" },
        { "a=\x7f", "" },
        { "a=\xc3\xa9", "" },
        { "a=1\nb=2", "" }
    };

    for (i = 0; i < AEGIS_UNIT_N(cases); i++) {
        assert_int_equal(aegis_tracestate(aegis_view(cases[i].header), out),
                         strlen(cases[i].out));
        assert_string_equal(out, cases[i].out);
    }

    assert_int_equal(aegis_tracestate(AEGIS_NO_STR, out), 0);

    /* whole members, the newest of them */
    memset(long_one, 'x', sizeof(long_one));
    for (i = 0; i < 7; i++) {
        long_one[i * 100] = 'a';
        long_one[i * 100 + 1] = '=';
        long_one[i * 100 + 99] = ',';
    }
    s = (aegis_str_t) { sizeof(long_one), long_one };
    assert_int_equal(aegis_tracestate(s, out), 499);
    assert_int_equal(out[498], 'x');

    /* 33 members are too many */
    for (i = 0; i < 33; i++) {
        memcpy(long_one + i * 4, "a=1,", 4);
    }
    assert_int_equal(aegis_tracestate((aegis_str_t) { 132, long_one }, out), 0);
    assert_int_equal(aegis_tracestate((aegis_str_t) { 128, long_one }, out), 127);
}


static void
test_context(void **state)
{
    aegis_str_t  parent, more;

    aegis_context_split(aegis_str(PARENT " a=1"), &parent, &more);
    assert_int_equal(parent.len, AEGIS_TRACEPARENT_LEN);
    assert_int_equal(more.len, 3);
    assert_memory_equal(more.data, "a=1", 3);

    aegis_context_split(aegis_str(PARENT), &parent, &more);
    assert_int_equal(parent.len, AEGIS_TRACEPARENT_LEN);
    assert_int_equal(more.len, 0);

    aegis_context_split(aegis_str(PARENT "xa=1"), &parent, &more);
    assert_int_equal(more.len, 0);

    aegis_context_split(aegis_str("garbage"), &parent, &more);
    assert_int_equal(parent.len, 0);
    aegis_context_split(AEGIS_NO_STR, &parent, &more);
    assert_int_equal(parent.len, 0);

    assert_true(aegis_context_sampled(aegis_str(PARENT)));
    assert_true(aegis_context_sampled(aegis_str(PARENT " a=1")));
    assert_false(aegis_context_sampled(aegis_str("00-" TRACE "-00f067aa0ba902b7-00")));
    assert_false(aegis_context_sampled(aegis_str("")));
}


static void
test_sample(void **state)
{
    size_t  i;
    char    parent[AEGIS_TRACEPARENT_LEN + 1];

    static const struct {
        const char  *random;    /* the last 56 bits */
        double       ratio;
        char         flag;
    } cases[] = {
        { "00000000000000", 1, '1' },
        { "00000000000000", 0.999, '0' },
        { "ffffffffffffff", 0.001, '1' },
        { "ffffffffffffff", 0, '0' },
        { "80000000000000", 0.5, '1' },
        { "7fffffffffffff", 0.5, '0' },
        { "e6600000000000", 0.1, '0' },
        { "e6700000000000", 0.1, '1' }
    };

    for (i = 0; i < AEGIS_UNIT_N(cases); i++) {
        snprintf(parent, sizeof(parent), "00-%.18s%s-00f067aa0ba902b7-01", TRACE,
                 cases[i].random);
        aegis_context_sample(parent, cases[i].ratio);
        assert_int_equal(parent[AEGIS_TRACEPARENT_LEN - 1], cases[i].flag);
    }
}


static const char *
get(json_t *span, const char *key, const char *type)
{
    size_t   i;
    json_t  *a;

    json_array_foreach(json_object_get(span, "attributes"), i, a) {
        if (strcmp(aegis_json_str(a, "key"), key) == 0) {
            return json_string_value(json_object_get(json_object_get(a, "value"), type));
        }
    }

    return "nothing";
}


static void
test_encode(void **state)
{
    int                        i;
    char                      *text, context[AEGIS_CONTEXT_MAX + 1], big[AEGIS_SPAN_TEXT];
    size_t                     len;
    json_t                    *root, *spans, *s;
    aegis_span_t               span[2];
    const unsigned char        random[8] = { 1, 2, 3, 4, 5, 6, 7, 8 }, zero[8] = { 0 };
    const aegis_span_source_t  source = { "svc", "h:1", "h", 1 };

    aegis_span_begin(&span[0], aegis_str(PARENT " a=1"), random, AEGIS_SPAN_SERVER, "GET %s",
                     "/case/{id}");
    span[0].start_ns = 1700000000123456789u;
    span[0].end_ns = span[0].start_ns - 1;      /* a clock that was put back */
    span[0].error = 1;
    aegis_span_int(&span[0], "n", INT64_MIN);
    aegis_span_str(&span[0], "quote", aegis_str("\"\\\n\xff"));
    aegis_span_str(&span[0], "nothing", AEGIS_NO_STR);

    aegis_span_begin(&span[1], aegis_str(PARENT), zero, AEGIS_SPAN_INTERNAL, "run");
    aegis_span_parent(&span[1], AEGIS_NO_STR);
    memset(big, 'x', sizeof(big));
    aegis_span_str(&span[1], "big", (aegis_str_t) { sizeof(big), big });
    for (i = 0; i < AEGIS_SPAN_ATTRS + 2; i++) {
        aegis_span_int(&span[1], "k", i);
    }

    text = aegis_span_encode(&source, span, 2, &len);
    assert_non_null(text);
    assert_int_equal(strlen(text), len);
    root = json_loads(text, JSON_REJECT_DUPLICATES, NULL);
    assert_non_null(root);

    spans = json_object_get(json_array_get(json_object_get(json_array_get(
        json_object_get(root, "resourceSpans"), 0), "scopeSpans"), 0), "spans");
    assert_int_equal(json_array_size(spans), 2);

    s = json_array_get(spans, 0);
    assert_string_equal(aegis_json_str(s, "traceId"), TRACE);
    assert_string_equal(aegis_json_str(s, "spanId"), "0102030405060708");
    assert_string_equal(aegis_json_str(s, "parentSpanId"), "00f067aa0ba902b7");
    assert_string_equal(aegis_json_str(s, "traceState"), "a=1");
    assert_string_equal(aegis_json_str(s, "name"), "GET /case/{id}");
    assert_int_equal(json_integer_value(json_object_get(s, "kind")), 2);
    assert_string_equal(aegis_json_str(s, "startTimeUnixNano"), "1700000000123456789");
    assert_string_equal(aegis_json_str(s, "endTimeUnixNano"), "1700000000123456789");
    assert_string_equal(get(s, "n", "intValue"), "-9223372036854775808");
    assert_string_equal(get(s, "quote", "stringValue"), "\"\\\n\xef\xbf\xbd");
    assert_string_equal(get(s, "nothing", "stringValue"), "nothing");
    assert_int_equal(json_integer_value(json_object_get(json_object_get(s, "status"), "code")), 2);

    s = json_array_get(spans, 1);
    assert_string_equal(aegis_json_str(s, "spanId"), "0000000000000001");
    assert_null(json_object_get(s, "parentSpanId"));
    assert_int_equal(json_integer_value(json_object_get(s, "droppedAttributesCount")), 3);
    assert_int_equal(json_object_size(json_object_get(s, "status")), 0);

    json_decref(root);
    free(text);

    assert_int_equal(aegis_span_context(&span[0], context), AEGIS_TRACEPARENT_LEN + 4);
    assert_string_equal(context, "00-" TRACE "-0102030405060708-01 a=1");
}


static void
test_rejected(void **state)
{
    size_t  i;

    static const struct {
        const char  *answer;
        int          n;
    } cases[] = {
        { "", 0 }, { "{}", 0 }, { "nonsense", 0 }, { "[1]", 0 },
        { "{\"partialSuccess\":{}}", 0 },
        { "{\"partialSuccess\":{\"rejectedSpans\":\"7\",\"errorMessage\":\"x\"}}", 7 },
        { "{\"partialSuccess\":{\"rejectedSpans\":7}}", 7 },
        { "{\"partialSuccess\":{\"rejectedSpans\":-7}}", 0 },
        { "{\"partialSuccess\":{\"rejectedSpans\":\"-7\"}}", 0 }
    };

    for (i = 0; i < AEGIS_UNIT_N(cases); i++) {
        assert_int_equal(aegis_span_rejected(aegis_view(cases[i].answer)), cases[i].n);
    }
}


int
main(void)
{
    const struct CMUnitTest  tests[] = {
        AEGIS_TEST("tracestate goes on when it keeps to the grammar", test_tracestate),
        AEGIS_TEST("a context is a traceparent and a tracestate", test_context),
        AEGIS_TEST("the ratio decides by the trace id", test_sample),
        AEGIS_TEST("spans become OTLP's JSON", test_encode),
        AEGIS_TEST("what a collector rejected is read", test_rejected)
    };

    return AEGIS_UNIT_RUN(tests);
}
