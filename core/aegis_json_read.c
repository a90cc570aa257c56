/*
 * aegis_json_read.c: JSON read in one go, for the texts that come all the time: every
 * message, every row's facts. jansson's own reader takes a text byte by byte through
 * three layers.
 * Invariant: what it reads is what json_loadb() with JSON_REJECT_DUPLICATES reads, value
 * for value; a text that it does not like, wrong or only unusual, is jansson's to read and
 * to complain about.
 */
#include "aegis_json.h"

#include <stdlib.h>
#include <string.h>

/* Of an integer: they never overflow. */
#define AEGIS_JSON_READ_DIGITS  18

typedef struct {
    const char  *p;
    const char  *end;
    char        *text;                  /* a string without its escapes; owned */
    size_t       size;
} aegis_json_read_t;

static json_t *aegis_json_read_value(aegis_json_read_t *r, int deep);


static void
aegis_json_read_blanks(aegis_json_read_t *r)
{
    while (r->p < r->end && (*r->p == ' ' || *r->p == '\n' || *r->p == '\t' || *r->p == '\r')) {
        r->p++;
    }
}


/* Is c the next one, behind blanks? */
static int
aegis_json_read_mark(aegis_json_read_t *r, char c)
{
    aegis_json_read_blanks(r);
    if (r->p == r->end || *r->p != c) {
        return 0;
    }

    r->p++;
    return 1;
}


/* The character behind \u, which is no half of a pair; 0: another one. */
static uint32_t
aegis_json_read_hex(const aegis_json_read_t *r)
{
    int       i, c;
    uint32_t  cp;

    if (r->end - r->p < 4) {
        return 0;
    }

    for (i = 0, cp = 0; i < 4; i++) {
        c = r->p[i];
        cp = cp << 4;
        if (c >= '0' && c <= '9') {
            cp |= (uint32_t) (c - '0');
        } else if ((c | 0x20) >= 'a' && (c | 0x20) <= 'f') {
            cp |= (uint32_t) ((c | 0x20) - 'a' + 10);
        } else {
            return 0;
        }
    }

    return cp >= 0xd800 && cp <= 0xdfff ? 0 : cp;
}


/* One escape, p being behind its backslash. How many bytes it is; 0: it is odd. */
static size_t
aegis_json_read_escape(aegis_json_read_t *r, char *out)
{
    uint32_t     cp;
    const char  *at;

    static const char  from[] = "\"\\/bfnrt", to[] = "\"\\/\b\f\n\r\t";

    if (r->p == r->end) {
        return 0;
    }

    if (*r->p != 'u') {
        at = memchr(from, *r->p++, sizeof(from) - 1);
        if (at == NULL) {
            return 0;
        }
        *out = to[at - from];
        return 1;
    }

    r->p++;
    cp = aegis_json_read_hex(r);
    if (cp == 0) {
        return 0;
    }
    r->p += 4;

    if (cp < 0x80) {
        out[0] = (char) cp;
        return 1;
    }
    if (cp < 0x800) {
        out[0] = (char) (0xc0 | cp >> 6);
        out[1] = (char) (0x80 | (cp & 0x3f));
        return 2;
    }

    out[0] = (char) (0xe0 | cp >> 12);
    out[1] = (char) (0x80 | (cp >> 6 & 0x3f));
    out[2] = (char) (0x80 | (cp & 0x3f));
    return 3;
}


/* A string with escapes, from its first one on: the bytes before it are begun's. */
static int
aegis_json_read_escaped(aegis_json_read_t *r, const char *begun, aegis_str_t *ret)
{
    char      *text;
    size_t     n, run, len, most;
    uint32_t   cp;

    /* no escape is longer than what it stands for */
    most = (size_t) (r->end - begun);
    if (most > r->size) {
        text = realloc(r->text, most);
        if (text == NULL) {
            return 0;
        }
        r->text = text;
        r->size = most;
    }

    len = (size_t) (r->p - begun);
    memcpy(r->text, begun, len);

    while (r->p < r->end) {
        run = aegis_json_plain(r->p, (size_t) (r->end - r->p));
        memcpy(r->text + len, r->p, run);
        len += run;
        r->p += run;

        if (r->p == r->end) {
            return 0;
        }
        if (*r->p == '"') {
            r->p++;
            *ret = (aegis_str_t) { len, r->text };
            return 1;
        }

        if (*r->p == '\\') {
            r->p++;
            n = aegis_json_read_escape(r, r->text + len);
        } else {
            n = (unsigned char) *r->p < 0x80 ? 0
                : aegis_utf8_next(r->p, (size_t) (r->end - r->p), &cp);
            memcpy(r->text + len, r->p, n);
            r->p += n;
        }
        if (n == 0) {
            return 0;
        }
        len += n;
    }

    return 0;
}


