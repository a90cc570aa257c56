/*
 * aegis_sf.c: an Item of RFC 9651 that is a String, with its parameters. Its
 * invariant: what the grammar does not have is refused, in the parameters as well,
 * though nobody reads them.
 */
#include "aegis_sf.h"

#include <string.h>


static int
aegis_sf_alpha(char c)
{
    return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z');
}


static int
aegis_sf_digit(char c)
{
    return c >= '0' && c <= '9';
}


/* The characters between the quotes of an sf-string; the end of it, or NULL.
 * out may be NULL. */
static const char *
aegis_sf_chars(const char *p, const char *end, char *out, size_t max,
    size_t *ret_len)
{
    size_t  n;

    for (n = 0; p < end && *p != '"'; p++) {

        if (*p < 0x20 || *p > 0x7e) {
            return NULL;
        }

        if (*p == '\\') {
            p++;
            if (p == end || (*p != '"' && *p != '\\')) {
                return NULL;
            }
        }

        if (n == max) {
            return NULL;
        }

        if (out) {
            out[n] = *p;
        }

        n++;
    }

    if (p == end) {
        return NULL;
    }

    *ret_len = n;

    return p + 1;
}


/* An Integer or a Decimal: at most 15 digits, or 12 and 3 behind the point. */
static const char *
aegis_sf_number(const char *p, const char *end, int *ret_decimal)
{
    size_t  n;

    *ret_decimal = 0;

    if (p < end && *p == '-') {
        p++;
    }

    for (n = 0; p < end && aegis_sf_digit(*p); p++) {
        n++;
    }

    if (n == 0 || n > 15) {
        return NULL;
    }

    if (p == end || *p != '.') {
        return p;
    }

    *ret_decimal = 1;
    if (n > 12) {
        return NULL;
    }

    p++;

    for (n = 0; p < end && aegis_sf_digit(*p); p++) {
        n++;
    }

    return n >= 1 && n <= 3 ? p : NULL;
}


static const char *
aegis_sf_hex(const char *p, const char *end, unsigned *ret_byte)
{
    int          i;
    const char  *at;

    static const char  hex[] = "0123456789abcdef";

    for (i = 0, *ret_byte = 0; i < 2; i++, p++) {
        at = p < end ? memchr(hex, *p, 16) : NULL;
        if (at == NULL) {
            return NULL;
        }
        *ret_byte = *ret_byte << 4 | (unsigned) (at - hex);
    }

    return p;
}


/* A Display String behind its %": what it stands for must be UTF-8. */
static const char *
aegis_sf_display(const char *p, const char *end)
{
    unsigned  c, more, low, high;

    more = 0;
    low = 0x80;
    high = 0xbf;

    while (p < end && *p != '"') {

        if (*p < 0x20 || *p > 0x7e) {
            return NULL;
        }

        c = (unsigned char) *p++;

        if (c == '%') {
            p = aegis_sf_hex(p, end, &c);
            if (p == NULL) {
                return NULL;
            }
        }

        if (more) {
            if (c < low || c > high) {
                return NULL;
            }
            more--;
            low = 0x80;
            high = 0xbf;
            continue;
        }

        if (c < 0x80) {
            continue;
        }

        if (c < 0xc2 || c > 0xf4) {
            return NULL;
        }

        more = c >= 0xf0 ? 3 : c >= 0xe0 ? 2 : 1;
        low = c == 0xe0 ? 0xa0 : c == 0xf0 ? 0x90 : 0x80;
        high = c == 0xed ? 0x9f : c == 0xf4 ? 0x8f : 0xbf;
    }

    return p < end && more == 0 ? p + 1 : NULL;
}


/* What goes on while its bytes are letters, digits or some of more. */
static const char *
aegis_sf_span(const char *p, const char *end, const char *more)
{
    while (p < end && (aegis_sf_alpha(*p) || aegis_sf_digit(*p)
                       || (*p && strchr(more, *p))))
    {
        p++;
    }

    return p;
}


/* A bare item (RFC 9651 4.2.3.1): its end, or NULL. */
static const char *
aegis_sf_bare(const char *p, const char *end)
{
    int     decimal;
    size_t  n;

    if (p == end) {
        return NULL;
    }

    switch (*p) {

    case '"':
        return aegis_sf_chars(p + 1, end, NULL, (size_t) -1, &n);

    case ':':
        p = aegis_sf_span(p + 1, end, "+/=");
        return p < end && *p == ':' ? p + 1 : NULL;

    case '?':
        return end - p >= 2 && (p[1] == '0' || p[1] == '1') ? p + 2 : NULL;

    case '@':
        p = aegis_sf_number(p + 1, end, &decimal);
        return decimal ? NULL : p;

    case '%':
        return end - p >= 2 && p[1] == '"' ? aegis_sf_display(p + 2, end) : NULL;

    default:
        if (*p == '*' || aegis_sf_alpha(*p)) {
            return aegis_sf_span(p, end, "!#$%&'*+-.^_`|~:/");
        }

        return aegis_sf_number(p, end, &decimal);
    }
}


/* Parameters behind an item (RFC 9651 3.1.2). */
static int
aegis_sf_params(const char *p, const char *end)
{
    while (p < end && *p == ';') {
        p++;

        while (p < end && *p == ' ') {
            p++;
        }

        if (p == end || !((*p >= 'a' && *p <= 'z') || *p == '*')) {
            return 0;
        }

        while (p < end && ((*p >= 'a' && *p <= 'z') || aegis_sf_digit(*p)
                           || memchr("_-.*", *p, 4)))
        {
            p++;
        }

        if (p == end || *p != '=') {
            continue;
        }

        p = aegis_sf_bare(p + 1, end);
        if (p == NULL) {
            return 0;
        }
    }

    return p == end;
}


int
aegis_sf_string(aegis_str_t item, char *out, size_t max, size_t *ret_len)
{
    const char  *p, *end;

    if (item.len == 0 || item.data[0] != '"') {
        return 0;
    }

    end = item.data + item.len;
    p = aegis_sf_chars(item.data + 1, end, out, max, ret_len);

    return p && aegis_sf_params(p, end);
}
