/*
 * aegis_span.c: spans and trace contexts, as text. Invariant: what cannot be
 * read of a trace context is left out and costs nothing else, and a span of any
 * content becomes valid JSON of OTLP's mapping: ids in hexadecimal, 64 bit
 * numbers as strings, enumerations as numbers.
 */
#include <stdarg.h>
#include <stdio.h>
#include <string.h>

#include <jansson.h>

#include "aegis_buf.h"
#include "aegis_hash.h"
#include "aegis_span.h"

#define AEGIS_TRACESTATE_MEMBERS  32
#define AEGIS_TRACESTATE_PART     256


static int
aegis_tracestate_key_char(char c)
{
    return (c >= 'a' && c <= 'z') || (c >= '0' && c <= '9') || c == '_' || c == '-'
           || c == '*' || c == '/';
}


/* key = value, without the blanks around it; the key may have one @. */
static int
aegis_tracestate_member(const char *s, size_t len)
{
    size_t  i, at;

    for (i = 0, at = 0; i < len && s[i] != '='; i++) {
        if (s[i] == '@') {
            at++;

        } else if (!aegis_tracestate_key_char(s[i])) {
            return 0;
        }
    }

    if (i == 0 || i > AEGIS_TRACESTATE_PART || i == len || at > 1
        || !((s[0] >= 'a' && s[0] <= 'z') || (s[0] >= '0' && s[0] <= '9'))
        || len - i - 1 == 0 || len - i - 1 > AEGIS_TRACESTATE_PART)
    {
        return 0;
    }

    for (i++; i < len; i++) {
        if (s[i] < 0x20 || s[i] > 0x7e || s[i] == ',' || s[i] == '=') {
            return 0;
        }
    }

    return s[len - 1] != ' ';
}


size_t
aegis_tracestate(aegis_str_t header, char out[AEGIS_TRACESTATE_MAX + 1])
{
    size_t       n, used, full;
    const char  *p, *last, *end, *next;

    out[0] = '\0';

    if (header.data == NULL) {
        return 0;
    }

    last = header.data + header.len;

    for (p = header.data, n = 0, used = 0, full = 0; p <= last; p = next + 1) {
        next = p < last ? memchr(p, ',', (size_t) (last - p)) : NULL;
        next = next ? next : last;

        while (p < next && (*p == ' ' || *p == '\t')) {
            p++;
        }

        for (end = next; end > p && (end[-1] == ' ' || end[-1] == '\t'); end--) {
            /* void */
        }

        if (p == end) {
            continue;
        }

        if (++n > AEGIS_TRACESTATE_MEMBERS
            || !aegis_tracestate_member(p, (size_t) (end - p)))
        {
            out[0] = '\0';
            return 0;
        }

        full |= used + (used != 0) + (size_t) (end - p) > AEGIS_TRACESTATE_MAX;

        if (!full) {
            if (used) {
                out[used++] = ',';
            }
            memcpy(out + used, p, (size_t) (end - p));
            used += (size_t) (end - p);
        }
    }

    out[used] = '\0';
    return used;
}


void
aegis_context_split(aegis_str_t context, aegis_str_t *ret_parent,
    aegis_str_t *ret_state)
{
    char           again[AEGIS_TRACEPARENT_LEN + 1];
    aegis_str_t    parent;
    unsigned char  unused[24] = { 0 };

    *ret_parent = *ret_state = aegis_str("");
    parent = context;

    if (context.data == NULL || context.len < AEGIS_TRACEPARENT_LEN) {
        return;
    }

    parent.len = AEGIS_TRACEPARENT_LEN;

    if (!aegis_http_traceparent(parent, unused, again)) {
        return;
    }

    *ret_parent = parent;

    if (context.len > AEGIS_TRACEPARENT_LEN + 1
        && context.data[AEGIS_TRACEPARENT_LEN] == ' ')
    {
        ret_state->data = context.data + AEGIS_TRACEPARENT_LEN + 1;
        ret_state->len = context.len - AEGIS_TRACEPARENT_LEN - 1;
    }
}


int
aegis_context_sampled(aegis_str_t context)
{
    /* made by us, or checked when it came in */
    return context.data != NULL && context.len >= AEGIS_TRACEPARENT_LEN
           && context.data[AEGIS_TRACEPARENT_LEN - 1] == '1';
}


