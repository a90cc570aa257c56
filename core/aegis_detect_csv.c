/*
 * aegis_detect_csv.c: series in a file of lines, time and value between commas.
 * A first line that names columns says which they are.
 * Invariant: a field is read as a whole or refused; no line is a number by halves.
 */
#include "aegis_detect.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "aegis_time.h"

#define AEGIS_CSV_FIELD    64           /* bytes of a time or value */
#define AEGIS_CSV_COLUMNS  64
#define AEGIS_CSV_MILLIS   1e11         /* from here on they are no seconds */


/* Field n of a line, without blanks and quotes around it. */
static int
aegis_detect_field(aegis_str_t line, int n, aegis_str_t *ret)
{
    int          i;
    const char  *p, *end, *last;

    p = line.data;
    end = p + line.len;

    for (i = 0; i < n; i++) {
        p = memchr(p, ',', (size_t) (end - p));
        if (p == NULL) {
            return 0;
        }
        p++;
    }

    last = memchr(p, ',', (size_t) (end - p));
    last = last ? last : end;

    while (p < last && (*p == ' ' || *p == '\t' || *p == '"')) {
        p++;
    }

    while (last > p && (last[-1] == ' ' || last[-1] == '\t' || last[-1] == '"'
                        || last[-1] == '\r'))
    {
        last--;
    }

    ret->data = p;
    ret->len = (size_t) (last - p);

    return 1;
}


static int
aegis_detect_plain(aegis_str_t text, double *ret)
{
    char   copy[AEGIS_CSV_FIELD], *end;

    if (text.len == 0 || text.len >= sizeof(copy)) {
        return 0;
    }

    memcpy(copy, text.data, text.len);
    copy[text.len] = '\0';

    /* neither names of numbers nor hexadecimal ones, and no byte 0 */
    if (strspn(copy, "+-0123456789.eE") != text.len) {
        return 0;
    }

    *ret = strtod(copy, &end);

    return *end == '\0' && isfinite(*ret);
}


int
aegis_detect_time(aegis_str_t text, double *ret_t)
{
    char     copy[AEGIS_CSV_FIELD];
    size_t   n;
    int64_t  s;

    if (aegis_detect_plain(text, ret_t)) {
        *ret_t = fabs(*ret_t) >= AEGIS_CSV_MILLIS ? *ret_t / 1000 : *ret_t;
        return fabs(*ret_t) < 1e12;
    }

    if (text.len < 10 || text.len > sizeof(copy) - 12) {
        return 0;
    }

    memcpy(copy, text.data, text.len);
    n = text.len;

    if (n == 10) {
        memcpy(copy + n, "T00:00:00", 9);
        n += 9;

    } else if (n == 16) {
        memcpy(copy + n, ":00", 3);
        n += 3;
    }

    copy[10] = copy[10] == ' ' ? 'T' : copy[10];

    /* a date itself has two signs; more, or a Z, is an offset */
    if (copy[n - 1] != 'Z' && copy[n - 1] != 'z' && memchr(copy + 10, '+', n - 10) == NULL
        && memchr(copy + 10, '-', n - 10) == NULL)
    {
        copy[n++] = 'Z';
    }

    if (!aegis_time_parse((aegis_str_t) { n, copy }, &s)) {
        return 0;
    }

    *ret_t = (double) s;

    return 1;
}


static int
aegis_detect_named(aegis_str_t field, const char *const *names)
{
    for (; *names; names++) {
        if (field.len == strlen(*names) && strncasecmp(field.data, *names, field.len) == 0) {
            return 1;
        }
    }

    return 0;
}


/* A line that names columns. 0: it does not. */
static int
aegis_detect_csv_head(aegis_detect_csv_t *csv, aegis_str_t line)
{
    int          i, time, value;
    aegis_str_t  field;

    static const char *const  times[] =
        { "timestamp", "timestamps", "time", "ts", "date", "datetime", "index", NULL };
    static const char *const  values[] = { "value", "values", "val", "v", "data", NULL };

    time = -1;
    value = -1;

    for (i = 0; i < AEGIS_CSV_COLUMNS && aegis_detect_field(line, i, &field); i++) {
        if (time < 0 && aegis_detect_named(field, times)) {
            time = i;

        } else if (value < 0 && aegis_detect_named(field, values)) {
            value = i;
        }
    }

    csv->time = time >= 0 ? time : value == 0 ? 1 : 0;
    csv->value = value >= 0 ? value : csv->time == 0 ? 1 : 0;

    return time >= 0 || value >= 0;
}


int
aegis_detect_csv(aegis_detect_csv_t *csv, aegis_str_t line, double *ret_t,
    double *ret_v, const char **ret_why)
{
    int          first;
    double       v;
    aegis_str_t  time, value;

    first = csv->n++ == 0;

    if (first && line.len >= 3 && memcmp(line.data, "\xef\xbb\xbf", 3) == 0) {
        line.data += 3;
        line.len -= 3;
    }

    if (line.len == 0 || line.data[0] == '#' || (line.len == 1 && line.data[0] == '\r')) {
        csv->n -= first;
        return 0;
    }

    if (first) {
        csv->time = 0;
        csv->value = 1;
        if (!aegis_detect_field(line, 1, &value) || !aegis_detect_plain(value, &v)) {
            if (aegis_detect_csv_head(csv, line)) {
                return 0;
            }
            return aegis_detect_field(line, 1, &value) ? 0
                   : (*ret_why = "a line needs a time and a value", -1);
        }
    }

    if (!aegis_detect_field(line, csv->time, &time)
        || !aegis_detect_field(line, csv->value, &value))
    {
        *ret_why = "a line needs a time and a value";
        return -1;
    }

    if (!aegis_detect_time(time, ret_t)) {
        *ret_why = "the time is neither a number nor a date";
        return -1;
    }

    if (!aegis_detect_plain(value, ret_v)) {
        *ret_why = value.len ? "the value is no number" : "the value is missing";
        return -1;
    }

    return 1;
}
