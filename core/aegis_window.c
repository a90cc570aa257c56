/*
 * aegis_window.c: when change windows are open. Its invariant: a window opens
 * when the clock first shows its beginning and closes when the clock first shows
 * its end; so it never opens twice in the hour that a clock repeats, and not at
 * all when it lies in the hour that the clock skips.
 */
#include "aegis_window.h"

#include <string.h>

#include "aegis_check.h"
#include "aegis_json.h"
#include "aegis_time.h"

#define AEGIS_WINDOW_DAY    86400
#define AEGIS_WINDOW_AHEAD  8           /* days in which the next opening is looked for */

static const char *const  aegis_window_days[] =
    { "mon", "tue", "wed", "thu", "fri", "sat", "sun", NULL };


int64_t
aegis_window_clock(const char *s)
{
    int  h, m;

    if (s == NULL || strlen(s) != 5 || s[2] != ':' || strspn(s, "0123456789") != 2
        || strspn(s + 3, "0123456789") != 2)
    {
        return -1;
    }

    h = (s[0] - '0') * 10 + s[1] - '0';
    m = (s[3] - '0') * 10 + s[4] - '0';

    if (m > 59 || h > 24 || (h == 24 && m)) {
        return -1;
    }

    return (h * 60 + m) * 60;
}


int
aegis_window_date(const char *s, int64_t *ret_local)
{
    char    full[AEGIS_TIME_LEN + 1] = "0000-00-00T00:00:00Z";
    size_t  len;

    len = s ? strlen(s) : 0;

    if (len != 10 && len != 16) {
        return 0;
    }

    memcpy(full, s, len);

    return aegis_time_parse((aegis_str_t) { AEGIS_TIME_LEN, full }, ret_local);
}


void
aegis_window_check(const json_t *window, const char *at, aegis_error_t *err)
{
    char      sub[AEGIS_CHECK_POINTER], item[AEGIS_CHECK_POINTER];
    size_t    i;
    json_t   *days;
    int64_t   from, to;

    days = json_object_get(window, "days");
    aegis_error_pointer(sub, sizeof(sub), at, "days");

    if (days && aegis_check_array(days, 1, 7, sub, err)) {
        for (i = 0; i < json_array_size(days); i++) {
            aegis_error_index(item, sizeof(item), sub, i);
            aegis_check_enum(json_array_get(days, i), aegis_window_days, item, err);
        }
    }

    from = aegis_window_clock(json_string_value(json_object_get(window, "from")));
    to = aegis_window_clock(json_string_value(json_object_get(window, "to")));

    if (from < 0 || from == AEGIS_WINDOW_DAY) {
        aegis_error_pointer(sub, sizeof(sub), at, "from");
        aegis_error_at(err, sub, "must be a time from \"00:00\" to \"23:59\"");
    }

    if (to < 0 || to == from) {
        aegis_error_pointer(sub, sizeof(sub), at, "to");
        aegis_error_at(err, sub,
            "must be a time from \"00:00\" to \"24:00\" other than from");
    }
}


void
aegis_window_check_freeze(const json_t *freeze, const char *at, aegis_error_t *err)
{
    char     sub[AEGIS_CHECK_POINTER];
    int64_t  from, to;

    from = INT64_MAX;

    if (!aegis_window_date(json_string_value(json_object_get(freeze, "from")), &from)) {
        aegis_error_pointer(sub, sizeof(sub), at, "from");
        aegis_error_at(err, sub, "must be like \"2026-12-20\" or \"2026-12-20T18:00\"");
    }

    aegis_error_pointer(sub, sizeof(sub), at, "to");

    if (!aegis_window_date(json_string_value(json_object_get(freeze, "to")), &to)) {
        aegis_error_at(err, sub, "must be like \"2027-01-03\" or \"2027-01-03T12:00\"");

    } else if (from != INT64_MAX && to <= from) {
        aegis_error_at(err, sub, "must be behind from; the end is not part of it");
    }
}


static int
aegis_window_has_day(const json_t *days, int weekday)
{
    size_t  i;

    for (i = 0; i < json_array_size(days); i++) {
        if (strcmp(json_string_value(json_array_get(days, i)),
                   aegis_window_days[weekday]) == 0)
        {
            return 1;
        }
    }

    return days == NULL;
}


int64_t
aegis_window_left(const json_t *window, const aegis_zone_t *zone, int64_t now,
    int64_t *ret_opens)
{
    int64_t   from, to, today, day, opens, closes, local;
    json_t   *days;

    days = json_object_get(window, "days");
    from = aegis_window_clock(aegis_json_str(window, "from"));
    to = aegis_window_clock(aegis_json_str(window, "to"));
    to += to < from ? AEGIS_WINDOW_DAY : 0;

    local = now + aegis_zone_offset(zone, now, NULL);
    today = local - ((local % AEGIS_WINDOW_DAY) + AEGIS_WINDOW_DAY) % AEGIS_WINDOW_DAY;

    *ret_opens = 0;

    /* it may have opened yesterday */
    for (day = -1; day <= AEGIS_WINDOW_AHEAD; day++) {
        local = today + day * AEGIS_WINDOW_DAY;

        if (!aegis_window_has_day(days, aegis_time_weekday(local))) {
            continue;
        }

        opens = aegis_zone_first(zone, local + from);
        closes = aegis_zone_first(zone, local + to);

        if (now >= opens && now < closes) {
            return closes - now;
        }

        if (opens > now && opens < closes) {
            *ret_opens = opens;
            return 0;
        }
    }

    return 0;
}


void
aegis_window_freeze(const json_t *freeze, const aegis_zone_t *zone, int64_t *ret_from,
    int64_t *ret_to)
{
    int64_t  from, to;

    from = to = 0;
    (void) aegis_window_date(aegis_json_str(freeze, "from"), &from);
    (void) aegis_window_date(aegis_json_str(freeze, "to"), &to);

    *ret_from = aegis_zone_first(zone, from);
    *ret_to = aegis_zone_first(zone, to);
}
