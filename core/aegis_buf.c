/*
 * aegis_buf.c: growing text. Its invariant: data[len] is NUL whenever data is
 * set, and a failure keeps nothing half-written from being taken.
 */
#include "aegis_buf.h"

#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "aegis_json.h"

static int
aegis_buf_room(aegis_buf_t *buf, size_t more)
{
    size_t   size;
    char    *data;

    if (buf->failed) {
        return 0;
    }

    if (more > AEGIS_BUF_MAX || buf->len + more > AEGIS_BUF_MAX) {
        buf->failed = 1;
        return 0;
    }

    if (buf->len + more + 1 <= buf->size) {
        return 1;
    }

    size = buf->size ? buf->size : 256;
    while (size < buf->len + more + 1) {
        size *= 2;
    }

    data = realloc(buf->data, size);
    if (data == NULL) {
        buf->failed = 1;
        return 0;
    }

    buf->data = data;
    buf->size = size;

    return 1;
}


void
aegis_buf_add(aegis_buf_t *buf, const char *data, size_t len)
{
    if (!aegis_buf_room(buf, len)) {
        return;
    }

    if (len) {
        memcpy(buf->data + buf->len, data, len);
    }

    buf->len += len;
    buf->data[buf->len] = '\0';
}


char *
aegis_buf_place(aegis_buf_t *buf, size_t n)
{
    return aegis_buf_room(buf, n) ? buf->data + buf->len : NULL;
}


void
aegis_buf_puts(aegis_buf_t *buf, const char *text)
{
    aegis_buf_add(buf, text, strlen(text));
}


void
aegis_buf_printf(aegis_buf_t *buf, const char *fmt, ...)
{
    int      n;
    va_list  args;

    va_start(args, fmt);
    n = vsnprintf(NULL, 0, fmt, args);
    va_end(args);

    if (n < 0) {
        buf->failed = 1;
        return;
    }

    if (!aegis_buf_room(buf, (size_t) n)) {
        return;
    }

    va_start(args, fmt);
    vsnprintf(buf->data + buf->len, (size_t) n + 1, fmt, args);
    va_end(args);

    buf->len += (size_t) n;
}


void
aegis_buf_json_chars(aegis_buf_t *buf, aegis_str_t s)
{
    size_t         n, i, run;
    uint32_t       cp;
    unsigned char  c;

    for (i = 0; i < s.len; i += n) {
        for (run = i; i < s.len; i++) {
            c = (unsigned char) s.data[i];
            if (c < 0x20 || c >= 0x80 || c == '"' || c == '\\') {
                break;
            }
        }
        aegis_buf_add(buf, s.data + run, i - run);
        if (i == s.len) {
            return;
        }

        n = aegis_utf8_next(s.data + i, s.len - i, &cp);

        if (n == 0) {
            aegis_buf_puts(buf, "\\ufffd");
            n = 1;

        } else if (cp == '"' || cp == '\\') {
            aegis_buf_printf(buf, "\\%c", (int) cp);

        } else if (cp < 0x20) {
            aegis_buf_printf(buf, "\\u%04x", (unsigned) cp);

        } else {
            aegis_buf_add(buf, s.data + i, n);
        }
    }
}


void
aegis_buf_json(aegis_buf_t *buf, aegis_str_t s)
{
    aegis_buf_add(buf, "\"", 1);
    aegis_buf_json_chars(buf, s);
    aegis_buf_add(buf, "\"", 1);
}


char *
aegis_buf_take(aegis_buf_t *buf, size_t *ret_len)
{
    char  *data;

    if (!aegis_buf_room(buf, 0)) {
        free(buf->data);
        *buf = (aegis_buf_t) AEGIS_BUF_INIT;
        return NULL;
    }

    data = buf->data;
    data[buf->len] = '\0';

    if (ret_len) {
        *ret_len = buf->len;
    }

    *buf = (aegis_buf_t) AEGIS_BUF_INIT;

    return data;
}
