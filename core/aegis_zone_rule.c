/*
 * aegis_zone_rule.c: the POSIX TZ string at the end of a TZif file, which says
 * when the clock is changed in all years to come. Its invariant: what was parsed
 * has an offset at every second. The file's own changes are aegis_zone.c.
 */
#include "aegis_zone.h"

#include <string.h>

#include "aegis_time.h"

#define AEGIS_ZONE_DAY   86400
#define AEGIS_ZONE_HOUR  3600


/* One number of one to n digits. */
static int
aegis_zone_number(const char **p, int n, int64_t least, int64_t most, int64_t *ret)
{
    int64_t      v;
    const char  *s;

    for (s = *p, v = 0; n && *s >= '0' && *s <= '9'; n--, s++) {
        v = v * 10 + (*s - '0');
    }

    if (s == *p || v < least || v > most) {
        return 0;
    }

    *p = s;
    *ret = v;

    return 1;
}


/* [+-]h[:mm[:ss]] */
static int
aegis_zone_clock(const char **p, int64_t most_hours, int64_t *ret)
{
    int      minus;
    int64_t  h, m, s;

    minus = **p == '-';
    *p += **p == '-' || **p == '+';
    m = s = 0;

    if (!aegis_zone_number(p, 3, 0, most_hours, &h)) {
        return 0;
    }

    if (**p == ':') {
        (*p)++;
        if (!aegis_zone_number(p, 2, 0, 59, &m)) {
            return 0;
        }

        if (**p == ':') {
            (*p)++;
            if (!aegis_zone_number(p, 2, 0, 59, &s)) {
                return 0;
            }
        }
    }

    *ret = (h * AEGIS_ZONE_HOUR + m * 60 + s) * (minus ? -1 : 1);

    return 1;
}


/* CET, or <+0330>: three or more characters that are of no use here. */
static int
aegis_zone_abbreviation(const char **p)
{
    size_t  n;

    if (**p == '<') {
        n = strspn(*p + 1, "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz"
                           "0123456789+-");
        if (n < 3 || (*p)[n + 1] != '>') {
            return 0;
        }

        *p += n + 2;
        return 1;
    }

    n = strspn(*p, "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz");
    *p += n;

    return n >= 3;
}


/* ,M3.5.0/2 and its like */
static int
aegis_zone_date(const char **p, aegis_zone_day_t *ret)
{
    int64_t  month, week, day;

    if (*(*p)++ != ',') {
        return 0;
    }

    month = week = 0;
    ret->form = **p == 'M' || **p == 'J' ? *(*p)++ : '0';

    if (ret->form == 'M') {
        if (!aegis_zone_number(p, 2, 1, 12, &month) || *(*p)++ != '.'
            || !aegis_zone_number(p, 1, 1, 5, &week) || *(*p)++ != '.'
            || !aegis_zone_number(p, 1, 0, 6, &day))
        {
            return 0;
        }

    } else if (!aegis_zone_number(p, 3, ret->form == 'J', 365, &day)) {
        return 0;
    }

    ret->month = (int) month;
    ret->week = (int) week;
    ret->day = (int) day;
    ret->at = 2 * AEGIS_ZONE_HOUR;

    if (**p == '/') {
        (*p)++;
        return aegis_zone_clock(p, 167, &ret->at);
    }

    return 1;
}


int
aegis_zone_rule_parse(const char *text, aegis_zone_rule_t *ret_rule)
{
    const char         *p;
    aegis_zone_rule_t   rule;

    memset(&rule, 0, sizeof(rule));
    p = text;

    if (!aegis_zone_abbreviation(&p) || !aegis_zone_clock(&p, 24, &rule.standard)) {
        return 0;
    }

    /* POSIX counts to the west */
    rule.standard = -rule.standard;

    if (*p) {
        rule.has_summer = 1;
        rule.summer = rule.standard + AEGIS_ZONE_HOUR;

        if (!aegis_zone_abbreviation(&p)) {
            return 0;
        }

        if (*p != ',') {
            if (!aegis_zone_clock(&p, 24, &rule.summer)) {
                return 0;
            }
            rule.summer = -rule.summer;
        }

        if (!aegis_zone_date(&p, &rule.from) || !aegis_zone_date(&p, &rule.to) || *p) {
            return 0;
        }
    }

    *ret_rule = rule;

    return 1;
}


/* Local second at which the clock is changed in a year. */
static int64_t
aegis_zone_day_of(const aegis_zone_day_t *day, int64_t year)
{
    int64_t  first, n, leap;

    if (day->form != 'M') {
        leap = (year % 4 == 0 && year % 100 != 0) || year % 400 == 0;
        n = day->form == '0' ? day->day : day->day - 1 + (leap && day->day >= 60);

        return (aegis_time_days(year, 1, 1) + n) * AEGIS_ZONE_DAY + day->at;
    }

    /* the weekday of POSIX begins with Sunday, ours with Monday */
    first = aegis_time_days(year, day->month, 1);
    n = ((day->day + 6) % 7 - aegis_time_weekday(first * AEGIS_ZONE_DAY) + 7) % 7
        + 7 * (day->week - 1);

    if (first + n >= aegis_time_days(year + day->month / 12, day->month % 12 + 1, 1)) {
        n -= 7;
    }

    return (first + n) * AEGIS_ZONE_DAY + day->at;
}


int64_t
aegis_zone_rule_offset(const aegis_zone_rule_t *rule, int64_t t, int64_t *ret_until)
{
    int64_t  year, y, at[2], off[2], best, offset;
    int      i;

    *ret_until = INT64_MAX;

    if (!rule->has_summer) {
        return rule->standard;
    }

    year = aegis_time_year(t);
    best = INT64_MIN;
    offset = rule->standard;

    /* of changes at the same second the later one in this order holds, so that
     * summer which ends where it begins has no gap */
    for (y = year - 1; y <= year + 1; y++) {
        at[0] = aegis_zone_day_of(&rule->to, y) - rule->summer;
        off[0] = rule->standard;
        at[1] = aegis_zone_day_of(&rule->from, y) - rule->standard;
        off[1] = rule->summer;

        for (i = 0; i < 2; i++) {
            if (at[i] <= t && at[i] >= best) {
                best = at[i];
                offset = off[i];
            }

            if (at[i] > t && at[i] < *ret_until) {
                *ret_until = at[i];
            }
        }
    }

    return offset;
}
