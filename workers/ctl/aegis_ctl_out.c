/*
 * aegis_ctl_out.c: what a person or a script reads: aligned tables and lines,
 * or the same JSON that they were made from. Widths count characters, not
 * bytes, so that other scripts than Latin stay aligned well enough; control
 * characters from data never reach a terminal.
 */
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "aegis_ctl.h"

#define CELL_MAX     1024
#define COLUMNS_MAX  16


void
aegis_ctl_say(const char *fmt, ...)
{
    va_list  ap;

    fputs("aegisctl: ", stderr);
    va_start(ap, fmt);
    vfprintf(stderr, fmt, ap);
    va_end(ap);
    fputc('\n', stderr);
}


void
aegis_ctl_json(json_t *value)
{
    json_dumpf(value, stdout, JSON_INDENT(2) | JSON_ENCODE_ANY);
    fputc('\n', stdout);
}


const char *
aegis_ctl_color(const aegis_ctl_t *ctl, const char *name)
{
    static const char *const  codes[][2] = {
        { "red", "\033[31m" }, { "green", "\033[32m" }, { "yellow", "\033[33m" },
        { "bold", "\033[1m" }, { "dim", "\033[2m" }, { "off", "\033[0m" }
    };
    size_t  i;

    for (i = 0; ctl->color && i < sizeof(codes) / sizeof(codes[0]); i++) {
        if (strcmp(codes[i][0], name) == 0) {
            return codes[i][1];
        }
    }
    return "";
}


static const json_t *
member(const json_t *object, const char *key)
{
    const char  *dot;
    char         head[64];

    dot = strchr(key, '.');
    if (dot == NULL || (size_t) (dot - key) >= sizeof(head)) {
        return json_object_get(object, key);
    }
    memcpy(head, key, (size_t) (dot - key));
    head[dot - key] = '\0';
    return member(json_object_get(object, head), dot + 1);
}


const char *
aegis_ctl_cell(const json_t *object, const char *key, char *buf, size_t size)
{
    const json_t  *v = member(object, key);
    char          *p, *dump;

    if (v == NULL || json_is_null(v)) {
        snprintf(buf, size, "-");
    } else if (json_is_string(v)) {
        snprintf(buf, size, "%s", json_string_value(v)[0] == '\0' ? "-" : json_string_value(v));
    } else if (json_is_boolean(v)) {
        snprintf(buf, size, "%s", json_is_true(v) ? "yes" : "no");
    } else {
        dump = json_dumps(v, JSON_COMPACT | JSON_ENCODE_ANY | JSON_REAL_PRECISION(6));
        snprintf(buf, size, "%s", dump != NULL ? dump : "-");
        free(dump);
    }
    for (p = buf; *p != '\0'; p++) {
        if ((unsigned char) *p < 0x20 || *p == 0x7f) {
            *p = ' ';
        }
    }
    return buf;
}


static size_t
width(const char *s)
{
    size_t  n;

    for (n = 0; *s != '\0'; s++) {
        n += ((unsigned char) *s & 0xc0) != 0x80;
    }
    return n;
}


static void
pad(const char *s, size_t to)
{
    size_t  n;

    fputs(s, stdout);
    for (n = width(s); n < to; n++) {
        fputc(' ', stdout);
    }
}


void
aegis_ctl_rows(const aegis_ctl_t *ctl, json_t *rows, const aegis_ctl_column_t *columns,
    const char *when_empty)
{
    char     buf[CELL_MAX];
    size_t   i, c, n, w, widths[COLUMNS_MAX];
    json_t  *row;

    if (ctl->json) {
        aegis_ctl_json(rows);
        return;
    }
    if (json_array_size(rows) == 0) {
        printf("%s\n", when_empty);
        return;
    }

    for (n = 0; n < COLUMNS_MAX && columns[n].key != NULL; n++) {
        widths[n] = width(columns[n].title);
        json_array_foreach(rows, i, row) {
            w = width(aegis_ctl_cell(row, columns[n].key, buf, sizeof(buf)));
            widths[n] = w > widths[n] ? w : widths[n];
        }
    }

    fputs(aegis_ctl_color(ctl, "bold"), stdout);
    for (c = 0; c < n; c++) {
        pad(columns[c].title, c + 1 < n ? widths[c] + 2 : 0);
    }
    printf("%s\n", aegis_ctl_color(ctl, "off"));
    json_array_foreach(rows, i, row) {
        for (c = 0; c < n; c++) {
            pad(aegis_ctl_cell(row, columns[c].key, buf, sizeof(buf)),
                c + 1 < n ? widths[c] + 2 : 0);
        }
        fputc('\n', stdout);
    }
}


void
aegis_ctl_object(const aegis_ctl_t *ctl, json_t *object, const aegis_ctl_column_t *columns)
{
    char    buf[CELL_MAX];
    size_t  c, w = 0;

    if (ctl->json) {
        aegis_ctl_json(object);
        return;
    }
    for (c = 0; columns[c].key != NULL; c++) {
        w = width(columns[c].title) > w ? width(columns[c].title) : w;
    }
    for (c = 0; columns[c].key != NULL; c++) {
        pad(columns[c].title, w + 2);
        printf("%s\n", aegis_ctl_cell(object, columns[c].key, buf, sizeof(buf)));
    }
}
