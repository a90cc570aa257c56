/*
 * aegis_json_text.c: JSON written as text. jansson's own writer goes by way of a
 * callback for each piece and a hash of addresses against circles; texts are written
 * for every case and every message, so this one appends to one buffer.
 * Invariant: for what aegis_json_parse() lets in, the bytes are those of json_dumps()
 * with JSON_COMPACT, JSON_ENCODE_ANY and 15 digits, and JSON_SORT_KEYS when sorted: the
 * hashes of stored plans are over them.
 */
#include "aegis_json.h"

#include <stdlib.h>
#include <string.h>

#include "aegis_buf.h"

/* Deeper than any document of ours; what goes in a circle ends here as well. */
#define AEGIS_JSON_TEXT_DEEP  256

/* Keys that are sorted without asking for memory. */
#define AEGIS_JSON_TEXT_KEYS  32

static void aegis_json_write(aegis_buf_t *buf, const json_t *json, int sorted, int deep);


/* jansson's letters: the short ones where JSON has them, else capital hex. */
static void
aegis_json_write_escape(aegis_buf_t *buf, unsigned char c)
{
    char         text[6];
    const char  *at;

    static const char  from[] = "\"\\\b\f\n\r\t", to[] = "\"\\bfnrt";
    static const char  hex[] = "0123456789ABCDEF";

    at = c ? strchr(from, c) : NULL;
    text[0] = '\\';
    if (at != NULL) {
        text[1] = to[at - from];
        aegis_buf_add(buf, text, 2);
        return;
    }

    text[1] = 'u';
    text[2] = text[3] = '0';
    text[4] = hex[c >> 4];
    text[5] = hex[c & 15];
    aegis_buf_add(buf, text, 6);
}


/* Between quotes, in runs. A value that is not UTF-8 is no text at all. */
static void
aegis_json_write_string(aegis_buf_t *buf, const char *s, size_t len)
{
    size_t         i, run, n;
    uint32_t       cp;
    unsigned char  c;

    aegis_buf_add(buf, "\"", 1);

    for (i = 0, run = 0; i < len; i += n) {
        c = (unsigned char) s[i];
        n = 1;

        if (c >= 0x80) {
            n = aegis_utf8_next(s + i, len - i, &cp);
            if (n == 0) {
                buf->failed = 1;
                return;
            }

        } else if (c < 0x20 || c == '"' || c == '\\') {
            aegis_buf_add(buf, s + run, i - run);
            aegis_json_write_escape(buf, c);
            run = i + 1;
        }
    }

    aegis_buf_add(buf, s + run, len - run);
    aegis_buf_add(buf, "\"", 1);
}


static void
aegis_json_write_integer(aegis_buf_t *buf, json_int_t value)
{
    char                 text[24], *p;
    unsigned long long   left;

    p = text + sizeof(text);
    left = value < 0 ? 0 - (unsigned long long) value : (unsigned long long) value;

    do {
        *--p = (char) ('0' + left % 10);
        left /= 10;
    } while (left);

    if (value < 0) {
        *--p = '-';
    }

    aegis_buf_add(buf, p, (size_t) (text + sizeof(text) - p));
}


/* Their form is jansson's to know. */
static void
aegis_json_write_real(aegis_buf_t *buf, const json_t *json)
{
    char  *text;

    text = json_dumps(json, JSON_ENCODE_ANY | JSON_REAL_PRECISION(15));
    if (text == NULL) {
        buf->failed = 1;
        return;
    }

    aegis_buf_puts(buf, text);
    free(text);
}


static void
aegis_json_write_member(aegis_buf_t *buf, const char *key, const json_t *value, int first,
    int sorted, int deep)
{
    if (!first) {
        aegis_buf_add(buf, ",", 1);
    }
    aegis_json_write_string(buf, key, strlen(key));
    aegis_buf_add(buf, ":", 1);
    aegis_json_write(buf, value, sorted, deep + 1);
}


static int
aegis_json_write_compare(const void *a, const void *b)
{
    return strcmp(*(const char *const *) a, *(const char *const *) b);
}


static void
aegis_json_write_sorted(aegis_buf_t *buf, json_t *o, int deep)
{
    void         *iter;
    size_t        i, n;
    const char   *few[AEGIS_JSON_TEXT_KEYS], **keys;

    n = json_object_size(o);
    keys = n > AEGIS_JSON_TEXT_KEYS ? calloc(n, sizeof(char *)) : few;
    if (keys == NULL) {
        buf->failed = 1;
        return;
    }

    for (i = 0, iter = json_object_iter(o); iter && i < n; iter = json_object_iter_next(o, iter)) {
        keys[i++] = json_object_iter_key(iter);
    }
    qsort(keys, n, sizeof(char *), aegis_json_write_compare);

    for (i = 0; i < n && !buf->failed; i++) {
        aegis_json_write_member(buf, keys[i], json_object_get(o, keys[i]), i == 0, 1, deep);
    }

    if (keys != few) {
        free(keys);
    }
}


static void
aegis_json_write_object(aegis_buf_t *buf, json_t *o, int sorted, int deep)
{
    int    first;
    void  *iter;

    aegis_buf_add(buf, "{", 1);

    if (sorted) {
        aegis_json_write_sorted(buf, o, deep);
    } else {
        first = 1;
        for (iter = json_object_iter(o); iter && !buf->failed;
             iter = json_object_iter_next(o, iter))
        {
            aegis_json_write_member(buf, json_object_iter_key(iter),
                                    json_object_iter_value(iter), first, 0, deep);
            first = 0;
        }
    }

    aegis_buf_add(buf, "}", 1);
}


static void
aegis_json_write_array(aegis_buf_t *buf, const json_t *array, int sorted, int deep)
{
    size_t  i, n;

    aegis_buf_add(buf, "[", 1);

    for (i = 0, n = json_array_size(array); i < n && !buf->failed; i++) {
        if (i) {
            aegis_buf_add(buf, ",", 1);
        }
        aegis_json_write(buf, json_array_get(array, i), sorted, deep + 1);
    }

    aegis_buf_add(buf, "]", 1);
}


static void
aegis_json_write(aegis_buf_t *buf, const json_t *json, int sorted, int deep)
{
    if (json == NULL || deep > AEGIS_JSON_TEXT_DEEP) {
        buf->failed = 1;
        return;
    }

    switch (json_typeof(json)) {

    case JSON_OBJECT:
        aegis_json_write_object(buf, (json_t *) json, sorted, deep);
        break;

    case JSON_ARRAY:
        aegis_json_write_array(buf, json, sorted, deep);
        break;

    case JSON_STRING:
        aegis_json_write_string(buf, json_string_value(json), json_string_length(json));
        break;

    case JSON_INTEGER:
        aegis_json_write_integer(buf, json_integer_value(json));
        break;

    case JSON_REAL:
        aegis_json_write_real(buf, json);
        break;

    case JSON_TRUE:
        aegis_buf_add(buf, "true", 4);
        break;

    case JSON_FALSE:
        aegis_buf_add(buf, "false", 5);
        break;

    case JSON_NULL:
        aegis_buf_add(buf, "null", 4);
        break;
    }
}


char *
aegis_json_text(const json_t *json)
{
    aegis_buf_t  buf = AEGIS_BUF_INIT;

    aegis_json_write(&buf, json, 0, 0);
    return aegis_buf_take(&buf, NULL);
}


char *
aegis_json_text_sorted(const json_t *json)
{
    aegis_buf_t  buf = AEGIS_BUF_INIT;

    aegis_json_write(&buf, json, 1, 0);
    return aegis_buf_take(&buf, NULL);
}
