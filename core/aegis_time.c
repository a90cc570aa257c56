/*
 * aegis_time.c: calendar arithmetic by hand, because libc's reads the time
 * zone from the environment. Its invariant: parse(format(s)) is s for every
 * second of the years 1970 to 9999.
 */
#include "aegis_time.h"

#include <string.h>

#define AEGIS_TIME_DAY  86400


/* Days since 1970-01-01 in the proleptic Gregorian calendar, March based so
 * that the leap day is the last of the year. */
int64_t
aegis_time_days(int64_t y, int64_t m, int64_t d)
{
    int64_t  year, month;

    year = m > 2 ? y : y - 1;
    month = m > 2 ? m - 3 : m + 9;

    return year * 365 + year / 4 - year / 100 + year / 400
           + (month * 153 + 2) / 5 + d - 1 - 719468;
}


static int
aegis_time_digits(const char **p, const char *end, int n, int64_t *ret)
{
    int64_t  v;

    if (end - *p < n) {
        return 0;
    }

    for (v = 0; n; n--, (*p)++) {
        if (**p < '0' || **p > '9') {
            return 0;
        }
        v = v * 10 + (**p - '0');
    }

    *ret = v;

    return 1;
}


static int
aegis_time_char(const char **p, const char *end, char upper)
{
    if (*p == end || (**p != upper && **p != (char) (upper | 0x20))) {
        return 0;
    }

    (*p)++;

    return 1;
}


static int
aegis_time_month_days(int64_t y, int64_t m)
{
    static const int  days[] = { 31, 28, 31, 30, 31, 30, 31, 31, 30, 31, 30, 31 };

    if (m == 2 && y % 4 == 0 && (y % 100 != 0 || y % 400 == 0)) {
        return 29;
    }

    return days[m - 1];
}


int
aegis_time_offset(aegis_str_t s, int64_t *ret_s)
{
    int64_t      h, m;
    const char  *p, *end;

    if (s.data == NULL || s.len != 6 || (s.data[0] != '+' && s.data[0] != '-')) {
        return 0;
    }

    p = s.data + 1;
    end = s.data + s.len;

    if (!aegis_time_digits(&p, end, 2, &h) || *p++ != ':'
        || !aegis_time_digits(&p, end, 2, &m) || h > 15 || m > 59)
    {
        return 0;
    }

    *ret_s = (h * 60 + m) * 60 * (s.data[0] == '-' ? -1 : 1);

    return 1;
}


int
aegis_time_parse(aegis_str_t s, int64_t *ret_s)
{
    int          n;
    int64_t      y, mo, d, h, mi, sec, offset, digit;
    const char  *p, *end;

    if (s.data == NULL) {
        return 0;
    }

    p = s.data;
    end = p + s.len;

    if (!aegis_time_digits(&p, end, 4, &y) || !aegis_time_char(&p, end, '-')
        || !aegis_time_digits(&p, end, 2, &mo) || !aegis_time_char(&p, end, '-')
        || !aegis_time_digits(&p, end, 2, &d) || !aegis_time_char(&p, end, 'T')
        || !aegis_time_digits(&p, end, 2, &h) || !aegis_time_char(&p, end, ':')
        || !aegis_time_digits(&p, end, 2, &mi) || !aegis_time_char(&p, end, ':')
        || !aegis_time_digits(&p, end, 2, &sec))
    {
        return 0;
    }

    /* second 60 is a leap second */
    if (y < 1 || mo < 1 || mo > 12 || d < 1 || d > aegis_time_month_days(y, mo)
        || h > 23 || mi > 59 || sec > 60)
    {
        return 0;
    }

    if (p < end && *p == '.') {
        p++;
        for (n = 0; n < 9 && aegis_time_digits(&p, end, 1, &digit); n++) {
            /* void */
        }

        if (n == 0) {
            return 0;
        }
    }

    if (aegis_time_char(&p, end, 'Z')) {
        offset = 0;

        if (p != end) {
            return 0;
        }

    } else if (!aegis_time_offset((aegis_str_t) { (size_t) (end - p), p }, &offset)) {
        return 0;
    }

    *ret_s = aegis_time_days(y, mo, d) * AEGIS_TIME_DAY + h * 3600 + mi * 60 + sec
             - offset;

    return 1;
}


static void
aegis_time_two(char *out, int64_t n)
{
    out[0] = (char) ('0' + n / 10);
    out[1] = (char) ('0' + n % 10);
}


void
aegis_time_format(int64_t s, char out[AEGIS_TIME_LEN + 1])
{
    int64_t   days, era, y, doy, mp, m, rest;
    unsigned  doe;

    rest = s % AEGIS_TIME_DAY;
    days = s / AEGIS_TIME_DAY;

    if (rest < 0) {
        rest += AEGIS_TIME_DAY;
        days--;
    }

    /* days since 0000-03-01, in eras of 400 years */
    days += 719468;
    era = (days >= 0 ? days : days - 146096) / 146097;
    doe = (unsigned) (days - era * 146097);
    y = (doe - doe / 1460 + doe / 36524 - doe / 146096) / 365;
    doy = (int64_t) doe - (365 * y + y / 4 - y / 100);
    mp = (5 * doy + 2) / 153;
    m = mp < 10 ? mp + 3 : mp - 9;
    y += era * 400 + (m <= 2);

    if (y < 0 || y > 9999) {
        y = y < 0 ? 0 : 9999;
    }

    memcpy(out, "0000-00-00T00:00:00Z", AEGIS_TIME_LEN + 1);
    aegis_time_two(out, y / 100);
    aegis_time_two(out + 2, y % 100);
    aegis_time_two(out + 5, m);
    aegis_time_two(out + 8, doy - (153 * mp + 2) / 5 + 1);
    aegis_time_two(out + 11, rest / 3600);
    aegis_time_two(out + 14, rest / 60 % 60);
    aegis_time_two(out + 17, rest % 60);
}


int64_t
aegis_time_year(int64_t s)
{
    int64_t  day, year;

    day = s / AEGIS_TIME_DAY - (s % AEGIS_TIME_DAY < 0);
    year = 1970 + day / 366;

    /* a year is at most 366 days, so the guess is never behind */
    for ( /* void */ ; aegis_time_days(year + 1, 1, 1) <= day; year++) {
        /* void */
    }

    for ( /* void */ ; aegis_time_days(year, 1, 1) > day; year--) {
        /* void */
    }

    return year;
}


int
aegis_time_weekday(int64_t s)
{
    int64_t  days;

    days = s / AEGIS_TIME_DAY - (s % AEGIS_TIME_DAY < 0);

    /* 1970-01-01 was a Thursday */
    return (int) (((days + 3) % 7 + 7) % 7);
}
