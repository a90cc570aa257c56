/*
 * aegis_error.c: the rows of errors.def and the problem document. Its
 * invariant: whatever was put into an error, the document that comes out is
 * valid JSON with a code of the table.
 */
#include "aegis_error.h"

#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "aegis_buf.h"
#include "aegis_json.h"

#define AEGIS_ERROR_MAX_POINTERS  32

static const aegis_error_def_t  aegis_error_defs[] = {
#define AEGIS_ERROR(id, code, http, verdict, title, remedy)                    \
    { AEGIS_E_##id, code, http, AEGIS_VERDICT_##verdict, title, remedy },
#include "tables/errors.def"
#undef AEGIS_ERROR
};


const aegis_error_def_t *
aegis_error_def(aegis_code_t code)
{
    if ((unsigned) code >= AEGIS_N_ERRORS) {
        return &aegis_error_defs[AEGIS_E_INTERNAL];
    }

    return &aegis_error_defs[code];
}


const aegis_error_def_t *
aegis_error_by_code(const char *code)
{
    size_t  i;

    for (i = 0; i < AEGIS_N_ERRORS; i++) {
        if (strcmp(aegis_error_defs[i].code, code) == 0) {
            return &aegis_error_defs[i];
        }
    }

    return &aegis_error_defs[AEGIS_E_INTERNAL];
}


static void
aegis_error_format(char *out, size_t size, const char *fmt, va_list args)
{
    int  n;

    n = vsnprintf(out, size, fmt, args);

    if (n < 0) {
        out[0] = '\0';
        return;
    }

    if ((size_t) n >= size) {
        /* the byte that would follow was cut, so look one back */
        n = (int) aegis_utf8_cut(out, size - 1, size - 2);
        out[n] = '\0';
    }
}


aegis_code_t
aegis_error_set(aegis_error_t *err, aegis_code_t code, const char *fmt, ...)
{
    va_list  args;

    if (err == NULL) {
        return code;
    }

    err->code = code;

    va_start(args, fmt);
    aegis_error_format(err->detail, sizeof(err->detail), fmt, args);
    va_end(args);

    return code;
}


void
aegis_error_at(aegis_error_t *err, const char *pointer, const char *fmt, ...)
{
    char      detail[256];
    json_t   *item;
    va_list   args;

    if (err == NULL) {
        return;
    }

    err->code = AEGIS_E_SCHEMA;

    if (err->errors == NULL) {
        err->errors = json_array();
    }

    if (json_array_size(err->errors) >= AEGIS_ERROR_MAX_POINTERS) {
        return;
    }

    va_start(args, fmt);
    aegis_error_format(detail, sizeof(detail), fmt, args);
    va_end(args);

    item = json_pack("{s:s, s:s}", "pointer", pointer, "detail", detail);

    /* no memory: the code alone has to do */
    if (item) {
        json_array_append_new(err->errors, item);
    }
}


void
aegis_error_pointer(char *out, size_t size, const char *parent, const char *name)
{
    size_t       n, used, escape, left;
    uint32_t     cp;
    const char  *s;

    /* made for every member that is looked at, whether it is right or not: no printf */
    used = strlen(parent);

    if (used + 1 >= size) {
        memcpy(out, parent, used < size ? used : size - 1);
        out[used < size ? used : size - 1] = '\0';
        used = aegis_utf8_cut(out, size - 1, size - 2);
        out[used] = '\0';
        return;
    }

    memcpy(out, parent, used);
    out[used++] = '/';

    for (s = name, left = strlen(name); left; s += n, left -= n) {
        n = aegis_utf8_next(s, left, &cp);

        escape = *s == '~' || *s == '/';

        if (n == 0 || used + n + escape + 1 > size) {
            break;
        }

        if (escape) {
            out[used++] = '~';
            out[used++] = *s == '~' ? '0' : '1';
            continue;
        }

        if (n == 1) {
            out[used++] = *s;
            continue;
        }

        memcpy(out + used, s, n);
        used += n;
    }

    out[used] = '\0';
}


void
aegis_error_index(char *out, size_t size, const char *parent, size_t i)
{
    char  number[24];

    snprintf(number, sizeof(number), "%zu", i);
    aegis_error_pointer(out, size, parent, number);
}


aegis_code_t
aegis_error_move(aegis_error_t *err, aegis_error_t *found)
{
    aegis_code_t  code;

    code = found->code;

    if (code == AEGIS_E_OK || err == NULL) {
        aegis_error_clear(found);
        return code;
    }

    aegis_error_clear(err);
    *err = *found;
    *found = (aegis_error_t) AEGIS_ERROR_INIT;

    return code;
}


static void
aegis_error_member(aegis_buf_t *buf, const char *name, const json_t *value)
{
    char  *text;

    text = aegis_json_text(value);
    if (text == NULL) {
        buf->failed = 1;
        return;
    }

    aegis_buf_puts(buf, ",");
    aegis_buf_json(buf, aegis_view(name));
    aegis_buf_puts(buf, ":");
    aegis_buf_puts(buf, text);
    free(text);
}


char *
aegis_error_problem(const aegis_error_t *err, aegis_str_t request_id)
{
    void                     *iter;
    const char               *detail, *blank;
    aegis_str_t               trace_id;
    aegis_buf_t               buf = AEGIS_BUF_INIT;
    const aegis_error_def_t  *def;

    def = aegis_error_def(err->code);

    detail = err->detail[0] ? err->detail
             : def->remedy[0] ? def->remedy : def->title;

    aegis_buf_printf(&buf, "{\"type\":\"urn:aegis:problem:%s\",\"title\":", def->code);
    aegis_buf_json(&buf, aegis_view(def->title));
    aegis_buf_printf(&buf, ",\"status\":%d,\"detail\":", def->http);
    aegis_buf_json(&buf, aegis_view(detail));
    aegis_buf_puts(&buf, ",\"instance\":\"urn:aegis:request:");

    blank = request_id.len ? memchr(request_id.data, ' ', request_id.len) : NULL;
    trace_id = AEGIS_NO_STR;

    if (blank) {
        trace_id.data = blank + 1;
        trace_id.len = request_id.len - (size_t) (trace_id.data - request_id.data);
        request_id.len -= trace_id.len + 1;
    }

    aegis_buf_json_chars(&buf, request_id);
    aegis_buf_puts(&buf, "\"");

    if (trace_id.len) {
        aegis_buf_puts(&buf, ",\"trace_id\":");
        aegis_buf_json(&buf, trace_id);
    }

    if (err->errors) {
        aegis_error_member(&buf, "errors", err->errors);
    }

    for (iter = json_object_iter(err->ext); iter;
         iter = json_object_iter_next(err->ext, iter))
    {
        aegis_error_member(&buf, json_object_iter_key(iter),
                           json_object_iter_value(iter));
    }

    aegis_buf_puts(&buf, "}");

    return aegis_buf_take(&buf, NULL);
}


void
aegis_error_clear(aegis_error_t *err)
{
    json_decref(err->errors);
    json_decref(err->ext);

    *err = (aegis_error_t) AEGIS_ERROR_INIT;
}