/* A string, p being behind its first quote. */
static int
aegis_json_read_string(aegis_json_read_t *r, aegis_str_t *ret)
{
    size_t       n;
    uint32_t     cp;
    const char  *begun;

    begun = r->p;

    for ( ;; ) {
        r->p += aegis_json_plain(r->p, (size_t) (r->end - r->p));
        if (r->p == r->end) {
            return 0;
        }

        if (*r->p == '"') {
            *ret = (aegis_str_t) { (size_t) (r->p - begun), begun };
            r->p++;
            return 1;
        }
        if (*r->p == '\\') {
            return aegis_json_read_escaped(r, begun, ret);
        }

        n = (unsigned char) *r->p < 0x80 ? 0
            : aegis_utf8_next(r->p, (size_t) (r->end - r->p), &cp);
        if (n == 0) {
            return 0;
        }
        r->p += n;
    }
}


/* Integers; what else is a number is jansson's to read. */
static json_t *
aegis_json_read_number(aegis_json_read_t *r)
{
    int          negative;
    size_t       n;
    json_t      *real;
    json_int_t   value;
    const char  *begun, *digits;

    begun = r->p;
    negative = *r->p == '-';
    digits = r->p += negative;

    for (value = 0; r->p < r->end && *r->p >= '0' && *r->p <= '9'; r->p++) {
        if (r->p - digits == AEGIS_JSON_READ_DIGITS) {
            return NULL;
        }
        value = value * 10 + (*r->p - '0');
    }

    n = (size_t) (r->p - digits);
    if (n == 0 || (n > 1 && *digits == '0')) {
        return NULL;
    }

    if (r->p == r->end || (*r->p != '.' && (*r->p | 0x20) != 'e')) {
        return json_integer(negative ? -value : value);
    }

    while (r->p < r->end && (strchr("+-.eE", *r->p) || (*r->p >= '0' && *r->p <= '9'))) {
        r->p++;
    }
    real = json_loadb(begun, (size_t) (r->p - begun), JSON_DECODE_ANY, NULL);
    if (real && !json_is_real(real)) {
        json_decref(real);
        real = NULL;
    }

    return real;
}


static json_t *
aegis_json_read_word(aegis_json_read_t *r, const char *word, size_t n, json_t *value)
{
    if ((size_t) (r->end - r->p) < n || memcmp(r->p, word, n) != 0) {
        return NULL;
    }

    r->p += n;
    return value;
}


static json_t *
aegis_json_read_object(aegis_json_read_t *r, int deep)
{
    size_t       n;
    json_t      *o, *value;
    aegis_str_t  key;

    o = json_object();
    if (o == NULL || aegis_json_read_mark(r, '}')) {
        return o;
    }

    for (n = 1; ; n++) {
        if (!aegis_json_read_mark(r, '"') || !aegis_json_read_string(r, &key)
            || memchr(key.data, '\0', key.len))
        {
            break;
        }

        /* it may lie in the text that the value needs */
        value = NULL;
        if (key.data != r->text && aegis_json_read_mark(r, ':')) {
            value = aegis_json_read_value(r, deep);
        }

        /* a key that was there already does not count again */
        if (value == NULL || json_object_setn_new_nocheck(o, key.data, key.len, value) != 0
            || json_object_size(o) != n)
        {
            break;
        }

        if (aegis_json_read_mark(r, '}')) {
            return o;
        }
        if (!aegis_json_read_mark(r, ',')) {
            break;
        }
    }

    json_decref(o);
    return NULL;
}


static json_t *
aegis_json_read_array(aegis_json_read_t *r, int deep)
{
    json_t  *array, *value;

    array = json_array();
    if (array == NULL || aegis_json_read_mark(r, ']')) {
        return array;
    }

    for ( ;; ) {
        value = aegis_json_read_value(r, deep);
        if (value == NULL || json_array_append_new(array, value) != 0) {
            break;
        }

        if (aegis_json_read_mark(r, ']')) {
            return array;
        }
        if (!aegis_json_read_mark(r, ',')) {
            break;
        }
    }

    json_decref(array);
    return NULL;
}


static json_t *
aegis_json_read_value(aegis_json_read_t *r, int deep)
{
    aegis_str_t  s;

    aegis_json_read_blanks(r);
    if (r->p == r->end || deep > AEGIS_BODY_MAX_DEPTH) {
        return NULL;
    }

    switch (*r->p) {

    case '{':
        r->p++;
        return aegis_json_read_object(r, deep + 1);

    case '[':
        r->p++;
        return aegis_json_read_array(r, deep + 1);

    case '"':
        r->p++;
        return aegis_json_read_string(r, &s) && memchr(s.data, '\0', s.len) == NULL
               ? json_stringn_nocheck(s.data, s.len) : NULL;

    case 't':
        return aegis_json_read_word(r, "true", 4, json_true());

    case 'f':
        return aegis_json_read_word(r, "false", 5, json_false());

    case 'n':
        return aegis_json_read_word(r, "null", 4, json_null());

    default:
        return aegis_json_read_number(r);
    }
}


json_t *
aegis_json_read(aegis_str_t text)
{
    json_t             *json;
    aegis_json_read_t   r;

    r.p = text.data;
    r.end = text.data + text.len;
    r.text = NULL;
    r.size = 0;

    aegis_json_read_blanks(&r);
    json = r.p < r.end && (*r.p == '{' || *r.p == '[') ? aegis_json_read_value(&r, 0) : NULL;
    aegis_json_read_blanks(&r);

    if (json && r.p != r.end) {
        json_decref(json);
        json = NULL;
    }

    free(r.text);
    return json;
}