void
aegis_context_sample(char parent[AEGIS_TRACEPARENT_LEN + 1], double ratio)
{
    int       i, c;
    uint64_t  random;

    /* the last 56 bits of the trace id are random, whoever made it */
    for (i = 3 + 18, random = 0; i < 3 + 32; i++) {
        c = parent[i];
        random = random << 4 | (uint64_t) (c <= '9' ? c - '0' : c - 'a' + 10);
    }

    /* 53 of them: a double holds no more without rounding up to all */
    parent[AEGIS_TRACEPARENT_LEN - 1] =
        (double) (random >> 3) >= (1 - ratio) * 9007199254740992.0 ? '1' : '0';
}


static void
aegis_span_put(aegis_span_t *span, aegis_str_t s, uint16_t *ret_len)
{
    size_t  n;

    n = s.data == NULL ? 0 : s.len;
    n = n > (size_t) (AEGIS_SPAN_TEXT - span->used) ? (size_t) (AEGIS_SPAN_TEXT - span->used)
                                                     : n;
    if (n) {
        memcpy(span->text + span->used, s.data, n);
    }
    span->used = (uint16_t) (span->used + n);
    *ret_len = (uint16_t) n;
}


void
aegis_span_begin(aegis_span_t *span, aegis_str_t context,
    const unsigned char random[8], aegis_span_kind_t kind, const char *name, ...)
{
    int            i, some;
    char           text[128];
    va_list        args;
    aegis_str_t    parent, state, s;
    unsigned char  id[8];

    memset(span, 0, offsetof(aegis_span_t, attr));
    aegis_context_split(context, &parent, &state);

    if (parent.len) {
        memcpy(span->trace_id, parent.data + 3, 32);
        memcpy(span->parent_id, parent.data + 36, 16);
    }

    memcpy(id, random, sizeof(id));
    for (i = 0, some = 0; i < 8; i++) {
        some |= id[i];
    }
    id[7] |= !some;
    aegis_hex(id, sizeof(id), span->span_id);

    va_start(args, name);
    (void) vsnprintf(text, sizeof(text), name, args);
    va_end(args);

    span->kind = (uint8_t) kind;
    s.data = text;
    s.len = strlen(text);
    aegis_span_put(span, s, &span->name_len);

    /* a state that is cut would not be one */
    if (state.len <= AEGIS_TRACESTATE_MAX) {
        aegis_span_put(span, state, &span->state_len);
    }
}


void
aegis_span_parent(aegis_span_t *span, aegis_str_t parent_id)
{
    size_t  n;

    n = parent_id.data && parent_id.len == 16 ? 16 : 0;
    memcpy(span->parent_id, n ? parent_id.data : "", n);
    span->parent_id[n] = '\0';
}


static aegis_span_attr_t *
aegis_span_attr(aegis_span_t *span, const char *key, size_t len)
{
    aegis_span_attr_t  *attr;

    if (span->n == AEGIS_SPAN_ATTRS || len > (size_t) (AEGIS_SPAN_TEXT - span->used)) {
        span->lost++;
        return NULL;
    }

    attr = &span->attr[span->n++];
    attr->key = key;
    return attr;
}


void
aegis_span_str(aegis_span_t *span, const char *key, aegis_str_t value)
{
    aegis_span_attr_t  *attr;

    if (value.data == NULL || value.len == 0) {
        return;
    }

    attr = aegis_span_attr(span, key, value.len);
    if (attr != NULL) {
        attr->is_number = 0;
        attr->at = span->used;
        aegis_span_put(span, value, &attr->len);
    }
}


void
aegis_span_int(aegis_span_t *span, const char *key, int64_t value)
{
    aegis_span_attr_t  *attr;

    attr = aegis_span_attr(span, key, 0);
    if (attr != NULL) {
        attr->is_number = 1;
        attr->number = value;
    }
}


size_t
aegis_span_context(const aegis_span_t *span, char out[AEGIS_CONTEXT_MAX + 1])
{
    size_t  n;

    n = (size_t) snprintf(out, AEGIS_TRACEPARENT_LEN + 1, "00-%s-%s-01", span->trace_id,
                          span->span_id);

    if (span->state_len) {
        out[n++] = ' ';
        memcpy(out + n, span->text + span->name_len, span->state_len);
        n += span->state_len;
        out[n] = '\0';
    }

    return n;
}


static aegis_str_t
aegis_span_cstr(const char *s)
{
    return (aegis_str_t) { s ? strlen(s) : 0, s ? s : "" };
}


