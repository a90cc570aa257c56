/*
 * aegis_case.c: the text of a case. Its invariant: byte for byte what
 * aegis.case_text() (sql/functions/10_common.sql) says of the same row in UTC, with
 * PostgreSQL's way to write a string, an id and a time; t/20routes.t compares them.
 */
#include "aegis_case.h"

#include <string.h>

#include "aegis_time.h"

#define AEGIS_CASE_FIXED   256      /* names, ids, numbers, the time */
#define AEGIS_CASE_ESCAPE  6        /* \u001f */


size_t
aegis_case_size(const aegis_case_t *c)
{
    return AEGIS_CASE_FIXED + c->card.len + c->status.len
           + AEGIS_CASE_ESCAPE * c->reason.len;
}


static char *
aegis_case_put(char *p, const char *text, size_t len)
{
    if (len) {
        memcpy(p, text, len);
    }

    return p + len;
}

#define aegis_case_lit(p, lit)  aegis_case_put(p, lit, sizeof(lit) - 1)


static char *
aegis_case_hex(char *p, unsigned char byte)
{
    static const char  digits[] = "0123456789abcdef";

    *p++ = digits[byte >> 4];
    *p++ = digits[byte & 15];

    return p;
}


static char *
aegis_case_number(char *p, uint64_t n)
{
    char    text[20];
    size_t  i;

    i = sizeof(text);
    do {
        text[--i] = (char) ('0' + n % 10);
        n /= 10;
    } while (n);

    return aegis_case_put(p, text + i, sizeof(text) - i);
}


static char *
aegis_case_id(char *p, const unsigned char *id)
{
    int  i;

    if (id == NULL) {
        return aegis_case_lit(p, "null");
    }

    *p++ = '"';

    for (i = 0; i < 16; i++) {
        if (i == 4 || i == 6 || i == 8 || i == 10) {
            *p++ = '-';
        }
        p = aegis_case_hex(p, id[i]);
    }

    *p++ = '"';

    return p;
}


/* As to_json() has it: short letters where JSON has them, else \u and small hex. */
static char *
aegis_case_string(char *p, aegis_str_t s)
{
    size_t       i;
    const char  *at;

    static const char  from[] = "\"\\\b\f\n\r\t", to[] = "\"\\bfnrt";

    *p++ = '"';

    for (i = 0; i < s.len; i++) {
        if ((unsigned char) s.data[i] >= 0x20 && s.data[i] != '"' && s.data[i] != '\\') {
            *p++ = s.data[i];
            continue;
        }

        at = s.data[i] ? strchr(from, s.data[i]) : NULL;
        *p++ = '\\';

        if (at) {
            *p++ = to[at - from];
        } else {
            p = aegis_case_hex(aegis_case_lit(p, "u00"), (unsigned char) s.data[i]);
        }
    }

    *p++ = '"';

    return p;
}


/* 2026-11-26T23:01:57.57+00:00: no more digits of a second than there are. */
static char *
aegis_case_time(char *p, int64_t us)
{
    char      text[AEGIS_TIME_LEN + 1];
    int       i, n;
    int64_t   s, part;

    s = us / 1000000;
    part = us % 1000000;

    if (part < 0) {
        part += 1000000;
        s--;
    }

    *p++ = '"';
    aegis_time_format(s, text);
    p = aegis_case_put(p, text, AEGIS_TIME_LEN - 1);

    if (part) {
        for (n = 6; part % 10 == 0; n--) {
            part /= 10;
        }

        *p = '.';
        for (i = n; i > 0; i--) {
            p[i] = (char) ('0' + part % 10);
            part /= 10;
        }
        p += n + 1;
    }

    return aegis_case_lit(p, "+00:00\"");
}


size_t
aegis_case_text(const aegis_case_t *c, char *out)
{
    char  *p;

    p = aegis_case_put(out, c->card.data, c->card.len);
    p = aegis_case_lit(p, ",\"status\":\"");
    p = aegis_case_put(p, c->status.data, c->status.len);
    p = aegis_case_lit(p, "\",\"version\":");
    p = aegis_case_number(p, (uint64_t) c->version);
    p = aegis_case_lit(p, ",\"plan_id\":");
    p = aegis_case_id(p, c->plan_id);
    p = aegis_case_lit(p, ",\"exec_id\":");
    p = aegis_case_id(p, c->exec_id);
    p = aegis_case_lit(p, ",\"reason\":");
    p = aegis_case_string(p, c->reason);
    p = aegis_case_lit(p, ",\"updated_at\":");
    p = aegis_case_time(p, c->updated_us);
    *p++ = '}';

    return (size_t) (p - out);
}
