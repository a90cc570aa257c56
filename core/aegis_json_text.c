/*
 * aegis_json_text.c: JSON written as text. jansson's own writer goes by way of a
 * callback for each piece and a hash of addresses against circles; texts are written
 * for every case and every message, so this one appends to one buffer.
 * Invariant: for what aegis_json_parse() lets in, the bytes are those of json_dumps()
 * with JSON_COMPACT, JSON_ENCODE_ANY and 15 digits, and JSON_SORT_KEYS when sorted, where
 * a number is an integer if it can be: the hashes of stored plans are over them.
 */
#include "aegis_json.h"

#include <stdlib.h>
#include <string.h>

/* Deeper than any document of ours; what goes in a circle ends here as well. */
#define AEGIS_JSON_TEXT_DEEP  256

/* Keys that are sorted without asking for memory. */
#define AEGIS_JSON_TEXT_KEYS  32


/* Beyond it not every integer is a double. */
#define AEGIS_JSON_EXACT   9007199254740992.0

typedef struct {
    const char    *key;
    const json_t  *value;
} aegis_json_member_t;

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


/* The bytes of a word that are zero or, with their high bit not set, below n. */
#define AEGIS_JSON_ALL(c)      (~UINT64_C(0) / 255 * (c))
#define AEGIS_JSON_BELOW(w, n) (((w) - AEGIS_JSON_ALL(n)) & ~(w) & AEGIS_JSON_ALL(0x80))

/* How many bytes from s on are written as they are: most of every text. */
static size_t
aegis_json_run(const char *s, size_t len)
{
    size_t         i;
    uint64_t       w;
    unsigned char  c;

    for (i = 0; i + sizeof(w) <= len; i += sizeof(w)) {
        memcpy(&w, s + i, sizeof(w));
        if ((w & AEGIS_JSON_ALL(0x80)) | AEGIS_JSON_BELOW(w, 0x20)
            | AEGIS_JSON_BELOW(w ^ AEGIS_JSON_ALL('"'), 1)
            | AEGIS_JSON_BELOW(w ^ AEGIS_JSON_ALL('\\'), 1))
        {
            break;
        }
    }

    for ( ; i < len; i++) {
        c = (unsigned char) s[i];
        if (c < 0x20 || c >= 0x80 || c == '"' || c == '\\') {
            break;
        }
    }

    return i;
}


/* Between quotes, in runs. A value that is not UTF-8 is no text at all. */
static void
aegis_json_write_string(aegis_buf_t *buf, const char *s, size_t len)
{
    char           *p;
    size_t          i, run, n;
    uint32_t        cp;

    i = aegis_json_run(s, len);
    p = aegis_buf_place(buf, i + 2);
    if (p == NULL) {
        return;
    }

    *p = '"';
    memcpy(p + 1, s, i);
    buf->len += i + 1;

    for (run = i; i < len; ) {
        if ((unsigned char) s[i] >= 0x80) {
            n = aegis_utf8_next(s + i, len - i, &cp);
            if (n == 0) {
                buf->failed = 1;
                return;
            }
            i += n;

        } else {
            aegis_buf_add(buf, s + run, i - run);
            aegis_json_write_escape(buf, (unsigned char) s[i]);
            run = ++i;
        }
        i += aegis_json_run(s + i, len - i);
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
aegis_json_write_real(aegis_buf_t *buf, const json_t *json, int sorted)
{
    char    *text;
    double   number;

    number = json_real_value(json);
    if (sorted && number >= -AEGIS_JSON_EXACT && number <= AEGIS_JSON_EXACT
        && number == (double) (json_int_t) number)
    {
        aegis_json_write_integer(buf, (json_int_t) number);
        return;
    }

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
    char    *p;
    size_t   n;

    n = strlen(key);
    p = aegis_buf_place(buf, n + 4);
    if (p == NULL) {
        return;
    }

    if (!first) {
        *p++ = ',';
        buf->len++;
    }

    if (aegis_json_run(key, n) == n) {
        *p++ = '"';
        memcpy(p, key, n);
        p[n] = '"';
        p[n + 1] = ':';
        buf->len += n + 3;
    } else {
        aegis_json_write_string(buf, key, n);
        aegis_buf_add(buf, ":", 1);
    }

    aegis_json_write(buf, value, sorted, deep + 1);
}


static int
aegis_json_write_compare(const void *a, const void *b)
{
    return strcmp(((const aegis_json_member_t *) a)->key,
                  ((const aegis_json_member_t *) b)->key);
}


static void
aegis_json_write_sorted(aegis_buf_t *buf, json_t *o, int sorted, int deep)
{
    void                 *iter;
    size_t                i, k, n;
    aegis_json_member_t   few[AEGIS_JSON_TEXT_KEYS], *all, one;

    n = json_object_size(o);
    all = n > AEGIS_JSON_TEXT_KEYS ? calloc(n, sizeof(*all)) : few;
    if (all == NULL) {
        buf->failed = 1;
        return;
    }

    for (i = 0, iter = json_object_iter(o); iter && i < n; iter = json_object_iter_next(o, iter)) {
        one.key = json_object_iter_key(iter);
        one.value = json_object_iter_value(iter);

        /* the few are put in their places at once */
        for (k = i++; all == few && k > 0 && strcmp(all[k - 1].key, one.key) > 0; k--) {
            all[k] = all[k - 1];
        }
        all[k] = one;
    }
    if (all != few) {
        qsort(all, n, sizeof(*all), aegis_json_write_compare);
    }

    for (i = 0; i < n && !buf->failed; i++) {
        aegis_json_write_member(buf, all[i].key, all[i].value, i == 0, sorted, deep);
    }

    if (all != few) {
        free(all);
    }
}


static void
aegis_json_write_object(aegis_buf_t *buf, json_t *o, int sorted, int deep)
{
    int    first;
    void  *iter;

    aegis_buf_add(buf, "{", 1);

    if (sorted) {
        aegis_json_write_sorted(buf, o, sorted, deep);
    } else {
        first = 1;
        for (iter = json_object_iter(o); iter && !buf->failed;
             iter = json_object_iter_next(o, iter))
        {
            aegis_json_write_member(buf, json_object_iter_key(iter),
                                    json_object_iter_value(iter), first, sorted, deep);
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
        aegis_json_write_real(buf, json, sorted);
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


void
aegis_json_add(aegis_buf_t *buf, const json_t *json)
{
    aegis_json_write(buf, json, 0, 0);
}


static char *
aegis_json_text_as(const json_t *json, int sorted)
{
    aegis_buf_t  buf = AEGIS_BUF_INIT;

    aegis_json_write(&buf, json, sorted, 0);
    return aegis_buf_take(&buf, NULL);
}


char *
aegis_json_text(const json_t *json)
{
    return aegis_json_text_as(json, 0);
}


char *
aegis_json_text_sorted(const json_t *json)
{
    return aegis_json_text_as(json, 1);
}