static void
aegis_span_encode_str(aegis_buf_t *b, const char *key, aegis_str_t value)
{
    aegis_buf_printf(b, "{\"key\":\"%s\",\"value\":{\"stringValue\":", key);
    aegis_buf_json(b, value);
    aegis_buf_puts(b, "}}");
}


static void
aegis_span_encode_one(aegis_buf_t *b, const aegis_span_t *s)
{
    int                       i;
    const aegis_span_attr_t  *a;

    aegis_buf_printf(b, "{\"traceId\":\"%s\",\"spanId\":\"%s\"", s->trace_id, s->span_id);

    if (s->parent_id[0]) {
        aegis_buf_printf(b, ",\"parentSpanId\":\"%s\"", s->parent_id);
    }
    if (s->state_len) {
        aegis_buf_puts(b, ",\"traceState\":");
        aegis_buf_json(b, (aegis_str_t) { s->state_len, s->text + s->name_len });
    }

    aegis_buf_puts(b, ",\"name\":");
    aegis_buf_json(b, (aegis_str_t) { s->name_len, s->text });
    aegis_buf_printf(b, ",\"kind\":%d,\"startTimeUnixNano\":\"%llu\",\"endTimeUnixNano\":\"%llu\","
                     "\"attributes\":[", s->kind, (unsigned long long) s->start_ns,
                     (unsigned long long) (s->end_ns < s->start_ns ? s->start_ns : s->end_ns));

    for (i = 0; i < s->n; i++) {
        a = &s->attr[i];
        aegis_buf_puts(b, i ? "," : "");

        if (a->is_number) {
            aegis_buf_printf(b, "{\"key\":\"%s\",\"value\":{\"intValue\":\"%lld\"}}", a->key,
                             (long long) a->number);
        } else {
            aegis_span_encode_str(b, a->key, (aegis_str_t) { a->len, s->text + a->at });
        }
    }

    aegis_buf_puts(b, "]");
    if (s->lost) {
        aegis_buf_printf(b, ",\"droppedAttributesCount\":%d", s->lost);
    }

    /* 0 unset, 2 error */
    aegis_buf_puts(b, s->error ? ",\"status\":{\"code\":2}}" : ",\"status\":{}}");
}


char *
aegis_span_encode(const aegis_span_source_t *source, const aegis_span_t *spans,
    size_t n, size_t *ret_len)
{
    size_t       i;
    aegis_buf_t  b = AEGIS_BUF_INIT;

    aegis_buf_puts(&b, "{\"resourceSpans\":[{\"resource\":{\"attributes\":[");
    aegis_span_encode_str(&b, "service.name", aegis_span_cstr(source->service));
    aegis_buf_puts(&b, ",");
    aegis_span_encode_str(&b, "service.version", aegis_str(AEGIS_VERSION));
    aegis_buf_puts(&b, ",");
    aegis_span_encode_str(&b, "service.instance.id", aegis_span_cstr(source->instance));
    aegis_buf_puts(&b, ",");
    aegis_span_encode_str(&b, "host.name", aegis_span_cstr(source->host));
    aegis_buf_printf(&b, ",{\"key\":\"process.pid\",\"value\":{\"intValue\":\"%lld\"}}]},"
                     "\"scopeSpans\":[{\"scope\":{\"name\":\"aegis\",\"version\":\"" AEGIS_VERSION
                     "\"},\"spans\":[", (long long) source->pid);

    for (i = 0; i < n; i++) {
        aegis_buf_puts(&b, i ? "," : "");
        aegis_span_encode_one(&b, &spans[i]);
    }

    aegis_buf_puts(&b, "]}]}]}");
    return aegis_buf_take(&b, ret_len);
}


int64_t
aegis_span_rejected(aegis_str_t answer)
{
    json_t       *root, *value;
    int64_t       n;
    const char   *text;

    n = 0;
    root = answer.len ? json_loadb(answer.data, answer.len, 0, NULL) : NULL;
    value = json_object_get(json_object_get(root, "partialSuccess"), "rejectedSpans");

    /* a 64 bit number: a string in proto3's JSON, and some send a number */
    if (json_is_integer(value)) {
        n = json_integer_value(value);

    } else if ((text = json_string_value(value)) != NULL) {
        for (n = 0; *text >= '0' && *text <= '9' && n < INT32_MAX; text++) {
            n = n * 10 + *text - '0';
        }
    }

    json_decref(root);
    return n < 0 ? 0 : n;
}
